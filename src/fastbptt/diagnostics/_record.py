"""Record of one backward pass: every gradient, gate and state, in float64."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .. import _core
from .._cell_info import cell_info
from ..models import _options
from ..models._weights import dense
from ..models.results import pass_names
from ..reference.losses import POOLED
from ..reference.model import Network

if TYPE_CHECKING:
    from ..models.recurrent import Recurrent

Array: TypeAlias = NDArray[np.float64]
Read: TypeAlias = slice | list[int]


@dataclass(frozen=True)
class PassRecord:
    """One layer in one direction. Steps are those of the input; zero after a sequence's end.

    B sequences, T steps, H units, J pre-activations (gates' sums, and where a cell keeps parts of
    them apart these), P saved activations (states, then what backward needs besides), S states.
    """

    name: str
    layer: int
    reverse: bool
    cell: dict[str, Any]  # the core's description of the cell
    net: Network
    setting: dict[str, Array]
    params: dict[str, Array]  # W_xh, W_hh, b_h, ... as the reference's cells call them
    lengths: NDArray[np.int64]  # (B,)
    x: Array  # (B, T, inputs)
    initial: Array  # (S, B, H)
    saved: Array  # (P, B, T, H)
    d_hidden: Array  # (B, T, H); where h is a function of the state, of that
    d_preactivations: Array  # (J, B, T, H)
    resets: NDArray[np.bool_] | None = None  # (B, T): the steps before which the state is `anew`
    anew: Array | None = None  # (S, H)

    @cached_property
    def exist(self) -> NDArray[np.bool_]:
        """(B, T): whether a sequence has such a step."""
        real: NDArray[np.bool_] = np.arange(self.x.shape[1]) < self.lengths[:, np.newaxis]
        return real

    @property
    def states(self) -> Array:
        """(S, B, T, H)."""
        given: int = self.cell["given"]
        return self.saved[given : given + len(self.initial)]

    @cached_property
    def before(self) -> Array:
        """(S, B, T, H): the states before each step."""
        before = np.zeros_like(self.states)
        rows = np.arange(len(self.lengths))
        if self.reverse:
            before[:, :, :-1] = self.states[:, :, 1:]
            before[:, rows, self.lengths - 1] = self.initial
        else:
            before[:, :, 1:] = self.states[:, :, :-1]
            before[:, :, 0] = self.initial
        if self.resets is not None and self.anew is not None:
            before[:, self.resets] = self.anew[:, np.newaxis]
        return before

    @cached_property
    def hidden_before(self) -> Array:
        """(B, T, H): what W_hh multiplies at each step."""
        return np.where(self.exist[:, :, np.newaxis], self.net.hidden(self.before), 0.0)

    def gates(self) -> dict[str, Array]:
        """Return gradients of the sums that the gates are computed from, (B, T, H) by gate."""
        names = self.cell["gate_names"]
        return {
            names[preactivation["gate"]]: self.d_preactivations[j]
            for j, preactivation in enumerate(self.cell["preactivations"])
            if preactivation["input"]
        }

    def weight_operands(self) -> dict[str, list[tuple[Array, Array, int]]]:
        """Return the operands of the weight gradients, by name: left, right, gate.

        Left is (B, T, rows of the matrix), right (B, T, H), of the block of columns of a gate.
        """
        found: dict[str, list[tuple[Array, Array, int]]] = {"W_xh": [], "W_hh": []}
        for j, preactivation in enumerate(self.cell["preactivations"]):
            right, gate, hidden = (
                self.d_preactivations[j],
                preactivation["gate"],
                preactivation["hidden"],
            )
            if preactivation["input"]:
                found["W_xh"].append((self.x, right, gate))
            if hidden is not None:
                left = self.hidden_before if hidden == "before" else self.saved[hidden]
                found["W_hh"].append((left, right, gate))
        return found


@dataclass(frozen=True)
class Record:
    """Record of the network: layer directions from the input upwards, and output gradients."""

    loss: float
    passes: tuple[PassRecord, ...]
    lengths: NDArray[np.int64]
    top: Array  # (B, T, D H): the readout's inputs at steps that have a loss; parts of pooled ones
    share: Array | None  # (B, T, D H): derivatives of the pooled states by those of each step
    d_outputs: tuple[Array, ...]  # for each direction (B, T, O): what `top` is multiplied by
    d_y: Array  # (B, T, O): gradients of the outputs, one of pooled states at the last step
    gradients: dict[str, Array]  # of the parameters
    read: Read  # the columns of top that the readout reads


def structure(spec: _core.Spec) -> Network:
    """Return what the reference needs of a network in prediction, with zoneout's expectation."""
    name = cell_info(spec.cell)["setting"]
    number = {} if name is None else {name: np.array(_options.shaped(spec))}
    zoneout = None
    if any(spec.zoneout):
        states = len(cell_info(spec.cell)["states"])
        zoneout = np.reshape(spec.zoneout[:states], (states, 1, 1, 1))  # of (S, B, T, H)
    return Network(spec.cell, spec.num_layers, spec.bidirectional, number, zoneout=zoneout)


def take(model: Recurrent, batch: _core.Batch, objective: _core.Objective) -> Record:
    """Do one forward and one backward pass, without dropout."""
    x, lengths, initial, steps = batch.x, batch.lengths, batch.initial, objective.steps
    spec, input_spec, dtype = model._spec, model._input_spec, model.dtype
    cell = {"name": spec.cell, **cell_info(spec.cell)}
    count, time = x.shape[:2]
    shape = (count, time, spec.hidden_size)
    arrays: dict[str, Any] = {
        "d_hidden": np.zeros((input_spec.rows, *shape), dtype),
        "d_gates": np.zeros((input_spec.rows, len(cell["preactivations"]), *shape), dtype),
        "saved": np.zeros((input_spec.rows, cell["saved"], *shape), dtype),
        "outputs": np.zeros((count, time if steps == "all" else 1, input_spec.width), dtype),
    }
    flat = np.empty(model.num_parameters, dtype)
    value = model._engine.loss_and_grad(
        batch, objective, _core.GradientTargets(flat), _core.Probes(**arrays)
    )
    whole = np.full(count, time) if lengths is None else lengths
    d_hidden, d_preactivations, saved, d_y = (
        arrays[name].astype(np.float64, copy=False) for name in arrays
    )
    values = dense({name: view.astype(np.float64) for name, view in model.parameters.items()})
    first = _first_states(model, initial, batch.static, count)
    exist = np.arange(time) < whole[:, np.newaxis]
    below = _input(model, x, exist, values)
    directions = 2 if spec.bidirectional else 1
    names = pass_names(spec.num_layers, spec.bidirectional)
    net = structure(spec)
    anew = None if batch.resets is None else _first_states(model, None, None, 1)[:, :, 0]
    passes: list[PassRecord] = []
    for i, name in enumerate(names):
        layer, direction = divmod(i, directions)
        if layer and direction == 0:
            below = np.concatenate([p.saved[0] for p in passes[-directions:]], axis=-1)
        own = {k: values[n] for k, n in net.names(layer, direction).items() if n in values}
        passes.append(
            PassRecord(
                name,
                layer,
                direction == 1,
                cell,
                net,
                net.setting(own, i),
                own,
                whole,
                below,
                first[:, i],
                saved[i],
                d_hidden[i],
                d_preactivations[i],
                batch.resets,
                None if anew is None else anew[:, i],
            )
        )
    top = np.concatenate([p.saved[0] for p in passes[-directions:]], axis=-1)
    share, d_end = None, d_y
    if steps != "all":
        ends = np.arange(time) == whole[:, np.newaxis] - 1
        d_end = np.where(ends[:, :, np.newaxis], d_y, 0.0)
    entering = [d_end] * directions
    if steps in POOLED:
        _, share = POOLED[steps](top, exist[:, :, np.newaxis])
        top = share * top
        entering = [np.broadcast_to(d_y, d_end.shape)] * directions
    elif steps == "last" and directions == 2:
        entering[1] = np.concatenate([d_y, np.zeros_like(d_end[:, 1:])], axis=1)
    gradients = {
        name: flat[start:stop].reshape(size).astype(np.float64)
        for name, (start, stop, size) in model._weights.layout.items()
    }
    read = model._read_columns
    return Record(value, tuple(passes), whole, top, share, tuple(entering), d_end, gradients, read)


def _first_states(model: Recurrent, initial: Any, static: Any, batch: int) -> Array:
    """States before the first step, (S, passes, B, H)."""
    if initial is not None and all(one is not None for one in initial):
        return np.stack([np.asarray(one, np.float64) for one in initial])
    state = model.initial_state(batch, static=static)
    own = state if isinstance(state, tuple) else (state,)
    given = own if initial is None else initial
    return np.stack(
        [
            np.asarray(before if one is None else one, np.float64)
            for one, before in zip(given, own, strict=True)
        ]
    )


def _input(model: Recurrent, x: Any, exist: NDArray[np.bool_], values: dict[str, Array]) -> Array:
    """Return the inputs of the first layer; zero after a sequence's end."""
    if model.vocabulary_size is not None:
        x = values["E"][np.where(exist, x, 0)]
    return np.where(exist[:, :, np.newaxis], x, 0.0).astype(np.float64)
