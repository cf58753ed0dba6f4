"""Pretrained speech encoders on the 50 fps grid, through transformers.

`SSLEncoder` is one of wav2vec 2.0, HuBERT, WavLM and data2vec-audio, chosen by
the configuration's `model_type`; `WhisperEncoder` is the encoder half of
Whisper. Both load any hub id or local folder, or build random weights from a
configuration without any file or network: the way for tests and for exported
models, whose weights come with the export.

**Grid.** The convolutions of the four SSL models see 400 samples per frame and
move by 320. With 40 zeros on each side, `320 n` samples give `n` frames, and
frame k sees the samples from `320 k - 40` to `320 k + 360`: its centre is
`(k + 0.5) x 20 ms` exactly. Samples beyond the last whole frame are ignored.

**Independence.** An item's frames are the same alone and in any batch, padded
or not. Waveforms are normalised per item over its own samples, features per
frame. Items of different lengths share a masked pass where the architecture
allows it (wav2vec 2.0 and HuBERT with layer norm in the convolutions, the
"large" checkpoints). Everywhere else padding would leak (group norm takes its
statistics over time, data2vec stacks convolutions over the padding, WavLM and
Whisper take no usable mask), so items of equal length run together and the
others in passes of their own. Batches of equal lengths always run in one pass.

**Long input.** Attention is quadratic in time, and the models were trained on
at most half a minute. Longer input runs in windows of `window_s` seconds that
overlap by twice `context_s`; the overlap is computed and dropped.

**Staged training.** `set_trainable(False)` runs the pretrained part without
gradients and in evaluation mode (linear probing), `set_trainable(True)`
fine-tunes it. `trainable=False` freezes it for good.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from math import ceil
from pathlib import Path

import torch
from torch.nn import functional

from speechbrain_ext.errors import AudioError, ConfigError, ModelError

SAMPLE_RATE = 16000
HOP = 320  # samples per frame: 50 frames per second
FRAME_RATE = SAMPLE_RATE // HOP
SSL_MODELS = ("wav2vec2", "hubert", "wavlm", "data2vec-audio")

_FIELD = 400  # samples that one frame of the SSL convolutions sees
_SIDE = (_FIELD - HOP) // 2
_MEL_HOP = 160
_MEL_FFT = 400


class PretrainedEncoder(torch.nn.Module, ABC):
    """What `SSLEncoder` and `WhisperEncoder` share; not used by itself.

    A subclass builds the transformers model, passes it on and implements
    `_states`.

    Arguments
    ---------
    model : torch.nn.Module
        The pretrained part.
    output_size : int
        Channels of its hidden states.
    n_layers : int
        Transformer layers.
    layer : "last", "mix" or int
        See `SSLEncoder`.
    output_norm : "frame" or None
        See `SSLEncoder`.
    trainable : bool
        See `SSLEncoder`.
    window_s, context_s : float
        See `SSLEncoder`.
    """

    sample_rate = SAMPLE_RATE

    def __init__(
        self,
        model,
        output_size,
        n_layers,
        layer,
        output_norm,
        trainable,
        window_s,
        context_s,
    ):
        super().__init__()
        if output_norm not in ("frame", None):
            raise ConfigError(
                f"output_norm is {output_norm!r}: use 'frame' or None"
            )
        if not 0 <= 4 * context_s <= window_s:
            raise ConfigError(
                f"context_s {context_s:g} needs window_s of at least "
                f"{4 * context_s:g} s but it is {window_s:g} s"
            )
        self.model = model
        self.output_size = output_size
        self.layer = _check_layer(layer, n_layers)
        self.output_norm = output_norm
        self.window_s = float(window_s)
        self.context_s = float(context_s)
        if layer == "mix":
            self.mix_logits = torch.nn.Parameter(torch.zeros(n_layers + 1))
        self._built_trainable = bool(trainable)
        if not trainable:
            model.requires_grad_(False)
        self.trainable = bool(trainable)
        self._arguments = {}
        self.train(self.training)

    def set_trainable(self, trainable):
        """Switch the pretrained part between fine-tuning and probing.

        While off, it runs in evaluation mode and without gradients, whatever
        the mode of the surrounding module, so that an optimiser that holds
        its weights leaves them bit-identical. The weights of a layer mix
        train in either case. `requires_grad` stays as it was built:
        distributed training and optimisers see the same parameters in every
        stage. (With `layer="mix"`, probing under `DistributedDataParallel`
        needs `find_unused_parameters=True`.)

        Arguments
        ---------
        trainable : bool
            True for fine-tuning, False for linear probing.

        Raises
        ------
        ConfigError
            If the encoder was built with `trainable=False`.
        """
        if trainable and not self._built_trainable:
            raise ConfigError(
                "the encoder was built with trainable=False and cannot be "
                "unfrozen: build it with trainable=True and call "
                "set_trainable(False) while probing"
            )
        self.trainable = bool(trainable)
        if not trainable:
            self.model.zero_grad(set_to_none=True)
        self.train(self.training)

    def train(self, mode=True):
        """Set the mode; a frozen pretrained part stays in evaluation mode.

        Arguments
        ---------
        mode : bool
            True for training.

        Returns
        -------
        PretrainedEncoder
            Itself.
        """
        super().train(mode)
        if not self.trainable:
            self.model.eval()
        return self

    @property
    def mix_weights(self):
        """Weights of the layer mix, (layers + 1,), of sum 1; else None."""
        if self.layer != "mix":
            return None
        return torch.softmax(self.mix_logits, dim=0)

    def offline_arguments(self):
        """Arguments that build the same encoder without its source.

        Returns
        -------
        dict
            Plain values. The same class called with them has random weights
            and takes this encoder's `state_dict`.
        """
        return dict(self._arguments)

    def forward(self, wavs, wav_lens=None):
        """Encode waveforms.

        Arguments
        ---------
        wavs : torch.Tensor (batch, samples)
            Waveforms at 16 kHz, float.
        wav_lens : torch.Tensor (batch,), optional
            Valid part of each item, relative, in (0, 1]. Default: all of it.

        Returns
        -------
        torch.Tensor (batch, samples // 320, output_size)
            Features; zeros in frames beyond an item's valid part.

        Raises
        ------
        AudioError
            If the batch is shorter than one frame or not of two dimensions.
        """
        if wavs.dim() != 2:
            raise AudioError(
                f"wavs has {wavs.dim()} dimensions: give (batch, samples)"
            )
        total = wavs.shape[1] // HOP
        if total == 0:
            raise AudioError(
                f"{wavs.shape[1]} samples are less than one frame of {HOP}: "
                "give at least 20 ms"
            )
        frames = _valid_frames(wavs, wav_lens)
        if self._takes_mask() and total <= self.window_s * FRAME_RATE:
            if min(frames) == total:
                frames = None
            return self._encode(wavs[:, : total * HOP], frames)
        rows = [wavs.new_zeros(total, self.output_size)] * len(frames)
        for length in sorted(set(frames) - {0}):
            group = [i for i, n in enumerate(frames) if n == length]
            part = self._encode(wavs[group, : length * HOP])
            if length == total and len(group) == len(rows):
                return part
            part = functional.pad(part, (0, 0, 0, total - length))
            for index, row in zip(group, part, strict=True):
                rows[index] = row
        return torch.stack([row.to(rows[0].dtype) for row in rows])

    def _takes_mask(self):
        return False

    def _encode(self, wavs, frames=None):
        """Encode items of one length (or, masked, of `frames` frames)."""
        total = wavs.shape[1] // HOP
        valid = None
        if frames is not None:
            counts = torch.tensor(frames, device=wavs.device)
            steps = torch.arange(total, device=wavs.device)
            valid = steps < counts[:, None]
        gradient = self.trainable and torch.is_grad_enabled()
        pieces = []
        with torch.set_grad_enabled(gradient):
            wavs = self._prepare(wavs, valid)
        for first, last, start, stop in windows(
            total,
            int(self.window_s * FRAME_RATE),
            round(self.context_s * FRAME_RATE),
        ):
            with torch.set_grad_enabled(gradient):
                states = self._states(wavs, start, stop, valid)
            piece = self._combine(states)[:, first - start : last - start]
            pieces.append(piece)
        feats = torch.cat(pieces, dim=1) if len(pieces) > 1 else pieces[0]
        if valid is not None:
            feats = feats.masked_fill(~valid[..., None], 0.0)
        return feats

    def _combine(self, states):
        """One feature sequence from the hidden states."""
        if self.layer != "mix":
            return self._norm(states[-1])
        mixed = 0.0
        for weight, state in zip(self.mix_weights, states, strict=True):
            mixed = mixed + weight * self._norm(state)
        return self._norm(mixed)

    def _norm(self, feats):
        if self.output_norm is None:
            return feats
        return functional.layer_norm(feats, feats.shape[-1:])

    def _prepare(self, wavs, valid):
        """Waveforms as the model wants them, before windowing."""
        return wavs

    @abstractmethod
    def _states(self, wavs, start, stop, valid):
        """Hidden states, the last at the end, of frames start to stop."""


class SSLEncoder(PretrainedEncoder):
    """A self-supervised speech encoder: 50 frames per second, 16 kHz.

    wav2vec 2.0 (Baevski et al., NeurIPS 2020), HuBERT (Hsu et al., TASLP
    2021), WavLM (Chen et al., JSTSP 2022) or data2vec-audio (Baevski et al.,
    ICML 2022).

    Arguments
    ---------
    source : str or Path, optional
        Hub id such as `facebook/wav2vec2-large-lv60`, or a folder written by
        `save_pretrained`. None builds random weights from `config`.
    config : dict, optional
        Without a source: the whole configuration, with `model_type`. With a
        source: fields to change.
    layer : "last", "mix" or int
        "last": output of the last layer. int: output of that transformer
        layer, counted from 1 or, negative, from the end; layers above it are
        removed. "mix": sum of all hidden states (input of the first layer
        included) with learned softmax weights, equal at the start, as in
        SUPERB (Yang et al., Interspeech 2021).
    output_norm : "frame" or None
        "frame": layer norm over the channels of each frame without learned
        scale; in a mix of each layer as well. None: as the model gives it.
    normalize_wav : bool, optional
        Zero mean and unit variance per item. Default: what the source's
        `preprocessor_config.json` says, else True.
    trainable : bool
        False: frozen for good, in evaluation mode and without gradients.
    freeze_feature_extractor : bool
        Keep the convolutions fixed while the rest is fine-tuned.
    layerdrop : float
        Probability of leaving out a transformer layer in training.
    gradient_checkpointing : bool
        Recompute activations in the backward pass to save memory.
    window_s : float
        Longer input runs in overlapping windows of this many seconds.
    context_s : float
        Seconds computed and dropped on each side of a window. Attention sees
        a whole window, so this is where edge effects have faded, not where
        dependence ends.

    Raises
    ------
    ModelError
        If the source cannot be loaded, lacks weights, or is of another model
        type.
    ConfigError
        If an argument is out of range.

    Example
    -------
    >>> tiny = dict(
    ...     model_type="wav2vec2",
    ...     hidden_size=8,
    ...     num_hidden_layers=1,
    ...     num_attention_heads=2,
    ...     intermediate_size=8,
    ...     conv_dim=[4] * 7,
    ...     num_conv_pos_embeddings=4,
    ...     num_conv_pos_embedding_groups=2,
    ... )
    >>> encoder = SSLEncoder(config=tiny, layer="mix").eval()
    >>> encoder(torch.zeros(2, 80000)).shape
    torch.Size([2, 250, 8])
    >>> encoder.mix_weights.tolist()
    [0.5, 0.5]
    """

    def __init__(
        self,
        source=None,
        config=None,
        layer="last",
        output_norm="frame",
        normalize_wav=None,
        trainable=True,
        freeze_feature_extractor=False,
        layerdrop=0.0,
        gradient_checkpointing=False,
        window_s=32.0,
        context_s=1.0,
    ):
        settings = _load_config(source, config, SSL_MODELS, "SSLEncoder")
        check_layerdrop(layerdrop, layer)
        settings.layerdrop = layerdrop
        settings.apply_spec_augment = False
        _check_strides(settings)
        model = _load_model(source, settings)
        super().__init__(
            model,
            settings.hidden_size,
            settings.num_hidden_layers,
            layer,
            output_norm,
            trainable,
            window_s,
            context_s,
        )
        self.model_type = settings.model_type
        if isinstance(self.layer, int):
            model.encoder.layers = model.encoder.layers[: self.layer]
            if self._norm_after_layers() and (
                self.layer < settings.num_hidden_layers
            ):
                model.encoder.layer_norm.requires_grad_(False)
        if hasattr(model, "masked_spec_embed"):
            model.masked_spec_embed.requires_grad_(False)
        if freeze_feature_extractor:
            model.feature_extractor.requires_grad_(False)
            model.feature_extractor._requires_grad = False
        if gradient_checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        if normalize_wav is None:
            normalize_wav = _do_normalize(source)
        self.normalize_wav = bool(normalize_wav)
        self._arguments = {
            "source": None,
            "config": json.loads(settings.to_json_string()),
            "layer": layer,
            "output_norm": output_norm,
            "normalize_wav": self.normalize_wav,
            "trainable": bool(trainable),
            "freeze_feature_extractor": bool(freeze_feature_extractor),
            "layerdrop": layerdrop,
            "gradient_checkpointing": bool(gradient_checkpointing),
            "window_s": window_s,
            "context_s": context_s,
        }

    def _takes_mask(self):
        return (
            self.model_type in ("wav2vec2", "hubert")
            and self.model.config.feat_extract_norm == "layer"
        )

    def _norm_after_layers(self):
        return getattr(self.model.config, "do_stable_layer_norm", False)

    def _prepare(self, wavs, valid):
        # In double precision, so that a quiet item with an offset comes out
        # the same whatever the order of summation.
        wavs = wavs.double()
        mask = torch.ones_like(wavs)
        if valid is not None:
            mask = valid.repeat_interleave(HOP, dim=1).to(wavs.dtype)
        if self.normalize_wav:
            count = mask.sum(dim=1, keepdim=True).clamp(min=1)
            mean = (wavs * mask).sum(dim=1, keepdim=True) / count
            centred = (wavs - mean) * mask
            variance = centred.square().sum(dim=1, keepdim=True) / count
            wavs = centred / torch.sqrt(variance + 1e-7)
        wavs = (wavs * mask).float()
        return functional.pad(wavs, (_SIDE, _SIDE))

    def _states(self, wavs, start, stop, valid):
        wavs = wavs[:, start * HOP : stop * HOP + 2 * _SIDE]
        mask = None
        if valid is not None:
            samples = valid.sum(dim=1).clamp(min=1) * HOP + 2 * _SIDE
            steps = torch.arange(wavs.shape[1], device=wavs.device)
            mask = (steps < samples[:, None]).long()
        output = self.model(
            wavs, attention_mask=mask, output_hidden_states=self.layer != "last"
        )
        if self.layer == "last":
            return [output.last_hidden_state]
        # Of pre-norm models the captured last state lacks the final norm.
        states = list(output.hidden_states)
        if len(states) == self.model.config.num_hidden_layers + 1:
            states[-1] = output.last_hidden_state
        return states


class WhisperEncoder(PretrainedEncoder):
    """Whisper's encoder (Radford et al., ICML 2023) for input of any length.

    The log-mel spectrogram (100 fps) follows Whisper's definition: Hann
    window of 400 samples, hop 160, power, Slaney mel bands, log10, limited to
    8 below the largest value of the window, then (x + 4) / 4. The limit is
    relative to the whole window, so one loud sound lifts the floor of up to
    30 s around it.

    Whisper keeps the STFT frames centred at 0, 10, 20 ms ... and its strided
    convolution leaves output k centred at 20 k ms. Here the first STFT frame
    is dropped in place of the last one: output k is centred at
    (k + 0.5) x 20 ms, without residual. To the network this is the same
    signal cut 10 ms later.

    The positions are sliced to the input's length, so 5 s cost a sixth of
    30 s and no silence is attended to. Whisper was trained on silence up to
    30 s; `pad_to_window=True` does the same, for use without fine-tuning.

    Arguments
    ---------
    source : str or Path, optional
        Hub id such as `openai/whisper-small`, or a folder written by
        `save_pretrained`. None builds random weights from `config`.
    config : dict, optional
        Without a source: the configuration (`model_type` may be left out).
        With a source: fields to change.
    layer : "last", "mix" or int
        As in `SSLEncoder`.
    output_norm : "frame" or None
        As in `SSLEncoder`.
    pad_to_window : bool
        Fill each window with silence to its full length.
    trainable : bool
        As in `SSLEncoder`.
    layerdrop : float
        Probability of leaving out a transformer layer in training.
    gradient_checkpointing : bool
        Recompute activations in the backward pass to save memory.
    context_s : float
        Input beyond the model's window (30 s) runs in windows that overlap by
        twice this many seconds.

    Raises
    ------
    ModelError
        If the source cannot be loaded, lacks weights, or is not a Whisper.
    ConfigError
        If an argument is out of range.

    Example
    -------
    >>> tiny = dict(
    ...     d_model=8,
    ...     encoder_layers=1,
    ...     encoder_attention_heads=2,
    ...     encoder_ffn_dim=8,
    ...     max_source_positions=200,
    ... )
    >>> encoder = WhisperEncoder(config=tiny).eval()
    >>> encoder(torch.zeros(1, 116800)).shape
    torch.Size([1, 365, 8])
    """

    def __init__(
        self,
        source=None,
        config=None,
        layer="last",
        output_norm="frame",
        pad_to_window=False,
        trainable=True,
        layerdrop=0.0,
        gradient_checkpointing=False,
        context_s=1.0,
    ):
        if source is None and config is not None:
            config = {"model_type": "whisper", **config}
        settings = _load_config(source, config, ("whisper",), "WhisperEncoder")
        check_layerdrop(layerdrop, layer)
        settings.encoder_layerdrop = layerdrop
        model = _load_model(source, settings)
        super().__init__(
            model,
            settings.d_model,
            settings.encoder_layers,
            layer,
            output_norm,
            trainable,
            settings.max_source_positions / FRAME_RATE,
            context_s,
        )
        if isinstance(self.layer, int) and self.layer < settings.encoder_layers:
            model.layers = model.layers[: self.layer]
            model.layer_norm.requires_grad_(False)
        if gradient_checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        self.layerdrop = layerdrop
        self.pad_to_window = bool(pad_to_window)
        self.register_buffer(
            "mel_filters", _mel_filters(settings.num_mel_bins), persistent=False
        )
        self.register_buffer(
            "hann", torch.hann_window(_MEL_FFT), persistent=False
        )
        self._arguments = {
            "source": None,
            "config": json.loads(settings.to_json_string()),
            "layer": layer,
            "output_norm": output_norm,
            "pad_to_window": self.pad_to_window,
            "trainable": bool(trainable),
            "layerdrop": layerdrop,
            "gradient_checkpointing": bool(gradient_checkpointing),
            "context_s": context_s,
        }

    def log_mel(self, wavs):
        """Whisper's log-mel spectrogram, its frames 10 ms later.

        Arguments
        ---------
        wavs : torch.Tensor (batch, samples)
            Waveforms at 16 kHz.

        Returns
        -------
        torch.Tensor (batch, bands, samples // 160)
            Frame m is centred at (m + 1) x 10 ms.
        """
        padded = functional.pad(
            wavs.float()[:, None], (_MEL_FFT // 2,) * 2, mode="reflect"
        )
        spectrum = torch.stft(
            padded[:, 0],
            _MEL_FFT,
            _MEL_HOP,
            window=self.hann,
            center=False,
            return_complex=True,
        )
        power = spectrum[..., 1:].abs().square()
        with torch.autocast(wavs.device.type, enabled=False):
            bands = self.mel_filters.T @ power
        logs = bands.clamp(min=1e-10).log10()
        floor = logs.amax(dim=(1, 2), keepdim=True) - 8.0
        return (torch.maximum(logs, floor) + 4.0) / 4.0

    def _states(self, wavs, start, stop, valid):
        wavs = wavs[:, start * HOP : stop * HOP]
        frames = stop - start
        if self.pad_to_window:
            positions = self.model.config.max_source_positions
            wavs = functional.pad(wavs, (0, positions * HOP - wavs.shape[1]))
        hidden = functional.gelu(self.model.conv1(self.log_mel(wavs)))
        hidden = functional.gelu(self.model.conv2(hidden)).transpose(1, 2)
        hidden = hidden + self.model.embed_positions.weight[: hidden.shape[1]]
        hidden = functional.dropout(
            hidden, p=self.model.dropout, training=self.model.training
        )
        states = [hidden]
        for layer in self.model.layers:
            if (
                self.layerdrop
                and self.model.training
                and torch.rand(()) < self.layerdrop
            ):
                continue
            hidden = layer(hidden, None)
            states.append(hidden)
        if len(self.model.layers) == self.model.config.encoder_layers:
            states[-1] = self.model.layer_norm(hidden)
        return [state[:, :frames] for state in states]


def _check_layer(layer, n_layers):
    """Check `layer`; count a layer number from 1."""
    if layer in ("last", "mix"):
        return layer
    if isinstance(layer, int) and not isinstance(layer, bool):
        number = layer + n_layers + 1 if layer < 0 else layer
        if 1 <= number <= n_layers:
            return number
    raise ConfigError(
        f"layer {layer!r} is not one of the {n_layers} layers: use 'last', "
        f"'mix', 1 to {n_layers} or -{n_layers} to -1"
    )


def check_layerdrop(layerdrop, layer):
    """Refuse a probability that no layer, or no mix of layers, can have.

    Arguments
    ---------
    layerdrop : float
        Probability of leaving out a layer in training.
    layer : "last", "mix" or int
        What the encoder gives.

    Raises
    ------
    ConfigError
        If it is outside [0, 1), or above 0 while single layers are used.
    """
    if not 0 <= layerdrop < 1:
        raise ConfigError(f"layerdrop {layerdrop:g} is outside [0, 1)")
    if layerdrop and layer != "last":
        raise ConfigError(
            f"layerdrop {layerdrop:g} with layer={layer!r}: a dropped layer "
            "has no output to use; set one of the two back"
        )


def _check_strides(settings):
    """Refuse convolutions that do not give one frame per 320 samples."""
    hop, field = 1, 1
    for kernel, stride in zip(
        settings.conv_kernel, settings.conv_stride, strict=True
    ):
        field += (kernel - 1) * hop
        hop *= stride
    if (field, hop) != (_FIELD, HOP):
        raise ModelError(
            f"the encoder's frames span {field} samples every {hop}: only "
            f"{_FIELD} every {HOP} (50 frames per second) are supported"
        )


def _valid_frames(wavs, wav_lens):
    """Whole valid frames of each item, a list of int."""
    total = wavs.shape[1] // HOP
    if wav_lens is None:
        return [total] * wavs.shape[0]
    if wav_lens.shape != wavs.shape[:1]:
        raise AudioError(
            f"{wavs.shape[0]} waveforms but wav_lens has the shape "
            f"{tuple(wav_lens.shape)}: give one relative length per item"
        )
    samples = (wav_lens.double() * wavs.shape[1]).round().tolist()
    return [min(int(n) // HOP, total) for n in samples]


def windows(total, window, context):
    """Cut frames into windows that overlap.

    Arguments
    ---------
    total : int
        Frames to cut.
    window : int
        Frames of a window at most; windows are of nearly equal size.
    context : int
        Frames that are computed and dropped where two windows meet.

    Returns
    -------
    list of tuple of int
        (first, last, start, stop): the frames first to last - 1 are kept from
        a window that is computed over start to stop - 1.

    Example
    -------
    >>> windows(10, 12, 2)
    [(0, 10, 0, 10)]
    >>> windows(16, 12, 2)
    [(0, 8, 0, 10), (8, 16, 6, 16)]
    """
    if total <= window:
        return [(0, total, 0, total)]
    count = ceil(total / (window - 2 * context))
    edges = [total * k // count for k in range(count + 1)]
    return [
        (first, last, max(0, first - context), min(total, last + context))
        for first, last in zip(edges[:-1], edges[1:], strict=True)
    ]


def _load_config(source, config, supported, owner):
    """Load or build the configuration and check its model type."""
    from transformers import AutoConfig

    if source is None:
        if not config:
            raise ConfigError(
                f"{owner} needs a source (hub id or folder) or a config with "
                "model_type"
            )
        config = dict(config)
        found = config.pop("model_type", None)
        if found in supported:
            try:
                return AutoConfig.for_model(found, **config)
            except Exception as error:
                raise ConfigError(
                    f"config of {owner} is not valid: {_first_line(error)}"
                ) from error
    else:
        changes = dict(config or {})
        changes.pop("model_type", None)
        settings = _attempt(
            source,
            lambda: AutoConfig.from_pretrained(str(source), **changes),
        )
        found = settings.model_type
        if found in supported:
            return settings
    hint = ""
    if found == "whisper":
        hint = " (WhisperEncoder takes whisper)"
    elif found in SSL_MODELS:
        hint = f" (SSLEncoder takes {found})"
    raise ModelError(
        f"model type {found!r} is not supported by {owner}: use "
        f"{', '.join(supported)}{hint}"
    )


def _load_model(source, settings):
    """Load the model in float32, or build it with random weights."""
    from transformers import AutoModel

    whisper = settings.model_type == "whisper"
    if source is None:
        if not whisper:
            return AutoModel.from_config(settings)
        from transformers.models.whisper import modeling_whisper

        return modeling_whisper.WhisperEncoder(settings)
    model, report = _attempt(
        source,
        lambda: AutoModel.from_pretrained(
            str(source),
            config=settings,
            dtype=torch.float32,
            output_loading_info=True,
        ),
    )
    missing = set(report["missing_keys"]) - {"masked_spec_embed"}
    if missing:
        raise ModelError(
            f"{source} lacks {len(missing)} weights of a "
            f"{settings.model_type} model, first {min(missing)}: get the "
            "whole checkpoint"
        )
    return model.encoder if whisper else model


def _attempt(source, load):
    """Run a loader of transformers; turn its errors into one line."""
    path = Path(source).expanduser()
    if not path.is_dir() and (
        path.is_absolute() or str(source).startswith((".", "~"))
    ):
        raise ModelError(
            f"model folder {source} does not exist: give a folder written by "
            "save_pretrained or a hub id"
        )
    try:
        return load()
    except Exception as error:
        raise ModelError(
            f"cannot load an encoder from {source} ({_first_line(error)}): "
            "give a folder written by save_pretrained, or a hub id while "
            "the network is up"
        ) from error


def _first_line(error):
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__


def _do_normalize(source):
    """`do_normalize` of the source's feature extractor; True without one."""
    if source is None:
        return True
    from transformers import AutoFeatureExtractor

    try:
        extractor = AutoFeatureExtractor.from_pretrained(str(source))
    except (OSError, ValueError):
        return True
    return bool(getattr(extractor, "do_normalize", True))


def _mel_filters(bands):
    """Slaney mel filters, (201, bands), as Whisper uses them."""
    from transformers.audio_utils import mel_filter_bank

    filters = mel_filter_bank(
        num_frequency_bins=_MEL_FFT // 2 + 1,
        num_mel_filters=bands,
        min_frequency=0.0,
        max_frequency=SAMPLE_RATE / 2,
        sampling_rate=SAMPLE_RATE,
        norm="slaney",
        mel_scale="slaney",
    )
    return torch.from_numpy(filters).float()
