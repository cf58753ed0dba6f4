"""Mixtures of several voices: which ones, from where, how loud.

A `Case` says what kind of voices meet and how they are related; a table of
cases with probabilities is all that a training set is. What is drawn for one
item is a `Mixture`: recordings, seconds, changes and levels, without any
audio. `render_mixture` turns one into sources. `MixtureDataset` draws a new
one for each item and epoch, from (seed, epoch, index) alone; those of
`mixing.plans` are written down once and stay as they are, for validation; those
of `mixing.excerpts` are recordings of people who sing together, for tests.

Both take rows of manifests (`data_prep.manifest`), of which they use `wav`,
`song_id`, `stop`, `singer` and the labels `dataset`, `kind` and `song`.

The six training cases, their probabilities and the levels follow MedleyVox
(Jeon et al., ICASSP 2023).
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
import torch

from data_prep.manifest import KINDS
from speechbrain_ext.audio import (
    audio_info,
    integrated_loudness,
    level_db,
    loudness_gain,
    read_audio,
    resample,
    seconds_to_samples,
)
from speechbrain_ext.errors import ConfigError, ManifestError
from speechbrain_ext.mixing.voices import (
    MARGIN_S,
    ChangeRanges,
    VoiceChange,
    change_voices,
    check_share,
)

RELATIONS = ("any", "other_singer", "same_singer", "same_song", "unison")
ALIGNMENTS = ("free", "aligned")

# Loudness is not defined for less than one block of BS.1770.
MIN_SEGMENT_S = 0.4

# A piece below this root mean square is silent, and another place is tried.
SILENT_DB = -60.0
_TRIES = 5

# How far the sum of probabilities may be from 1.
_SUM_TOLERANCE = 1e-6

# Whether the first voice and whether the others are changed, equally often.
_WHO_CHANGES = ((True, False), (False, True), (True, True))


@dataclass(frozen=True)
class Case:
    """One row of the table: what kind of voices meet.

    Arguments
    ---------
    name : str
        Unique in its table.
    pools : tuple of str
        Kinds ("singing", "speech") of the first voice, the second and so on;
        further voices start again from the first kind.
    relation : str
        Of the others to the first: "any" recording, even the same one;
        "other_singer", all different; "same_singer", other recordings of the
        singer; "same_song", other recordings of the same composition;
        "unison", changed copies. Where a singer or a song has no recording
        left for a third voice, that one is of any other singer.
    alignment : str
        "free": each voice from anywhere in its recording; "aligned": all from
        the same second of theirs.
    probability : float
        Share of the items of a training set.
    unison : float
        Share of these items whose relation is "unison" instead. Default: 0.

    Raises
    ------
    ConfigError
        If an entry is unknown or does not go with the others.
    """

    name: str
    pools: tuple[str, ...]
    relation: str = "other_singer"
    alignment: str = "free"
    probability: float = 0.0
    unison: float = 0.0

    def __post_init__(self):
        object.__setattr__(self, "pools", tuple(self.pools))
        where = f"case {self.name}"
        for what, given, known in (
            *(("pool", pool, KINDS) for pool in self.pools or ("",)),
            ("relation", self.relation, RELATIONS),
            ("alignment", self.alignment, ALIGNMENTS),
        ):
            if given not in known:
                raise ConfigError(
                    f"{where}: {what} {given!r} is unknown: use one of "
                    f"{', '.join(known)}"
                )
        check_share(f"{where}: probability", self.probability)
        check_share(f"{where}: unison", self.unison)
        related = self.relation not in ("any", "other_singer")
        if len(set(self.pools)) > 1 and (related or self.unison):
            raise ConfigError(
                f"{where}: voices of {' and '.join(self.pools)} have no "
                f"{'unison' if self.unison else self.relation}: give it one "
                "pool"
            )

    @property
    def family(self):
        """What the voices share: "singer", "song" or None."""
        related = self.relation in ("same_singer", "same_song")
        return self.relation.removeprefix("same_") if related else None


# Published: Jeon et al., with "any" for the relation of the first, second and
# last case.
TRAINING_CASES = (
    Case("sing_sing", ("singing",), probability=0.15, unison=0.3),
    Case("sing_speech", ("singing", "speech"), probability=0.15),
    Case("same_song", ("singing",), "same_song", "aligned", 0.2),
    Case("same_singer", ("singing",), "same_singer", probability=0.2),
    Case("same_speaker", ("speech",), "same_singer", probability=0.15),
    Case("speech_speech", ("speech",), probability=0.15, unison=0.3),
)


def with_probabilities(
    probabilities: Mapping[str, float],
    cases: Sequence[Case] = TRAINING_CASES,
    unison: float | None = None,
) -> tuple[Case, ...]:
    """Choose cases of a table and say how often each occurs.

    Arguments
    ---------
    probabilities : dict of str to float
        By name; cases that are not named are left out.
    cases : sequence of Case
        The table. Default: `TRAINING_CASES`.
    unison : float, optional
        Share of unisons in the cases that have some. Default: as in the table.

    Returns
    -------
    tuple of Case

    Raises
    ------
    ConfigError
        If a name is unknown, a number is no share, or they do not add up to 1.

    Example
    -------
    >>> table = with_probabilities({"same_song": 0.25, "sing_sing": 0.75})
    >>> [(case.name, case.probability) for case in table]
    [('sing_sing', 0.75), ('same_song', 0.25)]
    """
    names = [case.name for case in cases]
    if unknown := sorted(set(probabilities) - set(names)):
        raise ConfigError(
            f"case {unknown[0]} is unknown: use some of {', '.join(names)}"
        )
    chosen = tuple(
        replace(
            case,
            probability=probabilities[case.name],
            unison=case.unison
            if unison is None
            else unison * bool(case.unison),
        )
        for case in cases
        if case.name in probabilities
    )
    check_cases(chosen)
    return chosen


def check_cases(cases: Sequence[Case]) -> None:
    """Hold the probabilities of a table to the rules.

    Arguments
    ---------
    cases : sequence of Case

    Raises
    ------
    ConfigError
        If two cases have one name or the probabilities do not add up to 1.

    Example
    -------
    >>> check_cases(TRAINING_CASES)
    >>> check_cases(TRAINING_CASES[:2])
    Traceback (most recent call last):
    speechbrain_ext.errors.ConfigError: the probabilities of sing_sing, \
sing_speech add up to 0.3: make it 1
    """
    names = [case.name for case in cases]
    if len(set(names)) < len(names):
        double = next(name for name in names if names.count(name) > 1)
        raise ConfigError(f"two cases are called {double}: rename one")
    total = math.fsum(case.probability for case in cases)
    if abs(total - 1) > _SUM_TOLERANCE:
        raise ConfigError(
            f"the probabilities of {', '.join(names) or 'no cases'} add up to "
            f"{total:g}: make it 1"
        )


@dataclass(frozen=True)
class MixtureSettings:
    """What all mixtures of a set have in common.

    Arguments
    ---------
    segment_s : float
        Length in seconds. Default: 3.
    voices : int or (int, int)
        How many are heard, or from how many to how many, all equally often.
        Default: 2.
    main_and_rest : bool
        Whether the sources are the first voice and the sum of the others
        (default False), or each voice.
    level_db, level_sd : float
        Mean and standard deviation of the loudness of each source but the
        first, relative to the first. Default: 0 and 6 dB.
    rest_gain : (float, float)
        Range of a factor on each voice of the rest, before the rest as a
        whole gets its level. Default: 0.25 to 1.25.
    loudness : float
        Of the mixture, LUFS. Default: -24.
    change_share : float
        Share of items some of whose voices are changed: one third of these
        the first voice, one third the others, one third all. Default: 0.4.
        Voices in unison are always changed.
    changes : ChangeRanges
        How they are changed.
    speed : float
        Semitones, to each side, by which voices sound higher because they are
        played faster, as a tape: the cheapest way to other voices. Voices that
        are in time with each other are played at one speed. Default: 0.
    speed_share : float
        Share of the voices, or of those that are in time with each other, to
        which that happens. Default: 0.5.
    copies : sequence of (float, float)
        Factor on the formants, 0.5 to 2, and semitones of pitch: all recordings
        of singing of the training are there once more with each of these pairs,
        as those of other singers. They are made when the training begins, which
        costs nothing later on. Default: none.
    copied : sequence of str
        Data sets whose recordings are copied. Default: all.

    Raises
    ------
    ConfigError
        If a number is out of range, or sources would differ in number.
    """

    segment_s: float = 3.0
    voices: int | tuple[int, int] = 2
    main_and_rest: bool = False
    level_db: float = 0.0
    level_sd: float = 6.0
    rest_gain: tuple[float, float] = (0.25, 1.25)
    loudness: float = -24.0
    change_share: float = 0.4
    changes: ChangeRanges = field(default_factory=ChangeRanges)
    speed: float = 0.0
    speed_share: float = 0.5
    copies: tuple[tuple[float, float], ...] = ()
    copied: tuple[str, ...] = ()

    def __post_init__(self):
        # Lists of a YAML.
        object.__setattr__(self, "rest_gain", tuple(self.rest_gain))
        object.__setattr__(self, "copies", tuple(map(tuple, self.copies)))
        copied = self.copied
        copied = (copied,) if isinstance(copied, str) else tuple(copied)
        object.__setattr__(self, "copied", copied)
        if not isinstance(self.voices, int):
            object.__setattr__(self, "voices", tuple(self.voices))
        if not self.segment_s >= MIN_SEGMENT_S:
            raise ConfigError(
                f"segment_s is {self.segment_s}: loudness needs at least "
                f"{MIN_SEGMENT_S} s"
            )
        low, high = self.voice_range
        if not 2 <= low <= high:
            raise ConfigError(
                f"voices is {low} to {high}: give at least 2, the lower end "
                "first"
            )
        if low < high and not self.main_and_rest:
            raise ConfigError(
                f"voices is {low} to {high}, so mixtures would differ in their "
                "sources: give one number, or set main_and_rest"
            )
        low, high = self.rest_gain
        if not 0 < low <= high:
            raise ConfigError(
                f"rest_gain is {low} to {high}: give factors above 0, the "
                "lower end first"
            )
        if not self.level_sd >= 0:
            raise ConfigError(f"level_sd is {self.level_sd}: give at least 0")
        if not 0 <= self.speed <= 12:
            raise ConfigError(f"speed is {self.speed}: use 0 to 12 semitones")
        for pair in self.copies:
            if len(pair) != 2 or not 0.5 <= pair[0] <= 2:
                raise ConfigError(
                    f"copies has {list(pair)}: give a factor on the formants, "
                    "0.5 to 2, and semitones"
                )
        check_share("change_share", self.change_share)
        check_share("speed_share", self.speed_share)

    @property
    def voice_range(self):
        """Smallest and largest number of voices."""
        if isinstance(self.voices, int):
            return self.voices, self.voices
        return tuple(self.voices)


# The settings of the two published models: two singers, equally loud on
# average; and a main voice, on average 2 dB louder than one to three others
# together.
DUET = MixtureSettings()
MAIN_AND_REST = MixtureSettings(
    voices=(2, 4), main_and_rest=True, level_db=-2.0, level_sd=2.0
)


@dataclass(frozen=True)
class Recording:
    """One recording of one voice.

    Arguments
    ---------
    key : str
        Its name: `<dataset>/<name>`, or the name alone (`recording_key`).
    wav : str
        File, perhaps with its channel.
    duration : float
        Seconds.
    kind : str
        "singing" or "speech".
    singer, song : str or tuple
        What it has in common with others; unique if unknown.
    copy : (float, float), optional
        Factor on the formants and semitones by which it differs from the file.
    """

    key: str
    wav: str
    duration: float
    kind: str
    singer: str | tuple
    song: str | tuple
    copy: tuple[float, float] | None = None

    def copied(self, pair) -> Recording:
        """Make the same recording, as that of another singer.

        Arguments
        ---------
        pair : (float, float)
            Factor on the formants and semitones.

        Returns
        -------
        Recording

        Example
        -------
        >>> recording = Recording("a", "a.wav", 5.0, "singing", "amy", "song")
        >>> recording.copied((1.2, -3.0)).singer
        'amy (1.2, -3)'
        """
        name = f" ({pair[0]:g}, {pair[1]:g})"
        other = isinstance(self.singer, str)
        return replace(
            self,
            key=self.key + name,
            singer=self.singer + name if other else (self.key + name, "singer"),
            copy=pair,
        )


def recording_key(row: dict) -> str:
    """Name a recording alike in all manifests that it may be in.

    Arguments
    ---------
    row : dict
        Of a manifest.

    Returns
    -------
    str
        The ID of the song, which in a manifest of several data sets starts with
        the name of its own, after that name and a slash.

    Example
    -------
    >>> recording_key({"song_id": "en001a", "dataset": "csd"})
    'csd/en001a'
    >>> recording_key({"song_id": "csd_en001a", "dataset": "csd"})
    'csd/en001a'
    >>> recording_key({"song_id": "en001a"})
    'en001a'
    """
    dataset = row.get("dataset")
    if not dataset:
        return row["song_id"]
    return f"{dataset}/{row['song_id'].removeprefix(f'{dataset}_')}"


class _Pool(list):
    """Recordings, and where each ends if all are put end to end."""

    def __init__(self, recordings):
        super().__init__(recordings)
        self.ends = np.cumsum([x.duration for x in self])

    def draw(self, rng):
        """Draw a recording, long ones more often than short ones."""
        place = rng.uniform() * self.ends[-1]
        place = int(np.searchsorted(self.ends, place, side="right"))
        return self[min(place, len(self) - 1)]


class Pools:
    """Recordings to choose from, by kind, singer and song.

    Arguments
    ---------
    rows : list of dict
        Of one or several manifests. The rows of a song are one recording.
    copies, copied
        See `MixtureSettings`.

    Raises
    ------
    ManifestError
        If there are no rows, one has no `wav` or an unknown `kind`, or songs
        of two data sets have the same name and no `dataset`.

    Example
    -------
    >>> rows = [{"ID": "a_1", "song_id": "a", "stop": 5.0, "wav": "a.wav"}]
    >>> list(Pools(rows).recordings)
    ['a']
    """

    def __init__(self, rows, copies=(), copied=()):
        if not rows:
            raise ManifestError(
                "the manifest holds 0 segments: prepare the corpus again"
            )
        found, sets = {}, {}
        for row in rows:
            if not row.get("wav"):
                raise ManifestError(
                    f"segment {row['ID']} has no wav: mixtures need voices "
                    "alone"
                )
            kind = row.get("kind") or KINDS[0]
            if kind not in KINDS:
                raise ManifestError(
                    f"segment {row['ID']}: kind {kind!r} is none of "
                    f"{', '.join(KINDS)}"
                )
            key = recording_key(row)
            known = found.get(key)
            if known is not None and known.wav != str(row["wav"]):
                raise ManifestError(
                    f"recording {key} is in {known.wav} and in {row['wav']}: "
                    "give the rows of each manifest their dataset"
                )
            stop = max(row["stop"], known.duration if known else 0.0)
            # What is not known is nobody else's.
            singer, song = (
                row.get(what) or (key, what) for what in ("singer", "song")
            )
            found[key] = Recording(
                key, str(row["wav"]), stop, kind, singer, song
            )
            sets[key] = row.get("dataset")
        unknown = {*copied} - {*sets.values()} if copies else {}
        if unknown:
            known = ", ".join(sorted({*sets.values()} - {None}))
            raise ConfigError(
                f"copied names {min(unknown)}: the training has recordings of "
                f"{known or 'no data set'}"
            )
        found |= {
            copy.key: copy
            for key, recording in list(found.items())
            if recording.kind == KINDS[0]
            and (not copied or sets[key] in copied)
            for copy in map(recording.copied, copies)
        }
        # Sorted: what is drawn does not depend on the order of the rows.
        self.recordings = {key: found[key] for key in sorted(found)}
        self.kinds = {
            kind: _Pool(x for x in self.recordings.values() if x.kind == kind)
            for kind in KINDS
        }
        self.groups = {"singer": defaultdict(list), "song": defaultdict(list)}
        for recording in self.recordings.values():
            for what, groups in self.groups.items():
                group = (recording.kind, getattr(recording, what))
                groups[group].append(recording)
        self._eligible = {}
        self.checked = set()

    def eligible(self, case: Case) -> list[Recording]:
        """Find what can be the first voice of a case.

        Arguments
        ---------
        case : Case

        Returns
        -------
        list of Recording

        Raises
        ------
        ConfigError
            If there is nothing, or nothing related.
        """
        key = (case.pools, case.relation)
        if key in self._eligible:
            return self._eligible[key]
        pool = self.kinds[case.pools[0]]
        trouble = None
        for kind in case.pools:
            if not self.kinds[kind]:
                trouble = f"there are 0 recordings of {kind}"
        if trouble is None and case.family:
            pool = _Pool(
                x for x in pool if len(self.related(x, case.family)) > 1
            )
            if not pool:
                trouble = f"no {case.family} has 2 recordings of {kind}"
        if trouble:
            raise ConfigError(
                f"case {case.name} cannot be made, {trouble}: add some, or "
                "leave the case out"
            )
        self._eligible[key] = pool
        return pool

    def related(self, recording: Recording, what: str) -> list[Recording]:
        """Find recordings of the same kind by the same singer or of one song.

        Arguments
        ---------
        recording : Recording
        what : {"singer", "song"}

        Returns
        -------
        list of Recording
            Itself among them.
        """
        return self.groups[what][recording.kind, getattr(recording, what)]


@dataclass(frozen=True)
class Voice:
    """One voice of a mixture.

    Arguments
    ---------
    recording : str
        Key of the recording (`Recording`).
    start : float
        Second at which the segment starts; below 0, silence comes first.
    gain_db : float
        Gain before levels are set, as within the rest. Default: 0.
    change : VoiceChange, optional
        Default: none.
    speed : float
        Seconds of the recording per second of the segment, before the change.
        Default: 1.
    """

    recording: str
    start: float
    gain_db: float = 0.0
    change: VoiceChange | None = None
    speed: float = 1.0


@dataclass(frozen=True)
class Mixture:
    """What one mixture is made of.

    Arguments
    ---------
    name : str
        Unique in its set.
    case : str
        Name of the case.
    voices : tuple of Voice
        The first one is the main voice.
    levels_db : tuple of float
        Loudness of each source but the first, relative to the first.
    segment_s : float
        Length in seconds.
    loudness : float
        Of the mixture, LUFS.
    main_and_rest : bool
        Whether all voices but the first are one source.
    """

    name: str
    case: str
    voices: tuple[Voice, ...]
    levels_db: tuple[float, ...]
    segment_s: float
    loudness: float
    main_and_rest: bool = False

    def __post_init__(self):
        wanted = 1 if self.main_and_rest else len(self.voices) - 1
        if len(self.voices) < 2 or len(self.levels_db) != wanted:
            raise ConfigError(
                f"mixture {self.name} has {len(self.voices)} voices and "
                f"{len(self.levels_db)} levels: give at least 2 voices, and a "
                "level for each source but the first"
            )


def check_voices(pools, case, settings) -> None:
    """Refuse a case for which there are not enough recordings or singers.

    Arguments
    ---------
    pools : Pools
    case : Case
    settings : MixtureSettings

    Raises
    ------
    ConfigError
        If so, or if more than all of its items would be changed.
    """
    key = (case, settings)
    if key in pools.checked:
        return
    firsts = pools.eligible(case)
    if case.unison + settings.change_share > 1:
        raise ConfigError(
            f"case {case.name}: unison {case.unison:g} and change_share "
            f"{settings.change_share:g} add up to more than 1: lower one"
        )
    if case.relation not in ("any", "unison"):
        count = settings.voice_range[1]
        wanted = Counter(case.pools[k % len(case.pools)] for k in range(count))
        for kind, number in wanted.items():
            singers = {x.singer for x in pools.kinds[kind]}
            spare = len(singers) - number
            if case.family:
                # The smallest family is left soonest for strangers.
                families = {
                    getattr(x, case.family): pools.related(x, case.family)
                    for x in firsts
                }
                spare = min(
                    len(singers - {x.singer for x in family})
                    - max(0, number - len(family))
                    for family in families.values()
                )
            if spare < 0:
                raise ConfigError(
                    f"case {case.name} wants {number} voices of {kind}, but "
                    f"there are {len(singers)} singers: lower voices"
                )
    pools.checked.add(key)


def draw_mixture(
    seed, pools, case, settings, name="", first=None, sounds=None
) -> Mixture:
    """Draw what one mixture of a case is made of.

    Arguments
    ---------
    seed : sequence of int
        The same numbers give the same mixture.
    pools : Pools
    case : Case
    settings : MixtureSettings
    name : str
        Of the mixture.
    first : Recording, optional
        Recording of the first voice. Default: drawn.
    sounds : callable, optional
        Tells of (Recording, second) whether the segment there is more than
        silence; up to 5 places are tried. Default: all are taken to sound.

    Returns
    -------
    Mixture

    Raises
    ------
    ConfigError
        If the pools do not hold what the case needs (`check_voices`).
    """
    check_voices(pools, case, settings)
    whom, where, levels, changes, speed = np.random.default_rng(seed).spawn(5)
    chance, who = changes.uniform(size=2)
    unison = case.relation == "unison" or chance < case.unison
    low, high = settings.voice_range
    count = int(levels.integers(low, high + 1))
    chosen, related = _cast(whom, pools, case, count, unison, first)
    aligned = unison or case.alignment == "aligned"
    speeds = _speeds(speed, related, aligned, settings)
    starts = _places(where, chosen, related, aligned, speeds, settings, sounds)
    # One chance decides on both: unison and other changes are shares of all
    # the items of a case.
    main_too, others_too = False, unison
    if not unison and chance < case.unison + settings.change_share:
        main_too, others_too = _WHO_CHANGES[int(who * len(_WHO_CHANGES))]
    changed = [main_too] + [others_too] * (count - 1)
    drawn = [settings.changes.draw(changes, settings.segment_s) for _ in chosen]
    gains = 20 * np.log10(levels.uniform(*settings.rest_gain, size=count - 1))
    if not settings.main_and_rest:
        gains *= 0
    sources = 1 if settings.main_and_rest else count - 1
    level = levels.normal(settings.level_db, settings.level_sd, size=sources)
    voices = tuple(
        Voice(x.key, start, gain, change if is_changed else None, rate)
        for x, start, gain, change, is_changed, rate in zip(
            chosen,
            starts,
            [0.0, *gains.tolist()],
            drawn,
            changed,
            speeds,
            strict=True,
        )
    )
    return Mixture(
        name or case.name,
        case.name,
        voices,
        tuple(level.tolist()),
        settings.segment_s,
        settings.loudness,
        settings.main_and_rest,
    )


def _cast(rng, pools, case, count, unison, first):
    """Draw the recordings, and which of them are related to the first."""
    if unison:
        main = first or pools.kinds[case.pools[0]].draw(rng)
        return [main] * count, [True] * count
    main = first or pools.eligible(case).draw(rng)
    chosen, related, family = [main], [True], []
    if case.family:
        group = pools.related(main, case.family)
        family = [group[k] for k in rng.permutation(len(group))]
        family = [x for x in family if x.key != main.key]
    while len(chosen) < count:
        pool = pools.kinds[case.pools[len(chosen) % len(case.pools)]]
        related.append(bool(family))
        if family:
            chosen.append(family.pop())
        elif case.relation == "any":
            chosen.append(pool.draw(rng))
        else:
            chosen.append(_stranger(rng, pool, {x.singer for x in chosen}))
    return chosen, related


def _stranger(rng, pool, heard):
    """Draw a recording of a singer who is not heard yet."""
    for _ in range(_TRIES):
        found = pool.draw(rng)
        if found.singer not in heard:
            return found
    return _Pool(x for x in pool if x.singer not in heard).draw(rng)


def _speeds(rng, related, aligned, settings):
    """Draw how fast each recording is played, steps of a cent."""
    chances = rng.uniform(size=len(related))
    cents = rng.uniform(-100, 100, size=len(related)) * settings.speed
    cents = np.where(chances < settings.speed_share, np.round(cents), 0.0)
    first = cents[0]
    return [
        float(2 ** ((first if aligned and known else own) / 1200))
        for own, known in zip(cents, related, strict=True)
    ]


def _places(rng, chosen, related, aligned, speeds, settings, sounds):
    """Draw the second at which each recording is entered."""
    spans = [settings.segment_s * speed for speed in speeds]
    common = min(
        x.duration for x, known in zip(chosen, related, strict=True) if known
    )
    best, most = None, -1
    for _ in range(_TRIES):
        shares = rng.uniform(size=len(chosen))
        together = round(float(shares[0]) * max(0.0, common - spans[0]), 6)
        # What is shorter than the segment lies somewhere in it.
        starts = [
            together
            if aligned and known
            else round(float(share) * (x.duration - span), 6)
            for x, known, share, span in zip(
                chosen, related, shares, spans, strict=True
            )
        ]
        if sounds is None:
            return starts
        heard = [sounds(x, s) for x, s in zip(chosen, starts, strict=True)]
        if sum(heard) > most:
            best, most = starts, sum(heard)
        if all(heard):
            break
    return best


class Reader:
    """Reads slices of recordings, each once per mixture.

    Arguments
    ---------
    segment_s : float
        Length of a segment in seconds.
    sample_rate : int
        Hertz.
    whole : dict, optional
        Recordings (samples,) by key. Default: slices are read from files.
    """

    def __init__(self, segment_s, sample_rate, whole=None):
        self.segment_s, self.sample_rate = segment_s, sample_rate
        self.whole = whole
        self._kept = {}

    def __call__(self, recording, start, before_s=0.0, after_s=0.0, speed=1.0):
        """Samples (samples,) of a segment with what lies around it."""
        key = (recording.key, start, before_s, after_s, speed)
        if key not in self._kept:
            rate = self.sample_rate
            before, span, after = (
                seconds_to_samples(seconds, rate)
                for seconds in (before_s, self.segment_s, after_s)
            )
            samples = before + span + after
            first = seconds_to_samples(start, rate) - round(before * speed)
            wav = self._slice(recording, first, round(samples * speed))
            if speed != 1:
                wav = _fitted(resample(wav, rate * speed, rate), samples)
            self._kept[key] = wav
        return self._kept[key]

    def _slice(self, recording, first, samples):
        """Samples from `first` on, with silence outside the recording."""
        rate = self.sample_rate
        wav = np.zeros(samples, np.float32)
        end = math.floor(recording.duration * rate)
        left, right = max(first, 0), min(first + samples, end)
        if right > left:
            part = self._read(recording, left, right)
            wav[left - first :][: len(part)] = part[: right - left]
        return wav

    def _read(self, recording, left, right):
        """Samples of a part of a recording."""
        rate = self.sample_rate
        if self.whole is None:
            return read_audio(recording.wav, left / rate, right / rate, rate)
        return self.whole[recording.key][left:right]

    def sounds(self, recording, start):
        """Tell whether a segment is more than silence.

        Arguments
        ---------
        recording : Recording
        start : float
            Seconds.

        Returns
        -------
        bool
        """
        return level_db(self(recording, start)) > SILENT_DB


def render_mixture(
    mixture, pools, sample_rate, same_band=True, reader=None
) -> torch.Tensor:
    """Read and make the sources of a mixture.

    Arguments
    ---------
    mixture : Mixture
    pools : Pools
    sample_rate : int
        Hertz.
    same_band : bool
        Whether voices are all band-limited to the narrowest of them, so that
        the bandwidth of a file does not tell who speaks. Default: True.
    reader : Reader, optional
        Slices read already.

    Returns
    -------
    torch.Tensor (sources, samples)
        float32; their sum is the mixture. Levels are as asked for except where
        a source is silent.

    Raises
    ------
    ManifestError
        If a recording is not among the rows.
    """
    reader = reader or Reader(mixture.segment_s, sample_rate)
    recordings = recordings_of(mixture, pools)
    wavs = _voices(mixture, recordings, reader)
    narrow = min(_native_rate(x.wav) for x in recordings)
    if same_band and narrow < sample_rate:
        # After the changes, which may widen the band of a voice.
        wavs = [
            _fitted(
                resample(resample(x, sample_rate, narrow), narrow, sample_rate),
                len(x),
            )
            for x in wavs
        ]
    wavs = [
        wav.astype(np.float64) * 10 ** (voice.gain_db / 20)
        for wav, voice in zip(wavs, mixture.voices, strict=True)
    ]
    if mixture.main_and_rest:
        wavs = [wavs[0], np.sum(wavs[1:], axis=0)]
    first = integrated_loudness(wavs[0], sample_rate)
    if math.isfinite(first):
        for k, level in enumerate(mixture.levels_db, start=1):
            wavs[k] *= loudness_gain(wavs[k], sample_rate, first + level)
    sources = np.stack(wavs)
    sources *= loudness_gain(sources.sum(0), sample_rate, mixture.loudness)
    return torch.from_numpy(sources.astype(np.float32))


def recordings_of(mixture, pools) -> list[Recording]:
    """Find the recordings of the voices of a mixture.

    Arguments
    ---------
    mixture : Mixture
    pools : Pools

    Returns
    -------
    list of Recording

    Raises
    ------
    ManifestError
        If one is not among the rows.
    """
    found = []
    for voice in mixture.voices:
        recording = pools.recordings.get(voice.recording)
        if recording is None:
            raise ManifestError(
                f"mixture {mixture.name} needs {voice.recording}, which no row "
                "has: prepare the corpora that the plan was made from"
            )
        found.append(recording)
    return found


def _voices(mixture, recordings, reader):
    """Read all voices of a mixture and change those that are to be."""
    pairs = list(zip(recordings, mixture.voices, strict=True))
    changes = [v.change for v in mixture.voices if v.change is not None]
    shortest = min((change.duration for change in changes), default=1.0)
    after_s = MARGIN_S + mixture.segment_s * max(0.0, 1 / shortest - 1)
    changed = iter(())
    if changes:
        slices = [
            reader(x, voice.start, MARGIN_S, after_s, voice.speed)
            for x, voice in pairs
            if voice.change is not None
        ]
        done = change_voices(
            torch.from_numpy(np.stack(slices)),
            reader.sample_rate,
            changes,
            MARGIN_S,
            mixture.segment_s,
        )
        changed = iter(done.numpy())
    return [
        reader(x, voice.start, speed=voice.speed)
        if voice.change is None
        else next(changed)
        for x, voice in pairs
    ]


@lru_cache(maxsize=1 << 17)
def _native_rate(path):
    """Sample rate of a file."""
    return audio_info(path).sample_rate


def _fitted(wav, samples):
    """Cut or lengthen a signal by the samples that rounding may cost."""
    return np.pad(wav[:samples], (0, max(0, samples - len(wav))))


class Mixtures(torch.utils.data.Dataset):
    """What data sets of mixtures share: a mixture becomes an item.

    Arguments
    ---------
    rows : list of dict
        Of the recordings (`Pools`).
    sample_rate : int
        Hertz.
    same_band : bool
        See `render_mixture`.
    keep : bool
        Whether recordings are read now, as a whole, and kept in memory, 3.8 MB
        per minute at 16 kHz; workers that are forked share it. Default: False.
    copies, copied
        See `MixtureSettings`; need `keep`.

    Raises
    ------
    ConfigError
        If there are copies that are not kept.
    """

    def __init__(
        self, rows, sample_rate, same_band, keep=False, copies=(), copied=()
    ):
        if copies and not keep:
            raise ConfigError(
                f"mixtures has {len(copies)} copies of every voice, which are "
                "made once: set keep_in_memory"
            )
        self.pools = Pools(rows, copies, copied)
        self.sample_rate = sample_rate
        self.same_band = same_band
        self.whole = self._whole(copies) if keep else None

    def _whole(self, copies):
        """All recordings and their copies."""
        from tqdm import tqdm

        found, whole = self.pools.recordings, {}
        originals = [x for x in found.values() if x.copy is None]
        # Copies take minutes.
        hidden = None if copies else True
        for x in tqdm(originals, "copies", unit="recording", disable=hidden):
            whole[x.key] = read_audio(x.wav, sample_rate=self.sample_rate)
            made = [
                other
                for pair in copies
                if (other := found.get(x.copied(pair).key)) is not None
            ]
            if made:
                wav = torch.from_numpy(whole[x.key])
                changed = change_voices(
                    wav.expand(len(made), -1).contiguous(),
                    self.sample_rate,
                    [VoiceChange(y.copy[1], y.copy[0]) for y in made],
                )
                names = (y.key for y in made)
                whole |= zip(names, changed.numpy(), strict=True)
        return whole

    def reader(self, segment_s) -> Reader:
        """Make what reads the slices of one mixture.

        Arguments
        ---------
        segment_s : float

        Returns
        -------
        Reader
        """
        return Reader(segment_s, self.sample_rate, self.whole)

    def item(self, mixture, reader=None) -> dict:
        """Make the item of a mixture.

        Arguments
        ---------
        mixture : Mixture
        reader : Reader, optional
            Slices read already.

        Returns
        -------
        dict
            `id`; `case`; `voices`, how many there are; `n_singers`, how many
            people sing them, and `singers`, their names; `song`, key of the
            recording of the first one; `mixture (samples,)` and `sources
            (sources, samples)`, float32, which add up to the mixture exactly.
        """
        reader = reader or self.reader(mixture.segment_s)
        sources = render_mixture(
            mixture, self.pools, self.sample_rate, self.same_band, reader
        )
        singers = [x.singer for x in recordings_of(mixture, self.pools)]
        return {
            "id": mixture.name,
            "case": mixture.case,
            "voices": len(mixture.voices),
            "n_singers": len(set(singers)),
            "singers": " + ".join(
                x if isinstance(x, str) else x[0] for x in singers
            ),
            "song": mixture.voices[0].recording,
            "mixture": sources.sum(0),
            "sources": sources,
        }


class MixtureDataset(Mixtures):
    """Mixtures to train with, drawn anew in every epoch.

    An item depends on (seed, epoch, index) alone: it is the same for any
    number of workers or processes. It reads its slices and nothing else.

    Arguments
    ---------
    rows : list of dict
        From `data_prep.manifest.read_manifest`; lists of several manifests may
        be joined if their rows have a `dataset`.
    items : int, optional
        Mixtures in an epoch. Default: as many as there are segments in all
        recordings of the kinds that the cases use.
    settings : MixtureSettings
        Default: `DUET`.
    cases : sequence of Case
        Default: `TRAINING_CASES`.
    sample_rate : int
        Hertz. Default: 24000.
    seed : int
        Default: 0.
    epoch_counter : speechbrain.utils.epoch_loop.EpochCounter, optional
        Tells the epoch. Default: always the same items.
    same_band : bool
        See `render_mixture`. Default: True.
    keep : bool
        See `Mixtures`. Default: False.

    Raises
    ------
    ManifestError
        If the rows cannot be used (`Pools`).
    ConfigError
        If the probabilities do not add up to 1, a case has not the recordings
        that it needs, or there are fewer singers than voices.
    """

    def __init__(
        self,
        rows,
        items=None,
        settings=DUET,
        cases=TRAINING_CASES,
        sample_rate=24000,
        seed=0,
        epoch_counter=None,
        same_band=True,
        keep=False,
    ):
        super().__init__(
            rows,
            sample_rate,
            same_band,
            keep,
            settings.copies,
            settings.copied,
        )
        check_cases(cases)
        self.settings = settings
        self.cases = [case for case in cases if case.probability > 0]
        for case in self.cases:
            check_voices(self.pools, case, settings)
        self._ends = np.cumsum([case.probability for case in self.cases])
        self.seed = seed
        self.epoch_counter = epoch_counter
        if items is None:
            kinds = {kind for case in self.cases for kind in case.pools}
            items = sum(
                math.ceil(x.duration / settings.segment_s)
                for kind in kinds
                for x in self.pools.kinds[kind]
            )
        if not items > 0:
            raise ConfigError(f"items is {items}: give a number above 0")
        self.items = items

    def __len__(self):
        return self.items

    def plan(self, index, reader=None) -> Mixture:
        """Draw what an item of this epoch is made of.

        Arguments
        ---------
        index : int
        reader : Reader, optional
            Keeps the slices that are looked at.

        Returns
        -------
        Mixture
        """
        if not 0 <= index < self.items:
            raise IndexError(index)
        epoch = self.epoch_counter.current if self.epoch_counter else 0
        seed = [self.seed, epoch, index]
        share = np.random.default_rng(seed).uniform() * self._ends[-1]
        case = self.cases[int(np.searchsorted(self._ends, share, "right"))]
        reader = reader or self.reader(self.settings.segment_s)
        return draw_mixture(
            seed,
            self.pools,
            case,
            self.settings,
            f"{case.name}_{index}",
            sounds=reader.sounds,
        )

    def __getitem__(self, index):
        reader = self.reader(self.settings.segment_s)
        return self.item(self.plan(index, reader), reader)
