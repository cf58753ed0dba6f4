"""The accompaniment: chords, a pad, bass, drums and a second melody."""

from __future__ import annotations

import numpy as np
from scipy.signal import fftconvolve

from data_prep.minisinging import room
from data_prep.minisinging.sound_font import SoundFont
from data_prep.minisinging.wavetable import Wavetables

# How often a part plays, and its level in dB.
PARTS = {
    "chords": (0.9, -3.0),
    "pad": (0.35, -6.0),
    "bass": (0.75, -4.0),
    "drums": (0.6, -5.0),
    "melody": (0.4, -6.0),
}


def _chords(rng, score, band, role="chords"):
    player = band.instrument(role)
    octave = 12 * int(rng.integers(4, 6))
    patterns = ["held", "beats", "arpeggio", "offbeat", "strum"]
    pattern = "held" if role == "pad" else str(rng.choice(patterns))
    strokes = rng.uniform(size=8) < (0.9, 0.2, 0.7, 0.5, 0.6, 0.3, 0.8, 0.4)
    for chord in score.chords:
        levels = rng.uniform(0.6, 1.0, 64)
        notes = [midi + octave for midi in chord.midi]
        if pattern == "held":
            for k, midi in enumerate(notes):
                player.play(chord.onset, chord.offset, midi, levels[k])
            continue
        step = score.beat_s / (2 if pattern in ("arpeggio", "strum") else 1)
        time = chord.onset + (0.5 * step if pattern == "offbeat" else 0.0)
        k = 0
        while time < chord.offset - 0.05:
            stop = min(time + step * 1.05, chord.offset)
            if pattern == "arpeggio":
                stop = min(stop + step, chord.offset)
                player.play(time, stop, notes[k % len(notes)], levels[k % 64])
            elif pattern != "strum" or strokes[k % 8]:
                # The hand goes over the strings, down and up.
                delay = 0.012 if pattern == "strum" else 0.0
                order = notes if k % 2 == 0 else notes[::-1]
                for string, midi in enumerate(order):
                    start = time + delay * string
                    player.play(start, stop, midi, levels[k % 64])
            time += step
            k += 1
    return player.track


def _pad(rng, score, band):
    return _chords(rng, score, band, "pad")


def _bass(rng, score, band):
    player = band.instrument("bass")
    step = score.beat_s * float(rng.choice([0.5, 1, 2]))
    moving = rng.uniform() < 0.4
    for chord in score.chords:
        time = chord.onset
        k = 0
        while time < chord.offset - 0.05:
            midi = 36 + chord.root % 12
            if moving and k % 4 == 3:
                midi += int(rng.choice([7, 12, -5]))
            stop = min(time + 0.9 * step, chord.offset)
            player.play(time, stop, midi, 0.7 + 0.3 * (k % 2 == 0))
            time += step
            k += 1
    return player.track


def _drums(rng, score, band):
    kit = band.kit()
    start = score.chords[0].offset if score.chords else 0.0
    stop = score.chords[-1].offset if score.chords else 0.0
    beat = score.beat_s
    while beat < 0.35:
        beat *= 2
    start %= beat
    chances = {
        "kick": (0.95, 0.05, 0.25, 0.15, 0.7, 0.1, 0.25, 0.1),
        "snare": (0.03, 0.05, 0.9, 0.05, 0.03, 0.05, 0.9, 0.15),
        "hat": (0.8, 0.6, 0.8, 0.6, 0.8, 0.6, 0.8, 0.6),
    }
    patterns = {k: rng.uniform(size=8) < p for k, p in chances.items()}
    balance = {name: rng.uniform(0.4, 1.2) for name in (*chances, "tom")}
    fills = rng.uniform(0.0, 0.5)
    fill = False
    for k in range(int((stop - start) / (beat / 2)) + 1):
        time = start + k * beat / 2
        if k % 32 == 0:
            if k and fill:
                kit.hit(time, "crash", 0.8)
            fill = rng.uniform() < fills
        if fill and k % 32 >= 28:
            for half in (0.0, beat / 4):
                level = balance["tom"] * rng.uniform(0.5, 1.0)
                kit.hit(time + half, "tom", level)
            continue
        for name, pattern in patterns.items():
            level = balance[name] * rng.uniform(0.6, 1.0)
            if pattern[k % 8]:
                kit.hit(time, name, level)
    return kit.track


def _melody(rng, score, band):
    """Doubles the tune, answers it, fills its rests or goes along with it."""
    player = band.instrument("melody")
    mode = str(
        rng.choice(["double", "answer", "fill", "line"], p=[0.2, 0.3, 0.3, 0.2])
    )
    if mode == "double":
        return _double(rng, score, player)
    octave = 12 * int(rng.integers(4, 7))
    steps = (2, 3, 4) if mode == "line" else (0.5, 1, 1, 2)
    starts = np.array([note.onset for note in score.notes])
    stops = np.array([note.offset for note in score.notes])
    place = 0
    for chord in score.chords:
        time = chord.onset
        while time < chord.offset - 0.1:
            length = score.beat_s * float(rng.choice(steps))
            stop = min(time + length, chord.offset)
            sung = np.any((starts < stop) & (stops > time))
            if mode != "fill" or not sung:
                # Chord tones on the beat, neighbours between them.
                place = int(np.clip(place + rng.integers(-2, 3), -3, 5))
                tones = chord.midi
                midi = tones[place % len(tones)]
                midi += 12 * (place // len(tones)) + octave
                if rng.uniform() < 0.25:
                    midi += int(rng.choice([-2, -1, 1, 2]))
                if rng.uniform() < 0.8:
                    player.play(time, stop, midi, rng.uniform(0.6, 1.0))
            time += length
    # Nothing to fill where the singer never rests.
    track = player.track
    return track if track.any() else _double(rng, score, player)


def _double(rng, score, player):
    shift = int(rng.choice([0, 12, -12]))
    for note in score.notes:
        player.play(note.onset, note.offset, note.midi + shift, 0.9)
    return player.track


_PLAY = {
    "chords": _chords,
    "pad": _pad,
    "bass": _bass,
    "drums": _drums,
    "melody": _melody,
}


def play_band(score, rng, n_samples, sample_rate, fonts=()):
    """Play an accompaniment to a score.

    Arguments
    ---------
    score : Score
        Gives chords, beat and tune.
    rng : np.random.Generator
        Source of randomness.
    n_samples : int
        Length.
    sample_rate : int
        Samples per second.
    fonts : sequence of str or Path, optional
        Sound fonts, one of which plays four songs of five
        (`sound_font.SoundFont`). Default: synthetic instruments play all.

    Returns
    -------
    dict of str to np.ndarray (samples,)
        The stems `chords`, `pad`, `bass`, `drums`, `melody` (those that play;
        at least one), float32; their sum has unit power.

    Raises
    ------
    ConfigError
        As `SoundFont`.
    """
    if len(fonts) and rng.uniform() < 0.8:
        font = fonts[int(rng.integers(len(fonts)))]
        band = SoundFont(font, rng, n_samples, sample_rate)
    else:
        band = Wavetables(rng, n_samples, sample_rate)
    hall = None
    if rng.uniform() < 0.6:
        hall = room.draw_room(rng, sample_rate)
    stems = {}
    for name, (chance, level) in PARTS.items():
        chosen = rng.uniform() < chance
        gain = 10 ** ((level + rng.normal(0, 3)) / 20)
        if not chosen and (name != "melody" or stems):
            continue
        track = _PLAY[name](rng, score, band)
        if hall is not None and name not in ("bass", "drums"):
            track = fftconvolve(track, hall)[:n_samples]
        power = np.sqrt(np.mean(track**2))
        if power > 0:
            stems[name] = (track * (gain / power)).astype(np.float32)
    total = sum(stems.values()) if stems else np.zeros(n_samples, np.float32)
    power = np.sqrt(np.mean(total**2)) + 1e-9
    return {name: track / np.float32(power) for name, track in stems.items()}
