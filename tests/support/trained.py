"""A small trained model, and what a refused call must leave as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

import fastbptt


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
            self.model._dropout_seeds.state,
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
