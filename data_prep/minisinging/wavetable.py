"""Instruments of the band, made of nothing: wave tables and noise bursts."""

from __future__ import annotations

import numpy as np

from data_prep.minisinging.instruments import Instruments
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

ROLES = {
    "chords": tuple(TIMBRES),
    "pad": ("organ", "strings", "synth"),
    "bass": ("guitar", "synth", "piano", "flute"),
    "melody": ("flute", "reed", "strings", "piano", "bell", "synth"),
}


class Wavetables(Instruments):
    """Synthetic instruments: the arguments are those of `Instruments`."""

    def _instrument(self, role):
        timbre = str(self.rng.choice(ROLES[role]))
        return _Instrument(
            self.rng, timbre, self.sample_rate, self.n_samples, role
        )

    def _kit(self):
        return _Kit(self.rng, self.sample_rate, self.n_samples)


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


class _Instrument:
    """Plays notes of one timbre into a track; tables are kept per octave."""

    def __init__(self, rng, timbre, sample_rate, n_samples, role):
        self.rng = rng
        self.timbre = timbre
        self.sample_rate = sample_rate
        self.track = np.zeros(n_samples, dtype=np.float32)
        self.tables = {}
        decay = TIMBRES[timbre][2]
        self.decay = decay * rng.uniform(0.5, 2.0)
        self.detune = rng.uniform(1.001, 1.008) if rng.uniform() < 0.35 else 0.0
        self.attack_s = 0.004
        self.vibrato = (0.0, 0.0)  # semitones, Hz
        if not decay:
            self.attack_s = rng.uniform(0.01, 0.08)
            if role == "melody":
                depth = max(0.0, rng.uniform(-0.2, 0.5))
                self.vibrato = (depth, rng.uniform(4.5, 7.0))

    def play(self, start_s, stop_s, midi, level):
        """Add one note; seconds, MIDI number, amplitude."""
        a = int(start_s * self.sample_rate)
        b = min(int(stop_s * self.sample_rate), len(self.track))
        if b - a < 32 or a < 0:
            return
        hz = float(midi_to_hz(midi))
        octave = int(np.ceil(midi / 6))
        if octave not in self.tables:
            top = float(midi_to_hz(6 * octave)) * 1.05
            self.tables[octave] = _table(
                self.rng, self.timbre, 0.475 * self.sample_rate / top
            )
        self.track[a:b] += level * self._tone(self.tables[octave], hz, b - a)

    def _tone(self, tables, hz, n):
        """One note: table lookup with a decaying or held envelope."""
        step = hz * _TABLE / self.sample_rate
        phase = np.arange(n, dtype=np.float64)
        depth, rate = self.vibrato
        if depth:
            turn = 2 * np.pi * rate / self.sample_rate
            late = np.minimum(1.0, phase / (0.3 * self.sample_rate))
            swing = (2 ** (depth / 12) - 1) / turn * late
            phase += swing * np.sin(turn * phase + self.rng.uniform(0, 6))
        phase = phase * step + self.rng.integers(_TABLE)
        index = phase.astype(np.int64) & (_TABLE - 1)
        time = np.arange(n, dtype=np.float32) / np.float32(self.sample_rate)
        wav = tables[1][index]
        if self.decay > 0:
            fade = np.exp(-self.decay * time)
            wav = (wav + tables[0][index] * fade) * fade
        else:
            wav = wav + 0.5 * tables[0][index]
        if self.detune:
            other = (phase * self.detune).astype(np.int64)
            wav = wav + tables[1][other & (_TABLE - 1)]
        edge = min(n // 2, int(self.attack_s * self.sample_rate))
        if edge > 1:
            ramp = np.linspace(0, 1, edge, dtype=np.float32)
            wav[:edge] *= ramp
            wav[-edge:] *= ramp[::-1]
        return wav


class _Kit:
    """Plays drum sounds into a track."""

    def __init__(self, rng, sample_rate, n_samples):
        self.sample_rate = sample_rate
        self.track = np.zeros(n_samples, dtype=np.float32)
        self.sounds = _drum_sounds(rng, sample_rate)
        if rng.uniform() < 0.2:
            self.sounds["snare"] = self.sounds["clap"]

    def hit(self, start_s, name, level):
        """Add one stroke; seconds, name, amplitude."""
        sound = self.sounds[name]
        a = max(0, int(start_s * self.sample_rate))
        b = min(len(self.track), a + len(sound))
        if b > a:
            self.track[a:b] += np.float32(level) * sound[: b - a]


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
    t = times(0.8)
    noise = np.diff(rng.standard_normal(len(t) + 1))
    crash = 0.3 * noise * np.exp(-t * rng.uniform(3, 8))
    t = times(0.3)
    tone = rng.uniform(80, 160)
    tom = np.sin(2 * np.pi * tone * t) * np.exp(-t * rng.uniform(8, 20))
    t = times(0.12)
    clap = 0.5 * rng.standard_normal(len(t)) * np.exp(-t * 40)
    clap *= 1 + (np.sin(2 * np.pi * 90 * t) > 0) * (t < 0.03)
    sounds = {
        "kick": kick,
        "snare": snare,
        "hat": hat,
        "crash": crash,
        "tom": tom,
        "clap": clap,
    }
    return {name: wav.astype(np.float32) for name, wav in sounds.items()}
