"""The gallery: one of each plot, of the demo's data and of vanishing gradients.

The page of the documentation shows the bodies of these functions: the data of a section, then
each of its pictures. An argument is what the section's data hold under its name.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from .. import _check, diagnostics
from ..datasets import load_japanese_vowels, tasks
from ..diagnostics import GradientMonitor, diagnose
from ..models import GRU, LSTM, RNN
from ..optim import Adam
from ..training import find_lr, fit, predict
from . import _style
from .behaviour import psychometric, trial
from .curves import learning_rates, losses
from .flow import gates, gradient_flow, gradient_heatmap, saliency
from .numeric import horizon_errors, predicted_against_true, residuals
from .over_time import gradient_over_time
from .phase import fixed_points
from .predictions import confusion, sequences
from .states import eigenvalues, hidden_states
from .unrolled import unrolled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["PICTURES", "Examples", "Picture", "gallery"]

_FORMATS: Final = ("png", "svg", "pdf")

Maker = Callable[..., dict[str, Any]]

#: The data of each section of the gallery, by its title; arguments are those of `Examples`.
SECTIONS: Final[dict[str, Maker]] = {}


class Picture(NamedTuple):
    """An entry of the gallery.

    Attributes
    ----------
    section : str
        The title of its section, whose data it shows.
    make : callable
        Draws it, from data that are named like its arguments.
    """

    section: str
    make: Callable[..., Any]

    @property
    def caption(self) -> str:
        """The caption."""
        return " ".join((self.make.__doc__ or "").split())

    def draw(self, examples: Examples) -> Axes:
        """Draw it into a new figure, of which pyplot knows nothing.

        Parameters
        ----------
        examples : Examples
            The models and data to plot.

        Returns
        -------
        matplotlib.axes.Axes
            What was drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.

        Examples
        --------
        >>> import fastbptt
        >>> few = fastbptt.plot.Examples(epochs=1, steps=20)
        >>> ax = fastbptt.plot.PICTURES["vanishing"].draw(few)
        >>> ax.get_xlabel()
        'time step t'
        """
        data = examples.of(self.section)
        with _style.without_pyplot():
            ax: Axes = self.make(**{name: data[name] for name in _arguments(self.make)})
        return ax


#: Every plot, by the name of its file.
PICTURES: Final[dict[str, Picture]] = {}


class Examples:
    """Models and data for the gallery, made on first use.

    Parameters
    ----------
    epochs : int, default 40
        Training epochs of each model.
    steps : int, default 200
        Length of the sequences in which gradients vanish.

    Examples
    --------
    >>> import fastbptt
    >>> few = fastbptt.plot.Examples(epochs=1, steps=20)
    >>> few.of("Gradients over 200 steps")["x"].shape
    (16, 20, 4)
    """

    def __init__(self, epochs: int = 40, steps: int = 200) -> None:
        self.epochs = epochs
        self.steps = steps
        self._made: dict[str, dict[str, Any]] = {}

    def of(self, section: str) -> dict[str, Any]:
        """Return the data of a section by name.

        Parameters
        ----------
        section : str
            Its title.

        Returns
        -------
        dict of str to object
            Arrays, models and what was found out about them.

        Raises
        ------
        ValueError, TypeError
            If there is no such section.
        """
        make = SECTIONS[_check.option("section", section, SECTIONS)]
        if section not in self._made:
            self._made[section] = make(**{one: getattr(self, one) for one in _arguments(make)})
        return self._made[section]


def _arguments(function: Callable[..., Any]) -> list[str]:
    return [*inspect.signature(function).parameters]


def _section(title: str) -> Callable[[Maker], Maker]:
    def add(make: Maker) -> Maker:
        SECTIONS[title] = make
        return make

    return add


def _picture(make: Callable[..., Any]) -> Callable[..., Any]:
    """Add a picture to the last section."""
    PICTURES[make.__name__.removeprefix("_")] = Picture([*SECTIONS][-1], make)
    return make


@_section("Gradients over 200 steps")
def _noise(steps: int = 200) -> dict[str, Any]:
    """Random sequences and three untrained cells; the loss is at the last step."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(16, steps, 4)), rng.integers(0, 2, 16)
    cells = {
        "tanh RNN": RNN(4, 64, 1, seed=0),
        "GRU": GRU(4, 64, 1, seed=0),
        "LSTM, forget bias 1": LSTM(4, 64, 1, init="keras", seed=0),
    }
    return {"x": x, "y": y, "cells": cells}


@_picture
def _vanishing(x: Any, y: Any, cells: Any) -> Axes:
    """Gradient norm at each step, on a logarithmic scale."""
    flows = {name: diagnose(model, x, y, jacobians=False) for name, model in cells.items()}
    return gradient_flow(flows)


@_picture
def _contributions(x: Any, y: Any, cells: Any) -> Axes:
    """Contribution of each step to the gradient of the recurrent weights, and the running sum."""
    return gradient_over_time(cells, x, y, weights=("W_hh",))


@_picture
def _unrolled(x: Any, y: Any, cells: Any) -> Axes:
    """A tanh RNN over twenty steps: what flows along each edge, how its gradients grow."""
    return unrolled(cells["tanh RNN"], x[:, :20], y, columns=9)


@_picture
def _unrolled_lstm(x: Any, y: Any) -> Axes:
    """An LSTM over three steps: the flows along h and along c."""
    model = LSTM(4, 16, 1, init="keras", seed=0)
    return unrolled(model, x[:, :3], y)


@_picture
def _unrolled_bidirectional(x: Any, y: Any) -> Axes:
    """A bidirectional network: each input gets two flows."""
    model = GRU(4, 24, 2, bidirectional=True, seed=0)
    return unrolled(model, x[:, :20], y, columns=3)


@_picture
def _unrolled_words() -> Axes:
    """Two layers that read words."""
    words = ["<pad>", "<unk>", "the", "film", "was", "not", "good"]
    model = GRU(8, 24, 1, num_layers=2, embedding=len(words), seed=0)
    tokens = [[words.index(word) for word in ("the", "film", "was", "not", "good")]]
    return unrolled(model, tokens, [0], vocabulary=words)


@_section("Nine speakers")
def _speakers(epochs: int = 40) -> dict[str, Any]:
    """A GRU that recognises nine speakers by two vowels; its training and its predictions."""
    vowels = load_japanese_vowels()
    model = GRU(12, 48, 9, init="keras", seed=0)
    monitor = GradientMonitor(warn=False)
    history = fit(
        model,
        vowels.x_train,
        vowels.y_train,
        epochs=epochs,
        optimizer=Adam(lr=3e-3),
        clip_norm=1.0,
        validation=0.2,
        metrics="accuracy",
        callbacks=[monitor],
        verbose=0,
    )
    outputs = predict(model, vowels.x_test)
    return {
        "vowels": vowels,
        "model": model,
        "monitor": monitor,
        "history": history,
        "outputs": outputs,
    }


@_picture
def _losses(history: Any) -> Axes:
    """Training and validation loss, and the best epoch."""
    return losses(history)


@_picture
def _learning_rates(vowels: Any) -> Axes:
    """The loss while the learning rate rises, and the suggestion."""
    untrained = GRU(12, 48, 9, init="keras", seed=0)
    return learning_rates(find_lr(untrained, vowels.x_train, vowels.y_train))


@_picture
def _accuracy(history: Any) -> Axes:
    """Another curve of the history."""
    return losses(history, ["accuracy", "validation_accuracy"])


@_picture
def _gradient_heatmap(monitor: Any) -> Axes:
    """Gradient norm at each time step in each epoch of training."""
    return gradient_heatmap(monitor)


@_picture
def _confusion(vowels: Any, outputs: Any) -> Axes:
    """Confusion matrix of the test part."""
    return confusion(vowels.y_test, outputs, vowels.class_names)


@_picture
def _sequences(vowels: Any, outputs: Any) -> Axes:
    """Sequences with their predictions; the last one is the first that is misclassified."""
    wrong = np.flatnonzero(outputs.argmax(axis=1) != vowels.y_test)
    return sequences(
        vowels.x_test,
        vowels.y_test,
        outputs,
        examples=[0, 100, 200, *wrong[:1]],
        class_names=vowels.class_names,
        feature_names=vowels.feature_names,
    )


@_picture
def _hidden_states(model: Any, vowels: Any) -> Axes:
    """Hidden states over time."""
    return hidden_states(model, vowels.x_test)


@_picture
def _gates(model: Any, vowels: Any) -> Axes:
    """Mean gate activation over time, in the sequences of 15 steps."""
    same = [i for i, one in enumerate(vowels.x_test) if len(one) == 15]
    x, y = [vowels.x_test[i] for i in same], vowels.y_test[same]
    return gates(diagnose(model, x, y, jacobians=False))


@_picture
def _saliency(model: Any, vowels: Any) -> Axes:
    """Saliency: the gradient of the loss with respect to the inputs."""
    return saliency(model, vowels.x_test, vowels.y_test, feature_names=vowels.feature_names)


@_picture
def _eigenvalues(model: Any, vowels: Any) -> Axes:
    """Eigenvalues of the Jacobian of a sequence's last step, and the unit circle."""
    return eigenvalues(model, vowels.x_test)


@_section("Forecasts")
def _waves(epochs: int = 40) -> dict[str, Any]:
    """Two noisy waves, six steps ahead: the truth and a GRU's forecasts."""
    time = np.arange(441)[:, np.newaxis]
    waves = np.sin(time / np.array([3.0, 4.0])) * np.array([1.0, 0.6])
    waves += np.random.default_rng(0).normal(0.0, 0.15, waves.shape)
    windows = np.lib.stride_tricks.sliding_window_view(waves, 26, axis=0).transpose(0, 2, 1)
    x, y = windows[:, :20], windows[:, 20:].reshape(len(windows), -1)
    model = GRU(2, 24, 12, init="keras", dtype="float64", seed=0)
    # the next windows overlap these
    fit(model, x[:290], y[:290], loss="mse", epochs=epochs, optimizer=Adam(lr=5e-3), verbose=0)
    truth, forecasts = y[-100:], predict(model, x[-100:])
    return {"truth": truth, "forecasts": forecasts}


@_picture
def _predicted_against_true(truth: Any, forecasts: Any) -> Axes:
    """Predicted against true numbers: twelve outputs."""
    return predicted_against_true(truth, forecasts)


@_picture
def _residuals(truth: Any, forecasts: Any) -> Axes:
    """Residuals of the same predictions."""
    return residuals(truth, forecasts)


@_picture
def _horizon_errors(truth: Any, forecasts: Any) -> Axes:
    """Error of forecasts by how many steps ahead they are."""
    return horizon_errors(truth, forecasts, 6, feature_names=["fast wave", "slow wave"])


@_section("A flip-flop")
def _flip_flops(epochs: int = 40) -> dict[str, Any]:
    """A GRU that remembers the signs of the last pulses of two inputs."""
    rng = np.random.default_rng(0)
    x = rng.choice([-1.0, 0.0, 1.0], (128, 30, 2), p=[0.1, 0.8, 0.1])
    x[:, 0] = rng.choice([-1.0, 1.0], (128, 2))
    y = x.copy()
    for t in range(1, x.shape[1]):
        y[:, t] = np.where(x[:, t] != 0, x[:, t], y[:, t - 1])
    model = GRU(2, 16, 2, seed=0)
    fit(
        model,
        x,
        y,
        loss="mse",
        steps="all",
        epochs=epochs,
        batch_size=16,
        optimizer=Adam(lr=0.01),
        clip_norm=1.0,
        verbose=0,
    )
    return {"model": model, "x": x}


@_picture
def _fixed_points(model: Any, x: Any) -> Axes:
    """Fixed points among the states that it visits: a stable one for each pair of signs."""
    found = diagnostics.fixed_points(model, [0.0, 0.0], 200, data=x, noise=0.3)
    return fixed_points(model, found, x)


@_section("A perceptual decision")
def _decisions(epochs: int = 40) -> dict[str, Any]:
    """A GRU that tells which of two noisy inputs is larger, and its outputs for fresh trials."""
    task = tasks.PerceptualDecision(noise=0.1)
    model = GRU(task.input_size, 32, task.output_size, init="keras", seed=0)
    batches = task.batches(32, seed=0)
    fit(
        model,
        batches,
        **task.objective,
        steps_per_epoch=25,
        epochs=epochs,
        optimizer=Adam(lr=0.01),
        clip_norm=1.0,
        verbose=0,
    )
    trials = task.trials(1000, seed=1)
    outputs = predict(model, trials.x, steps="all")
    return {"task": task, "trials": trials, "outputs": outputs}


@_picture
def _trial(task: Any, trials: Any, outputs: Any) -> Axes:
    """One trial over time: inputs, targets and the network's outputs."""
    return trial(task, trials, outputs=outputs)


@_picture
def _psychometric(trials: Any, outputs: Any) -> Axes:
    """Psychometric curve: choices by the coherence of the stimulus."""
    right = outputs[:, -1, 1] > outputs[:, -1, 2]  # at the last step, of the two choices
    coherence = trials.conditions["coherence"]
    curve = tasks.psychometric(coherence, right, fit=0 < right.mean() < 1)
    return psychometric(curve, xlabel="coherence", ylabel="fraction of choices to the right")


def gallery(
    folder: str | os.PathLike[str], kind: str = "png", examples: Examples | None = None
) -> list[str]:
    """Save one of each plot in a folder.

    Parameters
    ----------
    folder : str or path-like
        Created if it does not exist.
    kind : {"png", "svg", "pdf"}
        The format.
    examples : Examples, optional
        The models and data to plot; by default a GRU trained on the Japanese Vowels, three cells
        over 200 steps, forecasts, a flip-flop and a perceptual decision.

    Returns
    -------
    list of str
        The files.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If the format is unknown.
    OSError
        If a file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> import fastbptt
    >>> few = fastbptt.plot.Examples(epochs=1, steps=20)
    >>> files = fastbptt.plot.gallery(tempfile.mkdtemp(), "svg", few)
    >>> len(files) == len(fastbptt.plot.PICTURES)
    True
    """
    _check.option("kind", kind, _FORMATS)
    _style.require()
    place = Path(_check.file_path(folder))
    place.mkdir(parents=True, exist_ok=True)
    examples = Examples() if examples is None else examples
    return [save(name, place / f"{name}.{kind}", examples) for name in PICTURES]


def save(name: str, file: Path, examples: Examples) -> str:
    """Save one plot of the gallery; return the file's name."""
    with _style.style():
        figure = PICTURES[name].draw(examples).figure
        figure.savefig(file, bbox_inches="tight", pad_inches=0.03)
    return str(file)
