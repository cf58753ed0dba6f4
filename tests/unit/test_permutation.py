"""Which output is whose; and losses that all follow it."""

from itertools import permutations

import numpy as np
import pytest
import torch

from speechbrain_ext.errors import ConfigError
from speechbrain_ext.losses import (
    SingersLoss,
    si_sdr_loss,
    snr_loss,
    spectral_l1,
)
from speechbrain_ext.metrics.bss_eval import si_sdr
from speechbrain_ext.separation import permutation
from speechbrain_ext.separation.permutation import best_assignment, reorder

WINDOWS = (256, 128)


def noise(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator)


# --- assignments ------------------------------------------------------------


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_every_order_of_three_is_undone(order):
    """Two of the six are cycles, and must not be taken backwards."""
    sources = noise(2, 3, 1, 50)
    estimates = sources[:, list(order)]
    costs = (estimates.unsqueeze(2) - sources.unsqueeze(1)).square()
    assignment = best_assignment(costs.flatten(3).sum(3))
    assert torch.equal(reorder(estimates, assignment), sources)


@pytest.mark.parametrize("count", [2, 3, 4, 5])
@pytest.mark.parametrize("extra", [0, 1])
def test_both_ways_find_the_best(count, extra, monkeypatch):
    costs = noise(20, count + extra, count, seed=count)
    tried, solved = [], []
    for found, limit in ((tried, 9), (solved, 0)):
        monkeypatch.setattr(permutation, "TRIED", limit)
        found.append(best_assignment(costs))
    assert torch.equal(tried[0], solved[0])
    totals = costs.gather(1, tried[0].unsqueeze(1)).sum((1, 2))
    table = costs[0].numpy()
    by_hand = min(
        sum(table[e, s] for s, e in enumerate(order))
        for order in permutations(range(count + extra), count)
    )
    assert totals[0].item() == pytest.approx(by_hand, abs=1e-5)


@pytest.mark.parametrize("limit", [0, 9])
def test_what_is_no_number_costs_most(limit, monkeypatch):
    monkeypatch.setattr(permutation, "TRIED", limit)
    costs = torch.tensor([[torch.nan, 1.0], [2.0, torch.inf]]).unsqueeze(0)
    assert best_assignment(costs).tolist() == [[1, 0]]


def test_too_few_outputs():
    with pytest.raises(ConfigError, match="2 estimates of 3 sources"):
        best_assignment(noise(1, 2, 3))


# --- measures ---------------------------------------------------------------


def test_measures_by_hand():
    source = torch.tensor([2.0, -2.0, 2.0, -2.0])
    error = torch.tensor([0.2, 0.2, -0.2, -0.2])  # orthogonal, a tenth
    assert snr_loss(source + error, source).item() == pytest.approx(
        -20, abs=1e-4
    )
    assert snr_loss(source + 7.0, source).item() < -80  # means are taken away
    estimate = 5 * (source + error)
    assert si_sdr_loss(estimate, source).item() == pytest.approx(-20, abs=1e-4)
    assert snr_loss(estimate, source).item() > 0
    sources = noise(3, 500)
    estimates = sources + noise(3, 500, seed=1)
    expected = si_sdr(sources.numpy(), estimates.numpy(), zero_mean=True)
    np.testing.assert_allclose(
        -si_sdr_loss(estimates, sources).numpy(), expected, atol=1e-3
    )


def test_spectral_l1_by_its_formula():
    """Against the sums of the transform, written out."""
    estimates, sources = noise(2, 40), noise(2, 40, seed=1)
    expected = 0.0
    for size in (16, 8):
        hop = size // 4
        n = np.arange(size)
        window = np.sqrt(0.5 - 0.5 * np.cos(2 * np.pi * n / size))
        basis = np.exp(
            -2j * np.pi * np.outer(np.arange(size // 2 + 1), n) / size
        )
        basis *= 2 * np.sqrt(hop) / size
        basis[[0, -1]] /= np.sqrt(2)
        total, count = 0.0, 0
        for error in (estimates - sources).numpy():
            for start in range(0, 40 - size + 1, hop):
                spec = basis @ (window * error[start : start + size])
                total += np.abs(spec.real).sum() + np.abs(spec.imag).sum()
                count += 2 * len(spec)
        expected += 100 * total / count
    found = spectral_l1(estimates, sources, (16, 8)).item()
    assert found == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ConfigError, match="40 samples, the longest window 64"):
        spectral_l1(estimates, sources, (64,))


def test_spectral_l1_at_the_published_sizes():
    """Against torch.stft: windows of 2048, 1024, 512, a quarter on."""
    estimates, sources = noise(2, 6000), noise(2, 6000, seed=1)
    expected = 0.0
    for size in (2048, 1024, 512):
        hop = size // 4
        error = torch.stft(
            estimates - sources,
            size,
            hop,
            window=torch.hann_window(size).sqrt(),
            center=False,
            return_complex=True,
        )
        error = error * 2 * hop**0.5 / size
        error[:, [0, -1]] /= 2**0.5
        parts = torch.cat([error.real, error.imag], 1)
        expected += 100 * parts.abs().mean().item()
    found = spectral_l1(estimates, sources, (2048, 1024, 512)).item()
    assert found == pytest.approx(expected, rel=1e-5)
    assert SingersLoss().windows == (2048, 1024, 512)


# --- one order for all terms ------------------------------------------------


def loss(order="assigned", measure="snr", **options):
    return SingersLoss(measure, windows=WINDOWS, order=order, **options)


@pytest.mark.parametrize("measure", ["error", "snr", "si_sdr"])
@pytest.mark.parametrize("count", [2, 3, 4])
def test_perfect_estimates_in_any_order(measure, count):
    sources = noise(2, count, 1, 600)
    estimates = sources.roll(1, 1)  # a cycle
    terms = loss(measure=measure).terms([estimates, estimates], sources)
    assert terms["spectral"] == 0
    same = loss("fixed", measure).terms([sources, sources], sources)
    assert {k: v.item() for k, v in terms.items()} == {
        k: v.item() for k, v in same.items()
    }
    assert terms[measure] <= (-39.9 if measure == "error" else -60)
    assert terms["refined"] == terms[measure]


def test_published_terms_do_not_follow():
    """As released: spectra unordered, the second stage against everybody."""
    sources = noise(2, 2, 1, 600)
    swapped = sources.flip(1)
    terms = loss("published").terms([swapped, swapped], sources)
    right = loss().terms([swapped, swapped], sources)
    assert terms["snr"] == right["snr"]
    assert right["spectral"] == 0
    assert terms["spectral"] == spectral_l1(swapped, sources, WINDOWS) > 1
    everybody = [
        snr_loss(swapped[:, e], sources[:, s]).mean()
        for e in (0, 1)
        for s in (0, 1)
    ]
    expected = torch.stack(everybody).mean()
    torch.testing.assert_close(terms["refined"], expected)
    assert terms["refined"] > right["refined"] + 30


def test_the_first_stage_decides_for_the_second():
    sources = noise(1, 2, 1, 600)
    first, second = sources.flip(1), sources
    terms = loss().terms([first, second], sources)
    assert terms["snr"] < -60 and terms["refined"] > -10


def test_fixed_order():
    sources = noise(1, 2, 1, 600)
    assert loss("fixed").terms([sources.flip(1)], sources)["snr"] > -10


def test_weights_and_silent_singers():
    sources = noise(2, 3, 1, 600)
    sources[0, 2] = 0.0
    estimates = (sources + 0.1 * noise(2, 3, 1, 600, seed=1)).requires_grad_()
    terms = loss(measure="error", spectral_weight=0.0).terms(
        [estimates], sources
    )
    assert list(terms) == ["error"]
    terms["error"].backward()
    assert torch.isfinite(estimates.grad).all()
    # The silent singer's error counts like the others'.
    assert (
        estimates.grad[0, 2].abs().sum()
        > 0.1 * estimates.grad[0, 0].abs().sum()
    )
    twice = loss(refined_weight=2.0).terms([sources, sources], sources)
    assert twice["refined"] == 2 * twice["snr"]


def test_only_the_ordered_estimates_get_gradients():
    """The order is decided without a gradient, from all pairs."""
    sources = noise(1, 2, 1, 600)
    estimates = noise(1, 2, 1, 600, seed=3).requires_grad_()
    loss(spectral_weight=0.0).terms([estimates], sources)["snr"].backward()
    totals = [
        sum(snr_loss(estimates[0, e, 0], sources[0, s, 0]) for s, e in pairs)
        for pairs in (((0, 0), (1, 1)), ((0, 1), (1, 0)))
    ]
    (expected,) = torch.autograd.grad(torch.stack(totals).min() / 2, estimates)
    torch.testing.assert_close(estimates.grad, expected)


def test_settings_are_checked():
    with pytest.raises(ConfigError, match="measure is 'mse': use one of error"):
        SingersLoss("mse")
    with pytest.raises(ConfigError, match="order is 'random': use one of ass"):
        SingersLoss(order="random")


def test_frames_have_an_order_each():
    sources = noise(2, 2, 1, 4096)
    swapped = sources.clone()
    swapped[..., 2048:] = sources.flip(1)[..., 2048:]
    by_frame = SingersLoss(
        spectral_weight=0.0, frame_weight=0.5, frame_window=64
    )
    terms = by_frame.terms([swapped], sources)
    assert terms["error"] > -4  # half of it is the other's
    # All but the frames at the change are right, and the limit is 40 dB.
    assert -20 < terms["frames"] < -7.5
    assert by_frame.terms([sources.flip(1)], sources)["frames"] == (
        pytest.approx(-20, abs=0.01)
    )
    alone = SingersLoss(spectral_weight=0.0, weight=0.0, frame_weight=1.0)
    assert list(alone.terms([sources], sources)) == ["frames"]
    with pytest.raises(ConfigError, match="nothing would be learnt"):
        SingersLoss(spectral_weight=0.0, weight=0.0)
