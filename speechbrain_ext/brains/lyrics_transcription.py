"""The Brains of lyrics transcription: what is sung, and which words follow."""

from math import exp
from pathlib import Path

import speechbrain as sb
import torch
from speechbrain.dataio.dataset import DynamicItemDataset
from speechbrain.decoders import ctc_greedy_decode
from speechbrain.nnet.losses import ctc_loss, nll_loss
from speechbrain.utils.distributed import if_main_process

from speechbrain_ext.brains.training import (
    RecipeBrain,
    agreed,
    load_start,
    model_card,
    model_map,
    unwrap,
    yaml_text,
)
from speechbrain_ext.datasets import accompanied, read_slice
from speechbrain_ext.errors import ConfigError, ManifestError
from speechbrain_ext.files import atomic_path
from speechbrain_ext.heads import mismatch
from speechbrain_ext.lyrics.error_rates import LyricsStats, error_table
from speechbrain_ext.lyrics.timed import lyrics_text
from speechbrain_ext.lyrics.transcription import (
    BLANK,
    BOS,
    EOS,
    LyricsModel,
    frame_lengths,
    parts_of,
    text_of,
    tokens_of,
)
from speechbrain_ext.lyrics.words import is_spellable, plain_words


def lines_dataset(lines):
    """Data set of lines of text.

    Arguments
    ---------
    lines : dict of str to str
        By name; see `lyrics.words.is_spellable`.

    Returns
    -------
    DynamicItemDataset
        Items have `id`, `text`, and tokens, int64: `tokens (n)`, `prefix (n +
        1)`, begin and the text, and `suffix (n + 1)`, the text and the end.

    Example
    -------
    >>> item = lines_dataset({"1": "ab"})[0]
    >>> item["prefix"].tolist(), item["suffix"].tolist()
    ([1, 5, 6], [5, 6, 2])
    """

    def spelled(text):
        tokens = tokens_of(text)
        begin, end = torch.tensor([BOS]), torch.tensor([EOS])
        yield tokens
        yield torch.cat([begin, tokens])
        yield torch.cat([tokens, end])

    found = DynamicItemDataset({key: {"text": t} for key, t in lines.items()})
    names = ["tokens", "prefix", "suffix"]
    found.add_dynamic_item(spelled, takes="text", provides=names)
    found.set_output_keys(["id", "text", *names])
    return found


def lyrics_dataset(rows):
    """Data set of sung lines.

    Arguments
    ---------
    rows : list of dict
        Of a manifest with `text`, as they are or from `noisy`.

    Returns
    -------
    DynamicItemDataset
        As `lines_dataset`, from short to long, and `sig (samples)` at 16 kHz.

    Raises
    ------
    ManifestError
        If there are no rows, one has no text, or two have one ID.
    """
    if not rows:
        raise ManifestError("the manifest holds 0 lines: prepare it again")
    from data_prep.manifest import dataset_rows

    for row in rows:
        if not row.get("text"):
            raise ManifestError(
                f"{row['ID']} has no text: take a corpus with one line of "
                "lyrics per recording, such as dsing"
            )
    rows = dataset_rows(sorted(rows, key=lambda row: row["duration"]))
    found = lines_dataset({name: row["text"] for name, row in rows.items()})

    def sound(name):
        row = rows[name]
        wav = read_slice({**row, "song_end": row["stop"]}, 0.0, row["stop"])
        return torch.from_numpy(wav)

    found.add_dynamic_item(sound, takes="id", provides="sig")
    found.set_output_keys(["id", "text", "tokens", "prefix", "suffix", "sig"])
    return found


class LanguageBrain(RecipeBrain):
    """Trains a language model of characters on the lines of a corpus.

    Modules: `language_model`. Hyper-parameters: those of `RecipeBrain`,
    `language_optimizer` and `train_logger`.
    """

    def compute_forward(self, batch, stage):
        """Log-probabilities of each next character.

        Arguments
        ---------
        batch : PaddedBatch
        stage : speechbrain.Stage

        Returns
        -------
        torch.Tensor (batch, characters, 31)
        """
        prefixes, _ = batch.to(self.device).prefix
        said = self.modules.language_model(prefixes)
        said = said[0] if isinstance(said, tuple) else said
        return said.log_softmax(dim=-1)

    def compute_objectives(self, said, batch, stage):
        """Cross entropy per character.

        Arguments
        ---------
        said : torch.Tensor (batch, characters, 31)
        batch : PaddedBatch
        stage : speechbrain.Stage

        Returns
        -------
        torch.Tensor
            Scalar, nats.
        """
        targets, lengths = batch.suffix
        return nll_loss(said, targets, length=lengths)

    def init_optimizers(self):
        """One optimiser for all weights."""
        self.build_optimizers({"language": self.modules.parameters()})

    def on_stage_end(self, stage, stage_loss, epoch=None):
        """Log and keep the best and the last checkpoint.

        Arguments
        ---------
        stage : speechbrain.Stage
        stage_loss : float
        epoch : int, optional
        """
        logs = {"loss": stage_loss, "perplexity": exp(min(stage_loss, 50.0))}
        if stage == sb.Stage.TRAIN:
            self.train_logs = logs
            return
        self.hparams.train_logger.log_stats(
            {"epoch": epoch}, self.train_logs, valid_stats=logs
        )
        self.checkpointer.save_and_keep_only(
            meta={"loss": agreed(stage_loss), "epoch": epoch},
            min_keys=["loss"],
        )


def train_language_model(hparams, run_opts, train, valid):
    """Train the language model of a recipe, or load it when it is done.

    Arguments
    ---------
    hparams : dict
        `language_model`, and what starts with `language_`: `epochs`,
        `epoch_counter`, `checkpointer`, `loader`, `logger`, `optimizer`,
        `texts`, paths of text files with further lines to learn from; `seed`
        and `lr_schedule`.
    run_opts : dict
        Of SpeechBrain.
    train, valid : list of str
        Lines.

    Returns
    -------
    torch.nn.Module
        The model with its best weights.

    Raises
    ------
    LyricsError
        If a file cannot be read.
    """
    lines = [*train]
    for path in hparams["language_texts"]:
        more = map(plain_words, lyrics_text(Path(path)).splitlines())
        lines += filter(is_spellable, more)
    brain = LanguageBrain(
        modules={"language_model": hparams["language_model"]},
        hparams={
            "seed": hparams["seed"],
            "lr_schedule": hparams["lr_schedule"],
            "epoch_counter": hparams["language_epoch_counter"],
            "number_of_epochs": hparams["language_epochs"],
            "language_optimizer": hparams["language_optimizer"],
            "train_logger": hparams["language_logger"],
        },
        run_opts=run_opts,
        checkpointer=hparams["language_checkpointer"],
    )
    loader = dict(hparams["language_loader"])
    brain.fit(
        hparams["language_epoch_counter"],
        lines_dataset({str(k): line for k, line in enumerate(lines)}),
        lines_dataset({str(k): line for k, line in enumerate(valid)}),
        train_loader_kwargs=loader | {"shuffle": True},
        valid_loader_kwargs=loader,
    )
    brain.on_evaluate_start(min_key="loss")
    return unwrap(brain.modules.language_model)


class LyricsBrain(RecipeBrain):
    """Trains an encoder with a `CharacterHead` by CTC and attention.

    Modules: `encoder`, `head`. Hyper-parameters: those of `RecipeBrain`, and
    `speed` (a SpeechBrain augmentation of a batch of waveforms, or None),
    `ctc_weight`, `label_smoothing`, `encoder_optimizer`, `head_optimizer`,
    `keep_checkpoints`, `train_logger`, `output_folder`.

    The loss is `ctc_weight` of that of CTC and the rest of the decoder's cross
    entropy, given the true characters so far. Validation has the word error
    rate of the likeliest token of each frame, which needs no search.
    """

    # ---- one batch ------------------------------------------------------

    def compute_forward(self, batch, stage):
        """Log-probabilities of a batch.

        Arguments
        ---------
        batch : PaddedBatch
        stage : speechbrain.Stage

        Returns
        -------
        heard : torch.Tensor (batch, frames, 31)
        said : torch.Tensor (batch, characters, 31)
        lengths : torch.Tensor (batch,)
            Share of the frames that belongs to each item.
        """
        batch = batch.to(self.device)
        wavs, lengths = batch.sig
        if stage == sb.Stage.TRAIN and self.hparams.speed is not None:
            wavs = self.hparams.speed(wavs)
        whole = bool((lengths == 1).all())
        feats = self.modules.encoder(wavs, None if whole else lengths)
        lengths = frame_lengths(lengths, wavs.shape[1])
        prefixes, _ = batch.prefix
        return *self.modules.head(feats, lengths, prefixes), lengths

    def compute_objectives(self, predictions, batch, stage):
        """Loss of a batch; in evaluation also counts errors.

        Arguments
        ---------
        predictions : tuple
            From `compute_forward`.
        batch : PaddedBatch
        stage : speechbrain.Stage

        Returns
        -------
        torch.Tensor
            Scalar.
        """
        heard, said, lengths = predictions
        tokens, token_lengths = batch.tokens
        suffixes, suffix_lengths = batch.suffix
        terms = {
            "ctc": ctc_loss(heard, tokens, lengths, token_lengths, BLANK),
            "attention": nll_loss(
                said,
                suffixes,
                length=suffix_lengths,
                label_smoothing=self.hparams.label_smoothing,
            ),
        }
        self.count_losses(terms)
        if stage != sb.Stage.TRAIN:
            found = ctc_greedy_decode(heard, lengths, BLANK)
            for name, text, line in zip(
                batch.id, batch.text, found, strict=True
            ):
                self.errors.append(name, text, text_of(line))
        share = self.hparams.ctc_weight
        return share * terms["ctc"] + (1 - share) * terms["attention"]

    # ---- optimisation ---------------------------------------------------

    def init_optimizers(self):
        """One optimiser for the encoder, one for the head."""
        self.build_optimizers(
            {key: self.modules[key].parameters() for key in ("encoder", "head")}
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
        self.errors = LyricsStats()

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
        logs |= self.errors.rates()
        rate = self.optimizers_dict["head"].param_groups[0]["lr"]
        self.hparams.train_logger.log_stats(
            {"epoch": epoch, "lr": rate}, self.train_logs, valid_stats=logs
        )
        self.checkpointer.save_and_keep_only(
            meta={"WER": agreed(logs["WER"]), "epoch": epoch},
            min_keys=["WER"],
            num_to_keep=self.hparams.keep_checkpoints,
        )

    # ---- results --------------------------------------------------------

    def hearing(self, search, language_model=None) -> LyricsModel:
        """The best checkpoint, as what hears the words of recordings.

        Arguments
        ---------
        search : Search
        language_model : torch.nn.Module, optional
            Default: none.

        Returns
        -------
        LyricsModel
        """
        self.on_evaluate_start(min_key="WER")
        return LyricsModel(
            unwrap(self.modules.encoder),
            unwrap(self.modules.head),
            language_model,
            search,
            str(self.device),
        )

    def export(self, folder, name, card, model) -> Path:
        """Write a model as a folder that `LyricsModel.load` loads.

        Arguments
        ---------
        folder : str or Path
            An existing model folder is replaced.
        name : str
            Name of the model.
        card : str
            Model card, Markdown.
        model : LyricsModel
            From `hearing`.

        Returns
        -------
        Path
        """
        from speechbrain_ext.inference.model_folder import export_model

        modules = {"encoder": model.encoder, "head": model.head}
        if model.language_model is not None:
            modules["language_model"] = model.language_model
        resolved = Path(self.hparams.output_folder) / "hyperparams.yaml"
        text = yaml_text(
            model_map(
                resolved.read_text(encoding="utf-8"),
                name,
                modules | {"search": model.settings},
            )
        )
        return export_model(folder, text, modules, card, overwrite=True)


def score_lines(model, rows, folder=None) -> dict[str, LyricsStats]:
    """Transcribe the lines of a test set, each alone.

    Arguments
    ---------
    model : LyricsModel
    rows : list of dict
        Of a manifest with `text`, as they are or from `noisy`.
    folder : str or Path, optional
        Gets `scores.csv`, of the search, and `greedy.csv`.

    Returns
    -------
    dict of str to LyricsStats
        `scores`, of the search, and `greedy`, of the likeliest token of each
        frame.
    """
    found = {"scores": LyricsStats(), "greedy": LyricsStats()}
    for item in lyrics_dataset(rows):
        for name, hear in (("scores", model.search), ("greedy", model.greedy)):
            found[name].append(item["id"], item["text"], hear(item["sig"]))
    if folder is not None:
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for name, stats in found.items():
            stats.write_csv(folder / f"{name}.csv", overwrite=True)
    return found


def load_encoder(hparams):
    """Load an encoder's weights from a model of any task, if one is named.

    Arguments
    ---------
    hparams : dict
        Of the recipe: `encoder_from`, a model folder with `encoder` and
        `head`, the name of a shipped one, or None; and `encoder`.

    Raises
    ------
    ModelError
        If the folder holds no such model.
    ConfigError
        If its encoder is another one.
    """
    if not hparams["encoder_from"]:
        return
    from speechbrain_ext.inference.model_folder import find_model, load_model

    folder = find_model(hparams["encoder_from"])
    found = load_model(folder, ("encoder", "head"))["encoder"].state_dict()
    try:
        hparams["encoder"].load_state_dict(found)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:150]
        raise ConfigError(
            f"encoder_from: {folder} has another encoder: set encoder to its "
            f"own ({reason})"
        ) from None


def run_lyrics_transcription(hparams, run_opts, train, valid, tests):
    """Train, test and export what transcribes lyrics: all of its recipes.

    Arguments
    ---------
    hparams : dict
        Of the recipe: see `LyricsBrain`, `train_language_model`,
        `load_encoder` and `training.load_start`;
        `search`; `max_train_s`, longest line that is trained on in seconds;
        `test_mix_db`, levels of the voice above its accompaniment at which
        test sets that have accompaniments are heard as well, and
        `noise_level`, what they mean.
    run_opts : dict
        Of SpeechBrain.
    train, valid : list of dict
        Manifest rows, with `text`.
    tests : dict of str to list of dict
        Manifest rows by test set, likewise.

    Returns
    -------
    dict of str to LyricsStats
        By test set. `output_folder` gets `results/<test set>/`,
        `results/summary.txt`, `training.png` and the model folder `model/`;
        with `--debug`, its folder `debug` does.

    Raises
    ------
    ConfigError
        If settings do not fit together.
    ManifestError
        If no training line is short enough.
    """
    from speechbrain_ext.inference.model_folder import find_model

    output, search = Path(hparams["output_folder"]), hparams["search"]
    fault = mismatch(hparams["encoder"], hparams["head"])
    if fault:
        raise ConfigError(f"{fault}: set the head to what the encoder has")
    if not 0 < hparams["ctc_weight"] < 1:
        raise ConfigError(
            f"ctc_weight is {hparams['ctc_weight']}: give a number between 0 "
            "and 1"
        )
    longest = hparams["max_train_s"]
    short = [row for row in train if row["duration"] <= longest]
    if not short:
        raise ManifestError(
            f"all {len(train)} training lines are longer than max_train_s, "
            f"{longest:g} s: raise it"
        )
    ratios, level = hparams["test_mix_db"], hparams["noise_level"]
    for name, part in [*tests.items()]:
        if all(row.get("accomp_wav") for row in part):
            mixed = accompanied(part, ratios, level)
            tests = tests | {f"{name}_{k}": x for k, x in mixed.items()}
    load_encoder(hparams)
    if hparams["start_from"]:
        # With its language model, if it has one, even if none is wanted here.
        load_start(hparams, parts_of(find_model(hparams["start_from"])))
    language_model = None
    if search.lm_weight:
        language_model = train_language_model(
            hparams,
            run_opts,
            [row["text"] for row in train],
            [row["text"] for row in valid],
        )
    brain = LyricsBrain(
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
        lyrics_dataset(short),
        lyrics_dataset(valid),
        train_loader_kwargs=dict(hparams["train_loader"]),
        valid_loader_kwargs=dict(hparams["test_loader"]),
    )
    model = brain.hearing(search, language_model)
    if not if_main_process():
        return {}
    results, lines = {}, {}
    for name, part in tests.items():
        found = score_lines(model, part, output / "results" / name)
        results[name] = lines[name] = found["scores"]
        lines[f"{name}, greedy"] = found["greedy"]
    table = error_table(lines)
    name = hparams["experiment"]
    card = model_card(
        name,
        short,
        table,
        "Words of a sung line, in small letters.",
        "LyricsModel.load(FOLDER_OF_THIS_CARD).search(wav)",
    )
    exported = brain.export(output / "model", name, card, model)
    from speechbrain_ext.report.plots import read_train_log, training_curves

    log = hparams["train_logger"].save_file
    if Path(log).exists():
        training_curves(read_train_log(log), output / "training.png", True)
    with atomic_path(output / "results" / "summary.txt", True) as path:
        path.write_text(table + "\n", encoding="utf-8")
    print(f"\n{table}\n\nresults: {output / 'results'}\nmodel: {exported}")
    return results
