"""The separation Brain: learning, averaging, scoring, exporting."""

import csv
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from hyperpyyaml import resolve_references
from torch.optim.swa_utils import AveragedModel

from speechbrain_ext import recipe
from speechbrain_ext.audio import write_audio
from speechbrain_ext.brains import separation
from speechbrain_ext.brains.separation import SeparationBrain
from speechbrain_ext.brains.vocal_separation import run_separation
from speechbrain_ext.errors import ConfigError
from speechbrain_ext.inference.model_folder import load_model
from speechbrain_ext.metrics.separation import evaluate_folder
from speechbrain_ext.report.plots import read_train_log
from speechbrain_ext.separation.convolutional import (
    PatchNetwork,
    SlidingPatches,
)
from speechbrain_ext.separation.separator import AngleSeparator, MaskSeparator

RECIPE = Path(__file__).parents[2] / "recipes/MIR1K/vocal_separation"
RATE = 16000
SETTINGS = """
data_folder: unused
experiment: small
separator: {network: {channels: 6, growth: 2, levels: 2, dilations: [1]}}
segment_s: 1.0
number_of_epochs: 4
train_loader: {batch_size: 2}
augment: {silent_share: 0.0}
optimizer: {lr: 0.02}
average_decay: 0.5
keep_estimates: True
test_ratio_db: null
"""


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Chirps below noise; every song in segments of 1 s."""
    folder = tmp_path_factory.mktemp("songs")
    rng = np.random.default_rng(0)
    found = {"train": [], "valid": [], "test": []}
    for split, count in (("train", 12), ("valid", 1), ("test", 2)):
        for k in range(count):
            time = np.arange(2 * RATE) / RATE
            pitch = 200 + 100 * rng.uniform() + 40 * np.sin(9 * time)
            voice = np.sin(2 * np.pi * np.cumsum(pitch) / RATE)
            band = rng.standard_normal(2 * RATE)
            wavs = {"wav": 0.1 * voice, "accomp_wav": 0.07 * band}
            name = f"{split}{k}"
            media = {}
            for medium, wav in wavs.items():
                path = folder / f"{name}_{medium}.wav"
                write_audio(path, wav.astype(np.float32), RATE, subtype="FLOAT")
                media[medium] = str(path)
            found[split] += [
                {
                    "ID": f"{name}_{part}",
                    "song_id": name,
                    "segment": part,
                    "n_segments": 2,
                    "start": part - 1.0,
                    "stop": float(part),
                    "singer": "someone",
                    "license": "none",
                    **media,
                }
                for part in (1, 2)
            ]
    return found


def run(rows, output, **settings):
    """Train, test and export; hyper-parameters and scores."""
    tree = yaml.safe_load(SETTINGS) | {"output_folder": str(output)}
    for key, value in settings.items():
        both = isinstance(value, dict) and key in tree
        tree[key] = tree[key] | value if both else value
    overrides = yaml.safe_dump(tree)
    hparams = recipe.load(RECIPE / "params.yaml", overrides)
    output.mkdir(exist_ok=True)
    text = recipe.compose(RECIPE / "params.yaml", overrides)
    (output / "hyperparams.yaml").write_text(
        resolve_references(text).getvalue()
    )
    results = run_separation(
        hparams, None, rows["train"], rows["valid"], {"all": rows["test"]}
    )
    return hparams, results


@pytest.fixture(scope="module")
def trained(rows, tmp_path_factory):
    output = tmp_path_factory.mktemp("out")
    return output, *run(rows, output)


def test_it_learns(trained):
    output, _, results = trained
    log = read_train_log(output / "train_log.txt")
    assert len(log) == 4
    assert log[-1]["train loss"] < log[0]["train loss"] - 2.0
    gain = results["all"].summarize()["vocals_SI-SDRi_mean"]
    assert gain > 3.0
    assert log[-1]["valid vocals_SI-SDRi"] > 3.0


def test_the_average_forgets_where_it_began():
    weight = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(weight.weight, 0.0)
    average = AveragedModel(
        weight, multi_avg_fn=separation._running_average(0.99)
    )
    average.update_parameters(weight)
    torch.nn.init.constant_(weight.weight, 1.0)
    for _ in range(20):
        average.update_parameters(weight)
    # Those of equal shares keep 0.99 ** 20, four fifths, of it.
    assert average.module.weight.item() > 0.99
    torch.nn.init.constant_(weight.weight, 2.0)
    for _ in range(2000):
        average.update_parameters(weight)
    torch.nn.init.constant_(weight.weight, 3.0)
    average.update_parameters(weight)
    assert average.module.weight.item() == pytest.approx(2.01, abs=1e-3)


def test_the_average_is_tested_and_exported(trained):
    output, hparams, _ = trained
    last = hparams["separator"].state_dict()
    model = load_model(output / "model", ("separator",))
    exported = model["separator"].state_dict()
    assert model["sample_rate"] == RATE and model["model_name"] == "small"
    moved = [
        not torch.equal(last[key], exported[key])
        for key in last
        if last[key].is_floating_point()
    ]
    assert any(moved), "the weights of the last step are not the average"
    # Tested was the same: its estimates can be made again.
    found = sorted((output / "results/all/estimates").glob("test0_*.wav"))
    assert [path.name for path in found] == [
        "test0_accompaniment.wav",
        "test0_vocals.wav",
    ]


def test_scores_are_those_of_the_estimates(trained, rows, tmp_path):
    output, _, results = trained
    for row in rows["test"]:
        for medium, name in (
            ("wav", "vocals"),
            ("accomp_wav", "accompaniment"),
        ):
            link = tmp_path / f"{row['song_id']}_{name}.wav"
            link.unlink(missing_ok=True)
            link.symlink_to(row[medium])
    again, *_ = evaluate_folder(
        tmp_path, output / "results/all/estimates", "v3"
    )
    for own, other in zip(results["all"].songs, again.songs, strict=True):
        assert own.song_id == other.song_id
        for metric, values in own.scores.items():
            assert values == pytest.approx(
                other.scores[metric], abs=1e-3, nan_ok=True
            )
    with (output / "results/all/scores.csv").open() as file:
        table = list(csv.reader(file))
    assert len(table) == 1 + 2
    summary = (output / "results/summary.txt").read_text()
    assert "BSS-Eval 3" in summary and "vocals" in summary
    card = (output / "model/README.md").read_text()
    assert "12 songs" in card and "BSS-Eval 3" in card


def test_training_goes_on_from_a_model(trained, rows, tmp_path):
    output, _, results = trained
    _, again = run(
        rows,
        tmp_path / "more",
        start_from=str(output / "model"),
        number_of_epochs=1,
        optimizer={"lr": 0.0},
    )
    before, after = (
        stats["all"].summarize()["vocals_SI-SDRi_mean"]
        for stats in (results, again)
    )
    # Only the batch statistics have moved.
    assert after == pytest.approx(before, abs=1.5)


@pytest.mark.parametrize("fault", [False, True])
@torch.inference_mode()
def test_long_songs_and_other_rates(fault, monkeypatch):
    torch.manual_seed(0)
    network = SlidingPatches(PatchNetwork(33, 3), level="published")
    model = MaskSeparator(network, n_fft=64, hop_length=16).eval()
    model = AngleSeparator(model) if fault else model
    brain = SimpleNamespace(separator=model, test_rate=RATE, device="cpu")
    mixture = torch.randn(2, 2, 3000)
    whole = SeparationBrain.separate(brain, mixture)
    torch.testing.assert_close(whole, model(mixture))
    # A longer song goes another way and comes out the same.
    monkeypatch.setattr(separation, "WHOLE_S", 0.05)
    parts = SeparationBrain.separate(brain, mixture)
    torch.testing.assert_close(parts, whole, atol=1e-4, rtol=0)
    brain.test_rate = 22050
    other = SeparationBrain.separate(brain, mixture)
    assert other.shape == whole.shape and torch.isfinite(other).all()
    if not fault:
        torch.testing.assert_close(other.sum(1), mixture, atol=1e-4, rtol=0)


def test_errors(rows, tmp_path):
    with pytest.raises(ConfigError, match="gives it vocals, accompaniment"):
        run(rows, tmp_path / "a", separator={"sources": ["a", "b"]})
    with pytest.raises(ConfigError, match="optimizer: .*learning rate"):
        run(rows, tmp_path / "b", optimizer={"lr": -1.0})
