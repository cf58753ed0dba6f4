"""Choirs with rests, and a separator that knows the voices but no order.

What is wrong with its outputs, stitched together, is the fault of stitching.
"""

import numpy as np
import torch
from torch import nn

from data_prep.minisinging.choir import render_choir
from data_prep.minisinging.clip import render_clip
from data_prep.minisinging.singer import draw_singer
from speechbrain_ext.separation.separator import MaskSeparator

RATE = 16000
N_FFT, HOP = 1024, 256

_FADE = 400


class Oracle(nn.Module):
    """Ideal complex masks of known voices, in random order for every chunk.

    It finds its place in the recording by the loudest frame it is given.

    Arguments
    ---------
    voices : np.ndarray (voices, samples)
    codec : speechbrain_ext.separation.codec.STFT
    seed : int
        Of the orders. Default: 0.
    leak : float
        0 to 1: how much of the mean of all voices is in each. Default: 0.
    shuffle : bool
        False gives all chunks the same order. Default: True.
    """

    context_frames = None

    def __init__(self, voices, codec, seed=0, leak=0.0, shuffle=True):
        super().__init__()
        self.leak, self.shuffle = leak, shuffle
        self.rng = np.random.default_rng(seed)
        self.voices = codec(torch.from_numpy(voices))
        self.mixture = codec(torch.from_numpy(voices.sum(0)))
        self.lengths = self.mixture.abs().square().sum(-1).sqrt()
        self.calls, self.orders = [], []

    def place(self, spec):
        """Frame of the recording at which a chunk begins.

        Arguments
        ---------
        spec : torch.Tensor (frames, bins), complex

        Returns
        -------
        int or None
            None for silence.
        """
        power = spec.abs().square().sum(-1)
        if not power.any():
            return None
        # The frame most like the loudest one, at whatever level.
        offset = int(power.argmax())
        like = (self.mixture @ spec[offset].conj()).abs()
        return int((like / self.lengths.clamp(min=1e-12)).argmax()) - offset

    def forward(self, spec):
        """Masks of the voices.

        Arguments
        ---------
        spec : torch.Tensor (batch, frames, bins), complex

        Returns
        -------
        torch.Tensor (batch, voices, frames, bins), complex
        """
        self.calls.append(tuple(spec.shape))
        count, out = len(self.voices), []
        for item in spec:
            order = np.arange(count)
            if self.shuffle:
                order = self.rng.permutation(count)
            self.orders.append(order)
            place = self.place(item)
            masks = torch.full((count, *item.shape), 1 / count) + 0j
            if place is not None:
                own = self.voices[:, place : place + len(item)]
                heard = self.mixture[place : place + len(item)]
                loud = heard.abs() > 0
                masks[:, loud] = own[:, loud] / heard[loud]
            mean = masks.mean(0, keepdim=True)
            masks = masks + self.leak * (mean - masks)
            out.append(masks[order])
        return torch.stack(out)


def oracle_separator(voices, **settings):
    """Make a separator of an oracle.

    Arguments
    ---------
    voices : np.ndarray (voices, samples)
        At 16 kHz.
    **settings
        See `Oracle`.

    Returns
    -------
    MaskSeparator
    """
    names = [f"output{k}" for k in range(len(voices))]
    made = MaskSeparator(nn.Identity(), names, RATE, N_FFT, HOP)
    made.network = Oracle(voices, made.codec, **settings)
    return made.eval()


def with_rests(voices, rests):
    """Put silence into voices.

    Arguments
    ---------
    voices : np.ndarray (voices, samples)
        At 16 kHz.
    rests : sequence of (float, float)
        Where, in the time of the voices, and for how long; seconds.

    Returns
    -------
    np.ndarray (voices, samples), float32

    Example
    -------
    >>> with_rests(np.ones((2, 32000)), [(1.0, 0.5)]).shape
    (2, 40000)
    """
    voices = np.array(voices, np.float32)
    fall = np.linspace(1, 0, _FADE, dtype=np.float32)
    for at, seconds in sorted(rests, reverse=True):
        at, length = round(at * RATE), round(seconds * RATE)
        voices[:, at - _FADE : at] *= fall
        voices[:, at : at + _FADE] *= fall[::-1]
        rest = np.zeros((len(voices), length), np.float32)
        parts = voices[:, :at], rest, voices[:, at:]
        voices = np.concatenate(parts, axis=1)
    return voices


def choir(seed, task="duet", n_voices=2, seconds=24.0, rests=()):
    """Render a choir of MiniSinging, with rests in which all are silent.

    Arguments
    ---------
    seed : int
    task : str
        See `render_choir`. Default: duet.
    n_voices : int
        Default: 2.
    seconds : float
        Without rests. Default: 24.
    rests : sequence of (float, float)
        See `with_rests`. Default: none.

    Returns
    -------
    np.ndarray (voices, samples), float32
    """
    made = render_choir(seed, seconds, task, n_voices, sample_rate=RATE)
    return with_rests(made.voices, rests)


def people(kinds, seed=0, seconds=24.0, rests=()):
    """Render people who sing songs of their own.

    Arguments
    ---------
    kinds : sequence of str
        Voice types, see `draw_singer`.
    seed : int
        Default: 0.
    seconds : float
        Without rests. Default: 24.
    rests : sequence of (float, float)
        See `with_rests`. Default: none.

    Returns
    -------
    np.ndarray (voices, samples), float32
    """
    voices = [
        render_clip(
            [seed, k],
            seconds,
            singer=draw_singer(
                np.random.default_rng([seed, k]), str(k), voice_type=kind
            ),
            noise_db=False,
            reverb=False,
            band=False,
            sample_rate=RATE,
        ).voice
        for k, kind in enumerate(kinds)
    ]
    return with_rests(np.stack(voices), rests)
