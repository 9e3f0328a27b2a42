"""Sequences in a frame of pandas, in long format: one row for each step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _check
from .._errors import ArgumentError, ArgumentTypeError
from . import _lines
from .sequences import Sequences, joined

__all__ = ["from_frame"]


def from_frame(
    df: Any,
    *,
    id: str | None = None,
    time: str | None = None,
    features: str | Sequence[str] | None = None,
    target: str | Sequence[str] | None = None,
    steps: str = "last",
    classes: Sequence[str] | None = None,
    missing: str = "nan",
    dtype: Any = "float64",
) -> Sequences:
    """Read a pandas frame with one row for each step of each sequence.

    Sequences come in the order in which their first rows stand; rows of different sequences may be
    mixed.

    Parameters
    ----------
    df : DataFrame
        Of pandas, or another frame with `columns` whose columns NumPy can read.
    id : str, optional
        The column that says which sequence a row belongs to. None: the frame is one sequence.
    time : str, optional
        The column of numbers, dates or times, or of text: numbers, or the ISO form such as
        2024-05-01; by it the rows of a sequence are put in order. None: they are in order as they
        stand, and so are the dates of the index, if it holds dates.
    features : str or sequence of str, optional
        The columns to read as features, in this order. By default all others.
    target : str or sequence of str, optional
        The column with the classes (text, booleans or integers) or numbers (floats, Decimals) to
        predict;
        several columns of numbers.
    steps : {"last", "all"}, default "last"
        "last": one target for each sequence; its rows agree. "all": one for each row.
    classes : sequence of str, optional
        The names of class 0, 1, ...; by default those that occur, sorted. For test data, those of
        the training data.
    missing : {"nan", "mask"}, default "nan"
        Missing features are NaN. "mask": labels and targets may be missing, too: the class is -1,
        the target NaN, as `fastbptt.fit` with ``missing="mask"`` takes them.
    dtype : {"float32", "float64"}, default "float64"
        Of features and targets.

    Returns
    -------
    Sequences
        ``x`` and ``y`` are what `fastbptt.fit` and the estimators take.
        A single column of targets gives a ``y`` without an axis for targets.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, or the column and row of the frame.

    Examples
    --------
    >>> import pandas as pd
    >>> from fastbptt.datasets import from_frame
    >>> df = pd.DataFrame({
    ...     "who": ["a", "b", "a"], "day": ["2024-05-02", "2024-05-01", "2024-05-01"],
    ...     "speed": [0.7, 3.1, 0.5], "gait": ["walk", "run", "walk"],
    ... })
    >>> data = from_frame(df, id="who", time="day", target="gait")
    >>> data
    Sequences(2 sequences of 1 to 2 steps x 1 feature, 2 classes)
    >>> data.x[0].tolist(), data.y.tolist(), data.classes, data.ids
    ([[0.5], [0.7]], [1, 0], ('run', 'walk'), ('a', 'b'))
    """
    if not hasattr(df, "columns") or not hasattr(df, "__getitem__"):
        raise ArgumentTypeError("df", f"is of type {type(df).__name__}", "a frame of pandas")
    _check.option("steps", steps, _lines.STEPS)
    masked = _check.option("missing", missing, ("nan", "mask")) == "mask"
    kind = _check.float_dtype(dtype)
    names = list(df.columns)
    twice = [one for i, one in enumerate(names) if one in names[:i]]
    if twice:
        raise ArgumentError("df", f"has two columns {twice[0]!r}", "different names")
    if not len(df):
        raise ArgumentError("df", "has no row", "one for each step")
    # a tuple may be the name of a column of several levels
    single = isinstance(target, str) or (isinstance(target, tuple) and target in names)
    targets: tuple[Any, ...] = (target,) if single else tuple(target or ())
    used = _roles(df, names, id, time, targets)
    if features is None:
        chosen = [one for one in names if one not in used]
    else:
        chosen = [features] if isinstance(features, str) else list(features)
        for one in chosen:
            _known(df, names, "features", one)
            if one in used:
                raise ArgumentError("features", f"holds {one!r}, which is {used[one]}", "others")
            if chosen.count(one) > 1:
                raise ArgumentError("features", f"holds {one!r} twice", "each column once")
    if not chosen:
        raise ArgumentError("df", "has no column for features", "at least one more")

    if id is None and getattr(getattr(df, "index", None), "nlevels", 1) > 1:
        raise ArgumentError(
            "df",
            f"has an index of {df.index.nlevels} levels, and id is None",
            "df = df.reset_index() with id= and time= for columns of it, or "
            "df.reset_index(drop=True) for a single sequence",
        )
    rows, starts, ids = _in_order(df, id, time)
    alike = next((one for one, count in Counter(ids).items() if count > 1), None)
    if alike is not None:
        raise ArgumentError(
            "df",
            f"has sequences of different types that are both written {alike} in column {id!r}",
            f"names of one type: df[{id!r}] = df[{id!r}].astype(str)",
        )
    if time is None:
        _check_index(df, rows, starts, ids)
    values = np.empty((len(rows), len(chosen)), kind)
    for c, one in enumerate(chosen):
        values[:, c] = _numbers(df, one, "features", kind)[rows]
    x = joined(np.split(values, starts[1:]))
    y, names_of_classes = None, None
    if targets:
        y, names_of_classes = _labels(
            df, single, targets, steps, classes, kind, rows, starts, ids, masked
        )
    elif classes is not None:
        raise ArgumentError("classes", "is given without target", "None")
    elif steps == "all":
        raise ArgumentError("steps", 'is "all" without target', '"last", which is the default')
    return Sequences(x, y, names_of_classes, tuple(map(str, chosen)), ids, "df")


def _roles(
    df: Any, names: list[Any], id: Any, time: Any, targets: tuple[Any, ...]
) -> dict[Any, str]:
    """Check the columns that are no features; return which argument names each."""
    used: dict[Any, str] = {}
    for role, name in (("id", id), ("time", time), *(("target", one) for one in targets)):
        if name is None:
            continue
        _known(df, names, role, name)
        if name in used:
            came = f"is {_check.shown(name)}, which is {used[name]}, too"
            raise ArgumentError(role, came, "another column")
        used[name] = role
    return used


def _known(df: Any, names: list[Any], role: str, name: Any) -> None:
    if name not in names:
        levels = getattr(getattr(df, "index", None), "names", ())
        there = " (it is in the index: df.reset_index() makes it a column)" * (name in levels)
        raise ArgumentError(
            role,
            f"is {_check.shown(name)}",
            f"a column of df: {_lines.some([repr(one) for one in names])}{there}",
        )


def _wrong(df: Any, row: int, name: Any, problem: str, expected: str) -> ArgumentError:
    index = getattr(df, "index", None)
    label = row if index is None else _check.plain(index[row])
    return ArgumentError("df", f"has {problem} in column {name!r}, row {label!r}", expected)


def _in_order(
    df: Any, id: Any, time: Any
) -> tuple[NDArray[np.int64], NDArray[np.int64], tuple[str, ...]]:
    """Sort the rows by sequence and time; return them, the start of each sequence, and its name."""
    count = len(df)
    index: dict[Any, int] = {"": 0} if id is None else {}
    which = np.zeros(count, np.int64)
    if id is not None:
        cells = df[id]
        missing = np.array([_missing(one) for one in _listed(cells)])
        if missing.any():
            raise _wrong(df, int(missing.argmax()), id, "no value", "the name of the sequence")
        which = np.array([index.setdefault(one, len(index)) for one in _listed(cells)], np.int64)
    rows = np.argsort(which, kind="stable")
    if time is not None:
        places = _places(df, time)
        rows = np.lexsort((places, which))
        again = (np.diff(which[rows]) == 0) & (np.diff(places[rows]) == 0)
        if again.any():
            i = int(again.argmax()) + 1
            whose = "df" if id is None else f"sequence {list(index)[which[rows[i]]]!r}"
            problem = f"a time that {whose} has in another row, too,"
            raise _wrong(df, int(rows[i]), time, problem, "each time once in a sequence")
    starts = np.searchsorted(which[rows], np.arange(len(index)))
    return rows, starts, tuple(str(one) for one in index)


def _check_index(
    df: Any, rows: NDArray[np.int64], starts: NDArray[np.int64], ids: tuple[str, ...]
) -> None:
    """Refuse rows that stand in another order than the dates of the index."""
    index: Any = getattr(df, "index", None)
    if getattr(index, "nlevels", 0) != 1 or not (
        index.dtype.kind in "Mm" or hasattr(index, "asfreq")
    ):
        return
    codes = np.asarray(
        index.argsort().argsort() if index.hasnans else index.factorize(sort=True)[0]
    )
    falls = np.diff(codes[rows]) < 0
    falls[starts[1:] - 1] = False  # where another sequence begins
    if falls.any():
        i = int(falls.argmax())
        whose = f" of sequence {ids[int(np.searchsorted(starts, i, side='right')) - 1]!r}"
        raise ArgumentError(
            "df",
            f"has an index in which {index[rows[i + 1]]} follows {index[rows[i]]}"
            + whose * (len(ids) > 1),
            "rows in order of time: df.sort_index()",
        )


def _places(df: Any, time: Any) -> NDArray[Any]:
    """Read the times as numbers that rise with them."""
    cells = df[time]
    array = np.asarray(cells)
    if array.dtype.kind in "OUT":
        array = _parsed(df, time, cells)
    blank = np.isnat(array) if array.dtype.kind in "Mm" else ~np.isfinite(array.astype(np.float64))
    if blank.any():
        raise _wrong(df, int(blank.argmax()), time, "no time", "a time in every row")
    return array.view(np.int64) if array.dtype.kind in "Mm" else array


def _parsed(df: Any, time: Any, cells: Any) -> NDArray[Any]:
    """Read text in ISO form, dates of Python, and whatever pandas can sort."""
    given = _listed(cells)
    for row, one in enumerate(given):
        if _missing(one):
            raise _wrong(df, row, time, "no time", "a time in every row")
    if all(isinstance(one, str) for one in given):
        import datetime

        try:
            return np.array([float(one) for one in given])
        except ValueError:
            pass  # then these are dates

        found = []
        for row, one in enumerate(given):
            try:
                moment = datetime.datetime.fromisoformat(one.strip())
            except ValueError:
                expected = 'dates such as "2024-05-31 12:00", or pandas.to_datetime(..) of them'
                raise _wrong(df, row, time, repr(one), expected) from None
            found.append(moment)
        if len({one.tzinfo is None for one in found}) > 1:
            raise ArgumentError("df", f"has times with and without a zone in {time!r}", "one kind")
        given = found
    try:
        order = sorted(range(len(given)), key=given.__getitem__)
    except TypeError:
        raise ArgumentTypeError(
            "df", f"has times of different types in column {time!r}", "numbers or dates"
        ) from None
    ranks, rank = np.zeros(len(given), np.int64), 0
    for before, i in zip([order[0], *order], order, strict=False):
        rank += bool(given[before] != given[i])
        ranks[i] = rank
    return ranks


def _numbers(df: Any, name: Any, role: str, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Read a column of numbers; NaN where there is none."""
    cells = df[name]
    array = np.asarray(cells)
    if array.dtype.kind not in "fiub":
        try:
            array = np.array([np.nan if _missing(one) else one for one in _listed(cells)])
            if array.dtype.kind == "O" and all(map(_check.is_number, array)):
                array = array.astype(np.float64)
            if array.dtype.kind not in "fiub":
                raise TypeError
        except (TypeError, ValueError):
            raise ArgumentTypeError(
                role,
                f"has the column {name!r} of dtype {getattr(cells, 'dtype', array.dtype)}",
                "numbers; name the other columns with features=, or leave this one out",
            ) from None
    with np.errstate(over="ignore"):
        found = array.astype(dtype)
    lost = _check.unresolved(lambda: [array[:, np.newaxis]], dtype)
    if lost is not None:
        expected = (
            'dtype="float64"' if dtype != np.float64 else "numbers counted from a later start"
        )
        raise ArgumentError("df", f"has {lost} in column {name!r}", expected)
    infinite = np.isinf(found)
    if infinite.any():
        raise _wrong(df, int(infinite.argmax()), name, "an infinite value", f"finite {dtype}")
    return found


def _listed(cells: Any) -> list[Any]:
    """List the values of a column; Polars has no ``tolist``."""
    found: list[Any] = (cells.tolist if hasattr(cells, "tolist") else cells.to_list)()
    return found


def _missing(one: Any) -> bool:
    return one is None or str(one) in ("<NA>", "nan", "NaT")


def _are_classes(df: Any, name: Any) -> bool:
    """Whether a column of targets holds classes, not numbers; refuse what is neither."""
    array = np.asarray(df[name])
    if array.dtype.kind in "fiubUST":
        return array.dtype.kind != "f"
    present = [one for one in _listed(df[name]) if not _missing(one)]
    if all(isinstance(one, str | bool | int | np.integer | np.bool_) for one in present):
        return True
    other = next(one for one in present if not isinstance(one, str | bool | int))
    if all(_check.is_number(one) and not isinstance(one, bool) for one in present):
        return False
    raise ArgumentTypeError(
        "target",
        f"has the column {name!r} with {_check.quoted(other)}, of type {type(other).__name__}",
        "classes (text, booleans or integers) or numbers (floats)",
    )


def _labels(
    df: Any,
    single: bool,
    targets: tuple[Any, ...],
    steps: str,
    classes: Sequence[str] | None,
    dtype: np.dtype[Any],
    rows: NDArray[np.int64],
    starts: NDArray[np.int64],
    ids: tuple[str, ...],
    masked: bool,
) -> tuple[Any, tuple[str, ...] | None]:
    """Read the targets: one for each sequence, or for each row; masked: some may be missing."""
    names: tuple[str, ...] | None = None
    if len(targets) == 1 and _are_classes(df, targets[0]):
        cells = _listed(df[targets[0]])
        for row, one in enumerate(cells):
            if _missing(one) and not masked:
                expected = 'a class in every row, or missing="mask"'
                raise _wrong(df, row, targets[0], "no class", expected)
        text = [str(one) for one in cells]
        there = {name for name, one in zip(text, cells, strict=True) if not _missing(one)}
        if not there:
            raise _wrong(df, 0, targets[0], "no class in any row", "at least one")
        names = _lines.ordered(there) if classes is None else _lines.class_names(classes)
        code = {str(one): _lines.NO_CLASS for one in cells if _missing(one)}
        code |= {one: i for i, one in enumerate(names)}
        unknown = next((row for row, one in enumerate(text) if one not in code), None)
        if unknown is not None:
            expected = f"one of classes: {_lines.some(names)}"
            raise _wrong(df, unknown, targets[0], f"the class {text[unknown]!r}", expected)
        table = np.array([code[one] for one in text], np.int64)[:, np.newaxis]
    else:
        if classes is not None:
            raise ArgumentError("classes", "is given for a target of numbers", "None")
        table = np.stack([_numbers(df, one, "target", dtype) for one in targets], axis=1)
        if np.isnan(table).any() and not masked:
            row, c = (int(k) for k in np.argwhere(np.isnan(table))[0])
            raise _wrong(
                df, row, targets[c], "no target", 'a number in every row, or missing="mask"'
            )
    table = table[rows]
    if steps == "last":
        lengths = np.diff(np.append(starts, len(rows)))
        first = np.repeat(table[starts], lengths, axis=0)
        other = ((table != first) & ~(np.isnan(table) & np.isnan(first))).any(axis=1)
        if other.any():
            i = int(other.argmax())
            which = int(np.searchsorted(starts, i, side="right")) - 1
            whose = f"sequence {ids[which]!r}" if ids[which] else "df"
            problem = f"another target than the first row of {whose}"
            expected = 'one target for each sequence, or steps="all"'
            raise _wrong(df, int(rows[i]), targets[0], problem, expected)
        table = table[starts]
    flat = table[:, 0] if names is not None or single else table
    return (joined(np.split(flat, starts[1:])) if steps == "all" else flat), names
