"""From a song to a score: the voice, its notes, words, beats, and a report.

The chain is

    song -> voice, accompaniment -> singers -> notes \
    lyrics -> words with times -> syllables ----------> scores, lyrics, report
    song -> beats, bars, key -----------------------/

Every arrow is a stage whose result is kept (`stages`). A stage that fails
leaves out what depends on it, is told of, and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from threading import local
from typing import NamedTuple
from uuid import uuid4

import numpy as np

from speechbrain_ext import __version__, audio
from speechbrain_ext.errors import (
    ClusterError,
    ConfigError,
    ModelError,
    OutputError,
    SingBrainError,
)
from speechbrain_ext.files import atomic_path, owned_by, remove_unfinished
from speechbrain_ext.formats import read_notes, write_notes, write_song_jams
from speechbrain_ext.inference.stages import Stages, content_hash
from speechbrain_ext.lyrics.align import SLACK_S, align, read_lyrics
from speechbrain_ext.lyrics.syllables import Attached, attach, syllables
from speechbrain_ext.lyrics.timed import TimedLyrics, read_timed, write_timed
from speechbrain_ext.notes import NoteSequence
from speechbrain_ext.rhythm import Key, Rhythm
from speechbrain_ext.workers import spread

CACHE = ".cache"
INDEX = "song.json"
FORMAT, FORMAT_VERSION = "singbrain-song", 1

# Share of the time that stages take, roughly, for the progress.
WEIGHTS = {
    "separate": 10,
    "split": 10,
    "transcribe": 4,
    "align": 3,
    "rhythm": 2,
    "listen": 3,
    "write": 1,
}

# What a model is loaded for, beside its name and the device.
MODEL_SETTINGS = {
    "separator": (),
    "transcriber": (),
    "splitter": ("singers",),
    "aligner": ("language",),
}

# Steps of scores: sixteenth notes.
DIVISION = 16

# The report's own copies of sounds.
REPORT_RATE = 32000


@dataclass(frozen=True)
class SongSettings:
    """What a song is to be worked on with.

    Arguments
    ---------
    separator : str or Path, optional
        See `VoiceSeparator.from_hparams`. Default: the shipped one.
    transcriber : str or Path, optional
        See `Transcriber.from_hparams`. Default: the shipped one.
    isolate : bool
        Whether to take the voice out of the song; off for recordings of
        voices alone. Default: True.
    transcribe : bool
        Whether to find notes. Default: True.
    singers : int
        How many there are. Default: 1, nothing is split.
    splitter : str or Path, optional
        See `SingerSplitter.from_hparams`. Default: the shipped one.
    aligner : str or Path, optional
        See `LyricsAligner.from_hparams`. Default: the shipped one.
    language : str
        Of the lyrics. Default: "en".
    repeats : bool
        See `lyrics.align.align`. Default: False.
    tempo : float, optional
        Beats per minute. Default: found out.
    beats_per_bar : int
        Default: 4.
    title, artist : str, optional
        Default: the file's name, taken apart at " - ".
    report : bool
        Whether to write `report.html`. Default: True.
    device : str
        Where to compute. Default: "cpu".

    Raises
    ------
    ConfigError
        If a number is out of range.
    """

    separator: str | Path | None = None
    transcriber: str | Path | None = None
    isolate: bool = True
    transcribe: bool = True
    singers: int = 1
    splitter: str | Path | None = None
    aligner: str | Path | None = None
    language: str = "en"
    repeats: bool = False
    tempo: float | None = None
    beats_per_bar: int = 4
    title: str | None = None
    artist: str | None = None
    report: bool = True
    device: str = "cpu"

    def __post_init__(self):
        for name, low, high in (("singers", 1, 9), ("beats_per_bar", 1, 32)):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ConfigError(f"{name} is {value}: use {low} to {high}")


@dataclass
class SongResult:
    """What became of a song.

    Arguments
    ---------
    song : Path
        The recording.
    folder : Path
        Where the files are.
    seconds : float
        Length of the recording.
    files : list of str
        Names of what was written.
    melodies : dict of str to NoteSequence
        With their syllables, by the names of the voices.
    lyrics : TimedLyrics
        Empty if there are none.
    rhythm : Rhythm or None
    key : Key or None
    stages : dict of str to str
        "done", "cached" or "missing".
    missing : dict of str to str
        Why a stage has no result.
    warnings : list of str
        What else is to be told.
    """

    song: Path
    folder: Path
    seconds: float = 0.0
    files: list[str] = field(default_factory=list)
    melodies: dict[str, NoteSequence] = field(default_factory=dict)
    lyrics: TimedLyrics = field(default_factory=TimedLyrics)
    rhythm: Rhythm | None = None
    key: Key | None = None
    stages: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def as_json(self) -> dict:
        """All of it, for programs.

        Returns
        -------
        dict
            Times in seconds, pitches as MIDI numbers.
        """
        sure = [w.confidence for w in self.lyrics if w.confidence is not None]
        return {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "song": str(self.song),
            "folder": str(self.folder),
            "seconds": round(self.seconds, 3),
            "singers": {
                name: {
                    "notes": len(notes),
                    "lowest": min(notes.midi, default=None),
                    "highest": max(notes.midi, default=None),
                }
                for name, notes in self.melodies.items()
            },
            "words": len(self.lyrics),
            "words_confidence": round(float(np.mean(sure)), 4)
            if sure
            else None,
            "tempo": round(self.rhythm.tempo, 2) if self.rhythm else None,
            "beats": list(self.rhythm.beats) if self.rhythm else [],
            "first_bar_s": self.rhythm.beats[self.rhythm.downbeat]
            if self.rhythm
            else None,
            "key": self.key.name if self.key else None,
            "key_margin": self.key.margin if self.key else None,
            "stages": self.stages,
            "missing": self.missing,
            "warnings": self.warnings,
        }


class SongChain:
    """Works on songs, one after the other; models are loaded once.

    Arguments
    ---------
    settings : SongSettings, optional
        Default: the shipped models, one singer.

    Raises
    ------
    ModelError
        If a model that is named is missing.
    ConfigError
        If the splitter tells another number of singers apart, or the device
        does not exist here.
    """

    def __init__(self, settings: SongSettings | None = None):
        self.settings = settings or SongSettings()
        # A wrong name is an error now; a model that is not shipped is told of
        # when its stage comes.
        if self.settings.device != "cpu":
            from speechbrain_ext.inference.transcriber import checked_device

            checked_device(self.settings.device)
        if self.settings.separator is not None:
            self._model("separator")
        if self.settings.transcriber is not None:
            self._model("transcriber")
        if self.settings.aligner is not None:
            self._aligner_model()
        if self.settings.singers > 1:
            self._check_splitter()
        elif self.settings.splitter is not None:
            self._model("singer_splitter")

    # --- models ------------------------------------------------------------

    @cached_property
    def separator(self):
        """What takes the voice out of a song."""
        from speechbrain_ext.inference.separator import VoiceSeparator

        return VoiceSeparator.from_hparams(
            self.settings.separator, device=self.settings.device
        )

    @cached_property
    def transcriber(self):
        """What hears notes."""
        from speechbrain_ext.inference.transcriber import Transcriber

        return Transcriber.from_hparams(
            self.settings.transcriber, device=self.settings.device
        )

    @cached_property
    def splitter(self):
        """What tells singers apart."""
        from speechbrain_ext.inference.splitter import SingerSplitter

        return SingerSplitter.from_hparams(
            self.settings.splitter,
            device=self.settings.device,
            singers=self.settings.singers,
        )

    @cached_property
    def aligner(self):
        """What times lyrics."""
        from speechbrain_ext.inference.aligner import LyricsAligner

        return LyricsAligner.from_hparams(
            self.settings.aligner, self.settings.device, self.settings.language
        )

    def _check_splitter(self):
        """Refuse a splitter that tells another number of singers apart."""
        from speechbrain_ext.inference.splitter import count_singers

        wanted = self.settings.singers
        try:
            count = count_singers(self.settings.splitter)
        except ModelError:
            if self.settings.splitter is not None:
                raise
            return
        if count != wanted:
            raise ConfigError(
                f"the splitter tells {count} singers apart, not {wanted}: "
                f"use --singers {count}, or --splitter with a model for "
                f"{wanted}"
            )

    def _model(self, kind) -> str:
        """Tell a model by what it holds."""
        from speechbrain_ext.inference.model_folder import (
            find_model,
            fingerprint,
        )
        from speechbrain_ext.inference.separator import DEMUCS

        source = getattr(self.settings, kind.removeprefix("singer_"))
        if str(source).startswith(DEMUCS):
            return str(source)
        if str(source).endswith(".onnx"):
            return content_hash(source)
        return fingerprint(find_model(source, kind))

    def _aligner_model(self) -> str:
        from speechbrain_ext.inference.model_folder import (
            find_model,
            fingerprint,
        )
        from speechbrain_ext.lyrics.acoustic import POCKETSPHINX, SHIPPED

        source = self.settings.aligner
        if str(source) == POCKETSPHINX:
            return POCKETSPHINX
        if source is None or not (Path(source) / "vocab.json").is_file():
            return fingerprint(find_model(source, SHIPPED))
        return " ".join(
            content_hash(file)
            for file in sorted(Path(source).iterdir())
            if file.is_file()
        )

    def with_settings(self, **changes) -> SongChain:
        """Give a chain with other settings, which keeps the loaded models.

        Arguments
        ---------
        **changes
            Settings by their names in `SongSettings`.

        Returns
        -------
        SongChain

        Raises
        ------
        ConfigError
            If a number is out of range, or the splitter tells another number
            of singers apart.
        ModelError
            If a model that is named is missing.

        Example
        -------
        >>> chain = SongChain().with_settings(title="A song", isolate=False)
        >>> chain.settings.title, chain.settings.isolate
        ('A song', False)
        """
        made = SongChain(replace(self.settings, **changes))
        for model, names in MODEL_SETTINGS.items():
            same = all(
                getattr(made.settings, name) == getattr(self.settings, name)
                for name in (model, "device", *names)
            )
            if same and model in vars(self):
                vars(made)[model] = vars(self)[model]
        return made

    # --- the chain ---------------------------------------------------------

    def run(
        self,
        song,
        folder,
        lyrics=None,
        reference=None,
        overwrite: bool = False,
        progress: Callable[[str, float], None] | None = None,
        cache=None,
    ) -> SongResult:
        """Work on a song.

        Arguments
        ---------
        song : str or Path
            Audio file, or video with sound.
        folder : str or Path
            Where the files go; made if missing. What an earlier run wrote and
            nobody changed is replaced.
        lyrics : str or Path, optional
            File of its lyrics, see `read_lyrics`.
        reference : str or Path, optional
            Note file of what is sung, for the report.
        overwrite : bool
            Whether other existing files may be replaced. Default: False.
        progress : callable, optional
            Called with the name of the stage and the share of all the work
            that is done, 0 to 1.
        cache : str or Path, optional
            Folder for the results of stages. Default: `.cache` in the folder.

        Returns
        -------
        SongResult

        Raises
        ------
        AudioError
            If the song cannot be read.
        LyricsError, NoteError
            If the lyrics or the reference cannot.
        OutputError
            If a file exists that is not ours, or cannot be written.
        """
        song, folder = Path(song), Path(folder)
        run = _Run(self, song, folder, progress, cache)
        run.lines = None if lyrics is None else read_lyrics(lyrics)
        run.lyrics_hash = None if lyrics is None else content_hash(lyrics)
        run.reference = None if reference is None else read_notes(reference)
        run.check_outputs(overwrite)
        return run.all()


class SongJob(NamedTuple):
    """A song and where to put what is made of it.

    Arguments
    ---------
    song, folder, lyrics, reference, overwrite, cache
        As in `SongChain.run`.
    """

    song: Path
    folder: Path
    lyrics: Path | None = None
    reference: Path | None = None
    overwrite: bool = False
    cache: Path | None = None


def run_songs(
    jobs: Sequence[SongJob],
    settings: SongSettings | None = None,
    n_jobs: int = 1,
    progress: Callable[[str, float], None] | None = None,
    backend: str = "loky",
    cluster: str | None = None,
) -> Iterator[SongResult | SingBrainError]:
    """Work on many songs.

    Computers of a cluster must see the songs, the models and the folders of the
    results under the same names, and have the same version of SingBrain. A song
    whose worker dies is taken up again by another one: stages that were done
    are kept, and nothing half-written stays.

    Arguments
    ---------
    jobs : sequence of SongJob
    settings : SongSettings, optional
        Default: the shipped models, one singer.
    n_jobs : int
        Songs worked on at a time, each by a process of its own. Default: 1.
    progress : callable, optional
        Called with what is being done and the share that is done, 0 to 1.
    backend : {"loky", "dask", "ray"}
        See `workers.spread`. Default: loky, processes of this computer.
    cluster : str, optional
        Address of a Dask or Ray cluster. Default: a local one of `n_jobs`
        processes.

    Yields
    ------
    SongResult or SingBrainError
        Of each song in order: one that cannot be read, or that costs one worker
        after the other, does not end the others.

    Raises
    ------
    ModelError
        If a model that is named is missing.
    ConfigError
        If the back-end or the device is unknown, the splitter tells another
        number of singers apart, or a worker has another version of SingBrain.
    ClusterError
        If the cluster does not answer, is lost on the way, or lacks SingBrain
        or a GPU.
    DependencyError
        If the library of the back-end is missing.
    """
    alone = n_jobs == 1 or len(jobs) < 2
    if backend == "loky" and cluster is None and alone:
        chain = SongChain(settings)
        for place, job in enumerate(jobs):

            def tell(stage, share, place=place, job=job):
                if progress is not None:
                    name = f"{job.song.name[-30:]}: {stage}"
                    progress(name, (place + share) / len(jobs))

            yield _one(chain, job, tell)
        return
    settings = settings or SongSettings()
    kind, _, number = settings.device.partition(":")
    gpu = kind == "cuda"
    if backend == "ray" and gpu and number:
        raise ConfigError(
            f"the device is {settings.device}: Ray gives each song a GPU of "
            "its own: use cuda"
        )
    # A wrong name of a model is told of at once; the devices of a cluster are
    # not known here.
    SongChain(settings if cluster is None else replace(settings, device="cpu"))
    run = uuid4().hex[:16]
    sent = [(f"{run}{place}", _anywhere(job)) for place, job in enumerate(jobs)]
    found = spread(
        partial(_in_process, _anywhere_settings(settings), __version__),
        sent,
        n_jobs,
        backend,
        cluster,
        gpu,
    )
    left = dict(sent)
    try:
        for job, (owner, _), result in zip(jobs, sent, found, strict=True):
            if progress is not None:
                done = 1 - (len(left) - 1) / len(jobs)
                progress(job.song.name[-30:], done)
            _sweep(owner, left.pop(owner))
            yield _as_asked(job, result)
    finally:
        found.close()
        for owner, job in left.items():
            _sweep(owner, job)


def _anywhere(job):
    """The same job for a process that is at home in another folder."""
    return SongJob(
        *(
            value.absolute() if isinstance(value, Path) else value
            for value in job
        )
    )


def _anywhere_settings(settings):
    """The same settings for a process that is at home in another folder."""
    models = {name: getattr(settings, name) for name in MODEL_SETTINGS}
    found = {
        name: Path(source).absolute()
        for name, source in models.items()
        if source is not None and Path(source).exists()
    }
    return replace(settings, **found)


def _as_asked(job, result):
    """Tell of a song by the names that it was given."""
    if isinstance(result, SongResult):
        return replace(result, song=job.song, folder=job.folder)
    if isinstance(result, ClusterError):
        return ClusterError(f"{job.song}: {result}")
    told = str(result)
    for path in job:
        if isinstance(path, Path):
            told = told.replace(str(path.absolute()), str(path))
    return type(result)(told)


def _sweep(owner, job):
    """Remove what dead processes have left of a song."""
    for folder in (job.folder, job.cache or job.folder / CACHE):
        remove_unfinished(folder, owner)


def _one(chain, job, progress=None):
    try:
        return chain.run(*job[:5], progress, job.cache)
    except SingBrainError as error:
        return error


# A process works on several songs with models that are loaded once. Workers of
# a cluster may have threads, and stay when the next one asks for other models.
_own = local()


def _in_process(settings, version, sent):
    if version != __version__:
        raise ConfigError(
            f"a worker has SingBrain {__version__} but this computer "
            f"{version}: install the same one"
        )
    if getattr(_own, "settings", None) != settings:
        _own.chain, _own.settings = SongChain(settings), settings
    owner, job = sent
    with owned_by(owner):
        return _one(_own.chain, job)


class _Run:
    """One song on its way through the chain."""

    def __init__(self, chain, song, folder, progress, cache):
        self.chain, self.settings = chain, chain.settings
        self.song, self.folder = song, folder
        self.info = audio.audio_info(song)
        self.song_hash = content_hash(song)
        self.result = SongResult(song, folder, self.info.duration or 0.0)
        self.stages = Stages(folder / CACHE if cache is None else cache)
        self.progress = progress
        self.lines = self.lyrics_hash = self.reference = None
        self.voices: dict[str, tuple[Path, str]] = {}
        self.f0: dict[str, Path] = {}
        self.tracks: dict[str, Path] = {}
        self.keys: dict[str, str] = {}
        self.hashes: dict[str, str] = {}
        self.done_weight = 0.0
        names = ["rhythm", "write"]
        names += ["separate"] * self.settings.isolate
        names += ["split"] * (self.settings.singers > 1)
        names += ["transcribe"] * self.settings.transcribe
        names += ["align", "listen"]
        self.total_weight = sum(WEIGHTS[name] for name in names)

    # --- outputs -----------------------------------------------------------

    def outputs(self):
        """Names of all that may be written."""
        voices = [f"singer{k + 1}" for k in range(self.settings.singers)]
        stems = ["vocals", *(voices if len(voices) > 1 else [])]
        return [
            "accompaniment.wav",
            *(f"{stem}.wav" for stem in stems),
            *(
                f"{stem}.{suffix}"
                for stem in stems
                for suffix in ("mid", "csv", "musicxml")
            ),
            "song.lrc",
            "song.txt",
            "song.jams",
            "report.html",
            INDEX,
        ]

    def check_outputs(self, overwrite):
        """Refuse to replace what is not ours."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"{self.folder}: cannot be made ({error.strerror}): choose "
                "another one with -o"
            ) from None
        self.known = self._known("files")
        replaced = self._known("replaced")
        if overwrite:
            return
        for name in self.outputs():
            path = self.folder / name
            if not path.exists() or name == INDEX and self.known:
                continue
            found = content_hash(path)
            known = (self.known.get(name), replaced.get(name))
            # A worker that only seemed dead may be writing, too.
            if found not in (*known, self._known("files").get(name)):
                raise OutputError(
                    f"{path} exists already and is not as an earlier run "
                    "wrote it: use --force to replace it, or another -o"
                )
            self.known[name] = found

    def _known(self, kind):
        """Hashes of files that an earlier run wrote."""
        try:
            told = json.loads((self.folder / INDEX).read_text("utf-8"))
            if told["format"] != FORMAT:
                return {}
            return {str(k): str(v) for k, v in told[kind].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}

    def _write(self, name, write):
        """Write a file of the folder; tell of a library that is missing."""
        path = self.folder / name
        try:
            with atomic_path(path, True) as temporary:
                write(temporary)
                self.hashes[name] = content_hash(temporary)
                # Before the file has its name, so that a run that is stopped
                # at any time knows its files again.
                self._write_index()
        except OutputError:
            raise
        except SingBrainError as error:
            self.result.missing[name] = str(error)
        else:
            self.result.files.append(name)

    def _copy(self, source, name):
        """Put a file of a stage into the folder, block by block."""
        path = self.folder / name
        if path.is_file() and content_hash(path) == content_hash(source):
            self.hashes[name] = content_hash(path)
            self.result.files.append(name)
            return

        def write(temporary):
            with open(source, "rb") as old, open(temporary, "wb") as new:
                for block in iter(lambda: old.read(2**22), b""):
                    new.write(block)

        self._write(name, write)

    # --- stages ------------------------------------------------------------

    def all(self):
        """Go through all stages."""
        if self.settings.isolate:
            self._stage("separate", self._separate)
        if not self.voices:
            self.voices = {"vocals": (self.song, self.song_hash)}
            if self.settings.isolate:
                self.result.warnings.append(
                    "without a voice of its own, notes are read from the "
                    "whole song"
                )
        if self.settings.singers > 1:
            self._stage("split", self._split)
        if self.settings.transcribe:
            self._stage("transcribe", self._transcribe)
        if self.lines is not None:
            self._stage("align", self._align)
        self._stage("rhythm", self._rhythm)
        attached = self._attach()
        if self.settings.report:
            self._stage("listen", self._listen)
        self._tell("write", 0.0)
        self._publish(attached)
        if self.progress is not None:
            self.progress("done", 1.0)
        return self.result

    def _stage(self, name, work):
        """Do a stage; keep the reason if it fails."""
        self._tell(name, 0.0)
        try:
            work()
        except OutputError:
            raise
        except SingBrainError as error:
            self.result.stages[name] = "missing"
            self.result.missing[name] = str(error)
        self.done_weight += WEIGHTS[name]

    def _tell(self, name, share):
        if self.progress is None:
            return
        done = self.done_weight + WEIGHTS[name] * min(max(share, 0.0), 1.0)
        self.progress(name, min(done / self.total_weight, 1.0))

    def _clock(self, name, part=0, parts=1):
        """Progress of a stage from the seconds done of one of its parts."""
        length = max(self.result.seconds, 1e-3)
        return lambda seconds: self._tell(
            name, (part + min(seconds / length, 1.0)) / parts
        )

    def _run(self, name, settings, inputs, make):
        done = self.stages.run(name, settings, inputs, make)
        if self.result.stages.get(name) != "done":
            self.result.stages[name] = "cached" if done.cached else "done"
        return done

    def _separate(self):
        model = self.chain._model("separator")

        def make(folder):
            told = self.chain.separator.separate_file(
                self.song,
                {
                    folder / "vocals.wav": "vocals",
                    folder / "accompaniment.wav": "accompaniment",
                },
                progress=self._clock("separate"),
            )
            _dump(folder / "told.json", {"seconds": told.seconds})

        done = self._run("separate", {"model": model}, [self.song_hash], make)
        self.result.seconds = _load(done.folder / "told.json")["seconds"]
        for name in ("vocals", "accompaniment"):
            self.tracks[name] = done.folder / f"{name}.wav"
            self.keys[name] = f"{done.key} {name}"
        self.voices = {"vocals": (self.tracks["vocals"], done.key)}

    def _split(self):
        model = self.chain._model("singer_splitter")
        (path, key) = self.voices["vocals"]

        def make(folder):
            splitter = self.chain.splitter
            told = splitter.split_file(
                path,
                {folder / f"{name}.wav": name for name in splitter.singers},
                progress=self._clock("split"),
            )
            lines = [line.replace(f"{path}: ", "") for line in told.warnings]
            _dump(folder / "told.json", {"warnings": lines})

        settings = {"model": model, "singers": self.settings.singers}
        done = self._run("split", settings, [key], make)
        self.result.warnings += _load(done.folder / "told.json")["warnings"]
        self.voices = {
            file.stem: (file, f"{done.key} {file.stem}")
            for file in sorted(done.folder.glob("singer*.wav"))
        }
        for name, (file, key) in self.voices.items():
            self.tracks[name], self.keys[name] = file, key

    def _transcribe(self):
        model = self.chain._model("transcriber")
        for part, (name, (path, key)) in enumerate(self.voices.items()):

            def make(folder, path=path, part=part):
                from speechbrain_ext.f0 import write_f0
                from speechbrain_ext.inference.levels import with_velocities

                hears = self.chain.transcriber
                clock = self._clock("transcribe", part, len(self.voices))
                if hears.sees:
                    posteriors, levels = hears.analyse_media(
                        path, "audio", None, clock
                    )
                    decoder = hears.decoder_of("audio")
                else:
                    posteriors, levels = hears.analyse_file(path, clock)
                    decoder = hears.decoder
                notes = with_velocities(decoder(posteriors), levels)
                write_notes(notes, folder / "notes.json")
                if hears.has_f0:
                    write_f0(hears.f0(posteriors), folder / "f0.csv")

            done = self._run("transcribe", {"model": model}, [key], make)
            notes = read_notes(done.folder / "notes.json")
            self.result.melodies[name] = notes
            if (done.folder / "f0.csv").exists():
                self.f0[name] = done.folder / "f0.csv"

    def _align(self):
        path = self.tracks.get("vocals", self.song)
        key = self.keys.get("vocals", self.song_hash)

        def make(folder):
            from speechbrain_ext.inference.aligner import doubt

            aligner = self.chain.aligner
            heard = aligner.hear_file(path)
            given = (
                self.lines,
                aligner.lexicon,
                SLACK_S,
                self.settings.repeats,
            )
            timed = align(heard, *given)
            write_timed(timed, folder / "words.json")
            told = doubt(heard, timed, *given)
            _dump(folder / "told.json", {"warnings": [told] if told else []})

        settings = {
            "model": self.chain._aligner_model(),
            "language": self.settings.language,
            "repeats": self.settings.repeats,
        }
        done = self._run("align", settings, [key, self.lyrics_hash], make)
        self.result.lyrics = read_timed(done.folder / "words.json")
        self.result.warnings += [
            f"lyrics: {line}"
            for line in _load(done.folder / "told.json")["warnings"]
        ]

    def _rhythm(self):
        from speechbrain_ext.rhythm import (
            SAMPLE_RATE,
            estimate_key,
            estimate_rhythm,
        )

        def make(folder):
            wav = audio.read_audio(self.song, sample_rate=SAMPLE_RATE)
            found = estimate_rhythm(
                wav,
                SAMPLE_RATE,
                self.settings.tempo,
                self.settings.beats_per_bar,
            )
            self._tell("rhythm", 0.6)
            key = estimate_key(wav, SAMPLE_RATE)
            _dump(
                folder / "rhythm.json",
                {
                    "beats": list(found.beats) if found else [],
                    "downbeat": found.downbeat if found else 0,
                    "key": list(key) if key else None,
                },
            )

        settings = {
            "tempo": self.settings.tempo,
            "bar": self.settings.beats_per_bar,
        }
        done = self._run("rhythm", settings, [self.song_hash], make)
        told = _load(done.folder / "rhythm.json")
        if told["key"]:
            self.result.key = Key(*told["key"])
        if told["beats"]:
            self.result.rhythm = Rhythm(
                tuple(told["beats"]),
                told["downbeat"],
                self.settings.beats_per_bar,
            )
        else:
            self.result.missing["beats"] = "no beat was found"

    def _attach(self) -> dict[str, Attached]:
        """Notes of each voice with the syllables."""
        parts = syllables(self.result.lyrics)
        attached = {
            name: attach(notes, parts)
            for name, notes in self.result.melodies.items()
        }
        for name, found in attached.items():
            self.result.melodies[name] = found.notes
            if found.lost:
                self.result.warnings.append(
                    f"{name}: {len(found.lost)} of {len(parts)} syllables are "
                    "sung where no note was found"
                )
        return attached

    def _listen(self):
        """Sounds and the picture of the report."""
        from speechbrain_ext.report.page import compressed, pitch_picture

        tracks = {"mix": self.song, **self.tracks}
        keys = {"mix": self.song_hash, **self.keys}
        self.sounds, self.pictures = {}, {}
        for part, (name, path) in enumerate(tracks.items()):

            def make(folder, path=path):
                compressed(path, folder / "sound.mp3", REPORT_RATE)
                _dump(folder / "picture.json", pitch_picture(path))

            settings = {"track": name, "rate": REPORT_RATE}
            done = self._run("listen", settings, [keys[name]], make)
            self.sounds[name] = done.folder / "sound.mp3"
            self.pictures[name] = done.folder / "picture.json"
            self._tell("listen", (part + 1) / len(tracks))

    # --- files -------------------------------------------------------------

    def _publish(self, attached):
        result = self.result
        for name, path in self.tracks.items():
            self._copy(path, f"{name}.wav")
        for name, notes in result.melodies.items():
            self._scores(name, notes)
        if len(result.lyrics):
            self._write(
                "song.lrc",
                lambda path: write_timed(result.lyrics, path, True),
            )
        if result.melodies:
            self._write(
                "song.txt", lambda path: self._ultrastar(path, attached)
            )
        self._write("song.jams", self._jams)
        if self.settings.report and "listen" in result.stages:
            self._write("report.html", self._report)
        self._write_index(done=True)
        result.files.append(INDEX)

    def _names(self):
        """Title and artist."""
        artist, dash, title = self.song.stem.partition(" - ")
        if not dash:
            artist, title = "", self.song.stem
        given = self.settings
        return (
            title.strip() if given.title is None else given.title,
            artist.strip() if given.artist is None else given.artist,
        )

    def _scores(self, name, notes):
        rhythm, key = self.result.rhythm, self.result.key
        tempo = {"tempo": rhythm.tempo} if rhythm else {}
        self._write(
            f"{name}.mid",
            lambda path: write_notes(notes, path, overwrite=True, **tempo),
        )
        self._write(
            f"{name}.csv",
            lambda path: write_notes(notes, path, overwrite=True),
        )
        options = {"title": self._names()[0]}
        if key is not None:
            options["key"] = key.name
        if rhythm is not None:
            notes = rhythm.quantized(notes, DIVISION)
            options |= {
                "tempo": rhythm.score_tempo,
                "grid": DIVISION // 4,
                "first_beat_s": rhythm.bar_s,
                "beats_per_bar": rhythm.beats_per_bar,
            }
        self._write(
            f"{name}.musicxml",
            lambda path: write_notes(notes, path, overwrite=True, **options),
        )

    def _ultrastar(self, path, attached):
        from speechbrain_ext.ultrastar import LEAST_BPM, write_ultrastar

        title, artist = self._names()
        headers = {}
        if "accompaniment" in self.tracks:
            headers = {
                "VOCALS": "vocals.wav",
                "INSTRUMENTAL": "accompaniment.wav",
            }
        rhythm = self.result.rhythm
        write_ultrastar(
            self.result.melodies,
            path,
            title,
            artist,
            self.song.name,
            rhythm.tempo if rhythm else LEAST_BPM,
            {name: found.lines for name, found in attached.items()},
            headers,
            overwrite=True,
        )

    def _jams(self, path):
        result = self.result
        rows: dict[str, list] = {}
        if len(result.lyrics):
            rows["lyrics"] = [
                (w.onset, w.offset, w.word, w.confidence) for w in result.lyrics
            ]
        if result.rhythm is not None:
            rhythm = result.rhythm
            rows["beat"] = [
                (beat, beat, float(place), None)
                for beat, place in zip(
                    rhythm.beats, rhythm.bar_places(), strict=True
                )
            ]
            rows["tempo"] = [
                (0.0, result.seconds, rhythm.tempo, rhythm.steadiness)
            ]
        if result.key is not None:
            value = f"{result.key.tonic}:{result.key.mode}"
            rows["key_mode"] = [(0.0, result.seconds, value, None)]
        title, artist = self._names()
        write_song_jams(
            result.melodies, path, result.seconds, rows, title, artist, True
        )

    def _report(self, path):
        from speechbrain_ext.f0 import read_f0
        from speechbrain_ext.report.page import Melody, Page, write_page

        result = self.result
        title, artist = self._names()
        told = [f"{what}: {why}" for what, why in result.missing.items()]
        melodies = []
        for name, notes in result.melodies.items():
            melodies.append(
                Melody(
                    name,
                    notes,
                    read_f0(self.f0[name]) if name in self.f0 else None,
                    self.reference if not melodies else None,
                )
            )
        picture = "vocals" if "vocals" in self.pictures else "mix"
        page = Page(
            f"{artist} - {title}" if artist else title,
            result.seconds,
            tuple(melodies),
            tracks={
                name: file.read_bytes() for name, file in self.sounds.items()
            },
            words=result.lyrics,
            rhythm=result.rhythm,
            picture=_load(self.pictures[picture]),
            facts=self._facts(),
            warnings=tuple(told + result.warnings),
        )
        write_page(page, path, overwrite=True)

    def _facts(self):
        result, facts = self.result, {}
        if result.rhythm is not None:
            facts["tempo"] = f"{result.rhythm.tempo:.1f} beats per minute"
        if result.key is not None:
            facts["key"] = result.key.name
        return facts

    def _write_index(self, done=False):
        told = self.result.as_json()
        del told["folder"]
        told["song"] = self.song.name
        old = {
            name: known
            for name, known in self.known.items()
            if (self.folder / name).exists()
        }
        told["files"] = old | self.hashes
        if not done:
            # One of them may still be as it was.
            told["replaced"] = {
                name: known
                for name, known in old.items()
                if known != told["files"][name]
            }
        with atomic_path(self.folder / INDEX, True) as temporary:
            _dump(temporary, told)


def _dump(path, data):
    path.write_text(
        json.dumps(data, indent=1, ensure_ascii=False) + "\n", "utf-8"
    )


def _load(path) -> Mapping:
    return json.loads(path.read_text("utf-8"))
