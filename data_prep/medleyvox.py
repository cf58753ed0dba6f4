"""MedleyVox: 380 excerpts of two to six voices that sing together; a test set.

Licence: MedleyDB, whose recordings these are, is CC BY-NC-SA 4.0.

Citation: C.-B. Jeon, H. Moon, K. Choi, B. S. Chon and K. Lee, "MedleyVox: An
Evaluation Dataset for Multiple Singing Voices Separation", ICASSP 2023,
arXiv 2211.07302; R. Bittner et al., "MedleyDB: A Multitrack Dataset for
Annotation-Intensive MIR Research", ISMIR 2014.

Two layouts are prepared. From MedleyDB itself, the test set is built:

    <anywhere>/<Song>_RAW/<Song>_RAW_<ii>_<jj>.wav    the raw stems, 44.1 kHz
    config=FOLDER    with a JSON per song, {seg_<k>: {song_name, type,
                     num_of_singers, num_of_voices, start_sec, end_sec,
                     main_vocal, other_vocals, gain_adjustment: {stem: dB}}},
                     as in `testset/testset_config` of the authors' code

A test set that has been built before, here or by the authors' script:

    <task>/<Song>/seg_<k>/gt/<stem> - seg_<k>.wav     the voices
    <task>/<Song>/seg_<k>/mix/<Song> - seg_<k>.wav    their sum
    config/<Song>.json    as above (or config=FOLDER); needed for main_vs_rest

The tasks are `unison` (two voices, one melody), `duet` (two voices, two
melodies) and `main_vs_rest` (a main voice and several others); the folder of
the last may be called `rest`, as the authors' loader does. All three together
are what they call n_singing: there the wanted sources are the main voice and
the sum of all others (`task_rows`).

What differs from the authors' script: gains are exact (theirs are lower by
1e-5), and so are sums, because voices are rounded to a grid first and written
as floats or 24 bits, while theirs are cut off at full scale of 16 bits.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil, isfinite, log2
from pathlib import Path

import numpy as np

from data_prep.corpus import (
    SYNTHETIC_MARKER,
    Corpus,
    Made,
    Song,
    check_folder,
    natural_key,
    prepare_songs,
    read_annotations,
    subfolders,
    walk_audio,
)
from data_prep.manifest import VOICES, Summary
from speechbrain_ext.audio import (
    AudioWriter,
    audio_info,
    read_audio,
)
from speechbrain_ext.errors import AudioError, ConfigError, ManifestError

CORPUS = Corpus(
    name="medleyvox",
    license="CC BY-NC-SA 4.0",
    terms="free for non-commercial use with attribution, changes under the "
    "same licence",
    citation="Jeon et al., MedleyVox: An Evaluation Dataset for Multiple "
    "Singing Voices Separation, ICASSP 2023; Bittner et al., MedleyDB, ISMIR "
    "2014",
    url="https://github.com/jeonchangbin49/MedleyVox",
)

# Segments of each task, counted in the authors' configuration.
TASKS = {"unison": 201, "duet": 116, "main_vs_rest": 63}
N_SINGING = "n_singing"
_FOLDERS = {**{task: task for task in TASKS}, "rest": "main_vs_rest"}

# The songs of MedleyDB that the test set is cut from: the names of the
# authors' configuration files.
TEST_SONGS = frozenset(
    (
        "CassandraJenkins_PerfectDay",
        "CatMartino_IPromise",
        "Cayetana_MissThing",
        "CelestialShore_DieForUs",
        "ClaraBerryAndWooldog_Boys",
        "FacesOnFilm_WaitingForGa",
        "FamilyBand_Again",
        "FilthyBird_IdLikeToKnow",
        "HeladoNegro_MitadDelMundo",
        "LewisAndClarke_TheSilverSea",
        "LizNelson_ImComingHome",
        "LizNelson_Rainfall",
        "Meaxic_TakeAStep",
        "MidnightBlue_HuntingSeason",
        "MutualBenefit_NotForNothing",
        "NightPanther_Fire",
        "PatternIsMovement_SaveMe",
        "PeterMatthewBauer_YouAlwaysLookForSomeoneLost",
        "PurlingHiss_Lolita",
        "TheTonTons_Lush",
        "TleilaxEnsemble_Late",
        "TleilaxEnsemble_MelancholyFlowers",
        "Torres_NewSkin",
    )
)

SUBTYPES = {"float": "FLOAT", "pcm_24": "PCM_24"}
ARTIST = "artist - "

# A stem may end this early, seconds; the rest is silence.
END_TOLERANCE_S = 0.05

# Above this, relative to the mixture, its voices do not add up to it. Rounding
# to 16 bits leaves less than -60 dB of all but the softest segments.
SUM_TOLERANCE_DB = -50.0


# ------------------------------------------------------------- leak guard


def artist_key(name: str) -> str:
    """Bring the names of an artist in several data sets into one form.

    Arguments
    ---------
    name : str
        As MUSDB18 and MedleyDB write it.

    Returns
    -------
    str
        Its letters and digits, in lower case.

    Example
    -------
    >>> artist_key("Faces On Film"), artist_key("FacesOnFilm")
    ('facesonfilm', 'facesonfilm')
    >>> artist_key("Lewis & Clarke")
    'lewisandclarke'
    """
    return re.sub(r"[\W_]", "", name.replace("&", "and").casefold())


def artist_singer(name: str) -> str:
    """Name an artist in the column `singer`, alike in all data sets.

    Arguments
    ---------
    name : str

    Returns
    -------
    str

    Example
    -------
    >>> artist_singer("Faces On Film")
    'artist - facesonfilm'
    """
    return ARTIST + artist_key(name)


TEST_ARTISTS = frozenset(
    artist_key(song.split("_", 1)[0]) for song in TEST_SONGS
)


def is_test_artist(name: str) -> bool:
    """Tell whether an artist sings in MedleyVox's test set.

    Whoever trains on any song of such an artist tests on a known voice.
    *Waiting For Ga* of Faces On Film, a test song, is also in MUSDB18's
    training set; Clara Berry And Wooldog, Meaxic and others are there with
    further songs.

    Arguments
    ---------
    name : str
        As any data set writes it, or as the column `singer` does.

    Returns
    -------
    bool

    Example
    -------
    >>> is_test_artist("Faces On Film"), is_test_artist("artist - meaxic")
    (True, True)
    >>> is_test_artist("A Classic Education")
    False
    """
    return artist_key(name.removeprefix(ARTIST)) in TEST_ARTISTS


def check_leaks(rows: Iterable[dict]) -> None:
    """Refuse training and validation material of MedleyVox's artists.

    Arguments
    ---------
    rows : iterable of dict
        Of manifests. Only data sets whose singers are artists can leak.

    Raises
    ------
    ManifestError
        If a row for training or validation is sung by an artist of
        `TEST_ARTISTS`.

    Example
    -------
    >>> check_leaks([{"song_id": "a", "split": "train", "singer": "Meaxic"}])
    Traceback (most recent call last):
    speechbrain_ext.errors.ManifestError: a: is for train, but Meaxic sings \
in the test set of medleyvox: prepare the data set again
    """
    for row in rows:
        if row["split"] != "test" and is_test_artist(row["singer"]):
            raise ManifestError(
                f"{row['song_id']}: is for {row['split']}, but "
                f"{row['singer']} sings in the test set of {CORPUS.name}: "
                "prepare the data set again"
            )


# ------------------------------------------------------------ configuration


@dataclass(frozen=True)
class Segment:
    """One excerpt of the test set.

    Arguments
    ---------
    song : str
        Name of the song in MedleyDB.
    name : str
        `seg_<k>`.
    task : str
        Key of `TASKS`.
    n_singers : int
        How many different people sing.
    start, stop : float
        Seconds in the song.
    voices : tuple of str
        Names of the stems, the main voice first.
    gains_db : tuple of float
        Of each voice.
    source : Path
        The file that says so.
    """

    song: str
    name: str
    task: str
    n_singers: int
    start: float
    stop: float
    voices: tuple[str, ...]
    gains_db: tuple[float, ...]
    source: Path

    @property
    def song_id(self) -> str:
        """Name of the excerpt in the manifest."""
        return f"{self.song}_{self.name}"


def read_config(folder) -> list[Segment]:
    """Read the excerpts that the test set consists of.

    Arguments
    ---------
    folder : str or Path
        Holds a JSON per song, in folders of its own or not.

    Returns
    -------
    list of Segment
        In natural order.

    Raises
    ------
    ManifestError
        If there is no JSON, or one breaks the rules of this module's
        docstring.
    """
    folder = Path(str(folder))
    paths = sorted(folder.rglob("*.json"), key=lambda p: natural_key(p.name))
    paths = [path for path in paths if path.name != SYNTHETIC_MARKER]
    if not paths:
        raise ManifestError(
            f"{folder}: holds no <Song>.json: give the folder testset_config "
            f"of {CORPUS.url}"
        )
    found = {}
    for path in paths:
        for name, facts in read_annotations(path).items():
            segment = _segment(path, name, facts)
            other = found.setdefault(segment.song_id, segment)
            if other is not segment:
                raise ManifestError(
                    f"{path}: {segment.song_id} is also in {other.source}: "
                    "remove one"
                )
    return sorted(found.values(), key=lambda s: natural_key(s.song_id))


def _segment(path: Path, name: str, facts) -> Segment:
    """One excerpt, checked."""
    where = f"{path}: {name}"
    try:
        voices = (facts["main_vocal"], *facts["other_vocals"])
        gains = tuple(float(facts["gain_adjustment"][v]) for v in voices)
        segment = Segment(
            str(facts["song_name"]),
            name,
            facts["type"],
            int(facts["num_of_singers"]),
            float(facts["start_sec"]),
            float(facts["end_sec"]),
            voices,
            gains,
            path,
        )
        count = int(facts["num_of_voices"])
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise ManifestError(
            f"{where}: has no usable {error}: get the file again"
        ) from None
    if segment.task not in TASKS:
        raise ManifestError(
            f"{where}: type {segment.task!r} is none of {', '.join(TASKS)}"
        )
    if not (0 <= segment.start < segment.stop and isfinite(segment.stop)):
        raise ManifestError(
            f"{where}: runs from {segment.start:g} s to {segment.stop:g} s"
        )
    if not all(map(isfinite, gains)):
        raise ManifestError(f"{where}: has a gain that is not finite")
    least = 3 if segment.task == "main_vs_rest" else 2
    if not (count == len(set(voices)) == len(voices) >= least):
        raise ManifestError(
            f"{where}: says {count} voices and names {len(set(voices))}; "
            f"{segment.task} takes {least} or more"
        )
    _check_voices(len(voices), where)
    if not 1 <= segment.n_singers <= count:
        raise ManifestError(
            f"{where}: {count} voices of {segment.n_singers} singers"
        )
    return segment


def _check_voices(count: int, where) -> None:
    """Refuse more voices than a manifest has columns for."""
    if not 2 <= count <= len(VOICES):
        raise ManifestError(
            f"{where}: has {count} voices, and not 2 to {len(VOICES)}"
        )


# ----------------------------------------------------------------- mixtures


def exact_sum(voices) -> tuple[np.ndarray, np.ndarray]:
    """Round voices so that they add up to their mixture exactly.

    They are rounded to multiples of 2**-23, which is what 24 bits hold, or to
    a coarser grid if they are louder: to whole steps of which a float32 holds
    every sum of any of the voices.

    Arguments
    ---------
    voices : np.ndarray (voices, samples)
        Full scale = 1.

    Returns
    -------
    np.ndarray (voices, samples), float32
        The voices; no sample moves by more than half a step.
    np.ndarray (samples,), float32
        Their sum, without any rounding, in whatever order they are added.

    Example
    -------
    >>> voices, mix = exact_sum(np.full((3, 2), 0.1))
    >>> bool(np.all(voices[0] + voices[1] + voices[2] == mix))
    True
    """
    voices = np.asarray(voices, dtype=np.float64)
    peak = float(np.abs(voices).sum(axis=0).max(initial=0.0))
    step = 2.0 ** (max(0, ceil(log2(peak)) if peak > 0 else 0) - 23)
    voices = np.rint(voices / step) * step
    return voices.astype(np.float32), voices.sum(axis=0).astype(np.float32)


def write_segment(folder: Path, segment: Segment, voices, rate, subtype):
    """Write the voices of an excerpt and their sum.

    Arguments
    ---------
    folder : Path
        Gets `gt` and `mix`, in the names of this module's docstring.
    segment : Segment
    voices : np.ndarray (voices, samples)
        In the order of `segment.voices`.
    rate : int
        Hertz.
    subtype : {"float", "pcm_24"}
        How samples are written. What goes beyond full scale is written as
        floats all the same.

    Returns
    -------
    dict of str to Path
        Media of the manifest by column.
    bool
        Whether all was written as asked.
    """
    voices, mix = exact_sum(voices)
    loud = max(float(np.abs(wav).max()) for wav in (mix, *voices))
    fits = subtype == "float" or loud <= 1 - 2**-23
    media = {
        column: folder / "gt" / f"{name} - {segment.name}.wav"
        for column, name in zip(VOICES, segment.voices, strict=False)
    }
    media["mix_wav"] = folder / "mix" / f"{segment.song} - {segment.name}.wav"
    for path, wav in zip(media.values(), (*voices, mix), strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        kind = SUBTYPES[subtype] if fits else "FLOAT"
        with AudioWriter(path, rate, 1, kind) as writer:
            writer.write(wav[:, None])
    return media, fits


def task_rows(rows: Sequence[dict], task: str) -> list[dict]:
    """Choose the rows of one task.

    Arguments
    ---------
    rows : sequence of dict
        Of the test set's manifest.
    task : str
        Key of `TASKS`, or `n_singing`: all rows, for systems that part the
        main voice from the sum of all others.

    Returns
    -------
    list of dict

    Raises
    ------
    ConfigError
        If the task is unknown.

    Example
    -------
    >>> rows = [{"task": "duet"}, {"task": "unison"}]
    >>> task_rows(rows, "duet"), len(task_rows(rows, "n_singing"))
    ([{'task': 'duet'}], 2)
    """
    if task not in (*TASKS, N_SINGING):
        raise ConfigError(
            f"task is {task!r}: use one of {', '.join((*TASKS, N_SINGING))}"
        )
    return [row for row in rows if task in (N_SINGING, row["task"])]


# -------------------------------------------------------------- preparation


def prepare_medleyvox(
    data_folder,
    output_folder,
    config=None,
    subtype: str = "float",
    segment_s: float = 5.0,
    n_jobs: int = 1,
    overwrite: bool = False,
) -> Summary:
    """Build the test set if it is not there, and write its manifest.

    Rows have the labels `task`, `n_singers` and `song`; `wav` is the first
    voice, in main_vs_rest the main one, `voice2_wav` ... are the others, and
    `mix_wav` is their sum.

    Arguments
    ---------
    data_folder : str or Path
        MedleyDB, or the test set, in a layout of this module's docstring.
    output_folder : str or Path
        Gets `test.csv` and, from MedleyDB, the audio.
    config : str or Path, optional
        Folder of the segments' JSON files; needed with MedleyDB. Default:
        `config` in a test set that was built before.
    subtype : {"float", "pcm_24"}
        How audio is written that has to be made. Default: float. In 24 bits,
        segments that go beyond full scale are written as floats all the same.
    segment_s : float
        Length of the manifest's rows in seconds; excerpts are scored whole.
    n_jobs : int
        Excerpts made or checked at a time.
    overwrite : bool
        Whether another preparation may be replaced.

    Returns
    -------
    Summary
        Its remarks tell where the numbers of excerpts differ from the
        published ones, and which mixtures are not the sum of their voices.

    Raises
    ------
    ConfigError
        If `subtype` is unknown.
    ManifestError
        If the folder has none of the layouts, the configuration is missing or
        wrong, or stems are missing.
    AudioError
        If a stem is not readable or ends too early, or voices and mixture
        differ in rate or length.
    OutputError
        As `corpus.prepare_songs`.
    """
    folder = check_folder(data_folder, CORPUS)
    if subtype not in SUBTYPES:
        raise ConfigError(
            f"subtype is {subtype!r}: use one of {', '.join(SUBTYPES)}"
        )
    built = [
        (task, place)
        for name, task in _FOLDERS.items()
        for place in subfolders(folder / name)
    ]
    options = {}
    if built:
        songs, remarks = _list_built(folder, built, config)
    else:
        songs, remarks = _list_stems(folder, config, subtype)
        options = {"subtype": subtype}
    counts = Counter(song.labels["task"] for song in songs)
    if not (folder / SYNTHETIC_MARKER).is_file():
        remarks += [
            f"{task} has {counts[task]} of {total} segments"
            for task, total in TASKS.items()
            if counts[task] != total
        ]
    return prepare_songs(
        CORPUS,
        songs,
        folder,
        output_folder,
        segment_s,
        options,
        remarks,
        n_jobs=n_jobs,
        overwrite=overwrite,
    )


def download_medleyvox(data_folder) -> None:
    """Say how to get the test set.

    Arguments
    ---------
    data_folder : str or Path
        Where it is to be put.

    Raises
    ------
    ManifestError
        Always: with the addresses.
    """
    raise ManifestError(
        f"{CORPUS.name} has to be fetched by hand: get MedleyDB "
        f"(https://medleydb.weebly.com) into {data_folder}, and the folder "
        f"testset/testset_config from {CORPUS.url} for the option config"
    )


def _labels(segment: Segment) -> dict:
    """Labels of an excerpt in the manifest."""
    return {
        "dataset": CORPUS.name,
        "kind": "singing",
        "song": segment.song,
        "task": segment.task,
        "n_singers": segment.n_singers,
    }


def _singer(song: str) -> str:
    return artist_singer(song.split("_", 1)[0])


def _list_stems(folder: Path, config, subtype: str):
    """Excerpts that are to be cut from MedleyDB, and remarks."""
    if config is None:
        raise ManifestError(
            f"{folder}: holds none of {', '.join(TASKS)}: to build the test "
            "set from MedleyDB, say where the segments are listed with config"
        )
    segments = read_config(config)
    stems = {path.stem: path for path in walk_audio(folder)}
    missing = defaultdict(list)
    for segment in segments:
        for voice in segment.voices:
            if voice not in stems:
                missing[segment.song].append(voice)
    if missing:
        song, voices = next(iter(missing.items()))
        raise ManifestError(
            f"{folder}: {len(missing)} of {len({s.song for s in segments})} "
            f"songs lack stems, the first of them {voices[0]}: get {song} of "
            "MedleyDB"
        )
    songs = []
    for segment in segments:
        files = [stems[voice] for voice in segment.voices]
        songs.append(
            Song(
                segment.song_id,
                files[0],
                None,
                "test",
                segment.source,
                _singer(segment.song),
                # Of the size of these the checksum knows, too.
                dict(zip(VOICES[1:], files[1:], strict=False)),
                partial(_build, segment, files, subtype),
                _labels(segment),
            )
        )
    return songs, []


def _build(segment: Segment, files: Sequence[Path], subtype: str, folder: Path):
    """Cut the voices of an excerpt, set their levels, and add them up."""
    rates = {path: audio_info(path).sample_rate for path in files}
    rate = rates[files[0]]
    if len(set(rates.values())) > 1:
        other = next(p for p in files if rates[p] != rate)
        raise AudioError(
            f"{other}: has {rates[other]} Hz, but {files[0].name} {rate} Hz: "
            "get an original copy"
        )
    wavs = [
        read_audio(path, segment.start, segment.stop, None) for path in files
    ]
    length = max(map(len, wavs))
    seconds = segment.stop - segment.start
    for path, wav in zip(files, wavs, strict=True):
        if len(wav) / rate < seconds - END_TOLERANCE_S:
            raise AudioError(
                f"{path}: ends at {segment.start + len(wav) / rate:.3f} s, but "
                f"{segment.song_id} runs to {segment.stop:g} s: copy it again"
            )
    voices = np.zeros((len(wavs), length))
    for voice, wav, gain_db in zip(voices, wavs, segment.gains_db, strict=True):
        voice[: len(wav)] = wav * 10.0 ** (gain_db / 20)
    media, fits = write_segment(folder, segment, voices, rate, subtype)
    remark = "" if fits else "segments beyond full scale, written as floats"
    return Made(media, length / rate, remark)


def _list_built(folder: Path, places, config):
    """Excerpts of a test set that is there, and remarks."""
    if config is None and (folder / "config").is_dir():
        config = folder / "config"
    known = {}
    if config is not None:
        known = {segment.song_id: segment for segment in read_config(config)}
    songs, seen = [], set()
    for task, song in places:
        for place in subfolders(song):
            name = f"{song.name}_{place.name}"
            seen.add(name)
            songs.append(_built(task, song.name, place, known.get(name)))
    lost = [name for name in known if name not in seen]
    remarks = []
    if lost:
        remarks.append(
            f"{len(lost)} of {len(known)} segments of the configuration have "
            f"no audio: {', '.join(lost)}"
        )
    return songs, remarks


def _built(task: str, song: str, place: Path, segment: Segment | None) -> Song:
    """One excerpt that is there."""
    files = {}
    for part in ("gt", "mix"):
        files[part] = walk_audio(place / part)
    if len(files["mix"]) != 1:
        raise ManifestError(
            f"{place / 'mix'}: holds {len(files['mix'])} recordings, not 1"
        )
    voices = {
        path.stem.removesuffix(f" - {place.name}"): path for path in files["gt"]
    }
    _check_voices(len(voices), place / "gt")
    if segment is not None:
        if set(segment.voices) != set(voices) or segment.task != task:
            raise ManifestError(
                f"{place}: is {task} of {', '.join(sorted(voices))}, but "
                f"{segment.source} says {segment.task} of "
                f"{', '.join(sorted(segment.voices))}"
            )
        voices = {name: voices[name] for name in segment.voices}
    elif task == "main_vs_rest":
        raise ManifestError(
            f"{place}: nothing tells which voice is the main one: give the "
            "folder of the segments' JSON files with config"
        )
    first, *others = voices.values()
    mix = files["mix"][0]
    labels = {
        "dataset": CORPUS.name,
        "kind": "singing",
        "song": song,
        "task": task,
    }
    return Song(
        f"{song}_{place.name}",
        first,
        None,
        "test",
        segment.source if segment else place,
        _singer(song),
        {
            "mix_wav": mix,
            **dict(zip(VOICES[1:], others, strict=False)),
        },
        partial(_check_sum, mix, list(voices.values())),
        _labels(segment) if segment else labels,
    )


def _check_sum(mix: Path, voices: Sequence[Path], _) -> Made:
    """Hold a mixture against the sum of its voices."""
    info = audio_info(mix)
    wanted = read_audio(mix, sample_rate=None)
    total = np.zeros(len(wanted))
    for path in voices:
        wav = read_audio(path, sample_rate=None)
        rate = audio_info(path).sample_rate
        if (rate, len(wav)) != (info.sample_rate, len(wanted)):
            raise AudioError(
                f"{path}: has {len(wav)} samples at {rate} Hz, but {mix.name} "
                f"{len(wanted)} at {info.sample_rate} Hz: build the segment "
                "again"
            )
        total += wav
    rest = float(np.sum((total - wanted) ** 2))
    power = float(np.sum(np.square(wanted, dtype=np.float64)))
    far = rest > power * 10 ** (SUM_TOLERANCE_DB / 10)
    remark = "mixtures that are not the sum of their voices" if far else ""
    return Made({}, len(wanted) / info.sample_rate, remark)
