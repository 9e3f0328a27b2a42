"""Initial weights: a registry of named recipes.

`init="name"` or `init=("name", number)` of a model picks one; the number is the recipe's
single setting (a standard deviation, a gain). All are drawn in float64, parameter after
parameter in the order of the flat buffer, so a seed means the same weights in both dtypes
up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from . import _check

Role: TypeAlias = Literal["input", "recurrent", "bias", "readout", "readout_bias"]
Init: TypeAlias = str | tuple[str, float]


class ParameterInfo(NamedTuple):
    """What a recipe is told about one parameter.

    Attributes
    ----------
    name : str
        For example ``"W_xh"``.
    role : str
        ``"input"``, ``"recurrent"``, ``"bias"``, ``"readout"`` or ``"readout_bias"``.
    shape : tuple of int
        The parameter's shape; rows are what it reads, columns what it makes.
    hidden_size : int
        Hidden units; a recurrent matrix is (hidden_size, gates * hidden_size).
    """

    name: str
    role: Role
    shape: tuple[int, ...]
    hidden_size: int


if TYPE_CHECKING:  # numpy.random is not loaded before a model needs it
    Recipe: TypeAlias = Callable[[np.random.Generator, ParameterInfo, float], NDArray[np.float64]]


class Initializer(NamedTuple):
    """A recipe with its setting: what it is called, its default, and the least it may be."""

    recipe: Recipe
    setting: str | None
    default: float


def _uniform(rng: np.random.Generator, limit: float, shape: tuple[int, ...]) -> NDArray[np.float64]:
    return rng.uniform(-limit, limit, shape)


def _glorot(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    return _uniform(rng, float(np.sqrt(6.0 / (shape[0] + shape[1]))), shape)


def _orthonormal(rng: np.random.Generator, rows: int, columns: int) -> NDArray[np.float64]:
    """Orthonormal rows or columns, whichever are fewer, uniform over all such matrices."""
    tall = rng.standard_normal((max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(tall)
    q *= np.where(np.diag(r) < 0.0, -1.0, 1.0)
    return q if rows >= columns else q.T


def torch(rng: np.random.Generator, info: ParameterInfo, setting: float) -> NDArray[np.float64]:
    """PyTorch's default: every weight and bias uniform in +-1/sqrt(hidden_size).

    PyTorch adds two biases per hidden unit, so `b_h` is the sum of two such draws.

    Source: ``torch.nn.RNN`` and ``torch.nn.Linear``, `reset_parameters`.
    """
    limit = 1.0 / float(np.sqrt(info.hidden_size))
    values = _uniform(rng, limit, info.shape)
    return values + _uniform(rng, limit, info.shape) if info.role == "bias" else values


def keras(rng: np.random.Generator, info: ParameterInfo, setting: float) -> NDArray[np.float64]:
    """Keras' default: Glorot uniform, recurrent weights orthogonal as one matrix, zero biases.

    Glorot uniform is U(-a, a) with a = sqrt(6 / (rows + columns)).

    Source: ``keras.layers.SimpleRNN``; Glorot and Bengio, AISTATS 2010, equation 16.
    """
    if info.role == "recurrent":
        return _orthonormal(rng, info.shape[0], info.shape[1])
    if info.role in ("bias", "readout_bias"):
        return np.zeros(info.shape)
    return _glorot(rng, info.shape)


def orthogonal(
    rng: np.random.Generator, info: ParameterInfo, setting: float
) -> NDArray[np.float64]:
    """Each gate's recurrent matrix is `gain` times orthogonal; the rest as Keras.

    A random Gaussian matrix is factored as QR, and Q's columns get the signs of R's diagonal.

    Source: Saxe, McClelland and Ganguli, ICLR 2014, arXiv:1312.6120; for the signs Mezzadri,
    Notices of the AMS 54 (2007), page 592.
    """
    if info.role != "recurrent":
        return keras(rng, info, setting)
    hidden = info.hidden_size
    gates = info.shape[1] // hidden
    return np.hstack([setting * _orthonormal(rng, hidden, hidden) for _ in range(gates)])


def normal(rng: np.random.Generator, info: ParameterInfo, setting: float) -> NDArray[np.float64]:
    """Weights normal with mean 0 and standard deviation `std`, biases zero."""
    if info.role in ("bias", "readout_bias"):
        return np.zeros(info.shape)
    return setting * rng.standard_normal(info.shape)


INITIALIZERS: Final[dict[str, Initializer]] = {
    "torch": Initializer(torch, None, 0.0),
    "keras": Initializer(keras, None, 0.0),
    "orthogonal": Initializer(orthogonal, "gain", 1.0),
    "normal": Initializer(normal, "std", 0.01),
}


def resolve(init: Any) -> tuple[Recipe, float]:
    """Return the recipe that `init` names, and its setting."""
    if isinstance(init, tuple):
        if len(init) != 2:
            raise ValueError(f"init is {init!r}; expected a name or (name, number)")
        name, value = init
    else:
        name, value = init, None
    entry = INITIALIZERS[_check.option("init", name, INITIALIZERS)]
    if value is None:
        return entry.recipe, entry.default
    if entry.setting is None:
        raise ValueError(f'init is {init!r}; "{name}" has no setting: give init="{name}"')
    expected = f'a finite number of at least 0: the {entry.setting} of "{name}"'
    setting = _check.number("init[1]", value, expected)
    if not 0.0 <= setting < float("inf"):
        raise ValueError(f"init[1] is {setting}; expected {expected}")
    return entry.recipe, setting


def generator(seed: Any) -> np.random.Generator:
    """Return ``numpy.random.default_rng(seed)``, with an error that names the argument."""
    expected = "None, a whole number of at least 0, or a numpy.random.Generator"
    try:
        return np.random.default_rng(seed)
    except TypeError:
        raise TypeError(f"seed is {seed!r}; expected {expected}") from None
    except ValueError:
        raise ValueError(f"seed is {seed!r}; expected {expected}") from None
