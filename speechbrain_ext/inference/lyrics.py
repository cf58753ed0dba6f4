"""From a recording of a voice to its words, line by line."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from speechbrain_ext import audio
from speechbrain_ext.errors import ConfigError
from speechbrain_ext.inference.transcriber import checked_device
from speechbrain_ext.inference.voice_activity import active_spans
from speechbrain_ext.inference.voice_prints import sounding_frames
from speechbrain_ext.lyrics.transcription import SAMPLE_RATE, LyricsModel

LONGEST_S = 12.0  # of a line; models learn from lines of about that length

_RATE = 100  # frames a second in which pauses are looked for
_PAUSE_S = 1.0  # no line goes on over a pause that is longer


class Line(NamedTuple):
    """Words of a part of a recording.

    Arguments
    ---------
    start, stop : float
        Seconds.
    text : str
        Words in small letters.
    """

    start: float
    stop: float
    text: str


def line_spans(power, longest) -> list[tuple[int, int]]:
    """Cut a recording into lines, at pauses where there are any.

    Arguments
    ---------
    power : np.ndarray (frames,)
        Of frames of 10 ms.
    longest : int
        Frames of a line at most.

    Returns
    -------
    list of (int, int)
        First frame and the one after the last, in order and apart. What is
        longer is cut where it is softest in its middle third.

    Example
    -------
    >>> power = np.r_[np.ones(400), np.zeros(50), np.ones(300), np.zeros(200)]
    >>> line_spans(power, 1000), line_spans(power, 500)
    ([(0, 765)], [(0, 415), (435, 765)])
    >>> power[:400] = np.r_[np.ones(180), 0.5, np.ones(219)]
    >>> line_spans(power, 300)
    [(0, 180), (180, 415), (435, 545), (545, 765)]
    """
    power = np.asarray(power, np.float64)
    lines = []
    for first, last in active_spans(sounding_frames(power), _RATE):
        if (
            lines
            and last - lines[-1][0] <= longest
            and first - lines[-1][1] <= _PAUSE_S * _RATE
        ):
            first = lines.pop()[0]
        lines.append((first, last))
    found = []
    while lines:
        first, last = lines.pop(0)
        if last - first <= longest:
            found.append((first, last))
            continue
        third = (last - first) // 3
        cut = first + third + int(power[first + third : last - third].argmin())
        lines[:0] = [(first, cut), (cut, last)]
    return found


class LyricsTranscriber:
    """Writes down the words of a recording.

    Arguments
    ---------
    model : LyricsModel
    longest_s : float
        Seconds of a line at most. Default: 12.

    Raises
    ------
    ConfigError
        If that is below 1 s.

    Example
    -------
    >>> class Humming:
    ...     def search(self, wav):
    ...         return "mm"
    >>> transcriber = LyricsTranscriber(Humming())
    >>> wav = np.r_[np.zeros(32000), np.ones(16000), np.zeros(32000)]
    >>> transcriber.transcribe(wav, 16000)
    [Line(start=1.85, stop=3.15, text='mm')]
    """

    def __init__(self, model, longest_s=LONGEST_S):
        if not 1 <= longest_s < float("inf"):
            raise ConfigError(f"longest_s is {longest_s:g} s: take 1 or more")
        self.model = model
        self.longest_s = longest_s

    @classmethod
    def from_hparams(
        cls, source, device="cpu", longest_s=LONGEST_S, **search
    ) -> LyricsTranscriber:
        """Load a model, offline.

        Arguments
        ---------
        source : str or Path
            Model folder that a recipe for lyrics wrote.
        device : str
            Where to compute. Default: "cpu".
        longest_s : float
            See the class.
        **search
            Arguments of `lyrics.transcription.Search` to use instead of those
            in the folder.

        Returns
        -------
        LyricsTranscriber

        Raises
        ------
        ModelError
            If the folder is missing or holds no such model.
        ConfigError
            If the device or a setting is out of range.
        """
        device = checked_device(device)
        return cls(LyricsModel.load(source, str(device), **search), longest_s)

    def transcribe(self, wav, sample_rate, progress=None) -> list[Line]:
        """Transcribe a signal in memory.

        Arguments
        ---------
        wav : np.ndarray or torch.Tensor (samples,) or (samples, channels)
            Full scale = 1.
        sample_rate : int
            Its rate in hertz.
        progress : callable, optional
            Called with the seconds that are done.

        Returns
        -------
        list of Line
            Those with words, in order.

        Raises
        ------
        AudioError
            If the signal is empty or not finite.
        """
        wav = audio.as_signal(wav)
        wav = wav.mean(axis=1) if wav.ndim > 1 else wav
        wav = audio.resample(wav, sample_rate, SAMPLE_RATE)
        hop = SAMPLE_RATE // _RATE
        frames = np.pad(wav, (0, -len(wav) % hop)).reshape(-1, hop)
        power = np.square(frames, dtype=np.float64).mean(axis=1)
        found = []
        for first, last in line_spans(power, round(self.longest_s * _RATE)):
            start, stop = first / _RATE, min(last * hop, len(wav)) / SAMPLE_RATE
            text = self.model.search(wav[first * hop : last * hop])
            if text:
                found.append(Line(start, stop, text))
            if progress is not None:
                progress(stop)
        return found

    def transcribe_file(self, path, progress=None) -> list[Line]:
        """Transcribe a file of any rate and channel count.

        Arguments
        ---------
        path : str or Path
            Audio file, or video with sound.
        progress : callable, optional
            See `transcribe`.

        Returns
        -------
        list of Line
        """
        wav = audio.read_audio(path, sample_rate=SAMPLE_RATE)
        return self.transcribe(wav, SAMPLE_RATE, progress)
