"""Durations in milliseconds, fixed or random, and the steps that they take."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ... import _check
from ..._errors import ArgumentError, ArgumentTypeError

__all__ = ["OneOf", "TruncatedExponential", "Uniform"]


@dataclass(frozen=True)
class Uniform:
    """A random duration, all between two bounds being equally likely.

    Parameters
    ----------
    low, high : float
        Bounds in milliseconds, at least 0; `high` above `low`.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what came and what was expected.

    Examples
    --------
    >>> from fastbptt.datasets import tasks
    >>> task = tasks.DelayedMatchToSample(delay=tasks.Uniform(500, 1500))
    >>> len(set(task.trials(50, seed=0).lengths)) > 1
    True
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        _bounds(self)

    def _draw(self, rng: np.random.Generator, n: int) -> NDArray[np.float64]:
        return rng.uniform(self.low, self.high, n)


@dataclass(frozen=True)
class TruncatedExponential:
    """A random duration, exponentially distributed between two bounds.

    The time that is left says little about how long it has lasted, so that nothing can be timed:
    the usual choice for stimuli of variable duration.

    Parameters
    ----------
    mean : float
        Mean of the exponential distribution before it is cut, in milliseconds, above 0.
    low, high : float
        Bounds in milliseconds, at least 0; `high` above `low`.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what came and what was expected.

    References
    ----------
    R. Kiani, T. D. Hanks, M. N. Shadlen. Bounded integration in parietal cortex underlies
    decisions even when viewing duration is dictated by the environment. Journal of Neuroscience
    28(12), 3017-3029, 2008: stimuli of 80 to 1500 ms, with a mean of 330 ms.

    Examples
    --------
    >>> from fastbptt.datasets import tasks
    >>> task = tasks.PerceptualDecision(stimulus=tasks.TruncatedExponential(330, 80, 1500))
    >>> shown = task.trials(1000, seed=0).conditions["stimulus"]
    >>> bool(shown.min() >= 80), bool(shown.max() <= 1500)
    (True, True)
    """

    mean: float
    low: float
    high: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", _milliseconds("mean", self.mean, above=True))
        _bounds(self)

    def _draw(self, rng: np.random.Generator, n: int) -> NDArray[np.float64]:
        """Draw by the inverse of the distribution function."""
        cut = -math.expm1((self.low - self.high) / self.mean)
        drawn: NDArray[np.float64] = self.low - self.mean * np.log1p(-cut * rng.random(n))
        return np.minimum(drawn, self.high)


@dataclass(frozen=True)
class OneOf:
    """A random duration, one of several, all being equally likely.

    Parameters
    ----------
    values : sequence of float
        Durations in milliseconds, at least 0, each a whole number of steps of the task.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what came and what was expected.

    Examples
    --------
    >>> from fastbptt.datasets import tasks
    >>> task = tasks.ReadySetGo(interval=tasks.OneOf([480, 560, 640, 720, 800]))
    >>> sorted(set(task.trials(100, seed=0).conditions["interval"].tolist()))
    [480.0, 560.0, 640.0, 720.0, 800.0]
    """

    values: tuple[float, ...]

    def __post_init__(self) -> None:
        given: Any = self.values
        if isinstance(given, str | bytes) or not np.iterable(given):
            raise ArgumentTypeError("values", f"is {_check.shown(given)}", "durations in ms")
        found = tuple(_milliseconds(f"values[{i}]", one) for i, one in enumerate(given))
        if not found:
            raise ArgumentError("values", "is empty", "at least one duration in ms")
        object.__setattr__(self, "values", found)

    @property
    def low(self) -> float:
        """The shortest duration, in milliseconds."""
        return min(self.values)

    @property
    def high(self) -> float:
        """The longest duration, in milliseconds."""
        return max(self.values)

    def _draw(self, rng: np.random.Generator, n: int) -> NDArray[np.float64]:
        return np.asarray(self.values)[rng.integers(len(self.values), size=n)]


Random: TypeAlias = Uniform | TruncatedExponential | OneOf
Duration: TypeAlias = float | Random


def _milliseconds(name: str, value: Any, above: bool = False) -> float:
    expected = f"a number of milliseconds {'above' if above else 'of at least'} 0"
    found = _check.number(name, value, expected)
    if not (found > 0 if above else found >= 0) or math.isinf(found):
        raise ArgumentError(name, f"is {found}", expected, value=found)
    return found


def _bounds(made: Uniform | TruncatedExponential) -> None:
    for name in ("low", "high"):
        object.__setattr__(made, name, _milliseconds(name, getattr(made, name)))
    if made.high <= made.low:
        raise ArgumentError("high", f"is {made.high}", f"more than low={made.low}", value=made.high)


def whole_steps(name: str, value: Any, dt: float, least: int = 0) -> float:
    """Check a duration that must be a whole number of steps; return it in milliseconds."""
    found = _milliseconds(name, value)
    steps = round(found / dt)
    if not math.isclose(steps * dt, found, rel_tol=1e-9, abs_tol=1e-9 * dt):
        raise ArgumentError(
            name,
            f"is {found:g} ms",
            f"a multiple of dt={dt:g}: {found // dt * dt:g} or {(found // dt + 1) * dt:g}",
            value=found,
        )
    if steps < least:
        steps_text = "one step" if least == 1 else f"{least} steps"
        raise ArgumentError(
            name,
            f"is {found:g} ms",
            f"at least {steps_text} of dt={dt:g} ms",
            value=found,
        )
    return found


def check(name: str, value: Any, dt: float, least: int) -> Duration:
    """Check a duration of at least so many steps; return a number in milliseconds as a float."""
    if isinstance(value, OneOf):
        for i, one in enumerate(value.values):
            whole_steps(f"{name}.values[{i}]", one, dt, least)
        return value
    if isinstance(value, Uniform | TruncatedExponential):
        if round(value.low / dt) < least:
            raise ArgumentError(
                f"{name}.low",
                f"is {value.low:g} ms",
                f"at least {least * dt:g} ms, with dt={dt:g} ms",
                value=value.low,
            )
        return value
    if isinstance(value, bool | np.bool_ | str | bytes) or not hasattr(value, "__float__"):
        raise ArgumentTypeError(
            name,
            f"is {_check.shown(value)}",
            "a number of milliseconds, or tasks.Uniform(low, high), "
            "tasks.TruncatedExponential(mean, low, high) or tasks.OneOf(values)",
        )
    return whole_steps(name, value, dt, least)


def shortest(duration: Duration) -> float:
    """Return the shortest duration that may be drawn, in milliseconds."""
    return duration if isinstance(duration, float) else duration.low


def draw(duration: Duration, dt: float, rng: np.random.Generator, n: int) -> NDArray[np.int64]:
    """Draw a duration for each of n trials, in steps: the nearest whole number."""
    drawn = np.full(n, duration) if isinstance(duration, float) else duration._draw(rng, n)
    return np.rint(drawn / dt).astype(np.int64)
