"""The shipped transcriber on real singers that it was not trained on."""

import numpy as np
import pytest

from data_prep.mir1k import TRAIN_SINGERS
from speechbrain_ext.audio import read_audio
from speechbrain_ext.f0 import read_f0
from speechbrain_ext.formats import read_notes
from speechbrain_ext.inference.transcriber import Transcriber
from speechbrain_ext.metrics.melody import MelodyStats
from speechbrain_ext.metrics.notes import evaluate_notes

pytestmark = pytest.mark.realdata


@pytest.fixture(scope="module")
def transcriber():
    return Transcriber.from_hparams()


@pytest.fixture(scope="module")
def clips(shared_data):
    """Every eighth clip of MIR-1K's other singers: stereo audio, contour."""
    paths = sorted((shared_data / "mir1k" / "Wavfile").glob("*.flac"))
    paths = [p for p in paths if p.stem.split("_")[0] not in TRAIN_SINGERS]
    if not paths:
        pytest.skip("no real recordings: ../shared/data/mir1k does not exist")
    labels = shared_data / "mir1k" / "PitchLabel"
    return [(p, read_f0(labels / f"{p.stem}.pv")) for p in paths[::8]]


def contours(transcriber, clips, channel):
    """Scores of the contours of a channel (`#2`) or of the mean of both."""
    stats = MelodyStats(pitch_tolerance=75.0)
    for path, reference in clips:
        wav = read_audio(f"{path}{channel}", sample_rate=16000)
        said = transcriber.analyse(wav, 16000).posteriors
        stats.append(path.stem, reference, transcriber.f0(said))
    assert len(stats) > 20
    return stats.summarize()


def test_notes_of_a_trained_singer(transcriber, shared_data):
    name = "nit_song070/nitech_jp_song070_f001_004"
    estimate = transcriber.transcribe_file(shared_data / f"{name}.wav")
    reference = read_notes(shared_data / f"{name}.notes.csv")
    scores = evaluate_notes(reference, estimate)
    assert scores["COnPOff"].f1 >= 0.72
    assert scores["COnP"].f1 >= 0.85
    assert scores["COn"].f1 >= 0.90


def test_pitch_of_amateurs(transcriber, clips):
    scores = contours(transcriber, clips, "#1")
    assert scores["RPA"] >= 0.91
    assert scores["VFA"] <= 0.05


def test_pitch_of_amateurs_with_accompaniment(transcriber, clips):
    scores = contours(transcriber, clips, "")
    assert scores["RPA"] >= 0.78
    assert scores["VFA"] <= 0.15


def test_an_accompaniment_alone_is_hardly_sung(transcriber, clips):
    seconds = sung = 0.0
    for path, _ in clips[::3]:
        wav = read_audio(f"{path}#0", sample_rate=16000)
        contour = transcriber.f0(transcriber.analyse(wav, 16000).posteriors)
        seconds += len(contour)
        sung += np.sum(contour.midi > 0)
    assert sung / seconds <= 0.35
