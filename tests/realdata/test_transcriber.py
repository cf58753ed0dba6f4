"""The shipped transcriber on a real singer it was not trained on."""

import pytest

from speechbrain_ext.formats import read_notes
from speechbrain_ext.inference.transcriber import Transcriber
from speechbrain_ext.metrics.notes import evaluate_notes

NAME = "nit_song070/nitech_jp_song070_f001_004"


@pytest.mark.realdata
def test_quality_on_a_trained_singer(shared_data):
    estimate = Transcriber.from_hparams().transcribe_file(
        shared_data / f"{NAME}.wav"
    )
    reference = read_notes(shared_data / f"{NAME}.notes.csv")
    scores = evaluate_notes(reference, estimate)
    assert scores["COnP"].f1 >= 0.80
    assert scores["COnPOff"].f1 >= 0.58
