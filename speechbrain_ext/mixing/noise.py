"""Noise for tests of robustness: types and levels.

The four types and the levels of -10 to 10 dB are those of Gu et al. (ACM TOMM
2024), who take babble and natural noise from MUSAN. Where no recordings are
given, both are synthesised, so that a test needs no download.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from scipy.signal import butter, sosfilt

from speechbrain_ext.audio import SAMPLE_RATE, read_audio
from speechbrain_ext.errors import AudioError, ConfigError
from speechbrain_ext.mixing.effects import sounding_level

TYPES = ("accompaniment", "white", "babble", "natural")

# Voices that talk at the same time, as in the published mixtures.
BABBLE_VOICES = 30
_SYNTHETIC_VOICES = 12
_SUFFIXES = (".wav", ".flac", ".mp3", ".ogg")


def make_noise(kind, samples, seed, folder=None) -> np.ndarray:
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
        Recordings, searched recursively, of speech for babble (the mean of 30
        random pieces) or of sounds for natural noise (random files one after
        the other). Default: synthesised; babble from MiniSinging's voices,
        natural noise from wind, hum, rattle and chirps.

    Returns
    -------
    np.ndarray (samples,) float32
        Root mean square 1.

    Raises
    ------
    ConfigError
        If the kind is unknown.
    AudioError
        If the folder holds no audio.

    Example
    -------
    >>> noise = make_noise("white", 16000, seed=1)
    >>> round(float(np.sqrt(np.mean(noise**2))), 3)
    1.0
    """
    rng = np.random.default_rng([int(seed), len(kind)])
    if kind == "white":
        noise = rng.standard_normal(samples)
    elif kind == "babble":
        noise = _babble(rng, samples, folder)
    elif kind == "natural":
        make = _natural if folder is None else _recorded
        noise = make(rng, samples, folder)
    else:
        raise ConfigError(
            f"noise {kind!r} is unknown: use one of {', '.join(TYPES[1:])}"
        )
    noise = noise / (np.sqrt(np.mean(noise**2)) + 1e-12)
    return noise.astype(np.float32)


def add_noise(wav, noise, ratio_db, published=False, levels=None) -> np.ndarray:
    """Mix a voice with noise and keep the loudness about the same.

    Arguments
    ---------
    wav, noise : np.ndarray (samples,)
    ratio_db : float
        Level of the voice above the noise. With r = 10 ** (ratio_db / 20) the
        result is `r / (1 + r)` times the voice plus `1 / (1 + r)` times the
        noise at the voice's level.
    published : bool
        Whether levels are means of the absolute value over everything, pauses
        included, as in the published mixtures (Gu et al.); otherwise (default)
        `effects.sounding_level` for both.
    levels : (float, float), optional
        Levels of the whole voice and the whole noise, where `wav` and `noise`
        are parts of them. Default: those of the two.

    Returns
    -------
    np.ndarray (samples,) float32

    Example
    -------
    >>> add_noise(np.full(320, 0.2), np.full(320, 5.0), 0.0)[:2]
    array([0.2, 0.2], dtype=float32)
    """

    def level(x):
        return float(np.mean(np.abs(x))) if published else sounding_level(x)

    ratio = 10 ** (ratio_db / 20)
    own, other = levels or (level(wav), level(noise))
    gain = own / other if other > 0 else 0.0
    return ((ratio * wav + gain * noise) / (1 + ratio)).astype(np.float32)


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
    files = _files(str(folder))
    parts, length = [], 0
    while length < samples:
        path = files[int(rng.integers(len(files)))]
        piece = _read(path)
        start = int(rng.integers(len(piece)))
        parts.append(piece[start:])
        length += len(parts[-1])
    return np.concatenate(parts)[:samples]


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


@lru_cache(maxsize=64)
def _read(path):
    return read_audio(path, sample_rate=SAMPLE_RATE)
