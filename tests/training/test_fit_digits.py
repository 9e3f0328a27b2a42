"""Large numbers with small changes: `fit` and `evaluate` lose no digit that matters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastbptt
from fastbptt import GRU, Standardizer, evaluate, fit

# The common part, and the size of the changes; float64 holds both to at least 4 digits.
LARGE = [(1e9, 1e-2), (1e9, 1.0), (1.7e9, 0.5), (-1e8, 1e-3), (1.7e12, 10.0), (123456.789, 1e-4)]
UNRESOLVED = [(1e9, 1e-2), (1e9, 1.0), (1.7e9, 0.5), (-1e8, 1e-3), (1.7e12, 10.0), (5e7, 1e-1)]


def signal(unit: float) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Changes that float64 holds exactly beside a large number, and targets that follow them."""
    rng = np.random.default_rng(0)
    x = np.round(rng.uniform(-1, 1, (24, 5, 2)) * 64) / 64 * unit
    return x, x[:, -2:, 0].sum(axis=1, keepdims=True)


@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.parametrize(("offset", "unit"), LARGE)
def test_standardised(offset: float, unit: float, listed: bool) -> None:
    x, y = signal(unit)
    found = []
    for shift in (0.0, offset):
        one, target = x + shift, y + shift
        parts = [row[: 3 + i % 3] for i, row in enumerate(one)] if listed else one
        inputs, outputs = Standardizer(), Standardizer()
        ready, goal = inputs.fit_transform(parts), outputs.fit_transform(target)
        model = GRU(2, 4, 1, seed=0)
        history = fit(model, ready, goal, epochs=3, verbose=0)
        scores = evaluate(model, ready, goal, metrics=("r2", "rmse"))
        predicted = outputs.inverse_transform(fastbptt.predict(model, ready))
        found.append((history["loss"], list(scores.values()), (predicted - shift) / unit))
    for plain, shifted in zip(*found, strict=True):
        # the common part has taken digits of the changes; what is left of them is kept
        left = np.finfo(np.float64).eps * abs(offset) / unit
        np.testing.assert_allclose(shifted, plain, rtol=1e-4 + 10 * left, atol=1e-4 + 10 * left)


@pytest.mark.parametrize("what", ["x", "y", "list", "ragged", "steps"])
@pytest.mark.parametrize(("offset", "unit"), UNRESOLVED)
def test_what_the_model_would_lose_is_refused(offset: float, unit: float, what: str) -> None:
    """With lists and lengths, the zeros behind the ends do not count as values."""
    x, y = signal(unit)
    options: dict[str, Any] = {"epochs": 1, "verbose": 0, "loss": "mse"}
    if what == "y":
        y = y + offset
    else:
        x = x + offset
    if what == "list":
        x = [row[: 3 + i % 3] for i, row in enumerate(x)]  # type: ignore[assignment]
    if what == "ragged":
        options["lengths"] = np.full(len(x), 4)
        x[:, 4:] = 0.0
    if what == "steps":
        options["steps"] = "all"
        y, x = x[:, :, 0], x - offset
    name = "x" if what in ("x", "list", "ragged") else "y"
    with pytest.raises(fastbptt.ArgumentError, match="rounds to multiples of") as caught:
        fit(GRU(2, 4, 1, seed=0), x, y, **options)
    assert caught.value.argument == name
    fit(GRU(2, 4, 1, dtype="float64", seed=0), x, y, **options)  # as the message says
    values: Any = x if name == "x" else y
    call = str(caught.value).split("as fastbptt.")[1].split(" makes")[0]
    given = {"x": x, "y": y, "lengths": options.get("lengths")}
    ready = eval(f"fastbptt.{call}", {"fastbptt": fastbptt, "numpy": np} | given)
    fit(GRU(2, 4, 1, seed=0), **({"x": x, "y": y} | {name: ready}), **options)
    call = str(caught.value).rsplit(" or ", 1)[1].split(" if these")[0]
    values = eval(call, {"numpy": np} | given)
    fit(GRU(2, 4, 1, seed=0), **({"x": x, "y": y} | {name: values}), **options)


@pytest.mark.parametrize(
    "x",
    [
        np.arange(60.0).reshape(4, 5, 3) + 2.0**23,  # whole numbers that float32 holds
        np.arange(60).reshape(4, 5, 3) + 2**23,
        np.full((4, 5, 3), 0.1) + 1e9,  # a constant
        np.linspace(0.0, 1e9, 60).reshape(4, 5, 3),
        np.linspace(1990.0, 2020.0, 60).reshape(4, 5, 3),
        np.linspace(273.15, 303.15, 60).reshape(4, 5, 3),
        np.linspace(0.0, 1e-30, 60).reshape(4, 5, 3),
        np.ones((4, 5, 3), bool),
    ],
)
def test_what_float32_resolves_is_taken(x: Any) -> None:
    fit(GRU(3, 4, 1, seed=0), x, [0.1, 0.2, 0.3, 0.5], epochs=1, verbose=0)
