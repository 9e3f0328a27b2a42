"""Speed-up and overhead of the engines of examples/sweeps, for docs/sweeps.md.

    python benchmarks/sweeps.py              # everything; writes docs/sweeps.json and the table
    python benchmarks/sweeps.py --only ray   # one entry, the others as recorded
    python benchmarks/sweeps.py --from-record

Two workers with one thread each, on an otherwise idle machine. A loop over the same trials is timed
beside every engine, in alternating rounds. A test compares the page with the record.
"""

from __future__ import annotations

import argparse
import datetime
import json
import pickle
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fastbptt
from fastbptt.config import info

ROOT = Path(__file__).resolve().parent.parent
RECORD, PAGE = ROOT / "docs" / "sweeps.json", ROOT / "docs" / "sweeps.md"
sys.path.insert(0, str(ROOT / "examples" / "sweeps"))

import trials  # noqa: E402  a module of that folder

WORKERS, ROUNDS, TRIALS = 2, 3, 40
MANY = 10_000  # trials whose overhead is measured
TITLES = {
    "loky": "joblib, processes",
    "threading": "joblib, threads",
    "optuna": "Optuna, threads",
    "dask": "Dask",
    "dask joblib": "Dask through joblib",
    "ray": "Ray",
    "ray joblib": "Ray through joblib",
}
Sweep = Callable[[list[trials.Setting], str], object]


@contextmanager
def engine(name: str) -> Iterator[Sweep]:
    """Start an engine with two workers; yields what runs a sweep."""
    if name in ("loky", "threading"):
        import with_joblib

        yield lambda every, folder: with_joblib.sweep(every, folder, WORKERS, name)
    elif name == "optuna":
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)

        def optimize(every: list[trials.Setting], folder: str) -> None:
            study = optuna.create_study(sampler=optuna.samplers.RandomSampler())
            study.optimize(
                lambda one: trials.run(every[one.number], folder)["loss"],
                n_trials=len(every),
                n_jobs=WORKERS,
            )

        yield optimize
    elif name.startswith("dask"):
        import with_dask

        way = "joblib" if "joblib" in name else "submit"
        with with_dask.connect(None, WORKERS) as client:
            yield lambda every, folder: with_dask.sweep(client, every, folder, way, 2)
            client.cluster.close()
    else:
        import ray
        import with_ray

        way = "joblib" if "joblib" in name else "remote"
        with_ray.connect(None, WORKERS)
        yield lambda every, folder: with_ray.sweep(every, folder, way, 2)
        ray.shutdown()


def timed(sweep: Sweep, every: list[trials.Setting]) -> float:
    """Return the seconds of a sweep into an empty folder."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        sweep(every, folder)
        seconds = time.perf_counter() - start
        assert len(trials.table(every, folder)) == len(every)
    return seconds


def measured(name: str) -> dict[str, float]:
    """Time an engine beside a loop, both with warm workers, and the start of its workers."""
    fastbptt.set_num_threads(1)
    every = trials.settings()[-TRIALS:]
    short = [{**one, "epochs": 1} for one in every[:4]]
    start = time.perf_counter()
    with engine(name) as sweep:
        timed(sweep, short)
        start = time.perf_counter() - start
        pairs = [(timed(trials.run_all, every), timed(sweep, every)) for _ in range(ROUNDS)]
    return {
        "start": start,
        "loop": statistics.median(loop for loop, _ in pairs),
        "sweep": statistics.median(seconds for _, seconds in pairs),
        "speed_up": statistics.median(loop / seconds for loop, seconds in pairs),
    }


def overhead() -> dict[str, float]:
    """Return the microseconds of a trial without its training, of so many: all else it costs."""
    every = [{**trials.settings()[0], "seed": seed} for seed in range(MANY)]
    true, trials.train = trials.train, lambda setting: {"loss": 0.0, "epoch": 1}
    try:
        found = {"loop": timed(trials.run_all, every)}
        with engine("threading") as sweep:
            found["threads"] = timed(sweep, every)
        with tempfile.TemporaryDirectory() as folder:
            trials.run_all(every, folder)
            start = time.perf_counter()
            trials.run_all(every, folder)
            found["skipped"] = time.perf_counter() - start
    finally:
        trials.train = true
    return {name: 1e6 * seconds / MANY for name, seconds in found.items()}


def pickled() -> dict[str, dict[str, float]]:
    """Return the milliseconds of a round trip through pickle, and the bytes, by hidden units."""
    found = {}
    for hidden in (5, 128):
        model = fastbptt.GRU(3, hidden, 2, seed=0, dtype="float64")
        times = []
        for _ in range(50):
            start = time.perf_counter()
            data = pickle.dumps(model)
            pickle.loads(data)
            times.append(1e3 * (time.perf_counter() - start))
        found[str(hidden)] = {"milliseconds": statistics.median(times), "bytes": len(data)}
    return found


def table(found: dict[str, Any]) -> str:
    """Write the tables of the page."""
    lines = [
        "| engine | start | loop | two workers | speed-up |",
        "|:--|--:|--:|--:|--:|",
    ]
    for name, title in TITLES.items():
        one = found[name]
        lines.append(
            f"| {title} | {one['start']:.1f} s | {one['loop']:.2f} s | {one['sweep']:.2f} s "
            f"| {one['speed_up']:.2f} |"
        )
    costs, sizes = found["overhead"], found["pickle"]
    lines += [
        "",
        "| besides the training | |",
        "|:--|--:|",
        f"| a trial in a loop, with its file, of {MANY:,} | {costs['loop']:.0f} µs |",
        f"| a trial in two threads of joblib, of {MANY:,} | {costs['threads']:.0f} µs |",
        f"| a trial that is done already | {costs['skipped']:.0f} µs |",
    ]
    for hidden, one in sizes.items():
        lines.append(
            f"| a GRU of {hidden} units through pickle, {one['bytes'] / 1000:.0f} kB "
            f"| {one['milliseconds']:.2f} ms |"
        )
    where = found["machine"]
    lines += [
        "",
        f"Measured on {where['processor']} ({where['instruction_set']}, {where['date']}):\n"
        f"{TRIALS} trials, GRUs of one to five units, 30 sessions of 100 steps, up to 100 epochs.",
    ]
    return "\n".join(lines)


def page(found: dict[str, Any]) -> str:
    """Return the page with the tables of a record."""
    pattern = r"(<!-- engines -->\n\n).*?\n*(<!-- end of engines -->)"
    text = PAGE.read_text("utf-8")
    return re.sub(pattern, lambda at: f"{at[1]}{table(found)}\n\n{at[2]}", text, flags=re.DOTALL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=(*TITLES, "overhead"), help="one entry")
    parser.add_argument("--from-record", action="store_true", help="write the page again")
    options = parser.parse_args()
    found = json.loads(RECORD.read_text("utf-8")) if RECORD.exists() else {}
    if not options.from_record:
        for name in (options.only,) if options.only else (*TITLES, "overhead"):
            made: Any = measured(name) if name != "overhead" else overhead()
            found[name] = {key: float(f"{value:.4g}") for key, value in made.items()}
            print(name, found[name])
        if options.only in (None, "overhead"):
            found["pickle"] = pickled()
        machine = info()
        found["machine"] = {"processor": machine["processor"], "instruction_set": machine["active"]}
        found["machine"]["date"] = datetime.date.today().isoformat()
        RECORD.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    if all(name in found for name in (*TITLES, "overhead", "pickle")):
        PAGE.write_text(page(found), "utf-8")


if __name__ == "__main__":
    main()
