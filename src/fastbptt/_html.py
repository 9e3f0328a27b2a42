"""HTML from Python: tags whose contents are escaped unless they are HTML already."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

__all__ = ["Html", "join", "sparkline", "table", "tag"]

_NUMBER = re.compile(r"(> )?-?[\d,.]+(e[-+]?\d+)?( ?(%|s|ms|µs)| \N{MULTIPLICATION SIGN} \d+)?")
_EMPTY = ("meta", "link", "img", "br", "hr")


class Html(str):
    """Text that is HTML already; other text is escaped."""

    __slots__ = ()


def _escaped(value: Any) -> Html:
    return value if isinstance(value, Html) else Html(html.escape(str(value)))


def join(parts: Iterable[Any]) -> Html:
    """Concatenate parts, without those that are None."""
    return Html("".join(_escaped(part) for part in parts if part is not None))


def tag(name: str, /, *contents: Any, **attributes: Any) -> Html:
    """Make an element; attributes that are None are left out, ``class_`` stands for ``class``.

    Examples
    --------
    >>> from fastbptt._html import tag
    >>> tag("p", "a < b", tag("b", "&"), class_="note")
    '<p class="note">a &lt; b<b>&amp;</b></p>'
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _EMPTY:
        return Html(f"<{name}{given}>")
    return Html(f"<{name}{given}>{join(contents)}</{name}>")


def table(rows: Sequence[Sequence[Any]], head: Sequence[Any] = (), keep: bool = False) -> Html:
    """Make a table that scrolls on its own on a narrow page.

    A row's first cell is its heading, not broken into lines with `keep`. With a head, numbers are
    right-aligned; no number is broken.
    """
    kind = "number" if head else "value"

    def cell(value: Any) -> Html:
        return tag("td", value, class_=kind if _NUMBER.fullmatch(str(value)) else None)

    top = (
        tag("thead", tag("tr", *(tag("th", each, scope="col") for each in head))) if head else None
    )
    classes = [name for name, on in (("list", head), ("keep", keep)) if on]
    body = [
        tag("tr", tag("th", row[0], scope="row"), *(cell(value) for value in row[1:]))
        for row in rows
    ]
    return tag(
        "div",
        tag("table", top, tag("tbody", *body), class_=" ".join(classes) or None),
        class_="scroll",
    )


def sparkline(values: Sequence[float], width: int = 120, height: int = 24) -> Html:
    """Draw numbers as a small line in the colour of the text; what is not finite is a gap.

    Examples
    --------
    >>> from fastbptt._html import sparkline
    >>> "20.0,22.0" in sparkline([1.0, 0.5], 22)
    True
    """
    finite = [value for value in values if math.isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    # Halves, since the difference of the largest numbers is infinite.
    span, steps = (high / 2 - low / 2) or 1.0, max(len(values) - 1, 1)
    parts: list[list[str]] = [[]]
    for i, value in enumerate(values):
        if math.isfinite(value):
            up = (value / 2 - low / 2) / span if high > low else 0.5
            x, y = 2 + (width - 4) * i / steps, 2 + (height - 4) * (1 - up)
            parts[-1].append(f"{x:.1f},{y:.1f}")
        elif parts[-1]:
            parts.append([])
    style = {"fill": "none", "stroke": "currentColor", "stroke-width": "1.5"}
    lines = [
        tag("polyline", points=" ".join(part), stroke_linecap="round", **style)
        for part in parts
        if len(part) > 1
    ]
    dots = [
        tag(
            "circle", cx=part[0].split(",")[0], cy=part[0].split(",")[1], r=1.5, fill="currentColor"
        )
        for part in parts
        if len(part) == 1
    ]
    return tag("svg", *lines, *dots, width=width, height=height, role="img", aria_label="curve")
