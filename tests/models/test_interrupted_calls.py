"""Exceptions from signal handlers: a step has happened as a whole or not at all, and calls end."""

from __future__ import annotations

import functools
import linecache
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import numpy as np
import pytest

import fastbptt

X = np.random.default_rng(0).normal(size=(3, 6, 2)).astype(np.float32)
Y = np.array([0.0, 1.0, 1.0])
FILES = ("recurrent.py", "truncated.py", "optimizers.py", "_dropout_seeds.py")

Optimizer = fastbptt.Adam | fastbptt.SGD | fastbptt.RMSprop


class TimeoutInHandlerError(Exception):
    pass


class RaisesAtLine:
    """Raises where a signal's handler may: at line number `wanted` that a call runs through."""

    def __init__(self, wanted: int) -> None:
        self.wanted = wanted
        self.seen = 0

    def __call__(self, frame: FrameType, event: str, argument: Any) -> Any:
        if not frame.f_code.co_filename.endswith(FILES):
            return None
        line = linecache.getline(frame.f_code.co_filename, frame.f_lineno)
        # Python runs no handler between a block and the exit of its `with`, where this would raise
        if event == "line" and not line.lstrip().startswith("with "):
            self.seen += 1
            if self.seen == self.wanted:
                sys.settrace(None)
                raise TimeoutInHandlerError
        return self

    def call(self, function: Callable[[], Any]) -> bool:
        """Whether the function was left by the exception."""
        before = sys.gettrace()
        sys.settrace(self)
        try:
            function()
        except TimeoutInHandlerError:
            return True
        finally:
            sys.settrace(before)
        return False


STEPS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "train_step": lambda m, o, s: m.train_step(X, Y, o),
    "with a limit": lambda m, o, s: m.train_step(X, Y, o, clip_norm=0.1, record="gradients"),
    "with a budget": lambda m, o, s: m.train_step(X, Y, o, memory_budget="1MB"),
    "with a state": lambda m, o, s: m.train_step(X, Y, o, state=s),
    "in chunks": lambda m, o, s: m.train_step(X, Y, o, bptt_steps=2, state=s),
    "optimizer.step": lambda m, o, s: o.step(m, np.ones(m.num_parameters, np.float32)),
    "loss_and_grad": lambda m, o, s: m.loss_and_grad(X, Y),
    "forward": lambda m, o, s: m.forward(X, training=True),
}


def everything(model: Any, optimizer: Any, state: Any) -> tuple[Any, ...]:
    moments = optimizer.m.flat if isinstance(optimizer, fastbptt.Adam) else np.zeros(0)
    bound = optimizer._binding is not None and optimizer._binding.owner is not None
    return (
        model.state_dict()["W_xh"].tobytes(),
        moments.tobytes(),
        optimizer.step_count,
        bound,
        model._dropout_seeds.state,
        state.tobytes(),
    )


@pytest.mark.parametrize("used_before", [False, True])
@pytest.mark.parametrize("name", STEPS)
def test_at_every_line_all_of_a_step_or_nothing(name: str, used_before: bool) -> None:
    wanted, stopped, found = 0, True, set()
    while stopped:
        wanted += 1
        model = fastbptt.GRU(2, 4, 1, num_layers=2, dropout=0.5, seed=0)
        adam, state = fastbptt.Adam(0.1), model.initial_state(3)
        if used_before:
            model.train_step(X, Y, adam)
        before = everything(model, adam, state)
        other = adam if name in ("loss_and_grad", "forward") else adam.copy()
        twin, its = model.copy(), state.copy()
        STEPS[name](twin, other, its)
        stopped = RaisesAtLine(wanted).call(functools.partial(STEPS[name], model, adam, state))
        after = everything(model, adam, state)
        assert after in (before, everything(twin, other, its)), f"line {wanted}"
        found.add(after == before)
    assert found == {False, True}
    assert wanted > 10


@contextmanager
def alarm(seconds: float) -> Iterator[None]:
    """By the clock on the wall.

    Linux counts the time of ITIMER_PROF in ticks, and a thread that yields its processor to busy
    neighbours may be elsewhere at each of them: after 0.4 s of it, 0.05 s were not over.
    """

    def handler(number: int, frame: FrameType | None) -> None:
        raise TimeoutInHandlerError

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


LONG = np.zeros((8, 30_000, 2), np.float32)
ENDS = np.zeros(8)
CALLS: dict[str, Callable[[Any, Any, Any, Any], Any]] = {
    "train_step": lambda m, o, x, y: m.train_step(x, y, o),
    "train_step with a budget": lambda m, o, x, y: m.train_step(x, y, o, memory_budget="60MB"),
    "train_step in chunks": lambda m, o, x, y: m.train_step(x, y, o, bptt_steps=10_000),
    "all steps": lambda m, o, x, y: m.train_step(x, x[:, :, 0], o, "mse", "all"),
    "loss": lambda m, o, x, y: m.loss(x, y),
    "loss_and_grad": lambda m, o, x, y: m.loss_and_grad(x, y, need_input_grad=True),
    "forward": lambda m, o, x, y: m.forward(x),
    "predict": lambda m, o, x, y: fastbptt.predict(m, x),
    "fit": lambda m, o, x, y: fastbptt.fit(m, x, y, optimizer=o, batch_size=8, verbose=0),
}


@pytest.mark.parametrize("name", CALLS)
def test_one_long_call_ends(name: str) -> None:
    model, adam = fastbptt.LSTM(2, 128, 1, seed=0), fastbptt.Adam()
    before = model.parameters.flat.copy()
    threads = fastbptt.get_num_threads()
    fastbptt.set_num_threads(1)
    start = time.process_time()  # what else the machine does is not counted
    try:
        with pytest.raises(TimeoutInHandlerError), alarm(0.05):
            CALLS[name](model, adam, LONG, ENDS)
    finally:
        fastbptt.set_num_threads(threads)
    assert time.process_time() - start < 0.05 + 0.3
    assert (model.parameters.flat == before).all()
    assert adam.step_count == 0
    short = model.train_step(X, Y, adam)  # and nothing is left of it in the next call
    assert short == fastbptt.LSTM(2, 128, 1, seed=0).train_step(X, Y, fastbptt.Adam())


@pytest.mark.parametrize("name", ["train_step", "all steps", "loss", "forward"])
def test_one_long_call_ends_whose_threads_meet_at_each_step(name: str) -> None:
    """They share the units of one sequence."""
    model, adam = fastbptt.LSTM(2, 128, 1, seed=0), fastbptt.Adam()
    threads = fastbptt.get_num_threads()
    fastbptt.set_num_threads(2)
    start = time.process_time()  # of both
    try:
        with pytest.raises(TimeoutInHandlerError), alarm(0.05):
            CALLS[name](model, adam, np.zeros((1, 200_000, 2), np.float32), ENDS[:1])
        assert time.process_time() - start < 0.05 + 2 * 0.3
        assert adam.step_count == 0
        twin = fastbptt.LSTM(2, 128, 1, seed=0)
        assert model.loss(LONG[:1, :600], ENDS[:1]) == twin.loss(LONG[:1, :600], ENDS[:1])
    finally:
        fastbptt.set_num_threads(threads)


def test_a_long_prediction_ends_on_all_threads() -> None:
    """Each worker has a workspace of its own, and the thread that called is the one that asks."""
    model = fastbptt.LSTM(2, 128, 1, seed=0)
    long = np.zeros((8, 120_000, 2), np.float32)
    threads = fastbptt.get_num_threads()
    fastbptt.set_num_threads(2)
    start = time.process_time()
    try:
        with pytest.raises(TimeoutInHandlerError), alarm(0.1):
            model.forward(long, backward=False)
        assert time.process_time() - start < 1.5, "a tenth of a second on each thread, and the rest"
        assert (model.forward(X, backward=False).outputs == model.forward(X).outputs).all()
    finally:
        fastbptt.set_num_threads(threads)


def test_a_handler_that_trains_is_refused_and_one_that_reads_is_not() -> None:
    model, adam, seen = fastbptt.LSTM(2, 128, 1, seed=0), fastbptt.Adam(), []

    def handler(number: int, frame: FrameType | None) -> None:
        seen.append(model.state_dict())
        model.train_step(X, Y, adam)

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        with pytest.raises(ValueError, match="the model cannot change in a signal handler"):
            model.train_step(LONG, ENDS, adam)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len(seen) == 1
    assert adam.step_count == 0
