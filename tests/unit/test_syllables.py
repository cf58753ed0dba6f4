"""Syllables of words, and the notes that they are sung on."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechbrain_ext.lyrics.syllables import (
    Syllable,
    attach,
    spelled_syllables,
    syllables,
)
from speechbrain_ext.lyrics.timed import TimedLyrics, TimedPhone, TimedWord
from speechbrain_ext.notes import NoteSequence


@pytest.mark.parametrize(
    "divided",
    [
        "time",
        "al ways",
        "to ge ther",
        "hap py",
        "be fore",
        "bro ken",
        "win dow",
        "beau ti ful",
        "a gain",
        "yes ter day,",
        "ques tion",
        "can ción",
    ],
)
def test_words_are_divided_by_sound(divided):
    parts = divided.split()
    assert spelled_syllables("".join(parts), len(parts)) == parts


@pytest.mark.parametrize(("word", "count"), [("rhythm", 2), ("area", 4)])
def test_a_word_whose_letters_do_not_tell_stays_whole(word, count):
    assert spelled_syllables(word, count) == [word]


@settings(deadline=None)
@given(st.text(max_size=12), st.integers(1, 5))
def test_parts_make_up_the_word(word, count):
    parts = spelled_syllables(word, count)
    assert "".join(parts) == word
    assert len(parts) in (1, count)


def word(text, phones, onset, offset, line=0):
    return TimedWord(
        text, onset, offset, 0.5, line, tuple(TimedPhone(*p) for p in phones)
    )


def test_a_syllable_begins_at_its_vowel():
    lyrics = TimedLyrics(
        [
            word("Hi", [("HH", 0, 0.1), ("AY", 0.1, 0.4)], 0, 0.4),
            word(
                "baby",
                [
                    ("B", 0.5, 0.6),
                    ("EY", 0.6, 0.8),
                    ("B", 0.8, 0.9),
                    ("IY", 0.9, 1.2),
                ],
                0.5,
                1.2,
                line=1,
            ),
        ]
    )
    assert syllables(lyrics) == [
        Syllable("Hi", 0.1, 0.4, 0),
        Syllable("ba-", 0.6, 0.9, 1),
        Syllable("by", 0.9, 1.2, 1),
    ]


def test_a_word_without_phones_is_one_syllable():
    lyrics = TimedLyrics([TimedWord("always", 1.0, 2.0)])
    assert syllables(lyrics) == [Syllable("always", 1.0, 2.0)]


NOTES = NoteSequence([(0, 1, 60), (1, 2, 62), (2, 3, 64), (5, 6, 65)])


@pytest.mark.parametrize(
    ("sung", "lyrics"),
    [
        # One to one, each a little late or early.
        (
            [("a", 0.1, 1), ("b", 0.9, 2), ("c", 2.1, 3), ("d", 4.9, 6)],
            ["a", "b", "c", "d"],
        ),
        # A syllable over three notes; the next one after a break.
        ([("a", 0, 3), ("d", 5, 6)], ["a", None, None, "d"]),
        # Two syllables of a word on one note, and a word after them.
        (
            [("al-", 0, 0.5), ("ways", 0.5, 1), ("time", 1, 3)],
            ["always", "time", None, None],
        ),
        # Two syllables share the gap between them: up to 1.9, from 1.9 on.
        ([("a", 0, 1.7), ("b", 2.1, 3)], ["a", None, "b", None]),
        ([], [None, None, None, None]),
    ],
)
def test_syllables_find_their_notes(sung, lyrics):
    found = attach(NOTES, [Syllable(*part) for part in sung])
    assert [note.lyric for note in found.notes] == lyrics
    assert found.lost == ()
    assert found.notes.intervals.tolist() == NOTES.intervals.tolist()


def test_a_syllable_where_nothing_is_sung_is_lost():
    sung = [Syllable("a", 0, 1, 0), Syllable("b", 3.6, 4.2, 1)]
    found = attach(NOTES, sung)
    assert found.lost == (sung[1],)
    assert found.lines == (0, None, None, None)


def test_nothing_to_sing_on():
    sung = [Syllable("a", 0, 1)]
    assert attach(NoteSequence(), sung).lost == tuple(sung)


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 8), st.floats(0.01, 2)), max_size=8))
def test_every_syllable_is_placed_once_or_lost(spans):
    spans.sort()
    sung = [Syllable(f"s{k}", a, a + d) for k, (a, d) in enumerate(spans)]
    found = attach(NOTES, sung)
    placed = " ".join(note.lyric or "" for note in found.notes).split()
    told = placed + [part.text for part in found.lost]
    assert sorted(told) == sorted(part.text for part in sung)
