"""Scores of a grid of trainings: variants, what they are told, seeds, songs."""

from __future__ import annotations

import csv
from collections import defaultdict
from math import isfinite
from pathlib import Path
from typing import NamedTuple

import numpy as np

from speechbrain_ext.errors import NoteError
from speechbrain_ext.metrics.paired import (
    compare,
    mean_and_bounds,
    over_seeds,
)

BASELINE = "all_audio"
CORRECT = "correct"


class System(NamedTuple):
    """Scores of one variant under one control.

    Arguments
    ---------
    scores : dict of str to float
        By song, averaged over the seeds.
    seeds : list of float
        Mean over songs of each training.
    """

    scores: dict[str, float]
    seeds: list[float]


class Systems(dict):
    """Systems by (variant, control).

    Example
    -------
    >>> systems = Systems({("all_post", "correct"): System({"a": 2.0}, [2.0])})
    >>> systems.bars()
    {'all_post': {'correct': (2.0, nan, nan)}}
    """

    def bars(self) -> dict[str, dict[str, tuple[float, float, float]]]:
        """Give the mean and interval of each, by variant and control."""
        found: dict[str, dict] = {}
        for (variant, control), system in self.items():
            values = list(system.scores.values())
            found.setdefault(variant, {})[control] = mean_and_bounds(values)
        return found


def read_scores(path, metric) -> dict[str, float]:
    r"""Read one score of every song.

    Arguments
    ---------
    path : str or Path
        `scores.csv`, as `SongStats.write_csv` writes it.
    metric : str
        Column, as `vocals_SI-SDR`.

    Returns
    -------
    dict of str to float
        By song; nan where it has none.

    Raises
    ------
    NoteError
        If the file is missing or has no such column.

    Example
    -------
    >>> path = getfixture("tmp_path") / "scores.csv"
    >>> _ = path.write_text("song_id,vocals_SDR\na,1.5\n")
    >>> read_scores(path, "vocals_SDR")
    {'a': 1.5}
    """
    rows = _rows(path, ["song_id", metric])
    return {row["song_id"]: float(row[metric]) for row in rows}


def summarize(path, metric) -> Systems:
    r"""Gather the scores of a grid.

    Arguments
    ---------
    path : str or Path
        CSV with the columns variant, control, seed, song_id and the metric.
    metric : str
        Name of its column.

    Returns
    -------
    Systems
        In the order of the file.

    Raises
    ------
    NoteError
        If the file is missing or lacks a column.

    Example
    -------
    >>> path = getfixture("tmp_path") / "grid.csv"
    >>> _ = path.write_text(
    ...     "variant,control,seed,song_id,SDR\n"
    ...     "all_audio,correct,1,a,1.0\nall_audio,correct,2,a,2.0\n"
    ... )
    >>> summarize(path, "SDR")["all_audio", "correct"]
    System(scores={'a': 1.5}, seeds=[1.0, 2.0])
    """
    rows = _rows(path, ["variant", "control", "seed", "song_id", metric])
    found: dict = defaultdict(lambda: defaultdict(dict))
    for row in rows:
        system = found[row["variant"], row["control"]]
        system[row["seed"]][row["song_id"]] = float(row[metric])
    return Systems(
        (
            key,
            System(
                over_seeds(runs.values()),
                [float(np.nanmean([*run.values()])) for run in runs.values()],
            ),
        )
        for key, runs in found.items()
    )


def score_tables(systems: Systems, metric: str) -> str:
    """Lay the scores of a grid out for reading.

    Arguments
    ---------
    systems : Systems
    metric : str
        Its name, for the title.

    Returns
    -------
    str
        Two tables: means over songs with 95 % bootstrap intervals and the
        standard deviation of the seeds; and differences song by song, with
        Wilcoxon's p: of all to `all_audio`, and of each variant told what is
        sung to the same variant told something else.
    """
    bars = systems.bars()
    width = max([len(variant) for variant in bars] + [7]) + 2
    lines = [
        f"{metric}, dB; mean over songs, 95 % bootstrap",
        f"{'variant':{width}}{'told':10}{'songs':>6}{'seeds':>6}{'mean':>8}"
        f"{'low':>8}{'high':>8}{'sd of seeds':>13}",
    ]
    for (variant, control), (scores, seeds) in systems.items():
        mean, low, high = bars[variant][control]
        spread = np.std(seeds, ddof=1) if len(seeds) > 1 else np.nan
        lines.append(
            f"{variant:{width}}{control:10}{len(scores):6}{len(seeds):6}"
            f"{mean:8.2f}{_shown(low)}{_shown(high)}{_shown(spread, 13)}"
        )
    lines += ["", "differences, song by song"]
    lines += [
        f"{_name(one)} - {_name(two)}: "
        f"{compare(systems[one].scores, systems[two].scores)}"
        for one, two in _pairs(systems)
    ]
    return "\n".join(lines)


def _pairs(systems):
    """What is to be compared with what."""
    audio = [key for key in systems if key[0] == BASELINE]
    for key in systems:
        if audio and key[0] != BASELINE:
            yield key, audio[0]
    for variant, control in systems:
        right = (variant, CORRECT)
        if control != CORRECT and right in systems:
            yield right, (variant, control)


def _name(key):
    return f"{key[0]} ({key[1]})" if key[0] != BASELINE else key[0]


def _shown(value, width=8):
    shown = f"{value:.2f}" if isfinite(value) else "-"
    return f"{shown:>{width}}"


def _rows(path, columns):
    """Rows of a CSV that has certain columns."""
    try:
        with Path(path).open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
    except OSError as error:
        raise NoteError(f"{path}: cannot be read: {error.strerror}") from None
    missing = [name for name in columns if not rows or name not in rows[0]]
    if missing:
        known = ", ".join(rows[0]) if rows else "nothing"
        raise NoteError(f"{path}: has no column {missing[0]}, but {known}")
    return rows
