"""Training items: slices, labels, and randomness by (seed, epoch, item)."""

import numpy as np
import pytest
import torch

from speechbrain_ext import frames
from speechbrain_ext.audio import write_audio
from speechbrain_ext.datasets import (
    Augment,
    coloured_noise,
    transcription_dataset,
)
from speechbrain_ext.errors import ManifestError
from speechbrain_ext.formats import write_notes
from speechbrain_ext.notes import NoteSequence, midi_to_hz

NOTES = NoteSequence([(0.5, 2.5, 57), (3.0, 7.5, 64), (7.5, 10.2, 60)])


class Epoch:
    current = 1


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """A song of 11 s whose notes are pure tones, in segments of 4, 4, 3 s."""
    folder = tmp_path_factory.mktemp("song")
    wav = np.zeros(11 * 16000, dtype=np.float32)
    for note in NOTES:
        a, b = (round(t * 16000) for t in (note.onset, note.offset))
        time = np.arange(b - a) / 16000
        wav[a:b] = 0.3 * np.sin(2 * np.pi * midi_to_hz(note.midi) * time)
    write_audio(folder / "song.wav", wav, 16000)
    write_notes(NOTES, folder / "song.csv")
    cuts = [0.0, 4.0, 8.0, 11.0]
    return [
        {
            "ID": f"song_{k}",
            "song_id": "song",
            "segment": k,
            "n_segments": 3,
            "start": cuts[k - 1],
            "stop": cuts[k],
            "wav": str(folder / "song.wav"),
            "notes": str(folder / "song.csv"),
        }
        for k in (1, 2, 3)
    ]


def test_segments_tile_the_song(rows):
    dataset = transcription_dataset(rows)
    pitch = torch.cat([dataset[k]["pitch"] for k in range(3)])
    onset = torch.cat([dataset[k]["onset"] for k in range(3)])
    whole = frames.label(NOTES, 550)
    assert np.array_equal(pitch.numpy(), whole.pitch)
    assert np.array_equal(onset.numpy(), whole.onset)


def test_context_is_around_the_segment_and_marked(rows):
    dataset = transcription_dataset(rows, context_s=1.0)
    sizes = [
        (len(dataset[k]["sig"]), dataset[k]["valid_frames"].tolist())
        for k in range(3)
    ]
    assert sizes == [
        (5 * 16000, [0, 200]),  # nothing before the song
        (6 * 16000, [50, 250]),
        (4 * 16000, [50, 200]),  # nothing after it
    ]
    first, last = dataset[1]["valid_frames"]
    plain = transcription_dataset(rows)[1]
    assert torch.equal(dataset[1]["pitch"][first:last], plain["pitch"])


def test_items_depend_on_seed_epoch_and_item_only(rows):
    def items(seed=1, epoch=1, order=(0, 1, 2)):
        counter = Epoch()
        counter.current = epoch
        dataset = transcription_dataset(
            rows, seed=seed, epoch_counter=counter, augment=Augment()
        )
        found = {k: dataset[k]["sig"] for k in order}
        return [found[k] for k in range(3)]

    first = items()
    assert all(map(torch.equal, first, items(order=(2, 0, 1))))
    assert not any(map(torch.equal, first, items(epoch=2)))
    assert not any(map(torch.equal, first, items(seed=2)))


def test_labels_follow_the_augmented_sound(rows):
    augment = Augment(transpose_share=1.0, noise_share=0.0)
    counter = Epoch()
    checked = 0
    for epoch in range(1, 9):
        counter.current = epoch
        dataset = transcription_dataset(
            rows, epoch_counter=counter, augment=augment
        )
        for k in range(3):
            item = dataset[k]
            sig, pitch = item["sig"].numpy(), item["pitch"].numpy()
            assert len(sig) == (48000 if k == 2 else 64000)
            # Frames away from the borders of notes.
            for frame in range(5, len(pitch) - 5, 7):
                around = pitch[frame - 4 : frame + 5]
                if (around != around[0]).any():
                    continue
                piece = sig[(frame - 3) * 320 : (frame + 4) * 320]
                if around[0] < 0:
                    assert np.abs(piece).max() < 0.02
                    continue
                spectrum = np.abs(
                    np.fft.rfft(piece * np.hanning(len(piece)), 2**16)
                )
                hz = spectrum.argmax() * 16000 / 2**16
                cents = 1200 * np.log2(hz / midi_to_hz(around[0]))
                assert abs(cents) < 15
                checked += 1
    assert checked > 100


def test_noise_has_the_wanted_level():
    augment = Augment()
    wav = 0.1 * coloured_noise(32000, 0.0, 1)
    plan = {
        "noise_db": 10.0,
        "noise_slope": 1.0,
        "noise_seed": 3,
        "gain_db": -6.0,
    }
    noisy = augment.apply(wav, plan)
    clean = augment.apply(wav, {**plan, "noise_db": None})
    ratio = np.sum(np.square(clean)) / np.sum(np.square(noisy - clean))
    assert 10 * np.log10(ratio) == pytest.approx(10.0, abs=0.01)
    assert np.allclose(clean, wav * 10 ** (-6 / 20), atol=1e-7)


def test_gain_never_clips():
    wav = np.linspace(-1, 1, 1000, dtype=np.float32)
    plan = {"noise_db": None, "gain_db": 20.0}
    assert np.abs(Augment.apply(wav, plan)).max() == pytest.approx(1.0)


def test_brown_noise_falls_by_six_decibels_per_octave():
    noise = coloured_noise(2**16, 2.0, 0)
    power = np.abs(np.fft.rfft(noise)) ** 2
    hz = np.fft.rfftfreq(2**16, 1 / 16000)
    bands = [power[(hz > f) & (hz < 2 * f)].mean() for f in (200, 400, 800)]
    steps = 10 * np.log10(np.array(bands[1:]) / np.array(bands[:-1]))
    assert np.allclose(steps, -6.02, atol=0.6)


def test_an_empty_manifest_is_refused():
    with pytest.raises(ManifestError, match="0 segments"):
        transcription_dataset([])


@pytest.mark.parametrize("medium", ["wav", "notes"])
def test_a_row_without_medium_is_refused(rows, medium):
    with pytest.raises(ManifestError, match=f"song_1 has no {medium}"):
        transcription_dataset([{**rows[0], medium: None}])
