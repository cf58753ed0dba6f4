"""Lyrics of MUSDB18: lines written by hand, their table, and silencing."""

from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep import prepare
from data_prep.manifest import read_manifest
from data_prep.minisinging import as_musdb18
from data_prep.minisinging.corpus import _lyric_lines
from data_prep.musdb18 import TRACKS, VALID_SONGS
from data_prep.musdb18_lyrics import (
    DEV_SONGS,
    HELD_OUT,
    Line,
    lyric_spans,
    read_lines,
    read_lyrics_file,
    silence_outside,
    write_lines,
)
from speechbrain_ext.errors import ManifestError, OutputError

LYRICS = """\
00:00 00:01 a Oh, “Don’t” — go!

00:01 00:02 b la la
*00:02 00:03 c mumble
00:02 00:02 a too short
00:02 00:04 d -
00:09 01:10.5 c late
"""


def song(folder, name, seconds=3.0):
    """Five silent tracks."""
    place = folder / name
    place.mkdir(parents=True)
    for track in TRACKS:
        silence = np.zeros((round(seconds * 44100), 2), np.int16)
        soundfile.write(place / f"{track}.wav", silence, 44100)


def lyrics(folder, name, text=LYRICS):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.txt").write_text(text, encoding="utf-8")


def test_development_songs():
    assert len(DEV_SONGS) == len(VALID_SONGS) == 14
    assert sorted(DEV_SONGS - VALID_SONGS) == [
        "Fergessen - The Wind",
        "Meaxic - You Listen",
    ]
    assert len(HELD_OUT) == 16


def test_lines_of_a_file(tmp_path):
    lyrics(tmp_path, "A - B")
    assert [
        (r.line, r.start_s, r.stop_s, r.category, r.words, r.rejected)
        for r in read_lyrics_file(tmp_path / "A - B.txt")
    ] == [
        (1, 0, 1, "a", "oh don't go", ""),
        (3, 1, 2, "b", "la la", ""),
        (4, 2, 3, "c", "mumble", "marked as unintelligible"),
        (5, 2, 2, "a", "too short", "goes from 2 to 2 s"),
        (6, 2, 4, "d", "", ""),
        (7, 9, 70.5, "c", "late", ""),
    ]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("00:01 00:02 a -", "has vocals but no words"),
        ("00:01 00:02 d la", "has words but no vocals"),
        ("00:05 00:02 a la", "goes from 5 to 2 s"),
        ("* no times at all", "marked as unintelligible"),
        ("00:01 00:02 a 2 hearts", ""),
    ],
)
def test_reasons_to_reject(row, reason, tmp_path):
    lyrics(tmp_path, "x", row)
    (line,) = read_lyrics_file(tmp_path / "x.txt")
    assert line.rejected == reason


@pytest.mark.parametrize(
    "row", ["la la", "00:01 a la", "00:01 00:02 e la", "00:01 00:02 all of us"]
)
def test_lines_of_another_form(row, tmp_path):
    lyrics(tmp_path, "x", f"00:01 00:02 a la\n{row}")
    with pytest.raises(ManifestError, match=r"x\.txt, line 2: .* is not min"):
        read_lyrics_file(tmp_path / "x.txt")


@pytest.fixture
def corpus(tmp_path):
    """Songs of all splits, their lyrics in a folder that sorts before."""
    folder = tmp_path / "corpus"
    for part, names in {
        "train": [
            "A - B & C",
            "Fergessen - The Wind",
            "Fergessen - Nos Palpitants",
            "No - Words",
        ],
        "test": ["T - T"],
    }.items():
        for name in names:
            song(folder / "musdb18hq" / part, name)
    for name in ("A - B and C", "T - T", *sorted(HELD_OUT)):
        if "Fergessen" in name or name[0] in "AT" and " - " in name:
            part = "test" if name == "T - T" else "train"
            lyrics(folder / "lyrics" / part, name, LYRICS)
    return folder


def test_manifests_and_table(corpus, tmp_path):
    out = tmp_path / "out"
    summary = prepare("musdb18_lyrics", corpus, out)
    splits = {
        row["song_id"]: split
        for split in ("train", "valid", "test")
        for row in read_manifest(out / f"{split}.csv", corpus)
    }
    assert splits == {
        "A - B & C": "train",
        "Fergessen - Nos Palpitants": "train",
        "Fergessen - The Wind": "valid",
        "T - T": "test",
    }
    text = (out / "lines.csv").read_text(encoding="utf-8").splitlines()
    assert text[0] == (
        "song,split,line,start_s,stop_s,category,text,words,rejected"
    )
    assert len(text) == 1 + 4 * 6
    assert text[2:7] == [
        "A - B & C,train,3,1,2,b,la la,la la,",
        "A - B & C,train,4,2,3,c,mumble,mumble,marked as unintelligible",
        "A - B & C,train,5,2,2,a,too short,too short,goes from 2 to 2 s",
        "A - B & C,train,6,2,3,d,,,",  # ends with the song
        'A - B & C,train,7,9,70.5,c,late,late,"begins after the end of the '
        'song, 3 s"',
    ]
    assert {line.split for line in read_lines(out / "lines.csv")} == {
        "train",
        "valid",
        "test",
    }
    remarks = "\n".join(summary.remarks)
    assert "songs have no lyrics and are left out: No - Words" in remarks
    assert "12 of 24 lines, in 4 songs, are rejected, 4 of them" in remarks
    assert "text files are of no song: ANiMAL - Rockshow" in remarks


def test_changed_lyrics_are_noticed(corpus, tmp_path):
    out = tmp_path / "out"
    assert prepare("musdb18_lyrics", corpus, out).fresh
    assert not prepare("musdb18_lyrics", corpus, out).fresh
    lyrics(corpus / "lyrics" / "test", "T - T", "00:00 00:02 a other\n")
    with pytest.raises(OutputError, match="was prepared with lyrics="):
        prepare("musdb18_lyrics", corpus, out)
    prepare("musdb18_lyrics", corpus, out, overwrite=True)
    assert len(read_lines(out / "lines.csv")) == 3 * 6 + 1


def test_what_is_wrong_with_folders(corpus, tmp_path):
    (tmp_path / "none").mkdir()
    with pytest.raises(ManifestError, match="no lyrics .* of 5 songs"):
        prepare(
            "musdb18_lyrics",
            corpus,
            tmp_path / "out",
            lyrics_folder=tmp_path / "none",
        )
    lyrics(corpus / "lyrics" / "more", "t-t")
    with pytest.raises(ManifestError, match="are lyrics of one song"):
        prepare("musdb18_lyrics", corpus, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_damaged_tables(tmp_path):
    path = tmp_path / "lines.csv"
    write_lines([Line("x", "train", 1, 1.0, 2.0, "a", "la", "la")], path)
    good = path.read_text(encoding="utf-8")
    for old, new, message in (
        ("song,", "title,", "has not the columns song, split"),
        ("1,2,a", "2,1,a", "goes from 2 to 1 s"),
        ("1,2,a", ",,a", "goes from  to  s"),
        (",a,", ",e,", "category 'e' is none of a, b, c, d"),
        ("train", "dev", "split 'dev' is none of"),
        ("1,2,a", "1,two,a", "number or time is none"),
    ):
        path.write_text(good.replace(old, new), encoding="utf-8")
        with pytest.raises(ManifestError, match=message):
            read_lines(path)


# --- silencing -------------------------------------------------------------


def test_fades_lie_outside_of_spans():
    out = silence_outside(np.ones((10, 2), np.float32), 1, [(4, 6)], fade_s=2)
    # Half a cosine over two samples: 0.5 - 0.5 cos(pi / 4) and its mirror.
    slope = [0.1464, 0.8536]
    expected = [0, 0, *slope, 1, 1, *slope[::-1], 0, 0]
    assert out.dtype == np.float32
    assert out[:, 0] == pytest.approx(expected, abs=1e-4)
    assert np.array_equal(out[:, 0], out[:, 1])


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 9), st.floats(0.1, 4)), max_size=4),
    st.floats(0, 1),
)
def test_silence_is_where_no_span_is_near(spans, fade_s):
    spans = [(start, start + length) for start, length in spans]
    out = silence_outside(np.ones(800), 100, spans, fade_s)
    time = np.arange(800) / 100
    inside, near = np.zeros(800, bool), np.zeros(800, bool)
    for start, stop in spans:
        inside |= (time >= start + 0.01) & (time <= stop - 0.02)
        reach = fade_s + 0.02
        near |= (time >= start - reach) & (time <= stop + reach)
    assert np.all(out[inside] == 1) and np.all(out[~near] == 0)
    assert out.min() >= 0 and out.max() <= 1


def test_rejected_lines_may_be_kept(tmp_path):
    lyrics(tmp_path, "x", "00:02 00:04 a la\n*00:09 00:10 a oh\n")
    lines = read_lyrics_file(tmp_path / "x.txt")
    assert lyric_spans(lines) == [(1.35, 4.65)]
    assert len(lyric_spans(lines, rejected=True)) == 2


# --- MiniSinging -----------------------------------------------------------


def test_lines_of_synthetic_words():
    words = [(0.1, 1.0, "do"), (1.5, 2.6, "re"), (3.0, 3.4, "mi")]
    words += [(7.6, 7.9, "fa"), (7.9, 8.2, "so")]
    clip = SimpleNamespace(words=words, stems={"backing": 0}, duration=63.5)
    assert list(_lyric_lines(clip)) == [
        "00:00 00:03 b do re\n",
        "00:03 00:08 b mi fa so\n",
        "00:08 01:03 d -\n",
    ]


def test_minisinging_with_lyrics(tmp_path):
    folder = as_musdb18(
        tmp_path / "in",
        n_train=2,
        n_test=1,
        song_s=4.0,
        lyrics=True,
        progress=False,
    )
    prepare("musdb18_lyrics", folder, tmp_path / "out")
    lines = read_lines(tmp_path / "out" / "lines.csv")
    assert len({line.song for line in lines}) == 3
    assert all(line.stop_s <= 4 and not line.rejected for line in lines)
    assert any(line.words for line in lines)
