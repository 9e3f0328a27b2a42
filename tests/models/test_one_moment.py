"""Who reads while another thread trains sees the weights between two updates, never in one."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastbptt

I, H = 256, 512
X = np.ones((1, 1, I), np.float32)


def of_states(model: fastbptt.Recurrent) -> Any:
    return np.concatenate([value.ravel() for value in model.state_dict().values()])


READERS: dict[str, Callable[[fastbptt.Recurrent], Any]] = {
    "state_dict": of_states,
    "copy": lambda model: model.copy().parameters.flat,
    "forward": lambda model: model.forward(X).last[0],
    "gradient": lambda model: model.loss_and_grad(X, np.zeros((1, H)), "mse")[1]["b_h"],
    "step": lambda model: model.step(X[:, 0], model.initial_state(1))[0],
    "initial_state": lambda model: model.initial_state(1).ravel(),
}


READS = {
    "step": 1000,
    "state_dict": 200,
    "initial_state": 200,
}  # those that take little time may miss an update


@pytest.mark.parametrize("reader", READERS)
def test_readers_see_the_weights_of_one_update(reader: str) -> None:
    """All weights are one number, and each update adds 1 to all; so all units are alike."""
    learn = reader == "initial_state"
    model = fastbptt.Recurrent("relu", I, H, learn_initial_state=learn, seed=0)
    model.load_state_dict({name: np.ones_like(v) for name, v in model.state_dict().items()})
    optimizer = fastbptt.SGD(1.0)
    gradient = -np.ones(model.num_parameters, np.float32)
    over = threading.Event()

    def train() -> None:
        for number in itertools.count():
            if over.is_set():
                break
            if number % 1024 == 1023:
                gradient.fill(-gradient[0])  # there and back: numbers stay small
            optimizer.step(model, gradient)

    thread = threading.Thread(target=train)
    thread.start()
    read, seen = READERS[reader], set()
    try:
        for _ in range(READS.get(reader, 100)):
            values = np.asarray(read(model))
            assert (values == values[0]).all()
            seen.add(float(values[0]))
    finally:
        over.set()
        thread.join()
    assert len(seen) > 1, "no update came in between"
