"""The course of a training by numbers that are told in advance: best epoch, patience, rates."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import fastbptt
from fastbptt import schedules

RNG = np.random.default_rng(0)
N, T = 14, 5
X, Y = RNG.normal(size=(N, T, 2)), RNG.normal(size=N)


class Told:
    """A metric that says what it is told, epoch by epoch; of validation data alone."""

    __name__ = "told"

    def __init__(self, values: list[float], larger_is_better: bool = True) -> None:
        self._values = iter(values)
        self.larger_is_better = larger_is_better

    def __call__(self, y: Any, outputs: Any) -> float:
        return next(self._values)


class Notes(fastbptt.Callback):
    """What a callback gets to see."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.weights: list[Any] = []
        self.best: list[int | None] = []
        self.steps: list[int] = []
        self.losses: list[float] = []

    def on_batch_end(self, run: Any) -> None:
        self.rates.append(run.optimizer.lr)
        self.steps.append(run.step)
        self.losses.append(run.batch_loss)

    def on_epoch_end(self, run: Any) -> None:
        self.weights.append(run.model.parameters.flat.copy())
        self.best.append(run.history.best_epoch)


def course(values: list[float], larger: bool = True, **options: Any) -> tuple[Any, Any, Any, Any]:
    model, notes = fastbptt.RNN(2, 3, 1, seed=0), Notes()
    optimizer = options.pop("optimizer", fastbptt.SGD(0.125))
    given: dict[str, Any] = {"epochs": len(values), "batch_size": 4, "monitor": "told"} | options
    history = fastbptt.fit(
        model, X, Y, loss="mse", validation=(X, Y), metrics=Told(values, larger),
        training_metrics=False, callbacks=[notes], verbose=0, optimizer=optimizer, **given,
    )  # fmt: skip
    return history, notes, model, optimizer


@pytest.mark.parametrize("larger", [True, False])
def test_the_weights_of_the_best_epoch_come_back(larger: bool) -> None:
    values = [1.0, 2.0, 5.0, 4.0, 5.0]
    if not larger:
        values = [-value for value in values]
    history, notes, model, _ = course(values, larger)
    assert history["validation_told"] == values
    assert history.best_epoch == 3, "the first of two that are as good"
    assert notes.best == [1, 2, 3, 3, 3]
    assert (model.parameters.flat == notes.weights[2]).all()
    assert (notes.weights[2] != notes.weights[4]).any()
    history, notes, model, _ = course(values, larger, restore_best=False)
    assert (model.parameters.flat == notes.weights[4]).all()
    assert history.best_epoch == 3


@pytest.mark.parametrize(
    ("values", "min_delta", "epochs", "best"),
    [
        ([5, 1, 1, 1, 1, 1], 0.0, 3, 1),
        ([1, 2, 1, 1, 1, 1], 0.0, 4, 2),
        ([1, 2, 3, 4, 5, 6], 0.0, 6, 6),
        ([1, 1.4, 1.4, 1.4, 9, 9], 0.5, 3, 1),
        ([1, 1.6, 1.6, 1.6, 9, 9], 0.5, 4, 2),
        ([1, 1.4, 1.8, 1.8, 1.8, 9], 0.5, 5, 3),
        ([np.nan, 1, np.nan, 2, 1, 1], 0.0, 6, 4),
        ([np.nan, np.nan, np.nan, 1, 1, 1], 0.0, 2, None),
    ],
)
def test_patience_counts_epochs_after_the_best(
    values: list[float], min_delta: float, epochs: int, best: int | None
) -> None:
    history, _, _, _ = course(values, patience=2, min_delta=min_delta)
    assert len(history) == epochs
    assert history.best_epoch == best
    stopped = "early stopping" if epochs < 6 or best == 4 else "epochs"
    assert history.stopped == stopped


def test_the_name_of_a_metric_stands_for_that_of_the_validation_data() -> None:
    """Alternate values are those of the training data and of the validation data."""
    values = [1.0, 9.0, 2.0, 8.0, 3.0, 7.0]
    history = fastbptt.fit(
        fastbptt.RNN(2, 3, 1, seed=0), X, Y, loss="mse", validation=0.3, metrics=Told(values),
        epochs=3, monitor="told", verbose=0,
    )  # fmt: skip
    assert history["told"] == [1.0, 2.0, 3.0]
    assert history["validation_told"] == [9.0, 8.0, 7.0]
    assert history.best_epoch == 1
    history = fastbptt.fit(
        fastbptt.RNN(2, 3, 1, seed=0), X, Y, loss="mse", metrics=Told([1.0, 3.0, 2.0]),
        epochs=3, monitor="told", verbose=0,
    )  # fmt: skip
    assert history.best_epoch == 2


# ---------------------------------------------------------------- rates

SCHEDULES = {
    "step": schedules.StepDecay(every=2, factor=0.5),
    "cosine": schedules.Cosine(warmup=1.0, floor=0.1),
    "onecycle": schedules.OneCycle(peak=4.0),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_each_update_has_its_rate(name: str) -> None:
    schedule = SCHEDULES[name]
    history, notes, _, optimizer = course([1.0] * 5, schedule=schedule)
    per_epoch = -(-N // 4)
    expected = [0.125 * schedule.at(step, per_epoch, 5) for step in range(5 * per_epoch)]
    assert notes.rates == pytest.approx(expected, rel=1e-12)
    assert len(set(expected)) > 2
    assert history["lr"] == notes.rates[per_epoch - 1 :: per_epoch]
    assert optimizer.lr == 0.125, "put back"
    assert notes.steps == list(range(1, 5 * per_epoch + 1))


@pytest.mark.parametrize("larger", [True, False])
def test_a_plateau_is_one_of_the_curve_that_is_watched(larger: bool) -> None:
    sign = 1.0 if larger else -1.0
    for values, falls in (([1, 2, 3, 4, 5, 6], False), ([6, 5, 4, 3, 2, 1], True)):
        _, notes, _, optimizer = course(
            [sign * value for value in values],
            larger,
            schedule=schedules.ReduceOnPlateau(patience=1, factor=0.5),
        )
        assert (notes.rates[-1] < 0.125) == falls
        assert notes.rates[0] == optimizer.lr == 0.125


def test_a_schedule_serves_several_runs() -> None:
    """Each starts with it as it came; a plateau seen in one is not one in the next."""
    plateau = schedules.ReduceOnPlateau(patience=1, factor=0.5)
    first = course([6, 5, 4, 3, 2, 1], schedule=plateau)[1].rates
    assert first[-1] < first[0]
    assert course([6, 5, 4, 3, 2, 1], schedule=plateau)[1].rates == first


def test_losses_of_batches_are_those_before_their_updates() -> None:
    """And the epoch's loss is their mean, each with the count of its sequences."""
    history, notes, _, _ = course([1.0])
    model = fastbptt.RNN(2, 3, 1, seed=0)
    x, y, seen = X, Y, []

    def note(batch: Any, rng: Any) -> Any:
        seen.append(batch.copy())
        return batch

    fastbptt.fit(
        model, x, y, loss="mse", epochs=1, batch_size=4, augment=note, verbose=0,
        optimizer=fastbptt.SGD(0.125),
    )  # fmt: skip
    twin, sgd = fastbptt.RNN(2, 3, 1, seed=0), fastbptt.SGD(0.125)
    losses, counts = [], []
    for batch in seen:
        rows = [int(np.flatnonzero((one == X).all(axis=(1, 2)))[0]) for one in batch]
        losses.append(twin.train_step(X[rows], Y[rows], sgd, "mse"))
        counts.append(len(rows))
    assert notes.losses == losses
    assert history["loss"] == [pytest.approx(np.average(losses, weights=counts))]
    assert (twin.parameters.flat == model.parameters.flat).all()


# ---------------------------------------------------------------- what else belongs to a batch


def test_noise_is_another_one_for_each_batch_of_each_epoch() -> None:
    drawn: list[tuple[float, ...]] = []

    def note(batch: Any, rng: Any) -> Any:
        drawn.append(tuple(rng.random(2)))
        return batch

    def run(seed: int) -> list[tuple[float, ...]]:
        drawn.clear()
        fastbptt.fit(
            fastbptt.RNN(2, 3, 1, seed=0), X, Y, loss="mse", epochs=3, batch_size=4, augment=note,
            verbose=0, seed=seed,
        )  # fmt: skip
        return list(drawn)

    first, other = run(0), run(1)
    assert len(first) == len(set(first)) == 3 * -(-N // 4)
    assert run(0) == first
    assert not set(first) & set(other)


def test_balanced_weights_are_those_of_the_part_that_is_trained_on() -> None:
    rng = np.random.default_rng(2)
    y = np.array([0] * 25 + [1] * 9 + [2] * 6)
    x = rng.normal(size=(40, 3, 2))
    x[:, 0, 0] = np.arange(40)
    model = fastbptt.RNN(2, 4, 3, dtype="float64", seed=0)
    seen: list[int] = []

    def note(batch: Any, _: Any) -> Any:
        seen.extend(batch[:, 0, 0].astype(int).tolist())
        return batch

    start = model.copy()
    history = fastbptt.fit(
        model, x, y, epochs=1, batch_size=40, class_weight="balanced", validation=0.33,
        augment=note, seed=5, verbose=0,
    )  # fmt: skip
    rows = np.array(seen)
    counts = np.bincount(y[rows], minlength=3)
    assert len(rows) < 40 and (counts * 40 != np.bincount(y) * len(rows)).any()
    weights = len(rows) / (3 * counts[y[rows]])
    expected = start.loss(x[rows], y[rows], "cross_entropy", sample_weight=weights)
    assert history["loss"] == [pytest.approx(expected, rel=1e-12)]
    # its scale too: what matters with the sum of losses
    model = start.copy()
    history = fastbptt.fit(
        model, x, y, epochs=1, batch_size=40, class_weight="balanced", validation=0.33, seed=5,
        reduction="sum", verbose=0,
    )  # fmt: skip
    expected = start.loss(x[rows], y[rows], "cross_entropy", "last", "sum", sample_weight=weights)
    assert history["loss"] == [pytest.approx(expected, rel=1e-12)]


# ---------------------------------------------------------------- long sequences


@pytest.mark.parametrize("steps", ["last", "all"])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_long_sequences_in_pieces_of_time_are_as_in_one(cell: str, steps: str) -> None:
    """As much as no batch holds at once; of different lengths, in an array and in a list."""
    rng = np.random.default_rng(0)
    count, time = 256, 180
    x = rng.normal(size=(count, time, 1)).astype(np.float32)
    lengths = rng.integers(1, time + 1, count)
    model = fastbptt.Recurrent(cell, 1, 96, 2, seed=0)
    found = fastbptt.predict(model, x, lengths, batch_size=count, steps=steps)
    rows = [0, 1, 2, int(lengths.argmax()), int(lengths.argmin()), count - 1]
    listed = [x[i, : lengths[i]] for i in range(count)]
    other = fastbptt.predict(model, listed, batch_size=count, steps=steps)
    for i in rows:
        result = model.forward(x[i : i + 1, : lengths[i]])
        if steps == "last":
            np.testing.assert_array_equal(found[i], result.last[0])
            np.testing.assert_array_equal(other[i], result.last[0])
        else:
            np.testing.assert_array_equal(found[i][: lengths[i]], result.outputs[0])
            np.testing.assert_array_equal(other[i], result.outputs[0])
            assert not found[i][lengths[i] :].any()


def test_chunks_of_a_batch_have_the_loss_of_the_whole() -> None:
    """Truncated backpropagation at a rate too small to see: every reduction, ragged and even."""
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(6, 11, 2)), rng.normal(size=(6, 11, 1))
    weight = rng.uniform(0.5, 2, 6)
    for steps, reduction, lengths, size in itertools.product(
        ("last", "all"),
        ("mean", "sum", "sequence_mean"),
        (None, np.array([11, 4, 8, 3, 10, 1]), np.full(6, 8)),
        (2, 3, 4, 8, 10),
    ):
        target = y if steps == "all" else y[:, 0]
        options: dict[str, Any] = {
            "lengths": lengths, "sample_weight": weight, "steps": steps, "reduction": reduction,
        }  # fmt: skip
        model = fastbptt.LSTM(2, 3, 1, dtype="float64", seed=0)
        expected = model.loss(x, target, "mse", **options)
        got = model.train_step(x, target, fastbptt.SGD(1e-14), "mse", **options, bptt_steps=size)
        assert got == pytest.approx(expected, rel=1e-9), (steps, reduction, lengths, size)
