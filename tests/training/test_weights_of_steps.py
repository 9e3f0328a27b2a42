"""Weights of steps in training and evaluation: masks, missing targets, warm-up, classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import fastbptt

N, T = 12, 7
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, T, 2))
LENGTHS = RNG.integers(3, T + 1, N)
LENGTHS[0] = T
MASK = RNG.random((N, T)) < 0.4
MASK[:, 2] = True
WEIGHTS = np.where(MASK, RNG.uniform(0.5, 2.0, (N, T)), 0.0)
NUMBERS = X.cumsum(axis=1)[..., :1]
CLASSES = RNG.integers(0, 3, (N, T))


def listed(array: NDArray[Any]) -> list[NDArray[Any]]:
    return [one[:end] for one, end in zip(array, LENGTHS, strict=True)]


def fitted(outputs: int, x: Any, y: Any, **options: Any) -> tuple[fastbptt.Recurrent, Any]:
    model = fastbptt.GRU(2, 4, outputs, seed=0, dtype="float64")
    options = {"epochs": 2, "batch_size": 5, "verbose": 0, "steps": "all"} | options
    return model, fastbptt.fit(model, x, y, **options)


@pytest.mark.parametrize("reduction", ["mean", "sum", "sequence_mean"])
@pytest.mark.parametrize(("outputs", "y"), [(1, NUMBERS), (3, CLASSES)])
def test_what_has_no_weight_is_not_read(outputs: int, y: NDArray[Any], reduction: str) -> None:
    how = {"reduction": reduction, "validation": 0.3}
    hidden = np.where(MASK.reshape(N, T, *[1] * (y.ndim - 2)), y, -1 if y.dtype == int else np.nan)
    model, history = fitted(outputs, X, y, sample_weight=WEIGHTS, lengths=LENGTHS, **how)
    other, curves = fitted(outputs, listed(X), listed(hidden), sample_weight=listed(WEIGHTS), **how)
    assert np.array_equal(model.parameters.flat, other.parameters.flat)
    assert curves["loss"] == history["loss"]
    assert curves["validation_loss"] == history["validation_loss"]


@pytest.mark.parametrize("reduction", ["mean", "sum", "sequence_mean"])
def test_the_loss_of_evaluate_is_the_models_own(reduction: str) -> None:
    model, _ = fitted(3, X, CLASSES)
    how: dict[str, Any] = {"reduction": reduction, "lengths": LENGTHS, "sample_weight": WEIGHTS}
    found = fastbptt.evaluate(model, X, CLASSES, steps="all", batch_size=5, **how)
    assert found["loss"] == pytest.approx(
        model.loss(X, CLASSES, "cross_entropy", "all", **how), rel=1e-12
    )


def test_metrics_have_the_same_weights() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    model, _ = fitted(3, X, CLASSES)
    guessed = fastbptt.predict(model, X, steps="all").argmax(axis=-1)
    flat = [a[MASK] for a in (CLASSES, guessed, WEIGHTS)]
    found = fastbptt.evaluate(
        model, X, CLASSES, steps="all", sample_weight=WEIGHTS,
        metrics=["accuracy", "balanced_accuracy", metrics.log_loss],
    )  # fmt: skip
    assert found["accuracy"] == pytest.approx(
        metrics.accuracy_score(*flat[:2], sample_weight=flat[2])
    )
    balanced = metrics.balanced_accuracy_score(*flat[:2], sample_weight=flat[2])
    assert found["balanced_accuracy"] == pytest.approx(balanced)
    assert found["log_loss"] == pytest.approx(found["loss"])
    numbers, _ = fitted(1, X, NUMBERS)
    z = fastbptt.predict(numbers, X, steps="all")[MASK]
    wanted = metrics.r2_score(NUMBERS[MASK], z, sample_weight=WEIGHTS[MASK])
    found = fastbptt.evaluate(
        numbers, X, NUMBERS, steps="all", sample_weight=WEIGHTS, metrics=["r2", "mae", "rmse"]
    )
    assert found["r2"] == pytest.approx(wanted)
    errors = (np.abs(z - NUMBERS[MASK])[:, 0], WEIGHTS[MASK])
    assert found["mae"] == pytest.approx(np.average(errors[0], weights=errors[1]))
    assert found["rmse"] == pytest.approx(np.average(errors[0] ** 2, weights=errors[1]) ** 0.5)


@pytest.mark.parametrize("weights", [None, np.arange(1.0, N + 1), WEIGHTS])
def test_warm_up_is_weight_zero(weights: NDArray[Any] | None) -> None:
    own = np.ones((N, T)) if weights is None else weights
    own = np.repeat(own[:, np.newaxis], T, axis=1) if own.ndim == 1 else own.copy()
    own[:, :2] = 0.0
    how = {"validation": 0.25, "metrics": "mae", "lengths": LENGTHS}
    model, history = fitted(1, X, NUMBERS, sample_weight=weights, warmup=2, **how)
    other, wanted = fitted(1, X, NUMBERS, sample_weight=own, **how)
    assert np.array_equal(model.parameters.flat, other.parameters.flat)
    for name in ("loss", "validation_loss", "validation_mae"):
        assert history[name] == wanted[name]


@pytest.mark.parametrize("as_list", [False, True])
@pytest.mark.parametrize("given", ["balanced", {0: 2.0, 2: 0.0}])
def test_classes_of_steps_have_weights(given: Any, as_list: bool) -> None:
    real = np.arange(T) < LENGTHS[:, np.newaxis]
    counts = np.bincount(CLASSES[real & MASK], minlength=3)
    factors = counts.sum() / (3 * counts) if given == "balanced" else np.array([2.0, 1.0, 0.0])
    other, wanted = fitted(3, X, CLASSES, sample_weight=WEIGHTS * factors[CLASSES], lengths=LENGTHS)
    if as_list:
        data: Any = (listed(X), listed(CLASSES))
        how: dict[str, Any] = {"sample_weight": listed(WEIGHTS)}
    else:
        data, how = (X, CLASSES), {"sample_weight": WEIGHTS, "lengths": LENGTHS}
    model, history = fitted(3, *data, class_weight=given, **how)
    np.testing.assert_allclose(model.parameters.flat, other.parameters.flat, rtol=1e-12)
    np.testing.assert_allclose(history["loss"], wanted["loss"], rtol=1e-12)


def test_a_warm_up_is_one_of_the_validation_data_too() -> None:
    model, history = fitted(1, X, NUMBERS, warmup=2, validation=(X, NUMBERS))
    wanted = fastbptt.evaluate(model, X, NUMBERS, steps="all", warmup=2)["loss"]
    assert history["validation_loss"][-1] == pytest.approx(wanted, rel=1e-12)
    assert wanted != fastbptt.evaluate(model, X, NUMBERS, steps="all")["loss"]


@pytest.mark.parametrize("weights", [np.full(N, 1e308), np.full((N, T), 1e308)])
def test_weights_that_overflow_together_are_refused(weights: NDArray[Any]) -> None:
    model = fastbptt.GRU(2, 4, 1, seed=0)
    with pytest.raises(fastbptt.ArgumentError, match="adds up to more than a number can hold"):
        model.loss(X, NUMBERS, "mse", "all", sample_weight=weights)


def test_validation_data_have_weights_of_their_own() -> None:
    held = (X, np.where(MASK[..., np.newaxis], NUMBERS, np.nan), None, WEIGHTS)
    model, history = fitted(1, X, NUMBERS, validation=held)
    wanted = fastbptt.evaluate(model, X, NUMBERS, steps="all", sample_weight=WEIGHTS)["loss"]
    assert history["validation_loss"][-1] == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sample_weight": -WEIGHTS}, r"sample_weight holds -[\d.]+ at index \(0, \d\)"),
        (
            {"sample_weight": np.where(WEIGHTS > 1, np.nan, 1)},
            r".* not finite \(nan\)",
        ),
        ({"sample_weight": 0 * WEIGHTS}, "sample_weight holds only zeros"),
        ({"sample_weight": WEIGHTS[:, :3]}, r"sample_weight has shape \(12, 3\); expected \(12,\)"),
        ({"sample_weight": WEIGHTS, "steps": "last"}, 'one weight per sequence for steps="last"'),
        ({"warmup": T}, f"warmup is {T}; expected below {T}"),
        ({"warmup": -1}, "warmup is -1; expected at least 0"),
        ({"warmup": 1, "steps": "last"}, 'warmup is 1; expected 0 unless steps="all"'),
        ({"sample_weight": WEIGHTS, "metrics": lambda y, z: 0.0}, "takes no weights"),
    ],
)
def test_wrong_weights_are_refused(options: dict[str, Any], message: str) -> None:
    y = NUMBERS if options.get("steps", "all") == "all" else NUMBERS[:, -1]
    model = fastbptt.GRU(2, 4, 1, seed=0)
    before = model.parameters.flat.copy()
    with pytest.raises((ValueError, TypeError), match=message):
        fastbptt.fit(model, X, y, **{"steps": "all", "epochs": 1, "verbose": 0} | options)
    assert np.array_equal(model.parameters.flat, before)


def test_a_target_with_a_weight_is_read() -> None:
    y = NUMBERS.copy()
    y[tuple(np.argwhere(MASK)[5])] = np.nan
    with pytest.raises(
        fastbptt.ArgumentError, match=r"y holds a value that is not finite"
    ) as caught:
        fitted(1, X, y, sample_weight=WEIGHTS)
    assert caught.value.index == (*np.argwhere(MASK)[5], 0)


@pytest.mark.parametrize("call", ["loss", "train_step", "diagnose", "fit", "evaluate", "held out"])
def test_a_warm_up_that_leaves_no_weight_is_named(call: str) -> None:
    x, y = [X[0], X[1][:2]], [NUMBERS[0], NUMBERS[1][:2]]
    model = fastbptt.GRU(2, 4, 1, seed=0, dtype="float64")
    before = model.parameters.flat.copy()
    how: dict[str, Any] = {"steps": "all", "warmup": 2, "loss": "mse"}
    beside: dict[str, Any] = {**how, "sample_weight": [0.0, 1.0]}
    calls: dict[str, Any] = {
        "loss": lambda: model.loss(x, y, **beside),
        "train_step": lambda: model.train_step(x, y, fastbptt.Adam(), bptt_steps=1, **beside),
        "diagnose": lambda: fastbptt.diagnose(model, x, y, **beside),
        "fit": lambda: fastbptt.fit(model, x, y, **beside),
        "evaluate": lambda: fastbptt.evaluate(model, x, y, **beside),
        "held out": lambda: fastbptt.fit(
            model, X, NUMBERS, validation=(x, y, None, [0.0, 1.0]), **how
        ),
    }
    text = "warmup is 2; expected fewer steps than some sequence with a sample_weight above 0 has"
    with pytest.raises(fastbptt.ArgumentError) as raised:
        calls[call]()
    assert str(raised.value) == "validation: " * (call == "held out") + text
    np.testing.assert_array_equal(model.parameters.flat, before)
