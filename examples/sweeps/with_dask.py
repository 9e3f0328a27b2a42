"""A sweep with Dask: two workers of this machine, or those of a cluster.

    python examples/sweeps/with_dask.py                             # workers of its own
    python examples/sweeps/with_dask.py --scheduler tcp://host:8786  # of a cluster that runs
    python examples/sweeps/with_dask.py --way joblib                # through joblib's backend
    python examples/sweeps/with_dask.py --quick

The folder of results must be one that all workers see.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import joblib
import trials
from distributed import Client, LocalCluster, as_completed


def connect(scheduler: str | None, workers: int) -> Client:
    """Connect to a cluster, or start one of processes here, with one thread each.

    Dask starts its workers with OMP_NUM_THREADS=1, which fastbptt honours.
    """
    if scheduler is not None:
        return Client(scheduler)
    cluster = LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None)
    return Client(cluster)


def sweep(client: Client, every: list[trials.Setting], folder: str, way: str, size: int) -> None:
    """Run all trials that are left; size: of the parts that go to a worker at a time."""
    tasks = trials.parts(every, folder, size)
    if way == "joblib":
        with joblib.parallel_config(backend="dask"):
            joblib.Parallel()(joblib.delayed(trials.run_all)(one, folder) for one in tasks)
        return
    # pure=False: what counts are the files, and a task with the same name may have lost some
    futures = client.map(trials.run_all, tasks, folder=folder, pure=False)
    for future in as_completed(futures):
        future.result()


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scheduler", help="address of a scheduler (default: workers here)")
    parser.add_argument("--way", choices=("submit", "joblib"), default="submit")
    parser.add_argument("--size", type=int, default=10, help="trials of a task (default 10)")
    options = trials.arguments(parser, argv)
    every = trials.settings(options.quick)
    folder = str(Path(options.results).resolve())  # workers may run elsewhere
    with connect(options.scheduler, options.workers) as client:
        if options.scheduler is not None:
            client.upload_file(trials.__file__)  # to machines that do not have it
        sweep(client, every, folder, options.way, 2 if options.quick else options.size)
        if options.scheduler is None:
            client.cluster.close()
    return trials.report(every, options.results)


if __name__ == "__main__":
    sys.exit(main())
