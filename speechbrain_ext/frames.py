"""Seconds to frames and back: the only place where this happens.

One grid serves audio, video and labels: 50 frames per second, frame k covers
[20 k, 20 k + 20) ms and is centred at (k + 0.5) x 20 ms.

`label` turns a melody into frame targets, `decode` turns frame posteriors into
a melody; applied one after the other they return every note of three frames
(60 ms) or more. `label_published` and `decode_published` follow the rules of
Gu et al., "Automatic Lyric Transcription and Automatic Music Transcription
from Multimodal Singing", ACM TOMM 2024 (doi 10.1145/3651310), for comparison.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from speechbrain_ext.errors import ConfigError
from speechbrain_ext.notes import MIDI_MAX, MIDI_MIN, Note, NoteSequence

FRAME_RATE = 50
FRAME_S = 1 / FRAME_RATE

# Two onsets closer than this cannot be told apart: a peak must be the highest
# of two frames on each side. 3 frames = 60 ms.
MIN_ONSET_DISTANCE = 3

UNVOICED = -1
UNKNOWN = -100  # what cross-entropies of PyTorch skip

# Published grid: MIDI 36 (C2) to 83 (B5), and one more class for "no pitch".
PUBLISHED_LOW = 36
PUBLISHED_OCTAVES = 4

# Times that should fall on a frame border miss it by floating-point rounding.
_EPSILON_FRAMES = 1e-6

# Soft onset targets peak this far inside the onset frame: 0.2 ms.
_BORDER_FRAMES = 0.01


def n_frames(seconds: float) -> int:
    """Number of whole frames in a stretch of time.

    Arguments
    ---------
    seconds : float
        Length, at least 0.

    Returns
    -------
    int
        floor(50 x seconds); a length within 1e-6 frames below a whole number
        counts as that number.

    Example
    -------
    >>> n_frames(5), n_frames(7.3), n_frames(200)
    (250, 365, 10000)
    """
    return int(np.floor(seconds * FRAME_RATE + _EPSILON_FRAMES))


def frame_centres(count: int) -> np.ndarray:
    """Times of the first frames.

    Arguments
    ---------
    count : int
        Number of frames.

    Returns
    -------
    np.ndarray (count,)
        Seconds, (k + 0.5) x 0.02.

    Example
    -------
    >>> frame_centres(3).round(3).tolist()
    [0.01, 0.03, 0.05]
    """
    return (np.arange(count) + 0.5) * FRAME_S


def segment_frames(start: float, stop: float) -> tuple[int, int]:
    """Frames of a segment, so that consecutive segments tile the grid.

    Arguments
    ---------
    start, stop : float
        Seconds.

    Returns
    -------
    first, last : int
        The segment has the frames first to last - 1.

    Example
    -------
    >>> segment_frames(0, 5.01), segment_frames(5.01, 9)
    ((0, 250), (250, 450))
    """
    return n_frames(start), n_frames(stop)


def _floor_frames(seconds):
    """Index of the frame that contains a time."""
    return np.floor(np.asarray(seconds) * FRAME_RATE + _EPSILON_FRAMES).astype(
        np.int64
    )


def _nearest_border(seconds):
    """Index of the frame whose left border is nearest to a time."""
    return np.floor(
        np.asarray(seconds) * FRAME_RATE + 0.5 + _EPSILON_FRAMES
    ).astype(np.int64)


@dataclass(frozen=True)
class FrameTargets:
    """What a model should say about each frame.

    Arguments
    ---------
    onset : np.ndarray (frames,) float32
        1 where a note starts; between 0 and 1 beside it with soft targets.
    silence : np.ndarray (frames,) float32
        1 where nothing is sung.
    pitch : np.ndarray (frames,) int64
        MIDI number, rounded; -1 (`UNVOICED`) in silence.
    """

    onset: np.ndarray
    silence: np.ndarray
    pitch: np.ndarray

    def __len__(self) -> int:
        return len(self.onset)

    def as_posteriors(self, low: int = 0, high: int = 127) -> FramePosteriors:
        """Posteriors of a model that is certain and right.

        Arguments
        ---------
        low, high : int
            Range of MIDI numbers, both included. Default: 0 to 127.

        Returns
        -------
        FramePosteriors
        """
        pitch = np.full((len(self), high - low + 1), -30.0, dtype=np.float32)
        voiced = np.flatnonzero(self.pitch != UNVOICED)
        pitch[voiced, np.clip(self.pitch[voiced], low, high) - low] = 0.0
        return FramePosteriors(
            self.onset, self.silence, pitch, low, self.pitch != UNVOICED
        )


@dataclass(frozen=True)
class FramePosteriors:
    """What a model says about each frame.

    Arguments
    ---------
    onset : np.ndarray (frames,)
        Probability that a note starts.
    silence : np.ndarray (frames,)
        Probability that nothing is sung.
    pitch : np.ndarray (frames, pitches)
        Log-probability of each semitone, given that something is sung.
    low : int
        MIDI number of the first column.
    voiced : np.ndarray (frames,) of bool, optional
        False where "no pitch" is the likeliest class of a pitch part: such a
        frame has no vote in `decode_published`. Default: all have one.
    voicing : np.ndarray (frames,), optional
        Probability that the voice has a pitch. Default: not known.
    f0 : np.ndarray (frames,), optional
        Pitch of the voice as a MIDI number, if it has one. Default: not known.
    """

    onset: np.ndarray
    silence: np.ndarray
    pitch: np.ndarray
    low: int = 0
    voiced: np.ndarray | None = None
    voicing: np.ndarray | None = None
    f0: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.onset)

    @classmethod
    def concatenate(cls, parts) -> FramePosteriors:
        """Join posteriors of consecutive stretches of one recording.

        Arguments
        ---------
        parts : list of FramePosteriors
            In order of time; at least one.

        Returns
        -------
        FramePosteriors
        """
        arrays = {
            f.name: np.concatenate([getattr(p, f.name) for p in parts])
            for f in fields(cls)
            if f.name != "low" and getattr(parts[0], f.name) is not None
        }
        return cls(**arrays, low=parts[0].low)


def label(
    notes: NoteSequence,
    count: int,
    start: float = 0.0,
    onset_width: int = 0,
    speed: float = 1.0,
) -> FrameTargets:
    """Frame targets of a melody, or of an excerpt of it.

    A note's onset frame is the one that contains its onset; its pitch fills
    the frames up to the border nearest to its offset, at least one and at most
    up to the next onset frame. Two onsets less than three frames apart cannot
    be told apart, so the earlier of the two notes, which is then shorter than
    that, is labelled as silence. A note that began before `start` has pitch
    but no onset.

    Arguments
    ---------
    notes : NoteSequence
        The melody. Fractional pitches are rounded, halves up. (A pitch midway
        between two semitones is 50 cents from both, so that floating-point
        rounding decides whether `mir_eval` accepts either.)
    count : int
        Number of frames wanted.
    start : float
        Where the excerpt begins in the melody, in seconds. Default: 0.
    onset_width : int
        0 marks the onset frame only. w > 0 gives a triangle around the true
        onset that reaches w + 0.5 frames to each side, so that the model
        learns where inside the frame the onset lies. Default: 0.
    speed : float
        How much faster than annotated the excerpt is played. Default: 1.

    Returns
    -------
    FrameTargets

    Example
    -------
    >>> targets = label(NoteSequence([(0.03, 0.1, 60), (0.1, 0.16, 62)]), 9)
    >>> targets.onset.astype(int).tolist()
    [0, 1, 0, 0, 0, 1, 0, 0, 0]
    >>> targets.silence.astype(int).tolist()
    [1, 0, 0, 0, 0, 0, 0, 0, 1]
    >>> targets.pitch.tolist()
    [-1, 60, 60, 60, 60, 62, 62, 62, -1]
    """
    onset = np.zeros(count, dtype=np.float32)
    if len(notes) == 0 or count == 0:
        return FrameTargets(
            onset, np.ones_like(onset), np.full(count, UNVOICED, np.int64)
        )

    times = (notes.intervals - start) / speed
    first = _floor_frames(times[:, 0])
    resolved = np.append(np.diff(first) >= MIN_ONSET_DISTANCE, True)
    times, first = times[resolved], first[resolved]
    midi = np.floor(notes.midi[resolved] + 0.5).astype(np.int64)
    last = np.maximum(_nearest_border(times[:, 1]), first + 1)
    last[:-1] = np.minimum(last[:-1], first[1:])

    # Runs of frames: silence and note in turn, silence at both ends.
    runs = np.full(2 * len(midi) + 1, UNVOICED, dtype=np.int64)
    runs[1::2] = midi
    borders = np.clip(_interleaved(first, last), 0, count)
    pitch = np.repeat(runs, np.diff(borders, prepend=0, append=count))
    silence = (pitch == UNVOICED).astype(np.float32)

    if onset_width == 0:
        inside = first[(first >= 0) & (first < count)]
        onset[inside] = 1.0
    else:
        reach = onset_width + 0.5
        # On a frame border the frame and its neighbour would be equally high,
        # and a note before or after could then hide the peak.
        summit = np.clip(
            times[:, 0] * FRAME_RATE,
            first + _BORDER_FRAMES,
            first + 1 - _BORDER_FRAMES,
        )
        for step in range(-onset_width - 1, onset_width + 2):
            index = first + step
            distance = np.abs(index + 0.5 - summit)
            height = np.maximum(0.0, 1.0 - distance / reach)
            inside = (index >= 0) & (index < count) & (first >= 0)
            np.maximum.at(
                onset, index[inside], height[inside].astype(np.float32)
            )
    return FrameTargets(onset, silence, pitch)


# What of a contour counts as a held pitch: this many frames, in all of whose
# windows it moves by less than half a semitone. Longer than half a period of
# vibrato, whose turning points are therefore none.
_HELD_FRAMES = 7
_HELD_WINDOW = 5
_HELD_SEMITONES = 0.5
# From one held pitch to the next: at most this many frames, and an interval
# that is neither a drift nor an octave error.
_STEP_FRAMES = 10
_STEP_SEMITONES = (1.2, 11.0)
# A voice that sets in after as many frames without pitch starts a note.
_PAUSE_FRAMES = 3
# A held pitch this close to a semitone is that semitone.
_IN_TUNE_SEMITONES = 0.3


def label_from_f0(f0: np.ndarray) -> FrameTargets:
    """What the fundamental frequency alone says about notes.

    Frames in the middle of long unvoiced stretches are silent and frames in
    the middle of long voiced ones are not. Where the voice goes from one held
    pitch to another one, and where it sets in after a pause, a note starts;
    around this, and in silence, none does. A held pitch that is in tune is the
    pitch of its note. About all else it says nothing.

    Arguments
    ---------
    f0 : np.ndarray (frames,)
        MIDI numbers, 0 where unvoiced, NaN where unknown.

    Returns
    -------
    FrameTargets
        NaN, and -100 for pitches, where unknown. The silence is known 60 ms
        inside of stretches of 200 ms or more. A held pitch moves by less than
        half a semitone in 100 ms for at least 140 ms; notes start midway
        between two of them at most 200 ms and 1.2 to 11 semitones apart, and
        at voiced stretches of 140 ms or more after at least 60 ms without
        voice; a pitch is known if it is at most 30 cents out of tune.

    Example
    -------
    >>> f0 = np.repeat([60.0, 0.0], [12, 3])
    >>> label_from_f0(f0).silence[[2, 3, 8, 9, 13]].tolist()
    [nan, 0.0, 0.0, nan, nan]
    >>> targets = label_from_f0(np.repeat([60.0, 62.1], 8))
    >>> targets.onset[4:12].tolist()
    [nan, 0.0, 0.0, nan, 1.0, nan, 0.0, 0.0]
    >>> targets.pitch[[0, 8]].tolist()
    [60, 62]
    """
    count = len(f0)
    silence = np.full(count, np.nan, dtype=np.float32)
    onset = np.full(count, np.nan, dtype=np.float32)
    pitch = np.full(count, UNKNOWN, dtype=np.int64)
    for start, stop in _runs(f0 == 0):
        if stop - start >= 10:
            silence[start + 3 : stop - 3] = 1.0
            onset[start + 3 : stop - 3] = 0.0
    after_pauses, steps = [], []
    for start, stop in _runs(f0 > 0):
        if stop - start >= 10:
            silence[start + 3 : stop - 3] = 0.0
        pause = f0[max(0, start - _PAUSE_FRAMES) : start]
        long = stop - start >= _HELD_FRAMES and len(pause) == _PAUSE_FRAMES
        if long and not pause.any():
            after_pauses.append(start)
        held = [(start + a, start + b) for a, b in _held(f0[start:stop])]
        for a, b in held:
            middle = np.median(f0[a:b])
            if abs(middle - np.round(middle)) <= _IN_TUNE_SEMITONES:
                pitch[a:b] = int(np.round(middle))
        steps += _steps(f0, held)
    for start in after_pauses + steps:
        onset[max(0, start - MIN_ONSET_DISTANCE) : max(0, start - 1)] = 0.0
    # After a pause a consonant may come first, and the note later.
    for start in steps:
        onset[start + 2 : start + MIN_ONSET_DISTANCE + 1] = 0.0
    for start in after_pauses + steps:
        onset[max(0, start - 1) : start + 2] = np.nan
        onset[start] = 1.0
    return FrameTargets(onset, silence, pitch)


def _held(f0):
    """Stretches of a voiced contour without gaps in which a pitch is held."""
    if len(f0) < _HELD_FRAMES:
        return []
    windows = np.lib.stride_tricks.sliding_window_view(f0, _HELD_WINDOW)
    calm = np.ptp(windows, axis=1) < _HELD_SEMITONES
    return [
        (a, b + _HELD_WINDOW - 1)
        for a, b in _runs(calm)
        if b + _HELD_WINDOW - 1 - a >= _HELD_FRAMES
    ]


def _steps(f0, held):
    """Frames in which the voice is midway between two held pitches."""
    smallest, largest = _STEP_SEMITONES
    found = []
    for (_, left), (right, _) in zip(held, held[1:], strict=False):
        before = np.median(f0[left - _HELD_WINDOW : left])
        after = np.median(f0[right : right + _HELD_WINDOW])
        near = right - left <= _STEP_FRAMES
        if near and smallest < abs(after - before) < largest:
            way = np.abs(f0[left - 1 : right + 1] - (before + after) / 2)
            # Of two frames that are equally near, the second is beyond.
            nearest = np.flatnonzero(way <= way.min() + 1e-6)[-1]
            found.append(left - 1 + int(nearest))
    return found


def onset_peaks(onset: np.ndarray, threshold: float) -> np.ndarray:
    """Frames where a note starts.

    A peak is at least `threshold`, higher than the two frames before it and
    not lower than the two after it: a plateau gives one onset, its first frame.

    Arguments
    ---------
    onset : np.ndarray (frames,)
        Onset probabilities.
    threshold : float
        Lowest probability of a peak.

    Returns
    -------
    np.ndarray of int
        Frame indices, increasing, at least one frame apart.

    Example
    -------
    >>> onset = np.array([0, 0.6, 0.9, 0.9, 0.9, 0.2, 0, 0.5])
    >>> onset_peaks(onset, 0.4).tolist()
    [2, 7]
    """
    reach = MIN_ONSET_DISTANCE - 1
    padded = np.pad(onset, reach, constant_values=-np.inf)
    peak = onset >= threshold
    for step in range(1, reach + 1):
        before = padded[reach - step : reach - step + len(onset)]
        after = padded[reach + step : reach + step + len(onset)]
        peak = peak & (onset > before) & (onset >= after)
    return np.flatnonzero(peak)


def _refine(onset: np.ndarray, peaks: np.ndarray) -> np.ndarray:
    """Positions of peaks inside their frames, in frames from the centre.

    The vertex of the parabola through a peak and its two neighbours, in
    [-0.5, 0.5]; 0 where a neighbour is missing.
    """
    shift = np.zeros(len(peaks))
    inner = (peaks > 0) & (peaks < len(onset) - 1)
    k = peaks[inner]
    left, top, right = (
        onset[k - 1].astype(np.float64),
        onset[k].astype(np.float64),
        onset[k + 1].astype(np.float64),
    )
    curvature = left - 2 * top + right
    flat = curvature > -1e-9
    shift[inner] = np.where(
        flat, 0.0, 0.5 * (left - right) / np.where(flat, 1.0, curvature)
    )
    return np.clip(shift, -0.5, 0.5)


def _runs(mask):
    """First and last + 1 of the stretches where a mask is true (runs, 2)."""
    edges = np.flatnonzero(np.diff(np.pad(mask.astype(np.int8), 1)))
    return edges.reshape(-1, 2)


def _fill_short(mask: np.ndarray, longest: int) -> np.ndarray:
    """Copy of a mask without True runs of at most `longest` frames."""
    if longest <= 0 or not mask.any():
        return mask
    starts, stops = _runs(mask).T
    keep = stops - starts > longest
    marks = np.zeros(len(mask) + 1, dtype=np.int64)
    marks[starts[keep]] += 1
    marks[stops[keep]] -= 1
    return np.cumsum(marks[:-1]) > 0


def decode(
    posteriors: FramePosteriors,
    onset_threshold: float = 0.4,
    silence_threshold: float = 0.5,
    min_duration_s: float = 0.04,
    max_gap_s: float = 0.0,
    rescue_s: float | None = 0.16,
    sustain_s: float = 0.0,
    split_s: float | None = None,
    split_sure: float = 0.0,
    pitch: str = "semitone",
    voicing_threshold: float = 0.5,
) -> NoteSequence:
    """Melody of frame posteriors.

    A note starts at an onset peak (`onset_peaks`, refined inside the frame by
    a parabola) and ends at the first silent frame or the next onset. Its pitch
    is the semitone with the highest summed log-probability over its frames.
    A stretch of singing without any onset becomes a note of its own if it is
    long enough.

    Arguments
    ---------
    posteriors : FramePosteriors
        Output of a head.
    onset_threshold : float
        Lowest onset probability that starts a note. Default: 0.4.
    silence_threshold : float
        Lowest silence probability that ends a note. Default: 0.5.
    min_duration_s : float
        Shorter notes are dropped. Default: 0.04 s.
    max_gap_s : float
        Silences up to this length, without an onset after them, are bridged.
        Default: 0 s.
    rescue_s : float, optional
        Singing without onset gives a note from this length on; None: never.
        Default: 0.16 s.
    sustain_s : float
        A note goes on for up to this long after its end as long as the voice
        has a pitch. Default: 0 s.
    split_s : float, optional
        A stretch of a note of at least this length, on which the voice
        (`FramePosteriors.f0`) is more than 75 cents away from the note's
        pitch, becomes a note of its own; None (default): never.
    split_sure : float
        Least mean probability, over such a stretch, of the semitone that its
        pitch rounds to: what is sung under a noise is no reason to split.
        Default: 0, split in any case.
    pitch : str
        "semitone" (default): whole MIDI numbers. "continuous": the median of
        `FramePosteriors.f0` over the voiced frames of the note that are less
        than a semitone away from that number, at most 49 cents away from it.
    voicing_threshold : float
        Lowest `FramePosteriors.voicing` at which the voice has a pitch.
        Default: 0.5.

    Returns
    -------
    NoteSequence
        `Note.confidence` is the geometric mean of the onset
        probability and the mean probability of singing in the note.

    Example
    -------
    >>> melody = NoteSequence([(0.03, 0.1, 60), (0.1, 0.2, 60)])
    >>> for note in decode(label(melody, 12).as_posteriors()):
    ...     print(f"{note.onset:.2f} {note.offset:.2f} {note.midi:g}")
    0.03 0.11 60
    0.11 0.20 60
    """
    count = len(posteriors)
    if count == 0:
        return NoteSequence()
    silent = posteriors.silence >= silence_threshold
    silent = _fill_short(silent, int(round(max_gap_s * FRAME_RATE)))
    peaks = onset_peaks(posteriors.onset, onset_threshold)
    starts, refined = _with_rescued(
        peaks, _refine(posteriors.onset, peaks), silent, rescue_s
    )
    if len(starts) == 0:
        return NoteSequence()

    # A note keeps its onset frame even where the silence head disagrees.
    quiet = np.append(np.flatnonzero(silent), count)
    ends = quiet[np.searchsorted(quiet, starts, side="right")]
    following = np.append(starts[1:], count)
    voiced = voiced_frames(posteriors, voicing_threshold)
    if sustain_s > 0 and posteriors.voicing is not None:
        unvoiced = np.append(np.flatnonzero(~voiced), count)
        stops = unvoiced[np.searchsorted(unvoiced, ends)]
        ends = np.minimum(stops, ends + int(round(sustain_s * FRAME_RATE)))
    touching = ends >= following
    ends = np.minimum(ends, following)
    sums = _segment_sums(posteriors.pitch, starts, ends)
    midi = posteriors.low + np.argmax(sums, axis=1).astype(np.float64)
    if split_s is not None and posteriors.f0 is not None:
        shortest = max(1, int(round(split_s * FRAME_RATE)))
        starts, refined, ends, touching, midi = _split(
            posteriors,
            voiced,
            (starts, refined, ends, touching, midi),
            shortest,
            split_sure,
        )

    onsets = (starts + 0.5 + refined) * FRAME_S
    offsets = ends * FRAME_S
    inner_touch = touching.copy()
    inner_touch[-1] = False
    offsets[inner_touch] = np.append(onsets[1:], 0.0)[inner_touch]

    if pitch == "continuous" and posteriors.f0 is not None:
        midi = _sung_pitches(posteriors.f0, voiced, starts, ends, midi)
    singing = _segment_sums(1.0 - posteriors.silence[:, None], starts, ends)
    singing = np.clip(singing[:, 0] / (ends - starts), 0.0, 1.0)
    confidence = np.sqrt(np.clip(posteriors.onset[starts], 0, 1) * singing)
    return NoteSequence(
        Note(float(on), float(off), float(m), confidence=round(float(c), 4))
        for on, off, m, c in zip(onsets, offsets, midi, confidence, strict=True)
        if off - on >= min_duration_s - 1e-9 and off > on
    )


def _with_rescued(peaks, refined, silent, rescue_s):
    """Add the starts of long voiced runs that hold no onset peak.

    A run is a stretch of frames that is not silent; what lies before its first
    peak counts as a run of its own.
    """
    if rescue_s is None:
        return peaks, refined
    starts, stops = _runs(~silent).T
    following = np.append(peaks, np.iinfo(np.int64).max)
    stops = np.minimum(stops, following[np.searchsorted(peaks, starts)])
    # An onset just before a run, in a frame called silent, opens that run.
    led = np.isin(starts - 1, peaks) | np.isin(starts, peaks)
    extra = starts[(stops - starts >= round(rescue_s * FRAME_RATE)) & ~led]
    if len(extra) == 0:
        return peaks, refined
    merged = np.concatenate([peaks, extra])
    # A rescued note starts at the left border of its first frame.
    shifts = np.concatenate([refined, np.full(len(extra), -0.5)])
    order = np.argsort(merged, kind="stable")
    return merged[order], shifts[order]


def _interleaved(starts, ends):
    """starts[0], ends[0], starts[1], ends[1] ..."""
    return np.stack([starts, ends], axis=1).reshape(-1)


def _split(posteriors, voiced, notes, shortest, sure):
    """Cut notes where the voice stays away from their pitch."""
    rows = []
    for start, shift, end, touch, semitone in zip(*notes, strict=True):
        f0, sung = posteriors.f0[start:end], voiced[start:end]
        far = sung & (np.abs(f0 - semitone) > 0.75)
        cuts, leaves = [0], False
        for a, b in _runs(far):
            if b - a >= shortest and _is_sure(
                posteriors, start + a, b - a, sure
            ):
                leaves = True
                # A remainder too short to be told apart goes with the run.
                cuts += [a] if a - cuts[-1] >= MIN_ONSET_DISTANCE else []
                cuts += [b] if end - start - b >= MIN_ONSET_DISTANCE else []
        for a, b in zip(cuts, [*cuts[1:], end - start], strict=True):
            here = f0[a:b][sung[a:b]]
            pitch = semitone
            if leaves and len(here):
                pitch = np.floor(np.median(here) + 0.5)
            edge = shift if a == 0 else -0.5
            touches = touch or b < end - start
            rows.append((start + a, edge, start + b, touches, pitch))
    return tuple(map(np.array, zip(*rows, strict=True)))


def _is_sure(posteriors, start, length, least):
    """Whether the pitch of a stretch has a mean probability of `least`."""
    if least <= 0:
        return True
    stretch = slice(start, start + length)
    column = np.floor(np.median(posteriors.f0[stretch]) + 0.5) - posteriors.low
    if not 0 <= column < posteriors.pitch.shape[1]:
        return False
    return np.exp(posteriors.pitch[stretch, int(column)]).mean() >= least


def voiced_frames(posteriors, threshold=0.5):
    """Frames in which the voice has a pitch; all if that is not known.

    Arguments
    ---------
    posteriors : FramePosteriors
    threshold : float
        Lowest probability of voicing. Default: 0.5.

    Returns
    -------
    np.ndarray (frames,) of bool
    """
    if posteriors.voicing is None:
        return np.ones(len(posteriors), dtype=bool)
    return posteriors.voicing >= threshold


def _sung_pitches(contour, voiced, starts, ends, semitones):
    """Median pitch of the voiced frames of each note, near its semitone."""
    sung = semitones.copy()
    for k, (start, end) in enumerate(zip(starts, ends, strict=True)):
        f0 = contour[start:end][voiced[start:end]]
        near = f0[np.abs(f0 - semitones[k]) < 1]
        if len(near):
            sung[k] = round(float(np.median(near)), 2)
    sung = np.clip(sung, semitones - 0.49, semitones + 0.49)
    return np.clip(sung, MIDI_MIN, MIDI_MAX)


def _segment_sums(values, starts, ends):
    """Sum of rows [start, end) of each segment, (segments, columns)."""
    pairs = _interleaved(starts, ends)
    # The last segment may end with the array, where no index is allowed.
    return np.add.reduceat(values, pairs[pairs < len(values)], axis=0)[::2]


@dataclass(frozen=True)
class NoteDecoder:
    """`decode` or `decode_published` with its settings, as a model stores it.

    Arguments
    ---------
    onset_threshold, silence_threshold, min_duration_s, max_gap_s, rescue_s, \
sustain_s, split_s, split_sure, pitch, voicing_threshold
        See `decode`.
    method : str
        "peaks" (`decode`, default) or "published" (`decode_published`, which
        uses the two thresholds only).

    Raises
    ------
    ConfigError
        If a threshold lies outside (0, 1), a duration is negative or the
        method is unknown.

    Example
    -------
    >>> targets = label(NoteSequence([(0.1, 0.5, 60)]), 50)
    >>> len(NoteDecoder()(targets.as_posteriors()))
    1
    """

    onset_threshold: float = 0.4
    silence_threshold: float = 0.5
    min_duration_s: float = 0.04
    max_gap_s: float = 0.0
    rescue_s: float | None = 0.16
    sustain_s: float = 0.0
    split_s: float | None = None
    split_sure: float = 0.0
    pitch: str = "semitone"
    method: str = "peaks"
    voicing_threshold: float = 0.5

    def __post_init__(self):
        for name in (
            "onset_threshold",
            "silence_threshold",
            "voicing_threshold",
        ):
            value = getattr(self, name)
            if not 0.0 < value < 1.0:
                raise ConfigError(
                    f"{name} is {value:g}: choose a probability between 0 and 1"
                )
        if not 0.0 <= self.split_sure <= 1.0:
            raise ConfigError(
                f"split_sure is {self.split_sure:g}: choose a probability from "
                "0 to 1"
            )
        for name in (
            "min_duration_s",
            "max_gap_s",
            "rescue_s",
            "sustain_s",
            "split_s",
        ):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise ConfigError(
                    f"{name} is {value:g} s: durations are 0 s or more"
                )
        if self.pitch not in ("semitone", "continuous"):
            raise ConfigError(
                f"pitch {self.pitch!r} is unknown: choose semitone or "
                "continuous"
            )
        if self.method not in ("peaks", "published"):
            raise ConfigError(
                f"decoding method {self.method!r} is unknown: choose peaks "
                "or published"
            )

    def settings(self) -> dict:
        """Settings as a plain dictionary."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def __call__(self, posteriors: FramePosteriors) -> NoteSequence:
        """Melody of frame posteriors.

        Arguments
        ---------
        posteriors : FramePosteriors

        Returns
        -------
        NoteSequence
        """
        settings = self.settings()
        if settings.pop("method") == "peaks":
            return decode(posteriors, **settings)
        pitch = posteriors.low + np.argmax(posteriors.pitch, axis=1)
        if posteriors.voiced is not None:
            pitch = np.where(posteriors.voiced, pitch, UNVOICED)
        rows = decode_published(
            posteriors.onset,
            posteriors.silence,
            pitch,
            FRAME_RATE,
            self.onset_threshold,
            self.silence_threshold,
        )
        half = 0.5 * FRAME_S  # its frame i stands at i x 20 ms
        return NoteSequence(
            Note(on + half, off + half, midi) for on, off, midi in rows
        )


def label_published(notes, count, frame_rate=49.8):
    """Frame labels by the published rule, without its loop.

    Frame i stands at i / frame_rate seconds. The onset frame of a note is the
    first one within half a frame of the onset, its offset frame the first one
    within half a frame of the offset; the latter carries the silence bit and
    the note's pitch. Octaves are counted from MIDI 36 and clipped to four.
    The result equals the published loop for sorted notes without overlaps
    whose onset and offset fall on different frames and not midway between two;
    the loop never closes a shorter note, and midway between two frames its
    rounding errors may lose the onset or the offset.

    Arguments
    ---------
    notes : sequence of (onset, offset, midi)
        Seconds and MIDI numbers, sorted; fractions of a semitone are cut off.
    count : int
        Number of frames.
    frame_rate : float
        Frames per second. Default: 49.8.

    Returns
    -------
    np.ndarray (count, 4) int64
        Onset, silence, octave (4 = none), pitch class (12 = none).

    Example
    -------
    >>> label_published([(0.02, 0.06, 61)], 5, 50).tolist()
    [[0, 1, 4, 12], [1, 0, 2, 1], [0, 0, 2, 1], [0, 1, 2, 1], [0, 1, 4, 12]]
    """
    silent = (0, 1, PUBLISHED_OCTAVES, 12)
    if len(notes) == 0:
        return np.tile(np.array(silent, dtype=np.int64), (count, 1))
    if isinstance(notes, NoteSequence):
        notes = np.column_stack([notes.intervals, notes.midi])
    rows = np.asarray(notes, dtype=np.float64)[:, :3]
    midi = rows[:, 2].astype(np.int64)
    octave = np.clip((midi - PUBLISHED_LOW) // 12, 0, PUBLISHED_OCTAVES - 1)
    step = 1 / frame_rate
    starts = _first_frame_near(rows[:, 0], step)
    stops = _first_frame_near(rows[:, 1], step)
    # Runs of frames: silence and note in turn. A note's run ends with its
    # offset frame, or before the next onset frame.
    ends = np.minimum(stops + 1, np.append(starts[1:], count))
    borders = np.minimum(_interleaved(starts, ends), count)
    runs = np.tile(np.array(silent, dtype=np.int64), (2 * len(rows) + 1, 1))
    runs[1::2, 1:] = np.stack([np.zeros_like(midi), octave, midi % 12], axis=1)
    labels = np.repeat(runs, np.diff(borders, prepend=0, append=count), axis=0)
    labels[stops[(stops < ends) & (stops < count)], 1] = 1
    labels[starts[starts < count], :2] = 1, 0
    return labels


def _first_frame_near(times, step):
    """First frame i with |i step - t| <= step / 2, in floating point."""
    guess = np.rint(times / step).astype(np.int64)
    candidates = guess[:, None] + np.arange(-1, 2)
    near = np.abs(candidates * step - times[:, None]) <= step / 2
    near &= candidates >= 0
    return candidates[np.arange(len(times)), np.argmax(near, axis=1)]


def decode_published(
    onset,
    silence,
    pitch,
    frame_rate=49.8,
    onset_threshold=0.4,
    silence_threshold=0.5,
):
    """Notes by the published greedy rule, without its loop.

    An onset is a frame at or above the threshold that is the maximum of the
    frames from three before to three after it, where the last frame of the
    song is never looked at. A note ends at the next onset, at the first frame
    at or above the silence threshold, or with the song; it has the most
    frequent pitch of its voiced frames (the lowest of equals) and is dropped
    without one.

    Arguments
    ---------
    onset, silence : np.ndarray (frames,)
        Probabilities.
    pitch : np.ndarray (frames,) int
        MIDI number per frame, or -1 where octave or pitch class say "none".
    frame_rate : float
        Frames per second. Default: 49.8.
    onset_threshold, silence_threshold : float
        Default: 0.4 and 0.5.

    Returns
    -------
    list of (float, float, int)
        Onset and offset in seconds, MIDI number.

    Example
    -------
    >>> decode_published(
    ...     np.array([0, 0.9, 0, 0, 0]),
    ...     np.array([1, 0, 0, 1, 1.0]),
    ...     np.array([-1, 60, 60, -1, -1]),
    ...     frame_rate=50,
    ... )
    [(0.02, 0.06, 60)]
    """
    onset, silence = np.asarray(onset), np.asarray(silence)
    pitch = np.asarray(pitch, dtype=np.int64)
    count = len(onset)
    if count == 0:
        return []
    # Maximum of 7 neighbours from those of 2 and 4; the last frame is unseen.
    seen = np.full(count + 6, -np.inf)
    seen[3 : count + 2] = onset[:-1]
    two = np.maximum(seen[:-1], seen[1:])
    four = np.maximum(two[:-2], two[2:])
    highest = np.maximum(four[:-3], four[3:])
    is_onset = (onset >= onset_threshold) & (onset == highest)
    starts = np.flatnonzero(is_onset)
    if len(starts) == 0:
        return []
    quiet = np.append(
        np.flatnonzero((silence >= silence_threshold) & ~is_onset), count
    )
    ends = quiet[np.searchsorted(quiet, starts)]
    ends = np.minimum(ends, np.append(starts[1:], count))

    # Votes: one histogram of pitches per note, over its voiced frames.
    owner = np.cumsum(is_onset) - 1
    votes = np.flatnonzero(
        (owner >= 0) & (np.arange(count) < ends[owner]) & (pitch >= 0)
    )
    width = int(pitch.max()) + 1
    if len(votes) == 0:
        return []
    histogram = np.bincount(
        owner[votes] * width + pitch[votes], minlength=len(starts) * width
    ).reshape(-1, width)
    midi = histogram.argmax(axis=1)
    ends = np.minimum(ends, count - 1)
    kept = (histogram[np.arange(len(starts)), midi] > 0) & (ends > starts)
    return list(
        zip(
            (starts[kept] / frame_rate).tolist(),
            (ends[kept] / frame_rate).tolist(),
            midi[kept].tolist(),
            strict=True,
        )
    )
