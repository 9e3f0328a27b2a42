"""Tasks in which a stimulus must be remembered until a second one is compared with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ... import _check
from ..._errors import ArgumentError, ArgumentTypeError
from ._durations import Duration
from ._kinds import ChoiceTask, above_zero, during
from ._trials import Trials

__all__ = ["DelayedMatchToSample", "ParametricWorkingMemory"]


@dataclass(frozen=True, kw_only=True)
class DelayedMatchToSample(ChoiceTask):
    """Delayed match to sample: tell whether the second stimulus is the same as the first.

    One of several stimuli, each an input of its own, is shown, then nothing for some time, then a
    test stimulus, in half of the trials the same one. When fixation ends, the network says "match"
    (choice 1) or "non-match" (choice 2).

    Parameters
    ----------
    n_stimuli : int, default 4
        The number of stimuli, at least 2.
    fixation, sample, delay, test, response : float or a random duration
        Periods of a trial, in milliseconds, in this order.
    dt, tau, noise, grace, response_weight, hold, catch, loss
        As for `PerceptualDecision`.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what came and what was expected.

    Notes
    -----
    ``conditions`` of the trials: ``"sample"`` and ``"test"``, the numbers of the stimuli;
    ``"match"``; ``"choice"``, the right one, 0 in catch trials; ``"catch"``. In the paper monkeys
    see pictures, and several tests that do not match before the one that does.

    References
    ----------
    E. K. Miller, C. A. Erickson, R. Desimone. Neural mechanisms of visual working memory in
    prefrontal cortex of the macaque. Journal of Neuroscience 16(16), 5154-5167, 1996.

    Examples
    --------
    >>> from fastbptt.datasets import tasks
    >>> task = tasks.DelayedMatchToSample(n_stimuli=3)
    >>> shown = task.trials(100, seed=0).conditions
    >>> bool(((shown["sample"] == shown["test"]) == (shown["choice"] == 1)).all())
    True
    """

    name: ClassVar[str] = "delayed_match_to_sample"
    reference: ClassVar[str] = "Miller, Erickson, Desimone 1996"
    choice_names: ClassVar[tuple[str, str]] = ("match", "non-match")

    noise: float = 0.05
    n_stimuli: int = 4
    sample: Duration = 500.0
    delay: Duration = 1000.0
    test: Duration = 500.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_durations("sample", "test", least=1)
        self._check_durations("delay")
        self._set(n_stimuli=_check.size("n_stimuli", self.n_stimuli, 2))

    def _stimuli(self) -> tuple[str, ...]:
        return tuple(f"stimulus {i}" for i in range(self.n_stimuli))

    def _trials(self, n: int, rng: np.random.Generator) -> Trials:
        periods, time = self._layout(
            rng,
            n,
            {
                "fixation": self.fixation,
                "sample": self.sample,
                "delay": self.delay,
                "test": self.test,
                "response": self.response,
            },
        )
        sample = rng.integers(self.n_stimuli, size=n)
        match = rng.integers(2, size=n) == 0
        other = (sample + rng.integers(1, self.n_stimuli, size=n)) % self.n_stimuli
        test = np.where(match, sample, other)
        x = np.zeros((n, time, self.input_size), np.float32)
        for i in range(self.n_stimuli):
            for period, which in (("sample", sample), ("test", test)):
                x[..., 1 + i] += during(periods[period], time) & (which == i)[:, np.newaxis]
        conditions = {"sample": sample, "test": test, "match": match}
        return self._answered(rng, x, np.where(match, 1, 2), periods, conditions)


@dataclass(frozen=True, kw_only=True)
class ParametricWorkingMemory(ChoiceTask):
    """Parametric working memory: tell which of two frequencies, seconds apart, was higher.

    A frequency is two inputs, of which one grows with it from 0.2 to 1 and the other falls. When
    fixation ends, the network says whether the first was higher (choice 1) or the second (2).

    Parameters
    ----------
    pairs : sequence of pairs of float
        Frequencies that are compared, in Hz, above 0, each pair in both orders; all are equally
        likely.
    fixation, first, delay, second, response : float or a random duration
        Periods of a trial, in milliseconds, in this order.
    dt, tau, noise, grace, response_weight, hold, catch, loss
        As for `PerceptualDecision`.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what came and what was expected.

    Notes
    -----
    ``conditions`` of the trials: ``"first"`` and ``"second"``, in Hz; ``"difference"``, the first
    less the second; ``"choice"``, the right one, 0 in catch trials; ``"catch"``. Pairs and tuning
    of the inputs are those of the networks of H. F. Song et al., PLoS Computational Biology 12(2),
    e1004792, 2016.

    References
    ----------
    R. Romo, C. D. Brody, A. Hernandez, L. Lemus. Neuronal correlates of parametric working memory
    in the prefrontal cortex. Nature 399, 470-473, 1999.

    Examples
    --------
    >>> from fastbptt.datasets import tasks
    >>> task = tasks.ParametricWorkingMemory(delay=500)
    >>> shown = task.trials(100, seed=0).conditions
    >>> bool(((shown["first"] > shown["second"]) == (shown["choice"] == 1)).all())
    True
    """

    name: ClassVar[str] = "parametric_working_memory"
    reference: ClassVar[str] = "Romo et al. 1999"
    choice_names: ClassVar[tuple[str, str]] = ("first higher", "second higher")
    stimuli: ClassVar[tuple[str, ...]] = ("rising with frequency", "falling with frequency")

    noise: float = 0.01
    pairs: tuple[tuple[float, float], ...] = ((18, 10), (22, 14), (26, 18), (30, 22), (34, 26))
    first: Duration = 500.0
    delay: Duration = 3000.0
    second: Duration = 500.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_durations("first", "second", least=1)
        self._check_durations("delay")
        self._set(pairs=_pairs(self.pairs))

    def _trials(self, n: int, rng: np.random.Generator) -> Trials:
        periods, time = self._layout(
            rng,
            n,
            {
                "fixation": self.fixation,
                "first": self.first,
                "delay": self.delay,
                "second": self.second,
                "response": self.response,
            },
        )
        both = np.sort(np.asarray(self.pairs, np.float64), axis=1)
        low, high = both.min(), both.max()
        both = both[rng.integers(len(both), size=n)]
        choice = rng.integers(1, 3, size=n)
        first_higher = choice == 1
        first = np.where(first_higher, both[:, 1], both[:, 0])
        second = np.where(first_higher, both[:, 0], both[:, 1])
        x = np.zeros((n, time, self.input_size), np.float32)
        for period, frequency in (("first", first), ("second", second)):
            place = ((frequency - low) / (high - low))[:, np.newaxis]
            shown = during(periods[period], time)
            x[..., 1] += shown * (0.2 + 0.8 * place)
            x[..., 2] += shown * (1.0 - 0.8 * place)
        conditions = {"first": first, "second": second, "difference": first - second}
        return self._answered(rng, x, choice, periods, conditions)


def _pairs(given: Any) -> tuple[tuple[float, float], ...]:
    """Check pairs of two different frequencies."""
    expected = "a sequence of pairs of frequencies in Hz, such as [(18, 10), (22, 14)]"
    if isinstance(given, str | bytes) or not np.iterable(given):
        raise ArgumentTypeError("pairs", f"is {_check.shown(given)}", expected)
    found = []
    for i, pair in enumerate(given):
        if not isinstance(pair, Sequence | np.ndarray) or len(pair) != 2:
            raise ArgumentTypeError("pairs", f"is {_check.shown(pair)}", "two frequencies", item=i)
        one, other = (above_zero(f"pairs[{i}][{k}]", pair[k]) for k in range(2))
        if one == other or np.isinf(one) or np.isinf(other):
            raise ArgumentError(
                "pairs", f"is ({one:g}, {other:g})", "two different, finite frequencies", item=i
            )
        found.append((one, other))
    if not found:
        raise ArgumentError("pairs", "is empty", "at least one pair of frequencies")
    return tuple(found)
