"""Spectrograms of streams."""

import numpy as np
import pytest

from speechbrain_ext.report.spectrogram import BANDS, Sketch


def heard(wav, rate, columns=1500, block=1000):
    sketch = Sketch(rate, columns)
    for start in range(0, len(wav), block):
        sketch.listen(wav[start : start + block])
    assert sketch.seconds == pytest.approx(len(wav) / rate)
    return sketch


@pytest.mark.parametrize("rate", [8000, 44100, 96000])
def test_a_sine_stands_in_its_band(rate):
    times = np.arange(rate) / rate
    sketch = heard(np.sin(2 * np.pi * 1000 * times), rate)
    powers = sketch.powers()
    assert powers.shape[1] == BANDS
    band = powers[1:-1].mean(axis=0).argmax()
    assert sketch.edges[band] / 1.05 < 1000 < sketch.edges[band + 1] * 1.05
    # 1 at full scale, less where the sine lies between two bins.
    assert 0.4 < powers[1:-1].max() <= 1.001


def test_columns_by_hand():
    # Frames of 64 samples at 1378 Hz; two of ten sound.
    rate = 1378
    wav = np.zeros(640)
    wav[128:192] = wav[448:512] = 1.0
    assert Sketch(rate).size == 64
    loud = heard(wav, rate).powers().sum(axis=1)
    assert np.flatnonzero(loud).tolist() == [2, 7]
    # At most six columns: pairs of frames, then.
    sketch = heard(wav, rate, columns=6)
    halves = sketch.powers().sum(axis=1)
    assert sketch.column_s == pytest.approx(128 / rate)
    assert halves == pytest.approx([0, loud[2] / 2, 0, loud[7] / 2, 0])


@pytest.mark.parametrize("block", [1, 63, 64, 5000])
def test_blocks_do_not_matter(block):
    wav = np.random.default_rng(0).standard_normal(64 * 41 + 5)
    one = heard(wav, 1378, 10, block).powers()
    # Ten columns of four frames, and what is left.
    assert one.shape == (11, BANDS)
    assert one == pytest.approx(heard(wav, 1378, 10, 7777).powers(), rel=1e-4)


def test_no_more_is_kept_than_can_be_drawn():
    sketch = Sketch(16000, columns=100)
    for _ in range(200):
        sketch.listen(np.ones(16000))
        assert len(sketch.powers()) <= 101
    assert len(sketch.powers()) > 50
    assert sketch.seconds == 200


def test_less_than_a_frame():
    assert Sketch(44100).powers().shape == (0, BANDS)
    sketch = heard(np.ones(1), 44100)
    assert sketch.powers().shape == (1, BANDS)
