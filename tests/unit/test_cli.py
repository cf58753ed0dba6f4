"""The command line, from arguments to exit code."""

import json
import os
import shlex
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from speechbrain_ext import __version__, cli
from speechbrain_ext.cli import main
from speechbrain_ext.f0 import read_f0
from speechbrain_ext.formats import FORMATS, read_notes, write_notes
from speechbrain_ext.inference.transcriber import Transcriber
from speechbrain_ext.notes import NoteSequence
from speechbrain_ext.quantize import quantize_times, snap_to_scale


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty current folder."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def songs(tmp_path, noise):
    """Recordings: songs/a.wav, songs/b.flac, songs/deep/a.wav and a text."""
    folder = tmp_path / "songs"
    (folder / "deep").mkdir(parents=True)
    for name in ("a.wav", "b.flac", "deep/a.wav"):
        soundfile.write(folder / name, noise(1), 16000)
    (folder / "readme.txt").write_text("not a recording")
    (folder / "._a.wav").write_text("not a recording either")
    return folder


@pytest.fixture
def transcribe(tiny_model):
    """Run the command with the tiny model."""

    def run(*arguments):
        return main(
            ["transcribe", "--model", str(tiny_model), *map(str, arguments)]
        )

    return run


def tree(folder):
    """Paths of all files and empty folders below a folder."""
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() or not any(path.iterdir())
    )


def error_line(capsys):
    """The one line on stderr, while nothing is on stdout."""
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("singbrain: error: ")
    assert err.count("\n") == 1
    return err


# --- transcribe ------------------------------------------------------------


def test_writes_into_the_current_folder(home, songs, transcribe, capsys):
    before = tree(songs)
    assert transcribe(songs / "a.wav") == 0
    assert tree(home) == ["a.csv", "a.mid"]
    assert tree(songs) == before
    notes = read_notes("a.csv")
    assert len(read_notes("a.mid")) == len(notes) > 0
    line, err = capsys.readouterr()
    low, high = (cli.note_name(m) for m in (min(notes.midi), max(notes.midi)))
    plural = "s" if len(notes) > 1 else ""
    assert line == (
        f"a.wav: {len(notes)} note{plural}, {low} to {high}, 1.0 s -> "
        "a.mid, a.csv\n"
    )
    assert err == ""


def test_one_file(home, songs, transcribe, capsys):
    assert transcribe("--quiet", songs / "b.flac", "-o", "melody.midi") == 0
    assert transcribe("--quiet", songs / "b.flac", "-o", "b.txt") == 0
    assert tree(home) == ["b.txt", "melody.midi"]
    assert capsys.readouterr() == ("", "")


def test_all_formats(home, songs, transcribe, capsys):
    pytest.importorskip("music21")
    pytest.importorskip("jams")
    names = "mid,csv,json,tonas,txt,musicxml,jams"
    assert transcribe(songs / "a.wav", "-o", "new/out", "--format", names) == 0
    assert tree(home) == [
        f"new/out/a{suffix}"
        for suffix in sorted(
            FORMATS[name].suffixes[0] for name in FORMATS if name != "mir_st500"
        )
    ]


def test_plot(home, songs, transcribe):
    arguments = ["--plot", "--format", "json", "-o", "out"]
    assert transcribe(songs / "a.wav", *arguments) == 0
    assert tree(home) == ["out/a.json", "out/a.png"]
    assert (home / "out/a.png").read_bytes()[:4] == b"\x89PNG"


@pytest.fixture
def sing(melody_model):
    """Run the command with a model that gives the fundamental frequency."""

    def run(*arguments):
        model = ["--model", str(melody_model), "--quiet"]
        return main(["transcribe", *model, *map(str, arguments)])

    return run


def test_contours_go_beside_the_notes(home, songs, sing, melody_model, capsys):
    assert sing(songs, "--recursive", "--f0", "-o", "out") == 0
    names = ("a", "b", "deep/a")
    assert tree(home / "out") == sorted(
        name + suffix
        for name in names
        for suffix in (".csv", ".f0.csv", ".mid")
    )
    transcriber = Transcriber.from_hparams(melody_model)
    contour = transcriber.f0(transcriber.analyse_file(songs / "a.wav")[0])
    found = read_f0(home / "out" / "a.f0.csv")
    assert len(found) == 50  # frames in 1 s
    assert found.times == pytest.approx(contour.times, abs=1e-4)
    assert found.midi == pytest.approx(contour.midi, abs=1e-3)
    assert found.voicing == pytest.approx(contour.voicing, abs=1e-4)
    song = songs / "a.wav"
    assert sing(song, "-o", "one/melody.mid", "--f0", "--plot") == 0
    assert tree(home / "one") == ["melody.f0.csv", "melody.mid", "melody.png"]
    (home / "one/melody.mid").unlink()
    assert sing(song, "-o", "one/melody.mid", "--f0") == 2
    assert "melody.f0.csv exists already" in error_line(capsys)
    assert not (home / "one/melody.mid").exists()
    assert sing(song, "-o", "one/melody.mid", "--f0", "--force") == 0


def test_the_voicing_threshold_decides_what_is_voiced(home, songs, sing):
    for threshold, voiced in ((0.001, 50), (0.999, 0)):
        options = ["--f0", "--voicing-threshold", threshold, "--force"]
        assert sing(songs / "a.wav", *options, "-o", "out/a.csv") == 0
        assert (read_f0("out/a.f0.csv").midi > 0).sum() == voiced


def test_contours_and_notes_never_share_a_name(home, songs, sing, capsys):
    (songs / "b.flac").rename(songs / "a.f0.flac")
    assert sing(songs, "--f0", "-o", "out") == 2
    assert "would both write out/a.f0.csv" in error_line(capsys)
    assert tree(home) == []


def test_continuous_pitch(home, songs, sing):
    arguments = [songs / "a.wav", "--format", "mid,csv,json"]
    assert sing(*arguments, "-o", "plain") == 0
    assert sing(*arguments, "--pitch", "continuous", "-o", "exact") == 0
    plain, exact = (read_notes(f"{name}/a.csv") for name in ("plain", "exact"))
    assert (exact.midi % 1 != 0).any()
    assert read_notes("exact/a.json").midi.tolist() == exact.midi.tolist()
    assert np.abs(exact.midi - plain.midi).max() < 0.5
    assert read_notes("exact/a.mid").midi.tolist() == plain.midi.tolist()
    bent = read_notes("exact/a.mid", pitch_bend=True)
    assert bent.midi == pytest.approx(exact.midi, abs=0.001)
    assert b"\xe0" not in (home / "plain/a.mid").read_bytes()


def test_bends_follow_the_voice(home, songs, sing, melody_model):
    assert sing(songs / "a.wav", "--bends") == 0
    assert tree(home) == ["a.csv", "a.mid"]
    transcriber = Transcriber.from_hparams(melody_model)
    said = transcriber.analyse_file(songs / "a.wav").posteriors
    notes, contour = transcriber.decoder(said), transcriber.f0(said)
    write_notes(notes, "expected.mid", contour=contour)
    found = (home / "a.mid").read_bytes()
    assert found == (home / "expected.mid").read_bytes()
    write_notes(notes, "plain.mid")
    assert found != (home / "plain.mid").read_bytes()
    assert read_notes("a.mid") == read_notes("plain.mid")


def test_velocities(home, songs, transcribe):
    wav = np.random.default_rng(0).uniform(-0.5, 0.5, 4 * 16000)
    wav[2 * 16000 :] *= 0.1  # 20 dB less are 40 steps
    soundfile.write("fade.wav", wav, 16000)
    formats = ["--format", "json,mid,csv"]
    assert transcribe("fade.wav", *formats, "--velocity", "-o", "out") == 0
    notes = read_notes("out/fade.json")
    loud = [n.velocity for n in notes if n.offset <= 2]
    soft = [n.velocity for n in notes if n.onset >= 2.02]
    assert np.median(loud) - np.median(soft) == pytest.approx(40, abs=3)
    found = [note.velocity for note in read_notes("out/fade.mid")]
    assert found == [n.velocity if n.velocity != 100 else None for n in notes]
    assert transcribe("fade.wav", *formats) == 0
    assert {note.velocity for note in read_notes("fade.json")} == {None}
    # Nothing else changes.
    csv = (home / "fade.csv").read_bytes()
    assert csv == (home / "out/fade.csv").read_bytes()


def test_scale_and_grid(home, songs, transcribe):
    arguments = [songs / "a.wav", "--format", "mid,csv"]
    edits = ["--snap", "Bb major pentatonic", "--tempo", "96"]
    grid = ["--quantize", "8", "--first-beat", "0.1"]
    assert transcribe(*arguments, *edits, *grid, "-o", "out") == 0
    assert transcribe(*arguments, "-o", "plain") == 0
    plain = snap_to_scale(read_notes("plain/a.csv"), "Bb major pentatonic")
    expected = quantize_times(plain, 96, 8, 0.1)
    notes = read_notes("out/a.csv")
    assert np.abs(notes.intervals - expected.intervals).max() < 1e-8
    assert notes.midi.tolist() == expected.midi.tolist()
    assert set(notes.midi % 12) <= {10, 0, 2, 5, 7}
    # An eighth note at 96 is 0.3125 s.
    steps = (notes.intervals - 0.1) / 0.3125
    assert np.abs(steps - np.rint(steps)).max() < 1e-6
    assert [m.tempo for m in tempos("out/a.mid")] == [625_000]
    assert [m.tempo for m in tempos("plain/a.mid")] == [500_000]
    assert transcribe(*arguments, "--tempo", "96", "-o", "tempo") == 0
    assert [m.tempo for m in tempos("tempo/a.mid")] == [625_000]
    unmoved = (home / "tempo/a.csv").read_bytes()
    assert unmoved == (home / "plain/a.csv").read_bytes()


def tempos(path):
    import mido

    return [m for m in mido.MidiFile(path) if m.type == "set_tempo"]


def test_a_score_on_the_grid(home, songs, transcribe):
    pytest.importorskip("music21")
    edits = ["--tempo", "96", "--quantize", "12", "--first-beat", "0.1"]
    arguments = [songs / "a.wav", "--format", "csv,musicxml", *edits]
    assert transcribe(*arguments) == 0
    notes, score = read_notes("a.csv"), read_notes("a.musicxml")
    # The score starts a bar of 2.5 s at the first beat.
    moved = notes.shift(2.5 - 0.1).intervals
    assert np.abs(score.intervals - moved).max() < 1e-6


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["--f0"], "no fundamental frequency, which --f0 needs"),
        (["--bends"], "no fundamental frequency, which --bends needs"),
        (["--pitch", "continuous"], "which continuous pitch needs"),
        (["--pitch", "vague"], "invalid choice: 'vague'"),
        (["--bends", "--format", "csv"], "only csv is written: add mid"),
        (["--bends", "--snap", "C major"], "as sung and --snap moves"),
        (
            ["--bends", "--tempo", "90", "--quantize", "8"],
            "as sung and --quantize moves",
        ),
        (["--snap", "X major"], "the key 'X major' is unknown"),
        (["--snap", ""], "the key '' is unknown"),
        (["--quantize", "16"], "--quantize needs --tempo"),
        (["--quantize", "16.5", "--tempo", "90"], "invalid int value"),
        (["--quantize", "0", "--tempo", "90"], "the division is 0"),
        (["--quantize", "16", "--tempo", "0"], "the tempo is 0"),
        (["--tempo", "nan", "--format", "csv"], "the tempo is nan"),
        (["--first-beat", "1", "--tempo", "90"], "--first-beat needs"),
        (
            ["--tempo", "90", "--quantize", "4", "--first-beat", "-1"],
            "first beat is at -1 s",
        ),
    ],
)
def test_bad_options_for_notes(
    home, songs, transcribe, capsys, arguments, says
):
    assert transcribe(songs / "a.wav", "-o", "new", *arguments) == 2
    assert says in error_line(capsys)
    assert tree(home) == []


def test_folders_and_patterns(home, songs, transcribe, capsys):
    assert transcribe(songs, "--format", "csv") == 0
    assert tree(home) == ["a.csv", "b.csv"]
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["a.wav", "b.flac"]
    assert transcribe(songs, "--recursive", "-o", "all", "--format", "csv") == 0
    assert tree(home / "all") == ["a.csv", "b.csv", "deep/a.csv"]
    assert transcribe(songs / "*.fl*", "-o", "some", "--format", "csv") == 0
    assert tree(home / "some") == ["b.csv"]
    # The same file named twice is one recording.
    both = (songs / "a.wav", songs / "[a].wav", "-o", "once")
    assert transcribe(*both) == 0
    assert tree(home / "once") == ["a.csv", "a.mid"]


def test_nothing_is_replaced_without_force(home, songs, transcribe, capsys):
    (home / "a.csv").write_text("mine")
    assert transcribe(songs / "a.wav") == 2
    assert "a.csv exists already: use --force" in error_line(capsys)
    assert tree(home) == ["a.csv"]
    assert (home / "a.csv").read_text() == "mine"
    assert transcribe(songs / "a.wav", "--force") == 0
    assert (home / "a.csv").read_text() != "mine"


def test_options_reach_the_decoder(home, songs, transcribe):
    long = ["--min-duration", "9", "-o", "none.json"]
    assert transcribe(songs / "a.wav", *long) == 0
    assert read_notes("none.json") == NoteSequence()


def test_a_name_that_is_not_unicode(home, songs, transcribe):
    name = os.fsdecode(b"b\xff$x.wav")
    try:
        (songs / "a.wav").rename(songs / name)
    except OSError:
        pytest.skip("this file system refuses names that are not Unicode")
    arguments = ["--plot", "--format", "csv", "-o", "out"]
    assert transcribe(songs / name, *arguments) == 0
    stem = name.removesuffix(".wav")
    assert tree(home) == [f"out/{stem}.csv", f"out/{stem}.png"]


def test_a_level_out_of_all_range(home, songs, transcribe, noise, capsys):
    loud = noise(1).astype(np.float32) * np.float32(1e30)
    soundfile.write("loud.wav", loud, 16000, subtype="FLOAT")
    assert transcribe("loud.wav", "-o", "out") == 2
    assert "loud.wav: the model finds no numbers" in error_line(capsys)
    assert tree(home) == ["loud.wav"]


def test_one_bad_file_does_not_stop_the_others(home, songs, transcribe, capsys):
    (songs / "aa.wav").write_text("words")
    soundfile.write(songs / "ab.wav", np.zeros(0), 16000)
    assert transcribe(songs, "-o", "out") == 2
    assert tree(home / "out") == ["a.csv", "a.mid", "b.csv", "b.mid"]
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 2
    first, second, third = err.splitlines()
    assert "aa.wav: is not an audio or video file" in first
    assert "ab.wav: contains no samples" in second
    assert third == (
        "singbrain: error: 2 of 4 recordings failed; the others are done"
    )


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["missing.wav"], "missing.wav: no such file"),
        ([""], "the name of a recording is empty"),
        (["{songs}/a.wav", "-o", ""], "the name after -o is empty"),
        (["*.none"], "no file matches"),
        (["a" * 999], "cannot be read: File name too long"),
        (["empty"], "empty: holds no audio"),
        (["{songs}/a.wav", "{songs}/deep/a.wav"], "would both write a.mid"),
        (["{songs}", "-o", "a.mid"], "notes of 2 recordings"),
        (["{songs}/a.wav", "--format", "mp3"], "unknown note format 'mp3'"),
        (["{songs}/a.wav", "--format", "json,mir_st500"], "share a suffix"),
        (["{songs}/a.wav", "-o", "a.csv", "--format", "mid"], "not named like"),
        (["{songs}/a.wav", "-o", "a.mid", "--format", "mid,csv"], "2 formats"),
        (["{songs}/a.wav", "-o", "file/out"], "cannot write in this folder"),
        (["{songs}/a.wav", "-o", "b" * 999], "cannot write in this folder"),
        (["{songs}/a.wav", "-o", "file"], "cannot write in this folder"),
        (["{songs}/a.wav", "-o", "/proc/out"], "cannot write in this folder"),
        (["{songs}/a.wav", "--device", "abacus"], "device 'abacus'"),
        (["{songs}/a.wav", "--onset-threshold", "3"], "onset_threshold is 3"),
        (["{songs}/a.wav", "--onset-threshold", "x"], "invalid float value"),
        (["{songs}/a.wav", "--model", "nix"], "nix: no such model folder"),
        (["{songs}/a.wav", "--model", "empty"], "no hyperparams.yaml"),
        (["{songs}/a.wav", "--model", "broken"], "is not valid YAML"),
        (["text.wav"], "text.wav: is not an audio or video file"),
        (["zero.wav"], "zero.wav: contains no samples"),
        (["nan.wav"], "nan.wav: the sample at 0.500 s is not a finite"),
        (["silent.mp4"], "silent.mp4: has no sound"),
    ],
)
def test_bad_input(
    home, songs, transcribe, write_media, capsys, arguments, says
):
    (home / "text.wav").write_text("These are words.\n" * 99)
    soundfile.write("zero.wav", np.zeros(0), 16000)
    wav = np.zeros(16000, np.float32)
    wav[8000] = np.nan
    soundfile.write("nan.wav", wav, 16000, subtype="FLOAT")
    write_media(home / "silent.mp4", video_s=1)
    (home / "empty").mkdir()
    (home / "file").touch()
    (home / "broken").mkdir()
    (home / "broken" / "hyperparams.yaml").write_text("[")
    capsys.readouterr()
    before = tree(home)
    # One that stays empty is not left behind.
    arguments = [word.format(songs=songs) for word in arguments]
    if "-o" not in arguments:
        arguments += ["-o", "new"]
        if "would both" in says:
            says = says.replace("a.mid", "new/a.mid")
    assert transcribe(*arguments) == 2
    assert says in error_line(capsys)
    assert tree(home) == before


def test_ctrl_c(home, songs, transcribe, capsys, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(
        "speechbrain_ext.inference.stitching.plan_chunks", interrupted
    )
    assert transcribe(songs / "a.wav", "-o", "out") == 130
    assert "stopped" in error_line(capsys)
    assert tree(home) == []


def test_progress_bar_only_on_a_terminal_and_for_long_work(
    home, songs, transcribe, noise, capsys, monkeypatch
):
    soundfile.write(songs / "long.wav", noise(12), 16000)
    assert transcribe(songs / "long.wav", "-o", "1.csv") == 0
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert transcribe(songs / "a.wav", "-o", "2.csv") == 0
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert transcribe(songs / "long.wav", "-o", "3.csv") == 0
    assert "long.wav:   0%" in capsys.readouterr().err


# --- separate --------------------------------------------------------------


@pytest.fixture
def separate(tiny_separator):
    """Run the command with random weights."""

    def run(*arguments):
        model = ["--model", str(tiny_separator)]
        return main(["separate", *model, *map(str, arguments)])

    return run


def test_separate_writes_stems(home, songs, separate, capsys):
    before = tree(songs)
    assert separate(songs / "a.wav") == 0
    assert tree(home) == ["a_accompaniment.wav", "a_vocals.wav"]
    assert tree(songs) == before
    assert capsys.readouterr() == (
        "a.wav: 1.0 s, 16000 Hz, 1 channel -> a_vocals.wav, "
        "a_accompaniment.wav\n",
        "",
    )
    stems = [soundfile.read(path)[0] for path in tree(home)]
    song = soundfile.read(songs / "a.wav")[0]
    assert np.abs(sum(stems) - song).max() < 1e-4


def test_separate_a_folder(home, songs, separate, capsys):
    arguments = ["--recursive", "--mixture", "--format", "flac, mp3"]
    assert separate(songs, *arguments, "-o", "new/out", "--quiet") == 0
    assert tree(home) == sorted(
        f"new/out/{name}_{stem}.{suffix}"
        for name in ("a", "b", "deep/a")
        for stem in ("vocals", "accompaniment", "mixture")
        for suffix in ("flac", "mp3")
    )
    assert capsys.readouterr() == ("", "")


def test_separate_some_stems_with_a_picture(home, songs, separate):
    assert separate(songs / "a.wav", "--stems", "vocals", "--plot") == 0
    assert tree(home) == ["a_separation.png", "a_vocals.wav"]
    assert (home / "a_separation.png").read_bytes()[:4] == b"\x89PNG"
    assert separate(songs / "b.flac", "--stems", "mixture", "--plot") == 0
    assert tree(home)[2:] == ["b_mixture.wav", "b_separation.png"]


def test_separate_into_the_folder_of_the_songs(home, songs, separate, capsys):
    before = tree(songs)
    assert separate(songs, "-o", songs, "--quiet") == 0
    after = tree(songs)
    assert set(after) - set(before) == {
        f"{name}_{stem}.wav"
        for name in "ab"
        for stem in ("vocals", "accompaniment")
    }
    # Results are not separated again, nor overwritten without being asked.
    assert separate(songs, "-o", songs, "--quiet") == 2
    assert "a_vocals.wav and 3 more exist already" in error_line(capsys)
    assert separate(songs, "-o", songs, "--quiet", "--force") == 0
    assert tree(songs) == after
    voice, song = songs / "a_vocals.wav", songs / "a.wav"
    assert separate(song, voice, "-o", songs, "--force") == 2
    assert "a_vocals.wav: is to be read, and to be" in error_line(capsys)


def test_separate_goes_on_after_a_bad_song(home, songs, separate, capsys):
    (songs / "b.flac").write_bytes((songs / "b.flac").read_bytes()[:20])
    assert separate(songs, "-o", "out", "--quiet") == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 2
    assert "1 of 2 recordings failed; the others are done" in err
    assert tree(home / "out") == ["a_accompaniment.wav", "a_vocals.wav"]


def test_separate_warns_of_peaks(home, separate, capsys):
    generator = np.random.default_rng(0)
    song = np.sign(generator.standard_normal((16000, 1)))
    soundfile.write("loud.wav", song, 16000, subtype="FLOAT")
    assert separate("loud.wav", "--format", "flac") == 0
    out, err = capsys.readouterr()
    assert out.startswith("loud.wav: 1.0 s")
    lines = err.splitlines()
    assert lines and all(
        line.startswith("singbrain: warning: loud_") and "clipped" in line
        for line in lines
    )


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["{songs}/c.wav"], "c.wav: no such file"),
        (["{songs}/a.wav", "{songs}/deep/a.wav"], "would both write new/a_voc"),
        (["{songs}/a.wav", "--stems", "drums"], "gives no stem 'drums'"),
        (["{songs}/a.wav", "--stems", "vocals,"], "a name is missing"),
        (["{songs}/a.wav", "--format", "ogg"], "unknown audio format 'ogg'"),
        (["{songs}/a.wav", "-o", ""], "the name after -o is empty"),
        (["{songs}/a.wav", "-o", "x.wav"], "x.wav: is named like a file"),
        (["{songs}/a.wav", "-o", "file"], "cannot write in this folder"),
        (["{songs}/a.wav", "--model", "nix"], "nix: no such model folder"),
        (["{songs}/a.wav", "--model", "demucs:x"], "singbrain[demucs]"),
        (["{songs}/a.wav", "--device", "gramophone"], "is not available"),
        (["surround.wav", "--format", "mp3"], "MP3 holds 2 channels and not 6"),
        (["text.wav"], "text.wav: is not an audio or video file"),
        (["zero.wav"], "zero.wav: contains no samples"),
    ],
)
def test_bad_input_to_separate(
    home, songs, separate, capsys, monkeypatch, arguments, says
):
    monkeypatch.setitem(sys.modules, "demucs", None)
    (home / "text.wav").write_text("These are words.\n" * 99)
    (home / "file").touch()
    soundfile.write("zero.wav", np.zeros(0), 16000)
    soundfile.write("surround.wav", np.zeros((9, 6)), 16000)
    before = tree(home)
    arguments = [word.format(songs=songs) for word in arguments]
    if "-o" not in arguments:
        arguments += ["-o", "new"]
    assert separate(*arguments) == 2
    assert says in error_line(capsys)
    assert tree(home) == before


def test_separation_without_a_shipped_model(home, songs, capsys, monkeypatch):
    monkeypatch.setattr(
        "speechbrain_ext.inference.model_folder.__file__",
        str(home / "speechbrain_ext" / "inference" / "model_folder.py"),
    )
    assert main(["separate", str(songs / "a.wav")]) == 2
    assert "the shipped model 'separator' is not installed" in error_line(
        capsys
    )


def test_ctrl_c_while_separating(home, songs, separate, capsys, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(
        "speechbrain_ext.inference.stitching.plan_chunks", interrupted
    )
    assert separate(songs / "a.wav", "-o", "out") == 130
    assert "stopped" in error_line(capsys)
    assert tree(home) == []


# --- evaluate --------------------------------------------------------------


@pytest.fixture
def melodies(home):
    """ref/ and est/ with songs x and y; z and w on one side only."""
    melody = NoteSequence([(0, 1, 60), (1, 2, 62), (2, 3, 64)])
    for side, names in (("ref", "xyz"), ("est", "wxy")):
        (home / side).mkdir()
        for name in names:
            # Of y only the first two notes are found.
            short = side == "est" and name == "y"
            write_notes(
                melody[:2] if short else melody, home / side / f"{name}.csv"
            )
    return home


def test_evaluate_folders(melodies, capsys):
    assert main(["evaluate", "notes", "ref", "est", "--csv", "s.csv"]) == 0
    out, err = capsys.readouterr()
    assert "x" in out and "80.00" in out and "90.00" in out
    assert "onset 50 ms, pitch 50 cents, offset max(50 ms, 20 %)" in out
    assert err.splitlines() == [
        "singbrain: left out: z is only in ref",
        "singbrain: left out: w is only in est",
    ]
    assert len((melodies / "s.csv").read_text().splitlines()) == 3
    assert main(["evaluate", "notes", "ref", "est", "--csv", "s.csv"]) == 2
    assert "s.csv exists already" in error_line(capsys)


def test_evaluate_names_some_of_many_songs_left_out(melodies, capsys):
    for song in range(12):
        (melodies / "ref" / f"old{song:02}.csv").touch()
    assert main(["evaluate", "notes", "ref", "est", "--csv", ""]) == 2
    assert "--csv is empty" in error_line(capsys)
    assert main(["evaluate", "notes", "ref", "est"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "singbrain: left out: old00 is only in ref"
    assert lines[9:] == [
        "singbrain: left out: old09 is only in ref",
        "singbrain: left out: 3 more only in ref",
        "singbrain: left out: w is only in est",
    ]


def test_evaluate_json(melodies, capsys):
    assert main(["evaluate", "notes", "ref", "est", "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    # Song x: all 1; song y: precision 1, recall 2/3, F1 0.8.
    expected = {"precision": 1.0, "recall": 5 / 6, "f1": 0.9}
    assert scores.pop("songs") == 2
    assert list(scores) == ["COnPOff", "COnP", "COn", "COff"]
    for score in scores.values():
        assert score == pytest.approx(expected)


def test_evaluate_tolerances(melodies, capsys):
    write_notes(NoteSequence([(0.08, 1, 60.7)]), "late.csv")
    write_notes(NoteSequence([(0, 1, 60)]), "right.csv")
    command = ["evaluate", "notes", "right.csv", "late.csv", "--json"]
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out)["COnP"]["f1"] == 0
    wide = ["--onset-tolerance", "0.1", "--pitch-tolerance", "80"]
    assert main([*command, *wide]) == 0
    assert json.loads(capsys.readouterr().out)["COnP"]["f1"] == 1


@pytest.mark.parametrize(
    "rows, says",
    [
        ("1,0.5,60", "offset 0.5 s is not after its onset 1 s"),
        ("0,1,60\n0.5,2,62", "one note at a time"),
        ("0,1,600", "outside MIDI"),
    ],
)
def test_evaluate_bad_annotation(melodies, capsys, rows, says):
    (melodies / "bad.csv").write_text(f"onset_s,offset_s,midi\n{rows}\n")
    assert main(["evaluate", "notes", "bad.csv", "ref/x.csv"]) == 2
    line = error_line(capsys)
    assert "bad.csv" in line and says in line


def test_evaluate_missing_file(home, capsys):
    assert main(["evaluate", "notes", "a.csv", "b.csv", "--json"]) == 2
    assert "a.csv: no such file" in error_line(capsys)


# --- prepare ---------------------------------------------------------------


def test_prepare_list(capsys):
    assert main(["prepare", "--list"]) == 0
    out = capsys.readouterr().out
    for corpus in ("mir_st500", "tonas", "mir1k", "musdb18", "vocadito"):
        assert corpus in out


def test_prepare(home, noise, capsys):
    annotations = {}
    for song, part in ((1, "train"), (2, "train"), (401, "test")):
        folder = home / "corpus" / "wav16kHz" / part / str(song)
        folder.mkdir(parents=True)
        soundfile.write(folder / "vocals.wav", noise(7), 16000)
        annotations[str(song)] = [[0.5, 1.0, 60], [1.0, 2.0, 62]]
    path = home / "corpus" / "Annotations.json"
    path.write_text(json.dumps(annotations))
    command = ["prepare", "mir_st500", "corpus", "out"]
    assert main(command) == 0
    table = capsys.readouterr().out
    assert "train" in table and "licence" in table
    for split in ("train", "valid", "test"):
        assert (home / "out" / f"{split}.csv").is_file()
    assert main([*command, "--segment-s", "3"]) == 2
    assert "out" in error_line(capsys)


@pytest.mark.parametrize(
    "arguments, says",
    [
        ([], "needs CORPUS DATA_DIR OUT_DIR"),
        (["mir_st500", "here"], "needs CORPUS DATA_DIR OUT_DIR"),
        (["nobody", "here", "out"], "unknown corpus nobody"),
        (["mir_st500", "here", "out"], "here: no such folder"),
        (["tonas", "here", "out", "--jobs", "0"], "--jobs is 0"),
    ],
)
def test_prepare_bad_arguments(home, capsys, arguments, says):
    assert main(["prepare", *arguments]) == 2
    assert says in error_line(capsys)
    assert tree(home) == []


# --- the program -----------------------------------------------------------


def test_usage(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"singbrain {__version__}\n"
    assert main([]) == 2
    assert "COMMAND" in error_line(capsys)
    assert main(["sing"]) == 2
    assert "invalid choice: 'sing'" in error_line(capsys)
    evaluations = ("evaluate notes", "evaluate separation")
    for command in ("transcribe", *evaluations, "prepare"):
        assert main([*command.split(), "-h"]) == 0
        assert f"singbrain {command}" in capsys.readouterr().out


def test_as_a_program(home, songs, tiny_model, project_root):
    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "speechbrain_ext", *map(str, arguments)],
            capture_output=True,
            text=True,
            env={"PYTHONPATH": str(project_root), "OMP_NUM_THREADS": "1"},
        )

    done = run("transcribe", songs / "a.wav", "--model", tiny_model)
    assert (done.returncode, done.stderr) == (0, "")
    assert tree(home) == ["a.csv", "a.mid"]
    done = run("transcribe", "missing.wav")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "singbrain: error: missing.wav: no such file: check the path\n"
    )


@pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell")
@pytest.mark.parametrize(
    "end, code, says",
    [
        # The reader leaves at once; the work is done all the same.
        ("| true", 0, ""),
        (">&-", 0, ""),
        ("-o missing/deep 2>&- >&-", 0, ""),
    ],
)
def test_nobody_listens(home, songs, tiny_model, project_root, end, code, says):
    command = [sys.executable, "-m", "speechbrain_ext", "transcribe"]
    command += [str(songs), "--format", "csv", "--model", str(tiny_model)]
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{shlex.join(command)} {end}"],
        env={**os.environ, "PYTHONPATH": str(project_root)},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert (done.returncode, done.stderr) == (code, says)
    assert [path.name for path in home.rglob("*.csv")] == ["a.csv", "b.csv"]


@pytest.mark.skipif(
    not os.path.exists("/dev/full"), reason="needs Linux's full device"
)
def test_a_full_disk_behind_stdout(home, melodies, project_root):
    command = [sys.executable, "-m", "speechbrain_ext", "evaluate", "notes"]
    command += [str(melodies / "ref"), str(melodies / "ref")]
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command,
            env={**os.environ, "PYTHONPATH": str(project_root)},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=100,
        )
    assert done.returncode == 2
    assert done.stderr.startswith("singbrain: error: cannot print the result")
    assert done.stderr.count("\n") == 1


def test_light_imports():
    """Complaints about arguments come at once, without torch."""
    code = (
        "import sys\n"
        "from speechbrain_ext.cli import main\n"
        "assert main(['transcribe', 'missing.wav']) == 2\n"
        "slow = {'torch', 'speechbrain', 'matplotlib', 'mir_eval', 'av'}\n"
        "print(*slow & set(sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "\n"), done.stderr


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("layout", "OPTION=VALUE"),
        ("n_jobs=2", "--jobs"),
        ("layout=[", "not YAML"),
        ("flavour=sweet", "no option flavour"),
    ],
)
def test_prepare_refuses_strange_settings(tmp_path, capsys, setting, message):
    command = ["prepare", "vocadito", str(tmp_path), str(tmp_path / "out")]
    assert main([*command, "--set", setting]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (tmp_path / "out").exists()


def test_prepare_passes_settings_on(tmp_path, capsys):
    command = ["prepare", "minisinging", str(tmp_path / "data")]
    command += [str(tmp_path / "out"), "--set", "layout=tonas"]
    command += ["--set", "n_songs=1", "--set", "song_s=3.0"]
    assert main(command) == 0
    assert len(list((tmp_path / "data").rglob("*.notes.Corrected"))) == 1
    assert (tmp_path / "out" / "test.csv").read_text().count("\n") == 2
