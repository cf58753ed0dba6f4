"""MiniSinging in its own layout, to manifests: see `corpus.as_minisinging`."""

from __future__ import annotations

from pathlib import Path

from data_prep.corpus import (
    Corpus,
    Song,
    check_folder,
    prepare_songs,
    subfolders,
)
from data_prep.manifest import SPLITS, Summary
from speechbrain_ext.errors import ManifestError
from speechbrain_ext.formats import read_notes

CORPUS = Corpus(
    name="minisinging",
    license="Apache-2.0",
    terms="made by this project",
    citation="",
    url="",
)


def prepare_native(
    data_folder,
    output_folder,
    segment_s: float = 5.0,
    n_jobs: int = 1,
    overwrite: bool = False,
) -> Summary:
    """Write the manifests of a folder that `as_minisinging` wrote.

    Arguments
    ---------
    data_folder, output_folder : str or Path
        The corpus; gets the manifests and notes.
    segment_s : float
        Length of a segment in seconds.
    n_jobs : int
        Songs checked at a time.
    overwrite : bool
        Whether another preparation may be replaced.

    Returns
    -------
    Summary

    Raises
    ------
    ManifestError
        If the folder is missing or holds no songs.
    AudioError, NoteError, OutputError
        As `corpus.prepare_songs`.
    """
    folder = check_folder(data_folder, CORPUS)
    songs = [
        _song(place, split)
        for split in SPLITS
        for place in subfolders(folder / split)
    ]
    if not songs:
        raise ManifestError(
            f"{folder}: no <split>/<song>/voice.wav: write the corpus with "
            "`python -m data_prep.minisinging minisinging FOLDER`"
        )
    return prepare_songs(
        CORPUS,
        songs,
        folder,
        output_folder,
        segment_s,
        {},
        n_jobs=n_jobs,
        overwrite=overwrite,
    )


def _song(place: Path, split: str) -> Song:
    source = place / "notes.csv"
    media = {
        "accomp_wav": place / "accompaniment.wav",
        "f0": place / "f0.csv",
        "words": place / "words.csv",
        "phones": place / "phones.csv",
    }
    notes = [(n.onset, n.offset, n.midi) for n in read_notes(source)]
    return Song(
        place.name, place / "voice.wav", notes, split, source, "", media
    )
