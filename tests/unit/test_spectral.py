"""The spectral encoder: frame counts, independence of items, finite reach."""

import numpy as np
import pytest
import torch

from speechbrain_ext.encoders.spectral import (
    SpectralEncoder,
    log_frequency_filters,
)
from speechbrain_ext.notes import midi_to_hz


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    return SpectralEncoder(
        channels=24, front_channels=(2, 3, 4), dilations=(1, 2, 4)
    ).eval()


def noise(*shape, seed=0):
    return 0.1 * torch.randn(
        *shape, generator=torch.Generator().manual_seed(seed)
    )


@pytest.mark.parametrize(
    ("seconds", "frames"), [(5, 250), (7.3, 365), (200, 10000), (0.02, 1)]
)
def test_frame_counts(encoder, seconds, frames):
    with torch.inference_mode():
        feats = encoder(torch.zeros(1, round(seconds * 16000)))
    assert feats.shape == (1, frames, 24)


@pytest.mark.parametrize("training", [False, True])
def test_items_do_not_depend_on_companions_or_padding(training):
    torch.manual_seed(0)
    model = SpectralEncoder(
        channels=24, front_channels=(2, 3, 4), dilations=(1, 2), dropout=0.0
    ).train(training)
    short, long = noise(1, 48000), 30 * noise(1, 80000, seed=1)
    batch = torch.cat([torch.nn.functional.pad(short, (0, 32000)), long])
    # What lies behind an item's end must not matter either.
    batch[0, 48000:] = 0.5
    with torch.no_grad():
        together = model(batch, torch.tensor([0.6, 1.0]))
        assert torch.allclose(together[0, :150], model(short)[0], atol=1e-5)
        assert torch.allclose(together[1], model(long)[0], atol=1e-5)
    assert (together[0, 150:] == 0).all()


def test_nothing_beyond_the_context_matters(encoder):
    wavs = noise(1, 16000 * 8)
    changed = wavs.clone()
    changed[:, : 16000 * 2] = noise(1, 32000, seed=1)
    with torch.inference_mode():
        a, b = encoder(wavs), encoder(changed)
    beyond = 100 + round(encoder.context_s * 50)
    assert torch.equal(a[:, beyond:], b[:, beyond:])
    # The receptive field really is about that long.
    assert not torch.allclose(a[:, 100], b[:, 100], atol=1e-4)


def test_a_click_is_seen_in_its_own_frame():
    model = SpectralEncoder()
    wavs = torch.zeros(1, 16000)
    wavs[0, round(0.51 * 16000)] = 1.0  # the centre of frame 25
    slow = model.slow(wavs)[0].mean(1)
    fast = model.fast(wavs)[0].mean(1)
    assert slow.argmax() == 25
    # Four fast frames per frame; the click lies between the second and third.
    assert fast.argmax().item() in (101, 102)


@pytest.mark.parametrize("midi", [40, 57, 69, 84])
def test_a_tone_peaks_in_its_band(midi):
    model = SpectralEncoder()
    time = torch.arange(16000) / 16000
    tone = torch.sin(2 * np.pi * float(midi_to_hz(midi)) * time)
    band = model.slow(tone[None])[0, 25].argmax().item()
    # Bands are a third of a semitone wide from MIDI 31 on.
    assert abs(31 + band / 3 - midi) <= (1.0 if midi < 50 else 1 / 3)


def test_filters_are_normalised_and_never_empty():
    filters = log_frequency_filters(2048, 31.0, 3, 256)
    assert filters.shape == (1025, 256)
    assert torch.allclose(filters.sum(0), torch.ones(256))
    assert (filters >= 0).all()


def test_size_of_the_default():
    count = sum(p.numel() for p in SpectralEncoder().parameters())
    assert count < 1.5e6  # below 6 MB in float32
