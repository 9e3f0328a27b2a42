"""Pinball loss of quantiles."""

from __future__ import annotations

import numpy as np

from ._loss import Array, rows_of


def quantile(
    z: Array, y: Array, levels: tuple[float, ...] = (0.1, 0.5, 0.9)
) -> tuple[Array, Array]:
    """Pinball loss (Koenker and Bassett 1978), which the quantile of a level minimises.

    With ``d = z - y``, for level ``q``: ``-q d`` where ``d < 0``, else ``(1 - q) d``.

    Parameters
    ----------
    z : array (N, O)
        Outputs, real or complex: of each target one for each level, side by side.
    y : array (N, O / levels) or (N,) if there is one target
        Targets.
    levels : tuple of float, default (0.1, 0.5, 0.9)
        Rising, above 0 and below 1.

    Returns
    -------
    values, dz : array (N, O)
        Loss of each output and its derivative: ``-q``, ``1 - q``, or 0 where ``d`` is 0.

    Examples
    --------
    >>> import numpy as np
    >>> values, dz = quantile(np.array([[1.0, 2.0, 4.0]]), np.array([2.0]), (0.25, 0.5, 0.75))
    >>> values.tolist(), dz.tolist()
    ([[0.25, 0.0, 0.5]], [[-0.25, 0.0, 0.25]])
    """
    d = z - np.repeat(rows_of(y, z, len(levels)), len(levels), axis=1)
    q = np.tile(np.array(levels, d.real.dtype), z.shape[1] // len(levels))
    slope = np.where(d.real < 0, -q, np.where(d.real > 0, 1 - q, 0))
    return slope * d, slope
