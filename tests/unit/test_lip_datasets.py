"""Lips beside the sound: the right picture at the right time."""

import numpy as np
import pytest
import torch

from data_prep.minisinging import render_clip
from speechbrain_ext.audio import write_audio
from speechbrain_ext.datasets import Augment, transcription_dataset
from speechbrain_ext.errors import ConfigError, ManifestError
from speechbrain_ext.formats import write_notes
from speechbrain_ext.lip_datasets import (
    LipAugment,
    add_lips,
    lost_frames,
    lost_pictures,
    pictures_at,
    seen_as,
)
from speechbrain_ext.video import write_crops

# Nothing but which streams there are.
PLAIN = {
    "flip_share": 0.0,
    "shift": 0.0,
    "zoom": 0.0,
    "turn": 0.0,
    "contrast": 0.0,
    "brightness": 0.0,
    "noise": 0.0,
    "blur_share": 0.0,
    "missing_share": 0.0,
}


class Counter:
    current = 1


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Two segments of 2 s; each picture shows the number of its frame."""
    folder = tmp_path_factory.mktemp("song")
    clip = render_clip(5, 4.0, band=False)
    write_audio(folder / "a.wav", clip.voice, 16000)
    write_notes(clip.notes, folder / "a.csv")
    numbers = np.arange(1, 201, dtype=np.uint8)[:, None, None]
    write_crops(folder / "a.npy", np.tile(numbers, (1, 96, 96)))
    return [
        {
            "ID": f"a_{k + 1}",
            "song_id": "a",
            "segment": k + 1,
            "n_segments": 2,
            "start": 2.0 * k,
            "stop": 2.0 * k + 2,
            "wav": str(folder / "a.wav"),
            "notes": str(folder / "a.csv"),
            "video": str(folder / "a.npy"),
        }
        for k in range(2)
    ]


def shown(item):
    """Numbers of the frames that an item shows."""
    return item["lips"][:, 44, 44].numpy()


def dataset(rows, augment=None, lip_augment=None, context_s=0.0):
    made = transcription_dataset(
        rows, epoch_counter=Counter(), augment=augment, context_s=context_s
    )
    return add_lips(made, rows, epoch_counter=Counter(), augment=lip_augment)


def test_pictures_belong_to_their_slice(rows):
    item = dataset(rows)[1]
    assert item["lips"].shape == (100, 88, 88)
    assert item["lips"].dtype == torch.uint8
    assert shown(item).tolist() == list(range(101, 201))
    assert item["streams"].tolist() == [True, True]


def test_context_is_seen_too(rows):
    item = dataset(rows, context_s=0.4)[1]
    # 20 frames before the segment; the song ends with it.
    assert shown(item).tolist() == list(range(81, 201))
    assert item["valid_frames"].tolist() == [20, 120]


def test_pictures_follow_shift_and_speed(rows):
    still = {"gain_db": (0, 0), "noise_share": 0, "transpose_share": 1}
    augment = Augment(jitter_s=0.5, transpose=3, **still)
    lips = LipAugment(0.0, 0.0, **PLAIN)
    made = transcription_dataset(rows, epoch_counter=Counter(), augment=augment)
    made.add_dynamic_item(lambda part: part, takes=["slice"], provides="part")
    made = add_lips(made, rows, epoch_counter=Counter(), augment=lips)
    made.set_output_keys(["lips", "part"])
    speeds = set()
    for k in range(2):
        item = made[k]
        part = item["part"]
        speeds.add(part.speed)
        times = part.start_s + (np.arange(100) + 0.5) * 0.02 * part.speed
        wanted = np.floor(times * 50).astype(int) + 1
        wanted[wanted > 200] = 0
        assert np.abs(shown(item).astype(int) - wanted).max() <= 1
    assert speeds != {1.0}


def test_late_pictures(rows):
    late = dataset(seen_as(rows, late_s=0.06))
    assert shown(late[0]).tolist() == [0, 0, 0, *range(1, 98)]
    assert shown(late[1]).tolist() == list(range(98, 198))


def test_missing_pictures_are_those_of_the_song(rows):
    chosen = seen_as(rows, missing=0.25)
    parts = [shown(item) == 0 for item in dataset(chosen)]
    whole = np.concatenate(parts)
    times = (np.arange(200) + 0.5) * 0.02
    assert whole.tolist() == lost_pictures("a", times, 0.25).tolist()
    context = shown(dataset(chosen, context_s=0.4)[1]) == 0
    assert context[20:].tolist() == parts[1].tolist()


def test_a_quarter_of_a_long_song_is_lost():
    times = (np.arange(3000) + 0.5) * 0.02
    assert lost_pictures("b", times, 0.25).sum() == 750
    assert lost_frames(np.random.default_rng(1), 7, 1.0).all()
    assert not lost_frames(np.random.default_rng(1), 7, 0.0).any()


def test_modality_of_rows_and_of_training(rows):
    video = seen_as(rows, "video")
    assert video[0]["song_id"] == "a@video"
    assert dataset(video)[0]["streams"].tolist() == [False, True]
    for share, wanted in (
        ((1.0, 0.0), [True, False]),
        ((0.0, 1.0), [False, True]),
    ):
        made = dataset(rows, Augment(), LipAugment(*share))
        assert made[0]["streams"].tolist() == wanted


def test_a_muted_singer_is_not_looked_at(rows):
    augment = Augment(silent_share=1.0)
    made = dataset(rows, augment, LipAugment(0.0, 1.0))
    assert made[0]["streams"].tolist() == [True, False]


def test_augmented_pictures(rows):
    first, again = (
        dataset(rows, Augment(), LipAugment())[0]["lips"] for _ in range(2)
    )
    assert torch.equal(first, again)
    plan = LipAugment().draw(np.random.default_rng(3))
    plan.update(flip=True, shift=np.zeros(2), zoom=1.0, turn=0.0)
    plan.update(contrast=1.0, brightness=0.0, noise=0.0, blur=0.0, missing=0.0)
    picture = np.full((2, 96, 96), 50, np.uint8)
    picture[:, :, :48] = 200
    picture[1] = 0
    changed = LipAugment.apply(picture, plan)
    # A mirror: the bright half is on the right; what is missing stays so.
    assert changed[0, 44, :44].tolist() == [50] * 44
    assert changed[0, 44, 44:].tolist() == [200] * 44
    assert not changed[1].any()


def test_a_dark_picture_is_not_a_missing_one():
    plan = LipAugment(brightness=0, contrast=0).draw(np.random.default_rng(0))
    plan.update(brightness=-200.0, missing=0.0)
    dark = np.full((3, 96, 96), 20, np.uint8)
    assert LipAugment.apply(dark, plan).any(axis=(1, 2)).all()


def test_rows_without_video(rows):
    bare = [{**rows[0], "video": None}]
    with pytest.raises(ManifestError, match="segment a_1 has no video"):
        add_lips(transcription_dataset(bare), bare)


def test_shares_that_are_too_many():
    with pytest.raises(ConfigError, match="audio_only is 0.7 and video_only"):
        LipAugment(audio_only=0.7, video_only=0.6)


def test_pictures_outside_the_file(rows):
    crops = pictures_at(rows[0]["video"], np.array([-1.0, 0.01, 3.99, 4.01]))
    assert crops[:, 0, 0].tolist() == [0, 1, 200, 0]
    assert not pictures_at(rows[0]["video"], np.array([9.0])).any()
