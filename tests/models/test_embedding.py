"""Inputs that are tokens: rows of a matrix that is learned, given, padded or frozen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from networks import close

import fastbptt

V, I, H = 7, 3, 5
TOKENS = np.array([[1, 4, 4, 2], [6, 1, 0, 0], [2, 2, 2, 2]])
LENGTHS = [4, 2, 3]


def make(**options: Any) -> fastbptt.LSTM:
    return fastbptt.LSTM(I, H, 2, **{"embedding": V, "dtype": "float64", "seed": 0, **options})


@pytest.mark.parametrize("kind", ["i1", "u1", "i2", "i4", "i8", "u8", ">i4", ">i8", "longlong"])
def test_tokens_of_any_integer_dtype(kind: str) -> None:
    model = make()
    expected = model.forward(TOKENS, LENGTHS).outputs.tobytes()
    assert model.forward(TOKENS.astype(kind), LENGTHS).outputs.tobytes() == expected
    assert model.forward(TOKENS.tolist(), None).outputs.shape == (3, 4, 2)
    ragged = [row[:n].astype(kind) for row, n in zip(TOKENS, LENGTHS, strict=True)]
    assert model.forward(ragged).outputs.tobytes() == expected
    assert model.forward([row.tolist() for row in ragged]).outputs.tobytes() == expected


def test_tokens_in_any_layout() -> None:
    model = make()
    expected = model.forward(TOKENS).outputs.tobytes()
    wide = np.full((6, 8), -5)
    wide[::2, ::2] = TOKENS
    raw = np.zeros(TOKENS.nbytes + 1, np.uint8)
    odd = raw[1:].view(np.int64).reshape(TOKENS.shape)
    odd[...] = TOKENS
    assert not odd.flags.aligned
    for given in (np.asfortranarray(TOKENS), wide[::2, ::2], TOKENS[::-1, ::-1][::-1, ::-1], odd):
        assert model.forward(given).outputs.tobytes() == expected


def test_a_token_is_its_row() -> None:
    model = make(padding_index=2)
    numbers = fastbptt.LSTM(I, H, 2, dtype="float64")
    state = model.state_dict()
    rows = state.pop("E")[TOKENS]
    numbers.load_state_dict(state)
    close(model.forward(TOKENS, LENGTHS).outputs, numbers.forward(rows, LENGTHS).outputs, 1e-12)
    y = np.array([0, 1, 1])
    loss, grads = model.loss_and_grad(TOKENS, y, "cross_entropy", lengths=LENGTHS)
    expected, wanted = numbers.loss_and_grad(
        rows, y, "cross_entropy", lengths=LENGTHS, need_input_grad=True
    )
    assert loss == pytest.approx(expected, rel=1e-12)
    matrix = np.zeros((V, I))
    np.add.at(matrix, TOKENS, wanted.x)
    matrix[2] = 0.0
    close(grads["E"], matrix)
    for name in wanted:
        close(grads[name], wanted[name])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradient_touches_only_rows_that_occur(dtype: str) -> None:
    _, grads = make(dtype=dtype).loss_and_grad(TOKENS, np.ones((3, 2)), "mse", lengths=LENGTHS)
    assert list(np.abs(grads["E"]).max(axis=1) > 0) == [False, True, True, False, True, False, True]
    assert grads.x is None


def test_rows_that_do_not_occur_stay() -> None:
    model, adam = make(), fastbptt.Adam(lr=0.1)
    before = model.state_dict()["E"]
    model.train_step(TOKENS, np.ones((3, 2)), adam, "mse")
    changed = (model.parameters["E"] != before).any(axis=1)
    assert list(changed) == [True, True, True, False, True, False, True]


def test_padding_row_is_zero_and_stays() -> None:
    model, adam = make(padding_index=2), fastbptt.Adam(lr=0.1)
    assert (model.parameters["E"][2] == 0).all()
    assert (model.parameters["E"][[0, 1, 3, 4, 5, 6]] != 0).all()
    for _ in range(3):
        model.train_step(TOKENS, np.ones((3, 2)), adam, "mse")
    assert (model.parameters["E"][2] == 0).all()
    model.parameters["E"][2] = 5.0  # used as it stands
    out = model.forward(TOKENS).outputs
    model.parameters["E"][2] = 0.0
    assert (model.forward(TOKENS).outputs != out).any()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("given", ["float32", "float64", "int64"])
def test_given_matrix(dtype: str, given: str) -> None:
    matrix = np.arange(V * I).reshape(V, I).astype(given)
    model = make(embedding=matrix, dtype=dtype, padding_index=1)
    assert model.vocabulary_size == V
    assert (model.parameters["E"] == matrix).all()  # the padding row, too
    assert not np.shares_memory(model.parameters["E"], matrix)
    for form in (matrix.tolist(), np.asfortranarray(matrix), matrix[::-1][::-1]):
        assert (make(embedding=form).parameters["E"] == matrix).all()
    same = make(dtype=dtype)  # all else is drawn as without it
    for name in ("W_xh", "W_hh", "b_h", "W_hy", "b_y"):
        assert model.parameters[name].tobytes() == same.parameters[name].tobytes()


def test_frozen_matrix() -> None:
    matrix = np.random.default_rng(0).normal(size=(V, I))
    model, adam = make(embedding=matrix, freeze_embedding=True), fastbptt.Adam(lr=0.1)
    before = model.state_dict()
    _, grads = model.loss_and_grad(TOKENS, np.ones((3, 2)), "mse")
    assert not grads["E"].any()
    for _ in range(3):
        model.train_step(TOKENS, np.ones((3, 2)), adam, "mse")
    assert (model.parameters["E"] == matrix).all()
    assert (model.parameters["W_xh"] != before["W_xh"]).all()


def test_frozen_matrix_stays_whatever_the_optimiser_has_seen() -> None:
    learned, adam = make(), fastbptt.Adam(lr=0.1)
    learned.train_step(TOKENS, np.ones((3, 2)), adam, "mse")
    frozen = make(freeze_embedding=True)
    before = frozen.state_dict()["E"]
    twin = adam.copy()
    frozen.train_step(TOKENS, np.ones((3, 2)), twin, "mse")
    twin.step(frozen, np.ones(frozen.num_parameters))
    assert (frozen.parameters["E"] == before).all()


def test_copies_and_files_keep_it(tmp_path: Any) -> None:
    model = make(padding_index=2, freeze_embedding=True)
    model.save(tmp_path / "model")
    for twin in (model.copy(), fastbptt.load(tmp_path / "model")):
        assert repr(twin) == repr(model)
        assert twin.parameters["E"].tobytes() == model.parameters["E"].tobytes()
        assert (twin.vocabulary_size, twin.padding_index, twin.freeze_embedding) == (V, 2, True)


def test_stream_of_tokens() -> None:
    model = make(num_layers=2)
    state = model.initial_state(3)
    outputs = [model.step(TOKENS[:, t], state) for t in range(4)]
    close(np.stack(outputs, axis=1), model.forward(TOKENS).outputs, 1e-12)
    again = model.initial_state(3)
    for t in range(4):
        close(model.step(TOKENS[:, t].tolist(), again), outputs[t], 0.0)


def test_learns_which_token_counts() -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 20, (64, 12))
    y = (x == 3).any(axis=1).astype(float)
    model = fastbptt.GRU(8, 16, 1, embedding=20, seed=0)
    adam = fastbptt.Adam(lr=0.02)
    losses = [model.train_step(x, y, adam) for _ in range(150)]
    assert losses[-1] < 0.1 < losses[0]


@pytest.mark.parametrize("padding", [0, 2, V - 1])
def test_only_the_row_of_padding_stays(padding: int) -> None:
    model = make(padding_index=padding)
    before = model.parameters["E"].copy()
    model.train_step(np.arange(V)[np.newaxis], [1], fastbptt.SGD(lr=1.0), "cross_entropy")
    changed = (model.parameters["E"] != before).any(axis=1)
    assert changed.tolist() == [token != padding for token in range(V)]
