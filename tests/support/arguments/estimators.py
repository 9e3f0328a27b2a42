"""Entries of `fastbptt.sklearn`."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from effects import Each, Entry, Refused, With

import fastbptt
import fastbptt.sklearn

from .common import NAN, WEIGHT, X, Y
from .plots import report


def estimated(kind: Any, X: Any, y: Any, **settings: Any) -> Any:
    """Fit twice (for warm_start), and predict."""
    X = settings.pop("given", X)
    made = kind(**settings)
    if settings.get("steps") == "all":
        y = np.repeat(np.asarray(y)[:, None], X.shape[1], axis=1)
    for _ in range(2):
        made.fit(X) if y is None else made.fit(X, y)
    found = made.predict() if y is None else made.predict(X)
    if made.n_estimators > 1:
        return found, [one.model_ for one in made.estimators_]
    return found, made.model_, made.loss_curve_, made.validation_scores_


def method(kind: Any, name: str, **arguments: Any) -> Any:
    """Call a method of a fitted estimator; return its result and the network."""
    made = kind(**ESTIMATOR)
    if name == "predict_quantiles":
        made.set_params(loss="gaussian")
    if name == "partial_fit":
        made.partial_fit(**arguments)
        return made.model_
    if name == "fit":
        made.fit(**arguments)
        return made.model_
    made.fit(_SERIES) if kind is fastbptt.sklearn.RecurrentForecaster else made.fit(X, Y)
    return getattr(made, name)(**arguments)


ESTIMATOR: dict[str, Any] = {
    "hidden_layer_sizes": (3,),
    "max_iter": 3,
    "random_state": 0,
    "batch_size": 5,
}
SGD = {"solver": "sgd"}
CHANGED: dict[str, Any] = {
    "cell": "lstm",
    "hidden_layer_sizes": (4,),
    "bidirectional": True,
    "dropout": With(0.5, {"hidden_layer_sizes": (3, 3)}),
    "solver": "sgd",
    "alpha": 1.0,
    "batch_size": 4,
    "learning_rate": "cosine",
    "learning_rate_init": 0.1,
    "max_iter": 4,
    "shuffle": False,
    "random_state": 1,
    "tol": With(9.0, {"n_iter_no_change": 1}),
    "verbose": 2,
    "warm_start": True,
    "momentum": With(0.5, SGD),
    "nesterovs_momentum": With(False, SGD),
    "early_stopping": True,
    "validation_fraction": With(0.5, {"early_stopping": True}),
    "beta_1": 0.5,
    "beta_2": 0.5,
    "epsilon": 0.1,
    "n_iter_no_change": With(1, {"tol": 9.0}),
    "clip_norm": 1e-3,
    "leaky_alpha": With(0.9, {"cell": "leaky", "leaky_alpha": 0.1}),
    "init": "keras",
    "dtype": "float32",
    "n_estimators": 2,
    "bootstrap": True,
}

OF_CLASSIFIERS = ("decision_function", "predict_proba", "predict_log_proba")
ENTRIES: dict[str, Entry] = {
    "sklearn.RecurrentClassifier": Entry(
        partial(estimated, fastbptt.sklearn.RecurrentClassifier, X, np.where(Y > 0, "up", "down")),
        ESTIMATOR,
        {
            **CHANGED,
            "steps": Each("all", "mean"),
            "class_weight": "balanced",
            "standardize": False,
            "loss": "cross_entropy",
            "missing": With("mask", {"given": NAN}),
        },
    ),
    "sklearn.RecurrentRegressor": Entry(
        partial(estimated, fastbptt.sklearn.RecurrentRegressor, X, X[:, :, 0].sum(axis=1)),
        ESTIMATOR,
        {
            **CHANGED,
            "steps": Each("all", "max"),
            "loss": "huber",
            "standardize": False,
            "missing": With("mask", {"given": NAN}),
        },
    ),
    "sklearn.RecurrentForecaster": Entry(
        partial(estimated, fastbptt.sklearn.RecurrentForecaster, X[:, :, 0].ravel(), None),
        {**ESTIMATOR, "horizon": 2},
        {
            **CHANGED,
            "window": 5,
            "horizon": 3,
            "center": "mean",
            "loss": "huber",
            "missing": With("mask", {"given": NAN[:, :, 1].ravel()}),
        },
    ),
}
_MOVED = X + np.arange(6)[:, None]
for _kind, _y in (("Classifier", Y), ("Regressor", X[:, 0, 0])):
    _name, _made = f"sklearn.Recurrent{_kind}", getattr(fastbptt.sklearn, f"Recurrent{_kind}")
    _base = {"X": X, "y": _y}
    _other = {"X": _MOVED, "y": np.roll(_y, 1), "sample_weight": WEIGHT}
    _classes = _kind == "Classifier"
    ENTRIES[f"{_name}.fit"] = Entry(partial(method, _made, "fit"), _base, _other)
    ENTRIES[f"{_name}.score"] = Entry(partial(method, _made, "score"), _base, _other)
    ENTRIES[f"{_name}.partial_fit"] = Entry(
        partial(method, _made, "partial_fit"),
        _base | ({"classes": [0, 1]} if _classes else {}),
        _other | ({"classes": [0, 1, 2]} if _classes else {}),
    )
    for _method in ("predict", *OF_CLASSIFIERS * _classes):
        ENTRIES[f"{_name}.{_method}"] = Entry(
            partial(method, _made, _method), {"X": X}, {"X": _MOVED}
        )
ENTRIES["sklearn.RecurrentRegressor.predict_quantiles"] = Entry(
    partial(method, fastbptt.sklearn.RecurrentRegressor, "predict_quantiles"),
    {"X": X},
    {"X": _MOVED, "levels": [0.3]},
)

_SERIES = X[:, :, 0].ravel()
_COLUMN = X[:, :, 1].ravel()
for _method, _base, _other in (
    ("fit", {"y": _SERIES}, {"y": _SERIES**2}),
    ("predict", {"h": 2}, {"h": 3, "y": _SERIES[:-3]}),
    ("predict_quantiles", {"h": 2}, {"h": 3, "y": _SERIES[:-3], "levels": [0.3]}),
    ("score", {"y": _SERIES}, {"y": _SERIES**2}),
):
    ENTRIES[f"sklearn.RecurrentForecaster.{_method}"] = Entry(
        partial(method, fastbptt.sklearn.RecurrentForecaster, _method),
        _base,
        {**_other, "X": Refused(_COLUMN, "X is given, but a RecurrentForecaster has no exogenous")},
    )


def reported(**arguments: Any) -> None:
    """Write the report of a forecaster."""
    made = fastbptt.sklearn.RecurrentForecaster(window=4, horizon=2, max_iter=1, random_state=0)
    report(made.fit(_SERIES).report, **arguments)


ENTRIES["sklearn.RecurrentForecaster.report"] = Entry(
    reported,
    {"y": _SERIES[:20], "path": "a.html"},
    {"y": _SERIES[20:40], "path": "b.html", "series_names": ["sales"], "title": "Another"},
)
