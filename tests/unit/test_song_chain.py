"""The evaluation of the chain: with models that are perfect, late or random."""

import csv
import re

import numpy as np
import pytest

from benchmarks import song_chain
from benchmarks.common import show
from data_prep.minisinging import render_choir
from data_prep.minisinging.corpus import as_minisinging
from speechbrain_ext import audio, rhythm
from speechbrain_ext.errors import ConfigError, LyricsError, NoteError
from speechbrain_ext.inference.aligner import LyricsAligner
from speechbrain_ext.inference.song import SongChain, SongResult, SongSettings
from speechbrain_ext.lyrics.acoustic import AcousticModel
from speechbrain_ext.lyrics.posteriorgram import Posteriorgram
from speechbrain_ext.metrics.chain import ChainStats
from speechbrain_ext.notes import NoteSequence

BEATS = rhythm.Rhythm(tuple(0.5 * k for k in range(8)))
BOTH = ["--songs", "1", "--seconds", "2"]


@pytest.fixture(scope="module")
def song():
    made = song_chain.synthetic_song(6, 0, 3.0, 0.0)
    # So that a note that is 0.1 s late is not taken for the next one.
    assert np.diff([note.onset for note in made.notes]).min() > 0.2
    return made


def heard(song, notes=None, words=None, found=BEATS, key=None):
    result = SongResult(
        None,
        None,
        melodies={"vocals": song.notes if notes is None else notes},
        lyrics=song.words if words is None else words,
        rhythm=found,
        key=key,
    )
    return song_chain.Heard(result, {"align": 1.5, "listen": 9.0})


def later(notes, seconds):
    return NoteSequence(
        (n.onset + seconds, n.offset + seconds, n.midi) for n in notes
    )


# --- scores of one song ----------------------------------------------------


def test_all_that_is_perfect_scores_full(song):
    known = song._replace(tempo=120.0, key="C major")
    key = rhythm.Key("C", "major", 1.0, 1.0)
    scores = song_chain.score(known, heard(known, key=key), known.voice)
    assert scores.pop(song_chain.SI_SDR) == np.inf
    assert scores.pop(song_chain.MEDIAN) == 0
    # 1.5 s for 3 s of song; what the report takes is left out.
    assert scores.pop(song_chain.TIMES["align"]) == 50
    assert len(scores) == 13 and set(scores.values()) == {100}


def test_late_notes_lose_their_words_too(song):
    scores = song_chain.score(song, heard(song, later(song.notes, 0.1)))
    for measure in song_chain.NOTES:
        assert scores[measure] == 0
    # None is found, so that nothing can be said of the words on them.
    assert np.isnan(scores["found notes with their word, %"])
    assert scores["all notes, found with their syllable, %"] == 0
    # The words themselves are where they were.
    assert scores[song_chain.PCO] == scores[song_chain.TRUE_NOTES] == 100
    assert song_chain.SI_SDR not in scores


def test_words_that_are_missing_are_wrong(song):
    scores = song_chain.score(song, heard(song, words=()))
    assert np.isnan(scores[song_chain.MEDIAN]) and scores[song_chain.PCO] == 0
    assert scores["found notes with their word, %"] == 0
    assert scores[song_chain.TRUE_WORDS] == 100
    assert scores["notes: COnPOff, %"] == 100


def test_si_sdr_of_a_mixture_at_0_db(song):
    # Half as much of something that has nothing to do with the voice: 6 dB.
    other = np.random.default_rng(0).normal(size=len(song.voice))
    other -= song.voice * (other @ song.voice) / (song.voice @ song.voice)
    other *= 0.5 * np.linalg.norm(song.voice) / np.linalg.norm(other)
    scores = song_chain.score(song, heard(song), song.voice + other)
    assert scores[song_chain.SI_SDR] == pytest.approx(6.02, abs=0.01)


@pytest.mark.parametrize(
    ("found", "right"),
    [(100, (1, 1)), (104, (1, 1)), (105, (0, 0)), (200, (0, 1)), (33, (0, 1))],
)
def test_tempo(found, right):
    assert song_chain.tempo_right(100.0, found) == right


def test_no_beat_and_no_key_are_wrong(song):
    known = song._replace(tempo=120.0, key="C major")
    scores = song_chain.score(known, heard(known, found=None))
    assert scores[song_chain.TEMPO] == scores[song_chain.KEY] == 0
    unknown = song._replace(tempo=None, key=None)
    scores = song_chain.score(unknown, heard(unknown))
    assert not {song_chain.TEMPO, song_chain.KEY} & scores.keys()


# --- songs -----------------------------------------------------------------


def test_songs_come_from_their_seed_and_level(song):
    again = song_chain.synthetic_song(6, 0, 3.0, 0.0)
    assert np.array_equal(song.mixture, again.mixture)
    assert song.words == again.words and song.notes == again.notes
    other = song_chain.synthetic_song(6, 1, 3.0, 0.0)
    assert other.notes != song.notes
    # 20 dB less of the band is a tenth of it, against the voice.
    soft = song_chain.synthetic_song(6, 0, 3.0, 20.0)
    bands = [
        np.std(made.mixture - made.voice) / np.std(made.voice)
        for made in (song, soft)
    ]
    assert bands[0] / bands[1] == pytest.approx(10, rel=0.01)


def test_no_song_comes_from_a_seed_of_a_shipped_model(project_root):
    told = set()
    for card in (project_root / "pretrained").glob("*/README.md"):
        text = card.read_text("utf-8").replace("\n", " ")
        told |= {*map(int, re.findall(r"seeds?:? (\d+)", text))}
        told |= {*map(int, re.findall(r"seeds \d+ \D*and (\d+)", text))}
    assert {11, 12, 23, 31, 37, 1986} <= told
    assert told <= {*song_chain.TRAINED_SEEDS}
    with pytest.raises(ConfigError, match="--seed 31: shipped models"):
        list(song_chain.main(["--seed", "31"]))


def test_songs_of_a_folder(tmp_path):
    as_minisinging(tmp_path / "mini", 0, 0, 2, song_s=3.0, progress=False)
    first, second = song_chain.songs_of(tmp_path / "mini" / "test")
    song = song_chain.read_song(first)
    assert song.name == "test1" and song.seconds == 3.0
    assert len(song.notes) and len(song.words) and song.words[0].phones
    assert song.tempo is None
    parts = [
        audio.read_audio(first / f"{name}.wav")
        for name in ("voice", "accompaniment")
    ]
    assert np.allclose(song.mixture, sum(parts), atol=1e-4)
    # A mixture of its own is taken as it is, and words may be a table of ours.
    audio.write_audio(second / "mixture.wav", parts[0], 16000)
    (second / "phones.csv").unlink()
    (second / "words.csv").write_text("word,onset_s,offset_s\nla,0.5,1\n")
    song = song_chain.read_song(second)
    assert np.allclose(song.mixture, parts[0], atol=1e-4)
    assert [word.word for word in song.words] == ["la"]
    # Words are told apart by their place: what is no word would shift them.
    (second / "words.csv").write_text("word,onset_s,offset_s\n-,0,1\nla,1,2\n")
    with pytest.raises(LyricsError, match="has 2 rows but 1 words"):
        song_chain.read_song(second)
    with pytest.raises(ConfigError, match=r"no <song>/voice\.wav"):
        song_chain.songs_of(tmp_path)


# --- the chain itself ------------------------------------------------------


class Listener:
    """Hears the notes of a song, whatever it is given."""

    sees = has_f0 = False

    def __init__(self, notes):
        self.notes = notes

    def analyse_file(self, path, clock):
        return None, np.ones(200)

    def decoder(self, posteriors):
        return self.notes


class Deaf(AcousticModel):
    """Hears no phone."""

    def _hear(self, wav):
        return Posteriorgram.silence(len(wav) / 16000, 100)


@pytest.fixture
def aligner(monkeypatch):
    monkeypatch.setattr(
        LyricsAligner, "from_hparams", lambda *_, **__: LyricsAligner(Deaf())
    )


@pytest.mark.parametrize(("late_s", "right"), [(0.0, 100), (0.1, 0)])
def test_a_perfect_transcriber_and_a_late_one(
    song, late_s, right, aligner, tiny_separator, tmp_path
):
    chain = SongChain(SongSettings(separator=tiny_separator, report=False))
    chain.transcriber = Listener(later(song.notes, late_s))
    scores, failures = song_chain.evaluate_song(chain, song, tmp_path)
    assert failures == [] and list(scores) == list(song_chain.CONDITIONS)
    for found in scores.values():
        for measure in song_chain.NOTES:
            assert found[measure] == right
    # A random stem is worse than the mixture it was taken from.
    predicted, mixture = scores["predicted"], scores["mixture"]
    assert predicted[song_chain.SI_SDR] < mixture[song_chain.SI_SDR]
    # The two runs on the mixture share what they both ask for.
    assert song_chain.TIMES["rhythm"] in predicted
    assert song_chain.TIMES["rhythm"] not in mixture
    assert song_chain.TIMES["separate"] not in scores["perfect"]


class Splitter:
    """Gives the voices of a choir, the second one first."""

    singers = ("singer1", "singer2")

    def __init__(self, choir):
        self.choir = choir

    def split_file(self, path, outputs, progress):
        for file, name in outputs.items():
            voice = self.choir.voices[1 - self.singers.index(name)]
            audio.write_audio(file, voice, self.choir.sample_rate)
        return SongResult(None, None)


def test_duets_are_scored_in_the_best_order(tmp_path):
    choir = render_choir(7, 3.0, sample_rate=16000)
    truth = [clip.notes for clip in choir.clips]

    class Knows(Listener):
        """Hears the first voice where it is louder than the second."""

        def analyse_file(self, path, clock):
            wav = audio.read_audio(path)
            self.notes = truth[int(np.argmax(np.abs(choir.voices @ wav)))]
            return None, np.ones(200)

    chain = SongChain(SongSettings(singers=2, isolate=False, report=False))
    chain.transcriber, chain.splitter = Knows(None), Splitter(choir)
    scores, failures = song_chain.evaluate_duet(chain, choir, "1", tmp_path)
    assert failures == []
    for measure in song_chain.NOTES:
        assert scores["perfect"][measure] == 100
        assert scores["split"][measure] == 100
        # One melody is not that of both.
        assert scores["mixture"][measure] < 100
    assert scores["split"][song_chain.SI_SDR] > 30
    assert song_chain.TIMES["split"] in scores["split"]


# --- statistics ------------------------------------------------------------


def test_means_leave_out_what_has_no_score():
    stats = ChainStats(["a", "b"], ["one", "two"], "told")
    stats.append("1", {"one": {"a": 1.0, "b": 5.0}, "two": {"a": 3.0}})
    stats.append("2", {"one": {"a": 3.0}, "two": {"a": 4.0}})
    means = stats.means()
    assert [means["a"][name][0] for name in ("one", "two")] == [2.0, 3.5]
    assert means["b"]["one"][0] == 5.0 and np.isnan(means["b"]["two"][0])
    assert stats.difference("a", "two", "one")[:2] == (2, 1.5)
    assert stats.difference("b", "two", "one") is None
    lines = stats.table().splitlines()
    assert lines[0] == "told" and lines[1].split()[-3:] == ["two", "-", "one"]
    assert lines[2].split()[0::2] == ["a", "+-1.0", "+-0.5", "+-0.5"]
    assert lines[3].split() == ["b", "5.0", "-", "-"]
    with pytest.raises(NoteError, match="has scores of"):
        stats.append("3", {"three": {"a": 1.0}})
    with pytest.raises(NoteError, match="scored already"):
        stats.append("2", {})


# --- the command -----------------------------------------------------------


@pytest.fixture
def models(tiny_separator, tiny_model, aligner):
    return [f"--separator={tiny_separator}", f"--transcriber={tiny_model}"]


def test_command(models, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = [*BOTH, *models, "-o", str(out)]
    assert show(song_chain.main, arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("python -m benchmarks.song_chain --songs 1")
    assert lines[1] == "songs of 2 s of MiniSinging, seed 2026, voice +0 dB"
    assert lines[2].startswith("mean of 1 song")
    shown = [line.split("  ")[0] for line in lines[3:]]
    assert [x for x in song_chain.MEASURES if x[0] != " "] == [
        x for x in shown if x
    ]
    table = (out / "table.txt").read_text("utf-8")
    assert table.splitlines() == lines
    (row,) = csv.DictReader((out / "scores.csv").open(encoding="utf-8"))
    assert row["song_id"] == "001"
    assert len(row) == 1 + 3 * len(song_chain.MEASURES)
    assert (out / "scores.png").stat().st_size > 1000
    # It does not replace what is there without being asked to.
    assert show(song_chain.main, arguments) == 2
    assert "table.txt: exists already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--songs", "0"], "--songs 0"),
        (["--seconds", "0.5"], "--seconds 0.5"),
        (["--singers", "2", "--folder", "x"], "duets are synthetic"),
        (["--folder", "nowhere"], "nowhere: no <song>/voice.wav"),
        (["--separator", "none"], "no such model folder"),
        (["--seed", "-1"], "--seed is -1"),
        (["--splitter", "x"], "--splitter is of no use"),
        (["--folder", "x", "--songs", "3"], "--songs is of no use"),
        (["-o", __file__], "cannot be made"),
    ],
)
def test_command_refuses(arguments, message, capsys):
    assert show(song_chain.main, arguments) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_a_song_that_is_faulty_does_not_end_the_others(
    models, tmp_path, capsys
):
    as_minisinging(tmp_path / "mini", 0, 0, 2, song_s=3.0, progress=False)
    folder = tmp_path / "mini" / "test"
    (folder / "test1" / "notes.csv").write_text("no notes")
    (folder / "test2" / "phones.csv").unlink()
    (folder / "test2" / "words.csv").write_text("word,onset_s,offset_s\n")
    arguments = [*models, "--folder", str(folder)]
    assert show(song_chain.main, arguments) == 0
    printed = capsys.readouterr().out
    assert "mean of 1 song" in printed and "test1: " in printed
    (folder / "test2" / "notes.csv").write_text("no notes")
    assert show(song_chain.main, arguments) == 2
    assert "no song could be scored: test1: " in capsys.readouterr().err


@pytest.mark.slow
def test_shipped_models_on_a_duet(capsys):
    assert show(song_chain.main, [*BOTH, "--singers", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].endswith("seed 2026, duets")
    assert lines[3].startswith(song_chain.SI_SDR)
