"""The style of plots: colours, fonts, axes, logarithmic scales that show zeros."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

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

#: Colours of curves in one picture, each with a stroke that tells it apart without colour.
CURVES: Final = tuple(
    zip(
        ("blue", "vermillion", "green", "purple", "orange", "sky"),
        ("-", (0, (4, 1.5)), (0, (1, 1)), (0, (5, 1.5, 1, 1.5)), "-", (0, (4, 1.5))),
        strict=True,
    )
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
    "axes.facecolor": "none",
    "savefig.facecolor": PAPER,
    "savefig.dpi": 200,
    "text.usetex": False,
    "axes.unicode_minus": True,
}


def require() -> Any:
    """Return matplotlib, or raise an error that tells how to install it."""
    try:
        import matplotlib
    except ImportError:
        raise ImportError("pictures need matplotlib: pip install matplotlib") from None
    return matplotlib


@contextmanager
def style() -> Iterator[None]:
    """Use the package's style: for figures that hold several of its plots.

    A plot in a new figure always has this style; a plot in your own Axes takes font size and family
    from your settings.

    Yields
    ------
    None
        Within the block matplotlib's settings are the package's; after it, what they were.

    Raises
    ------
    ImportError
        If matplotlib is not installed.

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
    """
    with require().rc_context(_RC):
        yield


def new_figure(width: float, height: float) -> Figure:
    """Make a figure outside pyplot, which no window shows; sizes in inches."""
    require()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


@contextmanager
def drawing(
    ax: Axes | None, size: tuple[float, float] = HALF_PAGE, projection: str | None = None
) -> Iterator[Axes]:
    """Yield the Axes to draw into: the one given, or that of a new figure in the style."""
    require()
    from matplotlib.axes import Axes

    if ax is None:
        from matplotlib import pyplot

        with style():
            kind = {"projection": projection}
            yield pyplot.subplots(figsize=size, layout="constrained", subplot_kw=kind)[1]
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
    """Draw the plot's i-th curve, in its colour and line style; return the line."""
    name, stroke = CURVES[i % len(CURVES)]
    options = {"color": PALETTE[name], "linestyle": stroke, "linewidth": 1.4} | options
    if len(y) == 1:
        options |= {"marker": "o", "markersize": 3}
    (line,) = ax.plot(x, y, label=label, **options)
    return line


def legend(ax: Axes, *, always: bool = False, **options: Any) -> None:
    """Add a legend if there are several curves, where there is room unless `options` place it."""
    handles, labels = ax.get_legend_handles_labels()
    if len(handles) > 1 or (handles and always):
        options = {"handlelength": 2.2, "columnspacing": 1.2} | options
        box = ax.legend(
            handles,
            labels,
            fontsize="small",
            labelcolor=INK,
            borderpad=0.3,
            labelspacing=0.3,
            framealpha=0.85,
            facecolor=PAPER,
            edgecolor="none",
            **options,
        )
        box.set_zorder(4)


def guide(ax: Axes, *, x: float | None = None, y: float | None = None, colour: str = FAINT) -> None:
    """Draw a thin line across the Axes."""
    if y is not None:
        ax.hlines(
            y, 0, 1, transform=ax.get_yaxis_transform(), color=colour, linewidth=0.7, zorder=0.5
        )
    if x is not None:
        ax.vlines(
            x, 0, 1, transform=ax.get_xaxis_transform(), color=colour, linewidth=0.7, zorder=0.5
        )


def whole_ticks(axis: Any) -> None:
    """Place ticks at whole numbers only: steps, epochs, units."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, nbins=6))


def log_scale(ax: Axes, lines: Sequence[Any]) -> None:
    """Make the vertical scale logarithmic, and mark what it cannot show: 0 and infinity.

    Zeros of a line get a mark at a floor below all values, infinities one at a ceiling, and a value
    between such neighbours a dot, since no line leads to it.
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
        for line in lines:
            x = np.asarray(line.get_xdata())[np.asarray(line.get_ydata()) == value]
            ax.plot(
                x,
                np.full(len(x), place),
                linestyle="none",
                marker=mark,
                markersize=3.5,
                markerfacecolor=PAPER,
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
            xytext=(-1, 4 if side == "bottom" else -4),
            textcoords="offset points",
            ha="right",
            va="bottom" if side == "bottom" else "top",
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


def colour_bar(ax: Axes, image: Any, label: str, **options: Any) -> Any:
    """Add a colour bar beside an image."""
    bar = ax.figure.colorbar(image, ax=ax, pad=0.02, aspect=25, **options)
    bar.set_label(label, color=INK)
    bar.outline.set_visible(False)
    bar.ax.tick_params(color=MUTED, labelcolor=INK, labelsize=points("small"), width=0.7, length=3)
    bar.ax.tick_params(which="minor", length=0)
    return bar


def cut(text: str, most: int = 18) -> str:
    """Shorten a long name."""
    text = " ".join(str(text).split())
    return text if len(text) <= most else f"{text[: most - 1]}…"


def plain(text: str) -> str:
    """Escape dollar signs, which would begin a formula."""
    return text.replace("$", r"\$")
