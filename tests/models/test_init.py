"""Initial weights: the formulas of each recipe, for every role and cell."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cases import CELLS, Case
from networks import model_of

import fastbptt
from fastbptt import reference
from fastbptt.models.initializers import INITIALIZERS


@pytest.mark.parametrize("name", INITIALIZERS)
def test_seed_gives_the_same_weights(name: str) -> None:
    def flat(seed: Any, dtype: str = "float64") -> Any:
        return fastbptt.RNN(3, 4, 2, init=name, seed=seed, dtype=dtype).parameters.flat

    assert flat(7).tobytes() == flat(7).tobytes() == flat(np.random.default_rng(7)).tobytes()
    assert flat(7).tobytes() != flat(8).tobytes()
    assert flat(None).tobytes() != flat(None).tobytes()
    assert flat(7, "float32").tobytes() == flat(7).astype(np.float32).tobytes()


def test_init_torch() -> None:
    parameters = fastbptt.RNN(50, 100, 40, seed=0).parameters
    for name in ("W_xh", "W_hh", "W_hy", "b_y"):
        assert 0.08 < np.abs(parameters[name]).max() <= 0.1
    assert parameters["W_hh"].std() == pytest.approx(0.1 / 3**0.5, rel=0.02)
    assert 0.1 < np.abs(parameters["b_h"]).max() <= 0.2  # two biases added


def test_init_keras() -> None:
    parameters = fastbptt.RNN(50, 100, 40, init="keras", seed=0).parameters
    for name, limit in (("W_xh", (6 / 150) ** 0.5), ("W_hy", (6 / 140) ** 0.5)):
        assert 0.98 * limit < np.abs(parameters[name]).max() <= limit
    square = parameters["W_hh"] @ parameters["W_hh"].T
    np.testing.assert_allclose(square, np.eye(100), atol=1e-5)
    assert not parameters["b_h"].any()
    assert not parameters["b_y"].any()


@pytest.mark.parametrize("gain", [None, 0.5, 2.0])
def test_init_orthogonal(gain: float | None) -> None:
    init: Any = "orthogonal" if gain is None else ("orthogonal", gain)
    parameters = fastbptt.RNN(3, 64, 1, init=init, seed=0).parameters
    square = parameters["W_hh"].T @ parameters["W_hh"]
    np.testing.assert_allclose(square, (gain or 1.0) ** 2 * np.eye(64), atol=1e-5)


@pytest.mark.parametrize("std", [None, 0.05, 0])
def test_init_normal(std: float | None) -> None:
    init: Any = "normal" if std is None else ("normal", std)
    parameters = fastbptt.RNN(50, 100, 40, init=init, seed=0).parameters
    for name in ("W_xh", "W_hh", "W_hy"):
        expected = 0.01 if std is None else std
        assert parameters[name].std() == pytest.approx(expected, rel=0.03)
    assert not parameters["b_h"].any()
    assert not parameters["b_y"].any()


def drawn(cell: str, init: Any, **options: Any) -> Any:
    """Weights of a network of 50 inputs, 100 units, 40 outputs, two layers, both directions."""
    alpha = {"alpha": 0.5} if reference.CELLS[cell].SETTING else {}
    given = {"num_layers": 2, "bidirectional": True, "dtype": "float64", "seed": 0, **options}
    return fastbptt.Recurrent(cell, 50, 100, 40, init=init, **alpha, **given).parameters


@pytest.mark.parametrize("cell", CELLS)
def test_torch_bounds(cell: str) -> None:
    known = reference.CELLS[cell]
    limits = {"W_hy": 200**-0.5, "b_y": 200**-0.5}  # by what the readout reads
    single = [False] * known.GATES  # gates whose second bias is a parameter of its own
    single[known.GATES - len(known.EXTRA_BIAS) :] = [True] * len(known.EXTRA_BIAS)
    for name, array in drawn(cell, "torch").items():
        if name in ("b_h", "b_h_reverse", "b_h_l1", "b_h_l1_reverse"):
            for gate, one in zip(array.reshape(-1, 100), single, strict=True):
                assert (np.abs(gate).max() <= 0.1) == one  # the others are sums of two draws
                assert np.abs(gate).max() <= 0.2
        else:
            limit = limits.get(name, 0.1)
            assert 0.9 * limit < np.abs(array).max() <= limit


@pytest.mark.parametrize("cell", CELLS)
def test_keras_over_all_gates(cell: str) -> None:
    for name, array in drawn(cell, "keras").items():
        if name.startswith("W_hh"):
            np.testing.assert_allclose(array @ array.T, np.eye(100), atol=1e-12)
        elif name.startswith("W_"):
            limit = (6 / sum(array.shape)) ** 0.5
            assert 0.98 * limit < np.abs(array).max() <= limit
        elif cell == "lstm" and name.startswith("b_h"):
            assert (array.reshape(4, 100) == [[0], [1], [0], [0]]).all()
        else:
            assert not array.any()


@pytest.mark.parametrize("cell", CELLS)
def test_orthogonal_and_identity_by_gate(cell: str) -> None:
    for name, array in drawn(cell, ("orthogonal", 0.5)).items():
        if name.startswith("W_hh"):
            for gate in np.split(array, array.shape[1] // 100, axis=1):
                np.testing.assert_allclose(gate.T @ gate, 0.25 * np.eye(100), atol=1e-12)
    for init, gain in (("identity", 1.0), (("identity", 0.3), 0.3)):
        for name, array in drawn(cell, init).items():
            if name.startswith("W_hh"):
                for gate in np.split(array, array.shape[1] // 100, axis=1):
                    assert (gate == gain * np.eye(100)).all()
            elif name.startswith("W_"):
                assert array.std() == pytest.approx(0.001, rel=0.05)
            else:
                assert not array.any()


def test_normal_leaves_every_bias_zero() -> None:
    for name, array in drawn("gru", ("normal", 0.2)).items():
        assert array.std() == pytest.approx(0.2 if name.startswith("W") else 0.0, rel=0.05)


@pytest.mark.parametrize(
    ("init", "std"),
    [
        ("torch", 1.0),
        ("identity", 1.0),
        ("keras", 0.05 / 3**0.5),
        ("orthogonal", 0.05 / 3**0.5),
        (("normal", 0.3), 0.3),
    ],
)
def test_rows_of_an_embedding(init: Any, std: float) -> None:
    rows = drawn("lstm", init, embedding=200, padding_index=7)["E"]
    assert not rows[7].any()
    assert rows[8:].std() == pytest.approx(std, rel=0.03)


@pytest.mark.parametrize("init", INITIALIZERS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_forget_bias(init: str, bidirectional: bool) -> None:
    for value in (0.0, -1.5, np.float32(3.0), 2):
        model = fastbptt.LSTM(
            3,
            4,
            1,
            num_layers=2,
            bidirectional=bidirectional,
            forget_bias=value,
            init=init,
            seed=0,
        )
        plain = fastbptt.LSTM(3, 4, 1, num_layers=2, bidirectional=bidirectional, init=init, seed=0)
        for name, array in model.parameters.items():
            other = plain.parameters[name].copy()
            if name.startswith("b_h"):
                other[4:8] = value
            assert (array == other).all(), name


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("init", INITIALIZERS)
def test_learned_state_begins_at_zero_and_draws_nothing(cell: str, init: str) -> None:
    with_it = drawn(cell, init, learn_initial_state=True)
    without = drawn(cell, init)
    for name, array in with_it.items():
        if name in without:
            assert array.tobytes() == without[name].tobytes()
        else:
            assert not array.any()


def test_generic_class_draws_alike() -> None:
    one = model_of(Case(1, 1, 3, 4, cell="rnn"), "float32", seed=5)
    assert one.parameters.flat.tobytes() == fastbptt.RNN(3, 4, 1, seed=5).parameters.flat.tobytes()
