"""Corpora on disk to manifests: one module per corpus, one schema for all.

    >>> sorted(CORPORA)
    ['ismir2014', 'minisinging', 'mir_st500', 'n20emv2', 'tonas', 'vocadito']

`prepare` is what `singbrain prepare CORPUS DATA_DIR OUT_DIR` calls.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from inspect import signature
from typing import NamedTuple

from speechbrain_ext.errors import ConfigError


class Entry(NamedTuple):
    """Where to find a corpus.

    Arguments
    ---------
    module : str
        The module that prepares it.
    license : str
        Short name of its licence.
    url : str
        Where it is described or can be had.
    downloads : bool
        Whether `download` fetches it; else that says how to get it.
    """

    module: str
    license: str
    url: str
    downloads: bool

    @property
    def prepare(self) -> Callable:
        """The function `prepare_<corpus>`; imports the module."""
        return self._function("prepare")

    @property
    def download(self) -> Callable:
        """The function `download_<corpus>`; imports the module."""
        return self._function("download")

    def _function(self, what: str) -> Callable:
        name = self.module.rpartition(".")[2]
        return getattr(import_module(self.module), f"{what}_{name}")


CORPORA = {
    "mir_st500": Entry(
        "data_prep.mir_st500",
        "unstated",
        "https://github.com/york135/singing_transcription_ICASSP2021",
        False,
    ),
    "tonas": Entry(
        "data_prep.tonas",
        "TONAS terms",
        "https://zenodo.org/records/1290722",
        False,
    ),
    "ismir2014": Entry(
        "data_prep.ismir2014",
        "ISMIR2014 terms",
        "http://www.atic.uma.es/ismir2014singing",
        False,
    ),
    "n20emv2": Entry(
        "data_prep.n20emv2",
        "CC BY-SA 4.0",
        "https://zenodo.org/records/10814703",
        True,
    ),
    "vocadito": Entry(
        "data_prep.vocadito",
        "CC BY 4.0",
        "https://zenodo.org/records/5578807",
        True,
    ),
}


def prepare(name: str, data_dir, out_dir, **options):
    """Prepare a corpus.

    Arguments
    ---------
    name : str
        A name of `CORPORA`.
    data_dir : str or Path
        Folder of the corpus.
    out_dir : str or Path
        Folder for the manifests and notes; made if it does not exist.
    **options
        For the corpus's own function: `segment_s`, `n_jobs`, `overwrite` and
        what else it takes.

    Returns
    -------
    manifest.Summary

    Raises
    ------
    ConfigError
        If the corpus or an option is unknown.
    SingBrainError
        As the corpus's own function.
    """
    function = _entry(name).prepare
    known = [
        key
        for key in signature(function).parameters
        if key not in ("data_folder", "output_folder")
    ]
    for key in options:
        if key not in known:
            raise ConfigError(
                f"{name} has no option {key}: use {', '.join(known)}"
            )
    return function(data_dir, out_dir, **options)


def download(name: str, data_dir):
    """Download a corpus, or say how to get it.

    Arguments
    ---------
    name : str
        A name of `CORPORA`.
    data_dir : str or Path
        Where to put it.

    Returns
    -------
    Path
        `data_dir`.

    Raises
    ------
    ConfigError
        If the corpus is unknown.
    ManifestError
        If it is not public: with the way to get it.
    DependencyError
        If the site cannot be reached or sends a damaged file.
    """
    return _entry(name).download(data_dir)


def _entry(name: str) -> Entry:
    """Entry of a corpus."""
    if name not in CORPORA:
        raise ConfigError(
            f"unknown corpus {name}: use one of {', '.join(sorted(CORPORA))}"
        )
    return CORPORA[name]
