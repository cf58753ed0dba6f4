"""N20EMv2: 157 songs sung to a backing track, with lip video, 8 h 22 min.

Licence: CC BY-SA 4.0.

Citation: X. Gu, L. Ou, W. Zeng, J. Zhang, N. Wong and Y. Wang, "Automatic
Lyric Transcription and Automatic Music Transcription from Multimodal
Singing", ACM TOMM 20(7), 2024.

Layout (`data/<song>` may as well be `data_sub<n>/<song>`, as the archives
unpack):

    data/<song>/vocals.wav        the voice alone, 16 kHz
    data/<song>/accomp.wav        the backing track (optional)
    data/<song>/video_50fps.npy   mouth, 50 frames per second (optional)
    annotations.json: {song: {"split": train|valid|test, "midi": [[on, off,
    pitch]]}}

The splits are the published ones. What stands before the last hyphen of a
song's ID names the singer: `1.22.b-12` is sung by `1.22.b`.
"""

from __future__ import annotations

from pathlib import Path

from data_prep.corpus import (
    Corpus,
    Song,
    check_folder,
    find_audio,
    find_file,
    match_songs,
    prepare_songs,
    read_annotations,
    subfolders,
)
from data_prep.manifest import SPLITS, Summary
from data_prep.zenodo import fetch_record
from speechbrain_ext.errors import ManifestError

CORPUS = Corpus(
    name="n20emv2",
    license="CC BY-SA 4.0",
    terms="free with attribution, changes under the same licence",
    citation="Gu et al., Automatic Lyric Transcription and Automatic Music "
    "Transcription from Multimodal Singing, ACM TOMM 20(7), 2024",
    url="https://zenodo.org/records/10814703",
)


def prepare_n20emv2(
    data_folder,
    output_folder,
    segment_s: float = 5.0,
    cut_overlaps: bool = False,
    n_jobs: int = 1,
    overwrite: bool = False,
) -> Summary:
    """Write the manifests of N20EMv2.

    Arguments
    ---------
    data_folder : str or Path
        The corpus, in the layout of this module's docstring.
    output_folder : str or Path
        Gets `train.csv`, `valid.csv`, `test.csv` and `notes/`.
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
        If the annotation or the audio is not found, or a song's annotation
        lacks its split or notes.
    AudioError, NoteError, OutputError
        As `corpus.prepare_songs`.
    """
    folder = check_folder(data_folder, CORPUS)
    songs, remarks = _list(folder)
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


def download_n20emv2(data_folder) -> Path:
    """Download N20EMv2 from Zenodo: 11.5 GB, most of it video.

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
    return fetch_record("10814703", data_folder, patterns=("*.zip", "*.json"))


def _list(folder: Path):
    """Songs of the corpus, and remarks."""
    source = find_file([folder, folder / "data"], ["annotations.json"])
    if source is None:
        raise ManifestError(
            f"{folder}: no annotations.json: it is at {CORPUS.url}"
        )
    annotations = read_annotations(source)
    places: dict[str, Path] = {}
    for top in (folder, folder / "data"):
        for group in subfolders(top):
            if group.name == "data" or group.name.startswith("data_sub"):
                for song in subfolders(group):
                    if not find_audio(song, "vocals"):
                        continue
                    if song.name in places:
                        raise ManifestError(
                            f"{song}: song {song.name} is there twice, also "
                            f"as {places[song.name]}: remove one"
                        )
                    places[song.name] = song
    ids, remarks = match_songs(
        annotations, places, CORPUS, f"{folder}/data/<song>/vocals.wav"
    )
    return [_song(i, places[i], annotations[i], source) for i in ids], remarks


def _song(song_id: str, place: Path, annotation, source: Path) -> Song:
    """One song of the annotation."""
    if not isinstance(annotation, dict) or "midi" not in annotation:
        raise ManifestError(f"{source}: song {song_id}: has no midi notes")
    split = annotation.get("split")
    if split not in SPLITS:
        raise ManifestError(
            f"{source}: song {song_id}: split {split!r} is none of "
            f"{', '.join(SPLITS)}"
        )
    media = {
        "accomp_wav": find_audio(place, "accomp"),
        "video": find_file([place], ["video_50fps.npy"]),
    }
    singer, hyphen, _ = song_id.rpartition("-")
    return Song(
        song_id,
        find_audio(place, "vocals"),
        annotation["midi"],
        split,
        source,
        singer if hyphen else "",
        {name: path for name, path in media.items() if path},
    )
