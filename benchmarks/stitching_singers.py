"""Singers over a whole recording against the published overlap-add.

`python -m benchmarks.stitching_singers` takes choirs of MiniSinging with rests
and a separator that gives the true voices of every chunk in random order
(`singers_oracle`). It counts the choirs in which singers are on the wrong
output at some time: with `inference.singer_stitching`, and with a plain loop
after the published overlap-add (windows of 3 s every 0.75 s, one at a time, the
order taken from the correlation with the window before, rectangles added up).
Then it takes the shipped network, with random weights if `--small`: how many
seconds it hears for each second of the recording in both ways, and how many
times as fast the first one is as a whole.
"""

import argparse
from itertools import permutations

import numpy as np
import torch
from torch import nn

from benchmarks.common import show, speedup
from benchmarks.singers_oracle import (
    HOP,
    N_FFT,
    RATE,
    choir,
    oracle_separator,
)
from speechbrain_ext.errors import ConfigError
from speechbrain_ext.inference.splitter import SingerSplitter
from speechbrain_ext.metrics.singers import find_swaps
from speechbrain_ext.separation.separator import MaskSeparator
from speechbrain_ext.separation.tasnet import ConvTasNet

TASKS = {"duet": 2, "unison": 2, "main_vs_rest": 3}

# Seconds: where in the song, and for how long.
RESTS = ((8.0, 9.0), (16.0, 13.0))

PUBLISHED_WINDOW_S, PUBLISHED_HOP_S = 3.0, 0.75


def overlap_add(separate, mixture, window, hop):
    """Separate in windows, each in the order that fits the one before.

    Arguments
    ---------
    separate : callable
        Samples (samples,) and the first sample's place to (voices, samples).
    mixture : np.ndarray (samples,)
    window, hop : int
        Samples.

    Returns
    -------
    np.ndarray (voices, samples)

    Example
    -------
    >>> def halves(wav, place):
    ...     return np.stack([wav / 4, wav * 3 / 4])
    >>> out = overlap_add(halves, np.arange(100.0), 20, 5)
    >>> bool(np.allclose(out, [np.arange(100) / 4, np.arange(100) * 3 / 4]))
    True
    """
    padded = np.pad(mixture, (window, 2 * window))
    out, before = None, None
    for start in range(0, len(mixture) + window, hop):
        said = separate(padded[start : start + window], start - window)
        if before is not None:
            old, new = before[:, hop:], said[:, : window - hop]
            old = old - old.mean(1, keepdims=True)
            table = old @ (new - new.mean(1, keepdims=True)).T
            best = max(
                permutations(range(len(said))),
                key=lambda order: sum(table[i, j] for i, j in enumerate(order)),
            )
            said = said[list(best)]
        if out is None:
            out = np.zeros((len(said), len(padded)))
        out[:, start : start + window] += said * (hop / window)
        before = said
    return out[:, window : window + len(mixture)]


def published(voices, seed):
    """The published overlap-add on an oracle.

    Arguments
    ---------
    voices : np.ndarray (voices, samples)
    seed : int
        Of the orders.

    Returns
    -------
    np.ndarray (voices, samples)
    """
    rng = np.random.default_rng(seed)
    window = int(PUBLISHED_WINDOW_S * RATE)
    padded = np.pad(voices, [(0, 0), (window, 2 * window)])

    def separate(wav, place):
        first = place + window
        own = padded[:, first : first + len(wav)]
        return own[rng.permutation(len(own))]

    hop = int(PUBLISHED_HOP_S * RATE)
    return overlap_add(separate, voices.sum(0), window, hop)


def ours(voices, seed):
    """`SingerSplitter` on an oracle.

    Arguments
    ---------
    voices : np.ndarray (voices, samples)
    seed : int
        Of the orders.

    Returns
    -------
    np.ndarray (voices, samples)
    """
    splitter = SingerSplitter(oracle_separator(voices, seed=seed))
    return splitter.split(voices.sum(0), RATE)[0]


def small_network():
    """Build a network of random weights, always the same.

    Returns
    -------
    MaskSeparator
    """
    torch.manual_seed(0)
    network = ConvTasNet(
        N_FFT // 2 + 1, channels=64, hidden=128, skip=64, n_repeats=2
    )
    return MaskSeparator(network, ["one", "two"], RATE, N_FFT, HOP).eval()


def shipped_network():
    """Load the network of `singbrain split`.

    Returns
    -------
    MaskSeparator
    """
    return SingerSplitter.from_hparams().separator


def heard(separator, way):
    """Seconds that a separator's network hears in a call.

    Arguments
    ---------
    separator : MaskSeparator
    way : callable
        Without arguments.

    Returns
    -------
    float
    """
    frames = []

    def count(module, spectra):
        frames.append(spectra[0].shape[0] * spectra[0].shape[1])

    handle = separator.network.register_forward_pre_hook(count)
    try:
        way()
    finally:
        handle.remove()
    return sum(frames) * separator.hop_length / separator.sample_rate


class Plain(nn.Module):
    """A separator of one window at a time, as a callable of samples.

    Arguments
    ---------
    separator : MaskSeparator
    """

    def __init__(self, separator):
        super().__init__()
        self.separator = separator

    @torch.inference_mode()
    def forward(self, wav, place):
        """Separate.

        Arguments
        ---------
        wav : np.ndarray (samples,)
        place : int
            Of its first sample; not used.

        Returns
        -------
        np.ndarray (voices, samples)
        """
        return self.separator(torch.from_numpy(wav)[None, None])[
            0, :, 0
        ].numpy()


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
        "--choirs", type=int, default=10, help="of each task (default: 10)"
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=24.0,
        help="of each, rests not counted (default: 24)",
    )
    parser.add_argument(
        "--pairs", type=int, default=3, help="pairs of runs (default: 3)"
    )
    parser.add_argument(
        "--small",
        action="store_true",
        help="time a small network of random weights, not the shipped one",
    )
    options = parser.parse_args(arguments)
    if options.choirs < 1 or options.seconds < RESTS[-1][0] + 2:
        raise ConfigError(
            f"--choirs {options.choirs} --seconds {options.seconds:g}: give at "
            f"least 1 and {RESTS[-1][0] + 2:g}"
        )
    for task, count in TASKS.items():
        wrong, away = [0, 0], [[], []]
        for seed in range(options.choirs):
            voices = choir(seed, task, count, options.seconds, RESTS)
            for k, way in enumerate((ours, published)):
                swaps = find_swaps(voices, way(voices, seed), RATE)
                wrong[k] += swaps.away > 0
                away[k].append(swaps.share_away)
        yield (
            f"{task}, {count} voices, {len(RESTS)} rests: singers on a wrong "
            f"output in {wrong[0]} of {options.choirs} recordings "
            f"({100 * np.mean(away[0]):.0f} % of the time), with the published "
            f"overlap-add in {wrong[1]} ({100 * np.mean(away[1]):.0f} %)"
        )
    model = small_network() if options.small else shipped_network()
    splitter, plain = SingerSplitter(model), Plain(model)
    mixture = choir(0, "duet", 2, options.seconds, RESTS).sum(0)
    window, hop = PUBLISHED_WINDOW_S * RATE, PUBLISHED_HOP_S * RATE
    ways = (
        lambda: splitter.split(mixture, RATE),
        lambda: overlap_add(plain, mixture, int(window), int(hop)),
    )
    own, theirs = (heard(model, way) * RATE / len(mixture) for way in ways)
    seconds = len(mixture) / RATE
    yield (
        f"seconds that the network hears for each one of {seconds:g}: "
        f"{own:.2f}, with the published overlap-add {theirs:.2f} "
        f"({theirs / own:.1f} times as many)"
    )
    pace = speedup(*ways, options.pairs)
    yield f"time against the published overlap-add: {pace}"


if __name__ == "__main__":
    raise SystemExit(show(main))
