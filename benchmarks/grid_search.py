"""Speed-up of GridSearchCV with n_jobs=2 over n_jobs=1, in threads.

Four settings of equal cost, five folds, the refit included. Every call of fastbptt gets one thread
(``--threads``), so that n_jobs alone decides how many cores work. Both ways take turns, and each
pair gives a ratio; the result is the median of the ratios. Run it on an otherwise idle machine:

    python benchmarks/grid_search.py
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import warnings
from typing import Any

import joblib
import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV

import fastbptt
from fastbptt.sklearn import RecurrentClassifier


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeat", type=int, default=5, help="pairs of searches (default 5)")
    parser.add_argument("--jobs", type=int, default=2, help="n_jobs to compare with 1 (default 2)")
    parser.add_argument("--threads", type=int, default=1, help="threads of one call (default 1)")
    parser.add_argument("--sequences", type=int, default=200)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--backend", choices=("threading", "loky"), default="threading")
    parser.add_argument("--json", action="store_true", help="print numbers as JSON")
    options = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)  # epochs are fixed on purpose
    fastbptt.set_num_threads(options.threads)
    pairs = [(search(options, 1), search(options, options.jobs)) for _ in range(options.repeat)]
    found = {
        "seconds_one_job": [one["seconds"] for one, _ in pairs],
        "seconds_jobs": [many["seconds"] for _, many in pairs],
        "ratios": [one["seconds"] / many["seconds"] for one, many in pairs],
        "cores_one_job": statistics.median(one["cores"] for one, _ in pairs),
        "cores_jobs": statistics.median(many["cores"] for _, many in pairs),
    }
    found["ratio"] = statistics.median(found["ratios"])
    if options.json:
        print(json.dumps({**vars(options), **found}))
        return
    for (one, many), ratio in zip(pairs, found["ratios"], strict=True):
        print(
            f"n_jobs=1 {one['seconds']:6.2f} s ({one['cores']:.2f} cores)   "
            f"n_jobs={options.jobs} {many['seconds']:6.2f} s ({many['cores']:.2f} cores)   "
            f"{ratio:.2f} times as fast"
        )
    print(f"median: n_jobs={options.jobs} is {found['ratio']:.2f} times as fast")


def search(options: argparse.Namespace, jobs: int) -> dict[str, float]:
    """Time one search; cores: processor time of this process over time on the clock."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(options.sequences, options.steps, 8)).astype(np.float32)
    y = (X[:, :, 0].sum(axis=1) > 0).astype(int)
    model = RecurrentClassifier(
        hidden_layer_sizes=options.hidden,
        batch_size=options.batch,
        max_iter=options.epochs,
        n_iter_no_change=np.inf,
        random_state=0,
    )
    grid: dict[str, list[Any]] = {"learning_rate_init": [0.001, 0.01], "alpha": [0.0, 0.1]}
    found = GridSearchCV(model, grid, cv=5, n_jobs=jobs)
    with joblib.parallel_config(backend=options.backend):
        start, processor = time.perf_counter(), time.process_time()
        found.fit(X, y)
        seconds = time.perf_counter() - start
    return {"seconds": seconds, "cores": (time.process_time() - processor) / seconds}


if __name__ == "__main__":
    main()
