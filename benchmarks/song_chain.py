"""What each stage of `singbrain song` costs, on songs whose truth is known.

`python -m benchmarks.song_chain` renders songs of MiniSinging with a band at a
stated level, gives `SongChain`, which is what `singbrain song` runs, each of

- the voice alone (a perfect stem),
- the mixture, from which it takes the voice itself (the predicted stem),
- the mixture as if it were a voice (no stem),

and prints how good the stem, notes, words, words on notes, tempo and key are,
and what the stages take. `--singers 2` gives it two people who sing together,
and compares notes of each voice alone with those of the voices that the chain
tells apart. `--folder` takes recordings in place of synthetic songs.

The songs come from a seed that no shipped model was trained on. They are
synthetic all the same, like most of what the models learnt from: what counts
are the differences between the columns.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time
from typing import NamedTuple

import numpy as np

from benchmarks.common import show
from data_prep.corpus import find_audio, subfolders
from data_prep.minisinging import render_choir, render_clip
from speechbrain_ext import audio
from speechbrain_ext.errors import (
    ConfigError,
    LyricsError,
    NoteError,
    OutputError,
    SingBrainError,
)
from speechbrain_ext.files import atomic_path, check_output
from speechbrain_ext.formats import read_notes
from speechbrain_ext.inference.song import SongChain, SongResult, SongSettings
from speechbrain_ext.lyrics.align import parse_lyrics
from speechbrain_ext.lyrics.dataset import (
    pronunciations,
    read_segments,
    timed_words,
)
from speechbrain_ext.lyrics.lexicon import Lexicon
from speechbrain_ext.lyrics.timed import TimedLyrics, read_timed
from speechbrain_ext.metrics.alignment import evaluate_alignment
from speechbrain_ext.metrics.bss_eval import si_sdr
from speechbrain_ext.metrics.chain import ChainStats
from speechbrain_ext.metrics.notes import evaluate_notes
from speechbrain_ext.metrics.singers import assign_outputs
from speechbrain_ext.metrics.sung_words import evaluate_sung_words
from speechbrain_ext.notes import NoteSequence

# What the songs and the weights of shipped models were drawn from, see their
# cards: a seed is the first number of all that is drawn from it, so that songs
# of another seed have other singers, melodies, words and bands.
TRAINED_SEEDS = (11, 12, 23, 31, 32, 37, 1986, 1987)

CONDITIONS = ("perfect", "predicted", "mixture")
DUET_CONDITIONS = ("perfect", "split", "mixture")

SI_SDR = "SI-SDR of the voice, dB"
NOTES = {f"notes: {metric}, %": metric for metric in ("COn", "COnP", "COnPOff")}
MEDIAN = "word onsets: median error, ms"
PCO = "word onsets: within 0.3 s, %"
ON_NOTES = {
    "found notes with their word, %": "word",
    "found notes with their syllable, %": "syllable",
    "all notes, found with their syllable, %": "syllable_of_all",
}
TRUE_NOTES = "true notes, found words: syllable, %"
TRUE_WORDS = "found notes, true words: syllable, %"
TEMPO = "tempo within 4 %, % of songs"
TEMPO_OCTAVE = "  or its 2, 3, 1/2, 1/3 times, % of songs"
KEY = "key, % of songs"
KEY_SCORE = "  by mir_eval's weights, % of songs"
STAGES = ("separate", "split", "transcribe", "align", "rhythm", "write")
TIMES = {stage: f"time: {stage}, % of real time" for stage in STAGES}

MEASURES = (
    SI_SDR,
    *NOTES,
    MEDIAN,
    PCO,
    *ON_NOTES,
    TRUE_NOTES,
    TRUE_WORDS,
    TEMPO,
    TEMPO_OCTAVE,
    KEY,
    KEY_SCORE,
    *(TIMES[stage] for stage in STAGES if stage != "split"),
)
DUET_MEASURES = (
    SI_SDR,
    *NOTES,
    *(TIMES[stage] for stage in ("split", "transcribe", "rhythm", "write")),
)

# Same tempo: as MIREX's task of tempo estimation counts it since Gouyon et
# al., IEEE TASLP 2006.
TEMPO_TOLERANCE = 0.04
OCTAVES = (1, 2, 3, 1 / 2, 1 / 3)

# Names of the tonics, 0 is C, as mir_eval reads them.
TONICS = ("C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")

# Songs with fewer phones have no lyrics: all is sung on one syllable.
LEAST_PHONES = 4
# A longer pause between words begins a line of the lyrics.
LINE_S = 0.5

WARM_UP_S = 2.0


class TrueSong(NamedTuple):
    """A song and all that is known about it.

    Arguments
    ---------
    name : str
    mixture, voice : np.ndarray (samples,)
    sample_rate : int
    notes : NoteSequence
    words : TimedLyrics
        With phones where they are known.
    tempo : float, optional
        Beats per minute.
    key : str, optional
        Such as "C major".
    """

    name: str
    mixture: np.ndarray
    voice: np.ndarray
    sample_rate: int
    notes: NoteSequence
    words: TimedLyrics
    tempo: float | None = None
    key: str | None = None

    @property
    def seconds(self) -> float:
        """Length."""
        return len(self.mixture) / self.sample_rate


class Heard(NamedTuple):
    """What the chain made of an input.

    Arguments
    ---------
    result : SongResult
    times : dict of str to float
        Processor time of each stage that was done, seconds.
    """

    result: SongResult
    times: dict[str, float]


class StageClock:
    """Takes the processor time of stages, as the progress of a chain.

    Other programs on the machine do not count. Results that are taken from an
    earlier run take next to nothing.

    Arguments
    ---------
    now : callable, optional
        Gives seconds. Default: processor time of this process.

    Example
    -------
    >>> ticks = iter([0.0, 1.0, 1.5, 4.0, 9.0])
    >>> clock = StageClock(lambda: next(ticks))
    >>> for stage in ("align", "align", "rhythm", "align", "done"):
    ...     clock(stage, 0.0)
    >>> clock.times
    {'align': 6.5, 'rhythm': 2.5}
    """

    def __init__(self, now: Callable[[], float] = process_time):
        self.now, self.stage, self.since = now, None, 0.0
        self.times: dict[str, float] = {}

    def __call__(self, stage: str, share: float) -> None:
        """Count the time since the last call for the stage it was in.

        Arguments
        ---------
        stage : str
        share : float
            Not used.
        """
        time = self.now()
        if self.stage is not None:
            past = self.times.get(self.stage, 0.0)
            self.times[self.stage] = past + time - self.since
        self.stage, self.since = stage, time


# ------------------------------------------------------------------- songs
def synthetic_song(seed, number, seconds, accompaniment_db) -> TrueSong:
    """Render a song with words, and no noise.

    Arguments
    ---------
    seed, number : int
        Together they decide everything.
    seconds : float
    accompaniment_db : float
        Level of the voice, while it sounds, above the accompaniment.

    Returns
    -------
    TrueSong

    Raises
    ------
    ConfigError
        If it is too short.

    Example
    -------
    >>> song = synthetic_song(5, 0, 2.0, 0.0)
    >>> song.seconds, len(song.words) > 0
    (2.0, True)
    """
    attempt = 0
    while True:
        clip = render_clip(
            [seed, number, attempt],
            seconds,
            accompaniment_db=accompaniment_db,
            noise_db=False,
        )
        if len({name for *_, name in clip.phones}) >= LEAST_PHONES:
            break
        attempt += 1
    return TrueSong(
        _name(number),
        clip.mix,
        clip.voice,
        clip.sample_rate,
        clip.notes,
        timed_words(clip.words, clip.phones),
        60.0 / clip.score.beat_s,
        key_of(clip.score.tonic, clip.score.scale),
    )


def key_of(tonic: int, scale: str) -> str | None:
    """Name the key of a score.

    Arguments
    ---------
    tonic : int
        0 is C.
    scale : str
        Of `data_prep.minisinging.score.SCALES`.

    Returns
    -------
    str or None
        None for scales that are neither major nor minor.

    Example
    -------
    >>> key_of(10, "major pentatonic"), key_of(0, "chromatic")
    ('Bb major', None)
    """
    mode = scale.split()[0]
    return f"{TONICS[tonic]} {mode}" if mode in ("major", "minor") else None


def songs_of(folder) -> list[Path]:
    """Folders of songs.

    Arguments
    ---------
    folder : str or Path
        Each song is a folder with `voice`, `mixture` or `accompaniment` (which
        is added to the voice) in any format, `notes.csv` and `words.csv`, with
        the columns that `lyrics.timed` reads; or, beside `phones.csv`, with
        those of MiniSinging's own layout, which are `start_s,stop_s,name`.

    Returns
    -------
    list of Path

    Raises
    ------
    ConfigError
        If there is none.
    """
    folder = Path(folder)
    found = []
    if folder.is_dir():
        found = [
            place for place in subfolders(folder) if find_audio(place, "voice")
        ]
    if not found:
        raise ConfigError(
            f"{folder}: no <song>/voice.wav with <song>/mixture.wav, notes.csv "
            "and words.csv: see docs/songs.md"
        )
    return found


def read_song(place) -> TrueSong:
    """Read a song of `songs_of`.

    Arguments
    ---------
    place : str or Path
        Its folder.

    Returns
    -------
    TrueSong
        Mono.

    Raises
    ------
    AudioError, LyricsError, NoteError
        If a file is missing or faulty.
    """
    place = Path(place)
    own = find_audio(place, "voice") or place / "voice.wav"
    voice = audio.read_audio(own, sample_rate=None)
    rate = audio.audio_info(own).sample_rate
    whole = find_audio(place, "mixture")
    other = whole or find_audio(place, "accompaniment")
    mixture = audio.read_audio(other or place / "mixture.wav", sample_rate=rate)
    length = min(len(voice), len(mixture))
    voice, mixture = voice[:length], mixture[:length]
    if whole is None:
        mixture = mixture + voice
    words = place / "words.csv"
    if (place / "phones.csv").is_file():
        timed = timed_words(
            read_segments(words), read_segments(place / "phones.csv")
        )
    else:
        timed = read_timed(words)
    if len(timed):
        lines = parse_lyrics(lyrics_text(timed))
        heard = sum(len(line.words) for line in lines)
        if heard != len(timed):
            raise LyricsError(
                f"{words}: has {len(timed)} rows but {heard} words: give each "
                "word a row, and leave out what is not sung, such as -"
            )
    notes = read_notes(place / "notes.csv")
    return TrueSong(place.name, mixture, voice, rate, notes, timed)


def lyrics_text(words: TimedLyrics) -> str:
    r"""Lyrics as they are given to the chain: without times.

    Arguments
    ---------
    words : TimedLyrics

    Returns
    -------
    str
        A line ends where half a second or more passes without a word. Brackets
        are left out: they would make words optional.

    Example
    -------
    >>> words = timed_words([(0, 1, "la"), (1, 2, "(li"), (3, 4, "lo)")], [])
    >>> lyrics_text(words)
    'la li\nlo\n'
    """
    text, before = "", None
    for word in words:
        if before is not None:
            text += "\n" if word.onset - before >= LINE_S else " "
        text += word.word.translate(dict.fromkeys(map(ord, "()[]")))
        before = word.offset
    return f"{text}\n"


# ------------------------------------------------------------------ hearing
def hear(chain: SongChain, song: TrueSong, folder) -> dict[str, Heard]:
    """Let the chain work on the voice, the mixture, and the mixture as a voice.

    Arguments
    ---------
    chain : SongChain
        Gets the song's own pronunciations, if its phones are known.
    song : TrueSong
    folder : str or Path
        Gets all files.

    Returns
    -------
    dict of str to Heard
        By condition.
    """
    folder = Path(folder)
    inputs = {"voice": song.voice, "mixture": song.mixture}
    for name, wav in inputs.items():
        audio.write_audio(folder / f"{name}.wav", wav, song.sample_rate)
    lyrics = None
    if len(song.words):
        lyrics = folder / "lyrics.txt"
        lyrics.write_text(lyrics_text(song.words), "utf-8")
    spoken = all(word.phones for word in song.words)
    own = pronunciations(song.words) if spoken else None
    chain.aligner.lexicon = Lexicon(chain.settings.language, own)
    return {
        condition: _hear(
            chain.with_settings(isolate=isolate),
            folder / f"{name}.wav",
            folder / condition,
            lyrics,
        )
        for condition, name, isolate in (
            ("perfect", "voice", False),
            ("predicted", "mixture", True),
            ("mixture", "mixture", False),
        )
    }


def _hear(chain, path, folder, lyrics=None):
    """Run the chain; stages that have the same input are shared."""
    clock = StageClock()
    cache = folder.parent / "cache"
    result = chain.run(path, folder, lyrics, progress=clock, cache=cache)
    done = {"write", *(s for s, how in result.stages.items() if how == "done")}
    return Heard(
        result, {s: time for s, time in clock.times.items() if s in done}
    )


# ------------------------------------------------------------------ scoring
def score(song: TrueSong, heard: Heard, voice=None) -> dict[str, float]:
    """Score what the chain made of a song.

    Arguments
    ---------
    song : TrueSong
    heard : Heard
    voice : np.ndarray (samples,), optional
        What the chain took for the voice. Default: the perfect stem, which has
        no score.

    Returns
    -------
    dict of str to float
        By `MEASURES`, in their units. Where the words could not be aligned, 0 %
        of them are right; keys and tempi that are not known are left out.
    """
    result = heard.result
    scores = _times(heard, song.seconds)
    if voice is not None:
        scores[SI_SDR] = float(si_sdr([song.voice], [voice])[0])
    notes = _melody(heard)
    scores |= note_scores(song.notes, notes)
    if len(song.words):
        words = result.lyrics
        aligned = evaluate_alignment(song.words, words)
        scores[MEDIAN] = 1000 * _finite(aligned["median"])
        scores[PCO] = 100 * aligned["PCO"]
        right = evaluate_sung_words(song.notes, song.words, notes, words)
        for measure, metric in ON_NOTES.items():
            scores[measure] = 100 * right[metric]
        for measure, given in (
            (TRUE_NOTES, (song.notes, words)),
            (TRUE_WORDS, (notes, song.words)),
        ):
            right = evaluate_sung_words(song.notes, song.words, *given)
            scores[measure] = 100 * right["syllable"]
    tempo = result.rhythm.tempo if result.rhythm else None
    if song.tempo is not None:
        exact, octave = tempo_right(song.tempo, tempo)
        scores |= {TEMPO: 100 * exact, TEMPO_OCTAVE: 100 * octave}
    if song.key is not None:
        scores |= key_scores(song.key, result.key)
    return scores


def note_scores(
    reference: NoteSequence, estimate: NoteSequence
) -> dict[str, float]:
    """F1 of notes, in percent.

    Arguments
    ---------
    reference, estimate : NoteSequence

    Returns
    -------
    dict of str to float
        By the measures of `NOTES`.

    Example
    -------
    >>> notes = NoteSequence([(0, 1, 60), (1, 2, 62)])
    >>> note_scores(notes, NoteSequence([(0, 0.5, 60), (1, 2, 64)]))
    {'notes: COn, %': 100.0, 'notes: COnP, %': 50.0, 'notes: COnPOff, %': 0.0}
    """
    found = evaluate_notes(reference, estimate)
    return {name: 100 * found[metric].f1 for name, metric in NOTES.items()}


def tempo_right(true: float, found: float | None) -> tuple[bool, bool]:
    """Tell whether a tempo is right, and whether it is but for octaves.

    Arguments
    ---------
    true, found : float
        Beats per minute; None if no beat was found.

    Returns
    -------
    (bool, bool)
        Within 4 %; within 4 % of the tempo or 2, 3, 1/2 or 1/3 times it.

    Example
    -------
    >>> tempo_right(100, 103), tempo_right(100, 51), tempo_right(100, 80)
    ((True, True), (False, True), (False, False))
    """
    if found is None:
        return False, False
    right = [
        abs(found - times * true) <= TEMPO_TOLERANCE * times * true
        for times in OCTAVES
    ]
    return right[0], any(right)


def key_scores(true: str, found) -> dict[str, float]:
    """Score a key.

    Arguments
    ---------
    true : str
        Such as "C major".
    found : Key or None

    Returns
    -------
    dict of str to float
        In percent: whether it is right; and mir_eval's weights, which give half
        for the key a fifth above, 0.3 for the relative and 0.2 for the
        parallel one.

    Example
    -------
    >>> from speechbrain_ext.rhythm import Key
    >>> key_scores("C major", Key("A", "minor", 0.9, 0.1))
    {'key, % of songs': 0.0, "  by mir_eval's weights, % of songs": 30.0}
    """
    from mir_eval.key import weighted_score

    value = weighted_score(true, found.name) if found else 0.0
    return {KEY: 100.0 * (value == 1.0), KEY_SCORE: 100.0 * value}


def _melody(heard):
    """Notes of the one voice; none if that stage failed."""
    return heard.result.melodies.get("vocals", NoteSequence())


def _finite(value):
    return value if np.isfinite(value) else np.nan


def _times(heard, seconds):
    return {
        TIMES[stage]: 100 * time / seconds
        for stage, time in heard.times.items()
        if stage in TIMES
    }


def evaluate_song(
    chain: SongChain, song: TrueSong, folder
) -> tuple[dict[str, dict[str, float]], list[str]]:
    """Run the chain on a song and score it.

    Arguments
    ---------
    chain : SongChain
    song : TrueSong
    folder : str or Path
        Empty; gets all files.

    Returns
    -------
    dict of str to dict of str to float
        By condition and measure.
    list of str
        What stages failed, and why.
    """
    heard = hear(chain, song, folder)
    vocals = Path(folder) / "predicted" / "vocals.wav"
    stems = {"perfect": None, "predicted": None, "mixture": song.mixture}
    if vocals.is_file():
        stems["predicted"] = audio.read_audio(vocals, sample_rate=None)
    return (
        {name: score(song, heard[name], stems[name]) for name in CONDITIONS},
        _failures(song.name, heard),
    )


def _failures(name, heard):
    return [
        f"{name}, {condition}: {stage}: {found.result.missing[stage]}"
        for condition, found in heard.items()
        for stage, how in found.result.stages.items()
        if how == "missing"
    ]


# ------------------------------------------------------------------- duets
def evaluate_duet(
    chain: SongChain, choir, name, folder
) -> tuple[dict[str, dict[str, float]], list[str]]:
    """Run the chain on two singers and score it.

    Arguments
    ---------
    chain : SongChain
        With as many singers, and without isolation: there is no band.
    choir : data_prep.minisinging.Choir
    name : str
        What it is called.
    folder : str or Path
        Empty; gets all files.

    Returns
    -------
    dict of str to dict of str to float
        By condition and measure, means over the singers. Outputs are given to
        the singers by the highest mean SI-SDR; the mixture's notes are compared
        with those of every singer.
    list of str
        What stages failed, and why.
    """
    folder, rate = Path(folder), choir.sample_rate
    seconds, truth = len(choir.mix) / rate, [clip.notes for clip in choir.clips]
    audio.write_audio(folder / "mixture.wav", choir.mix, rate)
    alone = chain.with_settings(singers=1)
    heard = []
    for k, voice in enumerate(choir.voices):
        path = folder / f"voice{k + 1}.wav"
        audio.write_audio(path, voice, rate)
        heard.append(_hear(alone, path, folder / f"perfect{k + 1}"))
    mixture = folder / "mixture.wav"
    split = _hear(chain, mixture, folder / "split")
    mixed = _hear(alone, mixture, folder / "mixed")
    scores = {
        "perfect": _mean(
            note_scores(notes, _melody(one)) | _times(one, seconds)
            for notes, one in zip(truth, heard, strict=True)
        ),
        "split": _times(split, seconds),
        "mixture": _mean(note_scores(notes, _melody(mixed)) for notes in truth)
        | _times(mixed, seconds),
    }
    same = [choir.mix] * len(truth)
    scores["mixture"][SI_SDR] = float(np.mean(si_sdr(choir.voices, same)))
    if split.result.stages["split"] != "missing":
        found = split.result.melodies
        names = [f"singer{k + 1}" for k in range(len(truth))]
        files = [folder / "split" / f"{name}.wav" for name in names]
        voices = np.stack(
            [audio.read_audio(f, sample_rate=None) for f in files]
        )
        order, gains = assign_outputs(choir.voices, voices)
        scores["split"] |= _mean(
            note_scores(notes, found.get(names[k], NoteSequence()))
            for notes, k in zip(truth, order, strict=True)
        )
        scores["split"][SI_SDR] = float(np.mean(gains))
    told = {f"voice {k}": one for k, one in enumerate(heard, start=1)}
    return scores, _failures(name, told | {"split": split, "mixture": mixed})


def _mean(rows):
    """Means of scores over singers."""
    rows = list(rows)
    names = {name: None for row in rows for name in row}
    return {
        name: float(np.mean([row.get(name, np.nan) for row in rows]))
        for name in names
    }


# ------------------------------------------------------------------ command
def _options(arguments):
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.song_chain",
        description=__doc__.splitlines()[0],
    )
    add = parser.add_argument
    add("--songs", type=int, default=20, help="how many (default: 20)")
    add(
        "--seconds",
        type=float,
        default=24.0,
        help="length of each (default: 24)",
    )
    add(
        "--accompaniment-db",
        type=float,
        default=0.0,
        metavar="DB",
        help="level of the voice above the accompaniment (default: 0)",
    )
    add("--seed", type=int, default=2026, help="of the songs (default: 2026)")
    add(
        "--singers",
        type=int,
        choices=(1, 2),
        default=1,
        help="2: duets without accompaniment (default: 1)",
    )
    add(
        "--folder",
        type=Path,
        help="folder of songs, in place of synthetic ones",
    )
    for model in ("separator", "transcriber", "aligner", "splitter"):
        add(
            f"--{model}",
            metavar="MODEL",
            help=f"as for singbrain song (default: the shipped {model})",
        )
    add(
        "-o",
        "--output",
        type=Path,
        metavar="FOLDER",
        help="gets table.txt, scores.csv and scores.png (default: only print)",
    )
    add("--force", action="store_true", help="replace these files")
    options = parser.parse_args(arguments)
    if options.songs < 1 or not options.seconds >= 1:
        raise ConfigError(
            f"--songs {options.songs} --seconds {options.seconds:g}: give at "
            "least 1 of both"
        )
    if options.seed < 0:
        raise ConfigError(f"--seed is {options.seed}: use 0 or more")
    unused = {"accompaniment_db"} if options.singers > 1 else {"splitter"}
    if options.singers > 1:
        unused |= {"separator", "aligner"}
    if options.folder is not None:
        unused |= {"songs", "seconds", "seed", "accompaniment_db"}
    for name in sorted(unused):
        if getattr(options, name) != parser.get_default(name):
            raise ConfigError(
                f"--{name.replace('_', '-')} is of no use with what else is "
                "asked for: leave it out"
            )
    if options.folder is None and options.seed in TRAINED_SEEDS:
        raise ConfigError(
            f"--seed {options.seed}: shipped models were trained on it: take "
            f"another one than {', '.join(map(str, TRAINED_SEEDS))}"
        )
    if options.folder is not None and options.singers > 1:
        raise ConfigError(
            "--singers 2 --folder: duets are synthetic: leave out one of them"
        )
    if options.output is not None:
        try:
            options.output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"{options.output}: cannot be made ({error.strerror}): give "
                "another folder with -o"
            ) from None
        for name in ("table.txt", "scores.csv", "scores.png"):
            check_output(options.output / name, options.force)
    return options


def _synthetic(options, number, seconds, chain, folder):
    """Render one song or duet, and evaluate the chain on it."""
    if options.singers > 1:
        choir = render_choir([options.seed, number], seconds, sample_rate=16000)
        return evaluate_duet(chain, choir, _name(number), folder)
    song = synthetic_song(
        options.seed, number, seconds, options.accompaniment_db
    )
    return evaluate_song(chain, song, folder)


def _recorded(place, chain, folder):
    """Read one song, and evaluate the chain on it."""
    return evaluate_song(chain, read_song(place), folder)


def _items(options) -> dict[str, Callable]:
    """By name of the song, what evaluates a chain on it, using a folder."""
    if options.folder is not None:
        places = songs_of(options.folder)
        return {place.name: partial(_recorded, place) for place in places}
    return {
        _name(number): partial(_synthetic, options, number, options.seconds)
        for number in range(options.songs)
    }


def _name(number):
    return f"{number + 1:03d}"


def _told(options, arguments) -> str:
    """What was done, on two lines."""
    given = sys.argv[1:] if arguments is None else arguments
    command = shlex.join(["python", "-m", "benchmarks.song_chain", *given])
    if options.folder is not None:
        return f"{command}\nsongs of {options.folder.name}"
    what = f"songs of {options.seconds:g} s of MiniSinging"
    what += f", seed {options.seed}, "
    if options.singers > 1:
        return f"{command}\n{what}duets"
    return f"{command}\n{what}voice {options.accompaniment_db:+g} dB"


def main(arguments=None):
    """Yield the lines of the report.

    Arguments
    ---------
    arguments : list of str, optional
        Command line; default: that of the process.

    Yields
    ------
    str

    Raises
    ------
    ConfigError, OutputError
        If an option is wrong, or a file exists.
    NoteError
        If no song could be scored.
    """
    from tqdm import tqdm

    options = _options(arguments)
    duets = options.singers > 1
    chain = SongChain(
        SongSettings(
            separator=options.separator,
            transcriber=options.transcriber,
            aligner=options.aligner,
            splitter=options.splitter,
            singers=options.singers,
            isolate=not duets,
            report=False,
        )
    )
    stats = ChainStats(
        DUET_MEASURES if duets else MEASURES,
        DUET_CONDITIONS if duets else CONDITIONS,
        _told(options, arguments),
    )
    items, failures = _items(options), []
    with TemporaryDirectory() as folder:
        # Loads all that is needed, so that no song's time has it.
        _synthetic(options, options.songs, WARM_UP_S, chain, Path(folder))
    for name, evaluate in tqdm(items.items(), unit="song", disable=None):
        try:
            with TemporaryDirectory() as folder:
                scores, failed = evaluate(chain, Path(folder))
        except SingBrainError as error:
            failures.append(f"{name}: {error}")
            continue
        stats.append(name, scores)
        failures += failed
    if not len(stats):
        raise NoteError(f"no song could be scored: {'; '.join(failures)}")
    text = "\n".join([stats.table(), *failures])
    yield text
    if options.output is not None:
        _write(stats, text, options.output, options.force)


def _write(stats, text, folder, force):
    """Table, scores of each song and picture."""
    from speechbrain_ext.report.plots import systems_figure

    with atomic_path(folder / "table.txt", force) as path:
        path.write_text(f"{text}\n", "utf-8")
    stats.write_csv(folder / "scores.csv", force)
    shown = {
        measure.removesuffix(", %"): {
            name: found for name, found in row.items() if np.isfinite(found[0])
        }
        for measure, row in stats.means().items()
        if measure.endswith(", %")
    }
    systems_figure(shown, folder / "scores.png", "%", force, title=stats.told)


if __name__ == "__main__":
    raise SystemExit(show(main))
