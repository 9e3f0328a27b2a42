"""`fit_many` refuses what has two readings, and says which model is wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastbptt

X = np.random.default_rng(0).normal(size=(12, 5, 3))
Y = np.arange(12) % 2
ROWS = [np.arange(6), np.arange(6, 12)]
ADAM = fastbptt.Adam()
ADAM.step(fastbptt.RNN(1, 1, 1), np.zeros(5))
CALLBACK = fastbptt.Callback()


def make(k: int, hidden: int = 4, **options: Any) -> fastbptt.GRU:
    return fastbptt.GRU(3, hidden, 2, seed=k, **options)


ONE = make(0)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"models": ONE}, "models is one GRU; expected a list of models"),
        ({"models": []}, "models is empty"),
        ({"models": 3}, "models is of type int"),
        ({"models": [ONE, ONE]}, r"models\[1\] is the same model as models\[0\]"),
        ({"models": [make(0), "a"]}, r"models\[1\] is of type str"),
        ({"models": [make(0), make(1, 5)]}, r"models\[1\] has hidden_size=5; expected"),
        ({"models": [make(0), make(1, dtype="float64")]}, r"models\[1\] has dtype='float64'"),
        ({"models": [make(0), fastbptt.LSTM(3, 4, 2)]}, r"models\[1\] has cell='lstm'"),
        ({"models": make}, "count is None"),
        ({"models": make, "count": 0}, "count is 0"),
        ({"count": 2}, "count is 2; expected None"),
        ({"models": lambda k: ONE, "count": 2}, r"models\(1\) is a model that it returned before"),
        ({"models": lambda k: make(k, 4 + k), "count": 2}, r"models\(1\) has hidden_size=5"),
        ({"models": lambda k: None, "count": 2}, "NoneType"),
        ({"x": None}, "x is None"),
        ({"y": None}, "y is None"),
        ({"x": iter([(X, Y)])}, "x is an iterator"),
        ({"each": {"x": [X, X]}}, r"x is given, and each\['x'\] too; expected one"),
        ({"each": {"seed": 3}}, r"each\['seed'\] is of type int"),
        ({"each": {"seed": [1, 2, 3]}}, r"each\['seed'\] has 3 values; expected 2"),
        ({"each": {"loss": "mse"}}, r"each\['loss'\] is of type str"),
        ({"each": {"sede": [1, 2]}}, "each has"),
        ({"each": {"verbose": [1, 2]}}, "each has"),
        ({"each": {"lr": [1, 2]}}, r'has "lr"; expected "optimizer": \[fastbptt\.Adam\(lr\) for'),
        ({"lr": 0.1}, r"no argument 'lr'; expected optimizer=fastbptt\.Adam\(0\.1\) for"),
        ({"each": {"seed": [1, -1]}}, r"seed is -1; expected .* \(model 1\)"),
        ({"each": {"seed": [1, 2]}, "seed": 3}, r"seed is given, and each\['seed'\] too"),
        ({"each": {"optimizer": [ADAM, ADAM]}}, r"each\['optimizer'\]\[0\] has made 1 updates"),
        ({"each": {"callbacks": [[CALLBACK], CALLBACK]}}, "is that of model 0 too"),
        ({"each": [1, 2]}, "each is of type list"),
        ({"callbacks": [CALLBACK]}, "one callback for several models"),
        ({"optimizer": ADAM}, "optimizer has made 1 updates"),
        ({"comm": object()}, "comm is given; expected no comm"),
        ({"each": {"comm": [1, 2]}}, "comm is given; expected no comm"),
        ({"sede": 1}, "no argument 'sede'"),
        ({"steps_per_epoch": 1}, "steps_per_epoch is given"),
        ({"rows": ROWS[:1]}, "rows has 1 arrays; expected 2"),
        ({"rows": "ab"}, "rows is of type str"),
        ({"rows": [Y == 0, Y == 1]}, r"rows\[0\] is a mask"),
        ({"rows": [[0], []]}, r"rows\[1\] is empty"),
        ({"rows": [[0], [12]]}, r"rows\[1\] holds 12; expected 0 to 11"),
        ({"rows": [[0], [-1]]}, r"rows\[1\] holds -1"),
        ({"rows": [[0], [[1]]]}, r"rows\[1\] has shape \(1, 1\)"),
        ({"rows": [[0], [0.5]]}, r"rows\[1\] has shape \(1,\) and dtype float64"),
        ({"rows": ROWS, "each": {"lengths": [None, None]}}, r"given, and each\['lengths'\] too"),
        ({"validation_rows": ROWS}, "validation_rows is given, but rows is None"),
        ({"rows": ROWS, "validation_rows": [[6], [6]]}, r"\[1\] holds 6, which rows"),
        ({"rows": ROWS, "validation_rows": ROWS[::-1], "validation": 0.5}, "beside validation"),
        ({"names": ["a"]}, "names has 1 names"),
        ({"names": ["a", "a"]}, r"names\[1\] is 'a', as names\[0\] is"),
        ({"names": ["a", 3]}, r"names\[1\] is 3"),
        ({"names": "ab"}, "names is"),
        ({"jobs": 0}, "jobs is 0"),
        ({"on_error": "ignore"}, "on_error is"),
        ({"keep": "all"}, "keep is"),
        ({"keep": "table"}, "because models is a sequence"),
        ({"verbose": 3}, "verbose is 3"),
        ({"resume": True}, "resume is True, but checkpoint is None"),
        ({"resume": "a"}, "resume is"),
        ({"checkpoint_every": 3}, "checkpoint_every is 3, but checkpoint is None"),
        ({"l1": {"W": 1.0}}, "W"),
        ({"loss": "nothing"}, "loss"),
        ({"patience": 2}, "validation"),
    ],
)  # fmt: skip
def test_refused(changed: dict[str, Any], words: str) -> None:
    given: dict[str, Any] = {"models": [make(0), make(1)], "x": X, "y": Y, "verbose": 0} | changed
    with pytest.raises((ValueError, TypeError), match=words):
        fastbptt.fit_many(given.pop("models"), given.pop("x"), given.pop("y"), **given)


def test_nothing_changes_when_an_argument_is_wrong() -> None:
    models = [make(0), make(1)]
    with pytest.raises(ValueError, match="batch_size"):
        fastbptt.fit_many(models, X, Y, batch_size=0, verbose=0)
    for k, model in enumerate(models):
        np.testing.assert_array_equal(model._weights.get(), make(k)._weights.get())
