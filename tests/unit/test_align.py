"""Alignment of lyrics, hand-sized; files of timed lyrics; their scores."""

import numpy as np
import pytest

from speechbrain_ext.cli import main
from speechbrain_ext.errors import LyricsError, NoteError, OutputError
from speechbrain_ext.lyrics.align import (
    LyricLine,
    LyricWord,
    align,
    lines_of,
    parse_lyrics,
    read_lyrics,
    viterbi,
)
from speechbrain_ext.lyrics.lexicon import Lexicon
from speechbrain_ext.lyrics.phones import INDEX
from speechbrain_ext.lyrics.posteriorgram import Posteriorgram
from speechbrain_ext.lyrics.timed import (
    FORMATS,
    TimedLyrics,
    TimedPhone,
    TimedWord,
    read_phones,
    read_timed,
    write_timed,
)
from speechbrain_ext.metrics.alignment import (
    AlignmentStats,
    evaluate_alignment,
    evaluate_alignment_paths,
)

LEXICON = Lexicon(
    own={
        "la": "L AA",
        "li": "L IY",
        "me": "M IY",
        "no": ["N OW", "N AA"],
        "ah": "AA",
    }
)


def said(text, rate=50, sure=0.9):
    """Posteriorgram of `10*SIL 5*L ...`: frames and phones."""
    names = []
    for piece in text.split():
        count, name = piece.split("*")
        names += [INDEX[name]] * int(count)
    probs = np.full((len(names), 41), (1 - sure) / 40)
    probs[np.arange(len(names)), names] = sure
    return Posteriorgram(probs, rate)


def times(lyrics):
    return [(w.word, round(w.onset, 3), round(w.offset, 3)) for w in lyrics]


# --- Viterbi ---------------------------------------------------------------


def all_paths(scores, columns, before, costs, first, last):
    """The best way, found by trying all of them."""
    best, found = -np.inf, None
    paths = [([s], scores[0, columns[s]]) for s in np.flatnonzero(first)]
    for t in range(1, len(scores)):
        longer = []
        for path, value in paths:
            for state in range(len(columns)):
                for way, cost in zip(before[state], costs[state], strict=True):
                    if way == path[-1]:
                        gain = scores[t, columns[state]] - cost
                        longer.append(([*path, state], value + gain))
        paths = longer
    for path, value in paths:
        if last[path[-1]] and value > best:
            best, found = value, path
    return found


def test_best_of_all_ways():
    rng = np.random.default_rng(0)
    before = np.array([[0, -1, -1], [1, 0, -1], [2, 1, 0], [3, 2, 1]])
    columns = np.array([0, 1, 2, 1])
    first = np.array([True, True, False, False])
    last = np.array([False, False, True, True])
    for _ in range(20):
        scores = rng.normal(size=(6, 3))
        costs = rng.uniform(size=before.shape)
        path = viterbi(scores, columns, before, costs, first, last)
        assert path.tolist() == all_paths(
            scores, columns, before, costs, first, last
        )


def test_spans_hold_states_back():
    scores = np.zeros((4, 2))
    chain = np.array([[0, -1], [1, 0]])
    first = np.array([True, False])
    spans = np.array([[0, 3], [3, 4]])
    path = viterbi(
        scores, np.array([0, 1]), chain, chain * 0.0, first, ~first, spans
    )
    assert path.tolist() == [0, 0, 0, 1]


def test_no_way_is_told():
    chain = np.array([[0, -1], [1, 0]])
    first = np.array([True, False])
    with pytest.raises(LyricsError, match="no way"):
        viterbi(np.zeros((1, 2)), np.array([0, 1]), chain, chain, first, ~first)


# --- words -----------------------------------------------------------------


def test_words_and_phones_have_their_times():
    heard = said("10*SIL 5*L 20*AA 15*SIL 5*L 10*IY 10*SIL")
    found = align(heard, "La li", LEXICON)
    assert times(found) == [("La", 0.2, 0.7), ("li", 1.0, 1.3)]
    assert [(p.phone, p.onset) for p in found[0].phones] == [
        ("L", 0.2),
        ("AA", 0.3),
    ]
    assert found[0].confidence == pytest.approx(0.9, abs=1e-6)


def test_words_follow_without_silence_at_100_frames():
    found = align(said("10*M 40*IY 8*L 42*AA", 100), "me\nla", LEXICON)
    assert times(found) == [("me", 0.0, 0.5), ("la", 0.5, 1.0)]
    assert [word.line for word in found] == [0, 1]


def test_start_of_the_posteriorgram_counts():
    found = align(said("5*L 20*AA").moved(3.0), "la", LEXICON)
    assert times(found) == [("la", 3.0, 3.5)]


def test_music_between_lines_is_anything():
    music = " ".join(f"3*{name}" for name in ("K", "ZH", "OY", "W", "TH") * 4)
    heard = said(f"5*L 20*AA {music} 5*M 20*IY")
    assert times(align(heard, "la\nme", LEXICON)) == [
        ("la", 0.0, 0.5),
        ("me", 1.7, 2.2),
    ]


def test_one_of_several_pronunciations():
    found = align(said("5*N 20*AA 5*SIL"), "no", LEXICON)
    assert [p.phone for p in found[0].phones] == ["N", "AA"]


def test_optional_words_may_be_missing():
    text = "la (me me) li"
    short = align(said("5*L 20*AA 5*L 20*IY"), text, LEXICON)
    assert [word.word for word in short] == ["la", "li"]
    whole = align(
        said("5*L 20*AA 5*M 10*IY 5*M 10*IY 5*L 20*IY"), text, LEXICON
    )
    assert [word.word for word in whole] == ["la", "(me", "me)", "li"]


def test_lines_may_be_sung_again():
    heard = said("5*L 20*AA 5*SIL 5*L 20*AA 5*SIL 5*M 20*IY")
    once = align(heard, "la\nme", LEXICON)
    assert len(once) == 2
    twice = align(heard, "la\nme", LEXICON, repeats=True)
    assert [(w.word, w.line) for w in twice] == [
        ("la", 0),
        ("la", 1),
        ("me", 2),
    ]


def test_times_of_lines_decide_between_places():
    heard = said("5*L 20*AA 75*SIL 5*L 20*AA 75*SIL")
    text = [LyricLine((LyricWord("la"),), onset=2.1)]
    assert times(align(heard, text, LEXICON)) == [("la", 2.0, 2.5)]
    text = [LyricLine((LyricWord("la"),), onset=0.3, offset=0.6)]
    assert times(align(heard, text, LEXICON)) == [("la", 0.0, 0.5)]


def test_lines_without_times_lie_between_others():
    heard = said("50*SIL 5*L 20*AA 25*SIL 5*M 20*IY 25*SIL 5*L 20*IY 25*SIL")
    lines = parse_lyrics("la\nme\nli")
    lines = [
        LyricLine(line.words, onset)
        for line, onset in zip(lines, (1.0, None, 3.0), strict=True)
    ]
    assert [word.onset for word in align(heard, lines, LEXICON)] == [1, 2, 3]


def test_ctc_posteriors_are_followed():
    # A spike for each phone, blanks elsewhere; two equal phones in a row.
    probs = said("1*SIL 1*L 3*SIL 1*AA 4*SIL 1*AA 5*SIL").probs
    blank = np.full(len(probs), 0.98)
    blank[[1, 5, 10]] = 0.01
    heard = Posteriorgram(probs, 50, blank=blank)
    found = align(heard, "la ah", LEXICON)
    assert [round(word.onset * 50) for word in found] == [1, 10]
    assert [round(p.onset * 50) for p in found[0].phones] == [1, 5]


def test_lyrics_that_do_not_fit():
    with pytest.raises(LyricsError, match=r"60 words do not fit .* 0\.5 s"):
        align(said("25*L"), "la " * 60, LEXICON)
    lines = [LyricLine((LyricWord("la"),), onset=9.0)]
    with pytest.raises(LyricsError, match="begins at 9 s but the recording"):
        align(said("25*L"), lines, LEXICON)
    with pytest.raises(LyricsError, match="no word"):
        parse_lyrics("[Chorus]\n---\n")


def test_repeated_lines_and_headings():
    lines = parse_lyrics("[Chorus x2]\nla la x3\nme")
    assert [len(line.words) for line in lines] == [2, 2, 2, 1]


# --- files -----------------------------------------------------------------

SONG = TimedLyrics(
    [
        TimedWord(
            "Hello,",
            1.25,
            1.75,
            0.5,
            0,
            (TimedPhone("HH", 1.25, 1.5, 0.4), TimedPhone("OW", 1.5, 1.75)),
        ),
        TimedWord('"you"', 1.75, 2.5, 1.0, 0),
        TimedWord("été", 62.0, 63.5, None, 1),
    ]
)


@pytest.mark.parametrize("name", FORMATS)
def test_round_trips(name, tmp_path):
    path = write_timed(SONG, tmp_path / f"song{FORMATS[name].suffix}")
    back = read_timed(path)
    if name == "json":
        assert back == SONG
    if name == "srt":
        assert times(back) == [
            ('Hello, "you"', 1.25, 2.5),
            ("été", 62.0, 63.5),
        ]
    else:
        assert times(back) == times(SONG)
    if name == "textgrid":
        assert [p.phone for p in back[0].phones] == ["HH", "OW"]
    with pytest.raises(OutputError, match="exists already"):
        write_timed(SONG, path)


def test_lrc_as_written(tmp_path):
    path = write_timed(SONG, tmp_path / "song.lrc")
    assert path.read_text("utf-8").splitlines()[0] == (
        '[00:01.25]<00:01.25> Hello, <00:01.75> "you" <00:02.50>'
    )
    write_timed(SONG, path, overwrite=True, enhanced=False)
    assert path.read_text("utf-8").splitlines() == [
        '[00:01.25]Hello, "you"',
        "[00:02.50]",
        "[01:02.00]été",
        "[01:03.50]",
    ]
    lines = read_lyrics(path)
    assert [(line.onset, len(line.words)) for line in lines] == [
        (1.25, 2),
        (62.0, 1),
    ]


def test_lrc_of_others(tmp_path):
    path = tmp_path / "song.lrc"
    path.write_text("[ar:Me]\n[offset:+500]\n[00:10.00][00:20.5]la la\n")
    assert times(read_timed(path)) == [
        ("la la", 9.5, 20.0),
        ("la la", 20.0, 21.0),
    ]


def test_short_textgrid(tmp_path):
    path = tmp_path / "song.TextGrid"
    path.write_text(
        'File type = "ooTextFile"\nObject class = "TextGrid"\n\n0\n2\n'
        '<exists>\n1\n"IntervalTier"\n"words"\n0\n2\n2\n0\n0.5\n""\n0.5\n2\n'
        '"say ""3"""\n'
    )
    assert times(read_timed(path)) == [('say "3"', 0.5, 2.0)]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "word,start\nla,1\n", "expected the columns"),
        ("a.csv", "word,onset_s,offset_s\nla,x,2\n", "no numbers"),
        ("a.csv", "word,onset_s,offset_s\nla,3,2\n", "its end comes first"),
        ("a.csv", "word,onset_s,offset_s\nla,3,4\nla,1,2\n", "sort them"),
        ("a.lrc", "la la\n", "no line with a time"),
        ("a.srt", "1\n00:01 --> 2\nla\n", "cue 1"),
        ("a.json", "[]", "check what wrote it"),
        ("a.TextGrid", "la", "no TextGrid"),
        ("a.xyz", "la", "no format of timed lyrics"),
    ],
)
def test_faulty_files(name, text, message, tmp_path):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(LyricsError, match=message) as caught:
        read_timed(path)
    assert str(caught.value).startswith(str(path))


# --- scores ----------------------------------------------------------------


def words(*onsets):
    return TimedLyrics(
        TimedWord(f"w{k}", onset, onset + 0.5) for k, onset in enumerate(onsets)
    )


def test_scores_by_hand():
    scores = evaluate_alignment(words(1, 2, 3, 5), words(1.1, 2.0, 3.4, 5.2))
    # Errors 0.1, 0, 0.4, 0.2; wrong segments 1-1.1, 3-3.4 and 5-5.2 of 4.
    assert scores["median"] == pytest.approx(0.15)
    assert scores["mean"] == pytest.approx(0.175)
    assert scores["PCO"] == 0.75
    assert 0.8 < scores["PCS"] < 0.9
    assert scores["found"] == 1


def test_missing_words_are_wrong():
    heard = TimedLyrics(word for word in words(1, 2, 3, 4) if word.onset != 2)
    scores = evaluate_alignment(words(1, 2, 3, 4), heard)
    assert (scores["PCO"], scores["found"], scores["mean"]) == (0.75, 0.75, 0)
    none = evaluate_alignment(words(1), TimedLyrics())
    assert (none["PCO"], none["mean"]) == (0, np.inf)
    with pytest.raises(LyricsError, match="0 words"):
        evaluate_alignment(TimedLyrics(), words(1))


def test_folders_are_paired(tmp_path):
    for side in ("ref", "est"):
        (tmp_path / side).mkdir()
    write_timed(words(1, 2), tmp_path / "ref" / "a.csv")
    write_timed(words(1, 2), tmp_path / "est" / "a.lrc")
    write_timed(words(1, 2), tmp_path / "est" / "b.json")
    stats, left, right = evaluate_alignment_paths(
        tmp_path / "ref", tmp_path / "est"
    )
    assert (len(stats), left, right) == (1, [], ["b"])
    assert "alignment of word onsets" in stats.table()
    with pytest.raises(NoteError, match="was scored already"):
        stats.append("a", words(1), words(1))
    assert isinstance(stats.groups(), dict)
    assert AlignmentStats(0.1).tolerances == {"window": 0.1}


# --- commands --------------------------------------------------------------


def test_evaluate_command(tmp_path, capsys):
    one = write_timed(words(1, 2), tmp_path / "a.csv")
    two = write_timed(words(1, 2.5), tmp_path / "b.lrc")
    assert main(["evaluate", "alignment", str(one), str(two)]) == 0
    out = capsys.readouterr().out
    assert "PCO" in out
    assert "0.250" in out
    assert main(["evaluate", "alignment", str(one), str(two), "--json"]) == 0
    assert '"PCO": 0.5' in capsys.readouterr().out


def test_align_command(tmp_path, capsys, monkeypatch):
    from speechbrain_ext.audio import write_audio
    from speechbrain_ext.inference import aligner as module

    class Model(module.AcousticModel):
        def _hear(self, wav):
            assert len(wav) == 16000
            return said("10*SIL 5*L 20*AA 15*SIL")

    monkeypatch.setattr(
        module.LyricsAligner,
        "from_hparams",
        lambda *_, **__: module.LyricsAligner(Model(), LEXICON),
    )
    song, text = tmp_path / "song.wav", tmp_path / "song.txt"
    write_audio(song, np.zeros((22050, 2)), 22050)
    text.write_text("La!\n")
    out = tmp_path / "out.csv"
    command = ["align", str(song), str(text), "-o", str(out)]
    assert main(command) == 0
    assert "1 words" not in capsys.readouterr().err
    assert times(read_timed(out)) == [("La!", 0.2, 0.7)]
    assert main(command) == 2
    assert "--force" in capsys.readouterr().err
    assert main([*command, "--lines-only", "--force"]) == 2
    assert "--lines-only" in capsys.readouterr().err
    phones = tmp_path / "phones.csv"
    assert main([*command, "--force", "--phones", str(phones)]) == 0
    assert [tuple(phone[:3]) for phone in read_phones(phones)] == [
        ("L", 0.2, 0.3),
        ("AA", 0.3, 0.7),
    ]
    assert main([*command, "--force", "--phones", str(out)]) == 2
    assert main([*command, "--force", "--phones", "a.txt"]) == 2
    err = capsys.readouterr().err
    assert "name two files" in err and "must end in .csv" in err
    assert main(["align", str(song), str(text), "-o", "a.xyz"]) == 2
    assert ".TextGrid" in capsys.readouterr().err
    # Of another song.
    text.write_text("Me\n")
    assert main([*command, "--force"]) == 0
    assert "other sounds in their place" in capsys.readouterr().err
    # More words than the second can hold.
    text.write_text("La la la la li la la la\n" * 9)
    assert main([*command, "--force"]) == 2
    assert "72 words do not fit into the recording of 1.0 s" in (
        capsys.readouterr().err
    )
    for nothing in ("", "[Verse]\n...\n", "\u2665\n"):
        text.write_text(nothing, encoding="utf-8")
        assert main([*command, "--force"]) == 2
        err = capsys.readouterr().err
        assert err.startswith("singbrain: error: ")
        assert err.count("\n") == 1
    text.write_text("La!\n")
    assert main(["align", "none.wav", str(text), "-o", str(out)]) == 2
    assert "none.wav: no such file" in capsys.readouterr().err


def test_lines_of_words():
    assert [w.text for w in lines_of(["a", "b"])[0].words] == ["a", "b"]
