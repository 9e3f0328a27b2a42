"""Whether changing one argument of a call changes its result, what it prints, or its files."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import io
import os
import re
import warnings
from collections.abc import Callable, Set
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from accuracy import HAS_BFLOAT16

import fastbptt

ROOT = Path(__file__).parents[2]
ERRORS = (ValueError, TypeError, OSError, MemoryError, KeyError)


class Fresh(NamedTuple):
    """A value that is made for each call."""

    make: Callable[[], Any]


class With(NamedTuple):
    """A value that has its effect beside other arguments, which stand there on both sides."""

    value: Any
    others: dict[str, Any]


class Refused(NamedTuple):
    """A value without an effect here, beside others: an error whose message has these words."""

    value: Any
    words: str
    others: dict[str, Any] = {}  # noqa: RUF012  # nobody changes it


# A precision that a model refuses where the instruction set in use does not have it
BFLOAT16 = "bfloat16" if HAS_BFLOAT16 else Refused("bfloat16", "no products in bfloat16")


class Reason(NamedTuple):
    """Why an argument is not changed here, and the test that is about it: ``file::function``."""

    why: str
    test: str


class Each(tuple[Any, ...]):
    """Several changes of one argument, each with an effect of its own, or refused."""

    def __new__(cls, *changes: Any) -> Each:
        return super().__new__(cls, changes)


class Entry(NamedTuple):
    """A call with small arguments, and another value for each."""

    call: Callable[..., Any]
    base: dict[str, Any]
    changes: dict[str, Any]


# ---------------------------------------------------------------- outcomes


def seen(value: Any) -> Any:
    """Describe a value by all that can be compared."""
    if isinstance(value, np.ndarray):
        if value.dtype == object:
            return [seen(one) for one in value.ravel()]
        return value.shape, str(value.dtype), value.tobytes()
    if isinstance(value, fastbptt.Recurrent):
        report = value.last_report
        used = None if report is None else (report.segments, report.bytes)
        recorded = seen(value.last_gradients)
        network = repr(value), value.parameters.flat.tobytes(), value.frozen, value.metadata
        return network, used, recorded
    if isinstance(value, fastbptt.optim.Optimizer):
        return repr(value)
    if isinstance(value, fastbptt.History):
        curves = {name: one for name, one in value.curves.items() if name != "seconds"}
        return curves, value.stopped, value.best_epoch
    if isinstance(value, fastbptt.Gradients):
        return list(value), value.flat.tobytes(), seen(value.x), seen(value.h0)
    if isinstance(value, fastbptt.ForwardResult):
        return seen(value.outputs), seen(value.final_state), hasattr(value, "hidden")
    if hasattr(value, "findobj"):
        return drawn(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {one.name: seen(getattr(value, one.name)) for one in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(name): seen(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return type(value).__name__, [seen(one) for one in value]
    if hasattr(value, "__dict__") and not callable(value):
        return {name: seen(one) for name, one in vars(value).items() if name != "history_"}
    return re.sub(r"0x[0-9a-f]+", "", repr(value))


_LOOKS = ("get_text", "get_xydata", "get_array", "get_facecolor", "get_offsets", "get_path")


def drawn(axes: Any) -> Any:
    """Describe a drawing by the size of its figure and what its artists show."""
    found = [axes.figure.get_size_inches(), [one.get_text() for one in axes.figure.texts]]
    for place in axes.figure.axes:
        artists = [*place.lines, *place.images, *place.patches, *place.collections, *place.texts]
        artists += [place.title, place.xaxis.label, place.yaxis.label]
        if place.get_legend() is not None:
            artists += place.get_legend().get_texts()
        for artist in artists:
            looks = [getattr(artist, name)() for name in _LOOKS if hasattr(artist, name)]
            found.append([type(artist).__name__, [seen(np.ma.getdata(one)) for one in looks]])
        for axis in (place.xaxis, place.yaxis):
            names = [one.get_text() for one in axis.get_majorticklabels()]
            found.append([axis.get_view_interval(), axis.get_scale(), names])
    return repr(found)


def contents(path: Path) -> Any:
    """Return what is in a file; of a model without the seconds of its training, and the command."""
    if path.suffix == ".html":
        return untimed(path.read_text())
    if path.suffix == ".npz":
        with np.load(path) as found:
            return seen(dict(found))
    if path.suffix != ".st":
        return path.read_bytes()
    optimizer = ""
    try:
        net = fastbptt.load(path)
    except ValueError:
        return "no model"
    with contextlib.suppress(ValueError):
        optimizer = repr(fastbptt.load_optimizer(path))
    notes = {name: value for name, value in net.metadata.items() if name != "settings"}
    return (
        optimizer,
        seen(net.copy())[0][:3],
        re.sub(r"'seconds': \[[^]]*\]", "", repr(notes)),
    )


def untimed(text: str) -> str:
    """Leave out durations, rates and dates, and settings as they were given."""
    text = re.sub(r'"settings": \{[^}]*\}', "", text)
    text = re.sub(r'"\w*seconds\w*": [\d.e-]+|"\w+_per_second": [\d.e+]+', "", text)
    text = re.sub(r"20\d\d-\d\d-\d\d \d\d:\d\d \w*", "", text)
    text = re.sub(r"[\d,.]+ sequences/s|[\d.]+ GFLOP/s|[\d.]+ ?[Mk]iB", "", text)
    return re.sub(r"\d+(\.\d+)? ?([mµn]?s|minutes?|seconds?)\b", "", text)


def outcome(call: Callable[[], Any], folder: Path) -> Any:
    """Run in an empty folder; return the result, what was printed, and the files."""
    folder.mkdir()
    before = Path.cwd()
    os.chdir(folder)
    text = io.StringIO()
    try:
        with (
            contextlib.redirect_stdout(text),
            contextlib.redirect_stderr(text),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            result = seen(call())
    finally:
        os.chdir(before)
    every = sorted(one for one in folder.rglob("*") if one.is_file())
    files = {str(one.relative_to(folder)): contents(one) for one in every}
    return result, untimed(text.getvalue()), files


# ---------------------------------------------------------------- the check

_UNCHANGED: dict[str, Any] = {}  # outcomes of calls as they stand, which are repeated once


class Refusal(NamedTuple):
    """The outcome of a call that was refused."""

    text: str


def run(entry: Entry, arguments: dict[str, Any], folder: Path) -> Any:
    """Return the outcome of a call."""
    made = {
        name: value.make() if isinstance(value, Fresh) else value
        for name, value in arguments.items()
    }
    return outcome(lambda: entry.call(**made), folder)


def attempt(entry: Entry, arguments: dict[str, Any], folder: Path) -> Any:
    """Return the outcome, or that the call was refused."""
    try:
        return run(entry, arguments, folder)
    except ERRORS as error:
        return Refusal(str(error).replace(str(folder), ""))


def check_effect(key: str, entry: Entry, name: str, change: Any, folder: Path) -> None:
    """Fail if changing one argument changes nothing, and is not refused."""
    if isinstance(change, Reason):
        check_reason(change, name)
        return
    others = change.others if isinstance(change, With | Refused) else {}
    value = change.value if isinstance(change, With | Refused) else change
    base = {**entry.base, **others}
    if others or key not in _UNCHANGED:
        once = attempt if others else run
        first = once(entry, base, folder / "a")
        assert once(entry, base, folder / "b") == first, "does not repeat"
        if not others:
            _UNCHANGED[key] = first
    else:
        first = _UNCHANGED[key]
    then = attempt(entry, {**base, name: value}, folder / "c")
    assert then != first, f"{name} has no effect, and is not refused"
    refusal = then.text if isinstance(then, Refusal) else ""
    if isinstance(change, Refused):
        assert change.words in refusal, f"{name}: no {change.words!r} in {refusal!r}"
    else:
        assert not refusal, f"{name} is refused: {refusal}"


def cases(entries: dict[str, Entry], slow: Set[str]) -> list[Any]:
    """List the changes of all arguments, as parameters of a test."""
    found = []
    for what, entry in entries.items():
        marks = [pytest.mark.slow] if what in slow else []
        for name, given in entry.changes.items():
            for i, change in enumerate(given if isinstance(given, Each) else [given]):
                text = f"{what}-{name}" + f"-{i + 1}" * (i > 0)
                found.append(pytest.param(what, entry, name, change, id=text, marks=marks))
    return found


def check_reason(reason: Reason, name: str) -> None:
    """Fail if the test that a reason names does not exist, or does not mention the argument."""
    file, _, function = reason.test.partition("::")
    text = (ROOT / file).read_text(encoding="utf-8")
    found = [
        ast.get_source_segment(text, one) or ""
        for one in ast.walk(ast.parse(text))
        if isinstance(one, ast.FunctionDef) and one.name == function
    ]
    assert found, f"{file} has no {function}"
    assert re.search(rf"\b{name}\b", found[0]), f"{function} does not mention {name}"
