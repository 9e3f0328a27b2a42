"""The forward pass alone: the same bits as one that keeps its activations, whatever it keeps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastbptt
from fastbptt._core import cells

B, T, I = 23, 160, 3  # more rows than one stretch of time holds


def networks(cell: str, seed: int) -> fastbptt.Recurrent:
    rng = np.random.default_rng((1, seed))
    return fastbptt.Recurrent(
        cell,
        I,
        int(rng.choice([1, 5, 8, 16, 20, 33, 40, 70])),
        rng.choice([None, 1, 3]),
        num_layers=int(rng.integers(1, 4)),
        bidirectional=bool(rng.integers(2)),
        learn_initial_state=bool(rng.integers(2)),
        dtype=str(rng.choice(["float32", "float64"])),
        alpha=0.3 if cell.startswith("leaky") else None,
        seed=seed,
    )


def states(out: Any) -> tuple[Any, ...]:
    found = out.final_state
    return found if isinstance(found, tuple) else (found,)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("cell", cells())
def test_same_bits_as_the_pass_that_keeps_all(cell: str, seed: int) -> None:
    model, rng = networks(cell, seed), np.random.default_rng(seed)
    for count, time in ((B, T), (B, 7), (1, T), (1, 6), (1, 1), (600, 3)):
        x = rng.normal(size=(count, time, I))
        lengths = rng.integers(1, time + 1, count) if rng.integers(2) else None
        resets = rng.random((count, time)) < 0.1
        given: dict[str, Any] = {} if model.bidirectional else {"resets": resets}
        whole = model.forward(x, lengths, **given)
        with threads(int(rng.integers(1, 4))):
            alone = model.forward(x, lengths, **given, backward=False)
        assert np.array_equal(alone.outputs, whole.outputs)
        assert np.array_equal(alone.last, whole.last)
        for one, other in zip(states(alone), states(whole), strict=True):
            assert np.array_equal(one, other)


class threads:  # noqa: N801
    def __init__(self, count: int) -> None:
        self.count, self.before = count, fastbptt.get_num_threads()

    def __enter__(self) -> None:
        fastbptt.set_num_threads(self.count)

    def __exit__(self, *error: object) -> None:
        fastbptt.set_num_threads(self.before)


@pytest.mark.parametrize("steps", ["mean", "max"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_pooling_over_stretches(steps: str, bidirectional: bool) -> None:
    model = fastbptt.GRU(I, 6, 2, num_layers=2, bidirectional=bidirectional, seed=0)
    x, y = np.random.default_rng(0).normal(size=(B, T, I)), np.zeros((B, 2))
    found = fastbptt.predict(model, x, steps=steps)
    assert model.loss(x, y, "mse", steps) == pytest.approx(np.square(found).mean(), rel=1e-6)
    hidden = model.forward(x).hidden
    pooled = hidden.mean(axis=1) if steps == "mean" else hidden.max(axis=1)
    expected = pooled @ model.parameters["W_hy"] + model.parameters["b_y"]
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("steps", ["last", "all", "mean", "max"])
def test_the_loss_has_the_same_bits_with_and_without_its_gradient(steps: str) -> None:
    model = fastbptt.LSTM(I, 9, 2, num_layers=2, seed=0)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(B, T, I)), rng.normal(size=(B, T, 2) if steps == "all" else (B, 2))
    lengths = rng.integers(1, T + 1, B)
    given = {"loss": "mse", "steps": steps, "lengths": lengths}
    assert model.loss(x, y, **given) == model.loss_and_grad(x, y, **given)[0]


def test_memory_does_not_grow_with_time() -> None:
    model = fastbptt.LSTM(1, 64, 1, seed=0)
    x = np.zeros((1, 200_000, 1), np.float32)
    before = peak()
    out = model.forward(x, backward=False)
    assert peak() - before < 20e6  # all activations would be 358 MB
    assert out.outputs.shape == (1, 200_000, 1)


def peak() -> float:
    with open("/proc/self/status", encoding="ascii") as status:
        line = next(line for line in status if line.startswith("VmHWM"))
    return 1024 * float(line.split()[1])


def test_what_was_not_kept() -> None:
    model = fastbptt.RNN(I, 4, 1, seed=0)
    out = model.forward(np.ones((2, 5, I)), backward=False)
    with pytest.raises(AttributeError, match="does not keep the hidden states"):
        _ = out.hidden
    with pytest.raises(ValueError, match=r"out comes from forward\(.., backward=False\)"):
        model.backward(out, d_outputs=out.outputs)
    assert "2 sequences of up to 5 steps" in repr(out)
    plain = fastbptt.RNN(I, 4, seed=0).forward(np.ones((2, 5, I)), backward=False)
    assert plain.hidden is plain.outputs
