"""Heads: from encoder features to frame-wise note posteriors."""

import torch
from torch import nn
from torch.nn import functional

from speechbrain_ext.errors import ConfigError
from speechbrain_ext.frames import UNVOICED, FramePosteriors

# Target of frames that say nothing about pitch, as in torch's cross-entropy.
IGNORED = -100


class NoteHead(nn.Module):
    """Linear layer with an onset, a silence and a pitch part.

    Arguments
    ---------
    input_size : int
        Channels of the features.
    pitch : str
        "semitone": one softmax over all semitones and "none" (default).
        "octave_class": two softmaxes, over octaves and over twelve pitch
        classes, each with "none", as in the MIR-ST500 baseline (Wang and
        Jang, ICASSP 2021) and Gu et al. (ACM TOMM 2024): with the defaults of
        the latter, `low=36` and `n_pitches=48`, 20 outputs.
    low : int
        Lowest MIDI number the head knows. Default: 33 (A1, 55 Hz).
    n_pitches : int
        Number of semitones from there on. Default: 60, up to 92 (G#6).

    Raises
    ------
    ConfigError
        If the pitch part is unknown or an octave is incomplete.

    Example
    -------
    >>> head = NoteHead(8, pitch="octave_class", low=36, n_pitches=48)
    >>> head(torch.zeros(2, 250, 8)).shape
    torch.Size([2, 250, 20])
    """

    def __init__(self, input_size, pitch="semitone", low=33, n_pitches=60):
        super().__init__()
        if pitch not in ("semitone", "octave_class"):
            raise ConfigError(
                f"pitch part {pitch!r} is unknown: choose semitone or "
                "octave_class"
            )
        if pitch == "octave_class" and (n_pitches % 12 or low % 12):
            raise ConfigError(
                f"low {low} and n_pitches {n_pitches} cut an octave: "
                "octave_class needs multiples of 12"
            )
        self.pitch = pitch
        self.low = low
        self.n_pitches = n_pitches
        self.octaves = n_pitches // 12
        sizes = (
            [n_pitches + 1]
            if pitch == "semitone"
            else [self.octaves + 1, 12 + 1]
        )
        self.sizes = sizes
        self.output_size = 2 + sum(sizes)
        self.linear = nn.Linear(input_size, self.output_size)

    def forward(self, feats):
        """Logits of all parts.

        Arguments
        ---------
        feats : torch.Tensor (batch, frames, input_size)

        Returns
        -------
        torch.Tensor (batch, frames, output_size)
            Onset, silence, then the pitch classes, "none" last in each part.
        """
        return self.linear(feats)

    def split(self, logits):
        """Parts of the logits.

        Arguments
        ---------
        logits : torch.Tensor (..., output_size)

        Returns
        -------
        onset : torch.Tensor (...)
        silence : torch.Tensor (...)
        pitch : list of torch.Tensor (..., classes)
            One tensor, or octave and pitch class.
        """
        onset, silence = logits[..., 0], logits[..., 1]
        return onset, silence, list(logits[..., 2:].split(self.sizes, dim=-1))

    def classes(self, pitch):
        """Class targets of the pitch parts.

        Arguments
        ---------
        pitch : torch.Tensor (...) int64
            MIDI numbers, -1 in silence (`frames.FrameTargets.pitch`).

        Returns
        -------
        list of torch.Tensor (...) int64
            One per part; -100, which a cross-entropy skips, where the pitch
            lies outside the range of the head.
        """
        relative = pitch - self.low
        outside = (relative < 0) | (relative >= self.n_pitches)
        parts = (
            [relative]
            if self.pitch == "semitone"
            else [relative.div(12, rounding_mode="floor"), relative % 12]
        )
        targets = []
        for part, size in zip(parts, self.sizes, strict=True):
            part = part.masked_fill(outside, IGNORED)
            targets.append(part.masked_fill(pitch == UNVOICED, size - 1))
        return targets

    def posteriors(self, logits) -> FramePosteriors:
        """Probabilities for the decoder.

        Arguments
        ---------
        logits : torch.Tensor (frames, output_size)
            Of one recording.

        Returns
        -------
        FramePosteriors
            Float32 arrays. The log-probability of a semitone is renormalised
            over all classes but "none"; with "octave_class" it is the sum of
            both parts. Where a part says "none", the frame is not `voiced`.
        """
        logits = logits.detach().float().cpu()
        onset, silence, parts = self.split(logits)
        said = [part.argmax(-1) < part.shape[-1] - 1 for part in parts]
        parts = [functional.log_softmax(part[..., :-1], -1) for part in parts]
        if self.pitch == "semitone":
            pitch = parts[0]
        else:
            octave, pitch_class = parts
            pitch = (octave[:, :, None] + pitch_class[:, None, :]).flatten(1)
        return FramePosteriors(
            torch.sigmoid(onset).numpy(),
            torch.sigmoid(silence).numpy(),
            pitch.numpy(),
            self.low,
            torch.stack(said).all(0).numpy(),
        )
