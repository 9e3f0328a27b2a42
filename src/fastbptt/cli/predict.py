"""``fastbptt predict``: what a trained model says about sequences in a file."""

from __future__ import annotations

import argparse
import csv
import io
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from ..datasets import formats
from ..files.atomic import write_whole
from . import _data, _new_data, _parser, _task

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..datasets import Sequences

__all__ = ["add"]


def add(subparsers: _parser.Subparsers) -> None:
    """Add the parser of ``fastbptt predict``."""
    parser = _parser.add_subcommand(
        subparsers,
        "predict",
        "Say what a trained model makes of the sequences in a file",
        details=f"""\
Prints a line for each sequence: its id, the class and its probability, or the
number. Labels are not needed; where they are there, the answers are compared
with them. The names of the columns, the classes and the scale of the features
are in the model's file.

{_data.formats_help()}""",
        epilog="Example: fastbptt predict model.safetensors new.csv -o answers.csv",
        usage="MODEL DATA [-o FILE.csv] [OPTION ...]",
    )
    parser.add_argument("model", metavar="MODEL", help="a file that `fastbptt train -o` wrote")
    parser.add_argument("data", metavar="DATA", help=f"sequences: {formats.suffixes()}")
    parser.add_argument(
        "-o", "--output", metavar="FILE.csv", help="write the answers to this table instead"
    )
    parser.add_argument(
        "--probabilities", action="store_true", help="show the probability of every class"
    )
    parser.add_argument(
        "--no-labels", action="store_true", help="do not look at labels that DATA may hold"
    )
    parser.add_argument(
        "--steps",
        choices=("last", "all"),
        help="answer at the end of each sequence, or at every step (default: as it was trained)",
    )
    _data.add_options(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    from .. import load

    _parser.check_output("-o", arguments.output, ".csv")
    _parser.check_apart(
        {"MODEL": arguments.model, "DATA": arguments.data}, {"-o": arguments.output}
    )
    model = load(arguments.model)
    task = _task.of(model, arguments.model)
    if model.output_size is None:
        raise ValueError(
            f"{arguments.model}: the model has no outputs; expected one with a readout"
        )
    if arguments.probabilities and task.classes is None:
        raise ValueError(f"{arguments.model} does not tell classes; expected no --probabilities")
    if arguments.steps not in (None, task.steps):
        task = task._replace(steps=arguments.steps)
        arguments.no_labels = True  # theirs have the other form
    data = _new_data.read(model, task, arguments)
    outputs = _task.outputs(model, task, data)
    y = None if data.y is None else _data.flat(data.y, task.steps)
    scores = None if y is None else _task.scores(task, y, outputs)
    steps = _new_data.steps(task, arguments) if task.steps == "all" else None
    columns = _columns(task, data, steps, y, outputs, arguments.probabilities)

    # As the table has it, for a reader; in JSON the key is the same for all files.
    table = [(_new_data.id_name(task, arguments), *columns[0][1:]), *columns[1:]]
    if arguments.output:
        write_whole(arguments.output, _as_csv(table).encode())
    if arguments.json:
        result = {
            "model": arguments.model,
            "data": arguments.data,
            "task": task.kind,
            "steps": task.steps,
            "predictions": [
                dict(zip([name for name, _, _ in columns], row, strict=True))
                for row in zip(*(cells for _, cells, _ in columns), strict=True)
            ],
            "scores": scores,
        }
        print(_parser.as_json(result))
        return
    if arguments.output:
        print(f"Wrote {len(outputs)} answers to {arguments.output}")
    else:
        print(_as_table(table))
    if scores is not None:
        print(f"\n{_task.scores_text(task, scores)}")


# ---------------------------------------------------------------- the answers

# A column's name, its cells, and how a cell is written.
Column: TypeAlias = "tuple[str, list[Any], str]"


def _columns(
    task: _task.Task,
    data: Sequences,
    steps: list[float] | None,
    y: NDArray[Any] | None,
    outputs: NDArray[Any],
    probabilities: bool,
) -> list[Column]:
    """Make the columns of the table of answers."""
    count = data.lengths if task.steps == "all" else np.ones(len(data), np.int64)
    ids = np.repeat(np.arange(len(data)), count).tolist()
    columns: list[Column] = [("id", [data.ids[i] for i in ids], "s")]
    if task.steps == "all":
        if steps is None:
            steps = np.concatenate([np.arange(1.0, n + 1) for n in count]).tolist()
        whole = all(step.is_integer() for step in steps)  # as in the file: answers go beside it
        columns.append(("step", [int(step) for step in steps] if whole else steps, ""))
    if task.classes is None:
        values = {"output" if task.kind is None else "predicted": outputs}
        if y is not None:
            values = {"true": y.reshape(outputs.shape)} | values
        for what, array in values.items():
            for name, cells in zip(task.names(what, array.shape[1]), array.T.tolist(), strict=True):
                columns.append((name, cells, "g"))
        return columns
    if y is not None:
        columns.append(("label", [task.classes[i] for i in y.tolist()], "s"))
    shares = task.probabilities(outputs)
    best = shares.argmax(axis=1)
    columns.append(("predicted", [task.classes[i] for i in best.tolist()], "s"))
    columns.append(("probability", shares.max(axis=1).tolist(), ".4f"))
    if probabilities:
        columns += [
            (f"P({name})", shares[:, i].tolist(), ".4f") for i, name in enumerate(task.classes)
        ]
    return columns


def _as_csv(columns: list[Column]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([name for name, _, _ in columns])
    writer.writerows(zip(*(cells for _, cells, _ in columns), strict=True))
    return text.getvalue()


def _as_table(columns: list[Column]) -> str:
    blocks = []
    for name, cells, form in columns:
        lines = [name, *(format(cell, form) for cell in cells)]
        width = max(map(len, lines))
        blocks.append([f"{line:{'<' if form == 's' else '>'}{width}}" for line in lines])
    return "\n".join("  ".join(line).rstrip() for line in zip(*blocks, strict=True))
