"""Scoring a model in noise against transcribing anew in each condition.

`python -m benchmarks.noise_sweep` writes songs with lips into a temporary
folder and scores the shipped model of sound and lips on them, in two noises at
two levels, from sound, lips and both, with whole, missing and late pictures:
with `inference.robustness.sweep`, which encodes a song once per noise and once
per kind of picture, and by a loop that encodes both anew for each condition. It
prints how many times as fast the former is, and the largest difference between
the scores.
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import soundfile

from benchmarks.common import show, speedup
from speechbrain_ext.datasets import noisy, read_slice
from speechbrain_ext.encoders.two_stream import streams_of
from speechbrain_ext.errors import ConfigError
from speechbrain_ext.formats import read_notes, write_notes
from speechbrain_ext.inference.robustness import METRICS, Condition, sweep
from speechbrain_ext.inference.transcriber import Transcriber
from speechbrain_ext.lip_datasets import lost_pictures, pictures_at
from speechbrain_ext.metrics.notes import NoteStats
from speechbrain_ext.notes import NoteSequence
from speechbrain_ext.video import CROP, write_crops

NOISES = {"white": None, "natural": None}
LEVELS_DB = (-10, 0)
MISSING, LATE_S = 0.25, 0.06
PICTURES = {
    "whole": (0.0, 0.0),
    f"{100 * MISSING:g} % missing": (MISSING, 0.0),
    f"{1000 * LATE_S:g} ms late": (0.0, LATE_S),
}


def write_song(folder, seconds, seed):
    """Write tones that start with an opening mouth, and their notes.

    Arguments
    ---------
    folder : Path
    seconds : float
    seed : int
        Of the pitches.

    Returns
    -------
    dict
        Manifest row.
    """
    rng = np.random.default_rng(seed)
    starts = np.arange(0.5, seconds - 0.5, 0.5)
    pitches = rng.integers(50, 70, len(starts))
    notes = NoteSequence(
        (start, start + 0.4, int(pitch))
        for start, pitch in zip(starts, pitches, strict=True)
    )
    times = np.arange(round(16000 * seconds)) / 16000
    wav = np.zeros(len(times))
    crops = np.full((round(50 * seconds), CROP, CROP), 150, np.uint8)
    crops += rng.integers(0, 9, crops.shape, dtype=np.uint8)
    for start, pitch in zip(starts, pitches, strict=True):
        sung = (times >= start) & (times < start + 0.4)
        hertz = 440 * 2 ** ((pitch - 69) / 12)
        for harmonic in (1, 2, 3):
            phase = 2 * np.pi * harmonic * hertz * times[sung]
            wav[sung] += 0.1 / harmonic * np.sin(phase)
        first = round(50 * start)
        crops[first : first + 20, 40:60, 30:66] = 30
    row = {"ID": f"{seed}", "song_id": f"{seed}", "start": 0.0}
    row |= {"stop": float(seconds), "song_end": float(seconds)}
    row |= {"wav": str(folder / f"{seed}.wav")}
    row |= {"video": str(folder / f"{seed}.npy")}
    row |= {"notes": str(folder / f"{seed}.csv")}
    soundfile.write(row["wav"], wav, 16000)
    write_crops(row["video"], crops)
    write_notes(notes, row["notes"])
    return row


def all_at_once(transcriber, rows):
    """Scores of all conditions by `sweep`.

    Arguments
    ---------
    transcriber : AudioVisualTranscriber
    rows : list of dict

    Returns
    -------
    dict of Condition to NoteStats
    """
    return sweep(transcriber, rows, NOISES, LEVELS_DB, [MISSING], [LATE_S])


def one_by_one(transcriber, rows):
    """The same, each condition for itself.

    Arguments
    ---------
    transcriber : AudioVisualTranscriber
    rows : list of dict

    Returns
    -------
    dict of Condition to NoteStats
    """
    sounds = [("clean", None)]
    sounds += [(kind, float(db)) for kind in NOISES for db in LEVELS_DB]
    found = {}
    for kind, level in sounds:
        for modality in ("audio", "video", "both"):
            hears, sees = streams_of(modality)
            if kind != "clean" and not hears:
                continue
            for picture in PICTURES if sees else ["whole"]:
                stats = NoteStats()
                for row in rows:
                    heard = _listen(transcriber, row, kind, level, hears)
                    seen = _look(transcriber, row, picture, sees)
                    analysis = transcriber.analyse_streams(heard, seen)
                    decoder = transcriber.decoder_of(modality)
                    stats.append(
                        row["song_id"],
                        read_notes(row["notes"]),
                        decoder(analysis.posteriors),
                    )
                found[Condition(kind, level, picture, modality)] = stats
    return found


def _listen(transcriber, row, kind, level, hears):
    """What is heard in a noise, if anything."""
    if not hears:
        return None
    if level is not None:
        (row,) = noisy([row], kind, level)
    return transcriber.listen([read_slice(row, 0.0, row["stop"])])


def _look(transcriber, row, picture, sees):
    """What is seen of a kind of pictures, if anything."""
    if not sees:
        return None
    missing, late_s = PICTURES[picture]
    times = (np.arange(round(50 * row["stop"])) + 0.5) / 50
    crops = pictures_at(row["video"], times - late_s)
    if missing:
        crops[lost_pictures(row["song_id"], times, missing)] = 0
    return transcriber.look(crops)


def main(arguments=None):
    """Yield the lines of the report.

    Arguments
    ---------
    arguments : list of str, optional
        Command line; default: that of the process.

    Yields
    ------
    str
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--songs", type=int, default=2, help="songs (default: 2)"
    )
    parser.add_argument(
        "--seconds", type=float, default=20.0, help="of each (default: 20)"
    )
    parser.add_argument(
        "--pairs", type=int, default=3, help="pairs of runs (default: 3)"
    )
    options = parser.parse_args(arguments)
    if options.songs < 1 or options.seconds < 2:
        raise ConfigError(
            f"{options.songs} songs of {options.seconds:g} s: give at least 1 "
            "of at least 2 s"
        )
    transcriber = Transcriber.from_hparams("audio_visual_transcriber")
    with TemporaryDirectory() as folder:
        rows = [
            write_song(Path(folder), options.seconds, seed)
            for seed in range(options.songs)
        ]
        ours = all_at_once(transcriber, rows)
        theirs = one_by_one(transcriber, rows)
        away = max(
            abs(ours[key].summarize(name) - theirs[key].summarize(name))
            for key in theirs
            for name in (f"{metric}_f1" for metric in METRICS)
        )
        pace = speedup(
            lambda: all_at_once(transcriber, rows),
            lambda: one_by_one(transcriber, rows),
            options.pairs,
        )
    yield (
        f"{options.songs} songs of {options.seconds:g} s in {len(ours)} "
        f"conditions: {pace}; largest difference {away:.1g}"
    )


if __name__ == "__main__":
    raise SystemExit(show(main))
