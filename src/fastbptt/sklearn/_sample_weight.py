"""Weights of sequences or of their steps, and targets that are missing."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import _check_sample_weight

from .. import _check
from .._errors import ArgumentError
from . import _pandas
from ._inputs import Array, StackedSteps, check_data


class SampleWeight(NamedTuple):
    """Weights of at least 0.

    rows: (sequences,), or of all their steps, (steps,). each: whether they are those of steps.
    """

    rows: NDArray[np.float64]
    each: bool

    @classmethod
    def read(cls, value: Any, x: StackedSteps, steps: str) -> SampleWeight | None:
        """Check what the caller gave: one of each sequence, or of each step where those count."""
        if value is None:
            return None
        _check.no_mask("sample_weight", value)
        each = _of_steps(value)
        if each and steps != "all":
            parts = isinstance(value, list | tuple)
            came = "has weights of steps" if parts else f"has shape {np.asarray(value).shape}"
            expected = f'({len(x.lengths)},): weights of steps are for steps="all"'
            raise ArgumentError("sample_weight", came, expected)
        rows = (
            _joined(value, x) if each else _check_sample_weight(value, x.lengths, dtype=np.float64)
        )
        if each and not np.isfinite(rows).all():
            where = int(np.isfinite(rows).argmin())
            raise ArgumentError(
                "sample_weight", f"is {rows[where]}", "finite numbers", index=_place(where, x)
            )
        if rows.min() < 0.0:
            i = int(rows.argmin())
            place = _place(i, x) if each else (i,)
            shown = f"sample_weight[{', '.join(map(str, place))}]"
            raise ValueError(f"{shown} is {rows[i]}; expected numbers of at least 0")
        if not rows.any():
            raise ValueError("sample_weight is zero everywhere; expected a weight above 0")
        return cls(rows, each)

    def totals(self, x: StackedSteps) -> Array:
        """Return the sum of the weights of each sequence."""
        return np.add.reduceat(self.rows, _firsts(x)) if self.each else self.rows

    def of_sequences(self, x: StackedSteps) -> Array:
        """Return one weight of each sequence: of its steps the mean."""
        return self.totals(x) / x.lengths if self.each else self.rows

    def of_targets(self, x: StackedSteps, steps: str) -> Array:
        """Return a weight for each target."""
        return self.rows if self.each or steps != "all" else x.spread(self.rows)

    def take(self, chosen: NDArray[np.bool_], x: StackedSteps) -> SampleWeight:
        """Keep those of some sequences of `x`."""
        return self._replace(rows=self.rows[x.spread(chosen) if self.each else chosen])

    def times(self, there: Array, x: StackedSteps, steps: str) -> SampleWeight:
        """Multiply with numbers of the targets."""
        return SampleWeight(self.of_targets(x, steps) * there, steps == "all")

    def sequences(self, x: StackedSteps) -> Any:
        """Return them as `fastbptt.fit` takes them."""
        return x.with_rows(self.rows).sequences() if self.each else self.rows


def without_gaps(
    y: Any, x: StackedSteps, steps: str, weight: SampleWeight | None, missing: str, labels: bool
) -> tuple[Any, SampleWeight | None]:
    """Put other targets in the place of those without weight, which nobody reads.

    With ``missing="mask"`` those that are missing have weight 0: labels that are None or NaN, and
    numbers that are NaN. What is wrong with the form of `y` is found later.
    """
    idle = None if weight is None else weight.of_targets(x, steps) <= 0.0
    if missing == "error" and (idle is None or not idle.any()):
        return y, weight
    check_data("y", y)
    every = steps == "all"
    if every:
        items = y if isinstance(y, list | tuple) else np.asarray(y)
        if np.ndim(items[0] if len(items) else 0) == 0 or len(items) != len(x.lengths):
            return y, weight
    else:
        items = [y]
    parts = [_cells(one, f"y[{i}]" if every else "y", labels) for i, one in enumerate(items)]
    ends = x.lengths.tolist() if every else [len(x.lengths)]
    if any(len(part) not in (end, x.padded * every) for part, end in zip(parts, ends, strict=True)):
        return y, weight
    there = np.ones(sum(ends))
    if missing == "mask":
        gaps = [
            _gaps(part, i if every else None, end)
            for i, (part, end) in enumerate(zip(parts, ends, strict=True))
        ]
        there = 1.0 - np.concatenate([one[:end] for one, end in zip(gaps, ends, strict=True)])
    read = there > 0.0 if idle is None else (there > 0.0) & ~idle
    if read.all():
        return y, weight
    if not read.any():
        beside = "" if weight is None else ", or without weight"
        raise ArgumentError("y", f"holds only missing targets{beside}", "at least one")
    filled, first = [], None
    starts = np.cumsum([0, *ends])
    for start, end, part in zip(starts, ends, parts, strict=False):
        own = read[start : start + end]
        if first is None and own.any():
            first = part[:end][own][0]
    for start, end, part in zip(starts, ends, parts, strict=False):
        whole = part[:end].copy()
        # an assignment of a list to objects would spread it
        for i in np.flatnonzero(~read[start : start + end]):
            whole[i] = first
        filled.append(whole.tolist() if whole.dtype == object else whole)
    if not there.all():
        given = weight or SampleWeight(np.ones(len(x.lengths)), False)
        weight = given.times(there, x, steps)
    return (filled if every else filled[0]), weight


def check_weight_left(weight: SampleWeight | None, x: StackedSteps) -> NDArray[np.bool_] | None:
    """Tell which sequences have a weight; None: all."""
    present = None if weight is None else weight.totals(x) > 0.0
    return None if present is None or present.all() else present


# ---------------------------------------------------------------- details


def _firsts(x: StackedSteps) -> NDArray[np.int64]:
    found: NDArray[np.int64] = np.cumsum(x.lengths) - x.lengths
    return found


def _place(row: int, x: StackedSteps) -> tuple[int, int]:
    """Return the sequence and step of a row."""
    i = int(np.searchsorted(np.cumsum(x.lengths), row, side="right"))
    return i, row - int(_firsts(x)[i])


def _of_steps(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(np.ndim(one) > 0 for one in value)
    return np.asarray(value).ndim > 1


def _joined(value: Any, x: StackedSteps) -> NDArray[np.float64]:
    """Concatenate weights of steps."""
    if len(value) != len(x.lengths):
        raise ArgumentError(
            "sample_weight", f"has {len(value)} sequences", f"{len(x.lengths)}, as X has"
        )
    parts = []
    items = value if isinstance(value, list | tuple) else np.asarray(value)
    for i, (one, end) in enumerate(zip(items, x.lengths.tolist(), strict=True)):
        _check.in_order_of_time("sample_weight", one, i)
        array = _pandas.numbers(one, f"sample_weight[{i}]").astype(np.float64)
        if array.shape not in ((end,), (x.padded,)):
            expected = f"({end},): a weight for every step of X[{i}]"
            raise ArgumentError("sample_weight", f"has shape {array.shape}", expected, item=i)
        parts.append(array[:end])
    return np.concatenate(parts)


def _cells(one: Any, name: str, labels: bool) -> Array:
    """Make an array of targets, in which None and pandas' NA remain what they are among labels."""
    if not labels:
        array = _pandas.numbers(one, name)
        return array if array.ndim else array[np.newaxis]
    if isinstance(one, list | tuple):
        array = np.empty(len(one), object)
        for i, cell in enumerate(one):
            array[i] = cell
        return array
    if hasattr(getattr(one, "dtype", None), "numpy_dtype"):  # a type of pandas that knows NA
        return np.asarray(one.to_numpy(dtype=object))
    return np.atleast_1d(np.asarray(one))


def _gaps(array: Array, item: int | None, end: int) -> NDArray[np.bool_]:
    """Find the targets that are missing."""
    if array.dtype.kind == "O":
        return np.array([_is_missing(one) for one in array.tolist()], np.bool_)
    if array.dtype.kind != "f":
        return np.zeros(len(array), np.bool_)
    blank = np.isnan(array).reshape(len(array), -1)
    gaps: NDArray[np.bool_] = np.all(blank, axis=1)
    odd = np.any(blank, axis=1) & ~gaps
    odd[end:] = False
    if odd.any():
        raise ArgumentError(
            "y",
            f"has no value for some of its {blank.shape[1]} outputs",
            "values for all or for none, or an estimator for each output. "
            "numpy.where(numpy.isnan(y).any(axis=-1, keepdims=True), numpy.nan, y) leaves out "
            "such targets whole",
            item=item,
            index=(int(odd.argmax()),),
        )
    return gaps


def _is_missing(one: Any) -> bool:
    if one is None or str(one) in ("<NA>", "NaT"):
        return True
    return bool(np.ndim(one) == 0 and one != one)
