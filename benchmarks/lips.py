"""Mouth crops of a video against a cascade on every whole picture.

`python -m benchmarks.lips [VIDEO]` cuts the mouth out of a video, with
`speechbrain_ext.video.mouth_crops` and its cascades, and by a plain loop that
decodes the video, looks for the face, its eyes and its mouth in every whole
picture and cuts out what it finds, without following, smoothing or turning
anything. It prints how many times as fast the former is, and the length of the
video over the processor time of each, all cores added up. Without VIDEO it
makes one of noise with a drawn face, which only says how fast things are.
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time

import cv2
import numpy as np

from benchmarks.common import show, speedup
from speechbrain_ext.errors import ConfigError, VideoError
from speechbrain_ext.faces import HaarDetector
from speechbrain_ext.video import CROP, Video, mouth_crops

FPS = 25


class Trusting(HaarDetector):
    """The cascades, which also give the drawn face where they see none."""

    def detect(self, gray, smallest=0.1):
        """Find faces, or say that there is one in the middle.

        Arguments
        ---------
        gray : np.ndarray (height, width), uint8
        smallest : float
            As in `HaarDetector.detect`.

        Returns
        -------
        list of Face
        """
        height, width = gray.shape
        side = 0.5 * height
        middle = ((width - side) / 2, (height - side) / 2, side, side)
        return super().detect(gray, smallest) or [
            self._face(gray, middle, count=12)
        ]


def plain_crops(path, detector):
    """Crops by a detector on every whole picture.

    Arguments
    ---------
    path : Path
    detector : HaarDetector

    Returns
    -------
    np.ndarray (pictures, 96, 96) uint8
    """
    crops = []
    for picture in Video(path).pictures():
        found = detector.detect(picture.gray)
        crop = np.zeros((CROP, CROP), np.uint8)
        if found:
            mouth, eyes = max(found, key=lambda face: face.box[2]).pose()
            reach = max(1, round(0.75 * abs(eyes)))
            top = max(0, round(mouth.imag) - reach)
            left = max(0, round(mouth.real) - reach)
            part = picture.gray[top : top + 2 * reach, left : left + 2 * reach]
            crop = cv2.resize(part, (CROP, CROP))
        crops.append(crop)
    return np.stack(crops)


def write_face(path, seconds, height=480):
    """Write a video of a drawn face that moves before noise.

    Arguments
    ---------
    path : Path
    seconds : float
    height : int
        Of the picture, which is 4 / 3 times as wide. Default: 480.
    """
    import av

    width = height * 4 // 3
    rng = np.random.default_rng(0)
    noise = rng.integers(60, 120, (height, width), dtype=np.uint8)
    noise = cv2.GaussianBlur(noise, (0, 0), 3)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=FPS)
        stream.width, stream.height = width, height
        stream.bit_rate = 2_000_000
        for index in range(max(1, round(seconds * FPS))):
            picture = noise.copy()
            sway = 0.03 * height * np.sin(index / FPS)

            def oval(x, y, a, b, level, picture=picture, sway=sway):
                centre = (
                    round(width / 2 + x * height + sway),
                    round(height / 2 + y * height),
                )
                axes = (round(a * height), round(b * height))
                cv2.ellipse(picture, centre, axes, 0, 0, 360, level, -1)

            oval(0, 0, 0.22, 0.3, 190)
            for side in (-0.09, 0.09):
                oval(side, -0.055, 0.035, 0.018, 60)
            oval(0, 0.155, 0.07, 0.02 + 0.01 * np.sin(index), 70)
            frame = av.VideoFrame.from_ndarray(picture, "gray")
            container.mux(stream.encode(frame.reformat(format="yuv420p")))
        container.mux(stream.encode(None))


def main(arguments=None):
    """Yield the lines of the report.

    Arguments
    ---------
    arguments : list of str, optional
        Command line; default: that of the process.

    Yields
    ------
    str
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("video", nargs="?", type=Path, help="video with a face")
    parser.add_argument(
        "--seconds",
        type=float,
        default=6.0,
        help="length of the video that is made without VIDEO (default: 6)",
    )
    parser.add_argument(
        "--pairs", type=int, default=3, help="pairs of runs (default: 3)"
    )
    options = parser.parse_args(arguments)
    if options.seconds <= 0:
        raise ConfigError(
            f"a video of {options.seconds:g} s: give more than 0 s"
        )
    with TemporaryDirectory() as folder:
        path, detector = options.video, HaarDetector()
        if path is None:
            path, detector = Path(folder, "face.mp4"), Trusting()
            write_face(path, options.seconds)
        yield from _compare(path, detector, options.pairs)


def _compare(path, detector, pairs):
    """Yield the lines for a video."""
    track = mouth_crops(path, detector)
    if not track.duration:
        raise VideoError(f"{path}: is over at once: name a longer video")
    height, width = next(Video(path).pictures()).gray.shape
    yield (
        f"{path.name}, {track.duration:.1f} s, {width} x {height}, "
        f"{track.fps:.0f} pictures per second"
    )

    def ours():
        return mouth_crops(path, detector)

    def theirs():
        return plain_crops(path, detector)

    yield f"speed: {speedup(ours, theirs, pairs)}"
    for name, function in (("mouth_crops", ours), ("plain loop", theirs)):
        begin = process_time()
        function()
        ratio = track.duration / (process_time() - begin)
        yield f"{name}: {ratio:.1f} s of video per second of processor time"


if __name__ == "__main__":
    raise SystemExit(show(main))
