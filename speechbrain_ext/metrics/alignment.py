"""Scores of aligned lyrics: how far the onsets of words are out.

The protocol is that of `mir_eval.alignment` (and of MIREX's task of lyrics
alignment), with its defaults, over the onsets of words:

- **median**, **mean**: absolute error of onsets in seconds, lower is better;
- **PCO**, percentage of correct onsets: those within 0.3 s (Mauch et al., TASLP
  2012);
- **PCS**, percentage of correct segments: the share of the time, from the first
  onset to the last, that belongs to the same word on both sides (Fujihara et
  al., JSTSP 2011);
- **found**: the share of the reference's words that the estimate has.

Words are paired in order; where the two sides have other words, as when the
estimate leaves some out, those of the longest common run of words count.
Departing from mir_eval, which takes equal numbers only, a word that was not
found is wrong in PCO, and left out elsewhere. The score of a corpus is the
unweighted mean of its songs' scores.
"""

from __future__ import annotations

from difflib import SequenceMatcher
from importlib.metadata import version
from math import isfinite
from pathlib import Path
from typing import NamedTuple

import numpy as np

from speechbrain_ext.errors import LyricsError
from speechbrain_ext.lyrics.timed import FORMATS, TimedLyrics, read_timed
from speechbrain_ext.metrics.stats import (
    SongStats,
    checked_tolerances,
    natural,
    paired_paths,
)

METRICS = ("median", "mean", "PCO", "PCS", "found")


def evaluate_alignment(
    reference: TimedLyrics, estimate: TimedLyrics, window: float = 0.3
) -> dict[str, float]:
    """Score aligned words.

    Arguments
    ---------
    reference, estimate : TimedLyrics
    window : float
        Seconds that an onset may be out for PCO. Default: 0.3.

    Returns
    -------
    dict of str to float
        For each of `METRICS`: seconds, then shares in [0, 1]. Errors are inf
        if no word was found; PCS is 0 for fewer than two words.

    Raises
    ------
    LyricsError
        If the reference has no word.
    ConfigError
        If the window is negative or not finite.

    Example
    -------
    >>> from speechbrain_ext.lyrics.timed import TimedWord
    >>> sung = [TimedWord("a", 1.0, 2.0), TimedWord("b", 2.0, 3.0)]
    >>> heard = [TimedWord("a", 1.1, 2.0), TimedWord("b", 2.5, 3.0)]
    >>> scores = evaluate_alignment(sung, heard)
    >>> round(scores["mean"], 3), scores["PCO"], scores["found"]
    (0.3, 0.5, 1.0)
    """
    from mir_eval import alignment

    checked_tolerances(window=window)
    reference, estimate = TimedLyrics(reference), TimedLyrics(estimate)
    if not reference:
        raise LyricsError("the reference has 0 words: nothing to score")
    pairs = _paired(reference, estimate)
    if not pairs:
        return dict(zip(METRICS, (np.inf, np.inf, 0.0, 0.0, 0.0), strict=True))
    true = np.array([reference[one].onset for one, _ in pairs])
    found = np.array([estimate[two].onset for _, two in pairs])
    median, mean = alignment.absolute_error(true, found)
    right = alignment.percentage_correct(true, found, window=window)
    share = len(pairs) / len(reference)
    segments = 0.0
    if len(true) > 1 and true[-1] > true[0]:
        segments = alignment.percentage_correct_segments(true, found)
    values = (median, mean, right * share, segments, share)
    return dict(zip(METRICS, map(float, values), strict=True))


def _paired(reference, estimate):
    """Places of the same words on both sides."""
    names = [
        [word.word.casefold() for word in s] for s in (reference, estimate)
    ]
    if names[0] == names[1]:
        return [(k, k) for k in range(len(reference))]
    blocks = SequenceMatcher(None, *names, autojunk=False).get_matching_blocks()
    return [(a + k, b + k) for a, b, size in blocks for k in range(size)]


class AlignmentScore(NamedTuple):
    """Scores of one song.

    Arguments
    ---------
    song_id : str
    group : str or None
    scores : dict of str to float
        As from `evaluate_alignment`.
    words : int
        Of the reference.
    """

    song_id: str
    group: str | None
    scores: dict[str, float]
    words: int


class AlignmentStats(SongStats):
    """Alignment scores of many songs, their means and 95 % intervals.

    Arguments
    ---------
    window : float
        See `evaluate_alignment`. Default: 0.3.
    resamples, seed : int
        See `SongStats`.

    Example
    -------
    >>> from speechbrain_ext.lyrics.timed import TimedWord
    >>> sung = [TimedWord("a", 1.0, 2.0), TimedWord("b", 2.0, 3.0)]
    >>> stats = AlignmentStats()
    >>> stats.append("song", sung, sung)
    >>> stats.summarize()["PCO"], stats.summarize()["median"]
    (1.0, 0.0)
    """

    metrics = METRICS

    def __init__(
        self, window: float = 0.3, resamples: int = 2000, seed: int = 0
    ):
        super().__init__(resamples, seed)
        self.tolerances = checked_tolerances(window=window)

    def append(
        self,
        song_id: str,
        reference: TimedLyrics,
        estimate: TimedLyrics,
        group: str | None = None,
    ) -> None:
        """Score one whole song.

        Arguments
        ---------
        song_id : str
            Must be new.
        reference, estimate : TimedLyrics
        group : str, optional
            A name to compare songs by (singer, corpus).

        Raises
        ------
        NoteError
            If the song was scored already.
        LyricsError
            If the reference has no word.
        """
        self._add(
            AlignmentScore(
                str(song_id),
                None if group is None else str(group),
                evaluate_alignment(reference, estimate, **self.tolerances),
                len(reference),
            )
        )

    def _like(self) -> AlignmentStats:
        return AlignmentStats(
            **self.tolerances, resamples=self.resamples, seed=self.seed
        )

    def summarize(self) -> dict[str, float]:
        """Means over songs and their 95 % intervals.

        Returns
        -------
        dict of str to float
            `songs` (int), and for each of `METRICS`: `<metric>`,
            `<metric>_low`, `<metric>_high`.

        Raises
        ------
        NoteError
            If no song was scored.
        """
        return self.means_and_bounds()

    def protocol(self) -> str:
        """Name the protocol on one line.

        Returns
        -------
        str
        """
        return (
            f"mir_eval {version('mir_eval')} alignment of word onsets: window "
            f"{self.tolerances['window']:g} s; median and mean in seconds"
        )

    def _block(self, title: str) -> list[str]:
        summary = self.summarize()
        lines = [title, f"{'':10}{'mean':>8}    95 %"]
        for metric in METRICS:
            low, high = (summary[f"{metric}_{k}"] for k in ("low", "high"))
            bounds = f"{low:.3f} - {high:.3f}" if isfinite(low) else "-"
            lines.append(f"{metric:10}{summary[metric]:8.3f}    {bounds}")
        return lines

    def _columns(self) -> list[str]:
        return [*METRICS, "words"]

    def _row(self, song) -> list:
        return [*(f"{song.scores[m]:.6f}" for m in METRICS), song.words]


def evaluate_alignment_paths(
    reference, estimate, window: float = 0.3
) -> tuple[AlignmentStats, list[str], list[str]]:
    """Score files of timed lyrics against such files.

    Arguments
    ---------
    reference, estimate : str or Path
        Two files (see `lyrics.timed`), or two folders whose files are paired
        by name without suffix.
    window : float
        Seconds. Default: 0.3.

    Returns
    -------
    stats : AlignmentStats
        Of the songs on both sides.
    only_in_reference, only_in_estimate : list of str
        Names of the songs left out.

    Raises
    ------
    NoteError
        If a path is missing, a file meets a folder, or no song is on both
        sides.
    LyricsError
        If a file is faulty.
    """
    stats = AlignmentStats(window)
    references, estimates = paired_paths(
        reference, estimate, _songs, "timed lyrics"
    )
    shared = sorted(references.keys() & estimates.keys(), key=natural)
    for song in shared:
        lyrics = (read_timed(references[song]), read_timed(estimates[song]))
        try:
            stats.append(song, *lyrics)
        except LyricsError as error:
            raise LyricsError(f"{song}: {error}") from None
    return (
        stats,
        sorted(references.keys() - estimates.keys(), key=natural),
        sorted(estimates.keys() - references.keys(), key=natural),
    )


def _songs(folder: Path) -> dict[str, Path]:
    """Files of a folder by song; of two, the one that keeps more."""
    suffixes = [form.suffix.lower() for form in FORMATS.values()]
    found: dict[str, Path] = {}
    for suffix in reversed(suffixes):
        for path in sorted(folder.iterdir()):
            if path.suffix.lower() == suffix and path.name[0] != ".":
                found.setdefault(path.stem, path)
    return found
