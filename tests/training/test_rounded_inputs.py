"""Numbers that float32 cannot tell apart, where only some of the data are seen."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastbptt

TIMES = 1.7e9 + np.arange(60.0).reshape(5, 6, 2)
Y = np.array([0, 1, 0, 1, 1])
ENDS = np.full(5, 3)


def model(dtype: str = "float32") -> fastbptt.Recurrent:
    return fastbptt.GRU(2, 3, 1, dtype=dtype, seed=0)


CALLS: dict[str, Callable[..., Any]] = {
    "predict": lambda x, net, **more: fastbptt.predict(net, x, **more),
    "evaluate": lambda x, net, **more: fastbptt.evaluate(net, x, Y, **more),
    "diagnose": lambda x, net, **more: fastbptt.diagnose(net, x, Y, dtype=None, **more),
    "validation": lambda x, net, **more: fastbptt.fit(
        net, 0 * TIMES, Y, epochs=1, validation=(x, Y, *more.values()), verbose=0
    ),
    "train_step": lambda x, net, **more: net.train_step(x, Y, fastbptt.Adam(), **more),
    "a list": lambda x, net, **_: net.train_step(list(x), Y, fastbptt.Adam()),
    "integers": lambda x, net, **more: net.train_step(
        x.astype(np.int64), Y, fastbptt.Adam(), **more
    ),
    "lists of predict": lambda x, net, **_: fastbptt.predict(net, list(x)),
}


def padded(x: Any) -> Any:
    return np.where(np.arange(6)[:, np.newaxis] < 3, x, 1e30)


@pytest.mark.parametrize("name", CALLS)
def test_numbers_that_are_lost_are_noted(name: str) -> None:
    call = CALLS[name]
    text = r"x has differences of up to 58 between .* float32 rounds to multiples of 128 .*column 0"
    with pytest.warns(UserWarning, match=text) as found:
        call(TIMES, model())
    assert found[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        call(TIMES, model("float64"))
        call(TIMES - 1.7e9, model())
        call(1e6 * (TIMES - 1.7e9) + 0.1, model())  # rounded, but the differences are far larger
        call(1.2345 + 1e-9 * TIMES, model())  # as of a feature that hardly moves
        if name != "integers":  # which nothing but float32 resolves no better
            call(TIMES.astype(np.float32), model())


@pytest.mark.parametrize("name", ["predict", "evaluate", "diagnose", "validation", "train_step"])
def test_padding_does_not_count(name: str) -> None:
    call = CALLS[name]
    with pytest.warns(UserWarning, match="differences of up to 52 between"):
        call(padded(TIMES), model(), lengths=ENDS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        call(padded(TIMES - 1.7e9), model(), lengths=ENDS)


def test_a_training_loop_is_told_once_and_fit_not_at_all() -> None:
    net, adam = model(), fastbptt.Adam()
    with pytest.warns(UserWarning, match="^y has differences of up to 4 between"):
        net.train_step(TIMES - 1.7e9, 1e9 + np.arange(5.0), adam, "mse")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net.train_step(TIMES, Y, adam)
        whole = np.concatenate([TIMES, 0 * TIMES])  # resolved as a whole, not in the first batch
        fastbptt.fit(net, whole, np.tile(Y, 2), batch_size=5, shuffle=False, epochs=1, verbose=0)
    with pytest.warns(UserWarning, match="^x has differences"):
        net.train_step(TIMES, Y, fastbptt.Adam())


def test_a_warning_that_is_an_error_leaves_no_trace() -> None:
    net, adam = model(), fastbptt.Adam()
    before = net.parameters.flat.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match=r"^x has differences"):
            net.train_step(TIMES, Y, adam)
    assert adam.step_count == 0 and (net.parameters.flat == before).all()


LONG = 2**60 + np.arange(60, dtype=np.int64).reshape(5, 6, 2)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", [np.int64, np.uint64])
@pytest.mark.parametrize("listed", [False, True])
def test_integers_beyond_float64(dtype: str, kind: Any, listed: bool) -> None:
    x = LONG.astype(kind)
    given = list(x) if listed else x
    text = r"^x has differences of up to 58 between numbers such as 11529.* float.* subtract"
    with pytest.raises(ValueError, match=text):
        fastbptt.fit(model(dtype), given, Y, epochs=1, verbose=0)
    with pytest.raises(ValueError, match=text):
        fastbptt.Standardizer().fit(given)
    near = [one - x.min() for one in x] if listed else x - x.min()
    fastbptt.fit(model(dtype), near, Y, epochs=1, verbose=0)
    assert (fastbptt.Standardizer().fit(near).scale_ > 10).all()


def test_integers_of_padding_do_not_count() -> None:
    x = np.where(np.arange(6)[:, np.newaxis] < 3, LONG - 2**60, LONG)
    standardizer = fastbptt.Standardizer().fit(x, ENDS)
    assert (standardizer.scale_ > 10).all()
