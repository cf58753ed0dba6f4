"""Contour scores agree with mir_eval and with counting by hand."""

import csv
import json

import mir_eval
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechbrain_ext.cli import main
from speechbrain_ext.errors import ConfigError, NoteError
from speechbrain_ext.f0 import F0Contour, write_f0
from speechbrain_ext.metrics.melody import (
    METRICS,
    MelodyStats,
    evaluate_f0,
    evaluate_f0_paths,
)
from speechbrain_ext.notes import midi_to_hz

TIMES = np.arange(50) * 0.02


def contour(*midi):
    return F0Contour(TIMES[: len(midi)], np.array(midi, dtype=float))


@st.composite
def contours(draw):
    pitch = st.one_of(st.just(0.0), st.integers(480, 520).map(lambda k: k / 8))
    return contour(*draw(st.lists(pitch, min_size=30, max_size=30)))


@settings(max_examples=100, deadline=None)
@given(contours(), contours(), st.sampled_from([25.0, 50.0, 80.0]))
def test_scores_are_shares_of_frames(sung, heard, tolerance):
    scores = evaluate_f0(sung, heard, tolerance)
    voiced, called = sung.midi > 0, heard.midi > 0
    cents = 100 * (heard.midi - sung.midi)
    # Bounds of the tolerance are floating point's to decide.
    if np.any(np.abs(np.abs(cents) - tolerance) < 1e-6):
        return
    right = voiced & called & (np.abs(cents) < tolerance)
    chroma = np.abs((cents + 600) % 1200 - 600) < tolerance
    if voiced.any():
        assert scores["RPA"] == pytest.approx(right[voiced].mean())
        found = (chroma & called)[voiced].mean()
        assert scores["RCA"] == pytest.approx(found)
        assert scores["VR"] == pytest.approx(called[voiced].mean())
    if not voiced.all():
        assert scores["VFA"] == pytest.approx(called[~voiced].mean())
    if voiced.any() and called.any():
        fine = (right | (~voiced & ~called)).mean()
        assert scores["OA"] == pytest.approx(fine)


def test_agrees_with_a_direct_call_of_mir_eval():
    rng = np.random.default_rng(1)
    sides = []
    for step in (0.01, 0.02):
        midi = 60 + np.cumsum(rng.normal(0, 0.2, 200))
        midi[rng.uniform(size=200) < 0.2] = 0
        sides.append(F0Contour(0.01 + step * np.arange(200), midi))
    arrays = []
    for side in sides:
        hz = np.where(side.midi > 0, midi_to_hz(side.midi), 0.0)
        arrays += [side.times, hz]
    direct = mir_eval.melody.evaluate(*arrays)
    ours = evaluate_f0(*sides)
    assert ours["OA"] == direct["Overall Accuracy"]
    assert ours["RPA"] == direct["Raw Pitch Accuracy"]
    assert ours["VFA"] == direct["Voicing False Alarm"]


def test_statistics_do_not_depend_on_the_order():
    a, b = contour(60, 60, 0, 0), contour(60, 62, 0, 60)
    stats = [MelodyStats(), MelodyStats()]
    for name, estimate in (("a", a), ("b", b)):
        stats[0].append(name, a, estimate, group="x")
    for name, estimate in (("b", b), ("a", a)):
        part = MelodyStats()
        part.append(name, a, estimate, group="x")
        stats[1].extend(part)
    assert stats[0].table() == stats[1].table()
    assert stats[0].summarize() == stats[1].summarize()
    assert stats[0].summarize()["RPA"] == 0.75
    low, high = (stats[0].summarize()[f"RPA_{k}"] for k in ("low", "high"))
    assert (low, high) == (0.5, 1.0)
    assert "x: 2 songs" in stats[0].table()


def test_what_cannot_be_scored():
    with pytest.raises(NoteError, match="reference contour has 0 frames"):
        evaluate_f0(contour(), contour(60))
    with pytest.raises(ConfigError, match="pitch_tolerance is -1"):
        evaluate_f0(contour(60), contour(60), -1)
    stats = MelodyStats()
    with pytest.raises(NoteError, match="no song was scored"):
        stats.summarize()
    stats.append("a", contour(60), contour(60))
    with pytest.raises(NoteError, match="scored already"):
        stats.append("a", contour(60), contour(60))
    with pytest.raises(NoteError, match="scored already"):
        stats.extend(stats)


@pytest.fixture
def folders(tmp_path):
    for name in ("ref", "est"):
        (tmp_path / name).mkdir()
    (tmp_path / "ref" / "a.pv").write_text("0\n60\n60\n0\n")
    (tmp_path / "ref" / "b.pv").write_text("0\n60\n60\n0\n")
    times = 0.02 * np.arange(1, 5)
    heard = F0Contour(times, np.array([0, 60.1, 62, 0]))
    write_f0(heard, tmp_path / "est" / "a.f0.csv")
    # Notes beside a contour are not read.
    (tmp_path / "est" / "a.csv").write_text("onset_s,offset_s,midi\n")
    return tmp_path


def test_folders_are_paired_by_name(folders):
    stats, left, right = evaluate_f0_paths(folders / "ref", folders / "est")
    assert (len(stats), left, right) == (1, ["b"], [])
    assert stats.summarize()["RPA"] == 0.5


def test_command(folders, capsys):
    both = [str(folders / "ref"), str(folders / "est")]
    table = folders / "scores.csv"
    assert main(["evaluate", "f0", *both, "--csv", str(table)]) == 0
    out, err = capsys.readouterr()
    assert "a" in out and "melody: pitch 50 cents" in out
    assert err == f"singbrain: left out: b is only in {both[0]}\n"
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert [r["song_id"] for r in rows] == ["a"]
    assert float(rows[0]["RPA"]) == 0.5
    wide = ["--pitch-tolerance", "250", "--json"]
    assert main(["evaluate", "f0", *both, *wide]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert set(scores) == {"songs", *METRICS} and scores["RPA"] == 1.0
    # An existing table is not replaced.
    assert main(["evaluate", "f0", *both, "--csv", str(table)]) == 2


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        (("ref", "none"), "no such file or folder"),
        (("ref", "est/a.f0.csv"), "one is a file, the other a folder"),
        (("ref/a.pv", "est/a.csv"), "its columns are"),
    ],
)
def test_wrong_input_is_one_line(folders, capsys, pair, message):
    paths = [str(folders / name) for name in pair]
    assert main(["evaluate", "f0", *paths]) == 2
    out, err = capsys.readouterr()
    assert out == "" and message in err and err.count("\n") == 1


def test_folders_without_a_common_song(folders, capsys):
    (folders / "ref" / "a.pv").unlink()
    with pytest.raises(NoteError, match="no contour in common: 1 against 1"):
        evaluate_f0_paths(folders / "ref", folders / "est")
