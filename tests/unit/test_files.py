"""Outputs appear complete or not at all."""

import errno
import os

import pytest

from speechbrain_ext.errors import OutputError
from speechbrain_ext.files import (
    atomic_folder,
    atomic_path,
    atomic_paths,
    check_output,
)


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


def test_file_appears_when_the_block_ends(tmp_path):
    with atomic_path(tmp_path / "a.mid") as temporary:
        temporary.write_bytes(b"1")
        assert temporary.suffix == ".mid"
        assert temporary.parent == tmp_path
        assert not (tmp_path / "a.mid").exists()
    assert names(tmp_path) == ["a.mid"]
    assert (tmp_path / "a.mid").read_bytes() == b"1"


def test_outputs_are_checked_without_a_trace(tmp_path):
    check_output(tmp_path / "a.csv")
    assert names(tmp_path) == []
    (tmp_path / "a.csv").write_text("old")
    check_output(tmp_path / "a.csv", overwrite=True)
    assert (tmp_path / "a.csv").read_text() == "old"
    assert names(tmp_path) == ["a.csv"]
    for path, message in (
        (tmp_path / "a.csv", "exists already"),
        (tmp_path, "is a folder"),
        (tmp_path / "none" / "a.csv", "none does not exist"),
    ):
        with pytest.raises(OutputError, match=message):
            check_output(path)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_nothing_stays_when_the_block_fails(tmp_path, error):
    with pytest.raises(error), atomic_path(tmp_path / "a.txt") as temporary:
        temporary.write_text("half")
        raise error
    assert names(tmp_path) == []


def test_old_file_survives_a_failure(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(ValueError), atomic_path(path, overwrite=True) as new:
        new.write_text("half")
        raise ValueError
    assert names(tmp_path) == ["a.txt"]
    assert path.read_text() == "old"


def test_overwriting_needs_permission(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with (
        pytest.raises(OutputError, match="a.txt: exists already"),
        atomic_path(path),
    ):
        raise AssertionError("the block must not start")
    assert path.read_text() == "old"
    with atomic_path(path, overwrite=True) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new"


def test_file_made_by_somebody_else_meanwhile_is_kept(tmp_path):
    path = tmp_path / "a.txt"
    with (
        pytest.raises(OutputError, match="exists already"),
        atomic_path(path) as temporary,
    ):
        temporary.write_text("ours")
        path.write_text("theirs")
    assert names(tmp_path) == ["a.txt"]
    assert path.read_text() == "theirs"


def test_link_is_kept_and_its_target_written(tmp_path):
    (tmp_path / "real.txt").write_text("old")
    link = tmp_path / "link.txt"
    link.symlink_to("real.txt")
    with atomic_path(link, overwrite=True) as temporary:
        temporary.write_text("new")
    assert link.is_symlink()
    assert (tmp_path / "real.txt").read_text() == "new"


def test_permissions_follow_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        with atomic_path(tmp_path / "a.txt") as temporary:
            temporary.write_text("x")
    finally:
        os.umask(old)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none/a.txt", "none does not exist: create it first"),
        ("folder", "is a folder"),
        ("file/a.txt", "file does not exist"),
        ("x" * 300 + ".txt", "xxx"),
        ("a\0b", "not a usable path"),
    ],
)
def test_impossible_targets(tmp_path, name, message):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(OutputError, match=message) as caught,
        atomic_path(tmp_path / name, overwrite=True),
    ):
        raise AssertionError("the block must not start")
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == ["file", "folder"]


def test_devices_are_not_replaced():
    with (
        pytest.raises(OutputError, match="not an ordinary file"),
        atomic_path("/dev/null", overwrite=True),
    ):
        raise AssertionError("the block must not start")


def test_folder_without_permission(tmp_path, monkeypatch):
    # Root may write everywhere, so the system's answer is simulated.
    def deny(*args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", deny)
    with (
        pytest.raises(OutputError, match="Permission denied"),
        atomic_path(tmp_path / "a.txt"),
    ):
        raise AssertionError("the block must not start")


def test_full_disk(tmp_path):
    with (
        pytest.raises(OutputError, match="No space left"),
        atomic_path(tmp_path / "a.txt"),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert names(tmp_path) == []


def test_other_faults_of_the_block_keep_their_class(tmp_path):
    with (
        pytest.raises(FileNotFoundError),
        atomic_path(tmp_path / "a.txt"),
    ):
        open(tmp_path / "missing")  # noqa: SIM115


@pytest.mark.parametrize("exists", [False, True])
def test_folder_appears_when_the_block_ends(tmp_path, exists):
    path = tmp_path / "corpus"
    if exists:
        path.mkdir()
    with atomic_folder(path) as temporary:
        (temporary / "a").write_text("1")
        assert not exists or names(path) == []
    assert names(tmp_path) == ["corpus"]
    assert names(path) == ["a"]


def test_folder_with_content_or_a_file_is_kept(tmp_path):
    path = tmp_path / "corpus"
    path.mkdir()
    (path / "mine").write_text("1")
    with pytest.raises(OutputError, match="holds mine"), atomic_folder(path):
        raise AssertionError("the block must not start")
    with (
        pytest.raises(OutputError, match="is a file"),
        atomic_folder(path / "mine"),
    ):
        raise AssertionError("the block must not start")
    with (
        pytest.raises(OutputError, match="does not exist"),
        atomic_folder(tmp_path / "a" / "b"),
    ):
        raise AssertionError("the block must not start")
    assert names(path) == ["mine"]


def test_no_folder_stays_when_the_block_fails(tmp_path):
    with pytest.raises(ValueError), atomic_folder(tmp_path / "x") as temporary:
        (temporary / "a").write_text("1")
        raise ValueError
    assert names(tmp_path) == []


def test_files_appear_together(tmp_path):
    wanted = [tmp_path / "a.txt", tmp_path / "b.wav"]
    with atomic_paths(wanted) as temporaries:
        assert [path.suffix for path in temporaries] == [".txt", ".wav"]
        for path in temporaries:
            path.write_text("new")
        assert not any(path.exists() for path in wanted)
    assert names(tmp_path) == ["a.txt", "b.wav"]


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("taken", ["a.txt", "b.txt"])
def test_no_file_appears_if_one_cannot(tmp_path, taken, late):
    wanted = [tmp_path / "a.txt", tmp_path / "b.txt"]
    if not late:
        (tmp_path / taken).write_text("old")
    with (
        pytest.raises(OutputError, match=f"{taken}: exists already"),
        atomic_paths(wanted),
    ):
        (tmp_path / taken).write_text("old")
    assert names(tmp_path) == [taken]
    assert (tmp_path / taken).read_text() == "old"


def test_files_are_replaced_together(tmp_path):
    wanted = [tmp_path / "a.txt", tmp_path / "b.txt"]
    for path in wanted:
        path.write_text("old")
    with (
        pytest.raises(ValueError),
        atomic_paths(wanted, overwrite=True) as temporaries,
    ):
        temporaries[0].write_text("new")
        raise ValueError
    assert [path.read_text() for path in wanted] == ["old", "old"]
    with atomic_paths(wanted, overwrite=True) as temporaries:
        for path in temporaries:
            path.write_text("new")
    assert [path.read_text() for path in wanted] == ["new", "new"]
    assert names(tmp_path) == ["a.txt", "b.txt"]


def test_another_process_fills_the_folder(tmp_path, monkeypatch):
    path = tmp_path / "corpus"
    replace = os.replace

    def late(source, target):
        path.mkdir()
        (path / "theirs").touch()
        replace(source, target)

    monkeypatch.setattr(os, "replace", late)
    with (
        pytest.raises(OutputError, match="holds theirs"),
        atomic_folder(path) as temporary,
    ):
        (temporary / "mine").touch()
    assert [file.name for file in tmp_path.iterdir()] == ["corpus"]
