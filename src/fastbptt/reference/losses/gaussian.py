"""Negative log-likelihood of a normal distribution."""

from __future__ import annotations

import numpy as np

from ._loss import Array, rows_of


def gaussian(z: Array, y: Array) -> tuple[Array, Array]:
    """Negative log-likelihood of targets, without the constant ``log(2 pi) / 2``.

    ``(s + (m - y)^2 exp(-s)) / 2`` with the mean ``m`` and the logarithm of the variance, ``s``:
    ``torch.nn.GaussianNLLLoss`` of the variance ``exp(s)`` (Nix and Weigend 1994).

    Parameters
    ----------
    z : array (N, O)
        Outputs, real or complex: of each target ``m`` and ``s``, side by side.
    y : array (N, O / 2) or (N,) if O == 2
        Targets.

    Returns
    -------
    values : array (N, O / 2)
        Loss of each target.
    dz : array (N, O)
        Its derivatives, ``(m - y) exp(-s)`` and ``(1 - (m - y)^2 exp(-s)) / 2``.

    Examples
    --------
    >>> import numpy as np
    >>> values, dz = gaussian(np.array([[3.0, 0.0]]), np.array([1.0]))
    >>> values.tolist(), dz.tolist()
    ([[2.0]], [[2.0, -1.5]])
    """
    mean, log_variance = z[:, ::2], z[:, 1::2]
    d = mean - rows_of(y, z, 2)
    zero = d.real == 0  # times an infinity it stays 0
    inverse = np.exp(-log_variance / 2)
    u = d * np.where(zero, 1, inverse)
    dz = np.stack([u * np.where(zero, 1, inverse), (1 - u) * (1 + u) / 2], axis=2)
    return (log_variance + u * u) / 2, dz.reshape(z.shape)
