"""The encoder of sound and lips: missing streams, padding, time."""

import pytest
import torch

from speechbrain_ext import fusion
from speechbrain_ext.encoders.lips import LipEncoder
from speechbrain_ext.encoders.spectral import HarmonicEncoder
from speechbrain_ext.encoders.two_stream import TwoStreamEncoder, streams_of
from speechbrain_ext.errors import ConfigError


def small_audio():
    return HarmonicEncoder(
        channels=16,
        front_channels=(2, 2, 2),
        harmonics=(1, 2),
        low=48,
        n_pitches=12,
        dilations=(1, 2),
    )


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    made = TwoStreamEncoder(
        lips=LipEncoder(channels=16, widths=(8, 16), dilations=(1, 2)),
        audio=small_audio(),
        fusion=fusion.ConvolutionalFusion(16, 16, 16, dilations=(1, 2)),
    )
    # As after training: what is seen matters.
    torch.nn.init.normal_(made.fusion.exit.weight, std=0.1)
    return made.eval()


@pytest.fixture(scope="module")
def clips():
    torch.manual_seed(1)
    wavs = 0.1 * torch.randn(3, 16000)
    video = torch.randint(1, 255, (3, 50, 88, 88), dtype=torch.uint8)
    return wavs, video


def test_shape_is_the_fusion_and_the_evidence(encoder, clips):
    # 16 channels, then 3 bins and 2 notes for each of 12 semitones.
    assert encoder.output_size == 16 + 5 * 12
    assert encoder.evidence_size == 5 * 12
    wavs, video = clips
    assert encoder(wavs, video=video).shape == (3, 50, 76)
    assert (encoder.low, encoder.n_pitches) == (48, 12)


def test_a_missing_stream_is_the_same_however_it_is_missing(encoder, clips):
    wavs, video = clips
    heard = torch.tensor([[True, False]] * 3)
    seen = torch.tensor([[False, True]] * 3)
    with torch.no_grad():
        assert torch.equal(
            encoder(wavs), encoder(wavs, video=video, streams=heard)
        )
        assert torch.equal(
            encoder(video=video), encoder(wavs, video=video, streams=seen)
        )
        black = encoder(wavs, video=torch.zeros_like(video))
        assert torch.allclose(black, encoder(wavs), atol=1e-6)


def test_what_is_not_heard_is_no_evidence(encoder, clips):
    wavs, video = clips
    streams = torch.tensor([[True, True], [False, True], [True, False]])
    with torch.no_grad():
        feats = encoder(wavs, video=video, streams=streams)
    assert feats[1, :, 16:].abs().max() == 0
    assert feats[0, :, 16:].abs().max() > 0
    assert feats[1, :, :16].abs().max() > 0


def test_items_do_not_depend_on_their_batch(encoder, clips):
    wavs, video = clips
    streams = torch.tensor([[True, True], [False, True], [True, False]])
    with torch.no_grad():
        together = encoder(wavs, video=video, streams=streams)
        for k in range(3):
            part = slice(k, k + 1)
            alone = encoder(
                wavs[part], video=video[part], streams=streams[part]
            )
            assert torch.allclose(alone, together[part], atol=1e-5)


def test_padding_changes_nothing(encoder, clips):
    wavs, video = clips
    with torch.no_grad():
        alone = encoder(wavs[:1, :9600], video=video[:1, :30])
        padded = encoder(
            torch.cat([wavs[:1, :9600], torch.zeros(1, 6400)], 1),
            torch.tensor([0.6]),
            torch.cat([video[:1, :30], torch.zeros_like(video[:1, :20])], 1),
        )
    assert torch.allclose(alone, padded[:, :30], atol=1e-5)
    assert padded[:, 30:].abs().max() == 0


def test_a_part_with_context_equals_the_whole(encoder):
    torch.manual_seed(2)
    frames, reach = 200, round(encoder.context_s * 50)
    wavs = 0.1 * torch.randn(1, frames * 320)
    video = torch.randint(1, 255, (1, frames, 88, 88), dtype=torch.uint8)
    first, last = 90, 110
    left, right = first - reach, last + reach
    with torch.no_grad():
        whole = encoder(wavs, video=video)[:, first:last]
        part = encoder(
            wavs[:, left * 320 : right * 320], video=video[:, left:right]
        )[:, reach : reach + last - first]
    assert torch.allclose(part, whole, atol=1e-5)


def test_lips_alone(clips):
    lips = LipEncoder(channels=16, widths=(8, 16), dilations=(1,))
    encoder = TwoStreamEncoder(lips=lips).eval()
    wavs, video = clips
    streams = torch.tensor([[True, True], [False, True], [True, False]])
    with torch.no_grad():
        feats = encoder(wavs, video=video, streams=streams)
        assert torch.allclose(feats[:2], lips(video[:2]), atol=1e-6)
    assert feats[2].abs().max() == 0


def test_half_an_encoder_is_refused():
    with pytest.raises(ConfigError, match="belong together"):
        TwoStreamEncoder(lips=LipEncoder(), audio=small_audio())


def test_unknown_modality():
    assert streams_of("both") == (True, True)
    with pytest.raises(
        ConfigError, match="'lips' is unknown: use one of audio"
    ):
        streams_of("lips")
