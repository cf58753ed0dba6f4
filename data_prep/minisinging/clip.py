"""Clips and songs: a singer, a score, a band and a room put together."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import fft as sfft
from scipy.signal import fftconvolve

from data_prep.minisinging import room
from data_prep.minisinging.band import play_band
from data_prep.minisinging.score import Score, draw_score
from data_prep.minisinging.singer import Singer, draw_singer
from data_prep.minisinging.voice import CONTROL_RATE, sing
from speechbrain_ext.errors import ConfigError
from speechbrain_ext.notes import NoteSequence

F0_HOP_S = 0.01

# How often a second singer belongs to the band.
BACKING_CHANCE = 0.12

# One stream of random numbers for each part, so that switching one part off
# leaves the others as they are.
_SINGER, _SCORE, _VOICE, _BAND, _ROOM, _NOISE, _LEVEL, _BACKING = range(8)


@dataclass(frozen=True)
class Clip:
    """A synthetic recording with everything that is known about it.

    Arguments
    ---------
    voice : np.ndarray (samples,)
        Singing as the microphone hears it, float32.
    stems : dict of str to np.ndarray (samples,)
        The other sounds: `chords`, `pad`, `bass`, `drums`, `melody`, `backing`
        (a second singer, softer, whose notes are not annotated), `noise`.
    mix : np.ndarray (samples,)
        Sum of voice and stems; its peak is at most 1.
    notes : NoteSequence
        Onset: start of the vowel, or middle of the glide when the pitch
        changes within a vowel. Offset: end of the pitched sound, before
        release, reverberation and the next consonant. Pitch: the integer
        MIDI number nearest to what is heard, tuning included. Lyric: the
        syllable, None where a note continues one.
    words, phones : list of (float, float, str)
        Start, end and name.
    f0 : np.ndarray (frames,)
        MIDI number at the centre (k + 0.5) * `f0_hop_s` of frame k, 0 where
        unvoiced.
    f0_hop_s : float
        Distance of the frames.
    sample_rate : int
    singer : Singer
    score : Score
    seed : tuple of int
    """

    voice: np.ndarray
    stems: dict[str, np.ndarray]
    mix: np.ndarray
    notes: NoteSequence
    words: list[tuple[float, float, str]]
    phones: list[tuple[float, float, str]]
    f0: np.ndarray
    f0_hop_s: float
    sample_rate: int
    singer: Singer
    score: Score
    seed: tuple[int, ...]

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return len(self.mix) / self.sample_rate

    @property
    def accompaniment(self) -> np.ndarray:
        """Sum of the stems, float32 (samples,)."""
        return self.mix - self.voice


def _seed(seed):
    return tuple(int(s) for s in np.atleast_1d(seed))


def _in_range(rng, value):
    if np.ndim(value) == 0:
        return float(value)
    low, high = value
    return float(rng.uniform(low, high))


def _backing(rng, score, n_samples, sample_rate):
    """Sing along in unison, octaves or harmony, 7 to 22 dB down."""
    shift = int(rng.choice([0, 0, 3, 4, 5, 7, 12, -12, -5]))
    notes = tuple(replace(n, midi=n.midi + shift) for n in score.notes)
    singer = draw_singer(rng, "backing")
    sung = sing(
        replace(score, notes=notes), singer, rng, n_samples, sample_rate
    )
    wav = sung.wav
    if rng.uniform() < 0.7:
        wav = fftconvolve(wav, room.draw_room(rng, sample_rate))[:n_samples]
    power = np.sqrt(np.mean(wav**2)) + 1e-9
    level = 10 ** (rng.uniform(-22, -7) / 20)
    return (wav * (level / power)).astype(np.float32)


def render_clip(
    seed,
    duration_s=8.0,
    singer=None,
    style=None,
    voice_type=None,
    accompaniment_db=None,
    noise_db=None,
    reverb=True,
    band=True,
    manner="song",
    sample_rate=16000,
    fonts=(),
    score=None,
) -> Clip:
    """Render one clip.

    Arguments
    ---------
    seed : int or sequence of int
        The same seed gives the same clip, bit for bit.
    duration_s : float, optional
        Length in seconds, at least 0.5; default: 8.
    singer : Singer, optional
        Who sings; drawn from the seed by default.
    style, voice_type : str, optional
        Restrict the drawn singer, see `draw_singer`.
    accompaniment_db : float or (float, float), optional
        Level of the voice, while it sounds, above the accompaniment in
        decibels, or the range to draw it from; default: -3 to 20.
    noise_db : float or (float, float) or False, optional
        Level of the voice above the noise; default: drawn, 10 to 60. False:
        no noise.
    reverb : bool, optional
        Whether there may be a room; default: True.
    band : bool, optional
        Whether there is an accompaniment; default: True.
    manner : str, optional
        song (default) or flamenco, see `draw_score`.
    sample_rate : int, optional
        Samples per second, at least 8000; default: 16000.
    fonts : sequence of str or Path, optional
        Sound fonts of the band, see `play_band`; default: none.
    score : Score, optional
        What is sung; drawn from the seed by default.

    Returns
    -------
    Clip

    Raises
    ------
    ConfigError
        If the duration or the sample rate is too small, or `style`,
        `voice_type` or `manner` is unknown.

    Example
    -------
    >>> clip = render_clip(3, 2.0)
    >>> clip.mix.shape, clip.mix.dtype.name, len(clip.f0)
    ((32000,), 'float32', 200)
    >>> bool(np.all(clip.mix == render_clip(3, 2.0).mix))
    True
    """
    if not duration_s >= 0.5:
        raise ConfigError(
            f"a clip of {duration_s} s is too short: take at least 0.5 s"
        )
    if sample_rate < 8000:
        raise ConfigError(
            f"a sample rate of {sample_rate} Hz is too low for a voice: take "
            "at least 8000 Hz"
        )
    seed = _seed(seed)
    rngs = [np.random.default_rng([*seed, 7919, k]) for k in range(8)]
    n = int(round(duration_s * sample_rate))
    if singer is None:
        name = "-".join(str(s) for s in seed)
        singer = draw_singer(rngs[_SINGER], name, style, voice_type)
    if score is None:
        score = draw_score(
            rngs[_SCORE], duration_s, singer.low, singer.high, manner
        )
    sung = sing(score, singer, rngs[_VOICE], n, sample_rate)

    voice = sung.wav
    rng = rngs[_ROOM]
    squeeze = rng.uniform(0, 0.5) if rng.uniform() < 0.4 else 0.0
    if squeeze:
        voice = room.compress(voice, sample_rate, squeeze)
    n_fft = sfft.next_fast_len(n + int(1.15 * sample_rate), real=True)
    freqs = np.arange(n_fft // 2 + 1) * (sample_rate / n_fft)
    response = room.draw_microphone(rng, freqs)
    if reverb and rng.uniform() < 0.65:
        response *= sfft.rfft(room.draw_room(rng, sample_rate), n_fft)
    voice = room.apply(voice, response.astype(np.complex64), n_fft)
    # Levels refer to the time in which the voice sounds.
    sounding = sung.voiced[np.arange(n) * CONTROL_RATE // sample_rate]
    heard = voice[sounding] if sounding.any() else voice
    power = np.sqrt(np.mean(heard**2)) + 1e-9
    voice = voice / np.float32(power)

    stems = {}
    rng = rngs[_LEVEL]
    ratio = _in_range(
        rng, (-3.0, 20.0) if accompaniment_db is None else accompaniment_db
    )
    if band:
        gain = np.float32(10 ** (-ratio / 20))
        stems = play_band(score, rngs[_BAND], n, sample_rate, fonts)
        stems = {name: track * gain for name, track in stems.items()}
        rng = rngs[_BACKING]
        if rng.uniform() < BACKING_CHANCE:
            stems["backing"] = _backing(rng, score, n, sample_rate)
        rng = rngs[_LEVEL]
    if noise_db is not False:
        level = _in_range(rng, (10.0, 60.0) if noise_db is None else noise_db)
        stems["noise"] = room.draw_noise(rngs[_NOISE], n, sample_rate)
        stems["noise"] *= np.float32(10 ** (-level / 20))

    voice -= voice.mean()
    for track in stems.values():
        track -= track.mean()
    mix = voice + sum(stems.values()) if stems else voice.copy()
    peak = max(float(np.abs(x).max()) for x in (mix, voice, *stems.values()))
    loudness = 10 ** (rng.uniform(-30, -14) / 20)
    gain = np.float32(min(loudness, 0.98 / max(peak, 1e-9)))
    voice = voice * gain
    stems = {name: track * gain for name, track in stems.items()}
    mix = voice + sum(stems.values()) if stems else voice.copy()

    frames = int(round(duration_s / F0_HOP_S))
    at = (np.arange(frames) + 0.5) * F0_HOP_S * CONTROL_RATE
    pitch = np.interp(at, np.arange(len(sung.pitch)), sung.pitch)
    voiced = sung.voiced[np.round(at).astype(int)]
    return Clip(
        voice=voice,
        stems=stems,
        mix=mix,
        notes=sung.notes,
        words=sung.words,
        phones=sung.phones,
        f0=np.where(voiced, pitch, 0.0).astype(np.float32),
        f0_hop_s=F0_HOP_S,
        sample_rate=sample_rate,
        singer=singer,
        score=score,
        seed=seed,
    )


def render_song(seed, duration_s=60.0, **options) -> Clip:
    """Render a whole song: one singer, one band, one room.

    Longer than a clip, with passages in which the band plays alone.

    Arguments
    ---------
    seed : int or sequence of int
        The same seed gives the same song, bit for bit.
    duration_s : float, optional
        Length in seconds, more than 20; default: 60.
    **options
        As in `render_clip`.

    Returns
    -------
    Clip

    Raises
    ------
    ConfigError
        If the song is not longer than 20 s, or as in `render_clip`.

    Example
    -------
    >>> song = render_song(1, 21.0, band=False, noise_db=False)
    >>> list(song.stems), song.duration
    ([], 21.0)
    """
    if not duration_s > 20:
        raise ConfigError(
            f"a song of {duration_s:g} s is too short: take more than 20 s, "
            "or render a clip"
        )
    return render_clip(seed, duration_s, **options)
