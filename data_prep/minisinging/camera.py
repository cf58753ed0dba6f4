"""The camera in front of MiniSinging's singers.

Between a face and the crop of its mouth stand: the motion of the head that
tracking leaves over, light, a microphone, the lens, the sensor, compression,
and a rate of pictures that is not that of the crops.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import fft, ndimage

from data_prep.minisinging.tracks import wander

# Width and height of a crop, pixels, and crops per second.
SIZE = 96
VIDEO_RATE = 50

# Half the width of the plane that faces are drawn on: the crop may look at
# any part of it.
HALF_PLANE = 60

# Pictures at a time.
_CHUNK = 32

# Pictures over which the place of the mouth is smoothed, as AV-HuBERT does it.
_TRACKING = 12


@dataclass(frozen=True)
class Filming:
    """How one song is filmed and its mouth cut out.

    Arguments
    ---------
    fps : float
        Pictures per second of the camera, at most `VIDEO_RATE`.
    offset_s : float
        How much the pictures are late, seconds.
    scale : float
        Size relative to the usual one.
    motion : float
        Strength of the motion that tracking leaves; 1 is usual.
    jitter : float
        Standard deviation of the tracking error per picture, pixels.
    yaw : float
        Mean turn of the head, radians.
    blur : float
        Standard deviation of the blur, pixels.
    ghost : float
        Share of the picture before in each one.
    light : tuple of (float, float)
        Where the light comes from: right, above.
    lean : tuple of (float, float)
        How much brighter the right and the lower edge are than the middle.
    ambient : float
        Share of the light that comes from everywhere.
    flicker : float
        Relative standard deviation of the brightness over time.
    mean, contrast : float
        Mean of the pictures (full scale is 1); factor on the differences.
    gamma : float
        Exponent of the camera's curve.
    noise : float
        Standard deviation of the noise (full scale is 1).
    quality : float
        Of the compression: 0 poor, 1 none.
    block : int
        Size of the compression's blocks in pixels of the crop.
    microphone : tuple of (float, float, float, float) or None
        A microphone in front of the mouth: place (u, v), radius, reflectance.
    gaps : float
        Share of the song in which no mouth was found.
    """

    fps: float = 50.0
    offset_s: float = 0.0
    scale: float = 1.0
    motion: float = 0.0
    jitter: float = 0.0
    yaw: float = 0.0
    blur: float = 0.6
    ghost: float = 0.0
    light: tuple[float, float] = (0.2, 0.4)
    lean: tuple[float, float] = (0.0, 0.0)
    ambient: float = 0.5
    flicker: float = 0.0
    mean: float = 0.45
    contrast: float = 1.0
    gamma: float = 1.0
    noise: float = 0.0
    quality: float = 1.0
    block: int = 8
    microphone: tuple[float, float, float, float] | None = None
    gaps: float = 0.0


def draw_filming(rng) -> Filming:
    """Draw a camera, a light and a room.

    Arguments
    ---------
    rng : np.random.Generator
        Source of randomness.

    Returns
    -------
    Filming

    Example
    -------
    >>> draw_filming(np.random.default_rng(0)).fps in (25.0, 30.0, 50.0)
    True
    """
    uniform, normal = rng.uniform, rng.normal
    microphone = None
    if uniform() < 0.12:
        side = rng.choice([-1, 1])
        microphone = (
            side * uniform(0, 30),
            uniform(28, 50),
            uniform(15, 32),
            uniform(0.05, 0.3),
        )
    return Filming(
        fps=float(rng.choice([25.0, 30.0, 50.0], p=[0.45, 0.25, 0.3])),
        offset_s=float(np.clip(normal(0, 0.008), -0.02, 0.02)),
        scale=float(np.exp(normal(0, 0.05))),
        motion=uniform(0.3, 1.8),
        jitter=uniform(0.0, 0.35),
        yaw=float(np.clip(normal(0, 0.12), -0.35, 0.35)),
        blur=uniform(0.3, 1.4),
        ghost=max(0.0, uniform(-0.3, 0.4)),
        light=(float(normal(0, 0.45)), uniform(-0.1, 0.8)),
        lean=(float(normal(0, 0.08)), float(normal(0, 0.08))),
        ambient=uniform(0.25, 0.75),
        flicker=uniform(0.0, 0.03),
        mean=float(np.clip(normal(0.43, 0.11), 0.18, 0.7)),
        contrast=uniform(0.7, 1.5),
        gamma=uniform(0.75, 1.3),
        noise=uniform(0.0, 0.025) ** 2 / 0.025,
        quality=uniform(0.1, 1.0) if uniform() < 0.75 else 1.0,
        block=int(rng.integers(5, 15)),
        microphone=microphone,
        gaps=uniform(0.005, 0.04) if uniform() < 0.08 else 0.0,
    )


def film(draw, times, centre, filming, motion_rng, noise_rng) -> np.ndarray:
    """Film a face.

    Arguments
    ---------
    draw : callable
        `draw(part)` draws some of the pictures: for a slice of them, the
        plane around the mouth at rest, brightness 0 to 1, as a new float32
        array (pictures, 2 * `HALF_PLANE`, 2 * `HALF_PLANE`).
    times : np.ndarray (pictures,)
        When the camera takes its pictures, seconds.
    centre : np.ndarray (pictures,)
        How far the middle of the mouth is below that of the mouth at rest.
    filming : Filming
        The camera.
    motion_rng, noise_rng : np.random.Generator
        Sources of randomness.

    Returns
    -------
    np.ndarray (pictures, 96, 96)
        uint8, nowhere 0.
    """
    pose = _pose(times, centre, filming, motion_rng)
    light = _lights(times, filming, motion_rng)
    cover = _microphone(times, filming, motion_rng)
    squeeze = _compression(filming, noise_rng)
    curve = _curve(filming)
    pictures = np.empty((len(times), SIZE, SIZE), np.uint8)
    exposure = last = None
    for start in range(0, len(times), _CHUNK):
        part = slice(start, start + _CHUNK)
        crop = _crop(draw(part), {name: x[part] for name, x in pose.items()})
        if exposure is None:
            exposure = max(float(crop[0].mean()), 1e-3)
        if cover is not None:
            cover(crop, part)
        # Light and exposure, as one factor and one summand per point.
        gain = filming.contrast * filming.mean / exposure
        crop *= (gain * light(part)).astype(np.float32)
        crop += np.float32(filming.mean * (1 - filming.contrast))
        if filming.ghost:
            before = crop[:1] if last is None else last
            before = np.concatenate([before, crop[:-1]])
            last = crop[-1:].copy()
            crop += np.float32(filming.ghost) * (before - crop)
        if filming.blur > 0.2:
            for axis in (1, 2):
                crop = ndimage.gaussian_filter1d(
                    crop, filming.blur, axis=axis, truncate=2.5
                )
        if filming.noise:
            crop += np.float32(filming.noise) * noise_rng.standard_normal(
                crop.shape, dtype=np.float32
            )
        if squeeze is not None:
            crop = squeeze(crop)
        crop *= len(curve) - 1
        np.clip(crop, 0, len(curve) - 1, out=crop)
        pictures[part] = curve[crop.astype(np.int16)]
    return pictures


def gaps(frames, filming, rng) -> np.ndarray:
    """Draw where no mouth was found: in short bursts.

    Arguments
    ---------
    frames : int
        Length of the video.
    filming : Filming
        Says how many.
    rng : np.random.Generator
        Source of randomness.

    Returns
    -------
    np.ndarray (frames,)
        bool, True where the mouth is missing.
    """
    missing = np.zeros(frames, bool)
    wanted = filming.gaps * frames
    while missing.sum() < wanted:
        start, length = rng.integers(frames), 2 + int(rng.exponential(8))
        missing[start : start + length] = True
    return missing


def _wanders(rng, times, filming, rate_hz, count):
    """Smooth random tracks (count, pictures) of about unit variance."""
    points, rate = len(times), filming.fps
    return np.array(
        [1.4 * wander(rng, points, rate_hz, rate) for _ in range(count)]
    )


def _pose(times, centre, filming, rng):
    """Motion of the head and of the crop, a track each (pictures,)."""
    slow = _wanders(rng, times, filming, 0.4, 5) * filming.motion
    shake = rng.standard_normal((2, len(times))) * filming.jitter
    half = _TRACKING // 2
    padded = np.pad(centre, (half, _TRACKING - half - 1), mode="edge")
    follow = np.convolve(padded, np.full(_TRACKING, 1 / _TRACKING), "valid")
    return {
        "tilt": 0.02 * slow[0],
        "scale": filming.scale * (1 + 0.015 * slow[1]),
        "yaw": filming.yaw + 0.05 * slow[2],
        "right": 0.8 * slow[3] + shake[0],
        "down": follow + 0.8 * slow[4] + shake[1],
    }


def _curve(filming):
    """Grey values of 1024 brightnesses: the camera's curve (1024,) uint8."""
    x = np.arange(1024) / 1023
    middle = filming.mean
    bright = middle * (x / middle) ** filming.gamma
    # Zeros mean a missing picture: no picture is all black.
    return np.clip(bright * 255 + 0.5, 1, 255).astype(np.uint8)


def _lights(times, filming, rng):
    """Brightness over place and time: a function of a slice of pictures."""
    slow = filming.flicker * _wanders(rng, times, filming, 0.7, 3)
    lean_right, lean_down = filming.lean
    at = (np.arange(SIZE, dtype=np.float32) - SIZE / 2) / (SIZE / 2)

    def light(part):
        rows = 1 + slow[0, part, None] + (lean_down + slow[1, part, None]) * at
        columns = 1 + (lean_right + slow[2, part, None]) * at
        return (
            rows.astype(np.float32)[:, :, None]
            * columns.astype(np.float32)[:, None, :]
        )

    return light


def _microphone(times, filming, rng):
    """Give a function that puts a microphone in front of the mouth, or None."""
    if filming.microphone is None:
        return None
    across, down, radius, tone = filming.microphone
    sway = filming.motion * _wanders(rng, times, filming, 0.3, 2)
    # The grille: a fine grid on a ball, lit from above.
    reach = int(radius) + 2
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float32)
    far = np.hypot(x, y) / radius
    mask = np.clip((1 - far) * radius + 0.5, 0, 1)
    ball = np.sqrt(np.clip(1 - far**2, 0, 1))
    mesh = 1 + 0.3 * np.sin(1.9 * (x + y)) * np.sin(1.9 * (x - y))
    ball = tone * (0.2 + 1.2 * ball - 0.7 * y / radius) * mesh
    ball = np.clip(ball, 0.02, None)
    places = np.stack([down + 2.0 * sway[0], across + 2.5 * sway[1]])
    places = np.rint(places + SIZE / 2).astype(int)

    def cover(crop, part):
        for picture, row, column in zip(crop, *places[:, part], strict=True):
            at = [max(0, row - reach), max(0, column - reach)]
            end = [min(SIZE, row + reach + 1), min(SIZE, column + reach + 1)]
            if at[0] >= end[0] or at[1] >= end[1]:
                continue
            piece = (
                slice(at[0] - row + reach, end[0] - row + reach),
                slice(at[1] - column + reach, end[1] - column + reach),
            )
            under = picture[at[0] : end[0], at[1] : end[1]]
            under += mask[piece] * (ball[piece] - under)

    return cover


def _compression(filming, rng):
    """Give a function that compresses pictures in blocks, or None."""
    if filming.quality >= 1:
        return None
    # The crop is a resized part of a whole picture: its blocks may have any
    # size and start anywhere.
    size = filming.block
    start = int(rng.integers(size))
    count = -(-(SIZE + start) // size)
    around = (0, 0), (start, count * size - SIZE - start)
    order = np.arange(size) * 8 / size
    step = 0.12 * (1 - filming.quality) ** 2
    steps = step * (0.5 + 0.3 * (order[:, None] + order[None, :]))
    steps = steps[:, None, :].astype(np.float32)

    def squeeze(crop):
        padded = np.pad(crop, (*around, around[1]), mode="edge")
        blocks = padded.reshape(-1, count, size, count, size)
        parts = fft.dctn(blocks, axes=(2, 4), norm="ortho")
        parts /= steps
        np.rint(parts, out=parts)
        parts *= steps
        parts = fft.idctn(parts, axes=(2, 4), norm="ortho", overwrite_x=True)
        whole = parts.reshape(padded.shape)
        return whole[:, start : start + SIZE, start : start + SIZE]

    return squeeze


def _crop(canvas, pose):
    """Look at pictures of the plane through the crop, bilinearly."""
    at = np.arange(SIZE, dtype=np.float32) - (SIZE - 1) / 2
    x, y = at[None, None, :], at[None, :, None]
    p = {k: np.float32(t)[:, None, None] for k, t in pose.items()}
    cos = np.cos(p["tilt"]) / p["scale"]
    sin = np.sin(p["tilt"]) / p["scale"]
    u = x * cos + y * sin
    v = y * cos - x * sin
    # A turned head is narrower, and more so on the far side.
    turn = np.sin(p["yaw"])
    u = u / np.cos(p["yaw"]) + u * u * (turn * np.float32(0.006))
    limit = np.float32(2 * HALF_PLANE - 1.01)
    column = np.clip(u + p["right"] + np.float32(HALF_PLANE - 0.5), 0, limit)
    row = np.clip(v + p["down"] + np.float32(HALF_PLANE - 0.5), 0, limit)
    left, top = column.astype(np.int32), row.astype(np.int32)
    column -= left
    row -= top
    size = 2 * HALF_PLANE
    first = np.arange(len(canvas), dtype=np.int32)[:, None, None] * size**2
    flat = first + top * size + left
    pixels = canvas.ravel()
    above = pixels[flat]
    above += column * (pixels[flat + 1] - above)
    flat += size
    below = pixels[flat]
    below += column * (pixels[flat + 1] - below)
    return above + row * (below - above)
