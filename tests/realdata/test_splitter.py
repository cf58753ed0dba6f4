"""The shipped splitter on two real singers that it was not trained on."""

import numpy as np
import pytest

from speechbrain_ext.audio import read_audio
from speechbrain_ext.inference.splitter import SingerSplitter
from speechbrain_ext.metrics.singers import evaluate_singers
from speechbrain_ext.separation import MIR1K_CHANNELS

pytestmark = pytest.mark.realdata

RATE = 16000
HELD_OUT = ("annar", "khair")  # she, he


@pytest.fixture(scope="module")
def duets(shared_data):
    """Twenty pairs of clips of different songs (2, samples), alike loud."""
    folder = shared_data / "mir1k" / "Wavfile"
    if not folder.is_dir():
        pytest.skip("no real recordings: ../shared/data/mir1k does not exist")
    channel = MIR1K_CHANNELS["vocals"]
    voices = [
        [
            read_audio(f"{path}#{channel}", sample_rate=RATE)
            for path in sorted(folder.glob(f"{singer}_*"))[:20]
        ]
        for singer in HELD_OUT
    ]
    pairs = []
    for pair in zip(*voices, strict=True):
        length = min(map(len, pair))
        pair = np.stack([wav[:length] for wav in pair])
        pairs.append(0.05 * pair / np.std(pair, axis=1, keepdims=True))
    return pairs


def test_two_real_singers_come_apart(duets):
    splitter = SingerSplitter.from_hparams()
    gains = []
    for pair in duets:
        estimates, _ = splitter.split(pair.sum(0), RATE)
        scores, _ = evaluate_singers(pair, estimates, RATE, bss=False)
        gains.append(scores["SI-SDRi"])
    assert np.mean(gains) >= 5.0
