"""From a recording to notes with a trained model."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np

from speechbrain_ext import audio
from speechbrain_ext.errors import AudioError, ConfigError, ModelError
from speechbrain_ext.f0 import F0Contour
from speechbrain_ext.frames import FRAME_RATE, FramePosteriors
from speechbrain_ext.inference.levels import LevelMeter, with_velocities
from speechbrain_ext.inference.model_folder import (
    HYPERPARAMS,
    find_model,
    load_model,
)
from speechbrain_ext.inference.stitching import stitch_frames
from speechbrain_ext.notes import NoteSequence

_NO_F0 = (
    "this model gives no fundamental frequency, which {} needs: use a model "
    "whose head is a MelodyHead, or go without"
)


class Analysis(NamedTuple):
    """What is known about each frame of a recording.

    Arguments
    ---------
    posteriors : FramePosteriors
        What the model says.
    levels : np.ndarray (frames,)
        Root mean square of the frame, full scale = 1.
    """

    posteriors: FramePosteriors
    levels: np.ndarray


class Transcriber:
    """A trained encoder, head and decoder, ready for recordings.

    Arguments
    ---------
    encoder : torch.nn.Module
        `wavs (batch, samples)` to `feats (batch, frames, channels)` at 50
        frames per second; its `context_s` says how far a frame depends on the
        signal to each side.
    head : torch.nn.Module
        `feats` to `logits (batch, frames, outputs)`, with `posteriors`.
    decoder : callable
        `FramePosteriors` to `NoteSequence`.
    sample_rate : int
        Rate that the encoder expects. Default: 16000.
    chunk_s : float
        Seconds per forward pass, context not counted. Default: 30.
    model_name : str
        Shown to the user.
    device : str
        "cpu", "cuda", "cuda:1", "mps" ... Default: "cpu".

    Raises
    ------
    ModelError
        If the encoder works at another sample rate, `chunk_s` is not
        positive, or the decoder asks for continuous pitch and the head gives
        no fundamental frequency.
    ConfigError
        If the device does not exist here, or the decoder asks for continuous
        pitch and its method knows semitones only.

    Example
    -------
    >>> from speechbrain_ext.encoders.spectral import HarmonicEncoder
    >>> from speechbrain_ext.frames import NoteDecoder
    >>> from speechbrain_ext.heads import NoteHead
    >>> encoder = HarmonicEncoder(channels=8, dilations=(1,))
    >>> head = NoteHead(encoder.output_size)
    >>> transcriber = Transcriber(encoder, head, NoteDecoder())
    >>> transcriber.logits(np.zeros(16000, np.float32), 16000).shape[0]
    50
    """

    # Keys of a model folder that decode its posteriors.
    DECODERS = ("decoder",)

    # Whether the model can make use of lips.
    sees = False

    def __init__(
        self,
        encoder,
        head,
        decoder,
        sample_rate=audio.SAMPLE_RATE,
        chunk_s=30.0,
        model_name="",
        device="cpu",
    ):
        from speechbrain_ext.heads import mismatch

        if encoder.sample_rate != sample_rate:
            raise ModelError(
                f"the model works at {sample_rate} Hz but its encoder at "
                f"{encoder.sample_rate} Hz"
            )
        fault = mismatch(encoder, head)
        if fault:
            raise ModelError(fault)
        if not chunk_s > 0:
            raise ModelError(f"chunk_s is {chunk_s} s: it must be positive")
        self.device = checked_device(device)
        self.encoder = encoder.eval().to(self.device)
        self.head = head.eval().to(self.device)
        self.context_s = encoder.context_s
        self.output_size = head.output_size
        self._settle(decoder, sample_rate, chunk_s, model_name)

    def _settle(self, decoder, sample_rate, chunk_s, model_name):
        """What does not depend on how the model computes."""
        self.decoder = decoder
        self.sample_rate = sample_rate
        self.chunk_s = float(chunk_s)
        self.model_name = model_name
        if getattr(decoder, "pitch", None) == "continuous":
            if decoder.method == "published":
                raise ConfigError(
                    "the decoding method 'published' gives semitones: use "
                    "pitch semitone or the method peaks"
                )
            self.require_f0("continuous pitch")

    @classmethod
    def from_hparams(
        cls, source=None, device="cpu", overrides=None
    ) -> Transcriber:
        """Load a model folder, offline and without running code from it.

        Arguments
        ---------
        source : str or Path, optional
            Model folder, name of a shipped model, or ONNX file (see `onnx`).
            Default: the shipped transcriber.
        device : str
            Where to compute. Default: "cpu".
        overrides : dict, optional
            Changes to the folder's settings, such as
            `{"decoder": {"onset_threshold": 0.5}}`.

        Returns
        -------
        Transcriber

        Raises
        ------
        ModelError
            If the folder is missing, incomplete, unreadable or unsafe, or its
            model lacks what an override needs.
        ConfigError
            If an override or the device is unknown.
        """
        if str(source).endswith(".onnx"):
            from speechbrain_ext.inference.onnx import OnnxTranscriber

            if device != "cpu":
                raise ConfigError(
                    f"an ONNX model computes on the CPU, not on {device}: "
                    "use a model folder"
                )
            return OnnxTranscriber(source, overrides)
        device = checked_device(device)
        folder = find_model(source)
        hparams = load_model(folder, ("encoder", "head"), overrides)
        if hasattr(hparams["encoder"], "lips"):
            from speechbrain_ext.inference.audio_visual import (
                AudioVisualTranscriber,
            )

            cls = AudioVisualTranscriber
        chunk_s = hparams.get("chunk_s", 30.0)
        for key, right in (
            ("sample_rate", isinstance(hparams.get("sample_rate"), int)),
            ("chunk_s", isinstance(chunk_s, int | float)),
            ("encoder", hasattr(hparams["encoder"], "context_s")),
            ("head", hasattr(hparams["head"], "posteriors")),
            *((key, callable(hparams.get(key))) for key in cls.DECODERS),
        ):
            if not right:
                raise ModelError(
                    f"{folder}: {HYPERPARAMS} has no usable '{key}': is this "
                    "a model of another kind?"
                )
        return cls(
            hparams["encoder"],
            hparams["head"],
            sample_rate=hparams["sample_rate"],
            chunk_s=chunk_s,
            model_name=str(hparams.get("model_name", folder.name)),
            device=device,
            **{key: hparams[key] for key in cls.DECODERS},
        )

    @cached_property
    def has_f0(self) -> bool:
        """Whether the model gives a fundamental frequency."""
        logits = np.zeros((1, self.output_size), np.float32)
        return F0Contour.from_posteriors(self.posteriors(logits)) is not None

    def require_f0(self, purpose) -> None:
        """Refuse a model without fundamental frequency.

        Arguments
        ---------
        purpose : str
            What needs it, for the message.

        Raises
        ------
        ModelError
            If the model gives none.
        """
        if not self.has_f0:
            raise ModelError(_NO_F0.format(purpose))

    def transcribe_file(
        self, path, progress=None, velocity=False
    ) -> NoteSequence:
        """Notes of a recording of any length.

        Arguments
        ---------
        path : str or Path
            Audio file, or video with sound, of any rate and channel count.
        progress : callable, optional
            Called with the seconds done after every chunk.
        velocity : bool
            Whether notes get a velocity from the level of the recording, see
            `levels.with_velocities`. Default: False.

        Returns
        -------
        NoteSequence

        Raises
        ------
        AudioError
            See `audio.stream_audio`.
        """
        return self._notes(self.analyse_file(path, progress), velocity)

    def transcribe(self, wav, sample_rate, velocity=False) -> NoteSequence:
        """Notes of a signal in memory.

        Arguments
        ---------
        wav : np.ndarray or torch.Tensor (samples,) or (samples, channels)
            Full scale = 1.
        sample_rate : int
            Its rate in hertz.
        velocity : bool
            See `transcribe_file`.

        Returns
        -------
        NoteSequence

        Raises
        ------
        AudioError
            If the signal is empty, not finite or has another shape.
        """
        return self._notes(self.analyse(wav, sample_rate), velocity)

    def analyse_file(self, path, progress=None) -> Analysis:
        """All that `transcribe_file` knows before it decides on notes.

        Arguments
        ---------
        path, progress
            See `transcribe_file`.

        Returns
        -------
        Analysis
        """
        meter = self._meter()
        blocks = meter.listen(self._blocks(path))
        return self._analysis(self._stitched(blocks, progress, path), meter)

    def analyse(self, wav, sample_rate) -> Analysis:
        """All that `transcribe` knows before it decides on notes.

        Arguments
        ---------
        wav, sample_rate
            See `transcribe`.

        Returns
        -------
        Analysis
        """
        meter = self._meter()
        blocks = meter.listen([self._signal(wav, sample_rate)])
        return self._analysis(self._stitched(blocks), meter)

    def logits_file(self, path, progress=None) -> np.ndarray:
        """Output of the head for a recording of any length.

        Arguments
        ---------
        path : str or Path
            Audio file, or video with sound.
        progress : callable, optional
            Called with the seconds done after every chunk.

        Returns
        -------
        np.ndarray (frames, outputs), float32
            50 frames per second; memory besides this is bounded.
        """
        return self._stitched(self._blocks(path), progress, path)

    def logits(self, wav, sample_rate) -> np.ndarray:
        """Output of the head for a signal in memory.

        Arguments
        ---------
        wav, sample_rate
            See `transcribe`.

        Returns
        -------
        np.ndarray (frames, outputs), float32
        """
        return self._stitched([self._signal(wav, sample_rate)])

    def _blocks(self, path):
        return audio.stream_audio(
            path, block_s=10.0, sample_rate=self.sample_rate
        )

    def _signal(self, wav, sample_rate):
        """Check a signal in memory; mono, at the model's rate."""
        wav = audio.as_signal(wav)
        if wav.ndim == 2:
            wav = wav.mean(axis=1, dtype=np.float32)
        return audio.resample(wav, sample_rate, self.sample_rate)

    def _meter(self):
        return LevelMeter(FRAME_RATE, self.sample_rate)

    def _analysis(self, logits, meter):
        levels = meter.levels()
        assert len(levels) == len(logits), "the stream is read to its end"
        return Analysis(self.posteriors(logits), levels)

    def _notes(self, analysis, velocity):
        notes = self.decoder(analysis.posteriors)
        if velocity:
            notes = with_velocities(notes, analysis.levels)
        return notes

    def decode(self, logits) -> NoteSequence:
        """Notes of the head's output.

        Arguments
        ---------
        logits : np.ndarray (frames, outputs)
            See `logits_file`.

        Returns
        -------
        NoteSequence
        """
        return self.decoder(self.posteriors(logits))

    def posteriors(self, logits):
        """What the model says about each frame.

        Arguments
        ---------
        logits : np.ndarray (frames, outputs)
            See `logits_file`.

        Returns
        -------
        speechbrain_ext.frames.FramePosteriors
        """
        import torch

        return self.head.posteriors(torch.from_numpy(logits))

    def f0(self, posteriors) -> F0Contour:
        """Fundamental frequency of the voice.

        Arguments
        ---------
        posteriors : FramePosteriors
            See `posteriors`.

        Returns
        -------
        F0Contour
            50 frames per second; unvoiced where the voicing is below the
            decoder's `voicing_threshold`.

        Raises
        ------
        ModelError
            If the model gives none.
        """
        contour = F0Contour.from_posteriors(
            posteriors, self.decoder.voicing_threshold
        )
        if contour is None:
            raise ModelError(_NO_F0.format("an F0 contour"))
        return contour

    def _stitched(
        self,
        blocks,
        progress=None,
        name="the signal",
        forward=None,
        size=None,
        context_s=None,
    ):
        """Run the model, or a part of it, over a stream of samples."""
        size = self.output_size if size is None else size
        parts, done = [np.zeros((0, size), np.float32)], 0
        for part in stitch_frames(
            blocks,
            forward or self._forward,
            self.chunk_s,
            self.context_s if context_s is None else context_s,
            FRAME_RATE,
            self.sample_rate,
        ):
            if not np.isfinite(part).all():
                raise AudioError(
                    f"{name}: the model finds no numbers for what follows "
                    f"{done / FRAME_RATE:g} s: its level is far outside -1 to "
                    "1; normalise it"
                )
            parts.append(part)
            done += len(part)
            if progress is not None:
                progress(done / FRAME_RATE)
        return np.concatenate(parts)

    def _forward(self, wav):
        import torch

        wavs = torch.from_numpy(np.ascontiguousarray(wav))[None]
        with torch.inference_mode():
            logits = self.head(self.encoder(wavs.to(self.device)))
            return logits[0].float().cpu().numpy()


def checked_device(device):
    """A torch device that exists on this machine.

    Arguments
    ---------
    device : str
        "cpu", "cuda", "cuda:1", "mps" ...

    Returns
    -------
    torch.device

    Raises
    ------
    ConfigError
        If it does not exist here.

    Example
    -------
    >>> checked_device("cpu")
    device(type='cpu')
    """
    import torch

    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise ConfigError(
            f"the device '{device}' is not available here: use cpu"
        ) from None
    return chosen
