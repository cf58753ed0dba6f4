"""Chunked = whole."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechbrain_ext.errors import ModelError
from speechbrain_ext.inference.stitching import (
    plan_chunks,
    stitch,
    stitch_frames,
)

HOP = 320


def frame_means(wav):
    """One output per frame that depends on that frame alone."""
    frames = len(wav) // HOP
    return wav[: frames * HOP].reshape(frames, HOP).mean(axis=1)


def smoothed(reach):
    """Frame means averaged over `reach` frames to each side."""
    kernel = np.ones(2 * reach + 1) / (2 * reach + 1)
    return lambda wav: np.convolve(frame_means(wav), kernel)[reach:-reach]


def cut(wav, size):
    return [wav[i : i + size] for i in range(0, len(wav), size)]


@given(
    total=st.integers(0, 200),
    chunk=st.integers(1, 60),
    context=st.integers(0, 40),
)
def test_plan_covers_every_frame_once(total, chunk, context):
    pieces = list(plan_chunks(total, chunk, context))
    kept = [frame for p in pieces for frame in range(p.begin, p.end)]
    assert kept == list(range(total))
    for p in pieces:
        assert p.first == max(0, p.begin - context)
        assert p.last == min(total, p.end + context)


@pytest.mark.parametrize(
    "seconds, frames", [(5, 250), (7.3, 365), (200, 10000), (0.019, 0)]
)
def test_number_of_frames(seconds, frames):
    wav = np.zeros(round(seconds * 16000), np.float32)
    parts = list(stitch_frames(cut(wav, 16000), frame_means))
    assert sum(map(len, parts)) == frames


@given(
    samples=st.integers(0, 40 * HOP),
    block=st.integers(1, 20 * HOP),
    chunk=st.integers(1, 30),
    reach=st.integers(1, 10),
)
def test_chunked_is_whole(samples, block, chunk, reach):
    wav = np.random.default_rng(samples).standard_normal(samples)
    fn = smoothed(reach)
    parts = stitch_frames(
        cut(wav, block), fn, chunk_s=chunk / 50, context_s=reach / 50
    )
    joined = np.concatenate([np.zeros(0), *parts])
    if samples < HOP:
        assert len(joined) == 0
        return
    assert len(joined) == samples // HOP
    assert np.abs(joined - fn(wav)).max() < 1e-12


def test_less_context_than_reach_shows():
    wav = np.random.default_rng(0).standard_normal(100 * HOP)
    fn = smoothed(3)
    parts = stitch_frames([wav], fn, chunk_s=0.5, context_s=0.02)
    difference = np.abs(np.concatenate(list(parts)) - fn(wav))
    assert difference[:20].max() < 1e-12  # before the first border
    assert difference.max() > 0.01


def test_context_is_rounded_up_to_frames():
    seen = []

    def fn(wav):
        seen.append(len(wav) / HOP)
        return frame_means(wav)

    wav = np.zeros(100 * HOP)
    list(stitch_frames([wav], fn, chunk_s=1.0, context_s=0.05))
    # 50 frames and 3 on one side, twice: 0.05 s are 2.5 frames.
    assert seen == [53, 53]


def test_memory_is_bounded():
    longest = 0

    def blocks():
        for _ in range(600):  # 10 minutes
            yield np.zeros(16000, np.float32)

    def fn(wav):
        nonlocal longest
        longest = max(longest, len(wav))
        return frame_means(wav)

    total = sum(map(len, stitch_frames(blocks(), fn, 30, 2)))
    assert total == 30000
    assert longest == 34 * 16000


def test_wrong_number_of_frames():
    with pytest.raises(ModelError, match="gave 49 frames for 16000 samples"):
        list(stitch_frames([np.zeros(16000)], lambda wav: np.zeros(49)))


def test_unknown_total():
    pieces = plan_chunks(math.inf, 10, 2)
    assert [tuple(next(pieces)) for _ in range(2)] == [
        (0, 0, 10, 12),
        (8, 10, 20, 22),
    ]


def shaped(total, begins, chunk, fade):
    """What the weights of overlapping chunks add up to, one by one."""
    sums = np.zeros(total)
    for begin in begins:
        weights = np.ones(min(chunk + fade, total - begin))
        if begin:
            weights[:fade] = np.arange(1, fade + 1) / (fade + 1)
        if begin + chunk + fade < total:
            weights[-fade or len(weights) :] = 1 - (
                np.arange(1, fade + 1) / (fade + 1)
            )
        sums[begin : begin + len(weights)] += weights
    return sums


@given(
    total=st.integers(1, 300),
    chunk=st.integers(1, 60),
    context=st.integers(0, 40),
    fade=st.integers(0, 30),
    grid=st.integers(1, 9),
)
def test_plan_with_fades_on_a_grid(total, chunk, context, fade, grid):
    fade = min(fade, chunk)
    pieces = list(plan_chunks(total, chunk, context, fade, grid))
    assert [p.begin for p in pieces] == [k * chunk for k in range(len(pieces))]
    assert pieces[-1].end == total
    for p in pieces:
        assert p.first % grid == 0
        assert 0 <= p.begin - p.first - min(p.begin, context) < grid
        assert p.last == min(total, p.end + context)
    for p, following in zip(pieces, pieces[1:], strict=False):
        assert p.end - following.begin == fade < len(range(p.begin, total))
    begins = [p.begin for p in pieces]
    assert shaped(total, begins, chunk, fade) == pytest.approx(1)


@given(
    rows=st.integers(0, 400),
    block=st.integers(1, 150),
    chunk=st.integers(1, 12),
    fade=st.integers(0, 12),
    grid=st.integers(1, 4),
    hop=st.integers(1, 3),
    batch=st.integers(1, 5),
)
def test_any_layout_is_the_whole(rows, block, chunk, fade, grid, hop, batch):
    """A model of three frames, each channel on its own, with all layouts."""
    reach, fade = 3, min(fade, chunk)
    wav = np.random.default_rng(rows).standard_normal((rows, 2))
    kernel = np.arange(1.0, 2 * reach + 2)
    calls = []

    def fn(wavs):
        calls.append(len(wavs))
        frames = wavs.shape[1] // hop
        means = wavs[:, : frames * hop].reshape(len(wavs), frames, hop, 2)
        padded = np.pad(means.mean(2), [(0, 0), (reach, reach), (0, 0)])
        taken = [padded[:, k : k + frames] for k in range(2 * reach + 1)]
        return np.tensordot(np.stack(taken, -1), kernel, 1)

    parts = list(
        stitch(cut(wav, block), fn, chunk, reach, fade, grid, hop, batch)
    )
    assert sum(map(len, parts)) == rows // hop
    assert max(calls, default=1) <= batch
    if rows >= hop:
        difference = np.abs(np.concatenate(parts) - fn(wav[None])[0])
        assert difference.max() < 1e-5


def test_fades_by_hand():
    """Chunks that say 0, 1 and 2: two frames of each fade into the next."""
    said = iter(range(3))

    def fn(rows):
        return np.full(rows.shape, float(next(said)))

    parts = stitch([np.zeros(12)], fn, chunk=4, fade=2)
    third = 1 / 3
    assert np.concatenate(list(parts)) == pytest.approx(
        [0, 0, 0, 0, third, 2 * third, 1, 1, 1 + third, 1 + 2 * third, 2, 2]
    )


def test_chunks_of_one_length_run_together():
    shapes = []

    def fn(rows):
        shapes.append(rows.shape)
        return rows

    parts = list(stitch([np.arange(100.0)], fn, 10, context=5, batch=3))
    assert np.array_equal(np.concatenate(parts), np.arange(100.0))
    # The first and the last one have context on one side only.
    assert shapes == [(1, 15), (3, 20), (3, 20), (2, 20), (1, 15)]


def test_a_chunk_that_ends_with_the_recording_is_the_last():
    shapes = []

    def fn(rows):
        shapes.append(rows.shape[1])
        return rows

    assert sum(map(len, stitch([np.zeros(24)], fn, 10, fade=4))) == 24
    assert shapes == [14, 14]


def test_memory_with_fades_is_bounded():
    alive, most = [0], [0]

    def blocks():
        for _ in range(1000):
            yield np.zeros((100, 2), np.float32)

    def fn(rows):
        most[0] = max(most[0], rows.size)
        return rows

    for part in stitch(blocks(), fn, 300, context=50, fade=100, batch=2):
        alive[0] = max(alive[0], part.size)
    assert most[0] == 2 * 2 * (300 + 100 + 2 * 50)
    assert alive[0] <= 2 * 400
