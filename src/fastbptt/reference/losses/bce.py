"""Binary cross-entropy on logits."""

from __future__ import annotations

import numpy as np

from ._loss import Array, numbers


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
    y = numbers(y, z)
    positive = z.real > 0
    e = np.exp(np.where(positive, -z, z))  # at most 1
    values = np.where(positive, (1 - y) * z, -y * z) + np.log1p(e)
    dz = (np.where(positive, 1 - y, e * (1 - y)) - np.where(positive, y * e, y)) / (1 + e)
    return values, dz
