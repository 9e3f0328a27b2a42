"""Read X and y, in all their forms, as sequences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_array

from .. import _check
from .._errors import ArgumentError, ArgumentTypeError
from . import _pandas
from ._compat import ANY_VALUES, validate_data

Array: TypeAlias = NDArray[Any]

_FLOATS = [np.float64, np.float32]  # other dtypes become the first


class StackedSteps(NamedTuple):
    """All steps of all sequences, concatenated.

    rows: (steps,) or (steps, width). lengths: (sequences,), their sum is `steps`. even: they came
    as one array, so that all lengths are equal. padded: the steps of each before padding was
    dropped, 0 if there was none.
    """

    rows: Array
    lengths: NDArray[np.int64]
    even: bool
    padded: int = 0

    @classmethod
    def from_array(cls, array: Array) -> StackedSteps:
        """Convert an array (sequences, time, ...)."""
        count, time, *rest = array.shape
        return cls(array.reshape(count * time, *rest), np.full(count, time, np.int64), True)

    @classmethod
    def from_items(cls, items: list[Array]) -> StackedSteps:
        """Convert a list of arrays (time_i, ...)."""
        return cls(np.concatenate(items), np.array([len(item) for item in items], np.int64), False)

    @classmethod
    def single(cls, rows: Array) -> StackedSteps:
        """Convert one step per sequence: (sequences, ...)."""
        return cls(rows, np.ones(len(rows), np.int64), True)

    def with_rows(self, rows: Array) -> StackedSteps:
        """Replace the values of the steps."""
        return self._replace(rows=rows)

    def without_tails(self) -> StackedSteps:
        """Drop the steps after the last one of each sequence that is not NaN throughout."""
        ends = np.cumsum(self.lengths)
        if not np.isnan(self.rows[ends - 1]).all(axis=1).any():
            return self
        blank = np.asarray(np.isnan(self.rows).all(axis=1))
        places = np.where(blank, -1, np.arange(len(blank)))
        last = np.maximum.reduceat(places, ends - self.lengths)
        lengths = np.where(last < 0, self.lengths, last - (ends - self.lengths) + 1)
        step = np.arange(len(blank)) - np.repeat(ends - self.lengths, self.lengths)
        kept = step < np.repeat(lengths, self.lengths)
        padded = int(self.lengths[0]) if self.even else 0
        return StackedSteps(self.rows[kept], lengths, False, padded)

    def sequences(self) -> Array | list[Array]:
        """Return views: (sequences, time, ...), or a list of (time_i, ...)."""
        if self.even:
            return self.rows.reshape(len(self.lengths), -1, *self.rows.shape[1:])
        return np.split(self.rows, np.cumsum(self.lengths)[:-1])

    def take(self, chosen: NDArray[np.bool_]) -> StackedSteps:
        """Keep some sequences."""
        rows = self.rows[np.repeat(chosen, self.lengths)]
        return self._replace(rows=rows, lengths=self.lengths[chosen])

    def spread(self, values: Array) -> Array:
        """Repeat one value per sequence for each of its steps."""
        return np.repeat(values, self.lengths)


def check_data(name: str, value: Any) -> None:
    """Refuse what is no array-like of numbers or labels, with its cause; contents come later."""
    expected = "an array, or a list of arrays"
    if isinstance(value, Mapping | set | str | bytes) and not hasattr(value, "ndim"):
        raise ArgumentTypeError(name, f"is of type {type(value).__name__}", expected)
    if not isinstance(value, list | tuple) and hasattr(value, "get_group"):
        came = f"is of type {type(value).__name__}"
        raise ArgumentTypeError(name, came, f"a list: [one for _, one in {name}]")
    if hasattr(value, "__iter__") and not hasattr(value, "__len__"):
        came = f"is of type {type(value).__name__}"
        raise ArgumentTypeError(name, came, f"{expected}: list({name})")
    _check.no_mask(name, value)
    kind = getattr(getattr(value, "dtype", None), "kind", "")
    if kind == "c":
        raise ArgumentError(name, "has a complex dtype. Complex data not supported", "real numbers")


def check_numbers(name: str, value: Any) -> None:
    """Refuse what scikit-learn would turn into numbers without a word, or with a loss."""
    check_data(name, value)
    array = value if isinstance(value, np.ndarray) else getattr(value, "dtype", None)
    kind = getattr(getattr(array, "dtype", array), "kind", "")
    if kind in ("M", "m"):
        raise ArgumentTypeError(
            name,
            f"has dtype {getattr(array, 'dtype', array)}",
            "numbers: of dates, the time since a start, such as "
            f'({name} - {name}.min()) / numpy.timedelta64(1, "D")',
        )
    cells = (
        value
        if isinstance(value, list | tuple)
        else np.asarray(value)
        if kind in ("O", "U")
        else ()
    )
    first = next(iter(cells.flat if isinstance(cells, np.ndarray) else cells), None)
    if isinstance(first, str) and not _is_float(first):
        raise ArgumentTypeError(
            name,
            f"holds {_check.quoted(first)}",
            "numbers; names of classes are for a RecurrentClassifier",
        )
    if isinstance(value, np.ndarray) and value.ndim and value.size and kind in "iu":
        _check.resolved_by_float64(name, value if value.ndim > 1 else value[:, np.newaxis])


def _is_float(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def read_inputs(estimator: Any, X: Any, reset: bool) -> StackedSteps:
    """Read X; with `reset` store its number and names of features, else check X against them.

    A two-dimensional X is one univariate series per row. Then `n_features_in_` is its width, which
    scikit-learn requires to stay fixed; otherwise it is the number of features per step. Steps of
    NaN after the last one with a value are the end of a sequence; other NaN, and those of a list,
    are gaps if the estimator has an `imputer_` or, with `reset`, ``missing="mask"``.
    """
    masked = estimator.missing == "mask" if reset else estimator.imputer_ is not None
    check_numbers("X", X)
    if isinstance(X, list | tuple) and not X:
        raise ValueError("X is empty; expected at least one sequence")
    items = _items(X)
    names: tuple[Any, ...] | None = None
    if items is None:
        dims = _dims(X)
        if dims < 3:
            return _read_flat(estimator, X, dims, reset, masked)
        options = {"dtype": _FLOATS, "allow_nd": True, "estimator": estimator, "input_name": "X"}
        array = check_array(X, **options, **ANY_VALUES)
        if dims > 3 or 0 in array.shape[1:]:
            raise ValueError(
                f"X has shape {array.shape}; expected (sequences, time, features), each at least 1"
            )
        steps = StackedSteps.from_array(array).without_tails()
    else:
        steps, names = _read_items(estimator, items, reset, masked)
    _check_finite(steps, masked)
    width = steps.rows.shape[1]
    if reset:
        estimator.n_features_in_ = estimator._inputs = width
        estimator._columns, estimator._names = None, names
        _pandas.keep_names(estimator, names)
    elif width != estimator._inputs:
        raise ValueError(
            f"X has {width} features per step, but {type(estimator).__name__} is expecting "
            f"{estimator._inputs}, as in fit"
        )
    elif estimator._columns is None:
        _pandas.warn_about_names(estimator, names)
    return steps


def _items(X: Any) -> list[Any] | None:
    """Return the items if X is a list of sequences, that is of arrays; else None."""
    if isinstance(X, np.ndarray):
        if X.dtype != object or X.ndim != 1 or not len(X):
            return None
        first = X[0]
        return list(X) if isinstance(first, list | tuple) or hasattr(first, "__array__") else None
    if not isinstance(X, list | tuple) or not X:
        return None
    first = X[0]
    if hasattr(first, "ndim"):
        return list(X) if first.ndim else None
    if not isinstance(first, list | tuple) or not first:
        return None
    if isinstance(first[0], list | tuple):
        return list(X)
    lengths = {len(one) for one in X if isinstance(one, list | tuple)}
    return list(X) if len(lengths) > 1 else None  # of equal lengths: a table


def _dims(X: Any) -> int:
    if hasattr(X, "ndim"):
        return int(X.ndim)
    try:
        return np.asarray(X).ndim
    except ValueError:
        part = X[0] if isinstance(X, list | tuple) else X
        raise ArgumentError(
            "X",
            "is a nested list that is no array of numbers, and whose items, of type "
            f"{type(part).__name__}, are no arrays either",
            "an array (sequences, time, features), or a list of arrays (time, features)",
        ) from None


def _read_flat(estimator: Any, X: Any, dims: int, reset: bool, masked: bool) -> StackedSteps:
    if dims == 1 and (isinstance(X, list | tuple) or hasattr(X, "__array__")):
        raise ArgumentError(
            "X",
            f"has shape {np.shape(X)}",
            "(sequences, time) or (sequences, time, features). Reshape your data: for one "
            "univariate series np.reshape(X, (1, -1))",
        )
    options = {"dtype": _FLOATS, **ANY_VALUES}
    if reset or estimator._columns is not None:
        if reset and _pandas.is_frame(X):
            _pandas.check_rows_are_series(X, "X")
        array = validate_data(estimator, X, reset=reset, **options)
        if reset:
            estimator._inputs, estimator._columns, estimator._names = 1, array.shape[1], None
    else:
        if _pandas.is_frame(X):
            raise ArgumentError(
                "X",
                f"is one frame of shape {X.shape}",
                "a list of sequences, as in fit: [X] for one",
            )
        array = check_array(X, estimator=estimator, input_name="X", **options)
        if estimator._inputs != 1:
            raise ValueError(
                f"X has shape {array.shape}, which is read as univariate series, but "
                f"{type(estimator).__name__} is expecting {estimator._inputs} features per step; "
                "for one sequence give X[None]"
            )
    steps = StackedSteps.from_array(array[:, :, np.newaxis]).without_tails()
    _check_finite(steps, masked)
    return steps


def _read_items(
    estimator: Any, items: list[Any], reset: bool, masked: bool
) -> tuple[StackedSteps, tuple[Any, ...] | None]:
    """Read a list of sequences; return also the names of the features, if they are frames."""
    names = getattr(estimator, "_names", None)
    if reset:
        names = _pandas.column_names(items[0], "X[0]")
    arrays = []
    for i, item in enumerate(items):
        name = f"X[{i}]"
        _check.no_mask("X", item, i)
        index = _pandas.time_index(item, name)
        if index is not None and not _pandas.rising(index, name, "sort_index()"):
            advice = "rows in order of time: [one.sort_index() for one in X], and y of steps alike"
            raise ArgumentError(name, "has an index of dates that are not in order", advice)
        array = _pandas.numbers(_pandas.in_order(item, name, names), name)
        arrays.append(array[:, np.newaxis] if array.ndim == 1 else array)
    width = arrays[0].shape[-1]
    for i, array in enumerate(arrays):
        shape = np.shape(items[i])
        if array.ndim == 2 and 0 in array.shape:
            what = "feature" if len(array) else "step"
            raise ValueError(f"X[{i}] has shape {shape}; expected at least one {what}")
        if array.ndim != 2 or array.shape[1] != width:
            wanted = f"(time, {width}), as X[0] has" if i else "(time, features)"
            raise ValueError(f"X[{i}] has shape {shape}; expected {wanted}")
    _check.resolved_by_float64("X", *arrays)
    steps = StackedSteps.from_items(arrays)
    options = {"dtype": _FLOATS, "estimator": estimator, "input_name": "X"}
    rows = check_array(steps.rows, **options, **ANY_VALUES)
    found = _pandas.column_names(items[0], "X[0]")
    steps = steps.with_rows(rows)
    return steps if masked else steps.without_tails(), found


def _check_finite(steps: StackedSteps, masked: bool) -> None:
    """Refuse infinity and, unless it is `masked`, NaN, with the place of the first."""
    finite = ~np.isinf(steps.rows) if masked else np.isfinite(steps.rows)
    if finite.all():
        return
    row = int(finite.all(axis=1).argmin())
    ends = np.cumsum(steps.lengths)
    i = int(np.searchsorted(ends, row, side="right"))
    step = row - int(ends[i] - steps.lengths[i])
    if masked or not np.isnan(steps.rows[row]).any():
        raise ArgumentError("X", "contains infinity", "finite numbers", index=(i, step))
    raise ArgumentError(
        "X",
        "contains NaN",
        "numbers: NaN may only follow the end of a sequence, unless the estimator has "
        'missing="mask", for values that are missing. Give sequences of unequal lengths as '
        "a list of arrays; if X is padded in front, that list is "
        'fastbptt.datasets.unpad(X, value=float("nan"), padding="pre")',
        index=(i, step),
    )


def read_labels(y: Any, steps: str, name: str = "y") -> Any:
    """Refuse labels of which some are missing, or of another type than others.

    Labels of one of pandas' types that know missing values come back in NumPy's.
    """
    check_data(name, y)
    many = steps == "all" and isinstance(y, list | tuple)
    found = [_labels(name, one, i if many else None) for i, one in enumerate(y if many else [y])]
    kinds = [kind for _, kind in found if kind]
    if len(set(kinds)) > 1:
        i = next(i for i, kind in enumerate(kinds) if kind != kinds[0])
        came = f"has labels of type {kinds[i]} beside those of type {kinds[0]} in {name}[0]"
        raise ArgumentTypeError(name, came, "labels of one type", item=i)
    return [one for one, _ in found] if many else found[0][0]


def _labels(name: str, y: Any, item: int | None) -> tuple[Any, str]:
    """Check one array-like of labels; return it, and "text" or "number" if it is known."""
    kind = getattr(getattr(y, "dtype", None), "numpy_dtype", None)
    if isinstance(kind, np.dtype) and hasattr(y, "isna") and not y.isna().any():
        y = y.to_numpy(dtype=kind)  # an array of objects, or of floats, else
    cells: Any = y
    if not isinstance(y, list | tuple):
        cells = np.asarray(y)
        if cells.dtype.kind != "O":
            return y, {"U": "text", "S": "text", "M": "", "m": ""}.get(cells.dtype.kind, "number")
        cells = cells.ravel().tolist()
    if not all(np.ndim(one) == 0 for one in cells):
        return y, ""  # rows, which are judged by their shape
    for i, one in enumerate(cells):
        if one is None or str(one) == "<NA>" or (one != one) is True:
            expected = "a label for each: leave out those without, or give them a name"
            raise ArgumentError(name, f"holds no label ({one})", expected, item=item, index=(i,))
    text = [isinstance(one, str | bytes) for one in cells]
    if any(text) and not all(text):
        i = text.index(not text[0])
        came = f"holds {_check.quoted(cells[i])} beside {_check.quoted(cells[0])}"
        raise ArgumentTypeError(name, came, "labels of one type", item=item, index=(i,))
    return y, "text" if any(text) else "number" if cells else ""


def check_same_times(X: Any, y: Any) -> None:
    """Refuse targets of steps whose dates, in a list of pandas' data, are not those of X."""
    if not (isinstance(X, list | tuple) and isinstance(y, list | tuple)):
        return
    for i, (one, other) in enumerate(zip(X, y, strict=False)):
        times: Any = getattr(one, "index", None)
        labels: Any = getattr(other, "index", None)
        if not (hasattr(times, "equals") and hasattr(labels, "equals")):
            continue
        if _pandas.is_date(times) and _pandas.is_date(labels) and not times.equals(labels):
            raise ArgumentError(
                "y",
                f"has dates from {labels[0]} to {labels[-1]}, and X[{i}] from {times[0]} to "
                f"{times[-1]}",
                "a target for each date of X, as [b.reindex(a.index) for a, b in zip(X, y)] gives "
                "where there are all",
                item=i,
            )


def read_step_targets(y: Any, x: StackedSteps) -> StackedSteps:
    """Read a y with a target for every step: (n, time[, outputs]), or a list."""
    check_data("y", y)
    y = y if isinstance(y, list | tuple) else np.asarray(y)
    if len(y) != len(x.lengths):
        raise ValueError(f"y has {len(y)} sequences; expected {len(x.lengths)}, as X has")
    for i, one in enumerate(y):
        _check.no_mask("y", one, i)
        _check.in_order_of_time("y", one, i)
    arrays = [np.asarray(one) for one in y]
    if x.padded:  # what stands after the ends of the sequences
        arrays = [
            one[:length] if one.ndim and len(one) == x.padded else one
            for one, length in zip(arrays, x.lengths, strict=True)
        ]
    for i, (array, length) in enumerate(zip(arrays, x.lengths, strict=True)):
        if array.ndim not in (1, 2) or len(array) != length:
            raise ValueError(
                f"y[{i}] has shape {array.shape}; expected ({length},) or ({length}, outputs): "
                'steps="all" needs a target for every step of X'
            )
        if array.shape[1:] != arrays[0].shape[1:]:
            raise ValueError(
                f"y[{i}] has shape {array.shape}; expected as many outputs as y[0], "
                f"whose shape is {arrays[0].shape}"
            )
    return x.with_rows(np.concatenate(arrays))
