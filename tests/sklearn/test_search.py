"""Searches and cross-validations through joblib's backend "fastbptt" have the same numbers."""

from __future__ import annotations

import os
import signal
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning, FitFailedWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    RandomizedSearchCV,
    ShuffleSplit,
    TimeSeriesSplit,
    cross_val_predict,
    cross_val_score,
    cross_validate,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

import fastbptt
from fastbptt.sklearn import RecurrentClassifier, RecurrentForecaster, RecurrentRegressor, _search

rng = np.random.default_rng(0)
X = rng.normal(size=(36, 5, 2)).astype(np.float32)
Y = np.where(X[:, :, 0].sum(axis=1) > 0, "up", "down")
LISTS = [one[: 2 + i % 4] for i, one in enumerate(X)]
SERIES = np.sin(np.arange(90) / 3.0)
SMALL: dict[str, Any] = {
    "hidden_layer_sizes": 3,
    "max_iter": 3,
    "random_state": 0,
    "n_iter_no_change": np.inf,
}
GRID = {"learning_rate_init": [0.001, 0.01], "cell": ["gru", "lstm"]}


@pytest.fixture(autouse=True)
def few_epochs() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", "One or more of the test scores are non-finite")
        yield


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Networks of each call that trains several."""
    found: list[int] = []
    true = _search.train_groups

    def counted(several: Any, jobs: int) -> Any:
        found.append(sum(map(len, several)))
        return true(several, jobs)

    monkeypatch.setattr(_search, "train_groups", counted)
    return found


def both(call: Callable[[], Any]) -> tuple[Any, Any]:
    with joblib.parallel_config(backend="sequential"):
        usual = call()
    with joblib.parallel_config(backend="fastbptt"):
        return usual, call()


def same_results(one: Any, other: Any) -> None:
    assert one.cv_results_.keys() == other.cv_results_.keys()
    for name, values in one.cv_results_.items():
        if "_time" not in name:
            np.testing.assert_array_equal(values, other.cv_results_[name], err_msg=name)
    if hasattr(one, "best_params_"):
        assert one.best_params_ == other.best_params_ and one.best_score_ == other.best_score_


SEARCHES: dict[str, Callable[[], Any]] = {
    "grid": lambda: GridSearchCV(RecurrentClassifier(**SMALL), GRID, cv=3).fit(X, Y),
    "lists, training scores": lambda: GridSearchCV(
        RecurrentClassifier(**SMALL), GRID, cv=2, return_train_score=True
    ).fit(LISTS, Y),
    "random, several scorers": lambda: RandomizedSearchCV(
        RecurrentClassifier(**SMALL),
        GRID,
        n_iter=3,
        random_state=1,
        cv=2,
        scoring=["accuracy", "neg_log_loss"],
        refit="accuracy",
    ).fit(X, Y),
    "weights": lambda: GridSearchCV(
        RecurrentRegressor(**SMALL), {"alpha": [0.0, 1.0]}, cv=ShuffleSplit(2, random_state=0)
    ).fit(X, X[:, 0], sample_weight=np.arange(36.0) + 1),
    "early stopping, ensembles": lambda: GridSearchCV(
        RecurrentClassifier(**SMALL, early_stopping=True), {"n_estimators": [1, 2]}, cv=2
    ).fit(X, Y),
    "forecaster": lambda: GridSearchCV(
        RecurrentForecaster(**SMALL, window=5, horizon=2),
        {"center": ["last", "mean"], "bootstrap": [True, False]},
        cv=TimeSeriesSplit(3),
    ).fit(SERIES),
    "one job": lambda: GridSearchCV(RecurrentClassifier(**SMALL), GRID, cv=2, n_jobs=1).fit(X, Y),
}
PAIRS = {
    "grid": 12,
    "lists, training scores": 8,
    "random, several scorers": 6,
    "weights": 4,
    "early stopping, ensembles": 6,
    "forecaster": 12,
    "one job": 8,
}


@pytest.mark.parametrize("name", SEARCHES)
def test_a_search_has_the_scores_of_one_fit_after_the_other(name: str, trained: list[int]) -> None:
    usual, together = both(SEARCHES[name])
    same_results(usual, together)
    assert trained == [PAIRS[name]]
    assert (together.cv_results_["mean_fit_time"] > 0).all()


def test_cross_validation(trained: list[int]) -> None:
    model = RecurrentClassifier(**SMALL)
    usual, together = both(lambda: cross_val_score(model, X, Y, cv=4))
    assert np.array_equal(usual, together)
    usual, together = both(lambda: cross_val_predict(model, X, Y, cv=3, method="predict_proba"))
    assert np.array_equal(usual, together)
    usual, together = both(lambda: cross_validate(model, X, Y, cv=2, return_estimator=True))
    for one, other in zip(usual["estimator"], together["estimator"], strict=True):
        assert one.loss_curve_ == other.loss_curve_ and one.t_ == other.t_
        for _ in range(2):  # the optimiser's moments are there, too
            assert np.array_equal(one.decision_function(X), other.decision_function(X))
            one.partial_fit(X, Y), other.partial_fit(X, Y)
    assert trained == [4, 3, 2]


def test_halving_and_learning_curves(trained: list[int]) -> None:
    from sklearn.experimental import enable_halving_search_cv  # noqa: F401
    from sklearn.model_selection import HalvingGridSearchCV, learning_curve

    def halving() -> Any:
        found = HalvingGridSearchCV(RecurrentClassifier(**SMALL), GRID, cv=2, random_state=0)
        return found.fit(X, Y)

    same_results(*both(halving))
    assert len(trained) > 1
    sizes = [8, 16]
    usual, together = both(
        lambda: learning_curve(RecurrentClassifier(**SMALL), X, Y, cv=2, train_sizes=sizes)
    )
    assert all(map(np.array_equal, usual, together))
    assert trained[-1] == 4


def test_a_key_ends_a_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C stops the networks that are in training, and then the search."""
    true = fastbptt.training.many.fit_many

    def interrupted(*arguments: Any, **options: Any) -> Any:
        def press(*_: Any) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr("fastbptt.sklearn._joint_fits._Keep.on_epoch_end", press)
        return true(*arguments, **options)

    monkeypatch.setattr("fastbptt.sklearn._joint_fits.fit_many", interrupted)
    with joblib.parallel_config(backend="fastbptt"), pytest.raises(KeyboardInterrupt):
        cross_val_score(RecurrentClassifier(**SMALL), X, Y, cv=3)


@pytest.mark.parametrize("members", [1, 3])
def test_ctrl_c_ends_a_search_soon(members: int) -> None:
    """In the middle of training, a signal: no thread goes on, and nothing was fitted."""
    sent: list[float] = []

    def press() -> None:
        while not any(one.name.startswith("fit_many") for one in threading.enumerate()):
            time.sleep(0.01)
        time.sleep(0.2)
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    endless = {**SMALL, "max_iter": 10**7, "hidden_layer_sizes": 32, "n_estimators": members}
    search = GridSearchCV(RecurrentClassifier(**endless), GRID, cv=3)
    sender = threading.Thread(target=press)
    sender.start()
    with joblib.parallel_config(backend="fastbptt"), pytest.raises(KeyboardInterrupt):
        search.fit(X, Y)
    late = time.monotonic() - sent[0]
    sender.join()
    assert late < 3.0, "0.1 s on a machine that has nothing else to do"
    assert not hasattr(search, "cv_results_") and not hasattr(search, "best_estimator_")
    assert not any(one.name.startswith("fit_many") for one in threading.enumerate())


def test_data_beyond_the_memory_come_in_groups(
    trained: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_search, "_BYTES", 3 * X.nbytes)
    usual, together = both(SEARCHES["grid"])
    same_results(usual, together)
    assert len(trained) > 1 and sum(trained) == 12
    monkeypatch.setattr(_search, "_DISPATCHED", 2)
    same_results(usual, both(SEARCHES["grid"])[1])


def test_what_fails_is_reported_as_ever() -> None:
    """Bad settings, a network that diverges, a fold with one class: the others have scores."""
    for grid in (
        {"cell": ["gru", "nothing"]},
        {"learning_rate_init": [0.01, 1e30], "solver": ["sgd"], "clip_norm": [None]},
    ):
        model = RecurrentRegressor(**SMALL)

        def search(model: Any = model, grid: Any = grid) -> Any:
            return GridSearchCV(model, grid, cv=2, refit=False).fit(X, X[:, 0])

        with pytest.warns(FitFailedWarning, match="2 fits failed"):
            usual, together = both(search)
        same_results(usual, together)
        strict = GridSearchCV(model, grid, cv=2, error_score="raise")
        with (
            joblib.parallel_config(backend="fastbptt"),
            pytest.raises(ValueError, match=r"; expected|not finite"),
        ):
            strict.fit(X, X[:, 0])
    labels = np.where(np.arange(36) < 18, "a", np.where(np.arange(36) < 20, "b", "a"))
    parts = [(np.arange(18), np.arange(18, 36)), (np.arange(10, 30), np.arange(10))]

    def score() -> Any:
        return cross_val_score(RecurrentClassifier(**SMALL), X, labels, cv=parts)

    with pytest.warns(FitFailedWarning, match="y has 1 class"):
        usual, together = both(score)
    assert np.array_equal(usual, together, equal_nan=True) and np.isnan(usual).sum() == 1


def test_convergence_warnings_come_once_for_each_fit() -> None:
    for backend in ("sequential", "fastbptt"):
        with joblib.parallel_config(backend=backend), warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            cross_val_score(RecurrentClassifier(**SMALL), X, Y, cv=3)
        assert [one.category for one in seen] == [ConvergenceWarning] * 3


def test_other_work_runs_as_it_is(trained: list[int]) -> None:
    flat = X.reshape(36, -1)
    for model, data in (
        (LogisticRegression(), flat),
        (make_pipeline(FunctionTransformer(), RecurrentClassifier(**SMALL)), flat),
    ):
        usual, together = both(lambda: cross_val_score(model, data, Y, cv=3))  # noqa: B023
        assert np.array_equal(usual, together)
    with joblib.parallel_config(backend="fastbptt"):
        found = joblib.Parallel()(joblib.delayed(pow)(i, 2) for i in range(5))
    assert found == [0, 1, 4, 9, 16] and sum(trained) == 0


def test_callbacks_are_called_as_training_goes_on(trained: list[int]) -> None:
    pytest.importorskip("sklearn.callback")
    from sklearn.callback import ScoringMonitor

    def search() -> Any:
        model = RecurrentClassifier(**SMALL).set_callbacks(ScoringMonitor(scoring="accuracy"))
        return GridSearchCV(model, {"alpha": [0.0, 1.0]}, cv=2).fit(X, Y)

    same_results(*both(search))
    assert sum(trained) == 0


@pytest.mark.parametrize(("asked", "jobs"), [(None, 2), (-1, 2), (1, 1), (3, 3), (-2, 1)])
def test_jobs(monkeypatch: pytest.MonkeyPatch, asked: int | None, jobs: int) -> None:
    found = []
    true = _search.train_groups

    def noted(several: Any, jobs: int) -> Any:
        found.append(jobs)
        return true(several, jobs)

    monkeypatch.setattr(_search, "train_groups", noted)
    monkeypatch.setattr(_search._core, "get_num_threads", lambda: 2)
    with joblib.parallel_config(backend="fastbptt"):
        cross_val_score(RecurrentClassifier(**SMALL), X, Y, cv=2, n_jobs=asked)
        with pytest.raises(ValueError, match="n_jobs is 0; expected"):
            cross_val_score(RecurrentClassifier(**SMALL), X, Y, cv=2, n_jobs=0)
    assert found == [jobs]
