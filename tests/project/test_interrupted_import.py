"""Ctrl-C while the package is imported: a KeyboardInterrupt, whatever was being imported."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

# A finder that finds nothing, and sends Ctrl-C when a certain module is looked for.
CODE = """
import importlib.abc, os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == {module!r}:
            for _ in range({times}):
                os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
"""
MODULES = (
    "datetime",  # which an extension of NumPy imports, and calls its own import broken if it fails
    *(
        pytest.param(name, marks=pytest.mark.slow)
        for name in (
            "numpy",
            "numpy._core._multiarray_umath",
            "fastbptt._core",
            "fastbptt._errors",
            "fastbptt.models.recurrent",
        )
    ),
)
AGAIN = """
try:
    import fastbptt
except KeyboardInterrupt:
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    import fastbptt
    fastbptt.RNN(1, 2, 1).train_step([[[1.0]]], [1.0], fastbptt.Adam())
    print("again")
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to oneself")
@pytest.mark.parametrize("module", MODULES)
def test_it_ends_as_an_interruption(module: str) -> None:
    code = CODE.format(module=module, times=1) + "from fastbptt.cli import main\nmain(['info'])"
    done = run(code)
    assert done.returncode == -signal.SIGINT  # of which shells make 130
    assert done.stderr.endswith("KeyboardInterrupt\n")
    assert "ImportError" not in done.stderr
    assert done.stdout == ""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to oneself")
def test_it_can_be_imported_again() -> None:
    done = run(CODE.format(module="fastbptt._errors", times=1) + AGAIN)
    assert done.stdout == "again\n", done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to oneself")
def test_a_program_with_its_own_handler_keeps_it() -> None:
    seen = "seen = []\nsignal.signal(signal.SIGINT, lambda number, frame: seen.append(1))\n"
    code = CODE.format(module="fastbptt._errors", times=2) + seen + "import fastbptt; print(seen)"
    done = run(code)
    assert done.stdout in ("[1]\n", "[1, 1]\n"), done.stderr
