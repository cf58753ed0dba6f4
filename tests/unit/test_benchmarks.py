"""Every benchmark runs, on tiny input, and its yardsticks are right."""

import doctest
import importlib.util
import re
import sys
from time import sleep

import numpy as np
import pytest

from benchmarks import (
    common,
    frames,
    lips,
    loading,
    noise_sweep,
    published_loop,
    separation_scores,
    singers_oracle,
    sliding_masks,
    stitching,
    stitching_singers,
    transcription,
    video_loading,
)
from speechbrain_ext import audio
from speechbrain_ext.formats import write_notes
from speechbrain_ext.notes import NoteSequence

RATIO = re.compile(r"[\d.]+ times as fast \([\d.]+ to [\d.]+ in 1 pairs")


@pytest.mark.parametrize(
    "module",
    [
        common,
        loading,
        published_loop,
        singers_oracle,
        stitching_singers,
    ],
)
def test_examples(module):
    result = doctest.testmod(module)
    assert result.attempted > 0 and result.failed == 0


def test_speedup_is_theirs_over_ours_and_interleaved():
    calls = []

    def run(name, seconds):
        calls.append(name)
        sleep(seconds)

    pace = common.speedup(
        lambda: run("ours", 0.01), lambda: run("theirs", 0.05), pairs=3
    )
    # Two runs each to warm up and to measure, then in turn.
    assert calls == ["theirs"] * 2 + ["ours"] * 2 + ["theirs", "ours"] * 3
    assert len(pace.ratios) == 3 and pace.median > 1.5


def test_labels_of_the_published_rule_by_hand():
    """At 50 fps frame i stands at 20 i ms."""
    silence = (0, 1, 4, 12)
    # C4 from 25 ms to 85 ms, D4 from 85 ms to 121 ms: frames 1, 4 and 6.
    notes = [(0.025, 0.085, 60), (0.085, 0.121, 62)]
    assert published_loop.label_loop(notes, 8, 50) == [
        silence,
        (1, 0, 2, 0),
        (0, 0, 2, 0),
        (0, 0, 2, 0),
        (1, 0, 2, 2),
        (0, 0, 2, 2),
        (0, 1, 2, 2),
        silence,
    ]
    assert published_loop.label_loop([], 2, 50) == [silence] * 2
    # Its fault: onset and offset nearest to one frame, and it never ends.
    short = [(0.02, 0.025, 60), (0.1, 0.14, 62)]
    labels = published_loop.label_loop(short, 8, 50)
    assert labels[2:] == [(0, 0, 2, 0)] * 6


def test_decoding_of_the_published_rule_by_hand():
    def decode(onset, silence, midi):
        octave = [4 if m < 0 else (m - 36) // 12 for m in midi]
        pitch_class = [12 if m < 0 else m % 12 for m in midi]
        return published_loop.decode_loop(
            onset, silence, np.eye(5)[octave], np.eye(13)[pitch_class], 50
        )

    none = [0.0] * 6
    assert decode(none, none, [60] * 6) == []
    # One onset; two votes for 62 against one for 60; silence at frame 4.
    onset, silence = [0, 0.9, 0, 0, 0, 0], [1, 1, 0, 0, 0.5, 1]
    assert decode(onset, silence, [-1, 60, 62, 62, -1, -1]) == [
        (0.02, 0.08, 62)
    ]
    assert decode(onset, silence, [-1] * 6) == []
    # Faults: a plateau gives two notes, the last frame ends an open note.
    onset = [0, 0.9, 0.9, 0, 0, 0]
    assert decode(onset, none, [60] * 6) == [(0.02, 0.04, 60), (0.04, 0.1, 60)]


def test_frames(capsys):
    assert common.show(frames.main, ["--seconds", "20", "--pairs", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    assert all(RATIO.search(line) for line in lines[1:])
    assert lines[1].endswith("equal: yes") and lines[3].endswith("equal: yes")


def test_loading(capsys):
    arguments = ["--seconds", "12", "--items", "2", "--pairs", "1"]
    assert common.show(loading.main, arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + len(loading.FILES) + 1
    for line in lines[1:-1]:
        assert RATIO.search(line)
        difference = float(line.rsplit(" ", 1)[1])
        assert difference <= audio.SLICE_TOLERANCE
    # 12 s, of which 5 are read, three files at a time; spectra take 4 times
    # as much memory as samples, and decoding needs some of its own.
    ratio = int(re.search(r"takes (\d+) times", lines[-1])[1])
    assert 2 <= ratio <= 12
    assert common.show(loading.main, ["--seconds", "5"]) == 2
    assert "at least 10 s" in capsys.readouterr().err


def test_video_loading(capsys):
    arguments = ["--seconds", "12", "--pairs", "1"]
    assert common.show(video_loading.main, arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and RATIO.search(lines[1])
    # Both divide by 255, in floats of 32 and 64 bits.
    assert float(lines[1].rsplit(" ", 1)[1]) < 1e-6
    # 12 s in 1 + 8 bytes against 5 s in 1 + 4.
    ratio = int(re.search(r"takes (\d+) times", lines[2])[1])
    assert 3 <= ratio <= 6
    assert common.show(video_loading.main, ["--seconds", "5"]) == 2
    assert "at least 10 s" in capsys.readouterr().err


def test_noise_sweep(capsys):
    arguments = ["--songs", "1", "--seconds", "4", "--pairs", "1"]
    assert common.show(noise_sweep.main, arguments) == 0
    (line,) = capsys.readouterr().out.splitlines()
    # 5 sounds alone and with 3 pictures each; 3 pictures alone.
    assert "in 23 conditions" in line and RATIO.search(line)
    assert float(line.rsplit(" ", 1)[1]) < 0.005
    assert common.show(noise_sweep.main, ["--songs", "0"]) == 2
    assert "at least 1" in capsys.readouterr().err


def test_lips(tmp_path, capsys):
    arguments = ["--seconds", "0.4", "--pairs", "1"]
    assert common.show(lips.main, arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "face.mp4, 0.4 s, 640 x 480, 25 pictures per second"
    assert RATIO.search(lines[1]) and len(lines) == 4
    path = tmp_path / "face.mp4"
    lips.write_face(path, 0.2)
    crops = lips.plain_crops(path, lips.Trusting())
    assert crops.shape == (5, 96, 96) and crops.any((1, 2)).all()
    assert common.show(lips.main, [str(tmp_path / "none.mp4")]) == 2
    assert "none.mp4: no such file" in capsys.readouterr().err
    assert common.show(lips.main, ["--seconds", "0"]) == 2


def test_sliding_masks(monkeypatch, capsys):
    networks = (("a", 40, True, 100), ("b", 30, False, 200))
    monkeypatch.setattr(sliding_masks, "NETWORKS", networks)
    arguments = ["--seconds", "0.1", "--pairs", "1"]
    assert common.show(sliding_masks.main, arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    for line in lines[1:]:
        assert RATIO.search(line)
        assert float(line.rsplit(" ", 1)[1]) < 1e-5
    assert common.show(sliding_masks.main, ["--seconds", "0"]) == 2
    assert "give more than 0" in capsys.readouterr().err


def test_separation_scores(capsys):
    if importlib.util.find_spec("museval") is None:
        pytest.skip("museval is not installed")
    arguments = ["--seconds", "2", "--pairs", "1"]
    assert common.show(separation_scores.main, arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    for line in lines[1:]:
        assert RATIO.search(line)
        assert float(line.split()[-2]) < 1e-3


def test_separation_scores_without_museval(monkeypatch, capsys):
    monkeypatch.setattr(separation_scores, "find_spec", lambda name: None)
    assert common.show(separation_scores.main, []) == 0
    assert capsys.readouterr().out.startswith("skipped: museval is not")


def test_stitching(monkeypatch, capsys):
    # In this process, to be quick.
    monkeypatch.setattr(stitching, "apart", lambda call, *given: call(*given))
    monkeypatch.setattr(stitching, "CHUNK_S", 1.0)
    arguments = ["--seconds", "4", "--minutes", "0.1,0.05", "--pairs", "1"]
    assert common.show(stitching.main, arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and RATIO.search(lines[1])
    ours, theirs = re.findall(r"(?:whole|overlap-add) ([\d.e-]+)", lines[1])
    assert float(ours) < 1e-5 < 1e-4 < float(theirs)
    for line in lines[2:]:
        assert re.search(r", 0.05 min: \d+ MiB; 0.1 min: [\d.]+ times$", line)
    assert common.show(stitching.main, ["--minutes", "one"]) == 2
    assert "--minutes one: give numbers" in capsys.readouterr().err


def test_memory_is_measured_apart():
    assert stitching.apart(abs, -3) == 3


def test_difference_of_scores():
    nan = np.nan
    ours = [np.array([1.0, nan]), np.array([2.0, 3.0])]
    theirs = [np.array([[1.5], [nan]]), np.array([2.0, 2.0])]
    assert separation_scores.difference(ours, theirs) == 1.0
    assert separation_scores.difference(ours[:1], ours[1:]) == np.inf


@pytest.fixture
def small_transcriber(monkeypatch):
    from speechbrain_ext.encoders.spectral import HarmonicEncoder
    from speechbrain_ext.frames import NoteDecoder
    from speechbrain_ext.heads import NoteHead
    from speechbrain_ext.inference.transcriber import Transcriber

    encoder = HarmonicEncoder(channels=8, dilations=(1,))
    made = Transcriber(encoder, NoteHead(encoder.output_size), NoteDecoder())
    monkeypatch.setattr(Transcriber, "from_hparams", lambda source: made)


def test_transcription(monkeypatch, small_transcriber, tmp_path, capsys):
    reference = NoteSequence([(0.2, 0.6, 60), (0.7, 1.2, 62)])
    rows = np.array([[0.2, 0.6, 60], [0.2, 0.6, 67], [0.7, 0.9, 62]])
    assert transcription.scores(reference, rows) == pytest.approx(
        {"COnPOff": 2 / 5, "COnP": 4 / 5, "COn": 4 / 5}
    )
    monkeypatch.setattr(transcription, "basic_pitch", lambda: lambda path: rows)
    notes, wav = tmp_path / "sung.csv", tmp_path / "sung.wav"
    write_notes(reference, notes)
    audio.write_audio(wav, np.zeros(32000, np.float32), 16000)
    arguments = [str(wav), "--notes", str(notes), "--pairs", "1"]
    assert common.show(transcription.main, arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "sung.wav, 2 s" and RATIO.search(lines[1])
    assert lines[2].startswith("SingBrain: F1 COnPOff ")
    assert lines[3] == "Basic Pitch: F1 COnPOff 0.400 COnP 0.800 COn 0.800"
    # Without a recording it renders one, and gives no scores.
    arguments = ["--seconds", "2", "--pairs", "1"]
    assert common.show(transcription.main, arguments) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_transcription_without_basic_pitch(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "basic_pitch", None)
    assert common.show(transcription.main, []) == 0
    out = capsys.readouterr().out
    assert out.startswith("skipped: Basic Pitch cannot be imported")


def test_basic_pitch_hears_a_tone(tmp_path):
    try:
        transcribe = transcription.basic_pitch()
    except common.Skipped as reason:
        pytest.skip(str(reason))
    times = np.arange(2 * 16000) / 16000
    tone = sum(np.sin(2 * np.pi * 440 * k * times) / k for k in range(1, 6))
    tone[: 16000 // 2] = 0
    path = tmp_path / "tone.wav"
    audio.write_audio(path, (0.2 * tone).astype(np.float32), 16000)
    rows = transcribe(path)
    assert rows.shape[1] == 3
    heard = rows[rows[:, 2] == 69]
    assert np.abs(heard[:, 0] - 0.5).min() < 0.1


def test_stitching_of_singers():
    arguments = ["--choirs", "1", "--seconds", "18", "--pairs", "1"]
    *counts, heard, pace = stitching_singers.main([*arguments, "--small"])
    assert len(counts) == 3 and all(
        "wrong output in 0 of 1 recordings" in line for line in counts
    )
    # 40 s; windows of 3 s every 0.75 s from 3 s before to the end.
    count = re.search(r"add ([\d.]+) \(([\d.]+) times as many", heard)
    assert float(count[1]) == pytest.approx(58 * 3 / 40, abs=0.1)
    assert float(count[2]) >= 3
    assert RATIO.search(pace)
