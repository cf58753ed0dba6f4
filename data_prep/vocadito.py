"""vocadito: 40 excerpts of solo singing in 7 languages; a test corpus.

Licence: CC BY 4.0.

Citation: R. Bittner, K. Pasalo, J. J. Bosch, G. Meseguer-Brocal and D.
Rubinstein, "vocadito: A dataset of solo vocals with f0, note, and lyric
annotations", arXiv 2110.05580, 2021.

Layout:

    Audio/vocadito_<n>.wav
    Annotations/Notes/vocadito_<n>_notesA1.csv and ..._notesA2.csv
    vocadito_metadata.csv: track_id, singer_id, average_pitch, language

Two people annotated each excerpt, and they differ a lot; one of them has to be
chosen. A row of their files is `onset, frequency in hertz, duration`.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

from data_prep.corpus import (
    Corpus,
    Song,
    check_folder,
    find_audio,
    find_file,
    match_songs,
    prepare_songs,
    read_rows,
)
from data_prep.manifest import Summary
from data_prep.zenodo import fetch_record
from speechbrain_ext.errors import ConfigError, ManifestError, NoteError
from speechbrain_ext.notes import hz_to_midi

CORPUS = Corpus(
    name="vocadito",
    license="CC BY 4.0",
    terms="free with attribution",
    citation="Bittner et al., vocadito: A dataset of solo vocals with f0, "
    "note, and lyric annotations, arXiv 2110.05580, 2021",
    url="https://zenodo.org/records/5578807",
)
ANNOTATORS = ("A1", "A2")


def prepare_vocadito(
    data_folder,
    output_folder,
    segment_s: float = 5.0,
    annotator: str = "A1",
    cut_overlaps: bool = False,
    n_jobs: int = 1,
    overwrite: bool = False,
) -> Summary:
    """Write the manifest of vocadito, all of it for testing.

    Arguments
    ---------
    data_folder : str or Path
        The corpus, in the layout of this module's docstring.
    output_folder : str or Path
        Gets `test.csv` and `notes/`.
    segment_s : float
        Length of a segment in seconds.
    annotator : {"A1", "A2"}
        Whose notes are taken.
    cut_overlaps : bool
        Whether overlapping notes are cut (and counted) or refused.
    n_jobs : int
        Excerpts checked at a time.
    overwrite : bool
        Whether another preparation may be replaced.

    Returns
    -------
    Summary

    Raises
    ------
    ConfigError
        If `annotator` is unknown.
    ManifestError
        If the folder holds no excerpts.
    AudioError, NoteError, OutputError
        As `corpus.prepare_songs`.
    """
    folder = check_folder(data_folder, CORPUS)
    if annotator not in ANNOTATORS:
        raise ConfigError(
            f"annotator is {annotator!r}: use one of {', '.join(ANNOTATORS)}"
        )
    songs, remarks = _list(folder, annotator)
    return prepare_songs(
        CORPUS,
        songs,
        folder,
        output_folder,
        segment_s,
        {"annotator": annotator},
        remarks,
        cut_overlaps,
        n_jobs,
        overwrite,
    )


def download_vocadito(data_folder) -> Path:
    """Download vocadito from Zenodo.

    Arguments
    ---------
    data_folder : str or Path
        Where it is unpacked; what is there already is not fetched again.

    Returns
    -------
    Path
        `data_folder`.

    Raises
    ------
    DependencyError
        If the site cannot be reached or sends a damaged file.
    OutputError
        If the folder cannot be written.
    """
    return fetch_record("5578807", data_folder, patterns=("vocadito.zip",))


def _list(folder: Path, annotator: str):
    """Excerpts of the corpus, and remarks."""
    if (folder / "vocadito" / "Audio").is_dir():
        top = folder / "vocadito"
    else:
        top = folder
    ending = f"_notes{annotator}.csv"
    sources = {
        path.name[: -len(ending)]: path
        for path in sorted((top / "Annotations" / "Notes").glob(f"*{ending}"))
    }
    names = {path.stem for path in (top / "Audio").glob("*.*")}
    audio = {
        name: wav
        for name in sorted(names)
        if (wav := find_audio(top / "Audio", name))
    }
    ids, remarks = match_songs(
        sources,
        audio,
        CORPUS,
        f"{folder}/Audio/vocadito_<n>.wav and "
        f"{folder}/Annotations/Notes/vocadito_<n>{ending}",
    )
    names = singers(top)
    if not names:
        remarks.append("no vocadito_metadata.csv: the singers are unknown")
    songs = [
        Song(
            song_id,
            audio[song_id],
            _notes(sources[song_id]),
            "test",
            sources[song_id],
            names.get(re.sub(r"^.*_", "", song_id), ""),
        )
        for song_id in ids
    ]
    return songs, remarks


def _notes(path: Path) -> list[tuple[float, float, float]]:
    """Notes of a file as onset, offset, MIDI number."""
    notes = []
    for number, row in enumerate(read_rows(path), start=1):
        if len(row) != 3 or not row[1] > 0:
            raise NoteError(
                f"{path}: note {number}: expected onset, a frequency above 0 "
                f"and a duration but got {row}"
            )
        onset, hertz, duration = row
        notes.append((onset, onset + duration, float(hz_to_midi(hertz))))
    return notes


def singers(folder: Path) -> dict[str, str]:
    """Read the singer of each excerpt.

    Arguments
    ---------
    folder : Path
        Holds `vocadito_metadata.csv`.

    Returns
    -------
    dict of str to str
        By number of the excerpt; empty if the file is missing.

    Raises
    ------
    ManifestError
        If the file is no such table.
    """
    path = find_file([folder], ["vocadito_metadata.csv"])
    if path is None:
        return {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            return {
                row["track_id"]: row["singer_id"]
                for row in csv.DictReader(stream)
            }
    except (KeyError, UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(
            f"{path}: is no table with track_id and singer_id: {error}"
        ) from None
