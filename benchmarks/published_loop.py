"""The published labelling and decoding rules, one frame at a time.

Written from the description of the rule, as the plain Python loop that it is:
the yardstick for the speed and the exactness of `speechbrain_ext.frames`. It
keeps the rule's faults (they are named below), so it is of no other use.

The rule comes from the MIR-ST500 baseline (Wang and Jang, "On the Preparation
and Validation of a Large-Scale Dataset of Singing Transcription", ICASSP
2021) and is used unchanged by Gu et al., "Automatic Lyric Transcription and
Automatic Music Transcription from Multimodal Singing", ACM TOMM 2024.
"""

from math import floor

import numpy as np

LOWEST_MIDI = 36
SILENT_OCTAVE = 4
SILENT_PITCH_CLASS = 12
ONSET_THRESHOLD = 0.4
SILENCE_THRESHOLD = 0.5
PEAK_RADIUS = 3  # frames to each side


def pitch_bins(midi):
    """Split a MIDI number into octave and pitch class.

    Arguments
    ---------
    midi : float
        MIDI number; a fraction is cut off.

    Returns
    -------
    tuple of int
        Octave in 0 to 3 (0 starts at MIDI 36; pitches outside are clamped
        into the nearest octave) and pitch class in 0 to 11.

    Example
    -------
    >>> pitch_bins(36), pitch_bins(83.9), pitch_bins(86)
    ((0, 0), (3, 11), (3, 2))
    """
    octave = min(max(floor((midi - LOWEST_MIDI) / 12), 0), 3)
    return octave, floor(midi) % 12


def label_loop(notes, n_frames, frame_rate):
    """Label the frames of a melody by the published rule.

    Frame i has the time t = i * d with d = 1 / frame_rate. A pointer walks
    the notes; of these cases the first that holds decides:

    1. |t - onset| <= d / 2: an onset frame of the current note. The onset bit
       is 0 if the frame before has it set (an onset midway between two frames
       is within d / 2 of both; the earlier wins).
    2. t < onset, or no note is left: silence.
    3. |t - offset| <= d / 2: the silence bit with the pitch of the note that
       ends; the pointer moves on. If the next note's onset is within d / 2 as
       well, the frame becomes that note's onset frame instead, without the
       check of case 1.
    4. Otherwise: a voiced frame of the current note.

    Not well defined, and kept: a note whose offset is nearest to the frame of
    its onset never ends, nor does one whose offset lies midway between two
    frames if rounding puts it beyond d / 2 of both (an onset there is lost
    likewise); of overlapping notes the second onset is lost;
    pitches outside MIDI 36 to 83 fold into the outer octaves; fractions are
    cut off. The published code fails without notes; here all is silence.

    Arguments
    ---------
    notes : list of (onset, offset, midi)
        Sorted by onset, seconds and MIDI numbers.
    n_frames : int
        Number of frames.
    frame_rate : float
        Frames per second.

    Returns
    -------
    list of (onset, silence, octave, pitch_class)
        One tuple of ints per frame: bits, octave 0 to 3 or 4 for silence,
        pitch class 0 to 11 or 12 for silence.

    Example
    -------
    >>> label_loop([(0.02, 0.06, 60)], 5, 50)  # doctest: +NORMALIZE_WHITESPACE
    [(0, 1, 4, 12), (1, 0, 2, 0), (0, 0, 2, 0), (0, 1, 2, 0), (0, 1, 4, 12)]
    """
    step = 1 / frame_rate
    half = step / 2
    frames = []
    current = 0
    for index in range(n_frames):
        time = index * step
        if current >= len(notes):
            frames.append((0, 1, SILENT_OCTAVE, SILENT_PITCH_CLASS))
            continue
        onset, offset, midi = notes[current]
        octave, pitch_class = pitch_bins(midi)
        if abs(time - onset) <= half:
            repeated = bool(frames) and frames[-1][0] == 1
            frames.append((0 if repeated else 1, 0, octave, pitch_class))
        elif time < onset:
            frames.append((0, 1, SILENT_OCTAVE, SILENT_PITCH_CLASS))
        elif abs(time - offset) <= half:
            frame = (0, 1, octave, pitch_class)
            current += 1
            if current < len(notes):
                onset, offset, midi = notes[current]
                if abs(time - onset) <= half:
                    frame = (1, 0, *pitch_bins(midi))
            frames.append(frame)
        else:
            frames.append((0, 0, octave, pitch_class))
    return frames


def decode_loop(
    onset_prob,
    silence_prob,
    octave_logits,
    pitch_class_logits,
    frame_rate,
    onset_threshold=ONSET_THRESHOLD,
    silence_threshold=SILENCE_THRESHOLD,
):
    """Decode frame outputs into notes by the published greedy rule.

    Frame i has the time i / frame_rate. It is an onset if its probability
    reaches the threshold (>=) and equals the maximum over the frames
    max(0, i - 3) up to, not including, min(i + 4, n_frames - 1): the window
    never holds the very last frame, not even for the last frame itself.

    - An onset closes the open note at this time and opens another.
    - Otherwise a silence probability that reaches its threshold (>=) closes
      the open note.
    - A frame within an open note (the onset frame included, the closing one
      not) votes for 12 * octave + pitch class, unless one of the two is the
      silent class. A note without votes is dropped when it is closed.
    - After the last frame an open note is closed at that frame's time.

    A note's pitch is 36 plus its most frequent vote. Not well defined: equal
    counts are resolved arbitrarily by the published code; here the lowest
    pitch wins. A note that opens on the last frame has no length and is
    returned so. Equal onset probabilities side by side give one note each.
    The argument of a maximum is the first of equal values.

    Arguments
    ---------
    onset_prob, silence_prob : array-like (frames,)
        Probabilities.
    octave_logits : array-like (frames, 5)
        Scores of four octaves and silence.
    pitch_class_logits : array-like (frames, 13)
        Scores of twelve pitch classes and silence.
    frame_rate : float
        Frames per second.
    onset_threshold : float
        Smallest probability of an onset.
    silence_threshold : float
        Smallest probability of silence.

    Returns
    -------
    list of (onset, offset, midi)
        Seconds, seconds and an int.

    Example
    -------
    >>> onset, silence = [0.1, 0.9, 0.1, 0.1], [0.9, 0.1, 0.1, 0.9]
    >>> octave = np.eye(5)[[4, 2, 2, 4]]
    >>> pitch_class = np.eye(13)[[12, 9, 9, 12]]
    >>> decode_loop(onset, silence, octave, pitch_class, 50)
    [(0.02, 0.06, 69)]
    """
    onset_prob = np.asarray(onset_prob)
    total = len(onset_prob)
    notes = []
    opened = None
    votes = []
    time = 0.0

    def close():
        if votes:
            ranked = sorted(set(votes))
            pitch = max(ranked, key=votes.count)
            notes.append((opened, time, LOWEST_MIDI + pitch))
        votes.clear()

    for index in range(total):
        time = index / frame_rate
        probability = onset_prob[index]
        first = max(0, index - PEAK_RADIUS)
        last = min(index + PEAK_RADIUS + 1, total - 1)
        if (
            probability >= onset_threshold
            and first < last
            and probability == onset_prob[first:last].max()
        ):
            if opened is not None:
                close()
            opened = time
        elif silence_prob[index] >= silence_threshold and opened is not None:
            close()
            opened = None
        octave = int(np.argmax(octave_logits[index]))
        pitch_class = int(np.argmax(pitch_class_logits[index]))
        if (
            opened is not None
            and octave != SILENT_OCTAVE
            and pitch_class != SILENT_PITCH_CLASS
        ):
            votes.append(12 * octave + pitch_class)
    if opened is not None:
        close()
    return notes
