"""MUSDB18 and MUSDB18-HQ: 150 songs as four stereo stems each, about 10 h.

Licence: for education and research only, no commercial use; the terms of the
single songs differ.

Citation: Z. Rafii, A. Liutkus, F.-R. Stoeter, S. I. Mimilakis and R. Bittner,
"MUSDB18 - a corpus for music separation", 2017, doi:10.5281/zenodo.1117372;
of the uncompressed edition "MUSDB18-HQ", 2019, doi:10.5281/zenodo.3338373.

Layouts (the folder of `train` and `test` itself or the one that holds it):

    MUSDB18      {train,test}/<artist> - <title>.stem.mp4     five sound tracks:
                 mixture, drums, bass, other, vocals; AAC, 44.1 kHz, stereo
    MUSDB18-HQ   {train,test}/<artist> - <title>/mixture.wav  and drums.wav,
                 bass.wav, other.wav, vocals.wav; or the same as .flac

Every song gets `mix_wav`, `wav` (the vocals), `accomp_wav` (drums + bass +
other, as the `accompaniment` of the `musdb` package), and `drums_wav`,
`bass_wav`, `other_wav`, all at 44.1 kHz in stereo. What the corpus does not
hold as a file is made once and kept beside the manifests, as FLAC of 16 bits:
all of a stem file, and the accompaniment of the other edition. The reason is
the way recipes read: a slice of a few seconds from anywhere. AAC gives that,
exact to the sample, only to those who decode the song from its start, so every
slice would cost half a song of decoding, five times over; a slice of a FLAC
costs that slice. The price is half the size of WAV files: some 17 GB for all
of MUSDB18 (9 GB with `stems=False`), 3 GB for MUSDB18-HQ, and 10 s a song;
with `audio_folder` several preparations share it. Samples over full
scale, which the coder adds to songs that were within it, are cut off there. An
accompaniment over full scale is kept, in a WAV file of floats.

A song is decoded in blocks: memory does not depend on its length.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence, Set
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from itertools import zip_longest
from math import inf, log10
from pathlib import Path

import numpy as np

from data_prep.corpus import (
    SYNTHETIC_MARKER,
    Corpus,
    Made,
    Song,
    audio_folder_path,
    check_folder,
    entries,
    find_file,
    held_out,
    make_once,
    natural_key,
    prepare_songs,
    subfolders,
)
from data_prep.manifest import STEMS, Summary
from data_prep.zenodo import fetch_record
from speechbrain_ext.audio import audio_tracks, stream_audio
from speechbrain_ext.errors import (
    AudioError,
    ConfigError,
    ManifestError,
    OutputError,
)
from speechbrain_ext.lyrics.timed import read_phones

CORPUS = Corpus(
    name="musdb18",
    license="MUSDB18 terms",
    terms="education and research only, no commercial use; the terms of the "
    "single songs differ",
    citation="Rafii et al., MUSDB18 - a corpus for music separation, 2017, "
    "doi:10.5281/zenodo.1117372 (HQ: 2019, doi:10.5281/zenodo.3338373)",
    url="https://zenodo.org/records/1117372",
)

# Column of the manifest by name of the stem, in the order of a stem file.
TRACKS = {
    "mixture": "mix_wav",
    "drums": "drums_wav",
    "bass": "bass_wav",
    "other": "other_wav",
    "vocals": "wav",
}
SUFFIX = ".stem.mp4"
SAMPLE_RATE = 44100
SONGS = {"train": 100, "test": 50}

# The training songs that are left for validation by agreement, as listed in
# the configuration of the `musdb` package (0.4), MIT licence.
VALID_SONGS = frozenset(
    (
        "ANiMAL - Rockshow",
        "Actions - One Minute Smile",
        "Alexander Ross - Goodbye Bolero",
        "Clara Berry And Wooldog - Waltz For My Victims",
        "Fergessen - Nos Palpitants",
        "James May - On The Line",
        "Johnny Lokke - Promises & Lies",
        "Leaf - Summerghost",
        "Meaxic - Take A Step",
        "Patrick Talbot - A Reason To Leave",
        "Skelpolu - Human Mistakes",
        "Traffic Experiment - Sirens",
        "Triviul - Angelsaint",
        "Young Griffo - Pennies",
    )
)

# Tracks of a stem file may differ in length by this many samples, two frames
# of AAC; they are cut to the shortest.
FRAME_TOLERANCE = 2048

# Above this, relative to the mixture, the stems do not add up to it. AAC
# leaves about -22 dB.
SUM_TOLERANCE_DB = -10.0

# Raised when other audio is made from the same.
VERSION = 1

_BLOCK_S = 2.0


def prepare_musdb18(
    data_folder,
    output_folder,
    segment_s: float = 5.0,
    stems: bool = True,
    audio_folder=None,
    phones_folder=None,
    n_jobs: int = 1,
    overwrite: bool = False,
) -> Summary:
    """Write the manifests of MUSDB18 or MUSDB18-HQ.

    Of the training songs, the 14 of `VALID_SONGS` are for validation; where
    none of them is there, as in a folder of own songs, a tenth of the training
    songs (`corpus.held_out`). `singer` is the artist, who may be a band.

    Arguments
    ---------
    data_folder : str or Path
        The corpus, in a layout of this module's docstring. With only one of
        `train` and `test` there, only that is prepared.
    output_folder : str or Path
        Gets `train.csv`, `valid.csv`, `test.csv` and the audio that is made.
    segment_s : float
        Length of a segment in seconds.
    stems : bool
        Whether drums, bass and other are media too (default True), or only
        mixture, vocals and accompaniment.
    audio_folder : str or Path, optional
        Gets the audio that is made, song by song, and keeps it for other
        preparations, which then have nothing to decode; manifests name it by
        its full path. By default the audio goes to `audio` in the output
        folder.
    phones_folder : str or Path, optional
        Holds the phones that are sung in a song and their times, which the
        corpus does not have: `<song>/phones.csv` or `<song>.phones.csv`, see
        `speechbrain_ext.lyrics.timed.read_phones`; and words, for pictures,
        under the name `words`. By default they are looked for beside the song's
        stems. Songs without such a file have no `phones` in the manifest.
    n_jobs : int
        Songs decoded and checked at a time.
    overwrite : bool
        Whether another preparation may be replaced.

    Returns
    -------
    Summary
        Its remarks name songs that are missing or whose stems do not add up.

    Raises
    ------
    ConfigError
        If `stems` is neither True nor False.
    ManifestError
        If there are no songs, a song lacks a stem, or `phones_folder` holds
        phones of none of them.
    LyricsError
        If a file of phones is faulty.
    AudioError
        If a file is not readable, cut short, not in stereo or not at 44.1 kHz,
        a stem file has not five tracks, or the stems of a song differ in
        length.
    OutputError
        As `corpus.prepare_songs`, or if `audio_folder` holds other audio under
        a song's name or cannot be written.
    """
    if not isinstance(stems, bool):
        raise ConfigError(f"stems is {stems!r}: use true or false")
    folder = check_folder(data_folder, CORPUS)
    options = {"stems": stems}
    if audio_folder is not None:
        audio_folder = audio_folder_path(audio_folder)
        options["audio_folder"] = str(audio_folder)
    songs, remarks = list_songs(folder, stems, audio_folder)
    songs = [_with_phones(song, phones_folder) for song in songs]
    if phones_folder is not None:
        options["phones_folder"] = str(Path(phones_folder).absolute())
        if not any("phones" in song.media for song in songs):
            raise ManifestError(
                f"{phones_folder}: holds phones of none of {len(songs)} songs: "
                f"name them {songs[0].song_id}.phones.csv and so on"
            )
    return prepare_songs(
        CORPUS,
        songs,
        folder,
        output_folder,
        segment_s,
        options,
        remarks,
        n_jobs=n_jobs,
        overwrite=overwrite,
    )


def download_musdb18(data_folder) -> Path:
    """Download MUSDB18 (stem files, 4.7 GB) from Zenodo.

    MUSDB18-HQ (23 GB) is at https://zenodo.org/records/3338373.

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
    return fetch_record("1117372", data_folder, patterns=("musdb18.zip",))


def list_songs(
    folder: Path,
    stems: bool,
    audio_folder: Path | None = None,
    valid_songs: Set[str] = VALID_SONGS,
) -> tuple[list[Song], list[str]]:
    """List the songs of the corpus, not opened yet.

    Arguments
    ---------
    folder : Path
        The corpus.
    stems : bool
        Whether drums, bass and other are media too.
    audio_folder : Path, optional
        Keeps the audio that is made, by its full path.
    valid_songs : set of str
        Training songs that are for validation; a tenth of all where none of
        them is there. Default: `VALID_SONGS`.

    Returns
    -------
    list of Song
    list of str
        Remarks that name songs that are missing, and the validation songs
        where they are not those of the corpus.

    Raises
    ------
    ManifestError
        As `prepare_musdb18`.
    """
    tops = [
        place
        for place in (folder, *subfolders(folder))
        if any(os.path.isdir(place / part) for part in SONGS)
    ]
    # A folder of lyrics may have such parts too.
    tops.sort(
        key=lambda top: not any(map(_has_songs, map(top.joinpath, SONGS)))
    )
    if not tops:
        raise ManifestError(
            f"{folder}: holds neither train nor test: give the folder of "
            f"{CORPUS.name} (see {CORPUS.url})"
        )
    found = {
        part: _sources(tops[0] / part)
        for part in SONGS
        if os.path.isdir(tops[0] / part)
    }
    for part, sources in found.items():
        if not sources:
            raise ManifestError(
                f"{tops[0] / part}: holds no songs: expected "
                f"<artist> - <title>{SUFFIX} or <artist> - <title>/mixture.wav"
            )
    synthetic = (folder / SYNTHETIC_MARKER).is_file()
    remarks = [
        f"{part} has {len(found.get(part, ()))} of {total} songs"
        for part, total in SONGS.items()
        if len(found.get(part, ())) != total and not synthetic
    ]
    train = {name for name, _ in found.get("train", ())}
    valid = train & valid_songs or held_out(train)
    if valid and not valid <= valid_songs and not synthetic:
        remarks.append(
            "no validation song of the corpus is there, so these are for "
            f"validation: {', '.join(sorted(valid, key=natural_key))}"
        )
    songs = []
    for part, sources in found.items():
        for name, files in sources:
            split = "valid" if part == "train" and name in valid else part
            kept = audio_folder and audio_folder / name
            songs.append(_song(name, files, split, stems, kept))
    return songs, remarks


def _has_songs(folder: Path) -> bool:
    """Whether a folder holds what may be songs."""
    return bool(subfolders(folder)) or any(
        path.name.lower().endswith(SUFFIX)
        for path in entries(folder, Path.is_file)
    )


def _sources(folder: Path) -> list[tuple[str, list[Path]]]:
    """Songs of a folder by name, with one stem file or the files of stems."""
    songs = [
        (path.name[: -len(SUFFIX)], [path])
        for path in entries(folder, Path.is_file)
        if path.name.lower().endswith(SUFFIX) and path.name[0] != "."
    ]
    for place in subfolders(folder):
        files = {
            name: find_file([place], [f"{name}.wav", f"{name}.flac"])
            for name in TRACKS
        }
        missing = [name for name, path in files.items() if path is None]
        if missing:
            raise ManifestError(
                f"{place}: has no {', '.join(f'{m}.wav' for m in missing)}: "
                "copy the song again or remove its folder"
            )
        songs.append((place.name, list(files.values())))
    return songs


def _song(name, files: list[Path], split: str, stems: bool, kept) -> Song:
    """One song, not opened yet."""
    artist, dash, _ = name.partition(" - ")
    media = {}
    if len(files) > 1:
        media = dict(zip(TRACKS.values(), files, strict=True))
        if not stems:
            media = {c: path for c, path in media.items() if c not in STEMS}
    wav = media.pop("wav", files[0])
    make = partial(_make, files, stems)
    if kept:
        # From files of stems only the accompaniment is made, whatever is asked.
        which = stems if len(files) == 1 else None
        sources = [[path.name, path.stat().st_size] for path in files]
        wanted = {"version": VERSION, "stems": which, "sources": sources}
        make = partial(make_once, make, kept, wanted)
    singer = artist if dash else ""
    return Song(name, wav, None, split, files[0], singer, media, make)


def _with_phones(song: Song, folder) -> Song:
    """The song with the files of its phones and words, if there are any."""
    # Files of the song alone lie in its folder, those of many have its name.
    own, shared = [], []
    if folder is not None:
        shared = [Path(folder).absolute()]
        own = [shared[0] / song.song_id]
    elif song.wav.name.lower().endswith(SUFFIX):
        shared = [song.wav.parent]
    else:
        own = [song.wav.parent]
    found = {}
    for column in ("phones", "words"):
        path = find_file(own, [f"{column}.csv"]) or find_file(
            shared, [f"{song.song_id}.{column}.csv"]
        )
        if path is not None:
            found[column] = path
    if "phones" in found:
        read_phones(found["phones"])
    return replace(song, media=song.media | found)


def _make(files: Sequence[Path], stems: bool, folder: Path) -> Made:
    """Check the sound of a song and write what is not there as a file."""
    tracks = _tracks(files)
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {}
    if len(files) == 1:
        wanted = {
            column: folder / f"{name}.flac"
            for name, column in TRACKS.items()
            if stems or column not in STEMS
        }
    accompaniment = folder / "accompaniment.flac"
    wanted["accomp_wav"] = accompaniment
    length, peak, rest_db = _write(tracks, wanted, "PCM_16")
    if peak > 1:
        accompaniment.unlink()
        wanted["accomp_wav"] = accompaniment.with_suffix(".wav")
        _write(tracks, {"accomp_wav": wanted["accomp_wav"]}, "FLOAT")
    remark = ""
    if rest_db > SUM_TOLERANCE_DB:
        remark = "stems that do not add up to the mixture"
    return Made(wanted, length / SAMPLE_RATE, remark)


def _tracks(files: Sequence[Path]) -> dict[str, tuple[Path, int, float]]:
    """File, number and length of each track, checked, by name."""
    found = []
    for path in files:
        infos = audio_tracks(path)
        count = len(TRACKS) if len(files) == 1 else 1
        if len(infos) != count:
            raise AudioError(
                f"{path}: has {len(infos)} sound tracks, not {count}: "
                f"{', '.join(TRACKS)}"
            )
        found += [(path, number, info) for number, info in enumerate(infos)]
    for name, (path, _, info) in zip(TRACKS, found, strict=True):
        if info.channels != 2:
            raise AudioError(
                f"{path}: {name} has {info.channels} channels, not 2: get an "
                "original copy"
            )
        if info.sample_rate != SAMPLE_RATE:
            raise AudioError(
                f"{path}: {name} has {info.sample_rate} Hz, not {SAMPLE_RATE}: "
                "get an original copy"
            )
    return {
        name: (path, number, info.duration)
        for name, (path, number, info) in zip(TRACKS, found, strict=True)
    }


def _write(tracks, wanted: dict[str, Path], subtype: str):
    """Write media of a song, block by block.

    Gives the length in samples, the peak of the accompaniment, and the level
    of what is left of the mixture without its stems, dB.
    """
    import soundfile

    peak, mixture, rest = 0.0, 0.0, 0.0
    lengths = dict.fromkeys(tracks, 0)
    with _disk_errors(wanted), ExitStack() as stack:
        outputs = {
            column: stack.enter_context(
                soundfile.SoundFile(path, "w", SAMPLE_RATE, 2, subtype)
            )
            for column, path in wanted.items()
        }
        for parts in _blocks(tracks, lengths):
            media = {TRACKS[name]: part for name, part in parts.items()}
            accompaniment = sum(media[column] for column in STEMS)
            media["accomp_wav"] = accompaniment
            peak = max(peak, float(np.abs(accompaniment).max()))
            left = media["mix_wav"] - media["wav"] - accompaniment
            mixture += float(np.sum(np.square(media["mix_wav"])))
            rest += float(np.sum(np.square(left)))
            for column, output in outputs.items():
                output.write(_samples(media[column], subtype))
    _check_lengths(tracks, lengths)
    rest_db = inf if rest > 0 else -inf
    if rest > 0 and mixture > 0:
        rest_db = 10 * log10(rest / mixture)
    return min(lengths.values()), peak, rest_db


@contextmanager
def _disk_errors(wanted: dict[str, Path]):
    """Say that files cannot be written, as when the disk is full."""
    import soundfile

    try:
        yield
    except soundfile.LibsndfileError as error:
        # Those of reading have become others before.
        places = ", ".join(sorted({str(p.parent) for p in wanted.values()}))
        raise OutputError(
            f"{places}: writing failed ({error.error_string.strip('.')}): free "
            "some space or choose another folder"
        ) from None


def _blocks(tracks, lengths: dict[str, int]) -> Iterator[dict]:
    """Read all tracks side by side, to the end of the shortest.

    Counts the samples of each in `lengths`, to its end.
    """
    streams = [
        stream_audio(path, _BLOCK_S, None, mono=False, track=number)
        for path, number, _ in tracks.values()
    ]
    nothing = np.zeros((0, 2), np.float32)
    for blocks in zip_longest(*streams, fillvalue=nothing):
        parts = dict(zip(tracks, blocks, strict=True))
        for name, part in parts.items():
            lengths[name] += len(part)
        size = min(map(len, blocks))
        if size:
            yield {name: np.float64(p[:size]) for name, p in parts.items()}


def _samples(block: np.ndarray, subtype: str) -> np.ndarray:
    """Samples as they are written: what was read from 16 bits comes back."""
    if subtype == "FLOAT":
        return block
    return np.clip(np.rint(block * 2**15), -(2**15), 2**15 - 1).astype(np.int16)


def _check_lengths(tracks, lengths: dict[str, int]) -> None:
    """Refuse tracks that end too early."""
    paths = {path for path, _, _ in tracks.values()}
    tolerance = FRAME_TOLERANCE if len(paths) == 1 else 0
    for name, (path, _, duration) in tracks.items():
        seconds = lengths[name] / SAMPLE_RATE
        if duration and seconds < duration - FRAME_TOLERANCE / SAMPLE_RATE:
            raise AudioError(
                f"{path}: {name} ends at {seconds:.3f} s, but should last "
                f"{duration:.3f} s: the file is cut short, copy it again"
            )
    short, long = (pick(lengths, key=lengths.get) for pick in (min, max))
    if lengths[long] - lengths[short] > tolerance:
        raise AudioError(
            f"{tracks[short][0]}: {short} has {lengths[short]} samples, but "
            f"{long} has {lengths[long]}: copy the song again"
        )
