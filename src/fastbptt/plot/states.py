"""Plots of hidden states over time, and of the eigenvalues of a step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _check
from .._errors import ArgumentError
from ..diagnostics._record import structure
from ..diagnostics._step import is_plain, last_jacobian
from ..models._weights import dense
from . import _style
from ._helpers import bounded, chosen, chosen_static, gate_letters, suffix

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..models.cells import Recurrent

__all__ = ["eigenvalues", "hidden_states"]


def hidden_states(
    model: Recurrent,
    x: Any,
    *,
    lengths: ArrayLike | None = None,
    static: ArrayLike | None = None,
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
    static : array of shape (batch, static_size), optional
        Constants of each sequence, for a model with `static_size`.
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
    static = chosen_static(model, x, static, example)
    hidden = model.forward(one, static=static).hidden
    states = np.asarray(hidden[0], np.float64).T  # (units, steps)
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
    x: Any = None,
    *,
    lengths: ArrayLike | None = None,
    static: ArrayLike | None = None,
    example: int = 0,
    layer: int = 0,
    reverse: bool = False,
    gate: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Plot the eigenvalues of a layer's step in the complex plane, with the unit circle.

    The step's Jacobian, the derivative of the state after a step by the state before it, tells how
    the layer keeps a small change of its state: if all eigenvalues lie well inside the circle, it
    forgets, and gradients vanish; if one lies outside, they may explode. A plain RNN's Jacobian is
    its ``W_hh`` times slopes between 0 and 1; without `x` the eigenvalues are those of ``W_hh``.
    With gates or a leak, those of ``W_hh`` mean little: a leaky network with a spectral radius of
    1.5 may forget nothing and explode nowhere. There, without `x`, they are those of the Jacobian
    at a state and an input of 0.

    Parameters
    ----------
    model : Recurrent
        Any network.
    x : array of shape (batch, time, input_size), or list of arrays (time_i, input_size), optional
        Sequences; with an embedding tokens. The Jacobian is then that of the last step that the
        layer takes on one of them; in reverse it is at the first time step.
    lengths : array of shape (batch,), optional
        Real steps of each sequence.
    static : array of shape (batch, static_size), optional
        Constants of each sequence, for a model with `static_size`.
    example : int, default 0
        Which sequence.
    layer : int, default 0
        Which layer, from 0.
    reverse : bool, default False
        The reverse direction of a bidirectional model.
    gate : str, optional
        Show the eigenvalues of this gate's block of ``W_hh`` instead: r, z or n in a GRU, i, f, g
        or o in an LSTM, a in a cell without gates. Not with `x`.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib Axes
        With one line of points: real parts, imaginary parts. An LSTM has two for each unit, since
        its state is h and c.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError, TypeError
        Naming the argument, what came and what was expected.

    Examples
    --------
    >>> import numpy as np, fastbptt
    >>> model = fastbptt.LSTM(3, 8, 1, seed=0)
    >>> ax = fastbptt.plot.eigenvalues(model, np.ones((1, 20, 3)))
    >>> len(ax.lines[0].get_xdata())
    16
    >>> ax = fastbptt.plot.eigenvalues(model, gate="f")
    >>> len(ax.lines[0].get_xdata())
    8
    """
    name = f"W_hh{suffix(model, layer, reverse)}"
    letters = gate_letters(model.cell)
    if gate is not None:
        _check.option("gate", gate, letters)
        if x is not None:
            raise ArgumentError("gate", f'is "{gate}"', "None because x is given: W_hh needs none")
    if x is None and (lengths is not None or static is not None or example != 0):
        which = "example" if example != 0 else "static" if lengths is None else "lengths"
        raise ArgumentError(which, "is given", "x, the sequences, beside it")
    if gate is not None or (x is None and is_plain(structure(model._spec))):
        blocks = np.asarray(dense(model.parameters)[name], np.float64)
        parts = dict(zip(letters, np.split(blocks, len(letters), axis=1), strict=True))
        matrix = parts[letters[0] if gate is None else gate]
        where = "spectral" if len(letters) == 1 else f"gate {gate}:"
    else:
        one = None if x is None else chosen(x, lengths, example)
        constants = None if x is None else chosen_static(model, x, static, example)
        matrix = last_jacobian(model, layer, int(reverse), one, constants)
        where = "at the zero state:" if x is None else "at the last step:"
        name = "the Jacobian"
        which = f"layer {layer}, " if model.num_layers > 1 else ""
        where = f"{which}{'reverse, ' if reverse else ''}{where}"
    found = np.linalg.eigvals(matrix)
    with _style.drawing(ax, (3.5, 3.1)) as axes:
        from matplotlib.patches import Circle

        axes.add_patch(Circle((0, 0), 1, facecolor=_style.FAINT, alpha=0.35, zorder=0))
        axes.add_patch(Circle((0, 0), 1, fill=False, edgecolor=_style.MUTED, linewidth=0.9))
        _style.guide(axes, x=0.0, y=0.0)
        axes.plot(
            found.real,
            found.imag,
            linestyle="none",
            marker="o",
            markersize=3.4,
            markerfacecolor=_style.PALETTE["blue"],
            markeredgecolor=_style.PAPER,
            markeredgewidth=0.4,
            label=f"{where} radius {np.abs(found).max():.3g}",
            zorder=3,
        )
        every = np.concatenate([found, [-1.0 - 1.0j, 1.0 + 1.0j]])
        axes.set_xlim(every.real.min() - 0.1, every.real.max() + 0.1)
        axes.set_ylim(every.imag.min() - 0.1, every.imag.max() + 0.1)
        axes.set_aspect("equal")
        _style.dress(axes, f"real part of the eigenvalues of {name}", "imaginary part", frame="lb")
        _style.legend(axes, always=True, handlelength=1)
        return axes
