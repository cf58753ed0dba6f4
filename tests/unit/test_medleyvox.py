"""MedleyVox: built from a tiny MedleyDB, and prepared as it was built."""

import json
import shutil

import numpy as np
import pytest
import soundfile

from data_prep import medleyvox, prepare
from data_prep.manifest import read_manifest, segments
from data_prep.medleyvox import (
    TASKS,
    TEST_ARTISTS,
    TEST_SONGS,
    artist_key,
    exact_sum,
    is_test_artist,
    read_config,
    task_rows,
)
from speechbrain_ext.audio import audio_info
from speechbrain_ext.errors import AudioError, ConfigError, ManifestError

RATE = 44100


def segment(song, task, stems, start=0.5, stop=1.5, gains=None, singers=1):
    """One excerpt as the authors' configuration writes it."""
    names = [f"{song}_RAW_{k:02d}_01" for k in stems]
    return {
        "song_name": song,
        "type": task,
        "num_of_singers": singers,
        "num_of_voices": len(names),
        "start_sec": start,
        "end_sec": stop,
        "main_vocal": names[0],
        "other_vocals": names[1:],
        "gain_adjustment": dict(
            zip(names, gains or [-6] * len(names), strict=True)
        ),
    }


def write_config(folder, **songs):
    for song, parts in songs.items():
        path = folder / f"{song}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(parts))
    return folder


def write_stems(folder, song, count, seconds=2.0, peak=0.5):
    place = folder / "V1" / song / f"{song}_RAW"
    place.mkdir(parents=True)
    rng = np.random.default_rng(len(song))
    for k in range(1, count + 1):
        wav = rng.uniform(-peak, peak, round(seconds * RATE))
        soundfile.write(place / f"{song}_RAW_{k:02d}_01.wav", wav, RATE)
    return place


@pytest.fixture
def medleydb(tmp_path):
    """Two songs with a segment of each task."""
    folder = tmp_path / "MedleyDB"
    write_stems(folder, "Ana_One", 4)
    write_stems(folder, "TheBens_Two", 2)
    write_config(
        tmp_path / "config" / "V1",
        Ana_One={
            "seg_1": segment("Ana_One", "unison", [2, 1]),
            "seg_2": segment(
                "Ana_One", "main_vs_rest", [3, 1, 4], 0.25, 1.0, [6, 0, -12], 2
            ),
        },
        TheBens_Two={
            "seg_1": segment("TheBens_Two", "duet", [1, 2], singers=2)
        },
    )
    return folder


def build(folder, out, **options):
    config = folder.parent / "config"
    return prepare("medleyvox", folder, out, config=config, **options)


def read(path):
    return soundfile.read(path, dtype="float64")[0]


def voices(row):
    return [row[c] for c in medleyvox.VOICES if row.get(c)]


# ------------------------------------------------------------------ building


@pytest.mark.parametrize("subtype", ["float", "pcm_24"])
def test_voices_are_cut_scaled_and_add_up_exactly(subtype, medleydb, tmp_path):
    out = tmp_path / "out"
    build(medleydb, out, subtype=subtype)
    rows = {r["song_id"]: r for r in read_manifest(out / "test.csv", medleydb)}
    assert {key: r["task"] for key, r in rows.items()} == {
        "Ana_One_seg_1": "unison",
        "Ana_One_seg_2": "main_vs_rest",
        "TheBens_Two_seg_1": "duet",
    }
    row = rows["Ana_One_seg_2"]
    assert (row["n_singers"], row["song"]) == (2, "Ana_One")
    assert row["singer"] == "artist - ana" and row["kind"] == "singing"
    assert row["duration"] == 0.75
    # The main voice, stem 3, comes first, 6 dB up.
    place = medleydb / "V1" / "Ana_One" / "Ana_One_RAW"
    for path, (stem, gain_db) in zip(
        voices(row), ((3, 6), (1, 0), (4, -12)), strict=True
    ):
        whole = read(place / f"Ana_One_RAW_{stem:02d}_01.wav")
        wanted = whole[RATE // 4 : RATE] * 10 ** (gain_db / 20)
        assert path.endswith(f"gt/Ana_One_RAW_{stem:02d}_01 - seg_2.wav")
        assert np.abs(read(path) - wanted).max() <= 2**-22
    assert row["mix_wav"].endswith("mix/Ana_One - seg_2.wav")
    for row in rows.values():
        total = sum(map(read, voices(row)))
        assert np.array_equal(total, read(row["mix_wav"]))
    kinds = {audio_info(rows["Ana_One_seg_1"][c]).subtype for c in ("wav",)}
    assert kinds == {{"float": "FLOAT", "pcm_24": "PCM_24"}[subtype]}


def test_nothing_is_cut_off_at_full_scale(tmp_path):
    folder = tmp_path / "MedleyDB"
    write_stems(folder, "A_B", 2, peak=0.99)
    write_config(
        tmp_path / "config",
        A_B={"seg_1": segment("A_B", "duet", [1, 2], gains=[9, 0])},
    )
    out = tmp_path / "out"
    summary = build(folder, out, subtype="pcm_24")
    (row,) = read_manifest(out / "test.csv", folder)
    mix = read(row["mix_wav"])
    assert np.abs(mix).max() > 2
    assert np.array_equal(sum(map(read, voices(row))), mix)
    assert any("written as floats: A_B_seg_1" in r for r in summary.remarks)


@pytest.mark.parametrize("level", [1e-4, 0.3, 1.0, 7.0])
def test_exact_sum(level):
    rng = np.random.default_rng(1)
    parts = rng.uniform(-level, level, (6, 1000))
    voices, mix = exact_sum(parts)
    assert voices.dtype == mix.dtype == np.float32
    for order in (range(6), (3, 1, 0, 5, 2, 4)):
        total = np.zeros(1000, np.float32)
        for k in order:
            total = total + voices[k]  # in float32
        assert np.array_equal(total, mix)
    assert np.abs(voices - parts).max() <= max(1, 8 * level) * 2**-23
    silent = exact_sum(np.zeros((2, 3)))
    assert not silent[0].any() and not silent[1].any()


def test_built_again_and_in_parallel(medleydb, tmp_path):
    build(medleydb, tmp_path / "one")
    assert not build(medleydb, tmp_path / "one").fresh
    build(medleydb, tmp_path / "two", n_jobs=2)
    for path in (tmp_path / "one" / "audio").rglob("*.wav"):
        other = tmp_path / "two" / path.relative_to(tmp_path / "one")
        # The bytes differ in the time of day, which is part of the format.
        assert np.array_equal(read(path), read(other))


def test_what_may_be_missing(medleydb, tmp_path):
    with pytest.raises(ManifestError, match="with config"):
        prepare("medleyvox", medleydb, tmp_path / "out")
    with pytest.raises(ConfigError, match="subtype is 'mp3'"):
        build(medleydb, tmp_path / "out", subtype="mp3")
    place = medleydb / "V1" / "Ana_One" / "Ana_One_RAW"
    short = place / "Ana_One_RAW_04_01.wav"
    soundfile.write(short, np.zeros(RATE // 2), RATE)
    with pytest.raises(AudioError, match="ends at 0.500 s, but Ana_One_seg_2"):
        build(medleydb, tmp_path / "out")
    short.unlink()
    with pytest.raises(ManifestError, match="1 of 2 songs lack stems"):
        build(medleydb, tmp_path / "out")
    shutil.rmtree(medleydb / "V1")
    with pytest.raises(ManifestError, match="2 of 2 songs lack stems"):
        build(medleydb, tmp_path / "out")
    assert not (tmp_path / "out").exists()


# ------------------------------------------------------------- configuration


@pytest.mark.parametrize(
    "change, says",
    [
        ({"type": "trio"}, "type 'trio' is none of unison"),
        ({"end_sec": 0.5}, "runs from 0.5 s to 0.5 s"),
        ({"start_sec": "soon"}, "could not convert"),
        ({"num_of_voices": 3}, "says 3 voices and names 2"),
        ({"num_of_singers": 3}, "2 voices of 3 singers"),
        ({"type": "main_vs_rest"}, "takes 3 or more"),
        ({"other_vocals": ["x"]}, "no usable 'x'"),
        ({"gain_adjustment": None}, "no usable"),
    ],
)
def test_broken_configuration_is_refused(change, says, tmp_path):
    good = segment("A_B", "duet", [1, 2])
    write_config(tmp_path, A_B={"seg_1": good | change})
    with pytest.raises(ManifestError, match=says) as caught:
        read_config(tmp_path)
    assert "A_B.json: seg_1" in str(caught.value)
    write_config(tmp_path, A_B={"seg_1": good})
    assert len(read_config(tmp_path)) == 1
    write_config(tmp_path / "again", A_B={"seg_1": good})
    with pytest.raises(ManifestError, match="is also in"):
        read_config(tmp_path)


def test_published_numbers_of_segments(medleydb, tmp_path):
    """Files as many as the authors have: 201, 116 and 63 in 23 songs."""
    songs = sorted(TEST_SONGS)
    assert len(songs) == 23
    parts = {song: {} for song in songs}
    number = 0
    for task, count in TASKS.items():
        for _ in range(count):
            song = songs[number % 23]
            number += 1
            stems = [1, 2, 3] if task == "main_vs_rest" else [1, 2]
            name = f"seg_{len(parts[song]) + 1}"
            parts[song][name] = segment(song, task, stems)
    write_config(tmp_path / "published", **parts)
    found = read_config(tmp_path / "published")
    assert len(found) == 380 and len({s.song for s in found}) == 23
    counts = [sum(s.task == task for s in found) for task in TASKS]
    assert counts == [201, 116, 63]
    # In natural order: seg_2 before seg_10.
    assert [s.name for s in found][:3] == ["seg_1", "seg_2", "seg_3"]
    # Of fewer, the preparation says so.
    summary = build(medleydb, tmp_path / "out")
    assert summary.remarks[:3] == (
        "unison has 1 of 201 segments",
        "duet has 1 of 116 segments",
        "main_vs_rest has 1 of 63 segments",
    )


# ---------------------------------------------------------------- leak guard


def test_artists_of_the_test_set_are_known_by_all_their_names():
    assert "FacesOnFilm_WaitingForGa" in TEST_SONGS
    assert len(TEST_ARTISTS) == 21
    for name in (
        "Faces On Film",
        "FacesOnFilm",
        "Clara Berry And Wooldog",
        "Clara Berry & Wooldog",
        "Meaxic",
        "artist - lewisandclarke",
        "The Ton-Tons",
    ):
        assert is_test_artist(name), name
    for name in ("", "Music Delta", "nus48e - ADIZ", "Wooldog"):
        assert not is_test_artist(name), name
    assert artist_key("Sigur Rós 2") == "sigurrós2"


# ------------------------------------------------- a test set that was built


def as_built(out, rows, rest="main_vs_rest"):
    """Copy what was built into the folders of the authors' script."""
    for row in rows:
        task = {"main_vs_rest": rest}.get(row["task"], row["task"])
        name = row["song_id"].removeprefix(row["song"] + "_")
        place = out / task / row["song"] / name
        (place / "gt").mkdir(parents=True)
        (place / "mix").mkdir()
        for path in voices(row):
            shutil.copy(path, place / "gt")
        shutil.copy(row["mix_wav"], place / "mix")
    return out


@pytest.mark.parametrize("rest", ["main_vs_rest", "rest"])
def test_a_test_set_that_was_built_before(rest, medleydb, tmp_path):
    build(medleydb, tmp_path / "one")
    rows = read_manifest(tmp_path / "one" / "test.csv", medleydb)
    folder = as_built(tmp_path / "MedleyVox", rows, rest)
    with pytest.raises(ManifestError, match="which voice is the main one"):
        prepare("medleyvox", folder, tmp_path / "two")
    shutil.copytree(tmp_path / "config", folder / "config")
    prepare("medleyvox", folder, tmp_path / "two")
    again = read_manifest(tmp_path / "two" / "test.csv", folder)
    media = {"wav", "mix_wav", *medleyvox.VOICES}
    for old, new in zip(rows, again, strict=True):
        assert {k: v for k, v in old.items() if k not in media} == {
            k: v for k, v in new.items() if k not in media
        }
        names = [path.rsplit("/")[-1] for path in voices(old)]
        assert names == [path.rsplit("/")[-1] for path in voices(new)]


def test_mixtures_that_are_no_sums_are_told(medleydb, tmp_path):
    build(medleydb, tmp_path / "one")
    rows = read_manifest(tmp_path / "one" / "test.csv", medleydb)
    folder = as_built(tmp_path / "MedleyVox", rows[:1])
    mix = next(folder.rglob("mix/*.wav"))
    wav = read(mix)
    # Sixteen bits are near enough; clipping is not.
    for number, (changed, far) in enumerate(
        (
            (np.rint(wav * 2**15) / 2**15, False),
            (np.clip(wav, -0.3, 0.3), True),
        )
    ):
        soundfile.write(mix, changed, RATE, "FLOAT")
        out = tmp_path / f"two{number}"
        summary = prepare("medleyvox", folder, out)
        assert far == any("not the sum" in r for r in summary.remarks)
        (row,) = read_manifest(out / "test.csv", folder)
        # Without a configuration the number of singers is unknown.
        assert row.get("n_singers") is None
    soundfile.write(mix, wav[:-5], RATE, "FLOAT")
    with pytest.raises(AudioError, match="44100 samples at 44100 Hz"):
        prepare("medleyvox", folder, tmp_path / "three")


def test_task_rows():
    rows = [{"task": task} for task in ("unison", "duet", "main_vs_rest")]
    assert task_rows(rows, "main_vs_rest") == rows[2:]
    assert task_rows(rows, "n_singing") == rows
    with pytest.raises(ConfigError, match="task is 'rest'"):
        task_rows(rows, "rest")
    assert segments(36.0, 5.0)[-1][1] == 36.0
