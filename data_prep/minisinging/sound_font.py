"""Instruments of the band from General MIDI sound fonts, by FluidSynth.

Recorded instruments make harder accompaniments than wave tables do. Needs
`pip install 'singbrain[soundfont]'` and the FluidSynth library
(`apt install libfluidsynth3`). Fonts that are free to use: FluidR3
(`apt install fluid-soundfont-gm`, MIT licence), MuseScore General (`apt install
musescore-general-soundfont`, MIT licence).
"""

from __future__ import annotations

import weakref
from functools import lru_cache
from pathlib import Path

import numpy as np
from scipy.signal import resample_poly

from data_prep.minisinging.instruments import Instruments
from speechbrain_ext.errors import ConfigError

# General MIDI programs, from 0, of each role.
ROLES = {
    "chords": (*range(8), 11, 12, 15, *range(16, 32), 46, 48, 62, 106, 107),
    "pad": (*range(16, 22), *range(48, 56), 61, 63, *range(88, 96)),
    "bass": (*range(32, 40), 0, 43),
    "melody": (
        *(0, 4, 6, 10, 11, 13, 15, 21, 22, 23, 24, 25, 26, 27, 30),
        *(40, 41, 42, 48, 49, 52, 53, 54, 56, 57, 59, 60),
        *range(64, 88),
        *(104, 106, 107, 108, 109, 110, 111),
    ),
}
# Programs whose pitch a player can bend, which a melody does at times.
_BENDING = {
    22,
    24,
    25,
    26,
    27,
    30,
    40,
    41,
    42,
    *range(52, 88),
    *range(104, 112),
}
_KITS = (0, 8, 16, 24, 25, 32, 40, 48)
_DRUMS = {
    "kick": (35, 36),
    "snare": (38, 40),
    "hat": (42, 44, 46, 51, 54, 69, 70, 82),
    "crash": (49, 57),
    "tom": (41, 45, 48, 50, 62, 64),
    "clap": (39,),
}
_SEMITONE = 4096  # of pitch bend, at its usual range


def _synthesizer(path, sample_rate):
    """A synthesizer without effects, for rooms come later, and its font."""
    try:
        import fluidsynth
    except ImportError as error:
        raise ConfigError(
            f"{path}: a sound font needs FluidSynth ({error}): pip install "
            "'singbrain[soundfont]' and apt install libfluidsynth3"
        ) from None
    if not Path(path).is_file():
        raise ConfigError(
            f"{path}: this sound font does not exist: name an .sf2 or .sf3 file"
        )
    synthesizer = fluidsynth.Synth(samplerate=float(sample_rate), gain=0.4)
    for effect in ("reverb", "chorus"):
        synthesizer.setting(f"synth.{effect}.active", 0)
    font = synthesizer.sfload(str(path))
    if font < 0:
        synthesizer.delete()
        raise ConfigError(f"{path}: is not a sound font: name an .sf2 file")
    return synthesizer, font


# FluidSynth shares samples between synthesizers for as long as one has them.
_keep_samples = lru_cache(maxsize=8)(_synthesizer)


class SoundFont(Instruments):
    """Makes the instruments of one song from a sound font.

    Arguments
    ---------
    path : str or Path
        A General MIDI font, .sf2 or .sf3.
    rng : np.random.Generator
        Source of randomness.
    n_samples : int
        Length of their tracks.
    sample_rate : int
        Samples per second.

    Raises
    ------
    ConfigError
        If FluidSynth is missing, or the file is missing or no sound font.
    """

    def __init__(self, path, rng, n_samples, sample_rate):
        super().__init__(rng, n_samples, sample_rate)
        # Twice the rate keeps what the synthesizer folds out of the band.
        _keep_samples(str(path), 2 * sample_rate)
        # Its dither depends on what was played before, so every song gets
        # a new one.
        self.synthesizer, self.font = _synthesizer(str(path), 2 * sample_rate)
        weakref.finalize(self, self.synthesizer.delete)

    def _instrument(self, role):
        program = int(self.rng.choice(ROLES[role]))
        return _Player(self, program, expressive=role == "melody")

    def _kit(self):
        return _Player(self, int(self.rng.choice(_KITS)), is_drum=True)


class _Player:
    """Collects the notes of one instrument."""

    def __init__(self, font, program, is_drum=False, expressive=False):
        import pretty_midi

        self.font = font
        self.rng = font.rng
        self.midi = pretty_midi.Instrument(program, is_drum)
        self.make_note = pretty_midi.Note
        self.make_bend = pretty_midi.PitchBend
        self.expressive = expressive
        self.late_s = self.rng.uniform(0.0, 0.012)  # spread of its timing
        self.drums = {k: int(self.rng.choice(v)) for k, v in _DRUMS.items()}

    def play(self, start_s, stop_s, midi, level):
        """Add one note; seconds, MIDI number, amplitude."""
        start_s = max(0.0, start_s + self.late_s * self.rng.standard_normal())
        midi = int(round(midi))
        if stop_s - start_s < 0.01 or not 0 <= midi <= 127:
            return
        velocity = int(np.clip(112 * level, 20, 127))
        self.midi.notes.append(
            self.make_note(velocity, midi, float(start_s), float(stop_s))
        )

    def hit(self, start_s, name, level):
        """Add one stroke of a drum; seconds, name, amplitude."""
        self.play(start_s, start_s + 0.1, self.drums[name], level)

    def _bend(self):
        """Scoops and vibrato, as players of such instruments make them."""
        depth = max(0.0, self.rng.uniform(-0.2, 0.5))
        rate = self.rng.uniform(4.5, 7.0)
        scoop = self.rng.uniform(0.0, 0.6)
        for note in self.midi.notes:
            times = np.arange(0.0, note.end - note.start, 0.01)
            start = -2.0 * (self.rng.uniform() < scoop) * self.rng.uniform()
            curve = start * np.exp(-times / 0.04)
            late = np.minimum(1.0, times / 0.3)
            curve += depth * late * np.sin(2 * np.pi * rate * times)
            values = np.clip(curve * _SEMITONE, -8191, 8191).astype(int)
            self.midi.pitch_bends += [
                self.make_bend(int(value), float(note.start + time))
                for time, value in zip(times, values, strict=True)
            ]

    @property
    def track(self):
        """What was played: np.ndarray (samples,) float32."""
        if not self.midi.notes:
            return np.zeros(self.font.n_samples, dtype=np.float32)
        bends = self.midi.program in _BENDING and self.rng.uniform() < 0.6
        if self.expressive and bends:
            self._bend()
        self.font.synthesizer.system_reset()
        wav = self.midi.fluidsynth(
            synthesizer=self.font.synthesizer, sfid=self.font.font
        )
        wav = resample_poly(wav[: 2 * self.font.n_samples], 1, 2)
        missing = max(0, self.font.n_samples - len(wav))
        wav = np.pad(wav, (0, missing)) / 32768
        return wav[: self.font.n_samples].astype(np.float32)
