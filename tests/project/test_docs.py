"""What README and docs say is true: their code runs, their quotes are quotes, their links lead on.

A block marked ``python`` or ``pycon`` is run, those of one page one after the other with the same
names; what a ``pycon`` block shows must be what comes. A ``python`` block whose first line is
``# src/...`` or ``# examples/...`` quotes that file instead: lines that stand there one below the
other, ``...`` between one run of them and the next.
"""

from __future__ import annotations

import ast
import base64
import doctest
import importlib
import importlib.util
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import fastbptt
from fastbptt import reference

ROOT = Path(__file__).parent.parent.parent
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


class Block(NamedTuple):
    language: str
    text: str
    line: int  # of the page, from 0, on which the text begins

    @property
    def source(self) -> str | None:
        """The file that it quotes."""
        found = re.match(r"# ((?:src|examples)/\S+)\n", self.text)
        return found[1] if found and self.language == "python" else None


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text("utf-8")
    for found in FENCE.finditer(text):
        yield Block(found[1], found[2], text.count("\n", 0, found.start(2)))


def run(page: Path) -> None:
    names: dict[str, object] = {"__name__": page.name}
    for block in blocks(page):
        if block.source:
            continue
        if block.language == "python":
            exec(compile("\n" * block.line + block.text, page, "exec"), names)
        elif block.language == "pycon":
            parser, runner = doctest.DocTestParser(), doctest.DocTestRunner(optionflags=FLAGS)
            test = parser.get_doctest(block.text, names, page.name, str(page), block.line)
            report: list[str] = []
            runner.run(test, out=report.append, clear_globs=False)
            assert not runner.failures, "".join(report)
            names = test.globs


def needed(page: Path) -> list[str]:
    """Return the optional packages that a page's code needs, from its comment <!-- needs: -->."""
    found = re.search(r"^<!-- needs: (.*) -->$", page.read_text("utf-8"), re.MULTILINE)
    return found[1].split(", ") if found else []


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


WITH_CODE = [page for page in PAGES if any(b.language in ("python", "pycon") for b in blocks(page))]


@pytest.mark.slow
@pytest.mark.parametrize("page", WITH_CODE, ids=name)
def test_the_code_runs(
    page: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    for package in needed(page):
        pytest.importorskip(package, reason=f"needs {package}")
        warnings.simplefilter("ignore", DeprecationWarning)  # its own affair
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    run(page)
    if page.name == "README.md":
        printed = capsys.readouterr().out
        assert float(printed.split("accuracy")[1].split()[0]) > 0.95, printed


def test_wrong_output_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python\nx = 2\n```\n\n```pycon\n>>> x + 2\n5\n```\n")
    with pytest.raises(AssertionError, match=r"Expected:\s+5\s+Got:\s+4"):
        run(page)


def runs_of_lines(block: Block) -> list[list[str]]:
    """Lines of a quote without their indentation, one list for each part between dots."""
    lines = [line.strip() for line in block.text.splitlines()[1:]]
    parts: list[list[str]] = [[]]
    for line in lines:
        if line == "...":
            parts.append([])
        elif line:
            parts[-1].append(line)
    return parts


def missing(block: Block) -> list[str]:
    """Lines that do not stand in the file, in this order, below each other."""
    path = ROOT / str(block.source)
    code = [line.strip() for line in path.read_text("utf-8").splitlines() if line.strip()]
    start = 0
    for part in runs_of_lines(block):
        places = range(start, len(code) - len(part) + 1)
        at = next((i for i in places if code[i : i + len(part)] == part), None)
        if at is None:
            return part
        start = at + len(part)
    return []


QUOTING = [page for page in PAGES if any(block.source for block in blocks(page))]


@pytest.mark.parametrize("page", QUOTING, ids=name)
def test_quotes_stand_in_the_source(page: Path) -> None:
    for block in blocks(page):
        if block.source:
            assert not missing(block), f"{name(page)}:{block.line + 1}: not in {block.source}"


def test_a_changed_quote_is_noticed() -> None:
    head = "# src/fastbptt/reference/rnn.py\n"
    good = 'STATES = ("h",)\n...\nEXTRA_BIAS = ()\n'
    assert not missing(Block("python", head + good, 0))
    for bad in (good.replace("...\n", ""), good.replace("h", "c"), "GATES = 1\n...\n" + good):
        assert missing(Block("python", head + bad, 0))


@pytest.mark.parametrize("cell", ["rnn", "relu", "leaky", "gru", "gru_before", "lstm"])
def test_the_course_goes_through_every_line(cell: str) -> None:
    """Every statement of a cell's passes stands in the course, next to its equation."""
    path = Path(reference.CELLS[cell].__file__ or "")
    text = path.read_text("utf-8")
    quoted = {
        line
        for block in blocks(ROOT / "docs" / "bptt.md")
        if block.source and Path(block.source).name == path.name
        for part in runs_of_lines(block)
        for line in part
    }
    lines = text.splitlines()
    left = [
        line.strip()
        for function in ast.parse(text).body
        if isinstance(function, ast.FunctionDef)
        and function.name != "jacobian"  # for `fixed_points`, which the course does not need
        for statement in function.body[1:]  # without the docstring
        for line in lines[statement.lineno - 1 : statement.end_lineno]
        if line.strip() not in quoted
    ]
    assert not left, f"not in docs/bptt.md: {left}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text("utf-8")):
        if not target.startswith("https://"):
            assert (page.parent / target).exists(), f"{name(page)}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_formulas_survive_on_github(page: Path) -> None:
    r"""GitHub reads Markdown first: in a line's formula ``\\,`` is a comma, ``}_`` emphasis."""
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text("utf-8"), flags=re.DOTALL)
    assert "$$" not in text, "write a fenced block: ```math"
    for formula in re.findall(r"\$([^$]+)\$", text):
        assert not re.search(r"\\[^a-zA-Z]|[^\w\s]_|\*|\n", formula), formula


def test_a_notebook_becomes_a_page() -> None:
    spec = importlib.util.spec_from_file_location("notebooks", ROOT / "docs" / "notebooks.py")
    assert spec is not None and spec.loader is not None
    notebooks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(notebooks)
    header = base64.b64encode(bytes(16) + (500).to_bytes(4, "big")).decode()

    def code(source: str, *outputs: dict[str, object], **metadata: str) -> dict[str, object]:
        return {
            "cell_type": "code",
            "source": source,
            "outputs": outputs,
            "metadata": metadata,
        }

    def printed(text: str, name: str = "stdout") -> dict[str, object]:
        return {"output_type": "stream", "name": name, "text": text}

    def data(**values: str) -> dict[str, object]:
        named = {name.replace("_", "/"): value for name, value in values.items()}
        return {"output_type": "display_data", "data": named}

    picture, table = data(image_png=header, text_plain="<Figure>"), data(text_html="<p>1</p>")
    text, problems = notebooks.page(
        [
            {"cell_type": "markdown", "source": "# Title", "metadata": {}},
            code("%matplotlib inline\nx = 1", printed("a\n"), printed("b\n"), table),
            code("draw()", picture, title="A curve"),
        ]
    )
    assert not problems
    assert text == (
        "# Title\n\n```python\nx = 1\n```\n\n"
        "```{code-block} text\n:class: output\n\na\nb\n```\n\n"
        '```{raw} html\n\n<div class="view"><p>1</p></div>\n```\n\n```python\ndraw()\n```\n\n'
        f"```{{image}} data:image/png;base64,{header}\n:alt: A curve\n:width: 360px\n\n```\n"
    )
    for bad, problem in (
        (code("draw()", picture), "draws 1 pictures and has the title ''"),
        (code("draw()", title="A curve"), "draws 0 pictures and has the title 'A curve'"),
        (code("f()\ng()", printed("deprecated", "stderr")), "begins with 'f\\(\\)' warns: depr"),
    ):
        (found,) = notebooks.page([bad])[1]
        assert re.search(problem, found)


def test_each_figure_is_made_and_shown() -> None:
    script = (ROOT / "docs" / "make_figures.py").read_text("utf-8")
    made = {f"{name}.png" for name in re.findall(r"@figure\ndef (\w+)", script)}
    assert made == {path.name for path in ROOT.glob("docs/figures/*.png")}
    text = "\n".join(page.read_text("utf-8") for page in PAGES)
    assert made == set(re.findall(r"figures/([\w.]+)\)", text))


def test_every_public_name_is_in_the_reference() -> None:
    """On a page of docs/api: by its name, or in the ``__all__`` of a module documented whole."""
    pages = "\n".join(page.read_text("utf-8") for page in ROOT.glob("docs/api/*.md"))
    there = {"__version__", *re.findall(r"\w+", pages)}
    for module in re.findall(r"automodule:: (\S+)\n   :members:\n", pages):
        there |= set(getattr(importlib.import_module(module), "__all__", ()))
    missing = sorted(set(fastbptt.__all__) - there)
    assert not missing, f"add to a page of docs/api: {', '.join(missing)}"
