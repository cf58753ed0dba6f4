"""One encoder for sound, for lips, and for both.

Each stream has an encoder of its own; a fusion (`speechbrain_ext.fusion`) makes
one stream of the two. A stream that is missing, for one item of a batch or for
all, is zeros with nothing valid in it, so that one set of weights serves sound
alone, lips alone and both (modality dropout; Gu et al., ACM TOMM 2024, train a
model for each).
"""

import torch
from torch import nn

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
        How far, in seconds to each side, a frame depends on both streams.

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
            self.context_s = fusion.context_s + max(
                lips.context_s, audio.context_s
            )

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
        if streams is None:
            given = torch.tensor([wavs is not None, video is not None])
            items = len(video if wavs is None else wavs)
            streams = given.expand(items, 2)
        heard = None
        if self.audio is not None and wavs is not None:
            heard = self.encode_audio(wavs, wav_lens)
        seen = None
        if video is not None:
            seen = self.encode_lips(video, wav_lens)
        return self.fuse(heard, seen, streams)

    def encode_audio(self, wavs, wav_lens=None):
        """Encode sound.

        Arguments
        ---------
        wavs, wav_lens
            See `forward`.

        Returns
        -------
        torch.Tensor (batch, frames, channels)
            For `fuse`.
        """
        return self.audio(wavs, wav_lens)

    def encode_lips(self, video, lengths=None):
        """Encode lips.

        Arguments
        ---------
        video, lengths
            See `forward`.

        Returns
        -------
        torch.Tensor (batch, frames, channels)
            For `fuse`.
        """
        return self.lips(video, lengths)

    def fuse(self, heard, seen, streams=None):
        """Make one stream of two.

        Arguments
        ---------
        heard, seen : torch.Tensor (batch, frames, channels) or None
            From `encode_audio` and `encode_lips`, frame for frame.
        streams : torch.Tensor (batch, 2) bool, optional
            See `forward`.

        Returns
        -------
        torch.Tensor (batch, frames, output_size)
        """
        if self.audio is None:
            return seen
        like = seen if heard is None else heard
        items, frames = like.shape[:2]
        if heard is None:
            heard = like.new_zeros(items, frames, self.audio.output_size)
            here = torch.zeros(items, dtype=torch.bool)
        else:
            here = torch.ones(items, dtype=torch.bool)
        if seen is None:
            seen = like.new_zeros(items, frames, self.lips.output_size)
            there = torch.zeros(items, dtype=torch.bool)
        else:
            there = torch.ones(items, dtype=torch.bool)
            missing = frames - seen.shape[1]
            if missing > 0:
                seen = nn.functional.pad(seen, (0, 0, 0, missing))
            seen = seen[:, :frames]
        valid = torch.stack([here, there], dim=1).to(like.device)
        if streams is not None:
            valid = valid & streams.to(like.device)
        heard = heard * valid[:, :1, None]
        seen = seen * valid[:, 1:, None]
        context = heard.shape[2] - self.evidence_size
        valid = valid[:, :, None].expand(-1, -1, frames)
        fused = self.fusion(
            heard[..., :context], seen, valid[:, 0], valid[:, 1]
        )
        return torch.cat([fused, heard[..., context:]], dim=-1)
