"""`diagnose`: each number against what the reference computes by its definition."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from cases import CELLS, Array, Case, Problem, every_network
from flows import Flow, by_definition
from networks import both

import fastbptt
from fastbptt import reference
from fastbptt.diagnostics import _dynamics, _numbers, _record

#: Every cell, stacked, in both directions, ragged, with initial states of both kinds.
NETWORKS = [replace(case, dropout=0.0) for case in every_network(B=3, T=6, I=3, H=4)[1::7]] + [
    Case(
        4,
        7,
        2,
        5,
        3,
        cell=cell,
        num_layers=2,
        bidirectional=True,
        with_lengths=True,
        steps=steps,
        loss="cross_entropy",
        seed=3,
    )
    for cell in CELLS
    for steps in ("last", "all", "max")
]


def diagnosed(case: Case, **options: Any) -> tuple[fastbptt.Diagnosis, Problem, list[Flow]]:
    model, problem = both(case)
    report = fastbptt.diagnose(model, problem.x, problem.y, **problem.loss_args, **options)
    return report, problem, by_definition(case, problem)


def close(got: Array, expected: Array, rel: float = 1e-9) -> None:
    """Equal up to rounding, each number by itself unless it is what is left of a sum."""
    top = float(np.abs(expected).max(initial=0.0))
    np.testing.assert_allclose(got, expected, rtol=rel, atol=1e-14 * top)


def norm(values: Array, *axes: int) -> Array:
    result: Array = np.sqrt(np.square(values).sum(axis=axes))
    return result


def backwards(values: Array, reverse: bool, axis: int) -> Array:
    """Sums from the step that backpropagation starts at."""
    way = values if reverse else np.flip(values, axis)
    total = np.cumsum(way, axis=axis)
    return total if reverse else np.flip(total, axis)


@pytest.mark.parametrize("case", NETWORKS, ids=str)
def test_norms_and_contributions(case: Case) -> None:
    report, problem, flows = diagnosed(case)
    loss, grads = reference.loss_and_grad(
        problem.params, np.nan_to_num(problem.x), problem.y, **problem.loss_args, **problem.network
    )
    assert report.loss == pytest.approx(loss, rel=1e-12)
    letters = fastbptt._core.cell_info(case.cell)["gate_names"]
    assert len(report.layers) == len(flows)
    for layer, flow in zip(report.layers, flows, strict=True):
        assert layer.reverse == flow.reverse
        close(layer.hidden_gradient, norm(flow.d_hidden, 0, 2))
        assert list(layer.gate_gradient) == letters
        for letter, part in zip(letters, np.split(flow.d_gates, len(letters), -1), strict=True):
            close(layer.gate_gradient[letter], norm(part, 0, 2))
        ends = layer.name.split("_")
        suffix = ("" if ends[0] == "l0" else f"_{ends[0]}") + ("_reverse" if flow.reverse else "")
        for name, added in flow.added.items():
            of_batch = added.sum(axis=0)
            close(layer.contribution[name], norm(of_batch, 1, 2))
            close(layer.running_sum[name], norm(backwards(of_batch, flow.reverse, 0), 1, 2))
            whole = float(layer.running_sum[name][-1 if flow.reverse else 0])
            if case.low_rank and name == "W_hh":  # contributions are those to the product
                continue
            assert whole == pytest.approx(report.gradient_norms[name + suffix], rel=1e-10)
            assert whole == pytest.approx(float(np.linalg.norm(grads[name + suffix])), rel=1e-9)
    total = [np.linalg.norm(grads[name]) for name in problem.params]
    assert report.gradient_norm == pytest.approx(float(np.linalg.norm(total)), rel=1e-9)
    if case.O is not None:
        assert report.output.running_sum is not None
        assert report.output.running_sum[0] == pytest.approx(
            float(np.linalg.norm(grads["W_hy"])), rel=1e-9
        )
    else:
        assert report.output.contribution is None


@pytest.mark.parametrize("case", NETWORKS[-12:], ids=str)
def test_norms_and_contributions_of_each_example(case: Case) -> None:
    report, problem, flows = diagnosed(case, per_example=True)
    letters = fastbptt._core.cell_info(case.cell)["gate_names"]
    for layer, flow in zip(report.layers, flows, strict=True):
        close(layer.hidden_gradient, norm(flow.d_hidden, 2))
        for letter, part in zip(letters, np.split(flow.d_gates, len(letters), -1), strict=True):
            close(layer.gate_gradient[letter], norm(part, 2))
        for name, added in flow.added.items():
            close(layer.contribution[name], norm(added, 2, 3))
            close(layer.running_sum[name], norm(backwards(added, flow.reverse, 1), 2, 3))
        assert layer.saturation.shape == (case.B, case.T)
        for values in layer.gate_activation.values():
            assert values.shape == (case.B, case.T)
    whole = fastbptt.diagnose(both(case)[0], problem.x, problem.y, **problem.loss_args)
    for layer, one in zip(whole.layers, report.layers, strict=True):
        assert layer.jacobian is not None
        assert one.jacobian is not None
        there = ~np.isnan(one.jacobian)
        assert (np.isnan(layer.jacobian) == ~there.any(axis=0)).all()
        mean = np.nan_to_num(one.jacobian).sum(axis=0) / there.sum(axis=0).clip(1)
        close(np.nan_to_num(layer.jacobian), mean)


@pytest.mark.parametrize("case", NETWORKS[-12:], ids=str)
def test_contributions_add_up_to_the_gradient(case: Case) -> None:
    """The matrices themselves, against the core's own and the reference's gradient."""
    model, problem = both(case)
    batch, objective = model._checked(
        problem.x,
        problem.y,
        case.loss,
        case.steps,
        case.reduction,
        problem.lengths,
        problem.h0,
        problem.sample_weight,
        True,
    )
    record = _record.take(model, batch, objective)
    _, grads = model.loss_and_grad(problem.x, problem.y, **problem.loss_args)
    net = reference.Network(case.cell, case.num_layers, case.bidirectional)
    for i, p in enumerate(record.passes):
        names = net.names(*divmod(i, case.directions))
        for name in ("W_xh", "W_hh"):
            total = sum(step for _, step in _numbers.contributions(p, name))
            np.testing.assert_allclose(total, grads[names[name]], rtol=1e-10, atol=1e-16)
            each = sum(step for _, step in _numbers.contributions(p, name, each=True))
            np.testing.assert_allclose(
                np.asarray(each).sum(axis=0), grads[names[name]], rtol=1e-10, atol=1e-16
            )
    total = sum(step for _, step in _numbers.output_contributions(record))
    np.testing.assert_allclose(total, grads["W_hy"], rtol=1e-10, atol=1e-16)


# ---------------------------------------------------------------- Jacobians


def complex_step(case: Case, flow: Flow, b: int) -> list[Array]:
    """Jacobians of a sequence's steps, in the order of the pass: J_ij = ds_t[i] / ds_{t-1}[j]."""
    forward = reference.CELLS[case.cell].forward
    states = len(flow.initial)
    width = states * case.H
    found = []
    units = np.eye(width).reshape(width, states, case.H).swapaxes(0, 1)
    for k in range(flow.lengths[b]):
        before = flow.states[:, b, k - 1] if k else flow.initial[:, b]
        steps = before[:, np.newaxis] + 1e-30j * units
        x = np.repeat(flow.x[b : b + 1, k : k + 1], width, axis=0)
        after = forward(flow.own, x, steps, **flow.setting)[:, :, 0]
        found.append(after.swapaxes(0, 1).reshape(width, width).T.imag / 1e-30)
    return found


@pytest.mark.parametrize("case", [c for c in NETWORKS[::2] if not c.has_resets], ids=str)
def test_products_of_jacobians(case: Case) -> None:
    report, _, flows = diagnosed(case, per_example=True, jacobians=True)
    for layer, flow in zip(report.layers, flows, strict=True):
        assert layer.jacobian is not None
        assert layer.log_jacobian is not None
        assert layer.singular_values is not None
        assert layer.lyapunov is not None
        assert list(layer.sequences) == list(range(case.B))
        for b in range(case.B):
            jacobians = complex_step(case, flow, b)
            product = np.eye(len(jacobians[0]))
            for k in reversed(range(flow.lengths[b])):
                t = flow.lengths[b] - 1 - k if flow.reverse else k
                sigma = np.linalg.svd(product, compute_uv=False)
                assert layer.jacobian[b, t] == pytest.approx(sigma[0], rel=1e-10, abs=1e-300)
                np.testing.assert_allclose(
                    layer.singular_values[b, t], sigma, rtol=1e-10, atol=1e-12 * sigma[0]
                )
                product = product @ jacobians[k]
            outside = np.arange(case.T) >= flow.lengths[b]
            assert np.isnan(layer.jacobian[b, outside]).all()


@pytest.mark.parametrize("cell", CELLS)
def test_one_jacobian(cell: str) -> None:
    case = Case(3, 5, 2, 6, 1, cell=cell, num_layers=2, bidirectional=True, with_lengths=True)
    model, problem = both(case)
    batch, objective = model._checked(
        problem.x, problem.y, "bce", "last", "mean", problem.lengths, None, None, True
    )
    record = _record.take(model, batch, objective)
    for p, flow in zip(record.passes, by_definition(case, problem), strict=True):
        width = len(p.initial) * case.H
        for b in range(case.B):
            for k, expected in enumerate(complex_step(case, flow, b)):
                t = flow.lengths[b] - 1 - k if flow.reverse else k
                found = _dynamics.pull(p, np.array([b]), np.array([t]), np.eye(width)[np.newaxis])
                np.testing.assert_allclose(found[0], expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell != "relu"])
def test_all_exponents_add_up_to_the_determinant(cell: str) -> None:
    """Volumes grow by det J from step to step, whatever directions one looks in."""
    H = 8 // len(reference.CELLS[cell].STATES)
    case = Case(2, 9, 3, H, 1, cell=cell, seed=1)
    report, _, flows = diagnosed(case, per_example=True, jacobians=True)
    lyapunov = report.layers[0].lyapunov
    assert lyapunov is not None
    for b in range(case.B):
        logs = [np.linalg.slogdet(j)[1] for j in complex_step(case, flows[0], b)]
        assert lyapunov[b].sum() == pytest.approx(sum(logs) / case.T, rel=1e-9)


@pytest.mark.slow
def test_exponents_of_a_linear_network() -> None:
    """ReLU units that stay on are linear: the exponents are logarithms of the eigenvalues."""
    model = fastbptt.Recurrent("relu", 1, 3, 1, init=("normal", 0.0), dtype="float64")
    rates = np.array([0.9, 0.5, 1.1])
    model.parameters["W_hh"][...] = np.diag(rates)
    model.parameters["b_h"][...] = 1.0
    report = fastbptt.diagnose(model, np.zeros((1, 400, 1)), [0.5], "mse")
    layer = report.layers[0]
    assert layer.lyapunov is not None
    assert layer.jacobian is not None
    np.testing.assert_allclose(layer.lyapunov, np.sort(np.log(rates))[::-1], atol=0.01)
    np.testing.assert_allclose(layer.jacobian, 1.1 ** np.arange(399.0, -1, -1), rtol=1e-12)
    assert layer.decay == pytest.approx(1.1)
    assert layer.spectral_radius == pytest.approx(1.1)


@pytest.mark.parametrize("cell", CELLS)
def test_spectral_radius_is_of_what_it_says(cell: str) -> None:
    """Of W_hh in plain cells, of the last step's Jacobian in the others."""
    model = fastbptt.Recurrent(
        cell, 2, 5, 1, alpha=0.4 if cell.startswith("leaky") else None, init=("normal", 0.6), seed=1
    )
    x = np.random.default_rng(0).normal(size=(3, 7, 2)).astype(np.float32)
    lengths = np.array([7, 1, 4])
    report = fastbptt.diagnose(model, x, [0, 1, 0], lengths=lengths, jacobians=True)
    layer = report.layers[0]
    assert layer.spectral_radius is not None
    assert set(layer.spectral_radii) == set(layer.gate_gradient)
    if cell in ("rnn", "relu"):
        expected = float(np.abs(np.linalg.eigvals(model.parameters["W_hh"])).max())
        assert (layer.radius_of, layer.spectral_radii["a"]) == ("W_hh", layer.spectral_radius)
    else:
        radii = []
        for i, length in enumerate(lengths):
            before = model.initial_state(1)
            for t in range(length - 1):
                model.step(x[i : i + 1, t], before)
            jacobian = fastbptt.diagnostics.step_jacobian(model, before, x[i, length - 1])
            radii.append(np.abs(np.linalg.eigvals(jacobian[0])).max())
        expected = float(np.mean(radii))
        assert layer.radius_of == "the last step"
        assert "spectral radius of the last step" in str(report)
        without = fastbptt.diagnose(model, x, [0, 1, 0], lengths=lengths, jacobians=False)
        assert without.layers[0].spectral_radius is None
        assert str(without).splitlines()[4].endswith(" -")
    assert layer.spectral_radius == pytest.approx(expected, rel=1e-5)
    assert f"{layer.spectral_radius:.3f}" in str(report)


def test_a_sequence_in_which_all_units_are_off_has_no_say_in_the_exponents() -> None:
    model = fastbptt.Recurrent("relu", 1, 2, 1, init=("normal", 0.0), dtype="float64")
    model.parameters["W_hh"][...] = np.diag([0.9, 0.5])
    model.parameters["W_xh"][...] = 1.0
    x = np.ones((3, 40, 1))
    alone = fastbptt.diagnose(model, x[:2], [0.5] * 2, "mse").layers[0].lyapunov
    x[2] = -1.0
    whole = fastbptt.diagnose(model, x, [0.5] * 3, "mse").layers[0].lyapunov
    each = fastbptt.diagnose(model, x, [0.5] * 3, "mse", per_example=True).layers[0].lyapunov
    off = fastbptt.diagnose(model, x[2:], [0.5], "mse").layers[0].lyapunov
    assert alone is not None
    assert whole is not None
    assert each is not None
    assert off is not None
    assert np.isfinite(alone).all()
    np.testing.assert_allclose(whole, alone, rtol=1e-12)
    assert np.isneginf(each[2]).all()
    assert np.isneginf(off).all()


def test_text_says_what_it_sums_over() -> None:
    model = fastbptt.RNN(2, 4, 1, seed=0)
    x = np.random.default_rng(0).normal(size=(5, 7, 2))
    y = [0, 1, 0, 1, 0]
    lengths = np.array([7, 3, 7, 1, 2])
    ragged = fastbptt.diagnose(model, x, y, lengths=lengths)
    text = str(ragged)
    assert "\n5 sequences of up to 7 steps; bce " in text
    assert "\ndL/dh first sums over all 5 sequences, dL/dh last over the 2 of 7 steps.\n" in text
    each = fastbptt.diagnose(model, x, y, lengths=lengths, per_example=True)
    assert str(each) == text
    sizes = each.layers[0].hidden_gradient
    assert (sizes[:, 0] > 0).all()
    assert list(sizes[:, -1] > 0) == [True, False, True, False, False]
    level = str(fastbptt.diagnose(model, x, y))
    assert "\n5 sequences of 7 steps; bce " in level
    assert "sums over" not in level
    assert "\n1 sequence of 1 step; bce " in str(fastbptt.diagnose(model, x[:1, :1], [0]))


def test_how_many_jacobians() -> None:
    model = fastbptt.LSTM(2, 4, 1, seed=0)
    x, y = np.random.default_rng(0).normal(size=(9, 5, 2)), np.arange(9) % 2
    for wanted, rows in ((True, list(range(9))), (3, [0, 4, 8]), (20, list(range(9))), (1, [0])):
        report = fastbptt.diagnose(model, x, y, jacobians=wanted)
        assert list(report.layers[0].sequences) == rows
    none = fastbptt.diagnose(model, x, y, jacobians=False)
    assert none.layers[0].jacobian is None
    assert none.layers[0].decay is None
    assert none.decay is None


def test_wide_states_have_a_norm_but_no_singular_values() -> None:
    model = fastbptt.RNN(2, 70, 1, seed=0)
    x = np.random.default_rng(0).normal(size=(2, 5, 2))
    layer = fastbptt.diagnose(model, x, [0, 1], jacobians=True).layers[0]
    assert layer.singular_values is None
    assert layer.jacobian is not None
    assert layer.jacobian[-1] == pytest.approx(1.0)


# ---------------------------------------------------------------- range


@pytest.mark.slow
def test_thirty_decades_without_a_gap() -> None:
    """A loss at the last of 200 steps: a tanh RNN that forgets beside an LSTM that does not."""
    T = 200
    x = np.random.default_rng(0).normal(size=(8, T, 4))
    y = np.arange(8) % 2
    rnn = fastbptt.RNN(4, 32, 1, init="torch", seed=0)
    rnn.parameters["W_hh"][...] *= 0.7
    lstm = fastbptt.LSTM(4, 32, 1, seed=0)
    lstm.parameters["b_h"][32:64] = 1.0
    forgets = fastbptt.diagnose(rnn, x, y).layers[0].hidden_gradient
    keeps = fastbptt.diagnose(lstm, x, y).layers[0].hidden_gradient
    for flow in (forgets, keeps):
        assert (flow > 0).all()
    assert forgets[0] < 1e-30 * forgets[-1]
    assert np.log10(forgets[-1] / forgets[0]) > 60
    assert np.log10(keeps[-1] / keeps[0]) < 0.6 * np.log10(forgets[-1] / forgets[0])
    own = fastbptt.diagnose(rnn, x, y, dtype=None).layers[0].hidden_gradient
    assert (own == 0).any()  # what float32 itself would show
    lives = own > 1e-33
    np.testing.assert_allclose(own[lives], forgets[lives], rtol=1e-3)


def test_down_to_the_end_of_float64() -> None:
    model = fastbptt.RNN(1, 4, 1, init=("normal", 0.0), dtype="float64")
    model.parameters["W_hh"][...] = 1e-10 * np.eye(4)
    model.parameters["W_hy"][...] = 1.0
    layer = fastbptt.diagnose(model, np.zeros((1, 30, 1)), [[1.0]], "mse").layers[0]
    rates = 1e-10 ** np.arange(29.0, -1, -1)
    assert layer.jacobian is not None
    np.testing.assert_allclose(layer.hidden_gradient, 4 * rates, rtol=1e-12)
    np.testing.assert_allclose(layer.gate_gradient["a"], 4 * rates, rtol=1e-12)
    np.testing.assert_allclose(layer.jacobian, rates, rtol=1e-12)
    long = fastbptt.diagnose(model, np.zeros((1, 60, 1)), [[1.0]], "mse").layers[0]
    assert long.log_jacobian is not None
    np.testing.assert_allclose(long.log_jacobian, np.log(1e-10) * np.arange(59.0, -1, -1))
    assert long.decay == pytest.approx(1e-10)


# ---------------------------------------------------------------- gates and units


def test_saturation_and_gate_activation() -> None:
    model = fastbptt.LSTM(1, 4, 1, init=("normal", 0.0), seed=0)
    b = model.parameters["b_h"].reshape(4, 4)  # i, f, g, o
    b[0], b[1], b[3] = 2.0, -1.0, 9.0
    b[2] = [9.0, -9.0, 0.1, 0.0]
    report = fastbptt.diagnose(model, np.zeros((2, 5, 1)), [0, 1], lengths=[5, 2])
    layer = report.layers[0]
    assert set(layer.gate_activation) == {"i", "f", "o"}
    for letter, bias in (("i", 2.0), ("f", -1.0), ("o", 9.0)):
        expected = 1 / (1 + np.exp(-bias))
        np.testing.assert_allclose(layer.gate_activation[letter], np.full(5, expected), rtol=1e-6)
    assert layer.cell_saturation is not None
    assert layer.dead == 0.25
    rnn = fastbptt.RNN(1, 4, 1, init=("normal", 0.0), seed=0)
    rnn.parameters["b_h"][...] = [9.0, -9.0, 2.0, 0.5]
    one = fastbptt.diagnose(rnn, np.zeros((1, 3, 1)), [0]).layers[0]
    np.testing.assert_allclose(one.saturation, 0.5)  # tanh(2) is 0.964
    assert one.gate_activation == {}
    assert one.cell_saturation is None
    relu = fastbptt.RNN(1, 4, 1, nonlinearity="relu", init=("normal", 0.0), seed=0)
    relu.parameters["b_h"][...] = [9.0, -9.0, 2.0, -0.5]
    two = fastbptt.diagnose(relu, np.zeros((1, 3, 1)), [0]).layers[0]
    assert not two.saturation.any()
    assert two.dead == 0.5


# ---------------------------------------------------------------- around it


def test_it_leaves_the_model_alone() -> None:
    model = fastbptt.GRU(2, 3, 1, num_layers=2, dropout=0.5, seed=0)
    before, keys = model.parameters.flat.tobytes(), model._dropout_seeds.state
    x = np.ones((2, 4, 2))
    first = fastbptt.diagnose(model, x, [0, 1])
    assert first.to_dict() == fastbptt.diagnose(model, x, [0, 1]).to_dict()
    assert model.parameters.flat.tobytes() == before
    assert model._dropout_seeds.state == keys
    assert model.last_gradients is None


def test_tokens_and_lists() -> None:
    model = fastbptt.GRU(3, 4, 2, embedding=7, seed=0)
    report = fastbptt.diagnose(model, [np.array([1, 2, 3]), np.array([4])], [1, 0])
    assert report.objective == {"loss": "cross_entropy", "steps": "last", "reduction": "mean"}
    assert list(report.lengths) == [3, 1]
    assert report.gradient_norms["E"] > 0


@pytest.mark.parametrize(
    ("outputs", "y", "loss"),
    [
        (1, [0, 1], "bce"),
        (1, [0.0, 1.0], "bce"),
        (1, [0.5, 1.0], "mse"),
        (3, [0, 2], "cross_entropy"),
        (2, np.zeros((2, 2)), "mse"),
        (None, np.zeros((2, 3)), "mse"),
    ],
)
def test_default_loss(outputs: int | None, y: Any, loss: str) -> None:
    model = fastbptt.RNN(2, 3, outputs, seed=0)
    assert fastbptt.diagnose(model, np.ones((2, 4, 2)), y).objective["loss"] == loss


def test_as_json() -> None:
    model = fastbptt.LSTM(2, 3, 1, bidirectional=True, seed=0)
    report = fastbptt.diagnose(model, np.ones((2, 4, 2)), [0, 1], lengths=[4, 2], per_example=True)
    back = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert back["layers"][1]["name"] == "l0_reverse"
    assert back["layers"][0]["jacobian"][1][3] is None
    assert back["steps"] == [0, 1, 2, 3]


def test_wrong_options() -> None:
    model, x = fastbptt.RNN(2, 3, 1, seed=0), np.ones((2, 4, 2))
    for options, error, message in (
        ({"dtype": "float16"}, ValueError, r"^dtype is "),
        ({"jacobians": -1}, ValueError, r"^jacobians is -1; expected "),
        ({"per_example": 3}, TypeError, r"^per_example is 3"),
        ({"steps": "first"}, ValueError, r"^steps is "),
    ):
        with pytest.raises(error, match=message):
            fastbptt.diagnose(model, x, [0, 1], **options)


@pytest.mark.parametrize("model", [3, None, "gru", np.zeros(2)])
def test_what_is_no_model(model: Any) -> None:
    with pytest.raises(
        fastbptt.ArgumentTypeError, match=r"^model is of type .*; expected a fastbptt"
    ):
        fastbptt.diagnose(model, np.zeros((1, 2, 1)), [0.0])
