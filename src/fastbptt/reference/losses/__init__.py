"""Losses on the outputs, the steps that have a loss, and reductions over steps and sequences.

``LOSSES``, ``STEPS`` and ``REDUCTIONS`` are registries: `apply_loss` and the tests read them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from importlib import import_module
from typing import Any

import numpy as np

from ._loss import Array


def _sum(counted: Array, weight: Array) -> Array:
    factor: Array = weight * counted
    return factor


def _mean(counted: Array, weight: Array) -> Array:
    factor: Array = weight * counted
    factor /= factor.sum()
    return factor


def _sequence_mean(counted: Array, weight: Array) -> Array:
    factor: Array = weight * counted / counted.sum(axis=1, keepdims=True) / weight.sum()
    return factor


# z (N, O), y, **parameters -> values, dz
LOSSES: dict[str, Callable[..., tuple[Array, Array]]] = {
    name: getattr(import_module(f".{name}", __name__), name)
    for name in (
        "bce",
        "cross_entropy",
        "gaussian",
        "hinge",
        "huber",
        "log_cosh",
        "mae",
        "mse",
        "poisson",
        "quantile",
    )
}
# t (T,), lengths (B, 1) -> which steps (B, T) have a loss
STEPS: dict[str, Callable[[Array, Array], Array]] = {
    "last": lambda t, lengths: t == lengths - 1,
    "all": lambda t, lengths: t < lengths,
}
# counted (B, T) of 0 and 1, weight (B, 1) -> factor (B, T) of each step's loss
REDUCTIONS: dict[str, Callable[[Array, Array], Array]] = {
    "sum": _sum,
    "mean": _mean,
    "sequence_mean": _sequence_mean,
}


def _known(argument: str, name: str, registry: Collection[str]) -> None:
    if name not in registry:
        raise ValueError(f"{argument} is {name!r}; expected one of {', '.join(registry)}")


def apply_loss(
    outputs: Array,
    y: Array,
    loss: Any = "bce",
    steps: str = "last",
    reduction: str = "mean",
    lengths: Array | None = None,
    sample_weight: Array | None = None,
) -> tuple[float, Array]:
    """Loss of a batch and its gradient with respect to the outputs.

    Parameters
    ----------
    outputs : array (B, T, O)
        Logits or predictions. The computation uses their dtype.
    y : array
        Numbers: (B, O) for the last step, (B, T, O) for all steps, or without the O if it is 1.
        Classes (``"cross_entropy"``): integers, (B,) or (B, T). Where a target has K outputs, O / K
        for O. Ignored after a sequence's end.
    loss : str or fastbptt.Loss
        A key of ``LOSSES``, or such a name with parameters.
    steps : {"last", "all"}
        Loss at the last step of each sequence, or at all of its steps.
    reduction : {"sum", "mean", "sequence_mean"}
        Over steps and sequences: the sum; the mean over the counted steps of the batch; the mean
        over sequences of each one's mean. ``"sum"`` also sums over the O outputs of a loss
        on numbers, the others average over them.
    lengths : integer array (B,), optional
        Steps of each sequence, 1 to T; default T.
    sample_weight : array (B,), optional
        Weight of each sequence, >= 0; the means are weighted means.

    Returns
    -------
    loss : float
        Complex if ``outputs`` are.
    d_outputs : array (B, T, O)
        Zero at steps without a loss.

    Raises
    ------
    ValueError
        If ``loss``, ``steps`` or ``reduction`` is unknown, or all weights are zero.

    Examples
    --------
    >>> import numpy as np
    >>> z = np.array([[[3.0], [1.0]], [[2.0], [9.0]]])
    >>> value, dz = apply_loss(z, np.zeros(2), "mse", lengths=np.array([2, 1]))
    >>> value, dz[..., 0].tolist()
    (2.5, [[0.0, 1.0], [2.0, 0.0]])
    """
    batch, time, _ = outputs.shape
    name = loss if isinstance(loss, str) else loss.name
    parameters = {} if isinstance(loss, str) else loss.parameters
    _known("loss", name, LOSSES)
    _known("steps", steps, STEPS)
    _known("reduction", reduction, REDUCTIONS)
    real = outputs.real.dtype
    y = np.asarray(y)
    weight = np.ones(batch, real) if sample_weight is None else np.asarray(sample_weight, real)
    if not weight.any():
        raise ValueError("sample_weight is zero for every sequence; at least one must be positive")
    ends = np.full(batch, time) if lengths is None else np.asarray(lengths)

    counted = STEPS[steps](np.arange(time), ends[:, np.newaxis])
    rows, cols = np.nonzero(counted)
    wanted = y[rows] if steps == "last" else y[rows, cols]
    values, dz = LOSSES[name](outputs[rows, cols], wanted, **parameters)
    factor = REDUCTIONS[reduction](counted.astype(real), weight[:, np.newaxis])[rows, cols]
    if reduction != "sum":
        factor = factor / values.shape[1]
    d_outputs = np.zeros(outputs.shape, outputs.dtype)
    d_outputs[rows, cols] = factor[:, np.newaxis] * dz
    return (factor[:, np.newaxis] * values).sum().item(), d_outputs
