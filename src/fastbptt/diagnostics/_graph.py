"""The network unrolled over one sequence as a graph: what flows back along each of its edges.

The reference's cells compute all of it: the gradient that arrives at a step is given to the
cell's backward pass over that one step, which returns what leaves it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import reference
from .._losses import LossLike
from ._numbers import norms
from .diagnosis import in_double

if TYPE_CHECKING:
    from ..models.recurrent import Recurrent

Array = NDArray[np.float64]

_CHUNK: Final = 256  # steps that are computed side by side

__all__ = ["Edge", "Growth", "Node", "Unrolled", "unroll"]


class Node(NamedTuple):
    """A quantity at a step.

    `kind` is ``"x"`` (the first layer's input), a state of the cell (``"h"``, ``"c"``), ``"a"``
    (what the gates of a cell with several states are computed from), ``"both"`` (the states of
    both directions side by side, which the next layer reads), ``"y"`` or ``"loss"``. Steps count
    from 1: the initial state is that of step 0, of the reverse direction that of step T + 1.
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
    """One layer in one direction, with arrays in the order of the sequence."""

    module: Any
    own: dict[str, Array]
    names: dict[str, str]
    setting: dict[str, float]
    x: Array  # (T, inputs)
    before: Array  # (S, T, H)
    states: Array  # (S, T, H)
    arrives: Array  # (T, H): at h from above
    outside: Array  # (S, T, H): at each state, from other steps and from above
    total: Array  # (S, T, H): at each state, from everywhere
    into_x: Array  # (T, inputs)
    into_before: Array  # (S, T, H)


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
    readout: Array  # W_hy
    hidden: Array  # (T, D H): the top layer's, or (1, D H), what the readout sees
    outputs: Array  # (T, O), or (1, O): of the loss at the last step
    d_outputs: Array  # the same shape

    def with_loss(self) -> list[int]:
        """Return the steps that have a loss."""
        return list(range(1, self.time + 1)) if self.steps == "all" else [self.time]

    def graph(self, steps: Collection[int]) -> tuple[dict[Node, Array], list[Edge]]:
        """Return the nodes of some steps with their values, and all edges that end in one of them.

        An edge that comes from the step before one of them has a node outside of `steps`.
        """
        nodes: dict[Node, Array] = {Node("loss"): np.array([self.loss])}
        edges: list[Edge] = []
        for t in sorted(steps):
            nodes[Node("x", t)] = self.passes[0].x[t - 1]
            for layer in range(self.layers):
                for direction in range(self.directions):
                    self._step(layer, direction, t, nodes, edges)
                if self.directions == 2 and layer < self.layers - 1:
                    self._join(layer, t, nodes, edges)
            if t in self.with_loss():
                self._output(t, nodes, edges)
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
                names = ("W_hh", "W_xh")
                grown = self._grown(steps, direction == 1, partial(_weights, p), names)
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
            for first in range(between.start, between.stop, _CHUNK):
                some = part(range(first, min(first + _CHUNK, between.stop)))
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
        return {"W_hy": self.hidden[rows].T @ self.d_outputs[rows]}

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
        nodes.update(zip(after, p.states[:, k], strict=True))
        if earlier in (0, self.time + 1):
            nodes.update(zip(before, p.before[:, k], strict=True))
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
        edges.append(Edge(source, hidden, p.names["W_xh"], p.into_x[k]))
        edges.append(Edge(before[0], hidden, p.names["W_hh"], p.into_before[0, k]))
        edges += [Edge(before[i], after[i], "", p.into_before[i, k]) for i in range(1, len(after))]

    def _sums(self, p: _Pass, k: int) -> Array:
        """Return the sums from which the gates are computed, (G H,)."""
        bias = p.own.get("b_h", np.zeros(p.own["W_hh"].shape[1]))
        sums: Array = p.x[k] @ p.own["W_xh"] + p.before[0, k] @ p.own["W_hh"] + bias
        return sums

    def _inside(self, p: _Pass, k: int) -> tuple[Array, list[Array]]:
        """Split a step of a cell with several states.

        Returns what the hidden state passes to the other states, (S, H), and what each state
        passes to the gates, (G H,) each.
        """

        def gates_of(part: Array) -> dict[str, Array]:
            return _one_step(p, k, part)

        zero = np.zeros_like(p.total[:, k])
        alone = zero.copy()
        alone[0] = p.total[0, k]
        found = gates_of(alone)
        within = found["states"][:, 0, 0].copy()
        within[0] = 0.0
        gates = [found["b_h"] - gates_of(within)["b_h"]]
        for i in range(1, len(zero)):
            part = zero.copy()
            part[i] = p.total[i, k]
            gates.append(gates_of(part)["b_h"])
        return within, gates

    def _join(self, layer: int, t: int, nodes: dict[Node, Array], edges: list[Edge]) -> None:
        """Add the node of both directions' states, from which the next layer reads."""
        both = Node("both", t, layer)
        nodes[both] = np.concatenate([nodes[Node("h", t, layer, d == 1)] for d in (0, 1)])
        edges += [
            Edge(Node("h", t, layer, d == 1), both, "", self.passes[2 * layer + d].arrives[t - 1])
            for d in (0, 1)
        ]

    def _output(self, t: int, nodes: dict[Node, Array], edges: list[Edge]) -> None:
        k = t - 1 if self.steps == "all" else 0
        y = Node("y", t)
        nodes[y] = self.outputs[k]
        edges.append(Edge(y, Node("loss"), "", self.d_outputs[k]))
        for direction in range(self.directions):
            # At the end of a sequence the reverse direction has read it down to its first step.
            at = 1 if direction and self.steps == "last" else t
            top = self.passes[len(self.passes) - self.directions + direction]
            h = Node("h", at, self.layers - 1, direction == 1)
            edges.append(Edge(h, y, "W_hy", top.arrives[at - 1]))


def unroll(model: Recurrent, x: Any, y: Any, loss: LossLike, steps: str) -> Unrolled:
    """Run one sequence, (1, T, I) or tokens (1, T), forward and backward in float64."""
    twin = in_double(model, "float64")
    twin.loss_and_grad(x, y, loss, steps, training=False)  # refuses what is not finite
    spec = twin._spec
    params = {name: np.asarray(value, np.float64) for name, value in twin.parameters.items()}
    module = reference.CELLS[spec.cell]
    network: dict[str, Any] = {
        "cell": spec.cell,
        "num_layers": spec.num_layers,
        "bidirectional": spec.bidirectional,
        "settings": dict.fromkeys(module.SETTING, spec.setting),
    }
    net = reference.Network(**network)
    out = reference.forward(params, np.asarray(x), **network)
    read = out.last[:, np.newaxis] if steps == "last" else out.outputs
    value, d_read = reference.apply_loss(read, np.asarray(y), loss, steps)
    time = out.hidden.shape[1]
    found = Unrolled(
        value,
        time,
        net.num_layers,
        net.directions,
        steps,
        tuple(module.STATES),
        [],
        params["W_hy"],
        _read_by(out, net.directions, steps),
        read[0],
        d_read[0],
    )
    arrives = _from_outputs(found, net.directions)
    for layer in reversed(range(net.num_layers)):
        passes = []
        for direction in range(net.directions):
            k = net.directions * layer + direction
            names = net.names(layer, direction)
            own = {name: params[full] for name, full in names.items() if full in params}
            shape = (len(module.STATES), len(params["W_hh"]))
            initial = np.zeros(shape)
            for i, name in enumerate(net.initial_names):
                if name in params:
                    initial[i] = params[name][k]
            states = out.states[k][:, 0]
            before = np.empty_like(states)
            if direction:
                before[:, -1], before[:, :-1] = initial, states[:, 1:]
            else:
                before[:, 0], before[:, 1:] = initial, states[:, :-1]
            one = _Pass(
                module,
                own,
                names,
                net.setting,
                np.asarray(out.inputs[layer][0], np.float64),
                before,
                states,
                arrives[direction],
                np.zeros_like(states),
                np.zeros_like(states),
                np.zeros(out.inputs[layer][0].shape),
                np.zeros_like(states),
            )
            _back(one, direction == 1)
            passes.append(one)
        found.passes[:0] = passes
        if layer:
            below: Array = np.sum([one.into_x for one in passes], axis=0)
            arrives = np.split(below, net.directions, axis=-1)
    return found


def _from_outputs(found: Unrolled, directions: int) -> list[Array]:
    """Return what the outputs pass to each direction's hidden states, (T, H) each."""
    halves = np.split(found.d_outputs @ found.readout.T, directions, axis=-1)
    if found.steps == "all":
        return halves
    arrives = [np.zeros((found.time, half.shape[1])) for half in halves]
    for direction, half in enumerate(halves):
        arrives[direction][0 if direction else -1] = half[0]
    return arrives


def _read_by(out: reference.Forward, directions: int, steps: str) -> Array:
    """Return the states that the readout sees: of all steps, or each direction's final one."""
    if steps == "all":
        return np.asarray(out.hidden[0], np.float64)
    ends = np.split(out.hidden[0], directions, axis=-1)
    return np.concatenate([end[0 if d else -1] for d, end in enumerate(ends)])[np.newaxis]


def _one_step(p: _Pass, k: int, d_states: Array) -> dict[str, Array]:
    """Go back over one step, given the gradients that arrive at its states, (S, H)."""
    return _steps(p, slice(k, k + 1), d_states[:, np.newaxis])


def _weights(p: _Pass, steps: range) -> dict[str, Array]:
    """Return the sums of what some steps give to the gradients of the weights."""
    rows = slice(steps.start, steps.stop)
    return _steps(p, rows, p.outside[:, rows])


def _steps(p: _Pass, rows: slice, d_states: Array) -> dict[str, Array]:
    """Go back over single steps, side by side as a batch, given (S, steps, H)."""
    found: dict[str, Array] = p.module.backward(
        p.own,
        p.x[rows, np.newaxis],
        p.before[:, rows],
        p.states[:, rows, np.newaxis],
        d_states[:, :, np.newaxis],
        **p.setting,
    )
    return found


def _back(p: _Pass, reverse: bool) -> None:
    """Go back over all steps of a pass; fill in what arrives and what leaves."""
    time = len(p.x)
    carried = np.zeros_like(p.states[:, 0])
    for k in range(time) if reverse else reversed(range(time)):
        given = p.outside[:, k]
        given[:] = carried
        given[0] += p.arrives[k]
        found = _one_step(p, k, given)
        p.total[:, k] = found["states"][:, 0, 0] if len(given) > 1 else given
        p.into_x[k] = found["x"][0, 0]
        carried = p.into_before[:, k] = found["initial"][:, 0]
