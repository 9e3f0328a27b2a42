"""Plots of hidden states over time, and of the eigenvalues of the recurrent weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _check
from . import _style
from ._model import bounded, chosen, gate_letters, suffix

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..models.cells import Recurrent

__all__ = ["eigenvalues", "hidden_states"]


def hidden_states(
    model: Recurrent,
    x: Any,
    *,
    lengths: ArrayLike | None = None,
    example: int = 0,
    sort: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """Plot the top layer's hidden states: a row for each unit, a column for each time step.

    Parameters
    ----------
    model : Recurrent
        Any network.
    x : array of shape (batch, time, input_size), or list of arrays (time_i, input_size)
        As for :meth:`~fastbptt.Recurrent.forward`; tokens for a model with an embedding.
    lengths : array of shape (batch,), optional
        Real steps of each sequence.
    example : int, default 0
        Which sequence.
    sort : bool, default True
        Sort units by similarity: by their angle in the plane of the first two principal
        components over time. The axis then counts rows, not units.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib Axes
        Its first image holds the states, of shape (units, steps).

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError, TypeError
        Naming the argument, what came and what was expected.

    Examples
    --------
    >>> import numpy as np, fastbptt
    >>> model = fastbptt.RNN(3, 8, 1, seed=0)
    >>> x = np.random.default_rng(0).normal(size=(2, 20, 3))
    >>> ax = fastbptt.plot.hidden_states(model, x)
    >>> ax.images[0].get_array().shape
    (8, 20)
    """
    one = chosen(x, lengths, example)
    _check.flag("sort", sort)
    states = np.asarray(model.forward(one).hidden[0], np.float64).T  # (units, steps)
    if sort:
        states = states[_order(states)]
    signed = bounded(model.cell)
    reach = 1.0 if signed else float(np.abs(states).max()) or 1.0
    with _style.drawing(ax) as axes:
        image = axes.imshow(
            states,
            aspect="auto",
            interpolation="nearest",
            cmap="RdBu_r" if signed else "cividis",
            vmin=-reach if signed else 0.0,
            vmax=reach,
            extent=(-0.5, states.shape[1] - 0.5, len(states) - 0.5, -0.5),
        )
        rows = "hidden unit (sorted by similarity)" if sort else "hidden unit"
        _style.dress(axes, "time step t", rows, frame="")
        _style.whole_ticks(axes.xaxis)
        _style.whole_ticks(axes.yaxis)
        _style.colour_bar(axes, image, "state $h_t$")
        return axes


def _order(states: NDArray[np.float64]) -> NDArray[np.intp]:
    """Sort units by their angle in the plane of the first two principal components."""
    courses = states - states.mean(axis=1, keepdims=True)
    left, strength, _ = np.linalg.svd(courses, full_matrices=False)
    if len(strength) < 2:
        return np.argsort(states.mean(axis=1), kind="stable")
    angles = np.arctan2(left[:, 1] * strength[1], left[:, 0] * strength[0])
    order = np.argsort(angles, kind="stable")
    # The order starts after the largest gap.
    gaps = np.diff(angles[order], append=angles[order[0]] + 2 * np.pi)
    return np.roll(order, -1 - int(gaps.argmax()))


def eigenvalues(
    model: Recurrent,
    *,
    layer: int = 0,
    reverse: bool = False,
    gate: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Plot the eigenvalues of the recurrent weights in the complex plane, with the unit circle.

    If all lie well inside the circle, a linear network forgets and its gradients vanish; if one
    lies outside, they explode. With tanh and gates this is only a first indication.

    Parameters
    ----------
    model : Recurrent
        Any network. A gated cell's ``W_hh`` holds one square block for each gate; they are drawn
        together, in different colours.
    layer : int, default 0
        Which layer, from 0.
    reverse : bool, default False
        The reverse direction of a bidirectional model.
    gate : str, optional
        Show only the block of this gate: r, z or n in a GRU, i, f, g or o in an LSTM.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib Axes
        With one line of points for each block: real parts, imaginary parts.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError, TypeError
        Naming the argument, what came and what was expected.

    Examples
    --------
    >>> import fastbptt
    >>> ax = fastbptt.plot.eigenvalues(fastbptt.GRU(3, 8, 1, seed=0), gate="n")
    >>> len(ax.lines[0].get_xdata())
    8
    """
    name = f"W_hh{suffix(model, layer, reverse)}"
    blocks = np.asarray(model.parameters[name], np.float64)
    letters = gate_letters(model.cell)
    parts = dict(zip(letters, np.split(blocks, len(letters), axis=1), strict=True))
    several = len(letters) > 1
    if gate is not None:
        parts = {gate: parts[_check.option("gate", gate, letters)]}
    found = {letter: np.linalg.eigvals(block) for letter, block in parts.items()}
    radii = {letter: float(np.abs(values).max()) for letter, values in found.items()}
    with _style.drawing(ax, (3.5, 3.1)) as axes:
        from matplotlib.patches import Circle

        axes.add_patch(Circle((0, 0), 1, facecolor=_style.FAINT, alpha=0.35, zorder=0))
        axes.add_patch(Circle((0, 0), 1, fill=False, edgecolor=_style.MUTED, linewidth=0.9))
        _style.guide(axes, x=0.0, y=0.0)
        for i, (letter, values) in enumerate(found.items()):
            axes.plot(
                values.real,
                values.imag,
                linestyle="none",
                marker="osD^"[i % 4],
                markersize=3.4,
                markerfacecolor=_style.PALETTE[_style.CURVES[i][0]],
                markeredgecolor=_style.PAPER,
                markeredgewidth=0.4,
                label=f"{f'gate {letter}:' if several else 'spectral'} radius {radii[letter]:.3g}",
                zorder=3,
            )
        every = np.concatenate([*found.values(), [-1.0 - 1.0j, 1.0 + 1.0j]])
        axes.set_xlim(every.real.min() - 0.1, every.real.max() + 0.1)
        axes.set_ylim(every.imag.min() - 0.1, every.imag.max() + 0.1)
        axes.set_aspect("equal")
        _style.dress(axes, f"real part of the eigenvalues of {name}", "imaginary part", frame="lb")
        _style.legend(
            axes,
            always=True,
            loc="lower center",
            bbox_to_anchor=(0.5, 1.0),
            ncols=2,
            handlelength=1,
        )
        return axes
