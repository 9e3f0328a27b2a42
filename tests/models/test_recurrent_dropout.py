"""Variational dropout of the recurrent product: one mask for all steps of a sequence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cases import CELLS, Array
from networks import close, next_noise, parts

import fastbptt
from fastbptt import _core, reference

RNG = np.random.default_rng(1)
B, T, I, O = 13, 7, 3, 2
X, Y = RNG.normal(size=(B, T, I)), RNG.normal(size=(B, T, O))
LENGTHS = RNG.integers(1, T + 1, B)
RESETS = RNG.random((B, T)) < 0.2
OPTIONS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "one layer": ({}, {}),
    "learned state": ({"learn_initial_state": True}, {"lengths": LENGTHS}),
    "no readout": ({"output_size": None}, {}),
    "dropout": ({"num_layers": 2, "dropout": 0.3, "input_noise": 0.1}, {"lengths": LENGTHS}),
    "both directions": ({"num_layers": 2, "bidirectional": True}, {"lengths": LENGTHS}),
    "resets": ({"learn_initial_state": True}, {"resets": RESETS}),
    "static": ({"static_size": 2}, {"static": RNG.normal(size=(B, 2))}),
    "last": ({"readout_units": range(2)}, {"steps": "last", "lengths": LENGTHS}),
    "mean": ({}, {"steps": "mean", "lengths": LENGTHS}),
    "max": ({}, {"steps": "max"}),
}


def make(cell: str, hidden: int = 20, **options: Any) -> fastbptt.Recurrent:
    given = {"recurrent_dropout": 0.4, "dtype": "float64", "seed": 1, "output_size": O, **options}
    if _core.cell_info(cell)["gates"] == 1:
        given = {"recurrent_noise": 0.1, **given}
    alpha = 0.3 if _core.cell_info(cell)["setting"] else None
    return fastbptt.Recurrent(cell, I, hidden, alpha=alpha, **given)


def expected(model: fastbptt.Recurrent, **call: Any) -> tuple[float, dict[str, Array]]:
    """The reference's loss and gradients of the model's next training pass."""
    params = {name: np.asarray(p, np.float64) for name, p in model.parameters.items()}
    network = next_noise(model, B, T)
    if model._spec.setting:
        network["settings"] = {"alpha": 0.3}
    return reference.loss_and_grad(params, X, loss="mse", **network, **call)


@pytest.mark.parametrize("isa", [one.name for one in fastbptt.backends() if one.usable])
@pytest.mark.parametrize("hidden", [5, 33, 70])
@pytest.mark.parametrize("cell", CELLS)
def test_as_the_reference(cell: str, hidden: int, isa: str) -> None:
    before = _core.active_backend()
    _core.use_backend(isa)
    try:
        for options, given in OPTIONS.values():
            model = make(cell, hidden, **options)
            call = {"steps": "all", **given}
            width = hidden * (2 if model.bidirectional else 1) if model.output_size is None else O
            y = np.resize(Y, (B, T, width))
            call["y"] = y if call["steps"] == "all" else y[:, 0]
            value, wanted = expected(model, **call)
            loss, grads = model.loss_and_grad(X, loss="mse", need_input_grad=True, **call)
            assert loss == pytest.approx(value, rel=1e-12)
            assert grads.x is not None
            close(grads.x, wanted["x"], 1e-12)
            for name in model.parameters:
                close(grads[name], wanted[name], 1e-12)
    finally:
        _core.use_backend(before)


@pytest.mark.parametrize("cell", CELLS)
def test_given_states_and_gradients(cell: str) -> None:
    """The gradient of h0 goes through the mask, that of c0 does not; `backward` does the same."""
    model = make(cell)
    states = tuple(RNG.normal(size=(1, B, 20)) for _ in parts(model.initial_state(1)))
    h0 = states if len(states) > 1 else states[0]
    value, wanted = expected(model, y=Y, steps="all", h0=h0)
    twin = model.copy()
    loss, grads = model.loss_and_grad(X, Y, "mse", "all", h0=h0)
    assert loss == pytest.approx(value, rel=1e-12)
    for got, name in zip(parts(grads.h0), _core.cell_info(cell)["states"], strict=True):
        close(got, wanted[f"{name}0"], 1e-12)
    out = twin.forward(X, h0=h0, training=True)
    again = twin.backward(out, d_outputs=2 * (out.outputs - Y) / Y.size)
    close(again.flat, grads.flat, 1e-12)
    if cell == CELLS[0]:
        mask = next_noise(make(cell), B, T)["recurrent_masks"][0]
        assert set(np.unique(mask)) == {0.0, 1 / 0.6}


@pytest.mark.parametrize("cell", CELLS)
def test_recorded_gradients(cell: str) -> None:
    """Recording goes another way through a step back, to the same numbers."""
    plain, recorded = make(cell), make(cell)
    loss, grads = plain.loss_and_grad(X, Y, "mse", "all", lengths=LENGTHS)
    other, found = recorded.loss_and_grad(X, Y, "mse", "all", lengths=LENGTHS, record="gradients")
    assert (loss, grads.flat.tobytes()) == (other, found.flat.tobytes())


@pytest.mark.parametrize("cell", ["lstm", "gru_before", "relu"])
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
                alone = make(cell, num_layers=2).forward(x[:rows], training=True, backward=False)
                kept = make(cell, num_layers=2).forward(x[:rows], training=True)
                assert alone.outputs.tobytes() == kept.outputs.tobytes()
            assert len(found) == 1
    finally:
        fastbptt.set_num_threads(before)


@pytest.mark.parametrize("lengths", [None, LENGTHS])
@pytest.mark.parametrize("cell", CELLS)
def test_a_sequence_keeps_its_mask_from_chunk_to_chunk(cell: str, lengths: Array | None) -> None:
    ends = []
    for chunk in (None, 3):
        model = make(cell, num_layers=2)
        state = model.initial_state(B)
        sgd = fastbptt.SGD(lr=0.0)
        model.train_step(X, Y, sgd, "mse", "all", lengths=lengths, bptt_steps=chunk, state=state)
        ends.append(parts(state))
    for whole, chunks in zip(*ends, strict=True):
        close(chunks, whole, 1e-12)


def test_off_in_prediction() -> None:
    model, plain = make("lstm"), make("lstm", recurrent_dropout=0.0)
    assert model.forward(X).outputs.tobytes() == plain.forward(X).outputs.tobytes()
    assert model.loss(X, Y, "mse", "all") == plain.loss(X, Y, "mse", "all")
    state = model.initial_state(B)
    for t in range(T):
        y = model.step(X[:, t], state)
    close(y, plain.forward(X).last, 1e-12)
    assert model._dropout_seeds.state[1] == 0


def test_other_masks_for_other_layers_directions_and_passes() -> None:
    masks = reference.recurrent_masks(1, 0.25, 200, 100, layers=2, directions=2)
    assert (masks == 0).mean() == pytest.approx(0.25, abs=0.01)
    for a in range(4):
        for b in range(a):
            assert abs(np.corrcoef(masks[a].ravel(), masks[b].ravel())[0, 1]) < 0.03
    model = make("gru")
    assert len({model.loss(X, Y, "mse", "all", training=True) for _ in range(10)}) == 10
    assert repr(model).startswith('Recurrent("gru", 3, 20, 2, recurrent_dropout=0.4')
