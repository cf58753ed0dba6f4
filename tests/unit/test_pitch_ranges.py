"""How much of their ranges two voices share."""

import numpy as np
import pytest

from speechbrain_ext.metrics.pitch_ranges import pitch_range, range_overlap

RATE = 16000


def glide(low, high, seconds=4.0):
    """A voice that goes from one MIDI pitch to another, evenly."""
    midi = np.linspace(low, high, round(seconds * RATE))
    phase = 2 * np.pi * np.cumsum(440 * 2 ** ((midi - 69) / 12)) / RATE
    return sum(np.sin(k * phase) / k for k in range(1, 6))


@pytest.mark.parametrize("low, high", [(45, 57), (60, 72), (52, 53)])
def test_range_of_a_glide(low, high):
    """5 % of the way from each end."""
    wanted = np.percentile([low, high], [5, 95])
    assert pitch_range(glide(low, high), RATE) == pytest.approx(wanted, abs=0.4)


def test_level_silence_and_channels():
    wav = glide(50, 60)
    quiet = np.concatenate([np.zeros(RATE), 1e-2 * wav, np.zeros(RATE)])
    assert pitch_range(quiet, RATE) == pytest.approx(
        pitch_range(wav, RATE), abs=0.3
    )
    twice = np.stack([wav, wav])
    assert pitch_range(twice, RATE) == pytest.approx(pitch_range(wav, RATE))
    for nothing in (np.zeros(RATE), wav[:100], np.zeros(0)):
        assert np.isnan(pitch_range(nothing, RATE)).all()
    noise = np.random.default_rng(0).normal(size=RATE)
    assert np.isnan(pitch_range(noise, RATE)).all()


@pytest.mark.parametrize(
    "one, two, share",
    [
        ((50, 60), (50, 60), 1.0),
        ((50, 60), (52, 54), 1.0),  # the narrower lies within
        ((50, 60), (55, 75), 0.5),
        ((50, 60), (60, 70), 0.0),
        ((50, 60), (65, 70), 0.0),
        ((57, 57), (50, 60), 1.0),  # one note
        ((57, 57), (60, 60), 0.0),
    ],
)
def test_shares(one, two, share):
    assert range_overlap(one, two) == range_overlap(two, one) == share


def test_no_range_no_share():
    assert np.isnan(range_overlap((50.0, 60.0), (np.nan, np.nan)))
