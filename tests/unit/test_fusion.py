"""Fusions: parameters, equations, masks, time, and what each starts as."""

import math

import numpy as np
import pytest
import torch

from speechbrain_ext.errors import ConfigError
from speechbrain_ext.fusion import (
    Concatenation,
    ConvolutionalFusion,
    CrossAttention,
    Gated,
    ResidualCrossAttention,
    align,
    sinusoidal_positions,
)

ATTENTION = {"width": 8, "heads": 2, "ffn": 12}
FUSIONS = {
    "concatenation": (Concatenation, {"width": 8}),
    "hidden": (Concatenation, {"width": 8, "hidden": 16}),
    "gated": (Gated, {"width": 8}),
    "cross": (CrossAttention, ATTENTION),
    "cross_window": (CrossAttention, {**ATTENTION, "window_s": 0.1}),
    "residual": (ResidualCrossAttention, ATTENTION),
    "residual_window": (
        ResidualCrossAttention,
        {**ATTENTION, "window_s": 0.1, "learn_alpha": True},
    ),
    "convolutional": (ConvolutionalFusion, {"width": 16}),
}


def make(name, audio_size=6, video_size=4, **options):
    """A fusion with random weights, also where they begin as zeros."""
    kind, own = FUSIONS[name]
    torch.manual_seed(0)
    fusion = kind(
        audio_size=audio_size, video_size=video_size, **own, **options
    )
    if isinstance(fusion, ConvolutionalFusion):
        torch.nn.init.normal_(fusion.exit.weight)
    return fusion.eval()


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def valid(frames, *counts):
    return torch.arange(frames) < torch.tensor(counts)[:, None]


def close(one, other):
    return torch.allclose(one, other, atol=1e-5)


every = pytest.mark.parametrize("name", FUSIONS)


# --- Parameters and equations ----------------------------------------------


def test_parameters_of_the_published_size():
    fusion = ResidualCrossAttention()
    layer = sum(p.numel() for p in fusion.audio_layer.parameters())
    # Attention 4 (1024^2 + 1024); 2 x 3072 x 1024 + 3072 + 1024; two norms.
    assert layer == 4_198_400 + 6_295_552 + 4096 == 10_498_048
    assert sum(p.numel() for p in fusion.parameters()) == 20_996_096
    assert fusion.audio_layer.norm1.eps == 1e-6
    assert fusion.output_size == 1024


def test_learned_alpha_and_projections_are_added_only_when_wanted():
    def count(**options):
        fusion = ResidualCrossAttention(**ATTENTION, **options)
        return sum(p.numel() for p in fusion.parameters())

    assert count(audio_size=8, video_size=8) == count()
    assert count(audio_size=6) == count() + 6 * 8
    assert count(learn_alpha=True) == count() + 2


def numpy_attention(weights, query, stream):
    """One head: softmax((Q Wq)(S Wk)^T / sqrt(width)) S Wv, then Wo."""
    width = query.shape[1]
    joint, bias = weights["in_proj_weight"], weights["in_proj_bias"]
    q, k, v = (
        x @ joint[i * width : (i + 1) * width].T
        + bias[i * width : (i + 1) * width]
        for i, x in enumerate((query, stream, stream))
    )
    scores = np.exp(q @ k.T / math.sqrt(width))
    mixed = scores / scores.sum(1, keepdims=True) @ v
    return mixed @ weights["out_proj.weight"].T + weights["out_proj.bias"]


def numpy_norm(x):
    centred = x - x.mean(1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(1, keepdims=True) + 1e-6)


def numpy_layer(layer, stream, attended):
    weights = {k: v.numpy() for k, v in layer.feed_forward.state_dict().items()}
    h = numpy_norm(stream + attended)
    inner = np.maximum(h @ weights["0.weight"].T + weights["0.bias"], 0)
    return numpy_norm(h + inner @ weights["3.weight"].T + weights["3.bias"])


@pytest.mark.parametrize("kind", [ResidualCrossAttention, CrossAttention])
def test_the_equations(kind):
    torch.manual_seed(3)
    fusion = kind(width=4, heads=1, ffn=6)
    torch.nn.init.normal_(fusion.audio_layer.attention.in_proj_bias)
    audio, video = noise(1, 3, 4), noise(1, 3, 4, seed=1)
    with torch.no_grad():
        found = fusion(audio, video)[0].numpy()
    # Angles of channels 0 and 1: k; of 2 and 3: k / 10000^(2 / 4).
    where = np.array(
        [
            [math.sin(k), math.cos(k), math.sin(k / 100), math.cos(k / 100)]
            for k in range(3)
        ]
    )
    a, v = audio[0].numpy() + where, video[0].numpy() + where
    wanted = 0
    for layer, own, other in (
        (fusion.audio_layer, a, v),
        (fusion.video_layer, v, a),
    ):
        weights = {
            k: w.numpy() for k, w in layer.attention.state_dict().items()
        }
        if kind is CrossAttention:
            attended = numpy_attention(weights, own, other)
        else:
            attended = 0.5 * numpy_attention(weights, own, own)
            attended += 0.5 * numpy_attention(weights, other, own)
        wanted = wanted + numpy_layer(layer, own, attended)
    assert np.allclose(found, wanted, atol=1e-5)


def test_alpha_one_is_self_attention_alone():
    fusion = ResidualCrossAttention(**ATTENTION, alpha=1.0)
    layer = fusion.audio_layer
    audio, keys = noise(1, 5, 8), {}
    one, other = (
        fusion._layer(layer, audio, noise(1, 5, 8, seed=s), keys, keys)
        for s in (1, 2)
    )
    assert torch.equal(one, other)


def test_positions_are_those_of_speechbrain():
    from speechbrain.lobes.models.transformer.Transformer import (
        PositionalEncoding,
    )

    wanted = PositionalEncoding(6, max_len=2500)(torch.zeros(1, 2500, 6))[0]
    # The reference computes its angles in single precision.
    assert torch.allclose(sinusoidal_positions(2500, 6), wanted, atol=2e-4)


def test_gate():
    fusion = Gated(width=2)
    torch.nn.init.zeros_(fusion.gate.weight)
    fusion.gate.bias.data = torch.tensor([0.0, math.log(3)])  # 1/2 and 3/4
    audio = torch.tensor([[[4.0, 4.0], [4.0, 4.0]]])
    seen = torch.tensor([[True, False]])
    fused = fusion(audio, torch.zeros(1, 2, 2), None, seen)
    assert torch.allclose(fused, torch.tensor([[[2.0, 3.0], [4.0, 4.0]]]))


def test_concatenation_adds_what_its_columns_make_of_each_stream():
    fusion = make("concatenation")
    audio, video = noise(1, 5, 6), noise(1, 5, 4)
    weight, bias = fusion.layers[0].weight, fusion.layers[0].bias
    wanted = audio @ weight[:, :6].T + video @ weight[:, 6:].T + bias
    assert close(fusion(audio, video), wanted)


def test_convolutional_starts_as_the_audio_alone_and_learns():
    fusion = ConvolutionalFusion(6, 4, width=16, dropout=0.0)
    audio, video = noise(2, 30, 6), noise(2, 30, 4)
    assert torch.equal(fusion(audio, video), audio)
    optimizer = torch.optim.Adam(fusion.parameters(), 0.02)
    wanted = audio + video[..., :1]
    losses = []
    for _ in range(60):
        loss = (fusion(audio, video) - wanted).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]
    # Without video, or where it is not valid, nothing is added.
    assert torch.equal(fusion(audio, None), audio)
    seen = torch.arange(30) < 20
    fused = fusion(audio, video, None, seen.expand(2, 30))
    assert torch.equal(fused[:, 20:], audio[:, 20:])
    assert not torch.equal(fused[:, :20], audio[:, :20])


# --- All of them ------------------------------------------------------------


@every
def test_shape_and_gradients_to_both_streams(name):
    fusion = make(name)
    audio = noise(2, 20, 6).requires_grad_()
    video = noise(2, 10, 4).requires_grad_()
    fused = fusion(audio, video)
    assert fused.shape == (2, 20, fusion.output_size)
    fused.square().sum().backward()
    for stream in (audio, video):
        assert (stream.grad.abs().sum(2) > 0).all()
    assert all(p.grad is not None for p in fusion.parameters())


@every
def test_items_do_not_depend_on_companions_or_padding(name):
    fusion = make(name)
    audio, video = noise(2, 20, 6), noise(2, 20, 4, seed=1)
    # What lies in the padding must not matter, not even if it is not finite.
    audio[0, 12:], video[0, 11:] = math.nan, math.inf
    masks = valid(20, 12, 20), valid(20, 11, 20)
    with torch.no_grad():
        together = fusion(audio, video, *masks)
        alone = fusion(audio[:1, :12], video[:1, :12], None, valid(12, 11)[:1])
    assert close(together[0, :12], alone[0])
    assert (together[0, 12:] == 0).all()
    assert together.isfinite().all()
    assert close(together[1], fusion(audio[1:], video[1:])[0])


@every
@pytest.mark.parametrize("video_frames", [4, 6, 8])
def test_an_item_of_other_rates_is_the_item_alone(name, video_frames):
    """12 frames at 50/s and 4, 6 or 8 at 25/s, padded to 20 and 10."""
    fusion = make(name, audio_rate=50, video_rate=25)
    audio, video = noise(1, 20, 6), noise(1, 10, 4, seed=1)
    with torch.no_grad():
        padded = fusion(audio, video, valid(20, 12), valid(10, video_frames))
        alone = fusion(audio[:, :12], video[:, :video_frames])
    assert close(padded[:, :12], alone)


@every
def test_a_missing_stream_is_zeros(name):
    fusion = make(name)
    audio, video = noise(1, 20, 6), noise(1, 20, 4)
    nothing = valid(20, 0)
    with torch.no_grad():
        for none, invalid, zeros in (
            (
                fusion(audio, None),
                fusion(audio, video, None, nothing),
                fusion(audio, 0 * video, None, nothing),
            ),
            (
                fusion(None, video),
                fusion(audio, video, nothing, None),
                fusion(0 * audio, video, nothing, None),
            ),
        ):
            assert torch.equal(none, invalid) and torch.equal(none, zeros)
            assert none.isfinite().all() and none.abs().sum() > 0
        both = fusion(audio, video, nothing, nothing)
    assert torch.equal(both, torch.zeros_like(both))
    with pytest.raises(ConfigError, match="neither audio nor video"):
        fusion(None, None)


@pytest.mark.parametrize("kind", [ResidualCrossAttention, CrossAttention])
def test_missing_video_is_the_published_control_without_video(kind):
    """There, a video of zeros is not masked."""
    torch.manual_seed(0)
    fusion = kind(**ATTENTION)
    audio = noise(1, 20, 8)
    zeros = torch.zeros_like(audio)
    assert close(fusion(audio, None), fusion(audio, zeros))
    padded = torch.cat([audio, noise(1, 5, 8)], dim=1)
    found = fusion(padded, None, valid(25, 20))[:, :20]
    assert close(found, fusion(audio, zeros))


@pytest.mark.parametrize("kind", [ResidualCrossAttention, CrossAttention])
def test_without_masks_padding_is_looked_at_as_published(kind):
    torch.manual_seed(0)
    fusion = kind(**ATTENTION, masks=False)
    audio, video = noise(1, 20, 8), noise(1, 20, 8, seed=1)
    padded = [torch.nn.functional.pad(x, (0, 0, 0, 5)) for x in (audio, video)]
    masks = valid(25, 20), valid(25, 20)
    found = fusion(*padded, *masks)[:, :20]
    assert close(found, fusion(*padded)[:, :20])
    assert not close(found, fusion(audio, video))


@every
def test_nothing_beyond_the_context_matters(name):
    fusion = make(name)
    audio, video = noise(1, 120, 6), noise(1, 120, 4, seed=1)
    audio.requires_grad_()
    video.requires_grad_()
    fusion(audio, video)[0, 60].square().sum().backward()
    reach = 60
    if fusion.context_s < math.inf:
        reach = round(fusion.context_s * 50)
    for stream in (audio, video):
        (used,) = stream.grad[0].abs().sum(1).nonzero(as_tuple=True)
        assert used.min() == max(0, 60 - reach)
        assert used.max() == min(119, 60 + reach)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("convolutional", {}),
        ("convolutional", {"audio_rate": 50, "video_rate": 25}),
        ("residual_window", {"positions": False}),
    ],
)
def test_chunks_with_context_are_the_whole(name, options):
    fusion = make(name, **options)
    step = 2 if options.get("video_rate") == 25 else 1
    audio, video = noise(1, 200, 6), noise(1, 200 // step, 4, seed=1)
    context = math.ceil(fusion.context_s * 50 / step) * step
    with torch.no_grad():
        whole, parts = fusion(audio, video), []
        for start in range(0, 200, 50):
            low, high = max(0, start - context), start + 50 + context
            chunk = fusion(
                audio[:, low:high], video[:, low // step : high // step]
            )
            parts.append(chunk[:, start - low : start - low + 50])
    assert close(torch.cat(parts, dim=1), whole)


def test_reach_of_the_convolutions():
    fusion = ConvolutionalFusion(dilations=(1, 4), kernel_size=5)
    assert fusion.context_s == pytest.approx((2 + 8) / 50)
    fusion = ConvolutionalFusion(audio_rate=100, video_rate=25, dilations=(5,))
    assert fusion.context_s == pytest.approx(5 / 100 + 1 / 25)


def test_a_window_with_nothing_in_it_stays_finite():
    fusion = make("cross_window")
    audio, video = noise(1, 60, 6).requires_grad_(), noise(1, 60, 4)
    seen = valid(60, 3)
    fused = fusion(audio, video, None, seen)
    fused.sum().backward()
    assert fused.isfinite().all() and audio.grad.isfinite().all()


# --- Time --------------------------------------------------------------------


def ramp(frames, rate):
    """The time of each frame's centre, in seconds."""
    return ((torch.arange(frames) + 0.5) / rate).reshape(1, -1, 1)


@pytest.mark.parametrize("rate", [20, 25, 29.97, 50, 60, 100])
@pytest.mark.parametrize("with_rates", [False, True])
def test_a_ramp_meets_the_ramp_of_the_same_time(rate, with_rates):
    seconds = 1000 / rate  # so that both streams last equally long
    frames = round(seconds * 50)
    rates = {"audio_rate": frames / seconds, "video_rate": rate}
    video, seen = align(
        ramp(1000, rate), None, frames, **(rates if with_rates else {})
    )
    wanted = ramp(frames, frames / seconds)
    # Up to the first and after the last centre there is nothing to go by.
    inner = (wanted > 0.5 / rate) & (wanted < seconds - 0.5 / rate)
    assert torch.allclose(video[inner], wanted[inner], atol=1e-4)
    assert seen.all()
    assert (video - wanted).abs().max() < 0.5 / rate + 1e-6


@pytest.mark.parametrize("rate", [25, 50])
def test_streams_that_start_together_and_end_differently(rate):
    rates = {"audio_rate": 50, "video_rate": rate}
    video, seen = align(ramp(2 * rate, rate), None, 150, **rates)
    assert seen.tolist() == [[True] * 100 + [False] * 50]
    inner = slice(1, 99)
    assert torch.allclose(video[:, inner], ramp(150, 50)[:, inner], atol=1e-6)
    assert (video[:, 100:] == 0).all()
    longer, seen = align(ramp(4 * rate, rate), None, 150, **rates)
    assert seen.all() and longer.shape == (1, 150, 1)
    assert torch.allclose(longer[:, 1:], ramp(150, 50)[:, 1:], atol=1e-6)


def test_masks_are_interpolated_and_what_they_hide_is_not():
    video = torch.tensor([1.0, math.nan, 3.0, 5.0]).reshape(1, 4, 1)
    seen = torch.tensor([[True, False, True, True]])
    video, seen = align(video, seen, 8)
    # Positions -0.25 0.25 0.75 1.25 1.75 2.25 2.75 3.25 in frames.
    assert seen[0].tolist() == [True, True, *[False] * 2, *[True] * 4]
    assert video.flatten().tolist() == [1, 1, 0, 0, 3, 3.5, 4.5, 5]


def test_the_same_length_is_left_alone():
    video = noise(1, 7, 3)
    assert torch.equal(align(video, frames=7)[0], video)
    rates = {"audio_rate": 50, "video_rate": 50}
    assert torch.equal(align(video, None, 5, **rates)[0], video[:, :5])


@pytest.mark.parametrize("frames", [(0, 4), (4, 0)])
def test_empty_streams(frames):
    have, want = frames
    video, seen = align(torch.zeros(2, have, 3), None, want)
    assert video.shape == (2, want, 3) and not seen.any()


# --- What a user can do wrong ------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: make("cross")(noise(1, 5, 3), None), "3 channels but .* 6"),
        (
            lambda: make("cross")(noise(2, 5, 6), noise(1, 5, 4)),
            "2 items but the video has 1",
        ),
        (
            lambda: make("cross")(noise(1, 5, 6), None, valid(4, 4)),
            "5 frames but audio_valid has 4",
        ),
        (lambda: CrossAttention(width=10, heads=4), "10 .* 4 heads"),
        (lambda: ResidualCrossAttention(8, alpha=2), "alpha is 2"),
        (lambda: ConvolutionalFusion(kernel_size=4), "kernel_size is 4"),
        (lambda: Gated(audio_rate=50), "50 but video_rate is None"),
    ],
)
def test_errors_name_both_numbers(call, message):
    with pytest.raises(ConfigError, match=message):
        call()
