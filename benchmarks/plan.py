"""A plan past these machines: many models, and one network on many ranks, for docs/scaling.md.

    python benchmarks/plan.py [--mpiexec PROGRAM]  # measures; writes docs/plan.json and the page
    python benchmarks/plan.py --from-record        # writes the page again

What it measures: steps of small networks on one core, the start of a process and of `fit`, two
processes at once, and (with mpi4py) sums and updates on two ranks by benchmarks/ranks.py. The rest
is arithmetic, which a simulation of single models and updates, with seeds, is held against.
"""

from __future__ import annotations

import argparse
import datetime
import functools
import heapq
import json
import math
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import fastbptt
from fastbptt.bench import PRESETS
from fastbptt.config import info

HERE = Path(__file__).resolve().parent
RECORD, PAGE = (HERE.parent / "docs" / name for name in ("plan.json", "scaling.md"))
CONSTANTS = json.loads((HERE.parent / "docs" / "scaling.json").read_text("utf-8"))["constants"]

UNITS = (1, 2, 5, 10, 20)
BATCH, TIME, INPUTS, OUTPUTS = 100, 150, 3, 2  # of a cognitive model
UPDATES = 1000  # of a model
MODELS = 1_000_000
CORES = (1, 2, 16, 128, 1000, 10_000)
RANKS = (1, 2, 4, 8, 16, 32, 64)
SHAPES = ("small", "neuro", "medium", "large")
SPREAD = 0.5  # a model's time lies this far to both sides of the mean, where it stops early
JITTER = 0.02  # standard deviation of the time of an update, relative
# Assumptions, which the page states
PRICE = 0.04  # dollars for an hour of a core
NETWORKS = {  # seconds of a message, bytes per second
    "cloud, 1.25 GB/s": (25e-6, 1.25e9),
    "cluster, 12.5 GB/s": (2e-6, 12.5e9),
}

# ------------------------------------------------------------------ the model


def model_seconds(record: dict[str, Any], units: int, cores: int = 1) -> float:
    """Return the seconds of a model on one of so many busy cores."""
    busy = record["both"] if cores > 1 else 1.0
    return busy * (record["fit"] + UPDATES * record["steps"][str(units)])


@functools.cache
def longest_left(cores: int) -> tuple[float, float]:
    """Return what is left of a model at any moment: its mean, and the longest on so many cores.

    In units of the mean time of a model; times are uniform from 1 - SPREAD to 1 + SPREAD.
    """
    low, high = 1 - SPREAD, 1 + SPREAD
    at = np.linspace(0.0, high, 20_001)
    density = np.clip((high - at) / (high - low), 0.0, 1.0)  # the share of models that last longer
    below = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2 * np.diff(at))])
    mean = float(np.sum(at * density) / np.sum(density))
    longest = float(np.sum(1.0 - np.clip(below, 0.0, 1.0) ** cores) * (at[1] - at[0]))
    return mean, longest


def sweep_seconds(record: dict[str, Any], units: int, cores: int, models: int) -> float:
    """Return the seconds of a sweep: start, all models, and waiting for the last ones."""
    each = model_seconds(record, units, cores)
    cores = min(cores, models)
    mean, longest = longest_left(cores)
    return float(record["start"] + each * max(models / cores - mean + longest, 1.0))


def sums_seconds(record: dict[str, Any], way: str, ranks: int, count: int) -> float:
    """Return the seconds of the sums over ranks, each with a gradient of so many float32."""
    if ranks == 1:
        return 0.0
    if way in NETWORKS:  # two rounds of a message to each other rank
        message, speed = NETWORKS[way]
        return 2 * (ranks - 1) * (message + 4.0 * count / ranks / speed)
    known = record["ranks"]["sums"][way]
    return float(np.interp(count, [int(one) for one in known], list(known.values())))


@functools.cache
def parameters(shape: str) -> int:
    case = PRESETS[shape]
    return int(fastbptt.RNN(case.input, case.hidden, case.output).num_parameters)


def part_seconds(record: dict[str, Any], shape: str, ranks: int) -> float:
    """Return the seconds of a rank's part of a batch."""
    return step_seconds(shape, math.ceil(PRESETS[shape].batch / ranks)) + float(record["rank"])


@functools.cache  # it makes a model
def step_seconds(shape: str, rows: int) -> float:
    """Return the seconds of a step by one thread, by the model of scaling.py."""
    case = PRESETS[shape].with_(batch=rows)
    return float(scaling_model().predicted(case, CONSTANTS, 1))


def scaling_model() -> Any:
    """Import the script beside this one."""
    if str(HERE) not in sys.path:
        sys.path.insert(0, str(HERE))
    import scaling

    return scaling


def update_seconds(record: dict[str, Any], shape: str, way: str, ranks: int) -> float:
    """Return the seconds of an update by ranks that divide a batch; all wait for the slowest."""
    late = 1.0 + JITTER * expected_maximum(ranks)
    own = part_seconds(record, shape, ranks) * late
    return own + sums_seconds(record, way, ranks, parameters(shape))


@functools.cache
def expected_maximum(count: int) -> float:
    """Return the mean of the largest of so many standard normal numbers."""
    if count == 1:
        return 0.0
    at, below = normal_distribution()
    return float(np.sum(np.diff(below**count) * (at[1:] + at[:-1]) / 2))


@functools.cache
def normal_distribution() -> tuple[np.ndarray, np.ndarray]:
    """Return places, and the share of normal numbers below each."""
    at = np.linspace(-8.0, 8.0, 4001)
    return at, np.array([0.5 * math.erfc(-one / math.sqrt(2.0)) for one in at])


def best_ranks(record: dict[str, Any], shape: str, way: str) -> int:
    """Return the most ranks that are used for more than half: beyond, a rank costs more."""
    one = update_seconds(record, shape, way, 1)
    able = [
        ranks
        for ranks in range(1, PRESETS[shape].batch + 1)
        if one / update_seconds(record, shape, way, ranks) >= ranks / 2
    ]
    return max(able)


# ------------------------------------------------------------- the simulation


def simulated_sweep(
    record: dict[str, Any], units: int, cores: int, models: int, seed: int = 0
) -> float:
    """Give each core that is free the next model, until all are done; return the seconds."""
    rng = np.random.default_rng(seed)
    each = model_seconds(record, units, cores)
    free = [float(record["start"])] * cores
    end = 0.0
    for seconds in each * rng.uniform(1 - SPREAD, 1 + SPREAD, models):
        done = heapq.heappop(free) + float(seconds)
        heapq.heappush(free, done)
        end = max(end, done)
    return end


def simulated_update(
    record: dict[str, Any], shape: str, way: str, ranks: int, updates: int = 2000, seed: int = 0
) -> float:
    """Let each rank compute its part, each time with another delay, and wait; per update."""
    rng = np.random.default_rng(seed)
    own, sums = (
        part_seconds(record, shape, ranks),
        sums_seconds(record, way, ranks, parameters(shape)),
    )
    clock = np.zeros(ranks)
    for _ in range(updates):
        clock += own * (1.0 + JITTER * rng.normal(size=ranks))
        clock[:] = clock.max() + sums
    return float(clock[0] / updates)


# --------------------------------------------------------------- measurement


def cognitive(units: int) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(BATCH, TIME, INPUTS))
    y = rng.integers(0, OUTPUTS, (BATCH, TIME))
    return fastbptt.GRU(INPUTS, units, OUTPUTS, seed=0, dtype="float64"), x, y


def measured_step(units: int, seconds: float = 0.6) -> float:
    """Return the median seconds of an update with AdamW and L1, on one thread."""
    model, x, y = cognitive(units)
    adam = fastbptt.AdamW(1e-4)
    how: dict[str, Any] = {"loss": "cross_entropy", "steps": "all", "l1": {"W_hh": 1e-4}}
    model.train_step(x, y, adam, **how)
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        model.train_step(x, y, adam, **how)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def measured_fit() -> float:
    """Return what a model costs beside its updates: its data, checks and history."""
    step, times = measured_step(1, 0.3), []
    for _ in range(30):
        start = time.perf_counter()
        model, x, y = cognitive(1)
        fastbptt.fit(
            model, x, y, loss="cross_entropy", steps="all", l1={"W_hh": 1e-4}, epochs=10,
            batch_size=BATCH, optimizer=fastbptt.AdamW(1e-4), verbose=0,
        )  # fmt: skip
        times.append(time.perf_counter() - start - 10 * step)
    return max(statistics.median(times), 0.0)


def measured_start() -> float:
    """Return the seconds until a new process has imported the package."""
    times = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import fastbptt; fastbptt.GRU"], check=True)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def measured_both(units: int = 5) -> float:
    """Return how much longer a step takes where two processes do the same."""
    command = [sys.executable, __file__, "--step", str(units)]
    found = []
    for count in (1, 2):
        running = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(count)]
        found.append(max(float(one.communicate()[0]) for one in running))
    return max(found[1] / found[0], 1.0)


def measured_ranks(mpiexec: str) -> Any:
    command = [mpiexec, "-n", "2", sys.executable, str(HERE / "ranks.py")]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def measured(mpiexec: str) -> dict[str, Any]:
    fastbptt.set_num_threads(1)
    found = {
        "steps": {str(units): measured_step(units) for units in UNITS},
        "fit": measured_fit(),
        "start": measured_start(),
        "both": measured_both(),
        "ranks": measured_ranks(mpiexec),
    }
    # what a step as a rank costs in Python, beyond that of one process
    small = found["ranks"]["updates"]["small"]
    sums = sums_seconds(found, "shared", 2, parameters("small"))
    found["rank"] = max(small["ranks"] - small["alone"] - sums, 0.0)
    machine = info()
    found["machine"] = {
        "processor": machine["processor"],
        "instruction_set": machine["active"],
        "date": datetime.date.today().isoformat(),
    }
    return scaling_model().rounded(found)


# ---------------------------------------------------------------- the page


def shown(seconds: float) -> str:
    """Return a time in the unit that suits it."""
    for least, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"), (1e-3, "ms")):
        if seconds >= least:
            return f"{seconds / least:.3g} {unit}"
    return f"{1e6 * seconds:.3g} µs"


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def of_many(count: int, name: str) -> str:
    return f"{count:,} {name}{'s' * (count > 1)}"


def constants_lines(record: dict[str, Any]) -> list[str]:
    sums = record["ranks"]["sums"]
    lines = ["| constant | measured |", "|:--|--:|"]
    lines += [
        f"| an update, {of_many(units, 'unit')} | {shown(record['steps'][str(units)])} |"
        for units in UNITS
    ]
    lines += [
        f"| a model besides: its data, checks, history | {shown(record['fit'])} |",
        f"| start of a process | {shown(record['start'])} |",
        f"| an update where both cores are busy | {record['both']:.2f} times |",
        f"| an update as a rank, besides | {shown(record['rank'])} |",
    ]
    for way, name in (("shared", "in shared memory"), ("messages", "by messages")):
        for count in ("1", str(parameters("neuro")), "1000000"):
            lines.append(
                f"| sums of two ranks {name}, {of_many(int(count), 'number')} "
                f"| {shown(sums[way][count])} |"
            )
    machine = record["machine"]
    about = f"Measured on {machine['processor']} ({machine['instruction_set']}, {machine['date']})."
    return [*lines, "", about]


def rates_lines(record: dict[str, Any]) -> list[str]:
    lines = [
        "| units | " + " | ".join(f"{of_many(cores, 'core')}" for cores in CORES) + " |",
        "|--:|" + "--:|" * len(CORES),
    ]
    for units in UNITS:
        cells = []
        for cores in CORES:
            models = max(MODELS, 100 * cores)
            cells.append(number(models / sweep_seconds(record, units, cores, models)))
        lines.append(f"| {units} | " + " | ".join(cells) + " |")
    return lines


def sweep_lines(record: dict[str, Any]) -> list[str]:
    lines = [
        f"| units | core hours | cost in US dollars, at {PRICE} "
        "| 128 cores | 1,000 cores | 10,000 cores |",
        "|--:|" + "--:|" * 5,
    ]
    for units in UNITS:
        hours = MODELS * model_seconds(record, units, 2) / 3600
        cells = [shown(sweep_seconds(record, units, cores, MODELS)) for cores in CORES[-3:]]
        lines.append(
            f"| {units} | {number(hours)} | {number(PRICE * hours)} | " + " | ".join(cells) + " |"
        )
    return lines


def ranks_lines(record: dict[str, Any]) -> list[str]:
    lines = [
        "| shape | between ranks | " + " | ".join(str(ranks) for ranks in RANKS[1:]) + " | limit |",
        "|:--|:--|" + "--:|" * len(RANKS),
    ]
    for shape in SHAPES:
        for way in NETWORKS:
            one = update_seconds(record, shape, way, 1)
            cells = [
                f"{one / update_seconds(record, shape, way, ranks):.2f}" for ranks in RANKS[1:]
            ]
            lines.append(
                f"| {shape} | {way} | " + " | ".join(cells)
                + f" | {best_ranks(record, shape, way)} |"
            )  # fmt: skip
    return lines


def check_lines(record: dict[str, Any]) -> list[str]:
    lines = ["| | model | measured or simulated |", "|:--|--:|--:|"]
    updates = record["ranks"]["updates"]
    for shape, found in updates.items():
        sums = sums_seconds(record, "shared", 2, parameters(shape))
        late = 1.0 + JITTER * expected_maximum(2)
        model = found["alone"] * late + record["rank"] + sums
        lines.append(
            f"| update on two ranks, {shape}: measured | {shown(model)} | {shown(found['ranks'])} |"
        )
    for units, cores, models in ((1, 2, 100), (5, 128, 1000), (20, 1000, 1500)):
        model = sweep_seconds(record, units, cores, models)
        real = simulated_sweep(record, units, cores, models)
        lines.append(
            f"| {models:,} models of {of_many(units, 'unit')} on {cores:,} cores: simulated "
            f"| {shown(model)} | {shown(real)} |"
        )
    for shape, ranks in (("neuro", 8), ("large", 64)):
        way = next(iter(NETWORKS))
        model, real = (of(record, shape, way, ranks) for of in (update_seconds, simulated_update))
        lines.append(
            f"| update on {ranks} ranks, {shape}, {way}: simulated | {shown(model)} "
            f"| {shown(real)} |"
        )
    return lines


def page(record: dict[str, Any], text: str) -> str:
    """Write the tables between their comments."""
    for name, lines in (
        ("plan constants", constants_lines(record)),
        ("plan rates", rates_lines(record)),
        ("plan sweep", sweep_lines(record)),
        ("plan ranks", ranks_lines(record)),
        ("plan check", check_lines(record)),
    ):
        pattern = rf"(<!-- {name} -->\n).*?(\n<!-- end of {name} -->)"
        body = "\n" + "\n".join(lines) + "\n"
        text, count = re.subn(
            pattern, lambda found, body=body: found[1] + body + found[2], text, flags=re.DOTALL
        )
        if count != 1:
            raise ValueError(f"{PAGE} has no comments <!-- {name} -->")
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--from-record", action="store_true", help="measure nothing")
    parser.add_argument("--mpiexec", default=str(Path(sys.executable).parent / "mpiexec"))
    parser.add_argument("--step", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.step is not None:
        fastbptt.set_num_threads(1)
        print(measured_step(given.step, 1.5))
        return
    if not given.from_record:
        record = measured(given.mpiexec)
        RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    record = json.loads(RECORD.read_text("utf-8"))
    PAGE.write_text(page(record, PAGE.read_text("utf-8")), encoding="utf-8")
    print(*check_lines(record), sep="\n")


if __name__ == "__main__":
    main()
