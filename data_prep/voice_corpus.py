"""Corpora of single voices, from which singers are mixed with each other.

Such a corpus is described, not programmed: a `VoiceSet` says which files are
recordings and what their paths tell. What corpora have in common is done here,
once: finding the files, naming singers, splits that no singer crosses, pieces
instead of long silence, and a guard against test material.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import isfinite
from pathlib import Path

import numpy as np

from data_prep.corpus import (
    Corpus,
    Made,
    Song,
    audio_folder_path,
    check_folder,
    held_out,
    make_once,
    prepare_songs,
    subfolders,
    walk_audio,
)
from data_prep.manifest import Summary
from data_prep.medleyvox import artist_singer, is_test_artist
from speechbrain_ext.audio import (
    AudioWriter,
    audio_info,
    kept_subtype,
    read_audio,
    split_channel,
)
from speechbrain_ext.errors import ConfigError, ManifestError

# Sounding stretches: level per frame of these samples, relative to the
# loudest one; the length of frame and step that librosa's `effects.split` has,
# which MedleyVox was prepared with.
FRAME, HOP = 2048, 512

# Rests up to this belong to a piece, and this is left around it, seconds.
BRIDGE_S, PAD_S = 0.5, 0.05

# Raised when other audio is made from the same.
VERSION = 1


@dataclass(frozen=True)
class Recording:
    """One file of a corpus of single voices.

    Arguments
    ---------
    path : Path
        The file, or one of its channels.
    name : str
        What it is called in the manifest.
    singer : str
        As the corpus calls them; empty if unknown.
    song : str
        Composition, where others sing it in time with this recording.
    split : str
        Empty if the corpus has none.
    spans : tuple of (str, float, float), optional
        Pieces to cut out: name, start and stop in seconds. Default: the whole
        recording.
    """

    path: Path
    name: str
    singer: str = ""
    song: str = ""
    split: str = ""
    spans: tuple | None = None


@dataclass(frozen=True)
class VoiceSet:
    """What there is to know about a corpus of single voices.

    Arguments
    ---------
    corpus : Corpus
        Name, licence and citation.
    layout : str
        Where recordings are, for messages.
    pattern : str
        Regular expression that the end of a recording's path fits, from the
        start of a folder's name on, without the suffix.
    name, singer, song : str
        Made of the groups of `pattern`, as `{singer}_{take}`. Empty if
        unknown; `name` is `{take}` by default.
    splits : dict of str to str
        Split by the group `part` of `pattern`; empty if the corpus has none.
    kind : {"singing", "speech"}
        Default: singing.
    channel : int, optional
        The one that holds the voice. Default: all.
    trim_db : float, optional
        Recordings with long silence become pieces that are nowhere silent for
        long: level of silence below the loudest frame, in decibels. Default:
        they are left as they are.
    artists : bool
        Whether `singer` is only an artist: those of MedleyVox's test set are
        left out, and none is held out for validation, because the same artists
        are in several corpora. Default: False.
    singers : callable, optional
        `singers(folder) -> dict` tells singers by the group `take`, from a
        file of the corpus.
    listing : callable, optional
        `listing(folder) -> (recordings, remarks)` in place of `pattern`.
    """

    corpus: Corpus
    layout: str
    pattern: str = ""
    name: str = "{take}"
    singer: str = ""
    song: str = ""
    splits: dict = field(default_factory=dict)
    kind: str = "singing"
    channel: int | None = None
    trim_db: float | None = None
    artists: bool = False
    singers: Callable | None = None
    listing: Callable | None = None


def sounding_spans(
    wav, sample_rate, top_db, min_s=1.0, bridge_s=BRIDGE_S, pad_s=PAD_S
) -> list[tuple[float, float]]:
    """Find the stretches of a recording that are nowhere silent for long.

    Arguments
    ---------
    wav : np.ndarray (samples,)
    sample_rate : int
        Hertz.
    top_db : float
        Frames softer than the loudest one by more than this are silent.
    min_s : float
        Stretches shorter than this are left out. Default: 1 s.
    bridge_s : float
        Silence up to this long does not end a stretch. Default: 0.5 s.
    pad_s : float
        Left on both sides, where there is so much. Default: 0.05 s.

    Returns
    -------
    list of (float, float)
        Start and stop in seconds; empty for silence.

    Example
    -------
    >>> wav = np.zeros(48000)
    >>> wav[12288:36864] = 0.5
    >>> [(round(a, 2), round(b, 2)) for a, b in sounding_spans(wav, 8000, 60)]
    [(1.42, 4.79)]
    """
    wav = np.asarray(wav, dtype=np.float64)
    padded = np.pad(wav, (FRAME // 2, FRAME // 2 + HOP))
    # Sums over blocks of a step; a frame is four of them.
    count = (len(padded) - FRAME) // HOP + 1
    steps = len(padded) // HOP
    power = np.square(padded[: steps * HOP]).reshape(steps, HOP).sum(axis=1)
    power = np.convolve(power, np.ones(FRAME // HOP), "valid")[:count]
    if not power.size or not power.max() > 0:
        return []
    loud = np.flatnonzero(power >= power.max() * 10 ** (-top_db / 10))
    silent = (np.diff(loud) - 1) * HOP / sample_rate
    breaks = np.flatnonzero(silent > bridge_s)
    firsts = loud[np.r_[0, breaks + 1]]
    lasts = loud[np.r_[breaks, len(loud) - 1]]
    spans = []
    for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True):
        start = max(0.0, first * HOP / sample_rate - pad_s)
        stop = (last + 1) * HOP / sample_rate + pad_s
        stop = min(stop, len(wav) / sample_rate)
        if stop - start >= min_s:
            spans.append((start, stop))
    return spans


def prepare_voices(
    voice_set: VoiceSet,
    data_folder,
    output_folder,
    segment_s: float = 5.0,
    trim: bool | None = None,
    min_s: float = 1.0,
    sample_rate: int | None = None,
    valid_share: float = 0.05,
    audio_folder=None,
    n_jobs: int = 1,
    overwrite: bool = False,
) -> Summary:
    """Write the manifests of a corpus of single voices.

    Arguments
    ---------
    voice_set : VoiceSet
        The corpus's description.
    data_folder : str or Path
        The corpus: the folder that holds the layout, or one above.
    output_folder : str or Path
        Gets `train.csv`, `valid.csv`, `test.csv` and, where audio is made and
        `audio_folder` says nothing else, `audio`.
    segment_s : float
        Length of a row in seconds.
    trim : bool, optional
        Whether recordings become pieces without long silence. Default: where
        the corpus has long silence (`VoiceSet.trim_db`). Pieces are in time
        with nothing, so they have no `song`.
    min_s : float
        Recordings and pieces shorter than this are left out. Default: 1 s.
    sample_rate : int, optional
        Makes all audio mono FLAC of this rate, once, so that training reads
        less and converts nothing. Default: files stay where they are, at
        their own rates; pieces are cut at these.
    valid_share : float
        Share of the singers, at least one, that are held out for validation
        (`corpus.held_out`) where the corpus itself has no split and tells
        them apart. Default: 0.05; 0 for none.
    audio_folder : str or Path, optional
        Gets the audio that is made, recording by recording, and keeps it: an
        interrupted preparation goes on where it was. Default: in the output
        folder, where it appears when all is done.
    n_jobs : int
        Recordings worked on at a time.
    overwrite : bool
        Whether another preparation may be replaced.

    Returns
    -------
    Summary
        Its remarks tell what was left out.

    Raises
    ------
    ConfigError
        If an option is out of range.
    ManifestError
        If the folder holds no recording of the layout, or two have one name.
    AudioError
        If a recording is not readable.
    OutputError
        As `corpus.prepare_songs`.
    """
    folder = check_folder(data_folder, voice_set.corpus)
    options = check_options(trim, min_s, sample_rate, valid_share, audio_folder)
    songs, remarks = list_voices(voice_set, folder, folder, options)
    songs, crossing = one_split_each(songs)
    remarks += crossing
    return prepare_songs(
        voice_set.corpus,
        songs,
        folder,
        output_folder,
        segment_s,
        options,
        remarks,
        n_jobs=n_jobs,
        overwrite=overwrite,
    )


def check_options(trim, min_s, sample_rate, valid_share, audio_folder) -> dict:
    """Check the options that preparations of voices have in common.

    Arguments
    ---------
    trim, min_s, sample_rate, valid_share, audio_folder
        As in `prepare_voices`.

    Returns
    -------
    dict
        The options, by name; the folder as a full path, made.

    Raises
    ------
    ConfigError
        If one is out of range.
    OutputError
        If the folder cannot be made.
    """
    if trim not in (True, False, None):
        raise ConfigError(f"trim is {trim!r}: use true or false")
    if not (isinstance(min_s, int | float) and isfinite(min_s) and min_s >= 0):
        raise ConfigError(f"min_s is {min_s!r}: give seconds, 0 or more")
    if sample_rate is not None and not (
        isinstance(sample_rate, int) and 8000 <= sample_rate <= 192000
    ):
        raise ConfigError(
            f"sample_rate is {sample_rate!r}: give 8000 to 192000 Hz, or null"
        )
    if not (isinstance(valid_share, int | float) and 0 <= valid_share <= 0.5):
        raise ConfigError(
            f"valid_share is {valid_share!r}: give a share of the singers, 0 "
            "to 0.5"
        )
    if audio_folder is not None:
        audio_folder = str(audio_folder_path(audio_folder))
    return {
        "trim": trim,
        "min_s": float(min_s),
        "sample_rate": sample_rate,
        "valid_share": float(valid_share),
        "audio_folder": audio_folder,
    }


def tell_how(corpus: Corpus, data_folder) -> None:
    """Say how to get a corpus that is not fetched here.

    Arguments
    ---------
    corpus : Corpus
    data_folder : str or Path
        Where it is to be put.

    Raises
    ------
    ManifestError
        Always: with the address.
    """
    raise ManifestError(
        f"{corpus.name} has to be fetched by hand: see {corpus.url} "
        f"({corpus.license}) and unpack it into {data_folder}"
    )


def list_voices(
    voice_set: VoiceSet, folder: Path, data_root: Path, options: dict
) -> tuple[list[Song], list[str]]:
    """List the recordings of a corpus for `corpus.prepare_songs`.

    Arguments
    ---------
    voice_set : VoiceSet
    folder : Path
        The corpus.
    data_root : Path
        The folder itself or one above it; then the names of songs start with
        that of the corpus, as there are others.
    options : dict
        From `check_options`.

    Returns
    -------
    list of Song
    list of str
        Remarks.

    Raises
    ------
    ManifestError
        If there is no recording of the layout.
    """
    corpus = voice_set.corpus
    found, remarks = (voice_set.listing or partial(_by_pattern, voice_set))(
        folder
    )
    if not found:
        raise ManifestError(
            f"{corpus.name}: no recordings found: expected "
            f"{folder}/{voice_set.layout}"
        )
    if voice_set.artists:
        leaks = [r for r in found if is_test_artist(r.singer)]
        found = [r for r in found if not is_test_artist(r.singer)]
        if leaks:
            names = ", ".join(sorted({r.singer for r in leaks}))
            remarks.append(
                f"{len(leaks)} recordings of artists who sing in the test set "
                f"of medleyvox are left out: {names}"
            )
        if not found:
            raise ManifestError(
                f"{corpus.name}: all {len(leaks)} recordings are of artists "
                "who sing in the test set of medleyvox: get others"
            )
    found = _split(voice_set, found, options["valid_share"])
    prefix = "" if folder == data_root else f"{corpus.name}_"
    return [
        _song(voice_set, recording, prefix, options) for recording in found
    ], remarks


def _by_pattern(voice_set: VoiceSet, folder: Path):
    """Recordings whose paths fit the layout, and remarks."""
    pattern = re.compile(rf"(?:.*/)?{voice_set.pattern}", re.DOTALL)
    known = {}
    if voice_set.singers:
        places = (folder, *subfolders(folder))
        known = next(filter(None, map(voice_set.singers, places)), {})
    found, others = [], 0
    for path in walk_audio(folder):
        inside = path.relative_to(folder).with_suffix("").as_posix()
        # The name of the folder itself may be part of the layout.
        match = pattern.fullmatch(f"{folder.name}/{inside}")
        if match is None:
            others += 1
            continue
        fields = match.groupdict(default="")
        if voice_set.channel is not None:
            path = path.with_name(f"{path.name}#{voice_set.channel}")
        found.append(
            Recording(
                path,
                voice_set.name.format(**fields),
                known.get(fields.get("take"), "")
                or voice_set.singer.format(**fields),
                voice_set.song.format(**fields),
                voice_set.splits.get(fields.get("part"), ""),
            )
        )
    remarks = []
    if others and found:
        remarks.append(
            f"{others} of {others + len(found)} recordings do not lie as "
            f"{voice_set.layout} and are left out"
        )
    return found, remarks


def _split(
    voice_set: VoiceSet, found: Sequence[Recording], share: float
) -> list[Recording]:
    """Assign splits that no singer crosses; name singers and compositions."""
    name = voice_set.corpus.name
    named = []
    for recording in found:
        singer, song = recording.singer, recording.song
        if singer:
            own = f"{name} - {singer}"
            singer = artist_singer(singer) if voice_set.artists else own
        song = f"{name} - {song}" if song else ""
        named.append(replace(recording, singer=singer, song=song))
    late = set()
    if share and not voice_set.splits and not voice_set.artists:
        singers = {recording.singer for recording in named} - {""}
        late = held_out(singers, share)
    return [
        replace(r, split=r.split or ("valid" if r.singer in late else "train"))
        for r in named
    ]


def one_split_each(
    songs: Sequence[Song],
) -> tuple[list[Song], list[str]]:
    """Leave songs out until nobody sings in two splits.

    Who sings in the test or validation split stays there, and what they sing
    for an earlier one is left out. Compositions that a split has only one
    recording of lose their label.

    Arguments
    ---------
    songs : sequence of Song

    Returns
    -------
    list of Song
    list of str
        Remarks that name those that were left out.
    """
    rank = {"train": 0, "valid": 1, "test": 2}
    latest = {}
    for song in songs:
        if song.singer:
            split = latest.get(song.singer, song.split)
            latest[song.singer] = max(split, song.split, key=rank.get)
    kept = [s for s in songs if s.split == latest.get(s.singer, s.split)]
    remarks = []
    if len(kept) < len(songs):
        lost = {s.singer for s in songs if s.split != latest.get(s.singer)}
        crossing = sorted(lost - {""})
        remarks.append(
            f"{len(songs) - len(kept)} recordings are left out because their "
            f"singers are in a later split: {', '.join(crossing)}"
        )
    counts = Counter((s.split, s.labels.get("song")) for s in kept)
    return [
        song
        if counts[song.split, song.labels.get("song")] > 1
        else replace(song, labels=song.labels | {"song": ""})
        for song in kept
    ], remarks


def _song(voice_set: VoiceSet, recording: Recording, prefix: str, options):
    """One recording as `prepare_songs` takes it."""
    corpus = voice_set.corpus
    trim = options["trim"]
    trim_db = voice_set.trim_db
    if trim is not None:
        trim_db = (trim_db or 60.0) if trim else None
    if recording.spans is not None:
        trim_db = None
    make = partial(
        _make,
        recording.path,
        recording.spans,
        trim_db,
        options["min_s"],
        options["sample_rate"],
    )
    pieces = trim_db is not None or recording.spans is not None
    song_id = prefix + recording.name
    if options["audio_folder"] and (pieces or options["sample_rate"]):
        wanted = {
            "version": VERSION,
            "file": recording.path.name,
            "size": split_channel(recording.path)[0].stat().st_size,
            "spans": recording.spans,
            "trim_db": trim_db,
            "min_s": options["min_s"],
            "sample_rate": options["sample_rate"],
        }
        kept = Path(options["audio_folder"]) / song_id
        make = partial(make_once, make, kept, wanted)
    labels = {
        "dataset": corpus.name,
        "kind": voice_set.kind,
        "song": "" if pieces else recording.song,
    }
    return Song(
        song_id,
        recording.path,
        None,
        recording.split,
        recording.path,
        recording.singer,
        {},
        make,
        labels,
        corpus.license,
    )


def _make(path: Path, spans, trim_db, min_s, sample_rate, folder: Path):
    """Check a recording, and write it anew or its pieces."""
    info = audio_info(path)
    whole = spans is None and trim_db is None
    if whole and sample_rate in (None, info.sample_rate) and info.duration:
        long = info.duration >= min_s
        return [Made({}, info.duration)] if long else []
    rate = sample_rate or info.sample_rate
    wav = read_audio(path, sample_rate=rate)
    length_s = len(wav) / rate
    if whole:
        spans = [("", 0.0, length_s)]
    elif spans is None:
        found = sounding_spans(wav, rate, trim_db, min_s)
        spans = [(f"_{k}", a, b) for k, (a, b) in enumerate(found)]
    subtype = kept_subtype(".flac", info.subtype)
    made = []
    for part, start, stop in spans:
        piece = wav[round(start * rate) : round(min(stop, length_s) * rate)]
        if len(piece) < max(1, min_s * rate):
            continue
        # FLAC has no floats.
        peak = float(np.abs(piece).max())
        name, kind = f"voice{part}.flac", subtype
        if peak > 1:
            name, kind = f"voice{part}.wav", "FLOAT"
        folder.mkdir(parents=True, exist_ok=True)
        with AudioWriter(folder / name, rate, 1, kind) as writer:
            writer.write(piece[:, None])
        made.append(Made({"wav": folder / name}, len(piece) / rate, "", part))
    return made


def unknown_sets(names: Iterable[str], known: Iterable[str]) -> None:
    """Refuse names of corpora that nobody knows.

    Arguments
    ---------
    names, known : iterable of str

    Raises
    ------
    ConfigError
        If a name is not among the known ones.
    """
    known = list(known)
    for name in names:
        if name not in known:
            raise ConfigError(
                f"unknown data set {name}: use some of {', '.join(known)}"
            )
