"""Values, functions and objects as texts, by which a resumed run knows them again."""

from __future__ import annotations

import functools
import hashlib
import json
import re
import types
from collections.abc import Iterator, Mapping, Set
from typing import Any, Final

import numpy as np

from ..optim.optimizers import Optimizer
from . import checkpoints
from .callbacks import Callback

#: What Python shows of an object that has no other text: its place in memory.
_ADDRESS: Final = re.compile(" at 0x[0-9a-fA-F]+")
_PLAIN: Final = (int, float, complex, str, bytes, type(None))
#: Their code belongs to their versions.
_LIBRARIES: Final = ("fastbptt", "sklearn", "numpy", "builtins", "abc", "typing")


def described(value: Any, depth: int = 0) -> str:
    """Describe a value in a text that is the same in another process."""
    if isinstance(value, np.bool_ | np.number):
        value = value.item()
    if isinstance(value, np.ndarray | np.generic):
        array = np.asarray(value)
        return checkpoints.digest(array.astype(str) if array.dtype == object else array)
    if isinstance(value, int) and value.bit_length() > 4000:  # Python writes no longer ones
        return hex(value)
    if value is None or isinstance(value, bool | int | float | str):
        return json.dumps(value)
    if isinstance(value, Optimizer):
        return repr(value).partition("  #")[0]
    if isinstance(value, Mapping):
        return json.dumps({str(key): described(one, depth + 1) for key, one in value.items()})
    if isinstance(value, list | tuple | range | Set):
        items = [described(one, depth + 1) for one in value]
        items = sorted(items) if isinstance(value, Set) else items
        text = json.dumps(items)
        if len(text) <= 200:
            return text
        return checkpoints.digest([np.frombuffer(one.encode(), np.uint8) for one in items])
    if hasattr(value, "__array__"):
        return described(np.asarray(value))
    if isinstance(value, functools.partial):
        parts = (value.func, value.args, value.keywords)
        return f"partial {[described(one, depth + 1) for one in parts]}"
    if isinstance(value, types.MethodType):
        return f"{_named(value)} of {described(value.__self__, depth + 1)}"
    if hasattr(value, "__qualname__"):
        return _named(value)
    text = repr(value)
    if not _ADDRESS.search(text) and hex(id(value)) not in text:
        return text
    if isinstance(value, Callback):  # callbacks have a state of their own, and may be corrected
        return f"{type(value).__module__}.{type(value).__qualname__}"
    name = _named(type(value))
    if depth > 4:
        return name
    return f"{name} {described(_state(value), depth + 1)}"


def _state(value: Any) -> dict[str, Any]:
    """Return the attributes of an object, those in slots too."""
    found: dict[str, Any] = {}
    for kind in type(value).__mro__:
        slots = vars(kind).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            private = name.startswith("__") and not name.endswith("__")
            own = f"_{kind.__name__.lstrip('_')}{name}" if private else name
            if own not in ("__dict__", "__weakref__") and hasattr(value, own):
                found[own] = getattr(value, own)
    return found | getattr(value, "__dict__", {})


def _named(value: Any) -> str:
    """Return the name of a function or class, and a hash of its code, if that is Python.

    The hash also covers defaults and what a function encloses, as far as these are numbers, texts,
    arrays or functions; of a class the code of its methods.
    """
    name = f"{value.__module__}.{value.__qualname__}"
    parts = list(_parts(value, set()))
    if not parts:
        return name
    return f"{name} [{hashlib.blake2b(repr(parts).encode(), digest_size=8).hexdigest()}]"


def _parts(value: Any, seen: set[int]) -> Iterator[str]:
    if isinstance(value, _PLAIN):
        yield repr(value)
    elif isinstance(value, np.ndarray | np.generic):
        yield described(value)
    elif id(value) not in seen:
        seen.add(id(value))
        inner: list[tuple[Any, Any]] = []
        if isinstance(value, tuple):
            inner += enumerate(value)
        elif isinstance(value, type):
            own = [one for one in value.__mro__ if not _of_a_library(one)]
            inner += [pair for one in own for pair in vars(one).items() if callable(pair[1])]
        function = getattr(value, "__func__", value)
        if isinstance(function, types.FunctionType) and not _of_a_library(function):
            yield _code(function.__code__)
            names = function.__code__.co_freevars
            inner += enumerate(function.__defaults__ or ())
            inner += (function.__kwdefaults__ or {}).items()
            for name, cell in zip(names, function.__closure__ or (), strict=True):
                if cell != types.CellType():  # filled
                    inner.append((name, cell.cell_contents))
        for name, one in inner:
            yield from (f"{name}: {part}" for part in _parts(one, seen))


def _of_a_library(value: Any) -> bool:
    return str(value.__module__).partition(".")[0] in _LIBRARIES


def _code(code: types.CodeType) -> str:
    values = [
        _code(one)
        if isinstance(one, types.CodeType)
        else repr(sorted(map(repr, one)) if isinstance(one, frozenset) else one)
        for one in code.co_consts
    ]
    return repr((code.co_code, values, code.co_names))
