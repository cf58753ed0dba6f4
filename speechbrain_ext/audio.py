"""Reading, streaming, writing and resampling of audio.

This is the only module that turns seconds into samples. soundfile
(libsndfile) reads what it knows; PyAV (ffmpeg's libraries in a wheel) reads
everything else, sound tracks of videos included. Rates are converted by soxr.

Wherever a file is read, `#<k>` after its path names one of its channels,
counted from 0: `clip.wav#1` is the second channel of `clip.wav`.

Three promises hold for every format:

* a slice equals the same samples of the whole file, bit for bit at the file's
  own rate (MP3: to 1e-6) and to `SLICE_TOLERANCE` after resampling;
* `stream_audio` gives, block after block, what `read_audio` gives at once,
  while never holding more than a few blocks in memory;
* what comes out is finite and not empty: anything else is an `AudioError`
  that names the file, on one line.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import soundfile
import soxr

from speechbrain_ext.containers import decode_frames, open_container
from speechbrain_ext.errors import AudioError, OutputError
from speechbrain_ext.files import atomic_path, check_input

SAMPLE_RATE = 16000

# Suffixes taken from a folder of recordings; a file named alone may have any.
# fmt: off
AUDIO_SUFFIXES = (
    ".aac", ".ac3", ".aif", ".aifc", ".aiff", ".amr", ".ape", ".au", ".caf",
    ".flac", ".m4a", ".mka", ".mp2", ".mp3", ".oga", ".ogg", ".opus", ".snd",
    ".w64", ".wav", ".wave", ".weba", ".wma", ".wv",
)
VIDEO_SUFFIXES = (
    ".3gp", ".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg",
    ".mts", ".ogv", ".ts", ".webm", ".wmv",
)
# fmt: on

# Largest difference between a resampled slice and the resampled whole file,
# for signals within [-1, 1]. Measured: 4e-7 for the usual rates, 2e-6 for
# rates without a common divisor.
SLICE_TOLERANCE = 1e-5

# Seconds of signal read on both sides of a slice before resampling it. soxr's
# filter reaches 0.02 s at the rates of music.
_RESAMPLE_CONTEXT_S = 0.1

# A rate outside this range is a damaged header, not a recording.
_RATES = (1000, 768000)

# Samples per channel decoded at a time.
_BLOCK = 1 << 16

# Length of a block, and the absolute gate in LUFS, of BS.1770.
_LOUDNESS_BLOCK_S = 0.4
_LOUDNESS_GATE = -70.0

# libsndfile's seek in these is up to one codec frame wrong, so they are
# decoded from the start of the file.
_INEXACT_SEEK = ("VORBIS", "OPUS")


@dataclass(frozen=True)
class AudioInfo:
    """What the header of a file says.

    Arguments
    ---------
    path : Path
        The file, with its channel if one was named.
    sample_rate : int
        Samples per second.
    channels : int
        Number of channels; 1 if one was named.
    duration : float or None
        Length in seconds; None where the container does not say.
    n_samples : int or None
        Exact number of samples per channel; None where only decoding the
        file would tell (MP3 and whatever PyAV reads). Then `duration` is
        what the header says, or a guess.
    subtype : str or None
        Sample format as libsndfile calls it; None for what PyAV reads.
    """

    path: Path
    sample_rate: int
    channels: int
    duration: float | None
    n_samples: int | None
    subtype: str | None = None


def seconds_to_samples(seconds, sample_rate) -> int:
    """Index of the sample at a time: the one rounding rule, half upwards.

    Arguments
    ---------
    seconds : float
        Time, at least 0.
    sample_rate : int
        Samples per second.

    Returns
    -------
    int

    Example
    -------
    >>> seconds_to_samples(0.5, 16000), seconds_to_samples(1.5 / 16000, 16000)
    (8000, 2)
    """
    return math.floor(seconds * sample_rate + 0.5)


def split_channel(path) -> tuple[Path, int | None]:
    """Separate a file from the channel that its path names.

    A file that exists under the whole name is meant as it is, whatever its
    name ends in.

    Arguments
    ---------
    path : str or Path
        `<file>` or `<file>#<k>`, where k counts channels from 0.

    Returns
    -------
    (Path, int or None)
        The file, and the channel; None stands for all channels.

    Example
    -------
    >>> file, channel = split_channel("songs/clip.wav#1")
    >>> file.name, channel
    ('clip.wav', 1)
    >>> split_channel("songs/clip.wav")[1] is None
    True
    """
    path = Path(path)
    match = re.fullmatch(r"(.*[^/\\])#([0-9]{1,3})", str(path), re.DOTALL)
    if match is None or os.path.lexists(path):
        return path, None
    return Path(match[1]), int(match[2])


def audio_info(path) -> AudioInfo:
    """Read the header of an audio or video file.

    Arguments
    ---------
    path : str or Path
        The file, or one of its channels (`split_channel`).

    Returns
    -------
    AudioInfo

    Raises
    ------
    AudioError
        If the file is missing, a folder, no audio, without sound or empty, or
        lacks the channel.
    """
    with _open(path) as source:
        return _info(source)


def _info(source):
    """What the header of an opened file says."""
    return AudioInfo(
        source.path,
        source.sample_rate,
        source.channels,
        source.duration,
        source.n_samples,
        source.subtype,
    )


def audio_tracks(path) -> list[AudioInfo]:
    """Read the headers of all sound tracks of a file.

    Arguments
    ---------
    path : str or Path
        Audio or video file. A file that libsndfile reads has one track.

    Returns
    -------
    list of AudioInfo
        One per track, in the order of the file. `stream_audio(path, track=k)`
        reads the k-th, counted from 0; all else reads the first.

    Raises
    ------
    AudioError
        As `audio_info`.
    """
    with _open(path) as source:
        count = source.n_tracks
    infos = []
    for track in range(count):
        with _open(path, track) as source:
            infos.append(_info(source))
    return infos


def read_audio(
    path, start=0.0, stop=None, sample_rate=SAMPLE_RATE, mono=True
) -> np.ndarray:
    """Read a file, or only a slice of it.

    Formats that allow it (WAV, FLAC, AIFF, MP3 ...) are read from the start
    of the slice; Ogg and everything that PyAV reads is decoded from the start
    of the file up to the end of the slice, because seeking there is not exact
    to the sample.

    Arguments
    ---------
    path : str or Path
        Audio file, or video file with a sound track (the first one is read);
        or one of its channels (`split_channel`).
    start : float
        Seconds from the start of the file. In a video, 0 is the start of the
        container; a sound track that begins later is led by silence.
    stop : float, optional
        Seconds; None or a time after the end means the end.
    sample_rate : int or None
        Rate of the result; None keeps the rate of the file.
    mono : bool
        Whether to average the channels; with one channel, nothing is.

    Returns
    -------
    np.ndarray (samples,), float32
        `(samples, channels)` if `mono` is False. Sample k of a slice is sample
        `seconds_to_samples(start, sample_rate) + k` of the whole.

    Raises
    ------
    AudioError
        If the file is missing, a folder, no audio, without sound, damaged,
        without samples or not finite (the message says at which second), if
        it lacks the channel, or if the slice is empty or starts after the end
        of the file.
    """
    if not (math.isfinite(start) and start >= 0):
        raise AudioError(f"{path}: cannot start reading at {start} s")
    if stop is not None and not stop > start:
        raise AudioError(
            f"{path}: the slice ends at {stop:g} s but starts at {start:g} s"
        )
    if stop == math.inf:
        stop = None
    with _open(path) as source:
        rate = _checked_rate(sample_rate, source.sample_rate)
        first = seconds_to_samples(start, rate)
        last = None if stop is None else seconds_to_samples(stop, rate)
        if last == first:
            raise AudioError(
                f"{path}: no sample lies between {start:g} s and {stop:g} s"
            )
        if rate == source.sample_rate:
            begin, end, skip = first, last, 0
        else:
            # Start where a sample of the input grid meets the output grid.
            divisor = math.gcd(rate, source.sample_rate)
            step_in, step_out = source.sample_rate // divisor, rate // divisor
            step_s = step_in / source.sample_rate
            steps = max(
                0, math.floor((first / rate - _RESAMPLE_CONTEXT_S) / step_s)
            )
            begin, skip = steps * step_in, first - steps * step_out
            end = None
            if last is not None:
                end = math.ceil(
                    (last / rate + _RESAMPLE_CONTEXT_S) * source.sample_rate
                )
        parts = list(_finite(source, begin, end, mono))
        wav = np.concatenate(parts) if parts else np.zeros(0, np.float32)
        if rate != source.sample_rate and len(wav):
            wav = soxr.resample(wav, source.sample_rate, rate)
        wav = wav[skip : None if last is None else skip + last - first]
        if not len(wav):
            _raise_empty(source, start)
    return np.ascontiguousarray(wav)


def stream_audio(
    path, block_s=30.0, sample_rate=SAMPLE_RATE, mono=True, track=0
) -> Iterator[np.ndarray]:
    """Read a file of any length block by block.

    Arguments
    ---------
    path : str or Path
        As in `read_audio`.
    block_s : float
        Length of a block in seconds; the last one may be shorter.
    sample_rate : int or None
        Rate of the blocks; None keeps the rate of the file.
    mono : bool
        Whether to average the channels.
    track : int
        Which of several sound tracks, from 0 (`audio_tracks`); default: 0.

    Yields
    ------
    np.ndarray (samples,), float32
        `(samples, channels)` if `mono` is False. Joined, the blocks of the
        first track equal `read_audio(path, sample_rate=sample_rate,
        mono=mono)`.

    Raises
    ------
    AudioError
        As `read_audio`, or if the file lacks the track; a fault in the middle
        is met when it is reached.
    """
    with _open(path, track) as source:
        rate = _checked_rate(sample_rate, source.sample_rate)
        size = max(1, seconds_to_samples(block_s, rate))
        parts, waiting, total = [], 0, 0
        for part in _resampled(source, rate, mono):
            parts.append(part)
            waiting += len(part)
            total += len(part)
            if waiting >= size:
                joined = np.concatenate(parts)
                whole = len(joined) - len(joined) % size
                for begin in range(0, whole, size):
                    yield joined[begin : begin + size]
                parts = [joined[whole:].copy()]
                waiting = len(parts[0])
        if waiting:
            yield np.concatenate(parts)
        if not total:
            _raise_empty(source, 0.0)


def resample(wav, from_rate, to_rate) -> np.ndarray:
    """Convert the sample rate (soxr, high quality, linear phase).

    Arguments
    ---------
    wav : np.ndarray (samples,) or (samples, channels)
        Signal.
    from_rate, to_rate : int
        Rates in hertz.

    Returns
    -------
    np.ndarray, float32
        `round(samples * to_rate / from_rate)` samples.

    Example
    -------
    >>> resample(np.zeros(44100), 44100, 16000).shape
    (16000,)
    """
    wav = np.asarray(wav, dtype=np.float32)
    if from_rate == to_rate or not len(wav):
        return wav
    return soxr.resample(wav, from_rate, to_rate)


def resample_stream(blocks, from_rate, to_rate, channels) -> Iterator:
    """Convert the sample rate of a stream, in bounded memory.

    Arguments
    ---------
    blocks : iterable of np.ndarray (samples,) or (samples, channels), float32
        The signal in pieces of any length.
    from_rate, to_rate : int
        Rates in hertz.
    channels : int
        1 for blocks without that axis.

    Yields
    ------
    np.ndarray, float32
        Joined, they equal `resample` of the joined blocks to
        `SLICE_TOLERANCE`.

    Example
    -------
    >>> blocks = np.split(np.zeros(44100, np.float32), 3)
    >>> sum(map(len, resample_stream(blocks, 44100, 16000, 1)))
    16000
    """
    if from_rate == to_rate:
        yield from blocks
        return
    stream = soxr.ResampleStream(from_rate, to_rate, channels, dtype="float32")
    held = None
    for block in blocks:
        if held is not None:
            yield stream.resample_chunk(held)
        held = np.ascontiguousarray(block)
    if held is not None:
        yield stream.resample_chunk(held, last=True)


def as_signal(wav) -> np.ndarray:
    """Check a signal in memory.

    Arguments
    ---------
    wav : np.ndarray or torch.Tensor (samples,) or (samples, channels)
        Full scale = 1.

    Returns
    -------
    np.ndarray, float32
        Of the same shape.

    Raises
    ------
    AudioError
        If the signal is empty, not finite or has another shape.

    Example
    -------
    >>> as_signal([0, 1]).dtype
    dtype('float32')
    """
    if hasattr(wav, "detach"):  # a tensor
        wav = wav.detach().cpu().numpy()
    wav = np.asarray(wav, dtype=np.float32)
    if wav.ndim not in (1, 2) or not wav.size:
        raise AudioError(
            f"the signal has shape {wav.shape}: expected (samples,) or "
            "(samples, channels) with at least one sample"
        )
    if not np.isfinite(wav).all():
        raise AudioError("the signal has samples that are not finite")
    return wav


def level_db(wav) -> float:
    """Root-mean-square level.

    Arguments
    ---------
    wav : np.ndarray
        Signal, full scale = 1.

    Returns
    -------
    float
        Decibels relative to a constant 1; -inf for silence or no samples.

    Example
    -------
    >>> level_db(np.full(100, 0.1))
    -20.0
    """
    wav = np.asarray(wav, dtype=np.float64)
    power = float(np.mean(wav**2)) if wav.size else 0.0
    return round(10 * math.log10(power), 12) if power else -math.inf


def integrated_loudness(wav, sample_rate) -> float:
    """Loudness of a whole programme, by ITU-R BS.1770-4.

    K-weighting, mean power in blocks of 0.4 s that start every 0.1 s, then two
    gates: blocks below -70 LUFS are left out, and those more than 10 LU below
    what the others have together. The filters are those that the standard
    tabulates for 48 kHz, made for the given rate from the same analogue ones.

    Arguments
    ---------
    wav : np.ndarray (samples,) or (samples, channels)
        Signal, full scale = 1. All channels weigh the same, as front channels
        do.
    sample_rate : int
        Hertz.

    Returns
    -------
    float
        LUFS (also called LKFS); -inf if nothing is louder than -70 LUFS.

    Raises
    ------
    AudioError
        If the signal is shorter than one block, not finite or of another
        shape.

    Example
    -------
    >>> time = np.arange(48000) / 48000
    >>> round(integrated_loudness(np.sin(2 * np.pi * 997 * time), 48000), 2)
    -3.01
    """
    from scipy.signal import sosfilt

    wav = as_signal(wav)
    size = seconds_to_samples(_LOUDNESS_BLOCK_S, sample_rate)
    if len(wav) < size:
        raise AudioError(
            f"the signal lasts {len(wav) / sample_rate:g} s: its loudness "
            f"needs at least {_LOUDNESS_BLOCK_S} s"
        )
    wav = wav.reshape(len(wav), -1).astype(np.float64)
    weighted = sosfilt(_k_weighting(sample_rate), wav, axis=0)
    energy = np.concatenate([[0.0], np.cumsum((weighted**2).sum(axis=1))])
    count = math.floor((len(wav) - size) / (sample_rate * 0.1) + 1e-9) + 1
    starts = np.array(
        [seconds_to_samples(0.1 * k, sample_rate) for k in range(count)]
    )
    starts = np.minimum(starts, len(wav) - size)
    power = (energy[starts + size] - energy[starts]) / size
    power = power[power > 10 ** ((_LOUDNESS_GATE + 0.691) / 10)]
    if not len(power):
        return -math.inf
    power = power[power > power.mean() / 10]
    return float(-0.691 + 10 * np.log10(power.mean()))


def loudness_gain(wav, sample_rate, loudness) -> float:
    """Factor that brings a signal to a loudness.

    Arguments
    ---------
    wav : np.ndarray (samples,)
    sample_rate : int
        Hertz.
    loudness : float
        LUFS.

    Returns
    -------
    float
        1 for silence.

    Example
    -------
    >>> wav = np.sin(2 * np.pi * 997 * np.arange(48000) / 48000)
    >>> round(loudness_gain(wav, 48000, -23.01), 3)
    0.1
    """
    own = integrated_loudness(wav, sample_rate)
    if not math.isfinite(own):
        return 1.0
    return 10 ** ((loudness - own) / 20)


def _k_weighting(sample_rate):
    """Two sections, (2, 6): the head's shelf, and a high-pass filter.

    The analogue filters behind the table of BS.1770 for 48 kHz, by the
    bilinear transform, prewarped to each filter's own frequency.
    """
    sections = []
    for hz, quality, gain_db in (
        (1681.974450955533, 0.7071752369554196, 3.999843853973347),
        (38.13547087602444, 0.5003270373238773, None),
    ):
        k = math.tan(math.pi * hz / sample_rate)
        scale = 1 + k / quality + k * k
        if gain_db is None:
            top = [1.0, -2.0, 1.0]
        else:
            high = 10 ** (gain_db / 20)
            band = high**0.4996667741545416 * k / quality
            top = [high + band + k * k, 2 * (k * k - high)]
            top = [x / scale for x in (*top, high - band + k * k)]
        tail = [2 * (k * k - 1) / scale, (1 - k / quality + k * k) / scale]
        sections.append([*top, 1.0, *tail])
    return np.array(sections)


def write_audio(path, wav, sample_rate, overwrite=False, subtype=None) -> Path:
    """Write a file that libsndfile knows (WAV, FLAC, OGG, MP3 ...).

    Arguments
    ---------
    path : str or Path
        The suffix chooses the format.
    wav : np.ndarray (samples,) or (samples, channels)
        Signal, full scale = 1.
    sample_rate : int
        Samples per second.
    overwrite : bool
        Whether an existing file may be replaced.
    subtype : str, optional
        Sample format as libsndfile calls it. By default WAV holds 16-bit
        integers, or floats where those would clip.

    Returns
    -------
    Path

    Raises
    ------
    AudioError
        If the signal is empty, not finite, would be clipped, or the suffix or
        subtype is unknown.
    OutputError
        If the file exists or its folder cannot be written to.
    """
    path = Path(path)
    wav = np.asarray(wav)
    if not wav.size:
        raise AudioError(f"{path}: cannot write 0 samples")
    if not np.isfinite(wav).all():
        raise AudioError(f"{path}: cannot write samples that are not finite")
    format_name = path.suffix[1:].upper()
    format_name = {
        "AIF": "AIFF",
        "OGA": "OGG",
        "OPUS": "OGG",
        "WAVE": "WAV",
    }.get(format_name, format_name)
    peak = float(np.abs(wav).max())
    if subtype is None and path.suffix.lower() == ".opus":
        subtype = "OPUS"
    if subtype is None and format_name == "WAV":
        subtype = "PCM_16" if peak <= 1 else "FLOAT"
    if format_name not in soundfile.available_formats() or (
        subtype and not soundfile.check_format(format_name, subtype)
    ):
        raise AudioError(
            f"{path}: cannot write {subtype or 'audio'} into a "
            f"'{path.suffix}' file: use .wav or .flac"
        )
    subtype = subtype or soundfile.default_subtype(format_name)
    if peak > 1 and subtype not in ("FLOAT", "DOUBLE"):
        raise AudioError(
            f"{path}: the peak {peak:.3f} is over 1 and would be clipped in "
            f"{subtype}: lower the level or write WAV with subtype FLOAT"
        )
    with atomic_path(path, overwrite=overwrite) as tmp:
        try:
            soundfile.write(
                tmp, wav, sample_rate, subtype=subtype, format=format_name
            )
        except soundfile.LibsndfileError as error:
            raise AudioError(
                f"{path}: cannot be written: {error.error_string}"
            ) from None
    return path


def kept_subtype(suffix, subtype) -> str | None:
    """Sample format that keeps what a recording has, in another file.

    Arguments
    ---------
    suffix : {".wav", ".flac", ".mp3"}
        Of the new file.
    subtype : str or None
        Of the recording (`AudioInfo.subtype`).

    Returns
    -------
    str or None
        At least 16 bits; None for MP3, which has no choice.

    Example
    -------
    >>> kept_subtype(".wav", "FLOAT"), kept_subtype(".flac", "FLOAT")
    ('FLOAT', 'PCM_24')
    >>> kept_subtype(".wav", "VORBIS")
    'PCM_16'
    """
    if suffix == ".mp3":
        return None
    kept = {"PCM_24": "PCM_24", "PCM_32": "PCM_32", "FLOAT": "FLOAT"}
    kept["DOUBLE"] = "FLOAT"  # nothing here computes more digits
    found = kept.get(subtype, "PCM_16")
    if suffix == ".flac" and found != "PCM_16":
        return "PCM_24"
    return found


class AudioWriter:
    """Writes a file block by block: WAV, FLAC or MP3.

    WAV in integers turns into WAV in floats as soon as a sample lies beyond
    full scale; FLAC, which has no floats, is clipped there, and `clipped`
    counts the samples. MP3 holds whatever there is, at the highest quality of
    variable bit rate. Integers are rounded to the nearest.

    Arguments
    ---------
    path : str or Path
        A file that may be replaced, as `files.atomic_path` gives it; its
        suffix chooses the format.
    sample_rate : int
        Samples per second.
    channels : int
        Number of channels.
    subtype : str, optional
        Sample format as libsndfile calls it. Default: PCM_16.
    seconds : float, optional
        Length to be expected: beyond 4 GB a WAV file needs another header
        (RF64).
    name : str or Path, optional
        What error messages call the file. Default: the path.

    Raises
    ------
    AudioError
        If the format cannot hold the channels or the rate.
    OutputError
        If the file cannot be written.

    Example
    -------
    >>> path = getfixture("tmp_path") / "a.wav"
    >>> with AudioWriter(path, 8000, 1) as writer:
    ...     writer.write(np.full((800, 1), 0.5))
    ...     writer.write(np.full((800, 1), 1.5))
    >>> writer.peak, audio_info(path).subtype
    (1.5, 'FLOAT')
    """

    SUFFIXES = (".wav", ".flac", ".mp3")
    MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)

    def __init__(
        self,
        path,
        sample_rate,
        channels,
        subtype=None,
        seconds=None,
        name=None,
    ):
        self.path, self.name = Path(path), path if name is None else name
        self.rate, self.channels = int(sample_rate), channels
        self.peak, self.clipped = 0.0, 0
        self.subtype = subtype or "PCM_16"
        self.seconds = seconds
        suffix = self.path.suffix.lower()
        self.check(suffix, self.rate, channels, self.name)
        self.mp3 = suffix == ".mp3"
        self.file = self._open_mp3() if self.mp3 else self._open()

    @classmethod
    def check(cls, suffix, sample_rate, channels, name) -> None:
        """Refuse what a format cannot hold.

        Arguments
        ---------
        suffix : str
            Such as ".wav".
        sample_rate, channels : int
            Of the signal.
        name : str or Path
            What the message calls the file.

        Raises
        ------
        AudioError
            If it cannot.
        """
        if suffix not in cls.SUFFIXES:
            raise AudioError(
                f"{name}: cannot write a '{suffix}' file: use "
                f"{', '.join(cls.SUFFIXES)}"
            )
        if suffix == ".mp3" and channels > 2:
            raise AudioError(
                f"{name}: MP3 holds 2 channels and not {channels}: use wav or "
                "flac"
            )
        if suffix == ".mp3" and sample_rate not in cls.MP3_RATES:
            raise AudioError(
                f"{name}: MP3 knows no rate of {sample_rate} Hz but "
                f"{', '.join(map(str, cls.MP3_RATES))}: use wav or flac"
            )
        if suffix == ".flac" and (channels > 8 or sample_rate > 655350):
            raise AudioError(
                f"{name}: FLAC holds at most 8 channels and 655350 Hz, and "
                f"not {channels} and {sample_rate} Hz: use wav"
            )

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close(abandon=error[0] is not None)

    def write(self, block) -> None:
        """Write the next samples.

        Arguments
        ---------
        block : np.ndarray (samples, channels)
            Full scale = 1.
        """
        if not len(block):
            return
        peak = float(np.abs(block).max())
        self.peak = max(self.peak, peak)
        if self.mp3:
            self._encode_mp3(block)
            return
        if peak > 1 and self.subtype != "FLOAT":
            if self.path.suffix.lower() == ".wav":
                self._turn_to_floats()
            else:
                self.clipped += int((np.abs(block) > 1).sum())
        with self._complaints():
            self.file.write(_rounded(block, self.subtype))

    def close(self, abandon=False) -> None:
        """Finish the file.

        Arguments
        ---------
        abandon : bool
            Whether it is not needed any more. Default: False.
        """
        if self.mp3:
            import av

            try:
                if not abandon:
                    self._encode_mp3(self.rest, last=True)
                self.file.close()
            except (av.FFmpegError, OSError) as error:
                if not abandon:
                    raise self._failed(error) from None
            return
        with self._complaints():
            self.file.close()

    def _open(self):
        kind = self.path.suffix[1:].upper()
        width = {"PCM_16": 2, "PCM_24": 3}.get(self.subtype, 4)
        size = width * self.channels * self.rate * (self.seconds or 0)
        if kind == "WAV" and size > 2**32 - 2**24:
            kind = "RF64"
        with self._complaints():
            return soundfile.SoundFile(
                os.fsencode(self.path),
                "w",
                self.rate,
                self.channels,
                self.subtype,
                format=kind,
            )

    @contextmanager
    def _complaints(self):
        try:
            yield
        except soundfile.LibsndfileError as error:
            raise self._failed(error.error_string) from None

    def _failed(self, error):
        reason = " ".join(str(error).split())
        return OutputError(f"{self.name}: cannot be written: {reason}")

    def _turn_to_floats(self):
        """Go on in floats; what has been written keeps its value."""
        self.close()
        old = self.path.with_name(self.path.name + ".integers")
        self.path.rename(old)
        try:
            self.subtype = "FLOAT"
            self.file = self._open()
            with soundfile.SoundFile(os.fsencode(old)) as before:
                for block in before.blocks(
                    _BLOCK, dtype="float32", always_2d=True
                ):
                    self.file.write(block)
        finally:
            old.unlink()

    def _open_mp3(self):
        import av

        self.rest, self.position = np.zeros((0, self.channels), np.float32), 0
        self.layout = "mono" if self.channels == 1 else "stereo"
        container = av.open(f"file:{self.path}", "w", "mp3")
        # The best variable bit rate: at constant ones LAME lowers the level.
        self.stream = container.add_stream(
            "libmp3lame",
            rate=self.rate,
            layout=self.layout,
            options={"flags": "+qscale", "global_quality": "0"},
        )
        # Not the encoder's first choice, integers: they would be clipped.
        self.stream.codec_context.format = "fltp"
        self.stream.codec_context.open(strict=False)
        return container

    def _encode_mp3(self, block, last=False):
        import av

        size = self.stream.codec_context.frame_size
        if last:
            whole, rest = block, block[:0]
        else:
            joined = np.concatenate([self.rest, block])
            count = len(joined) // size * size
            whole, rest = joined[:count], joined[count:].copy()
        try:
            for at in range(0, len(whole), size):
                piece = np.ascontiguousarray(
                    whole[at : at + size].T, dtype=np.float32
                )
                frame = av.AudioFrame.from_ndarray(piece, "fltp", self.layout)
                frame.sample_rate, frame.pts = self.rate, self.position
                frame.time_base = Fraction(1, self.rate)
                self.position += piece.shape[1]
                self.file.mux(self.stream.encode(frame))
            if last:
                self.file.mux(self.stream.encode(None))
        except av.FFmpegError as error:
            raise self._failed(error) from None
        self.rest = rest


def _rounded(block, subtype):
    """Integers nearest to samples, as libsndfile takes them (it cuts)."""
    bits = {"PCM_16": 16, "PCM_24": 24, "PCM_32": 32}.get(subtype)
    if bits is None:
        return block
    top = 2 ** (bits - 1)
    whole = np.rint(np.asarray(block, np.float64) * top).clip(-top, top - 1)
    if bits == 16:
        return whole.astype(np.int16)
    return whole.astype(np.int32) << (32 - bits)


def write_tracks(
    path, tracks, sample_rate, bit_rate=256000, overwrite=False
) -> Path:
    """Write several sound tracks into one MP4 file, compressed as AAC.

    Stem files (`.stem.mp4`) are such files: the mixture first, then its
    parts.

    Arguments
    ---------
    path : str or Path
        The file, usually `.mp4` or `.m4a`.
    tracks : list of np.ndarray (samples,) or (samples, channels)
        One or two channels each, the same length, full scale = 1.
    sample_rate : int
        Samples per second.
    bit_rate : int
        Bits per second of a track. Default: 256000.
    overwrite : bool
        Whether an existing file may be replaced.

    Returns
    -------
    Path

    Raises
    ------
    AudioError
        If there is no track, one is empty, not finite, of another length or
        has more than two channels, or ffmpeg refuses the rate.
    OutputError
        If the file exists or its folder cannot be written to.
    """
    import av

    path = Path(path)
    tracks = [np.asarray(track, dtype=np.float32) for track in tracks]
    tracks = [t[:, None] if t.ndim == 1 else t for t in tracks]
    if not tracks:
        raise AudioError(f"{path}: cannot write 0 tracks: give at least one")
    lengths = sorted({len(track) for track in tracks})
    if len(lengths) > 1 or not lengths[0]:
        raise AudioError(
            f"{path}: cannot write tracks of "
            f"{' and '.join(map(str, lengths[:2]))} samples: give them all one "
            "length"
        )
    for track in tracks:
        if track.ndim > 2 or track.shape[1] not in (1, 2):
            raise AudioError(
                f"{path}: a track has {track.shape[1]} channels: give one or "
                "two"
            )
    if not all(np.isfinite(track).all() for track in tracks):
        raise AudioError(f"{path}: cannot write samples that are not finite")
    with atomic_path(path, overwrite=overwrite) as tmp:
        try:
            # The table of contents goes to the front, as streaming wants it.
            flags = {"movflags": "faststart"}
            with av.open(f"file:{tmp}", "w", "mp4", flags) as container:
                _encode(container, tracks, int(sample_rate), bit_rate)
        except (av.FFmpegError, ValueError, KeyError) as error:
            reason = " ".join(str(error).split())
            raise AudioError(f"{path}: cannot be written: {reason}") from None
    return path


def _encode(container, tracks, rate, bit_rate):
    """Encode tracks side by side, about a second at a time."""
    import av

    coders = []
    for track in tracks:
        layout = "mono" if track.shape[1] == 1 else "stereo"
        stream = container.add_stream("aac", rate=rate, layout=layout)
        stream.bit_rate = bit_rate
        stream.codec_context.open(strict=False)
        size = stream.codec_context.frame_size
        coders.append((stream, layout, size * max(1, rate // size)))
    for begin in range(0, len(tracks[0]), coders[0][2]):
        for track, (stream, layout, size) in zip(tracks, coders, strict=True):
            step = stream.codec_context.frame_size
            for at in range(begin, min(begin + size, len(track)), step):
                piece = np.ascontiguousarray(track[at : at + step].T)
                frame = av.AudioFrame.from_ndarray(piece, "fltp", layout)
                frame.sample_rate, frame.pts = rate, at
                frame.time_base = Fraction(1, rate)
                container.mux(stream.encode(frame))
    for stream, _, _ in coders:
        container.mux(stream.encode(None))


def _checked_rate(wanted, own):
    """Rate of the result: the wanted one, or the file's if None."""
    if wanted is None:
        return own
    if wanted != int(wanted) or wanted < 1:
        raise AudioError(f"{wanted} is no sample rate: give whole hertz")
    return int(wanted)


def _raise_empty(source, start):
    """Say why nothing was read from `start` on."""
    if not start:
        raise AudioError(f"{source.path}: contains no samples")
    for _ in source.blocks(0, 1):
        length = ""
        if source.duration is not None:
            length = f" of {source.duration:.3f} s"
        raise AudioError(
            f"{source.path}: cannot start reading at {start:g} s, after the "
            f"end{length}"
        )
    raise AudioError(f"{source.path}: contains no samples")


def _finite(source, begin, end, mono):
    """Blocks of samples [begin, end), averaged to mono and checked."""
    position = begin
    for block in source.blocks(begin, end):
        if mono:
            block = (
                block[:, 0]
                if block.shape[1] == 1
                else block.mean(axis=1, dtype=np.float32)
            )
        finite = np.isfinite(block)
        if not finite.all():
            row = np.argmin(finite if mono else finite.all(axis=1))
            second = (position + int(row)) / source.sample_rate
            raise AudioError(
                f"{source.path}: the sample at {second:.3f} s is not a finite "
                "number (NaN or infinity): export the recording again"
            )
        position += len(block)
        yield block


def _resampled(source, rate, mono):
    """All blocks of a source at another rate."""
    blocks = _finite(source, 0, None, mono)
    channels = 1 if mono else source.channels
    yield from resample_stream(blocks, source.sample_rate, rate, channels)


# --- Sources: a file, opened, at its own rate -----------------------------


@contextmanager
def _open(path, track=0):
    """Open a file, or a channel, with the first library that can read it."""
    named = Path(path)
    path, channel = split_channel(named)
    head = check_input(path, AudioError, "audio file", named)
    source = None
    # libsndfile trusts the suffix .mp3 and then complains to the terminal.
    mp3 = path.suffix.lower() in (".mp3", ".mp2", ".mp1")
    if not mp3 or head[:3] == b"ID3" or (head[0] == 255 and head[1] >= 224):
        source = _SoundFileSource.open(path)
    source = source or _AvSource(path, track)
    with source.handle:
        if not 0 <= track < source.n_tracks:
            raise AudioError(
                f"{path}: has no sound track {track}: the file has "
                f"{source.n_tracks}, counted from 0"
            )
        low, high = _RATES
        if not low <= source.sample_rate <= high:
            raise AudioError(
                f"{path}: states a rate of {source.sample_rate} samples per "
                f"second, outside {low} to {high}: its header is damaged"
            )
        yield source if channel is None else _Channel(source, channel, named)


class _Channel:
    """One channel of a source, as a source."""

    channels = 1
    n_tracks = 1

    def __init__(self, source, channel, path):
        if channel >= source.channels:
            raise AudioError(
                f"{path}: has no channel {channel}: the file has "
                f"{source.channels}, counted from 0"
            )
        self.path, self.source, self.channel = path, source, channel
        self.sample_rate = source.sample_rate
        self.n_samples, self.duration = source.n_samples, source.duration
        self.subtype = source.subtype

    def blocks(self, begin, end):
        """Samples [begin, end) as float32 blocks (samples, 1)."""
        for block in self.source.blocks(begin, end):
            yield block[:, [self.channel]]


class _SoundFileSource:
    """A file that libsndfile reads."""

    n_tracks = 1

    def __init__(self, path, handle):
        self.path, self.handle = path, handle
        self.sample_rate = handle.samplerate
        self.channels = handle.channels
        self.subtype = handle.subtype
        # libsndfile reports a huge count where the header does not tell, and
        # guesses from the file's size for some MP3 files.
        known = 0 <= handle.frames < 1 << 48
        exact = known and not handle.subtype.startswith("MPEG")
        self.n_samples = handle.frames if exact else None
        self.duration = handle.frames / self.sample_rate if known else None
        if handle.frames == 0:
            raise AudioError(f"{path}: contains no samples")

    @classmethod
    def open(cls, path):
        """Open, or give None if libsndfile does not know the format."""
        try:
            # As bytes: a file name need not be valid Unicode.
            return cls(path, soundfile.SoundFile(os.fsencode(path)))
        except (soundfile.LibsndfileError, TypeError):
            # TypeError: a headerless ".raw" needs its format told.
            return None

    def blocks(self, begin, end):
        """Samples [begin, end) as float32 blocks (samples, channels)."""
        begin = min(begin, self.handle.frames)
        try:
            if self.handle.subtype in _INEXACT_SEEK:
                self.handle.seek(0)
                yield from _cut(self._read(None), begin, end)
            else:
                self.handle.seek(begin)
                yield from self._read(None if end is None else end - begin)
        except soundfile.LibsndfileError as error:
            raise AudioError(
                f"{self.path}: is damaged: {error.error_string}"
            ) from None

    def _read(self, left):
        while left is None or left > 0:
            size = _BLOCK if left is None else min(left, _BLOCK)
            block = self.handle.read(size, dtype="float32", always_2d=True)
            if not len(block):
                return
            if left is not None:
                left -= len(block)
            yield block


class _AvSource:
    """A file whose sound ffmpeg decodes, each time from its start."""

    n_samples = None
    subtype = None

    def __init__(self, path, track):
        self.path, self.handle = path, nullcontext()
        with self._container() as container:
            streams = container.streams
            self.n_tracks = len(streams.audio)
            # One that is not there is refused by the caller.
            self.track = track if 0 <= track < self.n_tracks else 0
            if not streams.audio:
                raise AudioError(
                    f"{path}: has no sound: name an audio file, or a video "
                    "with a sound track"
                )
            frame = next(self._frames(container), None)
            if frame is None:
                raise AudioError(f"{path}: contains no samples")
            self.sample_rate = frame.sample_rate
            self.channels = len(frame.layout.channels)
            self.duration, stream = None, streams.audio[self.track]
            if stream.duration and stream.time_base:
                self.duration = float(stream.duration * stream.time_base)
            elif container.duration and container.duration > 0:
                self.duration = container.duration / 1e6
            # Silence that leads a sound track starting after its video.
            self.lead = 0
            if streams.video and container.start_time is not None:
                late = (frame.time or 0.0) - container.start_time / 1e6
                self.lead = max(0, seconds_to_samples(late, self.sample_rate))

    def blocks(self, begin, end):
        """Samples [begin, end) as float32 blocks (samples, channels)."""
        with self._container() as container:
            yield from _gather(_cut(self._decoded(container), begin, end))

    def _container(self):
        return open_container(self.path, AudioError)

    def _frames(self, container):
        """Decode the sound track."""
        done = 0.0

        def damage():
            if not done:
                return AudioError(f"{self.path}: its sound cannot be decoded")
            return AudioError(
                f"{self.path}: is damaged at {done:.3f} s: convert it to WAV "
                "with a tool that repairs it"
            )

        stream = container.streams.audio[self.track]
        for frame in decode_frames(container, stream, damage):
            done += frame.samples / frame.sample_rate
            yield frame

    def _decoded(self, container):
        for begin in range(0, self.lead, _BLOCK):
            size = min(_BLOCK, self.lead - begin)
            yield np.zeros((size, self.channels), np.float32)
        position = self.lead
        for frame in self._frames(container):
            now = (frame.sample_rate, len(frame.layout.channels))
            if now != (self.sample_rate, self.channels):
                raise AudioError(
                    f"{self.path}: changes from {self.sample_rate} Hz and "
                    f"{self.channels} channels to {now[0]} Hz and {now[1]} at "
                    f"{position / self.sample_rate:.3f} s: convert it to WAV"
                )
            position += frame.samples
            yield _to_float(frame)


def _to_float(frame):
    """Samples of a decoded frame, float32 (samples, channels)."""
    values = frame.to_ndarray()
    if frame.format.is_planar:
        values = values.T
    else:
        values = values.reshape(-1, len(frame.layout.channels))
    if values.dtype.kind == "f":
        return values.astype(np.float32)
    bits = 8 * values.dtype.itemsize
    centre = 2 ** (bits - 1) if values.dtype.kind == "u" else 0
    values = (values.astype(np.float64) - centre) / 2 ** (bits - 1)
    return values.astype(np.float32)


def _cut(blocks, begin, end):
    """Keep samples [begin, end) of a run of blocks."""
    position = 0
    for block in blocks:
        low = max(0, begin - position)
        high = len(block) if end is None else min(len(block), end - position)
        if high > low:
            yield block[low:high]
        position += len(block)
        if end is not None and position >= end:
            return


def _gather(blocks):
    """Join small blocks into blocks of at least `_BLOCK` samples."""
    parts, size = [], 0
    for block in blocks:
        parts.append(block)
        size += len(block)
        if size >= _BLOCK:
            yield np.concatenate(parts)
            parts, size = [], 0
    if parts:
        yield np.concatenate(parts)
