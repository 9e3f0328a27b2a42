"""Leaky units in pre-activation form: ``v = (1 - alpha) v_prev + alpha a``, ``h = f(v)``.

``a = x W_xh + h_prev W_hh + b_h``, as in `rnn`. The state is v; h, the rates, are what the next
layer and the readout see. ``_cell.py`` documents the interface of a cell.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ._cell import Array, input_gradients, outer, previous, through_gates
from ._nonlinearities import NONLINEARITIES

STATES = ("v",)
GATES = 1
EXTRA_BIAS = ()
SETTING = {"alpha": 0.2}


def forward(
    params: Mapping[str, Array],
    x: Array,
    initial: Array,
    alpha: float | Array,
    nonlinearity: str = "tanh",
) -> Array:
    """Run the cell over time.

    Parameters
    ----------
    params, x, alpha, nonlinearity : as in `leaky.forward`
    initial : array (1, B, H)
        v before the first step.

    Returns
    -------
    array (1, B, T, H)
        v after each step, in the widest dtype of the arguments.

    Notes
    -----
    K. D. Miller and F. Fumarola, "Mathematical equivalence of two common forms of firing rate
    models of neural networks", Neural Computation 24 (2012), equation 1.1, by Euler's method.

    Examples
    --------
    >>> import numpy as np
    >>> params = {"W_xh": np.ones((1, 1)), "W_hh": np.zeros((1, 1))}
    >>> forward(params, np.zeros((1, 2, 1)), np.ones((1, 1, 1)), alpha=0.25).tolist()
    [[[[0.75], [0.5625]]]]
    """
    f = NONLINEARITIES[nonlinearity].value
    (v,), found = initial, []
    for t in range(x.shape[1]):
        a = x[:, t] @ params["W_xh"] + f(v) @ params["W_hh"] + params.get("b_h", 0)
        v = (1 - alpha) * v + alpha * a
        found.append(v)
    return np.stack(found, axis=1)[np.newaxis]


def hidden(states: Array, nonlinearity: str = "tanh") -> Array:
    """Return the rates, ``f(v)``.

    Parameters
    ----------
    states : array (1, ..., H)
    nonlinearity : as in `forward`

    Returns
    -------
    array (..., H)

    Examples
    --------
    >>> import numpy as np
    >>> hidden(np.array([[-1.0, 2.0]]), "relu").tolist()
    [-0.0, 2.0]
    """
    return NONLINEARITIES[nonlinearity].value(states[0])


def d_hidden(states: Array, d: Array, nonlinearity: str = "tanh") -> Array:
    """Take the gradient of the rates to that of the states.

    Parameters
    ----------
    states : array (1, ..., H)
    d : array (..., H)
        Gradient with respect to ``hidden(states)``.
    nonlinearity : as in `forward`

    Returns
    -------
    array (1, ..., H)

    Examples
    --------
    >>> import numpy as np
    >>> d_hidden(np.array([[-1.0, 2.0]]), np.full(2, 3.0), "relu").tolist()
    [[0.0, 3.0]]
    """
    return d * NONLINEARITIES[nonlinearity].slope(states)


def backward(
    params: Mapping[str, Array],
    x: Array,
    initial: Array,
    states: Array,
    d_states: Array,
    alpha: float | Array,
    nonlinearity: str = "tanh",
) -> dict[str, Array]:
    """Backpropagate through time.

    Parameters
    ----------
    params, x, initial, alpha, nonlinearity : as in `forward`
    states : array (1, B, T, H)
        Result of `forward`.
    d_states : array (1, B, T, H)
        Gradient of the loss with respect to each v as used outside the recursion.

    Returns
    -------
    dict of str to array
        Gradients shaped like the parameters, and ``x`` (B, T, I), ``initial`` (1, B, H), ``alpha``
        (H,).

    Examples
    --------
    >>> import numpy as np
    >>> params = {"W_xh": np.ones((1, 1)), "W_hh": np.zeros((1, 1))}
    >>> x, initial = np.zeros((1, 2, 1)), np.ones((1, 1, 1))
    >>> states = forward(params, x, initial, alpha=0.25)
    >>> backward(params, x, initial, states, np.ones_like(states), alpha=0.25)["initial"].tolist()
    [[[1.3125]]]
    """
    f, slope = NONLINEARITIES[nonlinearity]
    (v_prev,) = previous(initial, states)
    a = x @ params["W_xh"] + f(v_prev) @ params["W_hh"] + params.get("b_h", 0)
    dv, d_alpha, steps = np.zeros_like(initial[0]), np.zeros_like(initial[0, 0]), []
    for t in reversed(range(x.shape[1])):
        dv = dv + d_states[0, :, t]
        d_alpha = d_alpha + (dv * (a[:, t] - v_prev[:, t])).sum(axis=0)
        d_gate = alpha * dv
        dv = (1 - alpha) * dv + d_gate @ params["W_hh"].T * slope(v_prev[:, t])
        steps.append(d_gate)
    d_gates = np.stack(steps[::-1], axis=1)
    gradients = input_gradients(params, x, d_gates) | {"alpha": d_alpha}
    return {**gradients, "W_hh": outer(f(v_prev), d_gates), "initial": dv[np.newaxis]}


def jacobian(
    params: Mapping[str, Array],
    x: Array,
    initial: Array,
    states: Array,
    alpha: float | Array,
    nonlinearity: str = "tanh",
) -> tuple[Array, Array]:
    """Differentiate one step with respect to v before it and its input.

    Parameters
    ----------
    params, alpha, nonlinearity : as in `forward`
    x : array (B, I)
        The step's input.
    initial, states : array (1, B, H)
        v before and after the step.

    Returns
    -------
    array (B, H, H), array (B, H, I)
        Of each number of v after the step.

    Examples
    --------
    >>> import numpy as np
    >>> params = {"W_xh": np.full((1, 1), 2.0), "W_hh": np.ones((1, 1))}
    >>> x, states = np.zeros((1, 1)), np.zeros((1, 1, 1))
    >>> of_state, of_input = jacobian(params, x, states, states, alpha=0.25)
    >>> of_state.item(), of_input.item()
    (1.0, 0.5)
    """
    slope, gain = (
        NONLINEARITIES[nonlinearity].slope(initial[0]),
        np.broadcast_to(alpha, (len(x), initial.shape[2])),
    )
    of_state = through_gates([gain], params["W_hh"]) * slope[:, np.newaxis]
    of_state = of_state + np.diag(np.broadcast_to(1 - alpha, initial.shape[2]))
    return of_state, through_gates([gain], params["W_xh"])
