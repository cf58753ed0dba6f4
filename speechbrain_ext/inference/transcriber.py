"""From a recording to notes with a trained model."""

from __future__ import annotations

import numpy as np
import torch

from speechbrain_ext import audio
from speechbrain_ext.errors import AudioError, ConfigError, ModelError
from speechbrain_ext.frames import FRAME_RATE
from speechbrain_ext.inference.model_folder import (
    HYPERPARAMS,
    find_model,
    load_model,
)
from speechbrain_ext.inference.stitching import stitch_frames
from speechbrain_ext.notes import NoteSequence


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
        If the encoder works at another sample rate or `chunk_s` is not
        positive.
    ConfigError
        If the device does not exist here.

    Example
    -------
    >>> from speechbrain_ext.encoders.spectral import SpectralEncoder
    >>> from speechbrain_ext.frames import NoteDecoder
    >>> from speechbrain_ext.heads import NoteHead
    >>> encoder = SpectralEncoder(channels=8, dilations=(1,))
    >>> transcriber = Transcriber(encoder, NoteHead(8), NoteDecoder())
    >>> transcriber.logits(np.zeros(16000, np.float32), 16000).shape[0]
    50
    """

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
        if encoder.sample_rate != sample_rate:
            raise ModelError(
                f"the model works at {sample_rate} Hz but its encoder at "
                f"{encoder.sample_rate} Hz"
            )
        if encoder.output_size != head.linear.in_features:
            raise ModelError(
                f"the encoder gives {encoder.output_size} channels but the "
                f"head takes {head.linear.in_features}"
            )
        if not chunk_s > 0:
            raise ModelError(f"chunk_s is {chunk_s} s: it must be positive")
        self.device = checked_device(device)
        self.encoder = encoder.eval().to(self.device)
        self.head = head.eval().to(self.device)
        self.decoder = decoder
        self.sample_rate = sample_rate
        self.chunk_s = float(chunk_s)
        self.model_name = model_name

    @classmethod
    def from_hparams(
        cls, source=None, device="cpu", overrides=None
    ) -> Transcriber:
        """Load a model folder, offline and without running code from it.

        Arguments
        ---------
        source : str or Path, optional
            Model folder, or name of a shipped model. Default: the shipped
            transcriber.
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
            If the folder is missing, incomplete, unreadable or unsafe.
        ConfigError
            If an override or the device is unknown.
        """
        device = checked_device(device)
        folder = find_model(source)
        hparams = load_model(folder, ("encoder", "head"), overrides)
        chunk_s = hparams.get("chunk_s", 30.0)
        for key, right in (
            ("sample_rate", isinstance(hparams.get("sample_rate"), int)),
            ("chunk_s", isinstance(chunk_s, int | float)),
            ("encoder", hasattr(hparams["encoder"], "context_s")),
            ("head", hasattr(hparams["head"], "posteriors")),
            ("decoder", callable(hparams.get("decoder"))),
        ):
            if not right:
                raise ModelError(
                    f"{folder}: {HYPERPARAMS} has no usable '{key}': is this "
                    "a model of another kind?"
                )
        return cls(
            hparams["encoder"],
            hparams["head"],
            hparams["decoder"],
            hparams["sample_rate"],
            chunk_s,
            str(hparams.get("model_name", folder.name)),
            device,
        )

    def transcribe_file(self, path, progress=None) -> NoteSequence:
        """Notes of a recording of any length.

        Arguments
        ---------
        path : str or Path
            Audio file, or video with sound, of any rate and channel count.
        progress : callable, optional
            Called with the seconds done after every chunk.

        Returns
        -------
        NoteSequence

        Raises
        ------
        AudioError
            See `audio.stream_audio`.
        """
        return self.decode(self.logits_file(path, progress))

    def transcribe(self, wav, sample_rate) -> NoteSequence:
        """Notes of a signal in memory.

        Arguments
        ---------
        wav : np.ndarray or torch.Tensor (samples,) or (samples, channels)
            Full scale = 1.
        sample_rate : int
            Its rate in hertz.

        Returns
        -------
        NoteSequence

        Raises
        ------
        AudioError
            If the signal is empty, not finite or has another shape.
        """
        return self.decode(self.logits(wav, sample_rate))

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
        blocks = audio.stream_audio(
            path, block_s=10.0, sample_rate=self.sample_rate
        )
        return self._stitched(blocks, progress, path)

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
        if isinstance(wav, torch.Tensor):
            wav = wav.detach().cpu().numpy()
        wav = np.asarray(wav, dtype=np.float32)
        if wav.ndim == 2:
            wav = wav.mean(axis=1, dtype=np.float32)
        if wav.ndim != 1 or not len(wav):
            raise AudioError(
                f"the signal has shape {wav.shape}: expected (samples,) or "
                "(samples, channels) with at least one sample"
            )
        if not np.isfinite(wav).all():
            raise AudioError("the signal has samples that are not finite")
        return self._stitched(
            [audio.resample(wav, sample_rate, self.sample_rate)]
        )

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
        return self.head.posteriors(torch.from_numpy(logits))

    def _stitched(self, blocks, progress=None, name="the signal"):
        parts, done = [np.zeros((0, self.head.output_size), np.float32)], 0
        for part in stitch_frames(
            blocks,
            self._forward,
            self.chunk_s,
            self.encoder.context_s,
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

    @torch.inference_mode()
    def _forward(self, wav):
        wavs = torch.from_numpy(np.ascontiguousarray(wav))[None]
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
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise ConfigError(
            f"the device '{device}' is not available here: use cpu"
        ) from None
    return chosen
