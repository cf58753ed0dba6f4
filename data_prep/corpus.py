"""From a corpus on disk to manifests: what all corpora share.

A corpus module lists its songs (`Song`) and hands them to `prepare_songs`,
which checks every song, writes its notes and the manifests, and remembers
what it did:

    <output>/train.csv, valid.csv, test.csv    a manifest per split
    <output>/notes/<song>.csv                  onset_s, offset_s, midi; only
                                               of songs annotated with notes
    <output>/audio/<song>/*                    audio that had to be made
    <output>/prepared.json                     the done-marker

All is written into a hidden folder inside the output folder first and moved
into place when every song has passed, the done-marker last.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

from data_prep.manifest import (
    DATA_ROOT,
    MANIFEST_ROOT,
    SPLITS,
    SplitSummary,
    Summary,
    check_segment_s,
    segments,
    summarize,
    write_manifest,
)
from speechbrain_ext.audio import audio_info, split_channel
from speechbrain_ext.errors import (
    AudioError,
    ManifestError,
    NoteError,
    OutputError,
    SingBrainError,
)
from speechbrain_ext.files import atomic_folder
from speechbrain_ext.formats import write_notes
from speechbrain_ext.notes import OVERLAP_TOLERANCE_S, Note, NoteSequence

MARKER = "prepared.json"

# In the folder of a song whose audio is kept: what it was made from.
KEPT_MARKER = "made.json"

# Raised when what a preparation writes changes, so that older results are
# not taken for finished.
VERSION = 1

# MiniSinging leaves this in every folder that it writes: such a folder has the
# layout of a real corpus, but not its licence.
SYNTHETIC_MARKER = "minisinging.json"

# In order of preference where a song is there twice.
SUFFIXES = (".wav", ".flac", ".mp3", ".m4a", ".ogg", ".opus", ".webm")

# An annotation may outlast the audio by this, seconds: less than half a frame.
END_TOLERANCE_S = 0.01


@dataclass(frozen=True)
class Corpus:
    """What there is to know about a corpus.

    Arguments
    ---------
    name : str
        Short name, as in `singbrain prepare NAME`.
    license : str
        Short name of the licence, for the manifest.
    terms : str
        What the licence means for the user, one line.
    citation : str
        What to cite, one line.
    url : str
        Where it is described or can be had.
    """

    name: str
    license: str
    terms: str
    citation: str
    url: str


class Made(NamedTuple):
    """Media that were made from a song's files.

    Arguments
    ---------
    media : dict of str to Path
        By column of the manifest; they take the place of the song's own.
    duration : float
        Seconds.
    remark : str
        What looked odd, the same words for every song; empty if nothing did.
    part : str
        Where a song becomes several: follows its ID, as `_3`.
    """

    media: dict
    duration: float
    remark: str = ""
    part: str = ""


@dataclass(frozen=True)
class Song:
    """One song as a corpus lists it; nothing is checked yet.

    Arguments
    ---------
    song_id : str
        Unique in the corpus.
    wav : Path
        The voice. Like all audio here, it may be one channel of a file:
        `<file>#<k>`, see `speechbrain_ext.audio.split_channel`.
    notes : sequence of (onset, offset, midi), or None
        Seconds, seconds, MIDI number, as annotated; None if the corpus does
        not annotate notes.
    split : str
        train, valid or test.
    source : Path
        The annotation file, for messages.
    singer : str
        Empty if unknown.
    media : dict of str to Path
        Further media of the manifest, by column.
    make : callable, optional
        `make(folder) -> Made` checks the media and writes others, into a
        folder of the result, which it has to make, or to a place of its own,
        by full path; called in a process of its own. Of a song without notes
        it may give a list: one for each song that it becomes, or none.
    labels : dict of str to str or int
        Labels of the manifest (`manifest.LABELS`), by column.
    license : str
        Short name of the licence; that of the corpus by default.
    """

    song_id: str
    wav: Path
    notes: Sequence | None
    split: str
    source: Path
    singer: str = ""
    media: dict = field(default_factory=dict)
    make: Callable | None = None
    labels: dict = field(default_factory=dict)
    license: str = ""


def natural_key(text: str) -> tuple:
    """Give a key that sorts numbers in names by their value.

    Arguments
    ---------
    text : str

    Returns
    -------
    tuple

    Example
    -------
    >>> sorted(["10", "9b", "9a"], key=natural_key)
    ['9a', '9b', '10']
    """
    parts = re.split(r"([0-9]+)", text)
    return [int(p) if i % 2 else p for i, p in enumerate(parts)], text


def held_out(song_ids: Iterable[str], share: float = 0.1) -> set[str]:
    """Choose songs for validation, the same ones on every machine.

    Songs are ranked by the SHA-256 of their ID, and the first of them are
    taken, at least one. A single song is not held out.

    Arguments
    ---------
    song_ids : iterable of str
        Training songs.
    share : float
        Share of the songs to take (default a tenth).

    Returns
    -------
    set of str

    Example
    -------
    >>> len(held_out(map(str, range(40)))), len(held_out("ab")), held_out("a")
    (4, 1, set())
    """

    def rank(song_id):
        # Names that are no file names are refused later.
        name = song_id.encode(errors="surrogateescape")
        return hashlib.sha256(name).digest()

    ranked = sorted(song_ids, key=rank)
    if len(ranked) < 2:
        return set()
    return set(ranked[: max(1, round(share * len(ranked)))])


def check_folder(folder, corpus: Corpus) -> Path:
    """Refuse a corpus folder that is not there.

    Arguments
    ---------
    folder : str or Path
    corpus : Corpus

    Returns
    -------
    Path

    Raises
    ------
    ManifestError
        If it is no folder.
    """
    folder = Path(folder)
    if not os.path.isdir(folder):
        raise ManifestError(
            f"{folder}: no such folder: give the folder of {corpus.name} "
            f"(see {corpus.url})"
        )
    return folder


def find_file(folders: Iterable[Path], names: Iterable[str]) -> Path | None:
    """Find the first of several files, upper and lower case alike.

    Arguments
    ---------
    folders : iterable of Path
        Where to look, in this order; those that do not exist are skipped.
    names : iterable of str
        File names, in order of preference.

    Returns
    -------
    Path or None
    """
    names = [name.lower() for name in names]
    for folder in folders:
        files = {p.name.lower(): p for p in entries(folder, Path.is_file)}
        for name in names:
            if name in files:
                return files[name]
    return None


def find_audio(folder: Path, *stems: str) -> Path | None:
    """Find a song's audio under one of several names, in any format.

    Arguments
    ---------
    folder : Path
    *stems : str
        Names without suffix, in order of preference.

    Returns
    -------
    Path or None
    """
    names = [f"{stem}{suffix}" for stem in stems for suffix in SUFFIXES]
    return find_file([folder], names)


def subfolders(folder: Path) -> list[Path]:
    """Visible folders in a folder, in natural order.

    Arguments
    ---------
    folder : Path

    Returns
    -------
    list of Path
        Empty if the folder does not exist.

    Raises
    ------
    ManifestError
        As `entries`.
    """
    return sorted(
        (p for p in entries(folder, Path.is_dir) if p.name[0] != "."),
        key=lambda p: natural_key(p.name),
    )


def entries(folder: Path, wanted: Callable[[Path], bool]) -> list[Path]:
    """List things of one kind in a folder.

    Arguments
    ---------
    folder : Path
    wanted : callable
        Whether to list a path, as `Path.is_file`.

    Returns
    -------
    list of Path
        Sorted; empty if the folder does not exist.

    Raises
    ------
    ManifestError
        If the folder or what is in it may not be looked at.
    """
    if not os.path.isdir(folder):
        return []
    try:
        return [path for path in sorted(folder.iterdir()) if wanted(path)]
    except OSError as error:
        raise ManifestError(
            f"{folder}: cannot be read ({error.strerror}): change its "
            "permissions"
        ) from None


def walk_audio(folder: Path) -> list[Path]:
    """List the recordings in a folder and in all folders below it.

    Arguments
    ---------
    folder : Path

    Returns
    -------
    list of Path
        Visible files with a suffix of `SUFFIXES`, in natural order of their
        paths. Of two that differ only in their suffix, the one that comes
        earlier in `SUFFIXES`. Empty if the folder does not exist.

    Raises
    ------
    ManifestError
        If a folder may not be looked at.
    """

    def fail(error):
        raise ManifestError(
            f"{error.filename}: cannot be read ({error.strerror}): change its "
            "permissions"
        ) from None

    found = {}
    if not os.path.isdir(folder):
        return []
    for place, folders, names in os.walk(folder, onerror=fail):
        folders[:] = [name for name in folders if name[0] != "."]
        for name in names:
            stem, suffix = os.path.splitext(name)
            if name[0] != "." and suffix.lower() in SUFFIXES:
                rank = SUFFIXES.index(suffix.lower()), name
                key = os.path.join(place, stem)
                found[key] = min(rank, found.get(key, rank))
    paths = [Path(key).with_name(name) for key, (_, name) in found.items()]
    return sorted(paths, key=lambda path: natural_key(path.as_posix()))


def read_annotations(path: Path) -> dict:
    """Read a JSON annotation of several songs.

    Arguments
    ---------
    path : Path
        A JSON object with a key per song.

    Returns
    -------
    dict

    Raises
    ------
    ManifestError
        If it cannot be read, is no such object or has no songs.
    """
    try:
        songs = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ManifestError(
            f"{path}: cannot be read: {error.strerror}"
        ) from None
    except ValueError as error:
        raise ManifestError(f"{path}: is no JSON: {error}") from None
    if not isinstance(songs, dict) or not songs:
        raise ManifestError(
            f"{path}: holds no songs: expected a JSON object with a key per "
            "song"
        )
    return songs


def read_rows(path: Path) -> list[list[float]]:
    """Read a text file of numbers, separated by commas, semicolons or blanks.

    Arguments
    ---------
    path : Path
        Empty lines and lines that start with `#` are skipped.

    Returns
    -------
    list of list of float

    Raises
    ------
    NoteError
        If a line holds anything but numbers; the message names the line.
    """
    rows = []
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise NoteError(f"{path}: cannot be read: {error}") from None
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        try:
            rows.append([float(x) for x in re.split(r"[,;\s]+", line) if x])
        except ValueError:
            raise NoteError(
                f"{path}, line {number}: {line!r} is not a row of numbers"
            ) from None
    return rows


def match_songs(
    annotated: Iterable[str], heard: Iterable[str], corpus: Corpus, layout: str
) -> tuple[list[str], list[str]]:
    """Keep the songs that have both audio and an annotation.

    Arguments
    ---------
    annotated, heard : iterable of str
        Song IDs with an annotation, and with audio.
    corpus : Corpus
    layout : str
        Where audio was looked for, for the message.

    Returns
    -------
    list of str
        The songs with both, in natural order.
    list of str
        Remarks that list the others.

    Raises
    ------
    ManifestError
        If no song has both.
    """
    annotated, heard = set(annotated), set(heard)
    both = sorted(annotated & heard, key=natural_key)
    if not both:
        raise ManifestError(
            f"{corpus.name}: none of {len(annotated)} annotated songs has "
            f"audio ({len(heard)} files found): expected {layout}"
        )
    remarks = []
    for what, songs, total in (
        ("annotated songs have no audio", annotated - heard, annotated),
        ("songs with audio have no annotation", heard - annotated, heard),
    ):
        if songs:
            names = ", ".join(sorted(songs, key=natural_key))
            remarks.append(
                f"{len(songs)} of {len(total)} {what} and are left out: {names}"
            )
    return both, remarks


def converted_songs(
    folder: Path, corpus: Corpus
) -> tuple[list[Song], list[str]] | None:
    """List a test corpus in the layout that transcription systems share.

    `wav16kHz/<song>/vocals.wav` and `Annotations.json`, an object of
    `[onset, offset, pitch]` lists by song.

    Arguments
    ---------
    folder : Path
    corpus : Corpus

    Returns
    -------
    (list of Song, list of str) or None
        Songs and remarks; None if the folder has another layout.
    """
    source = find_file([folder], ["Annotations.json"])
    if source is None:
        return None
    notes = read_annotations(source)
    audio = {
        song.name: find_audio(song, "vocals", "vocal")
        for song in subfolders(folder / "wav16kHz")
    }
    ids, remarks = match_songs(
        notes,
        (song for song, wav in audio.items() if wav),
        corpus,
        f"{folder}/wav16kHz/<song>/vocals.wav",
    )
    return [Song(i, audio[i], notes[i], "test", source) for i in ids], remarks


def prepare_songs(
    corpus: Corpus,
    songs: Sequence[Song],
    data_folder,
    output_folder,
    segment_s: float | None,
    options: dict,
    remarks: Sequence[str] = (),
    cut_overlaps: bool = False,
    n_jobs: int = 1,
    overwrite: bool = False,
    finish: Callable | None = None,
) -> Summary:
    """Check songs and write their notes and manifests.

    Arguments
    ---------
    corpus : Corpus
    songs : sequence of Song
        Sorted naturally here.
    data_folder : str or Path
        The folder that `{data_root}` stands for.
    output_folder : str or Path
        Made if it does not exist.
    segment_s : float or None
        Length of a segment in seconds, see `manifest.segments`.
    options : dict
        What else shaped `songs`, as JSON; another value asks for another
        preparation.
    remarks : sequence of str
        What listing the songs found.
    cut_overlaps : bool
        Whether overlapping notes are cut at the next onset and counted
        (`NoteSequence.truncating`) instead of refused.
    n_jobs : int
        Songs checked at a time, as in joblib.
    overwrite : bool
        Whether the result of another preparation may be replaced. That of the
        same one is taken as it is, whatever this says.
    finish : callable, optional
        `finish(folder) -> list of str` writes further tables beside the
        manifests, which are there already, and gives remarks.

    Returns
    -------
    Summary
        Its remarks have been printed to stderr.

    Raises
    ------
    AudioError
        If a song's audio is not readable or empty.
    NoteError
        If a song's annotation breaks the contract of `NoteSequence`.
    ManifestError
        If two songs have one ID, or nothing is left of all songs.
    OutputError
        If the output holds another preparation, or cannot be written.
    """
    check_segment_s(segment_s)
    data_folder, output = Path(data_folder), Path(output_folder)
    if (data_folder / SYNTHETIC_MARKER).is_file():
        corpus = replace(
            corpus,
            license="Apache-2.0",
            terms="MiniSinging, made by this project, in another's layout",
            citation="",
            url="",
        )
        songs = [replace(song, license="") for song in songs]
    songs = sorted(songs, key=lambda song: natural_key(song.song_id))
    _check_ids(songs, corpus)
    length = None if segment_s is None else float(segment_s)
    options = {"segment_s": length, "cut_overlaps": cut_overlaps} | options
    marker = {
        "version": VERSION,
        "corpus": corpus.name,
        "options": json.loads(json.dumps(options)),
        "checksum": _checksum(songs, data_folder),
    }
    old = _read_marker(output / MARKER)
    if old:
        reason = difference(old, marker) or _lost(old, output)
        if reason is None:
            return _finished(old, output)
        if not overwrite:
            raise OutputError(
                f"{output}: {reason}: choose another folder or allow "
                "overwriting"
            )

    created = not output.exists()
    staging = output / f".part-{uuid4().hex}"
    try:
        (staging / "notes").mkdir(parents=True)
    except OSError as error:
        raise OutputError(
            f"{output}: cannot write in this folder ({error.strerror}): "
            "choose another one"
        ) from None
    try:
        rows, found, outside = _work(
            corpus, songs, data_folder, staging, segment_s, cut_overlaps, n_jobs
        )
        for split in SPLITS:
            part = [row for row in rows if row["split"] == split]
            if part:
                write_manifest(part, staging / f"{split}.csv")
        summary = replace(
            summarize(*sorted(staging.glob("*.csv")), corpus=corpus.name),
            license=f"{corpus.license}: {corpus.terms}",
            citation=corpus.citation,
            url=corpus.url,
            remarks=(*remarks, *found),
        )
        if finish is not None:
            remarks = (*summary.remarks, *finish(staging))
            summary = replace(summary, remarks=remarks)
        marker["summary"] = {
            key: value
            for key, value in asdict(summary).items()
            if key not in ("manifests", "fresh")
        }
        files = sorted(p for p in staging.rglob("*") if p.is_file())
        marker["files"] = [p.relative_to(staging).as_posix() for p in files]
        marker["outside"] = outside
        (staging / MARKER).write_text(
            json.dumps(marker, indent=1), encoding="utf-8"
        )
        _move(staging, output, marker["files"], old, overwrite)
    except OSError as error:
        raise OutputError(
            f"{output}: writing failed ({error.strerror}): free some space or "
            "choose another folder"
        ) from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        if created:
            with suppress(OSError):  # not empty: all went well
                output.rmdir()
    for remark in summary.remarks:
        print(f"{corpus.name}: {remark}", file=sys.stderr)
    return replace(
        summary,
        manifests={name: output / f"{name}.csv" for name in summary.splits},
    )


def make_once(make: Callable, kept: Path, wanted: dict, _=None):
    """Make media of a song in a folder of their own, unless they are there.

    Arguments
    ---------
    make : callable
        As `Song.make`; its media are files in the folder that it gets, or
        elsewhere.
    kept : Path
        The folder; what is above it exists.
    wanted : dict
        What the media depend on, as JSON.

    Returns
    -------
    Made or list of Made

    Raises
    ------
    OutputError
        If the folder holds something else or cannot be written.
    SingBrainError
        As `make`.
    """
    marker = kept / KEPT_MARKER
    wanted = json.loads(json.dumps(wanted))
    try:
        found = json.loads(marker.read_text(encoding="utf-8"))
        made = [_kept(part, kept) for part in found.get("parts", [found])]
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        # What is no work of ours is refused here.
        with atomic_folder(kept) as folder:
            made = make(folder)
            single = isinstance(made, Made)
            facts = [_facts(m, folder) for m in ([made] if single else made)]
            text = wanted | (facts[0] if single else {"parts": facts})
            (folder / KEPT_MARKER).write_text(
                json.dumps(text, indent=1), encoding="utf-8"
            )
        made = [_kept(part, kept) for part in facts]
        return made[0] if single else made
    lost = [p for m in made for p in m.media.values() if not p.is_file()]
    if lost or any(found.get(key) != value for key, value in wanted.items()):
        reason = f"has lost {lost[0].name}" if lost else "was made otherwise"
        raise OutputError(
            f"{kept}: {reason}: remove it or choose another audio_folder"
        )
    return made if "parts" in found else made[0]


def _facts(made: Made, folder: Path) -> dict:
    """What `make_once` writes of one song."""
    media = {c: os.path.relpath(p, folder) for c, p in made.media.items()}
    return made._asdict() | {"media": media}


def _kept(facts: dict, folder: Path) -> Made:
    """The song that `_facts` described."""
    media = {column: folder / name for column, name in facts["media"].items()}
    part = facts.get("part", "")
    return Made(media, facts["duration"], facts["remark"], part)


def audio_folder_path(path) -> Path:
    """Make the folder that keeps audio for other preparations.

    Arguments
    ---------
    path : str or Path

    Returns
    -------
    Path
        Its full path.

    Raises
    ------
    OutputError
        If it cannot be made.
    """
    path = Path(str(path)).absolute()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be made ({error.strerror}): choose another "
            "audio_folder"
        ) from None
    return path


def _check_ids(songs: Sequence[Song], corpus: Corpus) -> None:
    """Refuse IDs that are no file names or occur twice."""
    if not songs:
        raise ManifestError(f"{corpus.name}: no songs found")
    for song_id, count in Counter(s.song_id for s in songs).items():
        if count > 1:
            places = [str(s.wav) for s in songs if s.song_id == song_id]
            raise ManifestError(
                f"{corpus.name}: song {song_id} is there twice: "
                f"{places[0]} and {places[1]}: remove one"
            )
        # A name in another encoding, too, has no place in a manifest.
        if song_id in ("", ".", "..") or re.search(
            r"[/\\\0\n\r\ud800-\udfff]", song_id
        ):
            raise ManifestError(
                f"{corpus.name}: {song_id!r} cannot name a song: it must be "
                "usable as a file name"
            )


def _checksum(songs: Sequence[Song], data_folder: Path) -> str:
    """SHA-256 over the annotation and the names and sizes of all media."""
    digest = hashlib.sha256()
    for song in songs:
        media = {
            name: (_within(path, data_folder).as_posix(), _size(path))
            for name, path in {"wav": song.wav, **song.media}.items()
        }
        facts = [song.song_id, song.split, song.singer, media, song.notes]
        facts += [song.labels] if song.labels else []
        digest.update(json.dumps(facts, default=str).encode())
    return digest.hexdigest()


def _within(path: Path, folder: Path) -> Path:
    """The path in a folder, or as it is if it lies elsewhere."""
    return path.relative_to(folder) if path.is_relative_to(folder) else path


def _size(path: Path) -> int:
    """Bytes of a file; -1 if it cannot be looked at."""
    try:
        return split_channel(path)[0].stat().st_size
    except OSError:
        return -1


def _read_marker(path: Path) -> dict | None:
    """Contents of a done-marker, or None."""
    try:
        marker = json.loads(path.read_text(encoding="utf-8"))
        marker["summary"]["splits"].items()
        return marker if isinstance(marker["files"], list) else None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def difference(old: dict, marker: dict) -> str | None:
    """Say why an earlier result is not the wanted one.

    Arguments
    ---------
    old, marker : dict
        Done-markers of the earlier result and of the wanted one, with
        `corpus`, `version`, `options` and `checksum`.

    Returns
    -------
    str or None
        None if it is.

    Example
    -------
    >>> old = {"corpus": "a", "version": 1, "options": {"n": 1}, "checksum": ""}
    >>> difference(old, old | {"options": {"n": 2}})
    'was prepared with n=1, not 2'
    """
    if old.get("corpus") != marker["corpus"]:
        return f"holds {old.get('corpus')}, not {marker['corpus']}"
    if old.get("version") != marker["version"]:
        return "was prepared by another version"
    for key, value in marker["options"].items():
        was = old.get("options", {}).get(key)
        if was != value:
            return f"was prepared with {key}={was}, not {value}"
    if old.get("checksum") != marker["checksum"]:
        return "was prepared before the corpus or its annotation changed"
    return None


def _lost(old: dict, output: Path) -> str | None:
    """Say which file of an earlier result is gone; None if none is."""
    # A full path stays one when it is joined to a folder.
    names = [*old["files"], *old.get("outside", ())]
    lost = [name for name in names if not (output / name).is_file()]
    return f"has lost {lost[0]}" if lost else None


def _finished(old: dict, output: Path) -> Summary:
    """Summary of an earlier result."""
    print(
        f"{old['corpus']}: already prepared in {output}, nothing to do",
        file=sys.stderr,
    )
    facts = old["summary"]
    splits = {k: SplitSummary(**v) for k, v in facts["splits"].items()}
    return Summary(
        **facts
        | {
            "splits": splits,
            "remarks": tuple(facts["remarks"]),
            "manifests": {name: output / f"{name}.csv" for name in splits},
            "fresh": False,
        }
    )


def _work(
    corpus, songs, data_folder, staging, segment_s, cut_overlaps, n_jobs
) -> tuple[list[dict], list[str], list[str]]:
    """Check all songs; give rows of the manifests, remarks, files elsewhere."""
    from tqdm import tqdm

    jobs = [(song, staging, cut_overlaps) for song in songs]
    results = in_parallel(_check_song, jobs, n_jobs)
    # Only where audio is made does it take long.
    hidden = None if any(song.make for song in songs) else True
    bar = tqdm(results, corpus.name, len(jobs), unit="song", disable=hidden)
    roots = {MANIFEST_ROOT: staging, DATA_ROOT: data_folder}
    rows, outside = [], []
    cut, dropped, late, silent, unused, odd = {}, {}, {}, [], [], {}
    for song, results in zip(songs, bar, strict=True):
        if isinstance(results, SingBrainError):
            raise results
        for result in results:
            outside += [
                str(path)
                for path in result.media.values()
                if not any(map(path.is_relative_to, roots.values()))
            ]
            rows += _rows(song, result, corpus, roots, segment_s)
            if result.remark:
                odd.setdefault(result.remark, []).append(song.song_id)
            for counts, value in (
                (cut, result.cut),
                (dropped, result.dropped),
                (late, result.late),
            ):
                if value:
                    counts[song.song_id] = value
        if not results:
            unused.append(song.song_id)
        if song.notes is not None and not song.notes:
            silent.append(song.song_id)
    remarks = [
        f"{sum(counts.values())} notes {what}, in {len(counts)} songs: "
        f"{', '.join(counts)}"
        for counts, what in (
            (cut, "overlapped the next one and end at its onset now"),
            (dropped, "began together with another one and were left out"),
            (late, "end after the end of the audio"),
        )
        if counts
    ]
    if silent:
        remarks.append(
            f"{len(silent)} songs have no notes: {', '.join(silent)}"
        )
    if unused:
        remarks.append(
            f"{len(unused)} songs hold nothing long enough and are left out: "
            f"{', '.join(unused)}"
        )
    remarks += [f"{remark}: {', '.join(ids)}" for remark, ids in odd.items()]
    if not rows:
        raise ManifestError(
            f"{corpus.name}: {len(songs)} songs, but nothing long enough in "
            "any of them: check the audio"
        )
    return rows, remarks, outside


def in_parallel(function: Callable, jobs: Sequence[tuple], n_jobs: int):
    """Work in several processes, which end when nobody listens.

    Arguments
    ---------
    function : callable
        Gives errors, rather than raises them, so that the first one in the
        order of the jobs can be told from the others.
    jobs : sequence of tuple
        Its arguments.
    n_jobs : int
        Processes, as in joblib; 1: this one.

    Yields
    ------
    object
        What the function gives, in the order of the jobs.
    """
    if n_jobs == 1 or len(jobs) == 1:
        yield from (function(*job) for job in jobs)
        return
    from joblib import Parallel, delayed

    results = Parallel(n_jobs=n_jobs, return_as="generator")(
        delayed(function)(*job) for job in jobs
    )
    try:
        for result in results:  # noqa: UP028 (it would close them before)
            yield result
    finally:
        with warnings.catch_warnings():
            # It warns of tasks that it cancels: after an error they have to be.
            warnings.simplefilter("ignore", UserWarning)
            results.close()


@dataclass(frozen=True)
class _Checked:
    """What `_check_song` found: length in seconds, counts of notes, media."""

    duration: float
    part: str = ""
    cut: int = 0
    dropped: int = 0
    late: int = 0
    media: dict = field(default_factory=dict)
    remark: str = ""


def _check_song(song: Song, staging: Path, cut_overlaps: bool):
    """Check one song and write its notes; return an error, not raise it.

    So the first error in the order of the songs is reported, whatever the
    number of workers. A song may become several, or none: it gives a list.
    """
    try:
        if song.make is None:
            made = Made({}, audio_info(song.wav).duration)
        else:
            made = song.make(staging / "audio" / song.song_id)
        parts = [made] if isinstance(made, Made) else made
        if not all(part.duration for part in parts):
            raise AudioError(
                f"{song.wav}: does not tell its length: convert it to WAV"
            )
        results = [
            _Checked(p.duration, p.part, media=p.media, remark=p.remark)
            for p in parts
        ]
        if song.notes is None:
            return results
        (made,), (checked,) = parts, results
        melody, cut, dropped = _melody(song, cut_overlaps)
        path = staging / "notes" / f"{song.song_id}.csv"
        write_notes(melody, path, format="csv")
        end = made.duration + END_TOLERANCE_S
        late = sum(note.offset > end for note in melody)
        return [replace(checked, cut=cut, dropped=dropped, late=late)]
    except SingBrainError as error:
        return error


def _melody(song: Song, cut_overlaps: bool) -> tuple[NoteSequence, int, int]:
    """Notes of a song, and how many were cut and dropped for it."""
    where = f"{song.source}: song {song.song_id}"
    if not isinstance(song.notes, Sequence) or isinstance(song.notes, str):
        raise NoteError(f"{where}: its annotation is no list of notes")
    notes = []
    for position, row in enumerate(song.notes, start=1):
        if not isinstance(row, Sequence) or len(row) != 3:
            raise NoteError(
                f"{where}: note {position}: expected onset, offset, pitch but "
                f"got {row!r}"
            )
        try:
            notes.append(Note(*row))
        except NoteError as error:
            raise NoteError(f"{where}: note {position}: {error}") from None
    if not cut_overlaps:
        try:
            return NoteSequence(notes), 0, 0
        except NoteError as error:
            raise NoteError(f"{where}: {error}") from None
    notes.sort(key=lambda note: note.onset)
    overlaps = sum(
        late.onset < early.offset - OVERLAP_TOLERANCE_S
        for early, late in zip(notes[:-1], notes[1:], strict=True)
    )
    melody = NoteSequence.truncating(notes)
    dropped = len(notes) - len(melody)
    return melody, overlaps - dropped, dropped


def _cell(path: Path, roots: dict) -> str:
    """Path as a manifest writes it."""
    for root, folder in roots.items():
        if path.is_relative_to(folder):
            return f"{root}/{path.relative_to(folder).as_posix()}"
    return str(path)


def _rows(song, checked, corpus, roots, segment_s) -> list[dict]:
    """Rows of one song; a medium's cell starts with the root it lies in."""
    files = {"wav": song.wav, **song.media, **checked.media}
    media = {name: _cell(path, roots) for name, path in files.items()}
    if song.notes is not None:
        media["notes"] = f"{MANIFEST_ROOT}/notes/{song.song_id}.csv"
    parts = segments(checked.duration, segment_s)
    song_id = song.song_id + checked.part
    return [
        {
            "ID": f"{song_id}_{number}",
            "song_id": song_id,
            "segment": number,
            "n_segments": len(parts),
            "start": start,
            "stop": stop,
            "duration": stop - start,
            "split": song.split,
            "singer": song.singer,
            "license": song.license or corpus.license,
            **song.labels,
            **media,
        }
        for number, (start, stop) in enumerate(parts, start=1)
    ]


def _move(staging, output, names, old, overwrite) -> None:
    """Move the finished files into place, the done-marker last."""
    taken = [name for name in names if (output / name).exists()]
    if taken and not overwrite:
        raise OutputError(
            f"{output / taken[0]}: exists already: choose another folder or "
            "allow overwriting"
        )
    (output / MARKER).unlink(missing_ok=True)
    if old:
        for name in set(old["files"]) - set(names):
            if not Path(name).is_absolute() and ".." not in Path(name).parts:
                (output / name).unlink(missing_ok=True)
    for name in [*names, MARKER]:
        (output / name).parent.mkdir(parents=True, exist_ok=True)
        os.replace(staging / name, output / name)
