"""Compact encoders that train from nothing on a CPU.

`HarmonicEncoder` is for pitch: a spectrogram on a logarithmic frequency axis,
where a transposition is a shift, is put on top of itself so that the harmonics
of each candidate pitch meet, as the harmonic constant-Q transform of Bittner et
al. (ISMIR 2017) does: pitch in accompaniment is so learnt from far less
singing. Three convolutions in frequency and a stack of dilated depth-wise
convolutions in time follow. A second, short analysis window keeps onsets and
consonants sharp.

`MelEncoder` is for phones: short windows, mel bands, and the same blocks over
time.

All normalisation is per frame, so the output of an item depends neither on its
batch companions nor on anything further away than the encoder's `context_s`.
"""

import math

import torch
from torch import nn
from torch.nn import functional

from speechbrain_ext.frames import FRAME_RATE
from speechbrain_ext.notes import midi_to_hz

SAMPLE_RATE = 16000
SAMPLES_PER_FRAME = SAMPLE_RATE // FRAME_RATE
BINS_PER_SEMITONE = 3  # of `HarmonicEncoder`, odd
_TOP_HZ = 7600.0  # highest band of `HarmonicEncoder`
_PERIODS = (1.0, 3.0, 12.0)  # semitones, of the circles that pitch goes around
_FILTER_GROUP = 36  # bands that are computed together
_POWER_FLOOR = 1e-9
_SILENT = (math.log10(_POWER_FLOOR) + 4.0) / 2.0  # what `_Spectrum` makes of it


def log_frequency_filters(
    n_fft: int, low_midi: float, bins_per_semitone: int, n_bins: int
) -> torch.Tensor:
    """Triangular filters equally spaced in pitch.

    A filter is as wide as two of its neighbours' distances, but never narrower
    than two bins of the Fourier transform, so that none is empty.

    Arguments
    ---------
    n_fft : int
        Samples of the Fourier transform at 16 kHz.
    low_midi : float
        Centre of the first filter as a MIDI number.
    bins_per_semitone : int
        Filters per semitone.
    n_bins : int
        Number of filters; their centres must stay below 8 kHz.

    Returns
    -------
    torch.Tensor (n_fft // 2 + 1, n_bins)
        Non-negative weights; each column sums to 1.

    Example
    -------
    >>> log_frequency_filters(2048, 33, 2, 150).shape
    torch.Size([1025, 150])
    """
    steps = torch.arange(-1, n_bins + 1, dtype=torch.float64)
    edges = torch.as_tensor(
        midi_to_hz((low_midi + steps / bins_per_semitone).numpy())
    )
    bin_hz = SAMPLE_RATE / n_fft
    hz = torch.arange(n_fft // 2 + 1, dtype=torch.float64) * bin_hz
    centre = edges[1:-1]
    below = torch.clamp(centre - edges[:-2], min=bin_hz)
    above = torch.clamp(edges[2:] - centre, min=bin_hz)
    distance = hz[:, None] - centre
    weights = torch.clamp(
        1 - torch.where(distance < 0, -distance / below, distance / above),
        min=0,
    )
    return (weights / weights.sum(0)).float()


class _Spectrum(nn.Module):
    """Log power in bands.

    Frame j of the output is centred at (j + 0.5) hops.
    """

    def __init__(self, hop, filters):
        super().__init__()
        window, n_bins = 2 * (len(filters) - 1), filters.shape[1]
        self.window_samples = window
        self.hop = hop
        self.register_buffer(
            "window", torch.hann_window(window), persistent=False
        )
        self.register_buffer("filters", filters, persistent=False)
        # A band sees few frequencies: most of a product would be zeros.
        self.groups = []
        for first in range(0, n_bins, _FILTER_GROUP):
            last = min(first + _FILTER_GROUP, n_bins)
            used = filters[:, first:last].any(1).nonzero()
            low, high = int(used.min()), int(used.max()) + 1
            self.groups.append((slice(low, high), slice(first, last)))

    def forward(self, wavs):
        side = (self.window_samples - self.hop) // 2
        # ONNX knows no complex numbers.
        exporting = torch.onnx.is_in_onnx_export()
        spectrum = torch.stft(
            functional.pad(wavs, (side, side)),
            self.window_samples,
            self.hop,
            window=self.window,
            center=False,
            return_complex=not exporting,
        )
        if not exporting:
            spectrum = torch.view_as_real(spectrum)
        real, imaginary = spectrum.unbind(-1)
        power = real.square() + imaginary.square()
        power = power.transpose(1, 2)
        bands = [
            power[..., used] @ self.filters[used, bands]
            for used, bands in self.groups
        ]
        power = torch.cat(bands, dim=-1) / self.window_samples
        # About zero mean and unit variance for sung voices.
        return torch.log10(power + _POWER_FLOOR).add(4.0).div(2.0)


def _whole_frames(wavs, wav_lens):
    """Waveforms of whole frames, silent beyond their ends; which are valid."""
    frames = wavs.shape[1] // SAMPLES_PER_FRAME
    wavs = wavs[:, : frames * SAMPLES_PER_FRAME]
    if wav_lens is None:
        return wavs, None
    valid = torch.round(wav_lens * wavs.shape[1]).long() // SAMPLES_PER_FRAME
    samples = torch.arange(wavs.shape[1], device=wavs.device)
    wavs = wavs * (samples < (valid * SAMPLES_PER_FRAME)[:, None])
    index = torch.arange(frames, device=wavs.device)
    return wavs, (index < valid[:, None]).unsqueeze(2)


def peak_position(logits):
    """Position of the highest peak, between bins.

    Arguments
    ---------
    logits : torch.Tensor (..., bins)

    Returns
    -------
    position : torch.Tensor (...)
        In bins: mean of the highest one and its two neighbours on each side,
        weighted with their probabilities.
    near : torch.Tensor (..., 5) int64
        These bins; at the edges some are repeated, with no weight.
    """
    around = torch.arange(-2, 3, device=logits.device)
    nearby = logits.argmax(-1, keepdim=True) + around
    inside = (nearby >= 0) & (nearby < logits.shape[-1])
    near = nearby.clamp(0, logits.shape[-1] - 1)
    weights = logits.gather(-1, near).masked_fill(~inside, -1e9).softmax(-1)
    return (weights * nearby).sum(-1), near


class TimeBlock(nn.Module):
    """Residual block: depth-wise dilated convolution, then a gated mix.

    Arguments
    ---------
    channels : int
        Width.
    kernel_size : int
        Frames of the kernel, odd.
    dilation : int
        Frames between two of its taps; the block sees
        `dilation * (kernel_size // 2)` frames to each side.
    dropout : float
        Probability, on what is added.

    Example
    -------
    >>> TimeBlock(8, 5, 2, 0.0)(torch.zeros(2, 10, 8)).shape
    torch.Size([2, 10, 8])
    """

    def __init__(self, channels, kernel_size, dilation, dropout):
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.depthwise = nn.Conv1d(
            channels,
            channels,
            kernel_size,
            padding=dilation * (kernel_size // 2),
            dilation=dilation,
            groups=channels,
        )
        self.expand = nn.Linear(channels, 2 * channels)
        self.project = nn.Linear(channels, channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, feats, mask=None):
        """Run the block.

        Arguments
        ---------
        feats : torch.Tensor (batch, frames, channels)
            Input.
        mask : torch.Tensor (batch, frames, 1), optional
            Frames that count; the others are as the zeros beyond the ends.

        Returns
        -------
        torch.Tensor (batch, frames, channels)
            Output, not masked.
        """
        hidden = self.norm(feats)
        if mask is not None:
            hidden = hidden * mask
        hidden = self.depthwise(hidden.transpose(1, 2)).transpose(1, 2)
        hidden = functional.glu(self.expand(functional.silu(hidden)))
        return feats + self.dropout(self.project(hidden))


class HarmonicEncoder(nn.Module):
    """Log-frequency convolutional encoder that stacks harmonics.

    For every third of a semitone of the pitch range, the levels at its
    harmonics lie in the channels of one map. Three convolutions over this map
    give evidence for pitches, which is part of the output, and, with the short
    window and a coarse spectrum, the input of the blocks over time.

    Arguments
    ---------
    channels : int
        Width of the temporal blocks. Default: 192.
    front_channels : tuple of int
        Channels of the three convolutions. Default: 16, 16, 24.
    harmonics : tuple of float
        Multiples of the fundamental frequency. Default: 0.5 to 8.
    low : int
        Lowest pitch as a MIDI number. Default: 33 (A1).
    n_pitches : int
        Semitones from there on. Default: 60.
    dilations : tuple of int
        One temporal block per entry, dilation in frames. Default: two ramps
        that reach 2.5 s to each side.
    kernel_size : int
        Frames of a temporal kernel, odd. Default: 5.
    n_fast_bins : int
        Bands of the short window. Default: 48.
    dropout : float
        Probability in the temporal blocks. Default: 0.1.

    Attributes
    ----------
    output_size : int
        `channels`, then `BINS_PER_SEMITONE * n_pitches` channels of evidence
        for the pitch of the frame and `2 * n_pitches` for that of the note, as
        `heads.MelodyHead` takes them.
    evidence_size : int
        How many of these are evidence.

    Example
    -------
    >>> encoder = HarmonicEncoder(channels=32).eval()
    >>> encoder(torch.zeros(2, 80000)).shape
    torch.Size([2, 250, 332])
    """

    sample_rate = SAMPLE_RATE

    def __init__(
        self,
        channels=192,
        front_channels=(16, 16, 24),
        harmonics=(0.5, 1, 2, 3, 4, 5, 6, 8),
        low=33,
        n_pitches=60,
        dilations=(1, 2, 4, 8, 16, 1, 2, 4, 8, 16),
        kernel_size=5,
        n_fast_bins=48,
        dropout=0.1,
    ):
        super().__init__()
        bins = BINS_PER_SEMITONE
        self.low = low
        self.n_pitches = n_pitches
        self.n_bins = bins * n_pitches
        self.evidence_size = self.n_bins + 2 * n_pitches
        self.output_size = channels + self.evidence_size
        # The centre of a semitone is the middle one of its bins.
        first = low - (bins // 2) / bins
        lowest = first + 12 * min(0.0, math.log2(min(harmonics)))
        lowest -= 1  # a semitone more of timbre
        top = 12 * math.log2(_TOP_HZ / 440) + 69
        wanted = first + n_pitches + 12 * math.log2(max(harmonics)) + 1
        n_slow = int((min(top, wanted) - lowest) * bins)
        self.slow = _Spectrum(
            SAMPLES_PER_FRAME, log_frequency_filters(2048, lowest, bins, n_slow)
        )
        self.fast = _Spectrum(
            SAMPLES_PER_FRAME // 4,
            log_frequency_filters(512, 55.0, n_fast_bins / 64, n_fast_bins),
        )
        start = round((first - lowest) * bins)
        self.shifts = [
            start + round(12 * bins * math.log2(h)) for h in harmonics
        ]
        one, two, three = front_channels
        self.fine = nn.Conv2d(len(harmonics), one, (3, 5), padding=(1, 2))
        self.middle = nn.Conv2d(
            one, two, (3, 7), stride=(1, bins), padding=(1, 2)
        )
        self.coarse = nn.Conv2d(two, three, (3, 5), padding=(1, 2))
        self.to(memory_format=torch.channels_last)  # a third faster on CPUs
        self.frame_evidence = nn.Conv2d(one, 1, 1)
        self.note_evidence = nn.Conv2d(three, 2, 1)
        self.flat_norm = nn.LayerNorm(three * n_pitches)
        self.flat = nn.Linear(three * n_pitches, channels)
        self.fast_norm = nn.LayerNorm(4 * n_fast_bins)
        self.fast_flat = nn.Linear(4 * n_fast_bins, channels)
        self.timbre_norm = nn.LayerNorm(n_slow // bins)
        self.timbre_flat = nn.Linear(n_slow // bins, channels)
        pooled = len(harmonics) + one + three
        self.pooled_norm = nn.LayerNorm(pooled)
        self.pooled_flat = nn.Linear(pooled, channels)
        self.pitch_flat = nn.Linear(2 * len(_PERIODS) + 2, channels)
        self.register_buffer(
            "periods", torch.tensor(_PERIODS), persistent=False
        )
        self.blocks = nn.ModuleList(
            TimeBlock(channels, kernel_size, dilation, dropout)
            for dilation in dilations
        )
        self.norm = nn.LayerNorm(channels)
        # Frames: of the convolutions, the blocks and half a long window.
        reach = 3 + sum(d * (kernel_size // 2) for d in dilations)
        reach += 1024 / SAMPLES_PER_FRAME
        self.context_s = math.ceil(reach + 1) / FRAME_RATE

    def forward(self, wavs, wav_lens=None):
        """Encode a batch of recordings.

        Arguments
        ---------
        wavs : torch.Tensor (batch, samples)
            Mono audio at 16 kHz in [-1, 1].
        wav_lens : torch.Tensor (batch,), optional
            Valid share of each item, in (0, 1]. Default: all valid.

        Returns
        -------
        torch.Tensor (batch, samples // 320, output_size)
            Frame k is centred at (k + 0.5) x 20 ms; frames after the end of
            an item are 0.
        """
        wavs, mask = _whole_frames(wavs, wav_lens)
        fast = self.fast(wavs)
        fast = fast.reshape(fast.shape[0], fast.shape[1] // 4, -1)
        feats = self._encode(self.slow(wavs), fast, mask)
        return feats if mask is None else feats * mask

    def _stack(self, slow):
        """Level at each harmonic of each pitch (batch, harmonics, T, bins)."""
        missing = max(self.shifts) + self.n_bins - slow.shape[2]
        slow = functional.pad(slow, (0, max(0, missing)), value=_SILENT)
        maps = [slow[..., k : k + self.n_bins] for k in self.shifts]
        return torch.stack(maps, dim=-1).permute(0, 3, 1, 2)

    def _line(self, frame, note, stack, fine, coarse):
        """What the likeliest pitch sounds like, and how it moves.

        A voice is told from an instrument in the same way at every pitch, so
        this is learnt once and not for each of them.
        """
        weights = frame.softmax(-1)
        pooled = [
            (weight.unsqueeze(2) @ part.permute(0, 2, 3, 1)).squeeze(2)
            for part, weight in (
                (stack, weights),
                (fine, weights),
                (coarse, note.softmax(-1)),
            )
        ]
        at, near = peak_position(frame)
        pitch = (at / BINS_PER_SEMITONE).unsqueeze(-1)
        turns = pitch * (2 * math.pi / self.periods)
        share = weights.gather(-1, near).sum(-1, keepdim=True)
        where = [turns.sin(), turns.cos(), pitch / 30 - 1, share]
        return self.pooled_flat(
            self.pooled_norm(torch.cat(pooled, -1))
        ) + self.pitch_flat(torch.cat(where, -1))

    def _encode(self, slow, fast, mask):
        hidden, maps = self._stack(slow), []
        stack = hidden
        for convolution in (self.fine, self.middle, self.coarse):
            if mask is not None:
                hidden = hidden * mask.unsqueeze(1)
            hidden = functional.relu(convolution(hidden), inplace=True)
            maps.append(hidden)
        bins = BINS_PER_SEMITONE
        timbre = slow[..., : slow.shape[2] // bins * bins]
        timbre = timbre.unflatten(2, (-1, bins)).mean(3)
        flat = hidden.permute(0, 2, 1, 3).flatten(2)
        feats = (
            self.flat(self.flat_norm(flat))
            + self.fast_flat(self.fast_norm(fast))
            + self.timbre_flat(self.timbre_norm(timbre))
        )
        frame = self.frame_evidence(maps[0]).squeeze(1)
        note = self.note_evidence(hidden).permute(0, 2, 1, 3)
        feats = feats + self._line(frame, note[:, :, 0], stack, maps[0], hidden)
        note = note.flatten(2)
        for block in self.blocks:
            feats = block(feats, mask)
        return torch.cat([self.norm(feats), frame, note], dim=2)


class MelEncoder(nn.Module):
    """Mel bands of short windows, convolutions over them, blocks over time.

    What tells phones apart is short and wide: windows of 32 ms, twice a frame.
    Three convolutions over time and frequency find formants and bursts
    wherever they are; the blocks over time put them together.

    Arguments
    ---------
    channels : int
        Width of the temporal blocks, and `output_size`. Default: 192.
    n_mels : int
        Bands from 60 to 7600 Hz. Default: 80.
    front_channels : tuple of int
        Channels of the three convolutions. Default: 24, 32, 32.
    dilations : tuple of int
        One temporal block per entry, dilation in frames. Default: two ramps
        that reach 2.5 s to each side.
    kernel_size : int
        Frames of a temporal kernel, odd. Default: 5.
    dropout : float
        Probability in the temporal blocks. Default: 0.1.

    Example
    -------
    >>> encoder = MelEncoder(channels=32).eval()
    >>> encoder(torch.zeros(2, 80000)).shape
    torch.Size([2, 250, 32])
    """

    sample_rate = SAMPLE_RATE

    def __init__(
        self,
        channels=192,
        n_mels=80,
        front_channels=(24, 32, 32),
        dilations=(1, 2, 4, 8, 16, 1, 2, 4, 8, 16),
        kernel_size=5,
        dropout=0.1,
    ):
        from torchaudio.functional import melscale_fbanks

        super().__init__()
        self.output_size = channels
        filters = melscale_fbanks(257, 60.0, 7600.0, n_mels, SAMPLE_RATE)
        # As wide as they are, filters of equal sum see equal levels.
        filters = filters / filters.sum(0)
        self.bands = _Spectrum(SAMPLES_PER_FRAME // 2, filters)
        one, two, three = front_channels
        self.fine = nn.Conv2d(1, one, (6, 5), stride=(2, 1), padding=(2, 2))
        self.middle = nn.Conv2d(one, two, 3, stride=(1, 2), padding=1)
        self.coarse = nn.Conv2d(two, three, 3, stride=(1, 2), padding=1)
        self.to(memory_format=torch.channels_last)
        width = three * ((n_mels + 3) // 4)
        self.flat_norm = nn.LayerNorm(width)
        self.flat = nn.Linear(width, channels)
        self.blocks = nn.ModuleList(
            TimeBlock(channels, kernel_size, dilation, dropout)
            for dilation in dilations
        )
        self.norm = nn.LayerNorm(channels)
        # Frames: of the convolutions, the blocks and half a window.
        reach = 4 + sum(d * (kernel_size // 2) for d in dilations)
        self.context_s = (reach + 1) / FRAME_RATE

    def forward(self, wavs, wav_lens=None):
        """Encode a batch of recordings.

        Arguments
        ---------
        wavs : torch.Tensor (batch, samples)
            Mono audio at 16 kHz in [-1, 1].
        wav_lens : torch.Tensor (batch,), optional
            Valid share of each item, in (0, 1]. Default: all valid.

        Returns
        -------
        torch.Tensor (batch, samples // 320, channels)
            Frame k is centred at (k + 0.5) x 20 ms; frames after the end of
            an item are 0.
        """
        wavs, mask = _whole_frames(wavs, wav_lens)
        hidden = self.bands(wavs).unsqueeze(1)
        if mask is not None:
            hidden = hidden * mask.repeat_interleave(2, dim=1).unsqueeze(1)
        for convolution in (self.fine, self.middle, self.coarse):
            hidden = functional.relu(convolution(hidden), inplace=True)
            if mask is not None:
                hidden = hidden * mask.unsqueeze(1)
        hidden = hidden.permute(0, 2, 1, 3).flatten(2)
        feats = self.flat(self.flat_norm(hidden))
        for block in self.blocks:
            feats = block(feats, mask)
        feats = self.norm(feats)
        return feats if mask is None else feats * mask
