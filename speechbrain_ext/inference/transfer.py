"""Estimates of sources at a recording's own rate, from a model at another one.

A model that gives masks is applied to the spectrum of the recording itself.
The model hears the recording at its own rate; the recording's spectrum is taken
with a window as long in seconds, around the same times: frame k is centred at
the sample nearest to k times the model's hop. So no mask is interpolated in
time, and each bin takes the mask of the model's nearest bin.

Above what the model hears, a mask goes on as the mean, frame by frame, of its
real part over the octave below, weighted by the magnitudes of the recording and
cut to 0 to 1: hiss that begins below the edge belongs to whoever it belonged to
there. The edge is at `PASS_BAND` of the model's band, where resampling begins
to fade its input out; where the recording's rate is not higher than the model's
there is none.

A model that gives waveforms is run at its own rate and resampled back.

Both stream: memory depends on the length of a chunk and not of the recording.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import NamedTuple

import numpy as np

from speechbrain_ext.audio import resample_stream
from speechbrain_ext.errors import ModelError
from speechbrain_ext.inference.stitching import stitch
from speechbrain_ext.separation.codec import WINDOWS

CHUNK_S = 30.0

# For models that depend on all that came before: what they hear before a
# chunk, and how long neighbouring chunks are faded into each other.
CONTEXT_S = 4.0
FADE_S = 2.0

# Of a segment of a model with a fixed length, faded into the next one.
FADE_SHARE = 0.25

# Of half the model's sample rate, where its masks are still trusted.
PASS_BAND = 0.9

# Frames transformed at a time.
_FRAMES = 128


class Framing:
    """Frames of a model's transform at another sample rate.

    Arguments
    ---------
    codec : speechbrain_ext.separation.codec.STFT
        The model's transform.
    model_rate, rate : int
        Hertz: of the model and of the recording.

    Example
    -------
    >>> from speechbrain_ext.separation.codec import STFT
    >>> framing = Framing(STFT(1024, 256), 16000, 44100)
    >>> framing.n_fft, framing.centres(0, 4).tolist()
    (2822, [0, 706, 1411, 2117])
    """

    def __init__(self, codec, model_rate, rate):
        import torch

        settings = codec.settings
        self.hop = settings["hop_length"]
        self.more = int(4 * self.hop > settings["win_length"])
        self.model_rate, self.rate = model_rate, rate
        if rate == model_rate:
            self.n_fft = settings["n_fft"]
            length = settings["win_length"]
        else:
            ratio = rate / model_rate
            self.n_fft = 2 * max(1, round(settings["n_fft"] * ratio / 2))
            length = round(settings["win_length"] * ratio)
            length = min(max(length, 1), self.n_fft)
        before = (self.n_fft - length) // 2
        window = torch.zeros(self.n_fft)
        window[before : before + length] = WINDOWS[codec.window_name](length)
        self.window = window

    def centres(self, first, last) -> np.ndarray:
        """Samples at which frames are centred.

        Arguments
        ---------
        first, last : int
            Frames first to last - 1.

        Returns
        -------
        np.ndarray (last - first,) of int
        """
        steps = 2 * np.arange(first, last, dtype=np.int64) * self.hop
        return (steps * self.rate + self.model_rate) // (2 * self.model_rate)

    def count(self, samples) -> int:
        """Frames of a signal, as many as the transform gives it.

        Arguments
        ---------
        samples : int

        Returns
        -------
        int
            Those centred within the signal or at its end, and one more where
            the transform has little overlap.
        """
        return self.inside(samples) + self.more

    def inside(self, samples) -> int:
        """Frames centred within a signal or at its end.

        Arguments
        ---------
        samples : int

        Returns
        -------
        int
        """
        guess = samples * self.model_rate // (self.hop * self.rate)
        near = self.centres(guess, guess + 3)
        return guess + int((near <= samples).sum())

    def spectra(self, tape, first, last):
        """Transform frames of a recording.

        Arguments
        ---------
        tape : Tape
        first, last : int
            Frames first to last - 1.

        Returns
        -------
        torch.Tensor (frames, channels, bins), complex
        """
        import torch

        starts = self.centres(first, last) - self.n_fft // 2
        samples = tape.read(starts[0], starts[-1] + self.n_fft)
        index = (starts - starts[0])[:, None] + np.arange(self.n_fft)
        frames = torch.from_numpy(samples.T[:, index]).transpose(0, 1)
        return torch.fft.rfft(frames * self.window)

    def stream(self, blocks) -> Iterator[np.ndarray]:
        """Transform a stream of samples.

        Arguments
        ---------
        blocks : iterable of np.ndarray (samples, channels)

        Yields
        ------
        np.ndarray (frames, channels, bins), complex
            All together `count` of the samples.
        """
        tape, done = Tape(), 0
        for block in blocks:
            tape.append(block)
            # Frames that lie within what has come.
            ready = self.inside(tape.end - self.n_fft)
            while ready - done >= _FRAMES:
                yield self.spectra(tape, done, done + _FRAMES).numpy()
                done += _FRAMES
            tape.forget(int(self.centres(done, done + 1)[0]) - self.n_fft // 2)
        total = self.count(tape.end)
        for first in range(done, total, _FRAMES):
            last = min(first + _FRAMES, total)
            yield self.spectra(tape, first, last).numpy()


class MaskCarrier:
    """Masks of a model on spectra of a recording at another rate.

    See the top of this module for the rule.

    Arguments
    ---------
    heard, framing : Framing
        Of the model's rate and of the recording's.

    Example
    -------
    >>> import torch
    >>> from speechbrain_ext.separation.codec import STFT
    >>> codec = STFT(8, 4)
    >>> own, twice = (Framing(codec, 8000, rate) for rate in (8000, 16000))
    >>> carry = MaskCarrier(own, twice)
    >>> carry.nearest.tolist()
    [0, 1, 2, 3, 4, 4, 4, 4, 4]
    >>> carry(torch.tensor([0, 1, 0, 1, 1.0]), torch.ones(9)).tolist()
    [0.0, 1.0, 0.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.5]
    """

    def __init__(self, heard, framing):
        import torch

        hertz = framing.rate / framing.n_fft
        bins = torch.arange(framing.n_fft // 2 + 1)
        step = heard.rate / heard.n_fft
        top = heard.n_fft // 2
        self.nearest = (bins * (hertz / step)).round().long().clamp(max=top)
        self.same = framing.rate == heard.rate
        edge = PASS_BAND * heard.rate / 2
        beyond = int((bins * hertz <= edge).sum())
        if framing.rate <= heard.rate:
            beyond = len(bins)
        self.beyond = beyond
        self.octave = slice(int((bins * hertz < edge / 2).sum()), beyond)

    def __call__(self, masks, spectra):
        """Carry masks over.

        Arguments
        ---------
        masks : torch.Tensor (..., bins of the model)
            Real or complex.
        spectra : torch.Tensor (..., bins)
            Of the recording.

        Returns
        -------
        torch.Tensor (..., bins)
        """
        if self.same:
            return masks
        masks = masks[..., self.nearest]
        if self.beyond < len(self.nearest):
            weights = spectra[..., self.octave].abs()
            silent = weights.amax(-1, keepdim=True) == 0
            weights = weights.masked_fill(silent, 1.0)
            inside = masks[..., self.octave].real * weights
            mean = inside.sum(-1, keepdim=True) / weights.sum(-1, keepdim=True)
            masks[..., self.beyond :] = mean.clamp(0, 1)
        return masks


class Tape:
    """The part of a stream of samples that is still needed.

    Example
    -------
    >>> tape = Tape()
    >>> tape.append(np.arange(6.0).reshape(-1, 1))
    >>> tape.forget(3)
    >>> tape.read(4, 8)[:, 0].tolist()
    [4.0, 5.0, 0.0, 0.0]
    """

    def __init__(self):
        self._parts, self.begin, self.end = [], 0, 0

    def append(self, block) -> None:
        """Take the next samples.

        Arguments
        ---------
        block : np.ndarray (samples, channels)
        """
        self._parts.append(block)
        self.end += len(block)

    def forget(self, begin) -> None:
        """Let go of what lies before a sample.

        Arguments
        ---------
        begin : int
        """
        while self._parts and self.begin + len(self._parts[0]) <= begin:
            self.begin += len(self._parts.pop(0))

    def read(self, begin, end) -> np.ndarray:
        """Samples, with silence before the first and after the last one.

        Arguments
        ---------
        begin, end : int
            Samples begin to end - 1.

        Returns
        -------
        np.ndarray (samples, channels)
        """
        assert max(begin, 0) >= self.begin, "has been let go of"
        out = np.zeros((end - begin, self._parts[0].shape[1]), np.float32)
        at = self.begin
        for part in self._parts:
            low, high = max(begin, at), min(end, at + len(part))
            if low < high:
                out[low - begin : high - begin] = part[low - at : high - at]
            at += len(part)
        return out


class _OverlapAdd:
    """Puts frames back together, normalised by their windows."""

    def __init__(self, framing):
        self.framing = framing
        self.squares = (framing.window**2).numpy()
        self.begin, self.sum, self.weight = 0, None, None

    def add(self, starts, spectra):
        """Take spectra (frames, sources, channels, bins)."""
        import torch

        frames = torch.fft.irfft(spectra, n=self.framing.n_fft)
        frames = (frames * self.framing.window).numpy()
        if self.sum is None:
            self.begin = int(starts[0])
            self.sum = np.zeros((*frames.shape[1:3], 0), np.float32)
            self.weight = np.zeros(0, np.float32)
        missing = int(starts[-1]) + self.framing.n_fft - self.begin
        missing -= len(self.weight)
        self.sum = np.pad(self.sum, [(0, 0), (0, 0), (0, missing)])
        self.weight = np.pad(self.weight, (0, missing))
        for start, frame in zip(starts - self.begin, frames, strict=True):
            stop = start + self.framing.n_fft
            self.sum[..., start:stop] += frame
            self.weight[start:stop] += self.squares

    def take(self, begin, end):
        """Samples (end - begin, sources, channels); lets go of them."""
        low, high = begin - self.begin, end - self.begin
        weight = np.maximum(self.weight[low:high], 1e-11)
        out = self.sum[..., low:high] / weight
        self.sum, self.weight = self.sum[..., high:], self.weight[high:]
        self.begin = end
        return out.transpose(2, 0, 1)


def estimate_sources(
    separator,
    blocks: Iterable[np.ndarray],
    sample_rate: int,
    sources=None,
    chunk_s: float | None = None,
    batch_size: int = 1,
    device="cpu",
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Separate a stream at its own rate.

    Arguments
    ---------
    separator : torch.nn.Module
        With `sources` and `sample_rate`. Either it gives masks: `codec`,
        `hop_length`, `frame_grid` and `masks`, as `MaskSeparator`. Or it is
        called with mixtures (batch, channels, samples) and gives waveforms
        (batch, sources, channels, samples); its `channels` says how many
        channels it takes (1, 2 or None: any), its `segment_s`, if it has one,
        the longest input in seconds. `context_s` is how many seconds of signal
        to each side matter (None, or absent: all). What gives masks and knows
        more than the sound has `annotated`, from the model's frames (frames,
        channels, bins), in pieces, to wider ones, which its `masks` then gets.
    blocks : iterable of np.ndarray (samples, channels), float32
        The recording in pieces of any length.
    sample_rate : int
        Its rate in hertz.
    sources : sequence of int, optional
        Which sources, by their place in `separator.sources`. Default: all.
    chunk_s : float, optional
        Seconds per chunk, context not counted. Default: 30.
    batch_size : int
        Most single-channel spectra, or waveforms, per forward pass. Default:
        1.
    device : str or torch.device
        Where the separator is. Default: "cpu".

    Yields
    ------
    (np.ndarray (samples, channels), np.ndarray (samples, sources, channels))
        The recording and the estimates of its sources, all together as long
        as the recording.

    Raises
    ------
    ModelError
        If the model gives another shape than it says.

    Example
    -------
    >>> from speechbrain_ext.separation.recurrent import RecurrentNetwork
    >>> from speechbrain_ext.separation.separator import MaskSeparator
    >>> separator = MaskSeparator(RecurrentNetwork(hidden_size=4)).eval()
    >>> wav = np.ones((5000, 2), np.float32)
    >>> parts = list(estimate_sources(separator, [wav], 44100))
    >>> estimates = np.concatenate([estimates for _, estimates in parts])
    >>> estimates.shape, bool(np.allclose(estimates.sum(1), wav, atol=1e-5))
    ((5000, 2, 2), True)
    """
    blocks = (block for block in blocks if len(block))
    first = next(blocks, None)
    if first is None:
        return
    job = _Job(
        separator,
        list(range(len(separator.sources)) if sources is None else sources),
        first.shape[1],
        sample_rate,
        CHUNK_S if chunk_s is None else chunk_s,
        batch_size,
        device,
    )
    way = _by_masks if hasattr(separator, "masks") else _by_waveforms
    yield from way(job, chain([first], blocks))


class _Job(NamedTuple):
    """What `estimate_sources` is asked for."""

    separator: object
    sources: list
    channels: int
    rate: int
    chunk_s: float
    batch_size: int
    device: object

    def layout(self, rate, grid=1):
        """Chunk, context and fade in frames of so many per second."""
        segment_s = getattr(self.separator, "segment_s", None)
        if segment_s is not None:
            whole = math.floor(segment_s * rate + 1e-6)
            fade = math.floor(whole * FADE_SHARE)
            return whole - fade, 0, fade
        chunk = max(1, round(self.chunk_s * rate / grid)) * grid
        reach = getattr(self.separator, "context_s", None)
        if reach is not None:
            return chunk, math.ceil(reach * rate - 1e-6), 0
        fade = min(chunk, round(FADE_S * rate))
        return chunk, round(CONTEXT_S * rate), fade

    def heard(self, tape, blocks):
        """What the model hears of a stream; the tape records it as it was."""

        def recorded():
            for block in blocks:
                tape.append(block)
                yield block

        empty = True
        for block in resample_stream(
            recorded(), self.rate, self.separator.sample_rate, self.channels
        ):
            empty = empty and not len(block)
            yield block.reshape(len(block), self.channels)
        if empty:
            # The recording is shorter than one sample of the model's.
            yield tape.read(0, 1)


def _by_masks(job, blocks):
    import torch

    separator, model_rate = job.separator, job.separator.sample_rate
    heard = Framing(separator.codec, model_rate, model_rate)
    tape = Tape()

    @torch.inference_mode()
    def fn(spectra):
        """Masks (chunks, frames, sources, channels, bins) of spectra."""
        spec = torch.from_numpy(spectra).transpose(1, 2)
        parts = [
            separator.masks(part.unsqueeze(1).to(job.device))[:, job.sources]
            for part in spec.flatten(0, 1).split(job.batch_size)
        ]
        masks = torch.cat(parts).squeeze(2).unflatten(0, spec.shape[:2])
        return masks.permute(0, 3, 2, 1, 4).cpu().numpy()

    chunk, context, fade = job.layout(
        model_rate / separator.hop_length, separator.frame_grid
    )
    spectra = heard.stream(job.heard(tape, blocks))
    annotated = getattr(separator, "annotated", None)
    masks = stitch(
        spectra if annotated is None else annotated(spectra),
        fn,
        chunk,
        context,
        fade,
        separator.frame_grid,
        batch=max(1, job.batch_size // job.channels),
    )
    yield from put_masks(separator, masks, tape, job.rate)


def put_masks(
    separator, masks, tape: Tape, sample_rate: int, fill=None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Put masks on the spectrum of a recording at its own rate.

    Arguments
    ---------
    separator : torch.nn.Module
        With `codec` and `sample_rate`, see `MaskSeparator`.
    masks : iterable of np.ndarray (frames, sources, channels, bins)
        Of the model's frames from the first on, in pieces of any length; one
        channel is for all channels of the recording.
    tape : Tape
        What has come of the recording.
    sample_rate : int
        Its rate in hertz.
    fill : callable, optional
        Called with the sample that is needed next, to let the tape grow to it
        where the recording has it. Default: asking for masks lets it grow.

    Yields
    ------
    (np.ndarray (samples, channels), np.ndarray (samples, sources, channels))
        The recording and the estimates, all together as long as the recording.
    """
    import torch

    heard = Framing(
        separator.codec, separator.sample_rate, separator.sample_rate
    )
    framing = Framing(separator.codec, separator.sample_rate, sample_rate)
    carry, adder = MaskCarrier(heard, framing), _OverlapAdd(framing)
    fill = (lambda sample: None) if fill is None else fill
    done = written = 0

    @torch.inference_mode()
    def apply(masks):
        """Put the masks of the next frames on the recording's spectrum."""
        nonlocal done
        last = done + len(masks)
        starts = framing.centres(done, last) - framing.n_fft // 2
        spec = framing.spectra(tape, done, last).unsqueeze(1)
        masks = torch.from_numpy(masks)
        if masks.shape[2] != spec.shape[2]:
            masks = masks.expand(-1, -1, spec.shape[2], -1).contiguous()
        adder.add(starts, carry(masks, spec) * spec)
        done = last
        # Before the next frame begins, all is there.
        return int(framing.centres(done, done + 1)[0]) - framing.n_fft // 2

    def take(end):
        nonlocal written
        parts = tape.read(written, end), adder.take(written, end)
        written = end
        tape.forget(end - framing.n_fft)
        return parts

    rest = None
    for part in masks:
        for first in range(0, len(part), _FRAMES):
            some = part[first : first + _FRAMES]
            due = done + len(some)
            fill(int(framing.centres(due, due + 1)[0]) + framing.n_fft)
            # The model's last frame may lie behind the end of the recording.
            some = some[: framing.count(tape.end) - done]
            if not len(some):
                continue
            ready = min(apply(some), tape.end)
            rest = some[-1:].copy()
            if ready > written:
                yield take(ready)
    while done < framing.count(tape.end):
        apply(rest)
    if tape.end > written:
        yield take(tape.end)


def _by_waveforms(job, blocks):
    separator, tape = job.separator, Tape()
    chunk, context, fade = job.layout(separator.sample_rate)
    n_sources = len(job.sources)

    def fn(wavs):
        """Estimates (chunks, samples, sources, channels) of signals."""
        return _run_waveforms(job, wavs)

    estimates = (
        part.reshape(len(part), -1)
        for part in stitch(
            job.heard(tape, blocks),
            fn,
            chunk,
            context,
            fade,
            batch=max(1, job.batch_size // job.channels),
        )
    )
    written = 0
    width = n_sources * job.channels
    for part in resample_stream(
        estimates, separator.sample_rate, job.rate, width
    ):
        part = part.reshape(-1, n_sources, job.channels)[: tape.end - written]
        if len(part):
            yield tape.read(written, written + len(part)), part
            written += len(part)
            tape.forget(written)
    if written < tape.end:
        rest = np.zeros((tape.end - written, n_sources, job.channels), "f4")
        yield tape.read(written, tape.end), rest


def _run_waveforms(job, wavs):
    """Run a waveform model on signals (chunks, samples, channels)."""
    import torch

    separator = job.separator
    wanted = getattr(separator, "channels", None)
    mixture = torch.from_numpy(np.ascontiguousarray(wavs.transpose(0, 2, 1)))
    chunks, channels, samples = mixture.shape
    width = wanted or channels
    # Groups of as many channels as the model takes; the last is filled up.
    missing = -channels % width
    filled = torch.cat([mixture, mixture[:, -1:].expand(-1, missing, -1)], 1)
    parts = []
    with torch.inference_mode():
        for group in filled.reshape(-1, width, samples).split(job.batch_size):
            out = separator(group.to(job.device)).float().cpu()
            due = (len(group), len(separator.sources), width, samples)
            if out.shape != due:
                raise ModelError(
                    f"the model gave waveforms of shape {tuple(out.shape)} "
                    f"where {due} are due (batch, sources, channels, samples)"
                )
            parts.append(out[:, job.sources])
    out = torch.cat(parts).unflatten(0, (chunks, -1)).transpose(1, 2)
    out = out.flatten(2, 3)
    # Copies of a channel give one result: their mean.
    last = out[:, :, channels - 1 :].mean(2, keepdim=True)
    out = torch.cat([out[:, :, : channels - 1], last], 2)
    return out.permute(0, 3, 1, 2).numpy()
