"""Finding faces in pictures and following one of them through a video.

A detector looks at one grey picture and gives the faces in it; `FaceTracker`
decides where and when it looks, follows each face by optical flow in between,
and gives the way of one mouth. Anything with the method `detect` of
`HaarDetector` will do as a detector.

Points and similarity transforms are complex numbers: z = x + iy in pixels, x
to the right and y downwards; a transform takes z to a z + b.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from speechbrain_ext.errors import (
    ConfigError,
    DependencyError,
    optional_library,
)

# The box that OpenCV's cascade for frontal faces draws (`alt2`), in shares of
# its side: where it has learnt to expect eyes and mouth.
EYES_Y = 0.39
EYE_DISTANCE = 0.355
MOUTH_Y = 0.81

# A face that is being followed is shown to the detector upright, so many
# pixels wide, in the middle of a square picture.
_PATCH, _PATCH_FACE = 200, 100

# Seconds between two looks at the whole picture, for other faces.
_LOOK_AROUND_S = 1.0

# No face is followed by its motion alone for longer: with so many seconds
# between two sightings there is no face, such as of a head turned away.
MAX_UNSEEN_S = 1.0

# ... nor before its first and after its last sighting for longer than this.
_EDGE_S = 0.2

# Where the motion is not known, a way of so many seconds is drawn straight.
MAX_GAP_S = 0.4

# Length of the smoothing window: 12 frames of the 50 per second.
SMOOTH_S = 0.24

# Standard deviation of the blur against noise, in pixels.
_BLUR = 0.8

# Of sightings of something that is no face, few have eyes: patterns score 0.3.
_SIGHTINGS, _SURE = 3, 0.4

# Seconds after which a face that is gone is looked for less often.
_RECENT_S, _RARELY_S = 2.0, 0.5


class Face(NamedTuple):
    """A face as a detector sees it.

    Arguments
    ---------
    box : tuple of float
        Left, top, width and height in pixels: from above the eyebrows to the
        chin, as OpenCV's cascades draw it.
    score : float
        How sure the detector is, 0 to 1.
    eyes : tuple of complex, optional
        Their centres, first that on the left of the picture. Default: not
        seen.
    mouth : complex, optional
        Its centre. Default: not seen.

    Example
    -------
    >>> mouth, eyes = Face((100, 50, 200, 200)).pose()
    >>> print(f"{mouth:.0f} {eyes:.0f}")
    200+212j 71+0j
    """

    box: tuple[float, float, float, float]
    score: float = 1.0
    eyes: tuple[complex, complex] | None = None
    mouth: complex | None = None

    @property
    def centre(self) -> complex:
        """Middle of the box."""
        left, top, width, height = self.box
        return complex(left + width / 2, top + height / 2)

    def pose(self) -> tuple[complex, complex]:
        """Mouth and eye line, by the proportions of a face where not seen.

        Returns
        -------
        (complex, complex)
            Centre of the mouth, and the way from the left eye to the right
            one.
        """
        left, top, width, height = self.box
        line = complex(EYE_DISTANCE * width)
        middle = complex(left + width / 2, top + EYES_Y * height)
        if self.eyes is not None:
            seen = self.eyes[1] - self.eyes[0]
            middle = sum(self.eyes) / 2
            # Turning the head moves the eyes together but not the box.
            line = seen / abs(seen) * (abs(seen) + abs(line)) / 2
        mouth = self.mouth
        if mouth is None:
            down = 1j * line / abs(line)
            mouth = middle + (MOUTH_Y - EYES_Y) * height * down
        return mouth, line


class HaarDetector:
    """Frontal faces by the Haar cascades that come with OpenCV.

    Boosted cascades (Viola and Jones, CVPR 2001) for the face, then for eyes
    and mouth inside it. No download, no licence of a model to mind.

    Raises
    ------
    DependencyError
        If OpenCV is missing, or is 5 or newer, which has no cascades.

    Example
    -------
    >>> HaarDetector().detect(np.zeros((120, 160), np.uint8))
    []
    """

    name = "haar"
    step_s = 0.2  # looks this often; optical flow in between
    steady_s = 1.0  # averages what it saw within this time
    local = True  # wants faces that are followed upright and alone

    def __init__(self):
        if not hasattr(cv2, "CascadeClassifier"):
            raise DependencyError(
                f"OpenCV {cv2.__version__} has no face cascades: pip install "
                '"opencv-python-headless<5"'
            )

        def load(name):
            found = cv2.CascadeClassifier(
                f"{cv2.data.haarcascades}haarcascade_{name}.xml"
            )
            if found.empty():
                raise DependencyError(
                    f"OpenCV {cv2.__version__} lacks the cascade {name}: pip "
                    'install --force-reinstall "opencv-python-headless<5"'
                )
            return found

        self.faces = load("frontalface_alt2")
        self.eyes = [load("eye"), load("eye_tree_eyeglasses")]
        self.mouth = load("smile")

    def detect(self, gray, smallest=0.1) -> list[Face]:
        """Find faces.

        Arguments
        ---------
        gray : np.ndarray (height, width), uint8
        smallest : float
            Least width of a face as a share of the shorter side of the
            picture. Default: 0.1.

        Returns
        -------
        list of Face
            The surest first.
        """
        least = max(20, int(smallest * min(gray.shape)))
        boxes, counts = self.faces.detectMultiScale2(
            gray, 1.1, 3, minSize=(least, least)
        )
        order = (
            np.argsort(-np.ravel(counts), kind="stable") if len(boxes) else ()
        )
        found: list[Face] = []
        for index in order:
            left, top, width, height = map(float, boxes[index])
            centre = complex(left + width / 2, top + height / 2)
            # Of boxes in each other, the one found most often counts.
            if all(
                abs(centre - face.centre) > 0.5 * max(width, face.box[2])
                for face in found
            ):
                count = float(np.ravel(counts)[index])
                found.append(
                    self._face(gray, (left, top, width, height), count)
                )
        return found

    def _face(self, gray, box, count):
        """Look for eyes and mouth inside a face."""
        eyes = self._find_eyes(gray, box)
        # Cascades find a face in many places and sizes around the true one.
        sure = min(1.0, count / 12)
        score = 0.5 * (sure + (eyes is not None))
        face = Face(box, score, eyes)
        predicted, line = face.pose()
        seen = self._find_mouth(gray, predicted, line)
        if seen is None:
            return face
        # Both are about as exact, and their faults are not related.
        return face._replace(mouth=(predicted + seen) / 2)

    def _find_eyes(self, gray, box):
        """Centres of both eyes, or None."""
        left, top, width, height = box
        side = 96  # pixels wide: what follows takes the same time for all
        x, y = int(left), int(top + 0.15 * height)
        part = gray[y : y + int(0.45 * height), x : x + int(width)]
        scale = side / part.shape[1]
        part = cv2.resize(part, (side, round(part.shape[0] * scale)))
        # What both cascades say is averaged: their faults differ.
        votes: tuple[list[complex], list[complex]] = ([], [])
        for cascade in self.eyes:
            boxes = cascade.detectMultiScale(
                part, 1.1, 3, minSize=(15, 15), maxSize=(40, 40)
            )
            middles = [
                complex(a + w / 2, b + h / 2) / side + 0.15j
                for a, b, w, h in boxes
            ]
            for vote, share in zip(votes, (-0.5, 0.5), strict=True):
                expected = complex(0.5 + share * EYE_DISTANCE, EYES_Y)
                near = min(
                    middles, key=lambda z, e=expected: abs(z - e), default=0j
                )
                if abs(near - expected) < 0.14:
                    vote.append(near)
        if not all(votes):
            return None
        found = [sum(vote) / len(vote) for vote in votes]
        ratio = abs(found[1] - found[0]) / EYE_DISTANCE
        if not 0.7 < ratio < 1.35:
            return None
        corner = complex(x, y) - 0.15j * side / scale
        return tuple(corner + eye * side / scale for eye in found)

    def _find_mouth(self, gray, predicted, line):
        """Centre of the mouth near where it should be, or None."""
        # The lower half of the face, upright, with eyes 36 pixels apart.
        to_patch = 36 / line
        origin = 50 + 30j - to_patch * predicted
        part = warp(gray, to_patch, origin, (100, 60))
        boxes = self.mouth.detectMultiScale(
            part, 1.1, 8, minSize=(28, 14), maxSize=(70, 35)
        )
        if not len(boxes):
            return None
        middles = [complex(a + w / 2, b + h / 2) for a, b, w, h in boxes]
        middle = min(middles, key=lambda z: abs(z - 50 - 30j))
        if abs(middle - 50 - 30j) > 9:  # a quarter of the eyes' distance
            return None
        return (middle - origin) / to_patch


class LandmarkDetector:
    """Faces by the face mesh of MediaPipe 0.10.21 or earlier.

    Its wheel brings the network; later ones come without one. It declares
    NumPy 1 but works with 2, so it is installed beside the other packages
    without its own requirements, as the error says.

    Raises
    ------
    DependencyError
        If MediaPipe or its face mesh is missing.
    """

    name = "landmarks"
    step_s = 0.0  # looks at every picture
    steady_s = 0.0
    local = False

    INSTALL = (
        'pip install --no-deps "mediapipe==0.10.21" absl-py attrs flatbuffers '
        '"protobuf<5"'
    )

    # Corners of the eyes, tip of the nose and outer border of the lips in the
    # mesh of 468 points.
    _LEFT, _RIGHT, _NOSE = (33, 133), (362, 263), 1
    # fmt: off
    _LIPS = (
        61, 146, 91, 181, 84, 17, 314, 405, 321, 375,
        291, 409, 270, 269, 267, 0, 37, 39, 40, 185,
    )
    # fmt: on

    def __init__(self):
        try:
            module = optional_library(
                "mediapipe.python.solutions.face_mesh", "mediapipe"
            )
        except DependencyError:
            raise DependencyError(
                "the detector landmarks needs MediaPipe with its face mesh: "
                f"{self.INSTALL}"
            ) from None
        self.mesh = module.FaceMesh(static_image_mode=False, max_num_faces=4)

    def detect(self, gray, smallest=0.1) -> list[Face]:
        """Find faces.

        Arguments
        ---------
        gray : np.ndarray (height, width), uint8
            The pictures of one video, in order.
        smallest : float
            As in `HaarDetector.detect`.

        Returns
        -------
        list of Face
        """
        height, width = gray.shape
        picture = np.repeat(gray[:, :, None], 3, axis=2)
        meshes = self.mesh.process(picture).multi_face_landmarks or []
        faces = []
        for mesh in meshes:
            points = np.array(
                [complex(p.x * width, p.y * height) for p in mesh.landmark]
            )
            face = self._face(points)
            if face and face.box[2] >= smallest * min(gray.shape):
                faces.append(face)
        return faces

    def _face(self, points):
        """Face of the points of a mesh; None for a profile."""
        eyes = tuple(
            complex(points[list(corners)].mean())
            for corners in (self._LEFT, self._RIGHT)
        )
        line = eyes[1] - eyes[0]
        if not abs(line):
            return None
        # Where the tip of the nose stands between the eyes: 0 to 1.
        nose = ((points[self._NOSE] - eyes[0]) / line).real
        if not 0.0 < nose < 1.0:
            return None
        mouth = complex(points[list(self._LIPS)].mean())
        side = abs(line) / EYE_DISTANCE
        middle = sum(eyes) / 2 + 1j * line * (0.5 - EYES_Y) / EYE_DISTANCE
        box = (middle.real - side / 2, middle.imag - side / 2, side, side)
        return Face(box, 1.0, eyes, mouth)


DETECTORS = ("auto", "haar", "landmarks")


def find_detector(name="auto"):
    """Make a detector.

    Arguments
    ---------
    name : {"auto", "haar", "landmarks"}
        "auto" is landmarks where MediaPipe and its face mesh are installed,
        else haar. Default: "auto".

    Returns
    -------
    HaarDetector or LandmarkDetector

    Raises
    ------
    ConfigError
        If the name is unknown.
    DependencyError
        If what it needs is missing.

    Example
    -------
    >>> find_detector("haar").name
    'haar'
    """
    if name not in DETECTORS:
        raise ConfigError(
            f"detector {name!r} is unknown: use {', '.join(DETECTORS)}"
        )
    if name == "haar":
        return HaarDetector()
    try:
        return LandmarkDetector()
    except DependencyError:
        if name == "landmarks":
            raise
        return HaarDetector()


class FacePath(NamedTuple):
    """The way of a face through the pictures of a video.

    Arguments
    ---------
    mouth : np.ndarray (pictures,), complex128
        Centre of the mouth in pixels; NaN where there is no face.
    eyes : np.ndarray (pictures,), complex128
        The way from the left eye to the right one; NaN likewise.
    confidence : np.ndarray (pictures,), float64
        0 (no face) to 1.
    cuts : list of int
        Pictures that do not go on from the one before.
    others : np.ndarray (pictures,), bool
        Whether another face was in view.
    """

    mouth: np.ndarray
    eyes: np.ndarray
    confidence: np.ndarray
    cuts: list[int]
    others: np.ndarray


class _Chain:
    """A stretch of pictures through which the motion of a face is known."""

    def __init__(self, first):
        self.first = first
        # Similarities from the first picture to each.
        self.scales, self.shifts = [1.0 + 0j], [0j]
        self.sightings = []  # (picture, mouth, eyes, score)

    def move(self, scale, shift):
        self.scales.append(scale * self.scales[-1])
        self.shifts.append(scale * self.shifts[-1] + shift)


class _Person:
    """A face that is followed within one shot."""

    def __init__(self):
        self.chains = []
        self.alive = False
        self.mouth = self.line = 0j  # at the latest picture
        self.points = None
        self.seen_s = 0.0  # time of the latest sighting

    @property
    def size(self):
        return abs(self.line) / EYE_DISTANCE

    def see(self, index, time, face):
        """Take a sighting."""
        mouth, line = face.pose()
        if not self.alive:
            self.chains.append(_Chain(index))
            self.alive, self.points = True, None
        self.chains[-1].sightings.append((index, mouth, line, face.score))
        self.mouth, self.line, self.seen_s = mouth, line, time

    def scores(self):
        """Scores of all sightings, and when they were."""
        rows = [(s[0], s[3]) for c in self.chains for s in c.sightings]
        return np.array(rows, dtype=np.float64).reshape(-1, 2)

    def importance(self, shape):
        """How large and central the face was, summed over sightings."""
        middle = complex(shape[1], shape[0]) / 2
        total = 0.0
        for chain in self.chains:
            for _, mouth, line, score in chain.sightings:
                away = abs(mouth - middle) / (abs(middle) + 1e-9)
                total += score * abs(line) ** 2 * (1 - 0.5 * min(1.0, away))
        return total


class FaceTracker:
    """Follow the faces of a video, and choose one for each shot.

    Between two cuts, the face that is largest and most central over the whole
    shot is followed, and no other.

    Arguments
    ---------
    detector : HaarDetector, LandmarkDetector or the like
        Has `detect(gray, smallest)` and the attributes `step_s` (seconds from
        one look to the next), `steady_s` (what it saw is averaged over so many
        seconds to each side, moved along by optical flow) and `local` (whether
        faces that are followed are shown to it one by one, upright).

    Example
    -------
    >>> tracker = FaceTracker(find_detector("haar"))
    >>> for k in range(5):
    ...     tracker.add(np.zeros((120, 160), np.uint8), k / 25)
    >>> tracker.finish().confidence.tolist()
    [0.0, 0.0, 0.0, 0.0, 0.0]
    """

    def __init__(self, detector):
        self.detector = detector
        self._unseen_s = MAX_UNSEEN_S if detector.local else MAX_GAP_S
        self.times: list[float] = []
        self.cuts: list[int] = []
        self._parts: list[FacePath] = []
        self._previous = self._thumb = None
        self._begin_shot()

    def _begin_shot(self):
        self._first = len(self.times)
        self._people: list[_Person] = []
        self._looked = self._looked_around = -np.inf
        self._looks = 0

    def add(self, picture, time) -> None:
        """Take the next picture.

        Arguments
        ---------
        picture : np.ndarray (height, width), uint8
            All of one size; some hundred pixels high are enough.
        time : float
            Seconds, growing.
        """
        # Cascades and flow lose faces in noise long before a person does.
        picture = cv2.GaussianBlur(picture, (0, 0), _BLUR)
        thumb = _thumbnail(picture)
        if self._thumb is not None and _differ(self._thumb, thumb):
            self._close_shot()
            self.cuts.append(len(self.times))
            self._begin_shot()
        index = len(self.times)
        self.times.append(float(time))
        self._shape = picture.shape
        for person in self._people:
            if person.alive:
                self._move(person, picture, time)
        # Half a millisecond for the rounding of time stamps.
        if time - self._looked >= self._step(time) - 5e-4:
            self._look(picture, index, time)
        self._previous, self._thumb = picture, thumb

    def finish(self) -> FacePath:
        """End the video.

        Returns
        -------
        FacePath
        """
        self._close_shot()
        self._begin_shot()
        parts = zip(*[p for p in self._parts if len(p.mouth)], strict=True)
        columns = [np.concatenate(c) for k, c in enumerate(parts) if k != 3]
        if not columns:
            columns = [np.zeros(0, complex)] * 2 + [np.zeros(0)] * 2
        mouth, eyes, confidence, others = columns
        return FacePath(mouth, eyes, confidence, self.cuts, others.astype(bool))

    def _move(self, person, picture, time):
        """Carry a face from the previous picture to this one."""
        if time - person.seen_s > self._unseen_s:
            person.alive = False
            return
        if not self.detector.local:
            person.chains[-1].move(1.0 + 0j, 0j)
            return
        moved = _motion(self._previous, picture, person)
        if moved is None:
            person.alive = False
            return
        scale, shift = moved
        person.chains[-1].move(scale, shift)
        person.mouth = scale * person.mouth + shift
        person.line = scale * person.line

    def _step(self, time):
        """Seconds from one look to the next."""
        step = self.detector.step_s
        if any(person.alive for person in self._people):
            return step
        latest = max(
            (person.seen_s for person in self._people),
            default=self.times[self._first],
        )
        if time - latest > _RECENT_S:
            return max(step, _RARELY_S)
        # One that was just lost is to be found before the gap is too long.
        return step / 2 if self._people else step

    def _look(self, picture, index, time):
        """Let the detector look, and tell whom it saw."""
        self._looked = time
        self._looks += 1
        living = [p for p in self._people if p.alive]
        around = (
            not self.detector.local
            or not living
            or time - self._looked_around >= _LOOK_AROUND_S - 5e-4
        )
        if not around:
            for person in living:
                seen = self._look_at(person, picture)
                if seen is not None:
                    person.see(index, time, seen)
            return
        self._looked_around = time
        faces = self.detector.detect(picture)
        best = max((face.score for face in faces), default=0.0)
        if self.detector.local and best < 0.5 and not living:
            # To both sides where a shot begins, else in turn.
            sides = (1, -1) if self._looks < 4 else ((-1) ** self._looks,)
            for side in sides:
                tilted = self._look_tilted(picture, side)
                score = max((face.score for face in tilted), default=0.0)
                if score > best:
                    best, faces = score, tilted
        self._recognise(faces, picture, index, time)

    def _look_at(self, person, picture):
        """Show a face upright to the detector; give the face it is, or None."""
        turn = _PATCH_FACE * EYE_DISTANCE / person.line
        middle = person.mouth - 1j * person.line * (
            (MOUTH_Y - 0.5) / EYE_DISTANCE
        )
        shift = _PATCH / 2 * (1 + 1j) - turn * middle
        patch = warp(picture, turn, shift, (_PATCH, _PATCH))
        faces = self.detector.detect(patch, 0.35)
        faces = [_carried(face, 1 / turn, -shift / turn) for face in faces]
        return min(
            (f for f in faces if _near(person, f, 0.5)),
            key=lambda face: abs(face.pose()[0] - person.mouth),
            default=None,
        )

    def _look_tilted(self, picture, side):
        """Look for heads that lean to one side (1) or the other (-1)."""
        height, width = picture.shape
        turn = np.exp(1j * np.deg2rad(25.0 * side))
        middle = complex(width, height) / 2
        shift = middle - turn * middle
        tilted = warp(picture, turn, shift, (width, height))
        faces = self.detector.detect(tilted)
        return [_carried(face, 1 / turn, -shift / turn) for face in faces]

    def _recognise(self, faces, picture, index, time):
        """Give each face to the person that it belongs to."""
        left = list(faces)
        for alive in (True, False):
            people = [p for p in self._people if p.alive is alive]
            pairs = []
            for face in left:
                for person in people:
                    away = time - person.seen_s
                    reach = 0.5 if alive else min(2.0, 0.6 + away)
                    if _near(person, face, reach):
                        distance = abs(face.pose()[0] - person.mouth)
                        pairs.append((distance, id(face), face, person))
            for _, _, face, person in sorted(pairs, key=lambda p: p[:2]):
                if person in people and any(face is f for f in left):
                    people.remove(person)
                    left = [f for f in left if f is not face]
                    person.see(index, time, face)
        living = [p for p in self._people if p.alive]
        for face in left:
            # Not a second box on a face that is known.
            if all(
                abs(face.pose()[0] - p.mouth) > 0.5 * p.size for p in living
            ):
                person = _Person()
                person.see(index, time, face)
                self._people.append(person)

    def _close_shot(self):
        """Choose the face of the shot, and work out its way."""
        times = np.array(self.times[self._first :])
        count = len(times)
        if not count:
            return
        people = [p for p in self._people if _is_face(p, self._looks)]
        chosen = max(
            people, key=lambda p: p.importance(self._shape), default=None
        )
        others = np.zeros(count, dtype=bool)
        for person in people:
            if person is not chosen:
                others |= _in_view(person, times, self._first)
        if chosen is None:
            nothing = np.full(count, np.nan + 0j)
            part = (nothing, nothing.copy(), np.zeros(count))
        else:
            part = self._way(chosen, times)
        mouth, eyes, confidence = part
        confidence = np.where(others, 0.6, 1.0) * confidence
        self._parts.append(
            FacePath(mouth, eyes, confidence, [], others & (confidence > 0))
        )

    def _way(self, person, times):
        """Mouth, eye line and confidence of a person in a shot's pictures."""
        count = len(times)
        mouth = np.full(count, np.nan + 0j)
        eyes = mouth.copy()
        confidence = np.zeros(count)
        limits = (
            self.detector.steady_s,
            self._unseen_s,
            min(_EDGE_S, self.detector.step_s),
        )
        for chain in person.chains:
            start = chain.first - self._first
            here = slice(start, start + len(chain.scales))
            found = _chain_way(chain, times[here], *limits)
            mouth[here], eyes[here], confidence[here] = found
        _bridge(times, mouth, eyes, confidence)
        for begin, end in _runs(confidence > 0):
            for values in (mouth, eyes):
                values[begin:end] = _smooth(values[begin:end], times[begin:end])
        return mouth, eyes, confidence


def _is_face(person, looks):
    """Whether what was seen is a face, and no pattern that looks like one."""
    scores = person.scores()[:, 1]
    return len(scores) >= min(_SIGHTINGS, looks) and scores.mean() >= _SURE


def _in_view(person, times, first):
    """Pictures between sightings that are not far apart."""
    seen = times[person.scores()[:, 0].astype(int) - first]
    before = np.searchsorted(seen, times, side="right") - 1
    after = np.searchsorted(seen, times)
    inside = (before >= 0) & (after < len(seen))
    before, after = np.clip(before, 0, None), np.clip(after, 0, len(seen) - 1)
    gap = seen[after] - seen[before]
    nearest = np.minimum(
        np.abs(times - seen[before]), np.abs(seen[after] - times)
    )
    return (nearest <= _EDGE_S) | (inside & (gap <= 2 * _LOOK_AROUND_S))


def _chain_way(chain, times, steady_s, unseen_s, edge_s):
    """Mouth, eye line and confidence in the pictures of a chain."""
    rows = chain.sightings
    at = np.array([row[0] for row in rows]) - chain.first
    scales, shifts = np.array(chain.scales), np.array(chain.shifts)
    # Where each sighting would have been in the first picture of the chain.
    mouths = (np.array([row[1] for row in rows]) - shifts[at]) / scales[at]
    lines = np.array([row[2] for row in rows]) / scales[at]
    scores = np.array([row[3] for row in rows], dtype=np.float64)
    if steady_s:
        kept = _agreeing(mouths, lines)
        at, mouths, lines, scores = (
            values[kept] for values in (at, mouths, lines, scores)
        )
    seen = times[at]
    mouth = scales * _steady(seen, mouths, scores, times, steady_s) + shifts
    eyes = scales * _steady(seen, lines, scores, times, steady_s)
    before = np.searchsorted(seen, times, side="right") - 1
    after = np.searchsorted(seen, times)
    since = times - seen[np.clip(before, 0, None)]
    until = seen[np.clip(after, None, len(seen) - 1)] - times
    inside = (before >= 0) & (after < len(seen))
    nearest = np.where(
        inside,
        np.minimum(since, until),
        np.maximum(np.abs(since), np.abs(until)),
    )
    present = np.where(
        inside, since + until <= unseen_s + 5e-4, nearest <= edge_s + 5e-4
    )
    confidence = np.interp(times, seen, scores)
    # Trust goes down to half in the middle of the longest gap.
    confidence *= 1 - np.clip(nearest, 0, MAX_UNSEEN_S / 2) / MAX_UNSEEN_S
    confidence = np.where(present, np.clip(confidence, 0.01, 1.0), 0.0)
    hidden = confidence == 0
    mouth[hidden] = eyes[hidden] = np.nan
    return mouth, eyes, confidence


def _agreeing(mouths, lines):
    """Sightings that do not contradict most others."""
    size = np.median(np.abs(lines))
    centre = np.median(mouths.real) + 1j * np.median(mouths.imag)
    # Half an eye distance: drift of the flow is less, another face is more.
    kept = (np.abs(mouths - centre) < 0.5 * size) & (
        np.abs(np.log(np.abs(lines) / size)) < 0.4
    )
    return kept if kept.any() else np.ones(len(mouths), dtype=bool)


def _steady(seen, values, weights, times, steady_s):
    """Weighted mean of the values seen around each time."""
    straight = np.interp(times, seen, values.real) + 1j * np.interp(
        times, seen, values.imag
    )
    if not steady_s:
        return straight
    result = straight
    # In blocks: an hour has many sightings, of which each time needs few.
    for begin in range(0, len(times), 512):
        block = times[begin : begin + 512]
        low, high = np.searchsorted(
            seen, (block[0] - steady_s, block[-1] + steady_s)
        )
        near = 1 - np.abs(block[:, None] - seen[None, low:high]) / steady_s
        near = np.clip(near, 0, None) * (weights[low:high] + 1e-3)
        total = near.sum(axis=1)
        mean = near @ values[low:high] / np.where(total > 0, total, 1)
        result[begin : begin + 512] = np.where(
            total > 0, mean, straight[begin : begin + 512]
        )
    return result


def _bridge(times, mouth, eyes, confidence):
    """Draw a straight way over short gaps, in place."""
    for begin, end in _runs(confidence == 0):
        if begin == 0 or end == len(times):
            continue
        ends = [begin - 1, end]
        size = abs(eyes[begin - 1])
        near = abs(mouth[end] - mouth[begin - 1]) < 2 * size
        if times[end] - times[begin - 1] > MAX_GAP_S + 1e-6 or not near:
            continue
        for values in (mouth, eyes):
            values[begin:end] = np.interp(
                times[begin:end], times[ends], values[ends]
            )
        confidence[begin:end] = 0.5 * confidence[ends].min()


def _smooth(values, times):
    """Weighted mean over the smoothing window, narrower at the ends."""
    half = SMOOTH_S / 2
    count = len(values)
    if count < 3:
        return values
    step = max(np.median(np.diff(times)), 1e-3)
    reach = min(count - 1, int(np.ceil(half / step)))
    total, weight = np.zeros(count, complex), np.zeros(count)
    # As wide to the left as to the right, so that nothing is pulled inwards.
    room = np.minimum(times - times[0], times[-1] - times) + step / 2
    limit = np.minimum(half, room)
    for offset in range(-reach, reach + 1):
        index = np.arange(max(0, -offset), min(count, count - offset))
        away = np.abs(times[index + offset] - times[index]) / limit[index]
        near = np.where(away < 1, np.cos(np.pi / 2 * np.minimum(away, 1)), 0)
        total[index] += near**2 * values[index + offset]
        weight[index] += near**2
    return total / weight


def _runs(mask):
    """Stretches of a mask that are True: (begin, end) each."""
    edges = np.flatnonzero(np.diff(np.r_[0, mask.astype(int), 0]))
    return edges.reshape(-1, 2).tolist()


def _near(person, face, reach):
    """Whether a face can be that of a person, so many face widths away."""
    mouth, line = face.pose()
    ratio = abs(line) / abs(person.line)
    return (
        abs(mouth - person.mouth) <= reach * person.size and 0.6 < ratio < 1.67
    )


def _carried(face, scale, shift):
    """Apply a similarity transform to a face."""
    middle = scale * face.centre + shift
    width, height = (abs(scale) * side for side in face.box[2:])
    box = (middle.real - width / 2, middle.imag - height / 2, width, height)
    # Its eyes and mouth are where the upright picture has them.
    mouth, line = face.pose()
    eyes = face.eyes
    if eyes is None:
        above = mouth - 1j * line * (MOUTH_Y - EYES_Y) / EYE_DISTANCE
        eyes = (above - line / 2, above + line / 2)
    return Face(
        box,
        face.score,
        tuple(scale * eye + shift for eye in eyes),
        scale * mouth + shift,
    )


def _motion(before, after, person):
    """Similarity transform of a face from one picture to the next, or None."""
    if person.points is None or len(person.points) < 15:
        person.points = _points(before, person)
    points = person.points
    if len(points) < 6:
        return None
    options = {"winSize": (15, 15), "maxLevel": 3}
    moved, ok, _ = cv2.calcOpticalFlowPyrLK(
        before, after, points, None, **options
    )
    back, ok_back, _ = cv2.calcOpticalFlowPyrLK(
        after, before, moved, None, **options
    )
    away = np.abs(back - points).max(axis=(1, 2))
    good = (ok.ravel() == 1) & (ok_back.ravel() == 1) & (away < 1)
    if good.sum() < max(6, 0.3 * len(points)):
        return None
    matrix, inliers = cv2.estimateAffinePartial2D(
        points[good], moved[good], ransacReprojThreshold=1.0
    )
    if matrix is None or inliers.sum() < max(6, 0.5 * good.sum()):
        return None
    scale = complex(matrix[0, 0], matrix[1, 0])
    shift = complex(matrix[0, 2], matrix[1, 2])
    jump = abs(scale * person.mouth + shift - person.mouth)
    if not 0.8 < abs(scale) < 1.25 or jump > 0.4 * person.size:
        return None
    person.points = moved[good][inliers.ravel() == 1]
    return scale, shift


def _points(picture, person):
    """Points of the upper face that can be followed, (points, 1, 2)."""
    size = person.size
    # Between eyebrows and nostrils: the mouth moves by itself.
    middle = person.mouth - 1j * person.line * (0.40 / EYE_DISTANCE)
    height, width = picture.shape
    left = int(np.clip(middle.real - 0.33 * size, 0, width - 1))
    right = int(np.clip(middle.real + 0.33 * size, left + 1, width))
    top = int(np.clip(middle.imag - 0.24 * size, 0, height - 1))
    bottom = int(np.clip(middle.imag + 0.24 * size, top + 1, height))
    found = cv2.goodFeaturesToTrack(
        picture[top:bottom, left:right], 60, 0.01, max(2.0, size / 24)
    )
    if found is None:
        return np.zeros((0, 1, 2), np.float32)
    return found + np.float32([[[left, top]]])


def _thumbnail(picture):
    """Small picture that tells one shot from another."""
    small = cv2.resize(picture, (32, 24), interpolation=cv2.INTER_AREA)
    return small.astype(np.float32)


def _differ(before, after):
    """Whether two pictures belong to different shots.

    Light that goes on changes the levels but not what is where.
    """
    if np.abs(after - before).mean() < 8:
        return False
    a, b = before - before.mean(), after - after.mean()
    norm = np.sqrt((a**2).sum() * (b**2).sum())
    return bool((a * b).sum() < 0.7 * norm or norm == 0)


def warp(picture, scale, shift, size):
    """Apply a similarity transform to a picture.

    Arguments
    ---------
    picture : np.ndarray (height, width), uint8
    scale, shift : complex
        z goes to scale z + shift; the middle of the first pixel is 0.
    size : (int, int)
        Width and height of the result.

    Returns
    -------
    np.ndarray (height, width), uint8
        Outside the picture, its outermost pixels go on.

    Example
    -------
    >>> warp(np.uint8([[1, 2, 3]]), 1 + 0j, -1 + 0j, (2, 1)).tolist()
    [[2, 3]]
    """
    matrix = np.array(
        [
            [scale.real, -scale.imag, shift.real],
            [scale.imag, scale.real, shift.imag],
        ]
    )
    return cv2.warpAffine(
        picture,
        matrix,
        size,
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
