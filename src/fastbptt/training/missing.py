"""Targets that are missing: which of them are there, for weights of 0 where they are not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from .. import _check
from .._check import I64
from .._errors import ArgumentError
from .._losses import CustomLoss, LossLike
from .._losses import loss as read_loss
from ..models._arguments import Lengths
from .target_weights import Values

MISSING: Final = ("error", "mask")
NO_CLASS: Final = -1  # in the place of a class that is missing


def check_missing(value: Any, loss: Any) -> str:
    """Check the argument `missing` beside the loss."""
    _check.option("missing", value, MISSING)
    if value == "mask" and isinstance(loss, CustomLoss):
        raise ArgumentError(
            "missing",
            'is "mask"',
            '"error" because loss is a function, which gets NaN as it is and may leave it out',
        )
    return str(value)


def masked(
    y: Any, loss: LossLike | None, steps: str, lengths: Lengths, width: int, ragged: bool
) -> tuple[Any, Values | None]:
    """Find the targets that are missing: NaN, and the class -1.

    Parameters
    ----------
    y
        As the caller gave it; what is wrong with its form is found later.
    loss : str, Loss or None
    steps : str
    lengths : int64 array or None
    width : int
        The model's outputs.
    ragged : bool
        Whether the sequences are a list, as then the targets of their steps may be.

    Returns
    -------
    y
        With classes as integers, if they are floats, as they are where some are NaN.
    weights : array (count,), (count, time) or list of arrays (time_i,), or None
        0 where a target is missing, else 1; None if none is.

    Raises
    ------
    ArgumentError
        If only some targets of a step, or of a sequence, are missing, or all targets are.
    """
    every = steps == "all"
    ends = None if lengths is None or not every else lengths.tolist()
    listed = every and ragged and isinstance(y, list | tuple) and len(y) > 0
    listed = listed and np.ndim(y[0]) > 0
    if listed:
        arrays = [_check.read("y", one, item=i) for i, one in enumerate(y)]
    else:
        arrays = [_check.read("y", y)]
    lead = 2 if every and not listed else 1
    classes = _classes(arrays, loss, lead, width)
    there, found, whole, some = [], [], True, False
    for i, array in enumerate(arrays):
        inside: Any = True
        if ends is not None and not listed and array.ndim > 1 and len(array) == len(ends):
            inside = np.arange(array.shape[1]) < np.array(ends)[:, np.newaxis]
        own, array = _one(array, lead, classes, inside, i if listed else None)
        there.append(own)
        found.append(array)
        whole = whole and bool((own | np.logical_not(inside)).all())
        some = some or bool((own & inside).any())
    if whole:
        return (found if listed else found[0]) if classes else y, None
    if not some:
        raise ArgumentError("y", "holds only missing targets", "at least one")
    weights = [own.astype(np.float64) for own in there]
    return (found, weights) if listed else (found[0], weights[0])


def _classes(arrays: Sequence[NDArray[Any]], loss: LossLike | None, lead: int, width: int) -> bool:
    """Whether the targets are classes, which the caller's floats are if only NaN made them so."""
    if loss is not None:
        return read_loss(loss).targets == "classes"
    return width > 1 and all(
        array.ndim == lead
        and (array.dtype.kind in "iu" or bool((np.floor(array) == array)[~np.isnan(array)].all()))
        for array in arrays
    )


def _one(
    array: NDArray[Any], lead: int, classes: bool, inside: Any, item: int | None
) -> tuple[NDArray[np.bool_], NDArray[Any]]:
    """Find which targets of an array are there; inside: which stand before a sequence's end."""
    if array.dtype.kind != "f":
        gaps = np.asarray(classes and array.ndim == lead and array == NO_CLASS)
        return np.broadcast_to(~gaps, array.shape[:lead]), array
    blank = np.isnan(array)
    if array.ndim > lead:
        axes = tuple(range(lead, array.ndim))
        gaps = blank.all(axis=axes)
        odd = blank.any(axis=axes) & ~gaps & inside
        if odd.any():
            place = tuple(int(k) for k in np.argwhere(odd)[0])
            raise ArgumentError(
                "y",
                f"has no value for some of its {array.shape[-1]} outputs",
                "values for all or for none: a step has one weight for all of its outputs. "
                "numpy.where(numpy.isnan(y).any(axis=-1, keepdims=True), numpy.nan, y) leaves out "
                f"such {'steps' if lead == 2 or item is not None else 'sequences'} whole; "
                "loss=fastbptt.training.MaskedLoss(..), without missing, such outputs alone",
                item=item,
                index=place,
            )
    else:
        gaps = blank
    there = ~gaps
    if classes and array.ndim == lead:  # of other data, or another sequence, NaN made them floats
        known = array[~blank]
        if bool((known == np.floor(known)).all()):  # else the loss says what is wrong
            array = np.where(blank, NO_CLASS, array).astype(I64)
            there &= array != NO_CLASS
    return there, array
