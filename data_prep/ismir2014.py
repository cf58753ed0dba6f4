"""ISMIR2014: 38 clips of solo singing with notes, 19 min; a test corpus.

11 clips are sung by women (`afemale<n>`), 13 by men (`amale<n>`) and 14 by
children (`child<n>`).

Licence: free for non-commercial use, no redistribution. The site that
published it is gone; ask the authors.

Citation: E. Molina, A. M. Barbancho, L. J. Tardon and I. Barbancho,
"Evaluation Framework for Automatic Singing Transcription", ISMIR 2014.

Layouts:

    <clip>.wav and <clip>.GroundTruth.txt, in the folder or one below it
    wav16kHz/<clip>/vocals.wav and Annotations.json

A row of the ground truth is `onset, offset, pitch`: seconds, seconds and a
MIDI number with fractions, separated by commas or blanks. `<clip>.txt` and
`<clip>.csv` with such rows are read as well.
"""

from __future__ import annotations

from pathlib import Path

from data_prep.corpus import (
    SUFFIXES,
    Corpus,
    Song,
    check_folder,
    converted_songs,
    find_file,
    match_songs,
    prepare_songs,
    read_rows,
)
from data_prep.manifest import Summary
from speechbrain_ext.errors import ManifestError

CORPUS = Corpus(
    name="ismir2014",
    license="ISMIR2014 terms",
    terms="non-commercial use only, no redistribution",
    citation="Molina et al., Evaluation Framework for Automatic Singing "
    "Transcription, ISMIR 2014",
    url="http://www.atic.uma.es/ismir2014singing",
)
NOTES_SUFFIXES = (".GroundTruth.txt", ".txt", ".csv")


def prepare_ismir2014(
    data_folder,
    output_folder,
    segment_s: float = 5.0,
    cut_overlaps: bool = False,
    n_jobs: int = 1,
    overwrite: bool = False,
) -> Summary:
    """Write the manifest of ISMIR2014, all of it for testing.

    Arguments
    ---------
    data_folder : str or Path
        The corpus, in a layout of this module's docstring.
    output_folder : str or Path
        Gets `test.csv` and `notes/`.
    segment_s : float
        Length of a segment in seconds.
    cut_overlaps : bool
        Whether overlapping notes are cut (and counted) or refused.
    n_jobs : int
        Clips checked at a time.
    overwrite : bool
        Whether another preparation may be replaced.

    Returns
    -------
    Summary

    Raises
    ------
    ManifestError
        If the folder holds no clips.
    AudioError, NoteError, OutputError
        As `corpus.prepare_songs`.
    """
    folder = check_folder(data_folder, CORPUS)
    songs, remarks = converted_songs(folder, CORPUS) or _original(folder)
    return prepare_songs(
        CORPUS,
        songs,
        folder,
        output_folder,
        segment_s,
        {},
        remarks,
        cut_overlaps,
        n_jobs,
        overwrite,
    )


def download_ismir2014(data_folder) -> None:
    """Say how to get ISMIR2014; its site is gone.

    Arguments
    ---------
    data_folder : str or Path
        Where the corpus is to be put.

    Raises
    ------
    ManifestError
        Always: with the way to ask for it.
    """
    raise ManifestError(
        f"{CORPUS.name} is not online any more: ask the authors of the paper "
        f"({CORPUS.citation}) for EvaluationFramework_ISMIR2014 and unpack it "
        f"into {data_folder}"
    )


def _original(folder: Path):
    """Clips of the original layout, and remarks."""
    audio: dict[str, Path] = {}
    sources: dict[str, Path] = {}
    for path in sorted([*folder.glob("*"), *folder.glob("*/*")]):
        if path.suffix.lower() in SUFFIXES:
            clip = path.stem
            if clip in audio:
                raise ManifestError(
                    f"{path}: clip {clip} is there twice, also as "
                    f"{audio[clip]}: remove one"
                )
            audio[clip] = path
            names = [clip + suffix for suffix in NOTES_SUFFIXES]
            if source := find_file([path.parent], names):
                sources[clip] = source
        elif path.name.endswith(NOTES_SUFFIXES[0]):
            sources.setdefault(path.name[: -len(NOTES_SUFFIXES[0])], path)
    ids, remarks = match_songs(
        sources,
        audio,
        CORPUS,
        f"{folder}/<clip>.wav and <clip>{NOTES_SUFFIXES[0]}",
    )
    songs = [
        Song(i, audio[i], read_rows(sources[i]), "test", sources[i])
        for i in ids
    ]
    return songs, remarks
