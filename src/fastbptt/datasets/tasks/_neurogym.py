"""Environments of neurogym as tasks."""

from __future__ import annotations

import importlib
import importlib.util
import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ... import _check
from ..._errors import ArgumentError, ArgumentTypeError
from ._kinds import Task
from ._trials import Trials

__all__ = ["NeurogymTask", "from_neurogym"]

_PLAIN: Final = ("gymnasium.", "gym.")  # whose wrappers change nothing that trials show


def from_neurogym(env: Any, **settings: Any) -> NeurogymTask:
    """Make a task of an environment of neurogym, to train on its ground truth.

    Parameters
    ----------
    env : str or neurogym.TrialEnv
        The name of an environment, such as ``"PerceptualDecisionMaking-v0"``, for which neurogym
        must be installed, or an environment.
    **settings
        Those of the environment, such as ``dt=20``, if `env` is its name.

    Returns
    -------
    NeurogymTask
        With the methods of the other tasks.

    Raises
    ------
    ImportError
        If `env` is a name and neurogym is not installed.
    ValueError, TypeError
        Naming the argument, what came and what was expected: if there is no such environment, or it
        has no trials with a ground truth; or if a wrapper changes its observations.

    Notes
    -----
    A trial is what ``env.new_trial()`` makes: the observations ``env.ob`` are the inputs, and the
    ground truth ``env.gt`` the targets, at all steps. Nothing acts in the environment: rewards, and
    trials that an action would end, have no part in it. Wrappers of neurogym act in ``env.step``
    and are refused. `trials` draws from a seed of the environment's own random generator, so that
    the environment is left in another state.

    References
    ----------
    M. Molano-Mazon et al. NeuroGym: an open resource for developing and sharing neuroscience tasks.
    PsyArXiv, 2022, https://doi.org/10.31234/osf.io/aqc9n.

    Examples
    --------
    >>> import importlib.util
    >>> from fastbptt.datasets import tasks
    >>> if importlib.util.find_spec("neurogym"):
    ...     task = tasks.from_neurogym("PerceptualDecisionMaking-v0", dt=20)
    ...     assert task.trials(4, seed=0).x.shape[2] == task.input_size == 3
    """
    if isinstance(env, str):
        if importlib.util.find_spec("neurogym") is None:
            raise ImportError(
                f'the environment "{env}" needs neurogym: pip install neurogym; '
                "or pass an environment, not its name"
            )
        try:
            neurogym = importlib.import_module("neurogym")
        except ImportError as error:  # 2.3 imports torch, which it does not require
            raise ImportError(
                f"neurogym cannot be imported: {error}; install what it needs, or pass an "
                "environment, not its name"
            ) from error
        try:
            made = neurogym.make(env, **settings)
        except TypeError as error:
            raise ArgumentTypeError(
                "settings",
                f"do not suit {env}: {_check.one_line(error)}",
                "those of the environment",
            ) from error
        except Exception as error:
            if not type(error).__module__.startswith(_PLAIN):
                raise
            raise ArgumentError(
                "env",
                f'is "{env}"',
                f"the name of an environment of neurogym: {_check.one_line(error)}",
            ) from error
    else:
        if settings:
            raise ArgumentTypeError(
                "settings",
                f"are {', '.join(settings)}",
                "none beside an environment; give its name instead",
            )
        made = env
    return NeurogymTask(made)


class NeurogymTask(Task):
    """A task whose trials an environment of neurogym makes; see `from_neurogym`.

    Parameters
    ----------
    env : neurogym.TrialEnv
        The environment.

    Attributes
    ----------
    env
        The environment, without its wrappers.

    Raises
    ------
    ValueError, TypeError
        As for `from_neurogym`.
    """

    name = "neurogym"

    def __init__(self, env: Any) -> None:
        self.env = inner = _unwrapped(env)
        self.name = type(inner).__name__  # type: ignore[misc]
        paper = str(inner.metadata.get("paper_name") or "")
        self.reference = " ".join(paper.split()) or "neurogym"  # type: ignore[misc]
        self.dt = float(inner.dt)
        self.classes = hasattr(inner.action_space, "n")
        self.loss = "cross_entropy" if self.classes else "mse"
        shape = inner.observation_space.shape
        if len(shape) != 1 or not (self.classes or len(inner.action_space.shape) == 1):
            raise ArgumentError(
                "env",
                f"has observations of shape {shape} and actions {inner.action_space}",
                "observations of shape (inputs,), and actions that are classes or of shape "
                "(outputs,)",
            )
        self._inputs = _names(inner.observation_space, shape[0], "input")
        count = int(inner.action_space.n if self.classes else inner.action_space.shape[0])
        self._outputs_named = _names(inner.action_space, count, "output")
        self._trials(1, np.random.default_rng(0))  # better refused now than in training

    def __repr__(self) -> str:
        return f"NeurogymTask({self.name}, dt={self.dt:g})"

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the inputs."""
        return self._inputs

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs."""
        return self._outputs_named

    def _trials(self, n: int, rng: np.random.Generator) -> Trials:
        env = self.env
        env.seed(int(rng.integers(2**31)))
        observed, truth, shown = [], [], []
        for _ in range(n):
            found = env.new_trial()
            ob, gt = _arrays(env)
            observed.append(ob)
            truth.append(gt)
            shown.append(dict(found) if isinstance(found, Mapping) else {})
        ends = np.array([len(one) for one in observed])
        time = int(ends.max())
        x = np.zeros((n, time, self.input_size), np.float32)
        y: NDArray[Any] = np.zeros((n, time), np.int64)
        if not self.classes:
            y = np.zeros((n, time, self.output_size), np.float32)
        weights = np.zeros((n, time), np.float32)
        for i, end in enumerate(ends.tolist()):
            x[i, :end], y[i, :end], weights[i, :end] = observed[i], truth[i], 1
        return Trials(
            x,
            y,
            weights,
            ends if (ends != time).any() else None,
            _numbers(shown),
            {"trial": np.stack([np.zeros(n, np.int64), ends], axis=1)},
            self.loss,
            self.steps,
            self.dt,
        )

    def score(self, outputs: Any, trials: Trials) -> dict[str, float]:
        """Score a model's outputs against the ground truth.

        Parameters
        ----------
        outputs : array of shape (n, time, output_size), or list of arrays (time_i, output_size)
            A model's outputs at all steps, before any softmax.
        trials : Trials
            The trials that they are of.

        Returns
        -------
        dict of str to float
            If actions are classes, ``"correct"``: the fraction of trials whose largest output at
            the last step is the right one, as neurogym counts, and ``"steps"``, the same of all
            steps. Else ``"error"``: the root of the mean squared error of all steps.

        Raises
        ------
        ValueError, TypeError
            Naming the argument, what came and what was expected.
        """
        found = self._outputs(outputs, trials)
        counted = trials.weights > 0
        if not self.classes:
            return {"error": math.sqrt(float(((found - trials.y)[counted] ** 2).mean()))}
        right = found.argmax(axis=2) == trials.y
        last = right[np.arange(len(right)), trials.ends - 1]
        return {"correct": float(last.mean()), "steps": float(right[counted].mean())}


def _unwrapped(env: Any) -> Any:
    """Take off wrappers that change nothing; refuse others, and what has no trials."""
    inner = env
    while hasattr(inner, "env") and not hasattr(type(inner), "new_trial"):
        if not type(inner).__module__.startswith(_PLAIN):
            raise ArgumentError(
                "env",
                f"is wrapped in {type(inner).__name__}, which acts in env.step",
                "the environment itself, env.unwrapped",
            )
        inner = inner.env
    for name in ("new_trial", "seed", "observation_space", "action_space", "dt", "metadata"):
        if not hasattr(inner, name):
            raise ArgumentTypeError(
                "env",
                f"is a {type(inner).__name__} without {name}",
                "a neurogym.TrialEnv, or the name of one",
            )
    return inner


def _arrays(env: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return observations and ground truth of the trial that was just made."""
    name = type(env).__name__
    try:
        ob, gt = np.asarray(env.ob), np.asarray(env.gt)
    except AttributeError as error:
        raise ArgumentError(
            "env",
            f"is {name}, whose trials have no observations and ground truth in advance",
            "an environment with env.ob and env.gt after env.new_trial()",
        ) from error
    if not len(ob) or len(gt) != len(ob):
        raise ArgumentError(
            "env", f"is {name}, with {len(ob)} observations and {len(gt)} truths", "as many"
        )
    return ob, gt


def _names(space: Any, count: int, kind: str) -> tuple[str, ...]:
    """Name the parts of a space, by what neurogym notes of it."""
    names = [f"{kind} {i}" for i in range(count)]
    noted = getattr(space, "name", None)
    for name, places in noted.items() if isinstance(noted, Mapping) else ():
        listed = np.atleast_1d(places).tolist()
        for k, place in enumerate(listed):
            if isinstance(place, int) and place < count:
                names[place] = f"{name} {k + 1}" if len(listed) > 1 else str(name)
    return tuple(names)


def _numbers(shown: list[dict[str, Any]]) -> dict[str, NDArray[Any]]:
    """Collect what all trials note and NumPy can hold as one number or name for each."""
    found = {}
    for name in shown[0] if shown else ():
        values = [one.get(name) for one in shown]
        if all(isinstance(one, int | float | str | np.generic) for one in values):
            found[name] = np.asarray(values)
    return found
