"""Networks from and to Keras, with and without Keras."""

from __future__ import annotations

import io
import json
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exchanged import STRUCTURES, cells, close, inputs, network, same, seen

import fastbptt
from fastbptt.interchange import from_keras, to_keras, to_keras_weights

STEPS = ("last", "all", "mean", "max")
# Keras on PyTorch calls NumPy as it should no longer.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("cell", cells("keras"))
def test_a_list_of_weights_to_the_bit(cell: str, structure: str) -> None:
    model = network(cell, structure, dropout=0.0)
    options = {"cell": cell, "bidirectional": model.bidirectional}
    if model.bias or structure == "output bias":
        assert same(from_keras(to_keras_weights(model), **options), model)


def test_a_list_that_may_be_two_networks_is_refused() -> None:
    rng = np.random.default_rng(0)

    def weights(*shapes: tuple[int, ...]) -> list[Any]:
        return [rng.normal(size=shape) for shape in shapes]

    square = weights((4, 16), (4, 16), (16,), (4, 16), (4, 16), (16,))
    for source, options, words in (
        (square, {}, "bidirectional is None, but .* leave it open; expected True or False"),
        (weights((3, 4), (4, 4), (4,)), {}, "cell is None, .* one of relu, rnn"),
        (weights((3, 12), (4, 12)), {}, "cell is None, .* one of gru, gru_before"),
        (weights((3, 12), (5, 12)), {}, "source has arrays of shapes"),
        (weights((3, 12)), {}, "source is a list of 1 arrays"),
        (square, {"cell": "gru"}, "source has arrays of shapes"),
        (square, {"logits": True}, "logits is True, but weights alone"),
        (square, {"cell": "conv"}, 'cell is "conv"; expected one of'),
        ([*square[:-1], square[-1] * np.nan], {}, r"source\[5\] holds a value that is not finite"),
        ([*square[:-1], "text"], {}, r"source\[5\] has dtype"),
        (3, {}, "source is of type int"),
    ):
        with pytest.raises((ValueError, TypeError), match=words):
            from_keras(source, **options)  # type: ignore[arg-type]
    assert from_keras(square, bidirectional=True).bidirectional
    assert from_keras(square, bidirectional=False).num_layers == 2


@pytest.mark.parametrize("cell", [one for one in fastbptt.cells() if one not in cells("keras")])
def test_cells_that_keras_does_not_have(cell: str) -> None:
    alpha = 0.5 if fastbptt._core.cell_info(cell)["setting"] else None
    model = fastbptt.Recurrent(cell, 3, 4, alpha=alpha, seed=0)
    with pytest.raises(ValueError, match=f'the cell "{cell}", which Keras does not have'):
        to_keras_weights(model)


def test_states_that_keras_does_not_have() -> None:
    for options in ({"learn_initial_state": True}, {"static_size": 2}):
        with pytest.raises(ValueError, match="which Keras does not have"):
            to_keras_weights(network("lstm", "readout", **options))


# ---------------------------------------------------------------- Keras


@pytest.fixture
def keras() -> Any:
    return pytest.importorskip("keras", reason="needs Keras")


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("cell", cells("keras"))
def test_round_trip_outputs_and_files(
    cell: str, structure: str, keras: Any, tmp_path: Path
) -> None:
    number = [*STRUCTURES].index(structure) + cells("keras").index(cell)
    steps, dtype = STEPS[number % 4], ("float32", "float64")[number % 2]
    model = network(cell, structure, dtype=dtype)
    net = to_keras(model, steps=steps)
    x = inputs(model)
    assert close(keras.ops.convert_to_numpy(net(x)), seen(model, x, steps))
    read = from_keras(net)
    assert same(read, model) and read._trained_steps == steps
    assert to_keras(model, net) is net
    for name in ("model.keras", "model.weights.h5"):
        net.save(tmp_path / name) if name.endswith("keras") else net.save_weights(tmp_path / name)
    read = from_keras(tmp_path / "model.keras")
    assert same(read, model) and read._trained_steps == steps
    flat = from_keras(tmp_path / "model.weights.h5", cell=cell)
    assert flat.parameters.flat.tobytes() == read.parameters.flat.tobytes()


def chains() -> dict[str, tuple[Callable[[Any], list[Any]], str]]:
    """Chains of layers after an input, and the words of their refusal."""
    return {
        "hard": (lambda k: [k.LSTM(4, recurrent_activation="hard_sigmoid")], "hard_sigmoid"),
        "elu": (lambda k: [k.SimpleRNN(4, activation="elu")], "has activation='elu'"),
        "relu": (lambda k: [k.LSTM(4, activation="relu")], r"\(LSTM\) has activation='relu'"),
        "backwards": (lambda k: [k.LSTM(4, go_backwards=True)], "go_backwards=True"),
        "masking": (lambda k: [k.Masking(), k.LSTM(4)], r"\(Masking\) has no counterpart"),
        "sum": (lambda k: [k.Bidirectional(k.LSTM(4), merge_mode="sum")], "merge_mode='sum'"),
        "sizes": (lambda k: [k.LSTM(4, return_sequences=True), k.LSTM(5)], "layer 1 has 5"),
        "cells": (lambda k: [k.LSTM(4, return_sequences=True), k.GRU(4)], 'is of cell "gru"'),
        "two dense": (lambda k: [k.LSTM(4), k.Dense(3), k.Dense(1)], "follows the Dense layer"),
        "sigmoid": (lambda k: [k.LSTM(4), k.Dense(1, "sigmoid")], "logits is False, but layer"),
        "gelu": (lambda k: [k.LSTM(4), k.Dense(1, "gelu")], "has the activation 'gelu'"),
        "convolution": (lambda k: [k.Conv1D(3, 2), k.LSTM(4)], r"\(Conv1D\) has no counterpart"),
        "constraint": (lambda k: [k.LSTM(4, kernel_constraint="non_neg")], "kernel_constraint="),
        "cell layer": (lambda k: [k.RNN(k.LSTMCell(4))], r"\(RNN\) has no counterpart"),
        "dense first": (lambda k: [k.Dense(3), k.LSTM(4)], "comes before the recurrent layers"),
        "nothing": (lambda k: [k.Dropout(0.5)], "source has no recurrent layer"),
    }


@pytest.mark.parametrize("name", chains())
def test_layers_without_counterpart(name: str, keras: Any, tmp_path: Path) -> None:
    make, words = chains()[name]
    net = keras.Sequential([keras.Input((None, 3)), *make(keras.layers)])
    net.save(tmp_path / "model.keras")
    for source in (net, tmp_path / "model.keras"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with pytest.raises(ValueError, match=words):
                from_keras(source)


def test_graphs_that_are_no_chain(keras: Any, tmp_path: Path) -> None:
    layers, x = keras.layers, keras.Input((None, 3))
    state = keras.Input((4,))
    h = layers.LSTM(4, return_sequences=True)(x)
    own = layers.LSTM(4, return_sequences=True, return_state=True)(x)
    for net, words in (
        (keras.Model(x, layers.LSTM(4)(layers.Add()([h, h]))), "reads .*: a chain of layers"),
        (keras.Model(x, [h, layers.LSTM(4)(h)]), "source has the outputs"),
        (keras.Model([x, state], layers.LSTM(4)(x, initial_state=[state, state])), "inputs"),
        (keras.Model(x, layers.Dense(1)(own[1])), r"reads .* \(output 1\)"),
    ):
        net.save(tmp_path / "model.keras")
        for source in (net, tmp_path / "model.keras"):
            with pytest.raises(ValueError, match=words):
                from_keras(source)
    chain = keras.Model(
        x, layers.TimeDistributed(layers.Dense(2))(layers.LSTM(4, return_sequences=True)(h))
    )
    assert from_keras(chain).num_layers == 2


def test_layers_alone_and_what_only_training_does(keras: Any) -> None:
    layers = keras.layers
    gru = layers.GRU(4)
    with pytest.raises(ValueError, match="source is not built"):
        from_keras(gru)
    gru.build((None, None, 3))
    assert from_keras(gru).cell == "gru"
    both = layers.Bidirectional(layers.LSTM(4, kernel_regularizer="l2"))
    both.build((None, None, 3))
    with pytest.warns(UserWarning, match="kernel_regularizer left out"):
        assert from_keras(both).bidirectional
    net = keras.Sequential(
        [keras.Input((None, 3)), layers.LSTM(4), layers.Dropout(0.5), layers.Dense(1, "sigmoid")]
    )
    with pytest.warns(UserWarning, match=r"\(Dropout\) left out"):
        model = from_keras(net, logits=True)
    assert model.output_size == 1
    with pytest.raises(ValueError, match='cell is "lstm", but source is a network'):
        from_keras(gru, cell="lstm")
    masked = keras.Sequential(
        [keras.Input((None,)), layers.Embedding(5, 3, mask_zero=True), layers.LSTM(4)]
    )
    with pytest.raises(ValueError, match=r"mask_zero=True; expected False; give lengths"):
        from_keras(masked)


def test_what_does_not_fit_into_a_network(keras: Any) -> None:
    model, layers = network("lstm", "readout"), keras.layers
    for chain, words in (
        ([layers.GRU(4), layers.Dense(2)], "into has cell gru; expected those of the model, lstm"),
        ([layers.LSTM(5), layers.Dense(2)], "into has weights of shapes"),
        ([layers.LSTM(4)], "into has weights of shapes"),
    ):
        net = keras.Sequential([keras.Input((None, 3)), *chain])
        with pytest.raises(ValueError, match=words):
            to_keras(model, net)
    net = keras.Sequential([keras.Input((None, 3)), layers.LSTM(4), layers.Dense(2)])
    with pytest.raises(ValueError, match=r"into has float32 in .*cannot hold float64 exactly"):
        to_keras(network("lstm", "readout", dtype="float64"), net)
    for options, words in (
        ({"steps": "all"}, 'steps is "all", but into is a network'),
        ({"activation": "sigmoid"}, 'activation is "sigmoid", but into is a network'),
    ):
        with pytest.raises(ValueError, match=words):
            to_keras(model, net, **options)
    with pytest.raises(ValueError, match='activation is "sigmoid", but the model has no readout'):
        to_keras(network("lstm", "plain"), activation="sigmoid")
    with pytest.raises(TypeError, match="into is of type int"):
        to_keras(model, 3)  # type: ignore[arg-type]
    with pytest.warns(UserWarning, match="padding_index=0 is left out"):
        to_keras(network("lstm", "tokens", padding_index=0))


# ---------------------------------------------------------------- hostile files


def archive(config: Any, weights: bytes = b"", text: str | None = None) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("config.json", json.dumps(config) if text is None else text)
        made.writestr("model.weights.h5", weights)
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"no archive", "it is no whole archive"),
        (b"\x89HDF\r\n", r"it is no .*, or the model: from_keras\(keras.models.load_model"),
        (archive({}), "it describes None"),
        (archive(3), "it describes None"),
        (archive({"class_name": "Lambda", "config": {}}), "it describes 'Lambda'"),
        (archive({}, text="{" * 90), "its config.json is no JSON"),
        (archive({}, text=" " * 10_000_000), "config.json has 10000000 bytes"),
    ],
)
def test_a_broken_archive_is_refused(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"cannot read .*model.keras'?: ({words})"):
        from_keras(path)


def test_a_file_of_own_classes_and_broken_weights(keras: Any, tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py", reason="needs h5py")
    net = to_keras(network("lstm", "readout"))
    path, target = tmp_path / "model.keras", tmp_path / "changed.keras"
    net.save(path)
    with zipfile.ZipFile(path) as made:
        config, weights = json.loads(made.read("config.json")), made.read("model.weights.h5")
    foreign = json.loads(json.dumps(config))
    foreign["config"]["layers"][1]["module"] = "os"
    target.write_bytes(archive(foreign, weights))
    with pytest.raises(ValueError, match="is of the class 'os'"):
        from_keras(target)
    rng = np.random.default_rng(0)
    for length in range(0, len(weights), len(weights) // 40):
        target.write_bytes(archive(config, weights[:length]))
        with pytest.raises(ValueError, match=r"changed\.keras"):
            from_keras(target)
    for _ in range(60):
        flipped = bytearray(weights)
        flipped[rng.integers(len(flipped))] ^= 1 << rng.integers(8)
        target.write_bytes(archive(config, bytes(flipped)))
        try:
            from_keras(target)
        except ValueError as error:
            message = str(error)
            assert "changed.keras" in message
    claims = io.BytesIO()
    with h5py.File(claims, "w") as file:
        group = file.create_group("layers/lstm/cell/vars")
        group.create_dataset("0", shape=(1 << 20, 1 << 20), dtype="f4", chunks=(1, 1024))
        file["layers/lstm/cell/vars/1"] = h5py.ExternalLink("/etc/hosts", "/")
    target.write_bytes(archive(config, claims.getvalue()))
    with pytest.raises(ValueError, match="is not stored as such"):
        from_keras(target)
