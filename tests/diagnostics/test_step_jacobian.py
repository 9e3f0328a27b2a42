"""Step Jacobians: against the complex step through the reference's forward pass."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cases import CELLS, Array

import fastbptt
from fastbptt import reference
from fastbptt.diagnostics import _step, step_jacobian
from fastbptt.models._options import shaped

RNG = np.random.default_rng(5)
TINY = 1e-30


def model_of(cell: str, layers: int = 1, **options: Any) -> fastbptt.Recurrent:
    options = {"dtype": "float64", "seed": 2} | options
    if reference.CELLS[cell].SETTING:
        options["alpha"] = 0.3
    model = fastbptt.Recurrent(cell, 3, 4, 2, num_layers=layers, **options)
    for values in model.parameters.values():  # biases of 0 hide what they are for
        values[...] += RNG.normal(0.0, 0.4, values.shape)
    return model


def random_state(model: fastbptt.Recurrent, count: int) -> Any:
    shape = (model.num_layers, count, model.hidden_size)
    parts = [RNG.normal(0.0, 0.7, shape) for _ in model._input_spec.states]
    return parts[0] if len(parts) == 1 else tuple(parts)


def flat(state: Any) -> Array:
    """(n, N): layer by layer, in each h and then c."""
    parts = state if isinstance(state, tuple) else (state,)
    return np.concatenate([part[i] for i in range(len(parts[0])) for part in parts], axis=1)


def nudged(state: Any, which: int, layer: int, unit: int) -> Any:
    parts = state if isinstance(state, tuple) else (state,)
    moved = [part.astype(complex) for part in parts]
    moved[which][layer, :, unit] += 1j * TINY
    return moved[0] if len(moved) == 1 else tuple(moved)


def by_complex_step(model: fastbptt.Recurrent, state: Any, x: Array) -> tuple[Array, Array]:
    """Derivatives by state and by input, column by column: F(s + i 1e-30) / 1e-30."""
    params = {name: np.array(one, np.float64) for name, one in model.parameters.items()}
    params.pop("E", None)
    setting = reference.CELLS[model.cell].SETTING
    network = {
        "cell": model.cell,
        "num_layers": model.num_layers,
        "settings": dict.fromkeys(setting, shaped(model._spec)),
    }

    def after(x: Array, state: Any) -> Array:
        final = reference.forward(params, x[:, np.newaxis], h0=state, **network).final_state
        return flat(final).imag / TINY

    parts = len(model._input_spec.states)
    places = [
        (which, layer, unit)
        for layer in range(model.num_layers)
        for which in range(parts)
        for unit in range(model.hidden_size)
    ]
    of_state = np.stack([after(x, nudged(state, *place)) for place in places], axis=-1)
    steps = [1j * TINY * row for row in np.eye(x.shape[1])]
    complex_state = nudged(state, 0, 0, 0)
    real: Any = tuple(p.real for p in complex_state) if parts > 1 else complex_state.real
    of_input = np.stack([after(x + step, real) for step in steps], axis=-1)
    return of_state, of_input


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("cell", CELLS)
def test_against_the_complex_step(cell: str, layers: int) -> None:
    model = model_of(cell, layers)
    state, x = random_state(model, 5), RNG.normal(size=(5, 3))
    of_state, of_input = by_complex_step(model, state, x)
    width = of_state.shape[1]
    assert width == layers * 4 * len(model._input_spec.states)
    np.testing.assert_allclose(step_jacobian(model, state, x), of_state, rtol=0, atol=1e-10)
    got = step_jacobian(model, state, x, wrt="input")
    np.testing.assert_allclose(got, of_input, rtol=0, atol=1e-10)
    assert np.abs(of_input).max() > 0.01


@pytest.mark.parametrize("cell", CELLS)
def test_a_cell_without_the_formula_gets_its_rows_from_backward(
    cell: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_of(cell, 2)
    state, x = random_state(model, 3), RNG.normal(size=(3, 3))
    formulas = [step_jacobian(model, state, x, wrt=wrt) for wrt in ("state", "input")]
    monkeypatch.delattr(reference.CELLS[cell], "jacobian")
    for formula, wrt in zip(formulas, ("state", "input"), strict=True):
        rows = step_jacobian(model, state, x, wrt=wrt)
        np.testing.assert_allclose(rows, formula, rtol=0, atol=1e-14 * np.abs(formula).max())


@pytest.mark.parametrize("cell", CELLS)
def test_of_a_float32_model_in_double(cell: str) -> None:
    model = model_of(cell, 2, dtype="float32", bias=False)
    state = model.forward(RNG.normal(size=(3, 6, 3))).final_state
    x = RNG.normal(size=3)
    got = step_jacobian(model, state, x)
    assert got.dtype == np.float64
    parts = state if isinstance(state, tuple) else (state,)
    double: Any = tuple(np.asarray(part, np.float64) for part in parts)
    expected, _ = by_complex_step(
        model, double if len(parts) > 1 else double[0], np.tile(x, (3, 1))
    )
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("cell", CELLS)
def test_many_states_are_those_one_by_one(cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of(cell, 2)
    state, x = random_state(model, 7), RNG.normal(size=(7, 3))
    whole = step_jacobian(model, state, x)
    monkeypatch.setattr("fastbptt.diagnostics._step.AT_A_TIME", 3 * whole.shape[1] ** 2)
    np.testing.assert_allclose(step_jacobian(model, state, x), whole, rtol=1e-13, atol=1e-15)
    for b in range(7):
        parts = state if isinstance(state, tuple) else (state,)
        one: Any = tuple(part[:, b : b + 1] for part in parts)
        one = one if len(one) > 1 else one[0]
        np.testing.assert_allclose(
            step_jacobian(model, one, x[b])[0], whole[b], rtol=1e-13, atol=1e-15
        )


@pytest.mark.parametrize("cell", CELLS)
def test_tokens_are_rows_of_the_embedding(cell: str) -> None:
    model = model_of(cell, embedding=6)
    state, rows = random_state(model, 3), model.parameters["E"]
    expected, of_input = by_complex_step(model, state, np.array(rows[[1, 5, 2]]))
    got = step_jacobian(model, state, [1, 5, 2])
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-10)
    np.testing.assert_array_equal(step_jacobian(model, state, rows[[1, 5, 2]]), got)
    np.testing.assert_array_equal(step_jacobian(model, state, 5)[1], got[1])
    with pytest.raises(fastbptt.ArgumentError, match=r'wrt is "input"; expected "state" because'):
        step_jacobian(model, state, 5, wrt="input")
    # what the message advises
    got = step_jacobian(model, state, model.parameters["E"][5], wrt="input")
    np.testing.assert_allclose(got[1], of_input[1], rtol=0, atol=1e-10)


def test_the_product_over_time_is_what_diagnose_reports() -> None:
    model = model_of("lstm")
    x = RNG.normal(size=(1, 9, 3))
    found = fastbptt.diagnose(model, x, [[0.1, 0.2]], "mse").layers[0]
    state, product = model.initial_state(1), np.eye(8)
    for t in range(9):
        if t:
            product = step_jacobian(model, state, x[:, t])[0] @ product
        model.step(x[:, t], state)
    assert found.jacobian is not None
    assert found.jacobian[0] == pytest.approx(np.linalg.norm(product, 2), rel=1e-9)


def test_a_relu_at_its_corner_has_the_slope_of_the_backward_pass() -> None:
    model = fastbptt.RNN(1, 2, nonlinearity="relu", seed=0)
    model.parameters["b_h"][...] = 0.0
    assert not step_jacobian(model, np.zeros((1, 1, 2)), [0.0]).any()


BAD: list[tuple[str, Any, Any, type[Exception], str]] = [
    ("gru", np.zeros((1, 2, 5)), np.zeros(3), ValueError, r"state has shape \(1, 2, 5\); exp"),
    (
        "gru",
        np.zeros((2, 4)),
        np.zeros(3),
        ValueError,
        r"state has shape \(2, 4\); expected \(1, n",
    ),
    ("gru", np.zeros((1, 0, 4)), np.zeros(3), ValueError, r"state has shape \(1, 0, 4\); expected"),
    ("gru", np.full((1, 2, 4), np.nan), np.zeros(3), ValueError, r"not finite \(nan\) at index"),
    ("gru", "here", np.zeros(3), TypeError, "state has dtype <U4"),
    ("lstm", np.zeros((1, 2, 4)), np.zeros(3), TypeError, "state is of type ndarray; expected"),
    ("lstm", (np.zeros((1, 2, 4)),), np.zeros(3), ValueError, "state has 1 parts; expected"),
    (
        "lstm",
        (np.zeros((1, 2, 4)), np.zeros((1, 3, 4))),
        np.zeros(3),
        ValueError,
        r"state\[1\] .* has",
    ),
    (
        "lstm",
        (np.zeros((1, 2, 4)), np.full((1, 2, 4), np.inf)),
        np.zeros(3),
        ValueError,
        r"state\[1",
    ),
    (
        "gru",
        np.zeros((1, 2, 4)),
        np.zeros(4),
        ValueError,
        r"x has shape \(4,\); expected \(3,\), t",
    ),
    ("gru", np.zeros((1, 2, 4)), np.zeros((3, 3)), ValueError, r"x has shape \(3, 3\); expected"),
    ("gru", np.zeros((1, 2, 4)), 0.0, ValueError, r"x has shape \(\); expected \(3,\)"),
    ("gru", np.zeros((1, 2, 4)), [0, np.inf, 0], ValueError, r"not finite \(inf\) at index \(1,\)"),
]


@pytest.mark.parametrize(("cell", "state", "x", "error", "message"), BAD)
def test_bad_arguments(cell: str, state: Any, x: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        step_jacobian(model_of(cell), state, x)
    assert isinstance(caught.value, fastbptt.ArgumentError | fastbptt.ArgumentTypeError)


def test_bad_models_and_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    state = np.zeros((1, 1, 4))
    with pytest.raises(ValueError, match=r"model reads in both directions; expected bidirectional"):
        step_jacobian(fastbptt.GRU(3, 4, bidirectional=True), np.zeros((2, 1, 4)), np.zeros(3))
    with pytest.raises(TypeError, match="model is of type int; expected a fastbptt model"):
        step_jacobian(3, state, np.zeros(3))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match='wrt is "x"; expected one of "state", "input"'):
        step_jacobian(model_of("gru"), state, np.zeros(3), wrt="x")
    words = fastbptt.GRU(3, 4, embedding=5, seed=0)
    with pytest.raises(ValueError, match=r"x holds token 5; expected tokens 0 to 4"):
        step_jacobian(words, state, 5)
    with pytest.raises(ValueError, match=r"x holds token -1 at index \(0,\); expected tokens"):
        step_jacobian(words, state, [-1])
    with pytest.raises(TypeError, match="x has dtype bool; expected"):
        step_jacobian(words, state, True)
    with pytest.raises(
        ValueError, match=r"x has shape \(2,\); expected .* or a token, one or each"
    ):
        step_jacobian(words, state, [1, 2])
    healthy, broken = model_of("gru"), model_of("gru")
    broken.parameters["W_hh"][1, 2] = np.nan
    with pytest.raises(
        ValueError, match=r"parameter W_hh holds a value that is not finite \(nan\)"
    ):
        step_jacobian(broken, state, np.zeros(3))
    less = {name: cell for name, cell in reference.CELLS.items() if name != "gru"}
    monkeypatch.setattr(_step, "CELLS", less)
    with pytest.raises(ValueError, match='model has the cell "gru"; expected a cell of fastbptt'):
        step_jacobian(healthy, state, np.zeros(3))
