"""Logarithm of the hyperbolic cosine."""

from __future__ import annotations

import numpy as np

from ._loss import Array, numbers


def log_cosh(z: Array, y: Array, delta: float = 1.0) -> tuple[Array, Array]:
    """Squared error for small differences, absolute error for large ones, without a kink.

    ``delta^2 log(cosh(d / delta))`` of ``d = z - y``: near ``d^2 / 2`` where ``|d|`` is much
    smaller than `delta`, and near ``delta (|d| - delta log(2))`` where it is much larger.

    Parameters
    ----------
    z : array (N, O)
        Outputs, real or complex.
    y : array (N, O) or (N,) if O == 1
        Targets.
    delta : float, default 1
        Above 0.

    Returns
    -------
    values, dz : array (N, O)
        Loss of each output and its derivative, ``delta tanh(d / delta)``.

    Examples
    --------
    >>> import numpy as np
    >>> values, dz = log_cosh(np.array([[0.001], [1000.0]]), np.zeros(2))
    >>> values.round(9).tolist(), dz.round(9).tolist()
    ([[5e-07], [999.306852819]], [[0.001], [1.0]])
    """
    d = z - numbers(y, z)
    delta = d.real.dtype.type(delta)
    v = d / delta
    size = np.sign(v.real) * v
    small = size.real < 0.5
    # 2 sinh(v / 2)^2 = cosh(v) - 1 without cancellation
    inside = np.log1p(2 * np.sinh(np.where(small, v, 0) / 2) ** 2)
    outside = size + np.log1p(np.exp(-2 * size)) - np.log(v.real.dtype.type(2))
    return delta * (delta * np.where(small, inside, outside)), delta * np.tanh(v)
