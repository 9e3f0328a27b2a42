"""Decisions on noisy evidence: one source of it, or one of two by context."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from . import _kinds
from ._durations import Duration
from ._kinds import ChoiceTask, during
from ._trials import Trials

__all__ = ["ContextDependentIntegration", "PerceptualDecision"]

_COHERENCE: Final = ("coherence", 0.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class PerceptualDecision(ChoiceTask):
    """Perceptual decision: tell which of two noisy inputs is larger on average.

    While the fixation input is 1, the two stimulus inputs are (1 + c) / 2 and (1 - c) / 2 for some
    time, with noise; c is the coherence of moving dots, above 0 to the right, below 0 to the left.
    When fixation ends, the network says "right" (choice 1) or "left" (choice 2).

    Parameters
    ----------
    dt : float, default 20
        The length of a step, in milliseconds.
    tau : float, default 100
        The time constant of the network's units, in milliseconds, at least `dt`. It scales the
        noise.
    noise : float, default 0.05
        Noise of all inputs: each step gets ``noise * sqrt(2 * tau / dt)`` times a number from the
        standard normal distribution, so that the noise that a unit has seen within `tau` does not
        depend on `dt` (Song et al., equation 7).
    coherences : sequence of float
        The sizes of c, from 0 to 1, all being equally likely, as are both directions. With 0 there
        is no evidence, and the choice that is rewarded is random.
    fixation, stimulus, delay, response : float or a random duration
        Periods of a trial, in milliseconds, in this order: numbers, each a multiple of `dt`, or
        `Uniform`, `TruncatedExponential` or `OneOf`.
    grace : float, default 100
        At the beginning of the response the loss does not count for so many milliseconds.
    response_weight : float, default 5
        The weight of the steps of the response in the loss; those before have 1.
    hold : bool, default True
        Whether the loss asks for fixation from the beginning to the response, or (False) during the
        period "fixation" only, as in Song et al.
    catch : float, default 0
        The fraction of trials without a stimulus in which fixation does not end, and the network
        must not respond.
    loss : {"cross_entropy", "mse"}
        "cross_entropy": targets are classes, 0 for fixation, 1 and 2 for the choices. "mse": two
        outputs, one for each choice, which are to be 1 if it is taken and 0.2 else (Song et al.).

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what came and what was expected.

    Notes
    -----
    ``conditions`` of the trials: ``"coherence"``, with its sign; ``"stimulus"``, its duration in
    milliseconds; ``"choice"``, the right one, 0 in catch trials; ``"catch"``. Song et al. have a
    start cue in the place of the fixation input, strong noise in the recursion, and therefore less
    noise in the inputs (0.01); the fixation input, `grace` and `response_weight` are those of
    G. R. Yang et al., Task representations in neural networks trained to perform many cognitive
    tasks, Nature Neuroscience 22, 297-306, 2019.

    References
    ----------
    K. H. Britten, M. N. Shadlen, W. T. Newsome, J. A. Movshon. The analysis of visual motion: a
    comparison of neuronal and psychophysical performance. Journal of Neuroscience 12(12),
    4745-4765, 1992; for networks H. F. Song, G. R. Yang, X.-J. Wang. Training
    excitatory-inhibitory recurrent neural networks for cognitive tasks: a simple and flexible
    framework. PLoS Computational Biology 12(2), e1004792, 2016.

    Examples
    --------
    >>> from fastbptt.datasets import tasks
    >>> task = tasks.PerceptualDecision(coherences=[0.128, 0.512])
    >>> task.input_names, task.output_names
    (('fixation', 'right', 'left'), ('fixation', 'right', 'left'))
    >>> trials = task.trials(100, seed=0)
    >>> sorted(set(trials.conditions["coherence"].tolist()))
    [-0.512, -0.128, 0.128, 0.512]
    """

    name: ClassVar[str] = "perceptual_decision"
    reference: ClassVar[str] = "Britten et al. 1992, Song et al. 2016"
    choice_names: ClassVar[tuple[str, str]] = ("right", "left")
    stimuli: ClassVar[tuple[str, ...]] = choice_names

    noise: float = 0.05
    coherences: tuple[float, ...] = (0.0, 0.032, 0.064, 0.128, 0.256, 0.512)
    stimulus: Duration = 800.0
    delay: Duration = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_durations("stimulus", least=1)
        self._check_durations("delay")
        self._set(coherences=_kinds.levels("coherences", self.coherences, *_COHERENCE))

    def _trials(self, n: int, rng: np.random.Generator) -> Trials:
        periods, time = self._layout(
            rng,
            n,
            {
                "fixation": self.fixation,
                "stimulus": self.stimulus,
                "delay": self.delay,
                "response": self.response,
            },
        )
        choice = rng.integers(1, 3, size=n)
        coherence = _kinds.drawn_from(self.coherences, rng, n) * (3 - 2 * choice)
        coherence += 0.0  # no -0.0
        shown = during(periods["stimulus"], time)
        x = np.zeros((n, time, self.input_size), np.float32)
        for i, sign in ((1, 1), (2, -1)):
            x[..., i] = shown * (0.5 + 0.5 * sign * coherence)[:, np.newaxis]
        lasted = np.diff(periods["stimulus"], axis=1)[:, 0] * self.dt
        conditions = {"coherence": coherence, "stimulus": lasted}
        return self._answered(rng, x, choice, periods, conditions)

    def _decidable(self, trials: Trials) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = trials.conditions["coherence"] != 0
        return found


@dataclass(frozen=True, kw_only=True)
class ContextDependentIntegration(ChoiceTask):
    """Context-dependent integration: decide by one of two noisy inputs, and ignore the other.

    The inputs "motion" and "colour" are each a coherence from -1 to 1, with noise, and two further
    inputs tell which of them counts. When fixation ends, the network says whether that one was
    above 0 on average (choice 1) or below (choice 2).

    Parameters
    ----------
    coherences : sequence of float, default (0.05, 0.15, 0.5)
        The sizes of both inputs, from 0 to 1, all being equally likely, as are both signs.
    fixation, stimulus, delay, response : float or a random duration
        Periods of a trial, in milliseconds, in this order. The context is shown during the first
        three.
    dt, tau, noise, grace, response_weight, hold, catch, loss
        As for `PerceptualDecision`.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what came and what was expected.

    Notes
    -----
    ``conditions`` of the trials: ``"motion"`` and ``"colour"``, with their signs; ``"context"``, 0
    if motion counts and 1 if colour does; ``"evidence"``, the one that counts; ``"choice"``, the
    right one, 0 in catch trials; ``"catch"``. In the paper one output becomes 1 or -1 at the end of
    the stimulus, and there is no fixation input.

    References
    ----------
    V. Mante, D. Sussillo, K. V. Shenoy, W. T. Newsome. Context-dependent computation by recurrent
    dynamics in prefrontal cortex. Nature 503, 78-84, 2013.

    Examples
    --------
    >>> from fastbptt.datasets import tasks
    >>> task = tasks.ContextDependentIntegration()
    >>> task.input_names
    ('fixation', 'motion', 'colour', 'attend motion', 'attend colour')
    >>> shown = task.trials(100, seed=0).conditions
    >>> bool((shown["evidence"] == shown["motion"])[shown["context"] == 0].all())
    True
    """

    name: ClassVar[str] = "context_dependent_integration"
    reference: ClassVar[str] = "Mante et al. 2013"
    choice_names: ClassVar[tuple[str, str]] = ("positive", "negative")
    stimuli: ClassVar[tuple[str, ...]] = ("motion", "colour", "attend motion", "attend colour")

    noise: float = 0.05
    coherences: tuple[float, ...] = (0.05, 0.15, 0.5)
    stimulus: Duration = 760.0
    delay: Duration = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_durations("stimulus", least=1)
        self._check_durations("delay")
        self._set(coherences=_kinds.levels("coherences", self.coherences, *_COHERENCE))

    def _trials(self, n: int, rng: np.random.Generator) -> Trials:
        periods, time = self._layout(
            rng,
            n,
            {
                "fixation": self.fixation,
                "stimulus": self.stimulus,
                "delay": self.delay,
                "response": self.response,
            },
        )
        context = rng.integers(2, size=n)
        both = np.stack([_kinds.drawn_from(self.coherences, rng, n) for _ in range(2)], axis=1)
        signs = 1 - 2 * rng.integers(2, size=(n, 2))
        both = both * signs + 0.0
        rows = np.arange(n)
        choice = (3 - signs[rows, context]) // 2
        x = np.zeros((n, time, self.input_size), np.float32)
        x[..., 1:3] = during(periods["stimulus"], time)[..., np.newaxis] * both[:, np.newaxis]
        cued = _kinds.within(periods["response"][:, 0], time)
        for i in range(2):
            x[..., 3 + i] = cued & (context == i)[:, np.newaxis]
        conditions = {
            "motion": both[:, 0],
            "colour": both[:, 1],
            "context": context,
            "evidence": both[rows, context],
        }
        return self._answered(rng, x, choice, periods, conditions)

    def _decidable(self, trials: Trials) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = trials.conditions["evidence"] != 0
        return found
