"""Masks and waveforms of a model at a recording's own rate."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import lfilter
from torch import nn

from speechbrain_ext.errors import ModelError
from speechbrain_ext.inference.transfer import (
    Framing,
    MaskCarrier,
    Tape,
    estimate_sources,
)
from speechbrain_ext.separation.codec import STFT
from speechbrain_ext.separation.separator import MaskSeparator
from speechbrain_ext.separation.unet import UNet

RATES = (8000, 11025, 22050, 44100, 48000, 96000)


class Blurred(nn.Module):
    """Masks from five frames pooled in twos, with finite context on a grid."""

    context_frames = 6
    frame_grid = 2

    def forward(self, spec):
        frames = spec.shape[1]
        levels = nn.functional.pad(spec.abs(), (0, 0, 0, frames % 2))
        pooled = nn.functional.avg_pool1d(levels.mT, 2)
        wide = nn.functional.avg_pool1d(pooled, 5, 1, 2)
        share = torch.sigmoid(3 * (pooled - wide)).repeat_interleave(2, -1)
        mask = share.mT[:, :frames]
        # Complex, as some networks say it.
        return torch.stack([mask + 0.1j, 1 - mask - 0.1j], 1)


class Fixed(nn.Module):
    """The first source is a band of bins of the model."""

    context_frames = 0

    def __init__(self, first, last):
        super().__init__()
        self.first, self.last = first, last

    def forward(self, spec):
        mask = torch.zeros(spec.shape)
        mask[..., self.first : self.last] = 1
        return torch.stack([mask, 1 - mask], 1)


class Smoothed(nn.Module):
    """Masks from levels that go on for ever, ever softer."""

    context_frames = None

    def __init__(self, keeps):
        super().__init__()
        self.keeps = keeps

    def forward(self, spec):
        levels = spec.abs().numpy()
        smooth = lfilter([1 - self.keeps], [1, -self.keeps], levels, axis=1)
        mask = torch.from_numpy(smooth / (1 + smooth)).float()
        return torch.stack([mask, 1 - mask], 1)


class Halves(nn.Module):
    """A waveform model: a voice that is a quarter of the mixture, delayed."""

    sample_rate = 16000

    def __init__(self, sources=("vocals", "accompaniment"), channels=None):
        super().__init__()
        self.sources, self.channels = sources, channels
        self.seen = []

    def forward(self, mixture):
        self.seen.append(tuple(mixture.shape))
        return torch.stack([0.25 * mixture] * len(self.sources), 1)


def noise(samples, channels, seed=0):
    generator = np.random.default_rng(seed)
    return generator.uniform(-0.5, 0.5, (samples, channels)).astype("f4")


def joined(separator, wav, rate, block=5000, **options):
    """Estimates of a signal that comes in blocks, and the signal."""
    blocks = [wav[k : k + block] for k in range(0, len(wav), block)]
    parts = list(estimate_sources(separator, blocks, rate, **options))
    mixture, estimates = (
        np.concatenate(side) for side in zip(*parts, strict=True)
    )
    assert np.array_equal(mixture, wav)
    return estimates


def whole(separator, wav):
    """The separator's own word on it all, (samples, sources, channels)."""
    with torch.inference_mode():
        sources = separator(torch.from_numpy(wav.T.copy())[None])[0]
    return sources.permute(2, 0, 1).numpy()


def sine(hertz, rate, seconds=1.0):
    times = np.arange(round(rate * seconds)) / rate
    return (0.5 * np.sin(2 * np.pi * hertz * times)).astype("f4")[:, None]


def level(wav):
    return float(np.sqrt(np.mean(np.square(wav[len(wav) // 4 : -2000]))))


@pytest.mark.parametrize("rate", [*RATES, 16000])
def test_frames_stand_at_the_same_times(rate):
    framing = Framing(STFT(1024, 256), 16000, rate)
    centres = framing.centres(0, 50)
    assert np.abs(centres / rate - np.arange(50) * 0.016).max() <= 0.5 / rate
    assert framing.n_fft % 2 == 0
    assert framing.n_fft / rate == pytest.approx(0.064, abs=1 / rate)
    for samples in (0, 1, int(centres[7]) - 1, int(centres[7]), rate):
        expected = int((framing.centres(0, 100) <= samples).sum())
        assert framing.count(samples) == expected


@pytest.mark.parametrize("hop", [8, 16, 24])
@pytest.mark.parametrize("samples", [1, 24, 48, 5001, 5016])
def test_frames_of_a_stream_are_those_of_the_codec(hop, samples):
    codec = STFT(64, hop, win_length=48, window="sqrt_hann")
    wav = noise(samples, 2)
    framing = Framing(codec, 16000, 16000)
    parts = list(framing.stream([wav[:3], wav[3:4000], wav[4000:]]))
    spec = codec(torch.from_numpy(wav.T.copy())).transpose(0, 1).numpy()
    assert np.abs(np.concatenate(parts) - spec).max() < 1e-6


def test_a_tape_forgets_no_more_than_it_may():
    tape = Tape()
    for k in range(4):
        tape.append(np.arange(3.0)[:, None] + 3 * k)
    tape.forget(5)
    assert (tape.begin, tape.end) == (3, 12)
    assert tape.read(5, 14)[:, 0].tolist() == [5, 6, 7, 8, 9, 10, 11, 0, 0]
    with pytest.raises(AssertionError):
        tape.read(2, 4)


@settings(max_examples=15, deadline=None)
@given(
    samples=st.integers(1, 9000),
    channels=st.integers(1, 3),
    block=st.integers(1, 4000),
    chunk=st.integers(1, 30),
    batch_size=st.integers(1, 8),
)
def test_chunked_is_the_models_own_forward(
    samples, channels, block, chunk, batch_size
):
    separator = MaskSeparator(Blurred(), n_fft=256, hop_length=64)
    wav = noise(samples, channels, seed=samples)
    estimates = joined(
        separator,
        wav,
        16000,
        block,
        chunk_s=chunk * 64 / 16000,
        batch_size=batch_size,
    )
    assert np.abs(estimates - whole(separator, wav)).max() < 2e-6


@pytest.mark.parametrize("channels", [1, 3])
def test_a_unet_in_chunks_is_the_whole(channels):
    torch.manual_seed(0)
    network = UNet(n_bins=65, channels=4, growth=2, levels=2)
    with torch.no_grad():
        network.output[-1].weight.normal_()
    separator = MaskSeparator(network, n_fft=128, hop_length=32).eval()
    wav = noise(40003, channels)
    expected = whole(separator, wav)
    assert expected[:, 0].std() > 0.1 * wav.std()
    # 160 frames at a time, and 245 on both sides.
    found = joined(separator, wav, 16000, chunk_s=0.32, batch_size=4)
    assert np.abs(found - expected).max() < 5e-6


def test_a_grid_missed_would_show(monkeypatch):
    separator = MaskSeparator(Blurred(), n_fft=256, hop_length=64)
    wav = noise(8000, 1)
    expected = whole(separator, wav)
    for grid, agree in ((2, True), (1, False)):
        monkeypatch.setattr(Blurred, "frame_grid", grid)
        found = joined(separator, wav, 16000, chunk_s=7 * 64 / 16000)
        error = np.abs(found - expected).max()
        assert bool(error < 2e-6) is agree


@pytest.mark.parametrize("keeps", [0.9, 0.99])
def test_endless_context_is_faded(keeps):
    separator = MaskSeparator(Smoothed(keeps))
    wav = noise(20 * 16000, 1)
    expected = whole(separator, wav)
    # One chunk of all is the model's own word.
    once = joined(separator, wav, 16000, chunk_s=30)
    assert np.abs(once - expected).max() < 2e-6
    # Of what came more than 4 s, or 250 frames, before a chunk there is
    # 0.9 ** 250 = 4e-12 left, or 0.99 ** 250 = 0.08.
    chunked = joined(separator, wav, 16000, chunk_s=5)
    error = np.abs(chunked - expected)
    assert error[: 5 * 16000 - 1024].max() < 2e-6
    assert bool(error.max() < 2e-6) is (keeps == 0.9)
    assert error.max() < 0.02
    assert np.abs(chunked.sum(1) - wav).max() < 2e-6


@pytest.mark.parametrize("hop", [256, 512])
@pytest.mark.parametrize("rate", RATES)
def test_unit_masks_give_back_the_input(rate, hop):
    separator = MaskSeparator(Fixed(0, 513), hop_length=hop)
    for samples in (1, 2, 77, rate + 13):
        wav = noise(samples, 2)
        voice = joined(separator, wav, rate)[:, 0]
        assert np.abs(voice - wav).max() < 1e-5


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 96000])
def test_bins_go_to_the_nearest_bin_of_the_model(rate):
    # From 1000 to 2000 Hz.
    separator = MaskSeparator(Fixed(64, 128))
    for hertz, inside in ((700, 0), (1200, 1), (1800, 1), (2300, 0)):
        wav = sine(hertz, rate)
        voice, rest = np.moveaxis(joined(separator, wav, rate), 1, 0)
        assert level(voice) == pytest.approx(inside * level(wav), abs=0.002)
        assert level(rest) == pytest.approx(level(wav - voice), abs=0.002)


def test_hiss_above_the_models_band_follows_the_band_below():
    rate = 44100
    hiss = noise(rate, 1)
    spec = np.fft.rfft(hiss[:, 0])
    hertz = np.fft.rfftfreq(rate, 1 / rate)
    spec[(hertz < 4500) | (hertz > 15000)] = 0
    hiss = np.fft.irfft(spec).astype("f4")[:, None]
    # The voice has all above 4 kHz, or nothing there.
    for separator, share in (
        (MaskSeparator(Fixed(256, 513)), 1),
        (MaskSeparator(Fixed(0, 256)), 0),
    ):
        voice = joined(separator, hiss, rate)[:, 0]
        high = np.fft.rfft(voice[:, 0])[hertz > 8000]
        energy = np.sum(np.abs(high) ** 2)
        energy /= np.sum(np.abs(spec[hertz > 8000]) ** 2)
        assert energy == pytest.approx(share, abs=1e-3)


def test_extension_by_hand():
    # Model bins every 1000 Hz to 4000 Hz; the recording's to 8000 Hz. The
    # octave below 3600 Hz holds the bins of 2 and 3 kHz.
    codec = STFT(8, 4)
    carry = MaskCarrier(Framing(codec, 8000, 8000), Framing(codec, 8000, 16000))
    masks = torch.tensor([0.9, 0.9, 0.2 + 5j, 0.8, 0.9])
    spectra = torch.ones(9, dtype=torch.cfloat)
    assert carry(masks, spectra)[4:].tolist() == pytest.approx([0.5] * 5)
    assert carry(masks, spectra)[:4].tolist() == masks[:4].tolist()
    spectra[2] = 3j
    # (3 x 0.2 + 0.8) / 4
    assert carry(masks, spectra)[8] == pytest.approx(0.35)
    assert carry(masks, 0 * spectra)[8] == pytest.approx(0.5)
    assert carry(4 * masks, spectra)[8] == 1


def test_memory_is_bounded(monkeypatch):
    separator = MaskSeparator(Fixed(0, 9), n_fft=512, hop_length=256)
    held = []
    read = Tape.read

    def spy(tape, begin, end):
        held.append(tape.end - tape.begin)
        return read(tape, begin, end)

    monkeypatch.setattr(Tape, "read", spy)
    second = noise(44100, 1)
    parts = estimate_sources(
        separator, (second for _ in range(60)), 44100, chunk_s=2
    )
    longest = max(len(mixture) for mixture, _ in parts)
    # A chunk and a block more, and 2 s of frames that are made at a time.
    assert max(held) < 7 * 44100
    assert longest < 3 * 44100


@pytest.mark.parametrize("rate", [8000, 44100])
@pytest.mark.parametrize("samples", [1, 30000])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("takes", [None, 1, 2])
def test_waveform_models(rate, samples, channels, takes):
    wav = noise(samples, channels)
    if samples > 1:
        # What resampling keeps: below 3 kHz.
        spec = np.fft.rfft(wav, axis=0)
        spec[round(3000 * samples / rate) :] = 0
        wav = np.fft.irfft(spec, samples, axis=0).astype("f4")
    separator = Halves(channels=takes)
    found = joined(separator, wav, rate, sources=[0], chunk_s=1)
    assert found.shape == (samples, 1, channels)
    if samples > 1:
        inside = slice(rate // 10, -rate // 10)
        error = found[inside, 0] - 0.25 * wav[inside]
        assert np.abs(error).max() < 1e-3
    assert {shape[1] for shape in separator.seen} == {takes or channels}
    assert {shape[0] for shape in separator.seen} == {1}


def test_segments_of_a_waveform_model_have_its_length():
    separator = Halves()
    separator.segment_s = 0.5
    wav = noise(4 * 16000 + 77, 1)
    found = joined(separator, wav, 16000, chunk_s=9, batch_size=4)
    assert np.abs(found[:, 0] - 0.25 * wav).max() < 1e-6
    assert {shape[2] for shape in separator.seen[:-1]} == {8000}
    assert separator.seen[0][0] == 4


def test_wrong_shape():
    separator = Halves()
    separator.sources = ("vocals", "drums", "other")
    separator.forward = lambda mixture: mixture.unsqueeze(1)
    with pytest.raises(ModelError, match=r"\(1, 1, 1, 100\) where \(1, 3, 1"):
        joined(separator, noise(100, 1), 16000)


def test_nothing_comes_of_nothing():
    separator = MaskSeparator(Fixed(0, 9))
    assert list(estimate_sources(separator, [], 44100)) == []
    assert list(estimate_sources(separator, [noise(0, 2)], 44100)) == []
