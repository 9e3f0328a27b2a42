"""Trials of a task: inputs, targets, weights of steps, and what was shown in each of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Trials"]


@dataclass(frozen=True, eq=False)
class Trials:
    """A batch of trials of a task.

    Attributes
    ----------
    x : ndarray of shape (n, time, inputs)
        Inputs, float32; 0 after a trial's end.
    y : ndarray of shape (n, time) or (n, time, outputs)
        Targets: classes, int64, or numbers, float32, as `loss` has them.
    weights : ndarray of shape (n, time)
        What each step counts in the loss, float32, the `sample_weight` of the package's losses; 0
        where the task asks for nothing, and after a trial's end.
    lengths : ndarray of shape (n,) or None
        The number of steps of each trial, int64, if they differ.
    conditions : dict of str to ndarray of shape (n,)
        What was shown in each trial, and what would be right.
    periods : dict of str to ndarray of shape (n, 2)
        First step of each period of each trial, and the step after its last one, int64.
    loss, steps : str
        The objective that the targets are for; `steps` is ``"all"``.
    dt : float
        The length of a step, in milliseconds.
    """

    x: NDArray[np.float32]
    y: NDArray[Any]
    weights: NDArray[np.float32]
    lengths: NDArray[np.int64] | None
    conditions: dict[str, NDArray[Any]]
    periods: dict[str, NDArray[np.int64]]
    loss: str
    steps: str
    dt: float

    def __len__(self) -> int:
        return len(self.x)

    @property
    def arguments(self) -> dict[str, Any]:
        """Those of a model's methods and of `evaluate`: loss, steps, lengths, sample_weight."""
        return {
            "loss": self.loss,
            "steps": self.steps,
            "lengths": self.lengths,
            "sample_weight": self.weights,
        }

    @property
    def validation(self) -> tuple[Any, ...]:
        """The argument `validation` of `fit`: x, y, lengths, weights."""
        return self.x, self.y, self.lengths, self.weights

    @property
    def ends(self) -> NDArray[np.int64]:
        """The number of steps of each trial, also where they are all the same."""
        if self.lengths is not None:
            return self.lengths
        return np.full(len(self.x), self.x.shape[1], np.int64)
