"""The Brain of models that hear phones, for the alignment of lyrics."""

from collections import Counter
from pathlib import Path

import numpy as np
import speechbrain as sb
import torch
from speechbrain.utils.distributed import if_main_process
from speechbrain.utils.edit_distance import accumulatable_wer_stats
from torch import nn
from torch.nn import functional

from speechbrain_ext.brains.training import (
    RecipeBrain,
    agreed,
    config_errors,
    load_start,
    model_card,
    model_map,
    unwrap,
    yaml_text,
)
from speechbrain_ext.datasets import read_slice, transcription_dataset
from speechbrain_ext.errors import ConfigError, ManifestError
from speechbrain_ext.files import atomic_path
from speechbrain_ext.heads import mismatch
from speechbrain_ext.lyrics.acoustic import (
    SAMPLE_RATE,
    PhoneModel,
    phone_loss,
)
from speechbrain_ext.lyrics.align import align, lines_of
from speechbrain_ext.lyrics.dataset import (
    add_phones,
    phones_at,
    pronunciations,
    read_segments,
    song_lyrics,
)
from speechbrain_ext.lyrics.lexicon import Lexicon
from speechbrain_ext.lyrics.phones import INDEX, SILENCE
from speechbrain_ext.metrics.alignment import AlignmentStats

_UNKNOWN = -100  # a frame that does not count
_SILENT = 1 + INDEX[SILENCE]


def phone_runs(columns) -> torch.Tensor:
    """What frames say, each phone named once.

    Arguments
    ---------
    columns : torch.Tensor (frames,) int64
        Columns of `PhoneHead`; negative ones do not count.

    Returns
    -------
    torch.Tensor (phones,) int64
        Targets of `phone_loss`: no blank, and a phone twice only if there was
        a blank between.

    Example
    -------
    >>> phone_runs(torch.tensor([6, 6, -100, 8, 8, 0, 8, 6])).tolist()
    [6, 8, 8, 6]
    """
    runs = torch.unique_consecutive(columns[columns >= 0])
    return runs[runs > 0]


def phone_errors(reference, heard) -> tuple[int, int]:
    """Insertions, deletions and substitutions among phones.

    Silence does not count, nor how long a phone lasts.

    Arguments
    ---------
    reference, heard : torch.Tensor (frames,) int64
        Columns of `PhoneHead`.

    Returns
    -------
    (int, int)
        Errors, and phones of the reference.

    Example
    -------
    >>> aa, m, sil = (INDEX[name] + 1 for name in ("AA", "M", "SIL"))
    >>> true, said = [m, aa, aa, sil], [sil, m, m, sil, sil]
    >>> phone_errors(torch.tensor(true), torch.tensor(said))
    (1, 2)
    """
    said = [phone_runs(columns) for columns in (reference, heard)]
    said = [runs[runs != _SILENT].tolist() for runs in said]
    counts = accumulatable_wer_stats([said[0]], [said[1]], Counter())
    kinds = ("insertions", "deletions", "substitutions")
    return sum(counts[kind] for kind in kinds), len(said[0])


class PhoneBrain(RecipeBrain):
    """Trains and evaluates an encoder with a `PhoneHead`.

    Modules: `encoder`, `head`. Hyper-parameters: those of `RecipeBrain`, and
    `augment`, `loss_weights`, `optimizer`, `keep_checkpoints`, `train_logger`,
    `output_folder`.

    Two losses, weighted by `loss_weights`: `frame`, the cross entropy of the
    phone of each frame, and `ctc`, connectionist temporal classification of
    the same phones without their times, per frame like the other. A weight of 0
    switches one off.
    """

    def dataset(self, rows, training=False):
        """Data set of a manifest's rows.

        Arguments
        ---------
        rows : list of dict
        training : bool
            Whether items are augmented. Default: False.

        Returns
        -------
        DynamicItemDataset
        """
        context = unwrap(self.modules.encoder).context_s
        found = transcription_dataset(
            rows,
            seed=self.hparams.seed,
            epoch_counter=self.hparams.epoch_counter,
            augment=self.hparams.augment if training else None,
            context_s=0.0 if training else context,
        )
        return add_phones(found, rows)

    # ---- one batch ------------------------------------------------------

    def compute_forward(self, batch, stage):
        """Log-probabilities of a batch.

        Arguments
        ---------
        batch : PaddedBatch
        stage : speechbrain.Stage

        Returns
        -------
        torch.Tensor (batch, frames, 42)
        """
        batch = batch.to(self.device)
        wavs, lengths = batch.sig
        lengths = None if bool((lengths == 1).all()) else lengths
        return self.modules.head(self.modules.encoder(wavs, lengths))

    def compute_objectives(self, said, batch, stage):
        """Loss of a batch; in evaluation also counts errors.

        Arguments
        ---------
        said : torch.Tensor (batch, frames, 42)
        batch : PaddedBatch
        stage : speechbrain.Stage

        Returns
        -------
        torch.Tensor
            Scalar.
        """
        targets = batch.phone_target.data[:, : said.shape[1]]
        bounds = batch.valid_frames.data
        index = torch.arange(said.shape[1], device=said.device)
        inside = (index >= bounds[:, :1]) & (index < bounds[:, 1:])
        targets = targets.masked_fill(~inside, _UNKNOWN)
        if stage == sb.Stage.TRAIN:
            unwrap(self.modules.head).count(targets[inside])
        terms = {}
        weights = self.hparams.loss_weights
        if weights["frame"]:
            terms["frame"] = functional.nll_loss(
                said.transpose(1, 2), targets, ignore_index=_UNKNOWN
            )
        if weights["ctc"]:
            terms["ctc"] = self._ctc(said, targets, bounds)
        self.count_losses(terms)
        if stage != sb.Stage.TRAIN:
            self._count(said, targets)
        return sum(weights[name] * value for name, value in terms.items())

    def _ctc(self, said, targets, bounds):
        """Loss of the phones of each item, whenever they are said."""
        parts = [
            row[first:last]
            for row, (first, last) in zip(said, bounds.tolist(), strict=True)
        ]
        lengths = torch.tensor([len(part) for part in parts])
        runs = [phone_runs(row) for row in targets]
        return phone_loss(
            nn.utils.rnn.pad_sequence(parts, batch_first=True),
            lengths / lengths.max(),
            nn.utils.rnn.pad_sequence(runs, batch_first=True),
            torch.tensor([len(run) for run in runs]),
            per_frame=True,
        )

    def _count(self, said, targets):
        heard = said.argmax(-1)
        known = targets >= 0
        self.counts += np.array(
            [int((heard == targets)[known].sum()), int(known.sum()), 0, 0]
        )
        for row, true, valid in zip(heard, targets, known, strict=True):
            self.counts[2:] += phone_errors(true[valid], row[valid])

    # ---- optimisation ---------------------------------------------------

    def init_optimizers(self):
        """One optimiser for all weights."""
        with config_errors("optimizer"):
            self.optimizers_dict = {
                "all": self.hparams.optimizer(self.modules.parameters())
            }
        self.remember_rates()
        if self.checkpointer is not None:
            self.checkpointer.add_recoverable(
                "optimizer", self.optimizers_dict["all"]
            )

    # ---- stages ---------------------------------------------------------

    def on_stage_start(self, stage, epoch=None):
        """Reset what is gathered during a stage.

        Arguments
        ---------
        stage : speechbrain.Stage
        epoch : int, optional
        """
        self.forget_losses()
        self.counts = np.zeros(4, np.int64)

    def on_stage_end(self, stage, stage_loss, epoch=None):
        """Log and keep checkpoints.

        Arguments
        ---------
        stage : speechbrain.Stage
        stage_loss : float
        epoch : int, optional
        """
        logs = {"loss": stage_loss, **self.mean_losses()}
        if stage == sb.Stage.TRAIN:
            self.train_logs = logs
            return
        right, frames, errors, phones = self.counts.tolist()
        logs["frame_accuracy"] = right / max(1, frames)
        logs["phone_error_rate"] = errors / max(1, phones)
        rate = self.optimizers_dict["all"].param_groups[0]["lr"]
        self.hparams.train_logger.log_stats(
            {"epoch": epoch, "lr": rate}, self.train_logs, valid_stats=logs
        )
        if self.checkpointer is not None:
            score = agreed(logs["frame_accuracy"])
            self.checkpointer.save_and_keep_only(
                meta={"frame_accuracy": score, "epoch": epoch},
                max_keys=["frame_accuracy"],
                num_to_keep=self.hparams.keep_checkpoints,
            )

    # ---- results --------------------------------------------------------

    def hearing(self) -> PhoneModel:
        """The best checkpoint, as what hears phones of recordings.

        Returns
        -------
        PhoneModel
        """
        self.on_evaluate_start(max_key="frame_accuracy")
        return PhoneModel(
            unwrap(self.modules.encoder),
            unwrap(self.modules.head),
            device=str(self.device),
        )

    def export(self, folder, name, card):
        """Write the best checkpoint as a folder that `load_acoustic` loads.

        Arguments
        ---------
        folder : str or Path
            An existing model folder is replaced.
        name : str
            Name of the model.
        card : str
            Model card, Markdown.

        Returns
        -------
        Path or None
            The folder, if this process wrote one.
        """
        self.on_evaluate_start(max_key="frame_accuracy")
        if not if_main_process():
            return None
        from speechbrain_ext.inference.model_folder import export_model

        resolved = Path(self.hparams.output_folder) / "hyperparams.yaml"
        modules = {
            key: unwrap(self.modules[key]) for key in ("encoder", "head")
        }
        text = yaml_text(
            model_map(resolved.read_text(encoding="utf-8"), name, modules)
        )
        return export_model(folder, text, modules, card, overwrite=True)


class PhoneScores:
    """Scores of a test set: phones of frames, and onsets of words.

    Arguments
    ---------
    window : float
        See `AlignmentStats`. Default: 0.3.

    Attributes
    ----------
    words : AlignmentStats
    onsets : list of float
        By how much each word is late, in seconds.
    """

    def __init__(self, window=0.3):
        self.words = AlignmentStats(window)
        self.onsets = []
        self.counts = np.zeros(4, np.int64)

    def append(self, song_id, reference, heard, found, segments):
        """Score a song.

        Arguments
        ---------
        song_id : str
        reference, found : TimedLyrics
            What is sung, and what `align` made of it.
        heard : Posteriorgram
            As the model says it.
        segments : list of (float, float, str)
            Phones of the whole song.
        """
        self.words.append(song_id, reference, found)
        if len(reference) == len(found):
            self.onsets += [
                two.onset - one.onset
                for one, two in zip(reference, found, strict=True)
            ]
        true = torch.from_numpy(phones_at(segments, heard.times))
        said = 1 + torch.from_numpy(heard.probs.argmax(1))
        if heard.blank is not None:
            said[torch.from_numpy(heard.blank > 0.5)] = 0
        self.counts[:2] += int((true == said).sum()), len(true)
        self.counts[2:] += phone_errors(true, said)

    def values(self) -> dict[str, float]:
        """Scores.

        Returns
        -------
        dict of str to float
            Shares in [0, 1] and seconds.
        """
        right, frames, errors, phones = self.counts.tolist()
        late = np.abs(self.onsets) if self.onsets else np.array([np.inf])
        summary = self.words.summarize()
        return {
            "frames right": right / max(1, frames),
            "phone errors": errors / max(1, phones),
            "median, s": float(np.median(late)),
            "mean, s": float(np.mean(late)),
            "PCO": summary["PCO"],
            "PCS": summary["PCS"],
        }


def scores_table(results) -> str:
    """Scores of several test sets as text.

    Arguments
    ---------
    results : dict of str to PhoneScores

    Returns
    -------
    str
        One line per test set; the protocol below.
    """
    wide = max(14, *(len(name) + 1 for name in results))
    first = next(iter(results.values()))
    columns = list(first.values())
    lines = [
        f"{'':{wide}}{'songs':>6}{'words':>7}"
        + "".join(f"{name:>14}" for name in columns)
    ]
    for name, scores in results.items():
        cells = "".join(f"{value:14.3f}" for value in scores.values().values())
        lines.append(
            f"{name:{wide}}{len(scores.words):6}{len(scores.onsets):7}{cells}"
        )
    lines.append(
        "phone errors: substitutions, deletions and insertions per phone; "
        "median and mean over all words, PCO and PCS over songs; "
        f"{first.words.protocol()}"
    )
    return "\n".join(lines)


def score_songs(model, rows, folder=None, plot_songs=0) -> PhoneScores:
    """Hear and align the songs of a test set, as a user would.

    Songs on a single vowel have no words that could be told apart and are left
    out.

    Arguments
    ---------
    model : PhoneModel
    rows : list of dict
        Rows of whole songs, with `words` and `phones`, as they are or from
        `noisy`.
    folder : str or Path, optional
        Gets `scores.csv` and, as `<song>.png`, the worst, the best and other
        songs between them.
    plot_songs : int
        How many of these. Default: 0.

    Returns
    -------
    PhoneScores

    Raises
    ------
    ManifestError
        If no song is left.
    """
    songs: dict[str, dict] = {}
    for row in rows:
        end = max(row["stop"], songs.get(row["song_id"], row).get("end", 0.0))
        songs[row["song_id"]] = {**row, "end": end}
    scores, made = PhoneScores(), {}
    plain = PhoneModel(model.encoder, model.head, model.device, balance=0.0)
    for song_id, row in songs.items():
        row = {"noise": None, **row, "song_end": row["end"]}
        reference = song_lyrics(row)
        segments = read_segments(row["phones"])
        if len({name for *_, name in segments}) < 2:
            continue
        wav = read_slice(row, 0.0, row["end"])
        heard = model.posteriorgram(wav, SAMPLE_RATE)
        found = align(
            heard,
            lines_of(word.word for word in reference),
            Lexicon(own=pronunciations(reference)),
        )
        said = plain.posteriorgram(wav, SAMPLE_RATE)
        scores.append(song_id, reference, said, found, segments)
        made[song_id] = (heard, found, reference)
    if not made:
        raise ManifestError(
            f"none of {len(songs)} songs has words that can be told apart: "
            "test on more songs"
        )
    if folder is None:
        return scores
    from speechbrain_ext.report.plots import phone_picture

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    scores.words.write_csv(folder / "scores.csv", overwrite=True)
    ranked = sorted(scores.words.songs, key=lambda song: -song.scores["median"])
    places = np.linspace(0, len(ranked) - 1, min(plot_songs, len(ranked)))
    for place in sorted({round(k) for k in places}):
        song_id = ranked[place].song_id
        heard, found, reference = made[song_id]
        phone_picture(
            heard,
            found,
            folder / f"{song_id}.png",
            reference,
            title=f"{folder.name}: {song_id}",
            overwrite=True,
        )
    return scores


def run_phone_recognition(hparams, run_opts, train, valid, tests):
    """Train, test and export what hears phones.

    Arguments
    ---------
    hparams : dict
        Of the recipe, see `PhoneBrain`.
    run_opts : dict
        Of SpeechBrain.
    train, valid : list of dict
        Manifest rows, with `phones`.
    tests : dict of str to list of dict
        Manifest rows by test set, with `words` and `phones`.

    Returns
    -------
    dict of str to PhoneScores
        By test set. `output_folder` gets `results/<test set>/`,
        `results/summary.txt`, `training.png` and the model folder `model/`;
        with `--debug`, its folder `debug` does.
    """
    output = Path(hparams["output_folder"])
    fault = mismatch(hparams["encoder"], hparams["head"])
    if fault:
        raise ConfigError(f"{fault}: set the head to what the encoder has")
    weights = hparams["loss_weights"]
    if set(weights) != {"frame", "ctc"} or not sum(weights.values()) > 0:
        raise ConfigError(
            f"loss_weights is {dict(weights)}: give frame and ctc, not both 0"
        )
    load_start(hparams, ("encoder", "head"))
    brain = PhoneBrain(
        modules=hparams["modules"],
        hparams=hparams,
        run_opts=run_opts,
        checkpointer=hparams["checkpointer"],
    )
    if brain.debug:
        # Two batches of training must not replace real results.
        output = output / "debug"
    brain.fit(
        hparams["epoch_counter"],
        brain.dataset(train, training=True),
        brain.dataset(valid),
        train_loader_kwargs=dict(hparams["train_loader"]),
        valid_loader_kwargs=dict(hparams["test_loader"]),
    )
    model = brain.hearing()
    if not if_main_process():
        return {}
    results = {
        name: score_songs(
            model, rows, output / "results" / name, hparams["plot_songs"]
        )
        for name, rows in tests.items()
    }
    table = scores_table(results)
    name = hparams["experiment"]
    exported = brain.export(
        output / "model",
        name,
        model_card(
            name,
            train,
            table,
            "Phones of a singing voice, for the alignment of lyrics.",
            "singbrain align FILE LYRICS --model FOLDER_OF_THIS_CARD",
            "one voice at a time",
        ),
    )
    from speechbrain_ext.report.plots import read_train_log, training_curves

    log = hparams["train_logger"].save_file
    if Path(log).exists():
        training_curves(read_train_log(log), output / "training.png", True)
    with atomic_path(output / "results" / "summary.txt", True) as path:
        path.write_text(table + "\n", encoding="utf-8")
    print(f"\n{table}\n\nresults and pictures: {output / 'results'}")
    print(f"model: {exported}")
    return results
