"""Adam: its numbers, what it accepts, and whose it is."""

from __future__ import annotations

import copy
import gc
import math
import pickle
import weakref
from typing import Any

import numpy as np
import pytest
from conftest import Bench

import fastbptt
from fastbptt import reference
from fastbptt.optim import OPTIMIZERS, Optimizer


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("epsilon_hat", "decreases"),
    [
        (False, (9.0909e-4, 1.8182e-3, 2.7273e-3)),  # torch and optax
        (True, (2.4025e-4, 5.4922e-4, 9.0299e-4)),  # Keras
    ],
)
def test_published_values(dtype: str, epsilon_hat: bool, decreases: tuple[float, ...]) -> None:
    model = fastbptt.RNN(1, 1, dtype=dtype, init=("normal", 0.0))
    adam = fastbptt.Adam(lr=1e-3, eps=1e-8, epsilon_hat=epsilon_hat)
    for decrease in decreases:
        adam.step(model, np.full(3, 1e-7, dtype))
        assert model.parameters.flat == pytest.approx([-decrease] * 3, rel=1e-4)


@pytest.mark.parametrize("epsilon_hat", [False, True])
def test_follows_the_reference(epsilon_hat: bool) -> None:
    bench = Bench("float64")
    adam = fastbptt.Adam(0.02, (0.8, 0.95), 1e-6, epsilon_hat)
    params = bench.model.state_dict()
    state = reference.adam_init(params)
    for i in range(20):
        adam.lr = 0.02 / (1 + i)
        _, grads = bench.model.loss_and_grad(bench.x, bench.y)
        adam.step(bench.model, grads)
        reference.adam_step(
            params, dict(grads), state, 0.02 / (1 + i), (0.8, 0.95), 1e-6, epsilon_hat
        )
    for name, expected in params.items():
        np.testing.assert_allclose(bench.model.parameters[name], expected, rtol=1e-12)
        np.testing.assert_allclose(adam.m[name], state["m"][name], rtol=1e-10, atol=1e-300)
        np.testing.assert_allclose(adam.v[name], state["v"][name], rtol=1e-10, atol=1e-300)
    assert adam.step_count == 20


def test_step_takes_gradients_in_three_forms(bench: Bench) -> None:
    _, grads = bench.model.loss_and_grad(bench.x, bench.y)
    results = set()
    for form in (grads, dict(grads), grads.flat, grads.flat.astype(np.float64), list(grads.flat)):
        model, adam = bench.model.copy(), bench.adam.copy()
        adam.step(model, form)
        results.add(model.parameters.flat.tobytes() + adam.m.flat.tobytes())
    assert len(results) == 1


def test_train_step_is_loss_and_grad_and_step(bench: Bench) -> None:
    model, adam = bench.model.copy(), bench.adam.copy()
    loss, grads = model.loss_and_grad(bench.x, bench.y)
    adam.step(model, grads)
    assert bench.model.train_step(bench.x, bench.y, bench.adam) == loss
    np.testing.assert_allclose(model.parameters.flat, bench.model.parameters.flat, rtol=1e-6)


def test_gradients_of_a_replica(bench: Bench) -> None:
    _, grads = bench.model.copy().loss_and_grad(bench.x, bench.y)
    bench.adam.step(bench.model, grads)
    assert bench.adam.step_count == 2


SHARES = (
    " shares memory with the model's parameters or the optimiser's moments; "
    "expected gradients of their own"
)


def test_wrong_gradients(bench: Bench) -> None:
    _, grads = bench.model.loss_and_grad(bench.x, bench.y)
    size = grads.flat.size
    names = "W_xh, W_hh, b_h, W_hy, b_y"
    params = bench.model.parameters
    without = {name: array for name, array in grads.items() if name != "W_hh"}
    larger = fastbptt.RNN(2, 6, 1).loss_and_grad(bench.x, bench.y)[1]
    wrong: list[tuple[Any, type[Exception], str]] = [
        (
            np.zeros(size + 1),
            ValueError,
            f"grads has shape ({size + 1},); expected ({size},): all parameters in one array",
        ),
        (
            np.zeros((1, size)),
            ValueError,
            f"grads has shape (1, {size}); expected ({size},): all parameters in one array",
        ),
        (None, TypeError, "grads has type NoneType; expected real numbers (float32 or float64)"),
        (
            np.zeros(size, complex),
            TypeError,
            "grads has dtype complex128; expected real numbers (float32 or float64)",
        ),
        (without, ValueError, f"grads lacks W_hh; expected {names}"),
        (
            {**grads, "x": bench.x},
            ValueError,
            f"grads has unknown x; expected {names}",
        ),
        (
            {**grads, "b_h": np.zeros(1)},
            ValueError,
            "grads['b_h'] has shape (1,); expected (5,): the shape of b_h",
        ),
        (
            larger,
            ValueError,
            "grads['W_xh'] has shape (2, 6); expected (2, 5): the shape of W_xh",
        ),
        (params, ValueError, "grads['W_xh']" + SHARES),
        (params.flat, ValueError, "grads" + SHARES),
        (params.flat[::-1], ValueError, "grads" + SHARES),
        (bench.adam.v.flat, ValueError, "grads" + SHARES),
        ({**grads, "W_hh": params["W_hh"].T}, ValueError, "grads['W_hh']" + SHARES),
    ]
    for value, error, message in wrong:
        with bench.refuses(error, message):
            bench.adam.step(bench.model, value)
    with bench.refuses(TypeError, "model is of type str; expected a fastbptt model"):
        bench.adam.step("model", grads)  # type: ignore[arg-type]
    with bench.refuses(TypeError, "check_finite is None; expected True or False"):
        bench.adam.step(bench.model, grads, check_finite=None)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_not_finite_gradient(bench: Bench, value: float) -> None:
    _, grads = bench.model.loss_and_grad(bench.x, bench.y)
    grads["W_hy"][2, 0] = value
    with bench.refuses_with(ValueError, "", "W_hy"):
        bench.adam.step(bench.model, grads)
    with bench.refuses_with(ValueError, "", "W_hy"):
        bench.adam.step(bench.model, dict(grads))
    bench.adam.step(bench.model, grads, check_finite=False)
    assert bench.adam.step_count == 2


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"lr": -1.0}, ValueError, "lr is -1.0; expected a finite number of at least 0"),
        ({"lr": math.nan}, ValueError, "lr is nan; expected a finite number of at least 0"),
        ({"lr": math.inf}, ValueError, "lr is inf; expected a finite number of at least 0"),
        ({"lr": "0.1"}, TypeError, "lr is '0.1'; expected a finite number of at least 0"),
        ({"lr": True}, TypeError, "lr is True; expected a finite number of at least 0"),
        ({"lr": None}, TypeError, "lr is None; expected a finite number of at least 0"),
        (
            {"betas": (0.9, 1.0)},
            ValueError,
            "betas[1] is 1.0; expected two numbers of at least 0 and below 1",
        ),
        (
            {"betas": (-0.1, 0.9)},
            ValueError,
            "betas[0] is -0.1; expected two numbers of at least 0 and below 1",
        ),
        (
            {"betas": 0.9},
            TypeError,
            "betas is 0.9; expected two numbers of at least 0 and below 1",
        ),
        ({"eps": 0.0}, ValueError, "eps is 0.0; expected a finite number above 0"),
        ({"eps": math.inf}, ValueError, "eps is inf; expected a finite number above 0"),
        ({"epsilon_hat": 1}, TypeError, "epsilon_hat is 1; expected True or False"),
    ],
)
def test_wrong_settings(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        fastbptt.Adam(**arguments)
    assert str(caught.value) == message


def test_settings_too_fine_for_the_dtype(bench: Bench) -> None:
    for adam, message in [
        (
            fastbptt.Adam(eps=1e-39),
            "eps is 1e-39; expected at least 1.18e-38 for a model of float32",
        ),
        (
            fastbptt.Adam(betas=(0.9, 0.9999999999)),
            "betas[1] is 0.9999999999; expected at most 1 - 5.96e-08 for a model of float32",
        ),
    ]:
        with bench.refuses(ValueError, message):
            bench.model.train_step(bench.x, bench.y, adam)
        double = Bench("float64")
        double.model.train_step(double.x, double.y, adam)
        assert adam.step_count == 1


def test_zero_gradients_change_nothing(bench: Bench) -> None:
    before = bench.model.parameters.flat.tobytes()
    adam = fastbptt.Adam(eps=1.18e-38)
    adam.step(bench.model, np.zeros(bench.model.num_parameters))
    assert bench.model.parameters.flat.tobytes() == before


def test_wrong_rate_between_steps(bench: Bench) -> None:
    with bench.refuses(ValueError, "lr is -0.1; expected a finite number of at least 0"):
        bench.adam.lr = -0.1


def test_rate_takes_effect_between_steps(bench: Bench) -> None:
    before = bench.model.parameters.flat.tobytes()
    bench.adam.lr = 0.0
    bench.model.train_step(bench.x, bench.y, bench.adam)
    assert bench.model.parameters.flat.tobytes() == before
    bench.adam.lr = np.float32(0.5)  # type: ignore[assignment]
    bench.model.train_step(bench.x, bench.y, bench.adam)
    assert bench.model.parameters.flat.tobytes() != before
    assert type(bench.adam.lr) is float


def test_moments_are_named_and_read_only(bench: Bench) -> None:
    assert list(bench.adam.m) == list(bench.model.parameters)
    assert bench.adam.v["W_hh"].shape == (5, 5)
    assert not bench.adam.m["W_hh"].flags.writeable
    fresh = fastbptt.Adam()
    assert (len(fresh.m), len(fresh.v), fresh.step_count) == (0, 0, 0)


@pytest.mark.parametrize("how", ["copy", "copy.copy", "deepcopy", "pickle"])
def test_copy_goes_on_with_the_next_model(bench: Bench, how: str) -> None:
    twin = {
        "copy": lambda: bench.adam.copy(),
        "copy.copy": lambda: copy.copy(bench.adam),
        "deepcopy": lambda: copy.deepcopy(bench.adam),
        "pickle": lambda: pickle.loads(pickle.dumps(bench.adam)),
    }[how]()
    model = bench.model.copy()
    assert repr(twin) == repr(bench.adam)
    assert twin.m.flat.tobytes() == bench.adam.m.flat.tobytes()
    for _ in range(3):
        bench.model.train_step(bench.x, bench.y, bench.adam)
    before = bench.state()
    for _ in range(3):
        model.train_step(bench.x, bench.y, twin)
    assert model.parameters.flat.tobytes() == bench.model.parameters.flat.tobytes()
    assert twin.step_count == bench.adam.step_count == 4
    assert bench.state() == before
    with pytest.raises(ValueError, match="optimizer belongs to another model"):
        bench.model.train_step(bench.x, bench.y, twin)


def test_copy_refuses_another_layout(bench: Bench) -> None:
    twin = bench.adam.copy()
    layout = "W_xh (2, 5), W_hh (5, 5), b_h (5,), W_hy (5, 1), b_y (1,)"
    with pytest.raises(ValueError, match="optimizer holds moments") as caught:
        fastbptt.RNN(2, 5, 1, dtype="float64").train_step(bench.x, bench.y, twin)
    assert str(caught.value) == (
        f"optimizer holds moments of float32 for {layout}; expected float64 for {layout}"
    )
    with pytest.raises(ValueError, match="optimizer holds moments of float32 for W_xh"):
        fastbptt.RNN(2, 6, 1).train_step(bench.x, bench.y, twin)
    bench.model.copy().train_step(bench.x, bench.y, twin)


def test_copy_before_any_step() -> None:
    twin = pickle.loads(pickle.dumps(fastbptt.Adam(lr=0.5, epsilon_hat=True)))
    assert repr(twin) == ("Adam(lr=0.5, betas=(0.9, 0.999), eps=1e-08, epsilon_hat=True)  # step 0")


def test_optimizer_does_not_keep_its_model(bench: Bench) -> None:
    model = bench.model.copy()
    adam = fastbptt.Adam()
    model.train_step(bench.x, bench.y, adam)
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None
    with pytest.raises(ValueError, match="optimizer belongs to another model"):
        bench.model.train_step(bench.x, bench.y, adam)


def test_two_optimizers_of_one_model(bench: Bench) -> None:
    second = fastbptt.Adam()
    bench.model.train_step(bench.x, bench.y, second)
    bench.model.train_step(bench.x, bench.y, bench.adam)
    assert (second.step_count, bench.adam.step_count) == (1, 2)


def test_clipping_scales_all_gradients(bench: Bench) -> None:
    _, grads = bench.model.loss_and_grad(bench.x, bench.y)
    norm = float(np.linalg.norm(grads.flat.astype(float)))
    for clip_norm, scale in ((norm / 10, 0.1), (norm * 2, 1.0), (math.inf, 1.0)):
        model, adam = bench.model.copy(), fastbptt.Adam(betas=(0.0, 0.0))
        model.train_step(bench.x, bench.y, adam, clip_norm=clip_norm)
        np.testing.assert_allclose(adam.m.flat, grads.flat * scale, rtol=1e-5)


def test_registry() -> None:
    assert OPTIMIZERS["adam"] is fastbptt.Adam
    assert all(issubclass(one, Optimizer) for one in OPTIMIZERS.values())


def test_refused_step_leaves_the_optimizer_free() -> None:
    one, other = fastbptt.RNN(2, 3, 1, seed=0), fastbptt.RNN(2, 4, 1, seed=0)
    adam = fastbptt.Adam()
    with pytest.raises(ValueError, match="gradient of W_xh"):
        adam.step(one, np.full(one.num_parameters, np.nan, np.float32))
    assert adam.step_count == 0
    adam.step(other, np.ones(other.num_parameters, np.float32))
    assert adam.step_count == 1
