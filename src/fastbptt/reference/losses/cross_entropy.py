"""Softmax cross-entropy."""

from __future__ import annotations

import numpy as np

from ._loss import Array


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
