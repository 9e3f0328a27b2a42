"""JSON files of other programs, which may hold anything: every fault is an error naming the key."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from .. import _check
from .._errors import ArgumentError, BadArgumentError
from ..files.atomic import write_whole
from ..files.safetensors import shortened

_MOST_BYTES: Final = 1 << 28
_MOST_DIGITS: Final = 19  # of a whole number: longer ones are read as floats, in linear time

# Memory of parsed JSON at most: a number of two bytes and its place in a list; a list or object
_PER_BYTE: Final = 12
_PER_BRACKET: Final = 80


@contextlib.contextmanager
def reading(path: str | os.PathLike[str]) -> Iterator[dict[str, Any]]:
    """Parse a file, and name it in errors about its content.

    Yields
    ------
    dict
        The object that the file holds. Nothing in it has been checked, but that names are unique,
        and that no number is NaN or infinite by name.

    Raises
    ------
    ArgumentError
        If it is not such a file.
    OSError
        If it cannot be read.
    """
    name = _check.file_path(path)
    try:
        yield _parsed(name)
    except BadArgumentError as error:
        error.source = name
        raise


def _parsed(name: str) -> dict[str, Any]:
    content = b""
    with open(name, "rb") as file:
        while more := file.read(max(len(content), 1 << 16)):
            content += more
            if len(content) > _MOST_BYTES:
                most = _check.bytes_text(_MOST_BYTES)
                raise ArgumentError("the file", f"has more than {most}", "the JSON of one network")
    brackets = content.count(b"[") + content.count(b"{")
    _check.fits(f"reading {name}", _PER_BYTE * len(content) + _PER_BRACKET * brackets)
    try:
        found = json.loads(
            content, object_pairs_hook=_unique, parse_constant=_constant, parse_int=_whole
        )
    except BadArgumentError:
        raise
    except RecursionError:
        raise ArgumentError("the file", "is nested too deeply", "the JSON of a network") from None
    except ValueError as error:
        problem = f"is not JSON ({_check.one_line(error, 100)})"
        raise ArgumentError("the file", problem, "a JSON object") from None
    return fields(found, "the file")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ArgumentError(shortened(twice), "is there twice in one object", "every key once")
    return found


def _constant(text: str) -> Any:
    raise ArgumentError("a number", f"is {text}", "finite numbers")


def _whole(digits: str) -> int | float:
    return int(digits) if len(digits) <= _MOST_DIGITS else float(digits)


def write(path: str | os.PathLike[str], content: Mapping[str, Any], argument: str) -> None:
    """Write an object; what JSON cannot hold can only lie in `argument`, which the error names."""
    try:
        text = json.dumps(content, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        kind = "what JSON can hold: text, finite numbers, True, False, None, lists, dicts"
        problem = f"cannot be written ({_check.one_line(error)})"
        raise ArgumentError(argument, problem, kind) from None
    write_whole(path, text.encode("ascii"))


# ---------------------------------------------------------------- values of a file


def kind_of(value: Any) -> str:
    """Show a value in a few words."""
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        return f"an object of {len(value)} keys"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return shortened(value)


def child(key: str, name: str | int) -> str:
    """Name a part of the value under `key`; the file's own keys stand alone."""
    if isinstance(name, int):
        return f"{key}[{name}]"
    return key_under("" if key == "the file" else f"{key}.", name)


def key_under(prefix: str, name: str) -> str:
    """Name a key by what stands before it."""
    return prefix + (name if name.isprintable() and len(name) <= 80 else shortened(name))


def fields(value: Any, key: str) -> dict[str, Any]:
    """Return an object."""
    if not isinstance(value, dict):
        raise ArgumentError(key, f"is {kind_of(value)}", "a JSON object")
    return value


def items(value: Any, key: str) -> list[Any]:
    """Return a list."""
    if not isinstance(value, list):
        raise ArgumentError(key, f"is {kind_of(value)}", "a list")
    return value


def need(found: Mapping[str, Any], name: str, key: str = "the file") -> Any:
    """Return what an object has under a name."""
    if name not in found:
        raise ArgumentError(child(key, name), "is missing")
    return found[name]


def size(found: Mapping[str, Any], name: str, key: str = "the file") -> int:
    """Return a whole number of at least 1."""
    value = need(found, name, key)
    if type(value) is not int or value < 1:
        expected = "a whole number of at least 1"
        raise ArgumentError(child(key, name), f"is {kind_of(value)}", expected)
    return value


def real(value: Any, key: str, expected: str) -> float:
    """Return a finite number."""
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ArgumentError(key, f"is {kind_of(value)}", expected)
    return float(value)


def numbers(value: Any, key: str, shape: tuple[int | None, ...]) -> NDArray[np.float64]:
    """Return finite numbers in nested lists of a shape, in which None stands for any length."""
    if len(shape) > 1:
        rows = _entries(value, key, shape[0], "lists")
        within = shape[1:]
        if rows and within[0] is None and isinstance(rows[0], list):
            within = (len(rows[0]), *within[1:])
        parts = [numbers(one, child(key, i), within) for i, one in enumerate(rows)]
        return np.stack(parts) if parts else np.zeros((0, 0))
    row = _entries(value, key, shape[0], "numbers")
    for i, one in enumerate(row):
        if type(one) not in (int, float):
            raise ArgumentError(child(key, i), f"is {kind_of(one)}", "a number")
    found = np.array(row, np.float64)
    finite = np.isfinite(found)
    if not finite.all():
        raise ArgumentError(child(key, int(finite.argmin())), "is infinite", "a finite number")
    return found


def _entries(value: Any, key: str, count: int | None, kind: str) -> list[Any]:
    if not isinstance(value, list) or (count is not None and len(value) != count):
        wanted = f"a list of {kind}" if count is None else f"a list of {count} {kind}"
        raise ArgumentError(key, f"is {kind_of(value)}", wanted)
    return value
