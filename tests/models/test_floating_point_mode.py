"""The floating-point mode of the caller: read before and after every call, in several threads."""

from __future__ import annotations

import ctypes
import platform
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import fastbptt
from fastbptt import _core

SUBNORMAL = np.array([1e-40, 3e-39], np.float32)
X = np.random.default_rng(0).normal(size=(40, 30, 5))
Y = (np.arange(40) % 2).astype(float)


def mode() -> tuple[bytes, bool, bool]:
    """The control bits of SSE where they can be read, and what becomes of subnormal numbers."""
    bits = b""
    if platform.system() == "Linux" and platform.machine() == "x86_64":
        environment = (ctypes.c_uint32 * 8)()  # glibc's fenv_t, which ends in MXCSR
        assert ctypes.CDLL(None).fegetenv(environment) == 0
        bits = (environment[7] & 0xFFC0).to_bytes(4, "little")  # without the flags of exceptions
    flushes = bool(((SUBNORMAL * np.float32(0.5)) == 0).any())
    reads_zero = bool(((SUBNORMAL * np.float32(2**100)) == 0).any())
    return bits, flushes, reads_zero


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = fastbptt.get_num_threads()
    fastbptt.set_num_threads(request.param)
    yield request.param
    fastbptt.set_num_threads(before)


def calls() -> dict[str, Callable[[], Any]]:
    model, adam = fastbptt.LSTM(5, 64, 1, seed=0), fastbptt.Adam()
    out = model.forward(X)

    def refused() -> None:
        with pytest.raises(ValueError, match="not finite"):
            model.loss(np.full((1, 2, 5), np.nan), [0.0])

    return {
        "train_step": lambda: model.train_step(X, Y, adam),
        "loss_and_grad": lambda: model.loss_and_grad(X, Y),
        "loss": lambda: model.loss(X, Y),
        "refused": refused,
        "forward": lambda: model.forward(X).outputs,
        "backward": lambda: model.backward(out, np.ones((40, 30, 1))),
        "predict": lambda: fastbptt.predict(model, X),
        "step": lambda: model.step(X[:, 0], model.initial_state(40)),
        "optimizer.step": lambda: adam.step(model, np.ones(model.num_parameters)),
        "fit": lambda: fastbptt.fit(model, X, Y, epochs=1, verbose=0),
        "fit_many": lambda: fastbptt.fit_many(
            lambda k: fastbptt.RNN(5, 8, 1, seed=k), X, Y, count=3, epochs=1, verbose=0
        ),
        "diagnose": lambda: fastbptt.diagnose(model, X[:4], Y[:4]),
        "tanh": lambda: _core.tanh(np.ones(100)),
        "load_state_dict": lambda: model.load_state_dict(model.state_dict()),
    }


def test_no_call_changes_it(threads: int) -> None:
    before = mode()
    assert before[1:] == (False, False), "the tests themselves run with subnormal numbers"
    for name, call in calls().items():
        call()
        assert mode() == before, name


def test_no_call_changes_that_of_another_thread(threads: int) -> None:
    found: list[Any] = []

    def work() -> None:
        found.append(mode())
        for call in calls().values():
            call()
            found.append(mode())

    before = mode()
    others = [threading.Thread(target=work) for _ in range(2)]
    for one in others:
        one.start()
    while any(one.is_alive() for one in others):
        assert mode() == before
    assert len(found) == 2 * (1 + len(calls()))
    assert {*found} == {before}


@pytest.mark.skipif(platform.machine() != "x86_64", reason="sets the mode of x86-64")
@pytest.mark.skipif(platform.system() != "Linux", reason="through glibc")
def test_a_mode_of_the_callers_own_stays(threads: int) -> None:
    """Flush to zero, as torch.set_flush_denormal sets it, with the same results as without."""
    library, environment = ctypes.CDLL(None), (ctypes.c_uint32 * 8)()
    model = fastbptt.GRU(5, 64, 1, seed=0)
    expected = model.loss_and_grad(X, Y)[1].flat.tobytes()
    library.fegetenv(environment)
    before = environment[7]
    try:
        environment[7] = before | 0x8040
        library.fesetenv(environment)
        flushing = mode()
        assert flushing[1:] == (True, True)
        assert model.loss_and_grad(X, Y)[1].flat.tobytes() == expected
        assert mode() == flushing
    finally:
        environment[7] = before
        library.fesetenv(environment)
    assert mode()[1:] == (False, False)
