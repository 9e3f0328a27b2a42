"""Outputs, losses and metrics of many sequences, in batches, without gradients."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, NamedTuple, Protocol, cast, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _check, _losses
from .._check import F64, I64, Floats
from .._core import Batch
from .._errors import ArgumentError, ArgumentTypeError, BadArgumentError
from .._losses import CustomLoss, Losses, LossFunction, LossLike, TargetsLike, WeightsLike
from ..models import _arguments
from ..models.recurrent import Recurrent
from . import metrics as _metrics
from .batches import (
    BatchLimit,
    Computed,
    Gathered,
    Rows,
    evaluation_batches,
    evaluation_limit,
)
from .custom import check_custom_objective
from .labelled import LabelledData, locate, too_coarse
from .metrics import Metric, MetricsLike
from .missing import check_missing


@overload
def predict(
    model: Recurrent,
    x: ArrayLike | Sequence[ArrayLike],
    lengths: ArrayLike | None = None,
    batch_size: int | None = None,
    *,
    static: ArrayLike | None = None,
    steps: str | None = None,
    resets: ArrayLike | Sequence[ArrayLike] | None = None,
    loss: LossLike | None = None,
    noise: int | None = None,
) -> Floats | list[Floats]: ...


@overload
def predict(
    model: Recurrent,
    x: ArrayLike | Sequence[ArrayLike],
    lengths: ArrayLike | None = None,
    batch_size: int | None = None,
    *,
    static: ArrayLike | None = None,
    steps: str | None = None,
    resets: ArrayLike | Sequence[ArrayLike] | None = None,
    loss: Losses,
    noise: int | None = None,
) -> dict[str, Floats] | dict[str, list[Floats]]: ...


def predict(
    model: Recurrent,
    x: ArrayLike | Sequence[ArrayLike],
    lengths: ArrayLike | None = None,
    batch_size: int | None = None,
    *,
    static: ArrayLike | None = None,
    steps: str | None = None,
    resets: ArrayLike | Sequence[ArrayLike] | None = None,
    loss: LossLike | Losses | None = None,
    noise: int | None = None,
) -> Any:
    """Compute a model's outputs for many sequences, a batch at a time.

    Parameters
    ----------
    model : Recurrent
    x : array of shape (n, time, input_size), or list of arrays (time_i, input_size)
        As for `Recurrent.forward`; with an embedding tokens, (n, time) or a list of (time_i,).
    lengths : array of shape (n,), optional
        The number of steps of each sequence, from 1 to time.
    batch_size : int, optional
        Sequences at a time, at most. Default: as many as keep all threads busy, 256 or 32 for each
        thread if that is more, or fewer if they are so long that these would take 64 MB. Bounds
        memory; results do not depend on it.
    static : array of shape (n, static_size), optional
        Constants of each sequence, for a model with `static_size`.
    steps : {"last", "all", "mean", "max"}, optional
        Outputs at each sequence's end (`ForwardResult.last`), at all of its steps, or from the
        hidden states pooled over its steps. Default: pooled as in the model's last training step,
        else at the end.
    resets : array of shape (n, time), or list of n arrays (time_i,), optional
        As for `Recurrent.forward`: where an episode starts. Refused with pooled states.
    loss : str, `fastbptt.Loss` or `fastbptt.Losses`, optional
        The loss that the model was trained with: return its predictions (`Loss.predictions`), such
        as probabilities, instead of outputs.
    noise : int, optional
        A seed: add the model's noise, as `Recurrent.forward` does. Each sequence has its own,
        whatever the `batch_size`.

    Returns
    -------
    array of shape (n, output_size)
        In the model's dtype. Logits for classes; hidden states without a readout. With
        ``steps="all"`` an array (n, time, output_size), zero after a sequence's end, or, if `x`
        is a list, a list of arrays (time_i, output_size). With `loss` of float64; of several
        blocks of outputs a dict of these, by name.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what came and what was expected.

    Warns
    -----
    UserWarning
        If the numbers of a feature lie so far from zero that the model's dtype loses their
        differences, as of times since 1970 that were not standardised as for training.

    Examples
    --------
    >>> import numpy as np, fastbptt
    >>> model = fastbptt.GRU(3, 4, 2, seed=0)
    >>> x = [np.ones((time, 3)) for time in (5, 2, 4)]
    >>> fastbptt.predict(model, x).shape
    (3, 2)
    >>> [z.shape for z in fastbptt.predict(model, x, steps="all")]
    [(5, 2), (2, 2), (4, 2)]
    """
    check_model(model)
    chosen = None if loss is None else _losses.one_or_several(loss)
    if isinstance(chosen, Losses):
        chosen._check_width(model._input_spec.width)
    elif chosen is not None:
        chosen.targets_of(model._input_spec.width)
    seed = None if noise is None else model._noise_seed(noise)
    found = _all_outputs(model, x, lengths, batch_size, static, steps, resets, seed)
    if chosen is None:
        return found
    if not isinstance(found, list):
        whole = chosen.predictions(found)
        if found.ndim == 3 and lengths is not None:
            after = np.arange(found.shape[1]) >= np.asarray(lengths)[:, np.newaxis]
            for one in whole.values() if isinstance(whole, dict) else [whole]:
                one[after] = 0.0
        return whole
    parts: list[Any] = [chosen.predictions(one) for one in found]
    if isinstance(chosen, Losses):
        return {name: [one[name] for one in parts] for name in chosen.losses}
    return parts


def _all_outputs(
    model: Recurrent,
    x: Any,
    lengths: Any,
    batch_size: Any,
    static: Any,
    steps: Any,
    resets: Any,
    seed: int | None,
) -> Floats | list[Floats]:
    limit = _limit(model, batch_size)
    steps = readout_of(model, steps)
    spec = model._input_spec
    items, own = _arguments.as_they_lie(spec, x, lengths)
    gathered, count = Gathered(items, own), len(items)
    constants = _arguments.static(spec, static, count, None, alone=True)
    listed = isinstance(items, list)
    _arguments.check_resets(resets, steps, "mean", 0)
    longest = items.shape[1] if isinstance(items, np.ndarray) else max(map(len, items))
    found_marks = _arguments.resets_as_they_lie(spec, resets, count, longest, own, listed)
    marks = None if found_marks is None else Gathered(found_marks, own)
    chunks = partial(evaluation_batches, own if gathered.ragged else None, longest)
    if not spec.tokens:
        found = too_coarse(gathered, items, chunks, spec)
        if found is not None:
            _check.warn_of_rounding("x", found, stacklevel=4)
    if steps != "all":
        last = np.empty((count, spec.width), spec.dtype)
        for rows in chunks(np.arange(count), limit):
            own_static = None if constants is None else constants[rows]
            last[rows] = outputs(model, gathered, rows, steps, own_static, marks, seed)
        return last
    parts: list[Floats] = [np.empty(0)] * count if listed else []
    shape = (0,) if listed else (count, longest, spec.width)
    whole = np.zeros(shape, spec.dtype)
    for rows in chunks(np.arange(count), limit):
        own_static = None if constants is None else constants[rows]
        z = outputs(model, gathered, rows, steps, own_static, marks, seed)
        if listed:
            assert own is not None
            for row, one in zip(rows, z, strict=True):
                parts[row] = one[: own[row]].copy()
        else:
            whole[rows, : z.shape[1]] = z
    return parts if listed else whole


def probabilities(outputs: ArrayLike, loss: LossLike | None = None) -> Floats:
    """Turn outputs for classes or labels into probabilities.

    Parameters
    ----------
    outputs : array of shape (..., output_size)
        From `predict` or `Recurrent.forward`.
    loss : str or `fastbptt.Loss`, optional
        The loss that the model was trained with. Default: ``"bce"`` for a single output, else
        ``"cross_entropy"``. For several labels, each with its own output, give ``"bce"``.

    Returns
    -------
    array of shape (..., classes)
        Softmax over the last axis, or the sigmoid of each output. A single output is the logit of
        class 1 of two: column 1 holds its sigmoid. float32 and float64 are kept; other dtypes
        become float64.

    Raises
    ------
    ValueError, TypeError
        If there is no axis of outputs, the outputs are not numbers, or the loss is one of numbers.

    Examples
    --------
    >>> import numpy as np, fastbptt
    >>> fastbptt.probabilities([[0.0], [np.log(3.0)]])
    array([[0.5 , 0.5 ],
           [0.25, 0.75]])
    >>> fastbptt.probabilities([[0.0, np.log(3.0)]], "bce")
    array([[0.5 , 0.75]])
    """
    z = _check.read("outputs", outputs)
    if z.ndim == 0 or z.shape[-1] == 0:
        raise ValueError(f"outputs has shape {z.shape}; expected (..., output_size)")
    if z.dtype.kind not in "fiub":
        raise TypeError(f"outputs has dtype {z.dtype}; expected numbers")
    if z.dtype not in (np.float32, np.float64):
        z = z.astype(F64)
    width = z.shape[-1]
    chosen = _losses.loss(("bce" if width == 1 else "cross_entropy") if loss is None else loss)
    if chosen.link not in ("logistic", "softmax") or (chosen.link == "softmax" and width == 1):
        raise ArgumentError(
            "loss",
            f'is "{chosen}" and there {"is" if width == 1 else "are"} {width} '
            f"output{'s' * (width > 1)}",
            'a loss of classes: "bce"' + ', or "cross_entropy"' * (width > 1),
        )
    if chosen.link == "logistic" and width > 1:
        return chosen.predictions(z).astype(z.dtype)
    if width == 1:
        z = np.concatenate([-0.5 * z, 0.5 * z], axis=-1)
    with np.errstate(over="ignore"):  # of numbers that far apart, one has the probability 0
        powers = np.exp(z - z.max(axis=-1, keepdims=True))
    probs: Floats = powers / powers.sum(axis=-1, keepdims=True)
    return probs


def outputs(
    model: Recurrent,
    x: Gathered | Computed,
    rows: Rows,
    steps: str,
    static: NDArray[Any] | None = None,
    resets: Gathered | None = None,
    noise: int | None = None,
) -> Floats:
    """Outputs of one batch: (rows, outputs), or at all steps (rows, time, outputs).

    noise: its seed; each sequence has the noise of its row.
    """
    batch = _inputs_of(model, x, rows, static, resets)
    if noise is not None:
        batch = batch.replace(noise_seed=noise, numbers=rows)
    return _outputs_of(model, batch, rows, steps)


def _inputs_of(
    model: Recurrent,
    x: Gathered | Computed,
    rows: Rows,
    static: NDArray[Any] | None,
    resets: Gathered | None,
) -> Batch:
    """Take some sequences as the core takes them."""
    batch, lengths = x.take(rows)
    marks = None if resets is None else resets.take(rows)[0]
    return model._batch(batch, lengths, None, static, marks, True)


def _outputs_of(model: Recurrent, batch: Batch, rows: Rows, steps: str) -> Floats:
    try:
        return model._predict(batch, steps)
    except ArgumentError as error:
        locate(error, rows)
        raise


def evaluate(
    model: Recurrent,
    x: ArrayLike | Sequence[ArrayLike],
    y: TargetsLike,
    *,
    loss: LossLike | Losses | LossFunction | None = None,
    steps: str | None = None,
    reduction: str = "mean",
    metrics: MetricsLike = (),
    lengths: ArrayLike | None = None,
    sample_weight: WeightsLike = None,
    warmup: int = 0,
    static: ArrayLike | None = None,
    resets: ArrayLike | Sequence[ArrayLike] | None = None,
    missing: str = "error",
    batch_size: int | None = None,
) -> dict[str, float]:
    """Compute the loss and metrics of a model on data, without dropout and noise.

    Parameters
    ----------
    model, x, y, loss, reduction, metrics, lengths
        As for `fit`.
    steps
        As for `predict`.
    sample_weight, warmup, static, resets, missing
        As for `fit`.
    batch_size : int, optional
        As for `predict`.

    Returns
    -------
    dict of str -> float
        ``"loss"``, summed in float64, and each metric by its name. With `fastbptt.Losses` also
        ``"NAME.loss"`` of each block, without its weight, and metrics as ``"NAME.METRIC"``.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what came and what was expected.

    Warns
    -----
    UserWarning
        As for `predict`.

    Examples
    --------
    >>> import numpy as np, fastbptt
    >>> model = fastbptt.RNN(1, 4, 1, init=("normal", 0.0))
    >>> found = fastbptt.evaluate(model, np.ones((4, 5, 1)), [0, 0, 0, 1], metrics="accuracy")
    >>> round(found["loss"], 4), found["accuracy"]
    (0.6931, 0.75)
    """
    check_model(model)
    limit = None if batch_size is None else _limit(model, batch_size)
    steps = readout_of(model, steps)
    check_objective(loss, steps, reduction)
    own, first = loss_of(loss), _check.size("warmup", warmup, 0)
    chosen = metrics_of(metrics, own)
    if isinstance(own, CustomLoss):
        check_custom_objective(own, reduction)
    check_missing(missing, own)
    data = LabelledData(
        model, x, y, own, steps, reduction, lengths, sample_weight, warmup=first, static=static,
        resets=resets, missing=missing,
    )  # fmt: skip
    check_metrics(chosen, data)
    data.check_contents()
    data.note_digits(4)
    rows = np.arange(data.count)
    return Evaluation(data, rows, chosen, limit or data.evaluation_limit()).measure()


def _limit(model: Recurrent, batch_size: Any) -> BatchLimit:
    if batch_size is None:
        return evaluation_limit(model)
    size = _check.size("batch_size", batch_size)
    return BatchLimit(size)


def readout_of(model: Recurrent, steps: str | None) -> str:
    """Return what the readout sees: as told, or pooled states if the model was trained so."""
    if steps is None:
        return model._trained_steps if model._trained_steps in _check.POOLED else "last"
    return _check.option("steps", steps, _check.READOUTS)


def check_model(model: Any) -> None:
    """Check that `model` is a fastbptt model."""
    if not isinstance(model, Recurrent):
        own = isinstance(getattr(model, "model", None), Recurrent)
        expected = "a fastbptt model" + (", such as its attribute model" if own else "")
        raise ArgumentTypeError("model", f"is of type {type(model).__name__}", expected)


def check_objective(loss: Any, steps: Any, reduction: Any) -> None:
    """Check the names of an objective."""
    if loss is not None and not _losses.is_function(loss):
        _losses.one_or_several(loss)
    _check.option("steps", steps, _check.READOUTS)
    _check.option("reduction", reduction, _check.REDUCTIONS)


def metrics_of(metrics: Any, loss: Any) -> tuple[Metric, ...]:
    """Look up metrics, those of several blocks by their names."""
    if isinstance(loss, Losses):
        return _metrics.resolve_blocks(metrics, loss)
    return _metrics.resolve(metrics)


def check_metrics(metrics: Sequence[Metric], data: LabelledData) -> None:
    """Refuse metrics that make no sense with a loss, or take no weights where there are some."""
    if data.blocks:
        parts = data.blocks.items()
        differ = {name: one.weights is not None and one.weights.differ for name, one in parts}
        _metrics.check_blocks(metrics, data.loss, differ)
        return
    different = data.weights is not None and data.weights.differ
    _metrics.check(metrics, data.loss, different, data.spec.width)


def loss_of(
    loss: LossLike | Losses | LossFunction | None,
) -> LossLike | Losses | CustomLoss | None:
    """Take a function for a loss of the caller's."""
    return (
        CustomLoss(cast("LossFunction", loss)) if _losses.is_function(loss) else cast("Any", loss)
    )


_KEPT: Final = 1 << 20  # bytes of an evaluation's batches, from which on they are made each time


class Shared(Protocol):
    """Processes that measure together, each a part of the rows."""

    def measure(self, parts: Sequence[Measured], rows: Rows, add: Callable[[Rows], None]) -> None:
        """Add a part of the rows by `add`; leave in `parts` what all have found."""


class Evaluation:
    """Loss and metrics of some sequences of a data set, computed once or after every epoch.

    Batches of few sequences are made once, and kept: copies of inputs, targets and weights.

    Parameters
    ----------
    data : LabelledData
    rows : int64 array
        The sequences.
    metrics : sequence of Metric
    limit : BatchLimit
    """

    def __init__(
        self, data: LabelledData, rows: Rows, metrics: Sequence[Metric], limit: BatchLimit
    ) -> None:
        if data.weights is not None:
            rows = rows[data.weights.totals[rows] > 0.0]  # as in training
        self._data, self._rows, self._metrics, self._limit = data, rows, metrics, limit
        spec = data.model._input_spec
        steps = len(rows) * data.time
        small = 8 * steps * (spec.input_size + spec.width) <= _KEPT
        self._keeps = small and not isinstance(data.loss, CustomLoss)
        self._kept: list[_Batch] = []

    def measure(
        self, after_batch: Callable[[], None] = lambda: None, ranks: Shared | None = None
    ) -> dict[str, float]:
        """Compute them with the model as it is now; each rank computes those of some sequences."""
        data = self._data
        if data.blocks:
            columns = data.loss.columns
            parts = {
                name: Measured(block, [m for m in self._metrics if m.block == name], columns[name])
                for name, block in data.blocks.items()
            }
        else:
            parts = {"": Measured(data, self._metrics, slice(None))}

        def add(rows: Rows) -> None:
            for batch in self._kept or self._batches(rows):
                z = _outputs_of(data.model, batch.inputs, batch.rows, data.steps)
                for name, part in parts.items():
                    part.add(batch.rows, batch.counted[name], z)
                after_batch()

        if ranks is None:
            add(self._rows)
        else:
            ranks.measure(list(parts.values()), self._rows, add)
        found: dict[str, float] = {}
        for part in parts.values():
            found |= part.metrics()
        losses = {name: part.loss() for name, part in parts.items()}
        return {**named_losses(data.loss, losses), **found}

    def _batches(self, every: Rows) -> Iterator[_Batch]:
        data, kept = self._data, []
        blocks = data.blocks or {"": data}
        for rows in data.chunks(every, self._limit):
            inputs = _inputs_of(data.model, data.x, rows, data.static(rows), data.resets)
            if self._keeps:  # else they are the buffers of the next batch
                names = ("x", "lengths", "static", "resets")
                arrays = {name: getattr(inputs, name) for name in names}
                inputs = inputs.replace(
                    **{name: own.copy() for name, own in arrays.items() if own is not None}
                )
            counted = {
                name: None if isinstance(one.loss, CustomLoss) else _counted(one, rows)
                for name, one in blocks.items()
            }
            batch = _Batch(rows, inputs, counted)
            if self._keeps:
                kept.append(batch)
            yield batch
        self._kept = kept


def named_losses(loss: Any, values: Mapping[str, float]) -> dict[str, float]:
    """Name the loss as a history does; of several blocks their sum first, then each."""
    if not isinstance(loss, Losses):
        return {"loss": values[""]}
    return {"loss": loss._total(values), **{f"{name}.loss": values[name] for name in loss.losses}}


class _Counted(NamedTuple):
    """The targets of a batch that count: of sequences, or of steps one after the other."""

    y: NDArray[Any]
    given: NDArray[np.float64]  # their weights in metrics
    weight: NDArray[np.float64]  # .. and in the loss
    where: NDArray[np.bool_] | None  # which they are; None: all
    sequence: NDArray[np.int64]  # of each, its place in the batch
    totals: list[float]  # of the weights in the loss, by sequence


class _Batch(NamedTuple):
    """The sequences of a batch of an evaluation, as the core takes them, and their targets."""

    rows: Rows
    inputs: Batch
    counted: dict[str, _Counted | None]  # by block of outputs; None: of a loss of the caller's


def _counted(data: LabelledData, rows: Rows) -> _Counted:
    """Read the targets of some sequences that count."""
    y, lengths = data.y.take(rows)
    with np.errstate(invalid="ignore"):  # of targets without weight
        # the batch's own from here
        y = y.astype(I64) if data.loss.targets == "classes" else y.astype(F64)
    given, real = _weights(data, rows, lengths, y.shape[1] if data.steps == "all" else None)
    real &= given > 0.0
    weight = given
    if data.steps == "all" and data.reduction == "sequence_mean":
        ends = np.full(len(rows), y.shape[1]) if lengths is None else lengths
        weight = given / ends[:, np.newaxis]
    sequence, weight = np.nonzero(real)[0], weight[real]
    totals = np.bincount(sequence, weight).tolist()
    return _Counted(y[real], given[real], weight, None if real.all() else real, sequence, totals)


def _weights(
    data: LabelledData, rows: Rows, lengths: NDArray[np.int64] | None, time: int | None
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the weights of some sequences, or of their steps, and which of these there are.

    time: the steps of the batch, if each has a target.
    """
    given = np.ones(len(rows)) if data.weights is None else data.weights.take(rows)
    if time is None:
        return given, np.ones(len(rows), np.bool_)
    if given.ndim == 1:
        given = np.repeat(given[:, np.newaxis], time, axis=1)
    if lengths is None:
        return given, np.ones(given.shape, np.bool_)
    return given, np.arange(time) < lengths[:, np.newaxis]


class Measured:
    """Loss and metrics of some outputs, batch by batch."""

    def __init__(self, data: LabelledData, metrics: Sequence[Metric], columns: slice) -> None:
        self._data, self._metrics, self._columns = data, metrics, columns
        self._totals: list[float] = []
        self._total_weights: list[float] = []
        self._kept: list[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]] = []  # y, z, weights

    def add(self, rows: Rows, counted: _Counted | None, z: Floats) -> None:
        """Add the outputs of all columns of a batch."""
        from ..reference.losses import LOSSES

        data, z = self._data, z[..., self._columns]
        if counted is None:
            self._add_custom(rows, z)
            return
        if counted.where is not None:
            z = z[counted.where]
        else:
            z = np.ascontiguousarray(z.reshape(-1, z.shape[-1]))
        loss, y = data.loss, counted.y
        with np.errstate(all="ignore"):  # of a model that has diverged the loss is nan
            values = LOSSES[loss.name](z.astype(F64), y, **loss.parameters)[0]
            per_step = values.sum(axis=1)
            if data.reduction != "sum":
                per_step /= values.shape[1]
        # of each sequence: these do not depend on the batch
        self._totals += np.bincount(counted.sequence, per_step * counted.weight).tolist()
        self._total_weights += counted.totals
        if self._metrics:
            self._kept.append((y, z, counted.given))

    def _add_custom(self, rows: Rows, z: Floats) -> None:
        data, loss = self._data, self._data.loss
        y, lengths = data.y.take(rows)
        every = data.steps == "all"
        given, real = _weights(data, rows, lengths, z.shape[1] if every else None)
        counted = None if data.weights is None else given
        with about_batch(rows, data):
            value = loss.of_batch(z, y, counted, lengths)[0]
        weights = data.loss_weights(data.weights)
        share = float(len(rows)) if weights is None else float(weights[rows].sum())
        there = loss.count_of(y, counted, lengths, every)
        share = share if there is None else there
        self._totals.append(value if data.reduction == "sum" else value * share)
        self._total_weights.append(share)
        if self._metrics:
            real &= given > 0.0
            self._kept.append((y[real], z[real], given[real]))

    @property
    def found(self) -> tuple[list[Any], ...]:
        """Losses that have been added, their weights, and the outputs for metrics."""
        return self._totals, self._total_weights, self._kept

    @found.setter
    def found(self, value: tuple[list[Any], ...]) -> None:
        self._totals, self._total_weights, self._kept = value

    def loss(self) -> float:
        """Return the loss of all batches, in whatever order they came."""
        total = _sum(self._totals)
        return total if self._data.reduction == "sum" else mean(total, _sum(self._total_weights))

    def metrics(self) -> dict[str, float]:
        """Return the metrics by name."""
        if not self._metrics:
            return {}
        y, z, weights = map(np.concatenate, zip(*self._kept, strict=True))
        equal = not len(weights) or bool((weights == weights[0]).all())
        own = None if equal else weights
        return {m.name: _metrics.value(m, y, z, self._data.loss, own) for m in self._metrics}


def _sum(values: list[float]) -> float:
    """Sum with one rounding, so that the order does not matter."""
    try:
        return math.fsum(values)
    except (OverflowError, ValueError):  # above the largest number; infinities of both signs
        with np.errstate(all="ignore"):
            return float(np.sum(values))


def mean(total: float, weight: float) -> float:
    """Divide; without any target of a `MaskedLoss` there is no mean."""
    return total / weight if weight > 0.0 else float("nan")


@contextmanager
def about_batch(rows: Rows, data: LabelledData) -> Iterator[None]:
    """Say in an error of the caller's loss which sequences it is about."""
    try:
        yield
    except BadArgumentError as error:
        locate(error, rows)
        error.context.append(f"sequences {rows.min()} to {rows.max()} of {data.name or 'x'}")
        raise
