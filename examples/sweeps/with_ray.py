"""A sweep with Ray: this machine, or a cluster.

    python examples/sweeps/with_ray.py                  # starts Ray here
    python examples/sweeps/with_ray.py --address auto   # on a node of a cluster that runs
    python examples/sweeps/with_ray.py --way joblib     # through joblib's backend
    python examples/sweeps/with_ray.py --quick

The folder of results must be one that all nodes see.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import joblib
import ray
import trials
from ray.util.joblib import register_ray


def connect(address: str | None, workers: int) -> None:
    """Connect to a cluster, or start Ray here with as many processors as workers.

    Ray sets OMP_NUM_THREADS to the processors of a task, one by default; fastbptt honours it.
    """
    options: dict[str, Any] = {"address": address}
    if address is None:
        options = {"num_cpus": workers, "include_dashboard": False}
    here = str(Path(__file__).parent)  # where trials.py is
    ray.init(log_to_driver=False, runtime_env={"working_dir": here}, **options)


def sweep(every: list[trials.Setting], folder: str, way: str, size: int) -> None:
    """Run all trials that are left; size: of the parts that go to a worker at a time."""
    tasks = trials.parts(every, folder, size)
    if way == "joblib":
        register_ray()
        with joblib.parallel_config(backend="ray", n_jobs=-1):
            joblib.Parallel()(joblib.delayed(trials.run_all)(one, folder) for one in tasks)
        return
    remote = ray.remote(trials.run_all)
    ray.get([remote.remote(one, folder) for one in tasks])


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--address", help='of a cluster, or "auto" (default: starts Ray here)')
    parser.add_argument("--way", choices=("remote", "joblib"), default="remote")
    parser.add_argument("--size", type=int, default=10, help="trials of a task (default 10)")
    options = trials.arguments(parser, argv)
    every = trials.settings(options.quick)
    connect(options.address, options.workers)
    try:
        folder = str(Path(options.results).resolve())
        sweep(every, folder, options.way, 2 if options.quick else options.size)
    finally:
        ray.shutdown()
    return trials.report(every, options.results)


if __name__ == "__main__":
    sys.exit(main())
