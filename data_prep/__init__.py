"""Corpora on disk to manifests: one module per corpus, one schema for all.

Beside the corpora of songs (`CORPORA`) there is material to mix with them
(`MATERIAL`): recordings of noise, noisy copies of songs, and remixes of songs
with lyrics.

`prepare` is what `singbrain prepare CORPUS DATA_DIR OUT_DIR` calls.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from inspect import signature
from pathlib import Path
from typing import NamedTuple

from data_prep import (
    dsing,
    ismir2014,
    medleyvox,
    mir1k,
    mir_st500,
    musan,
    musdb18,
    musdb18_lyrics,
    n20em,
    n20emv2,
    noise,
    remixes,
    singing_corpora,
    tonas,
    vocadito,
)
from data_prep.clips import ClipSummary
from data_prep.manifest import Summary
from data_prep.singing_corpora import VOICE_SETS
from data_prep.voice_corpus import VoiceSet, prepare_voices, tell_how
from speechbrain_ext.errors import ConfigError


class Entry(NamedTuple):
    """One corpus, or other material, of the registry.

    Arguments
    ---------
    prepare : callable
        `prepare(data_folder, output_folder, segment_s, ...) -> Summary`; other
        material is not cut into segments and gives a `ClipSummary`.
    download : callable or None
        `download(data_folder)`; raises an error that says how to get the
        corpus where it is not public. None if there is nothing to get.
    license : str
        Short name of the licence.
    url : str
        Where the corpus is described or can be had.
    """

    prepare: Callable
    download: Callable | None
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


def _voices_entry(voice_set: VoiceSet) -> Entry:
    """Registry entry of a corpus of single voices."""
    corpus = voice_set.corpus
    functions = partial(prepare_voices, voice_set), partial(tell_how, corpus)
    for function, verb in zip(functions, ("prepare", "download"), strict=True):
        function.__name__ = f"{verb}_{corpus.name}"
    return Entry(*functions, corpus.license, corpus.url)


def prepare_minisinging(
    data_folder,
    output_folder,
    layout: str = "minisinging",
    segment_s: float | None = None,
    n_jobs: int = 1,
    overwrite: bool = False,
    **writing,
) -> Summary:
    """Write the synthetic corpus, unless it is there, and its manifests.

    Arguments
    ---------
    data_folder : str or Path
        Gets the corpus; absent, empty, or written before with these options
        (with any, if none are given here).
    output_folder : str or Path
        Gets the manifests and notes.
    layout : str
        Its own layout, `minisinging` (default), or the real corpus whose
        layout is written and prepared: `mir_st500`, `n20emv2`, `tonas`,
        `ismir2014`, `mir1k`, `musdb18`, `medleyvox`, `singing_corpora`,
        `dsing` or `n20em`.
    segment_s : float, optional
        Length of a segment in seconds. Default: that of the layout.
    n_jobs : int
        Songs made, and then checked, at a time.
    overwrite : bool
        Whether other manifests may be replaced; the corpus never is.
    **writing
        For the writer in `data_prep.minisinging.corpus`: `seed`, numbers of
        songs and the like.

    Returns
    -------
    manifest.Summary

    Raises
    ------
    ConfigError
        If the layout or an option is unknown or out of range.
    OutputError
        If a folder holds something else or cannot be written.
    """
    from data_prep.minisinging.corpus import LAYOUTS, MARKER
    from data_prep.minisinging.native import prepare_native

    layouts = [name for name in LAYOUTS if name in CORPORA]
    if layout not in layouts:
        raise ConfigError(
            f"minisinging has no layout {layout}: use {', '.join(layouts)}"
        )
    known = list(signature(LAYOUTS[layout]).parameters)[1:]
    _check_options(f"minisinging as {layout}", writing, known)
    if writing or not (Path(data_folder) / MARKER).is_file():
        LAYOUTS[layout](data_folder, n_jobs=n_jobs, **writing)
    own = layout == "minisinging"
    function = prepare_native if own else CORPORA[layout].prepare
    length = {} if segment_s is None else {"segment_s": segment_s}
    return function(
        data_folder,
        output_folder,
        n_jobs=n_jobs,
        overwrite=overwrite,
        **length,
    )


CORPORA: dict[str, Entry] = {
    module.CORPUS.name: _entry(module)
    for module in (
        mir_st500,
        n20emv2,
        tonas,
        ismir2014,
        vocadito,
        mir1k,
        musdb18,
        musdb18_lyrics,
        medleyvox,
        dsing,
        n20em,
    )
}
CORPORA |= {name: _voices_entry(row) for name, row in VOICE_SETS.items()}
CORPORA["singing_corpora"] = _entry(singing_corpora)
CORPORA["minisinging"] = Entry(prepare_minisinging, None, "Apache-2.0", "")
MATERIAL: dict[str, Entry] = {
    "musan": _entry(musan),
    "noise": Entry(noise.prepare_noise, None, "that of the songs", ""),
    "remixes": Entry(remixes.prepare_remixes, None, "that of the songs", ""),
}


def prepare(name: str, data_dir, out_dir, **options) -> Summary | ClipSummary:
    """Prepare a corpus or other material.

    Arguments
    ---------
    name : str
        A name of `CORPORA` or `MATERIAL`.
    data_dir : str or Path
        Folder of the corpus; for `noise` and `remixes`, a manifest.
    out_dir : str or Path
        Folder for what is made; made if it does not exist.
    **options
        For the corpus's own function: `segment_s`, `n_jobs`, `overwrite` and
        what else it takes.

    Returns
    -------
    manifest.Summary or clips.ClipSummary

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
mir_st500, n20emv2, tonas, ismir2014, vocadito, mir1k, musdb18, \
musdb18_lyrics, ...
    """
    function = _find(name).prepare
    known = list(signature(function).parameters)[2:]
    if "writing" not in known:  # else the options depend on the layout
        _check_options(name, options, known)
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
        If the corpus is unknown, or made and not downloaded.
    ManifestError
        If it is not public: with the way to get it.
    DependencyError
        If the site cannot be reached or sends a damaged file.
    OutputError
        If the folder cannot be written.
    """
    function = _find(name).download
    if function is None:
        raise ConfigError(f"{name} is made, not downloaded: prepare it")
    return function(data_dir)


def _find(name: str) -> Entry:
    """Look a corpus up."""
    known = CORPORA | MATERIAL
    if name not in known:
        raise ConfigError(
            f"unknown corpus {name}: use one of {', '.join(known)}"
        )
    return known[name]


def _check_options(name: str, options: dict, known: list[str]) -> None:
    """Refuse options that nothing takes."""
    for key in options:
        if key not in known:
            raise ConfigError(
                f"{name} has no option {key}: use {', '.join(known)}"
            )
