"""MIR-1K from a small folder written by hand, and what may go wrong."""

import numpy as np
import pytest
import soundfile

from data_prep import download, prepare
from data_prep.corpus import held_out
from data_prep.manifest import read_manifest
from data_prep.mir1k import splits
from speechbrain_ext.audio import read_audio
from speechbrain_ext.errors import (
    AudioError,
    ConfigError,
    ManifestError,
    NoteError,
    OutputError,
)
from speechbrain_ext.f0 import read_f0

RATE = 16000
CLIPS = ("amy_1_01", "amy_1_02", "leon_3_01")


def clip(folder, name, seconds=1.0, frames=49, channels=(0.25, 0.5)):
    """A clip whose channels are constant, 0.25 left and 0.5 right."""
    for part in ("Wavfile", "PitchLabel"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    soundfile.write(
        folder / "Wavfile" / f"{name}.wav",
        np.tile(channels, (round(seconds * RATE), 1)),
        RATE,
    )
    labels = "0\n" + "60.5\n" * (frames - 1)
    (folder / "PitchLabel" / f"{name}.pv").write_text(labels)


@pytest.fixture
def corpus(tmp_path):
    """Two clips of one singer and song, one of another singer."""
    folder = tmp_path / "MIR-1K"
    for name in CLIPS:
        clip(folder, name)
    return folder


def rows(out, split, folder):
    return read_manifest(out / f"{split}.csv", folder)


def test_manifest(corpus, tmp_path):
    out = tmp_path / "out"
    summary = prepare("mir1k", corpus, out)
    assert (out / "test.csv").read_text().splitlines() == [
        "ID,song_id,segment,n_segments,start,stop,duration,split,singer,"
        "license,wav,mix_wav,accomp_wav,f0",
        "leon_3_01_1,leon_3_01,1,1,0,1,1,test,leon,unstated,"
        "{data_root}/Wavfile/leon_3_01.wav#1,"
        "{data_root}/Wavfile/leon_3_01.wav,"
        "{data_root}/Wavfile/leon_3_01.wav#0,"
        "{data_root}/PitchLabel/leon_3_01.pv",
    ]
    assert sorted(p.name for p in out.iterdir()) == [
        "prepared.json",
        "test.csv",
        "train.csv",
        "valid.csv",
    ]
    assert summary.remarks == ()
    # Of two training clips one is held out.
    assert summary.table().splitlines()[1:6] == [
        "split    songs  segments    hours     notes  singers",
        "train        1         1     0.00         -        1",
        "valid        1         1     0.00         -        1",
        "test         1         1     0.00         -        1",
        "all          3         3     0.00         -        2",
    ]
    assert "no licence text found; academic use" in summary.table()


def test_what_the_media_hold(corpus, tmp_path):
    prepare("mir1k", corpus, tmp_path / "out")
    (row,) = rows(tmp_path / "out", "test", corpus)
    assert set(read_audio(row["accomp_wav"])) == {0.25}
    assert set(read_audio(row["wav"])) == {0.5}
    assert set(read_audio(row["mix_wav"])) == {0.375}
    contour = read_f0(row["f0"])
    assert contour.times[[0, -1]].tolist() == pytest.approx([0.02, 0.98])
    assert contour.midi[:2].tolist() == [0, 60.5]


@pytest.mark.parametrize(
    ("place", "listed"),
    [("", False), ("", True), ("Wavfile", False), ("Wavfile", True)]
    + [("PitchLabel", False)],
)
def test_folders_that_may_not_be_read(corpus, tmp_path, lock, place, listed):
    lock(corpus / place, listed)
    errors = ManifestError, AudioError
    with pytest.raises(errors, match="cannot be read.*Permission denied"):
        prepare("mir1k", corpus, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_parent_folder_and_flac(corpus, tmp_path):
    wav = corpus / "Wavfile" / "leon_3_01.wav"
    samples, rate = soundfile.read(wav)
    soundfile.write(wav.with_suffix(".flac"), samples, rate)
    wav.unlink()
    prepare("mir1k", tmp_path, tmp_path / "out")
    (row,) = rows(tmp_path / "out", "test", tmp_path)
    assert row["wav"] == f"{corpus}/Wavfile/leon_3_01.flac#1"


def test_wav_is_preferred_and_hidden_files_are_not_clips(corpus, tmp_path):
    folder = corpus / "Wavfile"
    soundfile.write(folder / "leon_3_01.flac", np.zeros((9, 2)), RATE)
    (folder / "._leon_3_01.wav").write_text("of a file manager")
    summary = prepare("mir1k", corpus, tmp_path / "out")
    (row,) = rows(tmp_path / "out", "test", corpus)
    assert row["mix_wav"].endswith("leon_3_01.wav")
    assert summary.remarks == ()


def test_second_run_returns_at_once_and_sees_changes(corpus, tmp_path):
    out = tmp_path / "out"
    first = prepare("mir1k", corpus, out)
    second = prepare("mir1k", corpus, out)
    assert (first.fresh, second.fresh) == (True, False)
    assert first.table() == second.table()
    with pytest.raises(OutputError, match="protocol=huang, not random_song"):
        prepare("mir1k", corpus, out, protocol="random_song")
    clip(corpus, "leon_3_01", seconds=1.02)
    with pytest.raises(OutputError, match="before the corpus .* changed"):
        prepare("mir1k", corpus, out)


def test_clips_without_a_partner_are_named(corpus, tmp_path):
    (corpus / "Wavfile" / "amy_1_01.wav").unlink()
    (corpus / "PitchLabel" / "amy_1_02.pv").unlink()
    summary = prepare("mir1k", corpus, tmp_path / "out")
    assert summary.remarks == (
        "1 of 2 annotated songs have no audio and are left out: amy_1_01",
        "1 of 2 songs with audio have no annotation and are left out: amy_1_02",
    )
    assert list(summary.splits) == ["test"]


def test_training_singers_and_four_clips_for_validation():
    clips = [f"{s}_1_{k:02}" for s in ("amy", "abjones") for k in range(40)]
    split = splits([*clips, "Ani_1_01", "leon_1_01"])
    assert split["Ani_1_01"] == split["leon_1_01"] == "test"
    # 4 of 80; of 21 clips a tenth, 2.
    valid = {name for name, part in split.items() if part == "valid"}
    assert valid == held_out(clips, 4 / 80) and len(valid) == 4
    assert list(splits(clips[:21]).values()).count("valid") == 2
    assert list(split.values()).count("train") == 76


def test_random_songs_are_in_one_split():
    names = [
        f"{singer}_{song}_{k:02}"
        for singer in ("amy", "Ani", "leon", "titon")
        for song in range(1, 6)
        for k in range(3)
    ]
    split = splits(names, "random_song")
    assert splits(reversed(names), "random_song") == split
    # Of 20 songs with 3 clips each, 2 are for testing and 2 for validation.
    counts = {
        part: list(split.values()).count(part) for part in ("test", "valid")
    }
    assert counts == {"test": 6, "valid": 6}
    for name in names:
        assert split[name] == split[name[:-2] + "00"]


# --- Whole songs -----------------------------------------------------------


def whole_song(folder, name, seconds=2.0):
    """A song whose channels are constant, 0.25 left and 0.5 right."""
    place = folder / "UndividedWavfile"
    place.mkdir(parents=True, exist_ok=True)
    samples = np.tile((0.25, 0.5), (round(seconds * RATE), 1))
    soundfile.write(place / f"{name}.wav", samples, RATE)


@pytest.fixture
def songs(tmp_path):
    """Ten songs of amy, two of another singer."""
    folder = tmp_path / "songs"
    for number in range(1, 11):
        whole_song(folder, f"amy_{number}")
    for number in (1, 2):
        whole_song(folder, f"leon_{number}")
    return folder


def test_whole_songs(songs, tmp_path):
    out = tmp_path / "out"
    summary = prepare("mir1k", songs, out, segment_s=1.0)
    assert (out / "test.csv").read_text().splitlines()[:3] == [
        "ID,song_id,segment,n_segments,start,stop,duration,split,singer,"
        "license,wav,mix_wav,accomp_wav",
        "leon_1_1,leon_1,1,2,0,1,1,test,leon,unstated,"
        "{data_root}/UndividedWavfile/leon_1.wav#1,"
        "{data_root}/UndividedWavfile/leon_1.wav,"
        "{data_root}/UndividedWavfile/leon_1.wav#0",
        "leon_1_2,leon_1,2,2,1,2,1,test,leon,unstated,"
        "{data_root}/UndividedWavfile/leon_1.wav#1,"
        "{data_root}/UndividedWavfile/leon_1.wav,"
        "{data_root}/UndividedWavfile/leon_1.wav#0",
    ]
    # A tenth of amy's ten songs is held out.
    counts = {split: s.songs for split, s in summary.splits.items()}
    assert counts == {"train": 9, "valid": 1, "test": 2}
    (row, _) = rows(out, "valid", songs)
    assert set(read_audio(row["wav"])) == {0.5}
    assert set(read_audio(row["accomp_wav"])) == {0.25}


def test_random_whole_songs(songs, tmp_path):
    out = tmp_path / "out"
    prepare("mir1k", songs, out, protocol="random_song")
    split = {
        row["song_id"]: part
        for part in ("train", "valid", "test")
        for row in rows(out, part, songs)
    }
    # Of 12 songs, a tenth each. The songs' clips would go the same way.
    assert sorted(split.values()) == ["test"] + 10 * ["train"] + ["valid"]
    clips = splits([f"{song}_01" for song in split], "random_song")
    assert {song: clips[f"{song}_01"] for song in split} == split


def test_clips_come_before_whole_songs(corpus, tmp_path):
    for name in ("amy_1", "leon_3"):
        whole_song(corpus, name)
    clips = prepare("mir1k", corpus, tmp_path / "clips")
    assert sum(s.songs for s in clips.splits.values()) == 3
    # A preparation from before there was a choice is still taken.
    assert "whole" not in (tmp_path / "clips" / "prepared.json").read_text()
    whole = prepare("mir1k", corpus, tmp_path / "whole", whole=True)
    assert sum(s.songs for s in whole.splits.values()) == 2
    with pytest.raises(OutputError, match="whole=None, not True"):
        prepare("mir1k", corpus, tmp_path / "clips", whole=True)
    with pytest.raises(OutputError, match="before the corpus .* changed"):
        prepare("mir1k", corpus, tmp_path / "whole", whole=False)


def test_faults_of_whole_songs(songs, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(ConfigError, match="whole is 'yes': use true or false"):
        prepare("mir1k", songs, out, whole="yes")
    with pytest.raises(ManifestError, match="none of 0 annotated songs"):
        prepare("mir1k", songs, out, whole=False)
    soundfile.write(
        songs / "UndividedWavfile" / "leon_1.wav", np.zeros(9), RATE
    )
    with pytest.raises(AudioError, match=r"leon_1.wav: has 1 channels, not 2"):
        prepare("mir1k", songs, out)
    whole_song(songs, "leon_1_01")
    with pytest.raises(ManifestError, match="not named <singer>_<song>: ren"):
        prepare("mir1k", songs, out)
    for path in (songs / "UndividedWavfile").iterdir():
        path.unlink()
    with pytest.raises(ManifestError, match="expected .*/UndividedWavfile/<s"):
        prepare("mir1k", songs, out)
    assert not out.exists()


# --- MiniSinging -----------------------------------------------------------


def test_minisinging(tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    options = {"n_train": 2, "n_test": 1, "song_s": 14.0}
    summary = prepare("minisinging", folder, out, layout="mir1k", **options)
    counts = {split: s.songs for split, s in summary.splits.items()}
    # Two clips a song; of the four of abjones and amy one is held out.
    assert counts == {"train": 3, "valid": 1, "test": 2}
    seen = {
        split: {row["singer"] for row in rows(out, split, folder)}
        for split in counts
    }
    assert seen["train"] == {"abjones", "amy"} and seen["test"] == {"singer1"}
    assert {row["license"] for row in rows(out, "test", folder)} == {
        "Apache-2.0"
    }
    whole = tmp_path / "whole"
    prepare("mir1k", folder, whole, whole=True, protocol="random_song")
    for split in ("train", "valid", "test"):
        for row in rows(whole, split, folder):
            assert row["start"] <= row["stop"] <= 14.0 and "f0" not in row


def test_faults(corpus, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(ConfigError, match="protocol is 'all': use one of"):
        prepare("mir1k", corpus, out, protocol="all")
    # A second has 50 frames of the label, give or take 3.
    for frames, fits in ((46, False), (47, True), (53, True), (54, False)):
        clip(corpus, "leon_3_01", frames=frames)
        if fits:
            prepare("mir1k", corpus, tmp_path / str(frames))
            continue
        with pytest.raises(NoteError, match=rf"pv: has {frames} .* lasts 50:"):
            prepare("mir1k", corpus, out)
    (corpus / "PitchLabel" / "leon_3_01.pv").write_text("la\n")
    with pytest.raises(NoteError, match=r"leon_3_01\.pv: is no contour"):
        prepare("mir1k", corpus, out)
    clip(corpus, "leon_3_01", channels=[0.5])
    with pytest.raises(AudioError, match=r"has 1 channels, not 2"):
        prepare("mir1k", corpus, out)
    (corpus / "Wavfile" / "leon_3_01.wav").write_text("no audio")
    with pytest.raises(AudioError, match=r"leon_3_01\.wav"):
        prepare("mir1k", corpus, out)
    clip(corpus, "leon_3")
    with pytest.raises(ManifestError, match="leon_3 is not named <singer>_"):
        prepare("mir1k", corpus, out)
    assert not out.exists()


def test_download_says_where(tmp_path):
    with pytest.raises(ManifestError) as error:
        download("mir1k", tmp_path / "here")
    assert "http://mirlab.org/dataset/public/MIR-1K.zip" in str(error.value)
    assert str(tmp_path / "here") in str(error.value)
    assert list(tmp_path.iterdir()) == []
