"""Pitches on a scale and times on a grid."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechbrain_ext.errors import ConfigError
from speechbrain_ext.notes import Note, NoteSequence
from speechbrain_ext.quantize import (
    SCALES,
    quantize_times,
    scale_of,
    snap_to_scale,
)


@st.composite
def melodies(draw):
    """Notes of 1 ms and more, touching or not, up to an hour."""
    time, notes = draw(st.floats(0, 3600)), []
    for _ in range(draw(st.integers(0, 8))):
        onset = time + draw(st.sampled_from([0.0, 0.01, 0.4]))
        time = onset + draw(st.floats(0.001, 2))
        notes.append(Note(onset, time, draw(st.floats(0, 127)), "la", 0.5, 90))
    return NoteSequence(notes)


keys = st.builds(
    "{}{} {}".format,
    st.sampled_from("CDEFGABcdefgab"),
    st.sampled_from(["", "#", "b"]),
    st.sampled_from(sorted(SCALES)),
)
grids = st.tuples(st.floats(10, 1000), st.integers(1, 128), st.floats(0, 100))


# --- scales ----------------------------------------------------------------


@pytest.mark.parametrize(
    "key, classes",
    [
        ("C major", [0, 2, 4, 5, 7, 9, 11]),
        ("a minor", [0, 2, 4, 5, 7, 9, 11]),
        ("Am", [0, 2, 4, 5, 7, 9, 11]),
        ("CM", [0, 2, 4, 5, 7, 9, 11]),
        ("Cm", [0, 2, 3, 5, 7, 8, 10]),
        ("cmaj", [0, 2, 4, 5, 7, 9, 11]),
        ("F# dorian", [1, 3, 4, 6, 8, 9, 11]),
        ("Gb-Dorian", [1, 3, 4, 6, 8, 9, 11]),
        ("g flat  dorian", [1, 3, 4, 6, 8, 9, 11]),
        ("f_sharp_dorian", [1, 3, 4, 6, 8, 9, 11]),
        ("Bb major pentatonic", [0, 2, 5, 7, 10]),
        ("bb pentatonic", [0, 2, 5, 7, 10]),
        ("B♭ MAJOR PENTATONIC", [0, 2, 5, 7, 10]),
        ("b blues", [2, 4, 5, 6, 9, 11]),
        ("E harmonic minor", [0, 3, 4, 6, 7, 9, 11]),
        ("Cb major", [1, 3, 4, 6, 8, 10, 11]),
        (" Chromatic ", list(range(12))),
    ],
)
def test_keys(key, classes):
    assert scale_of(key) == tuple(classes)


@pytest.mark.parametrize(
    "key", ["", "C", "H major", "C ma", "major", "C major minor", "#", "9" * 99]
)
def test_unknown_keys(key):
    with pytest.raises(ConfigError, match="unknown: write chromatic") as caught:
        snap_to_scale(NoteSequence(), key)
    line = str(caught.value)
    assert "\n" not in line and len(line) < 300
    assert all(name in line for name in SCALES)


def test_nearest_pitch_of_a_scale():
    pitches = [59.4, 60.9, 61, 61.1, 63, 65.4, 66, 70.99, 71.49, 71.5]
    rows = [(k, k + 1, pitch) for k, pitch in enumerate(pitches)]
    snapped = snap_to_scale(NoteSequence(rows), "C major").midi.tolist()
    # 61, 63, 66 and 71.5 lie midway and go up.
    assert snapped == [59, 60, 62, 62, 64, 65, 67, 71, 71, 72]


def test_ends_of_the_range():
    ends = NoteSequence([(0, 1, 0), (1, 2, 127)])
    assert snap_to_scale(ends, "F# major").midi.tolist() == [1, 126]
    assert snap_to_scale(ends, "G minor").midi.tolist() == [0, 127]


@settings(max_examples=60, deadline=None)
@given(melodies(), keys)
def test_snapped_melodies(notes, key):
    snapped = snap_to_scale(notes, key)
    assert snap_to_scale(snapped, key) == snapped
    assert np.isin(snapped.midi % 12, scale_of(key)).all()
    assert np.array_equal(snapped.intervals, notes.intervals)
    # No scale has a gap of more than three semitones.
    assert np.abs(snapped.midi - notes.midi).max(initial=0) <= 3
    order = np.argsort(notes.midi, kind="stable")
    assert (np.diff(snapped.midi[order]) >= 0).all()
    assert [(n.lyric, n.velocity) for n in snapped] == [("la", 90)] * len(notes)


# --- grids -----------------------------------------------------------------


def test_eighths_at_120():
    # A step is 0.25 s; 0.125 and 1.375 lie midway and go to the later point.
    notes = NoteSequence(
        [(0.1, 0.3, 60), (0.375, 0.8, 62), (0.9, 0.95, 64), (1.375, 2.1, 65)]
    )
    found = quantize_times(notes, tempo=120, division=8)
    assert found.intervals.tolist() == [
        [0.0, 0.25],
        [0.5, 0.75],
        [1.0, 1.25],
        [1.5, 2.0],
    ]
    assert found.midi.tolist() == [60, 62, 64, 65]


def test_a_note_ends_where_the_next_one_starts():
    notes = NoteSequence([(0, 0.6, 60), (0.62, 1.4, 62)])
    found = quantize_times(notes, tempo=60, division=4)
    assert found.intervals.tolist() == [[0, 1], [1, 2]]
    # The first would end at 1 s, but there the second has begun.
    assert quantize_times(notes, 120, 4).intervals.tolist() == [
        [0, 0.5],
        [0.5, 1.5],
    ]


def test_of_notes_on_one_point_the_longest_stays():
    notes = NoteSequence(
        [(0.0, 0.05, 60), (0.05, 0.2, 62), (0.2, 0.24, 64), (1.0, 1.2, 65)]
    )
    found = quantize_times(notes, tempo=60, division=4)
    assert found.midi.tolist() == [62, 65]
    assert found.intervals.tolist() == [[0, 1], [1, 2]]


def test_first_beat():
    # Points at 0.3, 0.8, 1.3 ...; what is earlier than 0.3 s comes onto it.
    notes = NoteSequence([(0, 0.5, 60), (0.8, 1.2, 62)])
    found = quantize_times(notes, tempo=120, division=4, first_beat_s=0.3)
    assert found.intervals == pytest.approx(np.array([[0.3, 0.8], [0.8, 1.3]]))
    # Points before the first beat count too: 0, 0.5 ...
    found = quantize_times(notes, tempo=120, division=4, first_beat_s=1)
    assert found.intervals.tolist() == [[0, 0.5], [1, 1.5]]


@settings(max_examples=100, deadline=None)
@given(melodies(), grids)
def test_quantized_melodies(notes, grid):
    tempo, division, first_beat_s = grid
    found = quantize_times(notes, *grid)  # valid, or this raises
    step = 240 / tempo / division
    again = quantize_times(found, *grid)
    assert again == found
    on_grid = (found.intervals - first_beat_s) / step
    assert np.abs(on_grid - np.rint(on_grid)).max(initial=0) < 1e-4
    assert (np.diff(found.intervals, axis=1) > 0.99 * step).all()
    # Every onset has a note within half a step, or at the start of the grid.
    for onset in notes.intervals[:, 0]:
        distance = np.abs(found.intervals[:, 0] - onset).min()
        assert distance <= 0.501 * step or onset < step
    # In the order of the song; pitches are those of some of its notes.
    rest = iter(notes.midi.tolist())
    assert all(midi in rest for midi in found.midi.tolist())


@pytest.mark.parametrize(
    "grid, says",
    [
        ((9, 16), "tempo is 9: .* 10 to 1000"),
        ((float("nan"), 16), "tempo is nan"),
        ((120, 0), r"division is 0: use 1 \(whole notes\) to 128"),
        ((120, 129), "division is 129"),
        ((120, 16, -1), "first beat is at -1 s"),
        ((120, 16, float("inf")), "first beat is at inf s"),
    ],
)
def test_strange_grids(grid, says):
    with pytest.raises(ConfigError, match=says):
        quantize_times(NoteSequence(), *grid)
