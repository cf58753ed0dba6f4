"""The voice: a source-filter synthesiser that sings a score.

The source is a band-limited pulse train with continuous phase, plus
aspiration noise and the noise of the consonants. The filter is a cascade of
resonances (formants) that move with the phones; it is applied to short
overlapping spectra (weighted overlap-add), which costs the same for every
pitch.

Pitch, level and formants are planned on a control grid of 500 points per
second and interpolated to samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy import fft as sfft

from data_prep.minisinging.lexicon import CONSONANTS, VOWELS
from data_prep.minisinging.score import Score
from data_prep.minisinging.singer import Singer
from data_prep.minisinging.tracks import smooth, wander
from speechbrain_ext.notes import Note, NoteSequence, midi_to_hz

CONTROL_RATE = 500
MIN_VOWEL_S = 0.075

# Highest harmonic as a part of the sample rate: 7.6 kHz at 16 kHz.
HIGHEST_HARMONIC = 0.475


@dataclass(frozen=True)
class Sung:
    """What a singer made of a score.

    Arguments
    ---------
    wav : np.ndarray (samples,)
        Dry voice, float32, notes at about 0 dB (RMS 1).
    notes : NoteSequence
        Onsets at the vowels, offsets at the end of the pitched sound, pitches
        rounded to the semitone that was really sung.
    words, phones : list of (float, float, str)
        Start, end (seconds) and name.
    pitch : np.ndarray (points,)
        MIDI number at `CONTROL_RATE` points per second.
    voiced : np.ndarray (points,)
        Where the vocal folds vibrate audibly.
    """

    wav: np.ndarray
    notes: NoteSequence
    words: list[tuple[float, float, str]]
    phones: list[tuple[float, float, str]]
    pitch: np.ndarray
    voiced: np.ndarray


@dataclass
class _Plan:
    """Times and phones of one note."""

    onset: float
    offset: float  # end of the note, coda included
    midi: float
    target: float  # with tuning and error
    level: float  # dB
    vowels: tuple[str, str]
    consonants: list  # (start, end, name), before the vowel
    coda: list  # (start, end, name)
    vowel_end: float
    connected: bool  # the voice comes without silence from the last note
    grace: float
    phrase_start: bool
    word: str
    word_start: bool
    lyric: str | None  # None continues a melisma

    @property
    def start(self):
        return self.consonants[0][0] if self.consonants else self.onset

    @property
    def annotated_offset(self):
        if self.coda and _sonorant(self.coda[0][2]):
            return self.coda[-1][1]
        return self.vowel_end


def _sonorant(name):
    return CONSONANTS[name].kind in ("nasal", "liquid", "glide", "trill")


def _fit_consonants(names, rng, factor, room):
    """Durations of consonants, shortened to fit into `room` seconds."""
    lengths = [
        rng.uniform(*CONSONANTS[name].duration) * factor for name in names
    ]
    if len(lengths) > 1:
        lengths = [0.75 * length for length in lengths]
    total = sum(lengths)
    if total > room:
        lengths = [length * room / total for length in lengths]
    return lengths


def _plan(score, singer, rng, duration_s):
    """Decide the times of all phones, pitches and levels of all notes."""
    count = len(score.notes)
    late = np.clip(rng.standard_normal(count), -2, 2) * singer.timing_sd_s
    error = rng.standard_normal(count) * singer.pitch_error
    level = rng.standard_normal(count) * singer.level_sd_db
    # Melodic and metrical accents: loud on high notes.
    midi = np.array([n.midi for n in score.notes], dtype=np.float64)
    level += 0.25 * (midi - midi.mean()) * rng.uniform(0, 1.5)

    onsets = np.array([n.onset for n in score.notes]) + late
    onsets = np.maximum(onsets, 0.03)
    for k in range(1, count):
        onsets[k] = max(onsets[k], onsets[k - 1] + 0.12)
    plans = []
    phase = 0.0
    for k, note in enumerate(score.notes):
        following = onsets[k + 1] if k + 1 < count else duration_s - 0.02
        onset = float(onsets[k])
        offset = following if note.legato else note.offset + late[k]
        offset = float(np.clip(offset, onset + 0.08, max(following, 0)))
        offset = min(offset, duration_s - 0.02)
        names, coda_names = (), ()
        if note.syllable is not None:
            names, coda_names = note.syllable.onset, note.syllable.coda
            vowels = note.syllable.vowels
        else:
            vowels = (plans[-1].vowels[1],) * 2
        previous = plans[-1] if plans else None
        # The consonants take their time from the note before.
        earliest = 0.005 if previous is None else previous.onset + MIN_VOWEL_S
        lengths = _fit_consonants(
            names,
            rng,
            singer.articulation,
            min(onset - earliest, 0.3)
            if previous is None
            else min(
                0.5 * (onset - previous.onset),
                onset - previous.onset - MIN_VOWEL_S,
            ),
        )
        lengths = [x for x in lengths if x > 0.012]
        names = names[len(names) - len(lengths) :]
        consonants = []
        stop = onset
        for name, length in zip(names[::-1], lengths[::-1], strict=True):
            consonants.insert(0, (stop - length, stop, name))
            stop -= length
        start = stop
        if previous is not None and previous.offset > start:
            _shorten(previous, start)
        connected = (
            previous is not None
            and start - previous.offset < 0.012
            and all(CONSONANTS[c].voiced for c in names)
            and all(CONSONANTS[c[2]].voiced for c in previous.coda)
        )
        if note.phrase_start:
            phase = rng.uniform(-2, 2)
        phase *= 0.9
        plan = _Plan(
            onset=onset,
            offset=offset,
            midi=note.midi,
            target=note.midi + singer.tuning + float(error[k]),
            level=float(level[k] + phase),
            vowels=vowels,
            consonants=consonants,
            coda=[],
            vowel_end=offset,
            connected=connected,
            grace=note.grace,
            phrase_start=note.phrase_start,
            word=note.word,
            word_start=note.word_start,
            lyric=note.syllable.spelling if note.syllable else None,
        )
        if coda_names:
            lengths = _fit_consonants(
                coda_names,
                rng,
                singer.articulation,
                min(0.35 * (offset - onset), offset - onset - MIN_VOWEL_S),
            )
            lengths = [x for x in lengths if x > 0.012]
            coda_names = coda_names[: len(lengths)]
            stop = offset
            for name, length in zip(
                coda_names[::-1], lengths[::-1], strict=True
            ):
                plan.coda.insert(0, (stop - length, stop, name))
                stop -= length
            plan.vowel_end = stop
        plans.append(plan)
    return plans


def _shorten(plan, stop):
    """End a planned note earlier, moving its coda."""
    shift = plan.offset - stop
    plan.offset = stop
    if plan.coda:
        plan.coda = [(a - shift, b - shift, c) for a, b, c in plan.coda]
        first = plan.coda[0][0]
        least = plan.onset + max(
            0.5 * (stop - plan.onset), min(MIN_VOWEL_S, stop - plan.onset)
        )
        if first < least:
            scale = (stop - least) / (stop - first)
            plan.coda = [
                (stop - (stop - a) * scale, stop - (stop - b) * scale, c)
                for a, b, c in plan.coda
            ]
        if plan.coda[0][1] - plan.coda[0][0] < 0.008:
            plan.coda = []  # too fast to be spoken
    plan.vowel_end = plan.coda[0][0] if plan.coda else stop


_smooth = partial(smooth, rate=CONTROL_RATE)
_wander = partial(wander, rate=CONTROL_RATE)


def _index(seconds, points):
    return int(min(max(round(seconds * CONTROL_RATE), 0), points))


def _pitch_track(plans, singer, rng, points):
    """Pitch (MIDI numbers) and tremolo (dB) at every control point."""
    pitch = np.full(points, plans[0].target)
    extra = np.zeros(points)
    tremolo = np.zeros(points)
    time = np.arange(points) / CONTROL_RATE
    draws = rng.uniform(size=(len(plans), 14))
    normals = rng.standard_normal((len(plans), 6))
    habit = singer.vibrato_chance
    phase_rate = singer.vibrato_rate * (1 + 0.05 * _wander(rng, points, 2.0))
    for k, plan in enumerate(plans):
        u, z = draws[k], normals[k]
        length = plan.vowel_end - plan.onset
        start = plan.start
        if k:
            delta = plan.target - plans[k - 1].target
            width = singer.glide_s * (0.5 + 1.2 * u[0])
            if u[1] < singer.portamento and length > 0.2:
                width = 0.12 + 0.2 * u[2]  # a real portamento
            width = min(width, 0.7 * length, plan.onset - plans[k - 1].onset)
            if plan.connected and not plan.consonants:
                centre = plan.onset
            elif plan.onset - plans[k - 1].offset < 0.3:
                # The larynx moves on while a consonant sounds, and the move
                # shows on both sides of it.
                early = plans[k - 1].offset
                centre = early + (plan.onset - early) * (0.3 + 0.7 * u[3])
            else:
                centre = 0.5 * (plans[k - 1].offset + start)
                width = max(min(width, start - plans[k - 1].offset), 0.01)
            a = _index(centre - width / 2, points)
            b = _index(centre + width / 2, points)
            if b > a:
                x = (np.arange(a, b) + 0.5 - a) / (b - a)
                pitch[a:b] += delta * (0.5 - 0.5 * np.cos(np.pi * x))
            pitch[b:] += delta
            if plan.connected and singer.overshoot and u[4] < 0.5:
                over = delta * singer.overshoot * (0.5 + u[5])
                c = _index(centre + width / 2 + 0.06 + 0.05 * u[6], points)
                if c > b:
                    x = (np.arange(b, c) - b) / (c - b)
                    extra[b:c] += over * np.sin(np.pi * x) * (1 - x)
                if u[6] < 0.4:  # preparation: a little the other way first
                    c = _index(centre - width / 2 - 0.06, points)
                    if a > c:
                        x = (np.arange(c, a) - c) / (a - c)
                        extra[c:a] -= 0.6 * over * np.sin(np.pi * x) * x
        on, off = _index(plan.onset, points), _index(plan.offset, points)
        begin = _index(start, points)
        tail = min(points, off + int(0.12 * CONTROL_RATE))
        if k + 1 < len(plans):
            tail = max(off, min(tail, _index(plans[k + 1].start, points)))
        if not plan.connected and u[7] < singer.scoop_chance:
            depth = 0.3 + 2.2 * u[8] ** 2
            fade = (0.03 + 0.20 * u[9] ** 1.5) / 2.5
            fade = min(fade, length / 5)
            anchor = plan.onset - 0.5 * (plan.onset - start)
            from_start = np.maximum(time[begin:off] - anchor, 0)
            extra[begin:off] -= depth * np.exp(-from_start / fade)
        elif not plan.connected and u[7] > 0.93:
            # from above, rarer
            fade = min(0.02 + 0.03 * u[9], length / 5)
            from_start = np.maximum(time[begin:off] - plan.onset, 0)
            extra[begin:off] += 0.8 * u[8] * np.exp(-from_start / fade)
        elif not plan.connected or plan.consonants:
            fade = min(0.012 + 0.03 * u[9], length / 6)
            from_start = np.maximum(time[on:off] - plan.onset, 0)
            bend = singer.onset_bend * abs(z[4])
            extra[on:off] -= bend * np.exp(-from_start / fade)
        followed = k + 1 < len(plans) and plans[k + 1].connected
        if not followed and u[10] < singer.fall_chance:
            fall = min(0.05 + 0.12 * u[11], 0.4 * length)
            a = _index(plan.offset - fall, points)
            x = (np.arange(a, tail) - a) / (fall * CONTROL_RATE)
            extra[a:tail] -= (0.4 + 1.8 * u[12]) * np.minimum(x, 1.6) ** 2
        elif not followed:
            fall = min(0.03 + 0.05 * u[11], 0.3 * length)
            a = _index(plan.offset - fall, points)
            x = (np.arange(a, tail) - a) / (fall * CONTROL_RATE)
            extra[a:tail] -= (
                0.7 * singer.onset_bend * u[12] * (np.minimum(x, 1.5) ** 2)
            )
        if plan.grace:
            a, b = on, _index(plan.onset + 0.035 + 0.055 * u[12], points)
            x = (np.arange(a, b) - a) / max(b - a, 1)
            extra[a:b] += plan.grace * np.minimum(1, 2 - 2 * x)
        # Vibrato: fades in after a delay.
        delay = singer.vibrato_delay * (0.5 + u[12])
        if u[13] < habit and length > delay + 0.12:
            a = _index(plan.onset + delay, points)
            since = time[a:tail] - plan.onset - delay
            rise = 0.08 + 0.3 * u[11]
            depth = singer.vibrato_depth * np.exp(0.25 * z[0])
            fade = np.minimum(since / rise, 1.0)
            if u[9] < 0.4:  # the vibrato calms down before the end
                fade = fade * np.clip((plan.offset - time[a:tail]) / 0.15, 0, 1)
            angle = np.cumsum(phase_rate[a:tail]) / CONTROL_RATE + u[10]
            extra[a:tail] += depth * fade * np.sin(2 * np.pi * angle)
            shake = np.sin(2 * np.pi * (angle + u[8]))
            tremolo[a:tail] += singer.vibrato_am_db * fade * shake
        # Slow bend over the note (flat or sharp).
        bend = singer.drift * 2.5 * z[1]
        x = (time[on:off] - plan.onset) / max(plan.offset - plan.onset, 0.05)
        extra[on:off] += bend * (x - 0.5) * np.minimum(1, 4 * (1 - x))
        # Micro-prosody of the consonants.
        for a, b, name in plan.consonants:
            kind = CONSONANTS[name]
            if kind.voiced and kind.muffle > 0.55:
                a, b = _index(a, points), _index(b, points)
                if b > a:
                    x = (np.arange(a, b) + 0.5 - a) / (b - a)
                    extra[a:b] -= 0.5 * abs(z[2]) * np.sin(np.pi * x)
            elif not kind.voiced:
                c = min(off, on + int(0.06 * CONTROL_RATE))
                extra[on:c] += 0.25 * abs(z[3]) * np.linspace(1, 0, c - on)
    drift = singer.drift * _wander(rng, points, rng.uniform(2.0, 7.0))
    jitter = singer.jitter * _wander(rng, points, 18.0)
    rough = 0.3 * singer.jitter * rng.standard_normal(points)
    return _smooth(pitch + extra, 0.016) + drift + jitter + rough, tremolo


def _level_tracks(plans, singer, rng, points):
    """Amplitudes of voice, aspiration and consonant noise.

    Returns the three tracks, and centre and width (kHz) of the noise.
    """
    voice = np.zeros(points)
    air = np.zeros(points)
    noise = np.zeros(points)
    centre = np.full(points, 4.0)
    width = np.full(points, 2.0)
    dips = np.ones(points)
    breathy = 10 ** (singer.breathiness_db / 20)
    strength = 10 ** (singer.consonant_db / 20)
    draws = rng.uniform(size=(len(plans), 12))
    end = points / CONTROL_RATE
    for k, plan in enumerate(plans):
        u = draws[k]
        level = 10 ** (plan.level / 20)
        on = _index(plan.onset, points)
        off = _index(plan.vowel_end, points)
        length = plan.vowel_end - plan.onset
        x = (np.arange(on, off) - on) / max(off - on, 1)
        # The vowel: swells, fades or decays.
        slope = (-5.0 + 8.0 * u[0]) * min(1.0, length / 0.6)
        arch = 2.5 * u[1] * min(1.0, length)
        shape = level * 10 ** (
            (slope * (x - 0.3) + arch * np.sin(np.pi * x)) / 20
        )
        voice[on:off] = shape
        last = shape[-1] if len(shape) else level
        follow = plans[k + 1].start if k + 1 < len(plans) else end
        if not plan.connected:
            before = plan.consonants and CONSONANTS[plan.consonants[-1][2]]
            attack = singer.attack_s * (0.4 + 1.2 * u[2])
            if before:
                attack = min(attack, 0.06)
            attack = min(attack, 0.4 * length, 0.09)
            if not before or not before.voiced:
                a = _index(plan.onset - 0.25 * attack, points)
                b = _index(plan.onset + 0.75 * attack, points)
                if b > a:
                    voice[a:on] = level
                    x = (np.arange(a, b) + 0.5 - a) / (b - a)
                    voice[a:b] *= 0.5 - 0.5 * np.cos(np.pi * x)
        for a, b, name in plan.consonants:
            _consonant(
                name, a, b, level, strength, singer.closure, u[3:7],
                (voice, air, noise, centre, width), points,
            )  # fmt: skip
        for a, b, name in plan.coda:
            _consonant(
                name, a, b, last, strength * 0.8, singer.closure, u[4:8],
                (voice, air, noise, centre, width), points,
            )  # fmt: skip
        connected = k + 1 < len(plans) and plans[k + 1].connected
        if not connected:
            # Release: a decaying tail that starts a little early.
            release = singer.release_s * (0.4 + 1.2 * u[8])
            if follow - plan.offset < 0.02:
                release = min(release, 0.02)
            silent_coda = plan.coda and not CONSONANTS[plan.coda[-1][2]].voiced
            stop = plan.vowel_end if silent_coda else plan.offset
            if silent_coda:
                release = 0.02
            a = _index(stop - 0.3 * min(release, length), points)
            b = _index(min(stop + release, max(follow, stop)), points)
            edge = _index(stop, points)
            hold = voice[max(edge - 1, 0)]
            tail = np.linspace(0, 1, max(b - a, 1), endpoint=False)
            if b > edge:
                voice[edge:b] = hold
            voice[a:b] *= np.cos(0.5 * np.pi * tail[: b - a]) ** 2
        elif not plans[k + 1].consonants:
            # Legato without a consonant: hardly a change, unless the pitch
            # stays the same; then it must be articulated again.
            step = abs(plans[k + 1].target - plan.target)
            depth = singer.legato_dip_db * u[9]
            if step < 0.5:
                depth = max(depth, 2.0 + 16.0 * u[10])
            half = 0.012 + 0.03 * u[11]
            middle = plans[k + 1].onset - 0.7 * half
            a, b = _index(middle - half, points), _index(middle + half, points)
            if b > a:
                x = np.sin(np.pi * (np.arange(a, b) + 0.5 - a) / (b - a))
                dips[a:b] = 10 ** (-depth * x**2 / 20)
        if plan.phrase_start:
            before = plans[k - 1].offset if k else 0.0
            room = plan.start - before
            if room > 0.25 and u[9] < 0.75:
                length = min(0.12 + 0.4 * u[10], 0.7 * room)
                stop = plan.start - 0.02 - 0.1 * u[11] * room
                a = _index(stop - length, points)
                b = _index(stop, points)
                if b > a:
                    x = (np.arange(a, b) + 0.5 - a) / (b - a)
                    hump = np.sin(np.pi * x**0.7) ** 1.5
                    breath = 10 ** ((singer.breath_db + 8 * (u[8] - 0.5)) / 20)
                    noise[a:b] = breath * hump
                    centre[a:b] = 1.0 + 3.0 * u[6]
                    width[a:b] = 3.0 + 4.0 * u[7]
    voice = _smooth(voice, 0.010) * dips
    air = _smooth(air, 0.006) + breathy * voice
    return voice, air, noise, centre, width


def _consonant(name, start, stop, level, strength, closure, u, tracks, points):
    """Write one consonant into the level tracks."""
    voice, air, noise, centre, width = tracks
    kind = CONSONANTS[name]
    a, b = _index(start, points), _index(stop, points)
    if b <= a:
        return
    x = (np.arange(a, b) + 0.5 - a) / (b - a)
    loud = level * strength * 10 ** ((kind.noise_db + 8 * (u[0] - 0.5)) / 20)
    centre[max(a - 8, 0) : b + 8] = kind.noise[0] * (0.85 + 0.3 * u[1])
    width[max(a - 8, 0) : b + 8] = kind.noise[1] * (0.8 + 0.5 * u[2])
    voice[a:b] = (
        level * 10 ** ((closure * kind.voice_db + 5 * (u[3] - 0.5)) / 20)
        if kind.voiced
        else 0.0
    )
    if kind.kind == "fricative":
        noise[a:b] = loud * np.sin(np.pi * x**0.8) ** 0.6
    elif kind.kind == "aspirate":
        air[a:b] += loud * np.sin(np.pi * x) ** 0.5
    elif kind.kind in ("stop", "affricate") and kind.noise_db > -60:
        rub = kind.kind == "affricate"
        split = (0.35 if rub else 0.5 + 0.25 * u[1]) if not kind.voiced else 0.8
        c = a + int(split * (b - a))
        if rub:
            noise[c:b] = loud * np.linspace(1, 0.2, b - c)
        else:
            burst = np.exp(-np.arange(b - c) / (CONTROL_RATE * 0.006))
            noise[c:b] = 2.0 * loud * burst
            if not kind.voiced:
                air[c:b] += (
                    0.6 * loud * np.sin(np.pi * np.linspace(0.1, 1, b - c))
                )
    elif kind.kind == "trill":
        taps = 1 + int(u[1] * 2.5) if stop - start > 0.06 else 1
        voice[a:b] *= 1 - 0.8 * np.abs(np.sin(np.pi * taps * x)) ** 3


def _formant_tracks(plans, singer, points):
    """First three formants in hertz and the muffling, (4, points)."""
    shift = np.log(np.array(singer.vowel_shift) * singer.tract)
    tracks = np.zeros((4, points))

    def write(start, stop, formants, muffle=0.0):
        a, b = _index(start, points), _index(stop, points)
        tracks[:3, a:b] = (np.log(formants) + shift)[:, None]
        tracks[3, a:b] = muffle

    def shape(name):
        vowel = VOWELS[name]
        return np.array([vowel.f1, vowel.f2, vowel.f3], dtype=np.float64)

    last = 0.0
    for k, plan in enumerate(plans):
        first, second = shape(plan.vowels[0]), shape(plan.vowels[1])
        if k:
            middle = 0.5 * (last + plan.start)
            write(last, middle, shape(plans[k - 1].vowels[1]))
        else:
            middle = 0.0
        write(middle, plan.start, first)
        for a, b, name in plan.consonants:
            kind = CONSONANTS[name]
            locus = kind.locus
            # The tongue is on its way: a locus mixed with the vowel.
            closed = 0.7 * (min(singer.closure, 1.0) if kind.voiced else 1.0)
            target = (
                first
                if locus is None
                else np.exp(
                    closed * np.log(locus) + (1 - closed) * np.log(first)
                )
            )
            muffle = singer.closure * kind.muffle
            write(a, b, target, muffle)
        write(plan.onset, plan.vowel_end, first)
        if plan.vowels[0] != plan.vowels[1]:
            length = plan.vowel_end - plan.onset
            turn = plan.onset + max(0.55 * length, length - 0.16)
            write(turn, plan.vowel_end, second)
        for a, b, name in plan.coda:
            kind = CONSONANTS[name]
            locus = second if kind.locus is None else np.array(kind.locus)
            write(a, b, locus, kind.muffle)
        last = plan.offset
    write(last, points / CONTROL_RATE, shape(plans[-1].vowels[1]))
    width = singer.coarticulation_s
    for row in range(3):
        tracks[row] = np.exp(_smooth(tracks[row], width))
    tracks[3] = _smooth(tracks[3], 0.02)
    return tracks


def pulse_train(phase, harmonics):
    """Sum of cosines of equal amplitude, without aliasing.

    Closed form of the Dirichlet kernel; the highest harmonic fades in and
    out so that a changing number of harmonics makes no click.

    Arguments
    ---------
    phase : np.ndarray (samples,)
        Phase in periods, float64.
    harmonics : np.ndarray (samples,)
        Number of harmonics, a float of at least 1.

    Returns
    -------
    np.ndarray (samples,)
        Sum over k of cos(2 pi k phase), k from 1 to `harmonics`.

    Example
    -------
    >>> phase = np.array([0.0, 0.1, 0.25])
    >>> k = np.arange(1, 5)[:, None]
    >>> direct = np.cos(2 * np.pi * k * phase).sum(0)
    >>> np.allclose(pulse_train(phase, np.full(3, 4.0)), direct)
    True
    """
    full = np.floor(harmonics)
    angle = np.pi * (phase - np.round(phase))
    below = np.sin(angle)
    safe = np.abs(below) > 1e-7
    kernel = np.sin((2 * full + 1) * angle)
    np.divide(kernel, below, out=kernel, where=safe)
    kernel = np.where(safe, kernel, 2 * full + 1)
    top = (harmonics - full) * np.cos(2 * (full + 1) * angle)
    return 0.5 * (kernel - 1.0) + top


def _source(pitch_hz, singer, rng, sample_rate):
    """Glottal pulses with flat harmonics of amplitude 1, and their phase."""
    phase = np.cumsum(pitch_hz) / sample_rate
    # The harmonic that fades in must lie below the limit, too.
    highest = HIGHEST_HARMONIC * sample_rate / pitch_hz
    harmonics = np.maximum(highest - 1, 1.0)
    source = pulse_train(phase, harmonics)
    if singer.opening > 0.08:
        # The opening of the glottis excites too, weaker and inverted.
        opened = pulse_train(phase + singer.open_quotient, harmonics)
        source -= singer.opening * opened
    periods = int(phase[-1]) + 3
    strength = np.exp(singer.shimmer * rng.standard_normal(periods))
    source *= np.interp(phase, np.arange(periods), strength)
    if singer.growl:
        source *= 1 + singer.growl * np.cos(np.pi * phase)
    return source, phase


def _filters(tracks, pitch_hz, level_db, singer, freqs):
    """Amplitude responses (frames, bins) of the voice, float32."""
    khz = (np.maximum(freqs, 20.0) / 1000).astype(np.float32)
    square = khz * khz
    static = np.ones_like(khz)
    for k, formant in enumerate(singer.upper_formants):
        f = formant / 1000
        b = 0.16 * singer.bandwidth * (1 + 0.4 * min(k, 6))
        static *= f**4 / ((square - f * f) ** 2 + b * b * square)
    ring = 2.9 * (0.6 + 0.4 * singer.tract)
    bump = np.exp(-0.5 * ((khz - ring) / 0.35) ** 2)
    static *= 10 ** (singer.singers_formant_db * bump / 10)
    static *= square / (square + 0.06**2)

    f0 = (pitch_hz / 1000).astype(np.float32)[:, None]
    power = np.broadcast_to(static, (len(f0), len(khz))).copy()
    widths = (0.07, 0.09, 0.12)
    for row in range(3):
        f = (tracks[row] / 1000).astype(np.float32)[:, None]
        if row == 0:
            # Singers open the jaw when the pitch passes the first formant.
            f = np.maximum(f, f0 * 1.03)
        b = np.float32(widths[row] * singer.bandwidth) * (1 + 0.12 * f)
        f2 = f * f
        gap = square - f2
        power *= f2 * f2 / (gap * gap + (b * b) * square)
    power += np.float32(10 ** (singer.floor_db / 10)) * power.max(
        axis=1, keepdims=True
    )
    tilt = np.clip(
        singer.tilt - singer.tilt_per_db * level_db + tracks[3], 0.3, 4.0
    )
    slope = np.log(khz / 0.4).astype(np.float32)
    power *= np.exp((-2 * tilt).astype(np.float32)[:, None] * slope)
    energy = np.where(khz > 0.55 * f0, power, 0).sum(1)
    step = (khz[2] - khz[1]) if len(khz) > 2 else 1.0
    energy *= 0.5 * step / f0[:, 0]
    gain = np.maximum(energy, 1e-9) ** -0.5
    return np.sqrt(power) * gain[:, None]


def _frames(wav, hop, window):
    """Spectra of windowed segments, padded with zeros to twice their size."""
    view = np.lib.stride_tricks.sliding_window_view(wav, 2 * hop)[::hop]
    return sfft.rfft(view * window, 4 * hop, axis=1)


def _overlap_add(spectra, hop):
    """Inverse of `_frames` after filtering without delay.

    A filter of zero phase answers on both sides; what comes before the
    segment is found, by periodicity, in the last quarter of the frame.
    """
    frames = sfft.irfft(spectra, 4 * hop, axis=1).reshape(-1, 4, hop)
    out = np.zeros((len(frames) + 3, hop), dtype=frames.dtype)
    for quarter, place in ((3, 0), (0, 1), (1, 2), (2, 3)):
        out[place : place + len(frames)] += frames[:, quarter]
    return out.ravel()[hop:]


def sing(score: Score, singer: Singer, rng, n_samples, sample_rate) -> Sung:
    """Sing a score.

    Arguments
    ---------
    score : Score
        What to sing; may be empty.
    singer : Singer
        Who sings.
    rng : np.random.Generator
        Source of randomness.
    n_samples : int
        Length of the result.
    sample_rate : int
        Samples per second.

    Returns
    -------
    Sung
    """
    duration_s = n_samples / sample_rate
    points = int(np.ceil(duration_s * CONTROL_RATE)) + 2
    if not score.notes:
        return Sung(
            np.zeros(n_samples, np.float32), NoteSequence(), [], [],
            np.zeros(points), np.zeros(points, bool),
        )  # fmt: skip
    plans = _plan(score, singer, rng, duration_s)
    pitch, tremolo = _pitch_track(plans, singer, rng, points)
    voice, air, noise, centre, width = _level_tracks(plans, singer, rng, points)
    voice *= 10 ** (tremolo / 20)
    tracks = _formant_tracks(plans, singer, points)

    size = 1 << int(np.ceil(np.log2(0.032 * sample_rate) - 1e-6))
    hop = size // 2
    n_frames = -(-n_samples // hop) + 3
    padded = (n_frames - 1) * hop + size
    lead = size - hop  # samples before time 0
    window = np.hanning(size + 1)[:-1].astype(np.float32)
    at = (np.arange(padded) - lead) * (CONTROL_RATE / sample_rate)
    grid = np.arange(points)

    def to_samples(track):
        return np.interp(at, grid, track)

    hz = midi_to_hz(pitch)
    source, phase = _source(to_samples(hz), singer, rng, sample_rate)
    # Aspiration: noise whose power follows the open phase of the glottis.
    hiss = rng.standard_normal(padded, dtype=np.float32)
    hiss[1:] -= 0.9 * hiss[:-1]
    scale = np.sqrt(sample_rate / (4 * hz) / 1.81)
    pulse = 1 + 0.6 * np.cos(2 * np.pi * (phase + 0.5))
    excitation = source * to_samples(voice) + hiss * pulse * to_samples(
        air * scale
    )
    rub = rng.standard_normal(padded, dtype=np.float32) * to_samples(noise)

    middle = (np.arange(n_frames) * hop + size / 2 - lead) / sample_rate
    middle = np.clip(np.round(middle * CONTROL_RATE), 0, points - 1)
    middle = middle.astype(int)
    freqs = np.arange(size + 1) * (sample_rate / (2 * size))
    level_db = np.clip(20 * np.log10(np.maximum(voice, 1e-3)), -25, 12)
    level_db = _smooth(level_db, 0.05)
    response = _filters(
        tracks[:, middle], hz[middle], level_db[middle], singer, freqs
    )
    spectra = _frames(excitation.astype(np.float32), hop, window)
    spectra *= response
    active = np.flatnonzero(
        np.convolve(_any(noise, middle, size, sample_rate), np.ones(3), "same")
    )
    if len(active):
        rubbed = np.lib.stride_tricks.sliding_window_view(
            rub.astype(np.float32), size
        )[::hop][active]
        rubbed = sfft.rfft(rubbed * window, 2 * size, axis=1)
        khz = (freqs / 1000).astype(np.float32)
        c = centre[middle[active]].astype(np.float32)[:, None]
        w = width[middle[active]].astype(np.float32)[:, None]
        bell = 1 / (1 + ((khz - c) / (0.5 * w)) ** 2) ** 1.5
        bell *= khz / (khz + 0.3)
        bell /= np.sqrt(np.mean(bell**2, axis=1, keepdims=True))
        spectra[active] += rubbed * bell
    wav = _overlap_add(spectra, hop)[lead : lead + n_samples]

    heard = voice > 0.05 * np.median(voice[voice > 0.01])
    return Sung(
        np.ascontiguousarray(wav, dtype=np.float32),
        _annotate(plans, pitch, duration_s),
        _words(plans),
        _phones(plans),
        pitch,
        heard,
    )


def _any(track, middle, size, sample_rate):
    """Frames in which a control track is above zero."""
    reach = int(0.5 * size / sample_rate * CONTROL_RATE) + 1
    total = np.concatenate([[0.0], np.cumsum(track > 0)])
    low = np.clip(middle - reach, 0, len(track))
    high = np.clip(middle + reach + 1, 0, len(track))
    return (total[high] - total[low] > 0).astype(float)


def _annotate(plans, pitch, duration_s):
    notes = []
    for k, plan in enumerate(plans):
        onset, offset = plan.onset, min(plan.annotated_offset, duration_s)
        if k + 1 < len(plans):
            offset = min(offset, plans[k + 1].onset)
        if offset - onset < 0.03:
            continue
        a = _index(onset + 0.25 * (offset - onset), len(pitch))
        b = max(_index(onset + 0.9 * (offset - onset), len(pitch)), a + 1)
        notes.append(
            Note(
                round(onset, 4),
                round(offset, 4),
                float(np.round(np.median(pitch[a:b]))),
                plan.lyric,
            )
        )
    return NoteSequence(notes)


def _phones(plans):
    rows = []
    for plan in plans:
        rows.extend(plan.consonants)
        first, last = plan.vowels
        name = first if first == last else f"{first}-{last}"
        rows.append((plan.onset, plan.vowel_end, name))
        rows.extend(plan.coda)
    return [(round(a, 4), round(b, 4), name) for a, b, name in rows]


def _words(plans):
    rows = []
    for plan in plans:
        if plan.word_start or not rows:
            rows.append([plan.start, plan.offset, plan.word])
        else:
            rows[-1][1] = plan.offset
    return [(round(a, 4), round(b, 4), word) for a, b, word in rows]
