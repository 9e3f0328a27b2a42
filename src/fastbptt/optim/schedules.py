"""How the learning rate changes while a model is trained.

A schedule gives a factor for every update; the optimiser's own ``lr``, as it is when `fastbptt.fit`
starts, is multiplied by it, and put back at the end. With S steps per epoch and E epochs, s is the
number of the update, from 0 to S E - 1.

Give `fit` an instance, or a name in `SCHEDULES` for one with its defaults.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Final

from .. import _check
from .._errors import ArgumentError, ArgumentTypeError

__all__ = [
    "SCHEDULES",
    "Constant",
    "Cosine",
    "OneCycle",
    "ReduceOnPlateau",
    "Schedule",
    "StepDecay",
]


class Schedule(ABC):
    """A factor of the learning rate for each update.

    Derive from it for one of your own: `at` is all that is needed; `observe`, `state` and
    `load_state` if it learns from what happens. Its attributes should be what the constructor
    took, under the same names: `_settings` lists them.
    """

    _settings: ClassVar[tuple[str, ...]] = ()
    #: Whether the number of epochs changes the factors before the end.
    needs_end: ClassVar[bool] = False

    @abstractmethod
    def at(self, step: int, steps_per_epoch: int, epochs: int) -> float:
        """Return the factor for an update.

        `fastbptt.fit` asks once for each, in their order, but for many of an epoch before the first
        of them is made.

        Parameters
        ----------
        step : int
            The update's number, from 0.
        steps_per_epoch, epochs : int
        """

    def observe(self, value: float) -> None:  # noqa: B027  # few schedules look at it
        """Take note of an epoch's number; smaller is better."""

    def state(self) -> dict[str, Any]:
        """Return what `load_state` needs after an interruption, as values fit for JSON."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:  # noqa: B027  # as `state`
        """Take up where `state` was called."""

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._settings)
        return f"{type(self).__name__}({settings})"


class Constant(Schedule):
    """The learning rate stays as it is: factor 1.

    Examples
    --------
    >>> import fastbptt
    >>> fastbptt.schedules.Constant().at(step=7, steps_per_epoch=10, epochs=3)
    1.0
    """

    def at(self, step: int, steps_per_epoch: int, epochs: int) -> float:
        """Return 1."""
        return 1.0


class StepDecay(Schedule):
    """Smaller by a factor every so many epochs: ``factor ** floor(s / (S every))``.

    Parameters
    ----------
    every : int, default 30
        Epochs between changes.
    factor : float, default 0.1
        Above 0, and at most 1.

    Examples
    --------
    >>> import fastbptt
    >>> halve = fastbptt.schedules.StepDecay(every=2, factor=0.5)
    >>> [halve.at(step, steps_per_epoch=1, epochs=6) for step in range(6)]
    [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]
    """

    _settings = ("every", "factor")

    def __init__(self, every: int = 30, factor: float = 0.1) -> None:
        self.every = _check.size("every", every)
        self.factor = _number("factor", factor, 0.0, 1.0, open_below=True)

    def at(self, step: int, steps_per_epoch: int, epochs: int) -> float:
        """Return ``factor ** floor(s / (S every))``."""
        return float(self.factor ** (step // (steps_per_epoch * self.every)))


class Cosine(Schedule):
    """Half a cosine from 1 down to `floor`, after a linear warm-up.

    With W = warmup S steps: ``(s + 1) / W`` for s < W, then
    ``floor + (1 - floor) (1 + cos(pi (s - W) / (S E - W))) / 2``. Loshchilov and Hutter, ICLR 2017,
    arXiv:1608.03983, equation 5, without restarts; warm-up: Goyal et al., 2017, arXiv:1706.02677,
    section 2.2.

    Parameters
    ----------
    warmup : float, default 0.0
        Epochs of the warm-up, at least 0; not only whole ones.
    floor : float, default 0.0
        Where it would end, one step after the last; from 0 to 1.

    Examples
    --------
    >>> import fastbptt
    >>> cosine = fastbptt.schedules.Cosine(warmup=0.5)
    >>> [round(cosine.at(step, steps_per_epoch=4, epochs=2), 3) for step in range(8)]
    [0.5, 1.0, 1.0, 0.933, 0.75, 0.5, 0.25, 0.067]
    """

    _settings = ("warmup", "floor")
    needs_end = True

    def __init__(self, warmup: float = 0.0, floor: float = 0.0) -> None:
        self.warmup = _number("warmup", warmup, 0.0)
        self.floor = _number("floor", floor, 0.0, 1.0)

    def at(self, step: int, steps_per_epoch: int, epochs: int) -> float:
        """Return the warm-up's or the cosine's factor."""
        first = self.warmup * steps_per_epoch
        if step < first:
            return min((step + 1) / first, 1.0)
        return _between(1.0, self.floor, step - first, steps_per_epoch * epochs - first)


class OneCycle(Schedule):
    """Up to a peak and down again, once: the one-cycle policy.

    Half a cosine from 1 to `peak` over the first `rise` of all steps, then half a cosine from
    `peak` to `floor`. Smith and Topin, 2019, arXiv:1708.07120, section 3 (there with straight
    lines).

    Parameters
    ----------
    peak : float, default 10.0
        At least 1: the largest factor.
    rise : float, default 0.3
        Share of the steps before the peak, at least 0 and below 1.
    floor : float, default 0.01
        Where it would end, one step after the last; from 0 to 1.

    Examples
    --------
    >>> import fastbptt
    >>> cycle = fastbptt.schedules.OneCycle(peak=3.0, rise=0.5, floor=0.0)
    >>> [round(cycle.at(step, steps_per_epoch=8, epochs=1), 2) for step in range(8)]
    [1.0, 1.29, 2.0, 2.71, 3.0, 2.56, 1.5, 0.44]
    """

    _settings = ("peak", "rise", "floor")
    needs_end = True

    def __init__(self, peak: float = 10.0, rise: float = 0.3, floor: float = 0.01) -> None:
        self.peak = _number("peak", peak, 1.0)
        self.rise = _number("rise", rise, 0.0, 1.0, open_above=True)
        self.floor = _number("floor", floor, 0.0, 1.0)

    def at(self, step: int, steps_per_epoch: int, epochs: int) -> float:
        """Return the factor on the way up or down."""
        total = steps_per_epoch * epochs
        top = self.rise * total
        if step < top:
            return _between(1.0, self.peak, step, top)
        return _between(self.peak, self.floor, step - top, total - top)


class ReduceOnPlateau(Schedule):
    """Smaller by a factor whenever the watched number has not become better for some epochs.

    The number is the one that `fit` monitors: `monitor`, or the validation loss, or without
    validation data the loss. After `patience` epochs in a row that did not undercut the smallest
    so far by more than `min_delta`, the factor is multiplied by `factor`, but not below `floor`,
    and counting starts again after `cooldown` epochs.

    Parameters
    ----------
    factor : float, default 0.1
        Above 0, and below 1.
    patience : int, default 10
    min_delta : float, default 0.0
    cooldown : int, default 0
        Epochs after a change that do not count.
    floor : float, default 0.0
        From 0 to 1.

    Examples
    --------
    >>> import fastbptt
    >>> plateau = fastbptt.schedules.ReduceOnPlateau(factor=0.5, patience=2)
    >>> for loss in (1.0, 0.9, 0.95, 0.9):
    ...     plateau.observe(loss)
    >>> plateau.at(step=4, steps_per_epoch=1, epochs=9)
    0.5
    """

    _settings = ("factor", "patience", "min_delta", "cooldown", "floor")

    def __init__(
        self,
        factor: float = 0.1,
        patience: int = 10,
        min_delta: float = 0.0,
        cooldown: int = 0,
        floor: float = 0.0,
    ) -> None:
        self.factor = _number("factor", factor, 0.0, 1.0, open_below=True, open_above=True)
        self.patience = _check.size("patience", patience)
        self.min_delta = _number("min_delta", min_delta, 0.0)
        self.cooldown = 0 if cooldown == 0 else _check.size("cooldown", cooldown)
        self.floor = _number("floor", floor, 0.0, 1.0)
        self._scale, self._best = 1.0, math.inf
        self._waited = self._cooling = 0  # epochs

    def at(self, step: int, steps_per_epoch: int, epochs: int) -> float:
        """Return the factor that the epochs so far have led to."""
        return self._scale

    def observe(self, value: float) -> None:
        """Count epochs without a better number."""
        better = value < self._best - self.min_delta
        if better:
            self._best = value
        if self._cooling:
            self._cooling -= 1
            return
        self._waited = 0 if better else self._waited + 1
        if self._waited >= self.patience:
            self._scale = max(self._scale * self.factor, self.floor)
            self._waited, self._cooling = 0, self.cooldown

    def state(self) -> dict[str, Any]:
        """Return the factor, the smallest number so far, and the epochs that were counted."""
        best = self._best if math.isfinite(self._best) else None
        return {
            "scale": self._scale,
            "best": best,
            "waited": self._waited,
            "cooling": self._cooling,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Take up where `state` was called."""
        _check.same_names("state", state, ("scale", "best", "waited", "cooling"))
        numbers = {name: state[name] for name in ("scale", "best") if state[name] is not None}
        counts = {name: state[name] for name in ("waited", "cooling")}
        for name, value in numbers.items():
            if type(value) not in (int, float) or not math.isfinite(value):
                came = f"is {_check.shown(value)}"
                raise ArgumentError(f"state[{name!r}]", came, "a finite number")
        for name, value in counts.items():
            if type(value) is not int or value < 0:
                came = f"is {_check.shown(value)}"
                raise ArgumentError(f"state[{name!r}]", came, "a whole number from 0 up")
        if not 0.0 <= numbers.get("scale", -1.0) <= 1.0:
            raise ArgumentError("state['scale']", f"is {state['scale']}", "a number from 0 to 1")
        self._scale, self._waited, self._cooling = state["scale"], *counts.values()
        self._best = numbers.get("best", math.inf)


#: Schedules by the name that `fit` and command lines know them by.
SCHEDULES: Final[dict[str, type[Schedule]]] = {
    "constant": Constant,
    "step": StepDecay,
    "cosine": Cosine,
    "one_cycle": OneCycle,
    "plateau": ReduceOnPlateau,
}


def resolve(given: Any) -> Schedule | None:
    """Make a schedule of a name; take an instance as it is."""
    if given is None or isinstance(given, Schedule):
        return given
    if isinstance(given, str):
        return SCHEDULES[_check.option("schedule", given, SCHEDULES)]()
    names = ", ".join(f'"{name}"' for name in SCHEDULES)
    raise ArgumentTypeError(
        "schedule",
        f"is {_check.shown(given)}",
        f"None, a fastbptt.schedules.Schedule or one of {names}",
    )


def _between(start: float, end: float, step: float, steps: float) -> float:
    """Half a cosine from `start` at step 0 to `end` after all steps."""
    share = min(step / steps, 1.0) if steps > 0 else 1.0
    return end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * share))


def _number(
    name: str,
    value: Any,
    least: float,
    most: float = math.inf,
    open_below: bool = False,
    open_above: bool = False,
) -> float:
    below = f"above {least:g}" if open_below else f"of at least {least:g}"
    above = ""
    if most < math.inf:
        above = f" and {'below' if open_above else 'at most'} {most:g}"
    expected = f"a finite number {below}{above}"
    number = _check.number(name, value, expected)
    fine = (number > least if open_below else number >= least) and (
        number < most if open_above or most == math.inf else number <= most
    )
    if not fine:
        raise ArgumentError(name, f"is {number}", expected, value=number)
    return number
