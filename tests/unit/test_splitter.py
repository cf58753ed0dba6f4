"""Splitting a person's own recordings, by the class and by the command."""

import json
import os
import shutil

import numpy as np
import pytest
import soundfile
import torch
from torch import nn

from benchmarks.singers_oracle import RATE, choir, oracle_separator, people
from speechbrain_ext.audio import audio_info, resample
from speechbrain_ext.cli import main
from speechbrain_ext.errors import AudioError, ConfigError, ModelError
from speechbrain_ext.inference.model_folder import (
    export_model,
    load_hyperparams,
)
from speechbrain_ext.inference.singer_stitching import Stitching
from speechbrain_ext.inference.splitter import SingerSplitter
from speechbrain_ext.separation.separator import MaskSeparator

MODEL = """\
model_name: tiny-singers
sample_rate: 16000
separator: !new:speechbrain_ext.separation.separator.MaskSeparator
  sources: [one, two]
  sample_rate: !ref <sample_rate>
  n_fft: 512
  hop_length: 128
  window: sqrt_hann
  network: !new:speechbrain_ext.separation.tasnet.ConvTasNet
    n_bins: 257
    n_blocks: 2
    n_repeats: 1
    channels: 4
    hidden: 8
    skip: 4
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.manual_seed(1)
    modules = {"separator": load_hyperparams(MODEL)["separator"]}
    folder = tmp_path_factory.mktemp("models") / "singers"
    return export_model(folder, MODEL, modules, "# Tiny\n")


@pytest.fixture(scope="module")
def splitter(model):
    return SingerSplitter.from_hparams(
        model, stitching=Stitching(window_s=2.0, hop_s=1.5)
    )


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty current folder."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def tree(folder):
    """Files below a folder."""
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file()
    )


@pytest.mark.parametrize(
    "shape, rate",
    [
        ((1,), 44100),
        ((3, 2), 8000),
        ((40000,), 16000),
        ((200000, 2), 44100),
        ((60000, 1), 8000),
    ],
)
def test_voices_add_up_at_any_rate(splitter, shape, rate):
    wav = np.random.default_rng(0).uniform(-0.5, 0.5, shape).astype("f4")
    voices, told = splitter.split(wav, rate)
    assert voices.shape == (2, *shape) and voices.dtype == np.float32
    assert np.abs(voices.sum(0) - wav).max() < 1e-6
    channels = shape[1] if len(shape) == 2 else 1
    assert told[:3] == (pytest.approx(len(wav) / rate), rate, channels)


def test_the_level_is_kept():
    voices = choir(0, seconds=5.0)
    splitter = SingerSplitter(oracle_separator(voices))
    out, _ = splitter.split(voices.sum(0), RATE)
    levels = np.sort((out**2).mean(1))
    assert levels == pytest.approx(np.sort((voices**2).mean(1)), rel=1e-3)


def test_channels_share_a_mask():
    """Each singer stays where they stand, at the recording's own rate."""
    voices = choir(0, seconds=9.0)
    pans = np.array([[0.9, 0.2], [0.1, 0.8]], np.float32)
    places = np.stack([resample(v, RATE, 44100) for v in voices])
    stereo = np.einsum("vs,vc->sc", places, pans)

    class Fixed(nn.Module):
        """Masks by the magnitudes of voices that sound as heard in mono."""

        context_frames = 0

        def __init__(self, codec):
            super().__init__()
            gains = torch.from_numpy(pans.mean(1))[:, None]
            self.spec = codec(torch.from_numpy(voices) * gains).abs()

        def forward(self, spec):
            length = min(spec.shape[1], self.spec.shape[1])
            power = self.spec[:, :length] ** 2 + 1e-9
            masks = torch.full((1, 2, *spec.shape[1:]), 0.5)
            masks[0, :, :length] = power / power.sum(0)
            return masks

    made = oracle_separator(voices)
    made.network = Fixed(made.codec)
    splitter = SingerSplitter(made, Stitching(window_s=60.0, hop_s=40.0))
    out, _ = splitter.split(stereo, 44100)
    for voice, pan in zip(out, pans, strict=True):
        left, right = voice.T
        ratio = left.std() / right.std()
        assert ratio == pytest.approx(pan[0] / pan[1], rel=0.35)


def test_the_main_voice_is_first():
    voices = choir(1, seconds=6.0)
    voices[0] *= 0.1
    for seed in range(4):
        splitter = SingerSplitter(
            oracle_separator(voices, seed=seed), mode="main"
        )
        out, told = splitter.split(voices.sum(0), RATE)
        assert np.abs(out[0] - voices[1]).max() < 1e-3
        assert told.levels_db[0] == 0 > told.levels_db[1]


class Share(nn.Module):
    """Masks that are one number for each output."""

    context_frames = 0

    def __init__(self, *shares):
        super().__init__()
        self.shares = torch.tensor(shares)

    def forward(self, spec):
        return self.shares.view(1, -1, 1, 1) * torch.ones(spec.shape)[:, None]


@pytest.mark.parametrize(
    "shares, says",
    [
        ((0.5, 0.5), "singer1 and singer2 seem to be one voice"),
        ((0.8, 0.2), "likeness 1.00"),
        ((1.0, 0.001), "singer2 is nearly silent (-60 dB)"),
    ],
)
def test_one_voice_is_told_of(noise, shares, says):
    made = MaskSeparator(Share(*shares), ["a", "b"], RATE)
    _, told = SingerSplitter(made, add_up=False).split(noise(3)[:, 0], RATE)
    assert len(told.warnings) == 1 and says in told.warnings[0]
    assert "there may be fewer singers" in told.warnings[0]


@pytest.mark.parametrize("seed", range(3))
def test_two_voices_are_not_one(seed):
    voices = choir(seed, "duet", seconds=8.0)
    splitter = SingerSplitter(oracle_separator(voices))
    _, told = splitter.split(voices.sum(0), RATE)
    assert told.warnings == [] and told.likeness[0, 1] < 0.8
    assert told.one_voice[0, 1] < 0.2


def test_a_unison_may_be_told_of_as_such():
    """Its pitch is one, so what is said names it."""
    lines = []
    for seed in range(3):
        voices = choir(seed, "unison", seconds=8.0)
        splitter = SingerSplitter(oracle_separator(voices))
        lines += splitter.split(voices.sum(0), RATE)[1].warnings
    assert lines
    for line in lines:
        assert "seem to be one voice (same pitch" in line
        assert line.endswith("or they sing in unison or in turn")


def test_the_order_of_three_moves_all_that_is_told():
    voices = people(["bass", "alto", "soprano"], seed=2, seconds=8.0)
    voices = (
        voices
        * np.array([[0.01], [0.05], [0.02]])
        / voices.std(1, keepdims=True)
    )
    voices = voices.astype(np.float32)
    oracle = oracle_separator(voices, shuffle=False)
    plain = SingerSplitter(oracle).split(voices.sum(0), RATE)[1]
    main = SingerSplitter(oracle, mode="main").split(voices.sum(0), RATE)[1]
    order = np.argsort(-plain.levels_db, kind="stable")
    assert order.tolist() == [1, 2, 0]
    assert np.allclose(main.levels_db, plain.levels_db[order])
    for name in ("likeness", "one_voice"):
        before, after = getattr(plain, name), getattr(main, name)
        assert np.allclose(after, before[np.ix_(order, order)])


def test_file_and_signal_agree(splitter, noise, tmp_path):
    wav = noise(7, 44100, 2)
    soundfile.write(tmp_path / "a.wav", wav, 44100, subtype="FLOAT")
    seconds = []
    outputs = {
        tmp_path / "second.flac": "singer2",
        tmp_path / "first.wav": "singer1",
    }
    told = splitter.split_file(
        tmp_path / "a.wav", outputs, progress=seconds.append
    )
    assert told[:3] == (7.0, 44100, 2)
    assert seconds == sorted(seconds) and seconds[-1] == pytest.approx(
        7.0, abs=0.1
    )
    voices, _ = splitter.split(wav, 44100)
    second, first = (soundfile.read(path)[0] for path in outputs)
    assert np.abs(first - voices[0]).max() < 1e-6
    assert np.abs(second - voices[1]).max() < 2**-22
    assert audio_info(tmp_path / "first.wav").subtype == "FLOAT"


def test_nothing_is_half_written(splitter, noise, tmp_path, monkeypatch):
    soundfile.write(tmp_path / "a.wav", noise(9), 16000)
    calls = []
    masks = splitter.separator.masks

    def broken(spec):
        calls.append(1)
        if len(calls) == 3:
            raise AudioError("broken in the middle")
        return masks(spec)

    monkeypatch.setattr(splitter.separator, "masks", broken)
    with pytest.raises(AudioError, match="in the middle"):
        splitter.split_file(tmp_path / "a.wav", {tmp_path / "b.wav": "singer1"})
    assert tree(tmp_path) == ["a.wav"]


def test_no_numbers(splitter):
    wav = np.full(16000, 3e38, np.float32)
    wav[::2] *= -1
    with pytest.raises(AudioError, match="the model finds no numbers"):
        splitter.split(wav, 16000)


def test_wrong_models(model, tiny_separator, tmp_path):
    with pytest.raises(ConfigError, match="tells 2 voices apart, not 3"):
        SingerSplitter.from_hparams(model, singers=3)
    with pytest.raises(ConfigError, match="mode is 'choir'"):
        SingerSplitter.from_hparams(model, mode="choir")
    with pytest.raises(ModelError, match="sources are vocals, accompaniment"):
        SingerSplitter.from_hparams(tiny_separator)
    folder = tmp_path / "other"
    shutil.copytree(model, folder)
    text = MODEL.replace("sample_rate: 16000\n", "sample_rate: 8000\n", 1)
    text = text.replace("!ref <sample_rate>", "16000")
    (folder / "hyperparams.yaml").write_text(text)
    with pytest.raises(ModelError, match="works at 8000 Hz but its separator"):
        SingerSplitter.from_hparams(folder)
    with pytest.raises(ModelError, match="gives waveforms and no masks"):
        SingerSplitter(nn.Identity())


# --- the command -----------------------------------------------------------


@pytest.fixture
def songs(tmp_path, noise):
    """Recordings: songs/a.wav and songs/b.flac."""
    folder = tmp_path / "songs"
    folder.mkdir()
    soundfile.write(folder / "a.wav", noise(3, 22050, 2), 22050)
    soundfile.write(folder / "b.flac", noise(1), 16000)
    return folder


@pytest.fixture
def split(model):
    """Run the command with random weights."""

    def run(*arguments):
        return main(["split", "--model", str(model), *map(str, arguments)])

    return run


def error_line(capsys):
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    assert err.startswith("singbrain: error: ")
    return err


def test_split_a_folder(home, songs, split, capsys):
    assert split(songs, "-o", "out", "--singers", "2") == 0
    assert tree(home) == [
        "out/a_singer1.wav",
        "out/a_singer2.wav",
        "out/b_singer1.wav",
        "out/b_singer2.wav",
    ]
    out, _ = capsys.readouterr()
    assert out.splitlines()[0] == (
        "a.wav: 3.0 s, 22050 Hz, 2 channels -> "
        f"{os.path.join('out', 'a_singer1.wav')}, "
        f"{os.path.join('out', 'a_singer2.wav')}"
    )
    voices = [soundfile.read(home / "out" / f"a_singer{k}.wav") for k in (1, 2)]
    song, _ = soundfile.read(songs / "a.wav")
    assert {rate for _, rate in voices} == {22050}
    assert np.abs(sum(wav for wav, _ in voices) - song).max() < 1e-4
    assert split(songs, "-o", "out") == 2
    assert "3 more exist already" in error_line(capsys)
    assert split(songs, "-o", "out", "--force", "--quiet") == 0


@pytest.mark.parametrize("way", ["global", "ola", "ola_norm", "sf_chunk"])
def test_split_in_every_way(home, songs, split, way):
    arguments = ["--stitching", way, "--window", "2", "--mode", "main"]
    assert split(songs / "a.wav", *arguments, "--batch", "2", "--quiet") == 0
    voices = [soundfile.read(home / f"a_singer{k}.wav")[0] for k in (1, 2)]
    song, _ = soundfile.read(songs / "a.wav")
    assert np.abs(sum(voices) - song).max() < 1e-4
    assert np.std(voices[0]) >= np.std(voices[1])


def test_split_with_an_encoder(home, songs, split, tmp_path):
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    config = Wav2Vec2Config(
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        conv_dim=[4] * 7,
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
    )
    Wav2Vec2Model(config).save_pretrained(tmp_path / "encoder")
    arguments = ["--encoder", tmp_path / "encoder", "--window", "2"]
    for way in ("w2v", "w2v_chunk"):
        assert split(songs / "a.wav", *arguments, "--stitching", way) == 0
        assert tree(home) == ["a_singer1.wav", "a_singer2.wav"]
        for name in tree(home):
            (home / name).unlink()


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["{songs}/c.wav"], "c.wav: no such file"),
        (["{songs}", "--singers", "3"], "tells 2 voices apart, not 3"),
        (["{songs}", "--stitching", "glue"], "stitching 'glue': use one of"),
        (["{songs}", "--stitching", "w2v"], "needs an encoder"),
        (["{songs}", "--encoder", "nix"], "nix: no such folder"),
        (["{songs}", "--vad", "ears"], "voice activity 'ears'"),
        (["{songs}", "--features", "x"], "features 'x'"),
        (["{songs}", "--window", "0"], "window_s is 0"),
        (["{songs}", "--window", "4", "--hop", "4"], "hop must be at least"),
        (["{songs}", "--batch", "0"], "batch_size is 0"),
        (["{songs}", "--mode", "trio"], "invalid choice: 'trio'"),
        (["{songs}", "--model", "nix"], "nix: no such model folder"),
        (["{songs}", "--format", "ogg"], "unknown audio format 'ogg'"),
        (["{songs}", "-o", "x.wav"], "is one for each voice: name a folder"),
        (["text.wav"], "text.wav: is not an audio or video file"),
        (["{songs}/../silent.wav"], "silent.wav: is silent: there are no voic"),
        (["{songs}/../empty.wav"], "empty.wav: contains no samples"),
    ],
)
def test_bad_input_to_split(home, songs, split, capsys, arguments, says):
    for name, length in (("silent", 8000), ("empty", 0)):
        soundfile.write(songs.parent / f"{name}.wav", np.zeros(length), 8000)
    (home / "text.wav").write_text("These are words.\n" * 99)
    arguments = [word.format(songs=songs) for word in arguments]
    if "-o" not in arguments:
        arguments += ["-o", "new"]
    assert split(*arguments) == 2
    assert says in error_line(capsys)
    assert tree(home) == ["text.wav"] and not (home / "new").exists()


@pytest.mark.parametrize("arguments", [[], ["--mode", "main"]])
def test_no_shipped_model(home, songs, capsys, monkeypatch, arguments):
    monkeypatch.setattr(
        "speechbrain_ext.inference.model_folder.__file__",
        str(home / "speechbrain_ext" / "inference" / "model_folder.py"),
    )
    assert main(["split", str(songs / "a.wav"), *arguments]) == 2
    said = error_line(capsys)
    assert "the shipped model 'singer_splitter' is not installed" in said
    assert "name a model folder" in said
    assert tree(home) == []


def test_split_warns_of_one_voice(home, split, model, capsys, monkeypatch):
    soundfile.write("solo.wav", people(["alto"], seconds=4.0)[0], RATE)
    monkeypatch.setattr(
        MaskSeparator,
        "masks",
        lambda self, spec: torch.full(
            (len(spec), 2, *spec.shape[1:]), 0.5 + 0j
        ),
    )
    assert split("solo.wav") == 0
    out, err = capsys.readouterr()
    assert err == (
        "singbrain: warning: solo.wav: singer1 and singer2 seem to be one "
        "voice (same pitch in 98 % of their tones, likeness 1.00): there may "
        "be fewer singers, or they sing in unison or in turn\n"
    )
    assert split("solo.wav", "--json", "--confidence", "--force") == 0
    out, err = capsys.readouterr()
    (song,) = json.loads(out)["songs"]
    assert song["warnings"] == [err.removeprefix("singbrain: warning: ")[:-1]]
    assert song["one_voice"][0][1] > 0.5
    assert song["likeness"][0][1] == pytest.approx(1, abs=1e-3)
    assert song["files"]["confidence"] == "solo_confidence.csv"


def test_the_confidence_track(home, songs, split, capsys):
    arguments = [songs / "a.wav", "--window", "1", "--confidence", "--json"]
    assert split(*arguments) == 0
    (song,) = json.loads(capsys.readouterr().out)["songs"]
    assert (song["seconds"], song["sample_rate"]) == (3.0, 22050)
    with open(song["files"]["confidence"]) as file:
        rows = [[float(x) for x in line.split(",")] for line in [*file][1:]]
    # From 2/3 s to 2/3 s; borders lie in the middle of what is shared.
    assert [row[0] for row in rows] == pytest.approx(song["times"], abs=1e-3)
    assert song["times"] == pytest.approx([0.83, 1.5, 2.16, 2.82], abs=0.02)
    assert [row[1] for row in rows] == pytest.approx(
        song["confidences"], abs=1e-3
    )
    assert all(0.5 <= row[1] <= 1 for row in rows)
    assert tree(home) == [
        "a_confidence.csv",
        "a_singer1.wav",
        "a_singer2.wav",
    ]
    assert split(*arguments) == 2
    assert "exist already" in capsys.readouterr().err
