"""Oracle masks and the transform that they are applied to."""

import math

import pytest
import torch

from speechbrain_ext.errors import ConfigError
from speechbrain_ext.separation.codec import STFT
from speechbrain_ext.separation.masks import (
    ORACLES,
    binary_mask,
    complex_mask,
    mixture_binary_mask,
    oracle_estimates,
    phase_sensitive_mask,
    ratio_mask,
)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


@pytest.fixture
def sources(generator):
    """Spectra of three sources in a batch of two."""
    return torch.randn(2, 3, 5, 7, dtype=torch.complex64, generator=generator)


def bins(*values):
    """Spectra (sources, 1, bins) from a list of values per source."""
    return torch.tensor(values, dtype=torch.complex64).unsqueeze(1)


# --- transform --------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"n_fft": 512, "hop_length": 128, "window": "sqrt_hann"},
        {"n_fft": 4096, "win_length": 1024, "hop_length": 256},
        {"n_fft": 64, "hop_length": 32, "window": "hamming"},
    ],
)
@pytest.mark.parametrize("length", [1, 100, 5000, 5120])
def test_signals_come_back(settings, length, generator):
    wavs = torch.randn(2, 3, length, generator=generator)
    codec = STFT(**settings)
    spec = codec(wavs)
    hop, n_fft = (codec.settings[key] for key in ("hop_length", "n_fft"))
    more = 4 * hop > codec.settings["win_length"]
    assert spec.shape == (2, 3, 1 + length // hop + more, n_fft // 2 + 1)
    torch.testing.assert_close(
        codec.inverse(spec, length), wavs, atol=1e-5, rtol=0
    )
    # A batch is what single signals are.
    torch.testing.assert_close(codec(wavs[1, 2]), spec[1, 2])


@pytest.mark.parametrize("window", ["hann", "sqrt_hann", "hamming"])
@pytest.mark.parametrize(("win", "hop"), [(1024, 512), (4096, 2048), (90, 30)])
def test_masks_do_no_harm_at_the_end(window, win, hop, generator):
    """The last samples may lie at the end of the last window."""
    codec, length = STFT(win, hop, window=window), 5 * hop - 1
    wavs = torch.rand(length, generator=generator) * 2 - 1
    spec = codec(wavs)
    back = codec.inverse(spec, length)
    torch.testing.assert_close(back, wavs, atol=1e-5, rtol=0)
    mask = torch.rand(spec.shape, generator=generator)
    assert codec.inverse(mask * spec, length).abs().max() < 3


def test_a_tone_is_where_it_should_be():
    tone = torch.cos(2 * math.pi * 20 / 256 * torch.arange(4096))
    spec = STFT(256, 64)(tone)
    # Half of the amplitude times the sum of the window, away from the ends.
    assert spec[10:-10].abs().argmax(-1).eq(20).all()
    assert spec[30, 20].abs() == pytest.approx(0.5 * 128, rel=1e-4)


def test_double_precision_stays(generator):
    wavs = torch.randn(1000, dtype=torch.float64, generator=generator)
    codec = STFT(256, 64)
    back = codec.inverse(codec(wavs), 1000)
    assert back.dtype == torch.float64
    torch.testing.assert_close(back, wavs, atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hop_length": 1024}, "hop_length 1024, win_length 1024"),
        ({"hop_length": 0}, "hop_length 0"),
        ({"win_length": 2048}, "the window at most n_fft"),
        ({"window": "kaiser"}, "'kaiser': use one of hann"),
    ],
)
def test_impossible_transforms(settings, message):
    with pytest.raises(ConfigError, match=message):
        STFT(**settings)


# --- masks ------------------------------------------------------------------


def test_values_by_hand():
    #              louder   equal   opposite  only one  silent
    spec = bins([3.0, 1j, 2.0, 4.0, 0.0], [1.0, 1.0, -1.0, 0.0, 0.0])
    torch.testing.assert_close(
        binary_mask(spec)[0, 0], torch.tensor([1.0, 1.0, 1.0, 1.0, 1.0])
    )
    torch.testing.assert_close(
        binary_mask(spec.flip(0))[0, 0], torch.tensor([0.0, 1, 0, 0, 1])
    )
    torch.testing.assert_close(
        ratio_mask(spec)[0, 0], torch.tensor([0.75, 0.5, 2 / 3, 1.0, 0.5])
    )
    torch.testing.assert_close(
        ratio_mask(spec, power=2)[0, 0], torch.tensor([0.9, 0.5, 0.8, 1, 0.5])
    )
    # Re(S conj(M)) / |M|^2: for the second bin M = 1 + j.
    torch.testing.assert_close(
        phase_sensitive_mask(spec, limits=None)[:, 0],
        torch.tensor([[0.75, 0.5, 2, 1, 0.5], [0.25, 0.5, -1, 0, 0.5]]),
    )
    torch.testing.assert_close(
        phase_sensitive_mask(spec)[:, 0, 2], torch.tensor([1.0, 0.0])
    )
    torch.testing.assert_close(
        complex_mask(spec)[0, 0],
        torch.tensor([0.75, 0.5 + 0.5j, 2, 1, 0.5]),
    )


@pytest.mark.parametrize("kind", ["ibm", "irm", "wiener", "complex"])
@pytest.mark.parametrize("gain", [1.0, 1e-30, 1e18])
def test_masks_sum_to_one(kind, gain, sources):
    sources[:, :, 0] = 0
    sources[:, 0, 1] = 0
    sources = gain * sources
    masks = ORACLES[kind](sources, sources.sum(-3))
    torch.testing.assert_close(
        masks.sum(-3), torch.ones_like(masks[:, 0]), atol=1e-5, rtol=0
    )
    if kind != "complex":
        assert masks.min() >= 0 and masks.max() <= 1


def test_masks_do_not_depend_on_the_level(sources):
    for kind, mask in ORACLES.items():
        quiet = 1e-6 * sources
        torch.testing.assert_close(
            mask(quiet, quiet.sum(-3)),
            mask(sources, sources.sum(-3)),
            msg=lambda text, kind=kind: f"{kind}: {text}",
        )


@pytest.mark.parametrize("kind", ORACLES)
def test_silence_and_what_cancels_itself(kind):
    silence = torch.zeros(2, 3, 4, dtype=torch.complex64)
    masks = ORACLES[kind](silence, silence.sum(0))
    assert torch.isfinite(torch.view_as_real(masks + 0j)).all()
    expected = [1.0, 0.0] if kind == "ibm" else [0.5, 0.5]
    assert masks[:, 1, 2].real.tolist() == expected
    opposite = bins([1.0 + 1j], [-1.0 - 1j])
    masks = ORACLES[kind](opposite, opposite.sum(0))
    assert masks.flatten().real.tolist() == expected


def test_the_phase_sensitive_mask_is_the_best_real_one(sources):
    """No other real factor comes nearer to the source."""
    mixture = sources.sum(-3, keepdim=True)
    best = phase_sensitive_mask(sources, limits=None)
    error = (best * mixture - sources).abs()
    for step in (-0.01, 0.01):
        assert torch.all(((best + step) * mixture - sources).abs() >= error)
    cut = phase_sensitive_mask(sources)
    torch.testing.assert_close(cut, best.clamp(0, 1))


@pytest.mark.parametrize("ratio", [0.1, 0.5, 1.0, 1.5, 1.9, 2.5])
def test_against_the_mixture_chance_decides(ratio, generator):
    """P(|S| > |M|) = arccos(r / 2) / pi at a random phase, 0 from r = 2 on."""
    phase = 2 * math.pi * torch.rand(200_000, generator=generator)
    voice = torch.ones_like(phase) + 0j
    other = torch.polar(torch.full_like(phase, ratio), phase)
    sources = torch.stack([voice, other]).unsqueeze(1)
    share = mixture_binary_mask(sources)[0].mean().item()
    law = math.acos(ratio / 2) / math.pi if ratio < 2 else 0.0
    assert share == pytest.approx(law, abs=0.004)
    # The right one knows: the louder source has all bins.
    assert binary_mask(sources)[0].mean() == (ratio <= 1)


# --- estimates --------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ibm", "irm", "wiener"])
def test_estimates_sum_to_the_mixture(kind, generator):
    sources = torch.randn(2, 3, 4000, generator=generator)
    sources[0, 1] = 0
    estimates = oracle_estimates(sources, kind, n_fft=512, hop_length=128)
    assert estimates.shape == sources.shape
    torch.testing.assert_close(
        estimates.sum(1), sources.sum(1), atol=1e-5, rtol=0
    )
    torch.testing.assert_close(
        estimates[1], oracle_estimates(sources[1], kind, None, 512, 128)
    )


def test_the_complex_mask_restores_the_sources(generator):
    sources = torch.randn(2, 4000, dtype=torch.float64, generator=generator)
    estimates = oracle_estimates(sources, "complex")
    torch.testing.assert_close(estimates, sources, atol=1e-8, rtol=0)


def test_a_mixture_of_its_own(generator):
    """Masks are of the sources, what they are applied to is given."""
    sources = torch.randn(2, 3000, generator=generator)
    loud = oracle_estimates(sources, "irm", mixture=3 * sources.sum(0))
    torch.testing.assert_close(
        loud, 3 * oracle_estimates(sources, "irm"), atol=1e-4, rtol=1e-4
    )


def test_digital_silence_stays_silent():
    for kind in ORACLES:
        estimates = oracle_estimates(torch.zeros(2, 1000), kind)
        assert torch.equal(estimates, torch.zeros(2, 1000))


def test_better_masks_are_better(generator):
    """Two tones with tremolo: SNR rises from one kind of mask to the next."""
    time = torch.arange(16000) / 16000
    tones = [
        torch.sin(2 * math.pi * hz * time)
        * torch.sin(2 * math.pi * beat * time)
        for hz, beat in ((440, 2), (470, 3))
    ]
    sources = torch.stack(tones)
    sources += 0.1 * torch.randn(2, 16000, generator=generator)

    def error(kind):
        return (oracle_estimates(sources, kind) - sources).square().mean()

    errors = {kind: error(kind).item() for kind in ORACLES}
    assert errors["complex"] < 1e-8 < errors["psm"]
    assert errors["psm"] < min(errors["ibm"], errors["irm"], errors["wiener"])


def test_unknown_kind():
    with pytest.raises(ConfigError, match="'best': use one of ibm, irm, wie"):
        oracle_estimates(torch.zeros(2, 100), "best")
