"""Rooms, microphones and background noise."""

from __future__ import annotations

import numpy as np
from scipy import fft as sfft
from scipy.signal import fftconvolve

NOISE_SLOPES = {"white": 0.0, "pink": 0.5, "brown": 1.0, "blue": -0.5}


def draw_room(rng, sample_rate, wet=None):
    """Impulse response of a room: direct sound, echoes, decaying noise.

    Arguments
    ---------
    rng : np.random.Generator
        Source of randomness.
    sample_rate : int
        Samples per second.
    wet : float, optional
        Amplitude of the reverberation relative to the direct sound.

    Returns
    -------
    np.ndarray (taps,)
        Starts with the direct sound, of amplitude 1.
    """
    decay_s = float(np.exp(rng.uniform(np.log(0.12), np.log(1.4))))
    n = int(min(decay_s, 1.0) * 1.1 * sample_rate)
    time = np.arange(n) / sample_rate
    tail = rng.standard_normal(n) * 10 ** (-3 * time / decay_s)
    # High frequencies die earlier: mix two decays.
    dull = np.convolve(
        rng.standard_normal(n), np.hanning(9)[1:-1] / 2.5, "same"
    )
    tail = 0.5 * tail * 10 ** (-2 * time / decay_s) + dull * 10 ** (
        -3 * time / decay_s
    )
    start = int(rng.uniform(0.001, 0.02) * sample_rate)
    tail[:start] = 0
    for _ in range(int(rng.integers(0, 9))):
        at = int(rng.uniform(0.002, 0.06) * sample_rate)
        if at < n:
            tail[at] += rng.uniform(1, 6) * rng.choice([-1, 1])
    if wet is None:
        wet = 10 ** (rng.uniform(-24, 0) / 20)
    response = tail * (wet / np.sqrt(np.sum(tail**2) + 1e-9))
    response[0] = 1.0
    return response


def place(wav, rng, sample_rate, pan=0.0, wet_db=-np.inf):
    """Put a sound between two loudspeakers.

    The direct sound is panned with constant power; the room answers
    differently on both sides.

    Arguments
    ---------
    wav : np.ndarray (samples,)
        Sound.
    rng : np.random.Generator
        Source of randomness.
    sample_rate : int
        Samples per second.
    pan : float, optional
        From -1, left, to 1, right; default: 0, the middle.
    wet_db : float, optional
        Level of the room on each side, relative to the sound; default: none.

    Returns
    -------
    np.ndarray (samples, 2), float64

    Example
    -------
    >>> place(np.ones(4), np.random.default_rng(0), 16000, pan=-1.0)[0]
    array([1.41421356, 0.        ])
    """
    angle = (1 + pan) * np.pi / 4
    gains = np.sqrt(2) * np.array([np.cos(angle), np.sin(angle)])
    sides = np.outer(np.float64(wav), np.round(gains, 12))
    if np.isfinite(wet_db):
        for side in sides.T:
            response = draw_room(rng, sample_rate, wet=10 ** (wet_db / 20))
            response[0] = 0.0
            side += fftconvolve(wav, response)[: len(wav)]
    return sides


def draw_microphone(rng, freqs):
    """Complex response of a microphone and its channel.

    A band limit at both ends, a random tone curve of up to +-8 dB, and some
    phase dispersion that makes the waveform less peaky.

    Arguments
    ---------
    rng : np.random.Generator
        Source of randomness.
    freqs : np.ndarray (bins,)
        Hertz.

    Returns
    -------
    np.ndarray (bins,)
        Response, zero at 0 Hz.
    """
    octave = np.log2(np.maximum(freqs, 20.0) / 20.0)
    knots = np.linspace(0, np.log2(freqs[-1] / 20.0), 7)
    curve = np.interp(octave, knots, rng.normal(0, rng.uniform(0.5, 4), 7))
    low = rng.uniform(30, 140)
    response = 10 ** (np.clip(curve, -10, 10) / 20)
    ratio = (np.maximum(freqs, 1e-3) / low) ** 4
    response = response * ratio / (1 + ratio)
    if rng.uniform() < 0.25:
        high = rng.uniform(3200, freqs[-1])
        response /= 1 + (freqs / high) ** rng.choice([4, 8, 24])
    response[freqs < 15] = 0
    bend = rng.uniform(0.2, 2.5) * np.pi
    phase = bend * np.cumsum(1 / (1 + (freqs / rng.uniform(300, 2000)) ** 2))
    phase *= (freqs[1] - freqs[0]) / 400.0
    return response * np.exp(-1j * phase)


def apply(wav, spectrum, n_fft):
    """Filter a signal with a frequency response, keeping its length.

    Arguments
    ---------
    wav : np.ndarray (samples,)
    spectrum : np.ndarray (n_fft // 2 + 1,)
    n_fft : int
        At least samples plus the length of the response.

    Returns
    -------
    np.ndarray (samples,)
        float32.
    """
    full = sfft.rfft(wav, n_fft)
    full *= spectrum
    return sfft.irfft(full, n_fft)[: len(wav)]


def draw_noise(rng, n_samples, sample_rate):
    """Background noise of unit power: coloured noise, at times with hum.

    Arguments
    ---------
    rng : np.random.Generator
        Source of randomness.
    n_samples : int
        Length.
    sample_rate : int
        Samples per second.

    Returns
    -------
    np.ndarray (samples,)
        float32.
    """
    slope = NOISE_SLOPES[str(rng.choice(list(NOISE_SLOPES)))]
    n_fft = sfft.next_fast_len(n_samples, real=True)
    bins = n_fft // 2 + 1
    spectrum = rng.standard_normal(2 * bins, dtype=np.float32)
    spectrum = spectrum.view(np.complex64)
    freqs = np.arange(bins, dtype=np.float32) * (sample_rate / n_fft)
    shape = np.maximum(freqs, 60.0) ** np.float32(-slope)
    if rng.uniform() < 0.3:  # a bump, like a fan or a street
        centre = rng.uniform(100, 3000)
        shape *= 1 + 5 * np.exp(-0.5 * ((freqs - centre) / 200) ** 2)
    shape[freqs < 20] = 0
    noise = sfft.irfft(spectrum * shape, n_fft)[:n_samples]
    noise /= np.sqrt(np.mean(noise**2)) + 1e-12
    if rng.uniform() < 0.2:
        hum = rng.choice([50.0, 60.0])
        time = np.arange(n_samples) / sample_rate
        for k in (1, 2, 3):
            noise += rng.uniform(0, 0.5) * np.sin(
                2 * np.pi * k * hum * time + rng.uniform(0, 6)
            )
    return noise.astype(np.float32)


def compress(wav, sample_rate, amount):
    """Slow level compression: loud and soft passages come closer.

    Arguments
    ---------
    wav : np.ndarray (samples,)
    sample_rate : int
    amount : float
        0 changes nothing, 1 makes the level constant.

    Returns
    -------
    np.ndarray (samples,)
        float32.
    """
    hop = max(1, sample_rate // 100)
    count = -(-len(wav) // hop)
    padded = np.zeros(count * hop, dtype=np.float32)
    padded[: len(wav)] = wav
    power = np.mean(padded.reshape(count, hop) ** 2, axis=1)
    window = np.hanning(17)[1:-1]
    level = np.sqrt(np.convolve(power, window / window.sum(), "same"))
    reference = np.sqrt(np.mean(power)) + 1e-9
    gain = (np.maximum(level, 0.1 * reference) / reference) ** -amount
    smooth = np.interp(
        np.arange(len(wav)), (np.arange(count) + 0.5) * hop, gain
    )
    return (wav * smooth).astype(np.float32)
