"""Requirements, versions and the wheel."""

import ast
import os
import re
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import InvalidRequirement, Requirement

import speechbrain_ext

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ["requirements.txt", "dependencies.txt"]
PACKAGES = ["speechbrain_ext", "data_prep"]


def read_requirements(path):
    """Requirements of a file, parsed.

    Raises InvalidRequirement with the line for anything pip would not take.
    """
    found = []
    for line in path.read_text("utf-8").splitlines():
        text = line.split("#")[0].strip()
        if text:
            found.append(Requirement(text))
    return found


def range_faults(requirement):
    """What is wrong with the range of a requirement."""
    signs = {item.operator for item in requirement.specifier}
    if not signs & {">=", "~=", "=="}:
        return f"{requirement}: no lower bound"
    if not signs & {"<", "<=", "~=", "=="}:
        return f"{requirement}: no upper bound"
    return None


def unmet(requirements):
    """Requirements that what is installed does not meet."""
    faults = []
    for requirement in requirements:
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            faults.append(f"{requirement}: not installed")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            faults.append(f"{requirement}: {version} is installed")
    return faults


def optional_names(pyproject):
    """Distributions that the extras of a pyproject.toml name."""
    _, block = pyproject.split("[project.optional-dependencies]\n")
    quoted = re.findall(r'"([^"]+)"', block.split("\n[")[0])
    names = [Requirement(text).name.lower() for text in quoted]
    return {name for name in names if name != "singbrain"}


def imported_names(root):
    """Top-level modules that the packages and recipes import anywhere."""
    names = {}
    for folder in [*PACKAGES, "recipes"]:
        for path in (root / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                found = []
                if isinstance(node, ast.Import):
                    found = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom) and not node.level:
                    found = [node.module]
                for name in found:
                    names.setdefault(name.split(".")[0], path)
    return names


def undeclared_imports(root, declared, distributions):
    """Imported modules of distributions that no requirement names.

    `distributions` gives the distributions of a module, as
    `importlib.metadata.packages_distributions` does.
    """
    own = {*PACKAGES, "__future__", *sys.stdlib_module_names}
    faults = []
    for name, path in sorted(imported_names(root).items()):
        providers = {d.lower() for d in distributions.get(name, [name])}
        if name not in own and not providers & declared:
            faults.append(f"{path.relative_to(root).as_posix()}: {name}")
    return faults


def stated_versions(root):
    """Versions that CITATION.cff and CHANGELOG.md state."""
    citation = (root / "CITATION.cff").read_text("utf-8")
    changelog = (root / "CHANGELOG.md").read_text("utf-8")
    return {
        "CITATION.cff": re.search(r"(?m)^version: (\S+)$", citation)[1],
        "CHANGELOG.md": re.search(r"(?m)^## \[(\d\S*)\]", changelog)[1],
    }


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_ranges_have_both_bounds(name):
    requirements = read_requirements(ROOT / name)
    assert requirements
    assert [f for f in map(range_faults, requirements) if f] == []


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_installed_versions_are_in_range(name):
    assert unmet(read_requirements(ROOT / name)) == []


def test_torch_and_torchaudio_are_of_one_minor_version():
    ranges = {
        r.name: r.specifier for r in read_requirements(ROOT / REQUIREMENTS[0])
    }
    assert ranges["torch"] == ranges["torchaudio"]
    torch, torchaudio = (
        metadata.version(name).split(".")[:2]
        for name in ("torch", "torchaudio")
    )
    assert torch == torchaudio


def test_all_imports_are_declared():
    declared = optional_names((ROOT / "pyproject.toml").read_text("utf-8"))
    for name in REQUIREMENTS:
        declared |= {r.name.lower() for r in read_requirements(ROOT / name)}
    found = undeclared_imports(
        ROOT, declared, metadata.packages_distributions()
    )
    assert found == []


def test_versions_agree():
    version = speechbrain_ext.__version__
    assert stated_versions(ROOT) == {
        "CITATION.cff": version,
        "CHANGELOG.md": version,
    }


def test_continuous_integration_runs_the_documented_command():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert script.read_text("utf-8").endswith("exec python3 start.py test\n")


@pytest.mark.slow
def test_wheel_is_complete(tmp_path):
    # From a copy, so that no build folder is left in the checkout.
    copy = tmp_path / "copy"
    copy.mkdir()
    kept = [*PACKAGES, "pretrained", *REQUIREMENTS]
    kept += ["pyproject.toml", "setup.py", "README.md", "LICENSE"]
    expected = set()
    for path in kept:
        source = ROOT / path
        for file in [source] if source.is_file() else source.rglob("*"):
            if not file.is_file() or "__pycache__" in file.parts:
                continue
            name = file.relative_to(ROOT)
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes(file.read_bytes())
            if name.parts[0] == "pretrained":
                expected.add(f"speechbrain_ext/{name.as_posix()}")
            elif name.suffix == ".py" and name.parts[0] in PACKAGES:
                expected.add(name.as_posix())
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps"]
    command += ["--no-build-isolation", "--quiet", "-w", str(tmp_path), "."]
    subprocess.run(command, cwd=copy, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("singbrain-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (entry,) = [n for n in names if n.endswith("entry_points.txt")]
        entry_points = archive.read(entry).decode()
        (info,) = [n for n in names if n.endswith("dist-info/METADATA")]
        described = archive.read(info).decode()
    models = [n for n in names if n.startswith("speechbrain_ext/pretrained/")]
    assert any(name.endswith(".safetensors") for name in models)
    assert expected - names == set()
    assert {name.split("/")[0] for name in names} <= {
        *PACKAGES,
        info.split("/")[0],
    }
    assert "singbrain = speechbrain_ext.cli:main" in entry_points
    assert f"\nVersion: {speechbrain_ext.__version__}\n" in described
    for requirement in read_requirements(ROOT / "requirements.txt"):
        assert re.search(
            rf"(?m)^Requires-Dist: {requirement.name}\b", described
        )


def test_bad_line_is_found(tmp_path):
    path = tmp_path / "requirements.txt"
    path.write_text("# why\nnumpy>=2,<3  # arrays\nscipy=>1\n")
    with pytest.raises(InvalidRequirement, match="scipy"):
        read_requirements(path)


def test_open_range_is_found():
    assert range_faults(Requirement("numpy>=2,<3")) is None
    assert "no upper bound" in range_faults(Requirement("numpy>=2"))
    assert "no lower bound" in range_faults(Requirement("numpy<3"))


def test_unmet_requirement_is_found():
    too_new = Requirement("pytest>=1000")
    absent = Requirement("no-such-distribution>=1")
    assert unmet([Requirement("pytest>=1")]) == []
    assert len(unmet([too_new, absent])) == 2


def test_undeclared_import_is_found(tmp_path):
    folder = tmp_path / "data_prep"
    folder.mkdir()
    (folder / "x.py").write_text(
        "import os, yaml\nfrom data_prep.y import z\n"
        "def f():\n    from sklearn.svm import SVC\n"
    )
    found = undeclared_imports(
        tmp_path,
        {"pyyaml"},
        {"yaml": ["PyYAML"], "sklearn": ["scikit-learn"]},
    )
    assert found == ["data_prep/x.py: sklearn"]


def test_extras_are_read():
    text = (
        '[project.optional-dependencies]\n# Why.\na = ["music21>=9"]\n'
        'all = [\n    "singbrain[a]",\n    "Ruff",\n]\n\n[tool.x]\ny = "z"\n'
    )
    assert optional_names(text) == {"music21", "ruff"}


def test_stated_versions_are_read(tmp_path):
    (tmp_path / "CITATION.cff").write_text("cff-version: 1.2.0\nversion: 2.0\n")
    (tmp_path / "CHANGELOG.md").write_text(
        "## [Unreleased]\n\n## [3.0] - today\n\n## [2.0]\n"
    )
    assert stated_versions(tmp_path) == {
        "CITATION.cff": "2.0",
        "CHANGELOG.md": "3.0",
    }
