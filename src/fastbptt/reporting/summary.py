"""The numbers of a report, before any is written or plotted."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _check, _core, _losses, _targets
from .._cell_info import cell_info
from .._errors import ArgumentError
from ..plot._helpers import decide, steps_of
from ..plot.unrolled import check_vocabulary

if TYPE_CHECKING:
    from .._losses import Loss, LossLike
    from ..diagnostics import Diagnosis
    from ..models.cells import Recurrent
    from ..training import History

__all__ = ["Speed", "Summary", "gather"]

_DIAGNOSED: Final = 64  # sequences whose gradients are computed
_BATCH: Final = 32  # sequences in the timed step
_SECONDS: Final = 0.4  # duration of each measurement
MOST_CLASSES: Final = 10  # with examples of them
_FEW: Final = 3  # sequences of small, and of large, error
_PEAK_ROUNDS: Final = 20_000


class Speed(NamedTuple):
    """Times on this machine, the best of some rounds.

    Attributes
    ----------
    batch : int
        Sequences of the step.
    steps : int
        Their time steps in total.
    train_seconds, predict_seconds, single_seconds : float
        For a training step with Adam, a prediction of the same batch, a prediction of one sequence.
    share_of_peak : float or None
        Of the processor's peak rate of multiply-adds, counting the operations that a training step
        needs; None for tokens. Above 1 if exact zeros among the gradients save operations.
    """

    batch: int
    steps: int
    train_seconds: float
    predict_seconds: float
    single_seconds: float
    share_of_peak: float | None


@dataclass
class Summary:
    """Everything that a report can show."""

    model: Recurrent
    x: list[NDArray[Any]]
    y: list[Any]
    lengths: NDArray[np.int64]
    static: NDArray[Any] | None
    loss: Loss
    steps: str
    classes: list[str] | None  # their names, for classification
    labels: bool  # whether the targets are several labels, each 0 or 1
    feature_names: list[str] | None
    ids: list[str]
    history: History | None
    monitor: Any
    horizon: int | None
    series: list[str] | None
    vocabulary: Sequence[str] | None  # the word of each token
    outputs: list[NDArray[Any]]  # for each sequence (O,), or (T_i, O); without classes predictions
    metrics: dict[str, float]
    diagnosis: Diagnosis
    speed: Speed
    source: str | None
    settings: dict[str, Any]

    @property
    def tokens(self) -> bool:
        """Whether the inputs are tokens."""
        return self.model.vocabulary_size is not None

    def static_of(self, sequence: int) -> NDArray[Any] | None:
        """Return the constants of one sequence as those of a batch of its own."""
        return None if self.static is None else self.static[sequence : sequence + 1]

    def truths(self) -> NDArray[np.int64]:
        """Return the true class of each sequence or step."""
        return np.concatenate([np.asarray(one).reshape(-1) for one in self.y]).astype(np.int64)

    def predictions(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the predicted class of each sequence or step, and the confidence."""
        width = self.outputs[0].shape[-1]
        return decide(np.concatenate([one.reshape(-1, width) for one in self.outputs]))

    def examples_by_class(self) -> tuple[list[int], list[int]]:
        """Choose one right and one wrong sequence of each class, if there are any.

        The right one has the median of the confidences, the wrong one the highest. Of many classes
        those with most sequences.
        """
        truth, (predicted, confidence) = self.truths(), self.predictions()
        counts = np.bincount(truth)
        common = np.argsort(-counts, kind="stable")[:MOST_CLASSES]
        right, wrong = [], []
        for each in np.sort(common[counts[common] > 0]):
            own = np.flatnonzero(truth == each)
            own = own[np.argsort(-confidence[own], kind="stable")]
            hits, misses = own[predicted[own] == each], own[predicted[own] != each]
            right += [int(i) for i in hits[len(hits) // 2 :][:1]]
            wrong += [int(i) for i in misses[:1]]
        return right, wrong

    def sequence_errors(self) -> NDArray[np.float64]:
        """Return the mean square error of each sequence; with classes its fraction of errors."""
        if self.classes is None:
            return np.array([np.mean(np.square(one)) for one in self.residuals()])
        wrong = self.predictions()[0] != self.truths()
        ends = np.cumsum([np.size(one) for one in self.y])[:-1]
        return np.array([one.mean() for one in np.split(wrong, ends)])

    def residuals(self) -> list[NDArray[np.float64]]:
        """Return predicted minus true numbers of each sequence."""
        return [
            np.asarray(output, np.float64) - np.asarray(target, np.float64).reshape(output.shape)
            for output, target in zip(self.outputs, self.y, strict=True)
        ]

    def ranked(self) -> list[int]:
        """Choose sequences of the smallest and of the largest errors, in this order."""
        order = [int(i) for i in np.argsort(self.sequence_errors(), kind="stable")]
        return order if len(order) <= 2 * _FEW else order[:_FEW] + order[-_FEW:]

    def example(self) -> int:
        """Choose the sequence of the largest error: with classes the most confident mistake."""
        if self.classes is None or self.steps == "all":
            return self.ranked()[-1]
        truth, (predicted, confidence) = self.truths(), self.predictions()
        wrong = np.flatnonzero(truth != predicted)
        return int(wrong[np.argmax(confidence[wrong])]) if len(wrong) else 0


def gather(
    model: Recurrent,
    x: Any,
    y: Any,
    *,
    lengths: ArrayLike | None,
    static: ArrayLike | None = None,
    loss: LossLike | None,
    steps: str | None,
    class_names: Sequence[str] | None,
    feature_names: Sequence[str] | None,
    ids: Sequence[str] | None,
    horizon: int | None,
    series: Sequence[str] | None,
    vocabulary: Sequence[str] | None,
    history: Any,
    monitor: Any,
) -> Summary:
    """Compute everything; missing arguments come from ``model.metadata`` or from the data."""
    from ..diagnostics import diagnose
    from ..training import History, evaluate, predict
    from ..training.evaluation import readout_of
    from ..training.labelled import objective_of
    from ..training.metrics import suited

    metadata = model.metadata
    steps = steps or metadata.get("steps") or readout_of(model, None)
    if loss is None and metadata.get("loss"):
        loss = _losses.parse(metadata["loss"])
    chosen, _ = objective_of(model, y, loss, steps, lengths)
    given = None if lengths is None else np.asarray(lengths)
    chosen.check_point()
    names = suited(chosen)
    constants = None if static is None else np.asarray(static)
    metrics = evaluate(
        model, x, y, loss=chosen, steps=steps, metrics=names, lengths=given, static=constants
    )
    target = _targets.decide(y, model._input_spec.width, steps, given, chosen)
    by_class = target.kind in ("binary", "classes")
    if class_names is None:
        class_names = metadata.get("classes")
    elif not by_class:
        raise ArgumentError("class_names", "is given", f"None: y holds {target.kind}")
    if feature_names is not None and model.vocabulary_size is not None:
        raise ArgumentError("feature_names", "is given", "None: tokens have no features")
    check_vocabulary(model, vocabulary)
    if ids is not None and len(ids) != len(x):
        raise ArgumentError("ids", f"has {len(ids)} names", f"{len(x)}, one for each sequence")
    outputs = predict(model, x, lengths=given, static=constants, steps=steps)
    width = np.shape(outputs[0])[-1]
    counted = chosen.targets_of(width)
    _check_forecast(horizon, series, steps, by_class, len(x), counted)
    ends = np.array(steps_of(x, given), np.int64)
    picked = np.unique(np.linspace(0, len(ends) - 1, _DIAGNOSED).astype(np.int64))
    items = [np.asarray(one)[:end] for one, end in zip(x, ends, strict=True)]
    targets = [np.asarray(one) for one in y]
    if steps == "all":
        targets = [one[:end] for one, end in zip(targets, ends, strict=True)]
        outputs = [one[:end] for one, end in zip(outputs, ends, strict=True)]
    if not by_class:
        outputs = [chosen.point(one) for one in outputs]
    some_x = [items[i] for i in picked]
    some_y: Any = [targets[i] for i in picked]
    if steps != "all":
        some_y = np.stack(some_y)
    some_static = None if constants is None else constants[picked]
    if by_class:
        count = max(model.output_size or 2, 2)
        class_names = [str(i) for i in range(count)] if class_names is None else class_names
    if history is None and metadata.get("history"):
        history = History.from_dict(metadata["history"])
    found_names = metadata.get("feature_names") if feature_names is None else feature_names
    return Summary(
        model=model,
        x=items,
        y=targets,
        lengths=ends,
        loss=chosen,
        steps=steps,
        classes=[str(name) for name in class_names] if by_class and class_names else None,
        labels=target.kind == "labels",
        feature_names=[str(name) for name in found_names] if found_names else None,
        ids=[str(i) for i in (range(len(items)) if ids is None else ids)],
        history=history,
        monitor=monitor,
        horizon=horizon,
        series=None if series is None else [str(name) for name in series],
        vocabulary=vocabulary,
        outputs=list(outputs),
        metrics=metrics,
        static=constants,
        diagnosis=diagnose(
            model, some_x, some_y, chosen, steps, static=some_static, history=history
        ),
        speed=_speed(
            model,
            some_x[:_BATCH],
            some_y[:_BATCH],
            chosen,
            steps,
            None if some_static is None else some_static[:_BATCH],
        ),
        source=metadata.get("trained_on"),
        settings=dict(metadata.get("settings") or {}),
    )


def _check_forecast(
    horizon: Any, series: Any, steps: str, by_class: bool, count: int, outputs: int
) -> None:
    """Refuse a horizon and series of what is no forecast."""
    for name, value in (("horizon", horizon), ("series", series)):
        if value is not None and by_class:
            raise ArgumentError(name, "is given with classes", "None, or numbers to predict")
    if horizon is not None:
        if steps == "all":
            raise ArgumentError("horizon", 'is given with steps="all"', 'None, or steps="last"')
        if outputs % _check.size("horizon", horizon):
            raise ArgumentError("horizon", f"is {horizon}", f"a divisor of {outputs}, the outputs")
    if series is not None and len(series) != count:
        raise ArgumentError("series", f"has {len(series)} names", f"{count}, one per sequence")


def _speed(
    model: Recurrent, x: Any, y: Any, loss: Loss, steps: str, static: NDArray[Any] | None = None
) -> Speed:
    """Time a training step on a copy of the model, and predictions."""
    from ..bench.case import needed_flops
    from ..datasets import pad
    from ..optim.optimizers import Adam

    twin, adam = model.copy(), Adam(lr=0.0)
    padded, lengths = pad(x)
    if steps == "all":
        y = pad(y)[0]
    train = _best(
        lambda: twin.train_step(padded, y, adam, loss, steps, lengths=lengths, static=static)
    )
    predict = _best(lambda: model.forward(padded, lengths, static=static))
    first = None if static is None else static[:1]
    single = _best(lambda: model.forward(padded[:1, : lengths[0]], static=first))
    peak = None
    if model.vocabulary_size is None:
        rate = (
            max(_core.multiply_add_rate(model.dtype.name, _PEAK_ROUNDS) for _ in range(5))
            * _core.get_num_threads()
        )
        flops = needed_flops(
            cell_info(model.cell)["gates"],
            model.input_size,
            model.hidden_size,
            model.num_layers,
            1 + model.bidirectional,
            int(lengths.sum()),
        )
        peak = flops / train / rate
    return Speed(len(x), int(lengths.sum()), train, predict, single, peak)


def _best(call: Any) -> float:
    """Repeat a call for a while; return the shortest time, without the first call."""
    call()
    best, end = float("inf"), time.perf_counter() + _SECONDS
    while (start := time.perf_counter()) < end:
        call()
        best = min(best, time.perf_counter() - start)
    return best if best < float("inf") else _SECONDS
