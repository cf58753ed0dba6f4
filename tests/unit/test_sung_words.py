"""Words on notes, on tables that a person can check."""

import numpy as np
import pytest

from speechbrain_ext.lyrics.timed import TimedLyrics, TimedPhone, TimedWord
from speechbrain_ext.metrics.sung_words import (
    attached_syllables,
    evaluate_sung_words,
    sung_syllables,
)
from speechbrain_ext.notes import NoteSequence

# "mama" on two notes, "la" on one that goes on into another, "la" once more.
NOTES = NoteSequence(
    [(0.1, 1, 60), (1.1, 2, 62), (2.1, 3, 64), (3, 4, 65), (4.1, 5, 60)]
)
WORDS = TimedLyrics(
    [
        TimedWord(
            "mama",
            0.0,
            2.0,
            phones=tuple(
                TimedPhone(*phone)
                for phone in (
                    ("M", 0.0, 0.1),
                    ("AA", 0.1, 1.0),
                    ("M", 1.0, 1.1),
                    ("AA", 1.1, 2.0),
                )
            ),
        ),
        TimedWord("la", 2.0, 4.0, phones=(TimedPhone("AA", 2.1, 4.0),)),
        TimedWord("la", 4.0, 5.0, phones=(TimedPhone("AA", 4.1, 5.0),)),
    ]
)
PLACES = [(0, 0), (0, 1), (1, 0), (1, 0), (2, 0)]


def moved(words, seconds):
    return TimedLyrics(
        TimedWord(
            word.word,
            word.onset + seconds,
            word.offset + seconds,
            phones=tuple(
                TimedPhone(p.phone, p.onset + seconds, p.offset + seconds)
                for p in word.phones
            ),
        )
        for word in words
    )


def test_places_of_true_and_of_written_syllables():
    assert sung_syllables(NOTES, WORDS) == PLACES
    assert attached_syllables(NOTES, WORDS) == [{place} for place in PLACES]


def test_all_is_right():
    scores = evaluate_sung_words(NOTES, WORDS, NOTES, WORDS)
    assert set(scores.values()) == {1.0}


def test_equal_words_are_told_apart_by_their_places():
    # A second late, every syllable stands on the note after its own, and the
    # last one on none: the fourth note is right, by the length of its word;
    # the second has the right word; the last has "la", but the other one.
    late = moved(WORDS, 1.0)
    assert attached_syllables(NOTES, late) == [
        set(),
        {(0, 0)},
        {(0, 1)},
        {(1, 0)},
        {(1, 0)},
    ]
    scores = evaluate_sung_words(NOTES, WORDS, NOTES, late)
    assert (scores["syllable"], scores["word"]) == (0.2, 0.4)


def test_notes_that_were_not_found():
    scores = evaluate_sung_words(NOTES, WORDS, NOTES[:2], WORDS)
    assert scores["word"] == 1.0
    # Two of five notes were found.
    assert scores["word_of_all"] == scores["syllable_of_all"] == 0.4
    wrong = NoteSequence((n.onset, n.offset, n.midi + 1) for n in NOTES)
    scores = evaluate_sung_words(NOTES, WORDS, wrong, WORDS)
    assert np.isnan(scores["word"]) and scores["word_of_all"] == 0.0


def test_a_note_without_a_word_does_not_count():
    hummed = NoteSequence([*NOTES, (7, 8, 60)])
    scores = evaluate_sung_words(hummed, WORDS, NOTES, WORDS)
    assert scores["syllable_of_all"] == 1.0


@pytest.mark.parametrize("words", [TimedLyrics(), moved(WORDS, 100.0)])
def test_words_that_are_nowhere(words):
    scores = evaluate_sung_words(NOTES, WORDS, NOTES, words)
    assert scores["word"] == scores["syllable_of_all"] == 0.0
    nothing = evaluate_sung_words(NOTES, words, NOTES, WORDS)
    assert all(np.isnan(value) for value in nothing.values())
