"""N20EMv2: 157 songs sung to a backing track, with lip video, 8 h 22 min.

Licence: CC BY-SA 4.0.

Citation: X. Gu, L. Ou, W. Zeng, J. Zhang, N. Wong and Y. Wang, "Automatic
Lyric Transcription and Automatic Music Transcription from Multimodal
Singing", ACM TOMM 20(7), 2024.

Layout (`data/<song>` may as well be `data_sub<n>/<song>`, as the archives
unpack):

    data/<song>/vocals.wav        the voice alone, 16 kHz
    data/<song>/accomp.wav        the backing track (optional)
    data/<song>/video_50fps.npy   mouth, 50 frames per second (optional):
                                  uint8 (frames, 96, 96)
    data/<song>/f0.csv            pitch; MiniSinging alone has it (optional)
    annotations.json: {song: {"split": train|valid|test, "midi": [[on, off,
    pitch]]}}

The splits are the published ones. What stands before the last hyphen of a
song's ID names the singer: `1.22.b-12` is sung by `1.22.b`.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from data_prep.corpus import (
    Corpus,
    Made,
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
from speechbrain_ext.audio import audio_info
from speechbrain_ext.errors import AudioError, ManifestError

CORPUS = Corpus(
    name="n20emv2",
    license="CC BY-SA 4.0",
    terms="free with attribution, changes under the same licence",
    citation="Gu et al., Automatic Lyric Transcription and Automatic Music "
    "Transcription from Multimodal Singing, ACM TOMM 20(7), 2024",
    url="https://zenodo.org/records/10814703",
)

VIDEO_RATE = 50  # pictures per second
MIN_PICTURE = 88  # pixels: what networks cut out of a picture

# Video and audio may differ in length by this, seconds: what is more than the
# first is remarked, what is more than the second refused.
ODD_VIDEO_S, LONGEST_ODD_VIDEO_S = 0.1, 2.0


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
    AudioError
        If a video holds no grey square pictures or is not about as long as
        its song, or as `corpus.prepare_songs`.
    NoteError, OutputError
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
        "f0": find_file([place], ["f0.csv"]),
    }
    media = {name: path for name, path in media.items() if path}
    wav = find_audio(place, "vocals")
    check = None
    if "video" in media:
        check = partial(_check_video, wav, media["video"])
    singer, hyphen, _ = song_id.rpartition("-")
    return Song(
        song_id,
        wav,
        annotation["midi"],
        split,
        source,
        singer if hyphen else "",
        media,
        check,
    )


def _check_video(wav: Path, video: Path, folder: Path) -> Made:
    """Check a video by its header; nothing is made."""
    duration = audio_info(wav).duration
    try:
        pictures = np.lib.format.open_memmap(video, "r")
    except (OSError, ValueError, TypeError) as error:
        reason = str(error).splitlines()[0] if str(error) else "is empty"
        raise AudioError(
            f"{video}: is no complete array of pictures ({reason}): get it "
            "again"
        ) from None
    shape = "x".join(map(str, pictures.shape))
    if pictures.dtype.kind not in "ui" or pictures.ndim != 3:
        raise AudioError(
            f"{video}: holds {shape} numbers of type {pictures.dtype}: "
            "expected grey pictures, uint8 (frames, 96, 96)"
        )
    count, height, width = pictures.shape
    if height != width or height < MIN_PICTURE:
        raise AudioError(
            f"{video}: its pictures are {height}x{width}: they must be square "
            f"and at least {MIN_PICTURE}x{MIN_PICTURE}"
        )
    if not duration:
        return Made({}, duration)
    late = abs(count / VIDEO_RATE - duration)
    if late > LONGEST_ODD_VIDEO_S:
        raise AudioError(
            f"{video}: {count} pictures last {count / VIDEO_RATE:g} s but "
            f"{wav.name} lasts {duration:g} s: there must be {VIDEO_RATE} "
            "pictures per second"
        )
    odd = "video and audio differ by more than 0.1 s"
    return Made({}, duration, odd if late > ODD_VIDEO_S else "")
