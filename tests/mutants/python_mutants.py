"""Mistakes for the Python package: every place in it where one can be made, and a fixed choice."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "src" / "fastbptt"

#: How many mutants of a folder or file. Not there: words, pictures and other systems.
SHARES = {
    "training": 70,
    "models": 38,
    "datasets": 42,
    "optim": 16,
    "sklearn": 20,
    "cli": 20,
    "interchange": 20,
    "diagnostics": 18,
    "reference": 16,
    "preprocessing": 8,
    "files": 6,
    "c_source": 4,
    "reporting": 4,
    "_losses.py": 6,
    "_targets.py": 4,
    "_check.py": 5,
    "_views.py": 3,
}
COMPARES = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
OPERATORS = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Div,
    ast.Mod: ast.FloorDiv,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
NAMES = {
    "min": "max",
    "max": "min",
    "any": "all",
    "all": "any",
    "minimum": "maximum",
    "maximum": "minimum",
    "floor": "ceil",
    "ceil": "floor",
    "sum": "mean",
    "mean": "sum",
    "argmax": "argmin",
    "zeros": "ones",
    "ones": "zeros",
    "cumsum": "asarray",
    "abs": "asarray",
    "sorted": "list",
    "sqrt": "square",
}
#: Words and hints, not results.
UNIMPORTANT = {"stacklevel", "help", "metavar", "description", "epilog", "title", "encoding"}


@dataclass(frozen=True)
class PythonMutant:
    """Some text of a file and what stands there instead; the function begins at `function`."""

    file: str
    line: int
    start: int
    end: int
    old: str
    new: str
    function: int

    @property
    def name(self) -> str:
        return f"{self.file}:{self.line}"

    def changed(self) -> str:
        text = (PACKAGE / self.file).read_text("utf-8")
        return text[: self.start] + self.new + text[self.end :]


class Sites(ast.NodeVisitor):
    """All mutants of a file."""

    def __init__(self, file: str, text: str) -> None:
        self.file, self.text = file, text
        self.starts = [0]
        for line in text.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line.encode()))
        self.raw = text.encode()
        self.function = 0
        self.found: list[PythonMutant] = []

    def place(self, line: int, column: int) -> int:
        return len(self.raw[: self.starts[line - 1] + column].decode())

    def add(self, node: ast.expr | ast.stmt, new: str) -> None:
        assert node.end_lineno is not None and node.end_col_offset is not None
        start = self.place(node.lineno, node.col_offset)
        end = self.place(node.end_lineno, node.end_col_offset)
        old = self.text[start:end]
        if new != old:
            self.found.append(
                PythonMutant(self.file, node.lineno, start, end, old, new, self.function)
            )

    def replace(self, node: ast.expr, new: ast.expr) -> None:
        self.add(node, f"({ast.unparse(new)})")

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        before = self.function
        self.function = min([node.lineno, *(one.lineno for one in node.decorator_list)])
        for default in [*node.args.defaults, *node.args.kw_defaults]:
            if default is not None:
                self.visit(default)
        for one in node.body:
            self.visit(one)
        self.function = before

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_Raise(self, node: ast.Raise) -> None:
        pass  # messages

    def visit_Assert(self, node: ast.Assert) -> None:
        pass  # they are for type checkers

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        pass

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Constant):
            return  # a docstring
        if isinstance(node.value, ast.Call):
            self.add(node, "pass")
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        if any(isinstance(one, ast.Attribute | ast.Subscript) for one in node.targets):
            self.add(node, "pass")
        if not any(isinstance(one, ast.Name) and one.id.isupper() for one in node.targets):
            self.visit(node.value)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self.add(node, "pass")
        self.visit(node.value)

    def visit_Continue(self, node: ast.Continue) -> None:
        self.add(node, "break")

    def visit_Break(self, node: ast.Break) -> None:
        self.add(node, "continue")

    def visit_If(self, node: ast.If) -> None:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return
        if not isinstance(node.test, ast.Compare | ast.UnaryOp):
            self.replace(node.test, ast.UnaryOp(ast.Not(), node.test))
        self.generic_visit(node)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self.replace(node, ast.IfExp(node.test, node.orelse, node.body))
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        for i, one in enumerate(node.ops):
            new = COMPARES[type(one)]()
            self.replace(node, ast.Compare(node.left, _with(node.ops, i, new), node.comparators))
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        self.replace(node, ast.BoolOp(other, node.values))
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, ast.Not | ast.USub):
            self.replace(node, node.operand)
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        texts = any(
            isinstance(one, ast.JoinedStr)
            or (isinstance(one, ast.Constant) and isinstance(one.value, str))
            for one in (node.left, node.right)
        )
        if texts:
            return
        types = isinstance(node.right, ast.Constant) and node.right.value is None
        if type(node.op) in OPERATORS and not types:
            self.replace(node, ast.BinOp(node.left, OPERATORS[type(node.op)](), node.right))
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, bool):
            self.add(node, str(not node.value))
        elif isinstance(node.value, int):
            self.add(node, str(node.value + 1))
        elif isinstance(node.value, float):
            self.add(node, repr(2.0 * node.value + (node.value == 0)))

    def visit_Call(self, node: ast.Call) -> None:
        called = node.func
        name = getattr(called, "id", getattr(called, "attr", ""))
        if name in NAMES and node.args:
            if isinstance(called, ast.Name):
                self.add(called, NAMES[name])
            elif isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name):
                self.replace(called, ast.Attribute(called.value, NAMES[name], ast.Load()))
        for i, one in enumerate(node.keywords):
            if one.arg is not None and one.arg not in UNIMPORTANT:
                rest = node.keywords[:i] + node.keywords[i + 1 :]
                self.replace(node, ast.Call(called, node.args, rest))
        self.visit(called)
        for argument in node.args[: 1 if name == "isinstance" else None]:
            self.visit(argument)
        for keyword in node.keywords:
            if keyword.arg not in UNIMPORTANT:
                self.visit(keyword.value)


def _with(operators: list[ast.cmpop], i: int, new: ast.cmpop) -> list[ast.cmpop]:
    return [*operators[:i], new, *operators[i + 1 :]]


def mutants_of(file: str) -> list[PythonMutant]:
    text = (PACKAGE / file).read_text("utf-8")
    sites = Sites(file, text)
    sites.visit(ast.parse(text))
    return sites.found


def files_of(share: str) -> list[str]:
    path = PACKAGE / share
    paths = [path] if path.is_file() else sorted(path.rglob("*.py"))
    return [str(one.relative_to(PACKAGE)) for one in paths]


def choice(seed: int, times: float = 1.0) -> Iterator[PythonMutant]:
    """So many mutants of each folder, at most one of a line, files by their number of places.

    Which ones is a function of the seed and of their text alone: a change elsewhere moves few.
    """
    for share, count in SHARES.items():
        places = [one for file in files_of(share) for one in mutants_of(file)]
        lines: set[str] = set()
        for one in sorted(places, key=lambda one: _rank(seed, one)):
            if len(lines) == round(count * times):
                break
            if one.name not in lines:
                lines.add(one.name)
                yield one


def _rank(seed: int, one: PythonMutant) -> bytes:
    return hashlib.sha256(f"{seed} {one.file} {one.old} {one.new}".encode()).digest()
