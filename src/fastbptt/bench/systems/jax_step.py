"""JAX: lax.scan and Adam in one compiled function, its buffers donated."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from fastbptt.bench.case import TIMED_LR, Problem
from fastbptt.bench.systems import System, Variants, as_arrays


class Jax(System):
    """The input's products of all steps come first, then the scan over time."""

    def __init__(self, problem: Problem, unroll: int) -> None:
        case = problem.case
        all_steps = case.steps == "all"
        x = jnp.asarray(np.ascontiguousarray(problem.x.swapaxes(0, 1)))
        y = jnp.asarray(problem.y.swapaxes(0, 1) if all_steps else problem.y)
        weights = jnp.asarray(problem.step_weights.T)
        last, sequences = jnp.asarray(problem.last), jnp.arange(case.batch)
        ragged = problem.lengths is not None

        def loss_of(params: Any, x: Any, y: Any) -> Any:
            def step(h: Any, z: Any) -> Any:
                h = jnp.tanh(z + h @ params["W_hh"])
                return h, h if all_steps or ragged else None

            first = jnp.zeros((case.batch, case.hidden), case.dtype)
            inputs = x @ params["W_xh"] + params["b_h"]
            final, hidden = jax.lax.scan(step, first, inputs, unroll=unroll)
            final = hidden[last, sequences] if ragged and not all_steps else final
            seen = hidden if all_steps else final
            outputs = seen @ params["W_hy"] + params["b_y"]
            if case.loss == "mse":
                losses = jnp.mean((outputs - y) ** 2, axis=-1)
            elif case.loss == "bce":
                losses = jnp.mean(jax.nn.softplus(outputs) - y * outputs, axis=-1)
            else:
                chosen = jnp.take_along_axis(outputs, y[..., None], axis=-1)[..., 0]
                losses = jax.nn.logsumexp(outputs, axis=-1) - chosen
            return jnp.sum(losses * weights)

        def update(params: Any, m: Any, v: Any, count: Any, x: Any, y: Any) -> Any:
            loss, grads = jax.value_and_grad(loss_of)(params, x, y)
            count = count + 1
            m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, grads)
            v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, grads)
            rate = TIMED_LR / (1 - 0.9**count)
            root = (1 - 0.999**count) ** -0.5

            def moved(p: Any, m: Any, v: Any) -> Any:
                return p - rate * m / (jnp.sqrt(v) * root + 1e-8)

            return jax.tree.map(moved, params, m, v), m, v, count, loss

        self.gradient = jax.jit(jax.value_and_grad(loss_of))
        self.update = jax.jit(update, donate_argnums=(0, 1, 2, 3))
        self.data = x, y
        self.first = problem.params
        params = {name: jnp.array(value) for name, value in self.first.items()}
        m, v = ({name: jnp.zeros_like(value) for name, value in params.items()} for _ in range(2))
        self.state = params, m, v, jnp.zeros((), case.dtype)

    def loss_and_gradients(self) -> tuple[float, dict[str, NDArray[Any]]]:
        loss, gradients = self.gradient(self.first, *self.data)
        return float(loss), as_arrays(gradients)

    def run(self, steps: int) -> None:
        for _ in range(steps):
            *self.state, _ = self.update(*self.state, *self.data)
        jax.block_until_ready(self.state)


def variants(problem: Problem, threads: int) -> Variants:
    """Name the unrollings of the scan that can be fastest."""
    jax.config.update("jax_enable_x64", problem.case.dtype == "float64")
    return {f"scan, unroll {n}": partial(Jax, problem, n) for n in (1, 4)}


def version() -> str:
    """Return the version."""
    return str(jax.__version__)
