"""Pitch contours: values between frames, files, and what is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechbrain_ext.errors import NoteError, OutputError
from speechbrain_ext.f0 import F0Contour, read_f0, write_f0
from speechbrain_ext.frames import FramePosteriors

CENT = 0.01


def contour(midi, step=0.02, first=0.01, voicing=None):
    midi = np.array(midi, dtype=float)
    return F0Contour(first + step * np.arange(len(midi)), midi, voicing)


# ---- in memory ----------------------------------------------------------


def test_arrays_are_copied_and_cannot_be_written():
    midi = np.array([60, 0])
    made = F0Contour([0, 1], midi, [0.9, 0.1])
    midi[0] = 50
    assert made.midi.tolist() == [60.0, 0.0]
    assert len(made) == 2
    for values in (made.times, made.midi, made.voicing):
        assert values.dtype == np.float64
        with pytest.raises(ValueError, match="read-only"):
            values[0] = 1.0


@pytest.mark.parametrize(
    ("times", "midi", "voicing", "message"),
    [
        ([0, 1], [60], None, "midi has the shape (1,) but there are 2 times"),
        ([0], [60], [0.5, 0.5], "voicing has the shape (2,) but there are 1"),
        ([[0, 1]], [60], None, "times has the shape (1, 2)"),
        ([0, 1], [60, np.nan], None, "frame 2: midi is nan, not a number"),
        ([0, np.inf], [60, 60], None, "frame 2: times is inf"),
        ([0], [60], [np.nan], "frame 1: voicing is nan"),
        ([0, 2, 1], [60] * 3, None, "frame 3: its time 1 s is not after 2 s"),
        ([0, 1, 1], [60] * 3, None, "frame 3: its time 1 s is not after 1 s"),
        ([0, 1], [60, 128], None, "frame 2: pitch 128 is outside MIDI 0 to"),
        ([0], [-1], None, "frame 1: pitch -1 is outside MIDI 0 to 127"),
        ([0, 1], [60, 60], [0, 1.5], "frame 2: voicing 1.5 is outside 0 to 1"),
        ([0], [60], [-0.5], "frame 1: voicing -0.5 is outside 0 to 1"),
    ],
)
def test_impossible_contours_are_refused(times, midi, voicing, message):
    with pytest.raises(NoteError) as error:
        F0Contour(times, midi, voicing)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_the_extremes_of_the_range_are_allowed():
    assert contour([127, 0], voicing=[1, 0]).midi.tolist() == [127, 0]


@pytest.mark.parametrize(
    ("time", "pitch"),
    [
        (-5.0, 0),  # before the first frame
        (0.98, 0),
        (1.0, 60),  # on it
        (1.25, 61),  # a quarter of the way from 60 to 64
        (1.5, 62),
        (2.0, 64),
        (2.5, np.nan),  # between a voiced and an unvoiced frame
        (3.0, 0),  # on an unvoiced frame
        (3.5, 0),  # between unvoiced frames
        (4.0, 0),
        (4.01, np.nan),
        (4.99, np.nan),
        (5.0, 70),  # on the last frame
        (5.02, 0),  # after it
        (1e9, 0),
    ],
)
def test_pitch_between_frames_by_hand(time, pitch):
    made = F0Contour([1, 2, 3, 4, 5], [60, 64, 0, 0, 70])
    assert made.at([time])[0] == pytest.approx(pitch, nan_ok=True)


def test_pitch_between_frames_of_different_distance():
    made = F0Contour([0.0, 0.1, 0.5], [60, 62, 70])
    assert np.allclose(made.at([0.05, 0.2, 0.4]), [61, 64, 68])


def test_rounding_errors_do_not_make_frames_unknown():
    """On a frame, however its time was computed, its own voicing counts."""
    made = contour([60, 0] * 2000)
    for times in (
        (np.arange(4000) + 0.5) / 50,
        np.cumsum(np.full(4000, 0.02)) - 0.01,
        made.times - 1e-9,
        made.times + 1e-9,
    ):
        assert np.allclose(made.at(times), made.midi)


def test_every_time_gives_one_value():
    times = np.random.default_rng(0).uniform(-1, 3, 500)
    made = contour([60, 61, 0, 0, 62] * 20)
    together = made.at(times)
    alone = [made.at([t])[0] for t in times]
    assert np.array_equal(together, alone, equal_nan=True)
    assert len(made.at([])) == 0


def test_no_frame_and_one_frame():
    assert contour([]).at([0.0, 1.0]).tolist() == [0.0, 0.0]
    one = F0Contour([1.0], [60.0])
    assert one.at([0.9, 1.0, 1.1]).tolist() == [0.0, 60.0, 0.0]
    assert F0Contour([1.0], [0.0]).at([1.0]).tolist() == [0.0]


# ---- on disk ------------------------------------------------------------


@pytest.mark.parametrize("voicing", [None, [0.9, 0.1, 0.5]])
def test_file_by_hand_and_back(tmp_path, voicing):
    made = F0Contour([0.01, 0.03, 0.05], [69, 0, 57.5], voicing)
    path = write_f0(made, tmp_path / "a.csv")
    lines = path.read_text().splitlines()
    if voicing is None:
        assert lines[:2] == ["time_s,f0_hz", "0.0100,440"]
        assert lines[2] == "0.0300,0"
    else:
        assert lines[:2] == ["time_s,f0_hz,voicing", "0.0100,440,0.9000"]
        assert lines[2] == "0.0300,0,0.1000"
    # 220 Hz x 2 ** (0.5 / 12) = 226.446 Hz
    assert lines[3].split(",")[1] == "226.446"
    back = read_f0(path)
    assert np.allclose(back.times, made.times)
    assert np.allclose(back.midi, made.midi, atol=CENT / 10)
    if voicing is None:
        assert back.voicing is None
    else:
        assert back.voicing.tolist() == voicing


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder that hypothesis may use again and again."""
    return tmp_path_factory.mktemp("contours")


@given(
    st.lists(
        st.tuples(
            st.floats(0.001, 10),
            st.one_of(st.just(0.0), st.floats(CENT, 127)),
            st.floats(0, 1),
        ),
        max_size=30,
    ),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_round_trip(folder, rows, with_voicing):
    steps, midi, voicing = np.array(rows).reshape(-1, 3).T
    made = F0Contour(np.cumsum(steps), midi, voicing if with_voicing else None)
    path = write_f0(made, folder / "round.csv", overwrite=True)
    back = read_f0(str(path))
    assert len(back) == len(made)
    assert np.allclose(back.times, made.times, rtol=0, atol=5.1e-5)
    assert np.allclose(back.midi, made.midi, rtol=0, atol=CENT)
    assert np.array_equal(back.midi > 0, made.midi > 0)
    assert (back.voicing is not None) == with_voicing
    if with_voicing:
        assert np.allclose(back.voicing, voicing, rtol=0, atol=5.1e-5)


def test_long_recordings_keep_their_time_resolution(tmp_path):
    # 10 ms frames about two hours after the start.
    made = contour([60] * 100, step=0.01, first=7200.005)
    back = read_f0(write_f0(made, tmp_path / "a.csv"))
    assert np.allclose(back.times, made.times, rtol=0, atol=5.1e-5)
    assert np.allclose(np.diff(back.times), 0.01, rtol=0, atol=1.1e-4)


def test_empty_contour_and_back(tmp_path):
    path = write_f0(contour([]), tmp_path / "a.csv")
    assert path.read_text() == "time_s,f0_hz\n"
    assert len(read_f0(path)) == 0
    path = write_f0(contour([], voicing=[]), tmp_path / "b.csv")
    assert path.read_text() == "time_s,f0_hz,voicing\n"
    assert read_f0(path).voicing.shape == (0,)


def test_spreadsheet_habits_are_read(tmp_path):
    """A byte order mark, Windows line ends and an empty line at the end."""
    path = tmp_path / "a.csv"
    path.write_bytes(b"\xef\xbb\xbftime_s,f0_hz\r\n0.5,440\r\n1.5,0\r\n\r\n")
    back = read_f0(path)
    assert back.times.tolist() == [0.5, 1.5]
    assert back.midi.tolist() == [69.0, 0.0]


@pytest.mark.parametrize("name", ["song.pv", "SONG.PV"])
def test_pitch_labels_of_mir_1k(tmp_path, name):
    path = tmp_path / name
    path.write_text("0\n60.5\n61\n0.0\n")
    back = read_f0(path)
    assert np.allclose(back.times, [0.02, 0.04, 0.06, 0.08])
    assert back.midi.tolist() == [0.0, 60.5, 61.0, 0.0]
    # On the project's frames: before, unknown, 60.75, unknown, after.
    at = back.at([0.01, 0.03, 0.05, 0.07, 0.09])
    assert np.allclose(at, [0, np.nan, 60.75, np.nan, 0], equal_nan=True)
    path.write_text("")
    assert len(read_f0(path)) == 0


HEAD = "time_s,f0_hz\n"
BAD_FILES = {
    "empty": ("a.csv", "", "its columns are missing: expected time_s,f0_hz"),
    "other header": ("a.csv", "t,hz\n0,1\n", "its columns are t,hz: expected"),
    "no header": ("a.csv", "0.0,440\n", "its columns are 0.0,440"),
    "a cell too much": ("a.csv", HEAD + "0,440,1\n", "3 values"),
    # Six numbers are two rows of three as well as three of two.
    "rows too long": ("a.csv", HEAD + "10,220,300\n20,440,500\n", "3 values"),
    "rows too short": (
        "a.csv",
        "time_s,f0_hz,voicing\n" + "0,440\n1,440\n2,440\n",
        "2 values but its header has 3 columns",
    ),
    "ragged": ("a.csv", HEAD + "0,440\n1\n", "is no contour"),
    "words": ("a.csv", HEAD + "0,440\n1,loud\n", "is no contour"),
    "endless word": ("a.csv", HEAD + "0," + "x" * 9999, "is no contour"),
    "empty cell": ("a.csv", HEAD + "0,440\n1,\n", "is no contour"),
    "below 0 Hz": ("a.csv", HEAD + "0,-440\n", "below 0"),
    "infinite": ("a.csv", HEAD + "0,inf\n", "not finite"),
    "not a number": ("a.csv", HEAD + "0,nan\n", "not finite"),
    "no time": ("a.csv", HEAD + "nan,440\n", "frame 1: times is nan"),
    "too high": ("a.csv", HEAD + "0,440\n1,20000\n", "frame 2: pitch 135"),
    "too low": ("a.csv", HEAD + "0,1\n", "frame 1: pitch -36"),
    "unsorted": ("a.csv", HEAD + "1,440\n0,440\n", "frame 2: its time 0 s"),
    "voicing": ("a.csv", "time_s,f0_hz,voicing\n0,440,2\n", "voicing 2"),
    "hertz as MIDI": ("a.pv", "0\n220.0\n", "frame 2: pitch 220 is outside"),
    "words in labels": ("a.pv", "60\nla\n", "is no contour"),
    "endless header": ("a.csv", "x" * 100000, "its columns are xxx"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_files_are_refused_in_one_line(tmp_path, case):
    name, text, message = BAD_FILES[case]
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(NoteError) as error:
        read_f0(path)
    line = str(error.value)
    assert line.startswith(f"{path}: ")
    assert message in line
    assert "\n" not in line and len(line) < len(str(path)) + 200


def test_what_is_no_text_is_refused_in_one_line(tmp_path):
    for path in (tmp_path / "absent.csv", tmp_path, tmp_path / "a.wav"):
        if path.suffix == ".wav":
            path.write_bytes(b"RIFF\xff\xfe\x00\x80data")
        with pytest.raises(NoteError) as error:
            read_f0(path)
        assert str(error.value).startswith(f"{path}: ")
        assert "\n" not in str(error.value)


def test_nothing_is_overwritten_unasked(tmp_path):
    path = write_f0(contour([60]), tmp_path / "a.csv")
    before = path.read_text()
    with pytest.raises(OutputError, match=r"a\.csv: exists already"):
        write_f0(contour([72]), path)
    assert path.read_text() == before
    write_f0(contour([72]), path, overwrite=True)
    assert read_f0(path).midi.tolist() == [72.0]
    with pytest.raises(OutputError, match="does not exist"):
        write_f0(contour([60]), tmp_path / "absent" / "a.csv")
    assert [p.name for p in tmp_path.iterdir()] == ["a.csv"]


def test_contour_of_posteriors():
    blank = np.zeros(4)
    said = FramePosteriors(
        blank,
        blank,
        np.zeros((4, 12)),
        voicing=np.array([0.5, 0.49, 1, 0.8], np.float32),
        f0=np.array([60.25, 61, 62, 128], np.float32),
    )
    contour = F0Contour.from_posteriors(said)
    assert contour.times == pytest.approx([0.01, 0.03, 0.05, 0.07])
    assert contour.midi.tolist() == [60.25, 0, 62, 127]
    assert contour.voicing == pytest.approx([0.5, 0.49, 1, 0.8])
    silent = FramePosteriors(blank, blank, np.zeros((4, 12)))
    assert F0Contour.from_posteriors(silent) is None
