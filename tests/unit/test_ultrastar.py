"""Song files of karaoke games."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from speechbrain_ext.errors import NoteError, OutputError
from speechbrain_ext.notes import Note, NoteSequence
from speechbrain_ext.ultrastar import read_ultrastar, write_ultrastar

MELODY = NoteSequence(
    [
        (2.5, 2.75, 60, "al-"),
        (2.75, 3.0, 62, "ways"),
        (3.25, 3.5, 64, "time"),
        (3.5, 4.0, 65),
        (6.0, 6.5, 59, "you"),
    ]
)


def test_lines_by_hand(tmp_path):
    # 300 beats per minute in quarters: a tick is 50 ms.
    path = write_ultrastar(
        {"": MELODY}, tmp_path / "a.txt", "T", "A", "a.mp3", tempo=75
    )
    assert path.read_text().splitlines() == [
        "#VERSION:1.1.0",
        "#TITLE:T",
        "#ARTIST:A",
        "#MP3:a.mp3",
        "#AUDIO:a.mp3",
        "#BPM:300",
        "#GAP:2500",
        ": 0 5 0 al",
        ": 5 5 2 ways",
        ": 15 5 4  time",
        ": 20 10 5 ~",
        "- 30",
        ": 70 10 -1 you",
        "E",
    ]


def test_round_trip(tmp_path):
    path = write_ultrastar({"": MELODY}, tmp_path / "a.txt", "T")
    assert read_ultrastar(path) == {"": MELODY}


def test_lines_are_those_of_the_lyrics(tmp_path):
    path = write_ultrastar(
        {"": MELODY},
        tmp_path / "a.txt",
        "T",
        lines={"": [0, 0, 1, None, 1]},
    )
    text = path.read_text().splitlines()
    assert text[text.index("- 10") + 1] == ": 15 5 4 time"
    assert sum(line.startswith("-") for line in text) == 1


def test_duet(tmp_path):
    other = NoteSequence([(1.5, 2, 48, "oh")])
    path = write_ultrastar(
        {"singer1": MELODY, "singer2": other}, tmp_path / "a.txt", "T"
    )
    assert "#P1:singer1" in path.read_text()
    assert "#GAP:1500" in path.read_text()
    assert read_ultrastar(path) == {"singer1": MELODY, "singer2": other}


@pytest.mark.parametrize("count", [0, 10])
def test_too_few_and_too_many_singers(tmp_path, count):
    parts = {str(k): MELODY for k in range(count)}
    with pytest.raises(OutputError, match=f"{count} singers"):
        write_ultrastar(parts, tmp_path / "a.txt", "T")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("#BPM:300\nla la", "line 2"),
        (": 0 1 0 la\nE\n", "#BPM"),
        ("#BPM:0\n: 0 1 0 la\n", "#BPM"),
        ("#BPM:300\n: 5 5 0 la\n: 7 5 0 la\n", "note 2"),
    ],
)
def test_faulty_files(tmp_path, text, message):
    path = tmp_path / "a.txt"
    path.write_text(text)
    with pytest.raises(NoteError, match=message):
        read_ultrastar(path)


STEPS = st.lists(
    st.tuples(
        st.integers(0, 200),
        st.integers(1, 200),
        st.integers(30, 90),
        st.sampled_from([None, "la", "la-"]),
    ),
    min_size=1,
    max_size=12,
)


@given(STEPS, st.floats(20, 400))
@settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_times_move_by_half_a_tick_at_most(tmp_path, steps, tempo):
    notes, end = [], 0.5
    for gap, length, midi, lyric in steps:
        onset = end + gap / 100
        end = onset + 0.05 + length / 100
        notes.append(Note(onset, end, midi, lyric))
    melody = NoteSequence(notes)
    path = write_ultrastar(
        {"": melody}, tmp_path / "a.txt", "T", tempo=tempo, overwrite=True
    )
    (found,) = read_ultrastar(path).values()
    assert found.midi.tolist() == melody.midi.tolist()
    assert abs(found.intervals - melody.intervals).max() <= 0.0261
