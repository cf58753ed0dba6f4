"""Every format gives back what it was given, and refuses what is wrong."""

import builtins
import json
import sys
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from speechbrain_ext.errors import DependencyError, NoteError, OutputError
from speechbrain_ext.f0 import F0Contour
from speechbrain_ext.formats import (
    FORMATS,
    is_mir_st500,
    is_note_file,
    note_stem,
    read_mir_st500,
    read_notes,
    write_mir_st500,
    write_notes,
)
from speechbrain_ext.notes import Note, NoteSequence, hz_to_midi

# Format, largest change of a time (s) and of a pitch, keeps lyrics.
KEEPS = {
    "mid": (0.00027, 0.5, True),
    "csv": (1e-9, 1e-9, True),
    "json": (0, 0, True),
    "mir_st500": (1e-9, 1e-9, False),
    "tonas": (1.1e-6, 5.1e-7, False),
    "labels": (1e-6, 5.1e-7, True),
    "musicxml": (0.0313, 0.5, True),
    "jams": (1e-9, 1e-9, True),
}
FAST = [name for name in KEEPS if name not in ("musicxml", "jams")]

SONG = NoteSequence(
    [
        Note(0, 0.5, 60, "你"),
        Note(0.5, 0.75, 60, "好 吗"),
        Note(1.0, 1.5, 61.25),
        Note(1.625, 2.0, 48, 'l\'été, "ô"', 0.5),
    ]
)


def back(notes, folder, name, **options):
    """Write and read."""
    suffixes = FORMATS[name].suffixes or (".json",)
    path = folder / f"song{suffixes[0]}"
    write_notes(notes, path, name, overwrite=True, **options)
    return read_notes(path)


def assert_same(found, notes, name):
    time, pitch, lyrics = KEEPS[name]
    assert len(found) == len(notes)
    assert np.abs(found.intervals - notes.intervals).max(initial=0) <= time
    assert np.abs(found.midi - notes.midi).max(initial=0) <= pitch
    if lyrics:
        assert [n.lyric for n in found] == [n.lyric for n in notes]


def numbers(low, high):
    """Floats; some libraries switch off numbers below 1e-307."""
    return st.floats(low, high, allow_subnormal=False)


@st.composite
def melodies(draw):
    """Notes of 2 ms and more, touching or not, with any lyric."""
    time, notes = draw(numbers(0, 5)), []
    for _ in range(draw(st.integers(0, 8))):
        onset = time + draw(st.sampled_from([0.0, 0.002, 0.3]))
        time = onset + draw(numbers(0.002, 3))
        lyric = draw(
            st.none()
            | st.text(
                st.characters(codec="utf-8", exclude_categories=["C", "Z"]),
                min_size=1,
                max_size=3,
            )
        )
        notes.append(Note(onset, time, draw(numbers(0, 127)), lyric))
    return NoteSequence(notes)


def test_table_covers_all_formats():
    assert KEEPS.keys() == FORMATS.keys()


@pytest.mark.parametrize("name", KEEPS)
def test_round_trip(tmp_path, name):
    assert_same(back(SONG, tmp_path, name), SONG, name)


@pytest.mark.parametrize("name", KEEPS)
def test_empty_melody(tmp_path, name):
    assert back(NoteSequence(), tmp_path, name) == NoteSequence()


@pytest.mark.parametrize("name", FAST)
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(notes=melodies())
def test_round_trip_of_any_melody(tmp_path, name, notes):
    assert_same(back(notes, tmp_path, name), notes, name)


@pytest.mark.parametrize("onset", [0.011, 1.226, 14.29])
@pytest.mark.parametrize("name", FAST)
def test_notes_shorter_than_a_microsecond_stay_readable(tmp_path, name, onset):
    edges = [onset, onset + 1e-7, onset + 2e-7, onset + 1]
    rows = zip(edges[:-1], edges[1:], (60, 62, 64), strict=True)
    found = back(NoteSequence(rows), tmp_path, name)
    assert found.midi.tolist() == [60, 62, 64]


@pytest.mark.parametrize("name", [*FAST, "jams"])
def test_long_melody(tmp_path, name):
    rng = np.random.default_rng(5)
    edges = np.cumsum(rng.uniform(0.05, 1.0, 4001))
    notes = NoteSequence.from_arrays(
        np.stack([edges[:-1], edges[1:]], axis=1), rng.integers(40, 80, 4000)
    )
    assert_same(back(notes, tmp_path, name), notes, name)


@pytest.mark.parametrize("name", KEEPS)
def test_existing_files_are_kept(tmp_path, name):
    path = tmp_path / "song.any"
    write_notes(SONG, path, name)
    before = path.read_bytes()
    with pytest.raises(OutputError, match="song.any: exists already"):
        write_notes(SONG[:1], path, name)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["song.any"]


def test_json_keeps_everything(tmp_path):
    assert back(SONG, tmp_path, "json") == SONG
    data = json.loads((tmp_path / "song.json").read_text("utf-8"))
    assert data["format"] == "singbrain-notes"
    assert data["units"]["onset"] == "seconds"
    assert data["notes"][3]["confidence"] == 0.5
    assert "lyric" not in data["notes"][2]


def test_jams_keeps_confidence(tmp_path):
    found = back(SONG, tmp_path, "jams")
    assert [note.confidence for note in found] == [None, None, None, 0.5]


def test_csv_is_short_and_has_lyrics_only_if_sung(tmp_path):
    third = NoteSequence([(0.1 + 0.2, 1 / 3, 60)])
    path = write_notes(third, tmp_path / "a.csv")
    assert path.read_text() == "onset_s,offset_s,midi\n0.3,0.333333333,60\n"
    path = write_notes(SONG[:1], tmp_path / "b.csv")
    assert path.read_text("utf-8").splitlines()[0].endswith("midi,lyric")


def test_csv_of_other_programs(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(
        b"\xef\xbb\xbfonset_s, offset_s, midi\r\n\r\n0.5, 1e0, 60\r\n"
    )
    assert read_notes(path) == NoteSequence([(0.5, 1, 60)])


# ---------------------------------------------------------------- MIDI


def test_midi_against_pretty_midi(tmp_path):
    import pretty_midi

    path = write_notes(SONG, tmp_path / "song.mid")
    midi = pretty_midi.PrettyMIDI(str(path), charset="utf-8")
    (part,) = midi.instruments
    assert [note.pitch for note in part.notes] == [60, 60, 61, 48]
    assert [x.text for x in midi.lyrics] == ["你", "好 吗", 'l\'été, "ô"']
    assert midi.get_tempo_changes()[1].tolist() == [120]
    assert part.notes[3].start == pytest.approx(1.625, abs=0.00027)
    assert not part.pitch_bends


def test_midi_times_hold_over_hours(tmp_path):
    # A tempo that is not a whole number of microseconds would drift.
    rows = [(hour * 1800.0 + 0.4321, hour * 1800 + 1, 60) for hour in range(6)]
    notes = NoteSequence(rows)
    found = back(notes, tmp_path, "mid")
    assert np.abs(found.intervals - notes.intervals).max() < 0.001


def test_midi_bends_on_request(tmp_path):
    notes = NoteSequence([(0, 1, 60.49), (1, 2, 61.75), (2, 3, 62)])
    path = write_notes(notes, tmp_path / "song.mid", pitch_bend=True)
    assert read_notes(path).midi.tolist() == [60, 62, 62]
    found = read_notes(path, pitch_bend=True)
    assert np.abs(found.midi - notes.midi).max() < 0.0002


def messages(path, kind):
    """Seconds and message of a MIDI file's messages of a kind."""
    import mido

    time, found = 0.0, []
    for message in mido.MidiFile(path):
        time += message.time
        if message.type == kind:
            found.append((round(time, 3), message))
    return found


def bends(path):
    """Seconds and semitones of the bends of a MIDI file."""
    return [
        (time, round(message.pitch / 8192 * 2, 3))
        for time, message in messages(path, "pitchwheel")
    ]


def test_midi_bends_follow_a_contour(tmp_path):
    # Frames of 20 ms from 0 s: unvoiced, a scoop, 1 cent up, 3 cents up,
    # unvoiced, then from 0.12 s on an octave above the second note.
    midi = [0, 59.5, 60, 60.01, 60.03, 0, 72, 72, 72, 72, 0, 61, 61]
    times = 0.01 + 0.02 * np.arange(len(midi))
    contour = F0Contour(times, np.array(midi))
    notes = NoteSequence([(0, 0.12, 60), (0.12, 0.2, 60), (0.5, 0.6, 61.25)])
    path = write_notes(notes, tmp_path / "song.mid", contour=contour)
    assert bends(path) == [
        (0, -0.5),  # that of the first voiced frame
        (0.04, 0),
        (0.08, 0.03),
        (0.12, 2.0),  # no further
        (0.2, 0),
        (0.5, 0.25),  # no frame: the note's own pitch
        (0.6, 0),
    ]
    assert read_notes(path).midi.tolist() == [60, 60, 61]
    # Of the first note's 0.12 s, 0.04 s lie below 60 and 0.04 s above.
    found = read_notes(path, pitch_bend=True)
    assert found.midi == pytest.approx([60, 62, 61.25], abs=0.001)
    empty = write_notes(NoteSequence(), tmp_path / "a.mid", contour=contour)
    assert bends(empty) == []


def test_midi_contour_with_other_frames(tmp_path):
    # Every 5 ms and linear: the bend of a frame is the pitch of its centre.
    times = 0.005 * np.arange(41)
    contour = F0Contour(times, 60 + 5 * times)
    notes = NoteSequence([(0, 0.2, 60)])
    path = write_notes(notes, tmp_path / "song.mid", contour=contour)
    expected = [(0.02 * k, 0.05 + 0.1 * k) for k in range(10)] + [(0.2, 0)]
    assert np.array(bends(path)) == pytest.approx(
        np.array(expected), abs=0.0011
    )


def test_midi_bend_range_comes_after_its_number(tmp_path):
    path = write_notes(SONG, tmp_path / "song.mid", pitch_bend=True)
    numbers = [m.control for _, m in messages(path, "control_change")]
    assert sorted(numbers[:2]) == [100, 101] and numbers[2:] == [6]


@pytest.mark.parametrize("tempo", [10, 97, 133.3, 1000])
def test_midi_tempo_moves_no_note(tmp_path, tempo):
    hour = 0.4321 + 3600
    notes = NoteSequence([(0.1234, 1, 60), (hour, hour + 1, 62)])
    found = back(notes, tmp_path, "mid", tempo=tempo)
    # A tick is 6.25 ms at 10 quarter notes per minute.
    assert np.abs(found.intervals - notes.intervals).max() < 0.0033
    ((_, message),) = messages(tmp_path / "song.mid", "set_tempo")
    assert 60e6 / message.tempo == pytest.approx(tempo, abs=0.01)


def test_midi_refuses_a_strange_tempo(tmp_path):
    for tempo in (0, 9.9, 1001, float("nan")):
        with pytest.raises(OutputError, match="outside 10 to 1000"):
            write_notes(SONG, tmp_path / "song.mid", tempo=tempo)
    assert list(tmp_path.iterdir()) == []


def test_velocities(tmp_path):
    rows = zip(range(4), (None, 100, 1, 127), strict=True)
    notes = NoteSequence(
        Note(k, k + 1, 60, velocity=velocity) for k, velocity in rows
    )
    assert back(notes, tmp_path, "json") == notes
    # In MIDI 100 stands for none.
    found = back(notes, tmp_path, "mid")
    assert [note.velocity for note in found] == [None, None, 1, 127]
    sounds = [m.velocity for _, m in messages(tmp_path / "song.mid", "note_on")]
    assert [v for v in sounds if v] == [100, 100, 1, 127]
    for name in KEEPS.keys() - {"json", "mid"}:
        assert {n.velocity for n in back(notes, tmp_path, name)} == {None}


def test_json_velocity_is_checked(tmp_path):
    path = tmp_path / "a.json"
    write_notes(NoteSequence([Note(0, 1, 60, velocity=64)]), path)
    text = path.read_text()
    for wrong in ("64.5", '"64"', "true", "0", "128"):
        path.write_text(text.replace('"velocity": 64', f'"velocity": {wrong}'))
        with pytest.raises(NoteError, match=r"a\.json: note 1: note velocity"):
            read_notes(path)


def test_midi_keeps_very_short_notes(tmp_path):
    notes = NoteSequence([(0, 1e-5, 60), (1e-5, 2e-5, 60), (0.5, 0.6, 62)])
    found = back(notes, tmp_path, "mid")
    assert found.midi.tolist() == [60, 60, 62]
    assert np.abs(found.intervals - notes.intervals).max() < 0.0011


def make_midi(path, *tracks, drum=False, charset="latin1"):
    """Write tracks of (name, [(onset, offset, pitch), ...])."""
    import pretty_midi

    midi = pretty_midi.PrettyMIDI(charset=charset)
    for name, rows in tracks:
        part = pretty_midi.Instrument(0, is_drum=drum, name=name)
        for onset, offset, pitch in rows:
            part.notes.append(pretty_midi.Note(90, pitch, onset, offset))
        midi.instruments.append(part)
    midi.lyrics.append(pretty_midi.Lyric("é", 0.0))
    midi.write(str(path))
    return path


def test_midi_tracks(tmp_path):
    melody, bass = [(0, 1, 60)], [(0, 1, 40), (0.5, 2, 47)]
    path = make_midi(tmp_path / "a.mid", ("Melody", melody), ("Bass", bass))
    with pytest.raises(NoteError, match=r"a\.mid: has 2 tracks .*Melody, Bass"):
        read_notes(path)
    assert read_notes(path, track="Melody").midi.tolist() == [60]
    assert read_notes(path, track=0).midi.tolist() == [60]
    with pytest.raises(NoteError, match=r"a\.mid: is polyphonic: at 0\.500 s"):
        read_notes(path, track="Bass")
    with pytest.raises(NoteError, match="no single track 'Voice'"):
        read_notes(path, track="Voice")
    with pytest.raises(NoteError, match="index below 2"):
        read_notes(path, track=2)


def test_midi_percussion_is_left_out(tmp_path):
    path = make_midi(tmp_path / "a.mid", ("Drums", [(0, 1, 40)]), drum=True)
    assert len(read_notes(path)) == 0


def test_midi_lyrics_in_latin_1(tmp_path):
    path = make_midi(tmp_path / "a.mid", ("Voice", [(0, 1, 60)]))
    assert b"\xff\x05\x01\xe9" in path.read_bytes()
    assert read_notes(path)[0].lyric == "é"


def test_midi_with_tempo_in_another_track(tmp_path):
    import mido

    midi = mido.MidiFile()
    midi.tracks += [mido.MidiTrack(), mido.MidiTrack()]
    midi.tracks[1].append(mido.MetaMessage("set_tempo", tempo=400_000))
    midi.save(tmp_path / "a.mid")
    with pytest.raises(NoteError, match="tempo changes in track 2"):
        read_notes(tmp_path / "a.mid")


def test_damaged_midi_never_escapes(tmp_path):
    good = write_notes(SONG, tmp_path / "good.mid").read_bytes()
    rng = np.random.default_rng(0)
    path = tmp_path / "bad.mid"
    refused = 0
    for cut in range(4, len(good) - 1, 7):
        path.write_bytes(good[:cut])
        with pytest.raises(NoteError, match=r"bad\.mid: is a damaged"):
            read_notes(path)
    for _ in range(60):
        data = np.frombuffer(good, np.uint8).copy()
        data[rng.integers(4, len(data), 6)] = rng.integers(0, 256, 6)
        path.write_bytes(data.tobytes())
        try:
            read_notes(path)
        except NoteError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused > 10


# ---------------------------------------------------------------- TONAS


def test_tonas_pitches_include_the_tuning(tmp_path):
    # Rows as in the corpus: 43 cents above 440 Hz, and 379.299 Hz is what
    # its f0 file gives for the first note.
    path = tmp_path / "01-D_X.notes.Corrected"
    path.write_text(
        "43.000000\n"
        "0.216667, 0.433333, 66.430000, 0.018007\n"
        "0.650000, 1.016667, 67.430000, 0.010794\n"
    )
    notes = read_notes(path)
    assert notes.midi.tolist() == [66.43, 67.43]
    assert notes[0].midi == pytest.approx(hz_to_midi(379.299), abs=1e-4)
    assert notes[0].offset == pytest.approx(0.65)
    assert notes[1].offset == pytest.approx(1.666667)


def test_tonas_whole_numbers_count_from_the_tuning(tmp_path):
    path = tmp_path / "a.notes"
    path.write_text("-20\n0,1,60,0\n1,1,62,0\n")
    assert read_notes(path).midi.tolist() == [59.8, 61.8]


def test_tonas_writes_the_tuning(tmp_path):
    notes = NoteSequence([(0, 1, 59.8), (1.5, 2, 63.8)])
    path = write_notes(notes, tmp_path / "a.notes.Corrected")
    assert path.read_text().splitlines() == [
        "-20.000000",
        "0.000000, 1.000000, 59.800000, 0.000000",
        "1.500000, 0.500000, 63.800000, 0.000000",
    ]


def test_tonas_rounding_is_not_an_overlap(tmp_path):
    path = tmp_path / "a.notes"
    path.write_text("0\n0.166667,0.166667,60,0\n0.333333,0.2,60,0\n")
    assert read_notes(path)[0].offset == 0.333333
    path.write_text("0\n0.166667,0.166767,60,0\n0.333333,0.2,60,0\n")
    with pytest.raises(NoteError, match=r"a\.notes: note 2 starts at"):
        read_notes(path)


# ---------------------------------------------------------------- labels


def test_audacity_labels(tmp_path):
    path = tmp_path / "Label Track.txt"
    path.write_text(
        "0.000000\t0.500000\tC4 la\n"
        "\\\t220.0\t440.0\n"
        "0.500000\t1.000000\tBb3\n"
        "1.000000\t1.500000\tf#-1\n"
        "1.500000\t2.000000\tB♭♭4 la la\n"
        "2.000000\t2.500000\t60.25\n"
    )
    notes = read_notes(path)
    assert notes.midi.tolist() == [60, 58, 6, 69, 60.25]
    assert [n.lyric for n in notes] == ["la", None, None, "la la", None]


# ---------------------------------------------------------------- MIR-ST500


def test_mir_st500_with_several_songs(tmp_path):
    songs = {"2": SONG, "10": NoteSequence(), "你": SONG[:1]}
    path = write_mir_st500(songs, tmp_path / "annotations.json")
    found = read_mir_st500(path)
    assert list(found) == list(songs)
    assert_same(found["2"], SONG, "mir_st500")
    assert json.loads(path.read_text("utf-8"))["2"][2] == [1, 1.5, 61.25]
    assert is_mir_st500(path)
    with pytest.raises(NoteError, match="json: holds 3 songs but one"):
        read_notes(path)
    assert len(read_notes(path, song="2")) == 4
    with pytest.raises(NoteError, match="no song '3': it holds 2, 10, 你"):
        read_notes(path, song="3")


def test_mir_st500_song_is_named_after_the_file(tmp_path):
    path = write_notes(SONG, tmp_path / "a.b.json", "mir_st500")
    assert list(read_mir_st500(path)) == ["a.b"]


def test_mir_st500_overlaps(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"7": [[0, 1, 60], [0.5, 2, 62]]}')
    with pytest.raises(NoteError, match=r"a\.json: song '7': note 2 starts"):
        read_mir_st500(path)
    repaired = read_mir_st500(path, truncate=True)["7"]
    assert repaired.intervals.tolist() == [[0, 0.5], [0.5, 2]]


def test_kinds_of_json(tmp_path):
    write_notes(SONG, tmp_path / "ours.json")
    write_notes(SONG, tmp_path / "ours.csv")
    (tmp_path / "empty.json").write_text("{}")
    assert not is_mir_st500(tmp_path / "ours.json")
    assert not is_mir_st500(tmp_path / "ours.csv")
    assert is_mir_st500(tmp_path / "empty.json")
    with pytest.raises(NoteError, match="ours.json: is not an annotation"):
        read_mir_st500(tmp_path / "ours.json")


# ---------------------------------------------------------------- MusicXML


def test_musicxml_on_the_grid_is_exact(tmp_path):
    # 90 quarter notes per minute, 4 steps each: one step is 1/6 s. The last
    # note crosses a bar line, so it is written as tied notes.
    steps = [(0, 3, 60), (3, 4, 61), (6, 13, 62), (14, 37, 63)]
    notes = NoteSequence([(a / 6, b / 6, pitch) for a, b, pitch in steps])
    found = back(notes, tmp_path, "musicxml", tempo=90, grid=4)
    assert found.midi.tolist() == [60, 61, 62, 63]
    assert np.abs(found.intervals - notes.intervals).max() < 1e-9


def test_musicxml_begins_a_bar_at_the_first_beat(tmp_path):
    # Bars of 2 s. The first beat at 0.3 s opens the second bar, and what is
    # sung before lies in the first one.
    notes = NoteSequence([(0.05, 0.3, 60), (0.3, 0.55, 62), (2.3, 2.8, 64)])
    found = back(notes, tmp_path, "musicxml", grid=2, first_beat_s=0.3)
    assert found.intervals.tolist() == [[1.75, 2], [2, 2.25], [4, 4.5]]


def test_musicxml_refuses_pitches_that_it_cannot_write(tmp_path):
    path = tmp_path / "low.musicxml"
    with pytest.raises(OutputError, match="pitch 11 is below 12"):
        write_notes(NoteSequence([(0, 1, 60), (1, 2, 11)]), path)
    assert not list(tmp_path.iterdir())
    lowest = NoteSequence([(0, 1, 12), (1, 2, 127)])
    assert read_notes(write_notes(lowest, path)).midi.tolist() == [12, 127]


def test_musicxml_compressed(tmp_path):
    path = write_notes(SONG, tmp_path / "song.mxl")
    assert zipfile.is_zipfile(path)
    assert_same(read_notes(path), SONG, "musicxml")


MUSICXML = """<score-partwise version="4.0"><part-list>
<score-part id="P1"><part-name>Voice</part-name></score-part>{list}
</part-list><part id="P1"><measure number="1">
<attributes><divisions>1</divisions></attributes>
<direction><sound tempo="60"/></direction>{first}
<note><pitch><step>A</step><octave>4</octave></pitch><duration>1</duration>
</note>
<direction><sound tempo="120"/></direction>
<note><pitch><step>B</step><alter>-1</alter><octave>4</octave></pitch>
<duration>2</duration></note></measure></part>{rest}</score-partwise>"""
GRACE = """<note><grace/><pitch><step>G</step><octave>4</octave></pitch>
</note>"""
CHORD = """<note><pitch><step>C</step><octave>4</octave></pitch>
<duration>1</duration></note><note><chord/><pitch><step>E</step>
<octave>4</octave></pitch><duration>1</duration></note>"""


def test_musicxml_of_other_programs(tmp_path):
    path = tmp_path / "a.xml"
    path.write_text(MUSICXML.format(list="", first=GRACE, rest=""))
    notes = read_notes(path)
    assert notes.midi.tolist() == [69, 70]
    # One quarter at 60, then two at 120 per minute.
    assert notes.intervals == pytest.approx(np.array([[0, 1], [1, 2]]))


def test_musicxml_needs_one_voice(tmp_path):
    path = tmp_path / "a.musicxml"
    path.write_text(MUSICXML.format(list="", first=CHORD, rest=""))
    with pytest.raises(NoteError, match=r"a\.musicxml: is polyphonic"):
        read_notes(path)
    second = '<score-part id="P2"><part-name>Bass</part-name></score-part>'
    rest = f'<part id="P2"><measure number="1">{CHORD}</measure></part>'
    path.write_text(MUSICXML.format(list=second, first="", rest=rest))
    with pytest.raises(NoteError, match="2 tracks with notes .Voice, Bass"):
        read_notes(path)
    assert len(read_notes(path, track="Voice")) == 2


# ---------------------------------------------------------------- JAMS


def test_jams_in_hertz(tmp_path):
    import jams

    jam = jams.JAMS(file_metadata=jams.FileMetadata(duration=3))
    annotation = jams.Annotation("note_hz")
    annotation.append(time=0.5, duration=1, value=880.0, confidence=None)
    jam.annotations.append(annotation)
    jam.save(str(tmp_path / "a.jams"))
    assert read_notes(tmp_path / "a.jams") == NoteSequence([(0.5, 1.5, 81)])


def test_jams_without_notes(tmp_path):
    import jams

    jams.JAMS(file_metadata=jams.FileMetadata(duration=3)).save(
        str(tmp_path / "a.jams")
    )
    with pytest.raises(NoteError, match=r"a\.jams: has no note_midi"):
        read_notes(tmp_path / "a.jams")


# ---------------------------------------------------------------- errors

HEAD = "onset_s,offset_s,midi\n"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "", "is empty"),
        ("a.csv", "onset,offset,midi\n", "line 1: expected the columns"),
        ("a.csv", "0.5,1,60\n", "line 1: expected the columns"),
        ("a.csv", HEAD + "0,1,60\n1,2\n", "line 3: expected 3 values but"),
        ("a.csv", HEAD + "0,1,la\n", "line 2: 'la' is not a number"),
        ("a.csv", HEAD + "0,1_0,60\n", "line 2: '1_0' is not a number"),
        ("a.csv", HEAD + "0,nan,60\n", "line 2: note offset is nan"),
        ("a.csv", HEAD + "1,0.5,60\n", "line 2: note offset 0.5 s is not"),
        ("a.csv", HEAD + "-1,0.5,60\n", "line 2: note onset -1 s"),
        ("a.csv", HEAD + "0,1,440\n", "line 2: note pitch 440 is outside"),
        ("a.csv", HEAD + "0,1,60\n0.9,2,60\n", "note 2 starts at 0.9 s"),
        ("a.csv", HEAD + "1,2,60\n0,1,60\n", "sort the annotation"),
        ("a.csv", HEAD + '0,1,"60\n', "line 2: unexpected end"),
        ("a.csv", b"onset_s\0\1", "holds binary data"),
        ("a.csv", HEAD.encode() + b"0,1,\xff", "line 2: is not UTF-8"),
        ("a.csv", HEAD.encode("utf-16"), "is UTF-16 text"),
        ("a.json", "", "is empty"),
        ("a.json", "{\n'a': 1}", "line 2: not JSON"),
        ("a.json", "[" * 100_000, "is not usable JSON"),
        ("a.json", "[]", "is neither"),
        ("a.json", '{"a": 1}', "is neither"),
        ("a.json", "{}", "holds 0 songs"),
        ("a.json", '{"a": [], "a": []}', "has the key 'a' twice"),
        ("a.json", '{"a": [[0, 1]]}', "song 'a': note 1: expected"),
        ("a.json", '{"a": [[0, "1", 60]]}', "note 1: '1' is not a number"),
        ("a.json", '{"a": [[0, true, 60]]}', "note 1: True is not a number"),
        ("a.json", '{"a": [[0, 1' + "0" * 400 + ", 60]]}", "too large"),
        ("a.json", '{"a": [[0, NaN, 60]]}', "note offset is nan"),
        ("a.notes", "", "is empty"),
        ("a.notes", "0, 1, 60, 0\n", "line 1: expected the tuning"),
        ("a.notes", "4400\n", "line 1: tuning 4400 cents"),
        ("a.notes", "0\n0, 1, 60\n", "line 2: expected onset, duration"),
        ("a.notes", "0\n0, x, 60, 0\n", "line 2: ' x' is not a number"),
        ("a.notes", "0\n0, -1, 60, 0\n", "line 2: note duration -1 s"),
        ("a.txt", "Read me first\n", "line 1: expected onset, offset, label"),
        ("a.txt", "0\t1\tC4\n0\tx\tC4\n", "line 2: 'x' is not a number"),
        ("a.txt", "0\t1\tH4\n", "line 1: label 'H4' is neither"),
        ("a.txt", "0\t1\t\n", "line 1: label '' is neither"),
        ("a.txt", "1\t1\tC4\n", "line 1: label at 1 s is a point"),
        ("a.txt", "0\t1\tC10\n", "line 1: note pitch 132 is outside"),
        ("a.mid", b"", "is not a MIDI file"),
        ("a.mid", b"RIFF\0\0\0\0WAVE", "is not a MIDI file"),
        ("a.musicxml", "notes", "is not readable MusicXML"),
        ("a.mxl", b"PK\3\4rubbish", "is a damaged .mxl file"),
        ("a.jams", "{}", "is not a valid JAMS file"),
        ("a.jams", "notes", "is not a valid JAMS file"),
        ("a.abc", "X:1", "no note format has the suffix '.abc'"),
    ],
)
def test_faulty_files(tmp_path, name, content, message):
    path = tmp_path / name
    if isinstance(content, str):
        content = content.encode()
    path.write_bytes(content)
    with pytest.raises(NoteError) as caught:
        read_notes(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert message in text
    assert "\n" not in text
    assert len(text) < len(str(path)) + 160


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "has version 2 but this release reads version 1"),
        ({"notes": {}}, 'has no list of "notes"'),
        ({"notes": [[0, 1, 60]]}, "note 1: expected an object"),
        ({"notes": [{"onset": 0, "midi": 60}]}, "note 1: has no offset"),
        (
            {"notes": [{"onset": 0, "offset": 1, "midi": 60, "lyric": 1}]},
            "note 1: lyric 1 is not text",
        ),
        (
            {"notes": [{"onset": 0, "offset": 1, "midi": 1, "confidence": 2}]},
            "note 1: note confidence 2 is outside 0 to 1",
        ),
    ],
)
def test_faulty_json(tmp_path, change, message):
    data = {"format": "singbrain-notes", "version": 1, "notes": []} | change
    path = tmp_path / "a.json"
    path.write_text(json.dumps(data))
    with pytest.raises(NoteError, match=message):
        read_notes(path)


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(NoteError, match=r"none\.csv: no such file"):
        read_notes(tmp_path / "none.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(NoteError, match=r"folder\.csv: cannot be read: Is a d"):
        read_notes(tmp_path / "folder.csv")
    with pytest.raises(OutputError, match="does not exist: create it first"):
        write_notes(SONG, tmp_path / "none" / "a.csv")


def test_unknown_formats(tmp_path):
    with pytest.raises(NoteError, match=r"a\.csv: unknown note format 'wav'"):
        read_notes(tmp_path / "a.csv", "wav")
    with pytest.raises(OutputError, match=r"a\.wav: no note format has the su"):
        write_notes(SONG, tmp_path / "a.wav")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("module", "name", "hint"),
    [
        ("music21", "a.musicxml", r'pip install "singbrain\[musicxml\]"'),
        ("jams", "a.jams", r'pip install "singbrain\[jams\]"'),
        ("pretty_midi", "a.mid", "pip install pretty_midi"),
    ],
)
def test_missing_libraries(tmp_path, monkeypatch, module, name, hint):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(DependencyError, match=hint):
        write_notes(SONG, tmp_path / name)
    assert not list(tmp_path.iterdir())
    (tmp_path / name).write_bytes(b"MThd")
    with pytest.raises(DependencyError, match=hint):
        read_notes(tmp_path / name)


def test_a_fault_while_writing_leaves_nothing(tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("fault")

    monkeypatch.setattr(builtins, "round", fail)
    with pytest.raises(RuntimeError, match="fault"):
        write_notes(SONG, tmp_path / "a.mid")
    monkeypatch.undo()
    assert not list(tmp_path.iterdir())


def test_names():
    assert note_stem("x/1.22.b-12.mid") == "1.22.b-12"
    assert note_stem("a.NOTES.corrected") == "a"
    assert note_stem("a.b.wav") == "a.b"
    assert is_note_file("A.MID")
    assert not is_note_file("a.wav")
