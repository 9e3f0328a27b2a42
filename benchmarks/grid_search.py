"""Speed-up of GridSearchCV on two cores by the ways of joblib: threads, processes, "fastbptt".

Four settings of equal cost, five folds, the refit included. With threads and processes every call
of fastbptt gets one thread (``--threads``), so that n_jobs alone decides how many cores work; so
has the search with n_jobs=1 to which they are compared. With "fastbptt" it has two where it trains
or predicts with one network alone. All ways take turns, and each turn gives
ratios; the results are their medians. The first search in processes is timed apart: it starts them.
Run it on an otherwise idle machine:

    python benchmarks/grid_search.py
    python benchmarks/grid_search.py --hidden 5 --epochs 20     # small networks
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

BACKENDS = ("threading", "loky", "fastbptt")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeat", type=int, default=5, help="turns (default 5)")
    parser.add_argument("--jobs", type=int, default=2, help="n_jobs to compare with 1 (default 2)")
    parser.add_argument("--threads", type=int, default=1, help="threads of one call (default 1)")
    parser.add_argument("--sequences", type=int, default=200)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--backends", nargs="+", choices=BACKENDS, default=BACKENDS)
    parser.add_argument("--json", action="store_true", help="print numbers as JSON")
    options = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)  # epochs are fixed on purpose
    first = {name: search(options, options.jobs, name) for name in options.backends}
    alone, several = [], {name: [] for name in options.backends}
    for _ in range(options.repeat):
        alone.append(search(options, 1, "sequential"))
        for name in options.backends:
            several[name].append(search(options, options.jobs, name))
    found: dict[str, Any] = {"seconds_one_job": statistics.median(alone)}
    for name, times in several.items():
        ratios = [one / many for one, many in zip(alone, times, strict=True)]
        found[name] = {
            "first": first[name],
            "seconds": statistics.median(times),
            "ratio": statistics.median(ratios),
        }
    if options.json:
        print(json.dumps({**vars(options), **found}))
        return
    print(f"n_jobs=1: {found['seconds_one_job']:.2f} s")
    for name in options.backends:
        one = found[name]
        print(
            f"{name:<10} n_jobs={options.jobs}: {one['seconds']:.2f} s, {one['ratio']:.2f} times "
            f"as fast; the first search {one['first']:.2f} s"
        )


def search(options: argparse.Namespace, jobs: int, backend: str) -> float:
    """Return the seconds of one search."""
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
    fastbptt.set_num_threads(jobs if backend == "fastbptt" else options.threads)
    with joblib.parallel_config(backend=backend):
        start = time.perf_counter()
        found.fit(X, y)
        return time.perf_counter() - start


if __name__ == "__main__":
    main()
