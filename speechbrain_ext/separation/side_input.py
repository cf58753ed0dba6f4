"""What separators are told of a song, and what they are told instead.

A model that separates better when it is told what is sung may have learned no
more from it than that somebody sings now, or nothing at all: it may have more
weights, or may have been trained longer. The controls tell: train and test the
same network with each of them, on the same songs and as long.

| control | what is told |
|---|---|
| correct | the phones of the song, at their times |
| constant | all phones alike, at all times: nothing |
| voice | only whether there is a voice |
| other | the phones of another song |
| shift_1 | the phones of the song, 1 s late |
| shift_5 | the phones of the song, 5 s late |

Phones help by what they are if `correct` beats `voice`; by when they are if it
beats `shift_1`; `constant` and `other` are no help to anybody.
"""

import zlib
from functools import lru_cache

import numpy as np
import torch

from speechbrain_ext.errors import ConfigError, ManifestError, ModelError
from speechbrain_ext.lyrics.phones import INDEX, NOISE, SILENCE
from speechbrain_ext.lyrics.posteriorgram import Posteriorgram, read_sung
from speechbrain_ext.metrics.stats import natural
from speechbrain_ext.separation.dataset import separation_dataset

SHIFTS = {"shift_1": 1.0, "shift_5": 5.0}  # s
CONTROLS = ("correct", "constant", "voice", "other", *SHIFTS)

# Beyond this, a posteriorgram is not that of the song, s.
_EDGE_S = 1.0
_TAIL_S = 1.0  # what a constant goes on after the end
# Some minutes of posteriorgrams take some megabytes.
_cached = lru_cache(maxsize=32)(read_sung)


def controlled(control, own, seconds, other=None, place=0.0) -> Posteriorgram:
    """Posteriorgram that stands in for that of a song.

    Arguments
    ---------
    control : str
        One of `CONTROLS`.
    own : Posteriorgram
        Of the song.
    seconds : float
        Length of the song.
    other : Posteriorgram, optional
        Of another song; needed by `other`. It goes on from its beginning after
        its end.
    place : float
        Where in the other song to begin, as a share of it. Default: 0.

    Returns
    -------
    Posteriorgram

    Raises
    ------
    ConfigError
        If there is no such control.

    Example
    -------
    >>> sung = Posteriorgram.from_phones([("AA", 2.0, 2.5)], 0, 4)
    >>> late = controlled("shift_1", sung, 4.0)
    >>> late.at([2.25, 3.25]).argmax(1) == [INDEX["SIL"], INDEX["AA"]]
    array([ True,  True])
    """
    if control not in CONTROLS:
        raise ConfigError(
            f"control is {control!r}: use one of {', '.join(CONTROLS)}"
        )
    if control == "correct":
        return own
    if control in SHIFTS:
        return own.moved(own.start + SHIFTS[control])
    if control == "constant":
        frames = round((seconds + _TAIL_S) * own.frame_rate)
        probs = np.full((frames, len(own.phones)), 1 / len(own.phones))
        return Posteriorgram(probs, own.frame_rate, 0.0, own.phones)
    if control == "voice":
        probs = np.zeros_like(own.probs)
        probs[:, INDEX[SILENCE]] = own.probs[:, INDEX[SILENCE]]
        probs[:, INDEX[NOISE]] = 1 - probs[:, INDEX[SILENCE]]
        return Posteriorgram(probs, own.frame_rate, own.start)
    times = np.arange(round((seconds + _TAIL_S) * other.frame_rate))
    times = (times + 0.5) / other.frame_rate
    length = max(other.end, 1 / other.frame_rate)
    rows = other.at((times + place * length) % length)
    return Posteriorgram(rows, other.frame_rate, 0.0, other.phones)


def with_control(rows, control) -> list[dict]:
    """Rows of songs whose phones are known, with what shall be told of them.

    Arguments
    ---------
    rows : list of dict
        Of a manifest.
    control : str
        One of `CONTROLS`.

    Returns
    -------
    list of dict
        Songs without `phones` are left out; the others have `control`.

    Raises
    ------
    ConfigError
        If there is no such control.
    ManifestError
        If no song has phones.

    Example
    -------
    >>> rows = [{"ID": "a_1", "phones": "a.csv"}, {"ID": "b_1", "phones": None}]
    >>> with_control(rows, "voice")
    [{'ID': 'a_1', 'phones': 'a.csv', 'control': 'voice'}]
    """
    if control not in CONTROLS:
        raise ConfigError(
            f"control is {control!r}: use one of {', '.join(CONTROLS)}"
        )
    found = [{**row, "control": control} for row in rows if row.get("phones")]
    if not found:
        raise ManifestError(
            f"none of {len(rows)} segments has phones: align the lyrics of the "
            "songs first (`singbrain align --phones`), and name their folder"
        )
    return found


def informed_dataset(
    rows, separator, sample_rate=None, seed=0, epoch_counter=None, **options
):
    """Data set of voices, accompaniments, and what a separator is told.

    Arguments
    ---------
    rows : list of dict
        From `with_control`.
    separator : separation.informed.InformedSeparator
        Its rate and hop tell which times are asked for.
    sample_rate : int, optional
        Of the sound, hertz. Default: that of the separator.
    seed, epoch_counter, **options
        As in `separation_dataset`.

    Returns
    -------
    speechbrain.dataio.dataset.DynamicItemDataset
        As from `separation_dataset`, and `side (frames, features)`: what is
        sung at the separator's frames. It follows the voice where that is
        moved, or played faster; of a muted voice nothing is sung.

    Raises
    ------
    ManifestError
        As `separation_dataset`; or if another song is to be told of and there
        is one alone.
    ModelError
        If a posteriorgram does not reach over its song: that of a segment is
        not that of the song, and is not stretched over it.
    """
    from speechbrain.utils.data_pipeline import provides, takes

    sample_rate = sample_rate or separator.sample_rate
    data = separation_dataset(
        rows, sample_rate, seed=seed, epoch_counter=epoch_counter, **options
    )
    paths, ends = {}, {}
    for row in rows:
        song = row["song_id"]
        paths[song] = row["phones"]
        ends[song] = max(ends.get(song, 0.0), row["stop"])
    names = sorted(paths, key=natural)
    if len(names) < 2 and any(row["control"] == "other" for row in rows):
        raise ManifestError(
            f"control is other, but {names[0]} is the only song with phones: "
            "add a song"
        )

    @takes("id", "song_id", "control", "sources", "voice_place")
    @provides("side")
    def side(item, song, control, sources, voice_place):
        start, speed, heard = voice_place
        own, other, place = _sung(paths[song], ends[song]), None, 0.0
        if control == "other":
            epoch = 0 if epoch_counter is None else epoch_counter.current
            key = zlib.crc32(item.encode("utf-8"))
            # Apart from the draws of the sound, which are of three numbers.
            rng = np.random.default_rng([seed, epoch, key, 1])
            others = [name for name in names if name != song]
            name = others[int(rng.integers(len(others)))]
            other, place = _sung(paths[name], ends[name]), rng.uniform()
        if not heard:
            own = Posteriorgram.silence(0.0, own.frame_rate)
        told = controlled(control, own, ends[song], other, place)
        samples = sources.shape[-1] * separator.sample_rate / sample_rate
        frames = separator.count(int(np.ceil(samples)))
        found = separator.rows(told, frames, start, speed)
        if not found.shape[1]:
            # Batches hold no arrays of no width.
            found = np.zeros((frames, 1), np.float32)
        return torch.from_numpy(found)

    data.add_dynamic_item(side)
    data.set_output_keys(["id", "song_id", "singer", "sources", "side"])
    return data


def _sung(path, seconds) -> Posteriorgram:
    """What is sung in a song, if it is of the whole song."""
    found = _cached(str(path))
    # Phones end with the last one, models go on to the end.
    if str(path).lower().endswith(".npz") and not (
        found.start <= _EDGE_S and found.end >= seconds - _EDGE_S
    ):
        raise ModelError(
            f"{path}: is of {found.start:g} to {found.end:g} s but the song of "
            f"0 to {seconds:g} s: put segments at their times with "
            "lyrics.posteriorgram.place, none is stretched over the song"
        )
    if found.end > seconds + _EDGE_S:
        raise ModelError(
            f"{path}: goes on to {found.end:g} s but the song ends at "
            f"{seconds:g} s: it is of another song"
        )
    return found
