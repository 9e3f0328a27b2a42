"""Ensembles of networks in an estimator: members, means, bootstrap samples, what is refused."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

import fastbptt
from fastbptt.sklearn import RecurrentClassifier, RecurrentForecaster, RecurrentRegressor

rng = np.random.default_rng(0)
X = rng.normal(size=(30, 6, 2))
SUMS = X[:, :, 0].sum(axis=1)
LISTS = [one[: 3 + i % 4] for i, one in enumerate(X)]
SERIES = np.sin(np.arange(80) / 3.0) + 0.1 * rng.normal(size=80)
GAPS = np.where(np.arange(80) % 11 == 5, np.nan, SERIES)
SMALL: dict[str, Any] = {"hidden_layer_sizes": 3, "max_iter": 4, "random_state": 0, "batch_size": 8}
CASES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "two classes": (RecurrentClassifier(**SMALL), (X, SUMS > 0)),
    "three classes": (RecurrentClassifier(**SMALL), (LISTS, np.digitize(SUMS, [-1, 1]))),
    "two outputs": (RecurrentClassifier(**SMALL, loss="cross_entropy"), (X, SUMS > 0)),
    "labels of steps": (RecurrentClassifier(**SMALL, steps="all"), (X, X[:, :, 0] > 0)),
    "early stopping": (
        RecurrentClassifier(**SMALL, early_stopping=True, validation_fraction=0.2),
        (X, SUMS > 0),
    ),
    "weights": (RecurrentClassifier(**SMALL), (X, SUMS > 0, np.arange(30.0))),
    "numbers": (RecurrentRegressor(**SMALL), (X, 100 + SUMS)),
    "rows of numbers": (RecurrentRegressor(**SMALL, dtype="float32"), (X, X[:, 0])),
    "quantiles": (RecurrentRegressor(**SMALL, loss="quantile"), (LISTS, SUMS)),
    "series": (RecurrentForecaster(4, 3, **SMALL), (SERIES,)),
    "gaps": (RecurrentForecaster(4, 3, **SMALL, missing="mask"), (GAPS,)),
    "intervals": (RecurrentForecaster(4, 3, **SMALL, loss="gaussian"), (SERIES,)),
}
METHODS = ("predict", "predict_proba", "predict_log_proba", "decision_function")


@pytest.fixture(autouse=True)
def few_epochs() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def weights(model: Any) -> Any:
    return [np.array(value) for value in model.model_.parameters.values()]


def same(one: Any, other: Any) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(weights(one), weights(other), strict=True))


@pytest.mark.parametrize("bootstrap", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_a_member_is_what_its_seed_trains_alone(name: str, bootstrap: bool) -> None:
    made, data = CASES[name]
    if bootstrap and made.early_stopping:
        pytest.skip("refused")
    ensemble = clone(made).set_params(n_estimators=3, bootstrap=bootstrap).fit(*data)
    assert len(ensemble.estimators_) == 3 and not hasattr(ensemble, "model_")
    assert len({one.random_state for one in ensemble.estimators_}) == 3
    for one in ensemble.estimators_:
        assert type(one) is type(made) and one.n_estimators == 1
        alone = clone(one).fit(*data)
        assert same(alone, one) and alone.loss_curve_ == one.loss_curve_
        assert alone.n_iter_ == one.n_iter_ and alone.t_ == one.t_
        assert alone.validation_scores_ == one.validation_scores_
    again = clone(ensemble).fit(*data)
    assert all(map(same, again.estimators_, ensemble.estimators_))
    assert ensemble.n_iter_ == max(one.n_iter_ for one in ensemble.estimators_)


@pytest.mark.parametrize("name", CASES)
def test_predictions_are_means(name: str) -> None:
    made, data = CASES[name]
    ensemble = clone(made).set_params(n_estimators=3).fit(*data)
    members = ensemble.estimators_
    if isinstance(made, RecurrentForecaster):
        mean = np.mean([one.predict(3) for one in members], axis=0)
        np.testing.assert_allclose(ensemble.predict(3), mean, rtol=1e-12)
        assert ensemble.predict(9).shape == (9,) and np.isfinite(ensemble.score(data[0]))
        if name == "intervals":
            mean = np.mean([one.predict_quantiles(3) for one in members], axis=0)
            np.testing.assert_allclose(ensemble.predict_quantiles(3), mean, rtol=1e-12)
    elif isinstance(made, RecurrentRegressor):
        mean = np.mean([one.predict(data[0]) for one in members], axis=0)
        np.testing.assert_allclose(ensemble.predict(data[0]), mean, rtol=1e-12)
        assert ensemble.predict(data[0]).shape == members[0].predict(data[0]).shape
        if name == "quantiles":
            found = ensemble.predict_quantiles(data[0])
            mean = np.mean([one.predict_quantiles(data[0]) for one in members], axis=0)
            np.testing.assert_allclose(found, mean, rtol=1e-12)
    else:
        mean = np.mean([one.predict_proba(data[0]) for one in members], axis=0)
        found = ensemble.predict_proba(data[0])
        assert np.array_equal(found, mean)
        labels = ensemble.classes_[found.argmax(axis=-1)]
        assert np.array_equal(ensemble.predict(data[0]), labels)
        np.testing.assert_allclose(np.exp(ensemble.predict_log_proba(data[0])), mean, rtol=1e-6)
        logits = ensemble.decision_function(data[0])
        if len(ensemble.classes_) == 2:
            assert np.array_equal(logits > 0, found[..., 1] > 0.5)
            np.testing.assert_allclose(1 / (1 + np.exp(-logits)), found[..., 1], rtol=1e-6)
        assert 0.0 <= ensemble.score(*data[:2]) <= 1.0
    again = pickle.loads(pickle.dumps(ensemble))
    assert np.array_equal(
        again.predict() if len(data) == 1 else again.predict(data[0]),
        ensemble.predict() if len(data) == 1 else ensemble.predict(data[0]),
    )


def test_one_network_has_the_bits_of_before() -> None:
    """What `fit` and the seeds were, written down by hand."""
    made = RecurrentRegressor(hidden_layer_sizes=3, max_iter=4, random_state=7, batch_size=8)
    made.fit(X, SUMS)
    seeds = np.random.RandomState(7)
    model = fastbptt.GRU(2, 3, 1, seed=seeds.randint(2**31 - 1), dtype="float64")
    scaler, target = fastbptt.Standardizer().fit(X), fastbptt.Standardizer().fit(SUMS[:, None])
    fastbptt.fit(
        model,
        scaler.transform(X),
        target.transform(SUMS[:, None]),
        loss="mse",
        epochs=4,
        batch_size=8,
        optimizer=fastbptt.Adam(0.005, weight_decay=1e-4 / 8),
        clip_norm=1.0,
        seed=seeds.randint(2**31 - 1),
        monitor="loss",
        patience=10,
        min_delta=1e-4,
        restore_best=False,
        verbose=0,
    )
    for own, other in zip(weights(made), model.parameters.values(), strict=True):
        np.testing.assert_array_equal(own, other)


def test_bootstrap_samples_are_drawn_with_replacement() -> None:
    """A row of weight zero is never drawn, a sample of one sequence is that sequence."""
    one = RecurrentRegressor(**SMALL, bootstrap=True, standardize=False).fit(X[:1], SUMS[:1])
    other = RecurrentRegressor(**SMALL, standardize=False).fit(X[:1], SUMS[:1])
    assert same(one, other)
    drawn = RecurrentRegressor(**SMALL, bootstrap=True).fit(X, SUMS)
    assert not same(drawn, RecurrentRegressor(**SMALL).fit(X, SUMS))
    assert drawn.t_ == 4 * len(X)


def test_training_again_replaces_what_was_there() -> None:
    model = RecurrentClassifier(**SMALL).fit(X, SUMS > 0)
    model.set_params(n_estimators=2).fit(X, SUMS > 0)
    for name in ("model_", "history_", "loss_curve_", "best_loss_", "validation_scores_"):
        assert not hasattr(model, name)
    assert model.loss_ == np.mean([one.loss_ for one in model.estimators_])
    model.set_params(n_estimators=1).fit(X, SUMS > 0)
    assert not hasattr(model, "estimators_") and hasattr(model, "model_")


def test_members_train_further() -> None:
    """The optimiser's moments are those of the member."""
    ensemble = RecurrentClassifier(**SMALL, n_estimators=2).fit(X, SUMS > 0)
    for one in ensemble.estimators_:
        alone = clone(one).fit(X, SUMS > 0)
        assert same(one.partial_fit(X, SUMS > 0), alone.partial_fit(X, SUMS > 0))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"n_estimators": 0}, "n_estimators is 0; expected at least 1"),
        ({"n_estimators": 2.5}, "n_estimators is"),
        ({"n_estimators": 2, "warm_start": True}, "warm_start is True with n_estimators=2"),
        ({"bootstrap": 2}, "bootstrap is 2"),
        ({"bootstrap": True, "warm_start": True}, "bootstrap is True with warm_start=True"),
        ({"bootstrap": True, "early_stopping": True}, "bootstrap is True with early_stopping"),
    ],
)
def test_what_is_refused(settings: dict[str, Any], words: str) -> None:
    for made, data in (CASES["two classes"], CASES["numbers"], CASES["series"]):
        with pytest.raises((ValueError, TypeError), match=words):
            clone(made).set_params(**settings).fit(*data)


def test_calls_of_one_network_are_refused(tmp_path: Any) -> None:
    for settings in ({"n_estimators": 2}, {"bootstrap": True}):
        with pytest.raises(ValueError, match=next(iter(settings))):
            RecurrentClassifier(**SMALL, **settings).partial_fit(X, SUMS > 0, classes=[0, 1])
    made = RecurrentForecaster(4, 3, **SMALL, n_estimators=2).fit(SERIES)
    with pytest.raises(ValueError, match=r"of which report can show one; expected est"):
        made.report(SERIES, tmp_path / "page.html")
    callback = pytest.importorskip("sklearn.callback")
    model = RecurrentClassifier(**SMALL, n_estimators=2)
    model.set_callbacks(callback.ScoringMonitor(scoring="accuracy"))
    with pytest.raises(ValueError, match="n_estimators is 2 beside callbacks; expected 1"):
        model.fit(X, SUMS > 0)


def test_one_convergence_warning_for_all() -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        RecurrentClassifier(**SMALL, n_estimators=3).fit(X, SUMS > 0)
    assert [one.category for one in seen] == [ConvergenceWarning]
    assert seen[0].filename == __file__


@pytest.mark.parametrize("name", ["two classes", "series"])
def test_members_that_were_never_trained_do_not_count(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C before their turn leaves them at random weights."""

    def press(own: Any, run: Any) -> None:
        if run.epoch == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("fastbptt.sklearn._joint_fits._Keep.on_epoch_end", press, raising=False)
    made, data = CASES[name]
    size = {"hidden_layer_sizes": 64, "n_estimators": 7}
    with pytest.warns(
        UserWarning, match=r"by the user; estimators_ has the \d of 7 that were begun"
    ):
        ensemble = clone(made).set_params(**size).fit(*data)
    assert 1 <= len(ensemble.estimators_) < 7 and ensemble.n_iter_ == 2
    assert all(one.n_iter_ in (1, 2) for one in ensemble.estimators_)
    assert np.isfinite(ensemble.score(*data[:2]))
