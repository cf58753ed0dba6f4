"""Labelling and decoding against the plain loops of the published rule.

`python -m benchmarks.frames` takes a random song and prints how many times as
fast `speechbrain_ext.frames` is, and whether the results are equal.
"""

import argparse

import numpy as np

from benchmarks.common import show, speedup
from benchmarks.published_loop import (
    SILENT_OCTAVE,
    SILENT_PITCH_CLASS,
    decode_loop,
    label_loop,
)
from speechbrain_ext import frames
from speechbrain_ext.notes import NoteSequence

PUBLISHED_RATE = 49.8


def random_song(seconds, seed=0):
    """Draw a melody without overlaps.

    Arguments
    ---------
    seconds : float
        Length; the last note ends before it.
    seed : int
        Fixes the melody.

    Returns
    -------
    list of (float, float, int)
        Onset, offset, MIDI number; notes of 60 ms to 1 s, one third of them
        touching the one before.
    """
    rng = np.random.default_rng(seed)
    notes, time = [], 0.0
    while True:
        time += max(0.0, rng.uniform(-0.1, 0.2))
        stop = time + rng.uniform(0.06, 1.0)
        if stop >= seconds:
            return notes
        notes.append((time, stop, int(rng.integers(40, 80))))
        time = stop


def noisy_outputs(labels, seed=0):
    """Outputs of a model that is often right.

    Arguments
    ---------
    labels : np.ndarray (frames, 4)
        Onset, silence, octave and pitch class as `label_published` gives.
    seed : int
        Fixes the noise.

    Returns
    -------
    tuple of np.ndarray
        Onset and silence probabilities (frames,), octave scores (frames, 5)
        and pitch-class scores (frames, 13).
    """
    rng = np.random.default_rng(seed)

    def scores(classes, values):
        noise = rng.normal(size=(len(labels), classes))
        return 3.0 * np.eye(classes)[values] + noise

    noise = rng.uniform(-0.45, 0.45, size=(2, len(labels)))
    onset, silence = np.clip(labels[:, :2].T * 0.6 + 0.2 + noise, 0, 1)
    return onset, silence, scores(5, labels[:, 2]), scores(13, labels[:, 3])


def decode_ours(onset, silence, octave, pitch_class, rate):
    """`decode_published` from the outputs that the loop takes."""
    octave, pitch_class = octave.argmax(axis=1), pitch_class.argmax(axis=1)
    silent = (octave == SILENT_OCTAVE) | (pitch_class == SILENT_PITCH_CLASS)
    pitch = np.where(silent, -1, 36 + 12 * octave + pitch_class)
    return frames.decode_published(onset, silence, pitch, rate)


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
    parser.add_argument(
        "--seconds", type=float, default=300.0, help="length of the song"
    )
    parser.add_argument(
        "--pairs", type=int, default=7, help="pairs of runs (default: 7)"
    )
    options = parser.parse_args(arguments)
    rate = PUBLISHED_RATE
    count = int(options.seconds * rate)
    notes = random_song(options.seconds)
    melody = NoteSequence(notes)
    rows = melody.intervals, melody.midi
    rows = np.column_stack(rows)

    yield f"song of {options.seconds:g} s, {len(notes)} notes"
    labels = frames.label_published(rows, count, rate)
    slow = label_loop(notes, count, rate)
    equal = np.array_equal(labels, slow)
    pace = speedup(
        lambda: frames.label_published(rows, count, rate),
        lambda: label_loop(notes, count, rate),
        options.pairs,
    )
    yield f"labels, published rule: {pace}; equal: {_yes(equal)}"
    total = frames.n_frames(options.seconds)
    pace = speedup(
        lambda: frames.label(melody, total),
        lambda: label_loop(notes, total, frames.FRAME_RATE),
        options.pairs,
    )
    yield f"labels, our rule: {pace}"

    outputs = noisy_outputs(labels)
    # The loop also returns notes without length, opened on the last frame.
    slow = [n for n in decode_loop(*outputs, rate) if n[1] > n[0]]
    equal = decode_ours(*outputs, rate) == slow
    pace = speedup(
        lambda: decode_ours(*outputs, rate),
        lambda: decode_loop(*outputs, rate),
        options.pairs,
    )
    yield (
        f"decoding, published rule: {pace}; {len(slow)} notes, equal: "
        f"{_yes(equal)}"
    )
    targets = frames.label(melody, total)
    posteriors = targets.as_posteriors(36, 83)
    loop_outputs = noisy_outputs(
        frames.label_published(rows, total, frames.FRAME_RATE)
    )
    pace = speedup(
        lambda: frames.decode(posteriors),
        lambda: decode_loop(*loop_outputs, frames.FRAME_RATE),
        options.pairs,
    )
    yield f"decoding, our rule: {pace}"


def _yes(flag):
    return "yes" if flag else "NO"


if __name__ == "__main__":
    raise SystemExit(show(main))
