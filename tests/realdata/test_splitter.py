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
def solos(shared_data):
    """Twenty clips of each singer (samples,)."""
    folder = shared_data / "mir1k" / "Wavfile"
    if not folder.is_dir():
        pytest.skip("no real recordings: ../shared/data/mir1k does not exist")
    channel = MIR1K_CHANNELS["vocals"]
    return [
        [
            read_audio(f"{path}#{channel}", sample_rate=RATE)
            for path in sorted(folder.glob(f"{singer}_*"))[:20]
        ]
        for singer in HELD_OUT
    ]


@pytest.fixture(scope="module")
def splitter():
    return SingerSplitter.from_hparams()


@pytest.fixture(scope="module")
def duets(solos):
    """Twenty pairs of clips of different songs (2, samples), alike loud."""
    pairs = []
    for pair in zip(*solos, strict=True):
        length = min(map(len, pair))
        pair = np.stack([wav[:length] for wav in pair])
        pairs.append(0.05 * pair / np.std(pair, axis=1, keepdims=True))
    return pairs


def test_two_real_singers_come_apart(duets, splitter):
    gains, told = [], []
    for pair in duets:
        estimates, said = splitter.split(pair.sum(0), RATE)
        told.append("one voice" in " ".join(said.warnings))
        scores, _ = evaluate_singers(pair, estimates, RATE, bss=False)
        gains.append(scores["SI-SDRi"])
    assert np.mean(gains) >= 5.0
    # Who are two is hardly ever said to be one.
    assert np.mean(told) <= 0.1


def test_a_single_singer_is_noticed(solos, splitter):
    for voices in solos:
        told = [
            " ".join(splitter.split(wav, RATE)[1].warnings)
            for wav in voices[::2]
        ]
        assert np.mean(["there may be fewer singers" in t for t in told]) >= 0.8
