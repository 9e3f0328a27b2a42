"""``fastbptt bench``: time a training step or a prediction."""

from __future__ import annotations

import argparse
from typing import Any, Final

from .. import _core
from . import _parser

__all__ = ["add"]

_WIDTH: Final = 60  # of the choices in a line of the usage


def add(subparsers: _parser.Subparsers) -> None:
    """Add the parser of ``fastbptt bench``."""
    from .. import bench

    parser = _parser.add_subcommand(
        subparsers,
        "bench",
        "Time a training step or a prediction, optionally against other systems",
        epilog="Example:\n  fastbptt bench --preset tutorial,small --against numpy --threads 1\n"
        "  fastbptt bench --preset single-step --pass forward",
    )
    parser.add_argument(
        "--preset",
        type=_parser.names(tuple(bench.PRESETS)),
        metavar="NAME[,NAME...]|all",
        default=["small"],
        help=f"shapes to measure: {', '.join(bench.PRESETS)} (default: small); the options of "
        "sizes and choices below override them",
    )
    for size in ("batch", "time", "input", "hidden", "output-size"):
        parser.add_argument(f"--{size}", type=_parser.positive, metavar="N")
    parser.add_argument(
        "--layers", type=_parser.positive, metavar="N", help="number of stacked layers"
    )
    parser.add_argument(
        "--bidirectional",
        action="store_true",
        default=None,
        help="read each sequence in both directions",
    )
    for option, choices in bench.CHOICES.items():
        long = len(", ".join(choices)) > _WIDTH
        shown: dict[str, Any] = {"metavar": "NAME", "help": ", ".join(choices)} if long else {}
        flag = f"--{option.rstrip('_')}"
        parser.add_argument(flag, dest=option, choices=choices, **shown)
    parser.add_argument(
        "--seed", type=_parser.seed, metavar="N", help="seed of the data and the weights"
    )
    parser.add_argument(
        "--against",
        type=_parser.names(bench.COMPETITORS),
        metavar="NAME[,NAME...]|all",
        default=[],
        help=f"systems to compare with, if they are installed: {', '.join(bench.COMPETITORS)}",
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument(
        "--rounds",
        type=_parser.positive,
        metavar="N",
        help=f"rounds of each system (default: {bench.DEFAULT_ROUNDS})",
    )
    length.add_argument(
        "--seconds",
        type=_parser.rate,
        metavar="X",
        help="duration of each measurement instead",
    )
    parser.add_argument(
        "--output", choices=tuple(bench.FORMATS), help="format of the result (default: table)"
    )
    parser.add_argument("--plot", metavar="FILE.png", help="plot the result")
    parser.set_defaults(run=_run, refuse=parser.error)


def _run(arguments: argparse.Namespace) -> None:
    from .. import bench

    output = arguments.output or ("json" if arguments.json else "table")
    if arguments.json and output != "json":
        arguments.refuse(f"argument --output: {output} is not allowed with argument --json")
    if arguments.loss and arguments.pass_ == "forward":
        arguments.refuse("argument --loss: not allowed with argument --pass forward")
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
    print(bench.write(result, output))
    if arguments.plot:
        bench.plot(result, arguments.plot)
