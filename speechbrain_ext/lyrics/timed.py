"""Lyrics with times, and the files that hold them.

| name | suffix | keeps |
|---|---|---|
| lrc | .lrc | onsets of lines and, `enhanced`, of words, to 10 ms |
| srt | .srt | onsets and offsets of lines, to 1 ms |
| csv | .csv | words: `word, onset_s, offset_s, confidence`, to 1 us |
| textgrid | .TextGrid | words and phones, to 1 us |
| json | .json | everything |

Readers check what they read; their errors start with the file's name. Phones
alone, without words, are `phone, onset_s, offset_s` (`read_phones`).
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from math import inf, isfinite
from pathlib import Path
from typing import NamedTuple

from speechbrain_ext.errors import LyricsError, OutputError
from speechbrain_ext.files import atomic_path, check_input

CSV_COLUMNS = ("word", "onset_s", "offset_s", "confidence")
PHONE_COLUMNS = ("phone", "onset_s", "offset_s")
JSON_FORMAT = "singbrain-lyrics"
JSON_VERSION = 1

_STAMP = re.compile(r"\[(\d{1,3}):(\d{1,2}(?:[.:]\d{1,3})?)\]")
_WORD_STAMP = re.compile(r"<(\d{1,3}):(\d{1,2}(?:[.:]\d{1,3})?)>")
_CUE = re.compile(r"(\d+):(\d\d):(\d\d)[,.](\d{1,3})")
# One tick beyond the last time: words of a table may overlap by rounding.
_SLACK = 2e-6
# Synthetic phones are written to a tenth of this.
_PHONE_SLACK = 1e-3


class TimedPhone(NamedTuple):
    """A phone and when it sounds.

    Arguments
    ---------
    phone : str
    onset, offset : float
        Seconds.
    confidence : float or None
        0 to 1.
    """

    phone: str
    onset: float
    offset: float
    confidence: float | None = None


@dataclass(frozen=True)
class TimedWord:
    """A word and when it sounds.

    Arguments
    ---------
    word : str
        As it is written; in a file without times of words, a whole line.
    onset, offset : float
        Seconds.
    confidence : float, optional
        0 to 1.
    line : int
        Which of the lines that are sung, from 0. Default: 0.
    phones : tuple of TimedPhone
        Default: none.
    """

    word: str
    onset: float
    offset: float
    confidence: float | None = None
    line: int = 0
    phones: tuple[TimedPhone, ...] = ()


class TimedLyrics(tuple):
    """Words in the order of their onsets, checked.

    Arguments
    ---------
    words : iterable of TimedWord

    Raises
    ------
    LyricsError
        If a time is no number, a word ends before it begins, or begins before
        the word in front of it.

    Example
    -------
    >>> TimedLyrics([TimedWord("la", 1.0, 1.5), TimedWord("li", 1.5, 2.0)])[1]
    TimedWord(word='li', onset=1.5, offset=2.0, confidence=None, line=0,
    phones=())
    """

    __slots__ = ()

    def __new__(cls, words=()):
        """Check the words."""
        words = tuple(words)
        before = None
        for place, word in enumerate(words, start=1):
            name = f"word {place} ({word.word!r:.40})"
            if not (isfinite(word.onset) and isfinite(word.offset)):
                raise LyricsError(f"{name}: a time is no number")
            if word.onset < 0 or word.offset < word.onset - _SLACK:
                raise LyricsError(
                    f"{name}: goes from {word.onset:g} to {word.offset:g} s: "
                    "its end comes first, or a time is negative"
                )
            if before is not None and word.onset < before - _SLACK:
                raise LyricsError(
                    f"{name}: begins at {word.onset:g} s but the word in front "
                    f"of it at {before:g} s: sort them"
                )
            before = word.onset
        return super().__new__(cls, words)

    def lines(self) -> list[list[TimedWord]]:
        """Words of each line, in order.

        Returns
        -------
        list of list of TimedWord
        """
        found: list[list[TimedWord]] = []
        for word in self:
            if not found or found[-1][-1].line != word.line:
                found.append([])
            found[-1].append(word)
        return found


class LyricsFormat(NamedTuple):
    """How to read and write one kind of file.

    Arguments
    ---------
    suffix : str
    read : callable
        From the text of a file to `TimedLyrics`.
    write : callable
        From `TimedLyrics` to text.
    """

    suffix: str
    read: Callable
    write: Callable


def read_timed(path) -> TimedLyrics:
    r"""Read lyrics with times; the suffix tells the format.

    Arguments
    ---------
    path : str or Path

    Returns
    -------
    TimedLyrics

    Raises
    ------
    LyricsError
        If the file is missing, of another format, or its times are no times.

    Example
    -------
    >>> path = getfixture("tmp_path") / "song.lrc"
    >>> _ = path.write_text("[00:01.50]<00:01.50> Hello <00:02.00> you\n")
    >>> [(word.word, word.onset) for word in read_timed(path)]
    [('Hello', 1.5), ('you', 2.0)]
    """
    path = Path(path)
    try:
        form = FORMATS[timed_format(path)]
    except KeyError as error:
        raise LyricsError(f"{path}: {error.args[0]}") from None
    text = lyrics_text(path)
    try:
        return form.read(text)
    except LyricsError as error:
        raise LyricsError(f"{path}: {error}") from None


def write_timed(lyrics, path, overwrite=False, **options) -> Path:
    """Write lyrics with times; the suffix tells the format.

    Arguments
    ---------
    lyrics : TimedLyrics
    path : str or Path
    overwrite : bool
        Whether an existing file may be replaced. Default: False.
    **options
        LRC takes `enhanced` (default True: words have times, too).

    Returns
    -------
    Path

    Raises
    ------
    OutputError
        If the file exists, its suffix is unknown or it cannot be written.

    Example
    -------
    >>> lyrics = TimedLyrics([TimedWord("la", 1.0, 1.5, 0.9)])
    >>> path = write_timed(lyrics, getfixture("tmp_path") / "song.srt")
    >>> print(path.read_text().strip())
    1
    00:00:01,000 --> 00:00:01,500
    la
    """
    path = Path(path)
    try:
        form = FORMATS[timed_format(path)]
    except KeyError as error:
        raise OutputError(f"{path}: {error.args[0]}") from None
    text = form.write(TimedLyrics(lyrics), **options)
    with atomic_path(path, overwrite) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
    return path


def read_phones(path) -> list[TimedPhone]:
    r"""Read the phones of a song and when they sound.

    Arguments
    ---------
    path : str or Path
        CSV with the columns phone, onset_s, offset_s, as `write_phones` and
        MiniSinging write it; or .TextGrid or .json, of which the phones are
        taken.

    Returns
    -------
    list of TimedPhone
        In order, none within another.

    Raises
    ------
    LyricsError
        If the file is missing, holds no phones, or their times are no times
        or overlap.

    Example
    -------
    >>> path = getfixture("tmp_path") / "phones.csv"
    >>> _ = path.write_text("phone,onset_s,offset_s\nAA,0.5,0.75\n")
    >>> read_phones(path)
    [TimedPhone(phone='AA', onset=0.5, offset=0.75, confidence=None)]
    """
    path = Path(path)
    if path.suffix.lower() in (".textgrid", ".json"):
        phones = [phone for word in read_timed(path) for phone in word.phones]
        if not phones:
            raise LyricsError(
                f"{path}: holds words but no phones: write it with `singbrain "
                "align`"
            )
        return phones
    rows = [row for row in csv.reader(lyrics_text(path).splitlines()) if row]
    header = tuple(cell.strip().lower() for cell in rows[0]) if rows else ()
    if header != PHONE_COLUMNS:
        raise LyricsError(
            f"{path}: line 1: expected the columns {','.join(PHONE_COLUMNS)} "
            f"but found {','.join(header)[:60]!r}"
        )
    phones: list[TimedPhone] = []
    before = 0.0
    for number, row in enumerate(rows[1:], start=2):
        try:
            name, onset, offset = row
            phone = TimedPhone(name.strip(), float(onset), float(offset))
        except ValueError:
            raise LyricsError(
                f"{path}: row {number}: expected a phone and two times but "
                f"found {','.join(row)[:60]!r}"
            ) from None
        if not before - _PHONE_SLACK <= phone.onset <= phone.offset < inf:
            raise LyricsError(
                f"{path}: row {number}: goes from {phone.onset:g} to "
                f"{phone.offset:g} s after {before:g} s: sort the rows, or cut "
                "one of them"
            )
        phones.append(phone)
        before = phone.offset
    return phones


def write_phones(phones, path, overwrite=False) -> Path:
    """Write phones and when they sound, as `read_phones` reads them.

    Arguments
    ---------
    phones : iterable of TimedPhone
        Or of (phone, onset, offset), seconds.
    path : str or Path
        The CSV.
    overwrite : bool
        Whether an existing file may be replaced. Default: False.

    Returns
    -------
    Path

    Example
    -------
    >>> path = getfixture("tmp_path") / "phones.csv"
    >>> print(write_phones([("AA", 0.5, 0.75)], path).read_text().strip())
    phone,onset_s,offset_s
    AA,0.5,0.75
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(PHONE_COLUMNS)
    for name, onset, offset, *_ in phones:
        writer.writerow([name, _decimal(onset), _decimal(offset)])
    with atomic_path(path, overwrite) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8", newline="\n")
    return Path(path)


def timed_format(path) -> str:
    """Name of the format that a suffix stands for.

    Arguments
    ---------
    path : str or Path

    Returns
    -------
    str

    Raises
    ------
    KeyError
        If it stands for none; with a message.
    """
    suffix = Path(path).suffix.lower()
    for name, form in FORMATS.items():
        if form.suffix.lower() == suffix:
            return name
    raise KeyError(
        f"no format of timed lyrics has the suffix {suffix!r}: use "
        f"{', '.join(form.suffix for form in FORMATS.values())}"
    )


def lyrics_text(path) -> str:
    """Text of a file.

    Arguments
    ---------
    path : str or Path

    Returns
    -------
    str

    Raises
    ------
    LyricsError
        If it is missing, empty or no text in UTF-8 or UTF-16.
    """
    path = Path(path)
    head = check_input(path, LyricsError, "text file")
    # Praat writes UTF-16 where a label has other letters than ASCII's.
    wide = head[:2] in (b"\xff\xfe", b"\xfe\xff")
    try:
        return path.read_bytes().decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise LyricsError(
            f"{path}: is not UTF-8 text (byte {error.start}): save it as UTF-8"
        ) from None


# --- LRC -------------------------------------------------------------------


def _read_lrc(text):
    """Lines with their times; the words' own, where they are given."""
    rows = []
    shift = 0.0
    for row in text.splitlines():
        offset = re.fullmatch(r"\s*\[offset:\s*([+-]?\d+)\s*\]\s*", row)
        if offset:
            shift = -int(offset[1]) / 1000
        stamps, rest = [], row.strip()
        while stamp := _STAMP.match(rest):
            stamps.append(_seconds(stamp))
            rest = rest[stamp.end() :].lstrip()
        rows += [(time, rest.strip()) for time in stamps]
    if not rows:
        raise LyricsError("has no line with a time, as [00:12.50]words")
    rows = sorted((max(0.0, t + shift), rest) for t, rest in rows)
    found, line = [], 0
    for (start, rest), after in zip(rows, [*rows[1:], None], strict=True):
        pieces = _timed_pieces(start, rest, shift)
        end = after[0] if after else pieces[-1][0] + 1.0
        ends = [piece[0] for piece in pieces[1:]] + [end]
        for (onset, words), offset in zip(pieces, ends, strict=True):
            if words:
                found.append(
                    TimedWord(words, onset, max(offset, onset), line=line)
                )
        line += any(words for _, words in pieces)
    return TimedLyrics(sorted(found, key=lambda word: word.onset))


def _timed_pieces(start, rest, shift):
    """Pieces of a line, as (onset, text); text "" is an end."""
    parts = _WORD_STAMP.split(rest)
    pieces = [(start, parts[0].strip())] if parts[0].strip() else []
    for minutes, seconds, words in zip(
        parts[1::3], parts[2::3], parts[3::3], strict=True
    ):
        time = 60 * int(minutes) + float(seconds.replace(":", "."))
        pieces.append((max(0.0, time + shift), words.strip()))
    return pieces or [(start, "")]


def _seconds(stamp):
    return 60 * int(stamp[1]) + float(stamp[2].replace(":", "."))


def _stamp(seconds):
    hundredths = round(100 * seconds)
    return f"{hundredths // 6000:02d}:{hundredths // 100 % 60:02d}." + (
        f"{hundredths % 100:02d}"
    )


def _write_lrc(lyrics, enhanced=True):
    lines = lyrics.lines()
    rows = []
    for words, after in zip(lines, [*lines[1:], None], strict=True):
        row = f"[{_stamp(words[0].onset)}]"
        if enhanced:
            row += " ".join(f"<{_stamp(w.onset)}> {w.word}" for w in words)
            row += f" <{_stamp(words[-1].offset)}>"
        else:
            row += " ".join(word.word for word in words)
        rows.append(row)
        # An empty line takes the words off the screen in a break.
        end = words[-1].offset
        if not enhanced and (after is None or after[0].onset > end + 3):
            rows.append(f"[{_stamp(end)}]")
    return "\n".join([*rows, ""])


# --- SRT -------------------------------------------------------------------


def _read_srt(text):
    found = []
    for block in re.split(r"\n\s*\n", text.replace("\r\n", "\n").strip()):
        rows = block.splitlines()
        place = next((k for k, row in enumerate(rows) if "-->" in row), None)
        stamps = _CUE.findall(rows[place]) if place is not None else []
        if len(stamps) != 2:
            raise LyricsError(
                f"cue {len(found) + 1}: expected 00:00:01,000 --> 00:00:02,000"
            )
        start, end = (
            3600 * int(h) + 60 * int(m) + int(s) + int(f.ljust(3, "0")) / 1000
            for h, m, s, f in stamps
        )
        words = " ".join(" ".join(rows[place + 1 :]).split())
        words = re.sub(r"<[^>]*>", "", words)
        if words:
            found.append(TimedWord(words, start, end, line=len(found)))
    return TimedLyrics(found)


def _write_srt(lyrics):
    cues = []
    for number, words in enumerate(lyrics.lines(), start=1):
        times = (words[0].onset, max(word.offset for word in words))
        start, end = (
            f"{ms // 3600000:02d}:{ms // 60000 % 60:02d}:"
            f"{ms // 1000 % 60:02d},{ms % 1000:03d}"
            for ms in (round(1000 * time) for time in times)
        )
        line = " ".join(word.word for word in words)
        cues.append(f"{number}\n{start} --> {end}\n{line}\n")
    return "\n".join(cues)


# --- CSV -------------------------------------------------------------------


def _read_csv(text):
    rows = [row for row in csv.reader(io.StringIO(text, newline="")) if row]
    header = tuple(cell.strip().lower() for cell in rows[0]) if rows else ()
    if header not in (CSV_COLUMNS, CSV_COLUMNS[:3]):
        raise LyricsError(
            f"line 1: expected the columns {','.join(CSV_COLUMNS)}, the last "
            f"of which may be missing, but found {','.join(header)[:60]!r}"
        )
    words = []
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(header):
            raise LyricsError(
                f"row {number}: expected {len(header)} values but found "
                f"{len(row)}"
            )
        try:
            numbers = [
                float(cell) if cell.strip() else None for cell in row[1:]
            ]
            if None in numbers[:2]:
                raise ValueError
        except ValueError:
            raise LyricsError(
                f"row {number}: {','.join(row[1:])[:60]!r} are no numbers"
            ) from None
        words.append(TimedWord(row[0], *numbers))
    return TimedLyrics(words)


def _write_csv(lyrics):
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for word in lyrics:
        sure = "" if word.confidence is None else f"{word.confidence:.4f}"
        writer.writerow(
            [word.word, _decimal(word.onset), _decimal(word.offset), sure]
        )
    return text.getvalue()


def _decimal(seconds):
    return f"{seconds:.6f}".rstrip("0").rstrip(".")


# --- TextGrid --------------------------------------------------------------


def _write_textgrid(lyrics):
    """Long text format of Praat: a tier of words, one of phones, gaps empty."""
    tiers = {"words": [(w.onset, w.offset, w.word) for w in lyrics]}
    phones = [phone for word in lyrics for phone in word.phones]
    if phones:
        tiers["phones"] = [(p.onset, p.offset, p.phone) for p in phones]
    end = max((row[1] for rows in tiers.values() for row in rows), default=1.0)
    out = [
        'File type = "ooTextFile"',
        'Object class = "TextGrid"',
        "",
        "xmin = 0",
        f"xmax = {_decimal(end)}",
        "tiers? <exists>",
        f"size = {len(tiers)}",
        "item []:",
    ]
    for number, (name, rows) in enumerate(tiers.items(), start=1):
        rows = _without_gaps(rows, end)
        out += [
            f"    item [{number}]:",
            '        class = "IntervalTier"',
            f'        name = "{name}"',
            "        xmin = 0",
            f"        xmax = {_decimal(end)}",
            f"        intervals: size = {len(rows)}",
        ]
        for place, (start, stop, label) in enumerate(rows, start=1):
            label = label.replace('"', '""')
            out += [
                f"        intervals [{place}]:",
                f"            xmin = {_decimal(start)}",
                f"            xmax = {_decimal(stop)}",
                f'            text = "{label}"',
            ]
    return "\n".join([*out, ""])


def _without_gaps(rows, end):
    """Intervals that follow one another from 0 to the end."""
    found, done = [], 0.0
    for start, stop, label in rows:
        start = max(start, done)
        if start > done + 5e-7:
            found.append((done, start, ""))
        if stop > start + 5e-7:
            found.append((start, stop, label))
            done = stop
    if end > done + 5e-7:
        found.append((done, end, ""))
    return found


def _read_textgrid(text):
    """Tiers of intervals, in the long or the short text format."""
    # Both hold the same values in the same order; only names differ. Of the
    # rest, numbers that stand for themselves count, not those of [1].
    values = re.findall(
        r'"((?:[^"]|"")*)"|(?<![\w\[.])(-?\d+(?:\.\d+)?(?:[eE]-?\d+)?)(?![\w\]])',
        text,
    )
    marks = [(True, s.replace('""', '"')) if not n else (False, float(n))
             for s, n in values]  # fmt: skip
    if (True, "TextGrid") not in marks:
        raise LyricsError("is no TextGrid of Praat in text format")
    tiers = {}
    place = 0
    try:
        while place < len(marks):
            if marks[place] != (True, "IntervalTier"):
                place += 1
                continue
            name, count = marks[place + 1][1], int(marks[place + 4][1])
            place += 5
            rows = []
            for _ in range(count):
                (_, start), (_, stop), (is_text, label) = marks[
                    place : place + 3
                ]
                if not is_text:
                    raise ValueError
                rows.append((float(start), float(stop), label))
                place += 3
            tiers[str(name).lower()] = rows
    except (IndexError, ValueError, TypeError):
        raise LyricsError("ends within a tier: write it again") from None
    if not tiers:
        raise LyricsError("has no tier of intervals")
    words = tiers.get("words", next(iter(tiers.values())))
    phones = tiers.get("phones", [])
    return TimedLyrics(
        TimedWord(
            label,
            start,
            stop,
            phones=tuple(
                TimedPhone(p, a, b)
                for a, b, p in phones
                if p and a >= start - _SLACK and b <= stop + _SLACK
            ),
        )
        for start, stop, label in words
        if label.strip()
    )


# --- JSON ------------------------------------------------------------------


def _write_json(lyrics):
    rows = []
    for word in lyrics:
        row = {
            "word": word.word,
            "onset": round(word.onset, 6),
            "offset": round(word.offset, 6),
            "line": word.line,
        }
        if word.confidence is not None:
            row["confidence"] = round(word.confidence, 6)
        if word.phones:
            row["phones"] = [
                [p.phone, round(p.onset, 6), round(p.offset, 6)]
                + ([round(p.confidence, 6)] if p.confidence is not None else [])
                for p in word.phones
            ]
        rows.append("\n    " + json.dumps(row, ensure_ascii=False))
    return (
        f'{{\n  "format": "{JSON_FORMAT}",\n  "version": {JSON_VERSION},\n'
        f'  "words": [{",".join(rows)}]\n}}\n'
    )


def _read_json(text):
    try:
        data = json.loads(text)
        if data["format"] != JSON_FORMAT or data["version"] != JSON_VERSION:
            raise LyricsError(
                f"is {data['format']!r} version {data['version']!r}, not "
                f"'{JSON_FORMAT}' version {JSON_VERSION}"
            )
        return TimedLyrics(
            TimedWord(
                str(row["word"]),
                float(row["onset"]),
                float(row["offset"]),
                None if (c := row.get("confidence")) is None else float(c),
                int(row.get("line", 0)),
                tuple(
                    TimedPhone(str(p[0]), *map(float, p[1:]))
                    for p in row.get("phones", ())
                ),
            )
            for row in data["words"]
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise LyricsError(
            f'is no "{JSON_FORMAT}" file ({type(error).__name__}: '
            f"{str(error):.60}): check what wrote it"
        ) from None


FORMATS = {
    "lrc": LyricsFormat(".lrc", _read_lrc, _write_lrc),
    "srt": LyricsFormat(".srt", _read_srt, _write_srt),
    "csv": LyricsFormat(".csv", _read_csv, _write_csv),
    "textgrid": LyricsFormat(".TextGrid", _read_textgrid, _write_textgrid),
    "json": LyricsFormat(".json", _read_json, _write_json),
}
