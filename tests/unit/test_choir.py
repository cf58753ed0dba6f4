"""Synthetic choirs, and what they are written as."""

import json
from dataclasses import replace

import numpy as np
import pytest
import soundfile

import data_prep.minisinging.corpus as corpus
from data_prep import prepare
from data_prep.manifest import read_manifest
from data_prep.medleyvox import VOICES, check_leaks, read_config
from data_prep.minisinging import (
    as_medleyvox,
    as_singing_corpora,
    render_choir,
    render_clip,
)
from data_prep.minisinging.__main__ import main
from data_prep.minisinging.choir import (
    chord_part,
    draw_speech,
    fit,
    harmony_part,
    render_speech,
)
from data_prep.minisinging.score import SCALES, draw_score
from data_prep.minisinging.singer import draw_singer
from data_prep.minisinging.voice_sets import PATHS
from data_prep.singing_corpora import VOICE_SETS
from speechbrain_ext.audio import audio_info
from speechbrain_ext.errors import ConfigError
from speechbrain_ext.mixing.effects import sounding_level


def score_in(scale="major", tonic=0, seed=0):
    score = draw_score(np.random.default_rng(seed), 8.0, 55, 72)
    degrees = np.array(SCALES[scale])
    keys = [p for p in range(128) if (p - tonic) % 12 in degrees]
    notes = tuple(
        replace(n, midi=min(keys, key=lambda p: abs(p - n.midi)))
        for n in score.notes
    )
    return replace(score, notes=notes, scale=scale, tonic=tonic)


def pitches(score):
    return [note.midi for note in score.notes]


def tree(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


# -------------------------------------------------------------------- scores


def test_thirds_and_sixths_of_a_scale():
    score = score_in("major", 0)
    notes = tuple(
        replace(score.notes[0], midi=midi) for midi in (60, 62, 64, 71)
    )
    score = replace(score, notes=notes)
    # C D E B in C major: a third up is E F G D, a sixth down E F G D.
    assert pitches(harmony_part(score, 2)) == [64, 65, 67, 74]
    assert pitches(harmony_part(score, -5)) == [52, 53, 55, 62]
    assert pitches(harmony_part(score, 0)) == [60, 62, 64, 71]
    minor = replace(score, scale="minor", tonic=9)
    assert pitches(harmony_part(minor, 2)) == [64, 65, 67, 74]


@pytest.mark.parametrize("voice_type", ["bass", "soprano", "child"])
def test_parts_fit_their_singers(voice_type):
    singer = draw_singer(np.random.default_rng(0), voice_type=voice_type)
    for seed in range(10):
        score = score_in(seed=seed)
        moved = fit(score, singer)
        shifts = {
            a - b for a, b in zip(pitches(moved), pitches(score), strict=True)
        }
        assert len(shifts) == 1 and shifts.pop() % 12 == 0
        middle = np.median(pitches(moved))
        assert singer.low - 6 <= middle <= singer.high + 6
    # What is in range stays where it is.
    own = draw_score(np.random.default_rng(1), 8.0, singer.low, singer.high)
    assert fit(own, singer) == own


def test_chord_parts_sing_the_chords():
    score = score_in(seed=2)
    for voice in (1, 2, 3):
        part = chord_part(score, voice, np.random.default_rng(0))
        for note in part.notes:
            chord = next(
                c for c in score.chords if c.onset <= note.onset < c.offset
            )
            tone = chord.midi[(voice - 1) % len(chord.midi)]
            assert note.midi % 12 == tone % 12
            assert note.offset < chord.offset
    silent = replace(score, chords=())
    assert chord_part(silent, 1, np.random.default_rng(0)) == silent


def test_a_given_score_is_sung():
    score = score_in(seed=3)
    clip = render_clip(5, 8.0, score=score, band=False)
    assert clip.score is score
    drawn = render_clip(5, 8.0, band=False)
    again = render_clip(5, 8.0, band=False, score=drawn.score)
    assert np.array_equal(drawn.mix, again.mix)


# -------------------------------------------------------------------- choirs


@pytest.fixture(scope="module")
def choirs():
    return {
        task: render_choir(7, 5.0, task, n, sample_rate=16000)
        for task, n in (("unison", 3), ("duet", 2), ("main_vs_rest", 3))
    }


def test_every_voice_sounds_and_the_sum_is_not_clipped(choirs):
    for task, choir in choirs.items():
        assert choir.task == task and choir.voices.dtype == np.float32
        assert choir.voices.shape[1] == 80000
        assert np.abs(choir.mix).max() < 1
        assert all(sounding_level(voice) > 1e-3 for voice in choir.voices)
        for a in range(len(choir.voices)):
            for b in range(a):
                # Nobody is anybody's copy.
                pair = np.corrcoef(choir.voices[[a, b]])[0, 1]
                assert abs(pair) < 0.9


def test_unison_is_one_melody(choirs):
    choir = choirs["unison"]
    main, *others = (pitches(clip.score) for clip in choir.clips)
    for other in others:
        shifts = set(np.subtract(other, main))
        assert len(shifts) == 1 and shifts.pop() % 12 == 0
    onsets = [[note.onset for note in clip.score.notes] for clip in choir.clips]
    assert onsets[0] == onsets[1] == onsets[2]
    # As sung they differ, but by tenths of a second at most.
    sung = [np.array([n.onset for n in c.notes]) for c in choir.clips]
    for other in sung[1:]:
        near = np.abs(other[:, None] - sung[0][None]).min(axis=1)
        assert 0 < np.median(near) < 0.1


def test_duet_has_two_melodies(choirs):
    first, second = (clip.score for clip in choirs["duet"].clips)
    # No octaves: as pitch classes, too, they differ.
    classes = [[p % 12 for p in pitches(part)] for part in (first, second)]
    assert classes[0] != classes[1]


def test_same_choir_from_the_same_seed(choirs):
    for seed, same in ((7, True), (8, False)):
        again = render_choir(seed, 5.0, "duet", sample_rate=16000)
        equal = np.array_equal(again.voices, choirs["duet"].voices)
        assert equal == same


def test_one_person_sings_two_voices():
    choir = render_choir(3, 3.0, "unison", 2, 1, 16000)
    one, two = choir.clips
    assert one.singer == two.singer and choir.n_singers == 1
    assert not np.array_equal(one.voice, two.voice)


@pytest.mark.parametrize(
    "options, says",
    [
        ({"task": "trio"}, "task is 'trio'"),
        ({"n_voices": 3}, "duet of 3 voices: take 2 to 2"),
        ({"task": "main_vs_rest"}, "take 3 to 8"),
        ({"n_singers": 3}, "n_singers is 3: take 1 to 2"),
        ({"duration_s": 0.5}, "0.5 s is too short"),
    ],
)
def test_wrong_choirs(options, says):
    with pytest.raises(ConfigError, match=says):
        render_choir(0, **{"duration_s": 2.0, **options})


# -------------------------------------------------------------------- speech


def test_speech_is_quicker_and_narrower_than_singing():
    for seed in range(5):
        rng = np.random.default_rng(seed)
        speaker = draw_singer(rng)
        notes = draw_speech(rng, 6.0, speaker).notes
        lengths = [note.offset - note.onset for note in notes]
        assert np.median(lengths) < 0.25 and notes[-1].offset < 6.0
        assert np.ptp([note.midi for note in notes]) <= 10
        for a, b in zip(notes[:-1], notes[1:], strict=True):
            assert a.offset <= b.onset
    clip = render_speech(1, 2.0, speaker)
    assert clip.mix.shape == (32000,) and sounding_level(clip.mix) > 1e-3


# ------------------------------------------------------- MedleyVox's layout


@pytest.fixture(scope="module")
def medleyvox(tmp_path_factory):
    return as_medleyvox(
        tmp_path_factory.mktemp("choir") / "MedleyVox",
        n_unison=3,
        n_duet=1,
        n_main_vs_rest=2,
        song_s=(1.5, 2.5),
        sample_rate=16000,
        progress=False,
    )


def test_medleyvox_layout_goes_through_the_preparation(medleyvox, tmp_path):
    summary = prepare("medleyvox", medleyvox, tmp_path / "out")
    assert "Apache-2.0" in summary.license and summary.remarks == ()
    rows = read_manifest(tmp_path / "out" / "test.csv", medleyvox)
    assert [row["task"] for row in rows] == (
        3 * ["unison"] + ["duet"] + 2 * ["main_vs_rest"]
    )
    segments = {s.song_id: s for s in read_config(medleyvox / "config")}
    for row in rows:
        media = [row[c] for c in VOICES if row.get(c)]
        segment = segments[row["song_id"]]
        assert (
            len(media)
            == len(segment.voices)
            >= 2 + (row["task"] == "main_vs_rest")
        )
        assert row["n_singers"] == segment.n_singers <= len(media)
        wavs = [soundfile.read(path, dtype="float64")[0] for path in media]
        mix = soundfile.read(row["mix_wav"], dtype="float64")[0]
        assert np.array_equal(sum(wavs), mix)
        assert len(mix) / 16000 == pytest.approx(row["duration"], abs=1e-4)
        assert audio_info(media[0]).subtype == "PCM_24"
    # The main voice is the one that the configuration names.
    assert "_RAW_01_01 - seg_1.wav" in rows[0]["wav"]


def test_medleyvox_does_not_depend_on_the_number_of_jobs(medleyvox, tmp_path):
    options = json.loads((medleyvox / corpus.MARKER).read_text())
    for key in ("version", "layout"):
        del options[key]
    two = as_medleyvox(tmp_path / "b", **options, n_jobs=2, progress=False)
    assert tree(two) == tree(medleyvox)
    assert as_medleyvox(two, **options, progress=False) == two


def test_choirs_may_be_wrong(tmp_path):
    for options, says in (
        ({"voices": 9}, "voices is 9: take 3 to 8"),
        ({"voices": (5, 4)}, "the smaller number first"),
        ({"segments_per_song": 0}, "segments_per_song is 0"),
        ({"song_s": 0.5}, "more than 1 s"),
    ):
        with pytest.raises(ConfigError, match=says):
            as_medleyvox(tmp_path / "a", **options)
    with pytest.raises(ConfigError, match="unknown data set opra"):
        as_singing_corpora(tmp_path / "a", ["opra"])
    with pytest.raises(ConfigError, match="at most 60"):
        as_singing_corpora(tmp_path / "a", song_s=61)
    assert not (tmp_path / "a").exists()


# -------------------------------------------------- layouts of single voices


def test_all_corpora_of_single_voices_go_through_their_preparation(tmp_path):
    assert list(PATHS) == list(VOICE_SETS)
    folder, out = tmp_path / "data", tmp_path / "out"
    options = {
        "datasets": list(PATHS),
        "n_singers": 2,
        "songs_per_singer": 1,
        "song_s": 3.5,
        "sample_rate": 8000,
        "progress": False,
    }
    summary = prepare(
        "minisinging", folder, out, layout="singing_corpora", **options
    )
    assert "Apache-2.0" in summary.license
    rows = [
        row
        for path in summary.manifests.values()
        for row in read_manifest(path, folder)
    ]
    assert {row["dataset"] for row in rows} == {*PATHS}
    assert {row["license"] for row in rows} == {"Apache-2.0"}
    check_leaks(rows)
    kinds = {row["dataset"] for row in rows if row["kind"] == "speech"}
    assert kinds == {"librispeech"}
    singers = {}
    for row in rows:
        assert row["singer"]
        singers.setdefault(row["singer"], set()).add(row["split"])
    assert all(len(splits) == 1 for splits in singers.values())
    # What has long rests became pieces.
    for name in ("kiritan", "medleydb"):
        pieces = [row for row in rows if row["dataset"] == name]
        assert max(row["duration"] for row in pieces) < 3.5
    # Alone, each is known to be synthetic, too.
    alone = prepare("csd", folder / "csd", tmp_path / "alone")
    assert "Apache-2.0" in alone.license


def test_songs_of_several_singers_are_in_time(tmp_path):
    folder = as_singing_corpora(
        tmp_path / "data",
        ["k_multisinger"],
        n_singers=2,
        songs_per_singer=2,
        song_s=(3.5, 5.0),
        sample_rate=8000,
        progress=False,
    )
    out = tmp_path / "out"
    prepare("k_multisinger", folder / "k_multisinger", out, valid_share=0)
    rows = read_manifest(out / "train.csv", folder / "k_multisinger")
    groups = {}
    for row in rows:
        groups.setdefault(row["song"], []).append(row)
    assert len(groups) == 2 and "" not in groups
    for first, second in groups.values():
        assert first["singer"] != second["singer"]
        assert first["duration"] == second["duration"]
        a, b = (
            np.abs(soundfile.read(row["wav"])[0]) for row in (first, second)
        )
        a, b = (
            np.convolve(x, np.ones(800) / 800, "same")[::400] for x in (a, b)
        )
        # Loud and silent at the same times, more than a second apart.
        assert np.corrcoef(a, b)[0, 1] > np.corrcoef(a, np.roll(b, 20))[0, 1]


def test_command_line(tmp_path, capsys):
    command = ["medleyvox", str(tmp_path / "a"), "--n-unison", "1"]
    command += ["--n-duet", "0", "--n-main-vs-rest", "0", "--song-s", "1.5"]
    assert main([*command, "--voices", "3", "--sample-rate", "8000"]) == 0
    assert len(list((tmp_path / "a" / "unison").rglob("mix/*.wav"))) == 1
    command = ["singing_corpora", str(tmp_path / "b"), "--datasets", "csd"]
    command += ["--song-s", "3.5", "--songs-per-singer", "1"]
    assert main([*command, "--sample-rate", "8000"]) == 0
    assert (tmp_path / "b" / "csd" / "english" / "wav" / "en001a.wav").exists()
    assert (
        main(["singing_corpora", str(tmp_path / "c"), "--datasets", "x"]) == 2
    )
    assert "unknown data set x" in capsys.readouterr().err
