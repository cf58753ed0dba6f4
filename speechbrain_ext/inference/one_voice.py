"""Whether two outputs of a separator of singers are one voice.

A separator always gives as many outputs as it has. Where one voice sounds at a
time it makes pieces of it, which differ from two voices in four ways:

- same pitch: where both outputs have a clear pitch it is the same one, because
  each has some of the partials of one tone;
- likeness: the cosine of the magnitudes of their spectra;
- level: one of them is softer, since nothing makes them alike loud;
- together: they seldom sound at the same time, since most frames go to one.

`one_voice` weighs them by a logistic regression. Its weights come from outputs
of the first stage of the shipped splitter for 74 solos and 115 pairs, alike
loud or 10 dB apart: of five singers of MIR-1K (annar and khair were kept for
testing), with themselves too, and of MiniSinging; and from 60 such pairs,
singing at once or in turn, that were taken apart perfectly but for a leak of 12
to 30 dB. Where it begins to say so was chosen again, on the same singers, for
a later stage of that splitter, and holds for the one that is shipped now.

Two who sing in unison have one pitch as well; those who sing in turn are one
voice at a time to a network that mixes them up. So what is said names them too.
"""

from __future__ import annotations

import numpy as np

from speechbrain_ext.inference.voice_prints import pitches

# A frame counts down to here below the loud ones of its chunk, dB.
SOUNDING_DB = 30.0

# An output sounds in a frame down to here below the loudest one, dB.
TOGETHER_DB = 15.0

# Semitones by which the same pitch may differ: the lags of an autocorrelation
# are as coarse as that at the upper end.
SAME_PITCH = 0.75

# What is assumed of the pitches, and how many seconds of them that is worth.
_ASSUMED, _ASSUMED_S = 0.6, 0.2

# More than so many decibels of difference say no more.
_LEVEL_DB = 10.0

# Of the logistic regression: same pitch, likeness, level per 10 dB, together.
_OFFSET, _WEIGHTS = -7.6, (9.3, 9.2, 3.4, -5.6)


def count_frames(magnitudes, mixture, sample_rate) -> np.ndarray:
    """Count frames in which outputs sound, and have the same pitch.

    Arguments
    ---------
    magnitudes : np.ndarray (voices, frames, bins)
        Of the outputs.
    mixture : np.ndarray (frames,)
        Power of their sum, in a chunk of the recording.
    sample_rate : int
        Hertz.

    Returns
    -------
    np.ndarray (4, voices, voices)
        For each pair: frames in which one of them sounds, in which both do, in
        which both have a clear pitch, and in which it is the same.

    Example
    -------
    Two outputs with every other partial of a tone:

    >>> tone = np.zeros((2, 6, 1025))
    >>> tone[0, :, 20:400:20] = 1.0
    >>> tone[1, :, 20:400:40] = 1.0
    >>> counts = count_frames(tone, (tone.sum(0) ** 2).sum(1), 24000)
    >>> counts[:, 0, 1].tolist()
    [6.0, 6.0, 6.0, 6.0]
    """
    power = (magnitudes**2).sum(-1)
    loud = np.quantile(mixture, 0.95) * 10 ** (-SOUNDING_DB / 10)
    share = 10 ** (-TOGETHER_DB / 10)
    heard = (mixture > loud) & (power > share * power.max(0))
    midi = np.stack([pitches(voice, sample_rate) for voice in magnitudes])
    pair = np.maximum(power[:, None], power[None])
    near = np.minimum(power[:, None], power[None]) > share * pair
    either = heard[:, None] | heard[None]
    both = either & near
    apart = np.abs(midi[:, None] - midi[None])
    pitched = both & ~np.isnan(apart)
    same = pitched & (apart < SAME_PITCH)
    return np.stack([either, both, pitched, same]).sum(-1).astype(np.float64)


def one_voice(counts, frame_s, likeness, levels_db) -> np.ndarray:
    """How likely it is that two outputs are one voice, or sing in unison.

    Arguments
    ---------
    counts : np.ndarray (4, voices, voices)
        Sums of what `count_frames` gives.
    frame_s : float
        Seconds from frame to frame.
    likeness : np.ndarray (voices, voices)
        Cosines of the magnitudes.
    levels_db : np.ndarray (voices,)
        Of the outputs; -inf for silence.

    Returns
    -------
    np.ndarray (voices, voices)
        0 to 1; 0 where one of the two is silent.

    Example
    -------
    >>> counts = np.full((4, 2, 2), 100.0)
    >>> likeness = np.array([[1, 0.7], [0.7, 1]])
    >>> bool(one_voice(counts, 0.03, likeness, [0.0, -6.0])[0, 1] > 0.5)
    True
    >>> counts[3] = 20.0  # of 100 frames have the same pitch
    >>> bool(one_voice(counts, 0.03, likeness, [0.0, -6.0])[0, 1] < 0.5)
    True
    """
    levels = np.asarray(levels_db, np.float64)
    silent = ~np.isfinite(levels)
    levels = np.where(silent, 0.0, levels)
    apart = np.minimum(np.abs(levels[:, None] - levels), _LEVEL_DB) / 10
    parts = same_pitch(counts, frame_s), likeness, apart, together(counts)
    total = _OFFSET + sum(
        weight * part for weight, part in zip(_WEIGHTS, parts, strict=True)
    )
    found = 1 / (1 + np.exp(-total))
    found[silent] = found[:, silent] = 0.0
    return found


def same_pitch(counts, frame_s) -> np.ndarray:
    """Share of the pitched frames in which outputs have the same pitch.

    Arguments
    ---------
    counts : np.ndarray (4, voices, voices)
        Sums of what `count_frames` gives.
    frame_s : float
        Seconds from frame to frame.

    Returns
    -------
    np.ndarray (voices, voices)
        0 to 1; near 0.6 where there are few such frames.

    Example
    -------
    >>> same_pitch(np.zeros((4, 1, 1)), 0.03).tolist()
    [[0.6]]
    """
    _, _, pitched, same = np.asarray(counts) * frame_s
    return (same + _ASSUMED * _ASSUMED_S) / (pitched + _ASSUMED_S)


def together(counts) -> np.ndarray:
    """Share of the sounding frames in which both outputs sound.

    Arguments
    ---------
    counts : np.ndarray (4, voices, voices)
        Sums of what `count_frames` gives.

    Returns
    -------
    np.ndarray (voices, voices)
        0 to 1; 0 if none sounds.

    Example
    -------
    >>> together(np.array([[[8.0]], [[2.0]], [[0.0]], [[0.0]]])).tolist()
    [[0.25]]
    """
    either, both, _, _ = np.asarray(counts)
    return both / np.maximum(either, 1.0)
