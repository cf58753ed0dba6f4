"""The second stage: sizes, high bands, gain, what it starts from."""

import pytest
import torch

from speechbrain_ext.errors import ConfigError
from speechbrain_ext.separation.separator import MaskSeparator
from speechbrain_ext.separation.superres import (
    HEADS,
    ISRNet,
    SFSRNet,
    SuperResolution,
    first_bin_above,
    high_bands,
)
from speechbrain_ext.separation.tasnet import ConvTasNet

PUBLISHED = {"ratio": "published", "level": "published", "consistent": False}
RATE = 4000  # Hz: the high band of 33 bins is the upper half at 1000 Hz


def weights(module):
    return sum(parameter.numel() for parameter in module.parameters())


def cascade(n_sources=2, network=ISRNet, head="mask", norm="frame", **options):
    """A second stage that says something."""
    torch.manual_seed(0)
    first = ConvTasNet(
        33, n_sources, channels=4, hidden=8, skip=4, n_repeats=1, n_blocks=2
    )
    size = {"channels": 4} if network is ISRNet else {"channels": (4, 4, 4)}
    refiner = network(n_sources, norm=norm, head=head, **size)
    if head == "mask":
        torch.nn.init.normal_(refiner.output[0].weight, std=0.5)
    made = SuperResolution(first, refiner, RATE, 1000.0, **options)
    names = [f"singer{k}" for k in range(n_sources)]
    return MaskSeparator(made, names, RATE, 64, 16).eval()


def test_published_sizes():
    published = {"norm": "global", "head": "magnitude"}
    assert weights(ISRNet(**published)) == 166_086
    assert weights(SFSRNet(**published)) == 6_667_654
    # Without the last normalisation: a gain and an offset of two outputs less.
    assert weights(ISRNet()) == 166_086 - 4


def test_high_band_begins_at_the_first_bin_above():
    assert first_bin_above(3000, 24000, 2048) == 256
    assert first_bin_above(300, 24000, 2048) == 26
    assert first_bin_above(2999.9, 24000, 2048) == 256
    assert first_bin_above(3000.1, 24000, 2048) == 257


def test_high_bands_by_hand():
    # Two frames; the low band is of two bins, the high band of one.
    mixture = torch.tensor([[[6.0, 2.0, 5.0], [3.0, 1.0, 8.0]]])
    loud = torch.tensor([[5.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    soft = torch.tensor([[1.0, 1.0, 9.0], [4.0, 4.0, 0.0]])
    estimates = torch.stack([loud, soft]).unsqueeze(0)
    bands = high_bands(mixture, estimates, 2)
    assert (bands[..., :2] == 0).all()
    # 6 / 8 and 2 / 8 of 5; nothing, and all (cut to 1), of 8.
    assert bands[0, :, :, 2].tolist() == [[3.75, 0.0], [1.25, 8.0]]
    bands = high_bands(mixture, estimates, 2, "published")
    assert bands[0, 0, 0, 2].item() == pytest.approx(5 * 8 / 6, rel=1e-4)
    # The fault: the silent singer is the loudest by far.
    assert bands[0, 0, 1, 2].item() == pytest.approx(8 * 4 / 1e-5, rel=1e-4)
    with pytest.raises(ConfigError, match="ratio is 'half'"):
        high_bands(mixture, estimates, 2, "half")


@pytest.mark.parametrize("network", [ISRNet, SFSRNet])
def test_it_starts_from_the_first_stage(network):
    separator = cascade(network=network)
    torch.nn.init.zeros_(separator.network.refiner.output[0].weight)
    first, second = separator.stages(torch.randn(2, 1, 600))
    torch.testing.assert_close(first, second, atol=1e-5, rtol=0)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("network", [ISRNet, SFSRNet])
@pytest.mark.parametrize("sources", [2, 3])
def test_shapes_and_sum(network, head, sources):
    separator = cascade(sources, network, head)
    mixture = torch.randn(2, 1, 600)
    first, second = separator.stages(mixture)
    assert first.shape == second.shape == (2, sources, 1, 600)
    assert torch.equal(second, separator(mixture))
    assert (first - second).abs().max() > 1e-3
    torch.testing.assert_close(second.sum(1), mixture, atol=1e-4, rtol=0)
    loose = cascade(sources, network, head, consistent=False)(mixture)
    assert (loose.sum(1) - mixture).abs().max() > 1e-2


@torch.no_grad()
def test_the_gain_is_kept():
    separator = cascade()
    mixture = torch.randn(1, 1, 600)
    own = separator(mixture)
    torch.testing.assert_close(
        separator(4 * mixture), 4 * own, rtol=1e-3, atol=1e-4
    )
    published = cascade(head="magnitude", norm="global", **PUBLISHED)
    ratio = published(4 * mixture).norm() / published(mixture).norm()
    assert ratio < 1.5, "the published network fixes the level"
    first = published.stages(4 * mixture)[0].norm()
    assert first / published.stages(mixture)[0].norm() == pytest.approx(4.0)


def test_phases_are_those_of_the_first_stage():
    separator = cascade(consistent=False)
    spec = separator.codec(torch.randn(1, 600))
    first, second = separator.network.stages(spec)
    wanted = torch.relu(first.abs() + (second.abs() - first.abs()))
    turn = second * first.conj()
    sounding = wanted > 1e-3
    assert turn.imag[sounding].abs().max() < 1e-3
    assert turn.real[sounding].min() > -1e-4


def test_silence_and_gradients():
    for head in HEADS:
        separator = cascade(head=head).train()
        mixture = torch.randn(2, 1, 600)
        mixture[:, :, 200:400] = 0.0
        mixture[1] = 0.0
        estimates = separator(mixture)
        assert torch.isfinite(estimates).all()
        assert estimates[1].abs().max() < 1e-4
        estimates[:, 0].square().sum().backward()
        for name, parameter in separator.named_parameters():
            if parameter.requires_grad:
                assert torch.isfinite(parameter.grad).all(), name


def test_nothing_beyond_the_context_matters():
    torch.manual_seed(0)
    first = ConvTasNet(
        33, norm="frame", channels=4, hidden=8, skip=4, n_repeats=1, n_blocks=2
    )
    refiner = ISRNet(channels=4)
    torch.nn.init.normal_(refiner.output[0].weight)
    net = SuperResolution(first, refiner, RATE, 1000.0).eval()
    reach = net.context_frames
    assert reach == 3 + (2 + 3) + 125
    spec = torch.randn(1, 2 * reach + 40, 33, dtype=torch.cfloat)
    here = reach + 5
    masks = net(spec)
    for touched in (here - reach - 1, here + reach + 1):
        other = spec.clone()
        other[:, touched] = 50 * other[:, touched].flip(1)
        changed = (net(other) - masks).abs().amax((0, 1, 3))
        assert changed[here] == 0 and changed[touched] > 1e-4
    net.refiner.context_frames = None
    assert net.context_frames is None


def test_errors():
    with pytest.raises(ConfigError, match="head is 'phase': use one of mask"):
        ISRNet(channels=4, head="phase")
    with pytest.raises(ConfigError, match="level is 'loud': use one of rela"):
        cascade(level="loud")
