"""The readout: a bias apart from the layers' biases, and some of the units only."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import CELLS, Case, build, sampled
from networks import model_of

import fastbptt
from fastbptt import _core

BACKENDS = [one.name for one in fastbptt.backends() if one.usable]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("own", [None, False, True])
def test_output_bias(bias: bool, own: bool | None) -> None:
    model = fastbptt.GRU(2, 3, 1, bias=bias, output_bias=own, seed=0)
    assert ("b_h" in model.parameters) == ("b_hn" in model.parameters) == bias == model.bias
    assert ("b_y" in model.parameters) == (bias if own is None else own) == model.output_bias
    assert fastbptt.GRU(2, 3, bias=bias).output_bias is False


def test_output_bias_draws_the_other_weights_alike() -> None:
    with_it, without = (fastbptt.RNN(2, 3, 1, output_bias=own, seed=0) for own in (True, False))
    for name, values in without.parameters.items():
        np.testing.assert_array_equal(values, with_it.parameters[name])


def widened(model: fastbptt.Recurrent, case: Case) -> fastbptt.Recurrent:
    """The same network, whose readout reads all units, those that it did not with weight 0."""
    whole = model_of(replace(case, reads_half=False), model.dtype.name)
    values = model.state_dict()
    full = np.zeros_like(whole.parameters["W_hy"])
    full[list(model.readout_units or ())] = values["W_hy"]
    whole.load_state_dict(values | {"W_hy": full})
    return whole


@pytest.mark.parametrize(
    ("backend", "steps", "both_ways"),
    sampled([*itertools.product(BACKENDS, ["last", "all", "mean", "max"], [False, True])], 4),
)
def test_other_units_count_nothing(backend: str, steps: str, both_ways: bool) -> None:
    """Bit for bit as with weights of 0, whatever the loss, the cell and the threads."""
    before, threads = _core.active_backend(), fastbptt.get_num_threads()
    try:
        _core.use_backend(backend)
        for k, cell in enumerate(CELLS):
            case = Case(
                40, 7, 3, 37, 2, cell=cell, loss="mse", steps=steps, num_layers=1 + k % 2,
                bidirectional=both_ways, reads_half=True, with_lengths=True, seed=2 * k,
            )  # fmt: skip
            problem = build(case, "float32")
            model = model_of(case, "float32")
            whole = widened(model, case)
            assert model.parameters["W_hy"].shape == (37 if both_ways else 19, 2)
            options: dict[str, Any] = {
                "loss": "mse", "steps": steps, "lengths": problem.lengths
            }  # fmt: skip
            if not both_ways:
                options["memory_budget"] = 2 * model.minimum_memory(40, 7)
            results = []
            for team in (1, 2, 3):
                fastbptt.set_num_threads(team)
                results.append(model.loss_and_grad(problem.x, problem.y, **options))
            value, grads = whole.loss_and_grad(problem.x, problem.y, **options)
            for found, own in results:
                assert found == value
                for name in ("W_xh", "W_hh", "b_h", "b_y"):
                    np.testing.assert_array_equal(own[name], grads[name])
                rows = grads["W_hy"][list(model.readout_units or ())]
                np.testing.assert_array_equal(own["W_hy"], rows)
            out, other = (one.forward(problem.x, problem.lengths) for one in (model, whole))
            np.testing.assert_array_equal(out.outputs, other.outputs)
            np.testing.assert_array_equal(out.last, other.last)
    finally:
        _core.use_backend(before)
        fastbptt.set_num_threads(threads)


@pytest.mark.parametrize("cell", CELLS)
def test_step_by_step(cell: str) -> None:
    model = fastbptt.Recurrent(
        cell, 3, 9, 2, num_layers=2, readout_units=[0, 3, 4, 8], output_bias=False,
        dtype="float64", seed=0, alpha=0.5 if cell.startswith("leaky") else None,
    )  # fmt: skip
    x = np.random.default_rng(0).normal(size=(3, 4, 3))
    state = model.initial_state(3)
    found = np.stack([model.step(x[:, t], state) for t in range(4)], axis=1)
    np.testing.assert_allclose(found, model.forward(x).outputs, rtol=1e-12, atol=1e-14)


def test_all_units_are_the_default() -> None:
    """To the bit, the drawn weights too."""
    x = np.ones((2, 3, 2))
    every = fastbptt.RNN(2, 5, 1, readout_units=range(5), seed=0)
    plain = fastbptt.RNN(2, 5, 1, seed=0)
    assert (every.readout_units, plain.readout_units) == ((0, 1, 2, 3, 4), None)
    assert every.parameters.flat.tobytes() == plain.parameters.flat.tobytes()
    assert every.forward(x).outputs.tobytes() == plain.forward(x).outputs.tobytes()


def test_weights_are_drawn_for_what_is_read() -> None:
    """As of a linear layer with so many inputs."""
    for units in (None, range(4), range(100)):
        drawn = fastbptt.RNN(1, 100, 500, readout_units=units, seed=0).parameters
        limit = (100 if units is None else len(units)) ** -0.5
        for name in ("W_hy", "b_y"):
            assert 0.95 * limit < np.abs(drawn[name]).max() <= limit


@pytest.mark.parametrize("way", ["file", "copy", "pickle"])
def test_goes_with_copies(way: str, tmp_path: Path) -> None:
    import pickle

    model = fastbptt.LSTM(
        2, 4, 40, bidirectional=True, bias=False, output_bias=True, readout_units=[1, 7], seed=0
    )
    model.save(tmp_path / "m")
    twin = {
        "file": lambda: fastbptt.load(tmp_path / "m"),
        "copy": model.copy,
        "pickle": lambda: pickle.loads(pickle.dumps(model)),
    }[way]()
    assert repr(twin) == repr(model)
    x = np.ones((2, 3, 2))
    assert twin.forward(x).outputs.tobytes() == model.forward(x).outputs.tobytes()


def test_units_not_read_learn_through_the_others() -> None:
    """Of one layer, the gradient comes back through W_hh; at the last step there is none."""
    model = fastbptt.RNN(2, 4, 1, readout_units=[0, 2], dtype="float64", seed=0)
    x = np.random.default_rng(0).normal(size=(3, 5, 2))
    out = model.forward(x)
    grads = model.backward(out, d_last=np.ones((3, 1)))
    assert (np.abs(grads["W_hh"]) > 0).all()
    one = model.forward(x[:, :1])
    grads = model.backward(one, d_last=np.ones((3, 1)))
    assert (grads["b_h"] != 0).tolist() == [True, False, True, False]


@pytest.mark.parametrize("both_ways", [False, True])
def test_diagnosis_adds_up(both_ways: bool) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(1, 6, 2)), rng.normal(size=(1, 6, 1))
    model = fastbptt.GRU(
        2, 4, 1, bidirectional=both_ways, readout_units=[1, 2], dtype="float64", seed=0
    )
    grads = model.loss_and_grad(x, y, "mse", "all")[1]
    found = fastbptt.diagnose(model, x, y, "mse", "all")
    assert found.output.running_sum[0] == pytest.approx(np.linalg.norm(grads["W_hy"]), rel=1e-12)


def test_pooled_outputs() -> None:
    """Evaluation reads the same units as the loss."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(4, 200, 2)), rng.normal(size=(4, 1))
    model = fastbptt.RNN(2, 4, 1, readout_units=[1, 2], dtype="float64", seed=0)
    whole = fastbptt.evaluate(model, x, y, loss="mse", steps="mean")["loss"]
    assert whole == pytest.approx(model.loss(x, y, "mse", "mean"), rel=1e-12)


UNITS = "increasing whole numbers from 0 to 4, such as range(3)"


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"output_bias": 1}, TypeError, "output_bias is 1; expected True or False"),
        (
            {"output_bias": True, "output_size": None},
            ValueError,
            "output_bias is True; expected None: there is no readout",
        ),
        (
            {"readout_units": [0], "output_size": None},
            ValueError,
            "readout_units is [0]; expected None: there is no readout",
        ),
        ({"readout_units": 3}, TypeError, f"readout_units is 3; expected {UNITS}"),
        ({"readout_units": "all"}, TypeError, f"readout_units is 'all'; expected {UNITS}"),
        ({"readout_units": [0.5]}, TypeError, f"readout_units is [0.5]; expected {UNITS}"),
        (
            {"readout_units": [True, False]},
            TypeError,
            f"readout_units is [True, False]; expected {UNITS}",
        ),
        ({"readout_units": []}, ValueError, f"readout_units is empty; expected {UNITS}"),
        ({"readout_units": [1, 5]}, ValueError, f"readout_units holds 5; expected {UNITS}"),
        ({"readout_units": [-1]}, ValueError, f"readout_units holds -1; expected {UNITS}"),
        ({"readout_units": [1, 1]}, ValueError, f"readout_units holds 1 after 1; expected {UNITS}"),
        ({"readout_units": [2, 1]}, ValueError, f"readout_units holds 1 after 2; expected {UNITS}"),
        (
            {"readout_units": [10], "bidirectional": True},
            ValueError,
            "readout_units holds 10; expected increasing whole numbers from 0 to 9, such as "
            "range(5) (from 5 on those of the reverse direction)",
        ),
    ],
)
def test_wrong_options(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        fastbptt.RNN(**{"input_size": 2, "hidden_size": 5, "output_size": 1, **options})
    assert str(caught.value) == message


def test_the_core_checks_too() -> None:
    for units in ([3], [-1], [1, 1], [1, 0]):
        with pytest.raises(ValueError, match="read_units holds"):
            _core.Spec("rnn", 2, 3, 1, read_units=np.array(units))
    for options in ({"read_units": np.array([0])}, {"output_bias": 1}):
        with pytest.raises(ValueError, match="none for a network without a readout"):
            _core.Spec("rnn", 2, 3, **options)  # type: ignore[arg-type]


def test_a_readout_of_some_units_in_pictures_of_the_states() -> None:
    """Steps and Jacobians are those of the same network without a readout."""
    pytest.importorskip("matplotlib").use("Agg")
    from fastbptt.diagnostics._step import last_jacobian, visited

    x = np.random.default_rng(0).normal(size=(8, 6, 2))
    for layers, bias in ((1, True), (2, False)):
        model = fastbptt.GRU(
            2, 4, 1, num_layers=layers, readout_units=[1, 2], output_bias=bias, seed=0
        )
        bare = fastbptt.GRU(2, 4, num_layers=layers, seed=0)
        bare.load_state_dict({k: v for k, v in model.state_dict().items() if k in bare.parameters})
        for layer in range(layers):
            jacobians = [last_jacobian(one, layer, 0, x[:1]) for one in (model, bare)]
            np.testing.assert_array_equal(*jacobians)
        np.testing.assert_array_equal(
            *(visited(one, "x", x, None, None)[0] for one in (model, bare))
        )
    fastbptt.plot.eigenvalues(model, x=x)
