"""Plots of weight gradients over time, and of gradients over time and epochs: an animation."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _check
from .._errors import ArgumentError, ArgumentTypeError
from . import _style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .._losses import LossLike
    from ..diagnostics import Diagnosis

__all__ = ["gradient_animation", "gradient_over_time"]

_WEIGHTS: Final = ("W_xh", "W_hh", "W_hy")
_SHOWN: Final = ("both", "contribution", "running sum")
_RECORDED: Final = {
    "hidden": r"$\|\partial L / \partial h_t\|$",
    "gates": r"$\|\partial L / \partial a_t\|$",
}
_FORMATS: Final = (".gif", ".html")


class _Course(NamedTuple):
    """The gradient of one matrix over time: norms (T,)."""

    name: str
    contribution: NDArray[np.float64]
    running_sum: NDArray[np.float64]


def gradient_over_time(
    model: Any,
    x: Any,
    y: Any,
    *,
    weights: Sequence[str] = ("W_hh",),
    show: str = "both",
    layer: int | None = None,
    loss: LossLike | None = None,
    steps: str = "last",
    lengths: ArrayLike | None = None,
    static: ArrayLike | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Plot how the gradients of the weights come together over time, on a logarithmic scale.

    dL/dW is a sum over the time steps. A thick line shows the norm of each step's contribution, a
    thin one that of their sum from the step where backpropagation starts: it ends at the norm of
    the gradient.

    Parameters
    ----------
    model : Recurrent, or mapping of str to Recurrent
        A model; or several by name, to compare cells or initial weights.
    x : array of shape (batch, time, input_size), or list of arrays (time_i, input_size)
        As for :meth:`~fastbptt.Recurrent.loss_and_grad`, like `y`.
    y : array or list of arrays
        Targets.
    weights : sequence of {"W_xh", "W_hh", "W_hy"}, default ("W_hh",)
        Which matrices: of the inputs, the recurrent ones, of the readout.
    show : {"both", "contribution", "running sum"}
        Which of the two lines.
    layer : int, optional
        Draw this layer and direction only, counted as `Diagnosis.layers` counts them; -1 is the
        last one. All by default.
    loss : str or `fastbptt.Loss`, optional
        As for :meth:`~fastbptt.Recurrent.loss_and_grad`; chosen by `y` by default.
    steps : {"last", "all", "mean", "max"}
        Whether the loss is at the last step, at all steps, or on the readout of the hidden states
        pooled over the steps.
    lengths : array of shape (batch,), optional
        Real steps of each sequence.
    static : array of shape (batch, static_size), optional
        Constants of each sequence, for models with `static_size`.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib Axes
        With one or two lines for each model, layer and matrix; colours and dashes tell twelve
        apart, further ones carry their number. Computed in float64, whatever the model's dtype.
        Zeros, which a logarithmic scale cannot show, are marks on a line labelled "exactly 0".

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError, TypeError
        Naming the argument, what came and what was expected.

    Examples
    --------
    >>> import numpy as np, fastbptt
    >>> x, y = np.random.default_rng(0).normal(size=(4, 50, 3)), [0, 1, 0, 1]
    >>> models = {"RNN": fastbptt.RNN(3, 8, 1, seed=0), "LSTM": fastbptt.LSTM(3, 8, 1, seed=0)}
    >>> ax = fastbptt.plot.gradient_over_time(models, x, y, show="running sum")
    >>> _, grads = models["RNN"].loss_and_grad(x, y)
    >>> bool(np.isclose(ax.lines[0].get_ydata()[0], np.linalg.norm(grads["W_hh"])))
    True
    """
    from ..diagnostics import diagnose

    names = _matrices(weights)
    _check.option("show", show, _SHOWN)
    if layer is not None and set(names) == {"W_hy"}:
        raise ArgumentError("layer", f"is {layer}", "None: W_hy belongs to no layer")
    models = model if isinstance(model, Mapping) else {"": model}
    if not models:
        raise ArgumentError("model", "is empty", "at least one model")
    courses = [
        course
        for label, one in models.items()
        for course in _courses(
            diagnose(one, x, y, loss, steps, lengths, static=static, jacobians=False),
            str(label),
            names,
            layer,
        )
    ]
    with _style.drawing(ax) as axes:
        _draw(axes, courses, show)
        what = _quantity(names)
        _style.dress(axes, "time step t", f"{what} (log scale)", grid="y")
        _style.whole_ticks(axes.xaxis)
        return axes


def _matrices(weights: Any) -> tuple[str, ...]:
    if isinstance(weights, str) or not isinstance(weights, Sequence) or not weights:
        raise ArgumentTypeError(
            "weights", f"is {_check.quoted(weights)}", 'names of matrices such as ("W_hh",)'
        )
    for i, name in enumerate(weights):
        _check.option(f"weights[{i}]", name, _WEIGHTS)
        if name in weights[:i]:
            raise ArgumentError("weights", f'has "{name}" twice', "each matrix once")
    return tuple(weights)


def _quantity(names: Sequence[str]) -> str:
    if len(names) > 1:
        return r"$\|\partial L / \partial W\|$"
    return rf"$\|\partial L / \partial W_{{{names[0][2:]}}}\|$"


def _courses(
    found: Diagnosis, model: str, names: Sequence[str], layer: int | None
) -> Iterator[_Course]:
    """Yield the gradients of the matrices of one model."""
    if layer is None:
        layers: Sequence[Any] = found.layers
    else:
        count = len(found.layers)
        if not -count <= layer < count:
            raise ArgumentError("layer", f"is {layer}", f"{-count} to {count - 1}")
        layers = [found.layers[layer]]

    def label(matrix: str, place: str) -> str:
        parts = (model, matrix if len(names) > 1 else "", place)
        return ", ".join(part for part in parts if part)

    for name in names:
        if name == "W_hy":
            output = found.output
            if output.contribution is None or output.running_sum is None:
                raise ArgumentError("weights", 'has "W_hy"', "a model with a readout for it")
            yield _Course(label(name, ""), output.contribution, output.running_sum)
            continue
        for flow in layers:
            alone = layer is not None or len(found.layers) == 1
            yield _Course(
                label(name, "" if alone else _place(flow.name)),
                flow.contribution[name],
                flow.running_sum[name],
            )


def _place(name: str) -> str:
    """Return what a reader calls a layer and direction: of ``"l1_reverse"``, layer 1, reverse."""
    return f"layer {name.removeprefix('l').replace('_reverse', ', reverse')}"


def _draw(
    ax: Axes,
    courses: Sequence[_Course],
    show: str,
    values: NDArray[np.float64] | None = None,
) -> None:
    """Draw contributions thick and their sums thin, in one colour and dash for each matrix."""
    from matplotlib.lines import Line2D

    lines, several = [], len(courses) > 1
    for i, (name, contribution, running_sum) in enumerate(courses):
        time, label = np.arange(len(contribution)), _style.plain(name) or "_nothing"
        if show != "running sum":
            line = _style.curve(ax, i, time, contribution, label, linewidth=1.9)
            lines.append(line)
            label = "_sum"
        if show != "contribution":
            lines.append(_style.curve(ax, i, time, running_sum, label, linewidth=0.8))
    _style.log_scale(ax, lines, values)
    kinds = {
        "contribution": ("contribution of step t", 1.9),
        "running sum": ("running sum", 0.8),
    }
    colour = _style.MUTED if several else _style.PALETTE[_style.CURVES[0][0]]
    keys = [
        Line2D([], [], color=colour, linewidth=width, label=text)
        for kind, (text, width) in kinds.items()
        if show in ("both", kind)
    ]
    _style.legend(ax, keys, always=True)


def gradient_animation(
    monitor: Any,
    path: str | os.PathLike[str],
    quantity: str = "hidden",
    *,
    show: str | None = None,
    seconds: float = 0.15,
) -> str:
    """Save gradient norms over time, epoch by epoch, as an animation.

    Parameters
    ----------
    monitor : GradientMonitor
        The callback after `fastbptt.fit`.
    path : str or path-like
        Ends in ``.gif``, or in ``.html``: one file with a slider, which needs no network.
    quantity : {"hidden", "gates", "W_xh", "W_hh", "W_hy"}
        Which norms at each step: of dL/dh_t, ``"hidden"``; of dL/da_t of all gates together,
        ``"gates"``: means of the epoch's batches. Or the contributions to the gradient of a matrix
        and their running sum, as in :func:`~fastbptt.plot.gradient_over_time`: these a
        ``GradientMonitor(probe=(x, y))`` records.
    show : {"both", "contribution", "running sum"}, optional
        Of a matrix: which of the two lines; both by default.
    seconds : float, default 0.15
        How long each epoch is shown.

    Returns
    -------
    str
        The path.

    Raises
    ------
    ImportError
        If matplotlib or Pillow is not installed.
    ValueError, TypeError
        Naming the argument, what came and what was expected.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np, fastbptt
    >>> x = np.random.default_rng(0).normal(size=(32, 8, 2))
    >>> y = x[:, 0, 0] > 0
    >>> monitor = fastbptt.GradientMonitor(probe=(x[:8], y[:8]))
    >>> history = fastbptt.fit(
    ...     fastbptt.GRU(2, 8, 1, seed=0), x, y, epochs=3, callbacks=[monitor], verbose=0
    ... )
    >>> path = os.path.join(tempfile.mkdtemp(), "gradient.gif")
    >>> fastbptt.plot.gradient_animation(monitor, path, "W_hh") == path
    True
    """
    from ..diagnostics import GradientMonitor
    from ..files.atomic import write_whole

    _style.require()
    _style.require("PIL.Image")
    name = _check.file_path(path)
    kind = Path(name).suffix.lower()
    if kind not in _FORMATS:
        raise ArgumentError("path", f"is {name!r}", "a name that ends in .gif or .html")
    _check.option("quantity", quantity, (*_RECORDED, *_WEIGHTS))
    if show is not None:
        _check.option("show", show, _SHOWN)
        if quantity in _RECORDED:
            raise ArgumentError("show", f'is "{show}"', f'None with quantity="{quantity}"')
    duration = _check.number("seconds", seconds, "a number above 0")
    if not 0.02 <= duration < 60.0:
        raise ArgumentError("seconds", f"is {duration:g}", "0.02 to 60")
    if not isinstance(monitor, GradientMonitor):
        raise ArgumentTypeError("monitor", f"is {type(monitor).__name__}", "a GradientMonitor")
    if not monitor.epochs:
        raise ArgumentError("monitor", "has no epochs", "the callback after fastbptt.fit")
    frames = _frames(monitor, quantity, show or "both")
    content = _gif(frames, duration) if kind == ".gif" else _html(frames, monitor.epochs, duration)
    write_whole(name, content)
    return name


def _frames(monitor: Any, quantity: str, show: str) -> list[bytes]:
    """Draw each epoch on the same scale: PNG files of one size."""
    epochs = list(_recorded(monitor, quantity))
    shown = _SHOWN[1:] if show == "both" else (show,)
    fields = ["contribution"] if quantity in _RECORDED else [one.replace(" ", "_") for one in shown]
    values = np.concatenate(
        [getattr(course, field) for courses in epochs for course in courses for field in fields]
    )
    frames = []
    with _style.style():
        figure = _style.new_figure(*_style.HALF_PAGE)
        axes = figure.subplots()
        height = figure.get_figheight()
        for epoch, courses in zip(monitor.epochs, epochs, strict=True):
            axes.clear()
            figure.set_figheight(height)
            if quantity in _RECORDED:
                lines = [
                    _style.curve(axes, i, np.arange(len(norm)), norm, name)
                    for i, (name, norm, _) in enumerate(courses)
                ]
                _style.log_scale(axes, lines, values)
                _style.legend(axes)
            else:
                _draw(axes, courses, show, values)
            label = _RECORDED.get(quantity) or _quantity([quantity])
            _style.dress(axes, "time step t", f"{label} (log scale)", grid="y")
            _style.whole_ticks(axes.xaxis)
            axes.set_title(
                f"epoch {epoch}", fontsize="medium", fontweight="normal", color=_style.INK
            )
            file = io.BytesIO()
            figure.savefig(file, format="png", dpi=150)
            frames.append(file.getvalue())
            figure.set_layout_engine("none")  # the same for all
    return frames


def _recorded(monitor: Any, quantity: str) -> Iterator[list[_Course]]:
    """Yield the curves of each epoch."""
    names = [_place(one) for one in monitor.pass_names]
    if quantity in _RECORDED:
        for epoch in monitor.layers if quantity == "hidden" else monitor.gates:
            yield [_Course(name, norm, norm) for name, norm in zip(names, epoch, strict=True)]
        return
    if quantity not in monitor.contribution:
        raise ArgumentError(
            "quantity",
            f'is "{quantity}", which the monitor has not recorded',
            '"hidden" or "gates", or a GradientMonitor(probe=(x, y))',
        )
    both = monitor.contribution[quantity], monitor.running_sum[quantity]
    for contribution, running_sum in zip(*both, strict=True):
        labels = names if len(contribution) > 1 else [""]
        yield [_Course(*one) for one in zip(labels, contribution, running_sum, strict=True)]


def _gif(frames: Sequence[bytes], seconds: float) -> bytes:
    from PIL import Image

    first, *others = (Image.open(io.BytesIO(frame)).convert("RGB") for frame in frames)
    file = io.BytesIO()
    first.save(
        file,
        format="GIF",
        save_all=True,
        append_images=others,
        duration=round(1000 * seconds),
        loop=0,
    )
    return file.getvalue()


def _html(frames: Sequence[bytes], epochs: Sequence[int], seconds: float) -> bytes:
    page = files(__package__).joinpath("animation.html").read_text(encoding="utf-8")
    for name, value in (
        ("last", len(frames) - 1),
        ("epochs", ",".join(map(str, epochs))),
        ("milliseconds", round(1000 * seconds)),
        ("playing", int(len(frames) > 1)),
        ("frames", ",".join(f'"{base64.b64encode(frame).decode()}"' for frame in frames)),
    ):
        page = page.replace(f"@{name}@", str(value))
    return page.encode("utf-8")
