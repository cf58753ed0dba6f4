"""Beats, tempo, bars and key of a recording.

Beats are found by dynamic programming (Ellis, "Beat tracking by dynamic
programming", Journal of New Music Research, 2007): they lie where much begins
to sound, in steps that change little. librosa does the same, but compiles
itself at its first import, for half a minute, and processes that do so at the
same time spoil each other's work. The key is the one whose profile of Krumhansl
and Kessler (Psychological Review, 1982) agrees best with the mean
chroma. Bars are taken to have a given number of beats; the first beat of a bar
is the one at which harmony changes most.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from speechbrain_ext import audio
from speechbrain_ext.errors import AudioError, ConfigError
from speechbrain_ext.formats import MAX_TEMPO, MIN_TEMPO
from speechbrain_ext.notes import NoteSequence, hz_to_midi
from speechbrain_ext.quantize import quantize_times

SAMPLE_RATE = 22050
HOP = 512  # 23 ms
MIN_BEATS = 4
LEAST_LEVEL = 1e-4  # root mean square, full scale = 1: below it is silence

ONSET_WINDOW = 2048  # 93 ms
ONSET_BANDS = 40
DEPTH_DB = 80.0  # what lies deeper below the loudest does not count
TIGHTNESS = 100.0  # price of a step that differs, times its log squared
USUAL_TEMPO, OCTAVES = 120.0, 0.7  # centre and width of what is likely
LOWEST_TEMPO, HIGHEST_TEMPO = 40.0, 240.0  # that are looked for

CHROMA_WINDOW = 4096  # 186 ms
CHROMA_HZ = (80.0, 2500.0)
BLOCK = 1024  # frames worked on at a time

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
    >>> rhythm = Rhythm((1.0, 1.5, 2.0, 2.5))
    >>> rhythm.tempo
    120.0
    >>> rhythm.positions([0.5, 1.25, 2.75]).tolist()
    [-1.0, 0.5, 3.5]
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
        """Seconds per beat: the mean."""
        return (self.beats[-1] - self.beats[0]) / (len(self.beats) - 1)

    @property
    def tempo(self) -> float:
        """Beats per minute."""
        return 60.0 / self.interval

    @property
    def score_tempo(self) -> float:
        """Beats per minute as a score has them, to a tenth."""
        return round(self.tempo, 1)

    @property
    def steadiness(self) -> float:
        """Share of the steps between beats within 10 % of the mean, 0 to 1."""
        steps = np.diff(self.beats) / self.interval
        return float(np.mean(np.abs(steps - 1) <= 0.1))

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
            Times are those of music that keeps to `score_tempo`, in which a
            bar begins at `bar_s`. What
            comes before the first beat has whole bars of its own.

        Example
        -------
        >>> notes = NoteSequence([(1.02, 1.5, 60), (1.6, 2.3, 62)])
        >>> rhythm = Rhythm((1.0, 1.5, 2.0, 2.5))
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
        return quantize_times(strict, self.score_tempo, division, self.bar_s)

    @property
    def bar_s(self) -> float:
        """Where in the strict time of `quantized` a bar begins, seconds."""
        bar = self.beats_per_bar
        lead = self._lead + self.downbeat
        return (lead % bar) * 60.0 / self.score_tempo

    @property
    def _lead(self) -> int:
        """Whole bars' beats in front of the first beat, so that all fits."""
        bar = self.beats_per_bar
        early = int(np.ceil(self.beats[0] / self.interval))
        return -(-early // bar) * bar

    def _strict(self, intervals):
        places = self.positions(intervals.reshape(-1)).reshape(-1, 2)
        return np.maximum(places + self._lead, 0) * 60.0 / self.score_tempo


def estimate_rhythm(
    wav, sample_rate, tempo=None, beats_per_bar=4
) -> Rhythm | None:
    """Find the beats of a recording.

    Arguments
    ---------
    wav : np.ndarray (samples,)
        Full scale = 1.
    sample_rate : int
        Its rate, hertz; 22050 saves a resampling.
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
    AudioError
        If the signal is empty or has more than one channel.
    ConfigError
        If the tempo is out of range.

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
    wav = _checked(wav, sample_rate)
    if np.sqrt(np.mean(wav**2)) < LEAST_LEVEL:
        return None
    strength = _onset_strength(wav)
    rate = SAMPLE_RATE / HOP
    places = _track(strength, 60 * rate / (tempo or _tempo(strength, rate)))
    if len(places) < MIN_BEATS:
        return None
    rhythm = Rhythm(
        tuple(round(float(place / rate), 6) for place in places),
        0,
        beats_per_bar,
    )
    chroma = _chroma(wav)
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
    AudioError
        If the signal is empty or has more than one channel.
    """
    wav = _checked(wav, sample_rate)
    if np.sqrt(np.mean(wav**2)) < LEAST_LEVEL:
        return None
    return key_of_chroma(_chroma(wav).mean(axis=1))


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


def _onset_strength(wav):
    """How much begins to sound, per frame: the rise of the bands in dB."""
    hertz = np.fft.rfftfreq(ONSET_WINDOW, 1 / SAMPLE_RATE)
    edges = np.geomspace(40.0, SAMPLE_RATE / 2, ONSET_BANDS + 1)
    bands = np.searchsorted(edges, hertz, "right") - 1
    weights = (bands[:, None] == np.arange(ONSET_BANDS)).astype(np.float32)
    weights = weights[:, weights.any(axis=0)]
    weights /= weights.sum(axis=0)
    powers = np.concatenate(
        [part**2 @ weights for part in _magnitudes(wav, ONSET_WINDOW)]
    )
    levels = 10 * np.log10(np.maximum(powers, 1e-12))
    levels = np.maximum(levels, levels.max() - DEPTH_DB)
    rises = np.maximum(np.diff(levels, axis=0), 0).mean(axis=1)
    return np.concatenate([[0.0], rises])


def _tempo(strength, rate):
    """Beats per minute after which, and after twice which, onsets repeat."""
    centred = strength - strength.mean()
    count = len(centred)
    size = 2 ** int(np.ceil(np.log2(2 * count)))
    repeats = np.fft.irfft(np.abs(np.fft.rfft(centred, size)) ** 2)[:count]
    repeats *= count / (count - np.arange(count))
    tempos = np.geomspace(LOWEST_TEMPO, HIGHEST_TEMPO, 500)
    lags = 60 * rate / tempos
    found = sum(
        np.interp(times * lags, np.arange(count), repeats, right=0.0)
        for times in (1, 2)
    )
    octaves = np.log2(tempos / USUAL_TEMPO)
    likely = np.exp(-0.5 * (octaves / OCTAVES) ** 2)
    return float(tempos[np.argmax(found * likely)])


def _track(strength, period):
    """Frames of the beats, about a period apart."""
    if not strength.std() > 0:
        return []
    reach = np.arange(-round(period), round(period) + 1)
    bump = np.exp(-0.5 * (reach * 32 / period) ** 2)
    local = np.convolve(strength / strength.std(), bump, "same")[
        : len(strength)
    ]
    steps = np.arange(round(period / 2), round(2 * period) + 1)
    prices = TIGHTNESS * np.log(steps / period) ** 2
    total, before = local.copy(), np.full(len(local), -1)
    for frame in range(int(steps[0]), len(local)):
        near = steps[: np.searchsorted(steps, frame, "right")]
        scores = total[frame - near] - prices[: len(near)]
        best = int(np.argmax(scores))
        # A beat of less than nothing is no beginning.
        if scores[best] > 0:
            total[frame] += scores[best]
            before[frame] = frame - near[best]
    peaks = np.flatnonzero(
        (total[1:-1] > total[:-2]) & (total[1:-1] >= total[2:])
    )
    if not len(peaks):
        return []
    peaks += 1
    # The last one that the song still carries.
    last = peaks[total[peaks] >= 0.5 * np.median(total[peaks])][-1]
    places = [int(last)]
    while before[places[-1]] >= 0:
        places.append(int(before[places[-1]]))
    return places[::-1]


def _chroma(wav):
    """Strength of each pitch class, (12, frames), in the song's own tuning."""
    hertz = np.fft.rfftfreq(CHROMA_WINDOW, 1 / SAMPLE_RATE)
    inside = (hertz >= CHROMA_HZ[0]) & (hertz <= CHROMA_HZ[1])
    midi = hz_to_midi(hertz[inside])
    peaks = []
    for part in _magnitudes(wav, CHROMA_WINDOW):
        part = part[:, inside]
        sides = np.maximum(np.roll(part, 1, axis=1), np.roll(part, -1, axis=1))
        peaks.append(np.where(part >= sides, part, 0))
    magnitudes = np.concatenate(peaks)
    turns = np.exp(2j * np.pi * midi)
    tuning = np.angle((magnitudes.sum(axis=0) * turns).sum()) / (2 * np.pi)
    classes = np.rint(midi - tuning).astype(int) % 12
    return (magnitudes @ (classes[:, None] == np.arange(12))).T


def _magnitudes(wav, window):
    """Spectra of frames centred at multiples of the hop, block by block."""
    padded = np.pad(wav, window // 2)
    shape = np.hanning(window + 1)[:-1].astype(np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[::HOP]
    for begin in range(0, len(frames), BLOCK):
        spectra = np.fft.rfft(frames[begin : begin + BLOCK] * shape)
        yield np.abs(spectra).astype(np.float32)


def _checked(wav, sample_rate):
    wav = np.asarray(wav, dtype=np.float32)
    if wav.ndim != 1 or not len(wav):
        raise AudioError(
            f"a signal of shape {wav.shape}: give one channel that is not empty"
        )
    return audio.resample(wav, sample_rate, SAMPLE_RATE)
