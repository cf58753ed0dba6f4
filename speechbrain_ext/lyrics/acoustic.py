"""Acoustic models: a recording in, a posteriorgram of 41 phones out.

All have `posteriorgram(wav, sample_rate) -> Posteriorgram`:

- `PhoneModel`, a network of our own, trained by `brains.lyrics.PhoneBrain`; the
  shipped one knows singing;
- `PocketSphinxModel`, the mixture of Gaussians in the wheel of pocketsphinx:
  adult read English, offline, 100 frames per second;
- `TokenModel`, any wav2vec 2.0 or HuBERT checkpoint trained with connectionist
  temporal classification (CTC) on phones.
"""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from speechbrain_ext import audio
from speechbrain_ext.errors import ConfigError, DependencyError, ModelError
from speechbrain_ext.frames import FRAME_RATE
from speechbrain_ext.inference.stitching import stitch_frames
from speechbrain_ext.lyrics.phones import INDEX, PHONES, folding
from speechbrain_ext.lyrics.posteriorgram import Posteriorgram

SAMPLE_RATE = 16000
POCKETSPHINX = "pocketsphinx"
SHIPPED = "phone_recognizer"  # the model folder that is taken by default

# Of the acoustic scores: one frame says little that its neighbours do not.
SCALE = 0.3
# Probability that a phone goes on for another 10 ms, in `smoothed`.
STAY = 0.8

_FLOOR = 1e-4  # of variances
_RAREST = 1e-3  # what a phone is not taken to be rarer than
# A byte of the weights counts in units of 1024 ln(1.0001).
_BYTE = 1024 * math.log(1.0001)


class AcousticModel(ABC):
    """What hears phones.

    Attributes
    ----------
    name : str
        For messages.
    frame_rate : float
        Frames per second of its posteriorgrams.
    """

    name = "acoustic model"
    frame_rate: float

    def posteriorgram(self, wav, sample_rate) -> Posteriorgram:
        """Hear a recording.

        Arguments
        ---------
        wav : np.ndarray or torch.Tensor (samples,) or (samples, channels)
            Full scale = 1.
        sample_rate : int
            Its rate in hertz.

        Returns
        -------
        Posteriorgram
            Of 41 phones, from 0 to the end of the recording.

        Raises
        ------
        AudioError
            If the signal is empty, not finite or has another shape.
        """
        wav = audio.as_signal(wav)
        if wav.ndim == 2:
            wav = wav.mean(axis=1)
        wav = audio.resample(wav, sample_rate, SAMPLE_RATE)
        with torch.inference_mode():
            return self._hear(np.ascontiguousarray(wav, dtype=np.float32))

    def posteriorgram_file(self, path) -> Posteriorgram:
        """Hear a file.

        Arguments
        ---------
        path : str or Path
            Audio file, or video with sound.

        Returns
        -------
        Posteriorgram
        """
        wav = audio.read_audio(path, sample_rate=SAMPLE_RATE)
        return self.posteriorgram(wav, SAMPLE_RATE)

    @abstractmethod
    def _hear(self, wav) -> Posteriorgram:
        """Posteriorgram of mono audio at 16 kHz."""


def load_acoustic(source=None, device="cpu") -> AcousticModel:
    """Load an acoustic model.

    Arguments
    ---------
    source : str or Path, optional
        A model folder of ours with `encoder` and `head`, or the name of a
        shipped one; "pocketsphinx"; or a folder of wav2vec 2.0 or HuBERT
        weights with `config.json` and `vocab.json` as `save_pretrained` writes
        them. Default: the shipped model of singing, "phone_recognizer".
    device : str
        Where to compute. Default: "cpu".

    Returns
    -------
    AcousticModel

    Raises
    ------
    ModelError
        If the folder is missing or holds no such model.
    DependencyError
        If pocketsphinx is not installed.
    """
    if str(source) == POCKETSPHINX:
        return PocketSphinxModel(device=device)
    if source is not None and (Path(source) / "vocab.json").is_file():
        return TokenModel(source, device=device)
    from speechbrain_ext.inference.model_folder import find_model, load_model

    folder = find_model(source, SHIPPED)
    hparams = load_model(folder, ("encoder", "head"))
    if not isinstance(hparams["head"], PhoneHead):
        raise ModelError(
            f"{folder}: its head is {type(hparams['head']).__name__}, not "
            "PhoneHead: is this a model of another kind?"
        )
    model = PhoneModel(hparams["encoder"], hparams["head"], device)
    model.name = folder.name
    return model


# --- Gaussian mixtures -----------------------------------------------------


def pocketsphinx_folder(language="en-us") -> Path:
    """Where the wheel of pocketsphinx has its model and its dictionary.

    Arguments
    ---------
    language : str
        Default: "en-us", the only one that it brings.

    Returns
    -------
    Path

    Raises
    ------
    DependencyError
        If it is not installed.
    """
    spec = find_spec("pocketsphinx")
    for home in (spec.submodule_search_locations or []) if spec else []:
        folder = Path(home) / "model" / language
        if folder.is_dir():
            return folder
    raise DependencyError(
        "hearing phones of English needs pocketsphinx: pip install "
        '"singbrain[lyrics]"'
    )


class PocketSphinxModel(AcousticModel):
    """The Gaussian mixtures that come with pocketsphinx, without its decoder.

    Phonetically tied mixtures: for each of 42 phones and each of three streams
    (cepstra, their first and second differences) 128 Gaussians, and weights of
    them for each of the phone's three states. Here a phone is heard if any of
    its states is; contexts are left out. The weights of +NSN+ and +SPN+ (two
    kinds of noise) go together into SPN.

    Arguments
    ---------
    folder : str or Path, optional
        Folder with `means`, `variances`, `sendump` and `mdef`. Default: that
        of the wheel.
    scale : float
        Factor of the log-likelihoods, above 0: lower gives softer rows.
        Default: 0.3.
    stay : float or None
        Probability that a phone goes on for another frame, in (0, 1), in the
        loop of all phones whose forward and backward probabilities are given.
        None: every frame by itself. Default: 0.8.
    device : str
        Where to compute. Default: "cpu".

    Raises
    ------
    DependencyError
        If pocketsphinx is not installed.
    ModelError
        If the folder holds another kind of model.
    """

    name = POCKETSPHINX
    frame_rate = 100.0

    def __init__(self, folder=None, scale=SCALE, stay=STAY, device="cpu"):
        if not scale > 0 or not (stay is None or 0 < stay < 1):
            raise ConfigError(
                f"scale is {scale} and stay {stay}: take a scale above 0 and "
                "stay inside 0 to 1, or None"
            )
        folder = Path(folder or pocketsphinx_folder() / "en-us")
        self.scale, self.stay, self.device = scale, stay, torch.device(device)
        try:
            means, variances = (
                _gaussians(folder / name) for name in ("means", "variances")
            )
            names, states, senones = _definition(folder / "mdef")
            weights = _weights(folder / "sendump", means.shape, senones)
        except (OSError, ValueError, IndexError) as error:
            raise ModelError(
                f"{folder}: is no model of tied Gaussian mixtures that this "
                f"release reads ({error}): take that of pocketsphinx 5"
            ) from None
        if len(names) != len(means) or states != 3 or means.shape[3] != 13:
            raise ModelError(
                f"{folder}: {len(names)} phones of {states} states but "
                f"{means.shape[0]} codebooks of {means.shape[3]} values: take "
                "the model of pocketsphinx 5"
            )
        precision = 1 / np.maximum(variances, _FLOOR)
        constant = 0.5 * (np.log(precision) - math.log(2 * math.pi)).sum(-1)
        constant -= 0.5 * (means**2 * precision).sum(-1)
        # (phones, streams, 13, densities), as a product with frames wants it.
        self._linear = self._tensor((means * precision).swapaxes(2, 3))
        self._square = self._tensor(-0.5 * precision.swapaxes(2, 3))
        self._constant = self._tensor(constant)
        # Senones of phones without context come first: 3 p + state.
        own = weights[:, :, : 3 * len(names)]
        own = own.reshape(*own.shape[:2], len(names), 3)
        self._weights = self._tensor(own.transpose(2, 0, 1, 3))
        self._places = [INDEX[_plain(name)] for name in names]

    def _tensor(self, values):
        values = np.ascontiguousarray(values, dtype=np.float32)
        return torch.from_numpy(values).to(self.device)

    def _hear(self, wav) -> Posteriorgram:
        scores = self.scale * self.log_likelihoods(wav).cpu().double().numpy()
        if self.stay is not None:
            probs = smoothed(scores, self.stay)
        else:
            scores = np.logaddexp.reduce(scores, axis=2)
            probs = np.exp(scores - scores.max(axis=1, keepdims=True))
            probs /= probs.sum(axis=1, keepdims=True)
        folded = np.zeros((len(probs), len(PHONES)), np.float32)
        np.add.at(folded.T, self._places, probs.T)
        return Posteriorgram(folded, self.frame_rate)

    @torch.inference_mode()
    def log_likelihoods(self, wav) -> torch.Tensor:
        """Log-likelihood of every state of every phone.

        Arguments
        ---------
        wav : np.ndarray (samples,), float32
            At 16 kHz.

        Returns
        -------
        torch.Tensor (frames, 42, 3)
            Not scaled; 100 frames per second, centred at (k + 0.5) x 10 ms.
        """
        streams = cepstra(torch.from_numpy(wav)).to(self.device)
        # 10 s at a time: all densities of a minute would fill a gigabyte.
        parts = [self._states(part) for part in streams.split(1000)]
        return torch.cat(parts, dim=1).transpose(0, 1)

    def _states(self, part):
        """Scores of all states (phones, frames, 3)."""
        score = 0.0
        for k in range(part.shape[1]):
            x = part[:, k]
            density = x @ self._linear[:, k] + x.square() @ self._square[:, k]
            density = density + self._constant[:, k, None]
            # log sum of weight x density, as a product of matrices.
            top = density.amax(dim=-1, keepdim=True)
            mixed = (density - top).exp() @ self._weights[:, k].exp()
            score = score + top + mixed.clamp(min=1e-30).log()
        return score


def _plain(name):
    """Name of a class for a phone of pocketsphinx."""
    return "SPN" if name.startswith("+") else name


def _gaussians(path):
    """Parameters (codebooks, streams, densities, values) of a file."""
    data = path.read_bytes()
    at = data.index(b"endhdr\n") + len(b"endhdr\n")
    order = "<" if data[at : at + 4] == b"\x44\x33\x22\x11" else ">"
    codebooks, streams, densities = np.frombuffer(
        data, f"{order}i4", 3, at + 4
    ).tolist()
    lengths = np.frombuffer(data, f"{order}i4", streams, at + 16).tolist()
    if len(set(lengths)) != 1:
        raise ValueError(f"streams of {lengths} values")
    at += 16 + 4 * streams
    count = int(np.frombuffer(data, f"{order}i4", 1, at)[0])
    values = np.frombuffer(data, f"{order}f4", count, at + 4)
    shape = (codebooks, streams, densities, lengths[0])
    return values.reshape(shape).astype(np.float64)


def _definition(path):
    """Names of phones, states of each, and how many senones there are."""
    data = path.read_bytes()
    if data[:4] not in (b"BMDF", b"FDMB"):
        raise ValueError("mdef is not binary")
    order = "<" if data[:4] == b"BMDF" else ">"
    skipped = int(np.frombuffer(data, f"{order}i4", 1, 8)[0])
    sizes = np.frombuffer(data, f"{order}i4", 10, 12 + skipped).tolist()
    at = 12 + skipped + 40
    names = []
    for _ in range(sizes[0]):
        end = data.index(b"\0", at)
        names.append(data[at:end].decode("ascii"))
        at = end + 1
    return names, sizes[2], sizes[4]


def _weights(path, shape, senones):
    """Log weights (streams, densities, senones); the data end the file."""
    _, streams, densities, _ = shape
    count = streams * densities * senones
    data = path.read_bytes()
    if len(data) < count:
        raise ValueError(f"{len(data)} bytes of weights for {count}")
    values = np.frombuffer(data, np.uint8, count, len(data) - count)
    return -_BYTE * values.reshape(streams, densities, senones)


def cepstra(wav) -> torch.Tensor:
    """Mel cepstra and their differences, as pocketsphinx's model takes them.

    Pre-emphasis 0.97, Hamming windows of 410 samples every 160, 25 triangles
    of equal area from 130 to 6800 Hz, 13 coefficients with lifter 22, less
    their mean over the recording.

    Arguments
    ---------
    wav : torch.Tensor (samples,)
        At 16 kHz.

    Returns
    -------
    torch.Tensor (frames, 3, 13)
        100 frames per second, one for each whole 10 ms; at least one.
        Streams: c; c[t+2] - c[t-2]; and the difference of two such
        differences, c[t+3] - c[t-1] - c[t+1] + c[t-3].

    Example
    -------
    >>> cepstra(torch.zeros(16000)).shape
    torch.Size([100, 3, 13])
    """
    frames = max(1, len(wav) // 160)
    # As 16-bit numbers; half a step keeps digital silence finite.
    wav = wav.double() * 32768
    wav = torch.cat([wav[:1], wav[1:] - 0.97 * wav[:-1]])
    wav = functional.pad(wav, (125, 285 + 160))
    rows = wav.unfold(0, 410, 160)[:frames]
    window = torch.hamming_window(410, periodic=False, dtype=torch.float64)
    power = torch.fft.rfft(rows * window, 512).abs().square()
    bands = (power @ _triangles()).clamp(min=1.0).log()
    ceps = bands @ _cosines()
    ceps = ceps - ceps.mean(dim=0)
    padded = torch.cat([ceps[:1]] * 3 + [ceps] + [ceps[-1:]] * 3)

    def shift(by):
        return padded[3 + by : 3 + by + frames]

    first = shift(2) - shift(-2)
    second = shift(3) - shift(-1) - shift(1) + shift(-3)
    return torch.stack([ceps, first, second], dim=1).float()


def _triangles():
    """Filters (257, 25) with edges on bins and unit area."""

    def mel(hz):
        return 2595 * math.log10(1 + hz / 700)

    mels = np.linspace(mel(130), mel(6800), 27)
    step = SAMPLE_RATE / 512
    edges = np.round(700 * (10 ** (mels / 2595) - 1) / step) * step
    hz = np.arange(257)[:, None] * step
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    rising = (hz - low) / (centre - low)
    falling = (high - hz) / (high - centre)
    filters = np.maximum(0, np.minimum(rising, falling)) * 2 / (high - low)
    return torch.from_numpy(filters)


def _cosines():
    """Orthonormal cosine transform (25, 13) with its lifter."""
    k = np.arange(13)
    basis = np.cos(np.pi * np.outer(np.arange(25) + 0.5, k) / 25)
    basis *= math.sqrt(2 / 25)
    basis[:, 0] *= math.sqrt(0.5)
    return torch.from_numpy(basis * (1 + 11 * np.sin(np.pi * k / 22)))


def smoothed(scores, stay=STAY) -> np.ndarray:
    """Posteriors of phones that last, by forward and backward probabilities.

    Every phone passes through its states in order. A state goes on with
    probability `stay`; after the last one any phone follows, all alike.

    Arguments
    ---------
    scores : np.ndarray (frames, phones, states)
        Log-likelihoods, scaled.
    stay : float
        In (0, 1). Default: 0.8.

    Returns
    -------
    np.ndarray (frames, phones), float32
        Sums over states; rows of sum 1.

    Example
    -------
    >>> doubtful = np.log([[0.9, 0.1], [0.4, 0.6], [0.9, 0.1]])
    >>> smoothed(doubtful[:, :, None], 0.8).argmax(1).tolist()
    [0, 0, 0]
    """
    scores = np.asarray(scores, dtype=np.float64)
    likely = np.exp(scores - scores.max(axis=(1, 2), keepdims=True))
    leave = 1 - stay
    ahead, behind = np.empty_like(likely), np.empty_like(likely)
    # Before the recording anything may have been said.
    row = np.full(likely.shape[1:], 1 / likely[0].size)
    for k, now in enumerate(likely):
        moved = stay * row
        moved[:, 1:] += leave * row[:, :-1]
        moved[:, 0] += leave * row[:, -1].mean()
        row = moved * now
        row /= row.sum()
        ahead[k] = row
    row = np.full(likely.shape[1:], 1 / likely[0].size)
    behind[-1] = row
    for k in range(len(likely) - 1, 0, -1):
        seen = row * likely[k]
        row = stay * seen
        row[:, :-1] += leave * seen[:, 1:]
        row[:, -1] += leave * seen[:, 0].mean()
        row /= row.sum()
        behind[k - 1] = row
    both = (ahead * behind).sum(axis=2)
    return (both / both.sum(axis=1, keepdims=True)).astype(np.float32)


# --- networks trained with CTC ---------------------------------------------


def folded_ctc(log_probs, matrix, blank, temperature=1.0):
    """Turn the output of a CTC network into probabilities of 41 phones.

    Such a network says "blank" in most frames. What it says beside it is
    normalised by itself; the blank is kept apart for the aligner.

    Arguments
    ---------
    log_probs : np.ndarray (frames, tokens)
        Logarithms of probabilities.
    matrix : np.ndarray (tokens, 41)
        From `phones.folding`; the row of the blank is 0.
    blank : int
        Its column.
    temperature : float
        Above 1 makes rows softer. Default: 1.

    Returns
    -------
    probs : np.ndarray (frames, 41), float32
        Of sum 1.
    blank : np.ndarray (frames,), float32
        Probability of the blank, and of tokens that are no phone.

    Example
    -------
    >>> matrix = np.eye(3, 41, k=-1)  # a blank, then two phones
    >>> said = np.log([[0.96, 0.03, 0.01]])
    >>> probs, quiet = folded_ctc(said, matrix, blank=0)
    >>> probs[0, :2].round(4).tolist(), quiet.round(4).tolist()
    ([0.75, 0.25], [0.9599999785423279])
    """
    log_probs = np.asarray(log_probs, dtype=np.float64)
    real = np.flatnonzero(np.asarray(matrix).sum(axis=1))
    real = real[real != blank]
    top = log_probs[:, real].max(axis=1, keepdims=True)
    # Relative to the likeliest phone: beside a sure blank all are tiny.
    likely = np.exp((log_probs[:, real] - top) / temperature)
    probs = likely @ np.asarray(matrix, dtype=np.float64)[real]
    probs /= probs.sum(axis=1, keepdims=True)
    said = np.exp(log_probs[:, real]).sum(axis=1)
    return probs.astype(np.float32), (1 - said).clip(0, 1).astype(np.float32)


class TokenModel(AcousticModel):
    """A wav2vec 2.0 or HuBERT checkpoint that says phones.

    Arguments
    ---------
    source : str or Path
        Folder with `config.json`, `vocab.json` and weights, as
        `save_pretrained` of transformers writes it, such as
        `facebook/wav2vec2-lv-60-espeak-cv-ft`. Nothing is downloaded.
    temperature : float
        See `folded_ctc`. Default: 1.
    device : str
        Where to compute. Default: "cpu".

    Raises
    ------
    ModelError
        If the folder is incomplete or its tokens do not fit its weights.
    ConfigError
        If its tokens are letters.
    """

    frame_rate = FRAME_RATE

    def __init__(self, source, temperature=1.0, device="cpu"):
        from speechbrain_ext.encoders.ssl import SSLEncoder

        folder = Path(source)
        self.name, self.temperature = folder.name, temperature
        self.device = torch.device(device)
        tokens = _read_json(folder / "vocab.json")
        if not all(isinstance(place, int) for place in tokens.values()):
            # Of several languages: one inside the other.
            raise ModelError(
                f"{folder}: vocab.json is not a list of tokens: take a model "
                "of one language"
            )
        blank = _read_json(folder / "config.json").get("pad_token_id", 0)
        weight, bias = _output_layer(folder)
        if len(weight) < len(tokens) or not 0 <= (blank or 0) < len(weight):
            raise ModelError(
                f"{folder}: {len(tokens)} tokens, blank {blank}, but "
                f"{len(weight)} outputs: get the whole checkpoint"
            )
        self.blank = blank or 0
        names = [""] * len(weight)
        for token, index in tokens.items():
            names[index] = token
        names[self.blank] = "<blank>"
        self.matrix = folding(names)
        self.encoder = SSLEncoder(
            source=folder, output_norm=None, trainable=False
        )
        if weight.shape[1] != self.encoder.output_size:
            raise ModelError(
                f"{folder}: its output layer takes {weight.shape[1]} values "
                f"but its encoder gives {self.encoder.output_size}"
            )
        self.encoder.eval().to(self.device)
        self.weight, self.bias = (
            value.float().to(self.device) for value in (weight, bias)
        )

    def _hear(self, wav) -> Posteriorgram:
        wav = torch.from_numpy(_whole_frames(wav)).to(self.device)
        feats = self.encoder(wav[None])[0]
        logits = functional.linear(feats, self.weight, self.bias)
        said = logits.log_softmax(dim=1).cpu().numpy()
        probs, blank = folded_ctc(
            said, self.matrix, self.blank, self.temperature
        )
        return Posteriorgram(probs, self.frame_rate, blank=blank)


def _whole_frames(wav):
    """Audio padded to at least one frame and to whole ones."""
    frame = SAMPLE_RATE // FRAME_RATE
    return np.pad(wav, (0, -len(wav) % frame))


def _read_json(path):
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise ModelError(f"{path}: is not a table of names")
    return found


def _output_layer(folder):
    """Weight and bias of the last layer of a checkpoint."""
    names = ("lm_head.weight", "lm_head.bias")
    path = folder / "model.safetensors"
    try:
        if path.is_file():
            from safetensors import safe_open

            with safe_open(path, "pt") as file:
                return tuple(file.get_tensor(name) for name in names)
        path = folder / "pytorch_model.bin"
        state = torch.load(path, map_location="cpu", weights_only=True)
        return tuple(state[name] for name in names)
    except Exception as error:
        raise ModelError(
            f"{path}: has no usable output layer of tokens "
            f"({str(error).splitlines()[0]:.80}): take a checkpoint that was "
            "fine-tuned with CTC"
        ) from None


class PhoneHead(nn.Module):
    """Scores of the blank and of 41 phones for every frame.

    Arguments
    ---------
    input_size : int
        Channels of the encoder.
    dropout : float
        Probability in front of the layer. Default: 0.1.

    Attributes
    ----------
    prior : torch.Tensor (42,)
        How frequent each is in what the head was trained on; a buffer, filled
        by `count`.

    Example
    -------
    >>> PhoneHead(8)(torch.zeros(2, 50, 8)).shape
    torch.Size([2, 50, 42])
    """

    output_size = 1 + len(PHONES)

    def __init__(self, input_size, dropout=0.1):
        super().__init__()
        self.input_size = input_size
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(input_size, self.output_size)
        even = torch.full((self.output_size,), 1 / self.output_size)
        self.register_buffer("prior", even)

    def count(self, columns, share=0.01):
        """Take the frames of a batch into the prior, a running mean.

        Arguments
        ---------
        columns : torch.Tensor (frames,) int64
            What the frames are, 0 to 41; none changes nothing.
        share : float
            Weight of the batch, in (0, 1]. Default: 0.01.

        Example
        -------
        >>> head = PhoneHead(8)
        >>> head.count(torch.tensor([0, 5, 5, 5]), share=1.0)
        >>> head.prior[[0, 1, 5]].tolist()
        [0.25, 0.0, 0.75]
        """
        if len(columns):
            counts = torch.bincount(columns, minlength=self.output_size)
            self.prior.lerp_(counts / len(columns), share)

    def forward(self, feats):
        """Score frames.

        Arguments
        ---------
        feats : torch.Tensor (batch, frames, input_size)

        Returns
        -------
        torch.Tensor (batch, frames, 42)
            Log-probabilities: column 0 is the blank, k + 1 is phone k.
        """
        return self.linear(self.dropout(feats)).log_softmax(dim=-1)


def phone_targets(sequences):
    """Sequences of phones as targets of `phone_loss`.

    Arguments
    ---------
    sequences : sequence of sequence of str
        Names of `PHONES`, one sequence per item.

    Returns
    -------
    targets : torch.Tensor (batch, longest), int64
        0 beyond an item's end.
    lengths : torch.Tensor (batch,), int64

    Example
    -------
    >>> phone_targets([["AA", "AE"], ["ZH"]])
    (tensor([[ 1,  2], [41,  0]]), tensor([2, 1]))
    """
    rows = [
        torch.tensor([INDEX[phone] + 1 for phone in row], dtype=torch.long)
        for row in sequences
    ]
    lengths = torch.tensor([len(row) for row in rows])
    return nn.utils.rnn.pad_sequence(rows, batch_first=True), lengths


def phone_loss(log_probs, wav_lens, targets, target_lengths, per_frame=False):
    """Connectionist temporal classification (Graves et al., ICML 2006).

    Arguments
    ---------
    log_probs : torch.Tensor (batch, frames, 42)
        From `PhoneHead`.
    wav_lens : torch.Tensor (batch,)
        Valid share of each item, in (0, 1].
    targets, target_lengths : torch.Tensor
        From `phone_targets`.
    per_frame : bool
        Whether the loss is counted per frame: then an item of few phones, or
        none, weighs no more than others. Default: False.

    Returns
    -------
    torch.Tensor
        Mean over items of the loss per phone, or over all frames; an item with
        more phones than frames counts 0.

    Example
    -------
    >>> even = torch.full((1, 2, 42), -torch.tensor(42.0).log())
    >>> targets, lengths = phone_targets([["AA"]])
    >>> loss = phone_loss(even, torch.ones(1), targets, lengths)
    >>> bool(torch.isclose(loss, -torch.tensor(3 / 42**2).log()))
    True
    """
    frames = (wav_lens * log_probs.shape[1]).round().long()
    loss = functional.ctc_loss(
        log_probs.transpose(0, 1),
        targets,
        frames.to(targets.device),
        target_lengths,
        blank=0,
        reduction="sum" if per_frame else "mean",
        zero_infinity=True,
    )
    return loss / frames.sum() if per_frame else loss


class PhoneModel(AcousticModel):
    """A network of ours: an encoder of 50 frames per second and a `PhoneHead`.

    Arguments
    ---------
    encoder : torch.nn.Module
        With `sample_rate` 16000, `output_size` and `context_s`, such as
        `HarmonicEncoder`.
    head : PhoneHead
    device : str
        Where to compute. Default: "cpu".
    chunk_s : float
        Longer recordings run in chunks of this many seconds. Default: 30.
    balance : float
        Power of the head's prior that probabilities are divided by. 1 (default)
        takes all phones as equally frequent, as an alignment should, which
        knows what is said (Bourlard and Morgan, Connectionist Speech
        Recognition, 1994); 0 leaves them as they are.

    Raises
    ------
    ModelError
        If the encoder works at another rate.
    """

    name = "phones"
    frame_rate = FRAME_RATE

    def __init__(self, encoder, head, device="cpu", chunk_s=30.0, balance=1.0):
        if encoder.sample_rate != SAMPLE_RATE:
            raise ModelError(
                f"the encoder works at {encoder.sample_rate} Hz: it has to be "
                f"{SAMPLE_RATE}"
            )
        self.device = torch.device(device)
        self.encoder = encoder.eval().to(self.device)
        self.head = head.eval().to(self.device)
        self.chunk_s, self.balance = chunk_s, balance

    def _hear(self, wav) -> Posteriorgram:
        prior = self.head.prior.clamp(min=_RAREST).cpu().numpy()[1:]

        def forward(piece):
            rows = torch.as_tensor(piece, device=self.device)
            return self.head(self.encoder(rows[None]))[0].cpu().numpy()

        parts = stitch_frames(
            [_whole_frames(wav)], forward, self.chunk_s, self.encoder.context_s
        )
        matrix = np.eye(PhoneHead.output_size, len(PHONES), k=-1)
        probs, blank = folded_ctc(np.concatenate(list(parts)), matrix, blank=0)
        probs = probs / prior**self.balance
        probs /= probs.sum(axis=1, keepdims=True)
        return Posteriorgram(probs, self.frame_rate, blank=blank)
