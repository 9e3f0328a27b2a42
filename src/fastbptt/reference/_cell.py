"""Interface of a cell, and functions shared by the cells.

A cell is a module that computes one layer in one direction, over all T steps of a batch.
``model.py`` handles lengths, layers, directions, dropout, readout and loss. A cell defines

``STATES``
    Names of the states carried from step to step, each of width H. The first is the hidden state,
    which the next layer and the readout see, unless there is ``hidden``.
``GATES``
    G: ``W_xh`` is (I, G * H), ``W_hh`` (H, G * H), ``b_h`` (G * H,), gates side by side.
``EXTRA_BIAS``
    Names of additional biases, each (H,), present if ``b_h`` is.
``SETTING``
    Name and default of the cell's keyword argument, a number, or an array (H,) with one for each
    unit; empty for most cells. ``backward`` returns its gradient (H,) under its name.
``forward(params, x, initial, **setting)``
    ``x`` (B, T, I), ``initial`` (S, B, H) with S states. Returns the states after each step,
    (S, B, T, H).
``backward(params, x, initial, states, d_states, **setting)``
    ``states`` as returned by ``forward``, ``d_states`` (S, B, T, H) the gradient of the loss with
    respect to each state as used outside the recursion. Returns gradients under the names of the
    parameters and under ``x`` and ``initial``; a cell with several states, where a step computes
    one from another, also under ``states`` (S, B, T, H), that of each state with all that follows
    from it. After the last step with a nonzero ``d_states``, ``x`` and ``states`` may hold any
    finite numbers.
``hidden(states)`` and ``d_hidden(states, d)``
    What the next layer and the readout see of states (S, ..., H), where it is not the first of
    them: (..., H); and from the gradient with respect to that the one with respect to the states.
``jacobian(params, x, initial, states, **setting)``
    Of one step: ``x`` (B, I), ``initial`` and ``states`` (S, B, H) before and after it. Returns the
    derivatives of the states after the step, side by side, with respect to those before it,
    (B, S * H, S * H), and to ``x``, (B, S * H, I). May be left out: then `fastbptt.diagnostics`
    takes the rows from ``backward``, one pass for each.

``params`` holds ``W_xh``, ``W_hh`` and, unless the cell has no bias, ``b_h`` and any additional
biases. Results have the dtype of the arguments and are analytic in them, as the complex step
requires: no ``abs``, no ``max``, and comparisons of real parts only. `rnn` is the simplest cell,
`leaky` has a setting.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def sigmoid(a: Array) -> Array:
    """The logistic function, ``1 / (1 + exp(-a))``, accurate for ``a`` of any size.

    Parameters
    ----------
    a : array
        Real or complex.

    Returns
    -------
    array
        Same shape and dtype as ``a``.

    Examples
    --------
    >>> import numpy as np
    >>> sigmoid(np.array([-1e4, 0.0, 1e4])).tolist()
    [0.0, 0.5, 1.0]
    """
    result: Array = 0.5 * (1 + np.tanh(0.5 * a))
    return result


def previous(initial: Array, states: Array) -> Array:
    """Return the states before each step: the initial one, then those after all but the last step.

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
    """Sum outer products over sequences and steps: the gradient of a matrix.

    Parameters
    ----------
    left : array (B, T, M)
        Left operand of the product with the matrix.
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
    """Return the gradients of ``x``, ``W_xh`` and ``b_h`` in ``x W_xh + b_h``.

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


def through_gates(slopes: Sequence[Array], matrix: Array) -> Array:
    """Derivatives of each unit by one operand of the gates' sums, ``x`` or ``h_prev``.

    Parameters
    ----------
    slopes : sequence of G arrays (B, H)
        Derivatives of each unit by its own sum, for each gate.
    matrix : array (K, G * H)
        ``W_xh`` or ``W_hh``, or the columns of some gates.

    Returns
    -------
    array (B, H, K)

    Examples
    --------
    >>> import numpy as np
    >>> through_gates([np.array([[2.0, 3.0]])], np.array([[5.0, 7.0]])).tolist()  # two units
    [[[10.0], [21.0]]]
    """
    blocks = zip(slopes, np.split(matrix, len(slopes), axis=1), strict=True)
    first, *others = (slope[:, :, np.newaxis] * block.T for slope, block in blocks)
    for other in others:
        first += other
    result: Array = first
    return result
