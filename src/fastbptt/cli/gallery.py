"""``fastbptt gallery``: draw every plot of the package."""

from __future__ import annotations

import argparse

from . import _parser

__all__ = ["add"]


def add(subparsers: _parser.Subparsers) -> None:
    """Add the parser of ``fastbptt gallery``."""
    parser = _parser.add_subcommand(
        subparsers,
        "gallery",
        "Draw every plot into a folder",
        details="""\
The plots show a small network that classifies the nine speakers of the demo,
and gradients that vanish over 200 steps. All are functions of fastbptt.plot.
Needs matplotlib: pip install matplotlib""",
        epilog="Example: fastbptt gallery -o pictures --format pdf",
        usage="-o FOLDER [OPTION ...]",
    )
    parser.add_argument(
        "-o", "--output", metavar="FOLDER", required=True, help="created if it does not exist"
    )
    parser.add_argument(
        "--format",
        choices=("png", "svg", "pdf"),
        default="png",
        help="file format (default: %(default)s)",
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    from .. import plot

    files = plot.gallery(arguments.output, arguments.format)
    print(_parser.as_json(files) if arguments.json else "\n".join(files))
