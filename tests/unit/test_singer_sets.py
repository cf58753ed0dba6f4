"""Who is trained with, validated with and tested with."""

from dataclasses import replace

import numpy as np
import pytest

from speechbrain_ext.audio import write_audio
from speechbrain_ext.errors import ConfigError, ManifestError
from speechbrain_ext.mixing.plans import read_plan
from speechbrain_ext.mixing.sets import (
    by_split,
    cases_for,
    frozen_plan,
    singers_sets,
)
from speechbrain_ext.mixing.singers import DUET

RATE = 8000
SHORT = replace(DUET, segment_s=0.5)


def row(name, singer, split, kind="singing"):
    return {
        "ID": f"{name}_1",
        "song_id": name,
        "start": 0.0,
        "stop": 1.0,
        "split": split,
        "kind": kind,
        "singer": singer,
        "dataset": "set",
    }


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Three singers and a speaker in each split, two tones of each."""
    folder = tmp_path_factory.mktemp("voices")
    found, number = {"train": [], "valid": [], "test": []}, 0
    for split in found:
        for singer in "abcs":
            for take in (1, 2):
                number += 1
                name = f"{split}_{singer}{take}"
                time = np.arange(RATE) / RATE
                wav = 0.1 * np.sin(2 * np.pi * (100 + 20 * number) * time)
                path = folder / f"{name}.wav"
                write_audio(path, wav.astype(np.float32), RATE)
                kind = "speech" if singer == "s" else "singing"
                made = row(name, f"set - {split} {singer}", split, kind)
                found[split].append({**made, "wav": str(path)})
    return found


def test_held_out_by_name(rows):
    everyone = sum(rows.values(), [])
    plain = by_split(everyone)
    assert {name: len(part) for name, part in plain.items()} == {
        "train": 8,
        "valid": 8,
        "test": 8,
    }
    moved = by_split(everyone, ["set - test a"], ["set - train b"])
    assert {name: len(part) for name, part in moved.items()} == {
        "train": 6,
        "valid": 10,
        "test": 8,
    }
    for split, part in moved.items():
        assert {each["split"] for each in part} == {split}
    singers = [{each["singer"] for each in part} for part in moved.values()]
    assert not singers[0] & singers[1] and not singers[0] & singers[2]
    assert everyone[2]["split"] == "train", "the rows given stay as they are"


def test_mistaken_names(rows):
    with pytest.raises(ConfigError, match="test_singers: nobody is called 'x'"):
        by_split(rows["train"], test_singers=["x"])
    name = rows["train"][0]["singer"]
    with pytest.raises(ConfigError, match="in valid_singers and in test_sing"):
        by_split(rows["train"], [name], [name])


def test_no_artist_of_the_test_set(rows):
    leak = row("x", "artist - meaxic", "train")
    with pytest.raises(ManifestError, match="sings in the test set"):
        by_split([*rows["train"], leak])
    assert by_split([leak], test_singers=[leak["singer"]])["train"] == []


def test_cases():
    singing, speech = {"kind": ""}, {"kind": "speech"}
    names = [case.name for case in cases_for([singing])]
    assert names == [
        "sing_sing_diff",
        "sing_sing_unison",
        "sing_sing_same_singer",
    ]
    assert len(cases_for([singing, speech])) == 7
    (one,) = cases_for([singing], names=["singing_speech"])
    assert one.pools == ("singing", "speech")
    with pytest.raises(ConfigError, match="case solo is unknown"):
        cases_for([], names=["solo"])


def test_a_plan_is_drawn_once(rows, tmp_path):
    path = tmp_path / "plans/valid.json"
    options = {"settings": SHORT, "sample_rate": RATE, "per_case": 2}
    plan = frozen_plan(path, rows["valid"], ["sing_sing_diff"], **options)
    assert len(plan.mixtures) == 2 and read_plan(path) == plan
    # It stays, whatever is asked for later.
    again = frozen_plan(path, rows["valid"], seed=5, **options)
    assert again == plan
    with pytest.raises(ManifestError, match="other: there are 0 recordings"):
        frozen_plan(tmp_path / "other.json", [], **options)


def sets(corpora, folder, **changes):
    settings = {
        "settings": SHORT,
        "cases": {"sing_sing": 0.5, "same_speaker": 0.5},
        "unison": 0.0,
        "items": 6,
        "sample_rate": RATE,
        "keep": True,
        "valid_mixtures": {"per_case": 2, "cases": ["sing_sing_diff"]},
        **changes,
    }
    return singers_sets(corpora, folder / "plans", **settings)


def test_sets_of_a_recipe(rows, tmp_path):
    corpora = {"set": rows}
    options = {"per_case": 3, "cases": ["speech_same_speaker"]}
    train, valid, tests, learnt = sets(corpora, tmp_path, test_mixtures=options)
    assert (len(train), len(valid), list(tests)) == (6, 2, ["held_out"])
    assert len(tests["held_out"]) == 2, "each is the first voice once"
    assert {each["split"] for each in learnt} == {"train"}
    for data, split in (
        (train, "train"),
        (valid, "valid"),
        (tests["held_out"], "test"),
    ):
        for k in range(len(data)):
            singers = data[k]["singers"].split(" + ")
            assert len(singers) == 2
            assert all(f"set - {split}" in singer for singer in singers)
    assert (tmp_path / "plans/valid.json").is_file()
    # Another training with this plan is validated alike.
    plan = tmp_path / "plans/valid.json"
    other = sets(corpora, tmp_path / "other", valid_plan=plan)
    assert other.valid.plan == valid.plan and other.tests == {}


def test_tasks_of_medleyvox(rows, tmp_path):
    """Excerpts are tests, with as many sources as the separator has."""
    wavs = [each["wav"] for each in rows["test"][:3]]
    columns = ("wav", "voice2_wav", "voice3_wav")
    excerpt = {
        **row("choir", "", "test"),
        **dict(zip(columns, wavs, strict=True)),
        "task": "main_vs_rest",
        "n_singers": 2,
        "song": "hymn",
    }
    corpora = {"set": rows, "medleyvox": {"test": [excerpt]}}
    tasks = ["main_vs_rest", "n_singing"]
    tests = sets(corpora, tmp_path, test_tasks=tasks).tests
    assert list(tests) == ["main_vs_rest", "n_singing"]
    item = tests["main_vs_rest"][0]
    assert item["sources"].shape == (2, RATE)
    assert (item["voices"], item["n_singers"]) == (3, 2)
    with pytest.raises(ManifestError, match="0 segments"):
        sets(corpora, tmp_path, test_tasks=["unison"])
