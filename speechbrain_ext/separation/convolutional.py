"""A convolutional network that marks where a voice is louder than the rest."""

import math

import torch
from torch import nn
from torch.nn import functional

from speechbrain_ext.errors import ConfigError

KERNEL = (3, 12)  # frames, bins
POOL = 12  # bins
CHANNELS = (32, 16, 64, 32)
HIDDEN = (2048, 512)
BIAS = 0.1  # of all layers, before training


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

    def __init__(self, n_bins=2049, patch_frames=9, dropout=0.5):
        super().__init__()
        if patch_frames < 1 or patch_frames % 2 == 0:
            raise ConfigError(
                f"patch_frames is {patch_frames}: use an odd number, as many "
                "frames before the middle one as after"
            )
        self.n_bins = n_bins
        self.patch_frames = patch_frames
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
        """Logits of the mask.

        Arguments
        ---------
        patches : torch.Tensor (batch, patch_frames, n_bins)
            Magnitudes of the mixture.

        Returns
        -------
        torch.Tensor (batch, patch_frames, n_bins)
            Above 0 where the voice is the louder one.
        """
        logits = self.output(self._context(patches))
        return logits.view(-1, self.patch_frames, self.n_bins)

    def middle(self, patches):
        """Logits of the middle frame alone, at a part of the cost.

        Arguments
        ---------
        patches : torch.Tensor (batch, patch_frames, n_bins)

        Returns
        -------
        torch.Tensor (batch, n_bins)
        """
        first = self.patch_frames // 2 * self.n_bins
        rows = slice(first, first + self.n_bins)
        return functional.linear(
            self._context(patches),
            self.output.weight[rows],
            self.output.bias[rows],
        )

    def _context(self, patches):
        maps = patches.unsqueeze(1)
        for k, convolution in enumerate(self.convolutions):
            maps = functional.relu(convolution(_padded(maps, KERNEL)))
            if k % 2:
                # What is pooled is not negative: zeros change nothing.
                maps = _padded(maps, (1, POOL), (1, POOL))
                maps = functional.max_pool2d(maps, (1, POOL))
        hidden = self.dropout(maps.flatten(1))
        first, second = self.hidden
        hidden = self.dropout(functional.relu(first(hidden)))
        return functional.relu(second(hidden))


def _padded(maps, kernel, stride=(1, 1)):
    """Pad frames and bins with zeros, so that none is lost."""
    frames, bins = (
        same_padding(size, width, step)
        for size, width, step in zip(
            maps.shape[-2:], kernel, stride, strict=True
        )
    )
    return functional.pad(maps, (*bins, *frames))


def patches_of(spectrogram, patch_frames):
    """Patches around every frame.

    Arguments
    ---------
    spectrogram : torch.Tensor (frames, bins)
    patch_frames : int
        Odd. Beyond the ends lies the lowest magnitude of the spectrogram.

    Returns
    -------
    torch.Tensor (frames, patch_frames, bins)
        A view of the padded spectrogram: no memory for overlapping frames.

    Example
    -------
    >>> patches_of(torch.arange(1.0, 5.0).view(4, 1), 3)[:, :, 0]
    tensor([[1., 1., 2.],
            [1., 2., 3.],
            [2., 3., 4.],
            [3., 4., 1.]])
    """
    side = patch_frames // 2
    padded = functional.pad(
        spectrogram, (0, 0, side, side), value=float(spectrogram.min())
    )
    return padded.unfold(0, patch_frames, 1).transpose(1, 2)


def sliding_mask(network, spectrogram, batch_size=64):
    """Mask of a whole spectrogram, each frame from the patch around it.

    Only the middle row of the last layer is computed, a ninth of it with the
    published patches, and many patches at a time.

    Arguments
    ---------
    network : PatchNetwork
        In evaluation mode.
    spectrogram : torch.Tensor (frames, bins)
        Magnitudes of the mixture.
    batch_size : int
        Patches at a time. Default: 64.

    Returns
    -------
    torch.Tensor (frames, bins)
        Probability that the voice is the louder one.
    """
    patches = patches_of(spectrogram, network.patch_frames)
    masks = [
        torch.sigmoid(network.middle(patches[k : k + batch_size]))
        for k in range(0, len(patches), batch_size)
    ]
    return torch.cat(masks)
