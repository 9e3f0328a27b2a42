"""Results of calls besides numbers and gradients: outputs and states, reports, recorded norms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import _core
from .._check import Floats
from .._views import State


class OutputsAlone:
    """Results of a forward pass that kept nothing for a backward one."""

    __slots__ = ("_readout", "final_state", "last", "outputs")

    def __init__(
        self, outputs: Floats, last: Floats, final_state: tuple[Floats, ...], readout: bool
    ) -> None:
        self.outputs = outputs
        self.last = last
        self.final_state = final_state
        self._readout = readout

    @property
    def batch(self) -> int:
        """Number of sequences."""
        return len(self.outputs)

    @property
    def time(self) -> int:
        """Steps of the longest."""
        return int(self.outputs.shape[1])

    @property
    def hidden(self) -> Floats:
        """The outputs of a network without readout; else refused."""
        if not self._readout:
            return self.outputs
        raise AttributeError(
            "forward(.., backward=False) does not keep the hidden states; call forward without it"
        )


class ForwardResult:
    """Result of `forward`: outputs, states, and the saved activations that `backward` needs.

    The arrays are the caller's own copies, made when first looked at; changing them does
    not change what `backward` computes.
    """

    __slots__ = ("_final_state", "_hidden", "_last", "_outputs", "_owner", "_readout", "_tape")

    def __init__(self, tape: _core.Tape | OutputsAlone, owner: object, readout: bool) -> None:
        self._tape = tape
        self._owner = owner
        self._readout = readout
        self._outputs: Floats | None = None
        self._hidden: Floats | None = None
        self._last: Floats | None = None
        self._final_state: State | None = None

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
        """(batch, time, directions * hidden_size), the top layer; zero after a sequence's end.

        The reverse direction's state at a step is the one after reading the sequence from its
        own last step back to this one.
        """
        if self._hidden is None:
            self._hidden = self._tape.hidden
        return self._hidden

    @property
    def last(self) -> Floats:
        """(batch, output_size): the readout of the top layer's final states.

        In one direction the output at each sequence's own last step; in two, of the forward
        state after the last step beside the reverse state after the first. It is what a loss
        with ``steps="last"`` sees. Without readout these states themselves.
        """
        if self._last is None:
            self._last = self._tape.last
        return self._last

    @property
    def final_state(self) -> State:
        """(layers * directions, batch, hidden_size): the states after all of a sequence's steps.

        In the order first layer, its reverse direction, second layer, ... An LSTM gives a
        tuple of two: hidden states and cell states.
        """
        if self._final_state is None:
            self._final_state = unpacked(self._tape.final_state)
        return self._final_state

    def __repr__(self) -> str:
        return f"ForwardResult({self._tape.batch} sequences of up to {self._tape.time} steps)"


class StepReport(NamedTuple):
    """Memory and time of the last call with a `memory_budget`.

    Attributes
    ----------
    segments : int
        Stretches of time between the states that were kept; 1: nothing was computed twice.
    bytes : int
        Memory of the pass, beside the model's parameters, the arguments and the optimiser's
        moments.
    seconds : float
        Of the whole call.
    recompute_seconds : float
        Of that, for computing states a second time.
    """

    segments: int
    bytes: int
    seconds: float
    recompute_seconds: float


@dataclass(frozen=True, eq=False)
class GradientRecord:
    """How large the gradients were on their way back through time: norms of one training step.

    `record="gradients"` of `train_step` and `loss_and_grad` asks for it, `last_gradients` of the
    model keeps the last one. Norms are Euclidean, over the batch and the units, summed in float64
    without underflow of the squares; so 0.0 means that all entries are 0. Steps are those of the
    input, for the reverse direction too.

    Attributes
    ----------
    hidden : ndarray of shape (passes, time), float64
        Norm of dL/dh_t: all that enters the arithmetic of step t, from the outputs, the layer above
        and the step after.
    gates : ndarray of shape (passes, time), float64
        Norm of dL/da_t, where a_t = x_t W_xh + h_{t-1} W_hh + b_h are the sums that the cell's
        gates are computed from, all of them together.
    pass_names : tuple of str
        ``"l0"``, ``"l0_reverse"``, ``"l1"``, ...: one per layer and direction.
    lengths : ndarray of shape (batch,), or None
        Steps of each sequence; None if all have `time`.
    norm : float
        Of all parameters' gradients together, before clipping; with `bptt_steps` the largest of
        the chunks'.
    cut : bool
        Whether `resets` or `bptt_steps` end the way back of gradients before the first step.

    Examples
    --------
    >>> import numpy as np, fastbptt
    >>> model = fastbptt.RNN(3, 4, 1, seed=0)
    >>> x = np.ones((2, 5, 3))
    >>> loss = model.train_step(x, [0, 1], fastbptt.Adam(), record="gradients")
    >>> model.last_gradients.hidden.shape
    (1, 5)
    """

    hidden: NDArray[np.float64]
    gates: NDArray[np.float64]
    pass_names: tuple[str, ...]
    lengths: NDArray[np.int64] | None
    norm: float
    cut: bool = False

    def __repr__(self) -> str:
        passes, time = self.hidden.shape
        return f"GradientRecord({passes} passes, {time} steps, norm {self.norm:.3g})"


class NormProbes:
    """The arrays that a step leaves its norms in."""

    __slots__ = ("arrays", "cut", "lengths", "names")

    def __init__(
        self,
        names: tuple[str, ...],
        time: int,
        lengths: NDArray[np.int64] | None,
        cut: bool = False,
    ) -> None:
        self.names = names
        self.lengths = lengths
        self.cut = cut
        both = np.zeros((2, len(names), time))
        self.arrays = {"hidden": both[0], "gates": both[1], "norm": np.zeros(1)}

    def insert(self, first: int, part: NormProbes) -> None:
        """Take over the norms of a chunk of steps."""
        for name in ("hidden", "gates"):
            values = part.arrays[name]
            self.arrays[name][:, first : first + values.shape[1]] = values
        np.maximum(self.arrays["norm"], part.arrays["norm"], out=self.arrays["norm"])

    def done(self) -> GradientRecord:
        """Return what was recorded."""
        hidden, gates, norm = self.arrays.values()
        return GradientRecord(hidden, gates, self.names, self.lengths, float(norm[0]), self.cut)


class Records:
    """The report and the recorded gradients of the last calls that asked for them."""

    __slots__ = ("losses", "norms", "pass_names", "penalties", "report")

    def __init__(self, names: tuple[str, ...]) -> None:
        self.pass_names = names
        self.report: StepReport | None = None
        self.norms: NormProbes | None = None
        self.losses: dict[str, float] | None = None
        self.penalties: dict[str, float] | None = None

    def note_losses(self, objective: _core.Objective) -> None:
        """Keep the loss of each block of outputs."""
        assert objective.losses is not None
        self.losses = dict(zip(objective.loss.losses, objective.losses.tolist(), strict=True))

    def gradients(self) -> GradientRecord | None:
        """Return what was recorded last; None before any."""
        return None if self.norms is None else self.norms.done()


def probes(norms: NormProbes | None, final_state: tuple[Floats, ...] | None) -> _core.Probes:
    """Name the arrays that the core writes norms and final states to; None: not wanted."""
    arrays: dict[str, Any] = {} if norms is None else norms.arrays
    return _core.Probes(final_state=final_state, **arrays)


def pass_names(layers: int, bidirectional: bool) -> tuple[str, ...]:
    """Name each layer and direction, as parameters of further layers are named."""
    ends = ("", "_reverse") if bidirectional else ("",)
    return tuple(f"l{layer}{end}" for layer in range(layers) for end in ends)


def unpacked(states: tuple[Floats, ...]) -> State:
    """Return a cell's only state as an array, several as a tuple."""
    return states[0] if len(states) == 1 else states
