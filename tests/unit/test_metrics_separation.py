"""Separation scores agree with hand calculation, mir_eval and museval."""

import csv
import json
import os
import tracemalloc
import warnings

import joblib
import numpy as np
import pytest
from mir_eval import separation as mir_eval
from scipy.signal import lfilter

from benchmarks.common import Skipped
from benchmarks.separation_scores import museval_metrics, noise_song
from speechbrain_ext.audio import write_audio
from speechbrain_ext.cli import main
from speechbrain_ext.errors import AudioError, ConfigError, NoteError
from speechbrain_ext.metrics.bss_eval import (
    bss_eval_pairs,
    bss_eval_v3,
    bss_eval_v4,
    frames_of,
    median_over_frames,
    si_sdr,
    snr,
)
from speechbrain_ext.metrics.separation import (
    PROTOCOLS,
    SeparationScore,
    SeparationStats,
    as_json,
    evaluate_folder,
    evaluate_separation,
)

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")

RATE = 4000
CLOSE = {"rtol": 0, "atol": 1e-3}


@pytest.fixture(scope="module")
def museval():
    try:
        return museval_metrics()
    except Skipped as reason:
        pytest.skip(str(reason))


def sources_of(channels, seconds=4.5, seed=0):
    """Two correlated sources and estimates with all kinds of faults."""
    return noise_song(seconds, RATE, channels, seed)


def turned(*sides):
    """(sources, channels, samples) as (sources, samples, channels)."""
    return [np.moveaxis(side, 1, 2) for side in sides]


@pytest.fixture
def quietly():
    """Let mir_eval announce that it will drop these functions."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield


# --- one gain ---------------------------------------------------------------


def test_si_sdr_by_hand():
    # s and n are orthogonal with |s|^2 = 4 and |n|^2 = 0.04: 20 dB at any gain.
    s = np.array([1.0, 1.0, -1.0, -1.0])
    n = np.array([0.1, -0.1, 0.1, -0.1])
    assert si_sdr([s, s, s], [s + n, -7 * (s + n), s - n]) == pytest.approx(20)
    # The gain costs SNR: |s|^2 / |s - 0.5 s|^2 = 4.
    assert si_sdr([s], [0.5 * s + 0.5 * n]) == pytest.approx(20)
    assert snr([s], [0.5 * s]) == pytest.approx(10 * np.log10(4))
    # With a mean of 1 the reference is another one.
    assert si_sdr([s + 1], [s + n + 5], zero_mean=True) == pytest.approx(20)
    assert si_sdr([s + 1], [s + n + 5])[0] < 10


def test_long_signals_take_no_memory_of_their_own():
    """They are worked on in blocks, which do not show."""
    rng = np.random.default_rng(0)
    references = rng.normal(size=(1, 2, 200_000)).astype(np.float32) + 1
    estimates = 0.7 * references + rng.normal(size=(1, 2, 200_000))
    tracemalloc.start()
    found = [
        si_sdr(references, estimates)[0],
        si_sdr(references, estimates, zero_mean=True)[0],
        snr(references, estimates)[0],
    ]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < references.nbytes
    s, e = np.float64(references[0]), np.float64(estimates[0])
    expected = []
    for a, b in ((s, e), (s - s.mean(1, keepdims=True),) * 2):
        if b is a:
            b = e - e.mean(1, keepdims=True)
        a = a * np.vdot(a, b) / np.vdot(a, a)
        expected.append(10 * np.log10(np.sum(a**2) / np.sum((a - b) ** 2)))
    expected.append(10 * np.log10(np.sum(s**2) / np.sum((s - e) ** 2)))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


def test_channels_share_a_gain():
    s = np.array([[1.0, 1.0], [1.0, -1.0]])
    # a = <s, e> / |s|^2 = (2 + 6) / 4 = 2; |2 s - e|^2 = 2 + 2.
    e = s * np.array([[1.0], [3.0]])
    assert si_sdr([s], [e]) == pytest.approx(10 * np.log10(16 / 4))
    one = si_sdr(s, e)
    assert np.all(one > 100) and one.shape == (2,)


def test_what_has_no_si_sdr():
    s, zero = np.array([1.0, -1.0, 1.0, 1.0]), np.zeros(4)
    right = np.array([1.0, 1.0, 0.0, 0.0])
    pairs = [(zero, s), (s, zero), (zero, zero), (s, s), (s, right)]
    references, estimates = map(np.array, zip(*pairs, strict=True))
    nan, inf = np.nan, np.inf
    np.testing.assert_array_equal(
        si_sdr(references, estimates), [nan, nan, nan, inf, -inf]
    )
    np.testing.assert_allclose(
        # |s|^2 = 4 and |s - e|^2 = 6 for the last.
        snr(references, estimates),
        [nan, 0, nan, inf, 10 * np.log10(4 / 6)],
        atol=1e-9,
    )


# --- BSS-Eval ---------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1])
def test_v3_of_one_channel_is_that_of_mir_eval(seed, quietly):
    references, estimates = (x[:, 0] for x in sources_of(1, 2, seed))
    ours = bss_eval_v3(references, estimates)
    sdr, sir, sar, _ = mir_eval.bss_eval_sources(references, estimates, False)
    np.testing.assert_allclose(ours.sdr, sdr, **CLOSE)
    np.testing.assert_allclose(ours.sir, sir, **CLOSE)
    np.testing.assert_allclose(ours.sar, sar, **CLOSE)
    assert np.isnan(ours.isr).all()


def test_v3_of_two_channels_is_that_of_mir_eval(quietly):
    references, estimates = sources_of(2, 2)
    ours = bss_eval_v3(references, estimates)
    theirs = mir_eval.bss_eval_images(*turned(references, estimates), False)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, **CLOSE)


def test_v3_finds_the_order(quietly):
    references, estimates = (x[:, 0] for x in sources_of(1, 1))
    ours = bss_eval_v3(references, estimates[::-1], permute=True)
    theirs = mir_eval.bss_eval_sources(references, estimates[::-1], True)
    for a, b in zip((ours.sdr, *ours[2:]), theirs, strict=True):
        np.testing.assert_allclose(a, b, **CLOSE)
    assert ours.permutation.tolist() == [1, 0]
    given = bss_eval_v3(references, estimates[::-1])
    assert given.permutation.tolist() == [0, 1]
    assert np.all(given.sir < 0)


def test_the_order_of_three_sources():
    noise = np.random.default_rng(3).normal(size=(3, 4000))
    leaky = noise + 0.3 * noise[[1, 2, 0]]
    scores = bss_eval_v3(noise, leaky[[1, 2, 0]], permute=True, filter_length=8)
    assert scores.permutation.tolist() == [2, 0, 1]
    np.testing.assert_allclose(scores.sir, 20 * np.log10(1 / 0.3), atol=0.5)


@pytest.mark.parametrize("channels", [1, 2])
def test_v4_is_that_of_museval(channels, museval):
    references, estimates = sources_of(channels)
    # Silent from 1 s to 2 s, and in the middle of a frame.
    references[0, :, RATE : 2 * RATE] = 0
    estimates[1, :, RATE // 2 : RATE // 2 + 50] = 0
    ours = bss_eval_v4(references, estimates, RATE)
    theirs = museval.bss_eval(
        *turned(references, estimates), window=RATE, hop=RATE
    )
    assert ours.sdr.shape == (2, 4)
    for a, b in zip(ours[:4], theirs[:4], strict=True):
        np.testing.assert_allclose(a, b, **CLOSE)
        assert np.isnan(a).tolist() == [[False, True, False, False]] * 2


def test_channels_that_cancel_each_other_are_scored(museval):
    references, estimates = sources_of(2, 2)
    references[0, 1, :RATE] = -references[0, 0, :RATE]
    ours = bss_eval_v4(references, estimates, RATE, filter_length=64)
    theirs = museval.bss_eval(
        *turned(references, estimates), window=RATE, hop=RATE, filters_len=64
    )
    for a, b in zip(ours[:4], theirs[:4], strict=True):
        assert np.isfinite(a).all() and np.isnan(b[:, 0]).all()
        np.testing.assert_allclose(a[:, 1], b[:, 1], **CLOSE)


def test_v4_with_overlapping_frames_is_that_of_museval(museval):
    references, estimates = sources_of(2, 3.3, seed=5)
    ours = bss_eval_v4(references, estimates, RATE, 1.5, 0.5, filter_length=64)
    theirs = museval.bss_eval(
        *turned(references, estimates),
        window=1.5 * RATE,
        hop=0.5 * RATE,
        filters_len=64,
    )
    for a, b in zip(ours[:4], theirs[:4], strict=True):
        np.testing.assert_allclose(a, b, **CLOSE)


def test_blocks_do_not_show(monkeypatch):
    """Long signals are worked on in blocks; a block more or less is one."""
    references, estimates = sources_of(2, 2)
    whole = bss_eval_v3(references, estimates, filter_length=32)
    for block in (20, 200, 1000, 1 << 20):
        monkeypatch.setattr("speechbrain_ext.metrics.bss_eval._BLOCK", block)
        parts = bss_eval_v3(references, estimates, filter_length=32)
        for a, b in zip(parts, whole, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-8)


def test_one_tap_by_hand():
    """With one tap the projections are those of plain vectors."""
    s, a, n = 2 * np.eye(3)
    estimate = 3 * s + 0.3 * a + 0.4 * n
    scores = bss_eval_v3([s, a], [estimate, a], filter_length=1)
    assert scores.sir[0] == pytest.approx(20)
    # 9.09 against 0.16, and 9 against 0.25.
    assert scores.sar[0] == pytest.approx(10 * np.log10(9.09 / 0.16))
    assert scores.sdr[0] == pytest.approx(10 * np.log10(9 / 0.25))
    images = bss_eval_v3([s, a], [estimate, a], images=True, filter_length=1)
    # The gain of 3 is a distortion of 2 s.
    assert images.isr[0] == pytest.approx(10 * np.log10(1 / 4))
    assert images.sdr[0] == pytest.approx(10 * np.log10(1 / 4.25))


def test_a_filter_is_forgiven_by_sources_and_told_by_images():
    references, _ = sources_of(1, 2)
    references[..., -2:] = 0  # The filter's tail is not cut.
    filtered = lfilter([0.5, 0.3, -0.2], [1], references)
    scores = bss_eval_v3(references, filtered)
    assert np.all(scores.sdr > 80)
    scores = bss_eval_v3(references, filtered, images=True)
    assert np.all(scores.sdr < 10) and np.all(scores.sir > 80)
    np.testing.assert_allclose(scores.sdr, scores.isr, atol=1e-6)


def test_equal_channels_and_an_empty_one_are_no_obstacle():
    """The system is singular, its projection is not."""
    references, estimates = sources_of(1, 2)
    one = bss_eval_v3(references, estimates, images=True, filter_length=64)
    two = bss_eval_v3(
        np.repeat(references, 2, axis=1),
        np.repeat(estimates, 2, axis=1),
        filter_length=64,
    )
    for a, b in zip(one, two, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)
    empty = [np.pad(x, ((0, 0), (0, 1), (0, 0))) for x in sources_of(1, 2)]
    for a, b in zip(one, bss_eval_v3(*empty, filter_length=64), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)


def delayed(rows, taps):
    """Rows (rows, samples) at every delay, as columns."""
    samples = rows.shape[-1]
    matrix = np.zeros((samples + taps - 1, len(rows), taps))
    for delay in range(taps):
        matrix[delay : delay + samples, :, delay] = rows.T
    return matrix.reshape(len(matrix), -1)


@pytest.mark.parametrize(("smooth", "within"), [(0, 1e-6), (12, 0.02)])
def test_projections_are_least_squares(smooth, within):
    """Also of sources without high frequencies, by singular values.

    Their squares are what normal equations have to tell from rounding.
    """
    rng = np.random.default_rng(0)
    taps, references = 48, rng.normal(size=(2, 900))
    for _ in range(smooth):
        references = lfilter([0.5, 0.5], [1], references)
    estimates = references + 0.1 * references[::-1]
    estimates += 0.1 * references.std() * rng.normal(size=estimates.shape)
    ours = bss_eval_v3(references, estimates, filter_length=taps)
    for j, estimate in enumerate(np.pad(estimates, ((0, 0), (0, taps - 1)))):
        target, explained = (
            matrix @ np.linalg.lstsq(matrix, estimate, rcond=1e-10)[0]
            for matrix in (
                delayed(references[j : j + 1], taps),
                delayed(references, taps),
            )
        )
        ratios = [
            (target, estimate - target),
            (target, explained - target),
            (explained, estimate - explained),
        ]
        expected = [
            10 * np.log10(np.sum(a**2) / np.sum(b**2)) for a, b in ratios
        ]
        found = [ours.sdr[j], ours.sir[j], ours.sar[j]]
        np.testing.assert_allclose(found, expected, rtol=0, atol=within)


def test_exact_and_silent_signals():
    references, estimates = sources_of(1, 1)
    exact = bss_eval_v3(references, references, images=True)
    assert np.all(exact.sdr == np.inf) and np.all(exact.sir > 100)
    for faulty in (0, 1):
        sides = [references.copy(), estimates.copy()]
        sides[faulty][1] = 0
        for found in (
            bss_eval_v3(*sides),
            bss_eval_v3(*sides, permute=True),
            bss_eval_v4(*sides, RATE),
        ):
            assert np.isnan(found[:4]).all()
    alone = bss_eval_v3(references[:1], estimates[:1])
    assert alone.sir == np.inf and np.isfinite(alone.sar)


def test_short_signals():
    references, estimates = sources_of(2, 1)
    scores = bss_eval_v4(references[..., :700], estimates[..., :700], RATE)
    assert scores.sdr.shape == (2, 1) and np.isfinite(scores.sdr).all()
    scores = bss_eval_v3([[1.0], [2.0]], [[1.0], [1.0]])
    assert scores.sdr.shape == (2,)


def test_frames():
    assert frames_of(35, 10) == [(0, 10), (10, 20), (20, 30)]
    assert frames_of(30, 10, hop_s=0.5)[-1] == (20, 30)
    assert frames_of(10, 10) == [(0, 10)] and frames_of(3, 10) == [(0, 3)]
    with pytest.raises(ConfigError, match="frames of 0 s every 1 s"):
        frames_of(100, 10, window_s=0)


def test_median_over_frames():
    nan, inf = np.nan, np.inf
    rows = [[1, nan, 3, 7], [nan] * 4, [inf, inf, nan, nan], [4, nan, 2, nan]]
    np.testing.assert_array_equal(median_over_frames(rows), [3, nan, inf, 3])


@pytest.mark.parametrize(
    ("references", "estimates", "message"),
    [
        (np.ones((2, 9)), np.ones((2, 8)), r"shape \(2, 9\), the estimates"),
        (np.ones((2, 9)), np.ones((2, 2, 9)), r"estimates \(2, 2, 9\)"),
        (np.ones((2, 9)), np.ones((1, 9)), r"estimates \(1, 9\)"),
        (np.ones(9), np.ones(9), r"references have the shape \(9,\)"),
        (np.ones((2, 0)), np.ones((2, 0)), "none of them 0"),
        (np.ones((2, 3)), np.full((2, 3), 1j), "complex128: give real"),
        (np.ones((1, 3)), [[1.0, np.nan, 1]], "estimate 0 is not finite at s"),
        ([[1, 2.0], [3, np.inf]], np.ones((2, 2)), "reference 1 .* sample 1"),
    ],
)
def test_what_is_refused(references, estimates, message):
    for score in (si_sdr, snr, bss_eval_v3):
        with pytest.raises(AudioError, match=message):
            score(references, estimates)
    with pytest.raises(AudioError, match=message):
        bss_eval_v4(references, estimates, 8000)
    with pytest.raises(ConfigError, match="filter_length is 0"):
        bss_eval_v3([[1.0]], [[1.0]], filter_length=0)


def test_integers_are_fine():
    references = np.array([[1, 2, -3, 1], [2, -1, 1, 30000]], dtype=np.int16)
    assert snr(references, references - references // 2)[1] > 5
    scores = bss_eval_pairs(references, references, [(0, 1)], False)
    assert scores.shape == (4, 1, 1)


# --- songs ------------------------------------------------------------------


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("channels", [1, 2])
def test_the_mixture_gains_nothing(protocol, channels):
    references, _ = sources_of(channels, 2)
    mixtures = np.repeat(references.sum(axis=0, keepdims=True), 2, axis=0)
    scores = evaluate_separation(references, mixtures, RATE, protocol)
    assert set(scores) == set(PROTOCOLS[protocol].metrics)
    for name, values in scores.items():
        if name == "NSDR" or name.endswith("i"):
            np.testing.assert_allclose(values, 0, atol=1e-5, err_msg=name)


def test_gains_are_differences():
    references, estimates = (x[:, 0] for x in sources_of(1, 2))
    mixture = np.stack([references.sum(axis=0)] * 2)
    scores = evaluate_separation(references, estimates, RATE)
    difference = (
        bss_eval_v3(references, estimates).sdr
        - bss_eval_v3(references, mixture).sdr
    )
    np.testing.assert_allclose(scores["NSDR"], difference, atol=1e-6)
    difference = si_sdr(references, estimates) - si_sdr(references, mixture)
    np.testing.assert_allclose(scores["SI-SDRi"], difference, atol=1e-6)
    only = evaluate_separation(references, estimates[1:], RATE, targets=[1])
    for name, values in only.items():
        np.testing.assert_allclose(values, scores[name][1:], atol=1e-6)
    with pytest.raises(AudioError, match="1 estimates for 2 sources"):
        evaluate_separation(references, estimates[1:], RATE)


def test_v4_of_a_song_is_the_median_over_frames():
    references, estimates = sources_of(2)
    references[0, :, :RATE] = 0
    scores = evaluate_separation(references, estimates, RATE, "v4")
    frames = bss_eval_v4(references, estimates, RATE).sdr
    assert np.isnan(frames[:, 0]).all()
    middle = np.median(frames[:, 1:], axis=1)
    np.testing.assert_allclose(scores["SDR"], middle, atol=1e-9)


def made_up(protocol, rows, **settings):
    """Statistics of songs (name, seconds, first metric), others 0."""
    stats = SeparationStats(protocol, ("vocals",), **settings)
    for name, seconds, value in rows:
        scores = dict.fromkeys(stats.metrics, (0.0,))
        scores[stats.metrics[0]] = (value,)
        stats._add(SeparationScore(name, None, seconds, scores))
    return stats


def test_averages_by_hand():
    rows = [("a", 10.0, 1.0), ("b", 30.0, 5.0), ("c", 20.0, 6.0)]
    summary = made_up("v3", rows).summarize()
    # (10 x 1 + 30 x 5 + 20 x 6) / 60
    assert summary["vocals_NSDR_weighted"] == pytest.approx(280 / 60)
    assert summary["vocals_NSDR_mean"] == 4
    assert summary["vocals_NSDR_median"] == 5
    assert (summary["songs"], summary["seconds"]) == (3, 60)
    assert 1 <= summary["vocals_NSDR_low"] < 280 / 60
    assert 280 / 60 < summary["vocals_NSDR_high"] <= 6


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_intervals_are_those_of_the_average(protocol):
    """Against drawing songs and averaging them one by one."""
    rng = np.random.default_rng(7)
    seconds, values = rng.uniform(1, 9, size=9), rng.normal(size=9)
    rows = [
        (str(k), *row)
        for k, row in enumerate(zip(seconds, values, strict=True))
    ]
    stats = made_up(protocol, rows, resamples=300, seed=4)
    draws = np.random.default_rng(4).integers(9, size=(300, 9))
    averages = [
        {
            "v3": np.average(values[d], weights=seconds[d]),
            "v4": np.median(values[d]),
            "si": np.mean(values[d]),
        }[protocol]
        for d in draws
    ]
    np.testing.assert_allclose(
        stats.interval()[0, 0], np.quantile(averages, [0.025, 0.975])
    )


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_songs_without_a_score_are_counted_and_left_out(protocol):
    rows = [("a", 10.0, 2.0), ("b", 30.0, np.nan), ("c", 10.0, 4.0)]
    stats = made_up(protocol, rows)
    summary, name = stats.summarize(), f"vocals_{stats.metrics[0]}"
    for average in ("mean", "weighted", "median"):
        assert summary[f"{name}_{average}"] == 3
    assert summary[f"{name}_songs"] == 2
    assert (summary[f"{name}_low"], summary[f"{name}_high"]) == (2, 4)
    table = stats.table()
    assert table.endswith("vocals: 1 without a score, for silence: b")
    none = made_up(protocol, [("b", 30.0, np.nan)])
    assert np.isnan(none.summarize()[f"{name}_mean"])
    assert as_json(none)["vocals"][stats.metrics[0]]["mean"] is None


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_infinite_scores(protocol):
    rows = [("a", 1.0, np.inf), ("b", 1.0, 2.0), ("c", 1.0, np.inf)]
    stats = made_up(protocol, rows)
    name = f"vocals_{stats.metrics[0]}"
    assert stats.summarize()[f"{name}_mean"] == np.inf
    assert stats.summarize()[f"{name}_median"] == np.inf
    assert np.isnan(stats.summarize()[f"{name}_low"])
    assert json.loads(json.dumps(as_json(stats), allow_nan=False))


def test_statistics_do_not_depend_on_the_order():
    songs = {name: sources_of(1, 1, seed) for seed, name in enumerate("abc")}
    stats = [SeparationStats(), SeparationStats()]
    for name in "abc":
        stats[0].append(name, *songs[name], RATE, group="x")
    for name in "cab":
        part = SeparationStats()
        part.append(name, *songs[name], RATE, group="x")
        stats[1].extend(part)
    assert stats[0].table() == stats[1].table()
    assert as_json(stats[0]) == as_json(stats[1])
    assert "x: 3 songs, 0.1 min" in stats[0].table()
    with pytest.raises(NoteError, match="scored already"):
        stats[0].append("a", *songs["a"], RATE)
    with pytest.raises(NoteError, match="cannot join"):
        stats[0].extend(SeparationStats("si"))


def test_wrong_settings():
    for settings, message in (
        ({"protocol": "v5"}, "'v5': use one of v3, v4, si"),
        ({"sources": ("a", "a")}, "sources a, a: name each once"),
        ({"sources": ()}, "sources none"),
        ({"targets": ("drums",)}, "targets drums are not all among"),
    ):
        with pytest.raises(ConfigError, match=message):
            SeparationStats(**settings)
    with pytest.raises(ConfigError, match="'v5'"):
        evaluate_separation([[1.0]], [[1.0]], 8000, "v5")
    with pytest.raises(AudioError, match="1 references for the sources voc"):
        SeparationStats().append("a", [[1.0]], [[1.0]], 8000)
    with pytest.raises(NoteError, match="no song was scored"):
        SeparationStats().summarize()


# --- folders ----------------------------------------------------------------


def put(path, wav, rate=RATE):
    path.parent.mkdir(parents=True, exist_ok=True)
    quiet = 0.2 * np.atleast_2d(wav) / np.abs(wav).max()
    write_audio(path, quiet.T, rate, subtype=None)


@pytest.fixture
def folders(tmp_path):
    """References in folders, estimates as files; songs 1 and 2, and others."""
    for song in (1, 2):
        references, estimates = sources_of(1, 1, song)
        for name, wav, heard in zip(
            ("vocals", "accompaniment"), references, estimates, strict=True
        ):
            put(tmp_path / "ref" / f"song {song}" / f"{name}.wav", wav)
            put(tmp_path / "est" / f"song {song}_{name}.flac", heard)
    put(tmp_path / "ref" / "old" / "vocals.wav", references[0])
    put(tmp_path / "est" / "new_vocals.wav", references[0])
    put(tmp_path / "ref" / "song 1" / "mixture.wav", references[0])
    (tmp_path / "est" / ".hidden_vocals.wav").write_text("no audio")
    (tmp_path / "est" / "notes.txt").write_text("not for us")
    return tmp_path


def test_folders_are_paired_by_song(folders):
    found = evaluate_folder(folders / "ref", folders / "est")
    stats, only_reference, only_estimate = found
    assert [song.song_id for song in stats.songs] == ["song 1", "song 2"]
    assert (only_reference, only_estimate) == (["old"], ["new"])
    assert stats.fields == ("vocals", "accompaniment")
    # Two at a time find the same, and say how far they are.
    calls = []
    with joblib.parallel_config(backend="threading"):
        again = evaluate_folder(
            folders / "ref",
            folders / "est",
            n_jobs=2,
            progress=lambda *call: calls.append(call),
        )
    assert again[0].table() == stats.table()
    assert calls == [(1, 2), (2, 2)]


def test_a_voice_alone_is_scored_against_both_sources(folders):
    whole = evaluate_folder(folders / "ref", folders / "est")[0]
    for song in (1, 2):
        (folders / "est" / f"song {song}_accompaniment.flac").unlink()
    stats = evaluate_folder(folders / "ref", folders / "est")[0]
    assert stats.fields == ("vocals",)
    np.testing.assert_allclose(
        stats.values(), whole.values()[:, :, :1], atol=1e-6
    )


def test_clips_of_mir1k_are_references(folders):
    for song in (1, 2):
        wavs, _ = sources_of(1, 1, song)
        clip = np.concatenate([wavs[1], wavs[0]])
        clip *= 0.2 / np.abs(clip).max()
        put(folders / "mir1k" / "Wavfile" / f"song {song}.wav", clip)
    stats, left, right = evaluate_folder(folders / "mir1k", folders / "est")
    assert (len(stats), left, right) == (2, [], ["new"])
    named = evaluate_folder(folders / "ref", folders / "est", protocol="v3")[0]
    # SIR knows no gain but that of the sources against each other.
    sir = stats.metrics.index("SIR")
    np.testing.assert_allclose(
        stats.values()[:, sir], named.values()[:, sir], atol=0.1
    )
    assert evaluate_folder(folders / "mir1k" / "Wavfile", folders / "est")


def test_stems_make_an_accompaniment(tmp_path):
    rng = np.random.default_rng(0)
    wavs = 0.05 * rng.normal(size=(4, 2, RATE)).clip(-4, 4)
    for name, wav in zip(
        ("vocals", "drums", "bass", "other"), wavs, strict=True
    ):
        path = tmp_path / "ref" / "song" / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_audio(path, wav.T, RATE, subtype="FLOAT")
        (tmp_path / "stems" / "song").mkdir(parents=True, exist_ok=True)
        path = tmp_path / "stems" / "song" / f"{name}.wav"
        write_audio(path, wav.T, RATE, subtype="FLOAT")
    (tmp_path / "est").mkdir()
    path = tmp_path / "est" / "song_no_vocals.wav"
    rest = wavs[1:].sum(axis=0)
    write_audio(path, 0.9 * rest.T, RATE, subtype="FLOAT")
    stats = evaluate_folder(tmp_path / "ref", tmp_path / "est", "v4")[0]
    assert stats.fields == ("accompaniment",)
    # Nine tenths of the reference: 20 dB.
    summary = stats.summarize()
    assert summary["accompaniment_SDR_median"] == pytest.approx(20, abs=1e-3)
    stats = evaluate_folder(tmp_path / "ref", tmp_path / "stems", "si")[0]
    assert stats.fields == ("vocals", "drums", "bass", "other")
    two = ("vocals", "accompaniment")
    stats = evaluate_folder(tmp_path / "ref", tmp_path / "stems", "si", two)[0]
    assert stats.fields == ("vocals",)


def test_stems_may_differ_a_little_in_length(tmp_path):
    """Also where they are read first, before what else tells the length."""
    wav = sources_of(1, 1)[0][0, 0]
    for name in ("vocals", "drums", "bass", "other"):
        less = wav[: -RATE // 20] if name == "other" else wav
        put(tmp_path / "ref" / "song" / f"{name}.wav", less)
    for name in ("vocals", "accompaniment"):
        put(tmp_path / "est" / "song" / f"{name}.wav", wav)
    both = tmp_path / "ref", tmp_path / "est", "si"
    stats = evaluate_folder(*both, ("accompaniment", "vocals"))[0]
    other = evaluate_folder(*both, ("vocals", "accompaniment"))[0]
    np.testing.assert_allclose(stats.values(), other.values()[:, :, ::-1])


def test_a_little_more_or_less_is_cut_or_filled(folders):
    name = "song 1_vocals.flac"
    wavs, _ = sources_of(1, 1, 1)
    (folders / "est" / name).unlink()
    put(folders / "est" / name, np.pad(wavs[0], ((0, 0), (0, RATE // 20))))
    more = evaluate_folder(folders / "ref", folders / "est")[0]
    (folders / "est" / name).unlink()
    put(folders / "est" / name, wavs[0][:, : -RATE // 20])
    less = evaluate_folder(folders / "ref", folders / "est")[0]
    assert more.songs[0].scores["SDR"][0] > 50
    assert 5 < less.songs[0].scores["SDR"][0] < 50
    assert more.songs[0].seconds == less.songs[0].seconds == 1


def test_command(folders, capsys):
    both = [str(folders / "ref"), str(folders / "est")]
    table = folders / "scores.csv"
    command = ["evaluate", "separation", *both]
    assert main([*command, "--csv", str(table)]) == 0
    out, err = capsys.readouterr()
    assert "vocals NSDR" in out.splitlines()[0]
    assert "averages of 2 songs, 0.0 min" in out
    assert "BSS-Eval 3 of whole clips, 512 taps" in out
    assert err.splitlines() == [
        f"singbrain: left out: old is only in {both[0]}",
        f"singbrain: left out: new is only in {both[1]}",
    ]
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["song_id"] for row in rows] == ["song 1", "song 2"]
    assert float(rows[0]["seconds"]) == 1
    assert rows[0]["vocals_ISR"] == "nan"
    assert main([*command, "--protocol", "si", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["protocol"], found["songs"]) == ("si", 2)
    assert set(found["vocals"]) == set(PROTOCOLS["si"].metrics)
    assert main([*command, "--protocol", "v4", "--mono"]) == 0
    # One frame of a second each.
    assert "BSS-Eval 4" in capsys.readouterr().out
    # An existing table is not replaced.
    assert main([*command, "--csv", str(table)]) == 2


def test_silence_is_reported(folders, capsys):
    path = folders / "est" / "song 1_vocals.flac"
    path.unlink()
    write_audio(path, np.zeros(RATE), RATE)
    both = [str(folders / "ref"), str(folders / "est")]
    assert main(["evaluate", "separation", *both]) == 0
    out = capsys.readouterr().out
    assert "vocals: 1 without a score, for silence: song 1" in out


def spoil(folders, what):
    path = folders / "est" / "song 1_vocals.flac"
    wav = sources_of(2, 1)[0][0]
    if what == "missing":
        return folders / "none"
    if what == "file":
        return path
    if what == "absent":
        path.unlink()
    elif what == "twice":
        put(folders / "est" / "song 1_voice.wav", wav)
    elif what == "damaged":
        path.write_text("no audio")
    else:
        path.unlink()
        rate = 2 * RATE if what == "rate" else RATE
        wav = {"stereo": wav, "rate": wav[0], "long": np.tile(wav[0], 2)}[what]
        put(path, wav, rate)
    return folders / "est"


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("missing", "none: no such folder"),
        ("file", "song 1_vocals.flac: is no folder"),
        ("absent", "song song 1 lacks vocals: add the file"),
        ("twice", "has vocals of song song 1 twice"),
        ("damaged", "song 1_vocals.flac: "),
        ("rate", f"has {2 * RATE} Hz but"),
        ("stereo", "has 2 channels but"),
        ("long", "lasts 2.000 s but"),
    ],
)
def test_wrong_input_is_one_line(folders, capsys, what, message):
    estimates = spoil(folders, what)
    command = ["evaluate", "separation", str(folders / "ref"), str(estimates)]
    assert main(command) == 2
    out, err = capsys.readouterr()
    assert out == "" and message in err and err.count("\n") == 1


def test_mp3_is_as_long_as_what_it_was_made_of(tmp_path):
    references, _ = noise_song(1, 16000)
    for name, wav in zip(("vocals", "accompaniment"), references, strict=True):
        put(tmp_path / "ref" / f"song_{name}.wav", wav, 16000)
        put(tmp_path / "est" / f"song_{name}.mp3", wav, 16000)
    stats = evaluate_folder(tmp_path / "ref", tmp_path / "est", "si")[0]
    # Neither late nor early: it is the same but for what the codec leaves out.
    assert stats.values()[:, 0].min() > 10


def test_channels_can_be_averaged(folders):
    spoil(folders, "stereo")
    stats = evaluate_folder(folders / "ref", folders / "est", mono=True)[0]
    assert np.isfinite(stats.values()[:, 0]).all()


def test_wrong_folders(folders, tmp_path):
    (tmp_path / "empty").mkdir()
    for reference in ("empty", "est"):
        with pytest.raises(AudioError, match="have no song in common"):
            evaluate_folder(tmp_path / reference, tmp_path / "empty")
    with pytest.raises(AudioError, match="has none of piano: name the sources"):
        evaluate_folder(folders / "ref", folders / "est", sources=["piano"])
    put(tmp_path / "mono" / "song 1.wav", sources_of(1, 1)[0][0])
    with pytest.raises(AudioError, match="1 channels, so it is no clip of MIR"):
        evaluate_folder(tmp_path / "mono", folders / "est")
    for suffix in ("wav", "flac"):
        put(tmp_path / "twice" / f"song 1.{suffix}", sources_of(2, 1)[0][0])
    with pytest.raises(AudioError, match="song 1 is there in another format"):
        evaluate_folder(tmp_path / "twice", folders / "est")
    with pytest.raises(AudioError, match="xxx: no such folder"):
        evaluate_folder(folders / "ref", tmp_path / ("x" * 300))


@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.parametrize("place", ["est", "ref/song 1"])
def test_folders_that_may_not_be_read(folders, lock, place, listed):
    lock(folders / place, listed)
    with pytest.raises(AudioError, match=f"{place}: cannot be read: Permis"):
        evaluate_folder(folders / "ref", folders / "est")


def test_names_in_another_encoding(folders, capsys):
    for side in ("ref", "est"):
        for name, wav in zip(
            (b"vocals", b"accompaniment"), sources_of(1, 1)[0], strict=True
        ):
            put(folders / "plain.wav", wav)
            path = os.fsencode(folders / side) + b"/caf\xe9_" + name + b".wav"
            os.replace(folders / "plain.wav", path)
    both = [str(folders / "ref"), str(folders / "est")]
    command = ["evaluate", "separation", *both, "--protocol", "si"]
    assert main([*command, "--csv", str(folders / "scores.csv")]) == 0
    with (folders / "scores.csv").open(encoding="utf-8") as file:
        songs = [row["song_id"] for row in csv.DictReader(file)]
    assert songs == ["caf\\udce9", "song 1", "song 2"]


def test_a_table_that_cannot_be_written_is_refused_before_the_work(
    folders, capsys
):
    # Nothing there can be scored.
    command = ["evaluate", "separation", str(folders), str(folders)]
    for name, message in (
        ("none/scores.csv", "none does not exist: create it first"),
        ("est", "est: is a folder: give the name of a file"),
    ):
        options = ["--csv", str(folders / name), "--force"]
        assert main([*command, *options]) == 2
        out, err = capsys.readouterr()
        assert out == "" and message in err and err.count("\n") == 1


def test_command_line_options(folders, capsys):
    both = [str(folders / "ref"), str(folders / "est")]
    for option, message in (
        (["--jobs", "0"], "--jobs is 0: use 1 or more"),
        (["--protocol", "v5"], "invalid choice: 'v5'"),
        (["--sources", "vocals,vocals"], "vocals, vocals: name each once"),
        (["--sources", "vocals,"], "sources vocals, '': name each once"),
        (["--sources", ""], "sources '': name each once"),
    ):
        assert main(["evaluate", "separation", *both, *option]) == 2
        out, err = capsys.readouterr()
        assert out == "" and message in err and err.count("\n") == 1
