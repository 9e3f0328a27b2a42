"""What models return besides numbers and gradients."""

from __future__ import annotations

from typing import NamedTuple

from . import _core
from ._check import Floats
from ._views import State


class ForwardResult:
    """What `forward` returns: outputs and states, and all that `backward` needs.

    The arrays are the caller's own copies, made when first looked at; changing them does
    not change what `backward` computes.
    """

    __slots__ = ("_final_state", "_hidden", "_last", "_outputs", "_owner", "_readout", "_tape")

    def __init__(self, tape: _core.Tape, owner: object, readout: bool) -> None:
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
    """What the last call with a `memory_budget` took.

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


def unpacked(states: tuple[Floats, ...]) -> State:
    """Return a cell's only state as an array, several as a tuple."""
    return states[0] if len(states) == 1 else states
