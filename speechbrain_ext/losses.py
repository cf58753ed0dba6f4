"""Losses of the trainable systems."""

import torch
from torch.nn import functional

from speechbrain_ext.frames import UNKNOWN


def note_losses(head, logits, targets, mask, onset_positive_weight=15.0):
    """Loss terms of frame-wise note transcription.

    Binary cross-entropy for onset (positive frames weighted) and silence,
    cross-entropy for each pitch part; each is the mean over valid frames whose
    target is known, as in Gu et al. (ACM TOMM 2024).

    Arguments
    ---------
    head : NoteHead or MelodyHead
        Knows how the logits are laid out.
    logits : torch.Tensor (batch, frames, outputs)
    targets : dict
        "onset" and "silence", float (batch, frames), NaN where unknown;
        "pitch", int64 (batch, frames) of MIDI numbers with -1 in silence and
        -100 where unknown.
    mask : torch.Tensor (batch, frames) of bool
        True = valid.
    onset_positive_weight : float
        Weight of onset frames. Default: 15.

    Returns
    -------
    dict of str to torch.Tensor
        Scalars "onset", "silence" and "pitch", or "octave" and "pitch_class".

    Example
    -------
    >>> from speechbrain_ext.heads import NoteHead
    >>> head = NoteHead(4)
    >>> targets = {
    ...     "onset": torch.zeros(1, 3),
    ...     "silence": torch.ones(1, 3),
    ...     "pitch": torch.full((1, 3), -1),
    ... }
    >>> mask = torch.ones(1, 3, dtype=torch.bool)
    >>> sorted(note_losses(head, torch.zeros(1, 3, 63), targets, mask))
    ['onset', 'pitch', 'silence']
    """
    onset, silence, parts = head.split(logits.float())
    terms = {
        "onset": _binary(
            onset,
            targets["onset"],
            mask,
            torch.as_tensor(onset_positive_weight, device=logits.device),
        ),
        "silence": _binary(silence, targets["silence"], mask),
    }
    names = ["pitch"] if len(parts) == 1 else ["octave", "pitch_class"]
    classes = head.classes(targets["pitch"])
    for name, part, target in zip(names, parts, classes, strict=True):
        target = target.masked_fill(~mask, UNKNOWN)
        loss = functional.cross_entropy(
            part.transpose(1, 2), target, reduction="sum", ignore_index=UNKNOWN
        )
        terms[name] = loss / (target != UNKNOWN).sum().clamp(min=1)
    return terms


def contour_losses(head, logits, f0, mask, width=0.25):
    """Loss terms of the fundamental frequency.

    Binary cross-entropy for voicing, and the cross-entropy between the pitch
    bins and a normal distribution around the true pitch, as in CREPE (Kim et
    al., ICASSP 2018) but over one softmax; each is the mean over valid frames
    whose target is known.

    Arguments
    ---------
    head : MelodyHead
        Knows how the logits are laid out.
    logits : torch.Tensor (batch, frames, outputs)
    f0 : torch.Tensor (batch, frames)
        MIDI numbers, 0 where unvoiced, NaN where unknown.
    mask : torch.Tensor (batch, frames) of bool
        True = valid.
    width : float
        Standard deviation of the target in semitones. Default: 0.25.

    Returns
    -------
    dict of str to torch.Tensor
        Scalars "voicing" and "contour".

    Example
    -------
    >>> from speechbrain_ext.heads import MelodyHead
    >>> head = MelodyHead(308)
    >>> logits, mask = torch.zeros(1, 3, 243), torch.ones(1, 3).bool()
    >>> f0 = torch.tensor([[60.0, 0.0, torch.nan]])
    >>> terms = contour_losses(head, logits, f0, mask)
    >>> round(terms["voicing"].item(), 3), round(terms["contour"].item(), 3)
    (0.693, 5.193)
    """
    voicing, contour = head.contour(logits.float())
    voiced = torch.where(f0.isnan(), f0, (f0 > 0).to(f0.dtype))
    terms = {"voicing": _binary(voicing, voiced, mask)}
    at = head.bins(f0)
    known = mask & (f0 > 0) & (at > -0.5) & (at < head.n_bins - 0.5)
    bins = torch.arange(head.n_bins, device=logits.device)
    spread = width * head.n_bins / head.n_pitches
    target = -0.5 * ((bins - at[known][:, None]) / spread) ** 2
    loss = functional.cross_entropy(
        contour[known], target.softmax(1), reduction="sum"
    )
    terms["contour"] = loss / known.sum().clamp(min=1)
    return terms


def _binary(logit, target, mask, weight=None):
    """Mean binary cross-entropy over valid frames with a known target."""
    known = mask & ~target.isnan()
    loss = functional.binary_cross_entropy_with_logits(
        logit, target.nan_to_num(), pos_weight=weight, reduction="none"
    )
    return (loss * known).sum() / known.sum().clamp(min=1)
