"""From a recording of several singers to each of them alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import numpy as np

from speechbrain_ext import audio
from speechbrain_ext.errors import AudioError, ConfigError, ModelError
from speechbrain_ext.files import atomic_path
from speechbrain_ext.inference.model_folder import (
    HYPERPARAMS,
    build_model,
    find_model,
    load_model,
)
from speechbrain_ext.inference.separator import BLOCK_S, writing_files
from speechbrain_ext.inference.singer_stitching import (
    BY_SPANS,
    SingerStitcher,
    Stitching,
)
from speechbrain_ext.inference.transcriber import checked_device
from speechbrain_ext.inference.transfer import Tape, put_masks

SHIPPED = "singer_splitter"  # the model folder that is taken by default
MODES = ("duet", "main")

# Cosine of the magnitudes of two outputs from which they are one voice in any
# case, and how likely that is to be told of else.
ONE_VOICE, LIKELY = 0.85, 0.5

# An output is nearly silent if it is so far below the loudest one, dB.
NEARLY_SILENT_DB = -35.0

# Borders with less confidence are told of.
DOUBTFUL = 0.75


class Split(NamedTuple):
    """What became of a recording.

    Arguments
    ---------
    seconds : float
        Its length.
    sample_rate, channels : int
        Of the recording and of its voices.
    times : np.ndarray (borders,)
        Seconds at which the voices of neighbouring chunks were joined.
    confidences : np.ndarray (borders,)
        How sure that is, 0 to 1.
    likeness : np.ndarray (voices, voices)
        See `singer_stitching.Decision`.
    levels_db : np.ndarray (voices,)
        Of the voices, relative to the loudest.
    one_voice : np.ndarray (voices, voices)
        How likely two of them are one, 0 to 1 (`inference.one_voice`).
    warnings : list of str
        One line for everything that is to be told.
    """

    seconds: float
    sample_rate: int
    channels: int
    times: np.ndarray
    confidences: np.ndarray
    likeness: np.ndarray
    levels_db: np.ndarray
    one_voice: np.ndarray
    warnings: list[str]

    def as_json(self) -> dict:
        """All of it as plain numbers and lists.

        Returns
        -------
        dict
            By the names of the fields; None for what is not finite.
        """
        return {name: _plain(value) for name, value in self._asdict().items()}

    def write_confidences(self, path, overwrite: bool = False) -> None:
        """Write a CSV with a row for each border of two chunks.

        Arguments
        ---------
        path : str or Path
            The file. Columns: time_s, confidence (0 to 1).
        overwrite : bool
            Whether an existing file may be replaced. Default: False.

        Raises
        ------
        OutputError
            If the file exists or cannot be written.
        """
        rows = zip(self.times, self.confidences, strict=True)
        lines = [f"{time:.3f},{sure:.4f}" for time, sure in rows]
        text = "\n".join(["time_s,confidence", *lines, ""])
        with atomic_path(path, overwrite) as temporary:
            temporary.write_text(text, "utf-8", newline="\n")


def _plain(value):
    """A value for JSON."""
    if isinstance(value, np.ndarray):
        return [_plain(part) for part in value.tolist()]
    if isinstance(value, list):
        return [_plain(part) for part in value]
    if isinstance(value, float):
        return round(value, 4) if np.isfinite(value) else None
    return value


def count_singers(source=None) -> int:
    """How many singers a model tells apart; its weights are not read.

    Arguments
    ---------
    source : str or Path, optional
        See `SingerSplitter.from_hparams`.

    Returns
    -------
    int

    Raises
    ------
    ModelError
        If the folder is missing, unreadable or unsafe, or the model does not
        tell singers apart.

    Example
    -------
    >>> count_singers()
    2
    """
    folder = find_model(source, SHIPPED)
    return _count(folder, build_model(folder))


def _count(folder, hparams):
    """How many voices a model gives, none of which is an accompaniment."""
    sources = getattr(hparams.get("separator"), "sources", None)
    if sources is None:
        raise _unusable(folder, "separator")
    if {"vocals", "accompaniment"} & set(sources):
        raise ModelError(
            f"{folder}: its sources are {', '.join(sources)}: take a model "
            "that tells singers apart, or `singbrain separate`"
        )
    return len(sources)


def _unusable(folder, key):
    return ModelError(
        f"{folder}: {HYPERPARAMS} has no usable '{key}': is this a model of "
        "another kind?"
    )


class SingerSplitter:
    """A trained separator of singers, for recordings of any rate and length.

    Voices have the recording's sample rate, channels, length and level. Masks
    are found in the mean of its channels, at the model's rate, and put on the
    spectra of all channels, so that nobody is left in one channel and right in
    the other; they add up to the recording. Which output is whose is decided
    over the whole recording (`singer_stitching`).

    Arguments
    ---------
    separator : separation.separator.MaskSeparator
        Its `sources` are as many as it has outputs.
    stitching : singer_stitching.Stitching, optional
        How chunks are made and put together. Default: ours.
    mode : {"duet", "main"}
        "main" puts the loudest voice first. Default: duet, where the order is
        that of the first chunk.
    batch_size : int
        Most chunks per forward pass. Default: 1.
    add_up : bool
        Whether what the voices lack to the recording is shared among them.
        Default: True.
    model_name : str
        Shown to the user.
    device : str
        "cpu", "cuda", "cuda:1", "mps" ... Default: "cpu".

    Raises
    ------
    ConfigError
        If the mode is unknown, the device does not exist here, or
        `batch_size` is not positive.
    ModelError
        If the separator gives no masks.

    Example
    -------
    >>> from speechbrain_ext.separation.separator import MaskSeparator
    >>> from speechbrain_ext.separation.tasnet import ConvTasNet
    >>> network = ConvTasNet(513, channels=4, hidden=8, skip=4, n_repeats=1)
    >>> splitter = SingerSplitter(MaskSeparator(network, ["one", "two"]))
    >>> wav = np.random.default_rng(0).uniform(-0.1, 0.1, (44100, 2))
    >>> voices, told = splitter.split(wav, 44100)
    >>> voices.shape, bool(np.allclose(voices.sum(0), wav, atol=1e-6))
    ((2, 44100, 2), True)
    """

    def __init__(
        self,
        separator,
        stitching=None,
        mode="duet",
        batch_size=1,
        add_up=True,
        model_name="",
        device="cpu",
    ):
        if mode not in MODES:
            raise ConfigError(
                f"mode is {mode!r}: use one of {', '.join(MODES)}"
            )
        if batch_size < 1:
            raise ConfigError(f"batch_size is {batch_size}: use 1 or more")
        if not hasattr(separator, "masks"):
            raise ModelError(
                "the model gives waveforms and no masks: singers are split by "
                "a MaskSeparator"
            )
        self.device = checked_device(device)
        self.separator = separator.eval().to(self.device)
        self.stitching = Stitching() if stitching is None else stitching
        self.mode, self.batch_size, self.add_up = mode, batch_size, add_up
        self.model_name = model_name

    @classmethod
    def from_hparams(
        cls,
        source=None,
        device="cpu",
        overrides=None,
        mode="duet",
        singers=None,
        **settings,
    ) -> SingerSplitter:
        """Load a model folder, offline and without running code from it.

        Arguments
        ---------
        source : str or Path, optional
            Model folder, as `brains.singers` exports it, or name of a shipped
            model. Default: the shipped one, "singer_splitter".
        device : str
            Where to compute. Default: "cpu".
        overrides : dict, optional
            Changes to the folder's settings.
        mode : {"duet", "main"}
            Default: duet.
        singers : int, optional
            How many outputs are wanted. Default: as the model has.
        **settings
            See `SingerSplitter`.

        Returns
        -------
        SingerSplitter

        Raises
        ------
        ModelError
            If the folder is missing, incomplete, unreadable or unsafe.
        ConfigError
            If an override, the mode or the device is unknown, or the model
            tells another number of singers apart.
        """
        device = checked_device(device)
        if mode not in MODES:
            raise ConfigError(
                f"mode is {mode!r}: use one of {', '.join(MODES)}"
            )
        folder = find_model(source, SHIPPED)
        hparams = load_model(folder, ("separator",), overrides)
        count = _count(folder, hparams)
        separator = hparams["separator"]
        if not isinstance(hparams.get("sample_rate"), int):
            raise _unusable(folder, "sample_rate")
        if separator.sample_rate != hparams["sample_rate"]:
            raise ModelError(
                f"{folder}: the model works at {hparams['sample_rate']} Hz but "
                f"its separator at {separator.sample_rate} Hz"
            )
        if singers is not None and singers != count:
            raise ConfigError(
                f"{folder}: the model tells {count} voices apart, not "
                f"{singers}: change --singers or --model"
            )
        name = str(hparams.get("model_name", folder.name))
        return cls(
            separator, mode=mode, model_name=name, device=device, **settings
        )

    @property
    def singers(self) -> tuple[str, ...]:
        """Names of the voices: singer1, singer2 ..."""
        count = len(self.separator.sources)
        return tuple(f"singer{k}" for k in range(1, count + 1))

    def split(
        self, wav, sample_rate, progress=None
    ) -> tuple[np.ndarray, Split]:
        """Split a signal in memory.

        Arguments
        ---------
        wav : np.ndarray or torch.Tensor (samples,) or (samples, channels)
            Full scale = 1.
        sample_rate : int
            Its rate in hertz.
        progress : callable, optional
            Called with the seconds done.

        Returns
        -------
        np.ndarray (voices, samples) or (voices, samples, channels), float32
        Split

        Raises
        ------
        AudioError
            If the signal is empty, not finite or has another shape.
        """
        wav = audio.as_signal(wav)
        rows = wav.reshape(len(wav), -1)
        size = audio.seconds_to_samples(BLOCK_S, sample_rate)

        def blocks():
            return (rows[k : k + size] for k in range(0, len(rows), size))

        with self._decided(blocks, sample_rate, progress) as decision:
            parts = list(self._voices(decision, blocks(), sample_rate))
            told = self._told(
                decision, len(rows) / sample_rate, sample_rate, rows.shape[1]
            )
        voices = np.concatenate(parts).swapaxes(0, 1)
        return voices.reshape(len(voices), *wav.shape), told

    def split_file(
        self,
        path,
        outputs: dict,
        overwrite=False,
        progress: Callable | None = None,
    ) -> Split:
        """Split a file of any length, into files.

        The file is read twice, or three times for ways that need spans. Formats
        are kept as `VoiceSeparator.separate_file` keeps them.

        Arguments
        ---------
        path : str or Path
            Audio file, or video with sound, of any rate and channel count.
        outputs : dict of path to str
            Files to write, ending in .wav, .flac or .mp3, with the names of
            their voices (`singers`). All of them are written, or none.
        overwrite : bool
            Whether existing files may be replaced. Default: False.
        progress : callable, optional
            Called with the seconds done.

        Returns
        -------
        Split

        Raises
        ------
        AudioError
            If the file cannot be read, is silent from end to end or to voice
            activity, or a format cannot hold its rate or channels.
        ConfigError
            If the model has no such voice.
        OutputError
            If an output exists or cannot be written.
        """
        info = audio.audio_info(path)
        for name in outputs.values():
            if name not in self.singers:
                raise ConfigError(
                    f"the model gives no voice '{name}': use some of "
                    f"{', '.join(self.singers)}"
                )
        places = [self.singers.index(name) for name in outputs.values()]
        rate, done = info.sample_rate, 0

        def blocks():
            return audio.stream_audio(
                path, BLOCK_S, sample_rate=None, mono=False
            )

        with ExitStack() as stack:
            files = stack.enter_context(
                writing_files(
                    [(file, info.channels) for file in outputs], info, overwrite
                )
            )
            decision = stack.enter_context(
                self._decided(blocks, rate, progress)
            )
            if not np.isfinite(decision.levels_db).any():
                way = self.stitching
                raise AudioError(
                    f"{path}: voice activity '{way.activity}' finds no voice: "
                    "use another one with --vad, or another --stitching"
                    if way.way in BY_SPANS
                    else f"{path}: is silent: there are no voices to split"
                )
            for voices in self._voices(decision, blocks(), rate, path):
                for writer, place in zip(files.writers, places, strict=True):
                    writer.write(voices[:, place])
                done += len(voices)
        told = self._told(decision, done / rate, rate, info.channels, path)
        return told._replace(warnings=[*told.warnings, *files.warnings])

    @contextmanager
    def _decided(self, blocks, sample_rate, progress):
        """What is decided about a recording, in the order of the mode."""
        stitcher = SingerStitcher(
            self.separator, self.stitching, self.batch_size, self.device
        )
        with stitcher.decide(blocks, sample_rate, progress) as decision:
            if self.mode == "main":
                decision.reorder(np.argsort(-decision.levels_db, kind="stable"))
            yield decision

    def _voices(
        self,
        decision,
        blocks: Iterable[np.ndarray],
        sample_rate,
        name="the signal",
    ) -> Iterator[np.ndarray]:
        """Voices (samples, voices, channels), in pieces."""
        tape, waiting, done = Tape(), iter(blocks), 0

        def fill(sample):
            while tape.end < sample:
                block = next(waiting, None)
                if block is None:
                    return
                tape.append(block)

        for mixture, voices in put_masks(
            self.separator, decision.masks(), tape, sample_rate, fill
        ):
            if not np.isfinite(voices).all():
                raise AudioError(
                    f"{name}: the model finds no numbers for what follows "
                    f"{done / sample_rate:g} s: its level is far outside -1 to "
                    "1; normalise it"
                )
            done += len(mixture)
            if self.add_up:
                missing = (mixture - voices.sum(axis=1)) / voices.shape[1]
                voices = voices + missing[:, None]
            yield voices

    def _told(self, decision, seconds, rate, channels, name="the signal"):
        """All that is to be said of a recording."""
        warnings = []
        names, levels = self.singers, decision.levels_db
        silent = levels <= NEARLY_SILENT_DB
        if not np.isfinite(levels).any():
            silent[:] = False
        for k in np.flatnonzero(silent):
            warnings.append(
                f"{name}: {names[k]} is nearly silent ({levels[k]:.0f} dB): "
                "there may be fewer singers"
            )
        for i in range(len(names)):
            for j in range(i + 1, len(names)):
                alike = decision.likeness[i, j]
                likely = decision.one_voice[i, j] >= LIKELY
                if not (likely or alike >= ONE_VOICE) or silent[[i, j]].any():
                    continue
                same, why = decision.same_pitch[i, j], ""
                if not np.isnan(same):
                    why = f"same pitch in {100 * same:.0f} % of their tones, "
                warnings.append(
                    f"{name}: {names[i]} and {names[j]} seem to be one voice "
                    f"({why}likeness {alike:.2f}): there may be fewer singers, "
                    "or they sing in unison or in turn"
                )
        doubtful = np.flatnonzero(decision.confidences < DOUBTFUL)
        if len(doubtful) and not len(warnings):
            worst = doubtful[decision.confidences[doubtful].argmin()]
            more = f" and {len(doubtful) - 1} more" if len(doubtful) > 1 else ""
            warnings.append(
                f"{name}: singers may change places at "
                f"{decision.times[worst]:.1f} s (confidence "
                f"{decision.confidences[worst]:.2f}){more}"
            )
        return Split(
            seconds,
            rate,
            channels,
            decision.times,
            decision.confidences,
            decision.likeness,
            decision.levels_db,
            decision.one_voice,
            warnings,
        )
