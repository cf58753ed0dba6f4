"""Whether outputs are one voice: counted by hand, and decided."""

import numpy as np
import pytest

from speechbrain_ext.inference.one_voice import (
    count_frames,
    one_voice,
    same_pitch,
    together,
)

RATE, BINS = 24000, 1025
FRAME_S = 512 / RATE


def tone(bin_of_f0, frames, level=1.0):
    """Magnitudes (frames, bins) of a tone with partials up to 4 kHz."""
    out = np.zeros((frames, BINS))
    out[:, bin_of_f0:340:bin_of_f0] = level
    return out


def counted(*voices):
    voices = np.stack(voices)
    return count_frames(voices, (voices.sum(0) ** 2).sum(-1), RATE)


def test_frames_are_counted_by_hand():
    """Ten frames: alike, apart, one alone, the other 20 dB softer."""
    first = np.concatenate([tone(20, 4), tone(20, 2), tone(20, 4)])
    second = np.concatenate(
        [tone(20, 4, 0.5), tone(30, 2), tone(20, 2, 0.0), tone(20, 2, 0.1)]
    )
    counts = counted(first, second)
    assert counts[:, 0, 1].tolist() == counts[:, 1, 0].tolist()
    assert counts[:, 0, 1].tolist() == [10.0, 6.0, 6.0, 4.0]
    assert together(counts)[0, 1] == pytest.approx(0.6)
    # (4 frames + 0.6 of 0.2 s) of (6 frames + 0.2 s)
    expected = (4 * FRAME_S + 0.12) / (6 * FRAME_S + 0.2)
    assert same_pitch(counts, FRAME_S)[0, 1] == pytest.approx(expected)


def test_frames_that_do_not_sound_do_not_count():
    loud = np.concatenate([tone(20, 8), tone(20, 8, 1e-3)])
    assert counted(loud, loud)[:, 0, 1].tolist() == [8.0] * 4
    assert not counted(0 * loud, 0 * loud).any()


def test_three_voices_pair_by_pair():
    """Two with one pitch, beside a third that is 10 dB louder."""
    counts = counted(tone(20, 5), tone(20, 5), tone(27, 5, 3.16))
    assert counts[3].tolist() == [[5, 5, 0], [5, 5, 0], [0, 0, 5]]
    # Far below a louder one, two others have nothing to say.
    counts = counted(tone(20, 5), tone(20, 5), tone(27, 5, 10.0))
    assert counts[1, 0, 1] == 0 and counts[0, 0, 2] == 5


def decide(same, likeness, level, both, frames=200):
    counts = np.array([frames, both * frames, both * frames, 0.0])
    counts[3] = same * counts[2]
    tables = np.broadcast_to(counts[:, None, None], (4, 2, 2))
    alike = np.array([[1, likeness], [likeness, 1]])
    return one_voice(tables, FRAME_S, alike, [0.0, -level])[0, 1]


@pytest.mark.parametrize(
    "same, likeness, level, both, alone",
    [
        (0.97, 0.7, 6, 0.8, True),  # a usual solo
        (0.97, 0.4, 15, 0.4, True),  # one output with little
        (0.25, 0.1, 1, 0.8, False),  # a usual duet
        (0.5, 0.2, 7, 0.8, False),  # one of them softer
        (0.3, 0.1, 0, 0.05, False),  # in turn, well apart
    ],
)
def test_usual_cases(same, likeness, level, both, alone):
    assert (decide(same, likeness, level, both) > 0.5) == alone


def test_more_of_each_sign_is_more_likely():
    base = decide(0.6, 0.4, 4, 0.7)
    assert decide(0.8, 0.4, 4, 0.7) > base
    assert decide(0.6, 0.6, 4, 0.7) > base
    assert decide(0.6, 0.4, 8, 0.7) > base
    assert decide(0.6, 0.4, 4, 0.5) > base
    assert decide(0.6, 0.4, 10, 0.7) == decide(0.6, 0.4, 30, 0.7)


def test_silence_is_nobody():
    found = one_voice(np.zeros((4, 2, 2)), FRAME_S, np.eye(2), [0.0, -np.inf])
    assert found[0, 1] == found[1, 0] == 0
