"""A second stage that mends what the masks of a first one leave of voices.

Low partials of singers who sing together are told apart better than high ones.
So the second stage sees, beside the magnitudes of the mixture and of each
estimate, a guess at each singer's high band: that of the mixture, shared frame
by frame as the band below is shared (Rixen and Renz, "SFSRNet", AAAI 2022; Jeon
et al., "MedleyVox", ICASSP 2023).
"""

import math

import torch
from torch import nn

from speechbrain_ext.separation.codec import LEVEL_FRAMES, level_around
from speechbrain_ext.separation.tasnet import (
    checked_choice,
    make_norm,
    mixture_consistency,
)

HEADS = ("mask", "magnitude", "added_magnitude")
RATIOS = ("share", "published")
LEVELS = ("relative", "published")

_COMPRESSION = 0.3  # exponent of magnitudes relative to the level


class RefinerNetwork(nn.Module):
    """What the convolutional second stages have in common: how they end.

    A subclass has `layers`, maps to maps (batch, channels, frames, bins).

    Arguments
    ---------
    n_sources : int
    channels : int
        Before the last convolution.
    kernel_size : int
        Of the last convolution.
    head : {"mask", "magnitude", "added_magnitude"}
        What is given: "mask", what is to be added to the magnitude of a mask,
        at first 0; "magnitude", magnitudes through a rectifier and a
        normalisation over the whole input, so that whatever the level of the
        input is, that of the output is the same; "added_magnitude", the same
        to be added to the magnitudes of the estimates.
    last : sequence of str
        Order of "norm" and "relu" after the last convolution; nothing follows
        it with the head "mask".

    Raises
    ------
    ConfigError
        If the head is unknown.
    """

    def __init__(self, n_sources, channels, kernel_size, head, last):
        super().__init__()
        self.head = checked_choice("head", head, HEADS)
        self.n_sources = n_sources
        convolution = nn.Conv2d(
            channels, n_sources, kernel_size, padding=kernel_size // 2
        )
        ends = {
            "norm": lambda: make_norm("global", n_sources),
            "relu": nn.ReLU,
        }
        self.output = nn.Sequential(
            convolution, *(ends[k]() for k in last if head != "mask")
        )

    def start(self, head):
        """Draw the first weights.

        Arguments
        ---------
        head : str
            With "mask" the network starts by saying nothing.
        """
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out")
                nn.init.constant_(layer.bias, 0.01)
        if head == "mask":
            nn.init.zeros_(self.output[0].weight)
            nn.init.zeros_(self.output[0].bias)

    def forward(self, maps):
        """Say what the head is for.

        Arguments
        ---------
        maps : torch.Tensor (batch, 1 + 2 * n_sources, frames, bins)
            Magnitudes of the mixture, of the estimates, and guesses at their
            high bands.

        Returns
        -------
        torch.Tensor (batch, n_sources, frames, bins)
        """
        return self.output(self.layers(maps))


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution, normalisation and two dense layers.

    Liu et al., "A ConvNet for the 2020s" (CVPR 2022), without its residual.

    Arguments
    ---------
    channels : int
    kernel_size : int
        Odd.
    norm : str
        See `tasnet.make_norm`.
    expansion : int
        Channels inside are so many times more. Default: 4.
    """

    def __init__(self, channels, kernel_size, norm, expansion=4):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(
                channels,
                channels,
                kernel_size,
                padding=kernel_size // 2,
                groups=channels,
            ),
            make_norm(norm, channels),
            nn.Conv2d(channels, expansion * channels, 1),
            nn.GELU(),
            nn.Conv2d(expansion * channels, channels, 1),
        )

    def forward(self, maps):
        """Transform feature maps.

        Arguments
        ---------
        maps : torch.Tensor (batch, channels, frames, bins)

        Returns
        -------
        torch.Tensor (batch, channels, frames, bins)
        """
        return self.layers(maps)


class ISRNet(RefinerNetwork):
    """The small second stage of Jeon et al. ("iSRNet", ICASSP 2023).

    166 086 weights as published, `norm` global and `head` magnitude: there the
    last layer fixes the level of what comes out whatever comes in.

    Arguments
    ---------
    n_sources : int
        Default: 2.
    channels : int
        Default: 96.
    norm : {"frame", "global", "feature"}
        Inside, see `tasnet.make_norm`. Default: frame.
    head : {"mask", "magnitude", "added_magnitude"}
        See `RefinerNetwork`. Default: mask.

    Raises
    ------
    ConfigError
        If the norm or the head is unknown.

    Example
    -------
    >>> network = ISRNet(channels=4)
    >>> network(torch.rand(1, 5, 20, 33)).abs().sum().item()
    0.0
    """

    def __init__(self, n_sources=2, channels=96, norm="frame", head="mask"):
        super().__init__(n_sources, channels, 1, head, ("norm", "relu"))
        self.first = nn.Sequential(
            nn.Conv2d(1 + 2 * n_sources, channels, 5, padding=2), nn.GELU()
        )
        self.second = ConvNeXtBlock(channels, 7, norm)
        self.third = ConvNeXtBlock(channels, 1, norm)
        self.context_frames = 5 if norm == "frame" and head == "mask" else None
        self.start(head)

    def layers(self, maps):
        """Transform feature maps.

        Arguments
        ---------
        maps : torch.Tensor (batch, 1 + 2 * n_sources, frames, bins)

        Returns
        -------
        torch.Tensor (batch, channels, frames, bins)
        """
        first = self.first(maps)
        second = self.second(first)
        return second + self.third(first + second)


class SFSRNet(RefinerNetwork):
    """The large second stage of Rixen and Renz ("SFSRNet", AAAI 2022).

    Four convolutions, 6 667 654 weights as used for singers, with the heads
    "magnitude" and "added_magnitude".

    Arguments
    ---------
    n_sources : int
        Default: 2.
    norm : {"frame", "global", "feature"}
        Inside, see `tasnet.make_norm`. Default: frame.
    head : {"mask", "magnitude", "added_magnitude"}
        See `RefinerNetwork`. Default: mask.
    channels : sequence of int
        After each convolution but the last. Default: 128, 256, 128.

    Raises
    ------
    ConfigError
        If the norm or the head is unknown.

    Example
    -------
    >>> network = SFSRNet(channels=(4, 4, 4))
    >>> network(torch.rand(1, 5, 20, 33)).shape
    torch.Size([1, 2, 20, 33])
    """

    def __init__(
        self, n_sources=2, norm="frame", head="mask", channels=(128, 256, 128)
    ):
        super().__init__(n_sources, channels[-1], 11, head, ("relu", "norm"))
        sizes = (1 + 2 * n_sources, *channels)
        self.inner = nn.Sequential()
        for inside, outside, size in zip(
            sizes, channels, (5, 9, 11), strict=False
        ):
            self.inner.extend(
                [
                    nn.Conv2d(inside, outside, size, padding=size // 2),
                    nn.ReLU(),
                    make_norm(norm, outside),
                ]
            )
        local = norm == "frame" and head == "mask"
        self.context_frames = 2 + 4 + 5 + 5 if local else None
        self.start(head)

    def layers(self, maps):
        """Transform feature maps.

        Arguments
        ---------
        maps : torch.Tensor (batch, 1 + 2 * n_sources, frames, bins)

        Returns
        -------
        torch.Tensor (batch, channels, frames, bins)
        """
        return self.inner(maps)


def first_bin_above(hertz, sample_rate, n_fft):
    """First bin of a spectrum whose frequency is not below another one.

    Arguments
    ---------
    hertz : float
    sample_rate : int
        Hertz.
    n_fft : int
        Samples.

    Returns
    -------
    int

    Example
    -------
    >>> first_bin_above(3000, 24000, 2048), first_bin_above(300, 24000, 2048)
    (256, 26)
    """
    return math.ceil(hertz * n_fft / sample_rate)


def high_bands(mixture, estimates, first_bin, ratio="share"):
    """Guess at the high band of each source.

    That of the mixture, in each frame times one number for a source.

    Arguments
    ---------
    mixture : torch.Tensor (batch, frames, bins)
        Magnitudes.
    estimates : torch.Tensor (batch, sources, frames, bins)
        Magnitudes.
    first_bin : int
        Of the high band.
    ratio : {"share", "published"}
        "share" (default): the sum of the estimate over that of the mixture in
        the bins below, cut to [0, 1]. "published": the mixture over the
        estimate, without limits, so that a silent singer gets the loudest high
        band; probably the wrong way round.

    Returns
    -------
    torch.Tensor (batch, sources, frames, bins)
        0 below the high band.

    Example
    -------
    >>> mixture = torch.tensor([4.0, 4.0, 2.0]).view(1, 1, 3)
    >>> estimates = torch.tensor([[6.0, 0.0, 0.0], [2.0, 0.0, 9.0]])
    >>> high_bands(mixture, estimates.view(1, 2, 1, 3), 2).squeeze()
    tensor([[0.0000, 0.0000, 1.5000],
            [0.0000, 0.0000, 0.5000]])
    """
    checked_choice("ratio", ratio, RATIOS)
    mixture = mixture.unsqueeze(1)
    whole = mixture[..., :first_bin].sum(-1, keepdim=True)
    own = estimates[..., :first_bin].sum(-1, keepdim=True)
    if ratio == "share":
        gain = (own / whole.clamp(min=1e-8)).clamp(0.0, 1.0)
    else:
        gain = whole / (own + 1e-5)
    bands = mixture * gain
    low = torch.zeros_like(bands[..., :first_bin])
    return torch.cat([low, bands[..., first_bin:]], -1)


class SuperResolution(nn.Module):
    """Two networks in a row: masks, and masks mended.

    It is a network of masks itself. Phases are those of the first stage. By
    default the gain of the input is kept, whatever it is, training starts from
    the masks of the first stage, and the masks add up to 1. As published
    (`head` magnitude, `ratio` and `level` published, `consistent` False) none
    of that is so.

    Arguments
    ---------
    first : torch.nn.Module
        `spec (batch, frames, bins)` to masks, as `tasnet.ConvTasNet`.
    refiner : RefinerNetwork
    sample_rate : int
        Hertz. Default: 24000.
    above_hz : float
        Where the high band begins. Default: 3000.
    ratio : {"share", "published"}
        See `high_bands`. Default: share.
    level : {"relative", "published"}
        What the refiner hears: magnitudes over the level around, to the power
        of 0.3 (default), or magnitudes as they are.
    consistent : bool
        Whether the masks are made to add up to 1. Default: True.

    Raises
    ------
    ConfigError
        If a setting is unknown.

    Example
    -------
    >>> from speechbrain_ext.separation.tasnet import ConvTasNet
    >>> first = ConvTasNet(33, channels=4, hidden=8, skip=4, n_repeats=1)
    >>> cascade = SuperResolution(first, ISRNet(channels=4))
    >>> spec = torch.randn(1, 20, 33, dtype=torch.cfloat)
    >>> torch.allclose(cascade(spec), first(spec), atol=1e-5)
    True
    """

    def __init__(
        self,
        first,
        refiner,
        sample_rate=24000,
        above_hz=3000.0,
        ratio="share",
        level="relative",
        consistent=True,
    ):
        super().__init__()
        self.first = first
        self.refiner = refiner
        self.sample_rate = sample_rate
        self.above_hz = above_hz
        self.ratio = checked_choice("ratio", ratio, RATIOS)
        self.level = checked_choice("level", level, LEVELS)
        self.consistent = consistent

    @property
    def context_frames(self):
        """How many frames to each side matter; None if all do."""
        parts = [self.first.context_frames, self.refiner.context_frames]
        if None in parts:
            return None
        # The guess at a high band and the level are those of a frame.
        level = LEVEL_FRAMES // 2 if self.level == "relative" else 0
        return sum(parts) + level

    @property
    def frame_grid(self):
        """As that of the first network."""
        return getattr(self.first, "frame_grid", 1)

    def stages(self, spec):
        """Masks of both networks.

        Arguments
        ---------
        spec : torch.Tensor (batch, frames, bins), complex
            Of the mixture.

        Returns
        -------
        list of torch.Tensor (batch, sources, frames, bins)
            Two.
        """
        masks = self.first(spec)
        mixture = spec.abs()
        sizes = masks.abs()
        estimates = sizes * mixture.unsqueeze(1)
        n_fft = 2 * (spec.shape[-1] - 1)
        first_bin = first_bin_above(self.above_hz, self.sample_rate, n_fft)
        bands = high_bands(mixture, estimates, first_bin, self.ratio)
        maps = torch.cat([mixture.unsqueeze(1), estimates, bands], 1)
        if self.level == "relative":
            level = level_around(spec).unsqueeze(1)
            # The slope of a power is infinite at 0.
            maps = (maps / level + 1e-4) ** _COMPRESSION
        said = self.refiner(maps)
        if self.refiner.head == "mask":
            wanted = torch.relu(sizes + said)
        else:
            if self.refiner.head == "added_magnitude":
                said = said + estimates
            wanted = said / mixture.unsqueeze(1).clamp(min=1e-8)
        # The phase is that of the first stage, or of the mixture where there
        # is none; gradients go through sizes alone, since the slope of a phase
        # has no limit near 0.
        turn = masks.detach()
        sign = turn / turn.abs().clamp(min=1e-12)
        sign = torch.where(turn.abs() < 1e-12, torch.ones_like(sign), sign)
        mended = masks + (wanted - sizes) * sign
        if self.consistent:
            mended = mixture_consistency(mended, 1.0)
        return [masks, mended]

    def forward(self, spec):
        """Masks after the second network.

        Arguments
        ---------
        spec : torch.Tensor (batch, frames, bins), complex
            Of the mixture.

        Returns
        -------
        torch.Tensor (batch, sources, frames, bins)
        """
        return self.stages(spec)[-1]
