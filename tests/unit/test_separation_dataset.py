"""Mixtures to learn from: which piece of which song, and how changed."""

import numpy as np
import pytest
import torch

from speechbrain_ext.audio import write_audio
from speechbrain_ext.errors import ConfigError, ManifestError
from speechbrain_ext.separation.dataset import (
    RemixAugment,
    separation_dataset,
)

RATE = 16000
PLAIN = {
    "remix_share": 0.0,
    "shift_share": 0.0,
    "ratio_share": 0.0,
    "gain_db": (0.0, 0.0),
    "transpose_share": 0.0,
    "silent_share": 0.0,
}


class Epoch:
    current = 1


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Three songs of 10 s in two segments each.

    Voices rise from 0 to 0.1, so a sample says when it was; accompaniments
    are constant, 0.2, 0.3 and 0.4, so a sample says which song it is of. Files
    are stereo, the second channel half as loud.
    """
    folder = tmp_path_factory.mktemp("songs")
    found = []
    for k, name in enumerate("abc"):
        ramp = np.linspace(0, 0.1, 10 * RATE, dtype=np.float32)
        flat = np.full(10 * RATE, 0.2 + 0.1 * k, dtype=np.float32)
        for wav, kind in ((ramp, "voice"), (flat, "band")):
            stereo = np.stack([wav, wav / 2], axis=1)
            write_audio(
                folder / f"{name}_{kind}.wav", stereo, RATE, subtype="FLOAT"
            )
        found += [
            {
                "ID": f"{name}_{part}",
                "song_id": name,
                "segment": part,
                "n_segments": 2,
                "start": 5.0 * (part - 1),
                "stop": 5.0 * part,
                "singer": name.upper(),
                "wav": str(folder / f"{name}_voice.wav"),
                "accomp_wav": str(folder / f"{name}_band.wav"),
            }
            for part in (1, 2)
        ]
    return found


def training(rows, epoch=1, seed=0, **options):
    counter = Epoch()
    counter.current = epoch
    return separation_dataset(
        rows,
        seed=seed,
        epoch_counter=counter,
        augment=RemixAugment(**{**PLAIN, **options}),
        segment_s=2.0,
        channels=2,
    )


def when(item):
    """Second of the song at which a voice starts, and how fast it goes."""
    voice = item["sources"][0, 0].numpy()
    inside = voice[500:-500]
    speed = (inside[-1] - inside[0]) / 0.01 * RATE / (len(inside) - 1)
    return inside[0] * 100 - 500 / RATE * speed, speed


def band(item):
    """Level of the accompaniment."""
    return float(item["sources"][1, 0, 500:-500].mean())


def test_whole_songs_and_segments(rows):
    whole = separation_dataset(rows)
    assert [item["song_id"] for item in whole] == ["a", "b", "c"]
    assert [item["singer"] for item in whole] == ["A", "B", "C"]
    # Channels are averaged: 0.75 of the louder one.
    sources = whole[1]["sources"]
    assert sources.shape == (2, 1, 10 * RATE)
    assert torch.allclose(sources[1], torch.tensor(0.75 * 0.3))
    parts = separation_dataset(rows, segment_s=5.0)
    assert [item["id"] for item in parts][:3] == ["a_1", "a_2", "b_1"]
    joined = torch.cat([parts[k]["sources"] for k in (2, 3)], dim=-1)
    assert torch.equal(joined, sources)


def test_channels(rows, tmp_path):
    stereo = separation_dataset(rows, channels=2)[0]["sources"]
    assert torch.allclose(stereo[:, 1], stereo[:, 0] / 2)
    mono = tmp_path / "mono.wav"
    write_audio(mono, np.full(5 * RATE, 0.5, np.float32), RATE)
    row = {**rows[0], "n_segments": 1, "wav": str(mono)}
    both = separation_dataset([row], channels=2)[0]["sources"][0]
    assert both.shape == (2, 5 * RATE)
    assert torch.equal(both[0], both[1])


def test_items_of_another_rate(rows):
    item = separation_dataset(rows, sample_rate=8000, segment_s=1)[1]
    assert item["sources"].shape == (2, 1, 5 * 8000)
    assert item["sources"][0, 0, 4000] == pytest.approx(0.055 * 0.75, abs=1e-4)


def test_ratio_of_a_test(rows):
    for ratio in (0.0, 6.0):
        sources = separation_dataset(rows, ratio_db=ratio)[2]["sources"]
        energy = sources.square().sum((1, 2))
        found = 10 * torch.log10(energy[0] / energy[1])
        assert found == pytest.approx(ratio, abs=1e-4)


def test_plain_items_come_from_anywhere_in_the_song_in_time(rows):
    found = []
    for epoch in range(8):
        item = training(rows, epoch)[2]
        start, speed = when(item)
        found.append(start)
        assert speed == pytest.approx(1.0, abs=1e-3)
        assert -1e-3 <= start <= 8.0
        assert band(item) == pytest.approx(0.3, abs=1e-6)
    assert max(found) - min(found) > 3.0


def test_drawn_from_seed_epoch_and_item_alone(rows):
    options = {"remix_share": 0.5, "transpose_share": 0.5, "ratio_share": 0.5}
    items = [training(rows, **options)[k]["sources"] for k in range(6)]
    backwards = training(rows, **options)
    for k in reversed(range(6)):
        assert torch.equal(backwards[k]["sources"], items[k])
    for changed in ({"epoch": 2}, {"seed": 1}):
        other = training(rows, **options, **changed)
        same = [torch.equal(other[k]["sources"], items[k]) for k in range(6)]
        assert not any(same)
    assert len({round(when(i)[0], 3) for i in training(rows, **options)}) == 6


def test_remixes_come_from_other_songs(rows):
    levels = {
        round(band(training(rows, epoch, remix_share=1.0)[0]), 3)
        for epoch in range(12)
    }
    assert levels == {0.3, 0.4}
    # With one song there is no other one.
    alone = training(rows[:2], remix_share=1.0)[0]
    assert band(alone) == pytest.approx(0.2)


def test_shifts_stay_in_the_song(rows):
    swapped = [
        {**r, "wav": r["accomp_wav"], "accomp_wav": r["wav"]} for r in rows
    ]
    starts = []
    for epoch in range(6):
        item = training(swapped, epoch, shift_share=1.0)[0]
        starts.append(float(item["sources"][1, 0, 0]) * 100)
        assert item["sources"][0, 0].mean() == pytest.approx(0.2, abs=1e-5)
    assert max(starts) - min(starts) > 2.0
    # Unshifted, voice and accompaniment start together.
    both = [{**r, "accomp_wav": r["wav"]} for r in rows]
    item = training(both, transpose_share=1.0)[0]["sources"]
    assert torch.equal(item[0], item[1])


def test_transposed_items_go_faster_or_slower(rows):
    speeds = [
        when(training(rows, epoch, transpose=12.0, transpose_share=1.0)[0])[1]
        for epoch in range(12)
    ]
    assert min(speeds) < 0.8 and max(speeds) > 1.25
    assert all(0.5 <= s <= 2.0 for s in speeds)


def test_levels(rows):
    quiet = training(
        rows, ratio_db=(12.0, 12.0), ratio_share=1.0, level_db=-30.0
    )[0]["sources"]
    mean = quiet.mean(1)
    power = mean.square().mean(1)
    assert 10 * torch.log10(power[0] / power[1]) == pytest.approx(12, abs=0.3)
    mixture = quiet.sum(0).square().mean()
    assert 10 * torch.log10(mixture) == pytest.approx(-30, abs=1e-3)
    loud = training(rows, gain_db=(30.0, 30.0))[0]["sources"]
    assert loud.sum(0).abs().max() == pytest.approx(1.0)


def test_silence_tone_and_sides(rows):
    item = training(rows, silent_share=1.0)[0]["sources"]
    assert not item.any()
    swapped = training(rows, swap_share=1.0)[0]["sources"]
    plain = training(rows)[0]["sources"]
    assert torch.equal(swapped, plain.flip(1))
    toned = training(rows, tilt_share=1.0)[0]["sources"]
    gain = toned[1, 0, 100] / plain[1, 0, 100]
    assert gain != 1 and 0.3 <= gain <= 1.7


def test_short_songs_are_filled_up(tmp_path, rows):
    short = tmp_path / "short.wav"
    write_audio(short, np.full(RATE, 0.5, np.float32), RATE)
    row = {**rows[0], "stop": 1.0, "wav": str(short), "accomp_wav": str(short)}
    item = training([row])[0]["sources"]
    assert item.shape == (2, 2, 2 * RATE)
    assert (item[..., :RATE] == 0.5).all() and not item[..., RATE:].any()


def test_shares(rows):
    augment = RemixAugment(remix_share=0.3, shift_share=0.5, silent_share=0.1)
    rng = np.random.default_rng(0)
    plans = [augment.draw(rng) for _ in range(4000)]
    kinds = [plan["accompaniment"] for plan in plans]
    assert kinds.count("other") / 4000 == pytest.approx(0.3, abs=0.03)
    assert kinds.count("same") / 4000 == pytest.approx(0.35, abs=0.03)
    silent = np.mean([plan["silent"] for plan in plans], axis=0)
    assert silent == pytest.approx([0.1, 0.1], abs=0.02)


def test_errors(rows):
    with pytest.raises(ManifestError, match="holds 0 segments"):
        separation_dataset([])
    with pytest.raises(ManifestError, match="segment a_1 has no accomp_wav"):
        separation_dataset([{**rows[0], "accomp_wav": ""}])
    with pytest.raises(ConfigError, match="channels is 3: use 1 or 2"):
        separation_dataset(rows, channels=3)
    with pytest.raises(ConfigError, match="ratio_db is 5 to -5"):
        RemixAugment(ratio_db=(5, -5))
