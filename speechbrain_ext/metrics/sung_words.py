"""Whether notes carry the words that are sung on them.

Our own protocol; there is no standard. Of the reference's notes those count
that are sung on a word. Such a note is found if an estimated note has its
onset within 50 ms and its pitch within 50 cents (COnP, `metrics.notes`). Which
word it is sung on is told by the reference's words: the last syllable that
begins no later than the note. Which word an estimated note is sung on is told
by `lyrics.syllables.attach`, which scores are written with; where it puts
several syllables on one note, one of them has to be the right one. Words are
told apart by their place in the lyrics, not by their letters: the wrong one of
two equal words is wrong.
"""

from __future__ import annotations

from speechbrain_ext.lyrics.syllables import Syllable, attach, syllables
from speechbrain_ext.lyrics.timed import TimedLyrics
from speechbrain_ext.metrics.notes import match_notes
from speechbrain_ext.notes import NoteSequence

METRICS = ("word", "syllable", "word_of_all", "syllable_of_all")

# Seconds: synthetic notes and phones are written to a tenth of this.
_SLACK_S = 1e-3

Place = tuple[int, int]  # of a word in the lyrics, of a syllable in the word


def _placed(lyrics) -> list[tuple[Place, Syllable]]:
    """Syllables with their places."""
    return [
        ((number, k), part)
        for number, word in enumerate(lyrics)
        for k, part in enumerate(syllables(TimedLyrics([word])))
    ]


def sung_syllables(
    notes: NoteSequence, lyrics: TimedLyrics
) -> list[Place | None]:
    """Tell which syllable each note of a reference is sung on.

    Arguments
    ---------
    notes : NoteSequence
    lyrics : TimedLyrics
        With phones; without them a word counts as one syllable.

    Returns
    -------
    list of ((int, int) or None)
        Word and syllable of the word, from 0; None for a note that begins
        outside the words.

    Example
    -------
    >>> from speechbrain_ext.lyrics.timed import TimedWord
    >>> words = TimedLyrics([TimedWord("la", 0, 2), TimedWord("li", 2, 3)])
    >>> notes = NoteSequence([(0, 1, 60), (1, 2, 62), (2, 3, 64), (5, 6, 64)])
    >>> sung_syllables(notes, words)
    [(0, 0), (0, 0), (1, 0), None]
    """
    parts = _placed(lyrics)
    found = []
    for note in notes:
        begun = [p for p in parts if p[1].onset <= note.onset + _SLACK_S]
        place = begun[-1][0] if begun else None
        if place and note.onset >= lyrics[place[0]].offset - _SLACK_S:
            place = None
        found.append(place)
    return found


def attached_syllables(
    notes: NoteSequence, lyrics: TimedLyrics
) -> list[set[Place]]:
    """Tell which syllables `attach` puts on each note.

    Arguments
    ---------
    notes : NoteSequence
    lyrics : TimedLyrics

    Returns
    -------
    list of set of (int, int)
        Word and syllable; of a note that prolongs a syllable, that one; of
        several syllables on one note, all; none before the first.

    Example
    -------
    >>> from speechbrain_ext.lyrics.timed import TimedWord
    >>> words = TimedLyrics([TimedWord("la", 0, 2), TimedWord("li", 2, 3)])
    >>> notes = NoteSequence([(0, 1, 60), (1, 2, 62), (2, 3, 64)])
    >>> attached_syllables(notes, words)
    [{(0, 0)}, {(0, 0)}, {(1, 0)}]
    """
    placed = _placed(lyrics)
    # Numbers for texts, so that equal syllables can be told apart.
    numbered = [
        part._replace(text=str(k)) for k, (_, part) in enumerate(placed)
    ]
    found: list[set[Place]] = []
    for note in attach(notes, numbered).notes:
        if note.lyric is not None:
            found.append({placed[int(k)][0] for k in note.lyric.split()})
        else:
            # It prolongs the last syllable of the note in front of it.
            before = found[-1] if found else set()
            found.append({max(before)} if before else set())
    return found


def evaluate_sung_words(
    reference: NoteSequence,
    reference_lyrics: TimedLyrics,
    estimate: NoteSequence,
    lyrics: TimedLyrics,
) -> dict[str, float]:
    """Score the words on notes.

    Arguments
    ---------
    reference, estimate : NoteSequence
        What was sung, and what was found.
    reference_lyrics, lyrics : TimedLyrics
        The same words at their true and their found times.

    Returns
    -------
    dict of str to float
        `word` and `syllable`: of the notes that were found, the share that
        stands on the right one, nan if none was found; `word_of_all` and
        `syllable_of_all`: of all notes, the share that was found and stands on
        the right one. All nan if no note is sung on a word.

    Example
    -------
    Two of three notes are found; the first word is held for too long:

    >>> from speechbrain_ext.lyrics.timed import TimedWord
    >>> notes = NoteSequence([(0, 1, 60), (1, 2, 62), (2, 3, 64)])
    >>> sung = [TimedWord("a", 0, 1), TimedWord("b", 1, 2)]
    >>> sung = TimedLyrics([*sung, TimedWord("c", 2, 3)])
    >>> late = [TimedWord("a", 0, 2), TimedWord("b", 2, 2.5)]
    >>> late = TimedLyrics([*late, TimedWord("c", 2.5, 3)])
    >>> scores = evaluate_sung_words(notes, sung, notes[1:], late)
    >>> scores["word"], round(scores["word_of_all"], 3)
    (0.5, 0.333)
    """
    sung = sung_syllables(reference, reference_lyrics)
    attached = attached_syllables(estimate, lyrics)
    pairs = [
        (sung[one], attached[two])
        for one, two in match_notes(reference, estimate, offset_ratio=None)
        if sung[one] is not None
    ]
    syllable = sum(true in found for true, found in pairs)
    word = sum(
        true[0] in {place[0] for place in found} for true, found in pairs
    )
    notes = sum(place is not None for place in sung)
    counts = (word, syllable, word, syllable)
    totals = (len(pairs), len(pairs), notes, notes)
    return {
        name: count / total if total else float("nan")
        for name, count, total in zip(METRICS, counts, totals, strict=True)
    }
