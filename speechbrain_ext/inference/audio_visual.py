"""From a recording and the lips of its singer to notes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from speechbrain_ext.encoders.two_stream import streams_of
from speechbrain_ext.errors import ModelError, VideoError
from speechbrain_ext.frames import FRAME_RATE, FramePosteriors
from speechbrain_ext.inference.stitching import stitch
from speechbrain_ext.inference.synchrony import Lag, estimate_lag
from speechbrain_ext.inference.transcriber import Transcriber
from speechbrain_ext.lip_datasets import centred

# Pictures that go through the encoder at a time: 10 s, with little memory.
_CHUNK_FRAMES = 500

# Streams that are less than this out of step are left as they are.
IN_STEP_S = 0.03


@dataclass(frozen=True)
class AudioVisualAnalysis:
    """What is known about each frame of a song that is heard and seen.

    Arguments
    ---------
    posteriors : FramePosteriors
        What the model says.
    levels : np.ndarray (frames,) or None
        Root mean square of the frame, full scale = 1; None without sound.
    modality : str
        What was used: audio, video or both.
    lag : Lag or None
        How late the picture was; None if only one stream was used.
    mended_s : float
        By how much the picture was moved to be in step.
    """

    posteriors: FramePosteriors
    levels: np.ndarray | None
    modality: str
    lag: Lag | None = None
    mended_s: float = 0.0

    def __iter__(self):
        """As the pair that `Transcriber.analyse_file` gives."""
        return iter((self.posteriors, self.levels))


class AudioVisualTranscriber(Transcriber):
    """A trained model of sound and lips, ready for recordings.

    Arguments
    ---------
    encoder : encoders.two_stream.TwoStreamEncoder
        Both streams at 50 frames per second.
    head : torch.nn.Module
        See `Transcriber`.
    decoder, lip_decoder : callable
        `FramePosteriors` to `NoteSequence`, with sound and for lips alone.
    **options
        See `Transcriber`.
    """

    DECODERS = ("decoder", "lip_decoder")
    sees = True

    def __init__(self, encoder, head, decoder, lip_decoder, **options):
        super().__init__(encoder, head, decoder, **options)
        self.lip_decoder = lip_decoder

    @property
    def hears(self) -> bool:
        """Whether the model can make use of sound."""
        return self.encoder.audio is not None

    def check_modality(self, modality) -> None:
        """Refuse a modality that the model does not have.

        Arguments
        ---------
        modality : {"audio", "video", "both"}

        Raises
        ------
        ConfigError
            If there is no such modality.
        ModelError
            If it needs sound and the model hears nothing.
        """
        if streams_of(modality)[0] and not self.hears:
            raise ModelError(
                f"modality {modality} needs sound but the model "
                f"'{self.model_name}' knows lips only: use video"
            )

    def decoder_of(self, modality):
        """The decoder for what was used.

        Arguments
        ---------
        modality : {"audio", "video", "both"}

        Returns
        -------
        callable
        """
        return self.lip_decoder if modality == "video" else self.decoder

    # ---- the two streams --------------------------------------------------

    def listen(self, blocks, progress=None, name="the signal") -> np.ndarray:
        """What the encoder hears.

        Arguments
        ---------
        blocks : iterable of np.ndarray (samples,)
            At the model's sample rate, in pieces of any length.
        progress : callable, optional
            Called with the seconds done after every chunk.
        name : str
            What error messages call it.

        Returns
        -------
        np.ndarray (frames, channels) float32
            For `fuse`.
        """
        import torch

        encoder = self.encoder.audio

        def forward(wav):
            wavs = torch.from_numpy(np.ascontiguousarray(wav))[None]
            with torch.inference_mode():
                return encoder(wavs.to(self.device))[0].float().cpu().numpy()

        return self._stitched(
            blocks,
            progress,
            name,
            forward,
            encoder.output_size,
            encoder.context_s,
        )

    def look(self, crops) -> np.ndarray:
        """What the encoder sees.

        Arguments
        ---------
        crops : np.ndarray (frames, height, width) uint8
            Mouth pictures, 50 per second, 88 x 88 or larger; may be mapped
            from a file. All zeros: missing.

        Returns
        -------
        np.ndarray (frames, channels) float32
            For `fuse`.
        """
        import torch

        lips = self.encoder.lips

        def forward(pictures):
            with torch.inference_mode():
                seen = lips(torch.from_numpy(pictures).to(self.device))
                return seen.float().cpu().numpy()

        blocks = (
            np.ascontiguousarray(centred(crops[k : k + _CHUNK_FRAMES]))
            for k in range(0, len(crops), _CHUNK_FRAMES)
        )
        context = round(lips.context_s * FRAME_RATE)
        parts = stitch(blocks, forward, _CHUNK_FRAMES, context)
        empty = np.zeros((0, lips.output_size), np.float32)
        return np.concatenate([empty, *parts])

    def fuse(self, heard, seen) -> np.ndarray:
        """Output of the head for both streams or one of them.

        Arguments
        ---------
        heard, seen : np.ndarray (frames, channels) or None
            From `listen` and `look`. Where the pictures end early, there is
            sound only; pictures after the sound are not used.

        Returns
        -------
        np.ndarray (frames, outputs) float32
        """
        import torch

        if heard is None:
            both = seen
        elif seen is None:
            both = heard
        else:
            seen = np.pad(
                seen[: len(heard)],
                ((0, max(0, len(heard) - len(seen))), (0, 0)),
            )
            both = np.concatenate([heard, seen], axis=1)
        cut = 0 if heard is None else heard.shape[1]

        def forward(rows):
            rows = torch.from_numpy(rows).to(self.device)
            with torch.inference_mode():
                feats = self.encoder.fuse(
                    None if heard is None else rows[..., :cut],
                    None if seen is None else rows[..., cut:],
                )
                return self.head(feats).float().cpu().numpy()

        fusion = self.encoder.fusion
        reach = 0.0 if fusion is None else fusion.context_s
        if math.isinf(reach):
            # Chunks stand for themselves, as segments did in training.
            reach = 0.0
        parts = stitch(
            [both],
            forward,
            round(self.chunk_s * FRAME_RATE),
            round(reach * FRAME_RATE),
        )
        empty = np.zeros((0, self.output_size), np.float32)
        return np.concatenate([empty, *parts])

    def onsets(self, heard, seen) -> np.ndarray:
        """What one stream says about onsets, as `synchrony` compares it.

        Arguments
        ---------
        heard, seen : np.ndarray (frames, channels) or None
            From `listen` and `look`; one of them.

        Returns
        -------
        np.ndarray (frames,)
            Square root of the probability.
        """
        return np.sqrt(self.posteriors(self.fuse(heard, seen)).onset)

    def lag(self, heard, seen) -> Lag:
        """How late the picture is, by what each stream says about onsets.

        Arguments
        ---------
        heard, seen : np.ndarray (frames, channels)
            From `listen` and `look`.

        Returns
        -------
        Lag
        """
        count = min(len(heard), len(seen))
        return estimate_lag(
            self.onsets(heard[:count], None), self.onsets(None, seen[:count])
        )

    # ---- whole recordings -------------------------------------------------

    def analyse_streams(
        self, heard, seen, levels=None, mend=True, lag=None
    ) -> AudioVisualAnalysis:
        """What both streams say, in step.

        Arguments
        ---------
        heard, seen : np.ndarray (frames, channels) or None
            From `listen` and `look`.
        levels : np.ndarray (frames,), optional
            Of the sound.
        mend : bool
            Whether a picture that is clearly out of step is moved. Default:
            True.
        lag : Lag, optional
            If it is known already. Default: `lag` of the two.

        Returns
        -------
        AudioVisualAnalysis
        """
        mended, modality = 0.0, "both"
        if heard is None or seen is None:
            lag, modality = None, "audio" if seen is None else "video"
        else:
            lag = lag or self.lag(heard, seen)
            if mend and lag.sure and abs(lag.lag_s) >= IN_STEP_S:
                frames = round(lag.lag_s * FRAME_RATE)
                mended = frames / FRAME_RATE
                seen = _earlier(seen, frames)
        return AudioVisualAnalysis(
            self.posteriors(self.fuse(heard, seen)),
            levels,
            modality,
            lag,
            mended,
        )

    def analyse_media(
        self,
        path,
        modality="both",
        crops=None,
        progress=None,
        mend=True,
        late_s=0.0,
    ) -> AudioVisualAnalysis:
        """All that is known before it is decided on notes.

        Arguments
        ---------
        path : str or Path
            Audio file, or video with sound.
        modality : {"audio", "video", "both"}
            What is used. Default: both.
        crops : np.ndarray (frames, height, width), optional
            Mouth pictures (`video.mouth_crops`, `video.read_crops`); needed
            unless the modality is audio.
        progress : callable, optional
            Called with the seconds done after every chunk of sound.
        mend : bool
            See `analyse_streams`. Default: True.
        late_s : float
            How much the picture is known to come late; it is moved by that
            first. Default: 0 s.

        Returns
        -------
        AudioVisualAnalysis

        Raises
        ------
        ModelError, ConfigError
            See `check_modality`.
        VideoError
            If there are no pictures to look at.
        AudioError
            See `audio.stream_audio`.
        """
        self.check_modality(modality)
        hears, sees = streams_of(modality)
        heard = seen = levels = None
        if sees:
            if crops is None:
                raise VideoError(
                    f"{path}: modality {modality} needs the singer's lips: "
                    "give a video or mouth crops"
                )
            seen = self.look(crops)
            seen = _earlier(seen, round(late_s * FRAME_RATE))
        if hears:
            meter = self._meter()
            blocks = meter.listen(self._blocks(path))
            heard = self.listen(blocks, progress, path)
            levels = meter.levels()
        return self.analyse_streams(heard, seen, levels, mend)

    def _forward(self, wav):
        """Sound alone, as a `Transcriber` does it."""
        import torch

        self.check_modality("audio")
        wavs = torch.from_numpy(np.ascontiguousarray(wav))[None]
        with torch.inference_mode():
            logits = self.head(self.encoder(wavs.to(self.device)))
            return logits[0].float().cpu().numpy()


def _earlier(frames, count):
    """Move rows to earlier frames; zeros come in at the end, or the start."""
    moved = np.zeros_like(frames)
    if count >= 0:
        moved[: max(0, len(frames) - count)] = frames[count:]
    else:
        moved[-count:] = frames[:count]
    return moved
