"""start.py: environments are made once, mended when needed, never guessed."""

import importlib.util
import os
import sys
from collections import namedtuple
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# What subprocess.call would return for the commands of `run_tests`.
RUFF_CHECK, RUFF_FORMAT, PYTEST = range(3)


@pytest.fixture
def start(tmp_path, monkeypatch):
    """start.py in a folder of its own, with makers that only touch files.

    `start.calls` lists what was made and installed.
    """
    spec = importlib.util.spec_from_file_location("start", ROOT / "start.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.calls = []
    move(module, tmp_path)

    def make(python):
        module.calls.append("make")
        os.makedirs(module.BIN)
        Path(module.PYTHON).touch()
        return True

    monkeypatch.setattr(module, "make_with_venv", make)
    monkeypatch.setattr(
        module, "install", lambda tests: module.calls.append(("pip", tests))
    )
    monkeypatch.setattr(
        module,
        "answers",
        lambda python, code: python == sys.executable or Path(python).exists(),
    )
    return module


def move(module, root):
    """Make start.py believe that it lies in a folder."""
    root.mkdir(exist_ok=True)
    for name in module.SOURCES:
        (root / name).write_text(f"# {name}\n")
    module.ROOT = str(root)
    module.VENV = str(root / ".venv")
    module.BIN = str(root / ".venv" / "bin")
    module.PYTHON = str(root / ".venv" / "bin" / "python")
    module.MARKER = str(root / ".venv" / "singbrain.json")
    module.UNFINISHED = str(root / ".venv" / "singbrain.unfinished")


def set_up(module, tests=False):
    """Run `set_up`; return what it made and installed."""
    module.calls.clear()
    module.set_up(sys.executable, tests=tests)
    return list(module.calls)


@pytest.mark.parametrize(
    ("version", "answer"),
    [
        ((2, 7, 18), False),
        ((3, 9, 18), False),
        ((3, 10, 0), True),
        ((3, 11, 7), True),
        ((3, 12, 1), True),
        ((3, 13, 0), False),
    ],
)
def test_supported_versions(start, version, answer):
    assert start.supported(version) is answer


def test_unsupported_python_is_named(start, monkeypatch):
    monkeypatch.setattr(start.shutil, "which", lambda name: None)
    monkeypatch.setattr(start.sys, "version_info", (3, 9, 2))
    with pytest.raises(start.SetupError, match=r"3\.10 to 3\.12 but .* 3\.9:"):
        start.find_python()


def test_supported_python_on_the_path_is_taken(start, monkeypatch):
    monkeypatch.setattr(
        start.shutil,
        "which",
        lambda name: sys.executable if name == "python3.11" else None,
    )
    monkeypatch.setattr(start.sys, "version_info", (3, 13, 0))
    assert start.find_python() == sys.executable


def test_second_start_does_nothing(start):
    assert set_up(start) == ["make", ("pip", False)]
    assert set_up(start) == []


def test_test_tools_are_added_and_stay(start):
    set_up(start)
    assert set_up(start, tests=True) == [("pip", True)]
    assert set_up(start) == []
    Path(start.ROOT, "requirements.txt").write_text("numpy>=3\n")
    assert set_up(start) == [("pip", True)]


@pytest.mark.parametrize("number", range(4))
def test_changed_requirements_are_installed(start, number):
    set_up(start)
    Path(start.ROOT, start.SOURCES[number]).write_text("# changed\n")
    assert set_up(start) == [("pip", False)]
    assert set_up(start) == []


def test_unfinished_environment_is_made_again(start, monkeypatch):
    def fail(tests):
        raise start.SetupError("no network")

    with monkeypatch.context() as patch:
        patch.setattr(start, "install", fail)
        with pytest.raises(start.SetupError, match="no network"):
            start.set_up(sys.executable, tests=False)
    left_over = Path(start.VENV, "left_over")
    left_over.touch()
    assert set_up(start) == ["make", ("pip", False)]
    assert not left_over.exists()


def test_interrupted_update_is_made_again(start, monkeypatch):
    set_up(start)
    Path(start.ROOT, "requirements.txt").write_text("numpy>=3\n")

    def interrupt(tests):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(start, "install", interrupt)
        with pytest.raises(KeyboardInterrupt):
            start.set_up(sys.executable, tests=False)
    assert set_up(start) == ["make", ("pip", False)]


def test_environment_without_python_is_made_again(start):
    set_up(start)
    Path(start.PYTHON).unlink()
    assert set_up(start) == ["make", ("pip", False)]


def test_moved_checkout_is_made_again(start, tmp_path):
    set_up(start)
    target = tmp_path / "elsewhere"
    target.mkdir()
    Path(start.VENV).rename(target / ".venv")
    move(start, target)
    assert set_up(start) == ["make", ("pip", False)]


def test_foreign_environment_is_left_alone(start):
    theirs = Path(start.VENV, "pyvenv.cfg")
    theirs.parent.mkdir()
    theirs.touch()
    with pytest.raises(start.SetupError, match="was not made by start.py"):
        start.set_up(sys.executable, tests=False)
    assert theirs.exists()


def test_second_maker_is_tried(start, monkeypatch):
    second = start.make_with_venv
    monkeypatch.setattr(start, "make_with_venv", lambda python: False)
    monkeypatch.setattr(start, "make_with_virtualenv", second)
    assert set_up(start) == ["make", ("pip", False)]


def test_no_maker_leaves_nothing(start, monkeypatch):
    monkeypatch.setattr(start, "make_with_venv", lambda python: False)
    monkeypatch.setattr(start, "make_with_virtualenv", lambda python: False)
    with pytest.raises(start.SetupError, match="apt-get install python3-venv"):
        start.set_up(sys.executable, tests=False)
    assert not os.path.exists(start.VENV)


def test_error_is_one_line(start, monkeypatch, capsys):
    monkeypatch.setattr(start, "make_with_venv", lambda python: False)
    monkeypatch.setattr(start, "make_with_virtualenv", lambda python: False)
    assert start.main(["setup"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("start.py: error: ")


def test_little_disk_space_is_told(start, monkeypatch, capsys):
    usage = namedtuple("Usage", "total used free")(100, 97, int(3e9))
    monkeypatch.setattr(start.shutil, "disk_usage", lambda path: usage)
    set_up(start)
    assert "3.0 GB free but about 8 GB needed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("statuses", "status"),
    [([0, 0, 0], 0), ([1, 0, 0], 1), ([0, 2, 1], 2), ([0, 0, 5], 5)],
)
def test_status_of_the_tests(start, monkeypatch, capsys, statuses, status):
    commands = []

    def call(command, cwd):
        commands.append(command[2:])
        return statuses[len(commands) - 1]

    monkeypatch.setattr(start.subprocess, "call", call)
    assert start.run_tests(["-k", "x"], workers=1) == status
    assert commands[RUFF_CHECK] == ["ruff", "check", "."]
    assert commands[RUFF_FORMAT] == ["ruff", "format", "--check", "."]
    assert commands[PYTEST] == ["pytest", "-k", "x"]
    told = "ruff found faults" in capsys.readouterr().out
    assert told == any(statuses[:2])


@pytest.mark.parametrize(
    ("arguments", "job", "extra"),
    [
        ([], "run", []),
        (["test"], "test", []),
        (["test", "--workers", "1", "--", "-k", "a or b"], "test", None),
        (["--", "--seed", "3"], "run", ["--seed", "3"]),
    ],
)
def test_command_line(start, arguments, job, extra):
    options, found = start.parse(arguments)
    assert options.job == job
    assert found == (["-k", "a or b"] if extra is None else extra)
