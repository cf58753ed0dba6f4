"""Libraries that not everybody has."""

import pytest

from speechbrain_ext.errors import DependencyError, optional_library


def test_what_a_library_says_is_no_output(tmp_path, monkeypatch, capsys):
    """Standard output is the commands' own: programs read JSON there."""
    (tmp_path / "talkative.py").write_text("print('found')\nvalue = 3\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert optional_library("talkative", "talkative").value == 3
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "found\n")


def test_missing_libraries_name_what_brings_them():
    with pytest.raises(DependencyError, match=r'pip install "singbrain\[x\]"'):
        optional_library("no_such_library", "it", "x")
