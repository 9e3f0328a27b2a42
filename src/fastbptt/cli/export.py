"""``fastbptt export``: hand a trained model on to other programs."""

from __future__ import annotations

import argparse
import os
import re
from typing import TYPE_CHECKING, Any

from .._errors import BadArgumentError
from .._losses import LINKS
from ..datasets import formats as data_formats
from . import _new_data, _parser, _task

if TYPE_CHECKING:
    from ..interchange.formats import ExportFormat, ExportOption
    from ..models.recurrent import Recurrent

__all__ = ["add"]


def add(subparsers: _parser.Subparsers) -> None:
    """Add the parser of ``fastbptt export``."""
    from ..interchange.formats import FORMATS

    listed = "\n".join(
        f"  {one.name:8}  {', '.join(one.suffixes)}: {one.title}"
        + (f" (needs fastbptt[{one.package}])" if one.package else "")
        for one in FORMATS.values()
    )
    parser = _parser.add_subcommand(
        subparsers,
        "export",
        "Write a trained model for other programs",
        details=f"""\
What training did to inputs is part of the file, if the format can hold it:
features go in in the units of the data, and predictions come out, such as
probabilities. Where it cannot, --raw says that your program does it.

Formats, by the suffix of OUT:
{listed}""",
        epilog="Example: fastbptt export moves.safetensors moves.c",
        usage="MODEL OUT [OPTION ...]",
    )
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="a file that `fastbptt train -o` wrote, or one of these formats other than C",
    )
    parser.add_argument("out", metavar="OUT", help="the file to write; an existing one is replaced")
    parser.add_argument(
        "--format", choices=tuple(FORMATS), help="the format, if the suffix of OUT does not tell"
    )
    parser.add_argument(
        "--raw",
        action="store_true",
        help="the network alone: standardised inputs, outputs as the network computes them",
    )
    for option in _options():
        if option.switch:
            parser.add_argument(option.flag, action="store_true", default=None, help=option.help)
            continue
        parser.add_argument(
            option.flag,
            metavar=option.metavar,
            choices=option.choices or None,
            type=option.parse,
            help=option.help,
        )
    parser.set_defaults(run=_run)


def _options() -> list[ExportOption]:
    """List the options of all formats, each once."""
    from ..interchange.formats import FORMATS

    return list({one.flag: one for form in FORMATS.values() for one in form.options}.values())


def _run(arguments: argparse.Namespace) -> None:
    from ..interchange.formats import find, read

    form = find(arguments.out, arguments.format)
    given = _given(arguments, form)
    stem = os.path.splitext(arguments.out)[0]
    others = {f"OUT's {suffix} file": f"{stem}{suffix}" for suffix in form.beside}
    for name, path in {"OUT": arguments.out, **others}.items():
        _parser.check_output(name, path)
    _parser.check_distinct(
        {"MODEL": arguments.model, "--data": given.get("data")},
        {"OUT": arguments.out, **others},
    )
    model = read(arguments.model)
    task = _task.of(model, arguments.model)
    if form.applies_task:
        given["raw"] = arguments.raw
        if not arguments.raw:
            given |= {"standardizer": task.standardizer, "imputer": task.imputer}
            given["loss"] = None if task.kind is None else task.objective
    elif not arguments.raw:
        _refuse_task(task, arguments.model, form)
    if "data" in given:
        if "weights" not in given:
            raise ValueError(
                "--data is given, but not --weights, whose effect it measures; expected --weights "
                "int8 or int16 as well, or no --data"
            )
        given["data"] = _sequences(model, task, arguments)
    try:
        written = form.write(model, arguments.out, **given)
    except BadArgumentError as error:
        flags = {one.name: one.flag for one in form.options} | {"raw": "--raw", "path": "OUT"}
        error.argument = flags.get(error.argument, error.argument)
        if error.expected is not None:
            for name, flag in flags.items():
                as_typed = re.sub(rf'\b{name}="(\w+)"', rf"{flag} \1", error.expected)
                error.expected = re.sub(rf"\b{name}=True\b", flag, as_typed)
        raise
    if arguments.json:
        print(_parser.as_json({"model": arguments.model, "format": form.name, **written.numbers}))
        return
    print(f"Wrote {' and '.join(written.files)}")
    for line in written.lines:
        print(line)


def _given(arguments: argparse.Namespace, form: ExportFormat) -> dict[str, Any]:
    """Return the options that were given; refuse those of other formats."""
    given = {}
    for option in _options():
        value = getattr(arguments, option.flag.lstrip("-").replace("-", "_"))
        if value is None:
            continue
        if option.name not in [one.name for one in form.options]:
            raise ValueError(f"{option.flag} has no effect on {form.title}; expected none")
        given[option.name] = value
    return given


def _refuse_task(task: _task.ModelTask, path: str, form: ExportFormat) -> None:
    """Refuse to leave out, without a word, what training did to inputs and outputs."""
    loss = task.objective
    parts = {
        "standardised inputs": task.standardizer is not None,
        "indicators of missing inputs": task.imputer is not None,
        "an offset of its outputs": task.offset is not None,
        f"outputs that {loss.name} turns into predictions": task.kind is not None
        and LINKS[loss.link].changes,
    }
    found = [name for name, there in parts.items() if there]
    if found:
        raise ValueError(
            f"{path} was trained with {' and '.join(found)}, which {form.title} cannot hold; "
            "expected --raw, and a program that does the same with the numbers in model.metadata"
        )


def _sequences(model: Recurrent, task: _task.ModelTask, arguments: argparse.Namespace) -> Any:
    """Read sequences as those of training were; with ``--raw`` as the network reads them."""
    names = [one.flag.lstrip("-").replace("-", "_") for one in data_formats.options()]
    options = dict.fromkeys(names) | {"data": arguments.data, "missing": None, "no_labels": True}
    data = _new_data.read(model, task, argparse.Namespace(**options, model=arguments.model))
    return _task.inputs(model, task, data) if arguments.raw else data.x
