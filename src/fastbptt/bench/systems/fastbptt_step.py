"""fastbptt: one call per training step, made from Python, argument checks included."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from ... import _core
from ...optim.optimizers import Adam
from ..case import TIMED_LR, Problem
from . import System, Variants


class Fastbptt(System):
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


def variants(problem: Problem, threads: int, record: str | None = None) -> Variants:
    """Return the only variant."""
    return {"train_step": lambda: Fastbptt(problem, record)}


def version() -> str:
    """Return the version and the instruction set."""
    return f"{_core.version} ({_core.active_backend()})"
