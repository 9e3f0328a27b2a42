"""Recurrent matrices of low rank, whose two factors are the parameters."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import CELLS

import fastbptt
from fastbptt import Constraints, _core, reference
from fastbptt.models._weights import dense
from fastbptt.optim import OPTIMIZERS

RNG = np.random.default_rng(3)
X = RNG.normal(size=(5, 6, 3))
Y = RNG.normal(size=(5, 2))


def network(cell: str, hidden: int = 7, rank: int = 2, **options: Any) -> fastbptt.Recurrent:
    alpha = 0.3 if _core.cell_info(cell)["setting"] else None
    outputs = options.pop("outputs", 2)
    options = {"dtype": "float64", "seed": 1, **options}
    return fastbptt.Recurrent(cell, 3, hidden, outputs, alpha=alpha, rank=rank, **options)


def of_reference(model: fastbptt.Recurrent) -> dict[str, Any]:
    return {
        "cell": model.cell,
        "num_layers": model.num_layers,
        "bidirectional": model.bidirectional,
        "settings": {"alpha": 0.3} if model._spec.setting else None,
    }


def full(model: fastbptt.Recurrent) -> fastbptt.Recurrent:
    """The same network with W_hh as a parameter."""
    alpha = 0.3 if model._spec.setting else None
    twin = fastbptt.Recurrent(
        model.cell, 3, model.hidden_size, model.output_size, alpha=alpha, dtype=model.dtype,
        num_layers=model.num_layers, bidirectional=model.bidirectional,
    )  # fmt: skip
    twin.load_state_dict(dense(model.state_dict()))
    return twin


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("hidden", "rank"), [(7, 1), (7, 7), (45, 3), (45, 20)])
@pytest.mark.parametrize("steps", ["last", "all"])
def test_like_the_reference(cell: str, dtype: str, hidden: int, rank: int, steps: str) -> None:
    """In lanes and in panels."""
    model = network(cell, hidden, rank, dtype=dtype, num_layers=2)
    tolerance = 1e-11 if dtype == "float64" else 2e-4
    y = RNG.normal(size=(5, 6, 2)) if steps == "all" else Y
    params = {name: np.array(v, np.float64) for name, v in model.parameters.items()}
    lengths = np.array([6, 1, 4, 6, 2])
    value, expected = reference.loss_and_grad(
        params, X, y, "mse", steps, lengths=lengths, **of_reference(model)
    )
    loss, grads = model.loss_and_grad(X, y, "mse", steps, lengths=lengths)
    assert loss == pytest.approx(value, rel=tolerance)
    for name in grads:
        scale = np.abs(expected[name]).max()
        np.testing.assert_allclose(
            grads[name], expected[name], rtol=tolerance, atol=tolerance * scale, err_msg=name
        )
    out = model.forward(X, lengths)
    by_hand = model.backward(out, d_last=2 * (out.last - Y) / Y.size)
    if steps == "last":
        np.testing.assert_allclose(by_hand.flat, grads.flat, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("cell", CELLS)
def test_reference_by_the_complex_step(cell: str) -> None:
    model = network(cell, 4, num_layers=2, bidirectional=True)
    params, given = model.state_dict(), of_reference(model)
    _, grads = reference.loss_and_grad(params, X, Y, "mse", **given)
    for name in params:
        direction = RNG.normal(size=params[name].shape)
        moved = {**params, name: params[name] + 1e-30j * direction}
        slope = np.imag(reference.loss_only(moved, X, Y, "mse", **given)) / 1e-30
        assert (grads[name] * direction).sum() == pytest.approx(slope, rel=1e-12)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_like_the_product(cell: str, bidirectional: bool) -> None:
    """Outputs, steps, predictions, gradients are those of the network with the product."""
    model = network(cell, 20, num_layers=2, bidirectional=bidirectional)
    twin = full(model)
    np.testing.assert_allclose(model.forward(X).outputs, twin.forward(X).outputs, rtol=1e-11)
    out = fastbptt.predict(model, X[:1, :3])
    assert out.tobytes() == fastbptt.predict(model, X[:2, :3])[:1].tobytes()
    _, grads = model.loss_and_grad(X, Y, "mse")
    _, of_product = twin.loss_and_grad(X, Y, "mse")
    first, second = model.parameters["N_hh"], model.parameters["M_hh"]
    np.testing.assert_allclose(grads["N_hh"], of_product["W_hh"] @ second.T, rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(grads["M_hh"], first.T @ of_product["W_hh"], rtol=1e-9, atol=1e-14)
    if bidirectional:
        return
    one, other = model.initial_state(5), twin.initial_state(5)
    for t in range(4):
        y, z = model.step(X[:, t], one), twin.step(X[:, t], other)
        np.testing.assert_allclose(y, z, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru_before"])
@pytest.mark.parametrize(("batch", "hidden"), [(2, 400), (64, 128), (64, 20)])
def test_threads_and_budgets_change_no_bit(cell: str, batch: int, hidden: int) -> None:
    before, found = fastbptt.get_num_threads(), []
    x, y = RNG.normal(size=(batch, 100, 3)), RNG.normal(size=(batch, 2))
    model = network(cell, hidden, 5, dtype="float32")
    for count in (1, 2, 3):
        fastbptt.set_num_threads(count)
        _, grads = model.loss_and_grad(x, y, "mse")
        found.append(grads.flat.tobytes())
    least = model.minimum_memory(batch, 100, steps="last")
    _, grads = model.loss_and_grad(x, y, "mse", memory_budget=least)
    fastbptt.set_num_threads(before)
    assert found[1:] == found[:1] * 2
    assert grads.flat.tobytes() == found[0]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_step(name: str) -> None:
    """Both factors follow the optimiser's rule, with penalties."""
    model = network("rnn")
    params, moments, ours = model.state_dict(), reference.Moments(), OPTIMIZERS[name](lr=0.02)
    penalties = {"activity_l2": 0.3, "omega": 0.1}
    for _ in range(5):
        model.train_step(X, Y, ours, "mse", l2={"N_hh": 0.1}, **penalties)
        _, _, grads = reference.penalised_loss_and_grad(params, X, Y, penalties, "mse")
        grads["N_hh"] = grads["N_hh"] + 0.2 * params["N_hh"]
        reference.OPTIMIZERS[name](params, grads, moments, lr=0.02)
        for one, values in params.items():
            np.testing.assert_allclose(model.parameters[one], values, rtol=1e-8, atol=1e-10)
    assert np.linalg.matrix_rank(dense(model.state_dict())["W_hh"]) == 2


@pytest.mark.parametrize("cell", ["rnn", "gru"])
@pytest.mark.parametrize("init", fastbptt.initializers.INITIALIZERS)
def test_start(cell: str, init: str) -> None:
    """As the nearest matrix of that rank to what init draws; the rest is drawn as without."""
    model = network(cell, 12, 3, init=init)
    loose = fastbptt.Recurrent(cell, 3, 12, 2, init=init, dtype="float64", seed=1)
    drawn, start = loose.parameters["W_hh"], dense(model.state_dict())["W_hh"]
    sizes = np.linalg.svd(drawn, compute_uv=False)
    assert np.linalg.norm(start - drawn) == pytest.approx(np.linalg.norm(sizes[3:]))
    assert np.linalg.norm(start, 2) == pytest.approx(sizes[0])
    first, second = model.parameters["N_hh"], model.parameters["M_hh"]
    np.testing.assert_allclose(first.T @ first, second @ second.T, atol=1e-12)
    for name in ("W_xh", "b_h", "W_hy", "b_y"):
        assert (model.parameters[name] == loose.parameters[name]).all()


@pytest.mark.parametrize("how", ["copy", "deepcopy", "pickle", "file"])
def test_goes_with_the_model(how: str, tmp_path: Path) -> None:
    model = fastbptt.LSTM(3, 30, 2, rank=2, num_layers=2, seed=1)
    path = tmp_path / "model.safetensors"
    model.save(path)
    twin: fastbptt.Recurrent = {
        "copy": lambda: model.copy(),
        "deepcopy": lambda: copy.deepcopy(model),
        "pickle": lambda: pickle.loads(pickle.dumps(model)),
        "file": lambda: fastbptt.load(path),
    }[how]()
    assert twin.rank == model.rank == 2
    assert repr(twin) == repr(model)
    assert "rank=2" in repr(twin)
    assert twin.forward(X).outputs.tobytes() == model.forward(X).outputs.tobytes()


def test_resumed_from_a_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    given: dict[str, Any] = {"loss": "mse", "epochs": 4, "batch_size": 2, "verbose": 0}
    whole, halves, resumed = (network("rnn", dtype="float32") for _ in range(3))
    fastbptt.fit(whole, X, Y, **given)
    fastbptt.fit(halves, X, Y, **{**given, "epochs": 2}, checkpoint=path)
    fastbptt.fit(resumed, X, Y, **given, checkpoint=path, resume=True)
    assert resumed.parameters.flat.tobytes() == whole.parameters.flat.tobytes()


@pytest.mark.parametrize("cell", CELLS)
def test_diagnosed_as_the_product(cell: str) -> None:
    model = network(cell, 6, num_layers=2)
    ours = fastbptt.diagnose(model, X, Y, loss="mse")
    theirs = fastbptt.diagnose(full(model), X, Y, loss="mse")
    for one, other in zip(ours.layers, theirs.layers, strict=True):
        np.testing.assert_allclose(one.hidden_gradient, other.hidden_gradient, rtol=1e-9)
        assert one.spectral_radius == pytest.approx(other.spectral_radius)
        np.testing.assert_allclose(one.contribution["W_hh"], other.contribution["W_hh"], rtol=1e-9)
    both = (
        fastbptt.diagnostics.step_jacobian(one, one.initial_state(1), X[0, 0])
        for one in (model, full(model))
    )
    np.testing.assert_allclose(*both, rtol=1e-9, atol=1e-14)


def test_bfloat16() -> None:
    if fastbptt._core.active_backend() not in fastbptt._core.bfloat16_backends():
        pytest.skip("no products in bfloat16")
    exact = network("gru", 50, dtype="float32")
    rounded = network("gru", 50, dtype="float32", precision="bfloat16")
    rounded.load_state_dict(exact.state_dict())
    (_, one), (_, other) = (m.loss_and_grad(X, Y, "mse") for m in (exact, rounded))
    assert np.linalg.norm(one.flat - other.flat) < 0.03 * np.linalg.norm(one.flat)


def test_constraints_of_the_factors() -> None:
    mask = np.ones((7, 2))
    mask[3] = 0
    given = Constraints(masks={"N_hh": mask}, signs={"M_hh": 1}, input_units=range(3))
    model = network("rnn", constraints=given)
    adam = fastbptt.Adam(0.05)
    for _ in range(20):
        model.train_step(X, Y, adam, "mse")
    W_hh = dense(model.state_dict())["W_hh"]
    assert (W_hh[3] == 0).all()
    assert (model.parameters["M_hh"] >= 0).all()
    assert (model.parameters["W_xh"][:, 3:] == 0).all()


WHY = ", but W_hh is the product N_hh M_hh because rank=2; expected "


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": 8}, "rank is 8; expected at most 7 because hidden_size=7, or None"),
        ({"rank": 0}, "rank is 0; expected at least 1"),
        ({"rank": 1.5}, "rank is 1.5; expected"),
        ({"constraints": Constraints(self_connections=False)}, f"self_connections is False{WHY}"),
        ({"constraints": Constraints(signs=np.ones(7))}, f"signs is one array{WHY}"),
        ({"constraints": Constraints(signs={"W_hh": 1})}, f"signs has 'W_hh'{WHY}"),
        ({"constraints": Constraints(masks={"W_hh": np.eye(7)})}, f"masks has 'W_hh'{WHY}"),
        ({"constraints": Constraints(max_norm={"W_hh": 1.0})}, f"max_norm has 'W_hh'{WHY}"),
    ],
)
def test_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError)) as caught:
        network("rnn", **options)
    assert str(caught.value).startswith(message)


def test_no_penalty_of_the_product() -> None:
    with pytest.raises(ValueError, match="l1 has 'W_hh'; expected one of W_xh, N_hh, M_hh, b_h"):
        network("rnn").loss_and_grad(X, Y, "mse", l1={"W_hh": 0.1})
    model = network("rnn")
    model.freeze("N_hh", "M_hh")
    with pytest.raises(ValueError, match="omega is given, but N_hh and M_hh are frozen"):
        model.train_step(X, Y, fastbptt.Adam(), "mse", omega=0.1)
