"""The script that looks for words of our own finds planted ones, and only those."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "check_words.py"


@pytest.fixture(scope="module")
def script() -> Any:
    spec = importlib.util.spec_from_file_location("check_words", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["check_words"] = module  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        ("src/a.py", "x = 1\nrow_plane = 2\n", ["2: row_plane -> saved"]),
        ("src/a.py", "class LastPlane:\n    pass\n", ["1: LastPlane -> saved"]),
        ("src/a.py", "x = y['openness']\n", ["1: openness -> mean_gate_activation"]),
        ("src/a.py", "# a plane\nairplane = 'a plane'\nexplanes = 0\n", []),
        ("src/a.py", "from itertools import product\n", []),
        ("src/a.py", "member = 1\n", []),  # in C++ only
        ("src/fastbptt/models/a.py", "self._form = 1\n", ["1: _form -> _spec"]),
        ("src/fastbptt/cli/a.py", "form = 1\n", []),
        ("cpp/engine/a.h", "product(a, b);\n", []),  # of numbers
        ("cpp/kernels/a.inc", "product(row_product);\n", ["1: product -> preactivation"]),
        ("src/fastbptt/bench/worker.py", "answers = 1\n", []),
        ("src/a.py", "perform(inform, platform)\n", []),
        ("src/told.py", "", ["1: told -> message, given, reported"]),
        ("cpp/a.h", "// plane\n/* plane\n */ int next_plane;\n", ["3: next_plane -> saved"]),
        ("cpp/a.h", 'f("opens");\n', ["1: opens -> is_sigmoid"]),
        ("cpp/a.h", 'f("it says \\"plane\\"", said, "");\n', ["1: said -> message"]),
        ("cpp/a.inc", "struct BatchPlan plan;\nPlan p;\n", ["2: Plan -> BatchPlan"]),
        ("cpp/a.inc", "at.gate(0, x);\n", ["1: at.gate() -> d_preactivation"]),
        ("cpp/isa/rooms.h", "", ["1: rooms -> buffers"]),
        ("examples/a.py", "plane = 1\n", []),  # names of the code only
        ("examples/a.py", "# it is learnt\n", ["1: learnt -> learned"]),
        (
            "README.md",
            "An own\nthing; Learnt.\n",
            ["1: An own -> a custom, its own", "2: Learnt -> learned"],
        ),
        ("docs/api/a.md", "near  the speed\nlimit\n", ["1: near the speed limit -> near peak"]),
        ("docs/a.md", "a man owns\n", []),
        ("docs/a.md", '`Recurrent("leaky", 8, setting=0.2)`\n', ["1: Recurrent("]),
        ("src/a.py", 'x = ("a page to "\n     "hand on")\n', ["1: page to"]),
        ("src/a.py", '# a page to\n# hand on\n"""No"""\n', ["1: page to"]),
        ("cpp/a.h", "// a page to\n// hand on\n", ["1: page to // hand on -> shareable report"]),
        ("src/a.py", 'def f():\n    """What it does."""\n', ['2: docstring "What ..." ->']),
        ("src/a.py", '"""Whatever.\n\nWhat it is."""\n', []),
        ("README.md", "a" * 121, ["1: line of 121 characters -> 120"]),
        ("CHANGELOG.md", "a" * 120, []),
        ("docs/a.md", "| " + "a" * 121, []),
        ("docs/a.md", "```sh\n" + "a" * 121 + "\n```\n" + "b" * 121, ["4: line of 121"]),
        ("docs/a.md", "[word](https://" + "a" * 121 + ") and https://" + "b" * 121, []),
        ("docs/a.md", "[word](https://a.b) " + "a" * 121, ["1: line of 128 characters"]),
    ],
)
def test_finds_what_is_planted(
    script: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    path: str,
    text: str,
    expected: list[str],
) -> None:
    file = tmp_path / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, "utf-8")
    status = script.main([str(tmp_path)])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(expected)
    for line, begin in zip(lines, expected, strict=True):
        assert line.startswith(f"{path}:{begin}")
    assert status == (1 if expected else 0)


def test_every_name_is_found(script: Any, tmp_path: Path) -> None:
    for rule in script.NAMES:
        place = tmp_path / rule.where[-1]
        file = place if place.suffix else place / "file.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{rule.word} = 1\n", "utf-8")
        assert [f.better for f in script.check(tmp_path)][:1] == [rule.better], rule
        file.unlink()
