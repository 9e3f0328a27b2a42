"""Entries of networks from and to other libraries."""

from __future__ import annotations

from typing import Any

import numpy as np
from effects import Each, Entry, Reason, Refused, With

import fastbptt
from fastbptt.interchange import from_keras, from_onnx, from_torch, to_keras_weights, to_onnx

RNG = np.random.default_rng(0)


def arrays(*shapes: tuple[int, ...]) -> list[Any]:
    return [RNG.normal(size=shape) for shape in shapes]


NET: Any = fastbptt.GRU(2, 4, 1, seed=0, dtype="float32")
OTHER: Any = fastbptt.GRU(2, 4, 1, seed=1, dtype="float32")
FREE = dict(zip(["a.weight_ih_l0", "a.weight_hh_l0"], arrays((4, 2), (4, 4)), strict=True))
TWO = FREE | dict(zip(["b.weight_ih_l0", "b.weight_hh_l0"], arrays((4, 2), (4, 4)), strict=True))
NAMES = ["a.weight_ih_l0", "a.weight_hh_l0", "m.weight"]
SQUARE = dict(zip(NAMES, arrays((12, 4), (12, 4), (5, 4)), strict=True))
SIMPLE = arrays((2, 4), (4, 4), (4,))
FOURS = arrays(*[(4, 16), (4, 16), (16,)] * 2)
TESTS = "tests/interchange/test_{}.py::{}"


ENTRIES: dict[str, Entry] = {
    "interchange.from_keras": Entry(
        from_keras,
        {"source": SIMPLE, "cell": "rnn"},
        {
            "source": Each(
                [one * 2 for one in SIMPLE], Refused("x.keras", "but source is a network")
            ),
            "cell": "relu",
            "bidirectional": With(True, {"source": FOURS, "cell": "lstm", "bidirectional": False}),
            "logits": Refused(True, "logits is True, but weights alone"),
        },
    ),
    "interchange.from_onnx": Entry(
        from_onnx,
        {"source": to_onnx(NET)},
        {
            "source": to_onnx(OTHER),
            "logits": Refused(True, "logits is True, but the network does not end in Sigmoid"),
        },
    ),
    "interchange.from_torch": Entry(
        from_torch,
        {"source": FREE, "nonlinearity": "tanh"},
        {
            "source": {name: one * 2 for name, one in FREE.items()},
            "nonlinearity": "relu",
            "logits": Refused(True, "logits is True, but source has no Sigmoid"),
            "recurrent": Refused("b", "recurrent is 'b'; expected a"),
            "readout": With("m", {"source": SQUARE, "nonlinearity": None}),
            "embedding": With("m", {"source": SQUARE, "nonlinearity": None}),
        },
    ),
    "interchange.to_keras_weights": Entry(to_keras_weights, {"model": NET}, {"model": OTHER}),
    "interchange.to_keras": Entry(
        fastbptt.interchange.to_keras,
        {"model": NET},
        {
            name: Reason("needs Keras", TESTS.format("keras_layers", function))
            for name, function in (
                ("model", "test_round_trip_outputs_and_files"),
                ("into", "test_what_does_not_fit_into_a_network"),
                ("steps", "test_round_trip_outputs_and_files"),
                ("activation", "test_what_does_not_fit_into_a_network"),
            )
        },
    ),
    "interchange.to_onnx": Entry(
        to_onnx,
        {"model": NET},
        {
            "model": OTHER,
            "path": "model.onnx",
            "steps": Each("all", "mean", "max"),
            "lengths": True,
            "states": True,
            "single_step": True,
            "activation": "sigmoid",
            "dtype": "float64",
            "opset": 18,
        },
    ),
    "interchange.to_torch": Entry(
        fastbptt.interchange.to_torch,
        {"model": NET},
        {
            name: Reason("needs PyTorch", TESTS.format("torch_weights", function))
            for name, function in (
                ("model", "test_round_trip_and_outputs"),
                ("into", "test_what_does_not_fit_into_a_module"),
                ("recurrent", "test_round_trip_and_outputs"),
                ("readout", "test_round_trip_and_outputs"),
                ("embedding", "test_round_trip_and_outputs"),
            )
        },
    ),
}
