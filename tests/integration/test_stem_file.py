"""The stem file of the package stempeg, from preparation to a model."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from speechbrain_ext.inference.separator import VoiceSeparator

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "recipes/MUSDB18/vocal_separation"
# The smallest that still has all parts; some patches of 6 s.
FLAGS = [
    "--segment_s=2.0",
    "--number_of_epochs=1",
    "--train_loader={batch_size: 2, num_workers: 0}",
    "--n_jobs=1",
]
NETWORKS = {
    "published_repo.yaml": [
        "--repeats=1",
        "--separator={separator: {n_fft: 256, win_length: 256, hop_length: 128,"
        " network: {patches: {n_bins: 129, patch_frames: 3}}}}",
    ],
    "unet.yaml": [
        "--separator={network: {channels: 4, growth: 2, levels: 2,"
        " patch: [2, 32], dilations: [1]}}",
    ],
}


@pytest.mark.parametrize("preset", NETWORKS)
def test_chain(preset, tmp_path):
    # It cannot be imported where the program ffmpeg is absent.
    spec = importlib.util.find_spec("stempeg")
    if spec is None:
        pytest.skip("the package stempeg, which brings a stem file, is absent")
    (source,) = Path(spec.origin).parent.rglob("*.stem.mp4")
    data, output = tmp_path / "data", tmp_path / "out"
    for part, names in (("train", "AB"), ("test", "C")):
        (data / part).mkdir(parents=True)
        for name in names:
            (data / part / f"{name} - Song.stem.mp4").symlink_to(source)
    result = subprocess.run(
        [
            *(sys.executable, "experiment.py", preset),
            f"--data_folder={data}",
            f"--output_folder={output}",
            *(*FLAGS, *NETWORKS[preset]),
        ],
        cwd=RECIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    scores = (output / "results/musdb18/scores.csv").read_text().splitlines()
    assert len(scores) == 2 and "C - Song" in scores[1]
    summary = (output / "results/summary.txt").read_text()
    assert "BSS-Eval 4" in summary
    assert (output / "training.png").stat().st_size > 1000
    # What is exported separates the song itself.
    kept = output / "manifests/musdb18/audio/C - Song/mixture.flac"
    stems = {tmp_path / f"{s}.wav": s for s in ("vocals", "accompaniment")}
    made = VoiceSeparator.from_hparams(output / "model")
    done = made.separate_file(kept, stems)
    assert (done.sample_rate, done.channels) == (44100, 2)
    assert done.seconds == pytest.approx(262 * 1024 / 44100, abs=1e-3)
    assert all(path.stat().st_size > 1e6 for path in stems)
