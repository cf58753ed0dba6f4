"""A mask network with its transform: what separates a recording."""

from torch import nn

from speechbrain_ext.errors import ConfigError
from speechbrain_ext.separation import SOURCES
from speechbrain_ext.separation.codec import STFT


class MaskSeparator(nn.Module):
    """Separates sources by masks on the spectrum of their mixture.

    Channels are separated one by one, all with the same network.

    Arguments
    ---------
    network : torch.nn.Module
        `spec (batch, frames, bins)`, complex, to `masks (batch, sources,
        frames, bins)`, real or complex. Its `context_frames` says how many
        frames to each side a frame of the masks depends on (None: all); its
        `frame_grid`, where it has one, which multiple of frames a part of a
        recording must start at to get the masks that the whole would get.
    sources : sequence of str
        Their names, in the order of the masks. Default: vocals,
        accompaniment.
    sample_rate : int
        Hertz. Default: 16000.
    n_fft, hop_length, win_length, window
        As in `codec.STFT`; samples. Default: 1024, 256, 1024, hann.

    Raises
    ------
    ConfigError
        If there are not at least two different names, or the transform is not
        possible.

    Example
    -------
    >>> import torch
    >>> from speechbrain_ext.separation.recurrent import RecurrentNetwork
    >>> separator = MaskSeparator(RecurrentNetwork(hidden_size=4))
    >>> mixture = torch.randn(3, 2, 5000)
    >>> sources = separator(mixture)
    >>> sources.shape
    torch.Size([3, 2, 2, 5000])
    >>> torch.allclose(sources.sum(1), mixture, atol=1e-5)
    True
    """

    channels = None  # any number

    def __init__(
        self,
        network,
        sources=SOURCES,
        sample_rate=16000,
        n_fft=1024,
        hop_length=256,
        win_length=None,
        window="hann",
    ):
        super().__init__()
        if len(sources) < 2 or len(set(sources)) < len(sources):
            raise ConfigError(
                f"sources is {list(sources)}: give at least two different names"
            )
        self.network = network
        self.sources = tuple(sources)
        self.sample_rate = sample_rate
        self.codec = STFT(n_fft, hop_length, win_length, window)

    @property
    def hop_length(self):
        """Samples from frame to frame."""
        return self.codec.settings["hop_length"]

    @property
    def context_s(self):
        """Seconds of signal to each side that matter; None if all do."""
        frames = self.network.context_frames
        if frames is None:
            return None
        samples = frames * self.hop_length + self.codec.settings["n_fft"]
        return samples / self.sample_rate

    @property
    def frame_grid(self):
        """Parts of a recording start at a multiple of so many frames."""
        return getattr(self.network, "frame_grid", 1)

    def masks(self, spec):
        """Masks of the spectrum of a mixture.

        Arguments
        ---------
        spec : torch.Tensor (batch, channels, frames, bins), complex
            From `codec`.

        Returns
        -------
        torch.Tensor (batch, sources, channels, frames, bins)
            Real or complex; frame k is centred at sample k * hop_length.
        """
        return self._channels(self.network(spec.flatten(0, 1)), spec)

    def forward(self, mixture):
        """Separate a batch of mixtures.

        Arguments
        ---------
        mixture : torch.Tensor (batch, channels, samples)

        Returns
        -------
        torch.Tensor (batch, sources, channels, samples)
        """
        spec = self.codec(mixture)
        return self._masked(self.masks(spec), spec, mixture.shape[-1])

    def stages(self, mixture):
        """Estimates after each stage of a network that has several.

        Arguments
        ---------
        mixture : torch.Tensor (batch, channels, samples)

        Returns
        -------
        list of torch.Tensor (batch, sources, channels, samples)
            The last one is what `forward` gives, and the only one of a network
            without a method `stages`, spectra to lists of masks.
        """
        spec = self.codec(mixture)
        flat = spec.flatten(0, 1)
        run = getattr(self.network, "stages", None)
        found = [self.network(flat)] if run is None else run(flat)
        return [
            self._masked(self._channels(masks, spec), spec, mixture.shape[-1])
            for masks in found
        ]

    @staticmethod
    def _channels(masks, spec):
        """Masks of a batch whose items were the channels of one of `spec`."""
        return masks.unflatten(0, spec.shape[:2]).transpose(1, 2)

    def _masked(self, masks, spec, length):
        """Signals of a masked spectrum."""
        return self.codec.inverse(masks * spec.unsqueeze(1), length)


class AngleSeparator(nn.Module):
    """Multiplies magnitudes by phase angles: a fault, for the record.

    A published system and its evaluation restored a spectrum from magnitude m
    and phase p as m * p, in radians, instead of m * exp(i p). What comes out
    has little to do with the sound: half of all bins change their sign at
    random, and the imaginary parts are gone. Everything else is as in the
    separator inside.

    Arguments
    ---------
    separator : MaskSeparator
        Its masks are real.

    Example
    -------
    >>> import torch
    >>> from speechbrain_ext.separation.recurrent import RecurrentNetwork
    >>> faulty = AngleSeparator(MaskSeparator(RecurrentNetwork(hidden_size=4)))
    >>> mixture = torch.randn(1, 1, 5000)
    >>> restored = faulty(mixture).sum(1)
    >>> bool((restored - mixture).square().mean() > mixture.square().mean())
    True
    """

    channels = None  # any number

    def __init__(self, separator):
        super().__init__()
        self.separator = separator
        self.sources = separator.sources
        self.sample_rate = separator.sample_rate

    @property
    def codec(self):
        """As that of the separator inside."""
        return self.separator.codec

    @property
    def network(self):
        """As that of the separator inside."""
        return self.separator.network

    @property
    def context_s(self):
        """As that of the separator inside."""
        return self.separator.context_s

    def forward(self, mixture):
        """Separate a batch of mixtures, and spoil the result.

        Arguments
        ---------
        mixture : torch.Tensor (batch, channels, samples)

        Returns
        -------
        torch.Tensor (batch, sources, channels, samples)
        """
        spec = self.codec(mixture)
        magnitudes = self.separator.masks(spec) * spec.abs().unsqueeze(1)
        spectra = magnitudes * spec.angle().unsqueeze(1)
        return self.codec.inverse(spectra.to(spec.dtype), mixture.shape[-1])
