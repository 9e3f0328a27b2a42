"""Resets inside sequences in `fit`, `evaluate`, `find_lr` and `diagnose`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import fastbptt

N, T = 14, 12
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, T, 2))
LENGTHS = RNG.integers(3, T + 1, N)
LENGTHS[0] = T
RESETS = RNG.random((N, T)) < 0.2
RESETS[0, 6] = True
Y = X.cumsum(axis=1)[..., :1]
HOW: dict[str, Any] = {"steps": "all", "lengths": LENGTHS, "resets": RESETS}


def listed(array: NDArray[Any]) -> list[NDArray[Any]]:
    return [one[:end] for one, end in zip(array, LENGTHS, strict=True)]


def network(**options: Any) -> fastbptt.Recurrent:
    return fastbptt.LSTM(2, 5, 1, seed=0, dtype="float64", learn_initial_state=True, **options)


def fitted(x: Any = X, y: Any = Y, **options: Any) -> tuple[bytes, fastbptt.History]:
    model = network()
    options = {"epochs": 2, "batch_size": 5, "verbose": 0} | options
    history = fastbptt.fit(model, x, y, **options)
    return model.parameters.flat.tobytes(), history


@pytest.mark.parametrize("bptt_steps", [None, 5])
def test_fit_is_its_steps(bptt_steps: int | None) -> None:
    found, history = fitted(**HOW, shuffle=False, loss="mse", bptt_steps=bptt_steps, epochs=1)
    model, adam = network(), fastbptt.Adam()
    for first in (0, 5, 10):
        rows = slice(first, first + 5)
        end = LENGTHS[rows].max()
        model.train_step(
            X[rows, :end], Y[rows, :end], adam, "mse", "all", lengths=LENGTHS[rows],
            resets=RESETS[rows, :end], bptt_steps=bptt_steps,
        )  # fmt: skip
    assert found == model.parameters.flat.tobytes()
    assert found != fitted(**{**HOW, "resets": None}, shuffle=False, loss="mse", epochs=1)[0]
    assert history["loss"][0] > 0


def test_lists_and_arrays() -> None:
    whole, curves = fitted(**HOW, validation=0.3)
    found, history = fitted(
        listed(X), listed(Y), steps="all", resets=listed(RESETS), validation=0.3
    )
    assert found == whole
    for name in ("loss", "validation_loss"):
        assert history[name] == curves[name]


def test_validation_data_have_resets_of_their_own() -> None:
    held = (X[:5], Y[:5], LENGTHS[:5], None, RESETS[:5])
    whole, history = fitted(**HOW, validation=held, loss="mse")
    model = network()
    model.parameters.flat[...] = np.frombuffer(whole)
    assert history["validation_loss"][-1] == pytest.approx(
        model.loss(X[:5], Y[:5], "mse", "all", lengths=LENGTHS[:5], resets=RESETS[:5]), rel=1e-12
    )
    other = fitted(**HOW, validation=held[:3], loss="mse")[1]
    assert other["validation_loss"] != history["validation_loss"]
    assert other["loss"] == history["loss"]


@pytest.mark.parametrize("steps", ["last", "all"])
def test_the_loss_of_evaluate_is_the_models_own(steps: str) -> None:
    model = network()
    y = Y if steps == "all" else Y[:, 0]
    how: dict[str, Any] = {**HOW, "steps": steps}
    found = fastbptt.evaluate(model, X, y, loss="mse", batch_size=4, metrics="mae", **how)
    assert found["loss"] == pytest.approx(model.loss(X, y, "mse", **how), rel=1e-12)
    z = fastbptt.predict(model, X, LENGTHS, steps=steps, resets=RESETS)
    real = np.arange(T) < LENGTHS[:, np.newaxis]
    errors = np.abs(z - y)[real] if steps == "all" else np.abs(z - y)
    assert found["mae"] == pytest.approx(errors.mean(), rel=1e-12)


def test_a_loss_of_the_users_own() -> None:
    def squares(z: Any, y: Any, weights: Any) -> tuple[float, Any]:
        weights = np.ones(z.shape[:2]) if weights is None else weights
        share = weights[..., np.newaxis] / weights.sum()
        return float((share * (z - y) ** 2).sum()), 2 * share * (z - y)

    one, two = (fitted(**HOW, loss=loss, shuffle=False)[1] for loss in ("mse", squares))
    np.testing.assert_allclose(one["loss"], two["loss"], rtol=1e-10)


def batches(*extra: Any) -> Iterator[Any]:
    for _ in range(4):
        yield (X, Y, *extra)


def test_an_iterator_yields_resets() -> None:
    how: dict[str, Any] = {"steps": "all", "loss": "mse", "epochs": 2, "verbose": 0}
    found = []
    for parts in ((None, RESETS), (np.ones(N), RESETS), (np.ones(N),)):
        model = network()
        fastbptt.fit(model, batches(*parts), steps_per_epoch=2, **how)
        found.append(model.parameters.flat.copy())
    np.testing.assert_allclose(found[0], found[1], rtol=1e-12)
    assert np.abs(found[1] - found[2]).max() > 1e-6
    with pytest.raises(ValueError, match=r"resets is an array .*; expected None because x is an"):
        fastbptt.fit(network(), batches(), steps_per_epoch=2, resets=RESETS, **how)


def test_a_resumed_run_has_the_same_resets(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    whole, _ = fitted(**HOW, epochs=3)
    fitted(**HOW, epochs=2, checkpoint=path)
    model = network()
    how: dict[str, Any] = {"batch_size": 5, "verbose": 0, "epochs": 3}
    other = {**HOW, "resets": np.roll(RESETS, 1, axis=1)}
    with pytest.raises(ValueError, match="resets"):
        fastbptt.fit(model, X, Y, **other, **how, checkpoint=path, resume=True)
    fastbptt.fit(model, X, Y, **HOW, **how, checkpoint=path, resume=True)
    assert model.parameters.flat.tobytes() == whole


def test_learning_rates_are_those_of_the_same_updates() -> None:
    how: dict[str, Any] = {"updates": 12, "loss": "mse", "steps": "all"}
    found = fastbptt.find_lr(network(), X, Y, resets=RESETS, **how)
    assert (found.losses != fastbptt.find_lr(network(), X, Y, **how).losses).any()


def test_diagnose_stops_at_resets() -> None:
    model = network(num_layers=2)
    report = fastbptt.diagnose(
        model, X, Y[:, -1], "mse", lengths=LENGTHS, resets=RESETS, per_example=True,
        optimizer=fastbptt.Adam(),
    )  # fmt: skip
    for b, end in enumerate(LENGTHS):
        marks = np.flatnonzero(RESETS[b, :end])
        start = int(marks[-1]) if len(marks) else 0
        for layer in report.layers:
            assert not layer.hidden_gradient[b, :start].any()
            assert layer.hidden_gradient[b, start:end].all()
            for name in ("W_xh", "W_hh"):
                assert not layer.contribution[name][b, :start].any()
    assert report.decay is None and report.layers[0].jacobian is None
    loss, grads = model.loss_and_grad(X, Y[:, -1], "mse", lengths=LENGTHS, resets=RESETS)
    assert report.loss == pytest.approx(loss, rel=1e-12)
    for name, norm in report.gradient_norms.items():
        assert norm == pytest.approx(float(np.linalg.norm(grads[name])), rel=1e-10)
    assert (
        fastbptt.diagnose(model, X, Y, "mse", "all", resets=RESETS, jacobians=False).decay is None
    )
    for jacobians in (True, 2):
        with pytest.raises(ValueError, match=f"jacobians is {jacobians}, but resets is given"):
            fastbptt.diagnose(model, X, Y, "mse", "all", resets=RESETS, jacobians=jacobians)
