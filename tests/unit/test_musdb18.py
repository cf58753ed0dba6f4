"""MUSDB18 in both editions: songs written by hand, and what may go wrong."""

import importlib.util
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile

from data_prep import download, musdb18, prepare
from data_prep.corpus import held_out
from data_prep.manifest import read_manifest
from data_prep.minisinging import as_musdb18
from data_prep.musdb18 import SAMPLE_RATE, TRACKS, VALID_SONGS
from speechbrain_ext.audio import audio_info, read_audio, write_tracks
from speechbrain_ext.errors import (
    AudioError,
    ConfigError,
    LyricsError,
    ManifestError,
    OutputError,
)
from speechbrain_ext.lyrics.timed import write_phones

# 16-bit values, left and right, of songs that never change. The mixture is
# the sum of the others; so drums + bass + other are 4500 and 2500.
VALUES = {
    "mixture": (8500, 7500),
    "drums": (1000, 2000),
    "bass": (3000, 1000),
    "other": (500, -500),
    "vocals": (4000, 5000),
}
VALID = "Leaf - Summerghost"
COLUMNS = list(TRACKS.values()) + ["accomp_wav"]


def wavs(folder, seconds=0.5, suffix="wav", rate=SAMPLE_RATE, **values):
    """A song in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, pair in {**VALUES, **values}.items():
        samples = np.tile(pair, (round(seconds * rate), 1)).astype(np.int16)
        soundfile.write(folder / f"{name}.{suffix}", samples, rate)


def tones(seconds=0.3):
    """Five tracks that add up; drums are 400 Hz, ... vocals 1000 Hz."""
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    parts = [
        np.outer(np.sin(2 * np.pi * hz * time), (0.1, 0.2))
        for hz in (400, 600, 800, 1000)
    ]
    return [sum(parts), *parts]


def stem_file(folder, name="A - B", tracks=None, rate=SAMPLE_RATE):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.stem.mp4"
    return write_tracks(path, tracks or tones(), rate)


def pitch(wav):
    """Frequency of the strongest tone, Hz, from a second or so."""
    spectrum = np.abs(np.fft.rfft(wav * np.hanning(len(wav))))
    return np.argmax(spectrum) * SAMPLE_RATE / len(wav)


def rows(out, split, folder):
    return read_manifest(out / f"{split}.csv", folder)


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def hq(tmp_path):
    """A song for each split, in folders of WAV files."""
    folder = tmp_path / "musdb18hq"
    wavs(folder / "train" / "A - B")
    wavs(folder / "train" / VALID)
    wavs(folder / "test" / "No dash")
    return folder


def test_manifests_of_wav_files(hq, tmp_path, capsys):
    out = tmp_path / "out"
    summary = prepare("musdb18", hq, out)
    assert (out / "valid.csv").read_text().splitlines() == [
        "ID,song_id,segment,n_segments,start,stop,duration,split,singer,"
        "license,wav,mix_wav,accomp_wav,drums_wav,bass_wav,other_wav",
        "Leaf - Summerghost_1,Leaf - Summerghost,1,1,0,0.5,0.5,valid,Leaf,"
        "MUSDB18 terms,"
        "{data_root}/train/Leaf - Summerghost/vocals.wav,"
        "{data_root}/train/Leaf - Summerghost/mixture.wav,"
        "{manifest_root}/audio/Leaf - Summerghost/accompaniment.flac,"
        "{data_root}/train/Leaf - Summerghost/drums.wav,"
        "{data_root}/train/Leaf - Summerghost/bass.wav,"
        "{data_root}/train/Leaf - Summerghost/other.wav",
    ]
    assert summary.table().splitlines()[1:6] == [
        "split    songs  segments    hours     notes  singers",
        "train        1         1     0.00         -        1",
        "valid        1         1     0.00         -        1",
        "test         1         1     0.00         -        ?",
        "all          3         3     0.00         -        2",
    ]
    assert "no commercial use" in summary.table()
    assert summary.remarks == (
        "train has 2 of 100 songs",
        "test has 1 of 50 songs",
    )
    assert "musdb18: train has 2 of 100 songs" in capsys.readouterr().err
    assert sorted(contents(out)) == [
        "audio/A - B/accompaniment.flac",
        "audio/Leaf - Summerghost/accompaniment.flac",
        "audio/No dash/accompaniment.flac",
        "prepared.json",
        "test.csv",
        "train.csv",
        "valid.csv",
    ]


def test_accompaniment_is_the_sum_of_three_stems(hq, tmp_path):
    prepare("musdb18", hq, tmp_path / "out")
    (row,) = rows(tmp_path / "out", "train", hq)
    samples, rate = soundfile.read(row["accomp_wav"], dtype="int16")
    assert (rate, samples.shape) == (44100, (22050, 2))
    assert np.unique(samples, axis=0).tolist() == [[4500, 2500]]


def test_accompaniment_over_full_scale_is_not_clipped(tmp_path):
    # 20000 + 20000 are 40000 / 32768 of full scale; the vocals cancel half.
    loud = {"drums": (20000, 0), "bass": (20000, 0), "other": (0, 0)}
    half = {"vocals": (-20000, 0), "mixture": (20000, 0)}
    wavs(tmp_path / "in" / "test" / "A - B", **loud, **half)
    summary = prepare("musdb18", tmp_path / "in", tmp_path / "out")
    (row,) = rows(tmp_path / "out", "test", tmp_path / "in")
    wav = read_audio(row["accomp_wav"], sample_rate=None, mono=False)
    assert row["accomp_wav"].endswith("/audio/A - B/accompaniment.wav")
    assert np.unique(wav, axis=0).tolist() == [[40000 / 32768, 0.0]]
    assert len(list((tmp_path / "out" / "audio" / "A - B").iterdir())) == 1
    assert not any("add up" in remark for remark in summary.remarks)


def test_parent_folder_flac_files_and_one_part(tmp_path):
    folder = tmp_path / "deep" / "musdb18hq"
    wavs(folder / "test" / "A - B", suffix="flac")
    (folder / "test" / ".hidden").mkdir()
    (folder / "test" / "README.md").write_text("a note")
    summary = prepare("musdb18", tmp_path / "deep", tmp_path / "out")
    (row,) = rows(tmp_path / "out", "test", tmp_path / "deep")
    assert row["mix_wav"] == f"{folder}/test/A - B/mixture.flac"
    assert list(summary.splits) == ["test"]


def test_stem_files_are_decoded_once(tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    stem_file(folder / "train", "A - B", tones(1.0))
    stem_file(folder / "train", VALID)
    prepare("musdb18", folder, out)
    (row,) = rows(out, "train", folder)
    expected = {
        "drums_wav": 400,
        "bass_wav": 600,
        "other_wav": 800,
        "wav": 1000,
    }
    sounds = {}
    for column in COLUMNS:
        assert Path(row[column]).parent == out / "audio" / "A - B"
        info = audio_info(row[column])
        assert (info.sample_rate, info.channels) == (44100, 2)
        assert info.duration == pytest.approx(row["stop"], abs=1e-6)
        # The coder rings at the start of a tone and pads the end.
        sounds[column] = read_audio(row[column], 0.1, 0.9, None, mono=False)
    assert 1.0 <= row["stop"] < 1.0 + 2048 / 44100
    for column, hz in expected.items():
        left, right = sounds[column].T
        assert pitch(left) == pytest.approx(hz, abs=1.5)
        assert np.std(right) / np.std(left) == pytest.approx(2, abs=0.02)
        assert np.std(left) == pytest.approx(0.1 / np.sqrt(2), rel=0.02)
    stems = sum(sounds[column] for column in expected)
    # Every track was coded by itself.
    assert np.abs(stems - sounds["mix_wav"]).max() < 0.03
    # Rounded to 16 bits each: four of half a step.
    three = stems - sounds["wav"]
    assert np.abs(three - sounds["accomp_wav"]).max() <= 2 / 2**15 + 1e-6


def test_only_what_is_needed_for_vocals(hq, tmp_path):
    stem_file(hq / "test", "C - D")
    out = tmp_path / "out"
    prepare("musdb18", hq, out, stems=False)
    for split in ("train", "test"):
        for row in rows(out, split, hq):
            assert not {"drums_wav", "bass_wav", "other_wav"} & row.keys()
            assert {"wav", "mix_wav", "accomp_wav"} <= row.keys()
    names = sorted(p.name for p in (out / "audio" / "C - D").iterdir())
    assert names == ["accompaniment.flac", "mixture.flac", "vocals.flac"]


def test_the_stem_file_that_comes_with_stempeg(tmp_path):
    # It cannot be imported where the program ffmpeg is absent.
    spec = importlib.util.find_spec("stempeg")
    if spec is None:
        pytest.skip("the package stempeg, which brings a stem file, is absent")
    (source,) = Path(spec.origin).parent.rglob("*.stem.mp4")
    folder, out = tmp_path / "in", tmp_path / "out"
    (folder / "test").mkdir(parents=True)
    (folder / "test" / source.name).symlink_to(source)
    summary = prepare("musdb18", folder, out)
    (row,) = rows(out, "test", folder)
    assert row["song_id"] == "The Easton Ellises - Falcon 69"
    assert row["singer"] == "The Easton Ellises"
    # 262 frames of AAC.
    assert row["duration"] == pytest.approx(262 * 1024 / 44100, abs=1e-6)
    wav = {c: read_audio(row[c], 0, None, None, mono=False) for c in COLUMNS}
    assert {w.shape for w in wav.values()} == {(262 * 1024, 2)}
    three = wav["drums_wav"] + wav["bass_wav"] + wav["other_wav"]
    # The coder takes samples over full scale, which stems lose in 16 bits.
    fits = np.max(
        [np.abs(w) for c, w in wav.items() if c != "accomp_wav"], axis=0
    )
    error = np.abs(wav["accomp_wav"] - three)[fits < 0.99]
    assert error.max() < 2 / 2**15
    # All tracks have the same click at both ends of the excerpt.
    inside = slice(8192, -8192)
    left = wav["mix_wav"] - wav["wav"] - wav["accomp_wav"]
    power = [np.mean(w[inside] ** 2) for w in (left, wav["mix_wav"])]
    assert 10 * np.log10(power[0] / power[1]) < -20
    assert not any("add up" in remark for remark in summary.remarks)
    # Stereo is kept.
    assert np.std(np.diff(wav["other_wav"], axis=1)) > 0.01


def test_validation_songs():
    assert len(VALID_SONGS) == 14
    spec = importlib.util.find_spec("musdb")
    if spec is None:
        pytest.skip("the package musdb, which lists the songs, is absent")
    import yaml

    path = Path(spec.origin).parent / "configs" / "mus.yaml"
    listed = yaml.safe_load(path.read_text("utf-8"))["validation_tracks"]
    assert sorted(listed) == sorted(VALID_SONGS)


def test_songs_of_ones_own_have_a_tenth_held_out(tmp_path):
    names = [f"Me - {k}" for k in range(4)]
    for name in names:
        wavs(tmp_path / "in" / "train" / name, seconds=0.1)
    summary = prepare("musdb18", tmp_path / "in", tmp_path / "out")
    (song,) = held_out(names)
    (row,) = rows(tmp_path / "out", "valid", tmp_path / "in")
    assert row["song_id"] == song
    assert summary.remarks[-1] == (
        "no validation song of the corpus is there, so these are for "
        f"validation: {song}"
    )


def test_stems_that_do_not_add_up_are_named(hq, tmp_path):
    wavs(hq / "test" / "No dash", vocals=(-4000, -5000))
    summary = prepare("musdb18", hq, tmp_path / "out")
    assert summary.remarks[-1] == (
        "stems that do not add up to the mixture: No dash"
    )


def test_a_full_disk_leaves_nothing(tmp_path):
    resource = pytest.importorskip("resource", reason="there are no quotas")
    noise = np.random.default_rng(0).integers(-20000, 20000, (40000, 2))
    folder = tmp_path / "in" / "train" / "A - B"
    wavs(folder, len(noise) / SAMPLE_RATE)
    # It does not get shorter as FLAC.
    soundfile.write(folder / "bass.wav", noise.astype(np.int16), SAMPLE_RATE)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20000, limits[1]))
    try:
        for options in ({}, {"audio_folder": tmp_path / "shared"}):
            with pytest.raises(OutputError, match="writing failed .* free"):
                prepare("musdb18", tmp_path / "in", tmp_path / "o", **options)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not (tmp_path / "o").exists()
    assert list((tmp_path / "shared").iterdir()) == []


@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.parametrize("place", ["", "train", "train/A - B"])
def test_folders_that_may_not_be_read(hq, tmp_path, lock, place, listed):
    lock(hq / place, listed)
    with pytest.raises(ManifestError, match="cannot be read .Permission den"):
        prepare("musdb18", hq, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_names_in_another_encoding_are_refused(hq, tmp_path):
    name = os.fsdecode(b"caf\xe9 - one")
    wavs(tmp_path / "song")
    os.rename(tmp_path / "song", hq / "train" / name)
    with pytest.raises(ManifestError, match="cannot name a song"):
        prepare("musdb18", hq, tmp_path / "out")


def test_any_number_of_jobs_gives_the_same_files(hq, tmp_path):
    stem_file(hq / "test", "C - D")
    wavs(hq / "test" / "Silence - Song", **dict.fromkeys(VALUES, (0, 0)))
    for jobs in (1, 2):
        prepare("musdb18", hq, tmp_path / str(jobs), n_jobs=jobs)
    one = contents(tmp_path / "1")
    assert one == contents(tmp_path / "2") and len(one) == 14


def test_second_run_decodes_nothing(hq, tmp_path, monkeypatch):
    out = tmp_path / "out"
    first = prepare("musdb18", hq, out)
    with monkeypatch.context() as patch:
        patch.setattr(musdb18, "stream_audio", None)
        # Recipes allow overwriting; what is wanted and there is kept.
        for overwrite in (False, True):
            again = prepare("musdb18", hq, out, overwrite=overwrite)
            assert not again.fresh and again.table() == first.table()
    with pytest.raises(OutputError, match="stems=True, not False"):
        prepare("musdb18", hq, out, stems=False)
    stem_file(hq / "test", "C - D")
    with pytest.raises(OutputError, match="before the corpus .* changed"):
        prepare("musdb18", hq, out)
    more = prepare("musdb18", hq, out, overwrite=True)
    assert more.fresh and more.splits["test"].songs == 2
    (hq / "test" / "C - D.stem.mp4").unlink()
    prepare("musdb18", hq, out, overwrite=True)
    # What the corpus no longer has goes.
    assert not any("C - D" in name for name in contents(out))


def test_audio_is_kept_for_other_preparations(hq, tmp_path, monkeypatch):
    stem_file(hq / "test", "C - D", tones(1.0))
    shared = tmp_path / "deep" / "shared"
    options = {"audio_folder": shared}
    first = prepare("musdb18", hq, tmp_path / "one", **options)
    prepare("musdb18", hq, tmp_path / "alone")
    # The same audio, in another place.
    made = contents(tmp_path / "alone" / "audio")
    assert made == {
        name: data
        for name, data in contents(shared).items()
        if not name.endswith("made.json")
    }
    assert not (tmp_path / "one" / "audio").exists()
    with monkeypatch.context() as patch:
        patch.setattr(musdb18, "stream_audio", None)
        second = prepare(
            "musdb18", hq, tmp_path / "two", segment_s=0.25, **options
        )
    # Four of a second, two of half a second.
    assert second.fresh and second.splits["test"].segments == 6
    assert second.remarks == first.remarks
    for row in rows(tmp_path / "two", "test", hq):
        assert Path(row["accomp_wav"]).parent == shared / row["song_id"]
    with pytest.raises(OutputError, match="audio_folder=None, not .*shared"):
        prepare("musdb18", hq, tmp_path / "alone", **options)
    with pytest.raises(OutputError, match="C - D: was made otherwise: remove"):
        prepare("musdb18", hq, tmp_path / "three", stems=False, **options)
    (shared / "C - D" / "bass.flac").unlink()
    with pytest.raises(OutputError, match="two: has lost .*C - D/bass.flac"):
        prepare("musdb18", hq, tmp_path / "two", segment_s=0.25, **options)
    with pytest.raises(OutputError, match="C - D: has lost bass.flac: remove"):
        prepare("musdb18", hq, tmp_path / "three", **options)
    (shared / "C - D" / "made.json").unlink()
    with pytest.raises(OutputError, match="C - D: exists already and holds"):
        prepare("musdb18", hq, tmp_path / "three", **options)
    assert not (tmp_path / "three").exists()


def test_an_interrupted_decoding_goes_on(hq, tmp_path):
    shared = tmp_path / "shared"
    broken = hq / "train" / VALID / "bass.wav"
    whole = broken.read_bytes()
    broken.write_text("no audio")
    with pytest.raises(AudioError, match="bass.wav"):
        prepare("musdb18", hq, tmp_path / "out", audio_folder=shared)
    # Songs before the broken one are done, and nothing is half done.
    before = contents(shared)
    assert sorted(before) == [
        "A - B/accompaniment.flac",
        "A - B/made.json",
    ]
    broken.write_bytes(whole)
    prepare("musdb18", hq, tmp_path / "out", audio_folder=shared)
    assert before.items() <= contents(shared).items()
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OutputError, match="file/audio: cannot be made"):
        prepare(
            "musdb18",
            hq,
            tmp_path / "other",
            audio_folder=tmp_path / "file" / "audio",
        )


def test_memory_does_not_grow_with_the_song(tmp_path):
    peaks = []
    for seconds in (10, 60):
        folder = tmp_path / str(seconds)
        wavs(folder / "test" / "A - B", seconds)
        tracemalloc.start()
        prepare("musdb18", folder, tmp_path / f"out{seconds}")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # As floats, a minute of five tracks takes 106 MB.
    assert peaks[1] < 1.1 * peaks[0] < 40e6


def cut(path, size):
    """Keep the first bytes of a file, or a share of them."""
    data = path.read_bytes()
    path.write_bytes(data[: size if size > 1 else int(size * len(data))])


FAULTS = {
    "no folder": (
        lambda folder: folder.mkdir(),
        ManifestError,
        "holds neither train nor test",
    ),
    "empty folder": (
        lambda folder: (folder / "test").mkdir(parents=True),
        ManifestError,
        "test: holds no songs: expected <artist>",
    ),
    "one empty folder of two": (
        lambda folder: (
            wavs(folder / "train" / "A - B"),
            (folder / "test").mkdir(),
        ),
        ManifestError,
        "test: holds no songs",
    ),
    "missing stems": (
        lambda folder: (
            wavs(folder / "test" / "A - B"),
            (folder / "test" / "A - B" / "bass.wav").unlink(),
            (folder / "test" / "A - B" / "vocals.wav").unlink(),
        ),
        ManifestError,
        "A - B: has no bass.wav, vocals.wav: copy the song again",
    ),
    "song in both editions": (
        lambda folder: (
            wavs(folder / "test" / "A - B"),
            stem_file(folder / "test"),
        ),
        ManifestError,
        "song A - B is there twice",
    ),
    "one sample less": (
        lambda folder: (
            wavs(folder / "test" / "A - B", 0.5),
            soundfile.write(
                folder / "test" / "A - B" / "other.wav",
                np.zeros((22049, 2)),
                44100,
            ),
        ),
        AudioError,
        r"other.wav: other has 22049 samples, but mixture has 22050",
    ),
    "mono": (
        lambda folder: (
            wavs(folder / "test" / "A - B"),
            soundfile.write(
                folder / "test" / "A - B" / "bass.wav", np.zeros(22050), 44100
            ),
        ),
        AudioError,
        "bass.wav: bass has 1 channels, not 2",
    ),
    "wrong rate": (
        lambda folder: wavs(folder / "test" / "A - B", rate=22050),
        AudioError,
        "mixture.wav: mixture has 22050 Hz, not 44100",
    ),
    "no audio": (
        lambda folder: (
            wavs(folder / "test" / "A - B"),
            (folder / "test" / "A - B" / "drums.wav").write_text("no audio"),
        ),
        AudioError,
        "drums.wav: is not an audio or video file, or is damaged",
    ),
    "nothing in it": (
        lambda folder: (
            wavs(folder / "test" / "A - B"),
            (folder / "test" / "A - B" / "drums.wav").write_bytes(b""),
        ),
        AudioError,
        r"drums.wav: is empty \(0 bytes\)",
    ),
    "one track": (
        lambda folder: stem_file(folder / "test", tracks=tones()[:1]),
        AudioError,
        r"A - B.stem.mp4: has 1 sound tracks, not 5: mixture, drums, bass",
    ),
    "mono track": (
        lambda folder: stem_file(
            folder / "test", tracks=[*tones()[:4], tones()[4][:, :1]]
        ),
        AudioError,
        "stem.mp4: vocals has 1 channels, not 2",
    ),
    "wrong rate of tracks": (
        lambda folder: stem_file(folder / "test", rate=48000),
        AudioError,
        "stem.mp4: mixture has 48000 Hz, not 44100",
    ),
    "the start of a stem file": (
        lambda folder: cut(stem_file(folder / "test"), 500),
        AudioError,
        "stem.mp4: is not an audio or video file, or is damaged",
    ),
    "half a stem file": (
        lambda folder: cut(stem_file(folder / "test", tracks=tones(2)), 0.5),
        AudioError,
        r"stem.mp4: mixture ends at [01].\d+ s, but should last 2.0\d* s",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults(fault, tmp_path):
    make, error, message = FAULTS[fault]
    make(tmp_path / "in")
    with pytest.raises(error, match=message) as raised:
        prepare("musdb18", tmp_path / "in", tmp_path / "out")
    assert "\n" not in str(raised.value)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_options_are_checked(hq, tmp_path):
    with pytest.raises(ConfigError, match="stems is 'no': use true or false"):
        prepare("musdb18", hq, tmp_path / "out", stems="no")


def test_download_takes_the_record_of_the_corpus(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        musdb18,
        "fetch_record",
        lambda *args, **options: asked.append((args, options)),
    )
    download("musdb18", tmp_path)
    assert asked == [(("1117372", tmp_path), {"patterns": ("musdb18.zip",)})]


# --- MiniSinging ----------------------------------------------------------


@pytest.mark.parametrize("container", ["wav", "stem.mp4"])
def test_minisinging(container, tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    summary = prepare(
        "minisinging",
        folder,
        out,
        layout="musdb18",
        n_train=2,
        n_test=1,
        song_s=2.1,
        container=container,
    )
    counts = {split: s.songs for split, s in summary.splits.items()}
    assert counts == {"train": 1, "valid": 1, "test": 1}
    assert summary.singers == 3 and summary.remarks == ()
    (row,) = rows(out, "test", folder)
    assert row["license"] == "Apache-2.0"
    assert row["song_id"] == "Mini Singer 2 - Song 2"
    wav = {c: read_audio(row[c], 0, 2.1, None, mono=False) for c in COLUMNS}
    assert {w.shape for w in wav.values()} == {(92610, 2)}
    left = np.abs(wav["mix_wav"] - wav["wav"] - wav["accomp_wav"])
    if container == "wav":
        assert row["stop"] == 2.1 and left.max() < 1e-6
    else:
        assert 10 * np.log10(
            np.mean(left**2) / np.mean(wav["mix_wav"] ** 2)
        ) < (-20)
    assert np.std(wav["wav"]) > 0.005 and np.std(wav["accomp_wav"]) > 0.005
    again = as_musdb18(
        folder, 2, 1, song_s=2.1, container=container, progress=False
    )
    assert again == folder


def test_phones_beside_the_stems_or_elsewhere(tmp_path):
    """A song with phones and words, one with phones, one without."""
    for name in ("A - One", "B - Two", VALID):
        wavs(tmp_path / "m" / "train" / name)
    song = tmp_path / "m/train/A - One"
    write_phones([("AA", 0.1, 0.2)], song / "phones.csv")
    (song / "words.csv").write_text("word,onset_s,offset_s\nah,0.1,0.2\n")
    musdb18.prepare_musdb18(tmp_path / "m", tmp_path / "one", stems=False)
    rows = read_manifest(tmp_path / "one/train.csv", tmp_path / "m")
    one, two = rows
    assert Path(one["phones"]) == song / "phones.csv"
    assert Path(one["words"]).name == "words.csv"
    assert two["phones"] is None
    # A folder of its own, which the corpus need not be able to hold.
    other = tmp_path / "phones"
    (other / "B - Two").mkdir(parents=True)
    write_phones([("IY", 0.0, 0.1)], other / "B - Two/phones.csv")
    write_phones([("IY", 0.0, 0.1)], other / f"{VALID}.phones.csv")
    options = {"stems": False, "phones_folder": other}
    musdb18.prepare_musdb18(tmp_path / "m", tmp_path / "two", **options)
    rows = read_manifest(tmp_path / "two/train.csv", tmp_path / "m")
    assert [row["phones"] and Path(row["phones"]) for row in rows] == [
        None,
        other / "B - Two/phones.csv",
    ]
    (row,) = read_manifest(tmp_path / "two/valid.csv", tmp_path / "m")
    assert Path(row["phones"]) == other / f"{VALID}.phones.csv"
    # It is found again, and changed phones are another preparation.
    again = musdb18.prepare_musdb18(tmp_path / "m", tmp_path / "two", **options)
    assert not again.fresh
    (other / "B - Two/phones.csv").write_text("phone,onset_s,offset_s\n")
    with pytest.raises(OutputError, match="choose another folder"):
        musdb18.prepare_musdb18(tmp_path / "m", tmp_path / "two", **options)


def test_faulty_phones_are_refused(tmp_path):
    song = tmp_path / "m/train/A - One"
    wavs(song)
    empty = tmp_path / "none"
    empty.mkdir()
    with pytest.raises(ManifestError, match="phones of none of 1 songs"):
        musdb18.prepare_musdb18(
            tmp_path / "m", tmp_path / "p", phones_folder=empty
        )
    (song / "phones.csv").write_text("AA,0,1\n")
    with pytest.raises(LyricsError, match="expected the columns phone"):
        musdb18.prepare_musdb18(tmp_path / "m", tmp_path / "p")


def test_phones_beside_stem_files(tmp_path):
    stem_file(tmp_path / "m/train", "A - One")
    write_phones([("AA", 0.1, 0.2)], tmp_path / "m/train/A - One.phones.csv")
    musdb18.prepare_musdb18(tmp_path / "m", tmp_path / "p", stems=False)
    (row,) = read_manifest(tmp_path / "p/train.csv", tmp_path / "m")
    assert Path(row["phones"]).name == "A - One.phones.csv"
