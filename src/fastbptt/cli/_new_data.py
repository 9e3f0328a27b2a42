"""Read data files for a trained model."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

import numpy as np

from ..datasets import formats
from ..datasets._lines import some
from . import _data, _task

if TYPE_CHECKING:
    from ..datasets import Sequences
    from ..models.recurrent import Recurrent


def read(model: Recurrent, task: _task.ModelTask, arguments: argparse.Namespace) -> Sequences:
    """Read DATA for a model; ``y`` is None if the file has no labels of the model's task.

    Raises
    ------
    ValueError
        If the file is malformed, or its features are not those of the training data.
    """
    path = arguments.data
    columns = _data.columns(arguments)
    labels = task.kind is not None and not arguments.no_labels
    if formats.find(path).columns is not None:
        columns, labels = _known_columns(arguments, columns, task, labels)
    options: dict[str, Any] = {"missing": arguments.missing or task.missing, "dtype": "float64"}
    if model.vocabulary_size is not None:
        options["tokens"] = True
    if labels and task.classes is not None and columns.target is None:
        options["classes"] = task.classes
    try:
        data, _ = _data.read(path, columns, steps=task.steps, labels=labels, **options)
    except ValueError as error:
        if labels and readable(path, columns, task, options):
            raise ValueError(f"{error} (--no-labels: ignore the labels)") from None
        raise
    if data.y is None and getattr(arguments, "weight_column", None) is not None:
        raise ValueError(f"--weight-column has no effect: {path} has no labels; expected none")
    if data.y is not None and (data.classes is None) != (task.classes is None):
        kinds = ("numbers", "classes") if data.classes is None else ("classes", "numbers")
        raise ValueError(
            f"{path}: the labels are {kinds[0]}; expected {kinds[1]}, which the model predicts "
            "(--no-labels: ignore the labels)"
        )
    if model.vocabulary_size is None:
        inputs = model.input_size if task.imputer is None else task.imputer.n_features_in_
        wanted = task.features or tuple(f"feature {i + 1}" for i in range(inputs))
        data = _data.with_features(data, path, wanted, f"{arguments.model} was trained on")
    if data.y is not None and task.classes is None:
        count = np.shape(data.y[0])[1 if task.steps == "all" else 0 :]
        outputs = (model.output_size or 0) // task.objective.outputs
        if (count or (1,)) != (outputs,):
            raise ValueError(
                f"{path}: {count[0] if count else 1} targets per label; expected "
                f"{outputs}, as the model predicts (--no-labels: ignore the labels)"
            )
    return data


def steps(
    task: _task.ModelTask, arguments: argparse.Namespace, data: Sequences
) -> list[float] | list[str] | None:
    """Return the steps of a file, concatenated over sequences; None: it has none."""
    if data.times is not None:
        times = np.concatenate(data.times)
        midnight = bool((times == times.astype("M8[D]")).all())
        texts: list[str] = np.datetime_as_string(times, "D" if midnight else "s").tolist()
        return texts
    numbers = formats.find(arguments.data).step_numbers
    if numbers is None:
        return None
    options = _known_columns(arguments, _data.columns(arguments), task, False)[0].options()
    return numbers(arguments.data, **options)


def id_name(task: _task.ModelTask, arguments: argparse.Namespace) -> str:
    """Return the name of a table's id column; ``id`` if it has none."""
    if formats.find(arguments.data).columns is not None:
        name = _known_columns(arguments, _data.columns(arguments), task, False)[0].id
        if name not in (None, _data.NO_COLUMN):
            return name
    return "id"


def labels(task: _task.ModelTask, arguments: argparse.Namespace) -> str:
    """Name the missing labels, for messages: of a table, the label columns that the model knows."""
    known = task.columns.target or [task.columns.label or "label"]
    if formats.find(arguments.data).columns is None or known == ["label"]:
        return _data.missing_labels()
    option = "--label-column" if task.columns.target is None else "--target-column"
    columns = ", ".join(f'"{name}"' for name in known)
    return f"the column{'s' * (len(known) > 1)} {columns} of the training table (or {option})"


def _known_columns(
    arguments: argparse.Namespace, given: _data.Columns, task: _task.ModelTask, labels: bool
) -> tuple[_data.Columns, bool]:
    """Fill in columns of the training table that this table has; whether it has labels."""
    path = arguments.data
    known = task.columns.fitting(path)
    delimiter = given.delimiter or known.delimiter
    other = {**(known.other or {}), **(given.other or {})}
    names = formats.find(path).columns
    header = [] if names is None else names(path, **other, delimiter=delimiter)
    features = given.features
    wide = other.get("layout") == "wide"
    if "unlabelled" in other:
        raise ValueError("--unlabelled is for training; expected none: each row gets a prediction")
    if "categories" in (given.other or {}):
        raise ValueError(
            f"--category-columns has no effect: the categories are those that {arguments.model} "
            "was trained on; expected none"
        )
    if not wide and "exclude" in (given.other or {}):
        raise ValueError(
            f"--exclude-columns has no effect: the features are those that {arguments.model} was "
            "trained on; expected none"
        )
    trained = None if wide else feature_columns(task, other)
    if trained is not None and task.features is not None:
        if features is not None:
            raise ValueError(
                f"--feature-columns has no effect: the features are those that {arguments.model} "
                f"was trained on ({some(task.features)}); expected none"
            )
        features = trained
        other.setdefault("categories", {})  # it has none, and needs no advice about them
        absent = [name for name in features if name not in header]
        # if this is no table, or has another delimiter, the reader gives the better message
        if absent and (len(header) > 1 or len(absent) < len(features)):
            raise ValueError(
                f"{path}:1: there is no column {absent[0]!r}; expected the features that "
                f"{arguments.model} was trained on: {', '.join(features)}"
            )
    label, target = given.label, given.target
    for option, one in [("--label-column", label), *(("--target-column", t) for t in target or ())]:
        if one is not None and one in (features or ()):
            raise ValueError(
                f"{option} is {one!r}, a feature that {arguments.model} was trained on; expected "
                "another column, or --no-labels"
            )
    if label is None and target is None and labels and "label_file" in other:
        label, target = known.label, known.target
    elif label is None and target is None and labels:
        if task.classes is not None:
            label = known.label if known.label in header else None
        elif known.target is not None and set(known.target) <= set(header):
            target = known.target
        else:
            labels = False
    weight = other.get("weight")
    if not labels or (weight not in header and "weight" not in (given.other or {})):
        other.pop("weight", None)
    columns = _data.Columns(
        given.id or (known.id if known.id in (_data.NO_COLUMN, *header) else None),
        given.step or (known.step if known.step in (_data.NO_COLUMN, *header) else None),
        label,
        target,
        features,
        delimiter,
        other or None,
    )
    return columns, labels


def feature_columns(task: _task.ModelTask, other: dict[str, Any]) -> list[str] | None:
    """Name the columns of a long table that hold the model's features; None: they have no names."""
    if task.features is None or not _data.named(task.features):
        return None
    return _data.Columns.sources(task.features, other)


def readable(
    path: str, columns: _data.Columns, task: _task.ModelTask, options: dict[str, Any]
) -> bool:
    """Whether the file can be read without its labels."""
    options = {name: value for name, value in options.items() if name != "classes"}
    columns = columns._replace(label=None, target=None)
    try:
        _data.read(path, columns, steps=task.steps, labels=False, **options)
    except ValueError:
        return False
    return True
