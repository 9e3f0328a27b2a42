"""What several attacks need: small data, models to attack, and the bits of their states."""

from __future__ import annotations

import io
import os
import pickle
import sys
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np

import fastbptt

Bits = tuple[Any, ...]

RNG = np.random.default_rng(3)
X = RNG.normal(size=(12, 6, 2)).astype(np.float32)
Y = RNG.integers(0, 3, 12)
LENGTHS = RNG.integers(1, 7, 12)


def bits(model: fastbptt.Recurrent, optimizer: Any = None) -> Bits:
    """All that training changes, bit by bit."""
    seeds, frozen = model._dropout_seeds.state, tuple(sorted(model.frozen))
    found: Bits = (model.parameters.flat.tobytes(), seeds, frozen)
    if optimizer is None:
        return found
    bound = optimizer._binding
    moments = () if bound is None else tuple(a.tobytes() for _, a in sorted(bound.moments.items()))
    return (*found, moments, optimizer.step_count)


def small(rng: np.random.Generator) -> tuple[fastbptt.Recurrent, Any]:
    """A model with dropout and noise, and an optimiser, new ones each time for the same draws."""
    cell = str(rng.choice(["gru", "lstm", "rnn"]))
    model = fastbptt.Recurrent(
        cell, 2, int(rng.integers(2, 20)), 3, num_layers=2, dropout=0.2, recurrent_dropout=0.1,
        seed=int(rng.integers(1 << 30)),
    )  # fmt: skip
    rule = fastbptt.OPTIMIZERS[str(rng.choice(list(fastbptt.OPTIMIZERS)))]
    return model, rule(0.01)


def many(seed: int) -> Callable[[int], fastbptt.Recurrent]:
    """Make models of one architecture by their numbers."""
    hidden = 2 + seed % 18
    return lambda k: fastbptt.GRU(2, hidden, 3, num_layers=2, dropout=0.2, seed=seed + k)


def train(model: fastbptt.Recurrent, optimizer: Any) -> float:
    return model.train_step(X, Y, optimizer, "cross_entropy", lengths=LENGTHS)


def fit(model: fastbptt.Recurrent, optimizer: Any, **options: Any) -> Any:
    given: dict[str, Any] = {"epochs": 3, "batch_size": 4, "verbose": 0} | options
    return fastbptt.fit(
        model, X, Y, loss="cross_entropy", lengths=LENGTHS, optimizer=optimizer, **given
    )


def in_child(function: Callable[[], Any], then: Callable[[int], None] | None = None) -> Any:
    """What a function gives in a forked child, after something was done to it; None if killed."""
    reads, writes = os.pipe()
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reads)
            content = pickle.dumps(function())
            with open(writes, "wb") as pipe:
                pipe.write(content)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    os.close(writes)
    if then is not None:
        then(child)
    with open(reads, "rb") as pipe:
        content = pipe.read()
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status) and then is not None:
        return None
    assert status == 0, f"a child ended with status {status}"
    return pickle.load(io.BytesIO(content))
