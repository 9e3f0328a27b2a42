"""Entries of `fastbptt.plot` and of the report."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np
from effects import Each, Entry, Fresh, Refused, With, drawn
from matplotlib.figure import Figure

import fastbptt
from fastbptt import plot
from fastbptt._html import tag
from fastbptt.reporting import sections, summary

from .common import EACH, LENGTHS, X, Y, model

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


def resting(seed: int = 0) -> Any:
    return fastbptt.diagnostics.fixed_points(model(seed), [0.0, 0.0], 4, data=X)


WORDS = network(embedding=7)
DEEP = diagnosed(num_layers=2)


def gallery(**arguments: Any) -> Any:
    few = {name: plot.PICTURES[name] for name in ("unrolled", "accuracy")}
    with mock.patch.dict(plot.PICTURES, few, clear=True):
        return plot.gallery(**arguments)


def examples(**settings: Any) -> Any:
    made = plot.Examples(**settings)
    return made.x.shape, made.trained[1]


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


def report(**arguments: Any) -> None:
    speed = summary.Speed(1, 1, 1.0, 1.0, 1.0, None)
    with (
        mock.patch.object(sections, "figure", described),
        mock.patch.object(summary, "_speed", return_value=speed),
    ):
        fastbptt.report(**arguments)


CURVES = {"loss": [3.0, 2.0, 1.0], "accuracy": [0.1, 0.2, 0.3]}
OF_MODELS: dict[str, Any] = {
    "model": Fresh(lambda: model(1)),
    "x": X + 1,
    "lengths": LENGTHS,
    "example": 1,
    "ax": AX,
}
OF_LOSSES: dict[str, Any] = {"y": 1 - Y, "loss": "mse", "steps": With("all", {"y": EACH})}
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
            "layer": With(1, {"model": model(num_layers=2)}),
            "reverse": With(True, {"model": model(bidirectional=True)}),
            "gate": Each("n", Refused("n", "None because x is given", {"x": X})),
            "x": X,
            "lengths": Each(With(LENGTHS, {"x": X, "example": 1}), Refused(LENGTHS, "lengths")),
            "example": Each(With(1, {"x": X}), Refused(1, "example is given; expected x")),
            "ax": AX,
        },
    ),
    "plot.fixed_points": Entry(
        drawing(plot.fixed_points),
        {"model": model(), "found": resting(), "x": X},
        {
            "model": model(1),
            "found": resting(1),
            "x": X + 1,
            "lengths": LENGTHS,
            "trajectories": 2,
            "dimensions": 3,
            "ax": AX,
        },
    ),
    "plot.gallery": Entry(
        gallery,
        {"folder": "a", "examples": Fresh(lambda: plot.Examples(1, 20))},
        {"folder": "b", "kind": "svg", "examples": Fresh(lambda: plot.Examples(2, 20))},
    ),
    "plot.Examples": Entry(examples, {"epochs": 1, "steps": 20}, {"epochs": 2, "steps": 21}),
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
            "ids": Each(IDS, Refused(IDS[:9], "ids has 9 names")),
            "ax": AX,
        },
    ),
    "plot.unrolled": Entry(
        drawing(plot.unrolled),
        {"model": Fresh(model), "x": X, "y": Y, "example": 2},
        {**OF_MODELS, **OF_LOSSES, "columns": 3},
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
            "loss": With("bce", {"y": np.eye(2)[CLASSES]}),
            "steps": With("all", {"y": EACH[:, :5].astype(int)}),
            "class_names": Each(NAMES, Refused(NAMES, "class_names is given", {"y": X[:, 0]})),
            "feature_names": Each(
                ["left", "right"],
                Refused(["left"], "feature_names is given", {"model": WORDS, "x": TOKENS}),
            ),
            "ids": Each(IDS, Refused(IDS[:9], "ids has 9 names")),
            "monitor": Fresh(monitored),
            "title": "Another",
        },
    ),
}
