"""Outputs, losses and metrics of many sequences, in batches, without gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, cast, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _check, _losses
from .._check import F64, I64, Floats
from .._errors import ArgumentError, ArgumentTypeError, BadArgumentError
from .._losses import CustomLoss, Losses, LossFunction, LossLike, TargetsLike, WeightsLike
from ..models import _arguments
from ..models.recurrent import Recurrent
from . import metrics as _metrics
from .batches import Computed, Gathered, Rows
from .custom import check_custom_objective
from .labelled import LabelledData, locate, unresolved
from .metrics import Metric, MetricsLike
from .missing import check_missing


@overload
def predict(
    model: Recurrent,
    x: ArrayLike | Sequence[ArrayLike],
    lengths: ArrayLike | None = None,
    batch_size: int = 256,
    *,
    static: ArrayLike | None = None,
    steps: str | None = None,
    resets: ArrayLike | Sequence[ArrayLike] | None = None,
    loss: LossLike | None = None,
) -> Floats | list[Floats]: ...


@overload
def predict(
    model: Recurrent,
    x: ArrayLike | Sequence[ArrayLike],
    lengths: ArrayLike | None = None,
    batch_size: int = 256,
    *,
    static: ArrayLike | None = None,
    steps: str | None = None,
    resets: ArrayLike | Sequence[ArrayLike] | None = None,
    loss: Losses,
) -> dict[str, Floats] | dict[str, list[Floats]]: ...


def predict(
    model: Recurrent,
    x: ArrayLike | Sequence[ArrayLike],
    lengths: ArrayLike | None = None,
    batch_size: int = 256,
    *,
    static: ArrayLike | None = None,
    steps: str | None = None,
    resets: ArrayLike | Sequence[ArrayLike] | None = None,
    loss: LossLike | Losses | None = None,
) -> Any:
    """Compute a model's outputs for many sequences, a batch at a time.

    Parameters
    ----------
    model : Recurrent
    x : array of shape (n, time, input_size), or list of arrays (time_i, input_size)
        As for `Recurrent.forward`; with an embedding tokens, (n, time) or a list of (time_i,).
    lengths : array of shape (n,), optional
        The number of steps of each sequence, from 1 to time.
    batch_size : int, default 256
        Sequences at a time. Bounds memory; results do not depend on it.
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
    found = _all_outputs(model, x, lengths, batch_size, static, steps, resets)
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
    model: Recurrent, x: Any, lengths: Any, batch_size: Any, static: Any, steps: Any, resets: Any
) -> Floats | list[Floats]:
    size = _check.size("batch_size", batch_size)
    steps = readout_of(model, steps)
    spec = model._input_spec
    items, own = _arguments.as_they_lie(spec, x, lengths)
    gathered, count = Gathered(items, own), len(items)
    constants = _arguments.static(spec, static, count, None, alone=True)
    listed = isinstance(items, list)
    _arguments.check_resets(resets, steps, "mean", 0)
    longest = max(map(len, items)) if isinstance(items, list) else items.shape[1]
    found_marks = _arguments.resets_as_they_lie(spec, resets, count, longest, own, listed)
    marks = None if found_marks is None else Gathered(found_marks, own)
    ends = own if gathered.ragged else None
    if not spec.tokens and _check.may_round(
        items if isinstance(items, list) else [items], spec.dtype
    ):
        found = unresolved(gathered, partial(_ordered, ends), count, longest, spec)
        if found is not None:
            _check.warn_of_rounding("x", found, stacklevel=4)
    if steps != "all":
        last = np.empty((count, spec.width), spec.dtype)
        for rows in _chunks(ends, count, size):
            own_static = None if constants is None else constants[rows]
            last[rows] = outputs(model, gathered, rows, steps, own_static, marks)
        return last
    parts: list[Floats] = [np.empty(0)] * count if listed else []
    shape = (0,) if listed else (count, longest, spec.width)
    whole = np.zeros(shape, spec.dtype)
    for rows in _chunks(ends, count, size):
        own_static = None if constants is None else constants[rows]
        z = outputs(model, gathered, rows, steps, own_static, marks)
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


def _chunks(lengths: NDArray[np.int64] | None, count: int, size: int) -> Iterable[Rows]:
    return _ordered(lengths, np.arange(count, dtype=I64), size)


def _ordered(lengths: NDArray[np.int64] | None, rows: Rows, size: int) -> Iterable[Rows]:
    if lengths is not None:
        rows = np.argsort(-lengths, kind="stable")  # batches of similar lengths
    return (rows[start : start + size] for start in range(0, len(rows), size))


def outputs(
    model: Recurrent,
    x: Gathered | Computed,
    rows: Rows,
    steps: str,
    static: NDArray[Any] | None = None,
    resets: Gathered | None = None,
) -> Floats:
    """Outputs of one batch: (rows, outputs), or at all steps (rows, time, outputs)."""
    batch, lengths = x.take(rows)
    marks = None if resets is None else resets.take(rows)[0]
    try:
        return model._predict(batch, lengths, steps, static, marks)
    except ArgumentError as error:
        locate(error, rows)
        raise


_MEMORY: Final = 1 << 26  # bytes for a batch, where that can be chosen


def _bytes_per_step(model: Recurrent) -> int:
    """Estimate the memory of one step of a sequence: inputs, outputs, kept activations."""
    spec = model._input_spec
    saved = 8 * spec.rows * spec.hidden_size if model.bidirectional else 0
    return spec.dtype.itemsize * (spec.input_size + saved + spec.width)


def usual_batch(model: Recurrent, time: int, least: int) -> int:
    """Return how many sequences to evaluate at a time: at least a training batch."""
    return max(least, min(256, _MEMORY // (_bytes_per_step(model) * time)))


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
    batch_size: int = 256,
) -> dict[str, float]:
    """Compute the loss and metrics of a model on data, without dropout.

    Parameters
    ----------
    model, x, y, loss, reduction, metrics, lengths
        As for `fit`.
    steps
        As for `predict`.
    sample_weight, warmup, static, resets, missing
        As for `fit`.
    batch_size : int, default 256
        Sequences at a time.

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
    size = _check.size("batch_size", batch_size)
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
    return measure(data, np.arange(data.count), chosen, size)


def readout_of(model: Recurrent, steps: str | None) -> str:
    """Return what the readout sees: as told, or pooled states if the model was trained so."""
    if steps is None:
        return model._trained_steps if model._trained_steps in _check.POOLED else "last"
    return _check.option("steps", steps, _check.READOUTS)


def check_model(model: Any) -> None:
    """Check that `model` is a fastbptt model."""
    if not isinstance(model, Recurrent):
        raise ArgumentTypeError("model", f"is of type {type(model).__name__}", "a fastbptt model")


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


def measure(
    data: LabelledData,
    rows: Rows,
    metrics: Sequence[Metric],
    batch_size: int,
    after_batch: Callable[[], None] = lambda: None,
) -> dict[str, float]:
    """Compute loss and metrics on some sequences of a data set."""
    if data.blocks:
        columns = data.loss.columns
        parts = {
            name: _Measured(block, [m for m in metrics if m.block == name], columns[name])
            for name, block in data.blocks.items()
        }
    else:
        parts = {"": _Measured(data, metrics, slice(None))}
    if data.weights is not None:
        rows = rows[data.weights.totals[rows] > 0.0]  # as in training
    for batch in data.chunks(rows, batch_size):
        z = outputs(data.model, data.x, batch, data.steps, data.static(batch), data.resets)
        for part in parts.values():
            part.add(batch, z)
        after_batch()
    found: dict[str, float] = {}
    for part in parts.values():
        found |= part.metrics()
    losses = {name: part.loss() for name, part in parts.items()}
    return {**named_losses(data.loss, losses), **found}


def named_losses(loss: Any, values: Mapping[str, float]) -> dict[str, float]:
    """Name the loss as a history does; of several blocks their sum first, then each."""
    if not isinstance(loss, Losses):
        return {"loss": values[""]}
    return {"loss": loss._total(values), **{f"{name}.loss": values[name] for name in loss.losses}}


class _Measured:
    """Loss and metrics of some outputs, batch by batch."""

    def __init__(self, data: LabelledData, metrics: Sequence[Metric], columns: slice) -> None:
        self._data, self._metrics, self._columns = data, metrics, columns
        self._loss_weights = data.loss_weights(data.weights)
        self._total = self._total_weight = 0.0
        self._kept: list[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]] = []  # y, z, weights

    def add(self, batch: Rows, z: Floats) -> None:
        """Add the outputs of all columns of a batch."""
        from ..reference.losses import LOSSES

        data, z = self._data, z[..., self._columns]
        every, loss = data.steps == "all", data.loss
        y, own = data.y.take(batch)
        if not isinstance(loss, CustomLoss):
            with np.errstate(invalid="ignore"):  # of targets without weight
                # the batch's own from here
                y = y.astype(I64) if loss.targets == "classes" else y.astype(F64)
        given = np.ones(len(batch)) if data.weights is None else data.weights.take(batch)
        real = np.ones(len(batch), np.bool_)
        if every:
            time = z.shape[1]
            ends = np.full(len(batch), time) if own is None else own
            real = np.arange(time) < ends[:, np.newaxis]
            given = given if given.ndim == 2 else np.repeat(given[:, np.newaxis], time, axis=1)
        if isinstance(loss, CustomLoss):
            counted = None if data.weights is None else given
            with about_batch(batch, data):
                value = loss.of_batch(z, y, counted, own)[0]
            weights = self._loss_weights
            share = float(len(batch)) if weights is None else float(weights[batch].sum())
            there = loss.count_of(y, counted, own, every)
            share = share if there is None else there
            self._total += value if data.reduction == "sum" else value * share
            self._total_weight += share
            if self._metrics:
                real &= given > 0.0
                self._kept.append((y[real], z[real], given[real]))
            return
        real &= given > 0.0
        weight = given
        if every and data.reduction == "sequence_mean":
            weight = given / ends[:, np.newaxis]
        z, y, given, weight = z[real], y[real], given[real], weight[real]
        with np.errstate(all="ignore"):  # of a model that has diverged the loss is nan
            values = LOSSES[loss.name](z.astype(F64), y, **loss.parameters)[0]
        summed = data.reduction == "sum"
        per_step = values.sum(axis=1) if summed else values.mean(axis=1)
        self._total += float(per_step @ weight)
        self._total_weight += float(weight.sum())
        if self._metrics:
            self._kept.append((y, z, given))

    def loss(self) -> float:
        """Return the loss of all batches."""
        summed = self._data.reduction == "sum"
        return self._total if summed else mean(self._total, self._total_weight)

    def metrics(self) -> dict[str, float]:
        """Return the metrics by name."""
        if not self._metrics:
            return {}
        y, z, weights = map(np.concatenate, zip(*self._kept, strict=True))
        equal = not len(weights) or bool((weights == weights[0]).all())
        own = None if equal else weights
        return {m.name: _metrics.value(m, y, z, self._data.loss, own) for m in self._metrics}


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
