"""Two systems on the same songs: what one gains over the other, and how surely.

Songs differ more than systems do, so each song is compared with itself. The
interval is the percentile bootstrap of the mean difference over songs; the test
is Wilcoxon's signed-rank test, two-sided, which asks whether differences lie
around 0 and does not mind a song that is far off (Wilcoxon, Biometrics Bulletin
1(6), 1945). Several trainings of a system, with other seeds, are first averaged
song by song: they are no more songs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from speechbrain_ext.errors import NoteError
from speechbrain_ext.metrics.stats import averages, bounds


class Comparison(NamedTuple):
    """What one system gains over another.

    Arguments
    ---------
    songs : int
        On which both have a score.
    mean, low, high : float
        Mean difference and its 95 % interval; nan for fewer than two songs.
    better : int
        Songs on which it is positive.
    p : float
        Of Wilcoxon's test; 1 if there is no difference at all, nan for no
        songs.
    """

    songs: int
    mean: float
    low: float
    high: float
    better: int
    p: float

    def __str__(self):
        """Show the difference on one line."""
        return (
            f"{self.mean:+.2f} ({self.low:+.2f} to {self.high:+.2f}), better "
            f"in {self.better} of {self.songs}, p = {self.p:.2g}"
        )


def over_seeds(runs: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Scores of songs, averaged over several trainings of one system.

    Arguments
    ---------
    runs : iterable of dict of str to float
        By song; nan where a song has no score.

    Returns
    -------
    dict of str to float
        Of the songs that all trainings have a score of.

    Example
    -------
    >>> over_seeds([{"a": 1.0, "b": 2.0}, {"a": 2.0, "b": float("nan")}])
    {'a': 1.5}
    """
    runs = list(runs)
    if not runs:
        return {}
    names = [name for name in runs[0] if all(name in run for run in runs)]
    means = {
        name: float(np.mean([run[name] for run in runs])) for name in names
    }
    return {name: x for name, x in means.items() if np.isfinite(x)}


def mean_and_bounds(
    values, resamples: int = 2000, seed: int = 0
) -> tuple[float, float, float]:
    """Mean over songs and its 95 % interval.

    Arguments
    ---------
    values : array_like (songs,)
    resamples, seed : int
        Of the bootstrap. Default: 2000, 0.

    Returns
    -------
    (float, float, float)
        Mean, lower and upper bound; nan for bounds of fewer than two songs.

    Example
    -------
    >>> mean_and_bounds([1.0, 1.0, 1.0])
    (1.0, 1.0, 1.0)
    """
    values = np.asarray(values, dtype=np.float64)
    if not len(values):
        return (np.nan,) * 3
    draws = np.random.default_rng(seed).multinomial(
        len(values), np.full(len(values), 1 / len(values)), size=resamples
    )
    low, high = bounds(values, averages(values, draws))
    return float(values.mean()), float(low), float(high)


def compare(
    system: Mapping[str, float],
    baseline: Mapping[str, float],
    resamples: int = 2000,
    seed: int = 0,
) -> Comparison:
    """Compare two systems song by song.

    Arguments
    ---------
    system, baseline : dict of str to float
        Scores by song; higher is better.
    resamples, seed : int
        Of the bootstrap. Default: 2000, 0.

    Returns
    -------
    Comparison
        Of the songs that both have.

    Raises
    ------
    NoteError
        If they have no song in common.

    Example
    -------
    >>> compare({"a": 3.0, "b": 5.0, "c": 2.0}, {"a": 1.0, "b": 2.0, "d": 9.0})
    Comparison(songs=2, mean=2.5, low=2.0, high=3.0, better=2, p=0.5)
    """
    from scipy.stats import wilcoxon

    names = [
        name
        for name in system
        if np.isfinite(system[name]) and np.isfinite(baseline.get(name, np.nan))
    ]
    if not names:
        raise NoteError(
            f"systems of {len(system)} and {len(baseline)} songs have none in "
            "common: score them on the same songs"
        )
    gains = np.array([system[name] - baseline[name] for name in names])
    p = 1.0 if not gains.any() else float(wilcoxon(gains).pvalue)
    mean, low, high = mean_and_bounds(gains, resamples, seed)
    return Comparison(len(names), mean, low, high, int((gains > 0).sum()), p)
