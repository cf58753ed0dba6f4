"""MUSAN on disk: pieces, splits that share nothing, babble, resuming."""

import csv
import json
import os

import numpy as np
import pytest

from data_prep import download, prepare
from data_prep.musan import INDEX, KINDS, pieces, read_index, split_names
from speechbrain_ext.audio import read_audio, write_audio
from speechbrain_ext.cli import main
from speechbrain_ext.errors import (
    AudioError,
    ConfigError,
    ManifestError,
    OutputError,
)
from speechbrain_ext.mixing.noise import make_noise, recordings

SPEECH = 12
SPLITS = ("train", "valid", "test")
OPTIONS = {
    "n_train": 4,
    "n_valid": 2,
    "n_test": 2,
    "voices": 2,
    "piece_s": 1.0,
    "long_files": True,
}


@pytest.fixture(scope="module")
def musan(tmp_path_factory):
    """MUSAN's layout in small: file k of a kind holds k / 100 everywhere.

    Speech lasts 2.5 s, so with pieces of 1 s there are two whole ones and one
    of half a second; sounds last 0.5 s, 1 s and 3.2 s by turns.
    """
    root = tmp_path_factory.mktemp("corpora") / "musan"
    lengths = {"speech": [2.5], "music": [1.5], "noise": [0.5, 1.0, 3.2]}
    sources = {
        "speech": [("librivox", SPEECH - 3), ("us-gov", 3)],
        "music": [("fma", 6)],
        "noise": [("free-sound", 36), ("sound-bible", 24)],
    }
    for kind, groups in sources.items():
        for source, count in groups:
            folder = root / kind / source
            folder.mkdir(parents=True)
            (folder / "LICENSE").write_text("public domain\n")
            names = [f"{kind}-{source}-{k:04d}" for k in range(count)]
            for k, name in enumerate(names):
                length = lengths[kind][k % len(lengths[kind])]
                wav = np.full(round(16000 * length), (k + 1) / 100)
                write_audio(folder / f"{name}.wav", wav, 16000)
            if kind == "music":
                lines = [
                    f"{name} rock Y artist{k // 2}\n"
                    for k, name in enumerate(names)
                ]
                (folder / "ANNOTATIONS").write_text("".join(lines))
    (root / "README").write_text("A corpus\n")
    return root


@pytest.fixture(scope="module")
def prepared(musan, tmp_path_factory):
    """All kinds of clips of it."""
    out = tmp_path_factory.mktemp("noise") / "musan"
    prepare("musan", musan, out, kinds=list(KINDS), **OPTIONS)
    return out


def value(clip):
    """Constant that a clip holds, in hundredths."""
    wav = read_audio(clip.path)
    assert len(wav) == round(16000 * clip.duration) and np.ptp(wav) == 0
    return 100 * float(wav[0])


def test_pieces_by_hand():
    assert pieces(32, 10) == [(0, 10), (10, 10), (20, 10), (30, 2)]
    assert pieces(9, 10) == [(0, 9)] and pieces(20, 10)[-1] == (10, 10)
    # As published, what is no longer than a piece is lost.
    assert pieces(10, 10, lose_short=True) == []
    assert pieces(11, 10, lose_short=True) == [(0, 10), (10, 1)]


def test_splits_by_hand():
    for count, sizes in ((1, (1, 0, 0)), (2, (2, 0, 0)), (3, (1, 1, 1))):
        found = list(split_names(map(str, range(count)), 0.1, 0.1).values())
        assert tuple(map(found.count, SPLITS)) == sizes
    names = [str(k) for k in range(100)]
    first = split_names(names, 0.1, 0.1)
    assert first == split_names(reversed(names), 0.1, 0.1)
    assert first != split_names(names, 0.1, 0.1, seed=1)
    found = list(first.values())
    assert tuple(map(found.count, SPLITS)) == (80, 10, 10)


def test_nobody_and_no_sound_is_in_two_splits(prepared):
    clips = read_index(prepared)
    assert {clip.kind for clip in clips} == set(KINDS)
    speakers, files = {}, {}
    for clip in clips:
        for name in filter(None, clip.speaker.split(";")):
            speakers.setdefault(name, set()).add(clip.split)
        if clip.file:
            files.setdefault(clip.file, set()).add(clip.split)
    assert all(len(splits) == 1 for splits in speakers.values())
    assert all(len(splits) == 1 for splits in files.values())
    # 12 people who speak, 3 who play; all 12 + 6 + 60 recordings.
    assert len(speakers) == 15 and len(files) == 78


def test_shares_of_the_splits(prepared):
    clips = read_index(prepared)
    # Of 12 and 8 sounds of a second; an eighth of 12 is rounded to 2.
    for source, expected in (
        ("free-sound", (8, 2, 2)),
        ("sound-bible", (6, 1, 1)),
    ):
        splits = [
            clip.split
            for clip in clips
            if (clip.kind, clip.source, clip.duration)
            == ("natural", source, 1.0)
            and clip.start == 0
            and clip.path.endswith(f"{clip.file}.wav")
        ]
        assert tuple(map(splits.count, SPLITS)) == expected
    people = {c.speaker: c.split for c in clips if c.kind == "speech"}
    found = list(people.values())
    assert tuple(map(found.count, SPLITS)) == (10, 1, 1)


def test_clips_are_the_recordings(musan, prepared):
    clips = read_index(prepared)
    assert sum(clip.kind == "speech" for clip in clips) == 3 * SPEECH
    for clip in clips:
        if clip.kind == "babble":
            continue
        assert value(clip) == pytest.approx(
            int(clip.file[-4:]) + 1, abs=100 / 2**15
        )
        original = next(musan.rglob(f"{clip.file}.wav"))
        stop = clip.start + clip.duration
        assert np.array_equal(
            read_audio(clip.path), read_audio(original, clip.start, stop)
        )
    lengths = {c.duration for c in clips if c.kind == "natural"}
    # Of 3.2 s, three pieces of a second; 0.2 s and 0.5 s are too short.
    assert lengths == {1.0}
    assert {c.duration for c in clips if c.kind == "noise"} == {0.5, 1.0, 0.2}


def test_babble_is_the_mean_of_its_speakers(prepared):
    babble = [clip for clip in read_index(prepared) if clip.kind == "babble"]
    assert [clip.split for clip in babble].count("train") == 4
    for clip in babble:
        assert clip.duration == 1.0
        numbers = [int(name[-4:]) + 1 for name in clip.speaker.split(";")]
        # Two pieces, perhaps of one recording.
        mean = np.mean(numbers if len(numbers) == 2 else 2 * numbers)
        assert value(clip) == pytest.approx(mean, abs=100 / 2**15)


def test_natural_noise_is_short_files_unless_told_otherwise(musan, tmp_path):
    options = OPTIONS | {"kinds": "natural"}
    found = {}
    for name, more in (
        ("ours", {"long_files": False}),
        ("long", {}),
        ("published", {"published": True}),
    ):
        prepare("musan", musan, tmp_path / name, **options | more)
        clips = read_index(tmp_path / name)
        found[name] = {(clip.file, clip.start) for clip in clips}
    starts = {start for _, start in found["published"]}
    # 20 files of 1 s, and 20 of 3.2 s that give three whole pieces each.
    assert len(found["ours"]) == 20 and len(found["published"]) == 60
    assert found["long"] == found["ours"] | found["published"]
    assert starts == {0.0, 1.0, 2.0}


def test_published_babble_is_cut_to_its_shortest_piece(musan, tmp_path):
    options = OPTIONS | {"kinds": "babble", "voices": 3, "published": True}
    prepare("musan", musan, tmp_path, **options)
    # Of the one speaker who tests, all three pieces.
    clips = [clip for clip in read_index(tmp_path) if clip.split == "test"]
    assert {clip.duration for clip in clips} == {0.5}
    with pytest.raises(ManifestError, match="valid gives 2 pieces of 1 s, fe"):
        options["published"] = False
        prepare("musan", musan, tmp_path / "none", **options)
    assert not (tmp_path / "none").exists()


def test_speakers_may_be_named(musan, tmp_path):
    table = tmp_path / "speakers.csv"
    lines = [f"speech-librivox-{k:04d},reader{k % 3}\n" for k in range(9)]
    table.write_text("".join(lines))
    prepare("musan", musan, tmp_path / "a", kinds="speech", speakers=table)
    splits = {}
    for clip in read_index(tmp_path / "a"):
        splits.setdefault(clip.speaker, set()).add(clip.split)
    # Three readers of three chapters each, and three officials.
    assert len(splits) == 6 and all(len(s) == 1 for s in splits.values())
    table.write_text("one\n")
    with pytest.raises(ManifestError, match="is no table of file and speaker"):
        prepare("musan", musan, tmp_path / "b", speakers=table)


def contents(folder):
    """Bytes of all files by name."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "prepared.json"
    }


def test_any_number_of_workers_and_a_stop_in_between(
    musan, tmp_path, monkeypatch, capsys
):
    prepare("musan", musan, tmp_path / "one", **OPTIONS)
    prepare("musan", musan, tmp_path / "two", n_jobs=2, **OPTIONS)
    one = contents(tmp_path / "one")
    assert one == contents(tmp_path / "two")

    import data_prep.musan as module

    made = []

    def stops(*arguments, **options):
        if len(made) == 5:
            raise KeyboardInterrupt
        made.append(arguments[0])
        return write_audio(*arguments, **options)

    monkeypatch.setattr(module, "write_audio", stops)
    out = tmp_path / "three"
    with pytest.raises(KeyboardInterrupt):
        prepare("musan", musan, out, **OPTIONS)
    assert not (out / INDEX).exists()
    # An unfinished folder is not taken for any folder of recordings.
    with pytest.raises(AudioError, match="is not finished"):
        make_noise("babble", 100, 0, out, "train")
    # Nor is it gone on with for another result.
    with pytest.raises(OutputError, match="with seed=0, not 1"):
        prepare("musan", musan, out, **OPTIONS, seed=1)
    first = {path: os.stat(path).st_mtime_ns for path in made}
    monkeypatch.setattr(module, "write_audio", write_audio)
    prepare("musan", musan, out, **OPTIONS)
    assert contents(out) == one
    assert first == {path: os.stat(path).st_mtime_ns for path in made}

    capsys.readouterr()
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*")}
    assert not prepare("musan", musan, out, **OPTIONS).fresh
    assert "nothing to do" in capsys.readouterr().err
    assert before == {p: p.stat().st_mtime_ns for p in out.rglob("*")}
    # A lost clip is made again.
    (out / "babble/train/00001.wav").unlink()
    assert prepare("musan", musan, out, **OPTIONS).fresh
    assert contents(out) == one


def test_another_setting_is_refused_or_replaces(musan, tmp_path):
    out = tmp_path / "out"
    prepare("musan", musan, out, **OPTIONS)
    (out / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="with voices=2, not 1: choose anot"):
        prepare("musan", musan, out, **OPTIONS | {"voices": 1})
    options = OPTIONS | {"voices": 1, "n_train": 1}
    prepare("musan", musan, out, overwrite=True, **options)
    files = {path.name for path in (out / "babble/train").iterdir()}
    assert files == {"00000.wav"} and (out / "mine.txt").exists()
    marker = json.loads((out / "prepared.json").read_text())
    assert marker["options"]["voices"] == 1 and INDEX in marker["files"]
    # Files of others are not taken for ours.
    other = tmp_path / "other" / "babble" / "train"
    other.mkdir(parents=True)
    (other / "00000.wav").write_text("mine")
    with pytest.raises(OutputError, match="00000.wav: exists already"):
        prepare("musan", musan, tmp_path / "other", **OPTIONS)
    assert (other / "00000.wav").read_text() == "mine"


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"kinds": ["rain"]}, ConfigError, "kinds has 'rain': use some of bab"),
        ({"kinds": []}, ConfigError, "kinds has None"),
        ({"n_test": -1}, ConfigError, "n_test is -1"),
        ({"voices": 0}, ConfigError, "voices is 0"),
        ({"piece_s": 0.5}, ConfigError, "piece_s is 0.5: give seconds, 1 or"),
        ({"voices": 99}, ManifestError, "train gives 20 pieces of 1 s, fewer"),
        ({"rate": 1}, ConfigError, "musan has no option rate"),
    ],
)
def test_wrong_options(musan, tmp_path, options, error, message):
    with pytest.raises(error, match=message):
        prepare("musan", musan, tmp_path / "out", **OPTIONS | options)
    assert not (tmp_path / "out").exists()


def test_wrong_folders(tmp_path):
    with pytest.raises(ManifestError, match="no such folder: give the folder"):
        prepare("musan", tmp_path / "nowhere", tmp_path / "out")
    with pytest.raises(ManifestError, match="holds no speech: expected speech"):
        prepare("musan", tmp_path, tmp_path / "out")
    with pytest.raises(ManifestError, match="get musan.tar.gz from https://"):
        download("musan", tmp_path)
    (tmp_path / INDEX).write_text("path,kind\na,b\n")
    with pytest.raises(ManifestError, match="is no table of clips"):
        read_index(tmp_path)


def test_command_line(musan, tmp_path, capsys):
    # The folder around `musan` will do.
    command = ["prepare", "musan", str(musan.parent), str(tmp_path / "out")]
    for key, setting in OPTIONS.items():
        command += ["--set", f"{key}={setting}"]
    assert main(command) == 0
    table = capsys.readouterr().out
    assert "licence: CC BY 4.0" in table and "arXiv 1510.08484" in table
    lines = [line.split() for line in table.splitlines()]
    assert ["babble", "train", "4", "0.00"] in lines
    assert main([*command, "--segment-s", "5"]) == 2
    assert "musan has no option segment_s" in capsys.readouterr().err
    assert main(["prepare", "--list"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["musan", "CC", "BY", "4.0"] in [words[:4] for words in lines]
    with (tmp_path / "out" / INDEX).open(newline="") as stream:
        row = next(csv.DictReader(stream))
    assert row["path"] == "babble/train/00000.wav" and row["kind"] == "babble"


def test_a_split_has_its_own_noise(prepared):
    found = {
        split: set(recordings(prepared, kind, split))
        for kind in ("babble", "natural")
        for split in SPLITS
    }
    assert all(f"/{split}/" in p for split in SPLITS for p in found[split])
    with pytest.raises(ConfigError, match="belong to splits: say which"):
        make_noise("natural", 100, 0, prepared)
    with pytest.raises(AudioError, match="no clips of natural noise for dev"):
        make_noise("natural", 100, 0, prepared, "dev")
