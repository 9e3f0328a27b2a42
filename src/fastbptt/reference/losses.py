"""Losses on the outputs, the steps that have a loss, and reductions over steps and sequences.

``LOSSES``, ``STEPS`` and ``REDUCTIONS`` are registries: `apply_loss` and the tests read them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def bce(z: Array, y: Array) -> tuple[Array, Array]:
    """Binary cross-entropy on logits, ``softplus(z) - y z``, accurate for ``z`` of any size.

    Parameters
    ----------
    z : array (N, O)
        Logits, real or complex.
    y : array (N, O) or (N,) if O == 1
        Probabilities of the positive class, 0 to 1.

    Returns
    -------
    values, dz : array (N, O)
        Loss of each output and its derivative, ``sigmoid(z) - y``.

    Examples
    --------
    >>> import numpy as np
    >>> values, dz = bce(np.array([[0.0], [-1000.0]]), np.array([1.0, 1.0]))
    >>> values.round(4).tolist(), dz.tolist()
    ([[0.6931], [1000.0]], [[-0.5], [-1.0]])
    """
    y = y.reshape(z.shape)
    positive = z.real > 0
    e = np.exp(np.where(positive, -z, z))  # at most 1
    values = np.where(positive, (1 - y) * z, -y * z) + np.log1p(e)
    dz = (np.where(positive, 1 - y, e * (1 - y)) - np.where(positive, y * e, y)) / (1 + e)
    return values, dz


def cross_entropy(z: Array, y: Array) -> tuple[Array, Array]:
    """Softmax cross-entropy, ``logsumexp(z) - z[y]``.

    Parameters
    ----------
    z : array (N, O)
        Logits, real or complex.
    y : integer array (N,)
        Classes, 0 to O - 1.

    Returns
    -------
    values : array (N, 1)
        Loss of each row.
    dz : array (N, O)
        Its derivative, ``softmax(z) - onehot(y)``.

    Examples
    --------
    >>> import numpy as np
    >>> values, dz = cross_entropy(np.zeros((1, 4)), np.array([2]))
    >>> values.round(4).tolist(), dz.tolist()
    ([[1.3863]], [[0.25, 0.25, -0.75, 0.25]])
    """
    rows = np.arange(len(y))
    z = z - z.real.max(axis=1, keepdims=True)  # a constant for the derivative: softmax is unchanged
    e = np.exp(z)
    total = e.sum(axis=1, keepdims=True)
    dz = e / total
    dz[rows, y] -= 1
    return np.log(total) - z[rows, y, np.newaxis], dz


def mse(z: Array, y: Array) -> tuple[Array, Array]:
    """Squared error, ``(y - z)^2``, without a factor of one half.

    Parameters
    ----------
    z : array (N, O)
        Outputs, real or complex.
    y : array (N, O) or (N,) if O == 1
        Targets.

    Returns
    -------
    values, dz : array (N, O)
        Loss of each output and its derivative, ``2 (z - y)``.

    Examples
    --------
    >>> import numpy as np
    >>> values, dz = mse(np.array([[3.0]]), np.array([1.0]))
    >>> values.tolist(), dz.tolist()
    ([[4.0]], [[4.0]])
    """
    difference = z - y.reshape(z.shape)
    return difference**2, 2 * difference


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


LOSSES: dict[str, Callable[[Array, Array], tuple[Array, Array]]] = {
    "bce": bce,
    "cross_entropy": cross_entropy,
    "mse": mse,
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
    loss: str = "bce",
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
        For ``"bce"`` and ``"mse"``: (B, O) for the last step, (B, T, O) for all steps; the last
        axis may be omitted if O is 1. For ``"cross_entropy"``: integers, (B,) or (B, T). Values
        after a sequence's end are ignored.
    loss : {"bce", "cross_entropy", "mse"}
    steps : {"last", "all"}
        Loss at the last step of each sequence, or at all of its steps.
    reduction : {"sum", "mean", "sequence_mean"}
        Over steps and sequences: the sum; the mean over the counted steps of the batch; the mean
        over sequences of each one's mean. ``"sum"`` also sums over the O outputs of ``"bce"`` and
        ``"mse"``, the others average over them.
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
    _known("loss", loss, LOSSES)
    _known("steps", steps, STEPS)
    _known("reduction", reduction, REDUCTIONS)
    real = outputs.real.dtype
    y = np.asarray(y) if loss == "cross_entropy" else np.asarray(y, real)
    weight = np.ones(batch, real) if sample_weight is None else np.asarray(sample_weight, real)
    if not weight.any():
        raise ValueError("sample_weight is zero for every sequence; at least one must be positive")
    ends = np.full(batch, time) if lengths is None else np.asarray(lengths)

    counted = STEPS[steps](np.arange(time), ends[:, np.newaxis])
    rows, cols = np.nonzero(counted)
    values, dz = LOSSES[loss](outputs[rows, cols], y[rows] if steps == "last" else y[rows, cols])
    factor = REDUCTIONS[reduction](counted.astype(real), weight[:, np.newaxis])[rows, cols]
    if reduction != "sum":
        factor = factor / values.shape[1]
    d_outputs = np.zeros(outputs.shape, outputs.dtype)
    d_outputs[rows, cols] = factor[:, np.newaxis] * dz
    return (factor[:, np.newaxis] * values).sum().item(), d_outputs
