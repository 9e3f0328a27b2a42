"""Binary cross-entropy on logits."""

from __future__ import annotations

import numpy as np

from ._loss import Array, numbers


def bce(
    z: Array, y: Array, label_smoothing: float = 0.0, gamma: float = 0.0
) -> tuple[Array, Array]:
    """Binary cross-entropy on logits, ``softplus(z) - y z``, accurate for ``z`` of any size.

    Parameters
    ----------
    z : array (N, O)
        Logits, real or complex.
    y : array (N, O) or (N,) if O == 1
        Probabilities of the positive class, 0 to 1.
    label_smoothing : float, default 0
        ``a`` from 0 to 1: targets ``y (1 - a) + a / 2`` instead, as in Keras' BinaryCrossentropy.
    gamma : float, default 0
        At least 0. The focal loss of Lin, Goyal, Girshick, He and Dollár (2017): the term of each
        of the two classes, ``-log(p)`` of its probability, is multiplied by ``(1 - p)^gamma``.

    Returns
    -------
    values, dz : array (N, O)
        Loss of each output and its derivative, ``sigmoid(z) - y`` if `gamma` is 0.

    Examples
    --------
    >>> import numpy as np
    >>> values, dz = bce(np.array([[0.0], [-1000.0]]), np.array([1.0, 1.0]))
    >>> values.round(4).tolist(), dz.tolist()
    ([[0.6931], [1000.0]], [[-0.5], [-1.0]])
    """
    y = numbers(y, z)
    a, gamma = y.dtype.type(label_smoothing), y.dtype.type(gamma)
    y = y * (1 - a) + a / 2
    if gamma:
        (up, d_up), (down, d_down) = focal_term(z, gamma), focal_term(-z, gamma)
        return y * up + (1 - y) * down, y * d_up - (1 - y) * d_down
    positive = z.real > 0
    e = np.exp(np.where(positive, -z, z))  # at most 1
    values = np.where(positive, (1 - y) * z, -y * z) + np.log1p(e)
    dz = (np.where(positive, 1 - y, e * (1 - y)) - np.where(positive, y * e, y)) / (1 + e)
    return values, dz


def focal_term(z: Array, gamma: float) -> tuple[Array, Array]:
    """Return ``-(1 - p)^gamma log(p)`` of ``p = sigmoid(z)``, and its derivative."""
    positive = z.real > 0
    e = np.exp(np.where(positive, -z, z))  # at most 1
    large, small = 1 / (1 + e), e / (1 + e)
    p, rest = np.where(positive, large, small), np.where(positive, small, large)
    minus_log = np.log1p(e) + np.where(positive, 0, -z)
    # (1 - p)^gamma, as exp(-gamma log(1 / (1 - p))): a power of 0 is no analytic function
    power = np.exp(-gamma * (np.log1p(e) + np.where(positive, z, 0)))
    return power * minus_log, -power * (rest + gamma * p * minus_log)
