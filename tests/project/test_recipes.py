"""The recipes of CONTRIBUTING.md name the sites of what they add: the files and lines exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fastbptt import _core, optim, reference

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(not (ROOT / "cpp").is_dir(), reason="without the source tree")


def recipes() -> dict[str, str]:
    """The sections "Adding ..." by what they add."""
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    return dict(re.findall(r"^## Adding an? (.*?)\n(.*?)(?=^## )", text, re.DOTALL | re.MULTILINE))


def paths(text: str) -> list[str]:
    """Every file that is named, from the root of the repository."""
    return re.findall(r"`((?:cpp|src|tests|docs)/[\w./]+\.\w+)`", text)


def steps(recipe: str) -> list[list[str]]:
    """Files of each numbered step; the first of a step is the one to change."""
    parts = re.split(r"^\d+\. ", recipes()[recipe], flags=re.MULTILINE)[1:]
    parts[-1] = parts[-1].split("\n\n")[0]
    return [paths(part) for part in parts]


def text_of(path: str) -> str:
    return (ROOT / path).read_text("utf-8")


def includes(path: str) -> list[str]:
    return re.findall(r'^#include "(\w+)\.inc"$', text_of(path), re.MULTILINE)


@pytest.mark.parametrize("recipe", recipes())
def test_the_named_files_exist(recipe: str) -> None:
    named = paths(recipes()[recipe])
    assert named
    for path in named:
        if "NAME" in path:
            folder, suffix = ROOT / Path(path).parent, Path(path).suffix
            assert [one for one in folder.glob(f"*{suffix}") if one.stem != "list"], path
        else:
            assert (ROOT / path).is_file(), path


def test_a_cell_is_two_files_and_three_lines() -> None:
    assert [files[0] for files in steps("cell")] == [
        "src/fastbptt/reference/relu.py",
        "src/fastbptt/reference/model.py",
        "cpp/cells/relu.inc",
        "cpp/cells/list.inc",
        "src/fastbptt/c_source/formulas.py",
    ]
    files = [text_of(f"cpp/cells/{name}.inc") for name in includes("cpp/cells/list.inc")]
    cells = [name for text in files for name in re.findall(r"^CELL\((\w+)\)$", text, re.MULTILINE)]
    assert cells == _core.cells()
    assert set(reference.CELLS) == set(_core.cells())
    for name in _core.cells():
        assert Path(reference.CELLS[name].__file__ or "").is_file()
        assert text_of("src/fastbptt/reference/model.py").count(f'    "{name}": ') == 1
        assert text_of("src/fastbptt/c_source/formulas.py").count(f'    "{name}": ') == 1


def test_an_optimizer_is_four_files() -> None:
    assert [files[0] for files in steps("optimiser")] == [
        "cpp/optimizers/NAME.inc",
        "cpp/optimizers/list.inc",
        "src/fastbptt/reference/optim.py",
        "src/fastbptt/optim/optimizers.py",
    ]
    assert includes("cpp/optimizers/list.inc") == _core.optimizers()
    for rule in _core.optimizers():
        assert f"OPTIMIZER({rule})" in text_of(f"cpp/optimizers/{rule}.inc").splitlines()
    # No other file of the package or the pages has a list of them.
    names = [kind.__name__ for kind in optim.OPTIMIZERS.values()]
    for path in ("src/fastbptt/__init__.py", "src/fastbptt/optim/__init__.py"):
        assert not re.search(rf"^\s+\"?({'|'.join(names)})\"?,$", text_of(path), re.MULTILINE)
    page = text_of("docs/api/optimisers.md")
    assert not re.search(rf"autoclass:: \S*({'|'.join(names)})$", page, re.MULTILINE)


def test_an_instruction_set_is_a_file_and_its_lines() -> None:
    assert [files[0] for files in steps("instruction set")] == [
        "cpp/isa/NAME.cpp",
        "cpp/isa/list.inc",
        "cpp/CMakeLists.txt",
    ]
    registry, build = text_of("cpp/isa/list.inc"), text_of("cpp/CMakeLists.txt")
    units = {path.stem for path in (ROOT / "cpp" / "isa").glob("*.cpp")}
    assert units == set(re.findall(r"^FASTBPTT_SET\((\w+),", registry, re.MULTILINE))
    assert units == set(re.findall(r"\w+", " ".join(re.findall(r"units ([\w ]+)\)", build))))
    families = registry.count("#if defined(__") + registry.count("#elif defined(__")
    for unit in units - {"portable"}:  # of every family
        absent = re.findall(rf"^FASTBPTT_ABSENT\({unit},", registry, re.MULTILINE)
        unknown = registry.count(f"#ifdef FASTBPTT_WITHOUT_{unit.upper()} ")
        assert len(absent) == families - 1 + unknown, unit
