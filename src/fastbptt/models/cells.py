"""The models: a tanh or ReLU RNN, GRU, LSTM, leaky tanh RNN."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from .. import _check
from . import initializers
from ._options import Options, with_options
from .recurrent import Recurrent

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["GRU", "LSTM", "MODELS", "RNN", "LeakyRNN", "Recurrent"]


class RNN(Recurrent):
    """The plain recurrent network, with a linear readout.

    ``h_t = tanh(x_t W_xh + h_{t-1} W_hh + b_h)``, or ``max(..., 0)``; ``y_t = h_t W_hy + b_y``. The
    recurrence of Elman, Cognitive Science 14 (1990).

    Parameters
    ----------
    input_size : int
        Features per time step; with an embedding those of its rows.
    hidden_size : int
        Hidden units of each layer and direction.
    output_size : int, optional
        Outputs of the readout. None: no readout, the outputs are the hidden states.
    num_layers : int, default 1
        Layers on top of each other, each reading the hidden states of the one below.
    nonlinearity : {"tanh", "relu"}
        ReLU's derivative is 1 above 0, and 0 elsewhere.
    bidirectional : bool, default False
        Have a second set of units in each layer that reads each sequence from its own last
        step to its first; what is above reads both, side by side (Schuster and Paliwal, IEEE
        Transactions on Signal Processing 45, 1997).
    bias : bool, default True
        Have `b_h` and `b_y`.
    output_bias : bool, optional
        Have `b_y`, whatever `bias` is. None: as `bias`.
    readout_units : sequence of int, optional
        Read the outputs from some hidden units of the top layer only: their numbers, increasing,
        such as ``range(32)``. They are columns of ``model.forward(x).hidden``, so units of the
        reverse direction count from `hidden_size` on. `W_hy` has a row for each, in this order.
        None: from all.
    dropout : float, default 0
        In training, each value that a layer passes on to another one is zero with this
        probability, and the others are divided by one minus it (Srivastava et al., JMLR 15, 2014).
        Prediction has none. At least 0 and below 1; of no effect with one layer.
    learn_initial_state : bool, default False
        Make the initial state a parameter, `h0`, the same for all sequences; used in calls
        that give none.
    static_size : int, optional
        Constants of each sequence (the age of a patient, the size of a shop), which calls take as
        `static` (batch, static_size). The state before the first step is ``static W_sh``, plus the
        learned one if there is one, in each layer and direction; `W_sh` (static_size, layers *
        directions * hidden_size) is a parameter. None: no constants.
    embedding : int or array of shape (vocabulary, input_size), optional
        Inputs are tokens, and each stands for a row of the matrix `E`, a parameter. A number: rows
        of the vocabulary, drawn by `init`. A matrix: their initial values, which are copied.
    padding_index : int, optional
        The token whose row of `E` is not learned. It is zero at first, unless `embedding` is a
        matrix. It does not mark the ends of sequences: `lengths` does.
    freeze_embedding : bool, default False
        Leave `E` as it is.
    init : str or (str, float), default "torch"
        How weights begin: ``"torch"``, ``"keras"``, ``"orthogonal"`` or ``("orthogonal", gain)``,
        ``"identity"`` or ``("identity", gain)``, ``"normal"`` (standard deviation 0.01) or
        ``("normal", std)``. Formulas and sources: `fastbptt.initializers`.
    dtype : {"float32", "float64"}
        Of parameters, gradients, outputs and arithmetic.
    precision : {"float32", "bfloat16"}
        With ``"bfloat16"`` what the layers' matrix products multiply is rounded to eight bits of
        mantissa first (weights, inputs, states, gradients of gates); sums and all else stay
        float32. A training step takes about half the time, and gradients are off by about half a
        per cent. Only with dtype float32, and on processors with AVX512_BF16:
        ``fastbptt.backends()`` names ``avx512bf16`` then. `step` does not round.
    seed : int, sequence of int, SeedSequence, Generator or None
        As for ``numpy.random.default_rng``; the same seed gives the same weights and the same
        dropout.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what came and what was expected.
    MemoryError
        If the parameters do not fit into this machine.

    Notes
    -----
    A model may be used from several threads: calls that compute run side by side, updates
    one after the other. Writing into `parameters` during a call is the caller's affair.

    Examples
    --------
    >>> import fastbptt
    >>> fastbptt.RNN(32, 64, 1, seed=0)
    RNN(32, 64, 1, dtype="float32")  # 6273 parameters, 25.1 kB
    >>> fastbptt.RNN(8, 16, 2, nonlinearity="relu", init="identity", embedding=100, seed=0)
    RNN(8, 16, 2, nonlinearity="relu", embedding=100, dtype="float32")  # 1234 parameters, 4.9 kB
    """

    _cells = ("rnn", "relu")

    @with_options
    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        output_size: int | None = None,
        *,
        nonlinearity: str = "tanh",
        **options: Unpack[Options],
    ) -> None:
        _check.option("nonlinearity", nonlinearity, _NONLINEARITIES)
        cell = _NONLINEARITIES[nonlinearity]
        self._create(cell, input_size, hidden_size, output_size, None, options)

    @property
    def nonlinearity(self) -> str:
        """``"tanh"`` or ``"relu"``."""
        return next(name for name, cell in _NONLINEARITIES.items() if cell == self.cell)

    def _own_options(self, alpha: float | None) -> dict[str, Any]:
        return {} if self.cell == "rnn" else {"nonlinearity": self.nonlinearity}


class GRU(Recurrent):
    """Gated recurrent units, with a linear readout.

    With s the logistic function, and gates side by side in the order r, z, n::

        r = s(x W_xr + h_prev W_hr + b_r)
        z = s(x W_xz + h_prev W_hz + b_z)
        n = tanh(x W_xn + b_n + r * (h_prev W_hn + b_hn))      reset_after=True
        n = tanh(x W_xn + b_n + (r * h_prev) W_hn)             reset_after=False, without b_hn
        h = (1 - z) * n + z * h_prev

    The first form is PyTorch's, cuDNN's and Keras' default; the second is that of Cho et al., EMNLP
    2014, arXiv:1406.1078, with the roles of z and 1 - z as all libraries have them.

    Parameters
    ----------
    input_size, hidden_size, output_size, num_layers, bidirectional, bias
        As for `RNN`.
    output_bias, readout_units, dropout
        As for `RNN`.
    reset_after : bool, default True
        Apply the reset gate after the product with the recurrent weights, or before it.
    learn_initial_state, static_size, embedding, padding_index, freeze_embedding
        As for `RNN`.
    init, dtype, precision, seed
        As for `RNN`.

    Raises
    ------
    ValueError, TypeError, MemoryError
        As for `RNN`.

    Examples
    --------
    >>> import numpy as np, fastbptt
    >>> model = fastbptt.GRU(3, 8, 1, num_layers=2, seed=0)
    >>> model
    GRU(3, 8, 1, num_layers=2, dtype="float32")  # 721 parameters, 2.9 kB
    >>> model.forward(np.ones((4, 5, 3))).last.shape
    (4, 1)
    """

    _cells = ("gru", "gru_before")

    @with_options
    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        output_size: int | None = None,
        *,
        reset_after: bool = True,
        **options: Unpack[Options],
    ) -> None:
        cell = "gru" if _check.flag("reset_after", reset_after) else "gru_before"
        self._create(cell, input_size, hidden_size, output_size, None, options)

    @property
    def reset_after(self) -> bool:
        """Whether the reset gate comes after the product with the recurrent weights."""
        return self.cell == "gru"

    def _own_options(self, alpha: float | None) -> dict[str, Any]:
        return {} if self.reset_after else {"reset_after": False}


class LSTM(Recurrent):
    """Long short-term memory, with a linear readout.

    With s the logistic function, and gates side by side in the order i, f, g, o::

        a = x W_xh + h_prev W_hh + b_h
        i = s(a_i);  f = s(a_f);  g = tanh(a_g);  o = s(a_o)
        c = f * c_prev + i * g
        h = o * tanh(c)

    Hochreiter and Schmidhuber, Neural Computation 9 (1997), with the forget gate of Gers,
    Schmidhuber and Cummins, Neural Computation 12 (2000).

    States are tuples of two, hidden states and cell states: `h0`, `final_state`, `state`, and
    `d_final_state` and the gradient `h0`.

    Parameters
    ----------
    input_size, hidden_size, output_size, num_layers, bidirectional, bias
        As for `RNN`.
    output_bias, readout_units, dropout
        As for `RNN`.
    forget_bias : float, optional
        Initial value of the forget gate's biases in every layer and direction, instead of what
        `init` gives: 1 makes the network remember (Jozefowicz, Zaremba and Sutskever, ICML
        2015). Where PyTorch has two biases it is their sum.
    learn_initial_state, static_size, embedding, padding_index, freeze_embedding
        As for `RNN`.
    init, dtype, precision, seed
        As for `RNN`. Parameters of a learned initial state are `h0` and `c0`, those of the map of
        static inputs `W_sh` and `W_sc`: both states depend on them.

    Raises
    ------
    ValueError, TypeError, MemoryError
        As for `RNN`.

    Examples
    --------
    >>> import numpy as np, fastbptt
    >>> model = fastbptt.LSTM(3, 8, 1, bidirectional=True, forget_bias=1.0, seed=0)
    >>> model.parameters["b_h_reverse"][8:16].tolist()
    [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    >>> h, c = model.forward(np.ones((4, 5, 3))).final_state
    >>> h.shape, c.shape
    ((2, 4, 8), (2, 4, 8))
    """

    _cells = ("lstm",)

    @with_options
    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        output_size: int | None = None,
        *,
        forget_bias: float | None = None,
        **options: Unpack[Options],
    ) -> None:
        forget = None
        if forget_bias is not None:
            expected = "a finite number, or None"
            forget = _check.number("forget_bias", forget_bias, expected)
            if math.isinf(forget):
                raise ValueError(f"forget_bias is {forget}; expected {expected}")
            if options.get("bias") is False:
                raise ValueError(f"forget_bias is {forget}; expected None because bias=False")
        self._create("lstm", input_size, hidden_size, output_size, None, options)
        if forget is not None:
            self._set_forget_bias(forget)

    def _set_forget_bias(self, value: float) -> None:
        for name, array in self.parameters.items():
            if name.startswith("b_h"):
                initializers.forget_block(array, self.cell, self.hidden_size)[:] = value


class LeakyRNN(Recurrent):
    """The leaky tanh network, whose units take time to follow their input.

    ``h_t = (1 - alpha) h_{t-1} + alpha tanh(x_t W_xh + h_{t-1} W_hh + b_h)``, ``y_t = h_t W_hy +
    b_y``: a rate network with time constant tau in steps of dt, ``alpha = dt / tau``, by Euler's
    method. Jaeger, Lukosevicius, Popovici and Siewert, Neural Networks 20 (2007).

    Parameters
    ----------
    input_size, hidden_size, output_size, num_layers, bidirectional, bias
        As for `RNN`.
    output_bias, readout_units, dropout
        As for `RNN`.
    alpha : float, default 0.2
        Above 0 and at most 1; with 1 it is the tanh `RNN`. Not learned.
    learn_initial_state, static_size, embedding, padding_index, freeze_embedding
        As for `RNN`.
    init, dtype, precision, seed
        As for `RNN`.

    Raises
    ------
    ValueError, TypeError, MemoryError
        As for `RNN`.

    Examples
    --------
    >>> import fastbptt
    >>> fastbptt.LeakyRNN(3, 8, 1, alpha=0.1, seed=0)
    LeakyRNN(3, 8, 1, alpha=0.1, dtype="float32")  # 105 parameters, 420 bytes
    """

    _cells = ("leaky",)

    @with_options
    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        output_size: int | None = None,
        *,
        alpha: float = 0.2,
        **options: Unpack[Options],
    ) -> None:
        self._create("leaky", input_size, hidden_size, output_size, alpha, options)

    @property
    def alpha(self) -> float:
        """How far a unit follows its input in one step."""
        return self._spec.setting


_NONLINEARITIES: Final = {"tanh": "rnn", "relu": "relu"}

#: Models by the name of their cell, as files know them. A cell without a class is a `Recurrent`.
MODELS: Final[dict[str, type[Recurrent]]] = {
    cell: model for model in (RNN, GRU, LSTM, LeakyRNN) for cell in model._cells
}
