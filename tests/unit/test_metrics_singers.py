"""Scores of singers told apart: swaps, orders, cases, intervals."""

import csv
import json

import numpy as np
import pytest

from speechbrain_ext.audio import write_audio
from speechbrain_ext.cli import main
from speechbrain_ext.errors import AudioError, NoteError
from speechbrain_ext.metrics.bss_eval import bss_eval_v3, si_sdr
from speechbrain_ext.metrics.singers import (
    SingersStats,
    Swaps,
    assign_outputs,
    evaluate_singer_folders,
    evaluate_singers,
    find_swaps,
)

RATE = 1000


def singers(count=2, seconds=10.0, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, round(seconds * RATE)))


# --- swaps ------------------------------------------------------------------


@pytest.mark.parametrize("at", [3, 5, 9])
def test_one_swap(at):
    """Ten windows of a second without overlap, the last ones swapped."""
    references = singers()
    outputs = references.copy()
    outputs[:, at * RATE :] = references[::-1, at * RATE :]
    swaps = find_swaps(references, outputs, RATE, hop_s=1.0)
    assert (swaps.windows, swaps.changes) == (10, 1)
    assert swaps.rate == pytest.approx(1 / 9)
    # Whichever of the two orders lasts longer is that of the item.
    assert swaps.share_away == min(at, 10 - at) / 10


@pytest.mark.parametrize("gap", [0, 1, 3, 7])
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_no_swap_at_any_gap(gap, order):
    references = singers(seconds=10)
    references[:, 1500 : 1500 + gap * RATE] = 0.0
    outputs = 0.3 * references[list(order)]
    swaps = find_swaps(references, outputs, RATE)
    assert (swaps.changes, swaps.away) == (0, 0)
    assert swaps.windows >= 19 - 2 * gap
    late = outputs.copy()
    late[:, 1500 + gap * RATE :] = late[::-1, 1500 + gap * RATE :]
    assert find_swaps(references, late, RATE).changes == 1


def test_singers_in_turn_and_three_of_them():
    references = singers(3, 9)
    for k in range(3):
        references[k, : 3 * k * RATE] = references[k, 3 * (k + 1) * RATE :] = 0
    assert find_swaps(references, references[[2, 0, 1]], RATE).changes == 0
    # The one who sings last comes out where the first one did.
    outputs = references.copy()
    outputs[:, 6 * RATE :] = outputs[[2, 1, 0], 6 * RATE :]
    assert find_swaps(references, outputs, RATE, hop_s=1.0).changes == 1
    cycle = singers(3, 9)
    outputs = cycle.copy()
    outputs[:, 5 * RATE :] = cycle[[1, 2, 0], 5 * RATE :]
    swaps = find_swaps(cycle, outputs, RATE, hop_s=1.0)
    assert swaps == Swaps(9, 1, 4)


def test_what_says_nothing_is_not_counted():
    references = singers()
    mixture = np.stack([references.sum(0)] * 2)
    swaps = find_swaps(references, mixture, RATE)
    assert swaps == Swaps(0, 0, 0)
    assert np.isnan(swaps.rate) and np.isnan(swaps.share_away)
    # Noise of its own tells nobody apart either.
    assert find_swaps(references, singers(seed=5), RATE).windows <= 1
    assert find_swaps(0 * references, references, RATE).windows == 0
    # Shorter than a window: one window.
    assert find_swaps(references[:, :300], references[:, :300], RATE) == Swaps(
        1, 0, 0
    )


def test_level_and_bleeding_make_no_difference():
    references = singers() * [[1.0], [0.1]]
    mixture = references.sum(0)
    outputs = 0.6 * references + 0.4 * mixture
    assert find_swaps(references, outputs, RATE) == Swaps(19, 0, 0)


# --- one item ---------------------------------------------------------------


def test_scores_are_those_of_the_best_order():
    references = singers(3, 4)
    bleeding = references + 0.1 * references.sum(0)
    outputs = bleeding[[1, 2, 0]]
    scores, order = evaluate_singers(references, outputs, RATE)
    assert order.tolist() == [2, 0, 1]
    mixtures = np.stack([references.sum(0)] * 3)
    own, before = si_sdr(references, bleeding), si_sdr(references, mixtures)
    assert scores["SI-SDR"] == pytest.approx(own.mean())
    assert scores["SI-SDRi"] == pytest.approx((own - before).mean())
    bss = bss_eval_v3(references, bleeding)
    for name, values in (("SDR", bss.sdr), ("SIR", bss.sir), ("SAR", bss.sar)):
        assert scores[name] == pytest.approx(values.mean(), abs=1e-6)
    gain = bss.sdr - bss_eval_v3(references, mixtures).sdr
    assert scores["SDRi"] == pytest.approx(gain.mean(), abs=1e-6)
    assert (scores["swap rate"], scores["away"]) == (0, 0)
    assert np.isnan(scores["fixed SI-SDRi"])


def test_fixed_order_beside_the_best():
    references = singers()
    outputs = references[::-1] + 0.1 * references
    scores, _ = evaluate_singers(
        references, outputs, RATE, bss=False, ordered=True
    )
    assert scores["SI-SDRi"] > 15 and scores["fixed SI-SDRi"] < -15
    right, _ = evaluate_singers(
        references, outputs[::-1], RATE, bss=False, ordered=True
    )
    assert right["fixed SI-SDRi"] == pytest.approx(right["SI-SDRi"])
    assert right["SI-SDRi"] == pytest.approx(scores["SI-SDRi"])


def test_the_mixture_gains_nothing():
    references = singers()
    mixture = np.stack([references.sum(0)] * 2)
    scores, _ = evaluate_singers(references, mixture, RATE)
    assert scores["SI-SDRi"] == pytest.approx(0, abs=1e-9)
    assert scores["SDRi"] == pytest.approx(0, abs=1e-6)


def test_silence():
    references = singers(3)
    references[1] = 0.0
    outputs = references[[2, 1, 0]] + 0.01 * singers(3, seed=2)
    order, scores = assign_outputs(references, outputs)
    assert order[[0, 2]].tolist() == [2, 0]
    assert np.isnan(scores[1]) and (scores[[0, 2]] > 35).all()
    means, _ = evaluate_singers(references, outputs, RATE)
    assert means["SI-SDR"] == pytest.approx(scores[[0, 2]].mean())
    assert np.isnan(means["SDR"])
    with pytest.raises(AudioError, match=r"\(3, 10000\), the estimates \(2"):
        evaluate_singers(references, outputs[:2], RATE)


def test_channels():
    """One channel more of the same changes nothing."""
    references = singers()
    outputs = references[::-1] + 0.1 * references
    mono = evaluate_singers(references, outputs, RATE, bss=False)[0]
    both = [np.stack([x, x], axis=1) for x in (references, outputs)]
    stereo = evaluate_singers(*both, RATE, bss=False)[0]
    assert stereo == pytest.approx(mono, nan_ok=True)


def test_intelligibility():
    pytest.importorskip("pystoi")
    time = np.arange(20000) / 10000
    beats = 1 + np.sin(2 * np.pi * np.array([[3.0], [5.0]]) * time)
    references = beats * np.random.default_rng(0).normal(size=(2, 20000))
    perfect, _ = evaluate_singers(
        references, references[::-1], 10000, bss=False, stoi=True
    )
    assert perfect["STOI"] == pytest.approx(1, abs=1e-6)
    assert 0.05 < perfect["STOIi"] < 1
    short, _ = evaluate_singers(
        references[:, :3000], references[:, :3000], 10000, bss=False, stoi=True
    )
    assert np.isnan(short["STOI"]), "less than 0.4 s"


# --- many items -------------------------------------------------------------


def scored(items, **options):
    """Statistics of (id, case, voices, song, error level)."""
    stats = SingersStats(bss=False, **options)
    references = singers(seconds=2)
    for item, case, voices, song, level in items:
        outputs = references + level * references[::-1]
        stats.append(item, references, outputs, RATE, case, voices, song)
    return stats


def test_mean_median_and_groups():
    stats = scored(
        [
            ("b", "duet", 2, "x", 0.1),
            ("a", "duet", 2, "y", 0.01),
            ("c", "main_vs_rest", 3, "y", 0.1),
            ("d", "main_vs_rest", 5, "z", 0.001),
        ]
    )
    summary = stats.summarize()
    assert (summary["items"], summary["songs"]) == (4, 3)
    assert summary["seconds"] == 8
    values = [20, 40, 20, 60]
    assert summary["SI-SDR_mean"] == pytest.approx(np.mean(values), abs=0.5)
    assert summary["SI-SDR_median"] == pytest.approx(30, abs=0.5)
    assert summary["fixed SI-SDRi_items"] == 0
    groups = stats.groups()
    assert list(groups) == [
        "duet",
        "main_vs_rest",
        "main_vs_rest, 3 voices",
        "main_vs_rest, 5 voices",
    ]
    assert [len(each) for each in groups.values()] == [2, 2, 1, 1]
    five = groups["main_vs_rest, 5 voices"].summarize()
    assert five["SI-SDR_mean"] == pytest.approx(60, abs=0.5)
    table = stats.table()
    assert "mean of 4 items" in table and "duet: 2 items" in table
    assert "fixed" not in table, "nothing to show"


def test_people_and_voices():
    """By people, by voices and by both, as far as they differ."""
    stats = SingersStats(bss=False)
    for k, (case, people, voices) in enumerate(
        [("duet", 1, 2), ("duet", 2, 2), ("unison", 1, 2)]
        + [("main", 1, 3), ("main", 2, 3), ("main", 2, 4), ("old", None, 2)]
    ):
        references = singers(seed=k)
        stats.append(
            str(k),
            references,
            references + 0.1 * references[::-1],
            RATE,
            case,
            voices,
            n_singers=people,
        )
    assert {name: len(part) for name, part in stats.groups().items()} == {
        "duet": 2,
        "duet, 1 singer": 1,
        "duet, 2 singers": 1,
        "main": 3,
        "main, 3 voices": 2,
        "main, 4 voices": 1,
        "main, 1 singer": 1,
        "main, 2 singers": 2,
        "main, 1 singer, 3 voices": 1,
        "main, 2 singers, 3 voices": 1,
        "main, 2 singers, 4 voices": 1,
        "old": 1,
        "unison": 1,
    }


def test_pairs(tmp_path):
    """Who sings with whom, in any order; tones of a fifth and of a third."""
    rate = 8000
    time = np.arange(2 * rate) / rate

    def voice(*midi):
        """One pitch after the other, with four partials."""
        parts = np.array_split(time, len(midi))
        return np.concatenate(
            [
                sum(np.sin(2 * np.pi * k * hz * t) / k for k in range(1, 5))
                for t, hz in zip(
                    parts, 440 * 2 ** ((np.array(midi) - 69) / 12), strict=True
                )
            ]
        )

    low, high = voice(50, 57), voice(57, 62)
    far = voice(64, 66)
    stats = SingersStats(bss=False, pitch=True)
    for name, who, one, two, level in (
        ("1", "Ann + Bo", low, high, 0.1),
        ("2", "Bo + Ann", high, low, 0.01),
        ("3", "Ann + Cy", low, far, 0.1),
        ("4", "", low, far, 0.1),
    ):
        pair = np.stack([one, two])
        stats.append(name, pair, pair + level * pair[::-1], rate, singers=who)
    assert {name: len(part) for name, part in stats.pairs().items()} == {
        "Ann + Bo": 2,
        "Ann + Cy": 1,
    }
    stats.write_pairs(tmp_path / "pairs.csv")
    with (tmp_path / "pairs.csv").open() as file:
        first, second = csv.DictReader(file)
    assert (first["singers"], first["items"]) == ("Ann + Bo", "2")
    assert float(first["SI-SDRi_mean"]) == pytest.approx(30, abs=1)
    assert float(first["SI-SDRi_median"]) == pytest.approx(30, abs=1)
    # 50 to 57 and 57 to 62 meet at one end, 64 to 66 is elsewhere.
    assert float(first["pitch overlap_mean"]) == pytest.approx(0, abs=0.03)
    assert float(second["pitch overlap_mean"]) == 0
    alone = SingersStats(bss=False)
    assert alone.write_pairs(tmp_path / "none.csv") is None
    assert not (tmp_path / "none.csv").exists()


def test_intervals_draw_songs():
    levels = [0.1, 0.2, 0.05, 0.01] * 3
    alone = [(str(k), None, 2, None, x) for k, x in enumerate(levels)]
    shared = [(*item[:3], str(k % 4), item[4]) for k, item in enumerate(alone)]
    widths = []
    for items in (alone, shared):
        summary = scored(items).summarize()
        assert summary["SI-SDR_low"] < summary["SI-SDR_mean"]
        assert summary["SI-SDR_mean"] < summary["SI-SDR_high"]
        widths.append(summary["SI-SDR_high"] - summary["SI-SDR_low"])
    # Three copies of each item of a song know no more than one of them.
    assert widths[1] == pytest.approx(widths[0] * 3**0.5, rel=0.15)
    one = scored([(*item[:3], "same", item[4]) for item in alone])
    assert np.isnan(one.interval()).all()
    # The order of the items makes no difference.
    again = scored(shared[::-1]).summarize()
    assert again == pytest.approx(scored(shared).summarize(), nan_ok=True)


def test_csv_and_errors(tmp_path):
    stats = scored([("1", "duet", 2, "s", 0.1)])
    path = stats.write_csv(tmp_path / "scores.csv")
    with path.open() as file:
        (row,) = csv.DictReader(file)
    assert (row["song_id"], row["group"], row["song"]) == ("1", "duet", "s")
    assert (row["voices"], row["order"]) == ("2", "0 1")
    assert float(row["SI-SDR"]) == pytest.approx(20, abs=0.5)
    with pytest.raises(NoteError, match="'1' was scored already"):
        stats.append("1", singers(), singers(), RATE)
    with pytest.raises(NoteError, match="no item was scored"):
        SingersStats().summarize()
    more = scored([("2", "duet", 2, "t", 0.1)])
    stats.extend(more)
    assert len(stats) == 2
    with pytest.raises(NoteError, match="cannot join"):
        stats.extend(scored([], stoi=True))


# --- folders, and the command -----------------------------------------------


def put(path, wav, rate=8 * RATE):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_audio(path, 0.1 * np.asarray(wav).T, rate)


@pytest.fixture
def folders(tmp_path):
    """Two songs of two and of three singers; one more on each side.

    Outputs of song 1 have a tenth of the other singer (20 dB) and come the
    other way round; those of song 2, a hundredth of the next one, in a cycle.
    """
    for song, count in ((1, 2), (2, 3)):
        voices = singers(count, 8.0, seed=song)
        leak = 0.1**song * np.roll(voices, 1, 0)
        order = [1, 0] if song == 1 else [1, 2, 0]
        outputs = (voices + leak)[order]
        for k in range(count):
            name = f"singer{k + 1}"
            put(tmp_path / "ref" / f"song {song}" / f"{name}.wav", voices[k])
            put(tmp_path / "est" / f"song {song}_{name}.wav", outputs[k])
    for k in (1, 2):
        put(tmp_path / "ref" / f"old_singer{k}.wav", voices[k])
        put(tmp_path / "est" / "new" / f"Singer{k}.flac", voices[k])
    return tmp_path


def test_folders_of_singers(folders):
    stats, *left = evaluate_singer_folders(folders / "ref", folders / "est")
    assert left == [["old"], ["new"]]
    first, second = stats.songs
    assert (first.song_id, first.voices, first.order) == ("song 1", 2, (1, 0))
    assert (second.voices, second.order) == (3, (2, 0, 1))
    assert first.scores["SI-SDR"] == pytest.approx(20, abs=0.5)
    assert second.scores["SI-SDR"] == pytest.approx(40, abs=0.5)
    for song in (first, second):
        assert song.scores["SI-SDRi"] > 15 > 0 > song.scores["fixed SI-SDRi"]
        assert song.scores["SDR"] == pytest.approx(
            song.scores["SI-SDR"], abs=2.5
        )
        assert song.scores["away"] == 0
    once = evaluate_singer_folders(
        folders / "ref", folders / "est", n_jobs=2, bss=False
    )[0]
    kept = [stats.metrics.index(metric) for metric in once.metrics]
    np.testing.assert_allclose(once.values(), stats.values()[:, kept])


def test_command(folders, capsys):
    both = [str(folders / "ref"), str(folders / "est")]
    command = ["evaluate", "singers", *both]
    table = folders / "scores.csv"
    assert main([*command, "--csv", str(table), "--pitch"]) == 0
    out, err = capsys.readouterr()
    for word in ("SDRi", "SIR", "SAR", "swap rate", "fixed SI-SDRi"):
        assert word in out
    assert "mean   median    95 % of mean" in out
    assert err.splitlines() == [
        f"singbrain: left out: old is only in {both[0]}",
        f"singbrain: left out: new is only in {both[1]}",
    ]
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["order"] for row in rows] == ["1 0", "2 0 1"]
    assert main([*command, "--csv", str(table)]) == 2
    assert "exists already" in capsys.readouterr().err
    assert main([*command, "--no-bss", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["songs"] == 2 and found["seconds"] == pytest.approx(2.0)
    own = found["SI-SDRi"]
    assert own["low"] <= own["mean"] <= own["high"] and own["songs"] == 2
    assert set(own) == {"mean", "median", "low", "high", "songs"}
    assert "SDR" not in found and found["fixed SI-SDRi"]["mean"] < 0


def test_intelligibility_on_demand(folders, capsys):
    pytest.importorskip("pystoi")
    both = [str(folders / "ref"), str(folders / "est")]
    assert main(["evaluate", "singers", *both, "--no-bss", "--stoi"]) == 0
    assert "STOIi" in capsys.readouterr().out


@pytest.mark.parametrize(
    "change, says",
    [
        ("more", "song 1: 2 singers in"),
        ("gap", "song 1 has singer1, singer3: two or more, numbered"),
        ("solo", "song 1 has singer1: two or more"),
        ("rate", "has 4000 Hz but"),
        ("long", "lasts 2.000 s but"),
        ("none", "have no song in common: 3 against 0 songs"),
        ("missing", "nix: no such folder"),
        ("jobs", "--jobs is 0"),
    ],
)
def test_wrong_folders_are_one_line(folders, capsys, change, says):
    other = folders / "est" / "song 1_singer2.wav"
    wav, options = singers(1, 8.0)[0], []
    estimates = folders / {"none": "empty", "missing": "nix"}.get(change, "est")
    if change == "more":
        put(folders / "est" / "song 1_singer3.wav", wav)
    elif change in ("gap", "solo", "rate", "long"):
        other.unlink()
        if change == "gap":
            put(other.with_name("song 1_singer3.wav"), wav)
        elif change == "rate":
            put(other, wav, 4000)
        elif change == "long":
            put(other, np.tile(wav, 2))
    elif change == "none":
        estimates.mkdir()
    elif change == "jobs":
        options = ["--jobs", "0"]
    command = ["evaluate", "singers", str(folders / "ref"), str(estimates)]
    assert main([*command, *options]) == 2
    out, err = capsys.readouterr()
    assert out == "" and says in err and err.count("\n") == 1
    assert err.startswith("singbrain: error: ")


def test_nothing_is_gained_by_one_who_sings_alone():
    singers = np.stack([np.random.default_rng(0).normal(size=8000)] * 2)
    singers[1] = 0.0
    scores, _ = evaluate_singers(singers, 0.9 * singers, 8000, bss=False)
    assert np.isnan(scores["SI-SDRi"])
