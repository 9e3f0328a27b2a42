"""Steps that the model's dtype has no numbers for are refused, and nothing has changed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastbptt
from fastbptt.optim import OPTIMIZERS

X = np.ones((2, 3, 2), np.float32)
TOO_LARGE: dict[str, tuple[str, dict[str, Any], float]] = {
    "adam": ("adam", {}, 1e20),
    "adam, amsgrad": ("adam", {"amsgrad": True}, 3e19),
    "adamw": ("adamw", {}, -1e25),
    "rmsprop": ("rmsprop", {}, 1e30),
    "rmsprop, centered": ("rmsprop", {"centered": True}, -2e19),
    "rmsprop, momentum": ("rmsprop", {"momentum": 0.9}, 1e21),
    "sgd": ("sgd", {"lr": 1e10}, 1e30),
    "sgd, momentum": ("sgd", {"lr": 1e30, "momentum": 0.5}, 1e10),
    # of these one step has numbers, but not the sum of many
    "sgd, momentum that adds up": ("sgd", {"lr": 0.0, "momentum": 0.99}, 1e37),
    "sgd, Nesterov's": ("sgd", {"lr": 0.0, "momentum": 0.999, "nesterov": True}, -3e36),
    "sgd, a step that grows": ("sgd", {"lr": 1e3, "momentum": 0.999}, 1e34),
    "rmsprop, momentum that adds up": (
        "rmsprop", {"momentum": 0.99999, "eps": 1e10, "alpha": 0.999999, "lr": 1e31}, 1e13),
}  # fmt: skip
SETTINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "adam": ("adam", {"weight_decay": 1e30}),
    "rmsprop": ("rmsprop", {"weight_decay": 1e25}),
    "rmsprop, centered": ("rmsprop", {"weight_decay": 1e30, "centered": True}),
    "sgd": ("sgd", {"weight_decay": 1e30, "lr": 1e10}),
    "sgd, momentum": ("sgd", {"weight_decay": 1e38, "lr": 1e3, "momentum": 0.9}),
}


def bits(model: fastbptt.Recurrent, optimizer: fastbptt.Optimizer) -> tuple[Any, ...]:
    return model.parameters.flat.tobytes(), optimizer.step_count, optimizer._binding is None


@pytest.mark.parametrize("name", TOO_LARGE)
@pytest.mark.parametrize("one", [True, False])
def test_a_gradient_that_is_too_large(name: str, one: bool) -> None:
    rule, settings, size = TOO_LARGE[name]
    model, optimizer = fastbptt.RNN(2, 3, 1, seed=0), OPTIMIZERS[rule](**settings)
    gradient = np.zeros(model.num_parameters, np.float32)
    gradient[slice(5, 6) if one else slice(None)] = size
    before = bits(model, optimizer)
    with pytest.raises(fastbptt.ArgumentError, match=r"^the gradient is too large .*clip_norm"):
        optimizer.step(model, gradient)
    assert bits(model, optimizer) == before
    optimizer.step(model, gradient * np.float32(1 / abs(size)))
    assert np.isfinite(model.parameters.flat).all()
    assert optimizer.step_count == 1


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_that_are_too_large(name: str) -> None:
    rule, settings = SETTINGS[name]
    model, optimizer = fastbptt.RNN(2, 3, 1, seed=0), OPTIMIZERS[rule](**settings)
    before = bits(model, optimizer)
    with pytest.raises(
        fastbptt.ArgumentError, match=r"^the optimizer has settings .*smaller lr or weight_decay"
    ):
        model.train_step(X, [0, 1], optimizer)
    assert bits(model, optimizer) == before
    advised = OPTIMIZERS[rule](**settings | {"weight_decay": 0.1, "lr": 0.1})
    model.train_step(X, [0, 1], advised)
    wide = fastbptt.RNN(2, 3, 1, dtype="float64", seed=0)
    wide.train_step(X, [0, 1], OPTIMIZERS[rule](**settings))  # which has numbers for them
    assert np.isfinite(wide.parameters.flat).all()


@pytest.mark.parametrize("rule", ["adam", "adamw", "rmsprop"])
@pytest.mark.parametrize("clip", [{"clip_norm": 1.0}, {"clip_value": 0.5}])
def test_the_advice_is_followed(rule: str, clip: dict[str, float]) -> None:
    model, optimizer = fastbptt.RNN(2, 3, 1, seed=0), OPTIMIZERS[rule]()
    model.parameters["W_xh"][...] = 0.0
    x, before = X * np.float32(1e22), bits(model, optimizer)
    with pytest.raises(fastbptt.ArgumentError, match=r"^the gradient is too large .*norm is \d"):
        model.train_step(x, [0, 1], optimizer)
    assert bits(model, optimizer) == before
    model.train_step(x, [0, 1], optimizer, **clip)
    assert optimizer.step_count == 1
    assert np.isfinite(model.parameters.flat).all()


@pytest.mark.parametrize("rule", OPTIMIZERS)
def test_a_gradient_that_is_just_not_too_large(rule: str) -> None:
    model, optimizer = fastbptt.RNN(2, 3, 1, seed=0), OPTIMIZERS[rule]()
    gradient = np.zeros(model.num_parameters, np.float32)
    gradient[3] = 1e19
    optimizer.step(model, gradient)
    assert np.isfinite(model.parameters.flat).all()
    for moment in optimizer._moments:
        assert np.isfinite(getattr(optimizer, moment).flat).all()


@pytest.mark.parametrize("rule", ["sgd", "rmsprop"])
def test_the_largest_gradient_that_is_taken_may_come_for_ever(rule: str) -> None:
    settings: dict[str, Any] = {"momentum": 0.9, "lr": 0.0}
    model, optimizer = fastbptt.RNN(2, 3, 1, seed=0), OPTIMIZERS[rule](**settings)
    gradient = np.full(model.num_parameters, 3e36 if rule == "sgd" else 1e18, np.float32)
    for _ in range(200):
        optimizer.step(model, gradient)
    assert np.isfinite(model.parameters.flat).all()
    assert all(np.isfinite(getattr(optimizer, name).flat).all() for name in optimizer._moments)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("name", "settings", "decay"),
    [
        ("adam", {"betas": (0.9, 0.999)}, 0.999),
        ("adam", {"betas": (0.9, 0.0)}, 0.0),
        ("adam", {"betas": (0.0, 0.99), "epsilon_hat": True}, 0.99),
        ("adam", {"betas": (0.9, 0.9), "amsgrad": True}, 0.9),
        ("adamw", {"betas": (0.5, 0.99999)}, 0.99999),
        ("rmsprop", {"alpha": 0.0}, 0.0),
        ("rmsprop", {"alpha": 0.999}, 0.999),
    ],
)
def test_the_least_eps_bounds_a_step_whose_square_is_lost(
    name: str, settings: dict[str, Any], decay: float, dtype: str
) -> None:
    """A gradient g with g^2 = 0 in the model's dtype: its step, lr g / eps, stays below lr."""
    least = float(np.sqrt(np.finfo(dtype).tiny / (1 - decay)))
    for size in (0.9, 1e-1, 1e-3):
        net = fastbptt.RNN(1, 1, 1, dtype=dtype, seed=0)
        net.parameters.flat[:] = 0.0
        optimizer = OPTIMIZERS[name](lr=0.01, eps=1.01 * least, **settings)
        for _ in range(3):
            optimizer.step(net, np.full(net.num_parameters, size * least, dtype))
        assert np.abs(net.parameters.flat).max() <= 0.0301
    small = OPTIMIZERS[name](eps=0.99 * least, **settings)
    with pytest.raises(ValueError, match=r"in which squares of gradients are 0 below that"):
        small.step(net, np.zeros(net.num_parameters))


def test_a_variance_of_one_gradient_is_refused() -> None:
    with pytest.raises(ValueError, match=r"alpha is 0.0; expected above 0 because centered=True"):
        fastbptt.RMSprop(alpha=0, centered=True)
