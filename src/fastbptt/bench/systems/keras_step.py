"""Keras with TensorFlow: SimpleRNN, Dense and Adam, the whole step as one compiled function."""

from __future__ import annotations

from functools import partial
from typing import Any

import keras
import tensorflow as tf
from numpy.typing import NDArray

from fastbptt.bench.case import TIMED_LR, Problem
from fastbptt.bench.systems import System, Variants, as_arrays

_UNROLLED = 50  # more steps than that take minutes to compile


class Keras(System):
    """A Sequential model trained by a function of our own, which is faster than ``fit``."""

    def __init__(self, problem: Problem, unroll: bool, xla: bool) -> None:
        case = problem.case
        all_steps, ragged = case.steps == "all", problem.lengths is not None
        keras.backend.set_floatx(case.dtype)
        rnn = keras.layers.SimpleRNN(
            case.hidden, return_sequences=all_steps or ragged, unroll=unroll
        )
        head = keras.layers.Dense(case.output)
        self.model = keras.Sequential(
            [keras.Input((case.time, case.input), batch_size=case.batch), rnn]
        )
        head.build((None, case.hidden))
        given = problem.params
        rnn.set_weights([given[name] for name in ("W_xh", "W_hh", "b_h")])
        head.set_weights([given[name] for name in ("W_hy", "b_y")])
        variables = [*rnn.trainable_variables, *head.trainable_variables]
        adam = keras.optimizers.Adam(TIMED_LR, epsilon=1e-8)
        adam.build(variables)
        x, y = tf.constant(problem.x), tf.constant(problem.y)
        weights = tf.constant(problem.step_weights)
        last = tf.constant(problem.last)

        def gradients() -> Any:
            with tf.GradientTape() as tape:
                hidden = self.model(x, training=True)
                if ragged and not all_steps:
                    hidden = tf.gather(hidden, last, batch_dims=1)
                outputs = head(hidden)
                if case.loss == "mse":
                    losses = tf.reduce_mean(tf.math.squared_difference(outputs, y), axis=-1)
                elif case.loss == "bce":
                    losses = tf.reduce_mean(
                        tf.nn.sigmoid_cross_entropy_with_logits(y, outputs), axis=-1
                    )
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
        names = ("W_xh", "W_hh", "b_h", "W_hy", "b_y")
        return float(loss), as_arrays(dict(zip(names, found, strict=True)))

    def run(self, steps: int) -> None:
        for _ in range(steps):
            loss = self.step()
        loss.numpy()


def variants(problem: Problem, threads: int) -> Variants:
    """Name the compilations that can be fastest."""
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    ways = {"function": partial(Keras, problem, False, False)}
    ways["function, XLA"] = partial(Keras, problem, False, True)
    if problem.case.time <= _UNROLLED:
        ways["function, unrolled"] = partial(Keras, problem, True, False)
        ways["function, unrolled, XLA"] = partial(Keras, problem, True, True)
    return ways


def version() -> str:
    """Return the versions of both."""
    return f"{keras.__version__} (TensorFlow {tf.__version__})"
