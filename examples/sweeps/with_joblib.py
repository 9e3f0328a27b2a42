"""A sweep with joblib, in processes or in threads of one machine.

    python examples/sweeps/with_joblib.py                      # processes
    python examples/sweeps/with_joblib.py --backend threading  # threads, which share the data
    python examples/sweeps/with_joblib.py --quick

Started again after an interruption, it goes on where it was.
"""

from __future__ import annotations

import argparse
import sys

import joblib
import trials

import fastbptt


def sweep(every: list[trials.Setting], folder: str, workers: int, backend: str) -> None:
    """Run all trials that are left."""
    if backend == "threading":  # joblib limits worker processes itself
        fastbptt.set_num_threads(max(1, fastbptt.get_num_threads() // workers))
    tasks = trials.parts(every, folder, 1)  # joblib makes batches of short tasks
    parallel = joblib.Parallel(n_jobs=workers, backend=backend)
    parallel(joblib.delayed(trials.run_all)(one, folder) for one in tasks)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", choices=("loky", "threading"), default="loky")
    options = trials.arguments(parser, argv)
    every = trials.settings(options.quick)
    sweep(every, options.results, options.workers, options.backend)
    return trials.report(every, options.results)


if __name__ == "__main__":
    sys.exit(main())
