"""Scores: what is to be sung, before anybody sings it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data_prep.minisinging.lexicon import Syllable, lexicon
from speechbrain_ext.errors import ConfigError

SCALES = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "major pentatonic": (0, 2, 4, 7, 9),
    "minor pentatonic": (0, 3, 5, 7, 10),
    "phrygian": (0, 1, 4, 5, 7, 8, 10),
    "chromatic": tuple(range(12)),
}
_SCALE_WEIGHTS = (0.36, 0.26, 0.14, 0.10, 0.06, 0.08)

# Steps on the scale and how often they occur.
_STEPS = np.array([0, 1, -1, 2, -2, 3, -3, 4, -4, 5, -5, 7, -7])
_STEP_WEIGHTS = np.array([17, 20, 22, 10, 10, 5, 5, 3, 2.5, 1.5, 1, 1.5, 0.5])

_BEATS = np.array([0.25, 0.5, 0.75, 1, 1.5, 2, 3, 4])
_BEAT_WEIGHTS = {
    "slow": (2, 10, 3, 32, 14, 24, 8, 7),
    "medium": (8, 36, 5, 30, 8, 9, 2, 2),
    "fast": (28, 40, 5, 17, 4, 4, 1, 1),
    "free": (14, 20, 12, 18, 12, 10, 8, 6),
}

# Chords on the seven degrees of a scale, as scale steps.
_PROGRESSIONS = (
    (0, 4, 5, 3), (0, 5, 3, 4), (5, 3, 0, 4), (0, 3, 4, 4), (1, 4, 0, 0),
    (0, 4, 5, 2, 3, 0, 3, 4), (0, 0, 3, 4), (5, 4, 3, 4), (0, 2, 3, 4),
)  # fmt: skip


@dataclass(frozen=True)
class ScoreNote:
    """One note of a score.

    Arguments
    ---------
    onset, offset : float
        Seconds; the onset is where the vowel starts.
    midi : int
        Pitch in semitones, before tuning and errors.
    syllable : Syllable, optional
        None continues the vowel of the note before (melisma).
    word : str
        Spelling of the word that the note belongs to.
    word_start : bool
        Whether the word starts here.
    legato : bool
        Whether the voice goes on into the next note.
    phrase_start : bool
        Whether a phrase starts here.
    grace : float
        Interval in semitones of a short ornament before the note, 0 for
        none. Ornaments (35 to 90 ms) belong to the note they adorn and have
        no annotation of their own.
    """

    onset: float
    offset: float
    midi: int
    syllable: Syllable | None
    word: str
    word_start: bool
    legato: bool
    phrase_start: bool
    grace: float


@dataclass(frozen=True)
class Chord:
    """A chord of the accompaniment.

    Arguments
    ---------
    onset, offset : float
        Seconds.
    root : int
        MIDI number of the bass note.
    midi : tuple of int
        MIDI numbers of the other notes.
    """

    onset: float
    offset: float
    root: int
    midi: tuple[int, ...]


@dataclass(frozen=True)
class Score:
    """A melody with words, harmony and tempo.

    Arguments
    ---------
    notes : tuple of ScoreNote
        Sorted by onset, without overlaps.
    chords : tuple of Chord
        Harmony for the accompaniment.
    beat_s : float
        Length of a beat in seconds.
    tonic : int
        Pitch class of the tonic, 0 is C.
    scale : str
        Key of `SCALES`.
    """

    notes: tuple[ScoreNote, ...]
    chords: tuple[Chord, ...]
    beat_s: float
    tonic: int
    scale: str


def _phrase(rng, pace, longest):
    """Rhythm (in beats) and scale steps of one phrase."""
    length = int(rng.integers(2, 13))
    weights = np.array(_BEAT_WEIGHTS[pace], dtype=np.float64)
    beats = rng.choice(_BEATS, length, p=weights / weights.sum())
    if pace != "free" and length > 4 and rng.uniform() < 0.5:
        half = length // 2
        beats[half : 2 * half] = beats[:half]
    if rng.uniform() < 0.6:
        beats[-1] = rng.choice([2, 3, 4])
    beats = np.minimum(beats, longest)
    steps = rng.choice(_STEPS, length, p=_STEP_WEIGHTS / _STEP_WEIGHTS.sum())
    return beats, steps


def _lyrics(rng):
    """Yield (syllable, word, starts) for ever."""
    kind = rng.choice(
        ["words", "open", "la", "vowels"], p=[0.68, 0.17, 0.06, 0.09]
    )
    words = lexicon()
    weights = 1.0 / np.arange(8, len(words) + 8)
    weights /= weights.sum()
    order = rng.permutation(len(words))
    if kind == "la":
        word = words[int(rng.integers(0, 200))]
        fixed = Syllable(word.syllables[0].onset, word.syllables[0].nucleus, ())
        while True:
            yield fixed, fixed.spelling, True
    hum = rng.uniform() < 0.15
    vowel = words[int(rng.integers(0, 200))].syllables[0].nucleus
    while True:
        word = words[order[int(rng.choice(len(words), p=weights))]]
        for position, syllable in enumerate(word.syllables):
            if kind == "vowels":
                nucleus = vowel if hum else syllable.nucleus
                syllable = Syllable((), nucleus, ())
                yield syllable, syllable.spelling, True
            elif kind == "open":
                syllable = Syllable(syllable.onset[:1], syllable.nucleus, ())
                yield syllable, syllable.spelling, True
            else:
                yield syllable, word.spelling, position == 0


def draw_score(rng, duration_s, low, high, manner="song") -> Score:
    """Draw a melody that fits a range.

    Phrases of 2 to 12 notes are drawn and at times repeated, exactly or
    moved on the scale. Notes are legato, parted by 10 to 90 ms, or followed
    by a rest; breaths come between phrases.

    Arguments
    ---------
    rng : np.random.Generator
        Source of randomness.
    duration_s : float
        Length in seconds; the last note ends before it.
    low, high : int
        Range of the singer in MIDI numbers.
    manner : str, optional
        `song` (default), or `flamenco`: free rhythm, phrygian, many melismas
        and grace notes.

    Returns
    -------
    Score

    Raises
    ------
    ConfigError
        If the manner is unknown.

    Example
    -------
    >>> score = draw_score(np.random.default_rng(0), 8.0, 55, 70)
    >>> all(55 <= note.midi <= 70 for note in score.notes)
    True
    >>> score.notes[-1].offset <= 8.0
    True
    """
    if manner not in ("song", "flamenco"):
        raise ConfigError(
            f"manner {manner!r} is not known: use song or flamenco"
        )
    scale = str(rng.choice(list(SCALES), p=_SCALE_WEIGHTS))
    if manner == "flamenco":
        scale = "phrygian"
    degrees = np.array(SCALES[scale])
    tonic = int(rng.integers(12))
    pitches = np.array(
        [p for p in range(low, high + 1) if (p - tonic) % 12 in degrees]
    )
    # A song seldom uses the whole range.
    span = min(len(pitches), int(rng.integers(6, 15)))
    first = int(rng.integers(0, len(pitches) - span + 1))
    pitches = pitches[first : first + span]
    place = int(rng.integers(span // 4, max(span // 4 + 1, 3 * span // 4)))

    pace = str(
        rng.choice(
            ["slow", "medium", "fast", "free"], p=[0.10, 0.36, 0.38, 0.16]
        )
    )
    ornaments = 0.04
    if manner == "flamenco":
        pace, ornaments = "free", 0.25
    beat_s = float(
        {
            "slow": rng.uniform(0.45, 0.95),
            "medium": rng.uniform(0.38, 0.72),
            "fast": rng.uniform(0.36, 0.58),
            "free": rng.uniform(0.25, 0.80),
        }[pace]
    )
    longest = max(1.0, rng.uniform(1.0, 4.0) / beat_s)
    shortest_s = 0.10
    gap_chance = rng.uniform(0.0, 0.7)
    rest_chance = rng.uniform(0.0, 0.15)
    melisma = 0.0 if rng.uniform() < 0.5 else rng.uniform(0.05, 0.5)
    if manner == "flamenco":
        melisma = rng.uniform(0.4, 0.75)
    rubato = 0.12 if pace == "free" else 0.0
    lyrics = _lyrics(rng)

    notes = []
    previous = None
    phrases = []
    time = float(rng.uniform(0.05, 1.2))
    if rng.uniform() < 0.1:
        time += rng.uniform(0, 0.2 * duration_s)
    done = False
    last_midi = None
    while not done:
        if phrases and rng.uniform() < 0.35:
            beats, steps = phrases[int(rng.integers(len(phrases)))]
            if rng.uniform() < 0.4:
                place = int(np.clip(place + rng.integers(-2, 3), 0, span - 1))
        else:
            beats, steps = _phrase(rng, pace, longest)
            phrases.append((beats, steps))
        draws = rng.uniform(size=(len(beats), 5))
        wobble = np.exp(rubato * rng.standard_normal(len(beats)))
        for k, (beat, step) in enumerate(zip(beats, steps, strict=True)):
            length = max(beat * beat_s * wobble[k], shortest_s + 0.03)
            if place + step < 0 or place + step >= span:
                step = -step
            place = int(np.clip(place + step, 0, span - 1))
            final = k == len(beats) - 1
            rest, gap, carry, grace, size = draws[k]
            legato = False
            if final:
                offset = time + length * (0.6 + 0.4 * rest)
            elif rest < rest_chance:
                offset = time + max(length - 0.1 - 0.5 * size, 0.4 * length)
            elif gap < gap_chance:
                offset = time + length - min(0.01 + 0.08 * size, length / 3)
            else:
                offset = time + length
                legato = True
            offset = max(offset, time + shortest_s)
            if offset > duration_s - 0.05:
                done = True
                if time > duration_s - 0.25:
                    break
                offset = min(offset, duration_s - 0.05)
            midi = int(pitches[place])
            carried = (
                previous is not None
                and carry < melisma
                and k > 0
                and notes[-1].legato
                and midi != last_midi
            )
            if carried:
                syllable, word, starts = None, previous[1], False
            else:
                syllable, word, starts = previous = next(lyrics)
            notes.append(
                ScoreNote(
                    onset=float(time),
                    offset=float(offset),
                    midi=midi,
                    syllable=syllable,
                    word=word,
                    word_start=starts or not notes,
                    legato=legato,
                    phrase_start=k == 0,
                    grace=(
                        float(1 + 2 * (size > 0.4)) * (1 if size < 0.7 else -1)
                        if grace < ornaments and length > 0.25
                        else 0.0
                    ),
                )
            )
            last_midi = midi
            time += length
            if done:
                break
        # Breath or pause between phrases.
        pause = rng.choice(
            [0.0, 0.5, 1.0, 2.0, 4.0], p=[0.3, 0.36, 0.18, 0.12, 0.04]
        )
        time += (
            pause * beat_s * (1.0 if pace != "free" else rng.uniform(0.5, 2))
        )
        if duration_s > 20 and rng.uniform() < 0.06:
            time += rng.uniform(2.0, 8.0)  # the band plays alone
        if time > duration_s - 0.3:
            done = True

    chords = _harmony(rng, duration_s, beat_s, tonic, degrees)
    return Score(tuple(notes), chords, beat_s, tonic, scale)


def _harmony(rng, duration_s, beat_s, tonic, degrees):
    """Chords that repeat a progression."""
    if len(degrees) != 7:
        degrees = np.array(SCALES["minor" if 3 in degrees else "major"])
    progression = _PROGRESSIONS[int(rng.integers(len(_PROGRESSIONS)))]
    beats = int(rng.choice([2, 4, 4, 8]))
    while beats * beat_s < 0.6:
        beats *= 2
    seventh = rng.uniform() < 0.3
    chords = []
    time = float(rng.uniform(0.0, beat_s))
    for k in range(int(np.ceil(duration_s / (beats * beat_s))) + 1):
        start = max(0.0, time + (k - 1) * beats * beat_s)
        stop = min(duration_s, time + k * beats * beat_s)
        if stop - start < 0.1:
            continue
        root = progression[k % len(progression)]
        tones = [root, root + 2, root + 4] + ([root + 6] if seventh else [])
        midi = tuple(tonic + int(degrees[t % 7]) + 12 * (t // 7) for t in tones)
        chords.append(Chord(start, stop, tonic + int(degrees[root]), midi))
    return tuple(chords)
