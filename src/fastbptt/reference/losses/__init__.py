"""Losses on the outputs, the steps that have a loss, and reductions over steps and sequences.

``LOSSES``, ``STEPS`` and ``REDUCTIONS`` are registries: `apply_loss` and the tests read them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
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
    return _mean(counted / counted.sum(axis=1, keepdims=True), weight)


def _pooled_mean(hidden: Array, real: Array) -> tuple[Array, Array]:
    share = (real / real.sum(axis=1, keepdims=True)).astype(hidden.real.dtype)
    return (share * hidden).sum(axis=1), np.broadcast_to(share, hidden.shape)


def _pooled_max(hidden: Array, real: Array) -> tuple[Array, Array]:
    first = np.where(real, hidden.real, -np.inf).argmax(axis=1, keepdims=True)
    chosen = np.arange(hidden.shape[1])[:, np.newaxis] == first  # of equal ones, the first
    return np.take_along_axis(hidden, first, axis=1)[:, 0], chosen


#: Losses by name: functions of outputs (N, O), targets and parameters that return values and dz.
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
#: Steps with a loss by name: functions of t (T,) and lengths (B, 1) that return (B, T) of bool.
STEPS: dict[str, Callable[[Array, Array], Array]] = {
    "last": lambda t, lengths: t == lengths - 1,
    "all": lambda t, lengths: t < lengths,
    "mean": lambda t, lengths: t == lengths - 1,  # one loss, on the readout of POOLED
    "max": lambda t, lengths: t == lengths - 1,
}
#: Pooling by name: functions of hidden (B, T, H) and real steps (B, T, 1) that return the pooled
#: states (B, H) and their derivative by the hidden states, (B, T, H).
POOLED: dict[str, Callable[[Array, Array], tuple[Array, Array]]] = {
    "mean": _pooled_mean,
    "max": _pooled_max,
}
#: Reductions by name: functions of counted (B, T), 0 or 1, and weight (B, 1) or (B, T) that return
#: (B, T), the factor of each step's loss.
REDUCTIONS: dict[str, Callable[[Array, Array], Array]] = {
    "sum": _sum,
    "mean": _mean,
    "sequence_mean": _sequence_mean,
}


def _known(argument: str, name: str, registry: Collection[str]) -> None:
    if name not in registry:
        raise ValueError(f"{argument} is {name!r}; expected one of {', '.join(registry)}")


def _weights(
    outputs: Array, steps: str, lengths: Array | None, sample_weight: Array | None
) -> tuple[Array, Array]:
    """Return the steps with a loss and their weights, (B, T)."""
    (batch, time, _), real = outputs.shape, outputs.real.dtype
    weight = np.ones(batch, real) if sample_weight is None else np.asarray(sample_weight, real)
    ends = np.full(batch, time) if lengths is None else np.asarray(lengths)
    counted = STEPS[steps](np.arange(time), ends[:, np.newaxis])
    return counted, np.where(counted, weight.reshape(batch, -1), 0)


def _sum_of_blocks(
    outputs: Array,
    y: Any,
    losses: Any,
    steps: str,
    reduction: str,
    lengths: Array | None,
    sample_weight: Any,
) -> tuple[float, Array]:
    number = outputs.dtype.type
    total, d_outputs, some, end = number(0), np.zeros_like(outputs), False, 0
    for name, loss in losses.losses.items():
        first, end = end, end + losses.outputs[name]
        own = sample_weight[name] if isinstance(sample_weight, Mapping) else sample_weight
        if not _weights(outputs, steps, lengths, own)[1].any():
            continue
        some = True
        part = outputs[..., first:end]
        value, dz = apply_loss(part, y[name], loss, steps, reduction, lengths, own)
        total += number(losses.weights[name]) * number(value)
        d_outputs[..., first:end] = losses.weights[name] * dz
    if not some:
        raise ValueError("sample_weight is zero everywhere; at least one must be positive")
    return total.item(), d_outputs


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
    loss : str, fastbptt.Loss or fastbptt.Losses
        A key of ``LOSSES``, or such a name with parameters. Of several blocks of outputs: the sum
        of their losses times their weights, each of its own columns; then ``y`` is a mapping by
        name, and ``sample_weight`` may be one. A block whose weights are all 0 adds nothing.
    steps : {"last", "all", "mean", "max"}
        Loss at the last step of each sequence, or at all of its steps. ``outputs`` of pooled states
        have one step, T = 1.
    reduction : {"sum", "mean", "sequence_mean"}
        Over steps and sequences: the sum; the mean over the counted steps of the batch; the mean
        over sequences of each one's mean. ``"sum"`` also sums over the O outputs of a loss
        on numbers, the others average over them.
    lengths : integer array (B,), optional
        Steps of each sequence, 1 to T; default T.
    sample_weight : array (B,) or (B, T), optional
        Weight of each sequence or step, >= 0; the means are weighted means. Where it is 0, ``y`` is
        not read.

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
    if hasattr(loss, "losses"):
        return _sum_of_blocks(outputs, y, loss, steps, reduction, lengths, sample_weight)
    name = loss if isinstance(loss, str) else loss.name
    parameters = {} if isinstance(loss, str) else loss.parameters
    _known("loss", name, LOSSES)
    _known("steps", steps, STEPS)
    _known("reduction", reduction, REDUCTIONS)
    real = outputs.real.dtype
    y = np.asarray(y)
    counted, weight = _weights(outputs, steps, lengths, sample_weight)
    if not weight.any():
        raise ValueError("sample_weight is zero everywhere; at least one must be positive")
    rows, cols = np.nonzero(weight)
    wanted = y[rows, cols] if steps == "all" else y[rows]
    values, dz = LOSSES[name](outputs[rows, cols], wanted, **parameters)
    factor = REDUCTIONS[reduction](counted.astype(real), weight)[rows, cols]
    if reduction != "sum":
        factor = factor / values.shape[1]
    d_outputs = np.zeros_like(outputs)
    d_outputs[rows, cols] = factor[:, np.newaxis] * dz
    return (factor[:, np.newaxis] * values).sum().item(), d_outputs
