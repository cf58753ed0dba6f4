"""One encoder for sound, for lips, and for both.

Each stream has an encoder of its own; a fusion (`speechbrain_ext.fusion`) makes
one stream of the two. A stream that is missing, for one item of a batch or for
all, is zeros with nothing valid in it, so that one set of weights serves sound
alone, lips alone and both (modality dropout; Gu et al., ACM TOMM 2024, train a
model for each).
"""

import math

import torch
from torch import nn
from torch.nn import functional

from speechbrain_ext.encoders.lips import valid_frames
from speechbrain_ext.errors import ConfigError

MODALITIES = ("audio", "video", "both")


def streams_of(modality) -> tuple[bool, bool]:
    """Which streams a modality has.

    Arguments
    ---------
    modality : {"audio", "video", "both"}

    Returns
    -------
    (bool, bool)
        Whether there is sound, and whether there are lips.

    Raises
    ------
    ConfigError
        If there is no such modality.

    Example
    -------
    >>> streams_of("video")
    (False, True)
    """
    if modality not in MODALITIES:
        raise ConfigError(
            f"modality {modality!r} is unknown: use one of "
            f"{', '.join(MODALITIES)}"
        )
    return modality != "video", modality != "audio"


class TwoStreamEncoder(nn.Module):
    """Encoders of sound and lips, and their fusion.

    Arguments
    ---------
    lips : torch.nn.Module
        `video (batch, frames, height, width)` to `(batch, frames, channels)`,
        as `encoders.lips.LipEncoder`.
    audio : torch.nn.Module, optional
        `wavs (batch, samples)` to `(batch, frames, channels)`. Default: none;
        the encoder then knows lips only.
    fusion : torch.nn.Module, optional
        From `speechbrain_ext.fusion`; needed with `audio`. Default: none.

    Attributes
    ----------
    output_size : int
        Channels of the fusion, then the evidence for pitches that an
        `encoders.spectral.HarmonicEncoder` gives besides its context, zeros
        where there is no sound.
    context_s : float
        How far, in seconds to each side, a frame depends on both streams. A
        fusion that looks over the whole of what it is given does not count:
        chunks then stand for themselves.

    Raises
    ------
    ConfigError
        If there is sound but no fusion.

    Example
    -------
    >>> from speechbrain_ext.encoders.lips import LipEncoder
    >>> encoder = TwoStreamEncoder(lips=LipEncoder()).eval()
    >>> video = torch.zeros(2, 50, 88, 88, dtype=torch.uint8)
    >>> encoder(video=video).shape
    torch.Size([2, 50, 192])
    """

    sample_rate = 16000

    def __init__(self, lips, audio=None, fusion=None):
        super().__init__()
        if (audio is None) != (fusion is None):
            raise ConfigError(
                "an encoder of sound and a fusion belong together: give both "
                "or neither"
            )
        self.lips = lips
        self.audio = audio
        self.fusion = fusion
        self.context_s = lips.context_s
        self.output_size, self.evidence_size = lips.output_size, 0
        if audio is not None:
            for name in ("low", "n_pitches"):
                if hasattr(audio, name):
                    setattr(self, name, getattr(audio, name))
            self.evidence_size = getattr(audio, "evidence_size", 0)
            self.output_size = fusion.output_size + self.evidence_size
            self.context_s = max(lips.context_s, audio.context_s)
            if math.isfinite(fusion.context_s):
                self.context_s += fusion.context_s

    def forward(self, wavs=None, wav_lens=None, video=None, streams=None):
        """Encode a batch.

        Arguments
        ---------
        wavs : torch.Tensor (batch, samples), optional
            At 16 kHz.
        wav_lens : torch.Tensor (batch,), optional
            Valid share of each item, of both streams. Default: all valid.
        video : torch.Tensor (batch, frames, height, width), optional
            Pictures of the mouth, 50 per second, 0 to 255.
        streams : torch.Tensor (batch, 2) bool, optional
            Whether an item has sound, and whether it has lips. Default: what
            is given.

        Returns
        -------
        torch.Tensor (batch, frames, output_size)
            Frames of the sound if there is any, else of the video.
        """
        heard = seen = hears = sees = None
        if streams is not None:
            hears, sees = streams.unbind(1)
        if self.audio is None and sees is not None:
            # The same as a video without pictures.
            video = video * sees[:, None, None, None].to(video.dtype)
            return self.lips(video, wav_lens)
        if self.audio is not None and wavs is not None:
            heard = _chosen(self.audio, wavs, wav_lens, hears)
        if video is not None:
            seen = _chosen(self.lips, video, wav_lens, sees)
        return self.fuse(heard, seen, streams, wav_lens)

    def fuse(self, heard, seen, streams=None, lengths=None):
        """Make one stream of two.

        Arguments
        ---------
        heard, seen : torch.Tensor (batch, frames, channels) or None
            What the encoders of sound and lips give, frame for frame.
        streams, lengths
            See `forward`.

        Returns
        -------
        torch.Tensor (batch, frames, output_size)
        """
        if self.audio is None:
            return seen
        if heard is None and seen is None:
            raise ConfigError("nothing is heard and nothing seen: give either")
        like = seen if heard is None else heard
        items, frames = like.shape[:2]
        valid = valid_frames(items, frames, lengths, like.device)
        hears = sees = valid
        if streams is not None:
            hears = valid & streams[:, :1].to(like.device)
            sees = valid & streams[:, 1:].to(like.device)
        if seen is not None:
            seen = functional.pad(seen, (0, 0, 0, frames - seen.shape[1]))
            # An encoder of lips gives zeros where it sees nothing.
            sees = sees & seen.ne(0).any(2)
        if heard is None:
            fused = self.fusion(None, seen, None, sees)
            evidence = like.new_zeros(items, frames, self.evidence_size)
            return torch.cat([fused, evidence], dim=-1)
        heard = heard.masked_fill(~hears.unsqueeze(2), 0.0)
        context = heard.shape[2] - self.evidence_size
        fused = self.fusion(heard[..., :context], seen, hears, sees)
        return torch.cat([fused, heard[..., context:]], dim=-1)


def _chosen(encoder, signals, lengths, chosen):
    """Encode the items that have the stream; zeros for the others."""
    if chosen is None or bool(chosen.all()):
        return encoder(signals, lengths)
    if not bool(chosen.any()):
        return None
    part = encoder(
        signals[chosen], None if lengths is None else lengths[chosen]
    )
    whole = part.new_zeros(len(signals), *part.shape[1:])
    whole[chosen] = part
    return whole
