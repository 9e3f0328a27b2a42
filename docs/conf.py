"""Configuration of the documentation site: `sphinx-build -W -c docs . build/site` builds it.

The sources are the Markdown pages in the repository, with links that work on GitHub too, and the
notebooks, which `notebooks.py` executes. Formulas become MathML; no page loads anything from the
network.
"""

from __future__ import annotations

import logging
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from fontTools import subset
from sphinx.application import Sphinx
from sphinx.util.logging import getLogger

import fastbptt

sys.path.insert(0, str(Path(__file__).parent))  # for notebooks.py and pages.py

project = "fastbptt"
copyright = "fastbptt developers, MIT licence"
release = version = fastbptt.__version__

extensions = [
    "myst_parser",
    "notebooks",
    "pages",
    "sphinx.ext.autodoc",
    "numpydoc",
    "sphinx.ext.viewcode",
]
root_doc = "README"
include_patterns = ["*.md", "docs/*.md", "docs/api/*.md", "examples/notebook/*.py"]

# Captions and pages of the side bar, in the order of reading.
NAVIGATION = {
    "Notebooks": ["examples/notebook/tutorial", "examples/notebook/japanese_vowels"],
    "Course": ["docs/bptt", "docs/gradients", "docs/training"],
    "Guides": [
        "docs/estimators",
        "docs/many_models",
        "docs/sweeps",
        "docs/quantiles",
        "docs/command_line",
        "docs/loops",
        "docs/several_outputs",
        "docs/custom_losses",
        "docs/audio",
        "docs/missing_data",
        "docs/episodes",
        "docs/tasks",
        "docs/trained_dynamics",
        "docs/constraints",
        "docs/leaky",
        "docs/noise",
        "docs/data_parallel",
        "docs/torch",
        "docs/c_export",
        "docs/tensorboard",
        "docs/interchange",
        "docs/plots",
        "docs/gallery",
        "docs/dynamics",
    ],
    "Reference": ["docs/api/index"],
    "Measured": ["docs/experiments", "docs/benchmark", "docs/testing"],
    "Inside": [
        "docs/architecture",
        "docs/performance",
        "docs/scaling",
        "CONTRIBUTING",
        "CHANGELOG",
    ],
}

myst_enable_extensions = ["dollarmath"]
myst_fence_as_directive = ["math"]  # what GitHub renders
myst_heading_anchors = 3

autodoc_typehints = "none"  # the docstrings say what a type cannot: shapes, units, ranges
autodoc_member_order = "bysource"
numpydoc_show_class_members = False  # autodoc shows them
default_role = "literal"  # single backticks are code
smartquotes = False  # "last" is an argument, to be typed as it stands

html_theme = "furo"
html_title = f"fastbptt {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["copy.js"]
html_extra_path = ["_site"]
html_copy_source = False
html_math_renderer = "mathml"


def navigation(app: Sphinx, page: str, source: list[str]) -> None:
    """Append the table of contents to the first page; GitHub need not see it."""
    if page == root_doc:
        found = app.env.found_docs
        listed = {root_doc, *(name for names in NAVIGATION.values() for name in names)}
        more = sorted(name for name in found - listed if not name.startswith("docs/api/"))
        for caption, names in {**NAVIGATION, "More": more}.items():
            there = "\n".join(name for name in names if name in found)
            if there:
                source[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{there}\n```\n"


def mathml(node: nodes.Node, as_block: bool) -> str:
    """A formula's MathML; one that cannot be read is a warning, and so ends the build."""
    try:
        markup: str = tex2mathml(node.astext(), as_block=as_block)
    except MathError as error:
        getLogger(__name__).warning("%s in %s", error, node.astext(), location=node)
        raise nodes.SkipNode from None
    return markup


def skip(
    app: Sphinx, kind: str, name: str, member: Any, left_out: bool, options: Any
) -> bool | None:
    """Leave out the fields of named tuples, which their class describes."""
    return True if str(member.__doc__).startswith("Alias for field number") else None


def visit_math(writer: Any, node: nodes.Node) -> None:
    writer.body.append(mathml(node, as_block=False))
    raise nodes.SkipNode


def visit_displayed_math(writer: Any, node: nodes.Node) -> None:
    writer.body.append(f'<div class="math">{mathml(node, as_block=True)}</div>\n')
    raise nodes.SkipNode


def write_font(app: Sphinx, error: Exception | None) -> None:
    """Put a part of STIX Two Math (SIL Open Font License) into the site.

    Browsers set MathML badly without a font that was made for it, and many machines have none. It
    comes with the package ziamath, and the file keeps its notices.
    """
    if error or app.builder.format != "html":
        return
    logging.getLogger("fontTools").setLevel(logging.WARNING)
    symbols = (*range(0x2200, 0x2300), 0x2016, 0x2026, 0x2032)
    letters = (*range(0x20, 0x7F), 0xB1, 0xB7, 0xD7, *range(0x3B1, 0x3CA))
    italics = (0x210E, *range(0x1D434, 0x1D468), *range(0x1D6FC, 0x1D71C))
    options = subset.Options(layout_features=[], name_IDs=["*"])
    font = subset.load_font(str(files("ziamath") / "fonts" / "STIXTwoMath-Regular.ttf"), options)
    chosen = subset.Subsetter(options)
    chosen.populate(unicodes=[*symbols, *letters, *italics])
    chosen.subset(font)
    font.save(str(Path(app.outdir) / "_static" / "formulas.ttf"))


def setup(app: Sphinx) -> None:
    app.connect("source-read", navigation)
    app.connect("build-finished", write_font)
    app.connect("autodoc-skip-member", skip)
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_displayed_math, None))
