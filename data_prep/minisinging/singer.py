"""Singers: everything about a voice that stays the same during a song."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from speechbrain_ext.errors import ConfigError

# name, gender, lowest and highest comfortable MIDI note, tract factor range
# (formants are multiplied by it; 1 is an adult male of average height), weight
RANGES = (
    ("child", "child", 57, 79, (1.22, 1.42), 0.13),
    ("soprano", "female", 59, 81, (1.10, 1.26), 0.20),
    ("alto", "female", 53, 74, (1.05, 1.20), 0.25),
    ("tenor", "male", 47, 70, (0.94, 1.08), 0.22),
    ("baritone", "male", 42, 66, (0.89, 1.02), 0.13),
    ("bass", "male", 38, 61, (0.83, 0.96), 0.07),
)

# How styles differ: weight, spread of pitch errors (semitones), chance of
# vibrato, chance of a scoop, and the spread of note levels (dB).
STYLES = {
    "trained": (0.30, 0.08, 0.80, 0.25, 2.0),
    "pop": (0.40, 0.13, 0.50, 0.50, 3.0),
    "amateur": (0.30, 0.20, 0.35, 0.45, 3.5),
}


@dataclass(frozen=True)
class Singer:
    """One singer.

    Arguments
    ---------
    id : str
        Name made of the voice type and the seed.
    voice_type : str
        child, soprano, alto, tenor, baritone or bass.
    gender : str
        child, female or male.
    style : str
        trained, pop or amateur.
    low, high : int
        Range in MIDI numbers.
    tract : float
        Factor on all formants; above 1 for short vocal tracts.
    bandwidth : float
        Factor on all formant bandwidths.
    vowel_shift : tuple of float
        Personal factors on the first three formants.
    upper_formants : tuple of float
        Frequencies in hertz of the formants above the third.
    singers_formant_db : float
        Height of the bump near 3 kHz.
    tilt : float
        Exponent of the falling source spectrum (amplitude ~ k ** -tilt).
    tilt_per_db : float
        How much the exponent falls for each dB of loudness.
    floor_db : float
        How far the valleys between the formants reach down.
    open_quotient : float
        Distance between the opening and the closing of the glottis, as a
        part of the period.
    opening : float
        Strength of the opening pulse relative to the closing one.
    breathiness_db : float
        Level of the aspiration noise relative to the voice.
    breath_db : float
        Level of the audible breaths between phrases.
    jitter, shimmer : float
        Period-to-period deviation of pitch (semitones) and of amplitude.
    growl : float
        Strength of the alternation of strong and weak periods.
    tuning : float
        Offset from A4 = 440 Hz in semitones.
    pitch_error : float
        Standard deviation of the note pitches in semitones.
    drift : float
        Standard deviation of the slow pitch drift in semitones.
    vibrato_chance, vibrato_rate, vibrato_depth : float
        Share of notes, hertz, and semitones (half of the peak-to-peak).
    vibrato_delay : float
        Seconds before the vibrato starts.
    vibrato_am_db : float
        Level change that goes with the vibrato (half of the peak-to-peak).
    onset_bend : float
        Semitones by which an ordinary note starts and ends lower.
    scoop_chance, fall_chance : float
        Shares of the notes that start from below and that fall at the end.
    glide_s : float
        Typical time from one pitch to the next.
    portamento : float
        Share of the legato notes that are reached by a long glide.
    overshoot : float
        Part of an interval by which the pitch overshoots.
    attack_s, release_s : float
        Typical rise and decay times.
    level_sd_db : float
        Standard deviation of the note levels.
    legato_dip_db : float
        Typical drop of the level between legato notes.
    consonant_db : float
        Level of the consonants relative to their usual level.
    articulation : float
        Factor on the consonant durations.
    timing_sd_s : float
        Standard deviation of the onsets around the beat.
    coarticulation_s : float
        Time over which formants glide.
    closure : float
        How far voiced consonants close the mouth: factor on the drop of the
        level, on the muffling and on the way of the formants.
    """

    id: str
    voice_type: str
    gender: str
    style: str
    low: int
    high: int
    tract: float
    bandwidth: float
    vowel_shift: tuple[float, float, float]
    upper_formants: tuple[float, ...]
    singers_formant_db: float
    tilt: float
    tilt_per_db: float
    floor_db: float
    open_quotient: float
    opening: float
    breathiness_db: float
    breath_db: float
    jitter: float
    shimmer: float
    growl: float
    tuning: float
    pitch_error: float
    drift: float
    vibrato_chance: float
    vibrato_rate: float
    vibrato_depth: float
    vibrato_delay: float
    vibrato_am_db: float
    onset_bend: float
    scoop_chance: float
    fall_chance: float
    glide_s: float
    portamento: float
    overshoot: float
    attack_s: float
    release_s: float
    level_sd_db: float
    legato_dip_db: float
    consonant_db: float
    articulation: float
    timing_sd_s: float
    coarticulation_s: float
    closure: float


def _choose(rng, rows, weights):
    weights = np.asarray(weights, dtype=np.float64)
    return rows[int(rng.choice(len(rows), p=weights / weights.sum()))]


def draw_singer(rng, name="0", style=None, voice_type=None) -> Singer:
    """Draw a singer.

    Arguments
    ---------
    rng : np.random.Generator
        Source of randomness.
    name : str, optional
        Goes into the singer's id.
    style : str, optional
        trained, pop or amateur; drawn by default.
    voice_type : str, optional
        child, soprano, alto, tenor, baritone or bass; drawn by default.

    Returns
    -------
    Singer

    Raises
    ------
    ConfigError
        If `style` or `voice_type` is not one of those above.

    Example
    -------
    >>> singer = draw_singer(np.random.default_rng(1), voice_type="bass")
    >>> singer.gender, singer.tract < 1
    ('male', True)
    """
    uniform, normal = rng.uniform, rng.normal
    drawn = _choose(rng, RANGES, [row[-1] for row in RANGES])
    if voice_type is not None:
        drawn = next((r for r in RANGES if r[0] == voice_type), None)
        if drawn is None:
            raise ConfigError(
                f"voice type {voice_type!r} is not one of "
                f"{', '.join(r[0] for r in RANGES)}"
            )
    voice_type, gender, low, high, tracts, _ = drawn
    names = list(STYLES)
    drawn = _choose(rng, names, [STYLES[n][0] for n in names])
    style = drawn if style is None else style
    if style not in STYLES:
        raise ConfigError(f"style {style!r} is not one of {', '.join(STYLES)}")
    _, error, vibrato, scoop, level_sd = STYLES[style]
    trained = style == "trained"

    tract = uniform(*tracts)
    fourth = 3400.0 * tract * uniform(0.94, 1.06)
    spacing = 1050.0 * tract * uniform(0.9, 1.1)
    upper = tuple(fourth + spacing * k * uniform(0.95, 1.05) for k in range(14))
    shift = int(rng.integers(-2, 3))
    deep = uniform() < (0.4 if trained else 0.3)
    return Singer(
        id=f"{voice_type}-{name}",
        voice_type=voice_type,
        gender=gender,
        style=style,
        low=low + shift,
        high=high + shift,
        tract=tract,
        bandwidth=uniform(0.75, 1.7),
        vowel_shift=tuple(float(v) for v in np.exp(normal(0, 0.05, 3))),
        upper_formants=upper,
        singers_formant_db=(
            uniform(3, 14)
            if trained and gender != "child"
            else max(0.0, uniform(-6, 6))
        ),
        tilt=uniform(0.05, 1.15),
        tilt_per_db=uniform(0.01, 0.06),
        floor_db=uniform(-62, -40),
        open_quotient=uniform(0.35, 0.8),
        opening=uniform(0.0, 0.5),
        breathiness_db=uniform(-50, -19),
        breath_db=uniform(-48, -24),
        jitter=float(np.exp(uniform(np.log(0.02), np.log(0.18)))),
        shimmer=uniform(0.01, 0.15),
        growl=uniform(0.05, 0.5) if uniform() < 0.08 else 0.0,
        tuning=normal(0, 0.12),
        pitch_error=error * uniform(0.6, 1.5),
        drift=float(np.exp(uniform(np.log(0.05), np.log(0.38))))
        * (0.5 if trained else 1.0),
        vibrato_chance=float(np.clip(vibrato + normal(0, 0.2), 0, 1)),
        vibrato_rate=uniform(4.4, 7.2),
        vibrato_depth=uniform(0.4, 1.2) if deep else uniform(0.1, 0.6),
        vibrato_delay=uniform(0.05, 0.4),
        vibrato_am_db=uniform(3, 8) if uniform() < 0.12 else uniform(0, 3),
        onset_bend=max(0.0, uniform(-0.3, 1.2)),
        scoop_chance=float(np.clip(scoop + normal(0, 0.12), 0, 0.8)),
        fall_chance=uniform(0.0, 0.3),
        glide_s=uniform(0.04, 0.20),
        portamento=max(0.0, uniform(-0.05, 0.35)),
        overshoot=max(0.0, uniform(-0.1, 0.2)),
        attack_s=uniform(0.008, 0.08),
        release_s=uniform(0.02, 0.16),
        level_sd_db=level_sd * uniform(0.6, 1.4),
        legato_dip_db=max(0.0, uniform(-3, 7)),
        consonant_db=uniform(-9, 7),
        articulation=uniform(0.65, 1.4),
        timing_sd_s=uniform(0.005, 0.03) * (1.5 if style == "amateur" else 1),
        coarticulation_s=uniform(0.05, 0.16),
        closure=uniform(0.35, 1.2),
    )
