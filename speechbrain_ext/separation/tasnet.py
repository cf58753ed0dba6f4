"""Networks that tell several singers apart by masks on a mixture's spectrum.

All of them take the spectrum of a mixture and give a mask for each singer, so
they go into a `separator.MaskSeparator` and run wherever that runs. They know
singers by nothing but their place among the outputs: losses and scores find out
which output is whose (`permutation`).
"""

import torch
from torch import nn

from speechbrain_ext.errors import ConfigError
from speechbrain_ext.separation.codec import LEVEL_FRAMES, level_around
from speechbrain_ext.separation.unet import compressed

# Numbers per bin that a network hears, and that make a mask.
FEATURES = {"parts": 2, "compressed": 3, "power": 1, "log": 1}
MASKS = {"real": 1, "complex": 2, "parts": 2}
ACTIVATIONS = {
    "linear": lambda said: said,
    "sigmoid": torch.sigmoid,
    "relu": torch.relu,
    "tanh": torch.tanh,
}
NORMS = ("global", "feature", "frame")

_MAGNITUDE_FLOOR = 1e-3  # of a bin, relative to the level
_EPS = 1e-8  # of all normalisations, as published


def mixture_consistency(estimates, mixture):
    """Share among all estimates what they lack to the mixture.

    The nearest signals that add up to it (Wisdom et al., ICASSP 2019, with
    equal weights). As transforms are linear, it makes no difference whether
    signals or spectra are made consistent, or masks with 1 for a mixture.

    Arguments
    ---------
    estimates : torch.Tensor (batch, sources, ...)
        Signals, spectra or masks.
    mixture : torch.Tensor (batch, ...) or float
        What they shall add up to.

    Returns
    -------
    torch.Tensor (batch, sources, ...)

    Example
    -------
    >>> estimates = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).unsqueeze(0)
    >>> mixture_consistency(estimates, torch.tensor([[3.0, 1.0]]))
    tensor([[[2., 0.],
             [1., 1.]]])
    """
    missing = mixture - estimates.sum(1)
    return estimates + (missing / estimates.shape[1]).unsqueeze(1)


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of every single position.

    What it says of a frame depends on that frame alone.

    Arguments
    ---------
    channels : int
    """

    def __init__(self, channels):
        super().__init__(channels, eps=_EPS)

    def forward(self, maps):
        """Normalise.

        Arguments
        ---------
        maps : torch.Tensor (batch, channels, ...)

        Returns
        -------
        torch.Tensor (batch, channels, ...)
        """
        return super().forward(maps.movedim(1, -1)).movedim(-1, 1)


def make_norm(kind, channels):
    """Normalisation of feature maps (batch, channels, ...).

    Arguments
    ---------
    kind : {"global", "feature", "frame"}
        "global": over channels and time, the "gLN" of Conv-TasNet. "feature":
        over time, each channel for itself. Both depend on the whole input,
        also on how long it is and how much of it is silent. "frame": over
        channels, each frame (and bin) for itself.
    channels : int

    Returns
    -------
    torch.nn.Module
        With a gain and an offset for each channel.

    Raises
    ------
    ConfigError
        If the kind is unknown.

    Example
    -------
    >>> maps = torch.tensor([[[1.0, 3.0], [5.0, 7.0]]])
    >>> make_norm("feature", 2)(maps).detach()
    tensor([[[-1.,  1.],
             [-1.,  1.]]])
    >>> make_norm("frame", 2)(maps).detach()
    tensor([[[-1., -1.],
             [ 1.,  1.]]])
    """
    if kind not in NORMS:
        raise ConfigError(f"norm is {kind!r}: use one of {', '.join(NORMS)}")
    if kind == "frame":
        return ChannelNorm(channels)
    groups = 1 if kind == "global" else channels
    return nn.GroupNorm(groups, channels, eps=_EPS)


def checked_choice(name, value, known):
    """Refuse a setting that is none of the known ones.

    Arguments
    ---------
    name, value : str
    known : iterable of str

    Returns
    -------
    str
        The value.

    Raises
    ------
    ConfigError
        If it is unknown.
    """
    if value not in known:
        raise ConfigError(f"{name} is {value!r}: use one of {', '.join(known)}")
    return value


class MaskNetwork(nn.Module):
    """What the networks have in common: features below, masks on top.

    A subclass has `body`, features to numbers.

    Arguments
    ---------
    n_bins : int
        Of the spectrum.
    n_sources : int
        Singers.
    features : {"parts", "compressed", "power", "log"}
        What the body hears of every bin. "parts": real and imaginary part, as
        published. The others are taken relative to the level around the frame
        (`codec.level_around`): "power" is the magnitude to the power of 0.3,
        "log" its logarithm, "compressed" is that of `unet.compressed`.
    mask : {"parts", "complex", "real"}
        "parts", as published: one number multiplies the real part of the
        mixture's bin, another one its imaginary part. "complex": a complex
        number multiplies the bin. "real": a real one does, so that sources
        have the mixture's phase.
    activation : {"linear", "sigmoid", "relu", "tanh"}
        What every number of a mask goes through.
    consistent : bool
        Whether masks are made to add up to 1 (`mixture_consistency`), so that
        the sources add up to the mixture.

    Raises
    ------
    ConfigError
        If a setting is unknown, or there is one source.
    """

    context_frames = None

    def __init__(
        self, n_bins, n_sources, features, mask, activation, consistent
    ):
        super().__init__()
        if n_sources < 2:
            raise ConfigError(f"n_sources is {n_sources}: use at least 2")
        self.features = checked_choice("features", features, FEATURES)
        self.mask = checked_choice("mask", mask, MASKS)
        checked_choice("activation", activation, ACTIVATIONS)
        if mask == "complex" and activation in ("sigmoid", "relu"):
            raise ConfigError(
                f"activation is {activation!r} and mask 'complex': imaginary "
                "parts have both signs, use linear or tanh"
            )
        self.activation = activation
        self.n_bins, self.n_sources = n_bins, n_sources
        self.consistent = consistent
        self.n_features = FEATURES[features] * n_bins
        self.n_outputs = n_sources * MASKS[mask] * n_bins

    def heard(self, spec):
        """Features of a spectrum.

        Arguments
        ---------
        spec : torch.Tensor (batch, frames, bins), complex

        Returns
        -------
        torch.Tensor (batch, n_features, frames)
        """
        if self.features == "parts":
            return torch.cat([spec.real, spec.imag], -1).mT
        level = level_around(spec)
        if self.features == "compressed":
            return compressed(spec, level).mT.flatten(1, 2)
        magnitude = (spec.abs() / level).clamp(min=_MAGNITUDE_FLOOR)
        if self.features == "power":
            return (magnitude**0.3).mT
        return magnitude.log().mT * 0.4

    def forward(self, spec):
        """Masks of the sources.

        Arguments
        ---------
        spec : torch.Tensor (batch, frames, bins), complex
            Of the mixture.

        Returns
        -------
        torch.Tensor (batch, sources, frames, bins)
            Complex, or real if the masks are.
        """
        said = self.body(self.heard(spec)).float()
        said = said.unflatten(1, (self.n_sources, -1, self.n_bins)).mT
        first, *second = ACTIVATIONS[self.activation](said).unbind(2)
        masks = first
        if self.mask == "complex":
            masks = torch.complex(first, *second)
        elif self.mask == "parts":
            # a Re S + i b Im S is (a + b) / 2 S + (a - b) / 2 conj(S).
            turn = spec.conj() / spec.abs().clamp(min=1e-30)
            half = (first - second[0]) / 2
            masks = (first + second[0]) / 2 + half * (turn * turn).unsqueeze(1)
        return mixture_consistency(masks, 1.0) if self.consistent else masks


class TemporalBlock(nn.Module):
    """Dilated convolution over time, with a way on and a way out.

    Luo and Mesgarani, "Conv-TasNet" (IEEE/ACM TASLP 27(8), 2019), figure 1C.
    SpeechBrain's block of that name has neither biases nor the way out.

    Arguments
    ---------
    channels, hidden, skip : int
        Channels of the way on, inside, and of the way out.
    kernel_size : int
        Frames, odd.
    dilation : int
        Frames.
    norm : str
        See `make_norm`.
    """

    def __init__(self, channels, hidden, skip, kernel_size, dilation, norm):
        super().__init__()
        self.reach = dilation * (kernel_size // 2)
        self.layers = nn.Sequential(
            nn.Conv1d(channels, hidden, 1),
            nn.PReLU(),
            make_norm(norm, hidden),
            nn.Conv1d(
                hidden,
                hidden,
                kernel_size,
                padding=self.reach,
                dilation=dilation,
                groups=hidden,
            ),
            nn.PReLU(),
            make_norm(norm, hidden),
        )
        self.residual = nn.Conv1d(hidden, channels, 1)
        self.skip = nn.Conv1d(hidden, skip, 1)

    def forward(self, maps):
        """Transform feature maps.

        Arguments
        ---------
        maps : torch.Tensor (batch, channels, frames)

        Returns
        -------
        (torch.Tensor (batch, channels, frames), torch.Tensor (batch, skip,
        frames))
            What is to be added on the way on, and the way out.
        """
        hidden = self.layers(maps)
        return self.residual(hidden), self.skip(hidden)


class ConvTasNet(MaskNetwork):
    """Masks from stacks of dilated convolutions over the frames of a spectrum.

    With its defaults the separator of Jeon et al., "MedleyVox" (ICASSP 2023),
    after Conv-TasNet (Luo and Mesgarani, IEEE/ACM TASLP 27(8), 2019) on the
    spectrum of a transform of 2048 samples: 20 690 745 weights. What it says
    then depends on the whole input, also on its length (`norm`).

    Arguments
    ---------
    n_bins : int
        Default: 1025.
    n_sources : int
        Default: 2.
    features, mask, activation, consistent
        See `MaskNetwork`. Default: parts, parts, linear, True.
    norm : {"global", "frame", "feature"}
        See `make_norm`. Default: global. With "frame" a mask depends on
        `context_frames` around it alone.
    n_blocks : int
        Blocks of a stack, dilated by 1, 2, 4 ... frames. Default: 6.
    n_repeats : int
        Stacks. Default: 4.
    channels, hidden, skip : int
        See `TemporalBlock`. Default: 256, 1024, 256.
    kernel_size : int
        Frames, odd. Default: 3.

    Raises
    ------
    ConfigError
        If a setting is unknown, the kernel is even, or there is one source.

    Example
    -------
    >>> network = ConvTasNet(65, channels=4, hidden=8, skip=4, n_repeats=1)
    >>> masks = network(torch.randn(2, 30, 65, dtype=torch.cfloat))
    >>> masks.shape
    torch.Size([2, 2, 30, 65])
    >>> bool((masks.sum(1) - 1).abs().max() < 1e-5)
    True
    """

    def __init__(
        self,
        n_bins=1025,
        n_sources=2,
        features="parts",
        mask="parts",
        activation="linear",
        consistent=True,
        norm="global",
        n_blocks=6,
        n_repeats=4,
        channels=256,
        hidden=1024,
        skip=256,
        kernel_size=3,
    ):
        super().__init__(
            n_bins, n_sources, features, mask, activation, consistent
        )
        if kernel_size % 2 == 0:
            raise ConfigError(
                f"kernel_size is {kernel_size}: use an odd number of frames"
            )
        if min(n_blocks, n_repeats) < 1:
            raise ConfigError(
                f"n_blocks is {n_blocks}, n_repeats {n_repeats}: use 1 or more"
            )
        self.first = nn.Sequential(
            make_norm(norm, self.n_features),
            nn.Conv1d(self.n_features, channels, 1),
        )
        self.repeats = nn.ModuleList(
            nn.ModuleList(
                TemporalBlock(channels, hidden, skip, kernel_size, 2**b, norm)
                for b in range(n_blocks)
            )
            for _ in range(n_repeats)
        )
        self.output = nn.Sequential(
            nn.PReLU(), nn.Conv1d(skip, self.n_outputs, 1)
        )
        # The published network has these weights, but nothing follows them:
        # processes that train together must not wait for their gradients.
        self.repeats[-1][-1].residual.requires_grad_(False)
        if norm == "frame":
            blocks = (block for repeat in self.repeats for block in repeat)
            self.context_frames = sum(block.reach for block in blocks)
            if features != "parts":
                self.context_frames += LEVEL_FRAMES // 2

    def body(self, features):
        """Numbers of the masks.

        Arguments
        ---------
        features : torch.Tensor (batch, n_features, frames)

        Returns
        -------
        torch.Tensor (batch, n_outputs, frames)
        """
        maps, out, before = self.first(features), 0.0, None
        for number, repeat in enumerate(self.repeats):
            maps = before = self.enter(number, maps, before)
            for place, block in enumerate(repeat):
                residual, skip = block(maps)
                maps = maps + self.scaled(number, place, residual)
                out = out + skip
        return self.output(out)

    def enter(self, number, maps, before):
        """What a stack starts from.

        Arguments
        ---------
        number : int
            Of the stack, from 0.
        maps : torch.Tensor (batch, channels, frames)
            What the last stack ended with.
        before : torch.Tensor (batch, channels, frames) or None
            What the last stack started from.

        Returns
        -------
        torch.Tensor (batch, channels, frames)
        """
        return maps

    def scaled(self, number, place, residual):
        """What a block adds.

        Arguments
        ---------
        number, place : int
            Of the stack, and of the block in it, from 0.
        residual : torch.Tensor (batch, channels, frames)

        Returns
        -------
        torch.Tensor (batch, channels, frames)
        """
        return residual


class TDCNPlusPlus(ConvTasNet):
    """A Conv-TasNet with more ways past its blocks.

    Kavalerov et al., "Universal Sound Separation" (WASPAA 2019), "TDCN++":
    channels are normalised each for itself, each stack after the first also
    sees what the last one started from, through a dense layer, and what a
    block adds is scaled by a learnt number that starts as 0.9 to the power of
    the block's place in its stack.

    Arguments
    ---------
    norm : str
        See `make_norm`. Default: feature.
    **settings
        Those of `ConvTasNet`.

    Raises
    ------
    ConfigError
        If a setting is unknown, the kernel is even, or there is one source.

    Example
    -------
    >>> network = TDCNPlusPlus(n_bins=65, channels=4, hidden=8, skip=4)
    >>> network(torch.randn(2, 30, 65, dtype=torch.cfloat)).shape
    torch.Size([2, 2, 30, 65])
    >>> network.scales[0].detach()
    tensor([0.9000, 0.8100, 0.7290, 0.6561, 0.5905])
    """

    def __init__(self, norm="feature", **settings):
        super().__init__(norm=norm, **settings)
        count = len(self.repeats)
        channels = self.first[1].out_channels
        self.dense = nn.ModuleList(
            nn.Conv1d(channels, channels, 1) for _ in range(count - 1)
        )
        places = torch.arange(1.0, len(self.repeats[0]))
        self.scales = nn.Parameter((0.9**places).repeat(count, 1))

    def enter(self, number, maps, before):
        """What a stack starts from, as in `ConvTasNet`.

        Arguments
        ---------
        number : int
        maps, before : torch.Tensor (batch, channels, frames)

        Returns
        -------
        torch.Tensor (batch, channels, frames)
        """
        return maps + self.dense[number - 1](before) if number else maps

    def scaled(self, number, place, residual):
        """What a block adds, as in `ConvTasNet`.

        Arguments
        ---------
        number, place : int
        residual : torch.Tensor (batch, channels, frames)

        Returns
        -------
        torch.Tensor (batch, channels, frames)
        """
        return residual * self.scales[number, place - 1] if place else residual


class SepFormer(MaskNetwork):
    """Masks from transformers that attend within and across chunks of frames.

    SpeechBrain's dual-path transformer (Subakan et al., "Attention is All You
    Need in Speech Separation", ICASSP 2021) between linear layers from the
    features and to the masks. Its masks may have any sign.

    Arguments
    ---------
    n_bins : int
        Default: 1025.
    n_sources : int
        Default: 2.
    features, mask, activation, consistent
        See `MaskNetwork`. Default: parts, parts, linear, True.
    channels : int
        Default: 256.
    chunk_frames : int
        Frames of a chunk, even; chunks overlap by half. Default: 50.
    n_repeats : int
        Pairs of transformers, within and across chunks. Default: 2.
    n_layers : int
        Layers of each transformer. Default: 4.
    heads : int
        Default: 8.
    feed_forward : int
        Units inside a layer. Default: 1024.
    dropout : float
        Default: 0.

    Raises
    ------
    ConfigError
        If a setting is unknown or does not fit, or there is one source.

    Example
    -------
    >>> network = SepFormer(
    ...     65, channels=8, chunk_frames=10, n_repeats=1, n_layers=1, heads=2
    ... )
    >>> network(torch.randn(2, 34, 65, dtype=torch.cfloat)).shape
    torch.Size([2, 2, 34, 65])
    """

    def __init__(
        self,
        n_bins=1025,
        n_sources=2,
        features="parts",
        mask="parts",
        activation="linear",
        consistent=True,
        channels=256,
        chunk_frames=50,
        n_repeats=2,
        n_layers=4,
        heads=8,
        feed_forward=1024,
        dropout=0.0,
    ):
        super().__init__(
            n_bins, n_sources, features, mask, activation, consistent
        )
        if chunk_frames % 2 or channels % heads or channels % 2:
            raise ConfigError(
                f"chunk_frames is {chunk_frames}, channels {channels}, heads "
                f"{heads}: use even numbers of frames and of channels, and "
                "channels that can be shared by the heads"
            )
        from speechbrain.lobes.models.dual_path import (
            Dual_Path_Model,
            SBTransformerBlock,
        )

        def transformer():
            return SBTransformerBlock(
                n_layers,
                channels,
                heads,
                d_ffn=feed_forward,
                dropout=dropout,
                use_positional_encoding=True,
                norm_before=True,
            )

        self.first = nn.Sequential(
            make_norm("global", self.n_features),
            nn.Conv1d(self.n_features, channels, 1),
        )
        self.paths = Dual_Path_Model(
            channels,
            channels,
            transformer(),
            transformer(),
            num_layers=n_repeats,
            K=chunk_frames,
            num_spks=n_sources,
            linear_layer_after_inter_intra=False,
        )
        # What follows is linear: it must not be cut off at 0.
        self.paths.activation = nn.Identity()
        self.output = nn.Conv1d(channels, self.n_outputs // n_sources, 1)

    def body(self, features):
        """Numbers of the masks.

        Arguments
        ---------
        features : torch.Tensor (batch, n_features, frames)

        Returns
        -------
        torch.Tensor (batch, n_outputs, frames)
        """
        sources = self.paths(self.first(features))
        return torch.cat([self.output(source) for source in sources], 1)
