"""``fastbptt gallery``: every picture that the package can draw, into a folder."""

from __future__ import annotations

import argparse

from . import _parser

__all__ = ["add"]


def add(subparsers: _parser.Subparsers) -> None:
    """Add the parser of ``fastbptt gallery``."""
    parser = _parser.add_subcommand(
        subparsers,
        "gallery",
        "Draw every kind of picture into a folder",
        details="""\
The pictures are of a small network that learns to tell the demo's nine
speakers apart, and of gradients that vanish over 200 steps. The functions that
draw them are those of fastbptt.plot.
Needs matplotlib: pip install matplotlib""",
        epilog="Example: fastbptt gallery -o pictures --format pdf",
        usage="-o FOLDER [OPTION ...]",
    )
    parser.add_argument(
        "-o", "--output", metavar="FOLDER", required=True, help="made if it is not there"
    )
    parser.add_argument(
        "--format", choices=("png", "svg", "pdf"), default="png", help="(default: %(default)s)"
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    from .. import plot

    files = plot.gallery(arguments.output, arguments.format)
    print(_parser.as_json(files) if arguments.json else "\n".join(files))
