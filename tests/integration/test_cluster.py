"""Songs on a local cluster of two workers, one of which is killed midway."""

import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
import soundfile
from joblib.externals.loky import get_reusable_executor

from speechbrain_ext import rhythm, workers
from speechbrain_ext.cli import main
from speechbrain_ext.errors import ClusterError, ConfigError
from speechbrain_ext.workers import BACKENDS, DEATHS, spread

ROOT = Path(__file__).resolve().parents[2]
RATE = 16000
SONGS = 5
# The call of the beat finder in which its process is killed.
FATAL = 3
FILES = {
    *("vocals.mid", "vocals.csv", "vocals.musicxml"),
    *("song.txt", "song.jams", "song.json"),
}

# Python runs this when a process starts, and so in every worker. The finder of
# beats, which needs no time then, keeps a list of the processes it runs in and
# of the lengths of the songs.
HOOK = """
import importlib.abc, importlib.util, itertools, os, signal, sys

class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name != "speechbrain_ext.rhythm":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            module.estimate_rhythm = estimate_rhythm
            module.estimate_key = lambda *_: None

        spec.loader.exec_module = exec_module
        return spec

def estimate_rhythm(wav, *_):
    for call in itertools.count(1):
        try:
            with open(f"{os.environ['CALLS']}/{call}", "x") as stream:
                stream.write(f"{os.getpid()} {len(wav)}")
            break
        except FileExistsError:
            pass
    if call == int(os.environ["FATAL"]):
        os.kill(os.getpid(), signal.SIGKILL)

sys.meta_path.insert(0, Finder())
"""


def library(backend):
    """Skip where the library of a back-end is missing."""
    if backend != "loky":
        module = {"dask": "distributed", "ray": "ray"}[backend]
        pytest.importorskip(module, reason=f"no {module}: singbrain[{backend}]")


def end_processes():
    """End those that joblib keeps for the next time it is used."""
    get_reusable_executor().shutdown(wait=True, kill_workers=True)


@pytest.fixture
def calls(tmp_path, monkeypatch):
    """Calls of the finder of beats: process and length of the song."""
    end_processes()
    hook, folder = tmp_path / "hook", tmp_path / "calls"
    for place in (hook, folder):
        place.mkdir()
    (hook / "sitecustomize.py").write_text(HOOK)
    monkeypatch.setenv("PYTHONPATH", f"{hook}{os.pathsep}{ROOT}")
    monkeypatch.setenv("CALLS", str(folder))
    monkeypatch.setenv("FATAL", str(FATAL))
    # Set for Ray, and taken back after the test.
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")

    def read():
        texts = (path.read_text().split() for path in folder.iterdir())
        return [(int(process), int(length)) for process, length in texts]

    yield read
    end_processes()


@pytest.fixture
def album(tmp_path):
    """Songs of different lengths, and a file that is none."""
    folder = tmp_path / "album"
    folder.mkdir()
    for number in range(SONGS):
        length = RATE + 1600 * number
        wav = 0.3 * np.sin(np.arange(length) * (0.1 + 0.02 * number))
        soundfile.write(folder / f"{number}.wav", wav, RATE)
    (folder / "bad.wav").write_text("no sound")
    return folder


def unfinished(folder):
    return [path.name for path in folder.rglob(".part-*")]


def check_songs(out, printed):
    """All songs are there once, in the folder and among what is told."""
    told = json.loads(printed)["songs"]
    names = [Path(song["song"]).name for song in told]
    assert names == [*(f"{n}.wav" for n in range(SONGS)), "bad.wav"]
    *songs, bad = told
    assert "bad.wav" in bad["error"]
    assert sorted(p.name for p in out.iterdir()) == [*map(str, range(SONGS))]
    for song in songs:
        folder = Path(song["folder"])
        assert {*song["files"]} == FILES and len(song["files"]) == len(FILES)
        assert {path.name for path in folder.iterdir()} == {*FILES, ".cache"}
        kept = sorted(p.name.split("-")[0] for p in folder.glob(".cache/*"))
        assert kept == ["rhythm", "transcribe"]
        index = json.loads((folder / "song.json").read_text())
        assert index["song"] == Path(song["song"]).name
        assert "replaced" not in index
    assert unfinished(out) == []
    return songs


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_worker_is_killed(
    backend, album, calls, tmp_path, monkeypatch, capfd
):
    library(backend)
    pytest.importorskip("music21")
    pytest.importorskip("jams")
    monkeypatch.chdir(tmp_path)
    homes = [Path("/tmp"), Path(workers._ray_home())]
    before = {path for home in homes for path in home.glob("ray-*")}
    command = ["song", "album", "-o", "out", "--no-isolate", "--no-report"]
    command += ["--json", "--backend", backend, "--jobs", "2"]
    assert main(command) == 2  # for the file that is no song
    printed = capfd.readouterr()
    songs = check_songs(tmp_path / "out", printed.out)
    errors = [line for line in printed.err.split("\n") if "error" in line]
    assert len(errors) == 1, printed.err
    assert errors[0].startswith("singbrain: error: album/bad.wav: ")
    found = calls()
    processes, lengths = zip(*found, strict=True)
    assert len({*lengths}) == SONGS
    assert os.getpid() not in processes and len({*processes}) >= 2
    fatal = int((tmp_path / "calls" / str(FATAL)).read_text().split()[1])
    again = {n for n, count in Counter(lengths).items() if count > 1}
    # joblib ends all its processes when one dies.
    assert fatal in again if backend == "loky" else again == {fatal}
    # What was done before the death is taken up, and was not done again.
    if backend != "loky":
        seconds = fatal / rhythm.SAMPLE_RATE
        for song in songs:
            known = abs(song["seconds"] - seconds) < 0.01
            assert song["stages"] == {
                "transcribe": "cached" if known else "done",
                "rhythm": "done",
            }
    after = {path for home in homes for path in home.glob("ray-*")}
    assert after <= before


@pytest.mark.slow
def test_dask_is_quiet_where_all_is_logged(monkeypatch):
    library("dask")
    # As it is if SpeechBrain has set up logs before Dask was imported.
    logger = logging.getLogger("distributed")
    monkeypatch.setattr(logger, "handlers", [])
    monkeypatch.setattr(logger, "propagate", True)
    logger.setLevel(logging.INFO)
    told = StringIO()
    handler = logging.StreamHandler(told)
    handler.addFilter(logging.Filter("distributed"))
    logging.getLogger().addHandler(handler)
    try:
        assert list(spread(abs, [-1], 1, "dask")) == [1]
    finally:
        logging.getLogger().removeHandler(handler)
    assert told.getvalue() == ""
    assert logger.level == logging.INFO


# --- a cluster that is there already ---------------------------------------

HEAD = """
import sys, ray
ray.init(address="local", num_cpus=2, include_dashboard=False,
         object_store_memory=80_000_000, _temp_dir=sys.argv[1],
         log_to_driver=False)
print(ray.get_runtime_context().gcs_address, flush=True)
sys.stdin.read()
"""


@contextmanager
def running(backend):
    """Address of a cluster of two workers; None for this computer."""
    library(backend)
    if backend == "loky":
        yield None
    elif backend == "dask":
        from distributed import LocalCluster

        with LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None
        ) as cluster:
            yield cluster.scheduler_address
    else:
        with (
            tempfile.TemporaryDirectory(
                prefix="ray-", dir="/tmp", ignore_cleanup_errors=True
            ) as folder,
            subprocess.Popen(
                [sys.executable, "-c", HEAD, folder],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            ) as head,
        ):
            yield head.stdout.readline().strip()
            head.stdin.close()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("backend", BACKENDS)
def test_an_item_that_kills_is_given_up(backend, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")

    # Goes to the workers as a whole, not by the name of this file.
    def work(item):
        (tmp_path / f"{item}-{uuid4().hex}").touch()
        if item == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        if item == "wrong":
            raise ConfigError("this is wrong")
        return item, os.getpid()

    with running(backend) as address:
        found = list(spread(work, range(5), 2, backend, address))
        given_up = found.pop(2)
        assert isinstance(given_up, ClusterError)
        assert "4 workers died of it" in str(given_up) and DEATHS == 4
        items, processes = zip(*found, strict=True)
        assert items == (0, 1, 3, 4) and os.getpid() not in processes
        calls = Counter(path.name[0] for path in tmp_path.iterdir())
        assert calls["2"] >= DEATHS
        # The cluster is still there, and faults of the function are its own.
        with pytest.raises(ConfigError, match="^this is wrong$"):
            list(spread(work, ["wrong"], 2, backend, address))
    printed = capfd.readouterr()
    assert printed.out == ""
