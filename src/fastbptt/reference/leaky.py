"""Leaky units in rate form: ``h = (1 - alpha) h_prev + alpha f(a)``, ``a`` as in `rnn`.

``_cell.py`` documents the interface of a cell; `CELLS` has one for each nonlinearity f.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ._cell import Array, input_gradients, outer, previous, through_gates
from ._nonlinearities import NONLINEARITIES

STATES = ("h",)
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
    params : mapping of str to array
        ``W_xh`` (I, H), ``W_hh`` (H, H) and, unless the cell has no bias, ``b_h`` (H,).
    x : array (B, T, I)
        Input, finite at every step.
    initial : array (1, B, H)
        State before the first step.
    alpha : float or array (H,)
        Weight of the new value, in (0, 1], of all units or of each: the step size divided by the
        unit's time constant. With 1 the cell is the plain RNN.
    nonlinearity : {"tanh", "relu", "softplus", "sigmoid"}
        f.

    Returns
    -------
    array (1, B, T, H)
        States after each step, in the widest dtype of the arguments.

    Notes
    -----
    H. Jaeger, M. Lukosevicius, D. Popovici and U. Siewert, "Optimization and applications of echo
    state networks with leaky-integrator neurons", Neural Networks 20 (2007), equation 2 with
    ``alpha`` in both places.

    Examples
    --------
    >>> import numpy as np
    >>> params = {"W_xh": np.ones((1, 1)), "W_hh": np.zeros((1, 1))}
    >>> forward(params, np.zeros((1, 2, 1)), np.ones((1, 1, 1)), alpha=0.25).tolist()
    [[[[0.75], [0.5625]]]]
    """
    f = NONLINEARITIES[nonlinearity].value
    (h,), hidden = initial, []
    for t in range(x.shape[1]):
        a = x[:, t] @ params["W_xh"] + h @ params["W_hh"] + params.get("b_h", 0)
        h = (1 - alpha) * h + alpha * f(a)
        hidden.append(h)
    return np.stack(hidden, axis=1)[np.newaxis]


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
        Gradient of the loss with respect to each state as used outside the recursion.

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
    (h_prev,) = previous(initial, states)
    a = x @ params["W_xh"] + h_prev @ params["W_hh"] + params.get("b_h", 0)
    dh, d_alpha, steps = np.zeros_like(initial[0]), np.zeros_like(initial[0, 0]), []
    for t in reversed(range(x.shape[1])):
        dh = dh + d_states[0, :, t]
        d_alpha = d_alpha + (dh * (f(a[:, t]) - h_prev[:, t])).sum(axis=0)
        d_gate = alpha * dh * slope(a[:, t])
        dh = (1 - alpha) * dh + d_gate @ params["W_hh"].T
        steps.append(d_gate)
    d_gates = np.stack(steps[::-1], axis=1)
    gradients = input_gradients(params, x, d_gates) | {"alpha": d_alpha}
    return {**gradients, "W_hh": outer(h_prev, d_gates), "initial": dh[np.newaxis]}


def jacobian(
    params: Mapping[str, Array],
    x: Array,
    initial: Array,
    states: Array,
    alpha: float | Array,
    nonlinearity: str = "tanh",
) -> tuple[Array, Array]:
    """Differentiate one step with respect to the states before it and its input.

    Parameters
    ----------
    params, alpha, nonlinearity : as in `forward`
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
    >>> params = {"W_xh": np.full((1, 1), 2.0), "W_hh": np.zeros((1, 1))}
    >>> x, states = np.zeros((1, 1)), np.ones((1, 1, 1))
    >>> of_state, of_input = jacobian(params, x, states, 0.75 * states, alpha=0.25)
    >>> of_state.item(), of_input.item()
    (0.75, 0.5)
    """
    a = x @ params["W_xh"] + initial[0] @ params["W_hh"] + params.get("b_h", 0)
    slope = alpha * NONLINEARITIES[nonlinearity].slope(a)
    of_state = through_gates([slope], params["W_hh"]) + np.diag(
        np.broadcast_to(1 - alpha, a.shape[1])
    )
    return of_state, through_gates([slope], params["W_xh"])
