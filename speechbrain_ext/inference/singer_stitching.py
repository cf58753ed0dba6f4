"""Which output is whose, over a whole recording of several singers.

A network that separates singers is run on chunks, and in every chunk its
outputs come in any order. Here the orders of all chunks are decided together,
from two kinds of evidence:

- links: how well outputs of neighbouring chunks agree where both heard the
  same sound. Score of two outputs a and b: 2 <a, b> / (|a|^2 + |b|^2), 1 for
  equal ones, about 0 for different ones or where one of them is silent;
- voice prints (`voice_prints`): how the voices of any two parts of the
  recording differ, relative to how much those of one voice do. They tell on
  which output a singer goes on after a rest in which all are silent.

Chunks with clear links are joined into groups; groups are joined by links and
prints, the most certain pair first; then every group, and every border between
two chunks, is looked at again in view of all the rest. All steps are
assignments or exchanges of two voices, so any number of voices will do. For
every border there is a confidence: how likely it is, by that evidence, that
the voices go on as decided and no two of them change places.

Masks are cross-faded, so what they sum to is kept. Memory does not grow with
the recording but for some numbers per chunk; masks wait in a temporary file.

The published ways (MedleyVox's inference code, 2023) are there by name, mended:
chunks in batches, cross-fades for rectangles, assignments that are right for
more than two voices, gains that are undone, activity up to the last sample,
spans of bounded length. What they decide by is as published, from one chunk to
the next: "ola" by links, "ola_norm" the same with every chunk at -24 LUFS,
"w2v" by an encoder's features against their running mean; "w2v_chunk" and
"sf_chunk" the latter for spans of activity, by an encoder or by spectral
features.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np

from speechbrain_ext.audio import loudness_gain, resample_stream
from speechbrain_ext.errors import ConfigError, OutputError
from speechbrain_ext.inference.one_voice import (
    count_frames,
    one_voice,
    same_pitch,
)
from speechbrain_ext.inference.stitching import Chunk, plan_chunks, run_chunks
from speechbrain_ext.inference.transfer import Framing
from speechbrain_ext.inference.voice_activity import (
    DETECTORS,
    active_spans,
    check_detector,
    silero_activity,
    spectral_activity,
    stretched,
    webrtc_activity,
)
from speechbrain_ext.inference.voice_prints import EncoderPrints, SpectralPrints
from speechbrain_ext.metrics.bss_eval import best_order

WAYS = ("global", "ola", "ola_norm", "w2v", "w2v_chunk", "sf_chunk")
NEEDS_ENCODER = ("w2v", "w2v_chunk")
BY_SPANS = ("w2v_chunk", "sf_chunk")

# A chunk, and how long neighbours share sound, at most a third of a chunk.
WINDOW_S = 30.0
OVERLAP_S = 4.0

# What a network hears beside a chunk, even if it reaches further: the fade to
# the neighbour takes its borders away.
CONTEXT_S = 1.0

# Seconds of clear pitches from which it is told how often they are the same.
PITCHED_S = 1.0

# Evidence in natural logarithms: of a link with score 1, and of voice prints
# that differ as much as those of one voice usually do.
LINK_WEIGHT = 8.0
PRINT_WEIGHT = 3.0

# A link that is as clear as this joins chunks before prints are asked.
CLEAR = 6.0

# So far below the recording's mean power, voices are not printed, dB. Links
# count less from there on, and nothing at the second number.
SILENT_DB, UNHEARD_DB = 45.0, 60.0

# What is half as good as a lot: sound of a link, and of a print, seconds.
_LINK_S = 0.1
_PRINT_S = 1.0

# How many pairs of prints the spread that was assumed counts for.
_PRIOR = 8.0

# Rounds of looking at everything again.
_ROUNDS = 20

# Masks that wait in memory, not in a file.
_SPOOL = 1 << 26

_LUFS = -24.0


@dataclass(frozen=True)
class Stitching:
    """How chunks are made and put together.

    Arguments
    ---------
    way : {"global", "ola", "ola_norm", "w2v", "w2v_chunk", "sf_chunk"}
        See the top of this module. Default: global.
    window_s : float
        Length of a chunk; the longest active span at once. Default: 30.
    hop_s : float, optional
        From chunk to chunk, at least half of `window_s` and less than it.
        Default: 4 s less than `window_s`, or two thirds of it if that is more.
    activity : {"spec", "webrtc", "silero"}
        How active spans are found. Default: spec.
    features : {"mfcc", "spectral_centroid"}
        What "sf_chunk" decides by. Default: mfcc.
    encoder : torch.nn.Module, optional
        Voice prints by an encoder of `encoders.ssl`; needed for "w2v" and
        "w2v_chunk". Default: `voice_prints.SpectralPrints`.
    context_s : float
        What the network hears on both sides of a chunk, if it reaches that far.
        Default: 1.

    Raises
    ------
    ConfigError
        If a setting is unknown, does not fit, or an encoder is missing.

    Example
    -------
    >>> Stitching("ola", window_s=3.0, hop_s=2.0).way
    'ola'
    """

    way: str = "global"
    window_s: float = WINDOW_S
    hop_s: float | None = None
    activity: str = "spec"
    features: str = "mfcc"
    encoder: object = None
    context_s: float = CONTEXT_S

    def __post_init__(self):
        if self.hop_s is None:
            shared = min(OVERLAP_S, self.window_s / 3)
            object.__setattr__(self, "hop_s", self.window_s - shared)
        for what, value, known in (
            ("stitching", self.way, WAYS),
            ("voice activity", self.activity, DETECTORS),
            ("features", self.features, ("mfcc", "spectral_centroid")),
        ):
            if value not in known:
                raise ConfigError(
                    f"{what} '{value}': use one of {', '.join(known)}"
                )
        if not 0 < self.window_s / 2 <= self.hop_s < self.window_s:
            raise ConfigError(
                f"window_s is {self.window_s:g} and hop_s {self.hop_s:g}: the "
                "hop must be at least half of the window and less than all"
            )
        if not self.context_s >= 0:
            raise ConfigError(f"context_s is {self.context_s}: use 0 or more")
        if self.way in NEEDS_ENCODER and self.encoder is None:
            raise ConfigError(
                f"stitching '{self.way}' needs an encoder: name its folder"
            )
        if self.way in BY_SPANS:
            check_detector(self.activity)

    def prints(self, codec):
        """What prints voices, or None for a way that needs none.

        Arguments
        ---------
        codec : separation.codec.STFT

        Returns
        -------
        callable or None
        """
        if self.way in ("ola", "ola_norm"):
            return None
        if self.encoder is not None and self.way != "sf_chunk":
            return EncoderPrints(self.encoder, codec)
        own = self.features if self.way == "sf_chunk" else "all"
        return SpectralPrints(own)


class Link(NamedTuple):
    """What two neighbouring chunks say about the sound that both heard.

    Arguments
    ---------
    inner : np.ndarray (voices, voices)
        Inner products of the outputs of the first and of the second one.
    left, right : np.ndarray (voices,)
        Energies of the outputs.
    seconds : float
        How long both sound.
    """

    inner: np.ndarray
    left: np.ndarray
    right: np.ndarray
    seconds: float

    def scores(self, floor=0.0) -> np.ndarray:
        """How well outputs agree.

        Arguments
        ---------
        floor : float
            Energy that is silence.

        Returns
        -------
        np.ndarray (voices, voices)
            -1 to 1; 0 where both are silent.

        Example
        -------
        Outputs that changed places:

        >>> inner = np.array([[0.0, 4.0], [1.0, 0.0]])
        >>> Link(inner, [4.0, 1.0], [1.0, 4.0], 1e9).scores()
        array([[0., 1.],
               [1., 0.]])
        """
        left, right = np.asarray(self.left), np.asarray(self.right)
        both = left[:, None] + right
        scores = 2 * self.inner / np.maximum(both, 1e-30)
        scores[(left[:, None] <= floor) & (right <= floor)] = 0.0
        return scores * self.seconds / (self.seconds + _LINK_S)


class Evidence:
    """Links and voice prints of all chunks.

    Arguments
    ---------
    links : np.ndarray (chunks - 1, voices, voices)
        Scores of outputs of a chunk with those of the next one.
    values : np.ndarray (chunks, voices, numbers), optional
        Voice prints, nan where there is none.
    seconds : np.ndarray (chunks, voices), optional
        How much sound a print is made of.
    spread : np.ndarray (numbers,) or float
        How much prints of one voice differ; one number: relative to all
        prints of the recording. Default: 1.

    Example
    -------
    Three chunks; the outputs of the last one, after a rest, are exchanged:

    >>> links = np.array([np.eye(2), np.zeros((2, 2))])
    >>> low, high = [-3.0], [3.0]
    >>> prints = np.array([[low, high], [low, high], [high, low]])
    >>> evidence = Evidence(links, prints, np.full((3, 2), 8.0), np.ones(1))
    >>> evidence.solve().tolist()
    [[0, 1], [0, 1], [1, 0]]
    """

    def __init__(self, links, values=None, seconds=None, spread=1.0):
        self.links = LINK_WEIGHT * np.asarray(links, np.float64)
        count, voices = len(links) + 1, self.links.shape[-1]
        if values is None:
            values = np.zeros((count, voices, 0))
            seconds = np.zeros((count, voices))
        self.values = np.array(values, np.float64)
        self.seconds = np.array(seconds, np.float64)
        self.known = ~np.isnan(self.values)
        self.known &= self.seconds[..., None] > 0
        self.values[~self.known] = 0.0
        self.count, self.voices = count, voices
        self.variance = self._variance(spread)

    def _variance(self, spread):
        """Of each number within one voice."""
        if not self.values.shape[-1]:
            return np.zeros(0)
        if np.ndim(spread) == 0:
            kept = np.where(self.known, self.values, np.nan).reshape(
                -1, self.values.shape[-1]
            )
            some = ~np.isnan(kept).all(axis=0)
            whole = np.zeros(kept.shape[1])
            whole[some] = np.nanstd(kept[:, some], axis=0)
            spread = 0.5 * spread * np.maximum(whole, 1e-6)
        prior = np.asarray(spread, np.float64) ** 2
        total, number = _PRIOR * prior, np.full(len(prior), _PRIOR)
        for k, table in enumerate(self.links):
            order = best_order(table)
            if _margin(table[:, order]) < CLEAR:
                continue
            both = self.known[k] & self.known[k + 1][order]
            difference = self.values[k] - self.values[k + 1][order]
            total += (difference**2 / 2 * both).sum(0)
            number += both.sum(0)
        return np.maximum(total / number, prior / 4)

    def pooled(self, chunks, orders):
        """Voice prints of several chunks together.

        Arguments
        ---------
        chunks : sequence of int
        orders : np.ndarray (chunks in all, voices)
            Which output is whose.

        Returns
        -------
        (np.ndarray (voices, numbers), np.ndarray (voices, numbers),
        np.ndarray (voices,))
            Means, the seconds that each is known from, and seconds of sound.
        """
        chunks = np.asarray(chunks, int)
        rows = orders[chunks]
        values = np.take_along_axis(
            self.values[chunks], rows[..., None], axis=1
        )
        known = np.take_along_axis(self.known[chunks], rows[..., None], axis=1)
        seconds = np.take_along_axis(self.seconds[chunks], rows, axis=1)
        weights = known * seconds[..., None]
        total = weights.sum(0)
        means = (values * weights).sum(0) / np.maximum(total, 1e-12)
        return means, total, seconds.sum(0)

    def compare(self, one, other) -> np.ndarray:
        """Evidence that voices are the same.

        Arguments
        ---------
        one, other : tuple
            From `pooled`.

        Returns
        -------
        np.ndarray (voices, voices)
            Natural logarithms.
        """
        (a, known_a, s_a), (b, known_b, s_b) = one, other
        if not len(self.variance):
            return np.zeros((self.voices, self.voices))
        both = (known_a[:, None] > 0) & (known_b > 0)
        squares = (a[:, None] - b) ** 2 / (2 * self.variance) * both
        distance = squares.sum(-1) / np.maximum(both.sum(-1), 1)
        least = np.minimum(s_a[:, None], s_b)
        return -PRINT_WEIGHT * distance * least / (least + _PRINT_S)

    def _between(self, one, other, orders, print_one=None, print_other=None):
        """Evidence (voices, voices) between two groups of chunks."""
        print_one = self.pooled(one, orders) if print_one is None else print_one
        if print_other is None:
            print_other = self.pooled(other, orders)
        table = self.compare(print_one, print_other)
        members = set(other)
        for k in one:
            if k + 1 in members:
                rows = np.ix_(orders[k], orders[k + 1])
                table = table + self.links[k][rows]
            if k - 1 in members:
                rows = np.ix_(orders[k - 1], orders[k])
                table = table + self.links[k - 1][rows].T
        return table

    def solve(self) -> np.ndarray:
        """Decide the orders of all chunks together.

        Returns
        -------
        np.ndarray (chunks, voices) of int
            Which output each voice gets; as it comes in the first chunk.
        """
        orders = np.tile(np.arange(self.voices), (self.count, 1))
        groups = [[0]]
        for k, table in enumerate(self.links):
            seen = table[orders[k]]
            best = best_order(seen)
            if _margin(seen[:, best]) >= CLEAR:
                orders[k + 1] = best
                groups[-1].append(k + 1)
            else:
                groups.append([k + 1])
        first = [list(group) for group in groups]
        self._join(groups, orders)
        for _ in range(_ROUNDS):
            moved = self._again(first, orders)
            if not (self._exchange(orders) or moved):
                break
        back = np.argsort(orders[0])
        return orders[:, back]

    def _join(self, groups, orders):
        """Join groups, the most certain pair first."""

        def relation(one, other):
            table = self._between(
                groups[one], groups[other], orders, prints[one], prints[other]
            )
            best = best_order(table)
            return _margin(table[:, best]), best

        prints = [self.pooled(group, orders) for group in groups]
        alive = list(range(len(groups)))
        known = {pair: relation(*pair) for pair in combinations(alive, 2)}
        while len(alive) > 1:
            one, other = max(known, key=lambda pair: (known[pair][0], -pair[0]))
            best = known[one, other][1]
            for k in groups[other]:
                orders[k] = orders[k][best]
            groups[one] = sorted(groups[one] + groups[other])
            prints[one] = self.pooled(groups[one], orders)
            alive.remove(other)
            known = {
                pair: found
                for pair, found in known.items()
                if other not in pair and one not in pair
            }
            for third in alive:
                if third != one:
                    pair = min(one, third), max(one, third)
                    known[pair] = relation(*pair)

    def _again(self, groups, orders):
        """Look at every group again, in view of all others."""
        moved = False
        for group in groups if len(groups) > 1 else []:
            inside = set(group)
            rest = [k for k in range(self.count) if k not in inside]
            table = self._between(rest, group, orders)
            best = best_order(table)
            gain = table[np.arange(self.voices), best].sum() - np.trace(table)
            if gain > 1e-9:
                orders[group] = orders[group][:, best]
                moved = True
        return moved

    def _exchange(self, orders):
        """Exchange two voices from one border on, where that is better."""
        losses = self._losses(orders)
        if not losses.size or losses.min() >= -1e-9:
            return False
        border, pair = np.unravel_index(losses.argmin(), losses.shape)
        i, j = list(combinations(range(self.voices), 2))[pair]
        orders[border + 1 :, [i, j]] = orders[border + 1 :, [j, i]]
        return True

    def _losses(self, orders):
        """What exchanging two voices from a border on loses.

        (borders, pairs of voices).
        """
        pairs = list(combinations(range(self.voices), 2))
        losses = np.zeros((self.count - 1, len(pairs)))
        rows = orders[..., None]
        values = np.take_along_axis(self.values, rows, axis=1)
        known = np.take_along_axis(self.known, rows, axis=1)
        seconds = np.take_along_axis(self.seconds, orders, axis=1)
        weights = known * seconds[..., None]
        sums = np.cumsum(values * weights, axis=0)
        totals, sounds = np.cumsum(weights, axis=0), np.cumsum(seconds, axis=0)
        for b in range(self.count - 1):
            sides = []
            for total, weight, sound in (
                (sums[b], totals[b], sounds[b]),
                (
                    sums[-1] - sums[b],
                    totals[-1] - totals[b],
                    sounds[-1] - sounds[b],
                ),
            ):
                weight = np.where(weight > 1e-9, weight, 0.0)
                sides.append((total / np.maximum(weight, 1e-12), weight, sound))
            table = self.compare(*sides)
            table = table + self.links[b][np.ix_(orders[b], orders[b + 1])]
            losses[b] = [
                table[i, i] + table[j, j] - table[i, j] - table[j, i]
                for i, j in pairs
            ]
        return losses

    def confidences(self, orders) -> np.ndarray:
        """How sure it is that voices go on as decided.

        Arguments
        ---------
        orders : np.ndarray (chunks, voices)

        Returns
        -------
        np.ndarray (chunks - 1,)
            At every border, 0 to 1, against all exchanges of two voices; 0.5
            if nothing is known of two voices.
        """
        losses = np.clip(self._losses(orders), -50, 50)
        return 1 / (1 + np.exp(-losses).sum(1))

    def chain(self, by="links") -> np.ndarray:
        """Decide from one chunk to the next, as published.

        Arguments
        ---------
        by : {"links", "prints"}
            Against the chunk before, or against the mean of all prints so far.

        Returns
        -------
        np.ndarray (chunks, voices) of int

        Example
        -------
        Where nothing links two chunks, the outputs stay as they are:

        >>> links = np.array([np.eye(3)[[1, 2, 0]], np.zeros((3, 3))])
        >>> Evidence(links).chain().tolist()
        [[0, 1, 2], [1, 2, 0], [1, 2, 0]]
        """
        orders = np.tile(np.arange(self.voices), (self.count, 1))
        for k in range(1, self.count):
            if by == "links":
                table = self.links[k - 1][orders[k - 1]][:, orders[k - 1]]
                before = orders[k - 1]
            else:
                before = orders[k]
                table = self.compare(
                    self.pooled(range(k), orders), self.pooled([k], orders)
                )
            orders[k] = before[best_order(table)]
        return orders


def _margin(table):
    """What a table with the best pairs on its diagonal loses at least.

    Over all exchanges of two voices.
    """
    own = np.diag(table)
    losses = own[:, None] + own - table - table.T
    return float(losses[~np.eye(len(table), dtype=bool)].min())


class Piece(NamedTuple):
    """A stretch of frames with one order of voices.

    Arguments
    ---------
    begin, end : int
        Frames begin to end - 1.
    live : bool
        Whether the network was asked.
    """

    begin: int
    end: int
    live: bool


def blend(pieces, masks, fade) -> Iterator[np.ndarray]:
    """Cross-fade masks of pieces that overlap.

    Arguments
    ---------
    pieces : iterable of Piece
        In order of their begin; all frames are in at least one.
    masks : iterable of np.ndarray (frames, ...)
        Of each piece.
    fade : int
        Frames over which a piece comes and goes; weights sum to 1.

    Yields
    ------
    np.ndarray (frames, ...)
        All together, as many frames as there are.

    Example
    -------
    >>> pieces = [Piece(0, 4, True), Piece(2, 6, True)]
    >>> masks = [np.zeros(4), np.ones(4)]
    >>> np.concatenate(list(blend(pieces, masks, 2))).round(2).tolist()
    [0.0, 0.0, 0.33, 0.67, 1.0, 1.0]
    """
    done, total, weight = 0, None, np.zeros(0, np.float32)
    for piece, mask in zip(pieces, masks, strict=True):
        ready = piece.begin - done
        if total is None:
            total = np.zeros((0, *mask.shape[1:]), mask.dtype)
        if ready > 0 and len(total):
            yield _normalised(total[:ready], weight[:ready])
            total, weight = total[ready:], weight[ready:]
            done = piece.begin
        missing = max(piece.end - done - len(total), 0)
        rows = [(0, missing)] + [(0, 0)] * (total.ndim - 1)
        total, weight = np.pad(total, rows), np.pad(weight, (0, missing))
        here = slice(piece.begin - done, piece.end - done)
        rise = np.arange(1, len(mask) + 1) / (fade + 1)
        shape = np.minimum(np.minimum(rise, rise[::-1]), 1).astype(np.float32)
        total[here] += mask * shape.reshape(-1, *[1] * (mask.ndim - 1))
        weight[here] += shape
    if total is not None and len(total):
        yield _normalised(total, weight)


def _normalised(total, weight):
    return total / weight.reshape(-1, *[1] * (total.ndim - 1))


class Decision:
    """What was decided about a recording, and its masks.

    A context manager: at its end the masks are thrown away.

    Arguments
    ---------
    pieces : list of Piece
    orders : np.ndarray (pieces, voices)
        Which output each voice gets.
    times : np.ndarray (borders,)
        Seconds of the borders between pieces that the network was asked for.
    confidences : np.ndarray (borders,)
        See `Evidence.confidences`.
    likeness : np.ndarray (voices, voices)
        Cosine of the magnitudes of two voices over the whole recording.
    levels_db : np.ndarray (voices,)
        Of the voices, relative to the loudest; -inf for silence.
    same_pitch : np.ndarray (voices, voices)
        See `one_voice.same_pitch`; nan where both have a clear pitch for less
        than a second.
    one_voice : np.ndarray (voices, voices)
        How likely two voices are one, see `one_voice.one_voice`.
    """

    def __init__(
        self,
        pieces,
        orders,
        times,
        confidences,
        likeness,
        levels_db,
        same_pitch,
        one_voice,
    ):
        self.pieces, self.orders = pieces, orders
        self.times, self.confidences = times, confidences
        self.likeness, self.levels_db = likeness, levels_db
        self.same_pitch, self.one_voice = same_pitch, one_voice
        self._spool = self._read = None
        self._fade = 0

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if self._spool is not None:
            self._spool.close()

    def reorder(self, order) -> None:
        """Name the voices in another order.

        Arguments
        ---------
        order : sequence of int
            Which voice becomes the first, the second ...
        """
        order = np.asarray(order)
        self.orders = self.orders[:, order]
        self.levels_db = self.levels_db[order]
        for name in ("likeness", "same_pitch", "one_voice"):
            table = getattr(self, name)
            setattr(self, name, table[np.ix_(order, order)])

    def masks(self) -> Iterator[np.ndarray]:
        """Masks of the whole recording.

        Yields
        ------
        np.ndarray (frames, voices, 1, bins)
            The next frames of the model.
        """
        for part in blend(self.pieces, self._read(self.orders), self._fade):
            yield part[:, :, None]


class SingerStitcher:
    """Runs a separator of singers over recordings of any length.

    Arguments
    ---------
    separator : separation.separator.MaskSeparator
        In evaluation mode, where `device` says.
    stitching : Stitching, optional
        Default: ours.
    batch_size : int
        Most chunks per forward pass. Default: 1.
    device : str or torch.device
        Default: "cpu".

    Example
    -------
    >>> from speechbrain_ext.separation.separator import MaskSeparator
    >>> from speechbrain_ext.separation.tasnet import ConvTasNet
    >>> network = ConvTasNet(65, channels=4, hidden=8, skip=4, n_repeats=1)
    >>> separator = MaskSeparator(
    ...     network, ["one", "two"], 4000, 128, 32, window="sqrt_hann"
    ... ).eval()
    >>> wav = np.random.default_rng(0).normal(size=(76000, 1)).astype("f4")
    >>> stitcher = SingerStitcher(separator, Stitching(window_s=12.0))
    >>> with stitcher.decide(lambda: [wav], 4000) as found:
    ...     masks = np.concatenate(list(found.masks()))
    >>> masks.shape, found.orders.shape, len(found.confidences)
    ((2376, 2, 1, 65), (2, 2), 1)
    """

    def __init__(self, separator, stitching=None, batch_size=1, device="cpu"):
        self.separator, self.device = separator, device
        self.stitching = Stitching() if stitching is None else stitching
        self.batch_size = batch_size
        self.rate = separator.sample_rate
        self.frames_per_s = self.rate / separator.hop_length
        reach = separator.context_s
        self.context = 0
        if reach is not None:
            reach = min(reach, self.stitching.context_s)
            self.context = math.ceil(reach * self.frames_per_s - 1e-6)

    def decide(
        self,
        recording: Callable[[], Iterable[np.ndarray]],
        sample_rate: int,
        progress: Callable | None = None,
    ) -> Decision:
        """Run the network and decide which output is whose.

        Arguments
        ---------
        recording : callable
            Gives the recording from its start, in blocks (samples, channels);
            the mean of the channels is heard. Called twice where spans of
            activity are needed.
        sample_rate : int
            Of the recording, hertz.
        progress : callable, optional
            Called with the seconds that the network has heard.

        Returns
        -------
        Decision
            To be closed.

        Raises
        ------
        OutputError
            If there is no room for the masks in the temporary folder.
        """
        way = self.stitching
        gaps, plan = [], self._windows()
        if way.way in BY_SPANS:
            plan, gaps = self._spans(recording, sample_rate)
        heard = self._spectra(_mono(recording()), sample_rate)
        spool = tempfile.SpooledTemporaryFile(max_size=_SPOOL)  # noqa: SIM115
        try:
            notes = self._listen(heard, plan, spool, progress)
        except OSError as error:
            spool.close()
            raise OutputError(
                f"{tempfile.gettempdir()}: cannot keep the masks there "
                f"({error.strerror}): make room or set TMPDIR"
            ) from None
        except BaseException:
            spool.close()
            raise
        found = self._decided(notes, gaps)
        found._spool, found._fade = spool, self._fade_frames()
        found._read = lambda orders: self._masks(spool, notes, found, orders)
        return found

    def _frames(self, seconds):
        return max(1, round(seconds * self.frames_per_s))

    def _fade_frames(self):
        way = self.stitching
        return self._frames(way.window_s) - self._frames(way.hop_s)

    def _windows(self):
        way = self.stitching
        return plan_chunks(
            math.inf,
            self._frames(way.hop_s),
            self.context,
            self._fade_frames(),
            self.separator.frame_grid,
        )

    def _spectra(self, blocks, sample_rate):
        """Spectra (frames, bins) that the network hears, block by block."""
        framing = Framing(self.separator.codec, self.rate, self.rate)

        def resampled():
            empty = True
            for block in resample_stream(blocks, sample_rate, self.rate, 1):
                empty = empty and not len(block)
                yield block.reshape(-1, 1)
            if empty:
                yield np.zeros((1, 1), np.float32)

        for spectra in framing.stream(resampled()):
            yield spectra[:, 0]

    def _spans(self, recording, sample_rate):
        """Chunks of active spans, and the gaps between them."""
        power = np.concatenate(
            [
                (np.abs(spectra) ** 2).sum(-1)
                for spectra in self._spectra(_mono(recording()), sample_rate)
            ]
        )
        if self.stitching.activity == "spec":
            active = spectral_activity(power)
        else:
            detect, frame_s = {
                "webrtc": (webrtc_activity, 0.03),
                "silero": (silero_activity, 0.01),
            }[self.stitching.activity]
            blocks = resample_stream(_mono(recording()), sample_rate, 16000, 1)
            times = np.arange(len(power)) / self.frames_per_s
            active = stretched(detect(blocks), frame_s, times)
        total, more = len(power), self._frames(0.02)
        window = self._frames(self.stitching.window_s)
        hop = self._frames(self.stitching.hop_s)
        plan, gaps, before = [], [], 0
        grid = self.separator.frame_grid
        for begin, end in active_spans(active, self.frames_per_s):
            begin, end = max(begin - more, 0), min(end + more, total)
            if begin > before:
                gaps.append(Piece(before, min(begin + more, total), False))
            while True:
                stop = end if end - begin <= window else begin + window
                first = max(begin - self.context, 0) // grid * grid
                last = min(stop + self.context, total)
                plan.append(Chunk(first, begin, stop, last))
                if stop == end:
                    break
                begin += hop
            before = max(end - more, 0)
        if before < total and not (plan and plan[-1].end >= total):
            gaps.append(Piece(before, total, False))
        return plan, gaps

    def _listen(self, heard, plan, spool, progress):
        """Run the network; masks into a file, what they tell into notes."""
        import torch

        separator, way = self.separator, self.stitching
        prints = way.prints(separator.codec)
        notes, before = _Notes(len(separator.sources)), None

        @torch.inference_mode()
        def fn(rows):
            """Masks, then the mixture (chunks, frames, voices + 1, bins)."""
            mixture = torch.from_numpy(rows)
            loud = mixture
            if way.way == "ola_norm":
                gains = [self._gain(spec) for spec in mixture]
                loud = mixture * torch.tensor(gains).view(-1, 1, 1)
            masks = separator.masks(loud.unsqueeze(1).to(self.device))
            masks = masks[:, :, 0].cpu().transpose(1, 2)
            masks = masks.to(torch.promote_types(masks.dtype, torch.float32))
            whole = torch.cat(
                [masks.to(mixture.dtype), mixture.unsqueeze(2)], dim=2
            )
            notes.real = notes.real and not masks.is_complex()
            return whole.numpy()

        for piece, out in run_chunks(heard, fn, plan, batch=self.batch_size):
            masks, mixture = out[:, :-1], out[:, -1:]
            kept = masks.real if notes.real else masks
            spool.write(np.ascontiguousarray(kept).tobytes())
            voices = np.ascontiguousarray((masks * mixture).transpose(1, 0, 2))
            notes.add(piece, voices, mixture, self.rate)
            if prints is not None:
                notes.add_prints(
                    *prints(
                        voices,
                        self.rate,
                        separator.hop_length,
                        notes.floor_of(mixture),
                    )
                )
                notes.spread = prints.spread
            if before is not None:
                notes.add_link(*before, piece, voices, self.frames_per_s)
            before = piece, voices
            if progress is not None:
                progress(piece.end / self.frames_per_s)
        return notes

    def _gain(self, spec):
        """Factor to -24 LUFS of one chunk."""
        length = max(len(spec) - 1, 1) * self.separator.hop_length
        if length < 0.4 * self.rate + 1:
            return 1.0
        wav = self.separator.codec.inverse(spec, length).numpy()
        return loudness_gain(wav, self.rate, _LUFS)

    def _decided(self, notes, gaps):
        """Orders and confidences from the notes."""
        way = self.stitching.way
        voices = notes.voices
        live = [Piece(p.begin, p.end, True) for p in notes.pieces]
        orders = np.zeros((0, voices), int)
        confidences = np.zeros(0)
        if live:
            evidence = notes.evidence()
            if way == "global":
                orders = evidence.solve()
            else:
                by = "links" if way in ("ola", "ola_norm") else "prints"
                orders = evidence.chain(by)
            confidences = evidence.confidences(orders)
        times = np.array(
            [
                (a.end + b.begin) / 2
                for a, b in zip(live, live[1:], strict=False)
            ]
        )
        table, counts = (
            np.zeros((voices, voices)),
            np.zeros((4, voices, voices)),
        )
        sounding = ~notes.silent()
        for products, count, sounds, order in zip(
            notes.products, notes.counts, sounding, orders, strict=True
        ):
            table += products[np.ix_(order, order)]
            counts += sounds.any() * count[:, order][:, :, order]
        energy = np.diag(table)
        likeness = table / np.sqrt(np.maximum(np.outer(energy, energy), 1e-30))
        with np.errstate(divide="ignore", invalid="ignore"):
            levels = 10 * np.log10(energy / max(energy.max(initial=0), 1e-30))
        frame_s = 1 / self.frames_per_s
        pieces = sorted([*live, *gaps])
        every, k = np.tile(np.arange(voices), (len(pieces), 1)), 0
        for place, piece in enumerate(pieces):
            if piece.live:
                every[place] = orders[k]
                k += 1
        return Decision(
            pieces,
            every,
            times / self.frames_per_s,
            confidences,
            likeness,
            levels,
            np.where(
                counts[2] * frame_s >= PITCHED_S,
                same_pitch(counts, frame_s),
                np.nan,
            ),
            one_voice(counts, frame_s, likeness, levels),
        )

    def _masks(self, spool, notes, found, orders):
        """Masks (frames, voices, bins) of the pieces, in their orders."""
        bins = self.separator.codec.settings["n_fft"] // 2 + 1
        dtype = np.dtype(np.float32 if notes.real else np.complex64)
        spool.seek(0)
        for piece, order in zip(found.pieces, orders, strict=True):
            shape = piece.end - piece.begin, notes.voices, bins
            if not piece.live:
                yield np.full(shape, 1 / notes.voices, dtype)
                continue
            data = spool.read(math.prod(shape) * dtype.itemsize)
            yield np.frombuffer(data, dtype).reshape(shape)[:, order]


class _Notes:
    """What is remembered of the chunks: some numbers of each."""

    def __init__(self, voices):
        self.voices, self.real = voices, True
        self.pieces, self.products, self.links = [], [], []
        self.counts = []
        self.values, self.seconds, self.levels = [], [], []
        self.spread, self.power, self.frames = 1.0, 0.0, 0

    @staticmethod
    def floor_of(mixture):
        """Power of a frame that is silence beside this mixture."""
        power = (np.abs(mixture) ** 2).sum((1, 2))
        return float(np.quantile(power, 0.95)) * 10 ** (-SILENT_DB / 10)

    def add(self, piece, voices, mixture, sample_rate):
        magnitudes = np.abs(voices)
        power = (np.abs(mixture[:, 0]) ** 2).sum(-1)
        self.counts.append(count_frames(magnitudes, power, sample_rate))
        size = magnitudes.reshape(self.voices, -1).astype(np.float64)
        products = size @ size.T
        self.pieces.append(piece)
        self.products.append(products)
        self.levels.append(np.diag(products) / len(mixture))
        self.power += float(power.sum())
        self.frames += len(mixture)

    def add_prints(self, values, seconds):
        self.values.append(values)
        self.seconds.append(seconds)

    def add_link(self, before, left, piece, right, frames_per_s):
        count = max(before.end - piece.begin, 0)
        left = left[:, left.shape[1] - count :]
        right = right[:, :count]
        power = (np.abs(left) ** 2).sum(-1)
        least = power.max(initial=0) * 10 ** (-SILENT_DB / 10)
        seconds = (power.max(0, initial=0) > least).sum() / frames_per_s
        flat_left = left.reshape(self.voices, -1)
        flat_right = right.reshape(self.voices, -1)
        link = Link(
            (flat_left @ flat_right.conj().T).real.astype(np.float64),
            (np.abs(flat_left) ** 2).sum(1),
            (np.abs(flat_right) ** 2).sum(1),
            float(seconds),
        )
        self.links.append((link, count))

    def silent(self):
        """Which outputs (chunks, voices) are silent beside the recording."""
        mean = max(self.power / max(self.frames, 1), 1e-30)
        return np.array(self.levels) <= mean * 10 ** (-SILENT_DB / 10)

    def evidence(self):
        mean = max(self.power / max(self.frames, 1), 1e-30)
        unheard = mean * 10 ** (-UNHEARD_DB / 10)
        links = np.zeros((len(self.links), self.voices, self.voices))
        for k, (link, count) in enumerate(self.links):
            power = (link.left.sum() + link.right.sum()) / max(2 * count, 1)
            if power > unheard:
                above = 10 * np.log10(power / unheard)
                share = min(above / (UNHEARD_DB - SILENT_DB), 1.0)
                links[k] = share * link.scores(unheard * count)
        if not self.values:
            return Evidence(links)
        seconds = np.array(self.seconds)
        seconds[self.silent()] = 0.0
        return Evidence(links, np.array(self.values), seconds, self.spread)


def _mono(blocks):
    """Mean of the channels of blocks (samples, channels)."""
    for block in blocks:
        if len(block):
            yield np.ascontiguousarray(block.mean(axis=1), dtype=np.float32)
