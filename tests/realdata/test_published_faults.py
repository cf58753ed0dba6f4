"""What faults of a published separator cost on karaoke recordings.

Perfect masks of its analysis, so that nothing but the faults is measured.
"""

import pytest
import torch
from torch import nn

from data_prep.mir1k import ACCOMPANIMENT, TRAIN_SINGERS, VOICE
from speechbrain_ext.audio import read_audio
from speechbrain_ext.metrics.separation import SeparationStats
from speechbrain_ext.separation.masks import (
    binary_mask,
    mixture_binary_mask,
    ratio_mask,
)
from speechbrain_ext.separation.separator import AngleSeparator, MaskSeparator

pytestmark = pytest.mark.realdata


class Known(nn.Module):
    """A network that is told the masks."""

    context_frames = None

    def forward(self, spec):
        return self.masks


def against_the_mixture(spec):
    voice = mixture_binary_mask(spec)[:, :1]
    return torch.cat([voice, 1 - voice], dim=1)


SYSTEMS = {
    "right label": (binary_mask, False),
    "label against the mixture": (against_the_mixture, False),
    "right phase": (ratio_mask, False),
    "angle for phase": (ratio_mask, True),
}


@pytest.fixture(scope="module")
def scores(shared_data):
    """GNSDR of voice and accompaniment of each system, dB."""
    paths = sorted((shared_data / "mir1k" / "Wavfile").glob("*"))
    paths = [p for p in paths if p.stem.split("_")[0] not in TRAIN_SINGERS]
    if not paths:
        pytest.skip("no real recordings: ../shared/data/mir1k does not exist")
    inner = MaskSeparator(Known(), n_fft=4096, win_length=1024, hop_length=256)
    stats = {name: SeparationStats() for name in SYSTEMS}
    for path in paths[::18]:
        clip = read_audio(path, sample_rate=16000, mono=False).T
        sources = torch.from_numpy(clip[[VOICE, ACCOMPANIMENT]])
        for name, (mask, angle) in SYSTEMS.items():
            inner.network.masks = mask(inner.codec(sources)[None])
            model = AngleSeparator(inner) if angle else inner
            estimates = model(sources.sum(0)[None, None])[0, :, 0]
            stats[name].append(
                path.stem, sources.numpy(), estimates.numpy(), 16000
            )
    assert len(stats["right label"]) >= 12
    summaries = {name: each.summarize() for name, each in stats.items()}
    return {
        name: [
            found[f"{source}_NSDR_weighted"]
            for source in ("vocals", "accompaniment")
        ]
        for name, found in summaries.items()
    }


# Measured on 42 other clips of the test set, with another implementation; the
# right phase with a shorter transform.
@pytest.mark.parametrize(
    "system, voice, accompaniment",
    [
        ("right label", 13.76, 14.04),
        ("label against the mixture", 3.06, 3.79),
        ("right phase", 13.33, 12.85),
        ("angle for phase", 1.33, 0.73),
    ],
)
def test_cost(scores, system, voice, accompaniment):
    assert scores[system] == pytest.approx([voice, accompaniment], abs=1.0)


def test_both_faults_cost_more_than_nine_decibels(scores):
    for right, wrong in (
        ("right label", "label against the mixture"),
        ("right phase", "angle for phase"),
    ):
        for good, bad in zip(scores[right], scores[wrong], strict=True):
            assert good - bad > 9
