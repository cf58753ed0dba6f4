"""The shipped model of sung phones: alignment of songs it has not heard.

The songs are synthetic; recordings of people are in `tests/realdata`.
"""

import numpy as np
import pytest

from data_prep.minisinging.clip import render_clip
from speechbrain_ext.inference.aligner import LyricsAligner
from speechbrain_ext.lyrics.acoustic import PhoneModel, load_acoustic
from speechbrain_ext.lyrics.align import lines_of
from speechbrain_ext.lyrics.dataset import pronunciations, timed_words

SEEDS = range(200, 220)


@pytest.fixture(scope="module")
def acoustic():
    return load_acoustic()


@pytest.fixture(scope="module")
def songs():
    found = []
    for seed in SEEDS:
        clip = render_clip([seed, 77], 12.0, accompaniment_db=5.0)
        words = timed_words(clip.words, clip.phones)
        # A single vowel, sung without words, has no lyrics.
        if len({name for *_, name in clip.phones}) > 1:
            found.append((clip, words))
    assert len(found) >= 15
    return found


def late(acoustic, songs, sound):
    """By how much each word is late, s; and confidences."""
    errors, sure = [], []
    for clip, words in songs:
        aligner = LyricsAligner.from_hparams(own=pronunciations(words))
        aligner.acoustic = acoustic
        wav = clip.voice if sound == "voice" else clip.mix
        text = lines_of(word.word for word in words)
        found = aligner.align(wav, clip.sample_rate, text)
        errors += [
            two.onset - one.onset for one, two in zip(words, found, strict=True)
        ]
        sure.append(aligner.doubt(found))
    return np.array(errors), sure


def test_it_is_a_model_of_ours(acoustic):
    assert isinstance(acoustic, PhoneModel)
    assert acoustic.name == "phone_recognizer"


def test_words_of_a_voice_alone(acoustic, songs):
    errors, doubts = late(acoustic, songs, "voice")
    assert np.median(np.abs(errors)) < 0.06
    assert np.mean(np.abs(errors) <= 0.3) >= 0.95
    assert abs(np.median(errors)) < 0.03
    assert not any(doubts)


def test_words_of_an_accompanied_voice(acoustic, songs):
    errors, _ = late(acoustic, songs, "mix")
    assert np.median(np.abs(errors)) < 0.15


def test_words_of_another_song_are_in_doubt(acoustic, songs):
    clips = [clip for clip, _ in songs]
    others = [words for _, words in songs]
    swapped = zip(clips, others[1:] + others[:1], strict=True)
    doubts = 0
    for clip, words in swapped:
        aligner = LyricsAligner.from_hparams(own=pronunciations(words))
        aligner.acoustic = acoustic
        text = lines_of(word.word for word in words[:12])
        found = aligner.align(clip.voice, clip.sample_rate, text)
        doubts += aligner.doubt(found) is not None
    assert doubts >= 0.8 * len(clips)
