"""Cross-entropy and its gradient where logits are far apart: in the core, at every place."""

from __future__ import annotations

import numpy as np
import pytest
from accuracy import ISAS

import fastbptt
from fastbptt import _core

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
