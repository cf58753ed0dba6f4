"""Lip video: the mouth of a singer, drawn and filmed.

A picture is made in three steps. The skin with nose and chin is a relief,
lit once for a song, whose lower part moves with the jaw. Lips, teeth and
tongue are drawn over it from a few curves per picture. Then comes the camera:
head and tracking motion, light, blur, noise, compression, frame rate.

Lengths are in pixels of the crop, which is `SIZE` wide and high, as the crops
of AV-HuBERT: eyes and nose are at rest there, the mouth is near the middle
and 40 to 55 pixels wide. `u` goes to the right and `v` down, from the middle
of the closed mouth.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import ndimage

from data_prep.minisinging.mouth import (
    MOUTH_RATE,
    PARTS,
    Habits,
    draw_habits,
    move_mouth,
)

SIZE = 96
VIDEO_RATE = 50

# Half the width of the plane that faces are drawn on, and the window in it
# that holds the mouth (u, v).
_HALF = 60
_LEFT, _RIGHT, _TOP, _BOTTOM = -36, 36, -24, 44

# Points of the relief per pixel.
_FINE = 3

# Pictures at a time.
_CHUNK = 32

# One stream of random numbers for each part.
_FACE, _MOVE, _FILM, _MOTION, _NOISE = range(5)
_STREAM = 86028157


@dataclass(frozen=True)
class Face:
    """What stays the same about the lower half of a face.

    Arguments
    ---------
    width : float
        Half the width of the mouth at rest.
    upper, lower : float
        Thickness of the lips.
    bow : float
        Depth of the dent in the middle of the upper lip, 0 to 1.
    smile, crooked : float
        How far the corners are up, and the right one above the left one.
    opening, drop : float
        How far lips and jaw open at a gap and a jaw of 1.
    skin, lips, teeth : float
        Reflectance of the skin; that of the lips relative to it; of teeth.
    gloss : float
        Strength of the highlight on the lower lip.
    teeth_low : float
        Where the upper teeth end below the middle of the closed mouth.
    nose, nose_width, chin, jaw : float
        Distances of the nose's and the chin's lowest points from the mouth,
        width of the nose, half the width of the jaw.
    stubble, moustache, beard : float
        Density of the hair, 0 to 1.
    folds, grain : float
        Depth of the folds beside the mouth; coarseness of the skin.
    marks : int
        Seed of everything small: spots, hair, teeth.
    habits : Habits
        How the mouth moves.
    """

    width: float
    upper: float
    lower: float
    bow: float
    smile: float
    crooked: float
    opening: float
    drop: float
    skin: float
    lips: float
    teeth: float
    gloss: float
    teeth_low: float
    nose: float
    nose_width: float
    chin: float
    jaw: float
    stubble: float
    moustache: float
    beard: float
    folds: float
    grain: float
    marks: int
    habits: Habits


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
    light : tuple of (float, float)
        Where the light comes from: right, above.
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
    block : float
        Size of the compression's blocks in pixels of the crop.
    microphone : tuple of (float, float, float) or None
        Place (u, v) and radius of a microphone in front of the mouth.
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
    light: tuple[float, float] = (0.2, 0.4)
    ambient: float = 0.5
    flicker: float = 0.0
    mean: float = 0.45
    contrast: float = 1.0
    gamma: float = 1.0
    noise: float = 0.0
    quality: float = 1.0
    block: float = 8.0
    microphone: tuple[float, float, float] | None = None
    gaps: float = 0.0


def draw_face(rng, gender="female", style="pop") -> Face:
    """Draw a face and its habits.

    Arguments
    ---------
    rng : np.random.Generator
        Source of randomness.
    gender : str, optional
        child, female (default) or male.
    style : str, optional
        As `Singer.style`; default: pop.

    Returns
    -------
    Face

    Example
    -------
    >>> draw_face(np.random.default_rng(0), "child").beard
    0.0
    """
    uniform, normal = rng.uniform, rng.normal
    man = gender == "male"
    small = 0.88 if gender == "child" else 1.0
    hairy = man and uniform() < 0.7
    bearded = man and uniform() < 0.22
    made_up = gender == "female" and uniform() < 0.35
    full = uniform()
    return Face(
        width=small * uniform(21.5, 27.5),
        upper=uniform(3.0, 5.0) + 2.2 * full,
        lower=uniform(4.0, 6.0) + 2.8 * full,
        bow=uniform(0.1, 0.9),
        smile=normal(0.5, 1.2),
        crooked=normal(0, 0.7),
        opening=uniform(17, 26) * small,
        drop=uniform(11, 17) * small,
        skin=float(np.clip(normal(0.62, 0.15), 0.22, 0.85)),
        lips=uniform(0.5, 0.7) if made_up else uniform(0.66, 0.92),
        teeth=uniform(0.6, 0.95),
        gloss=uniform(0.1, 0.5) if made_up else uniform(0, 0.25),
        teeth_low=uniform(-1.0, 3.0),
        nose=uniform(20, 26) * (0.5 + 0.5 * small),
        nose_width=uniform(8, 12.5),
        chin=uniform(34, 44) * (0.5 + 0.5 * small),
        jaw=uniform(42, 58),
        stubble=uniform(0.1, 0.8) if hairy else 0.0,
        moustache=uniform(0.3, 1) if bearded or man and uniform() < 0.1 else 0,
        beard=uniform(0.3, 1) if bearded else 0.0,
        folds=uniform(0.0, 0.4) if gender == "child" else uniform(0.1, 1.0),
        grain=uniform(0.2, 1.0),
        marks=int(rng.integers(2**31)),
        habits=draw_habits(rng, style),
    )


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
        microphone = (side * uniform(0, 30), uniform(30, 48), uniform(14, 26))
    return Filming(
        fps=float(rng.choice([25.0, 30.0, 50.0], p=[0.45, 0.25, 0.3])),
        offset_s=float(np.clip(normal(0, 0.008), -0.02, 0.02)),
        scale=float(np.exp(normal(0, 0.05))),
        motion=uniform(0.3, 1.8),
        jitter=uniform(0.0, 0.35),
        yaw=float(np.clip(normal(0, 0.12), -0.35, 0.35)),
        blur=uniform(0.3, 1.3),
        light=(float(normal(0, 0.45)), uniform(-0.1, 0.8)),
        ambient=uniform(0.25, 0.75),
        flicker=uniform(0.0, 0.03),
        mean=float(np.clip(normal(0.44, 0.11), 0.18, 0.72)),
        contrast=uniform(0.7, 1.5),
        gamma=uniform(0.75, 1.3),
        noise=uniform(0.0, 0.025) ** 2 / 0.025,
        quality=uniform(0.1, 1.0) if uniform() < 0.75 else 1.0,
        block=uniform(5, 14),
        microphone=microphone,
        gaps=uniform(0.005, 0.04) if uniform() < 0.08 else 0.0,
    )


def render_mouth(clip, seed=None, face=None, filming=None) -> np.ndarray:
    """Film the mouth that sings a clip.

    Arguments
    ---------
    clip : Clip
        What is sung.
    seed : int or sequence of int, optional
        The same seed gives the same video, bit for bit. Default: the clip's.
    face : Face, optional
        Who sings; by default drawn from the seed, to fit `clip.singer`.
    filming : Filming, optional
        How it is filmed; drawn from the seed by default.

    Returns
    -------
    np.ndarray (frames, 96, 96)
        uint8, grey. Frame k shows the time from k / 50 to (k + 1) / 50 s; the
        last one may go past the end. A frame of zeros: no mouth was found.
    """
    seed = [int(s) for s in np.atleast_1d(clip.seed if seed is None else seed)]
    rngs = [np.random.default_rng([*seed, _STREAM, k]) for k in range(5)]
    if face is None:
        face = draw_face(rngs[_FACE], clip.singer.gender, clip.singer.style)
    if filming is None:
        filming = draw_filming(rngs[_FILM])
    frames = int(np.ceil(clip.duration * VIDEO_RATE - 1e-6))
    middle = (np.arange(frames) + 0.5) / VIDEO_RATE
    # The camera's pictures, and which of them each frame shows.
    shown = (middle * filming.fps).astype(int)
    times = (np.arange(shown[-1] + 1) + 0.5) / filming.fps
    tracks = move_mouth(clip, face.habits, rngs[_MOVE])
    at = (times - filming.offset_s) * MOUTH_RATE
    grid = np.arange(tracks.shape[1])
    moves = {
        name: np.interp(at, grid, track).astype(np.float32)
        for name, track in zip(PARTS, tracks, strict=True)
    }
    pictures = _film(moves, face, filming, rngs)
    video = pictures[shown]
    video[_gaps(frames, filming, rngs[_MOTION])] = 0
    return video


def _gaps(frames, filming, rng):
    """Which frames are missing: short bursts (frames,) bool."""
    missing = np.zeros(frames, bool)
    wanted = filming.gaps * frames
    while missing.sum() < wanted:
        start, length = rng.integers(frames), 2 + int(rng.exponential(8))
        missing[start : start + length] = True
    return missing


# ------------------------------------------------------------------ drawing


def _ramp(x):
    """Smooth step from 0 to 1 as x goes from 0 to 1."""
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)


def _bump(u, v, at_u, at_v, wide, high):
    return np.exp(-0.5 * (((u - at_u) / wide) ** 2 + ((v - at_v) / high) ** 2))


def _plane(step):
    """Coordinates u (row) and v (column) of the plane."""
    at = (np.arange(2 * _HALF * step) + 0.5) / step - _HALF
    return at[None, :].astype(np.float32), at[:, None].astype(np.float32)


def _skin(face, filming):
    """Skin of the face at rest, lit, without the lips (points, points)."""
    u, v = _plane(_FINE)
    rng = np.random.default_rng(face.marks)
    nose, chin = face.nose, face.chin
    wing = 0.62 * face.nose_width
    height = -(u**2) / 110 - np.maximum(v - 0.6 * chin, 0) ** 2 / 60
    height = height + 11 * _bump(u, v, 0, -nose - 3, 0.55 * face.nose_width, 8)
    for side in (-1, 1):
        height += 5 * _bump(u, v, side * wing, -nose, 3.5, 4.0)
        height -= 0.5 * _bump(u, v, 0, -12, 1.5, 5)
        fold = side * (wing + 5 + 0.55 * (v + nose)) - u
        along = _ramp((v + nose + 4) / 12) * _ramp((14 - v) / 20)
        height -= 1.6 * face.folds * np.exp(-0.5 * (fold / 2.2) ** 2) * along
    height += 4 * _bump(u, v, 0, 2, face.width, 12)
    height -= 2.2 * _bump(u, v, 0, 15, 13, 4)
    height += 3.5 * _bump(u, v, 0, 0.72 * chin, 11, 8)
    slope_v, slope_u = np.gradient(height, 1 / _FINE)
    right, above = filming.light
    length = np.sqrt(1 + right**2 + above**2)
    facing = (1 - slope_u * right + slope_v * above) / (
        length * np.sqrt(1 + slope_u**2 + slope_v**2)
    )
    shade = filming.ambient + (1 - filming.ambient) * np.maximum(facing, 0)
    skin = face.skin * shade
    shape = skin.shape
    fine = ndimage.gaussian_filter(rng.standard_normal(shape), 2.5)
    coarse = ndimage.gaussian_filter(rng.standard_normal(shape), 12)
    skin *= 1 + face.grain * (0.18 * fine + 0.9 * coarse)
    for _ in range(rng.poisson(1.5)):
        spot = rng.uniform(-45, 45, 2)
        skin *= 1 - rng.uniform(0.1, 0.35) * _bump(u, v, *spot, 1, 1)
    for side in (-1, 1):
        hole = _bump(u, v, side * 0.5 * wing, -nose + 2.5, 2.4, 1.5)
        skin *= 1 - 0.75 * hole
    # Hair grows around the mouth, on the chin and along the jaw.
    beside = _ramp((np.abs(u) - 10 + np.maximum(v, 0)) / 18)
    growth = np.clip(
        _ramp((v + 4) / 8) * _ramp((np.abs(u) + v - 14) / 14) + 0 * beside, 0, 1
    )
    lip = _bump(u, v, 0, -11, 17, 4.5)
    hair = np.clip(
        growth * max(face.beard, 0.45 * face.stubble)
        + lip * max(face.moustache, 0.4 * face.stubble),
        0,
        1,
    )
    strands = ndimage.gaussian_filter(rng.standard_normal(shape), (2.0, 0.9))
    skin *= 1 - hair * np.clip(0.45 + 2.0 * strands, 0, 0.85)
    # Behind the jaw the neck, in shadow, and what stands behind the singer.
    edge = chin * np.clip(1 - np.abs(u / face.jaw) ** 2.6, 0, 1) ** 0.45
    out = _ramp((v - edge) / 3 + 0.5) * _ramp((v + 25) / 20 + 0)
    neck = face.skin * shade.mean() * rng.uniform(0.45, 0.85)
    beyond = rng.uniform(0.05, 0.9) * face.skin
    wall = _ramp((np.abs(u) - 0.86 * face.jaw) / 3)
    behind = neck * (1 - wall) + beyond * wall
    return (skin * (1 - out) + behind * out).astype(np.float32)


@cache
def _pull():
    """How far points of the plane follow the jaw: rows of 0 to 1."""
    _, v = _plane(1)
    return (_ramp((v + 1) / 22) * np.ones((1, 2 * _HALF))).astype(np.float32)


def _skins(skin, drop):
    """Skin with the jaw lowered by `drop` pixels each (pictures, 120, 120)."""
    columns = 2 * _HALF * _FINE
    _, v = _plane(1)
    u, _ = _plane(1)
    column = ((u + _HALF) * _FINE).astype(np.int32)
    row = (v + _HALF) * _FINE - drop[:, None, None] * (_FINE * _pull())
    flat = row.astype(np.int32) * columns + column
    return skin.ravel()[flat]


def _mouth(canvas, moves, face, filming):
    """Draw lips and what is between them onto pictures, in place."""
    u = np.arange(_LEFT, _RIGHT, dtype=np.float32)[None] + 0.5
    v = (np.arange(_TOP, _BOTTOM, dtype=np.float32) + 0.5)[None, :, None]
    col = {name: track[:, None] for name, track in moves.items()}
    gap, jaw, width, pout = (col[k] for k in ("gap", "jaw", "width", "pout"))
    press, lift, tuck, tongue = (
        col[k] for k in ("press", "raise", "tuck", "tongue")
    )
    open_px = face.opening * gap
    drop_px = face.drop * jaw
    half = face.width * (
        1
        + 0.10 * np.maximum(width, 0)
        + 0.22 * np.minimum(width, 0)
        - 0.06 * pout
        - 0.05 * gap
    )
    s = u / half
    dome = np.sqrt(np.clip(1 - s * s, 0, 1))
    inner = half * (0.93 - 0.22 * pout)
    hole = np.clip(1 - (u / inner) ** 2, 0, 1) ** 0.75
    line = -face.smile * s * s + face.crooked * s
    line = line - 1.5 * np.maximum(width, 0) * s * s
    thick = (1 - 0.45 * press) * (1 + 0.2 * pout - 0.12 * gap)
    up = 0.18 * open_px + 1.6 * lift * np.minimum(1, gap / 0.15)
    top_in = line - up * hole + 0.5 * face.bow * np.exp(-((s / 0.18) ** 2))
    low_in = line + 0.82 * open_px * hole
    dent = 1 - 0.35 * face.bow * np.exp(-((s / 0.14) ** 2))
    top_out = line - up * dome - face.upper * thick * dome**1.3 * dent
    low_out = (
        line
        + 0.82 * open_px * dome
        + face.lower * thick * (1 - 0.5 * tuck) * dome**1.2
    )

    def below(curve, soft=1.2):
        """1 below a curve, 0 above it (pictures, rows, columns)."""
        edge = (v - curve[:, None, :]) * np.float32(1 / soft)
        edge += np.float32(0.5)
        return np.clip(edge, 0, 1, out=edge)

    window = canvas[
        :, _TOP + _HALF : _BOTTOM + _HALF, _LEFT + _HALF : _RIGHT + _HALF
    ]
    lit = face.skin * (0.5 + 0.5 * filming.ambient)
    # Shadow under the lower lip.
    under = v - (low_out + 2.5)[:, None, :]
    under = np.exp(under * under * np.float32(-1 / 12))
    window *= 1 - np.float32(0.22) * under * dome[:, None, :]
    lips = below(top_out) * (1 - below(low_out))
    # The upper lip looks down, the lower one up.
    tone = lit * face.lips
    middle = 0.5 * (top_in + low_in)
    lower = below(middle, 3.0)
    colour = tone * (0.78 + 0.26 * lower)
    shine = v - (0.55 * low_in + 0.45 * low_out)[:, None, :]
    shine = np.exp(shine * shine * np.float32(-1 / 3))
    colour += shine * (0.3 * face.gloss * dome * dome)[:, None, :]
    window += lips * (colour - window)
    # Between the lips.
    inside = below(top_in) * (1 - below(low_in))
    inside *= (hole > 0)[:, None, :]
    dark = 0.07 * lit + 0 * v
    depth = dome[:, None, :] ** 2
    white = face.teeth * (0.35 + 0.65 * filming.ambient) * 0.8
    white = white * (0.25 + 0.75 * depth)
    rows = _teeth(face, u)
    upper = 1 - below(face.teeth_low - 0.06 * u * u / 4 + 0 * half)
    lower_top = 2.5 + drop_px + 0.02 * u * u
    mouth = dark + upper * (white * rows[0] - dark)
    blob = low_in - (0.25 + 0.55 * tongue) * open_px * hole
    mouth += below(blob, 3.0) * (1 - upper) * (0.42 * tone - mouth)
    mouth += below(lower_top) * (0.8 * white * rows[1] - mouth)
    window += inside * (mouth - window)
    # The line between closed lips.
    seam = v - middle[:, None, :]
    seam = np.exp(seam * seam * np.float32(-1 / 1.4))
    closed = np.clip(1 - open_px / 2.5, 0, 1) * dome**0.4
    window *= 1 - np.float32(0.55) * seam * closed[:, None, :]


def _teeth(face, u):
    """Brightness along the upper and the lower row of teeth (1, columns)."""
    rng = np.random.default_rng([face.marks, 1])
    rows = []
    for size in (5.2, 3.6):
        phase = u / (size * rng.uniform(0.9, 1.1)) + rng.uniform(-0.05, 0.05)
        gap = np.abs(phase - np.round(phase))
        rows.append(1 - 0.3 * np.exp(-((gap / 0.1) ** 2)))
    return rows


# ------------------------------------------------------------------ filming


def _wander(rng, times, rate_hz, count=1):
    """Smooth random tracks (count, pictures) of about unit variance."""
    knots = int(times[-1] * rate_hz) + 5
    values = ndimage.gaussian_filter1d(
        rng.standard_normal((count, 4 * knots)), 2.0, axis=1
    )
    values *= 2.66
    at = times * rate_hz * 4
    return np.array(
        [np.interp(at, np.arange(4 * knots), row) for row in values]
    )


def _film(moves, face, filming, rngs):
    """Pictures of the camera (pictures, 96, 96) uint8."""
    count = len(moves["gap"])
    times = np.arange(count) / filming.fps
    skin = _skin(face, filming)
    pose = _pose(moves, face, filming, rngs[_MOTION], times)
    glow = 1 + filming.flicker * _wander(rngs[_MOTION], times, 0.7)[0]
    noise = rngs[_NOISE]
    pictures = np.empty((count, SIZE, SIZE), np.uint8)
    exposure = None
    for start in range(0, count, _CHUNK):
        part = slice(start, start + _CHUNK)
        now = {name: track[part] for name, track in moves.items()}
        canvas = _skins(skin, face.drop * now["jaw"])
        _mouth(canvas, now, face, filming)
        crop = _crop(canvas, {name: x[part] for name, x in pose.items()})
        if exposure is None:
            exposure = float(crop[0].mean())
        spread = filming.contrast * filming.mean / max(exposure, 1e-3)
        crop = (crop - exposure) * spread + filming.mean
        crop *= glow[part, None, None].astype(np.float32)
        if filming.blur > 0.2:
            for axis in (1, 2):
                crop = ndimage.gaussian_filter1d(
                    crop, filming.blur, axis=axis, truncate=2.5
                )
        if filming.noise:
            crop += np.float32(filming.noise) * noise.standard_normal(
                crop.shape, dtype=np.float32
            )
        # Zeros mean a missing picture: no picture is all black.
        pictures[part] = np.clip(crop * 255 + 0.5, 1, 255)
    return pictures


def _pose(moves, face, filming, rng, times):
    """Motion of the head and of the crop, a track each (pictures,)."""
    slow = _wander(rng, times, 0.4, 5) * filming.motion
    shake = rng.standard_normal((2, len(times))) * filming.jitter
    # The crop follows the middle of the mouth, smoothed over 12 pictures.
    centre = 0.3 * face.opening * moves["gap"]
    window = np.ones(12) / 12
    padded = np.pad(centre, (6, 5), mode="edge")
    follow = np.convolve(padded, window, "valid")
    return {
        "tilt": 0.02 * slow[0],
        "scale": filming.scale * (1 + 0.015 * slow[1]),
        "yaw": filming.yaw + 0.05 * slow[2],
        "right": 0.8 * slow[3] + shake[0],
        "down": follow + 0.8 * slow[4] + shake[1],
    }


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
    limit = np.float32(2 * _HALF - 1.01)
    column = np.clip(u + p["right"] + np.float32(_HALF - 0.5), 0, limit)
    row = np.clip(v + p["down"] + np.float32(_HALF - 0.5), 0, limit)
    left, top = column.astype(np.int32), row.astype(np.int32)
    column -= left
    row -= top
    size = 2 * _HALF
    first = np.arange(len(canvas), dtype=np.int32)[:, None, None] * size**2
    flat = first + top * size + left
    pixels = canvas.ravel()
    above = pixels[flat]
    above += column * (pixels[flat + 1] - above)
    flat += size
    below = pixels[flat]
    below += column * (pixels[flat + 1] - below)
    return above + row * (below - above)
