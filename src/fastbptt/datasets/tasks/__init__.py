"""Tasks of systems neuroscience, of which any number of fresh trials can be drawn.

=====================================  ==========================================
`PerceptualDecision`                   which of two noisy inputs is larger?
`ContextDependentIntegration`          the same of one of two inputs, by context
`DelayedMatchToSample`                 is the second stimulus the same as the first?
`ParametricWorkingMemory`              which of two frequencies was higher?
`ReadySetGo`                           measure an interval, and produce it
`FlipFlop`                             remember the sign of the last pulse
`from_neurogym`                        an environment of neurogym as a task
=====================================  ==========================================

A task holds its settings. ``task.trials(n, seed=..)`` draws trials with inputs, targets and weights
of steps; ``task.batches(batch_size, seed=..)`` is an endless iterator of them for `fastbptt.fit`;
``task.score(outputs, trials)`` scores a model's outputs as the field does::

    task = tasks.PerceptualDecision()
    model = fastbptt.GRU(task.input_size, 64, task.output_size)
    fastbptt.fit(
        model, task.batches(64), **task.objective, steps_per_epoch=50, epochs=20,
    )
    trials = task.trials(1000)
    outputs = fastbptt.predict(model, trials.x, trials.lengths, steps="all")
    print(task.score(outputs, trials))

To change a setting of a task, use ``dataclasses.replace(task, noise=0.1)``.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Final

from ... import _check
from ..._errors import ArgumentError
from ._durations import OneOf, TruncatedExponential, Uniform
from ._kinds import Task
from ._neurogym import NeurogymTask, from_neurogym
from ._trials import Trials
from .decisions import ContextDependentIntegration, PerceptualDecision
from .flip_flop import FlipFlop
from .intervals import ReadySetGo
from .memories import DelayedMatchToSample, ParametricWorkingMemory
from .psychometrics import Psychometric, psychometric

__all__ = [
    "TASKS",
    "ContextDependentIntegration",
    "DelayedMatchToSample",
    "FlipFlop",
    "NeurogymTask",
    "OneOf",
    "ParametricWorkingMemory",
    "PerceptualDecision",
    "Psychometric",
    "ReadySetGo",
    "Task",
    "Trials",
    "TruncatedExponential",
    "Uniform",
    "from_neurogym",
    "make",
    "psychometric",
]

#: Every task, by its name.
TASKS: Final[dict[str, type[Task]]] = {
    one.name: one
    for one in (
        PerceptualDecision,
        ContextDependentIntegration,
        DelayedMatchToSample,
        ParametricWorkingMemory,
        ReadySetGo,
        FlipFlop,
    )
}


def make(name: str, **settings: Any) -> Task:
    """Make a task by its name.

    Parameters
    ----------
    name : str
        A name in `TASKS`.
    **settings
        Those of the task.

    Returns
    -------
    Task
        The same as of its class.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what came and what was expected.

    Examples
    --------
    >>> from fastbptt.datasets import tasks
    >>> tasks.make("flip_flop", bits=2) == tasks.FlipFlop(bits=2)
    True
    """
    kind: Any = TASKS[_check.option("name", name, TASKS)]
    known = [one.name for one in dataclasses.fields(kind)]
    for setting in settings:
        if setting not in known:
            raise ArgumentError("settings", f"has {setting}", f"some of {', '.join(known)}")
    made: Task = kind(**settings)
    return made
