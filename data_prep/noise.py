"""Noisy copies of songs on disk, for tests that others are to repeat.

The types and levels are those of Gu et al. (ACM TOMM 2024): one draw of noise
per song and type, the same at all levels. Training needs no such copies:
`speechbrain_ext.mixing.noise.noisy` mixes the same while reading.

Layout, 16 kHz mono, floats unless told otherwise:

    <type>/<level>dB/<song>.wav     as babble/-10dB/7.wav
    <type>/<level>dB.csv            manifest: the rows of the songs, as they
                                    are but for `wav`, ID and song ID
    prepared.json                   the done-marker
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from data_prep.clips import ClipSummary, checksum, make_files
from data_prep.manifest import (
    COLUMNS,
    DATA_ROOT,
    MANIFEST_ROOT,
    MEDIA,
    read_manifest,
    write_manifest,
)
from speechbrain_ext.audio import (
    SAMPLE_RATE,
    read_audio,
    split_channel,
    write_audio,
)
from speechbrain_ext.errors import ConfigError, SingBrainError

# Raised when what a preparation writes changes.
_VERSION = 1


def prepare_noise(
    data_folder,
    output_folder,
    kinds=None,
    ratios_db=(-10, -5, 0, 5, 10),
    noise_folder=None,
    data_root=None,
    level: str = "rms",
    construction: str = "joined",
    subtype: str = "FLOAT",
    seed: int = 0,
    n_jobs: int = 1,
    overwrite: bool = False,
) -> ClipSummary:
    """Write songs with noise, and a manifest per type and level.

    An interrupted run goes on where it stopped. The result is the same for any
    number of workers.

    `level="mean_abs"` and `construction="slots"`, with a prepared MUSAN, are
    the published mixtures, but for their draws.

    Arguments
    ---------
    data_folder : str or Path
        Manifest (CSV) of the songs, complete.
    output_folder : str or Path
        Gets the songs and manifests. An hour of singing takes 230 MB per type
        and level.
    kinds : str or list of str, optional
        Types of `mixing.noise.TYPES`. Default: white, babble and natural, and
        accompaniment where all songs have one.
    ratios_db : float or list of float or (float, float)
        Levels of the voice above the noise. Default: -10, -5, 0, 5, 10. In a
        list, a pair is a range, from which each song draws its own.
    noise_folder : str or Path, optional
        Recordings of babble and natural noise, see `mixing.noise.make_noise`;
        of those that `singbrain prepare musan` made, a song gets clips of its
        own split. Default: synthesised.
    data_root : str or Path, optional
        Folder of the corpus, where the manifest names `{data_root}`.
    level : str
        What level means, see `mixing.effects.find_level`. Default: rms.
    construction : str
        How clips become noise, see `mixing.noise.make_noise`. Default: joined.
    subtype : str
        Sample format: "FLOAT" (default), or "PCM_16" for half the space where
        nothing exceeds full scale.
    seed : int
        Of the draws. Default: 0.
    n_jobs : int
        Songs worked on at a time.
    overwrite : bool
        Whether copies made with other options may be replaced.

    Returns
    -------
    ClipSummary

    Raises
    ------
    ConfigError
        If an option is unknown or out of range.
    ManifestError
        If the manifest is invalid or a song has no accompaniment.
    AudioError
        If a song or recording is not readable, or would be clipped.
    OutputError
        If the output holds something else or cannot be written.
    """
    # It brings scipy.signal, which takes longer to import than all else here.
    from speechbrain_ext.mixing.noise import (
        TYPES,
        check_ratio,
        noisy,
        ratio_name,
    )

    manifest = Path(data_folder)
    rows = read_manifest(manifest, data_root)
    if kinds is None:
        kinds = [
            kind
            for kind in TYPES
            if kind != "accompaniment" or all(r.get("accomp_wav") for r in rows)
        ]
    kinds = [kinds] if isinstance(kinds, str) else list(kinds)
    if not isinstance(ratios_db, list | tuple):
        ratios_db = [ratios_db]
    ratios = [check_ratio(ratio) for ratio in ratios_db]
    if not ratios or not kinds:
        raise ConfigError(
            f"ratios_db is {ratios_db} and kinds is {kinds}: give some of each"
        )
    ends = {}
    for row in rows:
        ends[row["song_id"]] = max(ends.get(row["song_id"], 0), row["stop"])
    marker = {
        "version": _VERSION,
        "corpus": "noise",
        "options": {
            "kinds": kinds,
            "ratios_db": ratios,
            "recorded": noise_folder is not None,
            "level": level,
            "construction": construction,
            "subtype": subtype,
            "seed": seed,
        },
        "checksum": checksum(
            manifest.read_text("utf-8"),
            [os.path.getsize(split_channel(row["wav"])[0]) for row in rows],
            _recordings(rows, kinds, noise_folder, construction),
        ),
    }
    tables, jobs = {}, []
    for kind in kinds:
        versions = []
        for ratio in ratios:
            table = f"{kind}/{ratio_name(ratio)}"
            found = noisy(
                rows, kind, ratio, noise_folder, level, construction, seed
            )
            tables[table] = [
                row
                | {
                    "copy": f"{table}/{own['song_id']}.wav",
                    "song_end": ends[own["song_id"]],
                }
                for row, own in zip(found, rows, strict=True)
            ]
            versions.append(tables[table])
        jobs += [
            (copies, subtype)
            for copies in zip(*versions, strict=True)
            if copies[0]["segment"] == 1
        ]
    fresh = make_files(
        output_folder,
        marker,
        _make,
        jobs,
        [row["copy"] for copies, _ in jobs for row in copies],
        partial(_write_tables, tables, data_root),
        n_jobs,
        overwrite,
    )
    hours = sum(ends.values()) / 3600
    return ClipSummary(
        "noise",
        "level",
        tuple((*table.split("/"), len(ends), hours) for table in tables),
        license="that of the songs and of the noise",
        fresh=fresh,
    )


def _recordings(rows, kinds, folder, construction) -> list:
    """What the noise is made of, for the checksum."""
    from speechbrain_ext.mixing.noise import RECORDED, is_prepared, recordings

    if folder is None:
        return []
    splits = {row["split"] if is_prepared(folder) else None for row in rows}
    return [
        (Path(path).relative_to(folder).as_posix(), os.path.getsize(path))
        for kind in RECORDED
        if kind in kinds
        for split in sorted(splits, key=str)
        for path in recordings(folder, kind, split, construction)
    ]


def _make(output: Path, copies: tuple, subtype: str):
    """Write a song with one noise at all levels; give an error, not raise."""
    from speechbrain_ext.mixing.noise import noisy_slice

    try:
        for row in copies:
            if (output / row["copy"]).is_file():
                continue
            wav = read_audio(row["wav"], sample_rate=SAMPLE_RATE)
            wav = noisy_slice(wav, row, 0.0, row["song_end"])
            write_audio(output / row["copy"], wav, SAMPLE_RATE, subtype=subtype)
    except SingBrainError as error:
        return error
    return None


def _write_tables(tables: dict, data_root, output: Path) -> list[str]:
    """Write the manifests."""
    for table, rows in tables.items():
        path = output / f"{table}.csv"
        root = path.absolute().parent
        cells = []
        for row in rows:
            cell = {key: row[key] for key in COLUMNS}
            for name in MEDIA:
                if row.get(name):
                    cell[name] = _cell(row[name], root, data_root)
            cell["wav"] = _cell(output.absolute() / row["copy"], root, None)
            cells.append(cell)
        write_manifest(cells, path, overwrite=True)
    return [f"{table}.csv" for table in tables]


def _cell(path: str, folder: Path, data_root) -> str:
    """Path of a medium as the new manifest writes it."""
    if data_root is not None:
        root = Path(data_root).absolute()
        if Path(path).is_relative_to(root):
            return f"{DATA_ROOT}/{Path(path).relative_to(root).as_posix()}"
    try:
        relative = os.path.relpath(path, folder)
    except ValueError:  # another drive
        return path
    return f"{MANIFEST_ROOT}/{Path(relative).as_posix()}"
