"""The U-net: masks, what a frame depends on, chunks, level."""

import pytest
import torch
from safetensors.torch import save_file

from speechbrain_ext.brains.separation import load_start
from speechbrain_ext.errors import ConfigError, ModelError
from speechbrain_ext.separation.codec import level_around
from speechbrain_ext.separation.separator import MaskSeparator
from speechbrain_ext.separation.unet import UNet

SMALL = {"n_bins": 65, "channels": 4, "growth": 2, "levels": 2}


def network(**options):
    """A U-net that says something, and not the same to everyone."""
    torch.manual_seed(0)
    net = UNet(**{**SMALL, **options}).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0.0, parameter[0].numel() ** -0.5)
    return net


def noise(frames, bins=65, batch=1):
    generator = torch.Generator().manual_seed(frames)
    return torch.randn(
        batch, frames, bins, dtype=torch.cfloat, generator=generator
    )


@pytest.mark.parametrize("sources", [2, 3])
@pytest.mark.parametrize("frames", [1, 7, 8, 33])
def test_masks_add_up_to_one(frames, sources):
    masks = network(n_sources=sources)(noise(frames, batch=2))
    assert masks.shape == (2, sources, frames, 65)
    assert torch.allclose(masks.sum(1), torch.ones((), dtype=torch.cfloat))
    said = masks[:, :-1]
    assert (said.real >= 0).all() and (said.real <= 1).all()
    assert said.imag.abs().max() <= 0.5
    assert said.real.std() > 0.01, "a net that says nothing tests nothing"


def test_before_training_the_sources_share_equally():
    masks = UNet(**SMALL)(noise(9))
    assert torch.allclose(masks, torch.full((), 0.5 + 0j))


@pytest.mark.parametrize("patch", [(1, 4), (2, 4), (3, 2), (2, 8)])
def test_a_patch_is_put_back_where_it_was_taken(patch):
    net = network(patch=patch, levels=1)
    # The output layer says where in its patch each bin lies.
    with torch.no_grad():
        net.output[-1].weight.zero_()
        net.output[-1].bias.copy_(torch.arange(2.0 * patch[0] * patch[1]) / 4)
    real = net(noise(12))[0, 0].real.logit()
    expected = torch.arange(1.0 * patch[0] * patch[1]).view(patch) / 4
    assert torch.allclose(
        real[: patch[0], : patch[1]], expected, rtol=1e-3, atol=1e-3
    )
    assert torch.allclose(
        real[patch[0] : 2 * patch[0], patch[1] : 2 * patch[1]],
        expected,
        rtol=1e-3,
        atol=1e-3,
    )


def test_nothing_beyond_the_context_matters():
    net = network(dilations=(1,))
    reach, frames = net.context_frames, 800
    here = net.frame_grid * 50
    spec = noise(frames)
    masks = net(spec)
    for touched in (here - reach - 1, here + reach + 1):
        other = spec.clone()
        other[0, touched] *= 50.0
        changed = (net(other) - masks).abs().amax((0, 1, 3))
        assert changed[here] == 0
        assert changed[touched] > 1e-3


def test_a_part_on_the_grid_gets_the_masks_of_the_whole():
    net = network()
    spec = noise(900)
    whole = net(spec)
    first = 20 * net.frame_grid
    part = net(spec[:, first:])
    inside = slice(net.context_frames, None)
    assert torch.allclose(part[:, :, inside], whole[:, :, first:][:, :, inside])
    off = net(spec[:, first + 1 :])[:, :, inside]
    assert not torch.allclose(
        off, whole[:, :, first + 1 :][:, :, inside], atol=1e-3
    )


def test_level_makes_no_difference_and_silence_is_no_trouble():
    net = network()
    spec = noise(40)
    masks = net(spec)
    for gain in (1e-3, 30.0):
        assert torch.allclose(net(gain * spec), masks, atol=1e-4)
    assert torch.isfinite(net(torch.zeros_like(spec)).abs()).all()


def test_gradients_reach_every_weight():
    net = network().train()
    net(noise(32, batch=2)).real[:, 0].sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in net.parameters())


def test_level_around():
    spec = torch.zeros(1, 9, 2, dtype=torch.cfloat)
    spec[0, 4] = 3j
    level = level_around(spec, 3)[0, :, 0]
    middle = (9 / 3) ** 0.5
    assert level[3:6].tolist() == pytest.approx([middle] * 3)
    assert level[[0, 1, 2, 6, 7, 8]].tolist() == pytest.approx([1e-5] * 6)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"n_bins": 64}, "n_bins is 64: with 2 levels of patches of 4 bins"),
        ({"n_bins": 33}, "use a multiple of 16, at least 64"),
        ({"n_sources": 1}, "n_sources is 1: use at least 2"),
    ],
)
def test_errors(options, message):
    with pytest.raises(ConfigError, match=message):
        UNet(**{**SMALL, **options})


def test_more_blocks_start_from_weights_of_fewer(tmp_path):
    """What the deeper one says before training is what the other says."""
    shallow = MaskSeparator(network(dilations=(1, 2)), n_fft=128, hop_length=32)
    save_file(
        {f"separator.{k}": v for k, v in shallow.state_dict().items()},
        tmp_path / "model.safetensors",
    )
    (tmp_path / "hyperparams.yaml").write_text("sample_rate: 16000\n")
    deep = network(dilations=(1, 2, 4, 8))
    deep = MaskSeparator(deep, n_fft=128, hop_length=32)
    load_start(tmp_path, deep)
    spec = noise(33)
    assert torch.allclose(
        deep.network.eval()(spec), shallow.network(spec), atol=1e-5
    )
    assert len(deep.network.bottom) == 4
    narrow = network(dilations=(1,), channels=6)
    with pytest.raises(ModelError, match="does not fit"):
        load_start(tmp_path, MaskSeparator(narrow, n_fft=128, hop_length=32))
    (tmp_path / "model.safetensors").write_bytes(b"version of a pointer")
    with pytest.raises(ModelError, match="model.safetensors"):
        load_start(tmp_path, deep)
