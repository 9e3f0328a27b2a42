"""Context-dependent integration at the size of published studies: what an iteration takes.

    python benchmarks/context_task.py                # one thread, and all cores
    python benchmarks/context_task.py --threads 1 --seconds 10

Batches of 450 trials of 300 steps, 100 leaky units in pre-activation form with ReLU and recurrent
noise: an iteration is one `train_step` with clipping and Adam on a batch of fresh trials, which are
drawn beforehand. Numbers of threads take turns, in blocks; the median and the fastest are printed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time

import numpy as np

import fastbptt
from fastbptt.config import info
from fastbptt.datasets import tasks

BATCH, STEPS, UNITS, NOISE = 450, 300, 100, 0.15
DT, TAU = 20.0, 100.0
BATCHES, BLOCK = 4, 5


def make_task() -> tasks.ContextDependentIntegration:
    """Trials of 300 steps, most of them with evidence."""
    periods = {"fixation": 500.0, "response": 500.0}
    rest = STEPS * DT - sum(periods.values())
    return tasks.ContextDependentIntegration(dt=DT, tau=TAU, stimulus=rest, **periods)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--threads", help="numbers of threads, such as 1,2 (1 and all cores)")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long to measure (20)")
    options = parser.parse_args()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = [int(one) for one in (options.threads or f"1,{cores}").split(",")]
    task = make_task()
    rng = np.random.default_rng(0)
    batches = [task.trials(BATCH, seed=rng) for _ in range(BATCHES)]
    assert batches[0].x.shape == (BATCH, STEPS, task.input_size)
    model = fastbptt.LeakyRNN(
        task.input_size,
        UNITS,
        task.output_size,
        formulation="preactivation",
        nonlinearity="relu",
        alpha=DT / TAU,
        recurrent_noise=NOISE,
        noise_scaling="alpha",
        seed=0,
    )
    adam = fastbptt.Adam(lr=1e-3)
    times: dict[int, list[float]] = {count: [] for count in threads}
    losses = []
    end = time.perf_counter() + options.seconds
    while time.perf_counter() < end:
        for count, into in times.items():
            fastbptt.set_num_threads(count)
            for i in range(BLOCK):
                trials = batches[i % BATCHES]
                start = time.perf_counter()
                loss = model.train_step(trials.x, trials.y, adam, clip_norm=1.0, **trials.arguments)
                into.append(1e3 * (time.perf_counter() - start))
                losses.append(loss)
    assert np.isfinite(losses).all() and losses[-1] < losses[0]
    print(f"fastbptt ({info()['active']}): B {BATCH}, T {STEPS}, N {UNITS}, noise {NOISE}")
    for count, found in times.items():
        print(
            f"{count} thread{'s' * (count > 1)}: {statistics.median(found):.1f} ms an iteration, "
            f"the fastest {min(found):.1f}, of {len(found)}"
        )


if __name__ == "__main__":
    main()
