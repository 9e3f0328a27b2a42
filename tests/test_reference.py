"""The specification against the complex step, sums written out, and its own symmetries."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from cases import (
    GRID,
    LOSSES,
    OUTPUTS,
    REDUCTIONS,
    SPARSE_GRID,
    STEPS,
    Array,
    Case,
    Problem,
    build,
    every_option,
    over_shapes,
    padding_of,
    worst_relative,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from fastbptt import reference

STEP = 1e-30
LIMIT = 1e-12
# below this a gradient is as good as zero: times STEP it would leave the range of float64
TINY = 1e-240


def evaluate(problem: Problem) -> tuple[float, dict[str, Array]]:
    return reference.loss_and_grad(problem.params, problem.x, problem.y, **problem.loss_args)


def loss_at(problem: Problem, **changed: Any) -> complex:
    params = {name: changed.get(name, p) for name, p in problem.params.items()}
    x = changed.get("x", problem.x)
    args = problem.loss_args
    if "h0" in changed:
        args["h0"] = changed["h0"]
    return reference.loss_only(params, x, problem.y, **args)


def inputs_of(case: Case, problem: Problem) -> dict[str, Array]:
    """All arrays a gradient exists for."""
    h0 = np.zeros((1, case.B, case.H)) if problem.h0 is None else problem.h0
    return {**problem.params, "x": problem.x, "h0": h0}


def every_entry(f: Callable[[Array], complex], at: Array, skip: Array | None) -> Array:
    """Gradient of f by the complex step, entry by entry, zero where ``skip``."""
    grad = np.zeros(at.shape)
    moved = at.astype(np.complex128)
    for index in np.ndindex(at.shape):
        if skip is None or not skip[index]:
            moved[index] += STEP * 1j
            grad[index] = f(moved).imag / STEP
            moved[index] = at[index]
    return grad


def worst_in_directions(
    f: Callable[[Array], complex], at: Array, grad: Array, rng: np.random.Generator, count: int
) -> float:
    """Like `worst_relative`, for the derivatives in a few random directions of entries 1 and -1."""
    worst = 0.0
    for _ in range(count):
        v = rng.choice([-1.0, 1.0], at.shape)
        difference = abs(f(at + STEP * 1j * v).imag / STEP - float((grad * v).sum()))
        worst = max(worst, difference / max(float(np.abs(grad).max()), TINY))
    return worst


def test_every_gradient_by_complex_step_over_all_options() -> None:
    """Every entry of every gradient of a small network, for every combination of the options."""
    worst = {}
    for case in every_option(B=3, T=4, I=2, H=3):
        problem = build(case)
        _, grads = evaluate(problem)
        inputs = inputs_of(case, problem)
        assert list(grads) == list(inputs)
        padding = padding_of(case, problem.lengths)
        for name, at in inputs.items():
            skip = np.broadcast_to(padding[:, :, np.newaxis], at.shape) if name == "x" else None
            exact = every_entry(lambda a, n=name, p=problem: loss_at(p, **{n: a}), at, skip)  # type: ignore[misc]
            assert grads[name].shape == at.shape
            if case.loss == "cross_entropy" and case.width == 1:  # one class: the loss is constant
                assert np.abs(exact).max() < 1e-15 and not grads[name].any(), f"{case} {name}"
            else:
                worst[f"{case} {name}"] = worst_relative(grads[name], exact)
    where = max(worst, key=lambda key: worst[key])
    assert worst[where] < LIMIT, f"{where}: {worst[where]:.2e}"


@pytest.mark.parametrize("case", over_shapes(SPARSE_GRID), ids=str)
def test_gradients_by_complex_step_over_shapes(case: Case) -> None:
    if case.loss == "cross_entropy" and case.width == 1:
        case = replace(case, loss="bce")
    problem = build(case)
    _, grads = evaluate(problem)
    rng = np.random.default_rng(case.seed)
    padding = padding_of(case, problem.lengths)
    assert not grads["x"][padding].any()
    problem.x[padding] = 0.0  # the directions below move it
    for name, at in inputs_of(case, problem).items():
        worst = worst_in_directions(
            lambda a, n=name: loss_at(problem, **{n: a}),  # type: ignore[misc]
            at,
            grads[name],
            rng,
            count=2,
        )
        assert worst < LIMIT, f"{name}: {worst:.2e}"


@pytest.mark.parametrize("gain", [1.0, 2.0, 4.0])
def test_gradients_of_saturated_units(gain: float) -> None:
    """Where h is close to 1, 1 - h^2 inherits h's rounding error: no more than that is lost."""
    for case in over_shapes([(2, 5, i, h) for i in (63, 64, 65, 129) for h in (1, 3)]):
        case = replace(case, loss="mse", with_lengths=False, with_h0=True)
        problem = build(case)
        problem.params["W_xh"] *= gain
        _, grads = evaluate(problem)
        hidden = reference.forward(problem.params, problem.x, **problem.forward_args).hidden
        slope = 1 - hidden**2
        lost = np.finfo(np.float64).eps * float((1 / slope).max(axis=(0, 2)).sum())
        rng = np.random.default_rng(case.seed)
        for name, at in inputs_of(case, problem).items():
            f = lambda a, n=name, p=problem: loss_at(p, **{n: a})  # noqa: E731
            worst = worst_in_directions(f, at, grads[name], rng, count=2)
            assert worst < 1e-13 + lost, f"{case} {name}: {worst:.2e}, {lost:.2e}"


@pytest.mark.parametrize("outputs", OUTPUTS)
@pytest.mark.parametrize("with_lengths", [False, True])
@pytest.mark.parametrize("with_h0", [False, True])
def test_backward_of_any_gradient(outputs: int | None, with_lengths: bool, with_h0: bool) -> None:
    """Gradients of sum(C * outputs) + sum(F * final_state), with NaN in C after the end."""
    case = Case(5, 7, 3, 4, outputs, with_lengths=with_lengths, with_h0=with_h0, seed=3)
    problem = build(case)
    rng = np.random.default_rng(0)
    c, f = rng.normal(size=(5, 7, case.width)), rng.normal(size=(1, 5, 4))
    padding = padding_of(case, problem.lengths)

    def functional(d_outputs: Array | None, d_final: Array | None, **changed: Array) -> complex:
        params = {name: changed.get(name, p) for name, p in problem.params.items()}
        out = reference.forward(
            params, changed.get("x", problem.x), problem.lengths, changed.get("h0", problem.h0)
        )
        total = 0.0
        if d_outputs is not None:
            total += (d_outputs * out.outputs).sum()
        if d_final is not None:
            total += (d_final * out.final_state).sum()
        return total

    out = reference.forward(problem.params, problem.x, **problem.forward_args)
    for d_outputs, d_final in ((c, f), (c, None), (None, f)):
        dirty = None if d_outputs is None else d_outputs.copy()
        if dirty is not None:
            dirty[padding] = np.nan
        grads = reference.backward(
            problem.params, problem.x, out, dirty, d_final, **problem.forward_args
        )
        assert not grads["x"][padding].any()
        for name, at in inputs_of(case, problem).items():
            skip = np.broadcast_to(padding[:, :, np.newaxis], at.shape) if name == "x" else None
            exact = every_entry(
                lambda a, n=name, o=d_outputs, s=d_final: functional(o, s, **{n: a}),  # type: ignore[misc]
                at,
                skip,
            )
            assert worst_relative(grads[name], exact) < LIMIT, name
    nothing = reference.backward(problem.params, problem.x, out, **problem.forward_args)
    assert not any(g.any() for g in nothing.values())


# --- values, against sums written out ---


def loss_by_hand(case: Case, problem: Problem) -> tuple[float, Array]:
    """Loss and final state, from the documented formulas, by loops over sequences and steps."""
    p = problem.params
    finals = []
    step_losses: list[list[float]] = []
    for b in range(case.B):
        length = case.T if problem.lengths is None else int(problem.lengths[b])
        h = np.zeros(case.H) if problem.h0 is None else problem.h0[0, b]
        own = []
        for t in range(length):
            a = problem.x[b, t] @ p["W_xh"] + h @ p["W_hh"]
            h = np.tanh(a + p["b_h"] if case.bias else a)
            z = h if case.O is None else h @ p["W_hy"]
            z = z + p["b_y"] if case.bias and case.O is not None else z
            if case.steps == "last" and t < length - 1:
                continue
            y = problem.y[b] if case.steps == "last" else problem.y[b, t]
            if case.loss == "cross_entropy":
                own.append(math.log(sum(math.exp(v) for v in z)) - float(z[y]))
                continue
            pairs = zip(z.tolist(), np.ravel(y).tolist(), strict=True)
            if case.loss == "bce":
                terms = [math.log(1 + math.exp(v)) - u * v for v, u in pairs]
            else:
                terms = [(u - v) ** 2 for v, u in pairs]
            own.append(sum(terms) / (1 if case.reduction == "sum" else len(terms)))
        step_losses.append(own)
        finals.append(h)
    w = [1.0] * case.B if problem.sample_weight is None else problem.sample_weight.tolist()
    pairs_b = list(zip(w, step_losses, strict=True))
    if case.reduction == "sum":
        total = sum(wb * sum(own) for wb, own in pairs_b)
    elif case.reduction == "mean":
        count = sum(wb * len(own) for wb, own in pairs_b)
        total = sum(wb * sum(own) for wb, own in pairs_b) / count
    else:
        total = sum(wb * sum(own) / len(own) for wb, own in pairs_b) / sum(w)
    return total, np.array(finals)[np.newaxis]


def test_loss_and_final_state_by_hand() -> None:
    for case in every_option(B=4, T=5, I=3, H=2):
        problem = build(case)
        expected, final_state = loss_by_hand(case, problem)
        loss, _ = evaluate(problem)
        out = reference.forward(problem.params, problem.x, **problem.forward_args)
        assert loss == pytest.approx(expected, rel=1e-13, abs=1e-14), str(case)
        assert loss == loss_at(problem), str(case)
        assert worst_relative(out.final_state, final_state) < 1e-14, str(case)
        after = padding_of(case, problem.lengths)
        assert not out.outputs[after].any() and not out.hidden[after].any(), str(case)


@pytest.mark.parametrize("z", [-1e4, -745.5, -40.0, 40.0, 1e4])
@pytest.mark.parametrize("y", [0.0, 1.0])
def test_bce_far_from_zero(z: float, y: float) -> None:
    values, dz = reference.LOSSES["bce"](np.array([[z]]), np.array([[y]]))
    wrong_by = z if y == 0 else -z  # loss = softplus of it, gradient = its sigmoid
    tail = math.exp(-abs(z))
    assert values.item() == pytest.approx(max(wrong_by, 0.0) + math.log1p(tail), rel=1e-15)
    sigmoid = (1 if wrong_by > 0 else tail) / (1 + tail)
    assert dz.item() == pytest.approx(sigmoid if y == 0 else -sigmoid, rel=1e-15)


def test_cross_entropy_far_from_zero() -> None:
    z = np.array([[1e4, -1e4, 0.0], [-1e4, -1e4, -1e4]])
    values, dz = reference.LOSSES["cross_entropy"](z, np.array([1, 0]))
    assert values[:, 0].tolist() == pytest.approx([2e4, math.log(3)], rel=1e-15)
    assert dz[0].tolist() == [1.0, -1.0, 0.0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])
def test_dtype_is_kept(dtype: type) -> None:
    """Float32 is float32 throughout: no result is wider, whatever the optional arguments are."""
    for case in every_option(B=3, T=3, I=2, H=2, O=2, bias=True):
        problem = build(case, dtype)
        if np.issubdtype(dtype, np.complexfloating) and problem.y.dtype.kind == "c":
            problem.y = problem.y.real
        loss, grads = evaluate(problem)
        out = reference.forward(problem.params, problem.x, **problem.forward_args)
        arrays = [*grads.values(), out.outputs, out.hidden, out.final_state]
        assert {a.dtype for a in arrays} == {np.dtype(dtype)}, str(case)
        assert isinstance(loss, complex if dtype is np.complex128 else float)
        assert dtype(loss).item() == loss, str(case)  # and was not computed in a wider one
        expected, _ = evaluate(build(case))
        assert loss == pytest.approx(expected, rel=1e-5 if dtype is np.float32 else 1e-14)


@pytest.mark.parametrize("argument", ["loss", "steps", "reduction", "cell"])
def test_unknown_name(argument: str) -> None:
    problem = build(Case(2, 2, 1, 1))
    with pytest.raises(ValueError, match=f"{argument} is 'nonsense'; expected one of "):
        reference.loss_and_grad(
            problem.params, problem.x, problem.y, **{**problem.loss_args, argument: "nonsense"}
        )


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_all_weights_zero(reduction: str) -> None:
    problem = build(Case(2, 2, 1, 1, reduction=reduction))
    args = {**problem.loss_args, "sample_weight": np.zeros(2)}
    with pytest.raises(ValueError, match="sample_weight is zero for every sequence"):
        reference.loss_only(problem.params, problem.x, problem.y, **args)


def test_grid_is_covered() -> None:
    assert len(GRID) == 1536
    assert set(SPARSE_GRID) <= set(GRID)
    for axes in ((0,), (1,), (2, 3)):
        parts = [{tuple(shape[a] for a in axes) for shape in grid} for grid in (SPARSE_GRID, GRID)]
        assert parts[0] == parts[1]


# --- symmetries ---

some_cases = st.builds(
    Case,
    B=st.integers(1, 5),
    T=st.integers(1, 6),
    I=st.integers(1, 4),
    H=st.integers(1, 4),
    O=st.sampled_from(OUTPUTS),
    bias=st.booleans(),
    loss=st.sampled_from(LOSSES),
    steps=st.sampled_from(STEPS),
    reduction=st.sampled_from(REDUCTIONS),
    with_lengths=st.booleans(),
    with_h0=st.booleans(),
    with_weights=st.booleans(),
    seed=st.integers(0, 2**20),
)
quickly = settings(max_examples=60, deadline=None)


def pick(problem: Problem, rows: Any) -> Problem:
    """The problem of some of the sequences."""

    def of(a: Array | None) -> Array | None:
        return None if a is None else a[rows]

    h0 = None if problem.h0 is None else problem.h0[:, rows]
    lengths, weights = of(problem.lengths), of(problem.sample_weight)
    x, y = problem.x[rows], problem.y[rows]
    return Problem(problem.params, x, y, lengths, h0, weights, problem.names)


Evaluated = tuple[float, dict[str, Array]]


def assert_close(got: Evaluated, expected: Evaluated) -> None:
    assert got[0] == pytest.approx(expected[0], rel=1e-12, abs=1e-14)
    for name, grad in expected[1].items():
        np.testing.assert_allclose(got[1][name], grad, rtol=1e-11, atol=1e-14, err_msg=name)


@quickly
@given(some_cases, st.sampled_from([0.0, 1e300, np.inf, -np.inf]))
def test_padding_does_not_matter(case: Case, filler: float) -> None:
    case = replace(case, with_lengths=True)
    problem, other = build(case), build(case)
    padding = padding_of(case, problem.lengths)
    other.x[padding] = filler
    if case.steps == "all":
        other.y[padding] = filler if other.y.dtype.kind == "f" else 10**9
    (loss, grads), (loss_other, grads_other) = evaluate(problem), evaluate(other)
    assert loss == loss_other and math.isfinite(loss)
    for name, grad in grads.items():
        assert np.array_equal(grad, grads_other[name]), name


@quickly
@given(some_cases, st.randoms(use_true_random=False))
def test_order_of_sequences(case: Case, random: Any) -> None:
    problem = build(case)
    order = list(range(case.B))
    random.shuffle(order)
    loss, grads = evaluate(problem)
    grads = {**grads, "x": grads["x"][order], "h0": grads["h0"][:, order]}
    assert_close(evaluate(pick(problem, order)), (loss, grads))


@quickly
@given(some_cases)
def test_batch_is_its_sequences_one_by_one(case: Case) -> None:
    case = replace(case, reduction="sum")
    problem = build(case)
    total, sums = 0.0, {name: np.zeros_like(a) for name, a in inputs_of(case, problem).items()}
    for b in range(case.B):
        one = pick(problem, [b])
        if one.sample_weight is not None and not one.sample_weight.any():
            continue
        if one.lengths is not None:  # alone, a sequence needs no padding
            end = int(one.lengths[0])
            one.x, one.lengths = one.x[:, :end], None
            one.y = one.y if case.steps == "last" else one.y[:, :end]
        loss, grads = evaluate(one)
        total += loss
        for name in problem.params:
            sums[name] += grads[name]
        sums["x"][b, : one.x.shape[1]] = grads["x"][0]
        sums["h0"][0, b] = grads["h0"][0, 0]
    assert_close((total, sums), evaluate(problem))


@quickly
@given(some_cases, st.data())
def test_zero_weight_is_absence(case: Case, data: st.DataObject) -> None:
    case = replace(case, B=case.B + 1)
    absent = data.draw(st.integers(0, case.B - 1))
    problem = build(case)
    weights = np.random.default_rng(case.seed).uniform(0.5, 2, case.B)
    weights[absent] = 0.0
    problem.sample_weight = weights
    rest = [b for b in range(case.B) if b != absent]
    loss, grads = evaluate(problem)
    assert not grads["x"][absent].any() and not grads["h0"][:, absent].any()
    grads = {**grads, "x": grads["x"][rest], "h0": grads["h0"][:, rest]}
    assert_close(evaluate(pick(problem, rest)), (loss, grads))


@quickly
@given(some_cases)
def test_equal_weights_are_no_weights(case: Case) -> None:
    problem = build(replace(case, with_weights=False))
    loss, grads = evaluate(problem)
    problem.sample_weight = np.full(case.B, 0.5)
    scale = 2.0 if case.reduction == "sum" else 1.0
    half = evaluate(problem)
    assert_close((scale * half[0], {name: scale * g for name, g in half[1].items()}), (loss, grads))


# --- Adam and clipping ---


@pytest.mark.parametrize(
    ("epsilon_hat", "decreases"),
    [(False, [9.0909e-4, 1.8182e-3, 2.7273e-3]), (True, [2.4025e-4, 5.4922e-4, 9.0299e-4])],
)
def test_adam_where_epsilon_counts(epsilon_hat: bool, decreases: list[float]) -> None:
    """A constant gradient of 1e-7: the numbers of torch 2.13 and optax 0.2.8, and of Keras 3.15."""
    params = {"b_h": np.ones(1)}
    state = reference.adam_init(params)
    for step, decrease in enumerate(decreases, start=1):
        grads = {"b_h": np.full(1, 1e-7), "x": np.ones(3)}
        reference.adam_step(params, grads, state, epsilon_hat=epsilon_hat)
        assert state["step"] == step
        assert 1 - params["b_h"].item() == pytest.approx(decrease, rel=5e-5)


@pytest.mark.parametrize("epsilon_hat", [False, True])
def test_adam_against_scalars(epsilon_hat: bool) -> None:
    rng = np.random.default_rng(0)
    start, gradients = rng.normal(size=(2, 3)), rng.normal(size=(20, 2, 3))
    params = {"W_xh": start.copy()}
    view = params["W_xh"]
    state = reference.adam_init(params)
    lr, b1, b2, eps = 0.01, 0.8, 0.95, 1e-3
    for g in gradients:
        reference.adam_step(params, {"W_xh": g}, state, lr, (b1, b2), eps, epsilon_hat)
    assert params["W_xh"] is view
    for index, p in np.ndenumerate(start):
        m = v = 0.0
        for t, g in enumerate(gradients[(slice(None), *index)].tolist(), start=1):
            m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
            if epsilon_hat:
                p -= lr * math.sqrt(1 - b2**t) / (1 - b1**t) * m / (math.sqrt(v) + eps)
            else:
                p -= lr * (m / (1 - b1**t)) / (math.sqrt(v / (1 - b2**t)) + eps)
        assert view[index] == pytest.approx(p, rel=1e-13)


def test_adam_keeps_float32() -> None:
    params = {"W_xh": np.ones((2, 2), np.float32)}
    state = reference.adam_init(params)
    reference.adam_step(params, {"W_xh": np.ones((2, 2), np.float32)}, state)
    assert {a.dtype for a in (params["W_xh"], state["m"]["W_xh"], state["v"]["W_xh"])} == {
        np.dtype(np.float32)
    }


def test_clipping() -> None:
    grads = {"W_xh": np.array([[2.0, -1.0]]), "b_h": np.array([2.0]), "x": np.full((1, 1, 2), 7.0)}
    assert reference.global_norm(("W_xh", "b_h"), grads) == 3.0
    assert reference.clip_by_global_norm(("W_xh", "b_h"), grads, 3.0)["W_xh"].tolist() == [[2.0, -1.0]]
    assert reference.clip_by_global_norm(("W_xh", "b_h"), grads, 10.0)["W_xh"].tolist() == [[2.0, -1.0]]
    clipped = reference.clip_by_global_norm(("W_xh", "b_h"), grads, 1.5)
    assert clipped["W_xh"].tolist() == [[1.0, -0.5]] and clipped["b_h"].tolist() == [1.0]
    assert clipped["x"].tolist() == grads["x"].tolist()
    assert grads["b_h"].tolist() == [2.0]
    zeros = {"b_h": np.zeros(2)}
    assert reference.clip_by_global_norm(zeros, zeros, 0.5)["b_h"].tolist() == [0.0, 0.0]
