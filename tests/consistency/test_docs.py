"""What the documentation names exists, and its commands parse."""

import argparse
import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"(?ms)^( *)```[^\n]*\n(.*?)^\1```")
LINK = re.compile(r"\]\(([^)\s]+)\)")
QUOTED = re.compile(r"`([^`\n]+)`")
# A quoted word is taken for a file of the project if it looks like one.
SUFFIXES = (".py", ".yaml", ".toml", ".md", ".cff")


def documents(root):
    """All Markdown files, sorted."""
    folders = ["recipes", "benchmarks", "pretrained", "tests", "data_prep"]
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
    """YAML files given to `python experiment.py` that do not exist."""
    faults = []
    for words in commands(path.read_text("utf-8"), "python"):
        scripts = [word for word in words if word.endswith("experiment.py")]
        yamls = [word for word in words if word.endswith(".yaml")]
        if not scripts or not yamls:
            continue
        place = path.parent if path.parent != root else None
        if place and not (place / scripts[0]).with_name(yamls[0]).exists():
            faults.append(" ".join(words))
    return faults


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
    recipe = tmp_path / "recipe"
    recipe.mkdir()
    (recipe / "mini.yaml").touch()
    page = recipe / "README.md"
    page.write_text(
        "```\npython experiment.py mini.yaml\n"
        "python experiment.py maxi.yaml --seed 1\n```\n"
    )
    assert experiment_faults(tmp_path, page) == [
        "experiment.py maxi.yaml --seed 1"
    ]
