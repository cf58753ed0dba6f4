"""How likely each phone is, frame by frame, with its place in time."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from speechbrain_ext.errors import AudioError, ModelError
from speechbrain_ext.files import atomic_path, check_input
from speechbrain_ext.lyrics.phones import INDEX, NOISE, PHONES, SILENCE, fold
from speechbrain_ext.lyrics.timed import read_phones

_VERSION = 1
_ROW_SUM = 1e-3  # how far from 1 a row may be


@dataclass(frozen=True, eq=False)
class Posteriorgram:
    """Probabilities of phones over time.

    Arguments
    ---------
    probs : np.ndarray (frames, phones), float32
        Each row sums to 1.
    frame_rate : float
        Frames per second. Frame k is centred at
        `start + (k + 0.5) / frame_rate`.
    start : float
        Where frame 0 begins in the recording, in seconds. Default: 0.
    phones : tuple of str
        What the columns are. Default: the 41 of `PHONES`.
    blank : np.ndarray (frames,), float32, optional
        Probability of "no new phone" in models trained with connectionist
        temporal classification; `probs` is what they say beside it.

    Raises
    ------
    ModelError
        If the array has another shape, its rows are not probabilities, or the
        rate is not positive.

    Example
    -------
    >>> silent = Posteriorgram.silence(1.0, frame_rate=100)
    >>> silent.probs.shape, silent.end
    ((100, 41), 1.0)
    """

    probs: np.ndarray
    frame_rate: float
    start: float = 0.0
    phones: tuple[str, ...] = PHONES
    blank: np.ndarray | None = None

    def __post_init__(self):
        probs = np.asarray(self.probs, dtype=np.float32)
        object.__setattr__(self, "probs", probs)
        object.__setattr__(self, "phones", tuple(map(str, self.phones)))
        if probs.ndim != 2 or probs.shape[1] != len(self.phones):
            raise ModelError(
                f"a posteriorgram has the shape (frames, {len(self.phones)}) "
                f"but this is {probs.shape}: check the phones"
            )
        if not (self.frame_rate > 0 and np.isfinite(self.start)):
            raise ModelError(
                f"frame rate {self.frame_rate}, start {self.start}: give a "
                "positive rate and a time in seconds"
            )
        if len(probs) and not (
            probs.min() >= 0 and np.abs(probs.sum(axis=1) - 1).max() <= _ROW_SUM
        ):
            raise ModelError(
                "rows of a posteriorgram are probabilities of sum 1 but a row "
                f"sums to {probs.sum(axis=1)[0]:g}: normalise them"
            )
        if self.blank is not None:
            blank = np.asarray(self.blank, dtype=np.float32)
            object.__setattr__(self, "blank", blank)
            if blank.shape != probs.shape[:1]:
                raise ModelError(
                    f"{len(probs)} frames but blank has the shape "
                    f"{blank.shape}: give one value per frame"
                )

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.probs)

    @property
    def end(self) -> float:
        """Where the last frame ends, in seconds."""
        return self.start + len(self) / self.frame_rate

    @property
    def times(self) -> np.ndarray:
        """Centres of the frames in seconds, (frames,)."""
        return self.start + (np.arange(len(self)) + 0.5) / self.frame_rate

    @classmethod
    def silence(cls, seconds, frame_rate, start=0.0) -> Posteriorgram:
        """Sure silence.

        Arguments
        ---------
        seconds : float
            Length.
        frame_rate : float
            Frames per second.
        start : float
            Default: 0.

        Returns
        -------
        Posteriorgram
        """
        probs = np.zeros((round(seconds * frame_rate), len(PHONES)), np.float32)
        probs[:, INDEX[SILENCE]] = 1
        return cls(probs, frame_rate, start)

    @classmethod
    def from_phones(
        cls, phones, start, stop, frame_rate=100.0
    ) -> Posteriorgram:
        """Sure phones, from their times.

        Arguments
        ---------
        phones : iterable of TimedPhone
            Or of (phone, onset, offset), seconds, of any inventory (`fold`);
            what is no phone is noise.
        start, stop : float
            What is wanted of the song, seconds; phones outside are left out.
        frame_rate : float
            Frames per second. Default: 100.

        Returns
        -------
        Posteriorgram
            A phone has as much of a frame as it fills; the rest is silence.

        Example
        -------
        >>> song = Posteriorgram.from_phones([("AA", 2.0, 2.5)], 1.9, 2.6, 10)
        >>> song.probs[:, INDEX["AA"]].tolist()
        [0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0]
        """
        frames = max(0, int(np.ceil((stop - start) * frame_rate - 1e-6)))
        probs = np.zeros((frames, len(PHONES)))
        for symbol, onset, offset, *_ in phones:
            if offset <= start or onset >= start + frames / frame_rate:
                continue
            names = fold(symbol) or (NOISE,)
            edges = np.linspace(onset, offset, len(names) + 1)
            edges = np.round((edges - start) * frame_rate, 6)
            edges = np.clip(edges, 0, frames)
            for name, (a, b) in zip(names, pairwise(edges), strict=True):
                first, last = int(a), int(np.ceil(b))
                grid = np.arange(first, last)
                share = np.minimum(b, grid + 1) - np.maximum(a, grid)
                probs[first:last, INDEX[name]] += share
        total = probs.sum(axis=1)
        probs[:, INDEX[SILENCE]] += np.maximum(0.0, 1 - total)
        probs /= np.maximum(1.0, total)[:, None]
        return cls(probs, frame_rate, start)

    def moved(self, start) -> Posteriorgram:
        """The same frames at another time.

        Arguments
        ---------
        start : float
            Where frame 0 begins, in seconds.

        Returns
        -------
        Posteriorgram
        """
        return replace(self, start=float(start))

    def at(self, times) -> np.ndarray:
        """Probabilities at any times, by linear interpolation.

        Arguments
        ---------
        times : np.ndarray (n,)
            Seconds, such as the centres of spectrogram frames.

        Returns
        -------
        np.ndarray (n, phones), float32
            Rows of sum 1; silence before `start` and after `end`.
        """
        return self.features(times)

    def features(self, times, order=0) -> np.ndarray:
        """Probabilities and how fast they change, at any times.

        Changes are those from frame to frame of the posteriorgram, taken
        before it is interpolated: of rows that are repeated to fill a finer
        grid, as in a published system, nearly all changes are 0.

        Arguments
        ---------
        times : np.ndarray (n,)
            Seconds.
        order : int
            1 for the first derivative, 2 for the second as well. Default: 0.

        Returns
        -------
        np.ndarray (n, phones * (order + 1)), float32
            Silence, which does not change, before `start` and after `end`.

        Example
        -------
        >>> probs = np.eye(41, dtype=np.float32)[[0, 0, 1, 1]]
        >>> song = Posteriorgram(probs, 10)
        >>> song.features([0.15, 0.2], order=1)[:, [0, 1, 41, 42]].tolist()
        [[1.0, 0.0, -0.5, 0.5], [0.5, 0.5, -0.5, 0.5]]
        """
        times = np.asarray(times, dtype=np.float64)
        size = len(self.phones)
        rows = np.zeros((len(times), size * (order + 1)), np.float32)
        rows[:, self.phones.index(SILENCE)] = 1
        inside = (times >= self.start) & (times < self.end)
        if not inside.any():
            return rows
        values = deltas(self.probs, 1.0, order) if order else self.probs
        place = (times[inside] - self.start) * self.frame_rate - 0.5
        place = np.clip(place, 0, len(self) - 1)
        low = np.floor(place).astype(int)
        high = np.minimum(low + 1, len(self) - 1)
        share = (place - low).astype(np.float32)[:, None]
        rows[inside] = (1 - share) * values[low] + share * values[high]
        return rows

    def save(self, path, overwrite=False) -> None:
        """Write an .npz file with its rate, its start and its phones.

        Arguments
        ---------
        path : str or Path
            Ends in .npz.
        overwrite : bool
            Whether an existing file may be replaced. Default: False.
        """
        arrays = {
            "version": np.array(_VERSION),
            "probs": self.probs,
            "frame_rate": np.array(float(self.frame_rate)),
            "start": np.array(float(self.start)),
            "phones": np.array(self.phones),
        }
        if self.blank is not None:
            arrays["blank"] = self.blank
        with (
            atomic_path(path, overwrite) as temporary,
            temporary.open("wb") as stream,
        ):
            np.savez_compressed(stream, **arrays)

    @classmethod
    def load(cls, path) -> Posteriorgram:
        """Read what `save` wrote; nothing in the file is run.

        Arguments
        ---------
        path : str or Path

        Returns
        -------
        Posteriorgram

        Raises
        ------
        ModelError
            If the file is missing or is no posteriorgram.

        Example
        -------
        >>> path = getfixture("tmp_path") / "song.npz"
        >>> Posteriorgram.silence(2, 50, start=1.5).save(path)
        >>> Posteriorgram.load(path).end
        3.5
        """
        check_input(path, ModelError, "posteriorgram")
        try:
            with np.load(path, allow_pickle=False) as file:
                if int(file["version"]) != _VERSION:
                    raise ModelError(
                        f"{path}: has version {int(file['version'])} but this "
                        f"release reads {_VERSION}: write it again"
                    )
                return cls(
                    file["probs"],
                    float(file["frame_rate"]),
                    float(file["start"]),
                    tuple(file["phones"].tolist()),
                    file["blank"] if "blank" in file.files else None,
                )
        except (
            AttributeError,
            EOFError,
            KeyError,
            OSError,
            TypeError,
            ValueError,
            zipfile.BadZipFile,
        ):
            raise ModelError(
                f"{path}: is no posteriorgram: make it with Posteriorgram.save"
            ) from None


def read_sung(path) -> Posteriorgram:
    r"""Read what is sung in a song, from phones or from a posteriorgram.

    Arguments
    ---------
    path : str or Path
        `.npz`, as `Posteriorgram.save` writes it; or phones with their times,
        see `lyrics.timed.read_phones`.

    Returns
    -------
    Posteriorgram
        At its place in the song.

    Raises
    ------
    ModelError, LyricsError
        If the file is missing or faulty.

    Example
    -------
    >>> path = getfixture("tmp_path") / "phones.csv"
    >>> _ = path.write_text("phone,onset_s,offset_s\nAA,0.5,0.75\n")
    >>> read_sung(path).end
    0.75
    """
    if Path(path).suffix.lower() == ".npz":
        return Posteriorgram.load(path)
    phones = read_phones(path)
    stop = max((phone.offset for phone in phones), default=0.0)
    return Posteriorgram.from_phones(phones, 0.0, stop)


def place(
    segments: Iterable[Posteriorgram], seconds, frame_rate=None
) -> Posteriorgram:
    """Put the posteriorgrams of segments where they were heard in a song.

    Each lies at its own `start`; between them there is silence. (A published
    system for separation by lyrics stretches the posteriorgram of one segment
    over the whole song, which makes it noise.)

    Arguments
    ---------
    segments : iterable of Posteriorgram
        In any order.
    seconds : float
        Length of the song.
    frame_rate : float, optional
        Frames per second. Default: that of the first segment.

    Returns
    -------
    Posteriorgram
        From 0 to `seconds`.

    Raises
    ------
    AudioError
        If two segments overlap by more than a frame, or one lies outside the
        song.

    Example
    -------
    >>> phone = np.eye(41, dtype=np.float32)[[PHONES.index("AA")] * 50]
    >>> song = place([Posteriorgram(phone, 50, start=2.0)], 4.0)
    >>> [song.phones[k] for k in song.probs[[99, 100, 149, 150]].argmax(1)]
    ['SIL', 'AA', 'AA', 'SIL']
    """
    segments = sorted(segments, key=lambda segment: segment.start)
    if frame_rate is None:
        if not segments:
            raise AudioError("0 segments to place: give a frame rate")
        frame_rate = segments[0].frame_rate
    song = Posteriorgram.silence(seconds, frame_rate)
    probs, times = song.probs, song.times
    before = 0.0
    for segment in segments:
        slack = 1 / segment.frame_rate
        if segment.start < -slack or segment.end > seconds + slack:
            raise AudioError(
                f"a segment lies at {segment.start:g} to {segment.end:g} s "
                f"but the song at 0 to {seconds:g} s: check its start"
            )
        if segment.start < before - slack:
            raise AudioError(
                f"a segment begins at {segment.start:g} s but the one before "
                f"ends at {before:g} s: cut one of them"
            )
        if segment.phones != song.phones:
            raise AudioError(
                f"a segment has {len(segment.phones)} phones, the song "
                f"{len(song.phones)}: fold them first"
            )
        here = (times >= segment.start) & (times < segment.end)
        probs[here] = segment.at(times[here])
        before = segment.end
    return song


def deltas(probs, frame_rate, order=1) -> np.ndarray:
    """Append how fast probabilities change, before any interpolation.

    Arguments
    ---------
    probs : np.ndarray (frames, phones)
        At the model's own frame rate: repeated rows would have no change.
    frame_rate : float
        Frames per second.
    order : int
        1 for the first derivative, 2 for the second as well. Default: 1.

    Returns
    -------
    np.ndarray (frames, phones * (order + 1)), float32
        Derivatives are per second, by central differences.

    Example
    -------
    >>> deltas(np.array([[0.0], [0.25], [0.5]]), 100).tolist()
    [[0.0, 25.0], [0.25, 25.0], [0.5, 25.0]]
    """
    parts = [np.asarray(probs, dtype=np.float64)]
    for _ in range(order):
        last = parts[-1]
        parts.append(
            np.gradient(last, axis=0) * frame_rate
            if len(last) > 1
            else np.zeros_like(last)
        )
    return np.concatenate(parts, axis=1).astype(np.float32)
