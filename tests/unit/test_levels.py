"""How loud notes are."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechbrain_ext.inference.levels import LevelMeter, with_velocities
from speechbrain_ext.notes import NoteSequence


def measured(blocks, **options):
    meter = LevelMeter(**options)
    passed = list(meter.listen(blocks))
    assert all(a is b for a, b in zip(passed, blocks, strict=True))
    return meter.levels()


def test_levels_by_hand():
    # 4 samples a frame: 3 and 4 alternating, then silence, then a rest of 3.
    wav = np.array([3, 4, 3, 4, 0, 0, 0, 0, 9, 9, 9], np.float32)
    levels = measured([wav], frame_rate=1, sample_rate=4)
    assert levels.tolist() == [np.sqrt(12.5), 0]
    assert measured([]).shape == (0,)


def test_no_overflow():
    loud = np.full(320, 1e38, np.float32)
    assert measured([loud])[0] == pytest.approx(1e38)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 5000), max_size=8))
def test_blocks_do_not_matter(cuts):
    wav = np.random.default_rng(0).normal(size=9000).astype(np.float32)
    blocks = np.split(wav, sorted(cuts))
    assert np.array_equal(measured(blocks), measured([wav]))
    assert len(measured([wav])) == 9000 // 320


def test_velocities_by_hand():
    # Ten frames each at 0, -6.02, -20 and -60 dB of 0.5, then nothing sung
    # at full scale. The reference is the loudest frames' 0.5.
    levels = np.repeat([0.5, 0.25, 0.05, 0.0005, 1.0], 10)
    rows = [(0.2 * k, 0.2 * k + 0.2, 60 + k) for k in range(4)]
    notes = NoteSequence(rows)
    found = with_velocities(notes, levels)
    assert [note.velocity for note in found] == [112, 100, 72, 20]
    # How loud the recording is as a whole does not matter.
    assert with_velocities(notes, 0.01 * levels) == found
    assert found.midi.tolist() == notes.midi.tolist()


def test_louder_than_the_reference():
    # 1 of 100 frames is 20 dB above the others: 112 + 40 is too much.
    levels = np.ones(100)
    levels[0] = 10
    notes = NoteSequence([(0, 0.02, 60), (0.02, 2, 62)])
    found = with_velocities(notes, levels)
    assert [note.velocity for note in found] == [127, 112]


def test_silence_and_ends():
    notes = NoteSequence([(0, 0.005, 60), (0.5, 1, 62)])
    # Shorter than a frame; after the last frame.
    found = with_velocities(notes, np.zeros(4))
    assert [note.velocity for note in found] == [112, 112]
    assert with_velocities(notes, np.zeros(0)) == notes
    assert with_velocities(NoteSequence(), np.ones(4)) == NoteSequence()
