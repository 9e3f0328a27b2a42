"""The tanh RNN: ``h_t = tanh(x_t W_xh + h_{t-1} W_hh + b_h)``.

A cell is a module with ``STATES``, ``forward`` and ``backward``. It runs over all T steps;
lengths, layers, readout and loss are the business of ``model.py``. Arrays, with S = ``STATES`` and
the hidden state first: ``x`` (B, T, I), ``h0`` (S, B, H), ``states`` (S, B, T, H).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

STATES = 1  # arrays of width H carried from step to step: h


def forward(params: Mapping[str, Array], x: Array, h0: Array) -> Array:
    """Run the cell over time.

    Parameters
    ----------
    params : mapping of str to array
        ``W_xh`` (I, H), ``W_hh`` (H, H) and, unless the cell has no bias, ``b_h`` (H,).
    x : array (B, T, I)
        Input, finite at every step.
    h0 : array (1, B, H)
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
    h, hidden = h0[0], []
    for t in range(x.shape[1]):
        h = np.tanh(x[:, t] @ params["W_xh"] + h @ params["W_hh"] + params.get("b_h", 0))
        hidden.append(h)
    return np.stack(hidden, axis=1)[np.newaxis]


def backward(
    params: Mapping[str, Array], x: Array, h0: Array, states: Array, d_states: Array
) -> dict[str, Array]:
    """Backpropagate through time.

    Parameters
    ----------
    params, x, h0 : as given to `forward`
    states : array (1, B, T, H)
        What `forward` returned; its values count only up to the last step of each sequence whose
        ``d_states`` is not zero, and must be finite after it.
    d_states : array (1, B, T, H)
        Gradient of the loss with respect to each state as used outside of the recursion.

    Returns
    -------
    dict of str to array
        Gradients shaped like the parameters, and ``x`` (B, T, I), ``h0`` (1, B, H).

    Notes
    -----
    P. J. Werbos, "Backpropagation through time: what it does and how to do it", Proceedings of the
    IEEE 78 (1990).

    Examples
    --------
    >>> import numpy as np
    >>> params = {"W_xh": np.ones((1, 1)), "W_hh": np.ones((1, 1))}
    >>> x, h0 = np.zeros((1, 2, 1)), np.ones((1, 1, 1))
    >>> states = forward(params, x, h0)
    >>> backward(params, x, h0, states, np.ones_like(states))["h0"].round(4).tolist()
    [[[0.6668]]]
    """
    hidden, d_hidden = states[0], d_states[0]
    dh, d_gates = np.zeros_like(h0[0]), []
    for t in reversed(range(x.shape[1])):
        d_gate = (d_hidden[:, t] + dh) * (1 - hidden[:, t] ** 2)  # tanh' = 1 - tanh^2
        dh = d_gate @ params["W_hh"].T
        d_gates.append(d_gate)
    d_gates_bt = np.stack(d_gates[::-1], axis=1)
    h_prev = np.concatenate([h0[0][:, np.newaxis], hidden[:, :-1]], axis=1)
    return {
        "W_xh": np.tensordot(x, d_gates_bt, ((0, 1), (0, 1))),
        "W_hh": np.tensordot(h_prev, d_gates_bt, ((0, 1), (0, 1))),
        "b_h": d_gates_bt.sum(axis=(0, 1)),
        "x": d_gates_bt @ params["W_xh"].T,
        "h0": dh[np.newaxis],
    }
