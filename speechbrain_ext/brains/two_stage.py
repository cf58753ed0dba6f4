"""The published system of sound and lips, which is trained in two stages.

Gu et al. (ACM TOMM 2024, doi 10.1145/3651310): an audio system and a video
system, trained before, are run over all songs, clean and in each noise at each
level, and what their encoders give is kept on disk (stage 1, `dump_songs`). On
that, the residual cross-attention and a head that starts as the audio system's
are trained, one model for each noise and level, and tested in the same one
(stage 2, `run_two_stage`). In the control the video is zeros.
"""

import hashlib
import os
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import torch
from hyperpyyaml import resolve_references
from ruamel.yaml import YAML
from speechbrain.utils.distributed import (
    ddp_barrier,
    get_rank,
    if_main_process,
    infer_device,
    run_on_main,
)

from data_prep.clips import checksum
from speechbrain_ext import recipe
from speechbrain_ext.audio import split_channel
from speechbrain_ext.brains.training import unwrap
from speechbrain_ext.brains.transcription import (
    TranscriptionBrain,
    model_yaml,
    run_transcription,
)
from speechbrain_ext.encoders.two_stream import TwoStreamEncoder
from speechbrain_ext.errors import ConfigError, ModelError
from speechbrain_ext.features import (
    FeatureStore,
    check_marker,
    dump_features,
    feature_dataset,
    song_lengths,
)
from speechbrain_ext.files import atomic_path
from speechbrain_ext.inference.model_folder import (
    HYPERPARAMS,
    export_model,
    find_model,
    fingerprint,
    load_model,
)
from speechbrain_ext.inference.robustness import Condition, write_report
from speechbrain_ext.mixing.noise import (
    RECORDED,
    is_prepared,
    noisy,
    ratio_name,
)

VIDEOS = ("lips", "zeros")


class Pair(NamedTuple):
    """What one model is trained for and tested in.

    Arguments
    ---------
    noise : str or None
        Kind of noise (`mixing.noise.TYPES`); None: clean.
    noise_db : float or None
        Level of the voice above it.
    video : {"lips", "zeros"}
        What the stream of lips holds.
    """

    noise: str | None
    noise_db: float | None
    video: str

    @property
    def sound(self) -> str:
        """Name of what is heard, such as `white-10dB`."""
        if self.noise is None:
            return "clean"
        return f"{self.noise}{ratio_name(self.noise_db)}"

    @property
    def name(self) -> str:
        """Name of the model's folder, such as `white-10dB-zeros`."""
        return f"{self.sound}-{self.video}"

    @property
    def condition(self) -> Condition:
        """As the reports of robustness have it."""
        modality = "both" if self.video == "lips" else "audio"
        return Condition(
            self.noise or "clean", self.noise_db, "whole", modality
        )


def plan_pairs(noise, noise_db, video) -> list[Pair]:
    """List the models that a run is to train.

    Arguments
    ---------
    noise : str, None or list of them
        Kinds of noise; None: clean.
    noise_db : float, None or list of float
        Levels, for all kinds.
    video : str or list of str
        "lips", "zeros" or both.

    Returns
    -------
    list of Pair

    Raises
    ------
    ConfigError
        If noise has no level, or the video is something else.

    Example
    -------
    >>> [pair.name for pair in plan_pairs([None, "white"], -5, "lips")]
    ['clean-lips', 'white-5dB-lips']
    """
    noise, noise_db, video = (
        list(value) if isinstance(value, list | tuple) else [value]
        for value in (noise, noise_db, video)
    )
    levels = [float(level) for level in noise_db if level is not None]
    for name in video:
        if name not in VIDEOS:
            raise ConfigError(
                f"video is {name!r}: use one of {', '.join(VIDEOS)}"
            )
    pairs = []
    for kind in noise:
        if kind is not None and not levels:
            raise ConfigError(
                f"noise is {kind} but noise_db is null: give its level in dB"
            )
        for level in [None] if kind is None else levels:
            pairs += [Pair(kind, level, name) for name in video]
    return list(dict.fromkeys(pairs))


# ---- the systems of stage 1 ------------------------------------------------


def load_encoder(folder, stream):
    """Encoder of one stream out of a model folder.

    Arguments
    ---------
    folder : str or Path
        Of a transcriber of sound, of lips or of both.
    stream : {"audio", "video"}

    Returns
    -------
    encoder : torch.nn.Module
        In evaluation mode.
    node : ruamel.yaml.comments.CommentedMap
        How the folder's YAML builds it.

    Raises
    ------
    ModelError
        If the folder cannot be used, or its model lacks the stream.
    """
    folder = find_model(folder)
    encoder = load_model(folder, ("encoder", "head"))["encoder"]
    text = (folder / HYPERPARAMS).read_text(encoding="utf-8")
    node = YAML().load(text)["encoder"]
    part = {"audio": "audio", "video": "lips"}[stream]
    if hasattr(encoder, "lips"):
        encoder, node = getattr(encoder, part), node.get(part)
    elif stream == "video":
        encoder = None
    if encoder is None:
        raise ModelError(
            f"{folder}: its model has no encoder of {stream}: name another one "
            f"as {stream}_model"
        )
    return encoder, node


def open_stores(hparams, pairs, rows) -> dict:
    """Folders of features that some models are trained on.

    Arguments
    ---------
    hparams : dict
        See `dump_songs`.
    pairs : list of Pair
    rows : list of dict
        Manifest rows of all songs.

    Returns
    -------
    dict of str to (FeatureStore, dict or None, str)
        By what is heard or "video": the store, the arguments of
        `mixing.noise.noisy`, and the stream.

    Raises
    ------
    ConfigError
        If features were made with another model or setting or of other
        songs, or a model is missing.
    """
    if any(pair.video == "lips" for pair in pairs):
        if not hparams["video_model"]:
            raise ConfigError(
                "video is lips but video_model is null: name the model folder "
                "of a video system, or take video zeros"
            )
        seen = fingerprint(find_model(hparams["video_model"]))
    folder = Path(hparams["features_folder"])
    shared = {
        "segment_s": hparams["segment_s"],
        "context_s": hparams["context_s"],
        "type": hparams["features_type"],
        "songs": _songs(rows),
    }
    heard = fingerprint(find_model(hparams["audio_model"]))
    stores = {}
    for pair in pairs:
        if pair.sound not in stores:
            noise = _noise(hparams, pair)
            settings = {"stream": "audio", "model": heard, **shared}
            if noise is not None:
                settings |= {f"noise_{k}": v for k, v in noise.items()}
                settings["noise_folder"] = _contents(noise["folder"])
            store = FeatureStore(folder / "audio" / pair.sound, settings)
            stores[pair.sound] = store, noise, "audio"
    if any(pair.video == "lips" for pair in pairs):
        settings = {"stream": "video", "model": seen, **shared}
        stores["video"] = (
            FeatureStore(folder / "video", settings),
            None,
            "video",
        )
    return stores


def _songs(rows):
    """What tells songs from others of the same names."""
    facts = {}
    for row in rows:
        song_id = row["song_id"]
        if song_id not in facts:
            with split_channel(row["wav"])[0].open("rb") as stream:
                # Its start will do: a corpus may have gigabytes.
                facts[song_id] = hashlib.sha256(stream.read(2**20)).hexdigest()
    return checksum(sorted(facts.items()))


def _noise(hparams, pair):
    """Arguments of `noisy` for what is heard; None for clean."""
    if pair.noise is None:
        return None
    recorded = pair.noise in RECORDED
    return {
        "kind": pair.noise,
        "ratio_db": pair.noise_db,
        "folder": hparams["noise_folder"] if recorded else None,
        "level": hparams["noise_level"],
        "construction": hparams["noise_construction"] if recorded else "joined",
    }


def _contents(folder):
    """What tells recordings of noise from others."""
    if folder is None or not is_prepared(folder):
        return folder
    from data_prep.musan import INDEX

    return checksum((Path(folder) / INDEX).read_text(encoding="utf-8"))


def dump_songs(hparams, run_opts, rows) -> dict:
    """Stage 1: features of all songs, as heard and as seen, on disk.

    Arguments
    ---------
    hparams : dict
        `audio_model`, `video_model` (or None), `features_folder`,
        `features_type`, `segment_s`, `context_s`, `test_loader`; `noise`,
        `noise_db` and `video`, see `plan_pairs`; `noise_folder`,
        `noise_level`, `noise_construction`, see `mixing.noise.noisy`.
    run_opts : dict
        Of SpeechBrain.
    rows : dict of str to list of dict
        Manifest rows of all splits.

    Returns
    -------
    dict of str to FeatureStore
        By what is heard, and "video". What is there already stays; a run that
        was stopped goes on.
    """
    from tqdm import tqdm

    pairs = plan_pairs(hparams["noise"], hparams["noise_db"], hparams["video"])
    everything = [row for split in sorted(rows) for row in rows[split]]
    for pair in pairs:
        if pair.noise is not None:
            # What is wrong with it is said before hours of work.
            noisy(everything, **_noise(hparams, pair))
    stores = open_stores(hparams, pairs, everything)
    songs = list(song_lengths(everything))
    device = torch.device(run_opts["device"] or infer_device())
    share = get_rank() or 0, int(os.environ.get("WORLD_SIZE", 1))
    encoders = {}
    for name, (store, noise, stream) in stores.items():
        if not store.missing(songs):
            continue
        if stream not in encoders:
            encoder, _ = load_encoder(hparams[f"{stream}_model"], stream)
            encoders[stream] = encoder.to(device)
        encoder, context_s = encoders[stream], hparams["context_s"]
        with tqdm(
            unit="song",
            desc=f"features {name}",
            total=len(songs[share[0] :: share[1]]),
            disable=not if_main_process(),
        ) as bar:
            dump_features(
                encoder,
                store,
                everything,
                noise=noise,
                lips=stream == "video",
                context_s=encoder.context_s if context_s is None else context_s,
                device=device,
                loader=hparams["test_loader"],
                share=share,
                progress=lambda _, bar=bar: bar.update(),
            )
    ddp_barrier()
    return {name: store for name, (store, _, _) in stores.items()}


# ---- stage 2 ---------------------------------------------------------------


class TwoStageBrain(TranscriptionBrain):
    """Trains a fusion and a head on features that are on disk.

    As `TranscriptionBrain`; the parts of the encoder, a
    `encoders.two_stream.TwoStreamEncoder`, are `features.Dumped`.
    Hyper-parameters besides: `heard` and `seen`, stores of features (None:
    video zeros), which `run_two_stage` sets; `audio_model`, `video_model`,
    `export_models`.
    """

    @classmethod
    def load_start(cls, hparams):
        """Let the head start as that of another model.

        It does so before a checkpoint is recovered, so that a training that
        goes on does not start again.

        Arguments
        ---------
        hparams : dict
            Of the recipe: `start_from`, a model folder or None.

        Raises
        ------
        ConfigError
            If the heads differ.
        """
        if not hparams["start_from"]:
            return
        source, head = find_model(hparams["start_from"]), hparams["head"]
        theirs = load_model(source, ("encoder", "head"))["head"]
        shapes = [
            {key: tuple(value.shape) for key, value in one.state_dict().items()}
            for one in (head, theirs)
        ]
        facts = [
            (type(one).__name__, one.low, one.n_pitches, one.output_size)
            for one in (head, theirs)
        ]
        if facts[0] != facts[1] or shapes[0] != shapes[1]:
            raise ConfigError(
                f"{source}: its head is a {_described(theirs)} but that of the "
                f"recipe is a {_described(head)}: set the head to that, or "
                "start_from to null"
            )
        head.load_state_dict(theirs.state_dict())

    def dataset(self, rows, training=False):
        """Data set of a manifest's rows, from disk.

        Arguments
        ---------
        rows : list of dict
        training : bool
            Makes no difference: features are as they were dumped.

        Returns
        -------
        DynamicItemDataset

        Raises
        ------
        ConfigError
            If there is an `augment`, or the channels do not fit the encoder.
        ManifestError
            If features are missing.
        """
        if self.hparams.augment is not None:
            raise ConfigError(
                "features on disk cannot be augmented: set augment to null"
            )
        encoder = unwrap(self.modules.encoder)
        lengths = song_lengths(rows)
        for store, part in (
            (self.hparams.heard, encoder.audio),
            (self.hparams.seen, encoder.lips),
        ):
            if store is not None:
                store.check(lengths, part.output_size)
        return feature_dataset(
            rows,
            self.hparams.heard,
            self.hparams.seen,
            self.hparams.onset_width,
        )

    def encode(self, batch, lengths):
        """Features of a batch.

        Arguments
        ---------
        batch : PaddedBatch
        lengths : torch.Tensor (batch,) or None

        Returns
        -------
        torch.Tensor (batch, frames, channels)
        """
        return self.modules.encoder(
            batch.sig.data, lengths, batch.lips.data, batch.streams.data
        )

    def decoders(self) -> dict:
        """The tuned decoder, with sound and for lips alone.

        Returns
        -------
        dict of str to NoteDecoder
        """
        decoder = self.hparams.decoder_state.decoder
        return {"decoder": decoder, "lip_decoder": decoder}

    def export(self, folder, name, card):
        """Write encoders, fusion and head as a folder for `Transcriber`.

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
            The folder; None for the control without video, and if
            `export_models` is off.
        """
        self.on_evaluate_start(max_key="quality")
        wanted = self.hparams.export_models and self.hparams.seen is not None
        if not (wanted and if_main_process()):
            return None
        yaml = YAML()
        resolved = Path(self.hparams.output_folder) / HYPERPARAMS
        tree = yaml.load(resolved.read_text(encoding="utf-8"))
        audio, heard = load_encoder(self.hparams.audio_model, "audio")
        lips, seen = load_encoder(self.hparams.video_model, "video")
        tree["encoder"]["audio"], tree["encoder"]["lips"] = heard, seen
        stream = StringIO()
        yaml.dump(tree, stream)
        fusion = unwrap(self.modules.encoder).fusion.cpu()
        encoder = TwoStreamEncoder(lips, audio, fusion)
        # Positions count from the start of a segment, as in training.
        text = model_yaml(
            stream.getvalue(),
            name,
            self.decoders(),
            encoder,
            self.hparams.segment_s,
        )
        modules = {"encoder": encoder, "head": unwrap(self.modules.head).cpu()}
        return export_model(folder, text, modules, card, overwrite=True)


def _described(head):
    """A head in a few words."""
    return (
        f"{type(head).__name__} of {head.input_size} channels and "
        f"{head.output_size} outputs, low {head.low}, n_pitches "
        f"{head.n_pitches}"
    )


def pair_hparams(hparams, pair, heard, seen):
    """Hyper-parameters of one model, built anew in a folder of its own.

    Arguments
    ---------
    hparams : dict
        Of the run; its `output_folder` holds `recipe.yaml`.
    pair : Pair
    heard : FeatureStore
    seen : FeatureStore or None

    Returns
    -------
    dict
        With `heard` and `seen`. Its `output_folder` is `<output_folder>/<name
        of the pair>`, with `hyperparams.yaml`.
    """
    output = Path(hparams["output_folder"])
    folder = output / pair.name
    changes = {
        **pair._asdict(),
        "experiment": f"{hparams['experiment']} {pair.name}",
        "data_folder": str(hparams["data_folder"]),
        "features_folder": str(hparams["features_folder"]),
        "output_folder": str(folder),
    }
    stream = StringIO()
    YAML().dump(changes, stream)
    own, overrides = output / "recipe.yaml", stream.getvalue()

    def note():
        folder.mkdir(parents=True, exist_ok=True)
        resolved = resolve_references(recipe.compose(own, overrides))
        with atomic_path(folder / HYPERPARAMS, overwrite=True) as temporary:
            temporary.write_text(resolved.getvalue(), encoding="utf-8")

    run_on_main(note)
    hparams = recipe.load(own, overrides)
    hparams["heard"], hparams["seen"] = heard, seen
    return hparams


def run_two_stage(hparams, run_opts, rows) -> dict:
    """Dump features if need be; train and test a model for each pair.

    Arguments
    ---------
    hparams : dict
        See `dump_songs` and `TwoStageBrain`.
    run_opts : dict
        Of SpeechBrain.
    rows : dict of str to list of dict
        Manifest rows of the splits train, valid and test.

    Returns
    -------
    dict of Condition to NoteStats
        Of the test songs, each model in what it was trained for.
        `output_folder` gets a folder for each pair, see `run_transcription`,
        and, after each, `results/noise.csv`, `noise.txt` and `noise.png`. A
        run that was stopped goes on.

    Raises
    ------
    ConfigError
        If a folder holds a model that was trained on other features.
    """
    stores = dump_songs(hparams, run_opts, rows)
    results = {}
    pairs = plan_pairs(hparams["noise"], hparams["noise_db"], hparams["video"])
    for pair in pairs:
        heard = stores[pair.sound]
        seen = stores["video"] if pair.video == "lips" else None
        own = pair_hparams(hparams, pair, heard, seen)
        check_marker(
            own["output_folder"],
            {
                f"{store.settings['stream']} {key}": value
                for store in (heard, seen)
                if store is not None
                for key, value in store.settings.items()
            },
        )
        (results[pair.condition],) = run_transcription(
            own,
            run_opts,
            rows["train"],
            rows["valid"],
            {"test": rows["test"]},
            brain_class=TwoStageBrain,
        ).values()
        if if_main_process():
            folder = Path(hparams["output_folder"])
            # Two batches of training must not replace real results.
            folder = folder / "debug" if run_opts.get("debug") else folder
            write_report(results, folder / "results")
    return results
