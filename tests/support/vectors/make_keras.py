"""Make keras.npz: keras.layers.SimpleRNN, GRU and LSTM, states and gradients, with masks.

    pip install tensorflow==2.21.0 keras==3.15.1 numpy==2.4.6
    CUDA_VISIBLE_DEVICES= KERAS_BACKEND=tensorflow python tests/support/vectors/make_keras.py

Cells rnn (SimpleRNN), gru (GRU), gru_before (GRU with ``reset_after=False``), lstm, and gru and
lstm within Bidirectional; each with given initial states, ``return_sequences`` and
``return_state``, on full sequences and with a mask that leaves 4, 6 and 1 steps.

Arrays of a case, with NAME a weight's name in Keras, after ``forward/`` or ``backward/``, and DTYPE
float32 and float64 (both runs start from the same float32 numbers):

    x (B, T, I), h0, c0 (D, B, H), weights/NAME, mask (B, T) of 0 and 1 if there is one     given
    R (B, T, D*H), Q_h, Q_c (D, B, H)                 the loss: see common.py; R is taken as zero
                                                      where the mask is
    DTYPE/outputs (B, T, D*H); DTYPE/h_n, c_n (D, B, H)
    DTYPE/gradients/NAME, x, h0, c0

After a sequence's end ``outputs`` holds what Keras puts there: the last real step's, but zeros from
Bidirectional, which sets ``zero_output_for_mask`` of its layers.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from common import VALID, Case, H, draw, given, write

LAYERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "rnn": (keras.layers.SimpleRNN, {}),
    "gru": (keras.layers.GRU, {"reset_after": True}),
    "gru_before": (keras.layers.GRU, {"reset_after": False}),
    "lstm": (keras.layers.LSTM, {}),
}


def make_case(cell: str, bidirectional: bool, masked: bool) -> Case:
    case = Case({"cell": cell, "bidirectional": bidirectional, "masked": masked})
    states = "hc" if cell == "lstm" else "h"
    case.arrays = given(H, 1 + bidirectional, len(states))
    if masked:
        case.arrays["mask"] = VALID.astype(np.int64)
    for dtype in ("float32", "float64"):
        make, options = LAYERS[cell]
        layer = make(H, return_sequences=True, return_state=True, dtype=dtype, **options)
        if bidirectional:
            layer = keras.layers.Bidirectional(layer, dtype=dtype)
        layer.build(case.arrays["x"].shape)
        run(layer, case, states, dtype)
    return case


def weights_of(layer: Any) -> dict[str, Any]:
    """Return the layer's variables by name."""
    if not isinstance(layer, keras.layers.Bidirectional):
        return {f"forward/{weight.name}": weight for weight in layer.trainable_weights}
    directions = {"forward": layer.forward_layer, "backward": layer.backward_layer}
    return {
        f"{direction}/{weight.name}": weight
        for direction, one in directions.items()
        for weight in one.trainable_weights
    }


def run(layer: Any, case: Case, states: str, dtype: str) -> None:
    """Add what the layer makes of the case's arrays."""
    weights = weights_of(layer)
    for name, weight in weights.items():
        drawn = draw(f"keras {case.options['cell']} {name}", *weight.shape, bound=H**-0.5)
        case.arrays[f"weights/{name}"] = drawn
        weight.assign(drawn.astype(dtype))

    def tensor(name: str) -> Any:
        return tf.constant(case.arrays[name].astype(dtype))

    mask = tf.constant(case.arrays["mask"] == 1) if "mask" in case.arrays else None
    inputs = {name: tensor(name) for name in ("x", *(f"{state}0" for state in states))}
    directions = range(1 + case.options["bidirectional"])
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        x, *arrays = inputs.values()
        # Keras' order: the states of the forward direction, then those of the backward direction.
        initial = [array[d] for d in directions for array in arrays]
        outputs, *final = layer(x, mask=mask, initial_state=initial)
        r = tensor("R")
        if mask is not None:
            r = tf.where(mask[:, :, tf.newaxis], r, tf.zeros_like(r))
        loss = tf.reduce_sum(outputs * r)
        stacked = [tf.stack(final[s :: len(states)]) for s in range(len(states))]
        for state, array in zip(states, stacked, strict=True):
            loss += tf.reduce_sum(array * tensor(f"Q_{state}"))
    sources = {name: weight.value for name, weight in weights.items()} | inputs
    gradients = tape.gradient(loss, sources)

    case.arrays[f"{dtype}/outputs"] = outputs.numpy()
    for state, array in zip(states, stacked, strict=True):
        case.arrays[f"{dtype}/{state}_n"] = array.numpy()
    for name, gradient in gradients.items():
        case.arrays[f"{dtype}/gradients/{name}"] = gradient.numpy()


def main() -> None:
    kinds = [(cell, False) for cell in LAYERS] + [("gru", True), ("lstm", True)]
    cases = {}
    for cell, bidirectional in kinds:
        for masked in (False, True):
            words = [cell, "both" if bidirectional else "forward", "masked" if masked else "full"]
            cases["-".join(words)] = make_case(cell, bidirectional, masked)
    write(__file__, {"tensorflow": tf.__version__, "keras": keras.__version__}, cases)


if __name__ == "__main__":
    main()
