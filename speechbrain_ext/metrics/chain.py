"""Scores of a chain of models, under several conditions of its input.

A chain's stage is fed with what it would get at best and with what the stage in
front of it gives; the difference is that stage's cost. Means are over songs,
with 95 % bootstrap intervals; differences between conditions are taken song by
song. A song that has no score under a condition is left out of its mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import NamedTuple

import numpy as np

from speechbrain_ext.errors import NoteError
from speechbrain_ext.metrics.paired import Comparison, compare
from speechbrain_ext.metrics.stats import (
    SongStats,
    averages,
    bounds,
    count_songs,
)


class ChainScore(NamedTuple):
    """Scores of one song.

    Arguments
    ---------
    song_id : str
    group : str or None
    scores : dict of str to list of float
        By measure: of each condition, nan where there is none.
    """

    song_id: str
    group: str | None
    scores: dict[str, list[float]]


class ChainStats(SongStats):
    """Scores of many songs under several conditions.

    Arguments
    ---------
    measures : sequence of str
        What is scored, with its unit.
    conditions : sequence of str
        What the chain is given, by short names, the best first.
    told : str
        The line above the table. Default: none.
    resamples, seed : int
        See `SongStats`.

    Example
    -------
    >>> stats = ChainStats(["COnP, %"], ["perfect", "found"])
    >>> for song, *scores in (("a", 90, 70), ("b", 80, 80)):
    ...     rows = [{"COnP, %": score} for score in scores]
    ...     stats.append(song, dict(zip(["perfect", "found"], rows)))
    >>> stats.means()["COnP, %"]["found"]
    (75.0, 70.0, 80.0)
    >>> stats.difference("COnP, %", "found", "perfect").mean
    -10.0
    """

    def __init__(
        self,
        measures: Sequence[str],
        conditions: Sequence[str],
        told: str = "",
        resamples: int = 2000,
        seed: int = 0,
    ):
        super().__init__(resamples, seed)
        self.metrics, self.fields = tuple(measures), tuple(conditions)
        self.told = told
        self.tolerances = {"measures": self.metrics, "conditions": self.fields}

    def append(
        self,
        song_id: str,
        scores: Mapping[str, Mapping[str, float]],
        group: str | None = None,
    ) -> None:
        """Add one song.

        Arguments
        ---------
        song_id : str
            Must be new.
        scores : dict of str to dict of str to float
            By condition and measure; what is missing counts as nan.
        group : str, optional
            A name to compare songs by.

        Raises
        ------
        NoteError
            If the song was added already, or has a condition or a measure
            that the others do not have.
        """
        for condition, found in scores.items():
            extra = {condition} - {*self.fields} | {*found} - {*self.metrics}
            if extra:
                raise NoteError(
                    f"song {song_id!r} has scores of {sorted(extra)}: name "
                    "them when the statistics are made"
                )
        rows = {
            measure: [
                float(scores.get(condition, {}).get(measure, np.nan))
                for condition in self.fields
            ]
            for measure in self.metrics
        }
        self._add(ChainScore(str(song_id), group, rows))

    def _like(self) -> ChainStats:
        return ChainStats(
            self.metrics, self.fields, self.told, self.resamples, self.seed
        )

    def interval(self, level: float = 0.95) -> np.ndarray:
        """Bootstrap interval of the means, over the songs that have a score.

        Arguments
        ---------
        level : float
            Coverage. Default: 0.95.

        Returns
        -------
        np.ndarray (measures, conditions, 2)
        """
        values = self.values()
        return bounds(values, averages(values, self._draws()), level)

    def means(self) -> dict[str, dict[str, tuple[float, float, float]]]:
        """Means over songs with their 95 % intervals.

        Returns
        -------
        dict of str to dict of str to (float, float, float)
            By measure and condition: mean, lower and upper bound; nan where
            there is none.

        Raises
        ------
        NoteError
            If no song was scored.
        """
        if not len(self):
            raise NoteError("no song was scored: append songs first")
        values = self.values()
        means = averages(values, np.ones((1, len(values))))[0]
        return {
            measure: {
                condition: (float(mean), *map(float, low_high))
                for condition, mean, low_high in zip(
                    self.fields, row, ends, strict=True
                )
            }
            for measure, row, ends in zip(
                self.metrics, means, self.interval(), strict=True
            )
        }

    def difference(self, measure: str, one: str, two: str) -> Comparison | None:
        """Compare two conditions song by song.

        Arguments
        ---------
        measure, one, two : str
            What is compared; conditions.

        Returns
        -------
        Comparison or None
            Of one less two; None if no song has both.
        """
        places = [self.fields.index(name) for name in (one, two)]
        left, right = (
            {s.song_id: s.scores[measure][k] for s in self.songs}
            for k in places
        )
        try:
            return compare(left, right, self.resamples, self.seed)
        except NoteError:
            return None

    def protocol(self) -> str:
        """Give the line above the table.

        Returns
        -------
        str
        """
        return self.told

    def _block(self, title: str) -> list[str]:
        means = self.means()
        wide = max(map(len, (title, *self.metrics))) + 2
        pairs = list(zip(self.fields[1:], self.fields, strict=False))
        names = [*self.fields, *(f"{one} - {two}" for one, two in pairs)]
        widths = [max(14, len(name) + 2) for name in names]
        heads = zip(names, widths, strict=True)
        lines = [f"{title:{wide}}" + "".join(f"{n:>{w}}" for n, w in heads)]
        for measure in self.metrics:
            cells = [_cell(*means[measure][name]) for name in self.fields]
            for one, two in pairs:
                found = self.difference(measure, one, two)
                cells.append(_cell(*found[1:4], sign="+") if found else "-")
            row = zip(cells, widths, strict=True)
            lines.append(
                f"{measure:{wide}}" + "".join(f"{c:>{w}}" for c, w in row)
            )
        return lines

    def table(self) -> str:
        """Means with the half-widths of their intervals, and differences.

        Returns
        -------
        str
            Lines without a final newline; a column per condition and per
            difference of two that follow each other.
        """
        title = f"mean of {count_songs(len(self), self.unit)}, 95 %"
        told = [self.told] if self.told else []
        return "\n".join([*told, *self._block(title)])

    def _columns(self) -> list[str]:
        return [
            f"{measure} ({condition})"
            for measure in self.metrics
            for condition in self.fields
        ]

    def _row(self, song) -> list:
        return [
            f"{value:.6f}" if isfinite(value) else ""
            for measure in self.metrics
            for value in song.scores[measure]
        ]


def _cell(mean, low, high, sign="") -> str:
    """A mean and the half-width of its interval."""
    if not isfinite(mean):
        return "-"
    cell = f"{mean:{sign}.1f}"
    return f"{cell} +-{(high - low) / 2:.1f}" if isfinite(low) else cell
