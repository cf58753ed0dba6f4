"""Lip video: the mouth of a singer, drawn, and filmed by `camera`.

The skin with nose and chin is a relief, lit once for a song, whose lower part
moves with the jaw. Lips, teeth and tongue are drawn over it from a few curves
per picture.

Lengths are in pixels of the crop, which is 96 wide and high, as the crops of
AV-HuBERT: eyes and nose are at rest there, the mouth is near the middle
and 40 to 55 pixels wide. `u` goes to the right and `v` down, from the middle
of the closed mouth.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import ndimage

from data_prep.minisinging.camera import (
    HALF_PLANE,
    VIDEO_RATE,
    draw_filming,
    film,
    gaps,
)
from data_prep.minisinging.mouth import (
    MOUTH_RATE,
    PARTS,
    Habits,
    draw_habits,
    move_mouth,
)

# The window of the plane that holds the mouth (u, v).
_LEFT, _RIGHT, _TOP, _BOTTOM = -36, 36, -24, 44

# How far the corners of the mouth sink and the upper lip rises when it opens,
# as parts of the opening.
_SINK, _RISE = 0.28, 0.18

# Points of the relief per pixel.
_FINE = 3

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
    tongue : float
        Height of the tongue at rest as a part of the opening.
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
    tongue: float
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
        upper=uniform(3.2, 5.2) + 2.6 * full,
        lower=uniform(5.5, 8.0) + 3.5 * full,
        bow=uniform(0.1, 0.9),
        smile=normal(0.5, 1.2),
        crooked=normal(0, 0.7),
        opening=uniform(17, 26) * small,
        drop=uniform(11, 17) * small,
        skin=float(np.clip(normal(0.62, 0.15), 0.22, 0.85)),
        lips=uniform(0.5, 0.7) if made_up else uniform(0.6, 0.9),
        teeth=uniform(0.6, 0.95),
        gloss=uniform(0.1, 0.5) if made_up else uniform(0, 0.25),
        teeth_low=uniform(-2.5, 2.2),
        tongue=uniform(0.2, 0.5),
        nose=uniform(20, 26) * (0.5 + 0.5 * small),
        nose_width=uniform(8, 12.5),
        chin=uniform(36, 47) * (0.5 + 0.5 * small),
        jaw=uniform(50, 68),
        stubble=uniform(0.1, 0.8) if hairy else 0.0,
        moustache=uniform(0.3, 1) if bearded or man and uniform() < 0.1 else 0,
        beard=uniform(0.3, 1) if bearded else 0.0,
        folds=uniform(0.0, 0.4) if gender == "child" else uniform(0.1, 1.0),
        grain=uniform(0.2, 1.0),
        marks=int(rng.integers(2**31)),
        habits=draw_habits(rng, style),
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

    Example
    -------
    >>> from data_prep.minisinging.clip import render_clip
    >>> video = render_mouth(render_clip(1, 0.75, band=False))
    >>> video.shape, video.dtype.name
    ((38, 96, 96), 'uint8')
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
    skin = _skin(face, filming)

    def draw(part):
        now = {name: track[part] for name, track in moves.items()}
        canvas = _skins(skin, face.drop * now["jaw"])
        _mouth(canvas, now, face, filming)
        return canvas

    centre = (0.5 - _RISE) * face.opening * moves["gap"]
    motion, noise = rngs[_MOTION], rngs[_NOISE]
    video = film(draw, times, centre, filming, motion, noise)[shown]
    video[gaps(frames, filming, motion)] = 0
    return video


def _ramp(x):
    """Smooth step from 0 to 1 as x goes from 0 to 1."""
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)


def _bump(u, v, at_u, at_v, wide, high):
    return np.exp(-0.5 * (((u - at_u) / wide) ** 2 + ((v - at_v) / high) ** 2))


def _plane(step):
    """Coordinates u (row) and v (column) of the plane."""
    at = (np.arange(2 * HALF_PLANE * step) + 0.5) / step - HALF_PLANE
    return at[None, :].astype(np.float32), at[:, None].astype(np.float32)


def _skin(face, filming):
    """Skin of the face at rest, lit, without the lips (points, points)."""
    u, v = _plane(_FINE)
    rng = np.random.default_rng(face.marks)
    chin, wing = face.chin, 0.62 * face.nose_width
    # What stands out moves when the head is turned.
    turned = 15 * np.sin(filming.yaw)
    tip = -face.nose
    height = -(u**2) / 130 - np.maximum(v - 0.6 * chin, 0) ** 2 / 60
    height = height + 15 * _bump(
        u, v, turned, tip - 6, 0.6 * face.nose_width, 9
    )
    folds = 0
    for side in (-1, 1):
        height += 5 * _bump(u, v, 0.8 * turned + side * wing, tip - 1, 3.6, 4.5)
        height += 0.7 * _bump(u, v, 0.4 * turned + side * 3, -11, 1.7, 5)
        folds = folds + _fold(face, u, v, side)
    height -= 1.2 * face.folds * folds
    height += 4 * _bump(u, v, 0.3 * turned, 2, face.width, 12)
    height -= 2.2 * _bump(u, v, 0.3 * turned, 15, 13, 4)
    height += 3.5 * _bump(u, v, 0.3 * turned, 0.72 * chin, 11, 8)
    height += 0.8 * _noise(rng, u.shape[1], 7)
    slope_v, slope_u = np.gradient(height, 1 / _FINE)
    right, above = filming.light
    length = np.sqrt(1 + right**2 + above**2)
    facing = (1 - slope_u * right + slope_v * above) / (
        length * np.sqrt(1 + slope_u**2 + slope_v**2)
    )
    facing = np.maximum(facing, 0)
    shade = filming.ambient + (1 - filming.ambient) * facing
    skin = face.skin * shade + 0.15 * face.gloss * facing**10
    # The nose's shadow falls on the other side of the light.
    shadow = _bump(
        u, v, 0.6 * turned - 5 * right, tip + 6, face.nose_width, 3.5
    )
    skin *= 1 - (0.12 + 0.25 * max(above, 0)) * shadow
    skin *= 1 + face.grain * (
        0.02 * _noise(rng, u.shape[1], 0.8) + 0.04 * _noise(rng, u.shape[1], 5)
    )
    for _ in range(rng.poisson(1.5)):
        spot, size = rng.uniform(-45, 45, 2), rng.uniform(0.6, 1.3)
        skin *= 1 - rng.uniform(0.1, 0.4) * _bump(u, v, *spot, size, size)
    for side in (-1, 1):
        at = turned + side * 0.52 * wing
        skin *= 1 - 0.8 * _bump(u, v, at, tip + 2.5, 2.3, 1.6)
    skin *= 1 - _hair(face, rng, u, v)
    # Behind the jaw the neck, in shadow, and what stands behind the singer.
    round_ = np.clip(1 - np.abs(u / face.jaw) ** 2.4, 0, 1) ** 0.5
    out = _ramp((v - chin * round_ + 1.5) / 3)
    neck = face.skin * shade.mean() * rng.uniform(0.5, 0.9)
    neck = neck * (0.8 + 0.3 * _ramp((v - chin * round_) / 12))
    beyond = rng.uniform(0.05, 0.9) * face.skin
    beyond = beyond * (1 + 0.15 * _noise(rng, u.shape[1], (12, 1.2)))
    edge = rng.uniform(0.7, 1.0) * face.jaw + 0.1 * v
    wall = _ramp((np.abs(u + rng.uniform(-4, 4)) - edge) / 3)
    behind = neck * (1 - wall) + beyond * wall
    return (skin * (1 - out) + behind * out).astype(np.float32)


def _noise(rng, points, width):
    """Smooth noise of unit variance on the fine plane; width in pixels."""
    sigma = np.asarray(width) * _FINE
    # Wide noise needs few points.
    step = max(1, int(np.min(sigma) / 3))
    few = rng.standard_normal((-(-points // step) + 1,) * 2)
    few = ndimage.gaussian_filter(few, sigma / step, mode="wrap")
    few /= few.std() + 1e-9
    if step > 1:
        few = ndimage.zoom(few, step, order=1)
    return few[:points, :points]


def _fold(face, u, v, side):
    """Fold from the nose to beside the mouth, 0 to 1."""
    from_nose = v + face.nose
    bent = 6 + 0.9 * from_nose - 0.009 * from_nose * np.abs(from_nose)
    line = side * (0.62 * face.nose_width + bent) - u
    along = _ramp((from_nose + 5) / 14) * _ramp((10 - v) / 22)
    return np.exp(-0.5 * (line / 2.4) ** 2) * along


def _hair(face, rng, u, v):
    """Share of the light that hair takes (points, points)."""
    wild = 1.3 * _noise(rng, u.shape[1], 2.5)
    line = 17 - 32 * _ramp((np.abs(u) - 14) / 34)
    beard = _ramp((v - line + wild) / 9)
    lip = _ramp((v + 17 + wild) / 8) * _ramp((27 - np.abs(u) + wild) / 10)
    lip = lip * _ramp((4 - v) / 5) * (1 - 0.5 * _bump(u, v, 0, -11, 2.5, 9))
    strands = _noise(rng, u.shape[1], (0.8, 0.35))
    thick = np.clip(beard * face.beard + lip * face.moustache, 0, 1)
    short = np.clip(beard + 0.8 * lip, 0, 1) * face.stubble
    return np.clip(
        thick * (0.55 + 0.1 * strands) + short * (0.14 + 0.08 * strands), 0, 0.9
    )


@cache
def _pull():
    """How far points of the plane follow the jaw (rows, 1), 0 to 1."""
    _, v = _plane(1)
    # Not too steep: skin stretches, but does not fold.
    way = np.clip((v + 12) / 38, 0, 1)
    return (0.5 * (way + _ramp(way))).astype(np.float32)


def _skins(skin, drop):
    """Skin with the jaw lowered by `drop` pixels each (pictures, 120, 120)."""
    columns = 2 * HALF_PLANE * _FINE
    _, v = _plane(1)
    u, _ = _plane(1)
    column = ((u + HALF_PLANE) * _FINE).astype(np.int32)
    row = (v + HALF_PLANE) * _FINE - drop[:, None, None] * (_FINE * _pull())
    flat = row.astype(np.int32) * columns + column
    return skin.ravel()[flat]


def _mouth(canvas, moves, face, filming):
    """Draw lips and what is between them onto pictures, in place."""
    u = np.arange(_LEFT, _RIGHT, dtype=np.float32)[None] + 0.5
    v = (np.arange(_TOP, _BOTTOM, dtype=np.float32) + 0.5)[None, :, None]
    gap, jaw, width, pout, lift, tongue, tuck, press = (
        moves[name][:, None] for name in PARTS
    )
    open_px = face.opening * gap
    drop_px = face.drop * jaw
    spread, rounded = np.maximum(width, 0), np.minimum(width, 0)
    half = face.width * (
        1 + 0.11 * spread + 0.22 * rounded - 0.06 * pout - 0.06 * gap
    )
    s = u / half
    dome = np.sqrt(np.clip(1 - s * s, 0, 1))
    inner = half * (0.96 - 0.2 * pout - 0.14 * np.minimum(gap, 1))
    hole = np.clip(1 - (u / inner) ** 2, 0, 1) ** (0.9 - 0.25 * gap)
    # The corners sink with the jaw, the upper lip rises a little.
    line = (
        face.crooked - (face.smile + 1.5 * spread) * s
    ) * s + _SINK * open_px
    thick = (1 - 0.5 * press) * (1 + 0.25 * pout - 0.12 * gap)
    up = (_RISE + _SINK) * open_px + 1.8 * lift * np.minimum(1, gap / 0.15)
    low = (1 - _RISE - _SINK) * open_px
    ripple = 0.8 * face.bow * np.exp(-((s / 0.2) ** 2))
    top_in = line - up * hole + ripple
    low_in = line + low * hole + ripple * np.clip(1 - 4 * gap, 0, 1)
    dent = 1 - 0.35 * face.bow * np.exp(-((s / 0.13) ** 2))
    top_out = line - up * dome - face.upper * thick * dome**1.3 * dent
    low_out = (
        line + low * dome + face.lower * thick * (1 - 0.5 * tuck) * dome**1.1
    )

    def below(curve, soft=1.3):
        """1 below a curve, 0 above it (pictures, rows, columns)."""
        edge = v - curve.astype(np.float32)[:, None, :]
        edge *= np.float32(1 / soft)
        edge += np.float32(0.5)
        return np.clip(edge, 0, 1, out=edge)

    def around(curve, reach):
        """1 on a curve, falling off beside it (pictures, rows, columns)."""
        bell = v - curve.astype(np.float32)[:, None, :]
        bell *= bell
        bell *= np.float32(-0.5 / reach**2)
        return np.exp(bell, out=bell)

    def wide(rows):
        """(pictures or 1, columns) as (pictures or 1, 1, columns)."""
        return rows.astype(np.float32)[:, None, :]

    window = canvas[
        :,
        _TOP + HALF_PLANE : _BOTTOM + HALF_PLANE,
        _LEFT + HALF_PLANE : _RIGHT + HALF_PLANE,
    ]
    right, above = filming.light
    # Folds deepen in a wide mouth.
    window *= 1 - wide(0.18 * face.folds * spread) * _window_folds(face)
    # Shadows under the lower lip and in the corners.
    strength = 0.14 + 0.2 * max(above, 0)
    window *= 1 - wide(strength * dome) * around(low_out + 2.5, 2.4)
    corner = np.exp(-(((np.abs(s) - 0.99) / 0.07) ** 2)) * (1 - 0.4 * gap)
    window *= 1 - wide(0.35 * corner) * around(line, 1.8)
    # The upper lip looks down, the lower one up; both are round.
    lit = face.skin * (filming.ambient + 0.85 * (1 - filming.ambient))
    lit = lit * (1 + 0.25 * right * s * (1 - filming.ambient))
    tone = lit * face.lips
    colour = wide(tone * (0.85 - 0.15 * max(above, 0))) + wide(
        tone * (0.06 + 0.18 * max(above, 0))
    ) * below(0.5 * (top_in + low_in), 3.0)
    full = 0.5 * (low_in + low_out)
    colour += wide((0.06 * tone + 0.3 * face.gloss) * dome**3) * around(
        full - 0.8, 1.5
    )
    colour *= 1 + wide(_creases(face, u / face.width))
    lips = below(top_out, 1.8)
    lips *= 1 - below(low_out, 2.4)
    lips *= wide(np.clip((1 - np.abs(s)) * 10, 0, 1))
    colour -= window
    colour *= lips
    window += colour
    # Between the lips: upper teeth stay, lower ones follow the jaw.
    inside = below(top_in)
    inside *= 1 - below(low_in)
    inside *= wide(hole > 0)
    arch = u * u * (0.03 / face.width * 12)
    white = face.teeth * (0.5 + 0.45 * filming.ambient)
    white = white * (1 - 0.6 * np.minimum(pout, 1))
    white = white * (0.15 + 0.85 * np.clip(1 - (u / inner) ** 2, 0, 1))
    dark = wide(0.08 * lit + 0 * s)
    rows = _teeth(face, u)
    upper = 1 - below(face.teeth_low + 0.05 * open_px - arch)
    mouth = upper * (wide(white * rows[0]) - dark)
    mouth += dark
    blob = low_in - (face.tongue + 0.45 * tongue) * open_px * hole**0.5
    flesh = below(blob, 5.0)
    flesh *= 1 - upper
    mouth += flesh * (wide(0.9 * tone * (0.1 + 0.9 * hole)) - mouth)
    lower = below(4.0 + face.teeth_low + drop_px + 0.6 * arch)
    mouth += lower * (wide(0.75 * white * rows[1]) - mouth)
    mouth -= window
    mouth *= inside
    window += mouth
    # The line between closed lips.
    closed = np.clip(1 - open_px / 2.5, 0, 1) * dome**0.4
    window *= 1 - wide(0.55 * closed) * around(0.5 * (top_in + low_in), 0.85)


def _window_folds(face):
    """Both folds on the window of the mouth (1, rows, columns)."""
    u = np.arange(_LEFT, _RIGHT)[None] + 0.5
    v = np.arange(_TOP, _BOTTOM)[:, None] + 0.5
    both = _fold(face, u, v, -1) + _fold(face, u, v, 1)
    return both.astype(np.float32)[None]


def _creases(face, s):
    """Relative brightness of the lips across (1, columns)."""
    rng = np.random.default_rng([face.marks, 2])
    waves = rng.uniform(12, 45, 5)[:, None], rng.uniform(0, 7, 5)[:, None]
    return 0.03 * face.grain * np.sin(waves[0] * s + waves[1]).sum(0)[None]


def _teeth(face, u):
    """Brightness along the upper and the lower row of teeth (1, columns)."""
    rng = np.random.default_rng([face.marks, 1])
    rows = []
    for size in (5.2, 3.4):
        phase = u / (size * rng.uniform(0.9, 1.1)) + rng.uniform(-0.05, 0.05)
        gap = np.abs(phase - np.round(phase))
        rows.append(1 - 0.16 * np.exp(-((gap / 0.1) ** 2)))
    return rows
