"""SIGKILL at random moments while a model is saved, and in runs of `fit` and `fit_many` with
checkpoints: a file is the old or the new one, and a run goes on to the bits of one in one go.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np

import fastbptt

from ._common import LENGTHS, X, Y, bits, fit, in_child, many, small, train

Seconds = float


def _after(seconds: Seconds) -> Any:
    def kill(child: int) -> None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)

    return kill


def _saving(seed: int, folder: Path, rng: random.Random) -> int:
    """A file that is written over and over, each time after one more step."""
    model, optimizer = small(np.random.default_rng(seed))
    path, states = folder / "model", [bits(model)]
    twin, its = small(np.random.default_rng(seed))
    for _ in range(60):
        train(twin, its)
        states.append(bits(twin))
    model.save(path)

    def write() -> None:
        for _ in range(60):
            train(model, optimizer)
            model.save(path, optimizer)

    reached = in_child(lambda: write() or True, _after(rng.random() * 0.05))
    found = fastbptt.load(path)
    assert bits(found) in states, "a killed save has left a model that never was"
    assert len(os.listdir(folder)) <= 2, os.listdir(folder)  # one file that was being written
    return reached is None


def _whole(run: Any) -> Any:
    reached = in_child(run)
    assert reached is not None
    return reached


def _fit(seed: int, folder: Path, rng: random.Random) -> int:
    path = folder / "run"

    def run(**options: Any) -> Any:
        model, optimizer = small(np.random.default_rng(seed))
        history = fit(model, optimizer, epochs=4, **options)
        return bits(model, optimizer), list(history.curves["loss"])

    expected, kills = _whole(run), 0
    every = rng.choice([0, 0.002, "epoch"])
    for _ in range(6):
        found = in_child(
            lambda: run(checkpoint=path, checkpoint_every=every, resume=True),
            _after(rng.random() * 0.02),
        )
        if found is not None:
            assert found == expected, "a run after kills has other bits"
            break
        kills += 1
    found = _whole(lambda: run(checkpoint=path, checkpoint_every=every, resume=True))
    assert found == expected, "a run after kills has other bits"
    return kills


def _fit_many(seed: int, folder: Path, rng: random.Random) -> int:
    path = folder / "runs"
    every = rng.choice([None, 0.002, "epoch"])

    def run(**options: Any) -> Any:
        fits = fastbptt.fit_many(
            many(seed), X, Y, count=5, each={"seed": range(5)}, loss="cross_entropy",
            lengths=LENGTHS, epochs=3, batch_size=4, verbose=0, jobs=2, **options,
        )  # fmt: skip
        return [(bits(one.model), list(one.history.curves["loss"])) for one in fits]

    expected, kills = _whole(run), 0
    for _ in range(4):
        found = in_child(
            lambda: run(checkpoint=path, checkpoint_every=every, resume=True),
            _after(rng.random() * 0.03),
        )
        if found is not None:
            assert found == expected, "models after kills have other bits"
            break
        kills += 1
    found = _whole(lambda: run(checkpoint=path, checkpoint_every=every, resume=True))
    assert found == expected, "models after kills have other bits"
    return kills


KINDS = (_saving, _fit, _fit_many)


def attack(seed: int, folder: Path) -> int:
    """Return the number of kills."""
    rng, cases = random.Random(seed), 0
    for kind in KINDS:
        own = folder / kind.__name__
        own.mkdir()
        cases += kind(seed, own, rng)
        shutil.rmtree(own)
    return cases
