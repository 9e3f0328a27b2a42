"""The task of a model, as its metadata store it, and the scores of its predictions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from .. import _check
from .._losses import Loss, parse
from ..preprocessing import Imputer, Standardizer
from ..training.evaluation import predict, probabilities
from . import _data

if TYPE_CHECKING:
    from ..datasets import Sequences
    from ..models.recurrent import Recurrent

Kind = Literal["classification", "labels", "regression"]

_WIDTH: Final = 80  # columns of a terminal
_NAME: Final = 16  # of which a class name takes at most so many


class ModelTask(NamedTuple):
    """The task that a model was trained for.

    Attributes
    ----------
    kind : {"classification", "labels", "regression"} or None
        Labels: several of a sequence or step, each yes or no. None: unknown; outputs are plain
        numbers.
    steps : {"last", "all", "mean", "max"}
        Predictions at the end of each sequence, at every step, or from pooled states.
    loss : Loss or None
    classes : tuple of str or None
    features : tuple of str or None
    standardizer : Standardizer or None
        Applied to the inputs.
    columns : Columns
        Columns of the training table.
    offset : tuple of float or None
        Added to the outputs in float64: means of targets for which the model's dtype is too
        coarse.
    missing : {"error", "interpolate", "mask"}
        How training treated missing values.
    imputer : Imputer or None
        Applied to the inputs after the standardizer, with missing="mask".
    """

    kind: Kind | None = None
    steps: _data.Steps = "last"
    loss: Loss | None = None
    classes: tuple[str, ...] | None = None
    features: tuple[str, ...] | None = None
    standardizer: Standardizer | None = None
    columns: _data.Columns = _data.Columns()
    offset: tuple[float, ...] | None = None
    missing: str = "error"
    imputer: Imputer | None = None

    def metadata(self) -> dict[str, Any]:
        """Return the metadata that `of` reads."""
        return {
            "task": self.kind,
            "steps": self.steps,
            "loss": None if self.loss is None else str(self.loss),
            "classes": None if self.classes is None else list(self.classes),
            "feature_names": None if self.features is None else list(self.features),
            "standardize": None if self.standardizer is None else self.standardizer.to_dict(),
            "target_offset": None if self.offset is None else list(self.offset),
            "imputer": None if self.imputer is None else self.imputer.to_dict(),
        }

    @property
    def input_names(self) -> list[str] | None:
        """Name the network's inputs; None: they have no names."""
        if self.features is None or self.imputer is None:
            return None if self.features is None else list(self.features)
        return self.imputer.get_feature_names_out(self.features)

    def names(self, prefix: str, count: int) -> list[str]:
        """Name the targets, each with a prefix."""
        given = self.columns.target
        if given is not None and len(given) == count:
            return [f"{prefix} {name}" for name in given]
        return [prefix] if count == 1 else [f"{prefix} {i + 1}" for i in range(count)]

    @property
    def objective(self) -> Loss:
        """The loss; if the model does not name it, the usual one."""
        return self.loss or Loss("mse" if self.classes is None else "cross_entropy")

    @property
    def predicts(self) -> str:
        """Whether it is "classes" (or labels) or "numbers"."""
        return self.objective.predicts

    # ------------------------------------------------------------ outputs

    def probabilities(self, outputs: NDArray[Any]) -> NDArray[np.float64]:
        """Turn outputs (predictions, O) into probabilities (predictions, classes)."""
        return cast("NDArray[np.float64]", probabilities(outputs.astype(np.float64)))


def of(model: Recurrent, path: str) -> ModelTask:
    """Read the task of a model from its metadata.

    Parameters
    ----------
    model : fastbptt model
    path : str
        Its file, for messages.

    Raises
    ------
    ValueError
        If the metadata do not fit the model.
    """
    metadata = model.metadata
    outputs = model.output_size or 0
    kind = _one_of(path, metadata, "task", ("classification", "labels", "regression", None))
    steps = _one_of(path, metadata, "steps", (*_check.READOUTS, None)) or "last"
    classes = _names(path, metadata, "classes")
    features = _names(path, metadata, "feature_names")
    loss = _loss(path, metadata.get("loss"))
    if kind == "classification":
        expected = 2 if loss is not None and loss.link == "logistic" else outputs
        if classes is None:
            classes = tuple(str(i) for i in range(expected))
        if len(classes) != expected:
            raise _odd(path, "classes", classes, f"{expected}: the model has {outputs} outputs")
    else:
        classes = None
    imputer = _imputer(path, metadata.get("imputer"), model.input_size)
    count = model.input_size if imputer is None else imputer.n_features_in_
    if features is not None and len(features) != count:
        raise _odd(path, "feature_names", features, f"{count}: the model's input size")
    settings = metadata.get("settings")
    known = settings.get("columns") if isinstance(settings, dict) else None
    missing = settings.get("missing") if isinstance(settings, dict) else None
    return ModelTask(
        cast("Kind | None", kind),
        cast("_data.Steps", steps),
        loss,
        classes,
        features,
        _standardizer(path, metadata.get("standardize"), count),
        _data.Columns() if known is None else _columns(path, known),
        _offset(path, metadata.get("target_offset"), outputs),
        missing if isinstance(missing, str) and missing in _data.MISSING else "error",
        imputer,
    )


def _columns(path: str, known: Any) -> _data.Columns:
    if not isinstance(known, dict):
        raise _odd(path, "columns", known, "a mapping")
    columns = {name: value for name, value in known.items() if name in _data.Columns._fields}
    for name, value in columns.items():
        if name in ("target", "features"):
            right = isinstance(value, list) and all(isinstance(one, str) for one in value)
        else:
            right = isinstance(value, dict if name == "other" else str)
        if value is not None and not right:
            raise _odd(path, f"columns {name!r}", value, "what `fastbptt train` writes")
    return _data.Columns(**columns)


def _loss(path: str, text: Any) -> Loss | None:
    if text is None:
        return None
    try:
        if isinstance(text, str):
            return parse(text)
    except (TypeError, ValueError):
        pass
    raise _odd(path, "loss", text, "a loss, such as 'mse'")


def _odd(path: str, key: str, value: Any, expected: str) -> ValueError:
    return ValueError(
        f"{path}: its metadata have {key} {_check.one_line(repr(value))}; expected {expected}"
    )


def _one_of(
    path: str, metadata: dict[str, Any], key: str, known: tuple[str | None, ...]
) -> str | None:
    value = metadata.get(key)
    if value not in known:
        raise _odd(path, key, value, " or ".join(str(one) for one in known if one))
    return cast("str | None", value)


def _names(path: str, metadata: dict[str, Any], key: str) -> tuple[str, ...] | None:
    value = metadata.get(key)
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise _odd(path, key, value, "a list of names")
    return tuple(value)


def _standardizer(path: str, metadata: Any, count: int) -> Standardizer | None:
    if metadata is None:
        return None
    try:
        standardizer = Standardizer.from_dict(metadata)
    except (TypeError, ValueError) as error:
        text = _check.one_line(error)
        raise ValueError(f"{path}: its metadata have a wrong standardize: {text}") from None
    if len(standardizer.mean_) != count:
        raise _odd(path, "standardize", metadata, f"mean and scale of {count} features")
    return standardizer


def _imputer(path: str, metadata: Any, count: int) -> Imputer | None:
    if metadata is None:
        return None
    try:
        imputer = Imputer.from_dict(metadata)
    except (TypeError, ValueError) as error:
        text = _check.one_line(error)
        raise ValueError(f"{path}: its metadata have a wrong imputer: {text}") from None
    if imputer.n_features_in_ + len(imputer.features_) != count:
        raise _odd(path, "imputer", metadata, f"{count} features and indicators in all")
    return imputer


def _offset(path: str, metadata: Any, count: int) -> tuple[float, ...] | None:
    if metadata is None:
        return None
    if (
        not isinstance(metadata, list)
        or len(metadata) != count
        or not all(type(one) in (int, float) and math.isfinite(one) for one in metadata)
    ):
        raise _odd(path, "target_offset", metadata, f"{count} finite numbers, one per output")
    return tuple(map(float, metadata))


# ---------------------------------------------------------------- scores


def inputs(model: Recurrent, task: ModelTask, data: Sequences) -> Any:
    """Standardise the features of a file, read in float64, then round to the model's dtype."""
    return data.x if model.vocabulary_size is not None else rounded(task, data, model.dtype)


def rounded(task: ModelTask, data: Sequences, dtype: np.dtype[Any]) -> Any:
    """Standardise the features of a file, then round to a dtype."""
    with np.errstate(over="ignore"):
        if task.standardizer is not None:
            x = task.standardizer.transform(data.x, dtype=dtype)
        elif isinstance(data.x, list):
            x = [one.astype(dtype) for one in data.x]
        else:
            x = data.x.astype(dtype)
    for i, one in enumerate(x):
        beyond = np.isinf(one)
        if beyond.any():
            step, feature = divmod(int(beyond.argmax()), one.shape[1])
            raise ValueError(
                f"{data.source}: sequence {data.ids[i]!r}: {data.feature_names[feature]!r} is "
                f"{data.x[i][step, feature]:g} at step {step + 1}, too large for {dtype}; "
                "expected smaller numbers, or training with --dtype float64"
            )
    return _imputed(task.imputer, x, data)


def _imputed(imputer: Imputer | None, x: Any, data: Sequences) -> Any:
    """Fill gaps and add indicators; refuse gaps where there were none."""
    for i, one in enumerate(x):
        if imputer is not None:
            gap = imputer._new_gap(one)
        else:
            gap = next(((int(t), int(n)) for t, n in np.argwhere(np.isnan(one))), None)
        if gap is not None:
            step, feature = gap
            raise ValueError(
                f"{data.source}: sequence {data.ids[i]!r}: {data.feature_names[feature]!r} has no "
                f"value at step {step + 1}, but had one in all steps that were trained on; "
                "expected values there (predict --missing interpolate fills gaps)"
            )
    return x if imputer is None else imputer.transform(x)


def labelled(task: ModelTask, data: Sequences) -> Sequences:
    """Keep the sequences all of whose labels are there, for a report.

    Raises
    ------
    ValueError
        If there is none.
    """
    there = _data.known(data.y, task.steps)
    if task.steps == "all":
        ends = np.cumsum(data.lengths)
        there = np.array([part.all() for part in np.split(there, ends[:-1])])
    if not there.any():
        raise ValueError(f"{data.source}: no sequence has all of its labels; a report needs one")
    return data if there.all() else _data.pick(data, np.flatnonzero(there))


def targets(task: ModelTask, data: Sequences) -> Any:
    """Return the labels of a file as the model alone predicts them, without the offset."""
    if task.offset is None:
        return data.y
    assert data.y is not None
    y = data.y[0] if isinstance(data.y, list) else data.y
    each = np.asarray(task.offset)[:: task.objective.outputs]
    offset = each if y.shape[-1] == len(each) > 1 else each[0]
    return [one - offset for one in data.y] if isinstance(data.y, list) else data.y - offset


def outputs(model: Recurrent, task: ModelTask, data: Sequences) -> NDArray[Any]:
    """Compute the outputs for sequences in the units of their file, shape (predictions, O)."""
    found = predict(model, inputs(model, task, data), steps=task.steps)
    flat = _data.flat(found, task.steps)
    return flat if task.offset is None else flat + np.asarray(task.offset)


def scores_of(task: ModelTask, data: Sequences, outputs: NDArray[Any]) -> dict[str, Any] | None:
    """Compare outputs (predictions, O) with the labels that are there and have a weight.

    Returns
    -------
    dict or None
        As of `scores`, with ``weighted`` if there are different weights. None: there are no labels.
    """
    there = _data.counted(data, task.steps)
    if not there.any():
        return None
    weights = None if data.weights is None else _data.flat(data.weights, task.steps)[there]
    if weights is not None and (weights == weights[0]).all():
        weights = None
    result = scores(task, _data.flat(data.y, task.steps)[there], outputs[there], weights)
    return result if weights is None else result | {"weighted": True}


def scores(
    task: ModelTask, y: Any, outputs: NDArray[Any], weights: NDArray[np.float64] | None = None
) -> dict[str, Any]:
    """Compare outputs (predictions, O) with targets (predictions,) or (predictions, O).

    Returns
    -------
    dict
        ``count``, and every metric that suits the targets; of classes also ``correct`` and
        ``confusion`` (rows: true class, columns: predicted class), which count each label once.
    """
    from ..training.metrics import METRICS, suited, value

    if task.classes is not None:
        predicted = task.probabilities(outputs).argmax(axis=1)
        confusion = np.zeros((len(task.classes),) * 2, np.int64)
        np.add.at(confusion, (y, predicted), 1)
        result = {
            "count": len(predicted),
            "correct": int(np.trace(confusion)),
            "confusion": confusion.tolist(),
        }
        targets = y
    else:
        result = {"count": len(outputs)}
        outputs = outputs.astype(np.float64)  # as the targets, of which no digit is to be lost
        targets = y.reshape(len(outputs), -1)
    for name in suited(task.objective):
        result[name] = value(METRICS[name], targets, outputs, task.objective, weights)
    return result


def scores_text(task: ModelTask, result: dict[str, Any], what: str = "", table: bool = True) -> str:
    """Format scores as text, at most 80 columns wide."""
    from ..training.metrics import suited, title

    unit = "step" if task.steps == "all" else "sequence"
    count = f"{result['count']} {unit}{'s' * (result['count'] != 1)}"
    weighted = ", weighted" * result.get("weighted", False)
    if task.classes is None:
        names = suited(task.objective)
        numbers = ", ".join(f"{title(name)} {result[name]:.4g}" for name in names)
        what = what or ("Labels" if task.kind == "labels" else "Errors")
        return f"{what}, {count}{weighted}: {numbers}"
    text = f"{what} accuracy".strip().capitalize()
    text += f" {result['accuracy']:.4f}{weighted}: {result['correct']} of {count}"
    if table:
        text += f"\n\n{_confusion_text(task.classes, np.array(result['confusion']))}"
    return text


def _confusion_text(classes: tuple[str, ...], confusion: NDArray[np.int64]) -> str:
    """Format the confusion table; if it is too wide, list the most frequent confusions."""
    names = [name if len(name) <= _NAME else f"{name[: _NAME - 1]}…" for name in classes]
    left = max(map(len, [*names, "true"])) + 2
    widths = [
        max(len(name), len(str(most))) + 2
        for name, most in zip(names, confusion.max(axis=0).tolist(), strict=True)
    ]
    if left + sum(widths) + 9 > _WIDTH:
        return _worst_text(classes, confusion)

    def line(first: str, cells: list[str], last: str) -> str:
        between = "".join(f"{cell:>{w}}" for cell, w in zip(cells, widths, strict=True))
        return f"{first:{left}}{between}{last:>9}".rstrip()

    lines = [line("true", names, "correct")]
    for i, row in enumerate(confusion.tolist()):
        correct = f"{row[i] / sum(row):.0%}" if sum(row) else ""
        lines.append(line(names[i], [str(count or ".") for count in row], correct))
    return "\n".join(lines)


def _worst_text(classes: tuple[str, ...], confusion: NDArray[np.int64]) -> str:
    counts = confusion.tolist()
    pairs = [(i, j) for i in range(len(counts)) for j in range(len(counts)) if i != j]
    worst = sorted(pairs, key=lambda pair: -int(counts[pair[0]][pair[1]]))[:10]
    lines = [
        f"  {classes[i]} predicted as {classes[j]}: {counts[i][j]} of {sum(counts[i])}"
        for i, j in worst
        if counts[i][j]
    ]
    return "\n".join(["Most frequent errors:", *lines]) if lines else "No errors."
