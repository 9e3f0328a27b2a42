"""Draw the figures of the course: `python docs/make_figures.py [FOLDER]`, by default docs/figures.

Each function below draws the figure of its name with `fastbptt.plot`. A test compares the list
with the files, and the gate runs this script.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

import fastbptt

FIGURES: dict[str, Callable[[], Figure]] = {}


def figure(make: Callable[[], Figure]) -> Callable[[], Figure]:
    FIGURES[make.__name__] = make
    return make


def long_sequences() -> tuple[np.ndarray, np.ndarray]:
    """The data of docs/gradients.md: 8 sequences of 200 steps, 4 random inputs, two kinds."""
    return np.random.default_rng(0).normal(size=(8, 200, 4)), np.array([0, 1] * 4)


@figure
def unrolled() -> Figure:
    """A tanh RNN of three units over five steps, with its values."""
    x = np.random.default_rng(0).normal(size=(1, 5, 2))
    model = fastbptt.RNN(2, 3, 1, seed=1)
    return fastbptt.plot.unrolled(model, x, np.array([1])).figure


@figure
def unrolled_lstm() -> Figure:
    """An LSTM over three steps: what flows along h and along c."""
    x, y = long_sequences()
    model = fastbptt.LSTM(4, 16, 1, init="keras", seed=0)
    return fastbptt.plot.unrolled(model, x[:, :3], y).figure


@figure
def unrolled_long() -> Figure:
    """A tanh RNN of 64 units over 200 steps, to show how little gradient reaches the start."""
    x, y = long_sequences()
    model = fastbptt.RNN(4, 64, 1, seed=0)
    return fastbptt.plot.unrolled(model, x, y, columns=7).figure


@figure
def vanishing() -> Figure:
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
    return fastbptt.plot.gradient_flow(flows).figure


@figure
def gains() -> Figure:
    """An orthogonal recurrent matrix times different gains."""
    x, y = long_sequences()
    models = {
        f"gain {gain}": fastbptt.RNN(4, 64, 1, init=("orthogonal", gain), seed=0)
        for gain in (2.0, 1.5, 1.0, 0.5)
    }
    flows = {name: fastbptt.diagnose(m, x, y, jacobians=False) for name, m in models.items()}
    return fastbptt.plot.gradient_flow(flows).figure


@figure
def over_time() -> Figure:
    """Contributions of the steps to dL/dW_hh in three cells, and the running sums."""
    return from_gallery("contributions")


@figure
def eigenvalues() -> Figure:
    """Default recurrent weights: a disc of radius 0.58."""
    return fastbptt.plot.eigenvalues(fastbptt.RNN(4, 256, 1, seed=0)).figure


@figure
def losses() -> Figure:
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
    return fastbptt.plot.losses(history).figure


@figure
def remembering() -> Figure:
    """Gradients over the epochs of an LSTM that learns to remember the first of 60 inputs."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 1024)
    x = rng.normal(0, 0.3, (1024, 60, 1))
    x[:, 0, 0] = 2 * y - 1
    model = fastbptt.LSTM(1, 32, 1, forget_bias=3.0, seed=0)
    monitor = fastbptt.GradientMonitor(warn=False)
    fastbptt.fit(
        model,
        x,
        y,
        epochs=10,
        optimizer=fastbptt.Adam(lr=5e-3),
        clip_norm=1.0,
        callbacks=[monitor],
        verbose=0,
    )
    return fastbptt.plot.gradient_heatmap(monitor).figure


def from_gallery(name: str) -> Figure:
    """A plot of the gallery."""
    return fastbptt.plot.PICTURES[name].draw(examples()).figure


@cache
def examples() -> fastbptt.plot.Examples:
    return fastbptt.plot.Examples()


@figure
def sequences() -> Figure:
    return from_gallery("sequences")


@figure
def hidden_states() -> Figure:
    return from_gallery("hidden_states")


@figure
def saliency() -> Figure:
    return from_gallery("saliency")


@figure
def fixed_points() -> Figure:
    return from_gallery("fixed_points")


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in FIGURES.items():
        made = make()
        made.savefig(folder / f"{name}.png", dpi=200, bbox_inches="tight", facecolor="white")
        plt.close(made)
        print(folder / f"{name}.png")


if __name__ == "__main__":
    main()
