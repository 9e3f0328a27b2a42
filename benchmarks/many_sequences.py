"""`predict` and `evaluate` for many sequences, with one thread and with all.

    python benchmarks/many_sequences.py [--rounds N]

One thread and all take turns, and the best round of each counts.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator

import numpy as np

import fastbptt

CELLS = (("lstm", 8, 64), ("rnn", 4, 16))  # cell, inputs, units


def calls() -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield the title of each call, and the call."""
    rng = np.random.default_rng(0)
    for cell, inputs, units in CELLS:
        model = fastbptt.Recurrent(cell, inputs, units, 2, seed=0)
        lengths = rng.integers(20, 201, 2000)
        listed = [rng.normal(size=(steps, inputs)).astype(np.float32) for steps in lengths]
        array = rng.normal(size=(5000, 100, inputs)).astype(np.float32)
        for words, x in (("list of 2000, 20 to 200 steps", listed), ("array (5000, 100)", array)):
            classes = rng.integers(0, 2, len(x))
            title = f"{cell} {units}, {words}"
            yield f"{title}, predict", lambda m=model, x=x: fastbptt.predict(m, x)
            yield (
                f"{title}, predict, all steps",
                lambda m=model, x=x: fastbptt.predict(m, x, steps="all"),
            )
            yield (
                f"{title}, evaluate",
                lambda m=model, x=x, y=classes: fastbptt.evaluate(m, x, y, metrics="accuracy"),
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=10)
    rounds, most = parser.parse_args().rounds, fastbptt.get_num_threads()
    for title, call in calls():
        best = {1: np.inf, most: np.inf}
        for _ in range(rounds):
            for threads in best:
                fastbptt.set_num_threads(threads)
                call()
                start = time.perf_counter()
                call()
                best[threads] = min(best[threads], time.perf_counter() - start)
        print(
            f"{title:52} 1 thread {1e3 * best[1]:7.1f} ms, {most} threads "
            f"{1e3 * best[most]:7.1f} ms, speed-up {best[1] / best[most]:.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
