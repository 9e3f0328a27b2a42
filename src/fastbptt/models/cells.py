"""The models: a plain RNN, GRU, LSTM, leaky units."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _check
from . import _options, initializers
from ._options import Options, with_options
from .recurrent import Recurrent

if TYPE_CHECKING:
    from typing_extensions import Unpack

_NONLINEARITIES: Final = {
    "tanh": "rnn",
    "relu": "relu",
    "softplus": "rnn_softplus",
    "sigmoid": "rnn_sigmoid",
}
_FORMULATIONS: Final = ("rate", "preactivation")
_LEAKY: Final = {
    (kind, name): "leaky" if (kind, name) == ("rate", "tanh") else f"leaky_{kind}_{name}"
    for kind in _FORMULATIONS
    for name in _NONLINEARITIES
}

__all__ = ["GRU", "LSTM", "MODELS", "RNN", "LeakyRNN", "Recurrent"]


class RNN(Recurrent):
    """The plain recurrent network, with a linear readout.

    ``h_t = tanh(x_t W_xh + h_{t-1} W_hh + b_h)``, or another `nonlinearity`; ``y_t = h_t W_hy +
    b_y``. The recurrence of Elman, Cognitive Science 14 (1990).

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
    nonlinearity : {"tanh", "relu", "softplus", "sigmoid"}
        In place of tanh ``max(a, 0)``, whose derivative is 1 above 0 and 0 elsewhere, ``log(1 +
        exp(a))`` or ``1 / (1 + exp(-a))``.
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
    rank : int, optional
        Train ``W_hh = N_hh M_hh`` by its two factors, parameters of shape (hidden_size, rank) and
        (rank, hidden_size), of other cells (rank, gates * hidden_size), in each layer and
        direction: networks of low rank (Mastrogiuseppe and Ostojic, Neuron 99, 2018, whose m are
        the rows of `M_hh` and n the columns of `N_hh`). At most `hidden_size`; the product starts
        as the matrix of that rank that is nearest to what `init` draws. None: train `W_hh`.
    dropout : float, default 0
        In training, each value that a layer passes on to another one is zero with this
        probability, and the others are divided by one minus it (Srivastava et al., JMLR 15, 2014).
        Prediction has none. At least 0 and below 1; of no effect with one layer.
    recurrent_dropout : float, default 0
        In training, each unit's ``h_{t-1}`` is zero with this probability where it is multiplied by
        `W_hh`, at all steps of a sequence or at none, and the others are divided by one minus it:
        variational dropout (Gal and Ghahramani, NeurIPS 2016, arXiv:1512.05287), Keras'
        `recurrent_dropout`. All gates have the same mask; the state itself, ``z * h_prev`` of a GRU
        and `c` of an LSTM are not dropped; in a GRU with ``reset_after=False`` it is ``r * h_prev``
        that is. Prediction has none. At least 0 and below 1.
    zoneout : float, default 0
        In training, each state of a unit keeps its value of the step before with this probability,
        drawn anew at each step: ``h_t = d h_{t-1} + (1 - d) h``, d 0 or 1 (Krueger et al., ICLR
        2017, arXiv:1606.01305). Prediction has the expectation, the probability itself as d. At
        least 0 and below 1.
    input_noise : float, default 0
        In training, add to each input of the first layer a normal number with this standard
        deviation, another one for each sequence, step and feature. Not with an embedding.
        Prediction has no noise, unless `forward` or `fastbptt.predict` have a seed as `noise`.
    recurrent_noise : float, default 0
        In training, add one to each sum ``x_t W_xh + h_{t-1} W_hh + b_h``, before the nonlinearity:
        another one for each sequence, step, layer, direction and unit. Noise, dropout and zoneout
        depend on the seed alone, not on threads or `memory_budget`; nor on `bptt_steps`, but for
        `dropout`, which each chunk draws anew.
    noise_scaling : {None, "alpha"}
        Only for `LeakyRNN`.
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
    constraints : Constraints, optional
        What the weights satisfy from the start, after every update: masks, signs (Dale's law),
        bounds of norms. Entries that `init` draws are set to zero by a mask, take the sign that
        they must have, and columns that are too long are scaled.
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
        As for ``numpy.random.default_rng``; the same seed gives the same weights, dropout and
        noise.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what came and what was expected.
    MemoryError
        If the parameters do not fit into this machine.

    Warns
    -----
    UserWarning
        If constraints change weights that `init` made orthogonal or the identity, a given
        embedding, a given alpha, or the scale of a matrix.

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

    _cells = tuple(_NONLINEARITIES.values())

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
        """``"tanh"``, ``"relu"``, ``"softplus"`` or ``"sigmoid"``."""
        return next(name for name, cell in _NONLINEARITIES.items() if cell == self.cell)

    def _own_options(self, numbers: dict[str, Any]) -> dict[str, Any]:
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
    output_bias, readout_units, rank, dropout, recurrent_dropout, zoneout, input_noise
        As for `RNN`.
    recurrent_noise, noise_scaling
        Not of this cell, which has a sum for each gate: 0 and None.
    reset_after : bool, default True
        Apply the reset gate after the product with the recurrent weights, or before it.
    learn_initial_state, static_size, embedding, padding_index, freeze_embedding
        As for `RNN`.
    constraints, init, dtype, precision, seed
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

    def _own_options(self, numbers: dict[str, Any]) -> dict[str, Any]:
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
    output_bias, readout_units, rank, dropout, recurrent_dropout, input_noise
        As for `RNN`.
    zoneout : float or (float, float), default 0
        As for `RNN`, of h and c alike, or of each, such as ``(0.05, 0.5)`` (Krueger et al.). The
        output gate reads c as it is before zoneout.
    recurrent_noise, noise_scaling
        Not of this cell, which has a sum for each gate: 0 and None.
    forget_bias : float, optional
        Initial value of the forget gate's biases in every layer and direction, instead of what
        `init` gives: 1 makes the network remember (Jozefowicz, Zaremba and Sutskever, ICML
        2015). Where PyTorch has two biases it is their sum.
    learn_initial_state, static_size, embedding, padding_index, freeze_embedding
        As for `RNN`.
    constraints, init, dtype, precision, seed
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
                self._weights.refuse("forget_bias", name, array)


class LeakyRNN(Recurrent):
    """Leaky units, which take time to follow their input: the rate networks of neuroscience.

    With f the nonlinearity, in rate form and in pre-activation form::

        h = (1 - alpha) h_prev + alpha f(x W_xh + h_prev W_hh + b_h)                 "rate"
        v = (1 - alpha) v_prev + alpha (x W_xh + h_prev W_hh + b_h),   h = f(v)      "preactivation"

    and ``y_t = h_t W_hy + b_y``: Euler's method in steps of dt for a time constant tau, with
    ``alpha = dt / tau``. The first: Jaeger, Lukosevicius, Popovici and Siewert, Neural Networks 20
    (2007). The second, in which v is a unit's current and h its rate: Song, Yang and Wang, PLoS
    Computational Biology 12 (2016), equation 4. Both are equivalent up to a change of variables:
    Miller and Fumarola, Neural Computation 24 (2012).

    In pre-activation form the state is v: `h0` of calls, ``final_state``, ``state`` and their
    gradients, the parameter `v0` of a learned initial state and the map `W_sv` of static inputs.
    ``hidden``, what the readout and the layer above see, is ``h = f(v)``.

    Parameters
    ----------
    input_size, hidden_size, output_size, num_layers, bidirectional, bias
        As for `RNN`.
    output_bias, readout_units, rank, dropout, recurrent_dropout, zoneout
        As for `RNN`.
    input_noise, recurrent_noise
        As for `RNN`.
    nonlinearity : {"tanh", "relu", "softplus", "sigmoid"}
        f: ``max(a, 0)``, ``log(1 + exp(a))``, ``1 / (1 + exp(-a))``.
    formulation : {"rate", "preactivation"}
        Which of the two.
    alpha : float or array of shape (hidden_size,) or (layers * directions, hidden_size)
        How far a unit follows its input in one step, above 0 and at most 1: ``dt / tau`` with a
        time constant for all units, or for each. With 1, in both forms, it is the plain network
        of the same nonlinearity. Default 0.2.
    learn_alpha : bool, default False
        Make it a parameter of each unit, layer and direction, which begins at `alpha`: `alpha` is
        the logistic function of `logit_alpha` (hidden_size,), so it stays between 0 and 1.
    noise_scaling : {None, "alpha"}
        None: noise has the standard deviations that are given. ``"alpha"``: these times ``sqrt(2 /
        alpha)``, for each unit its own, so that noise with the same `recurrent_noise` moves a
        linear unit as far whatever the step ``dt = alpha tau``: ``alpha sqrt(2 / alpha) sigma xi =
        sqrt(2 alpha) sigma xi`` is Euler's step of the Langevin equation ``tau dh = -h dt + sqrt(2
        tau) sigma dW`` (Song, Yang and Wang, PLoS Computational Biology 12, 2016; Yang et al.,
        Nature Neuroscience 22, 2019, methods), whose stationary standard deviation is sigma. Not
        with `learn_alpha`; with `input_noise` only where all units have the same alpha.
    learn_initial_state, static_size, embedding, padding_index, freeze_embedding
        As for `RNN`.
    constraints, init, dtype, precision, seed
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
    >>> dt, tau = 20.0, 100.0
    >>> model = fastbptt.LeakyRNN(
    ...     3, 8, 1, nonlinearity="softplus", formulation="preactivation", alpha=dt / tau,
    ...     learn_alpha=True, seed=0,
    ... )
    >>> model.parameters["logit_alpha"].shape, model.alpha.round(3)[:2].tolist()
    ((8,), [0.2, 0.2])
    """

    _cells = tuple(_LEAKY.values())

    @with_options
    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        output_size: int | None = None,
        *,
        nonlinearity: str = "tanh",
        formulation: str = "rate",
        alpha: ArrayLike = 0.2,
        learn_alpha: bool = False,
        **options: Unpack[Options],
    ) -> None:
        _check.option("nonlinearity", nonlinearity, _NONLINEARITIES)
        _check.option("formulation", formulation, _FORMULATIONS)
        cell = _LEAKY[formulation, nonlinearity]
        self._create(cell, input_size, hidden_size, output_size, alpha, options, learn_alpha)

    @property
    def nonlinearity(self) -> str:
        """``"tanh"``, ``"relu"``, ``"softplus"`` or ``"sigmoid"``."""
        return self._kind[1]

    @property
    def formulation(self) -> str:
        """``"rate"`` or ``"preactivation"``."""
        return self._kind[0]

    @property
    def _kind(self) -> tuple[str, str]:
        return next(kind for kind, cell in _LEAKY.items() if cell == self.cell)

    @property
    def alpha(self) -> float | NDArray[np.float64]:
        """How far a unit follows its input in one step: one number, or as many as were given.

        If it is learned, the numbers of now: (hidden_size,), or (layers * directions, hidden_size).
        """
        numbers = _options.settings_now(self._spec, self.parameters)
        return numbers if numbers.ndim else float(numbers)

    @property
    def learn_alpha(self) -> bool:
        """Whether `alpha` is learned, through `logit_alpha`."""
        return self._spec.learn_setting

    def _own_options(self, numbers: dict[str, Any]) -> dict[str, Any]:
        default = {"nonlinearity": "tanh", "formulation": "rate"}
        own = {"nonlinearity": self.nonlinearity, "formulation": self.formulation}
        return {name: value for name, value in own.items() if value != default[name]} | numbers


#: Models by the name of their cell, as files know them. A cell without a class is a `Recurrent`.
MODELS: Final[dict[str, type[Recurrent]]] = {
    cell: model for model in (RNN, GRU, LSTM, LeakyRNN) for cell in model._cells
}
