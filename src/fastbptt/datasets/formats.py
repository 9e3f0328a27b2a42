"""Interface of a file format: its reader, and what the command line and messages need to know.

A format is one module that defines ``FORMAT``, and its name in ``MODULES``. :func:`read`, the
options, help and messages of the command line, and the tests go through :func:`formats`.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from .sequences import Sequences

__all__ = ["Format", "Option"]

#: The modules with a format each; help and messages list them in this order.
MODULES: Final = ["tables", "arrays", "ts", "tsf", "arff"]


# Endings of files that people have, and what to do with them.
_FOREIGN: Final = dict.fromkeys(
    (".xlsx", ".xls", ".mat", ".pkl", ".json", ".feather", ".h5"),
    "; read it in Python, with SciPy or pandas for example, and write it as .csv, .npz or .ts",
)


@dataclass(frozen=True)
class Option:
    """An argument of a reader that the command line offers as an option.

    Attributes
    ----------
    name : str
        The reader's argument.
    flag : str
        The option, such as "--id-column".
    help : str
    metavar : str or None
    parse : callable
        Makes the argument of the option's text.
    choices : tuple of str
        The only values that the command line offers; empty: any.
    group : str
        Options of the same group exclude each other; empty: none.
    """

    name: str
    flag: str
    help: str = ""
    metavar: str | None = None
    parse: Callable[[str], Any] = str
    choices: tuple[str, ...] = ()
    group: str = ""


@dataclass(frozen=True)
class Format:
    """A file format of sequences.

    Attributes
    ----------
    suffixes : tuple of str
        The endings by which its files are recognised, in lower case, with the dot; tables may
        have ".gz" behind it.
    read : callable
        Called with the path and options. Every reader takes ``classes``, ``missing``, ``dtype``
        and ``labels``; those of formats with labels for each step take ``steps``, those of
        formats with tokens ``tokens``.
    help : str
        Describes the format, in lines of at most 70 columns.
    labels : str
        Completes "there are no labels; expected ...".
    options : tuple of Option
        Further arguments of `read` that the command line offers.
    steps : tuple of str
        The forms that labels may have, "last" and "all"; the command line tries them in this order.
    columns : callable or None
        For tables: called with the path and options, it returns the names of the columns.
    step_numbers : callable or None
        For tables: called with the path and options, it returns the number of each step of all
        sequences, or None.
    by_dtype : bool
        Whether nothing but the dtype tells classes from targets: floats may be either.
    suggested : callable or None
        Called with the path and the options that are given, it returns further ones that read the
        file, or None.

    Examples
    --------
    >>> from fastbptt.datasets import formats
    >>> formats.find("steps.csv").suffixes
    ('.csv', '.tsv', '.txt', '.data', '.parquet')
    """

    suffixes: tuple[str, ...]
    read: Callable[..., Sequences]
    help: str
    labels: str
    options: tuple[Option, ...] = ()
    steps: tuple[str, ...] = ("last",)
    columns: Callable[..., list[str]] | None = None
    step_numbers: Callable[..., list[float] | list[str] | None] | None = None
    by_dtype: bool = False
    suggested: Callable[[str, dict[str, Any]], dict[str, Any] | None] | None = None

    def takes(self, name: str) -> bool:
        """Whether the reader has an argument of this name."""
        return name in inspect.signature(self.read).parameters


@cache
def _load(module: str) -> Format:
    found: Format = importlib.import_module(f".{module}", __package__).FORMAT
    return found


def formats() -> list[Format]:
    """List the formats."""
    return [_load(module) for module in MODULES]


def find(path: str) -> Format:
    """Find the format of a file by its suffix.

    Raises
    ------
    ValueError
        If no format has this suffix.
    """
    name = Path(path).name.lower()
    for form in formats():
        text = name.removesuffix(".gz") if form.columns is not None else name
        if text.endswith(form.suffixes):
            return form
    advice = next((advice for end, advice in _FOREIGN.items() if name.endswith(end)), "")
    raise ValueError(f"path is {path}; expected a file that ends in {suffixes()}{advice}")


def suffixes(which: Callable[[Format], bool] = lambda form: True) -> str:
    """List the suffixes of all formats, or of some: ".csv, .npz or .ts"."""
    return listed([suffix for form in formats() if which(form) for suffix in form.suffixes])


def listed(names: list[str]) -> str:
    """Join alternatives: "a, b or c"."""
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last


def options() -> list[Option]:
    """List the options of all formats, each name once."""
    found = {option.name: option for form in reversed(formats()) for option in form.options}
    order = dict.fromkeys(option.name for form in formats() for option in form.options)
    return [found[name] for name in order]


# ---------------------------------------------------------------- names in messages

_ON_COMMAND_LINE: ContextVar[Mapping[str, Option] | None] = ContextVar("options", default=None)


@contextmanager
def named_by(options: Mapping[str, Option]) -> Iterator[None]:
    """Make readers' messages name their arguments as options of the command line."""
    token = _ON_COMMAND_LINE.set(options)
    try:
        yield
    finally:
        _ON_COMMAND_LINE.reset(token)


def argument(name: str) -> str:
    """Name an argument in a message: "id", or "--id-column" on the command line."""
    option = (_ON_COMMAND_LINE.get() or {}).get(name)
    return name if option is None else option.flag


def gaps_setting(among_targets: bool = False) -> str:
    """Suggest what `missing` may be where a value is missing."""
    if among_targets:
        return setting("missing", "mask")
    values = ("nan", "interpolate") if _ON_COMMAND_LINE.get() is None else ("interpolate", "mask")
    return setting("missing", *values)


def setting(name: str, *values: Any) -> str:
    """Suggest an argument in a message: "id=", "id=None", or "--id-column none"."""
    option = (_ON_COMMAND_LINE.get() or {}).get(name)
    if option is None:
        return f"{name}={' or '.join(_python(value) for value in values)}"
    shown = [value for value in values if not option.choices or value in option.choices]
    return " ".join([option.flag, *(" or ".join(_shell(value) for value in shown),) * bool(shown)])


def _python(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) and value.isalnum() else repr(value)


def _shell(value: Any) -> str:
    if value is None:
        return "none"
    return value if isinstance(value, str) and value.isalnum() else repr(value)
