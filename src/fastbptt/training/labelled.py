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
from .target_weights import TargetWeights, Values

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
    warmup : int
        As for `fastbptt.fit`.
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
        warmup: int = 0,
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
            listed = isinstance(items, list)
            self.weights = _weights(sample_weight, self.count, longest, own, steps, listed, warmup)
            counted = None if self.weights is None else self.weights.counted()
            self.loss, self._chosen = objective_of(model, y, loss, steps, own, counted)
            with about_chosen(self._chosen):
                targets = (
                    y
                    if isinstance(y, Computed)
                    else _arguments.targets_as_they_lie(
                        spec, y, own, self.count, longest, self.loss, steps, listed
                    )
                )
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
        if self.steps == "all" or isinstance(self.targets, list | Computed):
            return None
        if self.loss.targets == "classes":
            return self.targets
        if _targets.decide(self.targets, self.targets.shape[1], loss=self.loss).kind == "binary":
            return self.targets[:, 0].astype(I64)
        return None

    @property
    def classes_of_steps(self) -> NDArray[Any] | list[NDArray[Any]] | None:
        """The class of each step, (count, time) or a list, if the targets are classes."""
        targets = self.targets
        if isinstance(targets, Computed):
            return None
        if self.loss.targets == "classes":
            return targets
        flat = self.counted_of(targets, np.arange(self.count))
        if _targets.decide(flat, flat.shape[1], loss=self.loss).kind != "binary":
            return None
        with np.errstate(invalid="ignore"):  # after the ends, and without weight
            if isinstance(targets, list):
                return [one[:, 0].astype(I64) for one in targets]
            return targets[..., 0].astype(I64)

    def counted_of(self, values: NDArray[Any] | list[NDArray[Any]], rows: Rows) -> NDArray[Any]:
        """Return what belongs to these sequences and has a weight, in one array."""
        counted = None if self.weights is None else self.weights.counted()
        if isinstance(values, list):
            parts = [values[i] if counted is None else values[i][counted[i]] for i in rows]
            return np.concatenate(parts)
        own, some = self.lengths, values[rows]
        which: NDArray[np.bool_] = np.ones(some.shape[: 1 + (self.steps == "all")], np.bool_)
        if self.steps == "all" and own is not None:
            which &= np.arange(some.shape[1]) < own[rows, np.newaxis]
        if counted is not None:
            chosen = counted[rows]
            which &= chosen if chosen.ndim == which.ndim else chosen[:, np.newaxis]
        return some[which]

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
            weight = None if self.weights is None else self.weights.take(rows)
            counted = y if weight is None else y[weight > 0.0]
            if not (self._usual_input(x) and self._usual_target(counted)):
                how = (self.loss, self.steps, self.reduction, lengths)
                try:  # the core says what is wrong, and where
                    with about_chosen(self._chosen):
                        if len(counted):
                            self.model.loss(x, y, *how, sample_weight=weight)
                        else:
                            self.model.forward(x, lengths)
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
            found = _check.unresolved(partial(self._blocks, values, name == "y"), spec.dtype)
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

    def _blocks(self, values: Gathered, targets: bool) -> Iterator[NDArray[Any]]:
        """Yield the steps of the sequences, or the targets that have a weight: (rows, columns)."""
        size = max(_CHUNK // max(self.time * self.model._input_spec.input_size, 1), 1)
        for rows in self.chunks(np.arange(self.count), size):
            block, lengths = values.take(rows)
            if targets and self.weights is not None:
                block = block[self.weights.take(rows) > 0.0]
                if not len(block):
                    continue
            elif lengths is not None:
                block = block[np.arange(block.shape[1]) < lengths[:, np.newaxis]]
            yield block.reshape(-1, block.shape[-1])

    def _usual_input(self, x: NDArray[Any]) -> bool:
        if self.model._input_spec.tokens:
            return bool(x.min() >= 0 and x.max() < (self.model.vocabulary_size or 0))
        return x.dtype.kind != "f" or bool(np.isfinite(x).all())

    def _usual_target(self, y: NDArray[Any]) -> bool:
        loss = self.loss
        if not y.size:
            return True
        if loss.targets == "classes":
            return bool(y.min() >= 0 and y.max() < self.model._input_spec.width)
        if loss.bounded:
            return bool(y.min() >= loss.low and y.max() <= loss.high)  # nan is neither
        return y.dtype.kind != "f" or bool(np.isfinite(y).all())


def objective_of(
    model: Recurrent,
    y: Any,
    loss: LossLike | None,
    steps: str,
    lengths: Any = None,
    counted: Any = None,
) -> tuple[Loss, str]:
    """Return the loss, that of the targets if none is given, and then why it is this one."""
    if loss is not None:
        return _losses.loss(loss), ""
    found = _targets.decide(y, model._input_spec.width, steps, lengths, counted=counted)
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


def weights_of(
    model: Recurrent, x: Any, lengths: Any, sample_weight: Any, steps: str, warmup: Any
) -> TargetWeights:
    """Read the weights of targets, given some, or a warm-up."""
    items, own = _arguments.as_they_lie(model._input_spec, x, lengths)
    listed = isinstance(items, list)
    time = max(map(len, items)) if isinstance(items, list) else items.shape[1]
    first = _check.size("warmup", warmup, 0)
    found = _weights(sample_weight, len(items), time, own, steps, listed, first)
    assert found is not None
    return found


def _weights(
    value: Any, count: int, time: int, own: Lengths, steps: str, listed: bool, warmup: int
) -> TargetWeights | None:
    values = _arguments.weights_as_they_lie(value, count, time, own, steps, listed)
    if warmup:
        _arguments.check_warmup(warmup, time if own is None else int(own.max()), steps)
    if values is None:
        if not warmup:
            return None
        values = np.ones(count, F64)
    return TargetWeights(values, own, warmup, time)


def class_weights(value: Any, data: LabelledData, rows: Rows) -> Values:
    """Compute weights of the sequences, or of their steps, from those of their classes.

    Parameters
    ----------
    value : "balanced" or mapping of class -> number
        Balanced: n / (number of classes * targets of this class), over `rows`, so that each
        class weighs the same (King and Zeng, Political Analysis 9 (2001), section 4.2).
        Classes that a mapping does not name weigh 1.
    data : LabelledData
    rows : int64 array
        The training sequences.
    """
    classes = data.classes if data.steps != "all" else data.classes_of_steps
    if classes is None:
        raise ArgumentError(
            "class_weight",
            f"is {_check.shown(value)}",
            f"None unless y holds one class per {'step' if data.steps == 'all' else 'sequence'}",
        )
    kinds, counts = np.unique(data.counted_of(classes, rows), return_counts=True)
    if isinstance(value, str) and value == "balanced":
        every, weights = kinds, counts.sum() / (len(kinds) * counts)
    else:
        every = np.unique(data.counted_of(classes, np.arange(data.count)))
        weights = _given_weights(value, every)

    def of(some: NDArray[Any]) -> NDArray[np.float64]:
        at = np.minimum(np.searchsorted(every, some), len(every) - 1)
        return np.where(every[at] == some, weights[at], 1.0)

    return list(map(of, classes)) if isinstance(classes, list) else of(classes)


def _given_weights(value: Any, every: NDArray[Any]) -> NDArray[np.float64]:
    """Read a mapping of class -> weight: the weight of each class, 1 if it is not named."""
    if not isinstance(value, Mapping):
        raise TypeError(
            f'class_weight is {_check.quoted(value)}; expected None, "balanced" or a mapping of '
            "class -> weight"
        )
    weights = np.ones(len(every), F64)
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
        weights[every == kind] = number
    return weights


def locate(error: BadArgumentError, rows: Rows) -> None:
    """Put the row among all sequences into an error, which has the one of the batch `rows`."""
    if error.argument in ("x", "y", "sample_weight") and error.index:
        error.index = (int(rows[error.index[0]]), *error.index[1:])
    if error.argument == "x" and error.value is not None and np.isnan(error.value):
        error.expected = (
            "finite numbers; if NaN fills up shorter sequences, the list "
            'fastbptt.datasets.unpad(x, value=float("nan")), with padding="pre" if it is in front'
        )
