"""The parts of a page, in their order; each is made of facts, or is not there."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from .. import _check, plot
from ..bench.report import time_text
from ..plot._model import cell_title
from ..plot._model import sure as percent
from ..plot.unrolled import diagram_size
from ..training.metrics import METRICS
from ..training.metrics import title as metric_title
from .html import Html, table, tag
from .pictures import figure

if TYPE_CHECKING:
    from ..training import History
    from .facts import Facts

__all__ = ["SECTIONS", "subtitle", "tiles", "title"]

_MOST_MISTAKES: Final = 8
_MOST_BARS: Final = 20


class Pictures:
    """Draws the figures of one page, numbered."""

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


def title(facts: Facts) -> str:
    """Name the model in a few words."""
    model = facts.model
    layers = f"{model.num_layers} layers of " if model.num_layers > 1 else ""
    both = ", both directions" if model.bidirectional else ""
    return f"{cell_title(model.cell)}, {layers}{model.hidden_size} units{both}"


def subtitle(facts: Facts) -> str:
    """Say what it does."""
    if facts.classes is not None:
        where = "for each step" if facts.steps == "all" else "for each sequence"
        what = f"one of {len(facts.classes)} classes {where}"
    else:
        count = facts.model.output_size or facts.model.hidden_size
        where = "at each step" if facts.steps == "all" else "at the end of a sequence"
        what = f"{_counted(count, 'number')} {where}"
    return f"Reads {_input(facts)} and says {what}."


def _input(facts: Facts) -> str:
    if facts.tokens:
        return f"tokens, one of {facts.model.vocabulary_size} at each step,"
    return f"{_counted(facts.model.input_size, 'number')} at each step"


def tiles(facts: Facts) -> Html:
    """Show the numbers that one asks for first."""
    count = f"on {_counted(len(facts.x), 'sequence')}"
    shown = []
    headline = next((METRICS[name] for name in facts.metrics if name in METRICS), None)
    if headline is not None:
        value = format(facts.metrics[headline.name], headline.form)
        shown.append((_heading(metric_title(headline.name)), value, count))
    shown.append(("Loss", f"{facts.metrics['loss']:.4g}", str(facts.loss).replace("_", " ")))
    size = _check.bytes_text(facts.model.parameters.flat.nbytes)
    shown.append(("Parameters", f"{facts.model.num_parameters:,}", size))
    decay = facts.diagnosis.decay
    if decay is not None and math.isfinite(decay):
        shown.append(("Gradient per step", f"\N{MULTIPLICATION SIGN}{decay:.3g}", "back in time"))
    rate = facts.speed.batch / facts.speed.train_seconds
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


def advice(facts: Facts, pictures: Pictures) -> Html:
    """What a good colleague would say about the gradients."""
    found = facts.diagnosis.advice
    if not found:
        text = "Nothing to advise: none of the numbers that were looked at asks for it."
        return _section("Advice", tag("p", text))
    items = [
        tag(
            "li",
            tag("p", tag("b", each.text)),
            tag("p", each.suggestion) if each.suggestion else None,
        )
        for each in found
    ]
    return _section("Advice", tag("ul", *items, class_="advice"))


def predictions(facts: Facts, pictures: Pictures) -> Html:
    """How well it does, with examples."""
    rows = [(metric_title(name), f"{value:.4g}") for name, value in facts.metrics.items()]
    left: list[Html] = []
    if facts.classes is not None:
        truth, (answer, _) = facts.truths(), facts.answers()
        side = min(2.3 + 0.14 * len(facts.classes), 4.5)
        left.append(
            pictures(
                lambda ax: plot.confusion(truth, answer, facts.classes, ax=ax),
                "Confusion matrix: rows are what is true, columns what the model said.",
                (side + 0.35, side),
            )
        )
    left += [tag("h3", "Numbers"), table(rows)]
    right = None
    shown = facts.examples(6)
    if not facts.tokens:
        right = pictures(
            lambda ax: plot.sequences(
                facts.x,
                facts.y,
                facts.outputs,
                steps=facts.steps,
                examples=shown,
                class_names=facts.classes,
                ids=facts.ids,
                ax=ax,
            ),
            _EXAMPLES[facts.classes is not None and facts.steps == "last"],
            (3.5, 0.55 + 0.6 * len(shown)),
        )
    return _section(
        "Predictions", tag("div", tag("div", *left), right, class_="pictures"), _mistakes(facts)
    )


_EXAMPLES: Final = {
    True: "Examples: some that are right, and the wrong ones of which it is most sure.",
    False: "Examples: what is true, and what the model says.",
}


def _mistakes(facts: Facts) -> Html | None:
    """List the sequences that it is most wrongly sure of."""
    if facts.classes is None or facts.steps == "all":
        return None
    truth, (answer, sure) = facts.truths(), facts.answers()
    wrong = np.flatnonzero(truth != answer)
    wrong = wrong[np.argsort(-sure[wrong], kind="stable")]
    heading = tag("h3", f"Mistakes ({len(wrong)} of {len(truth)})")
    if not len(wrong):
        return tag("div", heading, tag("p", "None."))
    names = facts.classes
    rows = [
        (facts.ids[i], names[truth[i]], names[answer[i]], percent(float(sure[i])))
        for i in wrong[:_MOST_MISTAKES]
    ]
    return tag("div", heading, table(rows, ("sequence", "truth", "answer", "how sure")))


def training(facts: Facts, pictures: Pictures) -> Html | None:
    """The curves of the training."""
    history = facts.history
    if history is None or not history.epoch:
        return None
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
        text = f"{_heading(metric_title(kind))} over the epochs."
        drawn.append(pictures(partial(_curves, history, names), text))
    if facts.monitor is not None:
        drawn.append(
            pictures(
                lambda ax: plot.gradient_heatmap(facts.monitor, ax=ax),
                "Norm of the gradient at each time step, epoch by epoch.",
            )
        )
    rows = [("stopped by", history.stopped or "?")]
    if history.best_epoch is not None:
        rows.append(("best epoch", str(history.best_epoch)))
    if "seconds" in history.curves:
        rows.append(("time", time_text(sum(history.curves["seconds"]))))
    if facts.source:
        rows.append(("trained on", facts.source))
    return _section("Training", tag("div", *drawn, class_="pictures"), table(rows))


def _curves(history: History, names: list[str], ax: Any) -> Any:
    return plot.losses(history, names, ax=ax)


def gradient(facts: Facts, pictures: Pictures) -> Html:
    """How the gradient flows back through time."""
    found, model = facts.diagnosis, facts.model
    drawn = [
        pictures(
            lambda ax: plot.gradient_flow(found, ax=ax),
            _flow_caption(facts),
        )
    ]
    if found.layers[-1].openness:
        drawn.append(
            pictures(lambda ax: plot.gates(found, ax=ax), "How far the gates are open, on average.")
        )
    drawn.append(
        pictures(
            lambda ax: plot.eigenvalues(model, layer=model.num_layers - 1, ax=ax),
            "Eigenvalues of the recurrent weights. Well inside the circle: a short memory.",
            (3.5, 3.1),
        )
    )
    example = facts.examples(1)[0]
    one, target = [facts.x[example]], [facts.y[example]]
    if not facts.tokens:
        drawn.append(
            pictures(
                lambda ax: plot.influence(
                    model,
                    one,
                    target,
                    loss=facts.loss,
                    steps=facts.steps,
                    feature_names=facts.feature_names,
                    ax=ax,
                ),
                f"Which inputs of sequence {facts.ids[example]} the loss depends on.",
            )
        )
    drawn.append(
        pictures(
            lambda ax: plot.hidden_states(model, one, ax=ax),
            f"What the hidden units do while it reads sequence {facts.ids[example]}.",
        )
    )
    if model.output_size is not None:
        columns = min(7, len(one[0]))
        drawn.append(
            pictures(
                lambda ax: plot.unrolled(
                    model,
                    one,
                    target,
                    loss=facts.loss,
                    steps=facts.steps,
                    columns=max(3, columns),
                    ax=ax,
                ),
                f"The network unrolled over sequence {facts.ids[example]}, with its real numbers.",
                diagram_size(model, columns, facts.steps),
                wide=True,
            )
        )
    rows = [
        ("model", found.model),
        ("loss", f"{found.loss:.4g}"),
        ("norm of the whole gradient", f"{found.gradient_norm:.4g}"),
    ]
    if found.decay is not None:
        rows.append(("factor per step back", f"{found.decay:.4g}"))
    rows += [
        (f"spectral radius of W_hh, {flow.name}", f"{flow.spectral_radius:.4g}")
        for flow in found.layers[:8]
    ]
    note = f"Computed on {_counted(len(found.lengths), 'sequence')} of these data."
    return _section(
        "Gradient flow",
        tag("div", *drawn, class_="pictures"),
        table(rows),
        tag("p", note, class_="note"),
    )


def _flow_caption(facts: Facts) -> str:
    text = "How large the gradient of the loss is at each time step"
    if facts.steps == "all" or facts.model.bidirectional:
        return f"{text}."
    few = len(set(facts.diagnosis.lengths)) > 1
    return f"{text}; it comes from the right{', where few sequences still run' if few else ''}."


def data(facts: Facts, pictures: Pictures) -> Html:
    """What the sequences are."""
    low, high = int(facts.lengths.min()), int(facts.lengths.max())
    steps = f"{low}" if low == high else f"{low} to {high}, {facts.lengths.mean():.1f} on average"
    rows = [("sequences", f"{len(facts.x):,}"), ("steps", steps)]
    if facts.tokens:
        rows.append(("tokens", f"{facts.model.vocabulary_size:,} in the vocabulary"))
    else:
        names = ", ".join(facts.feature_names or [])
        rows.append(("features", f"{facts.model.input_size}{f': {names}' if names else ''}"))
    return _section("Data", tag("div", table(rows), _bars(facts), class_="columns"))


def _bars(facts: Facts) -> Html | None:
    """Draw how many there are of each class."""
    if facts.classes is None:
        return None
    counts = np.bincount(facts.truths(), minlength=len(facts.classes))
    order = np.argsort(-counts, kind="stable")[:_MOST_BARS]
    order = np.sort(order) if len(counts) <= _MOST_BARS else order
    parts = []
    for i in order:
        width = f"width:{100 * counts[i] / max(counts.max(), 1):.1f}%"
        parts += [
            tag("span", facts.classes[i], class_="name"),
            tag("span", tag("div", class_="bar", style=width)),
            tag("span", f"{counts[i]:,}", class_="number"),
        ]
    what = "steps" if facts.steps == "all" else "sequences"
    left_out = len(counts) - len(order)
    note = tag("p", f"and {_counted(left_out, 'class')} more", class_="note") if left_out else None
    return tag(
        "div",
        tag("h3", f"{what.capitalize()} of each class"),
        tag("div", *parts, class_="bars"),
        note,
    )


def model(facts: Facts, pictures: Pictures) -> Html:
    """What the model is made of."""
    rows = [
        (
            name,
            " \N{MULTIPLICATION SIGN} ".join(map(str, values.shape)),
            f"{values.size:,}",
            f"{_rms(values):.3g}",
        )
        for name, values in facts.model.parameters.items()
    ]
    text = repr(facts.model).split("  #")[0]
    return _section(
        "Model",
        tag("p", tag("code", text)),
        table(rows, ("parameter", "shape", "numbers", "root mean square")),
    )


def _rms(values: Any) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))


def speed(facts: Facts, pictures: Pictures) -> Html:
    """How fast it is, here."""
    from .. import config

    found, machine = facts.speed, config.info()
    batch = f"{_counted(found.batch, 'sequence')}, {_counted(found.steps, 'step')} together"
    rows = [
        ("training step", time_text(found.train_seconds), batch),
        ("prediction of them", time_text(found.predict_seconds), batch),
        ("prediction of one", time_text(found.single_seconds), "the first of them"),
    ]
    if found.share_of_peak is not None and found.share_of_peak <= 1:
        rows.append(
            (
                "share of the peak",
                f"{found.share_of_peak:.0%}",
                "of the processor's rate of multiply-adds, in the training step",
            )
        )
    where = ", ".join(
        (machine["processor"], machine["active"], _counted(machine["threads"], "thread"))
    )
    note = f"{where}; the best of some rounds while this page was made."
    return _section("Speed", table(rows), tag("p", note, class_="note"))


def settings(facts: Facts, pictures: Pictures) -> Html:
    """With what it was made."""
    from .. import config

    machine = config.info()
    rows: list[tuple[str, str]] = [(name, _value(value)) for name, value in facts.settings.items()]
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


#: The parts of a page, in their order.
SECTIONS: Final[tuple[Callable[[Facts, Pictures], Html | None], ...]] = (
    advice,
    predictions,
    training,
    gradient,
    data,
    model,
    speed,
    settings,
)
