"""From samples to spectra and back."""

import torch
from torch import nn
from torch.nn import functional

from speechbrain_ext.errors import ConfigError

WINDOWS = {
    "hann": torch.hann_window,
    "sqrt_hann": lambda size: torch.hann_window(size).sqrt(),
    "hamming": torch.hamming_window,
}

# The level of a frame is that of so many frames around it.
LEVEL_FRAMES = 251
_POWER_FLOOR = 1e-10  # of the level


class STFT(nn.Module):
    """Short-time Fourier transform and its inverse.

    Frame k is centred at sample k * hop_length; outside the signal there is
    silence. A signal of any length comes back from its own spectrum to rounding
    error.

    With less overlap than three quarters the last samples may lie at the very
    end of the last window alone, where a mask's effect would be divided by next
    to nothing: then there is one frame more, whose centre is after the end.

    Arguments
    ---------
    n_fft : int
        Size of the transform in samples. Default: 1024.
    hop_length : int
        Samples from frame to frame, at most half of `win_length`. Default:
        256.
    win_length : int, optional
        Length of the window in samples; the rest of a frame is filled with
        zeros. Default: `n_fft`.
    window : {"hann", "sqrt_hann", "hamming"}
        Default: hann.

    Raises
    ------
    ConfigError
        If the window is unknown or the lengths do not fit.

    Example
    -------
    >>> codec = STFT(512, 128, window="sqrt_hann")
    >>> wavs = torch.linspace(-1, 1, 1000).repeat(2, 1)
    >>> spec = codec(wavs)
    >>> spec.shape
    torch.Size([2, 8, 257])
    >>> torch.allclose(codec.inverse(spec, 1000), wavs, atol=1e-6)
    True
    """

    def __init__(
        self, n_fft=1024, hop_length=256, win_length=None, window="hann"
    ):
        super().__init__()
        win_length = n_fft if win_length is None else win_length
        if not 1 <= 2 * hop_length <= win_length <= n_fft:
            raise ConfigError(
                f"hop_length {hop_length}, win_length {win_length}, n_fft "
                f"{n_fft}: the hop must be at most half of the window, the "
                "window at most n_fft"
            )
        if window not in WINDOWS:
            raise ConfigError(
                f"window is {window!r}: use one of {', '.join(WINDOWS)}"
            )
        self.settings = {
            "n_fft": n_fft,
            "hop_length": hop_length,
            "win_length": win_length,
        }
        self.window_name = window
        self.register_buffer(
            "window", WINDOWS[window](win_length), persistent=False
        )

    def forward(self, wavs):
        """Transform signals.

        Arguments
        ---------
        wavs : torch.Tensor (..., samples)
            With at least one sample.

        Returns
        -------
        torch.Tensor (..., frames, bins), complex
            1 + samples // hop_length frames, or one more if the hop is above
            a quarter of the window; n_fft // 2 + 1 bins.
        """
        flat = wavs.reshape(-1, wavs.shape[-1])
        hop_length = self.settings["hop_length"]
        if 4 * hop_length > self.settings["win_length"]:
            flat = nn.functional.pad(flat, (0, hop_length))
        spec = torch.stft(
            flat,
            **self.settings,
            window=self.window.to(wavs.dtype),
            pad_mode="constant",
            return_complex=True,
        )
        return spec.mT.reshape(*wavs.shape[:-1], *spec.mT.shape[-2:])

    def inverse(self, spec, length):
        """Signals of spectra, by overlap and add.

        Arguments
        ---------
        spec : torch.Tensor (..., frames, bins), complex
        length : int
            Samples of the result.

        Returns
        -------
        torch.Tensor (..., length)
        """
        flat = spec.reshape(-1, *spec.shape[-2:]).mT
        wavs = torch.istft(
            flat,
            **self.settings,
            window=self.window.to(spec.real.dtype),
            length=length,
        )
        return wavs.reshape(*spec.shape[:-2], length)


def level_around(spec, frames=LEVEL_FRAMES):
    """Root mean square of a spectrogram around each frame.

    A network whose input is divided by it neither cares for the level of a
    recording nor hears a quiet verse as silence.

    Arguments
    ---------
    spec : torch.Tensor (batch, frames, bins), complex
    frames : int
        Odd; beyond the ends there is nothing to average. Default: 251.

    Returns
    -------
    torch.Tensor (batch, frames, 1)
        At least 1e-5.

    Example
    -------
    >>> spec = torch.tensor([0.0, 3.0, 3.0, 3.0]).view(1, 4, 1) + 0j
    >>> level_around(spec, 3)[0, :, 0]
    tensor([2.1213, 2.4495, 3.0000, 3.0000])
    """
    power = spec.abs().square().mean(-1).unsqueeze(1)
    mean = functional.avg_pool1d(
        power, frames, 1, frames // 2, count_include_pad=False
    )
    return mean.clamp(min=_POWER_FLOOR).sqrt().mT
