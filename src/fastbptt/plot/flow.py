"""Plots of the gradient: its norm over time and epochs; gates; saliency."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _check
from .._errors import ArgumentError
from ..training.labelled import objective_of
from . import _style
from ._helpers import chosen, chosen_static, chosen_target, input_gradient

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .._losses import LossLike
    from ..models.cells import Recurrent

__all__ = ["gates", "gradient_flow", "gradient_heatmap", "saliency"]


def _all_gates(flow: Any) -> NDArray[np.float64]:
    return np.asarray(np.sqrt(sum(np.square(norm) for norm in flow.gate_gradient.values())))


def _jacobian(flow: Any) -> NDArray[np.float64]:
    if flow.jacobian is None:
        raise ValueError("quantity is 'jacobian'; expected another: there are no Jacobians")
    return np.asarray(flow.jacobian)


# Quantities of `gradient_flow`, by name: the label of the axis, and the numbers (T,) of a layer.
QUANTITIES: Final[dict[str, tuple[str, Callable[[Any], NDArray[np.float64]]]]] = {
    "hidden": (r"$\|\partial L / \partial h_t\|$", lambda flow: flow.hidden_gradient),
    "gates": (r"$\|\partial L / \partial a_t\|$", _all_gates),
    "jacobian": (r"$\|\partial h_T / \partial h_t\|$", _jacobian),
}


def gradient_flow(
    flows: Any,
    quantity: str = "hidden",
    *,
    layer: int | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Plot the gradient norm at each time step, on a logarithmic scale.

    Parameters
    ----------
    flows : Diagnosis, mapping of str to Diagnosis, or mapping of str to array of shape (T,)
        The result of `fastbptt.diagnose`: one line for each layer and direction. Or several of
        them by name, to compare cells, initial weights or epochs: one line each, of the top
        layer. Or the numbers themselves.
    quantity : str, default "hidden"
        Which norm: of dL/dh_t, ``"hidden"``; of dL/da_t of all gates together, ``"gates"``; of
        dh_T/dh_t, ``"jacobian"``. For the gradients of the weights there is
        :func:`~fastbptt.plot.gradient_over_time`.
    layer : int, optional
        Draw this layer only, counted as `Diagnosis.layers` counts them; -1 is the last one.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib Axes
        With one line for each layer or name. Zeros, which a logarithmic scale cannot show, are
        marks on a line labelled "exactly 0".

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError, TypeError
        Naming the argument, what came and what was expected.

    Examples
    --------
    >>> import numpy as np, fastbptt
    >>> x = np.random.default_rng(0).normal(size=(4, 50, 3))
    >>> models = {"RNN": fastbptt.RNN(3, 8, 1, seed=0), "LSTM": fastbptt.LSTM(3, 8, 1, seed=0)}
    >>> found = {name: fastbptt.diagnose(model, x, [0, 1, 0, 1]) for name, model in models.items()}
    >>> ax = fastbptt.plot.gradient_flow(found)
    >>> bool((ax.lines[0].get_ydata() == found["RNN"].layers[0].hidden_gradient).all())
    True
    """
    _check.option("quantity", quantity, QUANTITIES)
    label, numbers = QUANTITIES[quantity]
    courses: dict[str, NDArray[np.float64]] = {}
    if isinstance(flows, Mapping):
        if layer is not None and not any(hasattr(each, "layers") for each in flows.values()):
            raise ArgumentError(
                "layer", f"is {_check.shown(layer)}", "None: numbers have no layers"
            )
        for name, each in flows.items():
            if hasattr(each, "layers"):
                courses[str(name)] = numbers(_layer(each, -1 if layer is None else layer))
            else:
                courses[str(name)] = np.asarray(each, np.float64)
    elif hasattr(flows, "layers"):
        chosen_layers = flows.layers if layer is None else [_layer(flows, layer)]
        courses = {_name(flow): numbers(flow) for flow in chosen_layers}
    else:
        raise TypeError(
            f"flows is {type(flows).__name__}; expected the result of fastbptt.diagnose, or a "
            "mapping from names to results"
        )
    for name, values in courses.items():
        if np.ndim(values) != 1:
            raise ValueError(
                f"flows has numbers of shape {np.shape(values)} for {name!r}; expected (T,): "
                "a diagnosis without per_example"
            )
    with _style.drawing(ax) as axes:
        lines = [
            _style.curve(axes, i, np.arange(len(values)), values, _style.plain(name))
            for i, (name, values) in enumerate(courses.items())
        ]
        _style.log_scale(axes, lines)
        _style.dress(axes, "time step t", f"{label} (log scale)", grid="y")
        _style.whole_ticks(axes.xaxis)
        _style.legend(axes)
        return axes


def _layer(diagnosis: Any, number: int) -> Any:
    count = len(diagnosis.layers)
    if not -count <= number < count:
        raise ValueError(f"layer is {number}; expected {-count} to {count - 1}")
    return diagnosis.layers[number]


def _name(flow: Any) -> str:
    return f"layer {flow.layer}{', reverse' if flow.reverse else ''}"


def gates(diagnosis: Any, *, layer: int = -1, ax: Axes | None = None) -> Axes:
    """Plot the mean activation of each gate at each time step, over units and sequences.

    Parameters
    ----------
    diagnosis : Diagnosis
        The result of `fastbptt.diagnose` for a model with gates.
    layer : int, default -1
        Which layer, counted as `Diagnosis.layers` counts them; the last one by default.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib Axes
        With one line for each gate: 0 is closed, 1 is open.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If the layer has no gates.

    Examples
    --------
    >>> import numpy as np, fastbptt
    >>> model = fastbptt.GRU(3, 8, 1, seed=0)
    >>> x = np.random.default_rng(0).normal(size=(4, 50, 3))
    >>> ax = fastbptt.plot.gates(fastbptt.diagnose(model, x, [0, 1, 0, 1]))
    >>> [line.get_label() for line in ax.lines]
    ['reset gate r', 'update gate z']
    """
    flow = _layer(diagnosis, layer)
    if not flow.gate_activation:
        raise ValueError(f"diagnosis is of {diagnosis.model}; expected a model with gates")
    with _style.drawing(ax) as axes:
        for i, (letter, open_) in enumerate(flow.gate_activation.items()):
            name = f"{_GATES.get(letter, 'gate')} {letter}"
            _style.curve(axes, i, diagnosis.steps, open_, name)
        axes.set_ylim(-0.02, 1.02)
        _style.dress(axes, "time step t", "mean gate activation", grid="y")
        _style.whole_ticks(axes.xaxis)
        _style.legend(axes, always=True)
        return axes


_GATES: Final = {
    "r": "reset gate",
    "z": "update gate",
    "i": "input gate",
    "f": "forget gate",
    "o": "output gate",
}


def gradient_heatmap(
    monitor: Any, *, epochs: Sequence[int] | None = None, ax: Axes | None = None
) -> Axes:
    """Plot the gradient norm at each time step in each epoch of training.

    Parameters
    ----------
    monitor : GradientMonitor or array of shape (epochs, time)
        The callback after `fastbptt.fit`; or norms, a row for each epoch.
    epochs : sequence of int, optional
        With an array: the epoch of each row; 1, 2, ... by default.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib Axes
        Its first image holds the norms, of shape (epochs, time); exact zeros are grey.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError, TypeError
        Naming the argument, what came and what was expected.

    Examples
    --------
    >>> import fastbptt
    >>> ax = fastbptt.plot.gradient_heatmap([[1e-9, 1e-6, 1e-3], [1e-5, 1e-4, 1e-3]])
    >>> ax.images[0].get_array().shape
    (2, 3)
    """
    if hasattr(monitor, "hidden"):
        if epochs is not None:
            raise ArgumentError("epochs", "is given", "None: the monitor knows its epochs")
        norms, epochs = np.asarray(monitor.hidden, np.float64), monitor.epochs
    else:
        norms = np.asarray(monitor, np.float64)
    if norms.ndim != 2 or 0 in norms.shape:
        raise ValueError(f"monitor has norms of shape {norms.shape}; expected (epochs, time)")
    numbers = np.arange(1, len(norms) + 1) if epochs is None else np.asarray(epochs)
    if numbers.shape != (len(norms),):
        raise ValueError(f"epochs has shape {numbers.shape}; expected ({len(norms)},)")
    matplotlib = _style.require()
    from matplotlib.colors import LogNorm
    from matplotlib.patches import Patch

    living = norms[(norms > 0) & np.isfinite(norms)]
    low, high = (float(living.min()), float(living.max())) if living.size else (0.1, 1.0)
    colours = matplotlib.colormaps["viridis"].with_extremes(bad=_style.FAINT)
    with _style.drawing(ax) as axes:
        image = axes.imshow(
            np.ma.masked_less_equal(norms, 0.0),
            norm=LogNorm(low, high if high > low else 10 * low),
            cmap=colours,
            aspect="auto",
            interpolation="nearest",
            extent=(-0.5, norms.shape[1] - 0.5, len(norms) - 0.5, -0.5),
        )
        _style.dress(axes, "time step t", "epoch", frame="")
        _style.whole_ticks(axes.xaxis)
        every = -(-len(norms) // 6)
        rows = range(0, len(norms), every)
        axes.set_yticks(rows, [str(numbers[row]) for row in rows])
        _style.colour_bar(axes, image, r"$\|\partial L / \partial h_t\|$")
        if (norms <= 0).any():
            _style.legend(axes, [Patch(facecolor=_style.FAINT, label="exactly 0")], always=True)
        return axes


def saliency(
    model: Recurrent,
    x: Any,
    y: Any,
    *,
    loss: LossLike | None = None,
    steps: str = "last",
    lengths: ArrayLike | None = None,
    static: ArrayLike | None = None,
    example: int = 0,
    feature_names: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Plot saliency: the gradient of the loss with respect to each input.

    Parameters
    ----------
    model : Recurrent
        Any network without an embedding.
    x : array of shape (batch, time, input_size), or list of arrays (time_i, input_size)
        As for :meth:`~fastbptt.Recurrent.loss_and_grad`, like `y`.
    y : array or list of arrays
        Targets.
    loss : str or `fastbptt.Loss`, optional
        As for :meth:`~fastbptt.Recurrent.loss_and_grad`; chosen by `y` by default.
    steps : {"last", "all", "mean", "max"}
        Whether the loss is at the last step, at all steps, or on the readout of the hidden states
        pooled over the steps.
    lengths : array of shape (batch,), optional
        Real steps of each sequence.
    static : array of shape (batch, static_size), optional
        Constants of each sequence, for a model with `static_size`.
    example : int, default 0
        Which sequence.
    feature_names : sequence of str, optional
        One name for each feature.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib Axes
        Its first image holds dL/dx_t, computed in float64, of shape (features, time): red where
        a larger feature increases the loss, blue where it decreases it.

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
    >>> ax = fastbptt.plot.saliency(model, x, [0, 1])
    >>> ax.images[0].get_array().shape
    (3, 20)
    """
    if model.vocabulary_size is not None:
        raise ValueError("model has an embedding; expected one without: tokens have no gradient")
    _check.option("steps", steps, _check.READOUTS)
    one = chosen(x, lengths, example)
    target = chosen_target(y, example, steps, one.shape[1])
    objective, _ = objective_of(model, y, loss, steps, lengths)  # of all sequences, as in fit
    gradient = input_gradient(
        model, one, target, objective, steps, chosen_static(model, x, static, example)
    )[0].T
    reach = float(np.abs(gradient).max()) or 1.0
    with _style.drawing(ax) as axes:
        image = axes.imshow(
            gradient,
            aspect="auto",
            interpolation="nearest",
            cmap="RdBu_r",
            vmin=-reach,
            vmax=reach,
            extent=(-0.5, gradient.shape[1] - 0.5, len(gradient) - 0.5, -0.5),
        )
        _style.dress(axes, "time step t", "feature", frame="")
        _style.whole_ticks(axes.xaxis)
        if feature_names is None:
            _style.whole_ticks(axes.yaxis)
        else:
            if len(feature_names) != len(gradient):
                raise ValueError(
                    f"feature_names has {len(feature_names)} names; expected {len(gradient)}"
                )
            every = -(-len(gradient) // 24)
            rows = range(0, len(gradient), every)
            names = _style.shortened(feature_names)
            axes.set_yticks(rows, [_style.plain(names[row]) for row in rows])
        _style.colour_bar(axes, image, r"$\partial L / \partial x_t$")
        return axes
