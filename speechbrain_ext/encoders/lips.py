"""Encoders of mouth pictures on the 50 fps grid.

- `LipEncoder`: small, trains from nothing on a CPU.
- `LipResNet`: the front-end and trunk that lip readers share (Stafylakis and
  Tzimiropoulos, Interspeech 2017; Petridis et al., ICASSP 2018).

Pictures are grey, 88 x 88 or larger squares of which the centre is taken, with
values from 0 to 255. A frame in which no face was found is all zeros: it is
taken out before any statistics, its features are zeros, and what is too far
from any picture for the encoder to see one is zero in the output. Padding
counts as missing. An item's frames depend neither on the other items nor on
its padding.
"""

import torch
from torch import nn
from torch.nn import functional

from speechbrain_ext.encoders.spectral import TimeBlock
from speechbrain_ext.errors import AudioError
from speechbrain_ext.frames import FRAME_RATE

PICTURE_SIZE = 88  # pixels, of what the networks see
MEAN, SPREAD = 0.421, 0.165  # grey of mouth crops, from 0 (black) to 1


def valid_frames(batch, frames, lengths, device=None):
    """Which frames of a padded batch belong to its items.

    Arguments
    ---------
    batch, frames : int
        Shape of the batch.
    lengths : torch.Tensor (batch,), optional
        Valid share of each item, in (0, 1]. Default: all valid.
    device : torch.device, optional
        Of the result.

    Returns
    -------
    torch.Tensor (batch, frames) of bool

    Example
    -------
    >>> valid_frames(2, 3, torch.tensor([1.0, 0.67])).int().tolist()
    [[1, 1, 1], [1, 1, 0]]
    """
    if lengths is None:
        return torch.ones(batch, frames, dtype=torch.bool, device=device)
    count = torch.round(lengths.to(device) * frames).long()
    return torch.arange(frames, device=device) < count[:, None]


def crop_centre(video):
    """Centre of the pictures, as the networks see it.

    Arguments
    ---------
    video : torch.Tensor (batch, frames, size, size)
        Pictures of 88 x 88 pixels or larger.

    Returns
    -------
    torch.Tensor (batch, frames, 88, 88)
        A view.

    Raises
    ------
    AudioError
        If the shape is another one.

    Example
    -------
    >>> crop_centre(torch.zeros(1, 2, 96, 96)).shape
    torch.Size([1, 2, 88, 88])
    """
    if video.dim() != 4:
        raise AudioError(
            f"video has {video.dim()} dimensions: give (batch, frames, "
            f"{PICTURE_SIZE}, {PICTURE_SIZE})"
        )
    height, width = video.shape[2:]
    if height != width or height < PICTURE_SIZE:
        raise AudioError(
            f"pictures have {height} x {width} pixels: give squares of at "
            f"least {PICTURE_SIZE} x {PICTURE_SIZE}"
        )
    first = (height - PICTURE_SIZE) // 2
    inside = slice(first, first + PICTURE_SIZE)
    return video[:, :, inside, inside]


def find_pictures(video, lengths=None):
    """Pictures as the networks see them, and which of them there are.

    Arguments
    ---------
    video : torch.Tensor (batch, frames, size, size)
        Grey values from 0 to 255, uint8 or float; all zeros: missing.
    lengths : torch.Tensor (batch,), optional
        Valid share of each item, in (0, 1]. Default: all valid.

    Returns
    -------
    video : torch.Tensor (batch, frames, 88, 88)
        The centre of the pictures, a view.
    present : torch.Tensor (batch, frames) of bool
        Pictures that are not missing.
    valid : torch.Tensor (batch, frames) of bool
        Frames that are not padding.

    Raises
    ------
    AudioError
        If the pictures have another shape.
    """
    centre = crop_centre(video)
    valid = valid_frames(*video.shape[:2], lengths, video.device)
    return centre, valid & (video.amax((2, 3)) > 0), valid


def normalise(video, present, dtype):
    """Grey values as the networks take them; zeros where there is none.

    Arguments
    ---------
    video : torch.Tensor (batch, frames, height, width)
        Grey values from 0 to 255.
    present : torch.Tensor (batch, frames) of bool
        Pictures that are not missing.
    dtype : torch.dtype
        Of the result.

    Returns
    -------
    torch.Tensor (batch, frames, height, width)
        (x / 255 - 0.421) / 0.165, about zero mean and unit variance.

    Example
    -------
    >>> white = torch.full((1, 2, 1, 1), 255)
    >>> here = torch.tensor([[True, False]])
    >>> normalise(white, here, torch.float32).flatten().tolist()
    [3.50909..., 0.0]
    """
    scaled = video.to(dtype) * (1 / (255 * SPREAD)) - MEAN / SPREAD
    return scaled * present[..., None, None]


def _put_back(feats, present):
    """Features of the pictures that there are, in their frames."""
    place = present.flatten().nonzero().squeeze(1)
    whole = feats.new_zeros(present.numel(), feats.shape[1])
    return whole.index_copy(0, place, feats).reshape(*present.shape, -1)


class LipEncoder(nn.Module):
    """Small lip encoder that trains from nothing on a CPU.

    Pictures are halved to 44 x 44; a convolution over five frames, a residual
    network for each frame and dilated convolutions over time follow. All
    normalisation is per frame, so that training and evaluation do the same.

    Arguments
    ---------
    channels : int
        Width of the temporal blocks and of the output. Default: 192.
    widths : tuple of int
        Channels of the first convolution and of each residual stage, all
        multiples of 8. Each but the first halves the map. Default: 32, 48, 96.
    dilations : tuple of int
        One temporal block per entry, dilation in frames. Default: reaches
        1.3 s to each side.
    kernel_size : int
        Frames of a temporal kernel, odd. Default: 5.
    dropout : float
        Probability in the temporal blocks. Default: 0.1.

    Attributes
    ----------
    output_size : int
        `channels`.
    frame_rate : int
        50 per second.
    context_s : float
        How far a frame depends on the pictures to each side, in seconds.
    picture_size : int
        88 pixels.

    Example
    -------
    >>> encoder = LipEncoder(channels=32).eval()
    >>> encoder(torch.full((2, 50, 96, 96), 99, dtype=torch.uint8)).shape
    torch.Size([2, 50, 32])
    """

    frame_rate = FRAME_RATE
    picture_size = PICTURE_SIZE

    def __init__(
        self,
        channels=192,
        widths=(32, 48, 96),
        dilations=(1, 2, 4, 8, 16, 1),
        kernel_size=5,
        dropout=0.1,
    ):
        super().__init__()
        self.output_size = channels
        first, *others = widths
        self.stem = nn.Conv3d(
            1, first, (5, 7, 7), stride=(1, 4, 4), padding=(2, 3, 3)
        )
        self.stem_norm = nn.GroupNorm(first // 8, first)
        stages, size = [], PICTURE_SIZE // 8
        for width in others:
            stages.append(_PictureBlock(first, width))
            first, size = width, (size + 1) // 2
        self.trunk = nn.Sequential(*stages)
        self.trunk.to(memory_format=torch.channels_last)
        flat = first * size * size
        self.flat_norm = nn.LayerNorm(flat)
        self.flat = nn.Linear(flat, channels)
        self.blocks = nn.ModuleList(
            TimeBlock(channels, kernel_size, dilation, dropout)
            for dilation in dilations
        )
        self.norm = nn.LayerNorm(channels)
        self._reach = 2 + sum(d * (kernel_size // 2) for d in dilations)
        self.context_s = self._reach / FRAME_RATE

    def forward(self, video, lengths=None):
        """Encode a batch of mouth pictures.

        Arguments
        ---------
        video : torch.Tensor (batch, frames, size, size)
            Grey values from 0 to 255, uint8 or float; size 88, or more for
            the centre to be taken. All zeros: missing.
        lengths : torch.Tensor (batch,), optional
            Valid share of each item, in (0, 1]. Default: all valid.

        Returns
        -------
        torch.Tensor (batch, frames, output_size)
            Zeros after the end of an item and further than `context_s` from
            any picture.

        Raises
        ------
        AudioError
            If the pictures have another shape.
        """
        video, present, valid = find_pictures(video, lengths)
        feats = self._pictures(video, present)
        mask = None if lengths is None else valid.unsqueeze(2)
        for block in self.blocks:
            feats = block(feats, mask)
        near = functional.max_pool1d(
            present.float().unsqueeze(1), 2 * self._reach + 1, 1, self._reach
        )
        near = (near.squeeze(1) > 0) & valid
        return self.norm(feats) * near.unsqueeze(2)

    def _pictures(self, video, present):
        """Features of each picture (batch, frames, channels)."""
        video = functional.avg_pool2d(video.to(self.flat.weight.dtype), 2)
        video = normalise(video, present, video.dtype)
        hidden = self.stem(video.unsqueeze(1)).transpose(1, 2)[present]
        hidden = hidden.contiguous(memory_format=torch.channels_last)
        hidden = functional.relu(self.stem_norm(hidden), inplace=True)
        hidden = self.trunk(hidden).flatten(1)
        return _put_back(self.flat(self.flat_norm(hidden)), present)


class _PictureBlock(nn.Module):
    """Residual block of two convolutions that halves the map."""

    def __init__(self, n_in, n_out):
        super().__init__()
        self.first = nn.Conv2d(n_in, n_out, 3, 2, 1, bias=False)
        self.first_norm = nn.GroupNorm(n_out // 8, n_out)
        self.second = nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False)
        self.second_norm = nn.GroupNorm(n_out // 8, n_out)
        self.shortcut = nn.Conv2d(n_in, n_out, 1, 2, bias=False)

    def forward(self, maps):
        hidden = functional.relu(
            self.first_norm(self.first(maps)), inplace=True
        )
        hidden = self.second_norm(self.second(hidden))
        return functional.relu(hidden.add_(self.shortcut(maps)), inplace=True)


class LipResNet(nn.Module):
    """Front-end and trunk that lip readers share: 512 features per picture.

    A convolution over five frames with batch normalisation, PReLU and max
    pooling (88 -> 44 -> 22 pixels), then ResNet-18 (He et al., CVPR 2016) with
    PReLU for each picture and the mean over the map: 11,186,688 parameters.
    With it Petridis et al. (ICASSP 2018) and AV-HuBERT (Shi et al., ICLR 2022)
    begin. Missing pictures and padding take no part in the statistics of a
    training batch.

    Attributes
    ----------
    output_size : int
        512.
    frame_rate : int
        50 per second.
    context_s : float
        0.04: two frames.
    picture_size : int
        88 pixels.

    Example
    -------
    >>> network = LipResNet().eval()
    >>> network(torch.full((1, 3, 88, 88), 99, dtype=torch.uint8)).shape
    torch.Size([1, 3, 512])
    """

    frame_rate = FRAME_RATE
    picture_size = PICTURE_SIZE
    output_size = 512
    context_s = 2 / FRAME_RATE

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv3d(
            1, 64, (5, 7, 7), stride=(1, 2, 2), padding=(2, 3, 3), bias=False
        )
        self.stem_norm = _PictureNorm(64)
        self.stem_prelu = nn.PReLU(64)
        self.pool = nn.MaxPool2d(3, 2, 1)
        stages, n_in = [], 64
        for n_out, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
            blocks = [
                _BasicBlock(n_in, n_out, stride),
                _BasicBlock(n_out, n_out),
            ]
            stages.append(nn.Sequential(*blocks))
            n_in = n_out
        self.stages = nn.Sequential(*stages)
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Conv3d)):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def forward(self, video, lengths=None):
        """Encode a batch of mouth pictures.

        Arguments
        ---------
        video : torch.Tensor (batch, frames, size, size)
            As `LipEncoder` takes it.
        lengths : torch.Tensor (batch,), optional
            Valid share of each item, in (0, 1]. Default: all valid.

        Returns
        -------
        torch.Tensor (batch, frames, 512)
            Zeros where there is no picture.

        Raises
        ------
        AudioError
            If the pictures have another shape.
        """
        video, present, _ = find_pictures(video, lengths)
        return self.encode(video, present)

    def encode(self, video, present):
        """Encode what `find_pictures` gives.

        Arguments
        ---------
        video : torch.Tensor (batch, frames, 88, 88)
            Grey values from 0 to 255.
        present : torch.Tensor (batch, frames) of bool
            Pictures that are not missing.

        Returns
        -------
        torch.Tensor (batch, frames, 512)
            Zeros where there is no picture.
        """
        video = normalise(video, present, self.stem.weight.dtype)
        # The statistics of (frames, 64, 44, 44) are those of the 3-D norm.
        maps = self.stem(video.unsqueeze(1)).transpose(1, 2)[present]
        maps = self.pool(self.stem_prelu(self.stem_norm(maps)))
        return _put_back(self.stages(maps).mean((2, 3)), present)


class _PictureNorm(nn.BatchNorm2d):
    """Batch norm that keeps to its running statistics if there is nothing."""

    def forward(self, maps):
        if len(maps) or not self.training:
            return super().forward(maps)
        return functional.batch_norm(
            maps, self.running_mean, self.running_var, self.weight, self.bias
        )


class _BasicBlock(nn.Module):
    """Basic block of ResNet with PReLU."""

    def __init__(self, n_in, n_out, stride=1):
        super().__init__()
        self.first = nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False)
        self.first_norm = _PictureNorm(n_out)
        self.first_prelu = nn.PReLU(n_out)
        self.second = nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False)
        self.second_norm = _PictureNorm(n_out)
        self.second_prelu = nn.PReLU(n_out)
        self.shortcut = nn.Identity()
        if stride != 1 or n_in != n_out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(n_in, n_out, 1, stride, bias=False),
                _PictureNorm(n_out),
            )

    def forward(self, maps):
        hidden = self.first_prelu(self.first_norm(self.first(maps)))
        hidden = self.second_norm(self.second(hidden))
        return self.second_prelu(hidden + self.shortcut(maps))
