"""Notes: what a singer sang, as onset, offset and pitch.

Times are seconds, pitches are MIDI numbers (float, A4 = 69 = 440 Hz). A
`NoteSequence` is monophonic: sorted by onset, without overlaps. It is checked
when it is made, so code that receives one need not check again.

Hertz appear only at the border to `mir_eval` (`NoteSequence.frequencies`) and
in the synthesiser.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import isfinite
from operator import index

import numpy as np

from speechbrain_ext.errors import NoteError

MIDI_MIN = 0.0
MIDI_MAX = 127.0
VELOCITY_MIN, VELOCITY_MAX = 1, 127

# Offsets and onsets written with six decimals may cross by rounding.
OVERLAP_TOLERANCE_S = 1e-6


def midi_to_hz(midi):
    """Frequency of a MIDI number.

    Arguments
    ---------
    midi : float or np.ndarray
        MIDI number, A4 = 69; fractions are allowed.

    Returns
    -------
    float or np.ndarray
        Frequency in hertz.

    Example
    -------
    >>> float(midi_to_hz(69))
    440.0
    """
    return 440.0 * 2.0 ** ((np.asarray(midi, dtype=np.float64) - 69.0) / 12.0)


def hz_to_midi(hz):
    """MIDI number of a frequency (inverse of `midi_to_hz`).

    Arguments
    ---------
    hz : float or np.ndarray
        Frequency in hertz, above 0.

    Returns
    -------
    float or np.ndarray
        MIDI number, not rounded.

    Example
    -------
    >>> float(hz_to_midi(880))
    81.0
    """
    return 69.0 + 12.0 * np.log2(np.asarray(hz, dtype=np.float64) / 440.0)


def _read_only(rows, shape) -> np.ndarray:
    """Array that is shared by all who ask for it."""
    array = np.array(rows, dtype=np.float64).reshape(shape)
    array.flags.writeable = False
    return array


@dataclass(frozen=True)
class Note:
    """One sung note.

    Arguments
    ---------
    onset : float
        Start in seconds, at least 0.
    offset : float
        End in seconds, after the onset.
    midi : float
        Pitch as a MIDI number in [0, 127], fractions allowed.
    lyric : str, optional
        Syllable sung on the note.
    confidence : float, optional
        How sure the transcriber is, in [0, 1].
    velocity : int, optional
        How loud the note is, as MIDI counts it, in [1, 127].

    Raises
    ------
    NoteError
        If a value is not finite, negative, out of range or if the offset does
        not lie after the onset, or the velocity is no whole number.

    Example
    -------
    >>> Note(0.5, 1.0, 60).duration
    0.5
    >>> Note(1.0, 0.5, 60)
    Traceback (most recent call last):
    speechbrain_ext.errors.NoteError: note offset 0.5 s is not after its \
onset 1 s: correct the annotation
    """

    onset: float
    offset: float
    midi: float
    lyric: str | None = None
    confidence: float | None = None
    velocity: int | None = None

    def __post_init__(self):
        for name in ("onset", "offset", "midi"):
            value = getattr(self, name)
            try:
                if isinstance(value, bool):
                    raise TypeError
                number = float(value)
            except OverflowError:
                raise NoteError(
                    f"note {name} is too large for a number: correct the "
                    "annotation"
                ) from None
            except (TypeError, ValueError):
                raise NoteError(
                    f"note {name} {value!r} is not a number: correct the "
                    "annotation"
                ) from None
            if not isfinite(number):
                raise NoteError(
                    f"note {name} is {number}: every value must be finite"
                )
            object.__setattr__(self, name, number)
        if self.onset < 0:
            raise NoteError(
                f"note onset {self.onset:g} s is before 0 s: shift the "
                "annotation"
            )
        if self.offset <= self.onset:
            raise NoteError(
                f"note offset {self.offset:g} s is not after its onset "
                f"{self.onset:g} s: correct the annotation"
            )
        if not MIDI_MIN <= self.midi <= MIDI_MAX:
            raise NoteError(
                f"note pitch {self.midi:g} is outside MIDI "
                f"{MIDI_MIN:g} to {MIDI_MAX:g}: pitches are MIDI numbers, "
                "not hertz"
            )
        if self.confidence is not None and not 0 <= self.confidence <= 1:
            raise NoteError(
                f"note confidence {self.confidence:g} is outside 0 to 1"
            )
        if self.velocity is not None:
            try:
                if isinstance(self.velocity, bool):
                    raise TypeError
                velocity = index(self.velocity)
            except TypeError:
                raise NoteError(
                    f"note velocity {self.velocity!r} is not a whole number"
                ) from None
            if not VELOCITY_MIN <= velocity <= VELOCITY_MAX:
                raise NoteError(
                    f"note velocity {velocity} is outside {VELOCITY_MIN} to "
                    f"{VELOCITY_MAX}"
                )
            object.__setattr__(self, "velocity", velocity)

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self.offset - self.onset


class NoteSequence(Sequence):
    """A validated, immutable, monophonic melody.

    Arguments
    ---------
    notes : iterable of Note or of (onset, offset, midi[, lyric]) rows
        Sorted by onset and free of overlaps; touching notes are fine.

    Raises
    ------
    NoteError
        If a note is invalid, two notes overlap by more than 1e-6 s, or the
        order is wrong. The message names the note's position (from 1) and
        both times.

    Example
    -------
    >>> melody = NoteSequence([(0.0, 0.5, 60), (0.5, 1.0, 62)])
    >>> len(melody), melody[1].midi, melody.end
    (2, 62.0, 1.0)
    >>> melody.intervals.shape, melody.midi.tolist()
    ((2, 2), [60.0, 62.0])
    """

    def __init__(self, notes: Iterable = ()):
        checked = []
        for position, note in enumerate(notes, start=1):
            if not isinstance(note, Note):
                try:
                    note = Note(*note)
                except NoteError as error:
                    raise NoteError(f"note {position}: {error}") from None
                except TypeError:
                    raise NoteError(
                        f"note {position}: expected onset, offset, pitch but "
                        f"got {note!r}"
                    ) from None
            if checked:
                previous = checked[-1]
                if note.onset < previous.onset:
                    raise NoteError(
                        f"note {position} starts at {note.onset:g} s, before "
                        f"note {position - 1} at {previous.onset:g} s: sort "
                        "the annotation by onset"
                    )
                if note.onset < previous.offset - OVERLAP_TOLERANCE_S:
                    raise NoteError(
                        f"note {position} starts at {note.onset:g} s while "
                        f"note {position - 1} lasts until "
                        f"{previous.offset:g} s: a melody has one note at a "
                        "time"
                    )
            checked.append(note)
        self._notes = tuple(checked)

    @classmethod
    def from_arrays(cls, intervals, midi) -> NoteSequence:
        """Build a melody from arrays.

        Arguments
        ---------
        intervals : array-like (notes, 2)
            Onset and offset in seconds.
        midi : array-like (notes,)
            MIDI numbers.

        Returns
        -------
        NoteSequence
        """
        intervals = np.asarray(intervals, dtype=np.float64).reshape(-1, 2)
        midi = np.asarray(midi, dtype=np.float64).reshape(-1)
        if len(intervals) != len(midi):
            raise NoteError(
                f"{len(intervals)} intervals but {len(midi)} pitches: give "
                "one pitch per interval"
            )
        return cls(
            Note(float(on), float(off), float(pitch))
            for (on, off), pitch in zip(intervals, midi, strict=True)
        )

    @classmethod
    def truncating(cls, notes: Iterable) -> NoteSequence:
        """Build a melody from notes that may be unsorted or overlap.

        Notes are sorted by onset; a note that is still sounding when the next
        one starts ends there. Of notes with the same onset the last one stays.
        This is the documented repair for corpora with known overlaps; readers
        of user files do not repair.

        Arguments
        ---------
        notes : iterable of Note or rows

        Returns
        -------
        NoteSequence

        Example
        -------
        >>> melody = NoteSequence.truncating([(0.4, 1, 62), (0, 0.5, 60)])
        >>> [(n.onset, n.offset) for n in melody]
        [(0.0, 0.4), (0.4, 1.0)]
        """
        rows = [n if isinstance(n, Note) else Note(*n) for n in notes]
        rows.sort(key=lambda n: n.onset)
        kept = []
        for note in rows:
            if kept and note.onset < kept[-1].offset:
                if note.onset > kept[-1].onset:
                    kept[-1] = replace(kept[-1], offset=note.onset)
                else:
                    kept.pop()
            kept.append(note)
        return cls(kept)

    def __len__(self) -> int:
        return len(self._notes)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return NoteSequence(self._notes[index])
        return self._notes[index]

    def __eq__(self, other) -> bool:
        if not isinstance(other, NoteSequence):
            return NotImplemented
        return self._notes == other._notes

    def __hash__(self) -> int:
        return hash(self._notes)

    def __repr__(self) -> str:
        return f"NoteSequence({len(self)} notes, {self.end:.3f} s)"

    @cached_property
    def intervals(self) -> np.ndarray:
        """Onsets and offsets in seconds, float64 (notes, 2), read-only."""
        return _read_only([(n.onset, n.offset) for n in self._notes], (-1, 2))

    @cached_property
    def midi(self) -> np.ndarray:
        """Pitches as MIDI numbers, float64 (notes,), read-only."""
        return _read_only([n.midi for n in self._notes], (-1,))

    @property
    def frequencies(self) -> np.ndarray:
        """Pitches in hertz, float64 (notes,)."""
        return midi_to_hz(self.midi)

    @property
    def end(self) -> float:
        """Offset of the last note in seconds; 0 for an empty melody."""
        return self._notes[-1].offset if self._notes else 0.0

    def shift(self, seconds: float) -> NoteSequence:
        """Move all notes in time; notes before 0 s are cut or dropped.

        Arguments
        ---------
        seconds : float
            Positive moves later.

        Returns
        -------
        NoteSequence
        """
        return NoteSequence(
            replace(
                n,
                onset=max(0.0, n.onset + seconds),
                offset=n.offset + seconds,
            )
            for n in self._notes
            if n.offset + seconds > 0
        )

    def transpose(self, semitones: float) -> NoteSequence:
        """Move all pitches.

        Arguments
        ---------
        semitones : float
            Positive moves up.

        Returns
        -------
        NoteSequence

        Raises
        ------
        NoteError
            If a pitch leaves MIDI 0 to 127.
        """
        return NoteSequence(
            replace(n, midi=n.midi + semitones) for n in self._notes
        )

    def crop(self, start: float, stop: float) -> NoteSequence:
        """Notes that sound in [start, stop), cut to it, with times from start.

        Arguments
        ---------
        start, stop : float
            Seconds.

        Returns
        -------
        NoteSequence

        Example
        -------
        >>> [
        ...     (n.onset, n.offset)
        ...     for n in NoteSequence([(0, 1, 60), (2, 3, 62)]).crop(0.5, 2.5)
        ... ]
        [(0.0, 0.5), (1.5, 2.0)]
        """
        return NoteSequence(
            replace(
                n,
                onset=max(n.onset, start) - start,
                offset=min(n.offset, stop) - start,
            )
            for n in self._notes
            if n.offset > start and n.onset < stop
        )
