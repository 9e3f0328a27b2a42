"""Models saved to files that are open, and loaded from them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastbptt


def saved() -> tuple[fastbptt.Recurrent, fastbptt.Optimizer, bytes]:
    model, adam = fastbptt.GRU(2, 3, 1, seed=0), fastbptt.Adam(0.1)
    model.train_step(np.ones((2, 4, 2)), [0, 1], adam)
    file = io.BytesIO(b"mine")
    file.seek(4)
    model.save(file, adam)
    content = file.getvalue()
    assert content[:4] == b"mine"
    return model, adam, content[4:]


class Slow(io.RawIOBase):
    """Takes seven bytes at a time."""

    content = b""

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.content += bytes(data[:7])
        return len(data[:7])


def test_an_open_file_holds_what_a_path_would(tmp_path: Path) -> None:
    model, adam, content = saved()
    model.save(tmp_path / "model", adam)
    assert (tmp_path / "model").read_bytes() == content
    slow = Slow()
    model.save(slow, adam)  # type: ignore[arg-type]
    assert slow.content == content
    with open(tmp_path / "model", "rb") as file:
        loaded = fastbptt.load(file)
    optimizer = fastbptt.load_optimizer(io.BytesIO(content))
    assert loaded.parameters.flat.tobytes() == model.parameters.flat.tobytes()
    assert optimizer.step_count == 1


def test_what_is_no_binary_file_of_a_model() -> None:
    model, _, content = saved()
    text = io.StringIO()
    with pytest.raises(TypeError, match=r'path is a file of text \(StringIO\); .* mode "wb"'):
        model.save(text)  # type: ignore[arg-type]
    assert text.getvalue() == ""
    with pytest.raises(TypeError, match=r'path is a file of text \(StringIO\); .* mode "rb"'):
        fastbptt.load(io.StringIO("a"))  # type: ignore[arg-type]
    for damaged in (b"", content[:-1], content + b"x", content[:-1] + b"x"):
        with pytest.raises(ValueError, match="cannot load the open file <_io"):
            fastbptt.load(io.BytesIO(damaged))
    for value in (3, None):
        with pytest.raises(TypeError, match="path is of type"):
            fastbptt.load(value)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="path is of type"):
            model.save(value)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_not_loaded(value: float) -> None:
    model = fastbptt.GRU(2, 3, 1, seed=0)
    state, before = model.state_dict(), model.parameters.flat.copy()
    state["W_hh"][1, 4] = value
    with pytest.raises(
        fastbptt.ArgumentError,
        match=rf"state\['W_hh'\] holds a value that is not finite \({value}\) at index \(1, 4\)",
    ):
        model.load_state_dict(state)
    np.testing.assert_array_equal(model.parameters.flat, before)
