"""Runs the registered recipes, cut small, as a user would start them."""

import csv
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROWS = [
    row
    for file in sorted((ROOT / "tests/recipes").glob("*.csv"))
    for row in csv.DictReader(file.open(encoding="utf-8"))
    if row["test_flags"]
]


def run(row, output, *extra, launcher=(), environment=None):
    """Start the experiment of a row in its folder."""
    script = ROOT / row["Script_file"]
    flags = shlex.split(row["test_flags"].replace("OUTPUT", str(output)))
    if "OUTPUT/lips" in row["test_flags"]:
        write_lips(output / "lips")
    hparam_file = os.path.relpath(ROOT / row["Hparam_file"], script.parent)
    command = [sys.executable, *launcher, script.name, hparam_file]
    return subprocess.run(
        [*command, "--output_folder", str(output), *flags, *extra],
        cwd=script.parent,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            **(environment or {}),
        },
        capture_output=True,
        text=True,
        timeout=400,
    )


def failed_checks(row, output):
    """Checks of a row that do not hold."""
    failed = []
    for check in row["test_checks"].split(";"):
        kind, value = check.split("=", 1)
        if kind == "file_exists":
            held = (output / value).is_file()
        elif kind == "log":
            held = value in (output / "log.txt").read_text(encoding="utf-8")
        else:
            raise ValueError(f"unknown check {kind}")
        if not held:
            failed.append(check)
    return failed


# By task: what the run reports, and the command that takes its model and a
# recording, with the suffix of what that writes.
USES = {
    "audio_transcription": ("mean over songs", ["transcribe"], ".mid"),
    "audio_visual_transcription": (
        "mean over songs",
        ["transcribe", "--lips", "LIPS"],
        ".mid",
    ),
    "video_transcription": (
        "mean over songs",
        ["transcribe", "--modality", "video", "--lips", "LIPS"],
        ".mid",
    ),
    "two_stage_transcription": (
        "mean over",
        ["transcribe", "--lips", "LIPS"],
        ".mid",
    ),
    "phone_recognition": ("word onsets", ["align"], ".lrc"),
    "lyrics_transcription": ("WER", ["lyrics"], ".txt"),
    "vocal_separation": ("BSS-Eval", ["separate"], "_vocals.wav"),
    "lyrics_informed_separation": (
        "SI-SDR",
        ["separate", "--phones", "PHONES"],
        "_vocals.wav",
    ),
    "singers": ("mean of", ["split"], "_singer2.wav"),
    "three_singers": ("mean of", ["split", "--singers", "3"], "_singer3.wav"),
    "main_singer": ("mean of", ["split", "--mode", "main"], "_singer1.wav"),
}

LIP_SYSTEM = """\
encoder: !new:speechbrain_ext.encoders.two_stream.TwoStreamEncoder
  lips: !new:speechbrain_ext.encoders.lips.LipEncoder
    widths: [8, 16]
    dilations: [1, 2]
head: !new:speechbrain_ext.heads.NoteHead
  input_size: 192
"""


def write_lips(folder):
    """A reader of lips with random weights, for recipes that start from one."""
    from speechbrain_ext.inference.model_folder import (
        export_model,
        load_hyperparams,
    )

    made = load_hyperparams(LIP_SYSTEM)
    folder.parent.mkdir(exist_ok=True)
    export_model(folder, LIP_SYSTEM, made, "# Lips\n", overwrite=True)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["Hparam_file"])
def test_recipe(row, tmp_path):
    report, command, suffix = USES[row["Task"]]
    result = run(row, tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert failed_checks(row, tmp_path) == []
    assert report in result.stdout
    # What a run leaves, a person can use.
    song = min(tmp_path.rglob("*.wav"))
    beside = {
        "LIPS": str(song.with_name("video_50fps.npy")),
        "PHONES": str(song.with_name("phones.csv")),
    }
    model = min(tmp_path.rglob("model/hyperparams.yaml"))
    given, output = [song], tmp_path / "mine"
    if command == ["align"]:
        lyrics = tmp_path / "lyrics.txt"
        lyrics.write_text("la la love\n")
        given, output = [song, lyrics], output / f"{song.stem}.lrc"
    elif command == ["lyrics"]:
        output /= f"{song.stem}.txt"
    listener = subprocess.run(
        [
            sys.executable,
            "-m",
            "speechbrain_ext",
            *(beside.get(word, word) for word in command),
            *map(str, given),
            "--model",
            str(model.parent),
            "-o",
            str(output),
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert listener.returncode == 0, listener.stderr
    assert (tmp_path / "mine" / f"{song.stem}{suffix}").is_file()


def mini_row(task):
    return next(
        r
        for r in ROWS
        if Path(r["Hparam_file"]).name.startswith("mini") and r["Task"] == task
    )


@pytest.mark.parametrize(
    "task", sorted(USES.keys() - {"video_transcription", "three_singers"})
)
def test_two_ranks(tmp_path, task):
    result = run(
        mini_row(task),
        tmp_path,
        launcher=(
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc_per_node=2",
        ),
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert failed_checks(mini_row(task), tmp_path) == []
    # One rank reports, and what both saved loads without a wrapper.
    assert result.stdout.count(f"model: {tmp_path}") == 1


def test_noise_sweep(tmp_path):
    row = mini_row("audio_visual_transcription")
    result = run(row, tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    script = row["Script_file"].replace("experiment", "evaluate_noise")
    flags = row["test_flags"] + " --test_noise '{natural: null}'"
    result = run({**row, "Script_file": script, "test_flags": flags}, tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "60 ms late" in result.stdout and "accompaniment" in result.stdout
    for suffix in ("csv", "txt", "png"):
        assert (tmp_path / "results" / f"noise.{suffix}").is_file()


def test_mistakes_get_one_line_and_code_2(tmp_path):
    row = mini_row("audio_transcription")
    for extra, message in (
        (["--sead", "3"], "unknown key 'sead'"),
        (["--synthetic", "null", "--data_folder", "no/where"], "no/where"),
    ):
        result = run({**row, "test_flags": ""}, tmp_path / "out", *extra)
        assert result.returncode == 2, result.stderr
        (line,) = [
            text
            for text in result.stderr.splitlines()
            if text.startswith("singbrain: error:")
        ]
        assert message in line


@pytest.mark.parametrize(
    "flags, extra, message",
    [
        ({"sing_sing: 1.0": "sing_sing: 1.5"}, [], "probability is 1.5"),
        ({"same_song: 0.0": "same_song: 0.8"}, [], "add up to 1.8: make it 1"),
        (
            {
                "songs_per_singer: 2": "songs_per_singer: 1",
                "sing_sing: 1.0": "sing_sing: 0.0",
                "same_singer: 0.0": "same_singer: 1.0",
            },
            [],
            "no singer has ",
        ),
        ({}, ["--data_folder", "{folder}"], "nus48e"),
    ],
)
def test_mistakes_about_singers_get_one_line_and_code_2(
    tmp_path, flags, extra, message
):
    """Shares above 1, a singer with one song, a corpus with nothing in it."""
    (tmp_path / "singing" / "nus48e").mkdir(parents=True)
    (row,) = [r for r in ROWS if r["Task"] == "three_singers"]
    text = "" if extra else row["test_flags"]
    for old, new in flags.items():
        text = text.replace(old, new)
    extra = [word.format(folder=tmp_path) for word in extra]
    result = run({**row, "test_flags": text}, tmp_path / "out", *extra)
    assert result.returncode == 2, result.stderr
    (line,) = [
        text
        for text in result.stderr.splitlines()
        if text.startswith("singbrain: error:")
    ]
    assert message in line
