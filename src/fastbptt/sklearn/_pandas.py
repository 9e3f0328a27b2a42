"""Frames and series of pandas: the names of columns, the order of rows, and how an index goes on.

pandas is not imported unless data of it came in.
"""

from __future__ import annotations

import re
import warnings
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from .. import _check
from .._errors import ArgumentError, ArgumentTypeError

Array = NDArray[Any]

# column names that number the steps of a series, followed by 0, 1, ..: t_0, day1, "step 3"
_STEP_NAMES: Final = frozenset(
    (
        "t", "time", "step", "timestep", "lag", "col", "column",
        "d", "day", "week", "month", "hour", "quarter", "year",
    )
)  # fmt: skip
_NUMBERED: Final = re.compile(r"([a-z]+)[ _.-]?(\d+)", re.IGNORECASE)


def is_frame(value: Any) -> bool:
    """Whether it is a table with named columns: of pandas, or of a library like it."""
    return hasattr(value, "columns") and hasattr(value, "__array__")


def column_names(value: Any, name: str) -> tuple[Any, ...] | None:
    """Return the names of a frame's columns, of any type; None for other data.

    Raises
    ------
    ArgumentError
        If a name occurs twice.
    ArgumentTypeError
        If only some are text.
    """
    if not is_frame(value):
        return None
    names = tuple(value.columns)
    if len(set(names)) < len(names):
        twice = next(one for i, one in enumerate(names) if one in names[:i])
        raise ArgumentError(name, f"has two columns {twice!r}", "different names")
    text = [isinstance(one, str) for one in names]
    if any(text) and not all(text):
        other = names[text.index(False)]
        raise ArgumentTypeError(
            name,
            f"has the column {other!r} of type {type(other).__name__} beside names of type str",
            f"names of one type: {name}.columns = {name}.columns.astype(str)",
        )
    return names or None


def _text(names: tuple[Any, ...] | None) -> tuple[str, ...] | None:
    """Return names that are text, which scikit-learn keeps; None if they are of another type."""
    return names if names is not None and isinstance(names[0], str) else None


def in_order(value: Any, name: str, wanted: tuple[Any, ...] | None) -> Any:
    """Put the columns of a frame into the order of those known by name."""
    names = column_names(value, name)
    if names is None or wanted is None or names == wanted:
        return value
    missing = [one for one in wanted if one not in names]
    extra = [one for one in names if one not in wanted]
    if (missing or extra) and tuple(range(len(wanted))) in (names, wanted):
        return value  # those that pandas gives, which are none
    if missing or extra:
        faults = [f"lacks {_some(missing)}"] if missing else []
        faults += [f"also has {_some(extra)}"] if extra else []
        expected = f"the columns {_some(wanted)}"
        raise ArgumentError(name, " and ".join(faults), expected)
    return value[list(wanted)]


def warn_about_names(estimator: Any, names: tuple[Any, ...] | None, name: str = "X") -> None:
    """Warn, in scikit-learn's words, if only one of fitted and new data has names."""
    names = _text(names)
    known, who = getattr(estimator, "feature_names_in_", None), type(estimator).__name__
    if names is None and known is not None:
        text = f"{name} does not have valid feature names, but {who} was fitted with feature names"
    elif names is not None and known is None:
        text = f"{name} has feature names, but {who} was fitted without feature names"
    else:
        return
    warnings.warn(text, UserWarning, stacklevel=5)


def keep_names(estimator: Any, names: tuple[Any, ...] | None) -> None:
    """Set `feature_names_in_`, or remove that of an earlier fit."""
    names = _text(names)
    if names is not None:
        estimator.feature_names_in_ = np.array(names, dtype=object)
    elif hasattr(estimator, "feature_names_in_"):
        del estimator.feature_names_in_


def check_rows_are_series(value: Any, name: str) -> None:
    """Refuse a table unless its columns are the steps of a series: numbered, or dates.

    A frame without names, that is with those that pandas gives, is as good as its array.
    """
    names = list(value.columns)
    if names == list(range(len(names))):
        return
    if _are_steps(names):
        _check_rising(names, name)
        return
    raise ArgumentError(
        name,
        f"is a frame of {len(names)} columns, {_some(names)}",
        "sequences. If its rows are steps: data = fastbptt.datasets.from_frame(df, id=.., "
        f"time=.., target=..), then fit(data.x, data.y). If each row is one univariate series: "
        f"{name}.to_numpy()",
    )


def _check_rising(names: list[Any], name: str) -> None:
    """Refuse columns that are steps, numbered or dated, in another order than that of time."""
    texts = [one for one in names if isinstance(one, str)]
    numbered = [found for found in map(_NUMBERED.fullmatch, texts) if found is not None]
    if len(numbered) == len(names):
        times: Any = np.array([int(one[2]) for one in numbered])
    else:
        times = np.array(names, dtype="datetime64[ns]" if texts else None)
    falls = np.flatnonzero(times[1:] <= times[:-1])
    if len(falls):
        first, second = names[falls[0]], names[falls[0] + 1]
        raise ArgumentError(
            name,
            f"has the column {second!r} after {first!r}",
            f"columns in order of time; if they are, {name}.to_numpy()",
        )


def _are_steps(names: list[Any]) -> bool:
    """Tell whether names are the steps of a series: numbered alike, or dates."""
    found = [_NUMBERED.fullmatch(one) if isinstance(one, str) else None for one in names]
    known = [one for one in found if one is not None and one[1].lower() in _STEP_NAMES]
    if len(known) == len(names) and len({one[1].lower() for one in known}) == 1:
        return True
    return _all_dates(names)


def numbers(value: Any, name: str) -> Array:
    """Turn an array, frame or series of numbers into an array; pandas' NA becomes NaN.

    Raises
    ------
    ArgumentTypeError
        Naming the column that holds no numbers.
    """
    try:
        array = np.asarray(value)
    except (ValueError, TypeError) as error:
        raise ArgumentTypeError(name, f"is no array ({error})", "numbers") from None
    if array.dtype.kind in "fiub":
        return array
    try:
        if array.dtype.kind == "O" and not any(_is_time(one) for one in array.flat):
            if hasattr(value, "to_numpy"):
                return np.asarray(value.to_numpy(dtype=np.float64, na_value=np.nan))
            return array.astype(np.float64)
    except (TypeError, ValueError):
        pass
    came = f"has dtype {array.dtype}"
    if is_frame(value):
        for column in value.columns:
            kind = np.asarray(value[column]).dtype
            if kind.kind not in "fiub":
                came = f"has the column {column!r} of dtype {kind}"
                break
    elif array.dtype.kind == "O" and array.ndim == 0:
        came = f"is of type {type(value).__name__}"
    hint = "numbers: dates belong into the index (set_index), names of classes into y"
    raise ArgumentTypeError(name, came, hint if hasattr(value, "index") else "numbers")


# ---------------------------------------------------------------- time


def _is_time(one: Any) -> bool:
    return hasattr(one, "isoformat") or hasattr(one, "total_seconds")


def time_index(value: Any, name: str) -> Any:
    """Return the index of pandas' data as numbers, dates, periods or durations; None without.

    Text in ISO form becomes dates.
    """
    index = getattr(value, "index", None)
    if index is None or not hasattr(index, "is_monotonic_increasing"):
        return None
    if index.nlevels > 1:
        raise ArgumentError(
            name,
            f"has an index of {index.nlevels} levels",
            "one level, the time. For several series: "
            f"[one.droplevel(0) for _, one in {name}.groupby(level=0)]",
        )
    if index.dtype.kind in "fiuMm" or hasattr(index, "asfreq"):
        return index
    import pandas

    try:
        if all(isinstance(one, str) or hasattr(one, "isoformat") for one in index):
            return pandas.DatetimeIndex(
                pandas.to_datetime(index, format="ISO8601"), name=index.name
            )
    except (ValueError, TypeError):
        pass
    raise ArgumentError(
        name,
        f"has the index {_check.plain(index[0])!r}, .. of dtype {index.dtype}",
        f"numbers or dates in order of time: {name}.index = pandas.to_datetime({name}.index, "
        f"format=..), or {name}.reset_index(drop=True) if the rows are in order",
    )


def is_date(index: Any) -> bool:
    """Whether an index holds dates, periods or durations, whose order is that of time."""
    return bool(index.dtype.kind in "Mm" or hasattr(index, "asfreq"))


def rising(index: Any, name: str, advice: str) -> bool:
    """Whether an index rises; refuse times that occur twice, and numbers in another order.

    advice: how to sort the rows.
    """
    if index.hasnans:
        row = int(np.argmax(np.asarray(index.isna())))
        raise ArgumentError(
            name,
            f"has no time in row {row} of its index",
            f"a time for each row: {name}[{name}.index.notna()]",
        )
    if not index.is_unique:
        again = index[index.duplicated()][0]
        raise ArgumentError(name, f"has two rows of {again}", "each time once")
    if index.is_monotonic_increasing:
        return True
    if not is_date(index):
        i = int(np.argmax(np.asarray(index[1:] < index[:-1])))
        raise ArgumentError(
            name,
            f"has an index in which {index[i + 1]} follows {index[i]}",
            f"rows in order of time: {advice} if the index is the time, "
            "reset_index(drop=True) if they are in order",
        )
    return False


def _refuse_days(index: Any, name: str) -> None:
    """Refuse numbers that are all days, as 20240131, or months, as 202412.

    As numbers they would go on with 20240132; numbers of rows are hardly ever all of them.
    """
    if len(index) < 2 or index.dtype.kind not in "iu":
        return
    numbers = np.asarray(index).astype(np.int64)
    for form, months, days in (
        ("%Y%m%d", numbers // 100, numbers % 100),
        ("%Y%m", numbers, np.ones_like(numbers)),
    ):
        years, month = months // 100, months % 100
        if ((years >= 1900) & (years < 2100) & (month >= 1) & (month <= 12)).all() and (
            (days >= 1) & (days <= 31)
        ).all():
            raise ArgumentError(
                name,
                f"has the index {numbers[0]}, .., which may be numbers, or days or months",
                f"{name}.index = pandas.to_datetime({name}.index.astype(str), format={form!r}), or "
                f"{name}.reset_index(drop=True) if the rows are in order",
            )


class Continuation:
    """How an index goes on after its end.

    Parameters
    ----------
    index : pandas Index
        That of a series, in order of time.
    name : str
        The series in messages.
    """

    def __init__(self, index: Any, name: str) -> None:
        self._last = index[-1:]
        self._name = name
        self._step: Any = None  # between two rows; None: it varies
        if is_date(index):
            freq = getattr(index, "freq", None)
            if freq is None and len(index) > 2:
                with warnings.catch_warnings():  # that it will be an offset, which is as good
                    warnings.simplefilter("ignore")
                    freq = getattr(index, "inferred_freq", None)
            self._step = freq
        else:
            gaps = np.diff(np.asarray(index))
            step = gaps[-1] if len(gaps) else 1
            _refuse_days(index, name)
            if len(gaps) == 0 or np.allclose(gaps, step, rtol=1e-6, atol=0.0):
                self._step = step

    def at(self, steps: Array) -> Any:
        """Return the index of the given steps ahead, counted from 1.

        Without a constant distance between rows, it holds the numbers of the steps themselves.
        """
        import pandas

        last, step = self._last, self._step
        if step is None:
            warnings.warn(
                f"the index of {self._name} has no constant distance between rows: they count as "
                "neighbours, and forecasts are indexed by the number of steps ahead. If rows are "
                'absent, insert them first, such as by asfreq("D")',
                UserWarning,
                stacklevel=4,
            )
            return pandas.Index(steps, name="steps ahead")
        if not is_date(last):
            return pandas.Index(last[0] + step * steps, name=last.name)
        if isinstance(last, pandas.DatetimeIndex):
            every = pandas.date_range
        elif isinstance(last, pandas.PeriodIndex):
            every = pandas.period_range
        else:
            every = pandas.timedelta_range
        return every(last[0], periods=int(steps.max()) + 1, freq=step)[steps].rename(last.name)


def _all_dates(names: list[Any]) -> bool:
    if all(hasattr(one, "isoformat") for one in names):
        return bool(names)
    if not all(isinstance(one, str) and re.match(r"\d{4}-\d\d", one) for one in names):
        return False
    try:
        np.array(names, dtype="datetime64")
    except ValueError:
        return False
    return True


def _some(names: Any) -> str:
    shown = [repr(one) for one in names[:5]]
    return ", ".join(shown) + (", .." if len(names) > 5 else "")
