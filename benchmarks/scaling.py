"""Model of a training step on many cores, with constants measured here, for docs/scaling.md.

    python benchmarks/scaling.py [--rounds N]   # measures; writes docs/scaling.json and the page
    python benchmarks/scaling.py --from-record  # writes the page and its figure again

The model is of one layer of tanh units in float32 and a batch of sequences of one length. Its
constants come from small shapes on one thread and from the team's barrier; `predicted` never sees
the time of what it predicts. A test compares the page with the record.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import fastbptt
from fastbptt import _core
from fastbptt.bench import PRESETS, Case, Problem
from fastbptt.config import info

ROOT = Path(__file__).resolve().parent.parent
RECORD, PAGE, FIGURE = (ROOT / "docs" / f"scaling.{end}" for end in ("json", "md", "png"))
SHAPES = ("small", "neuro", "medium", "large", "stream")
CORES = (1, 2, 4, 8, 16, 32, 64, 128)
ROWS = (1, 2, 3, 4, 5, 6, 8, 12, 24)  # of a worker, for which the rate is fitted
MANY = (24, 32, 64)  # which have one rate
UNITS = (32, 96, 192)  # .. of layers with so many units
INPUTS = 16
BLOCK_ROWS = 512  # of a block of time: cpp/engine/buffers.h
LEAST_WORK = 4e6  # operations for each thread: cpp/engine.cpp
# units of a panel by instruction set: cpp/isa
PANELS = {"portable": 8, "avx2": 16, "avx512": 64, "avx512bf16": 64, "neon": 16}
SOCKET = 200e9  # bytes per second of all cores; an assumption: eight channels of DDR4-3200

Constants = dict[str, Any]
Step = Callable[[], object]


# ----------------------------------------------------------------- the model


def workers(case: Case, cores: int) -> int:
    """Return the size of the team: no more than rows, and enough work for each."""
    return max(1, min(cores, int(Problem(case).needed_flops / LEAST_WORK), case.batch))


def rate(constants: Constants, rows: float) -> float:
    """Return the products' rate, in operations per second, of a worker with so many rows."""
    known = constants["rate"]
    return float(np.interp(rows, [int(each) for each in known], list(known.values())))


def tasks(case: Case, width: int) -> int:
    """Return into how many parts the weight gradients are cut, without the small ones of a bias."""
    panels = math.ceil(case.hidden / width)
    return panels * (math.ceil(case.input / width) + panels)


def weights(case: Case) -> int:
    return case.hidden * (case.input + case.hidden)


def parts(case: Case, constants: Constants, cores: int, units: bool = False) -> dict[str, float]:
    """Return the seconds of each part of a training step.

    units: the units of a step are split instead of the rows, with a barrier after each step of both
    passes.
    """
    team = workers(case, cores)
    if units:
        team = min(cores, math.ceil(case.hidden / constants["panel"]))
    rows = case.batch if units else math.ceil(case.batch / team)
    share = math.ceil(math.ceil(case.hidden / constants["panel"]) / team) if units else 1
    fraction = share * constants["panel"] / case.hidden if units else 1.0
    fraction = min(fraction, 1.0)
    square = case.hidden**2
    operations = 2 * (weights(case) + square) * rows * fraction  # forward and backward
    number = tasks(case, constants["panel"])
    steps_of_block = max(1, BLOCK_ROWS // case.batch)
    blocks = math.ceil(case.time / steps_of_block)
    full = constants["rate"][str(ROWS[-1])]
    # the weight gradients read the rows of all workers; with units split, each time step does
    columns = 2 * case.hidden + (0 if units else case.input)
    moved = 4.0 * case.batch * case.time * columns
    meetings = 0 if team == 1 else 2 * blocks + 1 + (2 * case.time if units else 0)
    found = {
        "recursion": case.time
        * (
            constants["step"]
            + operations / rate(constants, rows)
            + rows * fraction * case.hidden * constants["element"]
        ),
        "weight gradients": 2.0 * weights(case) * case.batch * case.time / full
        * math.ceil(number / team) / number,
        "packing": 2 * weights(case) * constants["pack"] / team
        + case.batch * case.time * case.input * constants["copy"] / team,
        "Adam": (weights(case) + case.hidden * (1 + case.output)) * constants["adam"] / team,
        "barriers": meetings * constants["barrier"] * (team - 1),
        "exchange": moved * (team - 1) / team * constants["exchange"],
        "start of the team": 0.0 if team == 1 else 2 * constants["start"] * (team - 1),
        "call": constants["call"],
    }  # fmt: skip
    # states and inputs of all steps go through memory if they do not fit the last cache
    bytes_moved = 4.0 * case.batch * case.time * (3 * case.hidden + 2 * case.input)
    if bytes_moved > constants["last_cache"]:
        one = constants["bandwidth"]
        least = bytes_moved / min(one * team, SOCKET)
        busy = found["recursion"] + found["weight gradients"]
        found["memory"] = max(0.0, least - busy)
    return found


def predicted(case: Case, constants: Constants, cores: int, units: bool = False) -> float:
    """Return the seconds of a training step."""
    return sum(parts(case, constants, cores, units).values())


# --------------------------------------------------------------- measurement


def best(steps: dict[Any, tuple[int, Step]], rounds: int, least: float = 0.006) -> dict[Any, float]:
    """Return the seconds of the best round of each step, with so many threads, in turns."""
    calls = {}
    for name, (threads, step) in steps.items():
        fastbptt.set_num_threads(threads)
        step()
        start = time.perf_counter()
        step()
        calls[name] = max(1, round(least / (time.perf_counter() - start)))
    found = dict.fromkeys(steps, math.inf)
    for _ in range(rounds):
        for name, (threads, step) in steps.items():
            fastbptt.set_num_threads(threads)
            if threads > 1:
                step()  # wakes the helpers
            start = time.perf_counter()
            for _ in range(calls[name]):
                step()
            found[name] = min(found[name], (time.perf_counter() - start) / calls[name])
    return found


def training_step(batch: int, length: int, inputs: int, hidden: int) -> Step:
    """Return a training step of a tanh RNN; its loss at the last step reaches back to the first."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(batch, length, inputs)).astype(np.float32)
    y = rng.normal(size=(batch, 1)).astype(np.float32)
    model = fastbptt.RNN(inputs, hidden, 1, seed=0)
    model.parameters["W_hh"][...] = np.linalg.qr(rng.normal(size=(hidden, hidden)))[0]
    adam = fastbptt.Adam(lr=1e-7)
    return lambda: model.train_step(x, y, adam, "mse")


def training_step_of(case: Case) -> Step:
    """Return a training step of a preset."""
    problem = Problem(case)
    model = fastbptt.RNN(case.input, case.hidden, case.output, seed=0)
    adam = fastbptt.Adam(lr=1e-7)
    return lambda: model.train_step(problem.x, problem.y, adam, case.loss, case.steps)


SHORT, LONG = 50, 200  # steps of the sequences whose times are compared
FITTED = [(rows, hidden) for rows in (*ROWS[:-1], *MANY) for hidden in UNITS]
DIVIDED = [(rows, hidden) for rows in (24, 64) for hidden in UNITS]  # with two threads
PACKED = 512  # inputs and units of the network whose packing and update are timed
WIDE = (64, 256)  # inputs of those that are copied


def steps_to_time() -> dict[Any, tuple[int, Step]]:
    """Return everything that is timed, each with its number of threads."""
    found: dict[Any, tuple[int, Step]] = {}
    for rows, hidden in FITTED:
        for length in (SHORT, LONG):
            found[rows, hidden, length] = 1, training_step(rows, length, INPUTS, hidden)
    model, adam = fastbptt.RNN(PACKED, PACKED, 1, seed=0), fastbptt.Adam(lr=1e-7)
    gradients = model.loss_and_grad(np.ones((1, 1, PACKED)), np.ones((1, 1)), "mse")[1]
    found["adam"] = 1, lambda: adam.step(model, gradients)
    found["call"] = 1, training_step(1, 1, 1, 1)
    for length in (1, 2):
        found["packed", length] = 1, training_step(2, length, PACKED, PACKED)
    for width in WIDE:
        found["wide", width] = 1, training_step(64, 64, width, 16)
    for rows, hidden in DIVIDED:
        found["divided", rows, hidden] = 2, training_step(rows, LONG, INPUTS, hidden)
    for name in SHAPES:
        step = training_step_of(PRESETS[name])
        for threads in (1, 2):
            found[name, threads] = threads, step
    return found


def rates(times: dict[Any, float]) -> Constants:
    """Fit the products' rate by rows, and the times per step and per unit.

    Seconds per time step = step + rows (units element + operations / rate(rows)), in which the
    weight gradients run at the rate of many rows.
    """
    matrix = np.zeros((len(FITTED), len(ROWS) + 2))
    target = np.empty(len(FITTED))
    for i, (rows, hidden) in enumerate(FITTED):
        longer = times[rows, hidden, LONG] - times[rows, hidden, SHORT]
        target[i] = longer / (LONG - SHORT)
        inputs = hidden * (INPUTS + hidden)
        matrix[i, ROWS.index(min(rows, ROWS[-1]))] += 2.0 * rows * (inputs + hidden**2)
        matrix[i, len(ROWS) - 1] += 2.0 * rows * inputs
        matrix[i, -2:] = 1.0, rows * hidden
    relative = matrix / target[:, np.newaxis]
    size = relative.max(axis=0)
    fitted = np.linalg.lstsq(relative / size, np.ones(len(FITTED)), rcond=None)[0] / size
    return {
        "rate": {str(rows): 1.0 / one for rows, one in zip(ROWS, fitted, strict=False)},
        "step": max(fitted[-2], 0.0),
        "element": max(fitted[-1], 0.0),
        "error_of_fit": float(np.abs(relative @ fitted - 1.0).max()),
    }


def copied() -> float:
    """Return bytes per second that one thread reads and writes, far beyond the caches."""
    one, other = np.ones(1 << 25), np.ones(1 << 25)
    seconds = best({"copy": (1, lambda: np.copyto(one, other))}, 5)["copy"]
    return 2 * one.nbytes / seconds


def exchanged(times: dict[Any, float], constants: Constants) -> float:
    """Fit the seconds that a byte takes which another core has written.

    It is what steps with two threads take longer than the other parts of the model explain.
    """
    moved, longer = [], []
    for rows, hidden in DIVIDED:
        case = PRESETS["small"].with_(batch=rows, time=LONG, input=INPUTS, hidden=hidden)
        least = predicted(case, constants | {"exchange": 0.0}, 2)
        moved.append(parts(case, constants | {"exchange": 1.0}, 2)["exchange"] / least)
        longer.append(times["divided", rows, hidden] / least - 1.0)
    return max(float(np.linalg.lstsq(np.c_[moved], np.array(longer), rcond=None)[0][0]), 0.0)


def last_cache() -> int:
    """Return the bytes of the largest cache that the system tells of."""
    caches = Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")
    sizes = [path.read_text().strip() for path in caches]
    return max([int(one[:-1]) << {"K": 10, "M": 20}[one[-1]] for one in sizes], default=1 << 25)


def met() -> tuple[float, float]:
    """Return the seconds that a team of two takes without meeting, and those of a barrier."""
    team = [math.inf, math.inf]
    for _ in range(200):
        for i, meetings in enumerate((0, 1000)):
            fastbptt.set_num_threads(2)  # a helper that was late once gets another chance
            team[i] = min(team[i], _core.team_seconds(2, meetings, 20))
    return team[0], (team[1] - team[0]) / 1000


def constants_of(times: dict[Any, float], team: tuple[float, float]) -> Constants:
    """Compute the constants of the model from what was timed."""
    found = rates(times)
    count, full = 2 * PACKED**2, found["rate"][str(ROWS[-1])]
    found["call"] = times["call"]
    found["adam"] = times["adam"] / count
    # a time step more has no packing; a network that is wider by some inputs more copies
    one = 2 * times["packed", 1] - times["packed", 2] - times["adam"]
    found["pack"] = max(one, 0.0) / (2 * count)
    rows, more = 64 * 64, WIDE[1] - WIDE[0]
    wider = times["wide", WIDE[1]] - times["wide", WIDE[0]] - 4.0 * rows * 16 * more / full
    found["copy"] = max(wider, 0.0) / (rows * more)
    found["start"], found["barrier"] = team
    found["bandwidth"] = copied()
    found["last_cache"] = last_cache()
    found["panel"] = PANELS[info()["active"]]
    found["exchange"] = exchanged(times, found)
    found["peak"] = max(_core.multiply_add_rate("float32", 100_000) for _ in range(20))
    return found


# ---------------------------------------------------------------- the page


def milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:.3g}" if seconds < 1 else f"{1e3 * seconds:.0f}"


def check_table(record: dict[str, Any]) -> list[str]:
    """Compare the model with what one and two threads take."""
    lines = [
        "| shape | one thread: model | measured | two threads: model | measured "
        "| speed-up: model | measured |",
        "|:--|" + "--:|" * 6,
    ]
    for name in SHAPES:
        model = [predicted(PRESETS[name], record["constants"], cores) for cores in (1, 2)]
        real = [record["seconds"][name][cores] for cores in ("1", "2")]
        both = zip(model, real, strict=True)
        cells = [f"{milliseconds(one)} ms" for pair in both for one in pair]
        cells += [f"{one / two:.2f}" for one, two in (model, real)]
        lines.append(f"| {name} ({PRESETS[name].shape}) | " + " | ".join(cells) + " |")
    return lines


def speed_up(case: Case, constants: Constants, cores: int, units: bool = False) -> float:
    return predicted(case, constants, 1) / predicted(case, constants, cores, units)


def cores_table(record: dict[str, Any]) -> list[str]:
    """List the predicted speed-ups, and where rows run out."""
    lines = [
        "| shape | rows | "
        + " | ".join(f"{cores}" for cores in CORES[1:])
        + " | workers, at most |",
        "|:--|--:|" + "--:|" * len(CORES),
    ]
    for name in SHAPES:
        case = PRESETS[name]
        cells = [f"{speed_up(case, record['constants'], cores):.2f}" for cores in CORES[1:]]
        most = workers(case, CORES[-1])
        lines.append(f"| {name} | {case.batch} | " + " | ".join(cells) + f" | {most} |")
    return lines


def parts_table(record: dict[str, Any]) -> list[str]:
    """List what a step of the medium shape consists of."""
    cores = (1, 2, 8, 32, 128)
    lines = ["| medium | " + " | ".join(map(str, cores)) + " |", "|:--|" + "--:|" * len(cores)]
    columns = [parts(PRESETS["medium"], record["constants"], one) for one in cores]
    for part in columns[0]:
        cells = [f"{1e3 * column[part]:.3f}" for column in columns]
        lines.append(f"| {part} | " + " | ".join(cells) + " |")
    return lines


FEW_ROWS = (
    ("stream", PRESETS["stream"]),
    ("stream, batch 4", PRESETS["stream"].with_(batch=4)),
    ("stream, 512 units", PRESETS["stream"].with_(hidden=512)),
)


def units_table(record: dict[str, Any]) -> list[str]:
    """Compare a split of rows with one of units, where rows are few."""
    cores = (2, 4, 8, 16)
    lines = [
        "| shape | split | " + " | ".join(map(str, cores)) + " |",
        "|:--|:--|" + "--:|" * len(cores),
    ]
    for name, case in FEW_ROWS:
        for split in ("rows", "units"):
            found = [speed_up(case, record["constants"], one, split == "units") for one in cores]
            lines.append(
                f"| {name} | {split} | " + " | ".join(f"{one:.2f}" for one in found) + " |"
            )
    return lines


def constants_table(record: dict[str, Any]) -> list[str]:
    """List the constants."""
    found, machine = record["constants"], record["machine"]
    rows = [str(one) for one in ROWS]
    lines = ["| constant | measured |", "|:--|--:|"]
    for one in rows:
        words = f"{one} row{'s' * (one != '1')}" + " or more" * (one == rows[-1])
        lines.append(f"| products, {words} a worker | {found['rate'][one] / 1e9:.1f} GFLOP/s |")
    lines += [
        f"| element-wise work | {1e9 * found['element']:.2f} ns per unit, row and time step |",
        f"| a time step, besides | {1e9 * found['step']:.0f} ns |",
        f"| packing | {1e9 * found['pack']:.2f} ns per weight and pass |",
        f"| inputs | {1e9 * found['copy']:.2f} ns per number |",
        f"| Adam | {1e9 * found['adam']:.2f} ns per parameter |",
        f"| barrier of two workers | {1e9 * found['barrier']:.0f} ns |",
        f"| exchange between cores | {1e9 * found['exchange']:.2f} ns per byte |",
        f"| start and end of a team of two | {1e6 * found['start']:.1f} µs |",
        f"| call | {1e6 * found['call']:.1f} µs |",
        f"| memory, one core | {found['bandwidth'] / 1e9:.0f} GB/s |",
        f"| memory, all cores (assumed) | {SOCKET / 1e9:.0f} GB/s |",
    ]
    made = f"Measured on {machine['processor']} ({machine['instruction_set']}, {machine['date']})"
    return [*lines, "", f"{made}, two cores, peak {found['peak'] / 1e9:.0f} GFLOP/s per core."]


TABLES: dict[str, Callable[[dict[str, Any]], list[str]]] = {
    "constants": constants_table,
    "check": check_table,
    "cores": cores_table,
    "parts": parts_table,
    "units": units_table,
}


def page(record: dict[str, Any], text: str) -> str:
    """Put the tables between the comments with their names."""
    for name, table in TABLES.items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)", re.DOTALL)
        if len(pattern.findall(text)) != 1:
            raise ValueError(f"{PAGE} has no comments <!-- {name} --> and <!-- end of {name} -->")
        body = "\n".join(table(record))
        text = pattern.sub(lambda match, body=body: f"{match[1]}\n{body}\n\n{match[2]}", text)
    return text


def draw(record: dict[str, Any]) -> None:
    """Draw the predicted speed-ups against the number of cores."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    from fastbptt.plot import style

    constants = record["constants"]
    cores = np.unique(np.round(np.geomspace(1, CORES[-1], 60)).astype(int))
    with style():
        drawn, ax = plt.subplots(figsize=(7.0, 4.2), layout="constrained")
        ax.plot(cores, cores, color="0.8", label="as many times as there are cores")
        for name in SHAPES:
            case = PRESETS[name]
            ax.plot(cores, [speed_up(case, constants, int(one)) for one in cores], label=name)
            real = record["seconds"][name]
            ax.plot([2], [real["1"] / real["2"]], "o", color=ax.lines[-1].get_color())
        case = PRESETS["stream"]
        some = cores[cores <= 16]
        times = [speed_up(case, constants, int(one), units=one > 1) for one in some]
        ax.plot(some, times, "--", color=ax.lines[-1].get_color(), label="stream, units split")
        ax.set(xscale="log", yscale="log", xlabel="cores", ylabel="speed-up over one core")
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_locator(matplotlib.ticker.FixedLocator(CORES))
            axis.set_major_formatter(matplotlib.ticker.ScalarFormatter())
            axis.set_minor_locator(matplotlib.ticker.NullLocator())
        ax.legend(frameon=False)
        drawn.savefig(FIGURE, dpi=150)
        plt.close(drawn)


def rounded(found: Any) -> Any:
    if isinstance(found, dict):
        return {key: rounded(one) for key, one in found.items()}
    return float(f"{found:.4g}") if isinstance(found, float) else found


def record_of(times: dict[Any, float], team: tuple[float, float]) -> Any:
    """Return what the page is written from."""
    machine = info()
    return rounded(
        {
            "constants": constants_of(times, team),
            "seconds": {
                name: {str(threads): times[name, threads] for threads in (1, 2)} for name in SHAPES
            },
            "machine": {
                "processor": machine["processor"],
                "instruction_set": machine["active"],
                "date": datetime.date.today().isoformat(),
            },
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--from-record", action="store_true", help="measure nothing")
    given = parser.parse_args()
    if not given.from_record:
        record = record_of(best(steps_to_time(), given.rounds), met())
        RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    record = json.loads(RECORD.read_text("utf-8"))
    PAGE.write_text(page(record, PAGE.read_text("utf-8")), encoding="utf-8")
    draw(record)
    print(*check_table(record), "", *cores_table(record), sep="\n")


if __name__ == "__main__":
    main()
