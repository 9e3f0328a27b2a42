"""NumPy, as somebody who knows it well would write it for speed.

Time is the first axis, so each step is contiguous; the input's products of all steps, the readout
and each weight gradient are one matrix product; every array is allocated once; what the backward
recursion multiplies by is computed for blocks of steps that stay in the cache; parameters,
gradients and moments lie in flat arrays, so that Adam is a few operations in place.

A sigmoid is 0.5 + 0.5 * tanh(a / 2), and a / 2 comes from a copy of the weights with those gates
halved, so that one call of tanh serves all gates of a step.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from ..case import TIMED_LR, Case, Problem
from . import Predictor, Trainer, Variants

Array = NDArray[Any]
Named = Mapping[str, Array]

_BLOCK_BYTES: Final = 1 << 18


class Cell(ABC):
    """A layer in one direction; steps count in the order in which it reads them.

    Attributes
    ----------
    x : array (T * B, I)
        What it reads.
    h : array (T + 1, B, H)
        The state before the first step, zero, and after each.
    z : array (T, B, GATES * H)
        The gates; in the backward pass the gradients of their pre-activations take their place.
    dh : array (T, B, H)
        Gradient of each state as others use it.
    """

    GATES: ClassVar[int] = 1
    SIGMOIDS: ClassVar[tuple[int, ...]] = ()  # which of the gates

    def __init__(self, case: Case, p: Named, g: Named, x: Array, dh: Array, alpha: float) -> None:
        T, B, H = dh.shape
        self.p, self.g, self.x, self.dh, self.alpha = p, g, x, dh, alpha
        self.empty: Callable[[int | tuple[int, ...]], Array] = partial(np.empty, dtype=dh.dtype)
        self.h = np.zeros((T + 1, B, H), dh.dtype)
        self.z = self.empty((T, B, self.GATES * H))
        self.half = np.ones(self.GATES * H, dh.dtype)
        for gate in self.SIGMOIDS:
            self.half[gate * H : (gate + 1) * H] = 0.5
        self.shift = 1 - self.half
        self.W_xh, self.W_hh, self.b_h = (p[name] for name in ("W_xh", "W_hh", "b_h"))
        if self.SIGMOIDS:  # copies with the sigmoids' columns halved
            self.W_xh, self.W_hh, self.b_h = (w.copy() for w in (self.W_xh, self.W_hh, self.b_h))
        self.block = max(1, _BLOCK_BYTES // self.z[0].nbytes)
        # Of one step: the gates' recurrent part, the state's whole gradient, what comes from later.
        self.a: Array = self.empty((B, self.GATES * H))
        self.d: Array = self.empty((B, H))
        self.carried: Array = self.empty((B, H))

    def forward(self) -> None:
        """Fill the states."""
        if self.SIGMOIDS:
            for name in ("W_xh", "W_hh", "b_h"):
                np.multiply(self.p[name], self.half, out=getattr(self, name))
        np.matmul(self.x, self.W_xh, out=_rows(self.z))
        self.z += self.b_h
        self.recur()

    def product(self, t: int, W: Array, a: Array) -> None:
        """Compute the recurrent part of a step; before the first one the state is zero."""
        if t:
            np.matmul(self.h[t], W, out=a)
        else:
            a[...] = 0

    def blocks(self) -> Iterator[tuple[slice, range]]:
        """Walk back through blocks of steps: as a slice, and from last to first."""
        for stop in range(len(self.z), 0, -self.block):
            start = max(0, stop - self.block)
            yield slice(start, stop), range(stop - 1, start - 1, -1)

    def backward(self, dx: Array | None) -> None:
        """Fill the gradients of the weights, and that of the input if it is wanted."""
        self.carried[...] = 0
        self.unroll()
        self.weights(_rows(self.z), dx)

    def weights(self, dz: Array, dx: Array | None) -> None:
        """Sum the gradients of the weights over all steps."""
        np.matmul(self.x.T, dz, out=self.g["W_xh"])
        np.matmul(_rows(self.h[:-1]).T, dz, out=self.g["W_hh"])
        np.sum(dz, axis=0, out=self.g["b_h"])
        if dx is not None:
            np.matmul(dz, self.p["W_xh"].T, out=dx)

    @abstractmethod
    def recur(self) -> None:
        """Go through all steps; `z` holds the input's part of the gates."""

    @abstractmethod
    def unroll(self) -> None:
        """Go back through all steps, turning `z` into gradients of pre-activations."""


class Rnn(Cell):
    """h = tanh(a)."""

    def function(self, a: Array, h: Array) -> None:
        """Fill h."""
        np.tanh(a, out=h)

    def slope(self, h: Array) -> Array:
        """Derivative of h by a."""
        slope: Array = np.multiply(h, h)
        return np.subtract(1, slope, out=slope)

    def recur(self) -> None:
        z, h, a = self.z, self.h, self.a
        self.function(z[0], h[1])
        for t in range(1, len(z)):
            np.matmul(h[t], self.W_hh, out=a)
            np.add(a, z[t], out=a)
            self.function(a, h[t + 1])

    def unroll(self) -> None:
        z, d, carried, back = self.z, self.d, self.carried, self.W_hh.T
        for steps, order in self.blocks():
            slope = self.slope(self.h[1:][steps])
            for t in order:
                np.add(self.dh[t], carried, out=d)
                np.multiply(d, slope[t - steps.start], out=z[t])
                if t:
                    np.matmul(z[t], back, out=carried)


class Relu(Rnn):
    """h = max(a, 0)."""

    def function(self, a: Array, h: Array) -> None:
        np.maximum(a, 0, out=h)

    def slope(self, h: Array) -> Array:
        slope: Array = np.sign(h)
        return slope


class Leaky(Cell):
    """h = (1 - alpha) h_prev + alpha tanh(a)."""

    def recur(self) -> None:
        z, h, a, alpha = self.z, self.h, self.a, self.alpha
        for t in range(len(z)):
            self.product(t, self.W_hh, a)
            z[t] += a
            np.tanh(z[t], out=z[t])
            np.multiply(h[t], 1 - alpha, out=h[t + 1])
            np.multiply(z[t], alpha, out=a)
            h[t + 1] += a

    def unroll(self) -> None:
        z, d, carried, back, alpha = self.z, self.d, self.carried, self.W_hh.T, self.alpha
        d[...] = 0
        for steps, order in self.blocks():
            slope = np.multiply(z[steps], z[steps])
            np.subtract(1, slope, out=slope)
            slope *= alpha
            for t in order:
                d *= 1 - alpha
                d += carried
                d += self.dh[t]
                np.multiply(d, slope[t - steps.start], out=z[t])
                if t:
                    np.matmul(z[t], back, out=carried)


class Gru(Cell):
    """r, z, n; reset after the product. `d` holds the gradients of r, z, of the product, of n."""

    GATES = 3
    SIGMOIDS = (0, 1)

    def __init__(self, case: Case, p: Named, g: Named, x: Array, dh: Array, alpha: float) -> None:
        super().__init__(case, p, g, x, dh, alpha)
        T, B, H = dh.shape
        self.q = self.empty((T, B, H))  # the recurrent part of n
        self.dz = self.empty((T, B, 4 * H))
        self.sums = self.empty(4 * H)

    def recur(self) -> None:
        z, h, a, q, work = self.z, self.h, self.a, self.q, self.d
        H = h.shape[2]
        gates, both, shift = a[:, : 2 * H], self.half[: 2 * H], self.shift[: 2 * H]
        b_hn = self.p["b_hn"]
        for t in range(len(z)):
            self.product(t, self.W_hh, a)
            s, n = z[t, :, : 2 * H], z[t, :, 2 * H :]
            s += gates
            np.tanh(s, out=s)
            s *= both
            s += shift
            np.add(a[:, 2 * H :], b_hn, out=q[t])
            np.multiply(s[:, :H], q[t], out=work)
            n += work
            np.tanh(n, out=n)
            np.subtract(h[t], n, out=work)
            work *= s[:, H:]
            np.add(work, n, out=h[t + 1])

    def unroll(self) -> None:
        dz, d, carried, back = self.dz, self.d, self.carried, self.p["W_hh"].T
        H = d.shape[1]
        for steps, order in self.blocks():
            r, z, n = _gates(self.z[steps], 3)
            to_n = (1 - z) * (1 - n * n)
            to_z = (self.h[steps] - n) * z * (1 - z)
            to_r = self.q[steps] * r * (1 - r)
            for t in order:
                i = t - steps.start
                d_r, d_z, d_q, d_n = _gates(dz[t], 4)
                np.add(self.dh[t], carried, out=d)
                np.multiply(d, to_n[i], out=d_n)
                np.multiply(d, to_z[i], out=d_z)
                np.multiply(d_n, to_r[i], out=d_r)
                np.multiply(d_n, r[i], out=d_q)
                np.matmul(dz[t, :, : 3 * H], back, out=carried)
                d *= z[i]
                carried += d

    def weights(self, dz: Array, dx: Array | None) -> None:
        dz = _rows(self.dz)
        H = self.d.shape[1]
        recurrent, gates, d_n = dz[:, : 3 * H], dz[:, : 2 * H], dz[:, 3 * H :]
        np.matmul(_rows(self.h[:-1]).T, recurrent, out=self.g["W_hh"])
        np.matmul(self.x.T, gates, out=self.g["W_xh"][:, : 2 * H])
        np.matmul(self.x.T, d_n, out=self.g["W_xh"][:, 2 * H :])
        np.sum(dz, axis=0, out=self.sums)
        self.g["b_h"][: 2 * H] = self.sums[: 2 * H]
        self.g["b_h"][2 * H :] = self.sums[3 * H :]
        self.g["b_hn"][...] = self.sums[2 * H : 3 * H]
        if dx is not None:
            W_xh = self.p["W_xh"]
            np.matmul(gates, W_xh[:, : 2 * H].T, out=dx)
            dx += d_n @ W_xh[:, 2 * H :].T


class GruBefore(Cell):
    """r, z, n; reset before the product."""

    GATES = 3
    SIGMOIDS = (0, 1)

    def __init__(self, case: Case, p: Named, g: Named, x: Array, dh: Array, alpha: float) -> None:
        super().__init__(case, p, g, x, dh, alpha)
        self.reset = np.empty_like(dh)  # r * h_prev

    def recur(self) -> None:
        z, h, work = self.z, self.h, self.d
        H = h.shape[2]
        W_s, W_n = self.W_hh[:, : 2 * H], self.W_hh[:, 2 * H :]
        both, shift, a = self.half[: 2 * H], self.shift[: 2 * H], self.empty((h.shape[1], 2 * H))
        for t in range(len(z)):
            s, n = z[t, :, : 2 * H], z[t, :, 2 * H :]
            self.product(t, W_s, a)
            s += a
            np.tanh(s, out=s)
            s *= both
            s += shift
            np.multiply(s[:, :H], h[t], out=self.reset[t])
            np.matmul(self.reset[t], W_n, out=work)
            n += work
            np.tanh(n, out=n)
            np.subtract(h[t], n, out=work)
            work *= s[:, H:]
            np.add(work, n, out=h[t + 1])

    def unroll(self) -> None:
        d, carried, W_hh = self.d, self.carried, self.p["W_hh"]
        H = d.shape[1]
        back_s, back_n = W_hh[:, : 2 * H].T, W_hh[:, 2 * H :].T
        work = np.empty_like(d)
        for steps, order in self.blocks():
            r, z, n = (gate.copy() for gate in _gates(self.z[steps], 3))
            h = self.h[steps]
            to_n = (1 - z) * (1 - n * n)
            to_z = (h - n) * z * (1 - z)
            to_r = h * r * (1 - r)
            for t in order:
                i = t - steps.start
                d_r, d_z, d_n = _gates(self.z[t], 3)
                np.add(self.dh[t], carried, out=d)
                np.multiply(d, to_n[i], out=d_n)
                np.multiply(d, to_z[i], out=d_z)
                np.matmul(d_n, back_n, out=work)
                np.multiply(work, to_r[i], out=d_r)
                np.matmul(self.z[t, :, : 2 * H], back_s, out=carried)
                work *= r[i]
                carried += work
                d *= z[i]
                carried += d

    def weights(self, dz: Array, dx: Array | None) -> None:
        super().weights(dz, dx)
        H = self.d.shape[1]
        np.matmul(_rows(self.reset).T, dz[:, 2 * H :], out=self.g["W_hh"][:, 2 * H :])


class Lstm(Cell):
    """i, f, g, o."""

    GATES = 4
    SIGMOIDS = (0, 1, 3)

    def __init__(self, case: Case, p: Named, g: Named, x: Array, dh: Array, alpha: float) -> None:
        super().__init__(case, p, g, x, dh, alpha)
        self.c = np.zeros_like(self.h)
        self.tanh_c = np.empty_like(dh)

    def recur(self) -> None:
        z, h, c, a, work = self.z, self.h, self.c, self.a, self.d
        for t in range(len(z)):
            self.product(t, self.W_hh, a)
            z[t] += a
            np.tanh(z[t], out=z[t])
            z[t] *= self.half
            z[t] += self.shift
            i, f, g, o = _gates(z[t], 4)
            np.multiply(i, g, out=work)
            np.multiply(f, c[t], out=c[t + 1])
            c[t + 1] += work
            np.tanh(c[t + 1], out=self.tanh_c[t])
            np.multiply(o, self.tanh_c[t], out=h[t + 1])

    def unroll(self) -> None:
        d, carried, back = self.d, self.carried, self.p["W_hh"].T
        T, B, H = self.dh.shape
        dc, later = np.zeros_like(d), np.empty_like(d)
        every = self.z.reshape(T, B, 4, H)
        for steps, order in self.blocks():
            i, f, g, o = _gates(self.z[steps], 4)
            tanh_c = self.tanh_c[steps]
            to = self.empty((len(i), B, 3, H))
            np.multiply(g * i, 1 - i, out=to[:, :, 0])
            np.multiply(self.c[steps] * f, 1 - f, out=to[:, :, 1])
            np.multiply(i, 1 - g * g, out=to[:, :, 2])
            to_o = tanh_c * o * (1 - o)
            to_c = o * (1 - tanh_c * tanh_c)
            for t in order:
                n = t - steps.start
                np.add(self.dh[t], carried, out=d)
                np.multiply(d, to_c[n], out=later)
                dc += later
                np.multiply(dc, f[n], out=later)
                np.multiply(dc[:, np.newaxis], to[n], out=every[t, :, :3])
                np.multiply(d, to_o[n], out=every[t, :, 3])
                if t:
                    np.matmul(self.z[t], back, out=carried)
                dc, later = later, dc


_CELLS: Final[dict[str, type[Cell]]] = {
    "rnn": Rnn,
    "relu": Relu,
    "leaky": Leaky,
    "gru": Gru,
    "gru_before": GruBefore,
    "lstm": Lstm,
}


class Layer:
    """One cell, or one for each direction, and what stands between it and its neighbours.

    Attributes
    ----------
    out : array (T * B, D * H)
        States at each step, both directions side by side.
    d_out : array (T, B, D * H)
        Their gradient, to be filled.
    """

    def __init__(
        self,
        problem: Problem,
        p: Sequence[Named],
        g: Sequence[Named],
        x: Array,
        flip: Array,
        inner: bool,
    ) -> None:
        case = problem.case
        T, B, H = case.time, case.batch, case.hidden
        self.flip, self.inner, self.x = flip, inner, x
        self.d_out = np.zeros((T, B, len(p) * H), x.dtype)
        alpha = problem.settings.get("alpha", 0)
        make = partial(_CELLS[case.cell], case)
        if len(p) == 1:
            self.cells = [make(p[0], g[0], x, self.d_out, alpha)]
            self.out = _rows(self.cells[0].h[1:])
            return
        reads = x, np.take(x, flip, axis=0)
        self.cells = [
            make(p[i], g[i], reads[i], np.zeros((T, B, H), x.dtype), alpha) for i in (0, 1)
        ]
        self.out = np.empty((T * B, 2 * H), x.dtype)
        self.flipped = np.empty((T * B, H), x.dtype)
        self.dx = np.empty_like(x)

    def forward(self) -> None:
        """Fill `out`."""
        if len(self.cells) == 1:
            self.cells[0].forward()
            return
        one, two = self.cells
        H = one.h.shape[2]
        if self.inner:
            np.take(self.x, self.flip, axis=0, out=two.x, mode="clip")
        one.forward()
        two.forward()
        self.out[:, :H] = _rows(one.h[1:])
        np.take(_rows(two.h[1:]), self.flip, axis=0, out=self.flipped, mode="clip")
        self.out[:, H:] = self.flipped

    def backward(self, dx: Array | None) -> None:
        """Fill the gradients of the weights and that of the input, if it is wanted."""
        if len(self.cells) == 1:
            self.cells[0].backward(dx)
            return
        one, two = self.cells
        H = one.h.shape[2]
        _rows(one.dh)[...] = _rows(self.d_out)[:, :H]
        np.take(_rows(self.d_out)[:, H:], self.flip, axis=0, out=_rows(two.dh), mode="clip")
        one.backward(dx)
        two.backward(None if dx is None else self.dx)
        if dx is not None:
            dx += self.dx[self.flip]


class NumPy(Trainer):
    """Layers, readout, loss and Adam."""

    def __init__(self, problem: Problem) -> None:
        case = problem.case
        B, T, I, H, O = case.batch, case.time, case.input, case.hidden, case.output
        params = problem.params
        self.loss_name, self.all_steps = case.loss, case.steps == "all"
        self.theta: Array = np.concatenate([value.ravel() for value in params.values()])
        self.grad, self.m, self.v, self.work = (np.zeros_like(self.theta) for _ in range(4))
        self.p, self.g = (_views(flat, params) for flat in (self.theta, self.grad))
        self.count = 0

        self.last = problem.last
        self.sequences = np.arange(B)
        steps = np.arange(T)[:, np.newaxis]
        turned = np.where(steps <= self.last, self.last - steps, steps)
        flip = (turned * B + self.sequences).ravel()  # each sequence's real steps from the end
        x = np.ascontiguousarray(problem.x.swapaxes(0, 1)).reshape(T * B, I)
        self.layers: list[Layer] = []
        for suffixes in case.suffixes:
            p, g = (
                [{name: views[name + end] for name in _names(views, end)} for end in suffixes]
                for views in (self.p, self.g)
            )
            self.layers.append(Layer(problem, p, g, x, flip, inner=bool(self.layers)))
            x = self.layers[-1].out

        if self.all_steps:
            self.y = np.ascontiguousarray(problem.y.swapaxes(0, 1))
            self.y = self.y.reshape(T * B, *self.y.shape[2:])
            self.weight = problem.step_weights.T.reshape(T * B, 1)
        else:
            self.y = problem.y
            self.weight = problem.step_weights[:, np.newaxis]
        self.rows = np.arange(len(self.y))
        self.ends = [(self.last, slice(0, H)), (np.zeros_like(self.last), slice(H, None))]
        self.ends = self.ends[: 1 + case.bidirectional]  # of each direction: last step, columns
        self.scale = self.weight if case.loss == "cross_entropy" else self.weight / O

    def forward(self) -> tuple[Array, Array]:
        """Fill the states; return those that the loss sees, and the outputs."""
        for layer in self.layers:
            layer.forward()
        seen = self.layers[-1].out
        if not self.all_steps:
            hidden = seen.reshape(self.layers[-1].d_out.shape)
            seen = np.hstack([hidden[t, self.sequences, columns] for t, columns in self.ends])
        return seen, seen @ self.p["W_hy"] + self.p["b_y"]

    def loss(self, outputs: Array) -> tuple[float, Array]:
        """Return the loss and its gradient by the outputs."""
        y, scale = self.y, self.scale
        if self.loss_name == "mse":
            error = outputs - y
            return float(np.sum(error * error * scale)), 2 * error * scale
        if self.loss_name == "bce":
            losses = np.logaddexp(0, outputs) - y * outputs
            return float(np.sum(losses * scale)), (0.5 + 0.5 * np.tanh(outputs / 2) - y) * scale
        if self.loss_name != "cross_entropy":
            raise ValueError(f"loss is {self.loss_name!r}; expected bce, cross_entropy or mse")
        shifted = outputs - outputs.max(axis=1, keepdims=True)
        power = np.exp(shifted)
        total = power.sum(axis=1, keepdims=True)
        losses = np.log(total[:, 0]) - shifted[self.rows, y]
        power /= total
        power[self.rows, y] -= 1
        return float(np.sum(losses * scale[:, 0])), power * scale

    def backward(self, seen: Array, d_outputs: Array) -> None:
        """Fill the gradients."""
        p, g = self.p, self.g
        np.matmul(seen.T, d_outputs, out=g["W_hy"])
        np.sum(d_outputs, axis=0, out=g["b_y"])
        d_out = self.layers[-1].d_out
        if self.all_steps:
            np.matmul(d_outputs, p["W_hy"].T, out=_rows(d_out))
        else:
            d_seen = d_outputs @ p["W_hy"].T
            for t, columns in self.ends:  # zero elsewhere, for good
                d_out[t, self.sequences, columns] = d_seen[:, columns]
        for below, layer in zip(self.layers[-2::-1], self.layers[:0:-1], strict=True):
            layer.backward(_rows(below.d_out))
        self.layers[0].backward(None)

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


class NumPyPredictor(Predictor):
    """The first half of a training step."""

    def __init__(self, problem: Problem) -> None:
        self.case, self.network = problem.case, NumPy(problem)

    def outputs(self) -> Array:
        _, found = self.network.forward()
        if self.case.steps == "last":
            return found
        return found.reshape(self.case.time, self.case.batch, -1).swapaxes(0, 1)


def _rows(array: Array) -> Array:
    """View (T, B, N) as (T * B, N)."""
    return array.reshape(-1, array.shape[-1])


def _gates(array: Array, count: int) -> list[Array]:
    """View the blocks of the last axis."""
    width = array.shape[-1] // count
    return [array[..., i * width : (i + 1) * width] for i in range(count)]


def _names(named: Named, end: str) -> list[str]:
    return [name for name in ("W_xh", "W_hh", "b_h", "b_hn") if name + end in named]


def _views(flat: Array, like: Mapping[str, Array]) -> dict[str, Array]:
    views, start = {}, 0
    for name, value in like.items():
        views[name] = flat[start : start + value.size].reshape(value.shape)
        start += value.size
    return views


def variants(problem: Problem, threads: int) -> Variants:
    """Return the only variant."""
    if problem.case.pass_ == "forward":
        return {"batched": lambda: NumPyPredictor(problem)}
    return {"batched": lambda: NumPy(problem)}


def version() -> str:
    """Return the version and the library of its matrix products."""
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return f"{np.__version__} ({blas.get('name', 'unknown')} {blas.get('version', '')})"
