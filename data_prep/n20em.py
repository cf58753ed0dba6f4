"""N20EM: English songs sung with video and motion of an earbud, by line.

Licence: not confirmed here; read it at the record before use. (Its successor
for notes, N20EMv2, has CC BY-SA 4.0.)

Citation: X. Gu, L. Ou, D. Ong and Y. Wang, "MM-ALT: A Multimodal Automatic
Lyric Transcription System", ACM MM 2022.

Layout, that of the authors' code (github.com/guxm2021/MM_ALT):

    data/<line>/downsample_audio.wav     the voice, 16 kHz
    data/<line>/downsample_accomp.wav    the accompaniment (optional)
    data/<line>/video.mp4, imu.csv       not read
    metadata_split_by_song.json: {line: {"split": train|valid|test, "lyrics":
    words}}

No song is in two splits. The metadata do not name singers in a way that the
code relies on, so that none are given here.
"""

from __future__ import annotations

from pathlib import Path

from data_prep.corpus import (
    Corpus,
    check_folder,
    find_audio,
    find_file,
    match_songs,
    read_annotations,
    subfolders,
)
from data_prep.manifest import SPLITS, Summary
from data_prep.utterances import Utterance, prepare_utterances
from data_prep.voice_corpus import tell_how
from speechbrain_ext.errors import ManifestError

CORPUS = Corpus(
    name="n20em",
    license="unconfirmed",
    terms="read the licence at the record",
    citation="Gu et al., MM-ALT: A Multimodal Automatic Lyric Transcription "
    "System, ACM MM 2022",
    url="https://zenodo.org/records/6905332",
)
METADATA = "metadata_split_by_song.json"


def prepare_n20em(
    data_folder,
    output_folder,
    segment_s: float | None = None,
    n_jobs: int = 1,
    overwrite: bool = False,
) -> Summary:
    """Write the manifests of N20EM.

    Arguments
    ---------
    data_folder : str or Path
        The corpus, in the layout of this module's docstring.
    output_folder : str or Path
        Gets `train.csv`, `valid.csv` and `test.csv`.
    segment_s : None
        Lines are not cut further.
    n_jobs : int
        Lines checked at a time.
    overwrite : bool
        Whether another preparation may be replaced.

    Returns
    -------
    Summary

    Raises
    ------
    ManifestError
        If the metadata or the audio is not found, or a line lacks its split
        or words.
    ConfigError
        If `segment_s` is given.
    AudioError, OutputError
        As `corpus.prepare_songs`.
    """
    folder = check_folder(data_folder, CORPUS)
    source = find_file([folder, folder / "data"], [METADATA])
    if source is None:
        raise ManifestError(f"{folder}: no {METADATA}: it is at {CORPUS.url}")
    lines = read_annotations(source)
    audio = {
        place.name: find_audio(place, "downsample_audio")
        for place in subfolders(folder / "data")
    }
    ids, remarks = match_songs(
        lines,
        (name for name, wav in audio.items() if wav),
        CORPUS,
        f"{folder}/data/<line>/downsample_audio.wav",
    )
    return prepare_utterances(
        CORPUS,
        [_utterance(name, lines[name], audio[name], source) for name in ids],
        folder,
        output_folder,
        segment_s,
        {},
        remarks,
        n_jobs,
        overwrite,
    )


def download_n20em(data_folder) -> None:
    """Say how to get N20EM.

    Arguments
    ---------
    data_folder : str or Path
        Where the corpus is to be put.

    Raises
    ------
    ManifestError
        Always: with its address.
    """
    tell_how(CORPUS, data_folder)


def _utterance(name: str, facts, wav: Path, source: Path) -> Utterance:
    """One line of the metadata."""
    if not isinstance(facts, dict) or not isinstance(facts.get("lyrics"), str):
        raise ManifestError(f"{source}: line {name}: has no lyrics")
    split = facts.get("split")
    if split not in SPLITS:
        raise ManifestError(
            f"{source}: line {name}: split {split!r} is none of "
            f"{', '.join(SPLITS)}"
        )
    accompaniment = find_audio(wav.parent, "downsample_accomp")
    media = {"accomp_wav": accompaniment} if accompaniment else {}
    return Utterance(name, facts["lyrics"], split, wav, source, name, "", media)
