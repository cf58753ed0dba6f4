"""A page that shows and plays a transcription, in one file.

Everything is in the file: sounds (MP3), pictures, numbers and the program. It
asks nothing of any network, and its content policy forbids it to.
"""

from __future__ import annotations

import base64
import html
import itertools
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from urllib.parse import quote

import numpy as np

from speechbrain_ext import audio
from speechbrain_ext.f0 import F0Contour
from speechbrain_ext.files import atomic_path
from speechbrain_ext.lyrics.timed import TimedLyrics
from speechbrain_ext.metrics.notes import METRICS, evaluate_notes
from speechbrain_ext.notes import NoteSequence, midi_to_hz
from speechbrain_ext.report.plots import note_kinds
from speechbrain_ext.rhythm import Rhythm

PICTURE_RATE = 16000
WINDOW = 2048  # samples: 128 ms
HOP = 320  # 20 ms
LOW, HIGH = 36.0, 96.0  # MIDI numbers
PER_SEMITONE = 3
DEPTH_DB = 60.0  # what lies deeper below the loudest is not drawn
MAX_COLUMNS = 20_000
TILE = 4096  # columns: larger pictures are more than some browsers draw
INK = (20, 120, 165)  # blue, green, red: seen on white and on black


@dataclass(frozen=True)
class Melody:
    """Notes of a voice, and what is known of them.

    Arguments
    ---------
    name : str
        Of the singer.
    notes : NoteSequence
    f0 : F0Contour, optional
        Pitch of the voice. Default: none is drawn.
    reference : NoteSequence, optional
        What was sung. Default: nobody knows.
    """

    name: str
    notes: NoteSequence
    f0: F0Contour | None = None
    reference: NoteSequence | None = None


@dataclass(frozen=True)
class Page:
    """What a page shows.

    Arguments
    ---------
    title : str
    seconds : float
        Length of the song.
    melodies : tuple of Melody
    tracks : mapping of str to bytes
        MP3 files by name; the first one is played first. Default: none; the
        notes themselves can be played always.
    words : TimedLyrics
        Default: none.
    rhythm : Rhythm, optional
        Default: no beats are drawn.
    picture : dict, optional
        See `pitch_picture`. Default: none.
    facts : mapping of str to str
        Shown in a line below the title.
    warnings : tuple of str
    """

    title: str
    seconds: float
    melodies: tuple[Melody, ...]
    tracks: Mapping[str, bytes] = field(default_factory=dict)
    words: TimedLyrics = field(default_factory=TimedLyrics)
    rhythm: Rhythm | None = None
    picture: Mapping | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def write_page(page: Page, path, overwrite: bool = False) -> Path:
    """Write a page.

    Arguments
    ---------
    page : Page
    path : str or Path
        The file, ending in .html.
    overwrite : bool
        Whether an existing file may be replaced. Default: False.

    Returns
    -------
    Path

    Raises
    ------
    OutputError
        If the file exists or cannot be written.

    Example
    -------
    >>> melody = Melody("voice", NoteSequence([(0, 1, 60, "la")]))
    >>> path = getfixture("tmp_path") / "report.html"
    >>> text = write_page(Page("Song", 1.0, (melody,)), path).read_text()
    >>> "http" in text.replace("http-equiv", ""), "la" in text
    (False, True)
    """
    folder = resources.files(__package__)
    text = (folder / "page.html").read_text("utf-8")
    # The data comes last: nothing is filled in where a song brings braces.
    for name, value in (
        ("css", (folder / "page.css").read_text("utf-8")),
        ("js", (folder / "page.js").read_text("utf-8")),
        ("title", html.escape(page.title)),
        ("data", _embedded(_data(page))),
    ):
        text = text.replace("{{" + name + "}}", value)
    with atomic_path(path, overwrite) as temporary:
        temporary.write_text(text, "utf-8", newline="\n")
    return Path(path)


def page_of_notes(
    title, notes, reference=None, recording=None, words=None
) -> Page:
    """Page of one melody, with its recording if there is one.

    Arguments
    ---------
    title : str
    notes : NoteSequence
    reference : NoteSequence, optional
        What was sung.
    recording : str or Path, optional
        Audio file, or video with sound.
    words : TimedLyrics, optional

    Returns
    -------
    Page

    Raises
    ------
    AudioError
        If the recording cannot be read.
    """
    tracks, picture, seconds = {}, None, 0.0
    if recording is not None:
        with tempfile.TemporaryDirectory() as folder:
            sound = Path(folder) / "sound.mp3"
            compressed(recording, sound)
            tracks["recording"] = sound.read_bytes()
        picture = pitch_picture(recording)
        seconds = audio.audio_info(recording).duration or 0.0
    return Page(
        title,
        seconds,
        (Melody("", notes, reference=reference),),
        tracks,
        words or TimedLyrics(),
        picture=picture,
    )


def write_index(title, rows, path, overwrite: bool = False) -> Path:
    """Write a page with links to pages of songs, the worst song first.

    Arguments
    ---------
    title : str
    rows : list of (str, str, dict of str to float or None)
        Name of the song, file of its page beside this one, and its scores in
        [0, 1], if it has a reference.
    path : str or Path
        The file, ending in .html.
    overwrite : bool
        Whether an existing file may be replaced. Default: False.

    Returns
    -------
    Path
    """
    heads = list(next((scores for _, _, scores in rows if scores), {}))

    def order(row):
        return list(row[2].values())[:1] if row[2] else [2.0]

    lines = [
        "<tr>"
        f'<td class="text"><a href="{html.escape(quote(file))}">'
        f"{html.escape(name)}</a></td>"
        + "".join(
            f"<td>{100 * scores[head]:.1f}</td>" if scores else "<td></td>"
            for head in heads
        )
        + "</tr>"
        for name, file, scores in sorted(rows, key=order)
    ]
    style = (resources.files(__package__) / "page.css").read_text("utf-8")
    top = "".join(f"<th>{html.escape(head)} F1 %</th>" for head in heads)
    name = html.escape(title)
    text = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<link rel="icon" href="data:,">'
        f"<title>{name}</title>\n<style>\n{style}</style></head>\n"
        f"<body><header><h1>{name}</h1></header>\n<table><thead><tr>"
        f'<th class="text">song</th>{top}</tr></thead>\n<tbody>\n'
        + "\n".join(lines)
        + "\n</tbody></table></body></html>\n"
    )
    with atomic_path(path, overwrite) as temporary:
        temporary.write_text(text, "utf-8", newline="\n")
    return Path(path)


def _embedded(data) -> str:
    """JSON that cannot end the element it stands in."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False)
    return text.replace("<", "\\u003c")


def _data(page: Page) -> dict:
    melodies, scores = [], []
    for melody in page.melodies:
        known, found = note_kinds(melody.reference, melody.notes)
        row = {"name": melody.name}
        if melody.reference is None:
            row["notes"] = _rows(melody.notes, [None] * len(melody.notes))
        else:
            row["notes"] = _rows(melody.notes, found)
            row["reference"] = _rows(melody.reference, known)
            scores += _scores(melody)
        if melody.f0 is not None and len(melody.f0) > 1:
            row["f0"] = _curve(melody.f0)
        melodies.append(row)
    beats = []
    if page.rhythm is not None:
        beats = list(
            zip(page.rhythm.beats, page.rhythm.bar_places(), strict=True)
        )
    return {
        "seconds": max(
            page.seconds,
            *(melody.notes.end for melody in page.melodies),
            *(m.reference.end for m in page.melodies if m.reference),
            0.0,
        ),
        "melodies": melodies,
        "tracks": {
            name: base64.b64encode(sound).decode()
            for name, sound in page.tracks.items()
        },
        "words": [
            [
                word.word,
                round(word.onset, 3),
                round(word.offset, 3),
                word.confidence,
                word.line,
            ]
            for word in page.words
        ],
        "beats": beats,
        "picture": page.picture,
        "facts": dict(page.facts),
        "warnings": list(page.warnings),
        "scores": {
            "heads": ["metric", "precision %", "recall %", "F1 %"],
            "rows": scores,
        },
    }


def _rows(notes, kinds):
    return [
        [
            round(note.onset, 3),
            round(note.offset, 3),
            round(note.midi, 2),
            note.lyric,
            note.confidence,
            kind,
        ]
        for note, kind in zip(notes, kinds, strict=True)
    ]


def _scores(melody):
    found = evaluate_notes(melody.reference, melody.notes)
    name = f" of {melody.name}" if melody.name else ""
    return [
        [metric + name, *(f"{100 * value:.1f}" for value in found[metric])]
        for metric in METRICS
    ]


def _curve(contour):
    """Pitch at even steps, 0 where unvoiced."""
    step = float(np.median(np.diff(contour.times)))
    return {
        "start": float(contour.times[0]),
        "step": step,
        "midi": [round(float(midi), 2) or 0 for midi in contour.midi],
    }


def compressed(path, target, sample_rate=32000) -> None:
    """Write a recording as MP3 with one channel, in bounded memory.

    Arguments
    ---------
    path : str or Path
        Audio file, or video with sound.
    target : str or Path
        File to write, ending in .mp3.
    sample_rate : int
        Its rate, hertz. Default: 32000.

    Raises
    ------
    AudioError
        If the recording cannot be read.
    """
    with audio.AudioWriter(target, sample_rate, 1) as writer:
        for block in audio.stream_audio(path, 10.0, sample_rate=sample_rate):
            writer.write(block[:, None])


def pitch_picture(path) -> dict:
    """Spectrum of a recording on an axis of semitones.

    Arguments
    ---------
    path : str or Path
        Audio file, or video with sound.

    Returns
    -------
    dict
        `low`, `high`: MIDI numbers of the edges; `column_s`: seconds per
        column; `tiles`: PNG pictures side by side, as data URLs, transparent
        where it is silent.

    Raises
    ------
    AudioError
        If the recording cannot be read.
    """
    levels = np.concatenate(list(_levels(path)) or [np.zeros((1, 1))])
    factor = -(-len(levels) // MAX_COLUMNS)
    if factor > 1:
        rest = -len(levels) % factor
        levels = np.pad(levels, ((0, rest), (0, 0)))
        levels = levels.reshape(-1, factor, levels.shape[1]).mean(axis=1)
    decibels = 10 * np.log10(levels + 1e-12)
    top = np.quantile(decibels, 0.999)
    shade = np.clip(1 + (decibels - top) / DEPTH_DB, 0, 1) ** 2
    if top < -100:
        shade[:] = 0
    # Few shades, so that the file is small.
    alpha = (np.round(shade * 31) * (200 / 31)).astype(np.uint8).T[::-1]
    return {
        "low": LOW,
        "high": HIGH,
        "column_s": factor * HOP / PICTURE_RATE,
        "tiles": [
            _png(alpha[:, begin : begin + TILE])
            for begin in range(0, alpha.shape[1], TILE)
        ],
    }


def _levels(path):
    """Power in each band, a column per 20 ms."""
    window = np.hanning(WINDOW).astype(np.float32)
    hertz = np.fft.rfftfreq(WINDOW, 1 / PICTURE_RATE)
    bands = round((HIGH - LOW) * PER_SEMITONE)
    centres = midi_to_hz(LOW + (np.arange(bands) + 0.5) / PER_SEMITONE)
    # As wide as a band, and no narrower than a bin.
    widths = np.maximum(
        centres * (2 ** (1 / (12 * PER_SEMITONE)) - 1), hertz[1]
    )
    weights = np.exp(-0.5 * ((hertz[:, None] - centres) / (widths / 2)) ** 2)
    weights = (weights / weights.sum(axis=0)).astype(np.float32)
    # The middle of the first window is half a column after 0.
    rest = np.zeros((WINDOW - HOP) // 2, np.float32)
    blocks = audio.stream_audio(path, 10.0, sample_rate=PICTURE_RATE)
    tail = np.zeros((WINDOW - HOP) // 2, np.float32)
    for block in itertools.chain(blocks, [tail]):
        samples = np.concatenate([rest, block])
        count = (len(samples) - WINDOW) // HOP + 1
        if count < 1:
            rest = samples
            continue
        frames = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)
        spec = np.fft.rfft(frames[: count * HOP : HOP] * window)
        yield (np.abs(spec) ** 2).astype(np.float32) @ weights
        rest = samples[count * HOP :]


def _png(alpha) -> str:
    import cv2

    image = np.empty((*alpha.shape, 4), np.uint8)
    image[..., :3], image[..., 3] = INK, alpha
    _, data = cv2.imencode(".png", image)
    return "data:image/png;base64," + base64.b64encode(data).decode()
