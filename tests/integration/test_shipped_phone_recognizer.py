"""The shipped model of sung phones: alignment of songs it has not heard.

The songs are synthetic; recordings of people are in `tests/realdata`.
"""

import numpy as np
import pytest

from data_prep.minisinging.clip import render_clip
from speechbrain_ext.inference.aligner import doubt
from speechbrain_ext.lyrics.acoustic import PhoneModel, load_acoustic
from speechbrain_ext.lyrics.align import align, lines_of
from speechbrain_ext.lyrics.dataset import pronunciations, timed_words
from speechbrain_ext.lyrics.lexicon import Lexicon

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


def aligned(acoustic, wav, clip, words):
    """Words of a clip, and what speaks against them."""
    heard = acoustic.posteriorgram(wav, clip.sample_rate)
    given = (
        lines_of(word.word for word in words),
        Lexicon(own=pronunciations(words)),
    )
    found = align(heard, *given)
    return found, doubt(heard, found, *given)


def late(acoustic, songs, sound):
    """By how much each word is late, s; and how many songs are in doubt."""
    errors, doubts = [], 0
    for clip, words in songs:
        wav = clip.voice if sound == "voice" else clip.mix
        found, warning = aligned(acoustic, wav, clip, words)
        errors += [
            two.onset - one.onset for one, two in zip(words, found, strict=True)
        ]
        doubts += warning is not None
    return np.array(errors), doubts


def test_it_is_a_model_of_ours(acoustic):
    assert isinstance(acoustic, PhoneModel)
    assert acoustic.name == "phone_recognizer"


def test_words_of_a_voice_alone(acoustic, songs):
    errors, doubts = late(acoustic, songs, "voice")
    assert np.median(np.abs(errors)) < 0.06
    assert np.mean(np.abs(errors) <= 0.3) >= 0.95
    assert abs(np.median(errors)) < 0.03
    assert doubts <= 0.15 * len(songs)


def test_words_of_an_accompanied_voice(acoustic, songs):
    errors, _ = late(acoustic, songs, "mix")
    assert np.median(np.abs(errors)) < 0.15


def test_words_of_another_song_are_in_doubt(acoustic, songs):
    clips = [clip for clip, _ in songs]
    others = [words for _, words in songs]
    swapped = zip(clips, others[1:] + others[:1], strict=True)
    doubts = [
        aligned(acoustic, clip.voice, clip, words[:12])[1] is not None
        for clip, words in swapped
    ]
    assert np.mean(doubts) >= 0.6
