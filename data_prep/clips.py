"""Folders of audio made from other audio: work that goes on where it stopped.

`prepare_musan` and `prepare_noise` make thousands of files. Each file is
written whole or not at all; `unfinished.json` says what the folder is going to
hold, and `prepared.json`, written last, that it does.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from data_prep.corpus import MARKER, difference, in_parallel
from speechbrain_ext.errors import OutputError, SingBrainError
from speechbrain_ext.files import atomic_path

UNFINISHED = "unfinished.json"


@dataclass(frozen=True)
class ClipSummary:
    """What a folder of audio holds.

    Arguments
    ---------
    name : str
        What was prepared.
    part : str
        What the second column of the table tells, as "split".
    rows : tuple of (str, str, int, float)
        Kind, part, number of files and their hours.
    license : str
        Under what terms they may be used.
    citation : str
        What to cite.
    url : str
        Where the recordings are described.
    fresh : bool
        False if everything was there already.
    """

    name: str
    part: str
    rows: tuple[tuple[str, str, int, float], ...]
    license: str = ""
    citation: str = ""
    url: str = ""
    fresh: bool = True

    def table(self) -> str:
        """Lay the summary out for reading.

        Returns
        -------
        str
            A line per kind and part, licence and citation.

        Example
        -------
        >>> row = ("babble", "train", 8000, 22.25)
        >>> print(ClipSummary("musan", "split", (row,), "CC BY 4.0").table())
        musan
        kind           split          files    hours
        babble         train           8000    22.25
        licence: CC BY 4.0
        """
        lines = [self.name, f"{'kind':<15}{self.part:<13}{'files':>7}    hours"]
        lines += [
            f"{kind:<15}{part:<13}{count:>7}{hours:>9.2f}"
            for kind, part, count, hours in self.rows
        ]
        facts = {
            "licence": self.license,
            "cite": self.citation,
            "see": self.url,
        }
        lines += [f"{name}: {text}" for name, text in facts.items() if text]
        return "\n".join(lines)


def checksum(*facts) -> str:
    """SHA-256 of what a result depends on.

    Arguments
    ---------
    *facts : object
        What JSON can hold.

    Returns
    -------
    str

    Example
    -------
    >>> checksum("a", 1)[:8], checksum("a", 2)[:8]
    ('2657442b', '0383dfec')
    """
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def make_files(
    output_folder,
    marker: dict,
    function: Callable,
    jobs: Sequence[tuple],
    files: Iterable[str],
    tables: Callable,
    n_jobs: int = 1,
    overwrite: bool = False,
) -> bool:
    """Make the files of a folder that are not there yet.

    Arguments
    ---------
    output_folder : str or Path
        Made if it does not exist.
    marker : dict
        `version`, `corpus`, `options` and `checksum`, as in
        `corpus.difference`: a folder that has another one is refused.
    function : callable
        `function(output_folder, *job)` writes the files of a job that are not
        there; gives an error, or None.
    jobs : sequence of tuple
    files : iterable of str
        What the jobs write, relative to the folder.
    tables : callable
        `tables(output_folder) -> list of str` writes the tables over all
        files, when these are there, and gives their names.
    n_jobs : int
        Jobs done at a time, as in joblib.
    overwrite : bool
        Whether the result of other options may be removed, and files of the
        same names replaced. The result of the same ones is taken as it is.

    Returns
    -------
    bool
        Whether there was anything to do.

    Raises
    ------
    OutputError
        If the folder holds another result or other files, or cannot be
        written.
    SingBrainError
        The first error of the jobs.
    """
    from tqdm import tqdm

    output, files = Path(output_folder), list(files)
    name = marker["corpus"]
    marker = json.loads(json.dumps(marker))
    done = _read(output / MARKER)
    old, reason = check_earlier(output, marker, overwrite)
    if done and not reason:
        if all((output / file).is_file() for file in done["files"]):
            print(
                f"{name}: already prepared in {output}, nothing to do",
                file=sys.stderr,
            )
            return False
    elif not old or reason:
        taken = [file for file in files if os.path.lexists(output / file)]
        if taken and not overwrite:
            raise OutputError(
                f"{output / taken[0]}: exists already: choose another folder "
                "or allow overwriting"
            )
        for file in {*taken, *(old["files"] if old else ())}:
            if not Path(file).is_absolute() and ".." not in Path(file).parts:
                (output / file).unlink(missing_ok=True)
    try:
        for folder in sorted({(output / file).parent for file in files}):
            folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(output / UNFINISHED, overwrite=True) as path:
            path.write_text(json.dumps(marker | {"files": files}), "utf-8")
        (output / MARKER).unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(
            f"{output}: cannot write in this folder ({error.strerror}): "
            "choose another one"
        ) from None
    results = in_parallel(function, [(output, *job) for job in jobs], n_jobs)
    for result in tqdm(results, name, len(jobs), unit="file", disable=None):
        if isinstance(result, SingBrainError):
            raise result
    files += tables(output)
    with atomic_path(output / MARKER, overwrite=True) as path:
        path.write_text(json.dumps(marker | {"files": files}), "utf-8")
    with suppress(OSError):
        (output / UNFINISHED).unlink()
    return True


def check_earlier(
    output: Path, marker: dict, overwrite: bool = False
) -> tuple[dict | None, str | None]:
    """Look at what was made in a folder before, finished or not.

    Arguments
    ---------
    output : Path
    marker : dict
        Of what is to be made, as in `make_files`.
    overwrite : bool
        Whether the result of other options is accepted. Default: False.

    Returns
    -------
    dict or None
        Marker of what is there; None if nothing is.
    str or None
        Why that is not what is wanted; None if it is.

    Raises
    ------
    OutputError
        If it is not and may not be replaced.
    """
    marker = json.loads(json.dumps(marker))
    old = _read(output / MARKER) or _read(output / UNFINISHED)
    reason = difference(old, marker) if old else None
    if reason and not overwrite:
        raise OutputError(
            f"{output}: {reason}: choose another folder or allow overwriting"
        )
    return old, reason


def _read(path: Path) -> dict | None:
    """Contents of a marker, or None."""
    try:
        marker = json.loads(path.read_text(encoding="utf-8"))
        return marker if isinstance(marker["files"], list) else None
    except (OSError, ValueError, TypeError, KeyError):
        return None
