"""``fastbptt info``: versions, processor, instruction sets and threads."""

from __future__ import annotations

import argparse
import json

from . import _parser

__all__ = ["add"]


def add(subparsers: _parser.Subparsers) -> None:
    """Add the parser of ``fastbptt info``."""
    parser = _parser.add_subcommand(
        subparsers,
        "info",
        "Print versions, processor, instruction sets and threads",
        epilog="Example: fastbptt info --json",
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    from .. import config

    if arguments.json:
        print(json.dumps(config.info(), indent=2))
    else:
        config.show_config()
