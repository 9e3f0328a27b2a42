"""Batches from an iterator, one after the other, in the place of sequences that are all there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from .._errors import ArgumentError, ArgumentTypeError, BadArgumentError
from .._losses import CustomLoss, Losses, LossLike
from ..models.recurrent import Recurrent
from .labelled import LabelledData


class Stream:
    """The batches of each epoch: as many as are asked for, from an iterator.

    Parameters
    ----------
    model : Recurrent
    iterator : iterator
        Yields ``(x, y)``, ``(x, y, weights)`` or ``(x, y, weights, resets)``, always the same
        number of parts; for a model with static inputs ``(x, y, weights, static)``.
    loss : str, Loss or CustomLoss
    steps, reduction : str
    warmup, steps_per_epoch, epochs : int

    Attributes
    ----------
    first : LabelledData
        The first batch, which is taken at once: it shows what kind they are of.
    """

    def __init__(
        self,
        model: Recurrent,
        iterator: Iterator[Any],
        loss: LossLike | Losses | CustomLoss,
        steps: str,
        reduction: str,
        warmup: int,
        steps_per_epoch: int,
        epochs: int,
    ) -> None:
        self._iterator = iterator
        self._objective = (model, loss, steps, reduction)
        self._warmup = warmup
        self._length = steps_per_epoch
        self._epochs = epochs
        self._taken = self._parts = 0
        self.first = self._next()
        self._ahead: LabelledData | None = self.first  # taken, and yet to be trained on

    def __len__(self) -> int:
        return self._length

    def batches(self, first: int = 0) -> Iterator[LabelledData]:
        """Yield the batches of an epoch, from batch `first` on."""
        for _ in range(first, self._length):
            batch, self._ahead = self._ahead, None
            yield self._next() if batch is None else batch

    def _next(self) -> LabelledData:
        model, loss, steps, reduction = self._objective
        try:
            try:
                found = next(self._iterator)
            except StopIteration:
                wanted = self._length * self._epochs
                raise ArgumentError(
                    "x",
                    f"ended after {self._taken} batches",
                    f"{wanted}: steps_per_epoch={self._length} in each of epochs={self._epochs}",
                ) from None
            parts = (2, 3, 4) if model.static_size is None else (4,)
            if not isinstance(found, tuple | list) or len(found) not in parts:
                listed = isinstance(found, tuple | list)
                came = f"{len(found)} parts" if listed else f"a {type(found).__name__}"
                raise ArgumentTypeError("x", f"yielded {came}", _EXPECTED[len(parts)])
            if self._taken and len(found) != self._parts:
                raise ArgumentError(
                    "x", f"yielded {len(found)} parts", f"{self._parts}, as in the first batch"
                )
            x, y, weights, fourth = (*found, None, None)[:4]
            which = "resets" if model.static_size is None else "static"  # no model takes both
            _refuse_lengths_as_weights(weights)
            batch = LabelledData(
                model, x, y, loss, steps, reduction, None, weights, warmup=self._warmup,
                streamed=True, **{which: fourth},
            )  # fmt: skip
            if self._taken:
                now, before = _tail(batch), _tail(self.first)
                if now != before:
                    raise ArgumentError(
                        "y",
                        f"has shape {now} at each {'step' if steps == 'all' else 'sequence'}",
                        f"{before}, as in the first batch",
                    )
        except BadArgumentError as error:
            epoch, place = divmod(self._taken, self._length)
            error.context.append(f"epoch {epoch + 1}, batch {place + 1}")
            raise
        self._taken, self._parts = self._taken + 1, len(found)
        return batch


_EXPECTED: Final = {
    3: "(x, y), (x, y, weights) or (x, y, weights, resets)",
    1: "(x, y, weights, static), of which weights may be None",
}


def _refuse_lengths_as_weights(weights: Any) -> None:
    """Refuse whole numbers as weights, which may be lengths: `fit` has these in the third place."""
    if isinstance(weights, list | tuple) and any(np.ndim(one) for one in weights):
        return
    found = np.asarray(weights)
    if found.ndim == 1 and found.dtype.kind in "iu" and found.min(initial=1) > 0 < len(found):
        raise ArgumentError(
            "x",
            "yielded whole numbers as weights, which may be lengths",
            "numpy.asarray(weights, float) for weights; for lengths x as a list of sequences",
        )


def _tail(data: LabelledData) -> tuple[int, ...]:
    """Shape of the targets of one step, or of one sequence if its loss is at the last step."""
    targets = data.targets
    if data.blocks:
        return tuple(size for block in data.blocks.values() for size in _tail(block))
    assert isinstance(targets, list) or hasattr(targets, "shape")
    if isinstance(targets, list):
        return tuple(targets[0].shape[1:])
    return tuple(targets.shape[2 if data.steps == "all" else 1 :])


def is_stream(x: Any) -> bool:
    """Whether an argument `x` is an iterator of batches."""
    return hasattr(x, "__next__")
