"""The fundamental frequency of a voice over time, in memory and on disk.

On disk a contour is a CSV with the columns `time_s`, `f0_hz` and perhaps
`voicing`, a row per frame, where 0 Hz means unvoiced; this is how mir_eval's
and mirdata's melody tools count. MIR-1K's `.pv` files (a MIDI number per 20
ms, the first at 20 ms, 0 = unvoiced) are read as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from speechbrain_ext.errors import NoteError
from speechbrain_ext.files import atomic_path
from speechbrain_ext.frames import (
    FramePosteriors,
    frame_centres,
    voiced_frames,
)
from speechbrain_ext.notes import hz_to_midi, midi_to_hz

COLUMNS = ("time_s", "f0_hz", "voicing")

# MIR-1K's pitch labels.
MIR1K_SUFFIX = ".pv"
MIR1K_STEP_S = 0.02


@dataclass(frozen=True, eq=False)
class F0Contour:
    """Pitch per frame.

    Arguments
    ---------
    times : np.ndarray (frames,)
        Centres of the frames in seconds, increasing.
    midi : np.ndarray (frames,)
        MIDI numbers, fractions allowed; 0 where unvoiced.
    voicing : np.ndarray (frames,), optional
        Probability that the voice has a pitch.

    Raises
    ------
    NoteError
        If the lengths differ, the times do not increase or a value is not
        finite or out of range.

    Example
    -------
    >>> contour = F0Contour(np.array([0.0, 0.1, 0.2]), np.array([60, 62, 0]))
    >>> contour.at(np.array([0.05, 0.15, 0.9])).tolist()
    [61.0, nan, 0.0]
    """

    times: np.ndarray
    midi: np.ndarray
    voicing: np.ndarray | None = None

    def __post_init__(self):
        for name in ("times", "midi", "voicing"):
            values = getattr(self, name)
            if values is None:
                continue
            values = np.array(values, dtype=np.float64)
            values.flags.writeable = False
            object.__setattr__(self, name, values)
            if values.shape != (len(self.times),):
                raise NoteError(
                    f"{name} has the shape {values.shape} but there are "
                    f"{len(self.times)} times"
                )
            if not np.isfinite(values).all():
                at = int(np.flatnonzero(~np.isfinite(values))[0])
                raise NoteError(
                    f"frame {at + 1}: {name} is {values[at]}, not a number"
                )
        steps = np.diff(self.times)
        if (steps <= 0).any():
            at = int(np.flatnonzero(steps <= 0)[0]) + 1
            raise NoteError(
                f"frame {at + 1}: its time {self.times[at]:g} s is not after "
                f"{self.times[at - 1]:g} s: frames must be sorted"
            )
        outside = (self.midi < 0) | (self.midi > 127)
        if outside.any():
            at = int(np.flatnonzero(outside)[0])
            raise NoteError(
                f"frame {at + 1}: pitch {self.midi[at]:g} is outside MIDI 0 to "
                "127"
            )
        if self.voicing is not None:
            outside = (self.voicing < 0) | (self.voicing > 1)
            if outside.any():
                at = int(np.flatnonzero(outside)[0])
                raise NoteError(
                    f"frame {at + 1}: voicing {self.voicing[at]:g} is outside "
                    "0 to 1"
                )

    @classmethod
    def from_posteriors(
        cls, posteriors: FramePosteriors, voicing_threshold: float = 0.5
    ) -> F0Contour | None:
        """What a model says about the voice's pitch.

        Arguments
        ---------
        posteriors : FramePosteriors
            From time 0 on.
        voicing_threshold : float
            A frame is unvoiced where its voicing is below it. Default: 0.5.

        Returns
        -------
        F0Contour or None
            None if the model gives no fundamental frequency.
        """
        if posteriors.f0 is None or posteriors.voicing is None:
            return None
        sung = voiced_frames(posteriors, voicing_threshold)
        return cls(
            frame_centres(len(posteriors)),
            np.where(sung, np.clip(posteriors.f0, 0.0, 127.0), 0.0),
            np.clip(posteriors.voicing, 0.0, 1.0),
        )

    def __len__(self) -> int:
        return len(self.times)

    def at(self, times) -> np.ndarray:
        """Pitch at other times.

        Arguments
        ---------
        times : np.ndarray (frames,)
            Seconds.

        Returns
        -------
        np.ndarray (frames,)
            MIDI numbers, interpolated between voiced frames; 0 where unvoiced,
            before the first and after the last frame; NaN (unknown) between a
            voiced and an unvoiced frame.
        """
        times = np.asarray(times, dtype=np.float64)
        if len(self) == 0:
            return np.zeros(len(times))
        if len(self) == 1:
            return np.where(times == self.times[0], self.midi[0], 0.0)
        left = np.searchsorted(self.times, times, side="right") - 1
        left = np.clip(left, 0, len(self) - 2)
        a, b = self.midi[left], self.midi[left + 1]
        step = self.times[left + 1] - self.times[left]
        share = (times - self.times[left]) / step
        between = a + (b - a) * share
        pitch = np.where((a > 0) & (b > 0), between, 0.0)
        # On a frame its own voicing counts.
        pitch = np.where((a > 0) != (b > 0), np.nan, pitch)
        pitch = np.where(np.abs(share) < 1e-6, a, pitch)
        pitch = np.where(np.abs(share - 1) < 1e-6, b, pitch)
        edge = 1e-6 * step
        outside = (times < self.times[0] - edge) | (
            times > self.times[-1] + edge
        )
        return np.where(outside, 0.0, pitch)


def read_f0(path) -> F0Contour:
    """Read a contour.

    Arguments
    ---------
    path : str or Path
        A CSV of ours, or a `.pv` file of MIR-1K.

    Returns
    -------
    F0Contour

    Raises
    ------
    NoteError
        If the file is missing or not what its suffix says.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        if path.suffix.lower() == MIR1K_SUFFIX:
            midi = [float(line) for line in lines]
            times = MIR1K_STEP_S * np.arange(1, len(midi) + 1)
            return F0Contour(times, np.array(midi))
        header = tuple(lines[0].split(",")) if lines else ()
        if header not in (COLUMNS, COLUMNS[:2]):
            found = ",".join(header)[:80] or "missing"
            raise NoteError(
                f"its columns are {found}: expected "
                f"{','.join(COLUMNS[:2])}[,{COLUMNS[2]}]"
            )
        # Much faster than a reader for CSV; no cell has quotes.
        table = np.array([line.split(",") for line in lines[1:]], dtype=float)
        if len(table) and table.shape[1:] != (len(header),):
            raise NoteError(
                f"its rows have {table.shape[1]} values but its header has "
                f"{len(header)} columns"
            )
        table = table.reshape(-1, len(header))
        hz = table[:, 1]
        if (hz < 0).any() or not np.isfinite(hz).all():
            raise NoteError("has frequencies below 0 or that are not finite")
        midi = np.where(hz > 0, hz_to_midi(np.where(hz > 0, hz, 440.0)), 0.0)
        # Six digits of a frequency say no more; else 127 would return as more.
        midi = np.round(midi, 3)
        return F0Contour(table[:, 0], midi, *table.T[2:])
    except NoteError as error:
        raise NoteError(f"{path}: {error}") from None
    except OSError as error:
        raise NoteError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise NoteError(f"{path}: is no contour: {reason[:80]}") from None


def write_f0(contour: F0Contour, path, overwrite: bool = False) -> Path:
    """Write a contour as CSV.

    Arguments
    ---------
    contour : F0Contour
    path : str or Path
        The CSV.
    overwrite : bool
        Whether an existing file may be replaced.

    Returns
    -------
    Path

    Raises
    ------
    OutputError
        If the file exists or cannot be written.
    """
    hz = np.where(contour.midi > 0, midi_to_hz(contour.midi), 0.0)
    columns = [contour.times, hz]
    formats = ["%.4f", "%.6g", "%.4f"]
    if contour.voicing is not None:
        columns.append(contour.voicing)
    width = len(columns)
    row = ",".join(formats[:width])
    lines = [",".join(COLUMNS[:width])]
    lines += [row % values for values in zip(*columns, strict=True)]
    with atomic_path(path, overwrite=overwrite) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return Path(path)
