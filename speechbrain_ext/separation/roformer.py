"""A band-split RoFormer, by the package BS-RoFormer."""

import warnings

import torch
from torch import nn
from torch.nn import functional

from speechbrain_ext.errors import ConfigError, optional_library
from speechbrain_ext.separation import SOURCES

CHANNELS = 2


class BandSplitRoFormer(nn.Module):
    """Separates a voice from stereo music by attention over time and bands.

    Complex masks of the spectrum, from transformers with rotary positions that
    attend in turn along time within each band and across bands within each
    frame: Lu et al., "Music Source Separation with Band-Split RoPE
    Transformer" (ICASSP 2024, arXiv 2309.02612). The defaults are the paper's
    size for MUSDB18-HQ alone, 72 million weights. The package's gates on
    attention and its residual of the first layer's values are not in the
    paper. The accompaniment is what the voice leaves of the mixture. Results
    follow the level of the input.

    Arguments
    ---------
    dim : int
        Features of a band in a frame. Default: 384.
    depth : int
        Pairs of transformers, one over time and one over bands. Default: 6.
    heads, dim_head : int
        Of attention. Default: 8 of 48.
    mask_depth : int
        Layers that give the mask of a band. Default: 2.
    dropout : float
        In attention and feed-forward layers. Default: 0.
    n_fft, hop_length : int
        Of the transform, samples; its window is as long as `n_fft`. Default:
        2048 and 441, 10 ms.
    bands : sequence of int, optional
        Bins of each band, from below. Default: the paper's 62 bands of a
        transform of 2048.
    sample_rate : int
        Hertz. Default: 44100.
    segment_s : float
        Longest input in one piece, seconds: longer recordings are separated in
        segments of this length, as long as those of the training. Default: 8.

    Raises
    ------
    DependencyError
        If the package is missing.
    ConfigError
        If the bands do not have as many bins as the spectrum.
    """

    sources = SOURCES
    channels = CHANNELS

    def __init__(
        self,
        dim=384,
        depth=6,
        heads=8,
        dim_head=48,
        mask_depth=2,
        dropout=0.0,
        n_fft=2048,
        hop_length=441,
        bands=None,
        sample_rate=44100,
        segment_s=8.0,
    ):
        super().__init__()
        package = optional_library(
            "bs_roformer", "BS-RoFormer", "roformer", "a band-split RoFormer"
        )
        if bands is None:
            bands = package.bs_roformer.DEFAULT_FREQS_PER_BANDS
        n_bins = n_fft // 2 + 1
        if sum(bands) != n_bins or min(bands) < 1:
            raise ConfigError(
                f"bands have {sum(bands)} bins, n_fft {n_fft} has {n_bins}: "
                "make them equal, with at least one bin in each band"
            )
        self.sample_rate = sample_rate
        self.segment_s = segment_s
        self.n_fft, self.hop_length = n_fft, hop_length
        with warnings.catch_warnings():
            # It looks at the transform of some noise without a window.
            warnings.simplefilter("ignore", UserWarning)
            self.model = package.BSRoformer(
                dim=dim,
                depth=depth,
                stereo=True,
                time_transformer_depth=1,
                freq_transformer_depth=1,
                freqs_per_bands=tuple(bands),
                dim_head=dim_head,
                heads=heads,
                attn_dropout=dropout,
                ff_dropout=dropout,
                num_residual_streams=1,
                stft_n_fft=n_fft,
                stft_hop_length=hop_length,
                stft_win_length=n_fft,
                mask_estimator_depth=mask_depth,
            )
        # Complex numbers of bfloat16 do not exist.
        for estimator in self.model.mask_estimators:
            estimator.register_forward_hook(_as_float)
        # What is kept for one length is wrong in an average of weights.
        for part in self.model.modules():
            if hasattr(part, "cache_if_possible"):
                part.cache_if_possible = False

    def forward(self, mixture):
        """Separate a batch of mixtures.

        Arguments
        ---------
        mixture : torch.Tensor (batch, 2, samples)

        Returns
        -------
        torch.Tensor (batch, 2, 2, samples)
            Voice and accompaniment, which add up to the mixture.
        """
        length = mixture.shape[-1]
        # Whole frames come back, and the ends are mirrored.
        frames = -(-max(length, self.n_fft) // self.hop_length)
        padded = functional.pad(mixture, (0, frames * self.hop_length - length))
        with warnings.catch_warnings():
            # Of an older name in torch for a choice of kernels.
            warnings.simplefilter("ignore", FutureWarning)
            voice = self.model(padded)[..., :length]
        return torch.stack([voice, mixture - voice], dim=1)


def _as_float(module, inputs, output):
    return output.float()
