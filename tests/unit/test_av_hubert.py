"""AV-HuBERT: the architecture, and reading a checkpoint without trusting it.

The checkpoints are written here, with classes of the names that fairseq's
have, which exist only while they are written.
"""

import argparse
import os
import pickle
import re
import sys
import types
from functools import cache

import pytest
import torch

from speechbrain_ext.cli import main
from speechbrain_ext.encoders.av_hubert import (
    AVHubertEncoder,
    convert_av_hubert,
    log_filter_banks,
)
from speechbrain_ext.encoders.fairseq import read_fairseq
from speechbrain_ext.errors import (
    AudioError,
    ConfigError,
    ModelError,
    OutputError,
)

SIZES = {
    "dim": 16,
    "n_layers": 2,
    "ffn": 24,
    "n_heads": 8,
    "position_kernel": 6,
    "position_groups": 4,
}


class Pixels(torch.nn.Module):
    """In place of the network for pictures, which is tested elsewhere."""

    def encode(self, video, present):
        values = video.flatten(2)[..., :7680:15] / 255
        return values * present[..., None]


def build(**settings):
    torch.manual_seed(0)
    encoder = AVHubertEncoder(**{**SIZES, **settings}).eval()
    encoder.model.resnet = Pixels()
    return encoder


def pictures(batch, frames, seed=1):
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, frames, 88, 88)
    return torch.randint(1, 256, shape, generator=generator).to(torch.uint8)


def voices(batch, frames, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return 0.1 * torch.randn(batch, frames * 320, generator=generator)


# --- filter banks ----------------------------------------------------------


def test_a_tone_is_loudest_in_its_band():
    """The mel scale to 8 kHz is 2840.02; 27 steps of 105.19.

    The tenth band is centred at 1051.9 mel = 1080.6 Hz, in bin
    floor(513 x 1080.6 / 16000) = 34, which is 1062.5 Hz.
    """
    time = torch.arange(16000) / 16000
    tone = torch.sin(2 * torch.pi * 1062.5 * time)[None]
    banks = log_filter_banks(tone).reshape(50, 4, 26)
    assert (banks[2:-2].argmax(2) == 9).all()
    torch.testing.assert_close(
        banks.mean((1, 2)), torch.zeros(50), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        # A click at 210 ms, and windows of 25 ms centred at 5, 15, 25 ms ...
        # reach it from 205 and 215 ms. Frame 10 is centred at 210 ms and has
        # those as its middle ones; its neighbours share one of them each.
        (50, {(9, 3), (10, 1), (10, 2), (11, 0)}),
        # Frame 5 has 205 to 235 ms.
        (25, {(5, 0), (5, 1)}),
    ],
)
def test_windows_are_centred_on_frames(rate, expected):
    wavs = torch.zeros(1, 8000)
    wavs[0, 3360] = 0.5
    banks = log_filter_banks(wavs, rate)
    assert banks.shape == (1, rate // 2, 104)
    energy = banks.reshape(-1, 4, 26).mean(2)
    # Frames without the click are the same everywhere: normalised to zero.
    loud = (energy > 0.1).nonzero().tolist()
    assert {tuple(place) for place in loud} == expected


def test_filter_banks_of_next_to_nothing():
    assert log_filter_banks(torch.zeros(2, 319)).shape == (2, 0, 104)
    assert not log_filter_banks(torch.zeros(1, 640)).any()
    with pytest.raises(ConfigError, match="at 100 frames"):
        log_filter_banks(torch.zeros(1, 640), 100)


# --- architecture ----------------------------------------------------------


@pytest.mark.parametrize(
    ("preset", "dim", "layers", "ffn"),
    [("base", 768, 12, 3072), ("large", 1024, 24, 4096)],
)
def test_number_of_parameters(preset, dim, layers, ffn):
    with torch.device("meta"):
        encoder = AVHubertEncoder(preset=preset)
    streams = (512 + 1) * dim + (104 + 1) * dim
    join = 2 * 2 * dim + (2 * dim + 1) * dim
    position = dim * (dim // 16) * 128 + 128 + dim
    attention = 4 * (dim + 1) * dim
    layer = attention + (dim + 1) * ffn + (ffn + 1) * dim + 2 * 2 * dim
    expected = 11186688 + streams + join + position
    expected += layers * layer + 2 * dim
    assert sum(p.numel() for p in encoder.parameters()) == expected
    # As published: 103 and 325 million.
    assert expected == {"base": 102_620_288, "large": 324_622_976}[preset]
    assert encoder.output_size == dim
    assert encoder.layerdrop == 0


def test_body_is_the_pre_norm_transformer_of_hubert():
    """With equal weights, our body is that of the library's HuBERT."""
    from transformers import HubertConfig
    from transformers.models.hubert import modeling_hubert

    config = HubertConfig(
        hidden_size=16,
        num_hidden_layers=2,
        intermediate_size=24,
        num_attention_heads=8,
        num_conv_pos_embeddings=6,
        num_conv_pos_embedding_groups=4,
        do_stable_layer_norm=True,
        attn_implementation="sdpa",
    )
    theirs = modeling_hubert.HubertEncoderStableLayerNorm(config).eval()
    encoder = build(output_norm=None)
    state = encoder.model.state_dict()
    wanted = {}
    for name in theirs.state_dict():
        ours = name.replace("pos_conv_embed.conv.", "position.convolution.")
        ours = ours.replace("feed_forward.intermediate_dense", "linear1")
        ours = ours.replace("feed_forward.output_dense", "linear2")
        ours = ours.replace("final_layer_norm", "norm2")
        ours = re.sub(r"(layers\.\d\.)layer_norm", r"\1norm1", ours)
        ours = ours.replace("attention.out_proj", "self_attn.out_proj")
        ours = re.sub("^layer_norm", "norm", ours)
        match = re.search(r"attention\.([qkv])_proj\.(\w+)", ours)
        if match:
            whole = ours[: match.start()] + f"self_attn.in_proj_{match[2]}"
            part = "qkv".index(match[1])
            wanted[name] = state[whole].chunk(3)[part]
        else:
            wanted[name] = state[ours]
    theirs.load_state_dict(wanted)

    video, lengths = pictures(2, 9), torch.tensor([5 / 9, 1.0])
    seen = []
    encoder.model.join.register_forward_hook(lambda m, i, o: seen.append(o))
    with torch.no_grad():
        found = encoder(video, lengths)
        mask = torch.arange(9) < torch.tensor([[5], [9]])
        expected = theirs(seen[0], attention_mask=mask).last_hidden_state
    expected = expected * mask[..., None]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_streams_come_together_as_described():
    """[audio, video], zeros for what is missing, norm, projection."""
    encoder = build()
    net = encoder.model
    video, wavs = pictures(1, 6), voices(1, 6)
    video[0, 2] = 0
    seen = []
    net.join.register_forward_hook(lambda m, i, o: seen.append(i[0]))
    with torch.no_grad():
        both = encoder(video, wavs=wavs)
        only_video = encoder(video)
        only_audio = encoder(wavs=wavs)
        torch.testing.assert_close(
            seen[0][..., :16], net.audio(log_filter_banks(wavs))
        )
        feats = net.video(net.resnet.encode(video, torch.ones(1, 6)))
    feats[0, 2] = 0
    torch.testing.assert_close(seen[0][..., 16:], feats)
    assert not seen[1][..., :16].any()
    assert not seen[2][..., 16:].any()
    assert not torch.allclose(both, only_video, atol=1e-3)
    # Zeros in place of a stream are that stream missing.
    with torch.no_grad():
        silent = encoder(video, wavs=torch.zeros_like(wavs))
        blind = encoder(torch.zeros_like(video), wavs=wavs)
    torch.testing.assert_close(silent, only_video)
    torch.testing.assert_close(blind, only_audio)
    assert not encoder(torch.zeros_like(video)).any()
    # Output norm: zero mean of each frame.
    torch.testing.assert_close(
        both.mean(2), torch.zeros(1, 6), atol=1e-5, rtol=0
    )


@torch.no_grad()
def test_item_alone_and_in_a_batch():
    encoder = build()
    video, wavs = pictures(2, 7), voices(2, 7)
    lengths = torch.tensor([4 / 7, 1.0])
    for given in ({"video"}, {"wavs"}, {"video", "wavs"}):
        batch = {"video": video, "wavs": wavs}
        batch = {key: batch[key] for key in given}
        ends = {"video": 4, "wavs": 4 * 320}
        alone = {key: batch[key][:1, : ends[key]] for key in given}
        together = encoder(lengths=lengths, **batch)
        torch.testing.assert_close(
            together[:1, :4], encoder(**alone), atol=1e-5, rtol=1e-4
        )
        assert not together[0, 4:].any()
        assert together[1].any(1).all()


@torch.no_grad()
def test_long_input_is_windows_side_by_side():
    encoder = build(window_s=0.4, context_s=0.1)  # 20 and 5 frames
    wavs = voices(2, 30)
    whole = encoder(wavs=wavs, lengths=torch.tensor([1.0, 0.2]))
    # Windows of 10 frames, and 5 more on each side where others are.
    assert whole.shape == (2, 30, 16)
    banks = log_filter_banks(wavs[:1])
    states = encoder._states(
        5, 25, torch.ones(1, 30).bool(), None, None, (banks, torch.ones(1))
    )
    torch.testing.assert_close(
        encoder._combine(states)[:, 5:15], whole[:1, 10:20]
    )
    assert whole.isfinite().all()
    assert not whole[1, 6:].any()
    video = pictures(1, 25)
    whole = encoder(video, wavs=wavs[:1, : 25 * 320])
    present = torch.ones(1, 25).bool()
    banks = log_filter_banks(wavs[:1, : 25 * 320])
    states = encoder._states(
        11, 25, present, video, present, (banks, torch.ones(1))
    )
    # 25 frames in 3 windows: to 8, to 16, to the end.
    torch.testing.assert_close(encoder._combine(states)[:, 5:], whole[:, 16:])


def test_gradient_of_the_features_is_scaled():
    video, wavs = pictures(1, 2), voices(1, 2)
    gradients = {}
    for scale in (1.0, 0.1, 0.0):
        encoder = build(feature_grad_scale=scale)
        encoder(video, wavs=wavs).square().sum().backward()
        parts = (encoder.model.video, encoder.model.audio, encoder.model.norm)
        gradients[scale] = [part.weight.grad for part in parts]
    for part in range(2):
        torch.testing.assert_close(
            gradients[0.1][part], 0.1 * gradients[1.0][part]
        )
        assert gradients[0.0][part] is None
    torch.testing.assert_close(gradients[0.1][2], gradients[1.0][2])


def test_layers_and_probing():
    encoder = build(layer="mix", trainable=True)
    assert encoder.mix_weights.tolist() == pytest.approx([1 / 3] * 3)
    encoder.set_trainable(False)
    encoder.train()
    feats = encoder(pictures(1, 3))
    assert torch.equal(feats, encoder(pictures(1, 3)))  # no dropout
    feats.square().sum().backward()
    assert encoder.mix_logits.grad is not None
    assert encoder.model.join[1].weight.grad is None
    assert len(build(layer=1).model.layers) == 1
    runs = []
    dropped = build(layerdrop=0.999999).train()
    for layer in dropped.model.layers:
        layer.register_forward_hook(lambda *_: runs.append(1))
    dropped(pictures(1, 3))
    assert not runs
    dropped.eval()(pictures(1, 3))
    assert len(runs) == 2


def test_offline_arguments_rebuild():
    encoder = AVHubertEncoder(**SIZES, layer=1, output_norm=None).eval()
    rebuilt = AVHubertEncoder(**encoder.offline_arguments()).eval()
    rebuilt.load_state_dict(encoder.state_dict())
    video = pictures(1, 3)
    assert torch.equal(rebuilt(video), encoder(video))
    assert encoder.offline_arguments()["source"] is None


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({}, ConfigError, "give video or wavs"),
        ({"wavs": torch.zeros(1, 300)}, AudioError, "300 samples"),
        ({"wavs": torch.zeros(1, 1, 640)}, AudioError, "3 dimensions"),
        (
            {"video": torch.zeros(1, 9, 88, 88), "wavs": torch.zeros(1, 640)},
            AudioError,
            "2 frames of 20 ms but the video has 9",
        ),
        (
            {"video": torch.zeros(1, 2, 88, 88), "wavs": torch.zeros(3, 640)},
            AudioError,
            "3 waveforms but 1 videos",
        ),
    ],
)
def test_forward_refuses(arguments, error, says):
    with pytest.raises(error, match=says):
        build()(**arguments)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"preset": "huge"}, "'huge'"),
        ({"n_heads": 3}, "dim 16 is no multiple of n_heads 3"),
        ({"n_layers": 0}, "n_layers is 0"),
        ({"layer": "mix", "layerdrop": 0.1}, "layerdrop 0.1"),
    ],
)
def test_construction_refuses(settings, says):
    with pytest.raises(ConfigError, match=says):
        build(**settings)


# --- checkpoints -----------------------------------------------------------


def published_weights():
    """A state with the names and shapes of a published one, tiny."""
    return dict(_published_weights())


@cache
def _published_weights():
    generator = torch.Generator().manual_seed(3)

    def random(*shape):
        return 0.2 * torch.rand(*shape, generator=generator) - 0.1

    state = {}

    def norm(name, size, batch=False):
        state[f"{name}.weight"] = 1 + random(size)
        state[f"{name}.bias"] = random(size)
        if batch:
            state[f"{name}.running_mean"] = random(size)
            state[f"{name}.running_var"] = 1 + random(size).square()
            state[f"{name}.num_batches_tracked"] = torch.tensor(7)

    def linear(name, n_in, n_out):
        state[f"{name}.weight"] = random(n_out, n_in)
        state[f"{name}.bias"] = random(n_out)

    state["mask_emb"] = random(104)
    state["label_embs_concat"] = random(20, 8)
    video = "feature_extractor_video"
    state[f"{video}.resnet.frontend3D.0.weight"] = random(64, 1, 5, 7, 7)
    norm(f"{video}.resnet.frontend3D.1", 64, True)
    state[f"{video}.resnet.frontend3D.2.weight"] = random(64)
    n_in = 64
    for stage, n_out in enumerate((64, 128, 256, 512), 1):
        for block in range(2):
            name = f"{video}.resnet.trunk.layer{stage}.{block}"
            for half in (1, 2):
                state[f"{name}.conv{half}.weight"] = random(n_out, n_in, 3, 3)
                norm(f"{name}.bn{half}", n_out, True)
                state[f"{name}.relu{half}.weight"] = random(n_out)
                if half == 1 and n_in != n_out:
                    down = f"{name}.downsample"
                    state[f"{down}.0.weight"] = random(n_out, n_in, 1, 1)
                    norm(f"{down}.1", n_out, True)
                n_in = n_out
    linear(f"{video}.proj", 512, 16)
    linear("feature_extractor_audio.proj", 104, 16)
    norm("layer_norm", 32)
    linear("post_extract_proj", 32, 16)
    state["encoder.pos_conv.0.bias"] = random(16)
    state["encoder.pos_conv.0.weight_g"] = 1 + random(1, 1, 6)
    state["encoder.pos_conv.0.weight_v"] = random(16, 4, 6)
    for number in range(2):
        name = f"encoder.layers.{number}"
        for part in ("k_proj", "v_proj", "q_proj", "out_proj"):
            linear(f"{name}.self_attn.{part}", 16, 16)
        norm(f"{name}.self_attn_layer_norm", 16)
        linear(f"{name}.fc1", 16, 24)
        linear(f"{name}.fc2", 24, 16)
        norm(f"{name}.final_layer_norm", 16)
    norm("encoder.layer_norm", 16)
    linear("final_proj", 16, 8)
    return state


class Foreign:
    """Classes of other packages, there only while a file is written."""

    def __init__(self, monkeypatch):
        self.monkeypatch = monkeypatch

    def make(self, module, name):
        parts = module.split(".")
        for count in range(1, len(parts) + 1):
            path = ".".join(parts[:count])
            if path not in sys.modules:
                self.monkeypatch.setitem(
                    sys.modules, path, types.ModuleType(path)
                )
        made = type(name, (), {"__module__": module})
        setattr(sys.modules[module], name, made)
        return made

    def build(self, module, name, **state):
        thing = self.make(module, name)()
        thing.__dict__.update(state)
        return thing


def model_settings():
    return {"encoder_attention_heads": 8, "layer_norm_first": True}


def as_namespace(_):
    return {"args": argparse.Namespace(**model_settings())}


def as_dictionaries(foreign):
    kind = foreign.make("fairseq.dataclass.constants", "DDP_BACKEND_CHOICES")
    return {"cfg": {"common": {"ddp": kind()}, "model": model_settings()}}


def as_omegaconf(foreign):
    config = foreign.make("omegaconf.dictconfig", "DictConfig")
    node = foreign.make("omegaconf.nodes", "AnyNode")
    metadata = foreign.make("omegaconf.base", "ContainerMetadata")

    def container(content, parent):
        made = config()
        made._metadata = metadata()
        made._metadata.ref_type, made._metadata.key_type = str, object
        made._parent = parent
        made._content = {}
        for key, value in content.items():
            if isinstance(value, dict):
                made._content[key] = container(value, made)
            else:
                made._content[key] = node()
                made._content[key]._val = value
        return made

    return {"cfg": container({"model": model_settings()}, None)}


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write a checkpoint, by default as pretraining leaves it."""

    def write(weights=None, kind=as_dictionaries, name="own.pt", **more):
        weights = published_weights() if weights is None else weights
        path = tmp_path / name
        with monkeypatch.context() as patch:
            foreign = Foreign(patch)
            content = kind(foreign)
            words = foreign.build(
                "fairseq.data.dictionary", "Dictionary", symbols=["a"]
            )
            content["task_state"] = {"dictionaries": [words]}
            content["model"] = weights
            torch.save({**content, **more}, path)
        assert "fairseq" not in sys.modules
        assert "omegaconf.dictconfig" not in sys.modules
        return path

    return write


def all_weights_of(encoder):
    """Weights as the checkpoint cuts them, by their bytes."""
    parts = []
    for name, value in encoder.model.state_dict().items():
        parts += value.chunk(3) if "in_proj" in name else [value]
    return sorted(part.numpy().tobytes() for part in parts)


@pytest.mark.parametrize("kind", [as_namespace, as_dictionaries, as_omegaconf])
def test_conversion_keeps_every_weight(write, tmp_path, kind):
    theirs = published_weights()
    path = write(theirs, kind)
    folder = convert_av_hubert(path, tmp_path / "model")
    assert {file.name for file in folder.iterdir()} == {
        "hyperparams.yaml",
        "model.safetensors",
        "README.md",
    }
    assert "non-commercial" in (folder / "README.md").read_text()
    encoder = AVHubertEncoder.from_folder(folder, layer="mix").eval()
    arguments = encoder.offline_arguments()
    assert {key: arguments[key] for key in SIZES} == SIZES
    only_pretraining = ("mask_emb", "label_embs_concat", "final_proj")
    wanted = sorted(
        value.numpy().tobytes()
        for name, value in theirs.items()
        if not name.startswith(only_pretraining)
    )
    assert all_weights_of(encoder) == wanted
    net = encoder.model
    for ours, name in (
        (net.resnet.stem.weight, "feature_extractor_video.resnet.frontend3D.0"),
        (
            net.resnet.stages[1][0].shortcut[0].weight,
            "feature_extractor_video.resnet.trunk.layer2.0.downsample.0",
        ),
        (
            net.resnet.stages[3][1].second_prelu.weight,
            "feature_extractor_video.resnet.trunk.layer4.1.relu2",
        ),
        (net.join[0].weight, "layer_norm"),
        (
            net.layers[1].self_attn.in_proj_weight[:16],
            "encoder.layers.1.self_attn.q_proj",
        ),
        (
            net.layers[1].self_attn.in_proj_weight[16:32],
            "encoder.layers.1.self_attn.k_proj",
        ),
        (net.layers[0].norm1.weight, "encoder.layers.0.self_attn_layer_norm"),
        (net.layers[0].norm2.weight, "encoder.layers.0.final_layer_norm"),
        (net.norm.weight, "encoder.layer_norm"),
    ):
        assert torch.equal(ours, theirs[f"{name}.weight"]), name
    # The norm of a filter tap over all channels is its weight_g.
    taps = net.position.convolution.weight.norm(dim=(0, 1), keepdim=True)
    torch.testing.assert_close(taps, theirs["encoder.pos_conv.0.weight_g"])
    # Built without the folder, as an exported model is.
    rebuilt = AVHubertEncoder(**arguments).eval()
    rebuilt.load_state_dict(encoder.state_dict())
    video = pictures(1, 3)
    assert torch.equal(rebuilt(video), encoder(video))


def test_fine_tuned_and_half_precision(write, tmp_path):
    theirs = {
        f"encoder.w2v_model.{name}": value.half()
        for name, value in published_weights().items()
        if not name.startswith(("label_embs", "final_proj"))
    }
    theirs["decoder.embed_tokens.weight"] = torch.zeros(5, 16)
    folder = convert_av_hubert(write(theirs), tmp_path / "model")
    encoder = AVHubertEncoder(source=folder)
    assert encoder.model.norm.weight.dtype == torch.float32
    expected = published_weights()["encoder.layer_norm.weight"].half().float()
    assert torch.equal(encoder.model.norm.weight.detach(), expected)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda state: [
                state.pop(f"encoder.layers.1.self_attn.{part}_proj.bias")
                for part in "qk"
            ],
            r"2 missing \(first encoder.layers.1.self_attn.q_proj.bias\)",
        ),
        (
            lambda state: state.update(strange=torch.zeros(1)),
            r"1 unknown \(first strange\)",
        ),
        (
            lambda state: state.update(
                {"post_extract_proj.weight": torch.zeros(16, 16)}
            ),
            r"1 of another shape \(first post_extract_proj.weight \(16, 16\) "
            r"instead of \(16, 32\)\)",
        ),
        (
            lambda state: state.pop("encoder.pos_conv.0.weight_v"),
            "is no AV-HuBERT",
        ),
        (
            lambda state: state.update({"encoder.pos_conv.0.bias": None}),
            "1 entries that are no tensors, first 'encoder.pos_conv.0.bias'",
        ),
        (lambda state: state.clear(), "has no 'model'"),
    ],
)
def test_conversion_says_what_does_not_fit(write, tmp_path, change, says):
    state = published_weights()
    change(state)
    with pytest.raises(ModelError, match=says) as caught:
        convert_av_hubert(write(state), tmp_path / "model")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "model").exists()


def test_conversion_refuses_another_architecture(write, tmp_path):
    path = write(FEW, cfg={"model": {"layer_norm_first": False}})
    with pytest.raises(ModelError, match="layer_norm_first=False: only True"):
        convert_av_hubert(path, tmp_path / "model")


def test_folder_is_not_overwritten_unasked(write, tmp_path):
    path, folder = write(), tmp_path / "model"
    convert_av_hubert(path, folder)
    with pytest.raises(OutputError, match="exists already"):
        convert_av_hubert(path, folder)
    convert_av_hubert(path, folder, overwrite=True)
    (folder / "mine.txt").touch()
    with pytest.raises(OutputError, match=r"mine\.txt"):
        convert_av_hubert(path, folder, overwrite=True)


def test_other_folders_are_refused(tmp_path):
    with pytest.raises(ModelError, match="no such model folder"):
        AVHubertEncoder(source=tmp_path / "none")
    with pytest.raises(
        ModelError, match="no AVHubertEncoder but HarmonicEncoder"
    ):
        AVHubertEncoder(source="transcriber")


FEW = {"layer": torch.arange(5000.0)}


class Payload:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    ("function", "name"),
    [
        ("os.system", "posix.system"),
        ("builtins.eval", "builtins.eval"),
        ("builtins.getattr", "builtins.getattr"),
        ("subprocess.check_output", "commands.check_output"),
        ("torch.hub.load", "torch.hub.load"),
        ("importlib.import_module", "importlib.import_module"),
    ],
)
def test_payload_is_refused_and_does_not_run(write, tmp_path, function, name):
    sign = tmp_path / "it-ran"
    arguments = {
        "os.system": [f"touch {sign}"],
        "builtins.eval": [f"open({str(sign)!r}, 'w')"],
        "subprocess.check_output": [["touch", str(sign)]],
    }.get(function, ["os", "system"])
    module, _, last = function.rpartition(".")
    called = getattr(pytest.importorskip(module), last)
    path = write(FEW, extra_state=[Payload(called, *arguments)])
    if name == "posix.system" and sys.platform == "win32":
        name = "nt.system"
    with pytest.raises(ModelError, match=f"refused.*{name}") as caught:
        convert_av_hubert(path, tmp_path / "model")
    assert "\n" not in str(caught.value)
    assert not sign.exists()
    assert not (tmp_path / "model").exists()


def test_the_payload_is_one(tmp_path):
    """What the test above is about happens if a pickle is trusted."""
    sign = tmp_path / "it-ran"
    path = tmp_path / "evil.pt"
    torch.save({"x": Payload(os.system, f"touch {sign}")}, path)
    torch.load(path, weights_only=False)
    assert sign.exists()


def test_classes_of_others_are_not_imported(write, tmp_path, monkeypatch):
    """A package of that name is there, and is neither run nor used."""
    sign = tmp_path / "it-ran"
    package = tmp_path / "singbrain_test_evil.py"
    package.write_text(
        f"open({str(sign)!r}, 'w').close()\n"
        f"def run(*_): open({str(sign)!r}, 'w').close()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with monkeypatch.context() as patch:
        stand_in = types.ModuleType(package.stem)

        def run():
            """Be named."""

        run.__module__, run.__qualname__ = package.stem, "run"
        stand_in.run = run
        patch.setitem(sys.modules, package.stem, stand_in)
        path = write(FEW, extra_state={"x": Payload(run, 1)})
    weights, settings = read_fairseq(path)
    assert package.stem not in sys.modules
    assert not sign.exists()
    assert torch.equal(weights["layer"], FEW["layer"])
    assert settings.get("encoder_attention_heads") == 8


def test_files_of_other_kinds(write, tmp_path):
    with pytest.raises(ModelError, match="no such file"):
        read_fairseq(tmp_path / "none.pt")
    text = tmp_path / "text.pt"
    text.write_text("weights")
    legacy = tmp_path / "legacy.pt"
    torch.save({"model": {}}, legacy, _use_new_zipfile_serialization=False)
    bare = tmp_path / "bare.pt"
    bare.write_bytes(pickle.dumps({"model": {}}))
    for path in (text, legacy, bare):
        with pytest.raises(ModelError, match=r"no checkpoint of PyTorch 1\.6"):
            read_fairseq(path)
    whole = write(FEW)
    cut = tmp_path / "cut.pt"
    cut.write_bytes(whole.read_bytes()[:-2000])
    with pytest.raises(ModelError, match=r"cut\.pt") as caught:
        read_fairseq(cut)
    assert "\n" not in str(caught.value)
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(ModelError, match="has no 'model'"):
        read_fairseq(tmp_path / "list.pt")


def test_command(write, tmp_path, capsys):
    path, folder = write(), tmp_path / "model"
    command = ["prepare", "av_hubert", str(path), "-o", str(folder)]
    assert main(command) == 0
    assert "non-commercial research only" in capsys.readouterr().out
    assert AVHubertEncoder.from_folder(folder).output_size == 16
    assert main(command) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "exists already" in line
    assert main([*command, "--force"]) == 0
