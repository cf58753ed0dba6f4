"""Beats, bars and keys."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechbrain_ext.errors import AudioError, ConfigError
from speechbrain_ext.formats import read_notes, write_notes
from speechbrain_ext.notes import NoteSequence, midi_to_hz
from speechbrain_ext.quantize import scale_of
from speechbrain_ext.rhythm import (
    MAJOR_TONICS,
    MINOR_TONICS,
    Key,
    Rhythm,
    _downbeat,
    estimate_key,
    estimate_rhythm,
    key_of_chroma,
)

RATE = 22050


def test_positions_follow_a_tempo_that_changes():
    rhythm = Rhythm((1.0, 2.0, 4.0, 7.0))
    assert (rhythm.interval, rhythm.tempo) == (2.0, 30.0)
    assert rhythm.steadiness == pytest.approx(1 / 3)
    found = rhythm.positions([1.5, 3.0, 5.5, 9.0, 0.0])
    assert found.tolist() == [0.5, 1.5, 2.5, 4.0, -0.5]


def test_notes_on_beats_that_waver_are_on_the_grid():
    beats = (0.52, 1.0, 1.53, 2.0, 2.52, 3.0)
    rhythm = Rhythm(beats, downbeat=2, beats_per_bar=3)
    notes = NoteSequence(
        [(a + 0.01, b, 60) for a, b in zip(beats, beats[1:], strict=False)]
    )
    found = rhythm.quantized(notes)
    steps = (found.intervals - rhythm.bar_s) * rhythm.score_tempo / 60
    assert np.allclose(np.diff(steps, axis=1), 1)
    # The third beat begins a bar of three.
    assert round(steps[2, 0], 6) % 3 == 0


@settings(deadline=None)
@given(st.lists(st.floats(0, 20), max_size=8), st.integers(0, 3))
def test_notes_stay_in_order(times, downbeat):
    times = sorted({round(t, 2) for t in times})
    beats = tuple(0.7 + 0.5 * k for k in range(12))
    rhythm = Rhythm(beats, downbeat)
    notes = NoteSequence((t, t + 0.01, 60) for t in times)
    found = rhythm.quantized(notes)
    assert len(found) <= len(notes)
    lead = found.intervals[:, 0] if len(found) else np.zeros(0)
    assert (np.diff(lead) > 0).all()


def test_a_score_has_its_bars_where_the_beats_are(tmp_path):
    pytest.importorskip("music21")
    rhythm = Rhythm((1.0, 1.5, 2.0, 2.5, 3.0, 3.5), downbeat=1)
    notes = NoteSequence([(1.5, 2.0, 61, "hel-"), (2.0, 3.5, 63, "lo")])
    path = write_notes(
        rhythm.quantized(notes),
        tmp_path / "a.musicxml",
        tempo=rhythm.score_tempo,
        grid=4,
        first_beat_s=rhythm.bar_s,
        beats_per_bar=4,
        key="Bb minor",
        title="Song",
    )
    from music21 import converter

    score = converter.parse(path)
    first, second = score.flatten().notes
    assert (first.beat, first.quarterLength) == (1.0, 1.0)
    assert (second.beat, second.quarterLength) == (2.0, 3.0)
    assert [n.name for n in (first, second)] == ["D-", "E-"]
    assert [n.lyrics[0].syllabic for n in (first, second)] == ["begin", "end"]
    assert score.flatten().keySignature.sharps == -5
    assert score.metadata.bestTitle == "Song"
    assert [note.lyric for note in read_notes(path)] == ["hel-", "lo"]


MAJOR = (2, 0, 1, 0, 1.5, 1, 0, 1.7, 0, 1, 0, 1)
MINOR = (2, 0, 1, 1.5, 0, 1, 0, 1.7, 1, 0, 1, 0)


@pytest.mark.parametrize("shift", range(12))
@pytest.mark.parametrize(
    ("mode", "tonics", "weights"),
    [("major", MAJOR_TONICS, MAJOR), ("minor", MINOR_TONICS, MINOR)],
)
def test_scales_have_their_key(shift, mode, tonics, weights):
    chroma = np.roll(weights, shift)
    key = key_of_chroma(chroma)
    assert key.name == f"{tonics[shift]} {mode}"
    assert key.margin > 0
    # The name is one that snapping to a scale understands.
    assert set(scale_of(key.name)) == set(np.flatnonzero(chroma))


def test_no_key_without_pitch():
    assert key_of_chroma(np.ones(12)) is None
    assert estimate_key(np.zeros(RATE), RATE) is None


def test_bars_begin_where_harmony_changes():
    chroma = np.zeros((12, 130))
    # Chords change at beats 2, 6, 10.
    for beat in range(13):
        chroma[
            (0, 5, 7, 9)[(beat + 2) // 4 % 4], 10 * beat : 10 * beat + 10
        ] = 1
    assert _downbeat(chroma, [10 * beat for beat in range(13)], 4) == 2


@pytest.mark.parametrize("beats", [(1.0,), (1.0, 1.0), (2.0, 1.0)])
def test_faulty_beats(beats):
    with pytest.raises(ConfigError, match="beats"):
        Rhythm(beats)


def test_a_bar_without_beats():
    with pytest.raises(ConfigError, match="per bar"):
        Rhythm((0.0, 1.0), beats_per_bar=0)


def test_beats_of_clicks():
    clicks = np.zeros(RATE * 8, np.float32)
    places = np.arange(0.3, 7.9, 0.6)
    for place in places:
        clicks[round(place * RATE) :][:200] = 0.5
    rhythm = estimate_rhythm(clicks, RATE)
    assert rhythm.tempo == pytest.approx(100, abs=2)
    beats = np.array(rhythm.beats)
    off = [abs(beats - place).min() for place in places[1:-1]]
    assert max(off) < 0.05


@pytest.mark.parametrize("cents", [0, 40, -30])
def test_key_of_chords_in_any_tuning(cents):
    times = np.arange(RATE) / RATE
    chords = [(62, 66, 69), (67, 71, 74), (69, 73, 76), (62, 66, 69)]
    wav = np.concatenate(
        [
            sum(
                np.sin(2 * np.pi * times * midi_to_hz(midi + cents / 100))
                for midi in chord
            )
            for chord in chords
        ]
    )
    assert estimate_key(wav / 10, RATE).name == "D major"


def test_a_known_tempo_is_kept():
    rng = np.random.default_rng(0)
    clicks = rng.normal(0, 1e-3, RATE * 8)
    clicks[:: RATE // 4] = 0.5  # 240 per minute
    found = estimate_rhythm(clicks, RATE, tempo=60, beats_per_bar=3)
    assert found.tempo == pytest.approx(60, abs=2)
    assert found.beats_per_bar == 3


def test_silence_has_no_beat():
    assert estimate_rhythm(np.zeros(RATE), RATE) is None


def test_what_cannot_have_a_beat():
    with pytest.raises(AudioError, match="one channel"):
        estimate_key(np.zeros((10, 2)), RATE)
    with pytest.raises(ConfigError, match="tempo"):
        estimate_rhythm(np.zeros(10), RATE, tempo=3)


def test_name_of_a_key():
    assert Key("Bb", "minor", 0.9, 0.1).name == "Bb minor"
