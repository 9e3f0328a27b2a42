from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

import fastbptt


def pytest_configure() -> None:
    # A shell starts what runs in the background with Ctrl-C ignored, and children inherit that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


class Bench:
    """A small model after one training step, with a batch that fits it."""

    def __init__(
        self,
        dtype: str = "float32",
        output_size: int | None = 1,
        model: fastbptt.Recurrent | None = None,
        x: Any = None,
    ) -> None:
        rng = np.random.default_rng(5)
        self.model = model or fastbptt.RNN(2, 5, output_size, dtype=dtype, seed=1)
        self.adam = fastbptt.Adam(lr=0.01)
        self.x: Any = rng.normal(size=(3, 4, 2)).astype(dtype) if x is None else x
        self.y = rng.uniform(size=(3, output_size or 5)).astype(dtype)
        self.classes = rng.integers(0, output_size or 5, size=3)
        self.model.train_step(self.x, self.y, self.adam)

    def state(self) -> tuple[Any, ...]:
        """Return every bit of the model and its optimiser."""
        return (
            self.model.parameters.flat.tobytes(),
            self.adam.m.flat.tobytes(),
            self.adam.v.flat.tobytes(),
            self.adam.step_count,
            repr(self.adam),
            self.model._keys.state,
        )

    @contextmanager
    def refuses(self, error: type[Exception], message: str) -> Iterator[None]:
        """Expect exactly this message, and that nothing changes."""
        before = self.state()
        with pytest.raises(error) as caught:
            yield
        assert str(caught.value) == message
        assert self.state() == before

    @contextmanager
    def refuses_with(self, error: type[Exception], *parts: str) -> Iterator[None]:
        """Expect a message that begins with the first part and holds the others."""
        before = self.state()
        with pytest.raises(error) as caught:
            yield
        text = str(caught.value)
        assert text.startswith(parts[0]), text
        assert all(part in text for part in parts), text
        assert "\n" not in text
        assert self.state() == before


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def run_script() -> Callable[[str], subprocess.CompletedProcess[str]]:
    """Run Python code in a process of its own."""

    def run(code: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", code]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    return run
