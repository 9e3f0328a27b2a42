"""fit(augment=): what the function gets, that its result is trained on, and nothing else is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastbptt
from fastbptt.training.batches import Order

B, T, I, BATCH, EPOCHS, SEED = 11, 6, 2, 4, 3, 5
X = np.random.default_rng(0).normal(size=(B, T, I)).astype(np.float32)
Y = np.arange(B) % 2


def fit(model: fastbptt.Recurrent, x: Any, **options: Any) -> fastbptt.History:
    given = {"epochs": EPOCHS, "batch_size": BATCH, "seed": SEED, "verbose": 0, **options}
    return fastbptt.fit(model, x, Y, optimizer=fastbptt.Adam(0.01), **given)


def noise(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return x + rng.standard_normal(x.shape, np.float32)


def test_what_it_returns_is_trained_on() -> None:
    seen, made = [], []

    def augment(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        seen.append(x.copy())
        made.append(noise(x, rng))
        return made[-1]

    model, twin = (fastbptt.GRU(I, 5, 1, seed=1) for _ in range(2))
    fit(model, X, augment=augment)
    order, adam = Order(np.arange(B), BATCH, True, SEED), fastbptt.Adam(0.01)
    rows = [rows for epoch in range(1, EPOCHS + 1) for rows in order.batches(epoch)]
    assert len(rows) == len(seen) == EPOCHS * len(order)
    for chosen, given, changed in zip(rows, seen, made, strict=True):
        assert np.array_equal(given, X[chosen])
        twin.train_step(changed, Y[chosen], adam)
    assert model.parameters.flat.tobytes() == twin.parameters.flat.tobytes()


def test_random_numbers_depend_on_seed_epoch_and_batch() -> None:
    def draws(seed: int) -> list[float]:
        found: list[float] = []

        def augment(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
            found.append(rng.random())
            return x

        fit(fastbptt.RNN(I, 3, 1, seed=0), X, augment=augment, seed=seed)
        return found

    assert draws(1) == draws(1)
    assert len({*draws(1), *draws(2)}) == 2 * EPOCHS * 3


@pytest.mark.parametrize("ragged", [False, True])
def test_data_stay_as_they_are(ragged: bool) -> None:
    x: Any = [one[: 2 + i % 4] for i, one in enumerate(X)] if ragged else X.copy()
    before = [one.copy() for one in x]

    def overwrite(batch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        batch += 1.0
        return batch

    model = fastbptt.RNN(I, 3, 1, seed=0)
    history = fit(model, x, augment=overwrite, validation=(x, Y), metrics="accuracy")
    assert all(np.array_equal(one, was) for one, was in zip(x, before, strict=True))
    clean = fastbptt.evaluate(model, x, Y, metrics="accuracy")
    assert history["validation_loss"][-1] == pytest.approx(clean["loss"])
    assert history["validation_accuracy"][-1] == clean["accuracy"]
    assert history["accuracy"][-1] == clean["accuracy"]


def test_tokens() -> None:
    tokens = np.random.default_rng(0).integers(2, 9, (B, T))
    made = []

    def forget(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        made.append(np.where(rng.random(x.shape) < 0.5, 1, x))
        return made[-1]

    model, plain = (fastbptt.LSTM(3, 4, 1, embedding=9, seed=0) for _ in range(2))
    fit(model, tokens, augment=forget)
    fit(plain, tokens)
    assert all(0 < (x == 1).mean() < 1 for x in made)
    assert model.parameters.flat.tobytes() != plain.parameters.flat.tobytes()


def test_what_is_no_such_function() -> None:
    model = fastbptt.RNN(I, 3, 1, seed=0)
    weights = model.parameters.flat.copy()
    with pytest.raises(TypeError, match=r"augment is of type float; expected a function of x and"):
        fit(model, X, augment=0.5)
    with pytest.raises(ValueError, match=r"augment returned an array of shape \(4, 5, 2\); expect"):
        fit(model, X, augment=lambda x, rng: x[:, 1:])
    with pytest.raises(ValueError, match=r"augment returned an array of shape \(\); expected \(4"):
        fit(model, X, augment=lambda x, rng: None)
    assert np.array_equal(model.parameters.flat, weights)
