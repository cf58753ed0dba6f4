"""DSing and N20EM from small folders written by hand, and what may go wrong."""

import json

import numpy as np
import pytest
import soundfile

from data_prep import download, prepare
from data_prep.manifest import read_manifest
from data_prep.minisinging import as_dsing, as_n20em
from speechbrain_ext.audio import audio_info, read_audio
from speechbrain_ext.errors import ConfigError, ManifestError
from speechbrain_ext.lyrics.words import is_spellable, plain_words

RATE = 16000


def audio(path, seconds=1.0):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.zeros(round(seconds * RATE)), RATE)


def text(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")


def rows(output, split):
    return read_manifest(output / f"{split}.csv", check_files=False)


# --- spelling ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "plain"),
    [
        ("I WON'T LET GO", "i won't let go"),
        (
            "  Na\u00efve \u2014 rock-n-roll,  (yeah)! ",
            "naive rock n roll yeah",
        ),
        ("'Cause movin' on\u2026", "'cause movin' on"),
        ("\u2019til   dawn", "'til dawn"),
        ("...", ""),
        ("99 times", "99 times"),
    ],
)
def test_words_are_spelled_alike(written, plain):
    assert plain_words(written) == plain
    assert plain_words(plain) == plain


def test_what_the_letters_can_spell():
    assert is_spellable("'cause movin' on")
    assert not any(map(is_spellable, ("", "99 times", "\u6708 moon")))


# --- DSing -------------------------------------------------------------------

LINES = {
    "train30": {
        "F1-1_1-7_1-GB-F-001": "I SAY",
        "F1-1_1-7_1-GB-F-002": "OH 2 DAYS",
        "M2-1_1-8_1-US-M-010": "DON'T GO",
    },
    "dev": {"M2-1_1-9_1-GB-M-003": "MY WORLD"},
    "test": {"F3-1_1-5_1-GB-F-001": "I SAY", "F3-1_1-5_1-GB-F-002": "NO"},
}


@pytest.fixture
def dsing(tmp_path):
    folder = tmp_path / "DSing"
    for split, lines in LINES.items():
        for name in lines:
            audio(folder / split / "audio" / f"{name}.wav", 2.0)
        content = "".join(f"{name} {said}\n" for name, said in lines.items())
        text(folder / split / "text", content)
    return folder


def test_dsing(dsing, tmp_path, capsys):
    out = tmp_path / "out"
    summary = prepare("dsing", dsing, out)
    assert (out / "train.csv").read_text().splitlines() == [
        "ID,song_id,segment,n_segments,start,stop,duration,split,singer,"
        "license,text,wav",
        "F1-1_1-7_1-GB-F-001_1,F1-1_1-7_1-GB-F-001,1,1,0,2,2,train,F1,"
        "Smule DAMP,i say,"
        "{data_root}/train30/audio/F1-1_1-7_1-GB-F-001.wav",
        "M2-1_1-8_1-US-M-010_1,M2-1_1-8_1-US-M-010,1,1,0,2,2,train,M2,"
        "Smule DAMP,don't go,"
        "{data_root}/train30/audio/M2-1_1-8_1-US-M-010.wav",
    ]
    assert [row["text"] for row in rows(out, "test")] == ["i say", "no"]
    assert summary.remarks == (
        "1 of 6 lines hold digits, letters of other scripts or no words and "
        "are left out",
        "1 of 2 lines of test have words that a line of train has, too",
        "1 of 3 singers are in more than one split",
    )
    assert summary.singers == 3
    capsys.readouterr()
    assert not prepare("dsing", dsing, out).fresh


def test_dsing_as_mm_alt_has_it(dsing, tmp_path):
    for split in LINES:
        (dsing / split / "text").rename(dsing / split / "x.transcription.txt")
    (dsing / "train30").rename(dsing / "train3")
    prepare("dsing", dsing, tmp_path / "out", size=3)
    assert len(rows(tmp_path / "out", "train")) == 2
    with pytest.raises(
        ManifestError, match=r"no train30/ or train30\.csv or DSing30"
    ):
        prepare("dsing", dsing, tmp_path / "other")


def test_dsing_tables_are_cut(tmp_path):
    folder = tmp_path / "in"
    place = "GB/GBVocals/a-GB-F-1.wav"
    sound = np.arange(4 * RATE) / (4 * RATE)
    damp = tmp_path / "sing_300x30x2"
    for recording in (place, "GB/GBVocals/b.wav", "GB/GBVocals/c.wav"):
        (damp / recording).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(damp / recording, sound, RATE, "FLOAT")
    head = "utterance_id,recording_id,recording,start,end,speaker,gender,text\n"
    text(
        folder / "DSing1.csv",
        f"{head}a-1,a,{place},0.5,1.25,F1,f,OH\na-2,a,{place},3.5,9,F1,f,MY\n"
        "z-1,z,GB/GBVocals/z.wav,0,1,F9,f,GONE\n",
    )
    text(folder / "dev.csv", f"{head}b-1,b,GB/GBVocals/b.wav,0,1,M2,m,LOVE\n")
    text(folder / "test.csv", f"{head}c-1,c,GB/GBVocals/c.wav,0,4,M3,m,LA\n")
    out = tmp_path / "out"
    with pytest.raises(ManifestError, match="none of 2 recordings is there"):
        prepare("dsing", folder, out, size=1)
    summary = prepare("dsing", folder, out, size=1, damp_folder=damp, n_jobs=2)
    assert summary.remarks == (
        "train: 1 lines have no recording and are left out",
        "the recording ends before a line does: a-2",
    )
    first, second = read_manifest(out / "train.csv", folder)
    assert (first["singer"], first["text"], first["duration"]) == (
        "F1",
        "oh",
        0.75,
    )
    cut = read_audio(first["wav"], sample_rate=RATE)
    np.testing.assert_allclose(cut, sound[8000:20000], atol=2**-15)
    assert audio_info(second["wav"]).duration == 0.5


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("test/text", "", "none of 0 annotated songs has audio"),
        ("test/b.transcription.txt", "F3-1_1-5_1-GB-F-001 X", "was there bef"),
        ("test/text", "F3-1_1-5_1-GB-F-001 100", None),
    ],
)
def test_dsing_transcripts_are_checked(dsing, tmp_path, file, content, message):
    text(dsing / file, content)
    if message is None:
        summary = prepare("dsing", dsing, tmp_path / "out")
        assert "test" not in summary.splits
        return
    with pytest.raises(ManifestError, match=message):
        prepare("dsing", dsing, tmp_path / "out")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a-1,a,x.wav,2,1,F1,f,OH", "line 2: a-1 goes from 2 to 1 s"),
        ("a-1,a,x.wav,0,,F1,f,OH", "line 2: a-1 goes from 0 to  s"),
    ],
)
def test_dsing_tables_are_checked(dsing, tmp_path, row, message):
    (dsing / "train30").rename(dsing / "else")
    table = dsing / "DSing30.csv"
    head = "utterance_id,recording_id,recording,start,end,speaker,gender,text"
    text(table, f"{head}\n{row}\n")
    with pytest.raises(ManifestError, match=message):
        prepare("dsing", dsing, tmp_path / "out")
    text(table, "utterance_id,recording\n")
    with pytest.raises(ManifestError, match=r"DSing30\.csv: no column start"):
        prepare("dsing", dsing, tmp_path / "out")


def test_a_recording_in_two_splits_is_refused(dsing, tmp_path):
    audio(dsing / "test" / "audio" / "F1-1_1-7_1-GB-F-009.wav")
    with (dsing / "test" / "text").open("a") as stream:
        stream.write("F1-1_1-7_1-GB-F-009 YEAH\n")
    with pytest.raises(
        ManifestError,
        match="recording F1-1_1-7_1-GB-F is in two splits: "
        "F1-1_1-7_1-GB-F-001 in train and F1-1_1-7_1-GB-F-009 in test",
    ):
        prepare("dsing", dsing, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_options_are_checked(dsing, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(ConfigError, match="size is 2: use one of 1, 3, 30"):
        prepare("dsing", dsing, out, size=2)
    with pytest.raises(ConfigError, match="segment_s is 5: the words of dsing"):
        prepare("dsing", dsing, out, segment_s=5)
    for corpus, address in (("dsing", "2747436"), ("n20em", "6905332")):
        with pytest.raises(ManifestError, match=address):
            download(corpus, tmp_path)


# --- N20EM -------------------------------------------------------------------


@pytest.fixture
def n20em(tmp_path):
    folder = tmp_path / "N20EM"
    for name in ("a2", "a10", "b", "c", "lost"):
        audio(folder / "data" / name / "downsample_audio.wav", 1.5)
    audio(folder / "data" / "c" / "downsample_accomp.wav", 1.5)
    lines = {
        "a10": {"split": "train", "lyrics": "Oh, my love"},
        "a2": {"split": "train", "lyrics": "Café"},
        "b": {"split": "valid", "lyrics": "la la"},
        "c": {"split": "test", "lyrics": "don't"},
        "gone": {"split": "test", "lyrics": "x"},
    }
    text(folder / "metadata_split_by_song.json", json.dumps(lines))
    return folder


def test_n20em(n20em, tmp_path):
    out = tmp_path / "out"
    summary = prepare("n20em", n20em, out)
    assert [(r["song_id"], r["text"]) for r in rows(out, "train")] == [
        ("a2", "cafe"),
        ("a10", "oh my love"),
    ]
    (row,) = read_manifest(out / "test.csv", n20em)
    assert row["accomp_wav"].endswith("data/c/downsample_accomp.wav")
    assert row["wav"].endswith("data/c/downsample_audio.wav")
    assert summary.remarks == (
        "1 of 5 annotated songs have no audio and are left out: gone",
        "1 of 5 songs with audio have no annotation and are left out: lost",
    )


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"split": "dev", "lyrics": "la"}, "line b: split 'dev' is none of"),
        ({"split": "train"}, "line b: has no lyrics"),
        ([1], "line b: has no lyrics"),
    ],
)
def test_n20em_metadata_are_checked(n20em, tmp_path, facts, message):
    text(n20em / "metadata_split_by_song.json", json.dumps({"b": facts}))
    with pytest.raises(ManifestError, match=message):
        prepare("n20em", n20em, tmp_path / "out")


def test_n20em_without_metadata(n20em, tmp_path):
    (n20em / "metadata_split_by_song.json").unlink()
    with pytest.raises(ManifestError, match="no metadata_split_by_song"):
        prepare("n20em", n20em, tmp_path / "out")


# --- MiniSinging ------------------------------------------------------------


def test_minisinging_in_both_layouts(tmp_path):
    sizes = {"n_train": 2, "n_valid": 1, "n_test": 1, "song_s": 8.0}
    for name, write in (("dsing", as_dsing), ("n20em", as_n20em)):
        folder, out = tmp_path / name, tmp_path / f"{name}_out"
        write(folder, seed=5, progress=False, **sizes)
        summary = prepare(name, folder, out)
        assert "licence: Apache-2.0" in summary.table()
        assert {*summary.splits} == {"train", "valid", "test"}
        for split in summary.splits:
            for row in read_manifest(out / f"{split}.csv", folder):
                assert is_spellable(row["text"])
                sound = read_audio(row["wav"], sample_rate=RATE)
                assert np.abs(sound).max() > 0.01
                assert 0.5 < row["duration"] <= 8.0
    assert (tmp_path / "dsing/train30/spk2gender").read_text() == "F1 f\nM2 m\n"
    row = read_manifest(tmp_path / "n20em_out/test.csv", tmp_path / "n20em")[0]
    own, other = (audio_info(row[key]) for key in ("wav", "accomp_wav"))
    assert own.duration == other.duration


def test_minisinging_lines_do_not_depend_on_jobs(tmp_path):
    for jobs in (1, 2):
        as_dsing(
            tmp_path / str(jobs), 2, 1, 1, 4.0, n_jobs=jobs, progress=False
        )
    one, two = (
        {
            path.relative_to(tmp_path / jobs): path.read_bytes()
            for path in (tmp_path / jobs).rglob("*.*")
        }
        for jobs in "12"
    )
    assert one == two
    assert len(one) >= 5


def test_minisinging_is_prepared_as_dsing(tmp_path):
    summary = prepare(
        "minisinging",
        tmp_path / "in",
        tmp_path / "out",
        layout="dsing",
        n_train=1,
        n_valid=1,
        n_test=1,
        song_s=4.0,
    )
    assert {*summary.splits} == {"train", "valid", "test"}
