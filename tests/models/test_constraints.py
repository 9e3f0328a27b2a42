"""Masks, signs and bounds of norms, whatever trains a network."""

from __future__ import annotations

import copy
import io
import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trained import Bench

import fastbptt
from fastbptt import Constraints, reference
from fastbptt.interchange import to_keras_weights, to_torch
from fastbptt.optim import OPTIMIZERS

RNG = np.random.default_rng(3)
X = RNG.normal(size=(6, 5, 3))
Y = RNG.normal(size=(6, 2))
UNITS = np.array([1, 1, 1, 1, -1, -1, 0])
SETTINGS: dict[str, dict[str, Any]] = {
    "adam": {"amsgrad": True, "weight_decay": 0.1},
    "adamw": {"weight_decay": 0.1},
    "sgd": {"momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
    "rmsprop": {"momentum": 0.5, "centered": True},
}


def constrained(cell: str, dtype: str, method: str = "clip", **options: Any) -> fastbptt.Recurrent:
    """A network with every constraint."""
    alpha = 0.5 if cell.startswith("leaky") else None
    given = Constraints(
        masks={
            "W_hh": np.arange(49).reshape(7, 7) % 3 > 0,
            "W_hy": np.arange(14).reshape(7, 2) > 2,
        },
        self_connections=False,
        signs=UNITS,
        sign_method=method,
        input_units=[0, 2, 4, 5],
        max_norm={"W_hh": 0.8, "W_xh": 0.5},
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return fastbptt.Recurrent(
            cell, 3, 7, 2, alpha=alpha, dtype=dtype, constraints=given, seed=1, **options
        )


def check(model: fastbptt.Recurrent) -> Any:
    """Compare with masks and signs computed here, not by the package; return where W_hh is zero."""
    hidden = model.hidden_size
    rows, columns = np.divmod(np.arange(hidden * hidden).reshape(hidden, hidden), hidden)
    kept = ((hidden * rows + columns) % 3 > 0) & (rows != columns)
    W_hh, W_xh = model.parameters["W_hh"], model.parameters["W_xh"]
    for gate in range(W_hh.shape[1] // hidden):
        block = W_hh[:, gate * hidden : (gate + 1) * hidden]
        assert (block[~kept] == 0.0).all()
        assert (block[:4] >= 0).all()
        assert (block[4:6] <= 0).all()
        assert (W_xh[:, np.array([1, 3, 6]) + gate * hidden] == 0.0).all()
    W_hy = model.parameters["W_hy"]
    assert (W_hy.ravel()[:3] == 0.0).all()
    assert (W_hy[:4] >= 0).all()
    assert (W_hy[4:6] <= 0).all()
    assert (np.linalg.norm(W_hh, axis=0) <= 0.8 * (1 + 1e-6)).all()
    assert (np.linalg.norm(W_xh, axis=0) <= 0.5 * (1 + 1e-6)).all()
    return np.tile(~kept, W_hh.shape[1] // hidden)


@pytest.mark.parametrize("cell", fastbptt.cells())
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("method", ["clip", "abs"])
def test_kept_by_every_update(cell: str, dtype: str, name: str, method: str) -> None:
    model = constrained(cell, dtype, method)
    check(model)
    optimizer = OPTIMIZERS[name](lr=0.05, **SETTINGS[name])
    before = model.state_dict()
    for step in range(50):
        model.train_step(X, Y, optimizer, "mse", bptt_steps=2 if step % 7 == 0 else None)
        check(model)
    assert all((model.parameters[one] != old).any() for one, old in before.items())
    assert (model.parameters["W_hh"] != 0.0).mean() > 0.1
    masked = check(model)
    for moments in optimizer._moments:
        assert (getattr(optimizer, moments)["W_hh"][masked] == 0.0).all()
    _, grads = model.loss_and_grad(X, Y, "mse")
    assert (grads["W_hh"][masked] == 0.0).all()
    optimizer.step(model, np.ones(model.num_parameters))
    check(model)


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("method", ["clip", "abs"])
def test_kept_for_a_thousand_steps(name: str, method: str, tmp_path: Path) -> None:
    """Masked entries are exactly zero after each, through files of model and optimiser."""
    model, path = constrained("gru", "float32", method), tmp_path / "model.safetensors"
    optimizer = OPTIMIZERS[name](lr=0.02, **SETTINGS[name])
    rng = np.random.default_rng(5)
    for step in range(1000):
        x, y = rng.normal(size=(3, 4, 3)), rng.normal(size=(3, 2))
        model.train_step(x, y, optimizer, "mse")
        masked = check(model)
        if step % 250 == 249:
            model.save(path, optimizer=optimizer)
            model, optimizer = fastbptt.load(path), fastbptt.load_optimizer(path)
            assert check(model).tolist() == masked.tolist()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_like_the_reference(name: str) -> None:
    """The rule of the reference on the gradient, then its projection."""
    model = constrained("rnn", "float64")
    given = model.constraints
    assert given is not None
    assert isinstance(given.signs, dict)
    params = model.state_dict()
    moments, ours = reference.Moments(), OPTIMIZERS[name](lr=0.1)
    for _ in range(10):
        model.train_step(X, Y, ours, "mse")
        _, grads = reference.loss_and_grad(params, X, Y, loss="mse")
        for one, mask in (given.masks or {}).items():
            grads[one] *= mask
        reference.OPTIMIZERS[name](params, grads, moments, lr=0.1)
        reference.project(params, given.masks, given.signs, given.max_norm)
        for one, values in params.items():
            np.testing.assert_allclose(model.parameters[one], values, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_abs_is_the_absolute_value_as_parameter(name: str) -> None:
    """Train theta with W = sign * abs(theta) by the reference; momenta go through zero with it."""
    sign = np.where(np.arange(7) < 4, 1.0, -1.0)[:, np.newaxis] * np.ones((7, 7))
    dale = Constraints(signs={"W_hh": sign}, sign_method="abs")
    model = fastbptt.RNN(3, 7, 2, constraints=dale, dtype="float64", seed=1)
    theta = model.state_dict()
    theta["W_hh"] = np.abs(theta["W_hh"]) * np.where(RNG.random((7, 7)) < 0.5, 1.0, -1.0)
    settings = {k: v for k, v in SETTINGS[name].items() if k != "amsgrad"}
    moments, ours = reference.Moments(), OPTIMIZERS[name](lr=0.05, **settings)
    crossings = 0
    for _ in range(30):
        model.train_step(X, Y, ours, "mse")
        weights = {**theta, "W_hh": sign * np.abs(theta["W_hh"])}
        _, grads = reference.loss_and_grad(weights, X, Y, loss="mse")
        grads["W_hh"] *= sign * np.sign(theta["W_hh"])
        before = theta["W_hh"].copy()
        reference.OPTIMIZERS[name](theta, grads, moments, lr=0.05, **settings)
        crossings += int((before * theta["W_hh"] < 0).sum())
        # the variance of RMSprop's centred form is a difference of nearly equal numbers
        np.testing.assert_allclose(
            model.parameters["W_hh"], sign * np.abs(theta["W_hh"]), rtol=1e-7, atol=1e-10
        )
    assert crossings > 10


@pytest.mark.parametrize("how", ["copy", "deepcopy", "pickle", "file"])
def test_goes_with_the_model(how: str, tmp_path: Path) -> None:
    model = constrained("gru", "float32", "abs")
    path = tmp_path / "model.safetensors"
    model.save(path)
    twin: fastbptt.Recurrent = {
        "copy": lambda: model.copy(),
        "deepcopy": lambda: copy.deepcopy(model),
        "pickle": lambda: pickle.loads(pickle.dumps(model)),
        "file": lambda: fastbptt.load(path),
    }[how]()
    assert repr(twin.constraints) == repr(model.constraints)
    both = [fastbptt.Adam(0.05), fastbptt.Adam(0.05)]
    for _ in range(20):
        for one, adam in zip((model, twin), both, strict=True):
            one.train_step(X, Y, adam, "mse")
        check(twin)
    assert twin.parameters.flat.tobytes() == model.parameters.flat.tobytes()


def test_resumed_from_a_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    settings: dict[str, Any] = {
        "loss": "mse", "epochs": 4, "batch_size": 2, "verbose": 0, "l1": {"W_hh": 1e-2},
    }  # fmt: skip
    whole, halves = constrained("rnn", "float32"), constrained("rnn", "float32")
    curves = fastbptt.fit(whole, X, Y, **settings)
    fastbptt.fit(halves, X, Y, **{**settings, "epochs": 2}, checkpoint=path)
    resumed = constrained("rnn", "float32")
    again = fastbptt.fit(resumed, X, Y, **settings, checkpoint=path, resume=True)
    check(resumed)
    assert resumed.parameters.flat.tobytes() == whole.parameters.flat.tobytes()
    assert again["l1.W_hh"] == curves["l1.W_hh"]
    other = fastbptt.RNN(3, 7, 2, seed=1)
    with pytest.raises(ValueError, match="constraints"):
        fastbptt.fit(other, X, Y, **settings, checkpoint=path, resume=True)


def test_threads_change_no_bit() -> None:
    before, found = fastbptt.get_num_threads(), []
    x, y = RNG.normal(size=(4, 3, 8)), RNG.normal(size=(4, 400))
    for count in (1, 2, 3):
        fastbptt.set_num_threads(count)
        loose = Constraints(
            self_connections=False, signs={"W_hh": np.ones(400)}, max_norm={"W_hh": 0.9}
        )
        with pytest.warns(UserWarning, match="constraints change the start weights W_hh by"):
            model = fastbptt.RNN(8, 400, None, constraints=loose, init="keras", seed=0)
        adam = fastbptt.Adam(0.01)
        for _ in range(3):
            model.train_step(x, y, adam, "mse", l1={"W_hh": 1e-3}, l2={"W_xh": 1e-2})
        found.append((model.parameters.flat.tobytes(), model.last_penalties))
    fastbptt.set_num_threads(before)
    assert found[1:] == found[:1] * 2


def test_layers_and_directions_by_name() -> None:
    mask = np.tri(4, dtype=bool)
    given = Constraints(
        masks={"W_hh_l1_reverse": mask, "b_h": [1, 0, 1, 1]}, signs={"W_xh_l1": 1, "b_y": [-1, 0]}
    )
    model = fastbptt.RNN(3, 4, 2, num_layers=2, bidirectional=True, constraints=given, seed=0)
    optimizer = fastbptt.RMSprop(0.02)
    for _ in range(10):
        model.train_step(X, Y, optimizer, "mse")
    own = model.parameters
    assert (own["W_hh_l1_reverse"][~mask] == 0).all()
    assert (own["W_hh_l1"] != 0).all()
    assert own["b_h"][1] == 0
    assert (own["W_xh_l1"] >= 0).all()
    assert own["b_y"][0] <= 0
    found = model.constraints
    assert found is not None
    assert found.masks is not None
    assert list(found.masks) == ["b_h", "W_hh_l1_reverse"]
    again = fastbptt.RNN(3, 4, 2, num_layers=2, bidirectional=True, constraints=found, seed=0)
    assert repr(again.constraints) == repr(found)


def test_masked_gradients_do_not_count_in_the_norm() -> None:
    """Nor are they looked at: the mask makes zeros of them before anything else."""
    model = constrained("rnn", "float64")
    sgd, grads = fastbptt.SGD(1.0), np.zeros(model.num_parameters)
    start, stop, _ = model._weights.layout["W_hh"]
    block = grads[start:stop].reshape(7, 7)
    block[np.diag_indices(7)] = np.nan
    grads[model._weights.layout["b_y"][0]] = 3.0
    before = model.state_dict()
    sgd.step(model, grads, clip_norm=1.5)
    np.testing.assert_allclose(before["b_y"] - model.parameters["b_y"], [1.5, 0.0])
    assert np.isnan(block).sum() == 7  # the caller's stays as it is


def test_frozen_parameters_are_not_projected() -> None:
    model = constrained("rnn", "float32")
    model.freeze("W_hh")
    before = model.parameters["W_hh"].tobytes()
    for _ in range(3):
        model.train_step(X, Y, fastbptt.SGD(0.1), "mse")
    assert model.parameters["W_hh"].tobytes() == before


@pytest.fixture
def dale() -> Bench:
    given = Constraints(self_connections=False, signs=[1, 1, 1, 1, -1], max_norm={"W_xh": 2.0})
    return Bench(model=fastbptt.RNN(2, 5, 1, constraints=given, seed=1))


HINT = (
    ', as the model\'s constraints have it; model.parameters["{}"][...] = values and then '
    "model.project() makes it so"
)


def test_what_the_user_writes_is_checked(dale: Bench) -> None:
    model = dale.model
    W_hh, W_xh = model.parameters["W_hh"].copy(), model.parameters["W_xh"].copy()
    W_hh[2, 2] = 0.5
    message = "parameters['W_hh'] holds 0.5 at index (2, 2); expected 0" + HINT.format("W_hh")
    with dale.refuses(ValueError, message):
        model.parameters["W_hh"] = W_hh
    W_hh[2, 2], W_hh[4, 0] = 0.0, 0.25
    message = "state['W_hh'] holds 0.25 at index (4, 0); expected at most 0" + HINT.format("W_hh")
    with dale.refuses(ValueError, message):
        model.load_state_dict({**model.state_dict(), "W_hh": W_hh})
    W_xh[:, 1] = [3.0, 4.0]
    message = "parameters['W_xh'] has norm 5 in column 1; expected at most 2" + HINT.format("W_xh")
    with dale.refuses(ValueError, message):
        model.parameters["W_xh"] = W_xh
    model.load_state_dict(model.state_dict())
    model.parameters["W_hh"] = model.parameters["W_hh"]


REMEDY = ", as the model's constraints have it; model.project() makes it so"


@pytest.mark.parametrize("call", ["forward", "predict", "loss", "train_step", "step", "backward"])
def test_views_are_checked_by_the_next_call(dale: Bench, call: str) -> None:
    model, (x, y) = dale.model, (dale.x, dale.y)
    out = model.forward(x)
    _, grads = model.loss_and_grad(x, y)
    model.parameters["W_hh"][0, 3] = -0.5
    message = "parameter W_hh is -0.5 at index (0, 3); expected at least 0" + REMEDY
    calls: dict[str, Any] = {
        "forward": lambda: model.forward(x),
        "predict": lambda: fastbptt.predict(model, x),
        "loss": lambda: model.loss(x, y),
        "train_step": lambda: model.train_step(x, y, dale.adam),
        "step": lambda: dale.adam.step(model, grads),
        "backward": lambda: model.loss_and_grad(x, y),
    }
    with dale.refuses(ValueError, message):
        calls[call]()
    model.backward(out, d_last=np.ones((3, 1)))  # with the weights of before
    model.project()
    assert model.parameters["W_hh"][0, 3] == 0.0
    calls[call]()
    model.parameters["W_xh"][:, 2] = 30.0
    with dale.refuses_with(ValueError, "parameter W_xh has norm 42.4", "column 2", REMEDY):
        calls[call]()


def test_files_are_checked(dale: Bench) -> None:
    model = dale.model
    model.parameters["W_hh"][1, 1] = 2.0
    file = io.BytesIO()
    model.save(file)
    file.seek(0)
    with pytest.raises(ValueError, match=r"W_hh holds 2 at index \(1, 1\); expected weights"):
        fastbptt.load(file)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "Constraints are none; expected at least one of masks"),
        ({"masks": {}}, "masks is empty"),
        ({"masks": [1]}, "masks is of type list"),
        ({"masks": {"W": [[0]]}}, "masks has 'W'; expected names of the model's parameters: W_xh"),
        ({"masks": {"W_hh": [[0, 1]]}}, "masks['W_hh'] has shape (1, 2); expected the parameter's"),
        ({"masks": {"W_hh": np.ones((5, 5))}}, "masks['W_hh'] holds no zero"),
        ({"masks": {"W_hh": np.eye(5) / 2}}, "masks['W_hh'] holds 0.5 at index (0, 0)"),
        ({"signs": [1, -1]}, "signs has shape (2,); expected (5,)"),
        ({"signs": [1, 1, 2, 1, 1]}, "signs holds 2 at index (2,); expected 1, -1 or 0"),
        ({"signs": np.zeros(5)}, "signs holds zeros alone"),
        ({"signs": {"W_hh": [1, 1]}}, "signs['W_hh'] has shape (2,); expected a number"),
        (
            {"signs": {"W_hh": 1}, "masks": {"W_hh": np.zeros((5, 5))}},
            "signs['W_hh'] are where masks keep every entry at 0",
        ),
        ({"self_connections": False, "sign_method": "abs"}, 'sign_method is "abs"; expected None'),
        ({"signs": {"b_h": 1}, "sign_method": "relu"}, 'sign_method is "relu"; expected'),
        ({"input_units": [3, 1]}, "input_units is [3, 1]; expected increasing"),
        ({"input_units": [0, 5]}, "input_units holds 5; expected units from 0 to 4"),
        ({"input_units": [0, 1, 7]}, "input_units holds 7; expected units from 0 to 4"),
        ({"input_units": range(5)}, "input_units are all 5"),
        ({"input_units": 3}, "input_units is 3"),
        ({"max_norm": {"b_h": 1.0}}, "max_norm has 'b_h'; expected names of the model's matrices"),
        ({"max_norm": {"W_hh": 0.0}}, "max_norm['W_hh'] is 0.0; expected a finite number above 0"),
        ({"max_norm": {"W_hh": np.inf}}, "max_norm['W_hh'] is inf; expected a finite number"),
        ({"max_norm": 1.0}, "max_norm is of type float"),
    ],
)
def test_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError)) as caught:
        fastbptt.RNN(2, 5, 1, constraints=Constraints(**given))
    assert str(caught.value).startswith(message)


def test_shown_in_short() -> None:
    mask = np.eye(5)
    for given, wanted in [
        ({"masks": {"W_hh": mask}, "signs": [1] * 5}, '{"W_hh": ..}, signs=[..]'),
        ({"masks": {"W_xh": mask, "W_hh": mask}}, '{"W_xh": .., "W_hh": ..}'),
    ]:
        assert repr(Constraints(**given)) == f"Constraints(masks={wanted})"


def test_refused_by_other_networks() -> None:
    with pytest.raises(ValueError, match="signs is one array, but layers and directions are 2"):
        fastbptt.RNN(2, 5, 1, num_layers=2, constraints=Constraints(signs=[1, 1, 1, 1, -1]))
    with pytest.raises(TypeError, match=r"constraints is of type dict; expected a fastbptt\.Con"):
        fastbptt.RNN(2, 5, 1, constraints={"signs": [1]})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="forget_bias holds 1 at index"):
        fastbptt.LSTM(2, 5, constraints=Constraints(masks={"b_h": [0] * 20}), forget_bias=1.0)
    with pytest.raises(ValueError, match=r"masks\['W_hh'\] has shape \(5, 4\).*\(5, 5\) for all"):
        fastbptt.GRU(2, 5, constraints=Constraints(masks={"W_hh": np.zeros((5, 4))}))
    with pytest.raises(ValueError, match="the model has no constraints"):
        fastbptt.RNN(2, 5).project()
    model = fastbptt.RNN(2, 5, 1, constraints=Constraints(self_connections=False))
    for convert in (to_torch, to_keras_weights):
        with pytest.raises(ValueError, match=r"has Constraints.*not keep in training"):
            convert(model)


def test_no_warning_where_init_says_nothing_of_it() -> None:
    given = Constraints(signs={"W_hh": -1}, masks={"W_hh": np.tri(5)})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = fastbptt.RNN(2, 5, constraints=given, seed=0)
    loose = fastbptt.RNN(2, 5, seed=0)
    expected = -np.abs(loose.parameters["W_hh"]) * np.tri(5)
    assert (model.parameters["W_hh"] == expected).all()
    with pytest.warns(UserWarning, match="W_hh by 100% of its norm"):
        fastbptt.RNN(2, 5, init="identity", constraints=Constraints(self_connections=False))
