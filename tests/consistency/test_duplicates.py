"""No paragraph of code and no file exists twice."""

import ast
import hashlib
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CODE = ["speechbrain_ext", "data_prep", "recipes", "benchmarks", "docs"]
FILES = [*CODE, "pretrained", "tests"]
# Consecutive statements that make a paragraph.
RUN = 8


def files_below(root, folders, pattern="*"):
    """Files of some folders, without what programs leave behind."""
    return sorted(
        path
        for folder in folders
        for path in (root / folder).rglob(pattern)
        if path.is_file()
        and not {"__pycache__", "results"} & {*path.relative_to(root).parts}
    )


def code_lines(source):
    """Code without layout, comments, docstrings and imports.

    Returns one line for every statement, however it was wrapped.
    """
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if not isinstance(body, list):
            continue
        kept = [
            child
            for child in body
            if not isinstance(child, ast.Import | ast.ImportFrom)
            and not (
                isinstance(child, ast.Expr)
                and isinstance(child.value, ast.Constant)
            )
        ]
        node.body = kept or ([] if isinstance(node, ast.Module) else body[:1])
    return [line.strip() for line in ast.unparse(tree).splitlines() if line]


def shared_paragraphs(root):
    """Pairs of files with their first shared run of statements."""
    places = defaultdict(set)
    for path in files_below(root, CODE, "*.py"):
        lines = code_lines(path.read_text("utf-8"))
        for start in range(len(lines) - RUN + 1):
            run = tuple(lines[start : start + RUN])
            places[run].add(path.relative_to(root).as_posix())
    pairs = {}
    for run, paths in places.items():
        if len(paths) > 1:
            pairs.setdefault(tuple(sorted(paths)), run[0])
    return pairs


def same_files(root):
    """Groups of files with the same content; empty files do not count."""
    groups = defaultdict(list)
    for path in files_below(root, FILES):
        content = path.read_bytes()
        if content.strip():
            digest = hashlib.sha256(content).hexdigest()
            groups[digest].append(path.relative_to(root).as_posix())
    return [group for group in groups.values() if len(group) > 1]


def test_no_shared_paragraphs():
    assert files_below(ROOT, CODE, "*.py")
    assert shared_paragraphs(ROOT) == {}


def test_no_same_files():
    assert same_files(ROOT) == []


PARAGRAPH = """\
def total(values):
    '''{doc}'''
    result = 0  # {doc}
    count = 0
    for value in values:
        if value > 0:
            result += value
            count += 1
    return result / count
"""


def put(root, name, text):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_shared_paragraph_is_found_whatever_its_layout(tmp_path):
    put(tmp_path, "data_prep/a.py", PARAGRAPH.format(doc="One."))
    other = PARAGRAPH.format(doc="Two.").replace("total(", "total(\n    ")
    put(tmp_path, "recipes/X/task/b.py", "import os\n\n" + other)
    assert shared_paragraphs(tmp_path) == {
        ("data_prep/a.py", "recipes/X/task/b.py"): "def total(values):"
    }


def test_one_statement_less_is_no_paragraph(tmp_path):
    put(tmp_path, "data_prep/a.py", PARAGRAPH.format(doc="One."))
    put(tmp_path, "data_prep/b.py", PARAGRAPH.replace("count += 1", "pass"))
    assert shared_paragraphs(tmp_path) == {}


def test_imports_and_docstrings_do_not_count(tmp_path):
    text = "'''Same words.'''\n" + "".join(f"import m{i}\n" for i in range(20))
    put(tmp_path, "data_prep/a.py", text)
    put(tmp_path, "data_prep/b.py", text + "x = 1\n")
    assert shared_paragraphs(tmp_path) == {}


def test_same_files_are_found(tmp_path):
    put(tmp_path, "recipes/a.yaml", "x: 1\n")
    put(tmp_path, "tests/b.yaml", "x: 1\n")
    put(tmp_path, "data_prep/__init__.py", "")
    put(tmp_path, "speechbrain_ext/__init__.py", "")
    assert same_files(tmp_path) == [["recipes/a.yaml", "tests/b.yaml"]]
