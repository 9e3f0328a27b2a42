"""The loss in a history is that of the epoch's data, whatever the batches were."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import fastbptt

N, T, I, O = 23, 9, 2, 3
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, T, I))
LENGTHS = RNG.integers(1, T + 1, N)
WEIGHTS = RNG.uniform(0.2, 3, N)
WEIGHTS[4] = 0
STEPS, REDUCTIONS = ("last", "all"), ("mean", "sum", "sequence_mean")


def targets(loss: str, steps: str) -> Any:
    shape = (N, T) if steps == "all" else (N,)
    rng = np.random.default_rng(1)
    if loss == "cross_entropy":
        return rng.integers(0, O, shape)
    return rng.integers(0, 2, (*shape, O)) if loss == "bce" else rng.normal(size=(*shape, O))


class Frozen(fastbptt.Callback):
    """Undoes every update, so that all batches of an epoch see the same weights."""

    def on_train_begin(self, run: Any) -> None:
        self.weights = run.model.state_dict()

    def on_batch_end(self, run: Any) -> None:
        run.model.load_state_dict(self.weights)


def both(steps: str, reduction: str, loss: str, ragged: bool, weighted: bool, **more: Any) -> Any:
    """What the history and `evaluate` say, and an independent computation does."""
    model = fastbptt.LSTM(I, 4, O, dtype="float64", seed=1)
    objective: dict[str, Any] = {"loss": loss, "steps": steps, "reduction": reduction}
    data: dict[str, Any] = {
        "lengths": LENGTHS if ragged else None,
        "sample_weight": WEIGHTS if weighted else None,
    }
    y = targets(loss, steps)
    history = fastbptt.fit(
        model, X, y, **objective, **data, epochs=2, batch_size=5, callbacks=[Frozen()], verbose=0,
        **more,
    )  # fmt: skip
    found = fastbptt.evaluate(model, X, y, **objective, **data, batch_size=4)
    whole = model.loss(X, y, **objective, **data)  # all in one batch
    return history["loss"], found["loss"], whole


CASES = list(itertools.product(STEPS, REDUCTIONS, ("cross_entropy", "mse", "bce")))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize(("steps", "reduction", "loss"), CASES)
def test_history_evaluate_and_one_batch_agree(
    steps: str, reduction: str, loss: str, ragged: bool, weighted: bool
) -> None:
    curve, found, whole = both(steps, reduction, loss, ragged, weighted)
    assert found == pytest.approx(whole, rel=1e-12)
    assert curve == pytest.approx([whole, whole], rel=1e-12)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_with_buckets_and_sequences_in_a_list(reduction: str) -> None:
    curve, _, whole = both("all", reduction, "mse", True, True, bucket=True)
    assert curve == pytest.approx([whole, whole], rel=1e-12)
    model = fastbptt.LSTM(I, 4, O, dtype="float64", seed=1)
    y = targets("mse", "all")
    listed = [[one[:n] for one, n in zip(each, LENGTHS, strict=True)] for each in (X, y)]
    found = fastbptt.evaluate(
        model, *listed, loss="mse", steps="all", reduction=reduction, sample_weight=WEIGHTS
    )
    assert found["loss"] == pytest.approx(whole, rel=1e-12)


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_validation_loss_is_that_of_evaluate(steps: str, reduction: str) -> None:
    model = fastbptt.GRU(I, 4, O, dtype="float64", dropout=0.5, num_layers=2, seed=1)
    y = targets("mse", steps)
    objective: dict[str, Any] = {"loss": "mse", "steps": steps, "reduction": reduction}
    other = (X[::-1], y[::-1], LENGTHS[::-1])
    history = fastbptt.fit(
        model, X, y, **objective, lengths=LENGTHS, validation=other, epochs=2, batch_size=7,
        metrics=["rmse", "r2", "mae"], verbose=0,
    )  # fmt: skip
    of_all = fastbptt.evaluate(
        model, X, y, **objective, lengths=LENGTHS, metrics=["rmse", "r2", "mae"]
    )
    assert history["validation_loss"][-1] == pytest.approx(of_all["loss"], rel=1e-12)
    for name in ("rmse", "r2", "mae"):
        assert history[name][-1] == pytest.approx(of_all[name], rel=1e-12)
        assert history[f"validation_{name}"][-1] == pytest.approx(of_all[name], rel=1e-12)


def test_class_weights_count_in_training_and_not_in_validation() -> None:
    y = np.array([0] * 15 + [1] * 6 + [2] * 2)
    model = fastbptt.RNN(I, 4, O, dtype="float64", seed=0)
    history = fastbptt.fit(
        model, X, y, class_weight="balanced", sample_weight=WEIGHTS, batch_size=4, epochs=1,
        callbacks=[Frozen()], validation=(X, y), verbose=0,
    )  # fmt: skip
    kept = WEIGHTS > 0
    counts = np.bincount(y[kept])  # of those that are not left out
    weights = WEIGHTS * (kept.sum() / (3 * counts[y]))
    expected = model.loss(X[kept], y[kept], "cross_entropy", sample_weight=weights[kept])
    assert history["loss"][0] == pytest.approx(expected, rel=1e-12)
    plain = fastbptt.evaluate(model, X, y)
    assert history["validation_loss"][0] == pytest.approx(plain["loss"], rel=1e-12)
