"""Features of whole songs on disk, and data sets of them.

Where encoders stay as they are, what they say about each song is computed once
(`dump_features`) and read many times (`feature_dataset`). A `FeatureStore` is a
folder with a file `<song>.npy` (frames, channels) for each song, 50 frames per
second, and `made_with.json`, which says what the features were made with, so
that those of another model or setting are not taken for them.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from speechbrain_ext import frames
from speechbrain_ext.errors import ConfigError, ManifestError
from speechbrain_ext.files import atomic_path

MARKER = "made_with.json"
TYPES = ("float16", "float32")

# Frames that sound and pictures of a song may differ by at its end.
_TOLERANCE = 1


def check_marker(folder, settings):
    """Make sure that what a folder holds was made with some settings.

    Arguments
    ---------
    folder : str or Path
        Made, with its marker, if it does not exist.
    settings : dict
        What JSON can hold.

    Raises
    ------
    ConfigError
        If it was made with others: names the first and both values.
    ManifestError
        If its marker is damaged.

    Example
    -------
    >>> folder = getfixture("tmp_path") / "audio"
    >>> check_marker(folder, {"noise": "white"})
    >>> check_marker(folder, {"noise": "white"})
    >>> check_marker(folder, {"noise": "babble"})
    Traceback (most recent call last):
    speechbrain_ext.errors.ConfigError: ...
    """
    folder = Path(folder)
    path = folder / MARKER
    settings = json.loads(json.dumps(settings))
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        # Several processes may do this at once, and write the same.
        with atomic_path(path, overwrite=True) as temporary:
            temporary.write_text(json.dumps(settings, indent=1) + "\n")
        return
    try:
        found = json.loads(path.read_text())
        names = [*settings, *(name for name in found if name not in settings)]
    except (OSError, ValueError, TypeError):
        raise ManifestError(
            f"{path}: is damaged: remove the folder and run this again"
        ) from None
    for name in names:
        ours, theirs = settings.get(name), found.get(name)
        if ours != theirs:
            raise ConfigError(
                f"{folder}: was made with {name} {_short(theirs)} but this run "
                f"has {_short(ours)}: name another folder or remove that one"
            )


def _short(value):
    """A value, a checksum cut to what can be compared by eye."""
    text = "null" if value is None else str(value)
    return f"{text[:12]}..." if len(text) == 64 else text


class FeatureStore:
    """Features of whole songs in a folder.

    Arguments
    ---------
    folder : str or Path
        Made if it does not exist.
    settings : dict
        What the features are made with, see `check_marker`; `type`, the type
        of the numbers, "float16" or "float32" (default).

    Raises
    ------
    ConfigError
        If the folder was made with other settings or the type is unknown.
    ManifestError
        If its marker is damaged.

    Example
    -------
    >>> folder = getfixture("tmp_path") / "audio"
    >>> store = FeatureStore(folder, {"type": "float16"})
    >>> store.write("a", np.ones((250, 4)))
    >>> store.missing(["a", "b"])
    ['b']
    >>> store.read("a", 240, 260).shape
    (10, 4)
    """

    def __init__(self, folder, settings):
        self.folder, self.settings = Path(folder), dict(settings)
        self.type = self.settings.get("type", "float32")
        if self.type not in TYPES:
            raise ConfigError(
                f"features of type {self.type!r}: use {' or '.join(TYPES)}"
            )
        check_marker(self.folder, self.settings)

    def _path(self, song_id):
        return self.folder / f"{song_id}.npy"

    def missing(self, song_ids) -> list[str]:
        """Songs that are not here yet.

        Arguments
        ---------
        song_ids : iterable of str

        Returns
        -------
        list of str
            In their order.
        """
        return [k for k in song_ids if not self._path(k).is_file()]

    def write(self, song_id, feats) -> None:
        """Write the features of a song that is not here yet.

        Arguments
        ---------
        song_id : str
        feats : np.ndarray (frames, channels)

        Raises
        ------
        OutputError
            If the song is here already, or the disk is full.
        ConfigError
            If a number is too large for the type.
        """
        with np.errstate(over="ignore"):
            feats = np.asarray(feats).astype(self.type)
        if not np.isfinite(feats).all():
            raise ConfigError(
                f"song {song_id}: features do not fit {self.type}: use float32"
            )
        with atomic_path(self._path(song_id)) as temporary:
            np.save(temporary, feats, allow_pickle=False)

    def _open(self, song_id):
        path = self._path(song_id)
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except FileNotFoundError:
            raise ManifestError(
                f"{path}: no such file: dump the features of song {song_id}"
            ) from None
        except (OSError, ValueError, EOFError):
            raise ManifestError(
                f"{path}: is damaged: remove it and dump it again"
            ) from None
        if array.ndim != 2:
            raise ManifestError(
                f"{path}: has {array.ndim} dimensions instead of 2: remove it "
                "and dump it again"
            )
        return array

    def read(self, song_id, first, last) -> np.ndarray:
        """Read a part of a song, and nothing but that.

        Arguments
        ---------
        song_id : str
        first, last : int
            Frames first to last - 1.

        Returns
        -------
        np.ndarray (frames, channels) float32
            Fewer at the end of the song.

        Raises
        ------
        ManifestError
            If the song is missing or damaged.
        """
        return np.array(self._open(song_id)[first:last], dtype=np.float32)

    def check(self, lengths, channels) -> None:
        """Make sure that all of some songs are here.

        Arguments
        ---------
        lengths : dict of str to float
            Seconds by song ID.
        channels : int
            That a model takes.

        Raises
        ------
        ManifestError
            If a song is missing, damaged or of another length: names the song
            and both numbers of frames.
        ConfigError
            If the features have other channels.
        """
        for song_id, seconds in lengths.items():
            count, size = self._open(song_id).shape
            if abs(count - frames.n_frames(seconds)) > _TOLERANCE:
                raise ManifestError(
                    f"{self._path(song_id)}: has {count} frames but the song "
                    f"{frames.n_frames(seconds)}: remove it and dump it again"
                )
            if size != channels:
                raise ConfigError(
                    f"{self.folder}: has features of {size} channels but the "
                    f"model takes {channels}: set its output_size"
                )


class Dumped(torch.nn.Module):
    """Stands for an encoder whose features are on disk: gives what it gets.

    Arguments
    ---------
    output_size : int
        Channels of the features.
    evidence_size : int
        As of the encoder, see `encoders.spectral.HarmonicEncoder`. Default: 0.
    low, n_pitches : int, optional
        As of the encoder.

    Example
    -------
    >>> Dumped(4)(torch.zeros(1, 250, 4)).shape
    torch.Size([1, 250, 4])
    """

    sample_rate = 16000
    context_s = 0.0

    def __init__(self, output_size, evidence_size=0, low=None, n_pitches=None):
        super().__init__()
        self.output_size = output_size
        self.evidence_size = evidence_size
        if low is not None:
            self.low, self.n_pitches = low, n_pitches

    def forward(self, feats, lengths=None):
        """Give the features.

        Arguments
        ---------
        feats : torch.Tensor (batch, frames, output_size)
        lengths : torch.Tensor (batch,), optional
            As of an encoder.

        Returns
        -------
        torch.Tensor (batch, frames, output_size)
        """
        return feats


def song_lengths(rows) -> dict[str, float]:
    """Lengths of the songs of a manifest.

    Arguments
    ---------
    rows : list of dict

    Returns
    -------
    dict of str to float
        Seconds by song ID, sorted.

    Example
    -------
    >>> song_lengths([{"song_id": "a", "stop": 5.0}])
    {'a': 5.0}
    """
    ends: dict[str, float] = {}
    for row in rows:
        song_id = row["song_id"]
        ends[song_id] = max(ends.get(song_id, 0.0), row["stop"])
    return dict(sorted(ends.items()))


def dump_features(
    encode,
    store,
    rows,
    noise=None,
    lips=False,
    context_s=0.0,
    device="cpu",
    loader=None,
    share=(0, 1),
    progress=None,
) -> int:
    """Write the features of all songs that a store lacks.

    Segments are encoded as in the evaluation of a recipe: without
    augmentation, the middle of each picture.

    Arguments
    ---------
    encode : callable
        `(signals, lengths)` to `(batch, frames, channels)`: an encoder of
        sound or of lips, in evaluation mode on the device.
    store : FeatureStore
    rows : list of dict
        Manifest rows of whole songs.
    noise : dict, optional
        Arguments of `mixing.noise.noisy` after the rows. Default: none.
    lips : bool
        Whether pictures are encoded instead of sound. Default: False.
    context_s : float
        Seconds beside a segment that are encoded with it. Default: 0.
    device : str or torch.device
        Default: cpu.
    loader : dict, optional
        Of the data loader, such as `batch_size` and `num_workers`.
    share : (int, int)
        Number of this process and of all: each does its own songs. Default: 0
        of 1.
    progress : callable, optional
        Called after every song with its ID.

    Returns
    -------
    int
        Songs written. A run that was stopped goes on with the next song.

    Raises
    ------
    ManifestError
        If a row lacks a medium.
    """
    from speechbrain.dataio.dataloader import make_dataloader

    from speechbrain_ext.datasets import noisy, transcription_dataset
    from speechbrain_ext.lip_datasets import add_lips

    number, processes = share
    songs = list(song_lengths(rows))[number::processes]
    wanted = set(store.missing(songs))
    rows = [row for row in rows if row["song_id"] in wanted]
    if not rows:
        return 0
    heard = noisy(rows, **noise) if noise else rows
    names = {
        version["song_id"]: row["song_id"]
        for version, row in zip(heard, rows, strict=True)
    }
    dataset = transcription_dataset(heard, context_s=context_s)
    if lips:
        add_lips(dataset, heard)
    signal = "lips" if lips else "sig"
    dataset.set_output_keys(
        ["song_id", "segment", "n_segments", "valid_frames", signal]
    )
    parts: dict[str, dict] = {}
    with torch.inference_mode():
        for batch in make_dataloader(dataset, **(loader or {})):
            signals, lengths = getattr(batch.to(device), signal)
            # Encoders are faster without a mask.
            lengths = None if bool((lengths == 1).all()) else lengths
            feats = encode(signals, lengths).float().cpu().numpy()
            for k, (first, last) in enumerate(batch.valid_frames.data.tolist()):
                song_id = names[batch.song_id[k]]
                own = parts.setdefault(song_id, {})
                own[int(batch.segment[k])] = feats[k, first:last].copy()
                if len(own) < int(batch.n_segments[k]):
                    continue
                whole = [own[segment] for segment in sorted(own)]
                store.write(song_id, np.concatenate(whole))
                del parts[song_id]
                if progress is not None:
                    progress(song_id)
    if parts:
        raise ManifestError(
            f"song {min(parts)} lacks segments: a manifest must hold whole "
            "songs"
        )
    return len(wanted)


def feature_dataset(rows, heard, seen=None, onset_width=0):
    """Data set of segments whose features are on disk.

    Arguments
    ---------
    rows : list of dict
        Manifest rows, each with `notes`, `f0` or both.
    heard : FeatureStore
        Features of the sound.
    seen : FeatureStore, optional
        Features of the lips. Default: none; the stream is said to be missing.
    onset_width : int
        See `frames.label`. Default: 0.

    Returns
    -------
    speechbrain.dataio.dataset.DynamicItemDataset
        Items as those of `datasets.transcription_dataset` with
        `lip_datasets.add_lips`, but `sig (frames, channels)` and `lips (frames,
        channels)` are features of the same stretch of time; where those of the
        lips end early, they are zeros.

    Raises
    ------
    ManifestError
        If there are no rows, or a song is missing.
    """
    from speechbrain.dataio.dataset import DynamicItemDataset
    from speechbrain.utils.data_pipeline import provides, takes

    from data_prep.manifest import dataset_rows
    from speechbrain_ext.datasets import OUTPUT_KEYS, frame_targets
    from speechbrain_ext.lip_datasets import OUTPUT_KEYS as LIP_KEYS

    if not rows:
        raise ManifestError(
            "the manifest holds 0 segments: prepare the corpus again"
        )
    rows = [{**dict.fromkeys(("notes", "f0")), **row} for row in rows]

    @takes("song_id", "start", "stop", "notes", "f0")
    @provides(
        "sig",
        "lips",
        "streams",
        "onset",
        "silence",
        "pitch",
        "f0_target",
        "valid_frames",
    )
    def read_and_label(song_id, start, stop, notes, f0):
        first, last = frames.segment_frames(start, stop)
        sound = heard.read(song_id, first, last)
        count = len(sound)
        yield torch.from_numpy(sound)
        lips = np.zeros((count, 1), np.float32)
        if seen is not None:
            lips = seen.read(song_id, first, first + count)
            lips = np.pad(lips, ((0, count - len(lips)), (0, 0)))
        yield torch.from_numpy(lips)
        yield torch.tensor([True, seen is not None])
        yield from frame_targets(
            {"notes": notes, "f0": f0},
            count,
            first * frames.FRAME_S,
            onset_width,
        )
        yield torch.tensor([0, count])

    return DynamicItemDataset(
        dataset_rows(rows),
        dynamic_items=[read_and_label],
        output_keys=[*OUTPUT_KEYS, *LIP_KEYS],
    )
