"""Negative log-likelihood of a Poisson distribution."""

from __future__ import annotations

import numpy as np

from ._loss import Array, numbers


def poisson(z: Array, y: Array) -> tuple[Array, Array]:
    """Negative log-likelihood of counts with rate ``exp(z)``, without the constant ``log(y!)``.

    ``exp(z) - y z``, as ``torch.nn.PoissonNLLLoss`` with its defaults.

    Parameters
    ----------
    z : array (N, O)
        Logarithms of rates, real or complex.
    y : array (N, O) or (N,) if O == 1
        Targets, at least 0.

    Returns
    -------
    values, dz : array (N, O)
        Loss of each output and its derivative, ``exp(z) - y``.

    Examples
    --------
    >>> import numpy as np
    >>> values, dz = poisson(np.zeros((2, 1)), np.array([0.0, 3.0]))
    >>> values.tolist(), dz.tolist()
    ([[1.0], [1.0]], [[1.0], [-2.0]])
    """
    y = numbers(y, z)
    rate = np.exp(z)
    return rate - y * z, rate - y
