"""Scores of transcribed lyrics: word and character error rates.

- **WER**, word error rate: substitutions, deletions and insertions of the
  shortest way from the reference to the estimate, over the reference's words;
- **CER**, character error rate: the same over characters, spaces included.

Both are counted by SpeechBrain's `ErrorRateStats`. That of a test set is the
errors of all its lines over their words (or characters), as usual, so that
long lines count more. Texts are compared as they are: bring both sides into
one spelling first (`lyrics.words.plain_words`). Intervals are of a bootstrap
over lines; lines of one singer are taken to be independent, which makes them
somewhat too narrow.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from speechbrain.utils.metric_stats import ErrorRateStats

from speechbrain_ext.errors import LyricsError, NoteError
from speechbrain_ext.metrics.stats import (
    SongStats,
    averages,
    bounds,
    percent_cell,
)

METRICS = ("WER", "CER")
KINDS = ("substitutions", "deletions", "insertions")


class LineScore(NamedTuple):
    """Errors of one line.

    Arguments
    ---------
    song_id : str
        Name of the line.
    group : str or None
    scores : dict of str to float
        Of `METRICS`: errors per word and per character.
    errors : dict of str to tuple of int
        For each of `METRICS` the number of each of `KINDS`.
    counts : dict of str to int
        Words and characters of the reference, by metric.
    reference, estimate : str
    """

    song_id: str
    group: str | None
    scores: dict[str, float]
    errors: dict[str, tuple[int, ...]]
    counts: dict[str, int]
    reference: str
    estimate: str


def score_line(reference: str, estimate: str) -> dict[str, dict]:
    """Count errors of a line.

    Arguments
    ---------
    reference, estimate : str
        Words parted by spaces.

    Returns
    -------
    dict of str to dict
        For each of `METRICS`: numbers of `KINDS`, and `count`, words or
        characters of the reference.

    Raises
    ------
    LyricsError
        If the reference has no word.

    Example
    -------
    >>> score_line("oh my love", "oh love love")["WER"]
    {'substitutions': 1, 'deletions': 0, 'insertions': 0, 'count': 3}
    """
    if not reference.split():
        raise LyricsError("the reference has 0 words: nothing to score")
    found = {}
    for metric, split in (("WER", str.split), ("CER", list)):
        texts = [" ".join(text.split()) for text in (estimate, reference)]
        stats = ErrorRateStats()
        stats.append(["line"], *([split(text)] for text in texts))
        (score,) = stats.scores
        found[metric] = {kind: int(score[kind]) for kind in KINDS}
        found[metric]["count"] = int(score["num_ref_tokens"])
    return found


class LyricsStats(SongStats):
    """Error rates of many lines, and their 95 % intervals.

    Arguments
    ---------
    resamples, seed : int
        See `SongStats`.

    Example
    -------
    >>> stats = LyricsStats()
    >>> stats.append("1", "oh my love", "oh love")
    >>> stats.append("2", "la", "la")
    >>> stats.summarize()["WER"]
    0.25
    """

    metrics = METRICS
    average = "errors over all words or characters"
    unit = "line"

    def __init__(self, resamples: int = 2000, seed: int = 0):
        super().__init__(resamples, seed)
        self.tolerances = {}

    def append(
        self,
        line_id: str,
        reference: str,
        estimate: str,
        group: str | None = None,
    ) -> None:
        """Score a line.

        Arguments
        ---------
        line_id : str
            Must be new.
        reference, estimate : str
            What is sung, and what was heard.
        group : str, optional
            A name to compare lines by.

        Raises
        ------
        NoteError
            If the line was scored already.
        LyricsError
            If the reference has no word.
        """
        found = score_line(reference, estimate)
        errors = {m: tuple(found[m][k] for k in KINDS) for m in METRICS}
        counts = {m: found[m]["count"] for m in METRICS}
        scores = {m: sum(errors[m]) / counts[m] for m in METRICS}
        group = None if group is None else str(group)
        self._add(
            LineScore(
                str(line_id),
                group,
                scores,
                errors,
                counts,
                reference,
                estimate,
            )
        )

    def _like(self) -> LyricsStats:
        return LyricsStats(self.resamples, self.seed)

    def interval(self, level: float = 0.95) -> np.ndarray:
        """Bootstrap interval of the error rates, over lines.

        Arguments
        ---------
        level : float
            Coverage. Default: 0.95.

        Returns
        -------
        np.ndarray (2, 2)
            Lower and upper bound of each of `METRICS`; nan for fewer than two
            lines.
        """
        values = self.values()
        draws = self._draws()
        drawn = [
            averages(values[:, k], draws * self._weights(metric))
            for k, metric in enumerate(METRICS)
        ]
        return bounds(values, np.stack(drawn, axis=1), level)

    def _weights(self, metric) -> np.ndarray:
        """How much each line counts."""
        return np.array([line.counts[metric] for line in self.songs])

    def rates(self) -> dict[str, float]:
        """Error rates alone.

        Returns
        -------
        dict of str to float
            For each of `METRICS`, a share.

        Raises
        ------
        NoteError
            If no line was scored.
        """
        if not len(self):
            raise NoteError("no line was scored: append lines first")
        return {
            metric: sum(sum(line.errors[metric]) for line in self.songs)
            / int(self._weights(metric).sum())
            for metric in METRICS
        }

    def summarize(self) -> dict[str, float]:
        """Error rates and their 95 % intervals.

        Returns
        -------
        dict of str to float
            `lines`, `words` (int), and for each of `METRICS`: `<metric>`,
            `<metric>_low`, `<metric>_high`; shares, above 1 where there are
            more errors than words.

        Raises
        ------
        NoteError
            If no line was scored.
        """
        rates = self.rates()
        words = int(self._weights("WER").sum())
        summary = {"lines": len(self), "words": words, **rates}
        for metric, (low, high) in zip(METRICS, self.interval(), strict=True):
            summary[f"{metric}_low"] = float(low)
            summary[f"{metric}_high"] = float(high)
        return summary

    def protocol(self) -> str:
        """Name the protocol on one line.

        Returns
        -------
        str
        """
        return (
            "WER and CER: substitutions, deletions and insertions per word or "
            "character (spaces count) of the reference, over all lines; 95 % "
            "bootstrap over lines"
        )

    def _block(self, title: str) -> list[str]:
        summary = self.summarize()
        return [
            title,
            *(f"{m}, %  {percent_cell(summary, m)}" for m in METRICS),
        ]

    def _columns(self) -> list[str]:
        parts = [f"{m} {kind}" for m in METRICS for kind in KINDS]
        return [*METRICS, "words", "characters", *parts, "sung", "heard"]

    def _row(self, song) -> list:
        return [
            *(f"{song.scores[m]:.6f}" for m in METRICS),
            *(song.counts[m] for m in METRICS),
            *(number for m in METRICS for number in song.errors[m]),
            song.reference,
            song.estimate,
        ]


def error_table(results: dict[str, LyricsStats]) -> str:
    """Error rates of several test sets or systems as text.

    Arguments
    ---------
    results : dict of str to LyricsStats

    Returns
    -------
    str
        A line each; the protocol below.

    Example
    -------
    >>> stats = LyricsStats()
    >>> stats.append("1", "oh my love", "oh love")
    >>> print(error_table({"test": stats}).splitlines()[1])
    test                1      3            33.3            30.0
    """
    wide = max(16, *(len(name) + 2 for name in results))
    cells = "".join(f"{metric + ', %':>16}" for metric in METRICS)
    lines = [f"{'':{wide}}{'lines':>5}{'words':>7}{cells}"]
    for name, stats in results.items():
        summary = stats.summarize()
        cells = "".join(f"{percent_cell(summary, m):>16}" for m in METRICS)
        lines.append(
            f"{name:{wide}}{summary['lines']:5}{summary['words']:7}{cells}"
        )
    lines.append(next(iter(results.values())).protocol())
    return "\n".join(lines)
