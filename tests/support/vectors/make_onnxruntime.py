"""Make onnxruntime.npz: the ONNX operators RNN, GRU and LSTM, outputs and states.

    pip install onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
    python tests/support/vectors/make_onnxruntime.py

Cells rnn (RNN, Tanh), relu (RNN, Relu), gru (GRU with ``linear_before_reset=1``), gru_before (GRU
with ``linear_before_reset=0``), lstm, each forward and bidirectional, with given initial states, on
full sequences and with ``sequence_lens`` 4, 6, 1. Operator set 14, layout 0. ONNX Runtime has these
operators in float32 on the processor, and no gradients.

Arrays of a case:

    x (B, T, I), h0, c0 (D, B, H), weights/W, weights/R, weights/B, lengths (B,) if given   given
    float32/Y (T, D, B, H), zero after a sequence's end; float32/Y_h, Y_c (D, B, H)
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import onnx
import onnxruntime
from common import LENGTHS, Case, H, I, draw, given, write
from onnx import TensorProto, helper

# operator, blocks of H rows, attributes
OPERATORS: dict[str, tuple[str, int, dict[str, Any]]] = {
    "rnn": ("RNN", 1, {"activations": ["Tanh"]}),
    "relu": ("RNN", 1, {"activations": ["Relu"]}),
    "gru": ("GRU", 3, {"linear_before_reset": 1}),
    "gru_before": ("GRU", 3, {"linear_before_reset": 0}),
    "lstm": ("LSTM", 4, {}),
}


def make_case(cell: str, bidirectional: bool, with_lengths: bool) -> Case:
    operator, gates, attributes = OPERATORS[cell]
    directions = 1 + bidirectional
    states = "hc" if cell == "lstm" else "h"
    case = Case({"cell": cell, "bidirectional": bidirectional, "with_lengths": with_lengths})
    # No gradients: the arrays of a loss are not used.
    drawn = given(H, directions, len(states))
    case.arrays = {name: drawn[name] for name in ("x", *(f"{state}0" for state in states))}
    if with_lengths:
        case.arrays["lengths"] = LENGTHS
    shapes = {"W": (gates * H, I), "R": (gates * H, H), "B": (2 * gates * H,)}
    for name, shape in shapes.items():
        weight = draw(f"onnx {cell} {name}", directions, *shape, bound=H**-0.5)
        case.arrays[f"weights/{name}"] = weight

    feeds = {name: case.arrays[f"weights/{name}"] for name in shapes}
    feeds["X"] = case.arrays["x"].transpose(1, 0, 2)
    if with_lengths:
        feeds["sequence_lens"] = LENGTHS.astype(np.int32)
    feeds |= {f"initial_{state}": case.arrays[f"{state}0"] for state in states}
    order = ["X", "W", "R", "B", "sequence_lens", *(f"initial_{state}" for state in states)]
    results = ["Y", *(f"Y_{state}" for state in states)]
    attributes = attributes | {"direction": "bidirectional" if bidirectional else "forward"}
    if "activations" in attributes:
        attributes["activations"] = attributes["activations"] * directions
    node = helper.make_node(
        operator,
        [name if name in feeds else "" for name in order],
        results,
        hidden_size=H,
        **attributes,
    )
    values = run(node, feeds, results)
    for name, value in zip(results, values, strict=True):
        case.arrays[f"float32/{name}"] = value
    return case


def run(node: Any, feeds: dict[str, Any], results: list[str]) -> list[Any]:
    """Run a model of one node."""
    kinds = {"float32": TensorProto.FLOAT, "int32": TensorProto.INT32}
    graph = helper.make_graph(
        [node],
        "one_layer",
        [
            helper.make_tensor_value_info(name, kinds[array.dtype.name], array.shape)
            for name, array in feeds.items()
        ],
        [
            helper.make_tensor_value_info(
                name, TensorProto.FLOAT, [None] * (4 if name == "Y" else 3)
            )
            for name in results
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    values: list[Any] = session.run(results, feeds)
    return values


def main() -> None:
    cases = {}
    for cell, bidirectional, lengths in itertools.product(OPERATORS, (False, True), (False, True)):
        words = [cell, "both" if bidirectional else "forward", "lengths" if lengths else "full"]
        cases["-".join(words)] = make_case(cell, bidirectional, lengths)
    versions = {"onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__}
    write(__file__, versions, cases)


if __name__ == "__main__":
    main()
