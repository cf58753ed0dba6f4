"""What all shipped models have in common: their files."""

from pathlib import Path

import pytest

from speechbrain_ext.inference.model_folder import load_hyperparams

ROOT = Path(__file__).resolve().parents[2]

# The largest size of the weights in bytes.
MODELS = {
    "audio_visual_transcriber": 20e6,
    "phone_recognizer": 20e6,
    "separator": 20e6,
    "singer_splitter": 20e6,
    "transcriber": 20e6,
}


def test_all_models_are_known():
    found = {path.parent.name for path in ROOT.glob("pretrained/*/*.yaml")}
    assert found == MODELS.keys()


@pytest.mark.parametrize("name", MODELS)
def test_files_are_small_and_hold_no_code(name):
    folder = ROOT / "pretrained" / name
    names = {path.name for path in folder.iterdir()}
    assert {"README.md", "hyperparams.yaml", "model.safetensors"} <= names
    assert {Path(n).suffix for n in names} <= {
        ".md",
        ".yaml",
        ".safetensors",
        ".png",
    }
    weights = folder / "model.safetensors"
    assert weights.stat().st_size < MODELS[name]
    # Refuses everything that is not on its list of classes.
    text = (folder / "hyperparams.yaml").read_text(encoding="utf-8")
    assert load_hyperparams(text)["model_name"] == name
