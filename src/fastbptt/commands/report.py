"""``fastbptt report``: a page about a trained model and what it makes of sequences in a file."""

from __future__ import annotations

import argparse
import json
import os

from fastbptt.commands import _data, _new_data, _parser, _task

__all__ = ["add"]


def add(subparsers: _parser.Subparsers) -> None:
    """Add the parser of ``fastbptt report``."""
    parser = _parser.add_subcommand(
        subparsers,
        "report",
        "Write a page about a trained model, to hand on",
        details=f"""\
The page is one HTML file that needs no network: what the model is, how it was
trained, how its gradients flow back through time, advice, and what it makes of
the sequences in DATA, which needs labels. Test data say more than those that
the model was trained on. Needs matplotlib: pip install 'fastbptt[plot]'

{_data.FORMATS}""",
        epilog="Example: fastbptt report model.safetensors test.csv -o report.html",
        usage="MODEL DATA -o FILE.html [OPTION ...]",
    )
    parser.add_argument("model", metavar="MODEL", help="a file that `fastbptt train -o` wrote")
    parser.add_argument("data", metavar="DATA", help="sequences with labels: .csv, .npz or .ts")
    parser.add_argument("-o", "--output", metavar="FILE.html", required=True, help="the page")
    parser.add_argument("--title", metavar="TEXT", help="its heading (default: what the model is)")
    _data.add_options(parser)
    parser.set_defaults(run=_run, no_labels=False)


def _run(arguments: argparse.Namespace) -> None:
    import fastbptt

    _parser.check_output("-o", arguments.output, ".html")
    model = fastbptt.load(arguments.model)
    task = _task.of(model, arguments.model)
    data = _new_data.read(model, task, arguments)
    if data.y is None:
        raise ValueError(f"{arguments.data}: there are no labels; expected {_data.LABELS}")
    x = data.x if task.scale is None else task.scale.apply(data.x)
    fastbptt.report(model, x, data.y, arguments.output, ids=data.ids, title=arguments.title)
    size = os.path.getsize(arguments.output)
    if arguments.json:
        print(json.dumps({"report": arguments.output, "bytes": size}))
    else:
        print(f"Wrote {arguments.output}, {size / 1000:.0f} kB")
