"""A training step with a loss function of the caller's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _check
from .._errors import ArgumentError
from .._losses import CustomLoss
from ..models._arguments import Lengths
from ..models.recurrent import Recurrent
from ..optim.optimizers import Optimizer
from .callbacks import Callback


def check_custom(
    steps: str, bptt_steps: Any, memory_budget: Any, callbacks: Sequence[Callback]
) -> None:
    """Refuse what only a loss of the core offers."""
    check_custom_steps(steps)
    why = "None because loss is a function, which sees all outputs of a batch at once"
    for name, value in (("bptt_steps", bptt_steps), ("memory_budget", memory_budget)):
        if value is not None:
            raise ArgumentError(name, f"is {value!r}", why)
    for i, callback in enumerate(callbacks):
        if callback.record is not None:
            raise ArgumentError(
                "callbacks",
                f"is a {type(callback).__name__}, which records gradients",
                "one that does not, because loss is a function",
                item=i,
            )


def check_custom_steps(steps: str) -> None:
    """Refuse pooled states, which the loss of the core sees in the place of outputs."""
    if steps not in _check.STEPS:
        expected = '"last" or "all" because loss is a function'
        raise ArgumentError("steps", f'is "{steps}"', expected)


def custom_step(
    model: Recurrent,
    optimizer: Optimizer,
    loss: CustomLoss,
    every: bool,
    x: NDArray[Any],
    y: NDArray[Any],
    lengths: Lengths = None,
    sample_weight: NDArray[np.float64] | None = None,
    static: NDArray[Any] | None = None,
    resets: NDArray[np.bool_] | None = None,
    **clip: float | None,
) -> float:
    """Do forward, the caller's loss, backward, clipping and update; or leave all as it was.

    every: whether the loss is on the outputs of all steps.
    """
    seeds, before = model._dropout_seeds.state, optimizer.step_count
    try:
        out = model.forward(x, lengths, static=static, resets=resets, training=True)
        outputs = out.outputs if every else out.last
        value, gradient = loss.of_batch(outputs, y, sample_weight, lengths)
        if every:
            grads = model.backward(out, d_outputs=gradient)
        else:
            grads = model.backward(out, d_last=gradient)
        optimizer.step(model, grads, **clip)  # type: ignore[arg-type]
    except BaseException:
        if optimizer.step_count == before:
            model._dropout_seeds.state = seeds
        raise
    return value
