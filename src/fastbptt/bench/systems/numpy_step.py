"""NumPy, as somebody who knows it well would write it for speed.

Time is the first axis, so each step is contiguous; the input's products of all steps, the readout
and each weight gradient are one matrix product; every array is allocated once; parameters,
gradients and moments lie in flat arrays, so that Adam is a few operations in place.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbptt.bench.case import TIMED_LR, Problem
from fastbptt.bench.systems import System, Variants

Array = NDArray[Any]


class NumPy(System):
    """A tanh RNN trained by backpropagation through time."""

    def __init__(self, problem: Problem) -> None:
        case = problem.case
        B, T, I, H, O = case.batch, case.time, case.input, case.hidden, case.output
        dtype = np.dtype(case.dtype)
        params = problem.params
        self.loss_name, self.all_steps = case.loss, case.steps == "all"
        self.theta: Array = np.concatenate([value.ravel() for value in params.values()])
        self.grad, self.m, self.v, self.work = (np.zeros_like(self.theta) for _ in range(4))
        self.p, self.g = (_views(flat, params) for flat in (self.theta, self.grad))
        self.count = 0

        self.x = np.ascontiguousarray(problem.x.swapaxes(0, 1)).reshape(T * B, I)
        self.z = np.empty((T, B, H), dtype)  # input's part of the pre-activation, then of dz
        self.h = np.zeros((T + 1, B, H), dtype)
        self.dh = np.zeros((T, B, H), dtype)
        self.slope = np.empty((T, B, H), dtype)
        self.product = np.empty((B, H), dtype)
        if self.all_steps:
            self.y = np.ascontiguousarray(problem.y.swapaxes(0, 1))
            self.y = self.y.reshape(T * B, *self.y.shape[2:])
            self.weight = problem.step_weights.T.reshape(T * B, 1)
        else:
            self.y = problem.y
            self.weight = problem.step_weights[:, np.newaxis]
        self.last = problem.last
        self.rows = np.arange(len(self.y))
        self.sequences = np.arange(B)
        self.scale = self.weight if case.loss == "cross_entropy" else self.weight / O

    def forward(self) -> tuple[Array, Array]:
        """Fill the states; return those that the loss sees, and the outputs."""
        p, z, h, product = self.p, self.z, self.h, self.product
        T, B, H = z.shape
        np.matmul(self.x, p["W_xh"], out=z.reshape(T * B, H))
        z += p["b_h"]
        W_hh = p["W_hh"]
        np.tanh(z[0], out=h[1])
        for t in range(1, T):
            np.matmul(h[t], W_hh, out=product)
            np.add(product, z[t], out=product)
            np.tanh(product, out=h[t + 1])
        seen = h[1:].reshape(T * B, H) if self.all_steps else h[self.last + 1, self.sequences]
        return seen, seen @ p["W_hy"] + p["b_y"]

    def loss(self, outputs: Array) -> tuple[float, Array]:
        """Return the loss and its gradient by the outputs."""
        y, scale = self.y, self.scale
        if self.loss_name == "mse":
            error = outputs - y
            return float(np.sum(error * error * scale)), 2 * error * scale
        if self.loss_name == "bce":
            losses = np.logaddexp(0, outputs) - y * outputs
            return float(np.sum(losses * scale)), (0.5 + 0.5 * np.tanh(outputs / 2) - y) * scale
        shifted = outputs - outputs.max(axis=1, keepdims=True)
        power = np.exp(shifted)
        total = power.sum(axis=1, keepdims=True)
        losses = np.log(total[:, 0]) - shifted[self.rows, y]
        power /= total
        power[self.rows, y] -= 1
        return float(np.sum(losses * scale[:, 0])), power * scale

    def backward(self, seen: Array, d_outputs: Array) -> None:
        """Fill the gradients."""
        p, g, dz, h, dh, slope, product = (
            self.p,
            self.g,
            self.z,
            self.h,
            self.dh,
            self.slope,
            self.product,
        )
        T, B, H = dz.shape
        np.matmul(seen.T, d_outputs, out=g["W_hy"])
        np.sum(d_outputs, axis=0, out=g["b_y"])
        if self.all_steps:
            np.matmul(d_outputs, p["W_hy"].T, out=dh.reshape(T * B, H))
        else:
            dh[self.last, self.sequences] = d_outputs @ p["W_hy"].T  # zero elsewhere, for good
        np.multiply(h[1:], h[1:], out=slope)
        np.subtract(1, slope, out=slope)
        back = p["W_hh"].T
        np.multiply(dh[-1], slope[-1], out=dz[-1])
        for t in range(T - 2, -1, -1):
            np.matmul(dz[t + 1], back, out=product)
            np.add(product, dh[t], out=product)
            np.multiply(product, slope[t], out=dz[t])
        flat = dz.reshape(T * B, H)
        np.matmul(self.x.T, flat, out=g["W_xh"])
        np.matmul(h[:-1].reshape(T * B, H).T, flat, out=g["W_hh"])
        np.sum(flat, axis=0, out=g["b_h"])

    def adam(self) -> None:
        """Update all parameters."""
        beta1, beta2, eps = 0.9, 0.999, 1e-8
        m, v, g, work = self.m, self.v, self.grad, self.work
        self.count += 1
        m *= beta1
        np.multiply(g, 1 - beta1, out=work)
        m += work
        v *= beta2
        np.multiply(g, g, out=work)
        work *= 1 - beta2
        v += work
        np.sqrt(v, out=work)
        work *= (1 - beta2**self.count) ** -0.5
        work += eps
        np.divide(m, work, out=work)
        work *= TIMED_LR / (1 - beta1**self.count)
        self.theta -= work

    def loss_and_gradients(self) -> tuple[float, dict[str, Array]]:
        seen, outputs = self.forward()
        loss, d_outputs = self.loss(outputs)
        self.backward(seen, d_outputs)
        return loss, {name: value.copy() for name, value in self.g.items()}

    def run(self, steps: int) -> None:
        for _ in range(steps):
            seen, outputs = self.forward()
            _, d_outputs = self.loss(outputs)
            self.backward(seen, d_outputs)
            self.adam()


def _views(flat: Array, like: dict[str, Array]) -> dict[str, Array]:
    views, start = {}, 0
    for name, value in like.items():
        views[name] = flat[start : start + value.size].reshape(value.shape)
        start += value.size
    return views


def variants(problem: Problem, threads: int) -> Variants:
    """Name the one way there is."""
    return {"batched": lambda: NumPy(problem)}


def version() -> str:
    """Return the version and the library of its matrix products."""
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return f"{np.__version__} ({blas.get('name', 'unknown')} {blas.get('version', '')})"
