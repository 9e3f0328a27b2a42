"""Tasks for a long memory: what they ask can be read off them, and a model can be trained."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastbptt
from fastbptt.datasets import (
    SyntheticTask,
    make_adding,
    make_copy,
    make_delayed_xor,
    make_temporal_order,
)

MAKERS: dict[str, Callable[..., SyntheticTask]] = {
    "adding": make_adding,
    "copy": make_copy,
    "delayed xor": make_delayed_xor,
    "temporal order": make_temporal_order,
}


@pytest.mark.parametrize("name", MAKERS)
def test_ready_for_a_model(name: str) -> None:
    task = MAKERS[name](5, 30, seed=0)
    model = fastbptt.RNN(task.input_size, 7, task.output_size, seed=0)
    adam = fastbptt.Adam()
    loss = model.train_step(task.x, task.y, adam, **task.arguments)
    assert math.isfinite(loss)
    assert task.x.dtype == np.float32
    assert task.x.shape[2] == task.input_size
    assert task.x.flags.c_contiguous


@pytest.mark.parametrize("name", MAKERS)
def test_seeds(name: str) -> None:
    make = MAKERS[name]
    one, other = make(50, 20, seed=3), make(50, 20, seed=3)
    assert np.array_equal(one.x, other.x)
    assert np.array_equal(one.y, other.y)
    rng = np.random.default_rng(3)
    first, second = make(50, 20, seed=rng), make(50, 20, seed=rng)
    assert np.array_equal(first.x, one.x)
    assert first.x.shape != second.x.shape or not np.array_equal(first.x, second.x)
    assert not np.array_equal(make(50, 20, seed=4).y, one.y)


@pytest.mark.parametrize("length", [2, 3, 50])
def test_adding(length: int) -> None:
    task = make_adding(400, length, seed=0)
    values, marks = task.x[..., 0], task.x[..., 1]
    assert task.x.shape == (400, length, 2)
    assert task.y.shape == (400, 1)
    assert ((values >= 0) & (values < 1)).all()
    half = length // 2
    assert set(np.unique(marks)) <= {0, 1}
    assert (marks[:, :half].sum(axis=1) == 1).all()
    assert (marks[:, half:].sum(axis=1) == 1).all()
    assert marks.any(axis=0).all()  # every step is marked in some sequence
    np.testing.assert_allclose((values * marks).sum(axis=1), task.y[:, 0], rtol=1e-6)
    assert (task.loss, task.steps, task.lengths) == ("mse", "last", None)


def test_copy() -> None:
    task = make_copy(50, 20, tokens=True, seed=0)
    assert task.x.shape == task.y.shape == (50, 40)
    assert task.x.dtype == task.y.dtype == np.int64
    assert set(task.x[:, :10].ravel().tolist()) == set(range(8))
    assert (task.x[:, 10:29] == 8).all()
    assert (task.x[:, 29] == 9).all()
    assert (task.x[:, 30:] == 8).all()
    assert (task.y[:, :30] == 8).all()
    assert np.array_equal(task.y[:, 30:], task.x[:, :10])
    assert (task.input_size, task.output_size) == (10, 9)
    vectors = make_copy(50, 20, seed=0)
    assert np.array_equal(vectors.x.argmax(axis=2), task.x)
    assert (vectors.x.sum(axis=2) == 1).all()
    assert np.array_equal(vectors.y, task.y)
    short = make_copy(2, 1, symbols=3, memorize=2, tokens=True, seed=0)
    assert short.x[:, 2:].tolist() == [[4, 3, 3]] * 2


@pytest.mark.parametrize("length", [2, 15, 50])
def test_delayed_xor(length: int) -> None:
    task = make_delayed_xor(2000, length, seed=0)
    bits, marks = task.x[..., 0], task.x[..., 1]
    early = max(length // 10, 2)
    assert set(np.unique(bits)) == {0, 1}
    assert set(np.unique(marks)) <= {0, 1}
    assert (marks[:, :early].sum(axis=1) == 2).all()
    assert not marks[:, early:].any()
    assert marks[:, :early].any(axis=0).all()
    assert early == 2 or not marks.all(axis=0).any()
    places = np.nonzero(marks)[1].reshape(-1, 2)
    assert set((places[:, 1] - places[:, 0]).tolist()) == set(range(1, early))
    assert np.array_equal((bits * marks).sum(axis=1) % 2, task.y[:, 0])
    assert 0.45 < task.y.mean() < 0.55


@pytest.mark.parametrize("length", [10, 100])
def test_temporal_order(length: int) -> None:
    task = make_temporal_order(500, length, tokens=True, seed=0)
    assert task.lengths is not None
    tenth = length // 10
    assert set(task.lengths.tolist()) == set(range(length, length + tenth + 1))
    for row, end, y in zip(task.x, task.lengths.tolist(), task.y.tolist(), strict=True):
        assert row[0] == 6
        assert row[end - 1] == 7
        assert not row[end:].any()
        inner = row[1 : end - 1]
        assert inner.max() < 6
        first, second = np.flatnonzero(inner >= 4) + 1
        assert tenth <= first <= 2 * tenth
        assert 5 * tenth <= second <= 6 * tenth
        assert y == 2 * (row[first] - 4) + row[second] - 4
    assert set(task.y.tolist()) == {0, 1, 2, 3}
    matters = (task.x == 4) | (task.x == 5)
    places = {*range(tenth, 2 * tenth + 1), *range(5 * tenth, 6 * tenth + 1)}
    assert set(np.flatnonzero(matters.any(axis=0)).tolist()) == places
    vectors = make_temporal_order(500, length, seed=0)
    ended = np.arange(vectors.x.shape[1]) >= task.lengths[:, None]
    assert np.array_equal(vectors.x.sum(axis=2) == 0, ended)
    assert np.array_equal(vectors.x.argmax(axis=2), task.x)


def test_lengths_by_default() -> None:
    lengths = [make(1, seed=0).x.shape[1] for make in MAKERS.values()]
    assert lengths[:3] == [200, 220, 200]
    assert 100 <= lengths[3] <= 110


def test_baselines_are_what_the_best_ignorant_answer_costs() -> None:
    n = 20_000
    adding = make_adding(n, 4, seed=0)
    assert np.mean((adding.y - 1) ** 2) == pytest.approx(adding.baseline, rel=0.02)
    assert adding.baseline == pytest.approx(0.1667, abs=1e-4)
    copy = make_copy(1, 200, seed=0)
    assert copy.baseline == pytest.approx(10 * math.log(8) / 220)
    assert make_delayed_xor(1, 4, seed=0).baseline == pytest.approx(math.log(2))
    assert make_temporal_order(1, 10, seed=0).baseline == pytest.approx(math.log(4))


@pytest.mark.parametrize(
    ("make", "arguments", "error", "message"),
    [
        (make_adding, {"n": 0}, ValueError, "n is 0; expected at least 1"),
        (make_adding, {"n": 1, "length": 1}, ValueError, "length is 1; expected at least 2"),
        (
            make_adding,
            {"n": 1, "length": 2.5},
            TypeError,
            "length is 2.5; expected a whole number of at least 1",
        ),
        (make_copy, {"n": 1, "delay": 0}, ValueError, "delay is 0; expected at least 1"),
        (make_copy, {"n": 1, "symbols": 0}, ValueError, "symbols is 0; expected at least 1"),
        (make_copy, {"n": 1, "tokens": 1}, TypeError, "tokens is 1; expected True or False"),
        (make_delayed_xor, {"n": 1, "length": 1}, ValueError, "length is 1; expected at least 2"),
        (
            make_temporal_order,
            {"n": 1, "length": 9},
            ValueError,
            "length is 9; expected at least 10",
        ),
    ],
)
def test_wrong_arguments(
    make: Any, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        make(**arguments)
