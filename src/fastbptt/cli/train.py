"""``fastbptt train``: train a model on a file of sequences."""

from __future__ import annotations

import argparse
import math
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from .. import _check, _core
from .._cell_info import cell_info
from .._errors import ArgumentError
from .._losses import Loss
from .._targets import decide, is_zero_or_one
from ..datasets import formats
from ..datasets._lines import LayoutError
from ..preprocessing import Standardizer
from . import _data, _new_data, _parser, _task

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..datasets import Sequences
    from ..models.recurrent import Recurrent
    from ..preprocessing import Imputer
    from ..training import History

__all__ = ["add"]

_EPOCHS: Final = 100
_UPDATES: Final = 1500
_VALIDATION: Final = 0.1
_WIDTH: Final = 69  # of a terminal's 80 columns, behind a heading
_RESOLVED: Final = 1e-3  # standard deviations: coarser predictions lose digits that matter
_ENOUGH: Final = 100  # sequences: a tenth of fewer is too noisy to choose an epoch by


def add(subparsers: _parser.Subparsers) -> None:
    """Add the parser of ``fastbptt train``."""
    parser = _parser.add_subcommand(
        subparsers,
        "train",
        "Train a recurrent network on the sequences in a file",
        details=_data.formats_help(),
        epilog="Example:\n"
        "  fastbptt train examples/data/moves.csv --validation 0.2 -o moves.safetensors\n"
        "  fastbptt predict moves.safetensors examples/data/moves_new.csv",
        usage="DATA [-o MODEL] [OPTION ...]",
    )
    parser.add_argument("data", metavar="DATA", help=f"sequences with labels: {formats.suffixes()}")
    _add_results(parser)
    _add_network(parser)
    _add_training(parser)
    _add_held_out(parser)
    columns = _data.add_options(parser)
    columns.add_argument(
        "--steps",
        choices=_check.READOUTS,
        help="last, mean, max: one label per sequence, predicted from its last step, or from the "
        "mean or maximum of the hidden states over its steps; all: one label per step (default: "
        "last; arrays: by the shape of y)",
    )
    columns.add_argument(
        "--no-standardize",
        dest="standardize",
        action="store_false",
        help="use features and regression targets as they are (default: standardise both; the "
        "model file stores the scaling, and predictions are in the units of DATA)",
    )
    parser.set_defaults(run=_run)


def _add_results(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("results")
    group.add_argument("-o", "--output", metavar="MODEL", help="save the model to this file")
    group.add_argument("--history", metavar="FILE", help="save the training history: .csv or .json")
    group.add_argument(
        "--report",
        metavar="FILE.html",
        help="write an HTML report, on the test data if there are any (needs matplotlib)",
    )
    group.add_argument(
        "--checkpoint", metavar="FILE", help="save the training state after each epoch"
    )
    group.add_argument(
        "--resume", action="store_true", help="resume from the checkpoint, if it exists"
    )
    group.add_argument("-q", "--quiet", action="store_true", help="show no progress")


def _add_network(parser: argparse.ArgumentParser) -> None:
    from ..models import _options
    from ..models.initializers import INITIALIZERS, resolve

    cells = {name: cell_info(name)["setting"] for name in _core.cells()}
    recipes = {name: one.argument for name, one in INITIALIZERS.items()}
    group = parser.add_argument_group("network")
    group.add_argument(
        "--cell",
        type=_parser.name_and_number(tuple(cells), _options.setting),
        default="gru",
        metavar="NAME[:X]",
        help=f"{_named(cells)} (default: gru)",
    )
    for option, default, metavar, text in (
        ("hidden", 64, "H", "hidden units per layer and direction"),
        ("layers", 1, "N", "number of stacked layers"),
    ):
        group.add_argument(
            f"--{option}",
            type=_parser.positive,
            default=default,
            metavar=metavar,
            help=f"{text} (default: %(default)s)",
        )
    group.add_argument(
        "--bidirectional", action="store_true", help="read each sequence in both directions"
    )
    group.add_argument(
        "--embedding",
        type=_parser.positive,
        metavar="N",
        help=f"x of an {formats.suffixes(lambda form: form.takes('tokens'))} file holds tokens "
        "(integers): learn an embedding of size N",
    )
    group.add_argument(
        "--dropout",
        type=_parser.fraction,
        default=0.0,
        metavar="X",
        help="dropout rate between layers (default: 0)",
    )
    group.add_argument(
        "--init",
        type=_parser.name_and_number(tuple(recipes), lambda *init: resolve(init)),
        default="keras",
        metavar="NAME[:X]",
        help=f"weight initialisation: {_named(recipes)} (default: keras)",
    )
    group.add_argument(
        "--dtype",
        choices=("float32", "float64"),
        default="float32",
        help="data type of weights, data and arithmetic (default: float32)",
    )
    group.add_argument(
        "--precision",
        choices=_options.PRECISIONS,
        default="float32",
        help="data type of the factors in matrix products; bfloat16 is faster if the processor "
        "supports it (default: float32)",
    )


def _named(settings: dict[str, str | None]) -> str:
    """List names, with the number that each may have."""
    return ", ".join(f"{name}[:{what}]" if what else name for name, what in settings.items())


def _add_training(parser: argparse.ArgumentParser) -> None:
    from ..optim.optimizers import OPTIMIZERS
    from ..optim.schedules import SCHEDULES
    from ..training.metrics import METRICS, suited

    group = parser.add_argument_group("training")
    group.add_argument(
        "--epochs",
        type=_parser.positive,
        metavar="N",
        help="maximum number of passes over the training sequences "
        f"(default: {_EPOCHS}, or more if that is less than {_UPDATES} updates)",
    )
    group.add_argument(
        "--batch",
        type=_parser.positive,
        default=32,
        metavar="B",
        help="sequences per batch (default: %(default)s)",
    )
    group.add_argument(
        "--optimizer",
        type=_parser.name_and_settings(OPTIMIZERS),
        default="adam",
        metavar="NAME[:K=V,...]",
        help=f"{', '.join(OPTIMIZERS)}; with settings: sgd:momentum=0.9, "
        'adamw:groups=[{"params":["b_*"],"weight_decay":0}] (default: adam)',
    )
    group.add_argument(
        "--loss",
        type=_parser.loss,
        metavar="NAME[:K=V,...]",
        help=f"{', '.join(_core.losses())}, with parameters (default: cross_entropy for classes, "
        "bce for several 0/1 labels, mse for numbers)",
    )
    group.add_argument(
        "--lr",
        type=_parser.rate,
        metavar="X",
        help="initial learning rate (default: the optimiser's)",
    )
    group.add_argument(
        "--schedule",
        type=_parser.name_and_settings(SCHEDULES),
        default="cosine",
        metavar="NAME[:K=V,...]",
        help=f"learning-rate schedule: {', '.join(SCHEDULES)}; with settings: "
        "step:every=30,factor=0.1 (default: cosine)",
    )
    group.add_argument(
        "--clip-norm",
        type=_parser.amount,
        default=1.0,
        metavar="X",
        help="maximum gradient norm; 0: no clipping (default: 1)",
    )
    group.add_argument(
        "--patience",
        type=_parser.positive,
        metavar="N",
        help="stop early after N epochs without a lower validation loss (default: never)",
    )
    group.add_argument(
        "--noise",
        type=_parser.amount,
        default=0.0,
        metavar="X",
        help="standard deviation of Gaussian noise added to the features of each batch; "
        "regularises small data sets (default: 0; for standardised features, try 0.1 to 1)",
    )
    group.add_argument(
        "--metrics",
        type=_parser.names(tuple(METRICS)),
        metavar="NAME[,NAME]",
        help="metrics to record beside the loss; classification: "
        f"{', '.join(suited(Loss('cross_entropy')))}; regression: "
        f"{', '.join(suited(Loss('mse')))}; quantiles: {', '.join(suited(Loss('quantile')))} "
        "(default: accuracy, r2)",
    )
    group.add_argument(
        "--class-weight",
        choices=("balanced",),
        help="weight classes inversely to their frequency",
    )
    group.add_argument(
        "--bucket", action="store_true", help="batch sequences of similar length together"
    )
    group.add_argument(
        "--seed",
        type=_parser.seed,
        default=0,
        metavar="N",
        help="seed of the weights, the validation split and the batch order (default: %(default)s)",
    )


def _add_held_out(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("held-out data")
    held_out = group.add_mutually_exclusive_group()
    held_out.add_argument(
        "--validation",
        type=_parser.fraction,
        metavar="FRACTION",
        help="fraction of the sequences, stratified by class, held out to choose the best epoch; "
        f"0: none, keep the last epoch (default: {_VALIDATION}; 0 for fewer than {_ENOUGH} "
        "sequences)",
    )
    held_out.add_argument("--validation-data", metavar="FILE", help="validate on this file instead")
    group.add_argument("--test", metavar="FILE", help="held-out test set, evaluated once")
    group.add_argument(
        "--test-x-array",
        metavar="NAME",
        help="the array of an .npz file with its sequences (default: as --x-array)",
    )


# ---------------------------------------------------------------- the work


class _Parts(NamedTuple):
    """The data of one training, as the files have them."""

    train: Sequences
    validation: Sequences | None
    test: Sequences | None


def _run(arguments: argparse.Namespace) -> None:
    from .. import report

    _check_files(arguments)
    task, parts = _read(arguments)
    _check_digits(arguments, task, parts)
    if not arguments.json:
        print(_described(task, parts), flush=True)
    if not arguments.output:
        _note(arguments, "no -o given: the model will not be saved")

    if arguments.patience is not None and parts.validation is None:
        raise ValueError(
            "--patience needs validation data; expected --validation or --validation-data"
        )
    if arguments.class_weight and task.classes is None:
        raise ValueError(f"{arguments.data}: --class-weight is for classes")
    if arguments.report:
        if parts.train.weights is not None:
            _note(arguments, "in the report all labels count the same")
        _task.labelled(task, parts.test or parts.validation or parts.train)
    if not arguments.standardize and task.features is None and task.kind != "regression":
        raise ValueError("--no-standardize is for numbers; expected none with tokens and classes")
    _check_metrics(arguments, task)
    if arguments.epochs is None:
        updates = -(-len(parts.train) // arguments.batch)  # in an epoch
        arguments.epochs = max(_EPOCHS, -(-_UPDATES // updates))
    if arguments.missing == "mask" and task.features is not None:
        task = task._replace(imputer=_imputer(parts))
    features, targets = _standardizers(arguments, task, parts.train)
    loss = _standardized_loss(arguments, task, targets)
    task = task._replace(standardizer=features)
    train, validation, _ = parts
    model = _model(arguments, task, parts)
    train = _standardized(train, task, targets, model)
    if validation is not None:
        validation = _standardized(validation, task, targets, model)
    start = time.perf_counter()
    try:
        history = _fit(arguments, task, model, loss, train, validation)
    except ArgumentError as error:
        diverged = error.index or error.argument == "the loss"  # not an option that is infinite
        if error.argument == "the optimizer":
            error.expected = "a smaller --lr"
        if error.argument.startswith("groups["):
            error.argument = f"--optimizer: {error.argument}"
        if diverged and error.value is not None and not math.isfinite(error.value):
            error.expected = "a training that converges: a smaller --lr"
        raise
    seconds = time.perf_counter() - start
    if targets is not None:
        task = task._replace(offset=_fold_into_readout(model, loss, targets))

    model.metadata = task.metadata() | {
        "training_loss": str(loss),  # of standardised targets
        "trained_on": arguments.data,
        "history": history.to_dict(),
        "settings": _settings(arguments, task),
    }
    if arguments.output:
        model.save(arguments.output)
    if arguments.history:
        history.save(arguments.history)
    if history.stopped == "interrupted":
        kept = f"; the model is in {arguments.output}" if arguments.output else ""
        print(f"stopped after {len(history)} of {arguments.epochs} epochs{kept}", file=sys.stderr)
        raise KeyboardInterrupt

    result = _result(arguments, task, model, history, parts, seconds)
    if arguments.report:
        judged = _task.labelled(task, parts.test or parts.validation or parts.train)
        report(
            model,
            _task.inputs(model, task, judged),
            _task.targets(task, judged),
            arguments.report,
            history,
            ids=judged.ids,
            feature_names=task.input_names,
        )
        _parser.note_offset(arguments, task.offset)
    print(_parser.as_json(result) if arguments.json else _text(arguments, task, result))


def _note(arguments: argparse.Namespace, text: str) -> None:
    if not arguments.quiet:
        print(f"fastbptt: note: {text}", file=sys.stderr)


def _check_files(arguments: argparse.Namespace) -> None:
    """Refuse before training what would fail after it."""
    _parser.check_output("-o", arguments.output)
    _parser.check_output("--history", arguments.history, ".csv", ".json")
    _parser.check_output("--report", arguments.report, ".html")
    _parser.check_output("--checkpoint", arguments.checkpoint)
    if arguments.report:
        from ..plot._style import require

        require()
    if arguments.test_x_array is not None and not arguments.test:
        raise ValueError("--test-x-array has no effect; expected --test FILE with it")
    if arguments.resume and not arguments.checkpoint:
        raise ValueError("--resume needs a checkpoint; expected --checkpoint FILE")
    if arguments.embedding and arguments.noise:
        raise ValueError("--noise is for numbers; expected none with --embedding")
    _parser.check_distinct(
        {
            "DATA": arguments.data,
            "--validation-data": arguments.validation_data,
            "--test": arguments.test,
            "--labels": arguments.labels,
        },
        {
            "-o": arguments.output,
            "--history": arguments.history,
            "--report": arguments.report,
            "--checkpoint": arguments.checkpoint,
        },
    )


# ---------------------------------------------------------------- data


def _read(arguments: argparse.Namespace) -> tuple[_task.ModelTask, _Parts]:
    """Read all files; the others must have the classes and columns of the training file."""
    from ..training.batches import split

    arguments.missing = arguments.missing or "error"
    columns = _data.columns(arguments)
    options: dict[str, Any] = {"missing": arguments.missing, "dtype": "float64"}
    if arguments.embedding:
        options["tokens"] = True
    try:
        data, steps = _data.read(arguments.data, columns, steps=arguments.steps, **options)
        if steps == "all" and arguments.steps is None and columns.target is not None:
            _note(
                arguments,
                f"{arguments.data} is a single sequence: each row is to be predicted (--steps all)",
            )
        if data.y is None:
            text = f"there are no labels; expected {_data.missing_labels()}"
            raise LayoutError(arguments.data, text)
    except LayoutError as error:
        advice = _data.suggestion(arguments.words, arguments.data, columns, arguments.steps)
        raise ValueError(f"{error}{advice}") from None
    _check_labels(arguments, data, steps)
    kind, loss = _meaning(arguments, data, steps)
    if kind == "classification" and data.classes is None:
        data = _data.zeros_and_ones(arguments.data, data)
    task = _task.ModelTask(
        kind,
        steps,
        loss,
        data.classes,
        None if arguments.embedding else data.feature_names,
        None,
        columns.like(data)._replace(features=columns.features),
        missing=arguments.missing,
    )
    _check_classes(arguments, task, data)
    like = options | {"classes": data.classes} if data.classes is not None else options
    files = columns.like(data)
    files = files._replace(other={**(columns.other or {}), **(files.other or {})} or None)
    if files.features is not None and files.other is not None:
        files.other.pop("exclude", None)

    def other(path: str, of: _data.Columns) -> Sequences:
        own = _without_weight(path, of.fitting(path))
        one, _ = _data.read(path, own, steps=steps, **like)
        if one.y is None:
            raise ValueError(f"{path}: there are no labels; expected {_data.missing_labels()}")
        shapes = [_data.flat(part.y, steps).shape[1:] for part in (one, data)]
        if (one.classes is None) != (data.classes is None) or shapes[0] != shapes[1]:
            raise ValueError(f"{path}: the labels differ in kind from those in {arguments.data}")
        return _data.with_features(one, path, data.feature_names, f"{arguments.data} has")

    test = other(arguments.test, _of_test(arguments, files)) if arguments.test else None
    if arguments.validation_data:
        return task, _Parts(data, other(arguments.validation_data, files), test)
    if arguments.validation is None:
        arguments.validation = _VALIDATION if len(data) >= _ENOUGH else 0.0
    if not arguments.validation or len(data) < 2:
        return task, _Parts(data, None, test)
    by_class = _data.flat(data.y, steps) if data.classes is not None and steps != "all" else None
    rows = split(len(data), arguments.validation, arguments.seed, by_class)
    train, validation = (_data.pick(data, each) for each in rows)
    return task, _Parts(train, validation, test)


def _of_test(arguments: argparse.Namespace, files: _data.Columns) -> _data.Columns:
    """Choose the arrays of the file of --test, which may be those of DATA in the same file."""
    name, x = arguments.test_x_array, arguments.x_array
    if name is None:
        if x is not None and Path(arguments.test).resolve() == Path(arguments.data).resolve():
            raise ValueError(
                f"--test is {arguments.data}, of which {x} is trained on; expected --test-x-array"
            )
        return files
    if "x" not in {option.name for option in formats.find(arguments.test).options}:
        raise ValueError(f"{arguments.test}: --test-x-array is for .npz files; expected none")
    other = {key: one for key, one in (files.other or {}).items() if key != "y"}
    return files._replace(other=other | {"x": name})


def _meaning(
    arguments: argparse.Namespace, data: Sequences, steps: _data.Steps
) -> tuple[_task.Kind, Loss]:
    """Decide what the labels are, as `fit` does, and the loss: what --loss says, if it suits."""
    path, given = arguments.data, arguments.loss
    if data.classes is not None:
        chosen = given or Loss("cross_entropy")
        if chosen.targets != "classes":
            names = ", ".join(name for name in _core.losses() if Loss(name).targets == "classes")
            raise ValueError(f"--loss is {chosen}, but the labels are classes; expected {names}")
        return "classification", chosen
    form = formats.find(path)
    y = _data.flat(_with_outputs(data.y, steps), steps)
    outputs = y[0].size
    y = y[_data.counted(data, steps)]
    # Targets of other formats are numbers because they have been asked for.
    of_classes = form.by_dtype and (given is None or given.targets == "classes")
    loss = None if of_classes else given or Loss("mse")
    try:
        target = decide(y, outputs, loss=loss)
    except ArgumentError as error:
        raise ValueError(f"{path}: {_in_options(error, outputs)}") from None
    if of_classes and target.kind == "binary":
        return "classification", Loss("cross_entropy")
    if given is None and not form.by_dtype and is_zero_or_one(y):
        columns = arguments.target_column or []
        classes = f"--label-column {columns[0]} for classes, " if len(columns) == 1 else ""
        where = f" in {', '.join(columns)}" if columns else ""
        raise ValueError(
            f"{path}: the targets{where} are only 0 and 1; expected {classes}--loss bce for a "
            f"label {'each' if outputs > 1 else 'of yes or no'}, or --loss mse for numbers"
        )
    loss = given or Loss("mse" if loss else target.loss)
    if loss.targets != "numbers":
        names = ", ".join(name for name in _core.losses() if Loss(name).targets == "numbers")
        raise ValueError(f"--loss is {loss}, but the labels are numbers; expected {names}")
    if target.kind == "counts" and given is None and form.by_dtype:
        _note(
            arguments,
            f"{path}: y holds whole numbers as floats: a regression (integers are classes)",
        )
    return ("labels" if loss.predicts == "classes" else "regression"), loss


def _in_options(error: ArgumentError, outputs: int) -> str:
    """Say what is ambiguous about labels in words of the command line."""
    classes = (
        "integers for classes"
        if outputs == 1
        else "integers, y.argmax(axis=-1), for one class each"
    )
    labels = "" if outputs == 1 else f"--loss bce for {outputs} labels each, "
    problem = error.problem.partition(", but the model")[0]
    return f"y {problem}; expected {classes}, {labels}or --loss mse for numbers"


def _without_weight(path: str, columns: _data.Columns) -> _data.Columns:
    """Leave out the column of weights where another file than DATA has none."""
    other = dict(columns.other or {})
    names = formats.find(path).columns
    if "weight" in other and names is not None:
        shape = {name: one for name, one in other.items() if name != "weight"}
        if other["weight"] not in names(path, **shape, delimiter=columns.delimiter):
            return columns._replace(other=shape or None)
    return columns


def _check_labels(arguments: argparse.Namespace, data: Sequences, steps: _data.Steps) -> None:
    """Refuse labels of which none counts, and targets of which some are missing beside others."""
    if not _data.counted(data, steps).any():
        raise ValueError(
            f"{arguments.data}: there is no label with a weight; expected at least one"
        )
    y = _data.flat(data.y, steps)
    if y.dtype.kind == "f" and y.ndim > 1:
        blank = np.isnan(y)
        if (blank.any(axis=1) & ~blank.all(axis=1)).any():
            names = ", ".join(arguments.target_column or [])
            raise ValueError(
                f"{arguments.data}: some targets{f' of {names}' * bool(names)} are missing where "
                "others are not, but a label has one weight for all of its targets; expected all "
                "or none, or a model for each (--target-column)"
            )


def _check_classes(arguments: argparse.Namespace, task: _task.ModelTask, data: Sequences) -> None:
    if task.classes is None:
        return
    found = np.unique(_data.flat(data.y, task.steps)[_data.counted(data, task.steps)])
    present = len(found)
    if present < 2:
        only = task.classes[int(found[0])]
        raise ValueError(
            f"{arguments.data}: all labels are {only!r}; expected at least two classes"
        )
    if present > len(data) / 2 and present > 20 and task.steps != "all":
        hint = ""
        if formats.find(arguments.data).columns is not None:
            hint = f" (for regression: --target-column {arguments.label_column or 'label'})"
        _note(arguments, f"{present} classes among {len(data)} sequences{hint}")


def _check_metrics(arguments: argparse.Namespace, task: _task.ModelTask) -> None:
    """Refuse metrics for other targets; choose one where none is given."""
    from ..training.metrics import suited

    known = suited(task.objective)
    if arguments.metrics is None:
        usual = "accuracy" if task.predicts == "classes" else "r2"
        arguments.metrics = [usual if usual in known else known[0]]
    if arguments.report:
        task.objective.check_point("--loss")
    for name in arguments.metrics:
        if name not in known:
            raise ValueError(
                f"--metrics has {name}, but {arguments.data} has {task.predicts} as labels; "
                f"expected names from {', '.join(known)}"
            )


def _check_digits(arguments: argparse.Namespace, task: _task.ModelTask, parts: _Parts) -> None:
    """Refuse numbers that the model's dtype cannot hold, or of which it would lose digits."""
    dtype = np.dtype(arguments.dtype)
    columns: list[tuple[Any, list[str]]] = []
    if task.features is not None:
        for part in parts if not arguments.standardize else ():
            if part is not None:
                _task.rounded(task, part, dtype)  # refuses what is too large
        columns.append((parts.train.x, [repr(name) for name in task.features]))
    if task.kind == "regression":
        y = _data.flat(parts.train.y, task.steps)
        y = y[_data.counted(parts.train, task.steps)]
        names = task.names("target", y[0].size)
        columns.append((y, names))
        large = np.abs(y).reshape(-1, len(names)).max(axis=0)
        if large.max() > np.finfo(dtype).max:
            raise ValueError(
                f"{arguments.data}: {names[int(large.argmax())]} has numbers of size "
                f"{large.max():g}, too large for {dtype}; expected smaller numbers, or "
                "--dtype float64"
            )
    for values, names in columns if not arguments.standardize else ():
        blocks = [
            _without_gaps(one.reshape(-1, len(names)))
            for one in (values if isinstance(values, list) else [values])
        ]
        found = _check.unresolved(partial(iter, blocks), dtype)
        if found is not None:
            raise ValueError(
                f"{arguments.data}: {names[found.column]} has {found}; expected no "
                "--no-standardize, or --dtype float64 with it"
            )


def _without_gaps(block: NDArray[Any]) -> NDArray[Any]:
    """Put a column's own values in the place of those that are missing."""
    gaps = np.isnan(block)
    if not gaps.any():
        return block
    first = block[(~gaps).argmax(axis=0), np.arange(block.shape[1])]
    return np.where(gaps, first, block)


def _described(task: _task.ModelTask, parts: _Parts) -> str:
    """Describe the data in a few lines."""
    per = "step" if task.steps == "all" else "sequence"
    lengths = np.concatenate([part.lengths for part in parts if part is not None])
    low, high = int(lengths.min()), int(lengths.max())
    counts = [("training", parts.train), ("validation", parts.validation), ("test", parts.test)]
    text = ", ".join(f"{len(part)} {what}" for what, part in counts if part is not None)
    if task.features is None:
        features = f"tokens up to {_most(parts)}"
    else:
        features = f"{len(task.features)} feature{'s' * (len(task.features) > 1)}"
        if _data.named(task.features):
            features = _listed(features, task.features)
    if task.classes is not None:
        labels = _listed(f"one of {len(task.classes)} classes per {per}", task.classes)
    else:
        count = _data.flat(parts.train.y, task.steps)[0].size
        what = "0/1 label" if task.kind == "labels" else "target"
        labels = f"{count} {what}{'s' * (count > 1)} per {per}"
        if task.columns.target is not None:
            labels = _listed(labels, task.columns.target)
    steps = f"{low}" if low == high else f"{low} to {high}"
    steps += f" step{'s' * (high > 1)}"
    lines = f"Sequences: {text}; {steps}\nFeatures:  {features}\nLabels:    {labels}"
    return lines + _gaps_text(task, parts)


def _gaps_text(task: _task.ModelTask, parts: _Parts) -> str:
    """Tell what is missing, if that is masked."""
    if task.missing != "mask":
        return ""
    there = np.concatenate([_data.known(part.y, task.steps) for part in parts if part is not None])
    labels = f"{np.count_nonzero(~there)} of {len(there)} labels"
    imputer = _imputer(parts) if task.features is not None else None
    if imputer is None or not len(imputer.features_):
        return f"\nMissing:   {labels}"
    names = [(task.features or ())[i] for i in imputer.features_]
    several = "s" * (len(names) > 1)
    return "\nMissing:   " + _listed(f"{labels}, values of {len(names)} feature{several}", names)


def _listed(before: str, names: Sequence[str]) -> str:
    """List names after a text, as many as fit on the line after a heading."""
    for count in range(len(names), 0, -1):
        line = f"{before}: {', '.join(names[:count])}{', ...' * (count < len(names))}"
        if len(line) <= _WIDTH:
            return line
    return before


def _most(parts: _Parts) -> int:
    """Find the largest token."""
    return max(int(one.max()) for part in parts if part is not None for one in part.x)


def _imputer(parts: _Parts) -> Imputer:
    """Find the features with gaps in the training file, with what is held out of it."""
    from ..preprocessing import Imputer

    parts_of_file = [list(parts.train.x)]
    if parts.validation is not None and parts.validation.source == parts.train.source:
        parts_of_file.append(list(parts.validation.x))
    return Imputer().fit([one for part in parts_of_file for one in part])


def _standardizers(
    arguments: argparse.Namespace, task: _task.ModelTask, train: Sequences
) -> tuple[Standardizer | None, Standardizer | None]:
    """Fit the standardizers of features and of regression targets to the training part."""
    if not arguments.standardize:
        return None, None
    missing = "mask" if arguments.missing == "mask" else "error"
    weights = None if train.weights is None else _data.flat(train.weights, task.steps)
    features = targets = None
    if task.features is not None:
        of_sequences = weights
        if weights is not None and task.steps == "all":
            ends = np.cumsum(train.lengths)
            of_sequences = np.add.reduceat(weights, ends - train.lengths) / train.lengths
        features = Standardizer(missing=missing).fit(train.x, sample_weight=of_sequences)
    if task.kind == "regression" and task.objective.of_units:
        y = _data.flat(_with_outputs(train.y, task.steps), task.steps)
        targets = Standardizer(missing=missing).fit(y, sample_weight=weights, name="y")
    return features, targets


def _standardized(
    part: Sequences, task: _task.ModelTask, targets: Standardizer | None, model: Recurrent
) -> Sequences:
    """Standardise features and targets of a part as those of the training part."""
    y = part.y
    if targets is not None:
        y = targets.transform(_with_outputs(y, task.steps), dtype=model.dtype)
    return replace(part, x=_task.inputs(model, task, part), y=y)


def _standardized_loss(
    arguments: argparse.Namespace, task: _task.ModelTask, targets: Standardizer | None
) -> Loss:
    """Return the loss of the standardised targets; that of the task is in units of DATA."""
    if targets is None:
        return task.objective
    expected = "mse, which has no parameter, --no-standardize, or one target"
    loss = task.objective.of_scaled(targets.scale_, expected, "--loss")
    if loss != task.objective:
        _note(
            arguments,
            f"--loss {task.objective} is in units of the target, whose standard deviation is "
            f"{float(targets.scale_[0]):.3g}",
        )
    return loss


def _with_outputs(y: Any, steps: _data.Steps) -> Any:
    """Give an array of one number per step, (sequences, steps), an axis of outputs."""
    lacks_axis = steps == "all" and not isinstance(y, list) and y.ndim == 2
    return y[..., np.newaxis] if lacks_axis else y


# ---------------------------------------------------------------- training


def _model(arguments: argparse.Namespace, task: _task.ModelTask, parts: _Parts) -> Recurrent:
    from .. import Recurrent

    if task.classes is not None:
        outputs = len(task.classes)
    else:
        outputs = _data.flat(parts.train.y, task.steps)[0].size * task.objective.outputs
    inputs = len(parts.train.feature_names)
    if task.imputer is not None:
        inputs += len(task.imputer.features_)
    init = arguments.init
    return Recurrent(
        arguments.cell.name,
        arguments.embedding or inputs,
        arguments.hidden,
        outputs,
        alpha=arguments.cell.number,
        num_layers=arguments.layers,
        bidirectional=arguments.bidirectional,
        dropout=arguments.dropout,
        embedding=_most(parts) + 1 if arguments.embedding else None,
        init=init.name if init.number is None else (init.name, init.number),
        dtype=arguments.dtype,
        precision=arguments.precision,
        seed=arguments.seed,
    )


def _fit(
    arguments: argparse.Namespace,
    task: _task.ModelTask,
    model: Recurrent,
    loss: Loss,
    train: Sequences,
    validation: Sequences | None,
) -> History:
    assert train.y is not None
    from .. import fit
    from ..optim.optimizers import OPTIMIZERS
    from ..optim.schedules import SCHEDULES

    settings = dict(arguments.optimizer.settings)
    if arguments.lr is not None:
        if "lr" in settings:
            raise ValueError(
                f"--lr is {arguments.lr:g}, and --optimizer has lr={settings['lr']:g}; expected "
                "one of them"
            )
        settings["lr"] = arguments.lr
    schedule = SCHEDULES[arguments.schedule.name](**arguments.schedule.settings)
    optimizer = OPTIMIZERS[arguments.optimizer.name](**settings)
    arguments.lr = optimizer.lr  # for the settings that are written: the one that was used
    return fit(
        model,
        train.x,
        train.y,
        loss=loss,
        steps=task.steps,
        sample_weight=train.weights,
        class_weight=arguments.class_weight,
        missing="mask" if arguments.missing == "mask" else "error",
        epochs=arguments.epochs,
        batch_size=arguments.batch,
        optimizer=optimizer,
        schedule=schedule,
        clip_norm=arguments.clip_norm or None,
        validation=None
        if validation is None
        else (validation.x, validation.y, None, validation.weights),
        patience=arguments.patience,
        monitor=None if validation is None else "validation_loss",
        metrics=arguments.metrics,
        seed=arguments.seed,
        bucket=arguments.bucket,
        augment=_data.gaussian_noise(arguments.noise) if arguments.noise else None,
        verbose=0 if arguments.quiet else None,
        checkpoint=arguments.checkpoint,
        resume=arguments.resume,
    )


def _fold_into_readout(
    model: Recurrent, loss: Loss, targets: Standardizer
) -> tuple[float, ...] | None:
    """Make the model predict in the targets' units; return what is to be added, per output.

    The readout is linear: with z = W_hy h + b_y, the inverse transform z * scale + mean is a
    readout with W_hy * scale and b_y * scale + mean; of a log-variance see
    `Loss.in_units`. Means beside which the model's dtype cannot resolve the scale stay outside, in
    float64.
    """
    spacing = np.finfo(model.dtype).eps * np.abs(targets.mean_)
    outside = np.where(spacing > _RESOLVED * targets.scale_, targets.mean_, 0.0)
    factor, summand = loss.in_units(targets.scale_, targets.mean_)
    _, offset = loss.in_units(np.ones(len(outside)), outside)
    model.parameters["W_hy"][:] = model.parameters["W_hy"] * factor
    model.parameters["b_y"][:] = model.parameters["b_y"] * factor + (summand - offset)
    return tuple(offset.tolist()) if offset.any() else None


# ---------------------------------------------------------------- results


def _settings(arguments: argparse.Namespace, task: _task.ModelTask) -> dict[str, Any]:
    """Return the options of this training as plain values."""
    settings = {
        name: value.text
        if isinstance(value, _parser.Choice)
        else str(value)
        if isinstance(value, Loss)
        else value
        for name, value in vars(arguments).items()
        if name not in ("run", "json", "quiet") and not name.endswith("_column")
    }
    return settings | {"threads": _core.get_num_threads(), "columns": task.columns._asdict()}


def _result(
    arguments: argparse.Namespace,
    task: _task.ModelTask,
    model: Recurrent,
    history: History,
    parts: _Parts,
    seconds: float,
) -> dict[str, Any]:
    result: dict[str, Any] = {
        "data": {
            "task": task.kind,
            "steps": task.steps,
            "classes": task.classes,
            "feature_names": parts.train.feature_names,
            "train": len(parts.train),
            "validation": 0 if parts.validation is None else len(parts.validation),
            "test": 0 if parts.test is None else len(parts.test),
        },
        "settings": _settings(arguments, task),
        "parameters": model.parameters.flat.size,
        "history": history.to_dict(),
        "seconds": seconds,
        "instruction_set": _core.active_backend(),
        "threads": _core.get_num_threads(),
    }
    held_out = {"validation": parts.validation, "test": parts.test}
    nothing = parts.validation is None and parts.test is None
    for name, part in {"training": parts.train if nothing else None, **held_out}.items():
        if part is not None:
            outputs = _task.outputs(model, task, part)
            result[name] = _task.scores_of(task, part, outputs)
    return result


def _text(arguments: argparse.Namespace, task: _task.ModelTask, result: dict[str, Any]) -> str:
    """Format a result as text, at most 80 columns wide."""
    epochs = len(result["history"]["epoch"])
    rate = f"{result['instruction_set']}, {result['threads']} thread"
    rate += "s" * (result["threads"] > 1)
    lines = [
        "",
        f"Trained {result['parameters']} parameters for {epochs} epoch{'s' * (epochs != 1)} "
        f"in {result['seconds']:.2f} s ({rate})",
    ]
    if result["history"]["stopped"] == "early stopping":
        lines.append(f"Stopped early: {arguments.patience} epochs without a lower validation loss")
    best = result["history"]["best_epoch"]
    if best is not None:
        lines.append(f"Kept the weights of epoch {best}, which has the lowest validation loss")
    for name in ("training", "validation", "test"):
        if result.get(name) is not None:
            table = name == "test" or "test" not in result
            lines.append(_task.scores_text(task, result[name], name.capitalize(), table))
    if "training" in result:
        lines += [
            "",
            "Nothing was held out: add --validation 0.2 or --test FILE for an honest score",
        ]
    files = {"model": arguments.output, "history": arguments.history, "report": arguments.report}
    saved = ", ".join(f"{what} {path}" for what, path in files.items() if path)
    if saved:
        lines += ["", f"Wrote {saved}"]
    if arguments.output:
        path = arguments.test or arguments.data
        words = ["fastbptt", "predict", arguments.output, path, *_options_of(arguments, path)]
        if arguments.unlabelled == "drop":  # each row gets a prediction
            words.append("--no-labels")
            sources = _new_data.feature_columns(task, task.columns.other or {})
            columns = task.columns._replace(features=sources)
            if not _new_data.readable(path, columns, task, {"missing": task.missing}):
                words += ["--missing", "interpolate"]
        lines.append(f"Next:  {shlex.join(words)}")
    return "\n".join(lines)


def _options_of(arguments: argparse.Namespace, path: str) -> list[str]:
    """Return the options that read a file and are not in the model: those of other than tables."""
    form = formats.find(path)
    if form.columns is not None:
        return []
    columns = _data.columns(arguments)
    if path == arguments.test:
        columns = _of_test(arguments, columns)
    given = columns.fitting(path).options()
    return [
        word
        for option in form.options
        if option.name in given
        for word in (option.flag, str(given[option.name]))
    ]
