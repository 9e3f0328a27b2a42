"""Metrics: by name, or any function of targets and outputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Function: TypeAlias = Callable[[NDArray[Any], NDArray[Any]], float]


class Metric(NamedTuple):
    """A function of targets and outputs.

    Attributes
    ----------
    name : str
        The name that `fit`, `evaluate` and the command line know it by.
    function : callable
        Takes targets and outputs, returns a number.
    larger_is_better : bool
    targets : {"classes", "numbers"} or None
        The targets that it suits; None: unknown, any are accepted.
    title : str
        Its name in plots, reports and tables; by default `name` with spaces for underscores.
    format_spec : str
        How the report's headline writes it, a format specification.
    """

    name: str
    function: Function
    larger_is_better: bool = True
    targets: str | None = None
    title: str = ""
    format_spec: str = ".3g"


def accuracy(y: NDArray[Any], outputs: NDArray[Any]) -> float:
    """Fraction of time steps classified correctly.

    Parameters
    ----------
    y : array (n,) of classes, or (n, outputs) or (n,) of numbers in [0, 1]
    outputs : array (n, outputs)
        For classes, the largest output is the prediction. Otherwise an output above 0 (a
        probability above one half) predicts 1, and each output counts separately.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbptt.training.metrics import accuracy
    >>> accuracy(np.array([0, 1]), np.array([[2.0, 1.0], [0.5, 0.1]]))
    0.5
    """
    y, guessed = _decided(y, outputs)
    return float((y == guessed).mean())


def balanced_accuracy(y: NDArray[Any], outputs: NDArray[Any]) -> float:
    """Mean over the classes in `y` of the fraction classified correctly, as in `accuracy`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbptt.training.metrics import balanced_accuracy
    >>> balanced_accuracy(np.array([0, 0, 0, 1]), np.array([[-1.0], [-1.0], [-1.0], [-1.0]]))
    0.5
    """
    y, guessed = _decided(y, outputs)
    return float(np.mean([(guessed[y == one] == one).mean() for one in np.unique(y)]))


def mae(y: NDArray[Any], outputs: NDArray[Any]) -> float:
    """Mean absolute error over all steps and outputs.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbptt.training.metrics import mae
    >>> mae(np.array([1.0, 2.0]), np.array([[1.0], [4.0]]))
    1.0
    """
    return float(np.abs(_errors(y, outputs)).mean())


def rmse(y: NDArray[Any], outputs: NDArray[Any]) -> float:
    """Root of the mean squared error over all steps and outputs.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbptt.training.metrics import rmse
    >>> rmse(np.array([1.0, 2.0]), np.array([[4.0], [6.0]])) == 12.5 ** 0.5
    True
    """
    return float(np.sqrt(np.square(_errors(y, outputs)).mean()))


def r2(y: NDArray[Any], outputs: NDArray[Any]) -> float:
    """Coefficient of determination, 1 - sum((y - z)^2) / sum((y - mean(y))^2).

    Averaged over the outputs. An output with constant targets counts 1 if it is exactly
    right, else 0.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbptt.training.metrics import r2
    >>> r2(np.array([1.0, 3.0]), np.array([[2.0], [2.0]]))
    0.0
    """
    left = np.square(_errors(y, outputs)).sum(axis=0)
    y = np.asarray(y, np.float64).reshape(outputs.shape)
    whole = np.square(y - y.mean(axis=0)).sum(axis=0)
    flat = whole == 0.0
    explained = np.where(flat, left == 0.0, 1.0 - left / np.where(flat, 1.0, whole))
    return float(explained.mean())


def _decided(y: NDArray[Any], outputs: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    if y.ndim < outputs.ndim and outputs.shape[-1] > 1:
        return y, outputs.argmax(axis=-1)
    return y.reshape(outputs.shape) > 0.5, outputs > 0.0


def _errors(y: NDArray[Any], outputs: NDArray[Any]) -> NDArray[np.float64]:
    errors: NDArray[np.float64] = outputs.astype(np.float64) - y.reshape(outputs.shape)
    return errors


#: Metrics by name. The first for each kind of targets is the headline of a report.
METRICS: Final[dict[str, Metric]] = {
    metric.name: metric
    for metric in (
        Metric("accuracy", accuracy, True, "classes", format_spec=".1%"),
        Metric("balanced_accuracy", balanced_accuracy, True, "classes"),
        Metric("rmse", rmse, False, "numbers", "RMSE"),
        Metric("mae", mae, False, "numbers", "mean absolute error"),
        Metric("r2", r2, True, "numbers", "R2"),
    )
}


def suited(targets: str) -> list[str]:
    """Name the metrics for targets that are "classes" or "numbers"."""
    return [name for name, metric in METRICS.items() if metric.targets == targets]


def title(curve: str) -> str:
    """Name a curve of a history, of the loss or a metric, for plots, reports and tables."""
    name = curve.removeprefix("validation_")
    known = METRICS.get(name)
    return (known and known.title) or name.replace("_", " ")


def resolve(given: Any) -> tuple[Metric, ...]:
    """Look up metrics by name; wrap functions under their own names."""
    if isinstance(given, str) or callable(given):
        given = [given]
    try:
        every = list(given)
    except TypeError:
        raise TypeError(f"metrics is {given!r}; expected names and functions") from None
    found: list[Metric] = []
    for i, one in enumerate(every):
        if isinstance(one, str):
            if one not in METRICS:
                names = ", ".join(f'"{name}"' for name in METRICS)
                raise ValueError(f'metrics[{i}] is "{one}"; expected one of {names}, or a function')
            metric = METRICS[one]
        elif isinstance(one, Metric):
            metric = one
        elif callable(one):
            name = getattr(one, "__name__", type(one).__name__)
            metric = Metric(name, one, bool(getattr(one, "larger_is_better", True)))
        else:
            raise TypeError(f"metrics[{i}] is {one!r}; expected a name or a function")
        if metric.name in ("loss", "lr", "seconds") or metric.name.startswith("validation_"):
            raise ValueError(f'metrics[{i}] is called "{metric.name}"; expected another name')
        if any(metric.name == other.name for other in found):
            raise ValueError(f'metrics has "{metric.name}" twice; expected each name once')
        found.append(metric)
    return tuple(found)
