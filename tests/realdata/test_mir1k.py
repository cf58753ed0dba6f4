"""Seven singers of MIR-1K."""

import numpy as np
import pytest

from data_prep import prepare
from data_prep.manifest import read_manifest
from speechbrain_ext.audio import read_audio
from speechbrain_ext.f0 import read_f0

pytestmark = pytest.mark.realdata


@pytest.fixture
def mir1k(shared_data):
    folder = shared_data / "mir1k"
    if not folder.is_dir():
        pytest.skip("no real recordings: ../shared/data/mir1k does not exist")
    return folder


def test_protocol_of_huang(mir1k, tmp_path):
    summary = prepare("mir1k", mir1k, tmp_path)
    assert {k: s.songs for k, s in summary.splits.items()} == {
        "train": 171,
        "valid": 4,
        "test": 222,
    }
    assert summary.singers == 7 and summary.remarks == ()
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    again = prepare("mir1k", mir1k, tmp_path)
    assert not again.fresh and again.table() == summary.table()
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
    singers = {
        split: {row["singer"] for row in read_manifest(path, mir1k)}
        for split, path in summary.manifests.items()
    }
    assert singers["train"] == {"abjones", "amy"} >= singers["valid"]
    assert singers["test"] == {"Ani", "annar", "bobon", "fdps", "khair"}


def test_random_songs(mir1k, tmp_path):
    summary = prepare("mir1k", mir1k, tmp_path, protocol="random_song")
    songs = {
        split: {
            row["song_id"].rpartition("_")[0]
            for row in read_manifest(path, mir1k)
        }
        for split, path in summary.manifests.items()
    }
    # 47 songs: a tenth for testing, as many for validation.
    assert {k: len(v) for k, v in songs.items()} == {
        "train": 37,
        "valid": 5,
        "test": 5,
    }
    assert len(set.union(*songs.values())) == 47


def test_the_voice_is_where_the_pitch_label_says(mir1k, tmp_path):
    prepare("mir1k", mir1k, tmp_path)
    for row in read_manifest(tmp_path / "valid.csv", mir1k):
        if row["segment"] > 1:
            continue
        contour = read_f0(row["f0"])
        level = {}
        for medium in ("wav", "accomp_wav"):
            wav = read_audio(row[medium])
            frames = [
                wav[round(t * 16000) - 160 :][:320] for t in contour.times
            ]
            power = np.array([np.mean(frame**2) for frame in frames])
            voiced = power[contour.midi > 0].mean()
            level[medium] = voiced / power[contour.midi == 0].mean()
        # At least 6 dB louder where voiced; the accompaniment does not care.
        assert level["wav"] > 4 > level["accomp_wav"], row["song_id"]


def test_voices_for_mixtures_of_singers(mir1k, tmp_path):
    summary = prepare("mir1k_voices", mir1k, tmp_path)
    assert {k: s.songs for k, s in summary.splits.items()} == {
        "train": 347,
        "valid": 50,
    }
    assert summary.singers == 7
    singers = [
        {row["singer"] for row in read_manifest(path, mir1k)}
        for path in summary.manifests.values()
    ]
    assert not singers[0] & singers[1]
    row = read_manifest(summary.manifests["valid"], mir1k)[0]
    both = read_audio(row["wav"][:-2], stop=1.0, mono=False)
    assert np.array_equal(read_audio(row["wav"], stop=1.0), both[:, 1])
