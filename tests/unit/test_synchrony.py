"""Sound and picture out of step: what is found, how surely, and repaired."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter1d, map_coordinates
from scipy.signal import lfilter

from speechbrain_ext.errors import ConfigError
from speechbrain_ext.inference.synchrony import (
    Lag,
    estimate_lag,
    lag_message,
    lip_motion,
    shift_frames,
    sound_motion,
)


def red(frames, rng, seconds):
    """Noise that forgets within some seconds."""
    noise = rng.standard_normal(frames + 400)
    return lfilter([1], [1, -np.exp(-0.02 / seconds)], noise)[400:]


def syllables(frames, rng):
    return np.abs(red(frames, rng, 0.08))


def pulses(frames, rng):
    """Onset probabilities: about two notes and a half per second."""
    track = np.zeros(frames)
    times = np.cumsum(rng.gamma(3, 0.12, frames // 10) + 0.06)
    at = (times[times < frames / 50] * 50).astype(int)
    track[at] = rng.uniform(0.4, 1, len(at))
    return gaussian_filter1d(track, 1) + 0.02 * rng.random(frames)


def white(frames, rng):
    return rng.standard_normal(frames)


def related(kind, frames, lag_s, rng, noise=1.0, drift_s=0.0):
    """A sound, and a picture of it that is blurred, noisy and has holes."""
    source = kind(frames + 200, rng)
    sound = source[100:-100]
    sound = sound + 0.5 * sound.std() * rng.standard_normal(frames)
    late = 50 * (lag_s + drift_s * (np.arange(frames) / frames - 0.5))
    at = np.arange(frames) + 100 - late
    picture = map_coordinates(gaussian_filter1d(source, 1.5), [at], order=3)
    disturbance = gaussian_filter1d(rng.standard_normal(frames), 1)
    picture += noise * picture.std() * disturbance / disturbance.std()
    picture[rng.random(frames) < 0.05] = np.nan
    return sound, picture


# --- The lag ------------------------------------------------------------------


@pytest.mark.parametrize("late", [-20, -7, 0, 1, 20])
def test_a_copy_some_frames_late(late):
    sound = np.random.default_rng(0).random(400)
    lag = estimate_lag(sound[50:350], sound[50 - late : 350 - late])
    assert lag.lag_s == pytest.approx(0.02 * late, abs=1e-3)
    assert lag.sure and lag.drift_s == 0


@pytest.mark.parametrize("kind", [syllables, pulses])
@pytest.mark.parametrize("seconds", [10, 30, 600])
def test_related_tracks_are_found_within_ten_milliseconds(kind, seconds):
    rng = np.random.default_rng(1)
    found = 0
    tries = 200 // seconds + 2
    for _ in range(tries):
        lag_s = rng.uniform(-0.3, 0.3)
        lag = estimate_lag(*related(kind, 50 * seconds, lag_s, rng))
        assert lag.sure and abs(lag.lag_s - lag_s) < 0.03
        found += abs(lag.lag_s - lag_s) < 0.01
    assert found >= (0.9 * tries if seconds == 10 else tries)


def test_three_seconds_are_seldom_wrong():
    rng = np.random.default_rng(2)
    sure = 0
    for _ in range(40):
        lag_s = rng.uniform(-0.3, 0.3)
        lag = estimate_lag(*related(pulses, 150, lag_s, rng))
        sure += lag.sure
        assert not lag.sure or abs(lag.lag_s - lag_s) < 0.03
    assert sure >= 32


@pytest.mark.parametrize("frames", [150, 500, 3000])
def test_unrelated_tracks_are_seldom_sure(frames):
    rng = np.random.default_rng(3)
    kinds = [white, syllables, pulses]
    pairs = [(a, b) for a in kinds for b in kinds]
    sure = [
        estimate_lag(one(frames, rng), other(frames, rng)).sure
        for one, other in pairs * (4000 // frames + 10)
    ]
    assert np.mean(sure) < 0.05


def test_more_noise_is_less_sure():
    confidence = []
    for noise in (0.5, 2.0, 8.0):
        rng = np.random.default_rng(4)
        lags = [
            estimate_lag(*related(syllables, 300, 0.1, rng, noise))
            for _ in range(10)
        ]
        confidence.append(np.mean([lag.confidence for lag in lags]))
    assert confidence[0] > 0.99 and confidence[2] < 0.7
    assert confidence[0] > confidence[1] > confidence[2]


def test_what_repeats_itself_fits_at_several_lags():
    """0.3 s later it is the same again: 0.06 s late or 0.24 s early?"""
    rng = np.random.default_rng(5)
    beat = np.tile([1.0, 0.5, *[0.0] * 13], 40)
    sound, picture = beat + 0.1 * rng.random(600), np.roll(beat, 3)
    assert not estimate_lag(sound, picture + 0.1 * rng.random(600)).sure
    melody = pulses(600, rng)
    assert estimate_lag(melody, np.roll(melody, 3)).sure


def test_a_lag_beyond_the_largest_is_not_found():
    sound = np.random.default_rng(6).random(600)
    picture = np.roll(sound, 30)
    assert not estimate_lag(sound, picture).sure
    found = estimate_lag(sound, picture, max_lag_s=0.8)
    assert found.sure and found.lag_s == pytest.approx(0.6, abs=1e-3)


def test_a_sound_and_its_opposite_are_not_in_step():
    sound = np.random.default_rng(7).random(600)
    assert not estimate_lag(sound, 1 - sound).sure


def test_other_steps_and_missing_frames():
    rng = np.random.default_rng(8)
    sound = rng.random(600)
    picture = np.roll(sound, 4)
    seen = rng.random(600) < 0.6
    holes = np.where(seen, picture, np.nan)
    lag = estimate_lag(sound, holes)
    assert lag.sure and lag.lag_s == pytest.approx(0.08, abs=2e-3)
    # What lies in the holes does not matter.
    masked = np.where(seen, picture, 99.0)
    assert estimate_lag(sound, masked, picture_valid=seen) == lag
    slower = estimate_lag(sound, picture, step_s=0.04)
    assert slower.lag_s == pytest.approx(0.16, abs=2e-3)
    with pytest.raises(ConfigError, match="600 frames but picture_valid has 9"):
        estimate_lag(sound, picture, picture_valid=seen[:9])


@pytest.mark.parametrize(
    ("sound", "picture"),
    [
        ([], []),
        (np.zeros(500), np.arange(500.0)),
        (np.full(500, np.nan), np.arange(500.0)),
        (np.arange(30.0), np.arange(30.0)),
    ],
)
def test_nothing_to_compare(sound, picture):
    assert estimate_lag(sound, picture) == Lag(0.0, 0.0)


def test_a_loud_passage_does_not_decide():
    rng = np.random.default_rng(9)
    sound, picture = related(syllables, 3000, 0.1, rng)
    sound[1500:1510] += 1000
    picture[1490:1500] += 1000
    lag = estimate_lag(sound, picture)
    assert lag.sure and lag.lag_s == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize("drift_s", [0.0, 0.2, -0.5])
def test_drift_of_long_recordings(drift_s):
    rng = np.random.default_rng(10)
    for _ in range(3):
        lag = estimate_lag(
            *related(syllables, 15000, 0.06, rng, drift_s=drift_s)
        )
        assert lag.sure
        assert lag.lag_s == pytest.approx(0.06, abs=0.01)
        assert lag.drift_s == pytest.approx(drift_s, abs=0.03)


def test_messages():
    assert lag_message(Lag(0.1204, 0.97)) == "the picture comes 120 ms late"
    assert lag_message(Lag(-0.08, 0.97)) == "the picture comes 80 ms early"
    assert lag_message(Lag(0.0, 1.0, -0.1)) == (
        "sound and picture are in step, 100 ms earlier at the end than at the "
        "start"
    )
    assert "cannot be told" in lag_message(Lag(0.12, 0.9))


# --- Back in step ---------------------------------------------------------


def test_a_shifted_picture_is_in_step():
    rng = np.random.default_rng(11)
    sound, picture = related(pulses, 1000, 0.14, rng)
    moved = shift_frames(picture, estimate_lag(sound, picture).lag_s)
    assert abs(estimate_lag(sound, moved).lag_s) < 0.01
    assert np.array_equal(moved[:-7], picture[7:], equal_nan=True)


@pytest.mark.parametrize("like", [np.asarray, torch.as_tensor])
def test_shifts_fill_up_with_zeros_and_leave_the_original(like):
    video = like(np.arange(1, 13, dtype=np.uint8).reshape(3, 2, 2))
    late, early = shift_frames(video, 0.02), shift_frames(video, -0.041)
    assert late.dtype == video.dtype and late.shape == video.shape
    assert late[:, 0, 0].tolist() == [5, 9, 0]
    assert early[:, 0, 0].tolist() == [0, 0, 1]
    assert shift_frames(video, 9.0).tolist() == (0 * video).tolist()
    assert shift_frames(video, -9.0).tolist() == (0 * video).tolist()
    still = shift_frames(video, 0.009)
    still[:] = 0
    assert video[0, 0, 0] == 1
    assert shift_frames(video, 0.04, frame_rate=25)[:, 0, 0].tolist() == [
        5,
        9,
        0,
    ]


# --- What moves ---------------------------------------------------------------


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_sound_moves_where_a_tone_begins_changes_and_ends(rate):
    seconds = np.arange(round(3.005 * rate)) / rate
    tone = np.sin(2 * np.pi * np.where(seconds < 1.5, 220, 330) * seconds)
    tone *= (seconds > 1) & (seconds < 2)
    motion = sound_motion(tone, rate)
    assert motion.shape == (150,)
    for at in (50, 75, 100):
        near = motion[at - 2 : at + 2]
        assert near.min() > 10 * np.median(motion)
        # As much before the border as after it: the grid is not off.
        assert near[1] == pytest.approx(near[2], rel=0.3)
    assert motion[55:70].max() < 0.2 * motion[49:51].min()


def test_sound_motion_does_not_depend_on_the_level():
    rng = np.random.default_rng(12)
    wav = syllables(150, rng).repeat(320) * rng.standard_normal(48000)
    quiet = sound_motion(1e-3 * wav, 16000)
    assert np.allclose(quiet, sound_motion(wav, 16000), atol=1e-6)
    assert np.array_equal(sound_motion(np.zeros(16000), 16000), np.zeros(50))
    assert len(sound_motion(np.zeros(100), 16000)) == 0


def face(opening, dx=0.0, dy=0.0, light=1.0):
    """A mouth that opens (0 to 1) on a cheek with a nose and a shadow."""
    y, x = np.mgrid[:96, :96].astype(float)
    x, y = x - 48 - dx, y - 48 - dy
    lips = np.exp(-((x / 22) ** 2) - (y / (6 + 10 * opening)) ** 2)
    hole = np.exp(-((x / 16) ** 2) - (y / (1 + 8 * opening)) ** 2)
    nose = np.exp(-((x / 10) ** 2) - ((y + 45) / 8) ** 2)
    picture = 150 + 0.3 * x - 40 * lips - 70 * opening * hole - 30 * nose
    return light * picture


def test_lips_move_when_they_move():
    opening = np.concatenate([np.zeros(20), np.linspace(0, 1, 6), np.ones(20)])
    motion = lip_motion(np.stack([face(o) for o in opening]).astype(np.uint8))
    assert motion.shape == (46,)
    assert motion[20:26].min() > 0.03
    assert np.delete(motion, np.s_[20:26]).max() < 0.003


def test_a_head_that_moves_is_no_lip():
    rng = np.random.default_rng(13)
    opening = 0.5 + 0.5 * np.sin(np.arange(60) / 3)
    lips = lip_motion(np.stack([face(o) for o in opening]))
    shake = rng.uniform(-0.5, 0.5, (60, 2))
    head = lip_motion(np.stack([face(0.5, *xy) for xy in shake]))
    assert head.max() < 0.2 * np.median(lips)
    light = np.linspace(1, 1.3, 60)
    lamp = lip_motion(np.stack([face(0.5, light=v) for v in light]))
    assert lamp.max() < 0.1 * np.median(lips)


def test_pictures_shown_twice_move_evenly():
    openings = 0.5 + 0.5 * np.sin(np.arange(40) / 4)
    once = np.stack([face(o) for o in openings])
    motion = lip_motion(np.repeat(once, 2, axis=0))
    # Picture k is frames 2 k and 2 k + 1: it changes after 1, 3, 5 ...
    assert np.allclose(motion[1:-1:2], motion[2::2], rtol=0.1)
    assert motion.min() > 0.02 * motion.max()


def test_missing_pictures_are_not_compared():
    crops = np.stack([face(o) for o in np.linspace(0, 1, 20)])
    crops[7] = 0
    crops[12] = np.nan
    missing = np.isnan(lip_motion(crops))
    assert np.flatnonzero(missing).tolist() == [6, 7, 8, 11, 12, 13]
    assert np.isnan(lip_motion(np.zeros((5, 96, 96)))).all()
    assert np.isnan(lip_motion(crops[:2])).all()
    assert len(lip_motion(crops[:0])) == 0
    with pytest.raises(ConfigError, match="2 dimensions"):
        lip_motion(crops[0])


@pytest.mark.parametrize("lag_s", [-0.1, 0.0, 0.16])
def test_a_synthetic_singer(lag_s):
    """Loudness and mouth follow the same opening, 20 s of it."""
    rng = np.random.default_rng(14)
    source = gaussian_filter1d(rng.standard_normal(1100), 3)
    source = np.clip(0.5 + source / source.std() / 3, 0, 1)
    opening = source[50:-50]
    seen = np.roll(source, round(50 * lag_s))[50:-50]
    wav = np.repeat(opening, 320) * rng.standard_normal(320000)
    faces = np.stack([face(o) for o in np.linspace(0, 1, 101)])[:, ::2, ::2]
    crops = faces[np.rint(100 * seen).astype(int)]
    crops = crops + rng.standard_normal(crops.shape)
    lag = estimate_lag(sound_motion(wav, 16000), lip_motion(crops))
    assert lag.sure
    assert lag.lag_s == pytest.approx(lag_s, abs=0.015)
