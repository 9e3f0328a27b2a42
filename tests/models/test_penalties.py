"""L1 and L2 penalties on single parameters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from trained import Bench

import fastbptt
from fastbptt import reference

RNG = np.random.default_rng(4)
X = RNG.normal(size=(6, 5, 3))
Y = RNG.normal(size=(6, 2))
L1, L2 = {"W_hh": 0.3, "b_h": 0.05}, {"W_xh": 0.2, "W_hh": 0.1}
TERMS = ["l1.W_hh", "l1.b_h", "l2.W_xh", "l2.W_hh"]


@pytest.mark.parametrize("cell", fastbptt.cells())
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradient_and_terms(cell: str, dtype: str) -> None:
    alpha = 0.5 if cell.startswith("leaky") else None
    model = fastbptt.Recurrent(cell, 3, 7, 2, alpha=alpha, dtype=dtype, seed=1)
    assert model.last_penalties is None
    model.parameters["b_h"][2] = 0.0
    plain, before = model.loss_and_grad(X, Y, "mse")
    loss, grads = model.loss_and_grad(X, Y, "mse", l1=L1, l2=L2)
    terms, slopes = reference.penalties(model.state_dict(), L1, L2)
    assert loss == plain
    assert model.last_penalties is not None
    assert list(model.last_penalties) == TERMS
    tolerance = 1e-6 if dtype == "float32" else 1e-14
    for name, value in terms.items():
        assert model.last_penalties[name] == pytest.approx(float(value), rel=tolerance)
    for name in grads:
        expected = before[name] + slopes.get(name, 0.0)
        np.testing.assert_allclose(grads[name], expected, rtol=tolerance, atol=tolerance)
    assert grads["b_h"][2] == before["b_h"][2]


def test_reference_by_the_complex_step() -> None:
    params = {name: RNG.normal(size=(3, 4)) for name in ("W_hh", "b_h", "W_xh")}
    _, slopes = reference.penalties(params, L1, L2)
    for name, index in (("W_hh", (1, 2)), ("b_h", (0, 3)), ("W_xh", (2, 0))):
        moved = {one: values.astype(complex) for one, values in params.items()}
        moved[name][index] += 1e-30j
        derivative = sum(reference.penalties(moved, L1, L2)[0].values()).imag / 1e-30
        assert slopes[name][index] == pytest.approx(derivative, rel=1e-13)


def test_gradient_by_differences() -> None:
    model = fastbptt.GRU(3, 4, 2, dtype="float64", seed=0)
    _, grads = model.loss_and_grad(X, Y, "mse", l1=L1, l2=L2)

    def total() -> float:
        value = model.loss(X, Y, "mse")
        model.loss_and_grad(X, Y, "mse", l1=L1, l2=L2)
        assert model.last_penalties is not None
        return value + sum(model.last_penalties.values())

    for name, index in (("W_hh", (1, 2)), ("W_xh", (2, 5)), ("b_h", (3,)), ("W_hy", (0, 1))):
        view, h = model.parameters[name], 1e-6
        view[index] += h
        up = total()
        view[index] -= 2 * h
        slope = (up - total()) / (2 * h)
        view[index] += h
        assert grads[name][index] == pytest.approx(slope, rel=1e-6)


def test_training_step_and_clipping() -> None:
    """The penalties are part of the gradient that is clipped."""
    model = fastbptt.RNN(3, 4, 2, dtype="float64", seed=0)
    _, grads = model.loss_and_grad(X, Y, "mse", l1=L1, l2=L2)
    size = float(np.linalg.norm(grads.flat))
    before = model.parameters.flat.copy()
    model.train_step(X, Y, fastbptt.SGD(1.0), "mse", l1=L1, l2=L2, clip_norm=size / 2)
    np.testing.assert_allclose(before - model.parameters.flat, grads.flat / 2, rtol=1e-12)


def test_chunks_report_their_mean() -> None:
    model, other = (fastbptt.RNN(3, 4, 2, dtype="float64", seed=0) for _ in range(2))
    y = RNG.normal(size=(6, 5, 2))
    sgd, twin = fastbptt.SGD(0.1), fastbptt.SGD(0.1)
    model.train_step(X, y, sgd, "mse", "all", bptt_steps=2, l1=L1)
    state, terms = other.initial_state(6), []
    for part in (slice(0, 2), slice(2, 4), slice(4, 5)):
        other.train_step(X[:, part], y[:, part], twin, "mse", "all", state=state, l1=L1)
        assert other.last_penalties is not None
        terms.append(other.last_penalties["l1.W_hh"])
    assert model.parameters.flat.tobytes() == other.parameters.flat.tobytes()
    assert model.last_penalties is not None
    assert model.last_penalties["l1.W_hh"] == pytest.approx(np.mean(terms), rel=1e-14)


@pytest.mark.parametrize("custom", [False, True])
def test_history_has_them_by_name(custom: bool) -> None:
    """A loss function of the caller's has the same penalties."""

    def squares(z: Any, y: Any, weights: Any) -> tuple[float, Any]:
        return float(((z - y) ** 2).mean()), 2 * (z - y) / z.size

    model = fastbptt.RNN(3, 4, 2, dtype="float64", seed=0)
    other = model.copy()
    history = fastbptt.fit(
        model, X, Y, loss=squares if custom else "mse", epochs=2, batch_size=3, shuffle=False,
        optimizer=fastbptt.SGD(0.1), l1=L1, l2=L2, verbose=0,
    )  # fmt: skip
    assert set(TERMS) <= set(history.curves)
    sgd, losses, terms = fastbptt.SGD(0.1), [], []
    for part in (slice(0, 3), slice(3, 6)):
        losses.append(other.train_step(X[part], Y[part], sgd, "mse", l1=L1, l2=L2))
        terms.append(other.last_penalties)
    assert history["loss"][0] == pytest.approx(np.mean(losses), rel=1e-12)
    for name in TERMS:
        assert history[name][0] == pytest.approx(np.mean([one[name] for one in terms]), rel=1e-12)


@pytest.mark.parametrize("name", ["l1", "l2"])
def test_refused(bench: Bench, name: str) -> None:
    model, adam = bench.model, bench.adam
    for given, error, words in (
        (0.1, TypeError, " is of type float; expected a mapping of parameter -> strength"),
        ({}, ValueError, " is empty; expected a mapping of parameter -> strength, or None"),
        ({"W": 1.0}, ValueError, " has 'W'; expected one of W_xh, W_hh, b_h, W_hy, b_y"),
        ({"W_hh": 0.0}, ValueError, "['W_hh'] is 0.0; expected a number from 1.18e-38"),
        ({"W_hh": -1.0}, ValueError, "['W_hh'] is -1.0; expected a number from"),
        ({"W_hh": np.nan}, ValueError, "['W_hh'] is nan; expected a number from"),
        ({"W_hh": "x"}, TypeError, "['W_hh'] is 'x'; expected a number from"),
    ):
        with bench.refuses_with(error, name + words):
            model.train_step(bench.x, bench.y, adam, **{name: given})
        with bench.refuses_with(error, name + words):
            fastbptt.fit(model, bench.x, bench.y, optimizer=adam, **{name: given})
    model.freeze("W_hh")
    words = "['W_hh'] is given, but W_hh is frozen; expected parameters that are trained"
    with bench.refuses_with(ValueError, name + words):
        model.train_step(bench.x, bench.y, adam, **{name: {"W_hh": 1.0}})
