"""Norms of gradients per step that a training step leaves: `record="gradients"`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from accuracy import HAS_BFLOAT16
from cases import CELLS, Array, Case, build, every_network
from flows import by_definition
from networks import both, model_of
from trained import Bench

import fastbptt

NETWORKS = [replace(case, dropout=0.0) for case in every_network(B=4, T=5, I=3, H=4)[::5]] + [
    Case(3, 6, 2, 19, 2, cell=cell, steps="all", with_lengths=True) for cell in CELLS
]


def norms(values: Array) -> Array:
    """Over the batch and the units."""
    result: Array = np.sqrt(np.square(values).sum(axis=(0, 2)))
    return result


@pytest.mark.parametrize("case", NETWORKS, ids=str)
def test_norms_are_those_of_the_reference(case: Case) -> None:
    model, problem = both(case)
    _, grads = model.loss_and_grad(problem.x, problem.y, **problem.loss_args, record="gradients")
    record = model.last_gradients
    assert record is not None
    assert record.hidden.shape == record.gates.shape == (len(record.pass_names), case.T)
    for i, flow in enumerate(by_definition(case, problem)):
        np.testing.assert_allclose(record.hidden[i], norms(flow.d_hidden), rtol=1e-9, atol=1e-18)
        np.testing.assert_allclose(record.gates[i], norms(flow.d_gates), rtol=1e-9, atol=1e-18)
    assert record.norm == pytest.approx(float(np.linalg.norm(grads.flat)), rel=1e-12)
    if problem.lengths is None:
        assert record.lengths is None
    else:
        assert (record.lengths == problem.lengths).all()


def test_names_of_passes() -> None:
    model = fastbptt.GRU(2, 3, 1, num_layers=2, bidirectional=True, seed=0)
    assert model.last_gradients is None
    model.train_step(np.ones((1, 4, 2)), [1.0], fastbptt.Adam(), record="gradients")
    record = model.last_gradients
    assert record is not None
    assert record.pass_names == ("l0", "l0_reverse", "l1", "l1_reverse")
    assert repr(record).startswith("GradientRecord(4 passes, 4 steps, norm ")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cell", CELLS)
def test_nothing_else_changes(cell: str, dtype: str) -> None:
    case = Case(7, 30, 3, 20, 2, cell=cell, num_layers=2, dropout=0.2, bidirectional=True)
    problem = build(case, dtype)
    plain = model_of(case, dtype)
    looked = plain.copy()
    for model, how in ((plain, {}), (looked, {"record": "gradients"})):
        adam = fastbptt.Adam()
        for _ in range(3):
            model.train_step(problem.x, problem.y, adam, clip_norm=0.1, **how)
    assert plain.parameters.flat.tobytes() == looked.parameters.flat.tobytes()
    assert plain.last_gradients is None
    one, first = plain.loss_and_grad(problem.x, problem.y)
    two, second = looked.loss_and_grad(problem.x, problem.y, record="gradients")
    assert one == two
    assert first.flat.tobytes() == second.flat.tobytes()


def recorded(model: fastbptt.Recurrent, *args: Any, **how: Any) -> tuple[bytes, bytes, float]:
    model.train_step(*args, fastbptt.Adam(), record="gradients", **how)
    record = model.last_gradients
    assert record is not None
    return record.hidden.tobytes(), record.gates.tobytes(), record.norm


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("ragged", [False, True])
def test_threads_do_not_change_a_bit(bidirectional: bool, ragged: bool) -> None:
    model = fastbptt.LSTM(8, 40, 2, bidirectional=bidirectional, seed=0)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(16, 60, 8)).astype("f4"), rng.integers(0, 2, 16)
    lengths = rng.integers(1, 61, 16) if ragged else None
    before = fastbptt.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3, 8):
            fastbptt.set_num_threads(threads)
            found.append(recorded(model.copy(), x, y, loss="cross_entropy", lengths=lengths))
    finally:
        fastbptt.set_num_threads(before)
    assert len(set(found)) == 1


@pytest.mark.parametrize("lengths", [None, [2000, 7, 1500]])
def test_windows_of_time_do_not_change_a_bit(lengths: list[int] | None) -> None:
    model = fastbptt.GRU(2, 20, 1, num_layers=2, seed=0)
    x = np.random.default_rng(0).normal(size=(3, 2000, 2))
    whole = recorded(model.copy(), x, [0, 1, 1], lengths=lengths)
    looked = model.copy()
    least = 2 * looked.minimum_memory(3, 2000)
    assert recorded(looked, x, [0, 1, 1], lengths=lengths, memory_budget=least) == whole
    assert looked.last_report is not None
    assert looked.last_report.segments > 1


def test_chunks_are_put_side_by_side() -> None:
    model = fastbptt.LSTM(2, 5, 1, seed=0)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(4, 10, 2)), rng.normal(size=(4, 10, 1))
    lengths = [10, 3, 6, 8]
    twin, adam = model.copy(), fastbptt.Adam()
    model.train_step(
        x, y, fastbptt.Adam(), "mse", "all", "sum", lengths, bptt_steps=4, record="gradients"
    )
    whole = model.last_gradients
    assert whole is not None
    assert whole.hidden.shape == (1, 10)
    largest = 0.0
    states = list(twin.initial_state(4))
    for first in range(0, 10, 4):
        rows = [b for b in range(4) if lengths[b] > first]
        inside = [min(lengths[b] - first, 4) for b in rows]
        part = (rows, slice(first, first + 4))
        carried = tuple(np.ascontiguousarray(state[:, rows]) for state in states)
        twin.train_step(
            x[part], y[part], adam, "mse", "all", "sum", inside, state=carried, record="gradients"
        )
        for state, new in zip(states, carried, strict=True):
            state[:, rows] = new
        record = twin.last_gradients
        assert record is not None
        steps = slice(first, first + 4)
        np.testing.assert_array_equal(whole.hidden[:, steps], record.hidden)
        np.testing.assert_array_equal(whole.gates[:, steps], record.gates)
        largest = max(largest, record.norm)
    assert whole.norm == largest


def test_a_chunk_without_a_loss_has_no_gradient() -> None:
    model = fastbptt.RNN(2, 5, 1, seed=0)
    x = np.random.default_rng(0).normal(size=(2, 10, 2))
    model.train_step(x, [0, 1], fastbptt.Adam(), bptt_steps=4, record="gradients")
    record = model.last_gradients
    assert record is not None
    assert (record.hidden[:, :8] == 0).all()
    assert (record.hidden[:, 8:] > 0).all()


def test_squares_do_not_underflow() -> None:
    model = fastbptt.RNN(1, 4, 1, init=("normal", 0.0), dtype="float64")
    model.parameters["W_hh"][...] = 1e-10 * np.eye(4)
    model.parameters["W_hy"][...] = 1.0
    model.loss_and_grad(np.zeros((1, 40, 1)), [[1.0]], "mse", record="gradients")
    record = model.last_gradients
    assert record is not None
    expected = 4.0 * 1e-10 ** np.arange(39.0, -1, -1)  # 2 (y - 0) times W_hy, over 4 units
    seen = expected > 1e-307
    np.testing.assert_allclose(record.hidden[0, seen], expected[seen], rtol=1e-12)
    np.testing.assert_allclose(record.gates[0, seen], expected[seen], rtol=1e-12)
    assert (record.hidden[0, expected < 1e-308] == 0).all()


def test_squares_do_not_overflow() -> None:
    model = fastbptt.Recurrent("relu", 1, 4, 1, init=("normal", 0.0), dtype="float64", bias=False)
    model.parameters["W_hh"][...] = 1e10 * np.eye(4)
    model.parameters["W_hy"][...] = 1.0
    model.parameters["W_xh"][...] = 1e-300
    model.loss_and_grad(np.ones((1, 30, 1)), [[1.0]], "mse", record="gradients", check_finite=False)
    record = model.last_gradients
    assert record is not None
    np.testing.assert_allclose(record.hidden[0], 4.0 * 1e10 ** np.arange(29.0, -1, -1), rtol=1e-9)


def test_vanished_gradients_are_exact_zeros() -> None:
    model = fastbptt.RNN(2, 70, 1, seed=0)
    model.parameters["W_hh"][...] *= 0.1
    x = np.random.default_rng(0).normal(size=(6, 400, 2)).astype("f4")
    model.train_step(x, np.ones(6), fastbptt.Adam(), record="gradients")
    record = model.last_gradients
    assert record is not None
    lives = record.hidden[0] > 0
    first = int(lives.argmax())
    assert 0 < first < 399
    assert lives[first:].all()
    assert not record.hidden[0, :first].any() and not record.gates[0, :first].any()
    assert record.hidden[0, first] < 1e-35


@pytest.mark.skipif(not HAS_BFLOAT16, reason="the instruction set in use has no bfloat16")
def test_bfloat16() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, 20, 3)).astype("f4")
    found = []
    for precision in ("float32", "bfloat16"):
        model = fastbptt.GRU(3, 33, 1, precision=precision, seed=0)
        model.train_step(x, np.ones(4), fastbptt.Adam(), record="gradients")
        assert model.last_gradients is not None
        found.append(model.last_gradients.hidden)
    np.testing.assert_allclose(*found, rtol=0.05)


def test_a_refused_step_leaves_the_last_record() -> None:
    bench = Bench()
    bench.model.train_step(bench.x, bench.y, bench.adam, record="gradients")
    before = bench.model.last_gradients
    assert before is not None
    kept = before.hidden.copy()

    def same() -> bool:
        now = bench.model.last_gradients
        return now is not None and now.norm == before.norm and (now.hidden == kept).all()

    bad = bench.x.copy()
    bad[0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="x holds"):
        bench.model.train_step(bad, bench.y, bench.adam, record="gradients")
    assert same()
    bench.model.train_step(bench.x, bench.y, bench.adam)
    assert same()
    assert bench.model.copy().last_gradients is None


@pytest.mark.parametrize("given", ["gradient", True, 1])
def test_wrong_record(given: Any) -> None:
    bench = Bench()
    for call in (
        lambda: bench.model.train_step(bench.x, bench.y, bench.adam, record=given),
        lambda: bench.model.loss_and_grad(bench.x, bench.y, record=given),
    ):
        with bench.refuses_with(
            ValueError if isinstance(given, str) else TypeError, "record is ", '"gradients"'
        ):
            call()
