"""Noise types, and levels of mixtures."""

import numpy as np
import pytest

from speechbrain_ext.audio import write_audio
from speechbrain_ext.errors import AudioError, ConfigError
from speechbrain_ext.mixing.effects import sounding_level
from speechbrain_ext.mixing.noise import add_noise, make_noise

KINDS = ("white", "babble", "natural")


@pytest.mark.parametrize("kind", KINDS)
def test_noise_comes_from_its_seed_at_unit_level(kind):
    noise = make_noise(kind, 48000, seed=3)
    assert noise.shape == (48000,) and noise.dtype == np.float32
    assert np.sqrt(np.mean(noise**2)) == pytest.approx(1.0, abs=1e-4)
    assert np.array_equal(noise, make_noise(kind, 48000, seed=3))
    assert not np.allclose(noise, make_noise(kind, 48000, seed=4), atol=0.1)


def test_kinds_differ_as_their_names_say():
    def shares(kind):
        """Shares of the power in thirds of the spectrum, and crest factor."""
        noise = make_noise(kind, 80000, seed=1)
        power = np.abs(np.fft.rfft(noise)) ** 2
        thirds = [part.sum() for part in np.array_split(power, 3)]
        return np.array(thirds) / power.sum()

    white, babble, natural = map(shares, KINDS)
    assert np.allclose(white, 1 / 3, atol=0.02)
    assert babble[0] > 0.6 and babble[0] > 10 * babble[2]
    assert natural[0] > 0.5


def test_recordings_are_used(tmp_path):
    time = np.arange(8000) / 16000
    for k, hz in enumerate((300, 1000)):
        (tmp_path / str(k)).mkdir()
        write_audio(
            tmp_path / str(k) / "tone.wav",
            0.3 * np.sin(2 * np.pi * hz * time),
            16000,
        )
    for kind in ("babble", "natural"):
        noise = make_noise(kind, 32000, seed=2, folder=tmp_path)
        power = np.abs(np.fft.rfft(noise)) ** 2
        hz = np.fft.rfftfreq(32000, 1 / 16000)
        near = (np.abs(hz - 300) < 60) | (np.abs(hz - 1000) < 60)
        assert power[near].sum() > 0.9 * power.sum()
    (tmp_path / "none").mkdir()
    with pytest.raises(AudioError, match="holds no noise recordings"):
        make_noise("babble", 100, 0, folder=tmp_path / "none")
    with pytest.raises(ConfigError, match="use one of white, babble, natural"):
        make_noise("rain", 100, 0)


@pytest.mark.parametrize("ratio_db", [-10.0, 0.0, 10.0])
def test_ratio_by_hand(ratio_db):
    voice = np.concatenate([np.full(3200, 0.4), np.zeros(3200)])
    noise = np.full(6400, 2.0)
    ratio = 10 ** (ratio_db / 20)
    mixed = add_noise(voice, noise, ratio_db)
    # While it sounds, the voice has a level of 0.4.
    assert np.allclose(mixed[3200:], 0.4 / (1 + ratio), atol=1e-6)
    assert np.allclose(mixed[:3200], 0.4, atol=1e-6)
    # The published level counts the pause.
    mixed = add_noise(voice, noise, ratio_db, published=True)
    assert np.allclose(mixed[3200:], 0.2 / (1 + ratio), atol=1e-6)
    # Parts are mixed by the levels of the whole.
    part = add_noise(voice[3200:], noise[3200:], ratio_db, levels=(0.4, 2.0))
    assert np.allclose(part, 0.4 / (1 + ratio), atol=1e-6)
    assert np.array_equal(
        add_noise(voice, 0 * noise, 0.0), (voice / 2).astype(np.float32)
    )


def test_babble_sounds_all_the_time():
    noise = make_noise("babble", 64000, seed=5)
    levels = [sounding_level(x) for x in np.split(noise, 8)]
    assert min(levels) > 0.4
