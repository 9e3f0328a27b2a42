"""The gallery: one of each plot, of the demo's data and of vanishing gradients."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import _check
from . import _style
from .curves import learning_rates, losses
from .flow import gates, gradient_flow, gradient_heatmap, saliency
from .numeric import horizon_errors, predicted_against_true, residuals
from .over_time import gradient_over_time
from .phase import fixed_points
from .predictions import confusion, sequences
from .states import eigenvalues, hidden_states
from .unrolled import unrolled

if TYPE_CHECKING:
    from ..diagnostics import Diagnosis, FixedPoints, GradientMonitor
    from ..models.cells import Recurrent
    from ..training import History, LearningRates

__all__ = ["PICTURES", "Examples", "Picture", "gallery"]

_FORMATS: Final = ("png", "svg", "pdf")
_WORDS: Final = ("<pad>", "<unk>", "the", "film", "was", "not", "good")


class Picture(NamedTuple):
    """An entry of the gallery.

    Attributes
    ----------
    draw : callable
        Draws it from `Examples` into an Axes.
    caption : str
        The caption.
    size : tuple of float
        Inches.
    """

    draw: Callable[[Examples, Any], Any]
    caption: str
    size: tuple[float, float] = _style.HALF_PAGE


class Examples:
    """Models and data for the gallery, made on first use.

    Parameters
    ----------
    epochs : int, default 40
        Training epochs on the Japanese Vowels, and of the flip-flops.
    steps : int, default 200
        Length of the sequences in which gradients vanish.
    """

    def __init__(self, epochs: int = 40, steps: int = 200) -> None:
        from ..datasets import load_japanese_vowels

        self.epochs = epochs
        self.vowels = load_japanese_vowels()
        rng = np.random.default_rng(0)
        self.x = rng.normal(size=(16, steps, 4))
        self.y = rng.integers(0, 2, 16)

    @cached_property
    def trained(self) -> tuple[Recurrent, History, GradientMonitor]:
        """A GRU that classifies nine speakers, and its training."""
        from ..diagnostics import GradientMonitor
        from ..models import GRU
        from ..optim import Adam
        from ..training import fit

        monitor = GradientMonitor(warn=False)
        model = GRU(12, 48, 9, init="keras", seed=0)
        history = fit(
            model,
            self.vowels.x_train,
            self.vowels.y_train,
            epochs=self.epochs,
            optimizer=Adam(lr=3e-3),
            clip_norm=1.0,
            validation=0.2,
            metrics="accuracy",
            callbacks=[monitor],
            verbose=0,
        )
        return model, history, monitor

    @cached_property
    def rates(self) -> LearningRates:
        """A learning-rate range test for the same task."""
        from ..models import GRU
        from ..training import find_lr

        model = GRU(12, 48, 9, init="keras", seed=0)
        return find_lr(model, self.vowels.x_train, self.vowels.y_train)

    @property
    def model(self) -> Recurrent:
        """The trained model."""
        return self.trained[0]

    @cached_property
    def predictions(self) -> NDArray[np.floating[Any]]:
        """Its outputs for the test part, (370, 9)."""
        from ..training import predict

        outputs = predict(self.model, self.vowels.x_test)
        assert isinstance(outputs, np.ndarray)
        return outputs

    @cached_property
    def cells(self) -> dict[str, Recurrent]:
        """Three untrained cells."""
        from ..models import GRU, LSTM, RNN

        return {
            "tanh RNN": RNN(4, 64, 1, seed=0),
            "GRU": GRU(4, 64, 1, seed=0),
            "LSTM, forget bias 1": LSTM(4, 64, 1, init="keras", seed=0),
        }

    @cached_property
    def flows(self) -> dict[str, Diagnosis]:
        """Gradients of a loss at the last of many steps, in three untrained cells."""
        from ..diagnostics import diagnose

        return {
            name: diagnose(model, self.x, self.y, jacobians=False)
            for name, model in self.cells.items()
        }

    @cached_property
    def flip_flops(self) -> tuple[Recurrent, NDArray[np.float64], FixedPoints]:
        """A GRU that remembers the signs of the last pulses of two inputs; its fixed points."""
        from .. import diagnostics
        from ..models import GRU
        from ..optim import Adam
        from ..training import fit

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
            epochs=self.epochs,
            batch_size=16,
            optimizer=Adam(lr=0.01),
            clip_norm=1.0,
            verbose=0,
        )
        return model, x, diagnostics.fixed_points(model, [0.0, 0.0], 200, data=x, noise=0.3)

    @cached_property
    def forecasts(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Two noisy waves, six steps ahead: the truth and a GRU's forecasts, (100, 12)."""
        from ..models import GRU
        from ..optim import Adam
        from ..training import fit, predict

        time = np.arange(441)[:, np.newaxis]
        waves = np.sin(time / np.array([3.0, 4.0])) * np.array([1.0, 0.6])
        waves += np.random.default_rng(0).normal(0.0, 0.15, waves.shape)
        windows = np.lib.stride_tricks.sliding_window_view(waves, 26, axis=0).transpose(0, 2, 1)
        x, y = windows[:, :20], windows[:, 20:].reshape(len(windows), -1)
        model = GRU(2, 24, 12, init="keras", dtype="float64", seed=0)
        epochs, adam = min(self.epochs, 20), Adam(lr=5e-3)
        # the next windows overlap these
        fit(model, x[:290], y[:290], loss="mse", epochs=epochs, optimizer=adam, verbose=0)
        found = predict(model, x[-100:])
        return y[-100:], np.asarray(found, np.float64)

    def shown(self) -> list[int]:
        """Choose four sequences of the test part, the last one misclassified if any is."""
        wrong = np.flatnonzero(self.predictions.argmax(axis=1) != self.vowels.y_test)
        return [0, 100, 200, int(wrong[0]) if len(wrong) else 300]


def _unrolled(examples: Examples, ax: Any) -> Any:
    from ..models import RNN

    model = RNN(4, 64, 1, seed=0)
    return unrolled(model, examples.x[:, :20], examples.y, columns=9, ax=ax)


def _unrolled_lstm(examples: Examples, ax: Any) -> Any:
    from ..models import LSTM

    model = LSTM(4, 16, 1, init="keras", seed=0)
    return unrolled(model, examples.x[:, :3], examples.y, ax=ax)


def _unrolled_both(examples: Examples, ax: Any) -> Any:
    from ..models import GRU

    model = GRU(4, 24, 2, bidirectional=True, seed=0)
    return unrolled(model, examples.x[:, :20], examples.y, columns=3, ax=ax)


def _unrolled_words(examples: Examples, ax: Any) -> Any:
    from ..models import GRU

    model = GRU(8, 24, 1, num_layers=2, embedding=len(_WORDS), seed=0)
    tokens = [[_WORDS.index(word) for word in ("the", "film", "was", "not", "good")]]
    return unrolled(model, tokens, [0], vocabulary=_WORDS, ax=ax)


def _fixed_points(examples: Examples, ax: Any) -> Any:
    model, x, found = examples.flip_flops
    return fixed_points(model, found, x, ax=ax)


#: Every plot, by the name of its file.
PICTURES: Final[dict[str, Picture]] = {
    "vanishing": Picture(
        lambda examples, ax: gradient_flow(examples.flows, ax=ax),
        "Gradient of a loss at the last of 200 steps, before training: in a tanh RNN it falls by "
        "fifty orders of magnitude on its way to the first step.",
    ),
    "contributions": Picture(
        lambda examples, ax: gradient_over_time(examples.cells, examples.x, examples.y, ax=ax),
        "Contribution of each step to the gradient of the recurrent weights, and the running sum.",
    ),
    "gradient_heatmap": Picture(
        lambda examples, ax: gradient_heatmap(examples.trained[2], ax=ax),
        "Gradient norm at each time step in each epoch of training.",
    ),
    "unrolled": Picture(
        _unrolled,
        "A tanh RNN unrolled over twenty steps: what flows along each edge, and how the gradients "
        "of its weights grow.",
        (8.1, 5.8),
    ),
    "unrolled_lstm": Picture(
        _unrolled_lstm,
        "An LSTM over three steps: the flows along h and along c.",
        (6.2, 7.5),
    ),
    "unrolled_bidirectional": Picture(
        _unrolled_both,
        "A bidirectional network: each input gets two flows.",
        (4.9, 7.1),
    ),
    "unrolled_words": Picture(
        _unrolled_words,
        "Two layers that read words.",
        (5.2, 7.6),
    ),
    "losses": Picture(
        lambda examples, ax: losses(examples.trained[1], ax=ax),
        "Training and validation loss, and the best epoch.",
    ),
    "learning_rates": Picture(
        lambda examples, ax: learning_rates(examples.rates, ax=ax),
        "The loss while the learning rate rises, and the suggestion.",
    ),
    "accuracy": Picture(
        lambda examples, ax: losses(
            examples.trained[1], ["accuracy", "validation_accuracy"], ax=ax
        ),
        "Another curve of the history.",
    ),
    "confusion": Picture(
        lambda examples, ax: confusion(
            examples.vowels.y_test, examples.predictions, examples.vowels.class_names, ax=ax
        ),
        "Confusion matrix of nine speakers.",
        (3.9, 3.5),
    ),
    "sequences": Picture(
        lambda examples, ax: sequences(
            examples.vowels.x_test,
            examples.vowels.y_test,
            examples.predictions,
            examples=examples.shown(),
            class_names=examples.vowels.class_names,
            feature_names=examples.vowels.feature_names,
            ax=ax,
        ),
        "Sequences with their predictions.",
        (3.5, 3.0),
    ),
    "predicted_against_true": Picture(
        lambda examples, ax: predicted_against_true(*examples.forecasts, ax=ax),
        "Predicted against true numbers: twelve outputs.",
        (3.5, 3.1),
    ),
    "residuals": Picture(
        lambda examples, ax: residuals(*examples.forecasts, ax=ax),
        "Residuals of the same predictions.",
    ),
    "horizon_errors": Picture(
        lambda examples, ax: horizon_errors(
            *examples.forecasts, 6, feature_names=["fast wave", "slow wave"], ax=ax
        ),
        "Error of forecasts by how many steps ahead they are.",
    ),
    "hidden_states": Picture(
        lambda examples, ax: hidden_states(examples.model, examples.vowels.x_test, ax=ax),
        "Hidden states over time.",
    ),
    "gates": Picture(
        lambda examples, ax: gates(_diagnosis(examples), ax=ax),
        "Mean gate activation over time.",
    ),
    "saliency": Picture(
        lambda examples, ax: saliency(
            examples.model,
            examples.vowels.x_test,
            examples.vowels.y_test,
            feature_names=examples.vowels.feature_names,
            ax=ax,
        ),
        "Saliency: the gradient of the loss with respect to the inputs.",
        (3.5, 2.8),
    ),
    "eigenvalues": Picture(
        lambda examples, ax: eigenvalues(examples.model, examples.vowels.x_test, ax=ax),
        "Eigenvalues of the Jacobian of a sequence's last step, and the unit circle.",
        (3.5, 3.1),
    ),
    "fixed_points": Picture(
        _fixed_points,
        "Fixed points of a GRU that remembers two signs: four stable ones, and saddles between.",
        (3.5, 3.1),
    ),
}


def _diagnosis(examples: Examples) -> Diagnosis:
    from ..diagnostics import diagnose

    same = [i for i, one in enumerate(examples.vowels.x_test) if len(one) == 15]
    x = [examples.vowels.x_test[i] for i in same]
    return diagnose(examples.model, x, examples.vowels.y_test[same], jacobians=False)


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
        The models and data to plot; by default a GRU trained on the Japanese Vowels, and three
        cells over 200 steps.

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
    picture = PICTURES[name]
    with _style.style():
        figure = _style.new_figure(*picture.size)
        picture.draw(examples, figure.subplots())
        figure.savefig(file, bbox_inches="tight", pad_inches=0.03)
    return str(file)
