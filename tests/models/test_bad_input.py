"""What is wrong gets one line that names it, and changes nothing."""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np
import pytest
from trained import Bench

import fastbptt

LOSSES = "one of " + ", ".join(f'"{name}"' for name in fastbptt.losses())

NAN, INF = math.nan, math.inf


def zeros(*shape: int, dtype: Any = np.float32) -> Any:
    return np.zeros(shape, dtype)


# What is given instead of the good argument, the error, and the whole message.
WRONG: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "x scalar": (
        {"x": 1.0},
        ValueError,
        "x has shape (); expected (batch, time, 2) because input_size=2",
    ),
    "x 2-D": (
        {"x": zeros(4, 2)},
        ValueError,
        "x has shape (4, 2); expected (batch, time, 2) because input_size=2; "
        "for one sequence give x[None]",
    ),
    "x 4-D": (
        {"x": zeros(1, 3, 4, 2)},
        ValueError,
        "x has shape (1, 3, 4, 2); expected (batch, time, 2) because input_size=2",
    ),
    "x features": (
        {"x": zeros(3, 4, 3)},
        ValueError,
        "x has shape (3, 4, 3); expected (batch, time, 2) because input_size=2",
    ),
    "x no batch": (
        {"x": zeros(0, 4, 2)},
        ValueError,
        "x has shape (0, 4, 2); expected at least one sequence",
    ),
    "x no time": (
        {"x": zeros(3, 0, 2)},
        ValueError,
        "x has shape (3, 0, 2); expected at least one time step",
    ),
    "x complex": (
        {"x": zeros(3, 4, 2, dtype=np.complex64)},
        TypeError,
        "x has dtype complex64; expected real numbers (float32 or float64)",
    ),
    "x objects": (
        {"x": zeros(3, 4, 2, dtype=object)},
        TypeError,
        "x has dtype object; expected real numbers (float32 or float64); if these are numbers, "
        'numpy.asarray(x, "float64")',
    ),
    "x strings": (
        {"x": np.full((3, 4, 2), "1")},
        TypeError,
        "x has dtype <U1; expected real numbers (float32 or float64)",
    ),
    "x text": (
        {"x": "data.csv"},
        TypeError,
        "x has dtype <U8; expected real numbers (float32 or float64)",
    ),
    "x dates": (
        {"x": zeros(3, 4, 2, dtype="M8[s]")},
        TypeError,
        "x has dtype datetime64[s]; expected real numbers (float32 or float64)",
    ),
    "x records": (
        {"x": zeros(3, 4, 2, dtype=[("a", "f4")])},
        TypeError,
        "x has dtype [('a', '<f4')]; expected real numbers (float32 or float64)",
    ),
    "x None": (
        {"x": None},
        TypeError,
        "x has type NoneType; expected real numbers (float32 or float64)",
    ),
    "x dict": (
        {"x": {}},
        TypeError,
        "x has type dict; expected real numbers (float32 or float64)",
    ),
    "x masked": (
        {"x": np.ma.masked_array(zeros(3, 4, 2), mask=np.arange(24).reshape(3, 4, 2) < 5)},
        ValueError,
        "x is a masked array with 5 masked values; expected none: fill them, or leave them out; "
        "sequences may have different lengths",
    ),
    "list empty": (
        {"x": []},
        ValueError,
        "x is an empty list; expected at least one sequence",
    ),
    "list of numbers": (
        {"x": [1.0, 2.0, 3.0]},
        ValueError,
        "x[0] has shape (); expected (time, 2) because input_size=2",
    ),
    "list features": (
        {"x": [zeros(4, 2), zeros(3, 1), zeros(1, 2)]},
        ValueError,
        "x[1] has shape (3, 1); expected (time, 2) because input_size=2",
    ),
    "list no time": (
        {"x": [zeros(4, 2), zeros(3, 2), zeros(0, 2)]},
        ValueError,
        "x[2] has shape (0, 2); expected at least one time step",
    ),
    "list complex": (
        {"x": [zeros(4, 2), zeros(3, 2, dtype=complex)]},
        TypeError,
        "x[1] has dtype complex128; expected real numbers (float32 or float64)",
    ),
    "list and other lengths": (
        {"x": [zeros(4, 2), zeros(3, 2), zeros(1, 2)], "lengths": [4, 2, 1]},
        ValueError,
        "lengths[1] is 2; expected 3, the steps of x[1] (a list of sequences needs no lengths)",
    ),
    "lengths fraction": (
        {"lengths": [4, 2.5, 1]},
        ValueError,
        "lengths[1] is 2.5; expected whole numbers from 1 to 4, the time axis of x",
    ),
    "lengths nan": (
        {"lengths": [4.0, 2.0, NAN]},
        ValueError,
        "lengths[2] is nan; expected whole numbers from 1 to 4, the time axis of x",
    ),
    "lengths negative": (
        {"lengths": [-1, 2, 4]},
        ValueError,
        "lengths[0] is -1; expected whole numbers from 1 to 4, the time axis of x",
    ),
    "lengths zero": (
        {"lengths": [1, 0, 4]},
        ValueError,
        "lengths[1] is 0; expected whole numbers from 1 to 4, the time axis of x",
    ),
    "lengths too long": (
        {"lengths": [1, 2, 5]},
        ValueError,
        "lengths[2] is 5; expected whole numbers from 1 to 4, the time axis of x",
    ),
    "lengths huge": (
        {"lengths": np.array([1, 2, 2**64 - 1], np.uint64)},
        ValueError,
        "lengths[2] is 18446744073709551615; expected whole numbers from 1 to 4, "
        "the time axis of x",
    ),
    "lengths beyond any integer": (
        {"lengths": [1, 2, 2**70]},
        TypeError,
        "lengths has dtype object; expected whole numbers from 1 to 4, the time axis of x",
    ),
    "lengths too few": (
        {"lengths": [1, 2]},
        ValueError,
        "lengths has shape (2,); expected (3,): one per sequence of x",
    ),
    "lengths scalar": (
        {"lengths": 4},
        ValueError,
        "lengths has shape (); expected (3,): one per sequence of x",
    ),
    "lengths column": (
        {"lengths": zeros(3, 1, dtype=int)},
        ValueError,
        "lengths has shape (3, 1); expected (3,): one per sequence of x",
    ),
    "lengths bool": (
        {"lengths": np.array([True, True, True])},
        TypeError,
        "lengths has dtype bool; expected whole numbers from 1 to 4, the time axis of x",
    ),
    "lengths hidden bool": (
        {"lengths": [4, True, 3]},
        TypeError,
        "lengths[1] is True; expected whole numbers from 1 to 4, the time axis of x",
    ),
    "lengths strings": (
        {"lengths": ["4", "4", "4"]},
        TypeError,
        "lengths has dtype <U1; expected whole numbers from 1 to 4, the time axis of x",
    ),
    "h0 without layers": (
        {"h0": zeros(3, 5)},
        ValueError,
        "h0 has shape (3, 5); expected (1, 3, 5): (layers * directions, batch, hidden_size)",
    ),
    "h0 layers": (
        {"h0": zeros(2, 3, 5)},
        ValueError,
        "h0 has shape (2, 3, 5); expected (1, 3, 5): (layers * directions, batch, hidden_size)",
    ),
    "h0 batch of one": (
        {"h0": zeros(1, 1, 5)},
        ValueError,
        "h0 has shape (1, 1, 5); expected (1, 3, 5): (layers * directions, batch, hidden_size)",
    ),
    "h0 width of one": (
        {"h0": zeros(1, 3, 1)},
        ValueError,
        "h0 has shape (1, 3, 1); expected (1, 3, 5): (layers * directions, batch, hidden_size)",
    ),
    "h0 scalar": (
        {"h0": 0.0},
        ValueError,
        "h0 has shape (); expected (1, 3, 5): (layers * directions, batch, hidden_size)",
    ),
    "h0 complex": (
        {"h0": zeros(1, 3, 5, dtype=complex)},
        TypeError,
        "h0 has dtype complex128; expected real numbers (float32 or float64)",
    ),
    "y batch": (
        {"y": zeros(2, 1)},
        ValueError,
        "y has shape (2, 1); expected (3, 1) or (3,): (batch, outputs) "
        'for loss="bce", steps="last"',
    ),
    "y outputs": (
        {"y": zeros(3, 2)},
        ValueError,
        "y has shape (3, 2); expected (3, 1) or (3,): (batch, outputs) "
        'for loss="bce", steps="last"',
    ),
    "y transposed": (
        {"y": zeros(1, 3), "loss": "mse"},
        ValueError,
        "y has shape (1, 3); expected (3, 1) or (3,): (batch, outputs) "
        'for loss="mse", steps="last"',
    ),
    "y for last, loss at all": (
        {"steps": "all"},
        ValueError,
        "y has shape (3, 1); expected (3, 4, 1) or (3, 4): (batch, time, outputs) "
        'for loss="bce", steps="all"',
    ),
    "y scalar": (
        {"y": 1.0},
        ValueError,
        'y has shape (); expected (3, 1) or (3,): (batch, outputs) for loss="bce", steps="last"',
    ),
    "y complex": (
        {"y": zeros(3, 1, dtype=complex)},
        TypeError,
        "y has dtype complex128; expected real numbers (float32 or float64)",
    ),
    "y strings": (
        {"y": ["yes", "no", "no"]},
        TypeError,
        "y has dtype <U3; expected real numbers (float32 or float64); for names of classes: "
        "classes, y = numpy.unique(y, return_inverse=True)",
    ),
    "y None": (
        {"y": None},
        TypeError,
        "y has type NoneType; expected real numbers (float32 or float64)",
    ),
    "classes float": (
        {"y": zeros(3), "loss": "cross_entropy"},
        TypeError,
        "y has dtype float32; expected classes of an integer dtype "
        'for loss="cross_entropy", steps="last"; of whole numbers, give numpy.asarray(y, int)',
    ),
    "classes bool": (
        {"y": zeros(3, dtype=bool), "loss": "cross_entropy"},
        TypeError,
        "y has dtype bool; expected classes of an integer dtype "
        'for loss="cross_entropy", steps="last"; of whole numbers, give numpy.asarray(y, int)',
    ),
    "classes column": (
        {"y": zeros(3, 1, dtype=int), "loss": "cross_entropy"},
        ValueError,
        "y has shape (3, 1); expected (3,): (batch) of classes "
        'for loss="cross_entropy", steps="last"',
    ),
    "classes of steps": (
        {"y": zeros(3, 4, dtype=int), "loss": "cross_entropy"},
        ValueError,
        "y has shape (3, 4); expected (3,): (batch) of classes "
        'for loss="cross_entropy", steps="last"; for targets at every step, steps="all"',
    ),
    "classes at all steps": (
        {"y": zeros(3, dtype=int), "loss": "cross_entropy", "steps": "all"},
        ValueError,
        "y has shape (3,); expected (3, 4): (batch, time) of classes "
        'for loss="cross_entropy", steps="all"',
    ),
    "list of y too short": (
        {"x": [zeros(4, 2), zeros(3, 2)], "y": [zeros(4)], "steps": "all"},
        ValueError,
        "y has 1 sequences; expected 2, as x has",
    ),
    "list of y other steps": (
        {"x": [zeros(4, 2), zeros(3, 2)], "y": [zeros(4), zeros(4)], "steps": "all"},
        ValueError,
        'y[1] has shape (4,); expected (3, 1) or (3,): (time, outputs) for loss="bce", steps="all"',
    ),
    "weights count": (
        {"sample_weight": zeros(2)},
        ValueError,
        "sample_weight has shape (2,); expected (3,): one weight per sequence",
    ),
    "weights scalar": (
        {"sample_weight": 1.0},
        ValueError,
        "sample_weight has shape (); expected (3,): one weight per sequence",
    ),
    "weights complex": (
        {"sample_weight": zeros(3, dtype=complex)},
        TypeError,
        "sample_weight has dtype complex128; expected real numbers (float32 or float64)",
    ),
    "loss unknown": (
        {"loss": "hinges"},
        ValueError,
        f'loss is "hinges"; expected {LOSSES}',
    ),
    "loss no name": (
        {"loss": ["bce"]},
        TypeError,
        f"loss is ['bce']; expected {LOSSES}",
    ),
    "steps unknown": (
        {"steps": "first"},
        ValueError,
        'steps is "first"; expected one of "last", "all", "mean", "max"',
    ),
    "reduction unknown": (
        {"reduction": "token_mean"},
        ValueError,
        'reduction is "token_mean"; expected one of "mean", "sum", "sequence_mean"',
    ),
    "reduction None": (
        {"reduction": None},
        TypeError,
        'reduction is None; expected one of "mean", "sum", "sequence_mean"',
    ),
    "check_finite": (
        {"check_finite": "no"},
        TypeError,
        "check_finite is 'no'; expected True or False",
    ),
}


@pytest.mark.parametrize("call", ["train_step", "loss_and_grad", "loss"])
@pytest.mark.parametrize("name", WRONG)
def test_wrong_argument(bench: Bench, name: str, call: str) -> None:
    changed, error, message = WRONG[name]
    if changed.get("loss") == "cross_entropy":
        bench = Bench(output_size=2)
    arguments = {"x": bench.x, "y": bench.y, **changed}
    if call == "train_step":
        arguments["optimizer"] = bench.adam
    with bench.refuses(error, message):
        getattr(bench.model, call)(**arguments)


FORWARD = [name for name, (changed, _, _) in WRONG.items() if {*changed} <= {"x", "lengths", "h0"}]


@pytest.mark.parametrize("name", FORWARD)
def test_wrong_argument_of_forward(bench: Bench, name: str) -> None:
    changed, error, message = WRONG[name]
    with bench.refuses(error, message):
        bench.model.forward(**{"x": bench.x, **changed})


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        (
            {},
            ValueError,
            "d_outputs, d_final_state, d_last and d_hidden are all None; expected at least one",
        ),
        (
            {"d_outputs": zeros(3, 4, 5)},
            ValueError,
            "d_outputs has shape (3, 4, 5); expected (3, 4, 1): the shape of outputs",
        ),
        (
            {"d_outputs": zeros(3, 1, 1)},
            ValueError,
            "d_outputs has shape (3, 1, 1); expected (3, 4, 1): the shape of outputs",
        ),
        (
            {"d_outputs": zeros(3, 4, 1, dtype=complex)},
            TypeError,
            "d_outputs has dtype complex128; expected real numbers (float32 or float64)",
        ),
        (
            {"d_final_state": zeros(3, 5)},
            ValueError,
            "d_final_state has shape (3, 5); expected (1, 3, 5): "
            "(layers * directions, batch, hidden_size)",
        ),
        (
            {"d_outputs": zeros(3, 4, 1), "need_input_grad": 1},
            TypeError,
            "need_input_grad is 1; expected True or False",
        ),
        (
            {"out": "out", "d_outputs": zeros(3, 4, 1)},
            TypeError,
            "out is of type str; expected a ForwardResult of this model",
        ),
    ],
)
def test_wrong_argument_of_backward(
    bench: Bench, changed: dict[str, Any], error: type[Exception], message: str
) -> None:
    out = bench.model.forward(bench.x)
    with bench.refuses(error, message):
        bench.model.backward(**{"out": out, **changed})


def test_result_of_another_model(bench: Bench) -> None:
    out = bench.model.copy().forward(bench.x)
    with bench.refuses(
        ValueError, "out comes from another model; expected this model's own forward"
    ):
        bench.model.backward(out, d_outputs=out.outputs)


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (0, ValueError, "clip_norm is 0.0; expected a number above 0, or None"),
        (-1.0, ValueError, "clip_norm is -1.0; expected a number above 0, or None"),
        (NAN, ValueError, "clip_norm is nan; expected a number above 0, or None"),
        (True, TypeError, "clip_norm is True; expected a number above 0, or None"),
        ("1", TypeError, "clip_norm is '1'; expected a number above 0, or None"),
        (1j, TypeError, "clip_norm is 1j; expected a number above 0, or None"),
    ],
)
def test_wrong_clip_norm(bench: Bench, value: Any, error: type[Exception], message: str) -> None:
    with bench.refuses(error, message):
        bench.model.train_step(bench.x, bench.y, bench.adam, clip_norm=value)
    with bench.refuses(error, message.replace("clip_norm", "clip_value")):
        bench.model.train_step(bench.x, bench.y, bench.adam, clip_value=value)


def test_clipping_in_two_ways(bench: Bench) -> None:
    message = "clip_norm and clip_value are both given; expected at most one of them"
    with bench.refuses(ValueError, message):
        bench.model.train_step(bench.x, bench.y, bench.adam, clip_norm=1.0, clip_value=1.0)


# ---------------------------------------------------------------- contents


def calls(bench: Bench, **changed: Any) -> list[Any]:
    arguments = {"x": bench.x, "y": bench.y, **changed}
    return [
        lambda: bench.model.train_step(optimizer=bench.adam, **arguments),
        lambda: bench.model.loss_and_grad(**arguments),
        lambda: bench.model.loss(**arguments),
    ]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize("name", ["x", "y", "h0", "sample_weight"])
def test_not_finite(name: str, value: float, dtype: str) -> None:
    bench = Bench(dtype)
    shapes = {"x": (3, 4, 2), "y": (3, 1), "h0": (1, 3, 5), "sample_weight": (3,)}
    array = np.full(shapes[name], 0.5, dtype)
    array[tuple(n - 1 for n in array.shape)] = value
    index = str(tuple(n - 1 for n in array.shape))
    for call in calls(bench, **{name: array}):
        with bench.refuses_with(ValueError, f"{name} ", str(value), index):
            call()


@pytest.mark.parametrize("loss", ["bce", "mse"])
def test_not_finite_y_of_any_loss(bench: Bench, loss: str) -> None:
    for call in calls(bench, y=np.array([0.0, NAN, 1.0]), loss=loss):
        with bench.refuses_with(ValueError, "y ", "nan"):
            call()


@pytest.mark.parametrize("name", ["W_xh", "W_hh", "b_h", "W_hy", "b_y"])
def test_not_finite_weights(bench: Bench, name: str) -> None:
    bench.model.parameters[name].reshape(-1)[0] = NAN
    for call in [*calls(bench), lambda: bench.model.forward(bench.x)]:
        with bench.refuses_with(ValueError, f"parameter {name} holds a value", "nan"):
            call()


def test_not_finite_is_seen_where_it_lies(bench: Bench) -> None:
    x = bench.x.copy()
    x[1, 2, 1] = INF
    with bench.refuses(ValueError, "x holds a value that is not finite (inf) at index (1, 2, 1)"):
        bench.model.train_step(x[::-1][::-1], bench.y, bench.adam)


def test_not_finite_after_the_end_is_nobodys_business(bench: Bench) -> None:
    x, y = np.full((3, 4, 2), NAN), np.full((3, 4, 1), NAN)
    x[:, :2], y[:, :2] = 0.5, 1.0
    loss, grads = bench.model.loss_and_grad(x, y, steps="all", lengths=[2, 2, 2])
    assert math.isfinite(loss)
    assert np.isfinite(grads.flat).all()
    same, other = bench.model.loss_and_grad(x[:, :2], y[:, :2], steps="all")
    assert (loss, grads.flat.tobytes()) == (same, other.flat.tobytes())


def test_classes_after_the_end_are_nobodys_business() -> None:
    bench = Bench(output_size=4)
    y = np.array([[0, 1, -1, -1], [3, -7, 99, 99], [2, 2, 2, 2]])
    loss = bench.model.loss(bench.x, y, "cross_entropy", "all", lengths=[2, 1, 4])
    assert math.isfinite(loss)


def test_not_finite_gradient_of_outputs(bench: Bench) -> None:
    out = bench.model.forward(bench.x)
    for name, shape in {"d_outputs": (3, 4, 1), "d_final_state": (1, 3, 5)}.items():
        array = zeros(*shape)
        array[0, 1, 0] = NAN
        with bench.refuses_with(ValueError, f"{name} ", "nan", "(0, 1, 0)"):
            bench.model.backward(out, **{name: array})


def test_not_finite_unchecked(bench: Bench) -> None:
    x = bench.x.copy()
    x[0, 0, 0] = NAN
    loss, grads = bench.model.loss_and_grad(x, bench.y, check_finite=False)
    assert math.isnan(loss)
    assert np.isnan(grads["W_xh"]).any()
    assert math.isnan(bench.model.train_step(x, bench.y, bench.adam, check_finite=False))
    assert bench.adam.step_count == 2


def test_not_finite_loss() -> None:
    bench = Bench("float32")
    huge = np.full((3, 1), 3e38, np.float32)
    for call in calls(bench, y=huge, loss="mse")[:2]:
        with bench.refuses_with(ValueError, "", "finite"):
            call()


@pytest.mark.parametrize("value", [-0.001, 1.001, 2.0])
def test_y_outside_of_bce(bench: Bench, value: float) -> None:
    for call in calls(bench, y=np.array([0.0, 1.0, value], np.float32)):
        with bench.refuses_with(ValueError, "y ", "bce"):
            call()


@pytest.mark.parametrize("steps", ["last", "all"])
@pytest.mark.parametrize("value", [-1, 4, 2**31, -(2**63), 2**64 - 1])
def test_class_outside(value: int, steps: str) -> None:
    bench = Bench(output_size=4)
    dtype = np.uint64 if value == 2**64 - 1 else np.int64
    y = np.zeros((3,) if steps == "last" else (3, 4), dtype)
    y[-1] = value
    for call in calls(bench, y=y, loss="cross_entropy", steps=steps):
        with bench.refuses_with(ValueError, "y ", "3"):
            call()


@pytest.mark.parametrize(
    ("weights", "part"), [([1.0, -0.5, 1.0], "-0.5"), ([0.0, 0.0, 0.0], "zero")]
)
def test_sample_weights_without_sense(bench: Bench, weights: list[float], part: str) -> None:
    for call in calls(bench, sample_weight=weights):
        with bench.refuses_with(ValueError, "sample_weight ", part):
            call()


# ---------------------------------------------------------------- arrays changed meanwhile


def test_array_changed_during_the_call() -> None:
    model = fastbptt.RNN(3, 32, 4, seed=0)
    adam = fastbptt.Adam()
    x = np.zeros((16, 40, 3), np.float32)
    y = np.zeros((16, 40), np.int64)
    lengths = np.full(16, 40)
    stop = threading.Event()

    def disturb() -> None:
        wild = 0
        while not stop.is_set():
            wild += 1
            lengths[wild % 16] = 2**40 if wild % 3 == 0 else 40
            y[wild % 16, wild % 40] = 2**40 if wild % 5 == 0 else 1
            x[wild % 16] = NAN if wild % 7 == 0 else 1.0

    thread = threading.Thread(target=disturb)
    thread.start()
    done = 0
    try:
        for _ in range(300):
            try:
                model.train_step(x, y, adam, "cross_entropy", "all", lengths=lengths)
                done += 1
            except ValueError:
                pass
    finally:
        stop.set()
        thread.join()
    assert adam.step_count == done


# ---------------------------------------------------------------- models


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"hidden_size": 0}, ValueError, "hidden_size is 0; expected at least 1"),
        ({"hidden_size": -4}, ValueError, "hidden_size is -4; expected at least 1"),
        (
            {"hidden_size": 6.0},
            TypeError,
            "hidden_size is 6.0; expected a whole number of at least 1",
        ),
        (
            {"hidden_size": True},
            TypeError,
            "hidden_size is True; expected a whole number of at least 1",
        ),
        (
            {"hidden_size": None},
            TypeError,
            "hidden_size is None; expected a whole number of at least 1",
        ),
        (
            {"hidden_size": "64"},
            TypeError,
            "hidden_size is '64'; expected a whole number of at least 1",
        ),
        ({"input_size": 0}, ValueError, "input_size is 0; expected at least 1"),
        ({"output_size": 0}, ValueError, "output_size is 0; expected at least 1"),
        ({"bias": "no"}, TypeError, "bias is 'no'; expected True or False"),
        (
            {"dtype": "float16"},
            ValueError,
            'dtype is "float16"; expected "float32" or "float64"',
        ),
        ({"dtype": None}, ValueError, 'dtype is None; expected "float32" or "float64"'),
        ({"dtype": "what"}, ValueError, 'dtype is "what"; expected "float32" or "float64"'),
        (
            {"init": "xavier"},
            ValueError,
            'init is "xavier"; '
            'expected one of "torch", "keras", "orthogonal", "identity", "normal"',
        ),
        (
            {"init": ("torch", 1.0)},
            ValueError,
            'init is (\'torch\', 1.0), but "torch" takes no number; expected "torch"',
        ),
        (
            {"init": ("normal", -1.0)},
            ValueError,
            'init[1] is -1.0; expected a finite number of at least 0: the std of "normal"',
        ),
        (
            {"init": ("normal", 0.1, 0.2)},
            ValueError,
            "init is ('normal', 0.1, 0.2); expected a name or (name, number)",
        ),
        (
            {"seed": -1},
            ValueError,
            "seed is -1; expected None, a whole number of at least 0, or a numpy.random.Generator",
        ),
        (
            {"seed": "x"},
            TypeError,
            "seed is 'x'; expected None, a whole number of at least 0, or a numpy.random.Generator",
        ),
    ],
)
def test_wrong_model(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        fastbptt.RNN(**{"input_size": 2, "hidden_size": 3, "output_size": 1, **arguments})
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("input_size", "hidden_size", "output_size"),
    [
        (2, 2**20, 1),
        (2, 2**31, 1),
        (2**31, 2**31, None),
        (2**62, 2, 1),
        (2, 2, 2**63),
        (2**40, 2**40, 2**40),
        (2**200, 2, 1),
    ],
)
def test_model_beyond_memory(input_size: int, hidden_size: int, output_size: int | None) -> None:
    sizes = f"input_size={input_size}, hidden_size={hidden_size}, output_size={output_size}"
    with pytest.raises(MemoryError) as caught:
        fastbptt.RNN(input_size, hidden_size, output_size)
    assert str(caught.value).startswith(f"a model of {sizes} needs ")
    assert "; there is " in str(caught.value)


def test_batch_beyond_memory(bench: Bench) -> None:
    x = np.broadcast_to(np.float32(0.5), (2**26, 2**26, 2))
    y = np.broadcast_to(np.float32(0.5), (2**26, 1))
    for call in [*calls(bench, x=x, y=y), lambda: bench.model.forward(x)]:
        with bench.refuses_with(
            MemoryError, "x has 4503599627370496 steps in all; expected at most "
        ):
            call()


@pytest.mark.parametrize(
    ("n", "error", "message"),
    [
        (0, ValueError, "n is 0; expected at least 1"),
        (-2, ValueError, "n is -2; expected at least 1"),
        (True, TypeError, "n is True; expected a whole number of at least 1"),
        (1.5, TypeError, "n is 1.5; expected a whole number of at least 1"),
        (10**9, ValueError, "n is 1000000000; expected at most 1024 threads"),
        (2**70, ValueError, f"n is {2**70}; expected at most 1024 threads"),
    ],
)
def test_wrong_number_of_threads(n: Any, error: type[Exception], message: str) -> None:
    before = fastbptt.get_num_threads()
    with pytest.raises(error) as caught:
        fastbptt.set_num_threads(n)
    assert str(caught.value) == message
    assert fastbptt.get_num_threads() == before


# ---------------------------------------------------------------- state_dict


def test_wrong_state_dict(bench: Bench) -> None:
    good = bench.model.state_dict()
    names = "W_xh, W_hh, b_h, W_hy, b_y"
    without = {name: array + 1 for name, array in good.items() if name != "b_y"}
    for state, error, message in [
        ([1, 2], TypeError, "state is of type list; expected a mapping"),
        (without, ValueError, f"state lacks b_y; expected {names}"),
        (
            {**good, "weight_ih_l0": good["W_xh"]},
            ValueError,
            f"state has unknown weight_ih_l0; expected {names}",
        ),
        (
            {**without, "bias": good["b_y"]},
            ValueError,
            f"state lacks b_y and has unknown bias; expected {names}",
        ),
        (
            {**without, "b_y": zeros(1, 1)},
            ValueError,
            "state['b_y'] has shape (1, 1); expected (1,): the shape of b_y",
        ),
        (
            {**without, "b_y": np.zeros(1, complex)},
            TypeError,
            "state['b_y'] has dtype complex128; expected real numbers (float32 or float64)",
        ),
        (
            {**without, "b_y": np.array([1e300])},
            ValueError,
            "state['b_y'] holds values too large for float32; "
            "expected values that the model's dtype can hold",
        ),
    ]:
        with bench.refuses(error, message):
            bench.model.load_state_dict(state)  # type: ignore[arg-type]


def test_wrong_parameter_assignment(bench: Bench) -> None:
    with bench.refuses(
        ValueError, "parameters['b_h'] has shape (1,); expected (5,): the shape of b_h"
    ):
        bench.model.parameters["b_h"] = [1.0]
    with bench.refuses_with(KeyError, "\"'b' is not a parameter; there are W_xh, W_hh"):
        bench.model.parameters["b"] = [1.0]


# ---------------------------------------------------------------- optimisers


def test_optimizer_of_another_model(bench: Bench) -> None:
    other = bench.model.copy()
    before = other.parameters.flat.tobytes()
    message = (
        "optimizer belongs to another model; expected one of this model's own "
        "(optimizer.copy() carries its state over to a model of the same layout)"
    )
    with bench.refuses(ValueError, message):
        other.train_step(bench.x, bench.y, bench.adam)
    _, grads = other.loss_and_grad(bench.x, bench.y)
    with bench.refuses(ValueError, message):
        bench.adam.step(other, grads)
    assert other.parameters.flat.tobytes() == before


@pytest.mark.parametrize(
    ("value", "came"),
    [(None, "NoneType"), ("adam", "str"), (fastbptt.Adam, "the class Adam"), (0.1, "float")],
)
def test_not_an_optimizer(bench: Bench, value: Any, came: str) -> None:
    with bench.refuses(
        TypeError, f"optimizer is {came}; expected an optimiser such as fastbptt.Adam()"
    ):
        bench.model.train_step(bench.x, bench.y, value)


def test_refused_first_step_leaves_the_optimizer_free(bench: Bench) -> None:
    adam = fastbptt.Adam()
    bad = np.full((3, 4, 2), NAN)
    with bench.refuses_with(ValueError, "x ", "nan"):
        bench.model.train_step(bad, bench.y, adam)
    assert (adam.step_count, len(adam.m)) == (0, 0)
    bench.model.copy().train_step(bench.x, bench.y, adam)
    assert adam.step_count == 1


@pytest.mark.parametrize("hidden", [1, 3, 16, 33])
def test_infinite_x_unchecked_reaches_no_further_than_it_must(hidden: int) -> None:
    model = fastbptt.RNN(1, hidden, 2, init=("normal", 1.0), seed=0)
    x = np.full((3, 4, 1), np.inf)
    out = model.forward(x, check_finite=False)
    assert (np.abs(out.hidden[:, 0]) == 1).all()
    assert np.isfinite(out.outputs).all()


def test_what_a_sequence_without_weight_says_is_nothing() -> None:
    model = fastbptt.RNN(2, 3, 1, seed=0)
    x, y = np.ones((2, 4, 2)), np.array([[0.5], [1e30]])
    alone = model.loss(x[:1], y[:1], "mse")
    assert model.loss(x, y, "mse", sample_weight=[1, 0]) == alone
    assert model.loss_and_grad(x, y, "mse", sample_weight=[1, 0])[0] == alone
