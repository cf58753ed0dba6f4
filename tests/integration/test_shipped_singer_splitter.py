"""The shipped splitter, on synthetic singers that it has not heard.

Two real ones, not heard either, are in `tests/realdata`.
"""

import numpy as np
import pytest

from data_prep.minisinging import render_clip
from speechbrain_ext.inference.splitter import SingerSplitter
from speechbrain_ext.metrics.singers import evaluate_singers
from speechbrain_ext.mixing.effects import sounding_level

RATE = 16000
PAIRS = 8


@pytest.fixture(scope="module")
def splitter():
    return SingerSplitter.from_hparams()


@pytest.fixture(scope="module")
def voices():
    """Other singers and songs in each pair (pairs, 2, samples), alike loud."""
    found = []
    for seed in range(2 * PAIRS):
        wav = render_clip([seed, 606], 8.0, noise_db=False).voice
        found.append(0.1 * wav / sounding_level(wav))
    return np.array(found).reshape(PAIRS, 2, -1)


def test_it_is_for_two(splitter):
    assert splitter.model_name == "singer_splitter"
    assert splitter.singers == ("singer1", "singer2")
    assert splitter.separator.sample_rate == RATE


def test_two_singers_come_apart(splitter, voices):
    gains = []
    for pair in voices:
        estimates, _ = splitter.split(pair.sum(0), RATE)
        scores, _ = evaluate_singers(pair, estimates, RATE, bss=False)
        gains.append(scores["SI-SDRi"])
        assert np.allclose(estimates.sum(0), pair.sum(0), atol=1e-5)
    assert np.mean(gains) >= 5.0
    # Two whose pitch ranges are far apart.
    assert np.max(gains) >= 12.0


def test_rate_channels_and_level_are_kept(splitter, voices):
    mixture = np.repeat(voices[0].sum(0), 2)[:, None] * [0.5, 0.05]
    estimates, told = splitter.split(mixture, 2 * RATE)
    assert estimates.shape == (2, *mixture.shape)
    assert (told.sample_rate, told.channels) == (2 * RATE, 2)
    assert np.allclose(estimates.sum(0), mixture, atol=1e-5)
    ratio = np.std(estimates, axis=1)
    assert np.allclose(ratio[:, 0], 10 * ratio[:, 1], rtol=1e-3)
