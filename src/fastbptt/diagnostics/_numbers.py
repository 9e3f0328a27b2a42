"""Norms of gradients over time, and the contribution of each step to the weight gradients."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ._record import Array, PassRecord, Record

#: A unit is saturated where abs(h) is above this.
SATURATED = 0.97

#: The largest matrix all of whose eigenvalues are computed, in some 0.1 s.
AT_ONCE = 256
#: Squarings of larger ones: the radius is good to ln(condition of the eigenvectors) / 2**DOUBLINGS.
DOUBLINGS = 34
#: Multiply-adds of one product, some 0.1 s.
MULTIPLY_ADDS = 1 << 30


def norms(values: Array, axes: tuple[int, ...]) -> Array:
    """Euclidean norms over some axes; squares neither over- nor underflow."""
    if values.size == 0:
        return np.zeros([n for i, n in enumerate(values.shape) if i not in axes])
    top = np.abs(values).max(axis=axes, keepdims=True)
    scale = np.where((top > 0) & np.isfinite(top), top, 1.0)
    root: Array = np.sqrt(np.square(values / scale).sum(axis=axes)) * scale.squeeze(axes)
    return root


def hidden_gradient(p: PassRecord, each: bool) -> Array:
    """Norms of dL/dh_t: (T,) over the batch, or (B, T)."""
    return norms(p.d_hidden, (2,) if each else (0, 2))


def gate_gradient(p: PassRecord, each: bool) -> dict[str, Array]:
    """Norms of the gates' gradients by gate."""
    axes = (2,) if each else (0, 2)
    return {name: norms(values, axes) for name, values in p.gates().items()}


def order(time: int, reverse: bool) -> range:
    """Steps in the order in which the gradient reaches them."""
    return range(time) if reverse else range(time - 1, -1, -1)


def outer(left: Array, right: Array, each: bool) -> Array:
    """Outer products of rows (B, M) and (B, N): their sum (M, N), or each, (B, M, N)."""
    return left[:, :, np.newaxis] * right[:, np.newaxis] if each else left.T @ right


def contributions(p: PassRecord, name: str, each: bool = False) -> Iterator[tuple[int, Array]]:
    """Yield, backward through time, each step and its contribution to dL/dW.

    Arrays are shaped like W, with `each` (B, *shape of W): the sum over b of
    (what W multiplies at step t)^T (gradient of the pre-activation at step t).
    """
    operands = p.weight_operands()[name]
    gates, hidden = len(p.cell["gate_names"]), p.d_hidden.shape[-1]
    batch, time, rows = operands[0][0].shape
    for t in order(time, p.reverse):
        step = np.zeros((batch, rows, gates, hidden) if each else (rows, gates, hidden))
        for left, right, gate in operands:
            part = step[..., gate, :]
            part += outer(left[:, t], right[:, t], each)
        yield t, step.reshape(*step.shape[:-2], gates * hidden)


def contribution(p: PassRecord, name: str, steps: slice) -> Array:
    """Sum the contributions of some steps of all sequences to dL/dW, shaped like W."""
    gates = len(p.cell["gate_names"])
    found = np.zeros((p.params[name].shape[0], gates, p.d_hidden.shape[-1]))
    for left, right, gate in p.weight_operands()[name]:
        found[:, gate] += np.tensordot(left[:, steps], right[:, steps], ((0, 1), (0, 1)))
    return found.reshape(p.params[name].shape)


def output_contributions(record: Record, each: bool = False) -> Iterator[tuple[int, Array]]:
    """The same for W_hy."""
    directions = len(record.d_outputs)
    halves = np.split(record.top, directions, axis=-1)
    for t in order(record.top.shape[1], False):
        parts = [
            outer(half[:, t], d_y[:, t], each)
            for half, d_y in zip(halves, record.d_outputs, strict=True)
        ]
        yield t, np.concatenate(parts, axis=-2)[..., record.read, :]


def sizes(steps: Iterator[tuple[int, Array]], time: int, batch: int | None) -> tuple[Array, Array]:
    """Norms of the steps' contributions, and of their running sums.

    batch: (B, T) instead of (T,).
    """
    shape = (time,) if batch is None else (batch, time)
    one, total = np.zeros(shape), np.zeros(shape)
    running: Array | None = None
    for t, step in steps:
        running = step if running is None else running + step
        one[..., t] = norms(step, (-2, -1))
        total[..., t] = norms(running, (-2, -1))
    return one, total


def mean(values: Array, exist: NDArray[np.bool_], each: bool) -> Array:
    """Mean over the units, and unless `each` over the sequences that have a step; 0 after all."""
    own = np.where(exist, values.mean(axis=-1), 0.0)
    if each:
        return own
    result: Array = own.sum(axis=0) / np.maximum(exist.sum(axis=0), 1)
    return result


def saturation(values: Array, exist: NDArray[np.bool_], each: bool) -> Array:
    """Fraction of the units beyond SATURATED."""
    return mean((np.abs(values) > SATURATED).astype(np.float64), exist, each)


def gate_activation(p: PassRecord, each: bool) -> dict[str, Array]:
    """Mean activation of the sigmoid gates, by gate."""
    names = p.cell["gate_names"]
    return {
        names[preactivation["gate"]]: mean(p.saved[preactivation["saved"]], p.exist, each)
        for preactivation in p.cell["preactivations"]
        if preactivation["is_sigmoid"]
    }


def spectral_radius(matrix: Array) -> float:
    """Largest modulus of the eigenvalues.

    Of a large matrix by repeated squaring (Gelfand's formula, the limit of the k-th root of the
    norm of the k-th power), because one call for all eigenvalues would keep Ctrl-C waiting.
    """
    size = len(matrix)
    if size <= AT_ONCE:
        return float(np.abs(np.linalg.eigvals(matrix)).max())
    rows, log, power = max(1, MULTIPLY_ADDS // size**2), 0.0, matrix
    for doubling in range(DOUBLINGS):
        top = float(np.abs(power).max())
        if top == 0.0:
            return 0.0
        log += math.log(top) / 2**doubling
        power = power / top
        power = np.concatenate([power[i : i + rows] @ power for i in range(0, size, rows)])
    return math.exp(log)


def spectral_radii(p: PassRecord) -> dict[str, float]:
    """Largest modulus of the eigenvalues of each gate's block of W_hh."""
    names = p.cell["gate_names"]
    blocks = np.split(p.params["W_hh"], len(names), axis=1)
    return {name: spectral_radius(block) for name, block in zip(names, blocks, strict=True)}


def content_gate(p: PassRecord) -> str:
    """Name the gate of the candidate state: the first that is not a sigmoid."""
    cell = p.cell
    name: str = next(
        cell["gate_names"][q["gate"]] for q in cell["preactivations"] if not q["is_sigmoid"]
    )
    return name
