"""What tells one singer from another in separated voices, without a download.

A voice print is a row of numbers about the frames of a voice in which it
sounds. `SpectralPrints` takes them from spectra, with no training at all:

- the shape of the spectrum: cepstral coefficients 1 to 12 of the logarithmic
  energies of 24 mel bands up to 8 kHz. Their means say how a voice is
  coloured, their standard deviations how much that changes;
- the range of the pitch: quartiles of the fundamental frequency in semitones,
  by the autocorrelation that belongs to the spectrum's magnitudes (Wiener and
  Khinchin), where that is clear.

`EncoderPrints` takes the mean and the standard deviation of what an encoder of
`encoders.ssl` says, such as one trained to know speakers.

Prints are compared by their differences relative to how much the prints of one
voice differ within the recording (`singer_stitching`); `spread` is what to
assume of that beforehand.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from speechbrain_ext.errors import ConfigError

FEATURES = ("all", "mfcc", "spectral_centroid")

N_BANDS, N_CEPSTRA = 24, 12
TOP_HZ = 8000.0

# Hertz that a voice may sing at.
PITCH_HZ = (65.0, 1100.0)

# Frames count as sounding down to here below a voice's loud ones, dB.
RANGE_DB = 35.0

# Of the autocorrelation at its peak, in a frame that has a pitch.
_VOICED = 0.3

# Power relative to that of a frame that is never taken for sound.
_FLOOR = 1e-10


@lru_cache(maxsize=8)
def _bands(n_fft, sample_rate):
    """Filters (bins, bands) and the cosine transform (bands, cepstra)."""
    from scipy.fft import dct
    from torchaudio.functional import melscale_fbanks

    filters = melscale_fbanks(
        n_fft // 2 + 1,
        60.0,
        min(TOP_HZ, sample_rate / 2),
        N_BANDS,
        sample_rate,
    ).numpy()
    cosines = dct(np.eye(N_BANDS), norm="ortho", axis=1)
    return filters, cosines[:, 1 : N_CEPSTRA + 1]


def sounding_frames(power, floor=0.0) -> np.ndarray:
    """Frames in which a voice sounds.

    Arguments
    ---------
    power : np.ndarray (..., frames)
        Of each frame.
    floor : float
        Power that is silence in any case. Default: 0.

    Returns
    -------
    np.ndarray (..., frames) of bool
        Those above `floor` and less than `RANGE_DB` below the 95th percentile.

    Example
    -------
    >>> sounding_frames(np.array([1.0, 0.5, 1e-5, 0.0])).tolist()
    [True, True, False, False]
    """
    power = np.asarray(power)
    loud = np.quantile(power, 0.95, axis=-1, keepdims=True)
    least = np.maximum(loud * 10 ** (-RANGE_DB / 10), max(floor, 0.0))
    return power > least


def pitches(magnitudes, sample_rate) -> np.ndarray:
    """Fundamental frequency of frames.

    Arguments
    ---------
    magnitudes : np.ndarray (frames, bins)
        Of a spectrum with n_fft // 2 + 1 bins.
    sample_rate : int
        Hertz.

    Returns
    -------
    np.ndarray (frames,)
        MIDI numbers; nan where there is no clear one.

    Example
    -------
    >>> harmonics = np.zeros((1, 1025))
    >>> harmonics[0, 20:400:20] = 1.0  # of 234 Hz, MIDI 58.1
    >>> pitches(harmonics, 24000).round(1)
    array([58.2])
    """
    # Less than the power, so that one loud harmonic does not decide.
    correlation = np.fft.irfft(magnitudes**0.7, axis=-1)
    n_fft = correlation.shape[-1]
    first = int(sample_rate / PITCH_HZ[1])
    last = min(int(sample_rate / PITCH_HZ[0]), n_fft // 2 - 1)
    if last - first < 2:
        return np.full(len(magnitudes), np.nan)
    inside = correlation[:, first : last + 1]
    ratio = inside / np.maximum(correlation[:, :1], 1e-12)
    best = ratio.max(axis=1)
    # The first peak that is nearly the highest: the others are its multiples.
    near = ratio >= 0.9 * best[:, None]
    peak = (ratio >= np.roll(ratio, 1, 1)) & (ratio >= np.roll(ratio, -1, 1))
    peak[:, [0, -1]] = False
    found = near & peak
    lag = first + found.argmax(axis=1)
    clear = found.any(axis=1) & (best > _VOICED)
    return np.where(clear, 69 + 12 * np.log2(sample_rate / lag / 440), np.nan)


class SpectralPrints:
    """Voice prints from spectra: colour and range of pitch.

    Arguments
    ---------
    features : {"all", "mfcc", "spectral_centroid"}
        "all": means and deviations of the cepstra, and quartiles of the pitch.
        "mfcc": without the pitch. "spectral_centroid": mean and deviation of
        the centroid's logarithm. Default: all.

    Raises
    ------
    ConfigError
        If the features are unknown.

    Example
    -------
    >>> prints = SpectralPrints()
    >>> spectra = np.random.default_rng(0).normal(size=(2, 50, 513)) + 0j
    >>> values, seconds = prints(spectra, 16000, 256)
    >>> values.shape, len(prints.spread), seconds.round(1).tolist()
    ((2, 27), 27, [0.8, 0.8])
    """

    def __init__(self, features="all"):
        if features not in FEATURES:
            raise ConfigError(
                f"features is {features!r}: use one of {', '.join(FEATURES)}"
            )
        self.features = features
        if features == "spectral_centroid":
            self.spread = np.array([0.15, 0.1])
        else:
            cepstra = 1.6 / np.sqrt(np.arange(1, N_CEPSTRA + 1))
            parts = [cepstra, cepstra / 2]
            if features == "all":
                parts.append(np.full(3, 3.0))
            self.spread = np.concatenate(parts)

    def __call__(self, spectra, sample_rate, hop_length, floor=0.0):
        """Print voices.

        Arguments
        ---------
        spectra : np.ndarray (voices, frames, bins), complex
        sample_rate, hop_length : int
            Hertz, samples.
        floor : float
            Power of a frame that is silence in any case. Default: 0.

        Returns
        -------
        values : np.ndarray (voices, numbers)
            nan for what could not be found.
        seconds : np.ndarray (voices,)
            For how long each voice sounds.
        """
        magnitudes = np.abs(spectra).astype(np.float64)
        power = (magnitudes**2).sum(-1)
        sounding = sounding_frames(power, floor)
        values = np.full((len(spectra), len(self.spread)), np.nan)
        for k, frames in enumerate(sounding):
            if frames.any():
                values[k] = self._values(magnitudes[k, frames], sample_rate)
        return values, sounding.sum(1) * hop_length / sample_rate

    def _values(self, magnitudes, sample_rate):
        n_fft = 2 * (magnitudes.shape[1] - 1)
        filters, cosines = _bands(n_fft, sample_rate)
        power = magnitudes**2
        if self.features == "spectral_centroid":
            bins = np.arange(1, magnitudes.shape[1] + 1)
            centroid = np.log((power * bins).sum(1) / power.sum(1))
            return np.array([centroid.mean(), centroid.std()])
        bands = power @ filters
        least = _FLOOR + 1e-6 * bands.max(axis=1, keepdims=True)
        cepstra = np.log(np.maximum(bands, least)) @ cosines
        parts = [cepstra.mean(0), cepstra.std(0)]
        if self.features == "all":
            midi = pitches(magnitudes, sample_rate)
            midi = midi[~np.isnan(midi)]
            parts.append(
                np.quantile(midi, (0.25, 0.5, 0.75))
                if len(midi)
                else np.full(3, np.nan)
            )
        return np.concatenate(parts)


class EncoderPrints:
    """Voice prints from an encoder of `encoders.ssl`.

    Arguments
    ---------
    encoder : torch.nn.Module
        Waveforms (batch, samples) at 16 kHz to features (batch, frames,
        channels), 50 per second: an `SSLEncoder`, for example.
    codec : separation.codec.STFT
        Makes waveforms of the spectra.

    Example
    -------
    >>> import torch
    >>> from speechbrain_ext.separation.codec import STFT
    >>> class Loudness(torch.nn.Module):
    ...     def forward(self, wavs):
    ...         return wavs[:, : wavs.shape[1] // 320 * 320].reshape(
    ...             len(wavs), -1, 320
    ...         )[..., :2]
    >>> codec = STFT(512, 128)
    >>> spectra = codec(torch.randn(2, 16000)).numpy()
    >>> values, seconds = EncoderPrints(Loudness(), codec)(spectra, 16000, 128)
    >>> values.shape, seconds.round(1).tolist()
    ((2, 4), [1.0, 1.0])
    """

    # Encoders normalise their frames; the recording itself tells the rest.
    spread = 1.0

    def __init__(self, encoder, codec):
        self.encoder, self.codec = encoder.eval(), codec

    def __call__(self, spectra, sample_rate, hop_length, floor=0.0):
        """Print voices; as in `SpectralPrints`.

        Arguments
        ---------
        spectra : np.ndarray (voices, frames, bins), complex
        sample_rate, hop_length : int
        floor : float

        Returns
        -------
        values : np.ndarray (voices, numbers)
        seconds : np.ndarray (voices,)
        """
        import torch

        from speechbrain_ext.audio import resample
        from speechbrain_ext.encoders.ssl import HOP, SAMPLE_RATE

        sounding = sounding_frames((np.abs(spectra) ** 2).sum(-1), floor)
        seconds = sounding.sum(1) * hop_length / sample_rate
        length = spectra.shape[1] * hop_length
        with torch.inference_mode():
            wavs = self.codec.inverse(torch.from_numpy(spectra), length)
            wavs = resample(wavs.numpy().T, sample_rate, SAMPLE_RATE).T
            short = max(2 * HOP - wavs.shape[1], 0)
            wavs = np.pad(wavs, [(0, 0), (0, short)])
            said = self.encoder(torch.from_numpy(np.ascontiguousarray(wavs)))
        said = said.float().cpu().numpy()
        values = np.full((len(said), 2 * said.shape[2]), np.nan)
        times = (np.arange(said.shape[1]) + 0.5) * HOP / SAMPLE_RATE
        place = np.rint(times * sample_rate / hop_length).astype(int)
        place = np.minimum(place, spectra.shape[1] - 1)
        for k, frames in enumerate(sounding):
            kept = said[k, frames[place]]
            if len(kept):
                values[k] = np.concatenate([kept.mean(0), kept.std(0)])
        return values, seconds
