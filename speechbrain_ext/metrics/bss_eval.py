"""Scores of one separated recording, on arrays.

- **SI-SDR**, scale-invariant signal-to-distortion ratio (Le Roux et al.,
  ICASSP 2019), and **SNR**, the same without a free gain, which the Music
  Demixing challenge calls SDR.
- **BSS-Eval 3** (Vincent, Gribonval and Févotte, IEEE TASLP 14(4), 2006): the
  estimate is split into the reference after any filter of 512 taps, what any
  such filters of the other references explain (interference), and the rest
  (artifacts). SDR, SIR and SAR are ratios of their energies, ISR tells the
  filter from none. Once per clip, as `mir_eval.separation.bss_eval_sources` (a
  filtered reference counts as right) and `bss_eval_images` (it does not) do.
- **BSS-Eval 4** (Stöter, Liutkus and Ito, LVA/ICA 2018): the `images` scores in
  frames of one second, with one set of filters for the whole song, as
  `museval` does.

Figures agree with those libraries to 1e-3 dB. The filters come from one system
of equations for all estimates, its covariances from short Fourier transforms,
so that no transform is as long as the song, and the energies from the signals
filtered block by block.

All ratios are in dB. What has no answer is nan, never an error of arithmetic:
a signal is *silent* if all of its samples are 0.

- SI-SDR and SNR of a source are nan where its reference is silent; SI-SDR also
  where its estimate is.
- BSS-Eval scores of all sources are nan where any reference or estimate is
  silent, in version 4 frame by frame: so museval has it for frames. For whole
  clips, where museval and mir_eval refuse the input, it is the same here. They
  take channels that cancel each other for silence; here they are scored.
- A ratio to nothing, as of an exact estimate, is inf.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.fft
import scipy.linalg
import scipy.optimize

from speechbrain_ext.errors import AudioError, ConfigError

FILTER_LENGTH = 512

# Samples of a Fourier transform: long against the filters, short against the
# processor's cache.
_BLOCK = 1 << 14


class BssScores(NamedTuple):
    """Scores by BSS-Eval, in dB.

    Arguments
    ---------
    sdr, isr, sir, sar : np.ndarray (sources,) or (sources, frames)
        Ratio of signal to distortion, image to spatial distortion, signal to
        interference and signal to artifacts; isr is nan in the variant that
        allows any filter.
    permutation : np.ndarray (sources,)
        Which estimate was compared with each reference.
    """

    sdr: np.ndarray
    isr: np.ndarray
    sir: np.ndarray
    sar: np.ndarray
    permutation: np.ndarray


def si_sdr(references, estimates, zero_mean: bool = False) -> np.ndarray:
    """Scale-invariant signal-to-distortion ratio.

    The reference s is scaled by a = <s, e> / |s|^2 to fit the estimate e; the
    score is |a s|^2 / |a s - e|^2. Channels of a source share one gain.

    Arguments
    ---------
    references, estimates : np.ndarray (sources, samples)
        Or (sources, channels, samples); of the same shape.
    zero_mean : bool
        Whether to remove the mean of every channel first. Default: False.

    Returns
    -------
    np.ndarray (sources,)
        dB; nan where the reference or the estimate is silent, inf for an
        exact estimate, -inf for an estimate orthogonal to its reference.

    Raises
    ------
    AudioError
        If the shapes differ or a value is not finite.

    Example
    -------
    A tenth of the reference's amplitude is added, orthogonal to it:

    >>> s, n = np.array([1.0, 1.0, 0.0]), np.array([0.1, -0.1, 0.0])
    >>> np.round(si_sdr([s], [3 * (s + n)]), 6)
    array([20.])
    """
    references, estimates = _checked(references, estimates)
    scores = []
    for reference, estimate in zip(references, estimates, strict=True):
        products = np.zeros(3)
        for s, e in _double(reference, estimate, zero_mean):
            products += np.vdot(s, s), np.vdot(e, e), np.vdot(s, e)
        energy, other, common = products
        if energy == 0 or other == 0:
            scores.append(np.nan)
            continue
        target = rest = 0.0
        for s, e in _double(reference, estimate, zero_mean):
            part = (common / energy) * s
            target += _energy(part)
            rest += _energy(part - e)
        scores.append(_db(target, rest))
    return np.array(scores)


def snr(references, estimates) -> np.ndarray:
    """Ratio of a source to the error of its estimate: |s|^2 / |s - e|^2.

    Arguments
    ---------
    references, estimates : np.ndarray (sources, samples)
        Or (sources, channels, samples); of the same shape.

    Returns
    -------
    np.ndarray (sources,)
        dB; nan where the reference is silent, 0 for a silent estimate, inf for
        an exact one.

    Raises
    ------
    AudioError
        If the shapes differ or a value is not finite.

    Example
    -------
    >>> s = np.array([1.0, -1.0, 1.0])
    >>> np.round(snr([s, s], [0.9 * s, 0 * s]), 6)
    array([20.,  0.])
    """
    references, estimates = _checked(references, estimates)
    scores = []
    for reference, estimate in zip(references, estimates, strict=True):
        energy = rest = 0.0
        for s, e in _double(reference, estimate):
            energy += _energy(s)
            rest += _energy(s - e)
        scores.append(_db(energy, rest) if energy > 0 else np.nan)
    return np.array(scores)


def bss_eval_v3(
    references,
    estimates,
    images: bool | None = None,
    permute: bool = False,
    filter_length: int = FILTER_LENGTH,
) -> BssScores:
    """BSS-Eval 3 of a whole clip.

    Arguments
    ---------
    references, estimates : np.ndarray (sources, samples)
        Or (sources, channels, samples); of the same shape.
    images : bool, optional
        Whether a filtered source counts as distorted (`bss_eval_images`), or
        as right (`bss_eval_sources`, without ISR). Default: only with more
        than one channel.
    permute : bool
        Whether to look for the order of the estimates whose mean SIR is
        highest. Default: False, the order given.
    filter_length : int
        Taps. Default: 512.

    Returns
    -------
    BssScores
        Each (sources,); nan if any reference or estimate is silent.

    Raises
    ------
    AudioError
        If the shapes differ or a value is not finite.
    ConfigError
        If `filter_length` is below 1.

    Example
    -------
    The estimates are the sources with a tenth of each other's amplitude:

    >>> noise = np.random.default_rng(0).normal(size=(2, 16000))
    >>> scores = bss_eval_v3(noise, noise + 0.1 * noise[::-1])
    >>> np.round(scores.sir), bool(scores.sar.min() > 100)
    (array([20., 20.]), True)
    """
    references, estimates = _checked(references, estimates)
    if images is None:
        images = references.shape[1] > 1
    sources = len(references)
    pairs = [(j, j) for j in range(sources)]
    if permute:
        pairs = [(j, k) for j in range(sources) for k in range(sources)]
    scores = bss_eval_pairs(
        references, estimates, pairs, images, filter_length=filter_length
    )[..., 0]
    order = np.arange(sources)
    if permute:
        table = scores.reshape(4, sources, sources)
        order = best_order(table[2])
        scores = table[:, np.arange(sources), order]
    return BssScores(*scores, order)


def bss_eval_v4(
    references,
    estimates,
    sample_rate: int,
    window_s: float = 1.0,
    hop_s: float = 1.0,
    filter_length: int = FILTER_LENGTH,
) -> BssScores:
    """BSS-Eval 4 of a song, frame by frame, as museval computes it.

    Arguments
    ---------
    references, estimates : np.ndarray (sources, samples)
        Or (sources, channels, samples); of the same shape.
    sample_rate : int
        Hertz.
    window_s, hop_s : float
        Length and distance of the frames in seconds. Default: 1. What is left
        at the end of the song takes part in the filters only; a song shorter
        than a frame is one frame.
    filter_length : int
        Taps. Default: 512.

    Returns
    -------
    BssScores
        Each (sources, frames); nan in frames in which any reference or
        estimate is silent. A song's score is the median of the others,
        `median_over_frames`.

    Raises
    ------
    AudioError
        If the shapes differ or a value is not finite.
    ConfigError
        If a length is not positive.

    Example
    -------
    >>> noise = np.random.default_rng(0).normal(size=(2, 2, 3000))
    >>> noise[0, :, 1000:2000] = 0
    >>> scores = bss_eval_v4(noise, noise + 0.1 * noise[::-1], 1000)
    >>> scores.sdr.shape, np.isnan(scores.sdr[1])
    ((2, 3), array([False,  True, False]))
    """
    references, estimates = _checked(references, estimates)
    frames = frames_of(references.shape[-1], sample_rate, window_s, hop_s)
    order = np.arange(len(references))
    scores = bss_eval_pairs(
        references,
        estimates,
        [(j, j) for j in order],
        images=True,
        frames=frames,
        filter_length=filter_length,
    )
    return BssScores(*scores, order)


def frames_of(
    samples: int,
    sample_rate: int,
    window_s: float = 1.0,
    hop_s: float = 1.0,
) -> list[tuple[int, int]]:
    """Frames of BSS-Eval 4.

    Arguments
    ---------
    samples : int
        Length of the song.
    sample_rate : int
        Hertz.
    window_s, hop_s : float
        As in `bss_eval_v4`.

    Returns
    -------
    list of (int, int)
        First sample and the one after the last.

    Raises
    ------
    ConfigError
        If a length is not positive.

    Example
    -------
    >>> frames_of(2500, 1000), frames_of(500, 1000)
    ([(0, 1000), (1000, 2000)], [(0, 500)])
    """
    window, hop = (round(s * sample_rate) for s in (window_s, hop_s))
    if min(window, hop) < 1:
        raise ConfigError(
            f"frames of {window_s:g} s every {hop_s:g} s at {sample_rate} Hz "
            "have no samples: use longer ones"
        )
    count = (samples - window) // hop + 1 if window < samples else 1
    return [(k * hop, min(k * hop + window, samples)) for k in range(count)]


def bss_eval_pairs(
    references,
    estimates,
    pairs,
    images: bool,
    frames=None,
    filter_length: int = FILTER_LENGTH,
) -> np.ndarray:
    """Scores of any estimates as estimates of any references.

    The filters of all estimates are solved for together, so that one call with
    the mixture as one more estimate is cheaper than two.

    Arguments
    ---------
    references : np.ndarray (sources, channels, samples)
        Or (sources, samples).
    estimates : np.ndarray (estimates, channels, samples)
        As many or more or fewer than references, otherwise of their shape.
    pairs : list of (int, int)
        Indices of reference and estimate.
    images : bool
        As in `bss_eval_v3`.
    frames : list of (int, int), optional
        First sample of each frame and the one after its last. Default: one
        frame, the whole signal.
    filter_length : int
        Taps. Default: 512.

    Returns
    -------
    np.ndarray (4, pairs, frames)
        SDR, ISR, SIR and SAR in dB; nan for frames in which any reference or
        estimate is silent.

    Raises
    ------
    AudioError
        If the shapes differ or a value is not finite.
    ConfigError
        If `filter_length` is below 1.
    """
    if filter_length < 1:
        raise ConfigError(
            f"filter_length is {filter_length}: use 1 tap or more"
        )
    references, estimates = _checked(references, estimates, count=False)
    sources, channels, samples = references.shape
    if frames is None:
        frames = [(0, samples)]
    scores = np.full((4, len(pairs), len(frames)), np.nan)
    sounding = [
        number
        for number, (start, stop) in enumerate(frames)
        if not _any_silent(references, start, stop)
        and not _any_silent(estimates, start, stop)
    ]
    if not sounding:
        return scores
    rows = references.reshape(-1, samples)
    columns = estimates.reshape(-1, samples)
    auto, cross = _covariances(rows, columns, filter_length)
    every = _solve(auto, cross)
    own = []
    for j, k in pairs:
        mine = slice(j * channels, (j + 1) * channels)
        its = slice(k * channels, (k + 1) * channels)
        if sources == 1:
            own.append(every[:, :, its])
        else:
            own.append(_solve(auto[mine, mine], cross[mine, :, its]))
    longest = max(stop - start for start, stop in frames)
    split = _Decomposition(
        rows, columns, channels, pairs, every, own, images, longest
    )
    for number in sounding:
        scores[:, :, number] = split.scores(*frames[number])
    return scores


def best_order(scores) -> np.ndarray:
    """Assign estimates to references by the highest mean score.

    Arguments
    ---------
    scores : np.ndarray (references, estimates)
        dB, of each estimate taken for each reference.

    Returns
    -------
    np.ndarray (references,) of int
        Which estimate each reference gets; as they come, if there is a score
        that is nan.

    Example
    -------
    >>> best_order([[1.0, 9.0, 2.0], [2.0, 1.0, 9.0], [9.0, 2.0, 1.0]])
    array([1, 2, 0])
    """
    scores = np.asarray(scores)
    if np.isnan(scores).any():
        return np.arange(len(scores))
    # An infinite ratio must not hide the others.
    _, order = scipy.optimize.linear_sum_assignment(
        np.clip(scores, -1e4, 1e4), maximize=True
    )
    return order


def median_over_frames(scores) -> np.ndarray:
    """Median over the last axis of what is not nan.

    Arguments
    ---------
    scores : np.ndarray (..., frames)

    Returns
    -------
    np.ndarray (...)
        nan where all frames are.

    Example
    -------
    >>> median_over_frames([[1.0, np.nan, 5.0, 2.0], [np.nan] * 4])
    array([ 2., nan])
    """
    scores = np.asarray(scores, dtype=np.float64)
    result = np.full(scores.shape[:-1], np.nan)
    for index in np.ndindex(*result.shape):
        row = scores[index]
        row = np.sort(row[~np.isnan(row)])
        if len(row):
            low, high = row[(len(row) - 1) // 2], row[len(row) // 2]
            # The mean of two infinities of one sign is that infinity.
            result[index] = low if low == high else (low + high) / 2
    return result


class _Decomposition:
    """Energies of the parts of estimates, frame by frame."""

    def __init__(
        self,
        references,
        estimates,
        channels,
        pairs,
        every,
        own,
        images,
        longest,
    ):
        self.references, self.estimates = references, estimates
        self.channels, self.pairs, self.images = channels, pairs, images
        taps = every.shape[1]
        self.lead = taps - 1
        # A short frame is one block, filters' tail included.
        wanted = min(max(_BLOCK, 4 * taps), longest + 2 * self.lead)
        self.size = scipy.fft.next_fast_len(wanted, real=True)
        self.every = self._responses(every)
        self.own = [self._responses(filters) for filters in own]

    def _responses(self, filters):
        """Spectra (outputs, rows, bins) of filters (rows, taps, outputs)."""
        return scipy.fft.rfft(filters.transpose(2, 0, 1), self.size, axis=-1)

    def scores(self, start, stop):
        """SDR, ISR, SIR and SAR of all pairs in a frame: (4, pairs)."""
        parts = np.zeros((len(self.pairs), 7))
        step = self.size - self.lead
        # Filtered, the frame is longer by the filters' tail.
        for begin in range(start, stop + self.lead, step):
            end = min(begin + step, stop + self.lead)
            parts += self._block(begin, end, start, stop)
        whole, error, spatial, target, leak, explained, rest = parts.T
        isr = np.full(len(self.pairs), np.nan)
        if self.images:
            sdr, isr = _db(whole, error), _db(whole, spatial)
        else:
            sdr = _db(target, error)
        return np.stack([sdr, isr, _db(target, leak), _db(explained, rest)])

    def _block(self, begin, end, start, stop):
        """Energies in the samples [begin, end) of a frame [start, stop)."""
        raw = _cut(self.references, begin - self.lead, end, start, stop)
        spectra = scipy.fft.rfft(raw, self.size, axis=-1)
        raw = raw[:, self.lead :]
        given = _cut(self.estimates, begin, end, start, stop)
        every = self._filter(spectra, self.every, end - begin)
        energies = []
        for (j, k), filters in zip(self.pairs, self.own, strict=True):
            mine = slice(j * self.channels, (j + 1) * self.channels)
            its = slice(k * self.channels, (k + 1) * self.channels)
            target = self._filter(spectra[mine], filters, end - begin)
            explained, estimate = every[its], given[its]
            if self.images:
                whole = _energy(raw[mine])
                error = _energy(raw[mine] - estimate)
                spatial = _energy(target - raw[mine])
            else:
                whole = spatial = 0.0
                error = _energy(target - estimate)
            energies.append(
                (
                    whole,
                    error,
                    spatial,
                    _energy(target),
                    _energy(explained - target),
                    _energy(explained),
                    _energy(estimate - explained),
                )
            )
        return np.array(energies)

    def _filter(self, spectra, filters, length):
        """Sum of filtered signals, (outputs, length), after the lead."""
        found = np.empty((len(filters), spectra.shape[1]), dtype=np.complex128)
        part = np.empty_like(found[0])
        for sums, responses in zip(found, filters, strict=True):
            np.multiply(spectra[0], responses[0], out=sums)
            for row in range(1, len(spectra)):
                sums += np.multiply(spectra[row], responses[row], out=part)
        wav = scipy.fft.irfft(found, self.size, axis=-1)
        return wav[:, self.lead : self.lead + length]


def _covariances(references, estimates, taps):
    """Covariances of references with references and with estimates.

    Returns (rows, rows, 2 taps - 1), whose last axis is the lag of the second
    row from 1 - taps on, and (rows, taps, columns), whose middle axis is the
    lag of the estimate from 0 on. Signals are 0 outside.
    """
    rows, samples = references.shape
    lead = taps - 1
    wanted = min(max(_BLOCK, 4 * taps), samples + 2 * lead)
    size = scipy.fft.next_fast_len(wanted, real=True)
    step, bins = size - 2 * lead, size // 2 + 1
    auto = np.zeros((rows, rows, bins), dtype=np.complex128)
    cross = np.zeros((rows, len(estimates), bins), dtype=np.complex128)
    for begin in range(0, samples, step):
        end = min(begin + step, samples)
        # A block against one that is wider by the lags on both sides.
        span = (begin - lead, end + lead, 0, samples)
        block = _cut(references, begin, end, 0, samples)
        block = scipy.fft.rfft(block, size).conj()
        wide = scipy.fft.rfft(_cut(references, *span), size)
        other = scipy.fft.rfft(_cut(estimates, *span), size)
        for i in range(rows):
            for j in range(i, rows):
                auto[i, j] += block[i] * wide[j]
            for j in range(len(estimates)):
                cross[i, j] += block[i] * other[j]
    auto = scipy.fft.irfft(auto, size)[..., : 2 * taps - 1]
    for i in range(rows):
        for j in range(i):
            auto[i, j] = auto[j, i, ::-1]
    cross = scipy.fft.irfft(cross, size)[..., lead : lead + taps]
    return auto, cross.transpose(0, 2, 1)


def _solve(auto, cross):
    """Filters (rows, taps, columns) that project the columns on the rows.

    The matrix may be singular, as with two equal channels. So a ridge near the
    rounding error is added, and its effect taken back by two steps of iterative
    refinement where the matrix does have a say.
    """
    rows, taps, columns = cross.shape
    energies = auto[range(rows), range(rows), taps - 1]
    scale = np.where(energies > 0, energies, 1.0) ** -0.5
    matrix = np.empty((rows, taps, rows, taps))
    for i in range(rows):
        for j in range(rows):
            lags = auto[i, j] * (scale[i] * scale[j])
            matrix[i, :, j] = scipy.linalg.toeplitz(
                lags[taps - 1 :], lags[taps - 1 :: -1]
            )
    matrix = matrix.reshape(rows * taps, rows * taps)
    wanted = (cross * scale[:, None, None]).reshape(rows * taps, columns)
    ridged = matrix.copy()
    ridge = 8 * len(matrix) * np.finfo(np.float64).eps
    ridged[np.diag_indices(len(matrix))] += ridge
    factor = scipy.linalg.cho_factor(
        ridged, lower=True, overwrite_a=True, check_finite=False
    )
    found = scipy.linalg.cho_solve(factor, wanted, check_finite=False)
    for _ in range(2):
        found += scipy.linalg.cho_solve(
            factor, wanted - matrix @ found, check_finite=False
        )
    return found.reshape(rows, taps, columns) * scale[:, None, None]


def _cut(signals, begin, end, start, stop):
    """Samples [begin, end) in double precision, 0 outside [start, stop)."""
    found = np.zeros((len(signals), end - begin))
    low, high = max(begin, start), min(end, stop)
    if high > low:
        found[:, low - begin : high - begin] = signals[:, low:high]
    return found


def _any_silent(signals, start, stop):
    """Whether any signal (signals, channels, samples) is all 0 there."""
    return not all(np.any(s[:, start:stop]) for s in signals)


def _double(reference, estimate, zero_mean=False):
    """Both (channels, samples) in double precision, block by block."""
    sides = reference, estimate
    means = [
        side.mean(axis=-1, keepdims=True, dtype=np.float64) if zero_mean else 0
        for side in sides
    ]
    for begin in range(0, reference.shape[-1], _BLOCK):
        block = slice(begin, begin + _BLOCK)
        yield [
            side[:, block].astype(np.float64) - mean
            for side, mean in zip(sides, means, strict=True)
        ]


def _energy(signals):
    """Sum of squares."""
    return np.einsum("ij,ij->", signals, signals)


def _db(above, below):
    """10 log10 of a ratio: inf over nothing, -inf for nothing over something.

    nan for nothing over nothing.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return 10 * np.log10(np.divide(above, below))


def _checked(references, estimates, count=True):
    """Both as (signals, channels, samples), of one shape and finite."""
    sides = []
    for name, side in (("references", references), ("estimates", estimates)):
        side = np.asarray(side)
        if side.ndim not in (2, 3) or not side.size:
            raise AudioError(
                f"the {name} have the shape {side.shape}: give (sources, "
                "channels, samples) or (sources, samples), none of them 0"
            )
        if side.dtype.kind not in "fiu":
            raise AudioError(
                f"the {name} are of type {side.dtype}: give real numbers"
            )
        sides.append(side)
    first, second = (side.shape for side in sides)
    if first[0 if count else 1 :] != second[0 if count else 1 :]:
        raise AudioError(
            f"the references have the shape {first}, the estimates {second}: "
            "give signals of the same length and channels"
        )
    checked = []
    for name, side in zip(("reference", "estimate"), sides, strict=True):
        if side.ndim == 2:
            side = side[:, None]
        for number, signal in enumerate(side):
            if not np.isfinite(signal).all():
                where = np.argwhere(~np.isfinite(signal))[:, -1].min()
                raise AudioError(
                    f"{name} {number} is not finite at sample {where}: mend "
                    "the signal first"
                )
        checked.append(side)
    return checked
