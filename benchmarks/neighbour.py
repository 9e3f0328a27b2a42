"""Training steps with one thread and with all, alone and beside a process that never rests.

    python benchmarks/neighbour.py [--seconds S] [--rounds N]

The other process is pinned to the last processor of this one. One thread and all take turns; the
mean of all calls counts, because a neighbour makes few calls slow and leaves the others alone.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np

import fastbptt
from fastbptt.bench import PRESETS, Problem

SHAPES = ("small", "neuro", "medium", "stream")


def training_step(preset: str) -> Callable[[], object]:
    case = PRESETS[preset]
    problem = Problem(case)
    model = fastbptt.RNN(case.input, case.hidden, case.output, seed=0)
    adam = fastbptt.Adam(lr=1e-7)
    return lambda: model.train_step(problem.x, problem.y, adam, case.loss, case.steps)


def mean(step: Callable[[], object], seconds: float) -> float:
    """Milliseconds of a call."""
    step()
    calls, start = 0, time.perf_counter()
    while time.perf_counter() < start + seconds:
        step()
        calls += 1
    return (time.perf_counter() - start) / calls * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    processors = sorted(os.sched_getaffinity(0))
    if len(processors) < 2:
        sys.exit("this process has one processor; there is nothing to compare")
    steps = {name: training_step(name) for name in SHAPES}
    for beside in ("alone", "beside a busy process"):
        busy = None
        if beside != "alone":
            code = f"import os; os.sched_setaffinity(0, {{{processors[-1]}}})\nwhile True: pass"
            busy = subprocess.Popen([sys.executable, "-c", code])
        try:
            for name, step in steps.items():
                times: dict[int, list[float]] = {1: [], len(processors): []}
                for _ in range(given.rounds):
                    for threads, found in times.items():
                        fastbptt.set_num_threads(threads)
                        found.append(mean(step, given.seconds))
                one, many = (np.mean(found) for found in times.values())
                print(
                    f"{beside:22} {name:7} 1 thread {one:7.3f} ms, {len(processors)} threads "
                    f"{many:7.3f} ms, ratio {many / one:.3f}",
                    flush=True,
                )
        finally:
            if busy is not None:
                busy.kill()
                busy.wait()


if __name__ == "__main__":
    main()
