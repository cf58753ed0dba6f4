"""The Brain of singers: two stages, cases, stopping, two processes."""

import os
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import speechbrain as sb
import torch
import yaml
from hyperpyyaml import load_hyperpyyaml
from ruamel.yaml import YAML

from speechbrain_ext.brains.singers import SingersBrain, train_singers
from speechbrain_ext.errors import ConfigError, ManifestError, ModelError
from speechbrain_ext.inference.model_folder import load_model
from speechbrain_ext.inference.separator import VoiceSeparator
from speechbrain_ext.metrics.singers import SingersStats
from speechbrain_ext.recipe import merge_overrides
from speechbrain_ext.report.plots import read_train_log

ROOT = Path(__file__).parents[2]
RATE = 4000

PARAMS = """
experiment: tiny
seed: 1
output_folder: !PLACEHOLDER
number_of_epochs: 5
start_from: null
separator: !new:speechbrain_ext.separation.separator.MaskSeparator
  sources: [one, two]
  sample_rate: 4000
  n_fft: 128
  hop_length: 32
  window: sqrt_hann
  network: !new:speechbrain_ext.separation.tasnet.ConvTasNet
    n_bins: 65
    features: log
    mask: real
    norm: frame
    n_blocks: 2
    n_repeats: 1
    channels: 8
    hidden: 16
    skip: 8
loss: !new:speechbrain_ext.losses.SingersLoss
  windows: [256]
  spectral_weight: 0.1
train_loader: {batch_size: 4}
test_loader: {batch_size: 2}
optimizer: !name:torch.optim.Adam
  lr: 0.02
lr_schedule: null
plateau: null
average_decay: 0.5
max_grad_norm: 5.0
keep_checkpoints: 1
keep_estimates: False
scoring: {bss: False}
ordered_cases: [high]
loudest_first: False
oracles: [mixture, irm]
epoch_counter: !new:speechbrain.utils.epoch_loop.EpochCounterWithStopper
  limit: !ref <number_of_epochs>
  limit_to_stop: 100
  limit_warmup: 0
  direction: max
checkpointer: !new:speechbrain_ext.brains.training.Checkpoints
  checkpoints_dir: !ref <output_folder>/save
  recoverables:
    separator: !ref <separator>
    epoch: !ref <epoch_counter>
train_logger: !new:speechbrain.utils.train_logger.FileTrainLogger
  save_file: !ref <output_folder>/train_log.txt
"""

TWO_STAGES = """
separator:
  network: !new:speechbrain_ext.separation.superres.SuperResolution
    sample_rate: 4000
    above_hz: 1000.0
    first: !new:speechbrain_ext.separation.tasnet.ConvTasNet
      n_bins: 65
      features: log
      mask: real
      norm: frame
      n_blocks: 2
      n_repeats: 1
      channels: 8
      hidden: 16
      skip: 8
    refiner: !new:speechbrain_ext.separation.superres.ISRNet
      channels: 4
"""


class Singers(torch.utils.data.Dataset):
    """Two noises in bands of their own, in any order."""

    def __init__(self, items, cases=("low",), seed=0):
        self.items, self.cases, self.seed = items, cases, seed

    def __len__(self):
        return self.items

    def __getitem__(self, index):
        rng = np.random.default_rng([self.seed, index])
        case = self.cases[index % len(self.cases)]
        edges = (250, 450) if case == "low" else (700, 1200)
        bins = np.fft.rfftfreq(RATE, 1 / RATE)
        voices = []
        for low, high in ((0, edges[0]), (edges[1], 2000)):
            spec = np.fft.rfft(rng.normal(size=RATE))
            spec[(bins < low) | (bins > high)] = 0
            voices.append(np.fft.irfft(spec))
        order = rng.permutation(2)
        sources = 0.1 * np.stack(voices)[order] / np.std(voices)
        return {
            "id": f"{self.seed}_{index}",
            "case": case,
            "voices": 2 + index % 2,
            "sources": torch.from_numpy(sources.astype(np.float32)),
        }


def params(output, overrides="", base=PARAMS):
    """Hyper-parameters, written down as a recipe does."""
    output.mkdir(parents=True, exist_ok=True)
    tree = YAML().load(base)
    merge_overrides(tree, YAML().load(overrides) or {})
    tree["output_folder"] = str(output)
    text = output / "hyperparams.yaml"
    with text.open("w") as file:
        YAML().dump(tree, file)
    torch.manual_seed(1)
    return load_hyperpyyaml(text.read_text().replace("!PLACEHOLDER", ""))


def train(output, overrides="", cases=("low",), valid=None):
    hparams = params(output, overrides)
    results = train_singers(
        hparams,
        None,
        Singers(12, cases),
        valid or Singers(4, cases, seed=1),
        {"test": Singers(4, cases, seed=2)},
        [
            {
                "start": 0.0,
                "stop": 3600.0,
                "song_id": "x",
                "license": "none",
                "split": "train",
                "singer": "",
            }
        ],
    )
    return hparams, results


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    output = tmp_path_factory.mktemp("out") / "one"
    return output, *train(output, cases=("low", "high"))


@pytest.fixture(scope="module")
def mended(trained, tmp_path_factory):
    """The second stage, from the model of the first."""
    output = tmp_path_factory.mktemp("out") / "two"
    start = f"start_from: {trained[0] / 'model'}\nnumber_of_epochs: 2\n"
    slow = "optimizer: !name:torch.optim.Adam\n  lr: 0.002\n"
    return output, *train(output, start + slow + TWO_STAGES, ("low", "high"))


def test_it_learns(trained):
    output, _, results = trained
    log = read_train_log(output / "train_log.txt")
    assert log[-1]["train loss"] < log[0]["train loss"] - 1
    summary = results["test"].summarize()
    assert summary["SI-SDRi_mean"] > 5
    assert list(results) == [
        "test",
        "test, oracle mixture",
        "test, oracle irm",
    ]
    ideal = results["test, oracle irm"].summarize()
    assert ideal["SI-SDRi_mean"] > summary["SI-SDRi_mean"]
    nothing = results["test, oracle mixture"].summarize()
    assert nothing["SI-SDRi_mean"] == pytest.approx(0, abs=1e-4)


def test_what_is_written(trained):
    output, _, results = trained
    found = {path.name for path in (output / "results/test").iterdir()}
    assert {
        "scores.csv",
        "scores.txt",
        "scores.png",
        "scores_irm.csv",
        "scores_mixture.csv",
    } == found
    summary = (output / "results/summary.txt").read_text()
    assert "high, 3 voices" in summary or "high: 2 items" in summary
    assert "oracle irm" in summary
    # The card is about the model, and says how it is used.
    card = (output / "model/README.md").read_text()
    assert "SI-SDRi" in card and "oracle" not in card
    assert "`singbrain split FILE --model" in card
    assert "one voice at a time" not in card
    by_case = results["test"].groups()
    assert by_case["high"].summarize()["fixed SI-SDRi_items"] == 2
    assert by_case["low"].summarize()["fixed SI-SDRi_items"] == 0


def test_each_case_counts_once(tmp_path):
    """Three items of one case and one of another: the mean of two means."""

    class Uneven(Singers):
        def __getitem__(self, index):
            self.cases = ("low",) if index else ("high",)
            return super().__getitem__(index)

    output = tmp_path / "out"
    train(output, "number_of_epochs: 1", valid=Uneven(4, seed=3))
    log = read_train_log(output / "train_log.txt")[-1]
    means = [log["valid low_SI-SDRi"], log["valid high_SI-SDRi"]]
    (state,) = (output / "save").glob("CKPT*/CKPT.yaml")
    kept = yaml.safe_load(state.read_text())["SI-SDRi"]
    # The log has three digits.
    assert kept == pytest.approx(np.mean(means), abs=0.02)
    assert kept != pytest.approx((3 * means[0] + means[1]) / 4, abs=0.02)


def test_second_stage_goes_on_from_the_first(mended, trained):
    _, hparams, results = mended
    before = trained[2]["test"].summarize()["SI-SDRi_mean"]
    assert results["test"].summarize()["SI-SDRi_mean"] > before - 0.5
    log = read_train_log(mended[0] / "train_log.txt")
    assert {
        "train error_loss",
        "train spectral_loss",
        "train refined_loss",
    } <= {*log[0]}
    assert hparams["separator"].network.refiner.output[0].weight.abs().max() > 0


def test_both_models_are_used_like_any_other(trained, mended):
    for output, *_ in (trained, mended):
        model = load_model(output / "model", ("separator",))
        assert model["sample_rate"] == RATE
        voices = VoiceSeparator.from_hparams(output / "model")
        item = Singers(1, seed=9)[0]["sources"].numpy()
        stems = voices.separate(item.sum(0), RATE)
        assert set(stems) == {"one", "two"}
        np.testing.assert_allclose(sum(stems.values()), item.sum(0), atol=1e-5)
        errors = [
            [np.std(stems[a] - item[0]), np.std(stems[a] - item[1])]
            for a in ("one", "two")
        ]
        assert min(errors[0]) < 0.06 and min(errors[1]) < 0.06
        # At another rate the masks are carried over.
        twice = np.repeat(item.sum(0), 2)
        assert len(voices.separate(twice, 2 * RATE)["one"]) == len(twice)


@pytest.mark.parametrize("loudest_first", [False, True])
def test_order_of_the_outputs(loudest_first):
    """The louder output can be the first one before the order is scored."""
    brain = SingersBrain.__new__(SingersBrain)
    brain.hparams = types.SimpleNamespace(
        ordered_cases=["high"], loudest_first=loudest_first
    )
    brain.stats, brain.oracle_stats = SingersStats(bss=False), {}
    brain.test_rate, brain.estimates_folder = RATE, None
    main, rest = np.random.default_rng(0).normal(size=(2, 1, RATE))
    sources = np.stack([main, 0.5 * rest])
    estimates = np.stack([0.5 * rest + 0.05 * main, 0.95 * main])
    batch = types.SimpleNamespace(id=["a"], case=["high"])
    brain.score(batch, 0, sources, estimates)
    (item,) = brain.stats.songs
    assert item.order == ((0, 1) if loudest_first else (1, 0))
    fixed, best = (item.scores[k] for k in ("fixed SI-SDRi", "SI-SDRi"))
    assert best > 15
    assert fixed == pytest.approx(best) if loudest_first else fixed < 0


def test_no_artist_of_the_test_set(tmp_path):
    leak = {"song_id": "x", "split": "train", "singer": "artist - meaxic"}
    data = Singers(2)
    with pytest.raises(ManifestError, match="sings in the test set"):
        train_singers(params(tmp_path), None, data, data, {}, [leak])


def test_it_stops_when_nothing_gets_better(tmp_path):
    counter = """
epoch_counter: !new:speechbrain.utils.epoch_loop.EpochCounterWithStopper
  limit: 9
  limit_to_stop: 2
  limit_warmup: 0
  direction: max
optimizer: !name:torch.optim.Adam
  lr: 0.0
"""
    train(tmp_path / "out", counter)
    assert len(read_train_log(tmp_path / "out/train_log.txt")) == 3


def test_the_rate_falls_on_a_plateau(tmp_path):
    plateau = """
plateau: !name:torch.optim.lr_scheduler.ReduceLROnPlateau
  factor: 0.5
  patience: 0
  threshold: 100.0
  threshold_mode: abs
  min_lr: 1.0e-6
number_of_epochs: 4
"""
    train(tmp_path / "out", plateau)
    log = read_train_log(tmp_path / "out/train_log.txt")
    rates = [entry["lr"] for entry in log]
    assert rates == pytest.approx([0.02, 0.02, 0.01, 0.005])


@pytest.mark.parametrize("task", ["duet_unison", "main_vs_rest"])
def test_the_published_second_stage_can_slow_down(task):
    """As published min_lr was above lr, so that it never fell."""
    folder = ROOT / "recipes" / "MedleyVox" / task
    for name, first in (("published", 2e-4), ("published_stage2", 3e-5)):
        tree = recipe_tree(folder / f"{name}.yaml")
        rates = tree["optimizer"]["lr"], tree["plateau"]["min_lr"]
        assert rates[0] == first and rates[1] < rates[0]
        weight = torch.nn.Parameter(torch.zeros(1))
        optimizer = torch.optim.Adam([weight], lr=rates[0])
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, "max", **tree["plateau"]
        )
        for _ in range(tree["plateau"]["patience"] + 2):
            plateau.step(0.0)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(first / 2)


def recipe_tree(path):
    """Settings of a recipe, with those of its base."""
    own = YAML().load(path)
    if "base" not in own:
        return own
    tree = recipe_tree(path.parent / own.pop("base"))
    merge_overrides(tree, own)
    return tree


def test_errors(tmp_path, trained):
    plateau = """
plateau: !name:torch.optim.lr_scheduler.ReduceLROnPlateau
  min_lr: 0.05
"""
    with pytest.raises(ConfigError, match="min_lr is 0.05 but optimizer.lr 0"):
        train(tmp_path / "a", plateau)
    both = plateau + (
        "lr_schedule: !new:speechbrain_ext.brains.training.WarmupCosine {}\n"
    )
    with pytest.raises(ConfigError, match="lr_schedule and plateau are both"):
        train(tmp_path / "b", both)
    with pytest.raises(ConfigError, match="2 sources, the separator gives 3"):
        train(tmp_path / "c", "separator: {sources: [a, b, c]}")
    other = f"start_from: {trained[0] / 'model'}\n"
    other += "separator: {network: {channels: 4}}\n"
    with pytest.raises(ModelError, match="does not fit the model: .*shape"):
        train(tmp_path / "d", other)


SCRIPT = """
import os
import sys
from pathlib import Path
import torch
from speechbrain.utils.distributed import ddp_init_group
from speechbrain_ext.brains import singers
import test_singers_brain as tests

run_opts = {"device": "cpu", "distributed_backend": "gloo",
            "distributed_launch": True}
ddp_init_group(run_opts)
rank = torch.distributed.get_rank()

def say(*words):
    with open(Path(sys.argv[1]) / f"said{rank}.txt", "a") as file:
        print(*words, file=file)

def everywhere(values):
    found = [torch.zeros_like(values) for _ in range(2)]
    torch.distributed.all_gather(found, values)
    return found

class Watched(singers.SingersBrain):
    def compute_objectives(self, predictions, batch, stage):
        loss = super().compute_objectives(predictions, batch, stage)
        self.last = loss.detach().reshape(1)
        return loss

    def optimizers_step(self):
        grads = [p.grad.flatten() for p in self.modules.parameters()
                 if p.grad is not None]
        one, two = everywhere(torch.cat(grads))
        losses = everywhere(self.last)
        say("step", torch.equal(one, two), bool(one.abs().sum() > 0),
            not torch.equal(*losses))
        super().optimizers_step()

    def on_score(self, score):
        # One process saw it get better, the other one did not.
        super().on_score(score)
        say("epoch", self.hparams.epoch_counter.current,
            self.hparams.epoch_counter.should_stop)

    def validate_item(self, *arguments):
        super().validate_item(*arguments)
        epoch = self.hparams.epoch_counter.current
        for values in self.gains.values():
            values[-1] = float(10 * epoch * rank)

singers.SingersBrain = Watched
stages = {"one": "", "two": tests.TWO_STAGES}
for stage, overrides in stages.items():
    hparams = tests.params(Path(sys.argv[1]) / stage / str(rank),
                           overrides + tests.COUNTER)
    hparams["optimizer"].keywords["lr"] = 0.01
    brain = Watched(
        modules={"objective": singers.SeparationObjective(
            hparams["separator"], hparams["loss"])},
        hparams=hparams, run_opts=run_opts)
    brain.fit(hparams["epoch_counter"], tests.Singers(8),
              tests.Singers(1, seed=1), train_loader_kwargs={"batch_size": 2},
              valid_loader_kwargs={"batch_size": 1})
    weights = torch.cat([p.flatten() for p in brain.separator.parameters()])
    say("weights", torch.equal(*everywhere(weights)))
torch.distributed.barrier()
torch.distributed.destroy_process_group()
# The brain lives until the interpreter ends, and with it threads that may
# then abort the process; a recipe lets go of it before.
os._exit(0)
"""

COUNTER = """
epoch_counter: !new:speechbrain.utils.epoch_loop.EpochCounterWithStopper
  limit: 5
  limit_to_stop: 1
  limit_warmup: 0
  direction: max
"""


@pytest.mark.slow
def test_two_processes_learn_the_same_and_stop_together(tmp_path):
    """In both stages: equal gradients of different losses, one decision."""
    (tmp_path / "ranks.py").write_text(SCRIPT)
    launcher = ["-m", "torch.distributed.run", "--standalone"]
    launcher.append("--nproc_per_node=2")
    done = subprocess.run(
        [sys.executable, *launcher, "ranks.py", str(tmp_path)],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(
                [str(ROOT), str(Path(__file__).parent)]
            ),
            "OMP_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    stage = [
        # Gradients equal, not zero, of different losses.
        *["step True True True"] * 2,
        "epoch 1 False",
        *["step True True True"] * 2,
        "epoch 2 True",
        "weights True",
    ]
    for rank in (0, 1):
        said = (tmp_path / f"said{rank}.txt").read_text()
        assert said.splitlines() == 2 * stage


def test_gradients_are_averaged_by_the_wrapped_module():
    """What makes that so: nobody calls the separator behind the wrapper."""
    called = []

    class Wrapped(torch.nn.Module):
        def forward(self, *arguments):
            called.append(arguments)
            return {}

    brain = SingersBrain.__new__(SingersBrain)
    brain.modules = torch.nn.ModuleDict({"objective": Wrapped()})
    brain.device = "cpu"
    brain.hparams = types.SimpleNamespace(
        epoch_counter=types.SimpleNamespace(current=3)
    )
    brain.average = types.SimpleNamespace(
        module=types.SimpleNamespace(sources=("one", "two"))
    )
    batch = types.SimpleNamespace(
        sources=types.SimpleNamespace(data=torch.ones(1, 2, 50))
    )
    assert brain.compute_forward(batch, sb.Stage.TRAIN) == ({}, None)
    ((mixture, sources, epoch),) = called
    assert mixture.shape == (1, 1, 50) and (mixture == 2).all()
    assert sources.shape == (1, 2, 1, 50) and epoch == 3
