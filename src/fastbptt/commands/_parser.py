"""What the parsers of all subcommands share: their own options, and the kinds of values."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias, TypeVar

if TYPE_CHECKING:
    Subparsers: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]

Number = TypeVar("Number", int, float)


def add_subcommand(
    subparsers: Subparsers, name: str, summary: str, epilog: str | None = None
) -> argparse.ArgumentParser:
    """Add a parser with the options that every subcommand has."""
    parser = subparsers.add_parser(
        name,
        help=f"{summary[0].lower()}{summary[1:]}",
        description=f"{summary}.",
        epilog=epilog,
    )
    parser.add_argument(
        "--threads",
        type=positive,
        metavar="N",
        help="threads to use (default: what the processor, its quota and OMP_NUM_THREADS allow)",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
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
    return _number(text, int, lambda value: value >= 0, "a whole number from 0 up")


def rate(text: str) -> float:
    return _number(text, float, lambda value: 0 < value < float("inf"), "a positive number")


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
