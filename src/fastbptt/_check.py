"""Turn what a caller gives into clean arrays, or into one line that says what is wrong.

Every message names the argument, what came and what was expected. Nothing here scans
contents for NaN or looks at the range of labels: the core does that while it reads them.
"""

from __future__ import annotations

import functools
import math
import operator
import os
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Any, Final, SupportsFloat, TypeAlias

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
    if isinstance(value, bool | np.bool_ | str | bytes) or not isinstance(value, SupportsFloat):
        raise TypeError(f"{name} is {value!r}; expected {expected}")
    try:
        result = float(value)
    except (TypeError, ValueError, OverflowError):
        raise TypeError(f"{name} is {value!r}; expected {expected}") from None
    if math.isnan(result):
        raise ValueError(f"{name} is nan; expected {expected}")
    return result


def clip(value: Any) -> float:
    """Return clip_norm as the core wants it: negative for none."""
    if value is None:
        return -1.0
    result = number("clip_norm", value, "a number above 0, or None")
    if result <= 0.0:
        raise ValueError(f"clip_norm is {result}; expected a number above 0, or None")
    return result


def option(name: str, value: Any, allowed: Collection[str]) -> str:
    """Return one of a few names."""
    if isinstance(value, str) and value in allowed:
        return value
    names = ", ".join(f'"{one}"' for one in allowed)
    kind = ValueError if isinstance(value, str) else TypeError
    raise kind(f"{name} is {_quoted(value)}; expected one of {names}")


def float_dtype(value: Any) -> np.dtype[Any]:
    """Return float32 or float64, in native byte order."""
    try:
        dtype = np.dtype(value)
    except (TypeError, ValueError):
        dtype = None
    if value is None or dtype is None or dtype not in (F32, F64):
        raise ValueError(f'dtype is {_quoted(value)}; expected "float32" or "float64"')
    return F32 if dtype == F32 else F64


def _quoted(value: Any) -> str:
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
        raise TypeError(f"{name} has {came}; expected {expected}")
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


def state(
    name: str, value: Any, layers: int, batch: int, hidden: int, dtype: np.dtype[Any]
) -> Floats | None:
    """Read a state, or the gradient of one, or None."""
    if value is None:
        return None
    means = "(layers * directions, batch, hidden_size)"
    return exact(name, value, (layers, batch, hidden), means, dtype)


def weights(value: Any, batch: int) -> NDArray[np.float64] | None:
    """Read one weight per sequence, or None."""
    if value is None:
        return None
    array = exact("sample_weight", value, (batch,), "one weight per sequence", F64)
    return array.astype(F64, copy=False)


def lengths(value: Any, batch: int, time: int) -> NDArray[np.int64] | None:
    """Take a private copy of the lengths, then check it."""
    if value is None:
        return None
    whole = f"whole numbers from 1 to {time}, the time axis of x"
    if isinstance(value, list | tuple):
        for i, one in enumerate(value):
            if isinstance(one, bool | np.bool_):
                raise TypeError(f"lengths[{i}] is {one}; expected {whole}")
    copy = np.array(read("lengths", value, whole))
    if copy.dtype.kind == "b":
        raise TypeError(f"lengths has dtype bool; expected {whole}")
    if copy.shape != (batch,):
        raise ValueError(
            f"lengths has shape {copy.shape}; expected ({batch},): one per sequence of x"
        )
    wrong = ~((copy >= 1) & (copy <= time))
    if copy.dtype.kind == "f":
        wrong |= copy != np.floor(copy)
    if wrong.any():
        i = int(wrong.argmax())
        raise ValueError(f"lengths[{i}] is {copy[i].item()}; expected {whole}")
    return copy.astype(I64)


def inputs(
    x: Any, given_lengths: Any, input_size: int, most_steps: int, dtype: np.dtype[Any]
) -> tuple[Floats, NDArray[np.int64] | None]:
    """Read x (batch, time, input_size) and its lengths; pad a list of sequences."""
    if isinstance(x, list | tuple):
        return _padded(x, given_lengths, input_size, most_steps, dtype)
    array = read("x", x)
    shape = array.shape
    if len(shape) != 3 or shape[2] != input_size:
        hint = "; for one sequence give x[None]" if len(shape) == 2 else ""
        raise ValueError(
            f"x has shape {shape}; expected (batch, time, {input_size}) "
            f"because input_size={input_size}{hint}"
        )
    if 0 in shape:
        axis = "sequence" if shape[0] == 0 else "time step"
        raise ValueError(f"x has shape {shape}; expected at least one {axis}")
    checked = lengths(given_lengths, shape[0], shape[1])
    _enough_memory(shape[0], shape[1], checked, most_steps)
    return floats(array, dtype), checked


def _padded(
    x: list[Any] | tuple[Any, ...],
    given_lengths: Any,
    input_size: int,
    most_steps: int,
    dtype: np.dtype[Any],
) -> tuple[Floats, NDArray[np.int64] | None]:
    if not x:
        raise ValueError("x is an empty list; expected at least one sequence")
    items = []
    for i, one in enumerate(x):
        item = read(f"x[{i}]", one)
        if item.ndim != 2 or item.shape[1] != input_size:
            raise ValueError(
                f"x[{i}] has shape {item.shape}; expected (time, {input_size}) "
                f"because input_size={input_size}"
            )
        if item.shape[0] == 0:
            raise ValueError(f"x[{i}] has shape {item.shape}; expected at least one time step")
        items.append(item)
    own = np.array([len(item) for item in items], I64)
    time = int(own.max())
    _enough_memory(len(items), time, own, most_steps)
    given = lengths(given_lengths, len(items), time)
    if given is not None and (given != own).any():
        i = int((given != own).argmax())
        raise ValueError(
            f"lengths[{i}] is {given[i]}; expected {own[i]}, the steps of x[{i}] "
            "(a list of sequences needs no lengths)"
        )
    return _stack(items, time, dtype), own if int(own.min()) < time else None


def _stack(items: list[NDArray[Any]], time: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    batch = np.zeros((len(items), time, *items[0].shape[1:]), dtype)
    with np.errstate(over="ignore"):  # an overflow becomes inf, which the core reports
        for row, item in zip(batch, items, strict=True):
            row[: len(item)] = item
    return batch


def _enough_memory(
    batch: int, time: int, lengths: NDArray[np.int64] | None, most_steps: int
) -> None:
    steps = batch * time if lengths is None else int(lengths.sum())
    if steps > most_steps:
        raise MemoryError(
            f"x has {steps} steps in all; expected at most {most_steps}, "
            f"whose states fill {bytes_text(memory_limit())}"
        )


def targets(
    y: Any,
    own_lengths: NDArray[np.int64] | None,
    batch: int,
    time: int,
    outputs: int,
    loss: str,
    steps: str,
    dtype: np.dtype[Any],
    ragged: bool,
) -> Targets:
    """Read y for its loss: (batch[, time], outputs) numbers, or (batch[, time]) classes."""
    classes = loss in CLASS_LOSSES
    context = f'loss="{loss}", steps="{steps}"'
    if ragged and steps == "all" and isinstance(y, list | tuple):
        return _padded_targets(y, own_lengths, batch, time, outputs, classes, context, dtype)
    lead = (batch, time) if steps == "all" else (batch,)
    means = "(batch, time" if steps == "all" else "(batch"
    array = read("y", y)
    _target_kind("y", array, classes, context)
    return _target_array("y", array, lead, means, outputs, classes, context, dtype)


def _target_kind(name: str, array: NDArray[Any], classes: bool, context: str) -> None:
    if classes and array.dtype.kind not in "iu":
        raise TypeError(
            f"{name} has dtype {array.dtype}; expected classes of an integer dtype for {context}"
        )


def _target_array(
    name: str,
    array: NDArray[Any],
    lead: tuple[int, ...],
    means: str,
    outputs: int,
    classes: bool,
    context: str,
    dtype: np.dtype[Any],
) -> Targets:
    shape = array.shape
    if classes:
        if shape != lead:
            raise ValueError(
                f"{name} has shape {shape}; expected {lead}: {means}) of classes for {context}"
            )
        if array.dtype.kind == "u" and array.dtype.itemsize == 8:
            array = np.minimum(array, np.uint64(np.iinfo(np.int64).max))
        return np.array(array, I64, order="C")  # private: nobody changes it during the call
    full = (*lead, outputs)
    if shape == lead and outputs == 1:
        array = array.reshape(full)
    elif shape != full:
        expected = f"{full} or {lead}" if outputs == 1 else f"{full}"
        raise ValueError(
            f"{name} has shape {shape}; expected {expected}: {means}, outputs) for {context}"
        )
    return floats(array, dtype)


def _padded_targets(
    y: list[Any] | tuple[Any, ...],
    own_lengths: NDArray[np.int64] | None,
    batch: int,
    time: int,
    outputs: int,
    classes: bool,
    context: str,
    dtype: np.dtype[Any],
) -> Targets:
    if len(y) != batch:
        raise ValueError(f"y has {len(y)} sequences; expected {batch}, as x has")
    items: list[NDArray[Any]] = []
    for i, one in enumerate(y):
        name, own = f"y[{i}]", time if own_lengths is None else int(own_lengths[i])
        item = read(name, one)
        _target_kind(name, item, classes, context)
        items.append(_target_array(name, item, (own,), "(time", outputs, classes, context, dtype))
    return _stack(items, time, I64 if classes else dtype)


def plain(
    x: Any, y: Any, input_size: int, most_steps: int, outputs: int, loss: Any, steps: Any
) -> Floats | None:
    """Return y for the core if x and y can be passed on untouched, else None.

    The way of every ordinary training step, so nothing here costs more than an attribute.
    None means "look closer", not "wrong".
    """
    if type(x) is not np.ndarray or type(y) is not np.ndarray or type(loss) is not str:
        return None
    kind = x.dtype
    if (kind is not F32 and kind is not F64) or loss not in VALUE_LOSSES:
        return None
    kind = y.dtype
    if kind is not F32 and kind is not F64:
        return None
    shape = x.shape
    if len(shape) != 3 or shape[2] != input_size or not 0 < shape[0] * shape[1] <= most_steps:
        return None
    if not (x.flags.aligned and y.flags.aligned):
        return None
    if steps == "last":
        lead: tuple[int, ...] = shape[:1]
    elif steps == "all":
        lead = shape[:2]
    else:
        return None
    came = y.shape
    if came == (*lead, outputs):
        return y
    if came == lead and outputs == 1:
        return y.reshape(*lead, 1)
    return None


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
