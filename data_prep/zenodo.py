"""Downloads from Zenodo, where corpora have a stable public address."""

from __future__ import annotations

import hashlib
import http.client
import json
import zipfile
from fnmatch import fnmatch
from pathlib import Path
from urllib.parse import quote
from urllib.request import urlopen

from speechbrain_ext.errors import DependencyError, OutputError
from speechbrain_ext.files import atomic_path

# https://developers.zenodo.org: a record as JSON, and its files under it.
ZENODO = "https://zenodo.org/api/records"

# Names of the files that were fetched and unpacked, one a line.
MARKER = ".downloaded"

_BLOCK = 1 << 20
_TIMEOUT_S = 60


def fetch_record(record: str, folder, patterns=("*",)) -> Path:
    """Fetch files of a record, check them, and unpack the archives.

    A file that was fetched and unpacked before is not fetched again, so an
    interrupted download goes on with the next file. Archives are removed once
    they are unpacked.

    Arguments
    ---------
    record : str
        Number of the record.
    folder : str or Path
        Made if it does not exist.
    patterns : sequence of str
        Which files of the record, with `*` for any characters.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    DependencyError
        If the site cannot be reached, the record has no such files, or a file
        does not have the checksum that the site states.
    OutputError
        If the folder cannot be written.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot be made ({error.strerror}): choose another one"
        ) from None
    address = f"{ZENODO}/{record}"
    with _get(address) as reply:
        content = b"".join(_blocks(reply, address))
    try:
        files = {
            str(file["key"]): str(file["checksum"]).removeprefix("md5:")
            for file in json.loads(content)["files"]
            if any(fnmatch(file["key"], pattern) for pattern in patterns)
        }
    except (ValueError, KeyError, TypeError):
        raise DependencyError(
            f"{address}: gave no list of files: try again later"
        ) from None
    if not files:
        raise DependencyError(
            f"{address}: has none of the files {', '.join(patterns)}"
        )
    marker = folder / MARKER
    done = marker.read_text().splitlines() if marker.is_file() else []
    for name in sorted(set(files) - set(done)):
        _fetch(record, name, files[name], folder)
        done.append(name)
        with atomic_path(marker, overwrite=True) as tmp:
            tmp.write_text("\n".join(done) + "\n")
    return folder


def _get(url: str):
    """Open an address; any failure to is a `DependencyError`."""
    try:
        return urlopen(url, timeout=_TIMEOUT_S)
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise DependencyError(
            f"{url}: cannot be reached ({reason}): check the network, or "
            "download with a browser"
        ) from None


def _fetch(record: str, name: str, checksum: str, folder: Path) -> None:
    """Fetch one file, check it, and unpack it if it is an archive."""
    from tqdm import tqdm

    url = f"{ZENODO}/{record}/files/{quote(name)}/content"
    digest = hashlib.md5(usedforsecurity=False)
    target = folder / Path(name).name
    with atomic_path(target, overwrite=True) as tmp:
        with _get(url) as reply, tmp.open("wb") as stream:
            size = int(reply.headers.get("Content-Length") or 0) or None
            with tqdm(
                desc=name, total=size, unit="B", unit_scale=True, disable=None
            ) as bar:
                for block in _blocks(reply, url):
                    stream.write(block)
                    digest.update(block)
                    bar.update(len(block))
        if digest.hexdigest() != checksum:
            raise DependencyError(
                f"{url}: has the checksum {digest.hexdigest()}, not "
                f"{checksum}: download it again"
            )
    if target.suffix == ".zip":
        try:
            with zipfile.ZipFile(target) as archive:
                archive.extractall(folder)
        except (zipfile.BadZipFile, NotImplementedError) as error:
            raise DependencyError(
                f"{target}: cannot be unpacked: {error}"
            ) from None
        target.unlink()


def _blocks(reply, url: str):
    """Blocks of a reply, until its end."""
    while True:
        try:
            block = reply.read(_BLOCK)
        except (http.client.HTTPException, OSError) as error:
            raise DependencyError(
                f"{url}: the connection broke ({error!r}): start again"
            ) from None
        if not block:
            return
        yield block
