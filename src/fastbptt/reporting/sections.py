"""The sections of a report, in order; each is made from a summary, or is absent."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from .. import _check, plot
from .._html import Html, table, tag
from ..bench.output import time_text
from ..diagnostics._graph import can_unroll
from ..models import MODELS, Recurrent
from ..plot._helpers import cell_title, percent
from ..plot.numeric import MOST_POINTS
from ..plot.unrolled import diagram, draw, size_of
from ..training.metrics import METRICS
from ..training.metrics import title as metric_title
from .pictures import figure

if TYPE_CHECKING:
    from ..diagnostics import LayerFlow
    from ..plot._layout import Drawing
    from ..training import History
    from .summary import Summary

__all__ = ["SECTIONS", "subtitle", "tiles", "title"]

_MOST_MISTAKES: Final = 8
_MOST_BARS: Final = 20
_MOST_WORDS: Final = 40
_WIDEST: Final = 8.5  # inches of a diagram that a page shows whole, with text of 11 pixels


class Pictures:
    """Draws the numbered figures of one page."""

    def __init__(self) -> None:
        self._count = 0

    def __call__(
        self,
        draw: Callable[[Any], Any],
        caption: str,
        size: tuple[float, float] = (3.5, 2.5),
        wide: bool = False,
    ) -> Html:
        self._count += 1
        return figure(draw, caption, self._count, size, wide)


def title(summary: Summary) -> str:
    """Return the model's title."""
    model = summary.model
    layers = f"{model.num_layers} layers of " if model.num_layers > 1 else ""
    both = ", bidirectional" if model.bidirectional else ""
    return f"{cell_title(model.cell)}, {layers}{model.hidden_size} units{both}"


def subtitle(summary: Summary) -> str:
    """Describe the model's inputs and outputs."""
    if summary.classes is not None:
        where = "per step" if summary.steps == "all" else "per sequence"
        what = f"one of {len(summary.classes)} classes {where}"
    else:
        count = summary.model.output_size or summary.model.hidden_size
        where = {"all": "at each step", "last": "at the last step"}.get(
            summary.steps, "per sequence"
        )
        what = f"{_counted(count, 'label' if summary.labels else 'number')} {where}"
    return f"Input: {_input(summary)}. Output: {what}."


def _input(summary: Summary) -> str:
    if summary.tokens:
        return f"tokens from a vocabulary of {summary.model.vocabulary_size}"
    return f"{_counted(summary.model.input_size, 'number')} at each step"


def tiles(summary: Summary) -> Html:
    """Show the key numbers."""
    count = f"on {_counted(len(summary.x), 'sequence')}"
    shown = []
    headline = next((METRICS[name] for name in summary.metrics if name in METRICS), None)
    if headline is not None:
        value = format(summary.metrics[headline.name], headline.format_spec)
        shown.append((_heading(metric_title(headline.name)), value, count))
    shown.append(("Loss", f"{summary.metrics['loss']:.4g}", str(summary.loss).replace("_", " ")))
    size = _check.bytes_text(summary.model.parameters.flat.nbytes)
    shown.append(("Parameters", f"{summary.model.num_parameters:,}", size))
    decay = summary.diagnosis.decay
    if decay is not None and math.isfinite(decay):
        shown.append(
            ("Gradient per step", f"\N{MULTIPLICATION SIGN}{decay:.3g}", "backward in time")
        )
    rate = summary.speed.batch / summary.speed.train_seconds
    shown.append(("Training speed", f"{rate:,.0f}", "sequences per second"))
    return tag(
        "dl",
        *(
            tag(
                "div",
                tag("dt", name),
                tag("dd", value),
                tag("dd", note, class_="note"),
                class_="tile",
            )
            for name, value, note in shown
        ),
        class_="tiles",
    )


def _counted(count: int, word: str) -> str:
    ending = "" if count == 1 else "es" if word.endswith("s") else "s"
    return f"{count:,} {word}{ending}"


def _heading(title: str) -> str:
    return f"{title[0].upper()}{title[1:]}"


def _section(heading: str, *contents: Any) -> Html:
    return tag("section", tag("h2", heading), *contents)


_FINE: Final = {
    False: "No problems found in the gradient flow.",
    True: "No problems found in the gradient flow and the training curves.",
}


def advice(summary: Summary, pictures: Pictures) -> Html:
    """Advice on the gradients and the training."""
    found = summary.diagnosis.advice
    if not found:
        return _section("Advice", tag("p", _FINE[summary.history is not None]))
    items = [
        tag(
            "li",
            tag("p", tag("b", each.text)),
            tag("p", each.suggestion) if each.suggestion else None,
        )
        for each in found
    ]
    return _section("Advice", tag("ul", *items, class_="advice"))


def predictions(summary: Summary, pictures: Pictures) -> Html:
    """Metrics, confusion matrix or residuals, and examples."""
    rows = [(metric_title(name), f"{value:.4g}") for name, value in summary.metrics.items()]
    numbers = (tag("h3", "Numbers"), table(rows))
    drawn: list[Html] = []
    if summary.classes is not None:
        truth, (predicted, _) = summary.truths(), summary.predictions()
        side = min(2.3 + 0.14 * len(summary.classes), 4.5)
        matrix = pictures(
            lambda ax: plot.confusion(truth, predicted, summary.classes, ax=ax),
            "Confusion matrix (rows: true class, columns: predicted class).",
            (side + 0.35, side),
        )
        drawn += [matrix, tag("div", *numbers)]
    elif not summary.labels:
        drawn += _residuals(summary, pictures)
    if not summary.tokens:
        drawn += [
            pictures(partial(_sequences, summary, shown), caption, (3.5, 0.55 + 0.6 * len(shown)))
            for shown, caption in _examples(summary)
        ]
    if summary.classes is None:
        drawn.append(tag("div", *numbers))
    return _section(
        "Predictions",
        tag("div", *drawn, class_="pictures"),
        _labels(summary),
        _series(summary),
        _mistakes(summary),
    )


def _labels(summary: Summary) -> Html | None:
    """Count the rows with each of several labels, and those that are predicted."""
    if not summary.labels:
        return None
    width = summary.outputs[0].shape[-1]
    predicted = np.concatenate([one.reshape(-1, width) for one in summary.outputs]) > 0.5
    true = np.concatenate([np.asarray(one).reshape(-1, width) for one in summary.y]) > 0.5
    rows = []
    for i in range(min(width, _MOST_BARS)):
        t, p = true[:, i], predicted[:, i]
        hits, found = int((t & p).sum()), int(p.sum())
        rows.append(
            (
                f"label {i}",
                f"{int(t.sum()):,}",
                f"{found:,}",
                f"{(t == p).mean():.1%}",
                f"{hits / found:.1%}" if found else "none predicted",
                f"{hits / int(t.sum()):.1%}" if t.any() else "none true",
            )
        )
    head = ("label", "true", "predicted", "accuracy", "precision", "recall")
    what = "steps" if summary.steps == "all" else "sequences"
    more = width - len(rows)
    note = tag("p", f"and {_counted(more, 'label')} more", class_="note") if more else None
    heading = tag("h3", f"Labels of {len(true):,} {what}")
    return tag("div", heading, table(rows, head), note)


def _residuals(summary: Summary, pictures: Pictures) -> list[Html]:
    """Plot predicted against true numbers, residuals, and errors of forecasts."""
    width = summary.outputs[0].shape[-1]
    predicted = np.concatenate([one.reshape(-1, width) for one in summary.outputs])
    true = predicted - np.concatenate([one.reshape(-1, width) for one in summary.residuals()])
    drawn, names = [], None
    if summary.horizon is not None:
        horizon, y, found = summary.horizon, true, predicted
        if summary.feature_names is not None and len(summary.feature_names) == width // horizon:
            names = summary.feature_names
        drawn.append(
            pictures(
                lambda ax: plot.horizon_errors(y, found, horizon, feature_names=names, ax=ax),
                "Error of the forecasts by how many steps ahead they are.",
            )
        )
        features = width // horizon
        true, predicted = true.reshape(-1, features), predicted.reshape(-1, features)
    # As many as are drawn one by one: pixels would keep the colours of the day in dark mode.
    step = -(-true.size // MOST_POINTS)
    some, guessed = true[::step], predicted[::step]
    share = "" if step == 1 else f" {len(some):,} of {len(true):,} rows, spread over all."
    return [
        pictures(
            lambda ax: plot.predicted_against_true(some, guessed, output_names=names, ax=ax),
            f"Predicted against true numbers; on the line they are equal.{share}",
            (3.5, 3.1),
        ),
        pictures(
            lambda ax: plot.residuals(some, guessed, output_names=names, ax=ax),
            f"Residuals: predicted minus true.{share}",
        ),
        *drawn,
    ]


def _sequences(summary: Summary, shown: list[int], ax: Any) -> Any:
    return plot.sequences(
        summary.x,
        summary.y,
        summary.outputs,
        steps="all" if summary.steps == "all" else "last",
        examples=shown,
        class_names=None if summary.steps == "all" else summary.classes,
        feature_names=summary.feature_names,
        ids=summary.ids,
        ax=ax,
    )


def _examples(summary: Summary) -> list[tuple[list[int], str]]:
    """Return the sequences of each picture of examples, and its caption."""
    if summary.classes is None or summary.steps == "all":
        shown = summary.ranked()
        error = "mean square error" if summary.classes is None else "fraction of errors"
        return [(shown, f"Examples: from the smallest to the largest {error}.")]
    right, wrong = summary.examples_by_class()
    known = len(set(summary.truths().tolist()))
    found = [
        (right, "A correct prediction of {}, of median confidence."),
        (wrong, "The mistake of highest confidence of {}."),
    ]
    return [
        (shown, caption.format(_classes(len(shown), known))) for shown, caption in found if shown
    ]


def _classes(shown: int, known: int) -> str:
    return "each class" if shown == known else f"{shown} of {_counted(known, 'class')}"


def _series(summary: Summary) -> Html | None:
    """List the errors of each series, the largest first."""
    if summary.series is None:
        return None
    groups: dict[str, list[Any]] = {}
    for name, residual in zip(summary.series, summary.residuals(), strict=True):
        groups.setdefault(name, []).append(residual.ravel())
    errors = {name: np.concatenate(parts) for name, parts in groups.items()}
    rms = {name: _rms(values) for name, values in errors.items()}
    order = sorted(rms, key=lambda name: -rms[name])
    rows = [
        (
            name,
            f"{len(groups[name]):,}",
            f"{rms[name]:.3g}",
            f"{np.abs(errors[name]).mean():.3g}",
            f"{errors[name].mean():.3g}",
        )
        for name in order[:_MOST_BARS]
    ]
    head = ("series", "count", "RMSE", "MAE", "bias")
    more = len(order) - len(rows)
    note = tag("p", f"and {more:,} more, with smaller errors", class_="note") if more else None
    return tag("div", tag("h3", f"Errors by series ({len(order):,})"), table(rows, head), note)


def _mistakes(summary: Summary) -> Html | None:
    """List the mistakes of highest confidence."""
    if summary.classes is None or summary.steps == "all":
        return None
    truth, (predicted, confidence) = summary.truths(), summary.predictions()
    wrong = np.flatnonzero(truth != predicted)
    wrong = wrong[np.argsort(-confidence[wrong], kind="stable")]
    heading = tag("h3", f"Mistakes ({len(wrong)} of {len(truth)})")
    if not len(wrong):
        return tag("div", heading, tag("p", "None."))
    names = summary.classes
    rows = [
        (summary.ids[i], names[truth[i]], names[predicted[i]], percent(float(confidence[i])))
        for i in wrong[:_MOST_MISTAKES]
    ]
    listed = table(rows, ("sequence", "true", "predicted", "confidence"))
    return tag("div", heading, listed, _texts(summary, wrong[:_MOST_MISTAKES]))


def _texts(summary: Summary, shown: Any) -> Html | None:
    """Print the first words of some sequences of tokens."""
    words = summary.vocabulary
    if words is None or not len(shown):
        return None
    rows = []
    for i in shown:
        text = " ".join(str(words[token]) for token in summary.x[i][:_MOST_WORDS])
        rest = len(summary.x[i]) - _MOST_WORDS
        rows.append((summary.ids[i], f"{text} … and {rest:,} more" if rest > 0 else text))
    return tag("div", tag("h3", "Their words"), table(rows))


def training(summary: Summary, pictures: Pictures) -> Html | None:
    """Training curves."""
    history = summary.history
    drawn: list[Html] = []
    rows: list[tuple[str, str]] = []
    if history is not None and history.epoch:
        drawn += _curves(history, pictures)
        rows.append(("stopped by", history.stopped or "?"))
        if history.best_epoch is not None:
            rows.append(("best epoch", str(history.best_epoch)))
        if "seconds" in history.curves:
            rows.append(("time", time_text(sum(history.curves["seconds"]))))
        if rates := history.curves.get("lr"):
            same = min(rates) == max(rates)
            text = f"{rates[0]:.3g}" if same else f"{rates[0]:.3g} to {rates[-1]:.3g}"
            rows.append(("learning rate", text))
    if summary.monitor is not None:
        drawn.append(
            pictures(
                lambda ax: plot.gradient_heatmap(summary.monitor, ax=ax),
                "Gradient norm at each time step in each epoch.",
            )
        )
    if not drawn:
        return None
    if summary.source:
        rows.append(("trained on", summary.source))
    return _section("Training", tag("div", *drawn, class_="pictures"), table(rows))


def _curves(history: History, pictures: Pictures) -> list[Html]:
    drawn = [
        pictures(
            lambda ax: plot.losses(history, ax=ax),
            f"Loss over {_counted(len(history.epoch), 'epoch')}.",
        )
    ]
    known = [name for name in history.curves if name not in ("loss", "lr", "seconds", "grad_norm")]
    kinds = dict.fromkeys(name.removeprefix("validation_") for name in known)
    for kind in [kind for kind in kinds if kind != "loss"][:3]:
        names = [name for name in (kind, f"validation_{kind}") if name in history.curves]
        text = f"{_heading(metric_title(kind))} by epoch."
        drawn.append(pictures(partial(_curve, history, names), text))
    return drawn


def _curve(history: History, names: list[str], ax: Any) -> Any:
    return plot.losses(history, names, ax=ax)


def gradient(summary: Summary, pictures: Pictures) -> Html:
    """Gradient flow through time."""
    found, model = summary.diagnosis, summary.model
    drawn = [
        pictures(
            lambda ax: plot.gradient_flow(found, ax=ax),
            _flow_caption(summary),
        )
    ]
    if found.layers[-1].gate_activation:
        drawn.append(
            pictures(lambda ax: plot.gates(found, ax=ax), "Mean gate activation over time.")
        )
    example = summary.example()
    one, target = [summary.x[example]], [summary.y[example]]
    static = summary.static_of(example)
    weights = found.layers[-1].radius_of == "W_hh"
    step = f"the Jacobian of the last step of sequence {summary.ids[example]}"
    shown = "the recurrent weights" if weights else step
    drawn.append(
        pictures(
            lambda ax: plot.eigenvalues(
                model,
                None if weights else one,
                static=None if weights else static,
                layer=model.num_layers - 1,
                ax=ax,
            ),
            f"Eigenvalues of {shown}. All well inside the circle: short memory.",
            (3.5, 3.1),
        )
    )
    if not summary.tokens:
        drawn.append(
            pictures(
                lambda ax: plot.saliency(
                    model,
                    one,
                    target,
                    loss=summary.loss,
                    steps=summary.steps,
                    static=static,
                    feature_names=summary.feature_names,
                    ax=ax,
                ),
                f"Saliency: gradient of the loss with respect to the inputs of sequence "
                f"{summary.ids[example]}.",
            )
        )
    drawn.append(
        pictures(
            lambda ax: plot.hidden_states(model, one, static=static, ax=ax),
            f"Hidden states over sequence {summary.ids[example]}.",
        )
    )
    if model.output_size is not None and can_unroll(model):
        unrolled = _unrolled(summary, one, target, static)
        drawn.append(
            pictures(
                lambda ax: draw(unrolled, ax),
                f"The network unrolled over sequence {summary.ids[example]}.",
                size_of(unrolled),
                wide=True,
            )
        )
    rows = [
        ("model", found.model),
        ("loss", f"{found.loss:.4g}"),
        ("gradient norm", f"{found.gradient_norm:.4g}"),
    ]
    if found.decay is not None:
        rows.append(("factor per step back", f"{found.decay:.4g}"))
    rows += [
        (f"spectral radius of {_radius_of(flow)}, {flow.name}", f"{flow.spectral_radius:.4g}")
        for flow in found.layers[:8]
        if flow.spectral_radius is not None
    ]
    note = f"Computed on {_counted(len(found.lengths), 'sequence')} of this data."
    return _section(
        "Gradient flow",
        tag("div", *drawn, class_="pictures"),
        table(rows),
        tag("p", note, class_="note"),
    )


def _unrolled(summary: Summary, x: list[Any], y: list[Any], static: Any = None) -> Drawing:
    """Compute the diagram of a sequence, of as many steps as the page has room for."""
    for columns in (5, 4, 3):
        found = diagram(
            summary.model,
            x,
            y,
            loss=summary.loss,
            steps=summary.steps,
            static=static,
            columns=columns,
            vocabulary=summary.vocabulary,
        )
        if size_of(found)[0] <= _WIDEST:
            break
    return found


def _radius_of(flow: LayerFlow) -> str:
    """Name the matrix: W_hh, or a Jacobian of several sequences; the picture shows that of one."""
    if flow.radius_of == "W_hh":
        return flow.radius_of
    return f"{flow.radius_of}, mean of {_counted(len(flow.sequences), 'sequence')}"


def _flow_caption(summary: Summary) -> str:
    text = "Gradient norm of the loss at each time step"
    if summary.steps != "last" or summary.model.bidirectional:
        return f"{text}."
    few = len(set(summary.diagnosis.lengths)) > 1
    only = ", where only the longest sequences remain" if few else ""
    return f"{text}; it flows from right to left{only}."


def data(summary: Summary, pictures: Pictures) -> Html:
    """Sequences, features and classes."""
    low, high = int(summary.lengths.min()), int(summary.lengths.max())
    steps = f"{low}" if low == high else f"{low} to {high}, {summary.lengths.mean():.1f} on average"
    rows = [("sequences", f"{len(summary.x):,}"), ("steps", steps)]
    if summary.tokens:
        rows.append(("tokens", f"{summary.model.vocabulary_size:,} in the vocabulary"))
    else:
        names = ", ".join(summary.feature_names or [])
        rows.append(("features", f"{summary.model.input_size}{f': {names}' if names else ''}"))
    return _section("Data", tag("div", table(rows), _bars(summary), class_="columns"))


def _bars(summary: Summary) -> Html | None:
    """Plot the number of sequences or steps of each class."""
    if summary.classes is None:
        return None
    counts = np.bincount(summary.truths(), minlength=len(summary.classes))
    order = np.argsort(-counts, kind="stable")[:_MOST_BARS]
    order = np.sort(order) if len(counts) <= _MOST_BARS else order
    parts = []
    for i in order:
        width = f"width:{100 * counts[i] / max(counts.max(), 1):.1f}%"
        parts += [
            tag("span", summary.classes[i], class_="name"),
            tag("span", tag("div", class_="bar", style=width)),
            tag("span", f"{counts[i]:,}", class_="number"),
        ]
    what = "steps" if summary.steps == "all" else "sequences"
    left_out = len(counts) - len(order)
    note = tag("p", f"and {_counted(left_out, 'class')} more", class_="note") if left_out else None
    return tag(
        "div",
        tag("h3", f"{what.capitalize()} per class"),
        tag("div", *parts, class_="bars"),
        note,
    )


def model(summary: Summary, pictures: Pictures) -> Html:
    """Parameters of the model."""
    rows = [
        (
            name,
            " \N{MULTIPLICATION SIGN} ".join(map(str, values.shape)),
            f"{values.size:,}",
            f"{_rms(values):.3g}",
        )
        for name, values in summary.model.parameters.items()
    ]
    text = repr(_of_its_class(summary.model)).split("  #")[0]
    return _section(
        "Model",
        tag("p", tag("code", text)),
        table(rows, ("parameter", "shape", "size", "root mean square"), keep=True),
    )


def _of_its_class(model: Recurrent) -> Recurrent:
    """Make a `Recurrent` the class of its cell, as `fastbptt.load` does: one name everywhere."""
    kind = MODELS.get(model.cell)
    if kind is None or type(model) is not Recurrent:
        return model
    return kind._from_config(model._config())


def _rms(values: Any) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))


def speed(summary: Summary, pictures: Pictures) -> Html:
    """Speed on this machine."""
    from .. import config

    found, machine = summary.speed, config.info()
    batch = f"{_counted(found.batch, 'sequence')}, {_counted(found.steps, 'step')} in total"
    rows = [
        ("training step", time_text(found.train_seconds), batch),
        ("prediction of the batch", time_text(found.predict_seconds), batch),
        ("prediction of one sequence", time_text(found.single_seconds), "the first of the batch"),
    ]
    if found.share_of_peak is not None and found.share_of_peak <= 1:
        rows.append(
            (
                "share of the peak",
                f"{found.share_of_peak:.0%}",
                "of the processor's multiply-add throughput, in the training step",
            )
        )
    where = ", ".join(
        (machine["processor"], machine["active"], _counted(machine["threads"], "thread"))
    )
    note = f"{where}; best of several rounds, measured for this report."
    return _section("Speed", table(rows), tag("p", note, class_="note"))


def settings(summary: Summary, pictures: Pictures) -> Html:
    """Training settings and software versions."""
    from .. import config

    machine = config.info()
    rows: list[tuple[str, str]] = [
        (name, _value(value)) for name, value in summary.settings.items()
    ]
    rows += [
        (name, str(machine[name]))
        for name in ("fastbptt", "python", "numpy", "compiler", "platform")
    ]
    return _section("Settings and versions", table(rows))


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {each}" for key, each in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


#: The sections of a report, in order.
SECTIONS: Final[tuple[Callable[[Summary, Pictures], Html | None], ...]] = (
    advice,
    predictions,
    training,
    gradient,
    data,
    model,
    speed,
    settings,
)
