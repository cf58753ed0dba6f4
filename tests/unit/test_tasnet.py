"""Networks that tell singers apart: sizes, masks, what a frame depends on."""

import pytest
import torch

from speechbrain_ext.errors import ConfigError
from speechbrain_ext.inference.model_folder import export_model, load_model
from speechbrain_ext.separation.separator import MaskSeparator
from speechbrain_ext.separation.tasnet import (
    FEATURES,
    MASKS,
    ConvTasNet,
    SepFormer,
    TDCNPlusPlus,
    mixture_consistency,
)

SMALL = {"n_bins": 33, "channels": 4, "hidden": 8, "skip": 6, "n_repeats": 2}
TRANSFORM = {"n_fft": 64, "hop_length": 16, "window": "sqrt_hann"}


def spectrum(frames=20, bins=33, batch=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(
        batch, frames, bins, dtype=torch.cfloat, generator=generator
    )


def network(kind=ConvTasNet, **options):
    torch.manual_seed(0)
    if kind is SepFormer:
        small = {"n_bins": 33, "channels": 8, "chunk_frames": 6, "heads": 2}
        small |= {"n_repeats": 1, "n_layers": 1, "feed_forward": 8}
    else:
        small = SMALL | {"n_blocks": 3}
    return kind(**(small | options)).eval()


def weights(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_published_size():
    whole = ConvTasNet()
    assert weights(whole.first) == 529_156
    assert weights(whole.output) == 1_053_701
    blocks = [block for repeat in whole.repeats for block in repeat]
    assert [weights(block) for block in blocks] == [796_162] * 24
    assert weights(whole) == 20_690_745
    # 1 + 2 * 4 * (1 + 2 + ... + 32) frames, 10.8 s at 24 kHz.
    assert 2 * sum(block.reach for block in blocks) + 1 == 505


def test_three_seconds_are_141_frames_of_1025_bins():
    separator = MaskSeparator(
        network(n_bins=1025), ("a", "b"), 24000, 2048, 512, window="sqrt_hann"
    )
    mixture = torch.randn(1, 1, 72000)
    spec = separator.codec(mixture)
    assert spec.shape == (1, 1, 141, 1025)
    assert separator.network.n_features == 2050
    found = separator.codec.inverse(spec, 72000)
    assert (found - mixture).abs().max() < 1e-5
    assert weights(separator.codec) == 0


@pytest.mark.parametrize("kind", [ConvTasNet, TDCNPlusPlus, SepFormer])
@pytest.mark.parametrize("sources", [2, 3, 5])
def test_sources_add_up_to_the_mixture(kind, sources):
    names = [f"singer{k}" for k in range(sources)]
    net = network(kind, n_sources=sources)
    separator = MaskSeparator(net, names, **TRANSFORM).double().eval()
    mixture = torch.randn(2, 1, 500, dtype=torch.float64)
    estimates = separator(mixture)
    assert estimates.shape == (2, sources, 1, 500)
    assert (estimates.sum(1) - mixture).abs().max() < 1e-6
    assert (estimates[:, 0] - estimates[:, 1]).abs().max() > 1e-3
    loose = network(kind, n_sources=sources, consistent=False)
    said = loose(spectrum()).sum(1)
    assert (said - 1).abs().max() > 1e-2


def test_consistent_masks_are_consistent_signals():
    """Sharing what is missing may be done before or after the transform."""
    loose = network(consistent=False)
    separator = MaskSeparator(loose, ("a", "b"), **TRANSFORM)
    mixture = torch.randn(2, 1, 500)
    after = mixture_consistency(separator(mixture), mixture)
    separator.network = network(consistent=True)
    torch.testing.assert_close(separator(mixture), after, atol=1e-5, rtol=0)


def test_a_mask_of_parts_multiplies_the_parts():
    net = network(consistent=False)
    spec = spectrum()
    said = net.body(net.heard(spec)).unflatten(1, (2, 2, 33)).mT
    found = net(spec) * spec.unsqueeze(1)
    torch.testing.assert_close(found.real, said[:, :, 0] * spec.real[:, None])
    torch.testing.assert_close(found.imag, said[:, :, 1] * spec.imag[:, None])


@pytest.mark.parametrize("features", FEATURES)
@pytest.mark.parametrize("mask", MASKS)
def test_features_and_masks(features, mask):
    net = network(features=features, mask=mask, norm="frame")
    spec = spectrum()
    masks = net(spec)
    assert masks.shape == (2, 2, 20, 33)
    assert masks.is_complex() == (mask != "real")
    # Neither silence nor the level is any trouble.
    spec[:, 5:9] = 0
    assert torch.isfinite(net(spec).abs()).all()
    assert torch.isfinite(net(torch.zeros_like(spec)).abs()).all()
    for gain in (1e-2, 100.0):
        torch.testing.assert_close(
            net(gain * spec), net(spec), atol=2e-3, rtol=0
        )


def test_activations():
    options = {"mask": "real", "consistent": False}
    spec = 1000 * spectrum()
    limits = {"sigmoid": (0, 1), "tanh": (-1, 1), "relu": (0, torch.inf)}
    for name, (low, high) in limits.items():
        masks = network(activation=name, **options)(spec)
        assert masks.min() >= low and masks.max() <= high
    assert network(activation="linear", **options)(spec).min() < 0


@pytest.mark.parametrize("kind", [ConvTasNet, TDCNPlusPlus])
def test_normalised_frame_by_frame_it_hears_its_context_alone(kind):
    net = network(kind, norm="frame")
    reach = net.context_frames
    assert reach == 2 * (1 + 2 + 4)
    spec = spectrum(frames=3 * reach)
    masks = net(spec)
    here = reach + 3
    for touched in (here - reach - 1, here + reach + 1):
        other = spec.clone()
        other[:, touched] = other[:, touched].flip(1)
        changed = (net(other) - masks).abs().amax((0, 1, 3))
        assert changed[here] == 0
        assert changed[touched] > 1e-4
    level = network(kind, norm="frame", features="log")
    assert level.context_frames == reach + 125


def test_normalised_globally_it_hears_everything():
    """As published: silence that follows changes what is said of before."""
    net = network()
    assert net.context_frames is None
    spec = spectrum()
    longer = torch.cat([spec, torch.zeros(2, 60, 33) + 0j], 1)
    assert (net(longer)[:, :, :5] - net(spec)[:, :, :5]).abs().max() > 1e-3


def test_tdcn_plus_plus_by_hand():
    """One block each: x, then x + dense(x0), each plus scaled residuals."""
    net = network(TDCNPlusPlus, n_blocks=2)
    features = net.heard(spectrum())
    start = net.first(features)
    out, maps = 0, start
    for number in range(2):
        if number:
            maps = maps + net.dense[0](start)
        for place, scale in ((0, 1.0), (1, 0.9)):
            residual, skip = net.repeats[number][place](maps)
            maps, out = maps + scale * residual, out + skip
    torch.testing.assert_close(net.body(features), net.output(out))


@pytest.mark.parametrize("kind", [ConvTasNet, TDCNPlusPlus, SepFormer])
def test_gradients_reach_every_weight_that_learns(kind):
    net = network(kind, consistent=False).train()
    net(spectrum()).abs().sum().backward()
    for name, parameter in net.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name


@pytest.mark.parametrize("length", [1, 100, 1024])
def test_short_signals(length):
    """The published transform cannot take 1024 samples or less."""
    separator = MaskSeparator(
        network(n_bins=1025), ("a", "b"), 24000, 2048, 512, window="sqrt_hann"
    )
    assert separator(torch.ones(1, 1, length)).shape == (1, 2, 1, length)


def test_model_folder(tmp_path):
    text = """\
separator: !new:speechbrain_ext.separation.separator.MaskSeparator
  sources: [main, rest]
  n_fft: 64
  hop_length: 16
  network: !new:speechbrain_ext.separation.tasnet.TDCNPlusPlus
    n_bins: 33
    channels: 4
    hidden: 8
    skip: 6
    n_repeats: 2
    n_blocks: 3
"""
    net = network(TDCNPlusPlus)
    options = {"n_fft": 64, "hop_length": 16}
    separator = MaskSeparator(net, ("main", "rest"), **options)
    export_model(tmp_path / "model", text, {"separator": separator}, "# T\n")
    again = load_model(tmp_path / "model", ("separator",))["separator"]
    mixture = torch.randn(1, 1, 300)
    assert torch.equal(again(mixture), separator(mixture))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"n_sources": 1}, "n_sources is 1: use at least 2"),
        ({"features": "mel"}, "features is 'mel': use one of parts"),
        ({"mask": "none"}, "mask is 'none': use one of real"),
        ({"norm": "batch"}, "norm is 'batch': use one of global"),
        ({"kernel_size": 4}, "kernel_size is 4: use an odd"),
        ({"n_repeats": 0}, "n_repeats 0: use 1 or more"),
        ({"mask": "complex", "activation": "relu"}, "both signs"),
    ],
)
def test_errors(options, message):
    with pytest.raises(ConfigError, match=message):
        network(**options)
    if options == {"n_sources": 1}:
        with pytest.raises(ConfigError, match="chunk_frames is 5"):
            network(SepFormer, chunk_frames=5)
