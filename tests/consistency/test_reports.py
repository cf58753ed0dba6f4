"""Published scores: what the tables of a recipe say is what was measured.

A recipe may keep the scores of whole trainings in `reports/<experiment>/`:
`scores.csv` with every test song, `train_log.txt` and `command.txt`.
"""

import csv
import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from data_prep.mir1k import TRAIN_SINGERS
from speechbrain_ext import recipe
from speechbrain_ext.report.plots import read_train_log

ROOT = Path(__file__).parents[2]
REPORTS = sorted(ROOT.glob("recipes/*/*/reports/*/scores.csv"))
MIR1K = [path for path in REPORTS if "MIR1K" in path.parts]

by_report = pytest.mark.parametrize(
    "path", REPORTS, ids=lambda p: "/".join(p.parts[-5:-1])
)


def rows_of(path):
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def weighted(rows, column):
    """Mean over songs, weighted by their length."""
    total = sum(float(row["seconds"]) for row in rows)
    parts = (float(row["seconds"]) * float(row[column]) for row in rows)
    return sum(parts) / total


def command_of(path):
    """YAML file and overrides of the command that made a report."""
    text = (path.parent / "command.txt").read_text("utf-8").strip()
    found = re.fullmatch(r"python experiment\.py (\w+\.yaml)( --.+)?", text)
    assert found, f"{text}: not the command of a recipe"
    return path.parents[2] / found[1], found[2] or ""


@by_report
def test_a_report_has_its_command_and_its_log(path):
    file, overrides = command_of(path)
    text = recipe.compose(file)
    settings = YAML().load(text)
    assert settings["seed"] == 1986 and "--seed" not in overrides
    log = read_train_log(path.parent / "train_log.txt")
    epochs = settings["number_of_epochs"]
    assert [row["epoch"] for row in log] == list(range(1, epochs + 1))


@pytest.mark.parametrize("path", MIR1K, ids=lambda p: p.parts[-2])
def test_no_singer_of_the_training_was_tested(path):
    singers = {row["song_id"].split("_")[0] for row in rows_of(path)}
    assert singers and not singers & set(TRAIN_SINGERS)
    assert len({row["song_id"] for row in rows_of(path)}) == len(rows_of(path))


@pytest.mark.parametrize("path", MIR1K, ids=lambda p: p.parts[-2])
def test_tables_say_what_was_measured(path):
    rows = rows_of(path)
    file, _ = command_of(path)
    table = (path.parents[2] / "README.md").read_text("utf-8")
    (line,) = re.findall(rf"^\| `{file.name}`.*\d dB.*\|$", table, re.M) or [""]
    for source in ("vocals", "accompaniment"):
        scores = [
            f"{weighted(rows, f'{source}_{metric}'):.2f}"
            for metric in ("NSDR", "SIR", "SAR")
        ]
        assert " / ".join(scores) in line, (source, scores)
    assert f"{len(rows)} clips" in table
