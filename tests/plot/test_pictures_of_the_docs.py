"""Every picture of the gallery and of the course, drawn and looked at by `pictures.defects`."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest
from pictures import defects

from fastbptt import plot

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("agg")
from matplotlib import pyplot  # noqa: E402

DOCS = Path(__file__).parents[2] / "docs"
STYLES = ("screen", "paper")
FAST = ("contributions", "confusion", "losses", "eigenvalues")  # with little training


@pytest.fixture(autouse=True)
def _no_figure_left() -> Iterator[None]:
    yield
    pyplot.close("all")


@cache
def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def examples(*few: int) -> plot.Examples:
    return plot.Examples(*few)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("name", FAST)
def test_text_lies_on_no_text_after_little_training(name: str, style: str) -> None:
    with plot.style(style):
        ax = plot.PICTURES[name].draw(examples(1, 20))
    assert defects(ax.figure) == []


@pytest.mark.slow
@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("name", plot.PICTURES)
def test_text_lies_on_no_text_in_the_gallery(name: str, style: str) -> None:
    with plot.style(style):
        ax = plot.PICTURES[name].draw(examples())
    assert defects(ax.figure) == []
    assert ax.figure.get_figwidth() <= (8.2 if style == "screen" else 183 / 25.4 + 1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("name", script("make_figures").FIGURES)
def test_text_lies_on_no_text_in_the_figures(name: str, style: str) -> None:
    script("make_figures").examples = examples
    with plot.style(style):
        figure, _ = script("make_figures").FIGURES[name]()
    assert defects(figure) == []


# ---------------------------------------------------------------- the page of the gallery


def test_the_page_shows_the_lines_that_make_a_picture() -> None:
    pytest.importorskip("sphinx")
    pages = script("pages")
    shown = {name: code for name, _, code in pages.blocks() if name}
    assert list(shown) == list(plot.PICTURES)
    for name, code in shown.items():
        last = [line for line in code.splitlines() if line[:1] not in (" ", ")")][-1]
        assert last.startswith("ax = "), name
        assert len(code.splitlines()) <= 12, f"{name}: about ten lines"
    gallery = sys.modules["fastbptt.plot.gallery"]
    (code,) = (code for _, above, code in pages.blocks() if above.startswith("## Forecasts"))
    assert code.startswith("epochs = 40\ntime = np.arange(441)")
    assert "return" not in code and gallery.SECTIONS["Forecasts"].__defaults__ == (40,)


@pytest.mark.slow
def test_the_code_on_the_page_draws_what_the_gallery_draws() -> None:
    pytest.importorskip("sphinx")
    names: dict[str, object] = {}
    for name, _, code in script("pages").blocks():
        few = code.replace("epochs = 40", "epochs = 1").replace("steps = 200", "steps = 20")
        if name.startswith("unrolled"):  # the slowest, and the build of the pages draws them too
            continue
        exec(compile(few, name or "data", "exec"), names)
        if name:
            seen = []
            for ax in (names["ax"], plot.PICTURES[name].draw(examples(1, 20))):
                ax.figure.set_dpi(50)
                ax.figure.canvas.draw()
                seen.append(bytes(ax.figure.canvas.buffer_rgba()))
            assert seen[0] == seen[1], name
            pyplot.close("all")
