"""Heads and losses, with values worked out by hand."""

import math

import pytest
import torch

from speechbrain_ext.errors import ConfigError
from speechbrain_ext.frames import UNKNOWN
from speechbrain_ext.heads import MelodyHead, NoteHead
from speechbrain_ext.losses import contour_losses, note_losses


def test_published_head_has_20_outputs():
    head = NoteHead(1024, pitch="octave_class", low=36, n_pitches=48)
    assert head.output_size == 20
    assert sum(p.numel() for p in head.parameters()) == 20500


def test_classes_of_both_kinds():
    pitch = torch.tensor([36, 47, 48, 83, 84, 35, -1])
    octave, pitch_class = NoteHead(
        1, pitch="octave_class", low=36, n_pitches=48
    ).classes(pitch)
    assert octave.tolist() == [0, 0, 1, 3, UNKNOWN, UNKNOWN, 4]
    assert pitch_class.tolist() == [0, 11, 0, 11, UNKNOWN, UNKNOWN, 12]
    (semitone,) = NoteHead(1, low=36, n_pitches=48).classes(pitch)
    assert semitone.tolist() == [0, 11, 12, 47, UNKNOWN, UNKNOWN, 48]


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


# ---- unknown targets ----------------------------------------------------


@pytest.mark.parametrize(
    "head",
    [
        NoteHead(4),
        NoteHead(4, pitch="octave_class", low=36, n_pitches=48),
        MelodyHead(308),
    ],
    ids=["semitone", "octave_class", "melody"],
)
def test_unknown_frames_do_not_count(head):
    """The loss is that of the frames whose target is known, and only those."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 6, head.output_size, generator=generator)
    targets = {
        "onset": torch.tensor([[1.0, 0.0, 0.3, 0.0, 0.0, 0.0]]),
        "silence": torch.tensor([[0.0, 0.0, 0.0, 1.0, 0.0, 1.0]]),
        "pitch": torch.tensor([[60, 60, 61, -1, 83, -1]]),
    }
    mask = torch.ones(1, 6, dtype=torch.bool)
    kept = torch.tensor([0, 3, 4])
    expected = note_losses(
        head,
        logits[:, kept],
        {name: target[:, kept] for name, target in targets.items()},
        mask[:, kept],
    )
    dropped = torch.tensor([1, 2, 5])
    targets["onset"][:, dropped] = torch.nan
    targets["silence"][:, dropped] = torch.nan
    targets["pitch"][:, dropped] = -100
    logits.requires_grad_()
    got = note_losses(head, logits, targets, mask)
    assert got.keys() == expected.keys()
    for name in expected:
        assert got[name].item() == pytest.approx(expected[name].item())
        assert got[name] > 0.1
    sum(got.values()).backward()
    assert logits.grad.isfinite().all()
    assert (logits.grad[:, dropped] == 0).all()
    assert (logits.grad[:, kept].abs().sum(2) > 0).all()


def test_parts_can_be_unknown_one_by_one():
    targets = {
        "onset": torch.tensor([[torch.nan, 1.0]]),
        "silence": torch.tensor([[0.0, 0.0]]),
        "pitch": torch.tensor([[60, -100]]),
    }
    mask = torch.tensor([[True, True]])
    terms = note_losses(NoteHead(4), torch.zeros(1, 2, 63), targets, mask, 15)
    assert terms["onset"].item() == pytest.approx(15 * math.log(2))
    assert terms["silence"].item() == pytest.approx(math.log(2))
    assert terms["pitch"].item() == pytest.approx(math.log(61))


def test_nothing_known_costs_nothing():
    nothing = {
        "onset": torch.full((1, 3), torch.nan),
        "silence": torch.full((1, 3), torch.nan),
        "pitch": torch.full((1, 3), -100),
    }
    logits = torch.randn(1, 3, 63, requires_grad=True)
    mask = torch.ones(1, 3, dtype=torch.bool)
    terms = note_losses(NoteHead(4), logits, nothing, mask)
    assert [term.item() for term in terms.values()] == [0.0] * 3
    sum(terms.values()).backward()
    assert (logits.grad == 0).all()


# ---- notes and fundamental frequency ------------------------------------


@pytest.fixture
def melody():
    """Head for MIDI 60 to 71: 36 bins, 60 channels of evidence, 4 more."""
    torch.manual_seed(0)
    return MelodyHead(64, low=60, n_pitches=12)


def drawn(head, *contours):
    """Logits (frames, outputs) with these {bin: logit}, all others low."""
    logits = torch.zeros(len(contours), head.output_size)
    _, contour = head.contour(logits)
    contour.fill_(-50.0)
    for frame, bins in enumerate(contours):
        for at, value in bins.items():
            contour[frame, at] = value
    return logits


@pytest.mark.parametrize("input_size", [59, 60])
def test_evidence_without_context_is_refused(input_size):
    with pytest.raises(ConfigError, match=f"{input_size} but .* takes 60"):
        MelodyHead(input_size, low=60, n_pitches=12)
    assert MelodyHead(61, low=60, n_pitches=12).linear.in_features == 1


def test_layout_of_the_melody_head(melody):
    assert melody.output_size == 1 + 1 + 12 + 1 + 36
    assert melody.input_size == 64
    logits = torch.arange(2 * 3 * 51).reshape(2, 3, 51)
    onset, silence, (pitch,) = melody.split(logits)
    voicing, contour = melody.contour(logits)
    assert onset.shape == silence.shape == voicing.shape == (2, 3)
    assert (onset[0, 0], silence[0, 0], voicing[0, 0]) == (0, 1, 14)
    assert pitch[0, 0].tolist() == list(range(2, 14))
    assert contour[0, 0].tolist() == list(range(15, 51))
    assert voicing[1, 2] == 5 * 51 + 14


def test_evidence_reaches_the_logits_with_the_learned_scales(melody):
    with torch.no_grad():
        melody.linear.weight.zero_()
        melody.linear.bias.copy_(torch.arange(51) / 100)
        melody.note_scale.copy_(torch.tensor([2.0, 3.0]))
        melody.frame_scale.fill_(0.5)
    feats = torch.zeros(1, 1, 64)
    feats[..., :4] = 99.0  # context, of weight 0
    feats[..., 4 + 7] = 10.0  # bin 7
    feats[..., 40 + 1] = 1.0  # semitone 1, first kind
    feats[..., 52 + 1] = 10.0  # semitone 1, second kind
    feats[..., 52 + 11] = 100.0  # semitone 11, second kind
    added = melody(feats)[0, 0].detach() - torch.arange(51) / 100
    expected = torch.zeros(51)
    expected[15 + 7] = 0.5 * 10
    expected[2 + 1] = 2 * 1 + 3 * 10
    expected[2 + 11] = 3 * 100
    assert torch.allclose(added, expected, atol=1e-5)


def test_context_reaches_every_logit(melody):
    feats = torch.zeros(1, 1, 64)
    silent = melody(feats)
    feats[..., 3] = 1.0
    change = melody(feats) - silent
    assert torch.allclose(change[0, 0], melody.linear.weight[:, 3], atol=1e-6)
    assert (change != 0).all()


def test_bins_and_classes_of_the_melody_head(melody):
    f0 = torch.tensor([60.0, 60 + 1 / 3, 60 - 1 / 3, 71.0, 60.5])
    assert torch.allclose(
        melody.bins(f0), torch.tensor([1.0, 2.0, 0.0, 34.0, 2.5]), atol=1e-4
    )
    pitch = torch.tensor([[59, 60, 71, 72], [-1, -100, 127, 66]])
    (classes,) = melody.classes(pitch)
    assert classes.tolist() == [
        [UNKNOWN, 0, 11, UNKNOWN],
        [UNKNOWN, UNKNOWN, UNKNOWN, 6],
    ]


def test_posteriors_of_the_melody_head_by_hand(melody):
    logits = drawn(melody, {1: 0.0})
    logits[0, 0] = math.log(3)  # odds of 3 to 1
    logits[0, 1] = -math.log(4)
    logits[0, 14] = math.log(9)
    logits[0, 2 + 5] = math.log(11)  # against 11 others with odds of 1
    posteriors = melody.posteriors(logits)
    assert posteriors.onset[0] == pytest.approx(0.75)
    assert posteriors.silence[0] == pytest.approx(0.2)
    assert posteriors.voicing[0] == pytest.approx(0.9)
    assert posteriors.low == 60 and posteriors.voiced is None
    assert posteriors.pitch.shape == (1, 12)
    assert math.exp(posteriors.pitch[0, 5]) == pytest.approx(0.5)
    for name in ("onset", "silence", "pitch", "voicing", "f0"):
        assert getattr(posteriors, name).dtype.name == "float32"


CENT = 0.01


@pytest.mark.parametrize(
    ("bins", "midi"),
    [
        ({1: 0.0}, 60.0),
        ({0: 0.0}, 60 - 1 / 3),  # the lowest bin
        ({35: 0.0}, 71 + 1 / 3),  # the highest
        ({4: 0.0, 5: 0.0}, 61 + 1 / 6),  # midway between two
        ({0: 0.0, 1: 0.0}, 60 - 1 / 6),
        ({34: 0.0, 35: 0.0}, 71 + 1 / 6),
        # 3/4 on 61 and 1/4 a third of a semitone above.
        ({4: math.log(3), 5: 0.0}, 61 + 1 / 12),
        # Two bins away counts, three and an octave away does not.
        ({10: math.log(3), 12: 0.0}, 63 + 1 / 6),
        ({10: math.log(3), 13: 0.0}, 63.0),
        ({30: math.log(3), 3: 1.0, 2: 1.0, 4: 1.0}, 69 + 2 / 3),
    ],
)
def test_frequency_of_a_contour_drawn_by_hand(melody, bins, midi):
    posteriors = melody.posteriors(drawn(melody, bins))
    assert posteriors.f0[0] == pytest.approx(midi, abs=CENT)


def test_frequency_of_the_training_target_is_the_pitch():
    """A head that learned its targets by heart is right to a cent."""
    head = MelodyHead(308)
    f0 = torch.arange(33.0, 92.0, 0.037)
    logits = torch.zeros(len(f0), head.output_size)
    _, contour = head.contour(logits)
    distance = torch.arange(180) / 3 + 33 - 1 / 3 - f0[:, None]
    contour.copy_(-0.5 * (distance / 0.25) ** 2)
    error = torch.from_numpy(head.posteriors(logits).f0) - f0
    inner = (f0 > 33 + 1 / 3) & (f0 < 92 - 1 / 3)
    assert error[inner].abs().max() < CENT / 2
    # The bell is cut at the ends of the range.
    assert error.abs().max() < 1.1 * CENT


def test_frames_are_decoded_one_by_one(melody):
    drawings = [{1: 0.0}, {4: 0.0, 5: 0.0}, {35: 0.0}]
    together = melody.posteriors(drawn(melody, *drawings)).f0
    alone = [melody.posteriors(drawn(melody, d)).f0[0] for d in drawings]
    assert together.tolist() == alone
    assert len(melody.posteriors(torch.zeros(0, 51)).f0) == 0


# ---- losses of the fundamental frequency --------------------------------

HALF = math.log(2)


def test_contour_losses_of_indifferent_logits(melody):
    f0 = torch.tensor([[60.0, 0.0, 65.4]])
    mask = torch.ones(1, 3, dtype=torch.bool)
    terms = contour_losses(melody, torch.zeros(1, 3, 51), f0, mask)
    assert terms["voicing"].item() == pytest.approx(HALF)
    assert terms["contour"].item() == pytest.approx(math.log(36))


def test_voicing_loss_by_hand(melody):
    logits = torch.zeros(1, 2, 51)
    logits[..., 14] = math.log(4)  # "voiced" with a probability of 0.8
    mask = torch.ones(1, 2, dtype=torch.bool)
    terms = contour_losses(melody, logits, torch.tensor([[66.0, 0.0]]), mask)
    expected = -(math.log(0.8) + math.log(0.2)) / 2
    assert terms["voicing"].item() == pytest.approx(expected)


def test_contour_loss_by_hand(melody):
    """The target is a normal distribution around the pitch, cut at the edge.

    With a width of one bin and the pitch on bin 0, bin k has the weight
    exp(-k² / 2); the model gives bin 1 the odds of e to 1 to the others.
    """
    logits = torch.zeros(1, 1, 51)
    logits[0, 0, 15 + 1] = 1.0
    f0 = torch.tensor([[60 - 1 / 3]])
    mask = torch.ones(1, 1, dtype=torch.bool)
    terms = contour_losses(melody, logits, f0, mask, width=1 / 3)
    weights = [math.exp(-(k**2) / 2) for k in range(36)]
    share = weights[1] / sum(weights)
    expected = math.log(35 + math.e) - share
    assert terms["contour"].item() == pytest.approx(expected, abs=1e-5)


def test_narrow_targets_are_the_cross_entropy_of_the_bin(melody):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 1, 51, generator=generator)
    f0 = torch.tensor([[65.0]])
    mask = torch.ones(1, 1, dtype=torch.bool)
    terms = contour_losses(melody, logits, f0, mask, width=0.02)
    expected = -logits[0, 0, 15:].log_softmax(0)[3 * 5 + 1]
    assert terms["contour"].item() == pytest.approx(expected.item(), abs=1e-5)


def test_the_right_contour_costs_least(melody):
    """The loss has its minimum, the entropy of the target, at the target."""
    at = torch.arange(36) / 3 + 60 - 1 / 3
    mask = torch.ones(1, 1, dtype=torch.bool)
    f0 = torch.tensor([[65.2]])

    def cost(midi):
        logits = torch.zeros(1, 1, 51)
        logits[0, 0, 15:] = -0.5 * ((at - midi) / 0.25) ** 2
        return contour_losses(melody, logits, f0, mask)["contour"].item()

    costs = [cost(midi) for midi in (64.9, 65.1, 65.2, 65.3, 65.5)]
    assert min(costs) == costs[2]
    # Entropy of a normal distribution 0.75 bins wide.
    entropy = 0.5 * math.log(2 * math.pi * math.e * 0.75**2)
    assert costs[2] == pytest.approx(entropy, abs=1e-3)


def test_unknown_masked_and_distant_frames_do_not_count(melody):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 7, 51, generator=generator)
    f0 = torch.tensor([[64.0, 0.0, torch.nan, 64.0, 59.4, 71.6, 127.0]])
    mask = torch.tensor([[True, True, True, False, True, True, True]])
    logits.requires_grad_()
    terms = contour_losses(melody, logits, f0, mask)
    one = torch.ones(1, 1, dtype=torch.bool)
    contour = contour_losses(melody, logits[:, :1], f0[:, :1], one)["contour"]
    assert terms["contour"].item() == pytest.approx(contour.item())
    # Voiced is voiced, wherever the pitch lies.
    known = [0, 1, 4, 5, 6]
    all_known = torch.ones(1, 5, dtype=torch.bool)
    voicing = contour_losses(melody, logits[:, known], f0[:, known], all_known)
    assert terms["voicing"].item() == pytest.approx(voicing["voicing"].item())
    grad = torch.autograd.grad(sum(terms.values()), logits)[0][0]
    assert grad.isfinite().all()
    assert (grad[[2, 3]] == 0).all()
    assert (grad[1:, 15:] == 0).all() and (grad[0, 15:] != 0).all()
    assert (grad[:, :14] == 0).all()  # the notes are not concerned


@pytest.mark.parametrize("midi", [59.51, 71.49])
def test_pitches_at_the_edges_count(melody, midi):
    logits = torch.zeros(1, 1, 51)
    mask = torch.ones(1, 1, dtype=torch.bool)
    terms = contour_losses(melody, logits, torch.tensor([[midi]]), mask)
    assert terms["contour"].item() == pytest.approx(math.log(36))


@pytest.mark.parametrize("unknown", ["target", "mask"])
def test_contours_without_a_known_frame_cost_nothing(melody, unknown):
    logits = torch.randn(1, 3, 51, requires_grad=True)
    f0 = torch.full((1, 3), torch.nan if unknown == "target" else 66.0)
    mask = torch.full((1, 3), unknown == "target")
    terms = contour_losses(melody, logits, f0, mask)
    assert terms["voicing"].item() == terms["contour"].item() == 0.0
    sum(terms.values()).backward()
    assert (logits.grad == 0).all()


def test_silence_has_a_voicing_loss_only(melody):
    logits = torch.zeros(1, 3, 51)
    mask = torch.ones(1, 3, dtype=torch.bool)
    terms = contour_losses(melody, logits, torch.zeros(1, 3), mask)
    assert terms["voicing"].item() == pytest.approx(HALF)
    assert terms["contour"].item() == 0.0
