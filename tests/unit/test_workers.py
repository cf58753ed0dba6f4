"""Which workers may be asked for; dying ones are in tests/integration."""

import sys

import numpy as np
import pytest
import soundfile

from speechbrain_ext import workers
from speechbrain_ext.cli import main
from speechbrain_ext.errors import ClusterError, ConfigError
from speechbrain_ext.inference import song as module
from speechbrain_ext.inference.song import SongJob, SongSettings, run_songs
from speechbrain_ext.workers import BACKENDS, spread


@pytest.fixture
def song(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(1600), 16000)
    return path


def refused(song, tmp_path, capsys, *arguments):
    """The one line that is told; nothing may be written."""
    out = tmp_path / "out"
    assert main(["song", str(song), "-o", str(out), *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1
    assert not out.exists()
    return printed.err


@pytest.mark.parametrize(
    ("backend", "library"), [("dask", "distributed"), ("ray", "ray")]
)
def test_a_library_is_missing(
    backend, library, song, tmp_path, capsys, monkeypatch
):
    monkeypatch.setitem(sys.modules, library, None)
    told = refused(song, tmp_path, capsys, "--backend", backend)
    assert f'pip install "singbrain[{backend}]"' in told


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--cluster", "head:1"], "use the back-end dask or ray"),
        (
            ["--backend", "dask", "--cluster", "head:1", "--jobs", "2"],
            "--jobs 2: the cluster at head:1 has its own workers",
        ),
        (["--backend", "ray", "--jobs", "0"], "--jobs is 0"),
        (
            ["--backend", "ray", "--device", "cuda:1"],
            "Ray gives each song a GPU of its own",
        ),
    ],
)
def test_what_is_refused(arguments, message, song, tmp_path, capsys):
    assert message in refused(song, tmp_path, capsys, *arguments)


@pytest.mark.parametrize("backend", BACKENDS[1:])
def test_nobody_answers(backend, song, tmp_path, capsys, monkeypatch):
    pytest.importorskip({"dask": "distributed", "ray": "ray"}[backend])
    monkeypatch.setattr("speechbrain_ext.workers.PATIENCE_S", 0.5)
    # A port that is nobody's: no server can listen at it.
    address = "127.0.0.1:1"
    told = refused(
        song, tmp_path, capsys, "--backend", backend, "--cluster", address
    )
    assert f"answers at {address}" in told


@pytest.mark.parametrize(
    ("error", "unread"),
    [
        (ModuleNotFoundError("No module named 'speechbrain_ext'"), True),
        (RuntimeError("Error during deserialization of the task graph."), True),
        (AttributeError("Can't get attribute '_in_process' on <mod>"), True),
        (AttributeError("'NoneType' object has no attribute 'x'"), False),
        (RuntimeError("shapes do not match"), False),
    ],
)
def test_workers_that_cannot_read_their_work(error, unread):
    found = workers._unread(error)
    assert isinstance(found, ClusterError) if unread else found is error


def test_a_back_end_is_unknown(song, tmp_path):
    with pytest.raises(ConfigError, match="backend is 'slurm'"):
        list(spread(abs, [1], backend="slurm"))
    jobs = [SongJob(song, tmp_path / "out")]
    with pytest.raises(ConfigError, match="backend is 'slurm'"):
        list(run_songs(jobs, backend="slurm"))


def test_a_worker_has_another_version(song, tmp_path):
    sent = ("me1", SongJob(song, tmp_path / "out"))
    with pytest.raises(ConfigError, match=r"this computer 0\.0: install the"):
        module._in_process(SongSettings(), "0.0", sent)
    assert not (tmp_path / "out").exists()


def test_relative_names_are_for_any_folder(song, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = tmp_path / "mine"
    model.mkdir()
    job = SongJob(module.Path("a.wav"), module.Path("out"))
    anywhere = module._anywhere(job)
    assert anywhere[:4] == (song, tmp_path / "out", None, None)
    settings = module._anywhere_settings(
        SongSettings(separator="mine", transcriber="transcriber", aligner=model)
    )
    # The second is the name of a shipped model.
    assert settings.separator == settings.aligner == model
    assert settings.transcriber == "transcriber"
    error = ConfigError(f"{song}: is bad")
    assert str(module._as_asked(job, error)) == "a.wav: is bad"
