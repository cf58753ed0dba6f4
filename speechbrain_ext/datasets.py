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

import numpy as np
import torch

from speechbrain_ext import frames
from speechbrain_ext.audio import read_audio, resample
from speechbrain_ext.errors import ConfigError, ManifestError
from speechbrain_ext.formats import read_notes

SAMPLE_RATE = 16000
OUTPUT_KEYS = [
    "id",
    "song_id",
    "segment",
    "n_segments",
    "notes",
    "sig",
    "onset",
    "silence",
    "pitch",
    "valid_frames",
]

cached_notes = lru_cache(maxsize=4096)(read_notes)


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
        Share of items that get noise, white to brown. Default: 0.3.

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
    ):
        self.jitter_s = jitter_s
        self.gain_db = gain_db
        self.transpose = transpose
        self.transpose_share = transpose_share
        self.noise_db = noise_db
        self.noise_share = noise_share

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
        return plan

    @staticmethod
    def apply(wav, plan):
        """Add noise and gain to a slice.

        Arguments
        ---------
        wav : np.ndarray (samples,)
        plan : dict
            From `draw`.

        Returns
        -------
        np.ndarray (samples,) float32
        """
        level = np.sqrt(np.mean(np.square(wav)))
        if plan["noise_db"] is not None and level > 0:
            noise = coloured_noise(
                len(wav), plan["noise_slope"], plan["noise_seed"]
            )
            wav = wav + noise * level * 10 ** (-plan["noise_db"] / 20)
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


def corpora_rows(hparams, corpora):
    """Prepare the corpora of a recipe and read their manifests.

    Arguments
    ---------
    hparams : dict
        `<corpus>_folder` for each corpus, None to leave it out;
        `output_folder`, where manifests go to `manifests/<corpus>`;
        `segment_s`, length of a segment in seconds; `n_jobs`, processes;
        `synthetic`, None or a dictionary by corpus of options with which
        MiniSinging is written to its folder first, in its layout
        (`data_prep.minisinging.LAYOUTS`).
    corpora : list of str
        Names of `data_prep.CORPORA`.

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
    n_jobs = hparams["n_jobs"]

    def write():
        for corpus, options in (hparams["synthetic"] or {}).items():
            from data_prep.minisinging import LAYOUTS

            if corpus not in LAYOUTS or corpus not in folders:
                raise ConfigError(
                    f"synthetic names {corpus}, but there is no such layout "
                    f"or {corpus}_folder is null: use "
                    f"{', '.join(c for c in folders if c in LAYOUTS)}"
                )
            layout, options = LAYOUTS[corpus], dict(options or {})
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
                segment_s=hparams["segment_s"],
                n_jobs=n_jobs,
                overwrite=True,
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
        From `data_prep.manifest.read_manifest`, complete songs.
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
        `silence` and `pitch (frames,)`; `valid_frames`, first and last + 1
        frame of the segment itself inside the slice.

    Raises
    ------
    ManifestError
        If there are no rows.
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
        for medium in ("wav", "notes"):
            if not row.get(medium):
                raise ManifestError(
                    f"segment {row['ID']} has no {medium}: prepare the corpus "
                    "again"
                )
        ends[row["song_id"]] = max(ends.get(row["song_id"], 0), row["stop"])
    context = frames.n_frames(context_s)
    rows = [{**row, "song_end": ends[row["song_id"]]} for row in rows]

    @takes("id", "wav", "notes", "start", "stop", "song_end")
    @provides("sig", "onset", "silence", "pitch", "valid_frames")
    def slice_and_label(key, wav, notes, start, stop, song_end):
        melody = cached_notes(notes)
        if augment is None:
            first, last = frames.segment_frames(start, stop)
            left = max(0, first - context) * frames.FRAME_S
            right = min(song_end, last * frames.FRAME_S + context_s)
            sig = read_audio(wav, left, right, SAMPLE_RATE)
            first = first - frames.n_frames(left)
            speed = 1.0
        else:
            epoch = 0 if epoch_counter is None else epoch_counter.current
            rng = np.random.default_rng(
                [seed, epoch, zlib.crc32(key.encode("utf-8"))]
            )
            plan = augment.draw(rng)
            rate = round(SAMPLE_RATE * 2 ** (plan["semitones"] / 12))
            speed = rate / SAMPLE_RATE
            length = (stop - start) * speed
            left = min(start + plan["shift_s"], song_end - length)
            left = max(0.0, left)
            sig = read_audio(wav, left, left + length, SAMPLE_RATE)
            sig = resample(sig, rate, SAMPLE_RATE)
            wanted = round((stop - start) * SAMPLE_RATE)
            sig = np.pad(sig[:wanted], (0, max(0, wanted - len(sig))))
            sig = augment.apply(sig, plan)
            melody = melody.transpose(plan["semitones"])
            first = 0
        count = frames.n_frames(len(sig) / SAMPLE_RATE)
        last = min(
            count, first + frames.n_frames(stop) - frames.n_frames(start)
        )
        targets = frames.label(melody, count, left, onset_width, speed)
        yield torch.from_numpy(sig)
        yield torch.from_numpy(targets.onset)
        yield torch.from_numpy(targets.silence)
        yield torch.from_numpy(targets.pitch)
        yield torch.tensor([first, last])

    return DynamicItemDataset(
        dataset_rows(rows),
        dynamic_items=[slice_and_label],
        output_keys=OUTPUT_KEYS,
    )
