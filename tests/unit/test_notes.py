"""Notes: what is refused, and the operations that move or cut melodies."""

import numpy as np
import pytest

from speechbrain_ext.errors import NoteError
from speechbrain_ext.notes import Note, NoteSequence, hz_to_midi, midi_to_hz


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ((1.0, 0.5, 60), r"offset 0.5 s is not after its onset 1 s"),
        ((1.0, 1.0, 60), r"offset 1 s is not after its onset 1 s"),
        ((-0.1, 1.0, 60), r"onset -0.1 s is before 0 s"),
        ((0.0, 1.0, 127.5), r"pitch 127.5 is outside MIDI 0 to 127"),
        ((0.0, 1.0, -1), r"pitch -1 is outside MIDI 0 to 127"),
        ((0.0, float("nan"), 60), r"offset is nan"),
        ((0.0, float("inf"), 60), r"offset is inf"),
        ((0.0, 10**400, 60), r"offset is too large"),
        ((False, 1.0, 60), r"onset False is not a number"),
        (("a", 1.0, 60), r"onset 'a' is not a number"),
        ((0.0, None, 60), r"offset None is not a number"),
        ((0.0, 1.0, 60, None, 1.5), r"confidence 1.5 is outside 0 to 1"),
    ],
)
def test_faulty_notes_get_one_clear_line(row, message):
    with pytest.raises(NoteError, match=message) as caught:
        NoteSequence([row])
    assert str(caught.value).startswith("note 1: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([(0, 1, 60), (0.5, 2, 62)], "note 2 starts at 0.5 s while note 1"),
        ([(1, 2, 60), (0, 0.5, 62)], "note 2 starts at 0 s, before note 1"),
        ([(0, 1)], "note 1: expected onset, offset, pitch"),
        ([5], "note 1: expected onset, offset, pitch"),
    ],
)
def test_faulty_melodies_get_one_clear_line(rows, message):
    with pytest.raises(NoteError, match=message):
        NoteSequence(rows)


def test_touching_notes_may_cross_by_rounding_only():
    assert len(NoteSequence([(0, 1.0000005, 60), (1, 2, 60)])) == 2
    with pytest.raises(NoteError, match="one note at a time"):
        NoteSequence([(0, 1.00001, 60), (1, 2, 60)])


def test_truncating_sorts_cuts_and_keeps_the_last_of_equal_onsets():
    rows = [(0.4, 1, 62), (0, 0.5, 60), (0.4, 0.8, 64), (0.7, 0.9, 65)]
    found = NoteSequence.truncating(rows)
    assert [(n.onset, n.offset, n.midi) for n in found] == [
        (0, 0.4, 60),
        (0.4, 0.7, 64),
        (0.7, 0.9, 65),
    ]


def test_shift_and_crop_cut_what_sticks_out():
    melody = NoteSequence([(0, 1, 60), (1, 2, 62), (3, 4, 64)])
    assert melody.shift(-1.5).intervals.tolist() == [[0, 0.5], [1.5, 2.5]]
    assert melody.crop(0.5, 3).intervals.tolist() == [[0, 0.5], [0.5, 1.5]]
    assert len(melody.crop(2, 3)) == 0


def test_transposing_out_of_range_is_refused():
    melody = NoteSequence([(0, 1, 126)])
    assert melody.transpose(1)[0].midi == 127
    with pytest.raises(NoteError, match="outside MIDI"):
        melody.transpose(2)


def test_melodies_cannot_be_changed():
    melody = NoteSequence([(0, 1, 60)])
    with pytest.raises(ValueError, match="read-only"):
        melody.intervals[0, 0] = 5
    with pytest.raises(AttributeError):
        melody[0].midi = 61
    assert hash(melody) == hash(NoteSequence([Note(0, 1, 60)]))


def test_velocities_are_whole_numbers_from_1_to_127():
    note = Note(0, 1, 60, velocity=np.int64(64))
    assert type(note.velocity) is int
    assert note == Note(0, 1, 60, velocity=64) != Note(0, 1, 60)
    assert len({note, Note(0, 1, 60, velocity=64), Note(0, 1, 60)}) == 2
    for wrong in (0, 128, -1, 64.0, "64", True):
        with pytest.raises(NoteError, match="note velocity"):
            Note(0, 1, 60, velocity=wrong)


def test_hertz_and_back():
    midi = np.linspace(0, 127, 255)
    assert np.allclose(hz_to_midi(midi_to_hz(midi)), midi, atol=1e-9)
    assert midi_to_hz(57) == pytest.approx(220.0)
