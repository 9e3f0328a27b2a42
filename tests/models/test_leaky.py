"""Leaky units and plain networks in every form and nonlinearity: the core, the reference, calls."""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from accuracy import ISAS, Accuracy
from cases import CELLS, EVERY_CELL, Case, build, sampled, worst_relative
from networks import both, model_of

import fastbptt
from fastbptt import _core, reference
from fastbptt.diagnostics import fixed_points, step_jacobian

RATES = [one for one in EVERY_CELL if one.startswith(("rnn_", "leaky"))]
LEAKY = [one for one in RATES if one.startswith("leaky")]
RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    name, threads = _core.active_backend(), fastbptt.get_num_threads()
    yield
    _core.use_backend(name)
    fastbptt.set_num_threads(threads)


def test_one_of_each_structure_is_in_the_grids() -> None:
    modules = {reference.CELLS[cell].__name__ for cell in EVERY_CELL}
    assert {reference.CELLS[cell].__name__ for cell in CELLS} == modules


def cases(cell: str) -> Iterator[Case]:
    """Layouts in lanes and in panels, sequences and units shared, with all that a cell has."""
    leaky = cell.startswith("leaky")
    shapes = ((9, 12, 3, 5), (33, 7, 2, 31), (5, 6, 17, 65), (2, 40, 4, 130))
    for k, (B, T, I, H) in enumerate(shapes):
        for more in range(3):
            yield Case(
                B, T, I, H, 2, cell=cell, loss="mse", steps=("all", "last", "mean")[more],
                num_layers=1 + (k + more) % 2, bidirectional=more == 2, with_lengths=more > 0,
                with_h0=more == 1, learn_initial_state=more != 1, each_unit=leaky and more != 0,
                setting=0.6 if leaky else None, learn_alpha=leaky and more != 1,
                with_resets=more == 0, seed=10 * k + more,
            )  # fmt: skip


@pytest.mark.parametrize("cell", RATES)
def test_equals_the_reference_on_every_instruction_set(cell: str) -> None:
    accuracy = Accuracy()
    for case in cases(cell):
        accuracy.add(case)
    accuracy.check()


@pytest.mark.parametrize(("cell", "isa"), sampled([*itertools.product(RATES, ISAS)], 3))
def test_threads_and_a_budget_change_no_bit(cell: str, isa: str) -> None:
    _core.use_backend(isa)
    for case in cases(cell):
        if case.bidirectional:
            continue
        model, problem = both(replace(case, T=600 if case.H < 10 else case.T), "float32")
        fastbptt.set_num_threads(1)
        given: dict[str, Any] = dict(problem.loss_args)
        value, grads = model.loss_and_grad(problem.x, problem.y, **given)
        for threads in (2, 3):
            fastbptt.set_num_threads(threads)
            again, more = model.loss_and_grad(problem.x, problem.y, **given)
            assert again == value
            assert all(np.array_equal(more[name], grad) for name, grad in grads.items())


@pytest.mark.parametrize("cell", RATES)
def test_the_complex_step(cell: str) -> None:
    for case in cases(cell):
        if case.H > 5:
            continue
        problem = build(case)
        params, names = problem.params, {**problem.loss_args, **problem.network}
        _, grads = reference.loss_and_grad(params, problem.x, problem.y, **names)
        for name, p in params.items():
            for place in RNG.permutation(p.size)[:4]:
                moved = p.astype(complex)
                moved.flat[place] += 1e-30j
                value = reference.loss_only({**params, name: moved}, problem.x, problem.y, **names)
                scale = max(1.0, float(np.abs(grads[name]).max()))
                assert abs(value.imag / 1e-30 - grads[name].flat[place]) < 1e-12 * scale, name


@pytest.mark.parametrize("cell", RATES)
def test_steps_chunks_and_files(cell: str, tmp_path: Path) -> None:
    case = Case(3, 12, 2, 9, 2, cell=cell, num_layers=2, learn_initial_state=True)
    leaky = cell.startswith("leaky")
    model = model_of(replace(case, each_unit=leaky, learn_alpha=False))
    for name, p in model.parameters.items():
        if name in ("h0", "v0"):
            p[...] = RNG.normal(size=p.shape)
    x = RNG.normal(size=(3, 12, 2))
    out = model.forward(x)
    state = model.initial_state(3)
    for t in range(12):
        assert worst_relative(model.step(x[:, t], state), out.outputs[:, t]) < 1e-13
    assert worst_relative(state, out.final_state) < 1e-13
    halves = model.forward(x[:, 5:], h0=model.forward(x[:, :5]).final_state)
    assert np.array_equal(halves.outputs, out.outputs[:, 5:])
    few = model.forward(x[:1, :4], backward=False)  # computed as single steps are
    assert worst_relative(few.outputs, out.outputs[:1, :4]) < 1e-13
    model.save(tmp_path / "m.st")
    for same in (fastbptt.load(tmp_path / "m.st"), model.copy(), pickle.loads(pickle.dumps(model))):
        assert np.array_equal(same.forward(x).outputs, out.outputs)
        assert same._spec.setting == model._spec.setting


@pytest.mark.parametrize("cell", LEAKY)
def test_the_jacobian_of_a_stack(cell: str) -> None:
    case = Case(1, 1, 2, 4, 1, cell=cell, num_layers=2, each_unit=True, learn_alpha=True)
    model, _ = both(case)
    x, state = RNG.normal(size=2), RNG.normal(size=(2, 1, 4))
    found = step_jacobian(model, state, x)[0]
    columns = []
    for k in range(8):
        moved = []
        for sign in (1, -1):
            s = state.copy()
            s.reshape(-1)[k] += sign * 1e-6
            model.step(x[np.newaxis], s)
            moved.append(s.ravel())
        columns.append((moved[0] - moved[1]) / 2e-6)
    assert np.allclose(found, np.stack(columns, 1), atol=1e-8)


@pytest.mark.parametrize("formulation", ["rate", "preactivation"])
def test_a_fixed_point_stays(formulation: str) -> None:
    model = fastbptt.LeakyRNN(
        2, 6, formulation=formulation, nonlinearity="softplus", alpha=0.3, init=("normal", 0.2),
        dtype="float64", seed=0,
    )  # fmt: skip
    starts = model.forward(RNG.normal(size=(2, 9, 2))).final_state
    found = fixed_points(model, np.zeros(2), starts)
    state = found.points[:1].reshape(1, 1, 6).copy()
    model.step(np.zeros((1, 2)), state)
    assert np.allclose(state.ravel(), found.points[0], atol=1e-9)


def test_both_forms_without_a_leak_are_the_plain_network() -> None:
    x = RNG.normal(size=(4, 9, 3))
    for name in ("tanh", "relu", "softplus", "sigmoid"):
        plain = fastbptt.RNN(3, 7, 2, nonlinearity=name, dtype="float64", seed=1)
        expected = plain.forward(x, h0=np.zeros((1, 4, 7))).outputs
        rate = fastbptt.LeakyRNN(3, 7, 2, nonlinearity=name, alpha=1, dtype="float64", seed=1)
        assert worst_relative(rate.forward(x).outputs, expected) < 1e-14
        if name in ("tanh", "relu"):  # rates of 0 at v = 0
            other = fastbptt.LeakyRNN(
                3, 7, 2, formulation="preactivation", nonlinearity=name, alpha=1,
                dtype="float64", seed=1,
            )  # fmt: skip
            assert worst_relative(other.forward(x).outputs, expected) < 1e-14


def test_training_moves_alpha_between_zero_and_one() -> None:
    model = fastbptt.LeakyRNN(2, 5, 1, alpha=0.1, learn_alpha=True, num_layers=2, seed=0)
    x, y, optimizer = RNG.normal(size=(8, 20, 2)), np.ones((8, 20, 1)), fastbptt.Adam(lr=1.0)
    assert model.alpha.shape == (2, 5)
    assert np.allclose(model.alpha, 0.1)
    model.freeze("logit_alpha_l1")
    for _ in range(30):
        model.train_step(x, y, optimizer, "mse", "all")
    assert np.allclose(model.alpha[1], 0.1)
    assert not np.allclose(model.alpha[0], 0.1)
    assert ((model.alpha >= 0) & (model.alpha <= 1)).all()


BAD: list[tuple[dict[str, Any], str]] = [
    ({"alpha": [0.1, 0.2]}, "alpha has shape (2,); expected a number above 0 and at most 1, or an"),
    ({"alpha": [0.1, 0.2, 0.0]}, "alpha holds 0.0 at index (2,); expected numbers above 0 and at"),
    ({"alpha": [0.1, 2.0, 0.5]}, "alpha holds 2.0 at index (1,); expected numbers above 0 and at"),
    ({"alpha": [0.1, float("nan"), 0.5]}, "alpha holds nan at index (1,)"),
    ({"alpha": 1.0, "learn_alpha": True}, "alpha is 1.0; expected below 1 at the start"),
    ({"alpha": 0.5, "learn_alpha": 1}, "learn_alpha is 1; expected True or False"),
    ({"formulation": "voltage"}, 'formulation is "voltage"; expected one of "rate", "preactiv'),
    ({"nonlinearity": "elu"}, 'nonlinearity is "elu"; expected one of "tanh", "relu", "softplus"'),
]


@pytest.mark.parametrize(("options", "words"), BAD)
def test_refusals(options: dict[str, Any], words: str) -> None:
    with pytest.raises((ValueError, TypeError)) as caught:
        fastbptt.LeakyRNN(2, 3, **options)
    assert str(caught.value).startswith(words)


def test_a_cell_without_alpha_does_not_learn_it() -> None:
    with pytest.raises(ValueError, match='learn_alpha is True; expected False because the cell "g'):
        fastbptt.Recurrent("gru", 2, 3, learn_alpha=True)


def test_constraints_that_change_alpha_say_so() -> None:
    given = {"alpha": 0.2, "learn_alpha": True, "seed": 0}
    for rules in ({"masks": {"logit_alpha": [0, 1, 1, 1]}}, {"signs": {"logit_alpha": 1}}):
        with pytest.warns(UserWarning, match="constraints change the start weights logit_alpha by"):
            fastbptt.LeakyRNN(2, 4, constraints=fastbptt.Constraints(**rules), **given)


def test_many_numbers_are_shown_in_short() -> None:
    model = fastbptt.LeakyRNN(2, 5, alpha=[[0.5] * 5] * 3, num_layers=3, seed=0)
    assert "alpha=[[0.5, 0.5, ..], [0.5, 0.5, ..], [0.5, 0.5, ..]]" in repr(model)
    model = fastbptt.LeakyRNN(2, 5, alpha=[0.25] * 5, seed=0)
    assert "alpha=[0.25, 0.25, ..]" in repr(model)
