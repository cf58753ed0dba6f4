"""Scores of singers told apart, over many recordings.

Nobody told the model which output is for whom. So estimates are first assigned
to references, once for a whole item, in the order with the highest mean SI-SDR:
an oracle. What a listener would have without it is told by the scores of the
order in which the outputs came, where that has a meaning (a main voice first),
and by the swap rate: how often singers change places in the course of an item.

Scores of an item are means over its references, without those that are nan:

- **SI-SDR**, of whole items, and **SDR**, **SIR**, **SAR** of BSS-Eval 3
  (`sources`, 512 taps), as `metrics.bss_eval` has them; **SI-SDRi** and
  **SDRi** are what they gain over the mixture taken as the estimate.
- **STOI**, short-time objective intelligibility (Taal et al., IEEE TASLP 19(7),
  2011), by the package pystoi, 0 to 1, and **STOIi**; nan for items with less
  than 0.4 s of sound.
- **swap rate**, **away**: see `find_swaps`; 0 to 1.
- **fixed SI-SDRi**: as SI-SDRi, of the outputs in the order they came in.
- **pitch overlap**: no score but what explains one: share of the narrower of
  two singers' pitch ranges that lies in the other (`pitch_ranges`), 0 to 1.

A corpus gets the mean and the median over its items, and a bootstrap interval
of the mean; where several items come from one song, songs are drawn, since
items of a song are alike.
"""

from __future__ import annotations

import csv
import io
import warnings
from itertools import combinations
from math import isfinite
from pathlib import Path
from typing import NamedTuple

import numpy as np

from speechbrain_ext.errors import AudioError, NoteError, optional_library
from speechbrain_ext.files import atomic_path
from speechbrain_ext.metrics.bss_eval import (
    FILTER_LENGTH,
    best_order,
    bss_eval_pairs,
    si_sdr,
)
from speechbrain_ext.metrics.pitch_ranges import pitch_range, range_overlap
from speechbrain_ext.metrics.song_folders import (
    checked_folders,
    collect_songs,
    score_songs,
    unmatched,
)
from speechbrain_ext.metrics.stats import (
    SongStats,
    averages,
    bounds,
    natural,
    shown_interval,
)

WINDOW_S = 1.0
HOP_S = 0.5

# Two orders of the outputs differ in a window if their correlations with the
# references do by so much.
MARGIN = 0.2

# Windows so far below the mean energy of an item say nothing.
_SILENT = 1e-4

# What decides between assignments that are equally good.
_STAY = 1e-3

# What the names of scores mean is said at the top of this module.
METRICS = ("SI-SDR", "SI-SDRi", "swap rate", "away", "fixed SI-SDRi")
BSS_METRICS = ("SDR", "SDRi", "SIR", "SAR")
STOI_METRICS = ("STOI", "STOIi")
PITCH_METRIC = "pitch overlap"

# Files of a song's singers are called singer1, singer2 ... up to here.
MOST_SINGERS = 64

# Joins the names of those who sing an item.
AND = " + "


class Swaps(NamedTuple):
    """How the assignment of outputs to singers changes within an item.

    Arguments
    ---------
    windows : int
        Those in which the assignment is clear.
    changes : int
        How often it differs from that of the last such window.
    away : int
        Windows in which it differs from that of the whole item.
    """

    windows: int
    changes: int
    away: int

    @property
    def rate(self) -> float:
        """Changes per pair of successive windows; nan for less than two."""
        return self.changes / (self.windows - 1) if self.windows > 1 else np.nan

    @property
    def share_away(self) -> float:
        """Share of the windows with another assignment; nan for none."""
        return self.away / self.windows if self.windows else np.nan


def find_swaps(
    references,
    estimates,
    sample_rate: int,
    window_s: float = WINDOW_S,
    hop_s: float = HOP_S,
    margin: float = MARGIN,
) -> Swaps:
    """Find where singers change places among the outputs.

    In each window the outputs are assigned to the references so that the sum
    of their inner products is largest, which is the assignment of least squared
    error. What all outputs have in common does not tell them apart, nor what
    all references have: the means over them are taken away first. Relative to
    the energy of what is left, the sum is a correlation from -1 to 1, and 0 on
    average over all assignments; a window counts if it is at least `margin`,
    and the assignment changes if another one is better by more than that.

    Arguments
    ---------
    references, estimates : np.ndarray (sources, samples)
        Or (sources, channels, samples), whose mean is taken; of one shape.
    sample_rate : int
        Hertz.
    window_s, hop_s : float
        Length and distance of the windows, seconds. Default: 1 and 0.5.
    margin : float
        Default: 0.2.

    Returns
    -------
    Swaps

    Raises
    ------
    AudioError
        If the shapes differ.

    Example
    -------
    Perfect outputs that change places after six of ten seconds:

    >>> singers = np.random.default_rng(0).normal(size=(2, 10000))
    >>> outputs = singers.copy()
    >>> outputs[:, 6000:] = singers[::-1, 6000:]
    >>> swaps = find_swaps(singers, outputs, 1000, hop_s=1.0)
    >>> swaps, round(swaps.rate, 3), swaps.share_away
    (Swaps(windows=10, changes=1, away=4), 0.111, 0.4)
    """
    references, estimates = _same_shape(references, estimates)
    window = max(1, round(window_s * sample_rate))
    hop = max(1, round(hop_s * sample_rate))
    singers = _apart(references)
    outputs = _apart(estimates)
    places = np.arange(len(references))
    whole = best_order(singers @ outputs.T)
    samples = singers.shape[1]
    floor = _SILENT * np.sum(singers**2) * window / max(samples, 1)
    counted = changes = away = 0
    current = whole
    for start in range(0, max(samples - window, 0) + 1, hop):
        here = slice(start, start + window)
        own, said = singers[:, here], outputs[:, here]
        energies = np.sum(own**2), np.sum(said**2)
        if energies[0] <= floor or energies[1] == 0:
            continue
        table = own @ said.T / np.sqrt(energies[0] * energies[1])
        # Who is silent stays where he was, or where he mostly is.
        preferred = table.copy()
        preferred[places, whole] += _STAY
        preferred[places, current] += 2 * _STAY
        best = best_order(preferred)
        top = table[places, best].sum()
        if top < margin:
            continue
        moved = top - table[places, current].sum() > margin
        away += top - table[places, whole].sum() > margin
        changes += moved and counted > 0
        counted += 1
        current = best if moved else current
    return Swaps(counted, int(changes), int(away))


def _same_shape(references, estimates):
    """Both as arrays, if their shapes are the same."""
    references, estimates = np.asarray(references), np.asarray(estimates)
    if references.shape != estimates.shape or references.ndim not in (2, 3):
        raise AudioError(
            f"the references have the shape {references.shape}, the estimates "
            f"{estimates.shape}: give (sources, samples) twice"
        )
    return references, estimates


def _apart(signals):
    """Signals (sources, samples) in double precision, less their mean."""
    signals = np.asarray(signals, np.float64)
    signals = signals if signals.ndim == 2 else signals.mean(1)
    return signals - signals.mean(0)


def assign_outputs(references, estimates) -> tuple[np.ndarray, np.ndarray]:
    """Assign outputs to singers by the highest mean SI-SDR.

    Arguments
    ---------
    references, estimates : np.ndarray (sources, samples)
        Or (sources, channels, samples); of one shape.

    Returns
    -------
    order : np.ndarray (sources,) of int
        Which estimate each reference gets.
    scores : np.ndarray (sources,)
        SI-SDR in that order, dB; nan where a signal is silent.

    Raises
    ------
    AudioError
        If the shapes differ or a value is not finite.

    Example
    -------
    >>> singers = np.random.default_rng(0).normal(size=(3, 1000))
    >>> assign_outputs(singers, singers[[2, 0, 1]])[0]
    array([1, 2, 0])
    """
    references, estimates = _same_shape(references, estimates)
    table = np.stack(
        [
            si_sdr(references, np.broadcast_to(estimate, references.shape))
            for estimate in estimates
        ],
        axis=1,
    )
    # Silence fits nobody better than anybody else.
    order = best_order(np.nan_to_num(table, nan=0.0, posinf=1e4, neginf=-1e4))
    return order, table[np.arange(len(references)), order]


def evaluate_singers(
    references,
    estimates,
    sample_rate: int,
    bss: bool = True,
    stoi: bool = False,
    ordered: bool = False,
    filter_length: int = FILTER_LENGTH,
    pitch: bool = False,
) -> tuple[dict[str, float], np.ndarray]:
    """Score one item.

    Arguments
    ---------
    references, estimates : np.ndarray (sources, samples)
        Or (sources, channels, samples), of which STOI and swaps take the mean;
        of one shape. The mixture is the sum of the references.
    sample_rate : int
        Hertz.
    bss : bool
        Whether SDR, SIR and SAR are computed. Default: True.
    stoi : bool
        Whether STOI is. Default: False.
    ordered : bool
        Whether the order of the outputs has a meaning. Default: False.
    filter_length : int
        Taps of the distortion filters. Default: 512.
    pitch : bool
        Whether the overlap of pitch ranges is found. Default: False.

    Returns
    -------
    scores : dict of str to float
        By the names at the top of this module; "fixed SI-SDRi" is nan unless
        `ordered`.
    order : np.ndarray (sources,) of int
        Which estimate each reference got.

    Raises
    ------
    AudioError
        If the shapes differ or a value is not finite.
    DependencyError
        If pystoi is missing.

    Example
    -------
    >>> singers = np.random.default_rng(0).normal(size=(2, 8000))
    >>> outputs = singers[::-1] + 0.1 * singers
    >>> scores, order = evaluate_singers(singers, outputs, 8000, ordered=True)
    >>> order, round(scores["SI-SDRi"]), round(scores["fixed SI-SDRi"])
    (array([1, 0]), 20, -21)
    """
    references, estimates = _same_shape(references, estimates)
    mixture = references.sum(0)
    mixtures = np.broadcast_to(mixture, references.shape)
    order, found = assign_outputs(references, estimates)
    baseline = si_sdr(references, mixtures)
    # Nothing can be gained by one who sings alone.
    baseline[np.isinf(baseline)] = np.nan
    swaps = find_swaps(references, estimates, sample_rate)
    fixed = np.nan
    if ordered:
        fixed = _mean(si_sdr(references, estimates) - baseline)
    gain = found - baseline
    values = [_mean(found), _mean(gain), swaps.rate, swaps.share_away, fixed]
    scores = dict(zip(METRICS, values, strict=True))
    estimates, count = estimates[order], len(references)
    if bss:
        pairs = [(k, k) for k in range(count)]
        pairs += [(k, count) for k in range(count)]
        sdr, _, sir, sar = bss_eval_pairs(
            references,
            np.concatenate([estimates, mixture[None]]),
            pairs,
            images=False,
            filter_length=filter_length,
        )[..., 0]
        with np.errstate(invalid="ignore"):
            gain = sdr[:count] - sdr[count:]
        means = [_mean(sdr[:count]), _mean(gain)]
        means += [_mean(sir[:count]), _mean(sar[:count])]
        scores |= dict(zip(BSS_METRICS, means, strict=True))
    if stoi:
        pairs = list(zip(references, estimates, mixtures, strict=True))
        own = [_stoi(s, e, sample_rate) for s, e, _ in pairs]
        before = [_stoi(s, x, sample_rate) for s, _, x in pairs]
        gain = np.subtract(own, before)
        scores |= dict(zip(STOI_METRICS, map(_mean, (own, gain)), strict=True))
    if pitch:
        ranges = [pitch_range(wav, sample_rate) for wav in references]
        shared = [range_overlap(a, b) for a, b in combinations(ranges, 2)]
        scores[PITCH_METRIC] = _mean(shared)
    return scores, order


def _mean(values):
    """Mean of what is not nan; nan if all is."""
    values = np.asarray(values, np.float64)
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else np.nan


def _stoi(reference, estimate, sample_rate):
    """Intelligibility of an estimate, nan where it has no answer."""
    package = optional_library("pystoi", "pystoi", "stoi", "STOI")
    mono = [s if s.ndim == 1 else s.mean(0) for s in (reference, estimate)]
    if not all(np.any(s) for s in mono):
        return np.nan
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        value = package.stoi(*mono, sample_rate, extended=False)
    # It warns of too little sound and gives a number all the same.
    short = any("Not enough STFT frames" in str(w.message) for w in said)
    return np.nan if short else float(value)


class SingersScore(NamedTuple):
    """Scores of one item.

    Arguments
    ---------
    song_id : str
        Of the item.
    group : str or None
        Its case.
    song : str
        What it was cut from.
    voices : int
    n_singers : int or None
        Different people; None if unknown.
    singers : str
        Their names; empty if unknown.
    seconds : float
        Length.
    order : tuple of int
        Which output each reference got.
    scores : dict of str to float
    """

    song_id: str
    group: str | None
    song: str
    voices: int
    n_singers: int | None
    singers: str
    seconds: float
    order: tuple[int, ...]
    scores: dict[str, float]


def _label(item, what):
    """How many people and voices an item has, in words."""
    counts = {"singers": item.n_singers, "voices": item.voices}
    return ", ".join(
        f"{counts[name]} {name if counts[name] != 1 else name[:-1]}"
        for name in what
    )


class SingersStats(SongStats):
    """Scores of many items, by case and numbers of people and voices.

    Arguments
    ---------
    bss : bool
        Whether SDR, SIR and SAR are computed. Default: True.
    stoi : bool
        Whether STOI is (extra `stoi`). Default: False.
    filter_length : int
        Taps of the distortion filters. Default: 512.
    pitch : bool
        Whether the overlap of pitch ranges is found. Default: False.
    resamples, seed : int
        See `SongStats`.

    Example
    -------
    >>> singers = np.random.default_rng(0).normal(size=(2, 16000))
    >>> stats = SingersStats(bss=False)
    >>> for number, level in enumerate((0.1, 0.01)):
    ...     outputs = singers + level * singers[::-1]
    ...     stats.append(str(number), singers, outputs, 8000, case="duet")
    >>> round(stats.summarize()["SI-SDR_mean"]), list(stats.groups())
    (30, ['duet'])
    """

    unit = "item"

    def __init__(
        self,
        bss: bool = True,
        stoi: bool = False,
        filter_length: int = FILTER_LENGTH,
        resamples: int = 2000,
        seed: int = 0,
        pitch: bool = False,
    ):
        super().__init__(resamples, seed)
        self.tolerances = {
            "bss": bss,
            "stoi": stoi,
            "filter_length": filter_length,
            "pitch": pitch,
        }
        self.metrics = (
            METRICS[:2]
            + BSS_METRICS * bool(bss)
            + STOI_METRICS * bool(stoi)
            + METRICS[2:]
            + (PITCH_METRIC,) * bool(pitch)
        )

    def append(
        self,
        item_id: str,
        references,
        estimates,
        sample_rate: int,
        case: str | None = None,
        voices: int | None = None,
        song: str | None = None,
        ordered: bool = False,
        n_singers: int | None = None,
        singers: str | None = None,
    ) -> None:
        """Score one item.

        Arguments
        ---------
        item_id : str
            Must be new.
        references, estimates, sample_rate
            See `evaluate_singers`.
        case : str, optional
            What kind of mixture it is (unison, duet ...).
        voices : int, optional
            How many sing. Default: as many as there are references; more, where
            a reference is a sum of voices.
        song : str, optional
            What the item was cut from. Default: a song of its own.
        ordered : bool
            Whether the order of the outputs has a meaning. Default: False.
        n_singers : int, optional
            How many different people sing: one may sing several voices.
        singers : str, optional
            Their names, joined by " + ".

        Raises
        ------
        NoteError
            If the item was scored already.
        AudioError
            If the arrays do not fit or are not finite.
        """
        scores, order = evaluate_singers(
            references,
            estimates,
            sample_rate,
            ordered=ordered,
            **self.tolerances,
        )
        self._add(
            SingersScore(
                str(item_id),
                None if case is None else str(case),
                str(item_id if song is None else song),
                len(references) if voices is None else int(voices),
                None if n_singers is None else int(n_singers),
                singers or "",
                np.shape(references)[-1] / sample_rate,
                tuple(map(int, order)),
                scores,
            )
        )

    def groups(self) -> dict[str, SingersStats]:
        """Statistics of each case, and of each number of people and voices.

        Returns
        -------
        dict of str to SingersStats
            By case; where items of a case differ in these numbers, also by
            "<case>, <n> voices", "<case>, <n> singers", and, where they differ
            in both, "<case>, <n> singers, <n> voices".
        """
        found = {}
        for case, stats in super().groups().items():
            found[case] = stats
            counts = {"voices": {x.voices for x in stats.songs}}
            people = {x.n_singers for x in stats.songs}
            counts["singers"] = set() if None in people else people
            differ = [what for what in counts if len(counts[what]) > 1]
            keys = [(what,) for what in differ]
            if len(differ) > 1:
                keys.append(("singers", "voices"))
            for key in keys:
                parts = stats.by(lambda item, key=key: _label(item, key))
                for label, part in parts.items():
                    found[f"{case}, {label}"] = part
        return found

    def by(self, key) -> dict[str, SingersStats]:
        """Statistics of items that have something in common.

        Arguments
        ---------
        key : callable
            What it is, of a `SingersScore`; items of which it says nothing are
            left out.

        Returns
        -------
        dict of str to SingersStats
            Sorted by what they have in common.
        """
        found = {}
        for item in self.songs:
            if label := key(item):
                found.setdefault(label, self._like())._add(item)
        return dict(sorted(found.items(), key=lambda part: natural(part[0])))

    def pairs(self) -> dict[str, SingersStats]:
        """Statistics of those who sing together.

        Returns
        -------
        dict of str to SingersStats
            By their names, in alphabetical order, joined by " + ". Items whose
            singers are unknown are left out.
        """
        return self.by(lambda item: AND.join(sorted(item.singers.split(AND))))

    def write_pairs(self, path, overwrite: bool = False) -> Path | None:
        """Write a CSV with a row for each pair of singers.

        Arguments
        ---------
        path : str or Path
            The file. Columns: singers, items, and mean, median and 95 %
            interval of the mean of SI-SDRi, means of the swap rate and, if it
            was found, of the overlap of pitch ranges.
        overwrite : bool
            Whether an existing file may be replaced. Default: False.

        Returns
        -------
        Path or None
            None if no item tells its singers; then nothing is written.
        """
        pairs = self.pairs()
        if not pairs:
            return None
        ends = ("mean", "median", "low", "high")
        columns = [f"SI-SDRi_{end}" for end in ends] + ["swap rate_mean"]
        columns += [f"{PITCH_METRIC}_mean"] * self.tolerances["pitch"]
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["singers", "items", *columns])
        for names, stats in pairs.items():
            summary = stats.summarize()
            shown = [f"{summary[column]:.4f}" for column in columns]
            writer.writerow([names, len(stats), *shown])
        with atomic_path(path, overwrite) as temporary:
            temporary.write_text(text.getvalue(), "utf-8", newline="\n")
        return Path(path)

    def _like(self) -> SingersStats:
        return SingersStats(
            **self.tolerances, resamples=self.resamples, seed=self.seed
        )

    def _draws(self) -> np.ndarray:
        """How often each item is drawn, with all items of its song."""
        names = [item.song for item in self.songs]
        songs, places = np.unique(names, return_inverse=True)
        draws = np.random.default_rng(self.seed).integers(
            len(songs), size=(self.resamples, len(songs))
        )
        counts = [np.bincount(draw, minlength=len(songs)) for draw in draws]
        return np.stack(counts)[:, places]

    def interval(self, level: float = 0.95) -> np.ndarray:
        """Bootstrap interval of the means, over songs.

        Arguments
        ---------
        level : float
            Coverage. Default: 0.95.

        Returns
        -------
        np.ndarray (metrics, 2)
            Lower and upper bound; nan for fewer than two songs.
        """
        values = self.values()
        if len({item.song for item in self.songs}) < 2:
            return np.full((len(self.metrics), 2), np.nan)
        return bounds(values, averages(values, self._draws()), level)

    def summarize(self) -> dict[str, float]:
        """Averages over items and 95 % intervals of the means.

        Returns
        -------
        dict of str to float
            `items`, `songs` (int), `seconds`, and for each metric
            `<metric>_mean`, `_median`, `_low`, `_high` and `_items` (int, those
            with a score).

        Raises
        ------
        NoteError
            If no item was scored.
        """
        if not self._songs:
            raise NoteError("no item was scored: append items first")
        values, interval = self.values(), self.interval()
        once = np.ones((1, len(self)))
        means, medians = (averages(values, once, m)[0] for m in (False, True))
        summary: dict[str, float] = {
            "items": len(self),
            "songs": len({item.song for item in self.songs}),
            "seconds": sum(item.seconds for item in self.songs),
        }
        for m, metric in enumerate(self.metrics):
            summary[f"{metric}_mean"] = float(means[m])
            summary[f"{metric}_median"] = float(medians[m])
            summary[f"{metric}_low"] = float(interval[m, 0])
            summary[f"{metric}_high"] = float(interval[m, 1])
            summary[f"{metric}_items"] = int((~np.isnan(values[:, m])).sum())
        return summary

    def protocol(self) -> str:
        """Name the protocol on one line.

        Returns
        -------
        str
        """
        taps = self.tolerances["filter_length"]
        bss = f", BSS-Eval 3 with {taps} taps" * self.tolerances["bss"]
        return (
            f"SI-SDR of whole items{bss}; best order of the outputs, once per "
            "item; mean over sources, then items"
        )

    def _block(self, title: str) -> list[str]:
        summary = self.summarize()
        width = max(map(len, self.metrics)) + 2
        lines = [
            f"{title}, {summary['seconds'] / 60:.1f} min",
            f"{'':{width}}{'mean':>9}{'median':>9}    95 % of mean",
        ]
        for metric in self.metrics:
            if not summary[f"{metric}_items"]:
                continue
            mean, median, low, high = (
                summary[f"{metric}_{k}"]
                for k in ("mean", "median", "low", "high")
            )
            lines.append(
                f"{metric:{width}}{mean:9.2f}{median:9.2f}    "
                f"{shown_interval(low, high)}"
            )
        return lines

    def _columns(self) -> list[str]:
        first = ["song", "voices", "n_singers", "singers", "seconds", "order"]
        return [*first, *self.metrics]

    def _row(self, song) -> list:
        order = " ".join(map(str, song.order))
        scores = [f"{song.scores[m]:.4f}" for m in self.metrics]
        people = "" if song.n_singers is None else song.n_singers
        first = [song.song, song.voices, people, song.singers]
        return [*first, f"{song.seconds:.3f}", order, *scores]


def as_json(stats: SingersStats) -> dict:
    """Averages over songs, for machines.

    Arguments
    ---------
    stats : SingersStats
        With one item or more.

    Returns
    -------
    dict
        `{"protocol": p, "songs": n, "seconds": s, "<metric>": {"mean": x,
        "median": x, "low": x, "high": x, "songs": n}, ...}`; None for what is
        not finite.

    Raises
    ------
    NoteError
        If no item was scored.
    """
    summary = stats.summarize()

    def entry(metric):
        found = {
            key: summary[f"{metric}_{key}"]
            for key in ("mean", "median", "low", "high")
        }
        found = {k: v if isfinite(v) else None for k, v in found.items()}
        return found | {"songs": summary[f"{metric}_items"]}

    return {
        "protocol": stats.protocol(),
        "songs": summary["items"],
        "seconds": summary["seconds"],
    } | {metric: entry(metric) for metric in stats.metrics}


def evaluate_singer_folders(
    reference,
    estimate,
    mono: bool = False,
    n_jobs: int = 1,
    progress=None,
    **settings,
) -> tuple[SingersStats, list[str], list[str]]:
    """Score a folder of songs whose singers were told apart.

    A song is a folder with `singer1.wav`, `singer2.wav` ..., or files named
    `<song>_singer1.wav` and so on, in any format of `audio.AUDIO_SUFFIXES`,
    as `singbrain split` writes them. Who is called singer1 counts for "fixed
    SI-SDRi" alone.

    Arguments
    ---------
    reference, estimate : str or Path
        Folders.
    mono : bool
        Whether to average channels first. Default: False.
    n_jobs : int
        Songs scored at a time, as in joblib. Default: 1.
    progress : callable, optional
        Called with the number of songs scored and of all songs.
    **settings
        Of `SingersStats`.

    Returns
    -------
    stats : SingersStats
        Of the songs on both sides.
    only_in_reference, only_in_estimate : list of str
        Names of the songs left out.

    Raises
    ------
    AudioError
        If a folder is missing, a file is faulty, the singers of a song are not
        as many on both sides, its files differ in sample rate, channels or by
        more than 0.1 s in length, or no song is on both sides.
    """
    sides = checked_folders(reference, estimate)
    known = {f"singer{k}": f"singer{k}" for k in range(1, MOST_SINGERS + 1)}
    references, estimates = (collect_songs(path, known) for path in sides)
    shared = sorted(references.keys() & estimates.keys(), key=natural)
    if not shared:
        raise AudioError(
            f"{sides[0]} and {sides[1]} have no song in common: "
            f"{len(references)} against {len(estimates)} songs: name files "
            "<song>/singer1.wav or <song>_singer1.wav on both sides"
        )
    stats = SingersStats(**settings)
    work = []
    for song in shared:
        files = []
        for path, entry in zip(
            sides, (references[song], estimates[song]), strict=True
        ):
            names = [f"singer{k}" for k in range(1, len(entry) + 1)]
            missing = [name for name in names if name not in entry]
            if missing or len(names) < 2:
                raise AudioError(
                    f"{path}: song {song} has {', '.join(sorted(entry))}: two "
                    "or more, numbered from singer1 on, are needed"
                )
            files.append([entry[name] for name in names])
        counts = [len(side) for side in files]
        if counts[0] != counts[1]:
            raise AudioError(
                f"{song}: {counts[0]} singers in {sides[0]} but {counts[1]} in "
                f"{sides[1]}: give as many on both sides"
            )
        work.append((song, *files))
    score_songs(stats, work, mono, n_jobs, progress, ordered=True)
    return stats, *unmatched(references, estimates)
