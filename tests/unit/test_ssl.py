"""Pretrained encoders, with configurations of a few thousand weights."""

import json

import numpy as np
import pytest
import torch

from speechbrain_ext.encoders.ssl import (
    SSLEncoder,
    WhisperEncoder,
    windows,
)
from speechbrain_ext.errors import (
    AudioError,
    ConfigError,
    ModelError,
    SingBrainError,
)

SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "conv_dim": [16] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "hidden_dropout": 0.0,
    "attention_dropout": 0.0,
    "activation_dropout": 0.0,
    "feat_proj_dropout": 0.0,
    "final_dropout": 0.0,
}
LARGE_KIND = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}
CONFIGS = {
    "wav2vec2-base": {"model_type": "wav2vec2", **SMALL},
    "wav2vec2-large": {"model_type": "wav2vec2", **SMALL, **LARGE_KIND},
    "hubert-base": {"model_type": "hubert", **SMALL},
    "hubert-large": {"model_type": "hubert", **SMALL, **LARGE_KIND},
    "wavlm-base": {"model_type": "wavlm", **SMALL},
    "wavlm-large": {"model_type": "wavlm", **SMALL, **LARGE_KIND},
    # Its positional embedding is a stack of five convolutions.
    "data2vec-audio": {
        "model_type": "data2vec-audio",
        **SMALL,
        "num_conv_pos_embeddings": 5,
    },
    "whisper": {
        "model_type": "whisper",
        "d_model": 32,
        "encoder_layers": 2,
        "encoder_attention_heads": 2,
        "encoder_ffn_dim": 48,
    },
}
ONE_OF_EACH = [
    "wav2vec2-base",
    "hubert-large",
    "wavlm-base",
    "data2vec-audio",
    "whisper",
]


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Tensors this small only wait for a second thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def build(kind, **arguments):
    torch.manual_seed(0)
    made = WhisperEncoder if kind == "whisper" else SSLEncoder
    return made(config=CONFIGS[kind], **arguments).eval()


def noise(*lengths, seed=0):
    """Items of different level and offset, padded with what must not leak."""
    generator = torch.Generator().manual_seed(seed)
    wavs = torch.full((len(lengths), max(lengths)), 0.7)
    for row, length in enumerate(lengths):
        item = torch.randn(length, generator=generator)
        wavs[row, :length] = 0.1 * 10.0**-row * item + 0.02 * row
    return wavs, torch.tensor(lengths) / max(lengths)


@pytest.mark.parametrize("kind", ONE_OF_EACH)
@torch.inference_mode()
def test_frame_counts(kind):
    # Thinner still, for the 200 s.
    thin = {**CONFIGS[kind]}
    if kind == "whisper":
        thin.update(d_model=8, encoder_layers=1)
        encoder = WhisperEncoder(config=thin)
    else:
        thin.update(conv_dim=[4] * 7, hidden_size=8, num_hidden_layers=1)
        encoder = SSLEncoder(config=thin)
    assert (encoder.output_size, encoder.sample_rate) == (8, 16000)
    for seconds, frames in ((5, 250), (7.3, 365), (200, 10000)):
        wavs = torch.zeros(1, round(seconds * 16000))
        assert encoder.eval()(wavs).shape == (1, frames, 8)
    for samples, frames in ((320, 1), (639, 1), (640, 2)):
        assert encoder(torch.zeros(1, samples)).shape == (1, frames, 8)


@pytest.mark.parametrize("kind", CONFIGS)
@torch.inference_mode()
def test_frames_of_an_item_are_its_own(kind):
    """Alone = in a padded batch; a quiet item beside a loud one included."""
    encoder = build(kind, layer="mix")
    lengths = (16000, 8000, 16000, 5700)
    wavs, wav_lens = noise(*lengths)
    batch = encoder(wavs, wav_lens)
    assert batch.shape == (4, 50, 32)
    for row, length in enumerate(lengths):
        frames = length // 320
        alone = encoder(wavs[row : row + 1, :length])[0]
        assert alone.shape == (frames, 32)
        torch.testing.assert_close(
            batch[row, :frames], alone, atol=1e-5, rtol=0
        )
        assert not batch[row, frames:].any()


@pytest.mark.parametrize("kind", ["wav2vec2-large", "wav2vec2-base"])
@torch.inference_mode()
def test_an_item_without_a_whole_frame_is_silent(kind):
    wavs, _ = noise(32000, 32000)
    feats = build(kind)(wavs, torch.tensor([1.0, 0.005]))  # 160 samples
    assert feats[0].any() and not feats[1].any()


@torch.inference_mode()
def test_waveforms_are_normalised_per_item():
    encoder = build("wav2vec2-large")
    wavs, _ = noise(16000)
    torch.testing.assert_close(
        encoder(wavs), encoder(0.05 * wavs + 0.3), atol=1e-3, rtol=0
    )
    plain = build("wav2vec2-large", normalize_wav=False)
    difference = plain(wavs) - plain(0.05 * wavs)
    assert difference.abs().max() > 0.01


@torch.inference_mode()
def test_output_norm_is_per_frame():
    wavs, _ = noise(16000)
    feats = build("hubert-large")(wavs)
    torch.testing.assert_close(
        feats.mean(-1), torch.zeros(1, 50), atol=1e-5, rtol=0
    )
    torch.testing.assert_close(
        feats.var(-1, correction=0), torch.ones(1, 50), atol=1e-3, rtol=0
    )
    raw = build("hubert-large", output_norm=None)(wavs)
    torch.testing.assert_close(
        torch.nn.functional.layer_norm(raw, (32,)), feats
    )


@torch.inference_mode()
def test_frame_is_centred_on_its_samples():
    """Frame k of the convolutions sees samples 320 k - 40 to 320 k + 360."""
    encoder = build("wav2vec2-large", normalize_wav=False)
    silent = torch.zeros(1, 6400)

    def convolve(wavs):
        padded = encoder._prepare(wavs, None)
        return encoder.model.feature_extractor(padded)[0].T

    def seen(sample):
        wavs = silent.clone()
        wavs[0, sample] = 1.0
        change = (convolve(wavs) - convolve(silent)).abs().sum(1)
        return change.nonzero().flatten().tolist()

    assert seen(320 * 10 - 41) == [9]
    assert seen(320 * 10 - 40) == [9, 10]
    assert seen(320 * 10 + 160) == [10]
    assert seen(320 * 10 + 359) == [10, 11]
    assert seen(320 * 10 + 360) == [11]


def step(encoder, wavs):
    """One optimiser step of encoder and head; returns the head's change."""
    head = torch.nn.Linear(32, 3)
    before = head.weight.detach().clone()
    optimizer = torch.optim.AdamW(
        [*encoder.parameters(), *head.parameters()], lr=0.1, weight_decay=0.1
    )
    head(encoder(wavs)).square().mean().backward()
    optimizer.step()
    return (head.weight - before).abs().max()


@pytest.mark.parametrize("kind", ONE_OF_EACH)
def test_probing_leaves_the_encoder_bit_identical(kind):
    encoder = build(kind, layer="mix")
    wavs, _ = noise(16000, 16000)
    # A gradient left over from fine-tuning must not move the weights either.
    encoder(wavs).square().sum().backward()
    encoder.set_trainable(False)
    encoder.train()
    assert not encoder.model.training
    before = {k: v.clone() for k, v in encoder.model.state_dict().items()}
    mixed = encoder.mix_weights.detach().clone()
    assert step(encoder, wavs) > 0.01
    for name, value in encoder.model.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(p.grad is None for p in encoder.model.parameters())
    assert not torch.equal(encoder.mix_weights, mixed)

    encoder.set_trainable(True)
    assert encoder.model.training
    step(encoder, wavs)
    moved = [
        name
        for name, value in encoder.model.state_dict().items()
        if not torch.equal(value, before[name])
    ]
    assert len(moved) > 10


def test_frozen_for_good():
    encoder = build("wavlm-base", trainable=False).train()
    assert not encoder.model.training
    assert not any(p.requires_grad for p in encoder.parameters())
    encoder.set_trainable(False)
    with pytest.raises(ConfigError, match="built with trainable=False"):
        encoder.set_trainable(True)


@pytest.mark.parametrize("kind", ["wav2vec2-base", "hubert-large"])
def test_convolutions_stay_fixed_on_request(kind):
    encoder = build(kind, freeze_feature_extractor=True).train()
    extractor = encoder.model.feature_extractor
    before = [p.clone() for p in extractor.parameters()]
    first = encoder.model.encoder.layers[0].attention.q_proj.weight.clone()
    step(encoder, noise(16000)[0])
    for old, new in zip(before, extractor.parameters(), strict=True):
        assert torch.equal(old, new)
    assert not torch.equal(
        first, encoder.model.encoder.layers[0].attention.q_proj.weight
    )


@pytest.mark.parametrize("kind", ["data2vec-audio", "wavlm-large", "whisper"])
@pytest.mark.parametrize("layer", ["last", "mix", 1])
def test_every_trainable_weight_is_used(kind, layer):
    """What distributed training needs: no parameter without a gradient."""
    encoder = build(kind, layer=layer).train()
    encoder(noise(16000)[0]).square().sum().backward()
    unused = [
        name
        for name, p in encoder.named_parameters()
        if p.requires_grad and p.grad is None
    ]
    assert unused == []


@pytest.mark.parametrize("kind", ["wav2vec2-large", "hubert-base", "whisper"])
@torch.no_grad()
def test_mix_is_the_weighted_sum_of_the_layers(kind):
    mix = build(kind, layer="mix", output_norm=None)
    weights = torch.tensor([0.2, 0.5, 0.3])
    assert mix.mix_weights.tolist() == pytest.approx([1 / 3] * 3)
    mix.mix_logits.copy_(weights.log() + 5.0)
    assert mix.mix_weights.sum().item() == pytest.approx(1.0)
    wavs, _ = noise(16000)
    one = build(kind, layer=1, output_norm=None)
    two = build(kind, layer=2, output_norm=None)
    last = build(kind, layer="last", output_norm=None)
    torch.testing.assert_close(two(wavs), last(wavs))
    torch.testing.assert_close(build(kind, layer=-1)(wavs), build(kind)(wavs))
    rest = mix(wavs) - 0.5 * one(wavs) - 0.3 * two(wavs)
    with torch.no_grad():
        states = mix._states(mix._prepare(wavs, None), 0, 50, None)
    assert len(states) == 3
    torch.testing.assert_close(rest, 0.2 * states[0], atol=1e-5, rtol=1e-4)
    assert len(list(one.model.parameters())) < len(list(two.model.parameters()))


@pytest.mark.parametrize("kind", CONFIGS)
def test_no_hidden_randomness_in_training(kind):
    """Dropout is 0 here: masking and layer drop would show."""
    encoder = build(kind).train()
    wavs, _ = noise(24000, 24000)
    first, second = encoder(wavs), encoder(wavs)
    assert torch.equal(first, second)
    torch.testing.assert_close(first, encoder.eval()(wavs))


@pytest.mark.parametrize("kind", CONFIGS)
@torch.no_grad()
def test_mixed_precision(kind):
    """Half precision in the model, full precision in what comes before."""
    encoder = build(kind, layer="mix")
    wavs, wav_lens = noise(16000, 9600)
    full = encoder(wavs, wav_lens)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = encoder(wavs, wav_lens)
        if kind == "whisper":
            mel = encoder.log_mel(wavs)
    assert half.shape == full.shape and half.isfinite().all()
    assert (half - full).abs().mean() < 0.05
    if kind == "whisper":
        assert torch.equal(mel, encoder.log_mel(wavs))


def test_layerdrop_is_a_setting():
    encoder = build("wav2vec2-base", layerdrop=0.5).train()
    wavs, _ = noise(16000)
    torch.manual_seed(1)
    drawn = torch.stack([encoder(wavs) for _ in range(8)])
    assert (drawn[1:] != drawn[:1]).any()
    with pytest.raises(ConfigError, match="layerdrop"):
        build("wav2vec2-base", layerdrop=0.5, layer="mix")
    with pytest.raises(ConfigError, match="outside"):
        build("whisper", layerdrop=1.0)


@pytest.mark.parametrize("kind", ["wav2vec2-large", "wavlm-base", "whisper"])
def test_gradient_checkpointing_changes_nothing(kind):
    wavs, _ = noise(16000)
    gradients = []
    for checkpointing in (False, True):
        encoder = build(kind, layer="mix", gradient_checkpointing=checkpointing)
        encoder.train()(wavs).square().mean().backward()
        gradients.append([p.grad for p in encoder.parameters()])
    for plain, saved in zip(*gradients, strict=True):
        if plain is not None:
            torch.testing.assert_close(plain, saved, atol=1e-6, rtol=1e-3)


@pytest.mark.parametrize("kind", ONE_OF_EACH)
@torch.inference_mode()
def test_folder_and_offline_arguments_give_the_same(kind, tmp_path):
    original = (
        build(kind, normalize_wav=False) if (kind != "whisper") else build(kind)
    )
    wavs, _ = noise(16000)
    if kind == "whisper":
        from transformers import WhisperConfig, WhisperModel

        whole = WhisperModel(
            WhisperConfig(
                **CONFIGS[kind],
                decoder_layers=1,
                decoder_attention_heads=2,
                decoder_ffn_dim=8,
                vocab_size=60000,
            )
        )
        whole.encoder.load_state_dict(original.model.state_dict())
        whole.save_pretrained(tmp_path)
        loaded = WhisperEncoder(tmp_path)
    else:
        original.model.save_pretrained(tmp_path)
        (tmp_path / "preprocessor_config.json").write_text(
            json.dumps(
                {
                    "feature_extractor_type": "Wav2Vec2FeatureExtractor",
                    "do_normalize": False,
                    "sampling_rate": 16000,
                }
            )
        )
        loaded = SSLEncoder(tmp_path)
        assert loaded.normalize_wav is False
    expected = original(wavs)
    assert torch.equal(loaded.eval()(wavs), expected)

    arguments = loaded.offline_arguments()
    assert json.loads(json.dumps(arguments)) == arguments
    torch.manual_seed(9)
    rebuilt = type(loaded)(**arguments).eval()
    assert not torch.equal(rebuilt(wavs), expected)
    rebuilt.load_state_dict(loaded.state_dict())
    assert torch.equal(rebuilt(wavs), expected)


def test_windows_cover_every_frame_once():
    for total in (1, 99, 100, 101, 1000):
        cuts = windows(total, 100, 10)
        kept = [k for first, last, _, _ in cuts for k in range(first, last)]
        assert kept == list(range(total))
        for first, last, start, stop in cuts:
            assert stop - start <= 100
            assert start == max(0, first - 10)
            assert stop == min(total, last + 10)


@pytest.mark.parametrize("kind", ["wav2vec2-large", "whisper"])
@torch.inference_mode()
def test_long_input_is_the_windows_side_by_side(kind):
    encoder = build(kind)
    encoder.window_s, encoder.context_s = 3.0, 0.5
    wavs, _ = noise(4 * 16000)
    whole = encoder(wavs)
    # 200 frames: 100 + 100, each with 25 of context on the inner side.
    prepared = encoder._prepare(wavs, None)
    states = encoder._states(prepared, 75, 200, None)
    expected = encoder._combine(states)[:, 25:]
    torch.testing.assert_close(whole[:, 100:], expected)


@torch.inference_mode()
def test_whisper_spectrogram_follows_its_definition():
    """Ours is the library's, one STFT frame later."""
    from transformers import WhisperFeatureExtractor

    encoder = build("whisper")
    wavs, _ = noise(480000)
    theirs = WhisperFeatureExtractor()(
        wavs[0].numpy(), sampling_rate=16000, return_tensors="np"
    )["input_features"][0]
    ours = encoder.log_mel(wavs)[0].numpy()
    assert ours.shape == theirs.shape == (80, 3000)
    np.testing.assert_allclose(ours[:, :-1], theirs[:, 1:], atol=1e-4)


@torch.inference_mode()
def test_whisper_frame_is_centred():
    """A click at the centre of frame k is seen alike from both sides."""
    encoder = build("whisper")
    wavs = torch.zeros(1, 16000)
    wavs[0, 320 * 20 + 160] = 1.0
    mel = encoder.log_mel(wavs)[0]
    energy = mel.sum(0)
    # STFT frame 2 k stands on the click, its neighbours mirror each other.
    assert int(energy.argmax()) == 40
    torch.testing.assert_close(energy[39], energy[41], atol=1e-3, rtol=1e-3)


@torch.inference_mode()
def test_whisper_equals_the_library_on_a_full_window():
    torch.manual_seed(0)
    small = {**CONFIGS["whisper"], "max_source_positions": 200}  # 4 s
    encoder = WhisperEncoder(config=small, output_norm=None).eval()
    wavs, _ = noise(64000)
    expected = encoder.model(encoder.log_mel(wavs)).last_hidden_state
    torch.testing.assert_close(encoder(wavs), expected, atol=1e-5, rtol=1e-5)
    short = wavs[:, :16000]
    filled = encoder(torch.nn.functional.pad(short, (0, 48000)))
    assert not torch.allclose(encoder(short), filled[:, :50], atol=1e-3)
    encoder.pad_to_window = True
    torch.testing.assert_close(encoder(short), filled[:, :50])


def test_errors_are_one_line(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    config_only = tmp_path / "weightless"
    config_only.mkdir()
    (config_only / "config.json").write_text(
        json.dumps(CONFIGS["wav2vec2-base"])
    )
    wavlm = tmp_path / "wavlm"
    build("wavlm-base").model.save_pretrained(wavlm)
    saved = json.loads((wavlm / "config.json").read_text())
    (wavlm / "config.json").write_text(
        json.dumps({**saved, "num_hidden_layers": 3})
    )
    strides = {**CONFIGS["wav2vec2-base"], "conv_stride": [5, 2, 2, 2, 2, 2, 1]}
    cases = [
        (SSLEncoder, {"source": "./nowhere"}, ModelError, "does not exist"),
        (SSLEncoder, {"source": "a b/c?"}, ModelError, "save_pretrained"),
        (SSLEncoder, {"source": tmp_path}, ModelError, "wavlm, data2vec-audio"),
        (SSLEncoder, {"source": config_only}, ModelError, "save_pretrained"),
        (SSLEncoder, {"source": wavlm}, ModelError, "lacks"),
        (SSLEncoder, {}, ConfigError, "needs a source"),
        (SSLEncoder, {"config": {"hidden_size": 4}}, ModelError, "None"),
        (SSLEncoder, {"config": strides}, ModelError, "every 160"),
        (
            SSLEncoder,
            {"config": CONFIGS["whisper"]},
            ModelError,
            "WhisperEncoder takes",
        ),
        (
            WhisperEncoder,
            {"config": CONFIGS["wavlm-base"]},
            ModelError,
            "SSLEncoder takes",
        ),
    ]
    for made, arguments, error, text in cases:
        with pytest.raises(error, match=text) as caught:
            made(**arguments)
        assert "\n" not in str(caught.value)
    for layer in (0, 3, -3, "first", True, 1.0):
        with pytest.raises(ConfigError, match="'last'"):
            build("hubert-base", layer=layer)
    with pytest.raises(ConfigError, match="output_norm"):
        build("hubert-base", output_norm="batch")
    with pytest.raises(ConfigError, match="window_s"):
        build("hubert-base", window_s=1.0, context_s=0.5)


def test_bad_batches():
    encoder = build("wav2vec2-base")
    for wavs, wav_lens in (
        (torch.zeros(1, 319), None),
        (torch.zeros(16000), None),
        (torch.zeros(2, 16000), torch.ones(3)),
    ):
        with pytest.raises(AudioError) as caught:
            encoder(wavs, wav_lens)
        assert isinstance(caught.value, SingBrainError)


def test_unreachable_hub_is_explained(monkeypatch):
    import transformers

    def refuse(*_, **__):
        raise OSError("We couldn't connect to the hub.\nsecond line")

    monkeypatch.setattr(transformers.AutoConfig, "from_pretrained", refuse)
    with pytest.raises(ModelError, match="network") as caught:
        SSLEncoder("some/encoder")
    assert "\n" not in str(caught.value)
