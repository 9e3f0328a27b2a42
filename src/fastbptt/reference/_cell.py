"""What a cell is, and the few lines that the cells share.

A cell is a module that knows one layer in one direction, over all T steps of a batch. Lengths,
layers, directions, dropout, readout and loss are the business of ``model.py``. It defines

``STATES``
    Names of what is carried from step to step, each H wide; the first is the hidden state that
    the next layer and the readout see.
``GATES``
    G: ``W_xh`` is (I, G * H), ``W_hh`` (H, G * H), ``b_h`` (G * H,), gate beside gate.
``EXTRA_BIAS``
    Names of further biases, each (H,), which are there if ``b_h`` is.
``SETTING``
    Name and default of the number that the cell takes as a keyword; empty for most.
``forward(params, x, initial, **setting)``
    ``x`` (B, T, I), ``initial`` (S, B, H) with S states; returns the states after each step,
    (S, B, T, H).
``backward(params, x, initial, states, d_states, **setting)``
    ``states`` as returned by ``forward``, ``d_states`` (S, B, T, H) the gradient of the loss with
    respect to each state as used outside of the recursion. Returns gradients under the names of the
    parameters and under ``x`` and ``initial``. At steps from which on ``d_states`` is zero,
    ``x`` and ``states`` may hold any finite numbers.

``params`` holds ``W_xh``, ``W_hh`` and, unless the cell has no bias, ``b_h`` and the further ones.
The dtype of the arguments is kept, and every result is analytic in them, for the complex step: no
``abs``, no ``max``, no comparison but of real parts. `rnn` is the simplest one, `leaky` one with a
setting.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def sigmoid(a: Array) -> Array:
    """The logistic function, ``1 / (1 + exp(-a))``, exact for any size of ``a``.

    Parameters
    ----------
    a : array
        Real or complex.

    Returns
    -------
    array
        Of the shape and dtype of ``a``.

    Examples
    --------
    >>> import numpy as np
    >>> sigmoid(np.array([-1e4, 0.0, 1e4])).tolist()
    [0.0, 0.5, 1.0]
    """
    result: Array = 0.5 * (1 + np.tanh(0.5 * a))
    return result


def previous(initial: Array, states: Array) -> Array:
    """States before each step: the initial one, then those after all steps but the last.

    Parameters
    ----------
    initial : array (S, B, H)
    states : array (S, B, T, H)

    Returns
    -------
    array (S, B, T, H)

    Examples
    --------
    >>> import numpy as np
    >>> previous(np.zeros((1, 1, 1)), np.array([[[[1.0], [2.0]]]])).tolist()
    [[[[0.0], [1.0]]]]
    """
    return np.concatenate([initial[:, :, np.newaxis], states[:, :, :-1]], axis=2)


def outer(left: Array, right: Array) -> Array:
    """Sum over sequences and steps of the outer products, the gradient of a matrix.

    Parameters
    ----------
    left : array (B, T, M)
        What the matrix was multiplied with.
    right : array (B, T, N)
        Gradient with respect to the product.

    Returns
    -------
    array (M, N)

    Examples
    --------
    >>> import numpy as np
    >>> outer(np.ones((2, 5, 1)), np.ones((2, 5, 3))).tolist()
    [[10.0, 10.0, 10.0]]
    """
    return np.tensordot(left, right, ((0, 1), (0, 1)))


def input_gradients(params: Mapping[str, Array], x: Array, d_gates: Array) -> dict[str, Array]:
    """Gradients of everything on the input's side of ``x W_xh + b_h``.

    Parameters
    ----------
    params : mapping of str to array
        With ``W_xh`` (I, G * H).
    x : array (B, T, I)
    d_gates : array (B, T, G * H)
        Gradient with respect to ``x W_xh + b_h``.

    Returns
    -------
    dict of str to array
        ``W_xh`` (I, G * H), ``b_h`` (G * H,), ``x`` (B, T, I).

    Examples
    --------
    >>> import numpy as np
    >>> one = np.ones((1, 1, 1))
    >>> grads = input_gradients({"W_xh": np.full((1, 1), 2.0)}, 3 * one, one)
    >>> {name: grad.item() for name, grad in grads.items()}
    {'W_xh': 3.0, 'b_h': 1.0, 'x': 2.0}
    """
    return {
        "W_xh": outer(x, d_gates),
        "b_h": d_gates.sum(axis=(0, 1)),
        "x": d_gates @ params["W_xh"].T,
    }
