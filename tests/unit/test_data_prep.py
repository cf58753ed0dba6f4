"""Each corpus from a small folder written by hand, and what may go wrong."""

import hashlib
import http.server
import io
import json
import threading
import zipfile

import numpy as np
import pytest
import soundfile

import data_prep
from data_prep import download as download_corpus
from data_prep import prepare
from data_prep.corpus import held_out, natural_key
from data_prep.manifest import read_manifest
from speechbrain_ext.errors import (
    AudioError,
    ConfigError,
    DependencyError,
    ManifestError,
    NoteError,
    OutputError,
)
from speechbrain_ext.formats import read_notes

RATE = 8000


def audio(path, seconds):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.zeros(round(seconds * RATE)), RATE)
    return path


def text(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


def annotation(path, songs):
    return text(path, json.dumps(songs))


def notes_of(output, song):
    return [
        (n.onset, n.offset, n.midi)
        for n in read_notes(output / "notes" / f"{song}.csv")
    ]


def ids(output, split):
    return [row["ID"] for row in rows(output, split)]


def rows(output, split):
    path = output / f"{split}.csv"
    return read_manifest(path, check_files=False) if path.exists() else []


def files(folder):
    return sorted(
        str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()
    )


# --- MIR-ST500 ------------------------------------------------------------


@pytest.fixture
def mir_st500(tmp_path):
    """Songs 2, 10, 361 for training and 401 for testing, 3 and 402 amiss."""
    folder = tmp_path / "MIR_ST500"
    for song, split, seconds in (
        ("2", "train", 12.0),
        ("10", "train", 2.0),
        ("361", "train", 5.0),
        ("401", "test", 7.6),
        ("402", "test", 1.0),
    ):
        audio(folder / "wav16kHz" / split / song / "vocals.wav", seconds)
    annotation(
        folder / "Annotations.json",
        {
            "10": [[0.5, 1.0, 60]],
            "2": [[0.5, 1.25, 60], [1.0, 2.0, 62], [3.0, 12.5, 64]],
            "3": [[0, 1, 50]],
            "361": [],
            "401": [[0.1, 0.2, 70]],
        },
    )
    return folder


def test_mir_st500(mir_st500, tmp_path, capsys):
    out = tmp_path / "out"
    summary = prepare("mir_st500", mir_st500, out)
    assert files(out) == [
        "notes/10.csv",
        "notes/2.csv",
        "notes/361.csv",
        "notes/401.csv",
        "prepared.json",
        "test.csv",
        "train.csv",
        "valid.csv",
    ]
    assert (out / "train.csv").read_text().splitlines() == [
        "ID,song_id,segment,n_segments,start,stop,duration,split,singer,"
        "license,wav,notes",
        "2_1,2,1,2,0,5,5,train,,unstated,"
        "{data_root}/wav16kHz/train/2/vocals.wav,{manifest_root}/notes/2.csv",
        "2_2,2,2,2,5,12,7,train,,unstated,"
        "{data_root}/wav16kHz/train/2/vocals.wav,{manifest_root}/notes/2.csv",
        "10_1,10,1,1,0,2,2,train,,unstated,"
        "{data_root}/wav16kHz/train/10/vocals.wav,{manifest_root}/notes/10.csv",
    ]
    assert ids(out, "valid") == ["361_1"]
    assert ids(out, "test") == ["401_1", "401_2"]
    # The first note of song 2 overlaps the second and is cut.
    assert notes_of(out, "2") == [(0.5, 1, 60), (1, 2, 62), (3, 12.5, 64)]
    assert notes_of(out, "361") == []
    assert read_manifest(out / "train.csv", mir_st500)[0]["wav"] == str(
        mir_st500 / "wav16kHz" / "train" / "2" / "vocals.wav"
    )
    assert summary.remarks == (
        "1 of 5 annotated songs have no audio and are left out: 3",
        "1 of 5 songs with audio have no annotation and are left out: 402",
        "1 notes overlapped the next one and end at its onset now, in 1 "
        "songs: 2",
        "1 notes end after the end of the audio, in 1 songs: 2",
        "1 songs have no notes: 361",
    )
    stderr = capsys.readouterr().err.splitlines()
    assert stderr == [f"mir_st500: {remark}" for remark in summary.remarks]
    splits = summary.splits
    assert [(s.songs, s.notes) for s in splits.values()] == [
        (2, 4),
        (1, 0),
        (1, 1),
    ]
    assert splits["train"].hours == pytest.approx(14 / 3600)
    assert "ICASSP 2021" in summary.table() and "licence:" in summary.table()
    assert summary.manifests["valid"] == out / "valid.csv"


def test_mir_st500_as_downloaded_by_its_scripts(tmp_path):
    folder, out = tmp_path / "st", tmp_path / "out"
    for song in ("1", "2"):
        audio(folder / "train" / song / "Vocal.wav", 1.0)
        audio(folder / "train" / song / "Mixture.flac", 1.0)
    audio(folder / "train" / "3" / "Mixture.flac", 1.0)
    annotation(
        folder / "MIR-ST500_20210206" / "MIR-ST500_corrected.json",
        {str(n): [[0, 0.5, 60]] for n in (1, 2, 3)},
    )
    summary = prepare("mir_st500", folder, out, valid_songs=["2"])
    (first,), (second,) = rows(out, "train"), rows(out, "valid")
    assert first["wav"] == "{data_root}/train/1/Vocal.wav"
    assert first["mix_wav"] == "{data_root}/train/1/Mixture.flac"
    assert second["song_id"] == "2"
    assert "1 of 3 annotated songs have no audio" in summary.remarks[0]
    mixtures = tmp_path / "mix"
    prepare("mir_st500", folder, mixtures, medium="mixture")
    row = (rows(mixtures, "train") + rows(mixtures, "valid"))[0]
    assert row["wav"].endswith("Mixture.flac") and "mix_wav" not in row


def test_mir_st500_voices_and_mixtures_in_two_trees(mir_st500, tmp_path):
    audio(mir_st500 / "train" / "2" / "Mixture.wav", 12.0)
    prepare("mir_st500", mir_st500, tmp_path / "out")
    found = {
        r["song_id"]: r["mix_wav"] for r in rows(tmp_path / "out", "train")
    }
    assert found == {"2": "{data_root}/train/2/Mixture.wav", "10": None}


def test_mir_st500_mixtures_only_point_to_isolation(tmp_path):
    audio(tmp_path / "st" / "train" / "1" / "Mixture.wav", 1.0)
    annotation(tmp_path / "st" / "Annotations.json", {"1": []})
    with pytest.raises(ManifestError, match="isolate the voices first"):
        prepare("mir_st500", tmp_path / "st", tmp_path / "out")


def test_mir_st500_without_songs_361_to_400_holds_out_a_tenth(tmp_path):
    folder = tmp_path / "st"
    names = [str(n) for n in range(1, 22)]
    for name in names:
        audio(folder / "train" / name / "vocals.wav", 0.5)
    annotation(folder / "Annotations.json", {n: [[0, 0.2, 60]] for n in names})
    prepare("mir_st500", folder, tmp_path / "out")
    # A tenth of 21 songs is 2: those with the smallest SHA-256.
    ranked = sorted(names, key=lambda n: hashlib.sha256(n.encode()).hexdigest())
    valid = {row["song_id"] for row in rows(tmp_path / "out", "valid")}
    assert valid == set(ranked[:2])
    train = [row["song_id"] for row in rows(tmp_path / "out", "train")]
    assert train == [n for n in names if n not in valid]


def test_held_out_does_not_depend_on_order():
    names = [str(n) for n in range(30)]
    assert held_out(names) == held_out(reversed(names))
    assert len(held_out(names)) == 3


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("test/2", "lies in test"),
        ("train/401", "lies in train"),
        ("train/10", "in another folder of the corpus, too"),
    ],
)
def test_mir_st500_misplaced_songs(mir_st500, tmp_path, place, message):
    audio(mir_st500 / place / "vocals.wav", 1.0)
    with pytest.raises(ManifestError, match=message):
        prepare("mir_st500", mir_st500, tmp_path / "out")


def test_mir_st500_options_are_checked(mir_st500, tmp_path):
    with pytest.raises(ConfigError, match="medium"):
        prepare("mir_st500", mir_st500, tmp_path / "out", medium="drums")
    with pytest.raises(ManifestError, match="401 is no training song"):
        prepare("mir_st500", mir_st500, tmp_path / "out", valid_songs=["401"])
    with pytest.raises(NoteError, match="song 2: note 2 starts at 1 s"):
        prepare("mir_st500", mir_st500, tmp_path / "out", cut_overlaps=False)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("songs", [[2], ["2"], 2, "2"])
def test_mir_st500_valid_songs_may_be_numbers(mir_st500, tmp_path, songs):
    out = tmp_path / "out"
    prepare("mir_st500", mir_st500, out, valid_songs=songs)
    assert {row["song_id"] for row in rows(out, "valid")} == {"2"}


# --- TONAS ----------------------------------------------------------------


def test_tonas_original_layout(tmp_path):
    folder, out = tmp_path / "TONAS", tmp_path / "out"
    audio(folder / "Deblas" / "01-D_Uno.wav", 4.0)
    text(
        folder / "Deblas" / "01-D_Uno.notes.Corrected",
        "43.000000\n"
        "0.216667, 0.433333, 66.430000, 0.018007\n"
        "0.650000, 1.016667, 67.430000, 0.010794\n"
        "1.5, 0.5, 66.43, 0.01\n",
    )
    audio(folder / "Martinetes1" / "02-M1_Dos.wav", 1.0)
    text(folder / "Martinetes1" / "02-M1_Dos.notes.Corrected", "-7.0\n")
    text(
        folder / "TONAS-Metadata.txt",
        "01-D_Uno.wav\tDebla\tEn el barrio\tAntonio Peña\n"
        "02-M1_Dos.wav\tMartinete\tOtra\tJosé\n",
    )
    summary = prepare("tonas", folder, out)
    # The tuning of 43 cents is in the pitches already.
    assert notes_of(out, "01-D_Uno") == [
        (0.216667, 0.65, 66.43),
        (0.65, 1.5, 67.43),
        (1.5, 2.0, 66.43),
    ]
    assert [(r["ID"], r["singer"], r["stop"]) for r in rows(out, "test")] == [
        ("01-D_Uno_1", "Antonio Peña", 4.0),
        ("02-M1_Dos_1", "José", 1.0),
    ]
    assert summary.remarks == (
        "1 notes overlapped the next one and end at its onset now, in 1 "
        "songs: 01-D_Uno",
        "1 songs have no notes: 02-M1_Dos",
    )
    assert not (out / "train.csv").exists()


@pytest.mark.parametrize(
    "content", ["43\n0, 1, 60, 0\n", "43\n0, 1, 60.43, 0\n"]
)
def test_tonas_agrees_with_the_reader_of_note_files(content, tmp_path):
    audio(tmp_path / "in" / "a.wav", 1.0)
    source = text(tmp_path / "in" / "a.notes.Corrected", content)
    prepare("tonas", tmp_path / "in", tmp_path / "out")
    ((_, _, pitch),) = notes_of(tmp_path / "out", "a")
    assert pitch == pytest.approx(60.43)
    assert read_notes(source).midi.tolist() == pytest.approx([60.43])


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1", "utf-8-sig"])
def test_tonas_metadata_in_any_encoding(encoding, tmp_path):
    folder = tmp_path / "TONAS"
    audio(folder / "Deblas" / "a.wav", 1.0)
    text(folder / "Deblas" / "a.notes.Corrected", "0\n0, 1, 60, 0.1\n")
    (folder / "TONAS-Metadata.txt").write_bytes(
        "a.wav\tTítulo\tMaría Peña\n".encode(encoding)
    )
    prepare("tonas", folder, tmp_path / "out")
    assert rows(tmp_path / "out", "test")[0]["singer"] == "María Peña"


def test_tonas_note_files_are_checked(tmp_path):
    folder = tmp_path / "TONAS"
    audio(folder / "a.wav", 1.0)
    for content, message in (
        ("", "tuning in cents"),
        ("0, 1, 60, 0.1\n", "tuning in cents"),
        ("0\n0, 1, 60\n", "note 1: expected onset, duration, pitch, energy"),
        ("0\n0, 1, nan, 0\n", "note 1: expected onset, duration, pitch"),
        ("0\n0, one, 60, 0\n", "line 2: '0, one, 60, 0' is not a row"),
        ("0\n0, 0, 60, 0\n", "note 1: note offset 0 s is not after"),
        ("0\n0, 1, 380, 0\n", "outside MIDI"),
    ):
        text(folder / "a.notes.Corrected", content)
        with pytest.raises(NoteError, match=message) as error:
            prepare("tonas", folder, tmp_path / "out")
        assert "a.notes.Corrected" in str(error.value)


# --- ISMIR2014 ------------------------------------------------------------


def test_ismir2014_original_layout(tmp_path):
    folder, out = tmp_path / "ISMIR2014", tmp_path / "out"
    for clip, seconds in (("child10", 1.0), ("child2", 13.0), ("amale1", 1.0)):
        audio(folder / "DATASET" / f"{clip}.wav", seconds)
    text(
        folder / "DATASET" / "child10.GroundTruth.txt",
        "0.10,0.50,60.25\n0.50,0.90,61.5\n",
    )
    text(folder / "DATASET" / "child2.GroundTruth.txt", "0.1 0.5 60\n")
    text(folder / "DATASET" / "amale1.csv", "0.1;0.2;50.5\n")
    text(folder / "DATASET" / "child3.GroundTruth.txt", "0.1 0.5 60\n")
    text(folder / "DATASET" / "fileNames.csv", "child2\nchild10\n")
    summary = prepare("ismir2014", folder, out)
    assert ids(out, "test") == [
        "amale1_1",
        "child2_1",
        "child2_2",
        "child2_3",
        "child10_1",
    ]
    assert notes_of(out, "child10") == [(0.1, 0.5, 60.25), (0.5, 0.9, 61.5)]
    assert notes_of(out, "amale1") == [(0.1, 0.2, 50.5)]
    assert summary.remarks == (
        "1 of 4 annotated songs have no audio and are left out: child3",
    )


@pytest.mark.parametrize("corpus", ["tonas", "ismir2014"])
def test_converted_layout(corpus, tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    audio(folder / "wav16kHz" / "b" / "vocals.wav", 3.0)
    annotation(folder / "Annotations.json", {"b": [[0.5, 1.5, 60.4]]})
    summary = prepare(corpus, folder, out)
    assert notes_of(out, "b") == [(0.5, 1.5, 60.4)]
    (row,) = rows(out, "test")
    assert row["wav"] == "{data_root}/wav16kHz/b/vocals.wav"
    assert summary.splits["test"].songs == 1


# --- N20EMv2 --------------------------------------------------------------


def test_n20emv2(tmp_path):
    folder, out = tmp_path / "N20EMv2", tmp_path / "out"
    first, second = folder / "data" / "1.22.b-12", folder / "data_sub2" / "x"
    audio(first / "vocals.wav", 6.0)
    audio(first / "accomp.wav", 6.0)
    np.save(first / "video_50fps.npy", np.zeros((300, 96, 96), np.uint8))
    audio(second / "vocals.wav", 2.0)
    annotation(
        folder / "annotations.json",
        {
            "x": {"split": "valid", "midi": [[0, 1, 60]]},
            "1.22.b-12": {"split": "train", "midi": [[1, 2, 40], [2, 3, 73]]},
        },
    )
    summary = prepare("n20emv2", folder, out)
    assert rows(out, "train") == [
        {
            "ID": "1.22.b-12_1",
            "song_id": "1.22.b-12",
            "segment": 1,
            "n_segments": 1,
            "start": 0.0,
            "stop": 6.0,
            "duration": 6.0,
            "split": "train",
            "singer": "1.22.b",
            "license": "CC BY-SA 4.0",
            "wav": "{data_root}/data/1.22.b-12/vocals.wav",
            "accomp_wav": "{data_root}/data/1.22.b-12/accomp.wav",
            "video": "{data_root}/data/1.22.b-12/video_50fps.npy",
            "notes": str(out / "notes" / "1.22.b-12.csv"),
        }
    ]
    (row,) = rows(out, "valid")
    assert row["wav"] == "{data_root}/data_sub2/x/vocals.wav"
    assert (row["singer"], "video" in row) == ("", False)
    assert notes_of(out, "1.22.b-12") == [(1, 2, 40), (2, 3, 73)]
    assert summary.singers == 1 and summary.remarks == ()


@pytest.mark.parametrize(
    ("entry", "error", "message"),
    [
        ({"split": "dev", "midi": []}, ManifestError, "split 'dev'"),
        ({"split": "test"}, ManifestError, "no midi notes"),
        ([[0, 1, 60]], ManifestError, "no midi notes"),
        (
            {"split": "test", "midi": [[0, 2, 60], [1, 3, 60]]},
            NoteError,
            "song s: note 2 starts at 1 s while note 1 lasts until 2 s",
        ),
    ],
)
def test_n20emv2_annotation_is_checked(entry, error, message, tmp_path):
    audio(tmp_path / "in" / "data" / "s" / "vocals.wav", 4.0)
    annotation(tmp_path / "in" / "annotations.json", {"s": entry})
    with pytest.raises(error, match=message):
        prepare("n20emv2", tmp_path / "in", tmp_path / "out")


# --- vocadito -------------------------------------------------------------


@pytest.fixture
def vocadito(tmp_path):
    folder = tmp_path / "vocadito"
    for number in (1, 2, 10):
        name = f"vocadito_{number}"
        audio(folder / "Audio" / f"{name}.wav", 2.0)
        for annotator, hertz in (("A1", 440), ("A2", 880)):
            text(
                folder
                / "Annotations"
                / "Notes"
                / f"{name}_notes{annotator}.csv",
                f"0.25,{hertz},0.5\n0.75,466.1637615,0.25\n",
            )
    text(
        folder / "vocadito_metadata.csv",
        "track_id,singer_id,average_pitch,language\n"
        "1,S1,50,Tagalog\n2,S2,65,Spanish\n10,S1,49,English\n",
    )
    return folder


@pytest.mark.parametrize(("annotator", "pitch"), [("A1", 69), ("A2", 81)])
def test_vocadito(vocadito, tmp_path, annotator, pitch):
    out = tmp_path / "out"
    summary = prepare("vocadito", vocadito, out, annotator=annotator)
    first, second = notes_of(out, "vocadito_2")
    assert first == pytest.approx((0.25, 0.75, pitch), abs=1e-6)
    assert second == pytest.approx((0.75, 1.0, 70), abs=1e-6)
    assert [(r["song_id"], r["singer"]) for r in rows(out, "test")] == [
        ("vocadito_1", "S1"),
        ("vocadito_2", "S2"),
        ("vocadito_10", "S1"),
    ]
    assert (summary.singers, summary.splits["test"].notes) == (2, 6)


def test_vocadito_in_its_own_subfolder(vocadito, tmp_path):
    prepare("vocadito", vocadito.parent, tmp_path / "out")
    assert rows(tmp_path / "out", "test")[0]["wav"] == (
        "{data_root}/vocadito/Audio/vocadito_1.wav"
    )


def test_vocadito_is_checked(vocadito, tmp_path):
    with pytest.raises(ConfigError, match="annotator is 'A3'"):
        prepare("vocadito", vocadito, tmp_path / "out", annotator="A3")
    path = vocadito / "Annotations" / "Notes" / "vocadito_2_notesA1.csv"
    for content in ("0.25,0,0.5\n", "0.25,440\n", "0.25,nan,0.5\n"):
        text(path, content)
        with pytest.raises(NoteError, match="note 1: expected onset, a freq"):
            prepare("vocadito", vocadito, tmp_path / "out")
    text(vocadito / "vocadito_metadata.csv", "a,b\n1,2\n")
    text(path, "")
    with pytest.raises(ManifestError, match="track_id and singer_id"):
        prepare("vocadito", vocadito, tmp_path / "out")


# --- What all corpora share -----------------------------------------------


def one_song(folder, notes, seconds=4.0):
    """The smallest corpus: one song in N20EMv2's layout."""
    audio(folder / "data" / "s" / "vocals.wav", seconds)
    annotation(
        folder / "annotations.json", {"s": {"split": "test", "midi": notes}}
    )
    return folder


@pytest.mark.parametrize(
    ("notes", "message"),
    [
        ([[1.0, 0.5, 60]], "note 1: note offset 0.5 s is not after its onset"),
        ([[0, 1, 60], [1, 1, 60]], "note 2: note offset 1 s is not after"),
        ([[0, 1, 128]], "note 1: note pitch 128 is outside MIDI 0 to 127"),
        ([[0, 1, -1]], "note pitch -1 is outside"),
        ([[-0.5, 1, 60]], "note onset -0.5 s is before 0 s"),
        ([[0, 1, float("nan")]], "note midi is nan"),
        ([[0, 1, "la"]], "note midi 'la' is not a number"),
        ([[0, 1]], "note 1: expected onset, offset, pitch but got [0, 1]"),
        ([[0, 1, 60, 5]], "note 1: expected onset, offset, pitch"),
        ([7], "note 1: expected onset, offset, pitch but got 7"),
        ({"0": [0, 1, 60]}, "no list of notes"),
        ([[2, 3, 60], [0, 1, 60]], "note 2 starts at 0 s, before note 1"),
    ],
)
def test_bad_notes_are_named_and_nothing_is_left(notes, message, tmp_path):
    folder = one_song(tmp_path / "in", notes)
    with pytest.raises(NoteError) as error:
        prepare("n20emv2", folder, tmp_path / "out")
    assert message in str(error.value)
    assert f"{folder / 'annotations.json'}: song s: " in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_zero_samples(tmp_path):
    folder = one_song(tmp_path / "in", [], seconds=0)
    with pytest.raises(AudioError, match=r"vocals\.wav: contains no samples"):
        prepare("n20emv2", folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_text_in_a_wav_leaves_other_files_alone(tmp_path):
    folder = one_song(tmp_path / "in", [])
    text(folder / "data" / "s" / "vocals.wav", "no audio at all")
    text(tmp_path / "out" / "mine.txt", "keep")
    with pytest.raises(AudioError, match=r"vocals\.wav"):
        prepare("n20emv2", folder, tmp_path / "out")
    assert files(tmp_path / "out") == ["mine.txt"]


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_first_faulty_song_is_reported(n_jobs, mir_st500, tmp_path):
    for song in ("361", "10"):
        text(mir_st500 / "wav16kHz" / "train" / song / "vocals.wav", "no audio")
    with pytest.raises(AudioError, match="10/vocals"):
        prepare("mir_st500", mir_st500, tmp_path / "out", n_jobs=n_jobs)


def test_any_number_of_jobs_writes_the_same(mir_st500, tmp_path):
    for n_jobs in (1, 2):
        prepare("mir_st500", mir_st500, tmp_path / str(n_jobs), n_jobs=n_jobs)
    one, two = tmp_path / "1", tmp_path / "2"
    assert files(one) == files(two)
    for name in files(one):
        assert (one / name).read_bytes() == (two / name).read_bytes()


@pytest.mark.parametrize(
    ("corpus", "content", "message"),
    [
        ("mir_st500", None, "no Annotations.json"),
        ("n20emv2", None, "no annotations.json"),
        ("tonas", None, "none of 0 annotated songs"),
        ("ismir2014", None, "none of 0 annotated songs"),
        ("vocadito", None, "none of 0 annotated songs"),
        ("mir1k", None, "none of 0 annotated songs"),
        ("musdb18", None, "holds neither train nor test"),
        ("mir_st500", "{}", "holds no songs"),
        ("mir_st500", "[1]", "holds no songs"),
        ("mir_st500", "{'a'", "is no JSON"),
        ("mir_st500", '{"1": []}', "none of 1 annotated songs has audio"),
        ("tonas", '{"1": []}', "none of 1 annotated songs has audio"),
    ],
)
def test_empty_corpora(corpus, content, message, tmp_path):
    (tmp_path / "in").mkdir()
    if content is not None:
        text(tmp_path / "in" / "Annotations.json", content)
    with pytest.raises(ManifestError, match=message):
        prepare(corpus, tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()


REAL = [name for name in data_prep.CORPORA if name != "minisinging"]


@pytest.mark.parametrize("corpus", REAL)
def test_missing_corpus_folder(corpus, tmp_path):
    for name in ("nowhere", "x" * 300):
        with pytest.raises(ManifestError, match=f"{name}: no such folder"):
            prepare(corpus, tmp_path / name, tmp_path / "out")


def test_second_run_returns_at_once(mir_st500, tmp_path, capsys):
    out = tmp_path / "out"
    first = prepare("mir_st500", mir_st500, out)
    before = {name: (out / name).stat().st_mtime_ns for name in files(out)}
    capsys.readouterr()
    second = prepare("mir_st500", mir_st500, out)
    assert capsys.readouterr().err == (
        f"mir_st500: already prepared in {out}, nothing to do\n"
    )
    assert before == {
        name: (out / name).stat().st_mtime_ns for name in files(out)
    }
    assert (first.fresh, second.fresh) == (True, False)
    assert first.table() == second.table()
    assert first.splits == second.splits
    assert first.manifests == second.manifests
    assert first.remarks == second.remarks


def test_other_options_ask_before_replacing(mir_st500, tmp_path):
    out = tmp_path / "out"
    prepare("mir_st500", mir_st500, out)
    with pytest.raises(OutputError, match=r"segment_s=5\.0, not 2\.5"):
        prepare("mir_st500", mir_st500, out, segment_s=2.5)
    assert len(ids(out, "test")) == 2
    prepare("mir_st500", mir_st500, out, segment_s=2.5, overwrite=True)
    assert len(ids(out, "test")) == 3  # 7.6 s


def test_changed_corpus_is_noticed_and_stale_files_go(mir_st500, tmp_path):
    out = tmp_path / "out"
    prepare("mir_st500", mir_st500, out)
    text(out / "mine.txt", "keep")
    songs = json.loads((mir_st500 / "Annotations.json").read_text())
    del songs["10"], songs["401"]
    annotation(mir_st500 / "Annotations.json", songs)
    with pytest.raises(OutputError, match="annotation changed"):
        prepare("mir_st500", mir_st500, out)
    prepare("mir_st500", mir_st500, out, overwrite=True)
    assert files(out) == [
        "mine.txt",
        "notes/2.csv",
        "notes/361.csv",
        "prepared.json",
        "train.csv",
        "valid.csv",
    ]


def test_lost_file_and_other_corpus_are_noticed(mir_st500, vocadito, tmp_path):
    out = tmp_path / "out"
    prepare("mir_st500", mir_st500, out)
    with pytest.raises(OutputError, match="holds mir_st500, not vocadito"):
        prepare("vocadito", vocadito, out)
    (out / "notes" / "10.csv").unlink()
    with pytest.raises(OutputError, match=r"has lost notes/10\.csv"):
        prepare("mir_st500", mir_st500, out)


def test_failed_replacement_keeps_the_old_result(mir_st500, tmp_path):
    out = tmp_path / "out"
    prepare("mir_st500", mir_st500, out)
    before = {name: (out / name).read_bytes() for name in files(out)}
    annotation(mir_st500 / "Annotations.json", {"10": [[1, 0, 60]]})
    with pytest.raises(NoteError):
        prepare("mir_st500", mir_st500, out, overwrite=True)
    assert before == {name: (out / name).read_bytes() for name in files(out)}


def test_files_of_others_are_not_replaced(mir_st500, tmp_path):
    text(tmp_path / "out" / "train.csv", "precious")
    with pytest.raises(OutputError, match=r"train\.csv: exists already"):
        prepare("mir_st500", mir_st500, tmp_path / "out")
    assert files(tmp_path / "out") == ["train.csv"]
    assert (tmp_path / "out" / "train.csv").read_text() == "precious"


def test_output_that_cannot_be_a_folder(mir_st500, tmp_path):
    text(tmp_path / "file", "")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OutputError, match="cannot write"):
            prepare("mir_st500", mir_st500, out)


def test_song_ids_are_file_names(tmp_path):
    folder = tmp_path / "in"
    audio(folder / "wav16kHz" / "a\nb" / "vocals.wav", 1.0)
    annotation(folder / "Annotations.json", {"a\nb": []})
    with pytest.raises(ManifestError, match="cannot name a song"):
        prepare("tonas", folder, tmp_path / "out")


def test_unknown_names():
    with pytest.raises(ConfigError, match="unknown corpus nus: use one of"):
        prepare("nus", "in", "out")
    with pytest.raises(ConfigError, match="tonas has no option annotator"):
        prepare("tonas", "in", "out", annotator="A1")


def test_natural_order():
    names = ["10", "9", "a10", "a9", "1.22.b-2", "1.22.b-12", "01", "1"]
    assert sorted(names, key=natural_key) == [
        "01",
        "1",
        "1.22.b-2",
        "1.22.b-12",
        "9",
        "10",
        "a9",
        "a10",
    ]


def test_registry_tells_licence_and_address():
    for name, entry in data_prep.CORPORA.items():
        assert entry.prepare.__name__ == f"prepare_{name}"
        assert entry.license
        assert entry.url.startswith("http") or name == "minisinging"


# --- MiniSinging ----------------------------------------------------------


@pytest.mark.parametrize(
    ("layout", "options", "songs", "singers"),
    [
        ("tonas", {"n_songs": 2}, ["01-D_Singer1", "02-M1_Singer2"], 2),
        (
            "ismir2014",
            {"n_child": 1, "n_male": 0, "n_female": 1},
            ["afemale1", "child1"],
            0,
        ),
    ],
)
def test_minisinging(layout, options, songs, singers, tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    summary = prepare(
        "minisinging", folder, out, layout=layout, song_s=6.0, **options
    )
    found = rows(out, "test")
    assert [row["ID"] for row in found] == [f"{song}_1" for song in songs]
    assert {row["stop"] for row in found} == {6.0}
    assert summary.splits["test"].notes > 2 and summary.singers == singers
    # It has the layout of the corpus, but not its licence.
    assert {row["license"] for row in found} == {"Apache-2.0"}
    assert "Apache-2.0: MiniSinging" in summary.table()
    assert "cite" not in summary.table()
    read_manifest(out / "test.csv", folder)


def test_minisinging_in_its_own_layout(tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    options = {"n_train": 1, "n_valid": 0, "n_test": 1, "song_s": 6.0}
    prepare("minisinging", folder, out, **options)
    (row,) = rows(out, "train")
    assert (row["ID"], row["license"]) == ("train1_1", "Apache-2.0")
    place = "{data_root}/train/train1/"
    assert row["wav"] == place + "voice.wav"
    assert row["accomp_wav"] == place + "accompaniment.wav"
    assert row["f0"] == place + "f0.csv"
    read_manifest(out / "test.csv", folder)
    # What is there is prepared as it is, and not written again.
    before = files(folder)
    prepare("minisinging", folder, tmp_path / "again")
    assert files(folder) == before
    (again,) = rows(tmp_path / "again", "train")
    assert {**again, "notes": row["notes"]} == row


def test_minisinging_options_are_checked(tmp_path):
    for options, message in (
        ({"layout": "vocadito"}, "no layout vocadito: use minisinging"),
        ({"layout": "tonas", "n_train": 1}, "tonas has no option n_train"),
    ):
        with pytest.raises(ConfigError, match=message):
            prepare("minisinging", tmp_path / "a", tmp_path / "b", **options)
    with pytest.raises(ConfigError, match="made, not downloaded"):
        download_corpus("minisinging", tmp_path)
    assert files(tmp_path) == []


# --- Downloads ------------------------------------------------------------


@pytest.mark.parametrize("corpus", ["mir_st500", "tonas", "ismir2014"])
def test_corpora_on_request_say_how(corpus, tmp_path):
    with pytest.raises(ManifestError, match=r"ask|request") as error:
        download_corpus(corpus, tmp_path / "here")
    assert str(tmp_path / "here") in str(error.value)
    assert not (tmp_path / "here").exists()


@pytest.fixture
def zenodo(monkeypatch):
    """A server on this machine that answers like Zenodo, with one archive."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("Audio/vocadito_1.wav", "sound")
        archive.writestr("../escape.txt", "out of the folder")
    record = {"files": {"vocadito.zip": content.getvalue()}, "asked": []}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            record["asked"].append(self.path)
            if self.path == "/records/5578807":
                body = json.dumps(
                    {
                        "files": [
                            {
                                "key": key,
                                "checksum": record.get("md5", md5(data)),
                            }
                            for key, data in record["files"].items()
                        ]
                    }
                ).encode()
            else:
                assert self.path.endswith("/content")
                body = record["files"].get(self.path.split("/")[-2])
            if body is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    def md5(data):
        return "md5:" + hashlib.md5(data, usedforsecurity=False).hexdigest()

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(
        "data_prep.zenodo.ZENODO",
        f"http://127.0.0.1:{server.server_port}/records",
    )
    yield record
    server.shutdown()
    server.server_close()


def test_download_checks_and_unpacks_once(zenodo, tmp_path):
    folder = tmp_path / "deep" / "vocadito"
    assert download_corpus("vocadito", folder) == folder
    assert (folder / "Audio" / "vocadito_1.wav").read_text() == "sound"
    assert not (folder.parent / "escape.txt").exists()
    assert not (folder / "vocadito.zip").exists()
    asked = len(zenodo["asked"])
    download_corpus("vocadito", folder)
    assert zenodo["asked"][asked:] == ["/records/5578807"]


def test_damaged_download_is_refused(zenodo, tmp_path):
    zenodo["md5"] = "md5:" + "0" * 32
    with pytest.raises(DependencyError, match="download it again"):
        download_corpus("vocadito", tmp_path)
    assert files(tmp_path) == []


def test_download_without_the_files_or_the_site(zenodo, tmp_path, monkeypatch):
    zenodo["files"] = {"other.zip": b""}
    with pytest.raises(DependencyError, match="none of the files"):
        download_corpus("vocadito", tmp_path)
    monkeypatch.setattr("data_prep.zenodo.ZENODO", "http://127.0.0.1:9/no")
    with pytest.raises(DependencyError, match="cannot be reached"):
        download_corpus("vocadito", tmp_path)
