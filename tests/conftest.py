"""What all tests share: one thread per worker, marks, real recordings."""

import os
import sys
from pathlib import Path

# With several workers on few cores, threads of the linear algebra only get in
# each other's way. They are counted when numpy is first imported.
IN_WORKER = "PYTEST_XDIST_WORKER" in os.environ
if IN_WORKER:
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
# Figures are drawn to files; nothing asks a model hub for anything.
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest  # noqa: E402 (the environment has to be set first)
import torch  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
SHARED_DATA = ROOT.parent / "shared" / "data"


def pytest_addoption(parser):
    parser.addoption(
        "--network",
        action="store_true",
        help="run the tests marked network too",
    )


def pytest_configure():
    torch.set_num_threads(1 if IN_WORKER else min(2, os.cpu_count() or 1))


def settle_lazy_modules():
    """Let tools that look at every module pass over SpeechBrain's lazy ones.

    Asking one of them for its file imports it; where its library is absent,
    as k2 is, that fails. Hypothesis asks all modules.
    """
    for module in list(sys.modules.values()):
        if type(module).__module__ == "speechbrain.utils.importutils":
            vars(module).setdefault("__file__", None)


def pytest_runtest_setup():
    settle_lazy_modules()


def pytest_runtest_teardown():
    # A recipe run sets this for the whole process; Hypothesis refuses it.
    torch.set_flush_denormal(False)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    settle_lazy_modules()
    skips = {
        "realdata": (
            not SHARED_DATA.is_dir(),
            "no real recordings: ../shared/data does not exist",
        ),
        "network": (
            not config.getoption("--network"),
            "needs the internet: run with --network",
        ),
        "gpu": (not torch.cuda.is_available(), "no CUDA device"),
    }
    for item in items:
        for mark, (absent, reason) in skips.items():
            if absent and item.get_closest_marker(mark):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def project_root() -> Path:
    """Folder of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real recordings; skips the test where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("no real recordings: ../shared/data does not exist")
    return SHARED_DATA
