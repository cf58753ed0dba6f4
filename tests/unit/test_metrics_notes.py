"""Scores agree with mir_eval; statistics depend on the songs alone."""

import csv
import io
import json
import warnings

import mir_eval
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechbrain_ext.errors import ConfigError, NoteError, OutputError
from speechbrain_ext.formats import write_mir_st500, write_notes
from speechbrain_ext.metrics.notes import (
    METRICS,
    NoteStats,
    Score,
    as_json,
    evaluate_notes,
    evaluate_paths,
    match_notes,
)
from speechbrain_ext.notes import NoteSequence

MELODY = NoteSequence([(0, 1, 60), (1, 2, 62), (2.5, 3, 64)])


@st.composite
def melodies(draw):
    """Up to 12 notes on a 10 ms grid, so that tolerances are often met."""
    time, rows = 0, []
    for _ in range(draw(st.integers(0, 12))):
        onset = time + draw(st.integers(0, 30))
        time = onset + draw(st.integers(1, 60))
        pitch = draw(st.integers(120, 126)) / 2
        rows.append((onset / 100, time / 100, pitch))
    return NoteSequence(rows)


@settings(max_examples=80, deadline=None)
@given(
    melodies(),
    melodies(),
    st.sampled_from([0.02, 0.05, 0.1]),
    st.sampled_from([25.0, 50.0, 100.0]),
    st.sampled_from([0.0, 0.2, 0.5]),
    st.sampled_from([0.01, 0.05]),
)
def test_agrees_with_direct_calls_of_mir_eval(
    reference, estimate, onset, pitch, ratio, minimum
):
    scores = evaluate_notes(reference, estimate, onset, pitch, ratio, minimum)
    arrays = []
    for notes in (reference, estimate):
        arrays.append(
            np.array([[n.onset, n.offset] for n in notes]).reshape(-1, 2)
        )
        arrays.append(mir_eval.util.midi_to_hz(np.array([*notes.midi])))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        call = mir_eval.transcription.precision_recall_f1_overlap
        both = {"onset_tolerance": onset, "pitch_tolerance": pitch}
        off = {"offset_ratio": ratio, "offset_min_tolerance": minimum}
        expected = {
            "COnPOff": call(*arrays, **both, **off)[:3],
            "COnP": call(*arrays, **both, offset_ratio=None)[:3],
            "COn": mir_eval.transcription.onset_precision_recall_f1(
                arrays[0], arrays[2], onset_tolerance=onset
            ),
            "COff": mir_eval.transcription.offset_precision_recall_f1(
                arrays[0], arrays[2], **off
            ),
        }
    assert set(scores) == set(METRICS)
    for metric, score in scores.items():
        assert score == pytest.approx(expected[metric], abs=1e-9)


@pytest.mark.parametrize(
    ("reference", "estimate"),
    [([], []), ([(0, 1, 60)], []), ([], [(0, 1, 60)])],
)
def test_empty_sides_give_zeros_without_a_warning(reference, estimate):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = evaluate_notes(NoteSequence(reference), NoteSequence(estimate))
        warnings.simplefilter("always")
    assert set(scores.values()) == {Score(0.0, 0.0, 0.0)}


def test_scores_by_hand():
    # Note 1: onset 40 ms late, all right. Note 2: pitch a semitone off.
    # Note 3: onset 60 ms late. Note 4: extra.
    estimate = NoteSequence(
        [(0.04, 1, 60), (1, 2, 63), (2.56, 3, 64), (4, 5, 60)]
    )
    scores = evaluate_notes(MELODY, estimate)
    assert scores["COnPOff"] == pytest.approx((1 / 4, 1 / 3, 2 / 7))
    assert scores["COnP"] == pytest.approx((1 / 4, 1 / 3, 2 / 7))
    assert scores["COn"] == pytest.approx((2 / 4, 2 / 3, 4 / 7))
    assert scores["COff"] == pytest.approx((3 / 4, 3 / 3, 6 / 7))
    assert match_notes(MELODY, estimate) == [(0, 0)]


def test_offset_tolerance_is_the_larger_of_both():
    # 20 % of 1 s is 200 ms; 20 % of 0.1 s is 20 ms, so 50 ms hold.
    reference = NoteSequence([(0, 1, 60), (2, 2.1, 60)])
    good = NoteSequence([(0, 1.2, 60), (2, 2.15, 60)])
    bad = NoteSequence([(0, 1.21, 60), (2, 2.16, 60)])
    assert evaluate_notes(reference, good)["COnPOff"].f1 == 1
    assert evaluate_notes(reference, bad)["COnPOff"].f1 == 0


def test_matching_an_empty_side():
    assert match_notes(MELODY, NoteSequence()) == []


@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf"), "50"])
def test_impossible_tolerances(value):
    with pytest.raises(ConfigError, match="onset_tolerance is"):
        evaluate_notes(MELODY, MELODY, onset_tolerance=value)
    with pytest.raises(ConfigError, match="offset_ratio is"):
        NoteStats(offset_ratio=value)


def filled(order, **options):
    """Statistics of 12 songs with 0 to 3 of 3 notes right, in any order."""
    stats = NoteStats(**options)
    for song in order:
        stats.append(
            f"song {song}", MELODY, MELODY[: song % 4], group="ab"[song % 2]
        )
    return stats


def test_means_by_hand():
    stats = filled([0, 1, 2, 3])
    # Precision 0, 1, 1, 1; recall 0, 1/3, 2/3, 1; F1 0, 1/2, 4/5, 1.
    assert stats.summarize("songs") == len(stats) == 4
    for metric in METRICS:
        assert stats.summarize(f"{metric}_precision") == pytest.approx(3 / 4)
        assert stats.summarize(f"{metric}_recall") == pytest.approx(1 / 2)
        assert stats.summarize(f"{metric}_f1") == pytest.approx(2.3 / 4)
    assert stats.values().shape == (4, 4, 3)


def test_order_of_songs_does_not_matter():
    forward, backward = filled(range(12)), filled(range(11, -1, -1))
    assert forward.summarize() == backward.summarize()
    assert forward.table() == backward.table()
    assert [s.song_id for s in forward.songs][9:] == [
        "song 9",
        "song 10",
        "song 11",
    ]


def test_interval_is_the_seeded_percentile_bootstrap():
    stats = filled(range(12), resamples=500, seed=3)
    low, high = stats.interval()[0, 2]
    rng = np.random.default_rng(3)
    scores = stats.values()[:, 0, 2]
    means = [scores[draw].mean() for draw in rng.integers(12, size=(500, 12))]
    expected = np.quantile(means, [0.025, 0.975])
    assert (low, high) == pytest.approx(tuple(expected), abs=1e-12)
    assert low < scores.mean() < high
    other = filled(range(12), resamples=500, seed=4)
    assert other.summarize("COnP_f1_low") != pytest.approx(low, abs=1e-9)


def test_bootstrap_is_as_wide_as_theory_says():
    # Half of 100 songs score 1, half 0: the mean's standard error is
    # 0.5 / sqrt(100) = 0.05, so the interval is about 0.5 -+ 1.96 * 0.05.
    stats = NoteStats()
    for song in range(100):
        stats.append(str(song), MELODY, MELODY if song % 2 else MELODY[:0])
    low, high = stats.interval()[2, 2]
    assert low == pytest.approx(0.402, abs=0.02)
    assert high == pytest.approx(0.598, abs=0.02)


def test_one_song_has_no_interval():
    stats = filled([3])
    assert np.isnan(stats.summarize("COn_f1_low"))
    assert "nan" not in stats.table()


def test_groups():
    groups = filled(range(4)).groups()
    assert list(groups) == ["a", "b"]
    # Group a: songs 0 and 2 (recall 0, 2/3); group b: 1 and 3 (1/3, 1).
    assert groups["a"].summarize("COn_recall") == pytest.approx(1 / 3)
    assert groups["b"].summarize("COn_recall") == pytest.approx(2 / 3)
    assert "b: 2 songs" in filled(range(4)).table()


def test_processes_can_join():
    whole, first, second = filled(range(6)), filled([0, 2, 4]), filled([1, 3])
    second.extend(filled([5]))
    first.extend(second)
    assert first.summarize() == whole.summarize()
    with pytest.raises(NoteError, match="'song 1' was scored already"):
        first.extend(filled([1]))
    with pytest.raises(NoteError, match="cannot join"):
        first.extend(NoteStats(onset_tolerance=0.1))


def test_errors_of_statistics():
    with pytest.raises(NoteError, match="no song was scored"):
        NoteStats().summarize()
    with pytest.raises(NoteError, match="scored already"):
        filled([1, 1])
    with pytest.raises(ConfigError, match="unknown score 'F1'"):
        filled([1]).summarize("F1")


def test_table_names_the_protocol():
    stream = io.StringIO()
    filled(range(4), onset_tolerance=0.1).write_table(stream)
    lines = stream.getvalue().splitlines()
    assert lines[0] == (
        f"mir_eval {mir_eval.__version__} transcription: onset 100 ms, "
        "pitch 50 cents, offset max(50 ms, 20 %)"
    )
    assert lines[3].split()[:4] == ["COnPOff", "75.00", "50.00", "57.50"]


def test_csv_has_a_row_per_song(tmp_path):
    path = filled([0, 2, 1]).write_csv(tmp_path / "songs.csv")
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["song_id"] for row in rows] == ["song 0", "song 1", "song 2"]
    assert rows[2]["group"] == "a"
    assert rows[2]["reference_notes"] == "3"
    assert rows[2]["estimated_notes"] == "2"
    assert float(rows[2]["COnPOff_f1"]) == pytest.approx(0.8, abs=1e-6)
    with pytest.raises(OutputError, match="exists already"):
        filled([0]).write_csv(path)


def test_json_form():
    expected = {"precision": 0.75, "recall": 0.5, "f1": 0.575}
    result = json.loads(json.dumps(as_json(filled([0, 1, 2, 3]))))
    assert list(result) == ["songs", *METRICS]
    assert result["songs"] == 4
    for metric in METRICS:
        assert result[metric] == pytest.approx(expected)


def test_two_files_of_any_name(tmp_path):
    write_notes(MELODY, tmp_path / "a.csv")
    write_notes(MELODY[:2], tmp_path / "b.txt")
    stats, left, right = evaluate_paths(tmp_path / "a.csv", tmp_path / "b.txt")
    assert (left, right) == ([], [])
    assert stats.summarize("COnPOff_recall") == pytest.approx(2 / 3)


def test_single_file_against_an_annotation_file_with_one_song(tmp_path):
    write_notes(MELODY, tmp_path / "a.csv")
    write_mir_st500({"7": MELODY}, tmp_path / "b.json")
    for pair in ("ab", "ba"):
        paths = [next(tmp_path.glob(f"{name}.*")) for name in pair]
        assert evaluate_paths(*paths)[0].summarize("COff_f1") == 1


@pytest.fixture
def folders(tmp_path):
    """Songs 1, 2 and 10 against songs 2, 10 and x, in several formats."""
    for side in ("ref", "est"):
        (tmp_path / side).mkdir()
    write_notes(MELODY, tmp_path / "ref" / "1.csv")
    write_notes(MELODY, tmp_path / "ref" / "2.mid")
    write_notes(MELODY, tmp_path / "ref" / "10.notes.Corrected")
    write_notes(MELODY, tmp_path / "est" / "2.json")
    write_notes(MELODY[:1], tmp_path / "est" / "10.txt")
    write_notes(MELODY, tmp_path / "est" / "x.csv")
    (tmp_path / "est" / "notes.log").write_text("not a note file")
    (tmp_path / "est" / ".10.csv").write_text("hidden")
    return tmp_path


def test_two_folders(folders):
    stats, left, right = evaluate_paths(folders / "ref", folders / "est")
    assert [song.song_id for song in stats.songs] == ["2", "10"]
    assert (left, right) == (["1"], ["x"])
    assert stats.summarize("COnP_recall") == pytest.approx((1 + 1 / 3) / 2)


def test_folder_with_a_song_in_two_formats(folders):
    write_notes(MELODY, folders / "est" / "2.csv")
    # CSV keeps times exactly, so it counts even against a perfect MIDI file.
    write_notes(
        NoteSequence([(9.0, 9.5, 40)]),
        folders / "est" / "2.csv",
        overwrite=True,
    )
    stats, *_ = evaluate_paths(folders / "ref", folders / "est")
    assert stats.songs[0].scores["COn"].f1 == 0.0
    write_notes(MELODY, folders / "est" / "2.csv", overwrite=True)
    (folders / "est" / "2.CSV").write_text("onset_s,offset_s,midi\n")
    with pytest.raises(NoteError, match=r"'2' twice, as 2\.CSV and 2\.csv"):
        evaluate_paths(folders / "ref", folders / "est")
    (folders / "est" / "2.CSV").unlink()
    # Naming the format says which one is meant.
    write_notes(MELODY, folders / "ref" / "2.csv")
    stats, left, right = evaluate_paths(
        folders / "ref", folders / "est", format="csv"
    )
    assert len(stats) == 1
    assert (left, right) == (["1"], ["x"])


def test_annotation_files_and_folders(folders):
    songs = {"2": MELODY, "10": MELODY[:0], "3": MELODY}
    write_mir_st500(songs, folders / "ref.json")
    write_mir_st500({"3": MELODY, "2": MELODY}, folders / "est.json")
    stats, left, right = evaluate_paths(
        folders / "ref.json", folders / "est.json", onset_tolerance=0.1
    )
    assert (left, right) == (["10"], [])
    assert stats.summarize("COnPOff_f1") == 1
    assert stats.tolerances["onset_tolerance"] == 0.1
    stats, left, right = evaluate_paths(folders / "ref.json", folders / "est")
    assert [s.scores["COn"].f1 for s in stats.songs] == [1, 0]
    assert (left, right) == (["3"], ["x"])


@pytest.mark.parametrize(
    ("reference", "estimate", "message"),
    [
        ("ref", "none", "none: no such file or folder"),
        ("ref", "est/x.csv", "x.csv: is a single song but .*ref is a folder"),
        ("ref", "empty", "no song in common: 1, 2, 10 against no song at all"),
        ("est/x.csv", "many.json", "many.json: holds 2 songs"),
        ("est/x.csv", "none.csv", "none.csv: no such file"),
        ("one.json", "many.json", "in common: 9 against 1, 2"),
        ("one.json", "broken.json", "broken.json: line 1: not JSON"),
    ],
)
def test_pairs_that_cannot_be_scored(folders, reference, estimate, message):
    (folders / "empty").mkdir()
    write_mir_st500({"1": MELODY, "2": MELODY}, folders / "many.json")
    write_mir_st500({"9": MELODY}, folders / "one.json")
    (folders / "broken.json").write_text("{")
    with pytest.raises(NoteError, match=message) as caught:
        evaluate_paths(folders / reference, folders / estimate)
    assert "\n" not in str(caught.value)


def test_unknown_format_of_a_pair(folders):
    with pytest.raises(NoteError, match="unknown note format 'wav'"):
        evaluate_paths(folders / "ref", folders / "est", format="wav")
