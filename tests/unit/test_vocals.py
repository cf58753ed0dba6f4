"""Isolation of voices, with a small program in the place of the separators."""

import stat
import sys

import numpy as np
import pytest
import soundfile

from data_prep.vocals import find_program, isolate, main
from speechbrain_ext.errors import (
    AudioError,
    ConfigError,
    DependencyError,
    OutputError,
)

RATE = 44100

# Understands the command lines of spleeter and demucs. Its "voice" is half of
# the input, in stereo at 44.1 kHz. What it was asked is kept in calls.txt.
PROGRAM = """#!{python}
import pathlib, sys
here = pathlib.Path(__file__).parent
args = sys.argv[1:]
with open(here / "calls.txt", "a") as log:
    log.write(" ".join(args) + "\\n")
mode = (here / "mode.txt").read_text().strip()
if mode == "offline":
    print("INFO: Downloading model archive https://example.org/2stems.tar.gz")
    print("httpx.ConnectError: [Errno -2] Name or service not known")
    sys.exit(1)
if mode == "no ffmpeg":
    print("spleeter.SpleeterError: ffmpeg binary not found")
    sys.exit(1)
if mode == "crash":
    print("Traceback ...")
    print("MemoryError: no more")
    sys.exit(3)
if mode == "silent":
    sys.exit(0)
import array, wave
value = dict(zip(args, args[1:]))
try:
    with wave.open(args[-1]) as file:
        assert (file.getframerate(), file.getsampwidth()) == (44100, 2)
        wav = array.array("h", file.readframes(file.getnframes()))
        wav = wav[:: file.getnchannels()]
except wave.Error:  # floats
    import soundfile
    wav = array.array("h", soundfile.read(args[-1], dtype="int16")[0])
if "-p" in args:  # spleeter
    assert args[0] == "separate" and value["-p"] == "spleeter:2stems"
    wav = wav[: int(float(value.get("-d", 600)) * 44100)]
    folder = pathlib.Path(value["-o"])
else:  # demucs
    assert value["--two-stems"] == "vocals"
    folder = pathlib.Path(value["-o"], value["-n"])
folder = folder / pathlib.Path(args[-1]).stem
folder.mkdir(parents=True)
if mode == "shorter":
    wav = wav[: len(wav) // 2]
if mode == "a block more":
    wav.extend([0] * 1000)
half = array.array("h", (x // 2 for x in wav for channel in "lr"))
for name in ("vocals", "accompaniment"):
    with wave.open(str(folder / (name + ".wav")), "wb") as file:
        file.setparams((2, 2, 44100, 0, "NONE", ""))
        file.writeframes(half.tobytes())
"""


@pytest.fixture
def program(tmp_path):
    folder = tmp_path / "bin dir"
    folder.mkdir()
    path = folder / "separator"
    path.write_text(PROGRAM.replace("{python}", sys.executable))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    (folder / "mode.txt").write_text("good")
    return path


def mode(program, value):
    (program.parent / "mode.txt").write_text(value)


def calls(program):
    path = program.parent / "calls.txt"
    return path.read_text().splitlines() if path.exists() else []


def tone(path, seconds=1.0, rate=RATE, channels=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(round(seconds * rate)) / rate
    wav = 0.8 * np.sin(2 * np.pi * 440 * time)
    soundfile.write(path, np.repeat(wav[:, None], channels, axis=1), rate)
    return path


def left(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


@pytest.mark.parametrize("backend", ["spleeter", "demucs"])
def test_voice_has_the_length_of_the_song(backend, program, tmp_path):
    song = tone(tmp_path / "in" / "a song.v2.wav", 1.234)
    out = tmp_path / "out"
    (path,) = isolate([song], out, backend, program=program)
    assert path == out / "a song.v2" / "vocals.wav"
    wav, rate = soundfile.read(path)
    assert rate == 16000 and wav.shape == (round(1.234 * 16000),)
    middle = wav[4000:12000]
    assert np.sqrt(np.mean(middle**2)) == pytest.approx(
        0.5 * 0.8 / np.sqrt(2), rel=1e-3
    )
    assert left(out) == ["a song.v2", "a song.v2/vocals.wav"]


def test_command_lines(program, tmp_path):
    song = tone(tmp_path / "song.wav", 2.5)
    isolate([song], tmp_path / "s", "spleeter", program=program)
    isolate([song], tmp_path / "d", "demucs", program=program, model="mdx")
    spleeter, demucs = (line.split(" ") for line in calls(program))
    # More than the song lasts: spleeter stops after 10 minutes by itself.
    assert spleeter[:5] == ["separate", "-p", "spleeter:2stems", "-d", "4"]
    assert spleeter[5] == "-o" and spleeter[-1].endswith("/song.wav")
    assert demucs[:5] == ["-n", "mdx", "--two-stems", "vocals", "--float32"]
    assert demucs[5] == "-o" and demucs[-1].endswith("/song.wav")


def test_rate_and_channels_may_stay(program, tmp_path):
    song = tone(tmp_path / "song.wav", channels=2)
    (path,) = isolate(
        song, tmp_path / "out", program=program, sample_rate=None, mono=False
    )
    wav, rate = soundfile.read(path)
    assert (wav.shape, rate) == ((44100, 2), 44100)


def test_other_formats_are_decoded_first(program, tmp_path):
    song = tone(tmp_path / "song.aiff", 1.0)
    (path,) = isolate([song], tmp_path / "out", program=program)
    assert calls(program)[0].endswith("/song.wav")
    assert soundfile.info(path).frames == 16000


def test_names_of_songs(program, tmp_path):
    paths = [tone(tmp_path / name / "Mixture.wav", 0.2) for name in ("10", "2")]
    out = tmp_path / "out"
    assert isolate(paths, out, program=program, n_jobs=2) == [
        out / "10" / "vocals.wav",
        out / "2" / "vocals.wav",
    ]
    named = isolate({"x": paths[0]}, out, program=program)
    assert named == [out / "x" / "vocals.wav"]
    same = [tone(tmp_path / "a" / "s.wav"), tone(tmp_path / "b" / "s.wav")]
    with pytest.raises(OutputError, match="would both become s"):
        isolate(same, out, program=program)
    with pytest.raises(OutputError, match="cannot name"):
        isolate({"../x": paths[0]}, out, program=program)


def test_finished_songs_are_skipped(program, tmp_path):
    first, second = (tone(tmp_path / f"{n}.wav", 0.3) for n in "ab")
    out = tmp_path / "out"
    isolate([first], out, program=program)
    isolate([first, second], out, program=program)
    assert len(calls(program)) == 2
    isolate([first], out, program=program, overwrite=True)
    assert len(calls(program)) == 3


def test_result_of_another_song_is_not_taken(program, tmp_path):
    song = tone(tmp_path / "a.wav", 1.0)
    out = tmp_path / "out"
    isolate([song], out, program=program)
    tone(song, 2.0)
    with pytest.raises(OutputError, match=r"exists with 1\.00 s.*has 2\.00 s"):
        isolate([song], out, program=program)
    isolate([song], out, program=program, overwrite=True)
    assert soundfile.info(out / "a" / "vocals.wav").frames == 32000


def test_small_surplus_is_cut(program, tmp_path):
    mode(program, "a block more")
    song = tone(tmp_path / "a.wav", 1.0)
    (path,) = isolate([song], tmp_path / "out", program=program)
    assert soundfile.info(path).frames == 16000


@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        ("shorter", AudioError, r"has 1\.000 s, but spleeter gave .* 0\.500 s"),
        ("offline", DependencyError, "the model of spleeter is missing"),
        ("no ffmpeg", DependencyError, "install ffmpeg"),
        ("crash", DependencyError, r"exit code 3: MemoryError: no more"),
        ("silent", DependencyError, r"wrote no vocals\.wav: it printed"),
    ],
)
def test_failures_are_one_line_and_leave_nothing(
    fault, error, message, program, tmp_path
):
    mode(program, fault)
    song = tone(tmp_path / "a.wav", 1.0)
    with pytest.raises(error, match=message) as caught:
        isolate([song], tmp_path / "out", program=program)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_failure_stops_the_run_and_keeps_what_is_done(program, tmp_path):
    songs = [tone(tmp_path / f"{n}.wav", 0.2) for n in "abcd"]
    out = tmp_path / "out"
    isolate(songs[:1], out, program=program)
    mode(program, "crash")
    with pytest.raises(DependencyError, match=r"b\.wav: spleeter failed"):
        isolate(songs, out, program=program)
    assert left(out) == ["a", "a/vocals.wav"]
    assert len(calls(program)) < 4
    mode(program, "good")
    assert len(isolate(songs, out, program=program)) == 4


@pytest.mark.parametrize("backend", ["spleeter", "demucs"])
def test_missing_program(backend, monkeypatch, tmp_path):
    variable = f"SINGBRAIN_{backend.upper()}"
    monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DependencyError, match=f"install {backend}.*{variable}"):
        isolate([tmp_path / "a.wav"], tmp_path / "out", backend)
    with pytest.raises(DependencyError, match="/no/such: no such program"):
        find_program(backend, "/no/such")
    assert not (tmp_path / "out").exists()


def test_places_of_the_program(program, monkeypatch, tmp_path):
    monkeypatch.setenv("SINGBRAIN_SPLEETER", str(program))
    assert find_program("spleeter") == [str(program)]
    assert find_program("spleeter", sys.executable + " -m spleeter") == [
        sys.executable,
        "-m",
        "spleeter",
    ]
    monkeypatch.delenv("SINGBRAIN_SPLEETER")
    program.rename(program.with_name("spleeter"))
    monkeypatch.setenv("PATH", str(program.parent))
    assert find_program("spleeter") == [str(program.with_name("spleeter"))]
    monkeypatch.delenv("SINGBRAIN_DEMUCS", raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    assert find_program("demucs") == [sys.executable, "-m", "demucs"]


def test_input_is_checked_before_the_program_runs(program, tmp_path):
    (tmp_path / "text.wav").write_text("no audio")
    for name in ("text.wav", "missing.wav"):
        with pytest.raises(AudioError, match=name):
            isolate([tmp_path / name], tmp_path / "out", program=program)
    assert calls(program) == []
    with pytest.raises(ConfigError, match="backend is 'open'"):
        isolate([], tmp_path / "out", "open")
    with pytest.raises(ConfigError, match="n_jobs is 0"):
        isolate([], tmp_path / "out", program=program, n_jobs=0)


def test_output_folder_that_cannot_be_made(program, tmp_path):
    song = tone(tmp_path / "a.wav")
    with pytest.raises(OutputError, match="cannot be made"):
        isolate([song], song / "out", program=program)


def test_by_itself_into_the_layout_of_mir_st500(program, tmp_path, capsys):
    train = tmp_path / "MIR-ST500" / "train"
    songs = [tone(train / n / "Mixture.wav", 0.3) for n in ("1", "2")]
    command = [*map(str, songs), "-o", str(train), "--program", str(program)]
    assert main(command) == 0
    voices = [train / n / "vocals.wav" for n in ("1", "2")]
    assert capsys.readouterr().out.split() == [str(v) for v in voices]
    assert all(voice.is_file() for voice in voices)
    mode(program, "crash")
    assert main(command) == 0, "what is there is not made again"
    assert main([*command, "--force"]) == 2
    error = capsys.readouterr().err
    assert error.splitlines()[-1].startswith("singbrain: error: ")
    assert "exit code 3" in error and "Traceback" not in error
    assert all(voice.is_file() for voice in voices)
