"""Plots of training curves over the epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..training.metrics import title
from ..training.rates import LearningRates
from . import _style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["learning_rates", "losses"]


def losses(
    history: Any,
    names: Sequence[str] | None = None,
    *,
    log: bool | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Plot the loss over the epochs, or other curves of a training history.

    Parameters
    ----------
    history : History or mapping of str to sequence of float
        The result of `fastbptt.fit`, or curves by name with a value for each epoch.
    names : sequence of str, optional
        The curves to plot; by default ``"loss"`` and, if it exists, ``"validation_loss"``.
    log : bool, optional
        Use a logarithmic scale; by default if all values are positive and the largest is more
        than 100 times the smallest.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib Axes
        With one line for each name, in their order.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError, TypeError
        Naming the argument, what came and what was expected.

    Examples
    --------
    >>> import fastbptt
    >>> ax = fastbptt.plot.losses({"loss": [0.7, 0.4, 0.3], "validation_loss": [0.7, 0.5, 0.6]})
    >>> [line.get_label() for line in ax.lines]
    ['training', 'validation']
    """
    curves, epochs, best = _curves(history)
    if names is None:
        names = [name for name in ("loss", "validation_loss") if name in curves]
        if not names:
            raise ValueError(f"history has no loss; it has {', '.join(curves) or 'no curve'}")
    for name in names:
        if name not in curves:
            raise ValueError(f"names has {name!r}; expected names from {', '.join(curves)}")
    drawn = {name: np.asarray(curves[name], np.float64) for name in names}
    every = np.concatenate([values[np.isfinite(values)] for values in drawn.values()])
    if log is None:
        log = every.size > 0 and every.min() > 0 and every.max() > 100 * every.min()
    with _style.drawing(ax) as axes:
        lines = []
        for i, (name, values) in enumerate(drawn.items()):
            x = np.arange(1, len(values) + 1) if epochs is None else epochs[: len(values)]
            lines.append(_style.curve(axes, i, x, values, _title(name, names)))
        if log:
            _style.log_scale(axes, lines)
        if best is not None:
            _style.guide(axes, x=best, colour=_style.MUTED, label=f"best: epoch {best}")
        scale = " (log scale)" if log else ""
        _style.dress(axes, "epoch", f"{_kind(names)}{scale}", grid="y")
        _style.whole_ticks(axes.xaxis)
        _style.legend(axes)
        return axes


def learning_rates(found: LearningRates, *, ax: Axes | None = None) -> Axes:
    """Plot the loss over the learning rate, as `fastbptt.find_lr` found it.

    Parameters
    ----------
    found : LearningRates
        The result of `fastbptt.find_lr`.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib Axes
        With the losses, their moving mean, and a line at the suggestion if there is one.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError
        If `found` is no such result.

    Examples
    --------
    >>> import numpy as np, fastbptt
    >>> x, model = np.random.default_rng(0).normal(size=(64, 9, 1)), fastbptt.RNN(1, 4, 1, seed=0)
    >>> found = fastbptt.find_lr(model, x, x.sum(axis=1), loss="mse", updates=30)
    >>> fastbptt.plot.learning_rates(found).get_xscale()
    'log'
    """
    if not isinstance(found, LearningRates):
        raise TypeError(
            f"found is of type {type(found).__name__}; expected the result of fastbptt.find_lr"
        )
    with _style.drawing(ax) as axes:
        _style.curve(axes, 0, found.rates, found.losses, "batch", linewidth=0.7)
        _style.curve(axes, 1, found.rates, found.smoothed, "moving mean")
        axes.set_xscale("log")
        if found.suggestion is not None:
            label = f"suggestion: {found.suggestion:.2g}"
            _style.guide(axes, x=found.suggestion, colour=_style.MUTED, label=label)
        _style.dress(axes, "learning rate (log scale)", "loss", grid="y")
        _style.legend(axes)
        return axes


def _curves(history: Any) -> tuple[dict[str, Any], NDArray[np.int64] | None, int | None]:
    """Return the curves of a history by name, its epochs and the best one, where known."""
    if isinstance(history, Mapping):
        return dict(history), None, None
    try:
        curves = dict(history.curves)
        epochs = np.asarray(history.epoch, np.int64)
    except (AttributeError, TypeError):
        raise TypeError(
            f"history is {type(history).__name__}; expected the result of fastbptt.fit, or a "
            "mapping from names to numbers"
        ) from None
    return curves, epochs, getattr(history, "best_epoch", None)


def _title(name: str, names: Sequence[str]) -> str:
    """Label a curve by its data, and by its quantity if there are several."""
    data = "validation" if name.startswith("validation_") else "training"
    same = len({title(each) for each in names}) == 1
    return data if same else f"{title(name)}, {data}"


def _kind(names: Sequence[str]) -> str:
    return ", ".join(dict.fromkeys(title(name) for name in names))
