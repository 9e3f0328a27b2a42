"""Training steps of several models in one call of the core, which takes small ones together."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

from fastbptt import _core
from fastbptt._errors import ArgumentError

if TYPE_CHECKING:
    from fastbptt.models._weights import Weights
    from fastbptt.optim import Optimizer


class Step(NamedTuple):
    """A step without dropout, noise or probes, as `train_step` of a model has checked it."""

    weights: Weights
    batch: _core.Batch
    objective: _core.Objective
    optimizer: Optimizer
    clip: _core.Clip | None = None


def train(steps: Sequence[Step]) -> list[float | Exception]:
    """Make the steps of different models, each as its `train_step` would, to the bit.

    Returns
    -------
    list of float or Exception
        The loss before the update, or the error of a model that has not changed then; the others
        have.

    Raises
    ------
    ArgumentError
        If a model or an optimiser is there twice; then none has changed.
    """
    if len({id(step.optimizer) for step in steps}) < len(steps):
        raise ArgumentError("optimizer", "is there twice", "another one for each model")
    results: list[float | Exception] = []
    ready = []  # (place, step, binding, steps made before)
    with ExitStack() as locks:
        for optimizer in sorted((step.optimizer for step in steps), key=id):
            locks.enter_context(optimizer._lock)
        for place, step in enumerate(steps):
            results.append(0.0)
            try:
                binding = step.optimizer._binding_for(step.weights)
            except ValueError as error:
                results[place] = error
                continue
            ready.append((place, step, binding, binding.state.step))
        try:
            made = _core.train_together(
                [
                    (
                        step.weights.engine,
                        step.batch,
                        step.objective,
                        binding.update
                        if step.clip is None
                        else binding.update.replace(clip=step.clip),
                    )
                    for _, step, binding, _ in ready
                ]
            )
        finally:  # a refused step leaves no trace; a handler of signals may raise after some
            for _, step, binding, before in ready:
                if binding.state.step != before:
                    step.optimizer._binding = binding
    for (place, *_), result in zip(ready, made, strict=True):
        results[place] = result
    return results
