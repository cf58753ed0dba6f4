"""Remixes: what fits together, when lines are heard, and files on disk."""

import csv
import importlib.util
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep import prepare, remixes
from data_prep.manifest import read_manifest, write_manifest
from data_prep.musdb18_lyrics import Line, read_lines, write_lines
from speechbrain_ext.audio import read_audio, write_audio
from speechbrain_ext.cli import main
from speechbrain_ext.errors import (
    ConfigError,
    DependencyError,
    ManifestError,
    OutputError,
)
from speechbrain_ext.mixing.remix import (
    ANALYSIS_RATE,
    STEMS,
    Part,
    Remix,
    RemixSettings,
    SongAnalysis,
    analyse_song,
    beat_shift,
    check_songs,
    cut_between,
    draw_remix,
    key_change,
    render_remix,
    stretched,
    tempo_change,
)

RATE = 16000

needs_stretch = pytest.mark.skipif(
    importlib.util.find_spec("python_stretch") is None,
    reason="needs python-stretch",
)
needs_librosa = pytest.mark.skipif(
    importlib.util.find_spec("librosa") is None, reason="needs librosa"
)


def clicks(times, seconds, rate=RATE, seed=0):
    """Bursts of noise of some milliseconds."""
    rng = np.random.default_rng(seed)
    wav = np.zeros(round(seconds * rate) + rate)
    shape = np.exp(-np.arange(rate // 100) / (rate / 500))
    for time in times:
        first = round(time * rate)
        burst = 0.5 * shape * rng.choice([-1, 1], len(shape))
        wav[first : first + len(shape)] = burst
    return wav[: round(seconds * rate)]


def onset(wav, near, rate=RATE):
    """When the burst near a time begins: half of its largest level."""
    first = max(0, round((near - 0.1) * rate))
    level = np.abs(wav[first : round((near + 0.1) * rate)])
    width = rate // 500
    level = np.convolve(level, np.ones(width) / width, "same")
    assert level.max() > 1e-3, f"nothing is heard around {near} s"
    return (first + int(np.argmax(level > level.max() / 2))) / rate


def line(start, stop, song="x", category="a", split="train", words="la la"):
    return Line(song, split, 1, start, stop, category, words, words)


# --- what fits -------------------------------------------------------------


def test_tempo_change():
    assert tempo_change(120, 120) == 1
    assert tempo_change(120, 100) == pytest.approx(1.2)
    assert tempo_change(60, 240) == 1
    assert tempo_change(130, 100, 0.25) is None
    assert tempo_change(120, 100, 0.15) is None


@settings(max_examples=50, deadline=None)
@given(st.integers(-5, 6), st.permutations(range(12)))
def test_key_change_undoes_a_transposition(semitones, ranks):
    own = np.array(ranks) / sum(ranks)
    wanted = np.roll(own, semitones)
    assert key_change(wanted, own, 6) == semitones
    found = key_change(wanted, own, 4)
    assert found == (semitones if abs(semitones) <= 4 else None)


@settings(max_examples=30, deadline=None)
@given(st.integers(-150, 150), st.integers(0, 2**16))
def test_beat_shift_undoes_a_shift(cells, seed):
    rng = np.random.default_rng(seed)
    beats = 3 + np.cumsum(rng.uniform(0.3, 0.7, 40))
    moved = beats - 0.005 * cells
    assert beat_shift(beats, moved) == pytest.approx(0.005 * cells, abs=0.0051)


def test_beat_shift_takes_the_nearest_of_equal_places():
    beats = np.arange(2.0, 60.0, 0.5)
    assert beat_shift(beats, beats + 0.1) == pytest.approx(-0.1)
    assert beat_shift(beats, [2.1]) == pytest.approx(-0.1)
    assert beat_shift(beats, []) == 0


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 50), st.floats(0.5, 9)), max_size=8),
    st.floats(1, 60),
)
def test_no_line_is_cut(spans, end):
    lines = [line(start, start + length) for start, length in spans]
    cut = cut_between(lines, end)
    assert 0 <= cut <= end
    assert not any(r.start_s < cut < r.stop_s - 1e-6 for r in lines)


def test_a_pause_is_no_line_and_an_unintelligible_line_is_one():
    rejected = Line("x", "train", 1, 4.0, 9.0, "c", "", "", "marked")
    assert cut_between([line(1, 3), line(3, 9, category="d")], 5.0) == 5.0
    assert cut_between([line(1, 3), rejected], 5.0) == 4.0


# --- drawing ---------------------------------------------------------------


def analysis(name, tempo=120.0, key=0, seconds=60.0, trim=0.0):
    beats = trim + np.arange(0.1, seconds - trim, 60 / tempo)
    chroma = np.roll(np.arange(12) / 66, key)
    return SongAnalysis(
        name, seconds, trim, tempo, tuple(beats.tolist()), tuple(chroma)
    )


def lyrics(name, seconds=60.0, every=4.0, split="train"):
    starts = np.arange(1.0, seconds - every, every)
    return [
        Line(name, split, k, float(s), float(s) + every - 1, "a", "la la", "la")
        for k, s in enumerate(starts, start=1)
    ]


SONGS = {
    name: analysis(name, tempo, key, 60.0 + key, trim)
    for name, tempo, key, trim in (
        ("A - A", 120, 0, 0.0),
        ("B - B", 110, 2, 1.5),
        ("C - C", 62, 3, 0.25),
        ("D - D", 160, 0, 0.0),  # fits no other tempo
        ("E - E", 125, 9, 2.0),
    )
}
LINES = {name: lyrics(name) for name in SONGS}


def test_remixes_come_from_seed_and_index():
    wanted = RemixSettings(min_words=3)
    drawn = [draw_remix(SONGS, LINES, 1, k, wanted) for k in range(20)]
    turned = dict(reversed(SONGS.items()))
    assert drawn == [draw_remix(turned, LINES, 1, k, wanted) for k in range(20)]
    assert drawn != [draw_remix(SONGS, LINES, 2, k, wanted) for k in range(20)]
    assert drawn[3] is None and drawn[8] is None  # D - D leads
    assert sum(remix is not None for remix in drawn) >= 12


def test_plans_hold_to_the_limits():
    wanted = RemixSettings(tempo=0.15, semitones=3, min_words=1, min_s=5)
    for index in range(40):
        remix = draw_remix(SONGS, LINES, 0, index, wanted)
        if remix is None:
            continue
        leader = SONGS[sorted(SONGS)[index % len(SONGS)]]
        assert [part.stem for part in remix.parts] == list(STEMS)
        own = [part for part in remix.parts if part.song == leader.song]
        assert len(own) == 1 and (own[0].speed, own[0].semitones) == (1, 0)
        assert min(part.delay_s for part in remix.parts) == 0
        for part in remix.parts:
            song = SONGS[part.song]
            assert abs(part.speed - 1) < 0.15 and abs(part.semitones) <= 3
            assert part.stem != "drums" or part.semitones == 0
            assert part.trim_s == song.trim_s
            end = part.time(song.duration_s)
            assert remix.length_s <= end + 1e-9
            # All beats meet those of the leader, counted in halves.
            late = [part.time(beat) for beat in song.beats[8:20]]
            grid = 30 / leader.tempo
            phase = own[0].time(leader.beats[0])
            off = (np.array(late) - phase + grid / 2) % grid - grid / 2
            assert np.abs(off).max() < 0.02
        last = remix.lines[-1]
        assert last.stop_s <= remix.length_s + 1e-9


def test_lines_go_where_the_voice_goes():
    song = lyrics("B - B")
    for index in range(30):
        remix = draw_remix(SONGS, LINES, 5, index, RemixSettings(min_words=1))
        if remix and remix.vocals.song == "B - B":
            voice = remix.vocals
            for own, moved in zip(song, remix.lines, strict=False):
                start = max(own.start_s, 1.5)  # silence is trimmed
                assert moved.start_s == pytest.approx(
                    (start - 1.5) / voice.speed + voice.delay_s, abs=1e-9
                )
                length = (own.stop_s - start) / voice.speed
                assert moved.stop_s - moved.start_s == pytest.approx(length)
            return
    pytest.fail("B - B never sings")


def test_the_voice_may_lead():
    wanted = RemixSettings(keep_vocals=True, min_words=1)
    for index in range(5):
        remix = draw_remix(SONGS, LINES, 0, index, wanted)
        if remix:
            assert remix.vocals.song == sorted(SONGS)[index]
            assert remix.vocals.speed == 1


def test_stems_that_do_not_play_are_not_lent():
    songs = {
        name: replace(song, stems=("vocals", "other"))
        if name < "C"
        else replace(song, stems=("drums", "bass"))
        for name, song in SONGS.items()
        if name != "D - D"
    }
    wanted = RemixSettings(semitones=5, min_words=1)
    drawn = [draw_remix(songs, LINES, 0, k, wanted) for k in range(24)]
    drawn = [remix for remix in drawn if remix]
    assert len(drawn) >= 4
    for remix in drawn:
        assert all(part.stem in songs[part.song].stems for part in remix.parts)
    # A song without a voice does not lead where the voice has to.
    wanted = replace(wanted, keep_vocals=True)
    assert draw_remix(songs, LINES, 0, 2, wanted) is None


def test_nobody_remixes_what_is_validated_or_tested_with():
    for split in ("valid", "test"):
        lines = LINES | {"B - B": lyrics("B - B", split=split)}
        with pytest.raises(ConfigError, match=f"B - B is of the split {split}"):
            draw_remix(SONGS, lines, 0, 0)
    # Whatever their split says.
    for name in ("Fergessen - The Wind", "Meaxic - Take A Step"):
        songs = SONGS | {name: analysis(name)}
        with pytest.raises(ConfigError, match=f"{name} is left for valid"):
            draw_remix(songs, LINES | {name: lyrics(name)}, 0, 0)
    with pytest.raises(ConfigError, match="Z is none of 1 songs"):
        check_songs(["Z"], {"A": "train"})


# --- sound -----------------------------------------------------------------


@needs_stretch
@pytest.mark.parametrize(
    ("speed", "semitones"), [(1, 0), (0.8, 0), (1.24, -4), (1, 3), (0.9, 4)]
)
def test_clicks_stay_at_their_times(speed, semitones):
    times = [0.2, 1.0, 2.37, 4.123, 5.5]
    wav = clicks(times, 6.0).astype(np.float32)[:, None]
    out = stretched(wav, RATE, speed, semitones)
    assert len(out) == round(len(wav) / speed)
    for time in times:
        assert onset(out[:, 0], time / speed) == pytest.approx(
            time / speed, abs=0.002
        )
    assert np.array_equal(out, stretched(wav, RATE, speed, semitones))


@needs_stretch
def test_pitch_is_transposed():
    time = np.arange(2 * RATE) / RATE
    wav = np.sin(2 * np.pi * 440 * time).astype(np.float32)[:, None]
    out = stretched(wav, RATE, 0.8, 3)[RATE // 2 : RATE // 2 + RATE, 0]
    hertz = np.argmax(np.abs(np.fft.rfft(out * np.hanning(RATE))))
    assert hertz == pytest.approx(440 * 2 ** (3 / 12), rel=0.005)


def test_sum_of_stems(tmp_path):
    """No stem is changed, so that all can be computed by hand."""
    values = {"vocals": 0.5, "drums": 0.5, "bass": 0.25, "other": -0.125}
    media = {}
    for stem, value in values.items():
        path = write_audio(tmp_path / f"{stem}.wav", np.full(8000, value), 8000)
        media[stem] = str(path)
    parts = tuple(
        Part(stem, "x", 0.25, delay_s=0.5 if stem == "bass" else 0.0)
        for stem in STEMS
    )
    sounds, rate = render_remix(Remix(0, 0.75, parts), {"x": media})
    gain = 1 / (1.01 * 1.125)  # of all stems together
    assert rate == 8000 and sounds["mixture"].shape == (6000, 1)
    assert sounds["mixture"][1000, 0] == pytest.approx(0.875 * gain, abs=1e-4)
    assert sounds["mixture"][5000, 0] == pytest.approx(1.125 * gain, abs=1e-4)
    assert sounds["mixture"][-1, 0] == 0  # faded
    total = sounds["vocals"] + sounds["accompaniment"]
    assert np.array_equal(total, sounds["mixture"])


def test_missing_library(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "python_stretch", None)
    with pytest.raises(DependencyError, match=r"singbrain\[remix\]"):
        stretched(np.zeros((9, 1)), RATE, 0.9)


# --- on disk ---------------------------------------------------------------

TEMPI = {"A - A": 120.0, "B - B": 110.0, "C - C": 126.0}
TRIMS = {"A - A": 0.0, "B - B": 0.75, "C - C": 1.3}
FIRST_BEATS = {"A - A": 0.0, "B - B": 0.3, "C - C": 0.9}
SECONDS = 16.0


def beats(name):
    first = TRIMS[name] + FIRST_BEATS[name]
    return np.arange(first, SECONDS - 0.1, 60 / TEMPI[name])


def write_song(folder, name):
    """Drums that click, a bass of one pitch, a voice that clicks at lines."""
    number = "ABC".index(name[0])
    trim = TRIMS[name]
    time = np.arange(round(SECONDS * RATE)) / RATE
    tone = np.sin(2 * np.pi * 55 * 2 ** (number / 12) * time)
    starts = np.arange(1.5 + number / 8, 14.0, 2.0)
    sounds = {
        "drums": clicks(beats(name), SECONDS),
        "bass": 0.1 * tone * (time >= trim),
        "other": 0.05 * np.sin(2 * np.pi * 220 * time) * (time >= trim),
        "vocals": clicks(starts, SECONDS, seed=1),
    }
    sounds["mixture"] = sum(sounds.values())
    (folder / name).mkdir(parents=True)
    for stem, wav in sounds.items():
        write_audio(folder / name / f"{stem}.wav", wav, RATE)
    return [
        Line(name, "train", k, float(s), float(s) + 1.5, "a", "la la", "la la")
        for k, s in enumerate(starts, start=1)
    ]


def write_corpus(folder, splits=None):
    """A manifest with a table of lines beside it."""
    rows, lines = [], []
    for name in TEMPI:
        split = (splits or {}).get(name, "train")
        own = write_song(folder, name)
        lines += [Line(**{**vars(line), "split": split}) for line in own]
        row = {"ID": f"{name}_1", "song_id": name, "segment": 1}
        row |= {"n_segments": 1, "start": 0.0, "stop": SECONDS}
        row |= {"duration": SECONDS, "split": split, "singer": name[0]}
        row |= {"license": "mine", "mix_wav": "mixture", "wav": "vocals"}
        row |= {f"{s}_wav": s for s in ("drums", "bass", "other")}
        for key in row:
            if key.endswith("wav"):
                row[key] = f"{{data_root}}/{name}/{row[key]}.wav"
        rows.append(row)
    write_manifest(rows, folder / "train.csv")
    write_lines(lines, folder / "lines.csv")
    return folder / "train.csv"


def stub(song, mixture, stems):
    """What is to be heard of a song, without hearing it."""
    return SongAnalysis(
        song,
        SECONDS,
        TRIMS[song],
        TEMPI[song],
        tuple(beats(song).tolist()),
        tuple(np.roll(np.eye(12)[9], "ABC".index(song[0])).tolist()),
    )


OPTIONS = {"passes": 2, "min_s": 4, "min_words": 2, "seed": 3}


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    monkeypatch.setattr(remixes, "analyse_song", stub)
    return write_corpus(tmp_path / "corpus")


def remixed(corpus, out, **options):
    options = OPTIONS | {"data_root": corpus.parent} | options
    return prepare("remixes", corpus, out, **options)


@needs_stretch
def test_lines_are_where_the_voice_clicks(corpus, tmp_path):
    """Through trimming, stretching, transposing and moving, to 10 ms."""
    out = tmp_path / "out"
    summary = remixed(corpus, out, stems=True)
    rows = read_manifest(out / "train.csv")
    lines = read_lines(out / "lines.csv")
    files = {row["song_id"]: row for row in rows}
    assert summary.rows[0][2] == len(files) >= 4
    with (out / "remixes.csv").open() as stream:
        plans = [
            row for row in csv.DictReader(stream) if row["stem"] == "vocals"
        ]
    assert {row["remix"] for row in plans} == set(files)
    # Some are slower, some faster, higher, later and trimmed.
    assert len({row["speed"] for row in plans} - {"1.0"}) >= 2
    assert {row["semitones"] for row in plans} - {"0"}
    assert any(float(row["delay_s"]) > 0 for row in plans)
    assert any(float(row["trim_s"]) > 0 for row in plans)
    heard = 0
    for name, row in files.items():
        wav = read_audio(row["wav"], sample_rate=RATE)
        own = [r for r in lines if r.song == name]
        assert own and {r.split for r in own} == {"train"}
        for r in own:
            assert onset(wav, r.start_s) == pytest.approx(r.start_s, abs=0.01)
            heard += 1
        assert max(r.stop_s for r in own) <= len(wav) / RATE + 1e-4
        stems = [row["accomp_wav"], row["wav"], row["mix_wav"]]
        band, voice, mix = (read_audio(f, sample_rate=RATE) for f in stems)
        assert np.abs(band + voice - mix).max() < 1e-6
        parts = [row[f"{s}_wav"] for s in ("drums", "bass", "other")]
        parts = [read_audio(f, sample_rate=RATE) for f in parts]
        assert np.abs(sum(parts) - band).max() < 1e-6
    assert heard >= 10


@needs_stretch
def test_an_interrupted_run_goes_on(corpus, tmp_path, monkeypatch):
    whole = tmp_path / "whole"
    remixed(corpus, whole)
    calls = []

    def broken(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return render_remix(*arguments)

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(remixes, "render_remix", broken)
        with pytest.raises(KeyboardInterrupt):
            remixed(corpus, out)
    left = contents(out)
    assert "train.csv" not in left and "prepared.json" not in left
    audio = [name for name in left if name.endswith(".flac")]
    assert len(audio) == 6 and not any(".part" in name for name in left)
    times = {name: (out / name).stat().st_mtime_ns for name in audio}
    # With other options it does not.
    with pytest.raises(OutputError, match="was prepared with seed=3, not 4"):
        remixed(corpus, out, seed=4)
    remixed(corpus, out)
    assert contents(out) == contents(whole)
    assert times == {name: (out / name).stat().st_mtime_ns for name in audio}
    assert not remixed(corpus, out).fresh


@needs_stretch
def test_any_number_of_workers(corpus, tmp_path):
    one = tmp_path / "one"
    remixed(corpus, one, passes=1, mono=True)
    two = tmp_path / "two"
    # Workers would not have the stub: what was heard is taken from the folder.
    two.mkdir()
    (one / "analysis").rename(two / "analysis")
    remixed(corpus, two, passes=1, mono=True, n_jobs=2)
    sounds = {k: v for k, v in contents(two).items() if "analysis" not in k}
    assert sounds == contents(one)


def test_songs_that_are_refused(corpus, tmp_path, monkeypatch):
    out = tmp_path / "out"
    with pytest.raises(ConfigError, match="Z is none of 3 songs"):
        remixed(corpus, out, songs=["A - A", "Z"])
    with pytest.raises(ManifestError, match="1 of 1 songs have a beat"):
        remixed(corpus, out, songs=["A - A"])
    other = write_corpus(tmp_path / "other", {"B - B": "test"})
    with pytest.raises(ConfigError, match="B - B is of the split test"):
        remixed(other, tmp_path / "none")
    with pytest.raises(ConfigError, match="B - B is of the split test"):
        remixed(other, tmp_path / "none", songs=["A - A", "B - B"])
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tempo": 0.9}, r"tempo of a remix is 0\.9: use 0 to 0\.5"),
        ({"semitones": -1}, "semitones of a remix is -1"),
        ({"passes": 0}, "passes is 0: use a whole number from 1"),
        ({"mono": "no"}, "mono is 'no': use true or false"),
        ({"keep_vocals": 1}, "keep_vocals is 1: use true or false"),
    ],
)
def test_options_out_of_range(options, message, corpus, tmp_path):
    with pytest.raises(ConfigError, match=message):
        remixed(corpus, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_nothing_fits(corpus, tmp_path):
    with pytest.raises(ManifestError, match="none of 6 remixes"):
        remixed(corpus, tmp_path / "out", min_s=3600)
    assert not (tmp_path / "out" / "train.csv").exists()


def test_command_line(tmp_path, capsys):
    corpus = write_corpus(tmp_path / "corpus", {"C - C": "valid"})
    command = ["prepare", "remixes", str(corpus), str(tmp_path / "out")]
    command += ["--set", f"data_root={corpus.parent}"]
    assert main(command) == 2
    assert "C - C is of the split valid" in capsys.readouterr().err


# --- hearing ---------------------------------------------------------------


@needs_librosa
@pytest.mark.parametrize("name", ["B - B"])
def test_tempo_beats_key_and_silence_are_heard(name, tmp_path):
    write_song(tmp_path, name)
    mixture, *sounds = (
        read_audio(tmp_path / name / f"{s}.wav", sample_rate=ANALYSIS_RATE)
        for s in ("mixture", *STEMS)
    )
    stems = dict(zip(STEMS, sounds, strict=True))
    found = analyse_song(name, mixture, stems)
    assert found.stems == STEMS
    assert found.reason == "" and found.duration_s == SECONDS
    assert found.trim_s == pytest.approx(0.75, abs=0.002)
    assert found.tempo == pytest.approx(110, rel=0.005)
    late = np.array(found.beats) - 1.05
    off = (late + 15 / 55) % (30 / 55) - 15 / 55
    assert np.abs(off - np.median(off)).max() < 0.03
    assert np.abs(np.median(off)) < 0.05
    assert np.argmax(found.chroma) == 10  # a sharp
    assert sum(found.chroma) == pytest.approx(1, abs=1e-4)
    silence = np.zeros_like(mixture)
    # Without drums and bass: clicks of the mixture, the tone of 220 Hz.
    less = stems | {"drums": silence, "bass": silence}
    found = analyse_song(name, sum(less.values()) + stems["drums"], less)
    assert found.stems == ("vocals", "other")
    assert found.tempo == pytest.approx(110, rel=0.01)
    assert np.argmax(found.chroma) == 9
    nothing = dict.fromkeys(STEMS, silence)
    assert analyse_song(name, silence, nothing).reason == "is silent"
    short = {stem: wav[: 2 * ANALYSIS_RATE] for stem, wav in stems.items()}
    few = analyse_song(name, mixture[: 2 * ANALYSIS_RATE], short)
    assert "beats, fewer than 8" in few.reason
