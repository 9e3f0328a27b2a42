"""Huber loss (Huber 1964)."""

from __future__ import annotations

import numpy as np

from ._loss import Array, numbers


def huber(z: Array, y: Array, delta: float = 1.0) -> tuple[Array, Array]:
    """Squared error for small differences, absolute error for large ones.

    With ``d = z - y``: ``d^2 / 2`` where ``|d| <= delta``, else ``delta (|d| - delta / 2)``.

    Parameters
    ----------
    z : array (N, O)
        Outputs, real or complex.
    y : array (N, O) or (N,) if O == 1
        Targets.
    delta : float, default 1
        Above 0: where the one ends and the other begins.

    Returns
    -------
    values, dz : array (N, O)
        Loss of each output and its derivative, ``d`` limited to ``[-delta, delta]``.

    Examples
    --------
    >>> import numpy as np
    >>> values, dz = huber(np.array([[3.0], [0.5]]), np.zeros(2))
    >>> values.tolist(), dz.tolist()
    ([[2.5], [0.125]], [[1.0], [0.5]])
    """
    d = z - numbers(y, z)
    delta = d.real.dtype.type(delta)
    sign = np.sign(d.real)
    large = sign * d.real > delta
    values = np.where(large, delta * (sign * d - delta / 2), d * d / 2)
    return values, np.where(large, delta * sign, d)
