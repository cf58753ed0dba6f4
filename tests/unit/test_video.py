"""Files of mouth crops, and crops of videos written on the spot."""

import tracemalloc
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from speechbrain_ext import faces
from speechbrain_ext.cli import main
from speechbrain_ext.errors import OutputError, VideoError
from speechbrain_ext.faces import EYE_DISTANCE, EYES_Y, MOUTH_Y, Face
from speechbrain_ext.video import (
    CROP,
    EYE_PIXELS,
    Video,
    count_crops,
    crop_mouth,
    frame_sources,
    missing_frames,
    mouth_crops,
    read_crops,
    write_crops,
    write_mouth_crops,
)

# --- Files ------------------------------------------------------------------


@pytest.fixture
def numbered(tmp_path):
    """File of 10 s whose frame k shows k + 1 (up to 250)."""
    crops = np.zeros((500, 8, 8), np.uint8)
    crops += (np.arange(500) % 250 + 1).astype(np.uint8)[:, None, None]
    return write_crops(tmp_path / "crops.npy", crops), crops


def test_slices_by_hand(numbered):
    path, crops = numbered
    assert count_crops(path) == 500
    np.testing.assert_array_equal(read_crops(path), crops)
    assert read_crops(path, 0.1, 0.14)[:, 0, 0].tolist() == [6, 7]
    # Frame 5 covers 0.1 to 0.12 s.
    assert read_crops(path, 0.119, 0.141)[:, 0, 0].tolist() == [6, 7]
    # 0.58 x 50 is 28.999999999999996 in floating point.
    assert read_crops(path, 0.58, 0.6)[:, 0, 0].tolist() == [30]
    # Nothing is made up past the end.
    assert len(read_crops(path, 9.9, 12)) == 5
    assert len(read_crops(path, 9.9, np.inf)) == 5


def test_slices_that_touch_share_no_frame(numbered):
    path, crops = numbered
    borders = np.sort(np.random.default_rng(0).uniform(0.1, 9.9, 9))
    borders = [0.0, *borders, None]
    parts = [
        read_crops(path, a, b)
        for a, b in zip(borders, borders[1:], strict=False)
    ]
    np.testing.assert_array_equal(np.concatenate(parts), crops)


def test_only_the_slice_is_read(tmp_path):
    path = tmp_path / "long.npy"
    write_crops(path, np.ones((3000, 96, 96), np.uint8))
    tracemalloc.start()
    part = read_crops(path, 30, 35)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert part.shape == (250, 96, 96) and part.flags.owndata
    assert peak < 1.2 * part.nbytes


@pytest.mark.parametrize(
    "array, says",
    [
        (np.ones((5, 8, 8)), "holds float64 .5, 8, 8.: mouth crops are uint8"),
        (np.ones((5, 8), np.uint8), "holds uint8 .5, 8."),
        (np.ones((5, 8, 9), np.uint8), "uint8 .frames, size, size."),
        (np.ones((0, 8, 8), np.uint8), "holds no pictures"),
        (np.array([{}, {}]), "is no NumPy array of numbers"),
        (b"", "is empty"),
        (b"Not an array.", "is no NumPy array of numbers"),
        (b"\x93NUMPY\x01\x00v\x00{", "is no NumPy array"),
    ],
)
def test_other_files_are_refused(tmp_path, array, says):
    path = tmp_path / "crops.npy"
    if isinstance(array, bytes):
        path.write_bytes(array)
    else:
        np.save(path, array, allow_pickle=True)
    with pytest.raises(VideoError, match=says) as caught:
        read_crops(path)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_cut_off(numbered):
    path, _ = numbered
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(VideoError, match="is cut off"):
        read_crops(path, 0, 1)


@pytest.mark.parametrize(
    "start, stop, says",
    [
        (10, None, "cannot start reading at 10 s, after the end of 10.00 s"),
        (3, 2, "ends at 2 s but starts at 3 s"),
        (3, 3, "ends at 3 s but starts at 3 s"),
        (-1, None, "cannot start reading at -1 s"),
        (np.nan, None, "cannot start reading at nan s"),
        (3.001, 3.009, "no frame begins between 3.001 s and 3.009 s"),
    ],
)
def test_other_slices_are_refused(numbered, start, stop, says):
    with pytest.raises(VideoError, match=says):
        read_crops(numbered[0], start, stop)


def test_writing(numbered, tmp_path):
    path, crops = numbered
    with pytest.raises(OutputError, match="exists already"):
        write_crops(path, crops)
    write_crops(path, crops[:7], overwrite=True)
    np.testing.assert_array_equal(np.load(path), crops[:7])
    with pytest.raises(VideoError, match="must end in .npy"):
        write_crops(tmp_path / "crops.npz", crops)
    with pytest.raises(VideoError, match="holds float64"):
        write_crops(tmp_path / "new.npy", crops / 255)
    assert [p.name for p in tmp_path.iterdir()] == ["crops.npy"]
    with pytest.raises(VideoError, match="no such file"):
        read_crops(tmp_path / "none.npy")
    with pytest.raises(VideoError, match="is a folder, not a file of mouth"):
        read_crops(tmp_path)


def test_missing_frames():
    crops = np.zeros((4, 8, 8), np.uint8)
    crops[1, 3, 3] = 1
    crops[3] = 255
    assert missing_frames(crops).tolist() == [True, False, True, False]


# --- Pictures and frames ----------------------------------------------------


def sources_at(fps, seconds):
    count = round(fps * seconds)
    return frame_sources(np.arange(count) / fps, count / fps).tolist()


def test_which_picture_a_frame_shows():
    """Frame k shows the picture at (k + 0.5) x 20 ms."""
    assert sources_at(50, 0.1) == [0, 1, 2, 3, 4]
    assert sources_at(25, 0.12) == [0, 0, 1, 1, 2, 2]
    # At 10, 30, 50 and 70 ms of pictures that last 33.3 ms.
    assert sources_at(30, 0.1) == [0, 0, 1, 2, 2]
    # Every sixth of 60 pictures is passed over.
    assert sources_at(60, 0.1) == [0, 1, 3, 4, 5]
    # Uneven: pictures at 0, 15, 70 and 75 ms, the last one to 120 ms.
    times = np.array([0.0, 0.015, 0.07, 0.075])
    assert frame_sources(times, 0.12).tolist() == [0, 1, 1, 2, 3, 3]


def test_frames_without_a_picture():
    # It begins at 50 ms, and the second picture is 0.6 s late.
    sources = frame_sources(np.array([0.05, 0.65]), 0.68)
    assert sources.tolist() == [-1] * 2 + [0] * 26 + [-1] * 4 + [1] * 2


def spot(gray, at, radius):
    rows, columns = np.mgrid[: gray.shape[0], : gray.shape[1]]
    away = (columns - at.real) ** 2 + (rows - at.imag) ** 2
    return np.maximum(gray, 255 * np.exp(-away / 2 / radius**2))


@pytest.mark.parametrize("size", [20, 63, 150, 400])
@pytest.mark.parametrize("degrees", [0, 30])
def test_a_crop_is_upright_and_of_one_scale(size, degrees):
    """A second spot, under the mouth by the eyes' distance / 3: 21 pixels."""
    line = size * np.exp(1j * np.radians(degrees))
    mouth = 500.3 + 450.6j
    gray = spot(np.zeros((1000, 1000)), mouth, size / 20)
    gray = spot(gray, mouth + 1j * line / 3, size / 20).astype(np.uint8)
    crop = crop_mouth(gray, mouth, line).astype(float)
    assert crop.shape == (CROP, CROP)
    rows, columns = np.mgrid[:CROP, :CROP]
    for row, part in ((48, rows < 58.5), (69, rows > 58.5)):
        weights = crop * part
        assert (weights * rows).sum() / weights.sum() == pytest.approx(
            row, abs=0.3
        )
        assert (weights * columns).sum() / weights.sum() == pytest.approx(
            48, abs=0.3
        )


def test_a_crop_at_the_border():
    gray = np.full((100, 100), 9, np.uint8)
    assert (crop_mouth(gray, 99 + 99j, 63 + 0j) == 9).all()
    assert crop_mouth(gray, 101 + 50j, 63 + 0j) is None
    assert crop_mouth(gray, 50 - 1j, 63 + 0j) is None
    # Also where it is made smaller first.
    assert (crop_mouth(gray, 99 + 2j, 250 + 0j) == 9).all()


# --- Videos -----------------------------------------------------------------

SIDE = 80


class Marked:
    """Sees a face wherever two white eyes and a mouth of grey 200 are."""

    name = "marked"
    step_s, steady_s, local = 0.0, 0.0, False

    def detect(self, gray, smallest=0.1):
        mask = (gray > 150).astype(np.uint8)
        found = cv2.connectedComponentsWithStats(mask)
        areas, centres = found[2][1:, cv2.CC_STAT_AREA], found[3][1:]
        if len(areas) != 3:
            return []
        mouth = complex(*centres[np.argmax(areas)])
        eyes = [complex(*c) for c in np.delete(centres, np.argmax(areas), 0)]
        side = abs(eyes[1] - eyes[0]) / EYE_DISTANCE
        middle = sum(eyes) / 2
        box = (middle.real - side / 2, middle.imag - EYES_Y * side, side, side)
        return [Face(box, 1.0, tuple(sorted(eyes, key=abs)), mouth)]


def cartoon(x, y, level=0, shape=(144, 192)):
    """Two eyes and a mouth; the box has its corner at (x, y)."""
    gray = np.full(shape, 30 + level, np.uint8)
    for share in (-0.5, 0.5):
        eye = (
            round(x + (0.5 + share * EYE_DISTANCE) * SIDE),
            round(y + EYES_Y * SIDE),
        )
        cv2.circle(gray, eye, 3, 255, -1)
    middle = (round(x + 0.5 * SIDE), round(y + MOUTH_Y * SIDE))
    cv2.ellipse(gray, middle, (12, 6), 0, 0, 360, 220, -1)
    return gray


@pytest.fixture
def write_video(tmp_path):
    """Write grey pictures without loss, each at its time."""

    def write(name, pictures, times, sound_s=0.0, codec="ffv1", fps=25):
        path = tmp_path / name
        with av.open(str(path), "w") as container:
            video = container.add_stream(codec, rate=fps)
            video.height, video.width = pictures[0].shape
            video.pix_fmt = "gray" if codec == "ffv1" else "yuv420p"
            video.codec_context.time_base = Fraction(1, 1000)
            if sound_s:
                sound = container.add_stream("pcm_s16le", rate=8000)
                sound.layout = "mono"
                samples = np.zeros((1, round(8000 * sound_s)), np.int16)
                frame = av.AudioFrame.from_ndarray(samples, "s16", "mono")
                frame.sample_rate, frame.pts = 8000, 0
                container.mux(sound.encode(frame))
            for picture, time in zip(pictures, times, strict=True):
                frame = av.VideoFrame.from_ndarray(picture, "gray")
                frame = frame.reformat(format=video.pix_fmt)
                frame.pts = round(1000 * time)
                frame.time_base = Fraction(1, 1000)
                container.mux(video.encode(frame))
            container.mux(video.encode(None))
        return path

    return write


def moving(times):
    return [cartoon(20 + 30 * t, 30 + 10 * t) for t in times]


def mouth_at(times):
    times = np.asarray(times)
    return np.stack(
        [20 + 30 * times + 0.5 * SIDE, 30 + 10 * times + MOUTH_Y * SIDE], axis=1
    )


@pytest.mark.parametrize("fps", [25, 30, 50, 60])
def test_any_rate(write_video, fps):
    times = np.arange(fps) / fps
    path = write_video("a.mkv", moving(times), times, fps=fps)
    track = mouth_crops(path, Marked())
    assert track.crops.shape == (50, CROP, CROP)
    assert track.crops.dtype == np.uint8 and track.confidence.dtype == "f4"
    assert track.fps == pytest.approx(fps, rel=0.03)
    assert track.duration == pytest.approx(1, abs=0.03)
    assert (track.confidence > 0.3).all() and track.notes == ()
    shown = times[frame_sources(times, 1.0)]
    assert np.abs(track.centres - mouth_at(shown)).max() < 0.8
    eyes = EYE_DISTANCE * SIDE
    assert np.abs(track.eye_distances / eyes - 1).max() < 0.1
    # Its mouth is the bright spot in the middle of each crop.
    bright = track.crops > 150
    rows, columns = np.mgrid[:CROP, :CROP]
    for axis in (rows, columns):
        middles = (bright * axis).sum((1, 2)) / bright.sum((1, 2))
        assert np.abs(middles - 48).max() < 2.5
    width = bright.any(1).sum(1)
    assert np.abs(width / (25 * EYE_PIXELS / eyes) - 1).max() < 0.15


def test_uneven_times(write_video):
    rng = np.random.default_rng(2)
    times = np.round(np.cumsum(rng.uniform(0.01, 0.1, 30)), 3)
    times -= times[0]
    path = write_video("a.mkv", moving(times), times)
    track = mouth_crops(path, Marked())
    sources = frame_sources(times, track.duration)
    assert len(sources) == len(track.crops) >= 50 * times[-1]
    assert np.abs(track.centres - mouth_at(times[sources])).max() < 1.5


def test_a_video_that_starts_after_its_sound(write_video):
    times = 0.5 + np.arange(25) / 25
    path = write_video("a.mkv", moving(times - 0.5), times, sound_s=1.5)
    track = mouth_crops(path, Marked())
    present = track.confidence > 0
    assert len(present) == 75
    assert not present[:25].any() and present[25:].all()
    np.testing.assert_array_equal(missing_frames(track.crops), ~present)
    assert np.isnan(track.centres[:25]).all()
    assert track.notes == ("no face from the front for 0.5 s",)


def test_a_gap_in_the_pictures(write_video):
    times = np.r_[np.arange(25), np.arange(75, 100)] / 25
    pictures = [cartoon(50, 30)] * 50
    track = mouth_crops(write_video("a.mkv", pictures, times), Marked())
    present = track.confidence > 0
    # The last picture before it comes at 0.96 s and stays for 0.5 s.
    assert present[:73].all() and not present[73:150].any()
    assert present[150:].all() and len(present) == 200


def test_a_cut(write_video):
    times = np.arange(40) / 25
    first, second = cartoon(20, 20), cartoon(90, 50)
    first[:, 150:] = second[:, :60] = 100
    path = write_video("a.mkv", [first] * 20 + [second] * 20, times)
    track = mouth_crops(path, Marked())
    assert track.cuts == (0.8,)
    assert track.notes == ("the picture is cut at 0.80 s: followed anew there",)
    places = np.repeat([(60, 20 + 64.8), (130, 50 + 64.8)], 40, axis=0)
    assert np.abs(track.centres - places).max() < 0.8


def test_a_telephone_held_upright(write_video, tmp_path):
    """The file says that the picture is to be turned by 90 degrees."""
    upright = cartoon(30, 40, shape=(192, 144))
    lying = np.ascontiguousarray(np.rot90(upright))
    times = np.arange(10) / 25
    path = write_video("a.mp4", [lying] * 10, times, codec="mpeg4")
    data = path.read_bytes()
    one = (1 << 16).to_bytes(4, "big")
    minus = (2**32 - (1 << 16)).to_bytes(4, "big")
    zero, last = bytes(4), (1 << 30).to_bytes(4, "big")
    header = data.index(b"tkhd")
    plain = one + 3 * zero + one + 3 * zero + last
    turned = zero + one + zero + minus + 4 * zero + last
    at = data.index(plain, header)
    turned_path = tmp_path / "turned.mp4"
    turned_path.write_bytes(data[:at] + turned + data[at + len(plain) :])
    # As it is stored, eyes one above the other: the mouth is at the side.
    assert next(Video(path).pictures()).gray.shape == (144, 192)
    assert next(Video(turned_path).pictures()).gray.shape == (192, 144)
    track = mouth_crops(turned_path, Marked())
    assert np.abs(track.centres - (70, 40 + MOUTH_Y * SIDE)).max() < 1
    assert np.abs(track.angles).max() < 2


def test_small_pictures_of_a_large_video(write_video):
    pictures = [cartoon(400, 300, shape=(720, 1280))] * 3
    path = write_video("a.mkv", pictures, [0, 0.04, 0.08])
    small = list(Video(path).pictures(360))
    assert small[0].gray.shape == (360, 640) and small[0].ratio == 0.5
    assert [p.time for p in small] == [0, 0.04, 0.08]
    whole = next(Video(path).pictures())
    np.testing.assert_array_equal(whole.gray, pictures[0])


def test_into_a_file(write_video, tmp_path):
    times = np.arange(50) / 25
    path = write_video("a.mkv", moving(times), times)
    kept, seen = mouth_crops(path, Marked()), []
    out = tmp_path / "a.npy"
    track = write_mouth_crops(path, out, Marked(), progress=seen.append)
    np.testing.assert_array_equal(read_crops(out), kept.crops)
    np.testing.assert_array_equal(track.crops, kept.crops)
    assert seen == sorted(seen) and seen[-1] == pytest.approx(2, abs=0.05)
    lines = (tmp_path / "a.confidence.csv").read_text().splitlines()
    assert lines[:2] == ["time_s,confidence", "0.01,1.000"]
    assert len(lines) == 101 and lines[-1].startswith("1.99,")
    with pytest.raises(OutputError, match="exists already"):
        write_mouth_crops(path, out, Marked())


def test_no_face(write_video, tmp_path):
    pictures = [np.full((144, 192), 30 + k, np.uint8) for k in range(30)]
    path = write_video("a.mkv", pictures, np.arange(30) / 25)
    with pytest.raises(VideoError, match="no face is seen from the front in 1"):
        write_mouth_crops(path, tmp_path / "a.npy", "haar")
    assert [p.name for p in tmp_path.iterdir()] == ["a.mkv"]


@pytest.fixture
def marked(monkeypatch):
    monkeypatch.setattr(faces, "HaarDetector", Marked)


def test_command(write_video, marked, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    times = np.arange(50) / 25
    pictures = moving(times[:25]) + [np.full((144, 192), 30, np.uint8)] * 25
    write_video("a.mkv", pictures, times)
    command = ["prepare", "lips", "a.mkv", "-o", "a.npy"]
    assert main([*command, "--detector", "haar"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("a.npy: 100 frames (2.00 s), 50.0% with a face, ")
    assert out.endswith("detector marked; no face from the front for 1.0 s\n")
    assert (
        missing_frames(np.load("a.npy")).tolist() == [False] * 50 + [True] * 50
    )
    rows = (tmp_path / "a.confidence.csv").read_text().splitlines()
    assert rows[51] == "1.01,0.000"
    assert main([*command, "--detector", "haar"]) == 2
    assert "use --force to replace" in capsys.readouterr().err
    assert main([*command, "--detector", "haar", "--force"]) == 0


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["none.mp4", "-o", "b.npy"], "none.mp4: no such file"),
        (["text.mp4", "-o", "b.npy"], "text.mp4: is not a video file"),
        (["zero.mp4", "-o", "b.npy"], "zero.mp4: is empty"),
        ([".", "-o", "b.npy"], ".: is a folder, not a video"),
        (["sound.wav", "-o", "b.npy"], "has no moving pictures"),
        (["dark.mkv", "-o", "b.npy"], "no face is seen from the front"),
        (["dark.mkv", "-o", "b.txt"], "b.txt: the name of mouth crops must"),
        (["dark.mkv", "-o", "no/b.npy"], "no does not exist: create it"),
        (["dark.mkv"], "arguments are required: -o"),
        (["dark.mkv", "-o", "b.npy", "--detector", "eyes"], "invalid choice"),
    ],
)
def test_bad_input(
    write_video,
    write_media,
    noise,
    monkeypatch,
    tmp_path,
    capsys,
    arguments,
    says,
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.mp4").write_text("These are words.\n" * 99)
    (tmp_path / "zero.mp4").touch()
    write_media(tmp_path / "sound.wav", noise(0.2), codec="pcm_s16le")
    write_video("dark.mkv", [np.zeros((72, 96), np.uint8)] * 5, range(5))
    before = sorted(p.name for p in tmp_path.iterdir())
    if "--detector" not in arguments:
        arguments = [*arguments, "--detector", "haar"]
    assert main(["prepare", "lips", *arguments]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and says in err
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_a_damaged_video(write_video, tmp_path):
    times = np.arange(50) / 25
    pictures = moving(times)
    path = write_video("a.mkv", pictures, times)
    data = path.read_bytes()
    (tmp_path / "b.mkv").write_bytes(data[: len(data) * 3 // 4])
    # What is there is used: nothing says that more should follow.
    track = mouth_crops(tmp_path / "b.mkv", Marked())
    assert 50 < len(track.crops) < 90
    with pytest.raises(
        VideoError, match="has no picture track 1: the file has"
    ):
        Video(path, track=1)
