"""From manifests to SpeechBrain data sets.

An item reads only its slice of the song and labels it on the fly, so segment
length, crop jitter, transposition and label width are free hyper-parameters.
All randomness of a training item is drawn from (seed, epoch, item): the same
for any number of workers or processes.
"""

import zlib
from functools import lru_cache
from inspect import signature
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from speechbrain_ext import frames
from speechbrain_ext.audio import read_audio, resample
from speechbrain_ext.errors import ConfigError, ManifestError
from speechbrain_ext.f0 import read_f0
from speechbrain_ext.formats import read_notes
from speechbrain_ext.mixing.effects import (
    find_level,
    imperfect_separation,
    mix_at,
    sounding_level,
    tilt,
)
from speechbrain_ext.mixing.noise import (
    RECORDED,
    fitted,
    is_prepared,
    make_noise,
    noisy_slice,
    recordings,
)

# Recipes take it from here, beside the data sets that read its rows.
from speechbrain_ext.mixing.noise import noisy as noisy
from speechbrain_ext.notes import NoteSequence

SAMPLE_RATE = 16000
OUTPUT_KEYS = [
    "id",
    "song_id",
    "segment",
    "n_segments",
    "notes",
    "f0",
    "sig",
    "onset",
    "silence",
    "pitch",
    "f0_target",
    "valid_frames",
]

# What `Augment` can add.
NOISE_KINDS = ("coloured", "natural", "babble")


class Slice(NamedTuple):
    """What part of a song an item is.

    Arguments
    ---------
    start_s : float
        Where it starts in the song.
    speed : float
        Seconds of the song per second of the item.
    frames : int
        Length on the grid of 50 per second.
    silent : bool
        Whether its voice is muted.
    """

    start_s: float
    speed: float
    frames: int
    silent: bool


cached_notes = lru_cache(maxsize=4096)(read_notes)
cached_f0 = lru_cache(maxsize=4096)(read_f0)


class Augment:
    """Draws and applies what makes training items differ between epochs.

    Arguments
    ---------
    jitter_s : float
        The segment moves by up to this much to each side. Default: 2.5 s.
    gain_db : tuple of float
        Range of a gain. Default: -20 to 3 dB; what would exceed full scale is
        scaled back.
    transpose : int
        The segment is played faster or slower so that it sounds up to this
        many whole semitones higher or lower. Default: 2.
    transpose_share : float
        Share of items that are transposed. Default: 0.3.
    noise_db : tuple of float
        Range of the voice's level above added noise. Default: 5 to 50 dB.
    noise_share : float
        Share of items that get noise. Default: 0.3.
    noise_kinds : dict of str to float, optional
        How often which: `coloured`, white to brown; `natural`, synthesised
        (`mixing.noise.make_noise`); `babble`, 3 to 15 other voices of the data
        at once. Default: coloured only.
    noise_folder : str or Path, optional
        Result of `singbrain prepare musan`: natural noise and babble are then
        its clips, those of its training split alone.
    level : str
        What levels of noise and accompaniment mean, see
        `mixing.effects.find_level`. Default: "sounding", so that pauses of the
        voice do not count.
    accompaniment_share : float
        Share of items that get an accompaniment, from the same song or from
        another one. Default: 0.
    accompaniment_db : tuple of float
        Range of the voice's level above it. Default: -8 to 18 dB.
    foreign_share : float
        Share of the accompaniments that come from another song. Default: 0.5.
    separated_share : float
        Share of the accompanied items that then go through an imperfect
        separation. Default: 0.1.
    silent_share : float
        Share of items whose voice is muted. Default: 0.
    tilt_share : float
        Share of items that are made brighter or darker. Default: 0.

    Example
    -------
    >>> plan = Augment().draw(np.random.default_rng(0))
    >>> -2.5 <= plan["shift_s"] <= 2.5
    True
    """

    def __init__(
        self,
        jitter_s=2.5,
        gain_db=(-20.0, 3.0),
        transpose=2,
        transpose_share=0.3,
        noise_db=(5.0, 50.0),
        noise_share=0.3,
        accompaniment_share=0.0,
        accompaniment_db=(-8.0, 18.0),
        foreign_share=0.5,
        separated_share=0.1,
        silent_share=0.0,
        tilt_share=0.0,
        noise_kinds=None,
        noise_folder=None,
        level="sounding",
    ):
        find_level(level)
        kinds = dict(noise_kinds or {"coloured": 1.0})
        total = sum(kinds.values())
        if not set(kinds) <= set(NOISE_KINDS) or not total > 0:
            raise ConfigError(
                f"noise_kinds is {kinds}: give numbers, not all 0, to some of "
                f"{', '.join(NOISE_KINDS)}"
            )
        self.noise_kinds = {k: v / total for k, v in kinds.items()}
        if noise_folder is not None:
            if not is_prepared(noise_folder):
                raise ConfigError(
                    f"noise_folder {noise_folder} has no splits: make it with "
                    "`singbrain prepare musan`"
                )
            for kind in set(kinds) & set(RECORDED):
                recordings(noise_folder, kind, "train")
        self.noise_folder = noise_folder
        self.level = level
        self.jitter_s = jitter_s
        self.gain_db = gain_db
        self.transpose = transpose
        self.transpose_share = transpose_share
        self.noise_db = noise_db
        self.noise_share = noise_share
        self.accompaniment_share = accompaniment_share
        self.accompaniment_db = accompaniment_db
        self.foreign_share = foreign_share
        self.separated_share = separated_share
        self.silent_share = silent_share
        self.tilt_share = tilt_share

    def draw(self, rng) -> dict:
        """Draw the settings of one item.

        Arguments
        ---------
        rng : np.random.Generator

        Returns
        -------
        dict
        """
        plan = {
            "shift_s": rng.uniform(-self.jitter_s, self.jitter_s),
            "gain_db": rng.uniform(*self.gain_db),
            "semitones": int(rng.integers(-self.transpose, self.transpose + 1)),
            "noise_db": rng.uniform(*self.noise_db),
            "noise_slope": rng.uniform(0.0, 2.0),
        }
        if rng.uniform() >= self.transpose_share:
            plan["semitones"] = 0
        if rng.uniform() >= self.noise_share:
            plan["noise_db"] = None
        plan["noise_seed"] = int(rng.integers(2**31))
        plan["accompaniment_db"] = rng.uniform(*self.accompaniment_db)
        if rng.uniform() >= self.accompaniment_share:
            plan["accompaniment_db"] = None
        # Another song, and where in it, as shares; None: the song itself.
        plan["foreign"] = tuple(rng.uniform(size=2))
        if rng.uniform() >= self.foreign_share:
            plan["foreign"] = None
        plan["separated"] = rng.uniform() < self.separated_share
        plan["silent"] = rng.uniform() < self.silent_share
        plan["tilt"] = rng.uniform(-0.7, 0.7)
        if rng.uniform() >= self.tilt_share:
            plan["tilt"] = 0.0
        kinds = list(self.noise_kinds)
        chances = list(self.noise_kinds.values())
        plan["noise_kind"] = kinds[int(rng.choice(len(kinds), p=chances))]
        # Which voice, where in it and how loud, as shares.
        plan["babble"] = rng.uniform(size=(int(rng.integers(3, 16)), 3))
        plan["noise_folder"], plan["level"] = self.noise_folder, self.level
        return plan

    @staticmethod
    def accompany(voice, accompaniment, plan):
        """Mix a voice with its accompaniment.

        Arguments
        ---------
        voice : np.ndarray (samples,)
        accompaniment : np.ndarray (samples,)
        plan : dict
            From `draw`, with an `accompaniment_db`.

        Returns
        -------
        np.ndarray (samples,)
        """
        ratio, level = plan["accompaniment_db"], plan.get("level", "sounding")
        mixture = mix_at(voice, accompaniment, ratio, level)
        if not plan["separated"]:
            return mixture
        rng = np.random.default_rng(plan["noise_seed"])
        return imperfect_separation(voice, mixture - voice, rng)

    @staticmethod
    def apply(wav, plan, level=None, babble=None):
        """Add noise, tone and gain to a slice.

        Arguments
        ---------
        wav : np.ndarray (samples,)
        plan : dict
            From `draw`.
        level : float, optional
            Level that the noise is measured against. Default: that of `wav`.
        babble : callable, optional
            Gives other voices, (samples,); needed for that kind of noise where
            there is no folder of recordings.

        Returns
        -------
        np.ndarray (samples,) float32
        """
        level = np.sqrt(np.mean(np.square(wav))) if level is None else level
        if plan["noise_db"] is not None and level > 0:
            kind, seed = plan["noise_kind"], plan["noise_seed"]
            folder = plan.get("noise_folder")
            definition = plan.get("level", "sounding")
            if kind == "coloured":
                noise = coloured_noise(len(wav), plan["noise_slope"], seed)
            elif kind == "natural" or folder is not None:
                noise = make_noise(kind, len(wav), seed, folder, "train")
            else:
                noise = babble()
            # What is synthesised has unit level while it sounds, nearly.
            if kind == "babble" or definition != "sounding":
                noise = noise / (find_level(definition)(noise) or 1.0)
            wav = wav + noise * level * 10 ** (-plan["noise_db"] / 20)
        if plan.get("tilt"):
            wav = tilt(wav, plan["tilt"])
        wav = wav * 10 ** (plan["gain_db"] / 20)
        peak = np.max(np.abs(wav), initial=0.0)
        return (wav / max(1.0, peak)).astype(np.float32)


def coloured_noise(samples: int, slope: float, seed: int) -> np.ndarray:
    """Noise whose power falls with frequency.

    Arguments
    ---------
    samples : int
        Length.
    slope : float
        Power goes with frequency to the minus `slope`: 0 white, 1 pink, 2
        brown. Flat below 40 Hz at 16 kHz.
    seed : int
        Seed of the generator.

    Returns
    -------
    np.ndarray (samples,) float32
        Unit root mean square.

    Example
    -------
    >>> round(float(np.sqrt(np.mean(coloured_noise(1000, 1.0, 0) ** 2))), 3)
    1.0
    """
    rng = np.random.default_rng(seed)
    spectrum = np.fft.rfft(rng.standard_normal(samples))
    hz = np.fft.rfftfreq(samples, 1 / SAMPLE_RATE)
    noise = np.fft.irfft(
        spectrum * np.maximum(hz, 40.0) ** (-slope / 2), samples
    )
    return (noise / np.sqrt(np.mean(noise**2) + 1e-12)).astype(np.float32)


def corpora_rows(hparams, corpora, preparation=None):
    """Prepare the corpora of a recipe and read their manifests.

    Arguments
    ---------
    hparams : dict
        `<corpus>_folder` for each corpus, None to leave it out;
        `output_folder`, where manifests go to `manifests/<corpus>`;
        `segment_s`, length of a segment in seconds, None for that of the
        corpus; `n_jobs`, processes;
        `synthetic`, None or a dictionary by corpus of options with which
        MiniSinging is written to its folder first, in its layout
        (`data_prep.minisinging.LAYOUTS`); None for a corpus of recordings.
    corpora : list of str
        Names of `data_prep.CORPORA`.
    preparation : dict of str to dict, optional
        By corpus: more arguments of its preparation.

    Returns
    -------
    dict of str to dict of str to list
        Rows by corpus and split ("train", "valid", "test").
    """
    from speechbrain.utils.distributed import run_on_main

    from data_prep import prepare
    from data_prep.manifest import read_manifest

    folders = {name: hparams[f"{name}_folder"] for name in corpora}
    folders = {name: folder for name, folder in folders.items() if folder}
    manifests = Path(hparams["output_folder"]) / "manifests"
    n_jobs, length = hparams["n_jobs"], {}
    if hparams["segment_s"] is not None:
        length["segment_s"] = hparams["segment_s"]

    def write():
        for corpus, options in (hparams["synthetic"] or {}).items():
            from data_prep.minisinging import LAYOUTS

            if options is None:
                continue
            if corpus not in LAYOUTS or corpus not in folders:
                raise ConfigError(
                    f"synthetic names {corpus}, but there is no such layout "
                    f"or {corpus}_folder is null: use "
                    f"{', '.join(c for c in folders if c in LAYOUTS)}"
                )
            layout, options = LAYOUTS[corpus], dict(options)
            try:
                signature(layout).bind("", n_jobs=n_jobs, **options)
            except TypeError as error:
                raise ConfigError(f"synthetic.{corpus}: {error}") from None
            layout(folders[corpus], n_jobs=n_jobs, **options)
        for corpus, folder in folders.items():
            summary = prepare(
                corpus,
                folder,
                manifests / corpus,
                n_jobs=n_jobs,
                overwrite=True,
                **length,
                **(preparation or {}).get(corpus, {}),
            )
            print(summary.table())

    run_on_main(write)
    return {
        corpus: {
            file.stem: read_manifest(file, folder)
            for file in sorted((manifests / corpus).glob("*.csv"))
        }
        for corpus, folder in folders.items()
    }


def accompanied(rows, ratios_db, level="sounding"):
    """Rows with their accompaniments, once for each level.

    Arguments
    ---------
    rows : list of dict
        With `accomp_wav`.
    ratios_db : list of float
        Levels of the voice above the accompaniment.
    level : str
        What level means, see `mixing.effects.find_level`. Default: sounding.

    Returns
    -------
    dict of str to list of dict
        By name, as `accompaniment+5dB`; see `noisy`.

    Example
    -------
    >>> row = {"ID": "a_1", "song_id": "a", "wav": "", "accomp_wav": "b.wav"}
    >>> [rows[0]["ID"] for rows in accompanied([row], [5, -5]).values()]
    ['a_1@accompaniment+5dB', 'a_1@accompaniment-5dB']
    """
    return {
        f"accompaniment{ratio:+g}dB": noisy(
            rows, "accompaniment", ratio, level=level
        )
        for ratio in ratios_db
    }


def repeated(rows, times):
    """Rows of a small corpus several times, each drawn on its own.

    Arguments
    ---------
    rows : list of dict
    times : int
        At least 1.

    Returns
    -------
    list of dict
        The IDs of the copies end in `#2`, `#3` and so on.

    Example
    -------
    >>> rows = [{"ID": "a_1", "song_id": "a"}]
    >>> [row["ID"] for row in repeated(rows, 2)]
    ['a_1', 'a_1#2']
    """
    copies = list(rows)
    for number in range(2, times + 1):
        copies += [{**row, "ID": f"{row['ID']}#{number}"} for row in rows]
    return copies


def read_slice(row, start_s, stop_s):
    """Read a part of a song, with the noise that its row asks for.

    Arguments
    ---------
    row : dict
        Of a manifest or from `noisy`, with `song_end`, the song's length in
        seconds.
    start_s, stop_s : float
        Seconds from the start of the song.

    Returns
    -------
    np.ndarray (samples,) float32
        At 16 kHz.
    """
    sig = read_audio(row["wav"], start_s, stop_s, SAMPLE_RATE)
    if row.get("noise"):
        sig = noisy_slice(sig, row, start_s, stop_s)
    return sig


def frame_targets(
    row, count, left, onset_width=0, speed=1.0, semitones=0, silent=False
):
    """What a model should say about the frames of a slice.

    Arguments
    ---------
    row : dict
        With `notes` and `f0`, paths, one of which may be None.
    count : int
        Frames.
    left : float
        Where the slice starts in the song, seconds.
    onset_width : int
        See `frames.label`. Default: 0.
    speed : float
        Seconds of the song per second of the slice. Default: 1.
    semitones : int
        That the slice sounds higher. Default: 0.
    silent : bool
        Whether the voice is muted. Default: False.

    Returns
    -------
    list of torch.Tensor (count,)
        `onset`, `silence`, `pitch` and `f0_target`, as `transcription_dataset`
        gives them.
    """
    f0 = np.full(count, np.nan)
    if row["f0"]:
        times = left + frames.frame_centres(count) * speed
        f0 = cached_f0(row["f0"]).at(times)
        f0 = np.where(f0 > 0, f0 + semitones, f0)
    if silent:
        f0 = np.zeros(count)
    if row["notes"] or silent:
        melody = NoteSequence()
        if not silent:
            melody = cached_notes(row["notes"]).transpose(semitones)
        targets = frames.label(melody, count, left, onset_width, speed)
    else:
        targets = frames.label_from_f0(f0)
    arrays = (targets.onset, targets.silence, targets.pitch)
    return [
        torch.from_numpy(array) for array in (*arrays, f0.astype(np.float32))
    ]


def transcription_dataset(
    rows,
    seed=0,
    epoch_counter=None,
    augment=None,
    context_s=0.0,
    onset_width=0,
):
    """Data set of labelled audio segments.

    Arguments
    ---------
    rows : list of dict
        From `data_prep.manifest.read_manifest`, complete songs, as they are
        or from `noisy`. Each has a `wav`, and `notes`, `f0` or both.
    seed : int
        Seed of all draws. Default: 0.
    epoch_counter : speechbrain.utils.epoch_loop.EpochCounter, optional
        Tells the epoch; needed with `augment`.
    augment : Augment, optional
        For training. Default: items are the segments themselves.
    context_s : float
        For evaluation: audio added on both sides, within the song, so that a
        segment's frames come out as in one pass over the whole song. A
        multiple of 0.02 s. Default: 0.
    onset_width : int
        See `frames.label`. Default: 0.

    Returns
    -------
    speechbrain.dataio.dataset.DynamicItemDataset
        Items with `OUTPUT_KEYS`: `sig (samples,)` at 16 kHz; `onset`,
        `silence`, `pitch` and `f0_target (frames,)`, NaN and, for `pitch`, -100
        where unknown; `valid_frames`, first and last + 1 frame of the segment
        itself inside the slice.

    Raises
    ------
    ManifestError
        If there are no rows, or a medium is missing.
    """
    from speechbrain.dataio.dataset import DynamicItemDataset
    from speechbrain.utils.data_pipeline import provides, takes

    from data_prep.manifest import dataset_rows

    if not rows:
        raise ManifestError(
            "the manifest holds 0 segments: prepare the corpus again"
        )
    ends = {}
    for row in rows:
        for media in (("wav",), ("notes", "f0")):
            if not any(row.get(medium) for medium in media):
                raise ManifestError(
                    f"segment {row['ID']} has no {' or '.join(media)}: "
                    "prepare the corpus again"
                )
        ends[row["song_id"]] = max(ends.get(row["song_id"], 0), row["stop"])
    context = frames.n_frames(context_s)
    rows = [
        {
            **dict.fromkeys(("accomp_wav", "notes", "f0", "noise")),
            **row,
            "song_end": ends[row["song_id"]],
        }
        for row in rows
    ]
    # A song counts as often as it has rows: long and repeated ones more.
    accompaniments = [
        (r["accomp_wav"], r["song_end"]) for r in rows if r["accomp_wav"]
    ]

    voices = [(row["wav"], row["song_end"]) for row in rows]

    def babble(plan, length_s):
        total = np.zeros(round(length_s * SAMPLE_RATE))
        for which, where, loud in plan["babble"]:
            place, end = voices[int(which * len(voices))]
            start = where * max(0.0, end - length_s)
            voice = read_audio(place, start, start + length_s, SAMPLE_RATE)
            gain = 10 ** ((12 * loud - 6) / 20) / (sounding_level(voice) or 1.0)
            total += gain * fitted(voice, len(total))
        return total

    def evaluation_slice(row):
        first, last = frames.segment_frames(row["start"], row["stop"])
        left = max(0, first - context) * frames.FRAME_S
        right = min(row["song_end"], last * frames.FRAME_S + context_s)
        return read_slice(row, left, right), left, first - frames.n_frames(left)

    def training_slice(row, plan):
        length_s = row["stop"] - row["start"]
        rate = round(SAMPLE_RATE * 2 ** (plan["semitones"] / 12))
        length = length_s * rate / SAMPLE_RATE
        left = min(row["start"] + plan["shift_s"], row["song_end"] - length)
        left = max(0.0, left)
        sig = read_audio(row["wav"], left, left + length, SAMPLE_RATE)
        if plan["silent"]:
            sig = np.zeros_like(sig)
        level = find_level(augment.level)(sig) or 0.1
        if plan["accompaniment_db"] is not None:
            place, start = row["accomp_wav"], left
            if accompaniments and (plan["foreign"] or not place):
                which, where = plan["foreign"] or (0.0, 0.0)
                place, end = accompaniments[int(which * len(accompaniments))]
                start = where * max(0.0, end - length)
            if place:
                other = read_audio(place, start, start + length, SAMPLE_RATE)
                other = fitted(other, len(sig))
                sig = Augment.accompany(sig, other, plan)
        sig = resample(sig, rate, SAMPLE_RATE)
        sig = fitted(sig, round(length_s * SAMPLE_RATE))
        sig = augment.apply(sig, plan, level, lambda: babble(plan, length_s))
        return sig, left, rate / SAMPLE_RATE

    keys = ["id", "wav", "accomp_wav", "notes", "f0", "noise"]
    keys += ["start", "stop", "song_end"]

    @takes(*keys)
    @provides(
        "slice",
        "sig",
        "onset",
        "silence",
        "pitch",
        "f0_target",
        "valid_frames",
    )
    def slice_and_label(*values):
        row = dict(zip(keys, values, strict=True))
        first, speed, semitones, silent = 0, 1.0, 0, False
        if augment is None:
            sig, left, first = evaluation_slice(row)
        else:
            epoch = 0 if epoch_counter is None else epoch_counter.current
            rng = np.random.default_rng(
                [seed, epoch, zlib.crc32(row["id"].encode("utf-8"))]
            )
            plan = augment.draw(rng)
            semitones, silent = plan["semitones"], plan["silent"]
            sig, left, speed = training_slice(row, plan)
        count = frames.n_frames(len(sig) / SAMPLE_RATE)
        length = frames.n_frames(row["stop"]) - frames.n_frames(row["start"])
        yield Slice(left, speed, count, silent)
        yield torch.from_numpy(np.ascontiguousarray(sig, dtype=np.float32))
        yield from frame_targets(
            row, count, left, onset_width, speed, semitones, silent
        )
        yield torch.tensor([first, min(count, first + length)])

    return DynamicItemDataset(
        dataset_rows(rows),
        dynamic_items=[slice_and_label],
        output_keys=OUTPUT_KEYS,
    )
