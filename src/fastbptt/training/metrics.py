"""Metrics: by name, or any function of targets and outputs."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .. import _core, _targets
from .._errors import ArgumentError, ArgumentTypeError
from .._losses import CustomLoss, Loss, Losses

Function: TypeAlias = Callable[..., float]
_Several: TypeAlias = "str | Function | Iterable[str | Function]"
#: What an argument `metrics` may be; with `Losses` a mapping.
MetricsLike: TypeAlias = "_Several | Mapping[str, _Several]"


class Metric(NamedTuple):
    """A function of targets and outputs.

    Attributes
    ----------
    name : str
        The name that `fit`, `evaluate` and the command line know it by.
    function : callable
        Takes targets and outputs, returns a number.
    larger_is_better : bool
    targets : {"classes", "numbers", "quantiles"} or None
        The targets that it suits, those of a loss whose outputs decide between classes or labels,
        of one that predicts numbers, or of one that predicts quantiles of them; None: unknown, any
        are accepted.
    title : str
        Its name in plots, reports and tables; by default `name` with spaces for underscores.
    format_spec : str
        How the report's headline writes it, a format specification.
    takes : {"outputs", "predictions", "quantiles", "numbers", "classes", "scores", ...}
        The second argument of the function: the model's outputs, with `y` as the loss has it; by
        the inverse link predictions, one for each target, (n, targets); quantiles (n, targets,
        levels), and as third argument their levels; or, as scikit-learn's functions have them,
        with `y` of shape (n,) or (n, outputs): predicted numbers; predicted classes; scores, of
        two classes those of the second, of several their probabilities; the same as logits,
        ``"decisions"``; or as ``"probabilities"``.
    block : str
        The block of outputs that it is of, if there are several; `name` begins with it then.
    """

    name: str
    function: Callable[..., float]
    larger_is_better: bool = True
    targets: str | None = None
    title: str = ""
    format_spec: str = ".3g"
    takes: str = "outputs"
    block: str = ""

    def parameter(self, name: str) -> Any:
        """Return the value that a parameter of the function has, by default or in a partial."""
        try:
            parameters = inspect.signature(self.function).parameters
        except (TypeError, ValueError):
            return None
        return parameters[name].default if name in parameters else None


def accuracy(
    y: NDArray[Any], outputs: NDArray[Any], sample_weight: NDArray[Any] | None = None
) -> float:
    """Fraction of time steps classified correctly.

    Parameters
    ----------
    y : array (n,) of classes, or (n, outputs) or (n,) of numbers in [0, 1]
    outputs : array (n, outputs)
        For classes, the largest output is the prediction. Otherwise an output above 0 (a
        probability above one half) predicts 1, and each output counts separately.
    sample_weight : array (n,), optional

    Examples
    --------
    >>> import numpy as np
    >>> from fastbptt.training.metrics import accuracy
    >>> accuracy(np.array([0, 1]), np.array([[2.0, 1.0], [0.5, 0.1]]))
    0.5
    """
    y, guessed = _decided(y, outputs)
    return _mean(y == guessed, sample_weight)


def balanced_accuracy(
    y: NDArray[Any], outputs: NDArray[Any], sample_weight: NDArray[Any] | None = None
) -> float:
    """Mean over the classes in `y` of the fraction classified correctly, as in `accuracy`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbptt.training.metrics import balanced_accuracy
    >>> balanced_accuracy(np.array([0, 0, 0, 1]), np.array([[-1.0], [-1.0], [-1.0], [-1.0]]))
    0.5
    """
    y, guessed = _decided(y, outputs)
    weights = np.ones(len(y)) if sample_weight is None else sample_weight
    weights = np.broadcast_to(weights.reshape(-1, *[1] * (y.ndim - 1)), y.shape)
    classes = [(weights[y == one], guessed[y == one] == one) for one in np.unique(y)]
    return float(np.mean([weight @ right / weight.sum() for weight, right in classes]))


def mae(y: NDArray[Any], outputs: NDArray[Any], sample_weight: NDArray[Any] | None = None) -> float:
    """Mean absolute error over all steps and outputs.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbptt.training.metrics import mae
    >>> mae(np.array([1.0, 2.0]), np.array([[1.0], [4.0]]))
    1.0
    """
    return _mean(np.abs(_errors(y, outputs)), sample_weight)


def rmse(
    y: NDArray[Any], outputs: NDArray[Any], sample_weight: NDArray[Any] | None = None
) -> float:
    """Root of the mean squared error over all steps and outputs.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbptt.training.metrics import rmse
    >>> rmse(np.array([1.0, 2.0]), np.array([[4.0], [6.0]])) == 12.5 ** 0.5
    True
    """
    return float(np.sqrt(_mean(np.square(_errors(y, outputs)), sample_weight)))


def r2(y: NDArray[Any], outputs: NDArray[Any], sample_weight: NDArray[Any] | None = None) -> float:
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
    weights = np.ones(len(outputs)) if sample_weight is None else sample_weight
    left = weights @ np.square(_errors(y, outputs))
    y = np.asarray(y, np.float64).reshape(outputs.shape)
    whole = weights @ np.square(y - np.average(y, axis=0, weights=weights))
    flat = whole == 0.0
    explained = np.where(flat, left == 0.0, 1.0 - left / np.where(flat, 1.0, whole))
    return float(explained.mean())


def crossing(
    y: NDArray[Any],
    quantiles: NDArray[Any],
    levels: tuple[float, ...],
    sample_weight: NDArray[Any] | None = None,
) -> float:
    """Fraction of the pairs of neighbouring levels whose quantiles are in the wrong order.

    Parameters
    ----------
    y : array (n, targets)
    quantiles : array (n, targets, levels)
    levels : tuple of float
        Rising.
    sample_weight : array (n,), optional

    Examples
    --------
    >>> import numpy as np
    >>> from fastbptt.training.metrics import crossing
    >>> crossing(np.zeros((1, 1)), np.array([[[1.0, 3.0, 2.0]]]), (0.1, 0.5, 0.9))
    0.5
    """
    if len(levels) == 1:
        return 0.0
    return _mean(np.diff(quantiles, axis=-1) < 0.0, sample_weight)


def coverage_error(
    y: NDArray[Any],
    quantiles: NDArray[Any],
    levels: tuple[float, ...],
    sample_weight: NDArray[Any] | None = None,
) -> float:
    """Largest difference, over the levels, of the fraction of targets up to the quantile from it.

    Parameters
    ----------
    y, quantiles, levels, sample_weight
        As for `crossing`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbptt.training.metrics import coverage_error
    >>> y = np.array([[1.0], [2.0], [3.0], [4.0]])
    >>> coverage_error(y, np.full((4, 1, 1), 3.5), (0.5,))
    0.25
    """
    below = np.average(y[..., np.newaxis] <= quantiles, axis=0, weights=sample_weight)
    fractions = below.reshape(-1, len(levels)).mean(axis=0)
    return float(np.abs(fractions - np.array(levels)).max())


def _mean(values: NDArray[Any], weights: NDArray[Any] | None) -> float:
    """Average over outputs, and over steps by their weights."""
    if weights is None:
        return float(values.mean())
    per_step = values.reshape(len(values), -1).mean(axis=1)
    return float(weights @ per_step / weights.sum())


def _decided(y: NDArray[Any], outputs: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    if y.ndim < outputs.ndim and outputs.shape[-1] > 1:
        count = outputs.shape[-1]
        _refuse(y, (y < 0) | (y >= count) | (y != np.floor(y)), f"classes 0 to {count - 1}")
        return y, outputs.argmax(axis=-1)
    y = y.reshape(outputs.shape)
    _refuse(y, ~((y >= 0) & (y <= 1)), "0 and 1, or numbers between them")
    return y > 0.5, outputs > 0.0


def _refuse(y: NDArray[Any], wrong: NDArray[np.bool_], expected: str) -> None:
    if wrong.any():
        raise ArgumentError("y", f"holds {y[wrong][0].item()}", expected)


def _errors(y: NDArray[Any], outputs: NDArray[Any]) -> NDArray[np.float64]:
    errors: NDArray[np.float64] = outputs.astype(np.float64) - y.reshape(outputs.shape)
    return errors


#: Metrics by name. The first for each kind of targets is the headline of a report.
METRICS: Final[dict[str, Metric]] = {
    metric.name: metric
    for metric in (
        Metric("accuracy", accuracy, True, "classes", format_spec=".1%"),
        Metric("balanced_accuracy", balanced_accuracy, True, "classes"),
        Metric("rmse", rmse, False, "numbers", "RMSE", takes="predictions"),
        Metric("mae", mae, False, "numbers", "mean absolute error", takes="predictions"),
        Metric("r2", r2, True, "numbers", "R2", takes="predictions"),
        Metric("coverage_error", coverage_error, False, "quantiles", takes="quantiles"),
        Metric("crossing", crossing, False, "quantiles", "crossing quantiles", takes="quantiles"),
    )
}


def suited(loss: Loss) -> list[str]:
    """Name the metrics for what a loss predicts."""
    kinds = _kinds(loss)
    return [name for name, metric in METRICS.items() if metric.targets in kinds]


def _kinds(loss: Loss) -> tuple[str, ...]:
    """Name what a loss predicts, as `Metric.targets` does."""
    if loss.levels is None:
        return (loss.predicts,)
    return ("numbers", "quantiles") if 0.5 in loss.levels else ("quantiles",)


def title(curve: str) -> str:
    """Name a curve of a history, of the loss or a metric, for plots, reports and tables."""
    block, _, name = curve.removeprefix("validation_").rpartition(".")
    known = METRICS.get(name)
    own = (known and known.title) or name.replace("_", " ")
    return f"{block}: {own}" if block else own


def check(
    metrics: Sequence[Metric], loss: Loss | CustomLoss, weighted: bool = False, outputs: int = 1
) -> None:
    """Refuse metrics that make no sense with a loss, or take no weights where there are some.

    Raises
    ------
    ArgumentError
        A metric of classes needs a loss whose outputs decide between them, one of numbers needs
        targets that are numbers, which those of ``"bce"`` are as well, and one of quantiles a loss
        of quantiles. Of these, numbers have a prediction if the median is among them. With weights
        other than 0 and one other number, a metric needs a parameter `sample_weight`.
    """
    for i, metric in enumerate(metrics):
        if weighted and not _takes_weights(metric.function):
            raise ArgumentError(
                "metrics",
                f'is "{metric.name}", which takes no weights',
                "a function with a parameter sample_weight, as those of sklearn.metrics have, "
                "because targets have different weights",
                item=i,
            )
        if isinstance(loss, CustomLoss):
            if metric.targets is None:
                continue
            raise ArgumentError(
                "metrics",
                f'is "{metric.name}", of {metric.targets}, but what the outputs are is known only '
                "to loss, a function",
                "a function of yours of targets and outputs",
                item=i,
            )
        if metric.takes == "probabilities" and loss.link == "sign":
            raise ArgumentError(
                "metrics",
                f'is "{metric.name}", of probabilities, but the loss "{loss}" has none',
                'the loss "bce"',
                item=i,
            )
        labels = outputs if loss.predicts == "classes" and loss.targets == "numbers" else 1
        if metric.takes == "probabilities" and labels > 1:
            raise ArgumentError(
                "metrics",
                f'is "{metric.name}", of the probabilities of one class, but y has {labels} labels '
                "that do not exclude each other",
                "a function of yours of targets and outputs",
                item=i,
            )
        if metric.targets is None or _suits(metric, loss):
            _check_level(metric, loss, i)
            continue
        if metric.targets == "numbers":
            loss.check_point()
        others = [f'"{one.name}"' for one in map(Loss, _core.losses()) if _suits(metric, one)]
        known = ", ".join(f'"{name}"' for name in suited(loss))
        raise ArgumentError(
            "metrics",
            f'is "{metric.name}", of {metric.targets}, but the loss "{loss}" is of '
            f"{_kinds(loss)[-1]}",
            f"{known}, or one of the losses {', '.join(others)}",
            item=i,
        )


def _check_level(metric: Metric, loss: Loss, i: int) -> None:
    """Refuse scikit-learn's loss of a quantile for the median, unless that is the quantile."""
    alpha = metric.parameter("alpha") if "pinball" in metric.name else None
    if metric.takes == "numbers" and alpha is not None and loss.levels and alpha != 0.5:
        raise ArgumentError(
            "metrics",
            f'is "{metric.name}" with alpha={alpha}, but it is given the median of the loss '
            f'"{loss}"',
            'alpha=0.5, or the metric "coverage_error"; the loss itself is the mean pinball loss '
            "of all levels",
            item=i,
        )


def _suits(metric: Metric, loss: Loss) -> bool:
    # zeros and ones are numbers, too
    return metric.targets in _kinds(loss) or (
        metric.targets == loss.targets and loss.predicts == "classes"
    )


def _takes_weights(function: Function) -> bool:
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False
    return "sample_weight" in parameters or any(
        one.kind is one.VAR_KEYWORD for one in parameters.values()
    )


def value(
    metric: Metric,
    y: NDArray[Any],
    outputs: NDArray[Any],
    loss: Loss | CustomLoss,
    weights: NDArray[np.float64] | None = None,
) -> float:
    """Compute a metric.

    Parameters
    ----------
    metric : Metric
    y : array (n,) of classes, or (n, outputs)
        As the loss has them.
    outputs : array (n, outputs)
    loss : Loss
    weights : array (n,), optional

    Raises
    ------
    ValueError, TypeError
        If the function fails, or returns no number, with its name and its arguments.
    """
    y, given = _arguments(metric, y, outputs, loss)
    try:
        more = (loss.levels,) if metric.takes == "quantiles" else ()  # type: ignore[union-attr]
        if weights is None:
            result = metric.function(y, given, *more)
        else:
            result = metric.function(y, given, *more, sample_weight=weights)
    except (ValueError, TypeError, LookupError, ArithmeticError) as error:
        what = metric.takes
        if what == "outputs" and loss.predicts == "classes":
            what = "outputs (logits, not classes)"
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(
            f'metric "{metric.name}" failed: {error} (it was given y, {_described(y)}, and the '
            f"model's {what}, {_described(given)})"
        ) from error
    try:
        return float(result)
    except (TypeError, ValueError):
        raise TypeError(
            f'metric "{metric.name}" returned {_described(result)}; expected a number'
        ) from None


def _described(found: Any) -> str:
    """Describe a value without printing an array."""
    if isinstance(found, np.generic):
        found = found.item()
    if not isinstance(found, np.ndarray):
        text = repr(found)
        return text if len(text) <= 60 else f"a {type(found).__name__}"
    return f"{found.dtype} of shape {found.shape}"


def _arguments(
    metric: Metric, y: NDArray[Any], outputs: NDArray[Any], loss: Loss | CustomLoss
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Give a metric what it takes."""
    if isinstance(loss, CustomLoss):
        return y, outputs
    if metric.takes == "outputs":
        return (loss.labels(y) if metric.targets == "classes" else y), outputs
    if metric.takes == "predictions":
        return y, loss.point(outputs)
    if metric.takes == "quantiles":
        return y, loss.predictions(outputs).reshape(*y.shape, -1)
    width = outputs.shape[-1]
    if metric.takes == "numbers":
        outputs = loss.point(outputs)
        return (y[:, 0], outputs[:, 0]) if outputs.shape[-1] == 1 else (y, outputs)
    if loss.targets == "numbers":  # zeros and ones, for one output or for each of several
        y = loss.labels(y)
        if not _targets.is_zero_or_one(y):
            other = y[(y != 0) & (y != 1)][0].item()
            raise ArgumentError("y", f"holds {other}", f'0 and 1 for the metric "{metric.name}"')
        y = y.astype(np.int64)
        if width == 1:
            y, outputs = y[:, 0], outputs[:, 0]
        if metric.takes == "classes":
            return y, (outputs > 0.0).astype(np.int64)
        return y, loss.predictions(outputs) if metric.takes == "probabilities" else outputs
    if metric.takes == "classes":
        return y, outputs.argmax(axis=-1)
    if width == 2:
        if metric.takes == "probabilities":
            return y, loss.predictions(outputs)[:, 1]
        return y, outputs[:, 1] - outputs[:, 0]
    return y, outputs if metric.takes == "decisions" else loss.predictions(outputs)


# What functions of sklearn.metrics take, where it is not what their module takes.
_OF_SKLEARN: Final = {
    "_classification": ("classes", "classes"),
    "_ranking": ("classes", "scores"),
    "_regression": ("numbers", "numbers"),
    "brier_score_loss": ("classes", "probabilities"),
    "d2_brier_score": ("classes", "probabilities"),
    "d2_log_loss_score": ("classes", "probabilities"),
    "hinge_loss": ("classes", "decisions"),
    "log_loss": ("classes", "probabilities"),
}


def _metric(given: Any, place: str) -> Metric:
    """Make a metric of a function, which may be one of sklearn.metrics, or a partial of one."""
    inner = given
    while isinstance(inner, functools.partial):
        inner = inner.func
    name = getattr(inner, "__name__", type(inner).__name__)
    module = str(getattr(inner, "__module__", ""))
    if module.startswith("sklearn.metrics."):
        if not hasattr(inner, "__name__"):
            raise ArgumentTypeError(
                place,
                "is a scorer of scikit-learn, which calls an estimator",
                "a function of targets and predictions, such as sklearn.metrics.f1_score",
            )
        about = _OF_SKLEARN.get(name) or _OF_SKLEARN.get(module.rpartition(".")[2])
        if about is not None:
            # scikit-learn's naming convention: of these, smaller is better
            smaller = name.endswith(("_loss", "_error", "_deviance"))
            return Metric(name, given, not smaller, about[0], takes=about[1])
    larger = getattr(given, "larger_is_better", getattr(inner, "larger_is_better", True))
    return Metric(name, given, bool(larger))


def resolve_blocks(given: Any, losses: Losses) -> tuple[Metric, ...]:
    """Look up the metrics of several blocks, given by name of the block: ``block.metric``."""
    blocks = ", ".join(losses.losses)
    if not isinstance(given, Mapping):
        if isinstance(given, Collection) and not given:
            return ()
        expected = f"a mapping with the metrics of some of the blocks {blocks}"
        raise ArgumentTypeError("metrics", f"is {_described(given)}", expected)
    found = []
    for name, own in given.items():
        if name not in losses.losses:
            raise ArgumentError("metrics", f"has {name!r}", f"some of the blocks {blocks}")
        every = resolve(own, f'metrics["{name}"]')
        found += [one._replace(name=f"{name}.{one.name}", block=name) for one in every]
    return tuple(found)


def check_blocks(metrics: Sequence[Metric], losses: Losses, differ: Mapping[str, bool]) -> None:
    """Do for each block what `check` does for one. differ: which have different weights."""
    for name, loss in losses.losses.items():
        own = [metric for metric in metrics if metric.block == name]
        try:
            check(own, loss, differ[name], losses.outputs[name])
        except ArgumentError as error:
            if error.argument == "metrics":
                error.argument = f'metrics["{name}"]'
            raise


def resolve(given: Any, argument: str = "metrics") -> tuple[Metric, ...]:
    """Look up metrics by name; wrap functions under their own names.

    argument: its name in messages.
    """
    if isinstance(given, Mapping):
        raise ArgumentTypeError(
            argument, "is a mapping", "names and functions, unless loss is a fastbptt.Losses"
        )
    alone = isinstance(given, str) or callable(given)
    try:
        every = [given] if alone else list(given)
    except TypeError:
        raise ArgumentTypeError(
            argument, f"is {_described(given)}", "names and functions"
        ) from None
    found: list[Metric] = []
    for i, one in enumerate(every):
        place = argument if alone else f"{argument}[{i}]"
        if isinstance(one, str):
            if one not in METRICS:
                names = ", ".join(f'"{name}"' for name in METRICS)
                raise ArgumentError(place, f'is "{one}"', f"one of {names}, or a function")
            metric = METRICS[one]
        elif isinstance(one, Metric):
            metric = one
        elif callable(one):
            metric = _metric(one, place)
        else:
            raise ArgumentTypeError(place, f"is {_described(one)}", "a name or a function")
        if metric.name in ("loss", "lr", "seconds") or metric.name.startswith("validation_"):
            raise ArgumentError(place, f'is called "{metric.name}"', "another name")
        if any(metric.name == other.name for other in found):
            raise ArgumentError(argument, f'has "{metric.name}" twice', "each name once")
        found.append(metric)
    return tuple(found)
