"""Transcribers as ONNX files: writing them, and running them without PyTorch.

The graph takes `wav (1, samples)` at the model's rate and gives `frames (1,
frames, columns)`: what the fields of `frames.FramePosteriors` say about each
frame, side by side. The file's metadata names the columns and holds
everything else that a transcription needs, so one file is a whole model.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np

from speechbrain_ext.errors import (
    ConfigError,
    ModelError,
    OutputError,
    optional_library,
)
from speechbrain_ext.files import atomic_path
from speechbrain_ext.frames import FRAME_RATE, FramePosteriors, NoteDecoder
from speechbrain_ext.inference.transcriber import Transcriber

SUFFIX = ".onnx"
METADATA = "singbrain"
OPSET = 17

# The exported model may differ by this from PyTorch's.
TOLERANCE = 1e-4


def export_onnx(transcriber, path, overwrite=False) -> float:
    """Write a transcriber as an ONNX file and check it.

    Arguments
    ---------
    transcriber : Transcriber
        With a `HarmonicEncoder`.
    path : str or Path
        The file.
    overwrite : bool
        Whether an existing file may be replaced.

    Returns
    -------
    float
        Largest difference between the frames of both on 7 s of noise and
        tones, at most `TOLERANCE`.

    Raises
    ------
    ModelError
        If the model cannot be expressed in ONNX or does not compute the same.
    DependencyError
        If the package onnx or onnxruntime is missing.
    OutputError
        If the file exists or cannot be written.
    """
    import torch

    onnx = optional_library("onnx", "onnx", "onnx")
    optional_library("onnxruntime", "onnxruntime", "onnx")
    head = transcriber.head
    logits = torch.zeros(1, 1, head.output_size)
    columns = {
        name: value.shape[2] if value.ndim == 3 else 1
        for name, value in head.outputs(logits).items()
    }
    model = _graph(transcriber.encoder, head).cpu().eval()
    facts = {
        "columns": columns,
        "low": head.low,
        "sample_rate": transcriber.sample_rate,
        "context_s": transcriber.context_s,
        "chunk_s": transcriber.chunk_s,
        "decoder": transcriber.decoder.settings(),
        "model_name": transcriber.model_name,
    }
    wav = _probe(transcriber.sample_rate)
    example = torch.from_numpy(wav)[None]
    with atomic_path(path, overwrite=overwrite) as temporary:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                torch.onnx.export(
                    model,
                    (example,),
                    str(temporary),
                    input_names=["wav"],
                    output_names=["frames"],
                    dynamic_axes={"wav": {1: "samples"}, "frames": {1: "n"}},
                    opset_version=OPSET,
                    dynamo=False,
                )
            graph = onnx.load(str(temporary))
            entry = graph.metadata_props.add()
            entry.key, entry.value = METADATA, json.dumps(facts)
            onnx.save(graph, str(temporary))
        except (OutputError, OSError):
            raise
        except Exception as error:
            reason = " ".join(str(error).split())[:150]
            raise ModelError(
                f"{transcriber.model_name}: cannot be expressed in ONNX "
                f"({reason})"
            ) from error
        with torch.inference_mode():
            wanted = model(example)[0].numpy()
        found = OnnxTranscriber(temporary)._forward(wav)
        difference = float(np.abs(found - wanted).max())
        if not difference <= TOLERANCE:
            raise ModelError(
                f"{path}: its frames differ by {difference:.1e} from "
                f"PyTorch's, more than {TOLERANCE:g}: it is not written"
            )
    return difference


def _graph(encoder, head):
    """Module from audio to columns."""
    import torch

    class _Graph(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder, self.head = encoder, head

        def forward(self, wav):
            outputs = self.head.outputs(self.head(self.encoder(wav)))
            return torch.cat(
                [
                    (x if x.ndim == 3 else x.unsqueeze(2)).float()
                    for x in outputs.values()
                ],
                dim=2,
            )

    return _Graph()


def _probe(sample_rate):
    """Seven seconds with silence, noise and gliding tones."""
    rng = np.random.default_rng(0)
    time = np.arange(7 * sample_rate) / sample_rate
    phase = 2 * np.pi * np.cumsum(200 + 100 * np.sin(time)) / sample_rate
    wav = sum(np.sin(k * phase) / k for k in range(1, 9))
    wav = 0.1 * wav * (time % 2 < 1.5) + 0.01 * rng.standard_normal(len(time))
    wav[: sample_rate // 2] = 0
    return wav.astype(np.float32)


class OnnxTranscriber(Transcriber):
    """A transcriber from an ONNX file; needs onnxruntime and no PyTorch.

    Arguments
    ---------
    path : str or Path
        What `export_onnx` wrote.
    overrides : dict, optional
        Changes, such as `{"decoder": {"onset_threshold": 0.5}}`.

    Raises
    ------
    ModelError
        If the file is missing, damaged or no transcriber of ours.
    ConfigError
        If an override is unknown.
    DependencyError
        If onnxruntime is missing.
    """

    def __init__(self, path, overrides=None):
        runtime = optional_library("onnxruntime", "onnxruntime", "onnx")
        path = Path(path)
        if not path.is_file():
            raise ModelError(f"{path}: no such model file: check the name")
        options = runtime.SessionOptions()
        options.log_severity_level = 3
        try:
            self._session = runtime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
            known = self._session.get_modelmeta().custom_metadata_map
            facts = json.loads(known[METADATA])
            decoder = facts["decoder"]
            self._columns = {k: int(n) for k, n in facts["columns"].items()}
            self._low = int(facts["low"])
            self.context_s = float(facts["context_s"])
            rate, chunk_s = int(facts["sample_rate"]), float(facts["chunk_s"])
        except Exception as error:
            reason = " ".join(str(error).split())[:120]
            raise ModelError(
                f"{path}: is damaged or no transcriber in ONNX ({reason})"
            ) from None
        changes = dict(overrides or {})
        decoder = decoder | changes.pop("decoder", {})
        chunk_s = changes.pop("chunk_s", chunk_s)
        if changes:
            raise ConfigError(
                f"an ONNX model has no setting {min(changes)}: use decoder or "
                "chunk_s"
            )
        try:
            decoder = NoteDecoder(**decoder)
        except TypeError as error:
            raise ConfigError(f"decoder: {error}") from None
        self.output_size = sum(self._columns.values())
        self._settle(decoder, rate, chunk_s, str(facts.get("model_name", "")))

    def posteriors(self, logits):
        """What the model says about each frame.

        Arguments
        ---------
        logits : np.ndarray (frames, columns)
            See `logits_file`.

        Returns
        -------
        FramePosteriors
        """
        edges = np.cumsum([0, *self._columns.values()])
        arrays = {
            name: logits[:, a] if b - a == 1 else logits[:, a:b]
            for name, a, b in zip(
                self._columns, edges[:-1], edges[1:], strict=True
            )
        }
        if "voiced" in arrays:
            arrays["voiced"] = arrays["voiced"] > 0.5
        return FramePosteriors(low=self._low, **arrays)

    def _forward(self, wav):
        samples = self.sample_rate // FRAME_RATE
        wav = np.ascontiguousarray(wav, dtype=np.float32)
        if len(wav) < samples:
            return np.zeros((0, self.output_size), np.float32)
        return self._session.run(None, {"wav": wav[None]})[0][0]
