"""Diagram of the unrolled network: the forward pass, and the gradient on its way back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import ArrayLike

from .. import _check, _losses
from .._errors import ArgumentError
from .._losses import Loss
from ..diagnostics._advice import plural
from ..training.evaluation import check_model
from ..training.labelled import LabelledData, about_chosen, locate
from . import _style
from ._helpers import bounded, cell_title, index
from ._layout import (
    DEAD,
    DECADES,
    FONT,
    MOST_LAYERS,
    Area,
    Arrow,
    Box,
    Drawing,
    Layout,
    columns_of,
    dies_at,
    name_of,
    text_width,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .._losses import LossLike
    from ..models.cells import Recurrent

__all__ = ["unrolled"]

_BACK: Final = _style.PALETTE["vermillion"]
_SUM: Final = "#F2C4A4"  # the same, paler
_WORD: Final = 56.0  # points of a word
_FEWEST: Final = 6  # its letters
_WIDEST: Final = 4.2  # points
_NARROWEST: Final = 0.5
_HEAD: Final = 5.5  # length of an arrow's head
_WHERE: Final = {
    "last": "at the last step",
    "all": "at every step, their mean",
    "mean": "on the mean of h over all steps",
    "max": "on the maximum of each unit of h over all steps",
}
_COLOURS: Final = {"ink": _style.INK, "muted": _style.MUTED, "back": _BACK}


def unrolled(
    model: Recurrent,
    x: Any,
    y: Any,
    *,
    loss: LossLike | None = None,
    steps: str = "last",
    lengths: ArrayLike | None = None,
    static: ArrayLike | None = None,
    example: int = 0,
    columns: int = 5,
    vocabulary: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the network unrolled over one sequence, with its values and what flows back.

    From the bottom: the inputs, the states of each layer and direction, the outputs that have a
    loss, the loss. Steps count from 1; ``h_0`` is the initial state, ``h_1`` the state after the
    first step. Boxes show values as colours (blue negative, white 0, red positive). Each grey arrow
    is the forward pass along an edge, with the weight that it uses; the orange arrow beside it is
    what flows back along the same edge, with its norm. What flows into a box from all sides adds
    up, as vectors, to the gradient of the loss with respect to it. In cells with a cell state,
    ``a_t`` are the sums from which the gates are computed. Below, the gradient of each weight grows
    step by step to its final norm.

    Parameters
    ----------
    model : Recurrent
        Any network with a readout. Of more than four layers, those in the middle are left out.
    x : array of shape (batch, time, input_size), or list of arrays (time_i, input_size)
        As for :meth:`~fastbptt.Recurrent.loss_and_grad`, like `y`.
    y : array or list of arrays
        Targets.
    loss : str or `fastbptt.Loss`, optional
        As for :meth:`~fastbptt.Recurrent.loss_and_grad`; chosen by `y` by default.
    steps : {"last", "all", "mean", "max"}
        Whether the loss is at the last step, at all steps, or on the readout of the hidden states
        pooled over the steps, which is then a box above them.
    lengths : array of shape (batch,), optional
        Real steps of each sequence.
    static : array of shape (batch, static_size), optional
        Constants of each sequence, for a model with `static_size`.
    example : int, default 0
        Which sequence.
    columns : int, default 5
        The number of columns, at least 3, a gap counted as one. Of a longer sequence the first and
        last steps are drawn and, with 5 columns or more, the step at which the gradient has fallen
        below 1/1000 of its largest norm.
    vocabulary : sequence of str, optional
        Of a model with an embedding: the word of each token, such as ``tokenizer.tokens``. Without
        it the tokens' numbers are written.
    ax : matplotlib Axes, optional
        Where to draw, scaled to fit; a new figure of the diagram's own size by default.

    Returns
    -------
    matplotlib Axes
        Without ticks; its texts hold the numbers.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError, TypeError
        Naming the argument, what came and what was expected; also if a value, the loss or a
        gradient is not finite.

    Examples
    --------
    >>> import numpy as np, fastbptt
    >>> model = fastbptt.RNN(3, 8, 1, seed=0)
    >>> x = np.random.default_rng(0).normal(size=(1, 20, 3))
    >>> ax = fastbptt.plot.unrolled(model, x, [1.0])
    >>> value, _ = model.loss_and_grad(x, [1.0])
    >>> any(f"{value:.4g}" in text.get_text() for text in ax.texts)
    True
    """
    _style.require()
    drawing = diagram(
        model,
        x,
        y,
        loss=loss,
        steps=steps,
        lengths=lengths,
        static=static,
        example=example,
        columns=columns,
        vocabulary=vocabulary,
    )
    with _style.drawing(ax, size_of(drawing)) as axes:
        draw(drawing, axes)
        return axes


def size_of(drawing: Drawing) -> tuple[float, float]:
    """Return a diagram's own size in inches."""
    x0, y0, x1, y1 = drawing.extent
    return (x1 - x0) / 72 + 0.1, (y1 - y0) / 72 + 0.1


def diagram(
    model: Recurrent,
    x: Any,
    y: Any,
    *,
    loss: LossLike | None = None,
    steps: str = "last",
    lengths: ArrayLike | None = None,
    static: ArrayLike | None = None,
    example: int = 0,
    columns: int = 5,
    vocabulary: Sequence[str] | None = None,
) -> Drawing:
    """Compute and place what `unrolled` draws; arguments as there."""
    from ..diagnostics._graph import unroll

    most = _check.size("columns", columns)
    if most < 3:
        raise ValueError(f"columns is {most}; expected at least 3")
    check_model(model)
    if model.output_size is None:
        raise ValueError("model has no readout; expected one with output_size")
    _check.option("steps", steps, _check.READOUTS)
    check_vocabulary(model, vocabulary)
    if loss is not None:
        loss = _losses.loss(loss)
    data = LabelledData(model, x, y, loss, steps, "mean", lengths, static=static)
    row = index("example", example, data.count)
    rows = np.array([row])
    (one, _), (target, _) = data.x.take(rows), data.y.take(rows)
    try:
        assert isinstance(data.loss, Loss)  # not a function, which `unroll` does not take
        with about_chosen(data._chosen):
            found = unroll(model, one, target, data.loss, steps, data.static(rows))
    except ArgumentError as error:
        locate(error, rows)
        raise
    dies = dies_at(found)
    shown = columns_of(found.time, most, dies)
    words: dict[int, str] = {}
    if model.vocabulary_size is not None:
        drawn = [t for t in shown if t is not None]
        words = dict(
            zip(drawn, _words([int(one[0, t - 1]) for t in drawn], vocabulary), strict=True)
        )
    notes = [f"loss: {data.loss}, {_WHERE[steps]}"]
    if dies is not None and dies in shown:
        way = " (forward direction)" if model.bidirectional else ""
        notes.append(
            f"step {dies}{way}: going back, the first where the gradient of the state is below "
            f"1/{1 / DEAD:.0f} of its largest"
        )
    if len(found.states) > 1:
        notes.append(r"a: what the gates are computed from, $x\,W_{xh}+h\,W_{hh}+b_h$")
    if found.layers > MOST_LAYERS:
        notes.append(f"of {found.layers} layers, 1 to {found.layers - MOST_LAYERS + 1} left out")
    if words:
        notes.append("e: the row of the embedding matrix of the token below it")
    title = _title(model, found.time, data.count, row)
    return Layout(found, shown, title, words, bounded(model.cell), notes, dies).place()


def check_vocabulary(model: Recurrent, vocabulary: Sequence[str] | None) -> None:
    """Refuse what is not one word for each token of a model with an embedding."""
    if vocabulary is None:
        return
    if model.vocabulary_size is None:
        raise ValueError("vocabulary is given; expected None because the model has no embedding")
    if isinstance(vocabulary, str) or not isinstance(vocabulary, Sequence):
        raise TypeError(
            f"vocabulary is {type(vocabulary).__name__}; expected a sequence with the word of each "
            "token, such as tokenizer.tokens"
        )
    if len(vocabulary) != model.vocabulary_size:
        raise ValueError(
            f"vocabulary has {len(vocabulary)} words; expected {model.vocabulary_size}, one for "
            "each row of the model's embedding"
        )


def _words(tokens: list[int], vocabulary: Sequence[str] | None) -> list[str]:
    """Return what is written below the vectors of tokens: as short as a column is wide."""
    if vocabulary is None:
        return [f"token {token}" for token in tokens]
    words = [str(vocabulary[token]) for token in tokens]
    longest = max(_FEWEST, *map(len, words))
    for most in range(longest, _FEWEST - 1, -1):
        short = [_style.plain(word) for word in _style.shortened(words, most)]
        if max(map(text_width, short)) <= _WORD:
            return short
    return [f"token {token}" for token in tokens]  # letters that are too wide


def _title(model: Recurrent, time: int, count: int, example: int) -> str:
    """Say what is drawn: the cell, its sizes, the sequence."""
    layers = "" if model.num_layers == 1 else f"{model.num_layers} layers of "
    both = " in each direction" if model.bidirectional else ""
    inputs = plural(model.input_size, "input")
    if model.vocabulary_size is not None:
        inputs = f"{model.vocabulary_size} tokens as {plural(model.input_size, 'number')}"
    sequence = f"sequence {example} of {count}, " if count > 1 else ""
    units, outputs = plural(model.hidden_size, "unit"), plural(model.output_size or 0, "output")
    return (
        f"{cell_title(model.cell)}: {inputs}, {layers}{units}{both}, {outputs}; "
        f"{sequence}{plural(time, 'step')}"
    )


# ---------------------------------------------------------------- drawing


def draw(drawing: Drawing, ax: Axes) -> None:
    """Draw a diagram into an Axes, as large as fits, at most at the size of the Axes' type."""
    x0, y0, x1, y1 = drawing.extent
    ax.set_axis_off()
    scale = _scale(ax, x1 - x0, y1 - y0)
    for bar in drawing.bars:
        _draw_bar(ax, bar, scale)
    for ramp in drawing.ramps:
        _image(ax, np.linspace(-1, 1, 64)[np.newaxis], (ramp.x0, ramp.x1, ramp.y0, ramp.y1), 1.0)
    for box in drawing.boxes:
        _draw_box(ax, box, scale)
    for arrow in drawing.arrows:
        _draw_arrow(ax, arrow, drawing.largest, scale)
    for label in drawing.labels:
        ax.text(
            label.x,
            label.y,
            label.text,
            ha=label.ha,
            va=label.va,
            fontsize=FONT * scale,
            color=_COLOURS[label.kind],
            fontweight="bold" if label.bold else "normal",
            zorder=5,
        )
    ax.set_xlim(x0, x1)
    ax.set_ylim(y0, y1)
    ax.set_aspect("equal", adjustable="box", anchor="C")
    for piece in (*ax.texts, *ax.patches, *ax.images):
        piece.set_in_layout(False)  # all of it lies inside the Axes


def _scale(ax: Axes, width: float, height: float) -> float:
    """Return points per unit of the layout: as large as the Axes allow, or as its type is."""
    figure = ax.figure
    engine = figure.get_layout_engine()
    if engine is not None:  # places the Axes
        engine.execute(figure.get_figure(root=True))
    place = ax.get_position()
    inches = figure.get_figure(root=True).get_size_inches()
    scale = min(place.width * inches[0] * 72 / width, place.height * inches[1] * 72 / height)
    return min(float(scale), max(1.0, _style.points("small") / FONT))


def _image(ax: Axes, values: Any, extent: tuple[float, float, float, float], reach: float) -> Any:
    return ax.imshow(
        values,
        extent=extent,
        aspect="auto",
        interpolation="nearest",
        cmap="RdBu_r",
        vmin=-reach,
        vmax=reach,
        zorder=2,
    )


def _grid(count: int, width: float, height: float) -> tuple[int, int]:
    """Return columns and rows that hold so many cells, nearly square and nearly all in use."""

    def cost(across: int) -> float:
        down = -(-count // across)
        shape = math.log(width / across / (height / down))
        return abs(shape) + 3 * (1 - count / (across * down))

    across = min(range(1, count + 1), key=cost)
    return across, -(-count // across)


def _draw_box(ax: Axes, box: Box, scale: float) -> None:
    """Draw a quantity: its name above its values, or a text."""
    from matplotlib.patches import Rectangle

    frame = Rectangle(
        (box.x0, box.y0),
        box.x1 - box.x0,
        box.y1 - box.y0,
        facecolor=_style.PAPER,
        edgecolor=_style.INK,
        linewidth=0.7 * scale,
        zorder=3,
    )
    frame.set_gid(f"node-{name_of(box.node)}")
    ax.add_patch(frame)
    middle, options = (box.x0 + box.x1) / 2, {"ha": "center", "va": "center", "zorder": 5}
    options |= {"fontsize": FONT * scale, "color": _style.INK}
    top = box.y1
    if box.title:
        top = box.y1 - box.head
        ax.text(middle, box.y1 - box.head / 2 - 0.4, box.title, **options)
    if box.text:
        ax.text(middle, (box.y0 + top) / 2, box.text, **options)
    if box.values is None:
        return
    x0, x1, y0, y1 = box.x0 + 1.5, box.x1 - 1.5, box.y0 + 1.5, top
    across, down = _grid(box.values.size, x1 - x0, y1 - y0)
    grid = np.full(down * across, np.nan)
    grid[: box.values.size] = box.values
    image = _image(ax, grid.reshape(down, across), (x0, x1, y0, y1), box.reach)
    image.set_zorder(3.5)
    if box.values.size < 3:
        for i, value in enumerate(map(float, box.values)):
            text = f"{value:.2g}" if abs(value) < 1000 else f"{value:.0e}"
            if box.values.size == 2 and box.x1 - box.x0 < 40:
                break
            dark = abs(value) > 0.6 * box.reach
            options["color"] = _style.ON_DARK if dark else _style.ON_LIGHT
            text = text.replace("-", "\N{MINUS SIGN}", 1)
            ax.text(x0 + (x1 - x0) * (i + 0.5) / box.values.size, (y0 + y1) / 2, text, **options)


def _draw_bar(ax: Axes, bar: Area, scale: float) -> None:
    from matplotlib.patches import Rectangle

    colour = {"sum": _SUM, "part": _BACK, "base": _style.MUTED}[bar.kind]
    ax.add_patch(
        Rectangle(
            (bar.x0, bar.y0), bar.x1 - bar.x0, bar.y1 - bar.y0, color=colour, linewidth=0, zorder=2
        )
    )


def arrow_width(norm: float, largest: float) -> float:
    """Return an arrow's width in points: the logarithm of its norm."""
    if not 0 < norm <= largest:
        return _NARROWEST
    share = max(0.0, 1 + math.log10(norm / largest) / DECADES)
    return _NARROWEST + (_WIDEST - _NARROWEST) * share


def _draw_arrow(ax: Axes, arrow: Arrow, largest: float, scale: float) -> None:
    """Draw a line that ends where its head begins, and the head, which is never bent."""
    from matplotlib.patches import PathPatch, Polygon
    from matplotlib.path import Path
    from matplotlib.patheffects import withStroke

    back = arrow.norm is not None
    width = 0.8 if arrow.norm is None else arrow_width(arrow.norm, largest)
    colour = _BACK if back else _style.MUTED
    points = np.array(arrow.points)
    along = points[-1] - points[-2]
    along = along / np.hypot(*along)
    across = np.array([-along[1], along[0]])
    half = 0.5 * width + (1.5 if back else 1.3)
    length = min(_HEAD, 2 * half + 0.5)
    foot = points[-1] - length * along
    line = PathPatch(
        Path([*points[:-1], foot + 0.8 * along]),
        facecolor="none",
        edgecolor=colour,
        linewidth=width * scale,
        linestyle=(0, (1, 1.5)) if arrow.norm == 0 else "-",
        capstyle="butt",
        joinstyle="miter",
        zorder=2.5,
        path_effects=[withStroke(linewidth=(width + 1.6) * scale, foreground=_style.PAPER)],
    )
    line.set_gid(f"edge-{arrow.name}")
    ax.add_patch(line)
    head = Polygon(
        [points[-1], foot + half * across, foot - half * across],
        closed=True,
        facecolor=colour,
        linewidth=0,
        zorder=2.6,
    )
    head.set_gid(f"head-{arrow.name}")
    ax.add_patch(head)
