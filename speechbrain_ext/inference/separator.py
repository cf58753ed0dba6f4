"""From a recording to its voice and its accompaniment with a trained model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from speechbrain_ext import audio
from speechbrain_ext.errors import AudioError, ConfigError, ModelError
from speechbrain_ext.files import atomic_paths
from speechbrain_ext.inference.model_folder import (
    HYPERPARAMS,
    find_model,
    load_model,
)
from speechbrain_ext.inference.transcriber import checked_device
from speechbrain_ext.inference.transfer import CHUNK_S, estimate_sources
from speechbrain_ext.separation import SOURCES

# Sources that take what the others leave, the first that a model has.
REMAINDERS = ("accompaniment", "other")

# Seconds read and handed on at a time.
BLOCK_S = 5.0

# `VoiceSeparator.from_hparams("demucs:<name>")`.
DEMUCS = "demucs:"


class Separated(NamedTuple):
    """What became of a recording.

    Arguments
    ---------
    seconds : float
        Its length.
    sample_rate, channels : int
        Of the recording and of its stems.
    warnings : list of str
        One line for each file that is not quite what was asked for.
    """

    seconds: float
    sample_rate: int
    channels: int
    warnings: list[str]


class VoiceSeparator:
    """A trained separator, ready for recordings of any rate and length.

    Stems have the recording's sample rate, channels, length and level. They
    add up to it: what the sources that are estimated leave goes to the
    accompaniment (of a model that has none, to its source `other`, else to the
    last one). Nothing is normalised: what a model says about a second of music
    does not depend on an hour that follows.

    Arguments
    ---------
    separator : torch.nn.Module
        See `transfer.estimate_sources`, for example a `MaskSeparator`.
    chunk_s : float
        Seconds per chunk, context not counted. Default: 30.
    batch_size : int
        Most single-channel spectra, or waveforms, per forward pass: more can
        be faster on a GPU and needs more memory. Default: 1.
    add_up : bool
        False takes the model's own estimate of every source. Default: True.
    model_name : str
        Shown to the user.
    device : str
        "cpu", "cuda", "cuda:1", "mps" ... Default: "cpu".

    Raises
    ------
    ModelError
        If `chunk_s` is not positive.
    ConfigError
        If the device does not exist here, or `batch_size` is not positive.

    Example
    -------
    >>> from speechbrain_ext.separation.recurrent import RecurrentNetwork
    >>> from speechbrain_ext.separation.separator import MaskSeparator
    >>> network = RecurrentNetwork(hidden_size=4)
    >>> separator = VoiceSeparator(MaskSeparator(network))
    >>> wav = np.random.default_rng(0).uniform(-1, 1, (44100, 2))
    >>> stems = separator.separate(wav, 44100)
    >>> list(stems), stems["vocals"].shape
    (['vocals', 'accompaniment'], (44100, 2))
    >>> bool(np.allclose(sum(stems.values()), wav, atol=1e-6))
    True
    """

    def __init__(
        self,
        separator,
        chunk_s=CHUNK_S,
        batch_size=1,
        add_up=True,
        model_name="",
        device="cpu",
    ):
        if not chunk_s > 0:
            raise ModelError(f"chunk_s is {chunk_s} s: it must be positive")
        if batch_size < 1:
            raise ConfigError(f"batch_size is {batch_size}: use 1 or more")
        self.device = checked_device(device)
        self.separator = separator.eval().to(self.device)
        self.chunk_s, self.batch_size = float(chunk_s), batch_size
        self.add_up = add_up
        self.model_name = model_name

    @classmethod
    def from_hparams(
        cls, source=None, device="cpu", overrides=None
    ) -> VoiceSeparator:
        """Load a model folder, offline and without running code from it.

        Arguments
        ---------
        source : str or Path, optional
            Model folder, name of a shipped model, or `demucs:<name>` for a
            model of the package demucs, which fetches its weights when they are
            first used. Default: the shipped separator.
        device : str
            Where to compute. Default: "cpu".
        overrides : dict, optional
            Changes to the folder's settings, such as `{"chunk_s": 10}`.

        Returns
        -------
        VoiceSeparator

        Raises
        ------
        ModelError
            If the folder is missing, incomplete, unreadable or unsafe.
        ConfigError
            If an override or the device is unknown.
        DependencyError
            If demucs, or its model, is missing.
        """
        device = checked_device(device)
        if str(source).startswith(DEMUCS):
            from speechbrain_ext.inference.demucs import load_demucs

            if overrides:
                raise ConfigError(
                    f"{source}: has no settings to override: leave out "
                    f"{', '.join(overrides)}"
                )
            model = load_demucs(str(source)[len(DEMUCS) :])
            return cls(model, model_name=str(source), device=device)
        folder = find_model(source, "separator")
        hparams = load_model(folder, ("separator",), overrides)
        separator = hparams["separator"]
        chunk_s = hparams.get("chunk_s", CHUNK_S)
        rate = hparams.get("sample_rate")
        for key, right in (
            ("separator", hasattr(separator, "sources")),
            ("sample_rate", isinstance(rate, int)),
            ("chunk_s", isinstance(chunk_s, int | float)),
        ):
            if not right:
                raise ModelError(
                    f"{folder}: {HYPERPARAMS} has no usable '{key}': is this "
                    "a model of another kind?"
                )
        if separator.sample_rate != rate:
            raise ModelError(
                f"{folder}: the model works at {rate} Hz but its separator at "
                f"{separator.sample_rate} Hz"
            )
        return cls(
            separator,
            chunk_s,
            model_name=str(hparams.get("model_name", folder.name)),
            device=device,
        )

    @property
    def stems(self) -> tuple[str, ...]:
        """Names of what can be asked for, `mixture` aside."""
        sources = self.separator.sources
        if "vocals" in sources and "accompaniment" not in sources:
            return (*sources, "accompaniment")
        return tuple(sources)

    def checked_stems(self, stems=None) -> tuple[str, ...]:
        """Names of stems, checked.

        Arguments
        ---------
        stems : iterable of str, optional
            Some of `stems`, or `mixture` (the mean of the channels). Default:
            vocals and accompaniment; all sources of a model without voice.

        Returns
        -------
        tuple of str

        Raises
        ------
        ConfigError
            If the model knows no such stem, or none is named.
        """
        if stems is None:
            return SOURCES if set(SOURCES) <= set(self.stems) else self.stems
        stems = tuple(dict.fromkeys(stems))
        if not stems:
            raise ConfigError(f"no stem: name some of {', '.join(self.stems)}")
        for stem in stems:
            if stem not in (*self.stems, "mixture"):
                raise ConfigError(
                    f"the model gives no stem '{stem}': use some of "
                    f"{', '.join(self.stems)}"
                )
        return stems

    def separate(
        self, wav, sample_rate, stems=None, progress=None, phones=None
    ) -> dict[str, np.ndarray]:
        """Separate a signal in memory.

        Arguments
        ---------
        wav : np.ndarray or torch.Tensor (samples,) or (samples, channels)
            Full scale = 1.
        sample_rate : int
            Its rate in hertz.
        stems : iterable of str, optional
            See `checked_stems`.
        progress : callable, optional
            Called with the seconds done.
        phones : Posteriorgram, optional
            What is sung, and when, for models that have to be told.

        Returns
        -------
        dict of str to np.ndarray, float32
            Of the same shape; `mixture` is (samples,).

        Raises
        ------
        AudioError
            If the signal is empty, not finite or has another shape.
        ConfigError
            If the model knows no such stem.
        """
        wav = audio.as_signal(wav)
        rows = wav.reshape(len(wav), -1)
        size = audio.seconds_to_samples(BLOCK_S, sample_rate)
        blocks = (rows[k : k + size] for k in range(0, len(rows), size))
        parts = list(
            self.stream(blocks, sample_rate, stems, progress, phones=phones)
        )
        joined = {
            name: np.concatenate([part[name] for part in parts])
            for name in parts[0]
        }
        return {
            name: values[:, 0]
            if name == "mixture"
            else values.reshape(wav.shape)
            for name, values in joined.items()
        }

    def stream(
        self,
        blocks: Iterable[np.ndarray],
        sample_rate: int,
        stems=None,
        progress: Callable | None = None,
        name="the signal",
        phones=None,
    ) -> Iterator[dict[str, np.ndarray]]:
        """Separate a stream in bounded memory.

        Arguments
        ---------
        blocks : iterable of np.ndarray (samples, channels), float32
            The recording in pieces of any length.
        sample_rate : int
            Its rate in hertz.
        stems : iterable of str, optional
            See `checked_stems`.
        progress : callable, optional
            Called with the seconds done.
        name : str or Path
            What error messages call the recording.
        phones : Posteriorgram, optional
            As in `separate`.

        Yields
        ------
        dict of str to np.ndarray (samples, channels), float32
            The next samples of each stem; `mixture` has one channel.

        Raises
        ------
        AudioError
            If the model finds no numbers.
        ConfigError
            If the model knows no such stem, or takes no phones.
        ModelError
            If the model needs phones.
        """
        sources, recipes = self._recipes(self.checked_stems(stems))
        done = 0
        for mixture, estimates in estimate_sources(
            self._told(phones),
            blocks,
            sample_rate,
            sources,
            self.chunk_s,
            self.batch_size,
            self.device,
        ):
            if not np.isfinite(estimates).all():
                raise AudioError(
                    f"{name}: the model finds no numbers for what follows "
                    f"{done / sample_rate:g} s: its level is far outside -1 to "
                    "1; normalise it"
                )
            yield {
                stem: make(mixture, estimates) for stem, make in recipes.items()
            }
            done += len(mixture)
            if progress is not None:
                progress(done / sample_rate)

    def _told(self, phones):
        """The separator together with the phones, if there are any."""
        if phones is None:
            return self.separator
        if not getattr(self.separator, "side_size", 0):
            raise ConfigError(
                "the model hears the sound alone: leave out the phones, or "
                "choose a model that is told them"
            )
        return self.separator.singing(phones)

    def _recipes(self, stems):
        """Sources to estimate, and how each stem is made of them."""
        sources = list(self.separator.sources)
        rest = next((n for n in REMAINDERS if n in sources), sources[-1])
        own = {}  # stems that are one estimate
        left = {}  # stems that are the mixture without some estimates
        for stem in stems:
            if stem == "mixture":
                continue
            if stem not in sources:
                left[stem] = ["vocals"]
            elif stem == rest and self.add_up:
                left[stem] = [name for name in sources if name != rest]
            else:
                own[stem] = stem
        wanted = [
            name
            for name in sources
            if name in own or any(name in names for names in left.values())
        ]
        # A model has to run for the mixture alone, too.
        wanted = wanted or sources[:1]
        place = {name: k for k, name in enumerate(wanted)}

        def make(stem):
            if stem == "mixture":
                return lambda mix, _: mix.mean(axis=1, keepdims=True)
            if stem in own:
                return lambda _, est: est[:, place[stem]]
            places = [place[name] for name in left[stem]]
            return lambda mix, est: mix - est[:, places].sum(axis=1)

        return [sources.index(n) for n in wanted], {s: make(s) for s in stems}

    def separate_file(
        self,
        path,
        outputs: dict,
        overwrite=False,
        progress: Callable | None = None,
        listen: Callable | None = None,
        phones=None,
    ) -> Separated:
        """Separate a file of any length, into files.

        WAV and FLAC keep the recording's sample format where they can hold it
        (at least 16 bits). A stem that goes beyond full scale makes a WAV file
        of floats; FLAC has none and is clipped there, MP3 keeps it. Each is
        told of in a warning.

        Arguments
        ---------
        path : str or Path
            Audio file, or video with sound, of any rate and channel count.
        outputs : dict of path to str
            Files to write, ending in .wav, .flac or .mp3, with their stems
            (see `checked_stems`). All of them are written, or none.
        overwrite : bool
            Whether existing files may be replaced. Default: False.
        progress : callable, optional
            Called with the seconds done.
        listen : callable, optional
            Called with the sample rate and the next samples of every stem and
            of the mixture, as `stream` gives them.
        phones : Posteriorgram, optional
            As in `separate`.

        Returns
        -------
        Separated

        Raises
        ------
        AudioError
            If the file cannot be read, or a format cannot hold its rate or
            channels.
        ConfigError
            If the model knows no such stem.
        OutputError
            If an output exists or cannot be written.
        """
        info = audio.audio_info(path)
        heard = ["mixture"] if listen is not None else []
        stems = self.checked_stems([*outputs.values(), *heard])
        blocks = audio.stream_audio(path, BLOCK_S, sample_rate=None, mono=False)
        done = 0
        targets = [
            (name, 1 if stem == "mixture" else info.channels)
            for name, stem in outputs.items()
        ]
        with writing_files(targets, info, overwrite) as files:
            for parts in self.stream(
                blocks, info.sample_rate, stems, progress, path, phones
            ):
                for writer, stem in zip(
                    files.writers, outputs.values(), strict=True
                ):
                    writer.write(parts[stem])
                if listen is not None:
                    listen(info.sample_rate, parts)
                done += len(parts[stems[0]])
        seconds = done / info.sample_rate
        return Separated(
            seconds, info.sample_rate, info.channels, files.warnings
        )


class Files:
    """Files that are written together.

    Arguments
    ---------
    writers : list of audio.AudioWriter
    warnings : list of str
        What is to be said of them, once they are written.
    """

    def __init__(self, writers):
        self.writers, self.warnings = writers, []


@contextmanager
def writing_files(targets, info, overwrite=False) -> Iterator[Files]:
    """Write what is made of a recording: all files, or none.

    Arguments
    ---------
    targets : list of (path, int)
        Files, ending in .wav, .flac or .mp3, and their channels.
    info : audio.AudioInfo
        Of the recording, whose rate and sample format are kept.
    overwrite : bool
        Whether existing files may be replaced. Default: False.

    Yields
    ------
    Files

    Raises
    ------
    AudioError
        If a format cannot hold the rate or the channels.
    OutputError
        If a file exists or cannot be written.
    """
    names = [Path(name) for name, _ in targets]
    with ExitStack() as stack:
        temporaries = stack.enter_context(atomic_paths(names, overwrite))
        files = Files(
            [
                stack.enter_context(
                    audio.AudioWriter(
                        temporary,
                        info.sample_rate,
                        channels,
                        audio.kept_subtype(name.suffix.lower(), info.subtype),
                        info.duration,
                        name,
                    )
                )
                for temporary, name, (_, channels) in zip(
                    temporaries, names, targets, strict=True
                )
            ]
        )
        yield files
    files.warnings = [
        line
        for writer in files.writers
        if (line := _warning(writer, info.subtype)) is not None
    ]


def _warning(writer, subtype):
    """What is to be said of a file beyond full scale, or None."""
    if writer.peak <= 1:
        return None
    front = f"{writer.name}: the peak is {writer.peak:.3f}, over 1: "
    if writer.mp3:
        return front + "kept in the MP3, but a player may clip it"
    if writer.subtype == "FLOAT":
        if audio.kept_subtype(".wav", subtype) == "FLOAT":
            return None
        return front + "written as floats, so that nothing is clipped"
    return (
        f"{front}{writer.clipped} samples are clipped in {writer.subtype}; "
        "use wav to keep them"
    )
