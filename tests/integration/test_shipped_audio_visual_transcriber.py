"""The shipped model of sound and lips, on singers that it has not learnt."""

import numpy as np
import pytest

from data_prep.minisinging import render_clip, render_mouth
from speechbrain_ext.encoders.two_stream import MODALITIES
from speechbrain_ext.inference.model_folder import find_model
from speechbrain_ext.inference.transcriber import Transcriber
from speechbrain_ext.metrics.notes import evaluate_notes
from speechbrain_ext.mixing.noise import add_noise, make_noise

SONGS = 6


@pytest.fixture(scope="module")
def transcriber():
    return Transcriber.from_hparams(find_model(kind="audio_visual_transcriber"))


@pytest.fixture(scope="module")
def songs():
    """Clips, mouth pictures, and voices under a babble 10 dB louder."""
    found = []
    for k in range(SONGS):
        clip = render_clip([907, k], 10.0, band=False, noise_db=False)
        babble = make_noise("babble", len(clip.voice), seed=k)
        noisy = add_noise(clip.voice, babble, -10.0)
        found.append((clip, render_mouth(clip), noisy))
    return found


def mean_score(songs, metric, analyse, decoder):
    return np.mean(
        [
            evaluate_notes(
                clip.notes, decoder(analyse(clip, mouth, noisy).posteriors)
            )[metric].f1
            for clip, mouth, noisy in songs
        ]
    )


def heard(transcriber, wav):
    return transcriber.listen([np.asarray(wav, np.float32)])


def test_lips_alone_tell_onsets(transcriber, songs):
    def analyse(clip, mouth, noisy):
        return transcriber.analyse_streams(None, transcriber.look(mouth))

    decoder = transcriber.decoder_of("video")
    score = mean_score(songs, "COn", analyse, decoder)
    # The same for the lips of somebody else: what chance gives.
    strangers = [
        (clip, songs[(k + 1) % SONGS][1], None)
        for k, (clip, _, _) in enumerate(songs)
    ]
    chance = mean_score(strangers, "COn", analyse, decoder)
    assert score >= 0.6
    assert score >= chance + 0.25


def test_lips_help_in_babble_and_do_no_harm_without(transcriber, songs):
    def analysed(noisy, seen):
        def analyse(clip, mouth, babble):
            wav = babble if noisy else clip.voice
            look = transcriber.look(mouth) if seen else None
            return transcriber.analyse_streams(heard(transcriber, wav), look)

        return mean_score(songs, "COn", analyse, transcriber.decoder)

    assert analysed(True, True) >= analysed(True, False) + 0.25
    clean = analysed(False, False)
    assert clean >= 0.9
    assert analysed(False, True) >= clean - 0.02


def test_sound_alone_is_heard_as_by_the_transcriber(transcriber, songs):
    """Its encoder and its head are in this model, and lips add to them."""
    clip, _, noisy = songs[1]
    listener = Transcriber.from_hparams(find_model(kind="transcriber"))
    for wav in (clip.voice, noisy):
        wav = np.asarray(wav, np.float32)
        wanted = listener.analyse(wav, 16000).posteriors
        found = transcriber.analyse_streams(
            heard(transcriber, wav), None
        ).posteriors
        for name in ("onset", "silence", "pitch", "voicing"):
            there, here = getattr(wanted, name), getattr(found, name)
            assert np.allclose(there, here, atol=1e-4)


def test_without_pictures_it_is_what_it_hears(transcriber, songs):
    clip, mouth, _ = songs[0]
    sound = heard(transcriber, clip.voice)
    alone = transcriber.fuse(sound, None)
    black = transcriber.fuse(sound, transcriber.look(np.zeros_like(mouth)))
    assert np.allclose(alone, black, atol=1e-4)


def test_a_late_picture_is_found_and_mended(transcriber, songs):
    voice = np.concatenate([clip.voice for clip, _, _ in songs])
    mouth = np.concatenate([mouth for _, mouth, _ in songs])
    late = np.concatenate([np.zeros_like(mouth[:6]), mouth[:-6]])
    analysis = transcriber.analyse_streams(
        heard(transcriber, voice), transcriber.look(late)
    )
    assert analysis.lag.sure
    assert analysis.lag.lag_s == pytest.approx(0.12, abs=0.03)
    assert analysis.mended_s == pytest.approx(0.12, abs=0.03)


def test_it_offers_all_modalities(transcriber):
    for modality in MODALITIES:
        transcriber.check_modality(modality)
    assert transcriber.has_f0
