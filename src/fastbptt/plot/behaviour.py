"""Plots of tasks: one trial with its targets, and psychometric curves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from .._errors import ArgumentError, ArgumentTypeError
from ..datasets.tasks import Psychometric, Task, Trials
from ..training.evaluation import probabilities
from . import _style
from ._helpers import index

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["psychometric", "trial"]

_ROW: Final = 0.21  # inches
_Z: Final = 1.96  # of a normal distribution, between which lie 95 %


def trial(
    task: Task, trials: Trials, *, example: int = 0, outputs: Any = None, ax: Axes | None = None
) -> Axes:
    """Plot one trial of a task over time: its inputs, its targets, and a model's outputs.

    Parameters
    ----------
    task : fastbptt.datasets.tasks.Task
        The task.
    trials : fastbptt.datasets.tasks.Trials
        Trials of it.
    example : int, default 0
        Which trial.
    outputs : array of shape (n, time, output_size), or list of arrays, optional
        A model's outputs for these trials at all steps, before any softmax; they are drawn as
        probabilities if targets are classes.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib Axes
        With a row for each input, in one scale, and below them a row for each output. Targets have
        gaps where they do not count in the loss. The response is shaded, if there is one.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError, TypeError
        Naming the argument, what came and what was expected.

    Examples
    --------
    >>> import fastbptt
    >>> from fastbptt.datasets import tasks
    >>> task = tasks.PerceptualDecision()
    >>> ax = fastbptt.plot.trial(task, task.trials(1, seed=0))
    >>> ax.get_yticklabels()[0].get_text()
    'fixation'
    """
    if not isinstance(task, Task):
        raise ArgumentTypeError(
            "task",
            f"is of type {type(task).__name__}",
            "a task of fastbptt.datasets.tasks, such as tasks.FlipFlop()",
        )
    if not isinstance(trials, Trials):
        raise ArgumentTypeError(
            "trials", f"is of type {type(trials).__name__}", "the result of task.trials"
        )
    number = index("example", example, len(trials))
    end = int(trials.ends[number])
    if trials.x.shape[2] != task.input_size or trials.loss != task.loss:
        raise ArgumentError(
            "trials",
            f'have {trials.x.shape[2]} inputs and the loss "{trials.loss}"',
            f'those of task, {task.input_size} inputs and the loss "{task.loss}"',
        )
    classes = trials.y.ndim == 2
    target = trials.y[number, :end]
    wanted: NDArray[Any] = np.asarray(target, np.float64)
    if classes:
        wanted = (target[:, np.newaxis] == np.arange(task.output_size)).astype(np.float64)
    wanted = np.where(trials.weights[number, :end, np.newaxis] > 0, wanted, np.nan)
    found: NDArray[Any] | None = None
    if outputs is not None:
        logits = task._outputs(outputs, trials)[number, :end]
        found = probabilities(logits, "cross_entropy") if classes else logits
    shown = np.asarray(trials.x[number, :end], np.float64)
    names = [*task.input_names, *task.output_names]
    with _style.drawing(ax, (3.5, 0.75 + _ROW * len(names))) as axes:
        if "response" in trials.periods:
            start, stop = (trials.periods["response"][number] * trials.dt).tolist()
            axes.axvspan(start, stop, color=_style.FAINT, alpha=0.35, linewidth=0, zorder=0)
        # a step lasts until the next one
        time = np.arange(end + 1) * trials.dt
        line = {"drawstyle": "steps-post", "linewidth": 1.0}
        for kind, values, first, colour in (
            ("inputs", shown, 0, "blue"),
            ("targets", wanted, task.input_size, "vermillion"),
            ("outputs", found, task.input_size, "black"),
        ):
            if values is None:
                continue
            if kind != "outputs":  # which share the scale of the targets
                known = values[np.isfinite(values)]
                low, high = float(known.min(initial=0)), float(known.max(initial=0))
                scale = 0.66 / max(high - low, 1e-9)
            for i, row in enumerate(values.T):
                lifted = (np.append(row, row[-1]) - low) * scale - (first + i) - 0.33
                axes.plot(
                    time,
                    lifted,
                    color=_style.PALETTE[colour],
                    label=f"_{kind}" if i else kind,
                    zorder=3 if kind == "outputs" else 2,
                    **(line | ({"linewidth": 0.8} if kind == "outputs" else {})),
                )
        axes.set_yticks(-np.arange(len(names)), _style.shortened(names, 24))
        axes.set_ylim(0.4 - len(names), 0.6)
        axes.set_xlim(0, time[-1])
        _style.guide(axes, y=0.5 - task.input_size)
        _style.dress(axes, "time (ms)", "outputs · inputs")
        axes.tick_params(axis="y", length=0)
        _style.legend(axes)
        return axes


def psychometric(
    curves: Psychometric | Mapping[str, Psychometric],
    *,
    xlabel: str = "strength of the stimulus",
    ylabel: str = "fraction of choices",
    ax: Axes | None = None,
) -> Axes:
    """Plot psychometric curves: fractions with their uncertainty, and the fitted functions.

    Parameters
    ----------
    curves : Psychometric, or mapping of str to Psychometric
        Results of `fastbptt.datasets.tasks.psychometric`; several by their names.
    xlabel, ylabel : str
        The labels of the axes.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib Axes
        Dots are fractions, with 95 % intervals (Wilson's); lines are the fits, where there are
        some.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError, TypeError
        Naming the argument, what came and what was expected.

    Examples
    --------
    >>> import fastbptt
    >>> from fastbptt.datasets import tasks
    >>> curve = tasks.psychometric([-1, -1, 0, 0, 1, 1], [False, False, True, False, True, False])
    >>> ax = fastbptt.plot.psychometric(curve, xlabel="coherence")
    >>> ax.get_xlabel()
    'coherence'
    """
    named = dict(curves) if isinstance(curves, Mapping) else {"": curves}
    for name, one in named.items():
        if not isinstance(one, Psychometric):
            raise ArgumentTypeError(
                f'curves["{name}"]' if name else "curves",
                f"is of type {type(one).__name__}",
                "the result of fastbptt.datasets.tasks.psychometric, or several by name",
            )
    if not named:
        raise ArgumentError("curves", "is empty", "at least one psychometric curve")
    for name, text in (("xlabel", xlabel), ("ylabel", ylabel)):
        if not isinstance(text, str):
            raise ArgumentTypeError(name, f"is of type {type(text).__name__}", "text")
    with _style.drawing(ax) as axes:
        _style.guide(axes, y=0.5)
        for i, (name, curve) in enumerate(named.items()):
            colour = _style.PALETTE[_style.CURVES[i % len(_style.CURVES)][0]]
            low, high = _interval(curve)
            axes.errorbar(
                curve.levels,
                curve.fractions,
                np.maximum([curve.fractions - low, high - curve.fractions], 0.0),
                linestyle="none",
                marker="o",
                markersize=3.4,
                color=colour,
                elinewidth=0.8,
                label="_" if curve.bias is not None else name or "_",
                zorder=3,
            )
            if curve.bias is not None:
                x = np.linspace(curve.levels[0], curve.levels[-1], 201)
                _style.curve(axes, i, x, curve(x), name or "_")
        axes.set_ylim(-0.03, 1.03)
        _style.dress(axes, xlabel, ylabel)
        _style.legend(axes)
        return axes


def _interval(curve: Psychometric) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return Wilson's 95 % intervals of the fractions."""
    n, p = curve.counts, curve.fractions
    middle = (p + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * np.sqrt(p * (1 - p) / n + _Z**2 / (4 * n**2))
    return middle - half, middle + half
