"""Reading slices of mouth crops against loading whole songs as floats.

`python -m benchmarks.video_loading` writes the mouth crops of a song into a
temporary folder and reads segments of it in random order: with
`speechbrain_ext.video.read_crops`, which reads the slice only, and as the
published reader of N20EMv2 does, which loads the array, turns all of it into
floats of 64 bits from 0 to 1, mirrors each picture in a loop and then cuts the
segment out. Both give the segment in floats. It prints how many times as fast
the slice is, how many times as much memory the whole takes, and whether the
pictures are equal.
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.common import peak_bytes, segment_options, show, speedup
from speechbrain_ext.frames import FRAME_RATE
from speechbrain_ext.video import CROP, read_crops, write_crops

SEGMENT_S = 5.0


def read_slice(path, start):
    """Segment of a file of crops, mirrored, in floats from 0 to 1.

    Arguments
    ---------
    path : Path
    start : float
        Seconds.

    Returns
    -------
    np.ndarray (frames, height, width) float32
    """
    crops = read_crops(path, start, start + SEGMENT_S)
    return np.divide(crops[..., ::-1], 255, dtype=np.float32)


def read_whole(path, start):
    """Do the same by the whole array.

    Arguments
    ---------
    path : Path
    start : float
        Seconds.

    Returns
    -------
    np.ndarray (frames, height, width) float64
    """
    crops = np.load(path) / 255.0
    for index, picture in enumerate(crops):
        crops[index] = np.fliplr(picture)
    first = round(start * FRAME_RATE)
    return crops[first : first + round(SEGMENT_S * FRAME_RATE)]


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
    options = segment_options(parser, 120.0, arguments, 2 * SEGMENT_S)
    rng = np.random.default_rng(0)
    starts = iter(rng.integers(0, int(options.seconds - SEGMENT_S) + 1, 10**4))
    shape = (round(options.seconds * FRAME_RATE), CROP, CROP)
    yield f"segments of {SEGMENT_S:g} s of crops of {options.seconds:g} s"
    with TemporaryDirectory() as folder:
        path = Path(folder, "video_50fps.npy")
        write_crops(path, rng.integers(0, 256, shape, dtype=np.uint8))
        start = next(starts)
        away = np.abs(read_slice(path, start) - read_whole(path, start)).max()
        pace = speedup(
            lambda: read_slice(path, next(starts)),
            lambda: read_whole(path, next(starts)),
            options.pairs,
        )
        yield f"speed: {pace}; largest difference {away:.0e}"
        ours, theirs = (
            peak_bytes(read, path, start) for read in (read_slice, read_whole)
        )
    yield (
        f"memory: the whole takes {theirs / ours:.0f} times that of the slice "
        f"({theirs / 2**20:.0f} MiB, {ours / 2**20:.0f} MiB)"
    )


if __name__ == "__main__":
    raise SystemExit(show(main))
