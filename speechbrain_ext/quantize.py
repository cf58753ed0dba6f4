"""Tidying melodies: pitches onto a scale, times onto a grid of beats."""

from __future__ import annotations

import re
from dataclasses import replace
from math import ceil, floor, isfinite

import numpy as np

from speechbrain_ext.errors import ConfigError
from speechbrain_ext.formats import MAX_TEMPO, MIN_TEMPO, NAMES
from speechbrain_ext.notes import MIDI_MAX, NoteSequence

# Semitones above the tonic.
SCALES = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "harmonic minor": (0, 2, 3, 5, 7, 8, 11),
    "melodic minor": (0, 2, 3, 5, 7, 9, 11),
    "major pentatonic": (0, 2, 4, 7, 9),
    "minor pentatonic": (0, 3, 5, 7, 10),
    "blues": (0, 3, 5, 6, 7, 10),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "phrygian": (0, 1, 3, 5, 7, 8, 10),
    "lydian": (0, 2, 4, 6, 7, 9, 11),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
    "locrian": (0, 1, 3, 5, 6, 8, 10),
    "whole tone": (0, 2, 4, 6, 8, 10),
    "chromatic": tuple(range(12)),
}
_OTHER_NAMES = {
    "maj": "major",
    "ionian": "major",
    "m": "minor",
    "min": "minor",
    "natural minor": "minor",
    "aeolian": "minor",
    "pentatonic": "major pentatonic",
}
_KEY = re.compile(r"([A-Ga-g])([#♯b♭]*)(?: (sharp|flat)\b)?(.*)")

MAX_DIVISION = 128


def scale_of(key: str) -> tuple[int, ...]:
    """Pitch classes of a key.

    Arguments
    ---------
    key : str
        "chromatic", or a tonic and a name of `SCALES`, such as "C major", "a
        minor", "F# dorian", "Bb major pentatonic" or "Am". Spaces, hyphens and
        underscores are the same, and so are capitals and small letters (but
        "CM" is major and "Cm" minor).

    Returns
    -------
    tuple of int
        Semitones above C, in increasing order.

    Raises
    ------
    ConfigError
        If the key is unknown.

    Example
    -------
    >>> scale_of("D major pentatonic")
    (2, 4, 6, 9, 11)
    >>> scale_of("e-flat minor") == scale_of("Ebm")
    True
    """
    words = " ".join(re.split(r"[\s_-]+", key.strip()))
    if words.lower() == "chromatic":
        return SCALES["chromatic"]
    match = _KEY.fullmatch(words)
    if match:
        letter, signs, word, name = match.groups()
        name = "major" if name.strip() == "M" else name.strip().lower()
        name = _OTHER_NAMES.get(name, name)
        if name in SCALES:
            tonic = NAMES.index(letter.upper())
            tonic += sum(1 if sign in "#♯" else -1 for sign in signs)
            tonic += {"sharp": 1, "flat": -1, None: 0}[word]
            return tuple(sorted((tonic + step) % 12 for step in SCALES[name]))
    raise ConfigError(
        f"the key {key[:40]!r} is unknown: write chromatic, or a tonic (C, F#, "
        f"Bb ...) and one of {', '.join(SCALES)}"
    )


def snap_to_scale(notes: NoteSequence, key: str) -> NoteSequence:
    """Move each pitch to the nearest one of a scale.

    Arguments
    ---------
    notes : NoteSequence
    key : str
        See `scale_of`.

    Returns
    -------
    NoteSequence
        Whole MIDI numbers; a pitch midway between two goes up.

    Raises
    ------
    ConfigError
        If the key is unknown.

    Example
    -------
    >>> melody = NoteSequence([(0, 1, 60.4), (1, 2, 61.1), (2, 3, 66)])
    >>> snap_to_scale(melody, "C major").midi.tolist()
    [60.0, 62.0, 67.0]
    >>> snap_to_scale(melody, "chromatic").midi.tolist()
    [60.0, 61.0, 66.0]
    """
    classes = scale_of(key)
    pitches = np.arange(MIDI_MAX + 1)
    pitches = pitches[np.isin(pitches % 12, classes)]
    borders = (pitches[:-1] + pitches[1:]) / 2
    snapped = pitches[np.searchsorted(borders, notes.midi, side="right")]
    return NoteSequence(
        replace(note, midi=midi)
        for note, midi in zip(notes, snapped.tolist(), strict=True)
    )


def quantize_times(
    notes: NoteSequence,
    tempo: float,
    division: int,
    first_beat_s: float = 0.0,
) -> NoteSequence:
    """Move onsets and offsets to a grid of note values.

    Each onset and offset goes to the nearest point of the grid that is not
    before 0 s; a time midway between two goes to the later one. Of several
    notes that would start on the same point the longest stays (the first of
    equals), so that fast runs do not push what follows. A note is at least
    one step of the grid long and ends at the latest where the next one starts.

    Arguments
    ---------
    notes : NoteSequence
    tempo : float
        Quarter notes per minute, 10 to 1000.
    division : int
        Steps of the grid per whole note, 1 to 128: 16 for sixteenth notes, 12
        for triplets of eighth notes.
    first_beat_s : float
        Time of a beat in seconds: the grid goes through it. Default: 0.

    Returns
    -------
    NoteSequence

    Raises
    ------
    ConfigError
        If a number is out of its range.

    Example
    -------
    >>> melody = NoteSequence([(0.03, 0.4, 60), (0.4, 0.43, 62), (0.6, 1, 64)])
    >>> for note in quantize_times(melody, tempo=120, division=16):
    ...     print(note.onset, note.offset, note.midi)
    0.0 0.375 60.0
    0.375 0.5 62.0
    0.625 1.0 64.0
    """
    if not MIN_TEMPO <= tempo <= MAX_TEMPO:
        raise ConfigError(
            f"the tempo is {tempo:g}: it counts quarter notes per minute, "
            f"{MIN_TEMPO:g} to {MAX_TEMPO:g}"
        )
    if not 1 <= division <= MAX_DIVISION:
        raise ConfigError(
            f"the division is {division}: use 1 (whole notes) to "
            f"{MAX_DIVISION}, such as 16 for sixteenth notes"
        )
    if not (isfinite(first_beat_s) and first_beat_s >= 0):
        raise ConfigError(
            f"the first beat is at {first_beat_s:g} s: give a time of the "
            "recording, 0 s or more"
        )
    step = 240.0 / tempo / division
    lowest = ceil(-first_beat_s / step - 1e-6)

    def point(seconds):
        return max(floor((seconds - first_beat_s) / step + 0.5 + 1e-6), lowest)

    def seconds(index):
        return max(round(first_beat_s + index * step, 9), 0.0)

    longest = {}
    for note in notes:
        start = point(note.onset)
        known = longest.get(start)
        if known is None or note.duration > known.duration:
            longest[start] = note
    placed = list(longest.items())
    following = [*longest, float("inf")][1:] if longest else []
    ends = [
        min(max(point(note.offset), start + 1), limit)
        for (start, note), limit in zip(placed, following, strict=True)
    ]
    return NoteSequence(
        replace(note, onset=seconds(start), offset=seconds(end))
        for (start, note), end in zip(placed, ends, strict=True)
    )
