"""The LSTM, with a forget gate and without peepholes.

Blocks i, f, g, o; ``s`` is the logistic function; ``a = x W_xh + h_prev W_hh + b_h``::

    i = s(a_i)    f = s(a_f)    g = tanh(a_g)    o = s(a_o)
    c = f c_prev + i g          h = o tanh(c)

``_cell.py`` documents the interface of a cell.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ._cell import Array, input_gradients, outer, previous, sigmoid, through_gates

STATES = ("h", "c")
GATES = 4
EXTRA_BIAS = ()
SETTING: dict[str, float] = {}


def _gates(params: Mapping[str, Array], x: Array, h: Array) -> tuple[Array, Array, Array, Array]:
    """Return the gates i, f, g, o from the input and the hidden state before the step."""
    a = x @ params["W_xh"] + h @ params["W_hh"] + params.get("b_h", 0)
    a_i, a_f, a_g, a_o = np.split(a, 4, axis=-1)
    return sigmoid(a_i), sigmoid(a_f), np.tanh(a_g), sigmoid(a_o)


def forward(params: Mapping[str, Array], x: Array, initial: Array) -> Array:
    """Run the cell over time.

    Parameters
    ----------
    params : mapping of str to array
        ``W_xh`` (I, 4H), ``W_hh`` (H, 4H) and, unless the cell has no bias, ``b_h`` (4H,).
    x : array (B, T, I)
        Input, finite at every step.
    initial : array (2, B, H)
        States h and c before the first step.

    Returns
    -------
    array (2, B, T, H)
        States h and c after each step, in the widest dtype of the arguments.

    Notes
    -----
    S. Hochreiter and J. Schmidhuber, "Long short-term memory", Neural Computation 9 (1997), with
    the forget gate of F. A. Gers, J. Schmidhuber and F. Cummins, "Learning to forget", Neural
    Computation 12 (2000).

    Examples
    --------
    >>> import numpy as np
    >>> params = {"W_xh": np.zeros((1, 4)), "W_hh": np.zeros((1, 4))}
    >>> forward(params, np.zeros((1, 2, 1)), np.ones((2, 1, 1))).round(4).tolist()
    [[[[0.2311], [0.1225]]], [[[0.5], [0.25]]]]
    """
    (h, c), states = initial, []
    for t in range(x.shape[1]):
        i, f, g, o = _gates(params, x[:, t], h)
        c = f * c + i * g
        h = o * np.tanh(c)
        states.append((h, c))
    return np.stack([np.stack(s, axis=1) for s in zip(*states, strict=True)])


def backward(
    params: Mapping[str, Array], x: Array, initial: Array, states: Array, d_states: Array
) -> dict[str, Array]:
    """Backpropagate through time.

    Parameters
    ----------
    params, x, initial : as in `forward`
    states : array (2, B, T, H)
        Result of `forward`.
    d_states : array (2, B, T, H)
        Gradient of the loss with respect to each state as used outside the recursion.

    Returns
    -------
    dict of str to array
        Gradients shaped like the parameters, ``x`` (B, T, I), ``initial`` (2, B, H), and ``states``
        (2, B, T, H): of each state, with all that follows from it.

    Examples
    --------
    >>> import numpy as np
    >>> params = {"W_xh": np.zeros((1, 4)), "W_hh": np.zeros((1, 4))}
    >>> x, initial = np.zeros((1, 2, 1)), np.ones((2, 1, 1))
    >>> states = forward(params, x, initial)
    >>> d_states = np.stack([np.zeros((1, 2, 1)), np.ones((1, 2, 1))])
    >>> backward(params, x, initial, states, d_states)["initial"].tolist()
    [[[0.0]], [[0.75]]]
    """
    h_prev, c_prev = previous(initial, states)
    i, f, g, o = _gates(params, x, h_prev)
    tanh_c = np.tanh(states[1])
    slope_c, slope_o = o * (1 - tanh_c**2), tanh_c * o * (1 - o)  # both of h
    slope_i, slope_f, slope_g = g * i * (1 - i), c_prev * f * (1 - f), i * (1 - g**2)
    (dh, dc), steps, totals = np.zeros_like(initial), [], []
    for t in reversed(range(x.shape[1])):
        dh = dh + d_states[0, :, t]
        dc = dc + d_states[1, :, t] + dh * slope_c[:, t]
        d_ifg = [dc * slope[:, t] for slope in (slope_i, slope_f, slope_g)]
        d_gate = np.concatenate([*d_ifg, dh * slope_o[:, t]], axis=-1)
        totals.append((dh, dc))
        dh, dc = d_gate @ params["W_hh"].T, dc * f[:, t]
        steps.append(d_gate)
    d_gates = np.stack(steps[::-1], axis=1)
    gradients = input_gradients(params, x, d_gates)
    return {
        **gradients,
        "W_hh": outer(h_prev, d_gates),
        "initial": np.stack([dh, dc]),
        "states": np.stack([np.stack(d[::-1], axis=1) for d in zip(*totals, strict=True)]),
    }


def jacobian(
    params: Mapping[str, Array], x: Array, initial: Array, states: Array
) -> tuple[Array, Array]:
    """Differentiate one step with respect to the states before it and its input.

    Parameters
    ----------
    params : as in `forward`
    x : array (B, I)
        The step's input.
    initial, states : array (2, B, H)
        States before and after the step.

    Returns
    -------
    array (B, 2H, 2H), array (B, 2H, I)
        Of each number of h and then of c after the step, in this order.

    Examples
    --------
    >>> import numpy as np
    >>> params = {"W_xh": np.ones((1, 4)), "W_hh": np.zeros((1, 4))}
    >>> states = forward(params, np.zeros((1, 1, 1)), np.zeros((2, 1, 1)))[:, :, 0]
    >>> of_state, of_input = jacobian(params, np.zeros((1, 1)), np.zeros((2, 1, 1)), states)
    >>> of_state.tolist(), of_input.tolist()
    ([[[0.0, 0.25], [0.0, 0.5]]], [[[0.25], [0.5]]])
    """
    h_prev, c_prev = initial
    i, f, g, o = _gates(params, x, h_prev)
    tanh_c = np.tanh(states[1])
    slope_c = (o * (1 - tanh_c**2))[:, :, np.newaxis]  # of h
    slopes = [g * i * (1 - i), c_prev * f * (1 - f), i * (1 - g**2)]  # of c
    by_c = f[:, :, np.newaxis] * np.eye(f.shape[1])

    def rows(matrix: Array) -> tuple[Array, Array]:
        """Derivatives of h and c by one operand of the gates' sums."""
        ifg, output = np.split(matrix, [3 * o.shape[1]], axis=1)
        of_c = through_gates(slopes, ifg)
        return slope_c * of_c + through_gates([tanh_c * o * (1 - o)], output), of_c

    of_h, of_c = rows(params["W_hh"])
    of_h = np.concatenate([of_h, slope_c * by_c], axis=2)
    of_state = np.concatenate([of_h, np.concatenate([of_c, by_c], axis=2)], axis=1)
    return of_state, np.concatenate(rows(params["W_xh"]), axis=1)
