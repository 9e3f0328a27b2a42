"""Entries of `fastbptt.plot` and of the report."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest import mock

import matplotlib
import numpy as np
from effects import Each, Entry, Fresh, Refused, With, drawn
from matplotlib.figure import Figure

import fastbptt
from fastbptt import plot
from fastbptt._html import tag
from fastbptt.datasets import tasks
from fastbptt.diagnostics import fixed_points, step_jacobian
from fastbptt.reporting import sections, summary

from .common import EACH, LENGTHS, STATIC, X, Y, mapped, model

SHORT = X[:, :5]
CLASSES = (X[:, -1, 0] > 0).astype(int)
NAMES = ["down", "up"]
IDS = [f"s{i}" for i in range(12)]
TOKENS = np.arange(60).reshape(12, 5) % 7
AX = Fresh(lambda: Figure(figsize=(9, 9)).subplots())


def drawing(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the axes, and whether they are those that were given."""

    def call(**arguments: Any) -> Any:
        axes = function(**arguments)
        return axes, axes is arguments.get("ax")

    return call


def network(**options: Any) -> Any:
    return fastbptt.GRU(2, 4, 2, seed=0, **options)


def diagnosed(seed: int = 0, **options: Any) -> Any:
    return fastbptt.diagnose(model(seed, **options), X, Y)


WORDS = network(embedding=7)
DEEP = diagnosed(num_layers=2)


def gallery(**arguments: Any) -> Any:
    few = {name: plot.PICTURES[name] for name in ("unrolled", "accuracy")}
    with mock.patch.dict(plot.PICTURES, few, clear=True):
        return plot.gallery(**arguments)


def examples(**settings: Any) -> Any:
    made = plot.Examples(**settings)
    return made.of("Gradients over 200 steps")["x"].shape, made.of("Nine speakers")["history"]


def monitored() -> Any:
    monitor = fastbptt.GradientMonitor(warn=False)
    fastbptt.fit(model(), X, Y, epochs=2, verbose=0, callbacks=[monitor])
    return monitor


def history() -> Any:
    made = fastbptt.History()
    for epoch in range(3):
        made.add({"loss": 1.0 / (1 + epoch)})
    return made


def described(draw: Callable[[Any], Any], caption: str, number: int, *_: Any, **__: Any) -> Any:
    """Describe a picture of the report, which takes longer to write than to draw."""
    axes = Figure().subplots()
    draw(axes)
    return tag("figure", drawn(axes), tag("figcaption", caption))


def report(write: Callable[..., None] = fastbptt.report, /, **arguments: Any) -> None:
    speed = summary.Speed(1, 1, 1.0, 1.0, 1.0, None)
    with (
        mock.patch.object(sections, "figure", described),
        mock.patch.object(summary, "_speed", return_value=speed),
    ):
        write(**arguments)


def points(seed: int = 0) -> Any:
    return fixed_points(model(seed), np.zeros(2), 8, data=X, iterations=20, slow=1.0)


def probed() -> Any:
    """A monitor with the contributions to the gradient, of fewer epochs than `monitored`."""
    monitor = fastbptt.GradientMonitor(warn=False, probe=(X, Y))
    fastbptt.fit(model(), X, Y, epochs=1, verbose=0, callbacks=[monitor])
    return monitor


def styled(name: str) -> Any:
    with plot.style(name):
        return dict(matplotlib.rcParams)


NUMBERS = X[:, 0]
STATE = np.full((1, 2, 4), 0.1)
OF_NUMBERS: dict[str, Any] = {
    "y": NUMBERS + 1,
    "predictions": X[:, 2],
    "output_names": ["left", "right"],
    "ax": AX,
}
PAIR: dict[str, Any] = {"y": NUMBERS, "predictions": X[:, 1]}
CURVES = {"loss": [3.0, 2.0, 1.0], "accuracy": [0.1, 0.2, 0.3]}
CONSTANTS = Fresh(lambda: model(static_size=2))
OF_MODELS: dict[str, Any] = {
    "model": Fresh(lambda: model(1)),
    "x": X + 1,
    "lengths": LENGTHS,
    "static": mapped(model=CONSTANTS),
    "example": 1,
    "ax": AX,
}
SPOKEN = With(list("abcdefg"), {"model": fastbptt.GRU(2, 4, 1, seed=0, embedding=7), "x": TOKENS})
OF_LOSSES: dict[str, Any] = {"y": 1 - Y, "loss": "mse", "steps": With("all", {"y": EACH})}


DECISION = tasks.PerceptualDecision()
CURVE = tasks.psychometric([0, 0, 1, 1], np.array([True, False, True, False]))


def rates(suggestion: float | None) -> Any:
    one = np.array([1.0, 2.0])
    return fastbptt.training.LearningRates(one, one, one, suggestion)


ENTRIES: dict[str, Entry] = {
    "plot.confusion": Entry(
        drawing(plot.confusion),
        {"y": [0, 1, 1, 2], "predictions": [0, 1, 2, 2]},
        {
            "y": [0, 1, 2, 2],
            "predictions": [0, 1, 1, 2],
            "class_names": ["a", "b", "c"],
            "ax": AX,
        },
    ),
    "plot.eigenvalues": Entry(
        drawing(plot.eigenvalues),
        {"model": Fresh(model)},
        {
            "model": Fresh(lambda: model(1)),
            "x": X,
            "lengths": Each(With(LENGTHS, {"x": X, "example": 2}), Refused(LENGTHS, "lengths")),
            "static": Each(mapped(model=CONSTANTS, x=X), Refused(STATIC, "static")),
            "example": Each(With(1, {"x": X}), Refused(1, "example")),
            "layer": With(1, {"model": model(num_layers=2)}),
            "reverse": With(True, {"model": model(bidirectional=True)}),
            "gate": "n",
            "ax": AX,
        },
    ),
    "plot.fixed_points": Entry(
        drawing(plot.fixed_points),
        {"model": model(), "found": points(), "x": X},
        {
            "model": model(1),
            "found": points(1),
            "x": X + 1,
            "lengths": LENGTHS,
            "static": mapped(model=CONSTANTS),
            "trajectories": 3,
            "dimensions": 3,
            "ax": AX,
        },
    ),
    "plot.gradient_animation": Entry(
        plot.gradient_animation,
        {"monitor": probed(), "path": "a.html"},
        {
            "monitor": monitored(),
            "path": "b.html",
            "quantity": "W_hh",
            "show": Each(
                With("contribution", {"quantity": "W_hh"}), Refused("contribution", "show is")
            ),
            "seconds": 0.3,
        },
    ),
    "plot.gradient_over_time": Entry(
        drawing(plot.gradient_over_time),
        {"model": Fresh(model), "x": X, "y": Y},
        {
            "model": Fresh(lambda: model(1)),
            "x": X + 1,
            **OF_LOSSES,
            "weights": ["W_xh"],
            "show": "contribution",
            "layer": With(0, {"model": model(num_layers=2)}),
            "lengths": LENGTHS,
            "static": mapped(model=CONSTANTS),
            "ax": AX,
        },
    ),
    "plot.horizon_errors": Entry(
        drawing(plot.horizon_errors),
        {**PAIR, "horizon": 2},
        {
            "y": NUMBERS + 1,
            "predictions": X[:, 2],
            "horizon": 1,
            "feature_names": ["left"],
            "ax": AX,
        },
    ),
    "plot.predicted_against_true": Entry(drawing(plot.predicted_against_true), PAIR, OF_NUMBERS),
    "plot.residuals": Entry(drawing(plot.residuals), PAIR, OF_NUMBERS),
    "plot.style": Entry(styled, {"name": "screen"}, {"name": "paper"}),
    "diagnostics.fixed_points": Entry(
        fixed_points,
        {"model": Fresh(model), "x": np.zeros(2), "starts": 5, "data": X, "iterations": 3},
        {
            "model": Fresh(lambda: model(1)),
            "x": np.ones(2),
            "starts": Each(6, With(STATE, {"data": None})),
            "data": Each(X + 1, Refused(X, "data", {"starts": STATE, "data": None})),
            "lengths": Each(LENGTHS, Refused(LENGTHS, "lengths", {"starts": STATE, "data": None})),
            "static": Each(
                mapped(model=CONSTANTS),
                Refused(STATIC, "static", {"starts": STATE, "data": None}),
            ),
            "noise": 0.1,
            "seed": 1,
            "tol": 1.0,
            "slow": 1.0,
            "merge": With(1.0, {"tol": 1.0}),
            "iterations": 4,
        },
    ),
    "diagnostics.step_jacobian": Entry(
        step_jacobian,
        {"model": Fresh(model), "state": STATE, "x": np.zeros(2)},
        {
            "model": Fresh(lambda: model(1)),
            "state": STATE + 0.1,
            "x": np.ones(2),
            "wrt": "input",
        },
    ),
    "plot.gallery": Entry(
        gallery,
        {"folder": "a", "examples": Fresh(lambda: plot.Examples(1, 20))},
        {"folder": "b", "kind": "svg", "examples": Fresh(lambda: plot.Examples(2, 20))},
    ),
    "plot.Examples": Entry(examples, {"epochs": 1, "steps": 20}, {"epochs": 2, "steps": 21}),
    "plot.Examples.of": Entry(
        lambda section: sorted(plot.Examples(1, 20).of(section)),
        {"section": "Gradients over 200 steps"},
        {"section": "Nine speakers"},
    ),
    "plot.Picture.draw": Entry(
        lambda examples: plot.PICTURES["vanishing"].draw(examples).get_xlim(),
        {"examples": Fresh(lambda: plot.Examples(1, 20))},
        {"examples": Fresh(lambda: plot.Examples(1, 30))},
    ),
    "plot.gates": Entry(
        drawing(plot.gates),
        {"diagnosis": DEEP},
        {"diagnosis": diagnosed(1), "layer": 0, "ax": AX},
    ),
    "plot.gradient_flow": Entry(
        drawing(plot.gradient_flow),
        {"flows": DEEP},
        {
            "flows": diagnosed(1),
            "quantity": Each("gates", With("gates", {"flows": {"a": [1.0, 2.0]}})),
            "layer": Each(0, Refused(0, "layer is 0", {"flows": {"a": [1.0, 2.0]}})),
            "ax": AX,
        },
    ),
    "plot.gradient_heatmap": Entry(
        drawing(plot.gradient_heatmap),
        {"monitor": np.arange(1.0, 13.0).reshape(3, 4)},
        {
            "monitor": Fresh(monitored),
            "epochs": Each(
                [2, 4, 6], Refused([1, 2], "epochs is given", {"monitor": Fresh(monitored)})
            ),
            "ax": AX,
        },
    ),
    "plot.hidden_states": Entry(
        drawing(plot.hidden_states),
        {"model": Fresh(model), "x": X, "example": 2},
        {**OF_MODELS, "sort": False},
    ),
    "plot.learning_rates": Entry(
        drawing(plot.learning_rates), {"found": rates(None)}, {"found": rates(0.1), "ax": AX}
    ),
    "plot.losses": Entry(
        drawing(plot.losses),
        {"history": CURVES},
        {"history": Fresh(history), "names": ["accuracy"], "log": True, "ax": AX},
    ),
    "plot.saliency": Entry(
        drawing(plot.saliency),
        {"model": Fresh(model), "x": X, "y": Y, "example": 2},
        {**OF_MODELS, **OF_LOSSES, "feature_names": ["left", "right"]},
    ),
    "plot.sequences": Entry(
        drawing(plot.sequences),
        {"x": X, "y": CLASSES, "predictions": X[:, 0]},
        {
            "x": X + np.arange(6)[:, None] ** 2,
            "y": 1 - CLASSES,
            "predictions": X[:, 1],
            "steps": With("all", {"y": EACH, "predictions": X[:, :, :1]}),
            "lengths": LENGTHS,
            "examples": [2, 3],
            "class_names": Each(
                NAMES,
                Refused(NAMES, "class_names is given", {"y": None}),
                Refused(NAMES, "class_names is given", {"y": X[:, 0, 0]}),
                Refused(NAMES, "class_names is given", {"steps": "all", "y": EACH}),
                Refused(["down"], "class_names has 1"),
            ),
            "feature_names": ["left", "right"],
            "ids": Each(IDS, Refused(IDS[:9], "ids has 9 names")),
            "ax": AX,
        },
    ),
    "plot.trial": Entry(
        drawing(plot.trial),
        {"task": DECISION, "trials": DECISION.trials(3, seed=0)},
        {
            "task": tasks.DelayedMatchToSample(n_stimuli=2),
            "trials": DECISION.trials(3, seed=1),
            "example": 1,
            "outputs": np.ones((3, 60, 3)),
            "ax": AX,
        },
    ),
    "plot.psychometric": Entry(
        drawing(plot.psychometric),
        {"curves": CURVE},
        {
            "curves": {"one": CURVE, "other": tasks.psychometric([1, 2], np.array([True, False]))},
            "xlabel": "coherence",
            "ylabel": "to the right",
            "ax": AX,
        },
    ),
    "plot.unrolled": Entry(
        drawing(plot.unrolled),
        {"model": Fresh(model), "x": X, "y": Y, "example": 2},
        {**OF_MODELS, **OF_LOSSES, "columns": 3, "vocabulary": SPOKEN},
    ),
    "report": Entry(
        report,
        {"model": Fresh(network), "x": SHORT, "y": CLASSES, "path": "a.html"},
        {
            "model": Fresh(lambda: network(num_layers=2)),
            "x": SHORT + 1,
            "y": 1 - CLASSES,
            "path": "b.html",
            "history": Fresh(history),
            "lengths": np.minimum(LENGTHS, 5),
            "static": mapped(model=Fresh(lambda: network(static_size=2))),
            "loss": With("bce", {"y": np.eye(2)[CLASSES]}),
            "steps": With("all", {"y": EACH[:, :5].astype(int)}),
            "class_names": Each(NAMES, Refused(NAMES, "class_names is given", {"y": X[:, 0]})),
            "feature_names": Each(
                ["left", "right"],
                Refused(["left"], "feature_names is given", {"model": WORDS, "x": TOKENS}),
            ),
            "ids": Each(IDS, Refused(IDS[:9], "ids has 9 names")),
            "horizon": Each(With(2, {"y": X[:, 0]}), Refused(2, "horizon is given with classes")),
            "series": Each(
                With(["a", "b"] * 6, {"y": X[:, 0]}),
                Refused(["a", "b"] * 6, "series is given with classes"),
            ),
            "vocabulary": Each(
                With(list("abcdefg"), {"model": WORDS, "x": TOKENS}),
                Refused(list("abcdefg"), "vocabulary is given; expected None because the model"),
            ),
            "monitor": Fresh(monitored),
            "title": "Another",
        },
    ),
}
