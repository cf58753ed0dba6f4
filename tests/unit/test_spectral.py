"""The spectral encoder: frame counts, independence, reach, harmonics."""

import numpy as np
import pytest
import torch

from speechbrain_ext.encoders.spectral import (
    _SILENT,
    BINS_PER_SEMITONE,
    HarmonicEncoder,
    log_frequency_filters,
)
from speechbrain_ext.heads import MelodyHead
from speechbrain_ext.notes import midi_to_hz


def small(dilations=(1, 2, 4), **options):
    torch.manual_seed(0)
    return HarmonicEncoder(
        channels=24, front_channels=(2, 3, 4), dilations=dilations, **options
    )


@pytest.fixture(scope="module")
def encoder():
    return small().eval()


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
    assert feats.shape == (1, frames, encoder.output_size)
    assert feats.isfinite().all()


@pytest.mark.parametrize("training", [False, True])
def test_items_do_not_depend_on_companions_or_padding(training):
    model = small((1, 2), dropout=0.0).train(training)
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


def test_the_reach_of_a_frame_is_the_context(encoder):
    """Samples with an influence on frame 50, from the gradient."""
    wavs = noise(1, 16000 * 2).requires_grad_()
    feats = encoder(wavs)[0, 50]
    (feats * noise(len(feats), seed=1)).sum().backward()
    seen = wavs.grad[0].nonzero()[:, 0]
    centre = 50.5 * 320
    for reach in (centre - seen[0], seen[-1] - centre):
        # Whole frames are counted, so that up to three are to spare.
        assert -0.06 < reach / 16000 - encoder.context_s <= 0


def test_a_click_is_seen_in_its_own_frame():
    model = small()
    wavs = torch.zeros(1, 16000)
    wavs[0, round(0.51 * 16000)] = 1.0  # the centre of frame 25
    slow = model.slow(wavs)[0].mean(1)
    fast = model.fast(wavs)[0].mean(1)
    assert slow.argmax() == 25
    # Four fast frames per frame; the click lies between the second and third.
    assert fast.argmax().item() in (101, 102)


def test_filters_are_normalised_and_never_empty():
    filters = log_frequency_filters(2048, 31.0, 3, 256)
    assert filters.shape == (1025, 256)
    assert torch.allclose(filters.sum(0), torch.ones(256))
    assert (filters >= 0).all()


def test_size_of_the_default():
    count = sum(p.numel() for p in HarmonicEncoder().parameters())
    assert count < 1.5e6  # below 6 MB in float32


# ---- harmonics on top of each other -------------------------------------

LOW = 33


def middle_bin(midi):
    """Bin of the stacked map that a pitch falls on."""
    return BINS_PER_SEMITONE * (midi - LOW) + BINS_PER_SEMITONE // 2


@pytest.fixture(scope="module")
def stack():
    """Map (harmonics, bins) of one second with eight equal harmonics."""
    model = HarmonicEncoder(channels=8)

    def stack(midi):
        time = torch.arange(16000) / 16000
        hz = 2 * np.pi * float(midi_to_hz(midi))
        wav = sum(0.1 * torch.sin(k * hz * time + k) for k in range(1, 9))
        return model._stack(model.slow(wav[None]))[0, :, 25]

    return stack


def test_shifts_are_the_logarithms_of_the_harmonics():
    harmonics = (0.5, 1, 2, 3, 4, 5, 6, 8)
    model = HarmonicEncoder(channels=8, harmonics=harmonics)
    shifts = np.array(model.shifts)
    # An octave has 36 bins, a twelfth (19.02 semitones) 57.06.
    assert (shifts - shifts[1]).tolist() == [-36, 0, 36, 57, 72, 84, 93, 108]
    # Channel 1, bin 1 is the centre of the lowest semitone: a third of a
    # semitone above bin 0, at 55 Hz.
    power = model.slow.filters[:, shifts[1] + 1 : shifts[1] + 122 : 36]
    hz = torch.arange(1025) * 16000 / 2048
    assert torch.allclose(
        hz @ power, torch.tensor([55.0, 110.0, 220.0, 440.0]), rtol=0.02
    )


@pytest.mark.parametrize("midi", [50, 57, 64, 69, 76, 81])
def test_harmonics_of_a_tone_lie_on_top_of_each_other(stack, midi):
    levels, at = stack(midi), middle_bin(midi)
    # All but the subharmonic, which the tone does not have, peak here.
    for level in levels[1:]:
        assert level[at - 4 : at + 5].argmax() == 4
        assert level[at] > level.mean() + 0.5
    assert levels[0, at] < levels[1:, at].min() - 0.5
    # The stack points at the tone and at no octave or fifth of it.
    assert levels[1:].mean(0).argmax() == at


@pytest.mark.parametrize("midi", [57, 64, 69, 76])
def test_a_semitone_up_is_three_bins_up(stack, midi):
    lower, upper = stack(midi), stack(midi + 1)

    def likeness(bins):
        pair = lower[:, : 180 - bins].flatten(), upper[:, bins:].flatten()
        return torch.corrcoef(torch.stack(pair))[0, 1]

    alike = [likeness(bins).item() for bins in range(6)]
    assert int(np.argmax(alike)) == BINS_PER_SEMITONE
    assert alike[3] > 0.97 and max(alike[2], alike[4]) < 0.92


def test_harmonics_above_the_spectrum_are_silent():
    model = HarmonicEncoder(channels=8)
    slow = torch.ones(1, 2, model.slow.filters.shape[1])
    stacked = model._stack(slow)
    assert stacked.shape == (1, 8, 2, 180)
    # The 8th harmonic of MIDI 92 would have 13.3 kHz.
    assert torch.allclose(stacked[0, 7, :, 179], torch.tensor(_SILENT))
    assert (stacked[0, 7, :, 0] == 1).all() and (stacked[0, 1] == 1).all()
    # That is the level of a recording without any sound.
    quiet = model.slow(torch.zeros(1, 320))
    assert torch.allclose(quiet, torch.tensor(_SILENT), atol=1e-4)


def test_evidence_moves_with_the_pitch():
    """Transposing by a semitone moves the evidence and changes nothing else."""
    model = small((1,), n_pitches=36).eval()
    bins = model.slow.filters.shape[1]
    slow = torch.full((1, 9, bins), _SILENT)
    # Sound from one to two octaves above the lowest fundamental.
    begin = model.shifts[1] + 36
    slow[..., begin : begin + 36] += 1 + noise(1, 9, 36)
    fast = noise(1, 9, 192)
    with torch.no_grad():
        before = model._encode(slow, fast, None)
        after = model._encode(slow.roll(3, dims=2), fast, None)
    context = model.output_size - 5 * 36

    def evidence(feats):
        frame, note = feats[..., context:].split([108, 72], dim=-1)
        return frame, note.unflatten(-1, (2, 36))

    for one, other, step, edge in zip(
        evidence(before), evidence(after), (3, 1), (2, 4), strict=True
    ):
        inner = one[..., edge : -edge - step]
        assert torch.allclose(other[..., edge + step : -edge], inner, atol=1e-5)
        assert inner.std() > 1e-3


def test_evidence_for_a_note_is_centred_on_its_semitone():
    """With positive weights no influence can cancel or be cut off."""
    model = small((1,), harmonics=(1,)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(0.1)
    slow = torch.ones(1, 9, model.slow.filters.shape[1], requires_grad=True)
    feats = model._encode(slow, torch.zeros(1, 9, 192), None)[0, 4]
    context = model.output_size - 5 * 60
    at = middle_bin(60)
    # Frame: one kernel of five. Note: two, three and twice three bins more.
    for channel, reach in (
        (context + at, 2),
        (context + 180 + 60 - LOW, 2 + 3 + 6),
        (context + 240 + 60 - LOW, 2 + 3 + 6),
    ):
        (grad,) = torch.autograd.grad(feats[channel], slow, retain_graph=True)
        seen = grad[0].abs().sum(0).nonzero()[:, 0] - model.shifts[0]
        assert seen.tolist() == list(range(at - reach, at + reach + 1))


@pytest.mark.parametrize("n_pitches", [24, 60])
def test_output_fits_the_melody_head(n_pitches):
    model = small(n_pitches=n_pitches)
    head = MelodyHead(model.output_size, n_pitches=n_pitches)
    assert head.linear.in_features == 24
    feats = model(noise(2, 3200), torch.tensor([1.0, 0.5]))
    assert head(feats).shape == (2, 10, 3 + 4 * n_pitches)
