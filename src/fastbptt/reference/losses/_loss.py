"""What a loss is: a module of its name with a function of that name.

``NAME(z, y, **parameters) -> values, dz`` computes on rows of outputs ``z`` (N, O). Of numbers,
``y`` is (N, O), or (N,) if O is 1, and ``values`` (N, O). Of classes, ``y`` is (N,) and ``values``
(N, 1). ``dz`` (N, O) is the derivative of the sum of the values. Both are analytic in ``z`` (no
`abs`, and `max` and comparisons of real parts only), so that the complex step can check them.
Parameters have the defaults of the core.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]


def numbers(y: Array, z: Array) -> Array:
    """Targets in the shape and precision of the outputs."""
    found: Array = y.reshape(z.shape).astype(z.real.dtype)
    return found
