"""MUSDB18 with its lyrics: who sings which words in which line of a song.

The lyrics extension gives, for 140 songs of MUSDB18 in English, lines with
times to the second:

    {train,test}/<artist> - <title>.txt     UTF-8, a line per line:

    00:13 00:17 a words that are sung       from, to (minutes:seconds),
    00:17 00:25 d -                         category, words
    *00:25 00:29 a words                    rejected by the authors

| category | vocals |
|---|---|
| a | one singer |
| b | several singers, the same phones at the same time |
| c | several singers, different phones |
| d | none; the text is a hyphen |

`prepare_musdb18_lyrics` writes the manifests of `data_prep.musdb18` for the
songs that have lyrics, and one table of all lines, `lines.csv`, for every stage
of a system that knows the lyrics:

    song      as `song_id` in the manifests
    split     train, valid or test
    line      number in the song's file, from 1
    start_s, stop_s
              seconds; empty where a rejected line has no times
    category  a, b, c or d
    text      as it is written; empty where nobody sings
    words     the words of the text, without punctuation, in small letters,
              separated by blanks
    rejected  why nobody should train on the line; empty if they may

Fourteen training songs are for validation (`DEV_SONGS`), chosen by the authors
of the extension: those of `musdb18.VALID_SONGS`, but for two that are not sung
in English.

Licence: none is stated with the files; the words belong to their writers. The
audio is under the terms of `data_prep.musdb18`.

Citation: K. Schulze-Forster, C. S. J. Doire, G. Richard and R. Badeau, "Phoneme
Level Lyrics Alignment and Text-Informed Singing Voice Separation", IEEE/ACM
TASLP 29, 2021; data: doi:10.5281/zenodo.3989267.
"""

from __future__ import annotations

import csv
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from math import isfinite
from pathlib import Path

import numpy as np

from data_prep import musdb18
from data_prep.clips import checksum
from data_prep.corpus import (
    Corpus,
    audio_folder_path,
    check_folder,
    natural_key,
    prepare_songs,
)
from data_prep.manifest import SPLITS, Summary, read_manifest
from data_prep.zenodo import fetch_record
from speechbrain_ext.audio import seconds_to_samples
from speechbrain_ext.errors import ConfigError, ManifestError
from speechbrain_ext.files import atomic_path, check_input
from speechbrain_ext.lyrics.words import spoken_form

CORPUS = Corpus(
    name="musdb18_lyrics",
    license="MUSDB18 terms",
    terms="education and research only, no commercial use; the lyrics belong "
    "to their writers",
    citation="Schulze-Forster et al., Phoneme Level Lyrics Alignment and "
    "Text-Informed Singing Voice Separation, TASLP 29, 2021, "
    "doi:10.5281/zenodo.3989267; and that of musdb18",
    url="https://zenodo.org/records/3989267",
)

CATEGORIES = {
    "a": "one singer",
    "b": "several singers, the same phones",
    "c": "several singers, different phones",
    "d": "no vocals",
}

# The authors of the extension took other songs of the same artists for two of
# the usual validation songs, which are not sung in English.
DEV_SONGS = musdb18.VALID_SONGS - {
    "Fergessen - Nos Palpitants",
    "Meaxic - Take A Step",
} | {"Fergessen - The Wind", "Meaxic - You Listen"}

# Nobody trains on these, whichever of the two lists they validate with.
HELD_OUT = DEV_SONGS | musdb18.VALID_SONGS

# Folder of the lyrics where they lie in that of the corpus, and their table.
FOLDER = "lyrics"
TABLE = "lines.csv"

UNINTELLIGIBLE = "marked as unintelligible"

# Lines begin and end at whole seconds; a published system that muted what is
# outside of them left this much on both sides.
MARGIN_S = 0.65

_TIME = r"(\d+):(\d+(?:\.\d+)?)"
_LINE = re.compile(rf"{_TIME}\s+{_TIME}\s+([a-d])\b\s*(.*)")


@dataclass(frozen=True)
class Line:
    """A line of a song's lyrics, a row of the table.

    Arguments
    ---------
    song : str
    split : str
        train, valid or test; empty if unknown.
    line : int
        Number in the song's file, from 1.
    start_s, stop_s : float or None
        Seconds; None if a rejected line has no times.
    category : str
        A key of `CATEGORIES`; empty if a rejected line has none.
    text : str
        As it is written; empty where nobody sings.
    words : str
        Words of the text, separated by blanks.
    rejected : str
        Why; empty if the line is fine.
    """

    song: str
    split: str
    line: int
    start_s: float | None
    stop_s: float | None
    category: str
    text: str
    words: str
    rejected: str = ""

    @property
    def timed(self) -> bool:
        """Whether the line covers some time."""
        return self.start_s is not None and self.stop_s > self.start_s

    @property
    def sung(self) -> bool:
        """Whether somebody may be heard between its times."""
        return self.timed and self.category != "d"


def prepare_musdb18_lyrics(
    data_folder,
    output_folder,
    lyrics_folder=None,
    segment_s: float = 5.0,
    stems: bool = True,
    audio_folder=None,
    n_jobs: int = 1,
    overwrite: bool = False,
) -> Summary:
    """Write the manifests of songs with lyrics, and the table of their lines.

    Arguments
    ---------
    data_folder : str or Path
        MUSDB18 or MUSDB18-HQ, in a layout of `data_prep.musdb18`.
    output_folder : str or Path
        Gets `train.csv`, `valid.csv`, `test.csv`, `lines.csv` and the audio
        that is made.
    lyrics_folder : str or Path, optional
        Where the files of lyrics are, in it or in folders below it. Default:
        `lyrics` in the folder of the corpus if there is such a folder, else
        all of that.
    segment_s, stems, audio_folder, n_jobs, overwrite
        As in `musdb18.prepare_musdb18`.

    Returns
    -------
    Summary
        Its remarks count the lines that are rejected and name songs without
        lyrics and lyrics without a song.

    Raises
    ------
    ManifestError
        If no song has lyrics, a file of lyrics has a line of another form, or
        two files are for one song.
    SingBrainError
        As `musdb18.prepare_musdb18`.
    """
    folder = check_folder(data_folder, CORPUS)
    if not isinstance(stems, bool):
        raise ConfigError(f"stems is {stems!r}: use true or false")
    options = {"stems": stems}
    if audio_folder is not None:
        audio_folder = audio_folder_path(audio_folder)
        options["audio_folder"] = str(audio_folder)
    songs, remarks = musdb18.list_songs(folder, stems, audio_folder, DEV_SONGS)
    if lyrics_folder is None:
        lyrics_folder = folder / FOLDER
        if not lyrics_folder.is_dir():
            lyrics_folder = folder
    files = _files(check_folder(lyrics_folder, CORPUS))
    kept, lines, without = [], {}, []
    for song in songs:
        path = files.pop(_key(song.song_id), None)
        if path is None:
            without.append(song.song_id)
            continue
        kept.append(song)
        lines[song.song_id] = [
            replace(line, song=song.song_id, split=song.split)
            for line in read_lyrics_file(path)
        ]
    if not kept:
        raise ManifestError(
            f"{lyrics_folder}: has no lyrics (<artist> - <title>.txt) of "
            f"{len(songs)} songs: get them from {CORPUS.url}"
        )
    for names, what in (
        (without, "songs have no lyrics and are left out"),
        ([path.stem for path in files.values()], "text files are of no song"),
    ):
        if names:
            names = ", ".join(sorted(names, key=natural_key))
            remarks.append(f"{what}: {names}")
    # The lengths of songs are known when they have been read.
    table = {
        song: [asdict(line) for line in rows] for song, rows in lines.items()
    }
    options["lyrics"] = checksum(table)[:12]
    return prepare_songs(
        CORPUS,
        kept,
        folder,
        output_folder,
        segment_s,
        options,
        remarks,
        n_jobs=n_jobs,
        overwrite=overwrite,
        finish=partial(_write_table, lines),
    )


def download_musdb18_lyrics(data_folder) -> Path:
    """Download MUSDB18 (stem files, 4.7 GB) and its lyrics from Zenodo.

    Arguments
    ---------
    data_folder : str or Path
        Gets both, the lyrics in a folder of their own; what is there already
        is not fetched again.

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
    musdb18.download_musdb18(data_folder)
    fetch_record("3989267", Path(data_folder) / FOLDER)
    return Path(data_folder)


# ------------------------------------------------------------- reading lines


def read_lyrics_file(path) -> list[Line]:
    r"""Read a song's file of the lyrics extension.

    Arguments
    ---------
    path : str or Path
        Named after the song.

    Returns
    -------
    list of Line
        In the order of the file, without a split. Rejected are lines that
        their authors marked by an asterisk, that end before they begin, where
        words are missing, and where there are some but nobody sings.

    Raises
    ------
    ManifestError
        If a line is something else.

    Example
    -------
    >>> path = getfixture("tmp_path") / "A - B.txt"
    >>> text = "00:01 00:03 a La, la!\n00:03 00:09 d -\n*00:09 00:10 c oh\n"
    >>> _ = path.write_text(text)
    >>> for line in read_lyrics_file(path):
    ...     print(line.start_s, line.category, repr(line.words), line.rejected)
    1.0 a 'la la'
    3.0 d ''
    9.0 c 'oh' marked as unintelligible
    """
    path = Path(path)
    check_input(path, ManifestError, "text file")
    try:
        rows = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(f"{path}: cannot be read: {error}") from None
    found = []
    for number, row in enumerate(rows, start=1):
        marked = row.lstrip().startswith("*")
        row = row.strip().lstrip("*").strip()
        if not (row or marked):
            continue
        match = _LINE.fullmatch(row)
        if match is None and not marked:
            raise ManifestError(
                f"{path}, line {number}: {row[:40]!r} is not "
                "minutes:seconds minutes:seconds a|b|c|d lyrics"
            )
        start = stop = None
        category, text = "", row
        if match is not None:
            minutes, seconds, till, end = map(float, match.groups()[:4])
            start, stop = 60 * minutes + seconds, 60 * till + end
            category, text = match[5], " ".join(match[6].split())
        words = " ".join(filter(None, map(spoken_form, text.split())))
        line = Line(path.stem, "", number, start, stop, category, text, words)
        found.append(
            replace(
                line,
                text=text if words else "",
                rejected=UNINTELLIGIBLE if marked else _reason(line),
            )
        )
    return found


def _reason(line: Line) -> str:
    """Why a line that its authors did not mark is rejected; or nothing."""
    if not line.timed:
        return f"goes from {line.start_s:g} to {line.stop_s:g} s"
    if line.category == "d":
        return "has words but no vocals" if line.words else ""
    return "" if line.words else "has vocals but no words"


def _files(folder: Path) -> dict[str, Path]:
    """Text files by what is compared of their names."""
    found = {}
    for path in sorted(folder.rglob("*.txt")):
        if path.name[0] == ".":
            continue
        other = found.setdefault(_key(path.stem), path)
        if other != path:
            raise ManifestError(
                f"{path} and {other} are lyrics of one song: remove one"
            )
    return found


def _key(name: str) -> str:
    """What is compared of two names of a song: letters and digits."""
    name = unicodedata.normalize("NFKD", name.replace("&", "and"))
    return "".join(filter(str.isalnum, name.casefold()))


# ------------------------------------------------------------- the table


def _write_table(lines: dict, folder: Path) -> list[str]:
    """Fit lines to the songs, write the table; give remarks."""
    ends = {}
    for split in SPLITS:
        path = folder / f"{split}.csv"
        if path.is_file():
            for row in read_manifest(path, check_files=False):
                ends[row["song_id"]] = row["stop"]
    rows = []
    for song in sorted(lines, key=natural_key):
        for line in lines[song]:
            if line.timed and line.start_s >= ends[song]:
                reason = f"begins after the end of the song, {ends[song]:g} s"
                line = replace(line, rejected=line.rejected or reason)
            elif line.timed and line.stop_s > ends[song]:
                line = replace(line, stop_s=ends[song])
            rows.append(line)
    write_lines(rows, folder / TABLE)
    rejected = [line for line in rows if line.rejected]
    if not rejected:
        return []
    songs = {line.song for line in rejected}
    marked = sum(line.rejected == UNINTELLIGIBLE for line in rejected)
    return [
        f"{len(rejected)} of {len(rows)} lines, in {len(songs)} songs, are "
        f"rejected, {marked} of them by the authors ({TABLE} says why)"
    ]


def write_lines(lines: Iterable[Line], path, overwrite: bool = False) -> Path:
    """Write a table of lines.

    Arguments
    ---------
    lines : iterable of Line
    path : str or Path
        The CSV.
    overwrite : bool
        Whether an existing file may be replaced. Default: False.

    Returns
    -------
    Path

    Raises
    ------
    OutputError
        If the file exists or cannot be written.
    """
    path = Path(path)
    with (
        atomic_path(path, overwrite) as tmp,
        tmp.open("w", newline="", encoding="utf-8") as stream,
    ):
        names = [field.name for field in fields(Line)]
        writer = csv.DictWriter(stream, names, lineterminator="\n")
        writer.writeheader()
        for line in lines:
            row = asdict(line)
            for name in ("start_s", "stop_s"):
                if row[name] is not None:
                    row[name] = f"{row[name]:.6f}".rstrip("0").rstrip(".")
            writer.writerow(row)
    return path


def read_lines(path) -> list[Line]:
    """Read a table of lines and check it.

    Arguments
    ---------
    path : str or Path
        From `write_lines`.

    Returns
    -------
    list of Line

    Raises
    ------
    ManifestError
        If the file is missing, no such table, or a cell is not of its type.

    Example
    -------
    >>> line = Line("A - B", "train", 1, 1.0, 3.0, "a", "La, la!", "la la")
    >>> path = write_lines([line], getfixture("tmp_path") / "lines.csv")
    >>> read_lines(path) == [line]
    True
    """
    path = Path(path)
    check_input(path, ManifestError, "table of lines")
    names = [field.name for field in fields(Line)]
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, strict=True)
            if reader.fieldnames != names:
                raise ManifestError(
                    f"{path}: has not the columns {', '.join(names)}: write "
                    f"it with `singbrain prepare {CORPUS.name}`"
                )
            return [_line(row, path, reader.line_num) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(f"{path}: is no CSV in UTF-8: {error}") from None


def _line(row: dict, path: Path, number: int) -> Line:
    """A checked row of the table."""
    where = f"{path}, line {number}"
    if None in row or None in row.values():
        raise ManifestError(f"{where}: has not {len(fields(Line))} cells")
    try:
        times = [
            float(row[name]) if row[name] else None
            for name in ("start_s", "stop_s")
        ]
        line = int(row["line"])
    except ValueError:
        raise ManifestError(
            f"{where}: a number or time is none: write the table again"
        ) from None
    for what, cell, known in (
        ("split", row["split"], SPLITS),
        ("category", row["category"], CATEGORIES),
    ):
        if cell not in known and (cell or not row["rejected"]):
            raise ManifestError(
                f"{where}: {what} {cell!r} is none of {', '.join(known)}"
            )
    known = [time for time in times if time is not None]
    fine = len(known) == 2 and all(map(isfinite, known))
    if not (fine and 0 <= known[0] < known[1]) and not row["rejected"]:
        raise ManifestError(
            f"{where}: goes from {row['start_s']} to {row['stop_s']} s: a "
            "line ends after its start, which is at least 0"
        )
    start, stop = times
    cells = {"line": line, "start_s": start, "stop_s": stop}
    return Line(**row | cells)


def lines_by_song(lines: Iterable[Line]) -> dict[str, list[Line]]:
    """Sort lines into their songs.

    Arguments
    ---------
    lines : iterable of Line

    Returns
    -------
    dict of str to list of Line
        Those of a song by their starts; lines without times are last.
    """
    songs = defaultdict(list)
    for line in lines:
        songs[line.song].append(line)
    for rows in songs.values():
        rows.sort(key=lambda r: (not r.timed, r.start_s or 0.0, r.line))
    return dict(songs)


# ------------------------------------------------------------- silencing


def lyric_spans(
    lines: Iterable[Line], margin_s: float = MARGIN_S, rejected: bool = False
) -> list[tuple[float, float]]:
    """Where lyrics are sung.

    Arguments
    ---------
    lines : iterable of Line
        Of one song.
    margin_s : float
        Seconds that are added on both sides of a line; lines whose margins
        meet are one span. Default: 0.65, for times to the second.
    rejected : bool
        Whether lines that are rejected count too, as they must where what is
        sung is to be kept although nobody knows the words. Default: False.

    Returns
    -------
    list of (float, float)
        Start and stop in seconds, at least 0, in order, apart.

    Example
    -------
    >>> lines = [
    ...     Line("x", "train", 1, 2.0, 4.0, "a", "la", "la"),
    ...     Line("x", "train", 2, 5.0, 6.0, "b", "la", "la"),
    ...     Line("x", "train", 3, 6.0, 9.0, "d", "", ""),
    ...     Line("x", "train", 4, 9.0, 10.0, "a", "la", "la"),
    ... ]
    >>> lyric_spans(lines, margin_s=0.5)
    [(1.5, 6.5), (8.5, 10.5)]
    """
    spans: list[list[float]] = []
    times = [
        (max(0.0, line.start_s - margin_s), line.stop_s + margin_s)
        for line in lines
        if line.sung and (rejected or not line.rejected)
    ]
    for start, stop in sorted(times):
        if spans and start <= spans[-1][1]:
            spans[-1][1] = max(spans[-1][1], stop)
        else:
            spans.append([start, stop])
    return [(start, stop) for start, stop in spans]


def silence_outside(
    wav, sample_rate: int, spans: Sequence, fade_s: float = 0.2
) -> np.ndarray:
    """Silence vocals where no lyrics are sung.

    Arguments
    ---------
    wav : np.ndarray (samples,) or (samples, channels)
    sample_rate : int
        Hertz.
    spans : sequence of (float, float)
        Where the signal stays as it is, in seconds, as from `lyric_spans`.
    fade_s : float
        Seconds before and after each span over which it comes and goes (half a
        period of a cosine); 0 for hard cuts. Default: 0.2.

    Returns
    -------
    np.ndarray, shape and type of `wav`
        As it is within the spans, zero further than `fade_s` from any.

    Example
    -------
    >>> silence_outside(np.ones(8), 2, [(1.0, 2.5)], fade_s=0.0)
    array([0., 0., 1., 1., 1., 0., 0., 0.])
    """
    wav = np.asarray(wav)
    gain = np.zeros(len(wav))
    fade = seconds_to_samples(fade_s, sample_rate)
    slope = 0.5 - 0.5 * np.cos(np.pi * (np.arange(fade) + 0.5) / max(fade, 1))
    shape = np.concatenate([slope, [1.0], slope[::-1]])
    for start, stop in spans:
        begin = seconds_to_samples(start, sample_rate)
        end = seconds_to_samples(stop, sample_rate)
        whole = np.repeat(
            shape, [1] * fade + [max(0, end - begin)] + [1] * fade
        )
        first = max(0, begin - fade)
        part = whole[first - begin + fade :][: max(0, len(wav) - first)]
        place = slice(first, first + len(part))
        gain[place] = np.maximum(gain[place], part)
    if wav.ndim > 1:
        gain = gain[:, None]
    return (wav * gain).astype(wav.dtype)
