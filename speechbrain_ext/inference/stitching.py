"""Running a model over a recording of any length in bounded memory.

A recording is cut into chunks. The model sees each chunk together with some
context on both sides, and only what it says inside the chunk is kept. Where
the context covers all that a frame depends on, chunked and whole give the same
frames. Where nothing less than the whole recording would, neighbouring chunks
overlap and are faded into each other.

`stitch` does that for whatever comes in rows: samples, or frames of a spectrum.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from speechbrain_ext.errors import ModelError
from speechbrain_ext.frames import FRAME_RATE

SAMPLE_RATE = 16000


class Chunk(NamedTuple):
    """A piece of a recording, in frames.

    Arguments
    ---------
    first, last : int
        The model sees frames first to last - 1.
    begin, end : int
        Of these, frames begin to end - 1 are kept.
    """

    first: int
    begin: int
    end: int
    last: int


def plan_chunks(total, chunk, context, fade=0, grid=1) -> Iterator[Chunk]:
    """Cut a recording into chunks with context.

    Arguments
    ---------
    total : int or float
        Frames of the recording; `math.inf` if not known yet.
    chunk : int
        Frames from the begin of a chunk to that of the next, at least 1; the
        last chunk may be shorter.
    context : int
        Frames seen on both sides, as far as the recording has them.
    fade : int
        Frames that neighbours share, at most `chunk`. Default: 0.
    grid : int
        What the model sees starts at a multiple of so many frames: the context
        before a chunk is lengthened to reach one. Default: 1.

    Yields
    ------
    Chunk

    Example
    -------
    >>> for piece in plan_chunks(25, chunk=10, context=3):
    ...     print(*piece)
    0 0 10 13
    7 10 20 23
    17 20 25 25
    >>> for piece in plan_chunks(25, chunk=10, context=3, fade=2, grid=4):
    ...     print(*piece)
    0 0 12 15
    4 10 22 25
    16 20 25 25
    """
    begin, end = 0, 0
    while end < total:
        end = min(begin + chunk + fade, total)
        first = max(0, begin - context) // grid * grid
        yield Chunk(first, begin, end, min(end + context, total))
        begin += chunk


def stitch(
    blocks: Iterable[np.ndarray],
    fn: Callable[[np.ndarray], np.ndarray],
    chunk: int,
    context: int = 0,
    fade: int = 0,
    grid: int = 1,
    hop: int = 1,
    batch: int = 1,
) -> Iterator[np.ndarray]:
    """Run a model over a stream, some chunks at a time.

    Arguments
    ---------
    blocks : iterable of np.ndarray (rows, ...)
        The recording in pieces of any length: its samples, or the frames of
        its spectrum.
    fn : callable
        Takes chunks of one length (chunks, rows, ...) and gives their frames
        (chunks, rows // hop, ...).
    chunk, context, fade, grid : int
        Frames, see `plan_chunks`. Give the model's reach as context for
        results that do not depend on `chunk`.
    hop : int
        Rows per frame; 1 (default) for a model that gives samples for samples
        or masks for spectra.
    batch : int
        Most chunks per call. Default: 1.

    Yields
    ------
    np.ndarray (frames, ...)
        All together `rows // hop` frames. Where chunks overlap, the weight of
        the one goes down as that of the other goes up, in a straight line;
        they sum to one.

    Raises
    ------
    ModelError
        If `fn` gives another number of frames than its input has.

    Example
    -------
    >>> wav = np.arange(100.0)
    >>> parts = stitch([wav], lambda x: 2 * x, chunk=30, fade=10, batch=2)
    >>> bool(np.allclose(np.concatenate(list(parts)), 2 * wav))
    True
    """
    assert 0 <= fade <= chunk and context >= 0 and batch > 0
    rise = (np.arange(1, fade + 1) / (fade + 1)).astype(np.float32)
    tail = None
    plan = plan_chunks(math.inf, chunk, context, fade, grid)
    for _, out in run_chunks(blocks, fn, plan, hop, batch):
        if tail is not None and fade:
            weight = rise.reshape(-1, *[1] * (out.ndim - 1))
            yield tail * (1 - weight) + out[:fade] * weight
            out = out[fade:]
        if len(out) > fade:
            yield out[: len(out) - fade]
        # A copy: what is kept must not hold on to the whole batch.
        tail = out[max(0, len(out) - fade) :].copy()
    if tail is not None and len(tail):
        yield tail


def run_chunks(
    blocks: Iterable[np.ndarray],
    fn: Callable[[np.ndarray], np.ndarray],
    plan: Iterable[Chunk],
    hop: int = 1,
    batch: int = 1,
) -> Iterator[tuple[Chunk, np.ndarray]]:
    """Run a model over the chunks of a stream, without joining them.

    Arguments
    ---------
    blocks, fn, hop, batch
        See `stitch`.
    plan : iterable of Chunk
        In the order of their `first` and of their `end`; those behind the end
        of the stream are left out, the last one is cut there.

    Yields
    ------
    (Chunk, np.ndarray (frames, ...))
        What the model said of the frames begin to end - 1.

    Raises
    ------
    ModelError
        As `stitch`.

    Example
    -------
    >>> plan = plan_chunks(25, chunk=10, context=3, fade=2)
    >>> for piece, out in run_chunks([np.arange(25)], np.negative, plan):
    ...     print(piece.begin, piece.end, out[[0, -1]])
    0 12 [  0 -11]
    10 22 [-10 -21]
    20 25 [-20 -24]
    """
    for piece, out in _outputs(_chunks(blocks, plan, hop), fn, hop, batch):
        yield piece, out[piece.begin - piece.first : piece.end - piece.first]


def _chunks(blocks, pieces, hop):
    """Yield chunks with the rows that the model sees."""
    stream, covered = _Window(blocks), 0
    for piece in pieces:
        rows = stream.window(piece.first * hop, piece.last * hop)
        end = min(piece.end, piece.first + len(rows) // hop)
        if end <= covered:
            return
        yield piece._replace(end=end), rows
        if end < piece.end:
            return
        covered = end


def _outputs(chunks, fn, hop, batch):
    """Yield chunks with their frames, several of one length at a time."""
    waiting = []
    for chunk in chunks:
        if waiting and len(waiting[0][1]) != len(chunk[1]):
            yield from _run(waiting, fn, hop)
            waiting = []
        waiting.append(chunk)
        if len(waiting) == batch:
            yield from _run(waiting, fn, hop)
            waiting = []
    if waiting:
        yield from _run(waiting, fn, hop)


def _run(chunks, fn, hop):
    rows = np.stack([rows for _, rows in chunks])
    out = fn(rows)
    due = rows.shape[1] // hop
    if out.shape[1] != due:
        raise ModelError(
            f"the model gave {out.shape[1]} frames for {rows.shape[1]} samples "
            f"where {due} are due: it does not keep one frame per {hop}"
        )
    yield from zip((piece for piece, _ in chunks), out, strict=True)


def stitch_frames(
    blocks: Iterable[np.ndarray],
    fn: Callable[[np.ndarray], np.ndarray],
    chunk_s: float = 30.0,
    context_s: float = 2.0,
    frame_rate: int = FRAME_RATE,
    sample_rate: int = SAMPLE_RATE,
) -> Iterator[np.ndarray]:
    """Run a frame-wise model over a stream of samples.

    Arguments
    ---------
    blocks : iterable of np.ndarray (samples,)
        The recording in pieces of any length (`audio.stream_audio`).
    fn : callable
        Takes samples (samples,) and gives an array (frames, ...) with
        `samples // (sample_rate / frame_rate)` frames. Its input starts on a
        frame border.
    chunk_s : float
        Seconds kept per call. Default: 30.
    context_s : float
        Seconds seen before and after each chunk, rounded up to whole frames.
        Give the model's reach for results that do not depend on `chunk_s`.
        Default: 2.
    frame_rate : int
        Frames per second. Default: 50.
    sample_rate : int
        Samples per second, a multiple of the frame rate. Default: 16000.

    Yields
    ------
    np.ndarray (frames, ...)
        Output of one chunk; all together have `samples // samples-per-frame`
        frames. A recording shorter than a frame yields nothing.

    Raises
    ------
    ModelError
        If `fn` gives another number of frames than its input has.

    Example
    -------
    >>> wav = np.arange(16000.0)
    >>> def first_samples(x):
    ...     return x[: len(x) // 320 * 320].reshape(-1, 320)[:, 0]
    >>> parts = list(stitch_frames([wav], first_samples, chunk_s=0.4))
    >>> [len(part) for part in parts]
    [20, 20, 10]
    >>> bool(np.all(np.concatenate(parts) == wav[::320]))
    True
    """
    hop, rest = divmod(sample_rate, frame_rate)
    assert rest == 0, "the sample rate must be a multiple of the frame rate"
    chunk = max(1, math.floor(chunk_s * frame_rate + 0.5))
    context = max(0, math.ceil(context_s * frame_rate - 1e-6))
    yield from stitch(
        blocks, lambda wavs: fn(wavs[0])[None], chunk, context, hop=hop
    )


class _Window:
    """A stream of samples of which only a moving window is kept."""

    def __init__(self, blocks):
        self.blocks = iter(blocks)
        self.parts, self.begin, self.end = [], 0, 0

    def window(self, begin, end):
        """Samples [begin, end), fewer at the end; forgets those before."""
        while self.end < end:
            block = next(self.blocks, None)
            if block is None:
                break
            self.parts.append(block)
            self.end += len(block)
        if not self.parts:
            return np.zeros(0, np.float32)
        joined = np.concatenate(self.parts)
        if begin > self.begin:
            joined = joined[begin - self.begin :].copy()
            self.begin = min(begin, self.end)
        self.parts = [joined]
        return joined[: end - begin]
