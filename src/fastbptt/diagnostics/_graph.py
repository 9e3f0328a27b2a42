"""The network unrolled over one sequence as a graph: what flows back along each of its edges.

The core's record has the values and the gradient of each hidden state, which is given to the
backward pass of the cell's reference over that one step: it returns what leaves the step.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from .. import reference
from .._cell_info import cell_info
from .._errors import ArgumentError
from .._losses import LossLike
from ..models._options import refuse_zoneout
from ..models._weights import dense
from ._numbers import contribution, norms, order
from ._record import Array, PassRecord, Read, take
from .diagnosis import in_double

if TYPE_CHECKING:
    from ..models.recurrent import Recurrent

_CHUNK: Final = 256  # steps that are computed side by side

__all__ = ["Edge", "Growth", "Node", "Unrolled", "unroll"]


class Node(NamedTuple):
    """A quantity at a step.

    `kind` is ``"x"`` (the first layer's input), a state of the cell (``"h"``, ``"c"``), ``"a"``
    (what the gates of a cell with several states are computed from), ``"both"`` (the states of
    both directions side by side, which the next layer reads), ``"pool"`` (the top layer's hidden
    states pooled over the steps), ``"y"`` or ``"loss"``. Steps count from 1: the initial state is
    that of step 0, of the reverse direction that of step T + 1. ``"pool"``, its ``"y"`` and
    ``"loss"`` are of no step: 0.
    """

    kind: str
    step: int = 0
    layer: int = 0
    reverse: bool = False


class Edge(NamedTuple):
    """`above` is computed from `below`; `flow` is what this contributes to dL/d(below)."""

    below: Node
    above: Node
    weight: str  # the parameter on the way, or nothing
    flow: Array


class Growth(NamedTuple):
    """How the gradient of a weight grows: norms, by step."""

    contribution: dict[int, float]  # of the step
    running: dict[int, float]  # of the sum up to it, in the order in which the gradient arrives
    reverse: bool  # from the first step on


@dataclass
class _Pass:
    """One layer in one direction, with what flows into its states."""

    record: PassRecord  # of one sequence
    module: ModuleType  # the cell, of the reference
    names: dict[str, str]  # of its parameters in the model
    outside: Array  # (S, T, H): at each state, from other steps and from above
    total: Array  # (S, T, H): at each state, from everywhere

    def back(self, rows: slice, d_states: Array) -> dict[str, Array]:
        """Go back over single steps, side by side as a batch, given (S, steps, H)."""
        return _back(self.record, self.module, rows, d_states)

    def weights(self, steps: range) -> dict[str, Array]:
        """Return the sums of what some steps give to the gradients of the weights."""
        rows = slice(steps.start, steps.stop)
        return {name: contribution(self.record, name, rows) for name in ("W_hh", "W_xh")}


@dataclass
class Unrolled:
    """One sequence's forward and backward pass, from which `graph` takes steps.

    Attributes
    ----------
    loss : float
    time : int
    states : tuple of str
        The cell's states, h first.
    """

    loss: float
    time: int
    layers: int
    directions: int
    steps: str
    states: tuple[str, ...]
    passes: list[_Pass]
    readout: Array  # W_hy, with zeros for units that it does not read
    read: Read  # the columns of hidden that it reads
    hidden: Array  # (T, D H): the top layer's, their parts of pooled ones, or (1, D H), the last
    share: Array | None  # (T, D H): derivatives of the pooled states by those of each step
    outputs: Array  # (T, O), or (1, O): of one loss
    d_outputs: Array  # (T, O), or (1, O): what `hidden` is multiplied by

    def with_loss(self) -> list[int]:
        """Return the steps that have outputs of their own, with a loss."""
        if self.share is not None:
            return []
        return list(range(1, self.time + 1)) if self.steps == "all" else [self.time]

    def graph(self, steps: Collection[int]) -> tuple[dict[Node, Array], list[Edge]]:
        """Return the nodes of some steps with their values, and all edges that end in one of them.

        An edge that comes from the step before one of them has a node outside of `steps`. Of the
        edges into pooled states, those from these steps.
        """
        nodes: dict[Node, Array] = {Node("loss"): np.array([self.loss])}
        edges: list[Edge] = []
        for t in sorted(steps):
            nodes[Node("x", t)] = self.passes[0].record.x[0, t - 1]
            for layer in range(self.layers):
                for direction in range(self.directions):
                    self._step(layer, direction, t, nodes, edges)
                if self.directions == 2 and layer:
                    self._join(layer - 1, t, nodes, edges)
            if t in self.with_loss():
                self._output(t, nodes, edges)
        if self.share is not None:
            self._pooled(steps, self.share, nodes, edges)
        return nodes, edges

    def gradient(self, layer: int, reverse: bool) -> Array:
        """Return the norm of the gradient of a pass's whole state after each step, (T,)."""
        return norms(self.passes[layer * self.directions + reverse].total, (0, 2))

    def growth(self, steps: Collection[int]) -> dict[str, Growth]:
        """Return how each weight's gradient grows, at some steps.

        The top first: W_hy, then W_hh and W_xh of each layer and direction.
        """
        found = {"W_hy": self._grown(steps, False, self._readout_part, ("W_hy",))["W_hy"]}
        for layer in reversed(range(self.layers)):
            for direction in range(self.directions):
                p = self.passes[layer * self.directions + direction]
                grown = self._grown(steps, direction == 1, p.weights, ("W_hh", "W_xh"))
                found |= {p.names[name]: one for name, one in grown.items()}
        return found

    def _grown(
        self,
        steps: Collection[int],
        reverse: bool,
        part: Callable[[range], dict[str, Array]],
        names: tuple[str, ...],
    ) -> dict[str, Growth]:
        """Add up what the steps give to the gradients, in the order in which they arrive.

        `part` returns the sum of what some steps give, counted from 0.
        """
        grown = {name: Growth({}, {}, reverse) for name in names}
        sums: dict[str, Any] = dict.fromkeys(names, 0.0)
        done = 0 if reverse else self.time  # steps before this one, or from this one on
        for t in sorted(steps, reverse=not reverse):
            between = range(done, t - 1) if reverse else range(t, done)
            if between:
                some = part(between)
                sums = {name: sums[name] + some[name] for name in names}
            own = part(range(t - 1, t))
            done = t if reverse else t - 1
            for name, one in grown.items():
                sums[name] = sums[name] + own[name]
                one.contribution[t] = float(norms(own[name], (0, 1)))
                one.running[t] = float(norms(sums[name], (0, 1)))
        return grown

    def _readout_part(self, steps: range) -> dict[str, Array]:
        """Return what some steps give to dL/dW_hy: of a loss at the last step, it alone."""
        if self.steps == "last":
            rows = slice(None) if self.time - 1 in steps else slice(0)
        else:
            rows = slice(steps.start, steps.stop)
        return {"W_hy": self.hidden[rows][:, self.read].T @ self.d_outputs[rows]}

    def _step(
        self, layer: int, direction: int, t: int, nodes: dict[Node, Array], edges: list[Edge]
    ) -> None:
        p, k, reverse = self.passes[layer * self.directions + direction], t - 1, direction == 1
        earlier = t + 1 if reverse else t - 1
        if layer == 0:
            source = Node("x", t)
        else:
            source = Node("both" if self.directions == 2 else "h", t, layer - 1)
        after = [Node(kind, t, layer, reverse) for kind in self.states]
        before = [Node(kind, earlier, layer, reverse) for kind in self.states]
        nodes.update(zip(after, p.record.states[:, 0, k], strict=True))
        if earlier in (0, self.time + 1):
            nodes.update(zip(before, p.record.before[:, 0, k], strict=True))
        hidden = after[0]
        if len(after) > 1:
            hidden = Node("a", t, layer, reverse)
            nodes[hidden] = self._sums(p, k)
            within, gates = self._inside(p, k)
            edges += [Edge(hidden, node, "", part) for node, part in zip(after, gates, strict=True)]
            edges += [
                Edge(node, after[0], "", part)
                for node, part in zip(after[1:], within[1:], strict=True)
            ]
        into = p.back(slice(k, k + 1), p.outside[:, k : k + 1])
        into_before = into["initial"][:, 0]
        edges.append(Edge(source, hidden, p.names["W_xh"], into["x"][0, 0]))
        edges.append(Edge(before[0], hidden, p.names["W_hh"], into_before[0]))
        edges += [Edge(before[i], after[i], "", into_before[i]) for i in range(1, len(after))]

    def _sums(self, p: _Pass, k: int) -> Array:
        """Return the sums from which the gates are computed, (G H,)."""
        one, own = p.record, p.record.params
        bias = own.get("b_h", np.zeros(own["W_hh"].shape[1]))
        sums: Array = one.x[0, k] @ own["W_xh"] + one.before[0, 0, k] @ own["W_hh"] + bias
        return sums

    def _inside(self, p: _Pass, k: int) -> tuple[Array, list[Array]]:
        """Split a step of a cell with several states.

        Returns what the hidden state passes to the other states, (S, H), and what each state
        passes to the gates, (G H,) each.
        """

        def alone(i: int, part: Array) -> dict[str, Array]:
            d_states = np.zeros((len(p.total), 1, part.size))
            d_states[i, 0] = part
            return p.back(slice(k, k + 1), d_states)

        found = alone(0, p.total[0, k])
        within = found["states"][:, 0, 0].copy()
        gates = [found["b_h"]]
        for i in range(1, len(within)):
            gates[0] = gates[0] - alone(i, within[i])["b_h"]
            gates.append(alone(i, p.total[i, k])["b_h"])
        return within, gates

    def _join(self, layer: int, t: int, nodes: dict[Node, Array], edges: list[Edge]) -> None:
        """Add the node of both directions' states, from which the next layer has read."""
        both = Node("both", t, layer)
        states = [Node("h", t, layer, reverse) for reverse in (False, True)]
        nodes[both] = np.concatenate([nodes[node] for node in states])
        flow = np.sum([edge.flow for edge in edges if edge.below == both], axis=0)
        edges += [
            Edge(node, both, "", half) for node, half in zip(states, np.split(flow, 2), strict=True)
        ]

    def _output(self, t: int, nodes: dict[Node, Array], edges: list[Edge]) -> None:
        k = t - 1 if self.steps == "all" else 0
        y = Node("y", t)
        nodes[y] = self.outputs[k]
        edges.append(Edge(y, Node("loss"), "", self.d_outputs[k]))
        halves = np.split(self.readout @ self.d_outputs[k], self.directions)
        for direction, half in enumerate(halves):
            # At the end of a sequence the reverse direction has read it down to its first step.
            at = 1 if direction and self.steps == "last" else t
            edges.append(Edge(Node("h", at, self.layers - 1, direction == 1), y, "W_hy", half))

    def _pooled(
        self, steps: Collection[int], share: Array, nodes: dict[Node, Array], edges: list[Edge]
    ) -> None:
        """Add the pooled states, what reads them, and the edges from some steps."""
        pool, y = Node("pool"), Node("y")
        nodes[pool], nodes[y] = self.hidden.sum(axis=0), self.outputs[0]
        flow = self.readout @ self.d_outputs[0]
        edges.append(Edge(y, Node("loss"), "", self.d_outputs[0]))
        edges.append(Edge(pool, y, "W_hy", flow))
        for t in sorted(steps):
            halves = np.split(share[t - 1] * flow, self.directions)
            edges += [
                Edge(Node("h", t, self.layers - 1, direction == 1), pool, "", half)
                for direction, half in enumerate(halves)
            ]


def can_unroll(model: Recurrent) -> bool:
    """Tell whether there is a diagram of the model's cell."""
    return not cell_info(model.cell)["given"] and not any(model._spec.zoneout)


def unroll(
    model: Recurrent, x: Any, y: Any, loss: LossLike, steps: str, static: Any = None
) -> Unrolled:
    """Run one sequence, (1, T, I) or tokens (1, T), forward and backward in float64.

    Raises
    ------
    ValueError
        If anything is not finite.
    """
    if cell_info(model.cell)["given"]:
        raise ArgumentError(
            "model",
            f'has the cell "{model.cell}", which shows another number than its state',
            'a cell whose hidden state is a state, such as formulation="rate"',
        )
    refuse_zoneout(model._spec, "model", "the diagram has no path for it")
    twin = in_double(model, "float64")
    batch, objective = twin._checked(
        x, y, loss, steps, "mean", None, None, None, True, static=static
    )
    record = take(twin, batch, objective)
    spec = twin._spec
    net = reference.Network(spec.cell, spec.num_layers, spec.bidirectional)
    params = dense({name: np.asarray(v, np.float64) for name, v in twin.parameters.items()})
    time = len(record.top[0])
    hidden, d_outputs = record.top[0], record.d_outputs[0][0]
    if steps == "last":  # the reverse direction has read the sequence down to its first step
        ends = np.split(hidden, net.directions, axis=-1)
        hidden = np.concatenate([end[0 if d else -1] for d, end in enumerate(ends)])[np.newaxis]
        d_outputs = d_outputs[-1:]
    readout = np.zeros((hidden.shape[1], len(params["W_hy"].T)))
    readout[record.read] = params["W_hy"]
    share = None if record.share is None else record.share[0]
    seen = hidden if share is None else hidden.sum(axis=0, keepdims=True)
    found = Unrolled(
        record.loss,
        time,
        net.num_layers,
        net.directions,
        steps,
        tuple(net.module.STATES),
        [],
        readout,
        record.read,
        hidden,
        share,
        seen @ readout + params.get("b_y", 0.0),
        d_outputs,
    )
    for i, one in enumerate(record.passes):
        names = net.names(*divmod(i, net.directions))
        outside, total = _into_states(one, net.module)
        found.passes.append(_Pass(one, net.module, names, outside, total))
    return found


def _into_states(p: PassRecord, module: ModuleType) -> tuple[Array, Array]:
    """Return what flows into each state from outside of its step, and all of it: (S, T, H) each.

    The record has the gradient of h. Of the other states, what leaves them at each step for the
    step before it is linear in what enters them, unit by unit.
    """
    outside = np.zeros_like(p.states[:, 0])
    outside[0] = p.d_hidden[0]
    if len(outside) == 1:
        return outside, outside
    total, leaving, kept = (np.zeros_like(outside) for _ in range(3))
    time = outside.shape[1]
    for first in range(0, time, _CHUNK):
        rows = slice(first, min(first + _CHUNK, time))
        from_hidden = _back(p, module, rows, outside[:, rows])
        total[:, rows] = from_hidden["states"][:, :, 0]
        leaving[:, rows] = from_hidden["initial"]
        for i in range(1, len(outside)):
            ones = np.zeros_like(outside[:, rows])
            ones[i] = 1.0
            kept[i, rows] = _back(p, module, rows, ones)["initial"][i]
    carried = np.zeros_like(outside[1:, 0])
    for k in order(time, p.reverse):
        outside[1:, k] = carried
        carried = leaving[1:, k] + kept[1:, k] * carried
    total[1:] += outside[1:]
    return outside, total


def _back(p: PassRecord, module: ModuleType, rows: slice, d_states: Array) -> dict[str, Array]:
    """Go back over single steps, side by side as a batch, given (S, steps, H)."""
    found: dict[str, Array] = module.backward(
        p.params,
        p.x[0, rows, np.newaxis],
        p.before[:, 0, rows],
        p.states[:, 0, rows, np.newaxis],
        d_states[:, :, np.newaxis],
        **p.setting,
    )
    return found
