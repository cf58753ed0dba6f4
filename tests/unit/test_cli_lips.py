"""`singbrain transcribe` with a singer to be seen."""

import numpy as np
import pytest
import torch

from data_prep.minisinging import render_clip
from speechbrain_ext import cli
from speechbrain_ext.audio import write_audio
from speechbrain_ext.formats import read_notes
from speechbrain_ext.inference.model_folder import (
    export_model,
    load_hyperparams,
)
from speechbrain_ext.video import write_crops

MODEL = """
model_name: tiny
sample_rate: 16000
chunk_s: 5.0
encoder: !new:speechbrain_ext.encoders.two_stream.TwoStreamEncoder
  audio: !new:speechbrain_ext.encoders.spectral.HarmonicEncoder
    channels: 16
    front_channels: [2, 2, 2]
    harmonics: [1, 2]
    low: 48
    n_pitches: 24
    dilations: [1, 2]
  lips: !new:speechbrain_ext.encoders.lips.LipEncoder
    channels: 16
    widths: [8, 16]
    dilations: [1, 2]
  fusion: !new:speechbrain_ext.fusion.ConvolutionalFusion
    audio_size: 16
    video_size: 16
    width: 16
    dilations: [1, 2]
head: !new:speechbrain_ext.heads.MelodyHead
  input_size: 136
  low: 48
  n_pitches: 24
decoder: !new:speechbrain_ext.frames.NoteDecoder
  onset_threshold: 0.45
lip_decoder: !new:speechbrain_ext.frames.NoteDecoder
  onset_threshold: 0.45
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Folder of a model of sound and lips with random weights."""
    torch.manual_seed(1)
    hparams = load_hyperparams(MODEL)
    with torch.no_grad():
        hparams["head"].linear.bias[1] = -10  # sings everywhere
        torch.nn.init.normal_(hparams["encoder"].fusion.exit.weight)
    folder = tmp_path_factory.mktemp("models") / "tiny"
    modules = {name: hparams[name] for name in ("encoder", "head")}
    return str(export_model(folder, MODEL, modules, "# Tiny\n"))


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A song of 3 s and the mouth of its singer."""
    folder = tmp_path_factory.mktemp("song")
    clip = render_clip(2, 3.0, band=False)
    write_audio(folder / "song.wav", clip.voice, 16000)
    crops = np.random.default_rng(0).integers(1, 255, (150, 96, 96), np.uint8)
    write_crops(folder / "song.npy", crops)
    return folder


@pytest.fixture
def transcribe(model, home, tmp_path):
    def run(*arguments, file="song.wav", model=model):
        chosen = ["--model", model] if model else []
        return cli.main(
            [
                "transcribe",
                str(home / file),
                "-o",
                str(tmp_path / "out"),
                "--format",
                "csv",
                *chosen,
                *map(str, arguments),
            ]
        )

    return run


def test_each_modality_says_something_of_its_own(
    transcribe, home, tmp_path, capsys
):
    found = {}
    for modality in ("audio", "video", "both"):
        more = [] if modality == "audio" else ["--lips", home / "song.npy"]
        assert transcribe("--modality", modality, "--force", *more) == 0
        notes = read_notes(tmp_path / "out" / "song.csv")
        found[modality] = [(n.onset, n.offset, n.midi) for n in notes]
    lines = capsys.readouterr().out.splitlines()
    # The lag is told where there are two streams, then the notes.
    assert len(lines) == 4
    assert found["audio"] != found["both"] != found["video"]
    assert transcribe("--force", "--lips", home / "song.npy") == 0
    notes = read_notes(tmp_path / "out" / "song.csv")
    assert [(n.onset, n.offset, n.midi) for n in notes] == found["both"]


def test_a_video_without_face_is_only_heard(
    transcribe, home, tmp_path, write_media, noise, capsys
):
    write_media(home / "film.mp4", noise(1), video_s=1)
    assert transcribe(file="film.mp4") == 0
    _, err = capsys.readouterr()
    assert "film.mp4: no face" in err and "from the sound alone" in err
    assert (tmp_path / "out" / "film.csv").exists()
    assert transcribe("--modality", "both", "--force", file="film.mp4") == 2
    assert "no face" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--modality", "video"], "has no moving pictures"),
        (["--modality", "audio", "--late", "0.1"], "--late is of no use"),
        (["--modality", "audio", "--lips", "x.npy"], "--lips is of no use"),
        (["--lips", "nowhere.npy"], "nowhere.npy: no such file"),
        (["--late", "11"], "--late is 11 s: take -10 to 10"),
        (["--modality", "video", "--velocity"], "--velocity is read from"),
        (["--modality", "video", "--f0"], "--f0 is read from the sound"),
    ],
)
def test_bad_input_is_one_line(
    transcribe, tmp_path, capsys, arguments, message
):
    assert transcribe(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and len(err.splitlines()) == 1
    assert message in err
    assert not (tmp_path / "out").exists()


def test_a_model_of_sound_alone(transcribe, tiny_model, home, capsys):
    more = ["--lips", home / "song.npy"]
    assert transcribe(*more, model=str(tiny_model)) == 2
    assert "knows nothing of lips" in capsys.readouterr().err


def test_known_lag_is_taken_at_its_word(transcribe, home, tmp_path, capsys):
    crops = np.load(home / "song.npy")
    late = np.concatenate([np.zeros_like(crops[:10]), crops[:-10]])
    write_crops(tmp_path / "late.npy", late)
    found = []
    for file, more in (
        (home / "song.npy", ["--late", "0"]),
        (tmp_path / "late.npy", ["--late", "0.2"]),
    ):
        assert transcribe("--lips", file, "--force", *more) == 0
        notes = read_notes(tmp_path / "out" / "song.csv")
        found.append([n.onset for n in notes if 0.5 < n.onset < 2.0])
    assert found[0] == pytest.approx(found[1], abs=0.01)
    assert "mended" not in capsys.readouterr().out
