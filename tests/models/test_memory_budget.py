"""A memory budget: what it may look like, that it changes no bit, and that it holds."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from accuracy import ISAS
from cases import CELLS, Case
from networks import model_of, parts
from trained import Bench

import fastbptt
from fastbptt import _check, _core


@pytest.mark.parametrize(
    ("given", "count"),
    [
        (1, 1),
        (np.int32(200), 200),
        ("200MB", 200_000_000),
        ("200 mb", 200_000_000),
        ("1.5 GiB", 3 << 29),
        (" 64 KiB ", 65536),
        ("64kB", 64000),
        (".5 TB", 500_000_000_000),
        ("7 B", 7),
        ("7b", 7),
        ("3.GB", 3_000_000_000),
        (2**70, 2**60),
        ("9" * 30 + "TB", 2**60),
    ],
)
def test_sizes_in_words(given: Any, count: int) -> None:
    assert _check.memory("memory_budget", given) == count


EXPECTED = 'expected a whole number of bytes of at least 1, or text such as "200MB" or "1.5 GiB"'


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ("", ValueError),
        ("200", ValueError),
        ("MB", ValueError),
        ("-1 MB", ValueError),
        ("0 MB", ValueError),
        ("0.1 B", ValueError),
        ("2 iB", ValueError),
        ("2 Mbit", ValueError),
        ("2 M", ValueError),
        ("1e3 MB", ValueError),
        ("1,5 GB", ValueError),
        ("nan MB", ValueError),
        ("²MB", ValueError),
        (2.0, TypeError),
        (True, TypeError),
        (b"2MB", TypeError),
        ([2], TypeError),
    ],
)
def test_sizes_that_are_none(bench: Bench, given: Any, error: type[Exception]) -> None:
    for call in (
        lambda: bench.model.train_step(bench.x, bench.y, bench.adam, memory_budget=given),
        lambda: bench.model.loss_and_grad(bench.x, bench.y, memory_budget=given),
        lambda: bench.model.memory_needed(3, 4, memory_budget=given),
    ):
        with bench.refuses(error, f"memory_budget is {given!r}; {EXPECTED}"):
            call()


@pytest.mark.parametrize("given", [0, -5])
def test_numbers_below_one(bench: Bench, given: int) -> None:
    with bench.refuses(ValueError, f"memory_budget is {given}; {EXPECTED}"):
        bench.model.train_step(bench.x, bench.y, bench.adam, memory_budget=given)


def test_only_for_one_direction() -> None:
    model = fastbptt.GRU(2, 5, 1, bidirectional=True)
    x, y = np.ones((3, 4, 2)), np.zeros((3, 1))
    message = (
        "is given, but bidirectional=True; expected a model of one direction: "
        "the other one needs whole sequences"
    )
    for call in (
        lambda: model.train_step(x, y, fastbptt.Adam(), memory_budget="1GB"),
        lambda: model.loss_and_grad(x, y, memory_budget="1GB"),
        lambda: model.memory_needed(3, 4, "1GB"),
    ):
        with pytest.raises(ValueError, match=r"^memory_budget ") as caught:
            call()
        assert str(caught.value) == f"memory_budget {message}"


def test_too_small() -> None:
    bench = Bench()
    least = bench.model.minimum_memory(3, 4)
    bench.model.train_step(bench.x, bench.y, bench.adam, memory_budget=least)
    for call in (
        lambda: bench.model.train_step(bench.x, bench.y, bench.adam, memory_budget=least // 2),
        lambda: bench.model.loss_and_grad(bench.x, bench.y, memory_budget=least // 2),
        lambda: bench.model.train_step(bench.x, bench.y, bench.adam, memory_budget=1, bptt_steps=2),
    ):
        with bench.refuses_with(
            ValueError, "memory_budget is ", " bytes; expected at least ", " for such a batch"
        ):
            call()


@pytest.mark.parametrize("size", [(1, 1, 1, 1), (5, 6, 4, 2), (4, 90, 1, 40), (3, 700, 6, 3)])
def test_the_least_is_enough_with_weights_of_steps(size: tuple[int, int, int, int]) -> None:
    batch, time, outputs, hidden = size
    model = fastbptt.LSTM(2, hidden, outputs, seed=0)
    x, y = np.ones((batch, time, 2)), np.zeros((batch, time, outputs))
    weights = np.random.default_rng(0).uniform(0, 1, (batch, time))
    least = model.minimum_memory(batch, time)
    model.loss_and_grad(x, y, "mse", "all", sample_weight=weights, memory_budget=least)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cell", CELLS)
def test_same_bits(cell: str, dtype: str) -> None:
    B, T = 5, 200
    case = Case(B, T, 3, 20, 2, cell=cell, num_layers=2, dropout=0.2, learn_initial_state=True)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(B, T, 3)).astype(dtype)
    model, adam = model_of(case, dtype), fastbptt.Adam()
    for steps, lengths in (("last", None), ("all", [T, 3, 150, 77, T])):
        y = rng.normal(size=(B, 2) if steps == "last" else (B, T, 2)).astype(dtype)
        how: dict[str, Any] = {"loss": "mse", "steps": steps, "lengths": lengths}
        least, most = model.minimum_memory(B, T), model.memory_needed(B, T)
        assert least < most
        expected, wanted = model.copy().loss_and_grad(x, y, **how, need_input_grad=True)
        for budget in (least, (least + most) // 2, most, 10 * most, "1GB"):
            twin = model.copy()
            value, grads = twin.loss_and_grad(
                x, y, **how, need_input_grad=True, memory_budget=budget
            )
            assert value == expected
            assert grads.flat.tobytes() == wanted.flat.tobytes()
            assert grads.x is not None
            assert wanted.x is not None
            assert grads.x.tobytes() == wanted.x.tobytes()
            for got, e in zip(parts(grads.h0), parts(wanted.h0), strict=True):
                assert got.tobytes() == e.tobytes()
            report = twin.last_report
            assert isinstance(report, fastbptt.StepReport)
            count = budget if isinstance(budget, int) else 10**9
            assert report.bytes <= count
            assert twin.memory_needed(B, T, budget) <= count
            assert 0 <= report.recompute_seconds <= report.seconds
            if count >= most:
                assert report.segments == 1
            elif lengths is None:
                assert report.segments > 1
        twin, other = model.copy(), adam.copy()
        twin.train_step(x, y, other, **how, memory_budget=least)
        model.train_step(x, y, adam, **how)
        assert model.last_report is None
        assert twin.parameters.flat.tobytes() == model.parameters.flat.tobytes()


def test_report_of_a_walk_in_chunks() -> None:
    model, adam = fastbptt.LSTM(3, 20, 1, seed=0), fastbptt.Adam()
    twin, other = model.copy(), fastbptt.Adam()
    x, y = np.ones((4, 600, 3)), np.zeros((4, 600, 1))
    least = model.minimum_memory(4, 200)
    model.train_step(x, y, adam, "mse", "all", bptt_steps=200, memory_budget=least)
    twin.train_step(x, y, other, "mse", "all", bptt_steps=200)
    assert model.parameters.flat.tobytes() == twin.parameters.flat.tobytes()
    report = model.last_report
    assert report is not None
    assert report.segments > 1
    assert report.bytes <= least
    assert report.seconds > model._engine.report()[2]  # of all chunks, not of the last one
    assert twin.last_report is None


def test_reports_are_not_copied() -> None:
    model = fastbptt.RNN(3, 4, 1, seed=0)
    model.loss_and_grad(np.ones((2, 5, 3)), [0, 1], memory_budget="1GB")
    assert model.last_report is not None
    assert model.copy().last_report is None


PEAK = """
import numpy as np, fastbptt
def peak():
    for line in open("/proc/self/status"):
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
fastbptt.set_num_threads(1)
model, adam = fastbptt.LSTM(16, 128, 1, seed=0), fastbptt.Adam()
x, y = np.ones((4, 20_000, 16), np.float32), np.ones((4, 20_000, 1), np.float32)
model.train_step(x[:, :20], y[:, :20], adam, "mse", "all")
before = resident()
model.train_step(x, y, adam, "mse", "all", memory_budget="60MB")
print(peak() - before, model.memory_needed(4, 20_000))
"""


@pytest.mark.slow
def test_peak_of_twenty_thousand_steps(
    run_script: Callable[[str], subprocess.CompletedProcess[str]],
) -> None:
    result = run_script(PEAK)
    assert (result.returncode, result.stderr) == (0, "")
    grown, needed = map(int, result.stdout.split())
    assert grown < 61_000_000 < needed


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dropout", ["dropout", "recurrent_dropout"])
def test_the_smallest_budget_is_enough_without_dropout_too(dropout: str, isa: str) -> None:
    """Rows may lie in lanes then, which takes more memory in small batches."""
    before = _core.active_backend()
    _core.use_backend(isa)
    try:
        for batch in range(1, 18):
            model = fastbptt.LSTM(2, 17, num_layers=2, seed=0, **{dropout: 0.3})
            x, y = np.ones((batch, 1, 2)), np.zeros((batch, 17))
            for training in (True, False):
                budget = model.minimum_memory(batch, 1)
                model.loss_and_grad(x, y, "mse", training=training, memory_budget=budget)
    finally:
        _core.use_backend(before)
