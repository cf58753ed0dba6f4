"""How much singers share of the scale: what makes telling them apart hard.

Where two voices keep to registers of their own, their pitch alone tells whose a
partial is.
"""

from __future__ import annotations

import numpy as np

from speechbrain_ext.audio import seconds_to_samples
from speechbrain_ext.inference.voice_prints import pitches, sounding_frames

WINDOW_S, HOP_S = 0.064, 0.02

# What lies between these percentiles is a singer's range.
PERCENTILES = (5.0, 95.0)

# A voice with fewer pitched frames has no range.
_LEAST = 10


def pitch_range(wav, sample_rate: int) -> tuple[float, float]:
    """Find the range of pitches of a voice that is alone.

    From the 5th to the 95th percentile of the pitches of frames of 64 ms that
    sound and have a clear one (`inference.voice_prints.pitches`).

    Arguments
    ---------
    wav : np.ndarray (samples,)
        Or (channels, samples), whose mean is taken.
    sample_rate : int
        Hertz.

    Returns
    -------
    (float, float)
        MIDI numbers; nan for fewer than ten such frames.

    Example
    -------
    >>> time = np.arange(16000) / 16000
    >>> voice = sum(np.sin(2 * np.pi * 220 * k * time) / k for k in (1, 2, 3))
    >>> [round(pitch) for pitch in pitch_range(voice, 16000)]
    [57, 57]
    """
    wav = np.asarray(wav, np.float64)
    wav = wav if wav.ndim == 1 else wav.mean(0)
    size = 2 ** round(np.log2(WINDOW_S * sample_rate))
    if len(wav) < size:
        return np.nan, np.nan
    frames = np.lib.stride_tricks.sliding_window_view(wav, size)
    frames = frames[:: seconds_to_samples(HOP_S, sample_rate)]
    spectra = np.abs(np.fft.rfft(frames * np.hanning(size), 2 * size))
    power = (spectra**2).mean(1)
    found = pitches(spectra, sample_rate)
    found = found[sounding_frames(power, 1e-12) & ~np.isnan(found)]
    if len(found) < _LEAST:
        return np.nan, np.nan
    low, high = np.percentile(found, PERCENTILES)
    return float(low), float(high)


def range_overlap(first, second) -> float:
    """Share of the narrower of two ranges that lies in the other one.

    Arguments
    ---------
    first, second : (float, float)
        Lower and upper end.

    Returns
    -------
    float
        0 to 1; nan if an end is.

    Example
    -------
    >>> range_overlap((50.0, 60.0), (58.0, 62.0))
    0.5
    >>> range_overlap((50.0, 55.0), (58.0, 62.0))
    0.0
    """
    if np.isnan([*first, *second]).any():
        return np.nan
    shared = min(first[1], second[1]) - max(first[0], second[0])
    width = min(first[1] - first[0], second[1] - second[0])
    if width <= 0:
        return float(shared >= 0)
    return float(np.clip(shared / width, 0.0, 1.0))
