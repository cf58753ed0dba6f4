"""Model folders and transcription in bounded memory."""

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file, save_file

from speechbrain_ext.errors import (
    AudioError,
    ConfigError,
    ModelError,
    OutputError,
)
from speechbrain_ext.inference import model_folder
from speechbrain_ext.inference.model_folder import (
    export_model,
    find_model,
    load_hyperparams,
    load_model,
)
from speechbrain_ext.inference.transcriber import Transcriber
from speechbrain_ext.notes import NoteSequence


@pytest.fixture(scope="module")
def transcriber(tiny_model):
    return Transcriber.from_hparams(tiny_model)


@pytest.fixture
def copy(tiny_model, tmp_path):
    """A copy of the model folder to break."""
    folder = tmp_path / "copy"
    folder.mkdir()
    for file in tiny_model.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


@pytest.fixture(scope="module")
def song(tmp_path_factory, noise):
    """22.33 s in stereo at 44.1 kHz."""
    path = tmp_path_factory.mktemp("songs") / "song.wav"
    soundfile.write(path, noise(22.33, 44100, 2), 44100, subtype="FLOAT")
    return path


def test_chunked_is_whole(transcriber, song):
    seconds = []
    logits = transcriber.logits_file(song, seconds.append)
    # floor(22.33 s x 50); chunks of 4 s.
    assert logits.shape == (1116, 63)
    assert logits.dtype == np.float32
    assert seconds == [4.0, 8.0, 12.0, 16.0, 20.0, 22.32]
    wav, rate = soundfile.read(song, dtype="float32")
    whole = Transcriber(
        transcriber.encoder,
        transcriber.head,
        transcriber.decoder,
        chunk_s=60,
    ).logits(wav, rate)
    assert whole.shape == logits.shape
    assert np.abs(whole - logits).max() < 1e-4


def test_notes_of_file_and_signal_agree(transcriber, song):
    notes = transcriber.transcribe_file(song)
    assert isinstance(notes, NoteSequence)
    assert len(notes) > 0
    wav, rate = soundfile.read(song, dtype="float32")
    assert transcriber.transcribe(wav, rate) == notes
    assert transcriber.transcribe(torch.from_numpy(wav), rate) == notes


def test_velocities_on_request(transcriber, song, noise):
    notes = transcriber.transcribe_file(song)
    assert {note.velocity for note in notes} == {None}
    found = transcriber.transcribe_file(song, velocity=True)
    assert np.array_equal(found.intervals, notes.intervals)
    # White noise is always equally loud.
    assert all(105 <= note.velocity <= 119 for note in found)
    # A second half 20 dB softer has velocities 40 lower.
    wav = noise(8)[:, 0]
    wav[4 * 16000 :] *= 0.1
    found = transcriber.transcribe(wav, 16000, velocity=True)
    loud = [n.velocity for n in found if n.offset < 4]
    soft = [n.velocity for n in found if n.onset > 4]
    assert np.median(loud) - np.median(soft) == pytest.approx(40, abs=2)


def test_analysis_is_the_same_streamed_and_in_memory(transcriber, tmp_path):
    # 25.01 s in blocks of 10 s: as many levels as frames, 1250.
    generator = np.random.default_rng(1)
    wav = generator.uniform(-1, 1, 25 * 16000 + 160).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", wav, 16000, subtype="FLOAT")
    streamed = transcriber.analyse_file(tmp_path / "a.wav")
    whole = transcriber.analyse(wav, 16000)
    assert len(streamed.posteriors) == len(streamed.levels) == 1250
    assert np.array_equal(streamed.levels, whole.levels)
    frames = wav[: 1250 * 320].reshape(1250, 320).astype(np.float64)
    expected = np.sqrt((frames**2).mean(axis=1))
    assert streamed.levels == pytest.approx(expected)
    assert len(transcriber.analyse(np.zeros(319), 16000).levels) == 0


def test_contour(melody_model, noise):
    singer = Transcriber.from_hparams(melody_model)
    said = singer.analyse(noise(2), 16000).posteriors
    contour = singer.f0(said)
    assert len(contour) == 100
    voiced = said.voicing >= 0.5
    assert 0 < voiced.sum() < 100
    assert np.array_equal(contour.midi > 0, voiced)
    assert contour.midi[voiced] == pytest.approx(said.f0[voiced])


def test_continuous_pitch(melody_model, noise):
    plain = Transcriber.from_hparams(melody_model).transcribe(noise(4), 16000)
    exact = Transcriber.from_hparams(
        melody_model, overrides={"decoder": {"pitch": "continuous"}}
    ).transcribe(noise(4), 16000)
    assert np.array_equal(exact.intervals, plain.intervals)
    assert np.array_equal(plain.midi, np.rint(plain.midi))
    assert 0 < np.abs(exact.midi - plain.midi).max() < 0.5


def test_models_without_fundamental_frequency(transcriber, tiny_model):
    says = "gives no fundamental frequency, which "
    said = transcriber.posteriors(np.zeros((5, 63), np.float32))
    with pytest.raises(ModelError, match=f"{says}an F0 contour needs: use"):
        transcriber.f0(said)
    with pytest.raises(ModelError, match=f"{says}--bends needs"):
        transcriber.require_f0("--bends")
    settings = {"pitch": "continuous"}
    with pytest.raises(ModelError, match=f"{says}continuous pitch needs"):
        Transcriber.from_hparams(tiny_model, overrides={"decoder": settings})
    settings["method"] = "published"
    with pytest.raises(ConfigError, match="'published' gives semitones"):
        Transcriber.from_hparams(tiny_model, overrides={"decoder": settings})


def test_mode_of_the_weights(transcriber):
    assert not transcriber.encoder.training
    logits = transcriber.logits(np.zeros(16000), 16000)
    assert torch.from_numpy(logits).requires_grad is False


def test_less_than_a_frame(transcriber):
    assert transcriber.logits(np.zeros(319), 16000).shape == (0, 63)
    assert transcriber.transcribe(np.zeros(319), 16000) == NoteSequence()


@pytest.mark.parametrize(
    "wav, says",
    [
        (np.zeros(0), r"shape \(0,\)"),
        (np.zeros((1, 2, 3)), r"shape \(1, 2, 3\)"),
        (np.array([0, np.nan]), "not finite"),
    ],
)
def test_bad_signals(transcriber, wav, says):
    with pytest.raises(AudioError, match=says):
        transcriber.transcribe(wav, 16000)


def test_overrides(tiny_model):
    changed = Transcriber.from_hparams(
        tiny_model, overrides={"decoder": {"rescue_s": None}, "chunk_s": 2}
    )
    assert changed.decoder.rescue_s is None
    assert changed.decoder.onset_threshold == 0.4
    assert changed.chunk_s == 2
    with pytest.raises(ConfigError, match="no key 'decode'"):
        Transcriber.from_hparams(tiny_model, overrides={"decode": {}})
    with pytest.raises(ConfigError, match="onset_threshold is 2"):
        Transcriber.from_hparams(
            tiny_model, overrides={"decoder": {"onset_threshold": 2}}
        )


def test_unknown_device(tiny_model):
    with pytest.raises(ConfigError, match="device 'gramophone'"):
        Transcriber.from_hparams(tiny_model, device="gramophone")


def test_shipped_models_are_found_beside_or_inside_the_package(
    tiny_model, tmp_path, monkeypatch
):
    package = tmp_path / "speechbrain_ext"
    here = package / "inference" / "model_folder.py"
    monkeypatch.setattr(model_folder, "__file__", str(here))
    with pytest.raises(ModelError, match="'tiny' is not installed"):
        find_model(kind="tiny")
    beside = tmp_path / "pretrained" / "tiny"
    inside = package / "pretrained" / "tiny"
    for folder in (beside, inside):
        folder.mkdir(parents=True)
        (folder / "hyperparams.yaml").touch()
        assert find_model(kind="tiny") == folder.resolve()
        assert find_model("tiny") == folder.resolve()
    assert find_model(tiny_model) == tiny_model


def test_no_model_there(tmp_path):
    with pytest.raises(ModelError, match="no such model folder"):
        find_model(tmp_path / "missing")
    with pytest.raises(ModelError, match=r"holds no hyperparams\.yaml"):
        find_model(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(ModelError, match="is a file"):
        find_model(tmp_path / "file")


@pytest.mark.parametrize(
    "old, new, says",
    [
        ("encoder: !new:", "encoder: !new:os.system #", "line 5 asks for"),
        ("tiny", "!apply:os.getcwd", "line 1 uses !apply:os.getcwd"),
        ("tiny", "!!python/name:os.system", "uses !!python/name:os.system"),
        ("tiny", "!name:os.system", "uses !name:os.system"),
        ("tiny", "!include:/etc/passwd", "uses !include"),
        ("tiny", "!ref <width> * 2", "only refer to a key"),
        ("tiny", "!ref <weight>", "unknown key 'weight'"),
        ("tiny", "!ref <model_name>", "'model_name' refers to itself"),
        ("tiny", "&a [1]\nother: *a", "used twice by an alias"),
        ("tiny", "[", "is not valid YAML at line"),
        ("tiny", "[" * 5000, "is not valid YAML"),
        ("tiny", "a\nmodel_name: b", "repeats the key 'model_name'"),
        ("sample_rate: 16000", "", "no usable 'sample_rate'"),
        ("16000", "8000", "works at 8000 Hz but its encoder at 16000"),
        ("chunk_s: 4", "chunk_s: soon", "no usable 'chunk_s'"),
        ("chunk_s: 4", "chunk_s: 0", "must be positive"),
        ("front_channels", "channel", "cannot build HarmonicEncoder"),
        ("0.4", "4", "line 14 cannot build NoteDecoder: onset_threshold is 4"),
        ("head:", "tail:", "no usable 'head'"),
        ("decoder:", "note_decoder:", "no usable 'decoder'"),
        ("[2, 2, 4]", "[2, 2, 3]", r"has shape \(\d+.*instead of"),
        (
            "spectral.HarmonicEncoder",
            "ssl.SSLEncoder\n  source: hub/model",
            "sets 'source'",
        ),
    ],
)
def test_refused_hyperparams(copy, old, new, says):
    path = copy / "hyperparams.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ModelError, match=says) as caught:
        Transcriber.from_hparams(copy)
    assert "\n" not in str(caught.value)


def test_nothing_runs_before_everything_is_checked(monkeypatch):
    monkeypatch.setattr(
        model_folder.importlib, "import_module", lambda name: 1 / 0
    )
    with pytest.raises(ModelError, match="line 2 asks for !new:os.system"):
        load_hyperparams(
            "decoder: !new:speechbrain_ext.frames.NoteDecoder\n"
            "x: [{y: !new:os.system {command: ls}}]\n"
        )


def test_values_as_in_hyperpyyaml():
    hparams = load_hyperparams(
        "a: 1e-3\nb: !ref <a>\nc: [1, {d: null}]\ne: 'on'\nf: true"
    )
    assert hparams == {
        "a": 0.001,
        "b": 0.001,
        "c": [1, {"d": None}],
        "e": "on",
        "f": True,
    }


def test_a_reference_gives_the_same_object():
    hparams = load_hyperparams(
        "a: !new:speechbrain_ext.frames.NoteDecoder {}\nb: !ref <a>\n"
    )
    assert hparams["a"] is hparams["b"]


def test_weights_must_fit(copy):
    path = copy / "model.safetensors"
    tensors = load_file(path)
    bias = tensors.pop("head.linear.bias")
    tensors["head.linear.bios"] = bias
    save_file(tensors, path)
    with pytest.raises(
        ModelError,
        match="head.linear.bias is missing; head.linear.bios is unknown",
    ):
        load_model(copy, ("encoder", "head"))
    del tensors["head.linear.bios"]
    save_file({**tensors, "head.linear.bias": bias[:5]}, path)
    with pytest.raises(ModelError, match=r"shape \(5,\) instead of \(63,\)"):
        load_model(copy, ("encoder", "head"))
    save_file({**tensors, "head.linear.bias": bias * np.nan}, path)
    with pytest.raises(ModelError, match="bias holds values that are not"):
        load_model(copy, ("encoder", "head"))
    path.write_bytes(b"\x80\x04no pickles, please")
    with pytest.raises(ModelError, match="not a safetensors file"):
        load_model(copy, ("encoder", "head"))
    path.unlink()
    with pytest.raises(ModelError, match="has no weights"):
        load_model(copy, ("encoder", "head"))


def test_export_and_load_give_the_same_model(tiny_model, tmp_path):
    hparams = load_model(tiny_model, ("encoder", "head"))
    modules = {name: hparams[name] for name in ("encoder", "head")}
    text = (tiny_model / "hyperparams.yaml").read_text()
    folder = export_model(tmp_path / "again", text, modules, "# Again\n")
    assert sorted(p.name for p in folder.iterdir()) == [
        "README.md",
        "hyperparams.yaml",
        "model.safetensors",
    ]
    for name in ("hyperparams.yaml", "model.safetensors"):
        again = (folder / name).read_bytes()
        assert again == (tiny_model / name).read_bytes()
    assert (folder / "README.md").read_text() == "# Again\n"


def test_export_is_all_or_nothing(tiny_model, tmp_path):
    hparams = load_model(tiny_model, ("encoder", "head"))
    modules = {name: hparams[name] for name in ("encoder", "head")}
    text = (tiny_model / "hyperparams.yaml").read_text()
    folder = tmp_path / "model"
    with pytest.raises(ModelError):
        export_model(folder, "encoder: 1", modules, "")
    assert not list(tmp_path.iterdir())
    export_model(folder, text, modules, "old")
    with pytest.raises(OutputError, match="exists already"):
        export_model(folder, text, modules, "new")
    with pytest.raises(ModelError):
        export_model(folder, "encoder: 1", modules, "new", overwrite=True)
    assert (folder / "README.md").read_text() == "old"
    export_model(folder, text, modules, "new", overwrite=True)
    assert (folder / "README.md").read_text() == "new"
    (folder / "diary.txt").touch()
    with pytest.raises(OutputError, match=r"holds diary\.txt"):
        export_model(folder, text, modules, "newer", overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_an_ssl_encoder_travels_with_its_configuration(tmp_path):
    pytest.importorskip("transformers")
    text = """\
sample_rate: 16000
encoder: !new:speechbrain_ext.encoders.ssl.SSLEncoder
  source: null
  config:
    model_type: wav2vec2
    hidden_size: 8
    num_hidden_layers: 1
    num_attention_heads: 2
    intermediate_size: 8
    conv_dim: [4, 4, 4, 4, 4, 4, 4]
    num_conv_pos_embeddings: 4
    num_conv_pos_embedding_groups: 2
head: !new:speechbrain_ext.heads.NoteHead {input_size: 8}
decoder: !new:speechbrain_ext.frames.NoteDecoder
"""
    hparams = load_hyperparams(text)
    modules = {name: hparams[name] for name in ("encoder", "head")}
    folder = export_model(tmp_path / "ssl", text, modules, "")
    transcriber = Transcriber.from_hparams(folder)
    wav = np.random.default_rng(0).uniform(-1, 1, 7 * 16000)
    with torch.inference_mode():
        feats = modules["encoder"].eval()(torch.tensor(wav).float()[None])
        expected = modules["head"](feats)[0].numpy()
    logits = transcriber.logits(wav, 16000)
    assert logits.shape == (350, 63)
    assert np.abs(logits - expected).max() < 1e-5
