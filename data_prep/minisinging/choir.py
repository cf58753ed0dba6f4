"""Several singers at once, and people who talk."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from data_prep.medleyvox import TASKS
from data_prep.minisinging.clip import Clip, render_clip
from data_prep.minisinging.lexicon import Syllable, lexicon
from data_prep.minisinging.score import (
    SCALES,
    Score,
    ScoreNote,
    draw_score,
)
from data_prep.minisinging.singer import Singer, draw_singer
from speechbrain_ext.errors import ConfigError
from speechbrain_ext.mixing.effects import sounding_level

# Scale steps of a second voice below or above the first, as harmonies go.
_STEPS = (2, -2, 5, -5, 4, -3)

# Level of the other voices relative to the main one, dB: mean and spread.
_LEVELS = {"unison": (0, 2), "duet": (-1, 4), "main_vs_rest": (-6, 3)}

_SEED, _SINGER, _PART, _LEVEL = 122949823, 1, 2, 3


@dataclass(frozen=True)
class Choir:
    """Voices that sing together, each as it is heard alone.

    Arguments
    ---------
    task : str
        unison, duet or main_vs_rest.
    voices : np.ndarray (voices, samples)
        float32; the main voice comes first.
    clips : tuple of Clip
        Of each voice: notes, words, pitch and singer; their sound has another
        level.
    n_singers : int
        How many different people sing; the first of them also sings the
        voices that are left over.
    sample_rate : int
    """

    task: str
    voices: np.ndarray
    clips: tuple[Clip, ...]
    n_singers: int
    sample_rate: int

    @property
    def mix(self) -> np.ndarray:
        """Sum of the voices, float32 (samples,); its peak is below 1."""
        return self.voices.sum(axis=0)


def render_choir(
    seed,
    duration_s=8.0,
    task="duet",
    n_voices=2,
    n_singers=None,
    sample_rate=24000,
) -> Choir:
    """Render voices that sing together.

    In `unison` all sing one melody, some of them an octave higher or lower,
    where their range asks for it; onsets, pitch and vibrato differ as they do
    between people and between takes. In a `duet` the second voice sings
    thirds, sixths or the like to the first one, or a melody of its own in the
    same key. In `main_vs_rest` a main voice is accompanied by two or more
    others, who sing such harmonies, or chords on a vowel.

    Arguments
    ---------
    seed : int or sequence of int
        The same seed gives the same choir, bit for bit.
    duration_s : float, optional
        Length in seconds, at least 1; default: 8.
    task : {"unison", "duet", "main_vs_rest"}, optional
        Default: duet.
    n_voices : int, optional
        2 (default) or more; in a duet 2, in main_vs_rest 3 or more.
    n_singers : int, optional
        How many people, up to one for each voice; default: as many.
    sample_rate : int, optional
        Default: 24000.

    Returns
    -------
    Choir

    Raises
    ------
    ConfigError
        If the task is unknown, or a number does not fit it.

    Example
    -------
    >>> choir = render_choir(1, 2.0, "unison", n_voices=3)
    >>> choir.voices.shape, choir.n_singers
    ((3, 48000), 3)
    """
    n_singers = n_voices if n_singers is None else n_singers
    if task not in TASKS:
        raise ConfigError(f"task is {task!r}: use one of {', '.join(TASKS)}")
    low, high = {"duet": (2, 2), "unison": (2, 8)}.get(task, (3, 8))
    if not low <= n_voices <= high:
        raise ConfigError(
            f"{task} of {n_voices} voices: take {low} to {high} voices"
        )
    if not 1 <= n_singers <= n_voices:
        raise ConfigError(
            f"n_singers is {n_singers}: take 1 to {n_voices}, the voices"
        )
    if not duration_s >= 1:
        raise ConfigError(
            f"a choir of {duration_s} s is too short: take at least 1 s"
        )
    seed = [int(s) for s in np.atleast_1d(seed)]

    def stream(*parts):
        return np.random.default_rng([*seed, _SEED, *parts])

    people = [
        draw_singer(stream(_SINGER, k), "-".join(map(str, [*seed, k])))
        for k in range(n_singers)
    ]
    singers = [
        people[k] if k < n_singers else people[0] for k in range(n_voices)
    ]
    main = draw_score(
        stream(_PART, 0), duration_s, people[0].low, people[0].high
    )
    rng = stream(_PART, 1)
    chords = task == "main_vs_rest" and rng.uniform() < 0.4
    steps = rng.permutation(_STEPS)
    parts = [main]
    for k in range(1, n_voices):
        if task == "unison":
            part = main
        elif chords:
            part = chord_part(main, k, stream(_PART, 2, k))
        elif task == "duet" and rng.uniform() < 0.4:
            part = counterpart(
                main, stream(_PART, 2, k), duration_s, singers[k]
            )
        else:
            part = harmony_part(main, int(steps[(k - 1) % len(steps)]))
        parts.append(part)
    # One studio for all: dry, or every voice in the room it likes.
    reverb = bool(rng.uniform() < 0.4)
    clips = tuple(
        render_clip(
            [*seed, _SEED, k],
            duration_s,
            singer=singer,
            noise_db=False,
            reverb=reverb,
            band=False,
            sample_rate=sample_rate,
            score=fit(part, singer),
        )
        for k, (part, singer) in enumerate(zip(parts, singers, strict=True))
    )
    rng = stream(_LEVEL)
    mean, spread = _LEVELS[task]
    levels_db = np.r_[0.0, rng.normal(mean, spread, n_voices - 1)]
    voices = np.stack([clip.voice for clip in clips]).astype(np.float64)
    for voice, level_db in zip(voices, levels_db, strict=True):
        level = sounding_level(voice)
        voice *= 10 ** (level_db / 20) / level if level > 0 else 0.0
    peak = max(np.abs(voices).max(), np.abs(voices.sum(axis=0)).max())
    gain = min(10 ** (rng.uniform(-30, -18) / 20), 0.98 / max(peak, 1e-9))
    return Choir(
        task, (voices * gain).astype(np.float32), clips, n_singers, sample_rate
    )


def fit(score: Score, singer: Singer) -> Score:
    """Move a score by octaves into the range of a singer.

    Arguments
    ---------
    score : Score
    singer : Singer

    Returns
    -------
    Score
        The one with the fewest semitones out of range; of several, the one
        that moves least.

    Example
    -------
    >>> bass = draw_singer(np.random.default_rng(0), voice_type="bass")
    >>> high = draw_score(np.random.default_rng(0), 8.0, 65, 80)
    >>> low = fit(high, bass)
    >>> {b.midi - a.midi for a, b in zip(high.notes, low.notes)}
    {-12}
    """
    midi = np.array([note.midi for note in score.notes])

    def cost(shift):
        away = np.maximum(singer.low - midi - shift, midi + shift - singer.high)
        return int(np.maximum(away, 0).sum()), abs(shift)

    shift = min((0, -12, 12, -24, 24), key=cost)
    return _with_pitches(score, midi + shift)


def _with_pitches(score: Score, midi) -> Score:
    """Score with other pitches."""
    notes = tuple(
        replace(note, midi=int(pitch))
        for note, pitch in zip(score.notes, midi, strict=True)
    )
    return replace(score, notes=notes)


def _pitches(score: Score) -> np.ndarray:
    """All MIDI numbers of a score's key, in seven steps per octave."""
    degrees = SCALES[score.scale]
    if len(degrees) != 7:
        degrees = SCALES["minor" if 3 in degrees else "major"]
    return np.array(
        [p for p in range(128) if (p - score.tonic) % 12 in degrees]
    )


def harmony_part(score: Score, steps: int) -> Score:
    """Harmonise a melody note by note.

    Arguments
    ---------
    score : Score
    steps : int
        How many steps of the scale higher; -2 is a third below.

    Returns
    -------
    Score
        Of the same rhythm and words.
    """
    scale = _pitches(score)
    midi = np.array([note.midi for note in score.notes])
    at = np.abs(scale[None] - midi[:, None]).argmin(axis=1)
    return _with_pitches(score, scale[np.clip(at + steps, 0, len(scale) - 1)])


def counterpart(score: Score, rng, duration_s, singer: Singer) -> Score:
    """Draw another melody in the key of a first one.

    Arguments
    ---------
    score : Score
        The first one.
    rng : np.random.Generator
        Source of randomness.
    duration_s : float
        Length in seconds.
    singer : Singer
        Who is to sing it.

    Returns
    -------
    Score
        With a rhythm and words of its own.
    """
    other = draw_score(rng, duration_s, singer.low, singer.high)
    scale = _pitches(score)
    midi = np.array([note.midi for note in other.notes])
    at = np.abs(scale[None] - midi[:, None]).argmin(axis=1)
    moved = _with_pitches(other, scale[at])
    return replace(
        moved, chords=score.chords, tonic=score.tonic, scale=score.scale
    )


def chord_part(score: Score, voice: int, rng) -> Score:
    """Hold the chords of a song on a vowel.

    Arguments
    ---------
    score : Score
    voice : int
        Which tone of each chord, from 1.
    rng : np.random.Generator
        Source of randomness.

    Returns
    -------
    Score
        One note per chord, around the middle of the melody's range; chords
        that are too short are rests. The melody itself if there are no chords
        long enough.
    """
    vowel = str(rng.choice(["AA", "OO", "UW"]))
    syllable = Syllable((), vowel, ())
    middle = np.median([note.midi for note in score.notes]) - 5
    notes = []
    for chord in score.chords:
        onset, offset = chord.onset + 0.05, chord.offset - 0.05
        if offset - onset < 0.25:
            continue
        tone = chord.midi[(voice - 1) % len(chord.midi)] % 12
        notes.append(
            ScoreNote(
                onset=float(onset),
                offset=float(offset),
                midi=int(tone + 12 * round((middle - tone) / 12)),
                syllable=syllable,
                word=syllable.spelling,
                word_start=True,
                legato=False,
                phrase_start=not notes,
                grace=0.0,
            )
        )
    return replace(score, notes=tuple(notes)) if notes else score


def draw_speech(rng, duration_s, singer: Singer) -> Score:
    """Draw what a person says: short syllables that glide within a fifth.

    Arguments
    ---------
    rng : np.random.Generator
        Source of randomness.
    duration_s : float
        Length in seconds, at least 1; the last syllable ends before it.
    singer : Singer
        Who speaks, in the lower part of their range.

    Returns
    -------
    Score
        Phrases whose pitch falls to their end, with pauses between them.

    Example
    -------
    >>> rng = np.random.default_rng(0)
    >>> speech = draw_speech(rng, 5.0, draw_singer(rng))
    >>> np.ptp([note.midi for note in speech.notes]) <= 10
    np.True_
    """
    words = lexicon()
    notes: list[ScoreNote] = []
    home = singer.low + int(rng.integers(2, 5))
    time = float(rng.uniform(0.1, 0.3))
    while time < duration_s - 0.4:
        count = int(rng.integers(3, 8))
        spoken = [words[int(k)] for k in rng.integers(0, len(words), count)]
        syllables = [
            (syllable, word.spelling, k == 0)
            for word in spoken
            for k, syllable in enumerate(word.syllables)
        ]
        slope = np.linspace(3.0, -1.5, len(syllables))
        pitches = np.rint(home + slope + rng.normal(0, 1.2, len(syllables)))
        lengths = rng.uniform(0.11, 0.24, len(syllables))
        lengths[-1] *= 1.5
        for k, (syllable, word, starts) in enumerate(syllables):
            offset = time + float(lengths[k])
            if offset > duration_s - 0.05:
                break
            notes.append(
                ScoreNote(
                    onset=time,
                    offset=offset,
                    midi=int(np.clip(pitches[k], home - 4, home + 6)),
                    syllable=syllable,
                    word=word,
                    word_start=starts,
                    legato=k < len(syllables) - 1,
                    phrase_start=k == 0,
                    grace=0.0,
                )
            )
            time = offset
        time += float(rng.uniform(0.2, 0.7))
    return Score(tuple(notes), (), 0.2, 0, "chromatic")


def render_speech(seed, duration_s, speaker: Singer, sample_rate=16000) -> Clip:
    """Render a person who talks.

    Arguments
    ---------
    seed : int or sequence of int
        The same seed gives the same clip, bit for bit.
    duration_s : float
        Length in seconds, at least 1.
    speaker : Singer
        Who speaks; without their vibrato and other ornaments.
    sample_rate : int, optional
        Default: 16000.

    Returns
    -------
    Clip
        Without a band, with some noise.
    """
    speaker = replace(
        speaker,
        vibrato_chance=0.0,
        scoop_chance=0.0,
        portamento=0.0,
        overshoot=0.0,
    )
    rng = np.random.default_rng([*np.atleast_1d(seed), _SEED])
    return render_clip(
        seed,
        duration_s,
        singer=speaker,
        noise_db=(25.0, 50.0),
        band=False,
        sample_rate=sample_rate,
        score=draw_speech(rng, duration_s, speaker),
    )
