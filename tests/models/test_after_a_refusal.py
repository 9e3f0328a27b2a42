"""What is refused in the middle of a call leaves no trace in the next one, nor does what is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastbptt

X = np.random.default_rng(0).normal(size=(3, 6, 2)).astype(np.float32)
Y = np.array([0, 1, 1])
NAN = np.full_like(X, np.nan)


def model_of() -> fastbptt.Recurrent:
    return fastbptt.GRU(2, 4, 1, num_layers=2, dropout=0.5, seed=0)


REFUSED: dict[str, Callable[[fastbptt.Recurrent, fastbptt.Optimizer], Any]] = {
    "train_step": lambda m, o: m.train_step(NAN, Y, o),
    "in a late chunk": lambda m, o: m.train_step(
        np.concatenate([X[:, :4], NAN[:, :2]], axis=1), Y, o, bptt_steps=2
    ),
    "targets": lambda m, o: m.train_step(X, Y + 5, o),
    "loss_and_grad": lambda m, o: m.loss_and_grad(NAN, Y),
    "loss": lambda m, o: m.loss(NAN, Y, training=True),
    "forward": lambda m, o: m.forward(NAN, training=True),
}


@pytest.mark.parametrize("name", REFUSED)
def test_masks_weights_and_moments_are_as_before(name: str) -> None:
    found = []
    for refused in (False, True):
        model, adam = model_of(), fastbptt.Adam(0.1)
        model.train_step(X, Y, adam)
        if refused:
            with pytest.raises(ValueError, match=r"^[xy]"):
                REFUSED[name](model, adam)
        losses = [model.train_step(X, Y, adam) for _ in range(3)]
        found.append((losses, model.parameters.flat.tobytes(), adam.m.flat.tobytes()))
        assert adam.step_count == 4
    assert found[0] == found[1]


def test_what_was_recorded_stays_until_the_next_record() -> None:
    model, adam = model_of(), fastbptt.Adam(0.1)
    model.train_step(X, Y, adam, record="gradients")
    first = model.last_gradients
    assert first is not None
    kept = first.hidden.copy()
    model.train_step(X, Y, adam)
    model.loss_and_grad(X, Y)
    again = model.last_gradients
    assert again is not None and (again.hidden == kept).all()
    model.train_step(X, Y, adam, record="gradients")
    other = model.last_gradients
    assert other is not None and (other.hidden != kept).any()
    assert (first.hidden == kept).all()


@pytest.mark.parametrize("name", ["adam", "sgd", "rmsprop"])
def test_step_and_train_step_take_turns(name: str) -> None:
    """Moments go on from one to the other."""
    found = []
    for turn in ((0, 0, 0, 0), (1, 1, 1, 1), (0, 1, 0, 1), (1, 0, 0, 1)):
        model = fastbptt.RNN(2, 4, 1, seed=0)
        optimizer = {
            "adam": fastbptt.Adam(0.1),
            "sgd": fastbptt.SGD(0.1, momentum=0.9),
            "rmsprop": fastbptt.RMSprop(0.1, momentum=0.5),
        }[name]
        for given in turn:
            if given:
                optimizer.step(model, model.loss_and_grad(X, Y)[1])
            else:
                model.train_step(X, Y, optimizer)
        assert optimizer.step_count == 4
        found.append(model.parameters.flat.copy())
    for other in found[1:]:
        assert (other == found[0]).all()


def test_of_a_clipped_step_the_gradient_is_scaled_once() -> None:
    """By norm and by value, and by nothing in the step after it."""
    for options in ({"clip_norm": 0.01}, {"clip_value": 0.001}, {"clip_norm": 0.0}, {}):
        model, sgd = fastbptt.RNN(2, 4, 1, dtype="float64", seed=0), fastbptt.SGD(1.0)
        for given in (options, {}, options):
            before = model.parameters.flat.copy()
            gradient = model.loss_and_grad(X, Y)[1].flat
            size = np.linalg.norm(gradient)
            assert size > 0.01 and np.abs(gradient).max() > 0.001
            if "clip_norm" in given:
                gradient = gradient * (given["clip_norm"] / size)
            elif given:
                gradient = np.clip(gradient, -0.001, 0.001)
            try:
                model.train_step(X, Y, sgd, **given)
            except ValueError:  # a limit of 0 may not be one
                assert 0.0 in given.values()
                continue
            np.testing.assert_allclose(before - model.parameters.flat, gradient, atol=1e-15)
