"""A loss on the mean or maximum of the hidden states: threads, memory, windows, and predictions."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import fastbptt

POOLED = ("mean", "max")
RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 90, 3))
LENGTHS = RNG.integers(1, 91, 40)
Y = RNG.normal(size=(40, 2))


def network(**options: Any) -> fastbptt.Recurrent:
    return fastbptt.GRU(3, 70, 2, seed=0, **options)


@pytest.mark.parametrize("steps", POOLED)
@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True}])
def test_threads_change_no_bit(steps: str, options: dict[str, Any]) -> None:
    found = []
    for threads in (1, 2, 3):
        fastbptt.set_num_threads(threads)
        loss, grads = network(**options).loss_and_grad(X, Y, "mse", steps, lengths=LENGTHS)
        found.append((loss, grads.flat.tobytes()))
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("steps", POOLED)
def test_a_memory_budget_changes_no_bit(steps: str) -> None:
    model = network(num_layers=2)
    whole = model.loss_and_grad(X, Y, "mse", steps, lengths=LENGTHS)
    least = model.minimum_memory(*X.shape[:2])
    tight = model.loss_and_grad(X, Y, "mse", steps, lengths=LENGTHS, memory_budget=int(1.3 * least))
    assert model.last_report is not None and model.last_report.segments > 1
    assert tight[0] == whole[0]
    assert tight[1].flat.tobytes() == whole[1].flat.tobytes()


@pytest.mark.parametrize("steps", POOLED)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("readout", [2, None])
def test_predictions_are_what_the_loss_sees(
    steps: str, bidirectional: bool, readout: int | None
) -> None:
    model = fastbptt.LSTM(3, 4, readout, seed=1, bidirectional=bidirectional, dtype="float64")
    hidden = model.forward(X, LENGTHS).hidden
    pool = np.mean if steps == "mean" else np.max
    pooled = np.stack([pool(h[:end], axis=0) for h, end in zip(hidden, LENGTHS, strict=True)])
    wanted = (
        pooled if readout is None else pooled @ model.parameters["W_hy"] + model.parameters["b_y"]
    )
    got = fastbptt.predict(model, X, LENGTHS, batch_size=7, steps=steps)
    np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-14)
    y = RNG.normal(size=wanted.shape)
    loss = model.loss(X, y, "mse", steps, lengths=LENGTHS)
    assert loss == pytest.approx(np.square(wanted - y).mean(), rel=1e-12)
    found = fastbptt.evaluate(model, X, y, loss="mse", steps=steps, lengths=LENGTHS)
    assert found["loss"] == pytest.approx(loss, rel=1e-12)


@pytest.mark.parametrize("steps", POOLED)
def test_fit_learns_what_is_anywhere_in_a_sequence(steps: str) -> None:
    x = RNG.normal(size=(200, 60, 1))
    y = RNG.integers(0, 2, 200)
    x[y == 1, 7] = 6.0
    model = fastbptt.GRU(1, 8, 1, seed=0)
    fastbptt.fit(model, x, y, steps=steps, epochs=12, optimizer=fastbptt.Adam(0.02), verbose=0)
    found = fastbptt.evaluate(model, x, y, steps=steps, metrics="accuracy")
    assert found["accuracy"] > 0.9


@pytest.mark.parametrize("steps", POOLED)
def test_chunks_are_refused(steps: str) -> None:
    model, adam = network(), fastbptt.Adam()
    with pytest.raises(fastbptt.ArgumentError, match=f'bptt_steps is 20; .* steps="{steps}"'):
        model.train_step(X, Y, adam, "mse", steps, bptt_steps=20)
    assert np.isfinite(model.train_step(X, Y, adam, "mse", steps))


@pytest.mark.parametrize("steps", ["last", "all", *POOLED])
def test_predictions_are_pooled_as_the_model_was_trained(steps: str, tmp_path: Path) -> None:
    model = network()
    expected = fastbptt.predict(model, X, LENGTHS)
    assert_array_equal(expected, fastbptt.predict(model, X, LENGTHS, steps="last"))
    y = np.ones((*X.shape[:2], 2)) if steps == "all" else Y
    fastbptt.fit(model, X, y, loss="mse", steps=steps, lengths=LENGTHS, epochs=1, verbose=0)
    used = steps if steps in POOLED else "last"
    model.save(tmp_path / "m.st")
    loaded, pickled = fastbptt.load(tmp_path / "m.st"), pickle.loads(pickle.dumps(model))
    for one in (model, model.copy(), loaded, pickled):
        wanted = fastbptt.predict(one, X, LENGTHS, steps=used)
        assert_array_equal(fastbptt.predict(one, X, LENGTHS), wanted)
        assert fastbptt.evaluate(one, X, Y, loss="mse", lengths=LENGTHS) == fastbptt.evaluate(
            one, X, Y, loss="mse", lengths=LENGTHS, steps=used
        )
    fastbptt.fit(model, X, Y, loss="mse", lengths=LENGTHS, epochs=1, verbose=0)
    wanted = fastbptt.predict(model, X, LENGTHS, steps="last")
    assert_array_equal(fastbptt.predict(model, X, LENGTHS), wanted)
