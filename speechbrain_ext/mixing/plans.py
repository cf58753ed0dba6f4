"""Mixtures of several voices that are fixed: validation sets.

A `Plan` is a list of mixtures (`mixing.singers`) in a file that was written
once: what goes where, without any audio. `validation_plan` draws one; the
published lists of MedleyVox (Jeon et al., ICASSP 2023) are read by
`published_plan` for those who have them. The seven cases are the published
ones; voices in unison start together and all of several voices are heard, which
the published loaders miss.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from speechbrain_ext.audio import split_channel
from speechbrain_ext.errors import ConfigError, ManifestError
from speechbrain_ext.files import atomic_path
from speechbrain_ext.mixing.singers import (
    DUET,
    Case,
    Mixture,
    Mixtures,
    Pools,
    Reader,
    Voice,
    check_voices,
    draw_mixture,
    recording_key,
    recordings_of,
)
from speechbrain_ext.mixing.voices import VoiceChange

PLAN_VERSION = 1

# In the published order. Each counts the same (`Plan.weights`).
VALIDATION_CASES = (
    Case("sing_sing_diff", ("singing",)),
    Case("sing_sing_unison", ("singing",), "unison", "aligned"),
    Case("sing_sing_same_singer", ("singing",), "same_singer"),
    Case("speech_speech_diff", ("speech",)),
    Case("speech_speech_unison", ("speech",), "unison", "aligned"),
    Case("speech_same_speaker", ("speech",), "same_singer"),
    Case("singing_speech", ("singing", "speech")),
)


@dataclass(frozen=True)
class Plan:
    """Mixtures that are fixed once and for all.

    Arguments
    ---------
    mixtures : tuple of Mixture
        With different names.
    remarks : tuple of str
        What was left out or mended, one line each.

    Raises
    ------
    ConfigError
        If there are no mixtures, or two of one name.
    """

    mixtures: tuple[Mixture, ...]
    remarks: tuple[str, ...] = ()

    def __post_init__(self):
        names = Counter(mixture.name for mixture in self.mixtures)
        if not names:
            raise ConfigError("the plan holds 0 mixtures: make it again")
        name, count = names.most_common(1)[0]
        if count > 1:
            raise ConfigError(
                f"the plan holds {count} mixtures called {name}: give each a "
                "name of its own"
            )

    def weights(self) -> dict[str, float]:
        """Weights of the mixtures with which each case counts the same.

        Returns
        -------
        dict of str to float
            By name; they add up to 1.
        """
        counts = Counter(mixture.case for mixture in self.mixtures)
        return {
            mixture.name: 1 / (len(counts) * counts[mixture.case])
            for mixture in self.mixtures
        }


def validation_plan(
    rows,
    seed=0,
    per_case=None,
    settings=None,
    cases=VALIDATION_CASES,
    sample_rate=24000,
) -> Plan:
    """Draw the mixtures of a validation set.

    Every recording is the first voice once in each case that it is fit for.
    The same rows, in any order, and seed give the same plan.

    Arguments
    ---------
    rows : list of dict
        Of recordings that are not trained with.
    seed : int
        Default: 0.
    per_case : int, optional
        At most so many mixtures of each case, spread evenly over the
        recordings. Default: all.
    settings : MixtureSettings, optional
        Of these, all but the spread of levels, the share of changed voices and
        speeds, which are 0 here: levels are exact, and only voices in unison
        are changed. Default: `DUET`.
    cases : sequence of Case
        Default: the seven of `VALIDATION_CASES`.
    sample_rate : int
        Rate at which silence is told from sound.

    Returns
    -------
    Plan

    Raises
    ------
    ManifestError, ConfigError
        As `MixtureDataset`.
    """
    pools = Pools(rows)
    settings = replace(
        settings or DUET, level_sd=0.0, change_share=0.0, speed=0.0
    )
    mixtures = []
    for number, case in enumerate(cases):
        case = replace(case, unison=0.0)
        check_voices(pools, case, settings)
        firsts = pools.eligible(case)
        count = min(per_case or len(firsts), len(firsts))
        for k in range(count):
            first = firsts[k * len(firsts) // count]
            reader = Reader(settings.segment_s, sample_rate)
            mixtures.append(
                draw_mixture(
                    [seed, number, k],
                    pools,
                    case,
                    settings,
                    f"{case.name}_{k + 1}",
                    first,
                    reader.sounds,
                )
            )
    return Plan(tuple(mixtures))


def write_plan(plan: Plan, path, overwrite: bool = False) -> Path:
    """Write a plan as JSON, one mixture per line.

    Arguments
    ---------
    plan : Plan
    path : str or Path
    overwrite : bool
        Whether an existing file may be replaced.

    Returns
    -------
    Path

    Raises
    ------
    OutputError
        If the file exists or cannot be written.
    """
    lines = [
        json.dumps(_without_defaults(mixture), ensure_ascii=False)
        for mixture in plan.mixtures
    ]
    head = json.dumps(
        {"version": PLAN_VERSION, "remarks": list(plan.remarks)},
        ensure_ascii=False,
    )
    text = head[:-1] + ', "mixtures": [\n' + ",\n".join(lines) + "\n]}\n"
    path = Path(path)
    with atomic_path(path, overwrite=overwrite) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def _without_defaults(mixture):
    """Mixture as a dictionary, without what is as by default."""
    entry = asdict(mixture)
    for voice in entry["voices"]:
        if voice["change"] is not None:
            plain = asdict(VoiceChange())
            voice["change"] = {
                key: value
                for key, value in voice["change"].items()
                if value != plain[key]
            }
        defaults = (("change", None), ("gain_db", 0.0), ("speed", 1.0))
        for key, default in defaults:
            if voice[key] == default:
                del voice[key]
    return entry


def read_plan(path) -> Plan:
    """Read a plan.

    Arguments
    ---------
    path : str or Path

    Returns
    -------
    Plan

    Raises
    ------
    ManifestError
        If it is missing or no plan.
    """
    data = _read_json(path, "write it with `write_plan`")
    try:
        version = data["version"]
        if version != PLAN_VERSION:
            raise ManifestError(
                f"{path}: is a plan of version {version}, not {PLAN_VERSION}: "
                "write it again"
            )
        mixtures = tuple(map(_mixture, data["mixtures"]))
        return Plan(mixtures, tuple(data.get("remarks", ())))
    except (KeyError, TypeError, AttributeError) as error:
        raise ManifestError(
            f"{path}: is no plan of mixtures: {type(error).__name__} {error}"
        ) from None
    except ConfigError as error:
        raise ManifestError(f"{path}: {error}") from None


def _mixture(entry):
    """Mixture from its dictionary."""
    voices = tuple(
        Voice(
            **{
                **voice,
                "change": VoiceChange(**voice["change"])
                if voice.get("change") is not None
                else None,
            }
        )
        for voice in entry["voices"]
    )
    levels = tuple(entry["levels_db"])
    return Mixture(**{**entry, "voices": voices, "levels_db": levels})


def _read_json(path, remedy):
    """Content of a JSON file with an object in it."""
    path = Path(path)
    try:
        data = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ManifestError(
            f"{path}: cannot be read ({error.strerror}): {remedy}"
        ) from None
    except ValueError as error:
        raise ManifestError(f"{path}: is no JSON in UTF-8: {error}") from None
    if not isinstance(data, dict):
        raise ManifestError(f"{path}: holds no JSON object: {remedy}")
    return data


class PlanDataset(Mixtures):
    """The mixtures of a plan.

    Arguments
    ---------
    rows : list of dict
        With all recordings that the plan names.
    plan : Plan, str or Path
        Or the file that it is in (`read_plan`).
    sample_rate : int
        Hertz. Default: 24000.
    same_band : bool
        See `render_mixture`. Default: True.

    Raises
    ------
    ManifestError
        If the plan cannot be read, or a recording is not among the rows.
    """

    def __init__(self, rows, plan, sample_rate=24000, same_band=True):
        super().__init__(rows, sample_rate, same_band)
        self.plan = plan if isinstance(plan, Plan) else read_plan(plan)
        for mixture in self.plan.mixtures:
            recordings_of(mixture, self.pools)

    def __len__(self):
        return len(self.plan.mixtures)

    def __getitem__(self, index):
        return self.item(self.plan.mixtures[index])


# Cases by the `type` of an entry of the published lists.
_PUBLISHED_TYPES = {
    "singing+singing": "sing_sing_diff",
    "singing_unison": "sing_sing_unison",
    "singing_same_singer": "sing_sing_same_singer",
    "speech+speech": "speech_speech_diff",
    "speech_unison": "speech_speech_unison",
    "speech_same_speaker": "speech_same_speaker",
    "singing+speech": "singing_speech",
}
_PUBLISHED_FILES = "valid_regions_dict_*.json"


def published_plan(
    source, rows, as_published=False, segment_s=3.0, loudness=-24.0
) -> Plan:
    """Read the validation lists that were published with MedleyVox.

    Each entry names two or more recordings by their file names; the first one
    starts at 0, the others where the list says. All are equally loud. Lists of
    more than two voices give a main voice and the rest.

    The lists and their loader have faults, which are mended: voices in unison
    start at different times (here together); of several voices in the rest
    only the last is heard (here all); some first voices that are said to meet
    others meet themselves (left out here, with a remark). The factor on the
    range of the pitch, which the loader ignores too, has no effect.

    Arguments
    ---------
    source : str or Path
        One of the JSON files, or a folder of them
        (`valid_regions_dict_*.json`).
    rows : list of dict
        With the recordings, whose `song_id` or file has the published name.
    as_published : bool
        Whether the faults are kept. Default: False.
    segment_s : float
        Length in seconds. Default: 3.
    loudness : float
        Of the mixtures, LUFS. Default: -24.

    Returns
    -------
    Plan

    Raises
    ------
    ManifestError
        If there are no such files, one is no such list, or a recording is not
        among the rows or there twice.
    """
    source = Path(source)
    files = sorted(source.glob(_PUBLISHED_FILES)) if source.is_dir() else []
    files = files or ([source] if not source.is_dir() else [])
    if not files:
        raise ManifestError(
            f"{source}: holds no {_PUBLISHED_FILES}: name the folder of the "
            "published lists"
        )
    pools = Pools(rows)
    names = _published_names(pools.recordings.values())
    mixtures, remarks = [], []
    for path in files:
        data = _read_json(path, "is it a published list?")
        entries = []
        for name, entry in data.items():
            try:
                entries.append(_published_entry(name, entry))
            except (KeyError, TypeError, ValueError) as error:
                raise ManifestError(
                    f"{path}: the entry {name} is none of a validation list: "
                    f"{type(error).__name__} {error}"
                ) from None
        wanted = {stem for entry in entries for stem in entry["stems"]}
        for stem in sorted(wanted):
            found = names.get(stem, ())
            if len(found) != 1:
                raise ManifestError(
                    f"{path}: {len(found)} recordings are called {stem}, of "
                    f"{len(wanted)} wanted: prepare the corpora of the list"
                )
        same = 0
        for entry in entries:
            keys = [names[stem][0] for stem in entry["stems"]]
            main, *others = (pools.recordings[key].singer for key in keys)
            if (
                not as_published
                and entry["case"].endswith("_diff")
                and main in others
            ):
                same += 1
                continue
            mixtures.append(
                _published_mixture(
                    entry, keys, as_published, segment_s, loudness
                )
            )
        if same:
            remarks.append(
                f"{path.name}: left out {same} of {len(entries)} mixtures of "
                "different voices, because the first voice comes twice"
            )
    return Plan(tuple(mixtures), tuple(remarks))


def _published_names(recordings):
    """Keys of recordings by the names that published lists may use."""
    names = defaultdict(list)
    for recording in recordings:
        file, _ = split_channel(recording.wav)
        for name in {_published_name(recording.key), file.stem}:
            names[name].append(recording.key)
    return names


def _published_name(key):
    """Name that published lists may use for a recording."""
    return key.rsplit("/", 1)[-1]


def _published_entry(name, entry):
    """One entry in one form, for two or more voices."""
    others, starts = entry["corresponding_data"], entry["position(sec)"]
    several = isinstance(others, list)
    gains, changes = entry.get("gain_adjustment"), entry["unison_params"]
    if not several:
        others, starts = [others], [starts]
        changes = [changes] if changes else None
    changes = changes or [None] * len(others)
    gains = gains or [1.0] * len(others)
    if not len(others) == len(starts) == len(gains) == len(changes):
        raise ValueError("its lists differ in length")
    return {
        "case": _PUBLISHED_TYPES[entry["type"]],
        "stems": [file.removesuffix(".wav") for file in (name, *others)],
        "starts": [float(start) for start in starts],
        "gains_db": [20 * math.log10(gain) for gain in gains],
        "changes": [
            VoiceChange(values[0], values[1], max(0.7, values[3]))
            if values
            else None
            for values in changes
        ],
        "several": several,
    }


def _published_mixture(entry, keys, as_published, segment_s, loudness):
    """Mixture of an entry."""
    main, *others = keys
    voices = [
        Voice(
            key,
            start if as_published or change is None else 0.0,
            gain_db,
            change,
        )
        for key, start, gain_db, change in zip(
            others,
            entry["starts"],
            entry["gains_db"],
            entry["changes"],
            strict=True,
        )
    ]
    if as_published:
        voices = voices[-1:]
    return Mixture(
        f"{entry['case']}_{entry['stems'][0]}",
        entry["case"],
        (Voice(main, 0.0), *voices),
        (0.0,),
        segment_s,
        loudness,
        entry["several"],
    )


def with_published_groups(rows, same_singer=(), same_song=()) -> list[dict]:
    """Fill in singers and songs from the lists published with MedleyVox.

    Arguments
    ---------
    rows : list of dict
        Whose `song_id` or file has the published name.
    same_singer : sequence of str or Path
        JSON files `{"<corpus> - <singer>": [name, ...]}`.
    same_song : sequence of str or Path
        JSON files `{"<song>": [[name, seconds], ...]}`.

    Returns
    -------
    list of dict
        Rows of the same order; what they said before stays. Groups of one name
        in two files of songs stay apart.

    Raises
    ------
    ManifestError
        If a file cannot be read, is no such list, or names none of the rows.
    """
    labels = {}
    for column, paths in (("singer", same_singer), ("song", same_song)):
        for path in map(Path, paths):
            for group, members in _read_json(
                path, "is it such a list?"
            ).items():
                if not isinstance(members, list):
                    raise ManifestError(
                        f"{path}: {group} is no list of recordings"
                    )
                for member in members:
                    stem = member[0] if isinstance(member, list) else member
                    label = (
                        group if column == "singer" else f"{path.stem}:{group}"
                    )
                    labels.setdefault(stem, {})[column] = label
    filled, used = [], False
    for row in rows:
        file, _ = split_channel(row["wav"])
        name = _published_name(recording_key(row))
        known = labels.get(name) or labels.get(file.stem) or {}
        used = used or bool(known)
        kept = {key: value for key, value in row.items() if value}
        filled.append({**row, **known, **kept})
    if labels and not used:
        raise ManifestError(
            f"the lists name {len(labels)} recordings and none of the rows: "
            "prepare the corpora that the lists are of"
        )
    return filled
