"""Corpora on disk to manifests: one module per corpus, one schema for all.

`prepare` is what `singbrain prepare CORPUS DATA_DIR OUT_DIR` calls.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import NamedTuple

from data_prep import ismir2014, mir_st500, n20emv2, tonas, vocadito
from speechbrain_ext.errors import ConfigError


class Entry(NamedTuple):
    """One corpus of the registry.

    Arguments
    ---------
    prepare : callable
        `prepare(data_folder, output_folder, segment_s, ...) -> Summary`.
    download : callable
        `download(data_folder)`; raises an error that says how to get the
        corpus where it is not public.
    license : str
        Short name of the licence.
    url : str
        Where the corpus is described or can be had.
    """

    prepare: Callable
    download: Callable
    license: str
    url: str


def _entry(module) -> Entry:
    """Registry entry of a corpus module."""
    corpus = module.CORPUS
    return Entry(
        getattr(module, f"prepare_{corpus.name}"),
        getattr(module, f"download_{corpus.name}"),
        corpus.license,
        corpus.url,
    )


CORPORA: dict[str, Entry] = {
    module.CORPUS.name: _entry(module)
    for module in (mir_st500, n20emv2, tonas, ismir2014, vocadito)
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

    Example
    -------
    >>> prepare("mirst", "corpus", "manifests")
    Traceback (most recent call last):
    speechbrain_ext.errors.ConfigError: unknown corpus mirst: use one of \
mir_st500, n20emv2, tonas, ismir2014, vocadito
    """
    function = _find(name).prepare
    known = list(signature(function).parameters)[2:]
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
    OutputError
        If the folder cannot be written.
    """
    return _find(name).download(data_dir)


def _find(name: str) -> Entry:
    """Look a corpus up."""
    if name not in CORPORA:
        raise ConfigError(
            f"unknown corpus {name}: use one of {', '.join(CORPORA)}"
        )
    return CORPORA[name]
