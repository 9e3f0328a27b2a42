"""The style of plots: colours, fonts, axes, logarithmic scales that show zeros."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from weakref import WeakSet

import numpy as np
from numpy.typing import NDArray

from .. import _check

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["PALETTE", "style"]

# Okabe and Ito's colours without their yellow: told apart by colour-blind readers, too.
PALETTE: Final[dict[str, str]] = {
    "blue": "#0072B2",
    "vermillion": "#D55E00",
    "green": "#009E73",
    "purple": "#CC79A7",
    "orange": "#E69F00",
    "sky": "#56B4E9",
    "black": "#000000",
}
INK: Final = "#20242C"  # text, and what must be read first
MUTED: Final = "#6B7280"  # axes, notes
FAINT: Final = "#D5D9E0"  # grids, what lies behind
PAPER: Final = "#FFFFFF"
# On colours of a map, which stay what they are where a page makes paper dark.
ON_DARK: Final = "#FEFEFE"
ON_LIGHT: Final = "#1E222A"

_DASHES: Final[tuple[Any, ...]] = (
    "-",
    (0, (4, 1.5)),
    (0, (1, 1)),
    (0, (5, 1.5, 1, 1.5)),
    (0, (9, 2)),
    (0, (3, 1.2, 1, 1.2, 1, 1.2)),
)

#: Twelve curves of one picture, (colour, dashes): six colours, each with two of six dashes. What
#: has the same colour differs in its dashes, and the other way round.
CURVES: Final = tuple(
    (name, _DASHES[(i + shift) % len(_DASHES)])
    for shift in (0, 3)
    for i, name in enumerate(("blue", "vermillion", "green", "purple", "orange", "sky"))
)

#: Half the width of a page of A4 or letter paper: 3.5 inches, with type of 8 points.
HALF_PAGE: Final = (3.5, 2.5)

_RC: Final[dict[str, Any]] = {
    "font.family": ["sans-serif"],
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8.0,
    "mathtext.fontset": "dejavusans",
    "axes.titlesize": "medium",
    "axes.labelsize": "medium",
    "axes.titleweight": "bold",
    "figure.facecolor": PAPER,
    "figure.dpi": 200,
    "axes.facecolor": "none",
    "savefig.facecolor": PAPER,
    "savefig.dpi": "figure",
    "text.usetex": False,
    "axes.unicode_minus": True,
}
# What journals ask for: type of 7 points, 600 dots per inch, fonts that can be edited.
_PAPER_RC: Final = _RC | {
    "font.size": 7.0,
    "savefig.dpi": 600,
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
}


class _Style(NamedTuple):
    settings: dict[str, Any]
    widths: tuple[float, ...] = ()  # inches that a new figure may be wide; any, if there are none

    def size(self, width: float, height: float) -> tuple[float, float]:
        """Fit a figure into the narrowest width that shrinks it by a fifth at most."""
        if not self.widths:
            return width, height
        wide = next((one for one in self.widths if width <= 1.25 * one), self.widths[-1])
        return wide, height * min(1.0, wide / width)


#: Widths of a column and of a page, 89 and 183 mm: those of Nature, within 2 mm of IEEE's.
_STYLES: Final = {
    "screen": _Style(_RC),
    "paper": _Style(_PAPER_RC, (89 / 25.4, 183 / 25.4)),
}
_chosen: ContextVar[_Style | None] = ContextVar("chosen", default=None)
_pyplot: ContextVar[bool] = ContextVar("pyplot", default=True)
_ours: Final[WeakSet[Figure]] = WeakSet()  # figures that this package made: these may grow


def require(module: str = "matplotlib.figure") -> Any:
    """Return a package that plots need, or raise an error that tells how to install it."""
    try:
        top = importlib.import_module(module.partition(".")[0])
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        package = {"matplotlib": "matplotlib", "PIL": "pillow"}.get(missing)
        if package is None:
            raise
        raise ImportError(f"plots need {package}: pip install {package}") from None
    return top


@contextmanager
def style(name: str = "screen") -> Iterator[None]:
    """Use one of the package's styles for the plots, and for figures that hold several of them.

    A plot in a new figure has the style ``"screen"`` outside of such a block; a plot in your own
    Axes takes font size and family from your settings.

    Parameters
    ----------
    name : {"screen", "paper"}
        ``"screen"``: half a page wide (3.5 inches), type of 8 points, 200 dots per inch.
        ``"paper"``: for journals: new figures are one column wide (89 mm), or two (183 mm) if they
        do not fit into one; type of 7 points. Save them within the block: in 600 dots per inch,
        with fonts embedded as TrueType.

    Yields
    ------
    None
        Within the block matplotlib's settings are those of the style; after it, what they were.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError, TypeError
        If the style is unknown.

    Examples
    --------
    >>> import matplotlib
    >>> import fastbptt
    >>> before = matplotlib.rcParams["font.size"]
    >>> with fastbptt.plot.style():
    ...     print(matplotlib.rcParams["font.size"])
    8.0
    >>> matplotlib.rcParams["font.size"] == before
    True
    >>> with fastbptt.plot.style("paper"):
    ...     ax = fastbptt.plot.losses({"loss": [0.7, 0.4, 0.3]})
    >>> print(f"{25.4 * ax.figure.get_figwidth():.0f} mm")
    89 mm
    """
    chosen = _STYLES[_check.option("name", name, _STYLES)]
    token = _chosen.set(chosen)
    try:
        with require().rc_context(chosen.settings):
            yield
    finally:
        _chosen.reset(token)


def new_figure(width: float, height: float) -> Figure:
    """Make a figure outside pyplot, which no window shows; sizes in inches."""
    require()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    _ours.add(figure)
    return figure


@contextmanager
def without_pyplot() -> Iterator[None]:
    """Make the new figures of a block outside pyplot."""
    token = _pyplot.set(False)
    try:
        yield
    finally:
        _pyplot.reset(token)


@contextmanager
def drawing(
    ax: Axes | None, size: tuple[float, float] = HALF_PAGE, projection: str | None = None
) -> Iterator[Axes]:
    """Yield the Axes to draw into: the one given, or that of a new figure in the style."""
    require()
    from matplotlib.axes import Axes

    if ax is None:
        chosen = _chosen.get() or _STYLES["screen"]
        with require().rc_context(chosen.settings):
            if _pyplot.get():
                from matplotlib import pyplot

                figure = pyplot.figure(figsize=chosen.size(*size), layout="constrained")
                _ours.add(figure)
            else:
                figure = new_figure(*chosen.size(*size))
            yield figure.add_subplot(projection=projection)
    elif isinstance(ax, Axes):
        yield ax
    else:
        raise TypeError(f"ax is {type(ax).__name__}; expected a matplotlib Axes, or None")


def points(size: str) -> float:
    """Return a relative font size, such as "small", in points.

    Ticks are made when a figure is drawn, out of the style's reach: they need numbers.
    """
    from matplotlib.font_manager import FontProperties

    return float(FontProperties(size=size).get_size_in_points())


def dress(ax: Axes, xlabel: str, ylabel: str, *, grid: str = "", frame: str = "lb") -> None:
    """Set an Axes' labels and lines; `frame` names the sides that are drawn."""
    ax.set_xlabel(xlabel, color=INK)
    ax.set_ylabel(ylabel, color=INK)
    for side in ("left", "bottom", "right", "top"):
        ax.spines[side].set_visible(side[0] in frame)
        ax.spines[side].set_color(MUTED)
        ax.spines[side].set_linewidth(0.7)
    small = points("small")
    for which in ("major", "minor"):
        ax.tick_params(which=which, color=MUTED, labelcolor=INK, labelsize=small, width=0.7)
    ax.tick_params(which="major", length=3)
    ax.tick_params(which="minor", length=1.8)
    ax.set_axisbelow(True)
    if grid:
        ax.grid(axis=grid, which="major", color=FAINT, linewidth=0.6)


def curve(
    ax: Axes, i: int, x: Any, y: NDArray[np.float64], label: str | None, **options: Any
) -> Any:
    """Draw the plot's i-th curve, in its colour and line style; return the line.

    From the 13th on, where these repeat, a curve carries its number.
    """
    name, dashes = CURVES[i % len(CURVES)]
    options = {"color": PALETTE[name], "linestyle": dashes, "linewidth": 1.4} | options
    if len(y) == 1:
        options |= {"marker": "o", "markersize": 3}
    if i >= len(CURVES):
        every = max(1, len(y) // 6)
        options |= {
            "marker": f"${i + 1}$",
            "markersize": 6,
            "markeredgewidth": 0.3,
            "markevery": (i % every, every),
        }
    (line,) = ax.plot(x, y, label=label, **options)
    return line


def legend(
    ax: Axes,
    handles: Sequence[Any] = (),
    *,
    always: bool = False,
    title: str | None = None,
    **options: Any,
) -> None:
    """Add a legend if there are several curves: below the Axes, unless `options` place it.

    It has as many columns as fit, and covers no data; a figure of ours grows by its rows.
    """
    from matplotlib.transforms import ScaledTranslation

    handles = [*ax.get_legend_handles_labels()[0], *handles]
    labels = [str(handle.get_label()) for handle in handles]
    if len(handles) < 2 and not (handles and always):
        return
    if "loc" not in options:
        size = points("small")
        # Below the numbers and the label of the horizontal axis.
        drop = 8 + points("medium") * 1.4 + size * 1.4
        shift = ScaledTranslation(0, -drop / 72, ax.figure.dpi_scale_trans)
        columns = _columns(ax, labels, size)
        rows = -(-len(labels) // columns) + (title is not None)
        if ax.figure in _ours:  # the plot stays as high as it would be with one row
            more = (rows - 1) * 1.35 * size / 72
            ax.figure.set_figheight(ax.figure.get_figheight() + more)
        options = {
            "loc": "upper center",
            "bbox_to_anchor": (0.5, 0.0),
            "bbox_transform": ax.transAxes + shift,
            "ncols": columns,
            "borderaxespad": 0.0,
        } | options
    options = {"handlelength": 2.8, "columnspacing": 1.2} | options
    box = ax.legend(
        handles,
        labels,
        title=title,
        title_fontsize="small",
        fontsize="small",
        labelcolor=INK,
        borderpad=0.3,
        labelspacing=0.3,
        framealpha=0.85,
        facecolor=PAPER,
        edgecolor="none",
        **options,
    )
    box.get_title().set_color(MUTED)
    box.set_zorder(4)


def _columns(ax: Axes, labels: Sequence[str], size: float) -> int:
    """Return how many columns of a legend fit into the Axes' share of the figure's width."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    font = FontProperties(size=size)
    paths: Any = TextPath
    widest = max(paths((0, 0), label or " ", prop=font).get_extents().width for label in labels)
    figure = ax.figure.get_figwidth() * 72
    spec = ax.get_subplotspec()
    share = 1.0 if spec is None else 1.0 / spec.get_gridspec().ncols
    # Line, gap and space between columns, in font sizes, as above.
    fit = int((figure * share * 0.97 + 1.2 * size) / (widest + (2.8 + 0.8 + 1.2) * size))
    count = max(1, min(fit, len(labels)))
    return -(-len(labels) // -(-len(labels) // count))  # no more than the rows need


def guide(
    ax: Axes,
    *,
    x: float | None = None,
    y: float | None = None,
    colour: str = FAINT,
    label: str = "",
) -> None:
    """Draw a thin line across the Axes; with a label it is in the legend."""
    style: dict[str, Any] = {"color": colour, "linewidth": 0.7, "zorder": 0.5}
    if y is not None:
        ax.hlines(y, 0, 1, transform=ax.get_yaxis_transform(), label=label or None, **style)
    if x is not None:
        ax.vlines(x, 0, 1, transform=ax.get_xaxis_transform(), label=label or None, **style)


def whole_ticks(axis: Any) -> None:
    """Place ticks at whole numbers only: steps, epochs, units."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, nbins=6))


def log_scale(ax: Axes, lines: Sequence[Any], values: NDArray[np.float64] | None = None) -> None:
    """Make the vertical scale logarithmic, and mark what it cannot show: 0 and infinity.

    Zeros of a line get a mark at a floor below all values, infinities one at a ceiling, and a value
    between such neighbours a dot, since no line leads to it. The scale spans `values`, by default
    those of the lines.
    """
    from matplotlib.ticker import FixedLocator, NullLocator

    for line in lines:
        x, y = np.asarray(line.get_xdata()), np.asarray(line.get_ydata(), np.float64)
        shown = np.pad((y > 0) & np.isfinite(y), 1)
        alone = shown[1:-1] & ~shown[:-2] & ~shown[2:]
        if alone.any():
            ax.plot(
                x[alone],
                y[alone],
                linestyle="none",
                marker="o",
                markersize=2,
                color=line.get_color(),
                label="_alone",
            )
    if values is None:
        values = np.concatenate([np.asarray(line.get_ydata(), np.float64) for line in lines])
    # Within what matplotlib's scales can do: a tick beyond the last curve still needs a number.
    living = np.clip(values[(values > 0) & np.isfinite(values)], 1e-303, 1e303)
    low, high = (living.min(), living.max()) if living.size else (0.1, 1.0)
    decades = max(np.log10(high) - np.log10(low), 0.5)
    # Logarithms, since 10 times the largest or a tenth of the smallest number may not exist.
    bottom, top = np.log10(low) - 0.06 * decades, np.log10(high) + 0.06 * decades
    for value, level, mark, text, side in (
        (0.0, np.log10(low) - 0.12 * decades, "v", "exactly 0", "bottom"),
        (np.inf, np.log10(high) + 0.12 * decades, "^", "infinite", "top"),
    ):
        if not (values == value).any():
            continue
        place = 10.0 ** float(np.clip(level, -305.0, 305.0))
        marked = [line for line in lines if (np.asarray(line.get_ydata()) == value).any()]
        for after, line in enumerate(reversed(marked)):
            x = np.asarray(line.get_xdata())[np.asarray(line.get_ydata()) == value]
            if not len(x):  # the layout would make room for a mark in the figure's corner
                continue
            ax.plot(
                x,
                np.full(len(x), place),
                linestyle="none",
                marker=mark,
                markersize=3.5 + 2.4 * min(after, 4),  # one around the other at the same step
                markerfacecolor="none" if after else PAPER,
                markeredgecolor=line.get_color(),
                markeredgewidth=0.9,
                label=f"_{text}",
                markevery=max(1, len(x) // 20),  # a row of marks, not a bar
                clip_on=False,
                zorder=3,
            )
        guide(ax, y=place)
        ax.annotate(
            text,
            (1.0, place),
            xycoords=("axes fraction", "data"),
            xytext=(3, 0),
            textcoords="offset points",
            ha="left",
            va="center",
            fontsize="small",
            color=MUTED,
        )
        if side == "bottom":
            bottom = min(bottom, np.log10(place) - 0.03 * decades)
        else:
            top = max(top, np.log10(place) + 0.03 * decades)
    bottom, top = max(bottom, -306.0), min(top, 306.0)
    if np.floor(top) <= np.ceil(bottom):  # at least two powers of ten
        bottom, top = np.floor(bottom), np.ceil(top)
    ax.set_autoscaley_on(False)  # the scale would look for limits, and there may be none
    ax.set_yscale("log", nonpositive="mask")
    ax.set_ylim(10.0**bottom, 10.0**top)
    # matplotlib's own ticks overflow near the largest numbers.
    first, last = int(np.ceil(bottom)), int(np.floor(top))
    stride = next(n for n in (1, 2, 5, 10, 20, 50, 100) if (last - first) // n < 7)
    powers = [power for power in range(first, last + 1) if power % stride == 0]
    ax.yaxis.set_major_locator(FixedLocator([10.0**power for power in powers]))
    if stride > 1:
        ax.yaxis.set_minor_locator(NullLocator())


def colour_bar(ax: Axes, image: Any, label: str, fixed: bool = False, **options: Any) -> Any:
    """Add a colour bar beside an image: as high as the Axes, if it is `fixed` in its aspect too."""
    if fixed:
        bar = ax.figure.colorbar(image, cax=ax.inset_axes((1.03, 0.0, 0.05, 1.0)), **options)
    else:
        bar = ax.figure.colorbar(image, ax=ax, pad=0.02, aspect=25, **options)
    bar.set_label(label, color=INK)
    bar.outline.set_visible(False)
    bar.ax.tick_params(color=MUTED, labelcolor=INK, labelsize=points("small"), width=0.7, length=3)
    bar.ax.tick_params(which="minor", length=0)
    return bar


def shortened(names: Sequence[Any], most: int = 18) -> list[str]:
    """Shorten long names so that different names stay different."""
    whole = [" ".join(str(name).split()) for name in names]
    distinct = list(dict.fromkeys(whole))
    short: dict[str, str] = {name: name for name in distinct if len(name) <= most}
    left = [name for name in distinct if len(name) > most]
    for kept in (most - 1, most // 2, 0):  # characters of the beginning; the rest from the end
        ends = most - 1 - kept
        found = {name: f"{name[:kept]}…{name[len(name) - ends :]}" for name in left}
        taken = [*short.values(), *found.values()]
        good = {name: text for name, text in found.items() if taken.count(text) == 1}
        short |= good
        left = [name for name in left if name not in good]
    for name in left:  # what differs is in the middle: by its place in the list
        number = f"… ({distinct.index(name)})"
        short[name] = f"{name[: most - len(number)]}{number}"
    return [short[name] for name in whole]


def plain(text: str) -> str:
    """Escape dollar signs, which would begin a formula."""
    return text.replace("$", r"\$")
