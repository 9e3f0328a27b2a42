"""A training step with a loss function of the caller's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._check import F64, Floats
from .._errors import ArgumentError, BadArgumentError
from .._losses import CustomLoss, LossLike
from .._losses import loss as read_loss
from .._views import Gradients
from ..models import _penalties, truncated
from ..models._arguments import Lengths
from ..models.recurrent import Recurrent
from ..models.results import ForwardResult
from ..optim.optimizers import Optimizer
from ..reference import POOLED, penalties
from .callbacks import Callback


class MaskedLoss:
    """A loss of numbers that leaves out single outputs without a target, for `fit` and `evaluate`.

    A target that is NaN has no loss and no gradient, whatever the other targets of its step are.
    The loss of a batch is the mean over the targets that are there, with the weights of their
    steps; where all are there, it is that of the loss itself with ``reduction="mean"``, the only
    one that it has. Losses of an epoch and of `evaluate` are such means over all of its targets. It
    is computed in NumPy, and the rest as for any function given as `loss`.

    Parameters
    ----------
    loss : str or `fastbptt.Loss`
        One whose targets are numbers.

    Attributes
    ----------
    loss : fastbptt.Loss

    Raises
    ------
    ValueError, TypeError
        If there is no such loss, or its targets are classes.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbptt.training import MaskedLoss
    >>> value, gradient = MaskedLoss("mse")(np.array([[3.0, 1.0]]), np.array([[1.0, np.nan]]))
    >>> value, gradient.tolist()
    (4.0, [[4.0, 0.0]])
    """

    def __init__(self, loss: LossLike) -> None:
        self.loss = read_loss(loss)
        if self.loss.targets != "numbers":
            raise ArgumentError(
                "loss",
                f'is "{self.loss}", of one class for each step',
                'a loss of numbers, such as "mse"; classes that are missing: missing="mask"',
            )
        self.__qualname__ = f"MaskedLoss({self.loss!r})"  # of the function, in a checkpoint

    def _targets_there(self, targets: NDArray[Any], weights: NDArray[np.float64] | None) -> float:
        """Sum the weights of the targets that are there."""
        there = ~np.isnan(np.asarray(targets, F64))
        if weights is not None:
            return float((there.reshape(*weights.shape, -1).sum(axis=-1) * weights).sum())
        return float(there.sum())

    def __call__(
        self, outputs: Floats, targets: NDArray[Any], weights: NDArray[np.float64] | None = None
    ) -> tuple[float, Floats]:
        """Compute the loss of a batch and its gradient with respect to the outputs.

        Parameters
        ----------
        outputs : array (batch, outputs) or (batch, time, outputs)
        targets : array of the outputs' leading shape, with an axis of targets unless there is one
            NaN where one is missing.
        weights : array of the outputs' leading shape, optional

        Returns
        -------
        value : float
            0 if there is no target.
        gradient : float64 array, of the outputs' shape

        Raises
        ------
        ValueError
            If a target is out of the range of the loss, or the shapes do not fit.
        """
        from ..reference.losses import LOSSES

        loss, width = self.loss, outputs.shape[-1]
        count, lead = loss.targets_of(width), outputs.shape[:-1]
        y = np.asarray(targets, F64)
        if y.shape not in ((*lead, count), lead if count == 1 else (*lead, count)):
            expected = f"{(*lead, count)}, as the loss {loss} has for outputs of shape"
            raise ArgumentError("y", f"has shape {y.shape}", f"{expected} {outputs.shape}")
        y, z = y.reshape(-1, count), outputs.reshape(-1, width).astype(F64)
        there = ~np.isnan(y)
        known = y[there]
        within = (known >= loss.low) & (known <= loss.high) & np.isfinite(known)
        if loss.two_values:
            within &= (known == loss.low) | (known == loss.high)
        if not within.all():
            wrong = known[~within][0].item()
            raise ArgumentError("y", f"holds {wrong:g}", f"targets that {loss} takes, or NaN")
        values, dz = LOSSES[loss.name](
            z, np.where(there, y, loss.low if loss.bounded else 0.0), **(loss.parameters)
        )
        share = there * (1.0 if weights is None else np.reshape(weights, (-1, 1)))
        counted = np.repeat(share, values.shape[1] // count, axis=1)
        total = float(counted.sum())
        if total == 0.0:
            return 0.0, np.zeros(outputs.shape)
        gradient: Floats = np.where(there, share, 0.0).repeat(loss.outputs, axis=1) * dz / total
        value = float(np.where(counted > 0.0, values * counted, 0.0).sum() / total)
        return value, gradient.reshape(outputs.shape)


def check_custom(
    loss: CustomLoss,
    steps: str,
    reduction: str,
    bptt_steps: Any,
    memory_budget: Any,
    callbacks: Sequence[Callback],
    penalised: Mapping[str, Any],
) -> None:
    """Refuse what only a loss of the core offers."""
    check_custom_objective(loss, reduction)
    for name in _penalties.OF_STATES:
        if name in penalised:
            why = "None because loss is a function; a loss by name has it"
            raise ArgumentError(name, f"is {penalised[name]!r}", why)
    if memory_budget is not None:
        why = "None because loss is a function, which sees all outputs of a batch or chunk at once"
        raise ArgumentError("memory_budget", f"is {memory_budget!r}", why)
    if bptt_steps is not None and steps in POOLED:
        raise ArgumentError(
            "bptt_steps",
            f"is {bptt_steps!r}",
            f'None because steps="{steps}" reads whole sequences',
        )
    for i, callback in enumerate(callbacks):
        if callback.record is not None:
            raise ArgumentError(
                "callbacks",
                f"is a {type(callback).__name__}, which records gradients",
                "one that does not, because loss is a function",
                item=i,
            )


def check_custom_objective(loss: CustomLoss, reduction: str) -> None:
    """Refuse another reduction than that of a `MaskedLoss`, which is always a mean."""
    if loss.is_a_mean and reduction != "mean":
        expected = f'"mean" because loss is {loss}, a mean over the targets that are there'
        raise ArgumentError("reduction", f'is "{reduction}"', expected)


def custom_step(
    model: Recurrent,
    optimizer: Optimizer,
    loss: CustomLoss,
    steps: str,
    reduction: str,
    x: NDArray[Any],
    y: NDArray[Any],
    lengths: Lengths = None,
    sample_weight: NDArray[np.float64] | None = None,
    static: NDArray[Any] | None = None,
    resets: NDArray[np.bool_] | None = None,
    bptt_steps: int | None = None,
    l1: Mapping[str, float] | None = None,
    l2: Mapping[str, float] | None = None,
    **clip: float | None,
) -> float:
    """Do forward, the caller's loss, backward, clipping and update; or leave all as it was."""
    seeds, before = model._dropout_seeds.state, optimizer.step_count
    terms: list[dict[str, float]] = []  # the penalties of each update

    def update(grads: Gradients) -> None:
        if l1 is not None or l2 is not None:
            given = {**dict.fromkeys(_penalties.NAMES), "l1": l1, "l2": l2}
            _penalties.check(given, model._spec, model._weights, model.frozen)
            found, slopes = penalties(model.state_dict(), l1, l2)
            for name, slope in slopes.items():
                grads[name][...] += slope
            terms.append({name: float(value) for name, value in found.items()})
        optimizer.step(model, grads, **clip)  # type: ignore[arg-type]

    try:
        if bptt_steps is not None:
            value = _in_chunks(
                model, optimizer, loss, steps, reduction, x, y, lengths, sample_weight, static,
                resets, bptt_steps, update,
            )  # fmt: skip
            _note(model, terms)
            return value
        out = model.forward(x, lengths, static=static, resets=resets, training=True)
        value, grads = _graded(model, out, loss, steps, y, lengths, sample_weight)
        update(grads)
        model._trained_steps = steps
        _note(model, terms)
    except BaseException:
        if optimizer.step_count == before:
            model._dropout_seeds.state = seeds
        raise
    return value


def _in_chunks(
    model: Recurrent,
    optimizer: Optimizer,
    loss: CustomLoss,
    steps: str,
    reduction: str,
    x: NDArray[Any],
    y: NDArray[Any],
    lengths: Lengths,
    sample_weight: NDArray[np.float64] | None,
    static: NDArray[Any] | None,
    resets: NDArray[np.bool_] | None,
    size: int,
    update: Callable[[Gradients], None],
) -> float:
    """Do that for each chunk of a batch, as `fastbptt.models.truncated` does it."""
    before = model._weights.get()
    with optimizer._lock:
        put_back = optimizer._binding_for(model._weights).keep()
    total = counted = 0.0
    states: list[Floats] = []  # of all sequences, after the chunks so far
    chunk: truncated.Chunk | None = None
    try:
        for chunk in truncated.chunks(lengths, x.shape[1], sample_weight, steps, reduction, size):
            rows: Any = slice(None) if chunk.rows is None else chunk.rows
            part = slice(chunk.first, chunk.stop)
            graded = bool(chunk.counts.any())
            out = model.forward(
                x[rows, part],
                chunk.lengths,
                _state([one[:, rows] for one in states]),
                static=None if states else static,
                resets=None if resets is None else np.ascontiguousarray(resets[rows, part]),
                training=True,
                backward=graded,
            )
            if graded:
                targets = y[rows, part] if steps == "all" else y[rows]
                value, grads = _graded(
                    model, out, loss, steps, targets, chunk.lengths, chunk.weight
                )
                update(grads)
                own = loss.count_of(targets, chunk.weight, chunk.lengths, steps == "all")
                share = (
                    1.0 if reduction == "sum" else float(chunk.counts[0]) if own is None else own
                )
                total, counted = total + share * value, counted + share
            ends = out.final_state if isinstance(out.final_state, tuple) else (out.final_state,)
            states = states or [np.empty_like(end) for end in ends]
            for state, end in zip(states, ends, strict=True):
                state[:, rows] = end
        model._trained_steps = steps
    except BaseException as error:
        model._weights.set(before)
        put_back()
        if chunk is not None and isinstance(error, BadArgumentError):
            chunk.locate(error, steps)
        raise
    return total if reduction == "sum" or not counted else total / counted


def _note(model: Recurrent, terms: list[dict[str, float]]) -> None:
    """Keep the means of the penalties over the updates."""
    if terms:
        model._records.penalties = {
            name: float(np.mean([one[name] for one in terms])) for name in terms[0]
        }


def _state(parts: list[Floats]) -> Any:
    """Return states as `forward` takes them, or None."""
    return parts[0] if len(parts) == 1 else tuple(parts) or None


def _graded(
    model: Recurrent,
    out: ForwardResult,
    loss: CustomLoss,
    steps: str,
    y: NDArray[Any],
    lengths: Lengths,
    sample_weight: NDArray[np.float64] | None,
) -> tuple[float, Gradients]:
    """Return the loss of what `forward` returned, and the gradients."""
    if steps in POOLED:
        return _of_pooled(model, out, loss, steps, y, lengths, sample_weight)
    if steps == "all":
        value, gradient = loss.of_batch(out.outputs, y, sample_weight, lengths)
        return value, model.backward(out, d_outputs=gradient)
    value, gradient = loss.of_batch(out.last, y, sample_weight, lengths)
    return value, model.backward(out, d_last=gradient)


def _of_pooled(
    model: Recurrent,
    out: ForwardResult,
    loss: CustomLoss,
    steps: str,
    y: NDArray[Any],
    lengths: Lengths,
    sample_weight: NDArray[np.float64] | None,
) -> tuple[float, Gradients]:
    """Return a loss on the readout of pooled states, and its gradients."""
    hidden = out.hidden
    ends = np.full(len(hidden), hidden.shape[1]) if lengths is None else lengths
    real = np.arange(hidden.shape[1]) < ends[:, np.newaxis]
    pooled, share = POOLED[steps](hidden, real[:, :, np.newaxis])
    weights, read = model.state_dict(), model._read_columns
    if "W_hy" not in weights:
        value, gradient = loss.of_batch(pooled.astype(hidden.dtype), y, sample_weight, lengths)
        d_hidden = share * gradient[:, np.newaxis]
        return value, model.backward(out, d_hidden=d_hidden.astype(hidden.dtype))
    outputs = pooled[:, read] @ weights["W_hy"] + weights.get("b_y", 0)
    value, gradient = loss.of_batch(outputs.astype(hidden.dtype), y, sample_weight, lengths)
    d_pooled = np.zeros(pooled.shape)
    d_pooled[:, read] = gradient @ weights["W_hy"].T
    d_hidden = share * d_pooled[:, np.newaxis]
    grads = model.backward(out, d_hidden=d_hidden.astype(hidden.dtype))
    grads["W_hy"][...] = pooled[:, read].T @ gradient
    if "b_y" in weights:
        grads["b_y"][...] = gradient.sum(axis=0)
    return value, grads
