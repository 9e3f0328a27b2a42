"""Plots inside a page: SVG in the page's colours, light or dark."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any, Final

from .._html import Html, tag
from ..plot import _style

__all__ = ["figure"]

_LEAST: Final = 0.8  # of its own size: how far a wide picture shrinks; its text has 11 pixels then

# The page's variable for each colour; their values differ in dark mode.
_COLOURS: Final = {
    _style.INK: "ink",
    _style.MUTED: "muted",
    _style.FAINT: "faint",
    _style.PAPER: "paper",
    **{code: name for name, code in _style.PALETTE.items() if name != "black"},
    _style.PALETTE["black"]: "ink",
}


def figure(
    draw: Callable[[Any], Any],
    caption: str,
    number: int,
    size: tuple[float, float] = _style.HALF_PAGE,
    wide: bool = False,
) -> Html:
    """Draw into an Axes of `size` inches and return it as a figure of the page.

    `number` is the figure's number on the page: a prefix of the names inside it. A wide one takes
    the whole width and scrolls in its frame where its text would be too small to read.
    """
    matplotlib = _style.require()
    settings = {"svg.fonttype": "none", "svg.hashsalt": f"fastbptt {number}"}
    file = io.StringIO()
    with _style.style(), matplotlib.rc_context(settings):
        canvas = _style.new_figure(*size)
        draw(canvas.subplots())
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        options = {"transparent": True, "bbox_inches": "tight", "pad_inches": 0.02, "dpi": 200}
        canvas.savefig(file, format="svg", metadata=nothing, **options)
    svg = _inline(file.getvalue(), f"p{number}-", caption, _LEAST if wide else 0.0)
    if not wide:
        return tag("figure", svg, tag("figcaption", caption))
    hint = tag("span", " It scrolls sideways.", class_="narrow")
    drawing = tag("div", svg, class_="scroll", tabindex=0, role="group", aria_label=caption)
    return tag("figure", drawing, tag("figcaption", caption, hint), class_="wide")


def _inline(svg: str, prefix: str, caption: str, least: float) -> Html:
    """Embed an SVG file in an HTML page."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)  # would apply to the page
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", svg)  # HTML knows these
    svg = re.sub(r'\sid="', f' id="{prefix}', svg)
    svg = re.sub(r'href="#', f'href="#{prefix}', svg)
    svg = re.sub(r"url\(#", f"url(#{prefix}", svg)
    for code, name in _COLOURS.items():
        svg = re.sub(rf"(fill|stroke): {code}\b", rf"\1: var(--{name})", svg, flags=re.IGNORECASE)
    width = float(svg[: svg.index(">")].split('viewBox="0 0 ')[1].split()[0])
    # The same font size in all figures, unless the window is narrow; black text adapts.
    style = f"max-width: {width / 8:.1f}rem"
    if least:
        style += f"; min-width: {least * width / 8:.1f}rem"
    look = {"style": style, "fill": "currentColor"}
    label = tag("svg", role="img", aria_label=caption, **look)
    return Html(svg.replace("<svg ", f"{label[: label.index('>')]} ", 1).rstrip())
