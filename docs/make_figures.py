"""Draw the figures of the course: `python docs/make_figures.py [FOLDER]`, by default docs/figures.

Another FOLDER's numbers are compared with those of docs/figures; differences end the script with 1.

Each function below draws the figure of its name with `fastbptt.plot`, and returns it with the
numbers that the pages state about it, which are read from what is drawn. They become numbers.json
beside the figures. A test compares the list of functions with the files, and the numbers with the
pages; the gate runs this script.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

import fastbptt

Made = tuple[Figure, dict[str, Any]]
FIGURES: dict[str, Callable[[], Made]] = {}


def figure(make: Callable[[], Made]) -> Callable[[], Made]:
    FIGURES[make.__name__] = make
    return make


def long_sequences() -> tuple[np.ndarray, np.ndarray]:
    """The data of docs/gradients.md: 8 sequences of 200 steps, 4 random inputs, two kinds."""
    return np.random.default_rng(0).normal(size=(8, 200, 4)), np.array([0, 1] * 4)


def curves(ax: Any) -> dict[str, dict[str, Any]]:
    """First, last, smallest, largest number and median of each curve that the legend names."""
    found = {}
    for line in ax.lines:
        if not line.get_label().startswith("_"):
            y = np.asarray(line.get_ydata(), float)
            ends = {"first": y[0], "last": y[-1], "lowest": y.min(), "highest": y.max()}
            found[line.get_label()] = ends | {"median": np.median(y), "steps": len(y)}
    return found


def image(ax: Any) -> dict[str, Any]:
    """Rows and columns of a heat map."""
    rows, columns = ax.images[0].get_array().shape
    return {"rows": rows, "columns": columns}


def boxes(ax: Any) -> dict[str, Any]:
    """The last step of a diagram, and the one where the gradient has died."""
    names = [str(patch.get_gid()) for patch in ax.patches]
    steps = {int(name.split(".")[1]) for name in names if name.startswith("node-x.")}
    found: dict[str, Any] = {"steps": max(steps)}
    for text in ax.texts:
        if text.get_text().startswith("step "):
            dead = int(text.get_text().split(":")[0].removeprefix("step "))
            found["alive"] = max(steps) - dead
    return found


@figure
def unrolled() -> Made:
    """A tanh RNN of three units over five steps, with its values."""
    x = np.random.default_rng(0).normal(size=(1, 5, 2))
    model = fastbptt.RNN(2, 3, 1, seed=1)
    ax = fastbptt.plot.unrolled(model, x, np.array([1]))
    return ax.figure, boxes(ax) | {"units": model.hidden_size}


@figure
def unrolled_lstm() -> Made:
    """An LSTM over three steps: what flows along h and along c."""
    x, y = long_sequences()
    model = fastbptt.LSTM(4, 16, 1, init="keras", seed=0)
    ax = fastbptt.plot.unrolled(model, x[:, :3], y)
    return ax.figure, boxes(ax)


@figure
def unrolled_long() -> Made:
    """A tanh RNN of 64 units over 200 steps, to show how little gradient reaches the start."""
    x, y = long_sequences()
    model = fastbptt.RNN(4, 64, 1, seed=0)
    ax = fastbptt.plot.unrolled(model, x, y, columns=7)
    return ax.figure, boxes(ax) | {"units": model.hidden_size}


@figure
def vanishing() -> Made:
    """Cells with default weights, and LSTMs with larger forget biases."""
    x, y = long_sequences()
    models = {
        "tanh RNN": fastbptt.RNN(4, 64, 1, seed=0),
        "GRU": fastbptt.GRU(4, 64, 1, seed=0),
        "LSTM": fastbptt.LSTM(4, 64, 1, seed=0),
        "LSTM, forget bias 1": fastbptt.LSTM(4, 64, 1, forget_bias=1.0, seed=0),
        "LSTM, forget bias 5": fastbptt.LSTM(4, 64, 1, forget_bias=5.0, seed=0),
    }
    flows = {name: fastbptt.diagnose(m, x, y, jacobians=False) for name, m in models.items()}
    ax = fastbptt.plot.gradient_flow(flows)
    return ax.figure, curves(ax)


@figure
def gains() -> Made:
    """An orthogonal recurrent matrix times different gains."""
    x, y = long_sequences()
    models = {
        f"gain {gain}": fastbptt.RNN(4, 64, 1, init=("orthogonal", gain), seed=0)
        for gain in (2.0, 1.5, 1.0, 0.5)
    }
    flows = {name: fastbptt.diagnose(m, x, y, jacobians=False) for name, m in models.items()}
    ax = fastbptt.plot.gradient_flow(flows)
    return ax.figure, curves(ax)


@figure
def over_time() -> Made:
    """Contributions of the steps to dL/dW_hh in three cells, and the running sums."""
    return from_gallery("contributions", curves)


@figure
def eigenvalues() -> Made:
    """Default recurrent weights of 256 units."""
    model = fastbptt.RNN(4, 256, 1, seed=0)
    ax = fastbptt.plot.eigenvalues(model)
    points = np.hypot(*ax.lines[0].get_data())
    return ax.figure, {"units": model.hidden_size, "radius": points.max()}


@figure
def losses() -> Made:
    """The run of docs/training.md: nine speakers, early stopping."""
    speakers = fastbptt.datasets.load_japanese_vowels()
    frames = np.concatenate(speakers.x_train)
    train = [(one - frames.mean(axis=0)) / frames.std(axis=0) for one in speakers.x_train]
    history = fastbptt.fit(
        fastbptt.GRU(12, 48, 9, bidirectional=True, seed=0),
        train,
        speakers.y_train,
        epochs=40,
        optimizer=fastbptt.Adam(lr=5e-3),
        clip_norm=1.0,
        validation=0.2,
        patience=8,
        metrics="accuracy",
        verbose=0,
    )
    ax = fastbptt.plot.losses(history)
    return ax.figure, {"epochs": len(history), "best": history.best_epoch}


@figure
def remembering() -> Made:
    """Gradients over the epochs of an LSTM that learns to remember the first of 60 inputs."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 1024)
    x = rng.normal(0, 0.3, (1024, 60, 1))
    x[:, 0, 0] = 2 * y - 1
    model = fastbptt.LSTM(1, 32, 1, forget_bias=3.0, dtype="float64", seed=0)
    monitor = fastbptt.GradientMonitor(warn=False)
    history = fastbptt.fit(
        model,
        x,
        y,
        epochs=10,
        optimizer=fastbptt.Adam(lr=5e-3),
        clip_norm=1.0,
        callbacks=[monitor],
        verbose=0,
    )
    ax = fastbptt.plot.gradient_heatmap(monitor)
    norms = np.asarray(ax.images[0].get_array())
    assert history["loss"][-1] < 0.01
    # Training amplifies rounding, which instruction sets do differently: of later epochs only this.
    bound = 1e-4
    assert norms[-1, 0] < bound < norms[0, 0]
    row = norms[0]
    return ax.figure, image(ax) | {
        "epoch 1": {"first": row[0], "lowest": row.min(), "last": row[-1]},
        "epoch 10": {"bound": bound},
    }


def from_gallery(name: str, numbers: Callable[[Any], dict[str, Any]]) -> Made:
    """A plot of the gallery."""
    ax = fastbptt.plot.PICTURES[name].draw(examples())
    figure = ax.figure
    assert isinstance(figure, Figure)
    return figure, numbers(ax)


@cache
def examples() -> fastbptt.plot.Examples:
    return fastbptt.plot.Examples()


@figure
def sequences() -> Made:
    def count(ax: Any) -> dict[str, Any]:
        texts = [text.get_text() for text in ax.texts]
        return {"shown": len(texts), "wrong": sum("true" in text for text in texts)}

    return from_gallery("sequences", count)


@figure
def hidden_states() -> Made:
    return from_gallery("hidden_states", image)


@figure
def saliency() -> Made:
    return from_gallery("saliency", image)


@figure
def fixed_points() -> Made:
    def count(ax: Any) -> dict[str, Any]:
        labels = {line.get_label().split(" (")[0]: len(line.get_xdata()) for line in ax.lines}
        return {kind: labels.get(kind, 0) for kind in ("stable", "unstable", "marginal")}

    return from_gallery("fixed_points", count)


@figure
def tasks() -> Made:
    """A trial of each task of neuroscience."""
    every = fastbptt.datasets.tasks.TASKS
    with fastbptt.plot.style():
        made, places = plt.subplots(3, 2, figsize=(7, 7.6), layout="constrained")
        for (name, kind), ax in zip(every.items(), places.flat, strict=True):
            task = kind()
            fastbptt.plot.trial(task, task.trials(1, seed=1), ax=ax)
            ax.set_title(name.replace("_", " "))
    return made, {"tasks": len(every)}


@figure
def psychometric() -> Made:
    """Choices of a trained network by coherence."""
    return from_gallery("psychometric", lambda ax: {"levels": len(ax.containers[0][0].get_xdata())})


@cache
def decisions() -> tuple[Any, fastbptt.LeakyRNN, Any]:
    """The network of examples/decision_task.py, and trials of its task."""
    path = Path(__file__).parent.parent / "examples" / "decision_task.py"
    spec = importlib.util.spec_from_file_location("decision_task", path)
    assert spec is not None and spec.loader is not None
    example = sys.modules["decision_task"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    settings = example.Settings()
    return example, example.train(settings, 0), settings.task().trials(2000, seed=1)


@figure
def decision_psychometric() -> Made:
    """Choices of an excitatory-inhibitory network with noise."""
    example, model, trials = decisions()
    score, curve = example.decide(example.Settings().task(), model, trials, 1)
    assert score["correct"] > 0.9
    ax = fastbptt.plot.psychometric(
        curve, xlabel="coherence", ylabel="fraction of choices to the right"
    )
    return ax.figure, {"levels": len(ax.containers[0][0].get_xdata())}


@figure
def decision_trajectories() -> Made:
    """Its mean rates by coherence, with fixed points during the stimulus."""
    example, model, trials = decisions()
    found = example.rest(model, example.Settings())["stimulus"]
    assert found.stable.any()
    ax = example.draw_trajectories(model, trials, found)
    curves = sum(len(line.get_xdata()) == trials.x.shape[1] for line in ax.lines)
    return ax.figure, {"coherences": curves}


def plain(value: Any) -> Any:
    """Numbers as JSON, in four digits."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    return int(value) if isinstance(value, int | np.integer) else float(f"{value:.4g}")


def differences(ours: Any, theirs: Any, place: str = "") -> list[str]:
    """Places where numbers of two runs are further apart than rounding on two processors."""
    if isinstance(ours, dict) and isinstance(theirs, dict) and ours.keys() == theirs.keys():
        return [
            one for key in ours for one in differences(ours[key], theirs[key], f"{place} {key}")
        ]
    same = type(ours) is type(theirs) and np.isclose(ours, theirs, rtol=0.03, atol=0.0)
    return [] if same else [f"{place.strip()}: {ours}, expected {theirs}"]


def main() -> int:
    stored = Path(__file__).parent / "figures"
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else stored
    folder.mkdir(parents=True, exist_ok=True)
    numbers = {}
    for name, make in FIGURES.items():
        made, numbers[name] = make()
        made.savefig(folder / f"{name}.png", dpi=200, bbox_inches="tight", facecolor="white")
        plt.close(made)
        print(folder / f"{name}.png")
    (folder / "numbers.json").write_text(json.dumps(plain(numbers), indent=1) + "\n")
    other = differences(plain(numbers), json.loads((stored / "numbers.json").read_text()))
    print("\n".join(other))
    return int(bool(other))


if __name__ == "__main__":
    sys.exit(main())
