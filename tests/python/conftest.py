# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the Python tests. They test the installed package, never the source tree's."""

import importlib.util
import os
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# One kernel cache for the run: the runner's, or a new one. The user's own is neither used nor filled.
if "TILEWRIGHT_CACHE_DIR" not in os.environ:
    _cache = tempfile.TemporaryDirectory(prefix="tilewright-tests-")
    os.environ["TILEWRIGHT_CACHE_DIR"] = _cache.name


def pytest_report_header():
    import tilewright

    where = Path(tilewright.__file__).resolve().parent
    if where == ROOT / "python" / "tilewright":
        raise pytest.UsageError("the source tree's package was imported; install the wheel and run from the root")
    has_torch = importlib.util.find_spec("torch") is not None
    return [
        f"tilewright: {where}",
        "torch: installed" if has_torch else "torch: not installed, tests that need it are skipped",
    ]


@pytest.fixture
def torch():
    """PyTorch, or a skipped test."""
    return pytest.importorskip("torch", reason="PyTorch is not installed")
