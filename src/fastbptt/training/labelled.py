"""The sequences of one call, checked as a whole before training starts."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .. import _check, _losses, _targets
from .._check import F64, I64
from .._errors import ArgumentError, ArgumentTypeError, BadArgumentError
from .._losses import CustomLoss, Loss, Losses, LossLike
from ..models import _arguments
from ..models._arguments import InputSpec, Lengths
from ..models.recurrent import Recurrent
from .batches import BatchLimit, Computed, Gathered, Rows, evaluation_batches, evaluation_limit
from .missing import masked
from .output_blocks import TargetsOfBlocks, WeightsOfBlocks
from .target_weights import TargetWeights, Values

_CHUNK: Final = 1 << 16  # elements of x checked at a time


class LabelledData:
    """Inputs and targets for one model and objective, kept in the caller's memory.

    Parameters
    ----------
    model : Recurrent
    x, y, lengths, sample_weight
        As for `fastbptt.fit`; x and y may also be `Computed`, with `loss` given.
    loss : str, Loss, CustomLoss or None
        None: chosen by `y`.
    steps, reduction : str
    name : str
        The set's name in messages, if it is not the training set: ``"validation"``.
    warmup, resets, static, missing
        As for `fastbptt.fit`.
    streamed : bool
        Whether `fit` trains on an iterator, beside which it takes no `missing`.
    width : int or None
        How many of the model's outputs the loss is of; None: all.

    Attributes
    ----------
    blocks : dict of str -> LabelledData
        Those of each block of outputs, if `loss` is a `Losses`; else empty. Then `y` and `weights`
        give a batch's targets and weights by name.
    """

    def __init__(
        self,
        model: Recurrent,
        x: Any,
        y: Any,
        loss: LossLike | Losses | CustomLoss | None,
        steps: str,
        reduction: str,
        lengths: Any = None,
        sample_weight: Any = None,
        name: str = "",
        warmup: int = 0,
        resets: Any = None,
        static: Any = None,
        missing: str = "error",
        streamed: bool = False,
        width: int | None = None,
    ) -> None:
        self.model, self.steps, self.reduction = model, steps, reduction
        self.missing, self.streamed = missing, streamed
        spec = model._input_spec if width is None else model._input_spec.of_block(width)
        self.spec = spec
        self.blocks: dict[str, LabelledData] = {}
        try:
            items: NDArray[Any] | list[NDArray[Any]] | Computed
            targets: NDArray[Any] | list[NDArray[Any]] | Computed
            items, own = x, None
            if not isinstance(x, Computed):
                items, own = _arguments.as_they_lie(spec, x, lengths)
            self.count = len(items)
            self.constants = _arguments.static(spec, static, self.count, None, alone=True)
            longest = max(map(len, items)) if isinstance(items, list) else items.shape[1]
            listed = isinstance(items, list)
            self.weights: Any = None
            if not isinstance(loss, Losses):
                many = (self.count, longest, own, steps, listed, warmup)
                few = streamed and width is not None  # other batches may have some
                self.weights = _weights(sample_weight, *many, may_be_zero=few)
            _arguments.check_resets(resets, steps, reduction, warmup)
            self.marks = _arguments.resets_as_they_lie(
                spec, resets, self.count, longest, own, listed
            )
            if isinstance(loss, Losses):
                loss._check_width(spec.width)
                self._divide(items, y, loss, own, sample_weight, warmup, resets, static)
            elif missing == "mask":
                y = self._without_gaps(y, loss, own, longest, warmup, listed)
            self.loss: Any
            self._chosen = ""
            if isinstance(loss, Losses):
                self.loss = loss
                targets = []  # each block has its own
            elif isinstance(loss, CustomLoss):
                self.loss = loss
                targets = (
                    y
                    if isinstance(y, Computed)
                    else _any_targets(y, own, self.count, longest, steps, listed)
                )
            else:
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
        self.name = name
        self.items = items
        self.time = longest
        self.lengths: Lengths = own
        self.x = items if isinstance(items, Computed) else Gathered(items, own)
        self.resets = None if self.marks is None else Gathered(self.marks, own)
        self.y: Any
        if self.blocks:
            self.y = TargetsOfBlocks(self.blocks)
        elif isinstance(targets, Computed):
            self.y = targets
        elif steps == "all" and not isinstance(targets, list):
            self.y = Gathered(targets, own)
        else:
            self.y = Gathered(targets, own if steps == "all" else None)
        self.targets: NDArray[Any] | list[NDArray[Any]] | Computed = targets
        self._static = None if self.constants is None else Gathered(self.constants)

    def _divide(
        self,
        x: Any,
        y: Any,
        losses: Losses,
        lengths: Lengths,
        sample_weight: Any,
        warmup: int,
        resets: Any,
        static: Any,
    ) -> None:
        """Make the data of each block of outputs."""
        weights = losses._weights_by_block(sample_weight)
        shared = not isinstance(sample_weight, Mapping)
        for name, own in losses._parts("y", y).items():
            try:
                self.blocks[name] = LabelledData(
                    self.model, x, own, losses.losses[name], self.steps, self.reduction, lengths,
                    weights[name], warmup=warmup, resets=resets, static=static,
                    missing=self.missing, streamed=self.streamed, width=losses.outputs[name],
                )  # fmt: skip
            except BadArgumentError as error:
                if error.argument == "y" or (error.argument == "sample_weight" and not shared):
                    error.argument += f'["{name}"]'
                raise
        found = {name: block.weights for name, block in self.blocks.items()}
        if any(own is not None for own in found.values()):
            self.weights = WeightsOfBlocks(found, self.count)

    def of(self, model: Recurrent) -> LabelledData:
        """Return the same data for another model of this architecture, in any thread.

        Memory is shared but for the buffers into which batches are copied.
        """
        other = copy.copy(self)
        other.model = model
        if isinstance(self.x, Gathered):
            other.x = self.x.alike()
        other.resets = None if self.resets is None else self.resets.alike()
        other._static = None if self._static is None else self._static.alike()
        other.weights = None if self.weights is None else self.weights.alike()
        if self.blocks:
            other.blocks = {name: block.of(model) for name, block in self.blocks.items()}
            other.y = TargetsOfBlocks(other.blocks)
        elif isinstance(self.y, Gathered):
            other.y = self.y.alike()
        return other

    def static(self, rows: Rows) -> NDArray[Any] | None:
        """Copy the constants of some sequences into a buffer, which the next call overwrites."""
        return None if self._static is None else self._static.take(rows)[0]

    def _without_gaps(
        self, y: Any, loss: Any, lengths: Lengths, time: int, warmup: int, listed: bool
    ) -> Any:
        """Give missing targets weight 0; return the targets, in which classes are integers."""
        y, there = masked(y, loss, self.steps, lengths, self.spec.width, listed)
        shape = np.shape(there) if isinstance(there, np.ndarray) else (len(there or ()),)
        if there is None or shape != ((self.count, time) if len(shape) == 2 else (self.count,)):
            return y  # of another form, which is found below
        if self.weights is None:
            self.weights = TargetWeights(there, lengths, warmup, time)
        else:
            self.weights = self.weights.times(there)
        return y

    @property
    def classes(self) -> NDArray[Any] | None:
        """One class per sequence if the targets are classes, else None.

        Sequences without weight, whose target may be anything, have a class of their own.
        """
        if self.blocks or self.steps == "all" or isinstance(self.targets, list | Computed):
            return None
        if isinstance(self.loss, CustomLoss):
            whole = self.targets.ndim == 1 and self.targets.dtype.kind in "iu"
            return self.targets if whole else None
        if self.loss.targets == "classes":
            return self.targets
        width = self.targets.shape[1]
        counted = self.counted_of(self.targets, np.arange(self.count))
        two = bool(self.loss.two_values) and width == 1 and len(counted) > 0
        if not two and _targets.decide(counted, width, loss=self.loss).kind != "binary":
            return None
        if self.weights is None:
            return self.targets[:, 0].astype(I64)
        least = counted.min() - 1
        return np.where(self.weights.counted(), self.targets[:, 0], least).astype(I64)

    def loss_weights(self, weights: Any, across: bool = False) -> Any:
        """Return what each sequence counts in the mean loss; None: all the same.

        Of several blocks a dict of these. across: beside those of other data, which may have
        another number of steps.
        """
        if self.blocks:
            own = dict.fromkeys(self.blocks) if weights is None else weights.blocks
            return {n: block.loss_weights(own[n], across) for n, block in self.blocks.items()}
        found = self._loss_weights(weights)
        each = self.x.ragged or (weights is not None and weights.each_step)
        if across and self.steps == "all" and self.reduction == "mean" and not each:
            return (np.ones(self.count) if found is None else found) * float(self.time)
        return found

    def _loss_weights(self, weights: TargetWeights | None) -> NDArray[np.float64] | None:
        if self.steps != "all":
            return None if weights is None else weights.totals
        lengths = np.full(self.count, self.time) if self.lengths is None else self.lengths
        if weights is not None and weights.each_step:
            return weights.totals / lengths if self.reduction == "sequence_mean" else weights.totals
        if self.reduction == "mean" and self.x.ragged:
            return lengths.astype(F64) if weights is None else lengths * weights.totals
        return None if weights is None else weights.totals

    @property
    def classes_of_steps(self) -> NDArray[Any] | list[NDArray[Any]] | None:
        """The class of each step, (count, time) or a list, if the targets are classes."""
        targets = self.targets
        if isinstance(targets, Computed):
            return None
        if isinstance(self.loss, CustomLoss):
            first = targets[0] if isinstance(targets, list) else targets
            whole = first.ndim == (1 if isinstance(targets, list) else 2)
            return targets if whole and first.dtype.kind in "iu" else None
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

    def evaluation_limit(self, least: int = 1) -> BatchLimit:
        """Return how much to evaluate at a time, at least a training batch of `least` sequences.

        A loss of the caller's is of a batch, which then does not depend on the number of threads.
        """
        threads = 1 if isinstance(self.loss, CustomLoss) else None
        return evaluation_limit(self.model, least, threads)

    def chunks(self, rows: Rows, limit: BatchLimit) -> Iterator[Rows]:
        """Cut rows into batches for an evaluation."""
        own = self.lengths if self.x.ragged else None
        return evaluation_batches(own, self.time, rows, limit)

    def check_contents(self, rows: Rows | None = None) -> None:
        """Raise the errors that the core would raise for a batch, before training on any.

        rows: the sequences that count; None: all.
        """
        spec = self.model._input_spec
        most, there = float(np.finfo(spec.dtype).max), None
        every = np.arange(self.count) if rows is None else rows
        for rows in self.chunks(every, _chunk(spec)):
            x, lengths = self.x.take(rows)
            y, _ = self.y.take(rows)
            weight = None if self.weights is None else self.weights.take(rows)
            counted, usual = self._counted_targets(y, weight, most)
            static = self.static(rows)
            usual = usual and (static is None or _within(static, most))
            if not (usual and self._usual_input(x, most)):
                try:  # the core says what is wrong, and where
                    with about_chosen(self._chosen):
                        if isinstance(self.loss, CustomLoss) or not counted:
                            self.model.forward(x, lengths, static=static)
                        else:
                            how = (self.loss, self.steps, self.reduction, lengths)
                            self.model.loss(x, y, *how, sample_weight=weight, static=static)
                except ArgumentError as error:
                    locate(error, rows, self.streamed)
                    error.source = self.name
                    raise
            if isinstance(self.loss, CustomLoss) and self.loss.is_a_mean:
                own = self.loss.count_of(y, weight, lengths, self.steps == "all")
                there = (there or 0.0) + (own or 0.0)
        if there == 0.0 and (self.name or not self.streamed):  # else other batches may have some
            nothing = ArgumentError("y", "holds only missing targets", "at least one")
            nothing.source = self.name
            raise nothing

    def check_digits(self) -> None:
        """Refuse numbers of which the model's dtype would lose digits that matter."""
        for name, given, found in self._unresolved():
            raise ArgumentError(
                name,
                f"has {found} (column {found.column})",
                self._closer(name, given, found),
            )

    def note_digits(self, stacklevel: int) -> None:
        """Warn of inputs that `check_digits` would refuse, if these are not the training data."""
        x, spec = self.items, self.model._input_spec
        if spec.tokens or isinstance(x, Computed) or isinstance(self.x, Computed):
            return
        found = too_coarse(self.x, x, self.chunks, spec)
        if found is not None:
            _check.warn_of_rounding("x", found, self.name, stacklevel)

    def _unresolved(self) -> Iterator[tuple[str, Any, _check.Unresolved]]:
        """Yield the name of inputs or targets that lose digits, these, and a column of them."""
        spec = self.model._input_spec
        parts = [("x", self.x, self.items, not spec.tokens, None)]
        for block, own in self.blocks.items() if self.blocks else [("", self)]:
            name, numbers = f'y["{block}"]' if block else "y", own.loss.targets == "numbers"
            parts.append((name, own.y, own.targets, numbers, own.weights))
        for name, values, given, numbers, keep in parts:
            if numbers and isinstance(values, Gathered):
                found = unresolved(values, self.chunks, spec, keep)
                if found is not None:
                    yield name, given, found

    def _closer(self, name: str, given: Any, found: _check.Unresolved) -> str:
        """Say which numbers would keep their digits."""
        first = given[0] if isinstance(given, list) else given
        if not _check.holds(F64, first.dtype):
            try:
                _check.resolved_by_float64(name, *(given if isinstance(given, list) else [given]))
            except ArgumentError as error:
                return error.expected
        whole, rounded = name, f'numpy.asarray({name}, "float32")'
        if isinstance(given, list):
            rounded = f'[numpy.asarray(one, "float32") for one in {name}]'
        elif name == "x" or self.steps == "all":
            if given.shape[-1] == 1:  # an axis that the caller's may lack
                whole = f"numpy.reshape({name}, (*numpy.shape({name})[:2], 1))"
            whole += ", lengths" if self.x.ragged else ""
        return (
            "numbers without a large common part, as fastbptt.Standardizer()"
            f'.fit_transform({whole}) makes them, a model with dtype="float64", or '
            f"{rounded} if these digits do not matter"
        )

    def _usual_input(self, x: NDArray[Any], most: float) -> bool:
        if self.model._input_spec.tokens:
            return bool(x.min() >= 0 and x.max() < (self.model.vocabulary_size or 0))
        return _within(x, most)

    def _counted_targets(self, y: Any, weight: Any, most: float) -> tuple[int, bool]:
        """Count the targets of a batch with a weight; say whether all are as they should be."""
        if self.blocks:
            parts = [
                block._counted_targets(y[name], None if weight is None else weight[name], most)
                for name, block in self.blocks.items()
            ]
            return sum(count for count, _ in parts), all(usual for _, usual in parts)
        counted = y if weight is None else y[weight > 0.0]
        return len(counted), self._usual_target(counted, most)

    def _usual_target(self, y: NDArray[Any], most: float) -> bool:
        loss = self.loss
        if isinstance(loss, CustomLoss):
            return True  # what it takes is its own affair
        if not y.size:
            return True
        if loss.targets == "classes":
            return bool(y.min() >= 0 and y.max() < self.spec.width)
        if loss.two_values:
            return bool(((y == loss.low) | (y == loss.high)).all())
        if loss.bounded:
            return bool(y.min() >= loss.low and y.max() <= loss.high)  # nan is neither
        return _within(y, most)


def _within(values: NDArray[Any], most: float) -> bool:
    """Whether all numbers are finite, also in a dtype whose greatest one is `most`."""
    if values.dtype.kind != "f":
        return True
    return bool(float(values.min()) >= -most and float(values.max()) <= most)  # nan is neither


def _chunk(spec: InputSpec) -> BatchLimit:
    width = 1 if spec.tokens else max(spec.input_size, 1)
    return BatchLimit(_CHUNK, _CHUNK // width)


Chunks: TypeAlias = Callable[[Rows, BatchLimit], Iterable[Rows]]


def too_coarse(
    values: Gathered, items: NDArray[Any] | list[NDArray[Any]], chunks: Chunks, spec: InputSpec
) -> _check.Unresolved | None:
    """As `unresolved`, of inputs that are not those of training: only where rounding matters.

    items: what was gathered.
    """
    if _check.holds(spec.dtype, values.dtype):
        return None
    blocks: Iterable[NDArray[Any]]
    if isinstance(items, list):  # many are short
        blocks = (values.take(rows)[0] for rows in chunks(np.arange(len(values)), _chunk(spec)))
    else:
        blocks = [items]
    if not _check.may_round(blocks, spec.dtype):
        return None
    return unresolved(values, chunks, spec)


def unresolved(
    values: Gathered, chunks: Chunks, spec: InputSpec, weights: TargetWeights | None = None
) -> _check.Unresolved | None:
    """Find a column of sequences, or of targets, of which the model's dtype loses digits.

    weights: of the targets; those without any do not count.
    """
    if _check.holds(spec.dtype, values.dtype):
        return None

    def blocks() -> Iterator[NDArray[Any]]:
        for rows in chunks(np.arange(len(values)), _chunk(spec)):
            if weights is None:
                yield from values.blocks(iter([rows]))
            else:
                block, _ = values.take(rows)
                block = block[weights.take(rows) > 0.0]
                if len(block):
                    yield block.reshape(-1, block.shape[-1])

    return _check.unresolved(blocks, spec.dtype)


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


def _any_targets(
    y: Any, lengths: Lengths, count: int, time: int, steps: str, listed: bool
) -> NDArray[Any] | list[NDArray[Any]]:
    """Read targets of any form that have the sequences' axis, and with ``"all"`` that of time."""
    if listed and steps == "all" and isinstance(y, list | tuple):
        if len(y) != count:
            raise ArgumentError("y", f"has {len(y)} sequences", f"{count}, as x has")
        items: list[NDArray[Any]] = []
        for i, one in enumerate(y):
            assert lengths is not None
            item, own = _check.read("y", one, item=i), int(lengths[i])
            tail = item.shape[1:] if i == 0 else items[0].shape[1:]
            if item.shape != (own, *tail):
                wanted = ", ".join(map(str, (own, *tail)))
                raise ArgumentError(
                    "y",
                    f"has shape {item.shape}",
                    f"({wanted}{', ..' * (i == 0)}): the steps of x[{i}], and alike in all others",
                    item=i,
                )
            items.append(item)
        return items
    array = _check.read("y", y)
    lead = (count, time) if steps == "all" else (count,)
    if array.shape[: len(lead)] != lead:
        means = "(batch, time, ..)" if steps == "all" else "(batch, ..)"
        expected = f'({", ".join(map(str, lead))}, ..): {means} for steps="{steps}"'
        raise ArgumentError("y", f"has shape {array.shape}", expected)
    return array


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
    value: Any,
    count: int,
    time: int,
    own: Lengths,
    steps: str,
    listed: bool,
    warmup: int,
    may_be_zero: bool = False,
) -> TargetWeights | None:
    values = _arguments.weights_as_they_lie(value, count, time, own, steps, listed)
    if warmup:
        _arguments.check_warmup(warmup, time if own is None else int(own.max()), steps)
    if values is None:
        if not warmup:
            return None
        values = np.ones(count, F64)
    return TargetWeights(values, own, warmup, time, may_be_zero)


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
    every = np.unique(data.counted_of(classes, np.arange(data.count)))
    weights = class_factors(value, every, np.searchsorted(every, data.counted_of(classes, rows)))

    def of(some: NDArray[Any]) -> NDArray[np.float64]:
        at = np.minimum(np.searchsorted(every, some), len(every) - 1)
        return np.where(every[at] == some, weights[at], 1.0)

    return list(map(of, classes)) if isinstance(classes, list) else of(classes)


def class_factors(
    value: Any, every: NDArray[Any], codes: NDArray[Any], weight: Any = None
) -> NDArray[np.float64]:
    """Compute the weight of each class.

    value: as for `class_weights`. every: the classes, without repetition. codes: for each training
    sequence, its place in these. weight: of each training sequence, which "balanced" counts.
    """
    if isinstance(value, str) and value == "balanced":
        totals = np.bincount(codes, weight, len(every))
        there = totals > 0.0
        return np.where(there, totals.sum() / (there.sum() * np.where(there, totals, 1.0)), 1.0)
    if not isinstance(value, Mapping):
        raise (ArgumentError if isinstance(value, str) else ArgumentTypeError)(
            "class_weight",
            f"is {_check.quoted(value)}",
            'None, "balanced" or a mapping of class -> weight',
        )
    result, known = np.ones(len(every), F64), every.tolist()
    for kind, weight_of_class in value.items():
        if kind not in known:
            raise ArgumentError(
                "class_weight",
                f"has {_check.quoted(kind)}",
                f"classes of y: {', '.join(map(_check.quoted, known[:10]))}"
                + (", .." if len(known) > 10 else ""),
            )
        expected = "a finite number of at least 0"
        name = f"class_weight[{_check.quoted(kind)}]"
        number = _check.number(name, weight_of_class, expected)
        if not 0.0 <= number < np.inf:
            raise ArgumentError(name, f"is {number}", expected, value=number)
        result[known.index(kind)] = number
    if not result[codes].any():
        raise ArgumentError(
            "class_weight", "is 0 for the classes of all training sequences", "one above 0"
        )
    return result


def locate(error: BadArgumentError, rows: Rows, streamed: bool = False) -> None:
    """Put the row among all sequences into an error, which has the one of the batch `rows`.

    streamed: the data are of a call of `fit` with an iterator.
    """
    known = ("x", "y", "sample_weight", "static", "the gradient that loss returned")
    argument = error.argument.partition("[")[0]  # without the block of outputs
    if argument in known and error.index:
        error.index = (int(rows[error.index[0]]), *error.index[1:])
    if argument == "y" and error.value is not None and np.isnan(error.value):
        how = "weights of 0 leave" if streamed else 'missing="mask" leaves'
        error.expected = f"finite numbers; {how} out targets that are missing"
    if error.argument == "x" and error.value is not None and np.isnan(error.value):
        error.expected = (
            "finite numbers; if NaN fills up shorter sequences, the list "
            'fastbptt.datasets.unpad(x, value=float("nan")), with padding="pre" if it is in front; '
            "if values are missing, fastbptt.Imputer().fit_transform(x), for a model with one more "
            "input for each feature with gaps"
        )
