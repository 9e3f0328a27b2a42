"""``fastbptt train``: from a file of sequences to a model in a file."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from .. import _core
from ..datasets import formats
from ..preprocessing import Standardizer
from . import _data, _parser, _task

if TYPE_CHECKING:
    from ..datasets import Sequences
    from ..models.recurrent import Recurrent
    from ..training import History

__all__ = ["add"]

_EPOCHS: Final = 100
_UPDATES: Final = 1500
_SHARE: Final = 0.1
_WIDTH: Final = 69  # of a terminal's 80 columns, behind a heading
_ENOUGH: Final = 100  # sequences: a tenth of fewer says next to nothing about an epoch


def add(subparsers: _parser.Subparsers) -> None:
    """Add the parser of ``fastbptt train``."""
    parser = _parser.add_subcommand(
        subparsers,
        "train",
        "Train a recurrent network on the sequences in a file",
        details=_data.formats_help(),
        epilog="Example:\n"
        "  fastbptt train steps.csv --cell lstm --test test.csv -o model.safetensors\n"
        "  fastbptt predict model.safetensors new.csv",
        usage="DATA [-o MODEL] [OPTION ...]",
    )
    parser.add_argument("data", metavar="DATA", help=f"sequences with labels: {formats.suffixes()}")
    _add_results(parser)
    _add_network(parser)
    _add_training(parser)
    _add_judgement(parser)
    columns = _data.add_options(parser)
    columns.add_argument(
        "--steps",
        choices=("last", "all"),
        help="a label for each sequence, or for each step (default: as DATA has them)",
    )
    columns.add_argument(
        "--no-standardize",
        dest="standardize",
        action="store_false",
        help="take features, and numbers to predict, as they are; by default training sees them "
        "with mean 0 and deviation 1, and the model's file knows what to do with new ones",
    )
    parser.set_defaults(run=_run)


def _add_results(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("results")
    group.add_argument("-o", "--output", metavar="MODEL", help="save the model to this file")
    group.add_argument(
        "--history", metavar="FILE", help="write the curves of the training: .csv or .json"
    )
    group.add_argument(
        "--report",
        metavar="FILE.html",
        help="write a page about the result, on the test data if there are some (needs matplotlib)",
    )
    group.add_argument(
        "--checkpoint", metavar="FILE", help="save the state of the training after each epoch"
    )
    group.add_argument(
        "--resume", action="store_true", help="go on from the checkpoint, if it is there"
    )
    group.add_argument("-q", "--quiet", action="store_true", help="show no progress")


def _add_network(parser: argparse.ArgumentParser) -> None:
    from ..models import _options
    from ..models.initializers import INITIALIZERS

    cells = {name: _core.cell_info(name)["setting"] for name in _core.cells()}
    recipes = {name: one.setting for name, one in INITIALIZERS.items()}
    group = parser.add_argument_group("network")
    group.add_argument(
        "--cell",
        type=_parser.name_and_number(tuple(cells)),
        default="gru",
        metavar="NAME[:X]",
        help=f"{_named(cells)} (default: gru)",
    )
    for option, default, metavar, text in (
        ("hidden", 64, "H", "hidden units of a layer and direction"),
        ("layers", 1, "N", "layers on top of each other"),
    ):
        group.add_argument(
            f"--{option}",
            type=_parser.positive,
            default=default,
            metavar=metavar,
            help=f"{text} (default: %(default)s)",
        )
    group.add_argument("--bidirectional", action="store_true", help="read from the end, too")
    group.add_argument(
        "--embedding",
        type=_parser.positive,
        metavar="N",
        help=f"x of an {formats.suffixes(lambda form: form.takes('tokens'))} file holds tokens "
        "(whole numbers): learn N numbers for each",
    )
    group.add_argument(
        "--dropout",
        type=_parser.fraction,
        default=0.0,
        metavar="X",
        help="share of the values between layers to drop (default: 0)",
    )
    group.add_argument(
        "--init",
        type=_parser.name_and_number(tuple(recipes)),
        default="keras",
        metavar="NAME[:X]",
        help=f"first weights: {_named(recipes)} (default: keras)",
    )
    group.add_argument(
        "--dtype",
        choices=("float32", "float64"),
        default="float32",
        help="of weights, data and arithmetic (default: float32)",
    )
    group.add_argument(
        "--precision",
        choices=_options.PRECISIONS,
        default="float32",
        help="of the factors in products; bfloat16 is faster, where the processor has it",
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
        help="passes over the training sequences, at most "
        f"(default: {_EPOCHS}, of few sequences so many that there are {_UPDATES} updates)",
    )
    group.add_argument(
        "--batch",
        type=_parser.positive,
        default=32,
        metavar="B",
        help="sequences in a batch (default: %(default)s)",
    )
    group.add_argument(
        "--optimizer",
        type=_parser.name_and_settings(OPTIMIZERS),
        default="adam",
        metavar="NAME[:K=V,...]",
        help=f"{', '.join(OPTIMIZERS)}, with settings, as in sgd:momentum=0.9 (default: adam)",
    )
    group.add_argument(
        "--lr", type=_parser.rate, metavar="X", help="learning rate (default: the optimiser's)"
    )
    group.add_argument(
        "--schedule",
        type=_parser.name_and_settings(SCHEDULES),
        default="cosine",
        metavar="NAME[:K=V,...]",
        help=f"of the learning rate: {', '.join(SCHEDULES)}, with settings, as in "
        "step:every=30,factor=0.1 (default: cosine)",
    )
    group.add_argument(
        "--clip-norm",
        type=_parser.amount,
        default=1.0,
        metavar="X",
        help="longest gradient of a step; 0: any (default: 1)",
    )
    group.add_argument(
        "--patience",
        type=_parser.positive,
        metavar="N",
        help="stop after N epochs without a better validation loss (default: go on)",
    )
    group.add_argument(
        "--noise",
        type=_parser.amount,
        default=0.0,
        metavar="X",
        help="deviation of noise that is added to the features, new in each epoch: against "
        "learning few sequences by heart (default: 0; after standardizing, try 0.1 to 1)",
    )
    group.add_argument(
        "--metrics",
        type=_parser.names(tuple(METRICS)),
        metavar="NAME[,NAME]",
        help=f"curves beside the loss: of classes {', '.join(suited('classes'))}, of numbers "
        f"{', '.join(suited('numbers'))} (default: accuracy, r2)",
    )
    group.add_argument(
        "--class-weight",
        choices=("balanced",),
        help="rare classes count as much as frequent ones",
    )
    group.add_argument(
        "--bucket", action="store_true", help="make batches of sequences of similar length"
    )
    group.add_argument(
        "--seed",
        type=_parser.seed,
        default=0,
        metavar="N",
        help="of the weights, the validation part and the order (default: %(default)s)",
    )


def _add_judgement(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("data apart")
    held_out = group.add_mutually_exclusive_group()
    held_out.add_argument(
        "--validation",
        type=_parser.fraction,
        metavar="SHARE",
        help="share of the sequences, of each class alike, that chooses the best epoch and is "
        f"not trained on; 0: none, and the last epoch is kept (default: {_SHARE}, of fewer than "
        f"{_ENOUGH} sequences 0)",
    )
    held_out.add_argument("--validation-data", metavar="FILE", help="a file that does so instead")
    group.add_argument(
        "--test", metavar="FILE", help="a file on which the final model is tried, once"
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
    if not arguments.json:
        print(_described(task, parts), flush=True)
    if not arguments.output:
        _note(arguments, "no -o: the model will not be kept")

    if arguments.patience is not None and parts.validation is None:
        raise ValueError(
            "--patience needs sequences to validate on; expected --validation or --validation-data"
        )
    if arguments.class_weight and (task.classes is None or task.steps == "all"):
        raise ValueError(f"{arguments.data}: --class-weight is for one class per sequence")
    _check_metrics(arguments, task)
    if arguments.epochs is None:
        updates = -(-len(parts.train) // arguments.batch)  # in an epoch
        arguments.epochs = max(_EPOCHS, -(-_UPDATES // updates))
    features, targets = _standardizers(arguments, task, parts.train)
    task = task._replace(scale=features)
    train, validation, _ = parts
    train = _standardized(train, task, targets)
    validation = None if validation is None else _standardized(validation, task, targets)
    model = _model(arguments, task, parts)
    start = time.perf_counter()
    try:
        history = _fit(arguments, task, model, train, validation)
    except ValueError as error:
        if "not finite" not in str(error):
            raise
        raise ValueError(f"{error}; expected a training that converges: a smaller --lr") from None
    seconds = time.perf_counter() - start
    if targets is not None:
        _fold_into_readout(model, targets)

    model.metadata = task.metadata() | {
        "trained_on": arguments.data,
        "history": history.to_dict(),
        "settings": _settings(arguments, task),
    }
    if arguments.output:
        model.save(arguments.output)
    if arguments.history:
        history.save(arguments.history)
    if history.stopped == "interrupted":
        kept = f"; {arguments.output} holds the model" if arguments.output else ""
        print(f"stopped after {len(history)} of {arguments.epochs} epochs{kept}", file=sys.stderr)
        raise KeyboardInterrupt

    result = _result(arguments, task, model, history, parts, seconds)
    if arguments.report:
        judged = parts.test or parts.validation or parts.train
        x = judged.x if task.scale is None else task.scale.transform(judged.x)
        report(model, x, judged.y, arguments.report, history, ids=judged.ids)
    print(_parser.as_json(result) if arguments.json else _text(arguments, task, result))


def _note(arguments: argparse.Namespace, text: str) -> None:
    if not arguments.quiet:
        print(f"fastbptt: note: {text}", file=sys.stderr)


def _check_files(arguments: argparse.Namespace) -> None:
    """Refuse what would fail after the training, before it."""
    _parser.check_output("-o", arguments.output)
    _parser.check_output("--history", arguments.history, ".csv", ".json")
    _parser.check_output("--report", arguments.report, ".html")
    _parser.check_output("--checkpoint", arguments.checkpoint)
    if arguments.report:
        from ..plot._style import require

        require()
    if arguments.resume and not arguments.checkpoint:
        raise ValueError("--resume needs the file to go on from; expected --checkpoint FILE, too")
    if arguments.embedding and arguments.noise:
        raise ValueError("--noise is for numbers; expected none with --embedding")
    _parser.check_apart(
        {
            "DATA": arguments.data,
            "--validation-data": arguments.validation_data,
            "--test": arguments.test,
        },
        {
            "-o": arguments.output,
            "--history": arguments.history,
            "--report": arguments.report,
            "--checkpoint": arguments.checkpoint,
        },
    )


# ---------------------------------------------------------------- data


def _read(arguments: argparse.Namespace) -> tuple[_task.Task, _Parts]:
    """Read all files; the training file says what the others must be like."""
    from ..training.batches import split

    columns = _data.columns(arguments)
    options: dict[str, Any] = {"missing": arguments.missing, "dtype": arguments.dtype}
    if arguments.embedding:
        options["tokens"] = True
    data, steps, why = _data.read(arguments.data, columns, steps=arguments.steps, **options)
    if data.y is None:
        raise ValueError(
            f"{arguments.data}: there are no labels; expected {_data.missing_labels()}"
        )
    if why:
        _warn_of_steps(data, why)
    task = _task.Task(
        "regression" if data.classes is None else "classification",
        steps,
        "mse" if data.classes is None else "cross_entropy",
        data.classes,
        None if arguments.embedding else data.feature_names,
        None,
        columns,
    )
    _check_classes(arguments, task, data)
    like = options | {"classes": data.classes} if data.classes is not None else options
    if _data.named(data.feature_names):
        columns = columns._replace(features=list(data.feature_names))

    def other(path: str) -> Sequences:
        one, _, _ = _data.read(path, columns.fitting(path), steps=steps, **like)
        if one.y is None:
            raise ValueError(f"{path}: there are no labels; expected {_data.missing_labels()}")
        shapes = [_data.flat(part.y, steps).shape[1:] for part in (one, data)]
        if (one.classes is None) != (data.classes is None) or shapes[0] != shapes[1]:
            raise ValueError(f"{path}: the labels are of another kind than in {arguments.data}")
        return _data.with_features(one, path, data.feature_names, f"{arguments.data} has")

    test = other(arguments.test) if arguments.test else None
    if arguments.validation_data:
        return task, _Parts(data, other(arguments.validation_data), test)
    if arguments.validation is None:
        arguments.validation = _SHARE if len(data) >= _ENOUGH else 0.0
    if not arguments.validation or len(data) < 2:
        return task, _Parts(data, None, test)
    by_class = _data.flat(data.y, steps) if data.classes is not None and steps == "last" else None
    rows = split(len(data), arguments.validation, arguments.seed, by_class)
    train, validation = (_data.pick(data, each) for each in rows)
    return task, _Parts(train, validation, test)


def _warn_of_steps(data: Sequences, why: str) -> None:
    """Say what a slip in one cell does, too: it turns the task into another one."""
    assert data.y is not None
    several = sum(bool((one != one[0]).any()) for one in data.y)
    verb, what = "has" if several == 1 else "have", "number" if data.classes is None else "class"
    label = "number to predict" if data.classes is None else "label"
    print(
        f"fastbptt: warning: {several} of {len(data)} sequences {verb} more than one {label}: "
        f"{why}; a {what} per step will be learnt (--steps last: one per sequence, and an error "
        "where there are more; --steps all: as now, without this warning)",
        file=sys.stderr,
    )


def _check_classes(arguments: argparse.Namespace, task: _task.Task, data: Sequences) -> None:
    if task.classes is None:
        return
    found = np.unique(_data.flat(data.y, task.steps))
    present = len(found)
    if present < 2:
        only = task.classes[int(found[0])]
        raise ValueError(
            f"{arguments.data}: all labels are {only!r}; expected at least two classes"
        )
    if present > len(data) / 2 and present > 20 and task.steps == "last":
        hint = ""
        if formats.find(arguments.data).columns is not None:
            hint = f" (to predict numbers: --target-column {arguments.label_column or 'label'})"
        _note(arguments, f"{present} classes among {len(data)} sequences{hint}")


def _check_metrics(arguments: argparse.Namespace, task: _task.Task) -> None:
    """Refuse metrics for other targets; choose one where none is given."""
    from ..training.metrics import suited

    if arguments.metrics is None:
        arguments.metrics = ["r2" if task.classes is None else "accuracy"]
    targets = "numbers" if task.classes is None else "classes"
    known = suited(targets)
    for name in arguments.metrics:
        if name not in known:
            raise ValueError(
                f"--metrics has {name}, but {arguments.data} has {targets} as labels; expected "
                f"names from {', '.join(known)}"
            )


def _described(task: _task.Task, parts: _Parts) -> str:
    """Say in a few lines what the data are."""
    per = "step" if task.steps == "all" else "sequence"
    lengths = np.concatenate([part.lengths for part in parts if part is not None])
    low, high = int(lengths.min()), int(lengths.max())
    counts = [("to train on", parts.train), ("to validate on", parts.validation)]
    counts.append(("to test on", parts.test))
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
        labels = f"{count} number{'s' * (count > 1)} per {per} to predict"
        if task.columns.target is not None:
            labels = _listed(labels, task.columns.target)
    steps = f"{low}" if low == high else f"{low} to {high}"
    steps += f" step{'s' * (high > 1)}"
    return f"Sequences: {text}; of {steps}\nFeatures:  {features}\nLabels:    {labels}"


def _listed(before: str, names: Sequence[str]) -> str:
    """List names after a text, as many as the line holds behind a heading."""
    for count in range(len(names), 0, -1):
        line = f"{before}: {', '.join(names[:count])}{', ...' * (count < len(names))}"
        if len(line) <= _WIDTH:
            return line
    return before


def _most(parts: _Parts) -> int:
    """Find the largest token."""
    return max(int(one.max()) for part in parts if part is not None for one in part.x)


def _standardizers(
    arguments: argparse.Namespace, task: _task.Task, train: Sequences
) -> tuple[Standardizer | None, Standardizer | None]:
    """Fit the standardizers of features and of regression targets to the training part."""
    if not arguments.standardize:
        return None, None
    features = None if task.features is None else Standardizer().fit(train.x)
    targets = None
    if task.kind == "regression":
        targets = Standardizer().fit(_with_outputs(train.y, task.steps), name="y")
    return features, targets


def _standardized(part: Sequences, task: _task.Task, targets: Standardizer | None) -> Sequences:
    """Standardise features and targets of a part as those of the training part."""
    if task.scale is not None:
        part = replace(part, x=task.scale.transform(part.x))
    if targets is not None:
        part = replace(part, y=targets.transform(_with_outputs(part.y, task.steps)))
    return part


def _with_outputs(y: Any, steps: _data.Steps) -> Any:
    """Give an array of one number per step, (sequences, steps), an axis of outputs."""
    lacks_axis = steps == "all" and not isinstance(y, list) and y.ndim == 2
    return y[..., np.newaxis] if lacks_axis else y


# ---------------------------------------------------------------- training


def _model(arguments: argparse.Namespace, task: _task.Task, parts: _Parts) -> Recurrent:
    from .. import Recurrent

    if task.classes is not None:
        outputs = len(task.classes)
    else:
        outputs = _data.flat(parts.train.y, task.steps)[0].size
    init = arguments.init
    return Recurrent(
        arguments.cell.name,
        arguments.embedding or len(parts.train.feature_names),
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
    task: _task.Task,
    model: Recurrent,
    train: Sequences,
    validation: Sequences | None,
) -> History:
    assert train.y is not None
    from .. import fit
    from ..optim.optimizers import OPTIMIZERS
    from ..optim.schedules import SCHEDULES

    settings = dict(arguments.optimizer.settings)
    if arguments.lr is not None:
        settings["lr"] = arguments.lr
    schedule = SCHEDULES[arguments.schedule.name](**arguments.schedule.settings)
    return fit(
        model,
        train.x,
        train.y,
        loss=task.loss,
        steps=task.steps,
        class_weight=arguments.class_weight,
        epochs=arguments.epochs,
        batch_size=arguments.batch,
        optimizer=OPTIMIZERS[arguments.optimizer.name](**settings),
        schedule=schedule,
        clip_norm=arguments.clip_norm or None,
        validation=None if validation is None else (validation.x, validation.y),
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


def _fold_into_readout(model: Recurrent, targets: Standardizer) -> None:
    """Make the model predict in the targets' units.

    The readout is linear: with z = W_hy h + b_y, the inverse transform z * scale + mean is a
    readout with W_hy * scale and b_y * scale + mean.
    """
    model.parameters["W_hy"][:] = model.parameters["W_hy"] * targets.scale_
    model.parameters["b_y"][:] = targets.inverse_transform(model.parameters["b_y"][np.newaxis])[0]


# ---------------------------------------------------------------- results


def _settings(arguments: argparse.Namespace, task: _task.Task) -> dict[str, Any]:
    """Return what this training was told, as plain values."""
    settings = {
        name: value.text if isinstance(value, _parser.Choice) else value
        for name, value in vars(arguments).items()
        if name not in ("run", "json", "quiet") and not name.endswith("_column")
    }
    return settings | {"columns": task.columns._asdict()}


def _result(
    arguments: argparse.Namespace,
    task: _task.Task,
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
    for name, part in (("validation", parts.validation), ("test", parts.test)):
        if part is not None:
            outputs = _task.outputs(model, task, part)
            result[name] = _task.scores(task, _data.flat(part.y, task.steps), outputs)
    return result


def _text(arguments: argparse.Namespace, task: _task.Task, result: dict[str, Any]) -> str:
    """Write a result for a reader, at most 80 columns wide."""
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
        lines.append(f"Kept the weights after epoch {best}, whose validation loss is the lowest")
    for name in ("validation", "test"):
        if name in result:
            table = name == "test" or "test" not in result
            lines.append(_task.scores_text(task, result[name], name.capitalize(), table))
    files = {"model": arguments.output, "history": arguments.history, "report": arguments.report}
    saved = ", ".join(f"{what} {path}" for what, path in files.items() if path)
    if saved:
        lines += ["", f"Wrote {saved}"]
    if arguments.output:
        lines.append(f"Next:  fastbptt predict {arguments.output} {arguments.test or 'DATA'}")
    return "\n".join(lines)
