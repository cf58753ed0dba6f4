"""Note files: reading and writing melodies in the formats people use.

| name | suffixes | keeps |
|---|---|---|
| mid | .mid .midi | times to 1 ms, semitones or bends, lyrics, velocities |
| csv | .csv | times and pitches to 1e-9, lyrics |
| json | .json | everything, exactly |
| mir_st500 | (.json) | times and pitches to 1e-9, many songs in one file |
| tonas | .notes.Corrected .notes | times and pitches to 1e-6 |
| labels | .txt | Audacity's label track: times and pitches to 1e-6, lyrics |
| musicxml | .musicxml .xml .mxl | notated values, semitones, lyrics |
| jams | .jams | everything to 1e-9 |

Readers check what they read and repair nothing; their errors start with the
file's name. `read_notes` and `write_notes` find the format by the suffix.
"""

from __future__ import annotations

import csv
import io
import json
import re
import warnings
import zipfile
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from dataclasses import replace
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import numpy as np

from speechbrain_ext.errors import NoteError, OutputError, optional_library
from speechbrain_ext.f0 import F0Contour
from speechbrain_ext.files import atomic_path
from speechbrain_ext.frames import FRAME_S, frame_centres, n_frames
from speechbrain_ext.notes import Note, NoteSequence, hz_to_midi

CSV_COLUMNS = ("onset_s", "offset_s", "midi", "lyric")
JSON_FORMAT = "singbrain-notes"
JSON_VERSION = 1
JSON_UNITS = {
    "onset": "seconds",
    "offset": "seconds",
    "midi": "MIDI number, A4 = 69",
    "confidence": "0 to 1",
    "velocity": "1 to 127",
}

MIDI_QPM = 120  # exactly 500 000 microseconds per quarter note
MIDI_RESOLUTION = 960  # ticks per quarter note: at 120 one tick is 0.52 ms
MIDI_VELOCITY = 100  # of notes that have none
MIDI_MAX_TICKS = 10_000_000  # pretty_midi refuses longer files
BEND_RANGE = 2.0  # semitones, what General MIDI assumes
BEND_STEP = 0.02  # semitones: a smaller change of a contour makes no bend
MIN_TEMPO, MAX_TEMPO = 10.0, 1000.0  # quarter notes per minute
MUSICXML_LOWEST = 12  # MIDI number: its octaves are 0 to 9
VOICE_PROGRAM = 53  # General MIDI 'Voice Oohs', counted from 0

# A lyric belongs to a note if it is written this close to its onset.
LYRIC_TOLERANCE_S = 0.02
# Onset + duration, both rounded to six decimals, miss the next onset by less.
ROUNDING_S = 2e-6

MAX_UNPACKED_BYTES = 200_000_000
NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
_NAME_PATTERN = re.compile(r"([A-Ga-g])([#♯b♭]*)(-?\d{1,2})")


class Format(NamedTuple):
    """How to read and write one kind of note file.

    Arguments
    ---------
    suffixes : tuple of str
        Ends of file names, the first one is what we write.
    read : callable
        `read(path, **options) -> NoteSequence`.
    write : callable
        `write(notes, path, **options)`, to a path that may be overwritten.
    """

    suffixes: tuple[str, ...]
    read: Callable
    write: Callable


def read_notes(path, format: str | None = None, **options) -> NoteSequence:
    r"""Read a melody from a note file.

    Arguments
    ---------
    path : str or Path
        The file.
    format : str, optional
        A name of `FORMATS`; by default the suffix decides. A `.json` file may
        be our own or MIR-ST500's with exactly one song.
    **options
        For the format's reader. MIDI and MusicXML take `track` (name or
        index, needed if several tracks have notes), MIDI also `pitch_bend`
        (default False: bends are ignored and pitches are semitones; True: the
        median bend inside each note is added), MIR-ST500 `song`.

    Returns
    -------
    NoteSequence
        Empty if the file holds no notes.

    Raises
    ------
    NoteError
        If the file is missing, not of that format, or its notes are not a
        melody. The message starts with the file's name.
    DependencyError
        If the format needs an extra that is not installed.

    Example
    -------
    >>> path = getfixture("tmp_path") / "song.csv"
    >>> _ = path.write_text("onset_s,offset_s,midi,lyric\n0.5,1.25,60,la\n")
    >>> read_notes(path)[0]
    Note(onset=0.5, offset=1.25, midi=60.0, lyric='la', confidence=None,
    velocity=None)
    """
    path = Path(path)
    with _naming(path):
        try:
            reader = FORMATS[_format_name(path, format)].read
        except KeyError as error:
            raise NoteError(error.args[0]) from None
        return reader(path, **options)


def write_notes(
    notes: NoteSequence,
    path,
    format: str | None = None,
    overwrite: bool = False,
    **options,
) -> Path:
    """Write a melody to a note file.

    Arguments
    ---------
    notes : NoteSequence
        May be empty.
    path : str or Path
        The file; its folder must exist.
    format : str, optional
        A name of `FORMATS`; by default the suffix decides.
    overwrite : bool
        Whether an existing file may be replaced (default False).
    **options
        For the format's writer. MIDI takes `pitch_bend` (default False:
        pitches are rounded to semitones), `contour` (an `F0Contour` that the
        bends follow inside the notes) and `tempo` (quarter notes per minute,
        default 120; times do not depend on it), MusicXML `tempo`, `grid`
        (steps per quarter note, default 8), `first_beat_s` (where a bar
        begins, default 0), `beats_per_bar` (quarter notes, default 4), `key`
        (such as "Bb major", default none) and `title`.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    OutputError
        If the file exists, its suffix is unknown or it cannot be written.
    DependencyError
        If the format needs an extra that is not installed.

    Example
    -------
    >>> melody = NoteSequence([(0.5, 1.25, 60), (1.25, 2, 62)])
    >>> path = write_notes(melody, getfixture("tmp_path") / "song.mid")
    >>> read_notes(path).midi.tolist()
    [60.0, 62.0]
    """
    path = Path(path)
    try:
        name = _format_name(path, format)
    except KeyError as error:
        raise OutputError(f"{path}: {error.args[0]}") from None
    if name == "mir_st500":
        options.setdefault("song", note_stem(path))
    with atomic_path(path, overwrite) as temporary:
        FORMATS[name].write(notes, temporary, **options)
    return path


def read_mir_st500(path, truncate: bool = False) -> dict[str, NoteSequence]:
    """Read an annotation file in MIR-ST500's layout.

    Arguments
    ---------
    path : str or Path
        JSON of the form `{song_id: [[onset, offset, pitch], ...], ...}`,
        seconds and MIDI numbers.
    truncate : bool
        Whether to repair overlaps with `NoteSequence.truncating` (the first
        release of MIR-ST500's labels has some); default False: they are
        errors.

    Returns
    -------
    dict of str to NoteSequence
        In the order of the file.

    Raises
    ------
    NoteError
        If the file is not of that form or a song is not a melody. The
        message names the file and the song.

    Example
    -------
    >>> path = getfixture("tmp_path") / "annotations.json"
    >>> _ = path.write_text('{"1": [[0.5, 1, 60]], "2": []}')
    >>> read_mir_st500(path)
    {'1': NoteSequence(1 notes, 1.000 s), '2': NoteSequence(0 notes, 0.000 s)}
    """
    path = Path(path)
    with _naming(path):
        return _songs(_json(path), truncate)


def write_mir_st500(
    songs: Mapping[str, NoteSequence], path, overwrite: bool = False
) -> Path:
    """Write melodies as one annotation file in MIR-ST500's layout.

    Arguments
    ---------
    songs : mapping of str to NoteSequence
        Keyed by song id; lyrics and confidences are not kept.
    path : str or Path
        The file; its folder must exist.
    overwrite : bool
        Whether an existing file may be replaced (default False).

    Returns
    -------
    Path
        The file written.
    """
    lines = []
    for song, notes in songs.items():
        rows = ", ".join(f"[{', '.join(row)}]" for row in _rows(notes))
        lines.append(f"{json.dumps(str(song), ensure_ascii=False)}: [{rows}]")
    with atomic_path(path, overwrite) as temporary:
        _save(temporary, "{\n" + ",\n".join(lines) + "\n}\n")
    return Path(path)


def is_mir_st500(path) -> bool:
    """Whether a file is JSON that maps song ids to lists.

    Arguments
    ---------
    path : str or Path

    Returns
    -------
    bool
        False for our own JSON and for all other files.
    """
    if Path(path).suffix.lower() != ".json":
        return False
    with _naming(path):
        return _looks_like_songs(_json(path))


def note_stem(path) -> str:
    """Name of a note file without its folder and its suffix.

    Arguments
    ---------
    path : str or Path

    Returns
    -------
    str

    Example
    -------
    >>> note_stem("TONAS/Deblas/01-D_AMairena.notes.Corrected")
    '01-D_AMairena'
    >>> note_stem("1.22.b-12.mid")
    '1.22.b-12'
    """
    name = Path(path).name
    suffix = _suffix(name)
    return name[: -len(suffix)] if suffix else Path(path).stem


def is_note_file(path) -> bool:
    """Whether a file's suffix is one of a note format.

    Arguments
    ---------
    path : str or Path

    Returns
    -------
    bool
    """
    return _suffix(Path(path).name) is not None


# ---------------------------------------------------------------- CSV


def _read_csv(path: Path) -> NoteSequence:
    """Columns onset_s, offset_s, midi and perhaps lyric, with a header."""
    text = _text(path)
    if not text.strip():
        raise NoteError(
            "is empty: a melody without notes still has the header "
            f"{','.join(CSV_COLUMNS[:3])}"
        )
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        rows = [(reader.line_num, row) for row in reader if row]
    except csv.Error as error:
        raise NoteError(f"line {reader.line_num}: {error}") from None
    header = tuple(cell.strip().lower() for cell in rows[0][1])
    if header not in (CSV_COLUMNS, CSV_COLUMNS[:3]):
        raise NoteError(
            f"line 1: expected the columns {','.join(CSV_COLUMNS[:3])}[,lyric] "
            f"but found {_quote(','.join(rows[0][1]))}"
        )
    notes = []
    for line, row in rows[1:]:
        with _line(line):
            if len(row) != len(header):
                raise NoteError(
                    f"expected {len(header)} values but found {len(row)}"
                )
            numbers = [_number(cell) for cell in row[:3]]
            notes.append(Note(*numbers, *(cell or None for cell in row[3:])))
    return NoteSequence(notes)


def _write_csv(notes: NoteSequence, path: Path) -> None:
    sung = any(note.lyric for note in notes)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS if sung else CSV_COLUMNS[:3])
    for row, note in zip(_rows(notes), notes, strict=True):
        writer.writerow([*row, note.lyric or ""] if sung else row)
    _save(path, text.getvalue())


# ---------------------------------------------------------------- JSON


def _read_json(path: Path, **options) -> NoteSequence:
    """Our own JSON, or MIR-ST500's if it holds one song."""
    data = _json(path)
    if _looks_like_songs(data):
        return _only_song(data, **options)
    if not isinstance(data, dict) or data.get("format") != JSON_FORMAT:
        raise NoteError(
            f'is neither a "{JSON_FORMAT}" file nor a dict of songs as in '
            "MIR-ST500: check what wrote it"
        )
    version = data.get("version")
    if version != JSON_VERSION:
        raise NoteError(
            f"has version {version!r} but this release reads version "
            f"{JSON_VERSION}: update singbrain or write the file again"
        )
    rows = data.get("notes")
    if not isinstance(rows, list):
        raise NoteError('has no list of "notes": write the file again')
    notes = []
    for position, row in enumerate(rows, start=1):
        with _line(position, "note"):
            if not isinstance(row, dict):
                raise NoteError(f"expected an object but found {row!r:.40}")
            missing = {"onset", "offset", "midi"} - row.keys()
            if missing:
                raise NoteError(f"has no {', '.join(sorted(missing))}")
            lyric = row.get("lyric")
            if not isinstance(lyric, str | None):
                raise NoteError(f"lyric {lyric!r:.40} is not text")
            confidence = row.get("confidence")
            notes.append(
                Note(
                    *(_real(row[key]) for key in ("onset", "offset", "midi")),
                    lyric,
                    None if confidence is None else _real(confidence),
                    row.get("velocity"),
                )
            )
    return NoteSequence(notes)


def _write_json(notes: NoteSequence, path: Path) -> None:
    rows = []
    for note in notes:
        row = {"onset": note.onset, "offset": note.offset, "midi": note.midi}
        if note.lyric is not None:
            row["lyric"] = note.lyric
        if note.confidence is not None:
            row["confidence"] = float(note.confidence)
        if note.velocity is not None:
            row["velocity"] = note.velocity
        rows.append("\n    " + json.dumps(row, ensure_ascii=False))
    _save(
        path,
        f'{{\n  "format": "{JSON_FORMAT}",\n  "version": {JSON_VERSION},\n'
        f'  "units": {json.dumps(JSON_UNITS)},\n'
        f'  "notes": [{",".join(rows)}]\n}}\n',
    )


# ---------------------------------------------------------------- MIR-ST500


def _looks_like_songs(data) -> bool:
    return isinstance(data, dict) and all(
        isinstance(rows, list) for rows in data.values()
    )


def _songs(data, truncate: bool = False) -> dict[str, NoteSequence]:
    """Melodies of a parsed annotation file."""
    if not _looks_like_songs(data):
        raise NoteError(
            "is not an annotation file: expected {song_id: [[onset, offset, "
            "pitch], ...]}"
        )
    make = NoteSequence.truncating if truncate else NoteSequence
    songs = {}
    for song, rows in data.items():
        with _line(repr(song), "song"):
            notes = []
            for position, row in enumerate(rows, start=1):
                with _line(position, "note"):
                    if not isinstance(row, list) or len(row) != 3:
                        raise NoteError(
                            "expected [onset, offset, pitch] but found "
                            f"{row!r:.40}"
                        )
                    notes.append(Note(*map(_real, row)))
            songs[song] = make(notes)
    return songs


def _only_song(data, song: str | None = None) -> NoteSequence:
    """Read the named song, or the only one."""
    if song is not None:
        if song not in data:
            raise NoteError(f"has no song {song!r}: it holds {_listing(data)}")
        data = {song: data[song]}
    if len(data) != 1:
        raise NoteError(
            f"holds {len(data)} songs but one is needed here: keep one, or "
            "give a file or folder with the same songs to compare with"
        )
    return next(iter(_songs(data).values()))


def _read_mir_st500(path: Path, song: str | None = None) -> NoteSequence:
    data = _json(path)
    if not _looks_like_songs(data):
        _songs(data)
    return _only_song(data, song)


def _write_mir_st500(notes: NoteSequence, path: Path, song: str) -> None:
    write_mir_st500({song: notes}, path, overwrite=True)


# ---------------------------------------------------------------- TONAS


def _read_tonas(path: Path) -> NoteSequence:
    """Note file of the TONAS corpus (Gomez and Bonada, 2013).

    The first line is the singer's tuning in cents above 440 Hz, then follow
    rows `onset, duration, pitch, energy`. The pitch is the sounding one: its
    fraction is the tuning (43 cents, then 66.43, 67.43, ...), and 66.43 is
    also what the corpus's own f0 file says (379.299 Hz). mirdata adds the
    tuning a second time. Where all pitches are whole numbers although the
    tuning is not, they are read as counted from the tuning.
    """
    lines = _text(path).splitlines()
    if not any(line.strip() for line in lines):
        raise NoteError(
            "is empty: the first line of a TONAS file is the tuning in cents"
        )
    rows = [(n, line) for n, line in enumerate(lines, 1) if line.strip()]
    with _line(rows[0][0]):
        cells = rows[0][1].split(",")
        if len(cells) != 1:
            raise NoteError(
                f"expected the tuning in cents but found {len(cells)} values"
            )
        cents = _number(cells[0])
        if not abs(cents) <= 1200:
            raise NoteError(f"tuning {cents:g} cents is outside -1200 to 1200")
    values = []
    for number, line in rows[1:]:
        with _line(number):
            cells = line.split(",")
            if len(cells) != 4:
                raise NoteError(
                    "expected onset, duration, pitch, energy but found "
                    f"{len(cells)} values"
                )
            values.append((number, *map(_number, cells)))
    pitches = np.array([row[3] for row in values])
    on_grid = bool(np.all(np.abs(pitches - np.rint(pitches)) < 1e-3))
    shift = cents / 100 if on_grid else 0.0
    notes = []
    for number, onset, duration, pitch, _ in values:
        with _line(number):
            if not duration > 0:
                raise NoteError(
                    f"note duration {duration:g} s is not above 0: correct "
                    "the annotation"
                )
            notes.append(Note(onset, onset + duration, pitch + shift))
    return NoteSequence(_unrounded(notes))


def _write_tonas(notes: NoteSequence, path: Path) -> None:
    """Tuning: circular mean of the pitches' fractions; energy: 0."""
    angles = np.exp(2j * np.pi * notes.midi)
    cents = 0.0
    if len(notes) and np.abs(notes.midi - np.rint(notes.midi)).max() > 1e-3:
        cents = float(np.angle(angles.sum())) / (2 * np.pi) * 100
    lines = [f"{cents:.6f}"]
    for start, stop, note in _on_grid(notes, 1e6):
        onset, duration = start / 1e6, (stop - start) / 1e6
        lines.append(f"{onset:.6f}, {duration:.6f}, {note.midi:.6f}, 0.000000")
    _save(path, "\n".join(lines) + "\n")


# ---------------------------------------------------------------- Audacity


def _read_labels(path: Path) -> NoteSequence:
    """Audacity's label track: onset, offset, label, separated by tabs.

    A label is a MIDI number (60, 60.25) or a note name (C4 = 60, C#4, Bb3),
    then perhaps a space and the lyric. Audacity writes an empty file for a
    track without labels, so an empty file is an empty melody.
    """
    notes = []
    for number, line in enumerate(_text(path).splitlines(), start=1):
        # Audacity adds lines with a backslash for frequency ranges.
        if not line.strip() or line.startswith("\\"):
            continue
        with _line(number):
            cells = line.split("\t")
            if len(cells) != 3:
                raise NoteError(
                    "expected onset, offset, label separated by tabs but "
                    f"found {len(cells)} values"
                )
            onset, offset = map(_number, cells[:2])
            if onset == offset:
                raise NoteError(
                    f"label at {onset:g} s is a point: a note needs a region"
                )
            pitch, _, lyric = cells[2].strip().partition(" ")
            notes.append(Note(onset, offset, _pitch(pitch), _clean(lyric)))
    return NoteSequence(_unrounded(notes))


def _write_labels(notes: NoteSequence, path: Path) -> None:
    lines = []
    for start, stop, note in _on_grid(notes, 1e6):
        onset, offset = start / 1e6, stop / 1e6
        label = f"{_decimal(round(note.midi, 6))} {_clean(note.lyric) or ''}"
        lines.append(f"{onset:.6f}\t{offset:.6f}\t{label.strip()}\n")
    _save(path, "".join(lines))


def _pitch(text: str) -> float:
    """MIDI number of a number or a note name."""
    match = _NAME_PATTERN.fullmatch(text)
    if match:
        letter, accidentals, octave = match.groups()
        sharps = sum(1 if sign in "#♯" else -1 for sign in accidentals)
        semitone = NAMES.index(letter.upper())
        return semitone + sharps + 12.0 * (int(octave) + 1)
    try:
        return _number(text)
    except NoteError:
        raise NoteError(
            f"label {_quote(text)} is neither a MIDI number nor a note name: "
            "write 61 or C#4"
        ) from None


# ---------------------------------------------------------------- MIDI


def _read_midi(
    path: Path, track: str | int | None = None, pitch_bend: bool = False
) -> NoteSequence:
    """One monophonic track; percussion is left out.

    A velocity of 100 is what notes without one are written with, so it is
    read as none.
    """
    midi = _parse_midi(_bytes(path))
    parts = [
        part for part in midi.instruments if part.notes and not part.is_drum
    ]
    if not parts and track is None:
        return NoteSequence()
    part = _choose(parts, [part.name.strip() for part in parts], track)
    notes = []
    for note in sorted(part.notes, key=lambda note: (note.start, note.end)):
        if notes and note.start < notes[-1].offset - 1e-4:
            raise NoteError(
                f"is polyphonic: at {note.start:.3f} s a note starts while "
                f"another one lasts until {notes[-1].offset:.3f} s: give a "
                "melody with one note at a time"
            )
        start = max(note.start, notes[-1].offset) if notes else note.start
        velocity = None if note.velocity == MIDI_VELOCITY else note.velocity
        notes.append(
            Note(float(start), float(note.end), note.pitch, velocity=velocity)
        )
    if pitch_bend:
        notes = _bent(notes, part)
    return _with_lyrics(notes, [(x.time, x.text) for x in midi.lyrics])


def _parse_midi(data: bytes):
    """Parse with pretty_midi; lyrics are UTF-8 or else Latin-1."""
    pretty_midi = _library("pretty_midi", "pretty_midi")
    mido = import_module("mido")
    if not data.startswith(b"MThd"):
        raise NoteError("is not a MIDI file: export it as a standard MIDI file")
    for charset in ("utf-8", "latin1"):
        try:
            parsed = mido.MidiFile(file=io.BytesIO(data), charset=charset)
            if parsed.ticks_per_beat < 1 or not parsed.tracks:
                raise ValueError("no tracks in beats")
            for number, messages in enumerate(parsed.tracks[1:], start=2):
                if any(message.type == "set_tempo" for message in messages):
                    raise NoteError(
                        f"has tempo changes in track {number}, which only "
                        "track 1 may hold: export it again as type 0 or 1"
                    )
            with warnings.catch_warnings():
                # Key and time signatures elsewhere do not matter here.
                warnings.simplefilter("ignore", RuntimeWarning)
                return pretty_midi.PrettyMIDI(mido_object=parsed)
        except UnicodeDecodeError:
            continue
        except NoteError:
            raise
        # A damaged file can fail anywhere inside the two parsers.
        except Exception as error:
            reason = str(error).split("\n")[0] or type(error).__name__
            raise NoteError(
                f"is a damaged MIDI file ({reason}): export it again"
            ) from None
    raise NoteError("is a damaged MIDI file: export it again")


def _bent(notes: list[Note], part) -> list[Note]:
    """Add the bend that splits each note's time into halves above and below.

    One bend per note counts fully, and a glide into the note or a vibrato
    does not spoil its pitch.
    """
    bends = sorted(part.pitch_bends, key=lambda bend: bend.time)
    times = [bend.time for bend in bends]
    ranges = [c.value for c in part.control_changes if c.number == 6]
    semitones = (ranges[-1] if ranges else BEND_RANGE) / 8192
    bent = []
    for note in notes:
        first = bisect_right(times, note.onset + 1e-6)
        last = max(bisect_right(times, note.offset - 1e-6), first)
        values = [bend.pitch for bend in bends[max(first - 1, 0) : last]]
        if not first:  # before the first bend of the file there is none
            values.insert(0, 0)
        edges = np.array([note.onset, *times[first:last], note.offset])
        order = np.argsort(values, kind="stable")
        shares = np.cumsum(np.diff(edges)[order])
        middle = np.searchsorted(shares, shares[-1] / 2)
        bend = values[order[middle]] * semitones
        bent.append(replace(note, midi=note.midi + bend))
    return bent


def _write_midi(
    notes: NoteSequence,
    path: Path,
    pitch_bend: bool = False,
    contour: F0Contour | None = None,
    tempo: float = MIDI_QPM,
) -> None:
    """One track at a constant tempo.

    At 120 quarter notes per minute a tick is 0.52 ms (songs of more than 87
    minutes: twice that, and so on). A shorter note becomes one tick long.
    Fractional pitches are rounded, or written as a bend of at most half a
    semitone before each note. With a contour the bends follow it, see
    `_bends`.
    """
    pretty_midi = _library("pretty_midi", "pretty_midi")
    if not MIN_TEMPO <= tempo <= MAX_TEMPO:
        raise OutputError(
            f"tempo {tempo:g} is outside {MIN_TEMPO:g} to {MAX_TEMPO:g} "
            "quarter notes per minute"
        )
    # The file counts whole microseconds per quarter note.
    quarter_us = round(60e6 / tempo)
    tempo = 60e6 / quarter_us
    resolution = MIDI_RESOLUTION
    while notes.end * resolution * tempo / 60 >= MIDI_MAX_TICKS - 1:
        resolution //= 2
        if not resolution:
            raise OutputError(
                f"a melody of {notes.end:g} s is too long for MIDI: cut it"
            )
    rate = resolution * tempo / 60
    midi = pretty_midi.PrettyMIDI(
        resolution=resolution,
        # Its writer cuts off fractions: a thousandth more keeps it from
        # falling one below.
        initial_tempo=60e6 / (quarter_us + 1e-3),
        charset="utf-8",
    )
    part = pretty_midi.Instrument(VOICE_PROGRAM, name="Voice")
    midi.instruments.append(part)
    placed = list(_on_grid(notes, rate))
    bends = {}
    if contour is not None:
        bends = _bends(placed, rate, contour)
    elif pitch_bend:
        bends = {
            start: note.midi - _semitone(note.midi) for start, _, note in placed
        }
    if pitch_bend or contour is not None:
        # Registered parameter 0 is the bend range. What lies on one tick is
        # written by number, and the value must come last.
        for number, value, tick in ((101, 0, 0), (100, 0, 0), (6, 2, 1)):
            part.control_changes.append(
                pretty_midi.ControlChange(number, value, tick / rate)
            )
    for tick, bend in bends.items():
        bend = min(max(round(bend / BEND_RANGE * 8192), -8192), 8191)
        part.pitch_bends.append(pretty_midi.PitchBend(bend, tick / rate))
    for start, stop, note in placed:
        part.notes.append(
            pretty_midi.Note(
                note.velocity or MIDI_VELOCITY,
                _semitone(note.midi),
                start / rate,
                stop / rate,
            )
        )
        if _clean(note.lyric):
            midi.lyrics.append(
                pretty_midi.Lyric(_clean(note.lyric), start / rate)
            )
    midi.write(str(path))


def _bends(placed, rate: float, contour: F0Contour) -> dict[int, float]:
    """Bends that follow a contour inside notes, in semitones by tick.

    Every frame of 20 ms has the pitch of its centre. A note starts with the
    bend of its first voiced frame and keeps the last one where it is unvoiced;
    without any voiced frame it has its own pitch. Bends are counted from the
    note's semitone and change at the borders of frames, if by more than 2
    cents. Where no note follows at once, the bend returns to 0.
    """
    end = placed[-1][2].offset if placed else 0.0
    centres = frame_centres(n_frames(end) + 1)
    pitches = np.nan_to_num(contour.at(centres))
    bends: dict[int, float] = {}
    for start, stop, note in placed:
        semitone = _semitone(note.midi)
        first, last = np.searchsorted(centres, (note.onset, note.offset))
        voiced = first + np.flatnonzero(pitches[first:last])
        values = np.clip(pitches[voiced] - semitone, -BEND_RANGE, BEND_RANGE)
        ticks = np.rint((centres[voiced] - FRAME_S / 2) * rate)
        current = values[0] if len(values) else note.midi - semitone
        bends[start] = float(current)
        for tick, value in zip(ticks.tolist(), values.tolist(), strict=True):
            if abs(value - current) > BEND_STEP and start < tick < stop:
                bends[int(tick)] = current = value
        bends[stop] = 0.0
    return bends


# ---------------------------------------------------------------- MusicXML


def _read_musicxml(path: Path, track: str | int | None = None) -> NoteSequence:
    """One monophonic part, played at its metronome marks.

    Without a mark the tempo is 120. Grace notes have no length and are left
    out; repeats are not unfolded.
    """
    music21 = _library("music21", "music21", "musicxml")
    data = _bytes(path)
    if data.startswith(b"PK"):
        data = _unpacked(data)
    try:
        score = music21.converter.parseData(data.decode(), format="musicxml")
    # The parser raises whatever its many classes raise.
    except Exception as error:
        reason = str(error).split("\n")[0] or type(error).__name__
        raise NoteError(f"is not readable MusicXML ({reason:.80})") from None
    parts = [p for p in score.parts if len(p.flatten().notes)]
    if not parts and track is None:
        return NoteSequence()
    part = _choose(parts, [str(p.partName or "") for p in parts], track)
    marks = _tempo_marks(score)
    notes, words = [], []
    for element in part.stripTies().flatten().notes:
        if not element.quarterLength:
            continue
        onset = _seconds(marks, element.offset)
        if len(getattr(element, "pitches", ())) != 1:
            raise NoteError(
                f"is polyphonic: at {onset:.3f} s there is not exactly one "
                "pitch: give a melody with one note at a time"
            )
        offset = _seconds(marks, element.offset + element.quarterLength)
        pitch = float(element.pitches[0].ps)
        notes.append(Note(onset, offset, pitch))
        text = element.lyric or ""
        if text and element.lyrics[0].syllabic in ("begin", "middle"):
            text += "-"
        words.append((onset, text))
    return _with_lyrics(notes, words)


def _tempo_marks(score) -> list[tuple[Fraction, float, float]]:
    """Quarter position, second and seconds per quarter of each tempo."""
    marks, second = [], 0.0
    for start, stop, mark in score.flatten().metronomeMarkBoundaries():
        rate = 60.0 / float(mark.getQuarterBPM() or MIDI_QPM)
        marks.append((Fraction(start), second, rate))
        second += float(Fraction(stop) - Fraction(start)) * rate
    return marks or [(Fraction(0), 0.0, 60.0 / MIDI_QPM)]


def _seconds(marks, quarters) -> float:
    starts = [start for start, _, _ in marks]
    index = max(bisect_right(starts, Fraction(quarters)) - 1, 0)
    start, second, rate = marks[index]
    return second + float(Fraction(quarters) - start) * rate


def _unpacked(data: bytes) -> bytes:
    """Find the score inside a compressed MusicXML file."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for entry in archive.infolist():
                name = entry.filename.lower()
                if not name.endswith((".xml", ".musicxml")) or name.startswith(
                    "meta-inf/"
                ):
                    continue
                if entry.file_size > MAX_UNPACKED_BYTES:
                    raise NoteError(
                        f"unpacks to {entry.file_size} bytes, more than "
                        f"{MAX_UNPACKED_BYTES}: not a melody"
                    )
                return archive.read(entry)
    except (zipfile.BadZipFile, OSError, ValueError, RuntimeError) as error:
        raise NoteError(f"is a damaged .mxl file ({error})") from None
    raise NoteError("is a .mxl file without a score in it")


def _write_musicxml(
    notes: NoteSequence,
    path: Path,
    tempo: float = MIDI_QPM,
    grid: int = 8,
    first_beat_s: float = 0.0,
    beats_per_bar: int = 4,
    key: str | None = None,
    title: str = " ",
) -> None:
    """Write a score at a constant tempo, with times on a grid.

    `grid` steps per quarter note: 8 (the default) at tempo 120 is a step of
    62.5 ms, so times move by up to 31 ms. Give the song's tempo for a score
    that reads well. A first beat after 0 s moves all notes so that a bar
    begins there. Pitches are rounded to semitones, and spelled as the key
    ("Bb major", "a minor") has them. A lyric that ends in a hyphen is written
    as a part of a word.
    """
    music21 = _library("music21", "music21", "musicxml")
    if not (tempo > 0 and int(grid) == grid and grid > 0):
        raise OutputError(
            f"tempo {tempo} and grid {grid} must both be above 0, the grid a "
            "whole number"
        )
    notes = notes.shift(-first_beat_s % (beats_per_bar * 60 / tempo))
    lowest = min((_semitone(note.midi) for note in notes), default=127)
    if lowest < MUSICXML_LOWEST:
        raise OutputError(
            f"pitch {lowest} is below {MUSICXML_LOWEST} (C0), the lowest that "
            "MusicXML can write: choose another format or transpose"
        )
    part = music21.stream.Part()
    part.partName = "Voice"
    part.append(music21.tempo.MetronomeMark(number=tempo))
    part.append(music21.meter.TimeSignature(f"{beats_per_bar}/4"))
    sharps = 0
    if key is not None:
        tonic, _, mode = key.partition(" ")
        tonic = tonic[:1].upper() + tonic[1:].replace("b", "-")
        signature = music21.key.Key(tonic, mode or None)
        part.append(signature)
        sharps = signature.sharps
    end, parted = 0, False
    for start, stop, note in _on_grid(notes, tempo / 60 * grid):
        if start > end:
            part.append(
                music21.note.Rest(quarterLength=Fraction(start - end, grid))
            )
        sung = music21.note.Note(
            _semitone(note.midi), quarterLength=Fraction(stop - start, grid)
        )
        _spell(sung.pitch, sharps)
        text = _clean(note.lyric)
        if text:
            begins, parted = not parted, len(text) > 1 and text[-1] == "-"
            sung.lyrics.append(_lyric(music21, text, begins, parted))
        part.append(sung)
        end = stop
    if not len(notes):
        part.append(music21.note.Rest(quarterLength=4))
    score = music21.stream.Score([part])
    score.insert(0, music21.metadata.Metadata(title=title or " "))
    with redirect_stderr(io.StringIO()):  # remarks about single beams
        data = music21.musicxml.m21ToXml.GeneralObjectExporter(score).parse()
    if path.suffix.lower() != ".mxl":
        path.write_bytes(data)
        return
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            "META-INF/container.xml",
            '<?xml version="1.0" encoding="UTF-8"?><container><rootfiles>'
            '<rootfile full-path="score.musicxml"/></rootfiles></container>',
        )
        archive.writestr("score.musicxml", data)


def _spell(pitch, sharps: int) -> None:
    """Write Db in keys with flats, C# in keys with sharps."""
    alter = pitch.accidental.alter if pitch.accidental is not None else 0
    if sharps < 0 < alter:
        pitch.getHigherEnharmonic(inPlace=True)
    elif alter < 0 < sharps:
        pitch.getLowerEnharmonic(inPlace=True)


def _lyric(music21, text: str, begins: bool, parted: bool):
    """A syllable, told whether its word begins and ends with it."""
    kind = {
        (True, False): "single",
        (True, True): "begin",
        (False, True): "middle",
        (False, False): "end",
    }[begins, parted]
    made = music21.note.Lyric()
    made.text, made.syllabic = text[:-1] if parted else text, kind
    return made


# ---------------------------------------------------------------- JAMS


def _read_jams(path: Path, track: str | int | None = None) -> NoteSequence:
    """Annotation `note_midi` or `note_hz`, and `lyrics` if there is one."""
    jams = _library("jams", "jams", "jams")
    text = _text(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            jam = jams.load(io.StringIO(text), fmt="jams")
    # The library raises its own, jsonschema's and pandas's errors.
    except Exception as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise NoteError(f"is not a valid JAMS file ({reason:.80})") from None
    found = [*jam.search(namespace="^note_(midi|hz)$")]
    if not found:
        raise NoteError(
            "has no note_midi or note_hz annotation: nothing to read"
        )
    names = [str(a.annotation_metadata.data_source or "") for a in found]
    chosen = _choose(found, names, track)
    notes = []
    for position, row in enumerate(chosen.data, start=1):
        with _line(position, "note"):
            pitch = _real(row.value)
            if chosen.namespace == "note_hz":
                if not pitch > 0:
                    raise NoteError(f"pitch {pitch:g} Hz is not above 0")
                pitch = float(hz_to_midi(pitch))
            confidence = row.confidence
            if not isinstance(confidence, int | float):
                confidence = None
            offset = row.time + row.duration
            notes.append(Note(row.time, offset, pitch, None, confidence))
    words = [
        (row.time, str(row.value))
        for annotation in jam.search(namespace="^lyrics$")
        for row in annotation.data
    ]
    return _with_lyrics(_unrounded(notes), words)


def _write_jams(notes: NoteSequence, path: Path) -> None:
    sung = [(n.onset, n.offset, n.lyric, None) for n in notes if n.lyric]
    _save_jams({"": notes}, path, notes.end, {"lyrics": sung} if sung else {})


def write_song_jams(
    melodies: Mapping[str, NoteSequence],
    path,
    seconds: float,
    rows: Mapping[str, Iterable] | None = None,
    title: str = "",
    artist: str = "",
    overwrite: bool = False,
) -> Path:
    """Write all that is known about a song as one JAMS file.

    Arguments
    ---------
    melodies : mapping of str to NoteSequence
        By the names of their singers.
    path : str or Path
        The file, ending in .jams.
    seconds : float
        Length of the song.
    rows : mapping of str to iterable of (onset, offset, value, confidence)
        Further annotations by their namespaces in JAMS, such as "lyrics",
        "beat", "tempo" or "key_mode". Default: none.
    title, artist : str
        Of the song.
    overwrite : bool
        Whether an existing file may be replaced. Default: False.

    Returns
    -------
    Path

    Raises
    ------
    OutputError
        If the file exists or cannot be written.
    DependencyError
        If jams is missing.
    """
    with atomic_path(path, overwrite) as temporary:
        _save_jams(melodies, temporary, seconds, rows or {}, title, artist)
    return Path(path)


def _save_jams(melodies, path, seconds, rows, title="", artist=""):
    jams = _library("jams", "jams", "jams")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        jam = jams.JAMS(
            file_metadata=jams.FileMetadata(
                duration=seconds, title=title, artist=artist
            )
        )
        for name, notes in melodies.items():
            pitches = jams.Annotation("note_midi", time=0, duration=seconds)
            pitches.annotation_metadata.data_source = name
            for note in notes:
                pitches.append(
                    time=note.onset,
                    duration=note.duration,
                    value=note.midi,
                    confidence=note.confidence,
                )
            jam.annotations.append(pitches)
        for namespace, found in rows.items():
            made = jams.Annotation(namespace, time=0, duration=seconds)
            for onset, offset, value, confidence in found:
                made.append(
                    time=onset,
                    duration=offset - onset,
                    value=value,
                    confidence=confidence,
                )
            jam.annotations.append(made)
        jam.save(str(path), fmt="jams")


# ---------------------------------------------------------------- helpers

FORMATS: dict[str, Format] = {
    "mid": Format((".mid", ".midi"), _read_midi, _write_midi),
    "csv": Format((".csv",), _read_csv, _write_csv),
    "json": Format((".json",), _read_json, _write_json),
    "mir_st500": Format((), _read_mir_st500, _write_mir_st500),
    "tonas": Format((".notes.Corrected", ".notes"), _read_tonas, _write_tonas),
    "labels": Format((".txt",), _read_labels, _write_labels),
    "musicxml": Format(
        (".musicxml", ".xml", ".mxl"), _read_musicxml, _write_musicxml
    ),
    "jams": Format((".jams",), _read_jams, _write_jams),
}


def _suffix(name: str) -> str | None:
    """Find the longest known suffix of a file's name."""
    suffixes = [s for known in FORMATS.values() for s in known.suffixes]
    for suffix in sorted(suffixes, key=len, reverse=True):
        if name.lower().endswith(suffix.lower()):
            return suffix
    return None


def _format_name(path: Path, format: str | None) -> str:
    """Name of the format, given or by suffix; KeyError with a message."""
    if format is not None:
        if format not in FORMATS:
            raise KeyError(
                f"unknown note format {format!r}: use one of "
                f"{', '.join(FORMATS)}"
            )
        return format
    suffix = _suffix(path.name)
    for name, known in FORMATS.items():
        if suffix in known.suffixes:
            return name
    raise KeyError(
        f"no note format has the suffix {path.suffix!r}: rename it or name "
        f"one of {', '.join(FORMATS)}"
    )


def _library(module: str, package: str, extra: str | None = None):
    """Import an optional library."""
    return optional_library(module, package, extra, "this note format")


@contextmanager
def _naming(path) -> Iterator[None]:
    """Start the message of a NoteError with the file's name."""
    try:
        yield
    except NoteError as error:
        raise NoteError(f"{path}: {error}") from None


@contextmanager
def _line(number, kind: str = "line") -> Iterator[None]:
    """Add the line (or the note, or the song) to a NoteError."""
    try:
        yield
    except NoteError as error:
        raise NoteError(f"{kind} {number}: {error}") from None


def _bytes(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise NoteError("no such file: check the name") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise NoteError(f"cannot be read: {reason}") from None
    return data


def _text(path: Path) -> str:
    data = _bytes(path)
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise NoteError("is UTF-16 text: save it as UTF-8")
    if b"\0" in data:
        raise NoteError("holds binary data where text is expected")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise NoteError(
            f"line {line}: is not UTF-8 text (byte {data[error.start]:#04x}): "
            "save it as UTF-8"
        ) from None


def _json(path: Path):
    def unique(pairs):
        data = dict(pairs)
        if len(data) < len(pairs):
            seen: set = set()
            twice = next(k for k, _ in pairs if k in seen or seen.add(k))
            raise NoteError(f"has the key {twice!r} twice: remove one")
        return data

    text = _text(Path(path))
    if not text.strip():
        raise NoteError("is empty: expected JSON")
    try:
        return json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        raise NoteError(f"line {error.lineno}: not JSON: {error.msg}") from None
    except (ValueError, RecursionError) as error:
        raise NoteError(f"is not usable JSON: {error}") from None


def _save(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")


def _number(text: str) -> float:
    """Parse a number of a text file."""
    try:
        if "_" in text:  # Python's own notation, not a data file's
            raise ValueError
        return float(text)
    except ValueError:
        raise NoteError(f"{_quote(text)} is not a number") from None


def _real(value) -> float:
    """Check a number of a JSON file."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise NoteError(f"{value!r:.40} is not a number")
    try:
        return float(value)
    except OverflowError:
        raise NoteError("a number is too large") from None


def _quote(text: str) -> str:
    """Text of a user, short and on one line."""
    return repr(text if len(text) <= 60 else text[:57] + "...")


def _listing(names: Iterable[str]) -> str:
    names = [str(name) for name in names]
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more


def _decimal(value: float) -> str:
    """At most nine decimals, without trailing zeros."""
    return f"{value:.9f}".rstrip("0").rstrip(".")


def _rows(notes: NoteSequence) -> Iterator[list[str]]:
    """Onset, offset and pitch as short decimal text."""
    for note in notes:
        onset, offset = _decimal(note.onset), _decimal(note.offset)
        if onset == offset:  # shorter than 1 ns: write it exactly
            onset, offset = repr(note.onset), repr(note.offset)
        yield [onset, offset, _decimal(note.midi)]


def _unrounded(notes: list[Note]) -> list[Note]:
    """Let notes touch whose rounded times cross by the rounding error."""
    fixed: list[Note] = []
    for note in notes:
        if (
            fixed
            and 0 < fixed[-1].offset - note.onset < ROUNDING_S
            and note.onset > fixed[-1].onset
        ):
            fixed[-1] = replace(fixed[-1], offset=note.onset)
        fixed.append(note)
    return fixed


def _on_grid(
    notes: NoteSequence, rate: float
) -> Iterator[tuple[int, int, Note]]:
    """Onsets and offsets in whole steps, every note at least one long."""
    end = 0
    for note in notes:
        start = max(round(note.onset * rate), end)
        end = max(round(note.offset * rate), start + 1)
        yield start, end, note


def _semitone(midi: float) -> int:
    """Round to the nearest semitone; halves go up."""
    return min(int(midi + 0.5), 127)


def _clean(lyric: str | None) -> str | None:
    """Put a lyric on one line; None if nothing is left."""
    return " ".join(lyric.split()) or None if lyric else None


def _with_lyrics(notes: list[Note], words) -> NoteSequence:
    """Give each word to the note whose onset is nearest."""
    onsets = np.array([note.onset for note in notes])
    found: dict[int, str] = {}
    for time, text in words:
        if not len(onsets) or not _clean(text):
            continue
        index = int(np.argmin(np.abs(onsets - time)))
        if abs(onsets[index] - time) <= LYRIC_TOLERANCE_S:
            found[index] = f"{found.get(index, '')} {text}"
    return NoteSequence(
        replace(note, lyric=_clean(found.get(index)))
        for index, note in enumerate(notes)
    )


def _choose(parts: list, names: list[str], track: str | int | None):
    """Pick the only part, or the one of that name or index (from 0)."""
    if track is None:
        if len(parts) == 1:
            return parts[0]
        raise NoteError(
            f"has {len(parts)} tracks with notes ({_listing(names)}): keep "
            "only the melody or name its track"
        )
    if isinstance(track, int):
        if 0 <= track < len(parts):
            return parts[track]
    elif names.count(track) == 1:
        return parts[names.index(track)]
    raise NoteError(
        f"has no single track {track!r} with notes: choose from "
        f"{_listing(names) or 'none'} or give an index below {len(parts)}"
    )
