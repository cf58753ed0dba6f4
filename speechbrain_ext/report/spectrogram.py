"""Spectrograms of recordings of any length, as coarse as a picture needs."""

from __future__ import annotations

import numpy as np

LOW_HZ = 60.0
BANDS = 160
COLUMNS = 1500
FRAME_S = 0.046  # about: a power of two in samples


class Sketch:
    """Spectrogram of a stream, of which no more is kept than can be drawn.

    Bands are spaced evenly on a logarithmic axis. Columns grow longer with the
    recording: whenever there are too many, pairs are averaged.

    Arguments
    ---------
    sample_rate : int
        Hertz.
    columns : int
        Most columns, even. Default: 1500.

    Example
    -------
    >>> times = np.arange(16000) / 16000
    >>> sketch = Sketch(16000)
    >>> sketch.listen(np.sin(2 * np.pi * 1000 * times))
    >>> loudest = sketch.powers().mean(axis=0).argmax()
    >>> bool(abs(sketch.centres[loudest] - 1000) < 20)
    True
    """

    def __init__(self, sample_rate, columns=COLUMNS):
        self.sample_rate, self.columns = sample_rate, columns
        self.size = 2 ** max(4, round(np.log2(FRAME_S * sample_rate)))
        self.window = np.hanning(self.size + 1)[:-1].astype(np.float32)
        top = sample_rate / 2
        self.edges = np.geomspace(min(LOW_HZ, top / 2), top, BANDS + 1)
        hertz = np.fft.rfftfreq(self.size, 1 / sample_rate)
        self.centres = np.sqrt(self.edges[:-1] * self.edges[1:])
        band = np.searchsorted(self.edges, hertz, "right") - 1
        inside = (band >= 0) & (band < BANDS)
        self._weights = np.zeros((len(hertz), BANDS), np.float32)
        self._weights[np.flatnonzero(inside), band[inside]] = 1
        # Narrower than a bin: the nearest one.
        nearest = np.abs(hertz[:, None] - self.centres).argmin(axis=0)
        empty = np.flatnonzero(self._weights.sum(axis=0) == 0)
        self._weights[nearest[empty], empty] = 1
        self._weights /= self._weights.sum(axis=0)
        self._rest = np.zeros(0, np.float32)
        self._frames = np.zeros((0, BANDS), np.float32)
        self._done = np.zeros((0, BANDS), np.float32)
        self._factor, self._samples = 1, 0

    @property
    def seconds(self) -> float:
        """Length so far."""
        return self._samples / self.sample_rate

    @property
    def column_s(self) -> float:
        """Seconds per column."""
        return self._factor * self.size / self.sample_rate

    def listen(self, wav) -> None:
        """Take the next samples.

        Arguments
        ---------
        wav : np.ndarray (samples,)
        """
        self._samples += len(wav)
        samples = np.concatenate([self._rest, wav], dtype=np.float32)
        whole = len(samples) // self.size * self.size
        self._rest = samples[whole:]
        self._frames = np.concatenate(
            [self._frames, self._transformed(samples[:whole])]
        )
        self._gather()
        while len(self._done) > self.columns:
            pairs = self._done[: len(self._done) // 2 * 2]
            odd = self._done[len(pairs) :].repeat(self._factor, axis=0)
            self._done = pairs.reshape(-1, 2, BANDS).mean(axis=1)
            self._frames = np.concatenate([odd, self._frames])
            self._factor *= 2
            self._gather()

    def powers(self) -> np.ndarray:
        """Spectrogram so far.

        Returns
        -------
        np.ndarray (columns, bands), float32
            Mean power per bin; 1 where a bin holds a sine at full scale. What
            does not fill a column is filled up with silence.
        """
        rest = np.zeros((0, BANDS), np.float32)
        if len(self._rest):
            rest = np.pad(self._rest, (0, self.size - len(self._rest)))
            rest = self._transformed(rest)
        rest = np.concatenate([self._frames, rest])
        if not len(rest):
            return self._done
        last = rest.sum(axis=0, keepdims=True) / self._factor
        return np.concatenate([self._done, last])

    def _transformed(self, samples):
        frames = samples.reshape(-1, self.size) * self.window
        spec = np.fft.rfft(frames) * (2 / self.window.sum())
        return (np.abs(spec) ** 2).astype(np.float32) @ self._weights

    def _gather(self):
        whole = len(self._frames) // self._factor * self._factor
        new = self._frames[:whole].reshape(-1, self._factor, BANDS)
        self._done = np.concatenate([self._done, new.mean(axis=1)])
        self._frames = self._frames[whole:]
