"""Make onnx_torch.npz and onnx_keras.npz: ONNX files of exporters, with inputs and outputs.

    pip install torch==2.13.0 onnx==1.23.2 onnxscript==0.7.2 onnxruntime==1.32.0
    python tests/support/vectors/make_onnx_exports.py torch

    pip install tensorflow-cpu==2.21.0 keras==3.15.1 tf2onnx==1.17.0 onnx==1.23.2
    python tests/support/vectors/make_onnx_exports.py keras

The exporters are torch.onnx's two (CASE/legacy, CASE/dynamo), ``model.export(format="onnx")`` of
Keras on TensorFlow (CASE/keras) and tf2onnx (CASE/tf2onnx). Arrays of a case: ``onnx``, the bytes
of the file; ``x``, its input; ``outputs``, what the network itself computes; ``options``, JSON:
cell, num_layers, bidirectional, output_size, embedding, steps, logits.
"""

from __future__ import annotations

import io
import json
import os
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

B, T, I, H, V = 5, 6, 3, 4, 7  # all different: dynamo fixes sizes that are equal
RNG = np.random.default_rng(0)

stored: dict[str, NDArray[Any]] = {}


def keep(name: str, content: bytes, x: Any, outputs: Any, **options: Any) -> None:
    defaults = {
        "num_layers": 1,
        "bidirectional": False,
        "output_size": 2,
        "embedding": None,
        "steps": "last",
        "logits": False,
    }
    stored[f"{name}/onnx"] = np.frombuffer(without_notes(content), np.uint8)
    stored[f"{name}/x"], stored[f"{name}/outputs"] = np.asarray(x), np.asarray(outputs)
    text = json.dumps(defaults | options)
    stored[f"{name}/options"] = np.frombuffer(text.encode(), np.uint8)


def without_notes(content: bytes) -> bytes:
    """Remove the stack traces that exporters note, which name folders of this machine."""
    import onnx

    model = onnx.load_from_string(content)
    for node in (*model.graph.node, *model.graph.input, *model.graph.output):
        node.ClearField("doc_string")
        node.ClearField("metadata_props")
    for field in ("metadata_props", "value_info", "doc_string"):
        model.graph.ClearField(field)
    model.ClearField("metadata_props")
    return model.SerializeToString()


def torch_cases() -> None:
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(
            self, kind: str, reads: str, embedding: bool = False, end: Any = None, **options: Any
        ) -> None:
            super().__init__()
            self.embedding = nn.Embedding(V, I) if embedding else None
            self.network = getattr(nn, kind)(I, H, **options)
            self.fc = nn.Linear(H * (2 if options.get("bidirectional") else 1), 2)
            self.reads, self.end = reads, end

        def forward(self, x: Any) -> Any:
            y, state = self.network(x if self.embedding is None else self.embedding(x))
            h = state[0] if isinstance(state, tuple) else state
            if self.reads == "last":
                y = y[:, -1]
            elif self.reads == "final":
                y = torch.cat([h[-2], h[-1]], 1) if self.network.bidirectional else h[-1]
            elif self.reads == "mean":
                y = y.mean(1)
            elif self.reads == "max":
                y = y.max(1).values
            y = self.fc(y)
            return y if self.end is None else self.end(y)

    class States(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = nn.LSTM(I, H, num_layers=2)

        def forward(self, x: Any, h0: Any, c0: Any) -> Any:
            return self.network(x, (h0, c0))

    first = {"batch_first": True}
    cases: dict[str, tuple[Any, dict[str, Any]]] = {
        "lstm": (Net("LSTM", "last", **first), {"cell": "lstm"}),
        "gru_deep": (
            Net("GRU", "all", num_layers=2, bidirectional=True),
            {"cell": "gru", "num_layers": 2, "bidirectional": True, "steps": "all"},
        ),
        "lstm_final": (
            Net("LSTM", "final", bidirectional=True, **first),
            {"cell": "lstm", "bidirectional": True},
        ),
        "relu_tokens": (
            Net("RNN", "last", embedding=True, nonlinearity="relu", **first),
            {"cell": "relu", "embedding": V},
        ),
        "rnn": (
            Net("RNN", "all", num_layers=2, **first),
            {"cell": "rnn", "num_layers": 2, "steps": "all"},
        ),
        "gru_mean": (Net("GRU", "mean", bias=False, **first), {"cell": "gru", "steps": "mean"}),
        "gru_sigmoid": (
            Net("GRU", "final", end=nn.Sigmoid(), **first),
            {"cell": "gru", "logits": True},
        ),
        "lstm_max": (Net("LSTM", "max", **first), {"cell": "lstm", "steps": "max"}),
        "states": (
            States(),
            {"cell": "lstm", "num_layers": 2, "output_size": None, "steps": "all"},
        ),
    }
    torch.manual_seed(0)
    for name, (net, options) in cases.items():
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.normal_(std=0.5)
        batch_first = net.network.batch_first
        shape = (B, T, I) if batch_first else (T, B, I)
        x = torch.randint(0, V, (B, T)) if options.get("embedding") else torch.randn(shape)
        given = (x, torch.zeros(2, B, H), torch.zeros(2, B, H)) if name == "states" else (x,)
        result = net.eval()(*given)
        outputs = (result[0] if isinstance(result, tuple) else result).detach().numpy()
        x_ours = x.numpy()
        if not batch_first:
            x_ours = x_ours.swapaxes(0, 1)
            outputs = outputs.swapaxes(0, 1)
        axes = {0: "batch", 1: "time"} if batch_first else {0: "time", 1: "batch"}
        dynamic = {"x": axes} | {n: {1: "batch"} for n in ("h0", "c0")[: len(given) - 1]}
        for opset, folding in ((17, True), (14, False)) if name == "lstm" else ((17, True),):
            file = io.BytesIO()
            torch.onnx.export(
                net,
                given,
                file,
                dynamo=False,
                opset_version=opset,
                input_names=list(dynamic),
                dynamic_axes=dynamic,
                do_constant_folding=folding,
            )
            kind = "legacy" if folding else "unfolded"
            keep(f"{name}/{kind}", file.getvalue(), x_ours, outputs, **options)
        if options["cell"] in ("rnn", "relu"):
            continue  # the dynamo exporter unrolls them
        dims = tuple(
            {place: torch.export.Dim(label) for place, label in own.items()}
            for own in dynamic.values()
        )
        shapes = dims if batch_first else None  # else it fixes the time that it should not
        program = torch.onnx.export(net, given, dynamo=True, dynamic_shapes=shapes, verbose=False)
        keep(f"{name}/dynamo", program.model_proto.SerializeToString(), x_ours, outputs, **options)


def keras_cases() -> None:
    os.environ |= {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    import keras
    import tensorflow as tf
    import tf2onnx
    from keras import layers

    series, tokens = keras.Input((None, I)), keras.Input((None,), dtype="int32")
    cases: dict[str, tuple[list[Any], dict[str, Any]]] = {
        "lstm": ([series, layers.LSTM(H), layers.Dense(2)], {"cell": "lstm"}),
        "lstm_deep": (
            [
                keras.Input((T, I)),
                layers.Bidirectional(layers.LSTM(H, return_sequences=True)),
                layers.Bidirectional(layers.LSTM(H)),
                layers.Dense(2, "sigmoid"),
            ],
            {"cell": "lstm", "num_layers": 2, "bidirectional": True, "logits": True},
        ),
        "gru_deep": (
            [
                series,
                layers.GRU(H, return_sequences=True),
                layers.GRU(H, return_sequences=True),
                layers.Dense(2),
            ],
            {"cell": "gru", "num_layers": 2, "steps": "all"},
        ),
        "gru_before": (
            [series, layers.Bidirectional(layers.GRU(H, reset_after=False)), layers.Dense(2)],
            {"cell": "gru_before", "bidirectional": True},
        ),
        "relu_tokens": (
            [tokens, layers.Embedding(V, I), layers.SimpleRNN(H, "relu"), layers.Dense(2)],
            {"cell": "relu", "embedding": V},
        ),
        "rnn_max": (
            [
                series,
                layers.SimpleRNN(H, return_sequences=True),
                layers.GlobalMaxPooling1D(),
                layers.Dense(2),
            ],
            {"cell": "rnn", "steps": "max"},
        ),
    }
    for name, (chain, options) in cases.items():
        model = keras.Sequential(chain)
        integer = bool(options.get("embedding"))
        x = RNG.integers(0, V, (B, T)) if integer else RNG.normal(size=(B, T, I)).astype("f4")
        x = x.astype("int32") if integer else x
        model.set_weights([RNG.normal(size=one.shape) * 0.5 for one in model.get_weights()])
        outputs = np.asarray(model(x))
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "model.onnx"
            model.export(path, format="onnx", verbose=False)
            keep(f"{name}/keras", path.read_bytes(), x, outputs, **options)
        signature = tf.TensorSpec((None, *x.shape[1:]), x.dtype, name="x")
        function = tf.function(model, input_signature=[signature])
        proto, _ = tf2onnx.convert.from_function(function, input_signature=[signature], opset=18)
        keep(f"{name}/tf2onnx", proto.SerializeToString(), x, outputs, **options)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    (which,) = sys.argv[1:]
    {"torch": torch_cases, "keras": keras_cases}[which]()
    target = Path(__file__).with_name(f"onnx_{which}.npz")
    np.savez_compressed(target, **stored)
    print(f"{target.name}: {len(stored) // 4} files, {target.stat().st_size} bytes")
