"""MIR-1K: 1000 clips of karaoke by 19 amateurs, 2 h 13 min, labelled by pitch.

Licence: no licence text found; academic use.

Citation: C.-L. Hsu and J.-S. R. Jang, "On the Improvement of Singing Voice
Separation for Monaural Recordings Using the MIR-1K Dataset", IEEE TASLP
18(2), 2010.

Layout (the folder MIR-1K itself or the one that holds it; audio may as well
be `.flac`):

    Wavfile/<singer>_<song>_<clip>.wav    4 to 13 s, 16 kHz, stereo: the
                                          accompaniment left, the voice right
    PitchLabel/<singer>_<song>_<clip>.pv  MIDI number of the voice per 20 ms
    UndividedWavfile/<singer>_<song>.wav  the 110 songs that the clips are cut
                                          from, as the clips; no pitch labels

Clips are prepared, or whole songs where there are only those or `whole` asks
for them. Both channels are media of their own (`accomp_wav`, `wav`); `mix_wav`
is the stereo file, whose mean over the channels is the mixture at 0 dB. There
are no notes; `f0` is the pitch label of a clip. `UnvoicedFrameLabel`,
`vocal-nonvocalLabel` and `Lyrics` are not needed and not read.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from data_prep.corpus import (
    SUFFIXES,
    Corpus,
    Song,
    check_folder,
    entries,
    held_out,
    match_songs,
    natural_key,
    prepare_songs,
    subfolders,
)
from data_prep.manifest import Summary
from speechbrain_ext.audio import audio_info
from speechbrain_ext.errors import (
    AudioError,
    ConfigError,
    ManifestError,
    NoteError,
)
from speechbrain_ext.f0 import MIR1K_STEP_S, MIR1K_SUFFIX, read_f0
from speechbrain_ext.separation import MIR1K_CHANNELS, MIR1K_CLIPS

CORPUS = Corpus(
    name="mir1k",
    license="unstated",
    terms="no licence text found; academic use",
    citation="Hsu and Jang, On the Improvement of Singing Voice Separation "
    "for Monaural Recordings Using the MIR-1K Dataset, IEEE TASLP 18(2), 2010",
    url="https://sites.google.com/site/unvoicedsoundseparation/mir-1k",
)
ARCHIVE = "http://mirlab.org/dataset/public/MIR-1K.zip"
CLIPS, SONGS = MIR1K_CLIPS, "UndividedWavfile"  # folders

PROTOCOLS = ("huang", "random_song")
TRAIN_SINGERS = ("abjones", "amy")
VALID_CLIPS = 4

# Clip and pitch label may differ in length by this many frames of the label.
LENGTH_TOLERANCE = 3


def prepare_mir1k(
    data_folder,
    output_folder,
    segment_s: float = 5.0,
    protocol: str = "huang",
    whole: bool | None = None,
    n_jobs: int = 1,
    overwrite: bool = False,
) -> Summary:
    """Write the manifests of MIR-1K.

    Arguments
    ---------
    data_folder : str or Path
        The corpus, in the layout of this module's docstring.
    output_folder : str or Path
        Gets `train.csv`, `valid.csv` and `test.csv`.
    segment_s : float
        Length of a segment in seconds.
    protocol : {"huang", "random_song"}
        `huang` (default) trains on the singers abjones and amy, 175 clips,
        and tests on all others, as Huang et al. (Singing-Voice Separation
        from Monaural Recordings Using Deep Recurrent Neural Networks, ISMIR
        2014). Like theirs, its validation set is 4 of the training singers'
        clips; theirs are not listed, so these are drawn here
        (`corpus.held_out`; a tenth, where fewer than 40 clips are there).
        Clips of one song are in both training and validation.
        `random_song` draws whole songs in the same way, a tenth of them for
        validation and a tenth for testing: no song is in two splits, but
        singers are.
    whole : bool, optional
        Whether whole songs are prepared (`UndividedWavfile`) and not clips
        (`Wavfile`). By default clips, if there are any. Protocols treat a song
        as they treat a clip: of the training singers' songs, `huang` holds
        out a tenth, at most 4.
    n_jobs : int
        Clips checked at a time.
    overwrite : bool
        Whether another preparation may be replaced.

    Returns
    -------
    Summary

    Raises
    ------
    ConfigError
        If `protocol` is unknown or `whole` is none of its values.
    ManifestError
        If the folder holds no clips, or a clip's name tells no singer.
    AudioError
        If a clip is not readable or not stereo.
    NoteError
        If a pitch label is not readable or not as long as its clip.
    OutputError
        As `corpus.prepare_songs`.
    """
    folder = check_folder(data_folder, CORPUS)
    if protocol not in PROTOCOLS:
        raise ConfigError(
            f"protocol is {protocol!r}: use one of {', '.join(PROTOCOLS)}"
        )
    if whole not in (True, False, None):
        raise ConfigError(f"whole is {whole!r}: use true or false")
    songs, whole, remarks = _list(folder, protocol, whole)
    return prepare_songs(
        CORPUS,
        songs,
        folder,
        output_folder,
        segment_s,
        {"protocol": protocol} | ({"whole": True} if whole else {}),
        remarks,
        n_jobs=n_jobs,
        overwrite=overwrite,
    )


def download_mir1k(data_folder) -> None:
    """Say how to get MIR-1K: its archive comes without a checksum.

    Arguments
    ---------
    data_folder : str or Path
        Where the corpus is to be put.

    Raises
    ------
    ManifestError
        Always: with the address of the archive.
    """
    raise ManifestError(
        f"{CORPUS.name} has to be fetched by hand: get {ARCHIVE} (described "
        f"at {CORPUS.url}) and unpack it into {data_folder}"
    )


def splits(clips: Iterable[str], protocol: str = "huang") -> dict[str, str]:
    """Assign clips to train, valid and test.

    Arguments
    ---------
    clips : iterable of str
        Names, `<singer>_<song>_<clip>`, or of whole songs, `<singer>_<song>`.
    protocol : {"huang", "random_song"}
        See `prepare_mir1k`.

    Returns
    -------
    dict of str to str
        Split by clip.

    Raises
    ------
    ManifestError
        If a clip has another name.

    Example
    -------
    >>> splits(["amy_1_01", "amy_1_02", "leon_3_01"])
    {'amy_1_01': 'valid', 'amy_1_02': 'train', 'leon_3_01': 'test'}
    """
    names = {clip: _names(clip) for clip in clips}
    if protocol == "huang":
        seen = [
            c for c, (singer, _) in names.items() if singer in TRAIN_SINGERS
        ]
        share = min(0.1, VALID_CLIPS / max(1, len(seen)))
        valid, test = held_out(seen, share), names.keys() - set(seen)
    else:
        songs = {song for _, song in names.values()}
        late = held_out(songs, 0.1)
        early = held_out(songs - late, 1 / 9)
        test = {clip for clip, (_, song) in names.items() if song in late}
        valid = {clip for clip, (_, song) in names.items() if song in early}
    return {
        clip: "test" if clip in test else "valid" if clip in valid else "train"
        for clip in names
    }


def _names(clip: str) -> tuple[str, str]:
    """Singer and song of a clip or song, the song as `<singer>_<song>`."""
    parts = clip.split("_")
    if len(parts) not in (2, 3) or not all(parts):
        raise ManifestError(
            f"{CORPUS.name}: {clip} is not named <singer>_<song>_<clip>, nor "
            "<singer>_<song> as whole songs are: rename or remove it"
        )
    return parts[0], f"{parts[0]}_{parts[1]}"


def _list(folder: Path, protocol: str, whole: bool | None):
    """Clips or songs of the corpus, whether they are whole, and remarks."""
    places = (folder, *subfolders(folder))
    top = {
        name: next((p for p in places if os.path.isdir(p / name)), None)
        for name in (CLIPS, SONGS)
    }
    if whole is None:
        whole = top[CLIPS] is None and top[SONGS] is not None
    kind, parts = (SONGS, 2) if whole else (CLIPS, 3)
    place = top[kind] or folder
    audio = _files(place / kind, SUFFIXES)
    for name in audio:
        if len(name.split("_")) != parts:
            expected = "_".join(("<singer>", "<song>", "<clip>")[:parts])
            raise ManifestError(
                f"{place / kind}: {name} is not named {expected}: rename or "
                "remove it"
            )
    if whole:
        if not audio:
            raise ManifestError(
                f"{CORPUS.name}: no songs found: expected "
                f"{folder}/{SONGS}/<singer>_<song>.wav"
            )
        sources, ids, remarks = {}, sorted(audio, key=natural_key), []
    else:
        sources = _files(place / "PitchLabel", (MIR1K_SUFFIX,))
        ids, remarks = match_songs(
            sources,
            audio,
            CORPUS,
            f"{folder}/{CLIPS}/<clip>.wav and {folder}/PitchLabel/<clip>"
            f"{MIR1K_SUFFIX}",
        )
    split = splits(ids, protocol)
    songs = [_song(i, audio[i], sources.get(i), split[i]) for i in ids]
    return songs, whole, remarks


def _files(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    """Visible files of a folder by stem; of two, the earlier suffix counts."""
    found: dict[str, Path] = {}
    for path in entries(folder, lambda path: path.name[0] != "."):
        suffix = path.suffix.lower()
        if suffix in suffixes:
            other = found.setdefault(path.stem, path).suffix.lower()
            if suffixes.index(suffix) < suffixes.index(other):
                found[path.stem] = path
    return found


def _song(clip: str, wav: Path, source: Path | None, split: str) -> Song:
    """One clip or, without a pitch label, one song; checked."""
    info = audio_info(wav)
    if info.channels != 2:
        raise AudioError(
            f"{wav}: has {info.channels} channels, not 2: accompaniment left, "
            "voice right"
        )
    media = {"mix_wav": wav, "accomp_wav": _channel(wav, "accompaniment")}
    if source is not None:
        count = len(read_f0(source))
        # A clip of unknown length is refused with those of other corpora.
        frames = info.duration / MIR1K_STEP_S if info.duration else count
        if abs(count - frames) > LENGTH_TOLERANCE:
            raise NoteError(
                f"{source}: has {count} frames of {MIR1K_STEP_S:g} s, but "
                f"{wav.name} lasts {frames:.0f}: get both from one copy of the "
                "corpus"
            )
        media["f0"] = source
    voice, (singer, _) = _channel(wav, "vocals"), _names(clip)
    return Song(clip, voice, None, split, source or wav, singer, media)


def _channel(wav: Path, source: str) -> Path:
    """One source of a file, as `speechbrain_ext.audio` reads it."""
    return wav.with_name(f"{wav.name}#{MIR1K_CHANNELS[source]}")
