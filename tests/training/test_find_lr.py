"""The learning-rate range test."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastbptt

rng = np.random.default_rng(0)
X = rng.normal(size=(64, 8, 2))
Y = X[:, :, :1].sum(axis=1)


def network() -> fastbptt.Recurrent:
    return fastbptt.GRU(2, 6, 1, num_layers=2, dropout=0.2, seed=0)


def test_rates_and_losses_are_those_of_the_updates() -> None:
    """As by hand with `train_step`; the model and the optimiser stay as they are."""
    model, sgd = network(), fastbptt.SGD(0.5, momentum=0.9)
    before, seeds = model.parameters.flat.copy(), model._dropout_seeds.state
    more: dict[str, Any] = {"loss": "mse", "batch_size": 64, "shuffle": False}
    found = fastbptt.find_lr(model, X, Y, low=1e-4, high=1e-2, updates=12, optimizer=sgd, **more)
    np.testing.assert_array_equal(model.parameters.flat, before)
    assert (model._dropout_seeds.state, sgd.lr, sgd.step_count) == (seeds, 0.5, 0)
    np.testing.assert_allclose(found.rates, np.geomspace(1e-4, 1e-2, 12), rtol=1e-12)
    own = fastbptt.SGD(1e-4, momentum=0.9)
    for rate, loss in zip(found.rates, found.losses, strict=True):
        own.lr = rate
        assert model.train_step(X, Y, own, "mse") == pytest.approx(loss, rel=1e-6)
    np.testing.assert_allclose(found.smoothed[1:-1], [
        found.losses[i - 1 : i + 2].mean() for i in range(1, 11)
    ])  # fmt: skip


def test_the_suggestion_trains_and_a_divergence_ends_it() -> None:
    found = fastbptt.find_lr(network(), X, Y, loss="mse", high=100.0)
    assert len(found.rates) < 100
    assert found.suggestion is not None
    assert found.rates[0] < found.suggestion < found.rates[found.smoothed.argmin()]
    slope = np.gradient(found.smoothed, np.log(found.rates))
    at = int((found.rates == found.suggestion).argmax())
    assert slope[at] == slope[: found.smoothed.argmin()].min() < 0
    model = network()
    sgd = fastbptt.find_lr(model, X, Y, loss="mse", optimizer="sgd", high=1e30, updates=60)
    assert len(sgd.rates) < 60 and np.isfinite(sgd.losses).all()
    history = fastbptt.fit(
        model, X, Y, loss="mse", epochs=10, optimizer=fastbptt.Adam(found.suggestion), verbose=0
    )
    assert history["loss"][-1] < 0.5 * history["loss"][0]


def test_a_loss_that_never_falls_gives_no_suggestion() -> None:
    def own(z: Any, y: Any, weights: Any) -> Any:
        calls.append(1)
        return float(len(calls)), np.zeros_like(z)

    calls: list[int] = []
    found = fastbptt.find_lr(network(), X, Y, loss=own, updates=10)
    assert found.suggestion is None
    assert repr(found) == f"LearningRates({len(found.rates)} updates, suggestion none)"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"low": 0.0}, "low is 0.0; expected a number above 0"),
        ({"high": np.inf}, "high is inf; expected a finite number"),
        ({"low": 1.0}, "low is 1.0; expected less than high=1.0"),
        ({"updates": 3}, "updates is 3; expected at least 10"),
        ({"optimizer": "adan"}, 'optimizer is "adan"; expected one of'),
        ({"epochs": 3}, "find_lr has no argument epochs; expected one of loss, steps"),
        ({"x": np.where(X > 2, np.nan, X)}, "x holds a value that is not finite"),
    ],
)
def test_bad_arguments(given: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        fastbptt.find_lr(**{"model": network(), "x": X, "y": Y, "loss": "mse", **given})


def test_warm_up_and_static_inputs_belong_to_an_update() -> None:
    model = fastbptt.GRU(2, 6, 1, static_size=3, dtype="float64", seed=0)
    static, y = np.ones((64, 3)), np.cumsum(X[..., :1], axis=1)
    more: dict[str, Any] = {"loss": "mse", "steps": "all", "static": static, "batch_size": 64}
    found = fastbptt.find_lr(model, X, y, updates=10, warmup=3, **more)
    wanted = model.loss(X, y, "mse", "all", static=static, warmup=3)
    assert abs(found.losses[0] - wanted) < 1e-12
