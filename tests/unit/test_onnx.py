"""ONNX files compute what PyTorch computes, and need no PyTorch."""

import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch

from speechbrain_ext.cli import main
from speechbrain_ext.errors import ConfigError, ModelError, OutputError
from speechbrain_ext.inference.onnx import (
    TOLERANCE,
    OnnxTranscriber,
    export_onnx,
)
from speechbrain_ext.inference.transcriber import Transcriber

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module", params=["tiny", "melody"])
def pair(request, tmp_path_factory):
    """A transcriber and its ONNX file."""
    folder = request.getfixturevalue(f"{request.param}_model")
    transcriber = Transcriber.from_hparams(folder)
    path = tmp_path_factory.mktemp("onnx") / f"{request.param}.onnx"
    assert export_onnx(transcriber, path) <= TOLERANCE
    return transcriber, path


@pytest.fixture(scope="module")
def song(noise):
    return noise(9.37)[:, 0]


def test_the_same_frames_and_notes(pair, song):
    transcriber, path = pair
    exported = Transcriber.from_hparams(path)
    ours = exported.analyse(song, 16000)
    theirs = transcriber.analyse(song, 16000)
    assert len(ours.posteriors) == 468
    for name in ("onset", "silence", "pitch", "voicing", "f0"):
        a, b = (getattr(x.posteriors, name) for x in (ours, theirs))
        assert (a is None) == (b is None)
        if a is not None:
            assert np.allclose(a, b, atol=TOLERANCE)
    assert np.array_equal(ours.levels, theirs.levels)
    assert len(exported.transcribe(song, 16000)) > 0
    assert exported.has_f0 == transcriber.has_f0
    assert exported.context_s == transcriber.context_s
    assert exported.decoder == transcriber.decoder


@pytest.mark.parametrize("samples", [1, 319, 320, 700])
def test_short_signals(pair, samples):
    exported = OnnxTranscriber(pair[1])
    wav = np.full(samples, 0.1, np.float32)
    assert len(exported.analyse(wav, 16000).levels) == samples // 320


def test_settings_can_be_changed(pair):
    changed = OnnxTranscriber(
        pair[1], {"decoder": {"onset_threshold": 0.7}, "chunk_s": 3}
    )
    assert changed.decoder.onset_threshold == 0.7 and changed.chunk_s == 3
    with pytest.raises(ConfigError, match="no setting encoder: use decoder"):
        OnnxTranscriber(pair[1], {"encoder": {}})
    with pytest.raises(ConfigError, match="speed"):
        OnnxTranscriber(pair[1], {"decoder": {"speed": 1}})
    with pytest.raises(ConfigError, match="on the CPU, not on cuda"):
        Transcriber.from_hparams(pair[1], device="cuda")


def test_bad_files_are_refused(pair, tmp_path):
    with pytest.raises(ModelError, match=r"none\.onnx: no such model file"):
        OnnxTranscriber(tmp_path / "none.onnx")
    data = pair[1].read_bytes()
    for name, content in (
        ("text", b"no model"),
        ("cut", data[: len(data) // 2]),
    ):
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(content)
        with pytest.raises(ModelError, match="damaged or no transcriber"):
            OnnxTranscriber(path)
    with pytest.raises(OutputError, match="exists"):
        export_onnx(pair[0], pair[1])
    assert pair[1].read_bytes() == data


def test_what_differs_is_not_written(melody_model, tmp_path, monkeypatch):
    from speechbrain_ext.inference import onnx

    transcriber = Transcriber.from_hparams(melody_model)
    monkeypatch.setattr(onnx, "TOLERANCE", -1.0)
    with pytest.raises(ModelError, match="it is not written"):
        export_onnx(transcriber, tmp_path / "x.onnx")

    class Odd(torch.nn.Module):
        def forward(self, wavs):
            return torch.linalg.svd(wavs.unsqueeze(0))[0]

    transcriber.encoder = Odd()
    with pytest.raises(ModelError, match="cannot be expressed in ONNX"):
        export_onnx(transcriber, tmp_path / "x.onnx")
    assert list(tmp_path.iterdir()) == []


def test_command_line_without_pytorch(melody_model, tmp_path, song, capsys):
    path = tmp_path / "melody.onnx"
    assert main(["export", str(path), "--model", str(melody_model)]) == 0
    assert "differs from PyTorch by at most" in capsys.readouterr().out
    assert main(["export", str(tmp_path / "m.bin")]) == 2
    assert "must end in .onnx" in capsys.readouterr().err
    soundfile.write(tmp_path / "song.wav", song, 16000)
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from speechbrain_ext.cli import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    arguments = ["transcribe", str(tmp_path / "song.wav"), "--f0"]
    arguments += ["--model", str(path), "-o", str(tmp_path)]
    subprocess.run(
        [sys.executable, "-c", code, *arguments], check=True, timeout=120
    )
    lines = (tmp_path / "song.f0.csv").read_text().splitlines()
    assert len(lines) == 1 + 468
