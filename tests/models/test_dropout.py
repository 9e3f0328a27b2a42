"""Dropout between layers: on in training, off in prediction, the same again from the same seed."""

from __future__ import annotations

import copy
import pickle
import threading
from typing import Any

import numpy as np
import pytest
from networks import close, next_masks, parts

import fastbptt
from fastbptt import reference
from fastbptt.models._dropout_seeds import DropoutSeeds

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 6, 2))
Y = RNG.normal(size=(3, 1))


def make(seed: int = 0, **options: Any) -> fastbptt.GRU:
    given = {"num_layers": 3, "dropout": 0.4, "dtype": "float64", **options}
    return fastbptt.GRU(2, 5, 1, seed=seed, **given)


def test_off_in_prediction() -> None:
    model = make()
    plain = fastbptt.GRU(2, 5, 1, num_layers=3, dtype="float64", seed=0)
    assert model.parameters.flat.tobytes() == plain.parameters.flat.tobytes()
    assert model.forward(X).outputs.tobytes() == plain.forward(X).outputs.tobytes()
    assert model.loss(X, Y, "mse") == plain.loss(X, Y, "mse")
    with_out = model.loss_and_grad(X, Y, "mse", training=False)
    without = plain.loss_and_grad(X, Y, "mse")
    assert (with_out[0], with_out[1].flat.tobytes()) == (without[0], without[1].flat.tobytes())
    state = model.initial_state(3)
    for t in range(6):
        y = model.step(X[:, t], state)
    assert y.tobytes() == model.forward(X).last.tobytes() or np.allclose(y, model.forward(X).last)
    assert model._dropout_seeds.state[1] == 0


def test_on_in_training_with_masks_by_the_formula() -> None:
    model = make(bidirectional=True)
    net: dict[str, Any] = {"cell": "gru", "num_layers": 3, "bidirectional": True}
    params = dict(model.parameters)
    for _ in range(3):
        masks = next_masks(model, 3, 6)
        assert 0.1 < np.mean([mask == 0 for mask in masks]) < 0.7
        out = model.forward(X, training=True)
        close(out.outputs, reference.forward(params, X, masks=masks, **net).outputs, 1e-12)
        masks = next_masks(model, 3, 6)
        expected, wanted = reference.loss_and_grad(params, X, Y, "mse", masks=masks, **net)
        loss, grads = model.loss_and_grad(X, Y, "mse")
        assert loss == pytest.approx(expected, rel=1e-12)
        for name in params:
            close(grads[name], wanted[name])
    assert model._dropout_seeds.state[1] == 6


def test_backward_uses_the_masks_of_its_forward() -> None:
    model = make()
    twin = model.copy()
    out = model.forward(X, training=True)
    model.forward(X, training=True)
    up = 2 * (out.last - Y) / 3
    grads = model.backward(out, d_last=up)
    close(grads.flat, twin.loss_and_grad(X, Y, "mse")[1].flat, 1e-10)


def test_fresh_masks_for_each_pass() -> None:
    model = make()
    losses = {model.loss(X, Y, "mse", training=True) for _ in range(20)}
    assert len(losses) == 20


def test_same_seed_same_run() -> None:
    def run(seed: int) -> list[float]:
        model, adam = make(seed), fastbptt.Adam()
        return [model.train_step(X, Y, adam, "mse") for _ in range(5)]

    assert run(3) == run(3)
    assert run(3) != run(4)


@pytest.mark.parametrize("how", ["copy", "deepcopy", "pickle", "file"])
def test_copies_go_on_alike(how: str, tmp_path: Any) -> None:
    model, adam = make(), fastbptt.Adam()
    for _ in range(3):
        model.train_step(X, Y, adam, "mse")

    def through_a_file() -> Any:
        model.save(tmp_path / "model")
        return fastbptt.load(tmp_path / "model")

    twin: Any = {
        "copy": model.copy,
        "deepcopy": lambda: copy.deepcopy(model),
        "pickle": lambda: pickle.loads(pickle.dumps(model)),
        "file": through_a_file,
    }[how]()
    other = adam.copy()
    assert twin._dropout_seeds.state == model._dropout_seeds.state
    assert model._dropout_seeds.state[1] == 3
    for _ in range(3):
        assert twin.train_step(X, Y, other, "mse") == model.train_step(X, Y, adam, "mse")
    assert twin.parameters.flat.tobytes() == model.parameters.flat.tobytes()


def test_a_refused_pass_uses_no_mask() -> None:
    model, adam = make(), fastbptt.Adam()
    bad = np.full_like(X, np.nan)
    calls = [
        lambda x: model.forward(x, training=True),
        lambda x: model.loss(x, Y, "mse", training=True),
        lambda x: model.loss_and_grad(x, Y, "mse"),
        lambda x: model.train_step(x, Y, adam, "mse"),
        lambda x: model.train_step(x, Y, adam, "mse", bptt_steps=2),
    ]
    for count, call in enumerate(calls):
        with pytest.raises(ValueError, match="x holds a value that is not finite"):
            call(bad)
        assert model._dropout_seeds.state[1] == count
        call(X)
        assert model._dropout_seeds.state[1] == (count + 1 if count < 4 else 7)


def test_only_the_latest_seed_can_be_given_back() -> None:
    seeds = DropoutSeeds(used=True)
    seeds.state = (7, 0)
    taken: list[int] = []
    first, second = seeds.take(taken), seeds.take(taken)
    assert taken == [first, second]
    seeds.give_back(taken[:1])  # the second is in use: no other pass may get it
    assert seeds.state == (7, 2)
    seeds.give_back(taken)
    seeds.give_back(taken)
    assert seeds.state == (7, 0)
    assert seeds.take(taken) == first


def test_threads_never_share_a_mask() -> None:
    model = make()
    losses: list[float] = []

    def work() -> None:
        losses.extend([model.loss(X, Y, "mse", training=True) for _ in range(50)])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(losses)) == 200
    assert model._dropout_seeds.state[1] == 200


def test_share_of_zeros() -> None:
    model = fastbptt.RNN(2, 50, num_layers=2, dropout=0.3, init="identity", seed=0)
    masks = next_masks(model, 40, 50)[0]
    assert (masks == 0).mean() == pytest.approx(0.3, abs=0.005)
    assert masks.mean() == pytest.approx(1.0, abs=0.01)
    state = model.forward(np.ones((2, 3, 2)), training=True).final_state
    assert parts(state)[0].shape == (2, 2, 50)


def test_one_layer_has_none() -> None:
    with pytest.warns(UserWarning, match=r"^dropout=0.5 has no effect with num_layers=1") as caught:
        model = fastbptt.LSTM(2, 3, 1, dropout=0.5, seed=0)
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match="no effect") as caught:
        fastbptt.Recurrent("lstm", 2, 3, 1, dropout=0.5, seed=0)
    assert caught[0].filename == __file__
    x = np.ones((2, 3, 2))
    assert model.loss(x, [0, 1]) == model.loss(x, [0, 1], training=True)
    model.copy()  # silent
