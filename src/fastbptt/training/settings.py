"""The settings of a training run: the checked arguments of `fit` besides model and data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import _check
from .._errors import ArgumentError, ArgumentTypeError
from ..optim.schedules import Schedule
from . import code
from .batches import Augmentation
from .callbacks import Callback
from .metrics import Metric
from .stopping import EarlyStopping


@dataclass(frozen=True)
class Settings:
    """The checked arguments of `fastbptt.fit`, besides model, data and optimiser.

    Attributes
    ----------
    update : dict
        Further arguments of `Recurrent.train_step`.
    """

    steps: str
    reduction: str
    epochs: int
    batch_size: int
    shuffle: bool
    seed: int
    bucket: bool
    augment: Augmentation | None
    schedule: Schedule | None
    early_stopping: EarlyStopping | None
    patience: int | None
    min_delta: float
    metrics: tuple[Metric, ...]
    training_metrics: bool
    callbacks: list[Callback]
    update: dict[str, Any]

    def fingerprint(self) -> dict[str, Any]:
        """Return the settings that a resumed run must share, as values that JSON can hold."""
        augment, schedule, early_stopping = self.augment, self.schedule, self.early_stopping
        return {
            "steps": self.steps,
            "reduction": self.reduction,
            "batch_size": self.batch_size,
            "shuffle": self.shuffle,
            "seed": self.seed,
            "bucket": self.bucket,
            "augment": None if augment is None else code.described(augment),
            "options": {k: v for k, v in self.update.items() if k != "memory_budget"},
            "schedule": repr(schedule),
            "epochs": self.epochs if schedule is not None and schedule.needs_end else None,
            "monitor": early_stopping and [early_stopping.curve, early_stopping.keep],
            "patience": self.patience,
            "min_delta": self.min_delta,
            "metrics": [metric.name for metric in self.metrics],
            "training_metrics": self.training_metrics,
            "callbacks": [type(callback).__name__ for callback in self.callbacks],
        }


def check_callbacks(given: Any) -> list[Callback]:
    """Check `callbacks`; return them as a list."""
    try:
        every = [given] if isinstance(given, Callback) else list(given)
    except TypeError:
        came = _check.shown(given)
        raise ArgumentTypeError("callbacks", f"is {came}", "a list of Callback") from None
    for i, one in enumerate(every):
        if not isinstance(one, Callback):
            raise ArgumentTypeError(
                "callbacks", f"is of type {type(one).__name__}", "a fastbptt.Callback", item=i
            )
        for name in dir(type(one)):
            if name.startswith("on_") and not hasattr(Callback, name):
                known = [one for one in vars(Callback) if one.startswith("on_")]
                raise ArgumentError(
                    "callbacks",
                    f"has a method {name}, which is never called",
                    f"{', '.join(known)}, or a name that does not begin with on_",
                    item=i,
                )
    return every


def check_seed(value: Any) -> int:
    """Check `seed`: a whole number of at least 0."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer) or value < 0:
        kind = ArgumentError if isinstance(value, int | np.integer) else ArgumentTypeError
        raise kind("seed", f"is {_check.shown(value)}", "a whole number of at least 0")
    return int(value)
