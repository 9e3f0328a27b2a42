"""`step_jacobian`: the derivative of one step of a network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import ArrayLike

from .. import _check
from .._errors import ArgumentError
from ..training.evaluation import check_model
from . import _step
from ._record import Array

if TYPE_CHECKING:
    from ..models.recurrent import Recurrent, StateLike

_WRT: Final = ("state", "input")


def step_jacobian(model: Recurrent, state: StateLike, x: ArrayLike, *, wrt: str = "state") -> Array:
    """Differentiate the state after one step with respect to the state before it, or the input.

    Parameters
    ----------
    model : Recurrent
        Of any cell and any number of layers, in one direction. Not changed; dropout is off.
    state : array of shape (layers, n, hidden_size), or tuple of two
        n states before the step, in the format of `Recurrent.initial_state` and
        `ForwardResult.final_state`: for an LSTM ``(h, c)``.
    x : array of shape (input_size,) or (n, input_size)
        The input of the step, the same for all states or one for each. If the model has an
        embedding: a token or tokens (n,), or vectors of a float dtype in place of its rows.
    wrt : {"state", "input"}
        What the derivative is taken with respect to.

    Returns
    -------
    ndarray of shape (n, N, N), or (n, N, input_size), float64
        Entry ``[b, i, j]`` is the derivative of number i of state b after the step by number j of
        the state before it, or of the input. A state has N = layers * hidden_size numbers, of an
        LSTM twice as many: layer by layer, in each layer h and then c. Computed in float64 from the
        model's weights, whatever its dtype and precision.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what came and what was expected; or if the model reads in both
        directions: then no state follows from the one before it.
    MemoryError
        If the Jacobians do not fit into this machine.

    Notes
    -----
    The formulas are those of the reference's cells. The ReLU has the derivative 0 at 0.

    Examples
    --------
    >>> import numpy as np, fastbptt
    >>> from fastbptt.diagnostics import step_jacobian
    >>> model = fastbptt.RNN(3, 4, 1, seed=0, dtype="float64")
    >>> J = step_jacobian(model, model.initial_state(1), np.zeros(3))
    >>> slope = 1 - np.tanh(model.parameters["b_h"]) ** 2
    >>> bool(np.allclose(J[0], slope[:, None] * model.parameters["W_hh"].T))
    True

    Of an LSTM both states count; here at the end of two sequences:

    >>> model = fastbptt.LSTM(3, 4, 1, num_layers=2, seed=0)
    >>> x = np.random.default_rng(0).normal(size=(2, 5, 3))
    >>> state = model.forward(x).final_state
    >>> step_jacobian(model, state, x[:, -1]).shape
    (2, 16, 16)
    >>> step_jacobian(model, state, x[:, -1], wrt="input").shape
    (2, 16, 3)
    """
    check_model(model)
    _check.option("wrt", wrt, _WRT)
    step = _step.OneStep(model, "step_jacobian")
    s = _step.flat_state(model, "state", state)
    read = _step.inputs(model, step.values, x, len(s))
    if wrt == "state":
        return step.jacobians(s, read)
    if model.vocabulary_size is not None and np.asarray(x).dtype.kind != "f":
        raise ArgumentError(
            "wrt",
            'is "input"',
            '"state" because tokens have no derivative; for that by the row of the embedding give '
            'x=model.parameters["E"][token]',
        )
    return step.input_jacobians(s, read)
