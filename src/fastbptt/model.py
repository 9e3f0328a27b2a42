"""Models: named parameters in one flat buffer, and the calls that train them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from . import _check, _core
from . import init as _init
from ._check import Floats, Targets
from ._views import Gradients, Layout, NamedViews, Parameters

if TYPE_CHECKING:
    from typing_extensions import Self

    from .optim import Optimizer

    Seed: TypeAlias = int | Sequence[int] | np.random.SeedSequence | np.random.Generator | None

_ROLES: Final[dict[str, _init.Role]] = {
    "W_xh": "input",
    "W_hh": "recurrent",
    "b_h": "bias",
    "W_hy": "readout",
    "b_y": "readout_bias",
}


class ForwardResult:
    """What `forward` returns: outputs and states, and all that `backward` needs.

    The arrays are the caller's own copies, made when first looked at; changing them does
    not change what `backward` computes.
    """

    __slots__ = ("_final_state", "_hidden", "_outputs", "_owner", "_readout", "_tape")

    def __init__(self, tape: _core.Tape, owner: object, readout: bool) -> None:
        self._tape = tape
        self._owner = owner
        self._readout = readout
        self._outputs: Floats | None = None
        self._hidden: Floats | None = None
        self._final_state: Floats | None = None

    @property
    def outputs(self) -> Floats:
        """(batch, time, output_size), zero after a sequence's end; without readout `hidden`."""
        if not self._readout:
            return self.hidden
        if self._outputs is None:
            self._outputs = self._tape.outputs
        return self._outputs

    @property
    def hidden(self) -> Floats:
        """(batch, time, hidden_size), zero after a sequence's end."""
        if self._hidden is None:
            self._hidden = self._tape.hidden
        return self._hidden

    @property
    def final_state(self) -> Floats:
        """(1, batch, hidden_size): the state after each sequence's own last step."""
        if self._final_state is None:
            self._final_state = self._tape.final_state
        return self._final_state

    def __repr__(self) -> str:
        return f"ForwardResult({self._tape.batch} sequences of up to {self._tape.time} steps)"


class Recurrent:
    """What all models share; a model names its cell and documents itself."""

    _cell: ClassVar[str]
    _states: ClassVar[int] = 1  # layers * directions

    # attributes that __getstate__ replaces by config and values
    _INTERNAL: ClassVar[frozenset[str]] = frozenset(
        {
            "_input_size",
            "_hidden_size",
            "_output_size",
            "_bias",
            "_dtype",
            "_width",
            "_most_steps",
            "_layout",
            "_flat",
            "_engine",
            "_token",
        }
    )

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        output_size: int | None = None,
        *,
        bias: bool = True,
        init: _init.Init = "torch",
        dtype: DTypeLike = "float32",
        seed: Seed = None,
    ) -> None:
        recipe, setting = _init.resolve(init)
        rng = _init.generator(seed)
        self._build(input_size, hidden_size, output_size, bias, dtype)
        for name, (start, stop, shape) in self._layout.items():
            role = _ROLES["_".join(name.split("_")[:2])]
            info = _init.ParameterInfo(name, role, shape, self._hidden_size)
            self._flat[start:stop] = recipe(rng, info, setting).ravel()

    def _build(
        self, input_size: Any, hidden_size: Any, output_size: Any, bias: Any, dtype: Any
    ) -> None:
        """Check the sizes; lay out zero parameters; make the engine."""
        self._input_size = _check.size("input_size", input_size)
        self._hidden_size = _check.size("hidden_size", hidden_size)
        self._output_size = None if output_size is None else _check.size("output_size", output_size)
        self._bias = _check.flag("bias", bias)
        self._dtype = _check.float_dtype(dtype)
        inputs, hidden, outputs = self._input_size, self._hidden_size, self._output_size or 0
        sizes = f"input_size={inputs}, hidden_size={hidden}, output_size={self._output_size}"
        item = self._dtype.itemsize
        # at least this much: the core's own sums cannot overflow after it
        _check.fits(f"a model of {sizes}", item * hidden * (inputs + hidden + outputs))
        layout = _core.layout(self._cell, inputs, hidden, outputs, self._bias)
        self._layout: Layout = {
            name: (offset, offset + int(np.prod(shape)), tuple(shape))
            for name, shape, offset in layout
        }
        count = max(stop for _, stop, _ in self._layout.values())
        _check.fits(f"a model of {sizes}", item * count)
        self._width = outputs or hidden
        self._most_steps = _check.memory_limit() // (item * (inputs + hidden))
        self._flat = _check.aligned_empty(count, self._dtype)
        self._flat[:] = 0.0
        self._engine = _core.Engine(self._cell, inputs, hidden, outputs, self._bias, self._flat)
        self._token = object()  # who this model is, for optimisers and results

    @classmethod
    def _from_config(cls, config: Mapping[str, Any]) -> Self:
        """Make a model with zero weights from what `_config` returned."""
        names = ("input_size", "hidden_size", "output_size", "bias", "dtype")
        _check.same_names("config", config, names)
        model = cls.__new__(cls)
        model._build(*(config[name] for name in names))
        return model

    def _config(self) -> dict[str, Any]:
        """Return the arguments that fix the parameters' layout, as plain values fit for JSON."""
        return {
            "input_size": self._input_size,
            "hidden_size": self._hidden_size,
            "output_size": self._output_size,
            "bias": self._bias,
            "dtype": self._dtype.name,
        }

    def _get_flat(self) -> Floats:
        """Copy all parameters, between updates."""
        return self._engine.get_params()

    def _set_flat(self, values: NDArray[Any]) -> None:
        """Set all parameters between updates."""
        self._engine.set_params(np.ascontiguousarray(values, self._dtype))

    # ------------------------------------------------------------ what it is

    @property
    def input_size(self) -> int:
        """Features per time step."""
        return self._input_size

    @property
    def hidden_size(self) -> int:
        """Hidden units."""
        return self._hidden_size

    @property
    def output_size(self) -> int | None:
        """Outputs of the readout, or None without one."""
        return self._output_size

    @property
    def bias(self) -> bool:
        """Whether there are biases."""
        return self._bias

    @property
    def dtype(self) -> np.dtype[Any]:
        """float32 or float64: of parameters, gradients, outputs and arithmetic."""
        return self._dtype

    @property
    def parameters(self) -> Parameters:
        """The weights: mapping name -> writable view of one flat buffer, itself `.flat`.

        Examples
        --------
        >>> import fastbptt
        >>> model = fastbptt.RNN(3, 4, 1, seed=0)
        >>> {name: array.shape for name, array in model.parameters.items()}
        {'W_xh': (3, 4), 'W_hh': (4, 4), 'b_h': (4,), 'W_hy': (4, 1), 'b_y': (1,)}
        >>> model.parameters["b_h"][...] = 0.0
        """
        return Parameters(self._flat, self._layout)

    @property
    def num_parameters(self) -> int:
        """How many numbers are trained."""
        return self._flat.size

    def __repr__(self) -> str:
        given = f"{self._input_size}, {self._hidden_size}, {self._output_size}"
        bias = "" if self._bias else ", bias=False"
        return (
            f'{type(self).__name__}({given}{bias}, dtype="{self._dtype.name}")  '
            f"# {self.num_parameters} parameters, {_check.bytes_text(self._flat.nbytes)}"
        )

    # ------------------------------------------------------------ computing

    def forward(
        self,
        x: ArrayLike | Sequence[ArrayLike],
        lengths: ArrayLike | None = None,
        h0: ArrayLike | None = None,
        check_finite: bool = True,
    ) -> ForwardResult:
        """Run the network over a batch of sequences.

        Parameters
        ----------
        x : array of shape (batch, time, input_size), or list of arrays (time_i, input_size)
            float32 and float64 are read in place, whatever their strides; integers, booleans
            and float16 are converted. Sequences in a list may differ in length.
        lengths : array of shape (batch,), optional
            Whole numbers from 1 to time: how many steps of each sequence are real. What
            stands after them is never read. Not needed if `x` is a list.
        h0 : array of shape (1, batch, hidden_size), optional
            Initial state; zero if not given.
        check_finite : bool, default True
            Refuse NaN and infinity in `x`, `h0` and the weights.

        Returns
        -------
        ForwardResult
            `outputs` (batch, time, output_size), `hidden` (batch, time, hidden_size), both
            zero after a sequence's end, and `final_state` (1, batch, hidden_size). The last real
            outputs are ``outputs[np.arange(batch), lengths - 1]``.

        Raises
        ------
        ValueError, TypeError
            Naming the argument, what came and what was expected.
        MemoryError
            If the states of so many steps do not fit.

        Examples
        --------
        >>> import numpy as np, fastbptt
        >>> model = fastbptt.RNN(3, 4, 1, seed=0)
        >>> out = model.forward(np.ones((2, 5, 3)), lengths=[5, 2])
        >>> out.outputs.shape, out.final_state.shape
        ((2, 5, 1), (1, 2, 4))
        >>> bool((out.outputs[1, 2:] == 0).all())
        True
        """
        array, checked = self._inputs(x, lengths)
        initial = self._state("h0", h0, len(array))
        tape = self._engine.forward(
            array, checked, initial, _check.flag("check_finite", check_finite)
        )
        return ForwardResult(tape, self._token, self._output_size is not None)

    def backward(
        self,
        out: ForwardResult,
        d_outputs: ArrayLike | None = None,
        d_final_state: ArrayLike | None = None,
        need_input_grad: bool = False,
        check_finite: bool = True,
    ) -> Gradients:
        """Backpropagate any gradient of the outputs through time: bring your own loss.

        Parameters
        ----------
        out : ForwardResult
            From this model's `forward`. Weights and inputs are used as they were then.
        d_outputs : array of shape (batch, time, output_size), optional
            Gradient of the loss with respect to `out.outputs`; ignored after a sequence's end.
        d_final_state : array of shape (1, batch, hidden_size), optional
            Gradient with respect to `out.final_state`. At least one of the two is needed.
        need_input_grad : bool, default False
            Compute the gradient with respect to `x` too.
        check_finite : bool, default True
            Refuse NaN and infinity in what is given and in the resulting gradients.

        Returns
        -------
        Gradients
            Mapping name -> array shaped like the parameter; also `.flat`, `.x`, `.h0`.

        Raises
        ------
        ValueError, TypeError
            Naming the argument, what came and what was expected.

        Examples
        --------
        >>> import numpy as np, fastbptt
        >>> model = fastbptt.RNN(3, 4, 1, seed=0)
        >>> out = model.forward(np.ones((2, 5, 3)))
        >>> grads = model.backward(out, d_outputs=out.outputs)  # of half the sum of squares
        >>> grads["W_xh"].shape
        (3, 4)
        """
        if not isinstance(out, ForwardResult):
            raise TypeError(
                f"out is of type {type(out).__name__}; expected what this model's forward returned"
            )
        if out._owner is not self._token:
            raise ValueError("out comes from another model; expected this model's own forward")
        if d_outputs is None and d_final_state is None:
            raise ValueError("d_outputs and d_final_state are both None; expected at least one")
        batch, time = out._tape.batch, out._tape.time
        up = None
        if d_outputs is not None:
            shape = (batch, time, self._width)
            up = _check.exact("d_outputs", d_outputs, shape, "the shape of outputs", self._dtype)
        last = self._state("d_final_state", d_final_state, batch)
        dx = None
        if _check.flag("need_input_grad", need_input_grad):
            dx = np.empty((batch, time, self._input_size), self._dtype)
        checked = _check.flag("check_finite", check_finite)
        flat = _check.aligned_empty(self._flat.size, self._dtype)
        dh0 = np.empty((self._states, batch, self._hidden_size), self._dtype)
        self._engine.backward(out._tape, up, last, flat, dx, dh0, checked)
        return Gradients(flat, self._layout, dx, dh0)

    def loss(
        self,
        x: ArrayLike | Sequence[ArrayLike],
        y: ArrayLike | Sequence[ArrayLike],
        loss: str = "bce",
        steps: str = "last",
        reduction: str = "mean",
        lengths: ArrayLike | None = None,
        h0: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        check_finite: bool = True,
    ) -> float:
        """Compute the loss alone, forward only. Arguments as for `loss_and_grad`.

        Examples
        --------
        >>> import numpy as np, fastbptt
        >>> model = fastbptt.RNN(3, 4, 1, init=("normal", 0.0))
        >>> print(f"{model.loss(np.ones((2, 5, 3)), [0, 1]):.4f}")
        0.6931
        """
        array, target, checked, initial, weight = self._batch(
            x, y, loss, steps, reduction, lengths, h0, sample_weight
        )
        finite = check_finite is True or _check.flag("check_finite", check_finite)
        return self._engine.loss(
            array, target, loss, steps, reduction, checked, initial, weight, finite
        )

    def loss_and_grad(
        self,
        x: ArrayLike | Sequence[ArrayLike],
        y: ArrayLike | Sequence[ArrayLike],
        loss: str = "bce",
        steps: str = "last",
        reduction: str = "mean",
        lengths: ArrayLike | None = None,
        h0: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        need_input_grad: bool = False,
        check_finite: bool = True,
    ) -> tuple[float, Gradients]:
        """Compute the loss of a batch and its gradient with respect to every parameter.

        Parameters
        ----------
        x, lengths, h0
            As for `forward`.
        y : array
            ``"bce"`` (numbers in [0, 1]) and ``"mse"``: (batch, output_size) for the last step
            or (batch, time, output_size) for all; the last axis may be left out if it is 1.
            ``"cross_entropy"``: integers from 0 to output_size - 1, (batch,) or (batch, time).
            With ``steps="all"`` and a list as `x`, a list. What stands after a sequence's
            end is ignored.
        loss : {"bce", "cross_entropy", "mse"}
            On each step's outputs z: mean over the outputs of log(1 + exp(z)) - y z; or
            log(sum(exp(z))) - z[y]; or mean over the outputs of (y - z)^2. With
            ``reduction="sum"`` the sum over the outputs instead of their mean.
        steps : {"last", "all"}
            Loss at each sequence's own last step, or at all its steps.
        reduction : {"mean", "sum", "sequence_mean"}
            ``"mean"``: over all real steps of the batch. ``"sum"``: their sum.
            ``"sequence_mean"``: mean over sequences of each one's mean over its steps.
        sample_weight : array of shape (batch,), optional
            Weights of at least 0, not all 0. The means become weighted means.
        need_input_grad : bool, default False
            Compute the gradient with respect to `x` too.
        check_finite : bool, default True
            Refuse NaN and infinity in the arguments, the weights, the loss and the gradients.

        Returns
        -------
        loss : float
        grads : Gradients
            Mapping name -> array shaped like the parameter; also `.flat`, `.x`, `.h0`.

        Raises
        ------
        ValueError, TypeError
            Naming the argument, what came and what was expected, or naming the first
            gradient that is not finite.
        MemoryError
            If the states of so many steps do not fit.

        Examples
        --------
        >>> import numpy as np, fastbptt
        >>> model = fastbptt.RNN(3, 4, 1, seed=0)
        >>> loss, grads = model.loss_and_grad(np.ones((2, 5, 3)), [0, 1])
        >>> sorted(grads)
        ['W_hh', 'W_hy', 'W_xh', 'b_h', 'b_y']
        """
        array, target, checked, initial, weight = self._batch(
            x, y, loss, steps, reduction, lengths, h0, sample_weight
        )
        finite = check_finite is True or _check.flag("check_finite", check_finite)
        flat = _check.aligned_empty(self._flat.size, self._dtype)
        dx = None
        if need_input_grad is not False and _check.flag("need_input_grad", need_input_grad):
            dx = np.empty(array.shape, self._dtype)
        dh0 = np.empty((self._states, len(array), self._hidden_size), self._dtype)
        value = self._engine.loss_and_grad(
            array, target, loss, steps, reduction, checked, initial, weight, finite, flat, dx, dh0
        )
        return value, Gradients(flat, self._layout, dx, dh0)

    def train_step(
        self,
        x: ArrayLike | Sequence[ArrayLike],
        y: ArrayLike | Sequence[ArrayLike],
        optimizer: Optimizer,
        loss: str = "bce",
        steps: str = "last",
        reduction: str = "mean",
        lengths: ArrayLike | None = None,
        h0: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        clip_norm: float | None = None,
        check_finite: bool = True,
    ) -> float:
        """Do forward, loss, backward, clipping and update in one call.

        Parameters
        ----------
        x, y, loss, steps, reduction, lengths, h0, sample_weight, check_finite
            As for `loss_and_grad`.
        optimizer : Adam
            Belongs to the first model that it updates.
        clip_norm : float, optional
            If the global norm of all gradients together is larger, all are scaled by
            clip_norm / norm (Pascanu, Mikolov and Bengio, ICML 2013, algorithm 1).

        Returns
        -------
        float
            The loss before the update.

        Raises
        ------
        ValueError, TypeError
            As for `loss_and_grad`; then neither the model nor the optimiser has changed.
        MemoryError
            If the states of so many steps do not fit.

        Examples
        --------
        >>> import numpy as np, fastbptt
        >>> model = fastbptt.RNN(3, 4, 1, seed=0)
        >>> adam = fastbptt.Adam(lr=0.01)
        >>> x = np.random.default_rng(0).normal(size=(2, 5, 3))
        >>> losses = [model.train_step(x, [0, 1], adam) for _ in range(50)]
        >>> losses[-1] < losses[0]
        True
        """
        array, target, checked, initial, weight = self._batch(
            x, y, loss, steps, reduction, lengths, h0, sample_weight
        )
        most = -1.0 if clip_norm is None else _check.clip(clip_norm)
        finite = check_finite is True or _check.flag("check_finite", check_finite)
        try:
            lock = optimizer._lock
        except AttributeError:
            raise _not_an_optimizer(optimizer) from None
        with lock:
            binding = optimizer._binding_for(self)
            value = self._engine.train_step(
                array,
                target,
                loss,
                steps,
                reduction,
                checked,
                initial,
                weight,
                finite,
                binding.state,
                most,
            )
            optimizer._binding = binding  # only now: a refused step leaves no trace
        return value

    def _inputs(self, x: Any, lengths: Any) -> tuple[Floats, NDArray[np.int64] | None]:
        return _check.inputs(x, lengths, self._input_size, self._most_steps, self._dtype)

    def _state(self, name: str, value: Any, batch: int) -> Floats | None:
        return _check.state(name, value, self._states, batch, self._hidden_size, self._dtype)

    def _batch(
        self,
        x: Any,
        y: Any,
        loss: Any,
        steps: Any,
        reduction: Any,
        lengths: Any,
        h0: Any,
        sample_weight: Any,
    ) -> tuple[
        Floats,
        Targets,
        NDArray[np.int64] | None,
        Floats | None,
        NDArray[np.float64] | None,
    ]:
        """Everything a loss needs, checked; at once if it is as it should be."""
        if (
            lengths is None
            and h0 is None
            and sample_weight is None
            and reduction in _check.REDUCTIONS
        ):
            ready = _check.plain(x, y, self._input_size, self._most_steps, self._width, loss, steps)
            if ready is not None:
                return x, ready, None, None, None
        _check.option("loss", loss, _check.LOSSES)
        _check.option("steps", steps, _check.STEPS)
        _check.option("reduction", reduction, _check.REDUCTIONS)
        array, checked = self._inputs(x, lengths)
        batch, time, _ = array.shape
        ragged = isinstance(x, list | tuple)
        target = _check.targets(
            y, checked, batch, time, self._width, loss, steps, self._dtype, ragged
        )
        initial = self._state("h0", h0, batch)
        return array, target, checked, initial, _check.weights(sample_weight, batch)

    def memory_needed(self, batch: int, time: int) -> int:
        """Compute how many bytes a training step on such a batch takes, at most.

        States, gradients and packed copies of inputs and weights; linear in time. The model's
        own parameters, the arguments and the optimiser's moments are not counted. The memory
        is kept for the next step, and freed with the model.

        Parameters
        ----------
        batch, time : int
            Sequences, and steps of each; for ragged batches the real steps count.

        Examples
        --------
        >>> import fastbptt
        >>> model = fastbptt.RNN(16, 128, 1)
        >>> model.memory_needed(batch=8, time=1000) < 30e6
        True
        """
        batch, time = _check.size("batch", batch), _check.size("time", time)
        return self._engine.memory_needed(batch, time)

    # ------------------------------------------------------------ keeping

    def state_dict(self) -> dict[str, Floats]:
        """Copy all parameters by name, at one moment between updates.

        Examples
        --------
        >>> import fastbptt
        >>> model = fastbptt.RNN(3, 4, 1, seed=0)
        >>> before = model.state_dict()
        >>> model.parameters["W_xh"][...] = 0.0
        >>> model.load_state_dict(before)
        """
        views = NamedViews(self._get_flat(), self._layout)
        return {name: view.copy() for name, view in views.items()}

    def load_state_dict(self, state: Mapping[str, ArrayLike]) -> None:
        """Set all parameters, or none.

        Parameters
        ----------
        state : mapping of name -> array
            Exactly the names and shapes of `parameters`; any real dtype.

        Raises
        ------
        ValueError, TypeError
            If a name is missing or unknown, a shape differs, or values do not fit into the
            model's dtype. Nothing has changed then.
        """
        _check.same_names("state", state, tuple(self._layout))
        flat = _check.aligned_empty(self._flat.size, self._dtype)
        for name, (start, stop, shape) in self._layout.items():
            label = f"state[{name!r}]"
            values = _check.exact(label, state[name], shape, f"the shape of {name}", self._dtype)
            with np.errstate(over="ignore"):
                flat[start:stop] = values.ravel()
            if np.isinf(flat[start:stop]).sum() > np.isinf(values).sum():
                raise ValueError(
                    f"{label} holds values too large for {self._dtype}; "
                    "expected values that the model's dtype can hold"
                )
        self._set_flat(flat)

    def copy(self) -> Self:
        """Make an independent model with the same weights.

        Examples
        --------
        >>> import fastbptt
        >>> model = fastbptt.RNN(3, 4, 1, seed=0)
        >>> twin = model.copy()
        >>> twin.parameters["b_h"][...] = 9.0
        >>> bool((model.parameters["b_h"] == 9.0).any())
        False
        """
        twin = type(self).__new__(type(self))
        twin.__setstate__(self.__getstate__())
        return twin

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to a file that `fastbptt.load` reads.

        Parameters
        ----------
        path : str or path-like
            Replaced in one move if it exists, so that a crash never leaves half a file.
        """
        from . import storage

        storage.save_model(self, path)

    def __getstate__(self) -> dict[str, Any]:
        extra = {k: v for k, v in self.__dict__.items() if k not in self._INTERNAL}
        return {"config": self._config(), "values": self._get_flat(), "extra": extra}

    def __setstate__(self, state: dict[str, Any]) -> None:
        twin = type(self)._from_config(state["config"])
        twin._set_flat(state["values"])
        self.__dict__.update(twin.__dict__)
        self.__dict__.update(state["extra"])


class RNN(Recurrent):
    """The tanh recurrent network, with a linear readout.

    ``h_t = tanh(x_t W_xh + h_{t-1} W_hh + b_h)``, ``y_t = h_t W_hy + b_y``, the recurrence of
    Elman, Cognitive Science 14 (1990).

    Parameters
    ----------
    input_size : int
        Features per time step.
    hidden_size : int
        Hidden units.
    output_size : int, optional
        Outputs of the readout. None: no readout, the outputs are the hidden states.
    bias : bool, default True
        Have `b_h` and `b_y`.
    init : str or (str, float), default "torch"
        How weights begin: ``"torch"``, ``"keras"``, ``"orthogonal"`` or ``("orthogonal", gain)``,
        ``"normal"`` (standard deviation 0.01, biases zero) or ``("normal", std)``. Formulas and
        sources: `fastbptt.init`.
    dtype : {"float32", "float64"}
        Of parameters, gradients, outputs and arithmetic.
    seed : int, sequence of int, SeedSequence, Generator or None
        As for ``numpy.random.default_rng``; the same seed gives the same weights.

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
    """

    _cell = "rnn"


#: Models by the name of their cell, as files know them.
MODELS: Final[dict[str, type[Recurrent]]] = {model._cell: model for model in (RNN,)}


def load(path: str | os.PathLike[str]) -> Recurrent:
    """Read a model that its `save` wrote.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    Recurrent
        Of the class that was saved, with the same weights to the bit.

    Raises
    ------
    ValueError
        If the file is broken, cut short, or no model's.
    OSError
        If it cannot be read.

    Examples
    --------
    >>> import os, tempfile, fastbptt
    >>> path = os.path.join(tempfile.mkdtemp(), "model.fastbptt")
    >>> fastbptt.RNN(3, 4, 1, seed=0).save(path)
    >>> fastbptt.load(path)
    RNN(3, 4, 1, dtype="float32")  # 37 parameters, 148 bytes
    """
    from . import storage

    return storage.load_model(path)


def _not_an_optimizer(value: object) -> TypeError:
    came = f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
    return TypeError(f"optimizer is {came}; expected an optimiser such as fastbptt.Adam()")
