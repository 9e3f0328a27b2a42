"""Weights as C arrays: in float or double, or rounded to integers with a scale for each row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._check import Floats

#: Integer weights: their dtype, and the largest of them.
INTEGERS: Final[dict[str, tuple[np.dtype[Any], int]]] = {
    "int8": (np.dtype(np.int8), 127),
    "int16": (np.dtype(np.int16), 32767),
}
#: What floats are in C.
TYPES: Final = {
    "float32": "float",
    "float64": "double",
    "int8": "int8_t",
    "int16": "int16_t",
    "int32": "int32_t",
}
_FORMATS: Final = {"float32": "%.8ef", "float64": "%.16e"}
_PER_LINE: Final = 8


class Rounded(NamedTuple):
    """A matrix of integers; row k times ``scale[k]`` is nearly row k of the original."""

    whole: NDArray[Any]
    scale: Floats

    def restored(self) -> Floats:
        """Return the matrix that it stands for."""
        result: Floats = self.whole.astype(self.scale.dtype) * self.scale[:, np.newaxis]
        return result


def rounded(matrix: Floats, weights: str) -> Rounded:
    """Round a matrix (rows, columns) to "int8" or "int16", symmetrically about 0.

    No weight is off by more than half of its row's scale, the row's largest weight / 127 or 32767.

    Examples
    --------
    >>> import numpy as np
    >>> rounded(np.array([[1.0, -0.5, 0.1], [0.0, 0.0, 0.0]]), "int8").whole.tolist()
    [[127, -64, 13], [0, 0, 0]]
    """
    kind, most = INTEGERS[weights]
    largest = np.abs(matrix).max(axis=1).astype(np.float64)
    scale = np.where(largest > 0.0, largest / most, 1.0).astype(matrix.dtype)
    scale[scale == 0.0] = np.finfo(matrix.dtype).tiny  # of a row of denormal numbers
    whole = np.rint(matrix.astype(np.float64) / scale.astype(np.float64)[:, np.newaxis])
    return Rounded(whole.clip(-most, most).astype(kind), scale)


def array(name: str, values: NDArray[Any]) -> Iterator[str]:
    """Write ``static const TYPE NAME[N] = {...};``, in lines, from an array in C order.

    Digits are as many as it takes to read the same number back.
    """
    one = _FORMATS.get(values.dtype.name, "%d")
    yield f"static const {TYPES[values.dtype.name]} {name}[{values.size}] = {{\n"
    flat = values.ravel()
    for start in range(0, flat.size, _PER_LINE):
        part = flat[start : start + _PER_LINE].tolist()
        yield f"    {', '.join([one] * len(part))},\n" % tuple(part)
    yield "};\n\n"


def literal(value: float, dtype: np.dtype[Any]) -> str:
    """Write one number of this dtype."""
    text: str = _FORMATS[dtype.name] % dtype.type(value)
    return text
