"""A U-net over patches of a complex spectrogram."""

from contextlib import contextmanager

import torch
from torch import nn
from torch.nn import functional

from speechbrain_ext.errors import ConfigError
from speechbrain_ext.separation.codec import LEVEL_FRAMES, level_around

_MAGNITUDE_FLOOR = 1e-3  # of a bin, relative to the level


def compressed(spec, level):
    """Features of a spectrogram whose loud bins do not drown the others.

    Arguments
    ---------
    spec : torch.Tensor (batch, frames, bins), complex
    level : torch.Tensor (batch, frames, 1)
        What it is divided by.

    Returns
    -------
    torch.Tensor (batch, 3, frames, bins)
        Real and imaginary part, their magnitude to the power of 0.4, and 0.4
        times the logarithm of the magnitude.
    """
    spec = spec / level
    magnitude = spec.abs().clamp(min=_MAGNITUDE_FLOOR)
    phasor = spec * magnitude**-0.6
    return torch.stack([phasor.real, phasor.imag, magnitude.log() * 0.4], 1)


class Block(nn.Module):
    """Two convolutions around a dense layer over all bins, as a residual.

    The dense layer lets each frame relate far-apart partials (Choi et al.,
    "Investigating U-Nets with Various Intermediate Blocks for Spectrogram-based
    Singing Voice Separation", ISMIR 2020, "TFC-TDF").

    Arguments
    ---------
    channels : int
    n_bins : int
    dilation : int
        Of the first convolution, in frames. Default: 1.
    squeeze : int
        The dense layer passes through n_bins // squeeze units. Default: 4.
    """

    def __init__(self, channels, n_bins, dilation=1, squeeze=4):
        super().__init__()
        self.first = nn.Sequential(
            nn.BatchNorm2d(channels),
            nn.SiLU(),
            nn.Conv2d(
                channels,
                channels,
                3,
                padding=(dilation, 1),
                dilation=(dilation, 1),
                bias=False,
            ),
        )
        self.dense = nn.Sequential(
            nn.BatchNorm2d(channels),
            nn.Linear(n_bins, n_bins // squeeze),
            nn.SiLU(),
            nn.Linear(n_bins // squeeze, n_bins),
        )
        self.last = nn.Sequential(
            nn.BatchNorm2d(channels),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )
        self.reach = dilation + 1

    def forward(self, maps):
        """Transform feature maps.

        Arguments
        ---------
        maps : torch.Tensor (batch, channels, frames, n_bins)

        Returns
        -------
        torch.Tensor (batch, channels, frames, n_bins)
        """
        hidden = self.first(maps)
        hidden = hidden + self.dense(hidden)
        return maps + self.last(hidden)


class UNet(nn.Module):
    """Complex masks from a U-net whose pixels are patches of the spectrogram.

    A strided convolution makes patches of a few frames and bins; below it the
    maps are halved at each level, and at the bottom dilated blocks look far
    around; the way up adds the maps of the same size, and the last convolution
    gives the masks of all bins of each patch. So the work is done at a fraction
    of the spectrogram's resolution, on more channels: on a CPU several times
    faster than full resolution on few. Results do not depend on the level of
    the input. The highest bin shares equally.

    Arguments
    ---------
    n_bins : int
        Of the spectrogram: a power of 2 and one more. Default: 513.
    n_sources : int
        Default: 2.
    channels : int
        Of the patches. Default: 64.
    growth : int
        Channels more at each level. Default: 32.
    levels : int
        Times that the maps are halved. Default: 3.
    patch : (int, int)
        Frames and bins of a patch. Default: 2, 4.
    dilations : sequence of int
        Of the blocks at the bottom. Default: 1, 2, 4.

    Raises
    ------
    ConfigError
        If the bins cannot be halved so often, or there is one source.

    Example
    -------
    >>> network = UNet(n_bins=65, channels=4, growth=2, levels=2).eval()
    >>> spec = torch.randn(1, 30, 65, dtype=torch.cfloat)
    >>> masks = network(spec)
    >>> masks.shape
    torch.Size([1, 2, 30, 65])
    >>> torch.allclose(masks, network(100 * spec), atol=1e-4)
    True
    """

    def __init__(
        self,
        n_bins=513,
        n_sources=2,
        channels=64,
        growth=32,
        levels=3,
        patch=(2, 4),
        dilations=(1, 2, 4),
    ):
        super().__init__()
        frames, bins = patch
        size, rest = divmod(n_bins - 1, bins * 2**levels)
        if rest or size < 4:
            raise ConfigError(
                f"n_bins is {n_bins}: with {levels} levels of patches of "
                f"{bins} bins use a multiple of {bins * 2**levels}, at least "
                f"{4 * bins * 2**levels}, and one more"
            )
        if n_sources < 2:
            raise ConfigError(f"n_sources is {n_sources}: use at least 2")
        self.n_sources = n_sources
        self.patch = (frames, bins)
        self.frame_grid = frames * 2**levels
        wide = [channels + growth * k for k in range(levels + 1)]
        tall = [(n_bins - 1) // bins // 2**k for k in range(levels + 1)]
        pairs = list(zip(wide, wide[1:], strict=False))
        # A patch is seen with half of each neighbour.
        self.patches = nn.Conv2d(
            3,
            channels,
            tuple(2 * size + size % 2 for size in patch),
            stride=self.patch,
            padding=tuple((size + 1) // 2 for size in patch),
        )
        self.down_blocks = nn.ModuleList(map(Block, wide[:-1], tall[:-1]))
        self.down = nn.ModuleList(
            nn.Conv2d(above, below, 2, stride=2) for above, below in pairs
        )
        self.bottom = nn.Sequential(
            *(Block(wide[-1], tall[-1], d) for d in dilations)
        )
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(below, above, 2, stride=2)
            for above, below in pairs
        )
        self.up_blocks = nn.ModuleList(map(Block, wide[:-1], tall[:-1]))
        self.output = nn.Sequential(
            nn.BatchNorm2d(channels),
            nn.SiLU(),
            nn.Conv2d(channels, 2 * (n_sources - 1) * frames * bins, 1),
        )
        # Both masks as nothing is known: half of everything.
        nn.init.zeros_(self.output[-1].weight)
        nn.init.zeros_(self.output[-1].bias)
        scales = [frames * 2**k for k in range(levels)]
        reach = sum(block.reach for block in self.bottom) * self.frame_grid
        reach += sum(scale * (2 * 2 + 2) for scale in scales) + 2 * frames
        self.context_frames = reach + LEVEL_FRAMES // 2

    @contextmanager
    def shallower(self, count):
        """Have fewer blocks at the bottom, to load weights of such a network.

        Arguments
        ---------
        count : int
            The first so many are there in the block; the others, afterwards,
            leave everything as it is until they are trained.

        Yields
        ------
        None

        Example
        -------
        >>> network = UNet(65, channels=4, growth=2, levels=2).eval()
        >>> with network.shallower(1):
        ...     spec = torch.randn(1, 30, 65, dtype=torch.cfloat)
        ...     before = network(spec)
        >>> torch.allclose(network(spec), before, atol=1e-5)
        True
        """
        bottom = self.bottom
        self.bottom = bottom[:count]
        try:
            yield
        finally:
            self.bottom = bottom
        for block in bottom[count:]:
            nn.init.zeros_(block.last[-1].weight)
            nn.init.zeros_(block.last[-1].bias)

    def forward(self, spec):
        """Masks of the sources.

        Arguments
        ---------
        spec : torch.Tensor (batch, frames, bins), complex
            Of the mixture.

        Returns
        -------
        torch.Tensor (batch, sources, frames, bins), complex
            They add up to 1. Of all but the last, the real part is between 0
            and 1, the imaginary one between -0.5 and 0.5.
        """
        batch, frames, _ = spec.shape
        maps = compressed(spec, level_around(spec))[..., :-1]
        maps = functional.pad(maps, (0, 0, 0, -frames % self.frame_grid))
        maps = self.patches(maps)
        skipped = []
        for block, down in zip(self.down_blocks, self.down, strict=True):
            maps = block(maps)
            skipped.append(maps)
            maps = down(maps)
        maps = self.bottom(maps)
        for block, up in zip(self.up_blocks[::-1], self.up[::-1], strict=True):
            maps = block(up(maps) + skipped.pop())
        parts = self.output(maps).float()
        # (batch, parts, patch frames, patch bins, rows, columns)
        parts = parts.unflatten(1, (-1, *self.patch))
        parts = parts.permute(0, 1, 4, 2, 5, 3).flatten(4, 5).flatten(2, 3)
        parts = functional.pad(parts[:, :, :frames], (0, 1))
        real, imaginary = parts.chunk(2, dim=1)
        masks = torch.complex(real.sigmoid(), imaginary.tanh() / 2)
        return torch.cat([masks, 1 - masks.sum(1, keepdim=True)], dim=1)
