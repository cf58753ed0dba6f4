"""The chain from a song to its score."""

import json
from contextlib import suppress

import numpy as np
import pytest
import soundfile

from speechbrain_ext import files, rhythm
from speechbrain_ext.cli import main
from speechbrain_ext.errors import (
    AudioError,
    ClusterError,
    ModelError,
    OutputError,
)
from speechbrain_ext.formats import read_notes
from speechbrain_ext.inference import model_folder, splitter
from speechbrain_ext.inference.aligner import LyricsAligner
from speechbrain_ext.inference.song import (
    INDEX,
    SongChain,
    SongJob,
    SongSettings,
    run_songs,
)
from speechbrain_ext.lyrics.acoustic import AcousticModel
from speechbrain_ext.lyrics.lexicon import Lexicon
from speechbrain_ext.lyrics.posteriorgram import Posteriorgram
from speechbrain_ext.lyrics.timed import read_timed
from speechbrain_ext.ultrastar import read_ultrastar

pytest.importorskip("music21")
pytest.importorskip("jams")

SECONDS = 3


class Deaf(AcousticModel):
    """Hears nothing, so that words are spread over the recording."""

    def _hear(self, wav):
        return Posteriorgram.silence(len(wav) / 16000, 100)


@pytest.fixture(autouse=True)
def music(monkeypatch):
    """Known beats and words: their finders have tests of their own."""
    beats = rhythm.Rhythm(tuple(0.25 + 0.5 * k for k in range(5)), 1)
    key = rhythm.Key("Bb", "major", 0.8, 0.1)
    monkeypatch.setattr(rhythm, "estimate_rhythm", lambda *_: beats)
    monkeypatch.setattr(rhythm, "estimate_key", lambda *_: key)
    own = {"la": "L AA", "baby": "B EY B IY"}
    aligner = LyricsAligner(Deaf(), Lexicon(own=own))
    monkeypatch.setattr(LyricsAligner, "from_hparams", lambda *_, **__: aligner)


@pytest.fixture
def song(tmp_path, noise):
    path = tmp_path / "Somebody - Noise.wav"
    soundfile.write(path, noise(SECONDS, channels=2), 16000)
    return path


@pytest.fixture
def lyrics(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("La baby\nLa la\n")
    return path


@pytest.fixture
def models(tiny_separator, tiny_model):
    return {"separator": tiny_separator, "transcriber": tiny_model}


@pytest.fixture
def chain(models):
    return SongChain(SongSettings(report=False, **models))


FILES = [
    "accompaniment.wav",
    "song.jams",
    "song.json",
    "song.txt",
    "vocals.csv",
    "vocals.mid",
    "vocals.musicxml",
    "vocals.wav",
]


def names(folder):
    return sorted(p.name for p in folder.iterdir() if p.name != ".cache")


def test_all_files_of_a_song(models, song, lyrics, tmp_path):
    shares = []
    result = SongChain(SongSettings(**models)).run(
        song,
        tmp_path / "out",
        lyrics,
        progress=lambda stage, share: shares.append((stage, share)),
    )
    folder = tmp_path / "out"
    wanted = sorted([*FILES, "song.lrc", "report.html"])
    assert names(folder) == sorted(result.files) == wanted
    assert result.missing == {}
    assert set(result.stages.values()) == {"done"}
    # Voice and accompaniment make up the song.
    parts = [
        soundfile.read(folder / f"{stem}.wav")[0]
        for stem in ("vocals", "accompaniment")
    ]
    assert np.allclose(sum(parts), soundfile.read(song)[0], atol=1e-3)
    # All files tell of the same notes and words.
    notes = read_notes(folder / "vocals.csv")
    assert len(notes) > 3
    sung = " ".join(note.lyric for note in notes if note.lyric)
    assert sung.replace("- ", "").split() == ["La", "baby", "La", "la"]
    for name in ("vocals.mid", "song.jams"):
        found = read_notes(folder / name)
        assert np.allclose(found.intervals, notes.intervals, atol=2e-3)
    (karaoke,) = read_ultrastar(folder / "song.txt").values()
    assert [n.lyric for n in karaoke] == [n.lyric for n in notes]
    assert [w.word for w in read_timed(folder / "song.lrc")][:2] == [
        "La",
        "baby",
    ]
    text = (folder / "song.txt").read_text()
    assert "#TITLE:Noise" in text and "#ARTIST:Somebody" in text
    score = read_notes(folder / "vocals.musicxml")
    steps = score.intervals / 0.5 * 4
    assert np.allclose(steps, np.round(steps), atol=1e-6)
    # The progress never goes back, and ends at the end.
    done = [share for _, share in shares]
    assert done == sorted(done) and done[-1] == 1
    assert [stage for stage, _ in shares][-1] == "done"


def test_a_second_run_does_nothing_again(chain, song, tmp_path):
    chain.run(song, tmp_path / "out")
    before = {
        path: path.stat().st_mtime_ns
        for path in (tmp_path / "out" / ".cache").rglob("*")
    }
    again = chain.run(song, tmp_path / "out")
    assert set(again.stages.values()) == {"cached"}
    after = {path: path.stat().st_mtime_ns for path in before}
    assert after == before


def test_what_depends_on_a_change_is_done_again(chain, song, models, tmp_path):
    chain.run(song, tmp_path / "out")
    other = SongSettings(report=False, tempo=90, **models)
    result = SongChain(other).run(song, tmp_path / "out")
    assert result.stages == {
        "separate": "cached",
        "transcribe": "cached",
        "rhythm": "done",
    }


def test_files_of_others_are_not_replaced(chain, song, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "vocals.mid").write_text("mine")
    with pytest.raises(OutputError, match=r"vocals\.mid exists already"):
        chain.run(song, folder)
    assert names(folder) == ["vocals.mid"]
    chain.run(song, folder, overwrite=True)
    chain.run(song, folder)  # it is ours now
    (folder / "vocals.csv").write_text("corrected by hand")
    with pytest.raises(OutputError, match=r"vocals\.csv exists already"):
        chain.run(song, folder)
    assert (folder / "vocals.csv").read_text() == "corrected by hand"


def test_a_run_that_was_stopped_goes_on(chain, song, tmp_path, monkeypatch):
    from speechbrain_ext.inference import song as module

    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "write_song_jams", stop)
        with pytest.raises(KeyboardInterrupt):
            chain.run(song, tmp_path / "out")
    assert "song.jams" not in names(tmp_path / "out")
    result = chain.run(song, tmp_path / "out")
    assert set(result.stages.values()) == {"cached"}
    assert names(tmp_path / "out") == FILES


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_run_that_is_killed_at_any_file_goes_on(
    moment, chain, song, tmp_path, monkeypatch
):
    """Whatever was written last, no file is taken for somebody else's."""
    chain = chain.with_settings(title="Old", isolate=False)
    chain.run(song, tmp_path / "out")
    rename, seen = files.os.replace, []

    def stop(old, new):
        if moment == "after":
            rename(old, new)
        raise KeyboardInterrupt

    def count(old, new):
        seen.append(new)
        rename(old, new)

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "replace", count)
        chain.with_settings(title="Other").run(song, tmp_path / "count")
    written = [name for name in FILES if not name.endswith(".wav")]
    assert len(seen) > 2 * len(written)
    for number in range(len(seen)):
        left = iter(range(number))

        def some(old, new, left=left):
            (stop if next(left, None) is None else rename)(old, new)

        other = chain.with_settings(title=f"{number}")
        with monkeypatch.context() as patch:
            patch.setattr(files.os, "replace", some)
            with suppress(KeyboardInterrupt):
                other.run(song, tmp_path / "out")
        chain.run(song, tmp_path / "out")
    assert names(tmp_path / "out") == written


def test_force_replaces_what_was_changed(chain, song, tmp_path):
    chain.run(song, tmp_path / "out")
    path = tmp_path / "out" / "vocals.wav"
    before = path.read_bytes()
    path.write_bytes(b"changed by hand")
    chain.run(song, tmp_path / "out", overwrite=True)
    assert path.read_bytes() == before


def test_steps_that_are_not_wanted(models, song, lyrics, tmp_path):
    voice = SongSettings(isolate=False, report=False, **models)
    result = SongChain(voice).run(song, tmp_path / "voice")
    assert result.stages == {"transcribe": "done", "rhythm": "done"}
    assert result.warnings == [] and result.missing == {}
    assert names(tmp_path / "voice") == [
        name for name in FILES if not name.endswith(".wav")
    ]
    words = SongSettings(transcribe=False, **models)
    shares = []
    result = SongChain(words).run(
        song,
        tmp_path / "words",
        lyrics,
        progress=lambda stage, share: shares.append((stage, share)),
    )
    assert "transcribe" not in result.stages and result.melodies == {}
    assert len(result.lyrics) == 4
    assert names(tmp_path / "words") == [
        *("accompaniment.wav", "report.html", "song.jams", "song.json"),
        *("song.lrc", "vocals.wav"),
    ]
    done = [share for _, share in shares]
    assert done == sorted(done) and done[-1] == 1


def test_other_settings_keep_the_models(chain, tiny_separator):
    loaded = chain.separator, chain.transcriber
    chain.aligner  # noqa: B018 (loads it)
    other = chain.with_settings(title="Title", beats_per_bar=3, language="de")
    assert (other.separator, other.transcriber) == loaded
    assert vars(other).keys() & {"aligner"} == set()
    assert chain.settings.title is None
    same = SongChain().with_settings(separator=tiny_separator)
    assert "separator" not in vars(same)
    with pytest.raises(ModelError, match="no such model folder"):
        chain.with_settings(separator="none")


def test_no_beat_leaves_the_rest(chain, song, tmp_path, monkeypatch):
    monkeypatch.setattr(rhythm, "estimate_rhythm", lambda *_: None)
    monkeypatch.setattr(rhythm, "estimate_key", lambda *_: None)
    result = chain.run(song, tmp_path / "out")
    assert result.missing == {"beats": "no beat was found"}
    assert names(tmp_path / "out") == FILES


@pytest.fixture
def no_splitter(monkeypatch):
    """None is shipped."""
    find = model_folder.find_model

    def missing(source=None, kind="transcriber"):
        if source is None and kind == "singer_splitter":
            raise ModelError("the shipped model is not installed")
        return find(source, kind)

    monkeypatch.setattr(model_folder, "find_model", missing)
    monkeypatch.setattr(splitter, "find_model", missing)


def test_no_splitter_leaves_the_rest(models, song, tmp_path, no_splitter):
    settings = SongSettings(report=False, singers=4, **models)
    result = SongChain(settings).run(song, tmp_path / "out")
    assert "split" in result.missing
    assert result.stages["split"] == "missing"
    assert names(tmp_path / "out") == FILES


def test_lyrics_that_do_not_fit_leave_the_rest(chain, song, tmp_path):
    path = tmp_path / "long.txt"
    path.write_text("la " * 500)
    result = chain.run(song, tmp_path / "out", path)
    assert list(result.missing) == ["align"]
    assert names(tmp_path / "out") == FILES


def test_a_model_that_is_named_wrongly_is_an_error(tmp_path):
    for kind in ("separator", "transcriber", "splitter", "aligner"):
        with pytest.raises(ModelError, match="no such model folder"):
            SongChain(SongSettings(**{kind: tmp_path / "none"}))


def test_one_bad_song_does_not_end_the_others(models, song, tmp_path):
    bad = tmp_path / "bad.wav"
    bad.write_text("no sound")
    jobs = [
        SongJob(path, tmp_path / path.stem / "deep") for path in (bad, song)
    ]
    first, second = run_songs(jobs, SongSettings(report=False, **models))
    assert isinstance(first, Exception) and "bad.wav" in str(first)
    assert sorted(second.files) == FILES


@pytest.mark.slow
def test_songs_of_several_processes_are_the_same(models, song, tmp_path):
    settings = SongSettings(report=False, tempo=120, **models)
    other = tmp_path / "b.wav"
    soundfile.write(other, soundfile.read(song)[0][::-1], 16000)
    found = {}
    for count in (1, 2):
        jobs = [
            SongJob(path, tmp_path / f"{count}" / path.stem)
            for path in (song, other)
        ]
        found[count] = list(run_songs(jobs, settings, count))
    for one, two in zip(found[1], found[2], strict=True):
        assert one.song == two.song
        # A process computes with fewer threads, which rounds differently.
        for left, right in zip(
            one.melodies.values(), two.melodies.values(), strict=True
        ):
            assert np.allclose(left.intervals, right.intervals, atol=1e-4)
            assert np.allclose(left.midi, right.midi)
        assert sorted(two.files) == FILES


@pytest.fixture
def command(models):
    def run(*arguments):
        chosen = [f"--{kind}={path}" for kind, path in models.items()]
        return main(["song", "--no-report", *chosen, *map(str, arguments)])

    return run


def test_command_prints_json(command, song, lyrics, tmp_path, capsys):
    out = tmp_path / "out"
    assert command(song, "--lyrics", lyrics, "-o", out, "--json") == 0
    printed = capsys.readouterr()
    (told,) = json.loads(printed.out)["songs"]
    assert told["words"] == 4
    assert (told["tempo"], told["key"]) == (120, "Bb major")
    assert told["first_bar_s"] == 0.75
    assert told["singers"]["vocals"]["notes"] > 3
    index = json.loads((out / INDEX).read_text())
    assert set(index["files"]) == {*FILES, "song.lrc"} - {INDEX}


def test_command_tells_of_songs_before_a_cluster_was_lost(
    command, song, tmp_path, capsys, monkeypatch
):
    def lost(jobs, *_):
        yield AudioError(f"{jobs[0].song}: is faulty")
        raise ClusterError("the cluster was lost")

    monkeypatch.setattr("speechbrain_ext.inference.song.run_songs", lost)
    assert command(song, "-o", tmp_path / "out", "--json") == 2
    printed = capsys.readouterr()
    (told,) = json.loads(printed.out)["songs"]
    assert told["error"].endswith("is faulty")
    assert "the cluster was lost" in printed.err


def test_command_takes_folders(command, song, lyrics, tmp_path, capsys):
    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / f"{song.stem}.txt").write_text(lyrics.read_text())
    album = tmp_path / "album"
    album.mkdir()
    for name in (song.name, "b.wav"):
        (album / name).write_bytes(song.read_bytes())
    out = tmp_path / "out"
    assert command(album, "--lyrics", texts, "-o", out) == 0
    assert names(out / song.stem) == sorted([*FILES, "song.lrc"])
    assert names(out / "b") == FILES
    printed = capsys.readouterr()
    assert "b.wav" in printed.err and "none of its lyrics" in printed.err
    assert len(printed.out.splitlines()) == 2


def test_command_fails_where_what_was_asked_for_is_missing(
    command, song, tmp_path, capsys, no_splitter
):
    out = tmp_path / "out"
    assert command(song, "-o", out, "--singers", 4) == 2
    assert names(out) == FILES
    assert "split" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--singers", 0], "singers is 0"),
        (
            ["--singers", 3],
            "the splitter tells 2 singers apart, not 3: use --singers 2, or "
            "--splitter with a model for 3",
        ),
        (["--singers", 2, "--splitter", "none"], "no such model folder"),
        (["--singers", 2, "--splitter", "separator"], "its sources are vocals"),
        (["--beats-per-bar", 0], "beats_per_bar is 0"),
        (["--device", "cudaa"], "the device 'cudaa' is not available here"),
        (["--lyrics", "none.txt"], "none.txt"),
        (["--jobs", 0], "--jobs is 0"),
    ],
)
def test_command_refuses(command, song, tmp_path, capsys, arguments, message):
    assert command(song, "-o", tmp_path / "out", *arguments) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()
