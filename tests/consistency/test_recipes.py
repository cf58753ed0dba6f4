"""The registry of recipes in tests/recipes is complete and true."""

import csv
import shlex
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COLUMNS = [
    "Task",
    "Dataset",
    "Script_file",
    "Hparam_file",
    "Data_prep_file",
    "Readme_file",
    "test_flags",
    "test_checks",
    "performance",
]
PATHS = ["Script_file", "Hparam_file", "Data_prep_file", "Readme_file"]


def read_registry(root):
    """All rows of all CSV files, each with the file's stem as `registry`."""
    rows = []
    for path in sorted((root / "tests" / "recipes").glob("*.csv")):
        with path.open(newline="", encoding="utf-8") as stream:
            reader = csv.DictReader(stream)
            for row in reader:
                rows.append({**row, "registry": path.stem})
    return rows


def row_faults(root, row):
    """What is wrong with one row, as a list of sentences."""
    name = row.get("Hparam_file") or f"a row of {row['registry']}.csv"
    columns = [column for column in row if column != "registry"]
    if columns != COLUMNS or None in row.values():
        return [f"{name}: columns are {columns}, not {COLUMNS}"]
    faults = []
    for column in ["Task", "Dataset", *PATHS]:
        if not row[column]:
            faults.append(f"{name}: {column} is empty")
        elif column in PATHS and not (root / row[column]).is_file():
            faults.append(f"{name}: {column} {row[column]} does not exist")
    if faults:
        return faults
    script, hparams = Path(row["Script_file"]), Path(row["Hparam_file"])
    if not row["Dataset"] == row["registry"] == script.parts[1]:
        faults.append(
            f"{name}: Dataset {row['Dataset']}, registry {row['registry']} "
            f"and folder {script.parts[1]} differ"
        )
    if not script.parent == hparams.parent == Path(row["Readme_file"]).parent:
        faults.append(f"{name}: script, yaml and README lie apart")
    if hparams.name not in (root / row["Readme_file"]).read_text("utf-8"):
        faults.append(f"{name}: not named in {row['Readme_file']}")
    try:
        shlex.split(row["test_flags"])
    except ValueError as error:
        faults.append(f"{name}: test_flags: {error}")
    return faults


def sources(root, pattern):
    """Files of the recipes, without what their runs left in `results`."""
    recipes = root / "recipes"
    return [
        path
        for path in recipes.rglob(pattern)
        if "results" not in path.relative_to(recipes).parts
    ]


def registry_faults(root):
    """What is wrong with the registry as a whole."""
    listed = Counter(row.get("Hparam_file") for row in read_registry(root))
    present = {
        path.relative_to(root).as_posix() for path in sources(root, "*.yaml")
    }
    faults = [f"{path}: not in tests/recipes" for path in present - {*listed}]
    faults += [f"{path}: {n} rows" for path, n in listed.items() if n > 1]
    for script in sources(root, "experiment.py"):
        mini = script.with_name("mini.yaml").relative_to(root).as_posix()
        if mini not in present:
            faults.append(f"{mini}: every recipe has one")
    return sorted(faults)


def test_registry_is_complete():
    assert (ROOT / "recipes").is_dir()
    assert read_registry(ROOT)
    assert registry_faults(ROOT) == []


@pytest.mark.parametrize(
    "row", read_registry(ROOT), ids=lambda row: str(row.get("Hparam_file"))
)
def test_row(row):
    assert row_faults(ROOT, row) == []


@pytest.fixture
def tree(tmp_path):
    """A project with one recipe in good order; returns (root, its row)."""
    recipe = tmp_path / "recipes" / "Corpus" / "task"
    recipe.mkdir(parents=True)
    (recipe / "experiment.py").touch()
    (recipe / "mini.yaml").touch()
    (recipe / "README.md").write_text("python experiment.py mini.yaml")
    (tmp_path / "prepare.py").touch()
    row = dict.fromkeys(COLUMNS, "")
    row |= {
        "Task": "task",
        "Dataset": "Corpus",
        "Script_file": "recipes/Corpus/task/experiment.py",
        "Hparam_file": "recipes/Corpus/task/mini.yaml",
        "Data_prep_file": "prepare.py",
        "Readme_file": "recipes/Corpus/task/README.md",
    }
    write_registry(tmp_path, row)
    return tmp_path, row


def write_registry(root, *rows):
    folder = root / "tests" / "recipes"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "Corpus.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


def test_good_tree_has_no_faults(tree):
    root, _ = tree
    assert registry_faults(root) == []
    assert [row_faults(root, row) for row in read_registry(root)] == [[]]


def test_what_a_run_left_is_no_recipe(tree):
    root, _ = tree
    left = root / "recipes/Corpus/task/results/mini/1986"
    left.mkdir(parents=True)
    for name in ("experiment.py", "recipe.yaml", "hyperparams.yaml"):
        (left / name).touch()
    assert registry_faults(root) == []


def test_forgotten_yaml_is_found(tree):
    root, _ = tree
    (root / "recipes/Corpus/task/params.yaml").touch()
    assert registry_faults(root) == [
        "recipes/Corpus/task/params.yaml: not in tests/recipes"
    ]


def test_yaml_listed_twice_is_found(tree):
    root, row = tree
    write_registry(root, row, row)
    assert registry_faults(root) == ["recipes/Corpus/task/mini.yaml: 2 rows"]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"Data_prep_file": "gone.py"}, "gone.py does not exist"),
        ({"Readme_file": ""}, "Readme_file is empty"),
        ({"Dataset": "Other"}, "differ"),
        ({"test_flags": "'open quote"}, "test_flags"),
        ({"surplus": "x"}, "columns"),
    ],
)
def test_faulty_row_is_found(tree, change, fault):
    root, row = tree
    write_registry(root, {**row, **change})
    (faults,) = [row_faults(root, row) for row in read_registry(root)]
    assert len(faults) == 1
    assert fault in faults[0]


def test_yaml_missing_in_readme_is_found(tree):
    root, row = tree
    (root / row["Readme_file"]).write_text("python experiment.py")
    (faults,) = [row_faults(root, row) for row in read_registry(root)]
    assert "not named" in faults[0]
