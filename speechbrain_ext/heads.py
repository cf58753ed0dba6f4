"""Heads: from encoder features to frame-wise note posteriors."""

import torch
from torch import nn
from torch.nn import functional

from speechbrain_ext.encoders.spectral import BINS_PER_SEMITONE, peak_position
from speechbrain_ext.errors import ConfigError
from speechbrain_ext.frames import UNKNOWN, UNVOICED, FramePosteriors


def mismatch(encoder, head):
    """What keeps a head from working on an encoder's output.

    Arguments
    ---------
    encoder, head : torch.nn.Module

    Returns
    -------
    str or None
        One line with the two numbers; None if they fit.

    Example
    -------
    >>> from speechbrain_ext.encoders.spectral import HarmonicEncoder
    >>> mismatch(HarmonicEncoder(low=36), MelodyHead(492, low=33))
    'the low of the encoder is 36 but that of the head is 33'
    """
    if encoder.output_size != head.input_size:
        return (
            f"the encoder gives {encoder.output_size} channels but the head "
            f"takes {head.input_size}"
        )
    if isinstance(head, MelodyHead):
        for name in ("low", "n_pitches"):
            theirs, own = getattr(encoder, name, None), getattr(head, name)
            if theirs != own:
                return (
                    f"the {name} of the encoder is {theirs} but that of the "
                    f"head is {own}"
                )
    return None


class _Head(nn.Module):
    """What all heads share."""

    def posteriors(self, logits) -> FramePosteriors:
        """`outputs` as the decoder takes them.

        Arguments
        ---------
        logits : torch.Tensor (frames, output_size)
            Of one recording.

        Returns
        -------
        FramePosteriors
            Float32 arrays.
        """
        outputs = self.outputs(logits.detach().float().cpu())
        arrays = {name: value.numpy() for name, value in outputs.items()}
        return FramePosteriors(low=self.low, **arrays)


class NoteHead(_Head):
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
        self.input_size = input_size
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
            part = part.masked_fill(outside, UNKNOWN)
            targets.append(part.masked_fill(pitch == UNVOICED, size - 1))
        return targets

    def outputs(self, logits):
        """Probabilities for the decoder.

        Arguments
        ---------
        logits : torch.Tensor (..., output_size)

        Returns
        -------
        dict of str to torch.Tensor (...) or (..., n_pitches)
            By the names of `frames.FramePosteriors`. The log-probability of a
            semitone is renormalised over all classes but "none"; with
            "octave_class" it is the sum of both parts. Where a part says
            "none", the frame is not `voiced`.
        """
        onset, silence, parts = self.split(logits)
        said = [part.argmax(-1) < part.shape[-1] - 1 for part in parts]
        parts = [functional.log_softmax(part[..., :-1], -1) for part in parts]
        if self.pitch == "semitone":
            pitch = parts[0]
        else:
            octave, pitch_class = parts
            pitch = octave[..., :, None] + pitch_class[..., None, :]
            pitch = pitch.flatten(-2)
        return {
            "onset": torch.sigmoid(onset),
            "silence": torch.sigmoid(silence),
            "pitch": pitch,
            "voiced": torch.stack(said).all(0),
        }


class MelodyHead(_Head):
    """Notes and the fundamental frequency, with an encoder's evidence.

    A linear layer on the encoder's context, to whose pitch parts the evidence
    that `encoders.spectral.HarmonicEncoder` gives for each pitch is added,
    scaled by learned factors.

    Arguments
    ---------
    input_size : int
        Channels of the features: context, then evidence, 5 channels for each
        semitone.
    low : int
        Lowest MIDI number the head knows. Default: 33 (A1, 55 Hz).
    n_pitches : int
        Number of semitones from there on. Default: 60, up to 92 (G#6).

    Raises
    ------
    ConfigError
        If the evidence leaves no room for context.

    Example
    -------
    >>> head = MelodyHead(492)
    >>> head(torch.zeros(2, 250, 492)).shape
    torch.Size([2, 250, 243])
    """

    def __init__(self, input_size, low=33, n_pitches=60):
        super().__init__()
        self.low = low
        self.n_pitches = n_pitches
        self.n_bins = BINS_PER_SEMITONE * n_pitches
        evidence = self.n_bins + 2 * n_pitches
        if input_size <= evidence:
            raise ConfigError(
                f"input_size is {input_size} but the evidence for {n_pitches} "
                f"semitones takes {evidence}: take the output_size of a "
                "HarmonicEncoder"
            )
        self.input_size = input_size
        self.sizes = [1, 1, n_pitches, 1, self.n_bins]
        self.output_size = sum(self.sizes)
        self.linear = nn.Linear(input_size - evidence, self.output_size)
        self.note_scale = nn.Parameter(torch.ones(2))
        self.frame_scale = nn.Parameter(torch.ones(1))

    def forward(self, feats):
        """Logits of all parts.

        Arguments
        ---------
        feats : torch.Tensor (batch, frames, input_size)

        Returns
        -------
        torch.Tensor (batch, frames, output_size)
            Onset, silence, semitone of the note, voicing, and pitch of the
            frame in thirds of a semitone.
        """
        context = self.linear.in_features
        frame, note = feats[..., context:].split(
            [self.n_bins, 2 * self.n_pitches], dim=-1
        )
        note = note.unflatten(-1, (2, self.n_pitches))
        onset, silence, pitch, voicing, contour = self.linear(
            feats[..., :context]
        ).split(self.sizes, dim=-1)
        pitch = pitch + (note * self.note_scale[:, None]).sum(-2)
        contour = contour + self.frame_scale * frame
        return torch.cat([onset, silence, pitch, voicing, contour], dim=-1)

    def split(self, logits):
        """Parts of the logits that describe notes.

        Arguments
        ---------
        logits : torch.Tensor (..., output_size)

        Returns
        -------
        onset : torch.Tensor (...)
        silence : torch.Tensor (...)
        pitch : list of torch.Tensor (..., n_pitches)
            One tensor.
        """
        onset, silence, pitch, _, _ = logits.split(self.sizes, dim=-1)
        return onset.squeeze(-1), silence.squeeze(-1), [pitch]

    def contour(self, logits):
        """Parts of the logits that describe the fundamental frequency.

        Arguments
        ---------
        logits : torch.Tensor (..., output_size)

        Returns
        -------
        voicing : torch.Tensor (...)
        contour : torch.Tensor (..., 3 * n_pitches)
            The centre of bin j is `low + (j - 1) / 3` as a MIDI number.
        """
        _, _, _, voicing, contour = logits.split(self.sizes, dim=-1)
        return voicing.squeeze(-1), contour

    def bins(self, f0):
        """Positions of pitches on the axis of the contour.

        Arguments
        ---------
        f0 : torch.Tensor (...)
            MIDI numbers.

        Returns
        -------
        torch.Tensor (...)
            Whole at the centre of a bin.
        """
        return (f0 - self.low) * BINS_PER_SEMITONE + BINS_PER_SEMITONE // 2

    def classes(self, pitch):
        """Class targets of the semitone part.

        Arguments
        ---------
        pitch : torch.Tensor (...) int64
            MIDI numbers, -1 in silence (`frames.FrameTargets.pitch`).

        Returns
        -------
        list of torch.Tensor (...) int64
            One tensor; -100, which a cross-entropy skips, in silence and
            where the pitch lies outside the range of the head.
        """
        relative = pitch - self.low
        outside = (relative < 0) | (relative >= self.n_pitches)
        return [relative.masked_fill(outside, UNKNOWN)]

    def outputs(self, logits):
        """Probabilities for the decoder.

        Arguments
        ---------
        logits : torch.Tensor (..., output_size)

        Returns
        -------
        dict of str to torch.Tensor (...) or (..., n_pitches)
            By the names of `frames.FramePosteriors`. The frequency is that of
            the highest peak (`encoders.spectral.peak_position`).
        """
        onset, silence, (pitch,) = self.split(logits)
        voicing, contour = self.contour(logits)
        at = peak_position(contour)[0] - BINS_PER_SEMITONE // 2
        return {
            "onset": torch.sigmoid(onset),
            "silence": torch.sigmoid(silence),
            "pitch": functional.log_softmax(pitch, -1),
            "voicing": torch.sigmoid(voicing),
            "f0": self.low + at / BINS_PER_SEMITONE,
        }
