"""The sequences of one call, checked as a whole before training starts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from .. import _check, _losses, _targets
from .._check import F64, I64
from .._errors import ArgumentError, BadArgumentError
from .._losses import Loss, LossLike
from ..models import _arguments
from ..models._arguments import Lengths
from ..models.recurrent import Recurrent
from .batches import Computed, Gathered, Rows

_CHUNK: Final = 1 << 16  # elements of x checked at a time


class LabelledData:
    """Inputs and targets for one model and objective, kept in the caller's memory.

    Parameters
    ----------
    model : Recurrent
    x, y, lengths, sample_weight
        As for `fastbptt.fit`; x and y may also be `Computed`, with `loss` given.
    loss : str, Loss or None
        None: chosen by `y`.
    steps, reduction : str
    name : str
        The set's name in messages, if it is not the training set: ``"validation"``.
    """

    def __init__(
        self,
        model: Recurrent,
        x: Any,
        y: Any,
        loss: LossLike | None,
        steps: str,
        reduction: str,
        lengths: Any = None,
        sample_weight: Any = None,
        name: str = "",
    ) -> None:
        self.model, self.steps, self.reduction = model, steps, reduction
        spec = model._input_spec
        try:
            items: NDArray[Any] | list[NDArray[Any]] | Computed
            targets: NDArray[Any] | list[NDArray[Any]] | Computed
            items, own = x, None
            if not isinstance(x, Computed):
                items, own = _arguments.as_they_lie(spec, x, lengths)
            self.count = len(items)
            longest = max(map(len, items)) if isinstance(items, list) else items.shape[1]
            self.loss, self._chosen = objective_of(model, y, loss, steps, own)
            listed = isinstance(items, list)
            with about_chosen(self._chosen):
                targets = (
                    y
                    if isinstance(y, Computed)
                    else _arguments.targets_as_they_lie(
                        spec, y, own, self.count, longest, self.loss, steps, listed
                    )
                )
            self.weights = _weights(sample_weight, self.count)
        except BadArgumentError as error:
            error.source = name
            raise
        self._name = name
        self.items = items
        self.time = longest
        self.lengths: Lengths = own
        self.x = items if isinstance(items, Computed) else Gathered(items, own)
        self.y: Gathered | Computed
        if isinstance(targets, Computed):
            self.y = targets
        elif steps == "all" and not isinstance(targets, list):
            self.y = Gathered(targets, own)
        else:
            self.y = Gathered(targets, own if steps == "all" else None)
        self.targets = targets

    @property
    def classes(self) -> NDArray[Any] | None:
        """One class per sequence if the targets are classes, else None."""
        if self.steps != "last" or isinstance(self.targets, list | Computed):
            return None
        if self.loss.targets == "classes":
            return self.targets
        width = self.targets.shape[1]
        two = self.loss.two_values and width == 1
        if two or _targets.decide(self.targets, width, loss=self.loss).kind == "binary":
            return self.targets[:, 0].astype(I64)
        return None

    def loss_weights(self, weights: NDArray[np.float64] | None) -> NDArray[np.float64] | None:
        """Return the weight of each sequence in the mean loss; None: all equal."""
        if self.steps == "all" and self.reduction == "mean" and self.x.ragged:
            assert self.lengths is not None
            lengths = self.lengths.astype(F64)
            return lengths if weights is None else lengths * weights
        return weights

    def chunks(self, rows: Rows, size: int) -> Iterator[Rows]:
        """Cut rows into batches of similar lengths, longest first: a lack of memory shows early."""
        if self.x.ragged and self.lengths is not None:
            rows = rows[np.argsort(-self.lengths[rows], kind="stable")]
        for start in range(0, len(rows), size):
            yield rows[start : start + size]

    def check_contents(self) -> None:
        """Raise the errors that the core would raise for a batch, before training on any."""
        spec = self.model._input_spec
        steps = max(self.time * (1 if spec.tokens else spec.input_size), 1)
        for rows in self.chunks(np.arange(self.count), max(_CHUNK // steps, 1)):
            x, lengths = self.x.take(rows)
            y, _ = self.y.take(rows)
            if not (self._usual_input(x) and self._usual_target(y)):
                try:  # the core says what is wrong, and where
                    with about_chosen(self._chosen):
                        self.model.loss(x, y, self.loss, self.steps, self.reduction, lengths)
                except ArgumentError as error:
                    locate(error, rows)
                    error.source = self._name
                    raise

    def check_digits(self) -> None:
        """Refuse numbers of which the model's dtype would lose digits that matter."""
        spec = self.model._input_spec
        for name, values, given, numbers in (
            ("x", self.x, self.items, not spec.tokens),
            ("y", self.y, self.targets, self.loss.targets == "numbers"),
        ):
            if not numbers or isinstance(values, Computed):
                continue
            if np.can_cast(values.dtype, spec.dtype):
                continue
            found = _check.unresolved(partial(self._blocks, values), spec.dtype)
            if found is not None:
                whole, rounded = name, f'numpy.asarray({name}, "float32")'
                if isinstance(given, list):
                    rounded = f'[numpy.asarray(one, "float32") for one in {name}]'
                elif name == "x" or self.steps == "all":
                    if given.shape[-1] == 1:  # an axis that the caller's may lack
                        whole = f"numpy.reshape({name}, (*numpy.shape({name})[:2], 1))"
                    whole += ", lengths" if self.x.ragged else ""
                raise ArgumentError(
                    name,
                    f"has {found} (column {found.column})",
                    "numbers without a large common part, as fastbptt.Standardizer()"
                    f'.fit_transform({whole}) makes them, a model with dtype="float64", or '
                    f"{rounded} if these digits do not matter",
                )

    def _blocks(self, values: Gathered) -> Iterator[NDArray[Any]]:
        """Yield the steps of the sequences, or their targets: (rows, columns)."""
        size = max(_CHUNK // max(self.time * self.model._input_spec.input_size, 1), 1)
        for rows in self.chunks(np.arange(self.count), size):
            block, lengths = values.take(rows)
            if lengths is not None:
                block = block[np.arange(block.shape[1]) < lengths[:, np.newaxis]]
            yield block.reshape(-1, block.shape[-1])

    def _usual_input(self, x: NDArray[Any]) -> bool:
        if self.model._input_spec.tokens:
            return bool(x.min() >= 0 and x.max() < (self.model.vocabulary_size or 0))
        return x.dtype.kind != "f" or bool(np.isfinite(x).all())

    def _usual_target(self, y: NDArray[Any]) -> bool:
        loss = self.loss
        if loss.targets == "classes":
            return bool(y.min() >= 0 and y.max() < self.model._input_spec.width)
        if loss.two_values:
            return bool(((y == loss.low) | (y == loss.high)).all())
        if loss.bounded:
            return bool(y.min() >= loss.low and y.max() <= loss.high)  # nan is neither
        return y.dtype.kind != "f" or bool(np.isfinite(y).all())


def objective_of(
    model: Recurrent, y: Any, loss: LossLike | None, steps: str, lengths: Any = None
) -> tuple[Loss, str]:
    """Return the loss, that of the targets if none is given, and then why it is this one."""
    if loss is not None:
        return _losses.loss(loss), ""
    found = _targets.decide(y, model._input_spec.width, steps, lengths)
    return _losses.loss(found.loss), found.why


@contextmanager
def about_chosen(why: str) -> Iterator[None]:
    """Add to a message about y why the loss is what it is; "" if the caller has said so."""
    try:
        yield
    except BadArgumentError as error:
        if why and error.argument == "y":
            error.context.append(why)
        raise


def _weights(value: Any, count: int) -> NDArray[np.float64] | None:
    weights = _arguments.weights(value, count)
    if weights is None:
        return None
    wrong = ~(np.isfinite(weights) & (weights >= 0.0))
    if wrong.any():
        i = int(wrong.argmax())
        raise ArgumentError(
            "sample_weight", f"is {weights[i]}", "a finite number of at least 0", item=i
        )
    if not weights.any():
        raise ArgumentError("sample_weight", "holds only zeros", "at least one above 0")
    return weights


def class_weights(value: Any, classes: NDArray[Any] | None, rows: Rows) -> NDArray[np.float64]:
    """Compute the weight of each sequence from that of its class.

    Parameters
    ----------
    value : "balanced" or mapping of class -> number
        Balanced: n / (number of classes * sequences of this class), over `rows`, so that each
        class weighs the same (King and Zeng, Political Analysis 9 (2001), section 4.2).
        Classes that a mapping does not name weigh 1.
    classes : array (count,), or None if the targets are not classes
    rows : int64 array
        The training sequences.
    """
    if classes is None:
        raise ArgumentError(
            "class_weight",
            f"is {_check.shown(value)}",
            'None unless y holds one class per sequence (steps="last")',
        )
    result = np.ones(len(classes), F64)
    kinds, counts = np.unique(classes[rows], return_counts=True)
    if isinstance(value, str) and value == "balanced":
        for kind, count in zip(kinds, counts, strict=True):
            result[classes == kind] = len(rows) / (len(kinds) * count)
        return result
    if not isinstance(value, Mapping):
        raise TypeError(
            f'class_weight is {_check.quoted(value)}; expected None, "balanced" or a mapping of '
            "class -> weight"
        )
    every = np.unique(classes)
    for kind, weight in value.items():
        if kind not in every:
            raise ValueError(
                f"class_weight has {_check.quoted(kind)}; expected classes of y: "
                f"{', '.join(map(str, every))}"
            )
        expected = "a finite number of at least 0"
        name = f"class_weight[{_check.quoted(kind)}]"
        number = _check.number(name, weight, expected)
        if not 0.0 <= number < np.inf:
            raise ValueError(f"{name} is {number}; expected {expected}")
        result[classes == kind] = number
    return result


def locate(error: BadArgumentError, rows: Rows) -> None:
    """Put the row among all sequences into an error, which has the one of the batch `rows`."""
    if error.argument in ("x", "y", "sample_weight") and error.index:
        error.index = (int(rows[error.index[0]]), *error.index[1:])
    if error.argument == "x" and error.value is not None and np.isnan(error.value):
        error.expected = (
            "finite numbers; if NaN fills up shorter sequences, the list "
            'fastbptt.datasets.unpad(x, value=float("nan")), with padding="pre" if it is in front'
        )
