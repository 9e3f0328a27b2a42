"""JAX: lax.scan and Adam in one compiled function, its buffers donated; or the scan alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from ..case import TIMED_LR, Problem
from . import Predictor, Trainer, Variants, as_arrays

# Of W_hh, further biases and settings by name; the input's part of the gates (B, G * H); the states
# before the step. Returns the states after it, the hidden one first.
Step: TypeAlias = Callable[[Any, Any, Any], Any]


def _rnn(p: Any, z: Any, states: Any) -> Any:
    return (jnp.tanh(z + states[0] @ p["W_hh"]),)


def _relu(p: Any, z: Any, states: Any) -> Any:
    return (jax.nn.relu(z + states[0] @ p["W_hh"]),)


def _leaky(p: Any, z: Any, states: Any) -> Any:
    (h,) = states
    return ((1 - p["alpha"]) * h + p["alpha"] * jnp.tanh(z + h @ p["W_hh"]),)


def _gru(p: Any, z: Any, states: Any) -> Any:
    (h,) = states
    x_r, x_z, x_n = jnp.split(z, 3, axis=-1)
    h_r, h_z, h_n = jnp.split(h @ p["W_hh"], 3, axis=-1)
    n = jnp.tanh(x_n + jax.nn.sigmoid(x_r + h_r) * (h_n + p["b_hn"]))
    return (n + jax.nn.sigmoid(x_z + h_z) * (h - n),)


def _gru_before(p: Any, z: Any, states: Any) -> Any:
    (h,) = states
    gates = 2 * h.shape[-1]
    x_s, x_n = jnp.split(z, [gates], axis=-1)
    W_s, W_n = jnp.split(p["W_hh"], [gates], axis=-1)
    r, u = jnp.split(jax.nn.sigmoid(x_s + h @ W_s), 2, axis=-1)
    n = jnp.tanh(x_n + (r * h) @ W_n)
    return (n + u * (h - n),)


def _lstm(p: Any, z: Any, states: Any) -> Any:
    h, c = states
    i, f, g, o = jnp.split(z + h @ p["W_hh"], 4, axis=-1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


_CELLS: Final[dict[str, tuple[int, Step]]] = {
    "rnn": (1, _rnn),
    "relu": (1, _relu),
    "leaky": (1, _leaky),
    "gru": (1, _gru),
    "gru_before": (1, _gru_before),
    "lstm": (2, _lstm),
}


class JaxNetwork:
    """The input's products of all steps come first, then the scan over time."""

    def __init__(self, problem: Problem, unroll: int) -> None:
        case = problem.case
        all_steps = case.steps == "all"
        self.x = jnp.asarray(np.ascontiguousarray(problem.x.swapaxes(0, 1)))
        self.first = problem.params
        last, sequences = jnp.asarray(problem.last), jnp.arange(case.batch)
        ragged = problem.lengths is not None
        state_count, cell = _CELLS[case.cell]
        count = np.arange(case.time)[:, np.newaxis]
        turned = jnp.asarray(np.where(count <= problem.last, problem.last - count, count))

        def flip(steps: Any) -> Any:
            """Turn each sequence's real steps around."""
            return steps[turned, sequences] if ragged else steps[::-1]

        def run(params: Any, end: str, x: Any, keep: bool) -> tuple[Any, Any]:
            """Run a layer in a direction: states at each step if they are kept, final state."""
            inner = {name: params[name + end] for name in ("W_hh", "b_hn") if name + end in params}
            inner |= problem.settings

            def step(states: Any, z: Any) -> Any:
                states = cell(inner, z, states)
                return states, states[0] if keep or ragged else None

            zero = jnp.zeros((case.batch, case.hidden), case.dtype)
            inputs = x @ params["W_xh" + end] + params["b_h" + end]
            final, hidden = jax.lax.scan(step, (zero,) * state_count, inputs, unroll=unroll)
            return hidden, hidden[last, sequences] if ragged else final[0]

        def outputs_of(params: Any, x: Any) -> Any:
            """Compute outputs (T, B, O), or (B, O)."""
            for depth, ends in enumerate(case.suffixes, start=1):
                keep = all_steps or depth < case.layers
                found = [
                    run(params, end, flip(x) if end.endswith("_reverse") else x, keep)
                    for end in ends
                ]
                if keep:
                    steps = [hidden for hidden, _ in found]
                    x = jnp.concatenate([steps[0], *map(flip, steps[1:])], axis=-1)
            seen = x if all_steps else jnp.concatenate([final for _, final in found], axis=-1)
            return seen @ params["W_hy"] + params["b_y"]

        self.outputs_of = outputs_of


class JaxTrainer(JaxNetwork, Trainer):
    """The loss of the network and Adam."""

    def __init__(self, problem: Problem, unroll: int) -> None:
        super().__init__(problem, unroll)
        case, outputs_of = problem.case, self.outputs_of
        y = jnp.asarray(problem.y.swapaxes(0, 1) if case.steps == "all" else problem.y)
        weights = jnp.asarray(problem.step_weights.T)

        def loss_of(params: Any, x: Any, y: Any) -> Any:
            outputs = outputs_of(params, x)
            if case.loss == "mse":
                losses = jnp.mean((outputs - y) ** 2, axis=-1)
            elif case.loss == "bce":
                losses = jnp.mean(jax.nn.softplus(outputs) - y * outputs, axis=-1)
            elif case.loss != "cross_entropy":
                raise ValueError(f"loss is {case.loss!r}; expected bce, cross_entropy or mse")
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
        self.data = self.x, y
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


class JaxPredictor(JaxNetwork, Predictor):
    """The network alone."""

    def __init__(self, problem: Problem, unroll: int) -> None:
        super().__init__(problem, unroll)
        self.all_steps = problem.case.steps == "all"
        self.compute = jax.jit(self.outputs_of)
        self.params = {name: jnp.array(value) for name, value in self.first.items()}

    def outputs(self) -> NDArray[Any]:
        found = np.asarray(self.compute(self.params, self.x))
        return found.swapaxes(0, 1) if self.all_steps else found


def variants(problem: Problem, threads: int) -> Variants:
    """Name the unrollings of the scan that can be fastest."""
    jax.config.update("jax_enable_x64", problem.case.dtype == "float64")
    made = JaxPredictor if problem.case.pass_ == "forward" else JaxTrainer
    return {f"scan, unroll {n}": partial(made, problem, n) for n in (1, 4)}


def version() -> str:
    """Return the version."""
    return str(jax.__version__)
