"""Heads and losses, with values worked out by hand."""

import math

import pytest
import torch

from speechbrain_ext.errors import ConfigError
from speechbrain_ext.heads import IGNORED, NoteHead
from speechbrain_ext.losses import note_losses


def test_published_head_has_20_outputs():
    head = NoteHead(1024, pitch="octave_class", low=36, n_pitches=48)
    assert head.output_size == 20
    assert sum(p.numel() for p in head.parameters()) == 20500


def test_classes_of_both_kinds():
    pitch = torch.tensor([36, 47, 48, 83, 84, 35, -1])
    octave, pitch_class = NoteHead(
        1, pitch="octave_class", low=36, n_pitches=48
    ).classes(pitch)
    assert octave.tolist() == [0, 0, 1, 3, IGNORED, IGNORED, 4]
    assert pitch_class.tolist() == [0, 11, 0, 11, IGNORED, IGNORED, 12]
    (semitone,) = NoteHead(1, low=36, n_pitches=48).classes(pitch)
    assert semitone.tolist() == [0, 11, 12, 47, IGNORED, IGNORED, 48]


@pytest.mark.parametrize("kind", ["semitone", "octave_class"])
def test_posteriors_point_at_the_pitch(kind):
    head = NoteHead(1, pitch=kind, low=36, n_pitches=48)
    logits = torch.zeros(3, head.output_size)
    _, _, parts = head.split(logits)
    for part, target in zip(
        parts, head.classes(torch.tensor([36, 61, 83])), strict=True
    ):
        part[torch.arange(3), target] = 5.0
    posteriors = head.posteriors(logits)
    assert (posteriors.low + posteriors.pitch.argmax(1)).tolist() == [
        36,
        61,
        83,
    ]
    assert posteriors.onset.tolist() == [0.5] * 3
    # "None" takes no probability: the semitones of a frame sum to 1.
    total = torch.from_numpy(posteriors.pitch).exp().sum(1)
    assert torch.allclose(total, torch.ones(3), atol=1e-6)


def test_losses_of_indifferent_logits():
    head = NoteHead(4, pitch="octave_class", low=36, n_pitches=48)
    targets = {
        "onset": torch.tensor([[1.0, 0.0, 0.0]]),
        "silence": torch.tensor([[0.0, 0.0, 1.0]]),
        "pitch": torch.tensor([[60, 60, -1]]),
    }
    mask = torch.tensor([[True, True, True]])
    terms = note_losses(head, torch.zeros(1, 3, 20), targets, mask, 15.0)
    half = math.log(2)
    assert terms["onset"].item() == pytest.approx((15 + 2) * half / 3)
    assert terms["silence"].item() == pytest.approx(half)
    assert terms["octave"].item() == pytest.approx(math.log(5))
    assert terms["pitch_class"].item() == pytest.approx(math.log(13))


def test_masked_frames_and_unknown_pitches_do_not_count():
    head = NoteHead(4)
    logits = torch.randn(2, 5, head.output_size)
    targets = {
        "onset": torch.rand(2, 5),
        "silence": torch.rand(2, 5),
        "pitch": torch.randint(33, 92, (2, 5)),
    }
    mask = torch.tensor([[True] * 5, [True, True, False, False, False]])
    expected = note_losses(head, logits, targets, mask)
    changed = {k: v.clone() for k, v in targets.items()}
    for value in changed.values():
        value[1, 2:] = 1
    logits[1, 2:] = 100.0
    got = note_losses(head, logits, changed, mask)
    assert all(torch.equal(expected[k], got[k]) for k in expected)
    # A batch whose pitches the head does not know has no pitch loss.
    targets["pitch"][:] = 120
    assert note_losses(head, logits, targets, mask)["pitch"].item() == 0.0


@pytest.mark.parametrize(
    "options", [{"pitch": "hertz"}, {"pitch": "octave_class", "low": 33}]
)
def test_impossible_heads_are_refused(options):
    with pytest.raises(ConfigError):
        NoteHead(4, **options)
