"""Large numbers with small changes: the estimators lose no digit that matters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastbptt

pytest.importorskip("sklearn")

from fastbptt.sklearn import RecurrentClassifier, RecurrentForecaster, RecurrentRegressor

OFFSETS = [(1e9, 1e-2), (1e9, 1.0), (1.7e9, 0.25), (-1e8, 1e-3), (1.7e12, 8.0), (5e7, 0.1)]
QUICK: dict[str, Any] = {"hidden_layer_sizes": 4, "max_iter": 4, "random_state": 0}
pytestmark = pytest.mark.filterwarnings("ignore:maximum number of epochs")


def signal(unit: float, *shape: int) -> np.ndarray[Any, Any]:
    return np.round(np.random.default_rng(0).uniform(-1, 1, shape) * 64) / 64 * unit


@pytest.mark.parametrize("dtype", ["auto", "float32"])
@pytest.mark.parametrize(("offset", "unit"), OFFSETS)
def test_estimators(offset: float, unit: float, dtype: str) -> None:
    x = signal(unit, 24, 5, 2)
    y = x[:, -1, 0]
    left = 10 * np.finfo(np.float64).eps * abs(offset) / unit
    found = []
    for shift in (0.0, offset):
        regressor = RecurrentRegressor(dtype=dtype, **QUICK).fit(x + shift, y + shift)
        classifier = RecurrentClassifier(dtype=dtype, **QUICK).fit(x + shift, y > 0)
        found.append(
            (
                regressor.loss_curve_ + classifier.loss_curve_,
                (regressor.predict(x + shift) - shift) / unit,
                classifier.predict_proba(x + shift),
                regressor.score(x + shift, y + shift),
            )
        )
    for plain, shifted in zip(*found, strict=True):
        np.testing.assert_allclose(shifted, plain, rtol=1e-4 + left, atol=1e-4 + left)


@pytest.mark.parametrize("center", ["last", "mean"])
@pytest.mark.parametrize("dtype", ["auto", "float32"])
@pytest.mark.parametrize(("offset", "unit"), OFFSETS)
def test_forecaster(offset: float, unit: float, dtype: str, center: str) -> None:
    y = np.cumsum(signal(unit, 40, 2), axis=0)
    left = 100 * np.finfo(np.float64).eps * abs(offset) / unit
    found = []
    for shift in (0.0, offset):
        model = RecurrentForecaster(6, 3, center=center, dtype=dtype, **QUICK).fit(y + shift)
        forecast = (model.predict(7) - shift) / unit
        found.append((model.loss_curve_, forecast, model.score(y + shift)))
    for plain, shifted in zip(*found, strict=True):
        np.testing.assert_allclose(shifted, plain, rtol=1e-4 + left, atol=1e-4 + left)


@pytest.mark.parametrize("name", ["X", "y"])
@pytest.mark.parametrize(("offset", "unit"), OFFSETS)
def test_without_standardisation(offset: float, unit: float, name: str) -> None:
    x = signal(unit, 24, 5, 2)
    y = x[:, -1, 0]
    given = (x + offset, y) if name == "X" else (x, y + offset)
    raw = {"standardize": False, "dtype": "float32"}
    with pytest.raises(fastbptt.ArgumentError, match="rounds to multiples of") as caught:
        RecurrentRegressor(**raw, **QUICK).fit(*given)
    assert caught.value.argument == name
    assert str(caught.value).endswith('expected standardize=True, or dtype="float64"')
    for change in ({"standardize": True}, {"dtype": "float64"}):
        RecurrentRegressor(**raw | change, **QUICK).fit(*given)


@pytest.mark.parametrize("kind", [RecurrentRegressor, RecurrentForecaster])
@pytest.mark.parametrize("scale", [1e-3, 0.1, 40.0, 5e3, 1e6, 3e8])
def test_parameters_of_losses_are_in_units_of_the_targets(kind: Any, scale: float) -> None:
    x = signal(1.0, 24, 5, 1)
    found = []
    for unit in (1.0, scale):
        model = kind(loss=fastbptt.Loss("huber", delta=0.2 * unit), **QUICK)
        data = (x, unit * x[:, -1, 0]) if kind is RecurrentRegressor else (unit * x.ravel(),)
        found.append(model.fit(*data).loss_curve_)
    np.testing.assert_allclose(found[1], found[0], rtol=1e-6)


@pytest.mark.parametrize("kind", [RecurrentRegressor, RecurrentForecaster])
def test_several_targets_have_no_common_unit(kind: Any) -> None:
    x = signal(1.0, 24, 5, 2)
    data = (x, x[:, -1] * [1.0, 9.0]) if kind is RecurrentRegressor else (x[:, 0] * [1.0, 9.0],)
    one = (x, x[:, -1, 0]) if kind is RecurrentRegressor else (x[:, 0, 0],)
    model = kind(loss="huber", **QUICK)
    with pytest.raises(fastbptt.ArgumentError, match=r"delta is in units of the targets.* differ"):
        model.fit(*data)
    assert not hasattr(model, "model_")
    model.fit(*one)
    kind(loss="mse", **QUICK).fit(*data)
    if kind is RecurrentRegressor:
        kind(loss="huber", standardize=False, **QUICK).fit(*data)
