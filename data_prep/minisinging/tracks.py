"""Tracks: values on a regular grid of times, and how they are drawn."""

from __future__ import annotations

import numpy as np


def smooth(track, width_s, rate) -> np.ndarray:
    """Smooth a track over a Hann window; its edges are held.

    Arguments
    ---------
    track : np.ndarray (points,)
        Values.
    width_s : float
        Length of the window in seconds; below three points nothing changes.
    rate : float
        Points per second.

    Returns
    -------
    np.ndarray (points,)

    Example
    -------
    >>> smooth(np.array([0.0, 0.0, 4.0, 0.0, 0.0]), 0.03, 100).tolist()
    [0.0, 1.0, 2.0, 1.0, 0.0]
    """
    width = int(width_s * rate) | 1
    if width < 3:
        return track
    window = np.hanning(width + 2)[1:-1]
    window /= window.sum()
    half = width // 2
    padded = np.concatenate(
        [np.full(half, track[0]), track, np.full(half, track[-1])]
    )
    return np.convolve(padded, window, "valid")


def wander(rng, points, rate_hz, rate) -> np.ndarray:
    """Random track that changes `rate_hz` times a second.

    Arguments
    ---------
    rng : np.random.Generator
        Source of randomness.
    points : int
        Length of the track.
    rate_hz : float
        How often it changes, hertz.
    rate : float
        Points per second.

    Returns
    -------
    np.ndarray (points,)
        Its values have a mean of 0 and, roughly, a variance of 1.

    Example
    -------
    >>> track = wander(np.random.default_rng(0), 6000, 2.0, 100)
    >>> len(track), bool(0.3 < track.std() < 1)
    (6000, True)
    """
    knots = int(points / rate * rate_hz) + 3
    at = np.arange(points) * (rate_hz / rate)
    track = np.interp(at, np.arange(knots), rng.standard_normal(knots))
    return smooth(track, 1.0 / rate_hz, rate)
