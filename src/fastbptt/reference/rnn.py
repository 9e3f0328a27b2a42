"""The tanh RNN: ``h = tanh(x W_xh + h_prev W_hh + b_h)``."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ._cell import Array, input_gradients, outer, previous, through_gates

STATES = ("h",)
GATES = 1
EXTRA_BIAS = ()
SETTING: dict[str, float] = {}


def forward(params: Mapping[str, Array], x: Array, initial: Array) -> Array:
    """Run the cell over time.

    Parameters
    ----------
    params : mapping of str to array
        ``W_xh`` (I, H), ``W_hh`` (H, H) and, unless the cell has no bias, ``b_h`` (H,).
    x : array (B, T, I)
        Input, finite at every step.
    initial : array (1, B, H)
        State before the first step.

    Returns
    -------
    array (1, B, T, H)
        States after each step, in the widest dtype of the arguments.

    Notes
    -----
    J. L. Elman, "Finding structure in time", Cognitive Science 14 (1990), with tanh.

    Examples
    --------
    >>> import numpy as np
    >>> params = {"W_xh": np.ones((1, 1)), "W_hh": np.ones((1, 1))}
    >>> forward(params, np.zeros((1, 2, 1)), np.ones((1, 1, 1))).round(4).tolist()
    [[[[0.7616], [0.642]]]]
    """
    (h,), hidden = initial, []
    for t in range(x.shape[1]):
        h = np.tanh(x[:, t] @ params["W_xh"] + h @ params["W_hh"] + params.get("b_h", 0))
        hidden.append(h)
    return np.stack(hidden, axis=1)[np.newaxis]


def backward(
    params: Mapping[str, Array], x: Array, initial: Array, states: Array, d_states: Array
) -> dict[str, Array]:
    """Backpropagate through time.

    Parameters
    ----------
    params, x, initial : as in `forward`
    states : array (1, B, T, H)
        Result of `forward`.
    d_states : array (1, B, T, H)
        Gradient of the loss with respect to each state as used outside the recursion.

    Returns
    -------
    dict of str to array
        Gradients shaped like the parameters, and ``x`` (B, T, I), ``initial`` (1, B, H).

    Notes
    -----
    P. J. Werbos, "Backpropagation through time: what it does and how to do it", Proceedings of the
    IEEE 78 (1990).

    Examples
    --------
    >>> import numpy as np
    >>> params = {"W_xh": np.ones((1, 1)), "W_hh": np.ones((1, 1))}
    >>> x, initial = np.zeros((1, 2, 1)), np.ones((1, 1, 1))
    >>> states = forward(params, x, initial)
    >>> backward(params, x, initial, states, np.ones_like(states))["initial"].round(4).tolist()
    [[[0.6668]]]
    """
    slope = 1 - states[0] ** 2  # tanh' = 1 - tanh^2
    dh, steps = np.zeros_like(initial[0]), []
    for t in reversed(range(x.shape[1])):
        d_gate = (dh + d_states[0, :, t]) * slope[:, t]
        dh = d_gate @ params["W_hh"].T
        steps.append(d_gate)
    d_gates = np.stack(steps[::-1], axis=1)
    (h_prev,) = previous(initial, states)
    gradients = input_gradients(params, x, d_gates)
    return {**gradients, "W_hh": outer(h_prev, d_gates), "initial": dh[np.newaxis]}


def jacobian(
    params: Mapping[str, Array], x: Array, initial: Array, states: Array
) -> tuple[Array, Array]:
    """Differentiate one step with respect to the states before it and its input.

    Parameters
    ----------
    params : as in `forward`
    x : array (B, I)
        The step's input.
    initial, states : array (1, B, H)
        States before and after the step.

    Returns
    -------
    array (B, H, H), array (B, H, I)
        Of each number of the state after the step.

    Examples
    --------
    >>> import numpy as np
    >>> params = {"W_xh": np.full((1, 1), 2.0), "W_hh": np.full((1, 1), 3.0)}
    >>> of_state, of_input = jacobian(params, np.ones((1, 1)), *np.full((2, 1, 1, 1), 0.5))
    >>> of_state.item(), of_input.item()
    (2.25, 1.5)
    """
    slope = 1 - states[0] ** 2
    return through_gates([slope], params["W_hh"]), through_gates([slope], params["W_xh"])
