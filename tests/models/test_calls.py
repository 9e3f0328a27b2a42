"""The structures of a call, and the errors that cross from C++ as data."""

from __future__ import annotations

import copy
import math
import pickle
import sys
from typing import Any

import numpy as np
import pytest

import fastbptt
from fastbptt import _core

STRUCTURES = (
    _core.Batch,
    _core.Objective,
    _core.Clip,
    _core.Update,
    _core.Probes,
    _core.GradientTargets,
    _core.OutputGradients,
)


def call(model: fastbptt.RNN) -> tuple[_core.Batch, _core.Objective]:
    x, y = np.ones((2, 3, 4), np.float32), np.zeros((2, 1), np.float32)
    return model._checked(x, y, "mse", "last", "mean", None, None, None, True)


@pytest.fixture
def model() -> fastbptt.RNN:
    return fastbptt.RNN(4, 5, 1, seed=0)


def test_fields_are_given_by_name_and_do_not_change() -> None:
    x = np.ones((1, 1, 1))
    batch = _core.Batch(x, check_finite=False, lengths=None)
    assert batch.x is x
    assert (batch.lengths, batch.initial, batch.dropout_seed) == (None, None, None)
    assert batch.check_finite is False
    with pytest.raises(AttributeError):
        batch.x = x  # type: ignore[misc]
    for structure in STRUCTURES:
        with pytest.raises(TypeError, match=r"has no field 'nothing'"):
            structure(nothing=1)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("arguments", "fields", "message"),
    [
        ((), {}, "Batch needs x"),
        ((1, 2), {}, "Batch takes 1 positional arguments; 2 were given"),
        ((1,), {"x": 2}, "Batch was given 'x' twice"),
        ((1,), {"y": 2}, "Batch has no field 'y'"),
    ],
)
def test_a_wrong_batch(arguments: tuple[Any, ...], fields: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError) as caught:
        _core.Batch(*arguments, **fields)
    assert str(caught.value) == f"fastbptt._core.{message}"


def test_replacing_fields_leaves_the_others_and_the_original() -> None:
    first = _core.Batch(np.ones(1), dropout_seed=3)
    second = first.replace(check_finite=False, dropout_seed=4)
    assert second.x is first.x
    assert (first.dropout_seed, first.check_finite) == (3, True)
    assert (second.dropout_seed, second.check_finite) == (4, False)
    for wrong in ({"y": 1}, {"nothing": None}):
        with pytest.raises(TypeError, match="has no field"):
            first.replace(**wrong)
    with pytest.raises(TypeError, match="keywords only"):
        first.replace(np.ones(1))  # type: ignore[call-arg]


def test_a_structure_keeps_its_fields_alive_and_lets_them_go() -> None:
    x = np.ones((1, 1, 1))
    before = sys.getrefcount(x)
    for _ in range(100):
        batch = _core.Batch(x, check_finite=False)
        batch.replace(dropout_seed=1)
        with pytest.raises(TypeError):
            _core.Batch(x, y=x)  # type: ignore[call-arg]
    assert sys.getrefcount(x) == before + 1
    del batch
    assert sys.getrefcount(x) == before


def test_the_core_takes_nothing_else_than_its_structures(model: fastbptt.RNN) -> None:
    batch, objective = call(model)
    for wrong in ((objective, objective), (batch, batch), (None, objective), (batch, None)):
        with pytest.raises(TypeError, match=r"was given; expected a fastbptt\._core\."):
            model._engine.loss(*wrong)


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"x": np.ones((2, 3, 5), np.float32)}, ValueError),
        ({"x": np.ones((2, 3), np.float32)}, ValueError),
        ({"x": np.ones((0, 3, 4), np.float32)}, ValueError),
        ({"x": np.ones((2, 3, 4), np.int64)}, TypeError),
        ({"x": [[1.0]]}, TypeError),
        ({"lengths": np.array([1], np.int64)}, ValueError),
        ({"lengths": np.array([1, 4], np.int64)}, ValueError),
        ({"lengths": np.array([0, 1], np.int64)}, ValueError),
        ({"lengths": np.array([3, 3, 1, 1], np.int64)[::2]}, ValueError),
        ({"lengths": np.array([1.0, 1.0])}, TypeError),
        ({"initial": ()}, ValueError),
        ({"initial": (np.ones((1, 3, 5), np.float32),)}, ValueError),
    ],
)
def test_the_core_checks_shapes_itself(
    model: fastbptt.RNN, fields: dict[str, Any], error: type[Exception]
) -> None:
    batch, objective = call(model)
    with pytest.raises(error):
        model._engine.loss(batch.replace(**fields), objective)


def test_the_core_checks_what_it_writes_to(model: fastbptt.RNN) -> None:
    batch, objective = call(model)
    count = model.num_parameters
    fixed = np.zeros(count, np.float32)
    fixed.flags.writeable = False
    for wrong in (
        np.zeros(count - 1, np.float32),
        np.zeros(count),
        np.zeros(2 * count, np.float32)[::2],
        fixed,
    ):
        with pytest.raises((ValueError, TypeError)):
            model._engine.loss_and_grad(batch, objective, _core.GradientTargets(wrong))
    targets = _core.GradientTargets(np.zeros(count, np.float32))
    for name in ("hidden", "gates", "d_hidden", "d_gates", "saved", "outputs", "norm"):
        probes = _core.Probes(**{name: np.zeros(7)})
        with pytest.raises((ValueError, TypeError)):
            model._engine.loss_and_grad(batch, objective, targets, probes)


# ---------------------------------------------------------------- errors


def test_an_error_of_the_core_carries_its_numbers(model: fastbptt.RNN) -> None:
    x = np.ones((2, 3, 4))
    x[1, 2, 3] = np.nan
    with pytest.raises(fastbptt.ArgumentError) as caught:
        model.forward(x)
    error = caught.value
    assert (error.argument, error.index, error.expected) == ("x", (1, 2, 3), "")
    assert isinstance(error.value, float)
    assert math.isnan(error.value)
    classes = fastbptt.RNN(4, 5, 2)
    with pytest.raises(fastbptt.ArgumentError) as caught:
        classes.loss(np.ones((2, 3, 4)), [1, 2], "cross_entropy")
    error = caught.value
    assert (error.argument, error.index, error.value) == ("y", (1,), 2)
    assert (error.problem, error.expected) == ("holds class 2", "classes 0 to 1")
    error.argument, error.index, error.source = "label", (7,), "a.csv"
    error.context.append("epoch 3, batch 2")
    text = "a.csv: label holds class 2 at index (7,); expected classes 0 to 1 (epoch 3, batch 2)"
    assert str(error) == str(copy.copy(error)) == str(pickle.loads(pickle.dumps(error))) == text


def test_the_type_of_an_argument_is_an_error_with_fields_too(model: fastbptt.RNN) -> None:
    with pytest.raises(fastbptt.ArgumentTypeError) as caught:
        model.forward([np.ones((3, 4)), np.full((2, 4), "a")])
    assert isinstance(caught.value, TypeError)
    assert (caught.value.argument, caught.value.item) == ("x", 1)


@pytest.mark.parametrize("steps", ["last", "all"])
def test_a_chunk_s_error_has_the_index_in_the_batch(model: fastbptt.RNN, steps: str) -> None:
    x = np.ones((3, 9, 4))
    x[2, 7, 1] = np.inf
    y = np.zeros((3, 9, 1) if steps == "all" else (3, 1))
    with pytest.raises(fastbptt.ArgumentError) as caught:
        model.train_step(x, y, fastbptt.SGD(), "mse", steps, lengths=[2, 9, 9], bptt_steps=4)
    assert caught.value.index == (2, 7, 1)
    assert caught.value.context == []


def test_fit_s_error_has_the_row_of_the_data(model: fastbptt.RNN) -> None:
    x, y = np.ones((40, 3, 4)), np.zeros(40)
    y[33] = np.nan
    with pytest.raises(fastbptt.ArgumentError) as caught:
        fastbptt.fit(model, x, y, loss="mse", epochs=1)
    assert (caught.value.argument, caught.value.index) == ("y", (33, 0))
    optimizer = fastbptt.SGD(lr=1e30)
    with pytest.raises(fastbptt.ArgumentError) as caught:
        fastbptt.fit(model, x[:8], y[:8] + 1e3, loss="mse", optimizer=optimizer, verbose=0)
    (remark,) = caught.value.context
    assert remark.startswith("epoch ")
    assert remark.endswith(", batch 1")
    assert caught.value.value is not None
