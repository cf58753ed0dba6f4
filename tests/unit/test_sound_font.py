"""Accompaniments by sampled instruments."""

from pathlib import Path

import numpy as np
import pytest

from data_prep.minisinging import band, render_clip
from data_prep.minisinging.__main__ import main
from data_prep.minisinging.corpus import as_minisinging
from data_prep.minisinging.score import Chord, Score
from data_prep.minisinging.sound_font import SoundFont
from speechbrain_ext.errors import ConfigError
from speechbrain_ext.notes import midi_to_hz

try:
    import fluidsynth  # noqa: F401 (its import looks for the library)
except ImportError as error:
    pytest.skip(f"no FluidSynth: {error}", allow_module_level=True)
import pretty_midi

# Comes with pretty_midi.
FONT = Path(pretty_midi.__file__).parent / "TimGM6mb.sf2"


def harmonic_share(wav, hz, rate=16000):
    """Share of the power within 3 % of a pitch and its harmonics."""
    power = np.abs(np.fft.rfft(wav * np.hanning(len(wav)))) ** 2
    bins = np.fft.rfftfreq(len(wav), 1 / rate)
    number = np.maximum(1, np.round(bins / hz))
    near = np.abs(bins - number * hz) < 0.03 * hz
    return power[near].sum() / power.sum()


@pytest.mark.parametrize("midi", [48, 60, 72])
def test_a_note_sounds_when_and_as_high_as_written(midi):
    font = SoundFont(FONT, np.random.default_rng(1), 32000, 16000)
    player = font.instrument("bass")
    player.late_s = 0.0
    player.midi.program = 73  # flute, whose sound is held
    player.play(0.5, 1.0, midi, 0.9)
    track = player.track
    assert track.shape == (32000,) and track.dtype == np.float32
    power = np.mean(track[: 32000 // 320 * 320].reshape(-1, 320) ** 2, axis=1)
    assert power[:24].max() < 1e-4 * power.max()
    assert power[30:48].min() > 0.05 * power.max()
    assert harmonic_share(track[9600:15200], float(midi_to_hz(midi))) > 0.8


def test_a_bent_melody_stays_near_its_note():
    font = SoundFont(FONT, np.random.default_rng(1), 48000, 16000)
    player = font.instrument("melody")
    player.late_s = 0.0
    player.midi.program = 73
    player.play(0.2, 2.8, 69, 0.9)
    player._bend()
    bends = np.array([bend.pitch for bend in player.midi.pitch_bends])
    times = np.array([bend.time for bend in player.midi.pitch_bends])
    assert np.all(np.abs(bends[times > 0.6]) <= 0.5 * 4096 + 1)
    assert harmonic_share(player.track[16000:40000], 440.0) > 0.5


def test_songs_are_reproducible_whatever_was_played_before():
    options = {"fonts": [FONT], "accompaniment_db": 0.0, "noise_db": False}
    first = render_clip([5, 1], 4.0, **options)
    render_clip([5, 2], 4.0, **options)
    again = render_clip([5, 1], 4.0, **options)
    assert first.stems.keys() == again.stems.keys()
    assert np.array_equal(first.mix, again.mix)
    # The voice is the same with and without a font, the band is not.
    plain = render_clip([5, 1], 4.0, accompaniment_db=0.0, noise_db=False)
    ratio = first.voice / np.where(plain.voice == 0, 1, plain.voice)
    assert np.allclose(ratio[plain.voice != 0], ratio[1000], rtol=1e-3)
    assert not np.allclose(first.accompaniment, plain.accompaniment)


def test_every_part_of_a_band_can_be_played():
    chords = tuple(
        Chord(2.0 * k, 2.0 * k + 2, 60, (60, 64, 67)) for k in range(4)
    )
    score = Score((), chords, 0.5, 0, "major")
    font = SoundFont(FONT, np.random.default_rng(3), 8 * 16000, 16000)
    for name, play in band._PLAY.items():
        track = play(np.random.default_rng(3), score, font)
        # A melody may have nobody to double.
        assert track.shape == (8 * 16000,)
        assert np.isfinite(track).all()
        assert track.any() or name == "melody", name


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.sf2", None, "does not exist"),
        ("text.sf2", b"not a sound font", "is not a sound font"),
    ],
)
def test_files_that_are_no_fonts(tmp_path, name, content, message):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        SoundFont(path, np.random.default_rng(0), 1600, 16000)
    with pytest.raises(ConfigError, match=message):
        as_minisinging(
            tmp_path / "corpus",
            n_train=12,
            n_valid=0,
            n_test=0,
            song_s=2.5,
            sound_fonts=[path],
            progress=False,
        )
    assert not (tmp_path / "corpus").exists()


def test_command_takes_fonts(tmp_path, capsys):
    corpus = tmp_path / "corpus"
    counts = ["--n-train", "2", "--n-valid", "0", "--n-test", "0"]
    length = ["--song-s", "2.5", "--sound-fonts", str(FONT)]
    assert main(["minisinging", str(corpus), *counts, *length]) == 0
    assert str(FONT) in (corpus / "minisinging.json").read_text()
    for song in ("train1", "train2"):
        assert (corpus / "train" / song / "accompaniment.wav").is_file()
