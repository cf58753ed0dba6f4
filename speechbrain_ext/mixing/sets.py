"""The data sets of a system for several singers, from the rows of its corpora.

Who is heard in validation and in tests is never trained with: singers are
held out by their corpora, or by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from data_prep.manifest import SPLITS
from data_prep.medleyvox import check_leaks, task_rows
from speechbrain_ext.errors import ConfigError, ManifestError
from speechbrain_ext.mixing.excerpts import ExcerptDataset
from speechbrain_ext.mixing.plans import (
    VALIDATION_CASES,
    PlanDataset,
    published_plan,
    read_plan,
    validation_plan,
    write_plan,
)
from speechbrain_ext.mixing.singers import (
    DUET,
    TRAINING_CASES,
    MixtureDataset,
    with_probabilities,
)


def by_split(
    rows: Sequence[dict],
    valid_singers: Sequence[str] = (),
    test_singers: Sequence[str] = (),
) -> dict[str, list[dict]]:
    """Sort rows into splits, with singers held out by name.

    Arguments
    ---------
    rows : sequence of dict
        Of the manifests of all corpora and splits.
    valid_singers, test_singers : sequence of str
        What the column `singer` says of those who are held out, whatever their
        split was. Default: nobody.

    Returns
    -------
    dict of str to list of dict
        By "train", "valid" and "test"; rows tell the split that they are in.

    Raises
    ------
    ConfigError
        If a name is nobody's, or in both lists.
    ManifestError
        If an artist of MedleyVox's test set is left in "train" or "valid".

    Example
    -------
    >>> rows = [
    ...     {"song_id": name, "singer": name, "split": "train"}
    ...     for name in ("amy", "khair")
    ... ]
    >>> splits = by_split(rows, test_singers=["khair"])
    >>> [row["singer"] for row in splits["test"]], splits["valid"]
    (['khair'], [])
    """
    wanted = {"valid": list(valid_singers), "test": list(test_singers)}
    names = {row.get("singer") for row in rows}
    for split, singers in wanted.items():
        unknown = [singer for singer in singers if singer not in names]
        if unknown:
            known = sorted(name for name in names if name)
            raise ConfigError(
                f"{split}_singers: nobody is called {unknown[0]!r}: use some "
                f"of {', '.join(known[:20])}{', ...' * (len(known) > 20)}"
            )
    if both := sorted({*wanted["valid"]} & {*wanted["test"]}):
        raise ConfigError(
            f"{both[0]} is in valid_singers and in test_singers: choose one"
        )
    moved = {x: split for split, singers in wanted.items() for x in singers}
    found: dict[str, list[dict]] = {split: [] for split in SPLITS}
    for row in rows:
        split = moved.get(row.get("singer"), row["split"])
        found[split].append({**row, "split": split})
    check_leaks(found["train"] + found["valid"])
    return found


def cases_for(rows, cases=VALIDATION_CASES, names=None):
    """Choose cases of validation by name.

    Arguments
    ---------
    rows : sequence of dict
        Of the recordings.
    cases : sequence of Case
        The table. Default: `plans.VALIDATION_CASES`.
    names : sequence of str, optional
        Default: those for whose kinds of voice there are rows.

    Returns
    -------
    tuple of Case

    Raises
    ------
    ConfigError
        If a name is unknown.

    Example
    -------
    >>> [case.name for case in cases_for([{"kind": "speech"}])][0]
    'speech_speech_diff'
    """
    if names is None:
        kinds = {row.get("kind") or "singing" for row in rows}
        return tuple(case for case in cases if kinds.issuperset(case.pools))
    known = {case.name: case for case in cases}
    if unknown := [name for name in names if name not in known]:
        raise ConfigError(
            f"case {unknown[0]} is unknown: use some of {', '.join(known)}"
        )
    return tuple(known[name] for name in names)


def frozen_plan(path, rows, cases=None, **options):
    """Read a plan of mixtures, or draw it and write it down.

    A training that goes on after an interruption is validated with the mixtures
    that it was validated with before.

    Arguments
    ---------
    path : str or Path
        A plan (`plans.write_plan`), or where it is to be written; or a
        published list or a folder of these (`plans.published_plan`).
    rows : sequence of dict
        Of the recordings.
    cases : sequence of str, optional
        See `cases_for`.
    **options
        Of `plans.validation_plan`.

    Returns
    -------
    Plan

    Raises
    ------
    ManifestError
        If the file is no plan, or there are no rows to draw one from.
    ConfigError
        If a case is unknown or cannot be made of the rows.
    """
    from speechbrain.utils.distributed import run_on_main

    path = Path(path)
    if path.is_dir() or path.name.startswith("valid_regions_dict"):
        return published_plan(path, rows)
    if path.is_file():
        return read_plan(path)
    if not rows:
        raise ManifestError(
            f"{path.stem}: there are 0 recordings to mix: hold singers out, "
            "by name or by valid_share"
        )

    def write():
        plan = validation_plan(
            rows, cases=cases_for(rows, names=cases), **options
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        write_plan(plan, path)

    run_on_main(write)
    return read_plan(path)


class Sets(NamedTuple):
    """The data sets of a training.

    Arguments
    ---------
    train : MixtureDataset
    valid : PlanDataset
    tests : dict of str to Dataset
        By test set.
    rows : list of dict
        Of the training.
    """

    train: MixtureDataset
    valid: PlanDataset
    tests: dict
    rows: list


def singers_sets(
    corpora,
    folder,
    settings=DUET,
    cases=None,
    unison=None,
    items=None,
    sample_rate=24000,
    n_sources=2,
    seed=0,
    epoch_counter=None,
    keep=False,
    valid_singers=(),
    test_singers=(),
    valid_plan=None,
    valid_mixtures=None,
    test_mixtures=None,
    test_tasks=(),
) -> Sets:
    """Make the data sets of a training, from the rows of all corpora.

    Arguments
    ---------
    corpora : dict of str to dict of str to list
        Rows by corpus and split (`datasets.corpora_rows`). Those of `medleyvox`
        are tests as they are.
    folder : str or Path
        Gets the plans that are drawn, or has them.
    settings : MixtureSettings
        Default: `DUET`.
    cases : dict of str to float, optional
        Probabilities of the training's cases by name. Default: as published.
    unison : float, optional
        See `with_probabilities`.
    items : int, optional
        Of an epoch of the training, see `MixtureDataset`.
    sample_rate : int
        Hertz. Default: 24000.
    n_sources : int
        Of an item. Default: 2.
    seed, epoch_counter, keep
        Of the training, see `MixtureDataset`.
    valid_singers, test_singers : sequence of str
        See `by_split`.
    valid_plan : str or Path, optional
        See `frozen_plan`. Default: `folder/valid.json`.
    valid_mixtures : dict, optional
        Options of `frozen_plan`.
    test_mixtures : dict, optional
        The same for the test "held_out", of voices that the corpora's test
        splits and `test_singers` have. Default: there is no such test.
    test_tasks : sequence of str
        Of MedleyVox, see `data_prep.medleyvox.task_rows`: a test each.

    Returns
    -------
    Sets

    Raises
    ------
    ConfigError, ManifestError
        If the rows cannot make what is asked for.
    """
    excerpts = corpora.get("medleyvox", {}).get("test", [])
    splits = by_split(
        [
            row
            for corpus, parts in corpora.items()
            if corpus != "medleyvox"
            for part in parts.values()
            for row in part
        ],
        valid_singers,
        test_singers,
    )
    cases = cases or {case.name: case.probability for case in TRAINING_CASES}
    train = MixtureDataset(
        splits["train"],
        items,
        settings,
        with_probabilities(cases, unison=unison),
        sample_rate,
        seed,
        epoch_counter,
        keep=keep,
    )

    def fixed(path, split, options):
        rows = splits[split]
        plan = frozen_plan(
            path,
            rows,
            settings=settings,
            sample_rate=sample_rate,
            **(options or {}),
        )
        return PlanDataset(rows, plan, sample_rate)

    folder = Path(folder)
    valid = fixed(valid_plan or folder / "valid.json", "valid", valid_mixtures)
    tests = {}
    if test_mixtures is not None:
        path = folder / "held_out.json"
        tests["held_out"] = fixed(path, "test", test_mixtures)
    for task in test_tasks:
        tests[task] = ExcerptDataset(
            task_rows(excerpts, task),
            sample_rate,
            n_sources,
            settings.loudness,
        )
    return Sets(train, valid, tests, splits["train"])
