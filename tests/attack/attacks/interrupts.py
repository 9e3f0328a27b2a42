"""Ctrl-C, or a handler that raises, at random moments of a training: the state is that before an
update or after it, and training goes on from there to the same bits.
"""

from __future__ import annotations

import random
import signal
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

import fastbptt

from ._common import LENGTHS, X, Y, bits, fit, many, small, train

STEPS = 120


class RaisedInHandlerError(Exception):
    pass


def _raise(number: int, frame: FrameType | None) -> None:
    raise RaisedInHandlerError


def _interrupted(function: Any, after: float, handler: Any) -> bool:
    """Call a function, which a signal may meet; whether one came before its end."""
    came = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal came
        came = True
        handler(number, frame)

    before = signal.signal(signal.SIGALRM, handle)
    try:
        try:
            signal.setitimer(signal.ITIMER_REAL, after)
            function()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except (KeyboardInterrupt, RaisedInHandlerError):
        pass
    finally:
        signal.signal(signal.SIGALRM, before)
    return came


def _press(number: int, frame: FrameType | None) -> None:
    """Ctrl-C, as the handlers of the package's own calls see it."""
    signal.raise_signal(signal.SIGINT)


def _steps(seed: int, rng: random.Random) -> int:
    twin, its = small(np.random.default_rng(seed))
    states = [bits(twin, its)]
    for _ in range(STEPS):
        train(twin, its)
        states.append(bits(twin, its))
    model, optimizer = small(np.random.default_rng(seed))

    def steps() -> None:
        while optimizer.step_count < STEPS:
            train(model, optimizer)

    cases = 0
    for _ in range(4):
        cases += _interrupted(steps, rng.random() * 0.02 + 1e-4, rng.choice((_press, _raise)))
        count = optimizer.step_count
        found = bits(model, optimizer)
        assert found == states[count] or (count == 0 and found[:3] == states[0][:3]), (
            f"after an interrupt the state is not that of step {count}"
        )
    steps()
    assert bits(model, optimizer) == states[STEPS], "interrupts have changed what follows"
    return cases


def _fit(seed: int, rng: random.Random, folder: Path) -> int:
    path = folder / "run"
    path.unlink(missing_ok=True)
    twin, its = small(np.random.default_rng(seed))
    whole = fit(twin, its, epochs=6)
    start, _ = small(np.random.default_rng(seed))
    cases = 0
    for _ in range(3):
        model, optimizer = start.copy(), type(its)(0.01)
        cases += _interrupted(
            lambda m=model, o=optimizer: fit(
                m, o, epochs=6, checkpoint=path, checkpoint_every=0.003, resume=True
            ),
            rng.random() * 0.03 + 1e-4,
            rng.choice((_press, _raise)),
        )
    model, optimizer = start.copy(), type(its)(0.01)
    history = fit(model, optimizer, epochs=6, checkpoint=path, resume=True)
    assert bits(model, optimizer) == bits(twin, its), "a run after interrupts has other bits"
    assert list(history.curves["loss"]) == list(whole.curves["loss"])
    return cases


def _fit_many(seed: int, rng: random.Random, folder: Path) -> int:
    def run(count: int, **options: Any) -> Any:
        return fastbptt.fit_many(
            many(seed), X, Y, count=count, jobs=2,
            loss="cross_entropy", lengths=LENGTHS, epochs=3, batch_size=4, verbose=0, **options,
        )  # fmt: skip

    path = folder / "runs"
    expected = [bits(one.model) for one in run(4)]
    cases = 0
    for _ in range(3):
        cases += _interrupted(
            lambda: run(4, checkpoint=path, checkpoint_every="epoch", resume=True),
            rng.random() * 0.03 + 1e-4,
            _press,
        )
    found = run(4, checkpoint=path, checkpoint_every="epoch", resume=True)
    assert [bits(one.model) for one in found] == expected, "models after interrupts differ"
    return cases


def attack(seed: int, folder: Path) -> int:
    """Return the number of interrupts."""
    rng = random.Random(seed)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return _steps(seed, rng) + _fit(seed, rng, folder) + _fit_many(seed, rng, folder)
    finally:
        signal.signal(signal.SIGINT, before)
