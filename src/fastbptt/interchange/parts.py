"""A model's parts in our layout: what every reader makes a model of, and every writer reads."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from .. import _check
from .._cell_info import cell_info
from .._errors import ArgumentError, ArgumentTypeError
from ..models import MODELS, Recurrent
from ..models._options import refuse_bfloat16, refuse_zoneout
from ..models._weights import dense
from .layouts import LayerWeights

Array = NDArray[Any]

#: Functions at the end of other libraries' models, which make probabilities of our outputs.
ACTIVATIONS: Final = ("sigmoid", "softmax")

#: Numbers that only training knows, besides the dropout between layers; 0: off.
TRAINING: Final = ("recurrent_dropout", "input_noise", "recurrent_noise")


@dataclass
class Parts:
    """The parts of a model.

    Attributes
    ----------
    cell : str
    layers : list of lists of LayerWeights
        The directions of each layer, bottom layer first.
    W_hy, b_y : ndarray or None
        The readout: (D H, O), with a row for every unit, and (O,).
    E : ndarray or None
        The embedding, (vocabulary, I).
    padding_index : int or None
    initial : dict of str to ndarray
        The learned initial state: h0, and for an LSTM c0, (L D, H).
    static : dict of str to ndarray
        The map of static inputs: W_sh, and for an LSTM W_sc, (S, L D H).
    dropout : float
        Between layers.
    training : dict of str to float
        Options of `TRAINING`, if they are on.
    steps : str
        What the readout sees by default: "last", "all", "mean" or "max".
    """

    cell: str
    layers: list[list[LayerWeights]]
    W_hy: Array | None = None
    b_y: Array | None = None
    E: Array | None = None
    padding_index: int | None = None
    initial: dict[str, Array] = field(default_factory=dict)
    static: dict[str, Array] = field(default_factory=dict)
    dropout: float = 0.0
    steps: str = "last"
    training: dict[str, float] = field(default_factory=dict)

    @property
    def directions(self) -> int:
        """1 or 2."""
        return len(self.layers[0])

    @property
    def input_size(self) -> int:
        """I."""
        return len(self.layers[0][0].W_xh)

    @property
    def hidden_size(self) -> int:
        """H."""
        return len(self.layers[0][0].W_hh)

    @property
    def bias(self) -> bool:
        """Whether the layers have biases."""
        return self.layers[0][0].b_h is not None

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the weights."""
        return self.layers[0][0].W_xh.dtype

    @property
    def states(self) -> list[str]:
        """Names of the initial states: h0, and for an LSTM c0."""
        return [f"{state}0" for state in cell_info(self.cell)["states"]]


def ending(layer: int, direction: int) -> str:
    """Return how the names of a layer direction's parameters end, as PyTorch's do."""
    return f"_l{layer}" * (layer > 0) + "_reverse" * direction


def parts_of(model: Any) -> Parts:
    """Copy a model's parts, between two updates.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If it is no model, computes in another precision than its weights, or has diverged.
    """
    if not isinstance(model, Recurrent):
        came = f"is of type {type(model).__name__}"
        raise ArgumentTypeError("model", came, "a model such as fastbptt.LSTM")
    refuse_bfloat16(model._spec, "model")
    refuse_zoneout(model._spec, "model", "layers and files of others have no such step")
    own = dense(model.state_dict())
    for name, values in own.items():
        if not np.isfinite(values).all():
            raise ArgumentError("model", f"holds NaN or infinity in {name}", "finite weights")
    names = ("W_xh", "W_hh", "b_h", "b_hn")
    directions = 2 if model.bidirectional else 1
    readout = own.get("W_hy")
    if readout is not None and model.readout_units is not None:
        every = np.zeros((directions * model.hidden_size, readout.shape[1]), readout.dtype)
        every[list(model.readout_units)] = readout
        readout = every
    return Parts(
        model.cell,
        [
            [
                LayerWeights(*(own.get(name + ending(layer, direction)) for name in names))  # type: ignore[arg-type]
                for direction in range(directions)
            ]
            for layer in range(model.num_layers)
        ],
        readout,
        own.get("b_y"),
        own.get("E"),
        model.padding_index,
        {name: own[name] for name in ("h0", "c0") if name in own},
        {name: own[name] for name in ("W_sh", "W_sc") if name in own},
        model.dropout,
        model._trained_steps,
        {name: getattr(model, name) for name in TRAINING if getattr(model, name)},
    )


def check_activation(parts: Parts, activation: Any) -> None:
    """Check the function that a writer puts after the readout; None: there is none."""
    if activation is None:
        return
    _check.option("activation", activation, ACTIVATIONS)
    if parts.W_hy is None:
        came = f'is "{activation}", but the model has no readout'
        raise ArgumentError("activation", came, "None")
    if activation == "softmax" and parts.W_hy.shape[1] == 1:
        came = 'is "softmax", but the model has one output, of which softmax always makes 1'
        raise ArgumentError("activation", came, '"sigmoid" or None')


def refuse_states(parts: Parts, library: str, what: str) -> None:
    """Refuse a learned initial state or static inputs, which a library's layers cannot hold."""
    for option, present in (
        ("learn_initial_state=True", parts.initial),
        (f"static_size={len(next(iter(parts.static.values()), ()))}", parts.static),
    ):
        if present:
            raise ArgumentError(
                "model", f"has {option}, which {library} does not have", f"{what}, or an ONNX file"
            )


def refuse_constraints(model: Recurrent, library: str) -> None:
    """Refuse constraints, which would be lost where a library goes on training."""
    if model.constraints is not None:
        raise ArgumentError(
            "model",
            f"has {model.constraints!r}, which {library} does not keep in training",
            "a model without constraints that takes the same weights: "
            "other.load_state_dict(model.state_dict()), or an ONNX file",
        )


def warn_of_training(parts: Parts, library: str, stacklevel: int) -> None:
    """Warn of options for training that a library's layers do not have; outputs are the same.

    stacklevel: as of warnings.warn in the caller.
    """
    if parts.training:
        options = " and ".join(f"{name}={value}" for name, value in parts.training.items())
        warnings.warn(
            f"{options} left out: {library}'s layers have no such option in training; outputs are "
            "the same",
            stacklevel=stacklevel + 1,
        )


def assemble(parts: Parts) -> Recurrent:
    """Make a model of its parts, with the weights to the bit.

    Raises
    ------
    ArgumentError
        If the layers do not fit together as one of our networks.
    """
    _check_layers(parts)
    with_bias = any(one.b_h is not None for layer in parts.layers for one in layer)
    state: dict[str, Array] = {}
    dtype: np.dtype[Any] = np.dtype(np.float32)
    for number, layer in enumerate(parts.layers):
        for direction, own in enumerate(layer):
            whole = own.with_bias(parts.cell) if with_bias else own
            for name, array in whole._asdict().items():
                if array is not None:
                    state[name + ending(number, direction)] = array
    others = {"W_hy": parts.W_hy, "b_y": parts.b_y, "E": parts.E}
    state |= {name: array for name, array in others.items() if array is not None}
    state |= parts.initial | parts.static
    if any(array.dtype == np.float64 for array in state.values()):
        dtype = np.dtype(np.float64)
    outputs = None if parts.W_hy is None else parts.W_hy.shape[1]
    own_bias = parts.b_y is not None
    arguments = {
        "input_size": parts.input_size,
        "hidden_size": parts.hidden_size,
        "output_size": outputs,
        "alpha": None,
        "learn_alpha": False,
        "num_layers": len(parts.layers),
        "bidirectional": parts.directions == 2,
        "bias": with_bias,
        "output_bias": None if outputs is None or own_bias == with_bias else own_bias,
        "readout_units": None,
        "rank": None,
        "dropout": parts.dropout if len(parts.layers) > 1 else 0.0,
        **dict.fromkeys(TRAINING, 0.0),
        **parts.training,
        "noise_scaling": None,
        "zoneout": 0.0,
        "learn_initial_state": bool(parts.initial),
        "static_size": len(parts.static["W_sh"]) if parts.static else None,
        "embedding": None if parts.E is None else len(parts.E),
        "padding_index": parts.padding_index,
        "freeze_embedding": False,
        "precision": "float32",
    }
    model = MODELS[parts.cell]._from_config(
        {
            "cell": parts.cell,
            "arguments": arguments,
            "dtype": dtype.name,
            "dropout_seeds": [0, 0],
            "frozen": [],
            "trained_steps": parts.steps,
            "constraints": None,
        }
    )
    model.load_state_dict(state)
    return model


def _check_layers(parts: Parts) -> None:
    """Refuse layers of which our networks have no stack."""
    hidden, directions = parts.hidden_size, parts.directions
    for number, layer in enumerate(parts.layers):
        for own in layer:
            if len(own.W_hh) != hidden:
                raise ArgumentError(
                    f"layer {number}",
                    f"has {len(own.W_hh)} units, and layer 0 has {hidden}",
                    "layers of one size: fastbptt has one hidden_size",
                )
            below = directions * hidden if number else parts.input_size
            if len(own.W_xh) != below:
                came = f"reads {len(own.W_xh)} features"
                raise ArgumentError(f"layer {number}", came, f"{below}, those of what is below")
        if len(layer) != directions:
            raise ArgumentError(
                f"layer {number}",
                f"has {len(layer)} directions, and layer 0 has {directions}",
                "the same number in every layer",
            )
    columns = directions * hidden
    if parts.W_hy is not None and len(parts.W_hy) != columns:
        came = f"reads {len(parts.W_hy)} features"
        raise ArgumentError("the readout", came, f"{columns}, the states of the top layer")
    if parts.E is not None and parts.E.shape[1] != parts.input_size:
        came = f"has rows of {parts.E.shape[1]} numbers"
        raise ArgumentError("the embedding", came, f"{parts.input_size}, the inputs of layer 0")


def numbers(name: str, value: Any) -> Array:
    """Read an array of finite numbers as float32 or float64, exactly.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        Naming the array.
    """
    array = _check.read(name, value)
    if array.dtype.kind != "f":
        came = f"has dtype {array.dtype}"
        raise ArgumentTypeError(name, came, "floating-point numbers")
    array = _check.floats(array, np.dtype(np.float32))
    if not np.isfinite(array).all():
        index = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        bad = float(array[index])
        raise ArgumentError(
            name, f"holds a value that is not finite ({bad})", index=index, value=bad
        )
    return array


def listed(names: Sequence[str], most: int = 12) -> str:
    """Write names for a message, not all of very many."""
    text = ", ".join(_check.one_line(name, 80) for name in names[:most])
    return text + (f" and {len(names) - most} more" if len(names) > most else "")
