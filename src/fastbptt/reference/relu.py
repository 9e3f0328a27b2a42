"""The ReLU RNN: ``h = max(a, 0)``, ``a = x W_xh + h_prev W_hh + b_h``."""

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
    Q. V. Le, N. Jaitly and G. E. Hinton, "A simple way to initialize recurrent networks of
    rectified linear units", arXiv:1504.00941 (2015).

    Examples
    --------
    >>> import numpy as np
    >>> params = {"W_xh": np.ones((1, 1)), "W_hh": np.full((1, 1), 2.0)}
    >>> forward(params, np.array([[[3.0], [-7.0]]]), np.ones((1, 1, 1))).tolist()
    [[[[5.0], [3.0]]]]
    """
    (h,), hidden = initial, []
    for t in range(x.shape[1]):
        a = x[:, t] @ params["W_xh"] + h @ params["W_hh"] + params.get("b_h", 0)
        h = a * (a.real > 0)
        hidden.append(h)
    return np.stack(hidden, axis=1)[np.newaxis]


def backward(
    params: Mapping[str, Array], x: Array, initial: Array, states: Array, d_states: Array
) -> dict[str, Array]:
    """Backpropagate through time; the derivative of ``max(a, 0)`` is 1 where ``a > 0``, else 0.

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

    Examples
    --------
    >>> import numpy as np
    >>> params = {"W_xh": np.ones((1, 1)), "W_hh": np.full((1, 1), 2.0)}
    >>> x, initial = np.array([[[3.0], [-7.0]]]), np.ones((1, 1, 1))
    >>> states = forward(params, x, initial)
    >>> backward(params, x, initial, states, np.ones_like(states))["initial"].tolist()
    [[[6.0]]]
    """
    slope = states[0].real > 0
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
    (3.0, 2.0)
    """
    slope = 1.0 * (states[0].real > 0)
    return through_gates([slope], params["W_hh"]), through_gates([slope], params["W_xh"])
