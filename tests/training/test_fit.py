"""fit: equal to a loop of train_step written by hand, bit for bit, whatever the data look like."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from cases import targets_for

import fastbptt
from fastbptt.optim import OPTIMIZERS
from fastbptt.training.batches import Order, split

B, T, I = 23, 7, 3
BATCH, EPOCHS, SEED = 5, 3, 4
CELLS = fastbptt.cells()


def model_for(cell: str = "gru", outputs: int | None = 1, **options: Any) -> fastbptt.Recurrent:
    setting = 0.5 if fastbptt._core.cell_info(cell)["setting"] else None
    return fastbptt.Recurrent(cell, I, 6, outputs, alpha=setting, seed=1, **options)


def data(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(B, T, I)).astype(np.float32)


def targets(loss: str, steps: str, seed: int = 1, outputs: int = 3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    lead = (B, T) if steps == "all" else (B,)
    y = targets_for(loss, outputs, lead, rng)
    return y.astype(np.float32) if y.dtype.kind == "f" else y


def by_hand(
    model: fastbptt.Recurrent,
    batch: Callable[[np.ndarray], tuple[Any, ...]],
    rows: np.ndarray,
    lengths: np.ndarray | None = None,
    **options: Any,
) -> list[float]:
    """The loop that fit stands for; returns the mean loss of each epoch of equal shares."""
    adam = fastbptt.Adam(0.01)
    order = Order(rows, BATCH, True, SEED, lengths)
    curve = []
    for epoch in range(1, EPOCHS + 1):
        total = 0.0
        for chosen in order.batches(epoch):
            x, y, extra = batch(chosen)
            total += model.train_step(x, y, adam, **extra, **options) * len(chosen)
        curve.append(total / len(rows))
    return curve


def same(one: fastbptt.Recurrent, other: fastbptt.Recurrent) -> bool:
    return one.parameters.flat.tobytes() == other.parameters.flat.tobytes()


def fit(model: fastbptt.Recurrent, x: Any, y: Any, **options: Any) -> fastbptt.History:
    given = {"epochs": EPOCHS, "batch_size": BATCH, "seed": SEED, "verbose": 0, **options}
    given.setdefault("optimizer", fastbptt.Adam(0.01))
    return fastbptt.fit(model, x, y, **given)


@pytest.mark.parametrize("steps", ["last", "all"])
@pytest.mark.parametrize("loss", fastbptt.losses())
@pytest.mark.parametrize("cell", CELLS)
def test_a_loop_by_hand_gives_the_same_bits(cell: str, loss: str, steps: str) -> None:
    x, y = data(), targets(loss, steps, outputs=6)
    model, twin = model_for(cell, 6), model_for(cell, 6)
    history = fit(model, x, y, loss=loss, steps=steps, clip_norm=0.1)
    curve = by_hand(
        twin, lambda rows: (x[rows], y[rows], {}), np.arange(B), loss=loss, steps=steps,
        clip_norm=0.1,
    )  # fmt: skip
    assert same(model, twin)
    assert history["loss"] == pytest.approx(curve, rel=1e-12)
    assert history.epoch == [1, 2, 3] and history.stopped == "epochs"


def ragged(seed: int = 2) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, T + 1, B)


@pytest.mark.parametrize("bucket", [False, True])
@pytest.mark.parametrize("steps", ["last", "all"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "sequence_mean"])
def test_lists_and_lengths_give_the_same_bits(reduction: str, steps: str, bucket: bool) -> None:
    x, y, lengths = data(), targets("cross_entropy", steps), ragged()
    listed = [one[:n] for one, n in zip(x, lengths, strict=True)]
    labels = y if steps == "last" else [one[:n] for one, n in zip(y, lengths, strict=True)]
    options = {"steps": steps, "reduction": reduction}
    models = [model_for(outputs=3) for _ in range(3)]
    fit(models[0], x, y, lengths=lengths, bucket=bucket, **options)
    fit(models[1], listed, labels, bucket=bucket, **options)

    def batch(rows: np.ndarray) -> tuple[Any, ...]:
        return x[rows], y[rows], {"lengths": lengths[rows]}

    by_hand(
        models[2], batch, np.arange(B), lengths if bucket else None, loss="cross_entropy", **options
    )
    assert same(models[0], models[1]) and same(models[0], models[2])


def test_validation_and_metrics() -> None:
    x = data()
    y = (x[:, :, 0].sum(axis=1) > 0).astype(int)
    model, twin = model_for(), model_for()
    history = fit(model, x, y, validation=0.3, metrics=["accuracy"])
    train, held = split(B, 0.3, SEED, y)
    assert len(held) == 7 and not set(train) & set(held) and len(train) + len(held) == B
    by_hand(twin, lambda rows: (x[rows], y[rows], {}), train)
    assert same(model, twin)
    found = fastbptt.evaluate(model, x[held], y[held], metrics="accuracy")
    assert history["validation_loss"][-1] == pytest.approx(found["loss"], rel=1e-6)
    assert history["validation_accuracy"][-1] == found["accuracy"]
    assert found["loss"] == pytest.approx(twin.loss(x[held], y[held]), rel=1e-6)


def test_early_stopping_restores_the_best_weights() -> None:
    x, y = data(), (data(9)[:, 0, 0] > 0).astype(int)  # nothing to learn: it overfits
    kept: list[np.ndarray] = []

    class Keep(fastbptt.Callback):
        def on_epoch_end(self, run: Any) -> None:
            kept.append(run.model.parameters.flat.copy())

    model = model_for()
    history = fit(
        model, x, y, validation=0.4, patience=3, epochs=200, callbacks=[Keep()],
        optimizer=fastbptt.Adam(0.05),
    )  # fmt: skip
    curve = history["validation_loss"]
    assert history.stopped == "early stopping" and len(curve) < 200
    assert history.best_epoch == int(np.argmin(curve)) + 1 == len(curve) - 3
    assert (model.parameters.flat == kept[history.best_epoch - 1]).all()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_by_its_name(name: str) -> None:
    one, two = (fastbptt.GRU(2, 3, 1, seed=1) for _ in range(2))
    x = np.random.default_rng(0).normal(size=(8, 4, 2))
    options = {"epochs": 2, "batch_size": 4, "verbose": 0}
    fastbptt.fit(one, x, x[:, 0, 0], optimizer=name, **options)
    fastbptt.fit(two, x, x[:, 0, 0], optimizer=OPTIMIZERS[name](), **options)
    assert one.parameters.flat.tobytes() == two.parameters.flat.tobytes()


def test_metrics_of_the_validation_data_alone() -> None:
    x = np.random.default_rng(0).normal(size=(20, 4, 2))
    y = (x[:, 0, 0] > 0).astype(int)
    curves = []
    for training in (True, False):
        history = fastbptt.fit(
            fastbptt.GRU(2, 3, 1, seed=1), x, y, epochs=2, validation=0.3, verbose=0,
            metrics="accuracy", training_metrics=training, monitor="accuracy",
        )  # fmt: skip
        curves.append(history.curves)
    assert set(curves[0]) - set(curves[1]) == {"accuracy"}
    assert curves[0]["validation_accuracy"] == curves[1]["validation_accuracy"]


def test_the_best_weights_without_patience() -> None:
    x = np.random.default_rng(0).normal(size=(20, 4, 2))
    results = []
    for keep in (None, True):
        model = fastbptt.RNN(2, 3, 1, seed=1)
        history = fastbptt.fit(
            model, x[:12], x[:12, 0, 0], epochs=40, optimizer=fastbptt.Adam(0.1), verbose=0,
            validation=(x[12:], x[12:, 1, 0]), restore_best=keep,
        )  # fmt: skip
        found = fastbptt.evaluate(model, x[12:], x[12:, 1, 0])["loss"]
        results.append((found, history["validation_loss"]))
    (last, curve), (best, again) = results
    assert curve == again
    assert last == pytest.approx(curve[-1]) and best == pytest.approx(min(curve)) and best < last


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_probabilities(dtype: str) -> None:
    z = np.array([[1.0, 2.0, 3.0], [1000.0, 0.0, -1000.0]], dtype)
    shares = fastbptt.probabilities(z)
    assert shares.dtype == dtype
    expected = np.exp([1, 2, 3]) / np.exp([1, 2, 3]).sum()
    np.testing.assert_allclose(shares, [expected, [1, 0, 0]], 1e-6)
    one = fastbptt.probabilities(z[:, :, np.newaxis])
    assert one.shape == (2, 3, 2)
    np.testing.assert_allclose(one[0, :, 1], 1 / (1 + np.exp([-1, -2, -3])), 1e-6)
    assert one[1].tolist() == [[0, 1], [0.5, 0.5], [1, 0]]
    with pytest.raises(ValueError, match=re.escape("outputs has shape (); expected")):
        fastbptt.probabilities(1.0)
    with pytest.raises(TypeError, match="outputs has dtype"):
        fastbptt.probabilities(["a"])


def test_predict_in_any_order() -> None:
    x, lengths = data(), ragged()
    model = model_for(outputs=2)
    whole = model.forward(x, lengths)
    listed = [one[:n] for one, n in zip(x, lengths, strict=True)]
    for given in ((x, lengths), (listed, None)):
        assert (fastbptt.predict(model, *given, batch_size=4) == whole.last).all()
    every = fastbptt.predict(model, x, lengths, batch_size=4, steps="all")
    assert (every == whole.outputs).all()
    parts = fastbptt.predict(model, listed, batch_size=4, steps="all")
    assert all(
        (part == one[:n]).all() for part, one, n in zip(parts, whole.outputs, lengths, strict=True)
    )


def test_keyboard_interrupt_in_a_callback() -> None:
    class Stop(fastbptt.Callback):
        def on_batch_end(self, run: Any) -> None:
            if run.step == 7:
                raise KeyboardInterrupt

    x, y = data(), targets("cross_entropy", "last")
    model = model_for(outputs=3)
    history = fit(model, x, y, callbacks=[Stop()])
    assert history.stopped == "interrupted" and history.epoch == [1]
    assert np.isfinite(model.forward(x).last).all()


def test_an_error_late_in_a_long_sequence() -> None:
    x = np.zeros((3, 500, 2), np.float32)  # more than one stretch of time
    x[1, 437, 1] = np.nan
    with pytest.raises(fastbptt.ArgumentError) as caught:
        fastbptt.predict(fastbptt.RNN(2, 4, 1, seed=0), x)
    assert caught.value.index == (1, 437, 1)
