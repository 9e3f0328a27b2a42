"""Base classes of the tasks: settings, noise, batches, and the scores of choices."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from ... import _check
from ..._errors import ArgumentError, ArgumentTypeError
from . import _durations
from ._durations import Duration
from ._trials import Trials

LOW: Final = 0.2  # the output of a choice that is not taken
HIGH: Final = 1.0  # that of one that is
_LARGEST: Final = 1e37  # of noise: float32 holds ten times as much
RESPONDS: Final = LOW + (HIGH - LOW) / 4  # an output above it is a response

Steps = NDArray[np.int64]


class Task(ABC):
    """A task of which any number of fresh trials can be drawn.

    Attributes
    ----------
    name : str
        Its name in `TASKS`.
    reference : str
        The paper that it is from.
    goal : float
        The fraction ``"correct"`` of `score` from which it counts as learned.
    input_names, output_names : tuple of str
        What each input and each output stands for.
    loss, steps : str
        The objective of its trials.
    """

    name: ClassVar[str]
    reference: ClassVar[str]
    goal: ClassVar[float] = 0.9
    steps: ClassVar[str] = "all"
    loss: str
    dt: float

    @property
    @abstractmethod
    def input_names(self) -> tuple[str, ...]:
        """Names of the inputs."""

    @property
    @abstractmethod
    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs."""

    @property
    def input_size(self) -> int:
        """The number of inputs of a model for this task."""
        return len(self.input_names)

    @property
    def output_size(self) -> int:
        """The number of outputs of a model for this task."""
        return len(self.output_names)

    @property
    def objective(self) -> dict[str, Any]:
        """The arguments of `fit` and of a model's methods: loss and steps."""
        return {"loss": self.loss, "steps": self.steps}

    def trials(self, n: int, *, seed: int | np.random.Generator | None = None) -> Trials:
        """Draw fresh trials.

        Parameters
        ----------
        n : int
            How many, at least 1.
        seed : int, numpy.random.Generator or None, default None
            Equal seeds give equal trials. A generator continues from its state.

        Returns
        -------
        Trials
            Inputs, targets, weights of steps, conditions.

        Raises
        ------
        ValueError, TypeError
            Naming the argument, what came and what was expected.

        Examples
        --------
        >>> import fastbptt
        >>> from fastbptt.datasets import tasks
        >>> task = tasks.PerceptualDecision()
        >>> trials = task.trials(32, seed=0)
        >>> model = fastbptt.GRU(task.input_size, 16, task.output_size, seed=0)
        >>> loss = model.train_step(trials.x, trials.y, fastbptt.Adam(), **trials.arguments)
        >>> trials.x.shape, trials.y.shape, trials.weights.shape
        ((32, 60, 3), (32, 60), (32, 60))
        """
        return self._trials(_check.size("n", n), _check.generator(seed))

    def batches(
        self, batch_size: int, *, seed: int | np.random.Generator | None = None
    ) -> Iterator[tuple[Any, Any, Any]]:
        """Draw batches of fresh trials without end, for `fit`.

        Parameters
        ----------
        batch_size : int
            Trials in a batch, at least 1.
        seed : int, numpy.random.Generator or None, default None
            Equal seeds give equal batches. A generator continues from its state.

        Returns
        -------
        iterator of (x, y, weights)
            Arrays as those of `trials`; where trials differ in length, lists of one array for each
            trial, so that no time is lost on padding.

        Raises
        ------
        ValueError, TypeError
            Naming the argument, what came and what was expected.

        Examples
        --------
        >>> import fastbptt
        >>> from fastbptt.datasets import tasks
        >>> task = tasks.FlipFlop(bits=2)
        >>> model = fastbptt.GRU(task.input_size, 16, task.output_size, seed=0)
        >>> history = fastbptt.fit(
        ...     model, task.batches(16, seed=0), **task.objective, steps_per_epoch=10, epochs=2,
        ...     verbose=0,
        ... )
        >>> history["loss"][1] < history["loss"][0]
        True
        """
        size, rng = _check.size("batch_size", batch_size), _check.generator(seed)
        return (_parts(self._trials(size, rng)) for _ in iter(int, 1))

    @abstractmethod
    def _trials(self, n: int, rng: np.random.Generator) -> Trials: ...

    @abstractmethod
    def score(self, outputs: Any, trials: Trials) -> dict[str, float]:
        """Score a model's outputs, as the field does."""

    def _outputs(self, outputs: Any, trials: Any) -> NDArray[np.float64]:
        """Check outputs of trials, an array or a list, as an array (n, time, outputs)."""
        if not isinstance(trials, Trials):
            raise ArgumentTypeError(
                "trials", f"is of type {type(trials).__name__}", "the result of task.trials"
            )
        shape = (len(trials), trials.x.shape[1], self.output_size)
        expected = f'{shape}, the result of predict(model, trials.x, trials.lengths, steps="all")'
        if isinstance(outputs, list | tuple) and len(outputs) == len(trials):
            padded = np.zeros(shape)
            for i, (one, end) in enumerate(zip(outputs, trials.ends.tolist(), strict=True)):
                part = _check.read("outputs", one, item=i)
                if part.shape != (end, self.output_size):
                    raise ArgumentError(
                        "outputs", f"has shape {part.shape}", f"({end}, {self.output_size})", item=i
                    )
                padded[i, :end] = part
            found = padded
        else:
            found = _check.read("outputs", outputs)
            if found.shape != shape:
                raise ArgumentError("outputs", f"has shape {found.shape}", expected)
            if found.dtype.kind not in "fiu":
                raise ArgumentTypeError("outputs", f"has dtype {found.dtype}", "numbers")
            found = found.astype(np.float64)
        bad = ~np.isfinite(found) & within(trials.ends, found.shape[1])[:, :, np.newaxis]
        if bad.any():
            place = tuple(int(one) for one in np.argwhere(bad)[0])
            raise ArgumentError("outputs", f"holds {found[place]}", "finite numbers", index=place)
        return found


def _parts(trials: Trials) -> tuple[Any, Any, Any]:
    """Return inputs, targets and weights as `fit` takes them from an iterator."""
    every = trials.x, trials.y, trials.weights
    if trials.lengths is None:
        return every
    x, y, weights = (
        [one[:end] for one, end in zip(part, trials.lengths, strict=True)] for part in every
    )
    return x, y, weights


def within(ends: Steps, time: int) -> NDArray[np.bool_]:
    """Tell which steps (n, time) lie before each trial's end."""
    found: NDArray[np.bool_] = np.arange(time) < ends[:, np.newaxis]
    return found


def during(period: Steps, time: int) -> NDArray[np.bool_]:
    """Tell which steps (n, time) lie in a period (n, 2) of each trial."""
    t = np.arange(time)
    found: NDArray[np.bool_] = (t >= period[:, :1]) & (t < period[:, 1:])
    return found


def levels(name: str, values: Any, what: str, low: float, high: float) -> tuple[float, ...]:
    """Check several numbers between two bounds, none twice."""
    expected = f"{what} between {low:g} and {high:g}"
    if isinstance(values, str | bytes) or not np.iterable(values):
        raise ArgumentTypeError(name, f"is {_check.shown(values)}", f"a sequence of {expected}")
    found = tuple(_check.number(f"{name}[{i}]", one, expected) for i, one in enumerate(values))
    for i, one in enumerate(found):
        if not low <= one <= high:
            raise ArgumentError(name, f"is {one:g}", expected, item=i, value=one)
        if one in found[:i]:
            raise ArgumentError(name, f"has {one:g} twice", "each once")
    if not found:
        raise ArgumentError(name, "is empty", f"at least one {what}")
    return found


def above_zero(name: str, value: Any) -> float:
    """Return a finite number above 0."""
    expected = "a finite number above 0"
    found = _check.number(name, value, expected)
    if not 0 < found < math.inf:
        raise ArgumentError(name, f"is {found}", expected, value=found)
    return found


def at_least_zero(name: str, value: Any) -> float:
    """Return a finite number of at least 0."""
    expected = "a number of at least 0"
    found = _check.number(name, value, expected)
    if not 0 <= found < math.inf:
        raise ArgumentError(name, f"is {found:g}", expected, value=found)
    return found


@dataclass(frozen=True, kw_only=True)
class TimedTask(Task):
    """A task in steps of `dt`, with noise in its inputs."""

    dt: float = 20.0
    tau: float = 100.0
    noise: float = 0.0

    def __post_init__(self) -> None:
        self._set(
            dt=above_zero("dt", self.dt),
            tau=above_zero("tau", self.tau),
            noise=at_least_zero("noise", self.noise),
        )
        if self.tau < self.dt:
            raise ArgumentError("tau", f"is {self.tau:g}", f"at least dt={self.dt:g}")
        if not self._scale <= _LARGEST:
            came = f"is {self.noise:g}, which is {self._scale:g} in each step"
            raise ArgumentError("noise", came, f"at most {_LARGEST:g} there", value=self.noise)

    @property
    def _scale(self) -> float:
        """Standard deviation of the noise in each step."""
        return self.noise * math.sqrt(2 * (self.tau / self.dt))

    def _set(self, **settings: Any) -> None:
        for name, value in settings.items():
            object.__setattr__(self, name, value)

    def _check_durations(self, *names: str, least: int = 0) -> None:
        for name in names:
            found = _durations.check(name, getattr(self, name), self.dt, least)
            self._set(**{name: found})

    def _draw(self, duration: Duration, rng: np.random.Generator, n: int) -> Steps:
        return _durations.draw(duration, self.dt, rng, n)

    def _layout(
        self, rng: np.random.Generator, n: int, durations: dict[str, Duration]
    ) -> tuple[dict[str, Steps], int]:
        """Draw the periods, one after the other; return them with the steps of the longest."""
        start = np.zeros(n, np.int64)
        periods = {}
        for name, duration in durations.items():
            stop = start + self._draw(duration, rng, n)
            periods[name] = np.stack([start, stop], axis=1)
            start = stop
        return periods, int(start.max())

    def _finish(
        self,
        rng: np.random.Generator,
        x: NDArray[np.float32],
        y: NDArray[Any],
        weights: NDArray[np.float32],
        ends: Steps,
        conditions: dict[str, NDArray[Any]],
        periods: dict[str, Steps],
    ) -> Trials:
        """Add the noise; leave nothing after a trial's end."""
        if self.noise:
            x += np.float32(self._scale) * rng.standard_normal(x.shape, np.float32)
        lengths = None
        if (ends != x.shape[1]).any():
            lengths, after = ends, ~within(ends, x.shape[1])
            x[after], y[after], weights[after] = 0, 0, 0
        return Trials(x, y, weights, lengths, conditions, periods, self.loss, self.steps, self.dt)


@dataclass(frozen=True, kw_only=True)
class ChoiceTask(TimedTask):
    """A task whose answer is one of two choices, given after the fixation input has ended."""

    fixation: Duration = 100.0
    response: Duration = 300.0
    grace: float = 100.0
    response_weight: float = 5.0
    hold: bool = True
    catch: float = 0.0
    loss: str = "cross_entropy"

    #: the two choices
    choice_names: ClassVar[tuple[str, str]]
    #: further inputs, after the one for fixation
    stimuli: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_durations("fixation")
        self._check_durations("response", least=1)
        share = _check.number("catch", self.catch, _FRACTION)
        if not 0 <= share < 1:
            raise ArgumentError("catch", f"is {share:g}", _FRACTION, value=share)
        grace = _durations.whole_steps("grace", self.grace, self.dt)
        shortest = _durations.shortest(self.response)
        if grace >= shortest:
            raise ArgumentError(
                "grace",
                f"is {grace:g} ms",
                f"less than the shortest response, {shortest:g} ms",
                value=grace,
            )
        self._set(
            grace=grace,
            response_weight=above_zero("response_weight", self.response_weight),
            hold=_check.flag("hold", self.hold),
            catch=share,
            loss=_check.option("loss", self.loss, ("cross_entropy", "mse")),
        )

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the inputs: the fixation cue, then the stimuli."""
        return ("fixation", *self._stimuli())

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs; with the loss "mse" there is none for fixation."""
        return self.choice_names if self.loss == "mse" else ("fixation", *self.choice_names)

    def _stimuli(self) -> tuple[str, ...]:
        return self.stimuli

    def _answered(
        self,
        rng: np.random.Generator,
        x: NDArray[np.float32],
        choice: NDArray[np.int64],
        periods: dict[str, Steps],
        conditions: dict[str, NDArray[Any]],
    ) -> Trials:
        """Complete trials whose stimuli are in x: catch trials, the fixation cue, targets."""
        n, time = x.shape[:2]
        caught = np.less(rng.random(n), self.catch)
        choice = np.where(caught, 0, choice)
        x[caught] = 0
        ends, start = periods["response"][:, 1], periods["response"][:, 0]
        x[..., 0] = within(np.where(caught, ends, start), time)
        answer = during(periods["response"], time)
        classes = np.where(answer, choice[:, np.newaxis], 0)
        y: NDArray[Any] = classes
        if self.loss == "mse":
            taken = classes[..., np.newaxis] == np.arange(1, len(self.choice_names) + 1)
            y = np.where(taken, np.float32(HIGH), np.float32(LOW))
        weights = np.ones((n, time), np.float32)
        if not self.hold:
            weights[~during(periods["fixation"], time)] = 0
        weights[answer] = self.response_weight
        grace = round(self.grace / self.dt)
        weights[during(np.stack([start, start + grace], axis=1), time)] = 0
        conditions = {**conditions, "choice": choice, "catch": caught}
        return self._finish(rng, x, y, weights, ends, conditions, periods)

    def _decidable(self, trials: Trials) -> NDArray[np.bool_]:
        """Tell in which trials one choice is better than the other."""
        return np.ones(len(trials), np.bool_)

    def _responses(self, outputs: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the choice at each step, from 1; 0: none."""
        if self.loss == "mse":
            taken = outputs.argmax(axis=-1) + 1
            return np.where(outputs.max(axis=-1) > RESPONDS, taken, 0).astype(np.int64)
        found: NDArray[np.int64] = outputs.argmax(axis=-1)
        return found

    def choices(self, outputs: Any, trials: Trials) -> NDArray[np.int64]:
        """Read the choices off a model's outputs: those at the last step of each trial.

        Parameters
        ----------
        outputs : array of shape (n, time, output_size), or list of arrays (time_i, output_size)
            A model's outputs at all steps, before any softmax.
        trials : Trials
            The trials that they are of.

        Returns
        -------
        ndarray of int64, shape (n,)
            1 or 2, the largest output; 0 where that is the one for fixation, or, with the loss
            "mse", where no output is above 0.4: a response withheld.

        Raises
        ------
        ValueError, TypeError
            Naming the argument, what came and what was expected.

        Examples
        --------
        >>> import numpy as np
        >>> from fastbptt.datasets import tasks
        >>> task = tasks.PerceptualDecision()
        >>> trials = task.trials(5, seed=0)
        >>> right = np.eye(3)[trials.y]              # outputs of a network without errors
        >>> np.array_equal(task.choices(right, trials), trials.conditions["choice"])
        True
        """
        found = self._outputs(outputs, trials)
        return self._responses(found[np.arange(len(found)), trials.ends - 1])

    def score(self, outputs: Any, trials: Trials) -> dict[str, float]:
        """Score a model's outputs: choices, and whether it held fixation.

        Parameters
        ----------
        outputs : array of shape (n, time, output_size), or list of arrays (time_i, output_size)
            A model's outputs at all steps, before any softmax.
        trials : Trials
            The trials that they are of.

        Returns
        -------
        dict of str to float
            ``"correct"``: the fraction of right choices, as `choices` reads them, among trials
            with a right choice (not those without evidence, nor catch trials). ``"fixation"``:
            the fraction of trials without a response before it was due, at the steps that count
            in the loss. ``"catch"``, if there are catch trials: the fraction without a response.

        Raises
        ------
        ValueError, TypeError
            Naming the argument, what came and what was expected; if no trial has a right choice.

        Examples
        --------
        >>> import fastbptt
        >>> from fastbptt.datasets import tasks
        >>> task = tasks.PerceptualDecision(catch=0.1)
        >>> trials = task.trials(100, seed=0)
        >>> model = fastbptt.GRU(task.input_size, 8, task.output_size, seed=0)
        >>> outputs = fastbptt.predict(model, trials.x, trials.lengths, steps="all")
        >>> list(task.score(outputs, trials))
        ['correct', 'fixation', 'catch']
        """
        found = self._outputs(outputs, trials)
        every = self._responses(found)
        last = every[np.arange(len(found)), trials.ends - 1]
        right, caught = trials.conditions["choice"], trials.conditions["catch"]
        counted = self._decidable(trials) & ~caught
        if not counted.any():
            raise ArgumentError("trials", "has no trial with a right choice", "at least one")
        before = np.arange(found.shape[1]) < trials.periods["response"][:, :1]
        early = (every > 0) & before & (trials.weights > 0)
        score = {
            "correct": float((last == right)[counted].mean()),
            "fixation": float(1 - early.any(axis=1).mean()),
        }
        if caught.any():
            score["catch"] = float((last == 0)[caught].mean())
        return score


_FRACTION: Final = "a fraction of the trials, at least 0 and less than 1"


def drawn_from(values: Sequence[float], rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    """Draw one of several numbers for each of n trials."""
    return np.asarray(values, np.float64)[rng.integers(len(values), size=n)]
