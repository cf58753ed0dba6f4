"""Scores of note transcription.

The protocol is that of `mir_eval.transcription` (Raffel et al., ISMIR 2014;
defined by Molina et al., ISMIR 2014), with its defaults:

- **COn**: an estimated note is correct if its onset lies within 50 ms of a
  reference note's onset;
- **COnP**: and its pitch lies within 50 cents;
- **COnPOff**: and its offset lies within max(50 ms, 20 % of the reference
  note's duration);
- **COff**: the offset alone, with that tolerance.

Every note matches at most one other; the matching is the largest possible.
Nothing departs from mir_eval: times are compared after rounding to 0.1 ms,
bounds are inclusive, and a song with an empty estimate or an empty reference
(or both) scores 0 everywhere. The score of a corpus is the unweighted mean of
its songs' scores.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from math import isfinite
from pathlib import Path
from typing import NamedTuple

from speechbrain_ext.errors import ConfigError, NoteError
from speechbrain_ext.formats import (
    FORMATS,
    is_mir_st500,
    is_note_file,
    note_stem,
    read_mir_st500,
    read_notes,
)
from speechbrain_ext.metrics.stats import (
    SongStats,
    checked_tolerances,
    natural,
)
from speechbrain_ext.notes import NoteSequence

METRICS = ("COnPOff", "COnP", "COn", "COff")
FIELDS = ("precision", "recall", "f1")
# What mir_eval calls them.
_PREFIXES = {
    "COnPOff": ("Precision", "Recall", "F-measure"),
    "COnP": (
        "Precision_no_offset",
        "Recall_no_offset",
        "F-measure_no_offset",
    ),
    "COn": ("Onset_Precision", "Onset_Recall", "Onset_F-measure"),
    "COff": ("Offset_Precision", "Offset_Recall", "Offset_F-measure"),
}


# Which file of a song counts if a folder has several: the least rounded.
EXACT_FIRST = ("csv", "json", "jams", "tonas", "labels", "mid", "musicxml")


class Score(NamedTuple):
    """Precision, recall and their harmonic mean, each in [0, 1]."""

    precision: float
    recall: float
    f1: float


def evaluate_notes(
    reference: NoteSequence,
    estimate: NoteSequence,
    onset_tolerance: float = 0.05,
    pitch_tolerance: float = 50.0,
    offset_ratio: float = 0.2,
    offset_min_tolerance: float = 0.05,
) -> dict[str, Score]:
    """Score one transcription with `mir_eval.transcription.evaluate`.

    Arguments
    ---------
    reference : NoteSequence
        What was sung.
    estimate : NoteSequence
        What was transcribed.
    onset_tolerance : float
        Seconds (default 0.05).
    pitch_tolerance : float
        Cents (default 50).
    offset_ratio : float
        Share of the reference note's duration (default 0.2).
    offset_min_tolerance : float
        Seconds; the offset tolerance is never below it (default 0.05).

    Returns
    -------
    dict of str to Score
        For COnPOff, COnP, COn and COff. All zeros if `reference` or
        `estimate` is empty, also if both are.

    Raises
    ------
    ConfigError
        If a tolerance is negative or not finite.

    Example
    -------
    Two of three reference notes are found, one of them with a late offset:

    >>> reference = NoteSequence([(0, 1, 60), (1, 2, 62), (2, 3, 64)])
    >>> estimate = NoteSequence([(0.04, 1, 60), (1, 2.4, 62.4)])
    >>> scores = evaluate_notes(reference, estimate)
    >>> scores["COnP"].precision, round(scores["COnP"].recall, 3)
    (1.0, 0.667)
    >>> scores["COnPOff"].precision, round(scores["COnPOff"].recall, 3)
    (0.5, 0.333)
    """
    from mir_eval import transcription

    tolerances = checked_tolerances(
        onset_tolerance=onset_tolerance,
        pitch_tolerance=pitch_tolerance,
        offset_ratio=offset_ratio,
        offset_min_tolerance=offset_min_tolerance,
    )
    with _empty_is_fine():
        found = transcription.evaluate(
            reference.intervals,
            reference.frequencies,
            estimate.intervals,
            estimate.frequencies,
            **tolerances,
        )
    return {
        metric: Score(*(float(found[key]) for key in keys))
        for metric, keys in _PREFIXES.items()
    }


def match_notes(
    reference: NoteSequence,
    estimate: NoteSequence,
    onset_tolerance: float = 0.05,
    pitch_tolerance: float = 50.0,
    offset_ratio: float | None = 0.2,
    offset_min_tolerance: float = 0.05,
) -> list[tuple[int, int]]:
    """Pair the notes that agree, with `mir_eval.transcription.match_notes`.

    Arguments
    ---------
    reference, estimate : NoteSequence
    onset_tolerance, pitch_tolerance, offset_min_tolerance : float
        As in `evaluate_notes`.
    offset_ratio : float or None
        As in `evaluate_notes`; None leaves offsets out (default 0.2).

    Returns
    -------
    list of (int, int)
        Indices of reference and estimate, sorted.

    Example
    -------
    >>> reference = NoteSequence([(0, 1, 60), (1, 2, 62)])
    >>> estimate = NoteSequence([(1, 1.5, 62)])
    >>> match_notes(reference, estimate)
    []
    >>> match_notes(reference, estimate, offset_ratio=None)
    [(1, 0)]
    """
    from mir_eval import transcription

    if not len(reference) or not len(estimate):
        return []
    pairs = transcription.match_notes(
        reference.intervals,
        reference.frequencies,
        estimate.intervals,
        estimate.frequencies,
        onset_tolerance=onset_tolerance,
        pitch_tolerance=pitch_tolerance,
        offset_ratio=offset_ratio,
        offset_min_tolerance=offset_min_tolerance,
    )
    return sorted((int(i), int(j)) for i, j in pairs)


class NoteStats(SongStats):
    """Note scores of many songs, their means and 95 % intervals.

    Arguments
    ---------
    onset_tolerance, pitch_tolerance, offset_ratio, offset_min_tolerance : float
        As in `evaluate_notes`.
    resamples, seed : int
        See `SongStats`.

    Example
    -------
    >>> melody = NoteSequence([(0, 1, 60), (1, 2, 62)])
    >>> stats = NoteStats()
    >>> stats.append("song 2", melody, melody[:1])
    >>> stats.append("song 1", melody, melody)
    >>> stats.summarize("COn_recall"), stats.summarize("songs")
    (0.75, 2)
    >>> print(stats.table().splitlines()[-2])
    COn         100.00   75.00   83.33    66.67 - 100.00
    """

    metrics = METRICS
    fields = FIELDS

    def __init__(
        self,
        onset_tolerance: float = 0.05,
        pitch_tolerance: float = 50.0,
        offset_ratio: float = 0.2,
        offset_min_tolerance: float = 0.05,
        resamples: int = 2000,
        seed: int = 0,
    ):
        super().__init__(resamples, seed)
        self.tolerances = checked_tolerances(
            onset_tolerance=onset_tolerance,
            pitch_tolerance=pitch_tolerance,
            offset_ratio=offset_ratio,
            offset_min_tolerance=offset_min_tolerance,
        )

    def append(
        self,
        song_id: str,
        reference: NoteSequence,
        estimate: NoteSequence,
        group: str | None = None,
    ) -> None:
        """Score one whole song.

        Arguments
        ---------
        song_id : str
            Must be new.
        reference, estimate : NoteSequence
            Either may be empty.
        group : str, optional
            A name to compare songs by (singer, gender, corpus).

        Raises
        ------
        NoteError
            If the song was scored already.
        """
        self._add(
            SongScore(
                str(song_id),
                None if group is None else str(group),
                len(reference),
                len(estimate),
                evaluate_notes(reference, estimate, **self.tolerances),
            )
        )

    def _like(self) -> NoteStats:
        return NoteStats(
            **self.tolerances, resamples=self.resamples, seed=self.seed
        )

    def summarize(self, field: str | None = None):
        """Means over songs and their 95 % intervals.

        Arguments
        ---------
        field : str, optional
            One key of the full summary, e.g. `COnPOff_f1`.

        Returns
        -------
        dict of str to float, or one of its values
            `songs` (int), and for each of COnPOff, COnP, COn, COff:
            `<metric>_precision`, `<metric>_recall`, `<metric>_f1`,
            `<metric>_f1_low`, `<metric>_f1_high`.

        Raises
        ------
        NoteError
            If no song was scored.
        ConfigError
            If `field` is unknown.
        """
        if not self._songs:
            raise NoteError("no song was scored: append songs first")
        means = self.values().mean(axis=0)
        bounds = self.interval()[:, FIELDS.index("f1")]
        summary: dict[str, float] = {"songs": len(self)}
        for metric, mean, (low, high) in zip(
            METRICS, means, bounds, strict=True
        ):
            for name, value in zip(FIELDS, mean, strict=True):
                summary[f"{metric}_{name}"] = float(value)
            summary[f"{metric}_f1_low"] = float(low)
            summary[f"{metric}_f1_high"] = float(high)
        if field is None:
            return summary
        if field not in summary:
            raise ConfigError(
                f"unknown score {field!r}: use one of {', '.join(summary)}"
            )
        return summary[field]

    def protocol(self) -> str:
        """Name the protocol on one line.

        Returns
        -------
        str
        """
        t = self.tolerances
        return (
            f"mir_eval {version('mir_eval')} transcription: onset "
            f"{t['onset_tolerance'] * 1000:g} ms, pitch "
            f"{t['pitch_tolerance']:g} cents, offset max("
            f"{t['offset_min_tolerance'] * 1000:g} ms, "
            f"{t['offset_ratio'] * 100:g} %)"
        )

    def _block(self, title: str) -> list[str]:
        summary = self.summarize()
        lines = [title, f"{'%':10}{'P':>8}{'R':>8}{'F1':>8}    95 % of F1"]
        for metric in METRICS:
            cells = [100 * summary[f"{metric}_{field}"] for field in FIELDS]
            low = 100 * summary[f"{metric}_f1_low"]
            high = 100 * summary[f"{metric}_f1_high"]
            bounds = f"{low:.2f} - {high:.2f}" if isfinite(low) else "-"
            numbers = "".join(f"{cell:8.2f}" for cell in cells)
            lines.append(f"{metric:10}{numbers}    {bounds}")
        return lines

    def _columns(self) -> list[str]:
        scores = [f"{m}_{field}" for m in METRICS for field in FIELDS]
        return ["reference_notes", "estimated_notes", *scores]

    def _row(self, song) -> list:
        scores = [f"{x:.6f}" for m in METRICS for x in song.scores[m]]
        return [song.reference_notes, song.estimated_notes, *scores]


class SongScore(NamedTuple):
    """Scores of one song.

    Arguments
    ---------
    song_id : str
    group : str or None
    reference_notes, estimated_notes : int
        How many notes there are.
    scores : dict of str to Score
        As from `evaluate_notes`.
    """

    song_id: str
    group: str | None
    reference_notes: int
    estimated_notes: int
    scores: dict[str, Score]


def as_json(stats: NoteStats) -> dict:
    """Means over songs, for machines.

    Arguments
    ---------
    stats : NoteStats
        With one song or more.

    Returns
    -------
    dict
        `{"songs": n, "COnPOff": {"precision": p, "recall": r, "f1": f},
        "COnP": ..., "COn": ..., "COff": ...}`, scores in [0, 1].

    Raises
    ------
    NoteError
        If no song was scored.
    """
    summary = stats.summarize()
    return {"songs": summary["songs"]} | {
        metric: {field: summary[f"{metric}_{field}"] for field in FIELDS}
        for metric in METRICS
    }


def evaluate_paths(
    reference, estimate, format: str | None = None, **tolerances
) -> tuple[NoteStats, list[str], list[str]]:
    """Score note files against note files.

    Arguments
    ---------
    reference, estimate : str or Path
        Two single files, whatever their names; or two collections: a folder
        of note files (paired by name without suffix, in any formats; of a song
        in several formats the most exact one counts, see `EXACT_FIRST`) or a
        MIR-ST500 annotation file (paired by song id).
    format : str, optional
        A name of `speechbrain_ext.formats.FORMATS` for all note files; by
        default suffixes decide. In folders other files are then left out.
    **tolerances
        As in `evaluate_notes`.

    Returns
    -------
    stats : NoteStats
        Of the songs on both sides.
    only_in_reference, only_in_estimate : list of str
        Names of the songs left out.

    Raises
    ------
    NoteError
        If a path is missing, a file is faulty, a folder holds a song twice in
        one format, a single file meets a collection, or no song is on both
        sides.
    """
    stats = NoteStats(**tolerances)
    sides = [Path(reference), Path(estimate)]
    for path in sides:
        if not path.exists():
            raise NoteError(f"{path}: no such file or folder: check the name")
    found = [note_collection(path, format) for path in sides]
    for path, other, songs in zip(sides, sides[::-1], found, strict=True):
        if songs is None and other.is_dir():
            raise NoteError(
                f"{path}: is a single song but {other} is a folder: give two "
                "files or two folders"
            )
    if None in found:
        melodies = [
            read_notes(path, format if songs is None else None)
            for path, songs in zip(sides, found, strict=True)
        ]
        stats.append(note_stem(sides[0]), *melodies)
        return stats, [], []
    references, estimates = found
    shared = sorted(references.keys() & estimates.keys(), key=natural)
    if not shared:
        raise NoteError(
            f"{sides[0]} and {sides[1]} have no song in common: "
            f"{_some(references)} against {_some(estimates)}: give the files "
            "of a song the same name"
        )
    for song in shared:
        stats.append(song, references[song](), estimates[song]())
    return (
        stats,
        sorted(references.keys() - estimates.keys(), key=natural),
        sorted(estimates.keys() - references.keys(), key=natural),
    )


def note_collection(
    path: Path, format: str | None = None
) -> dict[str, Callable[[], NoteSequence]] | None:
    """Find the songs of a folder or annotation file.

    Arguments
    ---------
    path : Path
        Folder of note files, or MIR-ST500 annotation file.
    format : str, optional
        As in `evaluate_paths`.

    Returns
    -------
    dict of str to callable, or None
        Readers of the songs by name; None if it is a single song.

    Raises
    ------
    NoteError
        If the folder cannot be read or holds a song twice in one format.
    """
    if format is not None and format not in FORMATS:
        raise NoteError(
            f"unknown note format {format!r}: use one of {', '.join(FORMATS)}"
        )
    if not path.is_dir():
        if format != "mir_st500" and not is_mir_st500(path):
            return None
        return {
            song: lambda notes=notes: notes
            for song, notes in read_mir_st500(path).items()
        }
    try:
        entries = sorted(entry for entry in path.iterdir() if entry.is_file())
    except OSError as error:
        raise NoteError(f"{path}: cannot be read: {error.strerror}") from None
    files: dict[str, Path] = {}
    for file in entries:
        if file.name.startswith(".") or not _is_candidate(file, format):
            continue
        song = note_stem(file)
        if song in files and _rank(files[song]) == _rank(file):
            raise NoteError(
                f"{path}: holds song {song!r} twice, as {files[song].name} "
                f"and {file.name}: remove one"
            )
        if song not in files or _rank(file) < _rank(files[song]):
            files[song] = file
    return {
        song: lambda file=file: read_notes(file, format)
        for song, file in files.items()
    }


def _rank(file: Path) -> int:
    """Place of a file's format among `EXACT_FIRST`."""
    name = file.name.lower()
    for place, key in enumerate(EXACT_FIRST):
        if name.endswith(tuple(s.lower() for s in FORMATS[key].suffixes)):
            return place
    return len(EXACT_FIRST)


def _is_candidate(file: Path, format: str | None) -> bool:
    """Whether a file of a folder may be a note file."""
    if format is None:
        return is_note_file(file)
    suffixes = FORMATS[format].suffixes or (".json",)
    return file.name.lower().endswith(tuple(s.lower() for s in suffixes))


@contextmanager
def _empty_is_fine() -> Iterator[None]:
    """Silence mir_eval's warnings about empty notes, and only those."""
    with warnings.catch_warnings():
        for side in ("Reference", "Estimated"):
            warnings.filterwarnings("ignore", f"{side} notes are empty")
        yield


def _some(songs) -> str:
    """Name the first few songs of a collection."""
    names = sorted(songs, key=natural)
    if not names:
        return "no song at all"
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
