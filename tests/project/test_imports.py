"""Imports run in one direction: the layers of docs/architecture.md, read from the source."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "fastbptt"
MOST_EXCEPTIONS = 8


class Import(NamedTuple):
    """One arrow between two modules of the package."""

    source: str
    target: str
    line: int
    deferred: bool  # it stands in a function
    explained: bool  # a comment stands beside it


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


PATHS = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}
MODULES = {*PATHS, "fastbptt._core"}


def layers() -> dict[str, int]:
    """Parse the table of Python layers: each package's or module's place, 0 for the lowest."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    section = text.split("## Python packages", 1)[1].split("\n## ", 1)[0]
    rows = re.findall(r"^\| (`[^|]+) \|", section, re.MULTILINE)
    return {
        f"fastbptt.{name}".removesuffix(".__init__"): place
        for place, row in enumerate(reversed(rows))
        for name in re.findall(r"`([^`]*)`", row)
    }


LAYERS = layers()


def layer(module: str) -> int:
    """Find the place of a module: its own, or that of the package that it lies in."""
    name = module
    while name not in LAYERS:
        name, dot, _ = name.rpartition(".")
        assert dot, f"docs/architecture.md does not name the layer of {module}"
    if name == "fastbptt":
        assert module == "fastbptt", f"docs/architecture.md does not name the layer of {module}"
    return LAYERS[name]


def resolved(source: str, node: ast.ImportFrom) -> Iterator[str]:
    """Name the modules that ``from ... import ...`` in `source` reads."""
    base = source.split(".")
    if PATHS[source].name != "__init__.py":
        base = base[:-1]
    base = base[: len(base) - node.level + 1] if node.level else []
    start = ".".join([*base, *([node.module] if node.module else [])])
    if start.split(".")[0] != "fastbptt":
        return
    assert start in MODULES, f"{source} imports from {start}, which does not exist"
    for alias in node.names:
        name = f"{start}.{alias.name}"
        yield name if name in MODULES else start


def nodes_of(tree: ast.AST) -> Iterator[tuple[ast.AST, bool]]:
    """Walk a tree, and tell of each node whether it stands in a function."""
    waiting = [(tree, False)]
    while waiting:
        node, inside = waiting.pop()
        yield node, inside
        inside = inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        waiting.extend((child, inside) for child in ast.iter_child_nodes(node))


def imports_of(source: str) -> Iterator[Import]:
    """Read a module's imports, tables for importlib among them."""
    text = PATHS[source].read_text(encoding="utf-8")
    lines = text.splitlines()
    tabled = re.compile(r"\.[a-z_][a-z_.]*" if "import_module" in text else "(?!)")
    package = source if PATHS[source].name == "__init__.py" else source.rpartition(".")[0]
    for node, inside in nodes_of(ast.parse(text)):
        targets: set[str] = set()
        if isinstance(node, ast.ImportFrom):
            targets = set(resolved(source, node))
        elif isinstance(node, ast.Constant) and tabled.fullmatch(str(node.value)):
            targets = {f"{package}{node.value}"} & MODULES
        if not targets:
            continue
        assert isinstance(node, ast.ImportFrom | ast.Constant)
        before = lines[node.lineno - 2].strip() if node.lineno > 1 else ""
        explained = before.startswith("#") or "#" in lines[(node.end_lineno or node.lineno) - 1]
        for target in sorted(targets):
            deferred = inside or isinstance(node, ast.Constant)
            yield Import(source, target, node.lineno, deferred, explained)


@cache
def imports() -> list[Import]:
    """Read all imports between two modules: in one worker, not where each collects the tests."""
    return [one for source in PATHS for one in imports_of(source) if one.source != one.target]


@cache
def imported_at_once() -> dict[str, set[str]]:
    """Find what each module imports outside of functions."""
    found: dict[str, set[str]] = {source: set() for source in MODULES}
    for one in imports():
        if not one.deferred:
            found[one.source].add(one.target)
    return found


@cache
def reached_from(module: str) -> set[str]:
    """Modules that come with this one, not counting what functions import."""
    found: set[str] = set()
    waiting = [module]
    while waiting:
        new = imported_at_once()[waiting.pop()] - found
        found |= new
        waiting.extend(new)
    return found


def backwards(one: Import) -> bool:
    """Tell whether an import runs against the layers, or closes a circle."""
    return layer(one.target) > layer(one.source) or one.source in reached_from(one.target)


def test_the_table_names_what_there_is() -> None:
    assert [name for name in LAYERS if name not in MODULES] == []
    assert [module for module in MODULES if layer(module) < 0] == []
    assert len(set(LAYERS.values())) > 10


def test_no_module_imports_itself_through_others() -> None:
    assert [module for module in PATHS if module in reached_from(module)] == []


def test_imports_run_down_the_layers() -> None:
    against = [one for one in imports() if backwards(one)]
    assert [one for one in against if not one.deferred] == []
    assert [one for one in against if not one.explained] == []
    assert len(against) <= MOST_EXCEPTIONS, against


@pytest.mark.slow
def test_imports_inside_the_package_are_relative() -> None:
    absolute = []
    for source, path in PATHS.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level and node.module:
                names = [node.module]
            absolute += [f"{source}:{node.lineno}" for n in names if n.split(".")[0] == "fastbptt"]
    assert absolute == []
