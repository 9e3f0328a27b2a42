"""What a model does: forward, backward, training steps, one step of a stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _check
from .._check import Floats, Targets
from .._views import Gradients, State
from . import _arguments, truncated
from ._arguments import Inputs, Lengths
from .network import Network
from .results import ForwardResult, Recording, StepReport, norm, unpacked

if TYPE_CHECKING:
    from ..optim.optimizers import Optimizer

StateLike: TypeAlias = ArrayLike | Sequence[ArrayLike]


class Recurrent(Network):
    """A network of any registered cell; `RNN`, `GRU`, `LSTM` and `LeakyRNN` are its common kinds.

    Parameters
    ----------
    cell : str
        A name of the core's registry: ``fastbptt.cells()``.
    setting : float, optional
        The cell's number, if it has one (``alpha`` of ``"leaky"``).
    input_size, hidden_size, output_size, num_layers, bidirectional, bias, dropout
        As for `RNN`, like all further arguments.
    learn_initial_state, embedding, padding_index, freeze_embedding, init, dtype, precision, seed
        As for `RNN`.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what came and what was expected.
    MemoryError
        If the parameters do not fit into this machine.

    Examples
    --------
    >>> import fastbptt
    >>> fastbptt.Recurrent("leaky", 3, 4, 1, setting=0.5, seed=0)
    Recurrent("leaky", 3, 4, 1, setting=0.5, dtype="float32")  # 37 parameters, 148 bytes
    """

    # ------------------------------------------------------------ computing

    def forward(
        self,
        x: ArrayLike | Sequence[ArrayLike],
        lengths: ArrayLike | None = None,
        h0: StateLike | None = None,
        *,
        training: bool = False,
        check_finite: bool = True,
    ) -> ForwardResult:
        """Run the network over a batch of sequences.

        Parameters
        ----------
        x : array of shape (batch, time, input_size), or list of arrays (time_i, input_size)
            float32 and float64 are read in place, whatever their strides; integers, booleans
            and float16 are converted. Sequences in a list may differ in length. With an
            embedding integers from 0 to vocabulary_size - 1, (batch, time) or a list of (time_i,);
            int64 is read in place.
        lengths : array of shape (batch,), optional
            Whole numbers from 1 to time: how many steps of each sequence are real. What
            stands after them is never read. Not needed if `x` is a list.
        h0 : array of shape (layers * directions, batch, hidden_size), optional
            Initial state; of an LSTM a tuple (h0, c0) of two. If it is not given: the learned
            one, or zero.
        training : bool, default False
            Apply dropout, with masks that no pass before had. `backward` uses the same.
        check_finite : bool, default True
            Refuse NaN and infinity in `x`, `h0` and the weights.

        Returns
        -------
        ForwardResult
            `outputs` (batch, time, output_size), `hidden` (batch, time, directions *
            hidden_size), both zero after a sequence's end, `last` (batch, output_size), the
            outputs at the end, and `final_state`, shaped like `h0`.

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
        >>> out.outputs.shape, out.last.shape, out.final_state.shape
        ((2, 5, 1), (2, 1), (1, 2, 4))
        >>> bool((out.outputs[1, 2:] == 0).all())
        True
        >>> model = fastbptt.LSTM(3, 4, num_layers=2, bidirectional=True, seed=0)
        >>> out = model.forward([np.ones((5, 3)), np.ones((2, 3))])
        >>> h, c = out.final_state
        >>> out.hidden.shape, c.shape
        ((2, 5, 8), (4, 2, 4))
        """
        array, checked = _arguments.inputs(self._form, x, lengths)
        initial = _arguments.initial(self._form, "h0", h0, len(array))
        finite = _check.flag("check_finite", check_finite)
        key = self._take_key(_check.flag("training", training))
        try:
            tape = self._engine.forward(array, checked, initial, key, finite)
        except BaseException:
            self._give_back(key)
            raise
        return ForwardResult(tape, self._token, self._spec.output_size > 0)

    def backward(
        self,
        out: ForwardResult,
        d_outputs: ArrayLike | None = None,
        d_final_state: StateLike | Sequence[ArrayLike | None] | None = None,
        d_last: ArrayLike | None = None,
        need_input_grad: bool = False,
        check_finite: bool = True,
    ) -> Gradients:
        """Backpropagate any gradient of the outputs through time: bring your own loss.

        Parameters
        ----------
        out : ForwardResult
            From this model's `forward`. Weights, inputs and dropout masks are used as they
            were then.
        d_outputs : array of shape (batch, time, output_size), optional
            Gradient of the loss with respect to `out.outputs`; ignored after a sequence's end.
        d_final_state : array of shape (layers * directions, batch, hidden_size), optional
            Gradient with respect to `out.final_state`; of an LSTM a tuple of two, of which
            one may be None.
        d_last : array of shape (batch, output_size), optional
            Gradient with respect to `out.last`, instead of `d_outputs`. At least one of the
            three is needed.
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
        if d_outputs is None and d_final_state is None and d_last is None:
            raise ValueError(
                "d_outputs, d_final_state and d_last are all None; expected at least one"
            )
        if d_outputs is not None and d_last is not None:
            raise ValueError("d_outputs and d_last are both given; expected one of them")
        batch, time = out._tape.batch, out._tape.time
        form, up, end = self._form, None, None
        if d_outputs is not None:
            shape = (batch, time, form.width)
            up = _check.exact("d_outputs", d_outputs, shape, "the shape of outputs", self._dtype)
        if d_last is not None:
            end = _check.exact(
                "d_last", d_last, (batch, form.width), "the shape of last", self._dtype
            )
        final = _arguments.d_final(form, d_final_state, batch)
        dx = self._input_gradient(need_input_grad, (batch, time, form.input_size))
        checked = _check.flag("check_finite", check_finite)
        flat = _check.aligned_empty(self._flat.size, self._dtype)
        d_initial = self._states(batch)
        self._engine.backward(out._tape, up, final, end, flat, dx, d_initial, checked)
        return Gradients(flat, self._layout, dx, unpacked(d_initial))

    def loss(
        self,
        x: ArrayLike | Sequence[ArrayLike],
        y: ArrayLike | Sequence[ArrayLike],
        loss: str = "bce",
        steps: str = "last",
        reduction: str = "mean",
        lengths: ArrayLike | None = None,
        h0: StateLike | None = None,
        sample_weight: ArrayLike | None = None,
        check_finite: bool = True,
        *,
        training: bool = False,
    ) -> float:
        """Compute the loss alone, forward only. Arguments as for `loss_and_grad`.

        Dropout is off unless `training` is true.

        Examples
        --------
        >>> import numpy as np, fastbptt
        >>> model = fastbptt.RNN(3, 4, 1, init=("normal", 0.0))
        >>> print(f"{model.loss(np.ones((2, 5, 3)), [0, 1]):.4f}")
        0.6931
        """
        array, target, checked, initial, weight = self._checked(
            x, y, loss, steps, reduction, lengths, h0, sample_weight
        )
        finite = check_finite is True or _check.flag("check_finite", check_finite)
        key = self._take_key(training is not False and _check.flag("training", training))
        try:
            return self._engine.loss(
                array, target, loss, steps, reduction, checked, initial, weight, key, finite
            )
        except BaseException:
            self._give_back(key)
            raise

    def loss_and_grad(
        self,
        x: ArrayLike | Sequence[ArrayLike],
        y: ArrayLike | Sequence[ArrayLike],
        loss: str = "bce",
        steps: str = "last",
        reduction: str = "mean",
        lengths: ArrayLike | None = None,
        h0: StateLike | None = None,
        sample_weight: ArrayLike | None = None,
        need_input_grad: bool = False,
        check_finite: bool = True,
        *,
        training: bool = True,
        memory_budget: int | str | None = None,
        record: str | None = None,
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
            end is ignored. Without readout the outputs are the directions * hidden_size states.
        loss : {"bce", "cross_entropy", "mse"}
            On each step's outputs z: mean over the outputs of log(1 + exp(z)) - y z; or
            log(sum(exp(z))) - z[y]; or mean over the outputs of (y - z)^2. With
            ``reduction="sum"`` the sum over the outputs instead of their mean.
        steps : {"last", "all"}
            Loss on `ForwardResult.last`, that is at each sequence's own end, or at all steps.
        reduction : {"mean", "sum", "sequence_mean"}
            ``"mean"``: over all real steps of the batch. ``"sum"``: their sum.
            ``"sequence_mean"``: mean over sequences of each one's mean over its steps.
        sample_weight : array of shape (batch,), optional
            Weights of at least 0, not all 0. The means become weighted means.
        need_input_grad : bool, default False
            Compute the gradient with respect to `x` too.
        check_finite : bool, default True
            Refuse NaN and infinity in the arguments, the weights, the loss and the gradients.
        training : bool, default True
            Apply dropout, with masks that no pass before had.
        memory_budget : int or str, optional
            Bytes, or text such as ``"200MB"`` (10^6 each) or ``"1.5 GiB"`` (2^30): what the
            pass may take beside the model's parameters and the arguments. States that do not
            fit are computed a second time, from those that were kept; no bit of the result
            depends on it. `last_report` says what it cost. Only for one direction.
        record : {None, "gradients"}
            ``"gradients"``: leave the norms of the gradients at each step in `last_gradients`, a
            `GradientRecord`.

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

        Notes
        -----
        Equal seeds give equal dropout masks; a `copy` of a model draws the same masks as the model
        would have: ``model.copy().loss_and_grad(...)`` twice is twice the same.

        Recomputing from kept states: Chen, Xu, Zhang and Guestrin, 2016, arXiv:1604.06174.

        Examples
        --------
        >>> import numpy as np, fastbptt
        >>> model = fastbptt.RNN(3, 4, 1, seed=0)
        >>> loss, grads = model.loss_and_grad(np.ones((2, 5, 3)), [0, 1])
        >>> sorted(grads)
        ['W_hh', 'W_hy', 'W_xh', 'b_h', 'b_y']
        """
        budget = 0 if memory_budget is None else self._budget(memory_budget)
        array, target, checked, initial, weight = self._checked(
            x, y, loss, steps, reduction, lengths, h0, sample_weight, budget > 0
        )
        recording = None if record is None else self._room(record, array, checked)
        finite = check_finite is True or _check.flag("check_finite", check_finite)
        flat = _check.aligned_empty(self._flat.size, self._dtype)
        dx = None
        if need_input_grad is not False:
            dx = self._input_gradient(need_input_grad, array.shape)
        d_initial = self._states(len(array))
        key = self._take_key(training is True or _check.flag("training", training))
        try:
            value = self._engine.loss_and_grad(
                array,
                target,
                loss,
                steps,
                reduction,
                checked,
                initial,
                weight,
                key,
                finite,
                flat,
                dx,
                d_initial,
                budget,
                None if recording is None else recording.arrays,
            )
        except BaseException:
            self._give_back(key)
            raise
        if budget:
            self._report = StepReport(*self._engine.report())
        if recording is not None:
            recording.arrays["norm"][0] = norm(flat)
            self._recording = recording
        return value, Gradients(flat, self._layout, dx, unpacked(d_initial))

    def train_step(
        self,
        x: ArrayLike | Sequence[ArrayLike],
        y: ArrayLike | Sequence[ArrayLike],
        optimizer: Optimizer,
        loss: str = "bce",
        steps: str = "last",
        reduction: str = "mean",
        lengths: ArrayLike | None = None,
        h0: StateLike | None = None,
        sample_weight: ArrayLike | None = None,
        clip_norm: float | None = None,
        check_finite: bool = True,
        *,
        clip_value: float | None = None,
        memory_budget: int | str | None = None,
        bptt_steps: int | None = None,
        state: State | None = None,
        record: str | None = None,
    ) -> float:
        """Do forward, loss, backward, clipping and update in one call.

        Parameters
        ----------
        x, y, loss, steps, reduction, lengths, h0, sample_weight, check_finite, memory_budget
            As for `loss_and_grad`. Dropout is on.
        optimizer : Adam, AdamW, SGD or RMSprop
            Belongs to the first model that it updates.
        clip_norm : float, optional
            If the global norm of all gradients together is larger, all are scaled by
            clip_norm / norm (Pascanu, Mikolov and Bengio, ICML 2013, algorithm 1). Those of
            frozen parameters do not count.
        clip_value : float, optional
            Each element of the gradients is brought into -clip_value to clip_value. Not
            together with `clip_norm`.
        bptt_steps : int, optional
            Truncated BPTT: walk the batch in chunks of so many steps, each with a forward
            pass, loss, backward pass and update of its own; the state is carried from chunk to
            chunk, the gradient is cut. `fastbptt.models.truncated` says how the losses of
            chunks are reduced. Only for one direction.
        state : array of shape (layers, batch, hidden_size), or tuple of two, optional
            The initial state instead of `h0`, overwritten with the final state once all has
            gone well, for the next piece of the same sequences. Of the model's dtype,
            writable, in C order: `initial_state` makes one. Only for one direction.
        record : {None, "gradients"}
            ``"gradients"``: leave the norms of the gradients at each step in `last_gradients`, a
            `GradientRecord`. It changes nothing else, and costs a few percent of the step.

        Returns
        -------
        float
            The loss before the update. With `bptt_steps` the mean of the chunks' losses, weighted
            as `reduction` says (with ``"sum"`` their sum): what a single pass would report if
            the weights stayed as they are.

        Raises
        ------
        ValueError, TypeError
            As for `loss_and_grad`; then neither the model nor the optimiser nor `state` has
            changed, even if earlier chunks went well: the call is undone as a whole.
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

        One long stream, cut into calls and chunks:

        >>> x = np.random.default_rng(0).normal(size=(1, 1000, 3))
        >>> y, state = x[..., 0], model.initial_state(1)
        >>> for i in range(0, 1000, 200):
        ...     part = slice(i, i + 200)
        ...     loss = model.train_step(
        ...         x[:, part], y[:, part], adam, "mse", "all", bptt_steps=20, state=state
        ...     )
        """
        budget = 0 if memory_budget is None else self._budget(memory_budget)
        chunk = 0 if bptt_steps is None else self._chunk(bptt_steps)
        array, target, checked, initial, weight = self._checked(
            x, y, loss, steps, reduction, lengths, h0, sample_weight, budget > 0 or chunk > 0
        )
        final = None
        if state is not None:
            if h0 is not None:
                raise ValueError("h0 and state are both given; expected one of them")
            self._one_direction("state", "given")
            initial = final = _arguments.carried(self._form, state, len(array), self._flat)
        recording = None if record is None else self._room(record, array, checked)
        limit_norm = limit_value = -1.0
        if clip_norm is not None or clip_value is not None:
            limit_norm, limit_value = _check.clips(clip_norm, clip_value)
        finite = check_finite is True or _check.flag("check_finite", check_finite)
        try:
            lock = optimizer._lock
        except AttributeError:
            raise _not_an_optimizer(optimizer) from None
        call = None
        if 0 < chunk < array.shape[1]:
            call = truncated.Call(
                array,
                target,
                loss,
                steps,
                reduction,
                checked,
                initial,
                weight,
                finite,
                limit_norm,
                limit_value,
                budget,
            )
        key = self._keys.take() if self._drops and call is None else None
        try:
            with lock:
                binding = optimizer._binding_for(self)
                if call is not None:
                    value = truncated.train(self, binding, call, chunk, final, recording)
                else:
                    value = self._engine.train_step(
                        array,
                        target,
                        loss,
                        steps,
                        reduction,
                        checked,
                        initial,
                        weight,
                        key,
                        finite,
                        binding.state,
                        limit_norm,
                        limit_value,
                        budget,
                        final,
                        None if recording is None else recording.arrays,
                    )
                optimizer._binding = binding  # only now: a refused step leaves no trace
        except BaseException as error:
            self._give_back(key)
            if final is not None and isinstance(error, ValueError):
                raise ValueError(_arguments.about_state(self._form, str(error))) from None
            raise
        if budget and call is None:
            self._report = StepReport(*self._engine.report())
        if recording is not None:
            self._recording = recording
        return value

    # ------------------------------------------------------------ step by step

    def initial_state(self, batch: int) -> State:
        """Make the state before the first step: the learned one, or zeros.

        Parameters
        ----------
        batch : int
            Sequences.

        Returns
        -------
        array of shape (layers * directions, batch, hidden_size), or tuple of two
            The caller's own: for `step`, and `h0` or `state` of other calls. An LSTM's is a
            tuple of hidden states and cell states.

        Examples
        --------
        >>> import fastbptt
        >>> fastbptt.GRU(3, 4, num_layers=2, seed=0).initial_state(5).shape
        (2, 5, 4)
        """
        states = self._states(_check.size("batch", batch))
        for name, array in zip(self._form.states, states, strict=True):
            array[...] = 0.0
            if self._spec.learn_state:
                array[...] = self.parameters[f"{name}0"][:, np.newaxis]
        return unpacked(states)

    def step(self, x_t: ArrayLike, state: State, check_finite: bool = True) -> Floats:
        """Read one step of sequences that come in piece by piece, without training.

        It computes in the model's dtype, with precision "bfloat16" too.

        Parameters
        ----------
        x_t : array of shape (batch, input_size); with an embedding tokens (batch,)
            The next step of each sequence.
        state : array of shape (layers, batch, hidden_size), or tuple of two
            Where the sequences are, from `initial_state`, a final state or the step before;
            changed in place. Of the model's dtype, writable, in C order.
        check_finite : bool, default True
            Refuse NaN and infinity in `x_t`. To look at state and weights would cost more than
            the step.

        Returns
        -------
        array of shape (batch, output_size)
            The outputs at this step; without readout the top layer's hidden states.

        Raises
        ------
        ValueError, TypeError
            Naming the argument, what came and what was expected; or if the network reads in
            both directions. Then `state` has not changed.

        Examples
        --------
        >>> import numpy as np, fastbptt
        >>> model = fastbptt.LSTM(3, 4, 1, seed=0)
        >>> x = np.random.default_rng(0).normal(size=(2, 5, 3))
        >>> state = model.initial_state(2)
        >>> outputs = [model.step(x[:, t], state) for t in range(5)]
        >>> bool(np.allclose(np.stack(outputs, axis=1), model.forward(x).outputs, atol=1e-6))
        True
        """
        form = self._form
        states: Any = (state,) if len(form.states) == 1 else state
        array: Any = x_t
        if not _arguments.plain_step(form, x_t, states):
            self._one_direction("step", "called")
            array = _arguments.one_step(form, x_t)
            states = _arguments.carried(form, state, len(array), self._flat)
        y = np.empty((len(array), form.width), form.dtype)
        self._engine.step(
            array, states, y, check_finite is True or _check.flag("check_finite", check_finite)
        )
        return y

    # ------------------------------------------------------------ arguments

    def _checked(
        self,
        x: Any,
        y: Any,
        loss: Any,
        steps: Any,
        reduction: Any,
        lengths: Any,
        h0: Any,
        sample_weight: Any,
        unlimited: bool = False,
    ) -> tuple[Inputs, Targets, Lengths, tuple[Floats, ...] | None, NDArray[np.float64] | None]:
        """Everything a loss needs, checked; at once if it is as it should be."""
        form = self._form
        if (
            lengths is None
            and h0 is None
            and sample_weight is None
            and reduction in _check.REDUCTIONS
        ):
            ready = _arguments.plain(form, x, y, loss, steps)
            if ready is not None:
                return x, ready, None, None, None
        _check.option("loss", loss, _check.LOSSES)
        _check.option("steps", steps, _check.STEPS)
        _check.option("reduction", reduction, _check.REDUCTIONS)
        array, checked = _arguments.inputs(form, x, lengths, unlimited)
        batch, time = array.shape[:2]
        ragged = isinstance(x, list | tuple)
        target = _arguments.targets(form, y, checked, batch, time, loss, steps, ragged)
        initial = _arguments.initial(form, "h0", h0, batch)
        return array, target, checked, initial, _arguments.weights(sample_weight, batch)

    def _states(self, batch: int) -> tuple[Floats, ...]:
        """Make room for a state, or the gradient of one."""
        form = self._form
        shape = (form.rows, batch, form.hidden_size)
        return tuple([np.empty(shape, form.dtype) for _ in form.states])

    def _input_gradient(self, wanted: Any, shape: tuple[int, ...]) -> Floats | None:
        if not _check.flag("need_input_grad", wanted):
            return None
        if self._form.tokens:
            raise ValueError(
                "need_input_grad is True; expected False because tokens have no gradient"
            )
        return np.empty(shape, self._dtype)

    def _room(self, record: Any, x: Inputs, lengths: Lengths) -> Recording:
        _check.option("record", record, _check.RECORDS)
        return Recording(self._pass_names, x.shape[1], lengths)

    def _budget(self, value: Any) -> int:
        count = _check.memory("memory_budget", value)
        self._one_direction("memory_budget", "given")
        return count

    def _chunk(self, value: Any) -> int:
        count = _check.size("bptt_steps", value)
        self._one_direction("bptt_steps", "given")
        return count

    def _one_direction(self, name: str, done: str) -> None:
        if self._spec.bidirectional:
            raise ValueError(
                f"{name} is {done}, but bidirectional=True; expected a model of one direction: "
                "the other one needs whole sequences"
            )

    def _take_key(self, training: bool) -> int | None:
        return self._keys.take() if training and self._drops else None

    def _give_back(self, key: int | None) -> None:
        if key is not None:
            self._keys.give_back(key)

    # ------------------------------------------------------------ memory

    def memory_needed(self, batch: int, time: int, memory_budget: int | str | None = None) -> int:
        """Compute how many bytes a training step on such a batch takes, at most.

        States, gradients and packed copies of inputs and weights; linear in time. The model's
        own parameters, the arguments and the optimiser's moments are not counted. The memory
        is kept for the next step, and freed with the model.

        Parameters
        ----------
        batch, time : int
            Sequences, and steps of each; for ragged batches the real steps count.
        memory_budget : int or str, optional
            As for `loss_and_grad`.

        Examples
        --------
        >>> import fastbptt
        >>> model = fastbptt.RNN(16, 128, 1)
        >>> model.memory_needed(batch=8, time=1000) < 30e6
        True
        >>> model.memory_needed(8, 20_000, memory_budget="50MB") <= 50e6
        True
        """
        batch, time = _check.size("batch", batch), _check.size("time", time)
        budget = 0 if memory_budget is None else self._budget(memory_budget)
        return self._engine.memory_needed(batch, time, budget)

    def minimum_memory(self, batch: int, time: int) -> int:
        """Compute the smallest `memory_budget` with which such a batch can be trained.

        Parameters
        ----------
        batch, time : int
            Sequences, and steps of each.

        Examples
        --------
        >>> import fastbptt
        >>> model = fastbptt.RNN(16, 128, 1)
        >>> model.minimum_memory(8, 20_000) < model.memory_needed(8, 20_000)
        True
        """
        batch, time = _check.size("batch", batch), _check.size("time", time)
        self._one_direction("minimum_memory", "called")
        return self._engine.minimum_memory(batch, time)


def _not_an_optimizer(value: object) -> TypeError:
    came = f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
    return TypeError(f"optimizer is {came}; expected an optimiser such as fastbptt.Adam()")
