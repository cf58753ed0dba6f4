"""The band-split RoFormer: size, shapes, precision, model folders."""

import sys

import pytest
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from speechbrain_ext.errors import ConfigError, DependencyError
from speechbrain_ext.inference.model_folder import export_model, load_model
from speechbrain_ext.inference.separator import VoiceSeparator
from speechbrain_ext.losses import AbsoluteLoss
from speechbrain_ext.separation.roformer import BandSplitRoFormer

TINY = """\
sample_rate: 44100
separator: !new:speechbrain_ext.separation.roformer.BandSplitRoFormer
  dim: 8
  depth: 1
  heads: 2
  dim_head: 4
  n_fft: 256
  hop_length: 64
  bands: [32, 32, 65]
  segment_s: 0.1
"""


def tiny(**settings):
    torch.manual_seed(0)
    sizes = {"dim": 8, "depth": 1, "heads": 2, "dim_head": 4}
    transform = {"n_fft": 256, "hop_length": 64, "bands": [32, 32, 65]}
    made = BandSplitRoFormer(
        **{**sizes, **transform, "segment_s": 0.1, **settings}
    )
    return made.eval()


@pytest.fixture(autouse=True)
def package():
    pytest.importorskip("bs_roformer", reason="BS-RoFormer is not installed")


def test_size_of_the_paper():
    """Six pairs of transformers have 72.2 million weights, says the paper."""
    with torch.device("meta"):
        made = BandSplitRoFormer()
    assert sum(p.numel() for p in made.parameters()) == pytest.approx(
        72.2e6, rel=0.001
    )


@torch.inference_mode()
@pytest.mark.parametrize("samples", [1, 100, 256, 3000])
def test_any_length(samples):
    mixture = torch.randn(2, 2, samples)
    sources = tiny()(mixture)
    assert sources.shape == (2, 2, 2, samples)
    torch.testing.assert_close(sources.sum(1), mixture, atol=1e-5, rtol=0)


@torch.inference_mode()
def test_level_batch_and_silence():
    made, mixture = tiny(), torch.randn(2, 2, 2000)
    sources = made(mixture)
    torch.testing.assert_close(made(mixture[1:]), sources[1:])
    torch.testing.assert_close(
        made(0.01 * mixture), 0.01 * sources, atol=1e-5, rtol=0
    )
    assert not made(torch.zeros(1, 2, 500)).any()


@torch.inference_mode()
def test_half_precision():
    made, mixture = tiny(), torch.randn(1, 2, 2000)
    exact = made(mixture)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        coarse = made(mixture)
    assert coarse.dtype == torch.float32
    assert 0 < (coarse - exact).abs().max() < 0.05 * exact.std()


@torch.inference_mode()
def test_an_average_of_weights_keeps_positions():
    made, mixture = tiny(), torch.randn(1, 2, 4000)
    average = AveragedModel(
        made, multi_avg_fn=get_ema_multi_avg_fn(0.5), use_buffers=True
    )
    average.update_parameters(made)
    # Training sees less than validation.
    made(mixture[..., :1000])
    average.module(mixture)
    average.update_parameters(made)
    torch.testing.assert_close(average.module(mixture), made(mixture))


def test_all_weights_learn():
    made = tiny().train()
    mixture = torch.randn(1, 2, 2000)
    terms = AbsoluteLoss()(made, mixture, torch.stack([mixture, mixture], 1))
    sum(terms.values()).backward()
    assert [
        name
        for name, weight in made.named_parameters()
        if weight.requires_grad and weight.grad is None
    ] == []


def test_a_model_folder(tmp_path):
    made = tiny()
    folder = export_model(tmp_path / "m", TINY, {"separator": made}, "# M\n")
    loaded = load_model(folder, ["separator"])["separator"]
    mixture = torch.randn(1, 2, 2000)
    with torch.inference_mode():
        torch.testing.assert_close(loaded(mixture), made(mixture))
    # Longer than a segment, and of another number of channels.
    wav = torch.randn(20000, 1).numpy() / 10
    stems = VoiceSeparator.from_hparams(folder).separate(wav, 44100)
    assert stems["vocals"].shape == wav.shape
    assert abs(sum(stems.values()) - wav).max() < 1e-5


def test_bands_fit_the_spectrum():
    with pytest.raises(ConfigError, match="64 bins, n_fft 256 has 129: make"):
        tiny(bands=[32, 32])


def test_the_package_is_asked_for(monkeypatch):
    monkeypatch.setitem(sys.modules, "bs_roformer", None)
    with pytest.raises(DependencyError, match=r"pip install .*\[roformer\]"):
        tiny()
