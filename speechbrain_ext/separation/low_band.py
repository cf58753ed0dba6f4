"""Masks of the lower part of a spectrum, for all of it.

Voices have nearly all of their energy below 4 kHz. A network that hears only
that is as many times cheaper as there are bins above.
"""

import torch
from torch import nn

from speechbrain_ext.errors import ConfigError


class LowBand(nn.Module):
    """A network for the bins below a limit, and one mask for those above.

    Above the limit each frame has one mask per source: the mean of those in the
    upper part of the band below, weighted by the power there, which says who
    sounds in that frame. Where the masks below add up to 1, these do.

    Arguments
    ---------
    network : torch.nn.Module
        `spec (batch, frames, heard bins)` to masks (batch, sources, frames,
        heard bins), as `unet.UNet`.
    heard_bins : int
        How many bins from below the network is for.
    guide_bins : int
        How many of these, from above, tell what the masks above are. Default:
        128.

    Raises
    ------
    ConfigError
        If there are more guiding bins than heard ones, or none.

    Example
    -------
    >>> from speechbrain_ext.separation.unet import UNet
    >>> network = UNet(n_bins=65, channels=4, growth=2, levels=2).eval()
    >>> masks = LowBand(network, 65, 16)(torch.randn(1, 30, 129) + 0j)
    >>> masks.shape, torch.allclose(masks.sum(1), torch.ones(1) + 0j)
    (torch.Size([1, 2, 30, 129]), True)
    """

    def __init__(self, network, heard_bins, guide_bins=128):
        super().__init__()
        if not 1 <= guide_bins <= heard_bins:
            raise ConfigError(
                f"guide_bins is {guide_bins}: use 1 to heard_bins, {heard_bins}"
            )
        self.network = network
        self.heard_bins, self.guide_bins = heard_bins, guide_bins

    @property
    def context_frames(self):
        """As that of the network inside."""
        return self.network.context_frames

    @property
    def frame_grid(self):
        """As that of the network inside."""
        return getattr(self.network, "frame_grid", 1)

    def forward(self, spec):
        """Masks of the sources.

        Arguments
        ---------
        spec : torch.Tensor (batch, frames, bins), complex
            Of the mixture.

        Returns
        -------
        torch.Tensor (batch, sources, frames, bins)
        """
        low = spec[..., : self.heard_bins]
        masks = self.network(low)
        rest = spec.shape[-1] - low.shape[-1]
        if not rest:
            return masks
        power = low[..., -self.guide_bins :].abs().square().unsqueeze(1)
        power = power + 1e-10
        guide = (masks[..., -self.guide_bins :] * power).sum(-1, keepdim=True)
        guide = guide / power.sum(-1, keepdim=True)
        above = guide.expand(*guide.shape[:-1], rest)
        return torch.cat([masks, above], -1)
