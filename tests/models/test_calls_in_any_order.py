"""What one call leaves behind does not reach the next one, of whatever kind that is.

A model that has been through other calls gives the bits of a model that has not.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastbptt

I, H, O = 3, 7, 2
RNG = np.random.default_rng(0)
X = {(b, t): RNG.normal(size=(b, t, I)).astype("f4") for b, t in ((4, 9), (2, 9), (4, 5))}
Y = {(b, t): RNG.integers(0, O, (b, t)) for b, t in X}
LENGTHS = {4: np.array([3, 9, 1, 5]), 2: np.array([2, 8])}
SHORT = {4: np.array([3, 5, 1, 2]), 2: np.array([1, 5])}


def model_of(**options: Any) -> fastbptt.Recurrent:
    given = {"num_layers": 2, "dropout": 0.4, "seed": 3} | options
    return fastbptt.Recurrent("gru", I, H, O, **given)


def problem(batch: int, time: int, steps: str, ragged: bool) -> tuple[Any, Any, Any]:
    """x, y, and what else a loss takes."""
    y = Y[batch, time]
    lengths = None if not ragged else (LENGTHS if time == 9 else SHORT)[batch]
    options = {"loss": "cross_entropy", "steps": steps, "lengths": lengths}
    return X[batch, time], y if steps == "all" else y[:, 0], options


def call_loss(m: fastbptt.Recurrent, *where: Any) -> list[Any]:
    x, y, options = problem(*where)
    return [m.loss(x, y, **options)]


def call_grad(m: fastbptt.Recurrent, *where: Any, **more: Any) -> list[Any]:
    x, y, options = problem(*where)
    loss, grads = m.loss_and_grad(x, y, training=False, **options, **more)
    return [loss, grads.flat.copy(), *([] if grads.x is None else [grads.x.copy()])]


def call_forward(m: fastbptt.Recurrent, *where: Any) -> list[Any]:
    x, _, options = problem(*where)
    result = m.forward(x, options["lengths"])
    return [result.outputs, result.hidden, result.last, result.final_state]


def call_backward(m: fastbptt.Recurrent, *where: Any) -> list[Any]:
    x, _, options = problem(*where)
    result = m.forward(x, options["lengths"])
    grads = m.backward(result, np.ones_like(result.outputs))
    return [grads.flat.copy()]


def call_train(m: fastbptt.Recurrent, *where: Any, **more: Any) -> list[Any]:
    """A step whose update is undone."""
    x, y, options = problem(*where)
    before = m.state_dict()
    loss = m.train_step(x, y, fastbptt.SGD(0.5), **options, **more)
    after = m.parameters.flat.copy()
    m.load_state_dict(before)
    return [loss, after]


def call_more(m: fastbptt.Recurrent, **more: Any) -> list[Any]:
    x, y, options = problem(4, 9, "all", True)
    loss, grads = m.loss_and_grad(x, y, training=False, **options, **more)
    return [loss, grads.flat.copy(), m.loss(x, y, **options, **more)]


def call_other_loss(m: fastbptt.Recurrent) -> list[Any]:
    y = np.eye(O)[Y[4, 9]]
    loss, grads = m.loss_and_grad(X[4, 9], y, "bce", "all", "sum", training=False)
    return [loss, grads.flat.copy(), m.loss(X[4, 9], y[:, 0] * 3, "mse", "last", "sequence_mean")]


def call_recorded(m: fastbptt.Recurrent) -> list[Any]:
    x, y, options = problem(4, 9, "last", True)
    loss, grads = m.loss_and_grad(x, y, training=False, record="gradients", **options)
    seen = m.last_gradients
    assert seen is not None
    return [loss, grads.flat.copy(), seen.hidden, seen.gates]


def call_refused(m: fastbptt.Recurrent) -> list[Any]:
    """Calls that find something wrong in the middle of their work."""
    x, y, options = problem(4, 9, "all", True)
    for wrong_x, wrong_y in ((np.full_like(x, np.nan), y), (x, np.full_like(y, O))):
        with pytest.raises(ValueError, match=r"^[xy]"):
            m.loss_and_grad(wrong_x, wrong_y, training=False, **options)
    return []


def call_step(m: fastbptt.Recurrent, batch: int, time: int, *_: Any) -> list[Any]:
    state = m.initial_state(batch)
    return [m.step(X[batch, time][:, t], state) for t in range(3)]


CALLS: dict[str, Callable[[fastbptt.Recurrent], list[Any]]] = {
    "ragged": lambda m: call_loss(m, 4, 9, "all", True),
    "even": lambda m: call_loss(m, 4, 9, "all", False),
    "even last": lambda m: call_loss(m, 4, 9, "last", False),
    "ragged last": lambda m: call_grad(m, 4, 9, "last", True, need_input_grad=True),
    "even grad": lambda m: call_grad(m, 4, 9, "all", False, need_input_grad=True),
    "smaller": lambda m: call_grad(m, 2, 9, "all", False),
    "smaller ragged": lambda m: call_grad(m, 2, 9, "last", True),
    "shorter": lambda m: call_grad(m, 4, 5, "all", False),
    "shorter ragged": lambda m: call_loss(m, 4, 5, "all", True),
    "forward": lambda m: call_forward(m, 4, 9, "all", False),
    "forward ragged": lambda m: call_forward(m, 4, 9, "all", True),
    "backward": lambda m: call_backward(m, 4, 9, "all", False),
    "backward ragged": lambda m: call_backward(m, 4, 9, "all", True),
    "step": lambda m: call_step(m, 2, 9),
    "weighted": lambda m: call_more(m, sample_weight=[0.5, 0.0, 3.0, 1.0]),
    "from a state": lambda m: call_more(m, h0=np.full((m.initial_state(4).shape), 0.7, "f4")),
    "other loss": lambda m: call_other_loss(m),
    "recorded": lambda m: call_recorded(m),
    "within a budget": lambda m: call_grad(
        m, 4, 9, "all", True, memory_budget=m.minimum_memory(4, 9)
    ),
    "refused": lambda m: call_refused(m),
}
TRAINING: dict[str, Callable[[fastbptt.Recurrent], list[Any]]] = {
    "train": lambda m: call_train(m, 4, 9, "all", False),
    "train ragged": lambda m: call_train(m, 4, 9, "last", True),
    "train clipped": lambda m: call_train(m, 4, 9, "all", False, clip_norm=0.01),
    "train cut": lambda m: call_train(m, 4, 9, "all", True, bptt_steps=2),
    "train recorded": lambda m: call_train(m, 4, 9, "all", False, record="gradients"),
    "train budget": lambda m: call_train(
        m, 4, 9, "all", True, memory_budget=m.minimum_memory(4, 9)
    ),
    "train smaller": lambda m: call_train(m, 2, 9, "all", False),
}


def same(got: list[Any], expected: list[Any]) -> None:
    assert len(got) == len(expected)
    for one, other in zip(got, expected, strict=True):
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes()


@pytest.mark.parametrize("bidirectional", [False, True])
def test_every_call_after_every_other(bidirectional: bool) -> None:
    def model() -> fastbptt.Recurrent:
        return model_of(bidirectional=bidirectional)

    of_one_direction = ("step", "within a budget") if bidirectional else ()
    calls = {name: call for name, call in CALLS.items() if name not in of_one_direction}
    expected = {name: call(model()) for name, call in calls.items()}
    kept = model()  # one that has been through all of them
    for first, second in itertools.product(calls, repeat=2):
        calls[first](kept)
        same(calls[second](kept), expected[second])


@pytest.mark.parametrize("before", TRAINING)
def test_every_call_after_a_training_step(before: str) -> None:
    """Dropout, clipping, recording, chunks and windows of one call are over with it."""
    kept = model_of()
    for name, call in CALLS.items():
        TRAINING[before](kept)
        try:
            same(call(kept), call(model_of()))
        except AssertionError:
            raise AssertionError(f"{name} after {before}") from None


@pytest.mark.parametrize("before", [*CALLS, *TRAINING])
@pytest.mark.parametrize("after", TRAINING)
def test_a_training_step_after_every_call(before: str, after: str) -> None:
    kept, fresh = model_of(dropout=0.0), model_of(dropout=0.0)
    (CALLS | TRAINING)[before](kept)
    same(TRAINING[after](kept), TRAINING[after](fresh))


def test_masks_follow_the_number_of_training_passes_alone() -> None:
    kept, fresh = model_of(), model_of()
    for call in CALLS.values():
        call(kept)
    for name in ("train", "train smaller", "train"):
        same(TRAINING[name](kept), TRAINING[name](fresh))
        call_loss(kept, 4, 9, "all", True)
    first, again = (TRAINING["train"](kept) for _ in range(2))
    assert first[0] != again[0]


@pytest.mark.parametrize("steps", ["last", "all"])
def test_a_ragged_batch_then_an_even_one_of_the_same_shape(steps: str) -> None:
    kept = model_of()
    call_loss(kept, 4, 9, steps, True)
    same(call_loss(kept, 4, 9, steps, False), call_loss(model_of(), 4, 9, steps, False))


def test_gradients_of_the_input_are_those_that_are_asked_for() -> None:
    x, y, options = problem(4, 9, "all", False)
    model = model_of()
    assert model.loss_and_grad(x, y, **options)[1].x is None
    asked = model.loss_and_grad(x, y, **options, need_input_grad=True)[1].x
    assert asked is not None and asked.any()
    assert model.loss_and_grad(x, y, **options)[1].x is None


def test_two_results_of_forward_at_once() -> None:
    """A second pass does not write where the first one's result still lies."""
    model = model_of()
    one = model.forward(X[4, 9])
    other = model.forward(X[4, 9] * 2, LENGTHS[4])
    fresh = model_of()
    expected = fresh.forward(X[4, 9])
    assert (one.outputs == expected.outputs).all()
    assert (one.outputs != other.outputs).any()
    got = model.backward(one, np.ones_like(one.outputs)).flat
    assert (got == fresh.backward(expected, np.ones_like(one.outputs)).flat).all()


def test_weights_that_are_set_between_calls_count() -> None:
    """Nothing of the weights is kept from call to call: by name, in place, and after freezing."""
    x, y, options = problem(4, 9, "all", False)
    kept = model_of(dropout=0.0)
    for change in (1.5, 0.5):
        fresh = model_of(dropout=0.0, seed=7)
        for model in (kept, fresh):
            model.load_state_dict({k: v * change for k, v in model_of().state_dict().items()})
        same([kept.loss(x, y, **options)], [fresh.loss(x, y, **options)])
        same([kept.forward(x).last], [fresh.forward(x).last])
        got, wanted = (m.step(x[:, 0], m.initial_state(4)) for m in (kept, fresh))
        same([got], [wanted])
