"""Models as their users see them: arguments, results, parameters, copies."""

from __future__ import annotations

import copy
import itertools
import pickle
import re
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from trained import Bench

import fastbptt
from fastbptt import reference
from fastbptt._views import Gradients
from fastbptt.models.cells import MODELS

# ---------------------------------------------------------------- numbers, end to end

B, T, I, H, O = 5, 7, 3, 6, 2


def problem(loss: str, steps: str, output_size: int | None) -> tuple[Any, dict[str, Any]]:
    rng = np.random.default_rng(11)
    model = fastbptt.RNN(I, H, output_size, dtype="float64", seed=2)
    width = output_size or H
    lead = (B, T) if steps == "all" else (B,)
    y: Any = rng.uniform(size=(*lead, width))
    if loss == "cross_entropy":
        y = rng.integers(0, width, size=lead)
    arguments = {
        "x": rng.normal(size=(B, T, I)),
        "y": y,
        "loss": loss,
        "steps": steps,
        "lengths": np.array([7, 1, 3, 6, 2]),
        "h0": rng.normal(size=(1, B, H)),
        "sample_weight": rng.uniform(0.5, 2.0, size=B),
    }
    return model, arguments


@pytest.mark.parametrize("output_size", [2, 3, None])
@pytest.mark.parametrize("reduction", ["mean", "sum", "sequence_mean"])
@pytest.mark.parametrize("steps", ["last", "all"])
@pytest.mark.parametrize("loss", ["bce", "cross_entropy", "mse"])
def test_every_argument_reaches_the_core(
    loss: str, steps: str, reduction: str, output_size: int | None
) -> None:
    model, arguments = problem(loss, steps, output_size)
    arguments["reduction"] = reduction
    value, grads = model.loss_and_grad(**arguments, need_input_grad=True)
    expected, gradients = reference.loss_and_grad(dict(model.parameters), **arguments)
    assert value == pytest.approx(expected, rel=1e-12)
    assert model.loss(**arguments) == pytest.approx(expected, rel=1e-12)
    for name in model.parameters:
        np.testing.assert_allclose(grads[name], gradients[name], rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(grads.x, gradients["x"], rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(grads.h0, gradients["h0"], rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("output_size", [2, None])
def test_forward_and_backward(output_size: int | None) -> None:
    model, arguments = problem("mse", "all", output_size)
    x, lengths, h0 = (arguments[name] for name in ("x", "lengths", "h0"))
    out = model.forward(x, lengths=lengths, h0=h0)
    params = dict(model.parameters)
    expected = reference.forward(params, x, lengths, h0)
    for name in ("outputs", "hidden", "final_state"):
        array = getattr(out, name)
        np.testing.assert_allclose(array, getattr(expected, name), rtol=1e-12, atol=1e-15)
        assert getattr(out, name) is array
    rng = np.random.default_rng(3)
    up, last = rng.normal(size=out.outputs.shape), rng.normal(size=out.final_state.shape)
    for d_outputs, d_final in ((up, last), (up, None), (None, last)):
        grads = model.backward(out, d_outputs, d_final, need_input_grad=True)
        wanted = reference.backward(params, x, expected, d_outputs, d_final, lengths=lengths, h0=h0)
        for name in params:
            np.testing.assert_allclose(grads[name], wanted[name], rtol=1e-10, atol=1e-14)
        np.testing.assert_allclose(grads.x, wanted["x"], rtol=1e-10, atol=1e-14)
        np.testing.assert_allclose(grads.h0, wanted["h0"], rtol=1e-10, atol=1e-14)
    assert model.backward(out, up).x is None


def test_changing_results_or_x_does_not_change_backward(bench: Bench) -> None:
    x = bench.x.copy()
    out = bench.model.forward(x)
    up = np.ones(out.outputs.shape)
    before = bench.model.backward(out, up, need_input_grad=True)
    for array in (x, out.outputs, out.hidden, out.final_state):
        array[...] = 7.0
    after = bench.model.backward(out, up, need_input_grad=True)
    assert after.flat.tobytes() == before.flat.tobytes()


def test_results_outlive_their_model(bench: Bench) -> None:
    out = bench.model.copy().forward(bench.x)
    assert out.outputs.shape == (3, 4, 1)
    grads = bench.model.copy().loss_and_grad(bench.x, bench.y)[1]
    assert np.isfinite(grads["W_hh"]).all()


# ---------------------------------------------------------------- arrays of every kind


def misaligned(array: Any) -> Any:
    raw = np.zeros(array.nbytes + 1, np.uint8)
    view = raw[1:].view(array.dtype).reshape(array.shape)
    view[...] = array
    assert not view.flags.aligned
    return view


def read_only(array: Any) -> Any:
    array = array.copy()
    array.flags.writeable = False
    return array


def spread(array: Any) -> Any:
    wide = np.full([2 * n for n in array.shape], 9, array.dtype)
    wide[tuple(slice(None, None, 2) for _ in array.shape)] = array
    return wide[tuple(slice(None, None, 2) for _ in array.shape)]


def reversed_view(array: Any) -> Any:
    every = tuple(slice(None, None, -1) for _ in array.shape)
    return np.ascontiguousarray(array[every])[every]


class Wrapped:
    """What pandas, torch and their kind offer."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return self.array if dtype is None else self.array.astype(dtype)


class Capsule:
    """What offers DLPack alone."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def __dlpack__(self, **arguments: Any) -> Any:
        return self.array.__dlpack__(**arguments)

    def __dlpack_device__(self) -> Any:
        return self.array.__dlpack_device__()


def of_a_table(array: Any) -> Any:
    table = np.zeros(len(array), [("data", array.dtype, array.shape[1:]), ("flag", "u1")])
    table["data"] = array
    return table["data"]


class Subclass(np.ndarray):
    pass


KINDS: dict[str, Callable[[Any], Any]] = {
    "fortran": np.asfortranarray,
    "other byte order": lambda a: a.astype(a.dtype.newbyteorder()),
    "misaligned": misaligned,
    "misaligned, other byte order": lambda a: misaligned(a.astype(a.dtype.newbyteorder())),
    "spread": spread,
    "reversed": reversed_view,
    "read-only": read_only,
    "field of a table": of_a_table,
    "subclass": lambda a: a.view(Subclass),
    "masked nowhere": np.ma.masked_array,
    "__array__": Wrapped,
    "__dlpack__": Capsule,
    "buffer": lambda a: memoryview(a),
    "unpickled": lambda a: pickle.loads(pickle.dumps(a)),
    "longdouble": lambda a: a.astype(np.longdouble),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("given", ["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
def test_same_numbers_from_arrays_of_every_kind(kind: str, given: str, dtype: str) -> None:
    model = fastbptt.RNN(I, H, O, dtype=dtype, seed=2)
    rng = np.random.default_rng(0)
    arrays = {
        "x": rng.normal(size=(B, T, I)),
        "y": rng.uniform(size=(B, O)),
        "h0": rng.normal(size=(1, B, H)),
        "sample_weight": rng.uniform(1, 2, size=B),
        "lengths": np.array([7, 1, 3, 6, 2]),
    }
    # numbers that float32 holds, so that every dtype means the same ones
    arrays = {
        name: array.astype(np.float32).astype(given) if array.dtype.kind == "f" else array
        for name, array in arrays.items()
    }
    make = KINDS[kind]
    plain = model.loss_and_grad(**arrays, need_input_grad=True)
    other = model.loss_and_grad(**{k: make(a) for k, a in arrays.items()}, need_input_grad=True)
    assert other[0] == plain[0]
    assert other[1].flat.tobytes() == plain[1].flat.tobytes()
    assert other[1].x.tobytes() == plain[1].x.tobytes()
    out = model.forward(arrays["x"])
    up, last = rng.normal(size=(B, T, O)).astype(given), arrays["h0"]
    expected = model.backward(out, up, last).flat.tobytes()
    assert model.backward(out, make(up), make(last)).flat.tobytes() == expected


class WithAxes(Wrapped):
    """An array with names of axes, as xarray has them."""

    def __init__(self, array: Any, *dims: str) -> None:
        super().__init__(array)
        self.dims = dims

    def transpose(self, *dims: str) -> WithAxes:
        order = [self.dims.index(name) for name in dims]
        return WithAxes(self.array.transpose(order), *dims)


@pytest.mark.parametrize(
    "dims",
    [
        "batch time feature",
        "sample step channel",
        "id a variable",
        "a time b",
        "a b c",
        "batch b c",
    ],
)
def test_axes_in_any_order_are_seen_by_their_names(dims: str) -> None:
    model = fastbptt.RNN(3, 4, 1, seed=0)
    names = dims.split()
    x = np.random.default_rng(0).normal(size=(3, 3, 3))
    expected = model.forward(x).last
    given = WithAxes(x, *names)
    assert np.array_equal(model.forward(given).last, expected)
    for order in itertools.permutations(names):
        other = given.transpose(*order)
        if list(order) == names or names == ["a", "b", "c"]:
            model.forward(other)
            continue
        try:
            model.forward(other)
        except fastbptt.ArgumentError as error:
            message = str(error)
            if "b" in names and "in this order, with" in message and '" as axis ' in message:
                continue  # which of the other two comes first is not known
            advice = message.rpartition(": ")[2]
            there = eval(advice, {"x": other})
            model.forward(there)  # the advice, followed
            assert there.dims == given.dims
        else:  # the named axes are where they belong, the others may be anything
            known = {"batch": 0, "time": 1}
            assert all(order[known[name]] == name for name in order if name in known)


def test_two_named_axes() -> None:
    model = fastbptt.RNN(3, 4, 1, seed=0)
    x, weights = np.zeros((4, 4, 3)), np.triu(np.ones((4, 4)))
    given = {"y": np.zeros((4, 4)), "loss": "mse", "steps": "all"}
    plain = model.loss(x, **given, sample_weight=weights)
    assert model.loss(x, **given, sample_weight=WithAxes(weights, "batch", "time")) == plain
    with pytest.raises(ValueError, match=re.escape(': sample_weight.transpose("Case", "Time")')):
        model.loss(x, **given, sample_weight=WithAxes(weights, "Time", "Case"))
    with pytest.raises(ValueError, match=re.escape(': x[1].transpose("time", "channel")')):
        model.forward([x[0], WithAxes(x[1].T, "channel", "time")])


class Elsewhere:
    """An array on another device."""

    def __init__(self, kind: int, **others: Any) -> None:
        self.kind = kind
        vars(self).update(others)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.kind, 1

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return np.zeros((B, T, I))  # as JAX, which copies without a word


@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (Elsewhere(2, cpu=None), r"on a CUDA device \(1\); .*: x(\[0\])?\.cpu\(\)"),
        (Elsewhere(10, get=None), r"on a ROCm device \(1\); .*: x(\[0\])?\.get\(\)"),
        (Elsewhere(99), r"on a foreign device \(1\); .*: jax\.device_get\(x(\[0\])?\)"),
    ],
)
def test_arrays_of_a_gpu_are_refused(given: Any, expected: str, listed: bool) -> None:
    model = fastbptt.RNN(I, H, O)
    with pytest.raises(TypeError, match=expected):
        model.forward([given] if listed else given)


def test_a_number_type_that_numpy_does_not_have() -> None:
    class Tensor:
        dtype = "torch.bfloat16"

        def __array__(self, *given: Any, **more: Any) -> Any:
            raise TypeError("Got unsupported ScalarType BFloat16")

    with pytest.raises(TypeError, match=r"x has dtype bfloat16; .*: x\.float\(\)$"):
        fastbptt.RNN(I, H, O).forward(Tensor())


@pytest.mark.parametrize("kind", ["?", "i1", "u1", "i2", "i4", "i8", "u8", "f2", ">i4", ">f2"])
def test_integers_and_half_precision_are_converted(bench: Bench, kind: str) -> None:
    x = np.arange(24).reshape(3, 4, 2) % 2
    y = np.array([1, 0, 1])
    expected = bench.model.loss(x.astype(np.float32), y.astype(np.float32))
    assert bench.model.loss(x.astype(kind), y.astype(kind)) == expected
    assert bench.model.loss(x.tolist(), y.tolist()) == expected


def test_one_row_of_a_table(bench: Bench) -> None:
    """Its first axis has an odd stride, which means nothing as the axis has length 1."""
    x, y = of_a_table(bench.x), of_a_table(bench.y)
    assert (x[:1].strides, x[:1].flags.aligned) == ((33, 8, 4), True)
    for i in range(3):
        one = slice(i, i + 1)
        expected = bench.model.loss(bench.x[one], bench.y[one])
        assert bench.model.loss(x[one], y[one]) == expected


def test_overlapping_windows_of_one_series(bench: Bench) -> None:
    series = np.random.default_rng(0).normal(size=8).astype(np.float32)
    windows = np.lib.stride_tricks.as_strided(series, (3, 4, 2), (4, 4, 4))
    assert bench.model.loss(windows, bench.y) == bench.model.loss(windows.copy(), bench.y)
    same = np.broadcast_to(series[:2], (3, 4, 2))
    assert bench.model.loss(same, bench.y) == bench.model.loss(same.copy(), bench.y)


@pytest.mark.parametrize("kind", ["i1", "u2", "i4", ">i8", "u8"])
def test_classes_of_any_integer_dtype(kind: str) -> None:
    bench = Bench(output_size=4)
    y = np.array([3, 0, 2])
    expected = bench.model.loss(bench.x, y, "cross_entropy")
    assert bench.model.loss(bench.x, y.astype(kind), "cross_entropy") == expected
    assert bench.model.loss(bench.x, y.tolist(), "cross_entropy") == expected


@pytest.mark.parametrize("kind", ["u1", "i4", ">i8", "f4", "f8", "list", "tuple"])
def test_lengths_of_any_whole_kind(bench: Bench, kind: str) -> None:
    lengths = np.array([4, 1, 2])
    expected = bench.model.forward(bench.x, lengths).outputs.tobytes()
    given: Any = {"list": list, "tuple": tuple}.get(kind, lambda a: a.astype(kind))(lengths)
    assert bench.model.forward(bench.x, given).outputs.tobytes() == expected


def test_sequences_in_a_list() -> None:
    bench = Bench(output_size=2)
    lengths = [4, 1, 2]
    items = [row[:n] for row, n in zip(bench.x, lengths, strict=True)]
    y = np.random.default_rng(1).uniform(size=(3, 4, 2)).astype(np.float32)
    parts = [row[:n] for row, n in zip(y, lengths, strict=True)]
    padded = bench.model.loss_and_grad(bench.x, y, steps="all", lengths=lengths)
    for x in (items, tuple(items), [item.tolist() for item in items]):
        for given in (None, lengths):
            value, grads = bench.model.loss_and_grad(x, parts, steps="all", lengths=given)
            assert value == padded[0]
            assert grads.flat.tobytes() == padded[1].flat.tobytes()
    assert bench.model.loss(items, y, steps="all") == padded[0]
    out = bench.model.forward(items)
    assert out.outputs.tobytes() == bench.model.forward(bench.x, lengths).outputs.tobytes()
    classes = [np.zeros(n, int) for n in lengths]
    whole = np.zeros((3, 4), int)
    assert bench.model.loss(items, classes, "cross_entropy", "all") == bench.model.loss(
        bench.x, whole, "cross_entropy", "all", lengths=lengths
    )


def test_sequences_in_a_list_of_one_length(bench: Bench) -> None:
    assert bench.model.loss(list(bench.x), bench.y) == bench.model.loss(bench.x, bench.y)


def test_y_may_leave_out_a_last_axis_of_one(bench: Bench) -> None:
    expected = bench.model.loss_and_grad(bench.x, bench.y)
    value, grads = bench.model.loss_and_grad(bench.x, bench.y[:, 0])
    assert (value, grads.flat.tobytes()) == (expected[0], expected[1].flat.tobytes())
    y = np.zeros((3, 4, 1), np.float32)
    assert bench.model.loss(bench.x, y[..., 0], steps="all") == bench.model.loss(
        bench.x, y, steps="all"
    )


def test_arguments_stay_as_they_were(bench: Bench) -> None:
    x, y = bench.x.copy(), bench.y.copy()
    h0, lengths = np.ones((1, 3, 5), np.float32), np.array([4, 1, 2])
    copies = [a.copy() for a in (x, y, h0, lengths)]
    bench.model.train_step(x, y, bench.adam, lengths=lengths, h0=h0, clip_norm=0.1)
    bench.model.loss_and_grad(x, y, lengths=lengths, h0=h0, need_input_grad=True)
    for array, before in zip((x, y, h0, lengths), copies, strict=True):
        assert array.tobytes() == before.tobytes()


# ---------------------------------------------------------------- parameters


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("output_size", [2, None])
def test_parameters(dtype: str, bias: bool, output_size: int | None) -> None:
    model = fastbptt.RNN(I, H, output_size, bias=bias, dtype=dtype)
    shapes = {"W_xh": (I, H), "W_hh": (H, H)}
    if bias:
        shapes["b_h"] = (H,)
    if output_size:
        shapes["W_hy"] = (H, output_size)
        if bias:
            shapes["b_y"] = (output_size,)
    parameters = model.parameters
    assert {name: array.shape for name, array in parameters.items()} == shapes
    assert list(parameters) == list(shapes)
    assert parameters.flat.ctypes.data % 64 == 0
    assert parameters.flat.dtype == model.dtype == dtype
    assert parameters.flat.size == model.num_parameters
    joined = np.concatenate([array.ravel() for array in parameters.values()])
    assert joined.tobytes() == parameters.flat.tobytes()


def test_parameters_are_live_views(bench: Bench) -> None:
    parameters = bench.model.parameters
    for name in parameters:
        assert np.shares_memory(parameters[name], parameters.flat)
        assert parameters[name].flags.writeable
    before = bench.model.forward(bench.x).outputs
    parameters["W_hy"] *= 2.0
    parameters["b_y"] = parameters["b_y"] * 2.0
    after = bench.model.forward(bench.x).outputs
    np.testing.assert_allclose(after, 2 * before, rtol=1e-6)
    parameters.flat[...] = 0.0
    assert (bench.model.forward(bench.x).outputs == 0.0).all()


def test_reshaping_a_view_in_place_harms_nothing(bench: Bench) -> None:
    bench.model.parameters["W_hh"].resize(25, refcheck=False)
    assert bench.model.parameters["W_hh"].shape == (5, 5)
    assert repr(bench.model.parameters).startswith("Parameters(W_xh (2, 5), W_hh (5, 5)")
    assert "missing" not in bench.model.parameters


def test_gradients_are_views_of_flat(bench: Bench) -> None:
    _, grads = bench.model.loss_and_grad(bench.x, bench.y, need_input_grad=True)
    assert isinstance(grads, Gradients)
    assert list(grads) == list(bench.model.parameters)
    assert grads.x is not None
    assert grads.h0 is not None
    assert (grads.x.shape, grads.h0.shape) == ((3, 4, 2), (1, 3, 5))
    grads["b_h"][...] = 5.0
    assert (grads.flat[35:40] == 5.0).all()
    twin = pickle.loads(pickle.dumps(grads))
    assert twin.flat.tobytes() == grads.flat.tobytes()
    assert twin.x.tobytes() == grads.x.tobytes()


def test_state_dict(bench: Bench) -> None:
    state = bench.model.state_dict()
    other = fastbptt.RNN(2, 5, 1, dtype="float64", seed=9)
    other.load_state_dict(state)
    for name, array in state.items():
        assert not np.shares_memory(array, bench.model.parameters[name])
        assert (other.parameters[name] == array).all()
    reversed_order = dict(reversed(list(other.state_dict().items())))
    bench.model.parameters.flat[...] = 0.0
    bench.model.load_state_dict(reversed_order)
    for name, array in state.items():
        assert bench.model.parameters[name].tobytes() == array.tobytes()
    bench.model.load_state_dict(bench.model.parameters)


# ---------------------------------------------------------------- copies


@pytest.mark.parametrize("how", ["copy", "copy.copy", "deepcopy", "pickle"])
@pytest.mark.parametrize("output_size", [1, None])
def test_copies_are_equal_and_independent(how: str, output_size: int | None) -> None:
    model = fastbptt.RNN(2, 5, output_size, bias=False, dtype="float64", seed=1)
    model.note = "kept"  # type: ignore[attr-defined]
    twin: Any = {
        "copy": lambda: model.copy(),
        "copy.copy": lambda: copy.copy(model),
        "deepcopy": lambda: copy.deepcopy(model),
        "pickle": lambda: pickle.loads(pickle.dumps(model)),
    }[how]()
    assert type(twin) is fastbptt.RNN
    assert repr(twin) == repr(model)
    assert twin.note == "kept"
    assert twin.parameters.flat.tobytes() == model.parameters.flat.tobytes()
    assert not np.shares_memory(twin.parameters.flat, model.parameters.flat)
    x, y = np.ones((3, 4, 2)), np.zeros((3, output_size or 5))
    before = model.parameters.flat.tobytes()
    twin.train_step(x, y, fastbptt.Adam(lr=0.1))
    assert model.parameters.flat.tobytes() == before
    assert twin.parameters.flat.tobytes() != before


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_protocols(bench: Bench, protocol: int) -> None:
    twin, adam = pickle.loads(pickle.dumps((bench.model, bench.adam), protocol))
    expected = bench.model.train_step(bench.x, bench.y, bench.adam)
    assert twin.train_step(bench.x, bench.y, adam) == expected
    assert twin.parameters.flat.tobytes() == bench.model.parameters.flat.tobytes()


def test_models_compare_by_identity(bench: Bench) -> None:
    assert bench.model != bench.model.copy()
    assert len({bench.model, bench.model.copy()}) == 2


def test_properties_and_repr() -> None:
    model = fastbptt.RNN(32, 64, 1)
    assert repr(model) == 'RNN(32, 64, 1, dtype="float32")  # 6273 parameters, 25.1 kB'
    assert (model.input_size, model.hidden_size, model.output_size) == (32, 64, 1)
    assert model.bias is True
    without = fastbptt.RNN(np.int64(2), np.int32(3), bias=False, dtype=np.float64)
    assert (
        repr(without) == 'RNN(2, 3, None, bias=False, dtype="float64")  # 15 parameters, 120 bytes'
    )
    assert type(without.input_size) is int
    assert without.output_size is None
    out = without.forward(np.ones((1, 2, 2)))
    assert out.outputs is out.hidden
    assert repr(out) == "ForwardResult(1 sequences of up to 2 steps)"


def test_save_and_load(bench: Bench, tmp_path: Any) -> None:
    path = tmp_path / "model.safetensors"
    bench.model.save(path)
    same = fastbptt.load(path)
    assert type(same) is fastbptt.RNN
    assert same.parameters.flat.tobytes() == bench.model.parameters.flat.tobytes()


def test_registry_of_models() -> None:
    assert set(MODELS) == set(fastbptt.cells())
    assert MODELS["rnn"] is MODELS["relu"] is MODELS["rnn_softplus"] is fastbptt.RNN
    assert MODELS["gru"] is MODELS["gru_before"] is fastbptt.GRU
    assert MODELS["lstm"] is fastbptt.LSTM
    assert MODELS["leaky"] is MODELS["leaky_preactivation_relu"] is fastbptt.LeakyRNN


MODELS_OF_ALL_KINDS: list[Any] = [
    lambda: fastbptt.RNN(2, 5, 1, nonlinearity="relu", num_layers=2, dropout=0.5, seed=1),
    lambda: fastbptt.GRU(2, 5, reset_after=False, bidirectional=True, dtype="float64", seed=1),
    lambda: fastbptt.GRU(2, 5, 3, bias=False, learn_initial_state=True, seed=1),
    lambda: fastbptt.LSTM(2, 5, 1, num_layers=3, learn_initial_state=True, seed=1),
    lambda: fastbptt.LSTM(
        2, 5, embedding=9, padding_index=3, freeze_embedding=True, bidirectional=True, seed=1
    ),
    lambda: fastbptt.LeakyRNN(2, 5, 2, alpha=0.1, num_layers=2, seed=1),
    lambda: fastbptt.LeakyRNN(2, 5, 2, nonlinearity="relu", alpha=[0.1, 0.2, 0.3, 0.4, 1], seed=1),
    lambda: fastbptt.LeakyRNN(
        2,
        3,
        2,
        formulation="preactivation",
        alpha=[[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]],
        num_layers=2,
        learn_alpha=True,
        learn_initial_state=True,
        nonlinearity="softplus",
        seed=1,
    ),
    lambda: fastbptt.Recurrent("leaky", 2, 5, 2, alpha=0.7, seed=1),
]


@pytest.mark.parametrize("make", MODELS_OF_ALL_KINDS)
def test_every_option_survives(make: Any, tmp_path: Any) -> None:
    model = make()
    model.save(tmp_path / "model")
    twins = [model.copy(), copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
    loaded = fastbptt.load(tmp_path / "model")
    assert type(loaded) is MODELS[model.cell]
    for twin in (*twins, loaded):
        assert twin._config() == model._config()
        assert twin.parameters.flat.tobytes() == model.parameters.flat.tobytes()
        assert list(twin.parameters) == list(model.parameters)
    assert all(type(twin) is type(model) and repr(twin) == repr(model) for twin in twins)


class Named(fastbptt.LSTM):
    """A model of a user's own, with a constructor of its own."""

    def __init__(self, name: str) -> None:
        super().__init__(2, 5, 1, seed=1)
        self.name = name


def test_a_class_of_ones_own() -> None:
    model = Named("mine")
    for twin in (model.copy(), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert type(twin) is Named
        assert twin.name == "mine"
        assert twin.parameters.flat.tobytes() == model.parameters.flat.tobytes()


# ---------------------------------------------------------------- the package


def test_public_names() -> None:
    assert set(fastbptt.__all__) <= set(dir(fastbptt))
    for name in fastbptt.__all__:
        assert getattr(fastbptt, name) is not None
    with pytest.raises(AttributeError, match="module 'fastbptt' has no attribute 'nothing'"):
        fastbptt.nothing  # noqa: B018
    assert {"bce", "cross_entropy", "mse"} <= set(fastbptt.losses())
    assert {"rnn", "relu", "leaky", "gru", "gru_before", "lstm"} <= set(fastbptt.cells())
    assert fastbptt.backends()[-1].usable


def test_import_is_lean(run_script: Callable[[str], Any]) -> None:
    result = run_script(
        "import sys, numpy\n"
        "before = set(sys.modules)\n"
        "import fastbptt\n"
        "print(*(set(sys.modules) - before))\n"
    )
    assert (result.returncode, result.stderr) == (0, "")
    heavy = {"tqdm", "importlib.metadata", "hashlib", "argparse", "platform", "subprocess"}
    heavy |= {f"fastbptt.{name}" for name in ("datasets", "reference", "cli", "demo", "storage")}
    assert not heavy & set(result.stdout.split())


def test_flat_buffer_has_no_holes() -> None:
    model = fastbptt.RNN(1, 1, 1, dtype="float64", init=("normal", 0.0))
    model.parameters.flat[...] = [1, 2, 3, 4, 5]
    assert model.parameters.flat.tobytes() == struct.pack("=5d", 1, 2, 3, 4, 5)
    assert [float(array.ravel()[0]) for array in model.parameters.values()] == [1, 2, 3, 4, 5]
