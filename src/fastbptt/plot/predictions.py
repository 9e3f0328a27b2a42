"""Plots of predictions: the confusion matrix, sequences with predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _check
from .._errors import ArgumentError
from .._targets import is_zero_or_one
from . import _style
from ._helpers import class_label, decide, index, percent, steps_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["confusion", "sequences"]

_MOST_NUMBERS = 16  # classes up to which the cells of a confusion matrix hold their counts
_MOST_FEATURES = 12  # of a sequence; each has its own colour and dashes
_MOST_POINTS = 2000  # of one sequence that are drawn as lines in vector formats; more are pixels
_MOST_NAMES = 40  # classes up to which they are named at the axes


def confusion(
    y: ArrayLike,
    predictions: ArrayLike,
    class_names: Sequence[str] | None = None,
    *,
    ax: Axes | None = None,
) -> Axes:
    """Plot a confusion matrix.

    Colours are fractions of a row, so that rare classes are legible; the numbers are counts.

    Parameters
    ----------
    y : array of int, shape (sequences,) or (sequences, steps)
        The true classes, from 0.
    predictions : array of int of the shape of `y`, or of float with a further axis
        The predicted classes; or the model's outputs, one for each class, or a single one for
        two classes.
    class_names : sequence of str, optional
        The names of class 0, 1, ...
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib Axes
        Its first image holds the fractions, of shape (classes, classes); rows: true class,
        columns: predicted class.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError, TypeError
        Naming the argument, what came and what was expected.

    Examples
    --------
    >>> import fastbptt
    >>> ax = fastbptt.plot.confusion([0, 0, 1, 1], [0, 1, 1, 1], ["no", "yes"])
    >>> ax.images[0].get_array().tolist()
    [[0.5, 0.5], [0.0, 1.0]]
    """
    true, predicted = _classes(y, predictions)
    known = max(int(true.max(initial=0)), int(predicted.max(initial=0))) + 1
    count = known if class_names is None else len(class_names)
    if count < known:
        raise ValueError(f"class_names has {count} names; expected at least {known}")
    counts = np.zeros((count, count), np.int64)
    np.add.at(counts, (true, predicted), 1)
    fractions = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 2.3 + 0.14 * min(count, 16)
    with _style.drawing(ax, (min(side + 0.35, 4.8), min(side, 4.5))) as axes:
        image = axes.imshow(fractions, cmap="Blues", vmin=0.0, vmax=1.0)
        if count <= _MOST_NUMBERS:
            size = _style.points("small") * min(1.0, 11 / max(count, 1) + 0.15)
            for i, j in zip(*np.nonzero(counts), strict=True):
                axes.text(
                    j,
                    i,
                    f"{counts[i, j]}",
                    ha="center",
                    va="center",
                    fontsize=size,
                    color=_style.ON_DARK if fractions[i, j] > 0.55 else _style.ON_LIGHT,
                )
        _style.dress(axes, "predicted class", "true class", frame="")
        axes.tick_params(length=0)
        if count <= _MOST_NAMES:
            names = _style.shortened([class_label(class_names, i) for i in range(count)])
            texts = [_style.plain(name) for name in names]
            turned = max(map(len, texts)) > 3
            axes.set_xticks(
                range(count),
                texts,
                rotation=45 if turned else 0,
                ha="right" if turned else "center",
                rotation_mode="anchor",
            )
            axes.set_yticks(range(count), texts)
        _style.colour_bar(axes, image, "fraction of the true class", fixed=True)
        if ax is None:  # for Axes of a fixed aspect; the usual layout needs two draws
            figure: Any = axes.figure
            figure.set_layout_engine("compressed")
        right = float(np.trace(counts) / max(counts.sum(), 1))
        axes.set_title(
            f"{np.trace(counts)} of {counts.sum()} correct ({right:.1%})",
            fontsize="medium",
            fontweight="normal",
            color=_style.INK,
        )
        return axes


def _classes(y: ArrayLike, predictions: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return true and predicted classes as flat arrays."""
    true, predicted = np.asarray(y), np.asarray(predictions)
    if true.dtype.kind == "f" and (true == true.astype(np.int64)).all():
        true = true.astype(np.int64)  # 0.0 and 1.0, as "bce" has them
    if true.dtype.kind not in "iub":
        raise TypeError(f"y has dtype {true.dtype}; expected classes, whole numbers from 0")
    if predicted.dtype.kind == "f" and predicted.shape[:-1] == true.shape:
        predicted, _ = decide(predicted)
    if predicted.dtype.kind not in "iub" or predicted.shape != true.shape:
        raise ValueError(
            f"predictions has shape {predicted.shape} and dtype {predicted.dtype}; expected "
            f"classes of the shape of y, {true.shape}, or outputs with one axis more"
        )
    for name, values in (("y", true), ("predictions", predicted)):
        if values.size and values.min() < 0:
            raise ValueError(f"{name} has the class {values.min()}; expected classes from 0")
    return true.astype(np.int64).ravel(), predicted.astype(np.int64).ravel()


def sequences(
    x: Any,
    y: Any = None,
    predictions: Any = None,
    *,
    steps: str = "last",
    lengths: ArrayLike | None = None,
    examples: int | Sequence[int] = 4,
    class_names: Sequence[str] | None = None,
    feature_names: Sequence[str] | None = None,
    ids: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Plot sequences below each other, with targets and predictions.

    With classes or numbers for whole sequences, both stand beside each sequence; a wrong class is
    marked by a cross and another colour. With a number or class for each step, both are drawn over
    the sequence's features: the target as a broad band, the prediction as a dashed line.

    Parameters
    ----------
    x : array of shape (batch, time, features), or list of arrays (time_i, features)
        Or tokens, of shape (batch, time) or a list of (time_i,).
    y : array or list of arrays, optional
        Classes (int) or numbers (float) as for :meth:`~fastbptt.Recurrent.train_step`: for each
        sequence, or for each step.
    predictions : array or list of arrays, optional
        Outputs of the model: at the last step, of shape (batch, outputs); or at all steps, (batch,
        time, outputs) or a list of (time_i, outputs).
    steps : {"last", "all"}
        Whether there is one target and prediction for each sequence, or for each step.
    lengths : array of shape (batch,), optional
        Real steps of each sequence.
    examples : int or sequence of int, default 4
        The number of sequences to show, or their indices.
    class_names : sequence of str, optional
        The names of class 0, 1, ..., if `y` has a class for each sequence.
    feature_names : sequence of str, optional
        The names of the features for the legend; their numbers by default.
    ids : sequence of str, optional
        The names of all sequences; their numbers by default.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib Axes
        One row of unit height for each sequence, from top to bottom. The features of a sequence
        share one scale that fills its row. Of more than twelve features, those that vary most in
        the sequences shown are drawn; the legend says so.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError, TypeError
        Naming the argument, what came and what was expected.

    Examples
    --------
    >>> import numpy as np, fastbptt
    >>> model = fastbptt.RNN(3, 8, 2, seed=0)
    >>> x = np.random.default_rng(0).normal(size=(5, 20, 3))
    >>> out = model.forward(x)
    >>> ax = fastbptt.plot.sequences(x, [0, 1, 1, 0, 1], out.last, examples=[0, 3])
    >>> [text.get_text() for text in ax.get_yticklabels()]
    ['0', '3']
    """
    _check.option("steps", steps, _check.STEPS)
    ends = steps_of(x, lengths)
    if isinstance(examples, int):
        shown = list(range(min(examples, len(ends))))
    else:
        shown = [index(f"examples[{i}]", one, len(ends)) for i, one in enumerate(examples)]
    if not shown:
        raise ValueError(f"examples is {_check.shown(examples)}; expected at least one sequence")
    classes = y is None or _are_classes(y, steps, ends)
    if class_names is not None:
        if steps == "all" or y is None or not classes:
            raise ArgumentError("class_names", "is given", "None: no true class is named here")
        known = 1 + max(int(np.ravel(y[number])[0]) for number in shown)
        if predictions is not None:
            known = max(known, 2, np.size(predictions[shown[0]]))
        if len(class_names) < known:
            raise ArgumentError("class_names", f"has {len(class_names)} names", f"at least {known}")
    if ids is not None and len(ids) != len(ends):
        raise ArgumentError("ids", f"has {len(ids)} names", f"{len(ends)}, one for each sequence")
    values = [np.asarray(x[i], np.float64)[: ends[i]].reshape(ends[i], -1) for i in shown]
    features = _chosen_features(values, feature_names)
    verdicts = _Verdicts(classes, class_names)
    with _style.drawing(ax, (3.5, 0.55 + 0.6 * len(shown))) as axes:
        for row, number in enumerate(shown):
            end = ends[number]
            target = None if y is None else np.asarray(y[number])
            output = None if predictions is None else np.asarray(predictions[number], np.float64)
            _features(axes, values[row], row, features, quiet=steps == "all")
            if steps == "all":
                _each_step(axes, target, output, row, end, classes)
            else:
                text, colour = verdicts.of(target, output)
                axes.text(
                    1.02,
                    row,
                    _style.plain(text),
                    transform=axes.get_yaxis_transform(),
                    va="center",
                    fontsize="small",
                    color=colour,
                )
        names = _style.shortened([ids[i] if ids is not None else i for i in shown])
        _style.dress(axes, "time step t", "sequence", frame="b")
        axes.set_yticks(range(len(shown)), [_style.plain(name) for name in names])
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(len(shown) - 0.5, -0.5)
        axes.set_xlim(-0.5, max(ends[i] for i in shown) - 0.5)
        _style.whole_ticks(axes.xaxis)
        for row in range(1, len(shown)):
            _style.guide(axes, y=row - 0.5)
        width = values[0].shape[1]
        few = f"the {len(features)} of {width} features that vary most"
        _style.legend(
            axes,
            always=feature_names is not None,
            title=few if steps == "last" and len(features) < width else None,
        )
        return axes


def _chosen_features(
    values: Sequence[NDArray[np.float64]], feature_names: Sequence[str] | None
) -> dict[int, str]:
    """Choose the features that vary most in some sequences, with their names, in their order."""
    width = values[0].shape[1]
    if feature_names is not None and len(feature_names) != width:
        raise ValueError(f"feature_names has {len(feature_names)} names; expected {width}")
    spread = np.mean([np.nanstd(one, axis=0) for one in values], axis=0)
    chosen = np.sort(np.argsort(-spread, kind="stable")[:_MOST_FEATURES])
    known = [f"feature {i}" for i in range(width)] if feature_names is None else feature_names
    names = _style.shortened([known[i] for i in chosen])
    return {int(i): name for i, name in zip(chosen, names, strict=True)}


def _into_row(values: NDArray[np.float64], row: int, low: float, high: float) -> NDArray[Any]:
    """Scale numbers from low..high into a row, upwards; rows are counted downwards."""
    scaled: NDArray[Any] = row + 0.4 - 0.8 * (values - low) / ((high - low) or 1.0)
    return scaled


def _features(
    ax: Axes, values: NDArray[np.float64], row: int, features: dict[int, str], *, quiet: bool
) -> None:
    """Plot some features of a sequence, (steps, features); quietly: all in one grey."""
    finite = values[np.isfinite(values)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 1.0)
    many = len(values) * len(features) > _MOST_POINTS
    for i, (feature, name) in enumerate(features.items()):
        label = name if not quiet else "features" if i == 0 else "_feature"
        _style.curve(
            ax,
            i,
            np.arange(len(values)),
            _into_row(values[:, feature], row, low, high),
            _style.plain(label) if row == 0 else "_feature",
            linewidth=0.9,
            antialiased=not many,
            rasterized=many,
            **({"color": _style.FAINT, "linestyle": "-"} if quiet else {}),
        )


def _are_classes(y: Any, steps: str, ends: Sequence[int]) -> bool:
    """Tell one class per prediction from numbers and from several labels."""
    lead = 2 if steps == "all" else 1
    parts = y if steps == "all" else [y]
    arrays = [np.asarray(part)[:end] for part, end in zip(parts, ends, strict=False)]
    several = any(one.ndim == lead + (steps == "last") and one.shape[-1] > 1 for one in arrays)
    whole = all(one.dtype.kind in "iub" for one in arrays)
    return not several and (whole or all(map(is_zero_or_one, arrays)))


def _each_step(ax: Axes, target: Any, output: Any, row: int, end: int, classes: bool) -> None:
    """Plot targets and predictions over a sequence; classes as steps."""
    lines = []
    if target is not None:
        lines.append(("target", np.asarray(target[:end], np.float64).reshape(end, -1)))
    if output is not None:
        predicted = output[:end].reshape(end, -1)
        if classes:
            predicted = decide(predicted)[0][:, np.newaxis].astype(np.float64)
        lines.append(("prediction", predicted))
    every = np.concatenate([values for _, values in lines]) if lines else np.zeros((1, 1))
    for name, values in lines:
        target_line = name == "target"
        for i, column in enumerate(values.T):
            ax.plot(
                np.arange(end),
                _into_row(column, row, every.min(), every.max()),
                color=_style.PALETTE["orange" if target_line else "blue"],
                linewidth=3.0 if target_line else 1.2,
                alpha=0.55 if target_line else 1.0,
                linestyle="-" if target_line else (0, (3, 1)),
                drawstyle="steps-mid" if classes else "default",
                solid_capstyle="butt",
                label=name if row == 0 and i == 0 else f"_{name}",
            )


class _Verdicts:
    """Texts beside sequences: target and prediction, each with its colour."""

    def __init__(self, classes: bool, class_names: Sequence[str] | None) -> None:
        self._classes = classes
        self._names = None if class_names is None else _style.shortened(class_names)

    def of(self, target: Any, output: Any) -> tuple[str, str]:
        if not self._classes or (target is None and output is not None):
            parts = [
                (word, one)
                for word, one in (("true", target), ("predicted", output))
                if one is not None
            ]
            return "\n".join(f"{word} {_numbers(one)}" for word, one in parts), _style.INK
        if target is None:
            return "", _style.INK
        number = int(target.ravel()[0])
        true = class_label(self._names, number)
        if output is None:
            return true, _style.INK
        chosen, probability = decide(output)
        name = class_label(self._names, int(chosen))
        confidence = percent(float(probability))
        if int(chosen) == number:
            return f"✓ {name}\n   {confidence}", _style.PALETTE["blue"]
        return f"✗ {name}, {confidence}\n   true: {true}", _style.PALETTE["vermillion"]


def _numbers(values: Any) -> str:
    shown = [f"{value:.3g}" for value in np.ravel(values)[:3]]
    return ", ".join([*shown, *(["…"] if np.size(values) > 3 else [])])
