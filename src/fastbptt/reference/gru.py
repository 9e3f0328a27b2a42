"""The GRU with the reset after the recurrent product, as in PyTorch, cuDNN and Keras' default.

Blocks r, z, n; ``s`` is the logistic function; the reset gate also scales ``b_hn`` (H,)::

    r = s(x W_xr + h_prev W_hr + b_r)        z = s(x W_xz + h_prev W_hz + b_z)
    n = tanh(x W_xn + b_n + r (h_prev W_hn + b_hn))
    h = (1 - z) n + z h_prev

``_cell.py`` documents the interface of a cell.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ._cell import Array, input_gradients, outer, previous, sigmoid, through_gates

STATES = ("h",)
GATES = 3
EXTRA_BIAS = ("b_hn",)
SETTING: dict[str, float] = {}


def _gates(params: Mapping[str, Array], x: Array, h: Array) -> tuple[Array, Array, Array, Array]:
    """Return the gates r, z, n and the term that the reset gate scales."""
    x_r, x_z, x_n = np.split(x @ params["W_xh"] + params.get("b_h", 0), 3, axis=-1)
    h_r, h_z, h_n = np.split(h @ params["W_hh"], 3, axis=-1)
    h_n = h_n + params.get("b_hn", 0)
    r = sigmoid(x_r + h_r)
    return r, sigmoid(x_z + h_z), np.tanh(x_n + r * h_n), h_n


def forward(params: Mapping[str, Array], x: Array, initial: Array) -> Array:
    """Run the cell over time.

    Parameters
    ----------
    params : mapping of str to array
        ``W_xh`` (I, 3H), ``W_hh`` (H, 3H) and, unless the cell has no bias, ``b_h`` (3H,),
        ``b_hn`` (H,).
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
    K. Cho et al., "Learning phrase representations using RNN encoder-decoder for statistical
    machine translation", EMNLP 2014, in the form of version 1 of arXiv:1406.1078.

    Examples
    --------
    >>> import numpy as np
    >>> params = {"W_xh": np.zeros((1, 3)), "W_hh": np.zeros((1, 3))}
    >>> forward(params, np.zeros((1, 2, 1)), np.ones((1, 1, 1))).tolist()
    [[[[0.5], [0.25]]]]
    """
    (h,), hidden = initial, []
    for t in range(x.shape[1]):
        _, z, n, _ = _gates(params, x[:, t], h)
        h = (1 - z) * n + z * h
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

    Examples
    --------
    >>> import numpy as np
    >>> params = {"W_xh": np.zeros((1, 3)), "W_hh": np.zeros((1, 3))}
    >>> x, initial = np.zeros((1, 2, 1)), np.ones((1, 1, 1))
    >>> states = forward(params, x, initial)
    >>> backward(params, x, initial, states, np.ones_like(states))["initial"].tolist()
    [[[0.75]]]
    """
    (h_prev,) = previous(initial, states)
    r, z, n, h_n = _gates(params, x, h_prev)
    slope_r, slope_z = h_n * r * (1 - r), (h_prev - n) * z * (1 - z)
    slope_n = (1 - z) * (1 - n**2)
    dh, steps = np.zeros_like(initial[0]), []
    for t in reversed(range(x.shape[1])):
        dh = dh + d_states[0, :, t]
        d_n = dh * slope_n[:, t]
        d_gate = np.concatenate([d_n * slope_r[:, t], dh * slope_z[:, t], d_n], axis=-1)
        d_recurrent = np.concatenate([d_gate[:, : -d_n.shape[1]], d_n * r[:, t]], axis=-1)
        dh = dh * z[:, t] + d_recurrent @ params["W_hh"].T
        steps.append((d_gate, d_recurrent))
    d_gates, d_recurrents = (np.stack(d, axis=1) for d in zip(*steps[::-1], strict=True))
    return {
        **input_gradients(params, x, d_gates),
        "W_hh": outer(h_prev, d_recurrents),
        "b_hn": np.split(d_recurrents.sum(axis=(0, 1)), 3)[2],
        "initial": dh[np.newaxis],
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
    initial, states : array (1, B, H)
        States before and after the step.

    Returns
    -------
    array (B, H, H), array (B, H, I)
        Of each number of the state after the step.

    Examples
    --------
    >>> import numpy as np
    >>> params = {"W_xh": np.ones((1, 3)), "W_hh": np.zeros((1, 3))}
    >>> x, states = np.zeros((1, 1)), np.ones((1, 1, 1))
    >>> of_state, of_input = jacobian(params, x, states, 0.5 * states)
    >>> of_state.item(), of_input.item()
    (0.5, 0.75)
    """
    (h_prev,) = initial
    r, z, n, h_n = _gates(params, x, h_prev)
    slope_n, slope_z = (1 - z) * (1 - n**2), (h_prev - n) * z * (1 - z)
    slope_r = slope_n * h_n * r * (1 - r)
    of_state = through_gates([slope_r, slope_z, slope_n * r], params["W_hh"])
    of_state = of_state + z[:, :, np.newaxis] * np.eye(z.shape[1])
    return of_state, through_gates([slope_r, slope_z, slope_n], params["W_xh"])
