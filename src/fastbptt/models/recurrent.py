"""What a model does: forward, backward, training steps, one step of a stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from .. import _check, _losses
from .._check import Floats
from .._core import Batch, GradientTargets, Objective, OutputGradients, Update
from .._errors import ArgumentError, ArgumentTypeError, BadArgumentError
from .._losses import LossLike
from .._views import Gradients, State
from . import _arguments, truncated
from .network import Network
from .results import ForwardResult, Recording, StepReport, norm, probes, unpacked

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
        batch = Batch(
            array, lengths=checked, initial=initial, dropout_seed=key, check_finite=finite
        )
        try:
            tape = self._engine.forward(batch)
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
            raise ArgumentTypeError(
                "out", f"is of type {type(out).__name__}", "what this model's forward returned"
            )
        if out._owner is not self._token:
            raise ArgumentError("out", "comes from another model", "this model's own forward")
        if d_outputs is None and d_final_state is None and d_last is None:
            raise ArgumentError(
                "d_outputs, d_final_state and d_last", "are all None", "at least one"
            )
        if d_outputs is not None and d_last is not None:
            raise ArgumentError("d_outputs and d_last", "are both given", "one of them")
        batch, time = out._tape.batch, out._tape.time
        form, up, end = self._form, None, None
        if d_outputs is not None:
            shape = (batch, time, form.width)
            up = _check.exact("d_outputs", d_outputs, shape, "the shape of outputs", self._dtype)
        if d_last is not None:
            end = _check.exact(
                "d_last", d_last, (batch, form.width), "the shape of last", self._dtype
            )
        given = OutputGradients(
            outputs=up,
            last=end,
            final_state=_arguments.d_final(form, d_final_state, batch),
            check_finite=_check.flag("check_finite", check_finite),
        )
        to = self._gradient_targets((batch, time, form.input_size), need_input_grad)
        self._engine.backward(out._tape, given, to)
        return self._gradients(to)

    def loss(
        self,
        x: ArrayLike | Sequence[ArrayLike],
        y: ArrayLike | Sequence[ArrayLike],
        loss: LossLike = "bce",
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
        batch, objective = self._checked(
            x, y, loss, steps, reduction, lengths, h0, sample_weight, check_finite
        )
        key = self._take_key(training is not False and _check.flag("training", training))
        if key is not None:
            batch = batch.replace(dropout_seed=key)
        try:
            return self._engine.loss(batch, objective)
        except BaseException:
            self._give_back(key)
            raise

    def loss_and_grad(
        self,
        x: ArrayLike | Sequence[ArrayLike],
        y: ArrayLike | Sequence[ArrayLike],
        loss: LossLike = "bce",
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
        loss : str or `fastbptt.Loss`
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
        batch, objective = self._checked(
            x, y, loss, steps, reduction, lengths, h0, sample_weight, check_finite, budget
        )
        recording = None if record is None else self._recorder(record, batch)
        to = self._gradient_targets(batch.x.shape, need_input_grad)
        key = self._take_key(training is True or _check.flag("training", training))
        if key is not None:
            batch = batch.replace(dropout_seed=key)
        left = None if recording is None else probes(recording, None)
        try:
            value = self._engine.loss_and_grad(batch, objective, to, left, budget)
        except BaseException:
            self._give_back(key)
            raise
        if budget:
            self._report = StepReport(*self._engine.report())
        if recording is not None:
            recording.arrays["norm"][0] = norm(to.parameters)
            self._recording = recording
        return value, self._gradients(to)

    def train_step(
        self,
        x: ArrayLike | Sequence[ArrayLike],
        y: ArrayLike | Sequence[ArrayLike],
        optimizer: Optimizer,
        loss: LossLike = "bce",
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
        batch, objective = self._checked(
            x, y, loss, steps, reduction, lengths, h0, sample_weight, check_finite, budget or chunk
        )
        final = None
        if state is not None:
            if h0 is not None:
                raise ArgumentError("h0 and state", "are both given", "one of them")
            self._one_direction("state", "given")
            final = _arguments.carried(self._form, state, len(batch.x), self._flat)
            batch = batch.replace(initial=final)
        recording = None if record is None else self._recorder(record, batch)
        clip = None
        if clip_norm is not None or clip_value is not None:
            clip = _check.clip(clip_norm, clip_value)
        try:
            lock = optimizer._lock
        except AttributeError:
            raise _not_an_optimizer(optimizer) from None
        chunked = 0 < chunk < batch.x.shape[1]
        key, report = None, None
        if self._drops and not chunked:
            key = self._keys.take()
            batch = batch.replace(dropout_seed=key)
        try:
            with lock:
                binding = optimizer._binding_for(self)
                update = Update(binding.state, clip)
                if chunked:
                    keys = self._keys if self._drops else None
                    value, report = truncated.train(
                        *(self._engine, self._form, keys, binding, batch, objective, update),
                        *(chunk, budget, final, recording),
                    )
                else:
                    left = None
                    if recording is not None or final is not None:
                        left = probes(recording, final)
                    value = self._engine.train_step(batch, objective, update, left, budget)
                optimizer._binding = binding  # only now: a refused step leaves no trace
        except BaseException as error:
            self._give_back(key)
            if final is not None and isinstance(error, BadArgumentError):
                _arguments.about_state(self._form, error)
            raise
        if budget:
            self._report = report or StepReport(*self._engine.report())
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
        check_finite: Any,
        unlimited: int = 0,
    ) -> tuple[Batch, Objective]:
        """Check everything that a loss needs; at once if it is as it should be.

        unlimited: above 0 where memory does not limit the steps of x.
        """
        form = self._form
        finite = check_finite is True or _check.flag("check_finite", check_finite)
        loss = _losses.loss(loss)
        if (
            lengths is None
            and h0 is None
            and sample_weight is None
            and reduction in _check.REDUCTIONS
        ):
            ready = _arguments.plain(form, x, y, loss, steps)
            if ready is not None:
                return (
                    Batch(x, check_finite=finite),
                    Objective(loss=loss, steps=steps, reduction=reduction, y=ready),
                )
        _check.option("steps", steps, _check.STEPS)
        _check.option("reduction", reduction, _check.REDUCTIONS)
        array, checked = _arguments.inputs(form, x, lengths, unlimited > 0)
        count, time = array.shape[:2]
        ragged = isinstance(x, list | tuple)
        target = _arguments.targets(form, y, checked, count, time, loss, steps, ragged)
        initial = _arguments.initial(form, "h0", h0, count)
        weight = _arguments.weights(sample_weight, count)
        return (
            Batch(array, lengths=checked, initial=initial, check_finite=finite),
            Objective(loss=loss, steps=steps, reduction=reduction, y=target, sample_weight=weight),
        )

    def _states(self, batch: int) -> tuple[Floats, ...]:
        """Make room for a state, or the gradient of one."""
        form = self._form
        shape = (form.rows, batch, form.hidden_size)
        return tuple([np.empty(shape, form.dtype) for _ in form.states])

    def _gradient_targets(self, shape: tuple[int, ...], input_gradient: Any) -> GradientTargets:
        """Make the arrays for the gradients of a batch of this shape."""
        dx = None
        if input_gradient is not False and _check.flag("need_input_grad", input_gradient):
            if self._form.tokens:
                raise ArgumentError(
                    "need_input_grad", "is True", "False because tokens have no gradient"
                )
            dx = np.empty(shape, self._dtype)
        flat = _check.aligned_empty(self._flat.size, self._dtype)
        return GradientTargets(flat, x=dx, initial=self._states(shape[0]))

    def _gradients(self, to: GradientTargets) -> Gradients:
        assert to.initial is not None
        return Gradients(to.parameters, self._layout, to.x, unpacked(to.initial))

    def _recorder(self, record: Any, batch: Batch) -> Recording:
        _check.option("record", record, _check.RECORDS)
        return Recording(self._pass_names, batch.x.shape[1], batch.lengths)

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
            raise ArgumentError(
                name,
                f"is {done}, but bidirectional=True",
                "a model of one direction: the other one needs whole sequences",
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


def _not_an_optimizer(value: object) -> ArgumentTypeError:
    came = f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
    return ArgumentTypeError("optimizer", f"is {came}", "an optimiser such as fastbptt.Adam()")
