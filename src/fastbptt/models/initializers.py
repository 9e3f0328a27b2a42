"""Initialisers: a registry of functions that draw the initial parameters.

`init="name"` or `init=("name", number)` of a model selects an initialiser; the number is its
only argument (a standard deviation or a gain). Parameters are drawn in float64, one after the
other in the order of the flat buffer, so a seed gives the same weights in both dtypes up to
rounding. With H hidden units, G gates and D directions:

================  ==============================  ==========================  =================
initialiser       input weights                   recurrent weights (H, G H)  biases
================  ==============================  ==========================  =================
``"torch"``       U(-a, a), a = 1/sqrt(H)         the same                    the same (a sum)
``"keras"``       U(-a, a), a = sqrt(6/(m + n))   orthonormal rows            0; forget gate 1
``"orthogonal"``  as Keras                        gain * orthogonal per gate  as Keras
``"identity"``    N(0, 0.001^2)                   gain * identity per gate    0
``"normal"``      N(0, std^2)                     the same                    0
================  ==============================  ==========================  =================

Here m and n are the rows and columns of the whole matrix, for all gates together. The readout's
weights are drawn like input weights; for ``"torch"`` their bound is 1/sqrt(D H), because the
readout has D H inputs. Embedding rows: N(0, 1) with ``"torch"`` and ``"identity"``, U(-0.05, 0.05)
with ``"keras"`` and ``"orthogonal"``, N(0, std^2) with ``"normal"``; the row of the padding token
is 0. Learned initial states start at 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .. import _check, _core
from .._cell_info import cell_info
from .._errors import ArgumentError
from .._views import Layout

__all__ = [
    "INITIALIZERS",
    "Initializer",
    "ParameterInfo",
    "identity",
    "keras",
    "normal",
    "orthogonal",
    "torch",
]

Role: TypeAlias = Literal[
    "input",
    "recurrent",
    "bias",
    "recurrent_bias",
    "readout",
    "readout_bias",
    "embedding",
    "state",
    "static",
]
Init: TypeAlias = str | tuple[str, float]

_ROLES: Final[dict[str, Role]] = {
    "W_xh": "input",
    "W_hh": "recurrent",
    "b_h": "bias",
    "W_hy": "readout",
    "b_y": "readout_bias",
    "E": "embedding",
    "W_sh": "static",
    "W_sc": "static",
}

#: Index of the forget gate by cell: Keras initialises its bias to 1, and `forget_bias` sets it.
FORGET_GATE: Final[dict[str, int]] = {"lstm": 1}


class ParameterInfo(NamedTuple):
    """Description of a parameter, passed to an initialiser.

    Attributes
    ----------
    name : str
        For example ``"W_xh_l1_reverse"``.
    role : str
        ``"input"``, ``"recurrent"``, ``"bias"``, ``"recurrent_bias"`` (of a gate with a separate
        one), ``"readout"``, ``"readout_bias"``, ``"embedding"``, ``"state"`` or ``"static"``.
    shape : tuple of int
        Shape of the parameter; of a matrix, (inputs, outputs).
    cell : str
        The cell's name, for example ``"gru"``.
    hidden_size : int
        Hidden units; a recurrent matrix has shape (hidden_size, gates * hidden_size).
    features : int
        hidden_size; for the readout and its bias, the number of units that it reads; for the
        map of static inputs, their number.
    single : int
        Number of gates, counted from the last, with a recurrent bias separate from ``b_h``.
    """

    name: str
    role: Role
    shape: tuple[int, ...]
    cell: str
    hidden_size: int
    features: int
    single: int


if TYPE_CHECKING:  # numpy.random is imported only when a model needs it
    DrawFunction: TypeAlias = Callable[
        [np.random.Generator, ParameterInfo, float], NDArray[np.float64]
    ]


class Initializer(NamedTuple):
    """A function that draws parameters, the name of its argument (or None), and the default."""

    draw: DrawFunction
    argument: str | None
    default: float


def draw(
    spec: _core.Spec, layout: Layout, init: tuple[DrawFunction, float], rng: np.random.Generator
) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Draw the parameters one after the other; yield their names and values."""
    function, value = init
    hidden = spec.hidden_size
    extra = cell_info(spec.cell)["extra_bias"]
    numbers = iter(_rows(spec.setting, spec.num_layers * (1 + spec.bidirectional), hidden))
    for name, (_, _, shape) in layout.items():
        base = "_".join(name.split("_")[:2])  # without layer and direction
        if base == "M_hh":
            continue  # drawn with N_hh
        low_rank = base == "N_hh"
        if low_rank:
            second = "M" + name[1:]
            base, own, shape = "W_hh", name, (hidden, layout[second][2][1])
            name = "W" + name[1:]
        role = _ROLES.get(base, "recurrent_bias" if base in extra else "state")
        features = layout["W_hy"][2][0] if role.startswith("readout") else hidden
        if role == "static":
            features = shape[0]
        info = ParameterInfo(name, role, shape, spec.cell, hidden, features, len(extra))
        if base.startswith("logit_"):
            number = next(numbers)
            values = np.log(number) - np.log1p(-number)
        else:
            values = np.zeros(shape) if role == "state" else function(rng, info, value)
        if role == "embedding" and spec.padding_index >= 0:
            values[spec.padding_index] = 0.0
        if low_rank:
            values, right = _factors(values, spec.rank)
            yield second, right
            name = own
        yield name, values


def _rows(numbers: Sequence[float], rows: int, hidden: int) -> NDArray[np.float64]:
    """Spread the cell's numbers, one or for each unit, over all rows of states."""
    if not numbers:
        return np.empty((0, hidden))
    each = np.reshape(numbers, (-1, hidden) if len(numbers) > 1 else (1, 1))
    return np.broadcast_to(each, (rows, hidden))


def _factors(
    matrix: NDArray[np.float64], rank: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Factorise the nearest matrix of a rank, with each singular value's root in both factors."""
    left, sizes, right = np.linalg.svd(matrix, full_matrices=False)
    roots = np.sqrt(sizes[:rank])
    return left[:, :rank] * roots, roots[:, np.newaxis] * right[:rank]


def _uniform(rng: np.random.Generator, limit: float, shape: tuple[int, ...]) -> NDArray[np.float64]:
    return rng.uniform(-limit, limit, shape)


def _glorot(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    return _uniform(rng, math.sqrt(6.0 / (shape[0] + shape[1])), shape)


def _orthonormal(rng: np.random.Generator, rows: int, columns: int) -> NDArray[np.float64]:
    """Draw orthonormal rows or columns, whichever are fewer, uniformly over all such matrices."""
    tall = rng.standard_normal((max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(tall)
    q *= np.where(np.diag(r) < 0.0, -1.0, 1.0)
    return q if rows >= columns else q.T


def torch(rng: np.random.Generator, info: ParameterInfo, value: float) -> NDArray[np.float64]:
    """PyTorch's default: all weights and biases uniform within +-1/sqrt(hidden_size).

    PyTorch adds two biases per hidden unit, so `b_h` is the sum of two draws, except for gates
    whose second bias is a separate parameter (n of the GRU, `b_hn`).

    Source: ``torch.nn.RNN``, ``GRU``, ``LSTM``, ``Linear``, ``Embedding``: `reset_parameters`.
    """
    if info.role == "embedding":
        return rng.standard_normal(info.shape)
    limit = 1.0 / math.sqrt(info.features)
    values = _uniform(rng, limit, info.shape)
    if info.role == "bias":
        second = _uniform(rng, limit, info.shape)
        second[info.shape[0] - info.single * info.hidden_size :] = 0.0
        values += second
    return values


def keras(rng: np.random.Generator, info: ParameterInfo, value: float) -> NDArray[np.float64]:
    """Keras' default: Glorot uniform, recurrent weights orthogonal as one matrix, zero biases.

    Glorot uniform is U(-a, a) with a = sqrt(6 / (rows + columns)), for all gates together. The
    bias of the LSTM's forget gate is 1.

    Source: ``keras.layers.SimpleRNN``, ``GRU``, ``LSTM``, ``Dense``, ``Embedding``; Glorot and
    Bengio, AISTATS 2010, equation 16; for the forget gate Jozefowicz, Zaremba and Sutskever,
    ICML 2015.
    """
    if info.role == "recurrent":
        return _orthonormal(rng, info.shape[0], info.shape[1])
    if info.role == "embedding":
        return _uniform(rng, 0.05, info.shape)
    if info.role in ("input", "readout", "static"):
        return _glorot(rng, info.shape)
    values = np.zeros(info.shape)
    if info.role == "bias" and info.cell in FORGET_GATE:
        forget_block(values, info.cell, info.hidden_size)[:] = 1.0
    return values


def forget_block(bias: NDArray[Any], cell: str, hidden_size: int) -> NDArray[Any]:
    """Return a view of the forget gate's part of `b_h`."""
    first = FORGET_GATE[cell] * hidden_size
    return bias[first : first + hidden_size]


def orthogonal(rng: np.random.Generator, info: ParameterInfo, value: float) -> NDArray[np.float64]:
    """Recurrent matrices: `gain` times an orthogonal matrix per gate; the rest as in Keras.

    The orthogonal matrix is Q of the QR factorisation of a Gaussian matrix, with the signs of R's
    diagonal applied to its columns.

    Source: Saxe, McClelland and Ganguli, ICLR 2014, arXiv:1312.6120; for the signs Mezzadri,
    Notices of the AMS 54 (2007), page 592.
    """
    if info.role != "recurrent":
        return keras(rng, info, value)
    hidden = info.hidden_size
    gates = info.shape[1] // hidden
    return np.hstack([value * _orthonormal(rng, hidden, hidden) for _ in range(gates)])


def identity(rng: np.random.Generator, info: ParameterInfo, value: float) -> NDArray[np.float64]:
    """Recurrent matrices: `gain` times the identity per gate; other weights near 0, biases 0.

    Intended for ``RNN(nonlinearity="relu")``, which then starts as a sum over time. Other weights
    are normal with standard deviation 0.001. Embedding rows, which take the place of the input,
    are standard normal.

    Source: Le, Jaitly and Hinton, 2015, arXiv:1504.00941.
    """
    if info.role == "recurrent":
        hidden = info.hidden_size
        return np.tile(value * np.eye(hidden), info.shape[1] // hidden)
    if info.role == "embedding":
        return rng.standard_normal(info.shape)
    return normal(rng, info, 0.001)


def normal(rng: np.random.Generator, info: ParameterInfo, value: float) -> NDArray[np.float64]:
    """Draw normal weights with mean 0 and standard deviation `std`; biases are zero."""
    if info.role in ("bias", "recurrent_bias", "readout_bias"):
        return np.zeros(info.shape)
    return value * rng.standard_normal(info.shape)


#: Initialisers by name, with the name and default of their argument.
INITIALIZERS: Final[dict[str, Initializer]] = {
    "torch": Initializer(torch, None, 0.0),
    "keras": Initializer(keras, None, 0.0),
    "orthogonal": Initializer(orthogonal, "gain", 1.0),
    "identity": Initializer(identity, "gain", 1.0),
    "normal": Initializer(normal, "std", 0.01),
}


def resolve(init: Any) -> tuple[DrawFunction, float]:
    """Return the function that `init` names, and its argument."""
    if isinstance(init, tuple):
        if len(init) != 2:
            raise ArgumentError("init", f"is {_check.shown(init)}", "a name or (name, number)")
        name, value = init
    else:
        name, value = init, None
    entry = INITIALIZERS[_check.option("init", name, INITIALIZERS)]
    if value is None:
        return entry.draw, entry.default
    if entry.argument is None:
        came = f'is {_check.shown(init)}, but "{name}" takes no number'
        raise ArgumentError("init", came, f'"{name}"')
    expected = f'a finite number of at least 0: the {entry.argument} of "{name}"'
    number = _check.number("init[1]", value, expected)
    if not 0.0 <= number < float("inf"):
        raise ArgumentError("init", f"is {number}", expected, item=1, value=number)
    return entry.draw, number
