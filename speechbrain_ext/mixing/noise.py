"""Noise for tests of robustness: types and levels.

The four types and the levels of -10 to 10 dB are those of Gu et al. (ACM TOMM
2024), who take babble and natural noise from MUSAN. Where no recordings are
given, both are synthesised, so that a test needs no download.

Recordings come from a folder that `singbrain prepare musan` made (then a song
gets noise of its own split, so that no clip is heard both in training and in
a test), or from any other folder of audio files, which knows no splits.

A song's noise is drawn from (seed, song, type): it is the same at all levels,
for any number of workers, and a slice of it is that slice of the whole.
`data_prep/noise.py` writes such mixtures to disk.
"""

from __future__ import annotations

import math
import zlib
from collections import OrderedDict
from functools import lru_cache
from pathlib import Path

import numpy as np
from scipy.signal import butter, sosfilt

from speechbrain_ext.audio import SAMPLE_RATE, audio_info, read_audio
from speechbrain_ext.errors import AudioError, ConfigError, ManifestError
from speechbrain_ext.mixing.effects import find_level, rms_level, sounding_level

TYPES = ("accompaniment", "white", "babble", "natural")

# Types that may be recordings.
RECORDED = ("babble", "natural")

# How clips of a prepared folder become the noise of a song.
CONSTRUCTIONS = ("joined", "slots")

# Voices that talk at the same time, as in the published mixtures.
BABBLE_VOICES = 30
_SYNTHETIC_VOICES = 12
_SUFFIXES = (".wav", ".flac", ".mp3", ".ogg")

# Length of a slot of the published mixtures.
SLOT_S = 10.0
_FADE_S = 0.05

# Noises of whole songs that are kept for the next slice or level; a song of
# four minutes takes 15 MB.
_KEPT_BYTES = 256 * 2**20


def make_noise(
    kind, samples, seed, folder=None, split=None, construction="joined"
) -> np.ndarray:
    """Noise of unit level.

    Arguments
    ---------
    kind : str
        "white"; "babble": many voices at once; "natural": sounds of the world.
    samples : int
        Length at 16 kHz.
    seed : int
        The same seed gives the same noise.
    folder : str or Path, optional
        Recordings for babble and natural noise: the result of `singbrain
        prepare musan`; or any folder, searched recursively, of speech for
        babble (the sum of 30 random streams of equal level) or of sounds for
        natural noise (random files one after the other). Default:
        synthesised; babble from MiniSinging's voices, repeated every 8 s,
        natural noise from wind, hum, rattle and chirps.
    split : str, optional
        "train", "valid" or "test": whose clips of a prepared folder are used;
        needed for one. Other folders have no splits.
    construction : str
        For a prepared folder. "joined": clips, drawn with replacement and
        brought to one level (root mean square), follow each other, cross-faded
        over 50 ms, the first from a random place on; so there is noise, and
        about the same ratio to it, all the time. "slots", as published: each
        slot of 10 s has one clip as it is, drawn with replacement, in its
        middle and zeros around it, and the last slot is cut; of babble, only
        clips of at least 10 s are drawn. Then the loudest clips alone set the
        level of the whole, and much of a song is left without noise.

    Returns
    -------
    np.ndarray (samples,) float32
        Root mean square 1.

    Raises
    ------
    ConfigError
        If the kind or the construction is unknown, a prepared folder comes
        without a split, or slots are asked of another folder.
    AudioError
        If the folder holds no audio, or no such clips.
    ManifestError
        If the index of a prepared folder is damaged.

    Example
    -------
    >>> noise = make_noise("white", 16000, seed=1)
    >>> round(float(np.sqrt(np.mean(noise**2))), 3)
    1.0
    """
    rng = np.random.default_rng([int(seed), len(kind)])
    _check_construction(construction, kind, folder)
    if kind == "white":
        noise = rng.standard_normal(samples)
    elif kind not in RECORDED:
        raise ConfigError(
            f"noise {kind!r} is unknown: use one of {', '.join(TYPES[1:])}"
        )
    elif folder is not None and is_prepared(folder):
        clips = recordings(folder, kind, split, construction)
        build = {"joined": _joined, "slots": _slots}[construction]
        noise = build(rng, samples, clips)
    elif kind == "babble":
        noise = _babble(rng, samples, folder)
    else:
        make = _natural if folder is None else _recorded
        noise = make(rng, samples, folder)
    noise = noise / (np.sqrt(np.mean(noise**2)) + 1e-12)
    return noise.astype(np.float32)


def _check_construction(construction, kind, folder):
    """Refuse a construction that is unknown or has no clips."""
    if construction not in CONSTRUCTIONS:
        raise ConfigError(
            f"construction is {construction!r}: use one of "
            f"{', '.join(CONSTRUCTIONS)}"
        )
    if construction == "joined" or kind not in RECORDED:
        return
    if folder is None or not is_prepared(folder):
        raise ConfigError(
            f"construction {construction} needs clips: give the folder that "
            "`singbrain prepare musan` made"
        )


def add_noise(wav, noise, ratio_db, level="rms", levels=None) -> np.ndarray:
    """Mix a voice with noise and keep the loudness about the same.

    Arguments
    ---------
    wav, noise : np.ndarray (samples,)
    ratio_db : float
        Level of the voice above the noise. With r = 10 ** (ratio_db / 20) the
        result is `r / (1 + r)` times the voice plus `1 / (1 + r)` times the
        noise at the voice's level (Gu et al.).
    level : str
        What that is, see `effects.find_level`: "rms" (default), a
        signal-to-noise ratio of powers; "mean_abs", as in the published
        mixtures (against white noise, a song's root mean square is then 1 to
        2 dB higher than they say); "sounding", so that pauses do not count.
    levels : (float, float), optional
        Levels of the whole voice and the whole noise, where `wav` and `noise`
        are parts of them. Default: those of the two.

    Returns
    -------
    np.ndarray (samples,) float32
        Without noise where its level is 0.

    Raises
    ------
    ConfigError
        If the definition of level is unknown.

    Example
    -------
    >>> add_noise(np.full(320, 0.2), np.full(320, 5.0), 0.0)[:2]
    array([0.2, 0.2], dtype=float32)
    """
    measure = find_level(level)
    ratio = 10 ** (ratio_db / 20)
    own, other = levels or (measure(wav), measure(noise))
    gain = own / other if other > 0 else 0.0
    return ((ratio * wav + gain * noise) / (1 + ratio)).astype(np.float32)


def noisy(
    rows,
    kind,
    ratio_db,
    folder=None,
    level="rms",
    construction="joined",
    seed=0,
):
    """Rows that stand for the voice with noise or with its accompaniment.

    Arguments
    ---------
    rows : list of dict
        With `wav`, and `accomp_wav` for accompaniment; with `split` where the
        folder is a prepared one: a song gets noise of its own split.
    kind : str
        "accompaniment", or a kind of `make_noise`, whose noise is drawn from
        (seed, song, kind) and is the same at all levels.
    ratio_db : float or (float, float)
        Level of the voice above it, over the whole song (`add_noise`); or a
        range, from which each song draws its own.
    folder : str or Path, optional
        Recordings, see `make_noise`. White noise and accompaniments need none.
    level : str
        What level means, see `effects.find_level`. Default: rms.
    construction : str
        See `make_noise`. Default: joined.
    seed : int
        Another one gives other noise. Default: 0.

    Returns
    -------
    list of dict
        For `transcription_dataset` without augmentation; their IDs and song
        IDs end in `@<kind><ratio_db>dB`.

    Raises
    ------
    ConfigError
        If the kind, the level or the construction is unknown, or the ratio is
        not a number or a range.
    ManifestError
        If a row has no accompaniment.
    AudioError
        If the folder has no recordings for a row.
    """
    if kind not in TYPES:
        raise ConfigError(
            f"noise {kind!r} is unknown: use one of {', '.join(TYPES)}"
        )
    find_level(level)
    ratio_db = check_ratio(ratio_db)
    _check_construction(construction, kind, folder)
    if kind not in RECORDED:
        folder = None
    prepared = folder is not None and is_prepared(folder)
    splits = {row.get("split") if prepared else None for row in rows}
    for split in sorted(splits, key=str) if folder is not None else ():
        recordings(folder, kind, split, construction)
    for row in rows:
        if kind == "accompaniment" and not row.get("accomp_wav"):
            raise ManifestError(
                f"segment {row['ID']} has no accomp_wav to be mixed with"
            )
    mark = f"@{kind}{ratio_name(ratio_db)}"

    def noise(row):
        own = song_seed(row["song_id"], seed)
        ratio = ratio_db
        if np.ndim(ratio):
            # Not the stream that the noise is drawn from.
            ratio = np.random.default_rng([own, len(kind), 1]).uniform(*ratio)
        return {
            "kind": kind,
            "ratio_db": float(ratio),
            "seed": own,
            "folder": None if folder is None else str(folder),
            "split": row.get("split") if prepared else None,
            "level": level,
            "construction": construction,
        }

    return [
        {
            **row,
            "ID": row["ID"] + mark,
            "song_id": row["song_id"] + mark,
            "noise": noise(row),
        }
        for row in rows
    ]


def check_ratio(ratio_db):
    """Check a ratio or a range of ratios.

    Arguments
    ---------
    ratio_db : float or (float, float)
        Decibels.

    Returns
    -------
    float or (float, float)

    Raises
    ------
    ConfigError
        If it is neither, or the range is empty.

    Example
    -------
    >>> check_ratio(5), check_ratio([-5, 5])
    (5.0, (-5.0, 5.0))
    """
    try:
        found = np.array(ratio_db, dtype=float)
    except (TypeError, ValueError):
        found = np.array(np.nan)
    if found.shape not in ((), (2,)) or not np.isfinite(found).all():
        raise ConfigError(
            f"a level of {ratio_db!r} dB: give a number, or the ends of a range"
        )
    if found.ndim and found[0] > found[1]:
        raise ConfigError(
            f"a range of levels from {found[0]:g} to {found[1]:g} dB: give the "
            "lower end first"
        )
    return tuple(found.tolist()) if found.ndim else float(found)


def ratio_name(ratio_db) -> str:
    """Name a ratio or a range of ratios.

    Arguments
    ---------
    ratio_db : float or (float, float)

    Returns
    -------
    str

    Example
    -------
    >>> ratio_name(-10), ratio_name((-5.0, 2.5))
    ('-10dB', '-5to+2.5dB')
    """
    return "to".join(f"{x:+g}" for x in np.atleast_1d(ratio_db)) + "dB"


def song_seed(song_id, seed=0) -> int:
    """Seed of a song's noise.

    Arguments
    ---------
    song_id : str
    seed : int
        Default: 0.

    Returns
    -------
    int
        CRC-32 of the ID, which for one song differs between seeds.

    Example
    -------
    >>> song_seed("a"), song_seed("a", seed=1)
    (3904355907, 2679148245)
    """
    return zlib.crc32(song_id.encode("utf-8"), seed % 2**32)


def noisy_slice(sig, row, left, right) -> np.ndarray:
    """Mix a slice of a song with its part of the whole song's noise.

    Arguments
    ---------
    sig : np.ndarray (samples,)
        The voice from `left` on, at 16 kHz.
    row : dict
        From `noisy`, with the `song_end` in seconds.
    left, right : float
        Where the slice lies in the song, seconds.

    Returns
    -------
    np.ndarray (samples,) float32
        At the ratio that `noisy` was asked for, over the whole song.

    Raises
    ------
    AudioError
        If audio cannot be read.
    """
    noise = row["noise"]
    if noise["kind"] == "accompaniment":
        samples = round(row["song_end"] * SAMPLE_RATE)
        level = _song_level(row["accomp_wav"], noise["level"], samples)
        other = read_audio(row["accomp_wav"], left, right, SAMPLE_RATE)
        other = fitted(other, len(sig))
    else:
        key = (
            noise["kind"],
            int(np.ceil(row["song_end"] * SAMPLE_RATE)) + 1,
            noise["seed"],
            noise["folder"],
            noise["split"],
            noise["construction"],
        )
        whole = _song_noise(*key)
        level = _noise_level(noise["level"], *key)
        start = round(left * SAMPLE_RATE)
        other = fitted(whole[start:], len(sig))
    own = _song_level(row["wav"], noise["level"])
    return add_noise(sig, other, noise["ratio_db"], levels=(own, level))


def fitted(wav, length) -> np.ndarray:
    """Cut a signal, or fill it up with zeros.

    Arguments
    ---------
    wav : np.ndarray (samples,)
    length : int
        Samples of the result.

    Returns
    -------
    np.ndarray (length,)

    Example
    -------
    >>> fitted(np.array([1.0, 2.0, 3.0]), 2), fitted(np.array([1.0]), 3)
    (array([1., 2.]), array([1., 0., 0.]))
    """
    return np.pad(wav[:length], (0, max(0, length - len(wav))))


def _babble(rng, samples, folder):
    total = np.zeros(samples)
    if folder is not None:
        for _ in range(BABBLE_VOICES):
            piece = _recorded(rng, samples, folder)
            total += piece / (sounding_level(piece) + 1e-9)
        return total
    from data_prep.minisinging.clip import render_clip

    length_s = 8.0
    for _ in range(_SYNTHETIC_VOICES):
        clip = render_clip(
            [int(rng.integers(2**31)), 1], length_s, band=False, noise_db=False
        )
        piece = clip.voice / (sounding_level(clip.voice) + 1e-9)
        start = int(rng.integers(len(piece)))
        total += np.resize(np.roll(piece, start), samples)
    return total


def _natural(rng, samples, folder=None):
    time = np.arange(samples) / SAMPLE_RATE
    noise = rng.standard_normal(samples)
    # Wind: a low band that comes in gusts.
    seconds = np.arange(int(time[-1]) + 2)
    gusts = np.interp(time, seconds, rng.uniform(0.1, 1, len(seconds)))
    low = butter(2, rng.uniform(150, 600), fs=SAMPLE_RATE, output="sos")
    total = 3.0 * gusts * sosfilt(low, noise)
    # A machine: hum with harmonics.
    base = rng.uniform(45, 130)
    for k in range(1, 7):
        total += 0.1 / k * np.sin(2 * np.pi * k * base * time + k)
    # Rattle: short bursts of a high band.
    band = sorted(rng.uniform(800, 7000, 2))
    band[1] = min(max(band[1], band[0] + 500), 7900)
    high = butter(2, band, "bandpass", fs=SAMPLE_RATE, output="sos")
    hits = np.zeros(samples)
    for at in rng.integers(0, samples, max(1, int(2 * time[-1]))):
        length = int(rng.uniform(0.02, 0.3) * SAMPLE_RATE)
        piece = hits[at : at + length]
        piece += np.exp(-5 * np.arange(len(piece)) / length)
    total += 0.5 * hits * sosfilt(high, rng.standard_normal(samples))
    # Birds or alarms: chirps.
    for at in rng.integers(0, samples, max(1, int(0.7 * time[-1]))):
        length = int(rng.uniform(0.05, 0.4) * SAMPLE_RATE)
        t = np.arange(min(length, samples - at)) / SAMPLE_RATE
        start, slope = rng.uniform(900, 4000), rng.uniform(-4000, 4000)
        chirp = np.sin(2 * np.pi * (start * t + slope * t**2 / 2))
        total[at : at + len(t)] += 0.3 * chirp * np.hanning(len(t) + 2)[1:-1]
    return total


def _recorded(rng, samples, folder):
    """Random files one after the other, each from a random place on."""
    files = _files(str(folder))
    parts, length = [], 0
    while length < samples:
        path = files[int(rng.integers(len(files)))]
        start = int(rng.integers(_count(path)))
        # A file may be an hour long; only what is needed is read.
        stop = (start + samples - length) / SAMPLE_RATE
        parts.append(read_audio(path, start / SAMPLE_RATE, stop, SAMPLE_RATE))
        length += len(parts[-1])
    return np.concatenate(parts)[:samples]


def _joined(rng, samples, clips):
    """Clips at one level, cross-faded with equal power."""
    fade = round(_FADE_S * SAMPLE_RATE)
    total, at = np.zeros(samples), 0
    while at < samples:
        piece = _read(clips[int(rng.integers(len(clips)))])
        piece = piece / (rms_level(piece) or 1.0)
        if at == 0:
            piece = piece[int(rng.integers(max(1, len(piece) - fade))) :]
        ramp = np.arange(1, 1 + min(fade, len(piece) // 2)) / (1 + fade)
        ramp = np.sin(np.pi / 2 * ramp)
        if at > 0:
            piece[: len(ramp)] *= ramp
        piece[len(piece) - len(ramp) :] *= ramp[::-1]
        part = total[at : at + len(piece)]
        part += piece[: len(part)]
        at += len(piece) - len(ramp)
    return total


def _slots(rng, samples, clips):
    """One clip in the middle of each slot of 10 s, as published."""
    size = round(SLOT_S * SAMPLE_RATE)
    total = np.zeros(math.ceil(samples / size) * size)
    for start in range(0, len(total), size):
        piece = _read(clips[int(rng.integers(len(clips)))])[:size]
        start += (size - len(piece)) // 2
        total[start : start + len(piece)] = piece
    return total[:samples]


def is_prepared(folder) -> bool:
    """Tell whether a folder was made by `singbrain prepare musan`.

    Arguments
    ---------
    folder : str or Path

    Returns
    -------
    bool

    Raises
    ------
    AudioError
        If it was begun and not finished.

    Example
    -------
    >>> is_prepared("no/such/folder")
    False
    """
    from data_prep.clips import UNFINISHED
    from data_prep.musan import INDEX

    if (Path(folder) / UNFINISHED).is_file():
        # Its clips would be taken without regard to their splits.
        raise AudioError(
            f"{folder}: is not finished: run the preparation again"
        )
    return (Path(folder) / INDEX).is_file()


def recordings(folder, kind, split=None, construction="joined") -> list[str]:
    """List the recordings that noise is made of.

    Arguments
    ---------
    folder : str or Path
        As in `make_noise`.
    kind : str
        "babble" or "natural".
    split : str, optional
        For a prepared folder: "train", "valid" or "test".
    construction : str
        See `make_noise`. Default: joined.

    Returns
    -------
    list of str
        Paths; of a prepared folder, the clips of that kind and split alone.

    Raises
    ------
    ConfigError
        If a prepared folder comes without a split.
    AudioError
        If there are none.
    ManifestError
        If the index of a prepared folder is damaged.
    """
    if not is_prepared(folder):
        return _files(str(folder))
    if split is None:
        raise ConfigError(
            f"{folder}: its clips belong to splits: say which, train, valid "
            "or test"
        )
    return _clips(str(folder), kind, split, construction)


@lru_cache(maxsize=32)
def _clips(folder, kind, split, construction):
    from data_prep.musan import read_index

    # Of babble, the published mixtures use clips of full length alone.
    full = construction == "slots" and kind == "babble"
    clips = [
        clip.path
        for clip in read_index(folder)
        if clip.kind == kind
        and clip.split == split
        and (clip.duration >= SLOT_S or not full)
    ]
    if not clips:
        least = f" of at least {SLOT_S:g} s" if full else ""
        raise AudioError(
            f"{folder}: has no clips of {kind} noise{least} for {split}: "
            "prepare MUSAN with them"
        )
    return clips


@lru_cache(maxsize=8)
def _files(folder):
    files = [
        str(path)
        for path in sorted(Path(folder).rglob("*"))
        if path.suffix.lower() in _SUFFIXES and path.is_file()
    ]
    if not files:
        raise AudioError(f"{folder}: holds no noise recordings")
    return files


@lru_cache(maxsize=4096)
def _count(path):
    """Samples of a file at 16 kHz."""
    info = audio_info(path)
    if info.n_samples is None:
        return len(read_audio(path, sample_rate=SAMPLE_RATE))
    # As soxr rounds.
    return round(info.n_samples * SAMPLE_RATE / info.sample_rate)


@lru_cache(maxsize=64)
def _read(path):
    return read_audio(path, sample_rate=SAMPLE_RATE)


class _Kept:
    """What a function made last, up to a number of bytes."""

    def __init__(self, make, limit):
        self.make, self.limit = make, limit
        self.arrays, self.size = OrderedDict(), 0

    def __call__(self, *key):
        if key in self.arrays:
            self.arrays.move_to_end(key)
            return self.arrays[key]
        array = self.arrays[key] = self.make(*key)
        self.size += array.nbytes
        while self.size > self.limit and len(self.arrays) > 1:
            self.size -= self.arrays.popitem(last=False)[1].nbytes
        return array


_song_noise = _Kept(make_noise, _KEPT_BYTES)


@lru_cache(maxsize=4096)
def _noise_level(level, *key):
    return find_level(level)(_song_noise(*key))


@lru_cache(maxsize=4096)
def _song_level(path, level, samples=None):
    """Level of a song, or of what is heard of it in so many samples."""
    wav = read_audio(path, sample_rate=SAMPLE_RATE)
    return find_level(level)(wav if samples is None else fitted(wav, samples))
