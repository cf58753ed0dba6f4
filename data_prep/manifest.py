"""The one manifest: a CSV with a row per segment, for every corpus.

========== ======= =====================================================
column     type    meaning
========== ======= =====================================================
ID         str     `<song_id>_<segment>`, unique in the file
song_id    str     the corpus's own name of the song
segment    int     position of the segment in its song, from 1
n_segments int     number of segments of the song
start      float   start of the segment in its song, seconds
stop       float   end of the segment, seconds
duration   float   `stop - start`, seconds
split      str     train, valid or test
singer     str     name of the singer; empty if unknown
license    str     short name of the licence of the song
========== ======= =====================================================

Corpora from which singers are mixed with each other, and test sets of such
mixtures, have labels as well, the first three always together:

========== ======= =====================================================
label      type    meaning
========== ======= =====================================================
dataset    str     short name of the corpus, as `singbrain prepare --list`
kind       str     singing or speech; empty: singing
song       str     composition, in its key and tempo, that several
                   recordings share: the same second of each is the same
                   place in the music; empty if there is no other one in the
                   split. In a test set of mixtures: the song that the
                   excerpt is cut from
task       str     what a mixture is: unison, duet or main_vs_rest
n_singers  int     how many different people sing in a mixture
text       str     all words of a song that is one line of lyrics; small
                   letters and apostrophes, parted by single spaces
========== ======= =====================================================

There `singer` starts with the name of the data set, so that no two people have
one name, or is `artist - <key>` where only the artist is known (see
`data_prep.medleyvox.artist_key`), so that one artist has one name in all data
sets.

After these come the media that the corpus has: `wav` (the voice), `mix_wav`
(voice and accompaniment, or several voices), `voice2_wav` to `voice8_wav` (the
other voices of a mixture of voices; its main voice, if there is one, is `wav`,
and all of them add up to `mix_wav`), `accomp_wav` (accompaniment alone), its
parts `drums_wav`, `bass_wav` and `other_wav`, `video`, `notes`, `f0` (the
voice's pitch over time, see `speechbrain_ext.f0`), `words`, `phones`. Each cell
is a path or empty. A path into the corpus starts with `{data_root}/`, a path to
a file that the preparation made starts with `{manifest_root}/`, the folder of
the CSV; so a manifest survives moving either folder. `#<k>` after the path of
an audio file names one of its channels, as in `speechbrain_ext.audio`.
"""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from speechbrain_ext.audio import split_channel
from speechbrain_ext.errors import ConfigError, ManifestError
from speechbrain_ext.files import atomic_path

SPLITS = ("train", "valid", "test")
DATA_ROOT = "{data_root}"
MANIFEST_ROOT = "{manifest_root}"

# Columns that every manifest has, with the type of their cells.
COLUMNS = {
    "ID": str,
    "song_id": str,
    "segment": int,
    "n_segments": int,
    "start": float,
    "stop": float,
    "duration": float,
    "split": str,
    "singer": str,
    "license": str,
}
# Columns that only some manifests have, likewise; an empty cell of a text is
# empty, that of a number is None.
LABELS = {
    "dataset": str,
    "kind": str,
    "song": str,
    "task": str,
    "n_singers": int,
    "text": str,
}
TOGETHER = ("dataset", "kind", "song")
KINDS = ("singing", "speech")
STEMS = ("drums_wav", "bass_wav", "other_wav")
VOICES = ("wav", *(f"voice{k}_wav" for k in range(2, 9)))
AUDIO = ("wav", "mix_wav", *VOICES[1:], "accomp_wav", *STEMS)
MEDIA = (*AUDIO, "video", "notes", "f0", "words", "phones")

# Times are written with six decimals; sums of two may be off by this.
TIME_TOLERANCE_S = 1e-5


def segments(
    duration: float, segment_s: float | None
) -> list[tuple[float, float]]:
    """Cut a song into segments of about equal length.

    There are `max(1, round(duration / segment_s))` segments. All but the last
    last `segment_s`; the last one runs to the end of the song, so it lasts
    between half and one and a half `segment_s`. A song shorter than that is
    one segment.

    Arguments
    ---------
    duration : float
        Length of the song in seconds, above 0.
    segment_s : float or None
        Wanted length of a segment in seconds, above 0. None: the song is one.

    Returns
    -------
    list of (float, float)
        Start and stop of each segment in seconds, without gaps.

    Raises
    ------
    ConfigError
        If `segment_s` is not a positive number.
    ManifestError
        If `duration` is not a positive number.

    Example
    -------
    >>> segments(12.0, 5.0)
    [(0.0, 5.0), (5.0, 12.0)]
    >>> segments(1.5, 5.0)
    [(0.0, 1.5)]
    """
    check_segment_s(segment_s)
    if not (math.isfinite(duration) and duration > 0):
        raise ManifestError(
            f"a song of {duration} s cannot be cut into segments: check the "
            "audio"
        )
    count = 1
    if segment_s is not None:
        count = max(1, round(duration / segment_s))
    edges = [round(i * (segment_s or 0.0), 6) for i in range(count)]
    edges.append(round(duration, 6))
    return list(zip(edges[:-1], edges[1:], strict=True))


def check_segment_s(segment_s: float | None) -> None:
    """Refuse a segment length that is not a positive number.

    Arguments
    ---------
    segment_s : float or None
        Seconds; None: songs are not cut.

    Raises
    ------
    ConfigError
        If it is none.
    """
    if segment_s is None:
        return
    if not (
        isinstance(segment_s, int | float)
        and math.isfinite(segment_s)
        and segment_s > 0
    ):
        raise ConfigError(
            f"segment_s is {segment_s!r}: give a number of seconds above 0"
        )


def write_manifest(rows, path, overwrite: bool = False) -> Path:
    """Check rows and write them, all or nothing.

    Arguments
    ---------
    rows : list of dict
        One per segment, with the keys of `COLUMNS` and any labels and media. A
        label or medium that no row has gets no column; one that some rows have
        is left empty in the others.
    path : str or Path
        The CSV.
    overwrite : bool
        Whether an existing file may be replaced.

    Returns
    -------
    Path

    Raises
    ------
    ManifestError
        If the rows break a rule of `read_manifest`.
    OutputError
        If the file exists or cannot be written.
    """
    path = Path(path)
    rows = list(rows)
    present = {key for row in rows for key in row if row[key] not in (None, "")}
    if present & {*TOGETHER}:
        present |= {*TOGETHER}
    more = [key for key in (*LABELS, *MEDIA) if key in present]
    known = {*COLUMNS, *LABELS, *MEDIA}
    unknown = sorted({key for row in rows for key in row} - known)
    if unknown:
        raise ManifestError(
            f"{path}: unknown column {unknown[0]}: use one of "
            f"{', '.join((*LABELS, *MEDIA))}"
        )
    for row in rows:
        if missing := COLUMNS.keys() - row.keys():
            raise ManifestError(f"{path}: a row has no {min(missing)}")
    _check_rows(rows, path)
    with (
        atomic_path(path, overwrite=overwrite) as tmp,
        tmp.open("w", newline="", encoding="utf-8") as stream,
    ):
        writer = csv.DictWriter(
            stream,
            [*COLUMNS, *more],
            extrasaction="ignore",
            lineterminator="\n",
        )
        writer.writeheader()
        for row in rows:
            writer.writerow({key: _cell(value) for key, value in row.items()})
    return path


def _cell(value):
    """Text of a cell: times with up to six decimals."""
    if isinstance(value, float):
        return f"{value:.6f}".rstrip("0").rstrip(".")
    return "" if value is None else str(value)


def read_manifest(path, data_root=None, check_files: bool = True) -> list[dict]:
    """Read a manifest and check it.

    Arguments
    ---------
    path : str or Path
        The CSV.
    data_root : str or Path, optional
        Folder of the corpus, put in for `{data_root}`.
    check_files : bool
        Whether all media must exist (default True). If False, `data_root` may
        be None, and the paths that need it stay as they are written.

    Returns
    -------
    list of dict
        The rows in the order of the file: `segment` and `n_segments` are int,
        `start`, `stop` and `duration` float, labels as in `LABELS`, media
        absolute paths (str, that of an audio file perhaps with its channel) or
        None.

    Raises
    ------
    ManifestError
        If the file is missing or no CSV in UTF-8, a column is missing, a cell
        is not of its type, an ID occurs twice, a segment does not end after
        its start, the segments of a song are incomplete or do not follow each
        other, its rows disagree on split, singer or media, or a medium does
        not exist. The message names the file and the line or song.
    """
    path = Path(path)
    rows = _read_rows(path)
    _check_rows(rows, path)
    roots = {MANIFEST_ROOT: path.absolute().parent}
    if data_root is not None:
        roots[DATA_ROOT] = Path(data_root).absolute()
    known = set()
    for row in rows:
        for key in row.keys() - COLUMNS.keys() - LABELS.keys():
            if row[key]:
                row[key] = _resolve(row[key], roots, path, check_files)
                if check_files and row[key] not in known:
                    file = row[key]
                    if key in AUDIO:
                        file, _ = split_channel(file)
                    _check_exists(file, path, data_root)
                    known.add(row[key])
            else:
                row[key] = None
    return rows


def _read_rows(path: Path) -> list[dict]:
    """Cells of the CSV, converted to their types."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, strict=True)
            header = reader.fieldnames or []
            missing = [key for key in COLUMNS if key not in header]
            if missing:
                raise ManifestError(
                    f"{path}: no column {', '.join(missing)}: is it a "
                    "manifest? write it with `singbrain prepare`"
                )
            rows = []
            for row in reader:
                if None in row or None in row.values():
                    raise ManifestError(
                        f"{path}, line {reader.line_num}: has another number "
                        f"of cells than the header's {len(header)}"
                    )
                for key, kind in (COLUMNS | LABELS).items():
                    if key in LABELS and not row.get(key):
                        if key in row and kind is not str:
                            row[key] = None
                        continue
                    try:
                        row[key] = kind(row[key])
                    except ValueError:
                        raise ManifestError(
                            f"{path}, line {reader.line_num}: {key} is "
                            f"{row[key]!r}, not a number"
                        ) from None
                rows.append(row)
    except FileNotFoundError:
        raise ManifestError(
            f"{path}: no such manifest: write it with `singbrain prepare`"
        ) from None
    except OSError as error:
        raise ManifestError(
            f"{path}: cannot be read: {error.strerror}"
        ) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(f"{path}: is no CSV in UTF-8: {error}") from None
    return rows


def _check_rows(rows: list[dict], path: Path) -> None:
    """Hold typed rows to the rules that need no file."""
    if not rows:
        raise ManifestError(f"{path}: holds no segments")
    songs, seen = defaultdict(list), set()
    for row in rows:
        if row["ID"] in seen:
            raise ManifestError(
                f"{path}: the ID {row['ID']} occurs twice: IDs are unique"
            )
        seen.add(row["ID"])
        _check_row(row, path)
        songs[row["song_id"]].append(row)
    for song_id, parts in songs.items():
        _check_song(song_id, parts, path)


def _check_row(row: dict, path: Path) -> None:
    """Hold one row to the rules."""
    where = f"{path}: segment {row['ID']}"
    start, stop, duration = row["start"], row["stop"], row["duration"]
    if not all(map(math.isfinite, (start, stop, duration))):
        raise ManifestError(f"{where}: has a time that is not finite")
    if not 0 <= start < stop:
        raise ManifestError(
            f"{where}: starts at {start:g} s and stops at {stop:g} s: it "
            "must stop after its start, which is at least 0"
        )
    if abs(stop - start - duration) > TIME_TOLERANCE_S:
        raise ManifestError(
            f"{where}: lasts {stop - start:g} s but says {duration:g} s"
        )
    if row["split"] not in SPLITS:
        raise ManifestError(
            f"{where}: split {row['split']!r} is none of {', '.join(SPLITS)}"
        )
    if row.get("kind") and row["kind"] not in KINDS:
        raise ManifestError(
            f"{where}: kind {row['kind']!r} is none of {', '.join(KINDS)}"
        )


def _check_song(song_id: str, parts: list[dict], path: Path) -> None:
    """Check that the segments of a song are all there and fit together."""
    where = f"{path}: song {song_id}"
    parts = sorted(parts, key=lambda row: row["segment"])
    count = parts[0]["n_segments"]
    for key in parts[0].keys() - {"ID", "segment", "start", "stop", "duration"}:
        values = sorted({str(row[key]) for row in parts})
        if len(values) > 1:
            raise ManifestError(
                f"{where}: its segments disagree on {key}: {values[0]!r} and "
                f"{values[1]!r}"
            )
    numbers = [row["segment"] for row in parts]
    if numbers != list(range(1, count + 1)):
        missing = sorted(set(range(1, count + 1)) - set(numbers))
        raise ManifestError(
            f"{where}: has {len(numbers)} of {count} segments"
            + (f", number {missing[0]} is missing" if missing else "")
            + ": prepare the corpus again"
        )
    for last, row in zip([None, *parts[:-1]], parts, strict=True):
        stop = last["stop"] if last else 0.0
        if abs(row["start"] - stop) > TIME_TOLERANCE_S:
            raise ManifestError(
                f"{where}: segment {row['segment']} starts at "
                f"{row['start']:g} s, but the one before ends at {stop:g} s"
            )


def _resolve(cell: str, roots: dict, path: Path, needed: bool) -> str:
    """Put the folders in for `{data_root}` and `{manifest_root}`."""
    for name in (DATA_ROOT, MANIFEST_ROOT):
        if cell.startswith(f"{name}/"):
            if name in roots:
                return str(roots[name] / cell[len(name) + 1 :])
            if not needed:
                return cell
            raise ManifestError(
                f"{path}: {cell} lies in the corpus: say where with data_root"
            )
    if Path(cell).is_absolute():
        return cell
    raise ManifestError(
        f"{path}: the path {cell} starts with neither {DATA_ROOT}/ nor "
        f"{MANIFEST_ROOT}/"
    )


def _check_exists(medium: str | Path, path: Path, data_root) -> None:
    """Refuse a medium that is not there."""
    if not Path(medium).is_file():
        raise ManifestError(
            f"{medium}: no such file, but {path} names it: check data_root "
            f"(now {data_root}) or prepare the corpus again"
        )


def dataset_rows(rows: list[dict]) -> dict[str, dict]:
    """Bring rows into the form of SpeechBrain's `DynamicItemDataset`.

    Arguments
    ---------
    rows : list of dict
        From `read_manifest`; lists of several manifests may be joined.

    Returns
    -------
    dict of str to dict
        The rows without their ID, by ID.

    Raises
    ------
    ManifestError
        If two rows have the same ID.

    Example
    -------
    >>> dataset_rows([{"ID": "7_1", "start": 0.0}, {"ID": "7_2", "start": 5.0}])
    {'7_1': {'start': 0.0}, '7_2': {'start': 5.0}}
    """
    items = {}
    for row in rows:
        if row["ID"] in items:
            raise ManifestError(
                f"two manifests have the segment {row['ID']}: they cannot be "
                "joined"
            )
        items[row["ID"]] = {k: v for k, v in row.items() if k != "ID"}
    return items


@dataclass(frozen=True)
class SplitSummary:
    """What one split holds.

    Arguments
    ---------
    songs, segments : int
        Counts.
    hours : float
        Length of the songs.
    notes : int or None
        Count; None if no song is annotated with notes.
    singers : int
        Number of different singers; 0 if the corpus does not tell.
    """

    songs: int
    segments: int
    hours: float
    notes: int | None
    singers: int


@dataclass(frozen=True)
class Summary:
    """What a preparation made.

    Arguments
    ---------
    corpus : str
        Name of the corpus.
    splits : dict of str to SplitSummary
        By name of the split.
    license : str
        Under what terms the corpus may be used.
    citation : str
        What to cite.
    url : str
        Where the corpus is described.
    manifests : dict of str to Path
        The CSV of each split.
    remarks : tuple of str
        What was left out, repaired or looked odd, one line each.
    fresh : bool
        False if everything was there already.
    singers : int
        Number of different singers over all splits: one who sings in two
        splits counts once. 0 if the corpus does not tell.
    """

    corpus: str
    splits: dict[str, SplitSummary]
    license: str = ""
    citation: str = ""
    url: str = ""
    manifests: dict[str, Path] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    fresh: bool = True
    singers: int = 0

    def table(self) -> str:
        """Lay the summary out for reading.

        Returns
        -------
        str
            Several lines: one per split, their sum, licence and citation. A
            hyphen stands where notes are not annotated, a question mark where
            singers are unknown.

        Example
        -------
        >>> print(
        ...     Summary(
        ...         "toy",
        ...         {"test": SplitSummary(2, 9, 0.0125, 31, 0)},
        ...         "CC BY 4.0",
        ...         "Ito, 2020",
        ...     ).table()
        ... )
        toy
        split    songs  segments    hours     notes  singers
        test         2         9     0.01        31        ?
        all          2         9     0.01        31        ?
        licence: CC BY 4.0
        cite: Ito, 2020
        """
        values = list(self.splits.values())
        total = SplitSummary(
            sum(s.songs for s in values),
            sum(s.segments for s in values),
            sum(s.hours for s in values),
            _sum(s.notes for s in values),
            self.singers,
        )
        lines = [self.corpus]
        lines.append("split    songs  segments    hours     notes  singers")
        for name, s in [*self.splits.items(), ("all", total)]:
            lines.append(
                f"{name:<5}{s.songs:>9}{s.segments:>10}{s.hours:>9.2f}"
                f"{'-' if s.notes is None else s.notes:>10}"
                f"{s.singers or '?':>9}"
            )
        facts = {
            "licence": self.license,
            "cite": self.citation,
            "see": self.url,
        }
        lines += [f"{name}: {text}" for name, text in facts.items() if text]
        return "\n".join(lines)


def _sum(counts) -> int | None:
    """Sum of the known ones of several counts; None if none is known."""
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def summarize(*manifests, corpus: str = "") -> Summary:
    """Count what manifests hold.

    Arguments
    ---------
    *manifests : str or Path
        CSV files. The notes that they name are read; the audio is not.
    corpus : str
        Name for the head of the table; by default the names of the files.

    Returns
    -------
    Summary
        With the licences of the rows.

    Raises
    ------
    ManifestError
        As `read_manifest`.
    NoteError
        If a file of notes is invalid.
    """
    from speechbrain_ext.formats import read_notes

    counts = defaultdict(lambda: [0, 0, 0.0, None, set()])
    licenses, paths = {}, {}
    for path in map(Path, manifests):
        for row in read_manifest(path, check_files=False):
            songs = counts[row["split"]]
            songs[1] += 1
            songs[2] += row["duration"] / 3600
            if row["segment"] == 1:
                songs[0] += 1
                notes = row.get("notes")
                if notes and not notes.startswith(DATA_ROOT):
                    songs[3] = (songs[3] or 0) + len(read_notes(notes))
                songs[4] |= {row["singer"]} - {""}
            licenses[row["license"]] = None
            paths[row["split"]] = path
    splits = {
        name: SplitSummary(*counts[name][:4], len(counts[name][4]))
        for name in SPLITS
        if name in counts
    }
    return Summary(
        corpus or ", ".join(path.stem for path in map(Path, manifests)),
        splits,
        license=", ".join(filter(None, licenses)),
        manifests={name: paths[name] for name in splits},
        singers=len(set().union(*(c[4] for c in counts.values()))),
    )
