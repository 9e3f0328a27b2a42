"""The core and the reference reproduce the layers of PyTorch, Keras and ONNX Runtime.

The numbers lie in tests/support/vectors/, each file beside the script that made it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cases import worst_relative
from numpy.typing import NDArray
from vectors.common import LENGTHS, read
from vectors.convert import FRAMEWORKS, Vector, cases, vector

import fastbptt
from fastbptt import reference

Array = NDArray[Any]
# Outputs, final states, and gradients by name; a cell with one state has no "c0".
Result = tuple[Array, tuple[Array, ...], dict[str, Array]]

# Relative to the largest entry of an array. A state is one short sum per step, gradients are sums
# over up to 18 steps whose terms may cancel: of one LSTM bias little more than a tenth remains, and
# what two correct programs differ by grows by as much.
STATE_TOLERANCE = {"float32": 1e-6, "float64": 1e-14}
GRADIENT_TOLERANCE = {"float32": 5e-6, "float64": 1e-13}

# cell -> model, and its option
MODELS: dict[str, tuple[Any, dict[str, Any]]] = {
    "rnn": (fastbptt.RNN, {"nonlinearity": "tanh"}),
    "relu": (fastbptt.RNN, {"nonlinearity": "relu"}),
    "gru": (fastbptt.GRU, {"reset_after": True}),
    "gru_before": (fastbptt.GRU, {"reset_after": False}),
    "lstm": (fastbptt.LSTM, {}),
}

DTYPES = {
    "pytorch": ["float32", "float64"],
    "keras": ["float32", "float64"],
    "onnxruntime": ["float32"],
}
RUNS = [
    pytest.param(framework, name, dtype, id=f"{framework}-{name}-{dtype}")
    for framework, dtypes in DTYPES.items()
    for name in cases(framework)
    for dtype in dtypes
]


def as_state(states: tuple[Array, ...]) -> Any:
    """A cell's states as users give them: one array, or a tuple."""
    return states[0] if len(states) == 1 else states


def as_tuple(state: Any) -> tuple[Array, ...]:
    return state if isinstance(state, tuple) else (state,)


def run_core(v: Vector) -> Result:
    make, option = MODELS[v.cell]
    model = make(
        v.x.shape[2],
        v.initial[0].shape[2],
        num_layers=v.num_layers,
        bidirectional=v.bidirectional,
        bias="b_h" in v.params,
        dtype=v.x.dtype.name,
        **option,
    )
    assert list(model.parameters) == list(v.params)
    for name, value in v.params.items():
        model.parameters[name][...] = value
    out = model.forward(v.x, v.lengths, as_state(v.initial))
    grads = {}
    if v.d_outputs is not None:
        found = model.backward(
            out, v.d_outputs, d_final_state=as_state(v.d_final), need_input_grad=True
        )
        grads = {name: found[name] for name in v.params} | {"x": found.x}
        grads |= dict(zip(("h0", "c0"), as_tuple(found.h0), strict=False))
    return out.outputs, as_tuple(out.final_state), grads


def run_reference(v: Vector) -> Result:
    options: dict[str, Any] = {
        "cell": v.cell,
        "num_layers": v.num_layers,
        "bidirectional": v.bidirectional,
        "lengths": v.lengths,
        "h0": as_state(v.initial),
    }
    out = reference.forward(v.params, v.x, **options)
    grads = {}
    if v.d_outputs is not None:
        grads = reference.backward(v.params, v.x, out, v.d_outputs, as_state(v.d_final), **options)
    return out.outputs, as_tuple(out.final_state), grads


@pytest.mark.parametrize("run", [run_core, run_reference], ids=["core", "reference"])
@pytest.mark.parametrize(("framework", "name", "dtype"), RUNS)
def test_outputs_states_and_gradients(
    framework: str, name: str, dtype: str, run: Callable[[Vector], Result]
) -> None:
    v = vector(framework, name, dtype)
    outputs, final, grads = run(v)
    states = [("outputs", outputs, v.outputs)]
    states += [(f"final state {k}", *two) for k, two in enumerate(zip(final, v.final, strict=True))]
    gradients = [(key, grads[key], expected) for key, expected in v.grads]
    for tolerance, arrays in ((STATE_TOLERANCE, states), (GRADIENT_TOLERANCE, gradients)):
        for what, found, expected in arrays:
            assert found.dtype == dtype, what
            assert found.shape == expected.shape, what
            assert worst_relative(found, expected) <= tolerance[dtype], what
    if v.d_outputs is not None:
        assert {key for key, _ in v.grads} == set(grads)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_file_says_how_it_was_made(framework: str) -> None:
    metadata, _ = read(framework)
    assert (Path(__file__).parent.parent / "support" / "vectors" / metadata["script"]).is_file()
    assert "numpy" in metadata["versions"]


def test_the_files_hold_every_cell_both_ways_with_and_without_padding() -> None:
    expected = {
        "pytorch": {"rnn", "relu", "gru", "lstm"},
        "keras": {"rnn", "gru", "gru_before", "lstm"},
        "onnxruntime": {"rnn", "relu", "gru", "gru_before", "lstm"},
    }
    for framework, cells in expected.items():
        vectors = [vector(framework, name, "float32") for name in cases(framework)]
        for padded in (False, True):
            some = [v for v in vectors if (v.lengths is not None) == padded]
            assert {v.cell for v in some} == cells
            both_ways = {v.cell for v in some if v.bidirectional}
            assert both_ways == (cells if framework != "keras" else {"gru", "lstm"})
            if framework == "pytorch":
                stacked = {(v.cell, v.bidirectional) for v in some if v.num_layers == 2}
                assert len(stacked) == 8


def test_keras_repeats_the_last_output_in_padding() -> None:
    # What `vector` replaces by zeros. Bidirectional has zeros itself.
    for case in cases("keras").values():
        if case.options["masked"] and not case.options["bidirectional"]:
            outputs = case.arrays["float32/outputs"]
            for sequence, length in zip(outputs, LENGTHS, strict=True):
                assert (sequence[length:] == sequence[length - 1]).all()
