"""Results that are kept."""

import pytest

from speechbrain_ext.errors import AudioError, OutputError
from speechbrain_ext.inference.stages import Stages, content_hash


@pytest.fixture
def stages(tmp_path):
    return Stages(tmp_path / "cache")


def writing(text, calls):
    def make(folder):
        calls.append(text)
        (folder / "a.txt").write_text(text)

    return make


def test_a_stage_is_done_once(stages):
    calls = []
    first = stages.run("one", {"x": 1}, ["h"], writing("a", calls))
    again = stages.run("one", {"x": 1}, ["h"], writing("b", calls))
    assert calls == ["a"]
    assert (first.cached, again.cached) == (False, True)
    assert (again.folder / "a.txt").read_text() == "a"


@pytest.mark.parametrize(
    ("name", "settings", "inputs"),
    [("two", {"x": 1}, ["h"]), ("one", {"x": 2}, ["h"]), ("one", {"x": 1}, [])],
)
def test_whatever_differs_is_done_again(stages, name, settings, inputs):
    calls = []
    one = stages.run("one", {"x": 1}, ["h"], writing("a", calls))
    other = stages.run(name, settings, inputs, writing("b", calls))
    assert calls == ["a", "b"]
    assert one.key != other.key
    # The first result is still there.
    assert stages.run("one", {"x": 1}, ["h"], writing("c", calls)).cached


def test_nothing_is_kept_of_a_stage_that_fails(stages):
    def fail(folder):
        (folder / "half.txt").write_text("half")
        raise AudioError("no")

    with pytest.raises(AudioError):
        stages.run("one", {}, [], fail)
    assert list(stages.folder.iterdir()) == []
    assert not stages.run("one", {}, [], writing("a", [])).cached


def test_another_run_was_faster(stages):
    def slow(folder):
        stages.run("one", {}, [], writing("fast", []))
        (folder / "a.txt").write_text("slow")

    done = stages.run("one", {}, [], slow)
    assert (done.folder / "a.txt").read_text() == "fast"


def test_no_folder_for_results(tmp_path):
    with pytest.raises(OutputError, match="cannot be made"):
        Stages(tmp_path / "none" / "cache").run("one", {}, [], print)


def test_hash_of_a_missing_file(tmp_path):
    with pytest.raises(AudioError, match="cannot be read"):
        content_hash(tmp_path / "none")
