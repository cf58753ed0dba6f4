"""AV-HuBERT: mouth pictures, a voice, or both into features at 50 fps.

The architecture of Shi et al., "Learning Audio-Visual Speech Representation by
Masked Multimodal Cluster Prediction" (ICLR 2022): a residual network for the
pictures, log filter banks for the voice, a transformer over both. It was
pretrained at 25 frames per second; as in Gu et al. (ACM TOMM 2024,
doi 10.1145/3651310) it runs here on the 50 fps grid and is fine-tuned.

No weights come with it, and none are fetched. Meta's checkpoints are under a
licence of their own, for non-commercial research only. `convert_av_hubert`
turns one that you have into a model folder:

    singbrain prepare av_hubert large_vox_iter5.pt -o models/av_hubert
"""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

from speechbrain_ext.encoders.fairseq import read_fairseq
from speechbrain_ext.encoders.lips import (
    PICTURE_SIZE,
    LipResNet,
    find_pictures,
    valid_frames,
)
from speechbrain_ext.encoders.ssl import (
    HOP,
    SAMPLE_RATE,
    PretrainedEncoder,
    check_layerdrop,
    windows,
)
from speechbrain_ext.errors import AudioError, ConfigError, ModelError
from speechbrain_ext.frames import FRAME_RATE

# Width, layers, width of the feed-forward part, attention heads.
PRESETS = {"base": (768, 12, 3072, 12), "large": (1024, 24, 4096, 16)}

N_BANDS = 26  # of the log filter banks
STACK = 4  # of them, 10 ms apart, in one frame
_BANK_HOP = 160
_BANK_WINDOW = 400
_BANK_FFT = 512
_PREEMPHASIS = 0.97
_FULL_SCALE = 32768  # filter banks were computed from 16-bit numbers
_TOLERANCE = 3  # frames that sound and pictures may differ by

LICENSE_NOTE = (
    "The weights are a conversion of a checkpoint of AV-HuBERT "
    "(github.com/facebookresearch/av_hubert), which Meta licenses for "
    "non-commercial research only, to whoever downloaded it. Read that licence "
    "before you use them, and do not pass them on."
)


def log_filter_banks(wavs, frame_rate=FRAME_RATE):
    """Stacked log filter banks of a voice, as AV-HuBERT takes them.

    26 triangular filters on the mel scale (HTK's formula, edges on bins of a
    512-point transform) from 0 to 8 kHz, over the power of rectangular windows
    of 25 ms every 10 ms, after a pre-emphasis of 0.97; logarithm. A frame holds
    four neighbouring windows and is normalised to zero mean and unit variance.

    The four windows are centred on the frame, at (k + 0.5) / `frame_rate`. At
    25 fps, AV-HuBERT's own rate, frames do not share windows, and each lies
    7.5 ms earlier than in the original, which does not centre them. At 50 fps
    neighbouring frames share two.

    Arguments
    ---------
    wavs : torch.Tensor (batch, samples)
        Waveforms at 16 kHz in [-1, 1].
    frame_rate : {25, 50}
        Frames per second. Default: 50.

    Returns
    -------
    torch.Tensor (batch, samples * frame_rate // 16000, 104)
        The earliest window first.

    Raises
    ------
    ConfigError
        If the rate is another one.

    Example
    -------
    >>> log_filter_banks(torch.randn(1, 32000)).shape
    torch.Size([1, 100, 104])
    >>> log_filter_banks(torch.randn(1, 32000), 25).shape
    torch.Size([1, 50, 104])
    """
    if frame_rate not in (25, 50):
        raise ConfigError(
            f"log filter banks at {frame_rate} frames per second: use 25 or 50"
        )
    step = SAMPLE_RATE // _BANK_HOP // frame_rate
    frames = wavs.shape[1] * frame_rate // SAMPLE_RATE
    if not frames:
        return wavs.new_zeros(len(wavs), 0, STACK * N_BANDS)
    shared = STACK - step
    side = (_BANK_WINDOW - _BANK_HOP) // 2 + shared // 2 * _BANK_HOP
    wavs = wavs[:, : frames * step * _BANK_HOP] * _FULL_SCALE
    wavs = functional.pad(wavs, (side + 1, side))
    wavs = wavs[:, 1:] - _PREEMPHASIS * wavs[:, :-1]
    spectrum = torch.fft.rfft(
        wavs.unfold(1, _BANK_WINDOW, _BANK_HOP), n=_BANK_FFT
    )
    power = spectrum.abs().square() / _BANK_FFT
    bands = power @ _mel_filters().to(power)
    # What 16-bit numbers give where there is no sound at all.
    bands = bands.clamp(min=torch.finfo(torch.float64).eps).log()
    stacked = bands.unfold(1, STACK, step).transpose(2, 3).flatten(2)
    return functional.layer_norm(stacked, stacked.shape[-1:])


def _mel_filters():
    """Triangles on the mel scale (257, 26), with edges on whole bins."""
    top = 2595 * torch.log10(torch.tensor(1 + SAMPLE_RATE / 2 / 700).double())
    mels = torch.linspace(0, top, N_BANDS + 2, dtype=torch.float64)
    hz = 700 * (10 ** (mels / 2595) - 1)
    edges = torch.floor((_BANK_FFT + 1) * hz / SAMPLE_RATE)
    low, middle, high = edges[:-2], edges[1:-1], edges[2:]
    bins = torch.arange(_BANK_FFT // 2 + 1)[:, None]
    rise = (bins - low) / (middle - low)
    fall = (high - bins) / (high - middle)
    return torch.minimum(rise, fall).clamp(min=0)


class AVHubertEncoder(PretrainedEncoder):
    """AV-HuBERT (Shi et al., ICLR 2022) for video, audio or both.

    What is missing, a stream or a single picture, is zeros where the streams
    come together, as the drop-out of streams in pretraining has it. An item
    of silent digital zeros has no audio.

    Arguments
    ---------
    source : str or Path, optional
        Folder written by `convert_av_hubert`: brings sizes and weights.
        Default: random weights of the size below.
    preset : {"base", "large"}
        768 channels and 12 layers, or 1024 and 24. Default: base.
    dim, n_layers, ffn, n_heads : int, optional
        Channels, layers, channels of the feed-forward part, and attention
        heads, where they differ from the preset.
    position_kernel, position_groups : int
        Frames and groups of the convolution that gives positions. Default:
        128 and 16.
    layer : "last", "mix" or int
        As in `SSLEncoder`.
    output_norm : "frame" or None
        As in `SSLEncoder`.
    trainable : bool
        As in `SSLEncoder`.
    dropout, attention_dropout, activation_dropout : float
        Probabilities. Default: 0.1, 0.1 and 0.
    layerdrop : float
        Probability of leaving out a layer in training (pretraining: 0.05).
        Default: 0.
    feature_grad_scale : float
        Factor on the gradient of what comes before the streams come together;
        0: not trained. Default: 0.1.
    window_s, context_s : float
        As in `SSLEncoder`. Default: 20 s (1000 frames, the longest of
        pretraining) and 1 s.

    Raises
    ------
    ModelError
        If the folder is no converted AV-HuBERT.
    ConfigError
        If an argument is out of range.

    Example
    -------
    >>> encoder = AVHubertEncoder(dim=16, n_layers=1, ffn=32, n_heads=2).eval()
    >>> video = torch.full((1, 50, 88, 88), 99, dtype=torch.uint8)
    >>> encoder(video).shape, encoder(wavs=torch.randn(1, 16000)).shape
    (torch.Size([1, 50, 16]), torch.Size([1, 50, 16]))
    """

    frame_rate = FRAME_RATE
    picture_size = PICTURE_SIZE

    def __init__(
        self,
        source=None,
        preset="base",
        dim=None,
        n_layers=None,
        ffn=None,
        n_heads=None,
        position_kernel=128,
        position_groups=16,
        layer="last",
        output_norm="frame",
        trainable=True,
        dropout=0.1,
        attention_dropout=0.1,
        activation_dropout=0.0,
        layerdrop=0.0,
        feature_grad_scale=0.1,
        window_s=20.0,
        context_s=1.0,
    ):
        check_layerdrop(layerdrop, layer)
        donor = None
        if source is not None:
            donor = _load(source)
            sizes = {key: donor.offline_arguments()[key] for key in _SIZES}
        else:
            sizes = _sizes(preset, dim, n_layers, ffn, n_heads)
            sizes["position_kernel"] = position_kernel
            sizes["position_groups"] = position_groups
        _check_sizes(sizes)
        model = _Network(
            **sizes,
            dropout=dropout,
            attention_dropout=attention_dropout,
            activation_dropout=activation_dropout,
        )
        if donor is not None:
            model.load_state_dict(donor.model.state_dict())
        super().__init__(
            model,
            sizes["dim"],
            sizes["n_layers"],
            layer,
            output_norm,
            trainable,
            window_s,
            context_s,
        )
        self.layerdrop = layerdrop
        self.feature_grad_scale = feature_grad_scale
        if isinstance(self.layer, int) and self.layer < sizes["n_layers"]:
            model.layers = model.layers[: self.layer]
            model.norm = None
        self._arguments = {
            "source": None,
            **sizes,
            "layer": layer,
            "output_norm": output_norm,
            "trainable": bool(trainable),
            "dropout": dropout,
            "attention_dropout": attention_dropout,
            "activation_dropout": activation_dropout,
            "layerdrop": layerdrop,
            "feature_grad_scale": feature_grad_scale,
            "window_s": window_s,
            "context_s": context_s,
        }

    @classmethod
    def from_folder(cls, folder, **settings):
        """Load what `convert_av_hubert` wrote.

        Arguments
        ---------
        folder : str or Path
            The folder.
        **settings
            Other arguments of the class; sizes come from the folder.

        Returns
        -------
        AVHubertEncoder

        Raises
        ------
        ModelError
            If the folder is no converted AV-HuBERT.
        """
        return cls(source=folder, **settings)

    def forward(self, video=None, lengths=None, wavs=None):
        """Encode mouth pictures, voices or both.

        Arguments
        ---------
        video : torch.Tensor (batch, frames, size, size), optional
            Grey values from 0 to 255, uint8 or float; size 88, or more for
            the centre to be taken. A picture of zeros is missing.
        lengths : torch.Tensor (batch,), optional
            Valid share of each item, in (0, 1]. Default: all valid.
        wavs : torch.Tensor (batch, samples), optional
            Waveforms at 16 kHz in [-1, 1].

        Returns
        -------
        torch.Tensor (batch, frames, output_size)
            At 50 fps; without video samples // 320 frames. Zeros beyond the
            end of an item, and for items without any picture or sound.

        Raises
        ------
        ConfigError
            If neither video nor wavs are given.
        AudioError
            If the shapes are others, or audio and video differ in length by
            more than three frames.
        """
        if video is None and wavs is None:
            raise ConfigError("AVHubertEncoder got nothing: give video or wavs")
        present = sound = None
        if video is not None:
            video, present, valid = find_pictures(video, lengths)
            active = present.any(1)
        else:
            frames = _count(wavs)
            valid = valid_frames(len(wavs), frames, lengths, wavs.device)
            active = valid.new_zeros(len(wavs))
        if wavs is not None:
            wavs = _fit(wavs, valid)
            sound = log_filter_banks(wavs)
            heard = wavs.any(1)
            active = active | heard
            sound = (sound, heard)
        gradient = self.trainable and torch.is_grad_enabled()
        pieces = []
        for first, last, start, stop in windows(
            valid.shape[1],
            int(self.window_s * FRAME_RATE),
            round(self.context_s * FRAME_RATE),
        ):
            with torch.set_grad_enabled(gradient):
                states = self._states(start, stop, valid, video, present, sound)
            pieces.append(
                self._combine(states)[:, first - start : last - start]
            )
        feats = torch.cat(pieces, dim=1) if len(pieces) > 1 else pieces[0]
        kept = valid & active[:, None]
        return feats.masked_fill(~kept[..., None], 0.0)

    def _states(self, start, stop, valid, video, present, sound):
        """Hidden states of the frames start to stop."""
        net = self.model
        part = slice(start, stop)
        valid = valid[:, part]
        weight = net.audio.weight
        empty = weight.new_zeros(*valid.shape, weight.shape[0])
        with torch.set_grad_enabled(
            torch.is_grad_enabled() and self.feature_grad_scale > 0
        ):
            seen = heard = empty
            if video is not None:
                here = present[:, part]
                seen = net.video(net.resnet.encode(video[:, part], here))
                seen = self._scaled(seen * here[..., None])
            if sound is not None:
                banks, there = sound
                heard = net.audio(banks[:, part].to(weight.dtype))
                heard = self._scaled(heard * there[:, None, None])
        hidden = net.join(torch.cat([heard, seen], dim=2))
        mask = None
        if not valid.all():
            hidden = hidden * valid[..., None]
            # Attention to nothing at all is not a number.
            mask = ~valid
            mask[:, 0] &= valid.any(1)
        hidden = net.dropout(hidden + net.position(hidden))
        states = [hidden]
        for layer in net.layers:
            if (
                self.layerdrop
                and net.training
                and torch.rand(()) < self.layerdrop
            ):
                continue
            hidden = layer(hidden, src_key_padding_mask=mask)
            states.append(hidden)
        if net.norm is not None:
            states[-1] = net.norm(hidden)
        return states

    def _scaled(self, feats):
        if feats.requires_grad and self.feature_grad_scale != 1:
            feats.register_hook(lambda grad: grad * self.feature_grad_scale)
        return feats


class _Network(nn.Module):
    """The parts of AV-HuBERT."""

    def __init__(
        self,
        dim,
        n_layers,
        ffn,
        n_heads,
        position_kernel,
        position_groups,
        dropout,
        attention_dropout,
        activation_dropout,
    ):
        super().__init__()
        self.resnet = LipResNet()
        self.video = nn.Linear(self.resnet.output_size, dim)
        self.audio = nn.Linear(STACK * N_BANDS, dim)
        self.dropout = nn.Dropout(dropout)
        self.join = nn.Sequential(
            nn.LayerNorm(2 * dim), nn.Linear(2 * dim, dim), self.dropout
        )
        self.position = _Position(dim, position_kernel, position_groups)
        self.layers = nn.ModuleList()
        for _ in range(n_layers):
            layer = nn.TransformerEncoderLayer(
                dim,
                n_heads,
                ffn,
                dropout,
                activation="gelu",
                batch_first=True,
                norm_first=True,
            )
            layer.dropout.p = activation_dropout
            layer.self_attn.dropout = attention_dropout
            self.layers.append(layer)
        self.norm = nn.LayerNorm(dim)


class _Position(nn.Module):
    """Positions as a convolution over many frames hears them."""

    def __init__(self, dim, kernel, groups):
        super().__init__()
        convolution = nn.Conv1d(
            dim, dim, kernel, padding=kernel // 2, groups=groups
        )
        nn.init.normal_(convolution.weight, std=2 / (kernel * dim) ** 0.5)
        nn.init.zeros_(convolution.bias)
        self.convolution = weight_norm(convolution, dim=2)

    def forward(self, feats):
        hidden = self.convolution(feats.transpose(1, 2))
        # An even kernel gives one frame too many.
        return functional.gelu(hidden[..., : feats.shape[1]]).transpose(1, 2)


_SIZES = (
    "dim",
    "n_layers",
    "ffn",
    "n_heads",
    "position_kernel",
    "position_groups",
)


def _sizes(preset, dim, n_layers, ffn, n_heads):
    if preset not in PRESETS:
        raise ConfigError(f"preset {preset!r}: use {' or '.join(PRESETS)}")
    names = ("dim", "n_layers", "ffn", "n_heads")
    chosen = (dim, n_layers, ffn, n_heads)
    return {
        name: default if value is None else value
        for name, value, default in zip(
            names, chosen, PRESETS[preset], strict=True
        )
    }


def _check_sizes(sizes):
    small = [name for name, value in sizes.items() if value < 1]
    if small:
        raise ConfigError(f"{small[0]} is {sizes[small[0]]}: give at least 1")
    for part in ("n_heads", "position_groups"):
        if sizes["dim"] % sizes[part]:
            raise ConfigError(
                f"dim {sizes['dim']} is no multiple of {part} {sizes[part]}"
            )


def _count(wavs):
    """Whole frames of a batch of waveforms."""
    if wavs.dim() != 2:
        raise AudioError(
            f"wavs has {wavs.dim()} dimensions: give (batch, samples)"
        )
    if wavs.shape[1] < HOP:
        raise AudioError(
            f"{wavs.shape[1]} samples are less than one frame of {HOP}: "
            "give at least 20 ms"
        )
    return wavs.shape[1] // HOP


def _fit(wavs, valid):
    """Waveforms as long as `valid` says, padding as zeros."""
    batch, frames = valid.shape
    found = _count(wavs)
    if len(wavs) != batch:
        raise AudioError(
            f"{len(wavs)} waveforms but {batch} videos: give one per item"
        )
    if abs(found - frames) > _TOLERANCE:
        raise AudioError(
            f"the sound has {found} frames of 20 ms but the video has "
            f"{frames}: cut them to the same length"
        )
    missing = frames * HOP - wavs.shape[1]
    wavs = functional.pad(wavs, (0, max(0, missing)))[:, : frames * HOP]
    return wavs * valid.repeat_interleave(HOP, dim=1)


def _load(source):
    from speechbrain_ext.inference import model_folder

    folder = model_folder.find_model(source)
    path = folder / model_folder.HYPERPARAMS
    made = model_folder.load_hyperparams(path.read_text("utf-8"), str(path))
    encoder = made.get("encoder")
    if not isinstance(encoder, AVHubertEncoder):
        raise ModelError(
            f"{folder}: holds no AVHubertEncoder but "
            f"{type(encoder).__name__}: name a folder that `singbrain prepare "
            "av_hubert` wrote"
        )
    model_folder.load_weights(folder, {"encoder": encoder})
    return encoder


# --- checkpoints of others -------------------------------------------------

_LAYER = "encoder.layers.%s."
_TRUNK = "feature_extractor_video.resnet."

# Our names, and theirs.
_NAMES = [
    (re.compile(ours.replace(".", r"\.").replace("#", r"(\d+)")), theirs)
    for ours, theirs in (
        ("resnet.stem.", _TRUNK + "frontend3D.0."),
        ("resnet.stem_norm.", _TRUNK + "frontend3D.1."),
        ("resnet.stem_prelu.", _TRUNK + "frontend3D.2."),
        ("resnet.stages.#.#.first.", _TRUNK + "trunk.layer%s.%s.conv1."),
        ("resnet.stages.#.#.first_norm.", _TRUNK + "trunk.layer%s.%s.bn1."),
        ("resnet.stages.#.#.first_prelu.", _TRUNK + "trunk.layer%s.%s.relu1."),
        ("resnet.stages.#.#.second.", _TRUNK + "trunk.layer%s.%s.conv2."),
        ("resnet.stages.#.#.second_norm.", _TRUNK + "trunk.layer%s.%s.bn2."),
        ("resnet.stages.#.#.second_prelu.", _TRUNK + "trunk.layer%s.%s.relu2."),
        (
            "resnet.stages.#.#.shortcut.",
            _TRUNK + "trunk.layer%s.%s.downsample.",
        ),
        ("video.", "feature_extractor_video.proj."),
        ("audio.", "feature_extractor_audio.proj."),
        ("join.0.", "layer_norm."),
        ("join.1.", "post_extract_proj."),
        ("position.convolution.bias", "encoder.pos_conv.0.bias"),
        (
            "position.convolution.parametrizations.weight.original0",
            "encoder.pos_conv.0.weight_g",
        ),
        (
            "position.convolution.parametrizations.weight.original1",
            "encoder.pos_conv.0.weight_v",
        ),
        ("layers.#.self_attn.in_proj_", _LAYER + "self_attn.{}_proj."),
        ("layers.#.self_attn.out_proj.", _LAYER + "self_attn.out_proj."),
        ("layers.#.norm1.", _LAYER + "self_attn_layer_norm."),
        ("layers.#.norm2.", _LAYER + "final_layer_norm."),
        ("layers.#.linear1.", _LAYER + "fc1."),
        ("layers.#.linear2.", _LAYER + "fc2."),
        ("norm.", "encoder.layer_norm."),
    )
]

# What only pretraining needs.
_PRETRAINING = re.compile(
    r"(mask_emb|label_embs_concat|(final_proj|target_glu)\..*)"
)
_FINE_TUNED = "encoder.w2v_model."


def _their_names(ours):
    """What fairseq calls a weight: one name, or three to be joined."""
    for pattern, theirs in _NAMES:
        match = pattern.match(ours)
        if match is None:
            continue
        numbers = list(match.groups())
        if ours.startswith("resnet.stages."):
            numbers[0] = int(numbers[0]) + 1  # theirs count from 1
        name = theirs % tuple(numbers) + ours[match.end() :]
        if "{}" in name:
            return [name.format(part) for part in "qkv"]
        return [name]
    raise AssertionError(f"no name for {ours}")


def convert_av_hubert(path, folder, overwrite=False):
    """Turn a checkpoint of AV-HuBERT into a model folder.

    Nothing that the checkpoint names is run, see `encoders.fairseq`. Of a
    checkpoint that was fine-tuned for lip reading, the decoder is left out.

    Arguments
    ---------
    path : str or Path
        Checkpoint that fairseq wrote (`.pt`), your own copy.
    folder : str or Path
        The folder to make; its parent must exist.
    overwrite : bool
        Whether an existing model folder may be replaced. Default: False.

    Returns
    -------
    Path
        The folder, for `AVHubertEncoder(source=folder)`.

    Raises
    ------
    ModelError
        If the file cannot be read, or is no AV-HuBERT: says how many weights
        do not fit and names the first.
    OutputError
        If the folder exists and may not be replaced, or cannot be written.
    """
    from speechbrain_ext.inference.model_folder import export_model

    path = Path(path)
    weights, settings = read_fairseq(path)
    if any(name.startswith(_FINE_TUNED) for name in weights):
        weights = {
            name.removeprefix(_FINE_TUNED): value
            for name, value in weights.items()
            if name.startswith(_FINE_TUNED)
        }
    _check_settings(path, settings)
    sizes = _find_sizes(path, weights, settings)
    with torch.device("meta"):
        encoder = AVHubertEncoder(**sizes)
    state = _convert(path, weights, encoder.model.state_dict())
    encoder.model.load_state_dict(state, assign=True)
    lines = [f"  {key}: {value}" for key, value in sizes.items()]
    name = f"{AVHubertEncoder.__module__}.{AVHubertEncoder.__name__}"
    text = "\n".join([f"encoder: !new:{name}", *lines, ""])
    card = f"# AV-HuBERT\n\nConverted from {path.name}. {LICENSE_NOTE}\n"
    return export_model(folder, text, {"encoder": encoder}, card, overwrite)


def _check_settings(path, settings):
    """Refuse what would have the same weights but another meaning."""
    for name, wanted in (
        ("layer_norm_first", True),
        ("modality_fuse", "concat"),
        ("activation_fn", "gelu"),
    ):
        found = settings.get(name, wanted)
        if found != wanted:
            raise ModelError(
                f"{path}: was trained with {name}={found}: only {wanted} is "
                "supported"
            )


def _find_sizes(path, weights, settings):
    """Arguments of the encoder that the weights belong to."""
    shapes = {name: tuple(value.shape) for name, value in weights.items()}
    try:
        dim, channels, kernel = shapes["encoder.pos_conv.0.weight_v"]
        ffn, _ = shapes["encoder.layers.0.fc1.weight"]
        numbers = [
            re.match(r"encoder\.layers\.(\d+)\.", name) for name in shapes
        ]
        sizes = {
            "dim": dim,
            "n_layers": 1 + max(int(n.group(1)) for n in numbers if n),
            "ffn": ffn,
            # The weights do not tell; published sizes have heads of 64.
            "n_heads": settings.get(
                "encoder_attention_heads", max(1, dim // 64)
            ),
            "position_kernel": kernel,
            "position_groups": dim // channels,
        }
        _check_sizes(sizes)
    except (KeyError, TypeError, ValueError, ArithmeticError, ConfigError):
        raise ModelError(
            f"{path}: is no AV-HuBERT: of its {len(shapes)} weights, the "
            "transformer's are missing or have other shapes"
        ) from None
    return sizes


def _convert(path, weights, state):
    """Weights of a checkpoint under our names."""
    converted, missing, wrong, known = {}, [], [], set()
    for ours, value in state.items():
        names = _their_names(ours)
        known.update(names)
        absent = [name for name in names if name not in weights]
        if absent:
            missing += absent
            continue
        parts = [weights[name] for name in names]
        shape = tuple(value.shape)
        if len(parts) > 1:
            shape = (shape[0] // len(parts), *shape[1:])
        bad = [
            f"{name} {tuple(part.shape)} instead of {shape}"
            for name, part in zip(names, parts, strict=True)
            if part.shape != shape
        ]
        wrong += bad
        if not bad:
            whole = parts[0] if len(parts) == 1 else torch.cat(parts)
            converted[ours] = whole.to(value.dtype)
    unknown = [
        name
        for name in weights
        if name not in known and not _PRETRAINING.fullmatch(name)
    ]
    faults = [
        f"{len(names)} {what} (first {names[0]})"
        for what, names in (
            ("missing", missing),
            ("unknown", unknown),
            ("of another shape", wrong),
        )
        if names
    ]
    if faults:
        raise ModelError(
            f"{path}: its weights do not fit AV-HuBERT: {', '.join(faults)}"
        )
    return converted
