"""Early stopping: track the best epoch, and stop when no better one follows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .. import _check
from .._check import Floats
from .._errors import ArgumentError
from .metrics import Metric


class EarlyStopping:
    """Monitors one curve, and keeps the weights of its best epoch.

    Parameters
    ----------
    curve : str
        Its name in the history.
    larger_is_better : bool
    min_delta : float
        The least improvement over the best value so far that counts.
    patience : int or None
        Epochs without improvement after which training stops.
    keep : bool
        Whether to keep the best epoch's weights.
    """

    def __init__(
        self,
        curve: str,
        larger_is_better: bool,
        min_delta: float,
        patience: int | None,
        keep: bool,
    ) -> None:
        self.curve = curve
        self.sign = -1.0 if larger_is_better else 1.0
        self._min_delta = min_delta
        self._patience = patience
        self.keep = keep
        self._best = math.inf
        self.best_epoch: int | None = None
        self.weights: Floats | None = None

    def see(self, epoch: int, value: float) -> bool:
        """Record an epoch's value; return whether it is the best so far."""
        value *= self.sign
        if self.best_epoch is not None and not value < self._best - self._min_delta:
            return False
        if math.isnan(value):
            return False
        self._best, self.best_epoch = value, epoch
        return True

    def enough(self, epoch: int) -> bool:
        """Whether patience runs out after this epoch."""
        return self._patience is not None and epoch - (self.best_epoch or 0) >= self._patience

    def state(self) -> dict[str, Any]:
        """Return the state for a checkpoint, except the weights."""
        return {"best": self._best if self.best_epoch else None, "epoch": self.best_epoch}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore the state that `state` returned."""
        self.best_epoch = state["epoch"]
        self._best = math.inf if state["best"] is None else state["best"]


def early_stopping(
    monitor: Any,
    patience: Any,
    min_delta: Any,
    restore_best: Any,
    metrics: tuple[Metric, ...],
    validated: bool,
    on_training: bool,
    losses: Sequence[str] = (),
) -> EarlyStopping | None:
    """Make the `EarlyStopping` for the arguments of `fastbptt.fit`; None: nothing to monitor.

    losses: curves of losses besides ``"loss"``.
    """
    waits = None if patience is None else _check.size("patience", patience)
    expected = "a finite number of at least 0"
    delta = _check.number("min_delta", min_delta, expected)
    if not 0.0 <= delta < math.inf:
        raise ArgumentError("min_delta", f"is {delta}", expected, value=delta)
    keep = patience is not None or monitor is not None
    if restore_best is not None:
        keep = _check.flag("restore_best", restore_best)
    all_losses = ("loss", *losses)
    curves = {
        **dict.fromkeys(all_losses, False),
        **{metric.name: metric.larger_is_better for metric in metrics},
    }
    if monitor is None:
        if not validated:
            if waits is None and not keep:
                if delta:
                    raise ArgumentError(
                        "min_delta",
                        f"is {delta}, but there is nothing to monitor",
                        "validation=, or monitor= with the name of a curve",
                    )
                return None
            name, value = ("restore_best", True) if waits is None else ("patience", waits)
            raise ArgumentError(
                name,
                f"is {value}, but there is no validation data to monitor",
                "validation=, or monitor= with the name of a curve",
            )
        return EarlyStopping("validation_loss", False, delta, waits, keep)
    names = [name for name in curves if validated or on_training or name in all_losses]
    names += [f"validation_{name}" for name in curves] if validated else []
    name = _check.option("monitor", monitor, names)
    bare = name.removeprefix("validation_")
    if validated and name in curves and name not in all_losses:
        name = f"validation_{name}"  # the more telling of a metric's two curves
    return EarlyStopping(name, curves[bare], delta, waits, keep)
