"""Scores of many songs: what all kinds of scores have in common."""

from __future__ import annotations

import csv
import io
import re
from math import isfinite
from pathlib import Path

import numpy as np

from speechbrain_ext.errors import ConfigError, NoteError
from speechbrain_ext.files import atomic_path


class SongStats:
    """Scores of many songs, their means and intervals.

    Songs may come in any order: results depend on the songs alone. The
    intervals are percentiles of the mean over songs drawn with replacement
    (Efron's bootstrap), from a generator seeded with `seed`. A subclass has
    `tolerances` (dict), all that scores depend on; `metrics`, the names of the
    scores, and `fields`, those of a score's parts, if it has any; `summarize`;
    `protocol`; `_like`, an instance of the same settings without songs;
    `_block`, the lines of a table; `_columns` and `_row`, what a CSV says of a
    song; and, where songs do not count alike, `average`, what to call it, and
    `interval`.

    Arguments
    ---------
    resamples : int
        Draws of the bootstrap. Default: 2000.
    seed : int
        Seed of the bootstrap. Default: 0.
    """

    metrics: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    average = "mean"
    unit = "song"  # what one of them is called

    def __init__(self, resamples: int = 2000, seed: int = 0):
        self.resamples = resamples
        self.seed = seed
        self._songs: dict = {}

    def extend(self, other: SongStats) -> None:
        """Take over the songs of another instance, as from another process.

        Arguments
        ---------
        other : SongStats
            Of the same kind, with other songs and the same tolerances.

        Raises
        ------
        NoteError
            If a song is in both, or the tolerances differ.
        """
        if other.tolerances != self.tolerances:
            raise NoteError(
                f"scores made with {other.tolerances} cannot join scores made "
                f"with {self.tolerances}: score again"
            )
        for song in other.songs:
            self._add(song)

    def _add(self, song) -> None:
        if song.song_id in self._songs:
            raise NoteError(
                f"song {song.song_id!r} was scored already: give every song "
                "its own id"
            )
        self._songs[song.song_id] = song

    def __len__(self) -> int:
        """Return the number of songs."""
        return len(self._songs)

    @property
    def songs(self) -> list:
        """The songs' scores, sorted by id (numbers by value)."""
        return sorted(self._songs.values(), key=lambda s: natural(s.song_id))

    def groups(self) -> dict[str, SongStats]:
        """Statistics of each group; songs without a group are left out.

        Returns
        -------
        dict of str to SongStats
            Sorted by name, empty if no song has a group.
        """
        found: dict[str, SongStats] = {}
        for song in self.songs:
            if song.group is not None:
                found.setdefault(song.group, self._like())._add(song)
        return dict(sorted(found.items(), key=lambda item: natural(item[0])))

    def values(self) -> np.ndarray:
        """Scores as an array (songs, metrics) or (songs, metrics, fields).

        Returns
        -------
        np.ndarray
            float64, in the order of `songs`, `metrics` and `fields`.
        """
        parts = (len(self.fields),) if self.fields else ()
        return np.array(
            [[song.scores[m] for m in self.metrics] for song in self.songs],
            dtype=np.float64,
        ).reshape(-1, len(self.metrics), *parts)

    def interval(self, level: float = 0.95) -> np.ndarray:
        """Bootstrap interval of the means, over songs.

        Arguments
        ---------
        level : float
            Coverage. Default: 0.95.

        Returns
        -------
        np.ndarray (..., 2)
            Lower and upper bound of each value of a song; nan for fewer than
            two songs, which say nothing about others.
        """
        values = self.values()
        if len(values) < 2:
            return np.full((*values.shape[1:], 2), np.nan)
        draws = self._draws() / len(values)
        means = np.tensordot(draws, values, axes=1)
        tail = (1 - level) / 2
        return np.moveaxis(np.quantile(means, [tail, 1 - tail], axis=0), 0, -1)

    def means_and_bounds(self) -> dict[str, float]:
        """Means over songs and their 95 % intervals, of scores without parts.

        Returns
        -------
        dict of str to float
            `songs` (int), and for each of `metrics`: `<metric>`,
            `<metric>_low`, `<metric>_high`.

        Raises
        ------
        NoteError
            If no song was scored.
        """
        if not self._songs:
            raise NoteError("no song was scored: append songs first")
        summary: dict[str, float] = {"songs": len(self)}
        means, bounds = self.values().mean(axis=0), self.interval()
        for metric, mean, (low, high) in zip(
            self.metrics, means, bounds, strict=True
        ):
            summary[metric] = float(mean)
            summary[f"{metric}_low"] = float(low)
            summary[f"{metric}_high"] = float(high)
        return summary

    def _draws(self) -> np.ndarray:
        """How often each song is drawn: (resamples, songs)."""
        songs = len(self)
        draws = np.random.default_rng(self.seed).integers(
            songs, size=(self.resamples, songs)
        )
        # Counted, so that memory stays small.
        return np.stack([np.bincount(draw, minlength=songs) for draw in draws])

    def table(self) -> str:
        """Means as text, with protocol, groups and intervals.

        Returns
        -------
        str
            Lines without a final newline.
        """
        title = f"{self.average} of {count_songs(len(self), self.unit)}"
        blocks = [self.protocol(), *self._block(title)]
        for name, stats in self.groups().items():
            title = f"{name}: {count_songs(len(stats), self.unit)}"
            blocks += ["", *stats._block(title)]
        return "\n".join(blocks)

    def write_csv(self, path, overwrite: bool = False) -> Path:
        """Write one row per song.

        Arguments
        ---------
        path : str or Path
            The file. Columns: song_id, group (if any song has one) and the
            song's scores, shares in [0, 1].
        overwrite : bool
            Whether an existing file may be replaced. Default: False.

        Returns
        -------
        Path
        """
        songs = self.songs
        grouped = any(song.group is not None for song in songs)
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["song_id"] + ["group"] * grouped + self._columns())
        for song in songs:
            group = [song.group or ""] * grouped
            writer.writerow([song.song_id, *group, *self._row(song)])
        with atomic_path(path, overwrite) as temporary:
            # A song named in another encoding is shown as on a terminal.
            temporary.write_text(
                text.getvalue(), "utf-8", "backslashreplace", newline="\n"
            )
        return Path(path)

    def write_table(self, stream) -> None:
        """Write `table()` to a text stream.

        Arguments
        ---------
        stream : file-like
            Open for text.
        """
        stream.write(self.table() + "\n")


def natural(name: str) -> tuple:
    """Sort key that puts song 2 before song 10.

    Arguments
    ---------
    name : str

    Returns
    -------
    tuple

    Example
    -------
    >>> sorted(["10", "2", "b", "a"], key=natural)
    ['2', '10', 'a', 'b']
    """
    parts = re.split(r"([0-9]+)", name)
    numbers = [int(part) if i % 2 else part for i, part in enumerate(parts)]
    return numbers, name


def paired_paths(reference, estimate, songs, what) -> list[dict[str, Path]]:
    """Files of two sides by song: two files, or those of two folders.

    Arguments
    ---------
    reference, estimate : str or Path
        Two files, whatever their names, or two folders.
    songs : callable
        From a folder to its files by song.
    what : str
        What a file holds, for messages.

    Returns
    -------
    list of dict of str to Path
        Of the reference and of the estimate, with a song in common.

    Raises
    ------
    NoteError
        If a path is missing, a file meets a folder, or no song is on both
        sides.
    """
    sides = [Path(reference), Path(estimate)]
    for path in sides:
        if not path.exists():
            raise NoteError(f"{path}: no such file or folder: check the name")
    if sides[0].is_dir() != sides[1].is_dir():
        raise NoteError(
            f"{sides[0]} and {sides[1]}: one is a file, the other a folder: "
            "give two files or two folders"
        )
    if not sides[0].is_dir():
        return [{sides[0].name: path} for path in sides]
    found = [songs(path) for path in sides]
    if not found[0].keys() & found[1].keys():
        raise NoteError(
            f"{sides[0]} and {sides[1]} have no {what} in common: "
            f"{len(found[0])} against {len(found[1])} files: give the files "
            "of a song the same name"
        )
    return found


def checked_tolerances(**tolerances: float) -> dict[str, float]:
    """Tolerances that are numbers of 0 or above.

    Arguments
    ---------
    **tolerances

    Returns
    -------
    dict of str to float

    Raises
    ------
    ConfigError
        If one is negative, not finite or no number.
    """
    for name, value in tolerances.items():
        if not (isinstance(value, int | float) and 0 <= value < float("inf")):
            raise ConfigError(
                f"{name} is {value}: give a number that is 0 or above"
            )
    return tolerances


def count_songs(songs: int, unit: str = "song") -> str:
    """Number of songs in words.

    Arguments
    ---------
    songs : int
    unit : str
        What else one is called. Default: song.

    Returns
    -------
    str

    Example
    -------
    >>> count_songs(1), count_songs(2)
    ('1 song', '2 songs')
    """
    return f"{songs} {unit}{'' if songs == 1 else 's'}"


def averages(values, weights, median: bool = False) -> np.ndarray:
    """Weighted means or medians of songs' scores, without those that are nan.

    Arguments
    ---------
    values : np.ndarray (songs, ...)
    weights : np.ndarray (draws, songs)
        Not negative; whole numbers for medians.
    median : bool
        Default: False, means.

    Returns
    -------
    np.ndarray (draws, ...)
        nan where a draw has no song with a score.

    Example
    -------
    >>> values = np.array([1.0, 2.0, np.nan, 9.0])
    >>> averages(values, np.array([[1, 1, 1, 1], [1, 1, 1, 0]]))
    array([4. , 1.5])
    >>> averages(values, np.array([[1, 1, 1, 1], [1, 1, 1, 0]]), median=True)
    array([2. , 1.5])
    """
    found = np.full((len(weights), *values.shape[1:]), np.nan)
    average = _weighted_median if median else _weighted_mean
    for index in np.ndindex(*values.shape[1:]):
        column = values[(slice(None), *index)]
        known = ~np.isnan(column)
        found[(slice(None), *index)] = average(column[known], weights[:, known])
    return found


def bounds(values, drawn, level: float = 0.95) -> np.ndarray:
    """Interval that holds a share of the averages of a bootstrap.

    Arguments
    ---------
    values : np.ndarray (songs, ...)
        Scores.
    drawn : np.ndarray (draws, ...)
        Averages of draws of songs.
    level : float
        Share. Default: 0.95.

    Returns
    -------
    np.ndarray (..., 2)
        Lower and upper bound; nan where fewer than two songs have a score or
        one is infinite.
    """
    found = np.full((*values.shape[1:], 2), np.nan)
    tail = (1 - level) / 2
    for index in np.ndindex(*values.shape[1:]):
        column = values[(slice(None), *index)]
        if np.isinf(column).any() or (~np.isnan(column)).sum() < 2:
            continue
        # A draw of songs without a score says nothing.
        each = drawn[(slice(None), *index)]
        found[index] = np.quantile(each[~np.isnan(each)], [tail, 1 - tail])
    return found


def shown_interval(low: float, high: float) -> str:
    """Interval as a table shows it.

    Arguments
    ---------
    low, high : float

    Returns
    -------
    str

    Example
    -------
    >>> shown_interval(1.234, 2.0), shown_interval(np.nan, np.nan)
    ('1.23 - 2.00', '-')
    """
    return f"{low:.2f} - {high:.2f}" if isfinite(low) else "-"


def percent_cell(summary, key) -> str:
    """A mean in percent with the half-width of its interval.

    Arguments
    ---------
    summary : dict of str to float
        Of `SongStats.summarize`: `key`, `<key>_low` and `<key>_high`.
    key : str

    Returns
    -------
    str
        Without an interval where there is none.

    Example
    -------
    >>> percent_cell({"f1": 0.5, "f1_low": 0.4, "f1_high": 0.62}, "f1")
    '50.0 +-11.0'
    """
    low, high = summary[f"{key}_low"], summary[f"{key}_high"]
    cell = f"{100 * summary[key]:.1f}"
    if isfinite(low):
        cell += f" +-{50 * (high - low):.1f}"
    return cell


def _weighted_mean(values, weights):
    """Mean of values (songs,) for each row of weights (draws, songs)."""
    total = weights.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        parts = np.where(weights > 0, weights * values, 0.0)
        return parts.sum(axis=1) / total


def _weighted_median(values, weights):
    """Median of values (songs,) for each row of whole weights."""
    if not len(values):
        return np.full(len(weights), np.nan)
    order = np.argsort(values)
    values, reached = values[order], np.cumsum(weights[:, order], axis=1)
    total = reached[:, -1:]
    # The middle one, or the two around the middle.
    low = (reached < np.floor((total + 1) / 2)).sum(axis=1)
    high = (reached < np.floor(total / 2) + 1).sum(axis=1)
    last = len(values) - 1
    low, high = values[np.minimum(low, last)], values[np.minimum(high, last)]
    with np.errstate(invalid="ignore"):
        middle = np.where(low == high, low, (low + high) / 2)
    return np.where(total[:, 0] > 0, middle, np.nan)
