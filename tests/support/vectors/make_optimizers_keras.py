"""Make optimizers_keras.npz: 100 steps of keras.optimizers.Adam in float64.

    pip install tensorflow==2.21.0 keras==3.15.1 numpy==2.4.6
    export CUDA_VISIBLE_DEVICES= KERAS_BACKEND=tensorflow
    python tests/support/vectors/make_optimizers_keras.py

Keras' rule is that of ``epsilon_hat``. It rounds beta1 and beta2 to float32 in its bias correction,
and there only, whatever the dtype of the weights and ``floatx``; so the betas here are numbers that
float32 holds. The rate is rounded to ``floatx``, which is float64 here.

Options and arrays of a case: as in make_optimizers_pytorch.py.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from common import KEPT, SLOWER_AFTER, STEPS, Case, descent, downhill, write

CASES: dict[str, dict[str, Any]] = {
    "adam": {"lr": 0.01, "betas": [0.9, 0.999], "eps": 1e-7},
    "adam-settings": {"lr": 0.02, "betas": [0.8, 0.95], "eps": 1e-5},
    "adam-amsgrad": {"lr": 0.01, "betas": [0.9, 0.999], "eps": 1e-7, "amsgrad": True},
}


def make_case(settings: dict[str, Any]) -> Case:
    given = descent()
    beta_1, beta_2 = betas = [float(np.float32(beta)) for beta in settings["betas"]]
    optimizer = keras.optimizers.Adam(
        settings["lr"], beta_1, beta_2, settings["eps"], settings.get("amsgrad", False)
    )
    p = keras.Variable(given["start"], dtype="float64")
    optimizer.build([p])
    kept = []
    for step in range(STEPS):
        if step == SLOWER_AFTER:
            optimizer.learning_rate = settings["lr"] / 4
        optimizer.apply([tf.constant(downhill(given, p.numpy(), step))], [p])
        if step + 1 in KEPT:
            kept.append(p.numpy().copy())
    options = {"optimizer": "adam", "settings": {**settings, "betas": betas, "epsilon_hat": True}}
    return Case(options, {**given, "p": np.stack(kept)})


def main() -> None:
    keras.config.set_floatx("float64")
    cases = {title: make_case(settings) for title, settings in CASES.items()}
    write(__file__, {"tensorflow": tf.__version__, "keras": keras.__version__}, cases)


if __name__ == "__main__":
    main()
