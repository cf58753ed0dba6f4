"""A convolutional network that marks where a voice is louder than the rest."""

import math

import torch
from torch import nn
from torch.nn import functional

from speechbrain_ext.errors import ConfigError
from speechbrain_ext.separation.unet import LEVEL_FRAMES, level_around

KERNEL = (3, 12)  # frames, bins
POOL = 12  # bins
CHANNELS = (32, 16, 64, 32)
HIDDEN = (2048, 512)
BIAS = 0.1  # of all layers, before training

KEPT = ("middle", "mean")
LEVELS = ("relative", "published")


def same_padding(size, kernel, stride=1):
    """Zeros before and after that give ceil(size / stride) outputs.

    An even kernel needs one more after than before, as TensorFlow's "same"
    padding has it.

    Arguments
    ---------
    size, kernel, stride : int

    Returns
    -------
    (int, int)

    Example
    -------
    >>> same_padding(2049, 12), same_padding(2049, 12, 12)
    ((5, 6), (1, 2))
    """
    outputs = -(-size // stride)
    missing = max(0, (outputs - 1) * stride + kernel - size)
    return missing // 2, missing - missing // 2


class PatchNetwork(nn.Module):
    """Binary mask of a patch of a magnitude spectrogram.

    Four convolutions, pooled over frequency, under three dense layers, as Lin
    et al., "Singing Voice Separation Using a Deep Convolutional Neural Network
    Trained by Ideal Binary Mask and Cross Entropy" (arXiv 1812.01278): 3 x 12
    kernels, "same" padding inside the patch, biases of 0.1, Glorot's uniform
    weights.

    Arguments
    ---------
    n_bins : int
        Default: 2049.
    patch_frames : int
        Frames of a patch, odd. Default: 9.
    dropout : float
        After the convolutions and between the dense layers. Default: 0.5.
    padded : bool
        Whether the convolutions see zeros beyond the ends of a patch, as
        published (default). False lets them see the four frames on each side:
        over a whole spectrogram they then run once instead of once per patch.

    Raises
    ------
    ConfigError
        If a patch has no middle.

    Example
    -------
    >>> network = PatchNetwork(n_bins=60, patch_frames=3)
    >>> network(torch.rand(5, 3, 60)).shape
    torch.Size([5, 3, 60])
    """

    def __init__(self, n_bins=2049, patch_frames=9, dropout=0.5, padded=True):
        super().__init__()
        if patch_frames < 1 or patch_frames % 2 == 0:
            raise ConfigError(
                f"patch_frames is {patch_frames}: use an odd number, as many "
                "frames before the middle one as after"
            )
        self.n_bins = n_bins
        self.patch_frames = patch_frames
        self.padded = padded
        # Frames of the input, for `patch_frames` of the output.
        self.seen_frames = patch_frames + (0 if padded else 2 * len(CHANNELS))
        self.convolutions = nn.ModuleList(
            nn.Conv2d(inside, outside, KERNEL)
            for inside, outside in zip((1, *CHANNELS), CHANNELS, strict=False)
        )
        pooled = math.ceil(math.ceil(n_bins / POOL) / POOL)
        sizes = (CHANNELS[-1] * patch_frames * pooled, *HIDDEN)
        self.hidden = nn.ModuleList(
            nn.Linear(*pair) for pair in zip(sizes, sizes[1:], strict=False)
        )
        self.output = nn.Linear(HIDDEN[-1], patch_frames * n_bins)
        self.dropout = nn.Dropout(dropout)
        for layer in (*self.convolutions, *self.hidden, self.output):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.constant_(layer.bias, BIAS)

    def forward(self, patches):
        """Logits of the masks of patches.

        Arguments
        ---------
        patches : torch.Tensor (batch, seen_frames, n_bins)
            Magnitudes of the mixture.

        Returns
        -------
        torch.Tensor (batch, patch_frames, n_bins)
            Above 0 where the voice is the louder one.
        """
        maps = patches.unsqueeze(1)
        for k, convolution in enumerate(self.convolutions):
            maps = functional.relu(convolution(self._framed(maps)))
            if k % 2:
                maps = _pooled(maps)
        return self._head(maps.flatten(1))

    def slide(self, magnitudes, middle=True):
        """Logits of the patches around every frame, in one go.

        What neighbouring patches share is computed once: patches differ from a
        convolution of the whole spectrogram only near their ends, where they
        see zeros, so for each distance from an end there is one version of
        each layer, and the parts of a kernel (its three frames) are applied to
        each version once. Results are those of `forward`.

        Arguments
        ---------
        magnitudes : torch.Tensor (batch, frames + seen_frames - 1, n_bins)
            Magnitudes of the mixture, with what lies before and after.
        middle : bool
            Whether only the middle frame of each patch is wanted (default):
            the last layer is then computed for that alone.

        Returns
        -------
        torch.Tensor (batch, frames, n_bins)
            Or (batch, frames, patch_frames, n_bins), if not `middle`.
        """
        maps = magnitudes.unsqueeze(1)
        size = self.patch_frames
        if self.padded:
            positions = [maps] * size
            for k, convolution in enumerate(self.convolutions):
                positions = _shared_layer(convolution, positions, bool(k % 2))
            frames = maps.shape[2] - size + 1
            maps = torch.stack(
                [each[:, :, i : i + frames] for i, each in enumerate(positions)]
            )
            # (positions, batch, channels, frames, bins)
            maps = maps.permute(1, 3, 2, 0, 4)
        else:
            for k, convolution in enumerate(self.convolutions):
                maps = functional.relu(convolution(self._framed(maps)))
                if k % 2:
                    maps = _pooled(maps)
            maps = maps.unfold(2, size, 1).permute(0, 2, 1, 4, 3)
        return self._head(maps.flatten(2), middle)

    def _framed(self, maps):
        """Pad bins with zeros, and frames if patches are padded."""
        frames, bins = (
            same_padding(size, width)
            for size, width in zip(maps.shape[-2:], KERNEL, strict=True)
        )
        return functional.pad(maps, (*bins, *(frames if self.padded else ())))

    def _head(self, maps, middle=False):
        first, second = self.hidden
        hidden = self.dropout(functional.relu(first(self.dropout(maps))))
        hidden = functional.relu(second(hidden))
        if not middle:
            logits = self.output(hidden)
            return logits.unflatten(-1, (self.patch_frames, self.n_bins))
        start = self.patch_frames // 2 * self.n_bins
        rows = slice(start, start + self.n_bins)
        return functional.linear(
            hidden, self.output.weight[rows], self.output.bias[rows]
        )


def _pooled(maps):
    """Maxima of twelve bins each; the ends are filled up with zeros."""
    # What is pooled is not negative: zeros change nothing.
    bins = same_padding(maps.shape[-1], POOL, POOL)
    return functional.max_pool2d(functional.pad(maps, bins), (1, POOL))


def _shared_layer(convolution, positions, pool):
    """One layer of sliding patches.

    `positions` are the maps (batch, channels, frames, bins) of a patch's first,
    second ... last frame, wherever in the recording that is; where they are the
    same they are one object. So are those of the result.
    """
    parts, results, out = {}, {}, []
    # The three frames of a kernel as kernels of one frame.
    weight = convolution.weight.permute(2, 0, 1, 3).flatten(0, 1).unsqueeze(2)
    bias = convolution.bias.view(-1, 1, 1)
    bins = same_padding(positions[0].shape[-1], KERNEL[1])
    for maps in positions:
        if id(maps) not in parts:
            heard = functional.conv2d(functional.pad(maps, bins), weight)
            parts[id(maps)] = heard.chunk(KERNEL[0], dim=1)
    for around in zip(
        [None, *positions[:-1]], positions, [*positions[1:], None], strict=True
    ):
        key = tuple(map(id, around))
        if key not in results:
            before, here, after = around
            total = parts[id(here)][1] + bias
            # What goes around the ends belongs to no whole patch.
            if before is not None:
                total = total + parts[id(before)][0].roll(1, 2)
            if after is not None:
                total = total + parts[id(after)][2].roll(-1, 2)
            total = functional.relu(total)
            results[key] = _pooled(total) if pool else total
        out.append(results[key])
    return out


def patches_of(spectrogram, patch_frames, hop=1):
    """Patches around frames.

    Arguments
    ---------
    spectrogram : torch.Tensor (..., frames, bins)
    patch_frames : int
        Odd. Beyond the ends there is silence.
    hop : int
        Frames from patch to patch; the first is around the first frame.
        Default: 1.

    Returns
    -------
    torch.Tensor (..., 1 + (frames - 1) // hop, patch_frames, bins)
        A view of the padded spectrogram: no memory for overlapping frames.

    Example
    -------
    >>> patches_of(torch.arange(1.0, 5.0).view(4, 1), 3)[:, :, 0]
    tensor([[0., 1., 2.],
            [1., 2., 3.],
            [2., 3., 4.],
            [3., 4., 0.]])
    """
    side = patch_frames // 2
    padded = functional.pad(spectrogram, (0, 0, side, side))
    return padded.unfold(-2, patch_frames, hop).transpose(-1, -2)


class SlidingPatches(nn.Module):
    """Masks of a voice and the rest, from patches around every frame.

    As published, the middle frame of each patch is kept and the network sees
    linear magnitudes, whatever the level of the recording; so what it says
    changes with the level. Here the level is taken out first.

    Arguments
    ---------
    patches : PatchNetwork
    keep : {"middle", "mean"}
        The middle frame of each patch, or the mean of all patches that a frame
        is in. Default: middle.
    level : {"relative", "published"}
        Whether magnitudes are divided by the level of the recording around
        their frame (default), or taken as they are.
    vocals_threshold, accompaniment_threshold : float, optional
        A mask that is less counts as 0: what a voice has there is lost, and
        stems no longer add up to the mixture. Default: none.
    batch_size : int
        Frames computed at a time. Default: 64.

    Raises
    ------
    ConfigError
        If `keep` or `level` is unknown, or a threshold is not between 0 and 1.

    Example
    -------
    >>> network = SlidingPatches(PatchNetwork(n_bins=60)).eval()
    >>> spec = torch.randn(2, 20, 60, dtype=torch.cfloat)
    >>> masks = network(spec)
    >>> masks.shape, torch.allclose(masks.sum(1), torch.ones(()))
    (torch.Size([2, 2, 20, 60]), True)
    >>> torch.allclose(masks, network(100 * spec), atol=1e-5)
    True
    """

    def __init__(
        self,
        patches,
        keep="middle",
        level="relative",
        vocals_threshold=None,
        accompaniment_threshold=None,
        batch_size=64,
    ):
        super().__init__()
        for name, value, known in (
            ("keep", keep, KEPT),
            ("level", level, LEVELS),
        ):
            if value not in known:
                raise ConfigError(
                    f"{name} is {value!r}: use one of {', '.join(known)}"
                )
        self.thresholds = (vocals_threshold, accompaniment_threshold)
        for threshold in self.thresholds:
            if threshold is not None and not 0 <= threshold <= 1:
                raise ConfigError(
                    f"a threshold is {threshold}: masks are between 0 and 1"
                )
        self.patches = patches
        self.middle = keep == "middle"
        self.relative = level == "relative"
        self.batch_size = batch_size
        side = patches.patch_frames // 2
        self.context_frames = patches.seen_frames // 2
        if not self.middle:
            self.context_frames += side
        if self.relative:
            self.context_frames += LEVEL_FRAMES // 2

    def level(self, spec):
        """What magnitudes are divided by.

        Arguments
        ---------
        spec : torch.Tensor (batch, frames, bins), complex
            Of the mixture.

        Returns
        -------
        torch.Tensor (batch, frames, 1) or (1,)
        """
        return level_around(spec) if self.relative else spec.real.new_ones(1)

    def forward(self, spec):
        """Masks of the voice and of the rest.

        Arguments
        ---------
        spec : torch.Tensor (batch, frames, bins), complex
            Of the mixture.

        Returns
        -------
        torch.Tensor (batch, 2, frames, bins)
            In [0, 1]; without thresholds they add up to 1.
        """
        voice = self.probabilities(spec.abs() / self.level(spec))
        masks = torch.stack([voice, 1 - voice], dim=1)
        return torch.stack(
            [
                mask if low is None else mask * (mask >= low)
                for mask, low in zip(
                    masks.unbind(1), self.thresholds, strict=True
                )
            ],
            dim=1,
        )

    def probabilities(self, magnitudes):
        """Probability that the voice is the louder one.

        Arguments
        ---------
        magnitudes : torch.Tensor (batch, frames, bins)
            Divided by `level`.

        Returns
        -------
        torch.Tensor (batch, frames, bins)
        """
        batch, frames, bins = magnitudes.shape
        size, seen = self.patches.patch_frames, self.patches.seen_frames
        side = seen // 2
        padded = functional.pad(magnitudes, (0, 0, side, side))
        parts = (
            (k, padded[:, k : k + self.batch_size + seen - 1])
            for k in range(0, frames, self.batch_size)
        )
        if self.middle:
            said = [self.patches.slide(part).sigmoid() for _, part in parts]
            return torch.cat(said, dim=1)
        total = magnitudes.new_zeros(batch, frames + size - 1, bins)
        count = magnitudes.new_zeros(frames + size - 1, 1)
        for k, part in parts:
            said = self.patches.slide(part, middle=False).sigmoid()
            for i in range(size):
                place = slice(k + i, k + i + said.shape[1])
                total[:, place] += said[:, :, i]
                count[place] += 1
        inside = slice(size // 2, size // 2 + frames)
        return total[:, inside] / count[inside]
