"""What flows back through a network, step by step, by its definition: from the reference alone.

The gradient of a state is that of the rest of the sequence with respect to its initial state; what
a step adds to a gradient is that of a sequence of one step.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any
from unittest import mock

import numpy as np
from cases import Array, Case, Problem, padding_of
from networks import clean

from fastbptt import reference


@dataclass
class Flow:
    """One layer and direction, in the steps of the input; zero after a sequence's end."""

    own: dict[str, Array]
    setting: dict[str, float]
    lengths: Array
    reverse: bool
    x: Array  # (B, T, inputs), in the order of the pass, like the next two
    initial: Array  # (S, B, H)
    states: Array  # (S, B, T, H)
    d_hidden: Array  # (B, T, H)
    d_gates: Array  # (B, T, G H)
    added: dict[str, Array]  # W_xh, W_hh: (B, T, *shape)


def by_definition(case: Case, problem: Problem) -> list[Flow]:
    """The flow of each layer and direction, first layer first."""
    module = reference.CELLS[case.cell]
    real, calls = module.backward, []

    def spy(*args: Any, **setting: float) -> dict[str, Array]:
        calls.append((args, setting))
        return real(*args, **setting)

    x = clean(case, problem)
    with mock.patch.object(module, "backward", spy):
        reference.loss_and_grad(
            problem.params, x, problem.y, **problem.loss_args, **problem.network
        )
    rows, starts, lengths = episodes(case, problem)
    flows = {}
    for i, (args, setting) in enumerate(calls):
        layer, direction = case.num_layers - 1 - i // case.directions, i % case.directions
        flow = _flow(real, args, setting, lengths, direction == 1)
        flows[layer, direction] = _placed(flow, case, rows, starts) if case.has_resets else flow
    return [flows[key] for key in sorted(flows)]


def episodes(case: Case, problem: Problem) -> tuple[list[int], list[int], Array]:
    """Row, first step and length of each episode: without resets all of a sequence is one."""
    ends = [case.T] * case.B if problem.lengths is None else problem.lengths.tolist()
    found = []
    for b, end in enumerate(ends):
        marks = [] if problem.resets is None else np.flatnonzero(problem.resets[b, 1:end]) + 1
        starts = [0, *(int(t) for t in marks)]
        found += [(b, t, stop - t) for t, stop in zip(starts, [*starts[1:], end], strict=True)]
    return [b for b, _, _ in found], [t for _, t, _ in found], np.array([n for *_, n in found])


def _placed(flow: Flow, case: Case, rows: list[int], starts: list[int]) -> Flow:
    """The gradients of episodes where these are; inputs and states stay as they are."""

    def put(values: Array) -> Array:
        whole = np.zeros((case.B, case.T, *values.shape[2:]))
        for value, b, t, length in zip(values, rows, starts, flow.lengths, strict=True):
            whole[b, t : t + length] = value[:length]
        return whole

    added = {name: put(values) for name, values in flow.added.items()}
    return replace(flow, d_hidden=put(flow.d_hidden), d_gates=put(flow.d_gates), added=added)


def _flow(
    backward: Any, args: tuple[Any, ...], setting: dict[str, float], lengths: Array, reverse: bool
) -> Flow:
    own, x, initial, states, d_states = args
    batch, time = x.shape[:2]
    hidden = states.shape[-1]
    d_hidden = np.zeros((batch, time, hidden))
    d_gates = np.zeros((batch, time, own["W_hh"].shape[1]))
    added = {name: np.zeros((batch, time, *own[name].shape)) for name in ("W_xh", "W_hh")}
    for b in range(batch):
        for k in range(lengths[b]):
            total = d_states[:, b : b + 1, k]
            if k + 1 < lengths[b]:
                rest = slice(k + 1, lengths[b])
                total = (
                    total
                    + backward(
                        own,
                        x[b : b + 1, rest],
                        states[:, b : b + 1, k],
                        states[:, b : b + 1, rest],
                        d_states[:, b : b + 1, rest],
                        **setting,
                    )["initial"]
                )
            before = states[:, b : b + 1, k - 1] if k else initial[:, b : b + 1]
            one = slice(k, k + 1)
            found = backward(
                own,
                x[b : b + 1, one],
                before,
                states[:, b : b + 1, one],
                total[:, :, np.newaxis],
                **setting,
            )
            t = lengths[b] - 1 - k if reverse else k
            d_hidden[b, t], d_gates[b, t] = total[0, 0], found["b_h"]
            for name in added:
                added[name][b, t] = found[name]
    return Flow(own, setting, lengths, reverse, x, initial, states, d_hidden, d_gates, added)


def padded(case: Case, problem: Problem) -> Array:
    """(B, T): the steps after a sequence's end."""
    return padding_of(case, problem.lengths)
