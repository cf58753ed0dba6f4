"""Losses of the trainable systems."""

import torch
from torch.nn import functional

from speechbrain_ext.heads import IGNORED


def note_losses(head, logits, targets, mask, onset_positive_weight=15.0):
    """Loss terms of frame-wise note transcription.

    Binary cross-entropy for onset (positive frames weighted) and silence,
    cross-entropy for each pitch part; each is the mean over valid frames, as
    in Gu et al. (ACM TOMM 2024).

    Arguments
    ---------
    head : NoteHead
        Knows how the logits are laid out.
    logits : torch.Tensor (batch, frames, outputs)
    targets : dict
        "onset" and "silence", float (batch, frames); "pitch", int64 (batch,
        frames) of MIDI numbers with -1 in silence.
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
    count = mask.sum().clamp(min=1)

    def binary(logit, target, weight=None):
        loss = functional.binary_cross_entropy_with_logits(
            logit, target, pos_weight=weight, reduction="none"
        )
        return (loss * mask).sum() / count

    terms = {
        "onset": binary(
            onset,
            targets["onset"],
            torch.as_tensor(onset_positive_weight, device=logits.device),
        ),
        "silence": binary(silence, targets["silence"]),
    }
    names = ["pitch"] if len(parts) == 1 else ["octave", "pitch_class"]
    classes = head.classes(targets["pitch"])
    for name, part, target in zip(names, parts, classes, strict=True):
        target = target.masked_fill(~mask, IGNORED)
        loss = functional.cross_entropy(
            part.transpose(1, 2), target, reduction="sum", ignore_index=IGNORED
        )
        terms[name] = loss / (target != IGNORED).sum().clamp(min=1)
    return terms
