"""Shared by all subcommands: common options, and parsers of option values."""

from __future__ import annotations

import argparse
import inspect
import json
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar

from .._errors import BadArgumentError
from .._losses import Loss
from .._losses import parse as parse_loss

if TYPE_CHECKING:
    Subparsers: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]

Number = TypeVar("Number", int, float)


def add_subcommand(
    subparsers: Subparsers,
    name: str,
    summary: str,
    details: str = "",
    epilog: str | None = None,
    usage: str | None = None,
) -> argparse.ArgumentParser:
    """Add a parser with the options that every subcommand has.

    Parameters
    ----------
    subparsers
        Of the program's parser.
    name : str
        The subcommand.
    summary : str
        One line: what the subcommand does.
    details : str
        Paragraphs of at most 80 columns, shown as they are.
    epilog : str, optional
        Shown at the end: an example.
    usage : str, optional
        Replaces the generated usage line after the name.
    """
    parser = subparsers.add_parser(
        name,
        help=f"{summary[0].lower()}{summary[1:]}",
        description=f"{summary}.\n\n{details}".rstrip(),
        epilog=epilog,
        usage=usage and f"fastbptt {name} {usage}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--threads",
        type=positive,
        metavar="N",
        help="number of threads (default: as many as the processor, its quota and "
        "OMP_NUM_THREADS allow)",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(parser=parser)
    return parser


def _number(text: str, kind: type[Number], accept: Callable[[Number], bool], what: str) -> Number:
    try:
        value = kind(text)
        if accept(value):
            return value
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is not {what}")


def positive(text: str) -> int:
    return _number(text, int, lambda value: value > 0, "a positive whole number")


def seed(text: str) -> int:
    return _number(text, int, lambda value: value >= 0, "a whole number of at least 0")


def rate(text: str) -> float:
    return _number(text, float, lambda value: 0 < value < float("inf"), "a positive number")


def fraction(text: str) -> float:
    return _number(text, float, lambda value: 0 <= value < 1, "a number of at least 0 and below 1")


def amount(text: str) -> float:
    return _number(text, float, lambda value: 0 <= value < float("inf"), "a number of at least 0")


def names(known: Sequence[str]) -> Callable[[str], list[str]]:
    """Make a parser of names with commas between them, or "all"."""

    def parse(text: str) -> list[str]:
        names = list(known) if text == "all" else list(dict.fromkeys(text.split(",")))
        for name in names:
            if name not in known:
                expected = f"expected names from {', '.join(known)}, or all"
                raise argparse.ArgumentTypeError(f"{name!r} is unknown; {expected}")
        return names

    return parse


class Choice(NamedTuple):
    """An option's value: its text, a name, and the number or settings after it."""

    text: str
    name: str
    number: float | None = None
    settings: Mapping[str, Any] = MappingProxyType({})


def name_and_number(
    known: Sequence[str], check: Callable[[str, float | None], object]
) -> Callable[[str], Choice]:
    """Make a parser of a name that a number may follow, as in "leaky:0.1".

    check: refuse a number that does not suit the name, with an `ArgumentError`.
    """

    def parse(text: str) -> Choice:
        name, colon, number = text.partition(":")
        if name not in known:
            raise argparse.ArgumentTypeError(f"{name!r} is unknown; expected {', '.join(known)}")
        value = _number(number, float, math.isfinite, "a number") if colon else None
        try:
            check(name, value)
        except BadArgumentError as error:
            if value is None:
                raise argparse.ArgumentTypeError(
                    f"{name!r} has no number; expected {error.expected} after a colon, as in "
                    f"{name}:0.1"
                ) from None
            raise argparse.ArgumentTypeError(str(error)) from None
        return Choice(text, name, value)

    return parse


def _parts(text: str) -> list[str]:
    """Split at the commas that are not within brackets."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "[{") - (letter in "]}")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def name_and_settings(known: Mapping[str, Callable[..., object]]) -> Callable[[str], Choice]:
    """Make a parser of the name of a class with settings of it, as in "sgd:momentum=0.9"."""

    def parse(text: str) -> Choice:
        name, colon, rest = text.partition(":")
        if name not in known:
            raise argparse.ArgumentTypeError(f"{name!r} is unknown; expected {', '.join(known)}")
        settings: dict[str, Any] = {}
        names = list(inspect.signature(known[name]).parameters)
        for part in _parts(rest) if colon else ():
            key, equals, value = part.partition("=")
            if key not in names or not equals:
                raise argparse.ArgumentTypeError(
                    f"{part!r} is no setting of {name}; expected KEY=VALUE of {', '.join(names)}"
                )
            try:
                settings[key] = json.loads(value)
            except ValueError:
                raise argparse.ArgumentTypeError(
                    f"{part!r}: expected a number, true or false"
                ) from None
        try:
            known[name](**settings)
        except (TypeError, ValueError) as error:
            raise argparse.ArgumentTypeError(f"{name}: {error}") from None
        return Choice(text, name, settings=settings)

    return parse


def as_json(value: Any) -> str:
    """Write strict JSON: numbers that are not finite become null."""

    def finite(one: Any) -> Any:
        if isinstance(one, Mapping):
            return {key: finite(each) for key, each in one.items()}
        if isinstance(one, list | tuple):
            return [finite(each) for each in one]
        return None if isinstance(one, float) and not math.isfinite(one) else one

    return json.dumps(finite(value), indent=2, allow_nan=False)


def check_output(option: str, path: str | None, *suffixes: str) -> None:
    """Refuse, before any work, a file that could not be written afterwards.

    Parameters
    ----------
    option : str
        Its name, for messages.
    path : str or None
        None: nothing is to be written.
    *suffixes : str
        Those that it may have; none: any.
    """
    if path is None:
        return
    if suffixes and os.path.splitext(path)[1].lower() not in suffixes:
        raise ValueError(
            f"{option} is {path}; expected a file that ends in {' or '.join(suffixes)}"
        )
    from ..files.atomic import check_place

    try:
        check_place(path)
    except OSError as error:
        where = "" if error.filename == path else f" ({error.filename})"
        raise ValueError(f"{option} is {path}: {error.strerror}{where}") from None


def check_distinct(read: Mapping[str, str | None], written: Mapping[str, str | None]) -> None:
    """Refuse to write a file that is read, or that is written already; None: no such file."""
    names = {os.path.realpath(path): name for name, path in read.items() if path is not None}
    for name, path in written.items():
        if path is not None:
            other = names.setdefault(os.path.realpath(path), name)
            if other != name:
                raise ValueError(f"{name} is {path}, as {other} is; expected another file")


def note_offset(arguments: argparse.Namespace, offset: tuple[float, ...] | None) -> None:
    """Tell that a report shows the model's own outputs, to which `offset` is added elsewhere."""
    if offset is not None and not getattr(arguments, "quiet", False):
        numbers = ", ".join(map(repr, offset[:3])) + ", ..." * (len(offset) > 3)
        print(
            f"fastbptt: note: the report shows targets and predictions less {numbers}, as the "
            "model's dtype is too coarse for such large numbers",
            file=sys.stderr,
        )


def loss(text: str) -> Loss:
    """Read a loss with its parameters."""
    try:
        return parse_loss(text)
    except (ValueError, TypeError) as error:
        raise argparse.ArgumentTypeError(str(error)) from None
