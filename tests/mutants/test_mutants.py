"""The program that plants mistakes; CONTRIBUTING.md has the command that runs it."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from scripts import load

HERE = Path(__file__).parent
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="forked children")
cpp_mutants = load("tests/mutants/cpp_mutants.py")
python_mutants = load("tests/mutants/python_mutants.py")
explained = load("tests/mutants/explained.py").EXPLAINED


def test_each_mutant_of_the_core_has_its_place() -> None:
    """A change in cpp/ that moves one of them asks for another text in cpp_mutants.txt."""
    missing = []
    table = cpp_mutants.table()
    for mutant in table:
        try:
            cpp_mutants.line_of(mutant)
        except ValueError as error:
            missing.append(str(error))
    assert missing == []
    assert len(table) == len(set(table)) > 200


def test_switched_sources_have_all_mutants_and_the_code() -> None:
    table = cpp_mutants.table()
    texts = {one.file: (cpp_mutants.CPP / one.file).read_text("utf-8") for one in table}
    found = cpp_mutants.switch_all(texts, table)
    for number, one in enumerate(table, 1):
        assert one.switched(number) in found[one.file]
    back = "".join(found.values())
    for number, one in enumerate(table, 1):
        back = back.replace(one.switched(number), one.old)
    assert back == "".join(texts[file] for file in found)


PLACES = [
    ("a < b", ["(a <= b)"]),
    ("a is None", ["(a is not None)"]),
    ("a + 1", ["(a - 1)", "2"]),
    ("'a' + b", []),
    ("a and b", ["(a or b)"]),
    ("not a", ["(a)"]),
    ("b if a else c", ["(c if a else b)"]),
    ("f(a, b=1)", ["pass", "(f(a))", "2"]),
    ("f(help=1)", ["pass"]),
    ("min(a)", ["pass", "max"]),
    ("np.floor(a)", ["pass", "(np.ceil)"]),
    ("a.b = 1", ["pass", "2"]),
    ("a = 0.5", ["1.0"]),
    ("a += True", ["pass", "False"]),
    ("if a: b = c", ["(not a)"]),
    ("while a: break", ["continue"]),
    ("raise ValueError(1)", []),
    ("assert a < b", []),
    ("f'{a + b}'", []),
    ('"words"', []),
    ("LIMIT = 3", []),
    ("def f(a: int = 1) -> int: return a", ["2"]),
]


@pytest.mark.parametrize(("code", "wanted"), PLACES, ids=[code for code, _ in PLACES])
def test_places(code: str, wanted: list[str]) -> None:
    sites = python_mutants.Sites("f.py", code)
    sites.visit(ast.parse(code))
    assert [one.new for one in sites.found] == wanted
    for one in sites.found:
        assert code[one.start : one.end] == one.old


def test_the_choice_is_the_same_and_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(python_mutants, "mutants_of", cache(python_mutants.mutants_of))
    chosen = list(python_mutants.choice(1))
    assert chosen == list(python_mutants.choice(1))
    assert len(chosen) == sum(python_mutants.SHARES.values()) >= 230
    assert {one.file for one in chosen} != {one.file for one in python_mutants.choice(2)}
    for one in chosen:
        changed = one.changed()
        ast.parse(changed)
        assert changed != (python_mutants.PACKAGE / one.file).read_text("utf-8")


def test_what_is_explained_is_there() -> None:
    table = {(one.file, one.old, one.new) for one in cpp_mutants.table()}
    for (file, old, new), reason in explained.items():
        assert reason
        if file.endswith(".py"):
            text = (python_mutants.PACKAGE / file).read_text("utf-8")
            assert old in text, (file, old)
        else:
            assert (file, old, new) in table


PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
import children
test = "tests/training/test_metrics_by_hand.py"
text = (children.PACKAGE / "training" / "metrics.py").read_text("utf-8")
wrong = text.replace("return float(", "return 1 + float(")
assert wrong != text
texts = {"right": text, "wrong": wrong, "endless": "while True: pass"}
jobs = [children.Job(name, 1 if name == "endless" else 60, tests=[test],
                     changed={"training/metrics.py": one}) for name, one in texts.items()]
waiting = iter(jobs)
children.work(lambda: next(waiting, None), 3, lambda one, how: print(one.job.key, how))
"""


def test_children_see_the_changed_file_and_no_other_does(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, str(HERE)]
    done: Any = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.split("\n")) == ["", "endless time", "right 0", "wrong 1"]
