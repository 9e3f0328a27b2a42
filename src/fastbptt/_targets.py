"""The meaning of targets: classes, labels or numbers, by values, dtype, shape, outputs, loss."""

from __future__ import annotations

from typing import Any, Final, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from . import _check
from ._errors import ArgumentError
from ._losses import Loss

Kind: TypeAlias = Literal["binary", "classes", "labels", "counts", "numbers"]

#: The loss of each kind of targets where none is given.
LOSSES: Final[dict[Kind, str]] = {
    "binary": "bce",
    "classes": "cross_entropy",
    "labels": "bce",
    "counts": "mse",
    "numbers": "mse",
}


class Target(NamedTuple):
    """The meaning of targets.

    Attributes
    ----------
    kind : {"binary", "classes", "labels", "counts", "numbers"}
        Zeros and ones for one output; one class of as many as there are outputs; zeros and ones,
        a label for each output; whole numbers of at least 0; any numbers.
    loss : str
        The loss that they have by default.
    why : str
        Why they have this one, and which `y` would have another: a remark for messages.
    """

    kind: Kind
    loss: str
    why: str


def decide(
    y: Any,
    outputs: int,
    steps: str = "last",
    lengths: Any = None,
    loss: Loss | None = None,
    counted: Any = None,
) -> Target:
    """Decide what targets are.

    Parameters
    ----------
    y : array, or list of arrays (time_i[, outputs])
        As for `fit`. Of an array, values after a sequence's end do not count.
    outputs : int
        Of the model.
    steps : {"last", "all"}
    lengths : array (n,), optional
    loss : Loss, optional
        If it is given, it says which of several readings is meant.
    counted : bool array (n,) or (n, time), or list of bool arrays (time_i,), optional
        Which sequences or steps have a weight; the targets of others do not count.

    Raises
    ------
    ArgumentError
        If two readings are possible; it names both, and how to choose.

    Examples
    --------
    >>> decide([0, 2, 1], 3).kind, decide([0.0, 1.0], 1).kind, decide([[0, 1], [1, 1]], 2).kind
    ('classes', 'binary', 'labels')
    """
    lead = 2 if steps == "all" else 1
    arrays = _arrays(y, lead, lengths, counted)
    if loss is not None:
        kind = _by_loss(arrays, outputs, loss)
    elif outputs == 1:
        kind = _of_one_output(arrays)
    else:
        kind = _of_several(arrays, outputs)
    return Target(kind, LOSSES[kind], _why(kind, arrays, outputs))


def is_zero_or_one(values: NDArray[Any]) -> bool:
    """Whether there are no other values."""
    return values.dtype.kind == "b" or bool(((values == 0) | (values == 1)).all())


class _Values(NamedTuple):
    """Targets without padding; `axis`: whether there is one for the outputs, of `width`."""

    values: NDArray[Any]
    axis: bool

    @property
    def whole(self) -> bool:
        return self.values.dtype.kind in "iu"


def _arrays(y: Any, lead: int, lengths: Any, counted: Any) -> list[_Values]:
    ends = None if lengths is None or lead == 1 else np.asarray(lengths)
    if ends is not None and ends.dtype.kind not in "iu":
        ends = None  # refused where lengths are read
    listed = isinstance(y, list | tuple) and len(y) > 0 and np.ndim(y[0]) > 0
    if listed and (lead == 2 or len({np.shape(one) for one in y}) > 1):
        items = [_check.read("y", one, item=i) for i, one in enumerate(y)]
        if ends is not None and ends.shape == (len(items),):
            items = [one[:end] for one, end in zip(items, ends.tolist(), strict=True)]
        if counted is not None and len(counted) == len(items):
            items = [
                one[which[: len(one)]] if np.ndim(which) else one
                for one, which in zip(items, counted, strict=True)
                if np.any(which)
            ]
        return [_Values(one, one.ndim >= lead) for one in items]
    array = _check.read("y", y)
    axis = array.ndim > lead
    if counted is not None and np.shape(counted) in (array.shape[:1], array.shape[:2]):
        if ends is not None and np.ndim(counted) == 1 and array.ndim > 1:
            array, ends = array[counted], ends[counted]
        else:
            if ends is not None:
                counted = counted & (np.arange(array.shape[1]) < ends[:, np.newaxis])
            return [_Values(array[counted], axis)]
    if ends is not None and ends.shape == array.shape[:1] and array.ndim > 1:
        array = array[np.arange(array.shape[1]) < ends[:, np.newaxis]]
    return [_Values(array, axis)]


def _by_loss(arrays: list[_Values], outputs: int, loss: Loss) -> Kind:
    if loss.targets == "classes":
        return "classes"
    if loss.link == "logistic" and all(is_zero_or_one(one.values) for one in arrays):
        return "binary" if outputs == 1 else "labels"
    return "numbers"


def _of_one_output(arrays: list[_Values]) -> Kind:
    if all(is_zero_or_one(one.values) for one in arrays):
        return "binary"
    whole = all(one.whole for one in arrays)
    if whole:
        found = np.unique(np.concatenate([np.unique(one.values) for one in arrays]))
        if len(found) > 2:
            classes = (
                f"output_size={int(found[-1]) + 1}" if found[0] >= 0 else "another output_size"
            )
            raise ArgumentError(
                "y",
                f"holds {len(found)} different integers, but the model has 1 output",
                f'loss="mse" for a regression on whole numbers, or a model with {classes} for '
                "classes",
            )
    low, high = min(v.min() for v, _ in arrays if v.size), max(v.max() for v, _ in arrays if v.size)
    two = low < high and all(bool(((v == low) | (v == high)).all()) for v, _ in arrays)
    integers = whole or (float(low).is_integer() and float(high).is_integer())
    # Of two sequences, any two numbers are the only ones.
    if two and (whole or (integers and sum(v.size for v, _ in arrays) > 2)):
        raise ArgumentError(
            "y",
            f"holds only {low:g} and {high:g}, but the model has 1 output",
            f'0 and 1 for two classes, as (y == {high:g}) gives, or loss="mse" for a '
            "regression on these numbers",
        )
    return _numbers(arrays)


def _of_several(arrays: list[_Values], outputs: int) -> Kind:
    wide = all(one.axis and one.values.shape[-1] == outputs for one in arrays)
    if not wide:
        return "classes" if all(one.whole for one in arrays) else "numbers"
    if not all(is_zero_or_one(one.values) for one in arrays):
        return _numbers(arrays)
    rows = [one.values.sum(axis=-1) for one in arrays if one.values.size]
    if rows and all(bool((row == 1).all()) for row in rows):
        raise ArgumentError(
            "y",
            f"holds only 0 and 1, a single 1 in each row of {outputs}",
            'loss="cross_entropy" with y.argmax(axis=-1) for one class of '
            f'{outputs} (one-hot rows), loss="bce" for {outputs} labels that do not exclude each '
            'other, or loss="mse" for a regression',
        )
    # Only zeros, or only ones, may be numbers as well.
    both = [{bool(v.any()) for v, _ in arrays}, {bool(v.all()) for v, _ in arrays}]
    if arrays[0].values.dtype.kind == "b" or (True in both[0] and False in both[1]):
        return "labels"
    return "numbers"


def _numbers(arrays: list[_Values]) -> Kind:
    for values, _ in arrays:
        with np.errstate(invalid="ignore"):
            if not (values.min(initial=0) >= 0 and bool((np.floor(values) == values).all())):
                return "numbers"
    return "counts"


def _why(kind: Kind, arrays: list[_Values], outputs: int) -> str:
    chosen = LOSSES[kind]
    if kind in ("binary", "labels"):
        why, other = "y holds only 0 and 1; other numbers", "mse"
    elif outputs == 1:
        why, other = "y holds other numbers than 0 and 1; these alone", "bce"
    elif kind == "classes":
        why, other = "y holds integers; floats", "mse"
    elif all(one.whole for one in arrays):
        why, other = "y has a number for each output; one integer class", "cross_entropy"
    else:
        held = "booleans" if arrays[0].values.dtype.kind == "b" else "floats"
        why, other = f"y holds {held}; integer classes", "cross_entropy"
    return f'loss was not given; "{chosen}" because {why} would give "{other}"'
