"""What recordings go through: levels, tone, noise, imperfect separation."""

from __future__ import annotations

import numpy as np
from scipy import fft as sfft
from scipy.signal import lfilter

from speechbrain_ext.errors import ConfigError

_STFT = 1024
_HOP = 256
_LEVEL_BLOCK = 320
_SILENCE_DB = -35.0


def sounding_level(wav) -> float:
    """Root mean square of a signal while it sounds.

    Arguments
    ---------
    wav : np.ndarray (samples,)

    Returns
    -------
    float
        Over blocks of 320 samples that are at most 35 dB below the loudest
        one; 0 for silence.

    Example
    -------
    >>> wav = np.zeros(6400)
    >>> wav[:3200] = 0.5
    >>> sounding_level(wav)
    0.5
    """
    count = -(-len(wav) // _LEVEL_BLOCK)
    padded = np.zeros(count * _LEVEL_BLOCK)
    padded[: len(wav)] = wav
    power = np.mean(padded.reshape(count, _LEVEL_BLOCK) ** 2, axis=1)
    if not count or power.max() <= 0:
        return 0.0
    sounding = power >= power.max() * 10 ** (_SILENCE_DB / 10)
    return float(np.sqrt(power[sounding].mean()))


def rms_level(wav) -> float:
    """Root mean square of a signal, pauses included.

    Arguments
    ---------
    wav : np.ndarray (samples,)

    Returns
    -------
    float
        Summed in float64; 0 for no samples.

    Example
    -------
    >>> rms_level(np.array([0.5, -0.5, 0.5, -0.5] + 12 * [0.0]))
    0.25
    """
    wav = np.asarray(wav, dtype=np.float64)
    return float(np.sqrt(np.mean(wav**2))) if wav.size else 0.0


def mean_abs_level(wav) -> float:
    """Mean absolute value of a signal, pauses included.

    Arguments
    ---------
    wav : np.ndarray (samples,)

    Returns
    -------
    float
        Summed in float64; 0 for no samples.

    Example
    -------
    >>> mean_abs_level(np.array([0.5, -0.5, 0.0, 0.0]))
    0.25
    """
    wav = np.asarray(wav, dtype=np.float64)
    return float(np.mean(np.abs(wav))) if wav.size else 0.0


# What "level" may mean where two sounds are mixed at a ratio.
LEVELS = {
    "rms": rms_level,
    "mean_abs": mean_abs_level,
    "sounding": sounding_level,
}


def find_level(name):
    """Look a definition of level up.

    Arguments
    ---------
    name : str
        `rms`: root mean square of all samples, so that ratios are those of
        powers; `mean_abs`: mean absolute value of all samples; `sounding`:
        root mean square while the signal sounds (`sounding_level`), which
        pauses do not lower.

    Returns
    -------
    callable
        Level, a float, of a signal (samples,).

    Raises
    ------
    ConfigError
        If the name is unknown.

    Example
    -------
    >>> find_level("rms")(np.array([0.5, -0.5]))
    0.5
    """
    if name not in LEVELS:
        raise ConfigError(f"level is {name!r}: use one of {', '.join(LEVELS)}")
    return LEVELS[name]


def mix_at(voice, other, ratio_db, level="sounding"):
    """Add a sound to a voice at a given level.

    Arguments
    ---------
    voice, other : np.ndarray (samples,)
    ratio_db : float
        Level of the voice above the other sound.
    level : str
        What that means, see `find_level`. Default: both while they sound.

    Returns
    -------
    np.ndarray (samples,)
        The voice as it was, plus the scaled sound; the sum of both unchanged
        where one of them is silent.

    Example
    -------
    >>> mix_at(np.full(320, 0.5), np.full(320, 0.1), 20.0).round(3)[:2]
    array([0.55, 0.55])
    """
    measure = find_level(level)
    own, foreign = measure(voice), measure(other)
    if own == 0 or foreign == 0:
        return voice + other
    return voice + other * (own / foreign * 10 ** (-ratio_db / 20))


def tilt(wav, amount):
    """Brighten or darken a signal with a first-order filter.

    Arguments
    ---------
    wav : np.ndarray (samples,)
    amount : float
        Coefficient in (-1, 1): above 0 darker, below 0 brighter.

    Returns
    -------
    np.ndarray (samples,)

    Example
    -------
    >>> tilt(np.array([1.0, 1.0, 1.0]), 0.5).tolist()
    [1.0, 1.5, 1.5]
    """
    return lfilter([1.0, amount], [1.0], wav)


def imperfect_separation(voice, accompaniment, rng) -> np.ndarray:
    """Voice as a music source separator leaves it.

    A soft mask in the time-frequency plane, computed from the true voice and
    accompaniment and then made wrong: raised to a power, smeared in time and
    held above a floor, so that residues of the accompaniment are left and
    parts of the voice are missing.

    Arguments
    ---------
    voice, accompaniment : np.ndarray (samples,)
    rng : np.random.Generator
        Source of randomness.

    Returns
    -------
    np.ndarray (samples,)
        float32.
    """
    n = len(voice)
    frames = -(-n // _HOP) + 3
    window = np.sqrt(np.hanning(_STFT + 1)[:-1]).astype(np.float32)

    def analyse(wav):
        padded = np.zeros((frames - 1) * _HOP + _STFT, dtype=np.float32)
        padded[_STFT - _HOP : _STFT - _HOP + n] = wav
        view = np.lib.stride_tricks.sliding_window_view(padded, _STFT)
        return sfft.rfft(view[::_HOP] * window, axis=1)

    wanted, rest = analyse(voice), analyse(accompaniment)
    power = np.float32(rng.uniform(0.8, 2.0))
    bias = np.float32(10 ** (rng.uniform(-6, 12) / 20))
    own = (bias * np.abs(wanted)) ** power
    mask = own / (own + np.abs(rest) ** power + 1e-9)
    if rng.uniform() < 0.5:
        slow = np.float32(rng.uniform(0.2, 0.6))
        mask[1:] = (1 - slow) * mask[1:] + slow * mask[:-1]
    floor = np.float32(10 ** (rng.uniform(-45, -12) / 20))
    mask = floor + (1 - floor) * mask
    parts = sfft.irfft((wanted + rest) * mask, _STFT, axis=1) * window
    parts = parts.reshape(frames, 4, _HOP)
    out = np.zeros((frames + 3, _HOP), dtype=np.float32)
    for k in range(4):
        out[k : k + frames] += parts[:, k]
    wav = 0.5 * out.ravel()[_STFT - _HOP :][:n]
    return np.ascontiguousarray(wav, dtype=np.float32)
