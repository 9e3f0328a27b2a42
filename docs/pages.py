"""The pages that Sphinx makes from the package: the gallery, and the index of public names.

A line ``<!-- pictures -->`` or ``<!-- names -->`` of a page becomes Markdown. The code of the
gallery is that of `fastbptt.plot.gallery`, and what is shown is run to draw the picture beside it.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.logging import getLogger

import fastbptt
from fastbptt.plot import PICTURES

GALLERY = sys.modules["fastbptt.plot.gallery"]
FOLDER = "build/gallery"  # of the pictures, below the sources
PIXELS = 125  # for each inch of a picture
# Packages whose names are listed, with the heading of their list.
LISTED = {
    "fastbptt": "Top level",
    "fastbptt.initializers": "Initialisers",
    "fastbptt.training": "Training",
    "fastbptt.schedules": "Schedules",
    "fastbptt.diagnostics": "Diagnostics",
    "fastbptt.plot": "Plots",
    "fastbptt.sklearn": "scikit-learn estimators",
    "fastbptt.datasets": "Data sets",
    "fastbptt.datasets.tasks": "Tasks of neuroscience",
    "fastbptt.preprocessing": "Preprocessing",
    "fastbptt.reference": "Reference implementation",
}


# ---------------------------------------------------------------- the gallery


def definition(function: Callable[..., Any]) -> ast.FunctionDef:
    found = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    assert isinstance(found, ast.FunctionDef)
    return found


def shown(function: Callable[..., Any]) -> str:
    """The body of a function of the gallery, as a script.

    Defaults are assigned first. The data that a section's function returns keep their names, and
    the Axes that a picture's function returns are called ``ax``.
    """
    lines = textwrap.dedent(inspect.getsource(function)).splitlines()
    found = definition(function)
    first, last = found.body[1], found.body[-1]  # without the docstring
    assert isinstance(last, ast.Return)
    body = textwrap.dedent("\n".join(lines[first.lineno - 1 : last.end_lineno])).splitlines()
    cut = last.lineno - first.lineno
    if isinstance(last.value, ast.Dict):
        assert all(
            ast.unparse(key) == repr(ast.unparse(value))
            for key, value in zip(last.value.keys, last.value.values, strict=True)
            if key is not None
        )
        body = body[:cut]
    else:
        body[cut] = body[cut].replace("return ", "ax = ", 1)
    defaults = inspect.signature(function).parameters.values()
    given = [f"{one.name} = {one.default!r}" for one in defaults if one.default is not one.empty]
    return "\n".join([*given, *body])


def imports() -> str:
    """The imports of the gallery's code, from where a user finds each name."""
    functions = [*GALLERY.SECTIONS.values(), *(picture.make for picture in PICTURES.values())]
    used = {
        node.id
        for function in functions
        for statement in definition(function).body
        for node in ast.walk(statement)
        if isinstance(node, ast.Name)
    }
    lines = ["import numpy as np"]
    for place in ("fastbptt", "fastbptt.datasets", "fastbptt.plot"):
        module = importlib.import_module(place)
        names = [
            name
            for name in sorted(used)
            if name in module.__all__ and getattr(GALLERY, name, None) is getattr(module, name)
        ]
        line = f"from {place} import {', '.join(names)}"
        if len(line) > 88:
            inner = textwrap.fill(", ".join(names), 84)
            line = f"from {place} import (\n{textwrap.indent(inner, '    ')},\n)"
        lines.append(line)
    return "\n".join(lines)


def blocks() -> Iterator[tuple[str, str, str]]:
    """Name of the picture, or of nothing; what stands above the code; the code."""
    yield "", "", imports()
    for title, data in GALLERY.SECTIONS.items():
        yield "", f"## {title}\n\n{' '.join((data.__doc__ or '').split())}", shown(data)
        for name, picture in PICTURES.items():
            if picture.section == title:
                yield name, f"### {name}\n\n{picture.caption}", shown(picture.make)


def gallery(folder: Path) -> str:
    """Draw the pictures into a folder; return the page."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    folder.mkdir(parents=True, exist_ok=True)
    names: dict[str, Any] = {}
    parts = []
    for name, above, code in blocks():
        exec(compile(code, f"<{name}>", "exec"), names)
        parts += [above, f"```python\n{code}\n```"]
        if name:
            figure = names["ax"].figure
            figure.savefig(folder / f"{name}.png", bbox_inches="tight", pad_inches=0.03)
            width = round(figure.get_figwidth() * PIXELS)
            pyplot.close(figure)
            kind = "picture wide" if width > 600 else "picture"
            alt = f":alt: {PICTURES[name].caption}\n:width: {width}px\n:class: {kind}"
            parts.append(f"```{{image}} /{FOLDER}/{name}.png\n{alt}\n```")
    return "\n\n".join(parts)


# ---------------------------------------------------------------- the index of names


def summary(module: ModuleType, name: str) -> str:
    """The first line of what is documented of a public name."""
    thing = getattr(module, name)
    if inspect.ismodule(thing) or inspect.isroutine(thing) or inspect.isclass(thing):
        text = inspect.getdoc(thing) or ""
    else:
        text = comment(module, name)
    line = text.strip().split("\n\n")[0]
    line = " ".join(line.split())
    return re.sub(r"``(.+?)``", r"`\1`", line).replace("|", r"\|")


def comment(module: ModuleType, name: str) -> str:
    """The ``#:`` above a constant, in the module that defines it."""
    thing = getattr(module, name)
    for place, other in sorted(sys.modules.items()):
        if place.split(".")[0] == "fastbptt" and getattr(other, name, None) is thing:
            if not (other.__file__ or "").endswith(".py"):
                continue
            analyzer = ModuleAnalyzer.for_module(place)
            found = analyzer.find_attr_docs().get(("", name))
            if found:
                return "\n".join(found)
    return ""


def index() -> str:
    """A table of the public names of each package, each where it comes first."""
    parts, listed = [], set()
    for place, title in LISTED.items():
        module, rows = at(place), []
        for name in sorted(module.__all__, key=lambda one: (one.lower(), one)):
            if (name, id(getattr(module, name))) in listed:
                continue
            listed.add((name, id(getattr(module, name))))
            text = summary(module, name)
            if not text:
                getLogger(__name__).warning("%s.%s has no docstring", place, name)
            rows.append(f"| {{py:obj}}`{name} <{place}.{name}>` | {text} |")
        head = f"### {title}\n\n`{place}`\n\n| name | what it is |\n|---|---|"
        parts.append("\n".join([head, *rows]))
    return "\n\n".join(parts)


def at(path: str) -> Any:
    """The object of a dotted name, or None."""
    parts = path.split(".")
    for count in range(len(parts), 0, -1):
        try:
            thing: Any = importlib.import_module(".".join(parts[:count]))
        except ImportError:
            continue
        try:
            for part in parts[count:]:
                thing = getattr(thing, part)
        except AttributeError:
            return None
        return thing
    return None


def link(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.TextElement
) -> nodes.reference | None:
    """Lead from a name to its entry, which may stand under another package; or complain."""
    if node.get("refdoc") != "docs/api/index" or node.get("reftype") != "obj":
        return None
    thing, last = at(node["reftarget"]), node["reftarget"].rpartition(".")[2]
    domain = env.domains.python_domain
    for name, entry in domain.objects.items():
        if name.rpartition(".")[2] == last and at(name) is thing:
            uri = app.builder.get_relative_uri(node["refdoc"], entry.docname)
            reference = nodes.reference("", "", content, internal=True)
            reference["refuri"] = f"{uri}#{entry.node_id}"
            return reference
    getLogger(__name__).warning("%s has no entry in the reference", node["reftarget"])
    return None


def fill(app: Sphinx, page: str, source: list[str]) -> None:
    """Replace the marks of a page."""
    if "<!-- pictures -->" in source[0]:
        app.env.note_dependency(GALLERY.__file__ or "")
        made = gallery(Path(app.srcdir) / FOLDER)
        source[0] = source[0].replace("<!-- pictures -->", made)
    if "<!-- names -->" in source[0]:
        source[0] = source[0].replace("<!-- names -->", index())


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("source-read", fill)
    app.connect("missing-reference", link)
    return {"version": fastbptt.__version__}
