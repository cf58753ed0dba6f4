"""Mixtures of several voices that others made: test sets, as MedleyVox.

Their voices were recorded and levelled for each other; nothing is drawn and
nothing is changed but the loudness of the whole. Items are those of
`mixing.singers`.
"""

from __future__ import annotations

import numpy as np
import torch

from data_prep.manifest import VOICES
from speechbrain_ext.audio import (
    loudness_gain,
    read_audio,
    seconds_to_samples,
)
from speechbrain_ext.errors import ConfigError, ManifestError
from speechbrain_ext.mixing.singers import DUET, MIN_SEGMENT_S


class ExcerptDataset(torch.utils.data.Dataset):
    """Whole excerpts in which several people sing.

    Arguments
    ---------
    rows : list of dict
        From `data_prep.manifest.read_manifest`, with all voices of each song:
        `wav`, `voice2_wav` and so on (`data_prep.medleyvox.prepare_medleyvox`,
        perhaps chosen by `data_prep.medleyvox.task_rows`).
    sample_rate : int
        Hertz. Default: 24000.
    n_sources : int, optional
        Sources of an item; the last one is the sum of all voices that are left
        for it. So 2 gives the main voice and the rest. Default: each voice is
        a source.
    loudness : float, optional
        LUFS that each mixture is brought to, as published: what a system was
        trained with (`MixtureSettings.loudness`). None: as recorded. Default:
        -24.

    Raises
    ------
    ManifestError
        If there are no rows, one has no second voice, or an excerpt is too
        short to have a loudness.
    ConfigError
        If an excerpt has fewer voices than `n_sources`, or that is below 2.
    """

    def __init__(
        self, rows, sample_rate=24000, n_sources=None, loudness=DUET.loudness
    ):
        if not rows:
            raise ManifestError(
                "the manifest holds 0 segments: prepare the corpus again"
            )
        if n_sources is not None and n_sources < 2:
            raise ConfigError(f"n_sources is {n_sources}: give at least 2")
        self.sample_rate = sample_rate
        self.n_sources = n_sources
        self.loudness = loudness
        found = {}
        for row in rows:
            kept = found.setdefault(row["song_id"], row)
            if kept["stop"] < row["stop"]:
                found[row["song_id"]] = row
        self.excerpts = list(found.values())
        for row in self.excerpts:
            self._check(row)

    def _check(self, row):
        """Refuse an excerpt that cannot become an item."""
        count = len(_voices(row))
        if count < 2:
            raise ManifestError(
                f"segment {row['ID']} has {count} of wav and voice2_wav: this "
                "corpus has no mixtures of voices, prepare medleyvox"
            )
        if self.n_sources is not None and count < self.n_sources:
            raise ConfigError(
                f"{row['song_id']} has {count} voices, n_sources is "
                f"{self.n_sources}: lower it, or choose rows of other tasks"
            )
        if self.loudness is not None and row["stop"] < MIN_SEGMENT_S:
            raise ManifestError(
                f"{row['song_id']} lasts {row['stop']:g} s, its loudness needs "
                f"{MIN_SEGMENT_S} s: leave it out, or set loudness to null"
            )

    def __len__(self):
        return len(self.excerpts)

    def __getitem__(self, index):
        """Read an excerpt.

        Arguments
        ---------
        index : int

        Returns
        -------
        dict
            `id`; `case`, the task; `voices`, how many there are; `n_singers`,
            how many people sing them, or None; `song` that it is cut from;
            `mixture (samples,)` and `sources (sources, samples)`, float32,
            which add up to the mixture exactly.
        """
        row = self.excerpts[index]
        samples = seconds_to_samples(row["stop"], self.sample_rate)
        voices = np.zeros((len(_voices(row)), samples))
        for voice, path in zip(voices, _voices(row), strict=True):
            wav = read_audio(path, sample_rate=self.sample_rate)[:samples]
            voice[: len(wav)] = wav
        last = (self.n_sources or len(voices)) - 1
        sources = np.stack([*voices[:last], voices[last:].sum(0)])
        if self.loudness is not None:
            sources *= loudness_gain(
                sources.sum(0), self.sample_rate, self.loudness
            )
        sources = torch.from_numpy(sources.astype(np.float32))
        return {
            "id": row["song_id"],
            "case": row.get("task"),
            "voices": len(voices),
            "n_singers": row.get("n_singers"),
            "song": row.get("song") or row["song_id"],
            "mixture": sources.sum(0),
            "sources": sources,
        }


def _voices(row):
    """Files of the voices of a row, the main one first."""
    return [row[column] for column in VOICES if row.get(column)]
