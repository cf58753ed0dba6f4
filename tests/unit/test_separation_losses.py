"""Losses of separators, against values found by hand."""

import math

import pytest
import torch

from speechbrain_ext.errors import ConfigError
from speechbrain_ext.losses import (
    AbsoluteLoss,
    BinaryMaskLoss,
    MagnitudeLoss,
    WaveformLoss,
)
from speechbrain_ext.separation.codec import STFT
from speechbrain_ext.separation.convolutional import (
    PatchNetwork,
    SlidingPatches,
)
from speechbrain_ext.separation.recurrent import RecurrentNetwork
from speechbrain_ext.separation.separator import MaskSeparator


def noise(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator)


def value(terms):
    return sum(terms.values()).item()


def test_waveform_loss_is_the_error_in_decibels():
    sources = noise(3, 2, 1, 1000)
    loss = WaveformLoss(limit_db=200.0)
    error = 0.1 * noise(3, 2, 1, 1000, seed=1)
    mixture = sources.sum(1, keepdim=True)
    by_hand = 10 * torch.log10(
        error.square().sum((2, 3)) / mixture.square().sum((2, 3))
    )
    assert value(loss.terms(sources + error, sources)) == pytest.approx(
        by_hand.mean().item(), abs=1e-4
    )


def test_waveform_loss_does_not_care_for_level():
    sources, error = noise(2, 2, 1, 800), noise(2, 2, 1, 800, seed=1)
    loss = WaveformLoss(spectral_weight=1.0)
    values = [
        value(loss.terms(g * (sources + error), g * sources))
        for g in (1.0, 0.05, 20.0)
    ]
    assert values == pytest.approx([values[0]] * 3, rel=1e-4)


def test_waveform_loss_has_a_limit_and_takes_silence():
    sources = noise(1, 2, 1, 500)
    loss = WaveformLoss(limit_db=30.0)
    assert value(loss.terms(sources, sources)) == pytest.approx(-30.0)
    sources[:, 0] = 0.0
    estimates = sources.clone().requires_grad_()
    assert value(loss.terms(estimates, sources)) == pytest.approx(-30.0)
    silent = torch.zeros_like(sources)
    total = sum(loss.terms(estimates * 0.5, silent).values())
    total.backward()
    assert torch.isfinite(estimates.grad).all() and torch.isfinite(total)


def test_spectral_term_hears_magnitudes_only():
    sources = noise(1, 2, 1, 4096)
    loss = WaveformLoss(spectral_weight=2.0, transforms=(256,))
    assert loss.terms(sources, sources)["spectral"] == 0
    assert loss.terms(-sources, sources)["spectral"] < 1e-6
    # Twice as loud: the difference is the source itself.
    codec = STFT(256, 64)
    own, both = codec(sources).abs().sum(), codec(sources.sum(1)).abs().sum()
    found = loss.terms(2 * sources, sources)["spectral"]
    # 2 is the weight, and the mean over two sources halves the sum.
    assert found == pytest.approx((own / both).item(), rel=1e-4)


@pytest.mark.parametrize("gamma", [0.0, 0.05, 1.0])
def test_discriminative_loss(gamma):
    sources = torch.tensor([1.0, 5.0]).view(1, 2, 1, 1)
    estimates = torch.tensor([2.0, 3.0]).view(1, 2, 1, 1)
    right = (2 - 1) ** 2 + (3 - 5) ** 2
    crossed = (2 - 5) ** 2 + (3 - 1) ** 2
    found = MagnitudeLoss(gamma=gamma).terms(estimates, sources)
    assert value(found) == pytest.approx(right - gamma * crossed)


def test_discriminative_loss_pushes_away_from_the_other_source():
    sources = torch.tensor([1.0, 2.0]).view(1, 2, 1, 1)
    estimates = sources.clone().requires_grad_()
    value_at = MagnitudeLoss(gamma=0.1).terms(estimates, sources)
    sum(value_at.values()).backward()
    # Downhill the first estimate sinks and the second one rises.
    assert estimates.grad[0, 0] > 0 > estimates.grad[0, 1]


@pytest.mark.parametrize(
    "distance, expected",
    [("mse", 4.0), ("l1", 2.0), ("kl", 1.0 * math.log(1 / 3) - 1.0 + 3.0)],
)
def test_distances(distance, expected):
    sources = torch.tensor([1.0, 1.0]).view(1, 2, 1, 1)
    estimates = torch.tensor([3.0, 1.0]).view(1, 2, 1, 1)
    found = MagnitudeLoss(distance=distance).terms(estimates, sources)
    assert value(found) == pytest.approx(expected, abs=1e-6)


def separator(**options):
    torch.manual_seed(3)
    network = RecurrentNetwork(33, 6, ("dense", "gru"), **options)
    return MaskSeparator(network, n_fft=64, hop_length=16)


def test_crops_are_seen_each_for_itself():
    model, sources = separator(), noise(2, 2, 1, 16 * 33)
    mixture = sources.sum(1)
    seen = []
    model.network.register_forward_hook(lambda m, i, o: seen.append(i[0]))
    loss = MagnitudeLoss(crop_frames=10, edge_frames=2)
    found = value(loss(model, mixture, sources))
    # 34 frames without 2 + 2 are three crops.
    assert seen[0].shape == (6, 10, 33)
    spec, targets = model.codec(mixture), model.codec(sources).abs()
    assert torch.equal(seen[0][1], spec[0, 0, 12:22])
    by_hand = []
    for item in range(2):
        for first in (2, 12, 22):
            place = (item, slice(None), slice(first, first + 10))
            crop = spec[place][None]
            masked = model.masks(crop)[0, :, 0] * crop[0, 0].abs()
            target = targets[item, :, 0, first : first + 10]
            by_hand.append((masked - target).square().sum(0).mean())
    assert found == pytest.approx(torch.stack(by_hand).mean().item(), rel=1e-4)


def test_errors():
    with pytest.raises(ConfigError, match="'huber': use one of mse, l1, kl"):
        MagnitudeLoss(distance="huber")
    sources = noise(1, 2, 1, 160)
    with pytest.raises(ConfigError, match="has 7 frames .* crop_frames is 10"):
        MagnitudeLoss(crop_frames=10, edge_frames=2)(
            separator(), sources.sum(1), sources
        )


# --- binary masks -----------------------------------------------------------


def entropy(probability, target):
    rest = (1 - target) * math.log(1 - probability)
    return -target * math.log(probability) - rest


def test_binary_entropy_by_hand():
    logits = torch.tensor([[0.0, math.log(3), -math.log(3)]])
    label = torch.tensor([[1.0, 1.0, 0.0]])
    loss = BinaryMaskLoss(smoothing=0.02)
    by_hand = [math.log(2), entropy(0.75, 0.98), entropy(0.25, 0.02)]
    assert value(loss.terms(logits, label)) == pytest.approx(sum(by_hand) / 3)
    # The loud bin counts for itself alone.
    loud = torch.tensor([[0.0, 5.0, 0.0]])
    weighted = BinaryMaskLoss(smoothing=0.02, weighted=True)
    assert value(weighted.terms(logits, label, loud)) == pytest.approx(
        by_hand[1]
    )


def patch_separator(level="published", padded=True):
    torch.manual_seed(4)
    network = SlidingPatches(PatchNetwork(33, 3, 0.0, padded), level=level)
    return MaskSeparator(network, n_fft=64, hop_length=16)


@pytest.mark.parametrize("padded", [True, False])
def test_patches_and_their_labels_belong_together(padded):
    model, sources = (
        patch_separator("relative", padded).eval(),
        noise(2, 2, 2, 500),
    )
    seen = []
    model.network.patches.register_forward_hook(
        lambda module, given, logits: seen.append((given[0], logits))
    )
    loss = BinaryMaskLoss(smoothing=0.0, hop=8)
    found = value(loss(model, sources.sum(1), sources))
    ((patches, logits),) = seen
    # 32 frames of two channels of two items: patches around 0, 8, 16, 24.
    size = 3 if padded else 11
    assert patches.shape == (4 * 4, size, 33)
    spec = model.codec(sources.sum(1))[1, 0]
    scaled = spec.abs() / model.network.level(spec[None])[0]
    around = slice(16 - size // 2, 17 + size // 2)
    torch.testing.assert_close(patches[2 * 4 + 2], scaled[around])
    voice, band = model.codec(sources).abs().unbind(1)
    label = (voice > band).float().flatten(0, 1)
    label = torch.nn.functional.pad(label, (0, 0, 1, 1))
    label = torch.stack([label[:, k : k + 3] for k in (0, 8, 16, 24)], 1)
    by_hand = torch.nn.functional.binary_cross_entropy(
        logits.sigmoid(), label.flatten(0, 1)
    )
    assert found == pytest.approx(by_hand.item(), rel=1e-5)


def test_some_patches_of_each_step():
    model, sources = patch_separator(), noise(1, 2, 1, 500)
    sizes = []
    model.network.patches.register_forward_hook(
        lambda module, given, logits: sizes.append(len(logits))
    )
    loss = BinaryMaskLoss(hop=1, patches_per_step=5)
    torch.manual_seed(0)
    found = [value(loss(model, sources.sum(1), sources)) for _ in range(2)]
    assert found[0] != found[1]
    torch.manual_seed(0)
    assert value(loss(model, sources.sum(1), sources)) == found[0]
    # Validation sees them all.
    model.eval()
    value(loss(model, sources.sum(1), sources))
    assert sizes == [5, 5, 5, 32]


def test_an_auto_encoder_first():
    model, sources = patch_separator().eval(), noise(1, 2, 1, 500)
    seen = []
    model.network.patches.register_forward_hook(
        lambda module, given, logits: seen.append(given[0])
    )
    loss = BinaryMaskLoss(hop=32, autoencoder_epochs=2)
    for epoch in (1, 2, 3, None):
        loss(model, sources.sum(1), sources, epoch)
    voice, band = model.codec(sources)[0, :, 0].abs()
    masked = voice * (voice > band)
    for heard, frames in zip(
        seen,
        [masked, masked, *[model.codec(sources.sum(1))[0, 0].abs()] * 2],
        strict=True,
    ):
        torch.testing.assert_close(heard[0, 1:], frames[:2])


def test_mistakes_in_binary_masks():
    with pytest.raises(ConfigError, match="'noise': use one of accompaniment"):
        BinaryMaskLoss("noise")
    with pytest.raises(ConfigError, match="smoothing is 0.5: use 0 or more"):
        BinaryMaskLoss(smoothing=0.5)


# --- absolute error ---------------------------------------------------------


def test_absolute_error_by_hand():
    sources = noise(2, 2, 1, 1000)
    estimates = sources.clone()
    estimates[0, 0] += 0.2
    terms = AbsoluteLoss(windows=(64,), hop_length=16).terms(estimates, sources)
    assert terms["samples"].item() == pytest.approx(0.05)
    error = STFT(64, 16)(estimates - sources)
    spectra = terms["spectra"].item()
    assert spectra == pytest.approx(error.abs().mean().item())
    double = AbsoluteLoss(2.0, (64, 64), 16).terms(estimates, sources)
    assert double["spectra"].item() == pytest.approx(
        4 * terms["spectra"].item()
    )
    assert value(AbsoluteLoss().terms(sources, sources)) == 0
