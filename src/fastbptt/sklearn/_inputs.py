"""Read X and y, in all their forms, as sequences."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_array

from ._compat import validate_data

Array: TypeAlias = NDArray[Any]

_FLOATS = [np.float64, np.float32]  # other dtypes become the first


class StackedSteps(NamedTuple):
    """All steps of all sequences, concatenated.

    rows: (steps,) or (steps, width). lengths: (sequences,), their sum is `steps`. even: they came
    as one array, so that all lengths are equal.
    """

    rows: Array
    lengths: NDArray[np.int64]
    even: bool

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
        return StackedSteps(rows, self.lengths, self.even)

    def sequences(self) -> Array | list[Array]:
        """Return views: (sequences, time, ...), or a list of (time_i, ...)."""
        if self.even:
            return self.rows.reshape(len(self.lengths), -1, *self.rows.shape[1:])
        return np.split(self.rows, np.cumsum(self.lengths)[:-1])

    def take(self, chosen: NDArray[np.bool_]) -> StackedSteps:
        """Keep some sequences."""
        return StackedSteps(
            self.rows[np.repeat(chosen, self.lengths)], self.lengths[chosen], self.even
        )

    def spread(self, values: Array) -> Array:
        """Repeat one value per sequence for each of its steps."""
        return np.repeat(values, self.lengths)


def read_inputs(estimator: Any, X: Any, reset: bool) -> StackedSteps:
    """Read X; with `reset` store its number of features, else check X against it.

    A two-dimensional X is one univariate series per row. Then `n_features_in_` is its width, which
    scikit-learn requires to stay fixed; otherwise it is the number of features per step.
    """
    if isinstance(X, list | tuple) and not X:
        raise ValueError("X is empty; expected at least one sequence")
    items = _items(X)
    if items is None:
        dims = _dims(X)
        if dims < 3:
            return _read_flat(estimator, X, reset)
        options = {"dtype": _FLOATS, "allow_nd": True, "estimator": estimator, "input_name": "X"}
        array = check_array(X, **options)
        if dims > 3 or 0 in array.shape[1:]:
            raise ValueError(
                f"X has shape {array.shape}; expected (sequences, time, features), each at least 1"
            )
        steps = StackedSteps.from_array(array)
    else:
        steps = _read_items(estimator, items)
    width = steps.rows.shape[1]
    if reset:
        estimator.n_features_in_ = estimator._inputs = width
        estimator._columns = None
        if hasattr(estimator, "feature_names_in_"):
            del estimator.feature_names_in_
    elif width != estimator._inputs:
        raise ValueError(
            f"X has {width} features per step, but {type(estimator).__name__} is expecting "
            f"{estimator._inputs}, as in fit"
        )
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
    ragged = all(isinstance(one, list | tuple) for one in X) and len(set(map(len, X))) > 1
    return list(X) if ragged or isinstance(first[0], list | tuple) else None


def _dims(X: Any) -> int:
    if hasattr(X, "ndim"):
        return int(X.ndim)
    try:
        return np.asarray(X).ndim
    except ValueError:  # a ragged list: scikit-learn reports it
        return 2


def _read_flat(estimator: Any, X: Any, reset: bool) -> StackedSteps:
    if reset or estimator._columns is not None:
        array = validate_data(estimator, X, reset=reset, dtype=_FLOATS)
        if reset:
            estimator._inputs, estimator._columns = 1, array.shape[1]
    else:
        array = check_array(X, dtype=_FLOATS, estimator=estimator, input_name="X")
        if estimator._inputs != 1:
            raise ValueError(
                f"X has shape {array.shape}, which is read as univariate series, but "
                f"{type(estimator).__name__} is expecting {estimator._inputs} features per step; "
                "for one sequence give X[None]"
            )
    return StackedSteps.from_array(array[:, :, np.newaxis])


def _read_items(estimator: Any, items: list[Any]) -> StackedSteps:
    arrays = [np.asarray(item) for item in items]
    arrays = [array[:, np.newaxis] if array.ndim == 1 else array for array in arrays]
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
    return steps.with_rows(check_array(steps.rows, **options))


def read_step_targets(y: Any, x: StackedSteps) -> StackedSteps:
    """Read a y with a target for every step: (n, time[, outputs]), or a list."""
    y = y if isinstance(y, list | tuple) else np.asarray(y)
    if len(y) != len(x.lengths):
        raise ValueError(f"y has {len(y)} sequences; expected {len(x.lengths)}, as X has")
    arrays = [np.asarray(one) for one in y]
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
