"""Entries of `fastbptt.datasets.tasks`."""

from __future__ import annotations

import dataclasses
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
from effects import Entry, Refused, With

from fastbptt.datasets import tasks


def drawn(kind: Any, /, **settings: Any) -> Any:
    """Make a task; return a few of its trials, and their score if outputs are almost right."""
    task = kind(**settings)
    trials = task.trials(12, seed=0)
    y = trials.y
    outputs = np.eye(task.output_size)[y] if y.ndim == 2 else 0.95 * y
    return trials, task.score(outputs, trials)


def batches(n: int = 2, **arguments: Any) -> Any:
    every = TASK.batches(**arguments)
    return [next(every) for _ in range(n)]


def drawn_from(random: Any, **bounds: Any) -> Any:
    return tasks.FlipFlop(duration=random(**bounds)).trials(9, seed=0).ends


TASK = tasks.FlipFlop(duration=200)
TRIALS = TASK.trials(3, seed=0)
TIMED = {"dt": 10, "tau": 200, "noise": 0.5}
CHOICE: dict[str, Any] = {
    **TIMED,
    "fixation": 200,
    "response": 400,
    "grace": 40,
    "response_weight": 2,
    "hold": False,
    "catch": 0.5,
    "loss": "mse",
}
WINDOW = {"delay": 200}
KINDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "PerceptualDecision": (
        {},
        {**CHOICE, **WINDOW, "coherences": [0.3], "stimulus": 400},
    ),
    "ContextDependentIntegration": (
        {},
        {**CHOICE, **WINDOW, "coherences": [0.3], "stimulus": 400},
    ),
    "DelayedMatchToSample": (
        {},
        {**CHOICE, **WINDOW, "n_stimuli": 3, "sample": 100, "test": 100},
    ),
    "ParametricWorkingMemory": (
        {"delay": 100},
        {**CHOICE, **WINDOW, "pairs": [(3, 5)], "first": 100, "second": 100},
    ),
    "ReadySetGo": (
        {"interval": 400},
        {
            **TIMED,
            "fixation": 200,
            "interval": 300,
            "pulse": 40,
            "gain": 2,
            "tolerance": 0.01,
        },
    ),
    "FlipFlop": (
        {"duration": 200},
        {
            "dt": 10,
            "tau": With(200, {"noise": 0.1}),
            "noise": 0.5,
            "bits": 2,
            "duration": 400,
            "rate": 10,
            "grace": 40,
        },
    ),
}


class Steps:
    """An environment as neurogym makes them."""

    def __init__(self, steps: int = 3) -> None:
        self.steps, self.dt, self.metadata = steps, 20, {"paper_name": "A paper"}
        self.observation_space = SimpleNamespace(shape=(1,))
        self.action_space = SimpleNamespace(n=2)

    def seed(self, seed: int) -> None:
        self.value = seed % 7

    def new_trial(self) -> dict[str, Any]:
        self.ob, self.gt = np.full((self.steps, 1), self.value), np.arange(self.steps) % 2
        return {"value": self.value}


ENVIRONMENT = tasks.from_neurogym(Steps())
FEW = ENVIRONMENT.trials(2, seed=0)
DECISION = tasks.PerceptualDecision()
SHOWN = DECISION.trials(3, seed=0)
SOUGHT = {"outputs": np.eye(3)[SHOWN.y], "trials": SHOWN}
OTHERS = dataclasses.replace(
    SHOWN, conditions={**SHOWN.conditions, "choice": 3 - SHOWN.conditions["choice"]}
)
READY = tasks.ReadySetGo(interval=200)
TIMED_TRIALS = READY.trials(3, seed=0)
LATER = READY.trials(3, seed=0)
LATER = dataclasses.replace(
    LATER,
    conditions={**LATER.conditions, "target": np.full(3, 100.0)},
    periods={**LATER.periods, "response": LATER.periods["response"] + 1},
)
PRODUCED = {"outputs": TIMED_TRIALS.y, "trials": TIMED_TRIALS}
CURVE = tasks.psychometric([0, 0, 1, 1, 1], np.array([True, False, True, True, False]))

ENTRIES: dict[str, Entry] = {
    **{
        f"datasets.tasks.{name}": Entry(partial(drawn, getattr(tasks, name)), base, changes)
        for name, (base, changes) in KINDS.items()
    },
    "datasets.tasks.Uniform": Entry(
        partial(drawn_from, tasks.Uniform), {"low": 40, "high": 400}, {"low": 200, "high": 800}
    ),
    "datasets.tasks.TruncatedExponential": Entry(
        partial(drawn_from, tasks.TruncatedExponential),
        {"mean": 100, "low": 40, "high": 400},
        {"mean": 300, "low": 200, "high": 80},
    ),
    "datasets.tasks.OneOf": Entry(
        partial(drawn_from, tasks.OneOf), {"values": [40, 80]}, {"values": [40, 60]}
    ),
    "datasets.tasks.make": Entry(
        lambda name, settings: tasks.make(name, **settings),
        {"name": "flip_flop", "settings": {}},
        {"name": "ready_set_go", "settings": {"bits": 2}},
    ),
    "datasets.tasks.from_neurogym": Entry(
        lambda env, settings: tasks.from_neurogym(env, **settings).trials(2, seed=0),
        {"env": Steps(), "settings": {}},
        {"env": Steps(4), "settings": Refused({"dt": 20}, "settings are dt")},
    ),
    "datasets.tasks.NeurogymTask": Entry(
        lambda env: tasks.NeurogymTask(env).trials(2, seed=0), {"env": Steps()}, {"env": Steps(4)}
    ),
    "datasets.tasks.NeurogymTask.score": Entry(
        ENVIRONMENT.score,
        {"outputs": np.eye(2)[FEW.y], "trials": FEW},
        {
            "outputs": np.zeros((2, 3, 2)),
            "trials": dataclasses.replace(FEW, y=1 - FEW.y),
        },
    ),
    "datasets.tasks.Task.trials": Entry(TASK.trials, {"n": 2, "seed": 0}, {"n": 3, "seed": 1}),
    "datasets.tasks.Task.batches": Entry(
        batches, {"batch_size": 2, "seed": 0}, {"batch_size": 3, "seed": 1}
    ),
    **{
        f"datasets.tasks.{kind}.{name}": Entry(
            getattr(DECISION, name),  # the same method in all of them
            SOUGHT,
            {"outputs": np.zeros((3, 60, 3)), "trials": trials},
        )
        for kind, (_, changes) in KINDS.items()
        if "catch" in changes
        for name, trials in (
            ("score", OTHERS),
            ("choices", Refused(TRIALS, "outputs has shape")),
        )
    },
    **{
        f"datasets.tasks.ReadySetGo.{name}": Entry(
            getattr(READY, name), PRODUCED, {"outputs": 0.9 * TIMED_TRIALS.y, "trials": LATER}
        )
        for name in ("score", "produced")
    },
    "datasets.tasks.FlipFlop.score": Entry(
        TASK.score,
        {"outputs": TRIALS.y, "trials": TRIALS},
        {"outputs": -TRIALS.y, "trials": dataclasses.replace(TRIALS, y=-TRIALS.y)},
    ),
    "datasets.tasks.psychometric": Entry(
        tasks.psychometric,
        {"levels": [0, 0, 1, 1], "chosen": np.array([True, False, True, True])},
        {
            "levels": [0, 0, 1, 3],
            "chosen": np.array([True, False, True, False]),
            "fit": False,
        },
    ),
    "datasets.tasks.Psychometric.__call__": Entry(CURVE, {"levels": [0.5]}, {"levels": [0.75]}),
}
