"""How loud the notes of a recording are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from speechbrain_ext.frames import FRAME_RATE, frame_centres
from speechbrain_ext.notes import VELOCITY_MAX, NoteSequence

SAMPLE_RATE = 16000

# Velocity of a note at the reference level, steps per decibel below it, and
# the lowest one, that of notes 46 dB below: softer, many instruments are mute.
LOUD_VELOCITY = 112
STEPS_PER_DB = 2.0
SOFT_VELOCITY = 20
LOUD_SHARE = 0.05

# Digital silence, for the logarithm: -200 dB.
_FLOOR = 1e-20


class LevelMeter:
    """Level of each frame of a recording, measured while it streams past.

    Arguments
    ---------
    frame_rate : int
        Frames per second. Default: 50.
    sample_rate : int
        Samples per second, a multiple of the frame rate. Default: 16000.

    Example
    -------
    >>> meter = LevelMeter()
    >>> wav = np.repeat([0.5, 0.25], 320)
    >>> for block in meter.listen([wav[:100], wav[100:]]):
    ...     pass
    >>> meter.levels().tolist()
    [0.5, 0.25]
    """

    def __init__(self, frame_rate=FRAME_RATE, sample_rate=SAMPLE_RATE):
        self.hop, rest = divmod(sample_rate, frame_rate)
        assert rest == 0, "the sample rate must be a multiple of the frame rate"
        self._rest = np.zeros(0)
        self._parts = [np.zeros(0)]

    def listen(self, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Pass blocks on and measure them.

        Arguments
        ---------
        blocks : iterable of np.ndarray (samples,)
            The recording in pieces of any length; of it all, less than a
            frame is kept.

        Yields
        ------
        np.ndarray (samples,)
            The same blocks.
        """
        for block in blocks:
            # In double precision a square cannot overflow, and a frame's sum
            # does not depend on the block that it came in.
            samples = np.concatenate([self._rest, block], dtype=np.float64)
            whole = len(samples) // self.hop * self.hop
            frames = samples[:whole].reshape(-1, self.hop)
            self._parts.append(np.sqrt(np.square(frames).mean(axis=1)))
            self._rest = samples[whole:]
            yield block

    def levels(self) -> np.ndarray:
        """Levels of the frames so far.

        Returns
        -------
        np.ndarray (frames,)
            Root mean square, full scale = 1. Samples that do not fill a frame
            are left out, as the encoders do.
        """
        return np.concatenate(self._parts)


def with_velocities(notes: NoteSequence, levels: np.ndarray) -> NoteSequence:
    """Give each note the velocity that its level stands for.

    A note's level is the root mean square over the frames whose centres it
    covers, or of the first one after its onset. The reference is the level
    that the loudest 5 % of the sung frames exceed. A note at the reference has
    velocity 112, and 2 less for each decibel below it (more above), within 20
    to 127. So velocities do not depend on how loud the recording is as a whole.

    Arguments
    ---------
    notes : NoteSequence
    levels : np.ndarray (frames,)
        From `LevelMeter.levels`, of the same recording from time 0 on.

    Returns
    -------
    NoteSequence
        Notes after the last frame are as loud as that one; without any frame
        they stay as they are.

    Example
    -------
    >>> melody = NoteSequence([(0, 0.1, 60), (0.1, 0.2, 62)])
    >>> levels = np.repeat([0.5, 0.05], 5)
    >>> [note.velocity for note in with_velocities(melody, levels)]
    [112, 72]
    """
    if len(notes) == 0 or len(levels) == 0:
        return notes
    centres = frame_centres(len(levels))
    first = np.searchsorted(centres, notes.intervals[:, 0])
    last = np.searchsorted(centres, notes.intervals[:, 1])
    first = np.minimum(first, len(levels) - 1)
    last = np.maximum(last, first + 1)
    power = np.maximum(np.square(levels), _FLOOR)
    spans = [slice(*span) for span in zip(first, last, strict=True)]
    sung = np.concatenate([power[span] for span in spans])
    reference = np.quantile(sung, 1 - LOUD_SHARE)
    loud = [10 * np.log10(power[span].mean() / reference) for span in spans]
    steps = np.floor(LOUD_VELOCITY + STEPS_PER_DB * np.array(loud) + 0.5)
    velocities = np.clip(steps, SOFT_VELOCITY, VELOCITY_MAX).astype(int)
    return NoteSequence(
        replace(note, velocity=velocity)
        for note, velocity in zip(notes, velocities.tolist(), strict=True)
    )
