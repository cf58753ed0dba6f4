r"""UltraStar song files, for karaoke games.

A text file: headers such as #TITLE, then a line per note, `: start length
pitch text`, in ticks of a quarter of a beat of #BPM from #GAP milliseconds on,
with pitch 0 = C4. `~` prolongs the syllable in front, `- start` ends a line of
the lyrics, `E` the song; duets have a part per singer, `P1` and `P2`. As in the
specification of the format, version 1.1.0 (usdx.eu/format).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import ceil, log2
from pathlib import Path

from speechbrain_ext.errors import NoteError, OutputError
from speechbrain_ext.files import atomic_path
from speechbrain_ext.lyrics.timed import lyrics_text
from speechbrain_ext.notes import Note, NoteSequence

VERSION = "1.1.0"
MIDDLE_C = 60  # pitch 0
MAX_PARTS = 9
# At least so many beats, so that a tick is 50 ms or less and times move by no
# more than 25 ms.
LEAST_BPM = 300.0
# Without lyrics a line ends where nothing is sung for so long.
PAUSE_S = 1.0
PROLONGED = "~"

_NOTE = re.compile(r"([:*FRG]) *(-?\d+) +(\d+) +(-?\d+) ?(.*)")


def write_ultrastar(
    parts: Mapping[str, NoteSequence],
    path,
    title: str,
    artist: str = "",
    audio: str = "",
    tempo: float = LEAST_BPM,
    lines: Mapping[str, Sequence[int | None]] | None = None,
    headers: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write melodies with lyrics as a song of UltraStar.

    Arguments
    ---------
    parts : mapping of str to NoteSequence
        Melodies by the names of their singers, 1 to 9. A lyric that ends in a
        hyphen goes on in a later note; a note without lyric prolongs.
    path : str or Path
        The file, ending in .txt.
    title, artist, audio : str
        For the headers; `audio` is the name of a file beside it.
    tempo : float
        Beats per minute; doubled until it is at least 300.
    lines : mapping of str to sequence of (int or None), optional
        Line of the lyrics of each note, as `Attached.lines`. Default: lines
        end in pauses of a second.
    headers : mapping of str to str, optional
        More headers, such as {"VOCALS": "vocals.wav"}.
    overwrite : bool
        Whether an existing file may be replaced. Default: False.

    Returns
    -------
    Path

    Raises
    ------
    OutputError
        If there is no part, or more than nine, or the file exists or cannot
        be written.

    Example
    -------
    >>> notes = NoteSequence([(1, 1.5, 60, "Hel-"), (1.5, 2, 62, "lo")])
    >>> path = getfixture("tmp_path") / "song.txt"
    >>> print(write_ultrastar({"": notes}, path, "Hi", tempo=150).read_text())
    #VERSION:1.1.0
    #TITLE:Hi
    #ARTIST:Unknown
    #BPM:300
    #GAP:1000
    : 0 10 0 Hel
    : 10 10 2 lo
    E
    <BLANKLINE>
    """
    if not 1 <= len(parts) <= MAX_PARTS:
        raise OutputError(
            f"{path}: {len(parts)} singers: a song of UltraStar has 1 to "
            f"{MAX_PARTS}"
        )
    bpm = tempo * 2 ** max(0, ceil(log2(LEAST_BPM / tempo)))
    tick = 15.0 / bpm
    onsets = [notes[0].onset for notes in parts.values() if len(notes)]
    gap = round(1000 * min(onsets, default=0.0)) / 1000
    rows = {
        "VERSION": VERSION,
        "TITLE": title or "Unknown",
        "ARTIST": artist or "Unknown",
    }
    if audio:
        # MP3 for players that do not know AUDIO yet.
        rows |= {"MP3": audio, "AUDIO": audio}
    rows |= headers or {}
    rows["BPM"], rows["GAP"] = f"{bpm:.10g}", f"{1000 * gap:.0f}"
    several = len(parts) > 1
    if several:
        rows |= {f"P{k}": name for k, name in enumerate(parts, start=1)}
    out = [f"#{key}:{' '.join(value.split())}" for key, value in rows.items()]
    for k, (name, notes) in enumerate(parts.items(), start=1):
        if several:
            out.append(f"P{k}")
        out += _rows(notes, (lines or {}).get(name), gap, tick)
    with atomic_path(path, overwrite) as temporary:
        temporary.write_text("\n".join([*out, "E", ""]), "utf-8", newline="\n")
    return Path(path)


def _rows(notes, lines, gap, tick):
    """Lines of one singer."""
    out, end = [], 0
    starts = _line_starts(notes, lines)
    open_word = False
    for place, note in enumerate(notes):
        start = max(round((note.onset - gap) / tick), end)
        if place in starts:
            out.append(f"- {end}")
        end = max(round((note.offset - gap) / tick), start + 1)
        text = " ".join((note.lyric or "").split())
        # A space in front of it begins a word.
        front = "" if open_word or not out or place in starts else " "
        if not text:
            front, text = "", PROLONGED
        else:
            open_word = text.endswith("-") and len(text) > 1
            text = text[:-1] if open_word else text
        pitch = int(note.midi + 0.5) - MIDDLE_C
        out.append(f": {start} {end - start} {pitch} {front}{text}")
    return out


def _line_starts(notes, lines):
    """Places of notes in front of which a line ends."""
    if lines is None or all(line is None for line in lines):
        return {
            place
            for place, (one, two) in enumerate(pairwise(notes), start=1)
            if two.onset - one.offset >= PAUSE_S
        }
    starts, before = set(), None
    for place, line in enumerate(lines):
        if line is not None:
            if before is not None and line != before:
                starts.add(place)
            before = line
    return starts


def read_ultrastar(path) -> dict[str, NoteSequence]:
    """Read melodies and lyrics of a song of UltraStar.

    Arguments
    ---------
    path : str or Path

    Returns
    -------
    dict of str to NoteSequence
        By the names of the singers, "" if there is one. Lyrics are as
        `write_ultrastar` takes them.

    Raises
    ------
    NoteError
        If the file has no #BPM, or a line is none of a song.
    LyricsError
        If the file is missing or no text.

    Example
    -------
    >>> path = getfixture("tmp_path") / "song.txt"
    >>> notes = NoteSequence([(1, 1.5, 60, "Hel-"), (1.5, 2, 62, "lo")])
    >>> _ = write_ultrastar({"": notes}, path, "Hi")
    >>> read_ultrastar(path) == {"": notes}
    True
    """
    headers: dict[str, str] = {}
    rows: dict[str, list] = {"": []}
    part = ""
    for number, line in enumerate(lyrics_text(path).splitlines(), start=1):
        if line.startswith("#"):
            key, _, value = line[1:].partition(":")
            headers[key.strip().upper()] = value.strip()
        elif player := re.fullmatch(r"P ?(\d)\s*", line):
            part = headers.get(f"P{player[1]}") or f"P{player[1]}"
            rows.setdefault(part, [])
        elif found := _NOTE.fullmatch(line):
            numbers = [int(found[k]) for k in (2, 3, 4)]
            rows[part].append((number, *numbers, found[5]))
        elif line.startswith("-") and rows[part]:
            rows[part].append(None)
        elif line.strip() == "E":
            break
        elif line.strip():
            raise NoteError(
                f"{path}: line {number}: {line[:40]!r} is no line of a song: "
                "write it again"
            )
    try:
        tick = 15.0 / float(headers["BPM"].replace(",", "."))
        gap = float(headers.get("GAP", "0").replace(",", ".")) / 1000
    except (KeyError, ValueError, ZeroDivisionError):
        raise NoteError(
            f"{path}: has no usable #BPM and #GAP: is it a song of UltraStar?"
        ) from None
    if len(rows) > 1 and not rows[""]:
        del rows[""]
    try:
        return {name: _melody(found, gap, tick) for name, found in rows.items()}
    except NoteError as error:
        raise NoteError(f"{path}: {error}") from None


def _melody(rows, gap, tick):
    """Notes of one singer, None being the end of a line."""
    notes = []
    texts = []  # of each note, with whether it begins a word
    fresh = True
    for row in rows:
        if row is None:
            fresh = True
            continue
        _, start, length, pitch, text = row
        onset, offset = gap + start * tick, gap + (start + length) * tick
        begins = fresh or text.startswith(" ")
        fresh = text.endswith(" ")
        texts.append((text.strip(), begins))
        notes.append((round(onset, 6), round(offset, 6), pitch + MIDDLE_C))
    lyrics: list[str | None] = []
    last = None  # place of the syllable in front
    for place, (text, begins) in enumerate(texts):
        lyrics.append(None)
        if text in (PROLONGED, ""):
            continue
        if last is not None and not begins:
            lyrics[last] = f"{lyrics[last]}-"
        lyrics[place], last = text, place
    return NoteSequence(
        Note(*note, lyric) for note, lyric in zip(notes, lyrics, strict=True)
    )
