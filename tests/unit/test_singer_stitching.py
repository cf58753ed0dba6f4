"""Which output is whose: with separators that know the voices by heart."""

import sys
import tracemalloc
from functools import cache
from itertools import permutations
from types import ModuleType

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from benchmarks.singers_oracle import (
    RATE,
    choir,
    oracle_separator,
    people,
)
from speechbrain_ext.errors import ConfigError, DependencyError, OutputError
from speechbrain_ext.inference import singer_stitching, voice_activity
from speechbrain_ext.inference.singer_stitching import (
    BY_SPANS,
    Evidence,
    Piece,
    SingerStitcher,
    Stitching,
    blend,
)
from speechbrain_ext.inference.splitter import SingerSplitter
from speechbrain_ext.inference.voice_prints import (
    EncoderPrints,
    SpectralPrints,
    pitches,
)
from speechbrain_ext.metrics.singers import find_swaps
from speechbrain_ext.separation.codec import STFT
from speechbrain_ext.separation.separator import MaskSeparator
from speechbrain_ext.separation.tasnet import ConvTasNet

RESTS = [(6, 9.0), (12, 7.0)]
SHORT = {"window_s": 4.0, "hop_s": 3.0}


@cache
def sung(seed, task="duet", count=2):
    """A choir with rests in which all are silent."""
    return choir(seed, task, count, seconds=18.0, rests=RESTS)


class Colour(nn.Module):
    """An encoder: mean magnitude of bands of 20 ms of sound."""

    def forward(self, wavs):
        frames = wavs[:, : wavs.shape[1] // 320 * 320].reshape(
            len(wavs), -1, 320
        )
        spectra = torch.fft.rfft(frames).abs()[..., :160]
        return torch.log(spectra.unflatten(-1, (16, 10)).mean(-1) + 1e-3)


def split(voices, way="global", leak=0.0, seed=1, **settings):
    """Voices, in the order of the splitter, and what it tells."""
    oracle = oracle_separator(voices, seed=seed, leak=leak)
    stitching = Stitching(way, **{**SHORT, **settings})
    splitter = SingerSplitter(oracle, stitching)
    out, told = splitter.split(voices.sum(0), RATE)
    return out, told, oracle.network


@pytest.mark.parametrize("task, count", [("duet", 2), ("main_vs_rest", 3)])
@pytest.mark.parametrize("seed", [0, 1])
def test_nobody_changes_places(task, count, seed):
    voices = sung(seed, task, count)
    out, told, network = split(voices, seed=seed)
    assert len({tuple(order) for order in network.orders}) > count - 1
    swaps = find_swaps(voices, out, RATE)
    assert swaps.windows > 20 and swaps.changes == swaps.away == 0
    order = min(
        permutations(range(count)),
        key=lambda order: np.abs(out[list(order)] - voices).sum(),
    )
    error = np.mean((out[list(order)] - voices) ** 2, axis=1)
    assert (error < 1e-3 * np.mean(voices**2, axis=1)).all()
    assert np.abs(out.sum(0) - voices.sum(0)).max() < 1e-5


class Acquainted(nn.Module):
    """An encoder that knows who sings: what it hears against each voice."""

    def __init__(self, voices):
        super().__init__()
        self.register_buffer("colours", self._colours(torch.tensor(voices)))

    @staticmethod
    def _colours(wavs):
        frames = wavs[:, : wavs.shape[1] // 320 * 320]
        spectra = torch.fft.rfft(frames.reshape(len(wavs), -1, 320)).abs()
        mean = spectra.square().mean(1).sqrt()
        return mean / mean.norm(dim=-1, keepdim=True).clamp(min=1e-9)

    def forward(self, wavs):
        said = self._colours(wavs) @ self.colours.T
        sure = torch.nn.functional.one_hot(said.argmax(-1), len(self.colours))
        return sure[:, None].float().repeat(1, wavs.shape[1] // 320, 1)


@pytest.mark.parametrize(
    "way, gap",
    [("global", 0.5), ("global", 3.0), ("global", 31.0), ("w2v", 9.0)],
)
def test_no_gap_is_too_long_for_who_knows_the_voices(way, gap):
    """As published, by overlaps alone, chance decides beyond 2.25 s."""
    voices = people(["bass", "soprano"], seconds=12.0, rests=[(6, gap)])
    for seed in (1, 2):
        out, _, _ = split(
            voices,
            way,
            seed=seed,
            encoder=Acquainted(voices),
            window_s=3.0,
            hop_s=2.25,
        )
        swaps = find_swaps(voices, out, RATE)
        assert swaps.windows > 15 and swaps.changes == swaps.away == 0


@given(st.integers(1, 60000), st.floats(0.2, 6.0), st.floats(0.5, 0.95))
@settings(max_examples=15, deadline=None)
def test_one_output_that_is_all_gives_the_input(samples, window_s, share):
    """For any length, window and hop; and outputs add up to the mixture."""

    class Everything(nn.Module):
        context_frames = 0

        def forward(self, spec):
            whole = torch.ones(len(spec), 1, *spec.shape[1:])
            return torch.cat([whole, 0.25 * whole, -0.25 * whole], 1)

    made = MaskSeparator(Everything(), ["a", "b", "c"], 8000, 256, 64)
    wav = np.random.default_rng(samples).normal(0, 0.1, samples).astype("f4")
    stitching = Stitching("ola", window_s, share * window_s)
    out, _ = SingerSplitter(made, stitching, add_up=False).split(wav, 8000)
    assert np.abs(out[0] - wav).max() < 1e-5
    assert np.abs(out.sum(0) - wav).max() < 1e-5


def test_three_untrained_outputs_are_as_with_one_chunk():
    """A network with three outputs, whatever it says: stitched is whole."""
    torch.manual_seed(0)
    network = ConvTasNet(
        257,
        3,
        channels=4,
        hidden=8,
        skip=4,
        n_repeats=1,
        n_blocks=2,
        features="log",
        mask="real",
        norm="frame",
    )
    made = MaskSeparator(network, ["a", "b", "c"], RATE, 512, 128).eval()
    wav = choir(0, seconds=9.0).sum(0)
    outs = [
        SingerSplitter(made, Stitching(**seconds, context_s=9.0)).split(
            wav, RATE
        )[0]
        for seconds in ({"window_s": 60.0}, {"window_s": 3.0, "hop_s": 2.0})
    ]
    assert outs[0].shape == (3, len(wav))
    assert np.abs(outs[0] - outs[1]).max() < 1e-4
    assert np.abs(outs[1].sum(0) - wav).max() < 1e-5


def test_what_the_network_hears_is_bounded():
    """Parts of 30 s with 1 s beside them, 26 s on: 32 / 26 of the sound."""
    calls = []

    class Far(nn.Module):
        context_frames = 9999

        def forward(self, spec):
            calls.append(spec.shape[1])
            return torch.full((len(spec), 2, *spec.shape[1:]), 0.5)

    made = MaskSeparator(Far(), ["a", "b"], 8000, 1024, 512)
    seconds = 600.0
    wav = np.zeros(int(seconds * 8000), np.float32)
    SingerSplitter(made).split(wav, 8000)
    heard = np.array(calls) * 512 / 8000
    assert heard.max() <= 32.2
    # The published windows of 3 s every 0.75 s hear four times as much.
    assert 4 * seconds / heard.sum() >= 3


def test_nobody_changes_places_where_outputs_leak():
    voices = sung(0)
    out, _, _ = split(voices, leak=0.4)
    assert find_swaps(voices, out, RATE).away == 0


def test_four_people():
    voices = people(["bass", "tenor", "alto", "soprano"], seed=2, seconds=14.0)
    out, _, network = split(voices)
    assert len({tuple(order) for order in network.orders}) > 3
    swaps = find_swaps(voices, out, RATE)
    assert swaps.windows > 15 and swaps.away == 0


@pytest.mark.parametrize("way", ["ola", "ola_norm"])
def test_published_ways_lose_singers_in_rests(way):
    """Chance decides; of 2 recordings with 2 rests at least one is wrong."""
    wrong = []
    for seed in (0, 1):
        voices = sung(seed)
        out, told, _ = split(voices, way, seed=1)
        wrong.append(find_swaps(voices, out, RATE).away > 0)
        # It does not know, and says so.
        assert told.confidences.min() == pytest.approx(0.5)
        assert "may change places" in told.warnings[0]
    assert any(wrong)
    whole = choir(0, seconds=12.0)
    out, told, _ = split(whole, way)
    assert find_swaps(whole, out, RATE).away == 0
    assert told.confidences.min() > 0.9


@pytest.mark.parametrize("activity", ["spec"])
@pytest.mark.parametrize("way", BY_SPANS)
def test_spans(way, activity):
    voices = people(["bass", "soprano"], rests=[(6, 3.0), (12, 4.0)])
    encoder = Colour() if way == "w2v_chunk" else None
    out, told, network = split(
        voices, way, encoder=encoder, activity=activity, window_s=8.0, hop_s=5
    )
    assert find_swaps(voices, out, RATE).away == 0
    # Rests are not sent to the network, nor is anything longer than a window.
    heard = sum(frames for _, frames, _ in network.calls) * 256 / RATE
    assert heard < voices.shape[1] / RATE
    assert max(c[1] for c in network.calls) <= 8.0 * RATE / 256
    assert np.abs(out.sum(0) - voices.sum(0)).max() < 1e-5


def test_a_running_mean_of_an_encoder():
    voices = people(["bass", "soprano"], rests=RESTS)
    out, _, _ = split(voices, "w2v", encoder=Colour())
    assert find_swaps(voices, out, RATE).away == 0


def test_spectral_centroids_are_compared():
    """As one number each they are all alike to a cosine, as published."""
    voices = people(["bass", "soprano"], rests=RESTS)
    prints = SpectralPrints("spectral_centroid")
    spectra = STFT(1024, 256)(torch.from_numpy(voices)).numpy()
    (low, high), _ = prints(spectra, RATE, 256)
    assert high[0] - low[0] > prints.spread[0]
    out, _, _ = split(voices, "sf_chunk", features="spectral_centroid")
    assert np.isfinite(out).all()


def test_chunks_are_the_whole():
    voices = choir(0, seconds=12.0, rests=[(9, 5.0)])
    chunked, _, _ = split(voices)
    whole, _, network = split(voices, window_s=99.0, hop_s=60.0)
    assert len(network.calls) == 1
    if np.abs(chunked[0] - whole[0]).sum() > np.abs(chunked[0]).sum() / 2:
        whole = whole[::-1]
    assert np.abs(chunked - whole).max() < 1e-5


class Reach(nn.Module):
    """Masks that depend on two frames to each side."""

    context_frames = 2

    def forward(self, spec):
        near = nn.functional.avg_pool1d(spec.abs().mT, 5, 1, 2).mT
        mask = torch.sigmoid(near - near.mean(-1, keepdim=True))
        return torch.stack([mask, 1 - mask], 1)


@pytest.mark.parametrize("batch", [1, 3])
def test_masks_of_a_short_reach_do_not_depend_on_chunks(noise, batch):
    made = MaskSeparator(Reach(), ["a", "b"], RATE, 512, 128).eval()
    wav = noise(9.3)
    expected = made(torch.from_numpy(wav.T)[None])[0, :, 0].detach().numpy()
    splitter = SingerSplitter(
        made, Stitching(window_s=2.0, hop_s=1.5), batch_size=batch
    )
    out, _ = splitter.split(wav[:, 0], RATE)
    assert np.abs(out - expected).max() < 1e-5


def test_batches_change_nothing(noise):
    voices = choir(0, seconds=14.0)
    outs = []
    for batch in (1, 3):
        oracle = oracle_separator(voices, shuffle=False)
        splitter = SingerSplitter(oracle, Stitching(**SHORT), batch_size=batch)
        outs.append(splitter.split(voices.sum(0), RATE)[0])
        assert max(calls[0] for calls in oracle.network.calls) == batch
    assert np.abs(outs[0] - outs[1]).max() < 1e-6


def test_memory_does_not_grow(noise, monkeypatch):
    monkeypatch.setattr(singer_stitching, "_SPOOL", 1 << 16)
    made = MaskSeparator(Reach(), ["a", "b"], 8000, 256, 128).eval()
    splitter = SingerSplitter(made, Stitching(**SHORT))
    block = noise(5, 8000)

    def peak(count):
        tracemalloc.start()
        stitcher = SingerStitcher(splitter.separator, splitter.stitching)

        def blocks():
            return (block for _ in range(count))

        with stitcher.decide(blocks, 8000) as found:
            for _ in splitter._voices(found, blocks(), 8000):
                pass
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(2)
    assert peak(16) < 1.3 * peak(4)


def test_no_room_for_masks(noise, monkeypatch):
    class Full:
        def write(self, data):
            raise OSError(28, "No space left on device")

        def close(self):
            pass

    monkeypatch.setattr(
        singer_stitching.tempfile, "SpooledTemporaryFile", lambda **_: Full()
    )
    made = MaskSeparator(Reach(), ["a", "b"], RATE, 512, 128)
    with pytest.raises(OutputError, match="No space left.*TMPDIR"):
        SingerSplitter(made).split(noise(1)[:, 0], RATE)


@given(st.integers(2, 5), st.integers(1, 12), st.integers(0, 999))
@settings(max_examples=40, deadline=None)
def test_any_orders_are_found(voices, chunks, seed):
    rng = np.random.default_rng(seed)
    truth = np.stack([rng.permutation(voices) for _ in range(chunks)])
    # Output j of chunk k is of singer inverse[k, j].
    inverse = np.argsort(truth, axis=1)
    links = np.zeros((chunks - 1, voices, voices))
    for k in range(chunks - 1):
        if rng.uniform() < 0.6:
            links[k] = inverse[k][:, None] == inverse[k + 1]
    colours = 8.0 * np.arange(voices)
    values = colours[inverse] + rng.normal(0, 0.3, (chunks, voices))
    evidence = Evidence(
        links, values[..., None], np.full((chunks, voices), 5.0), np.ones(1)
    )
    orders = evidence.solve()
    assert np.array_equal(orders[0], np.arange(voices))
    expected = truth[:, inverse[0]]
    assert np.array_equal(orders, expected)
    assert (evidence.confidences(orders) > 0.9).all()
    by_prints = evidence.chain("prints")
    assert np.array_equal(by_prints, expected)
    clear = next((k for k in range(chunks - 1) if not links[k].any()), None)
    if clear is None:
        assert np.array_equal(evidence.chain("links"), expected)


def test_a_cycle_of_three_is_not_turned_round():
    """As published, the two cyclic orders of three were mixed up."""
    cycle = [1, 2, 0]
    links = np.zeros((1, 3, 3))
    links[0, [0, 1, 2], cycle] = 1.0
    for orders in (Evidence(links).chain(), Evidence(links).solve()):
        assert orders[1].tolist() == cycle


def test_prints_overrule_one_doubtful_link():
    links = np.zeros((3, 2, 2))
    links[[0, 2]] = np.eye(2)
    links[1] = 0.3 * (1 - np.eye(2))  # says: they change places
    values = np.tile([[-4.0], [4.0]], (4, 1, 1))
    evidence = Evidence(links, values, np.full((4, 2), 9.0), np.ones(1))
    assert evidence.solve().tolist() == [[0, 1]] * 4
    assert evidence.chain().tolist() == [[0, 1]] * 2 + [[1, 0]] * 2


def test_nothing_known_is_even_odds():
    evidence = Evidence(np.zeros((1, 2, 2)))
    assert evidence.confidences(evidence.solve()).tolist() == [0.5]


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=8),
    st.integers(0, 6),
)
@settings(max_examples=40, deadline=None)
def test_blending_one_thing_gives_it(lengths, fade):
    begins = np.cumsum([0, *lengths])
    total = begins[-1]
    signal = np.random.default_rng(0).normal(size=(total, 2)).astype("f4")
    pieces = [
        Piece(int(begin), int(min(begin + length + fade, total)), True)
        for begin, length in zip(begins[:-1], lengths, strict=True)
    ]
    pieces = [p for k, p in enumerate(pieces) if k == 0 or p.end > 0]
    masks = [signal[p.begin : p.end] for p in pieces]
    out = np.concatenate(list(blend(pieces, masks, fade)))
    assert np.abs(out - signal).max() < 1e-5


@pytest.mark.parametrize(
    "settings, says",
    [
        ({"way": "best"}, "stitching 'best': use one of global, ola"),
        ({"activity": "ears"}, "voice activity 'ears': use one of spec"),
        ({"features": "x"}, "features 'x': use one of mfcc"),
        (
            {"window_s": 3.0, "hop_s": 8.0},
            "window_s is 3 and hop_s 8: the hop must be",
        ),
        ({"hop_s": 2.0}, "window_s is 30 and hop_s 2"),
        ({"window_s": 0.0}, "window_s is 0 and hop_s 0"),
        ({"context_s": -1.0}, "context_s is -1.0: use 0 or more"),
        ({"way": "w2v"}, "'w2v' needs an encoder"),
    ],
)
def test_wrong_settings(settings, says):
    with pytest.raises(ConfigError, match=says):
        Stitching(**settings)


@pytest.mark.parametrize(
    "name, package", [("webrtc", "webrtcvad"), ("silero", "silero-vad")]
)
def test_missing_detectors(monkeypatch, name, package):
    monkeypatch.setitem(sys.modules, package.replace("-", "_"), None)
    with pytest.raises(DependencyError, match=f"needs {package}: pip install"):
        Stitching("sf_chunk", activity=name)


@pytest.fixture
def webrtc(monkeypatch):
    """webrtcvad, as its documentation has it, by energy of true 16 bits."""
    package = ModuleType("webrtcvad")

    class Vad:
        def __init__(self, mode):
            assert mode in (0, 1, 2, 3)

        def is_speech(self, data, rate):
            assert rate == 16000 and len(data) == 960
            return bool(np.abs(np.frombuffer(data, np.int16)).max() > 300)

    package.Vad = Vad
    monkeypatch.setitem(sys.modules, "webrtcvad", package)


def test_webrtc_hears_whole_numbers(webrtc):
    loud = np.full(700, 0.1, np.float32)
    quiet = np.full(700, 0.001, np.float32)  # 33 of 32767
    found = voice_activity.webrtc_activity([loud, quiet, loud[:1]])
    # Frames of 480 samples: the third, of 1401 samples in all, is mostly quiet.
    assert found.tolist() == [True, True, True]
    found = voice_activity.webrtc_activity([quiet, quiet])
    assert found.tolist() == [False, False, False]


def test_spans_of_webrtc(webrtc):
    voices = people(["bass", "soprano"], rests=[(6, 3.0)])
    voices *= 0.5 / np.abs(voices).max()
    out, _, network = split(voices, "sf_chunk", activity="webrtc")
    assert np.abs(out.sum(0) - voices.sum(0)).max() < 1e-5
    assert max(c[1] for c in network.calls) <= 4.0 * RATE / 256


def test_activity_reaches_the_last_sample():
    """As published, the last 43 to 85 ms were never separated."""
    # Rises, so that the oracle can tell where it is.
    time = np.arange(2 * RATE) / RATE
    tone = np.sin(2 * np.pi * (200 * time + 150 * time**2)).astype("f4")
    voices = np.stack([tone, np.zeros_like(tone)])
    out, _, _ = split(voices, "sf_chunk")
    assert np.abs(np.abs(out).max(0) - np.abs(tone)).max() < 1e-3
    assert np.abs(out[:, -500:]).max(1).min() < 1e-3


def test_silence():
    out, told, network = split(np.zeros((2, RATE), np.float32), "sf_chunk")
    assert not out.any() and not network.calls and not told.warnings
    out, told, _ = split(np.zeros((2, 9 * RATE), np.float32))
    assert not out.any() and len(told.confidences) == 2


@pytest.mark.parametrize("midi", [45, 57, 69, 81])
def test_pitches_of_tones(midi):
    hertz = 440 * 2 ** ((midi - 69) / 12)
    time = np.arange(24000) / 24000
    tone = sum(np.sin(2 * np.pi * hertz * k * time) / k for k in range(1, 9))
    spectra = STFT(2048, 512)(torch.from_numpy(tone.astype("f4")))
    found = pitches(spectra[4:-4].abs().numpy(), 24000)
    assert np.abs(found - midi).max() < 0.5


def test_prints_tell_voices_apart():
    voices = people(["bass", "alto"])
    spectra = STFT(1024, 256)(torch.from_numpy(voices)).numpy()
    half = spectra.shape[1] // 2
    for prints in (
        SpectralPrints(),
        SpectralPrints("mfcc"),
        EncoderPrints(Colour(), STFT(1024, 256)),
    ):
        first, seconds = prints(spectra[:, :half], RATE, 256)
        second, _ = prints(spectra[:, half:], RATE, 256)
        assert (seconds > 4).all()
        apart = [
            [np.mean(((a - b) / prints.spread) ** 2) for b in second]
            for a in first
        ]
        assert apart[0][0] + apart[1][1] < apart[0][1] + apart[1][0]
