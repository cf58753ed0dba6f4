"""Writing files so that nothing half-written stays and nothing is lost.

Every output of the package goes through `atomic_path` or `atomic_folder`: the
work happens in a hidden sibling on the same disk, which takes the final name
only when all went well.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from uuid import uuid4

from speechbrain_ext.errors import OutputError

# In the names of temporary files, see `owned_by`.
_owner: ContextVar[str] = ContextVar("owner", default="")

# What a full or read-only disk says while the caller is still writing.
_DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}

# What is said of a folder that holds something by now.
_FILLED = {errno.ENOTEMPTY, errno.EEXIST}


def check_input(path, error, what="file", name=None) -> bytes:
    """Check that a file can be read and holds something.

    Arguments
    ---------
    path : str or Path
    error : type
        Exception to raise.
    what : str
        What the file should be, for the message. Default: "file".
    name : str or Path, optional
        What the message calls a missing file. Default: the path.

    Returns
    -------
    bytes
        The first four, or fewer.

    Raises
    ------
    error
        If it is missing, a folder, a device, empty or may not be read.

    Example
    -------
    >>> check_input(getfixture("tmp_path"), ValueError, "audio file")
    Traceback (most recent call last):
    ValueError: ...: is a folder, not an audio file: name the files in it
    """
    path = Path(path)
    try:
        if path.is_dir():
            article = "an" if what[0] in "aeiou" else "a"
            raise error(
                f"{path}: is a folder, not {article} {what}: name the files "
                "in it"
            )
        if not path.exists():
            raise error(f"{name or path}: no such file: check the path")
        if not path.is_file():
            raise error(f"{path}: is not a regular file")
        with path.open("rb") as stream:
            head = stream.read(4)
    except (OSError, ValueError) as fault:
        if isinstance(fault, error):
            raise
        reason = getattr(fault, "strerror", None) or fault
        raise error(f"{path}: cannot be read: {reason}") from None
    if not head:
        raise error(f"{path}: is empty (0 bytes)")
    return head


@contextmanager
def atomic_path(path, overwrite: bool = False) -> Iterator[Path]:
    """Give a temporary file that becomes `path` if the block succeeds.

    Arguments
    ---------
    path : str or Path
        The file to write. Its folder must exist. A symbolic link is kept: the
        file that it points to is written.
    overwrite : bool
        Whether an existing file may be replaced (default False).

    Yields
    ------
    Path
        An empty temporary file beside `path`, with the same suffix. It gets
        the name `path` at the end of the block and is removed if the block
        raises, so that the old file, if any, stays as it was.

    Raises
    ------
    OutputError
        If `path` exists and may not be replaced, is a folder or a device, or
        its folder is missing or cannot be written, or the disk is full.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> with atomic_path(folder / "notes.csv") as temporary:
    ...     _ = temporary.write_text("onset_s,offset_s,midi")
    >>> [file.name for file in folder.iterdir()]
    ['notes.csv']
    """
    path = Path(path)
    target = _check_target(path, overwrite)
    temporary = _temporary(target, target.suffix)
    try:
        # Creating it is the only sure test of the right to write, and unlike
        # `tempfile` it leaves the permissions to the user's umask.
        os.close(
            os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        )
    except OSError as error:
        raise OutputError(
            f"{path}: cannot write in the folder {target.parent} "
            f"({error.strerror}): choose another folder"
        ) from None
    try:
        yield temporary
        _check_target(path, overwrite)
        os.replace(temporary, target)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
            raise OutputError(
                f"{path}: writing failed ({error.strerror}): free some space "
                "or choose another folder"
            ) from None
        raise


def check_output(path, overwrite: bool = False) -> None:
    """Refuse what `atomic_path` would refuse, before the work for the file.

    Arguments
    ---------
    path, overwrite
        As in `atomic_path`. Nothing is written.

    Raises
    ------
    OutputError
        As `atomic_path`.

    Example
    -------
    >>> check_output(getfixture("tmp_path") / "none" / "scores.csv")
    Traceback (most recent call last):
    speechbrain_ext.errors.OutputError: .../none does not exist: create it \
first
    """
    with suppress(_Checked), atomic_path(path, overwrite):
        raise _Checked


class _Checked(Exception):
    """The file could be written."""


@contextmanager
def atomic_paths(paths, overwrite: bool = False) -> Iterator[list[Path]]:
    """Give temporary files that become `paths` together, or none of them.

    Arguments
    ---------
    paths : sequence of str or Path
        Different files to write, each as in `atomic_path`.
    overwrite : bool
        Whether existing files may be replaced (default False).

    Yields
    ------
    list of Path
        Temporary files in the order of `paths`. Only when the block has
        succeeded, and none of the names has been taken meanwhile, does the
        first of them get its name.

    Raises
    ------
    OutputError
        As `atomic_path`, for any of them.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> names = [folder / "vocals.txt", folder / "rest.txt"]
    >>> with atomic_paths(names) as (vocals, rest):
    ...     _ = vocals.write_text("la"), rest.write_text("boom")
    >>> sorted(file.name for file in folder.iterdir())
    ['rest.txt', 'vocals.txt']
    """
    with ExitStack() as stack:
        yield [
            stack.enter_context(atomic_path(path, overwrite)) for path in paths
        ]
        for path in paths:
            _check_target(Path(path), overwrite)


@contextmanager
def atomic_folder(path) -> Iterator[Path]:
    """Give a temporary folder that becomes `path` if the block succeeds.

    There is no way to overwrite: replacing a folder could take files of the
    user with it.

    Arguments
    ---------
    path : str or Path
        The folder to make: absent or empty. Its parent must exist.

    Yields
    ------
    Path
        An empty temporary folder beside `path`.

    Raises
    ------
    OutputError
        If `path` is a file or a folder with something in it, or its parent is
        missing or cannot be written, or the disk is full.

    Example
    -------
    >>> folder = getfixture("tmp_path") / "corpus"
    >>> with atomic_folder(folder) as temporary:
    ...     _ = (temporary / "README").write_text("made by us")
    >>> [file.name for file in folder.iterdir()]
    ['README']
    """
    path = Path(path)
    target = _resolve(path)
    _check_free(path, target)
    temporary = _temporary(target)
    try:
        temporary.mkdir()
    except OSError as error:
        raise OutputError(
            f"{path}: cannot write in the folder {target.parent} "
            f"({error.strerror}): choose another folder"
        ) from None
    try:
        yield temporary
        _check_free(path, target)
        if target.exists():
            target.rmdir()
        os.replace(temporary, target)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, OSError):
            if error.errno in _DISK_ERRORS:
                raise OutputError(
                    f"{path}: writing failed ({error.strerror}): free some "
                    "space or choose another folder"
                ) from None
            if error.errno in _FILLED:
                _check_free(path, target)  # another process was faster
        raise


@contextmanager
def owned_by(owner: str) -> Iterator[None]:
    """Mark the temporary files and folders that are made in the block.

    A process that is killed cannot remove them; whoever started it can then do
    so with `remove_unfinished`.

    Arguments
    ---------
    owner : str
        Letters and digits that nobody else uses.

    Yields
    ------
    None

    Example
    -------
    >>> with (
    ...     owned_by("me1"),
    ...     atomic_path(getfixture("tmp_path") / "notes.csv") as temporary,
    ... ):
    ...     print(temporary.name)
    .part-me1-....csv
    """
    token = _owner.set(f"{owner}-")
    try:
        yield
    finally:
        _owner.reset(token)


def remove_unfinished(folder, owner: str) -> None:
    """Remove what a dead owner has left in a folder.

    Arguments
    ---------
    folder : str or Path
        Nothing is done if it does not exist.
    owner : str
        See `owned_by`.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> for name in (".part-me1-0.csv", ".part-me2-0.csv", "notes.csv"):
    ...     (folder / name).touch()
    >>> remove_unfinished(folder, "me1")
    >>> sorted(file.name for file in folder.iterdir())
    ['.part-me2-0.csv', 'notes.csv']
    """
    for path in list(Path(folder).glob(f".part-{owner}-*")):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink()


def _temporary(target: Path, suffix="") -> Path:
    """Name of a hidden sibling."""
    return target.with_name(f".part-{_owner.get()}{uuid4().hex}{suffix}")


def _resolve(path: Path) -> Path:
    """Follow links and check that the parent is a folder."""
    try:
        target = path.resolve()
        is_folder = target.parent.is_dir()
    except (OSError, RuntimeError, ValueError) as error:
        raise OutputError(
            f"{path}: not a usable path ({error}): choose another name"
        ) from None
    if not is_folder:
        raise OutputError(
            f"{path}: the folder {target.parent} does not exist: create it "
            "first"
        )
    return target


def _check_target(path: Path, overwrite: bool) -> Path:
    """Refuse a target that exists and may not be replaced."""
    target = _resolve(path)
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        return target
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be written ({error.strerror}): choose another name"
        ) from None
    if stat.S_ISDIR(mode):
        raise OutputError(f"{path}: is a folder: give the name of a file")
    if not stat.S_ISREG(mode):
        raise OutputError(
            f"{path}: is not an ordinary file: choose another name"
        )
    if not overwrite:
        raise OutputError(
            f"{path}: exists already: choose another name or allow overwriting"
        )
    return target


def _check_free(path: Path, target: Path) -> None:
    """Refuse a folder that holds something."""
    try:
        if not target.exists():
            return
        if not target.is_dir():
            raise OutputError(f"{path}: is a file: give the name of a folder")
        first = next(target.iterdir(), None)
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be used ({error.strerror}): choose another name"
        ) from None
    if first is not None:
        raise OutputError(
            f"{path}: exists already and holds {first.name}: choose another "
            "name or empty it first"
        )
