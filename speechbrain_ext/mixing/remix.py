"""Mashups of songs in one tempo and key, cut only between lines of lyrics.

Stems of different songs play together: the drums of one, the bass of another,
the voice of a third, after `tools/automix.py` of Demucs. One stem stays as it
is; the others are played at its song's tempo, transposed to its song's key, and
moved so that beats meet. Where they are cut, no line of the lyrics is, and the
lines' times go where the voice goes.

`analyse_song` hears tempo, beats, key and leading silence, once for each song;
`draw_remix` makes a plan from (seed, index), in seconds and without audio;
`render_remix` makes it sound.

Departures from the automix: drums keep their pitch and need not match a key;
songs without drums or bass lend their other stems; tempo is the mean distance
of beats, not the nearest lag of an autocorrelation.
Departures from the first remixes with lyrics: what is trimmed is taken off the
lines' times too, lines keep their ends, and a line that is over before the cut
is not lost.

Signalsmith Stretch stretches and transposes (MIT licence, in the wheel of
python-stretch): a click stays within 1 ms of its time, where Rubber Band drifts
by 15 ms in 12 s. Beats and chroma are librosa's (McFee et al., SciPy 2015).
`pip install "singbrain[remix]"` brings both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

import numpy as np

from data_prep.musdb18_lyrics import HELD_OUT, Line
from speechbrain_ext.audio import audio_info, read_audio, seconds_to_samples
from speechbrain_ext.errors import ConfigError, optional_library

STEMS = ("vocals", "drums", "bass", "other")

# Rate at which beats and keys are heard, and frames of them.
ANALYSIS_RATE = 22050
_HOP = 256
_CHROMA_HOP = 512

# Of the mixture's standard deviation: softer starts are silence, softer stems
# do not play.
_SILENT = 0.01
# Window of the level of the bass, and what of its peak counts as playing.
_BASS_WINDOW_S = 10000 / 44100
_BASS_FLOOR = 0.05
_MIN_BEATS = 8

# Beats meet on a grid of this step; each is a bell as wide as these.
_GRID_S = 0.005
_BELL_CELLS = 2.0
_BELL_REACH = 5
_EDGE_S = 1.0
# Of two equally good places the nearer one: share of the best fit per second.
_NEARNESS = 1e-3

_OCTAVES = (0.25, 0.5, 1.0, 2.0, 4.0)

# So that the end of a remix does not click.
_FADE_S = 0.01
# What is read beyond the end of a stretched stem.
_MARGIN_S = 1.0
_TIME_SLACK_S = 1e-6

_EXTRA = "remix"


@dataclass(frozen=True)
class SongAnalysis:
    """What has to be known of a song.

    Arguments
    ---------
    song : str
    duration_s : float
    trim_s : float
        Length of the silence that it begins with.
    tempo : float
        Beats per minute.
    beats : tuple of float
        Seconds, from the start of the recording.
    chroma : tuple of float
        How often each of the twelve pitch classes, from C, is the strongest
        one in the bass; they add up to 1.
    stems : tuple of str
        Those of `STEMS` that are heard.
    reason : str
        Why the song cannot be used; empty if it can.
    """

    song: str
    duration_s: float
    trim_s: float = 0.0
    tempo: float = 0.0
    beats: tuple[float, ...] = ()
    chroma: tuple[float, ...] = ()
    stems: tuple[str, ...] = STEMS
    reason: str = ""


@dataclass(frozen=True)
class RemixSettings:
    """What all remixes of a set have in common.

    Arguments
    ---------
    tempo : float
        Largest change of the tempo, as a share. Default: 0.25; Demucs: 0.15.
    semitones : int
        Largest change of the pitch, 0 to 5. Default: 4; Demucs: 3.
    max_shift_s : float
        How far a stem is moved at most so that beats meet, seconds. Default: 4.
    min_s : float
        Shortest remix, seconds. Default: 10.
    min_words : int
        Fewest words in a remix. Default: 10.
    keep_vocals : bool
        Whether it is always the voice that stays as it is. Default: False, any
        stem.

    Raises
    ------
    ConfigError
        If a number is out of range.

    Example
    -------
    >>> RemixSettings(semitones=7)
    Traceback (most recent call last):
    speechbrain_ext.errors.ConfigError: semitones of a remix is 7: use 0 to 5
    """

    tempo: float = 0.25
    semitones: int = 4
    max_shift_s: float = 4.0
    min_s: float = 10.0
    min_words: int = 10
    keep_vocals: bool = False

    def __post_init__(self):
        for name, low, high in (
            ("tempo", 0, 0.5),
            ("semitones", 0, 5),
            ("max_shift_s", 0, 30),
            ("min_s", 0, 3600),
            ("min_words", 0, 10**6),
        ):
            value = getattr(self, name)
            fine = isinstance(value, int | float) and low <= value <= high
            if not fine or isinstance(value, bool):
                raise ConfigError(
                    f"{name} of a remix is {value!r}: use {low} to {high}"
                )
        if not isinstance(self.keep_vocals, bool):
            raise ConfigError(
                f"keep_vocals is {self.keep_vocals!r}: use true or false"
            )


@dataclass(frozen=True)
class Part:
    """One stem of a remix, and what is done to it.

    Arguments
    ---------
    stem : str
        One of `STEMS`.
    song : str
    trim_s : float
        Seconds that are left out at the start of the recording.
    speed : float
        Factor on the tempo.
    semitones : int
        Change of the pitch.
    delay_s : float
        Silence in front.
    """

    stem: str
    song: str
    trim_s: float
    speed: float = 1.0
    semitones: int = 0
    delay_s: float = 0.0

    def time(self, seconds: float) -> float:
        """When a moment of the recording is heard in the remix.

        Arguments
        ---------
        seconds : float
            In the recording.

        Returns
        -------
        float
            Seconds; below `delay_s` for what is left out.

        Example
        -------
        >>> Part("drums", "A - B", 1.0, speed=0.5, delay_s=3.0).time(2.0)
        5.0
        """
        return (seconds - self.trim_s) / self.speed + self.delay_s


@dataclass(frozen=True)
class Remix:
    """What a remix is made of.

    Arguments
    ---------
    index : int
        Which draw it is.
    length_s : float
        Seconds, a multiple of 10 ms.
    parts : tuple of Part
        In the order of `STEMS`.
    lines : tuple of Line
        Those of the song whose voice is heard, at their times in the remix.
    """

    index: int
    length_s: float
    parts: tuple[Part, ...]
    lines: tuple[Line, ...] = field(default=(), repr=False)

    @property
    def vocals(self) -> Part:
        """The part that sings."""
        return self.parts[STEMS.index("vocals")]


# ------------------------------------------------------------------- hearing


def analyse_song(
    song: str, mixture, stems: Mapping[str, np.ndarray]
) -> SongAnalysis:
    """Hear tempo, beats, key and leading silence.

    Beats are those of the drums, the key is that of the bass. Where there are
    none, the mixture has to do for the beats, and `other`, if that is heard, or
    else the mixture for the key.

    Arguments
    ---------
    song : str
        Its name.
    mixture : np.ndarray (samples,)
        At `ANALYSIS_RATE`.
    stems : mapping of str to np.ndarray (samples,)
        Those of `STEMS`, as long as the mixture.

    Returns
    -------
    SongAnalysis
        With a reason if it is silent or has too few beats.

    Raises
    ------
    DependencyError
        If librosa is not installed.
    """
    librosa = optional_library("librosa", "librosa", _EXTRA, "hearing beats")
    found = SongAnalysis(song, len(mixture) / ANALYSIS_RATE)
    level = float(np.std(mixture))
    loud = np.flatnonzero(np.abs(mixture) >= _SILENT * level)
    if not level or not len(loud):
        return replace(found, stems=(), reason="is silent")
    heard = [s for s in STEMS if float(np.std(stems[s])) > _SILENT * level]
    found = replace(
        found, trim_s=int(loud[0]) / ANALYSIS_RATE, stems=tuple(heard)
    )
    _, beats = librosa.beat.beat_track(
        y=stems["drums"] if "drums" in heard else mixture,
        sr=ANALYSIS_RATE,
        hop_length=_HOP,
        units="time",
    )
    if len(beats) < _MIN_BEATS:
        return replace(
            found, reason=f"has {len(beats)} beats, fewer than {_MIN_BEATS}"
        )
    # The slope of all beats: single distances are whole frames.
    period = np.polynomial.Polynomial.fit(range(len(beats)), beats, 1)
    tempo = 60 / float(period.convert().coef[1])
    tonal = [stems[stem] for stem in ("bass", "other") if stem in heard]
    chroma = _chroma(librosa, [*tonal, mixture][0])
    return replace(
        found,
        tempo=round(tempo, 4),
        beats=tuple(np.round(beats, 6).tolist()),
        chroma=tuple(np.round(chroma, 6).tolist()),
    )


def _chroma(librosa, bass) -> np.ndarray:
    """Shares of the pitch classes where a stem plays."""
    window = seconds_to_samples(_BASS_WINDOW_S, ANALYSIS_RATE)
    power = np.cumsum(np.concatenate([[0.0], np.square(bass, dtype=float)]))
    ahead = np.minimum(np.arange(len(bass)) + window // 2, len(bass))
    behind = np.maximum(np.arange(len(bass)) - window // 2, 0)
    level = np.sqrt(np.maximum(power[ahead] - power[behind], 0.0) / window)
    playing = bass[level >= _BASS_FLOOR * level.max()]
    # Shorter than this, the longest filter does not fit in.
    if len(playing) < ANALYSIS_RATE:
        playing = np.pad(playing, (0, ANALYSIS_RATE - len(playing)))
    # Tuned to 440 Hz: what is a quarter of a tone off has no key that fits.
    chroma = librosa.feature.chroma_cqt(
        y=playing, sr=ANALYSIS_RATE, hop_length=_CHROMA_HOP, tuning=0.0
    )
    strongest = np.argmax(chroma, axis=0)
    return np.bincount(strongest, minlength=12) / len(strongest)


# ------------------------------------------------------------------ matching


def tempo_change(
    wanted: float, own: float, limit: float = 0.25
) -> float | None:
    """How much faster a song is played to have another one's tempo.

    Arguments
    ---------
    wanted, own : float
        Beats per minute. Half, a quarter, twice and four times as many count
        as the same tempo.
    limit : float
        Largest change, as a share. Default: 0.25.

    Returns
    -------
    float or None
        Factor on the speed; None if the tempos differ by the limit or more.

    Example
    -------
    >>> tempo_change(120, 100), tempo_change(120, 59), tempo_change(100, 140)
    (1.2, 1.01694..., None)
    """
    speeds = [wanted / (own * octave) for octave in _OCTAVES]
    best = min(speeds, key=lambda speed: abs(speed - 1))
    return best if abs(best - 1) < limit else None


def key_change(wanted: Sequence, own: Sequence, limit: int = 4) -> int | None:
    """How many semitones bring a song into another one's key.

    Arguments
    ---------
    wanted, own : sequence of float (12,)
        Shares of the pitch classes.
    limit : int
        Largest change to both sides. Default: 4.

    Returns
    -------
    int or None
        Semitones, -5 to 6, by which the shares fit best; None if that is more
        than the limit.

    Example
    -------
    >>> c, d, f_sharp = np.eye(12)[[0, 2, 6]]
    >>> key_change(d, c), key_change(c, d), key_change(f_sharp, c)
    (2, -2, None)
    """
    shifts = sorted(range(-5, 7), key=abs)
    wanted, own = np.asarray(wanted), np.asarray(own)
    misfit = [float(np.abs(wanted - np.roll(own, k)).sum()) for k in shifts]
    best = shifts[int(np.argmin(misfit))]
    return best if abs(best) <= limit else None


def beat_shift(wanted: Sequence, own: Sequence, limit_s: float = 4.0) -> float:
    """How far beats are moved to meet others.

    Each beat is a bell, 10 ms wide; the shift is the one for which the products
    of both rows of bells add up to most. Beats in the first second do not
    count.

    Arguments
    ---------
    wanted, own : sequence of float
        Seconds.
    limit_s : float
        Largest shift to both sides. Default: 4.

    Returns
    -------
    float
        Seconds by which `own` is to be late, a multiple of 5 ms; 0 if there
        are no beats.

    Example
    -------
    >>> beat_shift(np.arange(1, 20), np.arange(1, 20) - 0.25)
    0.25
    """
    reach = round(limit_s / _GRID_S)
    one, other = _bells(wanted), _bells(own)
    if not (one.any() and other.any()):
        return 0.0
    size = 1 << (len(one) + len(other)).bit_length()
    fits = np.fft.irfft(
        np.fft.rfft(one, size) * np.conj(np.fft.rfft(other, size)), size
    )
    shifts = np.arange(-reach, reach + 1)
    # Beyond the length of a row there is nothing to meet.
    shifts = shifts[(shifts > -len(other)) & (shifts < len(one))]
    scores = fits[shifts % size]
    scores = scores - scores.max() * _NEARNESS * _GRID_S * np.abs(shifts)
    return float(shifts[int(np.argmax(scores))] * _GRID_S)


def _bells(beats: Sequence) -> np.ndarray:
    """Beats on the grid, without those in the first second."""
    cells = [round(b / _GRID_S) for b in beats if b >= _EDGE_S]
    grid = np.zeros((max(cells) if cells else 0) + _BELL_REACH + 1)
    away = np.arange(-_BELL_REACH, _BELL_REACH + 1)
    bell = np.exp(-0.5 * np.square(away / _BELL_CELLS))
    for cell in cells:
        grid[cell - _BELL_REACH : cell + _BELL_REACH + 1] += bell
    return grid


# ------------------------------------------------------------------- drawing


def check_songs(songs: Sequence[str], splits: Mapping[str, str]) -> None:
    """Refuse to remix what models are developed or tested with.

    Arguments
    ---------
    songs : sequence of str
        Names of songs that are to be remixed.
    splits : mapping of str to str
        Split of each song that is known.

    Raises
    ------
    ConfigError
        If a song is unknown, of another split than train, or one that is left
        for validation by agreement (`musdb18_lyrics.HELD_OUT`), whatever its
        split says.

    Example
    -------
    >>> check_songs(["A - B"], {"A - B": "test"})
    Traceback (most recent call last):
    speechbrain_ext.errors.ConfigError: A - B is of the split test: remix \
training songs only
    """
    for song in songs:
        if song not in splits:
            raise ConfigError(f"{song} is none of {len(splits)} songs known")
        if splits[song] != "train":
            raise ConfigError(
                f"{song} is of the split {splits[song]}: remix training songs "
                "only"
            )
        if song in HELD_OUT:
            raise ConfigError(
                f"{song} is left for validation by agreement: remix other "
                "training songs"
            )


def draw_remix(
    songs: Mapping[str, SongAnalysis],
    lines: Mapping[str, Sequence[Line]],
    seed: int,
    index: int,
    settings: RemixSettings | None = None,
) -> Remix | None:
    """Draw which stems meet, and how.

    Arguments
    ---------
    songs : mapping of str to SongAnalysis
        Those that can be used; see `check_songs`.
    lines : mapping of str to sequence of Line
        Of each of the songs, at least one.
    seed, index : int
        The same ones give the same remix. The song that the others are fitted
        to is the `index`-th by name, over and over again.
    settings : RemixSettings, optional

    Returns
    -------
    Remix or None
        None if no songs fit, or too little time or too few words are left.

    Raises
    ------
    ConfigError
        If a song has no lines, or as `check_songs`, by their split.
    """
    settings = settings or RemixSettings()
    splits = {song: lines[song][0].split for song in songs if lines.get(song)}
    check_songs(list(songs), splits)
    rng = np.random.default_rng([seed, index])
    names = sorted(songs)
    model = songs[names[index % len(names)]]
    order = [STEMS[k] for k in rng.permutation(len(STEMS))]
    leading = [stem for stem in order if stem in model.stems]
    if settings.keep_vocals:
        leading = [stem for stem in leading if stem == "vocals"]
    if not leading:
        return None
    order.sort(key=lambda stem: stem != leading[0])
    parts = {order[0]: Part(order[0], model.song, model.trim_s)}
    wanted = _heard(model, parts[order[0]])
    for stem in order[1:]:
        fitting = []
        for name in names:
            part = _fitted(stem, songs[name], model, settings)
            if part is not None and name != model.song:
                fitting.append(part)
        if not fitting:
            return None
        part = fitting[int(rng.integers(len(fitting)))]
        late = beat_shift(
            wanted, _heard(songs[part.song], part), settings.max_shift_s
        )
        parts[stem] = replace(part, delay_s=late)
    first = min(part.delay_s for part in parts.values())
    parts = {
        stem: replace(part, delay_s=round(part.delay_s - first, 6))
        for stem, part in parts.items()
    }
    end = min(part.time(songs[part.song].duration_s) for part in parts.values())
    voice = parts["vocals"]
    sung = moved_lines(lines[voice.song], voice)
    # Whole hundredths of a second are whole samples at all usual rates.
    length = math.floor(100 * cut_between(sung, end) + 1e-6) / 100
    sung = tuple(
        replace(line, stop_s=min(line.stop_s, length))
        for line in sung
        if line.start_s < length - _TIME_SLACK_S
    )
    words = sum(len(r.words.split()) for r in sung if not r.rejected)
    if length < settings.min_s or words < settings.min_words:
        return None
    return Remix(index, length, tuple(parts[s] for s in STEMS), sung)


def _fitted(stem, song, model, settings) -> Part | None:
    """A stem in the tempo and key of another song; None if it does not fit."""
    if stem not in song.stems:
        return None
    speed = tempo_change(model.tempo, song.tempo, settings.tempo)
    semitones = 0
    if stem != "drums":
        semitones = key_change(model.chroma, song.chroma, settings.semitones)
    if speed is None or semitones is None:
        return None
    return Part(stem, song.song, song.trim_s, round(speed, 6), semitones)


def _heard(song: SongAnalysis, part: Part) -> list[float]:
    """Beats of a song, when they are heard."""
    return [part.time(beat) for beat in song.beats if beat >= part.trim_s]


def moved_lines(lines: Sequence[Line], part: Part) -> list[Line]:
    """Lines of a song at the times at which they are heard in a remix.

    Arguments
    ---------
    lines : sequence of Line
    part : Part
        What is done to the voice.

    Returns
    -------
    list of Line
        Those that cover some time, by their starts; what is trimmed is cut off.

    Example
    -------
    >>> line = Line("A - B", "train", 1, 5.0, 7.0, "a", "la", "la")
    >>> part = Part("vocals", "A - B", trim_s=1.0, speed=0.8, delay_s=2.0)
    >>> [(r.start_s, r.stop_s) for r in moved_lines([line], part)]
    [(7.0, 9.5)]
    """
    moved = [
        replace(
            line,
            start_s=max(part.time(line.start_s), part.delay_s),
            stop_s=part.time(line.stop_s),
        )
        for line in lines
        if line.timed and line.stop_s > part.trim_s
    ]
    return sorted(moved, key=lambda line: (line.start_s, line.line))


def cut_between(lines: Sequence[Line], end_s: float) -> float:
    """Last moment at which a remix may end without cutting a line.

    Arguments
    ---------
    lines : sequence of Line
        At their times in the remix; also rejected ones are sung.
    end_s : float
        Where the first stem ends.

    Returns
    -------
    float
        `end_s` if all that is sung is over by then; else the last start or end
        of a sung line before it that is within no other; 0 if there is none.

    Example
    -------
    >>> def line(start, stop):
    ...     return Line("x", "train", 1, start, stop, "a", "la", "la")
    >>> lines = [line(1.0, 3.0), line(2.5, 5.0), line(6.0, 9.0)]
    >>> [cut_between(lines, end) for end in (9.5, 8.0, 4.0, 0.5)]
    [9.5, 6.0, 1.0, 0.0]
    """
    spans = [(line.start_s, line.stop_s) for line in lines if line.sung]
    if all(stop <= end_s + _TIME_SLACK_S for _, stop in spans):
        return end_s
    edges = sorted({edge for span in spans for edge in span}, reverse=True)
    for edge in edges:
        if edge <= end_s and not any(a < edge < b for a, b in spans):
            return edge
    return 0.0


# ----------------------------------------------------------------- rendering


def stretched(wav, sample_rate: int, speed: float, semitones: float = 0.0):
    """Play a recording faster or slower, higher or lower.

    Arguments
    ---------
    wav : np.ndarray (samples, channels), float32
    sample_rate : int
        Hertz.
    speed : float
        Factor on the tempo, 0.5 to 2.
    semitones : float
        Change of the pitch. Default: 0.

    Returns
    -------
    np.ndarray (round(samples / speed), channels), float32
        What was at t seconds is at t / speed, to 2 ms. As it is if nothing is
        changed.

    Raises
    ------
    DependencyError
        If python-stretch is not installed.
    """
    wav = np.asarray(wav, np.float32)
    if speed == 1 and semitones == 0:
        return wav
    assert 0.5 <= speed <= 2, "beyond that, its phases are random"
    library = optional_library(
        "python_stretch", "python-stretch", _EXTRA, "stretching"
    )
    engine = library.Signalsmith.Stretch()
    engine.preset(wav.shape[1], sample_rate)
    engine.setTimeFactor(speed)
    engine.setTransposeSemitones(semitones)
    length = math.floor(len(wav) / speed + 0.5)
    out = engine.process(np.ascontiguousarray(wav.T)).T[:length]
    return np.pad(out, ((0, length - len(out)), (0, 0)))


def render_remix(
    remix: Remix, media: Mapping[str, Mapping[str, str]], mono: bool = False
) -> tuple[dict[str, np.ndarray], int]:
    """Make a remix sound.

    Arguments
    ---------
    remix : Remix
    media : mapping of str to mapping of str to str
        Files of the stems, by song and stem; all of one sample rate.
    mono : bool
        Whether channels are averaged first. Default: False.

    Returns
    -------
    dict of str to np.ndarray (samples, channels), float64
        The stems, their sum `mixture` and, without the voice, `accompaniment`;
        all of one gain, such that none exceeds full scale. Values are whole
        steps of 16 bits, so that sums are exact in files as well.
    int
        Their sample rate.

    Raises
    ------
    AudioError
        If a file is not readable.
    ConfigError
        If the files have different sample rates.
    DependencyError
        If python-stretch is not installed.
    """
    rates = {
        part.song: audio_info(media[part.song][part.stem]).sample_rate
        for part in remix.parts
    }
    (one, rate), *others = rates.items()
    for song, other in others:
        if other != rate:
            raise ConfigError(
                f"{one} has {rate} Hz but {song} {other} Hz: remix songs of "
                "one sample rate"
            )
    samples = seconds_to_samples(remix.length_s, rate)
    stems = {}
    for part in remix.parts:
        if part.delay_s >= remix.length_s:
            stems[part.stem] = np.zeros((samples, 1), np.float32)
            continue
        wav = _played(part, media[part.song][part.stem], remix.length_s, mono)
        delay = seconds_to_samples(part.delay_s, rate)
        wav = stretched(wav, rate, part.speed, part.semitones)
        wav = np.pad(wav, ((delay, 0), (0, 0)))[:samples]
        stems[part.stem] = np.pad(wav, ((0, samples - len(wav)), (0, 0)))
    channels = max(wav.shape[1] for wav in stems.values())
    fade = min(seconds_to_samples(_FADE_S, rate), samples)
    ending = np.ones((samples, 1))
    ending[samples - fade :, 0] = np.linspace(1, 0, fade)
    stems = {
        stem: np.broadcast_to(wav, (samples, channels)) * ending
        for stem, wav in stems.items()
    }
    sounds = [sum(stems.values()), sum(stems.values()) - stems["vocals"]]
    peak = max(float(np.abs(x).max()) for x in (*sounds, *stems.values()))
    gain = 2**15 / max(1.0, 1.01 * peak)
    stems = {s: np.rint(wav * gain) / 2**15 for s, wav in stems.items()}
    band = sum(wav for stem, wav in stems.items() if stem != "vocals")
    return {
        "mixture": stems["vocals"] + band,
        "accompaniment": band,
        **stems,
    }, rate


def _played(part: Part, path, length_s: float, mono: bool) -> np.ndarray:
    """What of a file is heard, and a bit more for the stretching."""
    stop = part.trim_s + (length_s - part.delay_s + _MARGIN_S) * part.speed
    wav = read_audio(path, part.trim_s, stop, sample_rate=None, mono=False)
    return wav.mean(1, keepdims=True) if mono else wav


def plan_rows(remix: Remix, name: str) -> list[dict]:
    """What a remix is made of, as rows of a table.

    Arguments
    ---------
    remix : Remix
    name : str
        That it gets.

    Returns
    -------
    list of dict
        One per stem: `remix`, `index`, and what `Part` has.
    """
    return [
        {"remix": name, "index": remix.index} | asdict(part)
        for part in remix.parts
    ]
