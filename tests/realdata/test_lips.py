"""Mouth crops of real faces, judged by what is in the crops.

The mouth is found in them by means that took no part in making them: the line
between the lips is the darkest horizontal line of the face's lower half.
"""

import cv2
import numpy as np
import pytest

from speechbrain_ext.faces import FaceTracker, HaarDetector
from speechbrain_ext.video import Video, missing_frames, mouth_crops

pytestmark = pytest.mark.realdata

CLIPS = ["bbaf2n", "brbk7n", "lbax4n", "lbbc2a", "lrwp9a", "lwbsza"]


@pytest.fixture(scope="module")
def tracks(shared_data):
    return {
        clip: mouth_crops(shared_data / "grid" / f"{clip}.mpg", "haar")
        for clip in CLIPS
    }


def line_between_lips(crop):
    """Row of the darkest valley between nose and chin, and its middle."""
    smooth = cv2.GaussianBlur(crop.astype(np.float32), (0, 0), 2)
    # How much darker than 7 pixels above and below, over 40 columns.
    rows = np.arange(28, 76)
    valley = smooth[rows - 7] + smooth[rows + 7] - 2 * smooth[rows]
    row = valley[:, 28:68].clip(0, None).mean(axis=1).argmax()
    weights = valley[row].clip(0, None)
    weights = np.where(weights > 0.3 * weights.max(), weights, 0)
    columns = np.arange(crop.shape[1])
    return rows[row], (weights * columns).sum() / weights.sum()


def follow(path, count, change):
    """Way of the face in changed pictures."""
    tracker = FaceTracker(HaarDetector())
    for picture in list(Video(path).pictures())[:count]:
        tracker.add(np.ascontiguousarray(change(picture.gray)), picture.time)
    return tracker.finish()


@pytest.mark.parametrize("clip", CLIPS)
def test_every_frame_shows_the_mouth(tracks, clip):
    track = tracks[clip]
    assert track.crops.shape == (150, 96, 96)
    assert not missing_frames(track.crops).any() and track.cuts == ()
    assert track.confidence.min() > 0.5 and track.notes == ()
    found = np.array([line_between_lips(crop) for crop in track.crops])
    # An open mouth has its darkest line below the upper lip.
    middle = np.median(found, axis=0)
    assert np.abs(middle - 48).max() < 10
    assert np.mean(np.abs(found[:, 0] - 48) < 14) > 0.9


@pytest.mark.parametrize("clip", CLIPS)
def test_the_crop_does_not_tremble(tracks, clip):
    """Heads move by 1 px between frames; accelerations would be trembling."""
    track = tracks[clip]
    scale = 63 / track.eye_distances[:, None]
    # Two frames show one picture.
    way = (track.centres * scale)[::2]
    assert np.abs(np.diff(way, axis=0)).max() < 2
    assert np.abs(np.diff(way, 2, axis=0)).max() < 0.5
    sizes = track.eye_distances
    assert sizes.max() / sizes.min() < 1.1
    assert np.abs(np.diff(track.angles[::2])).max() < 0.5


def test_mirrored_faces_give_mirrored_crops(shared_data):
    """Left and right are alike to nothing but the cascades' training."""
    path = shared_data / "grid" / "lrwp9a.mpg"
    plain = follow(path, 30, lambda gray: gray)
    mirrored = follow(path, 30, lambda gray: gray[:, ::-1])
    width = 360
    back = width - 1 - mirrored.mouth.real + 1j * mirrored.mouth.imag
    assert np.abs(back - plain.mouth).max() < 0.1 * np.abs(plain.eyes).min()


@pytest.mark.parametrize("degrees", [-25, 20])
def test_a_tilted_head(shared_data, degrees):
    """The crop is the same as that of the upright picture."""
    path = shared_data / "grid" / "brbk7n.mpg"
    turn = cv2.getRotationMatrix2D((180, 144), degrees, 1)
    upright = follow(path, 25, lambda gray: gray)
    tilted = follow(
        path,
        25,
        lambda gray: cv2.warpAffine(
            gray, turn, (360, 288), borderMode=cv2.BORDER_REPLICATE
        ),
    )
    scale = complex(turn[0, 0], turn[1, 0])
    shift = complex(turn[0, 2], turn[1, 2])
    size = np.abs(upright.eyes).min()
    away = tilted.mouth - (scale * upright.mouth + shift)
    assert (tilted.confidence > 0.5).all()
    assert np.abs(away).max() < 0.12 * size
    angles = np.angle(tilted.eyes / upright.eyes / scale, deg=True)
    assert np.abs(angles).max() < 4


def test_no_face_is_seen_upside_down(shared_data):
    way = follow(
        shared_data / "grid" / "bbaf2n.mpg", None, lambda gray: gray[::-1]
    )
    assert not way.confidence.any()


def test_both_detectors_agree(shared_data, tracks):
    pytest.importorskip("mediapipe.python.solutions.face_mesh")
    for clip in CLIPS[:2]:
        path = shared_data / "grid" / f"{clip}.mpg"
        track = mouth_crops(path, "landmarks")
        size = track.eye_distances.mean()
        away = np.abs(track.centres - tracks[clip].centres)
        assert away.mean() < 0.1 * size
