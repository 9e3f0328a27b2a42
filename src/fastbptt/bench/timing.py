"""Timing of several systems: many short rounds, each system in turn while the others sleep."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final

import numpy as np

from .. import _check, _core, config
from .._errors import ArgumentError
from .case import Case, Problem
from .systems import SYSTEMS, obstacle
from .verify import CHECKS

__all__ = ["DEFAULT_ROUNDS", "measure"]

DEFAULT_ROUNDS: Final = 15
_FEWEST_ROUNDS: Final = 3
_THREAD_VARIABLES: Final = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


def measure(
    cases: Sequence[Case],
    against: Iterable[str] = (),
    *,
    threads: int = 1,
    rounds: int | None = None,
    seconds: float | None = None,
) -> dict[str, Any]:
    """Check and time fastbptt and other systems; progress goes to standard error.

    Parameters
    ----------
    cases : sequence of Case
        What to measure.
    against : iterable of str, optional
        Names of competitors; those that cannot run a case here are named with the reason.
    threads : int, default 1
        For each system, pinned to that many processors.
    rounds : int, optional
        Rounds of each system; 15 by default.
    seconds : float, optional
        Instead of `rounds`: how long to go on with a case, at least three rounds.

    Returns
    -------
    dict
        ``machine``: dict with ``processor``, ``instruction_set``, ``threads`` and versions.
        ``cases``: list of dict with ``case`` (its fields), ``needed_flops`` (per step; with
        ``pass_="forward"`` a step is one forward pass),
        ``peak_flops`` (per second, measured in the same rounds, of all threads together) and
        ``systems``, a list of dict, fastbptt first: ``system``, ``title``, ``version``,
        ``variant``, ``median_seconds``, ``best_seconds`` (per step), ``median_over_best``,
        ``flops`` (per second), ``share_of_peak``, ``sequences_per_second`` (these three by the
        best round), ``peak_memory_bytes`` (of the process), ``times_fastbptt`` (ratio of the best
        times), ``rounds``, ``steps_per_round``. ``left_out``: list of dict with ``system``,
        ``title`` and ``reason`` of those that cannot run the case here.

    Raises
    ------
    ValueError
        If a loss, gradient or output disagrees with the reference, or `rounds` and `seconds` are
        given.
    OSError
        If a system's process fails; the message ends with what it printed.

    Examples
    --------
    >>> from fastbptt.bench import PRESETS, measure
    >>> result = measure([PRESETS["tutorial"]], rounds=1)
    >>> result["cases"][0]["systems"][0]["system"]
    'fastbptt'
    """
    if rounds is None:
        rounds = DEFAULT_ROUNDS
    elif seconds is not None:
        raise ArgumentError(
            "seconds", f"is {_check.shown(seconds)}", "None, because rounds is given"
        )
    names = ["fastbptt", *against]
    found = [_measure_case(case, names, threads, rounds, seconds) for case in cases]
    machine = config.info()
    keys = ("processor", "platform", "python", "numpy", "compiler", "fastbptt")
    return {
        "machine": {key: machine[key] for key in keys}
        | {"instruction_set": _core.active_backend(), "threads": threads},
        "cases": found,
    }


def _measure_case(
    case: Case, names: Iterable[str], threads: int, rounds: int, seconds: float | None
) -> dict[str, Any]:
    from tqdm import tqdm

    problem = Problem(case)
    _say(f"{case.name} ({case.shape}): checking against the reference")
    check = CHECKS[case.pass_](problem)
    with ExitStack() as stack:
        workers, left_out = [], []
        for name in names:
            if reason := obstacle(name, case):
                _say(f"{case.name}: {name} {reason}")
                title = SYSTEMS[name].title
                left_out.append({"system": name, "title": title, "reason": reason})
                continue
            worker = stack.enter_context(_Worker(name, case, threads))
            check(name, worker.results)
            workers.append(worker)
        end = None if seconds is None else time.monotonic() + seconds
        done = 0
        with tqdm(total=None if end else rounds, unit="round", disable=None, leave=False) as bar:
            while done < rounds if end is None else _goes_on(done, end):
                first = done % len(workers)
                for worker in workers[first:] + workers[:first]:
                    worker.round()
                done += 1
                bar.update()
    return _summary(problem, workers, threads) | {"left_out": left_out}


def _goes_on(done: int, end: float) -> bool:
    return done < _FEWEST_ROUNDS or time.monotonic() < end


def _summary(problem: Problem, workers: Sequence[_Worker], threads: int) -> dict[str, Any]:
    flops = problem.needed_flops
    peak = threads * max(each["rate"] for worker in workers for each in worker.rounds)
    systems = []
    ours = None
    for worker in workers:
        times = [each["seconds"] for each in worker.rounds]
        median, best = statistics.median(times), min(times)
        ours = ours or best
        systems.append(
            {
                "system": worker.name,
                "title": SYSTEMS[worker.name].title,
                "version": worker.about["version"],
                "variant": worker.about["variant"],
                "median_seconds": median,
                "best_seconds": best,
                "median_over_best": median / best,
                "flops": flops / best,
                "share_of_peak": flops / best / peak,
                "sequences_per_second": problem.case.batch / best,
                "peak_memory_bytes": worker.rounds[-1]["peak_memory"],
                "times_fastbptt": best / ours,
                "rounds": len(times),
                "steps_per_round": worker.about["steps"],
            }
        )
    return {
        "case": problem.case.as_dict(),
        "needed_flops": flops,
        "peak_flops": peak,
        "systems": systems,
    }


class _Worker:
    """The process of one system, asleep except in its own rounds."""

    def __init__(self, name: str, case: Case, threads: int) -> None:
        self.name, self.case, self.threads = name, case, threads
        self.rounds: list[dict[str, Any]] = []
        self._files = tempfile.TemporaryDirectory(prefix="fastbptt-bench-")
        self._log: IO[bytes] = (Path(self._files.name) / "log").open("w+b")

    def __enter__(self) -> _Worker:
        _say(f"{self.case.name}: preparing {self.name}")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "fastbptt.bench.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=_environment(self.threads),
        )
        results = Path(self._files.name) / "results.npz"
        try:
            self.about = self._ask(
                {
                    "system": self.name,
                    "case": self.case.as_dict(),
                    "threads": self.threads,
                    "processors": _processors(self.threads),
                    "results": str(results),
                }
            )
            with np.load(results) as found:
                self.results = dict(found)
            self._signal("SIGSTOP")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.communicate()
        self._log.close()
        self._files.cleanup()

    def round(self) -> None:
        """Let the system run for a round."""
        self._signal("SIGCONT")
        self.rounds.append(self._ask({}))
        self._signal("SIGSTOP")

    def _signal(self, name: str) -> None:
        if hasattr(signal, name):
            self._process.send_signal(getattr(signal, name))

    def _ask(self, order: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            print(json.dumps(order), file=self._process.stdin, flush=True)
            reply: dict[str, Any] = json.loads(self._process.stdout.readline())
        except (OSError, ValueError):
            self._log.seek(0)
            text = self._log.read().decode(errors="replace").strip()
            raise ChildProcessError(f"{self.case.name}: {self.name} failed: {text}") from None
        return reply


def _processors(threads: int) -> list[int]:
    """List the processors that a system may use: one for each thread."""
    if not hasattr(os, "sched_getaffinity"):
        return []
    return sorted(os.sched_getaffinity(0))[:threads]


def _environment(threads: int) -> dict[str, str]:
    """Limit the threads of every library; they read this when they are imported."""
    environment = dict(os.environ)
    environment |= dict.fromkeys(_THREAD_VARIABLES, str(threads))
    environment |= {"TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}
    if threads == 1:
        flags = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
        environment["XLA_FLAGS"] = f"{environment.get('XLA_FLAGS', '')} {flags}".strip()
    return environment


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
