"""TONAS: 72 flamenco songs a cappella with notes, 36 min; a test corpus.

Licence: free for internal non-commercial use, no redistribution; access is
granted on request.

Citation: J. Mora et al., "Characterization and Similarity in A Cappella
Flamenco Cantes", ISMIR 2010 (music); E. Gomez and J. Bonada, "Towards
Computer-Assisted Flamenco Transcription", Computer Music Journal 37(2), 2013
(notes).

Layouts:

    <style>/<song>.wav, <song>.notes.Corrected, and TONAS-Metadata.txt
    wav16kHz/<song>/vocals.wav and Annotations.json

A note file starts with a line that holds the tuning in cents against 440 Hz;
then come rows `onset, duration, pitch, energy`. The pitch contains the tuning
already: with a tuning of 43 cents pitches read 66.43, and the frequency that
the corpus gives for that note in its other files is 379.3 Hz, MIDI 66.43. So
the tuning is not added again, and the fractions are kept. Only in a file whose
pitches are all whole numbers is it added, as `speechbrain_ext.formats` does.
Where onset plus duration passes the next onset, the note is cut there.
"""

from __future__ import annotations

from math import isfinite
from pathlib import Path

from data_prep.corpus import (
    Corpus,
    Song,
    check_folder,
    converted_songs,
    find_audio,
    find_file,
    match_songs,
    prepare_songs,
    read_rows,
)
from data_prep.manifest import Summary
from speechbrain_ext.errors import ManifestError, NoteError

CORPUS = Corpus(
    name="tonas",
    license="TONAS terms",
    terms="internal non-commercial use only, no redistribution",
    citation="Mora et al., Characterization and Similarity in A Cappella "
    "Flamenco Cantes, ISMIR 2010; Gomez and Bonada, Towards "
    "Computer-Assisted Flamenco Transcription, CMJ 37(2), 2013",
    url="https://zenodo.org/records/1290722",
)
NOTES_SUFFIX = ".notes.Corrected"


def prepare_tonas(
    data_folder,
    output_folder,
    segment_s: float = 5.0,
    cut_overlaps: bool = True,
    n_jobs: int = 1,
    overwrite: bool = False,
) -> Summary:
    """Write the manifest of TONAS, all of it for testing.

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
        Songs checked at a time.
    overwrite : bool
        Whether another preparation may be replaced.

    Returns
    -------
    Summary

    Raises
    ------
    ManifestError
        If the folder holds no songs.
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


def download_tonas(data_folder) -> None:
    """Say how to get TONAS; access is on request.

    Arguments
    ---------
    data_folder : str or Path
        Where the corpus is to be put.

    Raises
    ------
    ManifestError
        Always: with the way to ask for access.
    """
    raise ManifestError(
        f"{CORPUS.name} is given on request: ask for access at {CORPUS.url} "
        f"and unpack the archive into {data_folder}"
    )


def _original(folder: Path):
    """Songs of the original layout, and remarks."""
    sources: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.name.lower().endswith(NOTES_SUFFIX.lower()):
            song_id = path.name[: -len(NOTES_SUFFIX)]
            if song_id in sources:
                raise ManifestError(
                    f"{path}: song {song_id} is there twice, also as "
                    f"{sources[song_id]}: remove one"
                )
            sources[song_id] = path
    audio = {
        song_id: wav
        for song_id, path in sources.items()
        if (wav := find_audio(path.parent, song_id))
    }
    heard = [
        path.stem
        for path in folder.rglob("*")
        if path.suffix.lower() == ".wav" and path.is_file()
    ]
    ids, remarks = match_songs(
        sources, [*audio, *heard], CORPUS, f"{folder}/<style>/<song>.wav"
    )
    missing = [i for i in ids if i not in audio]
    if missing:
        raise ManifestError(
            f"{sources[missing[0]]}: its audio is in another folder: put them "
            "side by side"
        )
    names = singers(folder)
    if not names:
        remarks.append("no TONAS-Metadata.txt: the singers are unknown")
    songs = [
        Song(
            song_id,
            audio[song_id],
            _notes(sources[song_id]),
            "test",
            sources[song_id],
            names.get(song_id, ""),
        )
        for song_id in ids
    ]
    return songs, remarks


def _notes(path: Path) -> list[tuple[float, float, float]]:
    """Notes of a file as onset, offset, MIDI number."""
    rows = read_rows(path)
    if not rows or len(rows[0]) != 1:
        raise NoteError(
            f"{path}: does not start with a line that holds the tuning in cents"
        )
    for number, row in enumerate(rows[1:], start=1):
        if len(row) != 4 or not all(map(isfinite, row)):
            raise NoteError(
                f"{path}: note {number}: expected onset, duration, pitch, "
                f"energy but got {row}"
            )
    whole = all(abs(row[2] - round(row[2])) < 1e-3 for row in rows[1:])
    shift = rows[0][0] / 100 if whole else 0.0
    return [
        (onset, round(onset + duration, 6), pitch + shift)
        for onset, duration, pitch, _ in rows[1:]
    ]


def singers(folder: Path) -> dict[str, str]:
    """Read the singer of each song: the last column of the metadata.

    The file is tab-separated: name, style (not in all releases), title,
    singer; its text is in one of several encodings.

    Arguments
    ---------
    folder : Path
        Holds `TONAS-Metadata.txt`.

    Returns
    -------
    dict of str to str
        By name of the song; empty if the file is missing.
    """
    path = find_file([folder], ["TONAS-Metadata.txt"])
    if path is None:
        return {}
    data = path.read_bytes()
    wide = data[:2] in (b"\xff\xfe", b"\xfe\xff")
    for encoding in ("utf-16",) if wide else ("utf-8-sig", "latin-1"):
        try:
            text = data.decode(encoding).replace("\0", "")
            break
        except UnicodeDecodeError:
            continue
    else:
        return {}
    singers = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.rstrip("\t ").split("\t")]
        if len(cells) >= 3:
            singers[cells[0].removesuffix(".wav")] = cells[-1]
    return singers
