"""Outputs, losses and metrics of many sequences, in batches, without gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _check, _losses
from .._check import F64, I64, Floats
from .._errors import ArgumentError, ArgumentTypeError, BadArgumentError
from .._losses import CustomLoss, LossFunction, LossLike
from ..models import _arguments
from ..models.recurrent import Recurrent
from . import metrics as _metrics
from .batches import Computed, Gathered, Rows
from .custom import check_custom_objective
from .labelled import LabelledData, locate, unresolved
from .metrics import Function, Metric
from .missing import check_missing


def predict(
    model: Recurrent,
    x: ArrayLike | Sequence[ArrayLike],
    lengths: ArrayLike | None = None,
    batch_size: int = 256,
    *,
    static: ArrayLike | None = None,
    steps: str | None = None,
    resets: ArrayLike | Sequence[ArrayLike] | None = None,
) -> Floats | list[Floats]:
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

    Returns
    -------
    array of shape (n, output_size)
        In the model's dtype. Logits for classes; hidden states without a readout. With
        ``steps="all"`` an array (n, time, output_size), zero after a sequence's end, or, if `x`
        is a list, a list of arrays (time_i, output_size).

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
            _check.warn_of_rounding("x", found)
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
    y: ArrayLike | Sequence[ArrayLike],
    *,
    loss: LossLike | LossFunction | None = None,
    steps: str | None = None,
    reduction: str = "mean",
    metrics: str | Function | Iterable[str | Function] = (),
    lengths: ArrayLike | None = None,
    sample_weight: ArrayLike | Sequence[ArrayLike] | None = None,
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
        ``"loss"``, summed in float64, and each metric by its name.

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
    chosen = _metrics.resolve(metrics)
    own, first = loss_of(loss), _check.size("warmup", warmup, 0)
    if isinstance(own, CustomLoss):
        check_custom_objective(own, reduction)
    check_missing(missing, own)
    data = LabelledData(
        model, x, y, own, steps, reduction, lengths, sample_weight, warmup=first, static=static,
        resets=resets, missing=missing,
    )  # fmt: skip
    differ = data.weights is not None and data.weights.differ
    _metrics.check(chosen, data.loss, differ, model._input_spec.width)
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
        _losses.loss(loss)
    _check.option("steps", steps, _check.READOUTS)
    _check.option("reduction", reduction, _check.REDUCTIONS)


def loss_of(loss: LossLike | LossFunction | None) -> LossLike | CustomLoss | None:
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
    from ..reference.losses import LOSSES

    every = data.steps == "all"
    loss = data.loss
    classes = loss.targets == "classes"
    loss_weights = data.loss_weights(data.weights)
    total = total_weight = 0.0
    kept_y: list[NDArray[Any]] = []
    kept_z: list[NDArray[Any]] = []
    kept_weights: list[NDArray[Any]] = []
    if data.weights is not None:
        rows = rows[data.weights.totals[rows] > 0.0]  # as in training
    for batch in data.chunks(rows, batch_size):
        z = outputs(data.model, data.x, batch, data.steps, data.static(batch), data.resets)
        y, own = data.y.take(batch)
        if not isinstance(loss, CustomLoss):
            with np.errstate(invalid="ignore"):  # of targets without weight
                y = y.astype(I64) if classes else y.astype(F64)  # the batch's own from here
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
            share = float(len(batch)) if loss_weights is None else float(loss_weights[batch].sum())
            there = loss.count_of(y, counted, own, every)
            share = share if there is None else there
            total += value if data.reduction == "sum" else value * share
            total_weight += share
            if metrics:
                real &= given > 0.0
                kept_y.append(y[real])
                kept_z.append(z[real])
                kept_weights.append(given[real])
            after_batch()
            continue
        real &= given > 0.0
        weight = given
        if every and data.reduction == "sequence_mean":
            weight = given / ends[:, np.newaxis]
        z, y, given, weight = z[real], y[real], given[real], weight[real]
        with np.errstate(all="ignore"):  # of a model that has diverged the loss is nan
            values = LOSSES[loss.name](z.astype(F64), y, **loss.parameters)[0]
        summed = data.reduction == "sum"
        per_step = values.sum(axis=1) if summed else values.mean(axis=1)
        total += float(per_step @ weight)
        total_weight += float(weight.sum())
        if metrics:
            kept_y.append(y)
            kept_z.append(z)
            kept_weights.append(given)
        after_batch()
    found = {"loss": total if data.reduction == "sum" else mean(total, total_weight)}
    if metrics:
        all_y, all_z = np.concatenate(kept_y), np.concatenate(kept_z)
        weights = np.concatenate(kept_weights)
        equal = not len(weights) or bool((weights == weights[0]).all())
        for metric in metrics:
            found[metric.name] = _metrics.value(
                metric, all_y, all_z, loss, None if equal else weights
            )
    return found


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
