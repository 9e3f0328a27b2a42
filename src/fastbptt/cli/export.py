"""``fastbptt export``: hand a trained model on to other programs."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

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

    form = find(arguments.out)
    given = _given(arguments, form)
    stem = os.path.splitext(arguments.out)[0]
    others = {f"OUT's {suffix} file": f"{stem}{suffix}" for suffix in form.beside}
    for name, path in {"OUT": arguments.out, **others}.items():
        _parser.check_output(name, path)
    _parser.check_distinct(
        {"MODEL": arguments.model, "--data": given.get("data")},
        {"OUT": arguments.out, **others},
    )
    with _as_options(form):
        model = read(arguments.model, **given)
    task = _task.of(model, arguments.model)
    if form.applies_task:
        given["raw"] = arguments.raw
        if not arguments.raw:
            given |= {"standardizer": task.standardizer, "imputer": task.imputer}
            given["loss"] = None if task.kind is None else task.objective
    elif not arguments.raw:
        _refuse_task(task, arguments.model, form, given.get("activation"))
    if "data" in given:
        if "weights" not in given:
            raise ValueError(
                "--data is given, but not --weights, whose effect it measures; expected --weights "
                "int8 or int16 as well, or no --data"
            )
        given["data"] = _sequences(model, task, arguments)
    with _as_options(form):
        written = form.write(model, arguments.out, **given)
    if arguments.json:
        print(_parser.as_json({"model": arguments.model, "format": form.name, **written.numbers}))
        return
    print(f"Wrote {' and '.join(written.files)}")
    for line in written.lines:
        print(line)


@contextlib.contextmanager
def _as_options(form: ExportFormat) -> Iterator[None]:
    """Say in an error about a writer's or reader's arguments how they are typed."""
    flags = {one.name: one.flag for one in (*_options(), *form.options)}
    flags |= {"raw": "--raw", "path": "OUT"}
    switches = [one.name for one in _options() if one.switch] + ["raw"]
    own = {one.name for one in form.options}

    def as_typed(text: str) -> str:
        for name, flag in flags.items():
            text = re.sub(rf'\b{name}="(\w+)"', rf"{flag} \1", text)
            if name in switches:
                text = re.sub(rf"\b{name}=True\b( here)?", flag, text)
            elif name in own:
                text = re.sub(rf"\b{name}=(?!\w)", flag, text)
        return text

    try:
        yield
    except BadArgumentError as error:
        if error.argument in switches:
            error.problem = re.sub(r"^is True\b", "is given", error.problem)
            error.problem = re.sub(r"^is False\b", "is not given", error.problem)
            error.expected = re.sub(r"^(False|the default)\b", "none", error.expected)
        elif error.argument in flags:
            error.problem = re.sub(r"^is None\b", "is not given", error.problem)
        error.argument = flags.get(error.argument, error.argument)
        if "skip" not in own:  # a file that is read has such a connection
            without = f": {form.title} cannot hold it"
            error.expected = re.sub(r", or skip=True here.*", without, error.expected)
        error.problem, error.expected = as_typed(error.problem), as_typed(error.expected)
        raise


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


#: Functions at the end of a file that turn outputs into predictions as a loss does, by its link.
_ACTIVATIONS: Final = {"softmax": "softmax", "logistic": "sigmoid"}


def _refuse_task(
    task: _task.ModelTask, path: str, form: ExportFormat, activation: str | None
) -> None:
    """Refuse to leave out, without a word, what training did to inputs and outputs."""
    loss = task.objective
    applied = _ACTIVATIONS.get(loss.link)
    parts = {
        "standardised inputs": task.standardizer is not None,
        "indicators of missing inputs": task.imputer is not None,
        "an offset of its outputs": task.offset is not None,
        f"outputs that {loss.name} turns into predictions": task.kind is not None
        and LINKS[loss.link].changes
        and (applied is None or activation != applied),
        "missing values interpolated": task.missing == "interpolate",
    }
    found = [name for name, there in parts.items() if there]
    if found:
        advice = "--raw, and a program that does the same with the numbers in model.metadata"
        if any(one.name == "activation" for one in form.options) and applied != activation:
            advice += f"; --activation {applied} makes probabilities" if applied else ""
        raise ValueError(
            f"{path} was trained with {' and '.join(found)}, which {form.title} cannot hold; "
            f"expected {advice}"
        )


def _sequences(model: Recurrent, task: _task.ModelTask, arguments: argparse.Namespace) -> Any:
    """Read sequences as those of training were; with ``--raw`` as the network reads them."""
    names = [one.flag.lstrip("-").replace("-", "_") for one in data_formats.options()]
    options = dict.fromkeys(names) | {"data": arguments.data, "missing": None, "no_labels": True}
    data = _new_data.read(model, task, argparse.Namespace(**options, model=arguments.model))
    return _task.inputs(model, task, data) if arguments.raw else data.x
