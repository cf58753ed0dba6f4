"""The shipped transcriber: its files, and what it makes of a fixed clip."""

from pathlib import Path

import numpy as np
import pytest

from speechbrain_ext.audio import read_audio
from speechbrain_ext.formats import read_notes
from speechbrain_ext.inference.transcriber import Transcriber
from speechbrain_ext.metrics.notes import evaluate_notes
from speechbrain_ext.mixing.effects import sounding_level
from speechbrain_ext.mixing.noise import add_noise, make_noise

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "pretrained" / "transcriber"
CLIP = ROOT / "tests" / "data" / "clip.flac"


@pytest.fixture(scope="module")
def transcriber():
    return Transcriber.from_hparams(MODEL)


@pytest.fixture(scope="module")
def sung():
    return read_notes(CLIP.with_suffix(".csv"))


def test_it_is_the_default(transcriber):
    shipped = Transcriber.from_hparams()
    assert shipped.model_name == transcriber.model_name
    assert shipped.decoder == transcriber.decoder


def test_notes_of_the_clip(transcriber, sung):
    scores = evaluate_notes(sung, transcriber.transcribe_file(CLIP))
    assert scores["COnPOff"].f1 >= 0.75
    assert scores["COnP"].f1 >= 0.8


def test_contour_of_the_clip(transcriber, sung):
    contour = transcriber.f0(transcriber.analyse_file(CLIP)[0])
    found, inside = [], np.zeros(len(contour), dtype=bool)
    for note in sung:
        # The middle of a note, where the voice is at its pitch.
        third = (note.offset - note.onset) / 3
        held = (contour.times > note.onset + third) & (
            contour.times < note.offset - third
        )
        inside |= (contour.times > note.onset - 0.1) & (
            contour.times < note.offset + 0.1
        )
        found.append(np.abs(contour.midi[held] - note.midi) < 0.75)
    assert np.concatenate(found).mean() >= 0.95
    assert (contour.midi[~inside] > 0).mean() <= 0.1


@pytest.mark.parametrize("kind", ["white", "natural"])
def test_notes_in_noise(transcriber, sung, kind):
    wav = read_audio(CLIP, sample_rate=16000)
    noise = make_noise(kind, len(wav), seed=5)
    levels = sounding_level(wav), sounding_level(noise)
    noisy = add_noise(wav, noise, 5.0, levels=levels)
    notes = transcriber.transcribe(noisy, 16000)
    assert evaluate_notes(sung, notes)["COnP"].f1 >= 0.7


def test_the_level_of_a_recording_hardly_matters(transcriber, sung):
    wav = read_audio(CLIP, sample_rate=16000)
    usual = transcriber.transcribe(wav, 16000)
    for gain in (0.05, 1.9):
        notes = transcriber.transcribe(gain * wav, 16000)
        assert evaluate_notes(usual, notes)["COnP"].f1 >= 0.9


def test_silence_and_hum_have_no_notes(transcriber):
    assert len(transcriber.transcribe(np.zeros(80000, np.float32), 16000)) == 0
    hum = 0.1 * np.sin(2 * np.pi * 50 * np.arange(80000) / 16000)
    assert len(transcriber.transcribe(hum.astype(np.float32), 16000)) == 0


@pytest.mark.slow
def test_as_onnx_it_says_the_same(transcriber, tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from speechbrain_ext.inference.onnx import TOLERANCE, export_onnx

    path = tmp_path / "shipped.onnx"
    assert export_onnx(transcriber, path) <= TOLERANCE
    exported = Transcriber.from_hparams(path)
    ours, theirs = (
        [(n.onset, n.offset, n.midi) for n in model.transcribe_file(CLIP)]
        for model in (exported, transcriber)
    )
    assert np.allclose(ours, theirs, atol=0.002)
