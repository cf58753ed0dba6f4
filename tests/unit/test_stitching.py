"""Chunked = whole."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechbrain_ext.errors import ModelError
from speechbrain_ext.inference.stitching import plan_chunks, stitch_frames

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
