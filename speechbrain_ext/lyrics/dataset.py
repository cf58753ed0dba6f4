"""Phones beside the sound of a transcription data set.

`add_phones` gives the items of `datasets.transcription_dataset` the phone of
each of their frames; `song_lyrics` what a whole song says, and when.
"""

from __future__ import annotations

import csv
from functools import lru_cache
from math import isfinite
from pathlib import Path

import numpy as np
import torch

from speechbrain_ext.errors import LyricsError, ManifestError
from speechbrain_ext.frames import frame_centres
from speechbrain_ext.lyrics.phones import INDEX, SILENCE, fold
from speechbrain_ext.lyrics.timed import (
    TimedLyrics,
    TimedPhone,
    TimedWord,
    lyrics_text,
)

OUTPUT_KEYS = ["phone_target"]
_COLUMNS = ["start_s", "stop_s", "name"]
_SLACK = 1e-4  # s, to which times are written


def read_segments(path) -> list[tuple[float, float, str]]:
    r"""Read the words or the phones of a song of MiniSinging.

    Arguments
    ---------
    path : str or Path
        CSV with the columns start_s, stop_s, name.

    Returns
    -------
    list of (float, float, str)
        In order, none inside another; seconds.

    Raises
    ------
    LyricsError
        If the file is missing or holds something else.

    Example
    -------
    >>> path = getfixture("tmp_path") / "phones.csv"
    >>> _ = path.write_text("start_s,stop_s,name\n0.5,0.75,AA\n")
    >>> read_segments(path)
    [(0.5, 0.75, 'AA')]
    """
    path = Path(path)
    rows = list(csv.reader(lyrics_text(path).splitlines()))
    if not rows or rows[0] != _COLUMNS:
        raise LyricsError(
            f"{path}: line 1: expected the columns {','.join(_COLUMNS)}"
        )
    found, before = [], 0.0
    for number, row in enumerate(rows[1:], start=2):
        try:
            start, stop, name = float(row[0]), float(row[1]), row[2]
        except (ValueError, IndexError):
            raise LyricsError(
                f"{path}: line {number}: expected two times and a name"
            ) from None
        if not (isfinite(stop) and before - _SLACK <= start <= stop):
            raise LyricsError(
                f"{path}: line {number}: goes from {start:g} to {stop:g} s "
                f"after {before:g} s: sort the lines"
            )
        found.append((start, stop, name))
        before = stop
    return found


_cached_segments = lru_cache(maxsize=4096)(read_segments)


def folded_segments(segments) -> list[tuple[float, float, str]]:
    """Phones of any inventory as those of the 41 classes.

    Arguments
    ---------
    segments : iterable of (float, float, str)
        Start, end and name.

    Returns
    -------
    list of (float, float, str)
        A phone that takes several to say gives each an equal part of its
        time; what is no phone is left out.

    Example
    -------
    >>> folded_segments([(0.0, 0.5, "TS"), (0.5, 1.0, "OO")])
    [(0.0, 0.25, 'T'), (0.25, 0.5, 'S'), (0.5, 1.0, 'OW')]
    """
    found = []
    for start, stop, name in segments:
        phones = fold(name)
        edges = np.linspace(start, stop, len(phones) + 1).tolist()
        found += zip(edges[:-1], edges[1:], phones, strict=True)
    return found


def phones_at(segments, times) -> np.ndarray:
    """What a network with a `PhoneHead` should say at given times.

    Where a phone follows itself, as in "la la" sung on its vowel alone, the
    last frame of the first one is a blank: else nothing would tell them apart.

    Arguments
    ---------
    segments : iterable of (float, float, str)
        As for `folded_segments`.
    times : np.ndarray (n,)
        Seconds, rising.

    Returns
    -------
    np.ndarray (n,) int64
        Columns of `PhoneHead`: 0 for a blank, k + 1 for phone k of `PHONES`;
        silence where there is no phone.

    Example
    -------
    >>> twice = [(0.0, 0.3, "AA"), (0.3, 0.5, "AA")]
    >>> found = phones_at(twice, np.arange(6) / 10)
    >>> aa, sil = INDEX["AA"] + 1, INDEX["SIL"] + 1
    >>> found.tolist() == [aa, aa, 0, aa, aa, sil]
    True
    """
    times = np.asarray(times, dtype=np.float64)
    result = np.full(len(times), 1 + INDEX[SILENCE], np.int64)
    phones = folded_segments(segments)
    if not phones:
        return result
    starts = np.array([start for start, _, _ in phones])
    stops = np.array([stop for _, stop, _ in phones])
    names = np.array([1 + INDEX[name] for _, _, name in phones])
    place = np.searchsorted(starts, times, side="right") - 1
    inside = (place >= 0) & (times < stops[np.maximum(place, 0)])
    result[inside] = names[place[inside]]
    again = (result[1:] == result[:-1]) & (place[1:] != place[:-1])
    result[:-1][again & inside[1:] & inside[:-1]] = 0
    return result


def timed_words(words, phones) -> TimedLyrics:
    """Words with the phones that lie in them.

    Arguments
    ---------
    words, phones : iterable of (float, float, str)
        From `read_segments`; the phones of any inventory.

    Returns
    -------
    TimedLyrics
        Phones are those of the 41 classes.

    Example
    -------
    >>> lyrics = timed_words([(0, 1, "la")], [(0, 0.2, "L"), (0.2, 1, "AA")])
    >>> [phone.phone for phone in lyrics[0].phones]
    ['L', 'AA']
    """
    phones = list(phones)
    return TimedLyrics(
        TimedWord(
            name,
            start,
            stop,
            phones=tuple(
                TimedPhone(phone, first, last)
                for first, last, phone in folded_segments(
                    phone
                    for phone in phones
                    if phone[0] >= start - _SLACK and phone[1] <= stop + _SLACK
                )
            ),
        )
        for start, stop, name in words
    )


def pronunciations(lyrics) -> dict[str, list[str]]:
    """How the words of timed lyrics are said.

    Arguments
    ---------
    lyrics : TimedLyrics
        With phones.

    Returns
    -------
    dict of str to list of str
        As `Lexicon` takes them.

    Example
    -------
    >>> lyrics = timed_words([(0, 1, "la")], [(0, 0.2, "L"), (0.2, 1, "AA")])
    >>> pronunciations(lyrics)
    {'la': ['L AA']}
    """
    found: dict[str, set] = {}
    for word in lyrics:
        said = " ".join(phone.phone for phone in word.phones)
        found.setdefault(word.word, set()).add(said)
    return {word: sorted(ways) for word, ways in found.items()}


def song_lyrics(row) -> TimedLyrics:
    """Words and phones of the song that a row of a manifest belongs to.

    Arguments
    ---------
    row : dict
        With `words` and `phones`.

    Returns
    -------
    TimedLyrics
    """
    return timed_words(
        _cached_segments(row["words"]), _cached_segments(row["phones"])
    )


def add_phones(dataset, rows):
    """Give the items of a data set the phones of their frames.

    Arguments
    ---------
    dataset : DynamicItemDataset
        From `datasets.transcription_dataset`; changed in place.
    rows : list of dict
        What it was made of, each with `phones`.

    Returns
    -------
    DynamicItemDataset
        Items have besides: `phone_target (frames)` int64, see `phones_at`.

    Raises
    ------
    ManifestError
        If a row has no phones.
    """
    for row in rows:
        if not row.get("phones"):
            raise ManifestError(
                f"segment {row['ID']} has no phones: take a corpus with the "
                "times of phones, such as minisinging"
            )

    def targets(phones, part):
        times = part.start_s + frame_centres(part.frames) * part.speed
        segments = [] if part.silent else _cached_segments(phones)
        return torch.from_numpy(phones_at(segments, times))

    dataset.add_dynamic_item(
        targets, takes=["phones", "slice"], provides=OUTPUT_KEYS[0]
    )
    keys = list(dataset.pipeline.output_mapping)
    dataset.set_output_keys([*keys, *OUTPUT_KEYS])
    return dataset
