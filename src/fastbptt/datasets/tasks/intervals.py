"""Ready-set-go: measure an interval, and produce it again."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from ... import _check
from ..._errors import ArgumentError
from . import _durations
from ._durations import Duration, Uniform
from ._kinds import TimedTask, above_zero, during
from ._trials import Trials

__all__ = ["ReadySetGo"]

_ALPHA: Final = 2.8  # of the ramp
_SHORT: Final = Uniform(480.0, 800.0)
_PAST: Final = 1.3  # trials last so many times the interval that is to be produced


@dataclass(frozen=True, kw_only=True)
class ReadySetGo(TimedTask):
    """Ready-set-go: measure the interval between two pulses, and produce it after the second.

    A pulse "ready" and a pulse "set", an interval apart. From the beginning of "set" on the output
    is to rise along a ramp that reaches 1 after `gain` times that interval: "go".

    Parameters
    ----------
    dt : float, default 20
        The length of a step, in milliseconds.
    tau, noise
        As for `PerceptualDecision`; `noise` is 0.01 by default.
    fixation : float or a random duration
        Time before the pulse "ready", in milliseconds.
    interval : float or a random duration, default Uniform(480, 800)
        Time from the beginning of "ready" to that of "set", in milliseconds, longer than `pulse`;
        random ones are rounded to whole steps.
    pulse : float, default 80
        Duration of both pulses, in milliseconds, a multiple of `dt`.
    gain : float, default 1
        Factor of the interval, above 0.
    tolerance : float, default 0.1
        Relative error, above 0 and below 1, up to which a produced interval counts as correct.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what came and what was expected.

    Notes
    -----
    The target at time t after "set" is (exp(t / (a g s)) - 1) / (exp(1 / a) - 1), with a = 2.8, the
    gain g and the interval s: an exponential ramp, as in Wang et al. (2018), scaled so that it
    reaches 1 at g s. Trials go on until 1.3 g s, so that one may be late. Before "set" the target
    is 0. ``conditions`` of the trials: ``"interval"`` and ``"target"``, the interval to be
    produced, in milliseconds.

    References
    ----------
    M. Jazayeri, M. N. Shadlen. Temporal context calibrates interval timing. Nature Neuroscience 13,
    1020-1026, 2010; for networks J. Wang, D. Narain, E. A. Hosseini, M. Jazayeri. Flexible timing
    by temporal scaling of cortical responses. Nature Neuroscience 21, 102-110, 2018; H. Sohn,
    D. Narain, N. Meirhaeghe, M. Jazayeri. Bayesian computation through cortical latent dynamics.
    Neuron 103(5), 934-947, 2019, whose short intervals are 480 to 800 ms.

    Examples
    --------
    >>> from fastbptt.datasets import tasks
    >>> task = tasks.ReadySetGo(gain=1.5)
    >>> trials = task.trials(3, seed=0)
    >>> produced = task.produced(trials.y, trials)       # by a network without errors
    >>> bool((abs(produced - 1.5 * trials.conditions["interval"]) < 5).all())
    True
    """

    name: ClassVar[str] = "ready_set_go"
    reference: ClassVar[str] = "Jazayeri, Shadlen 2010"
    loss = "mse"

    noise: float = 0.01
    fixation: Duration = 100.0
    interval: Duration = _SHORT
    pulse: float = 80.0
    gain: float = 1.0
    tolerance: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_durations("fixation", "interval")
        self._set(pulse=_durations.whole_steps("pulse", self.pulse, self.dt, 1))
        shortest = _durations.shortest(self.interval)
        if round(shortest / self.dt) <= round(self.pulse / self.dt):
            raise ArgumentError(
                "interval",
                f"may be {shortest:g} ms",
                f"more than the duration of a pulse, pulse={self.pulse:g} ms",
                value=shortest,
            )
        self._set(gain=above_zero("gain", self.gain))
        expected = "a relative error above 0 and below 1"
        tolerance = _check.number("tolerance", self.tolerance, expected)
        if not 0 < tolerance < 1:
            raise ArgumentError("tolerance", f"is {tolerance:g}", expected, value=tolerance)
        if not self.gain * shortest < math.inf or self.gain * shortest < self.dt:
            raise ArgumentError(
                "gain", f"is {self.gain:g}", f"a produced interval of at least dt={self.dt:g} ms"
            )
        self._set(tolerance=tolerance)

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the inputs."""
        return "ready", "set"

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs."""
        return ("ramp",)

    def _trials(self, n: int, rng: np.random.Generator) -> Trials:
        start = self._draw(self.fixation, rng, n)
        steps = self._draw(self.interval, rng, n)
        pulse = round(self.pulse / self.dt)
        goal = self.gain * steps  # in steps, not always whole
        after = start + steps
        ends = after + np.ceil(np.maximum(_PAST * goal, pulse)).astype(np.int64) + 1
        time = int(ends.max())
        periods = {
            "ready": np.stack([start, start + pulse], axis=1),
            "set": np.stack([after, after + pulse], axis=1),
            "response": np.stack([after, ends], axis=1),
        }
        x = np.zeros((n, time, 2), np.float32)
        x[..., 0] = during(periods["ready"], time)
        x[..., 1] = during(periods["set"], time)
        since = np.maximum(np.arange(time) - after[:, np.newaxis], 0) / goal[:, np.newaxis]
        # what lies after a trial's end is cut off, and might overflow before
        ramp = np.expm1(np.minimum(since, 2 * _PAST) / _ALPHA) / math.expm1(1 / _ALPHA)
        y = ramp.astype(np.float32)[..., np.newaxis]
        conditions = {"interval": steps * self.dt, "target": goal * self.dt}
        weights = np.ones((n, time), np.float32)
        return self._finish(rng, x, y, weights, ends, conditions, periods)

    def produced(self, outputs: Any, trials: Trials) -> NDArray[np.float64]:
        """Read the produced intervals off a model's outputs.

        Parameters
        ----------
        outputs : array of shape (n, time, 1), or list of arrays (time_i, 1)
            A model's outputs at all steps.
        trials : Trials
            The trials that they are of.

        Returns
        -------
        ndarray of float64, shape (n,)
            The time from the beginning of "set" until the output first crosses 1, in milliseconds,
            interpolated between steps; NaN where it does not.

        Raises
        ------
        ValueError, TypeError
            Naming the argument, what came and what was expected.

        Examples
        --------
        >>> from fastbptt.datasets import tasks
        >>> task = tasks.ReadySetGo(interval=600)
        >>> trials = task.trials(1, seed=0)
        >>> task.produced(trials.y, trials).round(3)
        array([600.])
        """
        z = self._outputs(outputs, trials)[..., 0]
        begins = trials.periods["response"]
        above = (z >= 1 - 1e-6) & during(begins, z.shape[1])
        step = above.argmax(axis=1)
        rows = np.arange(len(z))
        before, here = z[rows, np.maximum(step - 1, 0)], z[rows, step]
        with np.errstate(divide="ignore", invalid="ignore"):
            back = np.where(here > before, (here - 1) / (here - before), 0.0)
        since = step - begins[:, 0]
        found = np.where(since > 0, since - np.clip(back, 0.0, 1.0), 0.0) * self.dt
        return np.where(above.any(axis=1), found, np.nan)

    def score(self, outputs: Any, trials: Trials) -> dict[str, float]:
        """Score a model's outputs: the errors of the produced intervals.

        Parameters
        ----------
        outputs : array of shape (n, time, 1), or list of arrays (time_i, 1)
            A model's outputs at all steps.
        trials : Trials
            The trials that they are of.

        Returns
        -------
        dict of str to float
            ``"correct"``: the fraction of trials whose interval is right within `tolerance`;
            ``"missed"``: the fraction in which the output does not reach 1; of the others
            ``"bias"`` and ``"variability"``: mean and standard deviation of the relative error
            (NaN if there are none).

        Raises
        ------
        ValueError, TypeError
            Naming the argument, what came and what was expected.

        Examples
        --------
        >>> from fastbptt.datasets import tasks
        >>> task = tasks.ReadySetGo()
        >>> trials = task.trials(20, seed=0)
        >>> score = task.score(trials.y, trials)
        >>> score["correct"], score["missed"]
        (1.0, 0.0)
        """
        produced = self.produced(outputs, trials)
        there = ~np.isnan(produced)
        error = (produced / trials.conditions["target"] - 1)[there]
        return {
            "correct": float((abs(error) <= self.tolerance).sum() / len(produced)),
            "missed": float(1 - there.mean()),
            "bias": float(error.mean()) if len(error) else math.nan,
            "variability": float(error.std()) if len(error) else math.nan,
        }
