from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable

import hypothesis
import pytest

# Every worker of pytest-xdist has a processor of its own; two threads each would wait for another:
# those of NumPy, and those of PyTorch, whose tests took ten times as long.
if "PYTEST_XDIST_WORKER" in os.environ:
    for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")

from cases import FULL_GRID
from trained import Bench

from fastbptt.reporting import summary

# How long an example takes says how busy the machine is.
hypothesis.settings.register_profile("fastbptt", deadline=None)
hypothesis.settings.load_profile("fastbptt")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """A worker per processor for all tests, none for those of a file or with a word in their name.

    ``-n 0`` runs everything in one process, and so does ``--pdb``.
    """
    if config.option.keyword or any(".py" in argument for argument in config.args):
        return 0
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def leaves_slow_tests(config: pytest.Config) -> bool:
    """Whether tests marked as slow are left out: not if a file is named."""
    return not FULL_GRID and not any(".py" in argument for argument in config.args)


def pytest_report_header(config: pytest.Config) -> str | None:
    if leaves_slow_tests(config):
        return "slow tests and full grids: only with FASTBPTT_TEST_GRID=full"
    return None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if leaves_slow_tests(config):
        slow = [item for item in items if item.get_closest_marker("slow")]
        items[:] = [item for item in items if not item.get_closest_marker("slow")]
        config.hook.pytest_deselected(items=slow)


def pytest_configure() -> None:
    vars(summary)["_SECONDS"] = 0.01  # a report measures its model's speed that long
    # A shell starts what runs in the background with Ctrl-C ignored, and children inherit that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def run_script() -> Callable[[str], subprocess.CompletedProcess[str]]:
    """Run Python code in a process of its own."""

    def run(code: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", code]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    return run
