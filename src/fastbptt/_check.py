"""Convert arguments into clean arrays, or refuse them with a message of one line.

Every message names the argument, what came and what was expected. Nothing here scans
contents for NaN or looks at the range of labels: the core does that while it reads them.
"""

from __future__ import annotations

import math
import operator
import os
import re
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from . import _core
from ._errors import ArgumentError, ArgumentTypeError

Floats: TypeAlias = NDArray[np.floating[Any]]
Targets: TypeAlias = Floats | NDArray[np.int64]

F32: Final = np.dtype(np.float32)
F64: Final = np.dtype(np.float64)
I64: Final = np.dtype(np.int64)
BOOL: Final = np.dtype(np.bool_)
DTYPE_NAMES: Final = {F32: "float32", F64: "float64"}

STEPS: Final = ("last", "all")
POOLED: Final = ("mean", "max")
READOUTS: Final = (*STEPS, *POOLED)  # what the readout sees
REDUCTIONS: Final = ("mean", "sum", "sequence_mean")
RECORDS: Final = ("gradients",)

_UNLIMITED: Final = 1 << 60
_LONG_INTEGER: Final = 1000  # bits; Python refuses to write many more
_ROUNDED: Final = 2.0**-10  # a rounding that a network of usual weights would see
_RESOLVED: Final = 1e-3  # of the span of numbers: a coarser dtype loses digits that matter


# ---------------------------------------------------------------- scalars


def size(name: str, value: Any, least: int = 1) -> int:
    """Return a whole number of at least 1, or `least`."""
    if isinstance(value, bool | np.bool_):
        raise ArgumentTypeError(name, f"is {value}", f"a whole number of at least {least}")
    try:
        number = operator.index(value)
    except TypeError:
        raise ArgumentTypeError(
            name, f"is {shown(value)}", f"a whole number of at least {least}"
        ) from None
    if number < least:
        raise ArgumentError(name, f"is {shown(number)}", f"at least {least}", value=number)
    return number


def count(name: str, value: Any) -> int:
    """Return a whole number of at least 1; what the core cannot count to is as many as it can."""
    return min(size(name, value), _UNLIMITED)


def flag(name: str, value: Any) -> bool:
    """Return True or False; refuse what merely counts as one of them."""
    if isinstance(value, bool | np.bool_):
        return bool(value)
    raise ArgumentTypeError(name, f"is {shown(value)}", "True or False")


def number(name: str, value: Any, expected: str) -> float:
    """Return a real number that is not NaN."""
    if isinstance(value, bool | np.bool_ | str | bytes) or not hasattr(value, "__float__"):
        raise ArgumentTypeError(name, f"is {shown(value)}", expected)
    try:
        result = float(value)
    except (TypeError, ValueError, OverflowError):
        raise ArgumentTypeError(name, f"is {shown(value)}", expected) from None
    if math.isnan(result):
        raise ArgumentError(name, "is nan", expected, value=result)
    return result


def clip(norm: Any, value: Any) -> _core.Clip:
    """Read clip_norm and clip_value; None: no limit."""
    if norm is not None and value is not None:
        raise ArgumentError("clip_norm and clip_value", "are both given", "at most one of them")
    return _core.Clip(
        norm=None if norm is None else limit("clip_norm", norm, ", or None"),
        value=None if value is None else limit("clip_value", value, ", or None"),
    )


def limit(name: str, value: Any, other: str = "") -> float:
    """Return a number above 0; `other`: what else could have been given."""
    expected = f"a number above 0{other}"
    result = number(name, value, expected)
    if result <= 0.0:
        raise ArgumentError(name, f"is {result}", expected, value=result)
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
            most = float(found[1]) * base ** " kmgt".index(found[2].lower() or " ")
            count = int(min(most, _UNLIMITED))
        if not found or (found[3] and not found[2]):
            raise ArgumentError(name, f"is {shown(value)}", expected)
        if count < 1:
            raise ArgumentError(name, f"is {shown(value)}", expected, value=count)
        return min(count, _UNLIMITED)
    try:
        if isinstance(value, bool | np.bool_):
            raise TypeError
        count = operator.index(value)
    except TypeError:
        raise ArgumentTypeError(name, f"is {shown(value)}", expected) from None
    if count < 1:
        raise ArgumentError(name, f"is {shown(count)}", expected, value=count)
    return min(count, _UNLIMITED)


def option(name: str, value: Any, allowed: Collection[str]) -> str:
    """Return one of a few names."""
    if isinstance(value, str) and value in allowed:
        return value
    names = ", ".join(f'"{one}"' for one in allowed)
    kind = ArgumentError if isinstance(value, str) else ArgumentTypeError
    raise kind(name, f"is {quoted(value)}", f"one of {names}")


def float_dtype(value: Any) -> np.dtype[Any]:
    """Return float32 or float64, in native byte order."""
    try:
        dtype = np.dtype(value)
    except (TypeError, ValueError):
        dtype = None
    if value is None or dtype is None or dtype not in (F32, F64):
        raise ArgumentError("dtype", f"is {quoted(value)}", '"float32" or "float64"')
    return F32 if dtype == F32 else F64


def generator(seed: Any) -> np.random.Generator:
    """Return ``numpy.random.default_rng(seed)``, with an error that names the argument."""
    expected = "None, a whole number of at least 0, or a numpy.random.Generator"
    try:
        return np.random.default_rng(seed)
    except TypeError:
        raise ArgumentTypeError("seed", f"is {shown(seed)}", expected) from None
    except ValueError:
        raise ArgumentError("seed", f"is {shown(seed)}", expected) from None


def quoted(value: Any) -> str:
    """Write a value as in Python, with double quotes around text; NumPy's as Python's."""
    if isinstance(value, np.generic):
        value = value.item()
    return f'"{value}"' if isinstance(value, str) else shown(value)


def shown(value: Any) -> str:
    """Write a value as in Python; of an array and of what is long or holds arrays, its kind."""
    if getattr(value, "ndim", 0):
        return f"an array of shape {tuple(value.shape)}"
    if isinstance(value, int) and value.bit_length() > _LONG_INTEGER:
        return f"a whole number of {value.bit_length()} bits"
    try:
        text = repr(value)
    except ValueError:  # of integers in it that are longer
        return f"of type {type(value).__name__}"
    short = len(text) <= 200 and "array(" not in text
    return text if short else f"of type {type(value).__name__}"


def plain(value: Any) -> Any:
    """Return a number of NumPy, also within a tuple, as one of Python, which is shown as 0."""
    if isinstance(value, tuple):
        return tuple(map(plain, value))
    return value.item() if isinstance(value, np.generic) else value


def one_line(text: object, most: int = 400) -> str:
    """Write the text of a foreign error, or of a file, in a line that any terminal can show."""
    line = " ".join(part.strip(" ") for part in str(text).splitlines())
    line = line if len(line) <= most else f"{line[:most]}..."
    return line.encode("utf-8", "backslashreplace").decode()


# ---------------------------------------------------------------- memory


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
    limit = _core.memory_limit()
    if needed > limit:
        raise MemoryError(f"{what} needs {bytes_text(needed)}; there is {bytes_text(limit)}")


def aligned_empty(count: int, dtype: np.dtype[Any]) -> Floats:
    """Make a 1-D array that starts at a multiple of 64 bytes."""
    raw = np.empty(count * dtype.itemsize + 64, np.uint8)
    start = -raw.__array_interface__["data"][0] % 64
    array: Floats = raw[start : start + count * dtype.itemsize].view(dtype)
    return array


# ---------------------------------------------------------------- arrays

# What an object raises that is no array; others are those of a program's handler of signals.
REFUSALS = (
    ArithmeticError,
    AttributeError,
    BufferError,
    ImportError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)


def read(
    name: str,
    value: Any,
    expected: str = "real numbers (float32 or float64)",
    item: int | None = None,
) -> NDArray[Any]:
    """Read any array-like of real numbers, without a copy where none is needed.

    item: if it is an item of the list `name`, which one.
    """
    if type(value) is np.ndarray:
        array = value
    else:
        no_mask(name, value, item)
        on_cpu(name, value, item)
        axes_in_order(name, value, item)
        try:
            if hasattr(value, "__dlpack__") and not hasattr(value, "__array__"):
                array = np.from_dlpack(value)
            else:
                array = np.asarray(value)
        except REFUSALS as error:
            if "bfloat16" in str(getattr(value, "dtype", "")):
                raise ArgumentTypeError(
                    name, "has dtype bfloat16", f"{expected}: {name}.float()", item=item
                ) from error
            raise ArgumentTypeError(
                name,
                f"is a {type(value).__name__} that NumPy cannot read as an array of numbers: "
                f"{error}",
                item=item,
            ) from error
    if array.dtype.kind not in "fiub":
        came = f"dtype {array.dtype}"
        if array.dtype.kind == "O" and array.ndim == 0:
            came = f"type {type(value).__name__}"
        hint = ""
        if "float" in array.dtype.name:  # bfloat16 and smaller ones, which NumPy does not know
            hint = f': {name}.astype("float32")'
        elif came == "dtype object" and array.ndim == 1 and len(array) and np.ndim(array[0]):
            hint = f"; for sequences give a list: list({name})"
        elif name in ("x", "y") and array.dtype.kind == "O" and _are_numbers(array):
            hint = f'; if these are numbers, numpy.asarray({name}, "float64")'
        elif name == "y" and array.size and isinstance(array.flat[0], str | bytes):
            hint = "; for names of classes: classes, y = numpy.unique(y, return_inverse=True)"
        raise ArgumentTypeError(name, f"has {came}", f"{expected}{hint}", item=item)
    return array


def no_mask(name: str, value: Any, item: int | None = None) -> None:
    """Refuse masked values, which an array would hold as if they were data."""
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        masked = int(np.ma.getmaskarray(value).sum())
        raise ArgumentError(
            name,
            f"is a masked array with {masked} masked values",
            "none: fill them, or leave them out; sequences may have different lengths",
            item=item,
        )


# DLPack's numbers of memory: those that the CPU reads, and names of others.
_CPU_MEMORY = (1, 3, 11)
_DEVICES = {2: "CUDA", 7: "Vulkan", 8: "Metal", 10: "ROCm", 13: "CUDA", 14: "oneAPI"}


def one_each(name: str, value: Any, what: str = "target") -> None:
    """Refuse a list of sequences of several lengths where each sequence has one target."""
    if not isinstance(value, list | tuple):
        return
    several = (
        one for one in value if hasattr(one, "__len__") and getattr(one, "shape", None) != ()
    )
    if len({len(one) for one in several if not isinstance(one, str | bytes)}) > 1:
        expected = f'one {what} per sequence; for {what}s at every step, steps="all"'
        raise ArgumentError(name, "is a list of sequences of unequal lengths", expected)


def on_cpu(name: str, value: Any, item: int | None = None) -> None:
    """Refuse an array in the memory of a GPU, which NumPy refuses or copies without a word."""
    try:
        kind, index = map(int, value.__dlpack_device__())
    except REFUSALS:  # none of this protocol, or none of real memory
        return
    if kind not in _CPU_MEMORY:
        one = name if item is None else f"{name}[{item}]"
        if hasattr(value, "cpu"):
            copy = f"{one}.cpu()"
        else:
            copy = f"{one}.get()" if hasattr(value, "get") else f"jax.device_get({one})"
        raise ArgumentTypeError(
            name,
            f"is a {type(value).__name__} on a {_DEVICES.get(kind, 'foreign')} device ({index})",
            f"an array in the CPU's memory: {copy}",
            item=item,
        )


# What people call the axes of sequences, in the order of the axes here.
_AXES = (
    {"batch", "batches", "case", "cases", "id", "instance", "sample", "samples", "sequence"},
    {"date", "step", "steps", "time", "timepoint", "timepoints", "timestep", "timesteps"},
    {"channel", "channels", "feature", "features", "variable", "variables"},
)


def axes_in_order(name: str, value: Any, item: int | None = None) -> None:
    """Refuse an array of xarray whose names say that its axes are in another order."""
    names = getattr(value, "dims", None)
    if not isinstance(names, tuple) or not all(isinstance(axis, str) for axis in names):
        return
    called = [[axis for axis in names if axis.lower() in words] for words in _AXES]
    places = {k: axes[0] for k, axes in enumerate(called) if len(axes) == 1}
    others = [axis for axis in names if axis not in places.values()]
    one = name if item is None else f"{name}[{item}]"
    if len(names) == 3 and len(others) > 1:  # the order of these is not known
        if any(names[k] != axis for k, axis in places.items()):
            known = " and ".join(f'"{axis}" as axis {k}' for k, axis in sorted(places.items()))
            raise ArgumentError(
                name,
                f"has the axes ({', '.join(names)})",
                f"sequences, time and features in this order, with {known}: {one}.transpose(..)",
                item=item,
            )
        return
    if len(names) == 3:  # each has its place
        order = [places.get(k) or others.pop(0) for k in range(3)]
    elif len(names) == 2 and len(places) == 2:
        order = [places[k] for k in sorted(places)]
    else:
        return
    if list(names) != order:
        wanted = ", ".join(f'"{axis}"' for axis in order)
        raise ArgumentError(
            name,
            f"has the axes ({', '.join(names)})",
            f"sequences, time and features in this order: {one}.transpose({wanted})",
            item=item,
        )


def no_frame(name: str, value: Any, item: int | None = None) -> None:
    """Refuse a table with named columns where columns are known by their places alone."""
    if hasattr(value, "columns") and hasattr(value, "__array__"):
        whole = name if item is None else f"[one[names].to_numpy() for one in {name}]"
        raise ArgumentTypeError(
            name,
            f"is a frame of shape {value.shape}, whose columns may come in any order",
            f"its array, of the columns in the same order everywhere: {name}[names].to_numpy()"
            if item is None
            else f"arrays, of the columns in the same order everywhere: {whole}",
            item=item,
        )


def in_order_of_time(name: str, value: Any, item: int | None = None) -> None:
    """Refuse a series of pandas whose index holds dates in another order than that of time."""
    index: Any = getattr(value, "index", None)
    if not hasattr(index, "is_monotonic_increasing") or index.is_monotonic_increasing:
        return
    if index.dtype.kind in "Mm" or hasattr(index, "asfreq"):
        whole = f"{name}.sort_index()" if item is None else f"[one.sort_index() for one in {name}]"
        raise ArgumentError(
            name,
            "has an index of dates that are not in order",
            f"rows in order of time: {whole}",
            item=item,
        )


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
    name: str,
    value: Any,
    shape: tuple[int, ...],
    means: str,
    dtype: np.dtype[Any],
    item: int | None = None,
) -> Floats:
    """Read an array of exactly this shape: never broadcast."""
    array = read(name, value, item=item)
    if array.shape != shape:
        raise ArgumentError(name, f"has shape {array.shape}", f"{shape}: {means}", item=item)
    return floats(array, dtype)


def fitted(name: str, values: NDArray[Any], dtype: np.dtype[Any]) -> Floats:
    """Convert to the model's dtype; refuse what overflows there."""
    with np.errstate(over="ignore"):
        result: Floats = values.astype(dtype)
    if np.isinf(result).sum() > np.isinf(values).sum():
        raise ArgumentError(
            name,
            f"holds values too large for {dtype}",
            "values that the model's dtype can hold",
        )
    return result


def is_number(value: Any) -> bool:
    """Whether it is a real number of any type, such as a Decimal."""
    return hasattr(value, "__float__") and not isinstance(value, str | bytes | np.ndarray)


def _are_numbers(array: NDArray[Any]) -> bool:
    return bool(array.size) and is_number(array.flat[0])


class Unresolved(NamedTuple):
    """A column of numbers of which a coarser dtype loses digits that matter.

    column : int
    value : float
        The number of greatest magnitude in it.
    span : float
        The difference between the greatest and the smallest number.
    rounding : float
        The distance of numbers of this magnitude in the coarser dtype.
    dtype : dtype
        The coarser one.
    """

    column: int
    value: float
    span: float
    rounding: float
    dtype: np.dtype[Any]

    def __str__(self) -> str:
        return (
            f"differences of up to {self.span:.3g} between numbers such as {self.value!r}, which "
            f"{self.dtype} rounds to multiples of {self.rounding:.3g}"
        )


def _extent(rows: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the least and the greatest number of each column; narrow rows go side by side."""
    count, width = rows.shape
    fold = min(max(128 // width, 1), count)
    even = count - count % fold
    wide = rows[:even].reshape(-1, fold * width)
    ends = [wide.min(axis=0).reshape(fold, width), wide.max(axis=0).reshape(fold, width)]
    least, most = (np.concatenate([one, rows[even:]]) for one in ends)
    return least.min(axis=0), most.max(axis=0)


def unresolved(
    blocks: Callable[[], Iterable[NDArray[Any]]], dtype: np.dtype[Any]
) -> Unresolved | None:
    """Find a column whose numbers differ by less than a dtype resolves; None: there is none.

    Parameters
    ----------
    blocks : callable
        Returns arrays (rows, columns) afresh at each call; a column with NaN is left out.
    dtype : dtype
        float32 or float64.
    """
    low = high = None
    for block in blocks():
        if holds(dtype, block.dtype):
            continue
        least, most = _extent(block)
        low = least if low is None else np.minimum(low, least)
        high = most if high is None else np.maximum(high, most)
    if low is None or high is None:
        return None
    with np.errstate(invalid="ignore", over="ignore"):
        coarse, _ = too_coarse(low, high, dtype)
        for column in np.flatnonzero(coarse).tolist():
            for block in blocks():
                values = block[:, column]
                if (values.astype(dtype).astype(values.dtype) != values).any():
                    return lost_digits(low, high, column, dtype)
    return None


def too_coarse(
    low: NDArray[Any], high: NDArray[Any], dtype: np.dtype[Any]
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Tell of which columns, between these numbers, a dtype may lose digits; and their spans."""
    with np.errstate(invalid="ignore", over="ignore"):
        if low.dtype.kind in "iu":  # a difference of integers fits into the unsigned ones
            span = (high.astype(np.uint64) - low.astype(np.uint64)).astype(F64)
        else:
            span = (high - low).astype(F64)
        size = np.maximum(np.abs(low.astype(F64)), np.abs(high.astype(F64)))
        return (np.finfo(dtype).eps * size > _RESOLVED * span) & (span > 0.0), span


def lost_digits(
    low: NDArray[Any], high: NDArray[Any], column: int, dtype: np.dtype[Any]
) -> Unresolved:
    """Describe a column of which a dtype loses digits."""
    value = max(low[column], high[column], key=abs).item()
    rounding = float(np.spacing(dtype.type(abs(value))))
    span = float(too_coarse(low, high, dtype)[1][column])
    return Unresolved(column, value, span, rounding, dtype)


def whole_numbers_lost(whole: list[int]) -> Unresolved | None:
    """Describe whole numbers of any size of which float64 loses digits; None: it does not."""
    span, value = max(whole) - min(whole), max(whole, key=abs)
    rounding = float(np.spacing(abs(float(value))))
    if span == 0 or rounding <= _RESOLVED * span or all(float(one) == one for one in whole):
        return None
    return Unresolved(0, value, float(span), rounding, F64)


def may_round(arrays: Iterable[NDArray[Any]], dtype: np.dtype[Any]) -> bool:
    """Whether a dtype rounds any of some numbers so much that `warn_of_rounding` might warn."""
    most = _ROUNDED / float(np.finfo(dtype).eps)
    return any(
        not (holds(dtype, one.dtype) or (one.max() < most and one.min() > -most)) for one in arrays
    )


def warn_of_rounding(name: str, found: Unresolved, source: str = "", stacklevel: int = 3) -> None:
    """Warn of numbers that a model cannot tell apart; not where the rounding itself is small.

    Where only some of the data are known this is no error: their differences may be small beside
    those of the others. What has been standardised never comes here.
    """
    if found.rounding < _ROUNDED:
        return
    warnings.warn(
        f"{source + ': ' if source else ''}{name} has {found} (column {found.column}): the model "
        f"cannot tell these apart. Standardise {name} as for training, before it becomes "
        f'{found.dtype}; or give numpy.asarray({name}, "{found.dtype}") if these digits do not '
        "matter",
        UserWarning,
        stacklevel=stacklevel,
    )


def holds(dtype: np.dtype[Any], other: np.dtype[Any]) -> bool:
    """Whether a floating-point dtype holds all numbers of another, exactly."""
    if other.kind in "iu" and other.itemsize == 8:  # NumPy calls its cast to float64 safe
        return False
    return np.can_cast(other, dtype)


def resolved_by_float64(name: str, *arrays: NDArray[Any]) -> None:
    """Refuse integers, (..., columns), whose differences float64 loses, such as long counters."""
    if all(holds(F64, array.dtype) for array in arrays):
        return
    tables = [array.reshape(-1, array.shape[-1]) for array in arrays if array.size]
    found = unresolved(lambda: tables, F64)
    if found is not None:
        raise ArgumentError(
            name,
            f"has {found} (column {found.column})",
            "numbers counted from one near them: subtract the least before",
        )


def file_path(path: Any) -> str:
    """Return a path as text. A number would be taken for an open file's descriptor."""
    if not isinstance(path, str | bytes | os.PathLike):
        raise ArgumentTypeError("path", f"is of type {type(path).__name__}", "str or os.PathLike")
    return os.fsdecode(path)


def same_names(what: str, given: Mapping[str, Any], names: tuple[str, ...]) -> None:
    """Refuse a mapping that has not exactly these names."""
    if not isinstance(given, Mapping):
        raise ArgumentTypeError(what, f"is of type {type(given).__name__}", "a mapping")
    missing = [name for name in names if name not in given]
    unknown = [str(name) for name in given if name not in names]
    if missing or unknown:
        faults = [f"lacks {', '.join(missing)}"] if missing else []
        faults += [f"has unknown {', '.join(unknown)}"] if unknown else []
        raise ArgumentError(what, " and ".join(faults), ", ".join(names))
