"""Penalties on the states of a network: on rates, on their change, and Pascanu's Omega."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._cell import outer
from ._nonlinearities import NONLINEARITIES

Array = NDArray[Any]

#: The nonlinearity of each leaky cell whose state is h.
_LEAKY = {"leaky": "tanh"} | {f"leaky_rate_{f}": f for f in ("relu", "softplus", "sigmoid")}


def activity_penalties(
    states: Array,
    exist: Array,
    goes_on: Array,
    activity_l1: float = 0.0,
    activity_l2: float = 0.0,
    activity_change_l2: float = 0.0,
) -> tuple[dict[str, Any], Array]:
    """Compute penalties on hidden states and on their change from step to step.

    ``activity_l1 * mean(abs(h))``, ``activity_l2 * mean(h ** 2)`` over all layers, directions,
    units and real steps; ``activity_change_l2 * mean((h[t] - h[t - 1]) ** 2)`` over those pairs of
    steps that belong together. Analytic in `states`: absolute values are those of real parts.

    Parameters
    ----------
    states : array (L * D, B, T, H)
        Hidden states, zero after a sequence's end.
    exist : bool array (B, T)
        The real steps.
    goes_on : bool array (B, T)
        Where a step and the one before it belong together.
    activity_l1, activity_l2, activity_change_l2 : float
        Strengths; 0 for none.

    Returns
    -------
    terms : dict of str to number
        By name, those with a strength.
    gradient : array (L * D, B, T, H)
        Of their sum with respect to `states`.

    Notes
    -----
    S. Merity, B. McCann and R. Socher, "Revisiting activation regularization for language RNNs",
    2017, arXiv:1708.01009: "activation" and "temporal activation regularization".

    Examples
    --------
    >>> import numpy as np
    >>> states = np.array([0.0, 3.0, -1.0]).reshape(1, 1, 3, 1)
    >>> exist, goes_on = np.ones((1, 3), bool), np.array([[False, True, True]])
    >>> terms, gradient = activity_penalties(states, exist, goes_on, 3.0, 0.0, 2.0)
    >>> {name: float(value) for name, value in terms.items()}, gradient.ravel().tolist()
    ({'activity_l1': 4.0, 'activity_change_l2': 25.0}, [-6.0, 15.0, -9.0])
    """
    units = len(states) * states.shape[-1]
    count, pairs = units * exist.sum(), units * goes_on.sum()
    sign = np.sign(states.real)
    change = np.zeros_like(states)
    change[:, :, 1:] = np.diff(states, axis=2)
    change *= goes_on[:, :, np.newaxis]
    terms: dict[str, Any] = {}
    gradient = np.zeros_like(states)
    if activity_l1:
        terms["activity_l1"] = activity_l1 * (sign * states).sum() / count
        gradient += activity_l1 / count * sign
    if activity_l2:
        terms["activity_l2"] = activity_l2 * (states**2).sum() / count
        gradient += 2.0 * activity_l2 / count * states
    if activity_change_l2:
        scale = activity_change_l2 / max(pairs, 1)
        terms["activity_change_l2"] = scale * (change**2).sum()
        gradient += 2.0 * scale * change
        gradient[:, :, :-1] -= 2.0 * scale * change[:, :, 1:]
    return terms, gradient


def omega_term(
    W_hh: Array,
    before: Array,
    d_gates: Array,
    d_states: Array,
    goes_on: Array,
    cell: str,
    alpha: float | Array = 1.0,
) -> tuple[Any, Array]:
    """Sum Omega over the steps of one layer and direction, and differentiate it by `W_hh` alone.

    ``(|d_t J_t| / |d_t| - 1)^2``, where d_t is the gradient with respect to the state x_t after
    step t and ``J_t = dx_t / dx_{t-1}``; everything but `W_hh` is held fixed. Analytic in `W_hh`.

    Parameters
    ----------
    W_hh : array (H, H)
    before : array (B, T, H)
        Hidden state before each step.
    d_gates, d_states : array (B, T, H)
        Gradients of the loss with respect to each step's pre-activation and hidden state, all that
        flows back included.
    goes_on : bool array (B, T)
        Where the step before belongs to the same sequence or episode.
    cell : str
        ``"rnn"`` and ``"relu"``: x_t is the pre-activation, as in the paper. A leaky cell in rate
        form: x_t is the hidden state.
    alpha : float or array (H,)
        Of the leaky cell.

    Returns
    -------
    value : number
    gradient : array (H, H)

    Raises
    ------
    ValueError
        If the cell has more than a single pre-activation.

    Notes
    -----
    R. Pascanu, T. Mikolov and Y. Bengio, "On the difficulty of training recurrent neural networks",
    ICML 2013, arXiv:1211.5063, equations 9 and 10. Steps with a gradient of norm below 1e6 times
    the smallest normal number do not count.

    Examples
    --------
    >>> import numpy as np
    >>> d = np.ones((1, 2, 1))
    >>> goes_on = np.array([[False, True]])
    >>> value, gradient = omega_term(np.full((1, 1), 3.0), 0 * d, d, d, goes_on, "rnn")
    >>> float(value), gradient.tolist()
    (4.0, [[4.0]])
    """
    stays: float | Array = 0.0
    if cell == "rnn":
        slope, of_state = 1.0 - before**2, d_gates
    elif cell == "relu":
        slope, of_state = (before.real > 0.0).astype(before.dtype), d_gates
    elif cell in _LEAKY:
        slope, stays, of_state = np.ones_like(before), 1.0 - alpha, d_states
    else:
        raise ValueError('cell is another one; expected "rnn", "relu" or a leaky one in rate form')
    image = (d_gates @ W_hh.T) * slope + stays * of_state
    least = float(np.finfo(before.real.dtype).tiny) * 2.0**20
    size, norm = _norm(of_state), _norm(image)
    counts = goes_on & (size.real >= least)
    ratio = norm / np.where(counts, size, 1.0)
    value = np.where(counts, (ratio - 1.0) ** 2, 0.0).sum()
    moves = counts & (norm.real > 0.0)
    factor = np.where(moves, 2.0 * (ratio - 1.0) / np.where(moves, size, 1.0), 0.0)
    direction = image / np.where(moves, norm, 1.0)[:, :, np.newaxis]
    return value, outer(factor[:, :, np.newaxis] * direction * slope, d_gates)


def _norm(vectors: Array) -> Array:
    """Return the norms of the last axis, without underflow of squares."""
    largest = np.abs(vectors.real).max(axis=-1, keepdims=True)
    scale = np.where(largest > 0.0, largest, 1.0)
    found: Array = scale[..., 0] * np.sqrt(((vectors / scale) ** 2).sum(axis=-1))
    return found


def signals(
    W_hh: Array,
    gates: Array,
    d_states: Array,
    cell: str,
    alpha: float | Array = 1.0,
) -> tuple[Array, Array]:
    """Return the gradients that `omega_term` takes, `d_gates` and all of `d_states`.

    Parameters
    ----------
    W_hh, cell, alpha : as for `omega_term`
    gates : array (B, T, H)
        The pre-activation of each step.
    d_states : array (B, T, H)
        Gradient with respect to each state as used outside the recursion.

    Examples
    --------
    >>> import numpy as np
    >>> zeros, ones = np.zeros((1, 2, 1)), np.ones((1, 2, 1))
    >>> d_gates, d_states = signals(np.full((1, 1), 2.0), zeros, ones, "rnn")
    >>> d_gates.ravel().tolist(), d_states.ravel().tolist()
    ([3.0, 1.0], [3.0, 1.0])
    """
    stays = 1.0 - alpha if cell in _LEAKY else 0.0
    own = NONLINEARITIES[_LEAKY.get(cell, "relu" if cell == "relu" else "tanh")].slope(gates)
    slope = (1.0 - stays) * own
    d_gates, d_all = np.zeros_like(d_states), np.zeros_like(d_states)
    dh = np.zeros_like(d_states[:, 0])
    for t in reversed(range(d_states.shape[1])):
        d_all[:, t] = dh + d_states[:, t]
        d_gates[:, t] = d_all[:, t] * slope[:, t]
        dh = stays * d_all[:, t] + d_gates[:, t] @ W_hh.T
    return d_gates, d_all
