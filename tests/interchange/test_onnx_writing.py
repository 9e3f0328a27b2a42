"""ONNX files that we write: to the bit when read again, the same outputs in ONNX Runtime."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exchanged import STRUCTURES, cells, close, inputs, network, same, seen

import fastbptt
from fastbptt.interchange import formats, from_onnx, to_onnx

STEPS = ("last", "all", "mean", "max")
#: What else a network may have, and what a file may.
FURTHER: dict[str, dict[str, Any]] = {
    "learned": {"learn_initial_state": True},
    "static": {"static_size": 2},
    "both of them": {"static_size": 2, "learn_initial_state": True},
}


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("cell", cells("onnx"))
def test_round_trip_to_the_bit(cell: str, structure: str) -> None:
    for number, steps in enumerate(STEPS):
        dtype = ("float32", "float64")[number % 2]
        model = network(cell, structure, dtype=dtype)
        read = from_onnx(to_onnx(model, steps=steps, dtype=dtype, opset=14 + 2 * number))
        assert same(read, model)
        assert read._trained_steps == steps


@pytest.mark.parametrize("further", FURTHER)
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_initial_states_to_the_bit(cell: str, further: str) -> None:
    for structure in ("deep", "both"):
        model = network(cell, structure, **FURTHER[further])
        assert same(from_onnx(to_onnx(model, lengths=True)), model)
        if "static_size" not in FURTHER[further]:
            assert same(from_onnx(to_onnx(model, states=True, steps="all")), model)


@pytest.mark.parametrize("cell", cells("onnx"))
def test_streaming_to_the_bit(cell: str) -> None:
    for options in ({}, {"learn_initial_state": True}, {"embedding": 7}):
        model = network(cell, "deep", **options)
        assert same(from_onnx(to_onnx(model, single_step=True)), model)


def test_signs_of_zero_and_denormal_numbers_stay() -> None:
    model = network("gru", "both")
    model.parameters.flat[::3] = -0.0
    model.parameters.flat[1::3] = 1e-42
    assert same(from_onnx(to_onnx(model)), model)


def test_zeros_may_be_learned_and_a_vocabulary_small() -> None:
    model = fastbptt.LSTM(3, 4, 1, learn_initial_state=True, static_size=2, embedding=1, seed=0)
    assert not model.parameters["h0"].any()
    model.parameters["W_sh"][:] = 0
    assert same(from_onnx(to_onnx(model)), model)


def test_where_it_is_written(tmp_path: Path) -> None:
    model = network("rnn", "readout")
    content = to_onnx(model)
    path = tmp_path / "model.onnx"
    assert to_onnx(model, path) is None
    assert path.read_bytes() == content
    file = io.BytesIO()
    to_onnx(model, file)
    assert file.getvalue() == content


def test_a_format_of_fastbptt_export(tmp_path: Path) -> None:
    model, path = network("gru", "both", dtype="float64"), str(tmp_path / "model.onnx")
    assert formats.find(path).write(model, path, dtype="float64").files == (path,)
    assert same(formats.read(path), model)


def test_the_steps_of_the_last_training_step_are_written() -> None:
    model = network("rnn", "readout")
    x = inputs(model)
    model.train_step(x, np.zeros((*x.shape[:2], 2)), fastbptt.SGD(), loss="mse", steps="all")
    assert from_onnx(to_onnx(model))._trained_steps == "all"


def refusals() -> dict[str, tuple[fastbptt.Recurrent, dict[str, Any], str]]:
    plain, both = network("lstm", "readout"), network("lstm", "both")
    static = network("lstm", "readout", static_size=2)
    wide = network("lstm", "readout", dtype="float64")
    return {
        "leaky": (
            fastbptt.LeakyRNN(3, 4, seed=0),
            {},
            'model has the cell "leaky", which ONNX does not have; expected one of rnn, relu, gru',
        ),
        "float64": (wide, {}, 'dtype is None, .* expected dtype="float32", which rounds'),
        "opset": (plain, {"opset": 13}, "opset is 13; expected 14 to 22"),
        "steps": (plain, {"steps": "first"}, 'steps is "first"'),
        "activation": (plain, {"activation": "relu"}, 'activation is "relu"'),
        "no readout": (
            network("lstm", "plain"),
            {"activation": "sigmoid"},
            'activation is "sigmoid", but the model has no readout',
        ),
        "one output": (
            fastbptt.RNN(3, 4, 1, seed=0),
            {"activation": "softmax"},
            "of which softmax always makes 1",
        ),
        "lengths": (plain, {"lengths": [3]}, r"lengths is \[3\]; expected True or False"),
        "directions": (both, {"single_step": True}, "single_step is True, but bidirectional=True"),
        "stream": (plain, {"single_step": True, "steps": "all"}, "steps is given, but single_step"),
        "stream lengths": (plain, {"single_step": True, "lengths": True}, "lengths is given, but"),
        "static": (static, {"states": True}, "states is True, but .* static"),
        "static stream": (static, {"single_step": True}, "single_step is True, but .* static"),
    }


@pytest.mark.parametrize("name", refusals())
def test_refused_by_name(name: str) -> None:
    model, options, words = refusals()[name]
    with pytest.raises((ValueError, TypeError), match=words):
        to_onnx(model, **options)


def test_nan_is_refused() -> None:
    model = network("lstm", "readout")
    model.parameters["b_y"][0] = np.nan
    with pytest.raises(ValueError, match="model holds NaN or infinity in b_y"):
        to_onnx(model)


def test_bfloat16_is_refused() -> None:
    try:
        model = fastbptt.LSTM(3, 4, precision="bfloat16", seed=0)
    except ValueError:
        pytest.skip("no products in bfloat16 on this machine")
    with pytest.raises(ValueError, match=r'model has precision="bfloat16".*load_state_dict'):
        to_onnx(model)


# ---------------------------------------------------------------- ONNX Runtime


def session(content: bytes) -> Any:
    runtime = pytest.importorskip("onnxruntime", reason="needs ONNX Runtime")
    options = runtime.SessionOptions()
    options.log_severity_level = 3  # it warns of states that may be left out
    return runtime.InferenceSession(content, options)


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("cell", cells("onnx"))
def test_outputs_of_onnx_runtime(cell: str, structure: str) -> None:
    pytest.importorskip("onnxruntime", reason="needs ONNX Runtime")
    model = network(cell, structure)
    x, ends = inputs(model), np.array([4, 6, 1], np.int32)
    for opset, steps in zip((14, 17, 18, 22), STEPS, strict=True):
        for lengths in (None, ends):
            given = {"x": x} if lengths is None else {"x": x, "lengths": lengths}
            content = to_onnx(model, steps=steps, opset=opset, lengths=lengths is not None)
            (got,) = session(content).run(None, given)
            assert close(got, seen(model, x, steps, lengths))


@pytest.mark.parametrize("cell", cells("onnx"))
def test_states_of_onnx_runtime(cell: str) -> None:
    pytest.importorskip("onnxruntime", reason="needs ONNX Runtime")
    model = network(cell, "both")
    x, rng = inputs(model), np.random.default_rng(3)
    names = ["h0", "c0"][: len(model._input_spec.states)]
    states = [rng.normal(size=(4, 3, 4)).astype(np.float32) for _ in names]
    got, *final = session(to_onnx(model, states=True, steps="all")).run(
        None, {"x": x, **dict(zip(names, states, strict=True))}
    )
    want = model.forward(x, h0=tuple(states) if len(states) > 1 else states[0])
    finals = want.final_state if isinstance(want.final_state, tuple) else (want.final_state,)
    assert close(got, want.outputs)
    assert all(close(a, b) for a, b in zip(final, finals, strict=True))


@pytest.mark.parametrize("further", FURTHER)
@pytest.mark.parametrize("cell", cells("onnx"))
def test_initial_states_of_onnx_runtime(cell: str, further: str) -> None:
    pytest.importorskip("onnxruntime", reason="needs ONNX Runtime")
    model = network(cell, "both", output_size=None, **FURTHER[further])
    x, static = inputs(model), np.random.default_rng(3).normal(size=(3, 2)).astype(np.float32)
    given = {"static": static} if model.static_size else {}
    (got,) = session(to_onnx(model)).run(None, {"x": x, **given})
    assert close(got, model.forward(x, **given).last)


@pytest.mark.parametrize("cell", cells("onnx"))
def test_steps_of_onnx_runtime(cell: str) -> None:
    pytest.importorskip("onnxruntime", reason="needs ONNX Runtime")
    for learned in (False, True):
        model = network(cell, "deep", learn_initial_state=learned)
        run = session(to_onnx(model, single_step=True))
        x, state = inputs(model, time=20), model.initial_state(3)
        whole = state if isinstance(state, tuple) else (state,)
        names = ["h0", "c0"][: len(whole)]
        given = {} if learned else dict(zip(names, [one.copy() for one in whole], strict=True))
        for t in range(20):
            got, *states = run.run(None, {"x": x[:, t], **given})
            given = dict(zip(names, states, strict=True))
            assert close(got, model.step(x[:, t].copy(), state))


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
def test_probabilities_of_onnx_runtime(activation: str) -> None:
    pytest.importorskip("onnxruntime", reason="needs ONNX Runtime")
    model = network("gru", "readout")
    x = inputs(model)
    content = to_onnx(model, activation=activation)
    (got,) = session(content).run(None, {"x": x})
    z = model.forward(x).last.astype(np.float64)
    want = 1 / (1 + np.exp(-z))
    if activation == "softmax":
        want = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    assert close(got, want)
    assert same(from_onnx(content, logits=True), model)


@pytest.mark.parametrize("opset", range(14, 23))
def test_the_checker_of_onnx_accepts_every_form(opset: int) -> None:
    onnx = pytest.importorskip("onnx", reason="needs the package onnx")
    model = network("lstm", "both", learn_initial_state=True)
    for options in ({"steps": "all", "lengths": True}, {"states": True}, {"steps": "max"},
                    {"steps": "mean", "lengths": True}):  # fmt: skip
        content = to_onnx(model, opset=opset, **options)
        onnx.checker.check_model(onnx.load_from_string(content), full_check=True)
        assert same(from_onnx(onnx.load_from_string(content)), model)
    stream = to_onnx(network("gru", "tokens", static_size=None), single_step=True, opset=opset)
    onnx.checker.check_model(onnx.load_from_string(stream), full_check=True)
