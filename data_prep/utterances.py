"""Lines of lyrics, each a recording of its own: what their corpora share.

A corpus module lists its utterances and hands them to `prepare_utterances`.
Each is a song of one segment in the manifest (`data_prep.manifest`), with what
is sung as its `text`. Words have no times, so that nothing is ever cut.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from data_prep.corpus import Corpus, Song, prepare_songs
from data_prep.manifest import SPLITS, Summary
from speechbrain_ext.errors import ConfigError, ManifestError
from speechbrain_ext.lyrics.words import is_spellable, plain_words


@dataclass(frozen=True)
class Utterance:
    """One line of lyrics as a corpus lists it.

    Arguments
    ---------
    utterance_id : str
        Unique in the corpus.
    text : str
        What is sung, as the corpus writes it.
    split : str
        train, valid or test.
    wav : Path
        The line, or the recording that `make` cuts it out of.
    source : Path
        Where the text stands, for messages.
    recording : str
        What it was cut out of; none may be in two splits.
    singer : str
        Empty if unknown.
    media : dict of str to Path
        Further media of the manifest, by column.
    make : callable, optional
        See `corpus.Song`.
    """

    utterance_id: str
    text: str
    split: str
    wav: Path
    source: Path
    recording: str
    singer: str = ""
    media: dict = field(default_factory=dict)
    make: Callable | None = None


def prepare_utterances(
    corpus: Corpus,
    utterances: Sequence[Utterance],
    data_folder,
    output_folder,
    segment_s: float | None,
    options: dict,
    remarks: Sequence[str] = (),
    n_jobs: int = 1,
    overwrite: bool = False,
) -> Summary:
    """Check lines of lyrics and write their manifests.

    Those whose text holds digits or letters of other scripts, or nothing, are
    left out and counted, as Gu et al. (ACM MM 2022) leave out digits. Remarks
    tell how many lines of the test set are sung in training as well, by any
    singer, and how many singers are in several splits.

    Arguments
    ---------
    corpus : Corpus
    utterances : sequence of Utterance
    data_folder, output_folder : str or Path
        See `corpus.prepare_songs`.
    segment_s : None
        Lines cannot be cut.
    options, remarks, n_jobs, overwrite
        See `corpus.prepare_songs`.

    Returns
    -------
    Summary

    Raises
    ------
    ManifestError
        If a recording is in two splits, or nothing is left.
    ConfigError
        If `segment_s` is given.
    AudioError, OutputError
        As `corpus.prepare_songs`.
    """
    if segment_s is not None:
        raise ConfigError(
            f"segment_s is {segment_s}: the words of {corpus.name} have no "
            "times, so that lines cannot be cut: leave it out"
        )
    _check_splits(corpus, utterances)
    texts = {u.utterance_id: plain_words(u.text) for u in utterances}
    kept = [u for u in utterances if is_spellable(texts[u.utterance_id])]
    lost = len(utterances) - len(kept)
    if lost:
        remarks = [
            *remarks,
            f"{lost} of {len(utterances)} lines hold digits, letters of other "
            "scripts or no words and are left out",
        ]
    if not kept:
        raise ManifestError(
            f"{corpus.name}: none of {len(utterances)} lines can be spelled "
            "with the letters a to z: check the transcripts"
        )
    songs = [
        Song(
            u.utterance_id,
            u.wav,
            None,
            u.split,
            u.source,
            u.singer,
            u.media,
            u.make,
            {"text": texts[u.utterance_id]},
        )
        for u in kept
    ]
    return prepare_songs(
        corpus,
        songs,
        data_folder,
        output_folder,
        None,
        options,
        [*remarks, *_overlaps(kept, texts)],
        n_jobs=n_jobs,
        overwrite=overwrite,
    )


def _check_splits(corpus: Corpus, utterances: Sequence[Utterance]) -> None:
    """Refuse splits with recordings in common, and too few of them."""
    places: dict[str, Utterance] = {}
    for utterance in utterances:
        first = places.setdefault(utterance.recording, utterance)
        if first.split != utterance.split:
            raise ManifestError(
                f"{corpus.name}: recording {utterance.recording} is in two "
                f"splits: {first.utterance_id} in {first.split} and "
                f"{utterance.utterance_id} in {utterance.split}: remove one"
            )


def _overlaps(utterances, texts) -> list[str]:
    """Remarks on what splits have in common."""
    sung, singers = defaultdict(list), defaultdict(set)
    for utterance in utterances:
        sung[utterance.split].append(texts[utterance.utterance_id])
        if utterance.singer:
            singers[utterance.singer].add(utterance.split)
    remarks, known = [], set(sung["train"])
    for split in SPLITS[1:]:
        again = sum(text in known for text in sung[split])
        if again:
            remarks.append(
                f"{again} of {len(sung[split])} lines of {split} have words "
                "that a line of train has, too"
            )
    several = sum(len(splits) > 1 for splits in singers.values())
    if several:
        remarks.append(
            f"{several} of {len(singers)} singers are in more than one split"
        )
    return remarks
