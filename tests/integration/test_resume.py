"""A training with two ranks that is killed goes on as if it had not been."""

import os
import subprocess
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "recipes/MIR_ST500/audio_transcription"

# The recipe's script, whose process dies in a batch of the given number.
SCRIPT = """
import os, sys
sys.path.insert(0, os.environ["RECIPE"])
import experiment
from speechbrain_ext import recipe
from speechbrain_ext.brains.transcription import TranscriptionBrain

start, left = TranscriptionBrain.on_fit_batch_start, [int(os.environ["DIES"])]

def dying(self, *arguments):
    start(self, *arguments)
    left[0] -= 1
    if left[0] == 0:
        os._exit(9)

TranscriptionBrain.on_fit_batch_start = dying
recipe.run(experiment.main)
"""

# A mixed encoder with dropout, dropped layers and an epoch of probing.
SETTINGS = """
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
"""


def train(folder, output, dies=0):
    """Train with two ranks; returns the exit code and what was printed."""
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node=2"]
    options = ["--output_folder", output, "--ckpt_interval_steps", "1"]
    done = subprocess.run(
        [sys.executable, *launcher, "killed.py", "tiny.yaml", *options],
        cwd=folder,
        env={
            **os.environ,
            "DIES": str(dies),
            "RECIPE": str(RECIPE),
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "MASTER_PORT": "0",
        },
        capture_output=True,
        text=True,
        timeout=400,
    )
    return done.returncode, done.stdout + done.stderr


def last_weights(folder):
    """Weights of the last checkpoint."""
    last = max(folder.glob("save/*/encoder.ckpt"), key=os.path.getmtime).parent
    return [torch.load(last / f"{name}.ckpt") for name in ("encoder", "head")]


def test_killed_in_an_epoch(tmp_path):
    (tmp_path / "killed.py").write_text(SCRIPT)
    (tmp_path / "tiny.yaml").write_text(
        SETTINGS.format(base=RECIPE / "params.yaml", folder=tmp_path)
    )
    assert train(tmp_path, "whole")[0] == 0
    # Each rank has 2 batches in an epoch: the fourth is the last of all.
    code, said = train(tmp_path, "parts", dies=4)
    assert code != 0
    assert "mean over songs" not in said
    code, said = train(tmp_path, "parts")
    assert (code, said.count("Going into epoch 1")) == (0, 0), said
    found = last_weights(tmp_path / "parts")
    for part, state in enumerate(last_weights(tmp_path / "whole")):
        assert state
        for key, value in state.items():
            assert torch.equal(value, found[part][key]), key
