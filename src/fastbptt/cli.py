"""The command ``fastbptt``.

Results go to standard output, progress to standard error. Exit codes: 0 done, 1 failed, 2 wrong
usage, 130 interrupted. A subcommand is one function here that adds its parser and names, with
``set_defaults(run=...)``, the function that does the work; it is listed in ``_SUBCOMMANDS``.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from fastbptt import _core

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

__all__ = ["main"]

Number = TypeVar("Number", int, float)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments after the program's name; those of the process by default.

    Returns
    -------
    int
        The exit code: 0 done, 1 failed, 130 interrupted.

    Raises
    ------
    SystemExit
        With code 2 for wrong usage, and with code 0 after ``--help`` and ``--version``.

    Examples
    --------
    >>> from fastbptt.cli import main
    >>> main(["info"])  # doctest: +ELLIPSIS
    fastbptt ...
    0
    """
    arguments = _parser().parse_args(argv)
    try:
        if arguments.threads is not None:
            _core.set_num_threads(arguments.threads)
        arguments.run(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("fastbptt: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader went away (as in `fastbptt info | head -1`): let the last flush go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, OSError, MemoryError) as error:
        print(f"fastbptt: error: {str(error) or type(error).__name__}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fastbptt",
        description="Trains recurrent networks by backpropagation through time, fast, on the CPU.",
        epilog="Start with: fastbptt demo",
    )
    parser.add_argument("--version", action="version", version=f"fastbptt {_core.version}")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for add in _SUBCOMMANDS:
        add(subparsers)
    return parser


def _add_subcommand(
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
        type=_positive,
        metavar="N",
        help="threads to use (default: what the processor, its quota and OMP_NUM_THREADS allow)",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser


def _add_demo(subparsers: Subparsers) -> None:
    from fastbptt.demo import Settings

    parser = _add_subcommand(
        subparsers,
        "demo",
        "Train a recurrent network to tell nine speakers apart",
        epilog="Example: fastbptt demo --seed 1 --hidden 200 --threads 1",
    )
    for option, kind, metavar, text in (
        ("seed", _seed, "N", "seed of the random numbers"),
        ("hidden", _positive, "H", "hidden units"),
        ("epochs", _positive, "N", "passes over the training sequences"),
        ("batch", _positive, "B", "sequences in a batch"),
        ("lr", _rate, "X", "learning rate at the start"),
    ):
        parser.add_argument(
            f"--{option}",
            type=kind,
            metavar=metavar,
            default=Settings._field_defaults[option],
            help=f"{text} (default: %(default)s)",
        )
    parser.set_defaults(run=_run_demo)


def _run_demo(arguments: argparse.Namespace) -> None:
    from fastbptt import demo

    names = demo.Settings._fields
    settings = demo.Settings(**{name: getattr(arguments, name) for name in names})
    if not arguments.json:
        print(demo.describe_data(), flush=True)
    result = demo.run(settings)
    print(json.dumps(result, indent=2) if arguments.json else f"\n{demo.report(result)}")


def _add_bench(subparsers: Subparsers) -> None:
    from fastbptt import bench

    parser = _add_subcommand(
        subparsers,
        "bench",
        "Measure a training step, beside other systems if asked to",
        epilog="Example: fastbptt bench --preset tutorial,small --against numpy,torch --threads 1",
    )
    parser.add_argument(
        "--preset",
        type=_names(tuple(bench.PRESETS)),
        metavar="NAME[,NAME...]|all",
        default=["small"],
        help=f"what to measure: {', '.join(bench.PRESETS)} (default: small)",
    )
    for size in ("batch", "time", "input", "hidden", "output-size"):
        parser.add_argument(
            f"--{size}", type=_positive, metavar="N", help="instead of the preset's"
        )
    parser.add_argument("--layers", type=_positive, metavar="N", help="on top of each other")
    parser.add_argument(
        "--bidirectional", action="store_true", default=None, help="read from the end, too"
    )
    for option, choices in bench.CHOICES.items():
        parser.add_argument(f"--{option}", choices=choices, help="instead of the preset's")
    parser.add_argument("--seed", type=_seed, metavar="N", help="of the data and the weights")
    parser.add_argument(
        "--against",
        type=_names(bench.COMPETITORS),
        metavar="NAME[,NAME...]|all",
        default=[],
        help=f"systems to compare with, if they are installed: {', '.join(bench.COMPETITORS)}",
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument(
        "--rounds",
        type=_positive,
        metavar="N",
        default=15,
        help="rounds of each system (default: %(default)s)",
    )
    length.add_argument(
        "--seconds", type=_rate, metavar="X", help="how long each measurement goes on instead"
    )
    parser.add_argument(
        "--output", choices=tuple(bench.FORMATS), default="table", help="format of the result"
    )
    parser.add_argument("--plot", metavar="FILE.png", help="draw the result, too")
    parser.set_defaults(run=_run_bench)


def _run_bench(arguments: argparse.Namespace) -> None:
    from fastbptt import bench

    changed = ("batch", "time", "input", "hidden", "layers", "bidirectional", "seed")
    changes = {name: getattr(arguments, name) for name in (*changed, *bench.CHOICES)}
    changes["output"] = arguments.output_size
    result = bench.measure(
        [bench.PRESETS[name].with_(**changes) for name in arguments.preset],
        arguments.against,
        threads=_core.get_num_threads(),
        rounds=arguments.rounds,
        seconds=arguments.seconds,
    )
    print(bench.write(result, "json" if arguments.json else arguments.output))
    if arguments.plot:
        bench.plot(result, arguments.plot)


def _add_info(subparsers: Subparsers) -> None:
    parser = _add_subcommand(
        subparsers, "info", "Print versions, processor, instruction sets and threads"
    )
    parser.set_defaults(run=_run_info)


def _run_info(arguments: argparse.Namespace) -> None:
    from fastbptt import config

    if arguments.json:
        print(json.dumps(config.info(), indent=2))
    else:
        config.show_config()


def _number(text: str, kind: type[Number], accept: Callable[[Number], bool], what: str) -> Number:
    try:
        value = kind(text)
        if accept(value):
            return value
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is not {what}")


def _positive(text: str) -> int:
    return _number(text, int, lambda value: value > 0, "a positive whole number")


def _seed(text: str) -> int:
    return _number(text, int, lambda value: value >= 0, "a whole number from 0 up")


def _rate(text: str) -> float:
    return _number(text, float, lambda value: 0 < value < float("inf"), "a positive number")


def _names(known: Sequence[str]) -> Callable[[str], list[str]]:
    """Make a parser of names with commas between them, or "all"."""

    def parse(text: str) -> list[str]:
        names = list(known) if text == "all" else list(dict.fromkeys(text.split(",")))
        for name in names:
            if name not in known:
                expected = f"expected names from {', '.join(known)}, or all"
                raise argparse.ArgumentTypeError(f"{name!r} is unknown; {expected}")
        return names

    return parse


_SUBCOMMANDS = (_add_demo, _add_bench, _add_info)
