"""Scores of a model of sound and lips in noise and with bad pictures.

Every song is encoded, and asked for its onsets, once per noise and once per
kind of picture; what is heard and what is seen are then put together in all
ways, so that a sweep costs little more than the encoders. The noises and levels
are those of Gu et al. (ACM TOMM 2024).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from speechbrain_ext.datasets import cached_notes, noisy, read_slice
from speechbrain_ext.encoders.two_stream import MODALITIES, streams_of
from speechbrain_ext.errors import ManifestError
from speechbrain_ext.files import atomic_path
from speechbrain_ext.frames import FRAME_RATE
from speechbrain_ext.inference.synchrony import estimate_lag
from speechbrain_ext.lip_datasets import lost_pictures, pictures_at
from speechbrain_ext.metrics.notes import NoteStats
from speechbrain_ext.metrics.stats import percent_cell

METRICS = ("COn", "COnP", "COnPOff", "COff")


@dataclass(frozen=True, order=True)
class Condition:
    """How songs are heard and seen.

    Arguments
    ---------
    noise : str
        Kind of noise; "clean" for none.
    db : float or None
        Level of the voice above it.
    picture : str
        "whole", or what is wrong with it.
    modality : {"audio", "video", "both"}
        What the model gets.
    """

    noise: str
    db: float | None
    picture: str
    modality: str

    def __str__(self):
        level = "" if self.db is None else f"{self.db:+g} dB"
        return f"{self.noise:14}{level:>7}  {self.picture:14}{self.modality:6}"


def sweep(
    transcriber,
    rows,
    noises,
    levels_db,
    missing=(),
    late_s=(),
    modalities=MODALITIES,
    progress=None,
) -> dict[Condition, NoteStats]:
    """Score songs in all combinations of noise, picture and modality.

    Arguments
    ---------
    transcriber : AudioVisualTranscriber
    rows : list of dict
        Manifest rows of whole songs, with `wav`, `video` and `notes`, and
        `accomp_wav` for accompaniment.
    noises : dict of str to (str or None)
        Folder of recordings by kind of noise (`mixing.noise`); None:
        synthesised.
    levels_db : sequence of float
        Levels of the voice above the noise.
    missing : sequence of float
        Shares of pictures that are missing.
    late_s : sequence of float
        How late the picture comes, in seconds.
    modalities : sequence of str
        Default: audio, video, both.
    progress : callable, optional
        Called with the number of songs done and of all songs.

    Returns
    -------
    dict of Condition to NoteStats
        The picture does not matter to audio, nor noise to video: these are
        scored once, with a whole picture and without noise.

    Raises
    ------
    ManifestError
        If a song lacks a medium.
    """
    songs = {}
    for row in rows:
        for medium in ("wav", "video", "notes"):
            if not row.get(medium):
                raise ManifestError(
                    f"segment {row['ID']} has no {medium}: prepare the corpus "
                    "with all of wav, video and notes"
                )
        known = songs.setdefault(row["song_id"], dict(row))
        known["song_end"] = max(known.get("song_end", 0.0), row["stop"])
    pictures = {"whole": {}}
    pictures |= {f"{100 * s:g} % missing": {"missing": s} for s in missing}
    pictures |= {f"{1000 * s:g} ms late": {"late_s": s} for s in late_s}
    results: dict[Condition, NoteStats] = {}
    for done, (song_id, row) in enumerate(sorted(songs.items()), start=1):
        notes = cached_notes(row["notes"])
        seen, seen_onsets = {}, {}
        if {"video", "both"} & set(modalities):
            for name, fault in pictures.items():
                seen[name] = transcriber.look(_pictures(row, **fault))
        if "both" in modalities:
            seen_onsets = {
                name: transcriber.onsets(None, feats)
                for name, feats in seen.items()
            }
        versions = [("clean", None, row)]
        if {"audio", "both"} & set(modalities):
            versions += [
                (kind, float(db), noisy([row], kind, db, folder)[0])
                for kind, folder in noises.items()
                for db in levels_db
            ]
        for kind, db, version in versions:
            heard = heard_onsets = None
            if transcriber.hears:
                wav = read_slice(version, 0.0, row["song_end"])
                heard = transcriber.listen([wav])
            if "both" in modalities:
                heard_onsets = transcriber.onsets(heard, None)
            for modality in modalities:
                hears, sees = streams_of(modality)
                if kind != "clean" and not hears:
                    continue
                for name in pictures if sees else ["whole"]:
                    lag = None
                    if hears and sees:
                        lag = _lag(heard_onsets, seen_onsets[name])
                    analysis = transcriber.analyse_streams(
                        heard if hears else None,
                        seen[name] if sees else None,
                        lag=lag,
                    )
                    stats = results.setdefault(
                        Condition(kind, db, name, modality), NoteStats()
                    )
                    decoder = transcriber.decoder_of(modality)
                    stats.append(song_id, notes, decoder(analysis.posteriors))
        if progress is not None:
            progress(done, len(songs))
    return results


def _lag(heard, seen):
    """Lag of two tracks of onsets, as long as the shorter one."""
    count = min(len(heard), len(seen))
    return estimate_lag(heard[:count], seen[:count])


def _pictures(row, missing=0.0, late_s=0.0):
    """A song's pictures, some of them missing, all of them late."""
    count = round(row["song_end"] * FRAME_RATE)
    times = (np.arange(count) + 0.5) / FRAME_RATE
    crops = pictures_at(row["video"], times - late_s)
    if missing:
        lost = lost_pictures(row["song_id"], times, missing)
        crops = np.where(lost[:, None, None], np.uint8(0), crops)
    return crops


def robustness_table(results) -> str:
    """Scores of all conditions as text.

    Arguments
    ---------
    results : dict of Condition to NoteStats
        From `sweep`.

    Returns
    -------
    str
        Mean F1 in percent with the half-width of its 95 % interval, one
        condition per line; the protocol below.
    """
    lines = [f"{'F1, %':43}" + "".join(f"{m:>14}" for m in METRICS)]
    for condition, stats in results.items():
        summary = stats.summarize()
        cells = (percent_cell(summary, f"{name}_f1") for name in METRICS)
        lines.append(
            f"{condition!s:43}" + "".join(f"{cell:>14}" for cell in cells)
        )
    one = next(iter(results.values()))
    lines.append(
        f"mean over {len(one)} songs, 95 % bootstrap; {one.protocol()}"
    )
    return "\n".join(lines)


def write_robustness_csv(results, path, overwrite=False) -> Path:
    """Write the scores of all songs in all conditions.

    Arguments
    ---------
    results : dict of Condition to NoteStats
        From `sweep`.
    path : str or Path
        CSV with the columns `noise, db, picture, modality, song` and F1 by
        metric, 0 to 1.
    overwrite : bool
        Whether an existing file may be replaced. Default: False.

    Returns
    -------
    Path
        The file written.
    """
    import pandas as pd

    table = pd.DataFrame(
        {
            "noise": condition.noise,
            "db": condition.db,
            "picture": condition.picture,
            "modality": condition.modality,
            "song": song.song_id,
            **{name: round(song.scores[name].f1, 6) for name in METRICS},
        }
        for condition, stats in results.items()
        for song in stats.songs
    )
    with atomic_path(path, overwrite) as temporary:
        table.to_csv(temporary, index=False)
    return Path(path)


def run_robustness(hparams, transcriber, rows, folder) -> dict:
    """Score a model in noise and write the report: what recipes share.

    Arguments
    ---------
    hparams : dict
        `test_noise`, `test_noise_db`, `test_missing`, `test_late_frames`: see
        `sweep`.
    transcriber : AudioVisualTranscriber
    rows : list of dict
        Manifest rows of the test songs.
    folder : str or Path
        Gets `noise.csv`, `noise.txt` and `noise.png`; older ones are replaced.

    Returns
    -------
    dict of Condition to NoteStats
    """
    from tqdm import tqdm

    with tqdm(unit="song", desc="noise sweep") as bar:

        def progress(done, total):
            bar.total = total
            bar.update(done - bar.n)

        results = sweep(
            transcriber,
            rows,
            hparams["test_noise"],
            hparams["test_noise_db"],
            [share for share in [hparams["test_missing"]] if share],
            [n / FRAME_RATE for n in [hparams["test_late_frames"]] if n],
            progress=progress,
        )
    write_report(results, folder)
    return results


def write_report(results, folder):
    """Write and print the scores of all conditions.

    Arguments
    ---------
    results : dict of Condition to NoteStats
        From `sweep`.
    folder : str or Path
        Gets `noise.csv`, `noise.txt` and, if a condition has a level,
        `noise.png`; older ones are replaced.
    """
    from speechbrain_ext.report.plots import robustness_curves

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_robustness_csv(results, folder / "noise.csv", overwrite=True)
    table = robustness_table(results)
    with atomic_path(folder / "noise.txt", overwrite=True) as temporary:
        temporary.write_text(table + "\n", encoding="utf-8")
    if any(condition.db is not None for condition in results):
        robustness_curves(results, folder / "noise.png", overwrite=True)
    print(f"\n{table}\n\nscores and picture: {folder}")
