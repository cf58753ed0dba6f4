"""A real song through the demo."""

import shutil
import zipfile

import pytest

from speechbrain_ext.demo import ARCHIVE, Jobs, Wish

pytestmark = [pytest.mark.realdata, pytest.mark.slow]

LYRICS = "[00:02.0]It always seems like time stands still when I'm with you"


def test_a_song_with_a_timed_line(shared_data, tmp_path):
    for library in ("music21", "jams", "g2p2"):
        pytest.importorskip(library)
    with Jobs(folder=tmp_path) as jobs:
        song = jobs.uploads / "Somebody - Something.mp3"
        shutil.copyfile(shared_data / "songs" / "spleeter_example.mp3", song)
        job = jobs.work(Wish(song, lyrics=LYRICS))
        assert job.result.missing == {}
        words = [word.word for word in job.result.lyrics]
        assert words == LYRICS.partition("]")[2].split()
        # It begins after the introduction; the line's time was taken as such.
        assert 1.5 < job.result.lyrics[0].onset < 3
        assert 11 <= len(job.result.melodies["vocals"]) <= 60
        with zipfile.ZipFile(jobs.file(job.id, ARCHIVE)) as archive:
            assert archive.testzip() is None
            names = {name.rpartition("/")[2] for name in archive.namelist()}
        assert {"song.lrc", "vocals.musicxml", "report.html"} <= names
        page = jobs.file(job.id, "report.html").read_text("utf-8")
        assert "Somebody - Something" in page
    assert list(tmp_path.iterdir()) == []
