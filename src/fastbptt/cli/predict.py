"""``fastbptt predict``: predict with a trained model."""

from __future__ import annotations

import argparse
import csv
import io
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from ..datasets import formats
from ..datasets._lines import NO_CLASS
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
        "Predict with a trained model",
        details=f"""\
Prints one line per sequence: its id, and the predicted class with its
probability, or the predicted number. Labels are optional; if DATA has them,
the predictions are scored. Column names, classes and the scaling of the
features are stored in the model file.

{_data.formats_help()}""",
        epilog="Example: fastbptt predict moves.safetensors examples/data/moves_new.csv",
        usage="MODEL DATA [-o FILE.csv] [OPTION ...]",
    )
    parser.add_argument("model", metavar="MODEL", help="a file that `fastbptt train -o` wrote")
    parser.add_argument("data", metavar="DATA", help=f"sequences: {formats.suffixes()}")
    parser.add_argument(
        "-o", "--output", metavar="FILE.csv", help="write the predictions to this table instead"
    )
    parser.add_argument(
        "--probabilities", action="store_true", help="show the probability of every class"
    )
    parser.add_argument("--no-labels", action="store_true", help="ignore any labels in DATA")
    parser.add_argument(
        "--steps",
        choices=("last", "all"),
        help="predict at the end of each sequence, or at every step (default: as in training)",
    )
    _data.add_options(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    from .. import load

    _parser.check_output("-o", arguments.output, ".csv")
    _parser.check_distinct(
        {"MODEL": arguments.model, "DATA": arguments.data}, {"-o": arguments.output}
    )
    if arguments.no_labels:
        _refuse_labels(arguments, "--no-labels")
    model = load(arguments.model)
    task = _task.of(model, arguments.model)
    if model.output_size is None:
        raise ValueError(
            f"{arguments.model}: the model has no outputs; expected one with a readout"
        )
    if arguments.probabilities and task.classes is None:
        raise ValueError(f"{arguments.model} is not a classifier; expected no --probabilities")
    if arguments.steps not in (None, task.steps):
        task = task._replace(steps=arguments.steps)
        _refuse_labels(arguments, f"--steps {arguments.steps}, another form than in training")
        arguments.no_labels = True  # labels have the other form
    data = _new_data.read(model, task, arguments)
    outputs = _task.outputs(model, task, data)
    y = None if data.y is None else _data.flat(data.y, task.steps)
    scores = None if y is None else _task.scores_of(task, data, outputs)
    steps = _new_data.steps(task, arguments, data) if task.steps == "all" else None
    columns = _columns(task, data, steps, y, outputs, arguments.probabilities)

    # The id column is named as in DATA; in JSON its key is always "id".
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
        print(f"Wrote {len(outputs)} predictions to {arguments.output}")
    else:
        print(_as_table(table))
    if scores is not None:
        print(f"\n{_task.scores_text(task, scores)}")


def _refuse_labels(arguments: argparse.Namespace, beside: str) -> None:
    """Refuse options that say where the labels are, where none are read."""
    for option in ("label_column", "target_column", "labels", "weight_column"):
        if getattr(arguments, option) is not None:
            name = f"--{option.replace('_', '-')}"
            raise ValueError(f"{name} has no effect with {beside}; expected none")


# ---------------------------------------------------------------- the table

# A column's name, its cells, and how a cell is written.
Column: TypeAlias = "tuple[str, list[Any], str]"


def _columns(
    task: _task.ModelTask,
    data: Sequences,
    steps: list[float] | list[str] | None,
    y: NDArray[Any] | None,
    outputs: NDArray[Any],
    probabilities: bool,
) -> list[Column]:
    """Make the columns of the table of predictions."""
    count = data.lengths if task.steps == "all" else np.ones(len(data), np.int64)
    ids = np.repeat(np.arange(len(data)), count).tolist()
    columns: list[Column] = [("id", [data.ids[i] for i in ids], "s")]
    if task.steps == "all":
        if steps is None:
            steps = np.concatenate([np.arange(1.0, n + 1) for n in count]).tolist()
        # as in the file, so that the two can be joined
        whole = [
            int(step) if isinstance(step, float) and step.is_integer() else step for step in steps
        ]
        same = all(isinstance(step, int) for step in whole)
        columns.append(("step", whole if same else list(steps), ""))
    if task.classes is None:
        predictions = task.objective.predictions(outputs)
        if y is not None:
            true = y.reshape(len(outputs), -1)
            for name, cells in zip(task.names("true", true.shape[1]), true.T.tolist(), strict=True):
                columns.append((name, [None if one != one else one for one in cells], ""))
        what, loss = "output" if task.kind is None else "predicted", task.objective
        names = [
            f"{name} {of_output}".rstrip()
            for name in task.names(what, loss.targets_of(outputs.shape[1]))
            for of_output in loss.output_names()
        ]
        columns += [
            (name, cells, "") for name, cells in zip(names, predictions.T.tolist(), strict=True)
        ]
        return columns
    if y is not None:
        labels = [None if i == NO_CLASS else task.classes[i] for i in y.tolist()]
        columns.append(("label", labels, "s"))
    probs = task.probabilities(outputs)
    best = probs.argmax(axis=1)
    columns.append(("predicted", [task.classes[i] for i in best.tolist()], "s"))
    columns.append(("probability", probs.max(axis=1).tolist(), ".4f"))
    if probabilities:
        columns += [
            (f"P({name})", probs[:, i].tolist(), ".4f") for i, name in enumerate(task.classes)
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
    for name, cells, spec in columns:
        lines = [name, *("" if cell is None else format(cell, spec) for cell in cells)]
        width = max(map(len, lines))
        blocks.append([f"{line:{'<' if spec == 's' else '>'}{width}}" for line in lines])
    return "\n".join("  ".join(line).rstrip() for line in zip(*blocks, strict=True))
