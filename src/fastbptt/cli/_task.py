"""What a model was trained for, as its metadata say it, and what its outputs then mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from .._losses import Loss, parse
from ..preprocessing import Standardizer
from ..training.evaluation import predict, probabilities
from . import _data

if TYPE_CHECKING:
    from ..datasets import Sequences
    from ..models.recurrent import Recurrent

Kind = Literal["classification", "regression"]

_WIDTH: Final = 80  # columns of a terminal
_NAME: Final = 16  # of which a class name takes at most so many


class Task(NamedTuple):
    """What a model was trained for.

    Attributes
    ----------
    kind : {"classification", "regression"} or None
        None: nothing is known, and outputs are numbers.
    steps : {"last", "all"}
        Whether it answers at the end of a sequence, or at each step.
    loss : Loss or None
    classes : tuple of str or None
    features : tuple of str or None
    scale : Standardizer or None
        What its inputs went through.
    columns : Columns
        Those of the table that it was trained on.
    """

    kind: Kind | None = None
    steps: _data.Steps = "last"
    loss: Loss | None = None
    classes: tuple[str, ...] | None = None
    features: tuple[str, ...] | None = None
    scale: Standardizer | None = None
    columns: _data.Columns = _data.Columns()

    def metadata(self) -> dict[str, Any]:
        """Write it down for the model's file."""
        return {
            "task": self.kind,
            "steps": self.steps,
            "loss": None if self.loss is None else str(self.loss),
            "classes": None if self.classes is None else list(self.classes),
            "feature_names": None if self.features is None else list(self.features),
            "standardize": None if self.scale is None else self.scale.to_dict(),
        }

    def names(self, what: str, count: int) -> list[str]:
        """Name the numbers that it predicts, what they are in front."""
        given = self.columns.target
        if given is not None and len(given) == count:
            return [f"{what} {name}" for name in given]
        return [what] if count == 1 else [f"{what} {i + 1}" for i in range(count)]

    # ------------------------------------------------------------ outputs

    def probabilities(self, outputs: NDArray[Any]) -> NDArray[np.float64]:
        """Turn outputs (answers, O) into probabilities (answers, classes)."""
        return cast("NDArray[np.float64]", probabilities(outputs.astype(np.float64)))


def of(model: Recurrent, path: str) -> Task:
    """Read what a model was trained for from its metadata.

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
    told = model.metadata
    outputs = model.output_size or 0
    kind = _one_of(path, told, "task", ("classification", "regression", None))
    steps = _one_of(path, told, "steps", ("last", "all", None)) or "last"
    classes = _names(path, told, "classes")
    features = _names(path, told, "feature_names")
    loss = None if told.get("loss") is None else parse(told["loss"])
    if kind == "classification":
        expected = 2 if loss is not None and loss.link == "logistic" else outputs
        if classes is None:
            classes = tuple(str(i) for i in range(expected))
        if len(classes) != expected:
            raise _odd(path, "classes", classes, f"{expected}: the model has {outputs} outputs")
    else:
        classes = None
    if features is not None and len(features) != model.input_size:
        raise _odd(path, "feature_names", features, f"{model.input_size}: the model's input size")
    settings = told.get("settings")
    known = settings.get("columns") if isinstance(settings, dict) else None
    columns = _data.Columns()
    if isinstance(known, dict):
        columns = _data.Columns(**{k: v for k, v in known.items() if k in columns._fields})
    return Task(
        cast("Kind | None", kind),
        cast("_data.Steps", steps),
        loss,
        classes,
        features,
        _standardizer(path, told.get("standardize"), model.input_size),
        columns,
    )


def _odd(path: str, key: str, value: Any, expected: str) -> ValueError:
    return ValueError(f"{path}: its metadata have {key} {value!r}; expected {expected}")


def _one_of(path: str, told: dict[str, Any], key: str, known: tuple[str | None, ...]) -> str | None:
    value = told.get(key)
    if value not in known:
        raise _odd(path, key, value, " or ".join(str(one) for one in known if one))
    return cast("str | None", value)


def _names(path: str, told: dict[str, Any], key: str) -> tuple[str, ...] | None:
    value = told.get(key)
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise _odd(path, key, value, "a list of names")
    return tuple(value)


def _standardizer(path: str, told: Any, count: int) -> Standardizer | None:
    if told is None:
        return None
    try:
        standardizer = Standardizer.from_dict(told)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: its metadata have standardize {told!r}; {error}") from None
    if len(standardizer.mean_) != count:
        raise _odd(path, "standardize", told, f"mean and scale of {count} features")
    return standardizer


# ---------------------------------------------------------------- scores


def outputs(model: Recurrent, task: Task, data: Sequences) -> NDArray[Any]:
    """What a model says about sequences that are not scaled yet, shape (answers, O)."""
    x = data.x if task.scale is None else task.scale.transform(data.x)
    return _data.flat(predict(model, x, steps=task.steps), task.steps)


def scores(task: Task, y: Any, outputs: NDArray[Any]) -> dict[str, Any]:
    """Compare outputs (answers, O) with what is true, (answers,) or (answers, O).

    Returns
    -------
    dict
        ``count``, and every metric that suits the targets; of classes also ``correct`` and
        ``confusion`` (rows: true class, columns: predicted class).
    """
    from ..training.metrics import METRICS, suited

    if task.classes is not None:
        answers = task.probabilities(outputs).argmax(axis=1)
        confusion = np.zeros((len(task.classes),) * 2, np.int64)
        np.add.at(confusion, (y, answers), 1)
        result = {
            "count": len(answers),
            "correct": int(np.trace(confusion)),
            "confusion": confusion.tolist(),
        }
        targets = y
    else:
        result = {"count": len(outputs)}
        targets = y.reshape(outputs.shape)
    for name in suited("numbers" if task.classes is None else "classes"):
        result[name] = float(METRICS[name].function(targets, outputs))
    return result


def scores_text(task: Task, result: dict[str, Any], what: str = "", table: bool = True) -> str:
    """Write scores for a reader, at most 80 columns wide."""
    from ..training.metrics import suited, title

    unit = "step" if task.steps == "all" else "sequence"
    count = f"{result['count']} {unit}{'s' * (result['count'] != 1)}"
    if task.classes is None:
        numbers = ", ".join(f"{title(name)} {result[name]:.4g}" for name in suited("numbers"))
        return f"{what or 'Errors'}, {count}: {numbers}"
    text = f"{what} accuracy".strip().capitalize()
    text += f" {result['accuracy']:.4f}: {result['correct']} of {count}"
    if table:
        text += f"\n\n{_confusion_text(task.classes, np.array(result['confusion']))}"
    return text


def _confusion_text(classes: tuple[str, ...], confusion: NDArray[np.int64]) -> str:
    """Write the table; where it would be too wide, what is most often taken for what."""
    names = [name if len(name) <= _NAME else f"{name[: _NAME - 1]}…" for name in classes]
    left = max(map(len, [*names, "true"])) + 2
    widths = [
        max(len(name), len(str(most))) + 2
        for name, most in zip(names, confusion.max(axis=0).tolist(), strict=True)
    ]
    if left + sum(widths) + 8 > _WIDTH:
        return _worst_text(classes, confusion)

    def line(first: str, cells: list[str], last: str) -> str:
        between = "".join(f"{cell:>{w}}" for cell, w in zip(cells, widths, strict=True))
        return f"{first:{left}}{between}{last:>8}".rstrip()

    lines = [line("true", names, "right")]
    for i, row in enumerate(confusion.tolist()):
        share = f"{row[i] / sum(row):.0%}" if sum(row) else ""
        lines.append(line(names[i], [str(count or ".") for count in row], share))
    return "\n".join(lines)


def _worst_text(classes: tuple[str, ...], confusion: NDArray[np.int64]) -> str:
    counts = confusion.tolist()
    pairs = [(i, j) for i in range(len(counts)) for j in range(len(counts)) if i != j]
    worst = sorted(pairs, key=lambda pair: -int(counts[pair[0]][pair[1]]))[:10]
    lines = [
        f"  {classes[i]} taken for {classes[j]}: {counts[i][j]} of {sum(counts[i])}"
        for i, j in worst
        if counts[i][j]
    ]
    return "\n".join(["Most often wrong:", *lines]) if lines else "None is wrong."
