"""Helpers for plots of models and outputs: one sequence, names of weights, predicted classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _check
from .._cell_info import cell_info
from ..models import _arguments
from ..training.evaluation import probabilities

if TYPE_CHECKING:
    from .._losses import LossLike
    from ..models.cells import Recurrent

_TITLES: Final = {
    "rnn": "tanh RNN",
    "relu": "ReLU RNN",
    "rnn_softplus": "softplus RNN",
    "rnn_sigmoid": "logistic RNN",
    "leaky": "leaky tanh RNN",
    "leaky_rate_relu": "leaky ReLU RNN",
    "leaky_rate_softplus": "leaky softplus RNN",
    "leaky_rate_sigmoid": "leaky logistic RNN",
    "leaky_preactivation_tanh": "leaky tanh RNN, pre-activation form",
    "leaky_preactivation_relu": "leaky ReLU RNN, pre-activation form",
    "leaky_preactivation_softplus": "leaky softplus RNN, pre-activation form",
    "leaky_preactivation_sigmoid": "leaky logistic RNN, pre-activation form",
    "gru": "GRU",
    "gru_before": "GRU, reset first",
    "lstm": "LSTM",
}


def cell_title(cell: str) -> str:
    """Return what a reader calls a cell."""
    return _TITLES.get(cell, cell)


def gate_letters(cell: str) -> tuple[str, ...]:
    """Name the blocks of a cell's weights in their order; a plain cell has one."""
    return tuple(cell_info(cell)["gate_names"])


def bounded(cell: str) -> bool:
    """Tell whether a cell's states lie between -1 and 1."""
    return bool(cell_info(cell)["bounded"])


def suffix(model: Recurrent, layer: int, reverse: bool) -> str:
    """Return how the names of one layer's parameters end."""
    number = index("layer", layer, model.num_layers)
    if _check.flag("reverse", reverse) and not model.bidirectional:
        raise ValueError("reverse is True; expected False because the model reads in one direction")
    return (f"_l{number}" if number else "") + ("_reverse" if reverse else "")


def index(name: str, value: Any, count: int) -> int:
    """Return a whole number from 0 to count - 1."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} is {_check.shown(value)}; expected a whole number")
    if not 0 <= value < count:
        raise ValueError(f"{name} is {value}; expected 0 to {count - 1}")
    return int(value)


def steps_of(x: Any, lengths: ArrayLike | None) -> list[int]:
    """Return the real steps of each sequence."""
    if lengths is None:
        return [len(one) for one in x]
    found = np.asarray(lengths)
    if found.shape != (len(x),) or found.dtype.kind not in "iu":
        raise ValueError(
            f"lengths has shape {found.shape} and dtype {found.dtype}; expected whole numbers of "
            f"shape ({len(x)},) because x holds {len(x)} sequences"
        )
    return [int(length) for length in found]


def chosen(x: Any, lengths: ArrayLike | None, example: int) -> NDArray[Any]:
    """Return one sequence as a batch of its own, without what stands after its end."""
    steps = steps_of(x, lengths)
    number = index("example", example, len(x))
    return np.asarray(x[number])[np.newaxis, : steps[number]]


def chosen_static(model: Recurrent, x: Any, static: Any, example: int) -> NDArray[Any] | None:
    """Return the constants of one sequence as those of a batch of its own."""
    every = _arguments.static(model._input_spec, static, len(x), None, alone=True)
    number = index("example", example, len(x))
    return None if every is None else every[number : number + 1]


def decide(outputs: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Turn logits (..., classes), or (..., 1) of a yes or no, into classes and probabilities."""
    probs = probabilities(np.asarray(outputs, np.float64))
    return probs.argmax(axis=-1).astype(np.int64), probs.max(axis=-1)


def percent(probability: float) -> str:
    """Format a probability; never as 100 %."""
    return "> 99%" if probability > 0.99 else f"{probability:.0%}"


def class_label(names: Any, number: int) -> str:
    """Return the name of a class, or its number where there are no names."""
    return str(number) if names is None else str(names[number])


def chosen_target(y: Any, example: int, steps: str, end: int) -> NDArray[Any]:
    """Return the targets of one sequence as those of a batch of its own."""
    one = np.asarray(y[example])[np.newaxis]
    return one[:, :end] if steps == "all" else one


def input_gradient(
    model: Recurrent,
    x: Any,
    y: Any,
    loss: LossLike,
    steps: str,
    static: NDArray[Any] | None = None,
) -> NDArray[np.float64]:
    """Return dL/dx, computed in float64 whatever the model's dtype: float32 ends at 1e-38."""
    from ..diagnostics.diagnosis import in_double

    twin = in_double(model, "float64")
    _, grads = twin.loss_and_grad(x, y, loss, steps, need_input_grad=True, static=static)
    return np.asarray(grads.x, np.float64)
