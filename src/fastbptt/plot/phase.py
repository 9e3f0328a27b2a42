"""Plot of fixed points, among the states that a network visits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _check
from .._errors import ArgumentError, ArgumentTypeError
from ..diagnostics import FixedPoints
from ..diagnostics._step import visited
from ..training.evaluation import check_model
from . import _style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..models.cells import Recurrent

__all__ = ["fixed_points"]

#: Of each kind of point: marker, colour, whether it is filled.
_MARKS: Final = {
    "stable": ("o", "blue", True),
    "unstable": ("o", "vermillion", False),
    "marginal": ("D", "black", False),
    "slow": ("s", "purple", False),
}


def fixed_points(
    model: Recurrent,
    found: FixedPoints,
    x: ArrayLike | Sequence[ArrayLike],
    *,
    lengths: ArrayLike | None = None,
    static: ArrayLike | None = None,
    trajectories: int = 8,
    dimensions: int = 2,
    ax: Axes | None = None,
) -> Axes:
    """Plot fixed points in the principal components of the states that a model visits.

    Parameters
    ----------
    model : Recurrent
        The model that the points are of.
    found : FixedPoints
        The result of `fastbptt.diagnostics.fixed_points`. May be empty.
    x : array of shape (batch, time, input_size), or list of arrays (time_i, input_size)
        Sequences as for `Recurrent.forward`. The components are those of all states, of all layers
        and of an LSTM's h and c, after each step of all of them.
    lengths : array of shape (batch,), optional
        Real steps of each sequence.
    static : array of shape (batch, static_size), optional
        Constants of each sequence, for a model with `static_size`.
    trajectories : int, default 8
        How many sequences to draw as lines, the first ones; 0 for none. A dot marks the last step.
    dimensions : {2, 3}
        Components to draw.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default. With three dimensions one that was made with
        ``projection="3d"``.

    Returns
    -------
    matplotlib Axes
        Filled dots are stable points, open ones unstable; diamonds are marginal (an eigenvalue of
        modulus 1), squares slow points. The fraction of the variance is on the axes.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError, TypeError
        Naming the argument, what came and what was expected.

    Notes
    -----
    D. Sussillo and O. Barak, "Opening the black box", Neural Computation 25 (2013), figures 2 to 5.

    Examples
    --------
    >>> import numpy as np, fastbptt
    >>> model = fastbptt.GRU(2, 8, 1, seed=0)
    >>> x = np.random.default_rng(0).normal(size=(5, 30, 2))
    >>> found = fastbptt.diagnostics.fixed_points(model, [0.0, 0.0], 50, data=x)
    >>> ax = fastbptt.plot.fixed_points(model, found, x)
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['states over time', 'stable (1)']
    """
    check_model(model)
    if not isinstance(found, FixedPoints):
        raise ArgumentTypeError(
            "found",
            f"is of type {type(found).__name__}",
            "the result of fastbptt.diagnostics.fixed_points",
        )
    shape = (model.num_layers, len(model._input_spec.states), model.hidden_size)
    if found.shape != shape or model.bidirectional:
        raise ArgumentError(
            "found",
            "holds points of another model: {} layers, {} states, {} units".format(*found.shape),
            "those of model, {} layers, {} states, {} units".format(*shape)
            + (" in both directions" if model.bidirectional else ""),
        )
    if isinstance(dimensions, bool | np.bool_) or dimensions not in (2, 3):
        raise ArgumentError("dimensions", f"is {_check.shown(dimensions)}", "2 or 3")
    whole = hasattr(trajectories, "__index__") and not isinstance(trajectories, bool | np.bool_)
    if not whole or trajectories < 0:
        raise ArgumentError(
            "trajectories",
            f"is {_check.shown(trajectories)}",
            "a whole number of at least 0",
        )
    states, steps = visited(model, "x", x, lengths, static)
    if int(np.prod(shape)) < dimensions:
        raise ArgumentError(
            "dimensions",
            f"is {dimensions}",
            f"at most {int(np.prod(shape))}, the numbers in a state of the model",
        )
    real = states[np.arange(states.shape[1]) < steps[:, np.newaxis]]
    middle, components, fractions = _components(real, dimensions)
    kind = "3d" if dimensions == 3 else None
    with _style.drawing(ax, (3.5, 3.1 if dimensions == 2 else 3.5), kind) as axes:
        if hasattr(axes, "zaxis") != (dimensions == 3):
            raise ArgumentError(
                "ax",
                f"has {'three' if hasattr(axes, 'zaxis') else 'two'} dimensions",
                f'Axes that {"were" if kind else "were not"} made with projection="3d", for '
                f"dimensions={dimensions}",
            )
        for i, (one, end) in enumerate(zip(states[:trajectories], steps, strict=False)):
            course = ((one[:end] - middle) @ components).T
            axes.plot(
                *course,
                color=_style.PALETTE["sky"],
                linewidth=0.7,
                alpha=0.7,
                label="_" if i else "states over time",
                zorder=2,
            )
            axes.plot(*course[:, -1:], color=_style.PALETTE["sky"], marker=".", markersize=4)
        kinds = np.array(found.kinds())
        places = (found.points - middle) @ components
        for which, (marker, colour, filled) in _MARKS.items():
            if (kinds == which).any():
                axes.plot(
                    *places[kinds == which].T,
                    linestyle="none",
                    marker=marker,
                    markersize=5,
                    markerfacecolor=_style.PALETTE[colour] if filled else _style.PAPER,
                    markeredgecolor=_style.PALETTE[colour],
                    markeredgewidth=1.1,
                    label=f"{which} ({(kinds == which).sum()})",
                    zorder=3,
                )
        if not len(found):
            axes.plot([], [], linestyle="none", label="no fixed points found")
        share = "{:.0%}" if dimensions == 3 else "{:.0%} of the variance"
        labels = [f"component {i + 1} ({share.format(one)})" for i, one in enumerate(fractions)]
        _style.dress(axes, labels[0], labels[1])
        if dimensions == 3:
            _deepen(axes, labels[2])
        above: dict[str, Any] = {"loc": "lower center", "bbox_to_anchor": (0.5, 0.93), "ncols": 2}
        _style.legend(axes, always=True, **(above if dimensions == 3 else {}))
        return axes


def _deepen(axes: Any, label: str) -> None:
    """Set the third axis of an Axes, and what the layout does not: room for labels."""
    from matplotlib.ticker import MaxNLocator

    axes.set_zlabel(label, color=_style.INK)
    axes.grid(visible=False)
    for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
        axis.set_major_locator(MaxNLocator(4))
        axis.labelpad = -3
        axis.set_pane_color(_style.FAINT, alpha=0.35)
    axes.tick_params(
        axis="both", which="major", labelsize=_style.points("small"), labelcolor=_style.INK, pad=0
    )
    axes.set_box_aspect(None, zoom=0.85)


def _components(
    states: NDArray[np.float64], count: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], list[float]]:
    """Mean of states (M, N), principal components (N, count), their fractions of the variance."""
    middle = states.mean(axis=0)
    spread = states - middle
    values, vectors = np.linalg.eigh(spread.T @ spread)
    first = vectors[:, ::-1][:, :count]
    # of either sign the one with the largest weight above 0
    largest = np.abs(first).argmax(axis=0)
    first = first * np.sign(first[largest, np.arange(count)])
    kept = np.maximum(values[::-1][:count], 0.0)
    total = float(np.maximum(values, 0.0).sum())
    return middle, first, [float(one / total) if total > 0 else 0.0 for one in kept]
