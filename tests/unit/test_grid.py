"""Paired comparisons, tables of a grid, and the script that fills it."""

import csv
import importlib.util
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import wilcoxon

from speechbrain_ext.errors import ConfigError, NoteError
from speechbrain_ext.metrics.grid import (
    System,
    Systems,
    read_scores,
    score_tables,
    summarize,
)
from speechbrain_ext.metrics.paired import (
    compare,
    mean_and_bounds,
    over_seeds,
)

SCRIPT = (
    Path(__file__).parents[2]
    / "recipes/MUSDB18/lyrics_informed_separation/grid.py"
)


def test_comparison_by_hand():
    one = {"a": 1.0, "b": 4.0, "c": 2.5, "d": np.nan, "e": 7.0}
    two = {"a": 0.0, "b": 1.0, "c": 3.0, "d": 5.0, "f": 7.0}
    found = compare(one, two)
    assert found.songs == 3 and found.better == 2
    assert found.mean == pytest.approx((1.0 + 3.0 - 0.5) / 3)
    assert found.low < found.mean < found.high
    assert found.p == pytest.approx(wilcoxon([1.0, 3.0, -0.5]).pvalue)
    back = compare(two, one)
    assert (back.mean, back.low, back.high) == pytest.approx(
        (-found.mean, -found.high, -found.low)
    )


def test_equal_systems_do_not_differ():
    found = compare({"a": 1.0, "b": 2.0}, {"a": 1.0, "b": 2.0})
    assert found == (2, 0.0, 0.0, 0.0, 0, 1.0)
    with pytest.raises(NoteError, match="none in common"):
        compare({"a": 1.0}, {"b": 1.0})


def test_interval_is_as_wide_as_theory_says():
    values = np.random.default_rng(0).normal(3.0, 2.0, size=400)
    mean, low, high = mean_and_bounds(values)
    assert mean == pytest.approx(values.mean())
    assert high - low == pytest.approx(2 * 1.96 * 2.0 / 20, rel=0.1)
    assert np.isnan(mean_and_bounds([1.0])[1])


def test_seeds_are_no_songs():
    runs = [{"a": 1.0, "b": 5.0}, {"a": 3.0, "b": 6.0, "c": 1.0}]
    assert over_seeds(runs) == {"a": 2.0, "b": 5.5}


def test_tables():
    songs = [f"song{k}" for k in range(6)]

    def system(gain):
        return System({s: gain + k for k, s in enumerate(songs)}, [gain])

    systems = Systems(
        {
            ("all_audio", "correct"): system(0.0),
            ("all_post", "correct"): system(2.0),
            ("all_post", "other"): system(-1.0),
        }
    )
    text = score_tables(systems, "SI-SDR")
    lines = text.splitlines()
    assert lines[2].split()[:5] == ["all_audio", "correct", "6", "1", "2.50"]
    assert "all_post (correct) - all_audio: +2.00" in text
    assert "all_post (other) - all_audio: -1.00" in text
    assert "all_post (correct) - all_post (other): +3.00" in text
    # Six songs, all better: 2 in 64.
    assert "better in 6 of 6, p = 0.031" in text


def test_faulty_files_are_told_of(tmp_path):
    path = tmp_path / "scores.csv"
    with pytest.raises(NoteError, match="cannot be read"):
        read_scores(path, "x")
    path.write_text("song_id,SDR\na,1\n")
    with pytest.raises(NoteError, match="no column x, but song_id, SDR"):
        read_scores(path, "x")


@pytest.fixture
def grid(monkeypatch):
    """The script, with trainings that take no time; and what was trained."""
    spec = importlib.util.spec_from_file_location("grid", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    trained = []

    def train(command, check):
        values = dict(zip(command[3::2], command[4::2], strict=False))
        run = values["--variant"], values["--control"], values["--seed"]
        trained.append(run)
        place = Path(values["--output_folder"])
        (place / "results/musdb18").mkdir(parents=True)
        gain = 2.0 * (run[1] == "correct") * (run[0] != "all_audio")
        rows = [f"s{k},{k + gain + int(run[2]) / 10}" for k in range(5)]
        (place / "results/musdb18/scores.csv").write_text(
            "\n".join(["song_id,vocals_SI-SDR", *rows])
        )
        (place / "train_log.txt").write_text(
            "epoch: 1, lr: 1.0e-03 - train loss: 2.50 - valid loss: 2.60\n"
        )
        (place / "results/summary.txt").touch()
        return type("Done", (), {"returncode": 0})

    monkeypatch.setattr(module.subprocess, "run", train)
    return module, trained


def test_grid_trains_each_once(grid, tmp_path, capsys):
    module, trained = grid
    command = [
        "mini.yaml",
        "--folder",
        str(tmp_path / "g"),
        "--seeds",
        "1",
        "2",
    ]
    command += ["--variants", "all_audio", "all_post"]
    command += ["--controls", "correct", "other"]
    module.main([*command, "--", "--segment_s", "2"])
    systems = [("all_audio", "correct"), ("all_post", "correct")]
    systems += [("all_post", "other")]
    assert trained == [(*s, seed) for seed in "12" for s in systems]
    with (tmp_path / "g/grid.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 6 * 5
    found = summarize(tmp_path / "g/grid.csv", "vocals_SI-SDR")
    assert found["all_post", "correct"].scores["s1"] == pytest.approx(3.15)
    assert found["all_post", "correct"].seeds == pytest.approx([4.1, 4.2])
    text = (tmp_path / "g/grid.txt").read_text()
    assert "all_post (correct) - all_post (other): +2.00" in text
    for name in ("grid.png", "losses.png"):
        assert (tmp_path / "g" / name).stat().st_size > 1000
    # Again: all is there.
    module.main([*command, "--", "--segment_s", "2"])
    assert len(trained) == 6
    assert "results:" in capsys.readouterr().out
    # Another budget does not belong beside it.
    with pytest.raises(ConfigError, match="choose another folder"):
        module.main([*command, "--", "--segment_s", "3"])


def test_grid_uses_the_settings_of_the_aligning_network(grid, tmp_path):
    module, trained = grid
    options = module.parsed(
        ["mini.yaml", "--folder", str(tmp_path), "--joint", "joint.yaml",
         "--variants", "all_post", "--controls", "voice", "--seeds", "4"]
    )  # fmt: skip
    runs = module.planned(options)
    assert runs == [("all_post", "voice", 4), ("joint", "voice", 4)]
    files = [module.training(options, run, tmp_path)[2] for run in runs]
    assert files == ["mini.yaml", "joint.yaml"]


def test_songs_named_on_the_command_line_count(grid, tmp_path):
    module, _ = grid
    command = ["mini.yaml", "--folder", str(tmp_path)]
    for rest in (["--data_folder", "mine"], ["--data_folder=mine"], []):
        options = module.parsed([*command, "--", *rest])
        found = module.training(options, module.planned(options)[0], tmp_path)
        folders = [part for part in found if part.startswith("--data_folder")]
        assert len(folders) == 1
        assert found.count("--audio_folder") == 1
        own = {"mine", "--data_folder=mine"} & set(found)
        assert bool(own) == bool(rest)
