"""MiniSinging's lip video: mouths, faces, cameras, the files they end up in."""

import json
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from data_prep import prepare
from data_prep.manifest import read_manifest
from data_prep.minisinging import as_n20emv2, corpus, render_clip, render_mouth
from data_prep.minisinging.__main__ import main
from data_prep.minisinging.camera import Filming, draw_filming
from data_prep.minisinging.clip import Clip
from data_prep.minisinging.face import draw_face
from data_prep.minisinging.lexicon import CONSONANTS, VOWELS
from data_prep.minisinging.mouth import (
    CONSONANT_SHAPES,
    MOUTH_RATE,
    PARTS,
    VOWEL_SHAPES,
    Habits,
    move_mouth,
    stays,
)
from data_prep.minisinging.singer import draw_singer
from speechbrain_ext.errors import AudioError, ConfigError, OutputError
from speechbrain_ext.f0 import read_f0
from speechbrain_ext.notes import NoteSequence

GAP, JAW, WIDTH = (PARTS.index(name) for name in ("gap", "jaw", "width"))

# Moves at once and always alike.
EXACT = Habits(
    strength=1.0, lip_lead_s=0.0, quickness_s=0.04, release_s=0.04,
    rest_gap=0.0, rest_width=0.0, hold_s=0.0, level_gain=0.0, pitch_gain=0.0,
    carelessness=0.0, breath=0.0,
)  # fmt: skip


def sung(*phones, seconds=2.0, loud=None):
    """A clip with phones at given times; `loud` are factors on the level."""
    rate = 16000
    voice = np.full(round(seconds * rate), 0.1, np.float32)
    f0 = np.zeros(round(seconds * 100), np.float32)
    for start, stop, name in phones:
        if name.split("-")[0] in VOWELS:
            f0[round(start * 100) : round(stop * 100)] = 60.0
    for start, stop, factor in loud or ():
        voice[round(start * rate) : round(stop * rate)] *= factor
    return Clip(
        voice=voice,
        stems={},
        mix=voice,
        notes=NoteSequence(),
        words=[],
        phones=list(phones),
        f0=f0,
        f0_hop_s=0.01,
        sample_rate=rate,
        singer=draw_singer(np.random.default_rng(1)),
        score=None,
        seed=(3,),
    )


def person(seed=0, gender="female", habits=EXACT):
    return replace(
        draw_face(np.random.default_rng(seed), gender), habits=habits
    )


def moved(clip, habits=EXACT, seed=0):
    return move_mouth(clip, habits, np.random.default_rng(seed))


def at(tracks, seconds, part=GAP):
    return tracks[part, round(seconds * MOUTH_RATE)]


def dark(video):
    """Number of dark points near the middle of each picture."""
    middle = video[:, 36:72, 28:68].astype(float)
    skin = np.median(video, axis=(1, 2))[:, None, None]
    return (middle < 0.4 * skin).sum(axis=(1, 2))


# ------------------------------------------------------------------- mouths


def test_every_phone_has_a_shape():
    assert VOWEL_SHAPES.keys() == VOWELS.keys()
    assert CONSONANT_SHAPES.keys() == CONSONANTS.keys()
    for target, weight in CONSONANT_SHAPES.values():
        assert target.shape == weight.shape == (len(PARTS),)
        assert (weight >= 0).all() and (weight <= 1).all()


@pytest.mark.parametrize("name", ["P", "B", "M"])
def test_bilabials_close_the_lips_and_aa_opens_them(name):
    clip = sung((0.4, 0.9, "AA"), (0.9, 1.0, name), (1.0, 1.5, "AA"))
    tracks = moved(clip)
    closed = 0.93 if name == "P" else 0.95
    assert at(tracks, closed) < 0.01
    assert at(tracks, 0.7) > 0.7 and at(tracks, 1.2) > 0.7
    # However fast it is sung and however lazy the singer.
    short = sung((0.4, 0.9, "AA"), (0.9, 0.93, name), (0.93, 1.5, "AA"))
    lazy = replace(EXACT, quickness_s=0.2, release_s=0.11, carelessness=0.2)
    assert moved(short, lazy)[GAP, 88:96].min() < 0.02


def test_lips_part_with_the_sound():
    clip = sung((0.9, 1.0, "M"), (1.0, 1.5, "AA"))
    gap = moved(clip)[GAP]
    half = np.flatnonzero(gap > 0.5 * gap.max())[0] / MOUTH_RATE
    assert 0.99 <= half <= 1.05


def test_postures_of_vowels_and_consonants():
    def shape(name, part):
        if name in VOWELS:
            return at(moved(sung((0.5, 1.5, name))), 1.0, part)
        clip = sung((0.4, 0.9, "AA"), (0.9, 1.1, name), (1.1, 1.5, "AA"))
        return at(moved(clip), 1.0, part)

    assert shape("UW", WIDTH) < -0.5 < 0.5 < shape("IY", WIDTH)
    assert shape("W", WIDTH) < -0.5
    assert shape("IY", JAW) < shape("EH", JAW) < shape("AA", JAW)
    assert shape("F", PARTS.index("tuck")) > 0.8
    assert shape("L", PARTS.index("tongue")) > 0.8
    # A velar stop leaves most to the vowel, a hiss raises the jaw.
    assert shape("S", JAW) < 0.3 < 0.5 < shape("K", JAW)


def test_rests_close_the_mouth():
    tracks = moved(sung((0.2, 0.8, "AA"), (3.0, 3.5, "AA"), seconds=4.0))
    assert at(tracks, 0.5) > 0.7 and at(tracks, 1.2) < 0.05
    assert moved(sung())[GAP].max() < 0.05


def test_loud_and_high_notes_open_the_jaw():
    phones = (0.2, 0.9, "AA"), (0.9, 1.6, "AA")
    clip = sung(*phones, loud=[(0.9, 1.6, 3.0)])
    habits = replace(EXACT, level_gain=0.4)
    assert at(moved(clip, habits), 1.3) > at(moved(clip, habits), 0.5) + 0.1
    assert abs(at(moved(clip), 1.3) - at(moved(clip), 0.5)) < 0.08
    high = replace(clip, f0=np.where(np.arange(200) < 90, clip.f0, 72.0))
    habits = replace(EXACT, pitch_gain=0.35)
    assert at(moved(high, habits), 1.3) > at(moved(high, habits), 0.5) + 0.1


def test_a_melisma_does_not_form_its_vowel_again():
    careless = replace(EXACT, carelessness=0.3, quickness_s=0.05)
    one = sung((0.2, 1.8, "AA"))
    two = sung((0.2, 1.0, "AA"), (1.0, 1.8, "AA"))
    still = 0.08  # lips are never quite still
    for seed in range(8):
        a, b = moved(one, careless, seed), moved(two, careless, seed)
        assert np.ptp(a[GAP, 80:120]) < still and np.ptp(b[GAP, 80:120]) < still
    assert stays((0.2, 1.0, "AA"), (1.0, 1.8, "AA"))
    assert not stays((0.2, 1.0, "AA"), (1.0, 1.8, "IY"))


def test_lips_tell_of_syllables_that_begin_with_closed_lips():
    rises = []
    for seed in range(25):
        clip = render_clip(seed, 8.0, band=False, noise_db=False)
        tracks = moved(clip, person(seed).habits, seed)
        for first, second in zip(clip.phones, clip.phones[1:], strict=False):
            if first[2] in "PBM" and second[2] not in CONSONANTS:
                vowel = VOWEL_SHAPES[second[2].split("-")[0]][GAP]
                if vowel > 0.3 and second[1] - second[0] > 0.2:
                    onset = second[0]
                    rises.append(at(tracks, onset + 0.1) - at(tracks, onset))
    assert len(rises) > 15
    assert np.mean(np.array(rises) > 0.1) > 0.9


# ----------------------------------------------------------------- pictures


@pytest.mark.parametrize("seconds, frames", [(1.0, 50), (1.01, 51), (0.5, 25)])
def test_shape_type_and_number_of_frames(seconds, frames):
    video = render_mouth(render_clip(1, seconds, band=False), seed=2)
    assert video.shape == (frames, 96, 96) and video.dtype == np.uint8
    assert video.flags.c_contiguous


def test_same_seed_same_bytes_other_seed_other_video():
    clip = render_clip(4, 2.0)
    video = render_mouth(clip)
    assert np.array_equal(video, render_mouth(clip))
    assert np.array_equal(video, render_mouth(clip, seed=clip.seed))
    assert not np.array_equal(video, render_mouth(clip, seed=5))


@pytest.mark.parametrize("seed", range(6))
def test_open_mouths_are_dark_inside(seed):
    clip = sung((0.4, 0.9, "AA"), (0.9, 1.1, "M"), (1.1, 1.6, "AA"))
    face = person(seed, "male" if seed % 2 else "female")
    area = dark(render_mouth(clip, face=face, filming=Filming(ambient=0.8)))
    closed, opened = area[50], area[65]
    assert opened > closed + 60


def test_pictures_are_in_time_with_the_phones():
    clip = sung((0.3, 0.9, "AA"), (0.9, 1.1, "M"), (1.1, 1.6, "AA"))
    filming = Filming(ambient=0.8)
    video = render_mouth(clip, face=person(1), filming=filming)
    area = dark(video)
    half = 0.5 * area[65]
    closed = np.flatnonzero(area[40:60] < half) + 40
    # Frames 45 to 54 show the consonant; lips take 40 ms to close and part.
    assert abs(closed[0] - 45) <= 2 and abs(closed[-1] - 54) <= 2
    late = render_mouth(
        clip, face=person(1), filming=replace(filming, offset_s=0.04)
    )
    change = np.abs(late[2:].astype(int) - video[:-2]).max()
    assert change <= 1


def test_cameras_with_fewer_pictures_show_them_longer():
    clip = sung((0.1, 0.5, "AA"), (0.5, 0.6, "M"), (0.6, 0.9, "IY"), seconds=1)
    shown = {
        fps: render_mouth(clip, face=person(), filming=Filming(fps=fps))
        for fps in (25.0, 30.0, 50.0)
    }
    assert np.array_equal(shown[25.0][::2], shown[25.0][1::2])
    # 30 pictures in 50 frames: each is shown until the next one is due.
    same = (np.diff(shown[30.0].astype(int), axis=0) == 0).all(axis=(1, 2))
    index = (np.arange(50) + 0.5) * 30 // 50
    assert same[np.diff(index) == 0].all()
    # A picture of the slow camera shows the middle of its two frames.
    slow, fast = dark(shown[25.0][::2]), dark(shown[50.0])
    between = 0.5 * (fast[::2] + fast[1::2])
    away = [np.abs(np.roll(slow, k) - between).mean() for k in (-1, 0, 1)]
    assert away[1] < 0.5 * min(away[0], away[2])


def test_missing_pictures_are_zero_and_no_others():
    clip = sung((0.2, 1.8, "AA"), seconds=4.0)
    filming = Filming(gaps=0.1, mean=0.2, contrast=1.5)
    video = render_mouth(clip, filming=filming)
    missing = (video == 0).all(axis=(1, 2))
    assert 20 <= missing.sum() < 150
    assert video[~missing].min() >= 1
    assert render_mouth(clip, filming=replace(filming, gaps=0.0)).min() >= 1


def test_a_microphone_hides_what_is_behind_it():
    clip = sung((0.2, 0.8, "AA"), seconds=1.0)
    plain = Filming(blur=0.0)
    hidden = replace(plain, microphone=(0.0, 40.0, 12.0, 1.0))
    face = person()
    a, b = (
        render_mouth(clip, face=face, filming=f).astype(int)
        for f in (plain, hidden)
    )
    changed = (np.abs(a - b) > 3).any(axis=0)
    assert changed[84:96, 40:56].mean() > 0.9 and not changed[:60].any()


def test_faces_and_cameras_differ_within_their_limits():
    rng = np.random.default_rng(0)
    faces = [draw_face(rng, "male") for _ in range(60)]
    assert len({face.marks for face in faces}) == 60
    assert 40 < 2 * np.mean([face.width for face in faces]) < 55
    assert 0 < sum(face.beard > 0 for face in faces) < 40
    assert not any(draw_face(rng).stubble for _ in range(20))
    films = [draw_filming(rng) for _ in range(200)]
    assert {film.fps for film in films} == {25.0, 30.0, 50.0}
    assert max(abs(film.offset_s) for film in films) <= 0.02
    assert 5 < sum(film.microphone is not None for film in films) < 50
    assert 3 < sum(film.gaps > 0 for film in films) < 40


def test_greys_are_those_of_real_mouths():
    videos = [
        render_mouth(sung((0.1, 0.3, "AA"), seconds=0.5), seed)[::5]
        for seed in range(24)
    ]
    pictures = np.concatenate(videos) / 255
    pictures = pictures[pictures.max(axis=(1, 2)) > 0]
    # 0.421 and 0.165 are what lip readers are normalised with.
    assert abs(pictures.mean() - 0.421) < 0.06
    assert abs(pictures.std() - 0.165) < 0.05


# -------------------------------------------------------------------- files


def files_in(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


SHORT = {"song_s": 20.5, "sample_rate": 8000, "progress": False}


def test_video_leaves_the_sounds_alone_and_jobs_the_video(tmp_path):
    plain = files_in(as_n20emv2(tmp_path / "plain", 1, 0, 1, **SHORT))
    options = {**SHORT, "video": True, "f0": True}
    one = files_in(as_n20emv2(tmp_path / "one", 1, 0, 1, **options))
    two = files_in(as_n20emv2(tmp_path / "two", 1, 0, 1, n_jobs=2, **options))
    assert one == two
    more = one.keys() - plain.keys()
    assert sorted(more) == [
        f"data/{song}/{name}"
        for song in ("1.1.a-1", "2.1.a-1")
        for name in ("f0.csv", "video_50fps.npy")
    ]
    same = plain.keys() - {"minisinging.json"}
    assert len(same) == 5 and all(one[name] == plain[name] for name in same)
    place = tmp_path / "one" / "data" / "1.1.a-1"
    video = np.load(place / "video_50fps.npy", allow_pickle=False)
    assert video.shape == (1025, 96, 96) and video.dtype == np.uint8
    assert len(read_f0(place / "f0.csv")) == 2050


def test_singers_keep_their_faces(tmp_path, monkeypatch):
    faces = []

    def film(clip, face):
        faces.append(face)
        return np.zeros((1, 96, 96), np.uint8)

    monkeypatch.setattr(corpus, "render_mouth", film)
    as_n20emv2(tmp_path / "n", 3, 0, 1, video=True, **SHORT)
    assert faces[0] == faces[1]
    assert len({face.marks for face in faces}) == 3


def test_corpora_written_before_there_was_video_are_done(tmp_path):
    folder = as_n20emv2(tmp_path / "n", 1, 0, 0, **SHORT)
    marker = folder / "minisinging.json"
    options = json.loads(marker.read_text())
    assert options.pop("video") is False and options.pop("f0") is False
    marker.write_text(json.dumps(options))
    before = marker.stat().st_mtime_ns
    as_n20emv2(folder, 1, 0, 0, **SHORT)
    assert marker.stat().st_mtime_ns == before
    with pytest.raises(OutputError, match=r"another video \(False, asked for"):
        as_n20emv2(folder, 1, 0, 0, video=True, **SHORT)
    with pytest.raises(ConfigError, match="video is 'yes': use true or false"):
        as_n20emv2(tmp_path / "x", 1, 0, 0, video="yes", **SHORT)


def test_command_line(tmp_path):
    folder = tmp_path / "n"
    numbers = ["--n-train", "1", "--n-valid", "0", "--n-test", "0"]
    command = ["n20emv2", str(folder), *numbers, "--song-s", "20.5", "--video"]
    assert main(command) == 0
    names = {path.name for path in (folder / "data" / "1.1.a-1").iterdir()}
    assert names == {"vocals.wav", "accomp.wav", "video_50fps.npy"}


def test_prepared_corpus_names_its_videos(tmp_path):
    folder, out = tmp_path / "n", tmp_path / "out"
    prepare(
        "minisinging", folder, out, layout="n20emv2", n_train=1, n_valid=0,
        n_test=0, song_s=20.5, video=True, f0=True,
    )  # fmt: skip
    rows = read_manifest(out / "train.csv", folder)
    assert len(rows) == 4
    for row in rows:
        assert len(np.load(row["video"], mmap_mode="r")) == 1025
        assert len(read_f0(row["f0"])) == 2050


# ------------------------------------------------------- what users may have


def song_with_video(folder, seconds=4.0):
    """A corpus of one song; returns where its video belongs."""
    place = folder / "data" / "s-1"
    place.mkdir(parents=True)
    soundfile.write(place / "vocals.wav", np.zeros(int(seconds * 8000)), 8000)
    songs = {"s-1": {"split": "test", "midi": [[0, 1, 60]]}}
    (folder / "annotations.json").write_text(json.dumps(songs))
    return place / "video_50fps.npy"


@pytest.mark.parametrize(
    ("pictures", "message"),
    [
        (np.zeros((200, 96, 96)), "200x96x96 numbers of type float64: expec"),
        (np.zeros((200, 96, 96, 3), "u1"), "200x96x96x3 numbers of type uint8"),
        (np.zeros((200, 96, 88), "u1"), "pictures are 96x88: they must be"),
        (np.zeros((200, 64, 64), "u1"), "64x64: they must be square and at"),
        (np.zeros((99, 96, 96), "u1"), "99 pictures last 1.98 s but vocals"),
        (np.zeros((301, 96, 96), "u1"), "301 pictures last 6.02 s but"),
        (np.array([None, "x"]), "no complete array of pictures"),
    ],
)
def test_videos_are_checked(pictures, message, tmp_path):
    path = song_with_video(tmp_path / "in")
    np.save(path, pictures)
    with pytest.raises(AudioError, match=message) as caught:
        prepare("n20emv2", tmp_path / "in", tmp_path / "out")
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", ["empty", "text", "zip", "cut"])
def test_files_that_are_no_videos(content, tmp_path):
    path = song_with_video(tmp_path / "in")
    pictures = np.zeros((200, 96, 96), np.uint8)
    if content == "zip":
        with path.open("wb") as file:
            np.savez(file, pictures)
    elif content == "cut":
        np.save(path, pictures)
        path.write_bytes(path.read_bytes()[:100000])
    else:
        path.write_text("" if content == "empty" else "frames\nframes\n")
    with pytest.raises(AudioError, match="get it again") as caught:
        prepare("n20emv2", tmp_path / "in", tmp_path / "out")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("count", "remarks"),
    [
        (200, ()),
        (203, ()),
        (230, ("video and audio differ by more than 0.1 s: s-1",)),
    ],
)
def test_videos_may_be_a_little_longer_or_shorter(count, remarks, tmp_path):
    path = song_with_video(tmp_path / "in")
    np.save(path, np.zeros((count, 96, 96), np.uint8))
    summary = prepare("n20emv2", tmp_path / "in", tmp_path / "out")
    assert summary.remarks == remarks
