"""Pictures: piano rolls, separated songs, and curves of trainings.

Colours are those of Okabe and Ito, told apart by people with any kind of
colour vision; missed notes are also hatched and extra notes outlined, so that
the pictures survive a black-and-white printer. Figures are made without
pyplot: nothing global changes, and threads may draw at the same time.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping
from functools import cache
from itertools import cycle
from math import ceil
from pathlib import Path

import numpy as np

from speechbrain_ext.errors import NoteError
from speechbrain_ext.f0 import F0Contour
from speechbrain_ext.files import atomic_path
from speechbrain_ext.formats import NAMES
from speechbrain_ext.frames import FRAME_S, frame_centres
from speechbrain_ext.metrics.notes import evaluate_notes, match_notes
from speechbrain_ext.notes import NoteSequence
from speechbrain_ext.report.spectrogram import Sketch

RIGHT, PARTLY, EXTRA = "#0072B2", "#56B4E9", "#D55E00"
MISSED, FOUND, PITCH = "#E69F00", "#D9D9D9", "#000000"

ROW_S = 20.0  # longest row of a long song, in seconds
MAX_ROWS = 30  # beyond that rows get longer
WIDTH_IN = 14.0
LEFT, RIGHT_EDGE = 0.55 / WIDTH_IN, 1 - 0.2 / WIDTH_IN  # of the figure
DPI = 110

DEPTH_DB = 80.0  # what lies deeper below the loudest is drawn as silence
KHZ = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 40)


def note_name(midi: float) -> str:
    """Name of the nearest semitone, C4 = 60.

    Arguments
    ---------
    midi : float
        MIDI number.

    Returns
    -------
    str

    Example
    -------
    >>> note_name(61.2), note_name(69), note_name(0)
    ('C#4', 'A4', 'C-1')
    """
    octave, step = divmod(int(np.floor(midi + 0.5)), 12)
    return f"{NAMES[step]}{octave - 1}"


def piano_roll(
    reference: NoteSequence | None,
    estimate: NoteSequence,
    path,
    posteriors=None,
    f0=None,
    title: str | None = None,
    start: float | None = None,
    stop: float | None = None,
    overwrite: bool = False,
    row_s: float = ROW_S,
) -> Path:
    """Draw a transcription, against a reference if there is one.

    Reference notes are wide boxes, estimated notes narrow bars on top. Which
    notes count as right is decided on the whole song, with the default
    tolerances of `evaluate_notes`.

    Arguments
    ---------
    reference : NoteSequence or None
        What was sung, or None if nobody knows.
    estimate : NoteSequence
        What was transcribed.
    path : str or Path
        The PNG to write.
    posteriors : FramePosteriors, optional
        Model outputs from time 0 on: pitch probabilities are drawn behind the
        notes, onset probabilities below each row.
    f0 : F0Contour or (times, midi), optional
        Pitch curve, or two arrays of the same length, seconds and MIDI
        numbers, nan where unvoiced. Default: that of the posteriors, if they
        have one.
    title : str, optional
        First line above the picture.
    start, stop : float, optional
        Seconds to draw (default: from 0 to the end of the last note).
    overwrite : bool
        Whether an existing file may be replaced (default False).
    row_s : float
        Longest row in seconds (default 20; longer if there would be more than
        30 rows). Rows of a picture are equally long.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    NoteError
        If `stop` is not after `start`.
    OutputError
        If the file exists or cannot be written.

    Example
    -------
    >>> melody = NoteSequence([(0, 1, 60), (1, 2, 62)])
    >>> path = getfixture("tmp_path") / "song.png"
    >>> piano_roll(melody, melody[:1], path).stat().st_size > 1000
    True
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patheffects import withStroke

    known = reference if reference is not None else NoteSequence()
    if f0 is None and posteriors is not None:
        f0 = F0Contour.from_posteriors(posteriors)
    if isinstance(f0, F0Contour):
        f0 = f0.times, np.where(f0.midi > 0, f0.midi, np.nan)
    start = 0.0 if start is None else float(start)
    if stop is None:
        ends = [known.end, estimate.end, start + 1.0]
        if posteriors is not None:
            ends.append(len(posteriors) * FRAME_S)
        stop = max(ends)
    if not 0 <= start < stop:
        raise NoteError(
            f"cannot draw from {start:g} s to {stop:g} s: the end must lie "
            "after the start"
        )
    n_rows = min(ceil((stop - start) / row_s - 1e-9), MAX_ROWS)
    length = max((stop - start) / n_rows, 1.0)
    if n_rows > 1:
        length = ceil(length)
    low, high = _pitch_range([known, estimate], f0, start, stop)

    strip = 0.45 if posteriors is not None else 0.0
    gap = 0.06 if strip else 0.0
    roll_in = min(max(0.17 * (high - low + 1), 1.9), 4.6)
    row_in = roll_in + gap + strip + 0.4
    head_in, foot_in = 0.75, 0.15
    height = head_in + n_rows * row_in + foot_in
    figure = Figure(figsize=(WIDTH_IN, height), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    left, width = LEFT, RIGHT_EDGE - LEFT
    kinds = note_kinds(reference, estimate)
    for row in range(n_rows):
        top = height - head_in - row * row_in
        axes = figure.add_axes(
            (
                left,
                (top - roll_in) / height,
                width,
                roll_in / height,
            )
        )
        begin = start + row * length
        _frame(axes, begin, begin + length, low, high, strip > 0)
        axes.axvspan(max(stop, begin), begin + length, color="#F4F4F4", lw=0)
        if posteriors is not None:
            _pitch_image(axes, posteriors, begin, begin + length)
            below = figure.add_axes(
                (left, (top - row_in + 0.4) / height, width, strip / height)
            )
            _onset_strip(below, posteriors, begin, begin + length)
        _notes(axes, known, kinds[0], begin, begin + length, wide=True)
        _notes(axes, estimate, kinds[1], begin, begin + length, wide=False)
        if f0 is not None:
            times, midi = (np.asarray(part, dtype=float) for part in f0)
            shown = (times >= begin) & (times <= begin + length)
            times, midi = times[shown], midi[shown]
            # No line across a leap of the voice.
            leaps = np.flatnonzero(np.abs(np.diff(midi)) > 2.5) + 1
            axes.plot(
                np.insert(times, leaps, times[leaps]),
                np.insert(midi, leaps, np.nan),
                color=PITCH,
                lw=0.8,
                zorder=5,
                path_effects=[withStroke(linewidth=2, foreground="white")],
            )
    figure.text(0.5, 0.12 / height, "time in seconds", ha="center", fontsize=9)
    _heading(figure, height, reference, estimate, kinds, title, f0 is not None)
    return _save(figure, path, overwrite)


_STYLES = {
    # face, edge, hatch, words for the legend
    "found": (FOUND, "#8C8C8C", None, "reference, found"),
    "missed": ("white", MISSED, "////", "reference, missed"),
    "right": (RIGHT, "white", None, "estimate, right"),
    "partly": (PARTLY, "white", None, "estimate, offset differs"),
    "extra": (EXTRA, "black", None, "estimate, extra"),
    "plain": (RIGHT, "white", None, "notes"),
}


def note_kinds(
    reference: NoteSequence | None, estimate: NoteSequence
) -> tuple[list[str], list[str]]:
    """What is to be said of each note.

    Arguments
    ---------
    reference : NoteSequence or None
        What was sung.
    estimate : NoteSequence
        What was transcribed.

    Returns
    -------
    reference : list of str
        "found" or "missed".
    estimate : list of str
        "right", "partly" (the offset differs) or "extra", by the default
        tolerances of `evaluate_notes`; "plain" without a reference.

    Example
    -------
    >>> sung = NoteSequence([(0, 1, 60), (1, 2, 62)])
    >>> note_kinds(sung, NoteSequence([(0, 0.5, 60), (1.5, 2, 62)]))
    (['found', 'missed'], ['partly', 'extra'])
    """
    if reference is None:
        return [], ["plain"] * len(estimate)
    kinds = ["missed"] * len(reference), ["extra"] * len(estimate)
    right = match_notes(reference, estimate)
    onsets = match_notes(reference, estimate, offset_ratio=None)
    # The two matchings may pair notes differently; a note that is right with
    # its offset is right.
    for pairs, kind in ((onsets, "partly"), (right, "right")):
        for i, j in pairs:
            kinds[0][i] = "found"
            kinds[1][j] = kind
    return kinds


def _pitch_range(melodies, f0, start, stop) -> tuple[int, int]:
    """Lowest and highest semitone to show, at least an octave."""
    pitches = [
        note.midi
        for notes in melodies
        for note in notes
        if note.offset > start and note.onset < stop
    ]
    if f0 is not None:
        times, midi = (np.asarray(part, dtype=float) for part in f0)
        shown = midi[(times >= start) & (times < stop) & np.isfinite(midi)]
        if len(shown):
            # A few octave errors must not squash the picture.
            pitches += [*np.quantile(shown, [0.02, 0.98])]
    if not pitches:
        return 54, 66
    low, high = int(np.floor(min(pitches))) - 1, int(np.ceil(max(pitches))) + 1
    missing = max(12 - (high - low), 0)
    return low - missing // 2, high + (missing + 1) // 2


def _frame(axes, begin, end, low, high, strip) -> None:
    """Axes with note names, seconds and shaded black keys."""
    axes.set_xlim(begin, end)
    axes.set_ylim(low - 0.5, high + 0.5)
    semitones = range(low, high + 1)
    for semitone in semitones:
        if "#" in NAMES[semitone % 12]:
            axes.axhspan(
                semitone - 0.5, semitone + 0.5, color="#F2F2F2", lw=0, zorder=0
            )
        if semitone % 12 in (0, 5):
            axes.axhline(semitone - 0.5, color="#BBBBBB", lw=0.5, zorder=0)
    if high - low <= 14:
        shown = list(semitones)
    else:
        steps = (0, 2, 4, 5, 7, 9, 11) if high - low <= 32 else (0, 5)
        shown = [s for s in semitones if s % 12 in steps]
    axes.set_yticks(shown, [note_name(s) for s in shown], fontsize=7)
    step = 1 if end - begin <= 16 else 5
    while (end - begin) / step > 24:
        step *= 2
    ticks = np.arange(ceil(begin / step), end / step + 1e-9) * step
    axes.set_xticks(ticks, [f"{t:g}" for t in ticks], fontsize=8)
    if step > 1:
        axes.set_xticks(
            np.arange(ceil(begin), end + 1e-9, max(step // 5, 1)), minor=True
        )
    axes.grid(axis="x", color="#DDDDDD", lw=0.6, zorder=0)
    axes.tick_params(length=2, pad=2, labelbottom=not strip)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _notes(axes, notes, kinds, begin, end, wide: bool) -> None:
    """Bars of the notes that sound in a row."""
    from matplotlib.patches import Rectangle

    tall = 0.96 if wide else 0.56
    for note, kind in zip(notes, kinds, strict=True):
        if note.offset <= begin or note.onset >= end:
            continue
        face, edge, hatch, _ = _STYLES[kind]
        axes.add_patch(
            Rectangle(
                (note.onset, note.midi - tall / 2),
                note.duration,
                tall,
                facecolor=face,
                edgecolor=edge,
                hatch=hatch,
                linewidth=0.9 if wide else 0.6,
                zorder=2 if wide else 3,
            )
        )
        if not wide and note.lyric and note.onset >= begin:
            axes.annotate(
                note.lyric,
                (note.onset, note.midi + 0.5),
                fontsize=7,
                clip_on=True,
                annotation_clip=True,
                family=_families(),
                parse_math=False,
                zorder=6,
            )


def _pitch_image(axes, posteriors, begin, end) -> None:
    """Probability that each semitone is sung, in grey behind the notes."""
    limits = axes.get_ylim()
    first, last = (int(round(t / FRAME_S)) for t in (begin, end))
    last = min(last, len(posteriors))
    if last <= first:
        return
    pitch = np.exp(posteriors.pitch[first:last])
    sung = np.clip(pitch * (1 - posteriors.silence[first:last, None]), 0, 1)
    # One colour, as opaque as the note is probable.
    image = np.empty((*sung.T.shape, 4))
    image[..., :3] = np.array([0, 158, 115]) / 255
    image[..., 3] = 0.6 * sung.T
    axes.imshow(
        image,
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        extent=(
            first * FRAME_S,
            last * FRAME_S,
            posteriors.low - 0.5,
            posteriors.low + sung.shape[1] - 0.5,
        ),
        zorder=1,
    )
    axes.set_xlim(begin, end)
    axes.set_ylim(limits)


def _onset_strip(axes, posteriors, begin, end) -> None:
    """Onset probabilities below a row."""
    times = frame_centres(len(posteriors))
    inside = (times >= begin) & (times < end)
    axes.fill_between(
        times[inside], posteriors.onset[inside], color="#009E73", lw=0
    )
    axes.set_xlim(begin, end)
    axes.set_ylim(0, 1.05)
    axes.set_yticks([0.5], ["onset"], fontsize=7)
    axes.tick_params(length=2, pad=2, labelsize=8)
    axes.tick_params(axis="y", labelsize=7)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _heading(figure, height, reference, estimate, kinds, title, f0) -> None:
    """Title, scores and legend above the rows."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    if reference is None:
        scores = f"{len(estimate)} notes"
    else:
        scores = "F1 in %:  " + "   ".join(
            f"{metric} {100 * score.f1:.1f}"
            for metric, score in evaluate_notes(reference, estimate).items()
        )
    line = 1 - 0.22 / height
    figure.text(
        LEFT,
        line,
        (title or "").encode("utf-8", "backslashreplace").decode(),
        fontsize=12,
        va="center",
        family=_families(),
        parse_math=False,
    )
    figure.text(RIGHT_EDGE, line, scores, fontsize=10, va="center", ha="right")
    names = ["plain"] if reference is None else list(_STYLES)[:-1]
    counts = {name: (kinds[0] + kinds[1]).count(name) for name in names}
    handles = [
        Patch(
            facecolor=_STYLES[name][0],
            edgecolor=_STYLES[name][1],
            hatch=_STYLES[name][2],
            label=f"{_STYLES[name][3]} ({counts[name]})",
        )
        for name in names
    ]
    if f0:
        handles.append(Line2D([], [], color=PITCH, lw=1, label="pitch curve"))
    figure.legend(
        handles=handles,
        loc="center left",
        ncols=len(handles),
        bbox_to_anchor=(LEFT, 1 - 0.52 / height),
        borderpad=0,
        borderaxespad=0,
        frameon=False,
        fontsize=9,
        handlelength=1.8,
        columnspacing=1.4,
    )


def read_train_log(path) -> list[dict[str, float]]:
    r"""Read the text that SpeechBrain's `FileTrainLogger` writes.

    Arguments
    ---------
    path : str or Path
        `train_log.txt`.

    Returns
    -------
    list of dict of str to float
        One row per line that has an epoch: `epoch`, `lr`, `train loss`, ...
        If an epoch was logged twice, as after resuming, the last row stays.

    Raises
    ------
    NoteError
        If the file is missing or has no such line.

    Example
    -------
    >>> log = getfixture("tmp_path") / "train_log.txt"
    >>> _ = log.write_text("epoch: 1, lr: 1.0e-03 - train loss: 2.50\n")
    >>> read_train_log(log)
    [{'epoch': 1.0, 'lr': 0.001, 'train loss': 2.5}]
    """
    try:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise NoteError(f"{path}: cannot be read: {error.strerror}") from None
    rows: dict[float, dict[str, float]] = {}
    for line in text.splitlines():
        pairs = re.findall(r"([A-Za-z][\w -]*): (-?[\d.]+(?:e[-+]?\d+)?)", line)
        row = {name.strip(): float(value) for name, value in pairs}
        if "epoch" in row and len(row) > 1:
            rows[row["epoch"]] = row
    if not rows:
        raise NoteError(f"{path}: holds no line with an epoch and a value")
    return [rows[epoch] for epoch in sorted(rows)]


def training_curves(
    rows: Iterable[Mapping[str, float]], path, overwrite: bool = False
) -> Path:
    """Draw how losses, scores and rates went over the epochs.

    Arguments
    ---------
    rows : iterable of dict of str to float
        One per epoch, as from `read_train_log`: `epoch` and any values.
        `train x` and `valid x` share a panel named `x`.
    path : str or Path
        The PNG to write.
    overwrite : bool
        Whether an existing file may be replaced (default False).

    Returns
    -------
    Path
        The file written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    rows = list(rows)
    panels: dict[str, dict[str, list]] = {}
    for name in dict.fromkeys(key for row in rows for key in row):
        part, _, rest = name.partition(" ")
        if name == "epoch":
            continue
        if part not in ("train", "valid", "test") or not rest:
            part, rest = "", name
        points = [(row["epoch"], row[name]) for row in rows if name in row]
        panels.setdefault(rest, {})[part] = points
    if not panels:
        raise NoteError("there is nothing to draw: the log has no values")
    columns = 2 if len(panels) == 4 else min(len(panels), 3)
    lines = ceil(len(panels) / columns)
    figure = Figure(
        figsize=(4.6 * columns, 3.2 * lines), dpi=DPI, layout="constrained"
    )
    FigureCanvasAgg(figure)
    colours = {"train": RIGHT, "valid": EXTRA, "test": PARTLY, "": PITCH}
    markers = {"train": "o", "valid": "s", "test": "^", "": "."}
    for index, (title, curves) in enumerate(panels.items(), start=1):
        axes = figure.add_subplot(lines, columns, index)
        for part, points in curves.items():
            axes.plot(
                *zip(*points, strict=True),
                color=colours[part],
                marker=markers[part],
                markersize=4,
                label=part or None,
            )
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("epoch", fontsize=9)
        axes.tick_params(labelsize=8)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(color="#DDDDDD", lw=0.6)
        if any(curves):
            axes.legend(frameon=False, fontsize=8)
    return _save(figure, path, overwrite)


def noise_curves(results: Mapping, path, overwrite: bool = False) -> Path:
    """Draw note scores against the level of noise.

    Arguments
    ---------
    results : dict of str to NoteStats
        By test set: `clean`, and any number of `<kind><level>dB` as in
        `babble-5dB`; other names are left out.
    path : str or Path
        The PNG to write.
    overwrite : bool
        Whether an existing file may be replaced (default False).

    Returns
    -------
    Path
        The file written: F1 in percent with 95 % bootstrap intervals, a panel
        for each of COnPOff, COnP and COn.

    Raises
    ------
    NoteError
        If no name has a level.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    curves: dict[str, dict[float, dict]] = {}
    for name, stats in results.items():
        found = re.fullmatch(r"([a-z]+)([+-]?[\d.]+)dB", name)
        if found:
            kind, level = found[1], float(found[2])
            curves.setdefault(kind, {})[level] = stats.summarize()
    if not curves:
        raise NoteError("there is nothing to draw: no test set has a level")
    clean = results["clean"].summarize() if "clean" in results else None
    figure = Figure(figsize=(12.6, 3.9), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    styles = ((RIGHT, "o"), (EXTRA, "s"), (PARTLY, "^"), (PITCH, "v"))
    panels = figure.subplots(1, 3, sharey=True)
    for axes, metric in zip(panels, ("COnPOff", "COnP", "COn"), strict=True):
        for (kind, points), (colour, marker) in zip(
            curves.items(), cycle(styles)
        ):
            levels = sorted(points)
            mean, low, high = (
                [100 * points[x][f"{metric}_f1{end}"] for x in levels]
                for end in ("", "_low", "_high")
            )
            axes.plot(levels, mean, color=colour, marker=marker, label=kind)
            axes.fill_between(levels, low, high, color=colour, alpha=0.12, lw=0)
        if clean is not None:
            axes.axhline(
                100 * clean[f"{metric}_f1"], color=PITCH, ls="--", label="clean"
            )
        axes.set_title(metric, fontsize=10)
        axes.set_xlabel("voice above noise, dB", fontsize=9)
        axes.set_ylim(0, 100)
        axes.tick_params(labelsize=8)
        axes.grid(color="#DDDDDD", lw=0.6)
    panels[0].set_ylabel("F1, %", fontsize=9)
    panels[-1].legend(frameon=False, fontsize=8, loc="lower right")
    return _save(figure, path, overwrite)


def robustness_curves(results: Mapping, path, overwrite: bool = False) -> Path:
    """Draw note scores of sound, lips and both against the level of noise.

    Arguments
    ---------
    results : dict of inference.robustness.Condition to NoteStats
        From `inference.robustness.sweep`.
    path : str or Path
        The PNG to write.
    overwrite : bool
        Whether an existing file may be replaced (default False).

    Returns
    -------
    Path
        The file written: a row of panels per noise, a column per metric; F1 in
        percent with 95 % bootstrap intervals, without noise at the right;
        dashed, both streams with a faulty picture.

    Raises
    ------
    NoteError
        If no condition has a level.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    noises = list(dict.fromkeys(c.noise for c in results if c.db is not None))
    if not noises:
        raise NoteError("there is nothing to draw: no condition has a level")
    levels = sorted({c.db for c in results if c.db is not None})
    # Without noise: one step further to the right.
    step = levels[-1] - levels[-2] if len(levels) > 1 else 5.0
    places = [*levels, levels[-1] + step]
    metrics = ("COn", "COff", "COnP", "COnPOff")
    figure = Figure(
        figsize=(12.6, 0.7 + 2.5 * len(noises)), dpi=DPI, layout="constrained"
    )
    FigureCanvasAgg(figure)
    panels = figure.subplots(
        len(noises), len(metrics), sharex=True, sharey=True, squeeze=False
    )
    faults = dict.fromkeys(c.picture for c in results if c.picture != "whole")
    lines = [
        ("audio", "whole", EXTRA, "-", "o"),
        ("video", "whole", PARTLY, "-", "s"),
        ("both", "whole", RIGHT, "-", "^"),
    ]
    lines += [
        ("both", fault, RIGHT, style, None)
        for fault, style in zip(faults, cycle(("--", ":", "-.")))  # noqa: B905
    ]
    summaries = {c: stats.summarize() for c, stats in results.items()}
    condition = type(next(iter(results)))
    for noise, row in zip(noises, panels, strict=True):
        for metric, axes in zip(metrics, row, strict=True):
            for modality, picture, colour, style, marker in lines:
                points = []
                for level, place in zip([*levels, None], places, strict=True):
                    kind = "clean" if level is None else noise
                    if modality == "video":
                        kind, level = "clean", None
                    found = summaries.get(
                        condition(kind, level, picture, modality)
                    )
                    if found is not None:
                        ends = ("", "_low", "_high")
                        points.append(
                            [place]
                            + [100 * found[f"{metric}_f1{e}"] for e in ends]
                        )
                if not points:
                    continue
                at, mean, low, high = np.array(points).T
                label = modality if marker else f"both, {picture}"
                axes.plot(
                    at, mean, style, color=colour, marker=marker, ms=4,
                    label=label, lw=1.5 if marker else 1.0,
                )  # fmt: skip
                if marker:
                    axes.fill_between(
                        at, low, high, color=colour, alpha=0.12, lw=0
                    )
            axes.set_ylim(0, 100)
            axes.grid(color="#DDDDDD", lw=0.6)
            axes.tick_params(labelsize=8)
            axes.set_xticks(places, [*(f"{x:g}" for x in levels), "clean"])
        row[0].set_ylabel(f"{noise}\nF1, %", fontsize=9)
    for metric, axes in zip(metrics, panels[0], strict=True):
        axes.set_title(metric, fontsize=10)
    for axes in panels[-1]:
        axes.set_xlabel("voice above noise, dB", fontsize=9)
    panels[0][-1].legend(frameon=False, fontsize=7, loc="lower right")
    return _save(figure, path, overwrite)


def singers_figure(stats, path, overwrite: bool = False) -> Path:
    """Draw what a separator of singers gains, item by item.

    Arguments
    ---------
    stats : metrics.singers.SingersStats
    path : str or Path
        The PNG to write.
    overwrite : bool
        Whether an existing file may be replaced (default False).

    Returns
    -------
    Path
        The file written: SI-SDRi of all items by case, with their means;
        beside it, where pitch ranges were compared, against how much of its
        range the narrower of two voices shares.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    items = stats.songs
    cases = sorted({item.group or "" for item in items})
    overlaps = np.array([x.scores.get("pitch overlap", np.nan) for x in items])
    gains = np.array([item.scores["SI-SDRi"] for item in items])
    panels = 1 + bool(np.isfinite(overlaps).any())
    figure = Figure(figsize=(5.8 * panels, 4), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    left, *right = figure.subplots(1, panels, sharey=True, squeeze=False)[0]
    colours = cycle((RIGHT, EXTRA, PARTLY, PITCH))
    for place, (case, colour) in enumerate(zip(cases, colours)):  # noqa: B905
        mine = np.array([(item.group or "") == case for item in items])
        # Beside each other, in the order they came.
        spread = place + np.linspace(-0.3, 0.3, mine.sum())
        style = {"color": colour, "ls": "", "marker": ".", "alpha": 0.6}
        left.plot(spread, gains[mine], **style)
        mean = np.nanmean(gains[mine]) if np.isfinite(gains[mine]).any() else 0
        left.plot([place - 0.35, place + 0.35], [mean, mean], color="black")
        for axes in right:
            axes.plot(overlaps[mine], gains[mine], label=case, **style)
    left.set_xticks(range(len(cases)), cases, fontsize=8)
    left.set_ylabel("SI-SDRi, dB", fontsize=9)
    for axes in right:
        axes.set_xlabel("overlap of the pitch ranges", fontsize=9)
        axes.legend(frameon=False, fontsize=8)
    for axes in (left, *right):
        axes.tick_params(labelsize=8)
        axes.grid(color="#DDDDDD", lw=0.6)
        axes.axhline(0, color="#888888", lw=0.8)
    return _save(figure, path, overwrite)


def separation_figure(
    mixture: Sketch,
    stems: Mapping[str, Sketch],
    path,
    title: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Draw the spectra of a song and its stems, and their masks.

    Arguments
    ---------
    mixture : Sketch
        Of the song.
    stems : dict of str to Sketch
        By name, heard alongside the mixture; may be empty.
    path : str or Path
        The PNG to write.
    title : str, optional
        First line above the picture.
    overwrite : bool
        Whether an existing file may be replaced (default False).

    Returns
    -------
    Path
        The file written: levels in decibels below the loudest point of the
        mixture on a logarithmic axis of frequency; to the right the share of
        the mixture's magnitude, from 0 to 1, grey where that is silent.

    Raises
    ------
    NoteError
        If there is no sound.
    OutputError
        If the file exists or cannot be written.

    Example
    -------
    >>> rng = np.random.default_rng(0)
    >>> voice, band = rng.normal(size=(2, 16000))
    >>> sketches = [Sketch(16000) for _ in range(3)]
    >>> for sketch, wav in zip(sketches, (voice + band, voice, band)):
    ...     sketch.listen(wav)
    >>> stems = {"vocals": sketches[1], "accompaniment": sketches[2]}
    >>> path = getfixture("tmp_path") / "song.png"
    >>> separation_figure(sketches[0], stems, path).stat().st_size > 1000
    True
    """
    from matplotlib import colormaps

    power = mixture.powers()
    if not len(power):
        raise NoteError("there is nothing to draw: no sound")
    loudest = max(float(power.max()), 1e-20)
    silent = power <= loudest * 10 ** (-DEPTH_DB / 10)
    figure = _figure((WIDTH_IN, 2.3 * (len(stems) + 1) + 0.5), title)
    rows = len(stems) + 1
    grid = figure.add_gridspec(rows, 2)
    shares = colormaps["viridis"].with_extremes(bad="#D0D0D0")

    def panel(place, name, values, sketch, **style):
        axes = figure.add_subplot(place)
        # Bands are evenly spaced, so that rows are places on the axis.
        image = axes.imshow(
            values.T,
            origin="lower",
            aspect="auto",
            interpolation="nearest",
            extent=(0, len(values) * sketch.column_s, 0, values.shape[1]),
            **style,
        )
        axes.set_xlim(0, sketch.seconds)
        _hertz_ticks(axes, sketch.edges, values.shape[1])
        axes.set_title(name, fontsize=10, loc="left", parse_math=False)
        axes.tick_params(labelsize=8)
        if place.get_topmost_subplotspec().is_last_row():
            axes.set_xlabel("time in seconds", fontsize=9)
        return axes, image

    def level(place, name, sketch):
        values = np.maximum(sketch.powers() / loudest, 1e-30)
        return panel(
            place,
            name,
            10 * np.log10(values),
            sketch,
            cmap="magma",
            vmin=-DEPTH_DB,
            vmax=0,
        )

    first, image = level(grid[0, :], "mixture", mixture)
    drawn = [first]
    for row, (name, sketch) in enumerate(stems.items(), start=1):
        drawn.append(level(grid[row, 0], name, sketch)[0])
        share = np.sqrt(sketch.powers() / np.maximum(power, 1e-30))
        share[silent] = np.nan
        axes, mask = panel(
            grid[row, 1],
            f"share of {name}",
            share,
            sketch,
            cmap=shares,
            vmin=0,
            vmax=1,
        )
        drawn.append(axes)
    options = {"pad": 0.01, "aspect": 40}
    bar = figure.colorbar(image, ax=[first], **options)
    bar.set_label("dB below the loudest", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    if stems:
        bar = figure.colorbar(mask, ax=drawn[2::2], **options)
        bar.set_label("share of the mixture's magnitude", fontsize=9)
        bar.ax.tick_params(labelsize=8)
    return _save(figure, path, overwrite)


def posteriorgram_figure(
    wav,
    sample_rate: int,
    posteriorgram,
    path,
    words=(),
    start: float = 0.0,
    stop: float | None = None,
    title: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Draw what is sung over the spectrum in which it is sung.

    Arguments
    ---------
    wav : np.ndarray (samples,)
        From second 0 of the song on.
    sample_rate : int
        Hertz.
    posteriorgram : Posteriorgram
        At its place in the song; only phones that are likely somewhere get a
        row.
    path : str or Path
        The PNG to write.
    words : iterable of TimedWord
        Drawn where they begin. Default: none.
    start, stop : float
        Seconds to draw. Default: from 0 to the end of the sound.
    title : str, optional
        First line above the picture.
    overwrite : bool
        Whether an existing file may be replaced (default False).

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    NoteError
        If there is nothing between `start` and `stop`.

    Example
    -------
    >>> from speechbrain_ext.lyrics.posteriorgram import Posteriorgram
    >>> sung = Posteriorgram.from_phones([("AA", 0.2, 0.9)], 0, 1)
    >>> wav = np.random.default_rng(0).normal(size=16000)
    >>> path = getfixture("tmp_path") / "phones.png"
    >>> posteriorgram_figure(wav, 16000, sung, path).stat().st_size > 1000
    True
    """
    stop = len(wav) / sample_rate if stop is None else float(stop)
    part = np.asarray(wav)[int(start * sample_rate) : int(stop * sample_rate)]
    if not 0 <= start < stop or not len(part):
        raise NoteError(
            f"there is nothing to draw from {start:g} to {stop:g} s: the sound "
            f"lasts {len(wav) / sample_rate:g} s"
        )
    figure = _figure((WIDTH_IN, 6.2), title)
    upper, lower = figure.subplots(2, 1, sharex=True)
    sketch = Sketch(sample_rate)
    sketch.listen(part)
    power = sketch.powers()
    level = 10 * np.log10(np.maximum(power / max(power.max(), 1e-20), 1e-10))
    upper.imshow(
        level.T,
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        extent=(start, start + len(level) * sketch.column_s, 0, level.shape[1]),
        cmap="magma",
        vmin=-DEPTH_DB,
        vmax=0,
    )
    _hertz_ticks(upper, sketch.edges, level.shape[1])
    for word in words:
        if start <= word.onset < stop:
            upper.axvline(word.onset, color="white", lw=0.6, alpha=0.7)
            upper.annotate(
                word.word,
                (word.onset, level.shape[1]),
                fontsize=7,
                rotation=40,
                annotation_clip=False,
                family=_families(),
                parse_math=False,
            )
    times = start + (np.arange(1000) + 0.5) * (stop - start) / 1000
    rows = posteriorgram.at(times)
    shown = np.flatnonzero(rows.max(axis=0) > 0.2)
    lower.imshow(
        rows[:, shown].T,
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        extent=(start, stop, -0.5, len(shown) - 0.5),
        cmap="Greys",
        vmin=0,
        vmax=1,
    )
    names = [posteriorgram.phones[k] for k in shown]
    lower.set_yticks(range(len(shown)), names, fontsize=6)
    lower.set_xlim(start, stop)
    lower.set_xlabel("time in seconds", fontsize=9)
    return _save(figure, path, overwrite)


def masks_figure(
    masks: Mapping[str, np.ndarray],
    sample_rate: int,
    hop_length: int,
    path,
    title: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Draw masks of one source below each other, as of a model and ideal.

    Arguments
    ---------
    masks : dict of str to np.ndarray (frames, bins)
        By what made them; from 0 to 1.
    sample_rate, hop_length : int
        Hertz; samples from frame to frame.
    path : str or Path
        The PNG to write.
    title : str, optional
        First line above the picture.
    overwrite : bool
        Whether an existing file may be replaced (default False).

    Returns
    -------
    Path
        The file written: each mask over time and frequency, up to 8 kHz.

    Raises
    ------
    NoteError
        If there are no masks.

    Example
    -------
    >>> masks = {"model": np.full((50, 33), 0.5), "ideal": np.ones((50, 33))}
    >>> path = getfixture("tmp_path") / "masks.png"
    >>> masks_figure(masks, 16000, 160, path).stat().st_size > 1000
    True
    """
    if not masks:
        raise NoteError("there is nothing to draw: no masks")
    figure = _figure((WIDTH_IN, 0.6 + 2.3 * len(masks)), title)
    panels = figure.subplots(len(masks), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (name, mask) in zip(panels, masks.items(), strict=True):
        seconds = len(mask) * hop_length / sample_rate
        image = axes.imshow(
            np.asarray(mask).T,
            origin="lower",
            aspect="auto",
            interpolation="nearest",
            extent=(0, seconds, 0, sample_rate / 2000),
            cmap="viridis",
            vmin=0,
            vmax=1,
        )
        axes.set_ylim(0, min(8.0, sample_rate / 2000))
        axes.set_ylabel("kHz", fontsize=9)
        axes.set_title(name, fontsize=10, loc="left", parse_math=False)
        axes.tick_params(labelsize=8)
    panels[-1].set_xlabel("time in seconds", fontsize=9)
    bar = figure.colorbar(image, ax=list(panels), pad=0.01, aspect=40)
    bar.set_label("share of the voice", fontsize=9)
    return _save(figure, path, overwrite)


def loss_curves(
    logs: Mapping[str, Iterable[Mapping[str, float]]],
    path,
    value: str = "loss",
    overwrite: bool = False,
) -> Path:
    """Draw one value of several trainings over their epochs.

    Arguments
    ---------
    logs : dict of str to rows
        By name of the training, as from `read_train_log`.
    path : str or Path
        The PNG to write.
    value : str
        `train <value>` is drawn at the left, `valid <value>` at the right.
        Default: loss.
    overwrite : bool
        Whether an existing file may be replaced (default False).

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    NoteError
        If no training has the value.

    Example
    -------
    >>> rows = [{"epoch": 1, "train loss": 2}, {"epoch": 2, "train loss": 1}]
    >>> path = getfixture("tmp_path") / "losses.png"
    >>> loss_curves({"all_audio": rows}, path).stat().st_size > 1000
    True
    """
    from matplotlib.ticker import MaxNLocator

    logs = {name: list(rows) for name, rows in logs.items()}
    figure = _figure((11.0, 4.2), None)
    drawn = False
    panels = figure.subplots(1, 2)
    for axes, part in zip(panels, ("train", "valid"), strict=True):
        key = f"{part} {value}"
        styles = cycle(_LINES)
        for name, rows in logs.items():
            colour, style = next(styles)
            points = [(row["epoch"], row[key]) for row in rows if key in row]
            if not points:
                continue
            drawn = True
            axes.plot(
                *zip(*points, strict=True), style, color=colour, label=name
            )
        axes.set_title(key, fontsize=10)
        axes.set_xlabel("epoch", fontsize=9)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.tick_params(labelsize=8)
        axes.grid(color="#DDDDDD", lw=0.6)
    if not drawn:
        raise NoteError(
            f"there is nothing to draw: no training has train {value} or "
            f"valid {value}"
        )
    panels[0].legend(frameon=False, fontsize=7)
    return _save(figure, path, overwrite)


def systems_figure(
    scores: Mapping[str, Mapping[str, tuple[float, float, float]]],
    path,
    metric: str,
    overwrite: bool = False,
    title: str | None = None,
) -> Path:
    """Draw scores of systems under several conditions, with intervals.

    Arguments
    ---------
    scores : dict of str to dict of str to (mean, low, high)
        By system and condition.
    path : str or Path
        The PNG to write.
    metric : str
        Name of the score, for the axis.
    overwrite : bool
        Whether an existing file may be replaced (default False).
    title : str, optional
        First line above the picture.

    Returns
    -------
    Path
        The file written: a row per system, a mark per condition.

    Raises
    ------
    NoteError
        If there are no systems.

    Example
    -------
    >>> scores = {"all_post": {"correct": (2, 1, 3), "other": (1, 0, 2)}}
    >>> path = getfixture("tmp_path") / "systems.png"
    >>> systems_figure(scores, path, "SI-SDR, dB").stat().st_size > 1000
    True
    """
    if not scores:
        raise NoteError("there is nothing to draw: no systems")
    names = list(dict.fromkeys(name for row in scores.values() for name in row))
    figure = _figure((9.0, 1.2 + 0.24 * len(scores) * (len(names) + 1)), title)
    axes = figure.subplots()
    places = []
    for row, found in enumerate(scores.values()):
        top = -row * (len(names) + 1)
        places.append(top - (len(names) - 1) / 2)
        for k, ((colour, _), name) in enumerate(
            zip(cycle(_LINES), names)  # noqa: B905 (one of them has no end)
        ):
            if name not in found:
                continue
            mean, low, high = found[name]
            axes.plot([low, high], [top - k] * 2, color=colour, lw=2)
            axes.plot(
                [mean],
                [top - k],
                color=colour,
                marker=_MARKERS[k % len(_MARKERS)],
                ls="",
                label=None if name in _seen(axes) else name,
            )
    axes.set_yticks(places, list(scores), fontsize=8)
    axes.set_xlabel(metric, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(axis="x", color="#DDDDDD", lw=0.6)
    axes.legend(
        frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5)
    )
    return _save(figure, path, overwrite)


# Told apart by colour and by the kind of line.
_LINES = (
    (RIGHT, "-"),
    (EXTRA, "--"),
    (PITCH, "-."),
    (MISSED, ":"),
    ("#009E73", "-"),
    ("#CC79A7", "--"),
    (PARTLY, "-."),
)
_MARKERS = "os^vDPX"


def _seen(axes) -> list[str]:
    """Names that a legend would have already."""
    return axes.get_legend_handles_labels()[1]


def _figure(size, title):
    """A figure that draws without a window."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(
        figsize=size, dpi=DPI, facecolor="white", layout="constrained"
    )
    FigureCanvasAgg(figure)
    if title:
        figure.suptitle(
            title.encode("utf-8", "backslashreplace").decode(),
            fontsize=12,
            x=0.01,
            ha="left",
            family=_families(),
            parse_math=False,
        )
    return figure


def _hertz_ticks(axes, edges, bands) -> None:
    """Ticks of an axis whose rows are bands, evenly spaced in logarithms."""
    khz = [k for k in KHZ if edges[0] <= 1000 * k <= edges[-1]]
    steps = np.log(1000 * np.array(khz) / edges[0])
    steps *= bands / np.log(edges[-1] / edges[0])
    axes.set_yticks(steps, [f"{k:g}" for k in khz], fontsize=8)
    axes.set_ylabel("kHz", fontsize=9)


@cache
def phone_picture(
    heard,
    lyrics,
    path,
    reference=None,
    title: str | None = None,
    overwrite: bool = False,
    row_s: float = 8.0,
) -> Path:
    """Draw how likely each phone is over time, and the words put onto it.

    Arguments
    ---------
    heard : Posteriorgram
    lyrics : TimedLyrics
        What `align` found: names and boundaries above the picture.
    path : str or Path
        The PNG to write.
    reference : TimedLyrics, optional
        When the words are sung: drawn below.
    title : str, optional
        Above the picture.
    overwrite : bool
        Whether an existing file may be replaced. Default: False.
    row_s : float
        Longest row in seconds; longer if there would be more than 30 rows.
        Default: 8.

    Returns
    -------
    Path

    Raises
    ------
    OutputError
        If the file exists or cannot be written.

    Example
    -------
    >>> from speechbrain_ext.lyrics.posteriorgram import Posteriorgram
    >>> from speechbrain_ext.lyrics.timed import TimedLyrics, TimedWord
    >>> heard = Posteriorgram.silence(2.0, 50)
    >>> lyrics = TimedLyrics([TimedWord("la", 0.5, 1.0)])
    >>> path = getfixture("tmp_path") / "phones.png"
    >>> phone_picture(heard, lyrics, path).stat().st_size > 1000
    True
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    length = max(heard.end - heard.start, 1e-3)
    rows = min(MAX_ROWS, ceil(length / row_s))
    row_s = length / rows
    figure = Figure((WIDTH_IN, 0.5 + 4.2 * rows))
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, 1, squeeze=False)[:, 0]
    figure.subplots_adjust(
        LEFT,
        0.5 / figure.get_figheight(),
        RIGHT_EDGE,
        1 - 0.6 / figure.get_figheight(),
        hspace=0.25,
    )
    if title:
        figure.suptitle(title, x=LEFT, ha="left", fontsize=10)
    count = len(heard.phones)
    for number, axes in enumerate(panels):
        begin = heard.start + number * row_s
        axes.imshow(
            heard.probs.T,
            origin="lower",
            aspect="auto",
            interpolation="nearest",
            cmap="Greys",
            vmin=0,
            vmax=1,
            extent=(heard.start, heard.end, -0.5, count - 0.5),
        )
        _named(axes, lyrics, begin, row_s, count - 0.5, 1.5, PARTLY)
        if reference is not None:
            _named(axes, reference, begin, row_s, -2.0, 1.5, FOUND)
        axes.set_xlim(begin, begin + row_s)
        axes.set_ylim(-2.0 if reference is not None else -0.5, count + 1.0)
        axes.set_yticks(range(count), heard.phones, fontsize=5)
        axes.tick_params(axis="x", labelsize=8)
    panels[-1].set_xlabel("s", fontsize=8)
    return _save(figure, path, overwrite)


def _named(axes, lyrics, begin, length, low, height, colour) -> None:
    """Words as named boxes, with lines where they begin."""
    for word in lyrics:
        if word.offset < begin or word.onset > begin + length:
            continue
        axes.broken_barh(
            [(word.onset, max(word.offset - word.onset, 0.01))],
            (low, height),
            facecolors=colour,
            edgecolors="black",
            linewidth=0.4,
        )
        axes.axvline(word.onset, color=colour, linewidth=0.6)
        axes.text(
            max(word.onset, begin) + 0.01,
            low + height / 2,
            word.word,
            fontsize=6,
            va="center",
            clip_on=True,
        )


def _families() -> list[str]:
    """Fonts for words of users: the default and what is there for CJK."""
    from matplotlib.font_manager import fontManager

    names = {font.name for font in fontManager.ttflist}
    cjk = r"(CJK|Han|WenQuanYi|Fallback|SimHei|Hiragino|PingFang|YaHei)"
    found = [n for n in sorted(names) if re.search(cjk, n)]
    return ["DejaVu Sans", *found[:1]]


def _save(figure, path, overwrite: bool) -> Path:
    """Write a figure as PNG; characters that no font has become boxes."""
    with atomic_path(path, overwrite) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure.savefig(temporary, format="png", dpi=DPI)
    return Path(path)
