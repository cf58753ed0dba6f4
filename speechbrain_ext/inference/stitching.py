"""Running a model over a recording of any length in bounded memory.

A recording is cut into chunks. The model sees each chunk together with some
context on both sides, and only what it says inside the chunk is kept. Where
the context covers all that a frame depends on, chunked and whole give the same
frames.
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


def plan_chunks(total, chunk, context) -> Iterator[Chunk]:
    """Cut a recording into chunks with context.

    Arguments
    ---------
    total : int or float
        Frames of the recording; `math.inf` if not known yet.
    chunk : int
        Frames kept of each chunk, at least 1; the last chunk may be shorter.
    context : int
        Frames seen on both sides, as far as the recording has them.

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
    """
    begin = 0
    while begin < total:
        end = min(begin + chunk, total)
        yield Chunk(
            max(0, begin - context), begin, end, min(end + context, total)
        )
        begin = end


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
    stream = _Window(blocks)
    for piece in plan_chunks(math.inf, chunk, context):
        wav = stream.window(piece.first * hop, piece.last * hop)
        seen = len(wav) // hop
        end = min(piece.end, piece.first + seen)
        if end <= piece.begin:
            return
        out = fn(wav)
        if len(out) != seen:
            raise ModelError(
                f"the model gave {len(out)} frames for {len(wav)} samples "
                f"where {seen} are due: it does not keep the "
                f"{frame_rate} frames per second"
            )
        yield out[piece.begin - piece.first : end - piece.first]
        if end < piece.end:
            return


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
