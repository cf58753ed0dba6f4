#!/usr/bin/env python3
"""Set SingBrain up and start it; needs nothing but Python 3.10 to 3.12.

    python3 start.py                    set up, then train and evaluate the
                                        transcription recipe on its embedded
                                        corpus (under 10 minutes on 2 cores)
    python3 start.py test               set up, then lint and run all tests
    python3 start.py test -- -k notes   the same with arguments for pytest
    python3 start.py setup              set up only, development tools too

Everything is installed into `.venv` beside this file. A second start takes no
time: nothing is installed unless a requirement file has changed. pip's own
environment variables (PIP_INDEX_URL, PIP_FIND_LINKS, ...) work as usual.

This file uses the standard library only, and syntax that older Pythons can
read, so that they can say what is missing.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile

OLDEST, NEWEST = (3, 10), (3, 12)
ROOT = os.path.dirname(os.path.abspath(__file__))
VENV = os.path.join(ROOT, ".venv")
BIN = os.path.join(VENV, "Scripts" if os.name == "nt" else "bin")
PYTHON = os.path.join(BIN, "python.exe" if os.name == "nt" else "python")
# Written when an environment is complete; removed before it is changed.
MARKER = os.path.join(VENV, "singbrain.json")
# Lies in an environment that this file is still working on.
UNFINISHED = os.path.join(VENV, "singbrain.unfinished")

REQUIREMENTS = ("requirements.txt", "dependencies.txt")
# Files whose change makes an installed environment stale.
SOURCES = REQUIREMENTS + ("pyproject.toml", "setup.py")
# torch's CUDA build unpacked, plus what pip keeps while it downloads.
DISK_GB = 8
RECIPE = os.path.join("recipes", "MIR_ST500", "audio_transcription")


class SetupError(Exception):
    """Something that the user has to mend; the message says how."""


def say(text):
    """Print one line of progress."""
    sys.stdout.write("start.py: " + text + "\n")
    sys.stdout.flush()


def supported(version):
    """Whether a (major, minor, ...) version can run SingBrain."""
    return OLDEST <= tuple(version[:2]) <= NEWEST


def find_python():
    """Find an interpreter that can run SingBrain.

    Returns
    -------
    str
        This interpreter, or else the newest supported `python3.x` on the path.

    Raises
    ------
    SetupError
        If there is none.
    """
    if supported(sys.version_info):
        return sys.executable
    for minor in range(NEWEST[1], OLDEST[1] - 1, -1):
        name = "python3.%d" % minor
        path = shutil.which(name) if sys.version_info >= (3,) else None
        # A version manager's stand-in may be there without its Python.
        if path and answers(path, "import sys"):
            say(
                "this is Python %d.%d, which SingBrain cannot use: going on "
                "with %s" % (sys.version_info[0], sys.version_info[1], path)
            )
            return path
    raise SetupError(
        "SingBrain needs Python %d.%d to %d.%d but this is Python %d.%d: "
        "install one of them and run it as `python3.%d start.py`"
        % (OLDEST + NEWEST + tuple(sys.version_info[:2]) + (NEWEST[1],))
    )


def answers(python, code):
    """Whether an interpreter exists and runs a line of code."""
    try:
        return (
            subprocess.call(
                [python, "-c", code],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            == 0
        )
    except OSError:
        return False


def fingerprint():
    """Hash of all files that say what is to be installed."""
    digest = hashlib.sha256()
    for name in SOURCES:
        with open(os.path.join(ROOT, name), "rb") as stream:
            digest.update(name.encode() + b"\0" + stream.read() + b"\0")
    return digest.hexdigest()


def read_marker():
    """Return what the environment was made from; {} if it is unfinished."""
    try:
        with open(MARKER) as stream:
            marker = json.load(stream)
    except (OSError, ValueError):
        return {}
    return marker if isinstance(marker, dict) else {}


def write_marker(marker):
    """Declare the environment finished, in one step."""
    with open(UNFINISHED, "w") as stream:
        json.dump(marker, stream, indent=2, sort_keys=True)
    os.replace(UNFINISHED, MARKER)


def set_up(python, tests):
    """Make the environment, or leave it alone if it is up to date.

    Arguments
    ---------
    python : str
        Interpreter to make it with.
    tests : bool
        Whether the tools for tests and development are needed too; once
        installed they stay.
    """
    wanted = {"files": fingerprint(), "root": ROOT}
    found = read_marker()
    usable = found.get("root") == ROOT and answers(PYTHON, "import pip")
    tests = tests or bool(found.get("tests"))
    current = all(found.get(key) == value for key, value in wanted.items())
    if usable and current and bool(found.get("tests")) == tests:
        return
    check_disk(new=not usable)
    if not usable:
        make_venv(python)
    if os.path.exists(MARKER):
        os.replace(MARKER, UNFINISHED)
    install(tests)
    wanted["tests"] = tests
    write_marker(wanted)
    say("environment ready: " + VENV)


def check_disk(new):
    """Warn when a new environment will hardly fit."""
    free_gb = shutil.disk_usage(ROOT).free / 1e9
    if new and free_gb < DISK_GB:
        say(
            "warning: %.1f GB free but about %d GB needed for torch with CUDA: "
            "make room, or point PIP_INDEX_URL to an index with CPU builds"
            % (free_gb, DISK_GB)
        )


def make_venv(python):
    """Make an empty environment with pip in place of an unfinished one.

    Raises
    ------
    SetupError
        If `.venv` is somebody else's, or no tool can make one.
    """
    if os.path.lexists(VENV):
        ours = os.path.exists(MARKER) or os.path.exists(UNFINISHED)
        if not ours and os.listdir(VENV):
            raise SetupError(
                "%s exists but was not made by start.py: move it away and "
                "start again" % VENV
            )
        say("replacing an unfinished or moved environment")
        shutil.rmtree(VENV)
    os.mkdir(VENV)
    with open(UNFINISHED, "w"):
        pass
    say("making an environment in " + VENV)
    for maker in (make_with_venv, make_with_virtualenv):
        if maker(python) and answers(PYTHON, "import pip"):
            return
    shutil.rmtree(VENV)
    raise SetupError(
        "this Python can make no environment (venv or pip is missing): "
        "install python3-venv (`sudo apt-get install python3-venv` on Debian "
        "and Ubuntu) and start again"
    )


def make_with_venv(python):
    """Use the standard library; Debian may have split ensurepip off."""
    if not answers(python, "import ensurepip, venv"):
        return False
    return subprocess.call([python, "-m", "venv", VENV]) == 0


def make_with_virtualenv(python):
    """Use virtualenv, from the system or fetched by its pip for this once."""
    if answers(python, "import virtualenv"):
        return subprocess.call([python, "-m", "virtualenv", "-q", VENV]) == 0
    if not answers(python, "import pip"):
        return False
    folder = tempfile.mkdtemp(prefix="singbrain-virtualenv-")
    try:
        fetch = [python, "-m", "pip", "install", "-q", "--target", folder]
        if subprocess.call(fetch + ["virtualenv"]):
            return False
        environment = dict(os.environ, PYTHONPATH=folder)
        command = [python, "-m", "virtualenv", "-q", VENV]
        return subprocess.call(command, env=environment) == 0
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def install(tests):
    """Install the requirements and SingBrain itself, editable.

    Raises
    ------
    SetupError
        If pip fails, for want of a network for example.
    """
    command = [PYTHON, "-m", "pip", "install", "--disable-pip-version-check"]
    if not sys.stdout.isatty():
        command += ["--quiet", "--progress-bar", "off"]
    for name in REQUIREMENTS:
        command += ["-r", name]
    command += ["-e", ".[dev]" if tests else "."]
    say("installing packages (a few minutes the first time)")
    # In one call, so that pip chooses versions that fit together.
    status = subprocess.call(command, cwd=ROOT, stdin=subprocess.DEVNULL)
    if status:
        raise SetupError(
            "pip stopped with exit code %d (see above): check the network, "
            "the free disk space and PIP_* settings, then start again; "
            "downloads are kept" % status
        )


def run_recipe(arguments):
    """Train and evaluate the main recipe; return its exit code."""
    folder = os.path.join(ROOT, RECIPE)
    status = subprocess.call(
        [PYTHON, "experiment.py", "mini.yaml"] + arguments, cwd=folder
    )
    if status == 0:
        say("done. For a recording of your own:")
        say("  %s transcribe SONG.wav" % os.path.join(BIN, "singbrain"))
        if os.name == "nt":
            say("or activate the environment: .venv\\Scripts\\activate")
        else:
            say("or activate the environment: source .venv/bin/activate")
    return status


def run_tests(arguments, workers):
    """Lint, then test; return the first exit code that is not 0."""
    ruff = [PYTHON, "-m", "ruff"]
    pytest = [PYTHON, "-m", "pytest"]
    if workers > 1:
        # A file stays in one worker: its fixtures are made once.
        pytest += ["-n", str(workers), "--dist", "loadfile"]
    statuses = []
    # pytest comes last: its closing line ends the output.
    for command in (
        ruff + ["check", "."],
        ruff + ["format", "--check", "."],
        pytest + arguments,
    ):
        say(" ".join(command[2:]))
        statuses.append(subprocess.call(command, cwd=ROOT))
    if any(statuses[:2]):
        say("error: ruff found faults, see above")
    return next((status for status in statuses if status), 0)


def parse(arguments):
    """Split the command line at `--` and parse the part before it."""
    own, extra = arguments, []
    if "--" in arguments:
        cut = arguments.index("--")
        own, extra = arguments[:cut], arguments[cut + 1 :]
    parser = argparse.ArgumentParser(
        prog="start.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "job",
        nargs="?",
        default="run",
        choices=("run", "test", "setup"),
        help="what to do once everything is set up (default: run)",
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=min(4, getattr(os, "cpu_count", int)() or 1),
        metavar="N",
        help="test processes; 1 tests in one process (default: %(default)s)",
    )
    options = parser.parse_args(own)
    if options.job == "setup" and extra:
        parser.error("setup takes no arguments after --")
    return options, extra


def main(arguments):
    """Run the command line; return the exit code."""
    options, extra = parse(arguments)
    try:
        set_up(find_python(), tests=options.job != "run")
    except SetupError as error:
        sys.stderr.write("start.py: error: %s\n" % error)
        return 1
    except OSError as error:
        sys.stderr.write("start.py: error: set-up stopped: %s\n" % error)
        return 1
    if options.job == "run":
        return run_recipe(extra)
    if options.job == "test":
        return run_tests(extra, options.workers)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
