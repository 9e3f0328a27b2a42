"""Overhead of `fastbptt.fit` over bare training steps: one epoch of each in turn, same batches.

The bare loop calls `train_step` on arrays that are ready; `fit` shuffles, gathers every batch, and
keeps the loss and the history. Printed are the ratios of the best times and of the medians.

    python benchmarks/fit_overhead.py [--rounds N] [--threads N]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np

import fastbptt

# batch, time, inputs, hidden, batches in an epoch
SHAPES = {
    "tutorial": ("rnn", 5, 10, 32, 64, 2000),
    "small": ("rnn", 32, 50, 32, 64, 200),
    "medium": ("lstm", 64, 100, 128, 256, 8),
}


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def measure(name: str, rounds: int) -> str:
    cell, batch, steps, inputs, hidden, batches = SHAPES[name]
    rng = np.random.default_rng(0)
    x = rng.normal(size=(batch * batches, steps, inputs)).astype(np.float32)
    y = rng.normal(size=(batch * batches, 1)).astype(np.float32)
    model = fastbptt.Recurrent(cell, inputs, hidden, 1, seed=0)
    adam = fastbptt.Adam(lr=1e-7)
    first, target = x[:batch].copy(), y[:batch].copy()

    def bare() -> None:
        for _ in range(batches):
            model.train_step(first, target, adam, "mse")

    def fit() -> None:
        fastbptt.fit(model, x, y, loss="mse", epochs=1, batch_size=batch, optimizer=adam, verbose=0)

    times: dict[str, list[float]] = {"bare": [], "fit": []}
    for _ in range(rounds):
        times["bare"].append(seconds(bare) / batches)
        times["fit"].append(seconds(fit) / batches)
    best = {key: min(values) for key, values in times.items()}
    middle = {key: statistics.median(values) for key, values in times.items()}
    return (
        f"{name} ({cell}): {best['bare'] * 1e6:.1f} us bare, {best['fit'] * 1e6:.1f} us by fit; "
        f"ratio {best['fit'] / best['bare']:.3f}, of medians {middle['fit'] / middle['bare']:.3f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    fastbptt.set_num_threads(arguments.threads)
    for name in SHAPES:
        print(measure(name, arguments.rounds), flush=True)


if __name__ == "__main__":
    main()
