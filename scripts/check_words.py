"""Look for names and phrases that have a standard term: in code and in prose.

    python scripts/check_words.py              # exit status 1 with lines FILE:LINE: FOUND -> BETTER
    python scripts/check_words.py FOLDER       # another checkout

Names are looked for in the identifiers of src/ and cpp/ (``row_plane`` holds the word ``plane``),
in strings that are a single identifier, and in file names; phrases in src/, cpp/, examples/, docs/
and the Markdown files, also across line breaks. Besides these: docstrings that begin with "What",
and lines of Markdown that are too long for an editor.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

LINE_LIMIT = 120  # characters of a line of Markdown, without the targets of its links


@dataclass(frozen=True)
class Name:
    """A word, or a whole identifier, that must not name anything below ``where``."""

    word: str
    better: str
    where: tuple[str, ...] = ("src", "cpp")
    whole: bool = False  # the identifier as it stands, not a word in it
    exceptions: tuple[str, ...] = ()  # identifiers, or PATH:IDENTIFIER


ENGINE = ("cpp",)
PACKAGE = ("src",)
# Folders where the word has the meaning that is meant; elsewhere a product is one of numbers,
# plain is plain text, a form is that of a file, and a walk is a random one.
CELLS = ("cpp/cells", "cpp/kernels", "cpp/bindings", "src/fastbptt/diagnostics")
CALLS = ("src/fastbptt/models", "src/fastbptt/diagnostics", "src/fastbptt/training")

NAMES = (
    Name("plane", "saved"),
    Name("planes", "saved"),
    Name(
        "product",
        "preactivation",
        CELLS,
        exceptions=(
            "row_product",  # of a row and a matrix
            "row_product_part",
            "src/fastbptt/diagnostics/_dynamics.py:product",  # of Jacobians
        ),
    ),
    Name("products", "preactivations", CELLS, exceptions=("output_row_products",)),
    Name("opens", "is_sigmoid"),
    Name("room", "buffer"),
    Name("rooms", "buffers"),
    Name("Pass", "LayerDirection", ENGINE, whole=True),
    Name("passes", "directions", ENGINE, whole=True),
    Name("piece", "allocate, from the arena", ENGINE),
    Name("pieces", "allocate, from the arena", ENGINE),
    Name("cut", "allocate, from the arena", ENGINE),
    Name("Plan", "BatchPlan", ENGINE, whole=True),
    Name("Schedule", "RowSchedule", ENGINE, whole=True),  # learning rates have schedules, too
    Name("loading", "packing"),
    Name("forwards", "forward"),
    Name("backwards", "backward", exceptions=("go_backwards",)),  # Keras' argument
    Name("recording", "probes", ENGINE),
    Name("streaming", "single_step"),
    Name("Member", "Worker", ENGINE, whole=True),
    Name("member", "worker", ENGINE, whole=True),
    Name("Form", "InputSpec", CALLS, whole=True),
    Name(
        "form",
        "spec",
        CALLS,
        whole=True,
        exceptions=("src/fastbptt/training/metrics.py:form",),  # of a number
    ),
    Name("_form", "_spec", CALLS, whole=True),
    Name("plain", "fast_path", ("src/fastbptt/models",), whole=True),
    Name(
        "shares",
        "probs",
        PACKAGE,
        whole=True,
        exceptions=("src/fastbptt/models/truncated.py:shares",),  # of the loss, by chunk
    ),
    Name("Keys", "DropoutSeeds", PACKAGE, whole=True),
    Name("dropout_keys", "dropout_seeds", PACKAGE, whole=True),
    Name("watch", "early_stopping", PACKAGE),
    Name("keeper", "checkpointer", PACKAGE),
    Name("influence", "saliency"),
    Name("openness", "mean_gate_activation"),
    Name("facts", "summary", PACKAGE),
    Name(
        "answers",
        "predictions",
        PACKAGE,
        exceptions=("src/fastbptt/bench/worker.py:answers",),  # of a process, to its parent
    ),
    Name("apart", "held_out", PACKAGE),
    Name("turns", "chunks", CALLS),
    Name("walk", "chunks", CALLS),
    Name("said", "message, predicted, reported"),
    Name("says", "message, predicts, reports"),
    Name("told", "message, given, reported"),
)

# As regular expressions, in any case; a space is any white space, also between two lines.
PHRASES = {
    r"\bRecurrent\([^()]*\bsetting=": "alpha=",
    "near the speed limit": "near peak throughput",
    "page to hand on": "shareable report",
    "looked at step by step": "recorded at every time step",
    "what it says at the end": "the output at the last step",
    r"what the network says at": "the network's output at",
    r"positive on the whole\b": "positive on average",
    "as they come from the box": "out of the box",
    "as a rule zero": "usually zero",
    r"\bthe squashing\b": "the nonlinearity",
    "is of no use": "is useless",
    r"\ban own\b": "a custom, its own",
    r"would be ahead [\d.]+ times": "the speed-up would be 1.96x",
    "times as fast again": "a further 1.8x faster",
    "in times of fastbptt": "relative to fastbptt",
    "on a telephone": "on a phone",
    "numbers to predict are": "regression targets are",
    r"\blearnt\b": "learned",
    "the model will not be kept": "the model will not be saved",
    "on which the final model is tried": "held-out test set, evaluated once",
    "learning few sequences by heart": "regularises small data sets",
    "longest gradient of a step": "maximum gradient norm",
    "what a trained model makes of": "predict with a trained model",
    "share of the steps whose": "fraction of time steps classified correctly",
    "that does not compute": "configuration, parameters and serialisation",
    r"\btake in what\b": "infer",
    r"scikit-learn's manners": "base class of the scikit-learn estimators",
    "how much room": "buffer sizes, memory",
    "a share between 0 and 1": "a sigmoid gate, between 0 and 1",
    "an array that there is not": "unknown array name",
    "what keeps the quotient finite": "added to the denominator for numerical stability",
    r"what this model's forward returned": "a ForwardResult of this model",
    r"\bnothing to advise\b": "no problems found",
    "rows are what is true": "rows: true class, columns: predicted class",
    r"what the model said": "predicted class",
    r"\bhow sure\b": "confidence",
}

SOURCES = ("src", "cpp", "examples", "docs")
PROSE = ("*.md", "docs/**/*.md", "benchmarks/**/*.md")
CODE_SUFFIXES = {".py", ".pyi", ".h", ".cpp", ".inc"}


class Found(NamedTuple):
    """A line with something that has a better word."""

    path: str
    line: int
    found: str
    better: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.found} -> {self.better}"


def words_of(identifier: str) -> set[str]:
    """Return the words of snake_case and CamelCase, in lower case."""
    return {w.lower() for w in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", identifier)}


def identifiers(path: Path, text: str) -> Iterator[tuple[int, str]]:
    """Names in code, without comments; also those in strings that are nothing but a name."""
    if path.suffix in {".py", ".pyi"}:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.NAME:
                yield token.start[0], token.string
            elif token.type == tokenize.STRING and (
                name := re.fullmatch(r"""["']([A-Za-z_]\w*)["']""", token.string)
            ):
                yield token.start[0], name[1]
    else:
        comment = r"//[^\n]*|/\*.*?\*/"
        code = re.sub(comment, lambda found: "\n" * found[0].count("\n"), text, flags=re.DOTALL)
        code = re.sub(r'"(?![A-Za-z_]\w*")(?:[^"\\\n]|\\.)*"', '""', code)
        for number, line in enumerate(code.split("\n"), 1):
            yield from ((number, found) for found in re.findall(r"\b[A-Za-z_]\w*", line))


def _is_below(path: str, top: str) -> bool:
    return PurePosixPath(path).is_relative_to(top)


def _is_exception(rule: Name, path: str, identifier: str) -> bool:
    for exception in rule.exceptions:
        top, _, name = exception.rpartition(":")
        if identifier == name and _is_below(path, top or "."):
            return True
    return False


def check_names(root: Path, path: Path, text: str) -> Iterator[Found]:
    """Identifiers, and the name of the file, that have a standard term."""
    where = path.relative_to(root).as_posix()
    rules = [rule for rule in NAMES if any(_is_below(where, top) for top in rule.where)]
    for line, identifier in [(1, path.stem), *identifiers(path, text)]:
        words = words_of(identifier)
        for rule in rules:
            found = identifier == rule.word if rule.whole else rule.word in words
            if found and not _is_exception(rule, where, identifier):
                yield Found(where, line, identifier, rule.better)
    if path.suffix in {".h", ".cpp", ".inc"}:  # a gate's index is that of its pre-activation
        for number, content in enumerate(text.split("\n"), 1):
            if "at.gate(" in content:
                yield Found(where, number, "at.gate()", "d_preactivation")


def check_phrases(root: Path, path: Path, text: str) -> Iterator[Found]:
    """Phrases that have a better one, also where a line break or a string's end is in them."""
    where = path.relative_to(root).as_posix()
    between = r"""(?:\s|["']\s*\n\s*f?["']|\n\s*(?://|#|>)+)+"""
    for phrase, better in PHRASES.items():
        for found in re.finditer(phrase.replace(" ", between), text, re.IGNORECASE):
            line = text.count("\n", 0, found.start()) + 1
            yield Found(where, line, " ".join(found[0].split()), better)


def check_docstrings(root: Path, path: Path, text: str) -> Iterator[Found]:
    """Docstrings that begin with a relative clause without its noun."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, kinds) and re.match(r"What\b", ast.get_docstring(node) or ""):
            line = node.body[0].lineno
            where = path.relative_to(root).as_posix()
            yield Found(where, line, 'docstring "What ..."', "a noun or a verb first")


def check_lines(root: Path, path: Path, text: str) -> Iterator[Found]:
    """Lines of prose that are too long; tables, code, pictures and targets of links may be."""
    fence = None
    for number, line in enumerate(text.split("\n"), 1):
        if mark := re.match(r"\s*(```+|~~~+)", line):
            if fence is None:
                fence = mark[1]
            elif mark[1].startswith(fence) and line.strip() == mark[1]:
                fence = None
        elif fence is None and not re.match(r"\s*(\||!\[|<)", line):
            seen = re.sub(r"https?://\S+", "", re.sub(r"\]\([^)]*\)", "]", line))
            if len(seen) > LINE_LIMIT:
                found = f"line of {len(seen)} characters"
                yield Found(path.relative_to(root).as_posix(), number, found, f"{LINE_LIMIT}")


def check(root: Path) -> list[Found]:
    """Everything that is found in a checkout, in the order of its files."""
    found: list[Found] = []
    markdown = [path for pattern in PROSE for path in root.glob(pattern)]
    source = [path for top in SOURCES for path in (root / top).rglob("*")]
    for path in sorted({*markdown, *source}):
        if path.suffix not in CODE_SUFFIXES | {".md", ".css"}:
            continue
        text = path.read_text("utf-8")
        if path.suffix == ".md":
            found += check_lines(root, path, text)
        elif path.suffix in CODE_SUFFIXES:
            found += check_names(root, path, text)
        if path.suffix in {".py", ".pyi"}:
            found += check_docstrings(root, path, text)
        found += check_phrases(root, path, text)
    return sorted(set(found))


def main(arguments: list[str]) -> int:
    """Print what is found; return the exit status."""
    root = Path(arguments[0]) if arguments else Path(__file__).resolve().parent.parent
    found = check(root)
    print(*found, sep="\n", end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
