"""Times of training on two MPI ranks of one machine; benchmarks/scaling.py --ranks reads them.

    mpiexec -n 2 python benchmarks/ranks.py

Prints a JSON object: median seconds of sums of several sizes, in shared memory and by messages; and
of updates, by one process for itself, while the other ones do the same, and by all ranks as one.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from mpi4py import MPI

import fastbptt
from fastbptt.bench import PRESETS, Problem
from fastbptt.training.distributed import SumsByMessages, sums_of

COMM = MPI.COMM_WORLD
NEURO = fastbptt.RNN(8, 128, 2).num_parameters
SIZES = (1, 1_000, 10_000, NEURO, 100_000, 1_000_000)  # elements of a gradient in float32
SHAPES = ("small", "neuro", "medium")


def median(call: Callable[[], object], before: Callable[[], object]) -> float:
    """Return the median seconds of a call that all ranks make, each time after another one."""
    times, end = [], time.perf_counter() + 0.3
    while True:
        before()
        COMM.Barrier()
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
        if COMM.bcast(time.perf_counter() > end and len(times) > 10):
            return statistics.median(times)


def written(sums: Any) -> None:
    """Write a gradient, as a backward pass does."""
    sums.gradient[:] = 1.0


def sums() -> dict[str, Any]:
    """Time the sums alone."""
    found: dict[str, Any] = {"shared": {}, "messages": {}}
    for count in SIZES:
        own = sums_of(COMM, 4, count, np.dtype("float32"))
        other = SumsByMessages(
            COMM, COMM.Get_rank(), COMM.Get_size(), 4, count, np.dtype("float32")
        )
        for name, one in (("shared", own), ("messages", other)):
            found[name][str(count)] = median(one.total, lambda one=one: written(one))
        own.close()
    return found


def updates(name: str) -> dict[str, float]:
    """Time an update of `fit` by this process alone, and by all ranks with as many rows each."""
    case = PRESETS[name]
    problem = Problem(case)
    found = {}
    for kind, comm, count in (("alone", None, 1), ("ranks", COMM, COMM.Get_size())):
        x, y = (np.concatenate([one] * (count * UPDATES)) for one in (problem.x, problem.y))
        model = fastbptt.RNN(case.input, case.hidden, case.output, seed=0)
        COMM.Barrier()
        history = fastbptt.fit(
            model, x, y, loss=case.loss, steps=case.steps, epochs=EPOCHS[name],
            batch_size=case.batch, optimizer=fastbptt.Adam(1e-7), verbose=0, comm=comm,
        )  # fmt: skip
        found[kind] = statistics.median(history["seconds"]) / UPDATES
    return found


UPDATES = 10  # in an epoch
EPOCHS = {"small": 100, "neuro": 15, "medium": 6}


def main() -> None:
    fastbptt.set_num_threads(1)
    found = {"sums": sums(), "updates": {name: updates(name) for name in SHAPES}}
    if COMM.Get_rank() == 0:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
