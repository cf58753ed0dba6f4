"""MIR-ST500: 500 Chinese pop songs with the notes of the voice, about 30 h.

Licence: none is stated; research use. The labels are public, the audio is a
list of links to videos, some of which are dead.

Citation: J.-Y. Wang and J.-S. R. Jang, "On the Preparation and Validation of a
Large-Scale Dataset of Singing Transcription", ICASSP 2021.

Songs 1 to 400 are for training, 401 to 500 for testing. Nothing is published
for validation, so songs 361 to 400 are held out of the training songs; where
none of them is there, a tenth of the training songs is (`corpus.held_out`).

Layouts, with or without a folder `wav16kHz` around them:

    {train,test}/<song>/vocals.wav      what `data_prep.vocals` isolated
    {train,test}/<song>/Mixture.mp3     what was downloaded
    Annotations.json or MIR-ST500_corrected.json: {song: [[on, off, pitch]]}

Other audio formats and the name `vocal` do as well. Releases of the labels
before 2021-05-23 have overlapping notes, which are cut at the next onset.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from data_prep.corpus import (
    Corpus,
    Song,
    check_folder,
    find_audio,
    find_file,
    held_out,
    match_songs,
    prepare_songs,
    read_annotations,
    subfolders,
)
from data_prep.manifest import Summary
from speechbrain_ext.errors import ConfigError, ManifestError

CORPUS = Corpus(
    name="mir_st500",
    license="unstated",
    terms="labels without a licence, audio of commercial songs; research use",
    citation="Wang and Jang, On the Preparation and Validation of a "
    "Large-Scale Dataset of Singing Transcription, ICASSP 2021",
    url="https://github.com/york135/singing_transcription_ICASSP2021",
)
ANNOTATIONS = ("Annotations.json", "MIR-ST500_corrected.json")
FIRST_VALID, LAST_TRAIN, LAST_TEST = 361, 400, 500
NAMES = {"vocals": ("vocals", "vocal"), "mixture": ("mixture", "mix")}


def prepare_mir_st500(
    data_folder,
    output_folder,
    segment_s: float = 5.0,
    valid_songs: Iterable[str | int] | str | int | None = None,
    medium: str = "vocals",
    cut_overlaps: bool = True,
    n_jobs: int = 1,
    overwrite: bool = False,
) -> Summary:
    """Write the manifests of MIR-ST500.

    Arguments
    ---------
    data_folder : str or Path
        The corpus, in a layout of this module's docstring.
    output_folder : str or Path
        Gets `train.csv`, `valid.csv`, `test.csv` and `notes/`.
    segment_s : float
        Length of a segment in seconds.
    valid_songs : iterable of str or int, optional
        Training songs to hold out; by default see the module's docstring.
    medium : {"vocals", "mixture"}
        Which audio becomes `wav`. With vocals, the mixture becomes `mix_wav`
        where it is there.
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
        If no annotation or no audio is found, a song lies in the folder of
        the wrong split, or a song of `valid_songs` is no training song.
    ConfigError
        If `medium` is unknown.
    AudioError, NoteError, OutputError
        As `corpus.prepare_songs`.
    """
    folder = check_folder(data_folder, CORPUS)
    if medium not in NAMES:
        raise ConfigError(
            f"medium is {medium!r}: use one of {', '.join(NAMES)}"
        )
    if isinstance(valid_songs, str | int):
        valid_songs = [valid_songs]
    if valid_songs is not None:
        valid_songs = sorted(map(str, valid_songs))
    songs, remarks = _list(folder, valid_songs, medium)
    return prepare_songs(
        CORPUS,
        songs,
        folder,
        output_folder,
        segment_s,
        {"valid_songs": valid_songs, "medium": medium},
        remarks,
        cut_overlaps,
        n_jobs,
        overwrite,
    )


def download_mir_st500(data_folder) -> None:
    """Say how to get MIR-ST500; it cannot be downloaded as a whole.

    Arguments
    ---------
    data_folder : str or Path
        Where the corpus is to be put.

    Raises
    ------
    ManifestError
        Always: with the way to the labels and the audio.
    """
    raise ManifestError(
        f"{CORPUS.name} cannot be downloaded: take MIR-ST500_corrected.json "
        f"and the links to the songs from {CORPUS.url}, or ask its authors "
        f"for the audio, and put it into {data_folder}/train/<song>/ and "
        f"{data_folder}/test/<song>/"
    )


def _list(folder: Path, valid_songs, medium: str):
    """Songs of the corpus, and remarks."""
    source = find_file(
        [folder, folder / "MIR-ST500_20210206", folder / "wav16kHz"],
        ANNOTATIONS,
    )
    if source is None:
        raise ManifestError(
            f"{folder}: no {' or '.join(ANNOTATIONS)}: the labels are at "
            f"{CORPUS.url}"
        )
    notes = read_annotations(source)
    found: dict[str, tuple[str, dict[str, Path]]] = {}
    for split in ("train", "test"):
        for top in (folder / "wav16kHz", folder):
            for song in subfolders(top / split):
                media = {
                    name: wav
                    for name, stems in NAMES.items()
                    if (wav := find_audio(song, *stems))
                }
                if media:
                    # Voices and mixtures may lie in two trees.
                    _, others = found.get(song.name, (split, {}))
                    _check_place(song, split, others.keys() & media.keys())
                    found[song.name] = split, others | media
    heard = [song for song, (_, media) in found.items() if medium in media]
    layout = f"{folder}/train/<song>/{NAMES[medium][0]}.wav"
    if not heard and found:
        raise ManifestError(
            f"{folder}: {len(found)} songs, but none with {medium}: isolate "
            "the voices first (data_prep.vocals), or choose the other medium"
        )
    ids, remarks = match_songs(notes, heard, CORPUS, layout)
    train = [song for song in ids if found[song][0] == "train"]
    if valid_songs is None:
        valid = {s for s in train if FIRST_VALID <= _number(s) <= LAST_TRAIN}
        if not valid or len(valid) == len(train):
            valid = held_out(train)
    else:
        valid = set(valid_songs)
        if strange := sorted(valid - set(train)):
            raise ManifestError(
                f"valid_songs: {strange[0]} is no training song of {folder}"
            )
    songs = []
    for song in ids:
        split, media = found[song]
        songs.append(
            Song(
                song,
                media[medium],
                notes[song],
                "valid" if song in valid else split,
                source,
                media={"mix_wav": media["mixture"]}
                if "mixture" in media and medium == "vocals"
                else {},
            )
        )
    return songs, remarks


def _number(song: str) -> int:
    """Published number of a song, 0 for a name of another kind."""
    return int(song) if song.isascii() and song.isdigit() else 0


def _check_place(song: Path, split: str, again) -> None:
    """Refuse a song in the wrong place, or with audio found before."""
    number = _number(song.name)
    if 1 <= number <= LAST_TEST:
        published = "train" if number <= LAST_TRAIN else "test"
        if split != published:
            raise ManifestError(
                f"{song}: lies in {split}, but songs 1 to {LAST_TRAIN} are "
                "for training and the others for testing: move it"
            )
    if again:
        raise ManifestError(
            f"{song}: the {min(again)} of song {song.name} are in another "
            "folder of the corpus, too: remove one"
        )
