"""Where a recording of voices sounds, for stitching by active spans.

Three ways, all mended where published code for several singers was wrong:

- "spec": by the energy of spectra, relative to the loud frames of the whole
  recording and not to its single loudest bin;
- "webrtc": by the package webrtcvad (extra `vad`), on 16 bits at 16 kHz;
- "silero": by the package silero-vad, if that is installed.

Spans that are short are left out, short gaps are closed, spans get some time
before and after them, and the last one may reach the very end.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from speechbrain_ext.errors import ConfigError, optional_library
from speechbrain_ext.inference.voice_prints import sounding_frames

DETECTORS = ("spec", "webrtc", "silero")

SHORTEST_S = 0.1
CLOSED_S = 0.3
HANGOVER_S = 0.15

_RATE = 16000
_WEBRTC_FRAME = 480  # 30 ms
_WEBRTC_MODE = 3


def check_detector(name) -> None:
    """Find out whether a detector is there, before the work.

    Arguments
    ---------
    name : str
        One of `DETECTORS`.

    Raises
    ------
    ConfigError
        If there is no such detector.
    DependencyError
        If its package is missing.

    Example
    -------
    >>> check_detector("spec")
    """
    if name not in DETECTORS:
        raise ConfigError(
            f"voice activity '{name}': use one of {', '.join(DETECTORS)}"
        )
    what = f"voice activity '{name}'"
    if name == "webrtc":
        optional_library("webrtcvad", "webrtcvad", "vad", what)
    elif name == "silero":
        optional_library("silero_vad", "silero-vad", what=what)


def active_spans(active, frames_per_s) -> list[tuple[int, int]]:
    """Spans of active frames, without what is too short to mean anything.

    Arguments
    ---------
    active : np.ndarray (frames,) of bool
    frames_per_s : float

    Returns
    -------
    list of (int, int)
        First frame and the one after the last, in order and apart.

    Example
    -------
    A gap of 0.2 s is closed, a blip of 0.05 s dropped:

    >>> active = np.zeros(400, bool)
    >>> active[100:150] = active[170:200] = active[300:305] = True
    >>> active_spans(active, 100)
    [(85, 215)]
    """
    edges = np.diff(np.concatenate([[0], np.asarray(active, int), [0]]))
    spans = []
    for begin, end in zip(
        np.flatnonzero(edges > 0), np.flatnonzero(edges < 0), strict=True
    ):
        if spans and begin - spans[-1][1] < CLOSED_S * frames_per_s:
            spans[-1][1] = int(end)
        else:
            spans.append([int(begin), int(end)])
    more = round(HANGOVER_S * frames_per_s)
    kept = []
    for begin, end in spans:
        if end - begin < SHORTEST_S * frames_per_s:
            continue
        begin, end = max(begin - more, 0), min(end + more, len(active))
        if kept and begin <= kept[-1][1]:
            begin = kept.pop()[0]
        kept.append((begin, end))
    return kept


def spectral_activity(power) -> np.ndarray:
    """Active frames by their energy.

    Arguments
    ---------
    power : np.ndarray (frames,)
        Of the spectrum's frames.

    Returns
    -------
    np.ndarray (frames,) of bool

    Example
    -------
    >>> spectral_activity([1.0, 1.0, 1e-6, 1.0]).tolist()
    [True, True, False, True]
    """
    return sounding_frames(np.asarray(power, np.float64))


def webrtc_activity(blocks: Iterable[np.ndarray]) -> np.ndarray:
    """Active frames of 30 ms by webrtcvad.

    Arguments
    ---------
    blocks : iterable of np.ndarray (samples,)
        At 16 kHz, full scale = 1.

    Returns
    -------
    np.ndarray (frames,) of bool
        The last one is filled up with silence.

    Raises
    ------
    DependencyError
        If webrtcvad is missing.
    """
    package = optional_library(
        "webrtcvad", "webrtcvad", "vad", "voice activity 'webrtc'"
    )
    detector = package.Vad(_WEBRTC_MODE)
    found, rest = [], np.zeros(0, np.int16)
    for block in blocks:
        whole = np.rint(np.clip(block, -1, 1) * 32767).astype(np.int16)
        rest = np.concatenate([rest, whole])
        count = len(rest) // _WEBRTC_FRAME
        frames = rest[: count * _WEBRTC_FRAME].reshape(count, _WEBRTC_FRAME)
        found += [detector.is_speech(f.tobytes(), _RATE) for f in frames]
        rest = rest[count * _WEBRTC_FRAME :]
    if len(rest):
        last = np.pad(rest, (0, _WEBRTC_FRAME - len(rest)))
        found.append(detector.is_speech(last.tobytes(), _RATE))
    return np.array(found, bool)


def silero_activity(blocks: Iterable[np.ndarray]) -> np.ndarray:
    """Active hundredths of a second by silero-vad.

    Arguments
    ---------
    blocks : iterable of np.ndarray (samples,)
        At 16 kHz, full scale = 1. All of it is held in memory.

    Returns
    -------
    np.ndarray (frames,) of bool
        100 per second.

    Raises
    ------
    DependencyError
        If silero-vad is missing.
    """
    import torch

    package = optional_library(
        "silero_vad", "silero-vad", what="voice activity 'silero'"
    )
    wav = np.concatenate([np.zeros(0, np.float32), *blocks])
    spans = package.get_speech_timestamps(
        torch.from_numpy(wav), package.load_silero_vad(), sampling_rate=_RATE
    )
    active = np.zeros(-(-len(wav) * 100 // _RATE), bool)
    for span in spans:
        begin, end = span["start"] * 100 // _RATE, span["end"] * 100 / _RATE
        active[begin : int(np.ceil(end))] = True
    return active


def stretched(active, frame_s, times) -> np.ndarray:
    """Activity at other times.

    Arguments
    ---------
    active : np.ndarray (frames,) of bool
    frame_s : float
        Length of a frame, seconds.
    times : np.ndarray (other,)
        Seconds.

    Returns
    -------
    np.ndarray (other,) of bool

    Example
    -------
    >>> stretched(np.array([True, False]), 0.03, [0, 0.02, 0.04, 0.9]).tolist()
    [True, True, False, False]
    """
    active, times = np.asarray(active, bool), np.asarray(times)
    if not len(active):
        return np.zeros(len(times), bool)
    place = np.floor(times / frame_s + 1e-9).astype(int)
    return active[np.clip(place, 0, len(active) - 1)]
