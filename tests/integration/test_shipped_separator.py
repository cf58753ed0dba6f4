"""The shipped separator: its files, and what it makes of a synthetic song."""

from pathlib import Path

import numpy as np
import pytest

from data_prep.minisinging import render_clip
from speechbrain_ext.audio import resample
from speechbrain_ext.inference.separator import VoiceSeparator
from speechbrain_ext.metrics.separation import evaluate_separation
from speechbrain_ext.separation import SOURCES

MODEL = Path(__file__).resolve().parents[2] / "pretrained" / "separator"


@pytest.fixture(scope="module")
def separator():
    return VoiceSeparator.from_hparams()


@pytest.fixture(scope="module")
def song():
    """Voice and accompaniment (sources, samples), 16 kHz, 12 s, alike loud."""
    clip = render_clip([2026, 22], 12.0, accompaniment_db=0.0, noise_db=False)
    return np.stack([clip.voice, clip.accompaniment])


@pytest.fixture(scope="module")
def stems(separator, song):
    return separator.separate(song.sum(0), 16000)


def gains(song, stems):
    """SI-SDR improvement of the sources, dB."""
    estimates = np.stack([stems[source] for source in SOURCES])
    scores = evaluate_separation(song, estimates, 16000, protocol="si")
    return scores["SI-SDRi"]


def test_it_has_a_name(separator):
    named = VoiceSeparator.from_hparams("separator")
    assert named.model_name == separator.model_name
    assert separator.stems == SOURCES


def test_a_song_comes_apart(song, stems):
    assert np.min(gains(song, stems)) >= 4.0
    assert np.allclose(sum(stems.values()), song.sum(0), atol=1e-4)


def test_the_level_of_a_song_does_not_matter(separator, song, stems):
    usual = stems["vocals"]
    for gain in (0.01, 1.9):
        stem = separator.separate(gain * song.sum(0), 16000)["vocals"]
        assert np.allclose(stem / gain, usual, atol=1e-4)


def test_masks_fit_a_higher_rate(separator, song):
    """At 44.1 kHz the stems are as good as at 16 kHz.

    Both are compared with sources that were at 44.1 kHz, which have lost what
    resampling takes off just below 8 kHz.
    """
    high = np.stack([resample(source, 16000, 44100) for source in song])

    def low(wav):
        return resample(wav, 44100, 16000)[: song.shape[1]]

    sources = np.stack([low(source) for source in high])
    usual = separator.separate(sources.sum(0), 16000)
    found = separator.separate(high.sum(0), 44100)
    found = {name: low(wav) for name, wav in found.items()}
    change = gains(sources, found) - gains(sources, usual)
    assert np.abs(change).max() < 0.05


def test_channels_keep_apart(separator, song):
    """A voice on one side and an accompaniment on the other stay there."""
    stems = separator.separate(song.T, 16000)
    for side, source in enumerate(SOURCES):
        power = np.square(stems[source]).sum(0)
        assert power[side] > 10 * power[1 - side]


def test_an_accompaniment_alone_has_no_voice(separator, song):
    stems = separator.separate(song[1], 16000)
    share = np.square(stems["vocals"]).sum() / np.square(song[1]).sum()
    assert share < 0.1
