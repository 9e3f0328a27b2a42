"""Check of every system against the reference, before it is timed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .. import reference
from ..optim.optimizers import Adam
from .case import CHECK_LR, Case, Problem

__all__ = [
    "CHECKS",
    "Check",
    "Expected",
    "check_gradients",
    "check_outputs",
    "check_training",
    "expected_outputs",
]

Array = NDArray[Any]
#: Of a system's name and what it computed, by name; raises where that is wrong.
Check: TypeAlias = Callable[[str, Mapping[str, Array]], None]

# Largest error in the outputs or in a gradient, relative to the largest entry; and length of the
# error of the weights' movement relative to the movement. Adam's first steps follow the sign of a
# gradient, however small, so the movement is less exact than the gradient.
_TOLERANCES: Final = {
    "bfloat16": (2e-2, 2e-1),
    "bfloat16 relu": (3e-1, 5e-1),  # a unit near 0 is on or off, and with it its gradient
    "float32": (2e-4, 2e-2),
    "float64": (1e-10, 1e-5),
}
_TRAINING_STEPS: Final = 3


class Expected:
    """Expected loss, gradients and updates of the first steps, by the float64 reference.

    Parameters
    ----------
    problem : Problem
        The data.

    Attributes
    ----------
    loss : float
        Before the first step.
    gradients : dict of ndarray
        By parameter name.
    movement : dict of ndarray
        How far each weight has moved after three steps of Adam.
    """

    def __init__(self, problem: Problem) -> None:
        case = problem.case
        y = problem.y if problem.y.dtype.kind == "i" else problem.y.astype(np.float64)
        params = {name: value.astype(np.float64) for name, value in problem.params.items()}
        state = reference.Moments()
        first: tuple[float, dict[str, Array]] | None = None
        for _ in range(_TRAINING_STEPS):
            loss, grads = reference.loss_and_grad(
                params,
                problem.x.astype(np.float64),
                y,
                case.loss,
                case.steps,
                lengths=problem.lengths,
                cell=case.cell,
                num_layers=case.layers,
                bidirectional=case.bidirectional,
                settings=problem.settings,
            )
            grads = {name: grads[name] for name in params}
            first = first or (float(loss.real), grads)
            reference.adam_step(params, grads, state, lr=CHECK_LR)
        assert first is not None
        self.loss, self.gradients = first
        self.movement = {name: params[name] - value for name, value in problem.params.items()}


def check_gradients(
    system: str, case: Case, expected: Expected, loss: float, gradients: Mapping[str, Array]
) -> None:
    """Compare the loss and the gradients of the first step with the reference.

    Parameters
    ----------
    system : str
        The system, for the message.
    case : Case
        The definition.
    expected : Expected
        By the reference.
    loss : float
        Before the first update.
    gradients : mapping of str -> ndarray
        By parameter name.

    Raises
    ------
    ValueError
        If they disagree.
    """
    tolerance = _tolerance(system, case)
    error = abs(loss - expected.loss) / max(abs(expected.loss), 1e-30)
    if not error <= tolerance:
        raise _disagreement(system, case, "loss of the first step", error, tolerance)
    for name, right in expected.gradients.items():
        error = float(np.max(np.abs(gradients[name] - right)) / max(np.max(np.abs(right)), 1e-30))
        if not error <= tolerance:
            raise _disagreement(system, case, f"gradient of {name}", error, tolerance)


def check_training(problem: Problem, expected: Expected) -> None:
    """Compare fastbptt's gradients, and its weights after three steps, with the reference.

    Parameters
    ----------
    problem : Problem
        The data; its model stays as it is.
    expected : Expected
        By the reference.

    Raises
    ------
    ValueError
        If they disagree.
    """
    case = problem.case
    model, adam = problem.model.copy(), Adam(lr=CHECK_LR)
    how: dict[str, Any] = {"loss": case.loss, "steps": case.steps, "lengths": problem.lengths}
    loss, gradients = model.loss_and_grad(problem.x, problem.y, **how)
    check_gradients("fastbptt", case, expected, loss, gradients)
    for _ in range(_TRAINING_STEPS):
        model.train_step(problem.x, problem.y, adam, **how)
    _, tolerance = _tolerances(case)
    for name, right in expected.movement.items():
        moved = model.parameters[name] - problem.model.parameters[name]
        error = float(np.linalg.norm(moved - right) / max(float(np.linalg.norm(right)), 1e-30))
        if not error <= tolerance:
            what = f"{name} after {_TRAINING_STEPS} steps"
            raise _disagreement("fastbptt", case, what, error, tolerance)


def expected_outputs(problem: Problem) -> Array:
    """Compute the outputs by the float64 reference, (batch, time, output) or (batch, output)."""
    case = problem.case
    found = reference.forward(
        {name: value.astype(np.float64) for name, value in problem.params.items()},
        problem.x.astype(np.float64),
        problem.lengths,
        cell=case.cell,
        num_layers=case.layers,
        bidirectional=case.bidirectional,
        settings=problem.settings,
    )
    outputs: Array = found.outputs if case.steps == "all" else found.last
    return outputs


def check_outputs(system: str, problem: Problem, expected: Array, outputs: Array) -> None:
    """Compare the outputs of a forward pass with the reference, at real steps only.

    Parameters
    ----------
    system : str
        The system, for the message.
    problem : Problem
        The data.
    expected : array
        By the reference.
    outputs : array
        By the system, of the same shape.

    Raises
    ------
    ValueError
        If they disagree.
    """
    case = problem.case
    if outputs.shape != expected.shape:
        raise ValueError(
            f"{case.name}: {system} disagrees with the reference: its outputs have shape"
            f" {outputs.shape}; expected {expected.shape}; nothing was measured"
        )
    difference = np.abs(outputs - expected)
    if case.steps == "all":
        difference = difference[np.arange(case.time) <= problem.last[:, np.newaxis]]
    error = float(difference.max() / max(float(np.abs(expected).max()), 1e-30))
    tolerance = _tolerance(system, case)
    if not error <= tolerance:
        raise _disagreement(system, case, "output", error, tolerance)


def _training(problem: Problem) -> Check:
    expected = Expected(problem)
    check_training(problem, expected)

    def check(system: str, found: Mapping[str, Array]) -> None:
        check_gradients(system, problem.case, expected, float(found["loss"]), found)

    return check


def _forward(problem: Problem) -> Check:
    expected = expected_outputs(problem)

    def check(system: str, found: Mapping[str, Array]) -> None:
        check_outputs(system, problem, expected, found["outputs"])

    return check


#: For each pass: what computes the right results of a problem, and compares others with them.
CHECKS: Final[dict[str, Callable[[Problem], Check]]] = {"training": _training, "forward": _forward}


def _tolerance(system: str, case: Case) -> float:
    """Return what a system's result may be off by: only fastbptt multiplies in bfloat16."""
    return _tolerances(case if system == "fastbptt" else case.with_(precision="float32"))[0]


def _tolerances(case: Case) -> tuple[float, float]:
    exact = f"{case.arithmetic} {case.cell}"
    return _TOLERANCES.get(exact, _TOLERANCES[case.arithmetic])


def _disagreement(system: str, case: Case, what: str, error: float, tolerance: float) -> ValueError:
    return ValueError(
        f"{case.name}: {system} disagrees with the reference: {what} has a relative error of"
        f" {error:.1e}, more than {tolerance:.0e}; nothing was measured"
    )
