"""A training with two ranks that is killed goes on as if it had not been."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]

# The recipe's script, whose process dies in a batch of the given number.
SCRIPT = """
import os, sys
sys.path.insert(0, os.environ["RECIPE"])
import experiment
from speechbrain_ext import recipe
from speechbrain_ext.brains.training import RecipeBrain

start, left = RecipeBrain.on_fit_batch_start, [int(os.environ["DIES"])]

def dying(self, *arguments):
    start(self, *arguments)
    left[0] -= 1
    if left[0] == 0:
        os._exit(9)

RecipeBrain.on_fit_batch_start = dying
recipe.run(experiment.main)
"""

# Changes of a recipe's params.yaml, with what its checkpoints hold.
RECIPES = {
    # A mixed encoder with dropout, dropped layers and an epoch of probing.
    "MIR_ST500/audio_transcription": (
        """
base: {base}
data_folder: {folder}/data
synthetic: {{mir_st500: {{n_train: 2, n_test: 1, song_s: 21.0}}}}
encoder: !new:speechbrain_ext.encoders.ssl.SSLEncoder
  layer: mix
  gradient_checkpointing: True
  config:
    model_type: wavlm
    hidden_size: 16
    num_hidden_layers: 2
    num_attention_heads: 2
    intermediate_size: 16
    conv_dim: [8, 8, 8, 8, 8, 8, 8]
    num_conv_pos_embeddings: 4
    num_conv_pos_embedding_groups: 2
    layerdrop: 0.5
encoder_size: 16
number_of_epochs: 2
probe_epochs: 1
plot_songs: 0
n_jobs: 1
train_loader: {{batch_size: 1, num_workers: 1}}
test_loader: {{num_workers: 0}}
""",
        ("encoder", "head"),
    ),
    # A network with batch statistics, and an average of its weights.
    "MIR1K/vocal_separation": (
        """
base: {base}
data_folder: {folder}/data
synthetic: {{mir1k: {{n_train: 2, n_test: 1, song_s: [9.0, 12.0]}}}}
segment_s: 2.0
repeats: 1
separator:
  network:
    channels: 4
    growth: 2
number_of_epochs: 2
n_jobs: 1
train_loader: {{batch_size: 1}}
""",
        ("separator", "average"),
    ),
}


def train(recipe, folder, output, dies=0):
    """Train with two ranks; returns the exit code and what was printed."""
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node=2"]
    options = ["--output_folder", output, "--ckpt_interval_steps", "1"]
    done = subprocess.run(
        [sys.executable, *launcher, "killed.py", "tiny.yaml", *options],
        cwd=folder,
        env={
            **os.environ,
            "DIES": str(dies),
            "RECIPE": str(ROOT / "recipes" / recipe),
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "MASTER_PORT": "0",
        },
        capture_output=True,
        text=True,
        timeout=400,
    )
    return done.returncode, done.stdout + done.stderr


def last_weights(folder, names):
    """Weights of the last checkpoint."""
    files = folder.glob(f"save/*/{names[0]}.ckpt")
    last = max(files, key=os.path.getmtime).parent
    return [torch.load(last / f"{name}.ckpt") for name in names]


@pytest.mark.parametrize("recipe", RECIPES)
def test_killed_in_an_epoch(tmp_path, recipe):
    settings, names = RECIPES[recipe]
    base = ROOT / "recipes" / recipe / "params.yaml"
    (tmp_path / "killed.py").write_text(SCRIPT)
    (tmp_path / "tiny.yaml").write_text(
        settings.format(base=base, folder=tmp_path)
    )
    code, said = train(recipe, tmp_path, "whole")
    assert code == 0, said
    # Each rank has at least 2 batches in an epoch: the fourth is there.
    code, said = train(recipe, tmp_path, "parts", dies=4)
    assert code != 0
    assert "model: parts" not in said
    code, said = train(recipe, tmp_path, "parts")
    assert (code, said.count("Going into epoch 1")) == (0, 0), said
    found = last_weights(tmp_path / "parts", names)
    whole = last_weights(tmp_path / "whole", names)
    for own, state in zip(found, whole, strict=True):
        assert state
        for key, value in state.items():
            assert torch.equal(value, own[key]), key
