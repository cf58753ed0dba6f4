"""Remixes of songs with lyrics on disk, as further training songs.

Stems of different songs in one tempo and key, cut only between lines of lyrics;
see `speechbrain_ext.mixing.remix`. Layout:

    audio/remix_<index>/mixture.flac      stereo, 16 bits, at the songs' rate
                        vocals.flac  accompaniment.flac
                        drums.flac  bass.flac  other.flac     if asked for
    train.csv        manifest: a remix is a song
    lines.csv        lines of lyrics, as in `data_prep.musdb18_lyrics`
    remixes.csv      what each remix is made of: per stem the song, trim_s,
                     speed, semitones, delay_s
    analysis/<song>.json     tempo, beats and key of each song; kept for other
                             remixes in this folder
    prepared.json    the done-marker

Each remix is drawn from (seed, index) and the songs there are: the same for any
number of workers. Songs for validation and testing are refused, those of
MUSDB18's own list of validation songs too, so that no model that was trained
on remixes knows what it is validated with.
"""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from data_prep.clips import ClipSummary, check_earlier, checksum, make_files
from data_prep.manifest import (
    MANIFEST_ROOT,
    STEMS,
    check_segment_s,
    read_manifest,
    segments,
    write_manifest,
)
from data_prep.musdb18_lyrics import (
    DEV_SONGS,
    HELD_OUT,
    TABLE,
    lines_by_song,
    read_lines,
    write_lines,
)
from speechbrain_ext.audio import (
    read_audio,
    split_channel,
    write_audio,
)
from speechbrain_ext.errors import ConfigError, ManifestError, SingBrainError
from speechbrain_ext.files import atomic_path
from speechbrain_ext.mixing.remix import (
    ANALYSIS_RATE,
    Remix,
    RemixSettings,
    SongAnalysis,
    analyse_song,
    check_songs,
    draw_remix,
    plan_rows,
    render_remix,
)

# Columns of a manifest that remixes are made from, by stem.
COLUMNS = {"vocals": "wav"} | {c.removesuffix("_wav"): c for c in STEMS}

ANALYSES = "analysis"
PLANS = "remixes.csv"

# Raised when what a preparation writes changes.
_VERSION = 1


def prepare_remixes(
    data_folder,
    output_folder,
    data_root=None,
    songs=None,
    passes: int = 15,
    seed: int = 0,
    tempo: float = 0.25,
    semitones: int = 4,
    max_shift_s: float = 4.0,
    min_s: float = 10.0,
    min_words: int = 10,
    keep_vocals: bool = False,
    stems: bool = False,
    mono: bool = False,
    segment_s: float = 5.0,
    n_jobs: int = 1,
    overwrite: bool = False,
) -> ClipSummary:
    """Write remixes of songs with lyrics, their manifest and their lines.

    An interrupted run goes on where it stopped. The result is the same for any
    number of workers.

    Arguments
    ---------
    data_folder : str or Path
        Manifest (CSV) of training songs with stems; the table of their lines,
        `lines.csv`, lies beside it, as `singbrain prepare musdb18_lyrics`
        writes them.
    output_folder : str or Path
        Gets the remixes. An hour of stereo music takes about 1 GB.
    data_root : str or Path, optional
        Folder of the corpus, where the manifest names `{data_root}`.
    songs : list of str, optional
        Songs to use. Default: all of the manifest.
    passes : int
        How often each song is the one that the others are fitted to; of these
        remixes, those that are long enough are kept. Default: 15.
    seed : int
        Of the draws. Default: 0.
    tempo, semitones, max_shift_s, min_s, min_words, keep_vocals
        As in `mixing.remix.RemixSettings`.
    stems : bool
        Whether drums, bass and other are written too. Default: False.
    mono : bool
        Whether channels are averaged. Default: False.
    segment_s : float
        Length of a segment of the manifest in seconds. Default: 5.
    n_jobs : int
        Songs, then remixes, worked on at a time.
    overwrite : bool
        Whether remixes made with other options may be replaced.

    Returns
    -------
    ClipSummary

    Raises
    ------
    ConfigError
        If an option is out of range, or a song is for validation or testing.
    ManifestError
        If the manifest or the table of lines is invalid or lacks the stems, or
        fewer than two songs can be used, or no remix can be made.
    AudioError
        If a song is not readable.
    DependencyError
        If the libraries of the extra `remix` are not installed.
    OutputError
        If the output holds something else or cannot be written.
    """
    settings = RemixSettings(
        tempo, semitones, max_shift_s, min_s, min_words, keep_vocals
    )
    for name, value, least in (("passes", passes, 1), ("seed", seed, 0)):
        if not isinstance(value, int) or value < least:
            raise ConfigError(
                f"{name} is {value!r}: use a whole number from {least}"
            )
    for name, value in (("stems", stems), ("mono", mono)):
        if not isinstance(value, bool):
            raise ConfigError(f"{name} is {value!r}: use true or false")
    check_segment_s(segment_s)
    manifest, output = Path(data_folder), Path(output_folder)
    rows = {row["song_id"]: row for row in read_manifest(manifest, data_root)}
    table = manifest.parent / TABLE
    lines = lines_by_song(read_lines(table))
    names = _songs(rows, lines, songs)
    for column in ("mix_wav", *COLUMNS.values()):
        lacking = [name for name in names if not rows[name].get(column)]
        if lacking:
            raise ManifestError(
                f"{manifest}: {lacking[0]} has no {column}: prepare the songs "
                "with stems=true"
            )
    media = {
        name: {s: rows[name][column] for s, column in COLUMNS.items()}
        | {"mixture": rows[name]["mix_wav"]}
        for name in names
    }
    sizes = {
        name: [os.path.getsize(split_channel(f)[0]) for f in files.values()]
        for name, files in media.items()
    }
    marker = {
        "version": _VERSION,
        "corpus": "remixes",
        "options": asdict(settings)
        | {"passes": passes, "seed": seed, "stems": stems, "mono": mono}
        | {"segment_s": float(segment_s)},
        "checksum": checksum(
            sizes,
            [[asdict(line) for line in lines[name]] for name in names],
        ),
    }
    check_earlier(output, marker, overwrite)
    analyses = _analyses(output / ANALYSES, media, sizes, n_jobs, overwrite)
    usable = {name: a for name, a in analyses.items() if not a.reason}
    for name, analysis in analyses.items():
        if analysis.reason:
            _tell(f"{name} {analysis.reason} and is left out")
    if len(usable) < 2:
        raise ManifestError(
            f"{manifest}: {len(usable)} of {len(names)} songs have a beat: "
            "give at least 2"
        )
    count = passes * len(usable)
    drawn = [draw_remix(usable, lines, seed, k, settings) for k in range(count)]
    remixes = {f"remix_{r.index:04d}": r for r in drawn if r is not None}
    if not remixes:
        raise ManifestError(
            f"{manifest}: none of {count} remixes has fitting songs, {min_s:g} "
            f"s and {min_words} words: give more songs or wider limits"
        )
    if len(remixes) < count:
        _tell(
            f"{count - len(remixes)} of {count} remixes have no fitting songs, "
            f"less than {min_s:g} s or fewer than {min_words} words and are "
            "left out"
        )
    kinds = ["mixture", "vocals", "accompaniment"]
    kinds += [kind for kind in COLUMNS if stems and kind != "vocals"]
    jobs = [
        (
            remix,
            {part.song: media[part.song] for part in remix.parts},
            [f"audio/{name}/{kind}.flac" for kind in kinds],
            mono,
        )
        for name, remix in remixes.items()
    ]
    fresh = make_files(
        output,
        marker,
        _make,
        jobs,
        [file for job in jobs for file in job[2]],
        partial(_write_tables, remixes, rows, kinds, float(segment_s)),
        n_jobs,
        overwrite,
    )
    hours = sum(remix.length_s for remix in remixes.values()) / 3600
    return ClipSummary(
        "remixes",
        "split",
        (("mixture", "train", len(remixes), hours),),
        license="that of the songs: " + _licenses(rows[name] for name in names),
        fresh=fresh,
    )


def _tell(remark: str) -> None:
    print(f"remixes: {remark}", file=sys.stderr)


def _songs(rows: dict, lines: dict, songs: Sequence[str] | None) -> list[str]:
    """Choose songs; refuse those that nobody may train on."""
    splits = {name: row["split"] for name, row in rows.items()}
    if songs is None:
        # In training sets with lyrics by their authors' choice, but others
        # validate with them.
        spared = [n for n in rows if n in HELD_OUT - DEV_SONGS]
        unsung = [n for n in rows if n not in lines and n not in spared]
        for names, why in (
            (spared, "others validate with them"),
            (unsung, "they have no lines of lyrics"),
        ):
            if names:
                _tell(f"left out, because {why}: {', '.join(names)}")
        songs = [name for name in rows if name not in {*spared, *unsung}]
    elif isinstance(songs, str):
        songs = [songs]
    check_songs(songs, splits)
    for name in songs:
        if name not in lines:
            raise ConfigError(f"{name} has no lines of lyrics: leave it out")
    # The table may have been written for other manifests.
    check_songs(songs, {name: lines[name][0].split for name in songs})
    return sorted(songs)


def _analyses(folder: Path, media, sizes, n_jobs, overwrite) -> dict:
    """Tempo, beats and key of songs, from the folder or heard now."""
    files = {name: f"{name}.json" for name in media}
    marker = {
        "version": _VERSION,
        "corpus": "analysis of remixes",
        "options": {},
        "checksum": checksum(sizes),
    }
    jobs = [(name, media[name], file) for name, file in files.items()]
    make_files(
        folder,
        marker,
        _analyse,
        jobs,
        files.values(),
        lambda _: [],
        n_jobs,
        overwrite,
    )
    found = {}
    for name, file in files.items():
        facts = json.loads((folder / file).read_text(encoding="utf-8"))
        lists = {key: tuple(v) for key, v in facts.items() if type(v) is list}
        found[name] = SongAnalysis(**facts | lists)
    return found


def _analyse(output: Path, name: str, media: dict, file: str):
    """Analyse a song; give an error, not raise it."""
    if (output / file).is_file():
        return None
    try:
        sounds = {
            kind: read_audio(path, sample_rate=ANALYSIS_RATE)
            for kind, path in media.items()
        }
        found = analyse_song(name, sounds.pop("mixture"), sounds)
        with atomic_path(output / file) as path:
            path.write_text(json.dumps(asdict(found)), encoding="utf-8")
    except SingBrainError as error:
        return error
    return None


def _make(output: Path, remix: Remix, media: dict, files: list, mono: bool):
    """Write a remix; give an error, not raise it."""
    if all((output / file).is_file() for file in files):
        return None
    try:
        sounds, rate = render_remix(remix, media, mono)
        for file in files:
            wav = sounds[Path(file).stem]
            write_audio(output / file, wav, rate, overwrite=True)
    except SingBrainError as error:
        return error
    return None


def _write_tables(remixes, rows, kinds, segment_s, output: Path) -> list[str]:
    """Write the manifest, the lines, and what remixes are made of."""
    columns = {
        "mixture": "mix_wav",
        "accompaniment": "accomp_wav",
        **COLUMNS,
    }
    songs, lines, plans = [], [], []
    for name, remix in remixes.items():
        parts = segments(remix.length_s, segment_s)
        used = [rows[part.song] for part in remix.parts]
        songs += [
            {
                "ID": f"{name}_{number}",
                "song_id": name,
                "segment": number,
                "n_segments": len(parts),
                "start": start,
                "stop": stop,
                "duration": stop - start,
                "split": "train",
                "singer": rows[remix.vocals.song]["singer"],
                "license": _licenses(used),
            }
            | {
                columns[kind]: f"{MANIFEST_ROOT}/audio/{name}/{kind}.flac"
                for kind in kinds
            }
            for number, (start, stop) in enumerate(parts, start=1)
        ]
        lines += [
            replace(line, song=name, line=number)
            for number, line in enumerate(remix.lines, start=1)
        ]
        plans += plan_rows(remix, name)
    write_manifest(songs, output / "train.csv", overwrite=True)
    write_lines(lines, output / TABLE, overwrite=True)
    with (
        atomic_path(output / PLANS, overwrite=True) as path,
        path.open("w", newline="", encoding="utf-8") as stream,
    ):
        writer = csv.DictWriter(stream, list(plans[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(plans)
    return ["train.csv", TABLE, PLANS]


def _licenses(rows) -> str:
    """Licences of several songs, each once."""
    return ", ".join(sorted({row["license"] for row in rows}))
