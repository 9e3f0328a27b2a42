"""Many sequences at a time: all threads, the bits of one at a time, batches of bounded memory."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import fastbptt
from fastbptt.training.batches import BatchLimit, evaluation_batches, evaluation_limit

RNG = np.random.default_rng(7)
COUNT, INPUTS, UNITS = 90, 3, 70
LENGTHS = RNG.integers(5, 90, COUNT)  # so many steps that a call computes them in several windows
SEQUENCES = [RNG.normal(size=(length, INPUTS)).astype(np.float32) for length in LENGTHS]
TOKENS = [RNG.integers(0, 9, length) for length in LENGTHS]
CONSTANTS = RNG.normal(size=(COUNT, 2))


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = fastbptt.get_num_threads()
    yield
    fastbptt.set_num_threads(before)


NETWORKS: dict[str, dict[str, Any]] = {
    "rnn": {},
    "lstm": {"num_layers": 2, "learn_initial_state": True},
    "gru": {"bidirectional": True},
    "gru_before": {"static_size": 2},
    "relu": {"embedding": 9, "num_layers": 2, "dropout": 0.5},
}


@pytest.mark.parametrize("steps", ["last", "all", "mean", "max"])
@pytest.mark.parametrize("cell", NETWORKS)
def test_the_bits_are_those_of_one_at_a_time(cell: str, steps: str) -> None:
    options = NETWORKS[cell]
    model = fastbptt.Recurrent(cell, INPUTS, UNITS, 2, seed=3, **options)
    x = TOKENS if "embedding" in options else SEQUENCES
    static = CONSTANTS if "static_size" in options else None
    fastbptt.set_num_threads(1)
    alone = [
        fastbptt.predict(
            model, [one], steps=steps, static=None if static is None else static[i : i + 1]
        )[0]
        for i, one in enumerate(x)
    ]
    for count in (1, 2, 3, 7):
        fastbptt.set_num_threads(count)
        found = fastbptt.predict(model, x, steps=steps, static=static)
        assert all((a == b).all() for a, b in zip(found, alone, strict=True)), count


@pytest.mark.parametrize("cell", ["rnn", "lstm"])
def test_forward_without_a_backward_pass_in_any_order(cell: str) -> None:
    """The state at the end and all outputs, of sequences that start from states of their own."""
    model = fastbptt.Recurrent(cell, INPUTS, UNITS, 2, seed=3, num_layers=2)
    start = RNG.normal(size=(2, COUNT, UNITS)).astype(np.float32)
    h0 = (start, start[::-1].copy()) if cell == "lstm" else start
    padded, marks = fastbptt.datasets.pad(SEQUENCES)[0], RNG.random((COUNT, LENGTHS.max())) < 0.05
    for extra in ({}, {"resets": marks}):
        fastbptt.set_num_threads(1)
        want = model.forward(padded, LENGTHS, h0, **extra)
        for count in (2, 5):
            fastbptt.set_num_threads(count)
            found = model.forward(padded, LENGTHS, h0, backward=False, **extra)
            assert (found.outputs == want.outputs).all()
            assert (found.last == want.last).all()
            for a, b in zip(
                *(
                    one.final_state if cell == "lstm" else [one.final_state]
                    for one in (found, want)
                ),
                strict=True,
            ):
                assert (np.asarray(a) == np.asarray(b)).all()


@pytest.mark.parametrize("count", [1, 2, 4])
def test_an_error_names_the_callers_sequence(count: int) -> None:
    fastbptt.set_num_threads(count)
    model = fastbptt.LSTM(INPUTS, UNITS, 2, seed=3)
    x = [one.copy() for one in SEQUENCES]
    x[77][3, 1] = np.nan
    with pytest.raises(ValueError, match=r"at index \(77, 3, 1\)"):
        fastbptt.predict(model, x)
    assert np.isfinite(fastbptt.predict(model, SEQUENCES)).all()  # nothing of it is left


@pytest.mark.parametrize("steps", ["last", "all"])
def test_the_loss_depends_neither_on_batches_nor_on_threads(steps: str) -> None:
    model = fastbptt.GRU(INPUTS, UNITS, 2, seed=3)
    y = [np.cumsum(one[:, :2], axis=0) for one in SEQUENCES]
    target = y if steps == "all" else np.array([one[-1] for one in y])
    weight = RNG.random(COUNT)
    found = set()
    for size, count in itertools.product((None, 1, 7, 32), (1, 3)):
        fastbptt.set_num_threads(count)
        found.add(
            fastbptt.evaluate(
                model, SEQUENCES, target, loss="mse", steps=steps, sample_weight=weight,
                batch_size=size,
            )["loss"]
        )  # fmt: skip
    assert len(found) == 1


def test_the_loss_of_a_model_that_diverged_is_not_finite() -> None:
    model = fastbptt.RNN(INPUTS, UNITS, 1, dtype="float64", seed=3)
    model.parameters["b_y"][...] = 1e200
    found = fastbptt.evaluate(model, SEQUENCES, np.zeros(COUNT), loss="mse")
    assert found["loss"] == math.inf


def test_batches_keep_all_threads_busy_within_a_bound_of_memory() -> None:
    model = fastbptt.LSTM(8, 64, 2)
    for threads in (1, 2, 8, 64):
        limit = evaluation_limit(model, threads=threads)
        sizes = [len(one) for one in evaluation_batches(None, 100, np.arange(5000), limit)]
        assert sum(sizes) == 5000
        assert min(sizes) >= min(32 * threads, 5000) / 2, "the last one too"
        assert max(sizes) <= max(256, 32 * threads)
    long = evaluation_limit(model, threads=4)
    sizes = [len(one) for one in evaluation_batches(None, 1_000_000, np.arange(50), long)]
    assert sum(sizes) == 50
    assert max(sizes) == 4, "one for each thread, however long"
    assert long.steps * 4 * (8 + 2) <= 1 << 26
    assert evaluation_limit(model, least=700).least == 700, "at least a training batch"


def test_one_long_sequence_makes_no_batch_of_the_others_small() -> None:
    lengths = np.array([20, 1_000_000, *[20] * 998])
    batches = list(evaluation_batches(lengths, 1_000_000, np.arange(1000), BatchLimit(256, 10**6)))
    assert [len(one) for one in batches] == [1, 250, 250, 250, 249]
    assert batches[0][0] == 1
    assert sorted(np.concatenate(batches)) == list(range(1000))


def test_the_number_of_sequences_is_at_most_the_callers() -> None:
    rows = np.arange(10)
    assert [len(one) for one in evaluation_batches(None, 5, rows, BatchLimit(4))] == [4, 3, 3]
    assert [len(one) for one in evaluation_batches(None, 5, rows, BatchLimit(1))] == [1] * 10
