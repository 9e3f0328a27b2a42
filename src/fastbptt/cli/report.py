"""``fastbptt report``: a shareable HTML report on a model and its predictions."""

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
        "Write an HTML report on a model: curves, predictions, gradient flow",
        details=f"""\
A single, self-contained HTML file to open in a browser, print or share.
DATA, with labels, should be held-out data.

{_data.formats_help()}""",
        epilog="Example: fastbptt report moves.safetensors examples/data/moves.csv -o moves.html",
        usage="MODEL DATA -o FILE.html [OPTION ...]",
    )
    parser.add_argument("model", metavar="MODEL", help="a file that `fastbptt train -o` wrote")
    parser.add_argument("data", metavar="DATA", help=f"sequences with labels: {formats.suffixes()}")
    parser.add_argument("-o", "--output", metavar="FILE.html", required=True, help="the report")
    _data.add_options(parser)
    parser.set_defaults(run=_run, no_labels=False)


def _run(arguments: argparse.Namespace) -> None:
    from .. import load, report

    _parser.check_output("-o", arguments.output, ".html")
    _parser.check_distinct(
        {"MODEL": arguments.model, "DATA": arguments.data}, {"-o": arguments.output}
    )
    if arguments.weight_column is not None:
        raise ValueError(
            "--weight-column has no effect on a report, in which all labels count the same; "
            "expected none"
        )
    model = load(arguments.model)
    task = _task.of(model, arguments.model)
    data = _new_data.read(model, task, arguments)
    if task.kind is None:
        raise ValueError(
            f"{arguments.model}: its metadata have no task; expected a model of `fastbptt train`"
        )
    if data.y is None:
        raise ValueError(
            f"{arguments.data}: there are no labels; expected {_new_data.labels(task, arguments)}"
        )
    data = _task.labelled(task, data)
    x = _task.inputs(model, task, data)
    report(
        model,
        x,
        _task.targets(task, data),
        arguments.output,
        ids=data.ids,
        feature_names=task.input_names,
    )
    _parser.note_offset(arguments, task.offset)
    if arguments.json:
        print(_parser.as_json({"report": arguments.output, "sequences": len(data)}))
    else:
        print(f"Wrote {arguments.output}")
