"""Resets inside a sequence: episodes in long rows are the same episodes alone, and nothing crosses.

That the core equals the reference with resets is in `test_core.py`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from cases import CELLS, Array

import fastbptt

RNG = np.random.default_rng(0)
B, T = 9, 40
X = RNG.normal(size=(B, T, 3))
Y = RNG.normal(size=(B, T, 2))
LENGTHS = np.array([40, 7, 40, 31, 1, 40, 22, 40, 15])
RESETS = RNG.random((B, T)) < 0.15
RESETS[0] = False
RESETS[1, 0] = RESETS[2, 39] = RESETS[3, 30] = RESETS[1, 20] = True  # the last is after the end
WEIGHTS = np.where(RNG.random((B, T)) < 0.3, 0.0, RNG.uniform(0.5, 2.0, (B, T)))
WEIGHTS[:, 0] = 1.0
MANY: dict[str, Any] = {"lengths": LENGTHS, "sample_weight": WEIGHTS, "resets": RESETS}


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    threads = fastbptt.get_num_threads()
    yield
    fastbptt.set_num_threads(threads)


def network(cell: str = "gru", **options: Any) -> fastbptt.Recurrent:
    if cell.startswith("leaky"):
        options["alpha"] = 0.3
    options = {"seed": 0, "learn_initial_state": True} | options
    model = fastbptt.Recurrent(cell, 3, options.pop("hidden", 20), 2, **options)
    for name in ("h0", "c0"):
        if name in model.parameters:
            model.parameters[name] = np.random.default_rng(1).normal(
                size=model.parameters[name].shape
            )
    return model


def states(state: Any) -> tuple[Array, ...]:
    return state if isinstance(state, tuple) else (state,)


def bits(found: tuple[float, fastbptt.Gradients]) -> tuple[float, bytes]:
    return found[0], found[1].flat.tobytes()


def apart(values: Array) -> list[Array]:
    """The episodes, row by row."""
    found = []
    for b, end in enumerate(LENGTHS):
        starts = [0, *(int(t) + 1 for t in np.flatnonzero(RESETS[b, 1:end])), int(end)]
        found += [values[b, a:z] for a, z in itertools.pairwise(starts)]
    return found


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cell", CELLS)
def test_packed_episodes_are_the_same_episodes_alone(cell: str, dtype: str) -> None:
    model = network(cell, num_layers=2, dtype=dtype)
    packed = model.loss_and_grad(X, Y, "mse", "all", need_input_grad=True, **MANY)
    alone = model.loss_and_grad(
        apart(X), apart(Y), "mse", "all", sample_weight=apart(WEIGHTS), need_input_grad=True
    )
    assert bits(packed) == bits(alone)
    assert packed[1].x is not None and alone[1].x is not None
    for one, other in zip(apart(packed[1].x), alone[1].x, strict=True):
        assert np.array_equal(one, other[: len(one)])
    assert not packed[1].x[np.arange(T) >= LENGTHS[:, np.newaxis]].any()
    out, each = model.forward(X, LENGTHS, resets=RESETS), model.forward(apart(X))
    for name in ("outputs", "hidden"):
        for one, other in zip(apart(getattr(out, name)), getattr(each, name), strict=True):
            assert np.array_equal(one, other[: len(one)])
    ends = np.cumsum([1 + int(RESETS[b, 1:end].sum()) for b, end in enumerate(LENGTHS)]) - 1
    assert np.array_equal(out.last, each.last[ends])
    for one, other in zip(states(out.final_state), states(each.final_state), strict=True):
        assert np.array_equal(one, other[:, ends])


def test_a_list_of_rows_is_the_array_of_rows() -> None:
    model = network()
    rows = [[a[b, :end] for b, end in enumerate(LENGTHS)] for a in (X, Y, WEIGHTS, RESETS)]
    whole = model.loss_and_grad(X, Y, "mse", "all", **MANY)
    listed = model.loss_and_grad(
        rows[0], rows[1], "mse", "all", sample_weight=rows[2], resets=rows[3]
    )
    assert bits(listed) == bits(whole)
    assert bits(
        model.loss_and_grad(X, Y, "mse", "all", **{**MANY, "resets": RESETS.astype("f4")})
    ) == bits(whole)


def test_after_a_sequences_end_anything_may_stand() -> None:
    marks = np.where(np.arange(T) < LENGTHS[:, np.newaxis], RESETS, np.nan)
    found = network().loss_and_grad(X, Y, "mse", "all", **{**MANY, "resets": marks})
    assert bits(found) == bits(network().loss_and_grad(X, Y, "mse", "all", **MANY))


@pytest.mark.parametrize("steps", ["last", "all"])
def test_no_resets_are_none(steps: str) -> None:
    y = Y if steps == "all" else Y[:, 0]
    plain = network().loss_and_grad(X, y, "mse", steps, lengths=LENGTHS)
    none = np.zeros((B, T), bool)
    assert bits(network().loss_and_grad(X, y, "mse", steps, lengths=LENGTHS, resets=none)) == bits(
        plain
    )
    first = none.copy()
    first[:, 0] = True  # each row starts from the learned state anyway
    found = network().loss_and_grad(X, y, "mse", steps, lengths=LENGTHS, resets=first)
    assert bits(found) == bits(plain)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_h0_is_the_state_of_the_first_episodes_alone(cell: str) -> None:
    model = network(cell, dtype="float64")
    h0 = tuple(RNG.normal(size=(1, B, 20)) for _ in states(model.initial_state(1)))
    given: Any = h0 if len(h0) > 1 else h0[0]
    out = model.forward(X, LENGTHS, given, resets=RESETS)
    own = model.forward(X, LENGTHS, resets=RESETS)
    first = np.array([~RESETS[b, 0] for b in range(B)])
    assert (out.outputs[first, 0] != own.outputs[first, 0]).any(axis=1).all()
    assert np.array_equal(out.outputs[~first], own.outputs[~first])
    later = np.cumsum(RESETS, axis=1) > 0  # from the first reset on
    assert np.array_equal(out.outputs[later], own.outputs[later])
    for array in h0:  # of a row that starts anew it is not read
        array[:, ~first] = np.nan
    _, grads = model.loss_and_grad(X, Y, "mse", "all", h0=given, **MANY)
    for gradient in states(grads.h0):
        assert not gradient[:, ~first].any()
        assert gradient[:, first].any(axis=(0, 2)).all()
    h0[0][0, int(first.argmax()), 0] = np.nan
    with pytest.raises(ValueError, match="h0 holds a value that is not finite"):
        model.loss(X, Y, "mse", "all", h0=given, **MANY)


def test_no_gradient_crosses_a_reset() -> None:
    model = network("lstm", num_layers=2, dtype="float64")
    out = model.forward(X, resets=RESETS)
    for row, step in ((2, 38), (3, 29), (5, 20)):
        d_outputs = np.zeros_like(out.outputs)
        d_outputs[row, step] = 1.0
        dx = model.backward(out, d_outputs, need_input_grad=True).x
        assert dx is not None
        start = int(np.flatnonzero(RESETS[row, : step + 1])[-1]) if RESETS[row, 1:].any() else 0
        inside = np.zeros((B, T), bool)
        inside[row, start : step + 1] = True
        assert (dx[inside] != 0).any(axis=1).all()
        assert not dx[~inside].any()
    _, grads = model.loss_and_grad(X, Y[:, 0], "mse", need_input_grad=True, resets=RESETS)
    assert grads.x is not None
    for b in range(B):  # the loss at the last step is that of the last episode
        start = int(np.flatnonzero(RESETS[b])[-1]) if RESETS[b].any() else 0
        assert not grads.x[b, :start].any() and grads.x[b, start:].any()


def test_what_earlier_episodes_hold_does_not_matter_to_a_loss_at_the_end() -> None:
    model, other = network(), X.copy()
    for b, end in enumerate(LENGTHS):
        marks = np.flatnonzero(RESETS[b, :end])
        other[b, : marks[-1] if len(marks) else 0] *= -3.0
    how: dict[str, Any] = {"lengths": LENGTHS, "resets": RESETS}
    assert model.loss(X, Y[:, 0], "mse", **how) == model.loss(other, Y[:, 0], "mse", **how)


@pytest.mark.parametrize("steps", ["last", "all"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_threads_and_a_memory_budget_change_no_bit(steps: str, dtype: str, precision: str) -> None:
    usable = dtype == "float32" and fastbptt._core.active_backend() == "avx512bf16"
    if precision == "bfloat16" and not usable:
        pytest.skip("of float32, on processors that have it")
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(12, 300, 3)), rng.normal(size=(12, 300, 2))
    marks = rng.random((12, 300)) < rng.choice([0.0, 0.005, 0.05], (12, 1))
    lengths = rng.integers(150, 301, 12)
    weight = rng.uniform(0.1, 1, (12, 300) if steps == "all" else 12)
    weight[rng.random(weight.shape) < 0.4] = 0.0
    if steps == "last":
        y = y[:, 0]
    model = network("lstm", num_layers=2, dropout=0.2, dtype=dtype, precision=precision, hidden=33)
    how: dict[str, Any] = {"lengths": lengths, "sample_weight": weight, "resets": marks}
    expected, budget = None, 10**9
    for threads in (1, 2, 3):
        fastbptt.set_num_threads(threads)
        for segments in (1, 3):
            twin = model.copy()
            found = bits(twin.loss_and_grad(x, y, "mse", steps, memory_budget=budget, **how))
            expected = found if expected is None else expected
            assert found == expected
            report = twin.last_report
            assert report is not None and (report.segments == 1) == (segments == 1)
            budget = int(0.75 * report.bytes) if segments == 1 else 10**9


@pytest.mark.parametrize("steps", ["last", "all"])
@pytest.mark.parametrize("size", [1, 7, 10, 40])
def test_chunks_carry_the_state_up_to_a_reset(steps: str, size: int) -> None:
    """With a rate of 0, truncated BPTT sums the chunks' losses, whose borders lie anywhere."""
    model = network("lstm", dtype="float64", num_layers=2)
    marks = RESETS.copy()
    marks[:, [9, 10, 11, 20]] |= RNG.random((B, 4)) < 0.5  # before, at and after borders
    y = Y if steps == "all" else Y[:, 0]
    how: dict[str, Any] = {"loss": "mse", "steps": steps, "lengths": LENGTHS, "resets": marks}
    state: Any = tuple(RNG.normal(size=(2, B, 20)) for _ in "hc")
    before = tuple(one.copy() for one in state)
    final = model.forward(X, LENGTHS, before, resets=marks).final_state
    expected = model.loss(X, y, h0=before, **how)
    optimizer = fastbptt.SGD(lr=1e-300)
    got = model.train_step(X, y, optimizer, bptt_steps=size, state=state, **how)
    assert got == pytest.approx(expected, rel=1e-12)
    for one, other in zip(state, final, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-13, atol=1e-15)


def test_chunks_that_end_before_each_reset_lose_nothing() -> None:
    """All episodes have as many steps as a chunk: then truncated BPTT is not truncated."""
    marks = np.zeros((B, T), bool)
    marks[:, ::10] = True
    one, two = (network(dtype="float64", learn_initial_state=False) for _ in "12")
    cut = fastbptt.SGD(lr=0.1)
    loss = one.train_step(X, Y, cut, "mse", "all", bptt_steps=10, resets=marks)
    parts, other = [], fastbptt.SGD(lr=0.1)
    for first in range(0, T, 10):
        part = slice(first, first + 10)
        parts.append(two.train_step(X[:, part], Y[:, part], other, "mse", "all"))
    assert loss == pytest.approx(np.mean(parts), rel=1e-14)
    np.testing.assert_allclose(one.parameters.flat, two.parameters.flat, rtol=1e-13)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("learned", [False, True])
def test_step_by_step(cell: str, learned: bool) -> None:
    model = network(cell, num_layers=2, dtype="float64", learn_initial_state=learned)
    state = model.initial_state(B)
    for array in states(state):
        array += RNG.normal(size=array.shape)
    before: Any = tuple(array.copy() for array in states(state))
    out = model.forward(X, h0=before if len(before) > 1 else before[0], resets=RESETS)
    for t in range(T):
        y = model.step(X[:, t], state, resets=RESETS[:, t])
        np.testing.assert_allclose(y, out.outputs[:, t], rtol=1e-12, atol=1e-14)
    for one, other in zip(states(state), states(out.final_state), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-14)


def test_a_refused_step_changes_nothing() -> None:
    model = network(learn_initial_state=False)
    state = model.initial_state(B)
    state += 1.0
    bad = X[:, 0].copy()
    bad[4, 1] = np.nan
    for x_t, marks, message in (
        (bad, RESETS[:, 0], "x_t holds a value that is not finite"),
        (X[:, 0], RESETS[:4, 0], r"resets has shape \(4,\); expected \(9,\): one per sequence"),
        (X[:, 0], [2] * B, r"resets holds 2 at index \(0,\)"),
    ):
        with pytest.raises(ValueError, match=message):
            model.step(x_t, state, resets=marks)
        assert (state == 1.0).all()


WRONG: list[tuple[Any, str]] = [
    (RESETS[:, :-1], r"resets has shape \(9, 39\); expected \(9, 40\): one per step"),
    (RESETS[0], r"resets has shape \(40,\); expected \(9, 40\)"),
    (np.full((B, T), 0.5), r"resets holds 0.5 at index \(0, 0\); expected True \(or 1\) where"),
    (np.where(RESETS, 2, 0), r"resets holds 2 at"),
    (np.where(RESETS, np.nan, 0.0), r"resets holds nan at"),
    (np.full((B, T), "no"), r"resets has dtype"),
]


@pytest.mark.parametrize(("marks", "message"), WRONG)
def test_bad_resets_are_refused(marks: Any, message: str) -> None:
    model = network()
    for call in (
        lambda: model.forward(X, resets=marks),
        lambda: model.loss(X, Y, "mse", "all", resets=marks),
        lambda: fastbptt.predict(model, X, resets=marks),
        lambda: fastbptt.evaluate(model, X, Y, steps="all", resets=marks),
    ):
        with pytest.raises((ValueError, TypeError), match=message):
            call()


def test_a_list_must_fit_its_sequences() -> None:
    x, model = [X[0, :3], X[1, :5]], network()
    with pytest.raises(ValueError, match=r"resets has 1 items; expected 2, as x has"):
        model.forward(x, resets=[[0, 1, 0]])
    with pytest.raises(ValueError, match=r"resets\[1\] has shape \(4,\); expected \(5,\): one"):
        model.forward(x, resets=[[0, 1, 0], [0, 0, 1, 0]])
    with pytest.raises(ValueError, match=r"resets\[1\] holds 7 at index \(2,\)"):
        model.forward(x, resets=[[0, 1, 0], [0, 0, 7, 0, 1]])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": "mean"}, 'resets is given, but steps="mean"; expected None, and the episodes'),
        ({"steps": "max"}, 'resets is given, but steps="max"'),
        ({"steps": "all", "reduction": "sequence_mean"}, 'but reduction="sequence_mean"'),
        ({"steps": "all", "warmup": 2}, "but warmup=2; expected None, or a sample_weight"),
    ],
)
def test_what_could_mean_a_row_or_an_episode_is_refused(
    options: dict[str, Any], message: str
) -> None:
    model = network()
    y = Y if options["steps"] == "all" else Y[:, 0]
    before = model.parameters.flat.copy()
    for call in (
        lambda: model.loss(X, y, "mse", resets=RESETS, **options),
        lambda: model.train_step(X, y, fastbptt.Adam(), "mse", resets=RESETS, **options),
        lambda: fastbptt.fit(model, X, y, resets=RESETS, **options),
        lambda: fastbptt.evaluate(model, X, y, resets=RESETS, **options),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    assert (model.parameters.flat == before).all()


def test_two_directions_are_refused() -> None:
    model = fastbptt.GRU(3, 4, 2, bidirectional=True, seed=0)
    for call in (
        lambda: model.forward(X, resets=RESETS),
        lambda: model.loss_and_grad(X, Y, "mse", "all", resets=RESETS),
        lambda: fastbptt.fit(model, X, Y, steps="all", resets=RESETS),
        lambda: fastbptt.diagnose(model, X, Y, "mse", "all", resets=RESETS),
    ):
        with pytest.raises(ValueError, match=r"resets is given, but bidirectional=True"):
            call()


def test_the_core_refuses_the_same() -> None:
    """Of those who call it without the package."""
    spec = fastbptt._core.Spec(cell="gru", input_size=3, hidden_size=4, bidirectional=True)
    flat = np.zeros(sum(int(np.prod(s)) for _, s, _ in fastbptt._core.layout(spec)), "f4")
    batch = fastbptt._core.Batch(X.astype("f4"), resets=RESETS)
    with pytest.raises(ValueError, match="none for a bidirectional network"):
        fastbptt._core.Engine(spec, flat).forward(batch)
    model = network()
    for steps, reduction, y, words in (
        ("mean", "mean", Y[:, 0], "none with pooling"),
        ("all", "sequence_mean", Y, "none with a mean over sequences"),
    ):
        objective = fastbptt._core.Objective(
            loss=fastbptt.Loss("mse"), steps=steps, reduction=reduction, y=np.ascontiguousarray(y)
        )
        with pytest.raises(ValueError, match=f"resets are given; expected {words}"):
            model._engine.loss(batch, objective)


@pytest.mark.parametrize("steps", ["last", "all", "mean", "max"])
@pytest.mark.parametrize("record", [None, "gradients"])
@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "learn_initial_state": True}])
def test_memory_needed_is_enough(steps: str, record: str | None, options: dict[str, Any]) -> None:
    """The engine's own count of what it allocates, for one window and for several."""
    rng = np.random.default_rng(3)
    model = fastbptt.LSTM(3, 17, 2, seed=0, **options)
    for share in (0.0, 0.02, 1.0) if steps in ("last", "all") else (0.0,):
        marks = rng.random((5, 300)) < share
        marks[:, 0] = False
        x, y = rng.normal(size=(5, 300, 3)), rng.normal(size=(5, 300, 2))
        size = {"steps": steps, "resets": int(marks.sum())}
        how: dict[str, Any] = {"loss": "mse", "steps": steps}
        if share:
            how["resets"] = marks
        if steps == "all":
            how["sample_weight"] = np.ones((5, 300))
        target = y if steps == "all" else y[:, 0]
        needed = model.memory_needed(5, 300, record=record, **size)
        for budget in (needed, int(1.05 * model.minimum_memory(5, 300, record=record, **size))):
            bound = model.memory_needed(5, 300, budget, record=record, **size)
            assert bound <= budget
            model.train_step(x, target, fastbptt.Adam(), memory_budget=budget, record=record, **how)
            report = model.last_report
            assert report is not None and report.bytes <= budget
            assert budget != needed or report.segments == 1


def test_memory_of_resets_is_linear() -> None:
    model = fastbptt.GRU(3, 32, 2, seed=0)
    sizes = [model.memory_needed(8, 1000, resets=n) for n in (0, 100, 1000, 7992, 10**9)]
    assert sizes == sorted(sizes) and sizes[-1] == sizes[-2] < 4 * sizes[0]
    with pytest.raises(ValueError, match="resets is given, but bidirectional=True"):
        fastbptt.GRU(3, 4, bidirectional=True, seed=0).memory_needed(8, 10, resets=1)
    with pytest.raises(ValueError, match='resets is given, but steps="max"'):
        model.memory_needed(8, 10, resets=1, steps="max")


def test_predictions_and_forward_results() -> None:
    model = network("lstm", dtype="float64", num_layers=2)
    for steps in ("last", "all"):
        whole = fastbptt.predict(model, X, LENGTHS, batch_size=4, steps=steps, resets=RESETS)
        out = model.forward(X, LENGTHS, resets=RESETS)
        assert np.array_equal(whole, out.last if steps == "last" else out.outputs)
