"""From manifests to mixtures and their sources.

A training item draws a piece of a voice and a piece of an accompaniment, of the
same song or not, changes both and hands them over; whoever takes it adds them
up. All randomness is drawn from (seed, epoch, item): the same for any number of
workers or processes.
"""

import zlib

import numpy as np
import torch

from speechbrain_ext.audio import read_audio, resample
from speechbrain_ext.errors import ConfigError, ManifestError
from speechbrain_ext.mixing.effects import sounding_level, tilt

MEDIA = {"vocals": "wav", "accompaniment": "accomp_wav"}


class RemixAugment:
    """Draws and applies what makes training mixtures differ between epochs.

    Arguments
    ---------
    remix_share : float
        Share of items whose accompaniment comes from another song. Default:
        0.7.
    shift_share : float
        Share of the other items whose accompaniment comes from elsewhere in
        the same song, as by circular shifts (Huang et al., TASLP 2015).
        Default: 0.5.
    ratio_db : tuple of float
        Range of the voice's level above the accompaniment, both while they
        sound. Default: -8 to 8 dB.
    ratio_share : float
        Share of items whose ratio is drawn; that of the others is as recorded.
        Default: 0.8.
    level_db : float, optional
        Level that the mixture is brought to first, relative to full scale.
        Default: none.
    gain_db : tuple of float
        Range of a gain of the mixture. Default: -14 to 4 dB; what would exceed
        full scale is scaled back.
    transpose : float
        Voice and accompaniment are each played faster or slower so that they
        sound up to this many semitones higher or lower. Default: 3.
    transpose_share : float
        Share of voices, and of accompaniments, that are. Default: 0.35.
    tilt_share : float
        Share of voices, and of accompaniments, that are made brighter or
        darker. Default: 0.
    silent_share : float
        Share of items whose voice is muted, and of those whose accompaniment
        is. Default: 0.04.
    swap_share : float
        Share of items whose channels change places. Default: 0.
    one_channel : bool
        Whether an item is one channel of the recording, drawn, as in some
        published systems. Default: False, all channels.

    Raises
    ------
    ConfigError
        If a range is upside down.

    Example
    -------
    >>> plan = RemixAugment().draw(np.random.default_rng(0))
    >>> -8 <= plan["ratio_db"] <= 8
    True
    """

    def __init__(
        self,
        remix_share=0.7,
        shift_share=0.5,
        ratio_db=(-8.0, 8.0),
        ratio_share=0.8,
        level_db=None,
        gain_db=(-14.0, 4.0),
        transpose=3.0,
        transpose_share=0.35,
        tilt_share=0.0,
        silent_share=0.04,
        swap_share=0.0,
        one_channel=False,
    ):
        for name, (low, high) in (("ratio_db", ratio_db), ("gain_db", gain_db)):
            if low > high:
                raise ConfigError(
                    f"{name} is {low} to {high}: give the lower end first"
                )
        self.remix_share = remix_share
        self.shift_share = shift_share
        self.ratio_db = ratio_db
        self.ratio_share = ratio_share
        self.level_db = level_db
        self.gain_db = gain_db
        self.transpose = transpose
        self.transpose_share = transpose_share
        self.tilt_share = tilt_share
        self.silent_share = silent_share
        self.swap_share = swap_share
        self.one_channel = one_channel

    def draw(self, rng) -> dict:
        """Draw the settings of one item.

        Arguments
        ---------
        rng : np.random.Generator

        Returns
        -------
        dict
        """
        # Every number is drawn, used or not: one setting changes one thing.
        chance = dict(
            zip(
                ("remix", "shift", "ratio", "voice", "band", "swap"),
                rng.uniform(size=6),
                strict=True,
            )
        )
        remix = chance["remix"] < self.remix_share
        shift = not remix and chance["shift"] < self.shift_share
        plan = {
            "where": float(rng.uniform()),
            "other_song": float(rng.uniform()),
            "other_place": float(rng.uniform()),
            "accompaniment": "other" if remix else "same" if shift else "own",
            "ratio_db": float(rng.uniform(*self.ratio_db)),
            "level_db": self.level_db,
            "gain_db": float(rng.uniform(*self.gain_db)),
            "silent": (
                chance["voice"] < self.silent_share,
                chance["band"] < self.silent_share,
            ),
            "swap": chance["swap"] < self.swap_share,
        }
        if chance["ratio"] >= self.ratio_share:
            plan["ratio_db"] = None
        semitones = rng.uniform(-self.transpose, self.transpose, size=2)
        tilts = rng.uniform(-0.7, 0.7, size=2)
        semitones[rng.uniform(size=2) >= self.transpose_share] = 0.0
        tilts[rng.uniform(size=2) >= self.tilt_share] = 0.0
        if plan["accompaniment"] == "own":
            # In time with each other they stay.
            semitones[1] = semitones[0]
        plan["semitones"] = tuple(float(x) for x in semitones)
        plan["tilt"] = tuple(float(x) for x in tilts)
        channel = float(rng.uniform())
        plan["channel"] = channel if self.one_channel else None
        return plan

    @staticmethod
    def apply(sources, plan):
        """Set the tone and the levels of a voice and an accompaniment.

        Arguments
        ---------
        sources : np.ndarray (2, channels, samples)
        plan : dict
            From `draw`.

        Returns
        -------
        np.ndarray (2, channels, samples), float32
        """
        voice, band = (
            tilt(part, amount) if amount else part
            for part, amount in zip(sources, plan["tilt"], strict=True)
        )
        own, foreign = (sounding_level(part.mean(0)) for part in (voice, band))
        if plan["ratio_db"] is not None and own > 0 and foreign > 0:
            band = band * (own / foreign * 10 ** (-plan["ratio_db"] / 20))
        parts = np.stack([voice, band])
        parts[list(plan["silent"])] = 0.0
        level = np.sqrt(np.mean(parts.sum(0) ** 2))
        if plan["level_db"] is not None and level > 0:
            parts *= 10 ** (plan["level_db"] / 20) / level
        parts *= 10 ** (plan["gain_db"] / 20)
        if plan["swap"]:
            parts = parts[:, ::-1]
        if plan["channel"] is not None:
            parts = parts[:, [int(plan["channel"] * parts.shape[1])]]
        peak = np.abs(parts.sum(0)).max(initial=0.0)
        return (parts / max(1.0, peak)).astype(np.float32)


def separation_dataset(
    rows,
    sample_rate=16000,
    channels=1,
    seed=0,
    epoch_counter=None,
    augment=None,
    segment_s=None,
    ratio_db=None,
):
    """Data set of voices and accompaniments.

    Arguments
    ---------
    rows : list of dict
        From `data_prep.manifest.read_manifest`, with `wav` and `accomp_wav`.
    sample_rate : int
        Hertz; files of another rate are converted. Default: 16000.
    channels : {1, 2}
        1 (default) averages the channels of a file; with 2, a mono file is on
        both.
    seed : int
        Of all draws. Default: 0.
    epoch_counter : speechbrain.utils.epoch_loop.EpochCounter, optional
        Tells the epoch; needed with `augment`.
    augment : RemixAugment, optional
        For training: one item per row, from anywhere in its song.
    segment_s : float, optional
        Length of a training item in seconds. Default: that of the row.
        Without `augment`: whether items are the rows themselves (any value)
        or whole songs (None).
    ratio_db : float, optional
        Without `augment`: energy of the voice over that of the accompaniment
        in each item, to which the accompaniment is scaled. Default: as
        recorded.

    Returns
    -------
    speechbrain.dataio.dataset.DynamicItemDataset
        Items with `id`, `song_id`, `singer` and `sources (2, channels,
        samples)`: vocals, accompaniment. To be had as well: `voice_place`, the
        second of its song at which the voice of the item starts, the seconds
        of the song per second of the item, and whether it is heard at all.

    Raises
    ------
    ManifestError
        If there are no rows, or a medium is missing.
    ConfigError
        If `channels` is neither 1 nor 2.
    """
    from speechbrain.dataio.dataset import DynamicItemDataset
    from speechbrain.utils.data_pipeline import provides, takes

    from data_prep.manifest import dataset_rows

    if channels not in (1, 2):
        raise ConfigError(f"channels is {channels}: use 1 or 2")
    if not rows:
        raise ManifestError(
            "the manifest holds 0 segments: prepare the corpus again"
        )
    ends = {}
    for row in rows:
        for medium in MEDIA.values():
            if not row.get(medium):
                raise ManifestError(
                    f"segment {row['ID']} has no {medium}: this corpus has no "
                    "sources to learn from"
                )
        ends[row["song_id"]] = max(ends.get(row["song_id"], 0), row["stop"])
    if augment is None and segment_s is None:
        rows = [
            {**row, "ID": row["song_id"], "stop": ends[row["song_id"]]}
            for row in rows
            if row["segment"] == 1
        ]
    rows = [{**row, "song_end": ends[row["song_id"]]} for row in rows]
    # A song counts as often as it has rows: long ones more.
    bands = [
        (row["song_id"], row["accomp_wav"], row["song_end"]) for row in rows
    ]

    def played_rate(semitones):
        return round(sample_rate * 2 ** (semitones / 12))

    def read(path, start, length_s, semitones=0.0):
        rate = played_rate(semitones)
        stop = start + length_s * rate / sample_rate
        wav = read_audio(path, start, stop, sample_rate, mono=channels == 1)
        wav = wav.reshape(len(wav), -1)
        if rate != sample_rate:
            wav = resample(wav, rate, sample_rate)
        if channels == 2:
            wav = np.repeat(wav, 2, axis=1)[:, [0, -1]]
        samples = round(length_s * sample_rate)
        wav = wav[:samples]
        return np.pad(wav, ((0, samples - len(wav)), (0, 0))).T

    def training_item(row, plan):
        length_s = segment_s or row["stop"] - row["start"]
        spans = [length_s * 2 ** (k / 12) for k in plan["semitones"]]
        start = plan["where"] * max(0.0, row["song_end"] - spans[0])
        voice = read(row["wav"], start, length_s, plan["semitones"][0])
        speed = played_rate(plan["semitones"][0]) / sample_rate
        place = (start, speed, not plan["silent"][0])
        path, end = row["accomp_wav"], row["song_end"]
        if plan["accompaniment"] == "other":
            others = [b for b in bands if b[0] != row["song_id"]] or bands
            _, path, end = others[int(plan["other_song"] * len(others))]
        if plan["accompaniment"] != "own":
            start = plan["other_place"] * max(0.0, end - spans[1])
        band = read(path, start, length_s, plan["semitones"][1])
        return augment.apply(np.stack([voice, band]), plan), place

    def evaluation_item(row):
        length_s = row["stop"] - row["start"]
        parts = np.stack(
            [read(row[m], row["start"], length_s) for m in MEDIA.values()]
        )
        if ratio_db is not None:
            voice, band = np.sqrt(np.mean(parts**2, axis=(1, 2)))
            if voice > 0 and band > 0:
                parts[1] *= voice / band * 10 ** (-ratio_db / 20)
        return parts, (row["start"], 1.0, True)

    keys = ["id", "song_id", *MEDIA.values(), "start", "stop", "song_end"]

    @takes(*keys)
    @provides("sources", "voice_place")
    def sources(*values):
        row = dict(zip(keys, values, strict=True))
        if augment is None:
            parts, place = evaluation_item(row)
        else:
            epoch = 0 if epoch_counter is None else epoch_counter.current
            key = zlib.crc32(row["id"].encode("utf-8"))
            plan = augment.draw(np.random.default_rng([seed, epoch, key]))
            parts, place = training_item(row, plan)
        return torch.from_numpy(np.ascontiguousarray(parts, np.float32)), place

    return DynamicItemDataset(
        dataset_rows(rows),
        dynamic_items=[sources],
        output_keys=["id", "song_id", "singer", "sources"],
    )
