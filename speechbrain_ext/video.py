"""Mouth crops: files of them, and making them from any video.

Crops are grey pictures of a mouth, uint8 (frames, height, width), on the grid
of 50 frames per second: frame k covers [0.02 k, 0.02 (k + 1)) seconds. A frame
without a face is a picture of zeros (`missing_frames`).

The crops that `mouth_crops` makes have the geometry that lip-reading models
are used to (AV-HuBERT, Shi et al., ICLR 2022): 96 x 96 pixels around the
mouth, upright, scaled by the eyes. One millimetre of an adult's face is about
one pixel.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from speechbrain_ext.containers import decode_frames, open_container
from speechbrain_ext.errors import VideoError
from speechbrain_ext.files import atomic_path, atomic_paths, check_input
from speechbrain_ext.frames import (
    FRAME_S,
    frame_centres,
    n_frames,
    segment_frames,
)

CROP = 96

# Pixels between the centres of the eyes in the scale of a crop: those of
# adults are 63 mm apart (Dodgson, SPIE 5291, 2004).
EYE_PIXELS = 63.0

# A picture is shown for as long at most where the next one is late.
MAX_HOLD_S = 0.5

# Shorter side of the pictures in which faces are looked for and followed.
_WORK_SIDE = 360

# Eyes that are closer together than this in the video give blurred crops.
_FINE_EYES = 25.0


# --- Files of crops ---------------------------------------------------------


def read_crops(path, start_s=0.0, stop_s=None) -> np.ndarray:
    """Read a slice of a file of mouth crops, and no more than that.

    Arguments
    ---------
    path : str or Path
        A `.npy` file, uint8 (frames, height, width), pictures square.
    start_s : float
        Seconds; the frame that covers this time is the first one. Default: 0.
    stop_s : float, optional
        Seconds; the frame that covers this time is the first one left out, so
        that slices which touch share no frame. Default: all. Frames past the
        end are not made up: the result is shorter.

    Returns
    -------
    np.ndarray (frames, height, width), uint8
        Frame k of a slice is frame `n_frames(start_s) + k` of the whole.

    Raises
    ------
    VideoError
        If the file is missing, no such array, cut off or empty, or the slice
        is empty or begins after the end.

    Example
    -------
    >>> path = getfixture("tmp_path") / "video_50fps.npy"
    >>> write_crops(path, np.zeros((500, 96, 96), np.uint8)).name
    'video_50fps.npy'
    >>> read_crops(path, 2.0, 4.5).shape
    (125, 96, 96)
    """
    if not (math.isfinite(start_s) and start_s >= 0):
        raise VideoError(f"{path}: cannot start reading at {start_s} s")
    if stop_s is not None and not stop_s > start_s:
        raise VideoError(
            f"{path}: the slice ends at {stop_s:g} s but starts at "
            f"{start_s:g} s"
        )
    crops = _mapped(path)
    if stop_s is None or stop_s == math.inf:
        stop_s = start_s + len(crops) * FRAME_S
    first, last = segment_frames(start_s, stop_s)
    if last <= first < len(crops):
        raise VideoError(
            f"{path}: no frame begins between {start_s:g} s and {stop_s:g} s"
        )
    if first >= len(crops):
        raise VideoError(
            f"{path}: cannot start reading at {start_s:g} s, after the end of "
            f"{len(crops) * FRAME_S:.2f} s"
        )
    # A copy: the file is not kept open.
    return np.array(crops[first:last])


def count_crops(path) -> int:
    """Number of frames in a file of crops, from its header.

    Arguments
    ---------
    path : str or Path
        As in `read_crops`.

    Returns
    -------
    int
        50 for each second.

    Raises
    ------
    VideoError
        As `read_crops`.
    """
    return len(_mapped(path))


def write_crops(path, crops, overwrite=False) -> Path:
    """Write a file of mouth crops, whole or not at all.

    Arguments
    ---------
    path : str or Path
        Ends in `.npy`.
    crops : np.ndarray (frames, height, width), uint8
        At least one frame; pictures are square.
    overwrite : bool
        Whether an existing file may be replaced. Default: False.

    Returns
    -------
    Path

    Raises
    ------
    VideoError
        If the array is of another kind or the name has another ending.
    OutputError
        If the file exists or cannot be written.
    """
    path = Path(path)
    _check_name(path)
    crops = np.asarray(crops)
    _check(path, crops.dtype, crops.shape)
    with atomic_path(path, overwrite) as temporary:
        _write(temporary, len(crops), crops.shape[1], [crops])
    return path


def missing_frames(crops) -> np.ndarray:
    """Which frames show no face: those that are all zero.

    Arguments
    ---------
    crops : np.ndarray (frames, height, width)

    Returns
    -------
    np.ndarray (frames,), bool

    Example
    -------
    >>> missing_frames(np.array([[[0, 0], [0, 0]], [[0, 9], [0, 0]]])).tolist()
    [True, False]
    """
    return ~np.any(crops, axis=(1, 2))


def _mapped(path):
    """Array of a file, of which nothing has been read yet."""
    path = Path(path)
    check_input(path, VideoError, "file of mouth crops")
    try:
        crops = np.lib.format.open_memmap(path, mode="r")
    except (ValueError, OSError, EOFError, SyntaxError):
        # Pickled objects too: they cannot be mapped.
        raise VideoError(
            f"{path}: is no NumPy array of numbers, or is cut off: make it "
            "with singbrain prepare lips"
        ) from None
    _check(path, crops.dtype, crops.shape)
    return crops


def _check_name(path):
    if path.suffix != ".npy":
        raise VideoError(f"{path}: the name of mouth crops must end in .npy")


def _check(path, dtype, shape):
    """Refuse what is no array of crops."""
    if dtype != np.uint8 or len(shape) != 3 or shape[1] != shape[2]:
        raise VideoError(
            f"{path}: holds {dtype} {tuple(shape)}: mouth crops are uint8 "
            "(frames, size, size)"
        )
    if not all(shape):
        raise VideoError(f"{path}: holds no pictures: its shape is {shape}")


def _write(path, count, size, blocks):
    """Write blocks of crops; `count` frames in all."""
    header = {
        "descr": np.lib.format.dtype_to_descr(np.dtype(np.uint8)),
        "fortran_order": False,
        "shape": (count, size, size),
    }
    # Not through a memory map: on a full disk that ends the process.
    with open(path, "wb") as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        for block in blocks:
            stream.write(np.ascontiguousarray(block).data)


# --- Crops of a video -------------------------------------------------------


@dataclass(frozen=True)
class LipTrack:
    """Mouth crops of a video and how they came about.

    Arguments
    ---------
    crops : np.ndarray (frames, 96, 96), uint8
        50 frames per second from the start of the file; zeros where there is
        no face.
    confidence : np.ndarray (frames,), float32
        0 (missing) to 1.
    centres : np.ndarray (frames, 2), float32
        x and y of the mouth in pixels of the video; NaN where missing.
    eye_distances : np.ndarray (frames,), float32
        Pixels of the video between the eyes; NaN where missing.
    angles : np.ndarray (frames,), float32
        How far the line of the eyes falls to the right, in degrees; NaN where
        missing.
    fps : float
        Pictures per second of the video, on average.
    duration : float
        Seconds from the start of the file to the end of the last picture.
    cuts : tuple of float
        Seconds at which the picture changes to another shot.
    detector : str
        Name of the detector.
    notes : tuple of str
        What a user should know.
    """

    crops: np.ndarray
    confidence: np.ndarray
    centres: np.ndarray
    eye_distances: np.ndarray
    angles: np.ndarray
    fps: float
    duration: float
    cuts: tuple[float, ...]
    detector: str
    notes: tuple[str, ...]

    @property
    def present(self) -> np.ndarray:
        """Which frames show a face, (frames,) bool."""
        return self.confidence > 0


def mouth_crops(
    path, detector="auto", progress=None, into=None, track=0
) -> LipTrack:
    """Cut the mouth out of a video, 50 times per second.

    The face is looked for in small pictures and followed by its motion in
    between (`speechbrain_ext.faces`). Mouth and eyes are smoothed over 12
    frames, but not across a cut. The video is decoded twice, so that memory
    does not grow with its length: once to find the face, once to crop.

    Frame k shows the picture that is on the screen at (k + 0.5) x 20 ms, by
    the time stamps of the file, whatever their rate. Time 0 is the start of
    the file as in `audio.read_audio`; a video that starts later than its sound
    is led by missing frames. Frames are missing, too, where the face is not
    seen from the front for longer than a second, where its mouth is outside
    the picture, and where no picture comes for longer than half a second.

    Between two cuts the face that is largest and most central is followed and
    no other; a note says that there were others, and confidence is 0.6 times
    as high while they are in view.

    Arguments
    ---------
    path : str or Path
        Video file.
    detector : str or object
        "haar", "landmarks" or "auto" (`faces.find_detector`), or a detector.
        Default: "auto".
    progress : callable, optional
        Gets the seconds of video that are done, from 0 to the duration.
    into : str or Path, optional
        File that the crops are written to, picture by picture; the result then
        holds a memory map of it. An existing one is replaced. Default: they
        are kept in memory, 0.46 MB per second.
    track : int
        Which of several pictures tracks, from 0. Default: 0.

    Returns
    -------
    LipTrack

    Raises
    ------
    VideoError
        If the file is missing, no video, damaged, or shows no face.
    ConfigError, DependencyError
        As `faces.find_detector`.
    """
    from speechbrain_ext.faces import FaceTracker, find_detector

    path = Path(path)
    video = Video(path, track)
    if isinstance(detector, str):
        detector = find_detector(detector)
    tracker = FaceTracker(detector)
    step = _Steps(progress, video.duration)
    times, end_s, ratio = [], 0.0, 1.0
    for picture in video.pictures(_WORK_SIDE):
        tracker.add(picture.gray, picture.time)
        times.append(picture.time)
        end_s, ratio = picture.end, picture.ratio
        step(0.5 * picture.time)
    way = tracker.finish()
    times = np.array(times)
    if not (way.confidence > 0).any():
        raise VideoError(
            f"{path}: no face is seen from the front in {end_s:.1f} s of "
            "video: mouth crops need a face at least a tenth as wide as the "
            "picture is high"
        )
    sources = frame_sources(times, end_s)
    way = way._replace(mouth=way.mouth / ratio, eyes=way.eyes / ratio)
    # Little is to be seen of a face that is small in the picture.
    size = np.nan_to_num(np.abs(way.eyes)) / _FINE_EYES
    way = way._replace(confidence=way.confidence * np.clip(size, 0.1, 1))
    shown = np.zeros(len(times), dtype=bool)
    step.half()
    blocks = _cropped(video, sources, way, shown, step)
    if into is None:
        pictures = np.concatenate(list(blocks))
    else:
        _write(into, len(sources), CROP, blocks)
        pictures = _mapped(into)
    present = (sources >= 0) & shown[sources]
    if not present.any():
        raise VideoError(
            f"{path}: the mouth of the face is outside the picture or black "
            f"in all {end_s:.1f} s: no crop can be made"
        )
    step(video.duration or end_s)

    def placed(values, fill):
        return np.where(present, values[sources], fill).astype(np.float32)

    mouth, eyes = way.mouth, way.eyes
    cuts = tuple(float(times[k]) for k in way.cuts)
    others = present & way.others[sources]
    return LipTrack(
        crops=pictures,
        confidence=placed(way.confidence, 0.0),
        centres=np.stack(
            [placed(mouth.real, np.nan), placed(mouth.imag, np.nan)], axis=1
        ),
        eye_distances=placed(np.abs(eyes), np.nan),
        angles=placed(np.degrees(np.angle(eyes)), np.nan),
        fps=_rate(times, end_s),
        duration=end_s,
        cuts=cuts,
        detector=getattr(detector, "name", type(detector).__name__),
        notes=tuple(_notes(present, others, cuts)),
    )


def confidence_path(path) -> Path:
    """Name of the table beside a file of crops.

    Arguments
    ---------
    path : str or Path
        The file of crops.

    Returns
    -------
    Path

    Raises
    ------
    VideoError
        If the name does not end in `.npy`.

    Example
    -------
    >>> confidence_path("song.npy").name
    'song.confidence.csv'
    """
    path = Path(path)
    _check_name(path)
    return path.with_suffix(".confidence.csv")


def write_mouth_crops(
    video, path, detector="auto", overwrite=False, progress=None
) -> LipTrack:
    """Cut the mouth out of a video into a file, as `mouth_crops` does.

    Beside the crops, `<name>.confidence.csv` tells how sure each frame is, in
    the columns `time_s` (its middle, seconds) and `confidence` (0: missing).
    Both are written, or neither.

    Arguments
    ---------
    video : str or Path
        Video file.
    path : str or Path
        File of crops to write, ending in `.npy`.
    detector, progress
        As in `mouth_crops`.
    overwrite : bool
        Whether existing files may be replaced. Default: False.

    Returns
    -------
    LipTrack
        Its crops are a memory map of the file.

    Raises
    ------
    VideoError, ConfigError, DependencyError
        As `mouth_crops`, or if the name does not end in `.npy`.
    OutputError
        If a file exists or cannot be written.
    """
    names = [Path(path), confidence_path(path)]
    with atomic_paths(names, overwrite) as (crops, table):
        track = mouth_crops(video, detector, progress, into=crops)
        with open(table, "w", newline="", encoding="utf-8") as stream:
            rows = csv.writer(stream, lineterminator="\n")
            rows.writerow(["time_s", "confidence"])
            centres = frame_centres(len(track.confidence))
            for time, value in zip(centres, track.confidence, strict=True):
                rows.writerow([f"{time:.2f}", f"{value:.3f}"])
    return track


def frame_sources(times, end_s) -> np.ndarray:
    """Which picture is on the screen in the middle of each frame.

    Arguments
    ---------
    times : np.ndarray (pictures,)
        Seconds at which the pictures appear, growing.
    end_s : float
        Second at which the last one ends.

    Returns
    -------
    np.ndarray (frames,), int
        Index of the picture; -1 before the first one and where the latest is
        more than `MAX_HOLD_S` old.

    Example
    -------
    >>> frame_sources(np.array([0.0, 0.04, 0.08]), 0.12).tolist()
    [0, 0, 1, 1, 2, 2]
    >>> frame_sources(np.array([0.03, 0.05]), 0.1).tolist()
    [-1, 0, 1, 1, 1]
    """
    # A frame whose middle comes before the end is there.
    centres = frame_centres(n_frames(end_s + FRAME_S / 2))
    # Time stamps are rounded, in some containers to a millisecond.
    sources = np.searchsorted(times, centres + 5e-4, side="right") - 1
    age = centres - np.asarray(times)[sources]
    return np.where((sources >= 0) & (age <= MAX_HOLD_S), sources, -1)


def crop_mouth(gray, mouth, eyes) -> np.ndarray | None:
    """Cut a mouth out of a picture, upright and scaled by the eyes.

    Arguments
    ---------
    gray : np.ndarray (height, width), uint8
    mouth : complex
        Its centre, x + iy in pixels.
    eyes : complex
        The way from the left eye to the right one.

    Returns
    -------
    np.ndarray (96, 96), uint8
        None if the centre is outside the picture. Beyond its border the
        picture is continued with its outermost pixels.

    Example
    -------
    >>> picture = np.zeros((200, 300), np.uint8)
    >>> picture[98:103, 148:153] = 255
    >>> crop = crop_mouth(picture, 150 + 100j, 63 + 0j)
    >>> np.argwhere(crop == 255).mean(axis=0).tolist()
    [48.0, 48.0]
    """
    import cv2

    from speechbrain_ext.faces import warp

    height, width = gray.shape
    if not (0 <= mouth.real < width and 0 <= mouth.imag < height):
        return None
    scale = EYE_PIXELS / eyes
    # A large face is made smaller first, so that nothing is skipped.
    factor = int(1 / abs(scale))
    if factor > 1:
        reach = CROP / abs(scale)
        left, top = (max(0, int(z - reach)) for z in (mouth.real, mouth.imag))
        part = gray[
            top : int(mouth.imag + reach) + 1,
            left : int(mouth.real + reach) + 1,
        ]
        size = [max(1, side // factor) for side in part.shape[::-1]]
        part = part[: size[1] * factor, : size[0] * factor]
        gray = cv2.resize(part, size, interpolation=cv2.INTER_AREA)
        # Centres of pixels have whole coordinates.
        mouth = (mouth - complex(left, top) + (0.5 + 0.5j)) / factor
        mouth -= 0.5 + 0.5j
        scale *= factor
    shift = CROP / 2 * (1 + 1j) - scale * mouth
    return warp(gray, scale, shift, (CROP, CROP))


def _cropped(video, sources, way, shown, step) -> Iterator[np.ndarray]:
    """Crops of all frames, (frames, 96, 96) for each picture."""
    pictures = enumerate(video.pictures())
    index, picture = -1, None
    edges = np.flatnonzero(np.diff(sources, prepend=-2, append=-2))
    for begin, end in zip(edges[:-1], edges[1:], strict=True):
        source = sources[begin]
        crop = None
        while index < source:
            index, picture = next(pictures, (None, None))
            if picture is None:
                raise VideoError(f"{video.path}: changed while it was read")
        if source >= 0 and way.confidence[source] > 0:
            crop = crop_mouth(picture.gray, way.mouth[source], way.eyes[source])
            # A black picture shows nobody.
            shown[source] = crop is not None and crop.any()
            step(picture.time)
        if crop is None:
            crop = np.zeros((CROP, CROP), np.uint8)
        yield np.broadcast_to(crop, (end - begin, CROP, CROP))


def _rate(times, end_s):
    """Pictures per second."""
    return float(len(times) / max(end_s - times[0], 1e-3))


def _notes(present, others, cuts):
    """Lines that a user should read."""
    if others.any():
        yield (
            f"more than one face in view for {others.sum() * FRAME_S:.1f} s: "
            "the largest, most central one of each shot was followed"
        )
    if cuts:
        places = ", ".join(f"{time:.2f}" for time in cuts[:5])
        more = f" and {len(cuts) - 5} more" if len(cuts) > 5 else ""
        yield f"the picture is cut at {places}{more} s: followed anew there"
    missing = int((~present).sum())
    if missing:
        yield f"no face from the front for {missing * FRAME_S:.1f} s"


class _Steps:
    """Tells how much of two passes over a video is done."""

    def __init__(self, progress, duration):
        self.progress, self.duration = progress, duration
        self.base = 0.0

    def half(self):
        """The first pass is over."""
        self.base = self.duration / 2

    def __call__(self, seconds):
        if self.progress is not None:
            done = self.base + min(seconds, self.duration) / 2
            self.progress(done)


class Picture(NamedTuple):
    """One picture of a video.

    Arguments
    ---------
    gray : np.ndarray (height, width), uint8
        As it is shown: turned upright, with square pixels.
    time : float
        Seconds from the start of the file.
    end : float
        When it ends, by itself.
    ratio : float
        Pixels for each pixel of the whole picture.
    """

    gray: np.ndarray
    time: float
    end: float
    ratio: float


class Video:
    """The pictures of a video file.

    Arguments
    ---------
    path : str or Path
        The file.
    track : int
        Which of several picture tracks, from 0. Default: 0.

    Raises
    ------
    VideoError
        If the file is missing, a folder, no video or has no pictures.
    """

    def __init__(self, path, track=0):
        self.path, self.track = Path(path), track
        check_input(self.path, VideoError, "video")
        with self._container() as container:
            tracks = self._tracks(container)
            if not tracks:
                raise VideoError(
                    f"{path}: has no moving pictures: name a video file"
                )
            if not 0 <= track < len(tracks):
                raise VideoError(
                    f"{path}: has no picture track {track}: the file has "
                    f"{len(tracks)}, counted from 0"
                )
            stream = tracks[track]
            self.rate = float(stream.average_rate or stream.guessed_rate or 25)
            self.aspect = float(stream.sample_aspect_ratio or 1)
            self.start = (container.start_time or 0) / 1e6
            self.duration = (container.duration or 0) / 1e6

    def pictures(self, side=None) -> Iterator[Picture]:
        """Decode the file from its start.

        Arguments
        ---------
        side : int, optional
            Length of the shorter side in pixels; smaller pictures stay as they
            are. Default: whole pictures.

        Yields
        ------
        Picture
            Their times grow; one that is not later than the one before is left
            out.

        Raises
        ------
        VideoError
            If the video is damaged in the middle, or empty.
        """
        from av.video.reformatter import VideoReformatter

        # One for all pictures: it is slow to set up.
        reformatter = VideoReformatter()
        latest = -1.0
        for number, frame in enumerate(self._frames()):
            time = frame.time
            time = number / self.rate if time is None else time - self.start
            # A container may begin a little after its first picture.
            time = max(0.0, time)
            if time <= latest:
                continue
            latest = time
            lasts = 1 / self.rate
            if frame.duration and frame.time_base:
                lasts = float(frame.duration * frame.time_base)
            gray, ratio = _gray(frame, reformatter, self.aspect, side)
            yield Picture(gray, time, time + min(lasts, MAX_HOLD_S), ratio)
        if latest < 0:
            raise VideoError(f"{self.path}: its pictures cannot be decoded")

    def _container(self):
        return open_container(self.path, VideoError, "a video file")

    def _tracks(self, container):
        """Picture tracks, without the cover of a sound file."""
        import av

        cover = av.stream.Disposition.attached_pic
        return [s for s in container.streams.video if not s.disposition & cover]

    def _frames(self):
        """Decode; a fault ends the video only where nothing follows."""
        with self._container() as container:
            stream = self._tracks(container)[self.track]
            stream.thread_type = "AUTO"
            yield from decode_frames(
                container,
                stream,
                lambda: VideoError(
                    f"{self.path}: is damaged: convert it with a tool that "
                    "repairs it"
                ),
            )


def _gray(frame, reformatter, aspect, side):
    """Grey picture as it is shown, and its size relative to the whole."""
    width, height = round(frame.width * aspect), frame.height
    ratio = 1.0 if side is None else min(1.0, side / min(width, height))
    gray = reformatter.reformat(
        frame,
        max(1, round(width * ratio)),
        max(1, round(height * ratio)),
        "gray",
        interpolation="AREA" if ratio < 1 else None,
    ).to_ndarray()
    # Telephones say in the file how they were held; degrees to the left.
    turns = round(getattr(frame, "rotation", 0) / 90) % 4
    return np.ascontiguousarray(np.rot90(gray, turns)), ratio
