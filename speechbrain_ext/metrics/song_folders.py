"""Songs on disk with a file for each of their sources."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from speechbrain_ext.audio import (
    AUDIO_SUFFIXES,
    audio_info,
    read_audio,
    seconds_to_samples,
)
from speechbrain_ext.errors import AudioError
from speechbrain_ext.metrics.stats import SongStats, natural

# Codecs and block sizes add or drop a little at the end; what is missing is
# silence, what is too much is cut.
LENGTH_TOLERANCE_S = 0.1


def checked_folders(*folders) -> list[Path]:
    """Folders of songs, if they are there.

    Arguments
    ---------
    *folders : str or Path

    Returns
    -------
    list of Path

    Raises
    ------
    AudioError
        If one is missing, or no folder.
    """
    paths = [Path(folder) for folder in folders]
    for path in paths:
        if not os.path.isdir(path):
            known = os.path.lexists(path)
            raise AudioError(
                f"{path}: {'is no' if known else 'no such'} folder: give the "
                "folder of the songs"
            )
    return paths


def collect_songs(folder, known: dict[str, str]) -> dict:
    """Find the files of a folder's songs.

    A song is a folder with a file per source (`<song>/<name>.wav`), or files
    `<song>_<name>.wav`, in any format of `audio.AUDIO_SUFFIXES`.

    Arguments
    ---------
    folder : Path
    known : dict of str to str
        Names of files, in small letters, and their sources.

    Returns
    -------
    dict of str to dict of str to list of Path
        Song to source to one path.

    Raises
    ------
    AudioError
        If a song has a source twice, or a folder cannot be read.

    Example
    -------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Path(folder, "a_voice.wav").touch()
    ...     collect_songs(Path(folder), {"voice": "vocals"})["a"].keys()
    dict_keys(['vocals'])
    """
    songs: dict[str, dict[str, list[Path]]] = {}

    def add(song, source, path):
        entry = songs.setdefault(song, {})
        if source in entry:
            raise AudioError(
                f"{folder}: has {source} of song {song} twice, {path.name} and "
                f"{entry[source][0].name}: remove one"
            )
        entry[source] = [path]

    for path in _visible(folder, Path.is_dir):
        for file in audio_files(path):
            source = known.get(file.stem.lower())
            if source:
                add(path.name, source, file)
    for path in audio_files(folder):
        # The longest name that fits, as in song_no_vocals.
        for alias in sorted(known, key=len, reverse=True):
            song = path.stem[: -len(alias) - 1]
            if song and path.stem.lower() == f"{song.lower()}_{alias}":
                add(song, known[alias], path)
                break
    return songs


def audio_files(folder: Path) -> list[Path]:
    """Audio files of a folder, sorted, without hidden ones.

    Arguments
    ---------
    folder : Path

    Returns
    -------
    list of Path

    Raises
    ------
    AudioError
        If it cannot be read.
    """
    files = _visible(folder, Path.is_file)
    return [path for path in files if path.suffix.lower() in AUDIO_SUFFIXES]


def _visible(folder, wanted):
    """Things of one kind in a folder, sorted, without hidden ones."""
    try:
        return [
            entry
            for entry in sorted(folder.iterdir())
            if not entry.name.startswith(".") and wanted(entry)
        ]
    except OSError as error:
        # It may be listed, but what is in it may not be looked at.
        raise AudioError(
            f"{folder}: cannot be read: {error.strerror}"
        ) from None


def read_song(
    references, estimates, mono: bool = False
) -> tuple[list[np.ndarray], int]:
    """Read the sources of a song and their estimates, of one shape.

    Arguments
    ---------
    references, estimates : list of list of Path
        The files of each source, which are added up.
    mono : bool
        Whether to average channels first. Default: False.

    Returns
    -------
    sides : list of np.ndarray (sources, channels, samples)
        References and estimates, as long as the first reference.
    sample_rate : int
        Hertz.

    Raises
    ------
    AudioError
        If a file is faulty, or differs from the first one in sample rate,
        channels or by more than 0.1 s in length.
    """
    first, rate = references[0][0], audio_info(references[0][0]).sample_rate
    sides, shape = [], None
    for paths in (references, estimates):
        signals = []
        for group in paths:
            parts = []
            for path in group:
                parts.append(_read(path, first, rate, mono, shape))
                shape = parts[0].shape
            signals.append(sum(parts[1:], start=parts[0]))
        sides.append(np.stack(signals))
    return sides, rate


def _read(path, first, rate, mono, shape):
    """A file (channels, samples) that fits the first one of its song."""
    own = audio_info(path).sample_rate
    if own != rate:
        raise AudioError(
            f"{path}: has {own} Hz but {first} {rate} Hz: resample one of them"
        )
    wav = read_audio(path, sample_rate=None, mono=False).T
    if mono:
        wav = wav.mean(axis=0, keepdims=True)
    if shape is None:
        return wav
    channels, samples = shape
    if len(wav) != channels:
        raise AudioError(
            f"{path}: has {len(wav)} channels but {first} {channels}: average "
            "the channels of both with --mono"
        )
    if abs(wav.shape[1] - samples) > seconds_to_samples(
        LENGTH_TOLERANCE_S, rate
    ):
        raise AudioError(
            f"{path}: lasts {wav.shape[1] / rate:.3f} s but {first} "
            f"{samples / rate:.3f} s: they may differ by "
            f"{LENGTH_TOLERANCE_S:g} s"
        )
    wav = wav[:, :samples]
    return np.pad(wav, ((0, 0), (0, samples - wav.shape[1])))


def score_songs(
    stats: SongStats,
    songs: Sequence[tuple],
    mono: bool = False,
    n_jobs: int = 1,
    progress: Callable | None = None,
    **settings,
) -> None:
    """Read songs, score them and add them to statistics.

    Arguments
    ---------
    stats : SeparationStats or SingersStats
        Without songs.
    songs : sequence of (str, list of list of Path, list of list of Path)
        Names, with the files of each source and of its estimate.
    mono : bool
        Whether to average channels first. Default: False.
    n_jobs : int
        Songs scored at a time, as in joblib. Default: 1.
    progress : callable, optional
        Called with the number of songs scored and of all songs.
    **settings
        Of `stats.append`.

    Raises
    ------
    AudioError
        As `read_song`, or if a song cannot be scored.
    """
    calls = [(stats._like(), *song, mono, settings) for song in songs]
    if n_jobs == 1:
        parts = (_score(*call) for call in calls)
    else:
        from joblib import Parallel, delayed

        parts = Parallel(n_jobs=n_jobs, return_as="generator")(
            delayed(_score)(*call) for call in calls
        )
    for done, part in enumerate(parts, start=1):
        stats.extend(part)
        if progress is not None:
            progress(done, len(calls))


def _score(stats, name, references, estimates, mono, settings):
    """Statistics with one song."""
    sides, rate = read_song(references, estimates, mono)
    try:
        stats.append(name, *sides, rate, **settings)
    except AudioError as error:
        raise AudioError(f"{name}: {error}") from None
    return stats


def unmatched(one: Mapping, two: Mapping) -> tuple[list[str], list[str]]:
    """Names of songs that only one of two sides has.

    Arguments
    ---------
    one, two : dict
        By name of the song.

    Returns
    -------
    only_in_one, only_in_two : list of str

    Example
    -------
    >>> unmatched({"song 10": 1, "song 2": 2, "a": 3}, {"a": 4})
    (['song 2', 'song 10'], [])
    """
    return (
        sorted(one.keys() - two.keys(), key=natural),
        sorted(two.keys() - one.keys(), key=natural),
    )
