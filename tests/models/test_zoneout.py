"""Zoneout: units that keep their state of the step before, at random, or by expectation."""

from __future__ import annotations

from typing import Any

import cases
import numpy as np
import pytest
from cases import Array
from networks import close, next_noise, parts

import fastbptt
from fastbptt import _core, reference

CELLS = [name for name in cases.CELLS if not _core.cell_info(name)["given"]]
RNG = np.random.default_rng(2)
B, T, I, O = 13, 7, 3, 2
X, Y = RNG.normal(size=(B, T, I)), RNG.normal(size=(B, T, O))
LENGTHS = RNG.integers(1, T + 1, B)
RESETS = RNG.random((B, T)) < 0.2
OPTIONS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "one layer": ({}, {}),
    "learned state": ({"learn_initial_state": True}, {"lengths": LENGTHS}),
    "no readout": ({"output_size": None, "recurrent_dropout": 0.3}, {}),
    "dropout": (
        {"num_layers": 2, "dropout": 0.3, "input_noise": 0.1, "recurrent_dropout": 0.2},
        {"lengths": LENGTHS},
    ),
    "both directions": (
        {"num_layers": 2, "bidirectional": True, "recurrent_dropout": 0.2},
        {"lengths": LENGTHS},
    ),
    "resets": ({"learn_initial_state": True}, {"resets": RESETS}),
    "static": ({"static_size": 2}, {"static": RNG.normal(size=(B, 2))}),
    "last": ({"readout_units": range(2)}, {"steps": "last", "lengths": LENGTHS}),
    "mean": ({}, {"steps": "mean", "lengths": LENGTHS}),
    "max": ({}, {"steps": "max"}),
}


def make(cell: str, hidden: int = 20, **options: Any) -> fastbptt.Recurrent:
    zoneout: Any = (0.2, 0.6) if cell == "lstm" else 0.3
    given = {"zoneout": zoneout, "dtype": "float64", "seed": 1, "output_size": O, **options}
    if _core.cell_info(cell)["gates"] == 1:
        given = {"recurrent_noise": 0.1, **given}
    alpha = 0.3 if _core.cell_info(cell)["setting"] else None
    return fastbptt.Recurrent(cell, I, hidden, alpha=alpha, **given)


def expected(
    model: fastbptt.Recurrent, training: bool = True, **call: Any
) -> tuple[float, dict[str, Array]]:
    """The reference's loss and gradients of the model's next training pass, or of a prediction."""
    params = {name: np.asarray(p, np.float64) for name, p in model.parameters.items()}
    network = next_noise(model, B, T)
    if not training:
        for name in ("noise", "input_noise", "masks", "recurrent_masks"):
            network.pop(name, None)
        network["zoneout"] = expectation(model)
    if model._spec.setting:
        network["settings"] = {"alpha": 0.3}
    return reference.loss_and_grad(params, X, loss="mse", **network, **call)


def expectation(model: fastbptt.Recurrent) -> Array:
    states = reference.CELLS[model.cell].STATES
    return np.array(model._spec.zoneout[: len(states)])[:, None, None, None]


@pytest.mark.parametrize("isa", [one.name for one in fastbptt.backends() if one.usable])
@pytest.mark.parametrize("hidden", [5, 33, pytest.param(70, marks=pytest.mark.slow)])
@pytest.mark.parametrize("cell", CELLS)
def test_as_the_reference(cell: str, hidden: int, isa: str) -> None:
    before = _core.active_backend()
    _core.use_backend(isa)
    try:
        for options, given in OPTIONS.values():
            for training in (True, False):
                model = make(cell, hidden, **options)
                call = {"steps": "all", **given}
                both = 2 if model.bidirectional else 1
                width = hidden * both if model.output_size is None else O
                y = np.resize(Y, (B, T, width))
                call["y"] = y if call["steps"] == "all" else y[:, 0]
                value, wanted = expected(model, training, **call)
                loss, grads = model.loss_and_grad(
                    X, loss="mse", need_input_grad=True, training=training, **call
                )
                assert loss == pytest.approx(value, rel=1e-12)
                assert grads.x is not None
                close(grads.x, wanted["x"], 1e-12)
                for name in model.parameters:
                    close(grads[name], wanted[name], 1e-12)
    finally:
        _core.use_backend(before)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("cell", CELLS)
def test_given_states_and_gradients(cell: str, training: bool) -> None:
    model = make(cell)
    states = tuple(RNG.normal(size=(1, B, 20)) for _ in parts(model.initial_state(1)))
    h0 = states if len(states) > 1 else states[0]
    value, wanted = expected(model, training, y=Y, steps="all", h0=h0)
    twin = model.copy()
    loss, grads = model.loss_and_grad(X, Y, "mse", "all", h0=h0, training=training)
    assert loss == pytest.approx(value, rel=1e-12)
    for got, name in zip(parts(grads.h0), ("h0", "c0"), strict=False):
        close(got, wanted[name], 1e-12)
    out = twin.forward(X, h0=h0, training=training)
    again = twin.backward(out, d_outputs=2 * (out.outputs - Y) / Y.size)
    close(again.flat, grads.flat, 1e-12)
    ends = tuple(np.ones_like(s) for s in states)
    params = dict(model.parameters)
    network = next_noise(make(cell), B, T)
    if not training:
        network = {"cell": cell, "zoneout": expectation(model)}
    if _core.cell_info(cell)["setting"]:
        network["settings"] = {"alpha": 0.3}
    found = reference.forward(params, X, h0=h0, **network)
    back = reference.backward(
        params, X, found, d_final_state=ends if len(ends) > 1 else ends[0], h0=h0, **network
    )
    got_back = twin.backward(out, d_final_state=ends if len(ends) > 1 else ends[0])
    for name in params:
        close(got_back[name], back[name], 1e-12)
    for got, name in zip(parts(got_back.h0), ("h0", "c0"), strict=False):
        close(got, back[name], 1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_recorded_gradients(cell: str) -> None:
    plain, recorded = make(cell), make(cell)
    loss, grads = plain.loss_and_grad(X, Y, "mse", "all", lengths=LENGTHS)
    other, found = recorded.loss_and_grad(X, Y, "mse", "all", lengths=LENGTHS, record="gradients")
    assert (loss, grads.flat.tobytes()) == (other, found.flat.tobytes())


@pytest.mark.parametrize("cell", ["lstm", "gru_before", "rnn"])
def test_the_same_bits_however_it_is_computed(cell: str) -> None:
    x, y = RNG.normal(size=(30, 120, I)), RNG.normal(size=(30, 120, O))
    before = fastbptt.get_num_threads()
    try:
        for rows in (30, 2):
            found = set()
            for threads in (1, 2, 3):
                fastbptt.set_num_threads(threads)
                for windows in (False, True):
                    model = make(cell, num_layers=2, dropout=0.2)
                    budget = model.minimum_memory(rows, 120) if windows else None
                    loss, grads = model.loss_and_grad(
                        x[:rows], y[:rows], "mse", "all", memory_budget=budget
                    )
                    found.add((loss, grads.flat.tobytes()))
                for training in (True, False):
                    alone = make(cell, num_layers=2).forward(
                        x[:rows], training=training, backward=False
                    )
                    kept = make(cell, num_layers=2).forward(x[:rows], training=training)
                    assert alone.outputs.tobytes() == kept.outputs.tobytes()
            assert len(found) == 1
    finally:
        fastbptt.set_num_threads(before)


@pytest.mark.parametrize("lengths", [None, LENGTHS])
@pytest.mark.parametrize("cell", CELLS)
def test_chunks_keep_what_the_whole_keeps(cell: str, lengths: Array | None) -> None:
    ends = []
    for chunk in (None, 3):
        model = make(cell, num_layers=2)
        state = model.initial_state(B)
        sgd = fastbptt.SGD(lr=0.0)
        model.train_step(X, Y, sgd, "mse", "all", lengths=lengths, bptt_steps=chunk, state=state)
        ends.append(parts(state))
    for whole, chunks in zip(*ends, strict=True):
        close(chunks, whole, 1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_prediction_has_the_expectation_step_by_step_too(cell: str) -> None:
    model = make(cell, num_layers=2)
    network: dict[str, Any] = {"cell": cell, "num_layers": 2, "zoneout": expectation(model)}
    if _core.cell_info(cell)["setting"]:
        network["settings"] = {"alpha": 0.3}
    wanted = reference.forward(dict(model.parameters), X, **network)
    close(model.forward(X).outputs, wanted.outputs, 1e-12)
    close(fastbptt.predict(model, X, steps="all"), wanted.outputs, 1e-12)
    state = model.initial_state(B)
    for t in range(T):
        close(model.step(X[:, t], state), wanted.outputs[:, t], 1e-12)
    close(model.forward(X[:1, :3], backward=False).outputs, wanted.outputs[:1, :3], 1e-12)


def test_shown_saved_and_refused(tmp_path: Any) -> None:
    lstm = fastbptt.LSTM(2, 3, 1, zoneout=(0.05, 0.5), seed=0)
    assert repr(lstm).startswith("LSTM(2, 3, 1, zoneout=[0.05, 0.5]")
    lstm.save(tmp_path / "model")
    loaded = fastbptt.load(tmp_path / "model")
    assert (repr(loaded), loaded.zoneout) == (repr(lstm), (0.05, 0.5))
    assert fastbptt.LSTM(2, 3, 1, zoneout=0.5).zoneout == 0.5
    assert fastbptt.GRU(2, 3, 1, zoneout=0.5).zoneout == 0.5
    for value in (1.0, -0.1, np.nan, "0.1", None, (0.1,), (0.1, 0.2, 0.3), (0.1, 1.0)):
        with pytest.raises((ValueError, TypeError), match="zoneout"):
            fastbptt.LSTM(2, 3, 1, zoneout=value)  # type: ignore[arg-type]
    with pytest.raises(fastbptt.ArgumentError, match="for LSTM two"):
        fastbptt.GRU(2, 3, 1, zoneout=(0.1, 0.1))
    for call in (
        lambda: lstm.export_c(tmp_path / "lstm.c"),
        lambda: fastbptt.interchange.to_onnx(lstm, tmp_path / "lstm.onnx"),
        lambda: fastbptt.plot.unrolled(lstm, np.zeros((1, 4, 2)), np.zeros((1, 1)), loss="mse"),
    ):
        with pytest.raises(fastbptt.ArgumentError, match=r"has zoneout=\[0.05, 0.5\]"):
            call()


def test_the_share_that_is_kept() -> None:
    kept = reference.zoneout_masks(1, (0.05, 0.5), 20, 50, 100, layers=2, directions=2)
    assert kept.shape == (4, 2, 20, 50, 100)
    close(kept.mean(axis=(0, 2, 3, 4)), np.array([0.05, 0.5]), 0.01)
    flat = kept.reshape(8, -1)
    for a in range(8):
        for b in range(a):
            assert abs(np.corrcoef(flat[a], flat[b])[0, 1]) < 0.015
    steps = kept[:, 1]
    assert abs(np.corrcoef(steps[:, :, 1:].ravel(), steps[:, :, :-1].ravel())[0, 1]) < 0.01


@pytest.mark.parametrize("cell", CELLS)
def test_jacobians_and_fixed_points_are_those_of_the_expectation(cell: str) -> None:
    model = make(cell, 4, num_layers=2, output_size=None)
    x = RNG.normal(size=(1, 5, I))
    before, after = (parts(model.forward(x[:, :n]).final_state) for n in (4, 5))

    def stepped(s: Array) -> Array:
        own = tuple(one.copy() for one in np.moveaxis(s.reshape(2, -1, 1, 4), 1, 0))
        model.step(x[:, 4], own if len(own) > 1 else own[0])
        return np.stack(own, axis=1).ravel()

    start = np.stack(before, axis=1).ravel()
    np.testing.assert_allclose(stepped(start), np.stack(after, axis=1).ravel(), atol=1e-14)
    columns = [
        (stepped(start + 1e-6 * e) - stepped(start - 1e-6 * e)) / 2e-6 for e in np.eye(len(start))
    ]
    given = before if len(before) > 1 else before[0]
    found = fastbptt.diagnostics.step_jacobian(model, given, x[0, 4])[0]
    np.testing.assert_allclose(found, np.stack(columns, axis=1), atol=1e-8)
    points = fastbptt.diagnostics.fixed_points(model, x[0, 4], given).points
    for point in points:
        np.testing.assert_allclose(stepped(point), point, atol=1e-8)
    flows = fastbptt.diagnostics.diagnose(model, x, np.zeros((1, 4)), loss="mse").layers
    half = len(start) // 2
    for layer, flow in enumerate(flows):
        own = found[layer * half : (layer + 1) * half, layer * half : (layer + 1) * half]
        radius = np.abs(np.linalg.eigvals(own)).max()
        assert flow.spectral_radius == pytest.approx(radius, rel=1e-9)
