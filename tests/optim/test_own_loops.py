"""Gradients that the caller holds: added, scaled, clipped, and stepped with."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import fastbptt

X = np.random.default_rng(0).normal(size=(9, 6, 2))
Y = (X[:, :, 0] > 0).astype(float)
LENGTHS = np.array([6, 3, 1, 5, 2, 6, 4, 1, 3])


def network(frozen: tuple[str, ...] = ()) -> fastbptt.Recurrent:
    model = fastbptt.LSTM(2, 5, 1, learn_initial_state=True, dtype="float64", seed=0)
    if frozen:
        model.freeze(*frozen)
    return model


def gradients(model: fastbptt.Recurrent, rows: slice, reduction: str) -> fastbptt.Gradients:
    return model.loss_and_grad(
        X[rows], Y[rows], "bce", "all", reduction, LENGTHS[rows], need_input_grad=True
    )[1]


@pytest.mark.parametrize("reduction", ["sum", "mean", "sequence_mean"])
def test_accumulated_gradients_are_those_of_the_joint_batch(reduction: str) -> None:
    model = network()
    shares = {"mean": LENGTHS / LENGTHS.sum(), "sequence_mean": np.full(9, 1 / 9)}
    share = shares.get(reduction)
    total = None
    for rows in (slice(0, 4), slice(4, 5), slice(5, 9)):
        part = gradients(model, rows, reduction)
        if share is not None:
            part *= share[rows].sum()
        if total is None:
            total = part
        else:
            total += part
    assert total is not None and total.x is None and total.h0 is None
    joint = gradients(model, slice(0, 9), reduction)
    np.testing.assert_allclose(total.flat, joint.flat, rtol=1e-12, atol=1e-15)
    one, other = model.copy(), model.copy()
    fastbptt.Adam().step(one, total, clip_norm=0.01)
    other.train_step(X, Y, fastbptt.Adam(), "bce", "all", reduction, LENGTHS, clip_norm=0.01)
    np.testing.assert_allclose(one.parameters.flat, other.parameters.flat, rtol=1e-12)


def test_sums_and_products_leave_their_operands_alone() -> None:
    one, other = (gradients(network(), rows, "mean") for rows in (slice(3), slice(3, 9)))
    before = one.flat.copy(), other.flat.copy(), one.x.copy(), one.h0[1].copy()
    total, scaled = one + other, np.float64(3.0) * one * 2
    np.testing.assert_allclose(total.flat, before[0] + before[1], rtol=1e-15)
    np.testing.assert_allclose(scaled.flat, 6 * before[0], rtol=1e-15)
    np.testing.assert_allclose(scaled.x, 6 * before[2], rtol=1e-15)
    np.testing.assert_allclose(scaled.h0[1], 6 * before[3], rtol=1e-15)
    for values, kept in zip((one.flat, other.flat, one.x, one.h0[1]), before, strict=True):
        np.testing.assert_array_equal(values, kept)
    for twin in (copy.deepcopy(one), pickle.loads(pickle.dumps(one))):
        np.testing.assert_array_equal(twin.flat, one.flat)


@pytest.mark.parametrize("frozen", [(), ("W_hh", "h0")])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [1e-30, 1.0, 1e25])
def test_the_norm_before_and_after_clipping(
    frozen: tuple[str, ...], dtype: str, size: float
) -> None:
    model = fastbptt.RNN(2, 5, 1, learn_initial_state=True, dtype=dtype, seed=0)
    if frozen:
        model.freeze(*frozen)
    grads = model.loss_and_grad(X, Y[:, -1])[1]
    grads *= size
    counted = [one.ravel() for name, one in grads.items() if name not in frozen]
    expected = float(np.linalg.norm(np.concatenate(counted).astype(float) / size)) * size
    raw = grads.flat.copy()
    assert grads.clip_norm_(2 * expected) == pytest.approx(expected, rel=1e-6)
    np.testing.assert_array_equal(grads.flat, raw)
    assert grads.clip_norm_(expected / 4) == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(grads.flat, raw / 4, rtol=2e-6)
    grads.clip_value_(float(np.median(np.abs(grads.flat))))
    np.testing.assert_allclose(
        grads.flat, np.clip(raw / 4, -np.median(np.abs(raw / 4)), np.median(np.abs(raw / 4))), 2e-6
    )


@pytest.mark.parametrize("clip", [{"clip_norm": 1e-3}, {"clip_value": 1e-4}])
@pytest.mark.parametrize("frozen", [(), ("W_hh",)])
def test_a_clipped_step_is_a_clipped_training_step(
    clip: dict[str, Any], frozen: tuple[str, ...]
) -> None:
    models = [network(frozen) for _ in range(3)]
    optimizers = [fastbptt.Adam(weight_decay=0.1) for _ in models]
    for _ in range(3):
        models[0].train_step(X, Y[:, -1], optimizers[0], **clip)
        grads = models[1].loss_and_grad(X, Y[:, -1])[1]
        kept = grads.flat.copy()
        optimizers[1].step(models[1], grads, **clip)
        np.testing.assert_array_equal(grads.flat, kept)
        grads.clip_norm_(1e-3) if "clip_norm" in clip else grads.clip_value_(1e-4)
        optimizers[2].step(models[2], grads)
    assert models[0].parameters.flat.tobytes() == models[1].parameters.flat.tobytes()
    np.testing.assert_allclose(
        models[2].parameters.flat, models[0].parameters.flat, rtol=1e-12, atol=1e-14
    )


def test_what_gradients_refuse() -> None:
    grads = gradients(network(), slice(9), "mean")
    raw = grads.flat.copy()
    for clip in (grads.clip_norm_, grads.clip_value_):
        with pytest.raises(fastbptt.ArgumentError, match=r"is 0\.0; expected a number above 0$"):
            clip(0.0)
    with pytest.raises(fastbptt.ArgumentError, match="the factor of gradients is inf; expected a"):
        grads *= np.inf
    with pytest.raises(TypeError, match="unsupported operand"):
        grads += 1.0  # type: ignore[arg-type]
    other = fastbptt.RNN(2, 5, 1, seed=0).loss_and_grad(X, Y[:, -1])[1]
    with pytest.raises(fastbptt.ArgumentError, match="the second of two gradients has float32 for"):
        grads += other
    with pytest.raises(fastbptt.ArgumentError, match=r"clip_value is 1e\+300; expected 1\.18e-38"):
        other.clip_value_(1e300)
    np.testing.assert_array_equal(grads.flat, raw)
    grads["W_hh"][2, 3] = np.nan
    for clip in (grads.clip_norm_, grads.clip_value_):
        with pytest.raises(
            fastbptt.ArgumentError,
            match=r"gradient of W_hh holds a value that is not finite \(nan\) at index \(2, 3\)",
        ):
            clip(1.0)
