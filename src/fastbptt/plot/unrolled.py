"""Diagram of the unrolled network: the forward pass, and the gradient on its way back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _check
from .._losses import parse
from . import _style
from ._helpers import bounded, chosen, chosen_target, input_gradient

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .._losses import LossLike
    from ..models.cells import Recurrent

__all__ = ["unrolled"]

_BACK: Final = _style.PALETTE["vermillion"]
_DECADES: Final = 4  # the range of gradients that widths show
_WIDEST: Final = 6.0  # points
_NARROWEST: Final = 0.4
_BOX: Final = 0.31  # half the width of a box; columns are 1 apart
_HEIGHT: Final = 0.19  # half its height
_COLUMN: Final = 50.0  # points from column to column
_BEHIND: Final = {"facecolor": _style.PAPER, "edgecolor": "none", "alpha": 0.9, "pad": 0.5}
_ROW_POINTS: Final = 40.0  # of a unit of height
_ROWS: Final = 1.25  # between rows


def unrolled(
    model: Recurrent,
    x: Any,
    y: Any,
    *,
    loss: LossLike | None = None,
    steps: str = "last",
    lengths: ArrayLike | None = None,
    example: int = 0,
    columns: int = 5,
    ax: Axes | None = None,
) -> Axes:
    """Draw the network unrolled over one sequence, with its values and gradient norms.

    From the bottom: the inputs, the top layer's hidden states, the outputs with a loss, the loss.
    Boxes show values as colours (blue negative, white 0, red positive). Thin arrows are the forward
    pass. Thick arrows are the gradient on its way back: their width grows with the logarithm of the
    norm written beside them, over four decades from the largest one. Smaller gradients have the
    thinnest arrows, dotted if the gradient is exactly 0.

    Parameters
    ----------
    model : Recurrent
        Any network with a readout. In a bidirectional one each direction has a row of states.
        Only the top layer is drawn.
    x : array of shape (batch, time, input_size), or list of arrays (time_i, input_size)
        As for :meth:`~fastbptt.Recurrent.loss_and_grad`, like `y`.
    y : array or list of arrays
        Targets.
    loss : str or `fastbptt.Loss`, optional
        As for :meth:`~fastbptt.Recurrent.loss_and_grad`; chosen by `y` by default.
    steps : {"last", "all"}
        Whether the loss is at the last step or at all steps.
    lengths : array of shape (batch,), optional
        Real steps of each sequence.
    example : int, default 0
        Which sequence.
    columns : int, default 5
        The number of columns, at least 3. Of a longer sequence the first and last steps are drawn,
        with dots between them.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default, of half a page's width for five columns.

    Returns
    -------
    matplotlib Axes
        Without ticks; its texts hold the numbers.

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
    >>> x = np.random.default_rng(0).normal(size=(1, 20, 3))
    >>> ax = fastbptt.plot.unrolled(model, x, [1.0])
    >>> value, _ = model.loss_and_grad(x, [1.0])
    >>> any(f"{value:.3g}" in text.get_text() for text in ax.texts)
    True
    """
    most = _check.size("columns", columns)
    if most < 3:
        raise ValueError(f"columns is {most}; expected at least 3")
    numbers = _numbers(model, x, y, loss, steps, lengths, example)
    time = len(numbers.h[0])
    shown = _columns(time, most)
    with _style.drawing(ax, diagram_size(model, len(shown), steps)) as axes:
        _Diagram(axes, numbers, shown, steps).draw()
        return axes


def diagram_size(model: Recurrent, columns: int, steps: str) -> tuple[float, float]:
    """Return the size in inches of a diagram of so many columns."""
    crowded = model.bidirectional and steps == "all"
    width = _COLUMN / 72 * columns * (1.3 if crowded else 1.0)
    return max(width, 3.0), 2.75 + 0.72 * model.bidirectional + 0.3 * crowded


@dataclass
class _Numbers:
    """The numbers in the diagram of one sequence."""

    x: NDArray[np.float64]  # (T, I)
    h: list[NDArray[np.float64]]  # for each direction (T, H)
    y: NDArray[np.float64]  # (T, O), at steps without a loss not shown
    loss: float
    dh: list[NDArray[np.float64]]  # for each direction (T,): the norm of dL/dh_t
    dx: NDArray[np.float64] | None  # (T,), None with tokens
    dy: NDArray[np.float64]  # (T,)
    bounded: bool
    layers: int


def _numbers(
    model: Recurrent,
    x: Any,
    y: Any,
    loss: LossLike | None,
    steps: str,
    lengths: ArrayLike | None,
    example: int,
) -> _Numbers:
    from ..diagnostics import diagnose

    if model.output_size is None:
        raise ValueError("model has no readout; expected one with output_size")
    _check.option("steps", steps, _check.STEPS)
    one = chosen(x, lengths, example)
    target = chosen_target(y, example, steps, one.shape[1])
    found = diagnose(model, one, target, loss, steps, jacobians=False)
    out = model.forward(one)
    directions = 2 if model.bidirectional else 1
    outputs = out.outputs if steps == "all" else out.last[:, np.newaxis]
    dx = None
    if model.vocabulary_size is None:
        gradient = input_gradient(model, one, target, parse(found.objective["loss"]), steps)
        dx = np.linalg.norm(gradient[0], axis=-1)
    return _Numbers(
        x=np.asarray(one[0], np.float64).reshape(one.shape[1], -1),
        h=[np.asarray(part, np.float64) for part in np.split(out.hidden[0], directions, axis=-1)],
        y=np.asarray(outputs[0], np.float64),
        loss=found.loss,
        dh=[flow.hidden_gradient for flow in found.layers[-directions:]],
        dx=dx,
        dy=found.output.gradient[-outputs.shape[1] :],
        bounded=bounded(model.cell),
        layers=model.num_layers,
    )


def _columns(time: int, most: int) -> list[int | None]:
    """Choose the steps with a column; None stands for those left out."""
    if time <= most:
        return list(range(time))
    last = most // 2
    first = most - 1 - last
    return [*range(first), None, *range(time - last, time)]


def _grid(count: int) -> tuple[int, int]:
    """Return columns and rows that hold so many cells, nearly square and nearly all in use."""

    def cost(across: int) -> float:
        down = -(-count // across)
        shape = math.log(_BOX / across / (_HEIGHT / down) * _COLUMN / _ROW_POINTS)
        return abs(shape) + 3 * (1 - count / (across * down))

    across = min(range(1, count + 1), key=cost)
    return across, -(-count // across)


def _width(norm: float, largest: float) -> float:
    """Return an arrow's width in points."""
    if not 0 < norm <= largest or not math.isfinite(largest):
        return _WIDEST if norm > 0 else _NARROWEST
    share = max(0.0, 1 + math.log10(norm / largest) / _DECADES)
    return _NARROWEST + (_WIDEST - _NARROWEST) * share


def _text(norm: float) -> str:
    """Write a norm in few characters."""
    if norm == 0 or 0.01 <= norm < 1000 or not math.isfinite(norm):
        return f"{norm:.2g}" if norm < 100 else f"{norm:.0f}"
    mantissa, power = f"{norm:.0e}".split("e")
    return f"{mantissa}e{int(power)}"


class _Diagram:
    """Places boxes and arrows.

    Columns are steps, one apart; rows, `_ROWS` apart, are from below x, h of each direction, y, the
    loss.
    """

    def __init__(self, ax: Axes, numbers: _Numbers, shown: list[int | None], steps: str) -> None:
        self.ax, self.numbers, self.shown, self.steps = ax, numbers, shown, steps
        norms = np.concatenate([*numbers.dh, numbers.dy, [] if numbers.dx is None else numbers.dx])
        self.largest = float(np.max(norms, initial=0.0, where=np.isfinite(norms)))
        self.y_row = (len(numbers.h) + 1) * _ROWS
        self.loss_row = self.y_row + 0.86 * _ROWS
        self.small = _style.points("x-small")

    def draw(self) -> None:
        """Draw all of it."""
        ax, numbers, shown = self.ax, self.numbers, self.shown
        ax.set_axis_off()
        for column, t in enumerate(shown):
            if t is None:
                self._dots(column)
                continue
            self._box(column, 0.0, numbers.x[t], numbers.x)
            self._label(column, -_HEIGHT - 0.08, f"$x_{{{t}}}$", ha="center", va="top")
            for row, h in enumerate(numbers.h, 1):
                self._box(column, row * _ROWS, h[t], None if numbers.bounded else h)
                name = f"$h_{{{t}}}$"
                if len(numbers.h) == 2:
                    name = f"{name} →" if row == 1 else f"← {name}"
                self._label(column - _BOX, row * _ROWS + _HEIGHT + 0.05, name, va="bottom")
            self._from_below(column, t)
        for row in range(1, len(numbers.h) + 1):
            for column in range(1, len(shown)):
                self._along(row, column)
        self._readout([c for c, t in enumerate(shown) if t is not None and self._has_loss(t)])
        self._legend()
        ax.set_xlim(-0.5, len(shown) - 0.5 + 0.12 * (len(numbers.h) - 1))

    def _legend(self) -> None:
        """Add the arrows' legend: beside the loss if it is at the last step only, else below."""
        layers = self.numbers.layers
        lines = [
            ("→ forward", _style.MUTED),
            ("← gradient of the loss, with its norm", _BACK),
            (f"    (width: logarithm, {_DECADES} decades)", _BACK),
        ]
        if layers > 1:
            lines.append((f"the top one of {layers} layers", _style.MUTED))
        below = self.steps == "all"
        top = -0.62 if below else self.loss_row + 0.12
        for i, (text, colour) in enumerate(lines):
            self._label(-_BOX, top - 0.24 * i, text, color=colour)
        bottom = top - 0.24 * len(lines) if below else -0.55
        self.ax.set_ylim(bottom, self.loss_row + 0.36)

    def _has_loss(self, t: int) -> bool:
        return self.steps == "all" or t == len(self.numbers.x) - 1

    def _label(self, x: float, y: float, text: str, **options: Any) -> None:
        options = {"fontsize": self.small, "color": _style.INK, "va": "center"} | options
        self.ax.text(x, y, text, **options)

    def _box(self, x: float, y: float, values: Any, like: Any, least: float = 0.0) -> None:
        """Draw values as a grid of colours; their scale is that of `like`, or -1 to 1.

        It reaches to `least` at least.
        """
        from matplotlib.patches import Rectangle

        reach = 1.0 if like is None else max(float(np.abs(like).max()), least) or 1.0
        across, down = _grid(values.size)
        grid = np.full(down * across, np.nan)
        grid[: values.size] = values
        self.ax.imshow(
            grid.reshape(down, across),
            extent=(x - _BOX, x + _BOX, y - _HEIGHT, y + _HEIGHT),
            aspect="auto",
            interpolation="nearest",
            cmap="RdBu_r",
            vmin=-reach,
            vmax=reach,
            zorder=2,
        )
        corner = (x - _BOX, y - _HEIGHT)
        self.ax.add_patch(
            Rectangle(
                corner,
                2 * _BOX,
                2 * _HEIGHT,
                fill=False,
                edgecolor=_style.MUTED,
                linewidth=0.7,
                zorder=3,
            )
        )
        for i, value in enumerate(map(float, values[:2] if values.size < 3 else ())):
            self._label(
                x + (0 if values.size == 1 else _BOX * (i - 0.5)),
                y,
                f"{value:.2g}" if values.size == 1 else f"{value:.1f}",
                ha="center",
                color=_style.ON_LIGHT if abs(value) < 0.6 * reach else _style.ON_DARK,
                zorder=4,
            )

    def _dots(self, column: int) -> None:
        """Draw dots for the steps left out."""
        first, last = self._step(column - 1, 1), self._step(column + 1, -1)
        for row in range(len(self.numbers.h) + 1):
            self._label(
                column, row * _ROWS, r"$\cdots$", ha="center", color=_style.MUTED, fontsize=11
            )
        self._label(
            column,
            -_HEIGHT - 0.08,
            f"{last - first + 1} steps",
            ha="center",
            va="top",
            color=_style.MUTED,
        )

    def _step(self, column: int, further: int = 0) -> int:
        t = self.shown[column]
        assert t is not None  # dots have steps on both sides
        return t + further

    def _forward(self, tail: tuple[float, float], head: tuple[float, float]) -> None:
        self._arrow(tail, head, color=_style.MUTED, linewidth=0.8, mutation_scale=5)

    def _back(
        self,
        tail: tuple[float, float],
        head: tuple[float, float],
        norm: float,
        at: tuple[float, float],
        bend: float = 0.0,
        **options: Any,
    ) -> None:
        """Draw the arrow of a gradient, with its norm beside it."""
        self._label(*at, _text(norm), color=_BACK, zorder=5, bbox=_BEHIND, **options)
        curved = f"arc3,rad={bend}"
        if norm == 0:
            dots = {"linestyle": (0, (1, 2)), "linewidth": 0.9, "mutation_scale": 6}
            self._arrow(tail, head, color=_BACK, connectionstyle=curved, **dots)
            return
        width = _width(norm, self.largest)
        self._arrow(
            tail,
            head,
            arrowstyle=f"simple,tail_width={width},head_width={2 * width + 3},"
            f"head_length={1.2 * width + 3}",
            facecolor=_BACK,
            linewidth=0,
            mutation_scale=1,
            connectionstyle=curved,
        )

    def _arrow(self, tail: Any, head: Any, **options: Any) -> None:
        from matplotlib.patches import FancyArrowPatch

        options = {"arrowstyle": "-|>", "shrinkA": 0, "shrinkB": 0, "zorder": 2.5} | options
        self.ax.add_patch(FancyArrowPatch(tail, head, **options))

    def _beside(self, column: int, norm: float) -> float:
        """Return where the label of a vertical gradient begins, right of its head."""
        return column + 0.1 + (_width(norm, self.largest) + 3) / _COLUMN

    def _from_below(self, column: int, t: int) -> None:
        """Draw the arrows between an input and the states."""
        numbers = self.numbers
        low, high = _HEIGHT, _ROWS - _HEIGHT
        self._forward((column - 0.08, low), (column - 0.08, high))
        if len(numbers.h) == 2:  # the other direction reads the same input
            edge, second = column - _BOX, 2 * _ROWS
            path = ([edge, edge - 0.07, edge - 0.07], [0, 0, second])
            self.ax.plot(*path, color=_style.MUTED, linewidth=0.8, zorder=1.9)
            self._forward((edge - 0.07, second), (edge, second))
        if numbers.dx is not None:
            self._back(
                (column + 0.1, high),
                (column + 0.1, low),
                numbers.dx[t],
                (self._beside(column, numbers.dx[t]), low + 0.16),
            )

    def _along(self, row: int, column: int) -> None:
        """Draw the arrows between the states of two neighbouring columns."""
        y, bottom = row * _ROWS, row * _ROWS - _HEIGHT
        gap = (0.16 if self.shown[i] is None else _BOX for i in (column - 1, column))
        left, right = column - 1 + next(gap), column - next(gap)
        reverse = row == 2
        self._forward(*(((right, y), (left, y)) if reverse else ((left, y), (right, y))))
        if reverse:  # from the step before into the one after
            t = self.shown[column]
            into = self._step(column - 1, 1) if t is None else t
        else:
            t = self.shown[column - 1]
            into = self._step(column, -1) if t is None else t
        start, end = (column - 0.26, bottom), (column - 0.74, bottom)
        if self.shown[column] is None:
            start = (column - 0.14, y - 0.1)
        if self.shown[column - 1] is None:
            end = (column - 0.86, y - 0.1)
        ends = (end, start) if reverse else (start, end)
        self._back(
            *ends,
            self.numbers.dh[row - 1][into],
            (column - 0.5, bottom - 0.3),
            bend=0.55 if reverse else -0.55,
            ha="center",
            va="top",
        )

    def _readout(self, ends: list[int]) -> None:
        """Draw the outputs, the loss, and the arrows between them and the states."""
        numbers = self.numbers
        low, high = self.y_row - _HEIGHT, self.y_row + _HEIGHT
        middle = (ends[0] + ends[-1]) / 2
        loss_bottom = self.loss_row - _HEIGHT
        for column in ends:
            t = self._step(column)
            i = t if self.steps == "all" else 0
            self._box(column, self.y_row, numbers.y[i], numbers.y, least=1.0)
            self._label(column - _BOX, high + 0.05, f"$y_{{{t}}}$", va="bottom")
            self._forward((column - 0.08, high), (column - 0.08, loss_bottom))
            self._back(
                (column + 0.1, loss_bottom),
                (column + 0.1, high),
                numbers.dy[i],
                (self._beside(column, numbers.dy[i]), (high + loss_bottom) / 2),
            )
            for row, dh in enumerate(numbers.dh, 1):
                # At the end of a sequence the reverse direction has read it down to its first step.
                foot = 0 if row == 2 and self.steps == "last" else column
                start, norm = row * _ROWS + _HEIGHT, dh[self._step(foot)]
                if row < len(numbers.dh):
                    self._around(column, row, norm)
                    continue
                self._forward((foot - 0.08, start), (column - 0.08, low))
                self._back(
                    (column + 0.1, low),
                    (foot + 0.1, start),
                    norm,
                    (self._beside(foot, norm), start + (0.22 if foot == column else 0.34)),
                )
        from matplotlib.patches import FancyBboxPatch

        text = f"loss {numbers.loss:.3g}"
        wide = max((ends[-1] - ends[0]) / 2 + _BOX + 0.06, 0.034 * len(text) + 0.05)
        self.ax.add_patch(
            FancyBboxPatch(
                (middle - wide, loss_bottom),
                2 * wide,
                2 * _HEIGHT,
                boxstyle="round,pad=0,rounding_size=0.08",
                facecolor=_style.PAPER,
                edgecolor=_style.INK,
                linewidth=0.8,
                zorder=3,
            )
        )
        self._label(middle, self.loss_row, text, ha="center", zorder=4)

    def _around(self, column: int, row: int, norm: float) -> None:
        """Route an arrow from a direction's states to the outputs around the other's box."""
        bottom, top = row * _ROWS, self.y_row
        for side, (start, end), colour, width in (
            (0.06, (bottom + 0.1, top + 0.1), _style.MUTED, 0.8),
            (0.2, (top - 0.05, bottom - 0.05), _BACK, _width(norm, self.largest)),
        ):
            edge = column + _BOX
            self.ax.plot(
                [edge, edge + side, edge + side],
                [start, start, end],
                color=colour,
                linewidth=width,
                solid_joinstyle="miter",
                solid_capstyle="butt",
                zorder=1.9,
            )
            self._arrow(
                (edge + side, end),
                (edge, end),
                arrowstyle=f"simple,tail_width={width},head_width={2 * width + 3},"
                f"head_length={min(width + 3, 8)}",
                facecolor=colour,
                linewidth=0,
                mutation_scale=1,
            )
        self._label(
            column + _BOX,
            bottom + _HEIGHT + 0.05,
            _text(norm),
            color=_BACK,
            zorder=5,
            bbox=_BEHIND,
            ha="right",
            va="bottom",
        )
