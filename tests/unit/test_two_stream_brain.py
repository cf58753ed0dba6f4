"""Sound and lips together: training, export, inference, noise sweep."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hyperpyyaml import resolve_references

from speechbrain_ext import recipe
from speechbrain_ext.audio import read_audio
from speechbrain_ext.brains.transcription import run_transcription
from speechbrain_ext.brains.two_stream import TwoStreamBrain, conditions
from speechbrain_ext.errors import ConfigError, ManifestError, ModelError
from speechbrain_ext.formats import read_notes
from speechbrain_ext.inference.audio_visual import AudioVisualTranscriber
from speechbrain_ext.inference.model_folder import export_model
from speechbrain_ext.inference.robustness import (
    Condition,
    robustness_table,
    sweep,
    write_robustness_csv,
)
from speechbrain_ext.inference.transcriber import Transcriber
from speechbrain_ext.lip_datasets import seen_as
from speechbrain_ext.report.plots import robustness_curves
from speechbrain_ext.video import read_crops

RECIPE = (
    Path(__file__).parents[2] / "recipes/N20EMv2/audio_visual_transcription"
)

HARMONIC = """!new:speechbrain_ext.encoders.spectral.HarmonicEncoder
    channels: 16
    front_channels: [2, 2, 2]
    harmonics: [1, 2]
    low: 48
    n_pitches: 24
    dilations: [1, 2]
"""
LIPS = """!new:speechbrain_ext.encoders.lips.LipEncoder
    channels: 16
    widths: [8, 16]
    dilations: [1, 2]
"""
HEAD = """
head: !new:speechbrain_ext.heads.MelodyHead
  input_size: 136
  low: 48
  n_pitches: 24
"""
BOTH = f"""
encoder: !new:speechbrain_ext.encoders.two_stream.TwoStreamEncoder
  audio: {HARMONIC}
  lips: {LIPS}
  fusion: !new:speechbrain_ext.fusion.ConvolutionalFusion
    audio_size: 16
    video_size: 16
    width: 16
    dilations: [1, 2]
{HEAD}
"""
SEEN = f"""
encoder: !new:speechbrain_ext.encoders.two_stream.TwoStreamEncoder
  lips: {LIPS}
head: !new:speechbrain_ext.heads.NoteHead
  input_size: 16
lip_augment: {{audio_only: 0.0, video_only: 1.0}}
augment: {{silent_share: 0.0}}
valid_conditions: [{{modality: video}}]
loss_weights: null
start_audio_from: null
"""


@pytest.fixture(scope="module")
def rows(lip_rows):
    return lip_rows


def settings(folder, model=BOTH + "start_audio_from: null\n", extra=""):
    """Hyper-parameters of the recipe with a tiny model."""
    variant = folder / "tiny.yaml"
    variant.write_text(
        f"base: {RECIPE / 'params.yaml'}\ndata_folder: none\n"
        f"output_folder: {folder}\nnumber_of_epochs: 2\n"
        "train_loader: {batch_size: 2, num_workers: 0}\n"
        "test_loader: {batch_size: 3, num_workers: 0}\n"
        "decoder_grid: {onset_threshold: [0.3, 0.5]}\n"
        "lip_decoder_grid: {onset_threshold: [0.2, 0.4]}\n"
        f"{model}{extra}"
    )
    resolved = resolve_references(recipe.compose(variant)).getvalue()
    (folder / "hyperparams.yaml").write_text(resolved)
    return recipe.load(variant)


def run(hparams, rows, tests):
    tuning = conditions(rows[:2], hparams["valid_conditions"])
    return run_transcription(
        hparams,
        {"device": "cpu", "noprogressbar": True},
        rows,
        [row for chosen in tuning.values() for row in chosen],
        tests,
        brain_class=TwoStreamBrain,
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory, rows):
    """Hyper-parameters after a training, audio weights before it, scores."""
    folder = tmp_path_factory.mktemp("both")
    hparams = settings(folder)
    before = {
        key: value.clone()
        for key, value in hparams["encoder"].audio.state_dict().items()
    }
    results = run(hparams, rows, conditions(rows, hparams["test_conditions"]))
    return hparams, before, results


@pytest.fixture(scope="module")
def transcriber(trained):
    folder = Path(trained[0]["output_folder"]) / "model"
    return Transcriber.from_hparams(folder)


def test_training_leaves_the_frozen_encoder_bit_identical(trained):
    hparams, before, _ = trained
    encoder = hparams["encoder"]
    after = encoder.audio.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    # Starts as zeros; something has been learnt.
    assert encoder.fusion.exit.weight.abs().max() > 0


def test_test_sets_are_named_by_what_is_special(trained):
    _, _, results = trained
    assert list(results) == [
        "audio",
        "video",
        "both",
        "accompaniment-10dB-audio",
        "accompaniment-10dB-both",
    ]
    assert len(results["both"]) == 3
    log = Path(trained[0]["output_folder"]) / "train_log.txt"
    assert "valid lips_COn" in log.read_text()


def test_the_exported_model_says_what_the_brain_said(
    trained, transcriber, rows
):
    hparams, _, _ = trained
    assert isinstance(transcriber, AudioVisualTranscriber)
    assert transcriber.hears and transcriber.sees
    folder = Path(hparams["output_folder"]) / "results"
    for modality in ("audio", "video", "both"):
        crops = read_crops(rows[0]["video"])
        analysis = transcriber.analyse_media(
            rows[0]["wav"], modality, crops, mend=False
        )
        assert analysis.modality == modality
        found = transcriber.decoder_of(modality)(analysis.posteriors)
        path = folder / modality / "notes" / f"0@{modality}.csv"
        wanted = read_notes(path)
        assert len(found) == len(wanted)
        for one, other in zip(found, wanted, strict=True):
            assert one.onset == pytest.approx(other.onset, abs=1e-4)


def test_chunks_give_what_the_whole_gives(trained, transcriber, rows):
    folder = Path(trained[0]["output_folder"]) / "model"
    short = Transcriber.from_hparams(folder, overrides={"chunk_s": 0.7})
    crops = read_crops(rows[0]["video"])
    one, other = (
        model.analyse_media(rows[0]["wav"], "both", crops, mend=False)
        for model in (transcriber, short)
    )
    assert np.allclose(one.posteriors.onset, other.posteriors.onset, atol=1e-4)
    assert (one.levels == other.levels).all()


def test_pictures_may_end_before_the_sound(transcriber, rows):
    wav, crops = rows[0]["wav"], read_crops(rows[0]["video"])
    for part in (crops[:60], np.concatenate([crops, crops])):
        analysis = transcriber.analyse_media(wav, "both", part)
        assert len(analysis.posteriors) == 200
    nothing = transcriber.analyse_media(wav, "both", np.zeros_like(crops))
    alone = transcriber.analyse_media(wav, "audio")
    assert np.allclose(nothing.posteriors.onset, alone.posteriors.onset)
    plain = transcriber.analyse_file(wav)
    assert np.allclose(plain.posteriors.onset, alone.posteriors.onset)


def test_a_late_picture_is_moved(transcriber, rows):
    heard = transcriber.listen([read_audio(rows[0]["wav"], sample_rate=16000)])
    crops = read_crops(rows[0]["video"])
    late = np.concatenate([np.zeros_like(crops[:5]), crops[:-5]])
    moved = transcriber.analyse_media(rows[0]["wav"], "video", late, late_s=0.1)
    straight = transcriber.analyse_media(rows[0]["wav"], "video", crops)
    assert np.allclose(
        moved.posteriors.onset[20:150],
        straight.posteriors.onset[20:150],
        atol=1e-4,
    )
    analysis = transcriber.analyse_streams(heard, transcriber.look(crops))
    assert analysis.lag is not None


def test_lips_alone(tmp_path, rows):
    hparams = settings(tmp_path, SEEN)
    results = run(hparams, rows, {"video": seen_as(rows, "video")})
    assert list(results) == ["video"]
    model = Transcriber.from_hparams(tmp_path / "model")
    assert model.sees and not model.hears
    crops = read_crops(rows[0]["video"])
    analysis = model.analyse_media("nowhere.wav", "video", crops)
    assert len(analysis.posteriors) == 200 and analysis.levels is None
    with pytest.raises(ModelError, match="knows lips only: use video"):
        model.analyse_media(rows[0]["wav"], "both", crops)


def test_sound_may_start_from_another_model(tmp_path, rows):
    source = settings(tmp_path)
    export_model(
        tmp_path / "sound",
        f"encoder: {HARMONIC}\n{HEAD}",
        {"encoder": source["encoder"].audio, "head": source["head"]},
        "a card",
    )
    torch.manual_seed(5)
    extra = f"start_audio_from: {tmp_path / 'sound'}\n"
    hparams = settings(tmp_path, BOTH, extra)
    TwoStreamBrain.load_start(hparams)
    wanted = source["encoder"].audio.state_dict()
    found = hparams["encoder"].audio.state_dict()
    assert all(torch.equal(wanted[key], found[key]) for key in wanted)
    seen = settings(tmp_path, SEEN.replace("start_audio_from: null\n", extra))
    with pytest.raises(ConfigError, match="hears nothing"):
        TwoStreamBrain.load_start(seen)


def test_sweep_encodes_each_song_once(transcriber, rows, monkeypatch, tmp_path):
    calls = {"listen": 0, "look": 0}
    for name in calls:
        original = getattr(AudioVisualTranscriber, name)

        def counted(self, *args, name=name, original=original, **kwargs):
            calls[name] += 1
            return original(self, *args, **kwargs)

        monkeypatch.setattr(AudioVisualTranscriber, name, counted)
    noises = {"white": None, "accompaniment": None}
    results = sweep(
        transcriber, rows, noises, [-5, 5], missing=[0.25], late_s=[0.06]
    )
    # 3 songs: clean and 2 noises at 2 levels; 3 pictures.
    assert calls == {"listen": 3 * 5, "look": 3 * 3}
    # Each of 5 sounds alone and with 3 pictures; 3 pictures alone.
    assert len(results) == 5 + 5 * 3 + 3
    assert all(len(stats) == 3 for stats in results.values())
    whole = Condition("clean", None, "whole", "video")
    assert whole in results
    path = write_robustness_csv(results, tmp_path / "noise.csv")
    table = pd.read_csv(path)
    assert len(table) == 23 * 3
    chosen = table[(table.modality == "video") & (table.picture == "whole")]
    mean = results[whole].summarize("COn_f1")
    assert chosen.COn.mean() == pytest.approx(mean, abs=1e-6)
    text = robustness_table(results)
    assert len(text.splitlines()) == 25 and "mean over 3 songs" in text
    picture = robustness_curves(results, tmp_path / "noise.png")
    assert picture.stat().st_size > 10000


def test_sweep_needs_all_media(transcriber, rows):
    bare = [{**rows[0], "video": None}]
    with pytest.raises(ManifestError, match="has no video"):
        sweep(transcriber, bare, {}, [])
