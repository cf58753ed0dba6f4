"""Lips beside the sound of a transcription data set.

`add_lips` gives the items of `datasets.transcription_dataset` the pictures of
the mouth that belong to their slice of the song, frame for frame, and says
which streams the model may use. All randomness is drawn from (seed, epoch,
item).
"""

import zlib

import numpy as np
import torch

from speechbrain_ext.encoders.two_stream import streams_of
from speechbrain_ext.errors import ConfigError, ManifestError
from speechbrain_ext.frames import FRAME_S, frame_centres
from speechbrain_ext.video import CROP, count_crops, read_crops

OUTPUT_KEYS = ["lips", "streams"]

# What is left of a crop of 96 x 96 for the encoder.
PICTURE_SIZE = 88

# Losses are drawn for stretches of 20 s, so that no song need be known whole.
_LOSS_FRAMES = 1000


class LipAugment:
    """Draws and applies what makes the pictures of training items differ.

    Arguments
    ---------
    audio_only, video_only : float
        Shares of the items that have sound alone and lips alone; the others
        have both (modality dropout). Default: 0.25 each.
    flip_share : float
        Share of clips seen in a mirror. Default: 0.5.
    shift : float
        Pixels that a clip is moved by at most, in both directions, of a
        picture of 96. Default: 6.
    zoom : float
        The mouth appears larger or smaller by up to this share. Default: 0.15.
    turn : float
        Degrees that a clip is turned by at most. Default: 8.
    contrast : float
        Contrast changes by up to this share. Default: 0.4.
    brightness : float
        Grey levels, of 255, that are added or taken at most. Default: 40.
    noise : float
        Highest standard deviation of noise, in grey levels. Default: 8.
    blur_share : float
        Share of the clips that lose focus. Default: 0.2.
    missing_share : float
        Share of the items in which pictures are missing. Default: 0.2.
    missing : float
        Share of their pictures that is missing at most, in runs of up to half
        a second. Default: 0.5.
    late_share : float
        Share of the items with both streams whose picture is out of step.
        Default: 0.
    late_s : float
        By how much at most, in both directions. Default: 0.06 s.

    Example
    -------
    >>> plan = LipAugment().draw(np.random.default_rng(0))
    >>> plan["modality"] in ("audio", "video", "both")
    True
    """

    def __init__(
        self,
        audio_only=0.25,
        video_only=0.25,
        flip_share=0.5,
        shift=6.0,
        zoom=0.15,
        turn=8.0,
        contrast=0.4,
        brightness=40.0,
        noise=8.0,
        blur_share=0.2,
        missing_share=0.2,
        missing=0.5,
        late_share=0.0,
        late_s=0.06,
    ):
        if audio_only < 0 or video_only < 0 or audio_only + video_only > 1:
            raise ConfigError(
                f"audio_only is {audio_only} and video_only {video_only}: "
                "take shares that sum to at most 1"
            )
        self.audio_only = audio_only
        self.video_only = video_only
        self.flip_share = flip_share
        self.shift = shift
        self.zoom = zoom
        self.turn = turn
        self.contrast = contrast
        self.brightness = brightness
        self.noise = noise
        self.blur_share = blur_share
        self.missing_share = missing_share
        self.missing = missing
        self.late_share = late_share
        self.late_s = late_s

    def draw(self, rng) -> dict:
        """Draw the settings of one item.

        Arguments
        ---------
        rng : np.random.Generator

        Returns
        -------
        dict
        """
        chance = rng.uniform()
        modality = "both"
        if chance < self.audio_only:
            modality = "audio"
        elif chance < self.audio_only + self.video_only:
            modality = "video"
        plan = {
            "modality": modality,
            "flip": rng.uniform() < self.flip_share,
            "shift": rng.uniform(-self.shift, self.shift, 2),
            "zoom": 1 + rng.uniform(-self.zoom, self.zoom),
            "turn": rng.uniform(-self.turn, self.turn),
            "contrast": 1 + rng.uniform(-self.contrast, self.contrast),
            "brightness": rng.uniform(-self.brightness, self.brightness),
            "noise": rng.uniform(0, self.noise),
            "blur": rng.uniform(0.5, 1.5),
            "missing": rng.uniform(0, self.missing),
            "late_s": rng.uniform(-self.late_s, self.late_s),
            "seed": int(rng.integers(2**31)),
        }
        for name, share, off in (
            ("blur", self.blur_share, 0.0),
            ("missing", self.missing_share, 0.0),
            ("late_s", self.late_share, 0.0),
        ):
            if rng.uniform() >= share:
                plan[name] = off
        if modality != "both":
            plan["late_s"] = 0.0
        return plan

    @staticmethod
    def apply(pictures, plan):
        """Change the pictures of one clip alike, and lose some.

        Arguments
        ---------
        pictures : np.ndarray (frames, height, width) uint8
        plan : dict
            From `draw`.

        Returns
        -------
        np.ndarray (frames, 88, 88) uint8
            A missing picture, all zero, stays missing.
        """
        import cv2

        rng = np.random.default_rng(plan["seed"])
        gone = ~pictures.any(axis=(1, 2))
        gone |= lost_frames(rng, len(pictures), plan["missing"])
        side = pictures.shape[1]
        matrix = cv2.getRotationMatrix2D(
            (side / 2, side / 2), plan["turn"], plan["zoom"]
        )
        if plan["flip"]:
            matrix = matrix @ np.array(
                [[-1.0, 0, side - 1], [0, 1, 0], [0, 0, 1]]
            )
        # Sizes are those of a picture of 96.
        matrix[:, 2] += plan["shift"] * side / 96
        matrix[:, 2] -= (side - PICTURE_SIZE) / 2
        table = np.arange(256.0)
        table = (table - 128) * plan["contrast"] + 128 + plan["brightness"]
        table = np.clip(table, 1, 255).astype(np.uint8)
        result = np.zeros((len(pictures), PICTURE_SIZE, PICTURE_SIZE), np.uint8)
        for k in np.flatnonzero(~gone):
            picture = cv2.warpAffine(
                pictures[k],
                matrix,
                (PICTURE_SIZE, PICTURE_SIZE),
                borderMode=cv2.BORDER_REPLICATE,
            )
            if plan["blur"]:
                picture = cv2.GaussianBlur(picture, (0, 0), plan["blur"])
            result[k] = table[picture]
        if plan["noise"] >= 1:
            # A few noise pictures, moved about, instead of one per frame.
            shape = (8, PICTURE_SIZE, PICTURE_SIZE)
            noise = rng.standard_normal(shape, np.float32) * plan["noise"]
            which = rng.integers(len(noise), size=len(pictures))
            noisy = result + noise[which]
            noisy = np.clip(noisy, 1, 255).astype(np.uint8)
            result = np.where(gone[:, None, None], result, noisy)
        return result


def lost_frames(rng, frames, share):
    """Choose pictures that are missing, in runs of up to half a second.

    Arguments
    ---------
    rng : np.random.Generator
    frames : int
    share : float
        How many, 0 to 1; reached to a frame.

    Returns
    -------
    np.ndarray (frames,) bool

    Example
    -------
    >>> lost = lost_frames(np.random.default_rng(0), 1000, 0.25)
    >>> int(lost.sum())
    250
    """
    lost = np.zeros(frames, bool)
    wanted = round(share * frames)
    while lost.sum() < wanted:
        start = int(rng.integers(frames))
        most = min(int(rng.integers(1, 26)), wanted - int(lost.sum()))
        lost[start : start + most] = True
    return lost


def lost_pictures(song_id, times, share):
    """Choose pictures of a song that are missing, however it is cut.

    Arguments
    ---------
    song_id : str
        The same song loses the same pictures.
    times : np.ndarray (frames,)
        Seconds from the start of the song.
    share : float
        How many, 0 to 1; reached to a frame in every 20 s.

    Returns
    -------
    np.ndarray (frames,) bool
    """
    index = np.floor(np.asarray(times) / FRAME_S + 1e-6).astype(int)
    lost = np.zeros(len(index), bool)
    for block in np.unique(index // _LOSS_FRAMES):
        key = [zlib.crc32(song_id.encode("utf-8")), int(block)]
        chosen = lost_frames(np.random.default_rng(key), _LOSS_FRAMES, share)
        here = index // _LOSS_FRAMES == block
        lost[here] = chosen[index[here] % _LOSS_FRAMES]
    return lost


def pictures_at(path, times):
    """Pictures of a file of mouth crops at given times.

    Arguments
    ---------
    path : str or Path
        See `video.read_crops`; only what is needed is read.
    times : np.ndarray (frames,)
        Seconds, in any order.

    Returns
    -------
    np.ndarray (frames, height, width) uint8
        All zeros before the start and after the end.

    Raises
    ------
    VideoError
        As `video.read_crops`.
    """
    index = np.floor(np.asarray(times) / FRAME_S + 1e-6).astype(int)
    inside = (index >= 0) & (index < count_crops(path))
    if not inside.any():
        return np.zeros((len(index), CROP, CROP), np.uint8)
    first, last = index[inside].min(), index[inside].max() + 1
    piece = read_crops(path, first * FRAME_S, last * FRAME_S)
    result = np.zeros((len(index), *piece.shape[1:]), np.uint8)
    result[inside] = piece[index[inside] - first]
    return result


def centred(pictures):
    """The middle of each picture, as an encoder sees it in evaluation.

    Arguments
    ---------
    pictures : np.ndarray (frames, height, width)
        At least 88 x 88.

    Returns
    -------
    np.ndarray (frames, 88, 88)
        A view.
    """
    top, left = ((n - PICTURE_SIZE) // 2 for n in pictures.shape[1:])
    return pictures[:, top : top + PICTURE_SIZE, left : left + PICTURE_SIZE]


def seen_as(rows, modality="both", missing=0.0, late_s=0.0):
    """Rows that stand for songs heard, seen or both.

    Arguments
    ---------
    rows : list of dict
    modality : {"audio", "video", "both"}
        The streams that the model gets. Default: both.
    missing : float
        Share of a song's pictures that is missing; which ones is drawn from
        the song ID. Default: 0.
    late_s : float
        How much the picture comes late. Default: 0 s.

    Returns
    -------
    list of dict
        For `add_lips`; their IDs and song IDs end in `@<modality>` and what
        else differs.

    Raises
    ------
    ConfigError
        If there is no such modality.
    """
    streams_of(modality)
    mark = f"@{modality}"
    mark += f"-missing{100 * missing:g}%" if missing else ""
    mark += f"-late{1000 * late_s:g}ms" if late_s else ""
    return [
        {
            **row,
            "ID": row["ID"] + mark,
            "song_id": row["song_id"] + mark,
            "picture": {
                "modality": modality,
                "missing": missing,
                "late_s": late_s,
                "song_id": row["song_id"],
            },
        }
        for row in rows
    ]


def add_lips(dataset, rows, seed=0, epoch_counter=None, augment=None):
    """Give the items of a data set their lips.

    Arguments
    ---------
    dataset : DynamicItemDataset
        From `datasets.transcription_dataset`; changed in place.
    rows : list of dict
        What it was made of, each with a `video`; as they are, with both
        streams, or from `seen_as`.
    seed : int
        Seed of all draws. Default: 0.
    epoch_counter : speechbrain.utils.epoch_loop.EpochCounter, optional
        Tells the epoch; needed with `augment`.
    augment : LipAugment, optional
        For training.

    Returns
    -------
    DynamicItemDataset
        Items have besides: `lips (frames, 88, 88)` uint8, all zero where there
        is no picture; `streams (2,)` bool, whether sound and lips may be used.

    Raises
    ------
    ManifestError
        If a row has no video.
    """
    for row in rows:
        if not row.get("video"):
            raise ManifestError(
                f"segment {row['ID']} has no video: prepare the corpus with "
                "its lips, or train on sound alone"
            )
    pictures = {
        row["ID"]: row.get("picture", {"modality": "both"}) for row in rows
    }

    def lips(item_id, video, part):
        plan = pictures[item_id]
        if augment is not None:
            epoch = 0 if epoch_counter is None else epoch_counter.current
            key = zlib.crc32(item_id.encode("utf-8"))
            plan = augment.draw(np.random.default_rng([seed, epoch, key, 1]))
        times = part.start_s + frame_centres(part.frames) * part.speed
        crops = pictures_at(video, times - plan.get("late_s", 0.0))
        if augment is None:
            crops = centred(crops)
            if plan.get("missing"):
                lost = lost_pictures(plan["song_id"], times, plan["missing"])
                crops = np.where(lost[:, None, None], np.uint8(0), crops)
        else:
            crops = LipAugment.apply(crops, plan)
        heard, seen = streams_of(plan["modality"])
        if part.silent:
            # The mouth moves, but nothing is sung.
            heard, seen = True, False
        yield torch.from_numpy(np.ascontiguousarray(crops))
        yield torch.tensor([heard, seen])

    dataset.add_dynamic_item(
        lips, takes=["id", "video", "slice"], provides=OUTPUT_KEYS
    )
    keys = list(dataset.pipeline.output_mapping)
    dataset.set_output_keys([*keys, *OUTPUT_KEYS])
    return dataset
