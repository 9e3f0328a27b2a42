"""Entries of `fastbptt.bench` and of the command line's function; nothing is measured."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any
from unittest import mock

from effects import BFLOAT16, Each, Entry, Fresh, Refused, With

from fastbptt import bench, cli
from fastbptt.bench import systems, timing

TINY = bench.PRESETS["tutorial"].with_(time=4, hidden=8)


class Worker:
    """A system whose every step takes as many seconds as its name has letters."""

    def __init__(self, name: str, case: bench.Case, threads: int) -> None:
        self.name = name
        self.about = {"version": "1", "variant": "only", "steps": 1}
        self.results: dict[str, Any] = {}
        self.rounds: list[dict[str, Any]] = []

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def round(self) -> None:
        self.rounds.append({"seconds": len(self.name), "rate": 1e9, "peak_memory": 2**20})


@contextmanager
def unmeasured() -> Iterator[None]:
    """Let `fastbptt.bench.measure` do all but measure and check."""
    with (
        mock.patch.object(timing, "_Worker", Worker),
        mock.patch.dict(timing.CHECKS, dict.fromkeys(timing.CHECKS, mock.Mock())),
    ):
        yield


def measure(**arguments: Any) -> Any:
    with unmeasured():
        return bench.measure(**arguments)


def problem(case: bench.Case) -> Any:
    made = bench.Problem(case)
    return made, made.step_weights, made.needed_flops, case


class Counted(systems.Predictor):
    """Counts its predictions."""

    count = 0

    def outputs(self) -> Any:
        self.count += 1


def predicted(steps: int) -> int:
    system = Counted()
    system.run(steps)
    return system.count


RESULT = Fresh(partial(measure, cases=[TINY]))
OTHER = Fresh(partial(measure, cases=[TINY], against=["recording"]))
CASE = TINY.as_dict()
ENTRIES: dict[str, Entry] = {
    "bench.Case": Entry(
        lambda **fields: problem(bench.Case(**fields)),
        CASE,
        {
            "name": "another",
            "batch": 6,
            "time": 5,
            "input": 33,
            "hidden": 9,
            "output": 2,
            "steps": "all",
            "loss": "mse",
            "cell": "gru",
            "lengths": "uniform",
            "dtype": "float64",
            "seed": 1,
            "layers": 2,
            "bidirectional": True,
            "precision": BFLOAT16,
            "pass_": "forward",
        },
    ),
    "bench.Case.with_": Entry(
        lambda changes: TINY.with_(**changes), {"changes": {}}, {"changes": {"hidden": 9}}
    ),
    "bench.Problem": Entry(problem, {"case": TINY}, {"case": replace(TINY, seed=1)}),
    "bench.measure": Entry(
        measure,
        {"cases": [TINY]},
        {
            "cases": [TINY.with_(hidden=9)],
            "against": ["recording"],
            "threads": 2,
            "rounds": 2,
            "seconds": Each(1e-9, Refused(1.0, "rounds is given", {"rounds": 2})),
        },
    ),
    "bench.plot": Entry(
        bench.plot, {"result": RESULT, "file": "a.png"}, {"result": OTHER, "file": "b.png"}
    ),
    "bench.write": Entry(
        bench.write, {"result": RESULT, "output": "table"}, {"result": OTHER, "output": "json"}
    ),
    "bench.systems.obstacle": Entry(
        systems.obstacle,
        {"name": "numpy", "case": TINY},
        {
            "name": With("onednn", {"case": replace(TINY, dtype="float64")}),
            "case": replace(TINY, loss="huber"),
        },
    ),
    "bench.systems.Predictor.run": Entry(predicted, {"steps": 1}, {"steps": 2}),
    "cli.main": Entry(cli.main, {"argv": ["info"]}, {"argv": ["info", "--json"]}),
}
