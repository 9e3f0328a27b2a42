"""Sequences in the arrays of an ``.npz`` file: ``x``, with ``lengths`` and ``y`` where needed."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from .. import _check, _core
from .._errors import ArgumentError, ArgumentTypeError
from ..files import damage
from . import _lines
from .formats import Format, Option, argument, gaps_setting, setting
from .sequences import Sequences, joined

__all__ = ["read_npz", "write_npz"]


def read_npz(
    path: str | os.PathLike[str],
    *,
    x: str | None = None,
    y: str | None = None,
    steps: str = "last",
    tokens: bool = False,
    classes: Sequence[str] | None = None,
    missing: str = "nan",
    dtype: Any = None,
    labels: bool = True,
) -> Sequences:
    """Read sequences from the arrays of an ``.npz`` file. Nothing in it is unpickled.

    ===================  =======================================================================
    array                what it holds
    ===================  =======================================================================
    ``x``                (sequences, steps, features), or (sequences, steps) for one feature; or
                         all sequences one after the other, (all steps, features) or (all steps,),
                         if ``lengths`` add up to its first axis
    ``lengths``          optional: the number of steps of each sequence, whole numbers
    ``y``                optional: classes (whole numbers, or their names) or targets (floats),
                         shape (sequences,) or (sequences, targets); with ``steps="all"``, one for
                         each step, laid out as `x` is
    ``classes``          optional: the names of class 0, 1, ... that whole numbers in ``y`` stand
                         for; without it, their digits are the names, in the order of their values
    ``feature_names``    optional: the names of the features
    ``ids``              optional: the names of the sequences
    ===================  =======================================================================

    Parameters
    ----------
    path : str or os.PathLike
        The file.
    x : str, optional
        The name of the array in the place of ``x``: Keras' files have ``x_train`` and ``x_test``.
        An ending such as "_train" goes for the others, too, where the file has them so.
    y : str, optional
        The name of the array in the place of ``y``; by default ``y`` with the ending of `x`.
    steps : {"last", "all"}, default "last"
        Whether ``y`` has an entry for each sequence, or for each step.
    tokens : bool, default False
        ``x`` holds tokens, whole numbers of shape (sequences, steps) or (all steps,); they are
        returned as int64, without an axis for features.
    classes : sequence of str, optional
        The names of class 0, 1, ... of the result. For a test file, those of the training file.
    missing : {"nan", "interpolate", "error", "mask"}, default "nan"
        How to treat NaN in ``x``, as in :func:`read_csv`. "mask": keep it, and ``y`` may hold NaN,
        among names of classes "", and beside an array ``classes`` -1, where a label is missing.
    dtype : {"float32", "float64"}, optional
        Of features and targets. By default that of each array in the file if it is one of them,
        else float64.
    labels : bool, default True
        False: ignore ``y``.

    Returns
    -------
    Sequences
        Steps after a sequence's end, by ``lengths`` in the file, are left out.

    Raises
    ------
    ValueError, TypeError
        If the file or an argument is not valid.
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from fastbptt.datasets import read_npz, write_npz
    >>> x = [np.ones((3, 2)), np.ones((5, 2))]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "two.npz")
    ...     write_npz(path, x, [0, 1], classes=["no", "yes"])
    ...     data = read_npz(path)
    >>> data
    Sequences(2 sequences of 3 to 5 steps x 2 features, 2 classes)
    """
    source = _check.file_path(path)
    _check.option("steps", steps, _lines.STEPS)
    _check.option("missing", missing, _lines.MISSING)
    _check.flag("tokens", tokens)
    _check.flag("labels", labels)
    kind = None if dtype is None else _check.float_dtype(dtype)
    if tokens and missing == "interpolate":
        raise ArgumentError("missing", 'is "interpolate"', "another with tokens: they have no gaps")
    given = _lines.given_classes(classes, labels)
    if y is not None and not labels:
        raise ValueError(f"{argument('y')} has no effect; expected labels=True")
    arrays, called = _arrays(source, x, y, ("lengths", "feature_names", "ids") + LABELS * labels)
    values, cut = _layout(source, arrays["x"], arrays.get("lengths"), called)

    features: tuple[str, ...] = ()
    if tokens:
        if values.ndim != 2 - cut.flat or values.dtype.kind not in "iu":
            raise _lines.wrong(
                source,
                None,
                f"{called['x']} has shape {values.shape} and dtype {values.dtype}; expected whole "
                f"numbers of shape {'(all steps,)' if cut.flat else '(sequences, steps)'}: "
                f"{setting('tokens', True)}",
            )
        items = cut(values.astype(np.int64))
    else:
        if values.ndim == 2 - cut.flat:
            values = values[..., None]
        _check_digits(source, called["x"], values, kind)
        items = cut(_float_array(source, called["x"], values, kind))
        _finish_gaps(source, items, missing)
        features = _texts(source, arrays, "feature_names", values.shape[-1], called) or tuple(
            f"feature {i + 1}" for i in range(values.shape[-1])
        )

    targets: NDArray[Any] | list[NDArray[Any]] | None = None
    names: tuple[str, ...] | None = None
    if labels and "y" in arrays:
        flat = arrays["y"]
        lead = values.shape[: 2 - cut.flat] if steps == "all" else (len(cut.lengths),)
        if flat.shape[: len(lead)] != lead or flat.ndim > len(lead) + 1:
            raise _lines.wrong(
                source,
                None,
                f"{called['y']} has shape {flat.shape}; expected {lead} or "
                f"({', '.join(map(str, lead))}, targets): {setting('steps', steps)}",
            )
        parts = cut(flat) if steps == "all" else [flat]
        whole = flat.dtype.kind != "f"
        if whole and steps == "last" and not cut.flat and flat.shape == values.shape[:2]:
            raise _lines.wrong(
                source,
                None,
                f"{called['y']} has shape {flat.shape}; expected one class per sequence, or "
                f"{setting('steps', 'all')}: one per step",
            )
        if not whole:
            masked = missing == "mask"
            columns = flat.reshape(-1, flat.shape[-1] if flat.ndim > len(lead) else 1)
            _check_digits(source, called["y"], columns, kind)
            parts = [_float_array(source, called["y"], part, kind, gaps=masked) for part in parts]
        else:
            parts, names = _class_array(
                source, parts, len(lead), arrays, given, called, missing == "mask"
            )
        targets = joined(parts) if steps == "all" else parts[0]
    ids = _texts(source, arrays, "ids", len(items), called) or tuple(
        f"sequence {i + 1}" for i in range(len(items))
    )
    return Sequences(joined(items), targets, names, features, ids, source)


def write_npz(
    path: str | os.PathLike[str],
    x: Any,
    y: Any = None,
    *,
    lengths: Any = None,
    classes: Sequence[str] | None = None,
    feature_names: Sequence[str] | None = None,
    ids: Sequence[str] | None = None,
) -> None:
    """Write sequences to an ``.npz`` file that :func:`read_npz` reads.

    Parameters
    ----------
    path : str or os.PathLike
        The file; an existing one is replaced as a whole.
    x : array_like or list of array_like
        One array as :func:`read_npz` describes it, or a list of arrays of shape (steps, features)
        or (steps,), which are written one after the other.
    y : array_like or list of array_like, optional
        Classes or targets; a list of arrays, one for each step, where `x` is a list.
    lengths : array_like, optional
        The number of steps of each sequence, if `x` is an array.
    classes, feature_names, ids : sequence of str, optional
        Names, as in :class:`Sequences`.

    Raises
    ------
    ValueError, TypeError
        If the arrays do not fit together; then nothing is written.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from fastbptt.datasets import read_npz, write_npz
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "words.npz")
    ...     write_npz(path, [[5, 3, 2], [4]], ids=["a", "b"])
    ...     data = read_npz(path, tokens=True)
    >>> data.x
    [array([5, 3, 2]), array([4])]
    """
    from ..files.atomic import write_whole

    arrays: dict[str, NDArray[Any]] = {}
    if isinstance(x, list | tuple):
        if lengths is not None:
            raise ArgumentError("lengths", "is given with a list x", "None: a list has its own")
        items = [_check.read(f"x[{i}]", one) for i, one in enumerate(x)]
        arrays["x"], arrays["lengths"] = _concatenated("x", items)
        if isinstance(y, list | tuple) and any(np.ndim(one) > 0 for one in y):
            steps = [np.asarray(one) for one in y]
            arrays["y"], found = _concatenated("y", steps)
            if not np.array_equal(found, arrays["lengths"]):
                raise ArgumentError("y", "has other lengths than x", "an entry for each step")
            y = None
    else:
        arrays["x"] = _check.read("x", x)
        if lengths is not None:
            arrays["lengths"] = np.asarray(lengths)
    _, cut = _layout("x", arrays["x"], arrays.get("lengths"), {"x": "x"})
    if y is not None:
        arrays["y"] = np.asarray(y)
    if "y" in arrays and arrays["y"].dtype.kind not in "fiubU":
        raise ArgumentTypeError(
            "y", f"has dtype {arrays['y'].dtype}", "numbers, or names of classes"
        )
    for name, value, count in (
        ("classes", classes, None),
        ("feature_names", feature_names, None),
        ("ids", ids, len(cut.lengths)),
    ):
        if value is not None:
            arrays[name] = np.array([str(one) for one in value], dtype=np.str_)
            if count is not None and len(value) != count:
                raise ArgumentError(name, f"has {len(value)} entries", f"{count}")
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **arrays)
    write_whole(path, content.getvalue())


FORMAT: Final = Format(
    suffixes=(".npz",),
    read=read_npz,
    help="""\
arrays x (sequences, steps, features) and y; lengths, where they differ.
Whole numbers and names in y are classes, as 0.0 and 1.0 are; other
floats are numbers to predict, a 0/1 matrix holds several labels.""",
    labels="an array y (or --y-array)",
    options=(
        Option(
            "x", "--x-array", "the array of an .npz file with the sequences (default: x)", "NAME"
        ),
        Option(
            "y",
            "--y-array",
            "the array with the labels (default: y; beside x_train y_train)",
            "NAME",
        ),
    ),
    steps=("all", "last"),  # an array y has an axis for steps, or has none
    by_dtype=True,
)


# ---------------------------------------------------------------- arrays


LABELS: Final = ("y", "classes")
_ROLES: Final = ("x", "y", "lengths", "classes", "feature_names", "ids")
_SHARED: Final = ("classes", "feature_names")  # by all parts of a file
_HEADERS: Final = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


class _Splitter(NamedTuple):
    """Splits an array into sequences, either concatenated or padded."""

    lengths: NDArray[np.int64]
    flat: bool

    def __call__(self, array: NDArray[Any]) -> list[NDArray[Any]]:
        if self.flat:
            return np.split(array, np.cumsum(self.lengths)[:-1])
        return [row[:length] for row, length in zip(array, self.lengths.tolist(), strict=True)]


def _arrays(
    path: str, x: str | None, y: str | None, wanted: tuple[str, ...]
) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Read x and the wanted arrays, as far as they are there; no others are unpacked.

    Returns
    -------
    arrays : dict
    called : dict
        The name of each in the file.
    """
    with open(path, "rb") as file:
        try:
            begin = file.read(2)
            file.seek(0)
            if begin and begin not in (b"PK", b"\x93N"):
                raise _lines.wrong(path, None, "is no .npz file")
            stored = np.load(file, allow_pickle=False)
            if isinstance(stored, np.ndarray):
                raise _lines.wrong(path, None, "holds one array without a name; expected .npz")
            called = _called(path, stored.files, x, y, wanted)
            arrays = {role: _array(path, stored, role, called) for role in called}
            return arrays, called
        except _lines.FileError:
            raise
        except damage.of_archives() as error:
            text = _lines.described(error)
            raise _lines.wrong(path, None, f"cannot be read as .npz: {text}") from None


def _called(
    path: str, files: list[str], x: str | None, y: str | None, wanted: tuple[str, ...]
) -> dict[str, str]:
    """Find the names of the arrays: with the ending that x has, where there are such."""
    for role, name in (("x", x), ("y", y)):
        if name is not None and not isinstance(name, str):
            raise ArgumentTypeError(
                argument(role), f"is {_check.shown(name)}", "the name of an array"
            )
    called = {"x": "x" if x is None else x}
    called |= {} if y is None else {"y": y}
    for role, name in called.items():
        if name not in files:
            free = [one for one in files if one not in (*_ROLES, *called.values())]
            others = [one for one in free if one.lower().startswith(role)] or free
            advice = f"; expected {setting(role, *others)}" if others else ""
            raise _lines.wrong(
                path, None, f"has no array {name!r}; it has {_lines.some(files)}{advice}"
            )
    if called["x"] == y:
        raise ArgumentError(argument("y"), f"is {y!r}, which is {argument('x')}, too", "another")
    ending = called["x"][1:] if called["x"][:1] in ("x", "X") else ""
    for role in wanted:
        if role in called:
            continue
        names = [role + ending, role.upper() + ending] if role == "y" else [role + ending]
        if role in _SHARED:
            names.append(role)
        found = [name for name in dict.fromkeys(names) if name in files]
        if role == "y" and len(found) > 1:
            raise _lines.wrong(
                path, None, f"has arrays {' and '.join(found)}; expected {setting('y', *found)}"
            )
        if found:
            called[role] = found[0]
    return called


def _array(path: str, stored: Any, role: str, called: dict[str, str]) -> NDArray[Any]:
    """Read one array, once its header is what the archive's size of it allows."""
    name = called[role]
    member = stored.zip.getinfo(name if name in stored.zip.namelist() else f"{name}.npy")
    with stored.zip.open(member) as file:
        version = npy.read_magic(file)
        if version not in _HEADERS:  # of structured arrays alone
            raise _lines.wrong(path, None, f"{name} is no plain array; expected numbers or texts")
        shape, _, dtype = _HEADERS[version](file)
        if dtype.hasobject:
            raise _lines.wrong(
                path,
                None,
                f"{name} is an array of Python objects, which only pickle can read; expected "
                f"numbers: if you trust this file, {_rewritten(path, role, called)} writes it so",
            )
        size, stated = math.prod(shape) * dtype.itemsize, member.file_size - file.tell()
        if size != stated:
            raise _lines.wrong(
                path,
                None,
                f"{name} has shape {shape} and dtype {dtype}, {size} bytes, but {stated} follow: "
                "the file is damaged",
            )
        if size > _core.memory_limit():
            there = _check.bytes_text(_core.memory_limit())
            raise _lines.wrong(
                path, None, f"{name} needs {_check.bytes_text(size)}; there is {there}"
            )
    array: NDArray[Any] = stored[name]
    if array.dtype.kind == "U":
        for text in array.ravel().tolist():
            if not text.isprintable() and _lines.surrogate(text):
                raise _lines.wrong(
                    path, None, f"{name} holds {text!r}, half of a character; expected text"
                )
    return array


def _rewritten(path: str, objects: str, called: dict[str, str]) -> str:
    """Write the code that makes lists of an array of objects, and a file of these."""
    arguments = [
        f"list(arrays[{called[role]!r}])" if role == objects else f"arrays[{called[role]!r}]"
        for role in ("x", "y")
        if role in called
    ]
    return (
        f"arrays = numpy.load({path!r}, allow_pickle=True); "
        f'fastbptt.datasets.write_npz("new.npz", {", ".join(arguments)})'
    )


def _layout(
    path: str, x: NDArray[Any], lengths: NDArray[Any] | None, called: dict[str, str]
) -> tuple[NDArray[Any], _Splitter]:
    """Detect the layout of the sequences in x."""
    name, of = called["x"], called.get("lengths", "lengths")
    if x.dtype.kind not in "fiub":
        raise _lines.wrong(path, None, f"{name} has dtype {x.dtype}; expected numbers")
    if 0 in x.shape:
        raise _lines.wrong(path, None, f"{name} has shape {x.shape}; expected at least one step")
    if lengths is None:
        if x.ndim not in (2, 3):
            raise _lines.wrong(
                path,
                None,
                f"{name} has shape {x.shape}; expected (sequences, steps, features) or "
                "(sequences, steps), or lengths beside it",
            )
        return x, _Splitter(np.full(len(x), x.shape[1], np.int64), False)
    if lengths.ndim != 1 or lengths.dtype.kind not in "iu" or not len(lengths):
        raise _lines.wrong(
            path,
            None,
            f"{of} has shape {lengths.shape} and dtype {lengths.dtype}; expected whole numbers "
            "of shape (sequences,)",
        )
    if lengths.min() < 1:
        i = int((lengths < 1).argmax())
        raise _lines.wrong(path, None, f"{of}[{i}] is {lengths[i]}; expected at least 1")
    total, longest = sum(lengths.tolist()), int(lengths.max())  # of any size: int64 may overflow
    if x.ndim in (1, 2) and total == len(x):
        return x, _Splitter(lengths.astype(np.int64), True)
    if x.ndim in (2, 3) and len(lengths) == len(x) and longest <= x.shape[1]:
        return x, _Splitter(lengths.astype(np.int64), False)
    raise _lines.wrong(
        path,
        None,
        f"{name} has shape {x.shape}, and there are {len(lengths)} lengths up to {longest}, in all "
        f"{total}; expected ({len(lengths)}, at least {longest}, features) or "
        f"({total}, features)",
    )


def _check_digits(path: str, name: str, array: NDArray[Any], dtype: np.dtype[Any] | None) -> None:
    """Refuse numbers, of all sequences, whose differences the dtype loses."""
    if dtype is None:
        dtype = _check.F32 if array.dtype == _check.F32 else _check.F64
    table = array.reshape(-1, array.shape[-1] if array.ndim == 3 else 1)
    lost = _check.unresolved(lambda: [table], dtype)
    if lost is not None:
        wide = dtype == _check.F64
        expected = "numbers counted from a later start" if wide else setting("dtype", "float64")
        raise _lines.wrong(path, None, f"{name} has {lost}; expected {expected}")


def _float_array(
    path: str, name: str, array: NDArray[Any], dtype: np.dtype[Any] | None, gaps: bool = True
) -> NDArray[Any]:
    if dtype is None:
        dtype = _check.F32 if array.dtype == _check.F32 else _check.F64

    def at(index: int) -> str:
        place = tuple(int(i) for i in np.unravel_index(index, array.shape))
        return f"{name}{list(place)}"

    values = np.asarray(array, np.float64)
    bad = np.isinf(values) if gaps else ~np.isfinite(values)
    if bad.any():
        i = int(bad.argmax())
        raise _lines.wrong(path, None, f"{at(i)} is {values.flat[i]}; expected a finite number")
    if array.dtype == dtype:
        return array
    return _lines.to_dtype(
        values, dtype, lambda i, text: _lines.wrong(path, None, f"{at(i)}: {text}")
    )


def _finish_gaps(path: str, items: list[NDArray[Any]], missing: str) -> None:
    if missing in ("nan", "mask"):
        return
    for i, item in enumerate(items):
        gaps = np.isnan(item)
        if not gaps.any():
            continue
        if missing == "error":
            t, c = divmod(int(gaps.argmax()), item.shape[1])
            raise _lines.wrong(
                path,
                None,
                f"feature {c + 1} in step {t + 1} of sequence {i + 1} is NaN; expected a number, "
                f"or {gaps_setting()}",
            )
        empty = _lines.fill(item)
        if empty is not None:
            raise _lines.wrong(
                path,
                None,
                f"feature {empty + 1} of sequence {i + 1} is NaN in every step; "
                "expected at least one number",
            )


def _texts(
    path: str, arrays: dict[str, NDArray[Any]], role: str, count: int, called: dict[str, str]
) -> tuple[str, ...] | None:
    if role not in arrays:
        return None
    array = arrays[role]
    if array.shape != (count,):
        raise _lines.wrong(
            path, None, f"{called[role]} has shape {array.shape}; expected ({count},)"
        )
    return tuple(str(one) for one in array.tolist())


def _class_array(
    path: str,
    parts: list[NDArray[Any]],
    ndim: int,
    arrays: dict[str, NDArray[Any]],
    given: tuple[str, ...] | None,
    called: dict[str, str],
    masked: bool,
) -> tuple[list[NDArray[Any]], tuple[str, ...]]:
    """Number the classes in y, which holds names, or numbers that may have names.

    masked: "", and -1 where numbers have names, are no class.
    """
    whole, name = arrays["y"], called["y"]
    if whole.dtype.kind not in "iubU" or whole.ndim != ndim:
        raise _lines.wrong(
            path,
            None,
            f"{name} has shape {whole.shape} and dtype {whole.dtype}; expected classes (whole "
            "numbers or text) without a further axis, or targets (floats)",
        )
    own: tuple[str, ...] | None = None
    if "classes" in arrays:
        own = _texts(path, arrays, "classes", len(np.atleast_1d(arrays["classes"])), called)
    none: Any = None
    if masked:  # without names, -1 may be the name of a class
        none = "" if whole.dtype.kind == "U" else _lines.NO_CLASS if own is not None else None
    found = {value for part in parts for value in np.unique(part).tolist()} - {none}
    if own is not None and whole.dtype.kind != "U":
        beyond = sorted(value for value in found if not 0 <= value < len(own))
        if beyond:
            raise _lines.wrong(
                path,
                None,
                f"{name} holds {beyond[0]}; expected whole numbers from 0 to {len(own) - 1}: "
                f"there are {len(own)} classes",
            )
        name_of = {value: own[int(value)] for value in found}
    else:
        name_of = {value: str(value) for value in found}
    names = given or own or _lines.ordered(set(name_of.values()))
    index = {name: i for i, name in enumerate(names)}
    unknown = _lines.ordered(set(name_of.values()) - index.keys())
    if unknown:
        raise _lines.wrong(
            path,
            None,
            f"{name} holds the class {_lines.shown(unknown[0])}; expected one of classes: "
            f"{_lines.some(names)}",
        )
    numbered = []
    for part in parts:
        values, inverse = np.unique(part, return_inverse=True)
        codes = np.array(
            [
                _lines.NO_CLASS if value == none else index[name_of[value]]
                for value in values.tolist()
            ],
            np.int64,
        )
        numbered.append(codes[inverse.reshape(part.shape)])
    return numbered, names


def _concatenated(name: str, items: list[NDArray[Any]]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Concatenate a list of arrays; also return their lengths."""
    if not items:
        raise ArgumentError(name, "is an empty list", "at least one sequence")
    for i, item in enumerate(items):
        if item.ndim not in (1, 2) or item.shape[1:] != items[0].shape[1:]:
            raise ValueError(
                f"{name}[{i}] has shape {item.shape}; expected (steps,) or (steps, features), the "
                f"same features as {name}[0] of shape {items[0].shape}"
            )
    return np.concatenate(items), np.array([len(item) for item in items], np.int64)
