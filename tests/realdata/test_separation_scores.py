"""What perfect masks reach on karaoke recordings."""

import pytest
import torch

from data_prep.mir1k import TRAIN_SINGERS
from speechbrain_ext.audio import read_audio
from speechbrain_ext.metrics.separation import SeparationStats
from speechbrain_ext.separation import MIR1K_CHANNELS, SOURCES
from speechbrain_ext.separation.masks import ORACLES, oracle_estimates

pytestmark = pytest.mark.realdata


@pytest.fixture(scope="module")
def scores(shared_data):
    """Average scores of every oracle on some clips of the test singers."""
    paths = sorted((shared_data / "mir1k" / "Wavfile").glob("*"))
    paths = [p for p in paths if p.stem.split("_")[0] not in TRAIN_SINGERS]
    if not paths:
        pytest.skip("no real recordings: ../shared/data/mir1k does not exist")
    stats = {kind: SeparationStats() for kind in ORACLES}
    for path in paths[::14]:
        clip = read_audio(path, sample_rate=16000, mono=False).T
        sources = torch.from_numpy(clip[[MIR1K_CHANNELS[s] for s in SOURCES]])
        for kind, each in stats.items():
            estimates = oracle_estimates(sources, kind)
            each.append(path.stem, sources.numpy(), estimates.numpy(), 16000)
    assert len(stats["ibm"]) >= 15
    return {kind: each.summarize() for kind, each in stats.items()}


# Measured on 42 other clips of the test set, with another implementation.
@pytest.mark.parametrize(
    ("kind", "nsdr", "sir", "sar"),
    [
        ("ibm", 13.53, 21.12, 14.55),
        ("irm", 13.33, 18.50, 15.13),
        ("wiener", 14.07, 20.68, 15.32),
    ],
)
def test_ceilings(scores, kind, nsdr, sir, sar):
    found = [
        scores[kind][f"vocals_{m}_weighted"] for m in ("NSDR", "SIR", "SAR")
    ]
    assert found == pytest.approx([nsdr, sir, sar], abs=0.8)


def test_the_phase_helps(scores):
    best = {
        kind: summary["vocals_NSDR_weighted"]
        for kind, summary in scores.items()
    }
    assert best["complex"] > 40 > best["psm"] > best["wiener"]
