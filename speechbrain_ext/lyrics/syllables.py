"""Which syllable is sung on which note.

A word has as many syllables as vowels among its phones. Its letters are taken
apart at as many places, if their groups of vowels agree; else it stays whole.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import NamedTuple

from speechbrain_ext.lyrics.phones import VOWELS
from speechbrain_ext.lyrics.timed import TimedLyrics, TimedWord
from speechbrain_ext.notes import NoteSequence

# Longest gap that is shared by the syllables around it.
REACH_S = 0.5
# Beyond the last syllable before a longer pause.
TAIL_S = 0.1

_LETTER_GROUPS = re.compile(
    # u after q is no vowel, y before one is none either.
    r"(?:(?<=q)u|y(?=[aeiou])|[^aeiouyà-åæè-ïò-öøœù-ýÿ])+"
    r"|[aeiouyà-åæè-ïò-öøœù-ýÿ]+",
    re.IGNORECASE,
)
_PAIRS = ("ch", "ck", "gh", "ph", "qu", "rh", "sh", "th", "wh")
_STARTS = {a + b for a in "bcdfgkpt" for b in "lr"} - {"dl", "tl"}


class Syllable(NamedTuple):
    """A part of a word and when it sounds.

    Arguments
    ---------
    text : str
        Ends in a hyphen if the word goes on.
    onset, offset : float
        Seconds; the onset is that of the vowel, where a singer puts the note,
        the offset the next syllable's onset or the end of the word.
    line : int
        As that of the word.
    """

    text: str
    onset: float
    offset: float
    line: int = 0


class Attached(NamedTuple):
    """Notes with what is sung on them.

    Arguments
    ---------
    notes : NoteSequence
        Their lyrics end in a hyphen if the word goes on; a note that prolongs
        the syllable in front of it has none.
    lines : tuple of (int or None)
        Of each note that has a lyric: its line.
    lost : tuple of Syllable
        Those without a note.
    """

    notes: NoteSequence
    lines: tuple[int | None, ...]
    lost: tuple[Syllable, ...]


def spelled_syllables(word: str, count: int) -> list[str]:
    """Take the letters of a word apart.

    One consonant between vowels goes with the second one, of several all but
    those that can begin a syllable stay with the first. A silent e at the end
    is no vowel.

    Arguments
    ---------
    word : str
    count : int
        How many syllables it has, 1 or more.

    Returns
    -------
    list of str
        So many parts, which make up the word; or the word alone, where its
        vowels do not tell.

    Example
    -------
    >>> spelled_syllables("always,", 2), spelled_syllables("together", 3)
    (['al', 'ways,'], ['to', 'ge', 'ther'])
    >>> spelled_syllables("time", 1), spelled_syllables("rhythms", 2)
    (['time'], ['rhythms'])
    """
    if count < 2:
        return [word]
    groups = [(m.start(), m.end()) for m in _LETTER_GROUPS.finditer(word)]
    vowels = [k for k, (a, _) in enumerate(groups) if _is_vowel(word, a)]
    if len(vowels) == count + 1 and re.search(
        r"[^aeiouy]e(?:s|d)?\W*$", word, re.IGNORECASE
    ):
        vowels.pop()
    if len(vowels) != count:
        return [word]
    cuts = [0]
    for left, right in zip(vowels, vowels[1:], strict=False):
        begin, end = groups[left][1], groups[right][0]
        between = word[begin:end].lower()
        keep = len(between) - 1
        if between[-2:] in _PAIRS or between[-2:] in _STARTS:
            keep -= 1
        if keep == 0 and between in ("ck", "x"):
            keep = len(between)
        cuts.append(begin + max(keep, 0))
    return [
        word[a:b] for a, b in zip(cuts, [*cuts[1:], len(word)], strict=True)
    ]


def _is_vowel(word, place):
    letter = word[place].lower()
    if letter == "u" and word[place - 1 : place].lower() == "q":
        return False
    if letter == "y" and word[place + 1 : place + 2].lower() in set("aeiou"):
        return False
    return re.match(r"[aeiouyà-åæè-ïò-öøœù-ýÿ]", letter) is not None


def syllables(lyrics: TimedLyrics) -> list[Syllable]:
    """Syllables of timed words.

    Arguments
    ---------
    lyrics : TimedLyrics
        Without phones every word is one syllable.

    Returns
    -------
    list of Syllable
        In order.

    Example
    -------
    >>> from speechbrain_ext.lyrics.timed import TimedPhone
    >>> phones = [("AO", 1.1, 1.3), ("L", 1.3, 1.4), ("EY", 1.4, 2)]
    >>> word = TimedWord(
    ...     "always", 1, 2, phones=tuple(TimedPhone(*phone) for phone in phones)
    ... )
    >>> for syllable in syllables(TimedLyrics([word])):
    ...     print(syllable)
    Syllable(text='al-', onset=1.1, offset=1.4, line=0)
    Syllable(text='ways', onset=1.4, offset=2, line=0)
    """
    found: list[Syllable] = []
    for word in lyrics:
        found += _of_word(word)
    return found


def _of_word(word: TimedWord) -> list[Syllable]:
    onsets = [phone.onset for phone in word.phones if phone.phone in VOWELS]
    parts = spelled_syllables(word.word, len(onsets))
    if len(parts) != len(onsets):
        # Letters do not tell, or there are no phones.
        onsets = (onsets or [word.onset])[:1]
    ends = [*onsets[1:], max(word.offset, onsets[-1])]
    marks = ["-"] * (len(parts) - 1) + [""]
    return [
        Syllable(part + mark, onset, end, word.line)
        for part, mark, onset, end in zip(
            parts, marks, onsets, ends, strict=True
        )
    ]


def attach(notes: NoteSequence, sung: Sequence[Syllable]) -> Attached:
    """Give every syllable to the first note that it is sung on.

    A note belongs to the syllable that sounds longest during it, where two
    syllables share a gap between them of up to half a second. The first note of
    a syllable gets its text; those that follow prolong it. A syllable that has
    no note of its own joins the one that it overlaps most, so that two
    syllables on one pitch stand on one note.

    Arguments
    ---------
    notes : NoteSequence
        Their own lyrics are dropped.
    sung : sequence of Syllable
        In order.

    Returns
    -------
    Attached

    Example
    -------
    >>> notes = NoteSequence([(0, 1, 60), (1, 2, 62), (2, 3, 64), (9, 10, 60)])
    >>> sung = [Syllable("a-", 0.1, 0.9), Syllable("long", 0.9, 2.5)]
    >>> [note.lyric for note in attach(notes, sung).notes]
    ['a-', 'long', None, None]
    >>> attach(notes, [*sung, Syllable("lost", 5, 6)]).lost
    (Syllable(text='lost', onset=5, offset=6, line=0),)
    """
    spans, start = [], None
    for part, after in zip_longest(sung, sung[1:]):
        start = part.onset if start is None else start
        end, follows = part.offset + TAIL_S, None
        if after is not None and after.onset - part.offset <= REACH_S:
            end = follows = (part.offset + after.onset) / 2
        spans.append((start, end))
        start = follows

    def overlap(note, span):
        return min(note.offset, span[1]) - max(note.onset, span[0])

    held: list[list[int]] = [[] for _ in notes]
    placed: set[int] = set()
    for place, note in enumerate(notes):
        shares = [overlap(note, span) for span in spans]
        best = max(range(len(spans)), key=shares.__getitem__, default=None)
        if best is not None and shares[best] > 0 and best not in placed:
            held[place].append(best)
            placed.add(best)
    lost = []
    for k, span in enumerate(spans):
        if k in placed:
            continue
        shares = [overlap(note, span) for note in notes]
        best = max(range(len(shares)), key=shares.__getitem__, default=None)
        if best is None or shares[best] <= 0:
            lost.append(sung[k])
        else:
            held[best].append(k)
    made = [
        replace(note, lyric=_joined([sung[k].text for k in sorted(which)]))
        for note, which in zip(notes, held, strict=True)
    ]
    lines = tuple(sung[min(which)].line if which else None for which in held)
    return Attached(NoteSequence(made), lines, tuple(lost))


def _joined(texts: list[str]) -> str | None:
    """Text of a note: parts of a word touch, words have a space between."""
    whole = ""
    for text in texts:
        if whole.endswith("-"):
            whole = whole[:-1] + text
        else:
            whole = f"{whole} {text}"
    return whole.strip() or None
