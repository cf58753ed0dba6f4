"""Masks for the bins that a network does not hear."""

import pytest
import torch

from speechbrain_ext.errors import ConfigError
from speechbrain_ext.separation.low_band import LowBand
from speechbrain_ext.separation.separator import MaskSeparator
from speechbrain_ext.separation.unet import UNet


class Fixed(torch.nn.Module):
    """Masks 0.25, 0.5, 0.75 and 1 of four bins, and what is left."""

    context_frames = 3

    def forward(self, spec):
        self.heard = spec.shape[-1]
        first = torch.tensor([0.25, 0.5, 0.75, 1.0]).expand(spec.shape)
        return torch.stack([first, 1 - first], 1)


def test_the_upper_part_below_tells_the_masks_above():
    network = Fixed()
    band = LowBand(network, 4, 2)
    spec = torch.ones(1, 2, 7, dtype=torch.cfloat)
    spec[0, 1, 2] = 3  # nine times the power of the other one
    masks = band(spec)
    assert network.heard == 4 and masks.shape == (1, 2, 2, 7)
    wanted = [0.25, 0.5, 0.75, 1.0, 0.875, 0.875, 0.875]
    torch.testing.assert_close(masks[0, 0, 0], torch.tensor(wanted))
    weighted = (9 * 0.75 + 1.0) / 10
    torch.testing.assert_close(masks[0, 0, 1, 4:], torch.full((3,), weighted))
    torch.testing.assert_close(masks.sum(1), torch.ones(1, 2, 7))
    assert band.context_frames == 3 and band.frame_grid == 1


def test_silence_and_all_bins():
    band = LowBand(Fixed(), 4, 2)
    masks = band(torch.zeros(1, 2, 7, dtype=torch.cfloat))
    torch.testing.assert_close(masks[0, 0, 0, 4:], torch.full((3,), 0.875))
    assert band(torch.zeros(1, 2, 4, dtype=torch.cfloat)).shape[-1] == 4


def test_in_a_separator():
    torch.manual_seed(0)
    network = UNet(n_bins=65, channels=4, growth=2, levels=2)
    separator = MaskSeparator(
        LowBand(network, 65, 16), ["one", "two"], 8000, 256, 64
    ).eval()
    torch.nn.init.normal_(network.output[-1].weight)
    mixture = torch.randn(2, 1, 8000, requires_grad=True)
    sources = separator(mixture)
    torch.testing.assert_close(sources.sum(1), mixture, atol=1e-4, rtol=0)
    assert (sources[:, 0] - sources[:, 1]).abs().max() > 0.1
    sources[:, 0].square().sum().backward()
    assert torch.isfinite(mixture.grad).all()
    assert separator.frame_grid == network.frame_grid
    assert separator.context_s > 0


def test_errors():
    with pytest.raises(ConfigError, match="guide_bins is 5: use 1 to heard"):
        LowBand(Fixed(), 4, 5)
