"""Results of long work that are kept, by what went into it.

Each result is a folder. Its name tells the stage and a hash of everything that
it depends on: settings, models, and the results it was made from. So a run that
was stopped goes on where it was, a change does again only what depends on it,
and two settings do not overwrite each other. The folder may be deleted at any
time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from speechbrain_ext import __version__
from speechbrain_ext.errors import AudioError, OutputError
from speechbrain_ext.files import atomic_folder

# Raised whenever what a stage writes means something else than before.
VERSION = 1


class Done(NamedTuple):
    """A finished stage.

    Arguments
    ---------
    folder : Path
        Holds its files.
    key : str
        Hash of what it depends on.
    cached : bool
        Whether it was there already.
    """

    folder: Path
    key: str
    cached: bool


def content_hash(path) -> str:
    """Tell a file by what it holds.

    Arguments
    ---------
    path : str or Path

    Returns
    -------
    str
        SHA-256, 64 hexadecimal digits.

    Raises
    ------
    AudioError
        If it cannot be read.

    Example
    -------
    >>> path = getfixture("tmp_path") / "a"
    >>> _ = path.write_bytes(b"abc")
    >>> content_hash(path)[:8]
    'ba7816bf'
    """
    try:
        digest = hashlib.sha256()
        with open(path, "rb") as stream:
            for block in iter(lambda: stream.read(2**20), b""):
                digest.update(block)
        return digest.hexdigest()
    except OSError as error:
        raise AudioError(f"{path}: cannot be read: {error.strerror}") from None


class Stages:
    """Finished stages in a folder.

    Arguments
    ---------
    folder : str or Path
        Made when the first stage is run; its parent must exist.

    Example
    -------
    >>> stages = Stages(getfixture("tmp_path") / "cache")
    >>> def make(folder):
    ...     _ = (folder / "a.txt").write_text("done")
    >>> [stages.run("one", {"x": 1}, [], make).cached for _ in range(2)]
    [False, True]
    >>> stages.run("one", {"x": 2}, [], make).cached
    False
    """

    def __init__(self, folder):
        self.folder = Path(folder)

    def run(
        self,
        name: str,
        settings: dict,
        inputs: list[str],
        make: Callable[[Path], None],
    ) -> Done:
        """Do the work of a stage, unless it is done.

        Arguments
        ---------
        name : str
            Of the stage.
        settings : dict
            All that the result depends on beside the inputs, as JSON can hold
            it.
        inputs : list of str
            Hashes: keys of other stages, contents of files and models.
        make : callable
            Called with an empty folder, to write files into. If it raises,
            nothing is kept.

        Returns
        -------
        Done

        Raises
        ------
        OutputError
            If the folder cannot be written.
        """
        told = [VERSION, __version__, name, settings, inputs]
        text = json.dumps(told, sort_keys=True, ensure_ascii=False)
        key = hashlib.sha256(text.encode()).hexdigest()
        target = self.folder / f"{name}-{key[:16]}"
        if target.is_dir():
            return Done(target, key, True)
        try:
            self.folder.mkdir(exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"{self.folder}: cannot be made ({error.strerror}): choose "
                "another folder"
            ) from None
        try:
            with atomic_folder(target) as temporary:
                make(temporary)
        except OutputError:
            # Another run may have been faster.
            if not target.is_dir():
                raise
        return Done(target, key, False)
