"""fastbptt: one call per training step or prediction, from Python, argument checks included."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import _core
from ...optim.optimizers import Adam
from ...training.evaluation import predict
from ..case import TIMED_LR, Problem
from . import Predictor, Trainer, Variants


class FastbpttTrainer(Trainer):
    """The public interface, as a user calls it."""

    def __init__(self, problem: Problem, record: str | None) -> None:
        case = problem.case
        self.model = problem.model.copy()
        self.adam = Adam(lr=TIMED_LR)
        self.x, self.y = problem.x, problem.y
        self.how: dict[str, Any] = {"loss": case.loss, "steps": case.steps}
        if problem.lengths is not None:
            self.how["lengths"] = problem.lengths
        if record is not None:
            self.how["record"] = record

    def loss_and_gradients(self) -> tuple[float, dict[str, NDArray[Any]]]:
        loss, gradients = self.model.loss_and_grad(self.x, self.y, **self.how)
        return loss, dict(gradients)

    def run(self, steps: int) -> None:
        train_step, x, y, adam, how = self.model.train_step, self.x, self.y, self.adam, self.how
        for _ in range(steps):
            train_step(x, y, adam, **how)


class FastbpttPredictor(Predictor):
    """The pass that keeps nothing for a backward pass, of a batch."""

    def __init__(self, problem: Problem) -> None:
        self.model, self.x, self.lengths = problem.model, problem.x, problem.lengths
        self.steps = problem.case.steps

    def outputs(self) -> NDArray[Any]:
        found = self.model.forward(self.x, self.lengths, backward=False)
        return found.outputs if self.steps == "all" else found.last


class FastbpttPredict(FastbpttPredictor):
    """The function for many sequences, with all of them in a batch."""

    def outputs(self) -> NDArray[Any]:
        size, steps = len(self.x), self.steps
        return np.asarray(predict(self.model, self.x, self.lengths, batch_size=size, steps=steps))


def variants(problem: Problem, threads: int, record: str | None = None) -> Variants:
    """Name the calls that can be fastest."""
    if problem.case.pass_ == "forward":
        ways = {"forward": FastbpttPredictor, "predict": FastbpttPredict}
        return {name: partial(way, problem) for name, way in ways.items()}
    return {"train_step": lambda: FastbpttTrainer(problem, record)}


def version() -> str:
    """Return the version and the instruction set."""
    return f"{_core.version} ({_core.active_backend()})"
