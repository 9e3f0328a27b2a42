"""Files of RTNeural and Neural Amp Modeler: their own, ours to the bit, and all that is refused."""

from __future__ import annotations

import copy
import itertools
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import fastbptt
from fastbptt.interchange import from_nam, from_rtneural, to_nam, to_rtneural

DATA = Path(__file__).parent / "data"
FORMS = ("keras", "torch", "guitarml")
RATE = 44100
Array = NDArray[Any]


def drawn(cell: str, *sizes: int, **options: Any) -> fastbptt.Recurrent:
    """Make a model whose every parameter is drawn, the initial state too."""
    model = fastbptt.Recurrent(cell, *sizes, seed=0, **options)
    rng = np.random.default_rng(1)
    for values in model.parameters.values():
        values[...] = rng.normal(size=values.shape) / 2
    return model


def numbers(name: str) -> Array:
    return np.loadtxt(DATA / f"{name}.csv").reshape(1, -1, 1)


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


# ---------------------------------------------------------------- files of these projects


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_networks_of_rtneural_give_its_outputs(cell: str) -> None:
    prefixes = [f"{cell}.", f"{cell}2.", "dense."]
    model = from_rtneural(DATA / f"rtneural_{cell}_torch.json", layers=prefixes)
    assert (model.cell, model.num_layers, model.output_size) == (cell, 4, 1)
    outputs = model.forward(numbers(f"rtneural_{cell}_torch_x")).outputs
    np.testing.assert_allclose(outputs, numbers(f"rtneural_{cell}_torch_y"), atol=2e-7)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_networks_of_keras_give_its_outputs(cell: str, dtype: str) -> None:
    path = DATA / f"rtneural_{cell}.json"
    (first, _, *rest) = [
        [np.array(one) for one in layer["weights"]]
        for layer in json.loads(path.read_text())["layers"]
    ]
    model = from_rtneural(path, layers=[1] if cell == "gru" else [1, 2], dtype=dtype)
    assert model.dtype == dtype
    x = np.tanh(numbers(f"rtneural_{cell}_x") @ first[0] + first[1])
    outputs = model.forward(x).outputs
    if cell == "gru":
        outputs = sigmoid(outputs @ rest[0][0] + rest[0][1]) @ rest[1][0] + rest[1][1]
    np.testing.assert_allclose(outputs, numbers(f"rtneural_{cell}_y"), atol=2e-7)


def test_a_nam_file_is_written_again_as_it_was(tmp_path: Path) -> None:
    model = from_nam(DATA / "nam_lstm.nam")
    assert model.metadata["sample_rate"] == 48000
    assert model.metadata["nam"]["gear_make"] == "Darkglass Electronics"
    to_nam(model, tmp_path / "again.nam")
    before, after = (
        json.loads(path.read_text()) for path in (DATA / "nam_lstm.nam", tmp_path / "again.nam")
    )
    weights = [np.float32(one.pop("weights")) for one in (before, after)]
    np.testing.assert_array_equal(*weights)
    assert before == after


def played(content: dict[str, Any], x: Array) -> Array:
    """Play a .nam file in NumPy, as its project's C++ reads the numbers."""
    sizes = content["config"]
    hidden, wide = sizes["hidden_size"], sizes["input_size"]
    rest = iter(content["weights"])

    def take(*shape: int) -> Array:
        return np.array([next(rest) for _ in range(np.prod(shape))]).reshape(shape)

    layers = []
    for _ in range(sizes["num_layers"]):
        layers.append(
            [take(4 * hidden, wide + hidden), take(4 * hidden), take(hidden), take(hidden)]
        )
        wide = hidden
    outputs = sizes.get("out_channels", 1)
    head, bias = take(outputs, hidden), take(outputs)
    assert next(rest, None) is None
    made = []
    for value in x:
        below = value
        for layer in layers:
            matrix, offset, h, c = layer
            i, f, g, o = np.split(matrix @ np.concatenate([below, h]) + offset, 4)
            layer[3] = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            layer[2] = below = sigmoid(o) * np.tanh(layer[3])
        made.append(head @ below + bias)
    return np.array(made)


@pytest.mark.parametrize("sizes", [(1, 3, 1), (2, 5, 3)])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_layers": 3, "learn_initial_state": True},
        {"bias": False},
        {"readout_units": [0, 2], "output_bias": False},
    ],
    ids=str,
)
def test_nam_files_play_what_the_model_computes(sizes: Any, options: Any, tmp_path: Path) -> None:
    model = drawn("lstm", *sizes, **options)
    to_nam(model, tmp_path / "a.nam", sample_rate=RATE)
    x = np.random.default_rng(0).normal(size=(20, sizes[0]))
    expected = model.forward(x[np.newaxis]).outputs[0]
    content = json.loads((tmp_path / "a.nam").read_text())
    np.testing.assert_allclose(played(content, x), expected, rtol=1e-5, atol=1e-6)
    again = from_nam(tmp_path / "a.nam").forward(x[np.newaxis]).outputs[0]
    np.testing.assert_allclose(again, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("layers", [1, 3])
def test_a_skip_connection_becomes_units_that_pass_the_input_on(
    layers: int, tmp_path: Path
) -> None:
    model = drawn("lstm", 1, 6, 1, num_layers=layers, learn_initial_state=True)
    to_nam(model, tmp_path / "a.nam", sample_rate=RATE, skip=True)
    x = np.random.default_rng(0).uniform(-1, 1, (1, 300, 1))
    same = from_nam(tmp_path / "a.nam")
    assert same.hidden_size == 7
    expected = model.forward(x).outputs + x
    np.testing.assert_allclose(same.forward(x).outputs, expected, atol=2e-6)
    exact = played(json.loads((tmp_path / "a.nam").read_text()), x[0])
    for values in (model.parameters["W_hy"], model.parameters["b_y"]):
        values[...] = 0.0
    to_nam(model, tmp_path / "a.nam", sample_rate=RATE, skip=True)
    alone = played(json.loads((tmp_path / "a.nam").read_text()), x[0])
    assert np.abs(alone / x[0] - 1).max() < 4e-7 * layers
    np.testing.assert_allclose(exact, expected[0], atol=2e-6)


# ---------------------------------------------------------------- to the bit and back


ROUND_TRIPS = [
    one
    for one in itertools.product(FORMS, ["gru", "lstm", "rnn"], [1, 3], [1, 2, None])
    if not (one[0] == "guitarml" and one[3] is None) and (one[0] == "guitarml" or one[1] != "rnn")
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("form", "cell", "layers", "outputs"), ROUND_TRIPS)
def test_rtneural_round_trip(
    form: str, cell: str, layers: int, outputs: int | None, dtype: str, tmp_path: Path
) -> None:
    model = drawn(cell, 2, 4, outputs, num_layers=layers, dtype=dtype)
    skip = form != "torch" and outputs is not None
    to_rtneural(model, tmp_path / "a.json", form=form, skip=skip)
    same = from_rtneural(tmp_path / "a.json", skip=skip, dtype=dtype)
    assert type(same) is {"gru": fastbptt.GRU, "lstm": fastbptt.LSTM, "rnn": fastbptt.RNN}[cell]
    assert list(same.parameters) == list(model.parameters)
    np.testing.assert_array_equal(same.parameters.flat, model.parameters.flat)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_biases_that_are_not_there_are_zeros(cell: str, form: str, tmp_path: Path) -> None:
    model = drawn(cell, 2, 4, 1, bias=False, readout_units=[1, 2])
    to_rtneural(model, tmp_path / "a.json", form=form)
    x = np.random.default_rng(0).normal(size=(2, 9, 2))
    same = from_rtneural(tmp_path / "a.json")
    np.testing.assert_allclose(same.forward(x).outputs, model.forward(x).outputs, atol=1e-6)


@given(
    st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=10, max_size=10)
)
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_float32_comes_back(tmp_path: Path, values: list[float]) -> None:
    model = fastbptt.LSTM(1, 2, 1, learn_initial_state=True, seed=0)
    model.parameters.flat[:10] = values
    to_nam(model, tmp_path / "a.nam", sample_rate=RATE)
    np.testing.assert_array_equal(
        from_nam(tmp_path / "a.nam").parameters.flat, model.parameters.flat
    )


def test_metadata_go_with_the_files(tmp_path: Path) -> None:
    model = drawn("lstm", 1, 4, 1)
    notes = {"name": "J\u00e4ger", "gain": 0.5, "tags": ["clean", None]}
    to_nam(model, tmp_path / "a.nam", sample_rate=RATE, metadata=notes)
    read = from_nam(tmp_path / "a.nam")
    assert read.metadata == {"sample_rate": RATE, "nam": notes}
    to_rtneural(model, tmp_path / "a.json", sample_rate=RATE + 0.5, metadata=notes)
    read = from_rtneural(tmp_path / "a.json")
    assert read.metadata == {"sample_rate": RATE + 0.5, "rtneural": notes}
    to_rtneural(read, tmp_path / "b.json")
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


# ---------------------------------------------------------------- what cannot be written

REFUSED: dict[str, tuple[Callable[[], Any], Callable[..., None], dict[str, Any], str]] = {
    "cell of nam": (lambda: fastbptt.GRU(1, 3, 1), to_nam, {}, 'cell "gru".* Neural Amp Modeler'),
    "cell": (lambda: fastbptt.RNN(1, 3, 1), to_rtneural, {}, 'cell "rnn".* RTNeural'),
    "leaky": (
        lambda: fastbptt.LeakyRNN(1, 3, 1),
        to_rtneural,
        {"form": "guitarml"},
        'cell "leaky"',
    ),
    "reset": (
        lambda: fastbptt.GRU(1, 3, 1, reset_after=False),
        to_rtneural,
        {"form": "torch"},
        "reset_after",
    ),
    "directions": (
        lambda: fastbptt.LSTM(1, 3, 1, bidirectional=True),
        to_nam,
        {},
        "bidirectional=True",
    ),
    "embedding": (lambda: fastbptt.LSTM(1, 3, 1, embedding=5), to_rtneural, {}, "embedding=5"),
    "static": (lambda: fastbptt.LSTM(1, 3, 1, static_size=2), to_nam, {}, "static_size=2"),
    "state": (
        lambda: drawn("gru", 1, 3, 1, learn_initial_state=True),
        to_rtneural,
        {},
        "initial state, h0",
    ),
    "readout of nam": (lambda: fastbptt.LSTM(1, 3), to_nam, {}, "no readout"),
    "readout of guitarml": (
        lambda: fastbptt.LSTM(1, 3),
        to_rtneural,
        {"form": "guitarml"},
        "no readout",
    ),
    "skip of torch": (
        lambda: fastbptt.LSTM(1, 3, 1),
        to_rtneural,
        {"form": "torch", "skip": True},
        "^skip is True.*no field",
    ),
    "skip without readout": (
        lambda: fastbptt.LSTM(1, 3),
        to_rtneural,
        {"skip": True},
        "^skip is True.*no readout",
    ),
    "skip of two": (
        lambda: fastbptt.LSTM(1, 3, 2),
        to_nam,
        {"skip": True},
        "^skip is True.*output_size=2",
    ),
    "rate": (
        lambda: fastbptt.LSTM(1, 3, 1),
        to_nam,
        {"sample_rate": None},
        "^sample_rate is None.*48000",
    ),
    "rate of 0": (lambda: fastbptt.LSTM(1, 3, 1), to_nam, {"sample_rate": 0}, "^sample_rate is 0"),
    "infinite rate": (
        lambda: fastbptt.LSTM(1, 3, 1),
        to_rtneural,
        {"sample_rate": np.inf},
        "^sample_rate is inf",
    ),
    "rate of guitarml": (
        lambda: fastbptt.LSTM(1, 3, 1),
        to_rtneural,
        {"form": "guitarml", "sample_rate": 1},
        "^sample_rate is 1.*no field",
    ),
    "metadata of torch": (
        lambda: fastbptt.LSTM(1, 3, 1),
        to_rtneural,
        {"form": "torch", "metadata": {}},
        "^metadata is {}.*no field",
    ),
    "metadata": (
        lambda: fastbptt.LSTM(1, 3, 1),
        to_nam,
        {"metadata": {"a": np.ones(2)}},
        "^metadata cannot be written",
    ),
    "metadata of text": (
        lambda: fastbptt.LSTM(1, 3, 1),
        to_rtneural,
        {"metadata": "me"},
        "^metadata is 'me'",
    ),
    "two rates": (
        lambda: fastbptt.LSTM(1, 3, 1),
        to_rtneural,
        {"metadata": {"samplerate": 1}},
        "^metadata has samplerate",
    ),
    "form": (lambda: fastbptt.LSTM(1, 3, 1), to_rtneural, {"form": "onnx"}, '^form is "onnx"'),
    "model": (lambda: 3, to_rtneural, {}, "^model is of type int"),
}


@pytest.mark.parametrize(("make", "write", "options", "words"), REFUSED.values(), ids=REFUSED)
def test_refused(make: Any, write: Any, options: Any, words: str, tmp_path: Path) -> None:
    if write is to_nam:
        options = {"sample_rate": RATE} | options
    with pytest.raises((ValueError, TypeError), match=words):
        write(make(), tmp_path / "a", **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("write", [to_nam, to_rtneural])
def test_weights_that_are_not_finite(write: Any, tmp_path: Path) -> None:
    model = fastbptt.LSTM(1, 3, 1)
    model.parameters["b_y"][0] = np.nan
    with pytest.raises(ValueError, match="NaN or infinity in b_y"):
        write(model, tmp_path / "a", sample_rate=RATE)


# ---------------------------------------------------------------- what cannot be read

Change = Callable[[dict[str, Any]], Any]


def put(*place: Any) -> Change:
    """Put the last of these at the place that the others lead to."""

    def change(content: dict[str, Any]) -> None:
        where: Any = content
        for key in place[:-2]:
            where = where[key]
        where[place[-2]] = place[-1]

    return change


def drop(*place: Any) -> Change:
    def change(content: dict[str, Any]) -> None:
        where: Any = content
        for key in place[:-1]:
            where = where[key]
        del where[place[-1]]

    return change


SPOILT_NAM: dict[str, tuple[Change, str]] = {
    "architecture": (put("architecture", "WaveNet"), "architecture is 'WaveNet'; expected 'LSTM'"),
    "no architecture": (drop("architecture"), "architecture is missing"),
    "version": (put("version", "0.8.0"), "version is '0.8.0'; expected 0.5 to 0.7"),
    "version of text": (put("version", 0.5), "version is 0.5"),
    "huge": (
        put("config", "hidden_size", 10**12),
        "weights has 70 numbers; expected 4.* for 1 layers of 10{12} units",
    ),
    "more layers": (put("config", "num_layers", 10**9), "weights has 70 numbers; expected"),
    "no units": (
        put("config", "hidden_size", 0),
        "config.hidden_size is 0; expected a whole number",
    ),
    "units of true": (put("config", "hidden_size", True), "config.hidden_size is true"),
    "no layers": (drop("config", "num_layers"), "config.num_layers is missing"),
    "unknown": (put("config", "proj_size", 2), "config.proj_size is unknown"),
    "channels": (put("config", "in_channels", 2), "config.in_channels is 2; expected 1"),
    "outputs": (put("config", "out_channels", 2), "weights has 70 numbers; expected 74"),
    "a weight less": (drop("weights", 3), "weights has 69 numbers; expected 70"),
    "text": (put("weights", 3, "1.0"), r"weights\[3\] is '1.0'; expected a number"),
    "null": (put("weights", 3, None), r"weights\[3\] is null"),
    "true": (put("weights", 3, True), r"weights\[3\] is true"),
    "list": (put("weights", 3, [1.0]), r"weights\[3\] is a list of 1"),
    "weights": (put("weights", {"a": 1}), "weights is an object of 1 keys"),
    "too large": (put("weights", 3, 1e39), "too large for float32"),
    "rate": (put("sample_rate", -48000), "sample_rate is -48000"),
    "rate of text": (put("sample_rate", "48k"), "sample_rate is '48k'"),
    "metadata": (put("metadata", 3), "metadata is 3; expected a JSON object"),
}

SPOILT_KERAS: dict[str, tuple[Change, str]] = {
    "conv1d": (
        put("layers", 0, "type", "conv1d"),
        r"layers\[0\] is 'conv1d'; .*layers= reads a part",
    ),
    "prelu": (put("layers", 1, "type", "prelu"), r"layers\[1\] is 'prelu'"),
    "two kinds": (
        put("layers", 1, "type", "gru"),
        r"layers\[1\] is 'gru'; expected gru or lstm layers of one",
    ),
    "type of a list": (put("layers", 0, "type", [1]), r"layers\[0\] is a list of 1"),
    "dense first": (lambda c: c["layers"].reverse(), r"layers\[0\] is 'dense'"),
    "two dense": (lambda c: c["layers"].append(c["layers"][-1]), r"layers\[1\] is 'dense'"),
    "activation": (
        put("layers", 1, "activation", "tanh"),
        r"layers\[1\].activation is 'tanh'; .*linear",
    ),
    "relu": (
        put("layers", 0, "activation", "relu"),
        r"layers\[0\].activation is 'relu'; expected \"tanh\"",
    ),
    "activation of null": (put("layers", 0, "activation", None), r"layers\[0\].activation is null"),
    "no layers": (put("layers", []), "layers is an empty list"),
    "layers": (put("layers", {}), "layers is an object of 0 keys; expected a list"),
    "skip": (put("in_skip", 2), "in_skip is 2; expected 0 or 1"),
    "skip of text": (put("in_skip", "1"), "in_skip is '1'"),
    "a skip connection": (put("in_skip", 1), "in_skip is 1; expected 0, or skip=True"),
    "gain": (
        put("in_gain", 3.5),
        r"in_gain is 3.5; expected 0 or none: .*10 \*\* \(in_gain / 20\)",
    ),
    "inputs": (
        put("in_shape", [None, None, 2]),
        r"layers\[0\].weights\[0\] is a list of 1; expected a list of 2",
    ),
    "shape": (
        put("in_shape", [None, 1, 1]),
        r"in_shape is \[None, 1, 1\]; expected \[null, null, size\]",
    ),
    "no size": (
        put("in_shape", [None, None, 1.5]),
        r"in_shape\[2\] is 1.5; expected a whole number of at least 1",
    ),
    "shape of 4": (put("in_shape", [None, 1, 1, 1]), "in_shape is"),
    "huge": (
        put("layers", 0, "shape", [None, None, 10**12]),
        r"weights\[0\]\[0\] is a list of 12; expected a list of 4000",
    ),
    "arrays": (
        drop("layers", 0, "weights", 2),
        r"layers\[0\].weights has 2 arrays; expected 3: kernel",
    ),
    "ragged": (
        put("layers", 0, "weights", 1, 1, [0.5]),
        r"layers\[0\].weights\[1\]\[1\] is a list of 1; expected a list of 12",
    ),
    "number": (
        put("layers", 0, "weights", 1, 1, 2, "x"),
        r"layers\[0\].weights\[1\]\[1\]\[2\] is 'x'",
    ),
    "outputs": (
        put("layers", 1, "shape", [None, None, 2]),
        r"layers\[1\].weights\[0\]\[0\] is a list of 1",
    ),
    "no bias": (
        put("layers", 1, "weights", []),
        r"layers\[1\].weights has 0 arrays; expected kernel and bias",
    ),
    "rate": (put("metadata", {"samplerate": 0}), "metadata.samplerate is 0"),
    "rate in words": (put("metadata", {"samplerate": "48k"}), "metadata.samplerate is '48k'"),
}

SPOILT_TORCH: dict[str, tuple[Change, str]] = {
    "reverse": (
        put("lstm.weight_ih_l0_reverse", [[1]]),
        "lstm.weight_ih_l0_reverse is unknown; .*one direction",
    ),
    "projection": (put("lstm.weight_hr_l0", [[1]]), "lstm.weight_hr_l0 is unknown"),
    "a bias less": (drop("lstm.bias_hh_l0"), "lstm.bias_hh_l0 is missing"),
    "a bias more": (drop("lstm.bias_ih_l0"), "lstm.bias_hh_l0 is there; expected biases of all"),
    "layer 2": (put("lstm.weight_ih_l2", [[1]]), "lstm.weight_ih_l1 is missing"),
    "gates": (
        put("lstm.weight_hh_l0", [[0.5, 0.5]] * 10),
        r"lstm.weight_hh_l0 has shape \(10, 2\)",
    ),
    "rows": (
        drop("lstm.weight_ih_l0", 3),
        "lstm.weight_ih_l0 is a list of 11; expected a list of 12",
    ),
    "ragged": (
        put("lstm.weight_ih_l0", 3, []),
        r"lstm.weight_ih_l0\[3\] is a list of 0; expected a list of 1",
    ),
    "conv": (
        put("conv.weight", [[[1]]]),
        "the file has 'lstm.', 'dense.', 'conv.'; .*layers= reads",
    ),
    "two": (put("lstm2.weight_ih_l0", [[1]]), "the file has 'lstm.', 'dense.', 'lstm2.'"),
    "scale": (put("dense.scale", 1), "dense.scale is unknown; expected weight and bias"),
    "no dense": (drop("dense.weight"), "dense.weight is missing"),
    "dense": (
        put("dense.weight", [[1.0]]),
        r"dense.weight\[0\] is a list of 1; expected a list of 3",
    ),
    "nothing": (lambda c: c.clear(), "the file is empty"),
    "other keys": (lambda c: (c.clear(), c.update(a=1)), "the file has a; expected weight_ih_l0"),
}

SPOILT_GUITARML: dict[str, tuple[Change, str]] = {
    "model": (put("model_data", "model", "GatedConvNet"), "model_data.model is 'GatedConvNet'"),
    "unit": (
        put("model_data", "unit_type", "TCN"),
        "model_data.unit_type is 'TCN'; expected one of",
    ),
    "other unit": (
        put("model_data", "unit_type", "GRU"),
        r"state_dict.rec.weight_hh_l0 has shape \(12, 3\)",
    ),
    "size": (
        put("model_data", "hidden_size", 4),
        "model_data.hidden_size is 4; expected 3, as state_dict",
    ),
    "skip": (put("model_data", "skip", 1), "model_data.skip is 1; expected 0, or skip=True"),
    "bias": (
        put("model_data", "bias_fl", False),
        "model_data.bias_fl is false; expected true, as state_dict has it",
    ),
    "no bias": (
        drop("state_dict", "lin.bias"),
        "model_data.bias_fl is true; expected false, as state_dict has it",
    ),
    "bias of text": (put("model_data", "bias_fl", "no"), "model_data.bias_fl is 'no'; expected"),
    "no data": (drop("model_data"), "model_data is missing"),
    "no weights": (drop("state_dict"), "state_dict is missing"),
    "more": (put("state_dict", "conv.weight", [1]), "state_dict.conv.weight is unknown"),
    "no readout": (drop("state_dict", "lin.weight"), "state_dict.lin.weight is missing"),
}

SPOILT = [
    (form, name, change, words)
    for form, table in {
        "nam": SPOILT_NAM,
        "keras": SPOILT_KERAS,
        "torch": SPOILT_TORCH,
        "guitarml": SPOILT_GUITARML,
    }.items()
    for name, (change, words) in table.items()
]
_wholes: dict[str, Any] = {}


def whole(form: str, folder: Path) -> Any:
    """Return the content of a file of each form, with one layer of 3 units and one input."""
    if form not in _wholes:
        model, path = fastbptt.LSTM(1, 3, 1, seed=0), folder / "whole"
        if form == "nam":
            to_nam(model, path, sample_rate=RATE)
        else:
            to_rtneural(model, path, form=form)
        _wholes[form] = json.loads(path.read_text())
    return copy.deepcopy(_wholes[form])


@pytest.mark.parametrize(
    ("form", "change", "words"),
    [(form, change, words) for form, _, change, words in SPOILT],
    ids=[f"{form}-{name}" for form, name, _, _ in SPOILT],
)
def test_spoilt(form: str, change: Change, words: str, tmp_path: Path) -> None:
    content, path = whole(form, tmp_path), tmp_path / "a"
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=words) as error:
        (from_nam if form == "nam" else from_rtneural)(path)
    assert str(error.value).startswith(f"{path}: ")
    assert len(str(error.value)) < 400 + len(str(path))


NO_JSON: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "the file is not JSON"),
    "half": (b'{"version": "0.5.4", "weights": [1.0, 2', "the file is not JSON"),
    "a list": (b"[1, 2]", "the file is a list of 2; expected a JSON object"),
    "nan": (b'{"weights": [NaN]}', "a number is NaN; expected finite numbers"),
    "infinity": (b'{"weights": [-Infinity]}', "a number is -Infinity"),
    "twice": (b'{"a": {"config": 1, "x": 0, "config": 2}}', "'config' is there twice"),
    "deep": (b'{"config": ' + b"[" * 200_000, "nested too deeply"),
    "binary": (b"\x80\x04\x95\xff\xfe" * 9, "the file is not JSON"),
    "digits": (b'{"version": ' + b"9" * 10**6 + b"}", "architecture is missing|version is inf"),
}


@pytest.mark.parametrize(("content", "words"), NO_JSON.values(), ids=NO_JSON)
@pytest.mark.parametrize("read", [from_nam, from_rtneural])
def test_no_json(read: Any, content: bytes, words: str, tmp_path: Path) -> None:
    if read is from_rtneural and b"999" in content:
        words = "weight_ih_l0"
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(ValueError, match=words) as error:
        read(tmp_path / "a")
    assert str(error.value).startswith(str(tmp_path / "a"))


def test_memory_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    path.write_bytes(b'{"a":[' + b"[]," * 50_000 + b"[]]}")
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="version is missing"):
            from_nam(path)
        taken = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    size = path.stat().st_size
    promised = 12 * size + 80 * 50_000
    assert size < taken < promised
    monkeypatch.setattr("fastbptt._core.memory_limit", lambda: promised - size)
    with pytest.raises(MemoryError, match=r"reading .*needs"):
        from_nam(path)


def test_a_file_beyond_all_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastbptt.interchange._json_files._MOST_BYTES", 1 << 20)
    with (tmp_path / "a").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ValueError, match=r"more than 1\.0 MB"):
        from_nam(tmp_path / "a")


PARTS: dict[str, tuple[str, Any, str]] = {
    "not there": ("keras", [3], r"layers\[0\] is 3; expected numbers of layers in the file: 0, 1"),
    "text": ("keras", ["lstm."], r"layers\[0\] is 'lstm.'"),
    "true": ("keras", [True], r"layers\[0\] is True"),
    "none": ("keras", [], "layers is empty"),
    "dense alone": ("keras", [1], r"layers\[1\] is 'dense'"),
    "order": ("keras", [1, 0], r"layers is \[1, 0\]; expected layers that follow each other"),
    "twice": ("torch", ["lstm.", "lstm."], r"layers\[1\] is 'lstm.' again"),
    "dense first": ("torch", ["dense.", "lstm."], "the file has 'dense.', 'lstm.'"),
    "number": ("torch", [0], r"layers\[0\] is 0; expected prefixes of keys: 'lstm.', 'dense.'"),
    "guitarml": ("guitarml", ["rec."], "layers is given; expected None"),
}


@pytest.mark.parametrize(("form", "layers", "words"), PARTS.values(), ids=PARTS)
def test_parts_that_cannot_be_chosen(form: str, layers: Any, words: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_text(json.dumps(whole(form, tmp_path)))
    with pytest.raises((ValueError, TypeError), match=words):
        from_rtneural(tmp_path / "a", layers=layers)


@pytest.mark.parametrize("form", FORMS)
def test_a_skip_connection_that_is_not_there(form: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_text(json.dumps(whole(form, tmp_path)))
    with pytest.raises(ValueError, match="because skip=True"):
        from_rtneural(tmp_path / "a", skip=True)


@pytest.mark.parametrize("place", ["metadata", "file"])
@pytest.mark.parametrize("rate", ["48000", 48000, 48000.0])
def test_rates_of_older_files(rate: Any, place: str, tmp_path: Path) -> None:
    content = whole("keras", tmp_path)
    content |= {"metadata": {"samplerate": rate}} if place == "metadata" else {"samplerate": rate}
    (tmp_path / "a").write_text(json.dumps(content))
    assert from_rtneural(tmp_path / "a").metadata == {"sample_rate": 48000.0, "rtneural": {}}


def test_two_biases_of_keras_are_added(tmp_path: Path) -> None:
    model, path = drawn("gru", 1, 2, 1), tmp_path / "a.json"
    to_rtneural(model, path)
    content = json.loads(path.read_text())
    bias = np.array(content["layers"][0]["weights"][2])
    bias[0, :4], bias[1, :4] = bias[0, :4] - 0.25, 0.25  # z and r, which are sums
    content["layers"][0]["weights"][2] = bias.tolist()
    path.write_text(json.dumps(content))
    x = np.random.default_rng(0).normal(size=(1, 9, 1))
    same = from_rtneural(path)
    np.testing.assert_allclose(same.forward(x).outputs, model.forward(x).outputs, atol=1e-6)
