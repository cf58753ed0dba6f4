"""Faults of published separators: what each costs, and who does not have it.

Each is kept as a switch, so that it can be measured; nothing has it unless it
asks for it.
"""

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from speechbrain_ext.inference.model_folder import export_model, load_model
from speechbrain_ext.losses import BinaryMaskLoss
from speechbrain_ext.metrics.bss_eval import si_sdr
from speechbrain_ext.recipe import compose
from speechbrain_ext.separation.convolutional import (
    PatchNetwork,
    SlidingPatches,
)
from speechbrain_ext.separation.dataset import RemixAugment
from speechbrain_ext.separation.masks import (
    binary_mask,
    mixture_binary_mask,
    ratio_mask,
)
from speechbrain_ext.separation.separator import AngleSeparator, MaskSeparator

RECIPE = Path(__file__).parents[2] / "recipes/MUSDB18/vocal_separation"
# The analysis of the published system.
TRANSFORM = {"n_fft": 4096, "win_length": 1024, "hop_length": 256}


class Oracle(nn.Module):
    """A network that knows the masks of one recording."""

    context_frames = None

    def __init__(self, masks=None):
        super().__init__()
        self.masks = masks

    def forward(self, spec):
        return self.masks


def separator(sources, mask):
    """A separator that knows the masks of sources (sources, samples)."""
    made = MaskSeparator(Oracle(), **TRANSFORM)
    made.network.masks = mask(made.codec(sources)[None])
    return made


def gains(made, sources):
    """SI-SDR of each source, dB."""
    with torch.inference_mode():
        estimates = made(sources.sum(0)[None, None])[0]
    return si_sdr(sources[:, None].numpy(), estimates.numpy())


@pytest.fixture(scope="module")
def sources():
    """Two melodies that meet now and then, with a little noise."""
    generator = torch.Generator().manual_seed(0)
    time = torch.arange(16000) / 16000
    parts = []
    for hz, depth, beat in ((220, 6, 5.5), (330, 0, 2.0)):
        phase = 2 * math.pi * hz * time
        phase = phase + depth * torch.sin(2 * math.pi * beat * time)
        tones = sum(torch.sin(k * phase) / k for k in range(1, 12))
        parts.append(tones * (1 + torch.sin(2 * math.pi * beat * time)))
    parts = torch.stack(parts)
    return parts + 0.05 * torch.randn(parts.shape, generator=generator)


# --- magnitude times angle --------------------------------------------------


def test_whole_masks_give_back_the_mixture(sources):
    whole = separator(sources, lambda spec: torch.ones(1, 1, *spec.shape[2:]))
    mixture = sources.sum(0)[None, None]
    restored = whole(mixture)[:, 0]
    torch.testing.assert_close(restored, mixture, atol=1e-4, rtol=0)
    spoilt = AngleSeparator(whole)(mixture)[:, 0]
    assert si_sdr(mixture[0].numpy(), spoilt[0].numpy()) < -10


def test_angles_are_no_phases(sources):
    made = separator(sources, ratio_mask)
    right = gains(made, sources)
    wrong = gains(AngleSeparator(made), sources)
    assert (right > 8).all() and (wrong < -10).all()


def test_an_exported_model_keeps_its_fault(tmp_path):
    text = """\
sample_rate: 16000
separator: !new:speechbrain_ext.separation.separator.AngleSeparator
  separator: !new:speechbrain_ext.separation.separator.MaskSeparator
    n_fft: 64
    hop_length: 16
    network: !new:speechbrain_ext.separation.convolutional.SlidingPatches
      patches: !new:speechbrain_ext.separation.convolutional.PatchNetwork
        n_bins: 33
        patch_frames: 3
"""
    torch.manual_seed(0)
    network = SlidingPatches(PatchNetwork(33, 3))
    made = AngleSeparator(
        MaskSeparator(network, n_fft=64, hop_length=16)
    ).eval()
    folder = export_model(tmp_path / "m", text, {"separator": made}, "# M\n")
    loaded = load_model(folder, ["separator"])["separator"]
    mixture = torch.randn(1, 2, 500)
    with torch.inference_mode():
        torch.testing.assert_close(loaded(mixture), made(mixture))


# --- label against the mixture ----------------------------------------------


def test_the_label_against_the_mixture_misses_most_of_the_voice(sources):
    codec = MaskSeparator(Oracle(), **TRANSFORM).codec
    spec = codec(sources)[None]
    magnitudes = spec.abs()
    audible = magnitudes.amax(1) > 0.05 * magnitudes.max()
    voice = audible & (magnitudes[:, 0] > magnitudes[:, 1])
    share = mixture_binary_mask(spec)[:, 0][voice].mean()
    # 0.5 where the voice is alone, 0.33 where both are equally loud.
    assert 0.3 < share < 0.55
    assert binary_mask(spec)[:, 0][voice].all()


def test_the_label_against_the_mixture_costs_decibels(sources):
    def one_and_rest(spec):
        voice = mixture_binary_mask(spec)[:, :1]
        return torch.cat([voice, 1 - voice], dim=1)

    right = gains(separator(sources, binary_mask), sources)
    wrong = gains(separator(sources, one_and_rest), sources)
    assert (right > 8).all() and (right - wrong > 5).all()


def test_labels_of_the_loss(sources):
    spec = MaskSeparator(Oracle(), **TRANSFORM).codec(sources)[None]
    label = BinaryMaskLoss().label(spec)
    assert torch.equal(label, binary_mask(spec)[:, 0])
    fault = BinaryMaskLoss("mixture").label(spec)
    assert torch.equal(fault, mixture_binary_mask(spec)[:, 0])
    assert fault.mean() < 0.7 * label.mean()
    # Silence is not voice.
    assert not BinaryMaskLoss().label(0 * spec).any()


# --- the rest ---------------------------------------------------------------


def network(**settings):
    torch.manual_seed(0)
    made = SlidingPatches(PatchNetwork(20, 3), **settings).eval()
    for layer in made.patches.hidden:
        nn.init.normal_(layer.weight, std=0.05)
    nn.init.normal_(made.patches.output.weight, std=0.5)
    return made


@torch.inference_mode()
def test_the_published_network_depends_on_the_level():
    spec = torch.randn(1, 9, 20, dtype=torch.cfloat)
    indifferent, published = network(), network(level="published")
    for gain in (0.01, 30.0):
        torch.testing.assert_close(
            indifferent(gain * spec), indifferent(spec), atol=1e-4, rtol=0
        )
        change = (published(gain * spec) - published(spec)).abs()
        assert change.max() > 0.05


@torch.inference_mode()
def test_thresholds_lose_what_lies_between_them():
    spec = torch.randn(1, 9, 20, dtype=torch.cfloat)
    plain = network()(spec)
    cut = network(vocals_threshold=0.15, accompaniment_threshold=0.8)(spec)
    torch.testing.assert_close(plain.sum(1), torch.ones(1, 9, 20))
    voice = plain[:, 0]
    assert torch.equal(cut[:, 0], voice * (voice >= 0.15))
    assert torch.equal(cut[:, 1], (1 - voice) * (1 - voice >= 0.8))
    lost = 1 - cut.sum(1)
    between = (voice > 0.21) & (voice < 0.99)
    assert between.any()
    torch.testing.assert_close(lost[between], (1 - voice)[between])


def test_one_channel_is_drawn():
    parts = np.arange(8.0, dtype=np.float32).reshape(2, 2, 2) / 100
    heard = set()
    for seed in range(20):
        settings = {"gain_db": (0, 0), "ratio_share": 0, "silent_share": 0}
        augment = RemixAugment(**settings, one_channel=True)
        plan = augment.draw(np.random.default_rng(seed))
        out = augment.apply(parts, plan)
        assert out.shape == (2, 1, 2)
        (channel,) = (c for c in (0, 1) if np.allclose(out[:, 0], parts[:, c]))
        heard.add(channel)
        # Nothing else is drawn otherwise, and by default all are kept.
        both = RemixAugment(**settings)
        other = both.draw(np.random.default_rng(seed))
        assert {**plan, "channel": None} == other
        assert both.apply(parts, other).shape == parts.shape
    assert heard == {0, 1}


FAULTS = {
    "AngleSeparator": {"published_repo.yaml"},
    "rival: mixture": {"published_repo.yaml"},
    "accompaniment_threshold: 0.8": {"published_repo.yaml"},
    "vocals_threshold": {"published_repo.yaml", "published_paper.yaml"},
    "level: published": {"published_repo.yaml", "published_paper.yaml"},
    "one_channel: true": {"published_repo.yaml", "published_paper.yaml"},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_only_published_presets_have_faults(fault):
    texts = {path.name: compose(path) for path in RECIPE.glob("*.yaml")}
    assert len(texts) >= 6
    found = {
        name
        for name, text in texts.items()
        if re.search(re.escape(fault), text, re.IGNORECASE)
    }
    assert found == FAULTS[fault]
