"""Hinge loss."""

from __future__ import annotations

import numpy as np

from ._loss import Array, numbers


def hinge(z: Array, y: Array) -> tuple[Array, Array]:
    """Hinge loss of labels -1 and 1, ``max(0, 1 - y z)``.

    Parameters
    ----------
    z : array (N, O)
        Outputs, real or complex.
    y : array (N, O) or (N,) if O == 1
        Labels, -1 or 1.

    Returns
    -------
    values, dz : array (N, O)
        Loss of each output and its derivative: ``-y`` where ``y z < 1``, else 0.

    Examples
    --------
    >>> import numpy as np
    >>> values, dz = hinge(np.array([[0.5], [1.0]]), np.array([-1.0, 1.0]))
    >>> values.tolist(), dz.tolist()
    ([[1.5], [0.0]], [[1.0], [0.0]])
    """
    y = numbers(y, z)
    rest = 1 - y * z
    inside = rest.real > 0
    return np.where(inside, rest, 0), np.where(inside, -y, 0)
