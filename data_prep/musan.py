"""MUSAN: music, speech and noise, from which babble and natural noise are made.

Licence: CC BY 4.0; every recording is in the public domain or under a Creative
Commons licence of its own, which the file LICENSE beside it names.

Citation: D. Snyder, G. Chen and D. Povey, "MUSAN: A Music, Speech, and Noise
Corpus", arXiv 1510.08484, 2015.

Layout, as OpenSLR 17 has it (`musan/` itself or the folder around it):

    speech/<source>/*.wav    librivox and us-gov, minutes long
    music/<source>/*.wav     and ANNOTATIONS: file, genres, vocals, artist
    noise/<source>/*.wav     free-sound and sound-bible
    <kind>/<source>/LICENSE, ANNOTATIONS

What is written, 16 kHz mono, 16 bits:

    babble/<split>/<n>.wav              mean of 30 pieces of speech
    natural/<split>/<source>/<file>.wav sounds of 1 to 10 s
    noise_clips.csv                     all of them, see `Clip`
    prepared.json                       the done-marker

The construction is that of Gu et al. (ACM TOMM 2024), with these differences,
which `published=True` takes back: files that last no longer than a piece are
kept, and babble is made of pieces of full length only, so that each clip has
that length. There, natural noise is drawn from pieces of the longer files.
What stays different: no speaker and no file is in two splits. MUSAN does not
name its speakers, so a file of speech counts as one, unless a table tells.
"""

from __future__ import annotations

import csv
import hashlib
from collections import defaultdict
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_prep.clips import ClipSummary, checksum, make_files
from data_prep.corpus import Corpus, check_folder, subfolders
from data_prep.manifest import SPLITS
from speechbrain_ext.audio import (
    SAMPLE_RATE,
    audio_info,
    read_audio,
    write_audio,
)
from speechbrain_ext.errors import (
    AudioError,
    ConfigError,
    ManifestError,
    SingBrainError,
)
from speechbrain_ext.files import atomic_path

CORPUS = Corpus(
    name="musan",
    license="CC BY 4.0",
    terms="free with attribution; the LICENSE files of MUSAN name each author",
    citation="Snyder, Chen and Povey, MUSAN: A Music, Speech, and Noise "
    "Corpus, arXiv 1510.08484, 2015",
    url="https://www.openslr.org/17/",
)
INDEX = "noise_clips.csv"

# Babble and natural noise are what tests use; the others are pieces of all
# recordings of a kind.
KINDS = ("babble", "natural", "speech", "music", "noise")

# Shares of validation and test.
_SPEAKERS = (1 / 10, 1 / 10)
_SOUNDS = (1 / 8, 1 / 8)

# Natural noise lasts so long at least, seconds.
_SHORTEST_S = 1.0

# Raised when what a preparation writes changes.
_VERSION = 1


class Clip(NamedTuple):
    """One clip of a prepared folder: a row of `noise_clips.csv`.

    Arguments
    ---------
    path : str
        In the file, relative to its folder; here, with the folder.
    kind : str
        One of `KINDS`.
    split : str
        train, valid or test.
    source : str
        Folder of MUSAN that it comes from; "speech" for babble.
    speaker : str
        Who speaks or plays; of babble all, separated by semicolons; empty for
        sounds.
    file : str
        The recording, without suffix; empty for babble.
    start : float
        Where the clip begins in the recording, seconds; 0 for babble.
    duration : float
        Seconds.
    """

    path: str
    kind: str
    split: str
    source: str
    speaker: str
    file: str
    start: float
    duration: float


class _File(NamedTuple):
    """A recording of MUSAN: length in samples at 16 kHz."""

    path: Path
    source: str
    speaker: str
    samples: int
    split: str = ""


def prepare_musan(
    data_folder,
    output_folder,
    kinds=("babble", "natural"),
    n_train: int = 8000,
    n_valid: int = 1000,
    n_test: int = 1000,
    voices: int = 30,
    piece_s: float = 10.0,
    published: bool = False,
    long_files: bool = False,
    speakers=None,
    seed: int = 0,
    n_jobs: int = 1,
    overwrite: bool = False,
) -> ClipSummary:
    """Make clips of babble and natural noise, in splits that share nothing.

    An interrupted run goes on where it stopped. The result is the same for any
    number of workers. With the default numbers, babble takes 3.2 GB.

    Arguments
    ---------
    data_folder : str or Path
        MUSAN, in the layout of this module's docstring.
    output_folder : str or Path
        Gets the clips and `noise_clips.csv`.
    kinds : list of str
        What is made: "babble", "natural"; and "speech", "music", "noise",
        pieces of all recordings of that kind. Default: the first two.
    n_train, n_valid, n_test : int
        Clips of babble. Defaults: 8000, 1000, 1000.
    voices : int
        Pieces of speech, drawn without replacement from the pieces of the
        split, whose mean is a clip of babble. Default: 30.
    piece_s : float
        Longest piece, seconds. Default: 10.
    published : bool
        Whether to lose files no longer than a piece, and to make babble of
        pieces of any length, cut to the shortest. Default: False.
    long_files : bool
        Whether pieces of at least 1 s of files longer than a piece are
        natural noise too. Default: False, files of 1 s to `piece_s` alone.
    speakers : str or Path, optional
        CSV without header, `file,speaker`, where it is known who speaks:
        files of one speaker then are in one split.
    seed : int
        Of the splits and of the babble. Default: 0.
    n_jobs : int
        Clips made at a time.
    overwrite : bool
        Whether another preparation may be replaced.

    Returns
    -------
    ClipSummary

    Raises
    ------
    ConfigError
        If an option is out of range.
    ManifestError
        If the folder is not MUSAN, or too small for the splits.
    AudioError
        If a recording is not readable.
    OutputError
        If the output holds something else or cannot be written.
    """
    folder = check_folder(data_folder, CORPUS)
    if not (folder / "noise").is_dir() and (folder / "musan").is_dir():
        folder = folder / "musan"
    kinds = [kinds] if isinstance(kinds, str) else list(kinds)
    counts = dict(zip(SPLITS, (n_train, n_valid, n_test), strict=True))
    _check_options(kinds, counts, voices, piece_s)
    names = _speakers(speakers)
    size = round(piece_s * SAMPLE_RATE)
    files = {
        name: _files(folder, name, names)
        for name, needed_by in (
            ("speech", {"babble", "speech"}),
            ("music", {"music"}),
            ("noise", {"natural", "noise"}),
        )
        if needed_by & set(kinds)
    }
    marker = {
        "version": _VERSION,
        "corpus": CORPUS.name,
        "options": {
            "kinds": kinds,
            **{f"n_{split}": count for split, count in counts.items()},
            "voices": voices,
            "piece_s": float(piece_s),
            "published": published,
            "long_files": long_files,
            "seed": seed,
        },
        "checksum": checksum(
            [
                [file.path.relative_to(folder).as_posix(), *file[1:4]]
                for group in files.values()
                for file in group
            ]
        ),
    }
    files = {
        name: _assign(name, group, size, seed) for name, group in files.items()
    }
    clips, jobs = [], []
    for kind in kinds:
        if kind == "babble":
            plan = _plan_babble(
                files["speech"], counts, voices, size, published, seed
            )
        elif kind == "natural":
            plan = _plan_natural(files["noise"], size, published, long_files)
        else:
            plan = _plan_pieces(kind, files[kind], size, published)
        for clip, parts in plan:
            clips.append(clip)
            jobs.append((clip.path, parts))
    fresh = make_files(
        output_folder,
        marker,
        _make,
        jobs,
        [clip.path for clip in clips],
        partial(_write_index, clips),
        n_jobs,
        overwrite,
    )
    totals = {(kind, split): [0, 0.0] for kind in kinds for split in SPLITS}
    for clip in clips:
        total = totals[clip.kind, clip.split]
        total[0] += 1
        total[1] += clip.duration / 3600
    return ClipSummary(
        CORPUS.name,
        "split",
        tuple((*key, *total) for key, total in totals.items()),
        f"{CORPUS.license}: {CORPUS.terms}",
        CORPUS.citation,
        CORPUS.url,
        fresh,
    )


def download_musan(data_folder):
    """Say how to get MUSAN: it is one archive of 11 GB.

    Arguments
    ---------
    data_folder : str or Path
        Where to put it.

    Raises
    ------
    ManifestError
        Always, with the way to get it.
    """
    raise ManifestError(
        f"{CORPUS.name} is an archive of 11 GB: get musan.tar.gz from "
        f"{CORPUS.url} and unpack it into {data_folder}"
    )


def read_index(folder) -> list[Clip]:
    """Read the table of a prepared folder.

    Arguments
    ---------
    folder : str or Path
        Result of `prepare_musan`.

    Returns
    -------
    list of Clip

    Raises
    ------
    ManifestError
        If it is missing or damaged.
    """
    path = Path(folder) / INDEX
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            reader = csv.DictReader(stream, strict=True)
            rows = list(reader)
        return [
            Clip(
                **row
                | {
                    "path": str(path.parent / row["path"]),
                    "start": float(row["start"]),
                    "duration": float(row["duration"]),
                }
            )
            for row in rows
        ]
    except (OSError, KeyError, TypeError, ValueError, csv.Error):
        raise ManifestError(
            f"{path}: is no table of clips: make it with `singbrain prepare "
            "musan`"
        ) from None


def pieces(samples: int, size: int, lose_short: bool = False) -> list:
    """Cut a recording into pieces.

    Arguments
    ---------
    samples : int
        Length of the recording.
    size : int
        Longest piece.
    lose_short : bool
        Whether a recording no longer than that gives none, as published,
        instead of itself. Default: False.

    Returns
    -------
    list of (int, int)
        First sample and length of each; the last one may be shorter.

    Example
    -------
    >>> pieces(25, 10), pieces(10, 10), pieces(10, 10, lose_short=True)
    ([(0, 10), (10, 10), (20, 5)], [(0, 10)], [])
    """
    if samples <= size and lose_short:
        return []
    return [(at, min(size, samples - at)) for at in range(0, samples, size)]


def _check_options(kinds, counts, voices, piece_s) -> None:
    """Refuse options out of range."""
    for kind in kinds or [None]:
        if kind not in KINDS:
            raise ConfigError(
                f"kinds has {kind!r}: use some of {', '.join(KINDS)}"
            )
    for split, count in counts.items():
        if not isinstance(count, int) or count < 0:
            raise ConfigError(f"n_{split} is {count!r}: give a whole number")
    if not isinstance(voices, int) or voices < 1:
        raise ConfigError(f"voices is {voices!r}: give a number from 1 on")
    if not isinstance(piece_s, int | float) or not piece_s >= _SHORTEST_S:
        raise ConfigError(
            f"piece_s is {piece_s!r}: give seconds, {_SHORTEST_S:g} or more"
        )


def _speakers(path) -> dict[str, str]:
    """Speakers by file, from a table without header."""
    if path is None:
        return {}
    try:
        with open(path, newline="", encoding="utf-8-sig") as stream:
            return {
                Path(file.strip()).stem: speaker.strip()
                for file, speaker in csv.reader(stream)
            }
    except (OSError, ValueError, csv.Error) as error:
        raise ManifestError(
            f"{path}: is no table of file and speaker: {error}"
        ) from None


def _files(folder: Path, kind: str, names: dict) -> list[_File]:
    """Recordings of a kind, in the order of their names."""
    found = []
    for source in subfolders(folder / kind):
        artists = _artists(source) if kind == "music" else {}
        for path in sorted(source.glob("*.wav")):
            own = "" if kind == "noise" else path.stem
            info = audio_info(path)
            if not info.duration:
                raise AudioError(
                    f"{path}: does not tell its length: convert it to WAV"
                )
            samples = round(info.duration * SAMPLE_RATE)
            speaker = names.get(path.stem) or artists.get(path.stem) or own
            found.append(_File(path, source.name, speaker, samples))
    if not found:
        raise ManifestError(
            f"{folder}: holds no {kind}: expected {kind}/<source>/*.wav, as "
            f"MUSAN has them (see {CORPUS.url})"
        )
    return found


def _artists(source: Path) -> dict[str, str]:
    """Artists by file, from ANNOTATIONS: file, genres, vocals, artist."""
    try:
        text = (source / "ANNOTATIONS").read_text("utf-8", errors="replace")
    except OSError:
        return {}
    rows = (line.split() for line in text.splitlines())
    return {row[0]: row[3] for row in rows if len(row) >= 4}


def _assign(kind: str, files: list[_File], size: int, seed: int) -> list[_File]:
    """Give recordings their splits."""
    if kind != "noise":
        splits = split_names((file.speaker for file in files), *_SPEAKERS, seed)
        return [file._replace(split=splits[file.speaker]) for file in files]
    # Within each source, and files that natural noise is made of and others
    # apart, so that the shares hold for each.
    groups = defaultdict(list)
    for file in files:
        natural = _SHORTEST_S * SAMPLE_RATE <= file.samples <= size
        groups[file.source, natural].append(file)
    assigned = []
    for group in groups.values():
        splits = split_names((f.path.stem for f in group), *_SOUNDS, seed)
        assigned += [f._replace(split=splits[f.path.stem]) for f in group]
    return assigned


def split_names(
    names: Iterable[str], valid: float, test: float, seed: int = 0
) -> dict[str, str]:
    """Deal names out to the splits, the same way on every machine.

    They are ranked by the SHA-256 of seed and name. Where there are three or
    more, each split gets at least one.

    Arguments
    ---------
    names : iterable of str
        May occur more than once.
    valid, test : float
        Shares of these splits.
    seed : int
        Another one gives other splits. Default: 0.

    Returns
    -------
    dict of str to str
        Split by name.

    Example
    -------
    >>> from collections import Counter
    >>> Counter(split_names(map(str, range(40)), 1 / 8, 1 / 8).values())
    Counter({'train': 30, 'valid': 5, 'test': 5})
    """

    def rank(name):
        return hashlib.sha256(f"{seed}:{name}".encode()).digest()

    ranked = sorted(set(names), key=rank)
    least = 1 if len(ranked) >= 3 else 0
    n_valid = max(least, round(valid * len(ranked)))
    n_test = max(least, round(test * len(ranked)))
    ends = ["train"] * (len(ranked) - n_valid - n_test)
    ends += ["valid"] * n_valid + ["test"] * n_test
    return dict(zip(ranked, ends, strict=True))


def _plan_babble(files, counts, voices, size, published, seed):
    """Clips of babble, each with its pieces of speech."""
    for number, (split, count) in enumerate(counts.items()):
        pool = [
            (file, *piece)
            for file in files
            if file.split == split
            for piece in pieces(file.samples, size, published)
            if published or piece[1] == size
        ]
        if count and len(pool) < voices:
            raise ManifestError(
                f"{CORPUS.name}: speech for {split} gives {len(pool)} pieces "
                f"of {size / SAMPLE_RATE:g} s, fewer than the {voices} that "
                "babble is made of: lower voices or piece_s"
            )
        for index in range(count):
            rng = np.random.default_rng([seed, number, index])
            drawn = rng.choice(len(pool), voices, replace=False)
            parts = [pool[k] for k in drawn]
            speakers = dict.fromkeys(file.speaker for file, _, _ in parts)
            clip = Clip(
                f"babble/{split}/{index:05d}.wav",
                "babble",
                split,
                "speech",
                ";".join(speakers),
                "",
                0.0,
                min(length for _, _, length in parts) / SAMPLE_RATE,
            )
            yield clip, [(str(f.path), *piece) for f, *piece in parts]


def _plan_natural(files, size, published, long_files):
    """Clips of natural noise: short files, or pieces of long ones."""
    shortest = round(_SHORTEST_S * SAMPLE_RATE)
    if published:
        chosen = [file for file in files if file.samples > size]
    elif long_files:
        chosen = files
    else:
        chosen = [file for file in files if file.samples <= size]
    plan = [
        (clip, parts)
        for clip, parts in _plan_pieces("natural", chosen, size, published)
        if parts[0][2] >= shortest
    ]
    for split in SPLITS:
        if not any(clip.split == split for clip, _ in plan):
            raise ManifestError(
                f"{CORPUS.name}: none of {len(files)} sounds is natural noise "
                f"for {split}: give all of MUSAN, or allow long_files"
            )
    return plan


def _plan_pieces(kind, files, size, published):
    """Pieces of recordings as clips."""
    for file in files:
        parts = pieces(file.samples, size, published)
        for number, (at, length) in enumerate(parts):
            mark = f"_{number:04d}" if len(parts) > 1 else ""
            clip = Clip(
                f"{kind}/{file.split}/{file.source}/{file.path.stem}{mark}.wav",
                kind,
                file.split,
                file.source,
                file.speaker,
                file.path.stem,
                at / SAMPLE_RATE,
                length / SAMPLE_RATE,
            )
            yield clip, [(str(file.path), at, length)]


def _make(output: Path, name: str, parts: list):
    """Write one clip, the mean of its parts; give an error, not raise it."""
    try:
        if (output / name).is_file():
            return None
        total = np.zeros(min(length for _, _, length in parts))
        for path, at, length in parts:
            stop = (at + length) / SAMPLE_RATE
            wav = read_audio(path, at / SAMPLE_RATE, stop, SAMPLE_RATE)
            wav = wav[: len(total)]
            total[: len(wav)] += wav
        write_audio(
            output / name, total / len(parts), SAMPLE_RATE, subtype="PCM_16"
        )
    except SingBrainError as error:
        return error
    return None


def _write_index(clips: list[Clip], output: Path) -> list[str]:
    """Write the table of all clips."""
    with (
        atomic_path(output / INDEX, overwrite=True) as path,
        path.open("w", newline="", encoding="utf-8") as stream,
    ):
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(Clip._fields)
        writer.writerows(clips)
    return [INDEX]
