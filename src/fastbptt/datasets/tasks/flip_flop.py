"""The n-bit flip-flop: remember the sign of the last pulse of each input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ... import _check
from ..._errors import ArgumentError
from . import _durations
from ._durations import Duration
from ._kinds import TimedTask, above_zero
from ._trials import Trials

__all__ = ["FlipFlop"]


@dataclass(frozen=True, kw_only=True)
class FlipFlop(TimedTask):
    """n-bit flip-flop: each output is the sign of the last pulse of its own input.

    Inputs are 0 but for pulses of one step, 1 or -1 at random. In the first step each input has a
    pulse, so that all targets are known.

    Parameters
    ----------
    bits : int, default 3
        The number of inputs and outputs.
    dt : float, default 20
        The length of a step, in milliseconds.
    tau, noise
        As for `PerceptualDecision`; `noise` is 0 by default.
    duration : float or a random duration, default 2000
        The length of a trial, in milliseconds.
    rate : float, default 2.5
        Pulses of each input in a second, on average, above 0; at most one in each step.
    grace : float, default 0
        After a pulse neither the loss nor the score counts for so many milliseconds, for networks
        that need time to switch; a multiple of `dt`.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what came and what was expected.

    Notes
    -----
    The steps of a mask are the same for all outputs, so `grace` begins with a pulse of any input.

    References
    ----------
    D. Sussillo, O. Barak. Opening the black box: low-dimensional dynamics in high-dimensional
    recurrent neural networks. Neural Computation 25(3), 626-649, 2013.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbptt.datasets import tasks
    >>> trials = tasks.FlipFlop(bits=2).trials(5, seed=0)
    >>> pulses = trials.x != 0
    >>> np.array_equal(trials.x[pulses], trials.y[pulses])
    True
    """

    name: ClassVar[str] = "flip_flop"
    reference: ClassVar[str] = "Sussillo, Barak 2013"
    goal: ClassVar[float] = 0.99
    loss = "mse"

    bits: int = 3
    duration: Duration = 2000.0
    rate: float = 2.5
    grace: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set(bits=_check.size("bits", self.bits), rate=above_zero("rate", self.rate))
        self._check_durations("duration", least=1)
        if self.rate * self.dt > 1000:
            raise ArgumentError(
                "rate",
                f"is {self.rate:g} per second",
                f"at most {1000 / self.dt:g}, one in each step of dt={self.dt:g} ms",
                value=self.rate,
            )
        grace = _durations.whole_steps("grace", self.grace, self.dt)
        shortest = _durations.shortest(self.duration)
        if grace >= shortest:
            raise ArgumentError(
                "grace", f"is {grace:g} ms", f"less than a trial, {shortest:g} ms", value=grace
            )
        self._set(grace=grace)

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the inputs."""
        return tuple(f"bit {i}" for i in range(self.bits))

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs."""
        return self.input_names

    def _trials(self, n: int, rng: np.random.Generator) -> Trials:
        ends = self._draw(self.duration, rng, n)
        time = int(ends.max())
        pulse = rng.random((n, time, self.bits)) < self.rate * self.dt / 1000
        pulse[:, 0] = True
        x = np.where(pulse, 1 - 2 * rng.integers(2, size=pulse.shape), 0).astype(np.float32)
        last = np.maximum.accumulate(np.where(pulse, np.arange(time)[:, np.newaxis], 0), axis=1)
        y = np.take_along_axis(x, last, axis=1)
        weights = np.ones((n, time), np.float32)
        after = np.any(pulse, axis=2)
        for delay in range(round(self.grace / self.dt)):
            weights[:, delay:][after[:, : time - delay]] = 0
        periods = {"trial": np.stack([np.zeros(n, np.int64), ends], axis=1)}
        return self._finish(rng, x, y, weights, ends, {}, periods)

    def score(self, outputs: Any, trials: Trials) -> dict[str, float]:
        """Score a model's outputs: how often they have the right sign.

        Parameters
        ----------
        outputs : array of shape (n, time, bits), or list of arrays (time_i, bits)
            A model's outputs at all steps.
        trials : Trials
            The trials that they are of.

        Returns
        -------
        dict of str to float
            ``"correct"``: the fraction of outputs with the right sign, of all steps that count in
            the loss; ``"trials"``: the fraction of trials without any error.

        Raises
        ------
        ValueError, TypeError
            Naming the argument, what came and what was expected; if no step counts.

        Examples
        --------
        >>> from fastbptt.datasets import tasks
        >>> task = tasks.FlipFlop()
        >>> trials = task.trials(20, seed=0)
        >>> task.score(0.1 * trials.y, trials)
        {'correct': 1.0, 'trials': 1.0}
        """
        right = self._outputs(outputs, trials) * trials.y > 0
        counted = trials.weights > 0
        if not counted.any():
            raise ArgumentError("trials", "has no step that counts", "a smaller grace")
        whole = (right.all(axis=2) | ~counted).all(axis=1)
        return {"correct": float(right[counted].mean()), "trials": float(whole.mean())}
