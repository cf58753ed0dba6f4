"""A real song on its way to a score."""

import pytest

from speechbrain_ext import audio
from speechbrain_ext.formats import read_notes
from speechbrain_ext.inference.song import SongChain, SongSettings
from speechbrain_ext.rhythm import estimate_key, estimate_rhythm

pytestmark = [pytest.mark.realdata, pytest.mark.slow]

TEXT = "It always seems like time stands still when I'm with you"


def test_a_song_with_its_lyrics(shared_data, tmp_path):
    for library in ("music21", "jams", "pocketsphinx"):
        pytest.importorskip(library)
    song = shared_data / "songs" / "spleeter_example.mp3"
    text = tmp_path / "song.txt"
    text.write_text(TEXT)
    chain = SongChain(SongSettings(report=False))
    result = chain.run(song, tmp_path / "out", text)
    assert result.missing == {}
    # The beat of the song, or half or twice of it.
    assert any(
        result.rhythm.tempo == pytest.approx(110 * times, rel=0.03)
        for times in (0.5, 1, 2)
    )
    notes = read_notes(tmp_path / "out" / "vocals.csv")
    sung = " ".join(note.lyric for note in notes if note.lyric)
    assert sung.replace("- ", "") == TEXT
    # It begins after the introduction and repeats one pitch.
    first = [note for note in notes if note.lyric][0]
    assert 2 < first.onset < 3


@pytest.mark.parametrize("start", [0, 60, 120])
def test_beats_of_another_song(shared_data, start):
    path = shared_data / "songs" / "Fantasma_-_Los_Rombos.mp3"
    wav = audio.read_audio(path, start, start + 30, sample_rate=22050)
    rhythm = estimate_rhythm(wav, 22050)
    assert rhythm.steadiness > 0.8
    assert estimate_key(wav, 22050).correlation > 0.5
