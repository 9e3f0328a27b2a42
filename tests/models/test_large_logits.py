"""Cross-entropy and its gradient where logits are far apart: in the core, at every place."""

from __future__ import annotations

import numpy as np
import pytest
from accuracy import ISAS

import fastbptt
from fastbptt import _core, reference

# Up to two of the widest vectors and one more: 16 numbers of float32
MOST = {"float32": 33, "float64": 17}


def model_with(bias: np.ndarray, dtype: str) -> fastbptt.Recurrent:
    """A model whose outputs are these logits, whatever comes in."""
    model = fastbptt.RNN(1, 2, len(bias), dtype=dtype, seed=0)
    model.parameters["W_hy"][...] = 0
    model.parameters["b_y"][...] = bias
    return model


def expected(logits: np.ndarray, target: int) -> tuple[float, np.ndarray]:
    """Loss and gradient by the definition, in float64."""
    z = logits.astype(np.float64)
    shares = np.exp(z - z.max())
    total = shares.sum()
    gradient = shares / total
    gradient[target] -= 1
    return float(np.log(total) + z.max() - z[target]), gradient


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", MOST)
def test_the_largest_logit_in_every_place(dtype: str, isa: str) -> None:
    before = _core.active_backend()
    _core.use_backend(isa)
    try:
        rng = np.random.default_rng(0)
        x = np.ones((1, 1, 1), dtype)
        close = 2e-6 if dtype == "float32" else 1e-13
        for classes in range(2, MOST[dtype] + 1):
            for top in range(classes):
                logits = rng.uniform(-1, 1, classes).astype(dtype)
                logits[top] += 100  # exp would overflow in float32 from 88.8 on
                model = model_with(logits, dtype)
                for target in {0, top, (top + 1) % classes, classes - 1}:
                    loss, gradient = expected(logits, target)
                    got, grads = model.loss_and_grad(x, [target], "cross_entropy")
                    assert abs(got - loss) <= close * max(loss, 1), (classes, top, target)
                    difference = np.abs(grads["b_y"] - gradient).max()
                    assert difference <= close, (classes, top, target)
                    assert model.loss(x, [target], "cross_entropy") == got
    finally:
        _core.use_backend(before)


@pytest.mark.parametrize("dtype", MOST)
@pytest.mark.parametrize("size", [90.0, 700.0, 20000.0])
def test_large_logits_of_every_sign(dtype: str, size: float) -> None:
    x = np.ones((1, 1, 1), dtype)
    for logits in ([size, -size, 0], [0, -size, size], [-size] * 3, [size] * 5, [-size, -size + 1]):
        bias = np.array(logits, dtype)
        model = model_with(bias, dtype)
        for target in range(len(bias)):
            loss, gradient = expected(bias, target)
            got, grads = model.loss_and_grad(x, [target], "cross_entropy")
            assert got == pytest.approx(loss, rel=1e-6, abs=1e-30)
            np.testing.assert_allclose(grads["b_y"], gradient, atol=1e-6)


@pytest.mark.parametrize("dtype", MOST)
@pytest.mark.parametrize("steps", ["last", "all"])
def test_large_logits_in_several_rows(dtype: str, steps: str) -> None:
    """A row's largest logit is its own, not that of a row beside it."""
    rng = np.random.default_rng(1)
    for classes in (2, 3, 9):
        model = fastbptt.RNN(classes, classes, classes, dtype=dtype, seed=0)
        state = {name: np.zeros_like(value) for name, value in model.state_dict().items()}
        state["W_xh"] = np.eye(classes) * 5  # tanh: -1 or 1
        state["W_hy"] = np.eye(classes) * 60
        model.load_state_dict(state)
        x = np.sign(rng.normal(size=(7, 2, classes))).astype(dtype) * 20
        y = rng.integers(0, classes, (7, 2))
        logits = 60 * np.sign(x)
        found = [
            expected(z, t)[0] for z, t in zip(logits.reshape(-1, classes), y.ravel(), strict=True)
        ]
        losses = np.array(found).reshape(7, 2)
        wanted = losses[:, -1].mean() if steps == "last" else losses.mean()
        got = model.loss(x, y[:, -1] if steps == "last" else y, "cross_entropy", steps)
        assert got == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("dtype", MOST)
@pytest.mark.parametrize("outputs", [1, 2, 15, 16, 17, 33])
@pytest.mark.parametrize("loss", ["bce", "mse"])
def test_large_outputs_of_other_losses(loss: str, outputs: int, dtype: str) -> None:
    """Each output with its own target, the last ones too."""
    x = np.ones((1, 1, 1), dtype)
    rng = np.random.default_rng(outputs)
    bias = (rng.choice([-1, 1], outputs) * rng.uniform(50, 300, outputs)).astype(dtype)
    y = rng.integers(0, 2, (1, outputs)).astype(dtype)
    z, t = bias.astype(np.float64), y[0].astype(np.float64)
    if loss == "bce":
        values = np.logaddexp(0, z) - t * z
        slopes = np.exp(-np.logaddexp(0, -z)) - t
    else:
        values, slopes = (z - t) ** 2, 2 * (z - t)
    got, grads = model_with(bias, dtype).loss_and_grad(x, y, loss)
    assert got == pytest.approx(values.mean(), rel=1e-6)
    np.testing.assert_allclose(grads["b_y"], slopes / outputs, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", MOST)
@pytest.mark.parametrize("classes", [2, 3, 32, 33])
def test_a_logit_that_is_not_a_number_is_in_the_loss(classes: int, dtype: str, isa: str) -> None:
    before = _core.active_backend()
    _core.use_backend(isa)
    try:
        for nan in (np.nan, -np.nan):  # infinity minus infinity has a sign
            for place in (0, classes - 1):
                logits = np.zeros(classes, dtype)
                logits[place] = nan
                model = model_with(logits, dtype)
                for target in (0, classes - 1):
                    loss, _ = model.loss_and_grad(
                        np.ones((1, 1, 1), dtype), [target], "cross_entropy", check_finite=False
                    )
                    assert np.isnan(loss)
    finally:
        _core.use_backend(before)


def test_the_slope_of_a_class_that_is_nearly_certain() -> None:
    """It is the share of the others, of which 1 - p has no digit left."""
    model = fastbptt.RNN(1, 3, 3, seed=0)
    for name, values in model.parameters.items():
        values[...] = [20.0, 0.0, 1.0] if name == "b_y" else 0.0
    _, gradient = model.loss_and_grad(np.ones((1, 1, 1)), np.array([0]), loss="cross_entropy")
    others = np.exp(-20.0) + np.exp(-19.0)
    assert gradient["b_y"][0] == pytest.approx(-others / (1 + others), rel=1e-5)


def test_rows_beyond_those_that_are_computed_at_once() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(700, 1, 2)), rng.integers(0, 20, 700)
    model = fastbptt.RNN(2, 3, 20, seed=0, dtype="float64")
    outputs = model.forward(x).outputs
    wanted, _ = reference.apply_loss(outputs, y[:, np.newaxis], "cross_entropy", "all")
    assert model.loss(x, y, loss="cross_entropy") == pytest.approx(wanted, rel=1e-12)


def test_weighted_steps_of_the_focal_loss() -> None:
    rng = np.random.default_rng(1)
    x, y, w = rng.normal(size=(5, 4, 2)), rng.integers(0, 3, (5, 4)), rng.uniform(size=(5, 4))
    model = fastbptt.GRU(2, 3, 3, seed=0, dtype="float64")
    loss = fastbptt.Loss("cross_entropy", gamma=2.0)
    wanted, _ = reference.apply_loss(model.forward(x).outputs, y, loss, "all", sample_weight=w)
    found = model.loss(x, y, loss=loss, steps="all", sample_weight=w)
    assert found == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("units", [4, 70])
def test_steps_before_those_without_weight_have_their_gradient(units: int) -> None:
    """The way back may end where all gradients are zero, but not before other outputs."""
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(2, 3000, 2)), rng.normal(size=(2, 3000, 1))
    w = np.ones((2, 3000))
    w[:, 20:] = 0.0
    model = fastbptt.LSTM(2, units, 1, seed=0, dtype="float64")
    _, whole = model.loss_and_grad(x, y, "mse", steps="all", sample_weight=w)
    _, begin = model.loss_and_grad(x[:, :20], y[:, :20], "mse", steps="all")
    np.testing.assert_allclose(whole.flat, begin.flat, rtol=1e-9, atol=1e-14)


def test_a_relu_keeps_what_is_not_a_number() -> None:
    model = fastbptt.Recurrent("relu", 2, 3, 1, seed=0)
    x = np.full((1, 2, 2), np.nan, np.float32)
    assert np.isnan(model.forward(x, check_finite=False).hidden).all()


@pytest.mark.parametrize("units", [4, 70])
def test_a_gradient_over_thousands_of_steps_by_differences(units: int) -> None:
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(8, 2500, 2)), rng.normal(size=(8, 2500, 1))
    model = fastbptt.GRU(2, units, 1, seed=0, dtype="float64")
    _, gradient = model.loss_and_grad(x, y, "mse", steps="all", reduction="sum")
    for name in ("W_xh", "W_hh", "b_h", "W_hy"):
        values, both = model.parameters[name], []
        for change in (1e-6, -1e-6):
            values.flat[1] += change
            both.append(model.loss(x, y, "mse", steps="all", reduction="sum"))
            values.flat[1] -= change
        assert gradient[name].flat[1] == pytest.approx((both[0] - both[1]) / 2e-6, rel=1e-4)
