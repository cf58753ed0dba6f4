"""The accompaniment: chords, bass, drums and at times a second melody."""

from __future__ import annotations

import numpy as np

from speechbrain_ext.notes import midi_to_hz

_TABLE = 2048

# Partials: exponent of their decay, even partials present, brightness decay.
TIMBRES = {
    "piano": (1.3, 1.0, 3.0),
    "guitar": (1.1, 0.9, 4.0),
    "organ": (0.8, 1.0, 0.0),
    "strings": (1.1, 1.0, 0.0),
    "flute": (2.2, 0.4, 0.0),
    "reed": (0.9, 0.1, 0.0),
    "synth": (0.9, 1.0, 0.5),
    "bell": (1.6, 0.3, 2.5),
}


def _table(rng, timbre, harmonics):
    """One period of a timbre as two wave tables, bright and dark."""
    exponent, even, _ = TIMBRES[timbre]
    count = int(max(1, min(harmonics, 40)))
    k = np.arange(1, count + 1)
    level = k ** -(exponent * rng.uniform(0.85, 1.2))
    level *= np.where(k % 2 == 0, even, 1.0)
    level *= np.exp(0.5 * rng.standard_normal(count))
    phase = rng.uniform(0, 2 * np.pi, count)
    tables = []
    for extra in (0.0, 1.2):
        spectrum = np.zeros(_TABLE // 2 + 1, dtype=np.complex128)
        spectrum[1 : count + 1] = level * k**-extra * np.exp(1j * phase)
        table = np.fft.irfft(spectrum)
        tables.append(table / (np.sqrt(np.mean(table**2)) + 1e-12))
    return [t.astype(np.float32) for t in tables]


def _tone(tables, hz, n, sample_rate, decay, detune, start):
    """One note: table lookup with a decaying or held envelope."""
    step = hz * _TABLE / sample_rate
    index = (np.arange(n) * step + start).astype(np.int64) & (_TABLE - 1)
    time = np.arange(n, dtype=np.float32) / np.float32(sample_rate)
    wav = tables[1][index]
    if decay > 0:
        fade = np.exp(-decay * time)
        wav = (wav + tables[0][index] * fade) * fade
    else:
        wav = wav + 0.5 * tables[0][index]
    if detune:
        other = (np.arange(n) * (step * detune)).astype(np.int64)
        wav = wav + tables[1][other & (_TABLE - 1)]
    edge = min(n // 2, int((0.004 if decay else 0.03) * sample_rate))
    if edge > 1:
        ramp = np.linspace(0, 1, edge, dtype=np.float32)
        wav[:edge] *= ramp
        wav[-edge:] *= ramp[::-1]
    return wav


class _Instrument:
    """Plays notes of one timbre into a track; tables are kept per octave."""

    def __init__(self, rng, timbre, sample_rate, n_samples):
        self.rng = rng
        self.timbre = timbre
        self.sample_rate = sample_rate
        self.track = np.zeros(n_samples, dtype=np.float32)
        self.tables = {}
        decay = TIMBRES[timbre][2]
        self.decay = decay * rng.uniform(0.5, 2.0)
        self.detune = rng.uniform(1.001, 1.008) if rng.uniform() < 0.35 else 0.0

    def play(self, start_s, stop_s, midi, level):
        """Add one note; seconds, MIDI number, amplitude."""
        a = int(start_s * self.sample_rate)
        b = min(int(stop_s * self.sample_rate), len(self.track))
        if b - a < 32 or a < 0:
            return
        hz = float(midi_to_hz(midi))
        octave = int(np.ceil(midi / 6))
        if octave not in self.tables:
            top = float(midi_to_hz(6 * octave)) * 1.01
            self.tables[octave] = _table(
                self.rng, self.timbre, 0.475 * self.sample_rate / top
            )
        self.track[a:b] += level * _tone(
            self.tables[octave], hz, b - a, self.sample_rate,
            self.decay, self.detune, self.rng.integers(_TABLE),
        )  # fmt: skip


def _chords(rng, score, sample_rate, n_samples):
    timbre = str(rng.choice(list(TIMBRES)))
    player = _Instrument(rng, timbre, sample_rate, n_samples)
    octave = 12 * int(rng.integers(4, 6))
    pattern = str(rng.choice(["held", "beats", "arpeggio", "offbeat"]))
    for chord in score.chords:
        levels = rng.uniform(0.6, 1.0, 64)
        if pattern == "held":
            for k, midi in enumerate(chord.midi):
                player.play(chord.onset, chord.offset, midi + octave, levels[k])
            continue
        step = score.beat_s / (2 if pattern == "arpeggio" else 1)
        time = chord.onset + (0.5 * step if pattern == "offbeat" else 0.0)
        k = 0
        while time < chord.offset - 0.05:
            stop = min(time + step * 1.05, chord.offset)
            if pattern == "arpeggio":
                midi = chord.midi[k % len(chord.midi)] + octave
                player.play(
                    time, min(stop + step, chord.offset), midi, levels[k % 64]
                )
            else:
                for midi in chord.midi:
                    player.play(time, stop, midi + octave, levels[k % 64])
            time += step
            k += 1
    return player.track


def _bass(rng, score, sample_rate, n_samples):
    timbre = str(rng.choice(["guitar", "synth", "piano", "flute"]))
    player = _Instrument(rng, timbre, sample_rate, n_samples)
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


def _drum_sounds(rng, sample_rate):
    def times(seconds):
        return np.arange(int(seconds * sample_rate)) / sample_rate

    t = times(0.25)
    low = rng.uniform(42, 65)
    sweep = low * t + (rng.uniform(80, 250) / 35) * (1 - np.exp(-35 * t))
    kick = np.sin(2 * np.pi * sweep) * np.exp(-t * rng.uniform(10, 25))
    t = times(0.22)
    noise = rng.standard_normal(len(t))
    noise[1:] -= 0.6 * noise[:-1]
    snare = 0.5 * noise * np.exp(-t * rng.uniform(14, 35))
    snare += (
        0.5 * np.sin(2 * np.pi * rng.uniform(150, 240) * t) * np.exp(-t * 30)
    )
    t = times(0.1)
    noise = np.diff(rng.standard_normal(len(t) + 2), 2)
    hat = 0.2 * noise * np.exp(-t * rng.uniform(30, 90))
    t = times(0.12)
    clap = 0.5 * rng.standard_normal(len(t)) * np.exp(-t * 40)
    clap *= 1 + (np.sin(2 * np.pi * 90 * t) > 0) * (t < 0.03)
    return [x.astype(np.float32) for x in (kick, snare, hat, clap)]


def _drums(rng, score, sample_rate, n_samples):
    track = np.zeros(n_samples, dtype=np.float32)
    kick, snare, hat, clap = _drum_sounds(rng, sample_rate)
    if rng.uniform() < 0.2:
        snare = clap
    start = score.chords[0].offset if score.chords else 0.0
    beat = score.beat_s
    while beat < 0.35:
        beat *= 2
    start %= beat
    patterns = rng.uniform(size=(3, 8)) < np.array(
        [
            [0.95, 0.05, 0.25, 0.15, 0.7, 0.1, 0.25, 0.1],
            [0.03, 0.05, 0.9, 0.05, 0.03, 0.05, 0.9, 0.15],
            [0.8, 0.6, 0.8, 0.6, 0.8, 0.6, 0.8, 0.6],
        ]
    )
    balance = rng.uniform(0.4, 1.2, 3)
    steps = int(n_samples / sample_rate / (beat / 2)) + 1
    hits = rng.uniform(0.6, 1.0, (steps, 3))
    for k in range(steps):
        a = int((start + k * beat / 2) * sample_rate)
        for row, sound in enumerate((kick, snare, hat)):
            if patterns[row, k % 8] and a < n_samples:
                b = min(n_samples, a + len(sound))
                track[a:b] += balance[row] * hits[k, row] * sound[: b - a]
    return track


def _melody(rng, score, sample_rate, n_samples):
    """Doubles the tune, or answers it, on an instrument."""
    timbre = str(rng.choice(["flute", "reed", "strings", "piano", "bell"]))
    player = _Instrument(rng, timbre, sample_rate, n_samples)
    if rng.uniform() < 0.5:
        shift = int(rng.choice([0, 12, -12]))
        for note in score.notes:
            player.play(note.onset, note.offset, note.midi + shift, 1.0)
        return player.track
    for chord in score.chords:
        time = chord.onset
        while time < chord.offset - 0.1:
            step = score.beat_s * float(rng.choice([0.5, 1, 1, 2]))
            if rng.uniform() < 0.7:
                midi = int(rng.choice(chord.midi)) + 60
                player.play(time, min(time + step, chord.offset), midi, 1.0)
            time += step
    return player.track


def play_band(score, rng, n_samples, sample_rate) -> dict[str, np.ndarray]:
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

    Returns
    -------
    dict of str to np.ndarray (samples,)
        The stems `chords`, `bass`, `drums`, `melody` (those that play; at
        least one), float32; their sum has unit power.
    """
    parts = {
        "chords": (_chords, 0.9, -3.0),
        "bass": (_bass, 0.75, -4.0),
        "drums": (_drums, 0.6, -5.0),
        "melody": (_melody, 0.25, -8.0),
    }
    stems = {}
    for name, (play, chance, level) in parts.items():
        chosen = rng.uniform() < chance
        gain = 10 ** ((level + rng.normal(0, 3)) / 20)
        if chosen or (name == "melody" and not stems):
            track = play(rng, score, sample_rate, n_samples)
            power = np.sqrt(np.mean(track**2))
            if power > 0:
                stems[name] = track * np.float32(gain / power)
    total = sum(stems.values()) if stems else np.zeros(n_samples, np.float32)
    power = np.sqrt(np.mean(total**2)) + 1e-9
    return {name: track / np.float32(power) for name, track in stems.items()}
