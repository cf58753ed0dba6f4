"""Separation in chunks against a plain overlap-add, and memory against length.

`python -m benchmarks.stitching` separates noise with a small network of random
weights: in the chunks of `speechbrain_ext.inference.stitching`, and in windows
of the same length, half overlapping, one after the other, weighted by triangles
and added up, as much published code does. It prints how many times as fast the
chunks are, and by how much either differs from the whole at once. Then it
prints how memory grows with the length of a stream: of chunks, and of the whole
at once. Each length runs in a process of its own.
"""

import argparse
import multiprocessing
import re
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchmarks.common import Skipped, show, speedup
from speechbrain_ext.errors import ConfigError
from speechbrain_ext.inference.transfer import estimate_sources
from speechbrain_ext.separation.separator import MaskSeparator

SAMPLE_RATE = 16000
CHUNK_S = 10.0


class Dilated(nn.Module):
    """Convolutions over frames that reach a second and a half.

    Arguments
    ---------
    n_bins : int
        Default: 513.
    width : int
        Channels. Default: 96.
    """

    def __init__(self, n_bins=513, width=96):
        super().__init__()
        dilations = (1, 2, 4, 8, 16, 32, 32)
        self.context_frames = sum(dilations)
        self.first = nn.Conv1d(n_bins, width, 1)
        self.middle = nn.ModuleList(
            nn.Conv1d(width, width, 3, padding=step, dilation=step)
            for step in dilations
        )
        self.last = nn.Conv1d(width, n_bins, 1)

    def forward(self, spec):
        """Masks of two sources.

        Arguments
        ---------
        spec : torch.Tensor (batch, frames, bins), complex

        Returns
        -------
        torch.Tensor (batch, 2, frames, bins)
        """
        hidden = self.first(spec.abs().mT)
        for layer in self.middle:
            # Zeros beyond the ends stay zeros, chunked or not.
            hidden = hidden + torch.tanh(layer(hidden))
        mask = torch.sigmoid(self.last(hidden)).mT
        return torch.stack([mask, 1 - mask], 1)


def separator():
    """Build the network with its transform, always the same."""
    torch.manual_seed(0)
    return MaskSeparator(Dilated(), sample_rate=SAMPLE_RATE).eval()


def noise(seconds):
    """Yield blocks of a second.

    Arguments
    ---------
    seconds : float

    Yields
    ------
    np.ndarray (samples, 1), float32
    """
    rng = np.random.default_rng(0)
    left = int(seconds * SAMPLE_RATE)
    while left > 0:
        block = rng.standard_normal((min(left, SAMPLE_RATE), 1)) * 0.1
        yield block.astype(np.float32)
        left -= SAMPLE_RATE


def in_chunks(model, blocks):
    """Yield the voice of a stream, chunk by chunk.

    Arguments
    ---------
    model : MaskSeparator
    blocks : iterable of np.ndarray (samples, 1)

    Yields
    ------
    np.ndarray (samples,)
    """
    for _, estimates in estimate_sources(
        model, blocks, SAMPLE_RATE, [0], CHUNK_S
    ):
        yield estimates[:, 0, 0]


def at_once(model, wav):
    """Separate the whole in one forward pass.

    Arguments
    ---------
    model : MaskSeparator
    wav : np.ndarray (samples,)

    Returns
    -------
    np.ndarray (samples,)
    """
    with torch.inference_mode():
        return model(torch.from_numpy(wav)[None, None])[0, 0, 0].numpy()


def overlap_add(model, wav):
    """Separate in windows that overlap by half, one after the other.

    Arguments
    ---------
    model : MaskSeparator
    wav : np.ndarray (samples,)

    Returns
    -------
    np.ndarray (samples,)
    """
    size = int(CHUNK_S * SAMPLE_RATE)
    triangle = 1 - np.abs(np.linspace(-1, 1, size + 2)[1:-1])
    out, weight = np.zeros(len(wav)), np.zeros(len(wav))
    for start in range(0, len(wav), size // 2):
        part = wav[start : start + size]
        out[start : start + size] += triangle[: len(part)] * at_once(
            model, part
        )
        weight[start : start + size] += triangle[: len(part)]
    return out / weight


def peak_mib(seconds, chunked):
    """Memory that separating takes on top of what Python and torch hold.

    Arguments
    ---------
    seconds : float
    chunked : bool
        Or the whole at once.

    Returns
    -------
    float
        MiB at the highest point. Meaningful in a process of its own.

    Raises
    ------
    Skipped
        If the system does not tell.
    """
    model = separator()
    # What the libraries take for themselves when they first run.
    at_once(model, np.zeros(SAMPLE_RATE, np.float32))
    before = _memory("VmRSS")
    if chunked:
        for _ in in_chunks(model, noise(seconds)):
            pass
    else:
        at_once(model, np.concatenate(list(noise(seconds)))[:, 0])
    return max(_memory("VmHWM") - before, 1.0)


def _memory(field):
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        raise Skipped("memory is measured on Linux only") from None
    return int(re.search(rf"{field}:\s+(\d+) kB", status)[1]) / 1024


def apart(function, *arguments):
    """Call a function in a fresh process.

    Arguments
    ---------
    function : callable
        Of a module.
    *arguments
        Passed on.

    Returns
    -------
    object
        What it returns.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *arguments).result()


def main(arguments=None):
    """Yield the lines of the report.

    Arguments
    ---------
    arguments : list of str, optional
        Command line; default: that of the process.

    Yields
    ------
    str
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--seconds", type=float, default=120.0, help="length of the noise"
    )
    parser.add_argument(
        "--minutes",
        default="1,4,16",
        help="lengths for memory, separated by commas (default: 1,4,16)",
    )
    parser.add_argument(
        "--pairs", type=int, default=5, help="pairs of runs (default: 5)"
    )
    options = parser.parse_args(arguments)
    try:
        minutes = sorted(float(part) for part in options.minutes.split(","))
    except ValueError:
        raise ConfigError(
            f"--minutes {options.minutes}: give numbers, separated by commas"
        ) from None
    if not (options.seconds > 0 and minutes[0] > 0):
        raise ConfigError("lengths must be positive")
    model = separator()
    blocks = list(noise(options.seconds))
    wav = np.concatenate(blocks)[:, 0]

    def ours():
        return np.concatenate(list(in_chunks(model, blocks)))

    def theirs():
        return overlap_add(model, wav)

    whole = at_once(model, wav)
    yield f"{options.seconds:g} s in chunks of {CHUNK_S:g} s"
    pace = speedup(ours, theirs, options.pairs)
    differences = [
        float(np.abs(way() - whole).max() / np.abs(whole).max())
        for way in (ours, theirs)
    ]
    yield (
        f"chunks against overlap-add: {pace}; largest difference from the "
        f"whole {differences[0]:.1g}, of overlap-add {differences[1]:.1g}"
    )
    for name, chunked in (("chunks", True), ("the whole at once", False)):
        peaks = [apart(peak_mib, 60 * m, chunked) for m in minutes]
        ratios = ", ".join(
            f"{m:g} min: {peak / peaks[0]:.2f} times"
            for m, peak in zip(minutes[1:], peaks[1:], strict=True)
        )
        yield (
            f"memory of {name}, {minutes[0]:g} min: {peaks[0]:.0f} MiB; "
            f"{ratios or 'one length only'}"
        )


if __name__ == "__main__":
    raise SystemExit(show(main))
