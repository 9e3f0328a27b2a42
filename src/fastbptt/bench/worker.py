"""The process in which one system runs: ``python -m fastbptt.bench.worker``.

It reads one JSON object per line from standard input and replies to each with one. The first names
the system to run; the reply comes when it is compiled, warm, and its first results are written.
Each further one asks for a round.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any, Final

import numpy as np

from .. import _core
from .case import Case, Problem
from .systems import SYSTEMS, System

__all__ = ["ROUND_SECONDS", "main"]

ROUND_SECONDS: Final = 0.03
_PEAK_ROUNDS: Final = 20_000
_PEAK_REPEATS: Final = 10


def main() -> None:
    """Serve until standard input ends."""
    if hasattr(os, "setpgid"):
        # In a group of its own, so that Ctrl-C is its parent's affair, and the system ends it, even
        # asleep, when its parent is gone.
        os.setpgid(0, 0)
    # Libraries print what they like; replies keep the real standard output.
    with os.fdopen(os.dup(1), "w") as replies:
        os.dup2(2, 1)
        order = json.loads(sys.stdin.readline())
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, order["processors"])
        _core.set_num_threads(order["threads"])
        problem = Problem(Case(**order["case"]))
        entry = SYSTEMS[order["system"]]
        module = entry.load()
        ways = module.variants(problem, order["threads"], **dict(entry.options))
        system, reply = _fastest(ways, order["results"])
        _reply(replies, reply | {"version": module.version()})
        for _ in sys.stdin:
            _reply(replies, _round(system, reply["steps"], problem))


def _fastest(ways: Any, results_file: str) -> tuple[System, dict[str, Any]]:
    """Try every way, keep the fastest, and write what it computes."""
    best: tuple[float, str, System] | None = None
    for name, build in ways.items():
        system = build()
        system.run(2)  # the first call compiles, the second may do so again
        steps, seconds = 1, _time(system, 1)
        while len(ways) > 1 and steps * seconds < ROUND_SECONDS and steps < 1000:
            steps *= 2
            seconds = _time(system, steps)
        if best is None or seconds < best[0]:
            best = seconds, name, system
    assert best is not None
    _, name, system = best
    np.savez(results_file, **ways[name]().results())  # of the first weights, which `run` moves
    steps = 1
    while (seconds := steps * _time(system, steps)) < ROUND_SECONDS / 4:
        steps *= 2
    return system, {"variant": name, "steps": max(1, round(steps * ROUND_SECONDS / seconds))}


def _time(system: System, steps: int) -> float:
    start = time.perf_counter()
    system.run(steps)
    return (time.perf_counter() - start) / steps


def _round(system: System, steps: int, problem: Problem) -> dict[str, Any]:
    """Measure the processor's rate, then the system's time per step, caches warm."""
    rate = max(
        _core.multiply_add_rate(problem.case.dtype, _PEAK_ROUNDS) for _ in range(_PEAK_REPEATS)
    )
    if steps > 1:
        system.run(1)
    seconds = _time(system, steps)
    return {"seconds": seconds, "rate": rate, "peak_memory": system.peak_memory()}


def _reply(replies: Any, reply: dict[str, Any]) -> None:
    print(json.dumps(reply), file=replies, flush=True)


if __name__ == "__main__":
    main()
