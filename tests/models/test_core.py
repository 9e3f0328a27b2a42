"""The core against the reference, on every instruction set that this machine can run."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from accuracy import ISAS, TINIEST, Accuracy, core
from cases import (
    BATCHES,
    CELLS,
    LOSSES,
    PAIRS,
    SMALL_HIDDEN,
    STEPS,
    TIMES,
    Case,
    build,
    every_network,
    every_option,
    networks_over_shapes,
    over_shapes,
    sampled,
    small_unless_full,
    with_outputs,
)
from numpy.testing import assert_array_equal

import fastbptt
from fastbptt import _core, reference


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """The instruction set and the threads of the tests that follow."""
    name, threads = _core.active_backend(), fastbptt.get_num_threads()
    yield
    _core.use_backend(name)
    fastbptt.set_num_threads(threads)


@pytest.mark.parametrize(("B", "T"), sampled([*itertools.product(BATCHES, TIMES)], 8))
def test_equals_the_reference_at_every_shape(B: int, T: int) -> None:
    shapes = [(B, T, *pair) for pair in PAIRS]
    accuracy = Accuracy()
    for case in sampled(over_shapes(shapes, seed=1000 * B + T), 30):
        accuracy.add(case)
    accuracy.check()


@pytest.mark.parametrize(("loss", "steps"), [*itertools.product(LOSSES, STEPS)])
def test_equals_the_reference_with_every_option(loss: str, steps: str) -> None:
    accuracy = Accuracy()
    for case in sampled(every_option(B=7, T=10, I=17, H=33, loss=loss, steps=steps), 30):
        accuracy.add(case)
    accuracy.check()


@pytest.mark.parametrize(("cell", "num_layers"), sampled([*itertools.product(CELLS, [1, 2, 3])], 3))
def test_equals_the_reference_for_every_network(cell: str, num_layers: int) -> None:
    accuracy = Accuracy()
    for sizes in ({"B": 5, "T": 6, "I": 3, "H": 7}, {"B": 6, "T": 9, "I": 17, "H": 65}):
        for case in sampled(every_network(cell=cell, num_layers=num_layers, **sizes), 40):
            accuracy.add(case)
    accuracy.check()


@pytest.mark.parametrize("cell", CELLS)
def test_equals_the_reference_for_every_cell_at_every_width(cell: str) -> None:
    accuracy = Accuracy()
    for case in sampled(small_unless_full(networks_over_shapes(cell=cell)), 40):
        if case.B * case.T > 100:  # stacks of long sequences would take minutes
            case = with_outputs(replace(case, num_layers=1, bidirectional=False, dropout=0.0))
        accuracy.add(case)
    accuracy.check()


@pytest.mark.parametrize(("isa", "cell"), sampled([*itertools.product(ISAS, CELLS)], 6))
def test_threads_change_no_bit_of_any_network(isa: str, cell: str) -> None:
    _core.use_backend(isa)
    many = sampled(every_network(B=17, T=60, I=16, H=65, cell=cell)[::3], 30)
    # few sequences, whose units the threads share
    few = sampled(every_network(B=4, T=30, I=16, H=130, cell=cell)[1::3], 8)
    few.append(Case(1, 120, 16, 130, 1, cell=cell, loss="mse", steps="all"))
    for k, case in enumerate([*many, *few]):
        dtype = ("float32", "float64")[k % 2]
        problem = build(case, dtype)
        fastbptt.set_num_threads(1)
        loss, grads = core(case, problem, dtype)
        for threads in (2, 3):
            fastbptt.set_num_threads(threads)
            again, more = core(case, problem, dtype)
            assert again == loss
            for name, expected in grads.items():
                assert_array_equal(more[name], expected, strict=True)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_gradient_from_outside_equals_the_reference(isa: str, dtype: str) -> None:
    _core.use_backend(isa)
    rng = np.random.default_rng(3)
    cases = every_option(B=6, T=9, I=5, H=18, loss="mse", steps="all", reduction="sum")
    for case in sampled(cases, 6):
        problem = build(case)
        x = np.nan_to_num(problem.x)
        up = rng.normal(size=(case.B, case.T, case.width))
        last = rng.normal(size=(1, case.B, case.H))
        forward = reference.forward(problem.params, x, **problem.forward_args)
        model = fastbptt.RNN(case.I, case.H, case.O, bias=case.bias, dtype=dtype)
        model.load_state_dict(problem.params)
        out = model.forward(problem.x, **problem.forward_args)
        limit = 1e-12 if dtype == "float64" else 1e-5
        for name in ("outputs", "hidden", "final_state"):
            assert np.abs(getattr(out, name) - getattr(forward, name)).max() < limit
        for d_outputs, d_final in ((up, None), (None, last), (up, last)):
            expected = reference.backward(
                problem.params, x, forward, d_outputs, d_final, **problem.forward_args
            )
            grads = model.backward(out, d_outputs, d_final, need_input_grad=True)
            for name, e in expected.items():
                got = getattr(grads, name) if name in ("x", "h0") else grads[name]
                assert np.abs(got - e).max() <= limit * max(1.0, np.abs(e).max()), (case, name)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize(
    ("B", "T", "I", "H", "O"), [(64, 50, 32, 64, 1), (37, 40, 17, 129, 3), (1, 700, 16, 128, None)]
)
def test_threads_and_repetition_change_no_bit(
    isa: str, dtype: str, ragged: bool, B: int, T: int, I: int, H: int, O: int | None
) -> None:
    _core.use_backend(isa)
    case = Case(B, T, I, H, O, loss="mse", steps="all", with_lengths=ragged, with_h0=True)
    problem = build(case, dtype)
    fastbptt.set_num_threads(1)
    loss, grads = core(case, problem, dtype)
    for threads in (1, 2, 3, 2):
        fastbptt.set_num_threads(threads)
        again, more = core(case, problem, dtype)
        assert again == loss
        for name, expected in grads.items():
            assert_array_equal(more[name], expected, strict=True)


def test_threads_change_no_bit_of_a_training_run() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(64, 60, 24)), rng.integers(0, 5, 64)
    runs = []
    for threads in (1, 2, 3):
        fastbptt.set_num_threads(threads)
        model, adam = fastbptt.RNN(24, 96, 5, seed=0), fastbptt.Adam()
        losses = [model.train_step(x, y, adam, loss="cross_entropy", clip_norm=0.1) for _ in "1234"]
        runs.append((losses, model.parameters.flat.tobytes()))
    assert runs[0] == runs[1] == runs[2]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("lengths", [None, [900, 700, 900, 800], [900, 1, 300, 2]])
@pytest.mark.parametrize("spread", [0.0, 0.02])
def test_gradients_that_vanish_exactly(
    threads: int, lengths: list[int] | None, spread: float
) -> None:
    fastbptt.set_num_threads(threads)
    rng = np.random.default_rng(0)
    model = fastbptt.RNN(3, 20, 2, seed=0)
    model.parameters["W_hh"] = rng.normal(0, spread, (20, 20))
    x, y = rng.normal(size=(4, 900, 3)), rng.normal(size=(4, 2))
    h0 = rng.normal(size=(1, 4, 20))
    loss, grads = model.loss_and_grad(x, y, "mse", lengths=lengths, h0=h0, need_input_grad=True)
    params = {name: p.astype(np.float64) for name, p in model.parameters.items()}
    given = None if lengths is None else np.array(lengths)
    expected, exact = reference.loss_and_grad(params, x, y, "mse", lengths=given, h0=h0)
    assert loss == pytest.approx(expected, rel=1e-6)
    for name in params:
        assert np.abs(grads[name] - exact[name]).max() < 1e-6 * np.abs(exact[name]).max()
    for got, e in ((grads.x, exact["x"]), (grads.h0, exact["h0"])):
        assert got is not None
        assert np.abs(got - e).max() < 1e-6 * np.abs(exact["x"]).max()
        assert not got[np.abs(e) < TINIEST["float32"]].any()


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("output_size", [None, 1, 3])
def test_what_an_earlier_call_left_behind_does_not_matter(
    isa: str, output_size: int | None
) -> None:
    _core.use_backend(isa)
    rng = np.random.default_rng(0)
    width = output_size or 21
    filth = np.full((40, 60, 5), np.nan)
    for steps in ("last", "all"):
        model = fastbptt.RNN(5, 21, output_size, seed=0)
        dirty = model.copy()
        for lengths in (None, [7, 3, 1, 7, 5]):
            x, h0 = rng.normal(size=(5, 7, 5)), rng.normal(size=(1, 5, 21))
            y = rng.normal(size=(5, width) if steps == "last" else (5, 7, width))
            out, again = [m.forward(x, lengths, h0) for m in (model, dirty)]
            results = []
            for m, forward in ((model, out), (dirty, again)):
                if m is dirty:  # the same workspaces, full of NaN
                    up = np.full((40, 60, width), np.nan)
                    kept = [m.forward(filth, check_finite=False) for _ in "12"]
                    for each in kept:
                        m.backward(each, up, check_finite=False)
                    del kept, each
                    for _ in "12":
                        m.loss_and_grad(filth, up, "mse", "all", check_finite=False)
                loss, grads = m.loss_and_grad(
                    x, y, "mse", steps, lengths=lengths, h0=h0, need_input_grad=True
                )
                fresh = m.backward(
                    m.forward(x, lengths, h0),
                    forward.outputs,
                    forward.final_state,
                    need_input_grad=True,
                )
                older = m.backward(forward, forward.outputs, need_input_grad=True)
                results.append((loss, grads, fresh, older))
            assert results[0][0] == results[1][0]
            for clean, used in zip(results[0][1:], results[1][1:], strict=True):
                assert_array_equal(used.flat, clean.flat)
                assert_array_equal(used.x, clean.x)
                assert_array_equal(used.h0, clean.h0)


def made(cell: str, *sizes: int, **options: Any) -> fastbptt.Recurrent:
    """A model with the cell's own number, if it has one."""
    alpha = next(iter(reference.CELLS[cell].SETTING.values()), None)
    return fastbptt.Recurrent(cell, *sizes, alpha=alpha, **options)


def same(one: Any, other: Any) -> None:
    """The same bits, of an array or of each in a tuple."""
    ones, others = ([a] if isinstance(a, np.ndarray) else a for a in (one, other))
    for left, right in zip(ones, others, strict=True):
        assert_array_equal(left, right, strict=True)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("cell", CELLS)
def test_a_row_does_not_depend_on_its_batch(isa: str, cell: str) -> None:
    """However wide the layer is, and whichever layout of its rows and units a batch is given."""
    _core.use_backend(isa)
    rows = 37
    x = np.random.default_rng(0).normal(size=(rows, 8, 5))
    lengths = np.arange(rows) % 8 + 1
    for k, (hidden, dtype) in enumerate(
        itertools.product((*SMALL_HIDDEN, 37, 65), ("float32", "float64"))
    ):
        model = made(cell, 5, hidden, 2, dtype=dtype, seed=k)
        whole = model.forward(x, lengths)
        alone = model.forward(x, lengths, backward=False)
        for name in ("outputs", "last", "final_state"):
            same(getattr(alone, name), getattr(whole, name))
        cuts = (0, 1, 2, 3, 4, 7, 8, 16, 17, rows) if k % 4 == 0 else (0, 1, 8, rows)
        for first, end in itertools.pairwise(cuts):
            time = int(lengths[first:end].max())
            part = model.forward(x[first:end, :time], lengths[first:end])
            same(part.hidden, whole.hidden[first:end, :time])
            same(part.outputs, whole.outputs[first:end, :time])
            states = [whole.final_state, part.final_state]
            wholes, parts = ([s] if isinstance(s, np.ndarray) else s for s in states)
            same(tuple(parts), tuple(s[:, first:end] for s in wholes))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("hidden", SMALL_HIDDEN)
def test_threads_change_no_bit_of_a_small_layer(isa: str, hidden: int) -> None:
    """Nor does the same call again: of gradients, and of weights after a step."""
    _core.use_backend(isa)
    rng = np.random.default_rng(hidden)
    x, y = rng.normal(size=(43, 21, 3)), rng.normal(size=(43, 21, 2))
    lengths = rng.integers(1, 22, 43)
    chosen = itertools.product(CELLS, ("float32", "float64"), ("last", "all"))
    for cell, dtype, steps in sampled([*chosen], 3):
        model = made(cell, 3, hidden, 2, dtype=dtype, seed=0)
        target = y[:, 0] if steps == "last" else y
        found = []
        for threads in (1, 2, 3, 1):
            fastbptt.set_num_threads(threads)
            copied = model.copy()
            loss, grads = copied.loss_and_grad(
                x, target, "mse", steps, lengths=lengths, need_input_grad=True
            )
            copied.train_step(x, target, fastbptt.Adam(), "mse", steps, lengths=lengths)
            found.append((np.float64(loss), grads.flat, grads.x, copied.parameters.flat))
        for again in found[1:]:
            for one, first in zip(again, found[0], strict=True):
                assert_array_equal(one, first, strict=True)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_tanh(isa: str, dtype: Any) -> None:
    _core.use_backend(isa)
    info = np.finfo(dtype)
    rng = np.random.default_rng(0)
    x = np.exp2(rng.uniform(info.minexp + 2, 5, 200_000)).astype(dtype)
    wide = np.tanh(x.astype(np.longdouble))
    units = np.abs(_core.tanh(x) - wide) / np.spacing(wide.astype(dtype)).astype(np.longdouble)
    assert units.max() <= (2 if dtype == np.float32 else 4)
    assert_array_equal(_core.tanh(-x), -_core.tanh(x))
    special = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, info.max, -info.max], dtype)
    got = _core.tanh(special)
    assert_array_equal(got, np.array([0, 0, 1, -1, np.nan, 1, -1], dtype))
    assert_array_equal(np.signbit(got[:2]), [False, True])


def test_rows_of_inputs_that_are_a_page_long() -> None:
    """They lie further apart than they are long, not to meet in the cache."""
    long = fastbptt.RNN(512, 70, 2, seed=0)
    short = fastbptt.RNN(511, 70, 2, seed=0)
    long.parameters["W_xh"][511] = 0.0
    for name, values in short.parameters.items():
        values[...] = long.parameters[name][:511] if name == "W_xh" else long.parameters[name]
    x = np.random.default_rng(0).normal(size=(3, 5, 512)).astype(np.float32)
    outputs = [long.forward(x).outputs, short.forward(x[:, :, :511].copy()).outputs]
    np.testing.assert_allclose(*outputs, rtol=1e-4, atol=1e-4)
