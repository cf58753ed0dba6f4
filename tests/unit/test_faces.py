"""Finding and following faces, with a detector that sees bright squares."""

import sys

import cv2
import numpy as np
import pytest

from speechbrain_ext import faces
from speechbrain_ext.errors import ConfigError, DependencyError
from speechbrain_ext.faces import (
    EYE_DISTANCE,
    MOUTH_Y,
    Face,
    FaceTracker,
    HaarDetector,
    find_detector,
)

SIDE = 80  # of a face, in pixels
FPS = 25


def smooth_noise(shape, low, high, seed):
    noise = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), 2.5)
    return cv2.normalize(noise, None, low, high, cv2.NORM_MINMAX)


def scene(*people, background=0, shape=(240, 320)):
    """Dark picture with bright squares: (centre x, centre y, side) each."""
    picture = smooth_noise(shape, 0, 90, background)
    # Without something large that stays, a face that comes looks like a cut.
    if background:
        picture[:, :15] = picture[:, -45:] = 250
    else:
        picture[:15] = picture[-45:] = 250
    for number, (x, y, side) in enumerate(people):
        face = smooth_noise((SIDE, SIDE), 150, 255, 100 + number)
        scale = side / SIDE
        # Centres of pixels have whole coordinates.
        matrix = np.float32(
            [
                [scale, 0, x - scale * (SIDE - 1) / 2],
                [0, scale, y - scale * (SIDE - 1) / 2],
            ]
        )
        cv2.warpAffine(
            face,
            matrix,
            shape[::-1],
            picture,
            borderMode=cv2.BORDER_TRANSPARENT,
        )
    return picture.astype(np.uint8)


class Squares:
    """A detector of bright squares."""

    name = "squares"
    step_s, steady_s, local = 0.2, 1.0, True

    def __init__(self, wobble=0.0, score=1.0):
        self.rng = np.random.default_rng(7)
        self.wobble, self.score = wobble, score
        self.blind, self.calls = False, 0

    def detect(self, gray, smallest=0.1):
        self.calls += 1
        if self.blind:
            return []
        _, _, boxes, _ = cv2.connectedComponentsWithStats(
            (gray > 120).astype(np.uint8)
        )
        found = []
        for left, top, width, height, area in boxes[1:].tolist():
            square = abs(width - height) <= 0.1 * width
            if width < smallest * min(gray.shape) or not square:
                continue
            if area < 0.9 * width * height:
                continue
            # A box from the middle of a pixel to that of another.
            dx, dy = self.wobble * self.rng.uniform(-1, 1, 2)
            box = (left - 0.5 + dx, top - 0.5 + dy, width, height)
            found.append(Face(box, self.score))
        return found


class EveryPicture(Squares):
    """As detectors of landmarks are."""

    step_s, steady_s, local = 0.0, 0.0, False


def mouth_of(x, y, side):
    return complex(x, y + (MOUTH_Y - 0.5) * side)


def follow(pictures, detector=None, times=None):
    tracker = FaceTracker(detector or Squares())
    if times is None:
        times = np.arange(len(pictures)) / FPS
    for picture, time in zip(pictures, times, strict=True):
        tracker.add(picture, time)
    return tracker.finish()


def test_pose_by_the_proportions_of_a_face():
    mouth, eyes = Face((100, 50, 200, 200)).pose()
    assert mouth == pytest.approx(200 + (50 + 0.81 * 200) * 1j)
    assert eyes == pytest.approx(71)
    # Eyes on a slope of 3 to 4 turn the way to the mouth; the box, 100 wide,
    # expects them 35.5 apart, they are 45: 40.25.
    tilted = Face((0, 0, 100, 100), eyes=(20 + 10j, 56 + 37j))
    mouth, eyes = tilted.pose()
    assert eyes == pytest.approx(40.25 * (0.8 + 0.6j))
    assert mouth == pytest.approx(38 + 23.5j + 42 * (0.8j - 0.6))
    seen = Face((0, 0, 100, 100), mouth=50 + 90j)
    assert seen.pose()[0] == 50 + 90j


@pytest.mark.parametrize("kind", [Squares, EveryPicture])
def test_a_moving_face(kind):
    """It goes to the right, and grows from 80 to 104 pixels."""
    ways = [(100 + 2 * k, 100 + 0.5 * k, SIDE * 1.005**k) for k in range(50)]
    detector = kind()
    way = follow([scene(w) for w in ways], detector)
    truth = np.array([mouth_of(*w) for w in ways])
    assert np.abs(way.mouth - truth).max() < 2
    sizes = np.abs(way.eyes) / EYE_DISTANCE
    assert np.abs(sizes / [w[2] for w in ways] - 1).max() < 0.05
    assert np.abs(np.angle(way.eyes, deg=True)).max() < 1
    assert (way.confidence > 0.8).all() and way.cuts == []
    # Ten looks in two seconds, and some at the whole picture.
    assert detector.calls == 50 if kind is EveryPicture else 10


def test_what_the_detector_says_wobbles_and_the_way_does_not():
    pictures = [scene((150 + k, 110, SIDE)) for k in range(50)]
    way = follow(pictures, Squares(wobble=5))
    truth = np.array([mouth_of(150 + k, 110, SIDE) for k in range(50)])
    away = way.mouth - truth
    assert np.abs(away).max() < 4
    assert np.abs(np.diff(away)).max() < 0.6


def test_a_cut_is_not_smoothed_over():
    pictures = [scene((80, 100, SIDE))] * 20
    pictures += [scene((220, 130, SIDE), background=1)] * 20
    way = follow(pictures)
    assert way.cuts == [20]
    places = [mouth_of(80, 100, SIDE), mouth_of(220, 130, SIDE)]
    away = way.mouth - np.repeat(places, 20)
    assert np.abs(away).max() < 1 and (way.confidence > 0.7).all()


def test_light_that_goes_on_is_no_cut():
    picture = scene((150, 110, SIDE))
    pictures = [picture // 2] * 10 + [picture] * 10
    assert follow(pictures, EveryPicture()).cuts == []


def test_the_larger_face_of_the_shot_is_followed_from_first_to_last():
    """The smaller one is there first, alone, and last, alone."""
    small, large = (70, 100, 50), (220, 120, 100)
    pictures = [scene(small)] * 15 + [scene(small, large)] * 40
    pictures += [scene(small)] * 15
    way = follow(pictures)
    assert way.cuts == []
    present = way.confidence > 0
    # Looks are 0.2 s = 5 pictures apart, those around 1 s.
    assert not present[:15].any() and not present[60:].any()
    assert present[40:55].all()
    assert np.abs(way.mouth[present] - mouth_of(*large)).max() < 1
    assert way.others[present].all()
    alone = follow([scene(large)] * 40)
    assert not alone.others.any()
    assert way.confidence[45] == pytest.approx(0.6 * alone.confidence[20], 0.1)


def test_the_central_one_of_equal_faces_is_followed():
    way = follow([scene((60, 120, SIDE), (170, 120, SIDE))] * 30)
    assert np.abs(way.mouth - mouth_of(170, 120, SIDE)).max() < 1
    assert way.others.all()


def test_short_losses_are_bridged_and_long_ones_are_missing():
    face = (150, 110, SIDE)
    seen, gone = scene(face), scene()
    way = follow([seen] * 25 + [gone] * 5 + [seen] * 25)
    assert (way.confidence > 0).all()
    assert np.abs(way.mouth - mouth_of(*face)).max() < 1
    assert way.confidence[27] <= 0.5 < way.confidence[20]
    way = follow([seen] * 25 + [gone] * 25 + [seen] * 25)
    present = way.confidence > 0
    assert present[:25].all() and not present[25:50].any()
    # Found again within a tenth of a second.
    assert present[53:].all()
    assert np.isnan(way.mouth[~present]).all()


def test_a_head_turned_away_is_missing_though_its_motion_is_known():
    """The picture stays, but the detector sees no face in it for 1.6 s."""
    tracker = FaceTracker(Squares())
    picture = scene((150, 110, SIDE))
    for k in range(100):
        tracker.detector.blind = 25 <= k < 65
        tracker.add(picture, k / FPS)
    present = tracker.finish().confidence > 0
    # 0.2 s after the last sighting, at picture 20.
    assert present[:26].all() and not present[26:65].any()
    assert present[68:].all()
    # For 0.8 s, its motion is good enough.
    tracker = FaceTracker(Squares())
    for k in range(100):
        tracker.detector.blind = 25 <= k < 45
        tracker.add(picture, k / FPS)
    confidence = tracker.finish().confidence
    assert (confidence > 0).all() and confidence[35] < confidence[15] - 0.2


def test_another_face_elsewhere_is_not_taken_for_the_same():
    """One leaves on the left, another one enters on the right."""
    first, second = (60, 120, 70), (270, 120, 60)
    way = follow([scene(first)] * 40 + [scene()] * 30 + [scene(second)] * 30)
    present = way.confidence > 0
    assert present[:40].all() and not present[42:].any()


def test_what_is_rarely_or_hardly_seen_is_no_face():
    picture = scene((150, 110, SIDE))
    assert not follow([picture] * 30, Squares(score=0.2)).confidence.any()
    tracker = FaceTracker(Squares())
    for k in range(50):
        tracker.detector.blind = k > 5
        tracker.add(picture, k / FPS)
    assert not tracker.finish().confidence.any()
    # But a shot may be as short as that.
    assert follow([picture]).confidence.all()
    short = follow([scene((220, 130, SIDE), background=1)] * 20 + [picture] * 5)
    assert short.cuts == [20] and short.confidence.all()


def test_any_rate_of_pictures():
    """Uneven times, 10 to 60 pictures per second, and still on the way."""
    rng = np.random.default_rng(3)
    times = np.cumsum(rng.uniform(1 / 60, 1 / 10, 50))
    ways = [(100 + 30 * t, 120, SIDE) for t in times]
    way = follow([scene(w) for w in ways], times=times)
    truth = np.array([mouth_of(*w) for w in ways])
    assert np.abs(way.mouth - truth).max() < 1.5


def test_nothing_at_all():
    way = FaceTracker(Squares()).finish()
    assert len(way.mouth) == len(way.confidence) == 0 and way.cuts == []


def test_haar_passes_over_noise():
    noise = smooth_noise((200, 300), 0, 255, 5).astype(np.uint8)
    assert HaarDetector().detect(noise) == []


def test_haar_says_what_is_missing(monkeypatch, tmp_path):
    monkeypatch.setattr(cv2.data, "haarcascades", f"{tmp_path}/")
    with pytest.raises(DependencyError, match="lacks the cascade"):
        find_detector("haar")
    monkeypatch.delattr(cv2, "CascadeClassifier")
    with pytest.raises(DependencyError, match="has no face cascades: pip"):
        find_detector("auto")


def test_landmarks_where_mediapipe_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    with pytest.raises(DependencyError, match="mediapipe==0.10.21") as caught:
        find_detector("landmarks")
    assert "\n" not in str(caught.value)
    assert find_detector("auto").name == "haar"
    with pytest.raises(ConfigError, match="'eyes' is unknown: use auto"):
        find_detector("eyes")


class Mesh:
    """A face mesh whose eyes, nose and lips stand where one says."""

    def __init__(self, nose_x):
        self.points = np.full((468, 2), np.nan)
        self.points[[33, 133]] = [(0.30, 0.4), (0.40, 0.4)]
        self.points[[362, 263]] = [(0.60, 0.4), (0.70, 0.4)]
        self.points[1] = (nose_x, 0.5)
        self.points[list(faces.LandmarkDetector._LIPS)] = (0.5, 0.7)
        self.points = np.nan_to_num(self.points)

    def process(self, picture):
        assert picture.shape == (100, 200, 3)
        point = type("Point", (), {})
        landmark = []
        for x, y in self.points:
            landmark.append(point())
            landmark[-1].x, landmark[-1].y = x, y
        mesh = type("Landmarks", (), {"landmark": landmark})
        return type("Found", (), {"multi_face_landmarks": [mesh]})


def test_landmarks_and_profiles():
    """Eyes at x = 70 and 130 of 200 pixels, y = 40 of 100."""
    detector = object.__new__(faces.LandmarkDetector)
    gray = np.zeros((100, 200), np.uint8)
    detector.mesh = Mesh(nose_x=0.5)
    (face,) = detector.detect(gray)
    mouth, eyes = face.pose()
    assert mouth == pytest.approx(100 + 70j) and eyes == pytest.approx(60)
    # The nose beside an eye: a profile.
    detector.mesh = Mesh(nose_x=0.72)
    assert detector.detect(gray) == []
