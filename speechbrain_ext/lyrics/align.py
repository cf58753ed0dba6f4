"""When each word and phone of known lyrics is sung: Viterbi alignment.

The words make a chain of phones, with silence allowed between them, and
anything (instruments, other singers) between lines. Of all ways through the
chain the one with the most probable phones is taken. Posteriorgrams of networks
trained with CTC, which have a `blank`, are followed in their way: a phone may
be said once and blanks follow, and one that comes twice has a blank between.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from speechbrain_ext.errors import LyricsError
from speechbrain_ext.lyrics.lexicon import Lexicon, spoken_form
from speechbrain_ext.lyrics.phones import INDEX, NOISE, SILENCE
from speechbrain_ext.lyrics.posteriorgram import Posteriorgram
from speechbrain_ext.lyrics.timed import (
    TimedLyrics,
    TimedPhone,
    TimedWord,
    lyrics_text,
    read_timed,
)

# A phone lasts at least this long, where frames are short enough.
SHORTEST_S = 0.04
# Networks that say a phone once and then blanks have more of these; those that
# say it as long as it lasts, with a blank before it comes again, have less.
MOSTLY_BLANK = 0.2
# How far a line may lie outside the time that is given for it.
SLACK_S = 0.65
# Natural logarithms of probability: by how much "anything" is less likely than
# the likeliest phone of a frame; the price of singing a line again; and the
# least that a phone may have.
GARBAGE = 3.0
AGAIN = 20.0
FLOOR = 1e-3

# Bytes of ways that `viterbi` keeps at once, about; beyond that it goes twice
# through the frames, in runs of at least so many.
_MOST_WAYS = 2**25
_LEAST_RUN = 64

_HEADING = re.compile(r"\s*\[[^\]]*\]\s*")
_TIMES = re.compile(r"\s*\(?\s*[x×]\s*(\d{1,2})\s*\)?\s*$", re.IGNORECASE)
_MAX_TIMES = 50


@dataclass(frozen=True)
class LyricWord:
    """A word of the lyrics.

    Arguments
    ---------
    text : str
        As it is written.
    optional : bool
        Whether it may be left out in singing. Default: False.
    """

    text: str
    optional: bool = False


@dataclass(frozen=True)
class LyricLine:
    """A line of the lyrics.

    Arguments
    ---------
    words : tuple of LyricWord
    onset, offset : float, optional
        When it is about to be sung, in seconds; see `align`.
    """

    words: tuple[LyricWord, ...]
    onset: float | None = None
    offset: float | None = None


def parse_lyrics(text) -> list[LyricLine]:
    r"""Take lyrics apart.

    Arguments
    ---------
    text : str
        A line per line. Headings such as [Chorus] are left out, words in round
        brackets may or may not be sung, and (x2) at a line's end sings it
        twice.

    Returns
    -------
    list of LyricLine
        Those with words.

    Raises
    ------
    LyricsError
        If there is no word.

    Example
    -------
    >>> lines = parse_lyrics("[Verse]\nLa la (x2)\n\nHey (oh)")
    >>> [[word.text for word in line.words] for line in lines]
    [['La', 'la'], ['La', 'la'], ['Hey', '(oh)']]
    >>> [word.optional for word in lines[2].words]
    [False, True]
    """
    lines = []
    for row in text.splitlines():
        if _HEADING.fullmatch(row):
            continue
        times = _TIMES.search(row)
        count = 1
        if times and times.start() > 0:
            row, count = row[: times.start()], int(times[1])
            if not 1 <= count <= _MAX_TIMES:
                raise LyricsError(
                    f"a line is to be sung {count} times: write 1 to "
                    f"{_MAX_TIMES}"
                )
        words, inside = [], False
        for piece in row.split():
            inside = inside or piece.startswith("(")
            if spoken_form(piece):
                words.append(LyricWord(piece, inside))
            inside = inside and ")" not in piece
        if words:
            lines += [LyricLine(tuple(words))] * count
    if not lines:
        raise LyricsError("the lyrics have no word: write what is sung")
    return lines


def read_lyrics(path) -> list[LyricLine]:
    """Read lyrics that are to be aligned.

    Arguments
    ---------
    path : str or Path
        Text, or .lrc or .srt: then with the times of their lines.

    Returns
    -------
    list of LyricLine

    Raises
    ------
    LyricsError
        If the file is missing, unreadable or has no word.
    """
    path = Path(path)
    if path.suffix.lower() not in (".lrc", ".srt"):
        try:
            return parse_lyrics(lyrics_text(path))
        except LyricsError as error:
            front = "" if str(error).startswith(str(path)) else f"{path}: "
            raise LyricsError(f"{front}{error}") from None
    lines = []
    for words in read_timed(path).lines():
        text = " ".join(word.word for word in words)
        if not spoken_form(text):
            continue
        for line in parse_lyrics(text):
            # An LRC does not say when a line ends.
            end = words[-1].offset if path.suffix.lower() == ".srt" else None
            lines.append(replace(line, onset=words[0].onset, offset=end))
    if not lines:
        raise LyricsError(f"{path}: has no word: write what is sung")
    return lines


def viterbi(scores, columns, before, costs, first, last, spans=None):
    """Best way through a graph of states.

    Arguments
    ---------
    scores : np.ndarray (frames, columns)
        Logarithms of what is observed.
    columns : np.ndarray (states,), int
        Which column a state looks at.
    before : np.ndarray (states, ways), int
        From where a state may be reached, itself included where it may last;
        -1 for fewer ways.
    costs : np.ndarray (states, ways)
        What a way costs.
    first, last : np.ndarray (states,), bool
        Where a path may begin and end.
    spans : np.ndarray (states, 2), int, optional
        A state may be taken from the first to the second frame, that one left
        out. Default: at any time. Both numbers must not fall from a state to
        the next.

    Returns
    -------
    np.ndarray (frames,), int
        The states.

    Raises
    ------
    LyricsError
        If there is no way, as with more states than frames.

    Example
    -------
    >>> said = np.log([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]])
    >>> chain = np.array([[0, -1], [1, 0]])
    >>> ends = np.array([True, False])
    >>> viterbi(
    ...     said, np.array([0, 1]), chain, np.zeros((2, 2)), ends, ~ends
    ... ).tolist()
    [0, 0, 1]
    """
    frames, states = len(scores), len(columns)
    if spans is None:
        spans = np.tile([0, frames], (states, 1))
    # States that may be taken at each frame are neighbours.
    times = np.arange(frames)
    begins = np.searchsorted(spans[:, 1], times, side="right")
    ends = np.searchsorted(spans[:, 0], times, side="right")
    # Which way was the best is kept of some frames at a time: of the others
    # only where each run of them begins, from where it is found again.
    run = frames
    if frames * states > _MOST_WAYS:
        run = max(_LEAST_RUN, math.isqrt(8 * frames))

    def walk(best, start, keep):
        """Go through a run of frames; gives the ways taken."""
        ways = []
        for t in range(start, min(start + run, frames)):
            part = slice(begins[t], max(begins[t], ends[t]))
            seen = scores[t, columns[part]]
            if t == 0:
                now = np.where(first[part], seen, -np.inf)
                way = np.zeros(len(seen), np.uint8)
            else:
                reach = best[before[part]] - costs[part]
                way = reach.argmax(axis=1)
                now = reach[np.arange(len(way)), way] + seen
            best[:] = -np.inf
            best[part] = now
            if keep:
                ways.append(way.astype(np.uint8))
        return ways

    best = np.full(states + 1, -np.inf)  # the last stands for no way
    starts = range(0, frames, run)
    saved = []
    for start in starts:
        saved.append(best.copy())
        ways = walk(best, start, start == starts[-1])
    final = np.where(last, best[:-1], -np.inf)
    state = int(final.argmax())
    if not np.isfinite(final[state]):
        raise LyricsError("no way through the lyrics fits the recording")
    path = np.empty(frames, np.int64)
    for start in reversed(starts):
        if start != starts[-1]:
            ways = walk(saved.pop(), start, True)
        else:
            saved.pop()
        for t in range(start + len(ways) - 1, start - 1, -1):
            path[t] = state
            state = int(before[state, ways[t - start][state - begins[t]]])
    return path


class _Graph:
    """States of lyrics: what each looks at, says, and from where it comes."""

    def __init__(self):
        self.columns, self.ways, self.said, self.spans = [], [], [], []

    def add(self, column, ways, said, span):
        """Add a state that may last; gives its number."""
        place = len(self.columns)
        self.columns.append(column)
        self.ways.append([(place, 0.0), *ways])
        self.said.append(said)  # (word, phone of the word) or None
        self.spans.append(span)
        return place

    def arrays(self):
        """States, as `viterbi` takes them."""
        most = max(map(len, self.ways))
        before = np.full((len(self.ways), most), -1)
        costs = np.zeros((len(self.ways), most))
        for state, ways in enumerate(self.ways):
            before[state, : len(ways)] = [way for way, _ in ways]
            costs[state, : len(ways)] = [cost for _, cost in ways]
        return np.array(self.columns), before, costs, np.array(self.spans)


def align(
    posteriorgram: Posteriorgram,
    lyrics,
    lexicon: Lexicon | None = None,
    slack_s: float = SLACK_S,
    repeats: bool = False,
) -> TimedLyrics:
    """Find when words and phones are sung.

    Arguments
    ---------
    posteriorgram : Posteriorgram
        Of the voice, of the 41 phones.
    lyrics : str or iterable of LyricLine
        Text as for `parse_lyrics`, or what `read_lyrics` gives. Lines with an
        onset are sought from `slack_s` before it to `slack_s` after their end
        (if that is not given, after the onset of the next line that has one);
        lines without, between their neighbours'.
    lexicon : Lexicon, optional
        Default: English.
    slack_s : float
        Seconds. Default: 0.65.
    repeats : bool
        Whether any line may be sung again before the next; lines that are
        appear again in the result. Default: False.

    Returns
    -------
    TimedLyrics
        Optional words that are not sung are left out. The confidence of a
        phone is the mean of its probability, that of a word the mean over its
        frames.

    Raises
    ------
    LyricsError
        If the recording is too short for the lyrics, or the times of lines
        fall or lie outside it.
    DependencyError
        If a word is in no dictionary and g2p2 is not installed.

    Example
    -------
    >>> said = [INDEX[name] for name in ["SIL", "L", "AA", "AA", "SIL"]]
    >>> probs = np.eye(41, dtype=np.float32)[np.repeat(said, 10)]
    >>> lexicon = Lexicon(own={"la": "L AA"})
    >>> lyrics = align(Posteriorgram(probs, 50), "La", lexicon)
    >>> lyrics[0].onset, lyrics[0].offset, lyrics[0].confidence
    (0.2, 0.8, 1.0)
    """
    lines = parse_lyrics(lyrics) if isinstance(lyrics, str) else list(lyrics)
    lexicon = Lexicon() if lexicon is None else lexicon
    spans = _spans(lines, posteriorgram, slack_s)
    scores, chances = _observed(posteriorgram)
    graph, words, first, exits = _chain(
        lines, lexicon, spans, posteriorgram, repeats
    )
    columns, before, costs, limits = graph.arrays()
    if before.shape[1] > 255:
        raise LyricsError(
            f"{before.shape[1]} ways lead to one word: put fewer words in "
            "brackets"
        )
    starts, stops = (np.zeros(len(columns), bool) for _ in range(2))
    starts[first], stops[exits] = True, True
    try:
        path = viterbi(scores, columns, before, costs, starts, stops, limits)
    except LyricsError:
        seconds = len(posteriorgram) / posteriorgram.frame_rate
        raise LyricsError(
            f"{len(words)} words do not fit into the recording of "
            f"{seconds:.1f} s, or a line not into the time given for it: check "
            "that these are its lyrics"
        ) from None
    return _timed(path, graph, words, columns, chances, posteriorgram)


def _spans(lines, posteriorgram, slack_s):
    """Frames in which each line, and the gap behind it, may be sung."""
    frames, rate = len(posteriorgram), posteriorgram.frame_rate
    onsets = [line.onset for line in lines]
    known = [onset for onset in onsets if onset is not None]
    for one, two in zip(known[:-1], known[1:], strict=True):
        if two < one:
            raise LyricsError(
                f"a line begins at {two:g} s but the one before at {one:g} s: "
                "sort them"
            )
    if known and known[-1] >= posteriorgram.end:
        raise LyricsError(
            f"a line begins at {known[-1]:g} s but the recording ends at "
            f"{posteriorgram.end:g} s: are these its lyrics?"
        )

    def frame(time):
        return (time - posteriorgram.start) * rate

    spans, low = [], 0
    for place, line in enumerate(lines):
        if line.onset is not None:
            low = max(low, int(frame(line.onset - slack_s)))
        after = [t for t in onsets[place + 1 :] if t is not None][:1]
        end = after[0] if after else None
        if line.offset is not None:
            end = line.offset if end is None else min(end, line.offset)
        high = frames
        if end is not None and (line.onset is not None or after):
            high = min(frames, int(np.ceil(frame(end + slack_s))))
        # The gap behind a line reaches to where the next one may end.
        spans.append((min(low, frames), max(high, low + 1)))
    for place in range(len(spans) - 2, -1, -1):
        low, high = spans[place]
        spans[place] = (low, min(high, spans[place + 1][1]))
    return spans


def _observed(posteriorgram):
    """Scores (frames, 44): phones, blank, anything, gap; and probabilities."""
    chances = posteriorgram.probs.astype(np.float64)
    if posteriorgram.phones != tuple(INDEX):
        raise LyricsError(
            f"the posteriorgram has {len(posteriorgram.phones)} phones, not "
            "the 41 that words are made of: fold them first"
        )
    blank = np.zeros(len(chances))
    if posteriorgram.blank is not None:
        blank = posteriorgram.blank.astype(np.float64)
    spoken = chances.copy()
    spoken[:, INDEX[SILENCE]] = 0
    most = spoken.max(axis=1)
    silence = chances[:, INDEX[SILENCE]] + chances[:, INDEX[NOISE]]
    rest = 1 - blank
    rows = np.concatenate(
        [
            chances * rest[:, None],
            blank[:, None],
            (most * rest * np.exp(-GARBAGE))[:, None],
            (blank + rest * silence)[:, None],
        ],
        axis=1,
    )
    return np.log(np.maximum(rows, FLOOR)), chances


_BLANK, _ANY, _GAP = len(INDEX), len(INDEX) + 1, len(INDEX) + 2


def _chain(lines, lexicon, spans, posteriorgram, repeats):
    """States of all lines; words; where paths may begin and end."""
    graph, words = _Graph(), []
    frames, rate = len(posteriorgram), posteriorgram.frame_rate
    ctc = posteriorgram.blank is not None
    steps = max(1, round(SHORTEST_S * rate))
    if ctc and posteriorgram.blank.mean() > MOSTLY_BLANK:
        steps = 1

    def pause(exits, span):
        """Silence, or anything, behind a line."""
        places = []
        for column in (_GAP, _ANY):
            ways = [(state, 0.0) for state in exits]
            places.append(graph.add(column, ways, None, span))
        quiet, loud = places
        graph.ways[quiet].append((loud, 0.0))
        graph.ways[loud].append((quiet, 0.0))
        return places

    exits = pause([], (0, spans[0][1]))
    first = list(exits)
    may_begin = True
    for number, line in enumerate(lines):
        low, high = spans[number]
        span = (low, high)
        begins = []  # first states of words that may open the line
        opening = True
        for place, word in enumerate(line.words):
            ways = lexicon.pronounce(word.text)
            index = len(words)
            words.append((word.text, number, ways))
            ends = []
            for way in ways:
                before = exits
                for at, phone in enumerate(way):
                    for step in range(steps):
                        state = graph.add(
                            INDEX[phone],
                            [(s, 0.0) for s in before],
                            (index, way, at),
                            span,
                        )
                        if at == step == 0:
                            if opening:
                                begins.append(state)
                            if may_begin:
                                first.append(state)
                        before = [state]
                    if ctc and at + 1 < len(way):
                        blank = graph.add(
                            _BLANK, [(state, 0.0)], (index, way, at), span
                        )
                        # A phone that is said twice needs it.
                        again = way[at + 1] == phone
                        before = [blank] if again else [state, blank]
                ends += before
            if not word.optional:
                may_begin = opening = False
            ends += exits if word.optional else []
            if place + 1 < len(line.words):
                gap = graph.add(_GAP, [(s, 0.0) for s in ends], None, span)
                ends = [*ends, gap]
            exits = list(dict.fromkeys(ends))
        after = spans[number + 1][1] if number + 1 < len(spans) else frames
        gaps = pause(exits, (low, max(high, after)))
        exits = [*exits, *gaps]
        if repeats:
            for state in begins:
                graph.ways[state] += [(s, AGAIN) for s in exits]
    _sort_spans(graph)
    return graph, words, first, exits


def _sort_spans(graph):
    """Widen spans until both ends rise from state to state."""
    starts = np.array([span[0] for span in graph.spans])
    stops = np.array([span[1] for span in graph.spans])
    starts = np.minimum.accumulate(starts[::-1])[::-1]
    stops = np.maximum.accumulate(stops)
    graph.spans = list(zip(starts.tolist(), stops.tolist(), strict=True))


def _timed(path, graph, words, columns, chances, posteriorgram):
    """Words and phones of a path."""
    rate, start = posteriorgram.frame_rate, posteriorgram.start
    runs = []  # word, way, phone of it, first frame, frame after the last
    before = None
    for t, state in enumerate(path.tolist()):
        said = graph.said[state]
        back = before is not None and state < before
        if said is not None:
            if runs and runs[-1][:3] == said and runs[-1][4] == t and not back:
                runs[-1] = (*runs[-1][:4], t + 1)
            else:
                runs.append((*said, t, t + 1))
        before = state
    found, phones, spoken = [], [], []
    sung = -1  # lines so far; one that is sung again counts again
    former = None

    def close():
        nonlocal sung, former
        index = spoken[0][0]
        text, line, _ = words[index]
        if former is None or words[former][1] != line or index <= former:
            sung += 1
        former = index
        weights = [stop - begin for *_, begin, stop in spoken]
        sure = np.average([p.confidence for p in phones], weights=weights)
        found.append(
            TimedWord(
                text,
                phones[0].onset,
                phones[-1].offset,
                round(float(sure), 6),
                sung,
                tuple(phones),
            )
        )
        phones.clear()
        spoken.clear()

    for run in runs:
        index, way, at, begin, stop = run
        if spoken and (index != spoken[-1][0] or at <= spoken[-1][2]):
            close()
        chance = chances[begin:stop, INDEX[way[at]]]
        if posteriorgram.blank is not None:
            # Where only blanks are said, the phone goes on.
            chance = chance[columns[path[begin:stop]] != _BLANK]
        phones.append(
            TimedPhone(
                way[at],
                start + begin / rate,
                start + stop / rate,
                round(float(chance.mean()), 6),
            )
        )
        spoken.append(run)
    if spoken:
        close()
    return TimedLyrics(found)


def agreement(posteriorgram: Posteriorgram, lyrics) -> float:
    """How much of what is heard in the words is what the words say.

    Arguments
    ---------
    posteriorgram : Posteriorgram
        Of the 41 phones.
    lyrics : TimedLyrics
        From `align`, with phones.

    Returns
    -------
    float
        Over the frames of the words, the probability of their phones divided
        by that of the likeliest ones: 1 if these are theirs, and near what
        chance gives for the lyrics of another song. Unlike a mean confidence
        it is not lower where the model is unsure of everything. 0 without
        phones.

    Example
    -------
    >>> probs = np.full((10, 41), 0.01, np.float32)
    >>> probs[:, INDEX["AA"]] = 0.6
    >>> phone = TimedPhone("AA", 0.0, 0.1), TimedPhone("L", 0.1, 0.2)
    >>> words = TimedLyrics([TimedWord("al", 0.0, 0.2, phones=phone)])
    >>> round(agreement(Posteriorgram(probs, 50), words), 3)
    0.508
    """
    rate, start = posteriorgram.frame_rate, posteriorgram.start
    said = heard = 0.0
    for word in lyrics:
        for phone in word.phones:
            first, last = (
                round((time - start) * rate)
                for time in (phone.onset, phone.offset)
            )
            rows = posteriorgram.probs[max(0, first) : last]
            said += float(rows[:, INDEX[phone.phone]].sum())
            heard += float(rows.max(axis=1, initial=0.0).sum())
    return said / heard if heard else 0.0


def lines_of(words: Iterable[str]) -> list[LyricLine]:
    """One line of plain words.

    Arguments
    ---------
    words : iterable of str

    Returns
    -------
    list of LyricLine

    Example
    -------
    >>> lines_of(["la", "li"])[0].words[1].text
    'li'
    """
    return [LyricLine(tuple(LyricWord(word) for word in words))]
