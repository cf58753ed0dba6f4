"""Training items: slices, labels, and randomness by (seed, epoch, item)."""

import numpy as np
import pytest
import torch

from speechbrain_ext import frames
from speechbrain_ext.audio import write_audio
from speechbrain_ext.datasets import (
    NOISE_KINDS,
    Augment,
    coloured_noise,
    noisy,
    repeated,
    transcription_dataset,
)
from speechbrain_ext.errors import ConfigError, ManifestError
from speechbrain_ext.f0 import F0Contour, write_f0
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


@pytest.mark.parametrize("kind", NOISE_KINDS)
def test_noise_has_the_wanted_level(kind):
    augment = Augment()
    wav = 0.1 * coloured_noise(32000, 0.0, 1)
    plan = {
        "noise_db": 10.0,
        "noise_slope": 1.0,
        "noise_seed": 3,
        "noise_kind": kind,
        "gain_db": -6.0,
    }
    noisy = augment.apply(
        wav, plan, babble=lambda: coloured_noise(32000, 1.0, 7)
    )
    clean = augment.apply(wav, {**plan, "noise_db": None})
    ratio = np.sum(np.square(clean)) / np.sum(np.square(noisy - clean))
    assert 10 * np.log10(ratio) == pytest.approx(10.0, abs=0.01)
    assert np.allclose(clean, wav * 10 ** (-6 / 20), atol=1e-7)


def test_babble_is_made_of_the_data_s_voices(rows):
    options = {
        "noise_share": 1.0,
        "noise_db": (0.0, 0.0),
        "transpose_share": 0.0,
        "silent_share": 1.0,
    }
    babble, other = (
        transcription_dataset(
            rows,
            epoch_counter=Epoch(),
            augment=Augment(noise_kinds={kind: 1}, **options),
        )[1]["sig"].numpy()
        for kind in ("babble", "natural")
    )
    # The tones of the song, which the muted voice would have sung.
    notes = [float(midi_to_hz(note.midi)) for note in NOTES]
    for sig, least, most in ((babble, 0.5, 1.01), (other, 0.0, 0.1)):
        power = sum(tone(sig, hz) ** 2 for hz in notes) / 2
        assert least <= power / np.mean(sig**2) <= most


def test_noise_kinds_are_checked():
    for kinds in ({"pink": 1.0}, {"babble": 0.0}):
        with pytest.raises(ConfigError, match="coloured, natural, babble"):
            Augment(noise_kinds=kinds)


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


@pytest.fixture(scope="module")
def accompanied(rows, tmp_path_factory):
    """The song with a hum of 1 kHz behind it, and its contour."""
    folder = tmp_path_factory.mktemp("band")
    time = np.arange(11 * 16000) / 16000
    hum = 0.01 * np.sin(2 * np.pi * 1000 * time).astype(np.float32)
    write_audio(folder / "band.wav", hum, 16000)
    times = (np.arange(1100) + 0.5) * 0.01
    midi = np.zeros(1100)
    for note in NOTES:
        midi[(times > note.onset) & (times < note.offset)] = note.midi
    write_f0(F0Contour(times, midi), folder / "f0.csv")
    media = {"accomp_wav": folder / "band.wav", "f0": folder / "f0.csv"}
    return [{**row, **{k: str(v) for k, v in media.items()}} for row in rows]


def tone(sig, hz):
    """Amplitude of a sine in a signal."""
    time = np.arange(len(sig)) / 16000
    return 2 * abs(np.mean(sig * np.exp(-2j * np.pi * hz * time)))


def test_mixtures_have_the_wanted_level_in_every_segment(accompanied):
    voice = transcription_dataset(accompanied)
    mixed = transcription_dataset(
        noisy(accompanied, "accompaniment", 6.0, level="sounding")
    )
    ratio = 10 ** (6 / 20)
    hums = []
    for k in range(3):
        sig = mixed[k]["sig"].numpy() * (1 + ratio) / ratio
        hums.append(tone(sig - voice[k]["sig"].numpy(), 1000))
        assert torch.equal(mixed[k]["onset"], voice[k]["onset"])
    # The voice sounds at an amplitude of 0.3, and the hum 6 dB below it.
    assert np.allclose(hums, 0.3 / ratio, rtol=0.01)
    assert mixed[0]["song_id"] == "song@accompaniment+6dB"


@pytest.mark.parametrize("kind", ["white", "natural"])
def test_noise_is_the_same_at_all_levels_and_in_all_slices(accompanied, kind):
    voice = transcription_dataset(accompanied, context_s=1.0)
    parts = {}
    for level in (0.0, -10.0):
        ratio = 10 ** (level / 20)
        rows = noisy(accompanied, kind, level)
        dataset = transcription_dataset(rows, context_s=1.0)
        parts[level] = [
            dataset[k]["sig"].numpy() * (1 + ratio)
            - ratio * voice[k]["sig"].numpy()
            for k in range(3)
        ]
    for a, b in zip(parts[0.0], parts[-10.0], strict=True):
        assert np.allclose(a, b, atol=1e-5) and np.abs(a).max() > 0.05
    # Segments overlap by their contexts: 3 to 5 s in the first and second.
    first, second = parts[0.0][:2]
    assert np.allclose(first[3 * 16000 : 5 * 16000], second[:32000], atol=1e-5)


def test_wrong_noise_is_refused(accompanied):
    with pytest.raises(ManifestError, match="song_1 has no accomp_wav"):
        noisy([{"ID": "song_1"}], "accompaniment", 0.0)
    with pytest.raises(ConfigError, match="'rain' is unknown: use one of acc"):
        noisy(accompanied, "rain", 0.0)


def test_training_items_are_accompanied(accompanied):
    options = {
        "transpose_share": 0.0,
        "noise_share": 0.0,
        "separated_share": 0.0,
        "gain_db": (0.0, 0.0),
        "accompaniment_db": (10.0, 10.0),
    }
    for share, level in ((0.0, 0.0), (1.0, 0.3 * 10 ** (-10 / 20))):
        augment = Augment(accompaniment_share=share, **options)
        dataset = transcription_dataset(
            accompanied, epoch_counter=Epoch(), augment=augment
        )
        hums = [tone(dataset[k]["sig"].numpy(), 1000) for k in range(3)]
        assert np.allclose(hums, level, rtol=0.02, atol=0.002)


def test_a_muted_voice_has_no_notes(accompanied):
    augment = Augment(
        silent_share=1.0, accompaniment_share=1.0, noise_share=0.0
    )
    item = transcription_dataset(
        accompanied, epoch_counter=Epoch(), augment=augment
    )[1]
    assert (item["silence"] == 1).all() and (item["onset"] == 0).all()
    assert (item["pitch"] == -1).all() and (item["f0_target"] == 0).all()
    sig = item["sig"].numpy()
    assert tone(sig, float(midi_to_hz(64))) < 0.01 * np.abs(sig).max()


def test_the_contour_follows_transposition(accompanied):
    augment = Augment(transpose_share=1.0, noise_share=0.0)
    counter, shifts = Epoch(), set()
    for epoch in range(1, 6):
        counter.current = epoch
        dataset = transcription_dataset(
            accompanied, epoch_counter=counter, augment=augment
        )
        for k in range(3):
            item = dataset[k]
            f0, pitch = item["f0_target"].numpy(), item["pitch"].numpy()
            sung = (f0 > 0) & (pitch >= 0)
            # Borders of notes may differ by a frame.
            assert (np.abs(f0 - pitch)[sung] > 0.01).sum() <= 2
            assert ((f0 > 0) != (pitch >= 0)).sum() <= 8
            shifts |= set(np.round(f0[sung]) % 12)
    assert len(shifts) > 4


def test_without_notes_the_contour_labels_what_it_can(accompanied):
    rows = [{**row, "notes": None} for row in accompanied]
    item = transcription_dataset(rows)[0]
    # Both notes follow a pause, and their pitch is in tune.
    onset, pitch = item["onset"].numpy(), item["pitch"].numpy()
    assert np.flatnonzero(onset == 1).tolist() == [25, 150]
    assert np.isnan(onset[30:120]).all() and (onset[3:21] == 0).all()
    assert (pitch[:25] == -100).all()
    assert (pitch[25:120] == NOTES[0].midi).all()
    silence = item["silence"].numpy()
    # Silent up to 0.5 s, sung from there to 2.5 s; borders are unknown.
    assert (silence[3:21] == 1).all() and (silence[29:121] == 0).all()
    assert np.isnan(silence[[22, 24, 25, 27, 124, 125]]).all()
    plain = [{**row, "f0": None} for row in accompanied]
    assert torch.isnan(transcription_dataset(plain)[0]["f0_target"]).all()


def test_repeated_rows_are_drawn_on_their_own(accompanied):
    rows = repeated(accompanied, 2)
    assert [r["ID"] for r in rows[3:]] == [f"song_{k}#2" for k in (1, 2, 3)]
    dataset = transcription_dataset(
        rows, epoch_counter=Epoch(), augment=Augment()
    )
    assert not torch.equal(dataset[0]["sig"], dataset[3]["sig"])


@pytest.mark.parametrize("medium", ["wav", "notes"])
def test_a_row_without_medium_is_refused(rows, medium):
    with pytest.raises(ManifestError, match=f"song_1 has no {medium}"):
        transcription_dataset([{**rows[0], medium: None}])
