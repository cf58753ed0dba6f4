"""How the mouth of a singer moves: from phones to lips, jaw and tongue.

The vowels make one slow movement, from posture to posture; consonants are
gestures laid over it, each with a weight that says how much it asks for: a
velar stop leaves the lips alone, a bilabial closes them whatever comes after.
This is the numerical model of coarticulation of S. Öhman (JASA 41, 1967),
eq. 1: shape(t) = vowel(t) + k(t) * weight * (consonant - vowel(t)).

Loud and high notes open the jaw further. Notes that follow each other within
a vowel show no more than that: the lips do not tell of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from data_prep.minisinging.tracks import smooth, wander

# Points per second of all tracks.
MOUTH_RATE = 100

# What a posture is made of. `gap`: distance of the lips, 0 closed, 1 wide
# open. `jaw`: lowering. `width`: -1 rounded, 1 spread. `pout`: lips put
# forward. `raise`: upper lip lifted off the teeth. `tongue`: its tip is up or
# between the teeth. `tuck`: lower lip under the upper teeth. `press`: lips
# pressed together.
PARTS = ("gap", "jaw", "width", "pout", "raise", "tongue", "tuck", "press")
_GAP, _JAW, _WIDTH, _POUT, _RAISE, _TONGUE, _TUCK, _PRESS = range(len(PARTS))


def _v(gap, jaw, width, pout, lift, tongue):
    return np.array([gap, jaw, width, pout, lift, tongue, 0.0, 0.0])


# Postures of the vowels, sung mezzo-forte.
VOWEL_SHAPES = {
    "IY": _v(0.26, 0.24, 0.85, 0.0, 0.6, 0.30),
    "IH": _v(0.34, 0.34, 0.50, 0.0, 0.4, 0.25),
    "EE": _v(0.40, 0.40, 0.60, 0.0, 0.4, 0.25),
    "EH": _v(0.55, 0.55, 0.45, 0.0, 0.3, 0.20),
    "AE": _v(0.74, 0.72, 0.55, 0.0, 0.4, 0.15),
    "AA": _v(0.90, 0.90, 0.10, 0.0, 0.2, 0.05),
    "AH": _v(0.62, 0.62, 0.10, 0.0, 0.2, 0.10),
    "AO": _v(0.64, 0.72, -0.45, 0.40, 0.0, 0.05),
    "OO": _v(0.42, 0.52, -0.75, 0.75, 0.0, 0.05),
    "UH": _v(0.33, 0.36, -0.50, 0.50, 0.0, 0.05),
    "UW": _v(0.20, 0.24, -1.00, 1.00, 0.0, 0.05),
    "ER": _v(0.36, 0.40, -0.25, 0.40, 0.2, 0.20),
    "UE": _v(0.20, 0.22, -0.90, 0.90, 0.0, 0.20),
    "OE": _v(0.38, 0.44, -0.65, 0.65, 0.0, 0.15),
}


def _c(**parts):
    """Targets and weights of a consonant: part=(target, weight)."""
    target, weight = np.zeros(len(PARTS)), np.zeros(len(PARTS))
    for name, pair in parts.items():
        k = PARTS.index("raise" if name == "lift" else name)
        target[k], weight[k] = pair
    return target, weight


_BILABIAL = _c(gap=(0, 1), jaw=(0.1, 0.6), press=(1, 1), lift=(0, 0.8))
_LIP_TEETH = _c(
    gap=(0.10, 1), jaw=(0.15, 0.7), tuck=(1, 1), lift=(0.5, 0.8),
    width=(0.15, 0.4),
)  # fmt: skip
_HISSING = _c(
    gap=(0.26, 0.75), jaw=(0.06, 0.9), width=(0.5, 0.45), lift=(0.7, 0.8),
    tongue=(0.1, 0.5),
)  # fmt: skip
_HUSHING = _c(
    gap=(0.32, 0.75), jaw=(0.08, 0.9), width=(-0.45, 0.7), pout=(0.75, 0.8),
    lift=(0.7, 0.8),
)  # fmt: skip
_TONGUE_TIP = _c(
    gap=(0.26, 0.5), jaw=(0.18, 0.65), tongue=(0.8, 0.9), lift=(0.4, 0.3)
)
_BETWEEN_TEETH = _c(
    gap=(0.24, 0.65), jaw=(0.22, 0.7), tongue=(1, 1), lift=(0.4, 0.4)
)
_BACK = _c(gap=(0.36, 0.3), jaw=(0.32, 0.4))
_PALATAL = _c(
    gap=(0.26, 0.6), jaw=(0.22, 0.7), width=(0.7, 0.6), lift=(0.4, 0.4)
)
_FREE = _c()

CONSONANT_SHAPES = {
    "P": _BILABIAL, "B": _BILABIAL, "M": _BILABIAL,
    "F": _LIP_TEETH, "V": _LIP_TEETH,
    "S": _HISSING, "Z": _HISSING, "TS": _HISSING,
    "SH": _HUSHING, "ZH": _HUSHING, "CH": _HUSHING, "JH": _HUSHING,
    "T": _TONGUE_TIP, "D": _TONGUE_TIP, "N": _TONGUE_TIP,
    "TH": _BETWEEN_TEETH, "DH": _BETWEEN_TEETH,
    "L": _c(gap=(0.4, 0.45), jaw=(0.38, 0.5), tongue=(1, 1)),
    "RR": _c(gap=(0.36, 0.4), jaw=(0.3, 0.5), tongue=(0.8, 0.9)),
    "R": _c(gap=(0.28, 0.5), jaw=(0.3, 0.5), width=(-0.5, 0.6),
            pout=(0.45, 0.6)),
    "W": _c(gap=(0.1, 0.95), jaw=(0.2, 0.7), width=(-1, 0.95), pout=(1, 0.95)),
    "Y": _PALATAL, "GN": _PALATAL,
    "K": _BACK, "G": _BACK, "X": _BACK, "NG": _BACK,
    "HH": _FREE, "Q": _FREE,
}  # fmt: skip


# What mouths do in long rests, added to the posture: swallow, lick the lips,
# smile, gape.
_IDLE = (
    np.array([-0.1, 0.0, -0.1, 0.1, 0.0, 0.0, 0.0, 1.0]),
    np.array([0.18, 0.1, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0]),
    np.array([0.03, 0.0, 0.8, 0.0, 0.3, 0.0, 0.0, 0.0]),
    np.array([0.35, 0.3, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]),
)


@dataclass(frozen=True)
class Habits:
    """How a person moves the mouth while singing.

    Arguments
    ---------
    strength : float
        Factor on all openings; 1 is clear articulation, 0.5 a mumble.
    lip_lead_s : float
        How long before the sound the posture of a vowel is taken, seconds.
    quickness_s : float
        Time that a movement from vowel to vowel takes, seconds.
    release_s : float
        Time that the lips take to open from a consonant, seconds.
    rest_gap : float
        Distance of the lips in a rest, in units of `gap`.
    rest_width : float
        Width of the mouth in a rest: above 0 for a smile.
    hold_s : float
        How long the mouth stays open after the end of a phrase, seconds.
    level_gain, pitch_gain : float
        Relative change of the opening per 10 dB and per octave.
    carelessness : float
        Standard deviation of every target, relative.
    breath : float
        Opening when breathing in before a phrase, in units of `gap`.
    """

    strength: float
    lip_lead_s: float
    quickness_s: float
    release_s: float
    rest_gap: float
    rest_width: float
    hold_s: float
    level_gain: float
    pitch_gain: float
    carelessness: float
    breath: float


def draw_habits(rng, style="pop") -> Habits:
    """Draw how a person moves the mouth.

    Arguments
    ---------
    rng : np.random.Generator
        Source of randomness.
    style : str, optional
        As `Singer.style`; trained singers open the mouth more, amateurs
        less. Default: pop.

    Returns
    -------
    Habits

    Example
    -------
    >>> habits = draw_habits(np.random.default_rng(0))
    >>> 0.4 < habits.strength < 1.3
    True
    """
    uniform = rng.uniform
    more = {"trained": 0.12, "amateur": -0.12}.get(style, 0.0)
    return Habits(
        strength=uniform(0.6, 1.1) + more,
        lip_lead_s=uniform(0.03, 0.11),
        quickness_s=uniform(0.09, 0.2),
        release_s=uniform(0.05, 0.11),
        rest_gap=max(0.0, uniform(-0.08, 0.12)),
        rest_width=uniform(-0.15, 0.4),
        hold_s=uniform(0.02, 0.25),
        level_gain=uniform(0.05, 0.4),
        pitch_gain=uniform(0.0, 0.35),
        carelessness=uniform(0.05, 0.2),
        breath=uniform(0.1, 0.45),
    )


def move_mouth(clip, habits, rng) -> np.ndarray:
    """Movement of a mouth that sings a clip.

    Arguments
    ---------
    clip : Clip
        What is sung.
    habits : Habits
        Who moves.
    rng : np.random.Generator
        Source of randomness.

    Returns
    -------
    np.ndarray (parts, points)
        One track for each of `PARTS`, `MOUTH_RATE` points per second: point i
        belongs to the time i / `MOUTH_RATE`.
    """
    points = int(np.ceil(clip.duration * MOUTH_RATE)) + 1
    phones = _phones(clip)
    tracks = _vowels(phones, habits, rng, points)
    tracks[[_GAP, _JAW]] *= _effort(clip, habits, points)
    draws = rng.standard_normal((len(phones), 4))
    for (start, stop, name), z in zip(phones, draws, strict=True):
        if name in CONSONANT_SHAPES:
            _gesture(tracks, start, stop, name, habits, z)
    # Nobody holds quite still.
    still = np.array([_wander(rng, points, 1.5) for _ in range(4)])
    tracks[_GAP] += 0.025 * still[0] * np.minimum(1, tracks[_GAP] / 0.1)
    tracks[_JAW] += 0.025 * still[1]
    tracks[_WIDTH] += 0.1 * still[2]
    tracks[_RAISE] += 0.1 * still[3]
    tracks[_WIDTH] = np.clip(tracks[_WIDTH], -1.2, 1.4)
    others = [k for k in range(len(PARTS)) if k != _WIDTH]
    tracks[others] = np.clip(tracks[others], 0, 1.4)
    return tracks.astype(np.float32)


def _phones(clip):
    """Phones with times, by start."""
    return sorted(clip.phones, key=lambda row: row[0])


def _index(seconds, points):
    return int(min(max(round(seconds * MOUTH_RATE), 0), points))


_smooth = partial(smooth, rate=MOUTH_RATE)
_wander = partial(wander, rate=MOUTH_RATE)


def _posture(name):
    """First and last posture of a vowel."""
    first, _, last = name.partition("-")
    return VOWEL_SHAPES[first], VOWEL_SHAPES[last or first]


def stays(before, now) -> bool:
    """Whether a vowel goes on in a phone: the mouth shows no new note.

    Arguments
    ---------
    before, now : (float, float, str)
        Start, end and name of two phones in succession.

    Returns
    -------
    bool

    Example
    -------
    >>> stays((0.0, 0.5, "AA-IH"), (0.5, 0.8, "IH"))
    True
    >>> stays((0.0, 0.5, "AA"), (0.5, 0.6, "M"))
    False
    """
    return before[2].split("-")[-1] == now[2] and now[0] - before[1] < 0.02


def _vowels(phones, habits, rng, points):
    """Tracks of the movement from vowel to vowel, rests and breaths too."""
    rest = np.zeros(len(PARTS))
    rest[_GAP], rest[_JAW] = habits.rest_gap, 0.6 * habits.rest_gap
    rest[_WIDTH] = habits.rest_width
    tracks = np.repeat(rest[:, None], points, axis=1)
    draws = rng.uniform(size=(len(phones), 8))
    normal = rng.standard_normal(len(phones))
    end = 0.0  # of the last phone
    begin = 0.0  # of the syllable's consonants
    last = None
    for k, (start, stop, name) in enumerate(phones):
        if start - end > 0.2 or k == 0:
            begin = start
            if last is not None:
                held = min(habits.hold_s * 2 * draws[k, 0], start - end)
                a, b = _index(end, points), _index(end + held, points)
                tracks[:, a:b] = last[:, None]
            if draws[k, 1] < 0.8:
                length = (0.15 + 0.35 * draws[k, 2]) * min(1, start - end)
                a = _index(start - length, points)
                b = _index(start, points)
                breath = rest.copy()
                breath[_GAP] = habits.breath * (0.5 + draws[k, 3])
                breath[_JAW] = 0.8 * breath[_GAP]
                tracks[:, a:b] = breath[:, None]
            if start - end > 1.5 and draws[k, 4] < 0.35:
                # The mouth has more to do than to sing.
                other = rest + _IDLE[int(draws[k, 5] * len(_IDLE))]
                at = end + 0.5 + (start - end - 1.2) * draws[k, 6]
                a = _index(at, points)
                b = _index(at + 0.15 + 0.5 * draws[k, 7], points)
                tracks[:, a:b] = other[:, None]
            last = None
        end = stop
        if name in CONSONANT_SHAPES:
            continue
        first, second = _posture(name)
        # A note that goes on with a vowel does not form it again.
        if not (k and stays(phones[k - 1], phones[k])):
            size = habits.strength * np.exp(habits.carelessness * normal[k])
        factor = np.where(np.arange(len(PARTS)) == _TONGUE, 1, size)
        first, second = first * factor, second * factor
        # The posture comes with the consonants before the vowel.
        early = 0.5 * (begin + start) - habits.lip_lead_s
        turn = stop - min(0.45 * (stop - start), 0.16)
        a, b, c = (_index(t, points) for t in (early, turn, stop))
        tracks[:, a:b] = first[:, None]
        tracks[:, b:c] = second[:, None]
        last, begin = second, stop
        if k + 1 < len(phones) and phones[k + 1][0] - stop <= 0.2:
            following = next(
                (p[0] for p in phones[k + 1 :] if p[2] not in CONSONANT_SHAPES),
                stop,
            )
            d = _index(following, points)
            tracks[:, c:d] = second[:, None]
    return np.array([_smooth(t, habits.quickness_s) for t in tracks])


def _effort(clip, habits, points):
    """Factor on the opening that loudness and pitch ask for (points,)."""
    hop = clip.sample_rate // MOUTH_RATE
    voice = clip.voice[: len(clip.voice) // hop * hop].reshape(-1, hop)
    level = 10 * np.log10(np.mean(np.square(voice), axis=1) + 1e-10)
    sung = clip.f0 > 0
    times = (np.arange(len(clip.f0)) + 0.5) * clip.f0_hop_s
    at = np.arange(points) / MOUTH_RATE
    factor = np.ones(points)
    if not sung.any():
        return factor
    heard = (np.arange(len(level)) + 0.5) * hop / clip.sample_rate
    level = np.interp(times, heard, level)
    loud = np.clip(level - np.median(level[sung]), -12, 12) / 10
    high = (clip.f0 - np.median(clip.f0[sung])) / 12
    gain = habits.level_gain * loud + habits.pitch_gain * high
    gain = np.interp(at, times[sung], gain[sung])
    return np.clip(1 + _smooth(gain, 0.12), 0.5, 1.5)


def _gesture(tracks, start, stop, name, habits, z):
    """Lay one consonant over the tracks."""
    target, weight = CONSONANT_SHAPES[name]
    points = tracks.shape[1]
    length = stop - start
    closing = 0.75 * habits.release_s * np.exp(0.2 * z[0])
    release = habits.release_s * np.exp(0.2 * z[1])
    if weight[_PRESS]:
        # Lips part with the burst, of which there is none in a nasal.
        full = start + 0.1 * length
        part = {"P": 0.6, "B": 0.8}.get(name, 0.95)
        part = start + part * length
    else:
        slack = 0.008 * np.clip(z[2], -2, 2)
        full = start + 0.35 * length + slack
        part = start + 0.65 * length + slack
        weight = np.clip(weight * np.exp(habits.carelessness * z[3]), 0, 1)
    a = _index(full - closing - 0.02, points)
    b = _index(part + release + 0.02, points)
    time = np.arange(a, b) / MOUTH_RATE
    rise = np.clip((time - (full - closing)) / closing, 0, 1)
    fall = np.clip((part + release - time) / release, 0, 1)
    kernel = (0.5 - 0.5 * np.cos(np.pi * rise)) * (
        0.5 - 0.5 * np.cos(np.pi * fall)
    )
    now = tracks[:, a:b]
    now += kernel * weight[:, None] * (target[:, None] - now)
