"""Turn what a caller gives into clean arrays, or into one line that says what is wrong.

Every message names the argument, what came and what was expected. Nothing here scans
contents for NaN or looks at the range of labels: the core does that while it reads them.
"""

from __future__ import annotations

import functools
import math
import operator
import os
import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from . import _core

Floats: TypeAlias = NDArray[np.floating[Any]]
Targets: TypeAlias = Floats | NDArray[np.int64]

F32: Final = np.dtype(np.float32)
F64: Final = np.dtype(np.float64)
I64: Final = np.dtype(np.int64)

LOSSES: Final = tuple(_core.losses())
CLASS_LOSSES: Final = frozenset({"cross_entropy"})  # y holds classes, not numbers per output
VALUE_LOSSES: Final = frozenset(LOSSES) - CLASS_LOSSES
STEPS: Final = ("last", "all")
REDUCTIONS: Final = ("mean", "sum", "sequence_mean")
RECORDS: Final = ("gradients",)

_UNLIMITED: Final = 1 << 60


# ---------------------------------------------------------------- scalars


def size(name: str, value: Any) -> int:
    """Return a whole number of at least 1."""
    if isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} is {value}; expected a whole number of at least 1")
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} is {value!r}; expected a whole number of at least 1") from None
    if number < 1:
        raise ValueError(f"{name} is {number}; expected at least 1")
    return number


def flag(name: str, value: Any) -> bool:
    """Return True or False; refuse what merely counts as one of them."""
    if isinstance(value, bool | np.bool_):
        return bool(value)
    raise TypeError(f"{name} is {value!r}; expected True or False")


def number(name: str, value: Any, expected: str) -> float:
    """Return a real number that is not NaN."""
    if isinstance(value, bool | np.bool_ | str | bytes) or not hasattr(value, "__float__"):
        raise TypeError(f"{name} is {value!r}; expected {expected}")
    try:
        result = float(value)
    except (TypeError, ValueError, OverflowError):
        raise TypeError(f"{name} is {value!r}; expected {expected}") from None
    if math.isnan(result):
        raise ValueError(f"{name} is nan; expected {expected}")
    return result


def clips(norm: Any, value: Any) -> tuple[float, float]:
    """Return clip_norm and clip_value as the core wants them: negative for none."""
    if norm is not None and value is not None:
        raise ValueError("clip_norm and clip_value are both given; expected at most one of them")
    return _clip("clip_norm", norm), _clip("clip_value", value)


def _clip(name: str, value: Any) -> float:
    if value is None:
        return -1.0
    result = number(name, value, "a number above 0, or None")
    if result <= 0.0:
        raise ValueError(f"{name} is {result}; expected a number above 0, or None")
    return result


_SIZE: Final = re.compile(r"\s*(\d+\.?\d*|\.\d+)\s*([kmgt]?)(i?)b\s*", re.IGNORECASE | re.ASCII)


def memory(name: str, value: Any) -> int:
    """Return a number of bytes: a whole number, or text with a unit."""
    expected = 'a whole number of bytes of at least 1, or text such as "200MB" or "1.5 GiB"'
    if isinstance(value, str):
        found = _SIZE.fullmatch(value)
        count = 0
        if found:
            base = 1024 if found[3] else 1000
            count = int(float(found[1]) * base ** " kmgt".index(found[2].lower() or " "))
        if count < 1 or (found and found[3] and not found[2]):
            raise ValueError(f"{name} is {value!r}; expected {expected}")
        return min(count, _UNLIMITED)
    try:
        if isinstance(value, bool | np.bool_):
            raise TypeError
        count = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} is {value!r}; expected {expected}") from None
    if count < 1:
        raise ValueError(f"{name} is {count}; expected {expected}")
    return min(count, _UNLIMITED)


def option(name: str, value: Any, allowed: Collection[str]) -> str:
    """Return one of a few names."""
    if isinstance(value, str) and value in allowed:
        return value
    names = ", ".join(f'"{one}"' for one in allowed)
    kind = ValueError if isinstance(value, str) else TypeError
    raise kind(f"{name} is {quoted(value)}; expected one of {names}")


def float_dtype(value: Any) -> np.dtype[Any]:
    """Return float32 or float64, in native byte order."""
    try:
        dtype = np.dtype(value)
    except (TypeError, ValueError):
        dtype = None
    if value is None or dtype is None or dtype not in (F32, F64):
        raise ValueError(f'dtype is {quoted(value)}; expected "float32" or "float64"')
    return F32 if dtype == F32 else F64


def quoted(value: Any) -> str:
    """Write a value as in Python, with double quotes around text."""
    return f'"{value}"' if isinstance(value, str) else repr(value)


# ---------------------------------------------------------------- memory


@functools.cache
def memory_limit() -> int:
    """Return the bytes of memory of this machine, or of this process's control group."""
    limit = _UNLIMITED
    with suppress(AttributeError, OSError, ValueError):
        limit = min(limit, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError), open(path, encoding="ascii") as file:
            limit = min(limit, int(file.read()))
    return limit


def bytes_text(count: int) -> str:
    """Write a number of bytes for people: 12.3 GB."""
    value = float(count)
    for unit in ("bytes", "kB", "MB", "GB", "TB", "PB"):
        if value < 1000.0:
            return f"{value:.1f} {unit}" if unit != "bytes" else f"{count} bytes"
        value /= 1000.0
    return f"{value:.3g} EB"


def fits(what: str, needed: int) -> None:
    """Refuse what cannot fit, before the system starts to kill processes."""
    limit = memory_limit()
    if needed > limit:
        raise MemoryError(f"{what} needs {bytes_text(needed)}; there is {bytes_text(limit)}")


def aligned_empty(count: int, dtype: np.dtype[Any]) -> Floats:
    """Make a 1-D array that starts at a multiple of 64 bytes."""
    raw = np.empty(count * dtype.itemsize + 64, np.uint8)
    start = -raw.__array_interface__["data"][0] % 64
    array: Floats = raw[start : start + count * dtype.itemsize].view(dtype)
    return array


# ---------------------------------------------------------------- arrays


def read(
    name: str, value: Any, expected: str = "real numbers (float32 or float64)"
) -> NDArray[Any]:
    """Read any array-like of real numbers, without a copy where none is needed."""
    if type(value) is np.ndarray:
        array = value
    else:
        if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
            masked = int(np.ma.getmaskarray(value).sum())
            raise ValueError(
                f"{name} is a masked array with {masked} masked values; "
                "expected none: fill them, or give lengths"
            )
        try:
            if hasattr(value, "__dlpack__") and not hasattr(value, "__array__"):
                array = np.from_dlpack(value)
            else:
                array = np.asarray(value)
        except MemoryError:
            raise
        except Exception as error:
            raise TypeError(
                f"{name} is a {type(value).__name__} that NumPy cannot read as an array of "
                f"numbers: {error}"
            ) from error
    if array.dtype.kind not in "fiub":
        came = f"dtype {array.dtype}"
        if array.dtype.kind == "O" and array.ndim == 0:
            came = f"type {type(value).__name__}"
        hint = ""
        if came == "dtype object" and array.ndim == 1 and len(array) and np.ndim(array[0]):
            hint = f"; for sequences give a list: list({name})"
        raise TypeError(f"{name} has {came}; expected {expected}{hint}")
    return array


def floats(array: NDArray[Any], dtype: np.dtype[Any]) -> Floats:
    """Make native, aligned float32 or float64; integers and booleans become `dtype`."""
    kind = array.dtype
    if kind is not F32 and kind is not F64:
        if kind.kind != "f":
            target = dtype
        elif kind.itemsize == 2:
            target = F32
        else:
            target = F32 if kind.itemsize == 4 else F64
        if kind != target:
            array = array.astype(target)
    return array if array.flags.aligned else array.copy()


def exact(
    name: str, value: Any, shape: tuple[int, ...], means: str, dtype: np.dtype[Any]
) -> Floats:
    """Read an array of exactly this shape: never broadcast."""
    array = read(name, value)
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}; expected {shape}: {means}")
    return floats(array, dtype)


def fitted(name: str, values: NDArray[Any], dtype: np.dtype[Any]) -> Floats:
    """Convert to the model's dtype; refuse what overflows there."""
    with np.errstate(over="ignore"):
        result: Floats = values.astype(dtype)
    if np.isinf(result).sum() > np.isinf(values).sum():
        raise ValueError(
            f"{name} holds values too large for {dtype}; "
            "expected values that the model's dtype can hold"
        )
    return result


def file_path(path: Any) -> str:
    """Return a path as text. A number would be taken for an open file's descriptor."""
    if not isinstance(path, str | bytes | os.PathLike):
        raise TypeError(f"path is of type {type(path).__name__}; expected str or os.PathLike")
    return os.fsdecode(path)


def same_names(what: str, given: Mapping[str, Any], names: tuple[str, ...]) -> None:
    """Refuse a mapping that has not exactly these names."""
    if not isinstance(given, Mapping):
        raise TypeError(f"{what} is of type {type(given).__name__}; expected a mapping")
    missing = [name for name in names if name not in given]
    unknown = [str(name) for name in given if name not in names]
    if missing or unknown:
        faults = [f"lacks {', '.join(missing)}"] if missing else []
        faults += [f"has unknown {', '.join(unknown)}"] if unknown else []
        raise ValueError(f"{what} {' and '.join(faults)}; expected {', '.join(names)}")
