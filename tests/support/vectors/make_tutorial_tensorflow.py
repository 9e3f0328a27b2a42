"""Make tutorial_tensorflow.npz: the tutorial's training run, computed by TensorFlow.

    pip install tensorflow==2.21.0 keras==3.15.1
    python tests/support/vectors/make_tutorial_tensorflow.py

5 sequences of 10 steps of 32 inputs, 64 hidden units, one output at the last step, labels
1 0 1 0 1. Full-batch training with GradientTape and tf.keras.optimizers.Adam(0.01), whose epsilon
is 1e-7 and stands in the "epsilon hat" place:

    alpha_t = lr * sqrt(1 - beta2^t) / (1 - beta1^t);    p -= alpha_t * m / (sqrt(v) + epsilon)

Keras rounds beta1 and beta2 to float32 in alpha_t, and there only, whatever the dtype of the
weights. So the float64 run is given betas that float32 holds exactly, float32(0.9) and
float32(0.999); the float32 run keeps the defaults.

Keys of the file, with DTYPE float32 and float64 (both runs start from the same float32 numbers):

    x (5, 10, 32), y (5, 1), initial/NAME      data and weights before the first step, float32
    DTYPE/losses (100,)                        loss before each of 100 steps
    DTYPE/gradients/NAME                       gradients of the first step
    DTYPE/weights/NAME (5, ...)                weights after each of the first five steps
    float64/final/NAME                         weights after 100 steps
    DTYPE/betas (2,)                           beta1, beta2 given to Adam, float64
    metadata                                   JSON: versions and settings
"""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

B, T, I, H, O = 5, 10, 32, 64, 1
EPOCHS_STORED, STEPS = 5, 100
NAMES = ("W_xh", "W_hh", "b_h", "W_hy", "b_y")


def make_data() -> tuple[Any, Any, dict[str, Any]]:
    """Data and initial weights; examples/tutorial.py draws the same ones."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((B, T, I)).astype(np.float32)
    y = np.array([[1], [0], [1], [0], [1]], dtype=np.float32)
    initial = {
        "W_xh": rng.normal(0.0, 0.01, (I, H)).astype(np.float32),
        "W_hh": rng.normal(0.0, 0.01, (H, H)).astype(np.float32),
        "b_h": np.zeros(H, dtype=np.float32),
        "W_hy": rng.normal(0.0, 0.01, (H, O)).astype(np.float32),
        "b_y": np.zeros(O, dtype=np.float32),
    }
    return x, y, initial


def train(x: Any, y: Any, initial: dict[str, Any], dtype: str) -> dict[str, Any]:
    """One run of 100 steps in the given dtype."""
    # Keras keeps the learning rate in its default dtype: without this the float64 run would
    # use float32(0.01).
    keras.config.set_floatx(dtype)
    weights = {name: tf.Variable(initial[name].astype(dtype), name=name) for name in NAMES}
    w_xh, w_hh, b_h, w_hy, b_y = weights.values()
    x_in, y_in = tf.constant(x.astype(dtype)), tf.constant(y.astype(dtype))
    betas = np.array([0.9, 0.999])
    if dtype == "float64":
        betas = betas.astype(np.float32).astype(np.float64)
    optimizer = tf.keras.optimizers.Adam(0.01, beta_1=float(betas[0]), beta_2=float(betas[1]))

    out: dict[str, Any] = {}
    losses: list[Any] = []
    history: dict[str, list[Any]] = {name: [] for name in NAMES}
    for step in range(STEPS):
        with tf.GradientTape() as tape:
            h = tf.zeros((B, H), dtype=dtype)
            for t in range(T):
                h = tf.tanh(tf.matmul(x_in[:, t], w_xh) + tf.matmul(h, w_hh) + b_h)
            logits = tf.matmul(h, w_hy) + b_y
            loss = tf.reduce_mean(
                tf.nn.sigmoid_cross_entropy_with_logits(labels=y_in, logits=logits)
            )
        gradients = tape.gradient(loss, list(weights.values()))
        losses.append(loss.numpy())
        if step == 0:
            for name, gradient in zip(NAMES, gradients, strict=True):
                out[f"{dtype}/gradients/{name}"] = gradient.numpy()
        optimizer.apply_gradients(zip(gradients, weights.values(), strict=True))
        if step < EPOCHS_STORED:
            for name in NAMES:
                history[name].append(weights[name].numpy())
    out[f"{dtype}/losses"] = np.array(losses, dtype=dtype)
    for name in NAMES:
        out[f"{dtype}/weights/{name}"] = np.stack(history[name])
        if dtype == "float64":
            out[f"{dtype}/final/{name}"] = weights[name].numpy()
    for name, array in out.items():
        assert array.dtype == dtype, name
    out[f"{dtype}/betas"] = betas
    return out


def main() -> None:
    x, y, initial = make_data()
    arrays = {"x": x, "y": y} | {f"initial/{name}": w for name, w in initial.items()}
    for dtype in ("float32", "float64"):
        arrays |= train(x, y, initial, dtype)
    arrays["metadata"] = np.array(
        json.dumps(
            {
                "tensorflow": tf.__version__,
                "keras": keras.__version__,
                "numpy": np.__version__,
                "python": platform.python_version(),
                "machine": platform.machine(),
                "lr": 0.01,
                "eps": tf.keras.optimizers.Adam(0.01).epsilon,
                "script": Path(__file__).name,
            }
        )
    )
    target = Path(__file__).with_name("tutorial_tensorflow.npz")
    np.savez_compressed(target, **arrays)
    print(arrays["metadata"])
    for dtype in ("float32", "float64"):
        print(dtype, arrays[f"{dtype}/losses"][[0, 1, 2, 3, 4, -1]])
    print(f"{target}: {target.stat().st_size} bytes")


if __name__ == "__main__":
    main()
