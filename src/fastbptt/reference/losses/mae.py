"""Absolute error."""

from __future__ import annotations

import numpy as np

from ._loss import Array, numbers


def mae(z: Array, y: Array) -> tuple[Array, Array]:
    """Absolute error, ``|z - y|``.

    Parameters
    ----------
    z : array (N, O)
        Outputs, real or complex.
    y : array (N, O) or (N,) if O == 1
        Targets.

    Returns
    -------
    values, dz : array (N, O)
        Loss of each output and its derivative, the sign of ``z - y``: 0 where they are equal.

    Examples
    --------
    >>> import numpy as np
    >>> values, dz = mae(np.array([[3.0], [1.0]]), np.ones(2))
    >>> values.tolist(), dz.tolist()
    ([[2.0], [0.0]], [[1.0], [0.0]])
    """
    d = z - numbers(y, z)
    sign = np.sign(d.real)
    return sign * d, sign
