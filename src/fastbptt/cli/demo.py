"""``fastbptt demo``: train on the data of the package."""

from __future__ import annotations

import argparse
import json

from . import _parser

__all__ = ["add"]


def add(subparsers: _parser.Subparsers) -> None:
    """Add the parser of ``fastbptt demo``."""
    from ._speakers import Settings

    parser = _parser.add_subcommand(
        subparsers,
        "demo",
        "Train a recurrent network to tell nine speakers apart",
        epilog="Example: fastbptt demo --seed 1 --hidden 200 --threads 1",
    )
    for option, kind, metavar, text in (
        ("seed", _parser.seed, "N", "seed of the random numbers"),
        ("hidden", _parser.positive, "H", "hidden units"),
        ("epochs", _parser.positive, "N", "passes over the training sequences"),
        ("batch", _parser.positive, "B", "sequences in a batch"),
        ("lr", _parser.rate, "X", "learning rate at the start"),
    ):
        parser.add_argument(
            f"--{option}",
            type=kind,
            metavar=metavar,
            default=Settings._field_defaults[option],
            help=f"{text} (default: %(default)s)",
        )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    from . import _speakers

    names = _speakers.Settings._fields
    settings = _speakers.Settings(**{name: getattr(arguments, name) for name in names})
    if not arguments.json:
        print(_speakers.describe_data(), flush=True)
    result = _speakers.run(settings)
    print(json.dumps(result, indent=2) if arguments.json else f"\n{_speakers.report(result)}")
