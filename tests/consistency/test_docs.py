"""What the documentation names exists, and its commands parse."""

import argparse
import ast
import csv
import re
import shlex
from dataclasses import fields
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from speechbrain_ext import recipe

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"(?ms)^( *)```[^\n]*\n(.*?)^\1```")
LINK = re.compile(r"\]\(([^)\s]+)\)")
QUOTED = re.compile(r"`([^`\n]+)`")
# A quoted word is taken for a file of the project if it looks like one.
SUFFIXES = (".py", ".yaml", ".toml", ".md", ".cff")


def documents(root):
    """All Markdown files, sorted."""
    folders = ["recipes", "benchmarks", "pretrained", "tests", "data_prep"]
    folders.append("docs")
    found = [*root.glob("*.md")]
    for folder in folders:
        found += (root / folder).rglob("*.md")
    return sorted(
        path for path in found if "results" not in path.relative_to(root).parts
    )


def dead_links(path):
    """Relative link targets that do not exist."""
    text = FENCE.sub("", path.read_text("utf-8"))
    targets = [target.split("#")[0] for target in LINK.findall(text)]
    return [
        target
        for target in targets
        if target
        and not re.match(r"[a-z]+:", target)
        and not (path.parent / target).exists()
    ]


def missing_paths(root, path):
    """Quoted paths of the project that do not exist."""
    text = FENCE.sub("", path.read_text("utf-8"))
    missing = []
    for quoted in QUOTED.findall(text):
        if not re.fullmatch(r"[\w./-]+", quoted) or quoted.startswith(".."):
            continue
        first, *rest = quoted.split("/")
        if "results" in (first, *rest):
            continue
        if rest:
            # `facebook/some-model` is no path: no such folder here.
            places = [p for p in (root, path.parent) if (p / first).is_dir()]
            known = not places or any((p / quoted).exists() for p in places)
            if not places and quoted.endswith(SUFFIXES):
                known = any(
                    p.as_posix().endswith("/" + quoted)
                    for p in project_files(root)
                )
        elif quoted.endswith(SUFFIXES) and not quoted.startswith("."):
            known = any(p.name == quoted for p in project_files(root))
        else:
            continue
        if not known:
            missing.append(quoted)
    return missing


def project_files(root):
    """All files of the project, without environments and results."""
    hidden = {".git", ".venv", "results", "__pycache__", "build"}
    for path in root.iterdir():
        if path.name in hidden:
            continue
        if path.is_dir():
            yield from project_files(path)
        else:
            yield path


def commands(text, program):
    """Command lines in fenced blocks that call a program."""
    found = []
    for _, block in FENCE.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            try:
                words = shlex.split(line.strip(), comments=True)
            except ValueError:
                continue
            if words[:1] == ["$"]:
                words = words[1:]
            if words[:1] == [program]:
                found.append(words[1:])
    return found


class ParsedError(Exception):
    """Stops the command line once its arguments have been parsed."""


def rejected(arguments, main):
    """Whether a command line's parser refuses arguments."""
    parse = argparse.ArgumentParser.parse_args

    def stop(self, *args, **kwargs):
        parse(self, *args, **kwargs)
        raise ParsedError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", stop)
        try:
            main(arguments)
        except ParsedError:
            return False
        except SystemExit as end:
            # --help and --version end with 0.
            return bool(end.code)
    return False


def experiment_faults(root, path):
    """Recipes that a page starts wrongly: no such file, no such option.

    `cd FOLDER` within a block is followed, from the project's root in pages
    that lie in no recipe.
    """
    faults, known = [], recipe_options()
    for _, block in FENCE.findall(path.read_text("utf-8")):
        inside = "recipes" in path.relative_to(root).parts
        place = path.parent if inside else root
        for line in block.replace("\\\n", " ").splitlines():
            try:
                words = shlex.split(line, comments=True)
            except ValueError:
                continue
            if words[:1] == ["cd"] and "MyCorpus" not in words[1]:
                place = place / words[1]
                if not place.is_dir() and not words[1].startswith("/"):
                    faults.append(line.strip())
            if "python" not in words[:1] and "torchrun" not in words[:1]:
                continue
            scripts = [word for word in words if word.endswith("experiment.py")]
            yamls = [word for word in words if word.endswith(".yaml")]
            if not scripts or not yamls:
                continue
            file = (place / scripts[0]).with_name(yamls[0])
            if not inside and place == root:
                continue  # of whichever recipe
            given = words[words.index(yamls[0]) + 1 :]
            options = {w[2:].split("=")[0] for w in given if w[:2] == "--"}
            if not file.exists() or options - known - {*settings_of(file)}:
                faults.append(" ".join(words[1:]))
    return faults


@cache
def settings_of(file):
    """Keys of a recipe's YAML."""
    return re.findall(r"(?m)^(\w+):", recipe.compose(file))


@cache
def recipe_options():
    """Options that SpeechBrain adds to every recipe."""
    from speechbrain.core import RunOptions

    return {field.name for field in fields(RunOptions)}


def extras(root):
    """Names of the extras that pip can be asked for."""
    text = (root / "pyproject.toml").read_text("utf-8")
    block = text.split("[project.optional-dependencies]\n")[1].split("\n[")[0]
    return {*re.findall(r"(?m)^(\w+) = \[", block)}


def python_faults(text):
    """Faults of Python blocks, and of modules that are started."""
    faults = []
    for block in re.findall(r"(?ms)^```python\n(.*?)^```", text):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom):
                module = import_module(node.module)
                faults += [
                    f"{node.module}.{alias.name}"
                    for alias in node.names
                    if not hasattr(module, alias.name)
                ]
    for words in commands(text, "python"):
        if words[:1] == ["-m"] and not find_spec(words[1]):
            faults.append(words[1])
    return faults


def pip_faults(root, text):
    """Extras that are named and do not exist."""
    named = re.findall(r"singbrain\[([\w,]+)\]", text)
    named = {name for names in named for name in names.split(",")}
    return sorted(named - extras(root))


DOCUMENTS = documents(ROOT)
by_document = pytest.mark.parametrize(
    "path", DOCUMENTS, ids=[p.relative_to(ROOT).as_posix() for p in DOCUMENTS]
)


def test_main_documents_exist():
    names = {path.relative_to(ROOT).as_posix() for path in DOCUMENTS}
    assert {"README.md", "CONTRIBUTING.md", "CHANGELOG.md"} <= names


@by_document
def test_links_lead_somewhere(path):
    assert dead_links(path) == []


@by_document
def test_quoted_paths_exist(path):
    assert missing_paths(ROOT, path) == []


@by_document
def test_experiments_exist(path):
    assert experiment_faults(ROOT, path) == []


@by_document
def test_commands_parse(path, capsys):
    from speechbrain_ext.cli import main

    for arguments in commands(path.read_text("utf-8"), "singbrain"):
        assert not rejected(arguments, main), (
            f"singbrain {shlex.join(arguments)}: {capsys.readouterr().err}"
        )


@by_document
def test_python_is_right(path):
    text = path.read_text("utf-8")
    if path.name == "CONTRIBUTING.md":
        # Its example is of files that are not there; it is run by
        # `tests/integration/test_contributing.py`.
        text = re.sub(r"(?ms)^```python\n# \w+/.*?^```", "", text)
    assert python_faults(text) == []


@by_document
def test_extras_exist(path):
    assert pip_faults(ROOT, path.read_text("utf-8")) == []


# --- the table of all recipes ----------------------------------------------

RECIPES = ROOT / "docs" / "recipes.md"


def table_rows(text):
    """Cells of all rows of Markdown tables."""
    lines = re.findall(r"(?m)^\|(.*)\|$", text)
    return [[cell.strip() for cell in line.split(" | ")] for line in lines]


def told_results(text):
    """Results by (recipe, YAML file), from the list of all files."""
    told, recipe_name = {}, None
    for cells in table_rows(text):
        if head := re.fullmatch(r"\*\*([\w/]+)\*\*", cells[0]):
            recipe_name = head[1]
        elif file := re.fullmatch(r"`(\w+\.yaml)`", cells[0]):
            told[recipe_name, file[1]] = cells[1]
    return told


def sources_of(name):
    """What may be quoted of a recipe: its page, and cards of its models."""
    page = ROOT / "recipes" / name / "README.md"
    text = page.read_text("utf-8")
    for card in re.findall(r"pretrained/\w+", text):
        text += (ROOT / card / "README.md").read_text("utf-8")
    if name == "MIR1K/vocal_separation":
        text += (ROOT / "pretrained/separator/README.md").read_text("utf-8")
    return text


def invented(result, source):
    """Numbers of a result that its source does not have."""
    numbers = re.findall(r"\d+\.\d+", result)
    shares = {f"{float(n) / 100:.3f}" for n in numbers}
    known = {*re.findall(r"\d+\.\d+", source)}
    assert shares
    return [
        n
        for n in numbers
        if n not in known and f"{float(n) / 100:.3f}" not in known
    ]


def test_every_recipe_is_in_the_tables():
    text = RECIPES.read_text("utf-8")
    files = [
        Path(row["Hparam_file"])
        for file in (ROOT / "tests/recipes").glob("*.csv")
        for row in csv.DictReader(file.open(encoding="utf-8"))
    ]
    wanted = {("/".join(f.parts[1:3]), f.name) for f in files}
    assert {*told_results(text)} == wanted
    main = [cells for cells in table_rows(text) if len(cells) == 5][1:]
    named = [re.match(r"\[([\w/]+)\]", cells[0])[1] for cells in main]
    assert sorted(named) == sorted({name for name, _ in wanted})
    assert all(all(cells) for cells in main)


def test_results_are_those_of_the_recipes():
    text = RECIPES.read_text("utf-8")
    told = [(name, result) for (name, _), result in told_results(text).items()]
    for cells in table_rows(text):
        if len(cells) == 5 and (found := re.match(r"\[([\w/]+)\]", cells[0])):
            told.append((found[1], cells[4]))
    told = [(name, result) for name, result in told if result[0] != "-"]
    assert len(told) > 15
    for name, result in told:
        assert invented(result, sources_of(name)) == [], (name, result)


def test_an_invented_result_is_found():
    assert invented("9.36 dB, 95.7 %", "9.36 and 0.957") == []
    assert invented("9.37 dB", "9.36") == ["9.37"]


# --- the gallery -----------------------------------------------------------


def test_the_gallery_is_whole_and_small():
    page = (ROOT / "docs/gallery.md").read_text("utf-8")
    shown = sorted(re.findall(r"!\[[^]]+\]\(gallery/(\w+)\.png\)", page))
    code = ast.parse((ROOT / "docs/gallery.py").read_text("utf-8"))
    made = [n.name for n in code.body if isinstance(n, ast.FunctionDef)]
    files = sorted((ROOT / "docs/gallery").iterdir())
    assert [file.name for file in files] == [f"{name}.png" for name in shown]
    assert {*shown} <= {*made}
    assert sum(file.stat().st_size for file in files) < 1e6


def test_every_page_is_listed():
    listed = (ROOT / "docs/README.md").read_text("utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert page.name == "README.md" or f"({page.name})" in listed


def test_the_readme_fits_and_leads_on():
    text = (ROOT / "README.md").read_text("utf-8")
    first = text.split("\n## ")[0].splitlines()
    assert len(first) < 40
    assert {"docs/README.md", "docs/gallery.md"} <= {*LINK.findall(text)}


def test_readme_shows_commands():
    text = (ROOT / "README.md").read_text("utf-8")
    assert commands(text, "singbrain")
    assert ["start.py"] in commands(text, "python3")
    assert ["start.py", "test"] in commands(text, "python3")


def test_dead_link_is_found(tmp_path):
    (tmp_path / "there.md").touch()
    page = tmp_path / "README.md"
    page.write_text(
        "[a](there.md#part) [b](gone.md) [c](https://example.org) [d](#here)"
    )
    assert dead_links(page) == ["gone.md"]


def test_missing_path_is_found(tmp_path):
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "x.yaml").touch()
    page = tmp_path / "README.md"
    page.write_text(
        "`recipes/x.yaml` `recipes/y.yaml` `x.yaml` `z.py` `facebook/model` "
        "`gone/z.py` `results/a.py` `some words` `../shared/data`\n"
        "```\n`recipes/in_a_block.yaml`\n```\n"
    )
    assert missing_paths(tmp_path, page) == [
        "recipes/y.yaml",
        "z.py",
        "gone/z.py",
    ]


def test_commands_are_read_from_blocks_only():
    text = (
        "singbrain outside\n\n```bash\n$ singbrain a \\\n   'b c'  # why\n"
        "  singbrain d\nother e\n```\n"
    )
    assert commands(text, "singbrain") == [["a", "b c"], ["d"]]


def test_wrong_command_is_found(capsys):
    def main(arguments):
        parser = argparse.ArgumentParser()
        parser.add_argument("--known")
        parser.parse_args(arguments)
        raise AssertionError("ran after parsing")

    assert not rejected(["--known", "1"], main)
    assert not rejected(["--help"], main)
    assert rejected(["--unknown"], main)


def test_missing_experiment_is_found(tmp_path):
    folder = tmp_path / "recipes" / "Corpus" / "task"
    folder.mkdir(parents=True)
    (folder / "mini.yaml").write_text("seed: 1\n")
    page = folder / "README.md"
    page.write_text(
        "```\npython experiment.py mini.yaml --seed 1 --device cpu\n"
        "python experiment.py mini.yaml --sead 1\n"
        "python experiment.py maxi.yaml --seed 1\n```\n"
    )
    wrong = ["experiment.py mini.yaml --sead 1"]
    wrong += ["experiment.py maxi.yaml --seed 1"]
    assert experiment_faults(tmp_path, page) == wrong
    other = tmp_path / "docs.md"
    other.write_text(
        "```\ncd recipes/Corpus/task\npython experiment.py mini.yaml\n"
        "cd ../tusk\n```\n"
    )
    assert experiment_faults(tmp_path, other) == ["cd ../tusk"]


def test_wrong_python_is_found():
    text = "```python\nfrom json import load, lode\n```\n"
    text += "```bash\npython -m json\npython -m jason\n```\n"
    assert python_faults(text) == ["json.lode", "jason"]


def test_missing_extra_is_found():
    assert pip_faults(ROOT, "`singbrain[onnx,none]`") == ["none"]
