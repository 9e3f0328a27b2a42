"""Softmax cross-entropy."""

from __future__ import annotations

import numpy as np

from ._loss import Array


def cross_entropy(
    z: Array, y: Array, label_smoothing: float = 0.0, gamma: float = 0.0
) -> tuple[Array, Array]:
    """Softmax cross-entropy, ``logsumexp(z) - z[y]``.

    Parameters
    ----------
    z : array (N, O)
        Logits, real or complex.
    y : integer array (N,)
        Classes, 0 to O - 1.
    label_smoothing : float, default 0
        ``a`` from 0 to 1: the target distribution ``(1 - a) onehot(y) + a / O`` instead of
        ``onehot(y)``, as in torch.nn.CrossEntropyLoss.
    gamma : float, default 0
        At least 0. The focal loss of Lin, Goyal, Girshick, He and Dollár (2017): the term of each
        class, ``-log(p)`` of its probability, is multiplied by ``(1 - p)^gamma``.

    Returns
    -------
    values : array (N, 1)
        Loss of each row.
    dz : array (N, O)
        Its derivative, ``softmax(z)`` minus the target distribution if `gamma` is 0.

    Examples
    --------
    >>> import numpy as np
    >>> values, dz = cross_entropy(np.zeros((1, 4)), np.array([2]))
    >>> values.round(4).tolist(), dz.tolist()
    ([[1.3863]], [[0.25, 0.25, -0.75, 0.25]])
    """
    rows = np.arange(len(y))
    if label_smoothing or gamma:
        a = z.real.dtype.type(label_smoothing)
        wanted = np.full(z.shape, a / z.shape[1])
        wanted[rows, y] += 1 - a
        return _weighted(z, wanted, z.real.dtype.type(gamma))
    z = z - z.real.max(axis=1, keepdims=True)  # a constant for the derivative: softmax is unchanged
    e = np.exp(z)
    total = e.sum(axis=1, keepdims=True)
    dz = e / total
    dz[rows, y] -= 1
    return np.log(total) - z[rows, y, np.newaxis], dz


def _weighted(z: Array, wanted: Array, gamma: float) -> tuple[Array, Array]:
    """Return the loss, with focal weights, of a distribution, and its derivative."""
    rows, top = np.arange(len(z)), z.real.argmax(axis=1)
    z = z - z[rows, top, np.newaxis]  # its imaginary part, too
    e = np.exp(z)
    below = e.copy()
    below[rows, top] = 0
    others = below.sum(axis=1, keepdims=True)  # 1 - p of the largest, without cancellation
    total = 1 + others
    minus_log = np.log1p(others) - z
    rest = 1 + others - e
    rest[rows, top] = others[:, 0]
    p, rest = e / total, rest / total
    if not gamma:
        return (wanted * minus_log).sum(axis=1, keepdims=True), p - wanted
    with np.errstate(divide="ignore"):  # at p = 1
        power = wanted * np.exp(gamma * np.log(rest))
    some = rest.real > 0
    ratio = np.where(some, minus_log / np.where(some, rest, 1), 1)
    slope = power * (1 + gamma * p * ratio)
    others_slope = slope.sum(axis=1, keepdims=True) - slope
    return (power * minus_log).sum(axis=1, keepdims=True), p * others_slope - rest * slope
