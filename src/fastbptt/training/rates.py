"""`find_lr`: the learning-rate range test."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _check
from .._errors import ArgumentError, BadArgumentError
from ..models.recurrent import Recurrent
from ..optim.optimizers import Optimizer
from ..optim.schedules import Schedule
from .callbacks import Callback, TrainingRun
from .evaluation import check_model
from .loop import fit


@dataclass(frozen=True, eq=False)
class LearningRates:
    """The result of `find_lr`.

    Attributes
    ----------
    rates : ndarray of shape (n,), float64
        The learning rate of each update; n is smaller than `updates` where training diverged.
    losses : ndarray of shape (n,), float64
        The loss of each update's batch, before it.
    smoothed : ndarray of shape (n,), float64
        Their moving mean, from which the suggestion comes.
    suggestion : float or None
        The rate at which the smoothed loss falls fastest, over the logarithm of the rate; None
        if it never falls.
    """

    rates: NDArray[np.float64]
    losses: NDArray[np.float64]
    smoothed: NDArray[np.float64]
    suggestion: float | None

    def __repr__(self) -> str:
        found = "none" if self.suggestion is None else f"{self.suggestion:.2g}"
        return f"LearningRates({len(self.rates)} updates, suggestion {found})"


class _Rise(Schedule):
    """The rate of an update relative to the lowest one."""

    def __init__(self, factors: NDArray[np.float64]) -> None:
        self._factors = factors

    def at(self, step: int, steps_per_epoch: int, epochs: int) -> float:
        return float(self._factors[min(step, len(self._factors) - 1)])


class _Losses(Callback):
    """Keeps the losses; stops after the last update, or once the loss is far above its least."""

    def __init__(self, most: int) -> None:
        self.losses: list[float] = []
        self._most = most

    def on_batch_end(self, run: TrainingRun) -> bool:
        self.losses.append(run.batch_loss)
        low, first = min(self.losses), self.losses[0]
        diverged = run.batch_loss - low > 3.0 * max(abs(low), abs(first))
        return diverged or len(self.losses) >= self._most


def find_lr(
    model: Recurrent,
    x: ArrayLike | Sequence[ArrayLike] | Iterator[Any],
    y: ArrayLike | Sequence[ArrayLike] | None = None,
    *,
    low: float = 1e-6,
    high: float = 1.0,
    updates: int = 100,
    optimizer: Optimizer | str | None = None,
    **options: Any,
) -> LearningRates:
    """Find a learning rate: train a copy of the model while the rate rises, and watch the loss.

    The rate rises from `low` to `high` by the same factor at each update. Neither the model nor
    the optimiser changes.

    Parameters
    ----------
    model, x, y, optimizer
        As for `fit`.
    low, high : float, default 1e-6 and 1.0
        The first and the last learning rate, above 0.
    updates : int, default 100
        At least 10. Fewer are made if the loss grows to several times what it was.
    **options
        Further arguments of `fit` that say what an update is: `loss`, `steps`, `reduction`,
        `lengths`, `sample_weight`, `class_weight`, `warmup`, `static`, `resets`, `missing`,
        `batch_size`, `clip_norm`, `clip_value`, `bptt_steps`, `memory_budget`, `shuffle`, `seed`,
        `bucket`, `augment`, `steps_per_epoch`.

    Returns
    -------
    LearningRates
        Rates, losses and a suggestion; `fastbptt.plot.learning_rates` draws them.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what came and what was expected.

    Notes
    -----
    The learning-rate range test: Smith, WACV 2017, arXiv:1506.01186, section 3.3. The suggestion
    is the steepest descent of the moving mean before its minimum. It is a start, not an optimum:
    look at the plot.

    Examples
    --------
    >>> import numpy as np, fastbptt
    >>> x = np.random.default_rng(0).normal(size=(200, 10, 1))
    >>> model = fastbptt.RNN(1, 8, 1, seed=0)
    >>> found = fastbptt.find_lr(model, x, x.sum(axis=1), loss="mse", updates=50)
    >>> 1e-4 < found.suggestion < 1.0
    True
    """
    check_model(model)
    low, high = _rate("low", low), _rate("high", high)
    if low >= high:
        raise ArgumentError("low", f"is {low}", f"less than high={high}")
    updates = _check.size("updates", updates)
    if updates < 10:
        raise ArgumentError("updates", f"is {updates}", "at least 10", value=updates)
    for name in options:
        if name not in _OPTIONS:
            raise TypeError(
                f"find_lr has no argument {name}; expected one of {', '.join(_OPTIONS)}"
            )
    rates = np.geomspace(low, high, updates)
    own = _own(optimizer, low)
    recorder = _Losses(updates)
    twin = model.copy()
    try:
        fit(
            twin, x, y, epochs=updates, optimizer=own, schedule=_Rise(rates / low),
            callbacks=[recorder], verbose=0, **options,
        )  # fmt: skip
    except BadArgumentError:
        if not recorder.losses or own.step_count < 1:
            raise  # of the data; later, of a training that has diverged
    losses = np.array(recorder.losses)
    rates = rates[: len(losses)]
    smoothed = _smoothed(losses, max(1, updates // 20))
    return LearningRates(rates, losses, smoothed, _steepest(rates, smoothed))


_OPTIONS = (
    "loss", "steps", "reduction", "lengths", "sample_weight", "class_weight", "warmup", "static",
    "resets", "missing", "batch_size", "clip_norm", "clip_value", "bptt_steps", "memory_budget",
    "shuffle", "seed", "bucket", "augment", "steps_per_epoch",
)  # fmt: skip


def _rate(name: str, value: Any) -> float:
    rate = _check.limit(name, value)
    if not np.isfinite(rate):
        raise ArgumentError(name, f"is {rate}", "a finite number", value=rate)
    return rate


def _own(optimizer: Optimizer | str | None, lr: float) -> Optimizer:
    """Copy or make the optimiser, with the first rate."""
    from ..optim.optimizers import OPTIMIZERS, Adam

    if isinstance(optimizer, Optimizer):
        own = optimizer.copy()
    elif optimizer is None:
        own = Adam()
    else:
        own = OPTIMIZERS[_check.option("optimizer", optimizer, tuple(OPTIMIZERS))]()  # type: ignore[call-arg]
    own.lr = lr
    return own


def _smoothed(values: NDArray[np.float64], reach: int) -> NDArray[np.float64]:
    """Moving mean over `reach` values on either side, of as many as there are at the ends."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    at = np.arange(len(values))
    first, stop = np.maximum(at - reach, 0), np.minimum(at + reach + 1, len(values))
    mean: NDArray[np.float64] = (sums[stop] - sums[first]) / (stop - first)
    return mean


def _steepest(rates: NDArray[np.float64], losses: NDArray[np.float64]) -> float | None:
    end = int(losses.argmin()) + 1
    if end < 3:
        return None
    slope = np.gradient(losses[:end], np.log(rates[:end]))
    at = int(slope.argmin())
    return float(rates[at]) if slope[at] < 0.0 else None
