"""Read X and y, in all their forms, as sequences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_array

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


def read_inputs(estimator: Any, X: Any, reset: bool) -> StackedSteps:
    """Read X; with `reset` store its number and names of features, else check X against them.

    A two-dimensional X is one univariate series per row. Then `n_features_in_` is its width, which
    scikit-learn requires to stay fixed; otherwise it is the number of features per step. Steps of
    NaN after the last one with a value are the end of a sequence.
    """
    if isinstance(X, Mapping | set | str | bytes) and not hasattr(X, "ndim"):
        expected = "an array (sequences, time, features) or a list of arrays (time, features)"
        raise ArgumentTypeError("X", f"is of type {type(X).__name__}", expected)
    if isinstance(X, list | tuple) and not X:
        raise ValueError("X is empty; expected at least one sequence")
    items = _items(X)
    names = None
    if items is None:
        dims = _dims(X)
        if dims < 3:
            return _read_flat(estimator, X, dims, reset)
        options = {"dtype": _FLOATS, "allow_nd": True, "estimator": estimator, "input_name": "X"}
        array = check_array(X, **options, **ANY_VALUES)
        if dims > 3 or 0 in array.shape[1:]:
            raise ValueError(
                f"X has shape {array.shape}; expected (sequences, time, features), each at least 1"
            )
        steps = StackedSteps.from_array(array).without_tails()
    else:
        steps, names = _read_items(estimator, items, reset)
    _check_finite(steps)
    width = steps.rows.shape[1]
    if reset:
        estimator.n_features_in_ = estimator._inputs = width
        estimator._columns = None
        _pandas.keep_names(estimator, names)
    elif width != estimator._inputs:
        raise ValueError(
            f"X has {width} features per step, but {type(estimator).__name__} is expecting "
            f"{estimator._inputs}, as in fit"
        )
    elif items is not None:
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
    except ValueError:  # a ragged list: scikit-learn reports it
        return 2


def _read_flat(estimator: Any, X: Any, dims: int, reset: bool) -> StackedSteps:
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
            estimator._inputs, estimator._columns = 1, array.shape[1]
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
    _check_finite(steps)
    return steps


def _read_items(
    estimator: Any, items: list[Any], reset: bool
) -> tuple[StackedSteps, tuple[str, ...] | None]:
    """Read a list of sequences; return also the names of the features, if they are frames."""
    if reset:
        names = _pandas.column_names(items[0], "X[0]")
    else:
        names = getattr(estimator, "feature_names_in_", None)
        names = None if names is None else tuple(names)
    arrays = []
    for i, item in enumerate(items):
        name = f"X[{i}]"
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
    steps = StackedSteps.from_items(arrays)
    options = {"dtype": _FLOATS, "estimator": estimator, "input_name": "X"}
    rows = check_array(steps.rows, **options, **ANY_VALUES)
    found = _pandas.column_names(items[0], "X[0]")
    return steps.with_rows(rows).without_tails(), found


def _check_finite(steps: StackedSteps) -> None:
    """Refuse NaN and infinity, with the place of the first."""
    if np.isfinite(steps.rows).all():
        return
    row = int(np.isfinite(steps.rows).all(axis=1).argmin())
    ends = np.cumsum(steps.lengths)
    i = int(np.searchsorted(ends, row, side="right"))
    step = row - int(ends[i] - steps.lengths[i])
    if not np.isnan(steps.rows[row]).any():
        raise ArgumentError("X", "contains infinity", "finite numbers", index=(i, step))
    raise ArgumentError(
        "X",
        "contains NaN",
        "numbers: NaN may only follow the end of a sequence. Give sequences of unequal lengths as "
        "a list of arrays; if X is padded in front, that list is "
        'fastbptt.datasets.unpad(X, value=float("nan"), padding="pre")',
        index=(i, step),
    )


def read_step_targets(y: Any, x: StackedSteps) -> StackedSteps:
    """Read a y with a target for every step: (n, time[, outputs]), or a list."""
    y = y if isinstance(y, list | tuple) else np.asarray(y)
    if len(y) != len(x.lengths):
        raise ValueError(f"y has {len(y)} sequences; expected {len(x.lengths)}, as X has")
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
