"""The scikit-learn estimators: scikit-learn's own checks, and what those do not look at."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import joblib
import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import (
    GridSearchCV,
    TimeSeriesSplit,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import fastbptt
from fastbptt.optim import OPTIMIZERS
from fastbptt.optim.schedules import SCHEDULES
from fastbptt.sklearn import RecurrentClassifier, RecurrentForecaster, RecurrentRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SMALL: dict[str, Any] = {"hidden_layer_sizes": 8, "learning_rate_init": 0.03, "random_state": 0}
SHORT: dict[str, Any] = {**SMALL, "max_iter": 3, "n_iter_no_change": np.inf}


def series(count: int = 60, time: int = 8, width: int = 2, seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(size=(count, time, width))


def ragged(count: int = 60, seed: int = 0) -> list[NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(length, 2)) for length in rng.integers(3, 9, size=count)]


def signs(X: Any) -> NDArray[np.str_]:
    """A label that one has to read the whole sequence for."""
    return np.array(["up" if one[:, 0].sum() > 0 else "down" for one in X])


# ---------------------------------------------------------------- scikit-learn's checks


CHECKS = parametrize_with_checks(
    [
        RecurrentClassifier(hidden_layer_sizes=16, learning_rate_init=0.02, max_iter=60),
        RecurrentRegressor(hidden_layer_sizes=16, learning_rate_init=0.02, max_iter=60),
    ]
)


# before scikit-learn 1.9 the second argument is a generator, which pytest wants no more
@pytest.mark.parametrize(CHECKS.args[0], list(CHECKS.args[1]), **CHECKS.kwargs)
@pytest.mark.filterwarnings("ignore:.*SCIPY_ARRAY_API.*")
def test_scikit_learns_checks(estimator: Any, check: Any) -> None:
    check(estimator)


# ---------------------------------------------------------------- forms of X and y


@pytest.mark.parametrize("kind", ["array", "list", "objects"])
def test_forms_of_sequences(kind: str) -> None:
    X: Any = series() if kind == "array" else ragged()
    if kind == "objects":
        X = np.array([*X, None], dtype=object)[:-1]
    y = signs(X)
    model = RecurrentClassifier(**SMALL).fit(X, y)
    assert model.n_features_in_ == 2
    assert model.score(X, y) > 0.9
    proba = model.predict_proba(X)
    assert proba.shape == (60, 2) and np.allclose(proba.sum(axis=1), 1.0)
    assert np.array_equal(model.classes_[proba.argmax(axis=1)], model.predict(X))
    assert np.allclose(model.decision_function(X), np.log(proba[:, 1] / proba[:, 0]))
    # sequences of other lengths; each by itself
    alone = np.concatenate([model.predict_proba([one]) for one in ragged(5, seed=1)])
    assert np.array_equal(alone, model.predict_proba(ragged(5, seed=1)))


def test_a_list_of_univariate_series_is_ragged_too() -> None:
    X = [one[:, 0] for one in ragged()]
    model = RecurrentClassifier(**SHORT).fit(X, signs([one[:, None] for one in X]))
    assert model.n_features_in_ == 1
    assert np.array_equal(model.predict(X), model.predict([one[:, None] for one in X]))
    assert model.predict(np.zeros((3, 4))).shape == (3,)


def test_two_dimensional_is_univariate() -> None:
    X, y = series(width=1), signs(series(width=1))
    flat = RecurrentClassifier(**SHORT).fit(X[:, :, 0], y)
    deep = RecurrentClassifier(**SHORT).fit(X, y)
    assert np.array_equal(flat.predict_proba(X[:, :, 0]), deep.predict_proba(X))
    assert np.array_equal(flat.predict_proba(X), deep.predict_proba(X[:, :, 0]))
    assert (flat.n_features_in_, deep.n_features_in_) == (8, 1)
    with pytest.raises(
        ValueError, match="X has 5 features, but RecurrentClassifier is expecting 8"
    ):
        flat.predict(X[:, :5, 0])


@pytest.mark.parametrize("form", ["array", "list"])
def test_a_label_for_every_step(form: str) -> None:
    X: Any = series(time=12) if form == "array" else ragged()
    y: Any = [np.where(np.cumsum(one[:, 0]) > 0, "a", "b") for one in X]
    if form == "array":
        y = np.array(y)
    model = RecurrentClassifier(steps="all", **SMALL).fit(X, y)
    assert model.score(X, y) > 0.9
    guessed, proba = model.predict(X), model.predict_proba(X)
    assert type(guessed) is type(X)
    assert [len(one) for one in guessed] == [len(one) for one in X]
    assert proba[0].shape == (len(X[0]), 2)
    right = np.concatenate(list(guessed)) == np.concatenate(list(y))
    assert model.score(X, y) == right.mean()
    first = np.zeros(len(X))
    first[0] = 2.0
    wrong = [np.where(guessed[0] == "a", "b", "a"), *y[1:]]
    assert model.score(X, wrong, first) == 0.0 < model.score(X, wrong)


@pytest.mark.parametrize("form", ["array", "list"])
@pytest.mark.parametrize("outputs", [1, 2])
def test_numbers_for_every_step(form: str, outputs: int) -> None:
    X: Any = series(time=12) if form == "array" else ragged()
    y: Any = [500.0 + 10.0 * np.cumsum(one, axis=0) for one in X]
    y = [one[:, 0] for one in y] if outputs == 1 else y
    if form == "array":
        y = np.array(y)
    model = RecurrentRegressor(steps="all", **SMALL).fit(X, y)
    assert model.score(X, y) > 0.9
    guessed = model.predict(X)
    assert type(guessed) is type(X)
    assert [one.shape for one in guessed] == [one.shape for one in y]


@pytest.mark.parametrize("name", fastbptt.losses())
def test_the_loss_of_a_regressor(name: str) -> None:
    X, loss = series(), fastbptt.Loss(name)
    y = 500.0 + 10.0 * X[:, -1, 0]
    if loss.predicts == "classes":
        with pytest.raises(ValueError, match=f'^loss is "{name}"; expected a loss of numbers: '):
            RecurrentRegressor(**SMALL, loss=name).fit(X, y)
        return
    if not loss.of_units:
        with pytest.raises(ValueError, match=f'^loss is "{name}", whose targets cannot be'):
            RecurrentForecaster(loss=name).fit(seasonal())
        return
    other = {key: (0.25, 0.5) if key == "levels" else 0.5 for key in loss.parameters}
    chosen = fastbptt.Loss(name, **other)
    found = [clone(RecurrentRegressor(**SMALL, loss=one)).fit(X, y) for one in (name, loss, chosen)]
    assert found[0].loss_curve_ == found[1].loss_curve_
    assert (found[0].loss_curve_ == found[2].loss_curve_) is (chosen == loss)
    assert all(one.score(X, y) > 0.8 for one in found)
    default = RecurrentRegressor(**SMALL).fit(X, y)
    assert (default.loss_curve_ == found[0].loss_curve_) is (name == "mse")
    forecast = RecurrentForecaster(
        window=12, horizon=3, hidden_layer_sizes=8, max_iter=5, random_state=0, loss=chosen
    ).fit(seasonal())
    assert forecast.predict(3).shape == (3,)


def test_rates_of_counts() -> None:
    """Targets of a loss with a link stay as they are, predictions are in their units."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 4, 1))
    rate = np.exp(1.0 + 0.8 * X[:, -1, 0])
    model = RecurrentRegressor(**SMALL, loss="poisson").fit(X, rng.poisson(rate))
    assert model.target_scaler_.scale_.tolist() == [1.0] and model.out_activation_ == "log"
    assert np.corrcoef(np.log(model.predict(X)), np.log(rate))[0, 1] > 0.9
    with pytest.raises(ValueError, match=r"y holds -\d"):
        model.fit(X, -rng.poisson(rate))


@pytest.mark.parametrize("loss", ["quantile", "gaussian"])
def test_quantiles_of_a_regressor(loss: str) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 3, 1))
    noise = rng.normal(size=(300, 2)) * [20.0, 0.1]
    y = X[:, -1] * [100.0, -1.0] + [5000.0, 3.0] + noise
    model = RecurrentRegressor(**SMALL, loss=loss).fit(X, y)
    assert model.predict(X).shape == y.shape and model.score(X, y) > 0.8
    found = model.predict_quantiles(X)
    assert found.shape == (300, 2, 3) and model.n_outputs_ == 2
    np.testing.assert_array_equal(found[..., 1], model.predict(X))
    np.testing.assert_array_equal(model.predict_quantiles(X, [0.5, 0.9]), found[..., 1:])
    inside = ((found[..., 0] <= y) & (y <= found[..., 2])).mean(axis=0)
    assert (np.abs(inside - 0.8) < 0.12).all()
    one = RecurrentRegressor(**SMALL, loss=loss).fit(X, y[:, 0])
    assert one.predict_quantiles(X).shape == (300, 3)
    if loss == "quantile":
        with pytest.raises(ValueError, match=r"levels\[0\] is 0.3; expected one of the loss's"):
            one.predict_quantiles(X, [0.3])
    else:
        assert one.predict_quantiles(X, [0.3]).shape == (300, 1)
    with pytest.raises(ValueError, match='loss is "mse"; expected "quantile" or "gaussian"'):
        RecurrentRegressor(**SMALL).fit(X, y).predict_quantiles(X)
    with pytest.raises(ValueError, match=r"without the median; expected 0\.5 among the levels"):
        RecurrentRegressor(loss=fastbptt.Loss("quantile", levels=[0.1])).fit(X, y)


@pytest.mark.parametrize("loss", ["quantile", "gaussian"])
@pytest.mark.parametrize("center", ["last", "mean"])
def test_quantiles_of_a_forecaster(loss: str, center: str) -> None:
    options = {"window": 12, "horizon": 3, "max_iter": 30, "random_state": 0, "center": center}
    series = 1000.0 + 50.0 * seasonal()
    model = RecurrentForecaster(hidden_layer_sizes=8, loss=loss, **options).fit(series)
    found = model.predict_quantiles()
    assert found.shape == (3, 3) and model.predict(7).shape == (7,)
    np.testing.assert_allclose(found[:, 1], model.predict(3), rtol=1e-12)
    np.testing.assert_array_equal(model.predict_quantiles([2], levels=[0.5]), found[1:2, 1:2])
    np.testing.assert_array_equal(model.predict_quantiles(y=series), found)
    assert (np.abs(found - series[-12:].mean()) < 4.0 * series.std()).all()
    with pytest.raises(ValueError, match=r"^h is up to 4; expected at most 3, the horizon"):
        model.predict_quantiles(4)
    two = np.stack([series, -series], axis=1)
    twice = RecurrentForecaster(hidden_layer_sizes=8, loss=loss, **options).fit([two, two])
    assert [one.shape for one in twice.predict_quantiles(2)] == [(2, 2, 3)] * 2
    pandas = pytest.importorskip("pandas")
    days = pandas.date_range("2024-01-01", periods=len(series))
    frame = pandas.DataFrame(two, days, columns=["a", "b"])
    of_frame = RecurrentForecaster(hidden_layer_sizes=8, loss=loss, **options).fit(frame)
    table = of_frame.predict_quantiles(2)
    assert table.columns.tolist() == [(name, q) for name in "ab" for q in (0.1, 0.5, 0.9)]
    assert table["a"].shape == (2, 3) and table.index[0] == days[-1] + days.freq
    named = RecurrentForecaster(hidden_layer_sizes=8, loss=loss, **options).fit(frame["a"])
    assert named.predict_quantiles(1).columns.tolist() == [0.1, 0.5, 0.9]


@pytest.mark.slow
def test_quantiles_cover_what_they_say() -> None:
    """On new data with noise that depends on the input, within 2 points of each level."""
    rng = np.random.default_rng(0)
    levels = (0.05, 0.25, 0.5, 0.75, 0.95)
    X = rng.uniform(-1, 1, size=(8000, 4, 1))
    y = 3.0 * X[:, -1, 0] + (0.2 + np.abs(X[:, 0, 0])) * rng.normal(size=8000)
    loss = fastbptt.Loss("quantile", levels=levels)
    model = RecurrentRegressor(
        hidden_layer_sizes=16, loss=loss, max_iter=40, random_state=0, learning_rate="cosine"
    ).fit(X[:4000], y[:4000])
    found = model.predict_quantiles(X[4000:])
    covered = (y[4000:, np.newaxis] <= found).mean(axis=0)
    assert np.abs(covered - levels).max() < 0.02
    assert (np.diff(found) < 0).mean() < 0.01


def test_several_outputs_and_classes() -> None:
    X = series()
    y = np.stack([X[:, -1, 0], 1000.0 * X[:, -1, 1] + 5000.0], axis=1)
    model = RecurrentRegressor(**SMALL).fit(X, y)
    assert model.predict(X).shape == (60, 2)
    assert model.score(X, y) > 0.9
    classes = np.where(X[:, -1, 0] > 0.5, 5, X[:, -1].argmax(axis=1))
    many = RecurrentClassifier(**SMALL).fit(X, classes)
    assert many.classes_.tolist() == [0, 1, 5]
    assert many.decision_function(X).shape == many.predict_proba(X).shape == (60, 3)
    assert many.score(X, classes) > 0.9
    assert np.allclose(np.exp(many.predict_log_proba(X)), many.predict_proba(X))


# ---------------------------------------------------------------- training


@pytest.mark.parametrize("estimator", [RecurrentClassifier, RecurrentRegressor])
def test_partial_fit_and_warm_start_go_on(estimator: Any) -> None:
    X = series()
    y = signs(X) if estimator is RecurrentClassifier else X[:, :, 0].sum(axis=1)
    options = {**SHORT, "shuffle": False, "max_iter": 4}
    whole = estimator(**options).fit(X, y)
    parts = estimator(**options)
    for i in range(4):
        first = {"classes": np.unique(y)} if estimator is RecurrentClassifier and i == 0 else {}
        parts.partial_fit(X, y, **first)
        assert parts.n_iter_ == 1
    warm = estimator(**{**options, "max_iter": 2}, warm_start=True).fit(X, y)
    warm = pickle.loads(pickle.dumps(warm)).fit(X, y)  # the optimiser's moments go along
    for other in (parts, warm):
        assert np.array_equal(whole.predict(X), other.predict(X))
        assert whole.loss_curve_ == other.loss_curve_
        assert (other.t_, len(other.loss_curve_)) == (240, 4)
    again = whole.fit(X, y)  # without warm_start from the beginning
    assert len(again.loss_curve_) == 4 and np.array_equal(again.predict(X), parts.predict(X))


def test_partial_fit_knows_its_classes() -> None:
    X, y = series(), signs(series())
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        RecurrentClassifier(**SHORT).partial_fit(X, y)
    model = RecurrentClassifier(**SHORT).partial_fit(X[:5], ["up"] * 5, classes=["up", "down"])
    assert model.classes_.tolist() == ["down", "up"]
    with pytest.raises(ValueError, match=r"expected .*as in the first call"):
        model.partial_fit(X, y, classes=["up", "sideways"])
    with pytest.raises(ValueError, match=r"y has the class .*left.*expected one of"):
        model.partial_fit(X[:2], ["up", "left"])
    with pytest.raises(ValueError, match="early_stopping"):
        RecurrentClassifier(early_stopping=True).partial_fit(X, y, classes=["up", "down"])
    with pytest.raises(ValueError, match="balanced"):
        RecurrentClassifier(class_weight="balanced").partial_fit(X, y, classes=["up", "down"])


def test_what_training_leaves_behind() -> None:
    X, y = series(), signs(series())
    with pytest.warns(ConvergenceWarning, match="max_iter=3"):
        model = RecurrentClassifier(**SHORT).fit(X, y)
    assert model.n_iter_ == 3 == len(model.loss_curve_)
    assert model.loss_ == model.loss_curve_[-1] and model.best_loss_ == min(model.loss_curve_)
    assert model.validation_scores_ is None and model.best_validation_score_ is None
    assert model.history_["loss"] == model.loss_curve_
    assert isinstance(model.model_, fastbptt.Recurrent) and model.model_.cell == "gru"
    assert (model.n_outputs_, model.out_activation_, model.t_) == (1, "logistic", 180)
    # it stops by itself
    options = {**SMALL, "max_iter": 500, "tol": 0.05, "n_iter_no_change": 4}
    model = RecurrentClassifier(**options).fit(X, y)
    assert 4 < model.n_iter_ < 500


@pytest.mark.parametrize("estimator", [RecurrentClassifier, RecurrentRegressor])
def test_early_stopping_restores_the_best(estimator: Any) -> None:
    X = series(count=100)
    y = signs(X) if estimator is RecurrentClassifier else X[:, :, 0].sum(axis=1)
    options = {**SMALL, "early_stopping": True, "validation_fraction": 0.3, "n_iter_no_change": 5}
    model = estimator(max_iter=300, **options).fit(X, y)
    scores = model.validation_scores_
    assert 5 < model.n_iter_ == len(scores) < 300
    assert model.best_loss_ is None
    assert model.best_validation_score_ == pytest.approx(max(scores), abs=model.tol)
    best = scores.index(model.best_validation_score_) + 1
    assert best == model.n_iter_ - 5
    short = estimator(max_iter=best, **{**options, "n_iter_no_change": np.inf}).fit(X, y)
    assert np.array_equal(short.predict(X), model.predict(X))


def test_weight_zero_is_absence() -> None:
    X, y = series(), signs(series())
    weight = np.random.default_rng(0).integers(0, 3, size=60)
    y[np.flatnonzero(weight == 0)[0]] = "nowhere"
    weighted = RecurrentClassifier(**SHORT).fit(X, y, weight)
    repeated = RecurrentClassifier(**SHORT).fit(X.repeat(weight, axis=0), y.repeat(weight))
    assert weighted.classes_.tolist() == ["down", "up"]
    assert np.allclose(weighted.predict_proba(X), repeated.predict_proba(X), rtol=1e-9)
    part = [
        (one, label) for one, label, w in zip(ragged(), signs(ragged()), weight, strict=True) if w
    ]
    kept, labels = zip(*part, strict=True)
    left_out = RecurrentClassifier(**SHORT).fit(ragged(), signs(ragged()), weight > 0)
    same = RecurrentClassifier(**SHORT).fit(kept, labels)
    assert np.allclose(left_out.predict_proba(X), same.predict_proba(X), rtol=1e-9)


def test_class_weight() -> None:
    X, y = series(), np.array(["a"] * 50 + ["b"] * 10)
    plain = RecurrentClassifier(**SHORT).fit(X, y)
    balanced = RecurrentClassifier(**SHORT, class_weight="balanced").fit(X, y)
    named = RecurrentClassifier(**SHORT, class_weight={"a": 0.6, "b": 3.0}).fit(X, y)
    by_hand = RecurrentClassifier(**SHORT).fit(X, y, np.where(y == "a", 0.6, 3.0))
    assert balanced.predict_proba(X)[:, 1].mean() > plain.predict_proba(X)[:, 1].mean() + 0.1
    assert np.allclose(balanced.predict_proba(X), named.predict_proba(X))
    assert np.allclose(balanced.loss_curve_, named.loss_curve_)
    # scaling is by sample_weight alone, so that only the loss differs from weights by hand
    assert not np.array_equal(named.scaler_.mean_, by_hand.scaler_.mean_)


def test_units_do_not_matter() -> None:
    X = series()
    y = X[:, :, 0].sum(axis=1)
    model = RecurrentRegressor(**SHORT).fit(X, y)
    other = RecurrentRegressor(**SHORT).fit(X * [1e3, 1e-3] + [7e5, 0.0], 1e4 * y - 5e6)
    expected = 1e4 * model.predict(X) - 5e6
    assert np.allclose(other.predict(X * [1e3, 1e-3] + [7e5, 0.0]), expected, rtol=1e-6)
    plain = RecurrentRegressor(**SHORT, standardize=False).fit(X, y)
    assert plain.scaler_.mean_.tolist() == [0.0, 0.0] and plain.target_scaler_.scale_ == 1.0
    weight = np.random.default_rng(0).uniform(size=60)
    scaler = RecurrentRegressor(**SHORT).fit(X, y, weight).scaler_
    mean = np.average(X.reshape(-1, 2), axis=0, weights=weight.repeat(8))
    assert np.allclose(scaler.mean_, mean, rtol=1e-13)
    square = np.average((X.reshape(-1, 2) - mean) ** 2, axis=0, weights=weight.repeat(8))
    assert np.allclose(scaler.scale_, np.sqrt(square), rtol=1e-13)
    constant = np.concatenate([X, np.full((60, 8, 1), 3.0)], axis=2)
    assert np.isfinite(RecurrentRegressor(**SHORT).fit(constant, y).predict(constant)).all()


def test_dtype_is_that_of_the_data_or_as_wanted() -> None:
    X, y = series(), signs(series())
    assert RecurrentClassifier(**SHORT).fit(X, y).model_.dtype == np.float64
    model = RecurrentClassifier(**SHORT).fit(X.astype(np.float32), y)
    assert model.model_.dtype == model.predict_proba(X).dtype == np.float32
    assert RecurrentClassifier(**SHORT, dtype="float32").fit(X, y).model_.dtype == np.float32
    # what lies around a large level is not lost in float32
    regressor = RecurrentRegressor(**SMALL, dtype="float32").fit(X, 1e9 + X[:, -1, 0])
    assert regressor.score(X, 1e9 + X[:, -1, 0]) > 0.9
    forecaster = RecurrentForecaster(24, 6, max_iter=60, dtype="float32", **SMALL)
    assert forecaster.fit(1e9 + seasonal()).score(1e9 + seasonal()) > 0.9


@pytest.mark.parametrize("solver", sorted(OPTIMIZERS))
def test_every_solver(solver: str) -> None:
    X, y = series(), signs(series())
    options = {**SMALL, "learning_rate_init": 0.3 if solver == "sgd" else 0.02}
    model = RecurrentClassifier(solver=solver, **options).fit(X, y)
    assert model.score(X, y) > 0.9
    kind = OPTIMIZERS[solver]
    assert type(model._optimizer) is kind
    if "weight_decay" in kind._settings:
        share = 1 if solver == "adamw" else 60  # MLPClassifier divides by the batch
        assert model._optimizer.weight_decay == model.alpha / share
        strong = RecurrentClassifier(solver=solver, alpha=0.1 * share, **options).fit(X, y)
        assert (
            np.square(strong.model_.parameters.flat).sum()
            < np.square(model.model_.parameters.flat).sum()
        )


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_every_schedule(name: str) -> None:
    X, y = series(), signs(series())
    options = {**SHORT, "max_iter": 12, "batch_size": 15}
    model = RecurrentClassifier(learning_rate=name, **options).fit(X, y)
    given = RecurrentClassifier(learning_rate=SCHEDULES[name](), **options)
    assert np.array_equal(clone(given).fit(X, y).predict_proba(X), model.predict_proba(X))
    rates = model.history_["lr"]
    if name in ("cosine", "one_cycle"):
        assert rates[-1] < 0.2 * max(rates)
    else:
        assert rates == [0.03] * 12
    # each call of partial_fit is one epoch: there is nothing to plan
    model.partial_fit(X, y)
    assert model.history_["lr"] == [0.03]


@pytest.mark.parametrize("cell", fastbptt.cells())
def test_every_cell_and_form_of_network(cell: str) -> None:
    leaky_alpha = 0.5 if cell.startswith("leaky") else None
    options = {**SHORT, "hidden_layer_sizes": (5, 5)}
    X, y = series(), signs(series())
    model = RecurrentClassifier(
        cell, leaky_alpha=leaky_alpha, bidirectional=True, dropout=0.3, **options
    )
    network = model.fit(X, y).model_
    assert (network.cell, network.num_layers, network.hidden_size) == (cell, 2, 5)
    assert network.bidirectional and network.dropout == 0.3


# ---------------------------------------------------------------- scikit-learn around it


@pytest.mark.parametrize("backend", ["threading", pytest.param("loky", marks=pytest.mark.slow)])
def test_grid_search_in_threads_and_processes(backend: str) -> None:
    X, y = ragged(), signs(ragged())
    grid = {"cell": ["rnn", "gru"], "hidden_layer_sizes": [(4,), (8,)]}
    search = GridSearchCV(RecurrentClassifier(**SHORT), grid, cv=2, n_jobs=2)
    with joblib.parallel_config(backend=backend):
        search.fit(X, y)
    alone = clone(search).set_params(n_jobs=1).fit(X, y)
    assert np.array_equal(
        search.cv_results_["mean_test_score"], alone.cv_results_["mean_test_score"]
    )
    assert np.array_equal(search.predict_proba(X), alone.predict_proba(X))
    twin = pickle.loads(pickle.dumps(search))
    assert np.array_equal(twin.predict_proba(X), search.predict_proba(X))


@pytest.mark.parametrize("steps", ["last", "all"])
def test_cross_validation_of_lists(steps: str) -> None:
    X = ragged()
    objects = np.array([*X, None], dtype=object)[:-1]
    y: Any = signs(X) if steps == "last" else [np.sign(one[:, 0]).astype(int) for one in X]
    model = RecurrentClassifier(steps=steps, **SHORT)
    scores = cross_val_score(model, X, y, cv=3)
    assert np.isfinite(scores).all()
    if steps == "all":
        y = np.array([*y, None], dtype=object)[:-1]
    assert np.array_equal(scores, cross_val_score(model, objects, y, cv=3))
    numbers = [one[:, 0] for one in X] if steps == "all" else [one[-1, 0] for one in X]
    assert np.isfinite(
        cross_val_score(RecurrentRegressor(steps=steps, **SHORT), X, numbers, cv=3)
    ).all()


def test_pipelines_and_copies() -> None:
    X, y = series(), signs(series())
    pipe = make_pipeline(FunctionTransformer(lambda a: a[:, ::-1]), RecurrentClassifier(**SHORT))
    pipe.fit(X, y, recurrentclassifier__sample_weight=np.ones(60))
    direct = RecurrentClassifier(**SHORT).fit(X[:, ::-1], y, np.ones(60))
    assert np.array_equal(pipe.predict_proba(X), direct.predict_proba(X[:, ::-1]))
    flat = make_pipeline(StandardScaler(), RecurrentRegressor(**SHORT))
    assert flat.fit(X[:, :, 0], X[:, 0, 0]).predict(X[:, :, 0]).shape == (60,)
    for twin in (copy.deepcopy(direct), pickle.loads(pickle.dumps(direct))):
        assert np.array_equal(twin.predict_proba(X), direct.predict_proba(X))
        twin.partial_fit(X, y)
        assert not np.array_equal(twin.predict_proba(X), direct.predict_proba(X))
    fresh = clone(direct)
    assert fresh.get_params() == direct.get_params()
    with pytest.raises(NotFittedError):
        fresh.predict(X)


def test_callbacks_of_scikit_learn() -> None:
    callback = pytest.importorskip("sklearn.callback")
    X, y = series(), signs(series())
    monitor = callback.ScoringMonitor(scoring="accuracy")
    model = RecurrentClassifier(**SHORT).set_callbacks(monitor).fit(X, y)
    log = monitor.get_logs().data
    scores = [row["accuracy"] for row in log if row["task_name"] == "epoch"]
    assert len(scores) == 3 and scores[-1] == model.score(X, y)

    class Keep:
        def setup(self, estimator: Any, context: Any) -> None:
            self.kept: list[Any] = []

        def teardown(self, estimator: Any, context: Any) -> None: ...

        def on_fit_task_begin(self, estimator: Any, context: Any) -> None: ...

        def on_fit_task_end(
            self, estimator: Any, context: Any, *, fitted_estimator: Any = None
        ) -> None:
            self.kept.append(fitted_estimator)

    # what a callback is given after an epoch is what training for so long gives, and stays so
    keep = Keep()
    RecurrentClassifier(**SHORT).set_callbacks(keep).fit(X, y)
    short = RecurrentClassifier(**{**SHORT, "max_iter": 1}).fit(X, y)
    assert np.array_equal(keep.kept[0].predict_proba(X), short.predict_proba(X))
    assert scores[0] == short.score(X, y)

    class StopAfterTwo:
        def setup(self, estimator: Any, context: Any) -> None:
            self.ends = 0

        def teardown(self, estimator: Any, context: Any) -> None: ...

        def on_fit_task_begin(self, estimator: Any, context: Any) -> None: ...

        def on_fit_task_end(self, estimator: Any, context: Any) -> bool:
            self.ends += context.task_name == "epoch"
            return bool(self.ends == 2)

    model = RecurrentRegressor(**{**SHORT, "max_iter": 50}).set_callbacks(StopAfterTwo())
    assert model.fit(X, X[:, 0, 0]).n_iter_ == 2
    forecaster = RecurrentForecaster(4, 2, **{**SHORT, "max_iter": 50}).set_callbacks(
        StopAfterTwo()
    )
    assert forecaster.fit(np.arange(30.0)).n_iter_ == 2


def test_an_interruption_leaves_a_usable_estimator() -> None:
    pytest.importorskip("sklearn.callback")

    class Interrupt:
        def setup(self, estimator: Any, context: Any) -> None:
            self.ends = 0

        def teardown(self, estimator: Any, context: Any) -> None: ...

        def on_fit_task_begin(self, estimator: Any, context: Any) -> None: ...

        def on_fit_task_end(self, estimator: Any, context: Any) -> None:
            self.ends += 1  # of two epochs, then of the whole
            if self.ends == 2:
                raise KeyboardInterrupt

    class AtOnce(Interrupt):
        def on_fit_task_begin(self, estimator: Any, context: Any) -> None:
            if context.task_name == "epoch":
                raise KeyboardInterrupt

    X, y = series(), signs(series())
    for early_stopping in (False, True):
        model = RecurrentClassifier(**SHORT, early_stopping=early_stopping)
        with pytest.warns(UserWarning, match="interrupted"):
            model.set_callbacks(AtOnce()).fit(X, y)
        assert model.n_iter_ == 0 and np.isnan(model.loss_)
        assert model.predict(X).shape == (60,)
    model = RecurrentClassifier(**{**SHORT, "max_iter": 9}).set_callbacks(Interrupt())
    with pytest.warns(UserWarning, match="interrupted"):
        model.fit(X, y)
    assert model.n_iter_ == len(model.loss_curve_) == 2
    assert np.array_equal(
        model.predict_proba(X),
        RecurrentClassifier(**{**SHORT, "max_iter": 2}).fit(X, y).predict_proba(X),
    )


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cell": "grue"}, 'cell is "grue"; expected one of'),
        ({"hidden_layer_sizes": (8, 16)}, r"hidden_layer_sizes is \(8, 16\); expected one number"),
        ({"hidden_layer_sizes": ()}, r"hidden_layer_sizes is \(\)"),
        ({"hidden_layer_sizes": 0}, "hidden_layer_sizes is 0"),
        ({"steps": "first"}, 'steps is "first"; expected one of "last", "all", "mean", "max"'),
        ({"solver": "lbfgs"}, 'solver is "lbfgs"; expected one of "adam"'),
        ({"learning_rate": "adaptive"}, 'learning_rate is "adaptive"; expected one of "constant"'),
        ({"max_iter": 0}, "max_iter is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"alpha": -1.0}, "alpha is -1.0; expected a number of at least 0"),
        ({"validation_fraction": 1.5, "early_stopping": True}, "validation_fraction is 1.5"),
        ({"n_iter_no_change": 0}, "n_iter_no_change is 0"),
        ({"dtype": "float16"}, 'dtype is "float16"'),
        ({"class_weight": "fair"}, 'class_weight is "fair"; expected None, "balanced"'),
    ],
)
def test_bad_arguments(options: dict[str, Any], message: str) -> None:
    model = RecurrentClassifier(**{**SHORT, **options})
    with pytest.raises(ValueError, match=message):
        model.fit(series(), signs(series()))


LARGE = np.full((2, 4, 2), [[[0.0, 1e300]], [[1.0, -1e300]]])


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (np.zeros((3, 4, 2, 2)), [0, 1, 1], r"X has shape \(3, 4, 2, 2\); expected \(sequences,"),
        (np.zeros((3, 0, 2)), [0, 1, 1], r"X has shape \(3, 0, 2\)"),
        ([np.zeros((4, 2)), np.zeros((4, 3))], [0, 1], r"X\[1\] has shape \(4, 3\); expected"),
        ([np.zeros((4, 2)), np.zeros((0, 2))], [0, 1], r"X\[1\] has shape \(0, 2\)"),
        (np.full((3, 4, 2), np.nan), [0, 1, 1], r"^X contains NaN at index \(0, 0\);"),
        (
            [np.zeros((4, 2)), np.full((3, 2), np.inf)],
            [0, 1],
            r"^X contains infinity at index \(1, 0\)",
        ),
        (np.zeros((3, 4, 2)), [0, 1], "inconsistent numbers of samples"),
        (np.zeros((3, 4, 2)), [1, 1, 1], r"y has 1 class \(1\); expected at least 2"),
        (np.zeros((3, 4, 2)), [0.5, 1.2, 3.4], "Unknown label type"),
        (np.zeros((3, 4, 2)), None, "requires y to be passed"),
        (
            np.full((2, 4, 2), [[[0.0, 1e308]], [[1.0, -1e308]]]),
            [0, 1],
            "X holds values so large in column 1",
        ),
    ],
)
def test_bad_data(X: Any, y: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RecurrentClassifier(**SHORT).fit(X, y)


def test_data_that_does_not_fit_the_model() -> None:
    X, y = series(), signs(series())
    model = RecurrentClassifier(**SHORT).fit(X, y)
    with pytest.raises(ValueError, match=r"X has 3 features per step, but .* expecting 2"):
        model.predict(series(width=3))
    with pytest.raises(ValueError, match=r"univariate series.*expecting 2.*X\[None\]"):
        model.predict(X[0])
    with pytest.raises(ValueError, match=r"y\[1\] has shape \(7,\); expected \(8,\)"):
        RecurrentRegressor(**SHORT, steps="all").fit(X[:2], [np.zeros(8), np.zeros(7)])
    with pytest.raises(ValueError, match="y has 1 sequences; expected 2"):
        RecurrentRegressor(**SHORT, steps="all").fit(X[:2], [np.zeros(8)])
    for weight, message in ((-np.ones(60), r"sample_weight\[0\] is -1"), (np.zeros(60), "zero")):
        with pytest.raises(ValueError, match=message):
            model.fit(X, y, weight)
    again = RecurrentClassifier(**SHORT).fit(X, y)
    with pytest.raises(ValueError, match="y has 1 class"):
        again.fit(X[:, :, :1], ["up"] * 60)
    with pytest.raises(NotFittedError):  # neither the old nor half a new one
        again.predict(X)
    regressor = RecurrentRegressor(**SHORT).partial_fit(X, X[:, 0, 0])
    with pytest.raises(ValueError, match="y has 2 outputs; expected 1"):
        regressor.partial_fit(X, X[:, 0])


# ---------------------------------------------------------------- forecasts


def seasonal(length: int = 160) -> NDArray[np.float64]:
    """Trend, a season of 12, a little noise."""
    t = np.arange(length)
    noise = np.random.default_rng(0).normal(scale=0.2, size=length)
    return 100.0 + 0.5 * t + 10.0 * np.sin(2 * np.pi * t / 12) + noise


def noisy_sine(length: int = 300) -> NDArray[np.float64]:
    t = np.arange(length)
    return np.sin(2 * np.pi * t / 25) + np.random.default_rng(0).normal(scale=0.2, size=length)


@pytest.mark.parametrize(
    ("make", "center"), [(seasonal, "last"), (noisy_sine, "last"), (noisy_sine, "mean")]
)
def test_forecasts_beat_the_last_value(make: Any, center: str) -> None:
    y = make()
    train, test = y[:-12], y[-12:]
    model = RecurrentForecaster(24, 12, center=center, max_iter=60, **SMALL).fit(train)
    error = np.abs(model.predict() - test).mean()
    naive = np.abs(train[-1] - test).mean()
    assert error < 0.5 * naive
    assert model.score(y[-60:]) > 0.5
    assert np.array_equal(model.predict(12, y=train), model.predict(12))
    assert np.array_equal(model.predict([3, 1]), model.predict(3)[[2, 0]])


def test_forecasts_beyond_the_horizon_go_on_from_forecasts() -> None:
    y = seasonal()
    model = RecurrentForecaster(24, 6, max_iter=10, **SMALL).fit(y)
    first = model.predict(6)
    both = model.predict(12)
    assert np.array_equal(both[:6], first)
    assert np.allclose(both[6:], model.predict(6, y=np.concatenate([y, first])))


def test_the_score_of_forecasts_is_their_skill() -> None:
    y = np.stack([seasonal(60), noisy_sine(60)], axis=1)
    model = RecurrentForecaster(12, 4, max_iter=5, **SMALL).fit(y)
    error = naive = 0.0
    for start in range(60 - 12 - 4 + 1):
        window, future = y[start : start + 12], y[start + 12 : start + 16]
        error += np.square((model.predict(4, y=window) - future) / model.scale_).sum()
        naive += np.square((window[-1] - future) / model.scale_).sum()
    assert model.score(y) == pytest.approx(1.0 - error / naive)
    assert model.score(np.ones((40, 2))) in (0.0, 1.0)  # nothing changes, nothing to win


def test_forecasts_of_several_series_and_features() -> None:
    y = np.stack([seasonal(), 1e-3 * noisy_sine(160)], axis=1)
    model = RecurrentForecaster(24, 4, max_iter=80, **SMALL).fit(y)
    assert model.n_features_in_ == 2 and model.predict(9).shape == (9, 2)
    assert model.score(y) > 0.5
    several = RecurrentForecaster(24, 4, max_iter=5, **SMALL).fit([y, y[:100], y[20:]])
    assert [one.shape for one in several.predict(9)] == [(9, 2)] * 3
    assert several.predict(9, y=y).shape == (9, 2)
    twin = pickle.loads(pickle.dumps(clone(several).fit([y, y[:100], y[20:]])))
    assert np.array_equal(twin.predict(9, y=y), several.predict(9, y=y))


def test_forecasters_units_and_levels_do_not_matter() -> None:
    y = seasonal()
    model = RecurrentForecaster(12, 3, max_iter=3, **SMALL).fit(y)
    other = RecurrentForecaster(12, 3, max_iter=3, **SMALL).fit(1e4 * y - 3e6)
    assert np.allclose(other.predict(), 1e4 * model.predict() - 3e6, rtol=1e-6)


def test_forecasters_validation_windows_are_the_last_ones() -> None:
    y = seasonal()
    model = RecurrentForecaster(12, 3, early_stopping=True, max_iter=30, **SMALL)
    model.fit(y)
    assert len(model.validation_scores_) == model.n_iter_
    assert model.best_validation_score_ == pytest.approx(min(model.validation_scores_), abs=1e-4)
    windows = model._windows([y[:, None]])
    parts = model._held_out(windows, False)
    train, held = (np.concatenate([block for block, _ in part.blocks()]) for part in parts)
    assert len(held) == round(0.1 * len(windows)) and held[-1, -1, 0] == y[-1]
    assert not np.isin(held[:, 12:], train).any()  # y has no number twice
    assert len(train) == len(windows) - len(held) - 2


def test_forecaster_in_a_search() -> None:
    grid = {"window": [6, 12], "center": ["last", "mean"]}
    model = RecurrentForecaster(horizon=3, max_iter=3, **SMALL)
    search = GridSearchCV(model, grid, cv=TimeSeriesSplit(2, test_size=40)).fit(seasonal())
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.predict(5).shape == (5,)


def test_bad_forecasts() -> None:
    model = RecurrentForecaster(12, 3, max_iter=2, **SMALL)
    with pytest.raises(NotFittedError):
        model.predict()
    with pytest.raises(ValueError, match="y has 14 steps; expected at least 15 because window=12"):
        model.fit(np.arange(14.0))
    with pytest.raises(ValueError, match=r"y\[1\] has shape \(20, 2\)"):
        model.fit([np.zeros(20), np.zeros((20, 2))])
    with pytest.raises(ValueError, match=r"^y contains NaN at index \(0,\); expected"):
        model.fit(np.full(20, np.nan))
    with pytest.raises(ValueError, match='center is "median"; expected one of "last", "mean"'):
        clone(model).set_params(center="median").fit(seasonal())
    with pytest.raises(ValueError, match="window is 0"):
        clone(model).set_params(window=0).fit(seasonal())
    model.fit(seasonal())
    with pytest.raises(ValueError, match="h is 0; expected"):
        model.predict(0)
    with pytest.raises(TypeError, match=r"h is 1\.5; expected"):
        model.predict(1.5)
    with pytest.raises(ValueError, match="y has 5 steps; expected at least 12"):
        model.predict(3, y=np.zeros(5))
    with pytest.raises(ValueError, match="y has 2 values per step; expected 1"):
        model.predict(3, y=np.zeros((50, 2)))


def test_empty_inputs_are_called_empty() -> None:
    for empty in ([], ()):
        with pytest.raises(ValueError, match=r"^X is empty; expected at least one sequence$"):
            RecurrentClassifier(**SHORT).fit(empty, [])
    for first, shape in ((np.empty((0, 2)), r"\(0, 2\)"), (np.empty(0), r"\(0,\)")):
        with pytest.raises(
            ValueError, match=rf"^X\[0\] has shape {shape}; expected at least one step$"
        ):
            RecurrentClassifier(**SHORT).fit([first, np.ones((3, 2))], [0, 1])
    with pytest.raises(
        ValueError, match=r"^X\[1\] has shape \(3, 1\); .*\(time, 2\), as X\[0\] has$"
    ):
        RecurrentClassifier(**SHORT).fit([np.ones((3, 2)), np.ones((3, 1))], [0, 1])
    with pytest.raises(ValueError, match=r"^X\[0\] has shape .*; expected \(time, features\)$"):
        RecurrentClassifier(**SHORT).fit([np.ones((3, 2, 1)), np.ones((4, 2, 1))], [0, 1])


def test_a_bad_leaky_alpha_is_named_as_the_estimators_name_it() -> None:
    estimator = RecurrentClassifier(cell="leaky", leaky_alpha=3.0, max_iter=1)
    with pytest.raises(ValueError, match=r"^leaky_alpha is 3\.0; expected a number above 0"):
        estimator.fit(np.zeros((4, 3, 2)), [0, 1, 0, 1])


@pytest.mark.parametrize("y", [np.eye(3)[[0, 1, 2, 0]], [[0, 1], [1, 1], [0, 0], [1, 0]]])
def test_rows_of_labels_are_refused_with_both_ways_out(y: Any) -> None:
    message = r"expected \(n,\): one label per sequence. Of one-hot rows, give y.argmax\(axis=1\)"
    with pytest.raises(ValueError, match=message):
        RecurrentClassifier().fit(np.ones((4, 3, 1)), y)


def test_classes_in_messages_are_plain() -> None:
    X, y = np.arange(12.0).reshape(4, 3, 1), np.array(["a", "b", "a", "b"])
    model = RecurrentClassifier(hidden_layer_sizes=2, random_state=0)
    model.partial_fit(X, y, classes=["a", "b"])
    with pytest.raises(ValueError, match="y has the class 'c'; expected one of 'a', 'b', the"):
        model.partial_fit(X, np.array(["a", "b", "a", "c"]))
    with pytest.raises(ValueError, match="classes holds 'a', 'c'; expected 'a', 'b', as in the"):
        model.partial_fit(X, y, classes=["a", "c"])
