"""Sound and picture of real talkers: GRID clips, 3 s each, in step."""

import av
import numpy as np
import pytest

from speechbrain_ext.audio import read_audio
from speechbrain_ext.inference.synchrony import (
    estimate_lag,
    lip_motion,
    shift_frames,
    sound_motion,
)

pytestmark = pytest.mark.realdata

RATE = 16000

# Left, top and width of the square around the mouth, in pixels.
MOUTHS = {
    "bbaf2n": (117, 191, 78),
    "brbk7n": (132, 198, 78),
    "lbax4n": (146, 175, 91),
    "lbbc2a": (144, 203, 85),
    "lrwp9a": (142, 191, 95),
    "lwbsza": (131, 193, 75),
}


@pytest.fixture(scope="module")
def talkers(shared_data):
    """Motion of the sound and of the lips, 148 frames of each clip."""
    tracks = []
    for name, (left, top, width) in MOUTHS.items():
        path = shared_data / "grid" / f"{name}.mpg"
        crops = []
        with av.open(str(path)) as container:
            for frame in container.decode(video=0):
                grey = frame.to_ndarray(format="gray")
                crop = grey[top : top + width, left : left + width]
                crops += [crop, crop]  # 25 pictures per second
        sound = sound_motion(read_audio(path, sample_rate=RATE), RATE)
        tracks.append((sound[:148], lip_motion(np.stack(crops))[:148]))
    return tracks


def test_each_talker_is_in_step(talkers):
    """Three seconds do not make it sure, but hardly mislead."""
    lags = [estimate_lag(*tracks).lag_s for tracks in talkers]
    assert np.abs(lags).max() < 0.08
    assert abs(np.median(lags)) < 0.03


@pytest.mark.parametrize("late", [-10, 0, 10])
def test_all_talkers_together_tell_a_lag(talkers, late):
    sound = np.concatenate([sound for sound, _ in talkers])
    lips = np.concatenate(
        [shift_frames(lips, -0.02 * late) for _, lips in talkers]
    )
    lag = estimate_lag(sound, lips)
    assert lag.sure
    assert lag.lag_s == pytest.approx(0.02 * late, abs=0.03)


def test_strangers_are_not_sure(talkers):
    for turn in range(1, 6):
        sound = np.concatenate([sound for sound, _ in talkers])
        others = talkers[turn:] + talkers[:turn]
        lips = np.concatenate([lips for _, lips in others])
        assert not estimate_lag(sound, lips).sure
