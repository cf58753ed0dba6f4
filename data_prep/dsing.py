"""DSing: English karaoke of amateurs without accompaniment, by line of lyrics.

Licence: that of the recordings, DAMP Sing! 300x30x2 of Smule, which are given
on request for research; no redistribution.

Citation: G. Roa Dabike and J. Barker, "Automatic Lyric Transcription from
Karaoke Vocal Tracks: Resources and a Baseline System", Interspeech 2019.

The training set comes in three sizes, each holding the one before: DSing1
(recordings from Great Britain), DSing3 (also from the United States and
Australia) and DSing30 (from all countries). `dev` and `test` are the same for
all three.

Layouts, those of the corpus's own repository and of MM-ALT (Gu et al., ACM MM
2022; github.com/guxm2021/MM_ALT). Cut into lines:

    {train1,train3,train30,dev,test}/audio/<line>.wav    16 kHz
    {train1,...}/text                                    `<line> WORD WORD ...`

where audio may lie anywhere in the folder of the split, and `text` may as well
be called `transcription.txt` or `<anything>.transcription.txt`. Or tables over
the recordings, which the preparation cuts:

    {DSing1,DSing3,DSing30,dev,test}.csv    utterance_id, recording, start,
                                            end, speaker, text
    <country>/<country>Vocals/<recording>.m4a

with the recordings in the same folder, in `sing_300x30x2` in it or in
`damp_folder`. `train30` and `DSing30` are two names for one thing. Lines are
called `<singer>-<arrangement>-<performance>-<country>-<gender>-<number>`.
"""

from __future__ import annotations

import csv
import os
from functools import lru_cache, partial
from pathlib import Path

from data_prep.corpus import (
    Corpus,
    Made,
    check_folder,
    entries,
    find_file,
    match_songs,
    walk_audio,
)
from data_prep.manifest import Summary
from data_prep.utterances import Utterance, prepare_utterances
from data_prep.voice_corpus import tell_how
from speechbrain_ext.audio import read_audio, write_audio
from speechbrain_ext.errors import ConfigError, ManifestError

CORPUS = Corpus(
    name="dsing",
    license="Smule DAMP",
    terms="recordings on request for research, no redistribution",
    citation="Roa Dabike and Barker, Automatic Lyric Transcription from "
    "Karaoke Vocal Tracks: Resources and a Baseline System, Interspeech 2019",
    url="https://zenodo.org/records/2747436 and "
    "https://github.com/groadabike/Kaldi-Dsing-task",
)
SIZES = (1, 3, 30)
RECORDINGS = "sing_300x30x2"
SAMPLE_RATE = 16000
COLUMNS = ("utterance_id", "recording", "start", "end", "speaker", "text")


def prepare_dsing(
    data_folder,
    output_folder,
    segment_s: float | None = None,
    size: int = 30,
    damp_folder=None,
    n_jobs: int = 1,
    overwrite: bool = False,
) -> Summary:
    """Write the manifests of DSing.

    Arguments
    ---------
    data_folder : str or Path
        The corpus, in a layout of this module's docstring.
    output_folder : str or Path
        Gets `train.csv`, `valid.csv`, `test.csv` and, where there are tables,
        `audio/`, the lines cut out of the recordings.
    segment_s : None
        Lines are not cut further.
    size : {1, 3, 30}
        Which training set (default 30, the largest).
    damp_folder : str or Path, optional
        Where the recordings of the tables are. Default: in the corpus.
    n_jobs : int
        Lines checked or cut at a time.
    overwrite : bool
        Whether another preparation may be replaced.

    Returns
    -------
    Summary

    Raises
    ------
    ConfigError
        If `size` is unknown, or `segment_s` is given.
    ManifestError
        If a split, its transcripts or its audio is not found, a table lacks a
        column or a time, or a recording is in two splits.
    AudioError, OutputError
        As `corpus.prepare_songs`.
    """
    folder = check_folder(data_folder, CORPUS)
    if size not in SIZES:
        raise ConfigError(
            f"size is {size!r}: use one of {', '.join(map(str, SIZES))}"
        )
    if damp_folder is not None:
        damp_folder = check_folder(damp_folder, CORPUS)
    names = {
        "train": (f"train{size}", f"DSing{size}"),
        "valid": ("dev",),
        "test": ("test",),
    }
    utterances, remarks = [], []
    for split, folders in names.items():
        found, left_out = _list(folder, split, folders, damp_folder)
        utterances += found
        remarks += [f"{split}: {remark}" for remark in left_out]
    return prepare_utterances(
        CORPUS,
        utterances,
        folder,
        output_folder,
        segment_s,
        {"size": size},
        remarks,
        n_jobs,
        overwrite,
    )


def download_dsing(data_folder) -> None:
    """Say how to get DSing; its recordings are given on request.

    Arguments
    ---------
    data_folder : str or Path
        Where the corpus is to be put.

    Raises
    ------
    ManifestError
        Always: with the addresses of the recordings and the tables.
    """
    tell_how(CORPUS, data_folder)


def _list(folder: Path, split: str, names: tuple[str, ...], damp_folder):
    """Lines of a split, and remarks."""
    for name in names:
        if os.path.isdir(folder / name):
            return _cut_lines(folder / name, split)
    table = find_file([folder], [f"{name}.csv" for name in names])
    if table is None:
        wanted = " or ".join(f"{name}/ or {name}.csv" for name in names)
        raise ManifestError(
            f"{folder}: no {wanted} for {split}: see {CORPUS.url}"
        )
    places = [folder, folder / RECORDINGS]
    return _table_lines(table, split, [damp_folder] if damp_folder else places)


def _cut_lines(folder: Path, split: str):
    """Lines of the layout with a file each, and remarks."""
    texts, sources = {}, {}
    for path in _transcripts(folder):
        for number, line in enumerate(_text(path).splitlines(), start=1):
            name, _, words = line.strip().partition(" ")
            if name in texts:
                raise ManifestError(
                    f"{path}, line {number}: {name} was there before, in "
                    f"{sources[name]}: remove one"
                )
            if name:
                texts[name], sources[name] = words, path
    audio: dict[str, Path] = {}
    for path in walk_audio(folder):
        if audio.setdefault(path.stem, path) != path:
            raise ManifestError(
                f"{path}: line {path.stem} is there twice, also as "
                f"{audio[path.stem]}: remove one"
            )
    ids, remarks = match_songs(
        texts, audio, CORPUS, f"{folder}/audio/<line>.wav and {folder}/text"
    )
    return [
        Utterance(
            name,
            texts[name],
            split,
            audio[name],
            sources[name],
            name.rpartition("-")[0] or name,
            name.split("-")[0] if "-" in name else "",
        )
        for name in ids
    ], remarks


def _transcripts(folder: Path) -> list[Path]:
    """Files of a split that hold what is sung."""
    return [
        Path(place) / path.name
        for place, _, _ in sorted(os.walk(folder))
        for path in entries(Path(place), Path.is_file)
        if path.name == "text" or path.name.endswith("transcription.txt")
    ]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(
            f"{path}: cannot be read as UTF-8: {error}"
        ) from None


def _table_lines(table: Path, split: str, places: list[Path]):
    """Lines of a table over recordings, and remarks."""
    reader = csv.DictReader(_text(table).splitlines())
    missing = [c for c in COLUMNS if c not in (reader.fieldnames or ())]
    if missing:
        raise ManifestError(
            f"{table}: no column {missing[0]}: get the tables from {CORPUS.url}"
        )
    found, absent = [], 0
    wavs: dict[str, Path | None] = {}
    for row in reader:
        name, recording = row["utterance_id"], row["recording"]
        try:
            start, stop = float(row["start"]), float(row["end"])
        except (TypeError, ValueError):
            start = stop = -1.0
        if not 0 <= start < stop < float("inf"):
            raise ManifestError(
                f"{table}, line {reader.line_num}: {name} goes from "
                f"{row['start']} to {row['end']} s: get the table again"
            )
        if recording not in wavs:
            paths = (place / recording for place in places)
            wavs[recording] = next(filter(os.path.isfile, paths), None)
        wav = wavs[recording]
        if wav is None:
            absent += 1
            continue
        found.append(
            Utterance(
                name,
                row["text"] or "",
                split,
                wav,
                table,
                recording,
                row["speaker"] or "",
                make=partial(_cut, wav, start, stop),
            )
        )
    if not found:
        raise ManifestError(
            f"{table}: none of {len(wavs)} recordings is there: expected "
            f"{places[0]}/{next(iter(wavs), 'GB/GBVocals/<recording>.m4a')}"
        )
    lost = [f"{absent} lines have no recording and are left out"]
    return found, lost if absent else []


# Lines of one recording come one after the other.
_recording = lru_cache(maxsize=1)(read_audio)


def _cut(wav: Path, start: float, stop: float, folder: Path) -> Made:
    """Cut a line out of a recording."""
    sound = _recording(wav, sample_rate=SAMPLE_RATE)
    first, last = (round(t * SAMPLE_RATE) for t in (start, stop))
    line = sound[first:last]
    if not len(line):
        raise ManifestError(
            f"{wav}: lasts {len(sound) / SAMPLE_RATE:g} s, but a line starts "
            f"at {start:g} s: get the recording again"
        )
    folder.mkdir(parents=True)
    write_audio(folder / "line.wav", line, SAMPLE_RATE)
    short = "the recording ends before a line does" if last > len(sound) else ""
    return Made({"wav": folder / "line.wav"}, len(line) / SAMPLE_RATE, short)
