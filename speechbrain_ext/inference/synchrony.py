"""How far the sound and the picture of a recording are out of step.

What is heard and what is seen are each reduced to one number per frame: how
much the sound changes (`sound_motion`) and how much the mouth moves
(`lip_motion`), or the onset probabilities of two models. `estimate_lag` finds
the lag at which the two are most alike, and how surely: a speaker's mouth and
voice move together, but in three seconds those of two strangers may, too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from speechbrain_ext.audio import as_signal, resample
from speechbrain_ext.errors import ConfigError
from speechbrain_ext.frames import FRAME_RATE, FRAME_S, n_frames

SURE = 0.95

_WINDOW_S = 10.0  # over which tracks are levelled and drift is constant
_DRIFT_WINDOWS = 6  # fewer are too short to tell a drift
_DRIFT_GAIN = 8.0  # in chi-square, for which a drift is believed
_USUAL_SHARE = 0.98  # of frames that are no outliers
_LOUDEST = 3.0  # standard deviations: a single event does not decide
_LIKENESS_S = 3.0  # further apart, the values of a track are unrelated
_UNCERTAIN_S = 0.6  # for which the variance of a correlation is widened
_RIVAL_S = 0.08  # a peak this near is the same peak
_SHORTEST_S = 1.0  # of what both tracks have at any lag

# Bands of the voice: 110 Hz to 1.9 kHz, two semitones apart, and the wider
# ones above.
_SAMPLE_RATE = 16000
_N_FFT = 512
_LOW_MIDI, _BANDS_PER_SEMITONE, _N_BANDS = 45, 0.5, 30
_FLOOR = 1e-3  # of the loudest band: -30 dB
_BLOCK = 4096  # frames

_PIXELS = 24  # side of the picture that is looked at
_FLAT = 1e-6  # spread of a picture of one value


@dataclass(frozen=True)
class Lag:
    """How far the picture comes after the sound.

    Arguments
    ---------
    lag_s : float
        Seconds, in the middle of the recording; positive = the picture comes
        late. 0 if nothing can be told.
    confidence : float
        1 minus the probability that tracks which have nothing to do with each
        other, or the next best lag, look as good. 0 to 1.
    drift_s : float
        How much later the picture comes at the end of the recording than at
        its start. Default: 0.

    Example
    -------
    >>> Lag(0.12, 0.99).sure, Lag(0.12, 0.9).sure
    (True, False)
    """

    lag_s: float
    confidence: float
    drift_s: float = 0.0

    @property
    def sure(self) -> bool:
        """Whether the confidence is 0.95 or more."""
        return self.confidence >= SURE


def lag_message(lag: Lag) -> str:
    """A lag in words, on one line.

    Arguments
    ---------
    lag : Lag

    Returns
    -------
    str

    Example
    -------
    >>> lag_message(Lag(0.12, 0.99))
    'the picture comes 120 ms late'
    >>> lag_message(Lag(-0.04, 0.99, drift_s=0.06))
    'the picture comes 40 ms early, 60 ms later at the end than at the start'
    >>> lag_message(Lag(0.004, 0.99))
    'sound and picture are in step'
    >>> lag_message(Lag(0.12, 0.3))
    'whether sound and picture are in step cannot be told (confidence 30 %)'
    """
    if not lag.sure:
        return (
            "whether sound and picture are in step cannot be told (confidence "
            f"{100 * lag.confidence:.0f} %)"
        )
    lag_ms, drift_ms = round(1000 * lag.lag_s), round(1000 * lag.drift_s)
    text = "sound and picture are in step"
    if abs(lag.lag_s) >= FRAME_S:
        late = "late" if lag_ms > 0 else "early"
        text = f"the picture comes {abs(lag_ms)} ms {late}"
    if abs(lag.drift_s) >= FRAME_S:
        later = "later" if drift_ms > 0 else "earlier"
        text += f", {abs(drift_ms)} ms {later} at the end than at the start"
    return text


def shift_frames(video, lag_s, frame_rate=FRAME_RATE):
    """Move a picture by whole frames so that it is in step with the sound.

    Arguments
    ---------
    video : np.ndarray or torch.Tensor (frames, ...)
        Pictures, or anything else with one row per frame.
    lag_s : float
        How late they come, in seconds; rounded to frames.
    frame_rate : float
        Frames per second. Default: 50.

    Returns
    -------
    np.ndarray or torch.Tensor (frames, ...)
        A copy; zeros where nothing is known.

    Example
    -------
    >>> shift_frames(np.array([1, 2, 3, 4]), 0.02).tolist()
    [2, 3, 4, 0]
    >>> shift_frames(np.array([1, 2, 3, 4]), -0.06).tolist()
    [0, 0, 0, 1]
    """
    if isinstance(video, np.ndarray):
        moved = np.zeros_like(video)
    else:
        moved = video.new_zeros(video.shape)
    frames = len(video)
    late = max(-frames, min(frames, round(lag_s * frame_rate)))
    if late >= 0:
        moved[: frames - late] = video[late:]
    else:
        moved[-late:] = video[:late]
    return moved


# --- What moves ---------------------------------------------------------------


def sound_motion(wav, sample_rate) -> np.ndarray:
    """How much the voice changes.

    Mean over bands of the voice of how far their level, in decibels and not
    below -30 dB of the loudest, changes between the frames before and after.

    Arguments
    ---------
    wav : np.ndarray (samples,)
        Mono.
    sample_rate : int
        Samples per second.

    Returns
    -------
    np.ndarray (frames,)
        One number for each 20 ms.

    Example
    -------
    >>> tone = np.sin(np.arange(16000) * 0.2) * (np.arange(16000) > 8000)
    >>> int(sound_motion(tone, 16000).argmax())
    24
    """
    from speechbrain_ext.encoders.spectral import log_frequency_filters

    wav = as_signal(wav)
    count = n_frames(len(wav) / sample_rate)
    if sample_rate != _SAMPLE_RATE:
        wav = resample(wav, sample_rate, _SAMPLE_RATE)
    if count == 0:
        return np.zeros(0)
    hop = _SAMPLE_RATE // FRAME_RATE
    side = (_N_FFT - hop) // 2
    wav = np.pad(wav, (side, max(0, count * hop - len(wav)) + side))
    pieces = np.lib.stride_tricks.sliding_window_view(wav, _N_FFT)[::hop]
    window = np.hanning(_N_FFT)
    filters = log_frequency_filters(
        _N_FFT, _LOW_MIDI, _BANDS_PER_SEMITONE, _N_BANDS
    ).numpy()
    bands = np.empty((count, _N_BANDS))
    for begin in range(0, count, _BLOCK):
        some = slice(begin, min(begin + _BLOCK, count))
        bands[some] = np.abs(np.fft.rfft(pieces[some] * window)) ** 2 @ filters
    levels = 10 * np.log10(bands + _FLOOR * max(bands.max(), 1e-20))
    return np.abs(_change(levels)).mean(axis=1)


def lip_motion(crops) -> np.ndarray:
    """How much a mouth moves, from its pictures alone.

    Mean over pixels, of a blurred and levelled picture, of how far they change
    between the frames before and after, less what a shift of the whole picture
    explains: a head that moves, or a crop that trembles, is no lip.

    Arguments
    ---------
    crops : np.ndarray (frames, height, width)
        The mouth and what is around it, grey, one picture for each 20 ms.

    Returns
    -------
    np.ndarray (frames,)
        In standard deviations of the picture per frame. NaN where a picture,
        or the one before or after it, is missing: all of one value, or not
        finite.

    Raises
    ------
    ConfigError
        If the crops are not (frames, height, width).

    Example
    -------
    >>> rng = np.random.default_rng(0)
    >>> crops = np.repeat(rng.random((2, 48, 48)), 5, axis=0)
    >>> motion = lip_motion(crops)
    >>> np.flatnonzero(motion > 0.01).tolist()
    [4, 5]
    """
    crops = np.asarray(crops)
    if crops.ndim != 3:
        raise ConfigError(
            f"crops have {crops.ndim} dimensions: give 3, (frames, height, "
            "width)"
        )
    small = np.stack([_small(crop) for crop in crops]) if len(crops) else crops
    if len(small) < 3:
        return np.full(len(crops), np.nan)
    flat = small.reshape(len(small), -1)
    spread = flat.std(axis=1)
    missing = ~(spread > _FLAT)
    if missing.all():
        return np.full(len(crops), np.nan)
    small = small - flat.mean(axis=1)[:, None, None]
    small = small / np.median(spread[~missing])
    small[missing] = np.nan
    change = _change(small)
    down, across = np.gradient(small, axis=1), np.gradient(small, axis=2)
    motion = np.full(len(small), np.nan)
    for k in np.flatnonzero(np.isfinite(change).all(axis=(1, 2)) & ~missing):
        shifts = np.stack([down[k].ravel(), across[k].ravel()], axis=1)
        seen = change[k].ravel()
        rest = seen - shifts @ np.linalg.lstsq(shifts, seen, rcond=None)[0]
        motion[k] = np.abs(rest).mean()
    return motion


def _small(crop):
    """A picture, blurred and of a fixed size."""
    from scipy.ndimage import gaussian_filter, zoom

    crop = np.asarray(crop, dtype=np.float64)
    scale = np.array([_PIXELS / size for size in crop.shape])
    blurred = gaussian_filter(crop, np.maximum(0.5, 0.5 / scale))
    return zoom(blurred, scale, order=1, grid_mode=True, mode="nearest")


def _change(rows):
    """Half the difference between the next and the previous row.

    So that a video of 25 pictures per second, each shown twice, moves evenly.
    The first and the last are those of their neighbours.
    """
    if len(rows) < 3:
        return np.zeros_like(rows)
    inner = (rows[2:] - rows[:-2]) / 2
    return np.concatenate([inner[:1], inner, inner[-1:]])


# --- When they move together --------------------------------------------------


def estimate_lag(
    sound,
    picture,
    step_s=FRAME_S,
    max_lag_s=0.4,
    sound_valid=None,
    picture_valid=None,
) -> Lag:
    """Find the lag at which two tracks of activity are most alike.

    The tracks are levelled over 10 s, so that neither a slow change nor a loud
    passage decides, and correlated at every lag. The peak is refined with a
    parabola. How far the correlation of unrelated tracks strays follows from
    how slowly these two change (Bartlett, 1935); the confidence is that of a
    t-test of the peak with this many independent frames, corrected for the
    number of lags, or that by which the peak is likelier than the next best
    one, if that is less. In recordings of a minute or more the lag may change
    evenly with time, if that explains the tracks significantly better.

    What to expect: of pairs of unrelated tracks less than 5 % are `sure`, in
    simulation 0 to 4 % for white noise, bursts of syllables and pulses. Related
    tracks of 10 s with as much noise as signal are found within 10 ms nine
    times of ten. A mouth and its voice are less alike: three seconds of
    `lip_motion` and `sound_motion` seldom suffice, twenty often do.

    Arguments
    ---------
    sound, picture : np.ndarray (frames,)
        What moves, more = higher: onset probabilities, `sound_motion`,
        `lip_motion`. They start together; NaN = missing.
    step_s : float
        Seconds between frames. Default: 0.02.
    max_lag_s : float
        Largest lag looked for, in seconds. Default: 0.4.
    sound_valid, picture_valid : np.ndarray (frames,) of bool, optional
        False = missing. Default: where the track is a number.

    Returns
    -------
    Lag
        With confidence 0 if less than a second can be compared, a track does
        not move, or the best lag is the largest.

    Raises
    ------
    ConfigError
        If a mask has not as many frames as its track.

    Example
    -------
    >>> rng = np.random.default_rng(0)
    >>> sound = rng.random(500)
    >>> picture = np.roll(sound, 6) + rng.random(500)
    >>> lag = estimate_lag(sound, picture)
    >>> round(lag.lag_s, 2), lag.sure
    (0.12, True)
    """
    count = min(len(sound), len(picture))
    most = int(round(max_lag_s / step_s))
    window = max(1, int(round(_WINDOW_S / step_s)))
    for name, track, valid in (
        ("sound", sound, sound_valid),
        ("picture", picture, picture_valid),
    ):
        if valid is not None and len(valid) != len(track):
            raise ConfigError(
                f"{name} has {len(track)} frames but {name}_valid has "
                f"{len(valid)}: give one for each frame"
            )
    sound, heard = _levelled(sound, sound_valid, count, window)
    picture, seen = _levelled(picture, picture_valid, count, window)
    # One lag more on each side tells a peak at the end from a slope.
    sums = [
        _products(sound, picture, heard, seen, late, window)
        for late in range(-most - 1, most + 2)
    ]
    pairs = np.array([pair.sum() for _, _, pair in sums])
    if pairs.min() < _SHORTEST_S / step_s:
        return Lag(0.0, 0.0)
    products = np.stack([product for product, _, _ in sums], axis=1)
    power = np.array([norm for _, norm, _ in sums])
    if power.min() <= 0:
        return Lag(0.0, 0.0)
    curve = products.sum(axis=0) / power
    stray = _stray(sound, picture, heard, seen, pairs, step_s)
    middles = np.arange(len(products)) - (len(products) - 1) / 2
    best, drift, tried = curve, 0.0, 2 * most + 1
    if count >= _DRIFT_WINDOWS * window:
        best, drift = _drifting(products, power, middles, most, stray)
        tried *= 4 * most + 1 if drift else 1
    peak = 1 + int(best[1:-1].argmax())
    confidence = _confidence(best, peak, stray, tried, _RIVAL_S / step_s)
    lag = peak + _vertex(best[peak - 1 : peak + 2]) - most - 1
    lag = float(np.clip(lag, -most, most))
    # Windows lie a window apart, the ends of the recording half a one further.
    whole = drift * count / window * step_s
    return Lag(lag * step_s, confidence, float(whole))


def _levelled(track, valid, count, window):
    """A track with mean 0 and spread 1 nearby, 0 where missing; the mask."""
    from scipy.ndimage import gaussian_filter1d, uniform_filter1d

    track = np.asarray(track, dtype=np.float64)[:count]
    known = np.isfinite(track)
    if valid is not None:
        known &= np.asarray(valid, dtype=bool)[:count]
    weight = known.astype(np.float64)
    track = np.where(known, track, 0.0)
    if not known.any():
        return track, known
    # A door that slams would shift the mean of all that is near.
    middle = np.median(track[known])
    usual = np.quantile(np.abs(track[known] - middle), _USUAL_SHARE)
    if usual > 0:
        track = np.clip(track, middle - 2 * usual, middle + 2 * usual)
        track = np.where(known, track, 0.0)

    def smooth(values, average, *options):
        share = average(weight, *options, mode="constant")
        values = average(values * weight, *options, mode="constant")
        return np.where(known, values / np.maximum(share, 1e-9), 0.0)

    track = smooth(track, gaussian_filter1d, 1.0)
    if count > 2 * window:
        track = track - smooth(track, uniform_filter1d, window)
        spread = np.sqrt(smooth(track**2, uniform_filter1d, window))
        # Where nothing happens, nothing is made of it.
        overall = np.sqrt(np.mean(track[known] ** 2))
        track = track / np.maximum(spread, 0.25 * overall + 1e-12)
    else:
        track = np.where(known, track - track[known].mean(), 0.0)
        track = track / (track[known].std() + 1e-12)
    return np.where(known, np.clip(track, -_LOUDEST, _LOUDEST), 0.0), known


def _products(sound, picture, heard, seen, late, window):
    """Sums of products at one lag.

    Returns the sum for each window of the sound, the square root of the
    product of both powers, and the number of pairs for each window.
    """
    count = len(sound)
    pairs = np.zeros(count, dtype=bool)
    first, last = max(0, -late), min(count, count - late)
    here, there = slice(first, last), slice(first + late, last + late)
    products, norm = np.zeros(count), 0.0
    if last > first:
        pairs[here] = heard[here] & seen[there]
    if pairs.any():
        one = sound[pairs]
        other = picture[np.flatnonzero(pairs) + late]
        one, other = one - one.mean(), other - other.mean()
        products[pairs] = one * other
        norm = np.sqrt((one**2).sum() * (other**2).sum())
    # A last window of less than half joins the one before.
    starts = np.arange(0, max(1, count - window // 2), window)
    if count == 0:
        return np.zeros(1), 0.0, np.zeros(1)
    return (
        np.add.reduceat(products, starts),
        norm,
        np.add.reduceat(pairs.astype(np.int64), starts),
    )


def _stray(sound, picture, heard, seen, pairs, step_s):
    """Variance of the correlation of two unrelated tracks like these."""
    likeness = _own_likeness(sound, heard, step_s)
    likeness = likeness * _own_likeness(picture, seen, step_s)
    distance = np.arange(1, len(likeness))
    shares = likeness[1:] * (1 - distance / len(sound))
    # The sum strays, too: the largest of its parts errs to the safe side, and
    # the rest is by what simulated tracks of 3 s and 10 s strayed.
    widened = 1 + 2 * max(0.0, np.cumsum(shares).max(initial=0.0))
    widened *= 1 + _UNCERTAIN_S / (len(sound) * step_s)
    return widened / np.median(pairs)


def _own_likeness(track, known, step_s):
    """Autocorrelation up to `_LIKENESS_S`, at most a quarter of the track."""
    count = len(track)
    reach = min(count // 4, int(_LIKENESS_S / step_s))

    def correlate(values):
        spectrum = np.abs(np.fft.rfft(values, 2 * count)) ** 2
        return np.fft.irfft(spectrum)[: reach + 1]

    pairs = np.maximum(correlate(known.astype(np.float64)), 1.0)
    likeness = correlate(track) / pairs
    return likeness / max(likeness[0], 1e-12)


def _drifting(products, power, middles, most, stray):
    """The curve along the drift that explains the tracks best.

    Returns the curve, and how many frames the lag grows from one window to the
    next; 0 if no drift is significantly better than none.
    """
    flat = products.sum(axis=0) / power
    ends = np.arange(-2 * most, 2 * most + 1)  # growth, first window to last
    curves = np.stack(
        [
            _along(products, end / (2 * middles[-1]) * middles) / power
            for end in ends
        ]
    )
    heights = curves[:, 1:-1].max(axis=1)
    best = int(heights.argmax())
    gain = (heights[best] ** 2 - max(0.0, flat[1:-1].max()) ** 2) / stray
    if gain < _DRIFT_GAIN or not 0 < best < len(ends) - 1:
        return flat, 0.0
    end = ends[best] + _vertex(heights[best - 1 : best + 2])
    drift = end / (2 * middles[-1])
    return _along(products, drift * middles) / power, drift


def _along(products, offsets):
    """Sum over windows of their curves, each shifted by its offset."""
    lags = np.arange(products.shape[1])
    return sum(
        np.interp(lags + offset, lags, row, left=0.0, right=0.0)
        for row, offset in zip(products, offsets, strict=True)
    )


def _vertex(three):
    """Where the parabola through a peak and its neighbours has its top."""
    before, at, after = three
    bend = before - 2 * at + after
    if bend >= 0:
        return 0.0
    return float(np.clip(0.5 * (before - after) / bend, -0.5, 0.5))


def _confidence(curve, peak, stray, tried, near):
    """1 minus the chance that this peak is none, or not the highest."""
    from scipy.stats import t as student

    height = min(curve[peak], 1 - 1e-9)
    if height <= 0 or height < max(curve[peak - 1], curve[peak + 1]):
        return 0.0
    freedom = max(1.0, 1 / stray - 2)
    scale = np.sqrt(freedom / (1 - height**2))
    by_chance = -np.expm1(
        tried * np.log1p(-min(student.sf(height * scale, freedom), 1 - 1e-9))
    )
    inner = curve[1:-1]
    tops = (inner >= curve[:-2]) & (inner >= curve[2:])
    index = np.arange(1, len(curve) - 1)
    rivals = inner[tops & (np.abs(index - peak) > near)]
    rivals = np.append(rivals, curve[[0, -1]])
    # Likelihoods, of a linear relation at each of the two lags.
    rest = (1 - max(0.0, rivals.max()) ** 2) / (1 - height**2)
    other = 1 / (1 + np.exp(min(700.0, 0.5 / stray * np.log(max(1.0, rest)))))
    return float(np.clip(1 - max(by_chance, other), 0.0, 1.0))
