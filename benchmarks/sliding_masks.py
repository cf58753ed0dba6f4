"""Masks of whole spectrograms against one patch at a time.

`python -m benchmarks.sliding_masks` gives noise to two networks of random
weights: that of `published_paper.yaml` and that of `fast.yaml` of the MUSDB18
recipe. Of both it computes the mask of every frame from the patch around it,
as `separation.convolutional` does and as the published loop does: a call of the
network for each frame, of whose nine output frames the middle one is kept. It
prints how many times as fast ours is, and the largest difference.
"""

import argparse

import torch
from torch.nn import functional

from benchmarks.common import show, speedup
from speechbrain_ext.errors import ConfigError
from speechbrain_ext.separation.convolutional import (
    PatchNetwork,
    SlidingPatches,
)

# Name, bins, whether patches are padded, frames per second.
NETWORKS = (
    ("published, 22.05 kHz, 2049 bins", 2049, True, 22050 / 256),
    ("fast, 44.1 kHz, 513 bins", 513, False, 44100 / 256),
)


def one_at_a_time(network, magnitudes):
    """Mask of a spectrogram, a call per frame.

    Arguments
    ---------
    network : PatchNetwork
        In evaluation mode.
    magnitudes : torch.Tensor (frames, bins)

    Returns
    -------
    torch.Tensor (frames, bins)
    """
    side, middle = network.seen_frames // 2, network.patch_frames // 2
    padded = functional.pad(magnitudes, (0, 0, side, side))
    return torch.stack(
        [
            network(padded[k : k + network.seen_frames][None])[0, middle]
            for k in range(len(magnitudes))
        ]
    ).sigmoid()


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
        "--seconds", type=float, default=2.0, help="length of the recording"
    )
    parser.add_argument(
        "--pairs", type=int, default=3, help="pairs of runs (default: 3)"
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda ...")
    options = parser.parse_args(arguments)
    if not 0 < options.seconds <= 600:
        raise ConfigError(
            f"--seconds {options.seconds:g}: give more than 0, at most 600"
        )
    yield f"masks of every frame of {options.seconds:g} s, one channel"
    for name, n_bins, padded, rate in NETWORKS:
        torch.manual_seed(0)
        network = PatchNetwork(n_bins, padded=padded).eval().to(options.device)
        sliding = SlidingPatches(network)
        frames = max(1, round(options.seconds * rate))
        magnitudes = torch.rand(frames, n_bins, device=options.device)
        yield f"{name}: {_compare(network, sliding, magnitudes, options.pairs)}"


@torch.inference_mode()
def _compare(network, sliding, magnitudes, pairs):
    def ours():
        # On the CPU, so that the work is done when the clock stops.
        return sliding.probabilities(magnitudes[None])[0].cpu()

    def theirs():
        return one_at_a_time(network, magnitudes).cpu()

    difference = float((ours() - theirs()).abs().max())
    pace = speedup(ours, theirs, pairs)
    return f"{pace}; largest difference {difference:.1g}"


if __name__ == "__main__":
    raise SystemExit(show(main))
