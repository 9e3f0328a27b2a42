"""Interface of a loss: a module with a function of the same name.

``NAME(z, y, **parameters) -> values, dz`` computes on rows of outputs ``z`` (N, O). If targets are
numbers, ``y`` is (N, O), or (N,) if O is 1, and ``values`` is (N, O). If each target has K outputs,
which stand side by side, ``y`` is (N, O / K), and ``values`` has a column for each output or for
each target. If targets are classes, ``y`` is (N,) and ``values`` is (N, 1). ``dz`` (N, O) is the
derivative of the sum of the values. Both are analytic in ``z``, so that the complex step can check
them: no `abs`, and `max` and comparisons of real parts only. Parameters have the same defaults as
in the core.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]


def numbers(y: Array, z: Array) -> Array:
    """Convert targets to the shape and precision of the outputs."""
    return rows_of(y, z, 1)


def rows_of(y: Array, z: Array, outputs: int) -> Array:
    """Convert targets with so many outputs each to rows (N, targets) in the outputs' precision."""
    found: Array = y.reshape(len(z), z.shape[1] // outputs).astype(z.real.dtype)
    return found
