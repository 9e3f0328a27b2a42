"""The whole network on plain arrays: a cell over time, lengths, the linear readout, the loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbptt.reference import rnn
from fastbptt.reference.losses import apply_loss

Array = NDArray[Any]

CELLS: dict[str, ModuleType] = {"rnn": rnn}


@dataclass(frozen=True)
class Forward:
    """What `forward` returns.

    Attributes
    ----------
    outputs : array (B, T, O)
        Outputs of the readout, or the hidden states if there is none; zero after a sequence's end.
    hidden : array (B, T, H)
        Hidden states; zero after a sequence's end.
    final_state : array (1, B, H)
        State after each sequence's own last step.
    states : array (S, B, T, H)
        All states of the cell, the hidden one first; zero after a sequence's end.

    Examples
    --------
    >>> import numpy as np
    >>> params = {"W_xh": np.ones((3, 2)), "W_hh": np.ones((2, 2))}
    >>> forward(params, np.ones((1, 4, 3))).final_state.shape
    (1, 1, 2)
    """

    outputs: Array
    hidden: Array
    final_state: Array
    states: Array


def _cell(cell: str) -> ModuleType:
    if cell not in CELLS:
        raise ValueError(f"cell is {cell!r}; expected one of {', '.join(CELLS)}")
    return CELLS[cell]


def _valid(x: Array, lengths: Array | None) -> tuple[Array, Array]:
    """Which steps exist, (B, T, 1), and the index of each sequence's last step, (B,)."""
    batch, time, _ = x.shape
    ends = np.full(batch, time) if lengths is None else np.asarray(lengths)
    return (np.arange(time) < ends[:, np.newaxis])[:, :, np.newaxis], ends - 1


def _initial(cell: str, params: Mapping[str, Array], x: Array, h0: Array | None) -> Array:
    if h0 is not None:
        return np.asarray(h0)
    dtype = np.result_type(x, *params.values())
    return np.zeros((_cell(cell).STATES, len(x), len(params["W_hh"])), dtype)


def forward(
    params: Mapping[str, Array],
    x: Array,
    lengths: Array | None = None,
    h0: Array | None = None,
    *,
    cell: str = "rnn",
) -> Forward:
    """Run the network: ``outputs_t = h_t W_hy + b_y``, with ``h_t`` from the cell.

    Parameters
    ----------
    params : mapping of str to array
        The cell's parameters (see its module) and the readout's: ``W_hy`` (H, O), ``b_y`` (O,).
        Without ``W_hy`` the outputs are the hidden states; without ``b_y`` there is no bias.
    x : array (B, T, I)
        Input. Steps after a sequence's end may hold anything.
    lengths : integer array (B,), optional
        Steps of each sequence, 1 to T; default T.
    h0 : array (1, B, H), optional
        State before the first step; default zeros.
    cell : str
        A key of ``CELLS``.

    Returns
    -------
    Forward
        In the widest dtype of ``params``, ``x`` and ``h0``: float32 stays float32.

    Raises
    ------
    ValueError
        Unknown ``cell``.

    Examples
    --------
    >>> import numpy as np
    >>> params = {"W_xh": np.ones((1, 1)), "W_hh": np.zeros((1, 1)), "W_hy": np.full((1, 1), 2.0)}
    >>> x = np.array([[[1.0], [np.nan]]])
    >>> forward(params, x, lengths=np.array([1])).outputs.round(4).tolist()
    [[[1.5232], [0.0]]]
    """
    x = np.asarray(x)
    valid, last = _valid(x, lengths)
    states = _cell(cell).forward(params, np.where(valid, x, 0), _initial(cell, params, x, h0))
    final_state = states[:, np.arange(len(x)), last]
    states = np.where(valid, states, 0)
    hidden = outputs = states[0]
    if "W_hy" in params:
        outputs = np.where(valid, hidden @ params["W_hy"] + params.get("b_y", 0), 0)
    return Forward(outputs, hidden, final_state, states)


def backward(
    params: Mapping[str, Array],
    x: Array,
    forward: Forward,
    d_outputs: Array | None = None,
    d_final_state: Array | None = None,
    lengths: Array | None = None,
    h0: Array | None = None,
    *,
    cell: str = "rnn",
) -> dict[str, Array]:
    """Gradients from the gradient of the outputs and of the final state.

    Parameters
    ----------
    params, x, lengths, h0, cell : as given to `forward`
    forward : Forward
        What `forward` returned for these arguments.
    d_outputs : array (B, T, O), optional
        Gradient of the loss with respect to the outputs, default zeros. Ignored after a sequence's
        end, whatever it holds.
    d_final_state : array (1, B, H), optional
        Gradient of the loss with respect to the final state, default zeros.

    Returns
    -------
    dict of str to array
        Gradients under the names of the parameters, then ``x`` (B, T, I), zero after a sequence's
        end, and ``h0`` (1, B, H).

    Raises
    ------
    ValueError
        Unknown ``cell``.

    Examples
    --------
    >>> import numpy as np
    >>> params = {"W_xh": np.ones((1, 1)), "W_hh": np.zeros((1, 1)), "W_hy": np.full((1, 1), 2.0)}
    >>> x = np.zeros((1, 1, 1))
    >>> grads = backward(params, x, forward(params, x), d_outputs=np.ones((1, 1, 1)))
    >>> {name: grad.item() for name, grad in grads.items()}
    {'W_xh': 0.0, 'W_hh': 0.0, 'W_hy': 0.0, 'x': 2.0, 'h0': 0.0}
    """
    x = np.asarray(x)
    valid, last = _valid(x, lengths)
    d_outputs = np.zeros_like(forward.outputs) if d_outputs is None else np.asarray(d_outputs)
    d_final_state = np.zeros_like(forward.final_state) if d_final_state is None else d_final_state
    d_hidden = d_outputs = np.where(valid, d_outputs, 0)
    readout = {}
    if "W_hy" in params:
        d_hidden = d_outputs @ params["W_hy"].T
        readout["W_hy"] = np.tensordot(forward.hidden, d_outputs, ((0, 1), (0, 1)))
        readout["b_y"] = d_outputs.sum(axis=(0, 1))
    d_states = np.zeros(forward.states.shape, np.result_type(d_hidden, d_final_state))
    d_states[0] = d_hidden
    d_states[:, np.arange(len(x)), last] += d_final_state
    grads = _cell(cell).backward(
        params, np.where(valid, x, 0), _initial(cell, params, x, h0), forward.states, d_states
    )
    return {name: (grads | readout)[name] for name in (*params, "x", "h0")}


def loss_and_grad(
    params: Mapping[str, Array],
    x: Array,
    y: Array,
    loss: str = "bce",
    steps: str = "last",
    reduction: str = "mean",
    lengths: Array | None = None,
    h0: Array | None = None,
    sample_weight: Array | None = None,
    *,
    cell: str = "rnn",
) -> tuple[float, dict[str, Array]]:
    """Loss of a batch and its gradients.

    Parameters
    ----------
    params, x, lengths, h0, cell : as in `forward`
    y, loss, steps, reduction, sample_weight : as in `fastbptt.reference.apply_loss`

    Returns
    -------
    loss : float
    grads : dict of str to array
        As from `backward`.

    Raises
    ------
    ValueError
        Unknown ``loss``, ``steps``, ``reduction`` or ``cell``; all weights zero.

    Examples
    --------
    >>> import numpy as np
    >>> params = {"W_xh": np.zeros((3, 2)), "W_hh": np.zeros((2, 2)), "W_hy": np.zeros((2, 1))}
    >>> loss, grads = loss_and_grad(params, np.ones((5, 10, 3)), np.array([1.0, 0, 1, 0, 1]))
    >>> round(loss, 4), list(grads)
    (0.6931, ['W_xh', 'W_hh', 'W_hy', 'x', 'h0'])
    """
    out = forward(params, x, lengths, h0, cell=cell)
    value, d_outputs = apply_loss(out.outputs, y, loss, steps, reduction, lengths, sample_weight)
    return value, backward(params, x, out, d_outputs, None, lengths, h0, cell=cell)


def loss_only(
    params: Mapping[str, Array],
    x: Array,
    y: Array,
    loss: str = "bce",
    steps: str = "last",
    reduction: str = "mean",
    lengths: Array | None = None,
    h0: Array | None = None,
    sample_weight: Array | None = None,
    *,
    cell: str = "rnn",
) -> float:
    """Loss of a batch, analytic in ``params``, ``x`` and ``h0``.

    Parameters
    ----------
    params, x, y, loss, steps, reduction, lengths, h0, sample_weight, cell : as in `loss_and_grad`

    Returns
    -------
    float
        Complex if one of ``params``, ``x`` and ``h0`` is: with a step of 1e-30 along the imaginary
        axis, ``loss.imag / 1e-30`` is the derivative, free of cancellation.

    Raises
    ------
    ValueError
        As `loss_and_grad`.

    Notes
    -----
    W. Squire and G. Trapp, "Using complex variables to estimate derivatives of real functions",
    SIAM Review 40 (1998).

    Examples
    --------
    >>> import numpy as np
    >>> params = {"W_xh": np.full((1, 1), 0.5), "W_hh": np.zeros((1, 1))}
    >>> x, y = np.ones((1, 1, 1)), np.zeros(1)
    >>> exact = loss_and_grad(params, x, y, loss="mse")[1]["x"].item()
    >>> step = loss_only(params, x + 1e-30j, y, loss="mse").imag / 1e-30
    >>> abs(step - exact) < 1e-15
    True
    """
    out = forward(params, x, lengths, h0, cell=cell)
    return apply_loss(out.outputs, y, loss, steps, reduction, lengths, sample_weight)[0]
