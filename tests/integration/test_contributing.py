"""What CONTRIBUTING.md shows works: its example, in a copy of the project."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"(?ms)^```(?:python|yaml)\n# (\w+/[\w/.]+)\n(.*?)^```")
FILES = {
    "data_prep/my_corpus.py",
    "tests/unit/test_my_corpus.py",
    "speechbrain_ext/encoders/my_encoder.py",
    "tests/unit/test_my_encoder.py",
    "recipes/MyCorpus/audio_transcription/experiment.py",
    "recipes/MyCorpus/audio_transcription/params.yaml",
}


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The project with the files of the example in their places."""
    root = tmp_path_factory.mktemp("copy")
    unwanted = shutil.ignore_patterns("results", "__pycache__", "*.safetensors")
    for folder in ("data_prep", "speechbrain_ext"):
        shutil.copytree(ROOT / folder, root / folder, ignore=unwanted)
    base = "recipes/MIR_ST500/audio_transcription"
    shutil.copytree(ROOT / base, root / base, ignore=unwanted)
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    blocks = dict(BLOCK.findall(text))
    assert set(blocks) == FILES
    for name, block in blocks.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block, "utf-8")
    # Step 2 of adding a corpus.
    registry = root / "data_prep" / "__init__.py"
    text = registry.read_text("utf-8")
    imported, listed = "    vocadito,\n)", "        vocadito,\n"
    assert text.count(imported) == text.count(listed) == 1
    text = text.replace(imported, "    my_corpus,\n" + imported)
    text = text.replace(listed, listed + "        my_corpus,\n")
    registry.write_text(text, "utf-8")
    # What an encoder needs beside its file.
    models = root / "speechbrain_ext" / "inference" / "model_folder.py"
    text = models.read_text("utf-8")
    listed = '        "speechbrain_ext.encoders.spectral.MelEncoder",\n'
    assert text.count(listed) == 1
    own = listed.replace("spectral.MelEncoder", "my_encoder.MyEncoder")
    models.write_text(text.replace(listed, own + listed), "utf-8")
    return root


def run(root, *words, folder="."):
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=root / folder,
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_tests_of_the_example_pass(copy):
    told = run(
        copy,
        *("-m", "pytest", "-q", "-p", "no:cacheprovider", "--doctest-modules"),
        *("--import-mode=importlib", "tests/unit"),
        "speechbrain_ext/encoders/my_encoder.py",
    )
    assert "6 passed" in told


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_recipe_of_the_example_runs(copy, tmp_path):
    songs = tmp_path / "songs"
    songs.mkdir()
    code = "import sys, pathlib; from tests.unit.test_my_corpus import *; "
    code += "write_my_corpus(pathlib.Path(sys.argv[1]))"
    run(copy, "-c", code, songs)
    manifests = tmp_path / "manifests"
    command = ("-m", "speechbrain_ext", "prepare", "my_corpus")
    assert "CC BY 4.0" in run(copy, *command, songs, manifests)
    assert (manifests / "train.csv").is_file()
    output = tmp_path / "out"
    run(
        copy,
        *("experiment.py", "params.yaml", "--data_folder", songs),
        *("--output_folder", output, "--number_of_epochs", 1),
        *("--train_loader", "{batch_size: 1, num_workers: 0}"),
        *("--test_loader", "{num_workers: 0}"),
        folder="recipes/MyCorpus/audio_transcription",
    )
    assert (output / "results/my_corpus/scores.csv").is_file()
    (copy / "song").mkdir()
    run(
        copy,
        *("-m", "speechbrain_ext", "transcribe", songs / "test1.wav"),
        *("--model", output / "model", "-o", copy / "song"),
    )
    assert (copy / "song" / "test1.mid").is_file()


def test_the_example_keeps_the_rules(copy):
    code = [name for name in sorted(FILES) if name.endswith(".py")]
    options = ("--isolated", "--select", "E,W,F,I,B", "--line-length", "80")
    run(copy, "-m", "ruff", "check", *options, *code)
    run(
        copy,
        *("-m", "ruff", "format", "--check", "--isolated"),
        *("--line-length", "80", *code),
    )
