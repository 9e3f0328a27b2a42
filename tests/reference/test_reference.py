"""The specification against the complex step, sums written out, and its own symmetries."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import pytest
from cases import (
    CELLS,
    EVERY_CELL,
    FULL_GRID,
    GRID,
    LOSSES,
    OUTPUTS,
    PAIRS,
    REDUCTIONS,
    SPARSE_GRID,
    STEPS,
    TIMES,
    WIDTHS,
    Array,
    Case,
    Problem,
    State,
    build,
    covering_pairs,
    every_network,
    every_option,
    networks_over_shapes,
    over_shapes,
    padding_of,
    sampled,
    small_unless_full,
    taken,
    with_outputs,
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
    return reference.loss_and_grad(
        problem.params, problem.x, problem.y, **problem.loss_args, **problem.network
    )


def run(problem: Problem) -> reference.Forward:
    return reference.forward(problem.params, problem.x, **problem.forward_args, **problem.network)


def parts(state: State) -> tuple[Array, ...]:
    """The arrays of a state: one, or for an LSTM two."""
    return state if isinstance(state, tuple) else (state,)


def whole(arrays: Iterable[Array]) -> State:
    """A state from its arrays."""
    state = tuple(arrays)
    return state if len(state) > 1 else state[0]


def inputs_of(case: Case, problem: Problem) -> dict[str, Array]:
    """All arrays a gradient exists for."""
    zeros = (np.zeros(case.state_shape),) * len(case.state_names)
    given = zeros if problem.h0 is None else parts(problem.h0)
    states = dict(zip(case.state_names, given, strict=True))
    x = {"x": problem.x} if case.embedding is None else {}
    return {**problem.params, **x, **{n: s for n, s in states.items() if n not in problem.params}}


def with_inputs(case: Case, problem: Problem, **changed: Array) -> Problem:
    """The problem with some of those arrays replaced."""
    params = {name: changed.get(name, p) for name, p in problem.params.items()}
    h0 = problem.h0
    if not changed.keys().isdisjoint(set(case.state_names) - set(params)):
        now = inputs_of(case, problem) | changed
        h0 = whole(now[name] for name in case.state_names)
    return replace(problem, params=params, x=changed.get("x", problem.x), h0=h0)


def loss_at(problem: Problem) -> complex:
    return reference.loss_only(
        problem.params, problem.x, problem.y, **problem.loss_args, **problem.network
    )


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


Functional = Callable[[Problem], complex]


def of(f: Functional, case: Case, problem: Problem, name: str) -> Callable[[Array], complex]:
    """A function of a problem as one of a single input."""
    return lambda array: f(with_inputs(case, problem, **{name: array}))


def check_every_entry(
    case: Case, problem: Problem, grads: dict[str, Array], f: Functional = loss_at
) -> None:
    inputs = inputs_of(case, problem)
    assert list(grads) == list(inputs)
    padding = padding_of(case, problem.lengths)
    for name, at in inputs.items():
        skip = np.broadcast_to(padding[:, :, np.newaxis], at.shape) if name == "x" else None
        exact = every_entry(of(f, case, problem, name), at, skip)
        assert grads[name].shape == at.shape
        if name == "E":  # the loss depends on rows that get no gradient on purpose
            exact[[] if case.padding_index is None else case.padding_index] = 0.0
            exact *= not case.freeze_embedding
        if case.loss == "cross_entropy" and case.width == 1:  # one class: the loss is constant
            assert np.abs(exact).max() < 1e-15 and not grads[name].any(), f"{case} {name}"
        else:
            worst = worst_relative(grads[name], exact)
            assert worst < LIMIT, f"{case} {name}: {worst:.2e}"


def check_directions(
    case: Case, problem: Problem, grads: dict[str, Array], f: Functional = loss_at, count: int = 2
) -> None:
    inputs = inputs_of(case, problem)
    assert list(grads) == list(inputs)
    assert "x" not in grads or not grads["x"][padding_of(case, problem.lengths)].any()
    rng = np.random.default_rng(case.seed)
    for name, at in inputs.items():
        if name != "E" or (case.padding_index is None and not case.freeze_embedding):
            worst = worst_in_directions(of(f, case, problem, name), at, grads[name], rng, count)
            assert worst < LIMIT, f"{case} {name}: {worst:.2e}"


def test_every_gradient_by_complex_step_over_all_options() -> None:
    """Every entry of every gradient of a small network, for every combination of the options."""
    for case in sampled(every_option(B=3, T=3, I=1, H=2), 50):
        problem = build(case)
        check_every_entry(case, problem, evaluate(problem)[1])


@pytest.mark.parametrize(("cell", "steps"), sampled([*itertools.product(CELLS, STEPS)], 4))
def test_every_gradient_by_complex_step_of_every_cell(cell: str, steps: str) -> None:
    """The same for each cell, in two layers, with some of the options."""
    small = {"B": 3, "T": 3, "I": 2, "H": 2, "num_layers": 2, "with_lengths": True}
    for case in sampled(every_network(cell=cell, steps=steps, bias=True, **small), 20):
        problem = build(case)
        check_every_entry(case, problem, evaluate(problem)[1])


@pytest.mark.parametrize("cell", CELLS)
def test_gradients_by_complex_step_of_every_network(cell: str) -> None:
    for case in sampled(every_network(B=3, T=4, I=2, H=3, cell=cell), 20):
        problem = build(case)
        check_directions(case, problem, evaluate(problem)[1])


@pytest.mark.parametrize("draws", [True, False])
@pytest.mark.parametrize("cell", CELLS)
def test_gradients_by_complex_step_with_noise(cell: str, draws: bool) -> None:
    """Noise, recurrent dropout and zoneout: all together, and each without the others in turns."""
    for number, case in enumerate(sampled(every_network(B=3, T=4, I=2, H=3, cell=cell), 120)):
        problem = build(case)
        module = reference.CELLS[cell]
        sizes: dict[str, int] = {"layers": case.num_layers, "directions": case.directions}
        shares = (0.3, 0.6)[: len(module.STATES)]
        options: dict[str, Any] = {
            "recurrent_masks": reference.recurrent_masks(1, 0.4, case.B, case.H, **sizes),
            "zoneout": np.reshape(shares, (-1, 1, 1, 1)),
        }
        if draws:
            options["zoneout"] = reference.zoneout_masks(2, shares, case.B, case.T, case.H, **sizes)
        if module.GATES == 1:
            noise = reference.recurrent_noise(3, 0.5, case.B, case.T, case.H, **sizes)
            options["noise"] = noise
        if case.embedding is None:
            options["input_noise"] = reference.input_noise(4, 0.5, case.B, case.T, case.I)
        alone = [{name: one} for name, one in options.items()]
        for chosen in [*(alone if FULL_GRID else [alone[number % len(alone)]]), options]:
            noisy = replace(problem, network=problem.network | chosen)
            check_directions(case, noisy, evaluate(noisy)[1], count=1)


def test_zoneout_and_masks_at_their_ends() -> None:
    """Masks of ones and zoneout of nothing change no bit but of rounding; of all, no step moves."""
    for cell in CELLS:
        case = Case(3, 5, 2, 4, 2, loss="mse", cell=cell, with_h0=True, with_lengths=True)
        problem = build(case)
        plain = run(problem)
        ones = {"recurrent_masks": np.ones((1, 3, 4)), "zoneout": np.zeros(1)}
        same = run(replace(problem, network=problem.network | ones))
        assert worst_relative(same.outputs, plain.outputs) < 1e-14
        stays = run(replace(problem, network=problem.network | {"zoneout": np.ones(1)}))
        for first, final in zip(parts(problem.h0), parts(stays.final_state), strict=True):
            assert (first == final).all()


@pytest.mark.parametrize("case", sampled(over_shapes(SPARSE_GRID)), ids=str)
def test_gradients_by_complex_step_over_shapes(case: Case) -> None:
    if case.loss == "cross_entropy" and case.width == 1:
        case = replace(case, loss="bce")
    problem = build(case)
    check_directions(case, problem, evaluate(problem)[1])


@pytest.mark.parametrize("cell", CELLS)
def test_gradients_by_complex_step_of_networks_over_shapes(cell: str) -> None:
    """One direction in all inputs at once, in each so far that all count the same."""
    cases = networks_over_shapes(cell=cell, padding_index=None, freeze_embedding=False)
    for case in sampled(small_unless_full(cases), 30):
        problem = build(case)
        _, grads = evaluate(problem)
        rng = np.random.default_rng(case.seed)
        sizes = {name: float(np.abs(grad).max()) for name, grad in grads.items()}
        # a step times its inverse is still a small step; of a hinge all gradients may be 0
        smallest = 1e-18 * max(sizes.values()) or 1.0
        moved, exact, scale = {}, 0.0, 0.0
        for name, at in inputs_of(case, problem).items():
            v = rng.choice([-1.0, 1.0], at.shape) / max(sizes[name], smallest)
            moved[name] = at + STEP * 1j * v
            exact += float((grads[name] * v).sum())
            scale += 1.0
        found = loss_at(with_inputs(case, problem, **moved)).imag / STEP
        worst = abs(found - exact) / scale
        assert worst < LIMIT, f"{case}: {worst:.2e}"


@pytest.mark.parametrize("gain", [1.0, 2.0, 4.0])
def test_gradients_of_saturated_units(gain: float) -> None:
    """Where h is close to 1, 1 - h^2 inherits h's rounding error: no more than that is lost."""
    for case in over_shapes([(2, 5, i, h) for i in (63, 64, 65, 129) for h in (1, 3)]):
        case = replace(case, loss="mse", with_lengths=False, with_h0=True)
        problem = build(case)
        problem.params["W_xh"] *= gain
        _, grads = evaluate(problem)
        slope = 1 - run(problem).hidden ** 2
        lost = np.finfo(np.float64).eps * float((1 / slope).max(axis=(0, 2)).sum())
        rng = np.random.default_rng(case.seed)
        for name, at in inputs_of(case, problem).items():
            f = of(loss_at, case, problem, name)
            worst = worst_in_directions(f, at, grads[name], rng, count=2)
            assert worst < 1e-13 + lost, f"{case} {name}: {worst:.2e}, {lost:.2e}"


@pytest.mark.parametrize(("cell", "outputs"), sampled([*itertools.product(CELLS, OUTPUTS)], 2))
def test_backward_of_any_gradient(cell: str, outputs: int | None) -> None:
    """Gradients of sum(C * outputs) + sum(F * final_state) + sum(L * last), NaN in C's padding."""
    options = {"freeze_embedding": False, "padding_index": None, "bias": True}
    cases = every_network(B=4, T=5, I=3, H=3, O=outputs, cell=cell, **options)
    for case in sampled(cases):
        problem = build(case)
        rng = np.random.default_rng(case.seed)
        c, last = rng.normal(size=(4, 5, case.width)), rng.normal(size=(4, case.width))
        f = [rng.normal(size=case.state_shape) for _ in case.state_names]
        dirty = c.copy()
        dirty[padding_of(case, problem.lengths)] = np.nan
        use = (True, True, True) if case.seed % 2 else rng.permutation([True, False, False])
        given = [d if used else None for d, used in zip((dirty, whole(f), last), use, strict=True)]

        def total(
            moved: Problem, c: Array = c, f: Any = f, last: Array = last, use: Any = use
        ) -> Any:
            out = run(moved)
            final = sum((a * b).sum() for a, b in zip(f, parts(out.final_state), strict=True))
            sums = (c * out.outputs).sum(), final, (last * out.last).sum()
            return sum(value for value, used in zip(sums, use, strict=True) if used)

        grads = reference.backward(
            problem.params,
            problem.x,
            run(problem),
            *given,
            **problem.forward_args,
            **problem.network,
        )
        check_directions(case, problem, grads, total, count=1)
    nothing = reference.backward(
        problem.params, problem.x, run(problem), **problem.forward_args, **problem.network
    )
    assert list(nothing) == list(grads)
    assert not any(g.any() for g in nothing.values())


# --- values, against sums written out ---


Vector = list[float]


def sigmoid(a: float) -> float:
    return 1 / (1 + math.exp(-a))


class Gates:
    """Sums of one step of one sequence, number by number: of a gate's block, for a unit."""

    def __init__(self, params: dict[str, Array], x: Vector, h: Vector) -> None:
        self.p = {name: p.tolist() for name, p in params.items()}
        self.x, self.h, self.units = x, h, range(len(h))

    def of_input(self, gate: int, j: int) -> float:
        k = gate * len(self.h) + j
        bias: float = self.p["b_h"][k] if "b_h" in self.p else 0.0
        return sum(v * row[k] for v, row in zip(self.x, self.p["W_xh"], strict=True)) + bias

    def of_state(self, gate: int, j: int, h: Vector | None = None) -> float:
        k = gate * len(self.h) + j
        return sum(v * row[k] for v, row in zip(h or self.h, self.p["W_hh"], strict=True))

    def __call__(self, gate: int) -> Vector:
        return [self.of_input(gate, j) + self.of_state(gate, j) for j in self.units]


def gru_by_hand(g: Gates, before: bool) -> Vector:
    r, z = ([sigmoid(a) for a in g(gate)] for gate in (0, 1))
    reset = [r[j] * g.h[j] for j in g.units]
    inside = g.p.get("b_hn", [0.0] * len(r))
    n = [
        g.of_state(2, j, reset) if before else r[j] * (g.of_state(2, j) + inside[j])
        for j in g.units
    ]
    n = [math.tanh(g.of_input(2, j) + n[j]) for j in g.units]
    return [(1 - z[j]) * n[j] + z[j] * g.h[j] for j in g.units]


def lstm_by_hand(g: Gates, c: Vector) -> tuple[Vector, Vector]:
    i, f, o = ([sigmoid(a) for a in g(gate)] for gate in (0, 1, 3))
    new = [f[j] * c[j] + i[j] * math.tanh(a) for j, a in enumerate(g(2))]
    return [o[j] * math.tanh(new[j]) for j in g.units], new


def softplus(a: float) -> float:
    return max(a, 0.0) + math.log1p(math.exp(-abs(a)))


RATES: dict[str, Callable[[float], float]] = {
    "tanh": math.tanh,
    "relu": lambda a: max(a, 0.0),
    "softplus": softplus,
    "sigmoid": sigmoid,
}


def rates_by_hand(name: str) -> Callable[[float], float]:
    """The nonlinearity at the end of a cell's name."""
    return RATES.get(name.rpartition("_")[2], math.tanh)


def plain_by_hand(cell: str, g: Gates, _: Any, __: Any) -> tuple[Vector, ...]:
    return ([rates_by_hand(cell)(a) for a in g(0)],)


def leaky_by_hand(cell: str, g: Gates, v: Vector, alpha: Vector) -> tuple[Vector, ...]:
    f, state, fresh = rates_by_hand(cell), v, g(0)
    if "preactivation" not in cell:
        fresh = [f(a) for a in fresh]
    new = zip(alpha, state, fresh, strict=True)
    return ([(1 - share) * old + share * a for share, old, a in new],)


# sums of a step, last state, setting of each unit -> states after the step
EQUATIONS: dict[str, Callable[[Gates, Any, Any], tuple[Vector, ...]]] = {
    "rnn": lambda g, _, __: ([math.tanh(a) for a in g(0)],),
    "relu": lambda g, _, __: ([max(a, 0.0) for a in g(0)],),
    **{cell: partial(plain_by_hand, cell) for cell in EVERY_CELL if cell.startswith("rnn_")},
    **{cell: partial(leaky_by_hand, cell) for cell in EVERY_CELL if cell.startswith("leaky")},
    "gru": lambda g, _, __: (gru_by_hand(g, before=False),),
    "gru_before": lambda g, _, __: (gru_by_hand(g, before=True),),
    "lstm": lambda g, c, _: lstm_by_hand(g, c),
}


def network_by_hand(case: Case, problem: Problem, b: int) -> tuple[list[Vector], Array, Vector]:
    """Hidden states on top, final states (L * D, S, H) and last hidden of one sequence."""
    length = case.T if problem.lengths is None else int(problem.lengths[b])
    x = problem.x if case.embedding is None else problem.params["E"][problem.x]
    below: list[Vector] = x[b, :length].tolist()
    p, f = problem.params, rates_by_hand(case.cell)

    def seen(state: tuple[Vector, ...]) -> Vector:
        return [f(v) for v in state[0]] if "preactivation" in case.cell else state[0]

    numbers = np.broadcast_to(np.nan if case.alpha is None else case.alpha, case.state_shape[::2])
    initial = [inputs_of(case, problem)[name] for name in case.state_names]
    own_states = [p.get(name, np.zeros(case.state_shape[::2])) for name in case.state_names]
    if problem.h0 is not None:
        initial = [*parts(problem.h0)]
    finals, last = [], []
    for layer in range(case.num_layers):
        sides = []
        for sfx in ("", "_reverse")[: case.directions]:
            names = ("W_xh", "W_hh", "b_h", "b_hn", "logit_alpha")
            full = {name: name + (f"_l{layer}" if layer else "") + sfx for name in names}
            own = {name: problem.params[f] for name, f in full.items() if f in problem.params}
            if case.low_rank:
                sfx_of = full["W_hh"].removeprefix("W_hh")
                own["W_hh"] = p[f"N_hh{sfx_of}"] @ p[f"M_hh{sfx_of}"]
            k = len(finals)
            alpha = [sigmoid(a) for a in own.get("logit_alpha", [])] or numbers[k].tolist()
            state = tuple((a[k, b] if a.ndim == 3 else a[k]).tolist() for a in initial)
            hidden = []
            for t, step in enumerate(below[::-1] if sfx else below):
                if problem.resets is not None and problem.resets[b, t]:
                    state = tuple(a[k].tolist() for a in own_states)
                g = Gates(own, step, seen(state))
                state = EQUATIONS[case.cell](g, state[-1], alpha)
                hidden.append(seen(state))
            finals.append(state)
            last.append(hidden[-1])
            sides.append(hidden[::-1] if sfx else hidden)
        top = [[*chain.from_iterable(both)] for both in zip(*sides, strict=True)]
        below = top
        if "masks" in problem.network and layer < case.num_layers - 1:
            below = (np.array(top) * problem.network["masks"][layer][b, :length]).tolist()
    return top, np.array(finals), [*chain.from_iterable(last[-case.directions :])]


def loss_by_hand(case: Case, problem: Problem) -> tuple[float, Array]:
    """Loss and final states (L * D, S, B, H), by loops over sequences and steps."""
    p = problem.params
    finals = []
    outputs: list[list[Array]] = []  # of each sequence at each step with a loss
    for b in range(case.B):
        hidden, final, last = network_by_hand(case, problem, b)
        finals.append(final)
        own = []
        read = {
            "last": [last],
            "all": hidden,
            "mean": [sum(np.array(h) for h in hidden) / len(hidden)],
            "max": [np.max(hidden, axis=0)],
        }
        for h in read[case.steps]:
            units = case.readout_units
            seen = np.array(h) if units is None else np.array(h)[list(units)]
            z = seen if case.O is None else seen @ p["W_hy"]
            own.append(z + p["b_y"] if case.has_output_bias and case.O is not None else z)
        outputs.append(own)
    states = np.stack(finals, axis=2)
    if case.losses is None:
        return sum_by_hand(case, case.loss, outputs, problem.y, problem.sample_weight), states
    total, end = 0.0, 0
    for name, one in case.losses.losses.items():
        first, end = end, end + case.losses.outputs[name]
        some = [[z[first:end] for z in own] for own in outputs]
        weight = problem.sample_weight
        weight = weight[name] if isinstance(weight, dict) else weight
        value = sum_by_hand(case, one.name, some, problem.y[name], weight)
        total += case.losses.weights[name] * value
    return total, states


def sum_by_hand(
    case: Case, name: str, outputs: list[list[Array]], targets: Array, weight: Array | None
) -> float:
    """Loss of some outputs, of each sequence at each step with a loss."""

    def weight_of(b: int, t: int) -> float:
        if weight is None:
            return 1.0
        return float(weight[b, t] if weight.ndim == 2 else weight[b])

    total = count = 0.0
    for b, own in enumerate(outputs):
        share = 1 / len(own) if case.reduction == "sequence_mean" else 1.0
        for t, z in enumerate(own):
            count += share * weight_of(b, t)
            if weight_of(b, t) == 0.0:  # its target is not read
                continue
            y = targets[b, t] if case.steps == "all" else targets[b]
            pairs = zip(z.tolist(), np.ravel(y).tolist(), strict=name != "cross_entropy")
            if name == "cross_entropy":
                terms = [math.log(sum(math.exp(v) for v in z)) - float(z[y])]
            elif name == "bce":
                terms = [math.log(1 + math.exp(v)) - u * v for v, u in pairs]
            elif name == "mse":
                terms = [(u - v) ** 2 for v, u in pairs]
            else:  # tested by itself
                terms = reference.LOSSES[name](z[np.newaxis], np.ravel(y))[0][0].tolist()
            value = sum(terms) / (1 if case.reduction == "sum" else len(terms))
            total += share * weight_of(b, t) * value
    return total / (1.0 if case.reduction == "sum" else count)


@pytest.mark.parametrize("cell", EQUATIONS)
def test_loss_and_states_by_hand(cell: str) -> None:
    cases = every_network(B=4, T=5, I=3, H=2, cell=cell)
    if cell == "rnn":
        cases += every_option(B=4, T=5, I=3, H=2)
    for case in sampled(cases, 50):
        problem = build(case)
        expected, final_state = loss_by_hand(case, problem)
        loss, _ = evaluate(problem)
        out = run(problem)
        assert loss == pytest.approx(expected, rel=1e-13, abs=1e-14), str(case)
        assert loss == loss_at(problem), str(case)
        for s, got in enumerate(parts(out.final_state)):
            assert worst_relative(got, final_state[:, s]) < 1e-14, str(case)
        after = padding_of(case, problem.lengths)
        assert not out.outputs[after].any() and not out.hidden[after].any(), str(case)


def test_last_is_what_each_direction_has_read_last() -> None:
    for case in sampled(every_network(B=5, T=6, I=2, H=3, O=2, reads_half=False)):
        problem = build(case)
        out, rows = run(problem), np.arange(case.B)
        ends = np.full(case.B, case.T) if problem.lengths is None else problem.lengths
        last = out.hidden[rows, ends - 1]
        last[:, case.H :] = out.hidden[:, 0, case.H :]
        last = last @ problem.params["W_hy"] + problem.params.get("b_y", 0)
        assert worst_relative(out.last, last) < 1e-14, str(case)
        if not case.bidirectional:
            assert worst_relative(out.last, out.outputs[rows, ends - 1]) < 1e-14, str(case)


# --- one network against others ---


def layer_of(case: Case, problem: Problem, layer: int, direction: int = 0) -> dict[str, Array]:
    """Parameters of one layer and direction as a network of its own."""
    sfx = (f"_l{layer}" if layer else "") + ("_reverse" if direction else "")
    names = ("W_xh", "W_hh", "b_h", *reference.CELLS[case.cell].EXTRA_BIAS, "logit_alpha")
    return {name: problem.params[name + sfx] for name in names if name + sfx in problem.params}


def reverse(values: Array, lengths: Array) -> Array:
    """Each sequence's own steps in the opposite order."""
    turned = np.zeros_like(values)
    for b, end in enumerate(lengths):
        turned[b, :end] = values[b, :end][::-1]
    return turned


def settings_of(problem: Problem, rows: slice) -> dict[str, Any]:
    """The cell's number, or those of some layers and directions."""
    given = problem.network.get("settings", {})
    return {name: value[rows] if np.ndim(value) else value for name, value in given.items()}


@pytest.mark.parametrize("cell", CELLS)
def test_two_directions_are_two_runs(cell: str) -> None:
    plain = {"embedding": None, "learn_initial_state": False, "O": None, "low_rank": False}
    shape = {"B": 5, "T": 6, "I": 2, "H": 3, "num_layers": 1, "bidirectional": True}
    for case in sampled(every_network(cell=cell, **shape, **plain), 3):
        problem = build(case)
        lengths = np.full(5, 6) if problem.lengths is None else problem.lengths
        both = run(problem)
        for d, x in enumerate((problem.x, reverse(problem.x, lengths))):
            own = layer_of(case, problem, 0, d)
            h0 = None
            if problem.h0 is not None:
                h0 = whole(a[d : d + 1] for a in parts(problem.h0))
            settings = settings_of(problem, slice(d, d + 1))
            one = reference.forward(own, x, lengths, h0, cell=cell, settings=settings)
            hidden = reverse(one.hidden, lengths) if d else one.hidden
            assert worst_relative(both.hidden[..., 3 * d : 3 * d + 3], hidden) < 1e-14, str(case)
            for a, b in zip(parts(both.final_state), parts(one.final_state), strict=True):
                assert worst_relative(a[d : d + 1], b) < 1e-14, str(case)


@pytest.mark.parametrize("cell", CELLS)
def test_a_stack_is_a_chain(cell: str) -> None:
    plain: dict[str, Any] = {"embedding": None, "learn_initial_state": False, "reads_half": False}
    plain |= {"num_layers": 3, "dropout": 0.4, "low_rank": False}
    for case in sampled(every_network(B=4, T=5, I=2, H=3, cell=cell, **plain), 3):
        problem = build(case)
        out, below = run(problem), problem.x
        for layer in range(3):
            own = layer_of(case, problem, layer)
            if case.bidirectional:
                other = layer_of(case, problem, layer, 1)
                own |= {f"{name}_reverse": p for name, p in other.items()}
            last = layer == 2
            if last:
                own |= {n: p for n, p in problem.params.items() if n in ("W_hy", "b_y")}
            k = slice(layer * case.directions, (layer + 1) * case.directions)
            h0 = None if problem.h0 is None else whole(a[k] for a in parts(problem.h0))
            one = reference.forward(
                own,
                below,
                problem.lengths,
                h0,
                cell=cell,
                bidirectional=case.bidirectional,
                settings=settings_of(problem, k),
                resets=problem.resets,
            )
            for a, b in zip(parts(out.final_state), parts(one.final_state), strict=True):
                assert worst_relative(a[k], b) < 1e-14, str(case)
            below = one.hidden if last else one.hidden * problem.network["masks"][layer]
        assert worst_relative(out.outputs, one.outputs) < 1e-14, str(case)
        assert worst_relative(out.last, one.last) < 1e-14, str(case)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("num_layers", [1, 3])
def test_chunks_are_one_long_sequence(cell: str, num_layers: int) -> None:
    """State carried forward and its gradient carried back: nothing is lost at the seams."""
    case = Case(3, 10, 2, 4, 2, loss="mse", cell=cell, num_layers=num_layers, with_h0=True)
    problem = build(case)
    rng = np.random.default_rng(0)
    d_outputs = rng.normal(size=(3, 10, 2))
    args = (problem.params, problem.x)
    long = run(problem)
    expected = reference.backward(*args, long, d_outputs, h0=problem.h0, **problem.network)
    chunks = [slice(0, 3), slice(3, 4), slice(4, 8), slice(8, 10)]
    states, outs = [problem.h0], []
    for chunk in chunks:
        x = problem.x[:, chunk]
        outs.append(reference.forward(problem.params, x, h0=states[-1], **problem.network))
        states.append(outs[-1].final_state)
    joined = np.concatenate([out.outputs for out in outs], axis=1)
    assert worst_relative(joined, long.outputs) < 1e-14
    for a, b in zip(parts(states[-1]), parts(long.final_state), strict=True):
        assert worst_relative(a, b) < 1e-14
    carried = None
    total = {name: np.zeros_like(p) for name, p in problem.params.items()}
    d_x = np.zeros_like(problem.x)
    for chunk, out, state in zip(chunks[::-1], outs[::-1], states[-2::-1], strict=True):
        grads = reference.backward(
            problem.params,
            problem.x[:, chunk],
            out,
            d_outputs[:, chunk],
            carried,
            h0=state,
            **problem.network,
        )
        carried = whole(grads[name] for name in case.state_names)
        d_x[:, chunk] = grads["x"]
        for name in total:
            total[name] += grads[name]
    total |= {"x": d_x, **dict(zip(case.state_names, parts(carried), strict=True))}
    assert list(total) == list(expected)
    for name, grad in expected.items():
        assert worst_relative(total[name], grad) < 1e-13, name


@pytest.mark.parametrize("cell", CELLS)
def test_learned_initial_state(cell: str) -> None:
    """The same as one given to every sequence; zero where another is given."""
    options = {"num_layers": 2, "with_h0": False, "learn_initial_state": True, "with_resets": False}
    for case in sampled(every_network(B=4, T=3, I=2, H=3, cell=cell, **options), 3):
        problem = build(case)
        loss, grads = evaluate(problem)
        states = {name: problem.params[name] for name in case.state_names}
        others = {name: p for name, p in problem.params.items() if name not in states}
        h0 = whole(np.repeat(p[:, np.newaxis], 4, axis=1) for p in states.values())
        expected, one_by_one = evaluate(replace(problem, params=others, h0=h0))
        assert loss == expected
        for name in others:
            assert np.array_equal(grads[name], one_by_one[name]), name
        for name in states:
            assert worst_relative(grads[name], one_by_one[name].sum(axis=1)) < 1e-14, name
        zeros = whole(np.zeros_like(a) for a in parts(h0))
        _, unused = evaluate(replace(problem, h0=zeros))
        assert all(unused[name].shape == p.shape for name, p in states.items())
        assert not any(unused[name].any() for name in states)


@pytest.mark.parametrize("padding_index", [None, 0, 2])
@pytest.mark.parametrize("with_lengths", [False, True])
def test_embedding(padding_index: int | None, with_lengths: bool) -> None:
    """The same as its rows given as input; only rows that occur get a gradient."""
    for seed in range(20):
        case = Case(3, 4, 2, 3, loss="mse", steps="all", embedding=30, seed=seed)
        case = replace(case, padding_index=padding_index, with_lengths=with_lengths)
        problem = build(case)
        problem.x[:, 0] = (2, 0, 5)
        tokens, real = problem.x, ~padding_of(case, problem.lengths)
        loss, grads = evaluate(problem)
        rows = problem.params["E"][tokens]
        rows[~real] = np.nan
        params = {name: p for name, p in problem.params.items() if name != "E"}
        expected, plain = evaluate(replace(problem, params=params, x=rows))
        assert loss == expected and "x" not in grads
        for name in grads:
            if name != "E":
                assert np.array_equal(grads[name], plain[name]), name
        dE = np.zeros((30, 2))  # noqa: N806
        for b, t in np.argwhere(real):
            dE[tokens[b, t]] += plain["x"][b, t]
        occur = set(tokens[real].tolist())
        if padding_index is not None:
            dE[padding_index] = 0.0
            occur.discard(padding_index)
        assert worst_relative(grads["E"], dE) < 1e-14
        assert set(np.flatnonzero(grads["E"].any(axis=1)).tolist()) == occur
        problem.network["frozen"] = True
        _, frozen = evaluate(problem)
        assert not frozen["E"].any()
        assert all(np.array_equal(frozen[n], g) for n, g in grads.items() if n != "E")


def test_leaky_with_alpha_one_is_the_rnn() -> None:
    case = Case(3, 4, 2, 5, with_h0=True, with_lengths=True)
    loss, grads = evaluate(build(case))
    loss_leaky, grads_leaky = evaluate(build(replace(case, cell="leaky", setting=1.0)))
    assert loss == loss_leaky
    for name, grad in grads.items():
        assert worst_relative(grads_leaky[name], grad) < 1e-14, name


def test_settings() -> None:
    problem = build(Case(2, 3, 2, 2, cell="leaky"))
    default = evaluate(problem)[0]
    problem.network["settings"] = {"alpha": 0.2}
    assert evaluate(problem)[0] == default
    problem.network["settings"] = {"alpha": np.float64(0.7)}
    assert evaluate(problem)[0] != default
    assert run(problem.astype(np.float32)).outputs.dtype == np.float32
    for cell in ("leaky", "rnn"):
        problem.network |= {"cell": cell, "settings": {"beta": 0.2}}
        with pytest.raises(TypeError, match="beta"):
            run(problem)


def test_relu_passes_nothing_back_where_its_argument_is_zero() -> None:
    params = {"W_xh": np.ones((1, 1)), "W_hh": np.zeros((1, 1))}
    for x, slope in ((-1.0, 0.0), (0.0, 0.0), (1.0, 1.0)):
        at = np.full((1, 1, 1), x)
        out = reference.forward(params, at, cell="relu")
        assert out.outputs.item() == max(x, 0.0)
        grads = reference.backward(params, at, out, np.ones((1, 1, 1)), cell="relu")
        assert grads["x"].item() == slope


def test_what_overflows_after_the_end_does_not_matter() -> None:
    """The cells run on over padding, where a ReLU's state may grow without bound."""
    params = {"W_xh": np.ones((1, 1)), "W_hh": np.full((1, 1), 10.0), "W_hy": np.ones((1, 1))}
    x, y = np.ones((2, 400, 1)), np.zeros((2, 400, 1))
    args = {"loss": "mse", "steps": "all", "lengths": np.array([2, 3]), "cell": "relu"}
    with np.errstate(over="ignore", invalid="ignore"):
        loss, grads = reference.loss_and_grad(params, x, y, **args)
    expected, short = reference.loss_and_grad(params, x[:, :3], y[:, :3], **args)
    assert loss == expected
    assert all(np.array_equal(grads[name], short[name]) for name in (*params, "h0"))
    assert not grads["x"][:, 3:].any() and np.array_equal(grads["x"][:, :3], short["x"])


# --- dropout and noise ---


def test_the_hash_of_dropout() -> None:
    """Which values are kept is fixed for good: seeds must mean the same in every version."""
    mask = 2**64 - 1
    golden = 0x9E3779B97F4A7C15

    def mix(z: int) -> int:
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & mask
        z = (z ^ z >> 27) * 0x94D049BB133111EB & mask
        return z ^ z >> 31

    assert mix(golden) == 0xE220A8397B1DCDAF  # the first number of splitmix64 with seed 0
    for key, p in ((0, 0.5), (1, 0.3), (2**64 - 1, 0.9)):
        masks = reference.dropout_masks(key, p, batch=3, time=4, width=5, layers=3)
        assert len(masks) == 2
        for layer, found in enumerate(masks):
            for (b, t, j), value in np.ndenumerate(found):
                row = mix((key + golden * (1 + layer + 2**16 * t + 2**40 * b)) & mask)
                kept = mix((row + golden * (1 + j)) & mask) >> 32 >= int(p * 2**32)
                assert value == (1 / (1 - p) if kept else 0.0)
    word = mix(mix(golden * 7 & mask) + golden & mask) >> 32  # of layer 6, the rest 0
    for p, kept in ((word / 2**32, True), ((word + 1) / 2**32, False)):
        assert (reference.dropout_masks(0, p, 1, 1, 1, 8)[6].item() > 0) == kept
    rows = reference.dropout_masks(2026, 0.5, batch=2, time=2, width=32, layers=2)[0] > 0
    packed = [hex(int("".join("01"[v] for v in row.tolist()), 2)) for row in rows.reshape(4, 32)]
    assert packed == ["0xf98180f", "0xfeeff886", "0x2993020d", "0x29ba287b"]


def test_dropout_keeps_what_it_should() -> None:
    for p in (0.0, 0.1, 0.5, 0.9):
        masks = reference.dropout_masks(3, p, batch=20, time=50, width=64, layers=3)
        kept = np.stack(masks) > 0
        deviations = abs(kept.mean() - (1 - p)) * math.sqrt(kept.size / max(p * (1 - p), 1e-9))
        assert deviations < 4, p
        assert np.unique(np.stack(masks)[kept]).tolist() == [1 / (1 - p)]
        if p == 0.5:  # as good as independent, along each axis and for each shift of the key
            others = [kept[::-1], kept[:, 1:], kept[:, :, 1:], kept[..., 1:], kept[..., 2:]]
            again = reference.dropout_masks(4, p, batch=20, time=50, width=64, layers=3)
            for other in [*others, np.stack(again) > 0]:
                both = kept[tuple(slice(n) for n in other.shape)] == other
                assert abs(both.mean() - 0.5) * math.sqrt(4 * both.size) < 5
    assert reference.dropout_masks(3, 0.5, batch=2, time=2, width=2, layers=1) == []


def test_a_mask_depends_on_the_place_alone() -> None:
    large = reference.dropout_masks(5, 0.5, batch=6, time=7, width=9, layers=4)
    small = reference.dropout_masks(5, 0.5, 2, 3, 4, 2, np.float32)
    assert small[0].dtype == np.float32
    assert np.array_equal(small[0], large[0][:2, :3, :4])
    third = reference.dropout_masks(5, 1 / 3, 2, 3, 4, 2, np.float32)[0]
    assert third.max() == np.float32(1 / (1 - 1 / 3))


# --- details of losses, dtypes, names ---


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
    shape = {"B": 3, "T": 3, "I": 2, "H": 2, "O": 2}
    for case in sampled(every_option(**shape, bias=True) + every_network(**shape), 20):
        problem = build(case, dtype)
        if np.issubdtype(dtype, np.complexfloating):
            y = problem.y
            problem.y = {n: one.real for n, one in y.items()} if isinstance(y, dict) else y.real
        loss, grads = evaluate(problem)
        out = run(problem)
        arrays = [*grads.values(), out.outputs, out.hidden, out.last, *parts(out.final_state)]
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
            problem.params,
            problem.x,
            problem.y,
            **{**problem.loss_args, **problem.network, argument: "nonsense"},
        )


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_all_weights_zero(reduction: str) -> None:
    problem = build(Case(2, 2, 1, 1, reduction=reduction))
    args = {**problem.loss_args, "sample_weight": np.zeros(2)}
    with pytest.raises(ValueError, match="sample_weight is zero everywhere"):
        reference.loss_only(problem.params, problem.x, problem.y, **args)


def test_grid_is_covered() -> None:
    assert len(GRID) == 2016
    assert set(SPARSE_GRID) <= set(GRID)
    for axes in ((0,), (1,), (2, 3)):
        sets = [{tuple(shape[a] for a in axes) for shape in grid} for grid in (SPARSE_GRID, GRID)]
        assert sets[0] == sets[1]


@pytest.mark.parametrize("one_of", [2, 5, 50])
def test_a_sample_has_every_value(one_of: int) -> None:
    cases = every_network(B=3, T=4, I=2, H=3)
    sample = sampled(cases, one_of)
    assert sample == sampled(cases, one_of)
    part = len(cases) / taken(one_of)
    assert len(sample) == part if part == len(cases) else len(sample) < part + 15
    for name in set(vars(cases[0])) - {"seed"}:
        assert {getattr(c, name) for c in sample} == {getattr(c, name) for c in cases}, name
    assert sampled([(1, "a"), (2, "b"), (1, "b")], 3)


def test_every_two_values_meet() -> None:
    def meet(cases: Iterable[tuple[Any, ...]]) -> set[Any]:
        return {pair for case in cases for pair in itertools.combinations(enumerate(case), 2)}

    shapes = [*itertools.product(TIMES, WIDTHS, WIDTHS)]
    few = covering_pairs(shapes)
    assert set(few) <= set(shapes)
    assert meet(few) == meet(shapes)
    assert len(few) < 2 * len(WIDTHS) ** 2


def test_networks_are_covered() -> None:
    """Every combination once, every (I, H) for every cell, every value of the other options."""
    combinations = ("cell", "num_layers", "bidirectional", "bias", "with_lengths", "with_h0")
    cases = every_network(B=3, T=4, I=2, H=3)
    assert len({tuple(getattr(case, name) for name in combinations) for case in cases}) == 336
    assert len({str(case) for case in cases}) == len(cases) == 336
    shapes = networks_over_shapes()
    assert len({str(case) for case in shapes}) == len(shapes) == len(PAIRS) * len(CELLS)
    for cell in CELLS:
        own = [case for case in shapes if case.cell == cell]
        assert {(case.I, case.H) for case in own} == set(PAIRS)
        assert {case.num_layers for case in own} == {1, 2, 3}
        assert own == networks_over_shapes(cell=cell) or cell != CELLS[0]
        assert all(not case.dropout for case in networks_over_shapes(cell=cell, dropout=0.0))
    for chosen in (cases, shapes):
        for name, values in {
            "loss": LOSSES,
            "steps": STEPS,
            "reduction": REDUCTIONS,
            "bidirectional": (False, True),
            "with_weights": (False, True),
            "setting": (None, 0.05, 1.0),
            "each_unit": (False, True),
            "learn_alpha": (False, True),
            "dropout": (0.0, 0.3),
            "learn_initial_state": (False, True),
            "embedding": (None, 7),
            "padding_index": (None, 2),
            "freeze_embedding": (False, True),
            "has_resets": (False, True),
        }.items():
            assert {getattr(case, name) for case in chosen} == set(values), name
        assert {case.O for case in chosen} >= set(OUTPUTS)


def test_parameters_stand_in_the_order_of_the_flat_buffer() -> None:
    case = Case(2, 3, 4, 5, 3, cell="gru", num_layers=2, bidirectional=True)
    case = replace(case, learn_initial_state=True, embedding=7)
    layers = ["", "_reverse", "_l1", "_l1_reverse"]
    cells = [f"{name}{sfx}" for sfx in layers for name in ("W_xh", "W_hh", "b_h", "b_hn")]
    problem = build(case)
    assert list(problem.params) == [*cells, "h0", "W_hy", "b_y", "E"]
    shapes = {name: problem.params[name].shape for name in problem.params}
    assert shapes["W_xh_reverse"] == (4, 15) and shapes["W_xh_l1"] == (10, 15)
    assert shapes["b_hn_l1"] == (5,) and shapes["h0"] == (4, 5)
    assert shapes["W_hy"] == (10, 3) and shapes["E"] == (7, 4)
    lstm = build(replace(case, cell="lstm", bias=False, O=None))
    assert list(lstm.params)[-5:] == ["W_xh_l1_reverse", "W_hh_l1_reverse", "h0", "c0", "E"]


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
    cell=st.sampled_from(CELLS),
    num_layers=st.integers(1, 3),
    bidirectional=st.booleans(),
    dropout=st.sampled_from([0.0, 0.5]),
    learn_initial_state=st.booleans(),
    embedding=st.sampled_from([None, 5]),
    padding_index=st.sampled_from([None, 3]),
    with_resets=st.booleans(),
).map(with_outputs)
quickly = settings(max_examples=60)


def pick(problem: Problem, rows: Any) -> Problem:
    """The problem of some of the sequences."""

    def of_rows(a: Array | None) -> Array | None:
        return None if a is None else a[rows]

    network = dict(problem.network)
    if "masks" in network:
        network["masks"] = [mask[rows] for mask in network["masks"]]
    return replace(
        problem,
        x=problem.x[rows],
        y=problem.y[rows],
        h0=None if problem.h0 is None else whole(a[:, rows] for a in parts(problem.h0)),
        lengths=of_rows(problem.lengths),
        sample_weight=of_rows(problem.sample_weight),
        resets=of_rows(problem.resets),
        network=network,
    )


def pick_gradients(problem: Problem, grads: dict[str, Array], rows: Any) -> dict[str, Array]:
    """The gradients of some of the sequences' inputs; those of parameters as they are."""
    picked = dict(grads)
    for name in grads.keys() - problem.params.keys():
        picked[name] = grads[name][rows] if name == "x" else grads[name][:, rows]
    return picked


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
    other.x[padding] = filler if case.embedding is None else 10**9
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
    assert_close(evaluate(pick(problem, order)), (loss, pick_gradients(problem, grads, order)))


@quickly
@given(some_cases)
def test_batch_is_its_sequences_one_by_one(case: Case) -> None:
    case = replace(case, reduction="sum")
    problem = build(case)
    total, sums = 0.0, {name: np.zeros_like(a) for name, a in inputs_of(case, problem).items()}
    for b in range(case.B):
        one = pick(problem, [b])
        if one.lengths is not None:  # alone, a sequence needs no padding
            end = int(one.lengths[0])
            if one.sample_weight is not None and one.sample_weight.ndim == 2:
                one.sample_weight = one.sample_weight[:, :end]
            if one.resets is not None:
                one.resets = one.resets[:, :end]
            one.x, one.lengths = one.x[:, :end], None
            one.y = one.y[:, :end] if case.steps == "all" else one.y
            if "masks" in one.network:
                one.network["masks"] = [mask[:, :end] for mask in one.network["masks"]]
        if one.sample_weight is not None and not one.sample_weight.any():
            continue
        loss, grads = evaluate(one)
        total += loss
        for name, grad in grads.items():
            if name in problem.params:
                sums[name] += grad
            elif name == "x":
                sums["x"][b, : one.x.shape[1]] = grad[0]
            else:
                sums[name][:, b] = grad[:, 0]
    assert_close((total, sums), evaluate(problem))


@quickly
@given(some_cases, st.data())
def test_zero_weight_is_absence(case: Case, data: st.DataObject) -> None:
    case = replace(case, B=case.B + 1, with_weights=False)
    absent = data.draw(st.integers(0, case.B - 1))
    problem = build(case)
    weights = np.random.default_rng(case.seed).uniform(0.5, 2, case.B)
    weights[absent] = 0.0
    problem.sample_weight = weights
    problem.y[absent] = np.nan if problem.y.dtype.kind == "f" else -1  # not read
    rest = [b for b in range(case.B) if b != absent]
    loss, grads = evaluate(problem)
    own = pick_gradients(problem, grads, [absent])
    assert not any(g.any() for name, g in own.items() if name not in problem.params)
    assert_close(evaluate(pick(problem, rest)), (loss, pick_gradients(problem, grads, rest)))


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
    state = reference.Moments()
    for step, decrease in enumerate(decreases, start=1):
        grads = {"b_h": np.full(1, 1e-7), "x": np.ones(3)}
        reference.adam_step(params, grads, state, epsilon_hat=epsilon_hat)
        assert state.step == step
        assert 1 - params["b_h"].item() == pytest.approx(decrease, rel=5e-5)


@pytest.mark.parametrize("epsilon_hat", [False, True])
def test_adam_against_scalars(epsilon_hat: bool) -> None:
    rng = np.random.default_rng(0)
    start, gradients = rng.normal(size=(2, 3)), rng.normal(size=(20, 2, 3))
    params = {"W_xh": start.copy()}
    view = params["W_xh"]
    state = reference.Moments()
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
    state = reference.Moments()
    reference.adam_step(params, {"W_xh": np.ones((2, 2), np.float32)}, state)
    assert {
        a.dtype for a in (params["W_xh"], state.moments["m"]["W_xh"], state.moments["v"]["W_xh"])
    } == {np.dtype(np.float32)}


def test_clipping() -> None:
    params = {"W_xh": np.ones((1, 2)), "b_h": np.ones(1)}
    grads = {"W_xh": np.array([[2.0, -1.0]]), "b_h": np.array([2.0]), "x": np.full((1, 1, 2), 7.0)}
    assert reference.global_norm(params, grads) == 3.0
    for norm in (3.0, 10.0):
        clipped = reference.clip_by_global_norm(params, grads, norm)
        assert clipped["W_xh"].tolist() == [[2.0, -1.0]]
    clipped = reference.clip_by_global_norm(params, grads, 1.5)
    assert clipped["W_xh"].tolist() == [[1.0, -0.5]] and clipped["b_h"].tolist() == [1.0]
    assert clipped["x"].tolist() == grads["x"].tolist()
    assert grads["b_h"].tolist() == [2.0]
    zeros = {"b_h": np.zeros(2)}
    assert reference.clip_by_global_norm(zeros, zeros, 0.5)["b_h"].tolist() == [0.0, 0.0]
    assert reference.global_norm([], grads) == 0.0  # all are frozen
    assert reference.clip_by_global_norm([], grads, 0.5)["b_h"].tolist() == [2.0]


def test_a_learned_initial_state_is_a_parameter() -> None:
    """It counts in the norm and Adam moves it; the gradient of a given one does neither."""
    case = Case(3, 4, 2, 3, cell="lstm")
    for learned in (False, True):
        problem = build(replace(case, learn_initial_state=learned))
        params = problem.params
        _, grads = evaluate(problem)
        flat = np.concatenate([grads[name].ravel() for name in params])
        norm = reference.global_norm(params, grads)
        assert norm == pytest.approx(float(np.sqrt((flat**2).sum())), rel=1e-14)
        clipped = reference.clip_by_global_norm(params, grads, norm / 2)
        for name in ("h0", "c0"):
            factor = 0.5 if learned else 1.0
            assert worst_relative(clipped[name], factor * grads[name]) < 1e-14
        before = {name: p.copy() for name, p in params.items()}
        reference.adam_step(params, grads, reference.Moments())
        assert ("c0" in params) == learned
        assert all((before[name] != p).any() for name, p in params.items())
