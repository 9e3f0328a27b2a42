"""Threads of Python that each train a model of their own: two compared with one.

    python benchmarks/python_threads.py [--seconds S] [--rounds N] [--record]

Every call uses one thread. One thread and two take turns; the speed-up is that of the steps per
second, in the best round of each. ``--record`` writes docs/python_threads.json and the table of
docs/testing.md.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import sysconfig
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastbptt
from fastbptt.bench import PRESETS, Problem

SHAPES = ("stream", "tutorial", "small", "neuro", "medium")
DOCS = Path(__file__).parents[1] / "docs"
RECORD, PAGE = DOCS / "python_threads.json", DOCS / "testing.md"
START, END = "<!-- python threads -->\n", "<!-- python threads end -->\n"


def training_step(preset: str, seed: int) -> Callable[[], object]:
    case = PRESETS[preset]
    problem = Problem(case)
    model = fastbptt.RNN(case.input, case.hidden, case.output, seed=seed)
    adam = fastbptt.Adam(lr=1e-7)
    return lambda: model.train_step(problem.x, problem.y, adam, case.loss, case.steps)


def rate(steps: list[Callable[[], object]], seconds: float) -> float:
    """Steps per second of all threads together, each of which makes its own."""
    counts = [0] * len(steps)
    barrier = threading.Barrier(len(steps))

    def work(number: int) -> None:
        step, count = steps[number], 0
        barrier.wait()
        start = time.perf_counter()
        while (passed := time.perf_counter() - start) < seconds:
            step()
            count += 1
        counts[number] = count / passed

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(steps))]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    return sum(counts)


def measure(preset: str, seconds: float, rounds: int) -> dict[str, float]:
    steps = [training_step(preset, seed) for seed in range(2)]
    for step in steps:
        step()
    both = [(rate(steps[:1], seconds), rate(steps, seconds)) for _ in range(rounds)]
    return {
        "one": round(max(one for one, _ in both), 1),
        "speed_up": round(max(two for _, two in both) / max(one for one, _ in both), 3),
    }


def python() -> str:
    free = sysconfig.get_config_var("Py_GIL_DISABLED")
    if free and sys._is_gil_enabled():
        raise SystemExit("the GIL is on")
    return platform.python_version() + ("t" if free else "")


def table(record: dict[str, Any]) -> str:
    """Make a table: a row for each shape, a column for each Python."""
    rows = [
        "| shape | " + " | ".join(f"Python {name}" for name in record) + " |",
        "|---|" + "---|" * len(record),
    ]
    for shape in SHAPES:
        cells = (f"{one[shape]['speed_up']:.2f}x" for one in record.values())
        rows.append(f"| {shape} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def page(record: dict[str, Any], text: str) -> str:
    """Put the table of a record into the text of the page."""
    before, rest = text.split(START)
    return before + START + "\n" + table(record) + "\n\n" + END + rest.split(END)[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=0.15)
    parser.add_argument("--rounds", type=int, default=14)
    parser.add_argument("--record", action="store_true")
    given = parser.parse_args()
    fastbptt.set_num_threads(1)
    found = {}
    for preset in SHAPES:
        found[preset] = one = measure(preset, given.seconds, given.rounds)
        print(f"{preset:10} {one['one']:10.1f} steps/s, two threads {one['speed_up']:.3f}x")
    if given.record:
        record = json.loads(RECORD.read_text("utf-8")) if RECORD.exists() else {}
        record = dict(sorted((record | {python(): found}).items()))
        RECORD.write_text(json.dumps(record, indent=1) + "\n", "utf-8")
        PAGE.write_text(page(record, PAGE.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main()
