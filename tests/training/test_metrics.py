"""Metrics against their definitions, written out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import fastbptt
from fastbptt.training.metrics import METRICS, Metric, resolve

RNG = np.random.default_rng(0)
N = 60
POINTS = [name for name, metric in METRICS.items() if metric.takes != "quantiles"]


def value(name: str, y: Any, z: Any) -> float:
    return METRICS[name].function(np.asarray(y), np.asarray(z))


def test_of_classes() -> None:
    y, z = RNG.integers(0, 3, N), RNG.normal(size=(N, 3))
    right = [int(np.argmax(one)) == label for one, label in zip(z, y, strict=True)]
    assert value("accuracy", y, z) == sum(right) / N
    shares = [
        np.mean([r for r, label in zip(right, y, strict=True) if label == k]) for k in (0, 1, 2)
    ]
    assert value("balanced_accuracy", y, z) == pytest.approx(np.mean(shares))


@pytest.mark.parametrize("shape", [(N,), (N, 1)])
def test_of_two_classes_with_one_output(shape: tuple[int, ...]) -> None:
    y, z = RNG.integers(0, 2, shape).astype(float), RNG.normal(size=(N, 1))
    right = (z[:, 0] > 0) == (y.ravel() == 1)
    assert value("accuracy", y, z) == right.mean()
    shares = [right[y.ravel() == k].mean() for k in (0, 1)]
    assert value("balanced_accuracy", y, z) == pytest.approx(np.mean(shares))


def test_several_yes_or_no_answers_count_one_by_one() -> None:
    assert value("accuracy", [[1, 0], [1, 1]], [[3.0, -1.0], [-0.5, 2.0]]) == 0.75


def test_errors() -> None:
    y, z = RNG.normal(size=(N, 2)), RNG.normal(size=(N, 2))
    assert value("mae", y, z) == pytest.approx(
        np.mean([abs(a - b) for a, b in zip(y, z, strict=True)])
    )
    assert value("rmse", y, z) == pytest.approx(math.sqrt(((y - z) ** 2).mean()))
    parts = [1 - ((y[:, i] - z[:, i]) ** 2).sum() / (N * y[:, i].var()) for i in (0, 1)]
    assert value("r2", y, z) == pytest.approx(np.mean(parts))
    assert value("r2", y, y) == 1.0
    assert value("r2", [2.0, 2.0], [[2.0], [2.0]]) == 1.0
    assert value("r2", [2.0, 2.0], [[2.0], [3.0]]) == 0.0


@pytest.mark.parametrize("name", POINTS)
def test_larger_is_better_as_it_says(name: str) -> None:
    y = np.array([0.0, 1.0, 1.0, 0.0])
    good, bad = (2 * y - 1)[:, None], (1 - 2 * y)[:, None]
    assert (value(name, y, good) > value(name, y, bad)) == METRICS[name].larger_is_better


def test_float32_outputs_of_large_targets_keep_their_digits() -> None:
    y = np.full(N, 1e8)
    assert value("mae", y + 1, y.astype(np.float32)[:, None]) == 1.0


def test_resolve() -> None:
    def own(y: Any, z: Any) -> float:
        return 0.0

    assert resolve("mae") == (METRICS["mae"],)
    assert [metric.name for metric in resolve(["accuracy", own])] == ["accuracy", "own"]
    assert resolve(own)[0].larger_is_better
    own.larger_is_better = False  # type: ignore[attr-defined]
    assert not resolve([own])[0].larger_is_better
    assert resolve([Metric("mine", own, True)])[0].name == "mine"
    for name in ("loss", "lr", "seconds", "validation_x"):
        with pytest.raises(ValueError, match=f'metrics\\[0\\] is called "{name}"'):
            resolve([Metric(name, own, True)])


def test_monitoring_follows_the_direction() -> None:
    x, y = RNG.normal(size=(N, 4, 2)), RNG.integers(0, 2, N)
    for metric in map(METRICS.get, POINTS):
        assert metric is not None
        model = fastbptt.RNN(2, 4, 1, seed=0)
        history = fastbptt.fit(
            model, x, y, epochs=8, validation=0.5, metrics=[metric.name], monitor=metric.name,
            verbose=0, optimizer=fastbptt.Adam(0.05),
        )  # fmt: skip
        curve = history[f"validation_{metric.name}"]
        best = max(curve) if metric.larger_is_better else min(curve)
        assert history.best_epoch == curve.index(best) + 1
