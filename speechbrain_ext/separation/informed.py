"""Separators that are told what is sung, and when.

The networks of a published study of separation with phone posteriorgrams
(https://github.com/lankaraniamir/lyric_source_separation, 2023), by the name of
its variants, and the one that finds the times itself (Schulze-Forster, Doire,
Richard and Badeau, "Phoneme level lyrics alignment and text-informed singing
voice separation", TASLP 29, 2021). Written from their descriptions.

What they are told is `side (batch, frames, features)`: a row for each frame of
the spectrum, at that frame's own time (`lyrics.posteriorgram`, `side_input`).
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from speechbrain_ext.errors import ConfigError, ModelError
from speechbrain_ext.lyrics.align import viterbi
from speechbrain_ext.lyrics.phones import INDEX, PHONES, SILENCE
from speechbrain_ext.separation.codec import level_around
from speechbrain_ext.separation.separator import MaskSeparator

_AMPLITUDE_FLOOR = 1e-4  # of magnitudes in dB, as published
_EMBEDDING_SIZE = 49  # of the embedding of what is sung, as published
_NEVER = -1e9  # a score that no sum of others makes good
N_PHONES = len(PHONES)
# Rounding may give the spectrum of a part some frames more than its phones.
FRAME_SLACK = 3


class Variant(NamedTuple):
    """What a published variant hears, and how much it can remember.

    Arguments
    ---------
    audio : bool
        Whether it hears the mixture.
    order : int or None
        Derivatives of the posteriorgram that it is given beside it; None if
        it is given nothing.
    norm : bool
        Whether what it is given is normalised.
    aligned : bool
        Whether an embedding of what is sung now joins the mask.
    hidden_size : int
        Units of a direction of the recurrent layers.
    """

    audio: bool
    order: int | None
    norm: bool
    aligned: bool
    hidden_size: int


VARIANTS = {
    "all_audio": Variant(True, None, False, False, 512),
    "all_post": Variant(False, 2, False, False, 512),
    "audio_post_no_norm": Variant(True, 0, False, False, 512),
    "audio_post_norm": Variant(True, 0, True, False, 512),
    "audio_post_aligns": Variant(True, 0, False, True, 512),
    "audio_post_no_norm_larger": Variant(True, 2, False, False, 635),
}


class MaskInference(nn.Module):
    """Recurrent layers over decibels and phones, under a sigmoid.

    dB magnitudes, normalised per bin, and what is sung are joined; three
    bidirectional LSTM layers and a dense one give the share of the voice, the
    rest is accompaniment. At 257 bins the variants have 16.02, 15.47, 16.19,
    16.19, 16.77 and 24.87 million parameters, in the order of `VARIANTS`.

    Three things differ from the study, whose code has them otherwise: the mask
    of `audio_post_aligns` is held between 0 and 1; its embedding is of the
    phone that is sung now, so that no word of the test songs has to be known
    (with `n_tokens` of 3000 words it has 16.9 million parameters); derivatives
    are taken before interpolation.

    Arguments
    ---------
    variant : str
        One of `VARIANTS`. Default: audio_post_norm.
    n_bins : int
        Of the spectrogram. Default: 257.
    n_phones : int
        Classes of a posteriorgram. Default: 41.
    hidden_size : int, optional
        Units of a direction. Default: that of the variant.
    layers : int
        Default: 3.
    dropout : float
        Between layers. Default: 0.3.
    relative : bool
        Whether magnitudes are divided by the level around them first, so that
        the masks do not depend on the level of the recording (default), or
        come as they are, as published.
    n_tokens : int, optional
        What an embedding can tell apart. Default: the phones.

    Raises
    ------
    ConfigError
        If there is no such variant.

    Example
    -------
    >>> network = MaskInference("audio_post_norm", n_bins=5, hidden_size=4)
    >>> spec = torch.randn(2, 7, 5, dtype=torch.cfloat)
    >>> masks = network(spec, torch.zeros(2, 7, 41))
    >>> masks.shape, bool((masks.sum(1) == 1).all())
    (torch.Size([2, 2, 7, 5]), True)
    """

    context_frames = None  # both directions hear everything

    def __init__(
        self,
        variant="audio_post_norm",
        n_bins=257,
        n_phones=N_PHONES,
        hidden_size=None,
        layers=3,
        dropout=0.3,
        relative=True,
        n_tokens=None,
    ):
        super().__init__()
        if variant not in VARIANTS:
            raise ConfigError(
                f"variant is {variant!r}: use one of {', '.join(VARIANTS)}"
            )
        self.settings = VARIANTS[variant]
        self.n_phones = n_phones
        self.relative = relative
        size = 0
        if self.settings.audio:
            size += n_bins
            self.audio_norm = nn.BatchNorm1d(n_bins)
        size += self.side_size
        if self.settings.norm:
            self.side_norm = nn.BatchNorm1d(self.side_size)
        if hidden_size is None:
            hidden_size = self.settings.hidden_size
        self.layers = nn.LSTM(
            size,
            hidden_size,
            layers,
            batch_first=True,
            dropout=dropout if layers > 1 else 0.0,
            bidirectional=True,
        )
        self.head = nn.Linear(2 * hidden_size, n_bins)
        _begin(self.layers)
        if self.settings.aligned:
            tokens = n_phones if n_tokens is None else n_tokens
            self.embedding = nn.Embedding(tokens, _EMBEDDING_SIZE)
            self.joint = nn.Sequential(
                nn.Linear(n_bins + _EMBEDDING_SIZE, 1024),
                nn.Sigmoid(),
                nn.Linear(1024, n_bins),
            )

    @property
    def order(self):
        """Derivatives of the posteriorgram it wants; None for nothing."""
        return self.settings.order

    @property
    def side_size(self):
        """Features of a row of what it is told."""
        if self.order is None:
            return 0
        return self.n_phones * (self.order + 1)

    def forward(self, spec, side=None):
        """Masks of voice and accompaniment.

        Arguments
        ---------
        spec : torch.Tensor (batch, frames, bins), complex
            Of the mixture.
        side : torch.Tensor (batch, frames, side_size), optional
            Needed if `side_size` is not 0.

        Returns
        -------
        torch.Tensor (batch, 2, frames, bins)
            They add up to 1.
        """
        parts = []
        if self.settings.audio:
            magnitudes = spec.abs()
            if self.relative:
                magnitudes = magnitudes / level_around(spec)
            decibels = 20 * magnitudes.clamp(min=_AMPLITUDE_FLOOR).log10()
            parts.append(self.audio_norm(decibels.mT).mT)
        if self.side_size:
            told = side
            if self.settings.norm:
                told = self.side_norm(told.mT).mT
            parts.append(told)
        hidden, _ = self.layers(torch.cat(parts, dim=-1))
        mask = torch.sigmoid(self.head(hidden))
        if self.settings.aligned:
            now = self.embedding(side[..., : self.n_phones].argmax(-1))
            mask = torch.sigmoid(self.joint(torch.cat([mask, now], dim=-1)))
        return torch.stack([mask, 1 - mask], dim=1)


def _begin(layers):
    """First weights as published: Xavier, biases 0, forget gates open."""
    for name, values in layers.named_parameters():
        if values.dim() > 1:
            nn.init.xavier_normal_(values)
        else:
            nn.init.zeros_(values)
            if "bias_ih" in name:
                size = len(values) // 4
                nn.init.ones_(values[size : 2 * size].detach())


# --- the network that aligns -------------------------------------------------


class Sequence(NamedTuple):
    """What is sung in each item of a batch, one after the other.

    Arguments
    ---------
    tokens : torch.Tensor (batch, tokens), int
        Numbers of phones; filled up with the last of the item.
    lengths : torch.Tensor (batch,), int
        How many are the item's own.
    places : torch.Tensor (batch, frames), int
        Which of the tokens is sung in a frame.
    """

    tokens: torch.Tensor
    lengths: torch.Tensor
    places: torch.Tensor


def sequence_of(side, n_phones=N_PHONES):
    """Order of the phones in frames; when they are sung is forgotten.

    Arguments
    ---------
    side : torch.Tensor (batch, frames, features)
        The first features are probabilities of phones.
    n_phones : int
        Default: 41.

    Returns
    -------
    Sequence
        A phone that follows itself counts once.

    Example
    -------
    >>> side = nn.functional.one_hot(torch.tensor([[4, 4, 7, 4, 4]]), 41)
    >>> sequence = sequence_of(side)
    >>> sequence.tokens, sequence.places
    (tensor([[4, 7, 4]]), tensor([[0, 0, 1, 2, 2]]))
    """
    best = side[..., :n_phones].argmax(-1)
    change = best[:, 1:] != best[:, :-1]
    places = nn.functional.pad(change.long().cumsum(1), (1, 0))
    lengths = places[:, -1] + 1
    size = int(lengths.max())
    tokens = best[:, -1:].repeat(1, size)
    return Sequence(tokens.scatter(1, places, best), lengths, places)


def dtw_attention(scores, lengths):
    """Weights of tokens in frames that can only go forward.

    D(n, m) = S(n, m) + max(D(n - 1, m), D(n - 1, m - 1)): from a frame to the
    next a token stays or gives way to the one after it; the first frame has the
    first token. The softmax of D over the tokens are the weights
    (Schulze-Forster et al., 2021, section III-C).

    Arguments
    ---------
    scores : torch.Tensor (batch, frames, tokens)
        How well token m fits frame n.
    lengths : torch.Tensor (batch,), int
        Tokens of each item.

    Returns
    -------
    torch.Tensor (batch, frames, tokens)
        They sum to 1 over the tokens; 0 for tokens that an item does not have.

    Example
    -------
    >>> scores = torch.zeros(1, 3, 3)
    >>> dtw_attention(scores, torch.tensor([3]))[0]
    tensor([[1.0000, 0.0000, 0.0000],
            [0.5000, 0.5000, 0.0000],
            [0.3333, 0.3333, 0.3333]])
    """
    size = scores.shape[2]
    places = torch.arange(size, device=scores.device)
    own = places < lengths[:, None]
    best = scores[:, 0].masked_fill(places > 0, _NEVER)
    rows = [best]
    for n in range(1, scores.shape[1]):
        before = nn.functional.pad(best[:, :-1], (1, 0), value=_NEVER)
        best = scores[:, n] + torch.maximum(best, before)
        # What cannot be reached is as far away as ever.
        best = best.masked_fill(places > n, _NEVER)
        rows.append(best)
    totals = torch.stack(rows, dim=1).masked_fill(~own[:, None], _NEVER)
    return totals.softmax(dim=-1)


class AligningNetwork(nn.Module):
    """Hears a mixture and reads what is sung; finds by itself when.

    Schulze-Forster et al. (TASLP 29, 2021), "JOINT": the mixture goes through a
    dense layer and a bidirectional LSTM, the phones through another one;
    `dtw_attention` of both tells which phone is sung in which frame, and a
    decoder makes a mask of the sound and of that phone. With `times="given"`
    the times are taken from what it is told, its "SEQ".

    What differs: the input is normalised by its running mean instead of that of
    the training set, computed beforehand; the level of the recording is taken
    out first, if not told otherwise.

    Arguments
    ---------
    n_bins : int
        Default: 257.
    hidden_size : int
        Features, twice the units of a direction. Default: 512.
    times : {"found", "given"}
        Default: found.
    dropout : float
        Between recurrent layers. Default: 0.4.
    relative : bool
        As in `MaskInference`. Default: True.
    n_phones : int
        Default: 41.

    Raises
    ------
    ConfigError
        If `times` is neither, or `hidden_size` is odd.

    Example
    -------
    >>> network = AligningNetwork(n_bins=5, hidden_size=4)
    >>> spec = torch.randn(2, 7, 5, dtype=torch.cfloat)
    >>> network(spec, torch.zeros(2, 7, 41)).shape
    torch.Size([2, 2, 7, 5])
    """

    context_frames = None
    order = 0

    def __init__(
        self,
        n_bins=257,
        hidden_size=512,
        times="found",
        dropout=0.4,
        relative=True,
        n_phones=N_PHONES,
    ):
        super().__init__()
        if times not in ("found", "given"):
            raise ConfigError(f"times is {times!r}: use found or given")
        if hidden_size % 2:
            raise ConfigError(
                f"hidden_size is {hidden_size}: use an even number, half of it "
                "is for each direction"
            )
        self.times = times
        self.relative = relative
        self.n_phones = n_phones
        half = hidden_size // 2

        def recurrent(size, layers):
            return nn.LSTM(
                size,
                half,
                layers,
                batch_first=True,
                bidirectional=True,
                dropout=dropout if layers > 1 else 0.0,
            )

        self.input_norm = nn.BatchNorm1d(n_bins)
        self.bottom = _Dense(n_bins, hidden_size)
        self.encoder = recurrent(hidden_size, 2)
        self.reader = recurrent(n_phones, 1)
        if times == "found":
            self.likeness = nn.Linear(hidden_size, hidden_size, bias=False)
        self.join = _Dense(2 * hidden_size, hidden_size)
        self.decoder = recurrent(hidden_size, 3)
        self.top = _Dense(2 * hidden_size, hidden_size)
        self.head = _Dense(hidden_size, n_bins)
        self.scale = nn.Parameter(torch.ones(n_bins))
        self.offset = nn.Parameter(torch.ones(n_bins))

    @property
    def side_size(self):
        """Features of a row of what it is told."""
        return self.n_phones

    def forward(self, spec, side=None):
        """Masks of voice and accompaniment.

        Arguments
        ---------
        spec : torch.Tensor (batch, frames, bins), complex
        side : torch.Tensor (batch, frames, phones)
            Probabilities of phones.

        Returns
        -------
        torch.Tensor (batch, 2, frames, bins)
            They add up to 1; that of the voice is 0 or above.
        """
        sound, text, sequence = self._encoded(spec, side)
        weights = self._weights(sound, text, sequence)
        joined = torch.cat([sound, weights @ text], dim=-1)
        joined = torch.tanh(self.join(joined))
        hidden, _ = self.decoder(joined)
        hidden = torch.relu(self.top(torch.cat([joined, hidden], dim=-1)))
        mask = self.head(hidden) * self.scale + self.offset
        mask = torch.relu(mask)
        return torch.stack([mask, 1 - mask], dim=1)

    def attention(self, spec, side):
        """Which phone is sung in which frame.

        Arguments
        ---------
        spec : torch.Tensor (batch, frames, bins), complex
        side : torch.Tensor (batch, frames, phones)

        Returns
        -------
        (torch.Tensor (batch, frames, tokens), Sequence)
            Weights, and what they are of.
        """
        sound, text, sequence = self._encoded(spec, side)
        return self._weights(sound, text, sequence), sequence

    def path(self, spec, side):
        """The one best way through the phones, to their end.

        Arguments
        ---------
        spec : torch.Tensor (batch, frames, bins), complex
        side : torch.Tensor (batch, frames, phones)

        Returns
        -------
        list of np.ndarray (frames,), int
            For each item, which of its tokens is sung in each frame.
        """
        if self.times == "given":
            return list(sequence_of(side, self.n_phones).places.cpu().numpy())
        sound, text, sequence = self._encoded(spec, side)
        scores = self._scores(sound, text).detach().cpu().double().numpy()
        return [
            best_path(part[:, :length])
            for part, length in zip(
                scores, sequence.lengths.tolist(), strict=True
            )
        ]

    def _encoded(self, spec, side):
        magnitudes = spec.abs()
        if self.relative:
            magnitudes = magnitudes / level_around(spec)
        heard = torch.tanh(self.bottom(self.input_norm(magnitudes.mT).mT))
        sound, _ = self.encoder(heard)
        sequence = sequence_of(side, self.n_phones)
        symbols = nn.functional.one_hot(sequence.tokens, self.n_phones)
        packed = pack_padded_sequence(
            symbols.to(sound.dtype),
            sequence.lengths.cpu(),
            batch_first=True,
            enforce_sorted=False,
        )
        text, _ = pad_packed_sequence(self.reader(packed)[0], batch_first=True)
        return sound, text, sequence

    def _scores(self, sound, text):
        return sound @ self.likeness(text).mT

    def _weights(self, sound, text, sequence):
        if self.times == "found":
            return dtw_attention(self._scores(sound, text), sequence.lengths)
        count = sequence.tokens.shape[1]
        return nn.functional.one_hot(sequence.places, count).to(text.dtype)


class _Dense(nn.Module):
    """A dense layer, normalised over batch and frames."""

    def __init__(self, size, output_size):
        super().__init__()
        self.dense = nn.Linear(size, output_size, bias=False)
        self.norm = nn.BatchNorm1d(output_size)

    def forward(self, values):
        return self.norm(self.dense(values).mT).mT


def best_path(scores):
    """Best way through tokens from the first to the last.

    Arguments
    ---------
    scores : np.ndarray (frames, tokens)
        Their sum along the way is made as large as can be.

    Returns
    -------
    np.ndarray (frames,), int
        The token of each frame: in each step the same or the next.

    Raises
    ------
    LyricsError
        If there are more tokens than frames.

    Example
    -------
    >>> best_path(np.array([[1.0, 0.0], [0.0, 2.0], [5.0, 0.0]])).tolist()
    [0, 1, 1]
    """
    places = np.arange(scores.shape[1])
    before = np.stack([places, places - 1], axis=1)
    first, last = places == 0, places == places[-1]
    return viterbi(scores, places, before, np.zeros(before.shape), first, last)


# --- separators --------------------------------------------------------------


class InformedSeparator(MaskSeparator):
    """A `MaskSeparator` whose network is told what is sung.

    `told` and `following` give what losses and `inference.transfer` take for a
    separator: this one together with the phones of a batch, or of a song.

    Arguments
    ---------
    network : torch.nn.Module
        As in `MaskSeparator`, called with `side (batch, frames, side_size)`
        as well; its `order` is that of the derivatives it wants, None if it
        wants to be told nothing.
    sources, sample_rate, n_fft, hop_length, win_length, window
        As in `MaskSeparator`.

    Example
    -------
    >>> network = MaskInference("audio_post_no_norm", 17, hidden_size=4)
    >>> separator = InformedSeparator(network, n_fft=32, hop_length=8)
    >>> mixture = torch.randn(3, 2, 500)
    >>> side = torch.zeros(3, separator.count(500), 41)
    >>> sources = separator.told(side)(mixture)
    >>> torch.allclose(sources.sum(1), mixture, atol=1e-5)
    True
    """

    @property
    def order(self):
        """Derivatives of posteriorgrams it wants; None for nothing."""
        return self.network.order

    @property
    def side_size(self):
        """Features of a row of what it is told; 0 for nothing."""
        return self.network.side_size

    def count(self, samples):
        """Frames of the spectrum of so many samples.

        Arguments
        ---------
        samples : int

        Returns
        -------
        int
        """
        settings = self.codec.settings
        hop = settings["hop_length"]
        return samples // hop + 1 + (4 * hop > settings["win_length"])

    def rows(self, posteriorgram, frames, start=0.0, speed=1.0):
        """What is sung, for each frame, by its time.

        Nothing is stretched to fit: frame k is at second
        `start + k * hop_length / sample_rate * speed` of the song, and gets
        what is sung there, silence if the posteriorgram does not reach so far.

        Arguments
        ---------
        posteriorgram : Posteriorgram
            With its place in the song.
        frames : int
        start : float
            Where in the song the first frame is centred, seconds. Default: 0.
        speed : float
            Seconds of the song per second of the mixture. Default: 1.

        Returns
        -------
        np.ndarray (frames, side_size), float32
        """
        if self.order is None:
            return np.zeros((frames, 0), np.float32)
        hop_s = self.hop_length / self.sample_rate
        times = start + np.arange(frames) * hop_s * speed
        return posteriorgram.features(times, self.order)

    def masks(self, spec, side=None):
        """Masks of the spectrum of a mixture.

        Arguments
        ---------
        spec : torch.Tensor (batch, channels, frames, bins), complex
        side : torch.Tensor (batch, frames, side_size), optional
            Up to `FRAME_SLACK` frames more or fewer, at the end, do not matter.

        Returns
        -------
        torch.Tensor (batch, sources, channels, frames, bins)

        Raises
        ------
        ModelError
            If the network wants to be told something and is not, or the rows
            are those of another length: they lie at their own times, and are
            not stretched.
        """
        flat = spec.flatten(0, 1)
        if not self.side_size:
            return self._channels(self.network(flat), spec)
        side = self._fitting(side, spec)
        repeated = side.repeat_interleave(spec.shape[1], dim=0)
        return self._channels(self.network(flat, repeated), spec)

    def _fitting(self, side, spec):
        """Rows for every frame of a spectrum, none stretched."""
        if side is None:
            raise ModelError(
                "this model has to be told what is sung: give it phones with "
                "their times (--phones)"
            )
        frames, size = spec.shape[-2], self.side_size
        if side.shape[-1] != size:
            raise ModelError(
                f"the phones have {side.shape[-1]} features but the model "
                f"takes {size}: make them with its method rows"
            )
        missing = frames - side.shape[-2]
        if abs(missing) > FRAME_SLACK:
            raise ModelError(
                f"the phones have {side.shape[-2]} frames but the sound "
                f"{frames}: they are not stretched, give those of the same time"
            )
        if missing > 0:
            last = side[:, -1:].expand(-1, missing, -1)
            side = torch.cat([side, last], dim=1)
        return side[:, :frames]

    def forward(self, mixture, side=None):
        """Separate a batch of mixtures.

        Arguments
        ---------
        mixture : torch.Tensor (batch, channels, samples)
        side : torch.Tensor (batch, frames, side_size), optional
            See `masks`.

        Returns
        -------
        torch.Tensor (batch, sources, channels, samples)
        """
        spec = self.codec(mixture)
        return self._masked(self.masks(spec, side), spec, mixture.shape[-1])

    def told(self, side):
        """Join the phones of a batch to it.

        Arguments
        ---------
        side : torch.Tensor (batch, frames, side_size)

        Returns
        -------
        ToldSeparator
        """
        return ToldSeparator(self, side)

    def following(self, rows):
        """Join the phones of a song that is heard from its start on.

        Arguments
        ---------
        rows : np.ndarray (frames, side_size) or callable
            What is sung in each frame of the song, silence after the last; or
            a function from the number of a first frame and a count of frames
            to rows.

        Returns
        -------
        FollowingSeparator
        """
        return FollowingSeparator(self, rows)

    def singing(self, posteriorgram):
        """Join the phones of a song, with their times.

        Arguments
        ---------
        posteriorgram : Posteriorgram
            Of the song, with its place in it.

        Returns
        -------
        FollowingSeparator
        """
        hop_s = self.hop_length / self.sample_rate
        return self.following(
            lambda first, count: self.rows(posteriorgram, count, first * hop_s)
        )


class _Informed:
    """What both kinds of separators with phones have of the one inside."""

    def __init__(self, separator):
        self.separator = separator
        self.sources = separator.sources
        self.sample_rate = separator.sample_rate
        self.channels = separator.channels
        self.codec = separator.codec
        self.hop_length = separator.hop_length
        self.frame_grid = separator.frame_grid
        self.context_s = separator.context_s
        self.side_size = separator.side_size


class ToldSeparator(_Informed):
    """A separator together with the phones of a batch.

    Arguments
    ---------
    separator : InformedSeparator
    side : torch.Tensor (batch, frames, side_size)
    """

    def __init__(self, separator, side):
        super().__init__(separator)
        self.side = side

    def masks(self, spec):
        """Masks of the batch.

        Arguments
        ---------
        spec : torch.Tensor (batch, channels, frames, bins), complex

        Returns
        -------
        torch.Tensor (batch, sources, channels, frames, bins)
        """
        return self.separator.masks(spec, self.side)

    def __call__(self, mixture):
        """Separate the batch.

        Arguments
        ---------
        mixture : torch.Tensor (batch, channels, samples)

        Returns
        -------
        torch.Tensor (batch, sources, channels, samples)
        """
        return self.separator(mixture, self.side)


class FollowingSeparator(_Informed):
    """A separator together with the phones of a song, for a stream.

    Rows travel with the frames they belong to, so that chunks, their context
    and their order make no difference (`inference.transfer.estimate_sources`).

    Arguments
    ---------
    separator : InformedSeparator
    rows : np.ndarray (frames, side_size) or callable
        See `InformedSeparator.following`.
    """

    def __init__(self, separator, rows):
        super().__init__(separator)
        self.rows = rows if callable(rows) else self._of(rows)

    @staticmethod
    def _of(rows):
        def part(first, count):
            found = rows[first : first + count]
            rest = np.zeros((count - len(found), rows.shape[1]), rows.dtype)
            if rows.shape[1]:
                rest[:, INDEX[SILENCE]] = 1
            return np.concatenate([found, rest])

        return part

    def annotated(self, blocks):
        """Put what is sung beside the bins of each frame.

        Arguments
        ---------
        blocks : iterable of np.ndarray (frames, channels, bins), complex
            From the first frame of the song on.

        Yields
        ------
        np.ndarray (frames, channels, bins + side_size), complex
        """
        done = 0
        for block in blocks:
            rows = self.rows(done, len(block))[:, None, : self.side_size]
            rows = np.broadcast_to(rows, (*block.shape[:2], rows.shape[-1]))
            yield np.concatenate([block, rows.astype(block.dtype)], axis=-1)
            done += len(block)

    def masks(self, spec):
        """Masks of frames that `annotated` has widened.

        Arguments
        ---------
        spec : torch.Tensor (batch, channels, frames, bins + side_size), complex

        Returns
        -------
        torch.Tensor (batch, sources, channels, frames, bins)
        """
        bins = spec.shape[-1] - self.side_size
        side = spec[:, 0, :, bins:].real
        return self.separator.masks(spec[..., :bins].contiguous(), side)
