"""Noise types, and levels of mixtures."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import fftconvolve

from data_prep import prepare
from data_prep.manifest import read_manifest, write_manifest
from data_prep.musan import INDEX, Clip
from speechbrain_ext.audio import audio_info, read_audio, write_audio
from speechbrain_ext.cli import main
from speechbrain_ext.datasets import Augment, transcription_dataset
from speechbrain_ext.errors import (
    AudioError,
    ConfigError,
    ManifestError,
    OutputError,
)
from speechbrain_ext.formats import write_notes
from speechbrain_ext.mixing import noise as module
from speechbrain_ext.mixing.effects import (
    LEVELS,
    find_level,
    mean_abs_level,
    mix_at,
    rms_level,
    sounding_level,
)
from speechbrain_ext.mixing.noise import (
    _Kept,
    add_noise,
    make_noise,
    noisy,
    noisy_slice,
    recordings,
    song_seed,
)
from speechbrain_ext.notes import NoteSequence

KINDS = ("white", "babble", "natural")


@pytest.mark.parametrize("kind", KINDS)
def test_noise_comes_from_its_seed_at_unit_level(kind):
    noise = make_noise(kind, 48000, seed=3)
    assert noise.shape == (48000,) and noise.dtype == np.float32
    assert np.sqrt(np.mean(noise**2)) == pytest.approx(1.0, abs=1e-4)
    assert np.array_equal(noise, make_noise(kind, 48000, seed=3))
    assert not np.allclose(noise, make_noise(kind, 48000, seed=4), atol=0.1)


def test_kinds_differ_as_their_names_say():
    def shares(kind):
        """Shares of the power in thirds of the spectrum, and crest factor."""
        noise = make_noise(kind, 80000, seed=1)
        power = np.abs(np.fft.rfft(noise)) ** 2
        thirds = [part.sum() for part in np.array_split(power, 3)]
        return np.array(thirds) / power.sum()

    white, babble, natural = map(shares, KINDS)
    assert np.allclose(white, 1 / 3, atol=0.02)
    assert babble[0] > 0.6 and babble[0] > 10 * babble[2]
    assert natural[0] > 0.5


def test_recordings_are_used(tmp_path):
    time = np.arange(8000) / 16000
    for k, hz in enumerate((300, 1000)):
        (tmp_path / str(k)).mkdir()
        write_audio(
            tmp_path / str(k) / "tone.wav",
            0.3 * np.sin(2 * np.pi * hz * time),
            16000,
        )
    for kind in ("babble", "natural"):
        noise = make_noise(kind, 32000, seed=2, folder=tmp_path)
        power = np.abs(np.fft.rfft(noise)) ** 2
        hz = np.fft.rfftfreq(32000, 1 / 16000)
        near = (np.abs(hz - 300) < 60) | (np.abs(hz - 1000) < 60)
        assert power[near].sum() > 0.9 * power.sum()
    (tmp_path / "none").mkdir()
    with pytest.raises(AudioError, match="holds no noise recordings"):
        make_noise("babble", 100, 0, folder=tmp_path / "none")
    with pytest.raises(ConfigError, match="use one of white, babble, natural"):
        make_noise("rain", 100, 0)


@pytest.mark.parametrize("ratio_db", [-10.0, 0.0, 10.0])
@pytest.mark.parametrize(
    # Half of the voice is a pause.
    ("definition", "level"),
    [("rms", 0.4 / np.sqrt(2)), ("mean_abs", 0.2), ("sounding", 0.4)],
)
def test_ratio_by_hand(ratio_db, definition, level):
    voice = np.concatenate([np.full(3200, 0.4), np.zeros(3200)])
    noise = np.full(6400, 2.0)
    ratio = 10 ** (ratio_db / 20)
    mixed = add_noise(voice, noise, ratio_db, definition)
    assert np.allclose(mixed[3200:], level / (1 + ratio), atol=1e-6)
    voiced = (0.4 * ratio + level) / (1 + ratio)
    assert np.allclose(mixed[:3200], voiced, atol=1e-6)
    if definition == "rms":
        assert np.array_equal(mixed, add_noise(voice, noise, ratio_db))
    # Parts are mixed by the levels of the whole.
    part = add_noise(voice[3200:], noise[3200:], ratio_db, levels=(0.4, 2.0))
    assert np.allclose(part, 0.4 / (1 + ratio), atol=1e-6)
    assert np.array_equal(
        add_noise(voice, 0 * noise, 0.0), (voice / 2).astype(np.float32)
    )


@pytest.mark.parametrize(
    ("ratio_db", "gain"),
    [(-10, 0.2403), (-5, 0.3599), (0, 0.5), (5, 0.6401), (10, 0.7597)],
)
def test_gains_as_published(ratio_db, gain):
    # The gain on the voice, 1 - f, and f on a noise of its level.
    voice, noise = np.array([0.8, 0.0]), np.array([0.0, 0.8])
    mixed = add_noise(voice, noise, ratio_db, "mean_abs") / 0.8
    assert mixed.tolist() == pytest.approx([gain, 1 - gain], abs=5e-5)


def test_published_formula():
    rng = np.random.default_rng(0)
    x, noise = rng.standard_normal((2, 1000)).astype(np.float32)
    f = 1 / (1 + 10 ** (-7 / 20))
    expected = (1 - f) * x
    expected += noise * f * np.abs(x).mean() / (np.abs(noise).mean() + 1e-14)
    assert np.allclose(add_noise(x, noise, -7, "mean_abs"), expected, atol=1e-6)


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    ratio_db=st.floats(-30, 30),
    definition=st.sampled_from(sorted(LEVELS)),
    voice_db=st.floats(-60, 0),
    noise_db=st.floats(-60, 0),
    pause=st.floats(0, 0.9),
    shape=st.floats(0.3, 3),
)
def test_levels_are_exact(
    seed, ratio_db, definition, voice_db, noise_db, pause, shape
):
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1000, 20000))
    voice, noise = rng.standard_normal((2, count))
    voice = np.sign(voice) * np.abs(voice) ** shape
    voice[: int(pause * count)] = 0
    voice = (0.1 * voice * 10 ** (voice_db / 20)).astype(np.float32)
    noise = (0.1 * noise * 10 ** (noise_db / 20)).astype(np.float32)
    mixed = add_noise(voice, noise, ratio_db, definition)
    assert mixed.dtype == np.float32
    ratio = 10 ** (ratio_db / 20)
    own = ratio / (1 + ratio) * voice.astype(np.float64)
    measure = find_level(definition)
    found = 20 * np.log10(measure(own) / measure(mixed - own))
    assert found == pytest.approx(ratio_db, abs=0.01)


def test_definitions_of_level_are_checked():
    ones = np.ones(100)
    for call in (
        lambda: add_noise(ones, ones, 0.0, "peak"),
        lambda: mix_at(ones, ones, 0.0, "peak"),
        lambda: noisy([], "white", 0.0, level="peak"),
    ):
        with pytest.raises(ConfigError, match="'peak': use one of rms, mean_a"):
            call()


def test_white_noise_differs_between_definitions_as_known():
    # The mean absolute value of Gaussian noise is sqrt(2 / pi) of its rms.
    noise = make_noise("white", 160000, seed=0)
    assert mean_abs_level(noise) == pytest.approx(np.sqrt(2 / np.pi), rel=0.01)
    assert rms_level(noise) == pytest.approx(1.0, rel=1e-6)


def test_babble_sounds_all_the_time():
    noise = make_noise("babble", 64000, seed=5)
    levels = [sounding_level(x) for x in np.split(noise, 8)]
    assert min(levels) > 0.4


# --- clips of a prepared folder --------------------------------------------


HZ = {"train": 500, "valid": 1500, "test": 3000}
LENGTHS = (3.0, 6.0, 10.0)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Clips that are tones, whose pitch tells their split.

    Each second one is ten times as loud.
    """
    folder = tmp_path_factory.mktemp("clips")
    rows = []
    for kind in ("babble", "natural"):
        for split, hz in HZ.items():
            for k, length in enumerate(LENGTHS):
                name = f"{kind}-{split}-{k}.wav"
                time = np.arange(round(16000 * length)) / 16000
                tone = np.sin(2 * np.pi * hz * time)
                write_audio(folder / name, (0.05, 0.5)[k % 2] * tone, 16000)
                rows.append((name, kind, split, "x", "", "", 0.0, length))
    lines = [",".join(map(str, row)) for row in (Clip._fields, *rows)]
    (folder / INDEX).write_text("\n".join(lines) + "\n")
    return folder


def share(wav, hz):
    """Share of the power near a frequency."""
    power = np.abs(np.fft.rfft(wav)) ** 2
    near = np.abs(np.fft.rfftfreq(len(wav), 1 / 16000) - hz) < 60
    return power[near].sum() / power.sum()


@pytest.mark.parametrize("kind", ["babble", "natural"])
@pytest.mark.parametrize("construction", ["joined", "slots"])
def test_noise_is_made_of_the_split_alone(clips, kind, construction):
    for split, hz in HZ.items():
        noise = make_noise(kind, 400000, 1, clips, split, construction)
        assert share(noise, hz) > 0.98 and rms_level(noise) == pytest.approx(1)
        again = make_noise(kind, 400000, 1, clips, split, construction)
        assert np.array_equal(noise, again)
        # Only one clip of babble fills a slot.
        if (kind, construction) != ("babble", "slots"):
            other = make_noise(kind, 400000, 2, clips, split, construction)
            assert not np.allclose(noise, other, atol=0.1)


def test_joined_clips_sound_all_the_time_at_one_level(clips):
    noise = make_noise("natural", 16000 * 120, 0, clips, "train")
    levels = [rms_level(part) for part in np.split(noise, 1200)]
    assert min(levels) > 0.6 and max(levels) < 1.3
    # A longer noise begins like a shorter one, but for the gain.
    longer = make_noise("natural", 16000 * 150, 0, clips, "train")
    begin = longer[: len(noise)]
    assert np.allclose(begin / rms_level(begin), noise, atol=1e-5)


def test_slots_are_as_published(clips):
    noise = make_noise("natural", 16000 * 64, 0, clips, "train", "slots")
    assert len(noise) == 16000 * 64  # the last slot is cut
    lengths, gains = set(), []
    for slot in np.split(noise[: 16000 * 60], 6):
        first, last = np.flatnonzero(slot)[[0, -1]]
        length = round((last - first) / 16000)
        # In the middle; a sine begins with a 0, and may end with some.
        assert first == (10 - length) * 8000 + 1
        lengths.add(length)
        # As it is: the clip of 6 s is the loud one.
        amplitude = {3: 0.05, 6: 0.5, 10: 0.05}[length]
        gains.append(np.abs(slot).max() / amplitude)
    assert len(lengths) > 1 and np.allclose(gains, gains[0], rtol=1e-3)
    # Of babble, only the clip of full length is taken.
    babble = make_noise("babble", 16000 * 64, 0, clips, "train", "slots")
    levels = [rms_level(part) for part in np.split(babble, 640)]
    assert np.allclose(levels, 1, atol=0.01)


def test_slots_need_clips(tmp_path):
    for options in ({}, {"folder": tmp_path}):
        with pytest.raises(ConfigError, match="slots needs clips"):
            make_noise("babble", 9, 0, construction="slots", **options)
    with pytest.raises(ConfigError, match="'tiled': use one of joined, slots"):
        make_noise("babble", 9, 0, construction="tiled")


def test_of_long_recordings_only_what_is_needed_is_read(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    write_audio(tmp_path / "x.wav", rng.uniform(-0.5, 0.5, 960000), 16000)
    whole, lengths = read_audio(tmp_path / "x.wav"), []

    def read(*arguments):
        lengths.append(len(wav := read_audio(*arguments)))
        return wav

    monkeypatch.setattr(module, "read_audio", read)
    noise = make_noise("natural", 16000, 5, tmp_path)
    assert sum(lengths) == 16000
    # It is a piece of the recording, but for the gain.
    at = int(np.argmax(fftconvolve(whole, noise[::-1], "valid")))
    piece = whole[at : at + 16000]
    assert np.allclose(noise, piece / rms_level(piece), atol=1e-5)


# --- songs -----------------------------------------------------------------


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
    """Two songs of 12 s with accompaniment, one to train and one to test."""
    folder = tmp_path_factory.mktemp("songs")
    rng = np.random.default_rng(0)
    rows = []
    for name, split in (("a", "train"), ("b", "test")):
        voice = 0.1 * rng.standard_normal(12 * 16000)
        voice[: 3 * 16000] = 0
        write_audio(folder / f"{name}.wav", voice.clip(-1, 1), 16000)
        band = 0.05 * rng.standard_normal(12 * 16000)
        write_audio(folder / f"{name}_band.wav", band, 16000)
        notes = NoteSequence([(0.5, 2.5, 57)])
        write_notes(notes, folder / f"{name}.csv")
        for k, (start, stop) in enumerate([(0.0, 5.0), (5.0, 12.0)]):
            rows.append(
                {
                    "ID": f"{name}_{k + 1}",
                    "song_id": name,
                    "segment": k + 1,
                    "n_segments": 2,
                    "start": start,
                    "stop": stop,
                    "duration": stop - start,
                    "split": split,
                    "singer": "",
                    "license": "",
                    "wav": str(folder / f"{name}.wav"),
                    "accomp_wav": str(folder / f"{name}_band.wav"),
                    "notes": str(folder / f"{name}.csv"),
                }
            )
    return rows


def mixture(row):
    """A whole song as `noisy` asks for it, and its voice and noise in it."""
    row = {**row, "song_end": 12.0}
    voice = read_audio(row["wav"])
    mixed = noisy_slice(voice, row, 0.0, 12.0)
    ratio = 10 ** (row["noise"]["ratio_db"] / 20)
    own = ratio / (1 + ratio) * voice.astype(np.float64)
    return mixed, own, mixed - own


@pytest.mark.parametrize("kind", ["accompaniment", "white", "natural"])
@pytest.mark.parametrize("definition", sorted(LEVELS))
def test_whole_songs_have_the_level(songs, clips, kind, definition):
    for ratio_db in (-10, 5):
        for row in noisy(songs, kind, ratio_db, clips, definition)[::2]:
            _, own, noise = mixture(row)
            measure = find_level(definition)
            found = 20 * math.log10(measure(own) / measure(noise))
            assert found == pytest.approx(ratio_db, abs=0.01)


@pytest.mark.parametrize("construction", ["joined", "slots"])
@pytest.mark.parametrize("kind", ["babble", "natural"])
def test_songs_get_noise_of_their_own_split(songs, clips, kind, construction):
    rows = noisy(songs, kind, 0, clips, construction=construction)
    for row in rows[::2]:
        _, _, noise = mixture(row)
        assert share(noise, HZ[row["split"]]) > 0.98
    used = [set(recordings(clips, kind, split, construction)) for split in HZ]
    assert not used[0] & used[1] | used[0] & used[2] | used[1] & used[2]


def test_slices_equal_the_whole(songs, clips):
    for kind in ("white", "babble", "natural", "accompaniment"):
        row = noisy(songs, kind, -5, clips)[0]
        whole, _, _ = mixture(row)
        row = {**row, "song_end": 12.0}
        for left, right in ((0.0, 5.0), (4.0, 7.02), (11.5, 12.0)):
            voice = read_audio(row["wav"], left, right)
            part = noisy_slice(voice, row, left, right)
            a, b = round(16000 * left), round(16000 * right)
            assert np.array_equal(part, whole[a:b])


def test_draws_depend_on_seed_song_and_kind(songs, clips):
    def noise(kind="white", index=0, **options):
        row = noisy(songs, kind, 0, **options)[index]
        return mixture(row)[2][:48000]

    first = noise()
    assert np.array_equal(first, noise(seed=0))
    for other in (noise(seed=1), noise(index=2), noise("natural")):
        assert not np.allclose(first, other, atol=1e-3)
    # As it was before there were seeds: draws of published results.
    assert noisy(songs, "white", 0)[0]["noise"]["seed"] == song_seed("a")


def test_ranges_of_levels(songs):
    rows = noisy(songs, "white", (-5.0, 5.0))
    ratios = [row["noise"]["ratio_db"] for row in rows]
    assert ratios[0] == ratios[1] != ratios[2]
    assert all(-5 <= ratio <= 5 for ratio in ratios)
    assert rows[0]["ID"] == "a_1@white-5to+5dB"
    assert ratios == [
        row["noise"]["ratio_db"] for row in noisy(songs, "white", (-5.0, 5.0))
    ]


def test_wrong_folders_are_refused_at_once(songs, tmp_path):
    with pytest.raises(AudioError, match="holds no noise recordings"):
        noisy(songs, "babble", 0, tmp_path)
    # Nobody looks for recordings of white noise.
    noisy(songs, "white", 0, tmp_path)


def test_noises_are_kept_up_to_a_limit():
    made = []

    def make(size):
        made.append(size)
        return np.zeros(size, np.uint8)

    kept = _Kept(make, 10)
    for size in (4, 5, 4, 6, 4, 5):
        assert len(kept(size)) == size
    # With 4 and 6, the limit is reached, and 5 goes; then 6.
    assert made == [4, 5, 6, 5]
    assert len(kept(20)) == 20 and list(kept.arrays) == [(20,)]


def test_training_takes_clips_of_its_split(songs, clips):
    class Epoch:
        current = 1

    for kind in ("babble", "natural"):
        for definition in ("sounding", "rms", "mean_abs"):
            augment = Augment(
                noise_share=1.0,
                noise_db=(0.0, 0.0),
                gain_db=(0.0, 0.0),
                transpose_share=0.0,
                silent_share=1.0,
                noise_kinds={kind: 1},
                noise_folder=clips,
                level=definition,
            )
            # Rows to test are there, and their clips are not taken.
            dataset = transcription_dataset(
                songs, epoch_counter=Epoch(), augment=augment
            )
            sig = dataset[3]["sig"].numpy()
            assert share(sig, HZ["train"]) > 0.97
            # The muted voice counts as 0.1.
            level = find_level(definition)(sig)
            assert level == pytest.approx(0.1, rel=0.01)


def test_training_needs_a_prepared_folder(tmp_path):
    with pytest.raises(ConfigError, match="has no splits: make it with"):
        Augment(noise_folder=tmp_path)
    with pytest.raises(ConfigError, match="level is 'peak'"):
        Augment(level="peak")


# --- copies on disk --------------------------------------------------------


@pytest.fixture
def manifest(songs, tmp_path):
    return write_manifest(
        [
            row
            | {
                key: "{data_root}/" + row[key].rpartition("/")[2]
                for key in ("wav", "accomp_wav", "notes")
            }
            for row in songs
        ],
        tmp_path / "songs.csv",
    )


def test_copies_are_what_is_mixed_while_reading(
    songs, clips, manifest, tmp_path
):
    root = songs[0]["wav"].rpartition("/")[0]
    out = tmp_path / "noisy"
    options = {"ratios_db": [-10, 5], "data_root": root, "noise_folder": clips}
    summary = prepare("noise", manifest, out, **options)
    assert ("babble", "-10dB", 2, pytest.approx(24 / 3600)) in summary.rows
    assert "babble         -10dB              2" in summary.table()
    kinds = ("accompaniment", "white", "babble", "natural")
    for kind in kinds:
        for ratio in (-10, 5):
            rows = read_manifest(out / kind / f"{ratio:+d}dB.csv", root)
            asked = noisy(songs, kind, ratio, clips)
            assert [row["ID"] for row in rows] == [row["ID"] for row in asked]
            assert rows[0]["notes"] == songs[0]["notes"]
            for row, wanted in zip(rows[::2], asked[::2], strict=True):
                assert audio_info(row["wav"]).subtype == "FLOAT"
                mixed, own, noise = mixture(wanted)
                assert np.array_equal(read_audio(row["wav"]), mixed)
                found = 20 * math.log10(rms_level(own) / rms_level(noise))
                assert found == pytest.approx(ratio, abs=0.01)
    # Items are the same, too.
    frozen = transcription_dataset(rows)
    mixed = transcription_dataset(asked)
    for k in range(4):
        assert frozen[k]["sig"].equal(mixed[k]["sig"])
        assert frozen[k]["onset"].equal(mixed[k]["onset"])


def test_the_draw_is_the_same_at_all_levels(songs, manifest, tmp_path):
    out = tmp_path / "noisy"
    root = songs[0]["wav"].rpartition("/")[0]
    prepare(
        "noise",
        manifest,
        out,
        kinds="white",
        ratios_db=[-10, 0, 10],
        data_root=root,
    )
    noises = []
    for ratio_db in (-10, 0, 10):
        row = read_manifest(out / f"white/{ratio_db:+d}dB.csv", root)[0]
        ratio = 10 ** (ratio_db / 20)
        voice = read_audio(songs[0]["wav"])
        noises.append((1 + ratio) * read_audio(row["wav"]) - ratio * voice)
    assert np.allclose(noises, noises[0], atol=1e-5)


def test_copies_with_levels_of_a_range(songs, manifest, tmp_path):
    root = songs[0]["wav"].rpartition("/")[0]
    options = {"kinds": "white", "ratios_db": [(-5, 5)], "data_root": root}
    prepare("noise", manifest, tmp_path / "out", **options)
    rows = read_manifest(tmp_path / "out/white/-5to+5dB.csv", root)
    for row, wanted in zip(rows, noisy(songs, "white", (-5, 5)), strict=True):
        assert np.array_equal(read_audio(row["wav"]), mixture(wanted)[0])


def test_a_second_run_does_nothing_and_another_setting_is_refused(
    songs, clips, manifest, tmp_path, capsys
):
    root = songs[0]["wav"].rpartition("/")[0]
    command = ["prepare", "noise", str(manifest), str(tmp_path / "out")]
    command += ["--set", f"data_root={root}", "--set", "ratios_db=0"]
    command += ["--set", f"noise_folder={clips}"]
    command += ["--set", "kinds=[white, natural]"]
    assert main(command) == 0
    assert "natural        +0dB" in capsys.readouterr().out

    def state():
        return {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*")}

    before = state()
    assert main(command) == 0
    assert "nothing to do" in capsys.readouterr().err and before == state()
    for setting, says in (
        ("level=mean_abs", "with level=rms, not mean_abs: choose another"),
        ("seed=3", "with seed=0, not 3"),
        ("construction=slots", "with construction=joined, not slots"),
    ):
        assert main([*command, "--set", setting]) == 2
        error = capsys.readouterr().err
        assert says in error and error.count("\n") == 1
    assert before == state()
    # Another seed gives something else, the same for any number of workers.
    name = "white/+0dB/a.wav"
    first = read_audio(tmp_path / "out" / name)
    assert main([*command, "--set", "seed=3", "--force"]) == 0
    two = [*command[:3], str(tmp_path / "two"), *command[4:], "--jobs", "2"]
    assert main([*two, "--set", "seed=3"]) == 0
    for path in (tmp_path / "two").rglob("*.wav"):
        one = tmp_path / "out" / path.relative_to(tmp_path / "two")
        assert np.array_equal(read_audio(path), read_audio(one))
    assert not np.array_equal(read_audio(tmp_path / "out" / name), first)


def test_wrong_requests_for_copies(songs, manifest, tmp_path):
    root = songs[0]["wav"].rpartition("/")[0]
    out = tmp_path / "out"
    for options, error, says in (
        ({"kinds": "rain"}, ConfigError, "'rain' is unknown"),
        ({"kinds": []}, ConfigError, "give some of each"),
        ({"ratios_db": "loud"}, ConfigError, "level of 'loud' dB: give a nu"),
        ({"ratios_db": [[5, -5]]}, ConfigError, "range of levels from 5 to -5"),
        ({"ratios_db": float("nan")}, ConfigError, "level of nan dB"),
        ({"level": "peak"}, ConfigError, "level is 'peak'"),
        ({"construction": "slots"}, ConfigError, "slots needs clips"),
        ({"noise_folder": out}, AudioError, "holds no noise recordings"),
        ({"data_root": None}, ManifestError, "say where with data_root"),
    ):
        with pytest.raises(error, match=says):
            prepare("noise", manifest, out, **{"data_root": root} | options)
        assert not out.exists()
    (out / "white" / "+0dB").mkdir(parents=True)
    (out / "white" / "+0dB" / "a.wav").write_text("mine")
    with pytest.raises(OutputError, match="a.wav: exists already"):
        prepare(
            "noise", manifest, out, data_root=root, ratios_db=0, kinds="white"
        )
    assert (out / "white" / "+0dB" / "a.wav").read_text() == "mine"
