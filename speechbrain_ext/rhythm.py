"""Beats, tempo, bars and key of a recording.

Beats are found by librosa (Ellis, "Beat tracking by dynamic programming",
Journal of New Music Research, 2007). The key is the one whose profile of
Krumhansl and Kessler (Psychological Review, 1982) agrees best with the mean
chroma. Bars are taken to have a given number of beats; the first beat of a bar
is the one at which harmony changes most.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from speechbrain_ext.errors import AudioError, ConfigError, optional_library
from speechbrain_ext.formats import MAX_TEMPO, MIN_TEMPO
from speechbrain_ext.notes import NoteSequence
from speechbrain_ext.quantize import quantize_times

SAMPLE_RATE = 22050
HOP = 512
MIN_BEATS = 4
LEAST_LEVEL = 1e-4  # root mean square, full scale = 1: below it is silence

# Names as musicians write them: the tonics with fewest accidentals.
MAJOR_TONICS = ["C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B"]
MINOR_TONICS = ["C", "C#", "D", "Eb", "E", "F", "F#", "G", "G#", "A", "Bb", "B"]

# Mean ratings of how well each semitone above the tonic fits.
MAJOR_PROFILE = (
    6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88,
)  # fmt: skip
MINOR_PROFILE = (
    6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17,
)  # fmt: skip


class Key(NamedTuple):
    """A key and how well it fits.

    Arguments
    ---------
    tonic : str
        Such as "Bb".
    mode : {"major", "minor"}
    correlation : float
        Of its profile with the chroma, -1 to 1.
    margin : float
        By how much the next best one has less.
    """

    tonic: str
    mode: str
    correlation: float
    margin: float

    @property
    def name(self) -> str:
        """Such as "A minor", as `quantize.scale_of` reads it."""
        return f"{self.tonic} {self.mode}"


@dataclass(frozen=True)
class Rhythm:
    """Beats of a recording, and which of them begin bars.

    Arguments
    ---------
    beats : tuple of float
        Seconds, rising, at least 2.
    downbeat : int
        Index of the first beat that begins a bar. Default: 0.
    beats_per_bar : int
        Default: 4.

    Raises
    ------
    ConfigError
        If there are too few beats or they do not rise.

    Example
    -------
    >>> rhythm = Rhythm((1.0, 1.5, 2.0, 2.6))
    >>> rhythm.tempo
    120.0
    >>> rhythm.positions([0.5, 1.25, 2.3]).tolist()
    [-1.0, 0.5, 2.5]
    """

    beats: tuple[float, ...]
    downbeat: int = 0
    beats_per_bar: int = 4

    def __post_init__(self):
        if len(self.beats) < 2 or np.any(np.diff(self.beats) <= 0):
            raise ConfigError(
                f"{len(self.beats)} beats: give 2 or more, in rising order"
            )
        if not 1 <= self.beats_per_bar <= 32:
            raise ConfigError(
                f"{self.beats_per_bar} beats per bar: use 1 to 32"
            )

    @property
    def interval(self) -> float:
        """Seconds per beat: the median."""
        return float(np.median(np.diff(self.beats)))

    @property
    def tempo(self) -> float:
        """Beats per minute."""
        return 60.0 / self.interval

    def positions(self, seconds) -> np.ndarray:
        """Where in the music times are.

        Arguments
        ---------
        seconds : array-like of float

        Returns
        -------
        np.ndarray of float
            Beats from the first beat on; between beats in proportion, outside
            them at the tempo.
        """
        seconds = np.asarray(seconds, dtype=float)
        beats = np.asarray(self.beats)
        inside = np.interp(seconds, beats, np.arange(len(beats)))
        early = np.minimum(seconds - beats[0], 0) / self.interval
        late = np.maximum(seconds - beats[-1], 0) / self.interval
        return inside + early + late

    def bar_places(self) -> list[int]:
        """Place of each beat in its bar, from 1.

        Returns
        -------
        list of int

        Example
        -------
        >>> Rhythm((0, 1, 2, 3, 4), 1, 3).bar_places()
        [3, 1, 2, 3, 1]
        """
        return [
            (k - self.downbeat) % self.beats_per_bar + 1
            for k in range(len(self.beats))
        ]

    def quantized(self, notes: NoteSequence, division=16) -> NoteSequence:
        """Put notes on the grid of the beats, and play them in strict time.

        Arguments
        ---------
        notes : NoteSequence
        division : int
            Steps per whole note. Default: 16.

        Returns
        -------
        NoteSequence
            Times are those of music without any change of tempo: seconds
            times `tempo` over 60 are beats, and a bar begins at `bar_s`. What
            comes before the first beat has whole bars of its own.

        Example
        -------
        >>> notes = NoteSequence([(1.02, 1.5, 60), (1.6, 2.3, 62)])
        >>> rhythm = Rhythm((1.0, 1.5, 2.0, 2.6))
        >>> for note in rhythm.quantized(notes):
        ...     print(note.onset, note.duration)
        2.0 0.5
        2.625 0.625
        """
        strict = NoteSequence(
            replace(note, onset=float(on), offset=float(off))
            for note, (on, off) in zip(
                notes, self._strict(notes.intervals), strict=True
            )
            if off > on
        )
        return quantize_times(strict, self.tempo, division, self.bar_s)

    @property
    def bar_s(self) -> float:
        """Where in the strict time of `quantized` a bar begins, seconds."""
        bar = self.beats_per_bar
        lead = self._lead + self.downbeat
        return (lead % bar) * self.interval

    @property
    def _lead(self) -> int:
        """Whole bars' beats in front of the first beat, so that all fits."""
        bar = self.beats_per_bar
        early = int(np.ceil(self.beats[0] / self.interval))
        return -(-early // bar) * bar

    def _strict(self, intervals):
        places = self.positions(intervals.reshape(-1)).reshape(-1, 2)
        return np.maximum((places + self._lead) * self.interval, 0)


def estimate_rhythm(
    wav, sample_rate, tempo=None, beats_per_bar=4
) -> Rhythm | None:
    """Find the beats of a recording.

    Arguments
    ---------
    wav : np.ndarray (samples,)
        Full scale = 1.
    sample_rate : int
        Its rate, hertz. 22050 is best.
    tempo : float, optional
        Beats per minute, if they are known. Default: found out.
    beats_per_bar : int
        Default: 4.

    Returns
    -------
    Rhythm or None
        None if there are fewer than four beats.

    Raises
    ------
    ConfigError
        If the tempo is out of range.
    DependencyError
        If librosa is missing.

    Example
    -------
    >>> clicks = np.zeros(22050 * 6)
    >>> for beat in range(12):
    ...     clicks[beat * 11025 :][:100] = 0.5
    >>> round(estimate_rhythm(clicks, 22050).tempo)
    120
    """
    if tempo is not None and not MIN_TEMPO <= tempo <= MAX_TEMPO:
        raise ConfigError(
            f"the tempo is {tempo:g}: use {MIN_TEMPO:g} to {MAX_TEMPO:g} beats "
            "per minute"
        )
    librosa = _librosa()
    wav = _checked(wav)
    if np.sqrt(np.mean(wav**2)) < LEAST_LEVEL:
        return None
    strength = librosa.onset.onset_strength(
        y=wav, sr=sample_rate, hop_length=HOP
    )
    _, places = librosa.beat.beat_track(
        onset_envelope=strength,
        sr=sample_rate,
        hop_length=HOP,
        bpm=tempo,
        trim=False,
    )
    places = np.unique(places)
    if len(places) < MIN_BEATS:
        return None
    beats = places * HOP / sample_rate
    rhythm = Rhythm(
        tuple(round(float(beat), 6) for beat in beats), 0, beats_per_bar
    )
    chroma = _chroma(librosa, wav, sample_rate)
    return replace(rhythm, downbeat=_downbeat(chroma, places, beats_per_bar))


def estimate_key(wav, sample_rate) -> Key | None:
    """Find the key of a recording.

    Arguments
    ---------
    wav : np.ndarray (samples,)
        Full scale = 1.
    sample_rate : int
        Its rate, hertz.

    Returns
    -------
    Key or None
        None if it is silent.

    Raises
    ------
    DependencyError
        If librosa is missing.
    """
    wav = _checked(wav)
    if np.sqrt(np.mean(wav**2)) < LEAST_LEVEL:
        return None
    return key_of_chroma(_chroma(_librosa(), wav, sample_rate).mean(axis=1))


def key_of_chroma(chroma) -> Key | None:
    """Key whose profile agrees best.

    Arguments
    ---------
    chroma : array-like (12,)
        How strong each pitch class is, from C on.

    Returns
    -------
    Key or None
        None if all are the same.

    Example
    -------
    >>> scale = np.zeros(12)
    >>> scale[[9, 11, 0, 2, 4, 5, 7]] = 1, 0.5, 0.8, 0.6, 0.9, 0.5, 0.5
    >>> key_of_chroma(scale).name
    'A minor'
    """
    chroma = np.asarray(chroma, dtype=float)
    if np.ptp(chroma) <= 1e-9:
        return None
    found = []
    for mode, profile, tonics in (
        ("major", MAJOR_PROFILE, MAJOR_TONICS),
        ("minor", MINOR_PROFILE, MINOR_TONICS),
    ):
        for shift, tonic in enumerate(tonics):
            fit = np.corrcoef(np.roll(profile, shift), chroma)[0, 1]
            found.append((float(fit), tonic, mode))
    found.sort(key=lambda row: -row[0])
    (best, tonic, mode), (second, _, _) = found[:2]
    return Key(tonic, mode, round(best, 4), round(best - second, 4))


def _downbeat(chroma, places, beats_per_bar):
    """Which beats begin bars: those at which harmony changes most."""
    means = [
        chroma[:, a : max(b, a + 1)].mean(axis=1)
        for a, b in zip(places, [*places[1:], chroma.shape[1]], strict=True)
        if a < chroma.shape[1]
    ]
    units = [mean / max(np.linalg.norm(mean), 1e-9) for mean in means]
    # Nobody knows what was before the first beat.
    changes = [0.0] + [
        1 - float(one @ two) for one, two in zip(units, units[1:], strict=False)
    ]
    scores = [
        np.mean(changes[phase::beats_per_bar] or [0.0])
        for phase in range(beats_per_bar)
    ]
    return int(np.argmax(scores))


def _chroma(librosa, wav, sample_rate):
    return librosa.feature.chroma_stft(
        y=wav, sr=sample_rate, n_fft=4096, hop_length=HOP
    )


def _checked(wav):
    wav = np.asarray(wav, dtype=np.float32)
    if wav.ndim != 1 or not len(wav):
        raise AudioError(
            f"a signal of shape {wav.shape}: give one channel that is not empty"
        )
    return wav


def _librosa():
    return optional_library("librosa", "librosa", "song", "finding beats")
