"""Tests in forked children of a process that has the libraries loaded, but not the package.

A child works on a tree of its own: links to the package's files, some of them changed. It runs the
tests that it is given, in their order, up to the first that fails.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

WALL = 30.0  # seconds for each of a processor: the machine may be busy
ROOT = Path(__file__).parents[2]
PACKAGE = Path(str(find_spec("fastbptt").origin)).parent  # type: ignore[union-attr]  # with the core


def load_libraries() -> None:
    """Load what the tests load; a child then starts with it."""
    import hypothesis.strategies
    import numpy as np
    import numpy.random
    import pytest
    import tqdm.auto  # noqa: F401

    assert np and pytest and hypothesis.strategies
    names = ("matplotlib.pyplot", "pandas", "scipy.signal", "sklearn.model_selection",
             "sklearn.pipeline", "sklearn.ensemble", "torch")  # fmt: skip
    for name in names:
        with contextlib.suppress(ImportError):
            __import__(name)
    if "matplotlib" in sys.modules:
        sys.modules["matplotlib"].use("agg")


def link(source: Path, target: Path) -> None:
    """Make a tree of links; those to compiled files too, so that nothing is compiled again."""
    target.mkdir()
    for entry in os.scandir(source):
        if entry.is_dir():
            link(Path(entry.path), target / entry.name)
        else:
            os.symlink(entry.path, target / entry.name)


def change(tree: Path, changed: dict[str, str | Path]) -> None:
    """Put other files in the place of links: text, or where a file lies."""
    for name, new in changed.items():
        path = tree / name
        path.unlink()
        if isinstance(new, Path):
            path.symlink_to(new)
        else:
            path.write_text(new, "utf-8")
            for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*"):
                compiled.unlink()


class Calls:
    """A plugin that notes each test's seconds and which functions of the package it calls."""

    def __init__(self, package: Path) -> None:
        self.package = f"{package}{os.sep}"
        self.tests: dict[str, dict[str, Any]] = {}
        self.called: set[Any] = set()

    def trace(self, frame: Any, event: str, argument: Any) -> None:
        self.called.add(frame.f_code)

    def pytest_runtest_logreport(self, report: Any) -> None:
        entry = self.tests.setdefault(report.nodeid, {"passed": True, "called": []})
        entry["passed"] &= report.passed

    def pytest_runtest_protocol(self, item: Any) -> Iterator[None]:
        self.called.clear()
        start = seconds()
        sys.settrace(self.trace)
        threading.settrace(self.trace)
        yield
        sys.settrace(None)
        threading.settrace(None)  # type: ignore[arg-type]
        entry = self.tests.setdefault(item.nodeid, {"passed": True, "called": []})
        entry["seconds"] = round(seconds() - start, 3)
        start_of = len(self.package)
        entry["called"] = sorted(
            f"{code.co_filename[start_of:]}:{code.co_firstlineno}"
            for code in self.called
            if code.co_filename.startswith(self.package)
        )


class First:
    """A plugin that notes the first test that failed."""

    failed = ""

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed and not self.failed:
            self.failed = report.nodeid


class Settings:
    """A plugin that chooses tests; hypothesis draws the same examples, whatever it found before."""

    def __init__(self, tests: list[str]) -> None:
        self.files = list(dict.fromkeys(name.split("::")[0] for name in tests))
        self.chosen = [name for name in tests if "::" in name]

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        if self.chosen:  # of which some may have another name by now
            there = {item.nodeid: item for item in items}
            items[:] = [there[name] for name in self.chosen if name in there]

    def pytest_collection(self) -> None:
        import hypothesis

        hypothesis.settings.register_profile(
            "mutants", database=None, deadline=None, derandomize=True
        )
        hypothesis.settings.load_profile("mutants")


def seconds() -> float:
    """Of processors, of this process and the children that have ended."""
    now = os.times()
    return now.user + now.system + now.children_user + now.children_system


@dataclass
class Job:
    """What a child does: tests of pytest, or a command, within so many seconds of a processor."""

    key: Any
    seconds: float
    tests: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    changed: dict[str, str | Path] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    calls: bool = False  # note what the tests call, and go on after one that fails
    first: bool = True  # stop at the first that fails
    slow: bool = False  # of files, the tests that are marked so, else the others


def child(folder: Path, job: Job) -> int:
    """Run tests on a changed tree; what they say goes into files of the folder."""
    import pytest

    os.setsid()
    os.chdir(ROOT)
    most = int(job.seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (most, most + 5))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with open(folder / "output", "w") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    os.environ.update(job.environment, PYTHONPATH=str(folder), TMPDIR=str(folder))
    if job.command:
        os.execv(job.command[0], job.command)
    link(PACKAGE, folder / "fastbptt")
    change(folder / "fastbptt", job.changed)
    tempfile.tempdir = None
    sys.path.insert(0, str(folder))
    plugin: Any = First()
    if job.calls:
        plugin = Calls(folder / "fastbptt")
        hook = pytest.hookimpl(hookwrapper=True)
        type(plugin).pytest_runtest_protocol = hook(type(plugin).pytest_runtest_protocol)
    options = ["-n0", "-q", "--no-header", "-p", "no:cacheprovider"]
    options += ["-m", "slow" if job.slow else "not slow"]
    options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
    options += ["--tb=short", f"--basetemp={folder / 'pytest'}"]
    if job.first:
        options.append("-x")
    status, settings = 99, Settings(job.tests)
    try:
        status = int(pytest.main([*options, *settings.files], plugins=[plugin, settings]))
    except BaseException:  # an interrupt that a test sent
        traceback.print_exc()
    if job.calls:
        (folder / "result").write_text(json.dumps(plugin.tests))
    else:
        (folder / "result").write_text(json.dumps(plugin.failed))
    return status


class Running:
    """A child at work."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.folder = Path(tempfile.mkdtemp(prefix="mutant-"))
        self.end = time.monotonic() + WALL * job.seconds
        self.seconds = 0.0  # of processors, when it has ended
        sys.stdout.flush()
        self.process = os.fork()
        if self.process == 0:
            status = 99
            try:
                status = child(self.folder, job)
            except BaseException:
                traceback.print_exc()
            finally:
                with contextlib.suppress(Exception):
                    sys.stdout.flush()
                    sys.stderr.flush()
                os._exit(status)

    def ended(self) -> str | None:
        """How it ended: "0", "1", ..., "signal 11", "time"; None while it runs."""
        process, status, used = os.wait4(self.process, os.WNOHANG)
        late = process == 0 and time.monotonic() > self.end
        if process == 0 and not late:
            return None
        self.stop()  # it, or what it left behind
        if late:
            _, status, used = os.wait4(self.process, 0)
        self.seconds = used.ru_utime + used.ru_stime
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL):
            return "time"
        if os.WIFSIGNALED(status):
            return f"signal {os.WTERMSIG(status)}"
        return str(os.WEXITSTATUS(status))

    def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process, signal.SIGKILL)

    def result(self) -> Any:
        path = self.folder / "result"
        return json.loads(path.read_text()) if path.exists() else None

    def output(self) -> str:
        path = self.folder / "output"
        return path.read_text(errors="replace") if path.exists() else ""

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def work(next_job: Callable[[], Job | None], at_once: int,
         done: Callable[[Running, str], None]) -> None:  # fmt: skip
    """Run children, some at once; what is done with one may make more jobs."""
    running: list[Running] = []
    while True:
        while len(running) < at_once and (job := next_job()) is not None:
            running.append(Running(job))
        if not running:
            return
        for one in list(running):
            how = one.ended()
            if how is not None:
                running.remove(one)
                done(one, how)
                one.remove()
        time.sleep(0.02)
