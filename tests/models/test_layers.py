"""Every cell, layer, direction and option, through the models, against the reference."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from cases import CELLS, Case, every_network, sampled
from networks import both, clean, close, initial_gradients, model_of, parts

import fastbptt
from fastbptt import _core, reference
from fastbptt.models.cells import MODELS

SIZES = {"B": 4, "T": 5, "I": 3, "H": 4}


@pytest.mark.parametrize("cell", CELLS)
def test_loss_and_gradients(cell: str) -> None:
    for case in sampled(every_network(**SIZES, cell=cell), 3):
        model, problem = both(case)
        x, net = clean(case, problem), problem.network
        value, grads = model.copy().loss_and_grad(
            problem.x, problem.y, **problem.loss_args, need_input_grad=not case.embedding
        )
        expected, wanted = reference.loss_and_grad(
            problem.params, x, problem.y, **problem.loss_args, **net
        )
        assert value == pytest.approx(expected, rel=1e-12), str(case)
        assert model.copy().loss(problem.x, problem.y, **problem.loss_args, training=True) == value
        assert list(grads) == list(model.parameters) == list(problem.params)
        for name in grads:
            close(grads[name], wanted[name])
        if case.embedding:
            assert grads.x is None
        else:
            close(grads.x, wanted["x"])

        def again(params: Any, h0: Any, p: Any = problem, x: Any = x, net: Any = net) -> Any:
            args = {**p.loss_args, "h0": h0}
            return reference.loss_and_grad(params, x, p.y, **args, **net)[1]

        of_states = initial_gradients(case, problem, again, case.state_names)
        assert isinstance(grads.h0, tuple) == (len(case.state_names) > 1)
        for got, e in zip(parts(grads.h0), of_states, strict=True):
            close(got, e)


@pytest.mark.parametrize("cell", CELLS)
def test_forward_and_backward(cell: str) -> None:
    rng = np.random.default_rng(0)
    for case in sampled(every_network(**SIZES, cell=cell), 3):
        model, problem = both(case)
        x, net = clean(case, problem), problem.network
        out = model.forward(problem.x, **problem.forward_args, training=True)
        expected = reference.forward(problem.params, x, **problem.forward_args, **net)
        for name in ("outputs", "hidden", "last"):
            close(getattr(out, name), getattr(expected, name), 1e-12)
            assert getattr(out, name) is getattr(out, name)
        assert isinstance(out.final_state, tuple) == (len(case.state_names) > 1)
        finals = parts(out.final_state)
        for got, e in zip(finals, parts(expected.final_state), strict=True):
            close(got, e, 1e-12)
        up = rng.normal(size=out.outputs.shape)
        last = rng.normal(size=out.last.shape)
        state: Any = tuple(rng.normal(size=a.shape) for a in finals)
        state = state if len(state) > 1 else state[0]
        inside = rng.normal(size=out.hidden.shape)
        for given in (
            {"d_outputs": up},
            {"d_last": last},
            {"d_final_state": state},
            {"d_outputs": up, "d_final_state": state},
            {"d_last": last, "d_final_state": state},
            {"d_hidden": inside},
            {"d_hidden": inside, "d_outputs": up},
            {"d_hidden": inside, "d_last": last, "d_final_state": state},
        ):
            grads = model.backward(out, **given, need_input_grad=not case.embedding)
            wanted = reference.backward(
                problem.params, x, expected, **given, **problem.forward_args, **net
            )
            for name in grads:
                close(grads[name], wanted[name])
            if not case.embedding:
                close(grads.x, wanted["x"])


def far_back(params: Any, x: Any, cell: str, layers: int) -> Any:
    """Compare with the reference, which never stops early; the blocks of time have some 500."""
    model = fastbptt.Recurrent(cell, 1, 2, 1, num_layers=layers, dtype="float64", seed=0)
    for name, value in params.items():
        model.parameters[name] = value
    own = {name: np.array(value) for name, value in model.parameters.items()}
    y = np.array([[1.5]])
    _, grads = model.loss_and_grad(x, y, "mse")
    _, wanted = reference.loss_and_grad(own, x, y, "mse", cell=cell, num_layers=layers)
    for name in grads:
        close(grads[name], wanted[name])
    return grads


def test_a_gradient_that_only_the_memory_carries_goes_on() -> None:
    """Gates that are shut to the last bit have no gradient; what an LSTM keeps has one."""
    x = np.full((1, 1500, 1), 1000.0)
    x[0, :20] = np.random.default_rng(0).normal(size=(20, 1)) / 10
    x[0, -1] = 0
    shut = np.repeat([[-1.0, 1.0, 0.0, -1.0]], 2, axis=1)  # input, forget, cell, output
    grads = far_back({"W_xh": shut}, x, "lstm", 1)
    assert np.abs(grads["W_xh"]).max() > 1e-6


def test_a_gradient_from_above_that_enters_before_a_pause_goes_on() -> None:
    """The lower layer is silent, and without a slope, for longer than a block of time."""
    x = np.full((1, 1500, 1), -5.0)
    x[0, :200], x[0, -3:] = 0.5, 0.5
    same = np.eye(2)
    params = {
        "W_xh": np.array([[1.0, 0.5]]), "W_hh": same / 4, "W_xh_l1": same, "W_hh_l1": 0.999 * same,
        "b_h_l1": np.full(2, 0.01),
    }  # fmt: skip
    grads = far_back(params, x, "relu", 2)
    assert np.abs(grads["W_hh"]).max() > 1e-6


def test_some_of_several_gradients_of_the_final_state_may_be_none() -> None:
    case = Case(**SIZES, cell="lstm", num_layers=2, bidirectional=True)
    model, problem = both(case)
    out = model.forward(problem.x)
    up = np.random.default_rng(0).normal(size=case.state_shape)
    for given, full in [((up, None), (up, 0 * up)), ([None, up], [0 * up, up])]:
        got = model.backward(out, d_final_state=given)
        assert got.flat.tobytes() == model.backward(out, d_final_state=full).flat.tobytes()


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("place", [0, 1])
def test_one_of_several_initial_states_may_be_none(place: int, learned: bool) -> None:
    """It is the learned one, whose gradient is the sum over the batch, or zero."""
    case = Case(**SIZES, cell="lstm", num_layers=2, learn_initial_state=learned, loss="mse")
    model, problem = both(case)
    own = np.random.default_rng(0).normal(size=case.state_shape)
    h0 = tuple(None if i == place else own for i in range(2))
    filled = tuple(
        b if a is None else a for a, b in zip(h0, model.initial_state(case.B), strict=True)
    )
    out, wanted = model.forward(problem.x, h0=h0), model.forward(problem.x, h0=filled)
    np.testing.assert_array_equal(out.outputs, wanted.outputs)
    np.testing.assert_array_equal(out.final_state[1], wanted.final_state[1])
    args = {**problem.loss_args, "h0": h0}
    loss, grads = model.loss_and_grad(problem.x, problem.y, **args)
    expected, of_reference = reference.loss_and_grad(
        problem.params, problem.x, problem.y, **args, **problem.network
    )
    assert loss == pytest.approx(expected, rel=1e-12)
    for name in grads:
        close(grads[name], of_reference[name])
    if learned:
        assert [bool(grads[name].any()) for name in ("h0", "c0")] == [place == 0, place == 1]
    twin, other = model.copy(), model.copy()
    for chunk in ({}, {"bptt_steps": 2}):
        twin.train_step(problem.x, problem.y, fastbptt.SGD(), **args, **chunk)
        if not learned:
            args = {**args, "h0": filled}
            other.train_step(problem.x, problem.y, fastbptt.SGD(), **args, **chunk)
            assert twin.parameters.flat.tobytes() == other.parameters.flat.tobytes()
    found = fastbptt.diagnose(model, problem.x, problem.y, **{**args, "h0": h0})
    assert found.loss == pytest.approx(loss, rel=1e-9)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_training_follows_the_reference(cell: str, dtype: str) -> None:
    case = Case(**SIZES, cell=cell, O=2, num_layers=2, bidirectional=True, loss="mse", seed=3)
    case = replace(case, learn_initial_state=True)
    model, problem = both(case, dtype)
    adam, params = fastbptt.Adam(lr=0.01), problem.astype(np.float64).params
    double = problem.astype(np.float64)
    state = reference.Moments()
    for _ in range(5):
        loss = model.train_step(problem.x, problem.y, adam, **problem.loss_args, clip_norm=0.5)
        expected, grads = reference.loss_and_grad(
            params, double.x, double.y, **double.loss_args, **problem.network
        )
        assert loss == pytest.approx(expected, rel=1e-4 if dtype == "float32" else 1e-10)
        grads = {name: grads[name] for name in params}
        reference.adam_step(params, reference.clip_by_global_norm(params, grads, 0.5), state, 0.01)


@pytest.mark.parametrize("cell", CELLS)
def test_loss_at_the_end_reads_last(cell: str) -> None:
    """In one direction `last` is the output at each sequence's own last step; in two it is not."""
    rng = np.random.default_rng(0)
    for both_ways in (False, True):
        case = Case(**SIZES, cell=cell, O=2, num_layers=2, bidirectional=both_ways)
        model, problem = both(case)
        lengths = np.array([5, 2, 1, 4])
        y = rng.normal(size=(4, 2))
        out = model.forward(problem.x, lengths)
        ends = out.outputs[np.arange(4), lengths - 1]
        same = np.abs(out.last - ends).max(axis=1) < 1e-12
        assert list(same) == ([False, False, True, False] if both_ways else [True] * 4)
        expected = float(((out.last - y) ** 2).mean())
        assert model.loss(problem.x, y, "mse", lengths=lengths) == pytest.approx(expected)


def test_every_cell_has_a_reference_and_a_model() -> None:
    assert fastbptt.cells() == _core.cells() == list(reference.CELLS)
    for cell, model in MODELS.items():
        assert cell in model._cells
        assert issubclass(model, fastbptt.Recurrent)


@pytest.mark.parametrize("cell", CELLS)
def test_public_class_is_the_generic_one(cell: str) -> None:
    arguments: dict[str, dict[str, Any]] = {
        "relu": {"nonlinearity": "relu"},
        "gru_before": {"reset_after": False},
        "leaky": {"alpha": 0.2},
        "leaky_preactivation_softplus": {
            "formulation": "preactivation",
            "nonlinearity": "softplus",
        },
    }
    if cell not in MODELS:
        pytest.skip("no class of its own")
    model = MODELS[cell](
        3, 4, 2, num_layers=2, bidirectional=True, seed=7, **arguments.get(cell, {})
    )
    other = model_of(Case(1, 1, 3, 4, 2, cell=cell, num_layers=2, bidirectional=True), "float32", 7)
    assert model.cell == other.cell == cell
    assert model.parameters.flat.tobytes() == other.parameters.flat.tobytes()
    assert model._config() == other._config()


def test_own_options() -> None:
    assert fastbptt.RNN(2, 3).nonlinearity == "tanh"
    assert fastbptt.RNN(2, 3, nonlinearity="relu").nonlinearity == "relu"
    assert fastbptt.GRU(2, 3).reset_after is True
    assert fastbptt.GRU(2, 3, reset_after=False).reset_after is False
    assert fastbptt.LeakyRNN(2, 3).alpha == 0.2
    assert fastbptt.LeakyRNN(2, 3, alpha=np.float32(0.5)).alpha == 0.5


def test_alpha_of_one_is_the_plain_network() -> None:
    x = np.random.default_rng(0).normal(size=(3, 4, 2))
    plain = fastbptt.RNN(2, 5, 1, dtype="float64", seed=0)
    leaky = fastbptt.LeakyRNN(2, 5, 1, alpha=1, dtype="float64", seed=0)
    close(leaky.forward(x).outputs, plain.forward(x).outputs, 1e-14)


def test_properties() -> None:
    model = fastbptt.LSTM(
        8,
        16,
        num_layers=3,
        bidirectional=True,
        bias=False,
        dropout=0.25,
        learn_initial_state=True,
        embedding=30,
        padding_index=np.int64(2),
        freeze_embedding=True,
    )
    found = {
        name: getattr(model, name)
        for name in (
            *("cell", "input_size", "hidden_size", "output_size", "num_layers", "bidirectional"),
            *("bias", "dropout", "learn_initial_state", "vocabulary_size", "padding_index"),
            "freeze_embedding",
        )
    }
    assert list(found.values()) == [
        *("lstm", 8, 16, None, 3, True),
        *(False, 0.25, True, 30, 2),
        True,
    ]
    plain = fastbptt.RNN(2, 3)
    assert (plain.vocabulary_size, plain.padding_index, plain.last_report) == (None, None, None)
    assert plain.freeze_embedding is False


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (lambda: fastbptt.RNN(2, 3, 1), "RNN(2, 3, 1, "),
        (
            lambda: fastbptt.RNN(2, 3, 1, nonlinearity="relu", num_layers=2, bias=False),
            'RNN(2, 3, 1, nonlinearity="relu", num_layers=2, bias=False, ',
        ),
        (
            lambda: fastbptt.RNN(2, 6, 1, output_bias=False, readout_units=np.arange(1, 6, 2)),
            "RNN(2, 6, 1, output_bias=False, readout_units=range(1, 6, 2), ",
        ),
        (
            lambda: fastbptt.RNN(2, 6, 1, bias=False, output_bias=True, readout_units=(0, 1, 5)),
            "RNN(2, 6, 1, bias=False, output_bias=True, readout_units=[0, 1, 5], ",
        ),
        (lambda: fastbptt.GRU(2, 3), "GRU(2, 3, None, "),
        (lambda: fastbptt.GRU(2, 3, reset_after=False), "GRU(2, 3, None, reset_after=False, "),
        (
            lambda: fastbptt.LSTM(2, 3, num_layers=2, bidirectional=True, dropout=0.5),
            "LSTM(2, 3, None, num_layers=2, bidirectional=True, dropout=0.5, ",
        ),
        (lambda: fastbptt.LeakyRNN(2, 3), "LeakyRNN(2, 3, None, alpha=0.2, "),
        (
            lambda: fastbptt.LSTM(
                2, 3, learn_initial_state=True, embedding=9, padding_index=0, freeze_embedding=True
            ),
            "LSTM(2, 3, None, learn_initial_state=True, embedding=9, padding_index=0, "
            "freeze_embedding=True, ",
        ),
        (lambda: fastbptt.Recurrent("gru", 2, 3), 'Recurrent("gru", 2, 3, None, '),
        (
            lambda: fastbptt.Recurrent("leaky", 2, 3, alpha=0.5),
            'Recurrent("leaky", 2, 3, None, alpha=0.5, ',
        ),
    ],
)
def test_repr_says_how_to_make_it(model: Any, expected: str) -> None:
    text = repr(model())
    assert text.startswith(expected + 'dtype="float32")  # ')
    again = eval(text, {**vars(fastbptt)})
    assert repr(again) == text
    assert again._config()["arguments"] == model()._config()["arguments"]
