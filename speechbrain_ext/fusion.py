"""Fusion of what is heard with what is seen, between encoders and head.

All fusions are called in the same way, `fusion(audio, video, audio_valid,
video_valid)`, so that a recipe changes one `!new:` line to compare them:

| class | what |
|---|---|
| `ConvolutionalFusion` | starts as the audio alone; exact context; for CPUs |
| `ResidualCrossAttention` | the published one (Gu et al., ACM TOMM 2024) |
| `CrossAttention` | each stream asks the other one |
| `Gated` | per channel, how much of which stream |
| `Concatenation` | both streams side by side, and a linear layer |

Streams may differ in length: `align` puts the video on the frames of the audio
by time. A frame that is not valid, and a stream that is missing (None, or no
valid frame), is zeros, whatever it contains. A recording ends with its last
valid frame of audio; the video is not looked at after it. So an item of a
padded batch gives what it gives alone. Frames of the output where neither
stream is valid are zeros.
"""

import math

import torch
from torch import nn
from torch.nn import functional

from speechbrain_ext.errors import ConfigError
from speechbrain_ext.frames import FRAME_RATE

_HALF = 0.5 - 1e-6  # a frame seen for half of its weight counts as seen


def align(video, valid=None, frames=None, *, audio_rate=None, video_rate=None):
    """Put a stream on the frames of another one, by time.

    Frame k of a stream is centred at (k + 0.5) / rate; between two centres a
    frame is interpolated linearly. Neighbours that are not valid have no
    weight; a frame is valid if at least half of its weight is.

    Arguments
    ---------
    video : torch.Tensor (batch, frames_v, channels)
        The stream.
    valid : torch.Tensor (batch, frames_v) of bool, optional
        True = valid. Default: all.
    frames : int, optional
        Frames wanted. Default: as many as there are.
    audio_rate, video_rate : float, optional
        Frames per second wanted, and of the stream. The two start together; a
        stream that ends early is continued by invalid frames, one that is
        longer is cut. Default: both streams last equally long, whatever their
        rates.

    Returns
    -------
    video : torch.Tensor (batch, frames, channels)
        Zeros where not valid.
    valid : torch.Tensor (batch, frames) of bool

    Example
    -------
    >>> ramp = torch.arange(4.0).reshape(1, 4, 1)
    >>> video, valid = align(ramp, frames=8)
    >>> video.flatten().tolist()
    [0.0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3.0]
    >>> align(ramp, frames=6, audio_rate=50, video_rate=50)[1].tolist()
    [[True, True, True, True, False, False]]
    """
    count = video.shape[1]
    frames = count if frames is None else frames
    if valid is None:
        valid = video.new_ones(video.shape[:2], dtype=torch.bool)
    video = video.masked_fill(~valid.unsqueeze(2), 0.0)
    ratio = count / max(1, frames)
    if audio_rate is not None:
        ratio = video_rate / audio_rate
    if ratio == 1 and count == frames:
        return video, valid
    if count == 0 or frames == 0:
        shape = (len(video), frames)
        return video.new_zeros(*shape, video.shape[2]), valid.new_zeros(shape)
    at = torch.arange(frames, dtype=torch.float64, device=video.device)
    at = (at + 0.5) * ratio - 0.5
    below = at.floor()
    parts, total = 0.0, 0.0
    for index, weight in ((below, below + 1 - at), (below + 1, at - below)):
        inside = (index >= 0) & (index < count)
        index = index.long().clamp(0, count - 1)
        weight = (weight * inside * valid[:, index]).to(video.dtype)
        parts = parts + video[:, index] * weight.unsqueeze(2)
        total = total + weight
    valid = total >= _HALF
    video = parts / total.clamp(min=0.25).unsqueeze(2)
    return video.masked_fill(~valid.unsqueeze(2), 0.0), valid


def sinusoidal_positions(frames, channels):
    """Positions of frames as sines and cosines (Vaswani et al., 2017).

    Arguments
    ---------
    frames, channels : int

    Returns
    -------
    torch.Tensor (frames, channels)
        In channel 2 i the sine, in 2 i + 1 the cosine of
        k / 10000^(2 i / channels).

    Example
    -------
    >>> sinusoidal_positions(2, 2).round(decimals=3).tolist()
    [[0.0, 1.0], [0.8410000205039978, 0.5400000214576721]]
    """
    frame = torch.arange(frames, dtype=torch.float64).unsqueeze(1)
    channel = torch.arange(channels)
    pair = channel.div(2, rounding_mode="floor")
    angles = frame * 10000.0 ** (-2.0 * pair.double() / channels)
    # Odd channels: the cosine.
    return torch.sin(angles + (channel % 2) * (math.pi / 2)).float()


class _Fusion(nn.Module):
    """What all fusions share: streams that are equal in length and checked.

    A subclass has `output_size` and `_fuse(audio, video, audio_valid,
    video_valid)`.
    """

    def __init__(self, audio_size, video_size, audio_rate, video_rate):
        super().__init__()
        if (audio_rate is None) != (video_rate is None):
            raise ConfigError(
                f"audio_rate is {audio_rate} but video_rate is {video_rate}: "
                "give both or none"
            )
        self.audio_size = audio_size
        self.video_size = video_size
        self.audio_rate = audio_rate
        self.video_rate = video_rate

    def _context(self, reach):
        """Seconds that a frame depends on, for a reach in frames."""
        seconds = reach / (self.audio_rate or FRAME_RATE)
        if self.video_rate != self.audio_rate:
            seconds += 1 / self.video_rate  # interpolation
        return seconds

    def _given(self, name, stream, size, valid):
        if stream is None:
            return None, None
        if stream.shape[2] != size:
            raise ConfigError(
                f"the {name} has {stream.shape[2]} channels but the fusion "
                f"takes {size}: set its {name}_size"
            )
        if valid is None:
            valid = stream.new_ones(stream.shape[:2], dtype=torch.bool)
        elif valid.shape != stream.shape[:2]:
            raise ConfigError(
                f"the {name} has {stream.shape[1]} frames but {name}_valid "
                f"has {valid.shape[1]}: give one for each frame"
            )
        return stream, valid.bool()

    def _streams(self, audio, video, audio_valid, video_valid):
        """Both streams on the frames of the audio, zeros where not valid."""
        audio, audio_valid = self._given(
            "audio", audio, self.audio_size, audio_valid
        )
        video, video_valid = self._given(
            "video", video, self.video_size, video_valid
        )
        if audio is None and video is None:
            raise ConfigError(
                "neither audio nor video is given: a fusion needs one of them"
            )
        if audio is None:
            ratio = 1.0
            if self.audio_rate is not None:
                ratio = self.audio_rate / self.video_rate
            frames = round(video.shape[1] * ratio)
            audio = video.new_zeros(len(video), frames, self.audio_size)
            audio_valid = video_valid.new_zeros(audio.shape[:2])
        if video is None:
            video = audio.new_zeros(*audio.shape[:2], self.video_size)
            video_valid = torch.zeros_like(audio_valid)
        elif len(audio) != len(video):
            raise ConfigError(
                f"the audio has {len(audio)} items but the video has "
                f"{len(video)}: give one video for each"
            )
        else:
            video, video_valid = align(
                video,
                video_valid,
                audio.shape[1],
                audio_rate=self.audio_rate,
                video_rate=self.video_rate,
            )
        audio = audio.masked_fill(~audio_valid.unsqueeze(2), 0.0)
        left = audio_valid.long().flip(1).cumsum(1).flip(1)
        heard = audio_valid.any(1, keepdim=True)
        video_valid = video_valid & ((left > 0) | ~heard)
        video = video.masked_fill(~video_valid.unsqueeze(2), 0.0)
        return audio, video, audio_valid, video_valid

    def forward(self, audio, video, audio_valid=None, video_valid=None):
        """Fuse two streams.

        Arguments
        ---------
        audio : torch.Tensor (batch, frames, audio_size) or None
            None = missing in all items.
        video : torch.Tensor (batch, frames_v, video_size) or None
            Put on the frames of the audio by time (`align`).
        audio_valid : torch.Tensor (batch, frames) of bool, optional
            True = valid. Default: all, if there is audio.
        video_valid : torch.Tensor (batch, frames_v) of bool, optional
            The same for the video.

        Returns
        -------
        torch.Tensor (batch, frames, output_size)
            On the frames of the audio, or on those of the video (at
            `audio_rate`) without any; zeros where neither is valid.

        Raises
        ------
        ConfigError
            If both streams are missing, or the channels, items or masks do
            not fit.
        """
        streams = self._streams(audio, video, audio_valid, video_valid)
        nowhere = ~(streams[2] | streams[3]).unsqueeze(2)
        return self._fuse(*streams).masked_fill(nowhere, 0.0)


def _projection(size, width):
    """To another width if it differs; zeros stay zeros."""
    if size == width:
        return nn.Identity()
    return nn.Linear(size, width, bias=False)


class Concatenation(_Fusion):
    """Both streams side by side, then a linear layer or two.

    Arguments
    ---------
    audio_size, video_size : int, optional
        Channels of the streams. Default: `width`.
    width : int
        Channels of the output. Default: 192.
    hidden : int, optional
        Channels of a hidden layer with GELU. Default: none.
    dropout : float
        Probability after the hidden layer. Default: 0.
    audio_rate, video_rate : float, optional
        Frames per second; see `align`.

    Example
    -------
    >>> fusion = Concatenation(8, 4, width=6)
    >>> fusion(torch.zeros(2, 50, 8), torch.zeros(2, 25, 4)).shape
    torch.Size([2, 50, 6])
    """

    def __init__(
        self,
        audio_size=None,
        video_size=None,
        width=192,
        hidden=None,
        dropout=0.0,
        audio_rate=None,
        video_rate=None,
    ):
        super().__init__(
            audio_size or width, video_size or width, audio_rate, video_rate
        )
        self.output_size = width
        self.context_s = self._context(0)
        size = self.audio_size + self.video_size
        layers = [nn.Linear(size, hidden or width)]
        if hidden:
            layers += [
                nn.GELU(),
                nn.Dropout(dropout),
                nn.Linear(hidden, width),
            ]
        self.layers = nn.Sequential(*layers)

    def _fuse(self, audio, video, audio_valid, video_valid):
        return self.layers(torch.cat([audio, video], dim=2))


class Gated(_Fusion):
    """For each channel, how much of the audio and how much of the video.

    The gate is a logistic function of a linear layer on both streams; the
    output is `gate * audio + (1 - gate) * video`. Where one stream is not
    valid, it is the other one.

    Arguments
    ---------
    audio_size, video_size : int, optional
        Channels of the streams; projected if they differ from `width`.
        Default: `width`.
    width : int
        Channels of the output. Default: 192.
    audio_rate, video_rate : float, optional
        Frames per second; see `align`.

    Example
    -------
    >>> fusion = Gated(width=8)
    >>> audio = torch.rand(2, 50, 8)
    >>> torch.equal(fusion(audio, None), audio)
    True
    """

    def __init__(
        self,
        audio_size=None,
        video_size=None,
        width=192,
        audio_rate=None,
        video_rate=None,
    ):
        super().__init__(
            audio_size or width, video_size or width, audio_rate, video_rate
        )
        self.output_size = width
        self.context_s = self._context(0)
        self.audio_projection = _projection(self.audio_size, width)
        self.video_projection = _projection(self.video_size, width)
        self.gate = nn.Linear(2 * width, width)

    def _fuse(self, audio, video, audio_valid, video_valid):
        audio = self.audio_projection(audio)
        video = self.video_projection(video)
        gate = torch.sigmoid(self.gate(torch.cat([audio, video], dim=2)))
        gate = gate.masked_fill(~video_valid.unsqueeze(2), 1.0)
        gate = gate.masked_fill(~audio_valid.unsqueeze(2), 0.0)
        return gate * audio + (1 - gate) * video


class _AttentionLayer(nn.Module):
    """One stream's layer: attention, feed-forward part, norms after each."""

    def __init__(self, width, heads, ffn, dropout):
        super().__init__()
        self.attention = nn.MultiheadAttention(
            width, heads, dropout=dropout, batch_first=True
        )
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, ffn),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(ffn, width),
        )
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.dropout = nn.Dropout(dropout)

    def attend(self, query, stream, masks):
        return self.attention(
            query, stream, stream, need_weights=False, **masks
        )[0]

    def finish(self, stream, attended):
        hidden = self.norm1(stream + self.dropout(attended))
        return self.norm2(hidden + self.dropout(self.feed_forward(hidden)))


class _AttentionFusion(_Fusion):
    """What both kinds of cross-attention share."""

    def __init__(
        self,
        audio_size,
        video_size,
        width,
        heads,
        ffn,
        dropout,
        masks,
        positions,
        window_s,
        audio_rate,
        video_rate,
    ):
        super().__init__(
            audio_size or width, video_size or width, audio_rate, video_rate
        )
        if width % heads:
            raise ConfigError(
                f"width {width} cannot be shared by {heads} heads: choose a "
                "multiple"
            )
        self.output_size = width
        self.masks = masks
        self.positions = positions
        self.heads = heads
        self.reach = None
        self.context_s = math.inf
        if window_s is not None:
            self.reach = math.floor(
                window_s * (audio_rate or FRAME_RATE) + 1e-6
            )
            self.context_s = self._context(self.reach)
        self.audio_projection = _projection(self.audio_size, width)
        self.video_projection = _projection(self.video_size, width)
        self.audio_layer = _AttentionLayer(width, heads, ffn, dropout)
        self.video_layer = _AttentionLayer(width, heads, ffn, dropout)

    def _keys(self, valid, other_valid):
        """What attention may look at in a stream, as masks of PyTorch."""
        if self.masks:
            # A missing stream is zeros for as long as the other one lasts.
            seen = valid.any(1, keepdim=True)
            valid = torch.where(seen, valid, other_valid)
            valid = valid | ~valid.any(1, keepdim=True)  # none: no NaN
        if self.reach is None:
            return {"key_padding_mask": ~valid} if self.masks else {}
        index = torch.arange(valid.shape[1], device=valid.device)
        near = (index - index.unsqueeze(1)).abs() <= self.reach
        if not self.masks:
            return {"attn_mask": ~near}
        near = near & valid.unsqueeze(1)
        alone = ~near.any(2, keepdim=True)
        near = near | (alone & (index == index.unsqueeze(1)))
        return {"attn_mask": (~near).repeat_interleave(self.heads, 0)}

    def _fuse(self, audio, video, audio_valid, video_valid):
        audio = self.audio_projection(audio)
        video = self.video_projection(video)
        if self.positions:
            where = sinusoidal_positions(audio.shape[1], audio.shape[2])
            where = where.to(audio)
            audio, video = audio + where, video + where
        heard = self._keys(audio_valid, video_valid)
        seen = self._keys(video_valid, audio_valid)
        return self._layer(self.audio_layer, audio, video, heard, seen) + (
            self._layer(self.video_layer, video, audio, seen, heard)
        )


class ResidualCrossAttention(_AttentionFusion):
    """Residual cross-attention of Gu et al., ACM TOMM 2024.

    Doi 10.1145/3651310. Both streams get sinusoidal positions. Each has one
    layer; that of the stream s with the other stream q is

        h = LN1(s + alpha MHA(s, s, s) + (1 - alpha) MHA(q, s, s))
        o = LN2(h + W2 ReLU(W1 h))

    where MHA(query, key, value) has the same weights both times. The output is
    the sum of both layers'. With the defaults each layer has 10 498 048
    parameters. A stream that is missing is zeros, of which the layer sees only
    the positions, as in the published control without video.

    Arguments
    ---------
    audio_size, video_size : int, optional
        Channels of the streams; projected if they differ from `width`.
        Default: `width`.
    width : int
        Channels of the output. Default: 1024.
    heads : int
        Heads of the attention. Default: 8.
    ffn : int
        Channels of the feed-forward part. Default: 3072.
    dropout : float
        Probability in attention and feed-forward part. Default: 0.
    alpha : float
        Weight of self-attention, in [0, 1]. Default: 0.5.
    learn_alpha : bool
        Whether each layer learns its own, beginning with `alpha`. Default:
        False.
    masks : bool
        Whether attention leaves out frames that are not valid. False: as
        published, where padding is looked at. Default: True.
    positions : bool
        Whether positions are added. They count from the start of what is given,
        so that a chunk differs from the whole. Default: True.
    window_s : float, optional
        How far attention looks to each side, in seconds. Default: over the
        whole sequence.
    audio_rate, video_rate : float, optional
        Frames per second; see `align`.

    Raises
    ------
    ConfigError
        If the heads do not divide the width or alpha is outside [0, 1].

    Example
    -------
    >>> fusion = ResidualCrossAttention(width=16, heads=2, ffn=32)
    >>> fusion(torch.zeros(2, 50, 16), torch.zeros(2, 50, 16)).shape
    torch.Size([2, 50, 16])
    """

    def __init__(
        self,
        audio_size=None,
        video_size=None,
        width=1024,
        heads=8,
        ffn=3072,
        dropout=0.0,
        alpha=0.5,
        learn_alpha=False,
        masks=True,
        positions=True,
        window_s=None,
        audio_rate=None,
        video_rate=None,
    ):
        super().__init__(
            audio_size,
            video_size,
            width,
            heads,
            ffn,
            dropout,
            masks,
            positions,
            window_s,
            audio_rate,
            video_rate,
        )
        if not 0 <= alpha <= 1:
            raise ConfigError(
                f"alpha is {alpha:g}: choose a weight between 0 and 1"
            )
        for layer in (self.audio_layer, self.video_layer):
            layer.alpha = alpha
            if learn_alpha:
                layer.alpha = nn.Parameter(torch.tensor(float(alpha)))

    def _layer(self, layer, own, other, own_keys, other_keys):
        attended = layer.alpha * layer.attend(own, own, own_keys)
        crossed = (1 - layer.alpha) * layer.attend(other, own, own_keys)
        return layer.finish(own, attended + crossed)


class CrossAttention(_AttentionFusion):
    """Cross-attention as usual: each stream asks the other one.

    As `ResidualCrossAttention`, but with `h = LN1(s + MHA(s, q, q))`.

    Arguments
    ---------
    audio_size, video_size : int, optional
        Channels of the streams; projected if they differ from `width`.
        Default: `width`.
    width : int
        Channels of the output. Default: 1024.
    heads : int
        Heads of the attention. Default: 8.
    ffn : int
        Channels of the feed-forward part. Default: 3072.
    dropout : float
        Probability in attention and feed-forward part. Default: 0.
    masks : bool
        Whether attention leaves out frames that are not valid. Default: True.
    positions : bool
        Whether positions are added. Default: True.
    window_s : float, optional
        How far attention looks to each side, in seconds. Default: over the
        whole sequence.
    audio_rate, video_rate : float, optional
        Frames per second; see `align`.

    Raises
    ------
    ConfigError
        If the heads do not divide the width.

    Example
    -------
    >>> fusion = CrossAttention(16, 8, width=16, heads=2, ffn=32, window_s=1)
    >>> fusion(torch.zeros(2, 50, 16), torch.zeros(2, 25, 8)).shape
    torch.Size([2, 50, 16])
    >>> fusion.context_s
    1.0
    """

    def __init__(
        self,
        audio_size=None,
        video_size=None,
        width=1024,
        heads=8,
        ffn=3072,
        dropout=0.0,
        masks=True,
        positions=True,
        window_s=None,
        audio_rate=None,
        video_rate=None,
    ):
        super().__init__(
            audio_size,
            video_size,
            width,
            heads,
            ffn,
            dropout,
            masks,
            positions,
            window_s,
            audio_rate,
            video_rate,
        )

    def _layer(self, layer, own, other, own_keys, other_keys):
        return layer.finish(own, layer.attend(own, other, other_keys))


class _ConvolutionBlock(nn.Module):
    """Residual block: norm per frame, dilated convolution, GELU, mix."""

    def __init__(self, width, kernel_size, dilation, dropout):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.convolution = nn.Conv1d(
            width,
            width,
            kernel_size,
            padding=dilation * (kernel_size // 2),
            dilation=dilation,
        )
        self.mix = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, feats, valid):
        hidden = self.norm(feats).masked_fill(~valid, 0.0).transpose(1, 2)
        hidden = functional.gelu(self.convolution(hidden).transpose(1, 2))
        return feats + self.dropout(self.mix(hidden))


class ConvolutionalFusion(_Fusion):
    """Convolutions over both streams, added to the audio.

    Both streams, normalised per frame, and two flags that say where they are
    valid go through residual dilated convolutions over time. A last layer,
    which begins as zeros, makes of it what is added to the audio: a model that
    heard only audio before gives the same result at the start of training, and
    always where there is no video.

    Arguments
    ---------
    audio_size, video_size : int
        Channels of the streams. Default: 192.
    width : int
        Channels of the convolutions. Default: 192.
    dilations : tuple of int
        One block per entry, in frames. Default: (1, 2, 4, 8, 16), which
        reaches 0.62 s to each side.
    kernel_size : int
        Frames of a kernel, odd. Default: 3.
    dropout : float
        Probability in the blocks. Default: 0.1.
    audio_rate, video_rate : float, optional
        Frames per second; see `align`.

    Attributes
    ----------
    output_size : int
        `audio_size`.

    Raises
    ------
    ConfigError
        If the kernel is even.

    Example
    -------
    >>> fusion = ConvolutionalFusion(8, 4, width=16)
    >>> audio, video = torch.rand(2, 50, 8), torch.rand(2, 50, 4)
    >>> torch.equal(fusion(audio, video), audio)
    True
    >>> fusion.context_s
    0.62
    """

    def __init__(
        self,
        audio_size=192,
        video_size=192,
        width=192,
        dilations=(1, 2, 4, 8, 16),
        kernel_size=3,
        dropout=0.1,
        audio_rate=None,
        video_rate=None,
    ):
        super().__init__(audio_size, video_size, audio_rate, video_rate)
        if kernel_size % 2 == 0:
            raise ConfigError(
                f"kernel_size is {kernel_size}: choose an odd number of frames"
            )
        self.output_size = audio_size
        self.context_s = self._context(
            sum(dilation * (kernel_size // 2) for dilation in dilations)
        )
        self.audio_norm = nn.LayerNorm(audio_size)
        self.video_norm = nn.LayerNorm(video_size)
        self.entry = nn.Linear(audio_size + video_size + 2, width)
        self.blocks = nn.ModuleList(
            _ConvolutionBlock(width, kernel_size, dilation, dropout)
            for dilation in dilations
        )
        self.norm = nn.LayerNorm(width)
        self.exit = nn.Linear(width, audio_size)
        nn.init.zeros_(self.exit.weight)
        nn.init.zeros_(self.exit.bias)

    def _fuse(self, audio, video, audio_valid, video_valid):
        flags = torch.stack([audio_valid, video_valid], dim=2)
        parts = [
            self.audio_norm(audio).masked_fill(~flags[..., :1], 0.0),
            self.video_norm(video).masked_fill(~flags[..., 1:], 0.0),
            flags.to(audio.dtype),
        ]
        hidden = self.entry(torch.cat(parts, dim=2))
        valid = flags.any(2, keepdim=True)
        for block in self.blocks:
            hidden = block(hidden, valid)
        added = self.exit(self.norm(hidden))
        return audio + added.masked_fill(~flags[..., 1:], 0.0)
