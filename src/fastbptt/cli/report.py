"""``fastbptt report``: one page about a model and what it makes of some data."""

from __future__ import annotations

import argparse

from ..datasets import formats
from . import _data, _new_data, _parser, _task

__all__ = ["add"]


def add(subparsers: _parser.Subparsers) -> None:
    """Add the parser of ``fastbptt report``."""
    parser = _parser.add_subcommand(
        subparsers,
        "report",
        "Write a page about a model: curves, answers, how its gradient flows",
        details=f"""\
One HTML file to open in a browser, to print or to hand on; it needs no network.
DATA, with labels, should be what the model was not trained on.

{_data.formats_help()}""",
        epilog="Example: fastbptt report model.safetensors test.csv -o report.html",
        usage="MODEL DATA -o FILE.html [OPTION ...]",
    )
    parser.add_argument("model", metavar="MODEL", help="a file that `fastbptt train -o` wrote")
    parser.add_argument("data", metavar="DATA", help=f"sequences with labels: {formats.suffixes()}")
    parser.add_argument("-o", "--output", metavar="FILE.html", required=True, help="the page")
    _data.add_options(parser)
    parser.set_defaults(run=_run, no_labels=False)


def _run(arguments: argparse.Namespace) -> None:
    from .. import load, report

    _parser.check_output("-o", arguments.output, ".html")
    _parser.check_apart(
        {"MODEL": arguments.model, "DATA": arguments.data}, {"-o": arguments.output}
    )
    model = load(arguments.model)
    task = _task.of(model, arguments.model)
    data = _new_data.read(model, task, arguments)
    if task.kind is None:
        raise ValueError(
            f"{arguments.model}: its metadata do not say what it was trained for; expected a model "
            "of `fastbptt train`"
        )
    if data.y is None:
        raise ValueError(
            f"{arguments.data}: there are no labels; expected {_new_data.labels(task, arguments)}"
        )
    x = data.x if task.scale is None else task.scale.transform(data.x)
    report(model, x, data.y, arguments.output, ids=data.ids)
    if arguments.json:
        print(_parser.as_json({"report": arguments.output, "sequences": len(data)}))
    else:
        print(f"Wrote {arguments.output}")
