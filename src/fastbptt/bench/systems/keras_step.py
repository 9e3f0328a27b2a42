"""Keras with TensorFlow: recurrent layers, Dense and Adam, the whole step a compiled function.

So is a forward pass, which is faster than ``predict``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from itertools import chain
from typing import Any, Final

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from ..case import TIMED_LR, Problem
from . import Predictor, Trainer, Variants, as_arrays, swap_gates

Array = NDArray[Any]

_UNROLLED = 50  # more steps than that take minutes to compile


@keras.saving.register_keras_serializable("fastbptt")
class LeakyCell(keras.layers.Layer):  # type: ignore[misc]
    """h = (1 - alpha) h_prev + alpha tanh(a), as a cell for keras.layers.RNN."""

    def __init__(self, units: int, alpha: float, **more: Any) -> None:
        super().__init__(**more)
        self.state_size, self.alpha = units, alpha

    def get_config(self) -> dict[str, Any]:
        """Return what Bidirectional makes its second copy from."""
        config: dict[str, Any] = super().get_config()
        return config | {"units": self.state_size, "alpha": self.alpha}

    def build(self, shape: Any) -> None:
        """Make the weights, named as SimpleRNN's."""
        units = self.state_size
        self.kernel = self.add_weight(shape=(shape[-1], units), name="kernel")
        self.recurrent = self.add_weight(shape=(units, units), name="recurrent_kernel")
        self.bias = self.add_weight(shape=(units,), name="bias")

    def call(self, x: Any, states: Any) -> Any:
        """Make a step."""
        h = states[0]
        a = keras.ops.matmul(x, self.kernel) + self.bias + keras.ops.matmul(h, self.recurrent)
        h = (1 - self.alpha) * h + self.alpha * keras.ops.tanh(a)
        return h, [h]


def _leaky(units: int, alpha: float, **more: Any) -> Any:
    return keras.layers.RNN(LeakyCell(units, alpha), **more)


_CELLS: Final[dict[str, Any]] = {
    "rnn": keras.layers.SimpleRNN,
    "relu": partial(keras.layers.SimpleRNN, activation="relu"),
    "leaky": _leaky,
    "gru": keras.layers.GRU,
    "gru_before": partial(keras.layers.GRU, reset_after=False),
    "lstm": keras.layers.LSTM,
}


def _to_keras(cell: str, params: Mapping[str, Array], end: str) -> list[Array]:
    """Lay a layer's parameters out as set_weights takes them: a GRU's gates in order z, r, h."""
    weights = [params[name + end] for name in ("W_xh", "W_hh", "b_h")]
    if cell in ("gru", "gru_before"):
        weights = [swap_gates(weight) for weight in weights]
    if cell == "gru":  # a second bias, which only b_hn uses
        second = np.zeros_like(weights[2])
        second[-len(params["b_hn" + end]) :] = params["b_hn" + end]
        weights[2] = np.stack([weights[2], second])
    return weights


def _to_ours(cell: str, weights: list[Array], end: str) -> dict[str, Array]:
    """Do the reverse with gradients."""
    W_xh, W_hh, b_h = weights
    found = {}
    if cell == "gru":
        b_h, second = b_h
        found["b_hn" + end] = second[-W_hh.shape[0] :]
    found |= {"W_xh" + end: W_xh, "W_hh" + end: W_hh, "b_h" + end: b_h}
    if cell in ("gru", "gru_before"):
        found |= {name: swap_gates(value) for name, value in found.items() if "b_hn" not in name}
    return found


class KerasNetwork:
    """A Sequential model and its readout, with the first weights."""

    def __init__(self, problem: Problem, unroll: bool) -> None:
        self.case = case = problem.case
        all_steps, ragged = case.steps == "all", problem.lengths is not None
        keras.backend.set_floatx(case.dtype)
        layers = []
        for depth in range(1, case.layers + 1):
            every = all_steps or ragged or depth < case.layers
            layer = _CELLS[case.cell](
                case.hidden, **problem.settings, return_sequences=every, unroll=unroll
            )
            layers.append(keras.layers.Bidirectional(layer) if case.bidirectional else layer)
        self.model = keras.Sequential(
            [keras.Input((case.time, case.input), batch_size=case.batch), *layers]
        )
        self.head = keras.layers.Dense(case.output)
        self.head.build((None, (1 + case.bidirectional) * case.hidden))
        given = problem.params
        for layer, ends in zip(layers, case.suffixes, strict=True):
            layer.set_weights([w for end in ends for w in _to_keras(case.cell, given, end)])
        self.head.set_weights([given[name] for name in ("W_hy", "b_y")])
        self.x = tf.constant(problem.x)
        self.last = tf.constant(problem.last) if ragged and not all_steps else None

    def forward(self, training: bool) -> Any:
        """Compute outputs (B, T, O), or (B, O)."""
        hidden = self.model(self.x, training=training)
        if self.last is not None:
            hidden = tf.gather(hidden, self.last, batch_dims=1)
        return self.head(hidden)


class KerasTrainer(KerasNetwork, Trainer):
    """The network trained by a custom function, which is faster than ``fit``."""

    def __init__(self, problem: Problem, unroll: bool, xla: bool) -> None:
        super().__init__(problem, unroll)
        case = problem.case
        variables = [*self.model.trainable_variables, *self.head.trainable_variables]
        adam = keras.optimizers.Adam(TIMED_LR, epsilon=1e-8)
        adam.build(variables)
        y = tf.constant(problem.y)
        weights = tf.constant(problem.step_weights)

        def gradients() -> Any:
            with tf.GradientTape() as tape:
                outputs = self.forward(training=True)
                if case.loss == "mse":
                    losses = tf.reduce_mean(tf.math.squared_difference(outputs, y), axis=-1)
                elif case.loss == "bce":
                    losses = tf.reduce_mean(
                        tf.nn.sigmoid_cross_entropy_with_logits(y, outputs), axis=-1
                    )
                elif case.loss != "cross_entropy":
                    raise ValueError(f"loss is {case.loss!r}; expected bce, cross_entropy or mse")
                else:
                    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(y, outputs)
                loss = tf.reduce_sum(losses * weights)
            return loss, tape.gradient(loss, variables)

        def step() -> Any:
            loss, found = gradients()
            adam.apply(found, variables)
            return loss

        self.gradients = tf.function(gradients)
        self.step = tf.function(step, jit_compile=xla)

    def loss_and_gradients(self) -> tuple[float, dict[str, NDArray[Any]]]:
        loss, found = self.gradients()
        *weights, W_hy, b_y = (np.array(each) for each in found)
        gradients = {"W_hy": W_hy, "b_y": b_y}
        for i, end in enumerate(chain.from_iterable(self.case.suffixes)):
            gradients |= _to_ours(self.case.cell, weights[3 * i : 3 * i + 3], end)
        return float(loss), as_arrays(gradients)

    def run(self, steps: int) -> None:
        for _ in range(steps):
            loss = self.step()
        loss.numpy()


class KerasPredictor(KerasNetwork, Predictor):
    """The network alone."""

    def __init__(self, problem: Problem, unroll: bool, xla: bool) -> None:
        super().__init__(problem, unroll)
        self.compute = tf.function(partial(self.forward, training=False), jit_compile=xla)

    def outputs(self) -> Array:
        found: Array = self.compute().numpy()
        return found


def variants(problem: Problem, threads: int) -> Variants:
    """Name the compilations that can be fastest."""
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    made = KerasPredictor if problem.case.pass_ == "forward" else KerasTrainer
    ways = {"function": partial(made, problem, False, False)}
    ways["function, XLA"] = partial(made, problem, False, True)
    if problem.case.time <= _UNROLLED:
        ways["function, unrolled"] = partial(made, problem, True, False)
        ways["function, unrolled, XLA"] = partial(made, problem, True, True)
    return ways


def version() -> str:
    """Return the versions of both."""
    return f"{keras.__version__} (TensorFlow {tf.__version__})"
