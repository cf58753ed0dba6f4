"""Scores of fundamental frequency contours.

The protocol is that of `mir_eval.melody` (Raffel et al., ISMIR 2014; defined
by Salamon et al., IEEE SPM 2014), with its defaults, frame by frame at the
times of the reference:

- **RPA**, raw pitch accuracy: of the voiced frames, those whose estimate lies
  within 50 cents. A frame that the estimate calls unvoiced (0 Hz) is wrong;
- **RCA**, raw chroma accuracy: the same, octaves apart allowed;
- **VR**, voicing recall: of the voiced frames, those called voiced;
- **VFA**, voicing false alarm: of the unvoiced frames, those called voiced;
- **OA**, overall accuracy: of all frames, those whose voicing, and pitch if
  voiced, are right.

The score of a corpus is the unweighted mean of its songs' scores.
"""

from __future__ import annotations

import warnings
from importlib.metadata import version
from math import isfinite
from pathlib import Path
from typing import NamedTuple

import numpy as np

from speechbrain_ext.errors import NoteError
from speechbrain_ext.f0 import F0Contour, read_f0
from speechbrain_ext.metrics.stats import (
    SongStats,
    checked_tolerances,
    natural,
    paired_paths,
)
from speechbrain_ext.notes import midi_to_hz

METRICS = ("RPA", "RCA", "OA", "VR", "VFA")
_NAMES = {
    "RPA": "Raw Pitch Accuracy",
    "RCA": "Raw Chroma Accuracy",
    "OA": "Overall Accuracy",
    "VR": "Voicing Recall",
    "VFA": "Voicing False Alarm",
}
# Of two files of a song, the earlier suffix counts: beside a contour there
# may be notes.
SUFFIXES = (".f0.csv", ".pv", ".csv")


def evaluate_f0(
    reference: F0Contour, estimate: F0Contour, pitch_tolerance: float = 50.0
) -> dict[str, float]:
    """Score one contour with `mir_eval.melody.evaluate`.

    Arguments
    ---------
    reference, estimate : F0Contour
        With at least one frame each.
    pitch_tolerance : float
        Cents. Default: 50.

    Returns
    -------
    dict of str to float
        For each of `METRICS`, in [0, 1].

    Raises
    ------
    NoteError
        If a contour has no frames.
    ConfigError
        If the tolerance is negative or not finite.

    Example
    -------
    >>> times = np.arange(4) / 100
    >>> sung = F0Contour(times, np.array([0.0, 60.0, 62.0, 64.0]))
    >>> heard = F0Contour(times, np.array([60.0, 60.2, 74.0, 64.0]))
    >>> scores = evaluate_f0(sung, heard)
    >>> round(scores["RPA"], 3), scores["RCA"], scores["OA"], scores["VFA"]
    (0.667, 1.0, 0.5, 1.0)
    """
    from mir_eval import melody

    tolerances = checked_tolerances(pitch_tolerance=pitch_tolerance)
    sides = []
    for name, contour in (("reference", reference), ("estimate", estimate)):
        if len(contour) == 0:
            raise NoteError(
                f"the {name} contour has 0 frames: nothing to score"
            )
        hz = np.where(contour.midi > 0, midi_to_hz(contour.midi), 0.0)
        sides += [np.asarray(contour.times, dtype=np.float64), hz]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*has no voiced frames")
        found = melody.evaluate(
            *sides, cent_tolerance=tolerances["pitch_tolerance"]
        )
    return {metric: float(found[name]) for metric, name in _NAMES.items()}


class ContourScore(NamedTuple):
    """Scores of one song.

    Arguments
    ---------
    song_id : str
    group : str or None
    scores : dict of str to float
        As from `evaluate_f0`.
    """

    song_id: str
    group: str | None
    scores: dict[str, float]


class MelodyStats(SongStats):
    """Contour scores of many songs, their means and 95 % intervals.

    Arguments
    ---------
    pitch_tolerance : float
        Cents. Default: 50.
    resamples, seed : int
        See `SongStats`.

    Example
    -------
    >>> times = np.arange(100) / 50
    >>> sung = F0Contour(times, np.full(100, 60.0))
    >>> stats = MelodyStats()
    >>> stats.append("a", sung, sung)
    >>> stats.append("b", sung, F0Contour(times, np.full(100, 61.0)))
    >>> stats.summarize()["RPA"], stats.summarize()["VR"]
    (0.5, 1.0)
    """

    metrics = METRICS

    def __init__(
        self,
        pitch_tolerance: float = 50.0,
        resamples: int = 2000,
        seed: int = 0,
    ):
        super().__init__(resamples, seed)
        self.tolerances = checked_tolerances(pitch_tolerance=pitch_tolerance)

    def append(
        self,
        song_id: str,
        reference: F0Contour,
        estimate: F0Contour,
        group: str | None = None,
    ) -> None:
        """Score one whole song.

        Arguments
        ---------
        song_id : str
            Must be new.
        reference, estimate : F0Contour
        group : str, optional
            A name to compare songs by (singer, corpus).

        Raises
        ------
        NoteError
            If the song was scored already, or a contour has no frames.
        """
        self._add(
            ContourScore(
                str(song_id),
                None if group is None else str(group),
                evaluate_f0(reference, estimate, **self.tolerances),
            )
        )

    def _like(self) -> MelodyStats:
        return MelodyStats(
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
            f"mir_eval {version('mir_eval')} melody: pitch "
            f"{self.tolerances['pitch_tolerance']:g} cents"
        )

    def _block(self, title: str) -> list[str]:
        summary = self.summarize()
        lines = [title, f"{'%':10}{'mean':>8}    95 %"]
        for metric in METRICS:
            low, high = (
                100 * summary[f"{metric}_{k}"] for k in ("low", "high")
            )
            bounds = f"{low:.2f} - {high:.2f}" if isfinite(low) else "-"
            lines.append(f"{metric:10}{100 * summary[metric]:8.2f}    {bounds}")
        return lines

    def _columns(self) -> list[str]:
        return list(METRICS)

    def _row(self, song) -> list:
        return [f"{song.scores[m]:.6f}" for m in METRICS]


def evaluate_f0_paths(
    reference, estimate, pitch_tolerance: float = 50.0
) -> tuple[MelodyStats, list[str], list[str]]:
    """Score contour files against contour files.

    Arguments
    ---------
    reference, estimate : str or Path
        Two files, whatever their names, or two folders whose files are paired
        by name without suffix (`SUFFIXES`; of a song's files the one with the
        earlier suffix counts).
    pitch_tolerance : float
        Cents. Default: 50.

    Returns
    -------
    stats : MelodyStats
        Of the songs on both sides.
    only_in_reference, only_in_estimate : list of str
        Names of the songs left out.

    Raises
    ------
    NoteError
        If a path is missing, a file is faulty, a file meets a folder, or no
        song is on both sides.
    """
    stats = MelodyStats(pitch_tolerance)
    references, estimates = paired_paths(
        reference, estimate, _contours, "contour"
    )
    shared = sorted(references.keys() & estimates.keys(), key=natural)
    for song in shared:
        contours = (read_f0(references[song]), read_f0(estimates[song]))
        try:
            stats.append(song, *contours)
        except NoteError as error:
            raise NoteError(f"{song}: {error}") from None
    return (
        stats,
        sorted(references.keys() - estimates.keys(), key=natural),
        sorted(estimates.keys() - references.keys(), key=natural),
    )


def _contours(folder: Path) -> dict[str, Path]:
    """Contour files of a folder by song."""
    found: dict[str, Path] = {}
    for suffix in SUFFIXES:
        for path in sorted(folder.glob(f"[!.]*{suffix}")):
            song = path.name[: -len(suffix)]
            # The name of a contour ends in the name of no other kind.
            if not song.endswith(".f0"):
                found.setdefault(song, path)
    return found
