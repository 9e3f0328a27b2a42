"""Plots of numeric predictions: against the truth, their residuals, errors of forecasts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import _check
from .._errors import ArgumentError
from . import _style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["horizon_errors", "predicted_against_true", "residuals"]

MOST_POINTS = 1000  # that are drawn one by one in vector formats; more are pixels


def predicted_against_true(
    y: Any,
    predictions: Any,
    *,
    output_names: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Plot predicted against true numbers; on the diagonal they are equal.

    Parameters
    ----------
    y : array of shape (n,) or (n, outputs), or (n, time, outputs), or list of (time_i, outputs)
        The true numbers.
    predictions : array or list of arrays of the same shapes
        The predicted ones.
    output_names : sequence of str, optional
        The names of the outputs for the legend; their numbers by default.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib Axes
        With the same limits on both axes, and one set of points for each output; of more than
        twelve outputs all have one colour.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError, TypeError
        Naming the argument, what came and what was expected.

    Examples
    --------
    >>> import fastbptt
    >>> ax = fastbptt.plot.predicted_against_true([1.0, 2.0, 3.0], [1.1, 1.8, 3.0])
    >>> ax.lines[0].get_xdata().tolist(), ax.lines[0].get_ydata().tolist()
    ([1.0, 2.0, 3.0], [1.1, 1.8, 3.0])
    """
    true, predicted = _numbers(y, predictions)
    with _style.drawing(ax, (3.5, 3.1)) as axes:
        _scatter(axes, true, predicted, output_names)
        both = np.concatenate([true.ravel(), predicted.ravel()])
        low, high = _limits(both)
        axes.plot(
            [low, high], [low, high], color=_style.MUTED, linewidth=0.8, zorder=0.5, label="_equal"
        )
        axes.set_xlim(low, high)
        axes.set_ylim(low, high)
        axes.set_aspect("equal")
        _style.dress(axes, "true", "predicted")
        _legend(axes, true, predicted, output_names)
        return axes


def residuals(
    y: Any,
    predictions: Any,
    *,
    output_names: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Plot the residuals, predicted minus true, against the predicted numbers.

    Parameters
    ----------
    y, predictions, output_names, ax
        As for :func:`~fastbptt.plot.predicted_against_true`.

    Returns
    -------
    matplotlib Axes
        With one set of points for each output.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError, TypeError
        Naming the argument, what came and what was expected.

    Examples
    --------
    >>> import fastbptt
    >>> ax = fastbptt.plot.residuals([1.0, 2.0], [1.5, 1.0])
    >>> ax.lines[0].get_ydata().tolist()
    [0.5, -1.0]
    """
    true, predicted = _numbers(y, predictions)
    with _style.drawing(ax) as axes:
        _scatter(axes, predicted, predicted - true, output_names)
        _style.guide(axes, y=0.0, colour=_style.MUTED)
        _style.dress(axes, "predicted", "residual: predicted - true", grid="y")
        _legend(axes, true, predicted, output_names)
        return axes


def horizon_errors(
    y: Any,
    predictions: Any,
    horizon: int,
    *,
    feature_names: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Plot the error of forecasts by how many steps ahead they are.

    Parameters
    ----------
    y : array of shape (n, horizon * features)
        The true numbers, all features of a step beside each other, as
        `fastbptt.sklearn.RecurrentForecaster` trains its network.
    predictions : array of the same shape
        The forecasts.
    horizon : int
        The number of steps.
    feature_names : sequence of str, optional
        The names of the features for the legend; their numbers by default.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib Axes
        With one line for each feature: root mean square error at 1, 2, ... steps ahead.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError, TypeError
        Naming the argument, what came and what was expected.

    Examples
    --------
    >>> import fastbptt
    >>> ax = fastbptt.plot.horizon_errors([[0.0, 0.0], [0.0, 0.0]], [[1.0, 3.0], [1.0, 4.0]], 2)
    >>> [float(error.round(2)) for error in ax.lines[0].get_ydata()]
    [1.0, 3.54]
    """
    errors = errors_by_step(y, predictions, horizon)
    names = _names("feature", feature_names, errors.shape[1])
    with _style.drawing(ax) as axes:
        for i, name in enumerate(names):
            _style.curve(axes, i, np.arange(1, len(errors) + 1), errors[:, i], name)
        finite = errors[np.isfinite(errors)]
        axes.set_ylim(0.0, 1.1 * float(finite.max(initial=0.0)) or 1.0)
        _style.dress(axes, "steps ahead", "root mean square error", grid="y")
        _style.whole_ticks(axes.xaxis)
        _style.legend(axes, always=feature_names is not None)
        return axes


def errors_by_step(y: Any, predictions: Any, horizon: int) -> NDArray[np.float64]:
    """Return the root mean square error of each step ahead and feature: (horizon, features)."""
    true, predicted = _numbers(y, predictions)
    steps = _check.size("horizon", horizon)
    if true.shape[1] % steps:
        raise ArgumentError("horizon", f"is {steps}", f"a divisor of {true.shape[1]}, the outputs")
    squares = np.square(predicted - true).reshape(len(true), steps, -1)
    return np.asarray(np.sqrt(squares.mean(axis=0)))


def _numbers(y: Any, predictions: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return true and predicted numbers as (points, outputs)."""
    true, predicted = _table(y), _table(predictions)
    if true.shape != predicted.shape:
        raise ArgumentError(
            "predictions",
            f"has {predicted.shape[0]} rows of {predicted.shape[1]} numbers",
            f"{true.shape[0]} rows of {true.shape[1]}, as y",
        )
    if not true.size:
        raise ArgumentError("y", "is empty", "at least one number")
    return true, predicted


def _table(values: Any) -> NDArray[np.float64]:
    """Stack numbers of sequences, or of their steps, to (points, outputs)."""
    if isinstance(values, list | tuple) and np.ndim(values[0] if values else 0) > 1:
        return np.concatenate([_table(one) for one in values])
    whole = np.asarray(values, np.float64)
    return whole.reshape(-1, 1) if whole.ndim < 2 else whole.reshape(-1, whole.shape[-1])


def _names(kind: str, names: Sequence[str] | None, count: int) -> list[str]:
    """Return the labels of the legend."""
    if names is None:
        return [f"{kind} {i}" for i in range(count)]
    if len(names) != count:
        raise ArgumentError(f"{kind}_names", f"has {len(names)} names", f"{count}")
    return [_style.plain(name) for name in _style.shortened(names)]


def _scatter(
    ax: Axes,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    output_names: Sequence[str] | None,
) -> None:
    """Draw one set of points for each output, or one for all of more than there are colours."""
    names = _names("output", output_names, x.shape[1])
    if len(names) > len(_style.CURVES):
        names, x, y = [f"{len(names)} outputs"], x.reshape(-1, 1), y.reshape(-1, 1)
    many = x.size > MOST_POINTS
    for i, name in enumerate(names):
        ax.plot(
            x[:, i],
            y[:, i],
            linestyle="none",
            marker="o" if i < 6 else "^",
            markersize=2 if many else 3,
            markerfacecolor=_style.PALETTE[_style.CURVES[i][0]],
            markeredgecolor="none",
            alpha=0.35 if many else 0.75,
            label=name,
            rasterized=many,
        )


def _legend(
    ax: Axes,
    true: NDArray[np.float64],
    predicted: NDArray[np.float64],
    output_names: Sequence[str] | None,
) -> None:
    """Name the outputs, and count the points that no place is for."""
    missing = int((~(np.isfinite(true) & np.isfinite(predicted))).sum())
    note = f"not drawn: {missing:,} of {true.size:,} that are not finite" if missing else None
    always = output_names is not None or missing > 0
    _style.legend(ax, always=always, title=note, handlelength=1, markerscale=2)
    if ax.get_legend() is not None:
        for handle in ax.get_legend().legend_handles:
            handle.set_alpha(1.0)


def _limits(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return limits around all finite numbers."""
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    edge = 0.04 * (high - low) or 0.04 * abs(high) or 1.0
    return low - edge, high + edge
