"""Every argument has an effect: changing it changes a result, output or file, or is refused.

The callables and their arguments are found by inspection: one without an entry fails. The entries
are in `tests/support/arguments`; those of the command line are in `test_every_option.py`.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import pkgutil
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
import pytest
from arguments import ENTRIES, SLOW
from effects import ROOT, Entry, Reason, Refused, With, cases, check_effect, run

import fastbptt
from fastbptt.models import initializers

# ---------------------------------------------------------------- what is public


def public_modules() -> dict[str, ModuleType]:
    """Find packages, modules among their names, and documented modules; by name, without ours."""
    found = {"": fastbptt}
    for name in fastbptt.__all__:
        if isinstance(getattr(fastbptt, name), ModuleType):
            found[name] = getattr(fastbptt, name)
    named = [one.name for one in pkgutil.walk_packages(fastbptt.__path__, "fastbptt.") if one.ispkg]
    for page in (ROOT / "docs" / "api").glob("*.md"):
        named += re.findall(r"automodule:: (\S+)", page.read_text(encoding="utf-8"))
    for name in named:
        if name == "fastbptt.torch":  # needs PyTorch: tests/torch
            continue
        module = importlib.import_module(name)
        if "._" not in name and module not in found.values():
            found[name.removeprefix("fastbptt.")] = module
    return found


def public() -> dict[str, Any]:
    """Find all public functions and classes by their shortest names, and methods by theirs."""
    found: dict[str, Any] = {}
    for place, module in public_modules().items():
        for name in getattr(module, "__all__", ()):
            made = getattr(module, name)
            if isinstance(made, type | FunctionType) and made not in found.values():
                found[f"{place}.{name}".lstrip(".")] = made
    for name, made in list(found.items()):
        if isinstance(made, type):
            found |= {f"{name}.{one}": value for one, value in methods(made, found)}
    return found


def methods(kind: type, known: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """List methods with their own code, those of private base classes included."""
    seen = set()
    for place in kind.__mro__:
        if place is not kind and place in known.values():
            seen |= set(vars(place))  # listed there
        for name, value in vars(place).items():
            function = getattr(value, "__func__", value)
            ours = isinstance(function, FunctionType) and function.__module__.startswith("fastbptt")
            if (
                ours
                and name not in seen
                and (name[0] != "_" or name in ("__getitem__", "__call__"))
            ):
                yield name, getattr(kind, name)
            seen.add(name)


def is_record(made: Any) -> bool:
    """Whether a class keeps its arguments as fields, without code of its own."""
    if not isinstance(made, type):
        return False
    if issubclass(made, tuple):
        return hasattr(made, "_fields")
    return dataclasses.is_dataclass(made) and not hasattr(made, "__post_init__")


def is_hook(made: Any) -> bool:
    """Whether a method has nothing but a docstring: its arguments are for those who override it."""
    if not isinstance(made, FunctionType):
        return False
    body = ast.parse(textwrap.dedent(inspect.getsource(made))).body[0].body  # type: ignore[attr-defined]
    return all(isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant) for one in body)


def arguments(name: str, made: Any) -> set[str]:
    """Name what a call takes; of a loss, the parameters of all losses."""
    found = set(inspect.signature(made).parameters) - {"self"}
    if name == "Loss":
        every = [fastbptt.Loss(one).parameters for one in fastbptt.losses()]
        found = (found - {"parameters"}).union(*every)
    return found


PUBLIC = {name: made for name, made in public().items() if not is_hook(made)}
RECORDS = [name for name, made in PUBLIC.items() if is_record(made) and name not in ENTRIES]


def test_what_is_public_is_found() -> None:
    for name in (
        "fit",
        "plot.unrolled",
        "datasets.Tokenizer.encode",
        "sklearn.RecurrentForecaster.fit",
        "reference.forward",
        "bench.measure",
        "History.load",
        "Optimizer.step",
        "schedules.Cosine.at",
    ):
        assert name in PUBLIC
    assert is_hook(fastbptt.Callback.on_epoch_end)
    assert not is_hook(fastbptt.GradientMonitor.on_epoch_end)


@pytest.mark.parametrize("name", sorted(PUBLIC.keys() - RECORDS))
def test_every_argument_has_an_entry(name: str) -> None:
    wanted = arguments(name, PUBLIC[name])
    found = set(ENTRIES[name].changes) if name in ENTRIES else set()
    assert found == wanted, f"{name}: {sorted(wanted ^ found)}"


def test_every_entry_is_of_something_public() -> None:
    assert not ENTRIES.keys() - PUBLIC.keys()


# ---------------------------------------------------------------- what they do


@pytest.mark.parametrize(("what", "entry", "name", "change"), cases(ENTRIES, SLOW))
def test_every_argument_has_an_effect(
    what: str, entry: Entry, name: str, change: Any, tmp_path: Path
) -> None:
    check_effect(what, entry, name, change, tmp_path)


@pytest.mark.parametrize("name", RECORDS)
def test_fields_are_kept(name: str) -> None:
    given = {field: object() for field in arguments(name, PUBLIC[name])}
    made = PUBLIC[name](**given)
    assert {field: getattr(made, field) for field in given} == given


@pytest.mark.parametrize("name", ["torch", "keras"])
def test_an_initializer_without_a_number_takes_none(name: str) -> None:
    value = 1.0
    with pytest.raises(fastbptt.ArgumentError, match=f'"{name}" takes no number'):
        fastbptt.RNN(2, 3, init=(name, value))
    assert initializers.INITIALIZERS[name].argument is None


# ---------------------------------------------------------------- messages

ARRAYS: list[Any] = [
    np.arange(24.0).reshape(2, 3, 4) / 7,
    np.arange(-5.0, 300.0) / 7,
    (np.arange(90.0) / 7).tolist(),
    {"mean": np.arange(90.0) / 7, "scale": np.zeros(90)},
]
PRINTED = re.compile(r"array\(\[|\[\s*-?\d+\.\d* +-?\d|\[(-?\d+\.\d+, ){6}")


# all but those whose arguments are the words of a message
SPEAKING = {name: entry for name, entry in ENTRIES.items() if name != "Loss.of_scaled"}


@pytest.mark.slow
@pytest.mark.parametrize(("what", "entry", "name", "change"), cases(SPEAKING, SLOW))
def test_no_message_prints_an_array(
    what: str, entry: Entry, name: str, change: Any, tmp_path: Path
) -> None:
    others = getattr(change, "others", {})
    for i, array in enumerate(ARRAYS):
        message = ""
        try:
            run(entry, {**entry.base, **others, name: array}, tmp_path / str(i))
        except (Exception, SystemExit) as error:
            message = f"{type(error).__name__}: {error}"
        assert not PRINTED.search(message), message


@pytest.mark.parametrize(
    "text",
    [
        f"x is {ARRAYS[0]}",
        f"x is {ARRAYS[1]}",
        f"x is {ARRAYS[2]!r}",
        f"x is {ARRAYS[0]!r}",
        f"values are {ARRAYS[3]}",
        f"y is {np.arange(3.0)}",
    ],
)
def test_an_array_is_recognised(text: str) -> None:
    assert PRINTED.search(text)


# ---------------------------------------------------------------- the test itself


def _call(used: int, unused: int = 0, positive: int = 0) -> int:
    if positive < 0:
        raise ValueError(f"positive is {positive}")
    return used


HERE = "tests/project/test_every_argument.py"
WRONG: list[tuple[str, Any, str]] = [
    ("unused", 1, "unused has no effect"),
    ("unused", With(1, {"used": 2}), "unused has no effect"),
    ("unused", Refused(1, "unused is"), "unused has no effect"),
    ("used", Refused(2, "used is"), "used: no 'used is'"),
    ("positive", -1, "positive is refused"),
    ("positive", Refused(-1, "another word"), "no 'another word' in 'positive is -1'"),
    ("unused", Reason("no such file", f"{HERE}::test_nothing"), "has no test_nothing"),
    ("unused", Reason("not about it", f"{HERE}::test_fields_are_kept"), "does not mention"),
]


@pytest.mark.parametrize(("name", "change", "words"), WRONG)
def test_what_has_no_effect_is_found(name: str, change: Any, words: str, tmp_path: Path) -> None:
    entry = Entry(_call, {"used": 1}, {})
    with pytest.raises(AssertionError, match=words):
        check_effect(f"{tmp_path}", entry, name, change, tmp_path)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("used", 2),
        ("used", With(2, {"unused": 1})),
        ("positive", Refused(-1, "positive is -1")),
        ("unused", Reason("", f"{HERE}::test_what_an_effect_is")),
    ],
)
def test_what_an_effect_is(name: str, change: Any, tmp_path: Path) -> None:
    """The last one says that this function is about `unused`."""
    check_effect(f"{tmp_path}", Entry(_call, {"used": 1}, {}), name, change, tmp_path)
