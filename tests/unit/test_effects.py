"""Levels, mixing, tone and imperfect separation."""

import numpy as np
import pytest

from speechbrain_ext.mixing.effects import (
    imperfect_separation,
    mix_at,
    sounding_level,
    tilt,
)


def sine(hz, seconds=1.0, amplitude=0.5):
    time = np.arange(round(16000 * seconds)) / 16000
    return amplitude * np.sin(2 * np.pi * hz * time)


def test_pauses_do_not_lower_the_level():
    wav = sine(400)
    paused = np.concatenate([wav, np.zeros(32000), 1e-4 * wav])
    assert sounding_level(wav) == pytest.approx(0.5 / np.sqrt(2), rel=1e-3)
    assert sounding_level(paused) == pytest.approx(sounding_level(wav))
    assert sounding_level(np.zeros(1000)) == sounding_level(np.zeros(0)) == 0


@pytest.mark.parametrize("ratio", [-10.0, 0.0, 12.5])
def test_mixing_ratio(ratio):
    voice, band = sine(400), sine(1000, amplitude=0.01)
    added = mix_at(voice, band, ratio) - voice
    level = 20 * np.log10(sounding_level(voice) / sounding_level(added))
    assert level == pytest.approx(ratio, abs=1e-6)
    silent = np.zeros(16000)
    assert np.array_equal(mix_at(silent, band, ratio), band)
    assert np.array_equal(mix_at(voice, silent, ratio), voice)


def test_tilt_changes_high_frequencies():
    low, high = sine(100), sine(7000)
    for amount, brighter in ((0.5, False), (-0.5, True)):
        ratios = [
            sounding_level(tilt(x, amount)) / sounding_level(x)
            for x in (low, high)
        ]
        assert (ratios[1] > ratios[0]) == brighter


def test_separation_keeps_the_voice_and_lowers_the_rest():
    voice = sine(440).astype(np.float32)
    band = sine(2000).astype(np.float32)
    for seed in range(5):
        rng = np.random.default_rng(seed)
        wav = imperfect_separation(voice, band, rng)
        assert wav.shape == voice.shape and wav.dtype == np.float32
        spectrum = np.abs(np.fft.rfft(wav))
        assert spectrum[440] > 4 * spectrum[2000] > 0
    quiet = imperfect_separation(voice, 0 * band, np.random.default_rng(0))
    inner = slice(1000, 15000)
    assert np.allclose(quiet[inner], voice[inner], atol=1e-3)
