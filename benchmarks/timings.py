"""Times of training steps that docs/performance.md states, into docs/timings.json.

    python benchmarks/timings.py [--rounds N]

One thread. What is compared takes turns, and the best round counts. The clock is the processor time
of the process, which is nearly that of the wall where nothing else runs. bfloat16 needs a processor
with its instructions. A test compares the page with the file.
"""

from __future__ import annotations

import argparse
import datetime
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import fastbptt
from fastbptt.config import info

FILE = Path(__file__).resolve().parent.parent / "docs" / "timings.json"
# batch, time, inputs, hidden, outputs
TUTORIAL, SMALL = (5, 10, 32, 64, 1), (32, 50, 32, 64, 1)
MEDIUM, LARGE = (64, 100, 128, 256, 10), (128, 50, 512, 1024, 10)
LEAST = 0.02  # seconds of a round

Step = Callable[[], object]


def training_step(
    cell: str,
    shape: tuple[int, int, int, int, int],
    steps: str = "last",
    precision: str = "float32",
    ragged: bool = False,
) -> Step:
    """Return a training step that leaves the weights nearly alone."""
    batch, length, inputs, hidden, outputs = shape
    rng = np.random.default_rng(0)
    x = rng.normal(size=(batch, length, inputs)).astype(np.float32)
    y = rng.normal(size=(batch, length, outputs) if steps == "all" else (batch, outputs))
    lengths = rng.integers(1, length + 1, batch) if ragged else None
    model = fastbptt.Recurrent(cell, inputs, hidden, outputs, precision=precision, seed=0)
    adam = fastbptt.Adam(lr=1e-7)
    return lambda: model.train_step(x, y, adam, "mse", steps, lengths=lengths)


def inference_step() -> Step:
    """Return a step of an LSTM with 128 units and 16 inputs."""
    model = fastbptt.LSTM(16, 128, 1, seed=0)
    state, x = model.initial_state(1), np.ones((1, 16), np.float32)
    return lambda: model.step(x, state)


def seconds(step: Step, calls: int) -> float:
    start = time.process_time()
    for _ in range(calls):
        step()
    return (time.process_time() - start) / calls


def best(steps: dict[str, Step], rounds: int) -> dict[str, float]:
    """Return the time of the best round of each, in alternating rounds."""
    for step in steps.values():
        step()
    calls = {name: max(1, round(LEAST / seconds(step, 1))) for name, step in steps.items()}
    found: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            found[name].append(seconds(step, calls[name]))
    return {name: min(times) for name, times in found.items()}


def compared(first: str, second: str, steps: dict[str, Step], rounds: int) -> dict[str, float]:
    """Return both times in milliseconds, and their quotient."""
    times = best(steps, rounds)
    return {name: 1e3 * one for name, one in times.items()} | {
        "ratio": times[first] / times[second]
    }


def measure(rounds: int) -> dict[str, Any]:
    """Measure everything."""
    found: dict[str, Any] = {}
    for name, cell, shape in (
        ("tutorial", "rnn", TUTORIAL),
        ("small", "rnn", SMALL),
        ("medium", "rnn", MEDIUM),
        ("large", "rnn", LARGE),
        ("medium LSTM", "lstm", MEDIUM),
        ("medium GRU", "gru", MEDIUM),
        ("medium GRU, reset before", "gru_before", MEDIUM),
    ):
        both = {how: training_step(cell, shape, precision=how) for how in ("float32", "bfloat16")}
        found[name] = compared("float32", "bfloat16", both, rounds)
    both = {how: training_step("rnn", (64, 200, 8, 128, 1), how) for how in ("last", "all")}
    found["loss at"] = compared("last", "all", both, rounds)
    both = {
        "uniform": training_step("rnn", MEDIUM, ragged=True),
        "full": training_step("rnn", MEDIUM),
    }
    found["lengths"] = compared("uniform", "full", both, rounds)
    times = (100, 1000, 10_000)
    long = best({str(t): training_step("rnn", (8, t, 16, 128, 1), "all") for t in times}, rounds)
    found["long"] = {f"T={name}": 1e6 * one / int(name) for name, one in long.items()}
    found["inference"] = {"microseconds": 1e6 * best({"step": inference_step()}, rounds)["step"]}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    fastbptt.set_num_threads(1)
    found = {
        group: {name: float(f"{number:.4g}") for name, number in numbers.items()}
        for group, numbers in measure(arguments.rounds).items()
    }
    machine = info()
    found["machine"] = {"processor": machine["processor"], "instruction_set": machine["active"]}
    found["machine"]["date"] = datetime.date.today().isoformat()
    FILE.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
