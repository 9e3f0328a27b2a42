"""What flows along each edge of the unrolled network: against definitions, not against itself."""

from __future__ import annotations

import itertools
from collections import defaultdict
from typing import Any

import numpy as np
import pytest
from cases import CELLS, Array, Case, sampled
from flows import by_definition
from networks import both

from fastbptt import _core, reference
from fastbptt.diagnostics._graph import Edge, Node, Unrolled, unroll

DRAWN = [one for one in CELLS if not _core.cell_info(one)["given"]]

STEP = 1e-30
LIMIT = 1e-9

CASES = [
    Case(1, 5, 3, 4, 2, cell=cell, num_layers=layers, bidirectional=two, loss=loss, steps=steps,
         seed=seed, learn_initial_state=bool(seed % 2))
    for seed, (cell, layers, two, (loss, steps)) in enumerate(
        itertools.product(
            DRAWN,
            (1, 2, 3),
            (False, True),
            (
                ("mse", "last"),
                ("bce", "all"),
                ("cross_entropy", "all"),
                ("huber", "last"),
                ("mse", "mean"),
                ("cross_entropy", "max"),
            ),
        )
    )
]  # fmt: skip


def close(got: Any, wanted: Any, scale: float = 0.0) -> None:
    top = max(float(np.abs(wanted).max()), scale)
    np.testing.assert_allclose(got, wanted, rtol=0, atol=LIMIT * top)


def sums(edges: list[Edge]) -> dict[Node, Array]:
    """What enters each node, as a vector."""
    found: dict[Node, Array] = defaultdict(lambda: np.zeros(1))
    for edge in edges:
        found[edge.below] = found[edge.below] + edge.flow
    return found


def flow(edges: list[Edge], below: Node, above: Node) -> Array:
    (one,) = (edge.flow for edge in edges if (edge.below, edge.above) == (below, above))
    return one


def weight_of(edge: Edge, network: reference.Network) -> str:
    """The parameter between two nodes."""
    below, above = edge.below, edge.above
    if above.kind == "y":
        return "W_hy"
    if above.kind in ("loss", "both", "pool") or below.kind in ("a", "c") or above.kind == "c":
        return ""
    across = below.kind == "h" and below.layer == above.layer
    return network.names(above.layer, int(above.reverse))["W_hh" if across else "W_xh"]


@pytest.mark.parametrize("case", sampled(CASES, 12), ids=str)
def test_what_enters_a_node_adds_up_to_its_gradient(case: Case) -> None:
    model, problem = both(case)
    found = unroll(model, problem.x, problem.y, case.loss, case.steps)
    nodes, edges = found.graph(range(1, case.T + 1))
    total = sums(edges)
    value, grads = reference.loss_and_grad(
        problem.params, problem.x, problem.y, **problem.loss_args, **problem.network
    )
    assert found.loss == pytest.approx(value, rel=1e-12)
    for t in range(case.T):
        close(total[Node("x", t + 1)], grads["x"][0, t])
    for i, wanted in enumerate(by_definition(case, problem)):
        layer, direction = divmod(i, case.directions)
        reverse = direction == 1
        for t in range(case.T):
            close(total[Node("h", t + 1, layer, reverse)], wanted.d_hidden[0, t])
        first = case.T + 1 if reverse else 0
        for name in found.states:
            got = total[Node(name, first, layer, reverse)]
            close(got, grads[f"{name}0"].reshape(-1, case.H)[i])
        for kind, size in (("W_xh", found.growth), ("W_hh", found.growth)):
            name = reference.Network(**problem.network).names(layer, direction)[kind]
            one = size(range(1, case.T + 1))[name]
            added = wanted.added[kind][0]
            order = range(case.T) if reverse else range(case.T - 1, -1, -1)
            running = np.zeros_like(added[0])
            for t in order:
                running = running + added[t]
                close(one.contribution[t + 1], np.linalg.norm(added[t]))
                close(one.running[t + 1], np.linalg.norm(running), np.linalg.norm(added[t]))
            close(one.running[order[-1] + 1], np.linalg.norm(grads[name]))
    out = reference.forward(problem.params, problem.x, **problem.network)
    for t in range(case.T):
        np.testing.assert_array_equal(nodes[Node("x", t + 1)], problem.x[0, t])
        for i, states in enumerate(out.states[:, :, 0, t]):
            layer, direction = divmod(i, case.directions)
            for name, state in zip(found.states, states, strict=True):
                close(nodes[Node(name, t + 1, layer, direction == 1)], state)
    for edge in edges:
        assert edge.weight == weight_of(edge, reference.Network(**problem.network)), edge[:2]
    readout = found.growth([1, case.T])["W_hy"]
    close(readout.running[1], np.linalg.norm(grads["W_hy"]))
    assert set(total) <= set(nodes), "no flow into nowhere"
    for node, value in nodes.items():
        if node.kind not in ("loss",):
            assert total[node].shape == value.shape, node


@pytest.mark.parametrize("case", sampled(CASES, 24), ids=str)
def test_a_few_steps_show_what_all_steps_show(case: Case) -> None:
    model, problem = both(case)
    found = unroll(model, problem.x, problem.y, case.loss, case.steps)
    nodes, edges = found.graph(range(1, case.T + 1))
    some_nodes, some = found.graph([1, 4])
    every = {(edge.below, edge.above): edge for edge in edges}
    for edge in some:
        np.testing.assert_array_equal(edge.flow, every[edge.below, edge.above].flow)
        assert edge.above.step in (0, 1, 4), "loss and pooled states are of no step"
    for node, value in some_nodes.items():
        np.testing.assert_array_equal(value, nodes[node])
    few, whole = found.growth([1, 3, case.T]), found.growth(range(1, case.T + 1))
    for name, one in few.items():
        for t in (1, 3, case.T):
            assert one.running[t] == pytest.approx(whole[name].running[t], rel=1e-12)
            assert one.contribution[t] == pytest.approx(whole[name].contribution[t], rel=1e-12)


# ---------------------------------------------------------------- each edge by the complex step


def single(cell: str, steps: str) -> tuple[Case, Any, Unrolled]:
    case = Case(1, 4, 2, 3, 2, cell=cell, loss="mse", steps=steps, seed=5, learn_initial_state=True)
    model, problem = both(case)
    return case, problem, unroll(model, problem.x, problem.y, "mse", steps)


def rest_of(problem: Any, steps: str, first: int, state: list[Array]) -> complex:
    """The loss of the steps from `first` on (counted from 1), from a given state before it."""
    x = problem.x[:, first - 1 :]
    h0 = tuple(one[np.newaxis, np.newaxis] for one in state)
    y = problem.y if steps == "last" else problem.y[:, first - 1 :]
    share = 1.0 if steps == "last" else x.shape[1] / problem.x.shape[1]  # of the mean
    value = reference.loss_only(
        problem.params, x, y, "mse", steps, h0=h0 if len(h0) > 1 else h0[0], **problem.network
    )
    return share * value


@pytest.mark.parametrize("steps", ["last", "all"])
@pytest.mark.parametrize("cell", DRAWN)
def test_the_flow_from_the_next_step_is_the_derivative_of_the_rest(cell: str, steps: str) -> None:
    case, problem, found = single(cell, steps)
    nodes, edges = found.graph(range(1, case.T + 1))
    for t in range(1, case.T + 1):
        state = [nodes[Node(name, t - 1)] for name in found.states]
        for i, name in enumerate(found.states):
            above = Node(name if i else ("a" if len(state) > 1 else "h"), t)
            wanted = np.zeros(case.H)
            for j in range(case.H):
                moved = [one.astype(complex) for one in state]
                moved[i][j] += STEP * 1j
                wanted[j] = rest_of(problem, steps, t, moved).imag / STEP
            close(flow(edges, Node(name, t - 1), above), wanted)
    counted = range(1, case.T + 1) if steps == "all" else [case.T]
    for t in counted:
        dy = flow(edges, Node("y", t), Node("loss"))
        close(flow(edges, Node("h", t), Node("y", t)), problem.params["W_hy"] @ dy)


@pytest.mark.parametrize("steps", ["last", "all"])
@pytest.mark.parametrize("t", [1, 2, 4])
def test_the_flows_within_a_step_of_an_lstm(t: int, steps: str) -> None:
    """c = f c' + i g and h = o tanh(c), one path moved at a time."""
    case, problem, found = single("lstm", steps)
    nodes, edges = found.graph(range(1, case.T + 1))
    a, before = nodes[Node("a", t)], nodes[Node("c", t - 1)]

    def after(h: Array, c: Array) -> complex:
        value: Any = 0.0
        if steps == "all" or t == case.T:
            y = problem.y if steps == "last" else problem.y[:, t - 1]
            z = h @ problem.params["W_hy"] + problem.params["b_y"]
            value = ((z - y) ** 2).mean() / (case.T if steps == "all" else 1)
        return value + (rest_of(problem, steps, t + 1, [h, c]) if t < case.T else 0.0)

    def parts(a: Array) -> tuple[Array, Array]:
        i, f, g, o = np.split(a, 4)
        gate = reference.CELLS["lstm"].sigmoid
        return gate(f) * before + gate(i) * np.tanh(g), gate(o)

    c, o = parts(a)
    close(nodes[Node("c", t)], c)
    close(nodes[Node("h", t)], o * np.tanh(c))
    h = o * np.tanh(c)

    def derivative(size: int, function: Any) -> Array:
        return np.array([function(STEP * 1j * np.eye(size)[j]).imag / STEP for j in range(size)])

    gates, cell, hidden = Node("a", t), Node("c", t), Node("h", t)
    wanted = derivative(12, lambda d: after(parts(a + d)[1] * np.tanh(c), c))
    close(flow(edges, gates, hidden), wanted)
    assert not wanted[:9].any()
    wanted = derivative(12, lambda d: after(o * np.tanh(parts(a + d)[0]), parts(a + d)[0]))
    close(flow(edges, gates, cell), wanted)
    assert not wanted[9:].any()
    close(flow(edges, cell, hidden), derivative(3, lambda d: after(o * np.tanh(c + d), c)))
    if t < case.T:
        close(flow(edges, cell, Node("c", t + 1)), derivative(3, lambda d: after(h, c + d)))
    for weight, below in (("W_xh", Node("x", t)), ("W_hh", Node("h", t - 1))):
        close(flow(edges, below, gates), problem.params[weight] @ sums(edges)[gates])
    close(sums(edges)[cell], derivative(3, lambda d: after(o * np.tanh(c + d), c + d)))


@pytest.mark.parametrize("both_ways", [False, True])
@pytest.mark.parametrize("steps", reference.POOLED)
@pytest.mark.parametrize("cell", ["relu", "lstm"])
def test_the_flow_from_pooled_states_is_the_derivative_of_what_reads_them(
    cell: str, steps: str, both_ways: bool
) -> None:
    case = Case(1, 4, 2, 3, 2, cell=cell, bidirectional=both_ways, loss="mse", steps=steps, seed=5)
    model, problem = both(case)
    nodes, edges = unroll(model, problem.x, problem.y, "mse", steps).graph(range(1, 5))
    hidden = reference.forward(problem.params, problem.x, **problem.network).hidden
    pooled, _ = reference.POOLED[steps](hidden, np.ones((1, 4, 1), bool))
    close(nodes[Node("pool")], pooled[0])

    def loss(states: Array) -> complex:
        seen, _ = reference.POOLED[steps](states, np.ones((1, 4, 1), bool))
        z = seen @ problem.params["W_hy"] + problem.params["b_y"]
        return complex(((z - problem.y) ** 2).mean())

    for t in range(4):
        wanted = np.zeros(hidden.shape[-1])
        for j in range(wanted.size):
            moved = hidden.astype(complex)
            moved[0, t, j] += STEP * 1j
            wanted[j] = loss(moved).imag / STEP
        for reverse, half in enumerate(np.split(wanted, case.directions)):
            below = Node("h", t + 1, 0, reverse == 1)
            close(flow(edges, below, Node("pool")), half, float(np.abs(wanted).max()))
    dy = flow(edges, Node("y"), Node("loss"))
    close(flow(edges, Node("pool"), Node("y")), problem.params["W_hy"] @ dy)


def test_where_two_flows_enter_they_differ_from_their_sum() -> None:
    """The fault of the first diagram: both arrows had the norm of the sum."""
    _, _, found = single("rnn", "all")
    _, edges = found.graph([2, 3])
    h = Node("h", 2)
    from_y, from_next = flow(edges, h, Node("y", 2)), flow(edges, h, Node("h", 3))
    total = np.linalg.norm(from_y + from_next)
    for one in (from_y, from_next):
        assert abs(np.linalg.norm(one) - total) > 1e-3 * total


@pytest.mark.parametrize("cell", DRAWN)
@pytest.mark.parametrize("steps", ["last", "all"])
def test_in_two_directions_each_reads_the_input(cell: str, steps: str) -> None:
    """With one direction's readout off, all of dL/dx comes through the other one."""
    case = Case(1, 4, 2, 3, 1, cell=cell, bidirectional=True, loss="mse", steps=steps, seed=3)
    model, problem = both(case)
    state = model.state_dict()
    state["W_hy"][:3] = 0.0
    model.load_state_dict(state)
    found = unroll(model, problem.x, problem.y, "mse", steps)
    _, edges = found.graph(range(1, 5))
    entry = "a" if len(found.states) > 1 else "h"
    for t in range(1, 5):
        assert not flow(edges, Node("x", t), Node(entry, t)).any()
        assert flow(edges, Node("x", t), Node(entry, t, 0, True)).any()
