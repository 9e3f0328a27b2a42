"""Trainings of several networks, described first and then run in one call."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..models import Recurrent
from ..training import Callback, History, TrainingRun, fit, fit_many
from ..training.batches import Computed

__all__ = ["Trained", "Training", "chosen", "train_groups", "train_together"]


class Training(NamedTuple):
    """A call of `fastbptt.fit`."""

    owner: Any  # the estimator
    model: Recurrent
    x: Any
    y: Any
    arguments: dict[str, Any]

    def run(self, verbose: int = 0) -> History:
        return fit(self.model, self.x, self.y, verbose=verbose, **self.arguments)

    @property
    def nbytes(self) -> int:
        """Bytes of the inputs, which are far more than those of the targets."""
        if isinstance(self.x, Computed):
            return 0
        return sum(one.nbytes for one in self.x) if isinstance(self.x, list) else self.x.nbytes


class Trained(NamedTuple):
    """An estimator's attributes after its training, of which it has not told yet."""

    state: dict[str, Any]
    counts: list[int]  # of sequences of each network
    histories: list[History]


def chosen(items: Any, rows: NDArray[np.int64]) -> Any:
    """Return some of the sequences of an array, a list or windows that are computed."""
    if isinstance(items, Computed):
        shape = (len(rows), *items.shape[1:])
        return Computed(shape, lambda some: items.take(rows[some])[0])
    if isinstance(items, list):
        return [items[i] for i in rows]
    return items[rows]


def train_together(trainings: list[Training], verbose: int) -> list[History]:
    """Run trainings of networks of one architecture in one call; return their histories."""
    return [one.history for one in _many(trainings, None, "raise", verbose)]


def train_groups(
    several: list[list[Training]], jobs: int
) -> list[list[tuple[History, float]] | None]:
    """Run the trainings of several estimators, those of one architecture in one call.

    Returns a history and the seconds of each training; None for an estimator whose training has
    failed, and then shows how if it is run alone.
    """
    groups: dict[str, list[tuple[int, Training]]] = {}
    for i, trainings in enumerate(several):
        for one in trainings:
            groups.setdefault(_architecture(one.model), []).append((i, one))
    found: list[list[tuple[History, float]]] = [[] for _ in several]
    failed = set()
    for group in groups.values():
        try:
            fits = _many([one for _, one in group], jobs, "report", 0)
        except Exception:  # an argument that all of them have
            failed |= {i for i, _ in group}
            continue
        for (i, _), one in zip(group, fits, strict=True):
            found[i].append((one.history, one.seconds))
            if one.error is not None:
                failed.add(i)
        if any(one.stopped == "interrupted" for one in fits):
            raise KeyboardInterrupt
    return [None if i in failed else fits for i, fits in enumerate(found)]


class _Keep(Callback):
    """Keeps the optimiser that has trained a network, a copy of the one that was given."""

    optimizer: Any = None

    def on_train_begin(self, run: TrainingRun) -> None:
        self.optimizer = run.optimizer


def _many(trainings: list[Training], jobs: int | None, on_error: str, verbose: int) -> Any:
    columns: dict[str, list[Any]] = {
        "x": [one.x for one in trainings],
        "y": [one.y for one in trainings],
        **{name: [one.arguments[name] for one in trainings] for name in trainings[0].arguments},
    }
    kept = [_Keep() for _ in trainings]
    columns["callbacks"] = [[one] for one in kept]
    common = {name: values[0] for name, values in columns.items() if _same(values)}
    each = {name: values for name, values in columns.items() if name not in common}
    models = [one.model for one in trainings]
    fits = fit_many(models, each=each, jobs=jobs, on_error=on_error, verbose=verbose, **common)
    for training, callback in zip(trainings, kept, strict=True):
        if callback.optimizer is not None:  # else its turn never came
            training.owner._optimizer = callback.optimizer
    return fits


def _same(values: list[Any]) -> bool:
    """Whether all values are one object, or equal ones that may stand for each other."""
    first = values[0]
    if all(one is first for one in values):
        return True
    plain = (int, float, str, bool)
    return all(
        type(one) is type(first) and isinstance(one, plain) and one == first for one in values
    )


def _architecture(model: Recurrent) -> str:
    config = model._config()
    kept = {"cell": config["cell"], "dtype": config["dtype"], **config["arguments"]}
    return json.dumps(kept, sort_keys=True, default=repr)
