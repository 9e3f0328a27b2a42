"""One name, one thing: classes and modules of the package and of the C++ core."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "fastbptt"

#: Names that stand at several places for the same thing.
SAME_CLASS = {
    "ArgumentError": "the core's error, which the bindings turn into the package's",
    "Backend": "an instruction set",
    "GRU": "the same network, as a model and as a module for PyTorch",
    "GruBefore": "the same cell, in each library that the benchmarks compare",
    "Leaky": "the same cell, in each library that the benchmarks compare",
    "LSTM": "the same network, as a model and as a module for PyTorch",
    "Loss": "the package's is derived from the core's",
    "RNN": "the same network, as a model and as a module for PyTorch",
}
SAME_MODULE = {
    "bench": "the package, and its command",
    "formats": "registries of file formats: of data, and of models",
    "gallery": "the figures, and their command",
    "losses": "the losses, and their equations in the reference",
    "optim": "the optimisers, and their equations in the reference",
}

_CLASS = re.compile(
    r"^\s*(?:template\s*<[^;{]*>\s*)?(?:struct|class|enum class)\s+(?:alignas\([^)]*\)\s+)?"
    r"(\w+)\s*(?:final\s*)?(?::[^;{]*)?\{",
    re.MULTILINE,
)
_BOUND = re.compile(r"class_<[^>]*>\([^,]*,\s*\"(\w+)\"")


def classes() -> dict[str, set[str]]:
    """Collect the classes by name, each with the files that define it."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                found[node.name].add(str(path.relative_to(ROOT)))
    for path in (ROOT / "cpp").rglob("*"):
        if path.suffix in (".h", ".cpp", ".inc") and "tests" not in path.parts:
            for name in _CLASS.findall(path.read_text(encoding="utf-8")):
                found[name].add(str(path.relative_to(ROOT)))
    return found


def modules() -> dict[str, set[str]]:
    """Collect modules and packages by name, without a leading underscore."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in PACKAGE.rglob("*.py"):
        if path.stem not in ("__init__", "__main__"):
            found[path.stem.lstrip("_")].add(str(path.relative_to(ROOT)))
        elif path.parent != PACKAGE:
            found[path.parent.name.lstrip("_")].add(str(path.relative_to(ROOT)))
    return found


@pytest.mark.slow
def test_a_name_of_a_class_stands_for_one_thing() -> None:
    found = classes()
    assert {"Recurrent", "Engine", "ThreadPool"} <= found.keys()
    repeated = {name: places for name, places in found.items() if len(places) > 1}
    assert {name: places for name, places in repeated.items() if name not in SAME_CLASS} == {}
    assert [name for name in SAME_CLASS if name not in repeated] == []


@pytest.mark.slow
def test_a_bound_class_has_no_namesake_in_the_package() -> None:
    package = {name for name, places in classes().items() if any("src" in p for p in places)}
    bound = {
        name
        for path in (ROOT / "cpp" / "bindings").glob("*.cpp")
        for name in _BOUND.findall(path.read_text(encoding="utf-8"))
    }
    assert "OptimizerState" in bound
    assert (bound & package) - SAME_CLASS.keys() == set()


def test_a_name_of_a_module_stands_for_one_thing() -> None:
    repeated = {name: places for name, places in modules().items() if len(places) > 1}
    assert {name: places for name, places in repeated.items() if name not in SAME_MODULE} == {}
    assert [name for name in SAME_MODULE if name not in repeated] == []
