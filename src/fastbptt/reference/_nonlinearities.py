"""The nonlinearities of rate networks, each with its derivative; both are analytic."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ._cell import Array, sigmoid


class FunctionWithSlope(NamedTuple):
    """A function of pre-activations, and its derivative."""

    value: Callable[[Array], Array]
    slope: Callable[[Array], Array]


def tanh_slope(a: Array) -> Array:
    """The derivative of tanh."""
    result: Array = 1 - np.tanh(a) ** 2
    return result


def relu(a: Array) -> Array:
    """``max(a, 0)``."""
    result: Array = a * (a.real > 0)
    return result


def relu_slope(a: Array) -> Array:
    """1 where ``a > 0``, else 0."""
    return np.asarray(a.real > 0, a.real.dtype)


def softplus(a: Array) -> Array:
    """``log(1 + exp(a))``, without overflow, and accurate where it is small."""
    above = a.real > 0
    result: Array = a * above + np.log1p(np.exp(np.where(above, -a, a)))
    return result


def sigmoid_slope(a: Array) -> Array:
    """The derivative of the logistic function."""
    return sigmoid(a) * sigmoid(-a)


#: By name, as `fastbptt.RNN` and `fastbptt.LeakyRNN` take them.
NONLINEARITIES = {
    "tanh": FunctionWithSlope(np.tanh, tanh_slope),
    "relu": FunctionWithSlope(relu, relu_slope),
    "softplus": FunctionWithSlope(softplus, sigmoid),
    "sigmoid": FunctionWithSlope(sigmoid, sigmoid_slope),
}
