"""Nothing reads a name or a number out of an error's text: errors carry them as fields."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = [*(ROOT / "src").rglob("*.py"), *(ROOT / "examples").glob("*.py")]


def readings(tree: ast.Module) -> list[int]:
    """Find lines that look into the text of an error: `in`, `==`, `[..]`, methods, `re`, `args`."""
    for node in ast.walk(tree):
        for child in ast.iter_child_nodes(node):
            child.parent = node  # type: ignore[attr-defined]
    found = []
    for scope, error in errors(tree):
        texts: set[str] = set()
        for node in ast.walk(scope):  # text = str(error)
            if isinstance(node, ast.Assign) and any(
                is_text(part, error, texts) for part in ast.walk(node.value)
            ):
                texts |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        found += [
            node.lineno  # type: ignore[attr-defined]
            for node in ast.walk(scope)
            if (is_text(node, error, texts) and is_read(node)) or is_args(node, error)
        ]
    return found


def errors(tree: ast.Module) -> Iterator[tuple[ast.AST, str]]:
    """Find what names an error: `except .. as name`, and parameters of such a type."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler) and node.name:
            yield node, node.name
        if isinstance(node, ast.FunctionDef):
            for argument in node.args.args:
                kind = argument.annotation and ast.unparse(argument.annotation)
                if kind and ("Error" in kind or "Exception" in kind):
                    yield node, argument.arg


def is_text(node: ast.AST, error: str, texts: set[str]) -> bool:
    """Tell `str(error)`, `repr(error)`, `f"{error}"` and names that hold such a text."""
    if isinstance(node, ast.Call):
        made = isinstance(node.func, ast.Name) and node.func.id in ("str", "repr", "format")
        return made and any(isinstance(n, ast.Name) and n.id == error for n in node.args)
    if isinstance(node, ast.FormattedValue):
        return isinstance(node.value, ast.Name) and node.value.id == error
    if isinstance(node, ast.JoinedStr):
        return any(is_text(part, error, texts) for part in node.values)
    return isinstance(node, ast.Name) and node.id in texts


def is_args(node: ast.AST, error: str) -> bool:
    """Tell `error.args`, where an error without fields has its text."""
    return (
        isinstance(node, ast.Attribute)
        and node.attr == "args"
        and isinstance(node.value, ast.Name)
        and node.value.id == error
    )


def is_read(node: ast.AST) -> bool:
    """Tell whether a text is looked into, not merely passed on."""
    parent = node.parent  # type: ignore[attr-defined]
    if isinstance(parent, ast.BoolOp | ast.IfExp):
        return is_read(parent)
    kinds = ast.Attribute | ast.Compare | ast.Subscript | ast.For | ast.comprehension
    if isinstance(parent, kinds):  # an attribute of a text is a method that looks into it
        return True
    if isinstance(parent, ast.Call) and node in parent.args:
        called = parent.func
        of_re = isinstance(called, ast.Attribute) and (
            called.attr in ("match", "search", "fullmatch", "findall", "finditer", "split", "sub")
        )
        return of_re or (isinstance(called, ast.Name) and called.id in ("int", "float"))
    return False


@pytest.mark.slow
def test_nothing_reads_messages() -> None:
    assert len(FILES) > 80
    read = {
        f"{path.relative_to(ROOT)}:{line}"
        for path in FILES
        for line in readings(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert not read


@pytest.mark.parametrize(
    "statement",
    [
        'if "not finite" in str(error): raise',
        'if str(error).startswith("y"): raise',
        'if f"{error}".startswith("y"): raise',
        'raise ValueError(str(error).replace("a", "b"))',
        "raise ValueError(INDEX.match(str(error)))",
        "text = str(error)\n    if text[0]: raise",
        'text = str(error) or "?"\n    if "pickle" in text: raise',
        "raise ValueError(error.args[0])",
        'if "y" == str(error): raise',
        'text = f"{error}"\n    if text.startswith("y"): raise',
    ],
)
def test_this_test_sees(statement: str) -> None:
    assert readings(ast.parse(f"try:\n    f()\nexcept ValueError as error:\n    {statement}"))
    assert readings(ast.parse(f"def f(error: ValueError) -> None:\n    {statement}"))


@pytest.mark.parametrize(
    "statement",
    [
        'raise ValueError(f"a.csv: {error}") from None',
        'if error.argument == "y": error.context.append("why")',
        "text = str(error) or repr(error)\n    raise ValueError(text)",
        "error.index = (rows[error.index[0]], *error.index[1:])",
    ],
)
def test_texts_may_be_passed_on(statement: str) -> None:
    assert not readings(ast.parse(f"try:\n    f()\nexcept ValueError as error:\n    {statement}"))
