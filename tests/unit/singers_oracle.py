"""A separator that knows the answer, but not in which order to give it."""

import numpy as np
import torch
from torch import nn

from data_prep.minisinging.choir import render_choir
from data_prep.minisinging.clip import render_clip
from data_prep.minisinging.singer import draw_singer
from speechbrain_ext.separation.separator import MaskSeparator

RATE = 16000


class Oracle(nn.Module):
    """Ideal complex masks of known sources, in random order per chunk.

    Finds its place in the recording by looking for the chunk's frames.
    """

    context_frames = None

    def __init__(self, sources, codec, seed=0, leak=0.0, shuffle=True):
        super().__init__()
        self.leak, self.shuffle = leak, shuffle
        self.rng = np.random.default_rng(seed)
        self.spec = codec(torch.from_numpy(sources))
        self.mixture = codec(torch.from_numpy(sources.sum(0)))
        self.places = {
            row.tobytes(): k
            for k, row in enumerate(self.mixture.numpy())
            if row.any()
        }
        self.calls, self.orders, self.longest = [], [], 0

    def place(self, spec):
        for offset, row in enumerate(spec.numpy()):
            if row.any():
                return self.places[row.tobytes()] - offset
        return None

    def forward(self, spec):
        self.calls.append(tuple(spec.shape))
        self.longest = max(self.longest, spec.shape[1])
        out = []
        voices = len(self.spec)
        for item in spec:
            order = np.arange(voices)
            if self.shuffle:
                order = self.rng.permutation(voices)
            self.orders.append(order)
            place = self.place(item)
            masks = torch.full((voices, *item.shape), 1 / voices) + 0j
            if place is not None:
                own = self.spec[:, place : place + len(item)]
                heard = self.mixture[place : place + len(item)]
                loud = heard.abs() > 0
                masks[:, loud] = own[:, loud] / heard[loud]
            mean = masks.mean(0, keepdim=True)
            masks = masks + self.leak * (mean - masks)
            out.append(masks[order])
        return torch.stack(out)


def separator(sources, **settings):
    """The oracle as a separator, at 16 kHz."""
    names = [f"output{k}" for k in range(len(sources))]
    made = MaskSeparator(nn.Identity(), names, RATE, 1024, 256)
    made.network = Oracle(sources, made.codec, **settings)
    return made.eval()


def with_rests(voices, rests):
    """Voices (voices, samples) with silence put in.

    `rests` are pairs of seconds: where, and for how long.
    """
    voices = np.array(voices, np.float32)
    for at, seconds in sorted(rests, reverse=True):
        at, length = round(at * RATE), round(seconds * RATE)
        fade = np.linspace(1, 0, 400, dtype=np.float32)
        voices[:, at - 400 : at] *= fade
        voices[:, at : at + 400] *= fade[::-1]
        rest = np.zeros((len(voices), length), np.float32)
        voices = np.concatenate([voices[:, :at], rest, voices[:, at:]], axis=1)
    return voices


def choir(seed, task="duet", n_voices=2, seconds=24.0, rests=()):
    """A choir of MiniSinging with rests in which all are silent."""
    made = render_choir(seed, seconds, task, n_voices, sample_rate=RATE)
    return with_rests(made.voices, rests)


def people(kinds, seed=0, seconds=24.0, rests=()):
    """Voices of some types that sing songs of their own."""
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
