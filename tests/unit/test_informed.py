"""Separators that are told what is sung: placement, controls, learning."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from speechbrain import Stage
from speechbrain.dataio.batch import PaddedBatch

from speechbrain_ext.audio import write_audio
from speechbrain_ext.brains import separation
from speechbrain_ext.brains.informed import InformedBrain
from speechbrain_ext.errors import ConfigError, ManifestError, ModelError
from speechbrain_ext.inference.separator import VoiceSeparator
from speechbrain_ext.inference.transfer import estimate_sources
from speechbrain_ext.losses import MagnitudeLoss
from speechbrain_ext.lyrics.phones import INDEX, PHONES
from speechbrain_ext.lyrics.posteriorgram import Posteriorgram, place
from speechbrain_ext.lyrics.timed import write_phones
from speechbrain_ext.separation.dataset import RemixAugment
from speechbrain_ext.separation.informed import (
    VARIANTS,
    AligningNetwork,
    InformedSeparator,
    MaskInference,
    best_path,
    dtw_attention,
    sequence_of,
)
from speechbrain_ext.separation.recurrent import RecurrentNetwork
from speechbrain_ext.separation.separator import MaskSeparator
from speechbrain_ext.separation.side_input import (
    CONTROLS,
    controlled,
    informed_dataset,
    with_control,
)

RATE, HOP = 1000, 10  # 10 ms
SIZE = {"sample_rate": RATE, "n_fft": 40, "hop_length": HOP}
AA, IY, SIL, SPN = (INDEX[p] for p in ("AA", "IY", "SIL", "SPN"))


def small(variant="audio_post_no_norm", **more):
    """A separator of 21 bins."""
    torch.manual_seed(0)
    network = MaskInference(variant, 21, hidden_size=6, layers=1, **more)
    return InformedSeparator(network, **SIZE).eval()


class Repeater(torch.nn.Module):
    """A mask that is the probability of AA: what a network is told."""

    context_frames = 0
    order = 0
    side_size = len(PHONES)

    def forward(self, spec, side):
        """Masks (batch, 2, frames, bins)."""
        mask = side[..., AA : AA + 1].expand(spec.shape)
        return torch.stack([mask, 1 - mask], dim=1)


# --- models ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variant", "millions"),
    [
        ("all_audio", 16.02),
        ("all_post", 15.47),
        ("audio_post_no_norm", 16.19),
        ("audio_post_norm", 16.19),
        ("audio_post_aligns", 16.77),
        ("audio_post_no_norm_larger", 24.87),
    ],
)
def test_variants_have_the_published_size(variant, millions):
    with torch.device("meta"):
        network = MaskInference(variant)
    count = sum(p.numel() for p in network.parameters())
    assert round(count / 1e6, 2) == millions


def test_with_words_the_aligned_variant_has_the_published_size():
    with torch.device("meta"):
        network = MaskInference("audio_post_aligns", n_tokens=3000)
    assert round(sum(p.numel() for p in network.parameters()) / 1e6, 1) == 16.9


def networks():
    """Small networks of all kinds."""
    torch.manual_seed(0)
    made = {
        name: MaskInference(name, 21, hidden_size=6, layers=1)
        for name in VARIANTS
    }
    for times in ("found", "given"):
        made[times] = AligningNetwork(21, hidden_size=8, times=times)
    return made


@pytest.mark.parametrize("name", [*VARIANTS, "found", "given"])
def test_an_item_alone_is_that_of_a_batch(name):
    network = networks()[name].eval()
    spec = torch.randn(3, 12, 21, dtype=torch.cfloat)
    side = torch.rand(3, 12, max(1, network.side_size)).softmax(-1)
    whole = network(spec, side)
    assert whole.shape == (3, 2, 12, 21)
    torch.testing.assert_close(whole.sum(1), torch.ones(3, 12, 21))
    alone = network(spec[1:2], side[1:2])
    torch.testing.assert_close(alone, whole[1:2], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["audio_post_norm", "found"])
def test_masks_do_not_depend_on_the_level(name):
    network = networks()[name].eval()
    spec = torch.randn(1, 12, 21, dtype=torch.cfloat)
    side = torch.rand(1, 12, 41).softmax(-1)
    louder = network(30 * spec, side)
    torch.testing.assert_close(
        network(spec, side), louder, rtol=1e-3, atol=1e-4
    )


def test_only_the_audio_variant_ignores_what_it_is_told():
    mixture = torch.randn(1, 1, 300)
    for variant in VARIANTS:
        separator = small(variant)
        size = max(1, separator.side_size)
        side = torch.rand(2, 1, separator.count(300), size)
        one, two = (separator.told(part)(mixture) for part in side)
        assert torch.equal(one, two) == (variant == "all_audio")


def test_the_variant_without_audio_does_not_hear():
    network = networks()["all_post"].eval()
    side = torch.rand(1, 12, network.side_size)
    one, two = torch.randn(2, 1, 12, 21, dtype=torch.cfloat)
    assert torch.equal(network(one, side), network(two, side))


def test_unknown_settings_are_told_of():
    with pytest.raises(ConfigError, match="all_audio, all_post"):
        MaskInference("post")
    with pytest.raises(ConfigError, match="found or given"):
        AligningNetwork(times="sought")
    with pytest.raises(ConfigError, match="hidden_size is 7"):
        AligningNetwork(hidden_size=7)


# --- attention ---------------------------------------------------------------


def test_attention_by_hand():
    scores = torch.tensor([[[1.0, 9.0], [0.0, 2.0], [0.5, 0.0]]])
    # Totals: 1, never; 1, 3; 1.5, 3.
    expected = [
        [1.0, 0.0],
        [1 / (1 + np.e**2), 1 / (1 + np.e**-2)],
        [1 / (1 + np.e**1.5), 1 / (1 + np.e**-1.5)],
    ]
    found = dtw_attention(scores, torch.tensor([2]))[0]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)


def test_attention_of_short_items_in_a_batch():
    scores = torch.randn(2, 6, 4)
    lengths = torch.tensor([4, 2])
    found = dtw_attention(scores, lengths)
    assert found[1, :, 2:].abs().max() == 0
    alone = dtw_attention(scores[1:, :, :2], lengths[1:])
    torch.testing.assert_close(found[1:, :, :2], alone)
    # No token can be reached before as many frames as it has before it.
    assert (found[0].triu(1) == 0).all()


def test_best_path_only_goes_forward():
    scores = np.random.default_rng(0).normal(size=(9, 4))
    path = best_path(scores)
    assert path[0] == 0 and path[-1] == 3
    assert set(np.diff(path)) <= {0, 1}
    # No other way is better.
    ways = [
        np.repeat(np.arange(4), np.diff([0, a, b, c, 9]))
        for a in range(1, 7)
        for b in range(a + 1, 8)
        for c in range(b + 1, 9)
    ]
    sums = [scores[np.arange(9), way].sum() for way in ways]
    assert scores[np.arange(9), path].sum() == pytest.approx(max(sums))


def test_the_aligning_network_is_told_the_order_but_not_the_times():
    def rows(*runs):
        phones = [p for p, count in runs for _ in range(count)]
        return torch.nn.functional.one_hot(torch.tensor([phones]), 41).float()

    early = rows((SIL, 2), (AA, 6), (IY, 4))
    late = rows((SIL, 6), (AA, 3), (IY, 3))
    spec = torch.randn(1, 12, 21, dtype=torch.cfloat)
    found, given = (networks()[name].eval() for name in ("found", "given"))
    assert torch.equal(found(spec, early), found(spec, late))
    assert not torch.allclose(given(spec, early), given(spec, late))
    swapped = rows((SIL, 2), (IY, 6), (AA, 4))
    assert not torch.allclose(found(spec, early), found(spec, swapped))
    weights, sequence = given.attention(spec, late)
    assert sequence.tokens.tolist() == [[SIL, AA, IY]]
    assert weights.argmax(-1).tolist() == [[0] * 6 + [1] * 3 + [2] * 3]
    (path,) = found.path(spec, early)
    assert path[0] == 0 and path[-1] == 2
    found(spec, early).square().mean().backward()
    assert found.likeness.weight.grad.abs().max() > 0


def test_sequences_of_a_batch_are_filled_up():
    side = torch.nn.functional.one_hot(torch.tensor([[1, 2, 3], [5, 5, 5]]), 41)
    found = sequence_of(side)
    assert found.tokens.tolist() == [[1, 2, 3], [5, 5, 5]]
    assert found.lengths.tolist() == [3, 1]


# --- placement ---------------------------------------------------------------


def segment(phone, start, seconds):
    """Posteriorgram of a segment that is one phone, at 50 frames a second."""
    probs = np.zeros((round(50 * seconds), 41), np.float32)
    probs[:, INDEX[phone]] = 1
    return Posteriorgram(probs, 50, start)


def test_segments_land_at_their_times():
    song = place([segment("IY", 6.0, 1.0), segment("AA", 2.0, 0.5)], 10.0)
    rows = small().rows(song, 1001)
    sung = {
        PHONES[k]: np.flatnonzero(rows[:, k] > 0.5) * HOP / RATE
        for k in np.unique(rows.argmax(1))
    }
    assert sorted(sung) == ["AA", "IY", "SIL"]
    for phone, start, stop in (("AA", 2.0, 2.5), ("IY", 6.0, 7.0)):
        assert sung[phone].min() == pytest.approx(start, abs=0.011)
        assert sung[phone].max() == pytest.approx(stop, abs=0.011)
    assert len(sung["SIL"]) == pytest.approx(850, abs=2)
    np.testing.assert_allclose(rows.sum(1), 1, atol=1e-5)


def test_a_part_of_a_song_gets_the_rows_of_its_time():
    song = place([segment("IY", 6.0, 1.0), segment("AA", 2.0, 0.5)], 10.0)
    separator = small("audio_post_no_norm_larger")
    whole = separator.rows(song, 1001)
    part = separator.rows(song, 300, start=5.5)
    np.testing.assert_allclose(part, whole[550:850], atol=1e-5)
    # Played twice as fast, a song of 10 s is over after 5.
    fast = separator.rows(song, 501, speed=2.0)
    np.testing.assert_allclose(fast, whole[::2], atol=1e-5)


def test_one_segment_is_not_stretched_over_a_song():
    """The fault of the published study."""
    separator = small()
    one = segment("AA", 0.0, 2.0)
    rows = separator.rows(one, 1001)
    assert (rows[:200, AA] == 1).all() and rows[201:, AA].max() == 0
    mixture = torch.randn(1, 1, 10 * RATE)
    side = torch.from_numpy(one.probs)[None]
    with pytest.raises(ModelError, match="100 frames but the sound 1001"):
        separator(mixture, side)
    with pytest.raises(ModelError, match="has to be told"):
        separator(mixture)
    with pytest.raises(ModelError, match="40 features"):
        separator(mixture, torch.zeros(1, 1001, 40))


def test_changes_are_taken_before_rows_are_repeated():
    song = place([segment("AA", 1.0, 1.0)], 3.0)
    network = MaskInference("all_post", 21, hidden_size=2, layers=1)
    separator = InformedSeparator(network, **SIZE)
    slopes = separator.rows(song, 301)[:, 41 + AA]
    # A rise of two rows of 20 ms is several frames of 10 ms long.
    assert (slopes[95:106] > 0).sum() >= 3
    assert slopes.max() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("chunk_s", [0.5, 30.0])
def test_phones_keep_their_place_in_a_stream(chunk_s):
    """Blocks, chunks, and another sample rate make no difference."""
    separator = InformedSeparator(Repeater(), **SIZE)
    song = place([segment("AA", 1.0, 0.5), segment("IY", 2.0, 0.5)], 3.0)
    rng = np.random.default_rng(0)
    wav = rng.normal(size=(3 * RATE, 2)).astype(np.float32)
    blocks = np.split(wav, [700, 1500])
    parts = estimate_sources(
        separator.singing(song), blocks, RATE, chunk_s=chunk_s
    )
    voice = np.concatenate([part[:, 0] for _, part in parts])
    inside, outside = slice(1030, 1470), np.r_[0:970, 1530:3000]
    np.testing.assert_allclose(voice[inside], wav[inside], atol=1e-4)
    assert np.abs(voice[outside]).max() < 1e-4
    # An array of rows for a function of time, silence after its end.
    rows = separator.rows(song, 160)
    parts = estimate_sources(separator.following(rows), blocks, RATE)
    again = np.concatenate([part[:, 0] for _, part in parts])
    np.testing.assert_allclose(again[:1500], voice[:1500], atol=1e-4)
    double = np.repeat(wav, 2, axis=0)
    parts = estimate_sources(separator.singing(song), [double], 2 * RATE)
    voice = np.concatenate([part[:, 0] for _, part in parts])
    energy = np.square(voice).sum(1).reshape(-1, 500).sum(1)
    assert set(np.flatnonzero(energy > 0.3 * energy.max())) == {4, 5}


def test_a_stream_is_as_the_batch():
    separator = small("audio_post_norm")
    song = place([segment("AA", 0.5, 0.5)], 2.0)
    wav = torch.randn(1, 2, 2 * RATE)
    side = torch.from_numpy(separator.rows(song, separator.count(2 * RATE)))
    with torch.inference_mode():
        expected = separator.told(side[None])(wav)[0]
    block = wav[0].T.contiguous().numpy()
    parts = estimate_sources(separator.singing(song), [block], RATE)
    found = np.concatenate([part for _, part in parts]).transpose(1, 2, 0)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-4)


@torch.inference_mode()
def test_long_songs_are_tested_as_short_ones(monkeypatch):
    separator = small("audio_post_norm")
    song = place([segment("AA", 0.5, 0.5)], 2.0)
    rows = separator.rows(song, separator.count(2 * RATE))
    sources = torch.randn(1, 2, 2, 2 * RATE)
    batch = SimpleNamespace(
        sources=sources, side=SimpleNamespace(data=torch.from_numpy(rows)[None])
    )
    brain = SimpleNamespace(
        separator=separator,
        test_rate=RATE,
        device="cpu",
        sources_of=lambda batch: batch.sources,
        hparams=SimpleNamespace(epoch_counter=SimpleNamespace(current=1)),
    )
    _, short = InformedBrain.compute_forward(brain, batch, Stage.TEST)
    torch.testing.assert_close(
        short, separator(sources.sum(1), batch.side.data)
    )
    monkeypatch.setattr(separation, "WHOLE_S", 0.7)
    _, long = InformedBrain.compute_forward(brain, batch, Stage.TEST)
    torch.testing.assert_close(long, short, atol=1e-4, rtol=1e-3)


def test_a_users_recording_needs_phones():
    voice = VoiceSeparator(small())
    wav = np.random.default_rng(0).uniform(-1, 1, (2 * RATE, 2))
    with pytest.raises(ModelError, match="--phones"):
        voice.separate(wav, RATE)
    song = segment("AA", 0.5, 1.0)
    stems = voice.separate(wav, RATE, phones=song)
    np.testing.assert_allclose(sum(stems.values()), wav, atol=1e-5)
    deaf = VoiceSeparator(MaskSeparator(RecurrentNetwork(hidden_size=2)))
    with pytest.raises(ConfigError, match="leave out the phones"):
        deaf.separate(wav, RATE, phones=song)


# --- controls ----------------------------------------------------------------


def test_controls_tell_what_they_say():
    own = place([segment("AA", 2.0, 1.0)], 10.0)
    other = place([segment("IY", 1.0, 1.0)], 4.0)
    times = np.arange(0.05, 10, 0.1)

    def told(control, at=0.0):
        return controlled(control, own, 10.0, other, at).at(times)

    right = told("correct")
    sung = times[right.argmax(1) == AA]
    assert 2.0 <= sung.min() < sung.max() <= 3.0
    for control, late in (("shift_1", 10), ("shift_5", 50)):
        np.testing.assert_allclose(told(control)[late:], right[:-late])
        assert (told(control)[:late, SIL] == 1).all()
    voice = told("voice")
    np.testing.assert_allclose(voice[:, SIL], right[:, SIL])
    np.testing.assert_allclose(voice[:, SPN], 1 - right[:, SIL])
    constant = told("constant")
    assert (constant == constant[0]).all() and constant[0, AA] < 0.03
    foreign = told("other")
    assert foreign[:, AA].max() == 0
    # It is sung again every 4 s, from wherever it begins.
    for at, onsets in ((0.0, [1, 5, 9]), (0.25, [0, 4, 8])):
        found = times[told("other", at).argmax(1) == IY]
        assert sorted(set(found.astype(int))) == onsets
    alike = [
        np.array_equal(told(a), told(b))
        for k, a in enumerate(CONTROLS)
        for b in CONTROLS[:k]
    ]
    assert not any(alike)
    with pytest.raises(ConfigError, match="use one of correct"):
        controlled("wrong", own, 10.0)


# --- data --------------------------------------------------------------------


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Three songs of 4 s in two segments; their phones differ in time."""
    folder = tmp_path_factory.mktemp("songs")
    rng = np.random.default_rng(0)
    found = []
    for k in range(3):
        media = {}
        for medium in ("wav", "accomp_wav"):
            path = folder / f"{k}_{medium}.wav"
            wav = 0.1 * rng.standard_normal(4 * RATE)
            write_audio(path, wav.astype(np.float32), RATE)
            media[medium] = str(path)
        phones = [("AA", 1.0 + 0.2 * k, 1.5 + 0.2 * k), ("IY", 3.0, 3.5)]
        media["phones"] = str(write_phones(phones, folder / f"{k}.csv"))
        found += [
            {
                "ID": f"{k}_{part}",
                "song_id": str(k),
                "segment": part,
                "n_segments": 2,
                "start": 2.0 * (part - 1),
                "stop": 2.0 * part,
                "singer": "",
                **media,
            }
            for part in (1, 2)
        ]
    return found


def dataset(rows, control="correct", **options):
    options = {"channels": 1, **options}
    return informed_dataset(with_control(rows, control), small(), **options)


def test_items_are_told_what_is_sung_in_them(rows):
    whole = dataset(rows)[0]["side"].numpy()
    assert whole.shape == (401, 41)
    sung = np.flatnonzero(whole.argmax(1) == AA)
    assert abs(sung.min() - 100) <= 1 and abs(sung.max() - 150) <= 1
    parts = dataset(rows, segment_s=2.0)
    second = parts[1]["side"].numpy()
    np.testing.assert_allclose(second[:200], whole[200:400], atol=1e-6)
    batch = PaddedBatch([parts[0], parts[1]])
    assert batch.side.data.shape == (2, 201, 41)


def test_phones_follow_the_voice(rows):
    """Where a voice is taken from, and how fast it is played."""

    class Epoch:
        current = 3

    augment = RemixAugment(transpose=12.0, transpose_share=1.0, silent_share=0)

    def items():
        data = dataset(
            rows, segment_s=1.0, augment=augment, epoch_counter=Epoch()
        )
        with data.output_keys_as(["song_id", "side", "voice_place"]):
            return list(data)

    speeds = set()
    for item in items():
        start, speed, heard = item["voice_place"]
        assert heard and 0.5 <= speed <= 2.0
        times = start + np.arange(101) * 0.01 * speed
        late = 0.2 * int(item["song_id"])
        expected = (times > 1.0 + late) & (times < 1.5 + late)
        told = item["side"].numpy().argmax(1) == AA
        assert np.abs(told.astype(int) - expected).sum() <= 3
        speeds.add(speed)
    assert len(speeds) > 3
    for one, two in zip(items(), items(), strict=True):
        assert torch.equal(one["side"], two["side"])


def test_nothing_is_sung_by_a_muted_voice(rows):
    augment = RemixAugment(silent_share=1.0)
    told = {}
    for control in ("correct", "voice", "shift_1", "constant"):
        data = dataset(rows, control, segment_s=4.0, augment=augment)
        told[control] = data[0]["side"]
    assert (told["correct"].argmax(1) == SIL).all()
    assert torch.equal(told["correct"], told["voice"])
    assert (told["constant"] == told["constant"][0]).all()


def test_the_other_song_is_another_one(rows):
    own, other = (dataset(rows, c)[0]["side"] for c in ("correct", "other"))
    assert not torch.equal(own, other)
    assert torch.equal(other, dataset(rows, "other")[0]["side"])
    with pytest.raises(ManifestError, match="only song with phones"):
        dataset(rows[:2], "other")


def test_songs_without_phones_are_left_out(rows):
    without = [{**row, "phones": None} for row in rows[:2]]
    found = with_control([*without, *rows[2:]], "correct")
    assert {row["song_id"] for row in found} == {"1", "2"}
    with pytest.raises(ManifestError, match="align the lyrics"):
        with_control(without, "correct")
    with pytest.raises(ConfigError, match="control is 'no'"):
        with_control(rows, "no")


def test_a_posteriorgram_of_a_segment_is_refused(rows, tmp_path):
    one = segment("AA", 0.0, 1.0)
    one.save(tmp_path / "one.npz")
    told = [{**row, "phones": str(tmp_path / "one.npz")} for row in rows[:2]]
    with pytest.raises(ModelError, match="0 to 1 s but the song of 0 to 4 s"):
        _ = dataset(told)[0]
    place([one.moved(2.0)], 4.0).save(tmp_path / "song.npz")
    told = [{**row, "phones": str(tmp_path / "song.npz")} for row in rows[:2]]
    side = dataset(told)[0]["side"]
    assert (side[205:295, AA] == 1).all() and side[:195, AA].max() == 0
    long = write_phones([("AA", 1.0, 9.0)], tmp_path / "long.csv")
    told = [{**row, "phones": str(long)} for row in rows[:2]]
    with pytest.raises(ModelError, match="of another song"):
        _ = dataset(told)[0]


# --- learning ----------------------------------------------------------------


def riddle(seed):
    """A voice and a band that change places: only phones tell which is which.

    The mixture is noise in two bands, always. While AA is sung the voice is
    the low one, while IY is sung the high one; chance decides for each 0.25 s.
    """
    generator = torch.Generator().manual_seed(seed)
    spectra = torch.fft.rfft(torch.randn(2, 2 * RATE, generator=generator))
    middle = spectra.shape[-1] // 2
    spectra[0, middle:] = 0
    spectra[1, :middle] = 0
    low, high = torch.fft.irfft(spectra, n=2 * RATE)
    lows = torch.rand(8, generator=generator) < 0.5
    phones = [
        ("AA" if is_low else "IY", 0.25 * k, 0.25 * (k + 1))
        for k, is_low in enumerate(lows.tolist())
    ]
    voice = torch.where(lows.repeat_interleave(RATE // 4), low, high)
    sources = torch.stack([voice, low + high - voice])[None, :, None]
    return sources, Posteriorgram.from_phones(phones, 0.0, 2.0)


def error_of(network, control, steps=50):
    """Error on a riddle not seen in training, as a share of the voice."""
    separator = InformedSeparator(network, **SIZE)
    loss = MagnitudeLoss(distance="l1", targets=1)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.03)

    def measured(seed):
        sources, sung = riddle(seed)
        told = controlled(control, sung, 2.0)
        rows = separator.rows(told, separator.count(2 * RATE))
        informed = separator.told(torch.from_numpy(rows)[None])
        return loss(informed, sources.sum(1), sources)["magnitude"]

    for seed in range(steps):
        value = measured(seed)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    network.eval()
    with torch.inference_mode():
        voice = separator.codec(riddle(1000)[0][:, 0]).abs().mean()
        return (measured(1000) / voice).item()


@pytest.mark.parametrize("name", ["audio_post_norm", "audio_post_aligns"])
def test_who_is_told_the_phones_solves_what_cannot_be_heard(name):
    errors = {}
    for control in ("correct", "voice"):
        torch.manual_seed(1)
        network = MaskInference(name, 21, hidden_size=12, layers=1)
        errors[control] = error_of(network, control)
    # Half of everything is an error as large as the voice, about.
    assert errors["correct"] < 0.6
    assert errors["voice"] > 0.8


def test_the_aligning_network_learns_from_given_times():
    torch.manual_seed(1)
    network = AligningNetwork(21, hidden_size=16, times="given", dropout=0.0)
    assert error_of(network, "correct") < 0.5
