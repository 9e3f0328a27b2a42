"""Squared error."""

from __future__ import annotations

from ._loss import Array, numbers


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
    difference = z - numbers(y, z)
    return difference**2, 2 * difference
