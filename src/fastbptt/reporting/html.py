"""HTML out of Python: tags whose contents are escaped unless they are HTML already."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from importlib.resources import files
from typing import Any

__all__ = ["Html", "document", "join", "table", "tag"]

# Nothing but what stands in the file itself may be loaded, by any browser that reads this.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_NUMBER = re.compile(r"(> )?-?[\d,.]+(e[-+]?\d+)?( ?(%|s|ms|µs)| \N{MULTIPLICATION SIGN} \d+)?")
_EMPTY = ("meta", "link", "img", "br", "hr")


class Html(str):
    """Text that is HTML already. Everything else is escaped before it becomes part of one."""

    __slots__ = ()


def _escaped(value: Any) -> Html:
    return value if isinstance(value, Html) else Html(html.escape(str(value)))


def join(parts: Iterable[Any]) -> Html:
    """Put parts one after the other, without those that are None."""
    return Html("".join(_escaped(part) for part in parts if part is not None))


def tag(name: str, /, *contents: Any, **attributes: Any) -> Html:
    """Make an element; attributes that are None are left out, ``class_`` stands for ``class``.

    Examples
    --------
    >>> from fastbptt.reporting.html import tag
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


def table(rows: Sequence[Sequence[Any]], head: Sequence[Any] = ()) -> Html:
    """Make a table that scrolls by itself where the page is narrow.

    A row's first cell is its heading. With a head, numbers stand to the right.
    """

    def cell(value: Any) -> Html:
        number = head and _NUMBER.fullmatch(str(value))
        return tag("td", value, class_="number" if number else None)

    top = (
        tag("thead", tag("tr", *(tag("th", each, scope="col") for each in head))) if head else None
    )
    body = [
        tag("tr", tag("th", row[0], scope="row"), *(cell(value) for value in row[1:]))
        for row in rows
    ]
    return tag(
        "div",
        tag("table", top, tag("tbody", *body), class_="list" if head else None),
        class_="scroll",
    )


def document(title: str, *body: Any) -> str:
    """Make a whole page, with its style inside."""
    style = files(__package__).joinpath("page.css").read_text(encoding="utf-8")
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("link", rel="icon", href="data:,"),
        tag("style", Html(style)),
    )
    page = tag("html", head, tag("body", tag("main", *body)), lang="en")
    return f"<!DOCTYPE html>\n{page}\n"
