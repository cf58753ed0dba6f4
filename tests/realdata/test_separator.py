"""The shipped separator on a real singer that it was not trained on."""

import numpy as np
import pytest

from data_prep.mir1k import TRAIN_SINGERS
from speechbrain_ext.audio import read_audio
from speechbrain_ext.inference.separator import VoiceSeparator
from speechbrain_ext.metrics.separation import evaluate_separation
from speechbrain_ext.mixing.effects import sounding_level
from speechbrain_ext.separation import MIR1K_CHANNELS, SOURCES

pytestmark = pytest.mark.realdata


@pytest.fixture(scope="module")
def song(shared_data):
    """A trained singer over karaoke arrangements, (sources, samples)."""
    name = "nit_song070/nitech_jp_song070_f001_004.wav"
    voice = read_audio(shared_data / name, sample_rate=16000)
    clips = sorted((shared_data / "mir1k" / "Wavfile").glob("*"))
    clips = [p for p in clips if p.stem.split("_")[0] not in TRAIN_SINGERS]
    if not clips:
        pytest.skip("no real recordings: ../shared/data/mir1k does not exist")
    channel = MIR1K_CHANNELS["accompaniment"]
    # As many clips as the voice is long, of songs far apart.
    parts = [
        read_audio(f"{p}#{channel}", sample_rate=16000) for p in clips[::20]
    ]
    band = np.concatenate(parts)[: len(voice)]
    assert len(band) == len(voice)
    gain = sounding_level(voice) / sounding_level(band)
    return np.stack([voice, gain * band]) / 2


def test_a_trained_singer(song):
    stems = VoiceSeparator.from_hparams().separate(song.sum(0), 16000)
    estimates = np.stack([stems[source] for source in SOURCES])
    scores = evaluate_separation(song, estimates, 16000)
    assert np.min(scores["NSDR"]) >= 12.0
    assert np.min(scores["SIR"]) >= 18.0


def test_a_finished_production(shared_data):
    """An mp3 of 44.1 kHz in stereo: stems like it, which add up to it."""
    path = shared_data / "songs" / "spleeter_example.mp3"
    if not path.is_file():
        pytest.skip("no real recordings: ../shared/data/songs does not exist")
    wav = read_audio(path, sample_rate=44100, mono=False)
    stems = VoiceSeparator.from_hparams().separate(wav, 44100)
    assert all(stem.shape == wav.shape for stem in stems.values())
    assert np.abs(sum(stems.values()) - wav).max() < 1e-4
    # The voice and the band are both there, neither is all of it.
    power = {name: np.mean(stem**2) for name, stem in stems.items()}
    assert all(p > 0.05 * np.mean(wav**2) for p in power.values())
