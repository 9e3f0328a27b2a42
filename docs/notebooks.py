"""Notebooks as pages of the site: their text sources are executed and shown with their outputs.

A source is a Python file in the percent format of jupytext. The title of a cell, ``# %% TITLE``, is
the alternative text of the picture that the cell draws. The executed notebook is put beside its
page, to be downloaded.
"""

from __future__ import annotations

import base64
import itertools
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

SECONDS = 300  # for a cell, on a busy machine
SCALE = 0.72  # of pictures: their letters are then as large as those of the page


def fenced(text: str, *head: str) -> str:
    """Enclose lines in backticks, more of them than the text has in a row."""
    marks = "`" * max([3, *(len(run) + 1 for run in re.findall(r"`+", text))])
    return "\n".join([marks + "\n".join(head), text.rstrip("\n"), marks])


def as_text(text: str) -> str:
    return fenced(text, "{code-block} text", ":class: output", "")


def shown(output: Mapping[str, Any], title: str) -> str:
    """An output of a cell in Markdown."""
    if output["output_type"] == "stream":
        return as_text(output["text"])
    data = output["data"]
    if "image/png" in data:
        image = data["image/png"].replace("\n", "")
        width = int.from_bytes(base64.b64decode(image)[16:20], "big")  # of a PNG's header
        head = f"{{image}} data:image/png;base64,{image}"
        return fenced("", head, f":alt: {title}", f":width: {round(SCALE * width)}px")
    if "text/html" in data:
        return fenced(f'<div class="view">{data["text/html"]}</div>', "{raw} html", "")
    return as_text(data["text/plain"])


def merged(outputs: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Outputs in order; what a cell printed between two others is one of them."""
    for name, group in itertools.groupby(outputs, key=lambda output: output.get("name")):
        if name:
            text = "".join(output["text"] for output in group)
            yield {"output_type": "stream", "name": name, "text": text}
        else:
            yield from group


def page(cells: Sequence[Mapping[str, Any]]) -> tuple[str, list[str]]:
    """An executed notebook in Markdown, and what is wrong with it."""
    parts, problems = [], []
    for cell in cells:
        source = cell["source"]
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(fenced(re.sub(r"(?m)^%.*\n?", "", source), "python"))
        title = cell["metadata"].get("title", "")
        outputs = list(merged(cell["outputs"]))
        parts += [shown(output, title) for output in outputs]
        pictures = sum("image/png" in output.get("data", {}) for output in outputs)
        first = source.split("\n", 1)[0]
        if pictures != bool(title):
            problems.append(
                f"the cell that begins with {first!r} draws {pictures} pictures and has the title "
                f"{title!r}; expected a picture and a title that describes it, or neither"
            )
        problems += [
            f"the cell that begins with {first!r} warns: {output['text']}"
            for output in outputs
            if output.get("name") == "stderr"
        ]
    return "\n\n".join(parts) + "\n", problems


def linked(app: Sphinx, name: str, found: re.Match[str]) -> str:
    """Target of a page's link to a Python file: of a file to download, unless it is a notebook."""
    _, path = app.env.relfn2path(found[0], name)
    is_page = app.env.path2doc(path) in app.env.found_docs
    return found[0] if is_page else f"path:{found[0]}"


def read(app: Sphinx, name: str, source: list[str]) -> None:
    """Replace the source of a notebook by its page; make links to programs work in all pages."""
    if Path(app.env.doc2path(name)).suffix == ".py":
        source[0] = executed(app, name, source[0])
    source[0] = re.sub(r"(?<=\]\()([^):#]+\.py)(?=\))", partial(linked, app, name), source[0])


def executed(app: Sphinx, name: str, source: str) -> str:
    """Execute a notebook; return its page."""
    import jupytext
    from nbconvert.preprocessors import ExecutePreprocessor
    from sphinx.util.logging import getLogger

    notebook = jupytext.reads(source, fmt="py:percent")
    with tempfile.TemporaryDirectory() as folder:
        kernel = ExecutePreprocessor(timeout=SECONDS, kernel_name="python3", record_timing=False)
        kernel.preprocess(notebook, {"metadata": {"path": folder}})
    text, problems = page(notebook.cells)
    for problem in problems:
        getLogger(__name__).warning("%s", problem, location=name)
    if app.builder.format == "html":
        made = (Path(app.outdir) / name).with_suffix(".ipynb")
        made.parent.mkdir(parents=True, exist_ok=True)
        jupytext.write(notebook, made, fmt="ipynb")
        link = f'<p class="download"><a href="{made.name}" download>Download this notebook</a></p>'
        text = text.replace("\n", f"\n\n{link}\n\n", 1)  # below the title
    return text


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_source_suffix(".py", "markdown")
    app.connect("source-read", read)
    return {"parallel_read_safe": True}
