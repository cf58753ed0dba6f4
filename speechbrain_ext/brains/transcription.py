"""The Brain of all frame-wise note transcription systems."""

import json
from itertools import product
from pathlib import Path

import numpy as np
import speechbrain as sb
import torch
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.tag import Tag
from speechbrain.utils.checkpoints import (
    mark_as_loader,
    mark_as_saver,
    register_checkpoint_hooks,
)
from speechbrain.utils.distributed import if_main_process

from speechbrain_ext.brains.training import (
    RecipeBrain,
    load_start,
    model_card,
    model_map,
    unwrap,
    yaml_text,
)
from speechbrain_ext.datasets import (
    cached_f0,
    cached_notes,
    transcription_dataset,
)
from speechbrain_ext.errors import ConfigError, ManifestError
from speechbrain_ext.f0 import F0Contour
from speechbrain_ext.files import atomic_path
from speechbrain_ext.formats import write_notes
from speechbrain_ext.frames import (
    FramePosteriors,
    NoteDecoder,
    frame_centres,
    voiced_frames,
)
from speechbrain_ext.heads import mismatch
from speechbrain_ext.losses import contour_losses, note_losses
from speechbrain_ext.metrics.melody import MelodyStats
from speechbrain_ext.metrics.notes import NoteStats, evaluate_notes
from speechbrain_ext.metrics.stats import percent_cell

TARGETS = ("onset", "silence", "pitch")


class SongCollector:
    """Gathers segment posteriors, in any order, into whole songs.

    Example
    -------
    >>> part = FramePosteriors(np.zeros(2), np.ones(2), np.zeros((2, 3)))
    >>> collector = SongCollector()
    >>> collector.append("a", 2, 2, part)
    >>> collector.append("a", 1, 2, part)
    >>> [(song, len(whole)) for song, whole in collector.songs()]
    [('a', 4)]
    """

    def __init__(self):
        self._parts = {}
        self._sizes = {}

    def append(self, song_id, segment, n_segments, posteriors):
        """Add one segment.

        Arguments
        ---------
        song_id : str
        segment, n_segments : int
            Position, from 1, and number of segments of the song.
        posteriors : FramePosteriors
        """
        self._parts.setdefault(song_id, {})[segment] = posteriors
        self._sizes[song_id] = n_segments

    def songs(self, complete=True):
        """Iterate over whole songs, sorted by ID.

        Arguments
        ---------
        complete : bool
            Whether a missing segment is an error (default) or the song is
            skipped.

        Yields
        ------
        (str, FramePosteriors)

        Raises
        ------
        ManifestError
            If a song lacks segments; names the song and both numbers.
        """
        for song_id in sorted(self._parts):
            parts, size = self._parts[song_id], self._sizes[song_id]
            if len(parts) == size:
                yield (
                    song_id,
                    FramePosteriors.concatenate(
                        [parts[k] for k in sorted(parts)]
                    ),
                )
            elif complete:
                raise ManifestError(
                    f"song {song_id}: {len(parts)} of {size} segments were "
                    "evaluated; a manifest must hold whole songs"
                )


@register_checkpoint_hooks
class DecoderState:
    """The tuned decoder, saved with each checkpoint.

    Arguments
    ---------
    decoder : NoteDecoder
        Settings before tuning.
    """

    def __init__(self, decoder):
        self.decoder = decoder

    @mark_as_saver
    def _save(self, path):
        Path(path).write_text(json.dumps(self.decoder.settings()))

    @mark_as_loader
    def _load(self, path, end_of_epoch):
        self.decoder = NoteDecoder(**json.loads(Path(path).read_text()))


def tune_decoder(decoder, songs, grid, metrics=("COnPOff",)):
    """Decoder settings with the best mean F1 on held-out songs.

    Arguments
    ---------
    decoder : NoteDecoder
        Settings that the grid does not name stay.
    songs : list of (FramePosteriors, NoteSequence)
        Posteriors and references.
    grid : dict of str to list
        Candidate values of `NoteDecoder` settings; all combinations are
        tried.
    metrics : sequence of str
        Names of `metrics.notes.evaluate_notes` whose F1 counts, equally.
        Default: COnPOff.

    Returns
    -------
    NoteDecoder
        The first best of all combinations.

    Example
    -------
    >>> from speechbrain_ext.frames import label
    >>> from speechbrain_ext.notes import NoteSequence
    >>> notes = NoteSequence([(0.1, 0.5, 60)])
    >>> song = (label(notes, 50).as_posteriors(), notes)
    >>> grid = {"min_duration_s": [0.6, 0.05]}
    >>> tune_decoder(NoteDecoder(), [song], grid).min_duration_s
    0.05
    """
    best, best_score = decoder, -1.0
    for values in product(*grid.values()):
        candidate = NoteDecoder(
            **{**decoder.settings(), **dict(zip(grid, values, strict=True))}
        )
        found = [
            evaluate_notes(reference, candidate(posteriors))
            for posteriors, reference in songs
        ]
        score = np.mean([scores[m].f1 for scores in found for m in metrics])
        if score > best_score:
            best, best_score = candidate, score
    return best


def tune_voicing(decoder, songs, thresholds):
    """Decoder whose voicing threshold gives the best contours.

    A song's score is the mean of two shares: of the voiced frames, those that
    are called voiced with a pitch at most 50 cents off; of the unvoiced ones,
    those that are called unvoiced. So it does not depend on how much is sung.

    Arguments
    ---------
    decoder : NoteDecoder
    songs : list of (FramePosteriors, np.ndarray (frames,))
        Posteriors and the true pitches as MIDI numbers: 0 unvoiced, NaN
        unknown. Songs without voiced or unvoiced frames, and posteriors
        without a contour, have no vote.
    thresholds : sequence of float
        Candidates.

    Returns
    -------
    NoteDecoder
        With the first best threshold.

    Example
    -------
    >>> said = FramePosteriors(
    ...     np.zeros(3), np.zeros(3), np.zeros((3, 1)),
    ...     voicing=np.array([0.9, 0.6, 0.1]), f0=np.full(3, 60.2),
    ... )  # fmt: skip
    >>> songs = [(said, np.array([60.0, 0.0, 0.0]))]
    >>> tune_voicing(NoteDecoder(), songs, [0.5, 0.7]).voicing_threshold
    0.7
    """
    scores = np.zeros(len(thresholds))
    for said, true in songs:
        voiced, unvoiced = true > 0, true == 0
        if said.f0 is None or not voiced.any() or not unvoiced.any():
            continue
        right = np.abs(said.f0 - true) <= 0.5
        for k, threshold in enumerate(thresholds):
            called = voiced_frames(said, threshold)
            scores[k] += np.mean((called & right)[voiced])
            scores[k] += np.mean(~called[unvoiced])
    if not scores.any():
        return decoder
    best = float(thresholds[int(np.argmax(scores))])
    return NoteDecoder(**{**decoder.settings(), "voicing_threshold": best})


class TranscriptionBrain(RecipeBrain):
    """Trains and evaluates an encoder with a `NoteHead`.

    Modules: `encoder`, `head`. Hyper-parameters: `decoder`, `decoder_grid`,
    `voicing_grid`, `seed`, `number_of_epochs`, `probe_epochs`,
    `head_optimizer`,
    `encoder_optimizer`, `lr_schedule` or `head_annealing` and
    `encoder_annealing`, `loss_weights`, `onset_positive_weight`,
    `keep_checkpoints`, `train_logger`, `output_folder`.

    During the first `probe_epochs` epochs only the head learns: the encoder
    runs in evaluation mode without gradients and stays as it is, bit by bit
    (linear probing then fine-tuning, Kumar et al., ICLR 2022).
    """

    # ---- beginning -------------------------------------------------------

    @classmethod
    def load_start(cls, hparams):
        """Load the weights that training starts from, if any are named.

        Arguments
        ---------
        hparams : dict
            Of the recipe: `start_from`, a model folder or None.
        """
        load_start(hparams, ("encoder", "head"))

    def dataset(self, rows, training=False):
        """Data set of a manifest's rows.

        Arguments
        ---------
        rows : list of dict
        training : bool
            Whether items are augmented, if the recipe has an `augment`.
            Otherwise (default) they are the segments themselves with
            the context that the encoder needs around them.

        Returns
        -------
        DynamicItemDataset
        """
        context = self.hparams.context_s
        if context is None:
            context = unwrap(self.modules.encoder).context_s
        return transcription_dataset(
            rows,
            seed=self.hparams.seed,
            epoch_counter=self.hparams.epoch_counter,
            augment=self.hparams.augment if training else None,
            context_s=0.0 if training else context,
            onset_width=self.hparams.onset_width,
        )

    # ---- one batch ------------------------------------------------------

    def probing(self, stage, epoch=None) -> bool:
        """Whether only the head is trained.

        Arguments
        ---------
        stage : speechbrain.Stage
        epoch : int, optional
            Default: the current one.

        Returns
        -------
        bool
        """
        if epoch is None:
            epoch = self.hparams.epoch_counter.current
        return stage == sb.Stage.TRAIN and epoch <= self.hparams.probe_epochs

    def compute_forward(self, batch, stage):
        """Logits of a batch.

        Arguments
        ---------
        batch : PaddedBatch
        stage : speechbrain.Stage

        Returns
        -------
        torch.Tensor (batch, frames, outputs)
        """
        batch = batch.to(self.device)
        wavs, lengths = batch.sig
        # Encoders are faster without a mask, which equal lengths do not need.
        lengths = None if bool((lengths == 1).all()) else lengths
        if self.probing(stage):
            with torch.no_grad():
                feats = self.encode(batch, lengths)
        else:
            feats = self.encode(batch, lengths)
        return self.modules.head(feats)

    def encode(self, batch, lengths):
        """Features of a batch.

        Arguments
        ---------
        batch : PaddedBatch
        lengths : torch.Tensor (batch,) or None
            Valid share of each item; None if all are valid.

        Returns
        -------
        torch.Tensor (batch, frames, channels)
        """
        return self.modules.encoder(batch.sig.data, lengths)

    def compute_objectives(self, logits, batch, stage):
        """Loss of a batch; in evaluation also keeps the posteriors.

        Arguments
        ---------
        logits : torch.Tensor (batch, frames, outputs)
        batch : PaddedBatch
        stage : speechbrain.Stage

        Returns
        -------
        torch.Tensor
            Scalar.
        """
        head = unwrap(self.modules.head)
        count = logits.shape[1]
        targets = {
            name: getattr(batch, name).data[:, :count] for name in TARGETS
        }
        bounds = batch.valid_frames.data
        index = torch.arange(count, device=logits.device)
        mask = (index >= bounds[:, :1]) & (index < bounds[:, 1:])
        terms = note_losses(
            head, logits, targets, mask, self.hparams.onset_positive_weight
        )
        if hasattr(head, "contour"):
            f0 = batch.f0_target.data[:, :count]
            terms.update(contour_losses(head, logits, f0, mask))
        weights = self.hparams.loss_weights or {}
        unknown = set(weights) - set(terms)
        if unknown:
            raise ConfigError(
                f"loss_weights names {min(unknown)}: use {', '.join(terms)}"
            )
        self.count_losses(terms)
        if stage != sb.Stage.TRAIN:
            for k, (first, last) in enumerate(bounds.tolist()):
                self.collector.append(
                    batch.song_id[k],
                    int(batch.segment[k]),
                    int(batch.n_segments[k]),
                    head.posteriors(logits[k, first:last]),
                )
                self.references[batch.song_id[k]] = batch.notes[k], batch.f0[k]
        return sum(
            weights.get(name, 1.0) * value for name, value in terms.items()
        )

    # ---- optimisation ---------------------------------------------------

    def parts(self) -> dict:
        """Parameters by the part of the model that they belong to.

        Returns
        -------
        dict of str to iterable of torch.nn.Parameter
            The YAML has a `<part>_optimizer` and a `<part>_annealing` for
            each.
        """
        return {
            "head": self.modules.head.parameters(),
            "encoder": self.modules.encoder.parameters(),
        }

    def init_optimizers(self):
        """One optimiser for each part that learns."""
        self.build_optimizers(self.parts())
        if self.checkpointer is not None:
            for name in self.optimizers_dict:
                annealing = getattr(self.hparams, f"{name}_annealing")
                if annealing is not None:
                    self.checkpointer.add_recoverable(
                        f"{name}_annealing", annealing
                    )

    def freeze_optimizers(self, optimizers):
        """Leave the encoder's optimiser out while probing.

        Arguments
        ---------
        optimizers : dict

        Returns
        -------
        dict
        """
        if self.probing(sb.Stage.TRAIN):
            return {"head": optimizers["head"]}
        return optimizers

    def on_fit_batch_start(self, batch, should_step):
        """Seed the step, set its rates, and keep a probed encoder as it is.

        Arguments
        ---------
        batch : PaddedBatch
        should_step : bool
        """
        super().on_fit_batch_start(batch, should_step)
        if self.probing(sb.Stage.TRAIN):
            self.modules.encoder.eval()

    # ---- stages ---------------------------------------------------------

    def on_stage_start(self, stage, epoch=None):
        """Reset what is gathered during a stage.

        Arguments
        ---------
        stage : speechbrain.Stage
        epoch : int, optional
        """
        self.forget_losses()
        self.collector, self.references = SongCollector(), {}

    def on_stage_end(self, stage, stage_loss, epoch=None):
        """Log, tune the decoder and keep checkpoints.

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
        songs = dict(self.collector.songs(not self.debug))
        notes, contours = self._known(songs)
        if stage == sb.Stage.VALID:
            self.tune(songs, notes, contours)
        self.estimates = {
            song_id: self.decoder(song_id)(posteriors)
            for song_id, posteriors in songs.items()
        }
        self.stats, self.melody_stats = NoteStats(), MelodyStats()
        for song_id, melody in notes.items():
            self.stats.append(song_id, melody, self.estimates[song_id])
        if stage == sb.Stage.TEST:
            self.heard = {
                song_id: F0Contour.from_posteriors(
                    posteriors, self.decoder(song_id).voicing_threshold
                )
                for song_id, posteriors in songs.items()
            }
            for song_id, contour in contours.items():
                if self.heard[song_id] is not None:
                    self.melody_stats.append(
                        song_id, contour, self.heard[song_id]
                    )
            return
        self._end_epoch(epoch, {**logs, **self.valid_logs()})

    def decoders(self) -> dict:
        """The tuned decoders, by their key in a model folder.

        Returns
        -------
        dict of str to NoteDecoder
        """
        return {"decoder": self.hparams.decoder_state.decoder}

    def decoder(self, song_id):
        """The decoder of a song.

        Arguments
        ---------
        song_id : str

        Returns
        -------
        NoteDecoder
        """
        return self.hparams.decoder_state.decoder

    def tune(self, songs, notes, contours):
        """Choose the decoder's settings on validation songs.

        Arguments
        ---------
        songs : dict of str to FramePosteriors
            By song ID.
        notes : dict of str to NoteSequence
            Of the songs whose notes are known.
        contours : dict of str to F0Contour
            Of the songs whose contour is known.
        """
        state = self.hparams.decoder_state
        if self.hparams.decoder_grid:
            state.decoder = tune_decoder(
                state.decoder,
                [(songs[k], melody) for k, melody in notes.items()],
                self.hparams.decoder_grid,
            )
        if self.hparams.voicing_grid:
            state.decoder = tune_voicing(
                state.decoder,
                [
                    (songs[k], contour.at(frame_centres(len(songs[k]))))
                    for k, contour in contours.items()
                ],
                self.hparams.voicing_grid,
            )

    def valid_logs(self) -> dict:
        """Scores of the validation songs for the training log.

        Returns
        -------
        dict of str to float
        """
        summary = self.stats.summarize()
        return {name: summary[key] for name, key in NOTE_COLUMNS.items()}

    def quality(self) -> float:
        """What the best checkpoint is chosen by; more is better.

        Returns
        -------
        float
            Mean COnPOff F1 of the validation songs.
        """
        return self.stats.summarize()["COnPOff_f1"]

    def _known(self, songs):
        """Notes and contours of the songs, by ID, where there are any."""
        known = {}, {}
        for song_id in songs:
            for path, read, found in zip(
                self.references[song_id],
                (cached_notes, cached_f0),
                known,
                strict=True,
            ):
                if path:
                    found[song_id] = read(path)
        return known

    def _end_epoch(self, epoch, logs):
        rates = {
            f"{name}_lr": optimizer.param_groups[0]["lr"]
            for name, optimizer in self.optimizers_dict.items()
        }
        for name in self.freeze_optimizers(self.optimizers_dict):
            annealing = getattr(self.hparams, f"{name}_annealing")
            if annealing is not None:
                _, rate = annealing(logs["loss"])
                sb.nnet.schedulers.update_learning_rate(
                    self.optimizers_dict[name], rate
                )
        self.hparams.train_logger.log_stats(
            {"epoch": epoch, **rates}, self.train_logs, valid_stats=logs
        )
        if self.checkpointer is not None:
            self.checkpointer.save_and_keep_only(
                meta={"quality": self.quality(), "epoch": epoch},
                max_keys=["quality"],
                num_to_keep=self.hparams.keep_checkpoints,
            )

    # ---- results --------------------------------------------------------

    def test(self, name, dataset, folder, loader_kwargs, plot_songs=3):
        """Evaluate the best checkpoint on a test set and write the results.

        Arguments
        ---------
        name : str
            Of the test set; results go to `folder/name`.
        dataset : DynamicItemDataset
            Whole songs.
        folder : str or Path
            Existing results in it are replaced.
        loader_kwargs : dict
            For the data loader.
        plot_songs : int
            Number of songs with a piano roll: the worst, the best and others
            between them. Default: 3.

        Returns
        -------
        (NoteStats, MelodyStats)
            Of the songs whose notes, and whose contour, are known. Also
            written: `scores.csv` and `f0_scores.csv` (per song), `scores.txt`
            (tables), `notes/<song>.mid` and `.csv`, `<song>.png`.
        """
        self.evaluate(
            dataset, max_key="quality", test_loader_kwargs=dict(loader_kwargs)
        )
        if not if_main_process():
            return self.stats, self.melody_stats
        from speechbrain_ext.report.plots import piano_roll

        folder = Path(folder) / name
        (folder / "notes").mkdir(parents=True, exist_ok=True)
        tables = [name]
        for stats, file in (
            (self.stats, "scores.csv"),
            (self.melody_stats, "f0_scores.csv"),
        ):
            if len(stats):
                stats.write_csv(folder / file, overwrite=True)
                tables.append(stats.table())
        with atomic_path(folder / "scores.txt", overwrite=True) as temporary:
            temporary.write_text("\n".join(tables) + "\n")
        drawn = self._drawn(plot_songs)
        for song_id, notes in self.estimates.items():
            for suffix in (".mid", ".csv"):
                write_notes(
                    notes,
                    folder / "notes" / f"{song_id}{suffix}",
                    overwrite=True,
                )
            if song_id in drawn:
                reference = self.references[song_id][0]
                piano_roll(
                    cached_notes(reference) if reference else None,
                    notes,
                    folder / f"{song_id}.png",
                    f0=self.heard[song_id],
                    title=f"{name}: {song_id}",
                    overwrite=True,
                )
        return self.stats, self.melody_stats

    def _drawn(self, count):
        """Songs to be drawn: from the worst to the best, evenly spaced."""
        found = {song.song_id: song.scores for song in self.stats.songs}
        ranked = sorted(
            self.estimates,
            key=lambda k: found[k]["COnPOff"].f1 if k in found else 0.0,
        )
        places = np.linspace(0, len(ranked) - 1, min(count, len(ranked)))
        return {ranked[round(place)] for place in places}

    def export(self, folder, name, card):
        """Write the best checkpoint as a folder that `Transcriber` loads.

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
        self.on_evaluate_start(max_key="quality")
        if not if_main_process():
            return None
        from speechbrain_ext.inference.model_folder import export_model

        modules = {
            key: unwrap(self.modules[key]) for key in ("encoder", "head")
        }
        resolved = Path(self.hparams.output_folder) / "hyperparams.yaml"
        text = model_yaml(
            resolved.read_text(encoding="utf-8"),
            name,
            self.decoders(),
            modules["encoder"],
        )
        return export_model(folder, text, modules, card, overwrite=True)


def model_yaml(resolved, name, decoders, encoder, chunk_s=30.0):
    """Text of a model folder's `hyperparams.yaml`.

    Arguments
    ---------
    resolved : str
        The recipe's YAML with references resolved.
    name : str
        Name of the model.
    decoders : dict of str to NoteDecoder
        Tuned decoders.
    encoder : torch.nn.Module
        If it, or an encoder among its arguments, has `offline_arguments` (a
        dictionary), these replace its arguments, so that nothing is looked up
        on a hub.
    chunk_s : float
        Seconds of a recording that go through the model at a time. Default:
        30.

    Returns
    -------
    str
    """
    modules = {"encoder": encoder, "head": None}
    model = model_map(resolved, name, modules, chunk_s=chunk_s)
    for key, decoder in decoders.items():
        model[key] = CommentedMap(decoder.settings())
        model[key].yaml_set_ctag(
            Tag(suffix="!new:speechbrain_ext.frames.NoteDecoder")
        )
    return yaml_text(model)


def run_transcription(
    hparams, run_opts, train, valid, tests, brain_class=TranscriptionBrain
):
    """Train, test and export a transcriber: what its recipes share.

    Arguments
    ---------
    hparams : dict
        Of the recipe, see `TranscriptionBrain`.
    run_opts : dict
        Of SpeechBrain.
    train, valid : list of dict
        Manifest rows.
    tests : dict of str to list of dict
        Manifest rows by test set.
    brain_class : type
        `TranscriptionBrain` (default) or a class derived from it.

    Returns
    -------
    dict of str to NoteStats
        By test set, of those with notes. `output_folder` gets
        `results/<test set>/`, `results/summary.txt`, `training.png` and the
        model folder `model/`; with `--debug`, its folder `debug` does.
    """
    output = Path(hparams["output_folder"])
    fault = mismatch(hparams["encoder"], hparams["head"])
    if fault:
        raise ConfigError(f"{fault}: set the head to what the encoder has")
    brain_class.load_start(hparams)
    brain = brain_class(
        modules=hparams["modules"],
        hparams=hparams,
        run_opts=run_opts,
        checkpointer=hparams["checkpointer"],
    )
    train_set = brain.dataset(train, training=True)
    valid_set = brain.dataset(valid)
    if brain.debug:
        # Two batches of training must not replace real results.
        output = output / "debug"
    brain.fit(
        hparams["epoch_counter"],
        train_set,
        valid_set,
        train_loader_kwargs=dict(hparams["train_loader"]),
        valid_loader_kwargs=dict(hparams["test_loader"]),
    )
    found = {
        name: brain.test(
            name,
            brain.dataset(rows),
            output / "results",
            hparams["test_loader"],
            hparams["plot_songs"],
        )
        for name, rows in tests.items()
    }
    results = {name: notes for name, (notes, _) in found.items() if len(notes)}
    contours = {name: f0 for name, (_, f0) in found.items() if len(f0)}
    table = "\n\n".join(
        summary_table(stats, columns, title)
        for stats, columns, title in (
            (results, NOTE_COLUMNS, "F1, %"),
            (contours, CONTOUR_COLUMNS, "F0, %"),
        )
        if stats
    )
    exported = brain.export(
        output / "model",
        hparams["experiment"],
        model_card(
            hparams["experiment"],
            train,
            table,
            "Notes (onset, offset, pitch) from a recording of one singing "
            "voice.",
            "singbrain transcribe FILE --model FOLDER_OF_THIS_CARD",
            "one voice at a time",
        ),
    )
    if if_main_process():
        from speechbrain_ext.report.plots import read_train_log, training_curves

        log = hparams["train_logger"].save_file
        if Path(log).exists():
            training_curves(read_train_log(log), output / "training.png", True)
        with atomic_path(output / "results" / "summary.txt", True) as path:
            path.write_text(table + "\n", encoding="utf-8")
        print(f"\n{table}\n\nresults, notes and pictures: {output / 'results'}")
        if exported is not None:
            print(f"model: {exported}")
    return results


# Columns of the summary, and the summary's name for their values.
NOTE_COLUMNS = {m: f"{m}_f1" for m in ("COnPOff", "COnP", "COn", "COff")}
CONTOUR_COLUMNS = {m: m for m in ("RPA", "VR", "VFA", "OA")}


def summary_table(results, columns=NOTE_COLUMNS, title="F1, %") -> str:
    """Scores of several test sets as text.

    Arguments
    ---------
    results : dict of str to SongStats
    columns : dict of str to str
        Keys of the statistics' summary by the head of their column.
        Default: F1 of the note metrics.
    title : str
        Above the names of the test sets.

    Returns
    -------
    str
        One line per test set: means in percent with the half-width of their
        95 % bootstrap interval; the protocol below.
    """
    wide = max(14, *(len(name) + 1 for name in results))
    lines = [
        f"{title:{wide}}{'songs':>6}" + "".join(f"{m:>15}" for m in columns)
    ]
    for name, stats in results.items():
        summary = stats.summarize()
        cells = [f"{percent_cell(summary, k):>15}" for k in columns.values()]
        lines.append(f"{name:{wide}}{len(stats):6}" + "".join(cells))
    protocol = next(iter(results.values())).protocol()
    return "\n".join([*lines, f"mean over songs, 95 % bootstrap; {protocol}"])
