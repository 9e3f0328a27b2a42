"""Advice about overfitting: found in the curves, with their numbers, and a remedy that works."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastbptt

MODEL = fastbptt.GRU(2, 4, 1, seed=0)
X, Y = np.random.default_rng(0).normal(size=(4, 6, 2)), [0, 1, 0, 1]


def history(validation: list[float], training: list[float], stopped: str = "epochs") -> Any:
    curves = {"loss": training, "validation_loss": validation}
    epochs = list(range(1, len(training) + 1))
    told = {"epoch": epochs, "curves": curves, "best_epoch": None, "stopped": stopped}
    return fastbptt.History.from_dict(told)


def advice(given: Any) -> list[Any]:
    found = fastbptt.diagnose(MODEL, X, Y, jacobians=False, history=given).advice
    return [one for one in found if one.kind == "overfitting"]


FALLING = [0.9, 0.7, 0.5, 0.4, 0.3, 0.2, 0.1]


@pytest.mark.parametrize(
    ("validation", "training", "numbers"),
    [
        ([0.8, 0.6, 0.5, 0.7, 0.9, 1.2, 1.5], FALLING, (3, 0.5, 1.5, 0.1, 3, 3)),
        ([0.5, 0.9, 0.6, 0.7, 0.9, 1.2, 1.0], FALLING, (1, 0.5, 1.0, 0.1, 2, 3)),
        ([0.8, 0.9, 0.9, 0.9, 0.5, 0.7, 0.9, 1.0], [*FALLING, 0.05], (5, 0.5, 1.0, 0.05, 2, 4)),
        ([0.4, 0.0, 0.1, 0.1, 0.1], FALLING[:5], (2, 0.0, 0.1, 0.3, 0, 3)),
        ([np.nan, 0.5, 0.7, 0.7, 0.65], FALLING[:5], (2, 0.5, 0.65, 0.3, 1.3, 3)),
        ([0.8, 0.5, 0.61, 0.61, 0.61], FALLING[:5], (2, 0.5, 0.61, 0.3, 1.22, 3)),
    ],
)
def test_a_rising_validation_loss_under_a_falling_training_loss(
    validation: list[float], training: list[float], numbers: tuple[float, ...]
) -> None:
    (found,) = advice(history(validation, training))
    epoch, best, last, now, times, patience = numbers
    assert found.numbers == {"best": best, "best_epoch": epoch, "last": last, "training": now}
    more = f", {times:g} times as much" if times else ""
    assert found.text == (
        f"The model overfits: from epoch {epoch} to {len(training)} the validation loss rose from "
        f"{best:.3g} to {last:.3g}{more}, while the training loss fell from "
        f"{training[epoch - 1]:.3g} to {now:.3g}."
    )
    assert found.suggestion == f"patience={patience} in fit keeps the weights of epoch {epoch}."


@pytest.mark.parametrize(
    ("validation", "training"),
    [
        (FALLING, FALLING),
        ([0.8, 0.5, 0.59, 0.59, 0.59], FALLING[:5]),  # less than a fifth
        ([0.8, 0.5, 0.9, 0.55, 0.9, 0.9], FALLING[:6]),  # not for three epochs
        ([0.8, 0.5, 0.9, 0.9], FALLING[:4]),
        ([0.5, 0.9, 1.2, 1.5, 1.8], [0.4, 0.5, 0.6, 0.7, 0.8]),  # the training loss rises, too
        ([0.5, 0.9, 1.2], FALLING[:3]),
        ([np.nan] * 5, FALLING[:5]),
        ([0.5, 0.9, 0.9, 0.9, np.inf], FALLING[:5]),
        ([1e-9, 2e-9, 3e-9, 4e-9, 5e-9], FALLING[:5]),
    ],
)
def test_no_overfitting(validation: list[float], training: list[float]) -> None:
    assert advice(history(validation, training)) == []


def test_after_early_stopping() -> None:
    (found,) = advice(history([0.5, 0.9, 1.2, 1.5, 1.8], FALLING[:5], "early stopping"))
    assert found.suggestion == (
        "Early stopping kept the weights of epoch 1, unless restore_best=False."
    )
    del (curves := history(FALLING, FALLING)).curves["validation_loss"]
    assert advice(curves) == []


def test_the_remedy_works() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(24, 8, 3)), np.arange(24) % 2
    other = rng.normal(size=(60, 8, 3)), np.arange(60) % 2

    def trained(**options: Any) -> tuple[Any, Any]:
        model = fastbptt.GRU(3, 16, 1, seed=0)
        done = fastbptt.fit(
            model, x, y, epochs=60, optimizer=fastbptt.Adam(lr=0.02), validation=other,
            verbose=0, **options,
        )  # fmt: skip
        return model, done

    model, done = trained()
    (found,) = (
        one
        for one in fastbptt.diagnose(model, x, y, jacobians=False, history=done).advice
        if one.kind == "overfitting"
    )
    patience = int(found.suggestion.split("patience=")[1].split()[0])
    better, done = trained(patience=patience)
    assert done.best_epoch == found.numbers["best_epoch"]
    loss = fastbptt.evaluate(better, *other)["loss"]
    assert loss == pytest.approx(found.numbers["best"], rel=1e-5)
    assert loss < fastbptt.evaluate(model, *other)["loss"] / 2
