"""The training and the held-out part of the data of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import _check
from .._errors import ArgumentError
from .batches import Rows, split
from .labelled import LabelledData, class_weights
from .output_blocks import WeightsOfBlocks
from .target_weights import TargetWeights


@dataclass(frozen=True)
class HoldOut:
    """The training sequences, and those held out for validation.

    Attributes
    ----------
    data : LabelledData
        The data given for training.
    rows : int64 array
        The training sequences in it.
    weights : TargetWeights or None
        The weights of all its sequences or steps in training, with class weights.
    held_out : LabelledData or None
        The validation data: `data` itself, other data or none.
    held_out_rows : int64 array
        The validation sequences in it.
    fraction : float or None
        The fraction of `data` that is held out, if it is a part of it.
    """

    data: LabelledData
    rows: Rows
    weights: TargetWeights | WeightsOfBlocks | None
    held_out: LabelledData | None
    held_out_rows: Rows
    fraction: float | None

    def contents(self) -> dict[str, Any]:
        """Return the arrays that a resumed run must share, by name."""
        data, held_out = self.data, self.held_out
        found = {
            "x": data.items,
            "lengths": data.lengths,
            "resets": data.marks,
            "static": data.constants,
        }
        found |= _targets(data, self.weights)
        if held_out is not None and held_out is not data:
            found |= {
                "validation x": held_out.items,
                "validation lengths": held_out.lengths,
                "validation resets": held_out.marks,
                "validation static": held_out.constants,
            }
            theirs = _targets(held_out, held_out.weights)
            found |= {f"validation {name}": value for name, value in theirs.items()}
        return found


def _targets(data: LabelledData, weights: Any) -> dict[str, Any]:
    """Return the targets and weights, by name; of several blocks of outputs each of its own."""
    if not data.blocks:
        return {"y": data.targets, "weights": None if weights is None else weights.values}
    found: dict[str, Any] = {}
    for name, block in data.blocks.items():
        own = _targets(block, None if weights is None else weights.blocks[name])
        found |= {f'{what}["{name}"]': value for what, value in own.items()}
    return found


def hold_out(
    data: LabelledData, validation: Any, class_weight: Any, seed: int, checked: bool = False
) -> HoldOut:
    """Split off the validation data, weigh the training sequences, and check all contents.

    validation: as for `fastbptt.fit`, or a `LabelledData`. checked: all contents have been.
    """
    if class_weight is not None and data.blocks:
        raise ArgumentError(
            "class_weight",
            f"is {_check.shown(class_weight)}",
            "None because loss is a Losses: sample_weight, a mapping by block, may weigh classes",
        )
    train, held, held_rows = divided(data, validation, seed)
    weights = data.weights
    train = _weighted(train, weights)
    if class_weight is not None and len(train):
        factors = class_weights(class_weight, data, train)
        if weights is not None:
            weights = weights.times(factors)
        elif any(map(np.any, factors)):
            weights = TargetWeights(factors, data.lengths, 0, data.time)
        else:
            train = train[:0]
        train = _weighted(train, weights)
    if not len(train):
        raise ValueError("all training sequences have weight 0; expected one above 0")
    if held is data and not len(_weighted(held_rows, data.weights)):
        raise ValueError("all validation sequences have weight 0; expected one above 0")
    _check_blocks(data, weights, train, "training")
    if held is not None:
        _check_blocks(held, held.weights, held_rows, "validation")
    if not checked:
        data.check_contents()
        data.check_digits()
        if held is not None and held is not data:
            held.check_contents()
            held.note_digits(5)
    fraction = float(validation) if held is data else None
    return HoldOut(data, train, weights, held, held_rows, fraction)


def _refuse_weights_as_lengths(lengths: Any) -> None:
    """Refuse weights in the third place of `validation`, where Keras has them."""
    if lengths is None:
        return
    found = _check.read("validation", lengths)
    if found.dtype.kind == "f" or (found.size and found.dtype.kind in "iu" and (found == 1).all()):
        came = "numbers that are 1" if found.dtype.kind in "iu" else f"dtype {found.dtype}"
        raise ArgumentError(
            "validation",
            f"has {came} as its third part, lengths",
            "(x, y, None, sample_weight) for weights; integers for lengths, and if each sequence "
            "has one step x of shape (n, 1, features)",
        )


def _check_blocks(data: LabelledData, weights: Any, rows: Rows, kind: str) -> None:
    """Refuse a block of outputs without any target; single batches of a stream may have none."""
    for name in data.blocks if weights is not None and not data.streamed else ():
        own = weights.blocks[name]
        if own is not None and not own.totals[rows].any():
            raise ArgumentError(
                f'sample_weight["{name}"]', f"is 0 for all {kind} sequences", "one above 0"
            )


def _weighted(rows: Rows, weights: TargetWeights | WeightsOfBlocks | None) -> Rows:
    """Leave out the sequences that have no weight."""
    return rows if weights is None else rows[weights.totals[rows] > 0.0]


def divided(
    data: LabelledData, validation: Any, seed: int
) -> tuple[Rows, LabelledData | None, Rows]:
    """Return the training rows, the validation data and its rows."""
    every = np.arange(data.count)
    expected = (
        "a fraction above 0 and below 1, or (x, y), (x, y, lengths), "
        "(x, y, lengths, sample_weight) or (x, y, lengths, sample_weight, resets)"
    )
    if data.constants is not None:
        expected = "a fraction above 0 and below 1, or (x, y, lengths, sample_weight, static)"
    if validation is None:
        return every, None, every[:0]
    if isinstance(validation, LabelledData):
        return every, validation, np.arange(validation.count)
    if isinstance(validation, tuple | list):
        if len(validation) not in ((2, 3, 4, 5) if data.constants is None else (5,)):
            raise ArgumentError("validation", f"has {len(validation)} parts", expected)
        x, y, lengths, weight, fifth = (*validation, None, None, None)[:5]
        which = "resets" if data.constants is None else "static"  # no model takes both
        _refuse_weights_as_lengths(lengths)
        held = LabelledData(
            data.model,
            x,
            y,
            data.loss,
            data.steps,
            data.reduction,
            lengths,
            weight,
            name="validation",
            warmup=0 if data.weights is None else data.weights.warmup,
            missing=data.missing,
            streamed=data.streamed,
            **{which: fifth},
        )
        return every, held, np.arange(held.count)
    fraction = _check.number("validation", validation, expected)
    if not 0.0 < fraction < 1.0:
        raise ArgumentError("validation", f"is {fraction}", expected, value=fraction)
    if data.count < 2:
        raise ArgumentError("validation", "is a fraction, but x has 1 sequence", "at least 2")
    train, rows = split(data.count, fraction, seed, data.classes)
    return train, data, rows
