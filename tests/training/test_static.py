"""Static inputs in fit, evaluate, predict and the rest of the package."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import fastbptt

RNG = np.random.default_rng(0)
STATIC = RNG.normal(size=(40, 2))
X = RNG.normal(size=(40, 6, 3))
Y = (STATIC[:, :1] + 0.1 * X[:, :, :1].sum(axis=1)).astype(np.float64)
LENGTHS = RNG.integers(1, 7, 40)
OPTIONS: dict[str, Any] = {"loss": "mse", "batch_size": 7, "verbose": 0, "static": STATIC}


def model(**options: Any) -> fastbptt.Recurrent:
    return fastbptt.GRU(3, 5, 1, **{"static_size": 2, "dtype": "float64", "seed": 0, **options})


def test_fit_is_train_step_on_each_batch() -> None:
    one, other, order = model(), model(), []
    adam = fastbptt.Adam(0.01)

    class Rows(fastbptt.Callback):
        def on_batch_end(self, run: Any) -> None:
            order.append(run.batch_loss)

    fastbptt.fit(
        one, X, Y, epochs=2, optimizer=fastbptt.Adam(0.01), shuffle=False, lengths=LENGTHS,
        callbacks=[Rows()], **OPTIONS,
    )  # fmt: skip
    losses = [
        other.train_step(
            X[i : i + 7], Y[i : i + 7], adam, "mse", lengths=LENGTHS[i : i + 7],
            static=STATIC[i : i + 7],
        )
        for _ in range(2)
        for i in range(0, 40, 7)
    ]  # fmt: skip
    np.testing.assert_allclose(order, losses, rtol=1e-12)
    np.testing.assert_allclose(one.parameters.flat, other.parameters.flat, rtol=1e-10)


def test_it_learns_what_only_the_constants_tell() -> None:
    net = model()
    fastbptt.fit(net, X, Y, epochs=60, optimizer=fastbptt.Adam(0.02), **OPTIONS)
    assert fastbptt.evaluate(net, X, Y, loss="mse", metrics="r2", static=STATIC)["r2"] > 0.9


@pytest.mark.parametrize("steps", ["last", "all", "mean", "max"])
@pytest.mark.parametrize("listed", [False, True])
def test_evaluate_and_predict(steps: str, listed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """In batches, the same."""
    net = model()
    x: Any = [one[:n] for one, n in zip(X, LENGTHS, strict=True)] if listed else X
    lengths = None if listed else LENGTHS
    y: Any = Y
    if steps == "all":
        y = np.repeat(Y[:, np.newaxis], 6, axis=1)
        y = [one[:n] for one, n in zip(y, LENGTHS, strict=True)] if listed else y
    whole = net.loss(x, y, "mse", steps, lengths=lengths, static=STATIC)
    out = net.forward(x, lengths, static=STATIC)
    found = fastbptt.evaluate(
        net, x, y, loss="mse", steps=steps, lengths=lengths, static=STATIC, batch_size=9
    )
    assert found["loss"] == pytest.approx(whole, rel=1e-12)
    z = fastbptt.predict(net, x, lengths, 9, static=STATIC, steps=steps)
    if steps == "last":
        np.testing.assert_array_equal(z, out.last)
    elif steps == "all":
        for one, exact, n in zip(z, out.outputs, LENGTHS, strict=True):
            np.testing.assert_array_equal(one[:n], exact[:n])


def test_iterator_and_own_loss() -> None:
    def batches() -> Iterator[tuple[Any, ...]]:
        for i in range(0, 40, 8):
            yield X[i : i + 8], Y[i : i + 8], None, STATIC[i : i + 8]

    def own(outputs: Any, targets: Any, weights: Any) -> tuple[float, NDArray[Any]]:
        d = outputs - targets
        return float((d**2).mean()), 2 * d / d.size

    one, other, third = model(), model(), model()
    options: dict[str, Any] = {"epochs": 1, "verbose": 0, "optimizer": "sgd"}
    fastbptt.fit(one, batches(), loss="mse", steps_per_epoch=5, **options)
    options |= {"static": STATIC, "batch_size": 8, "shuffle": False}
    fastbptt.fit(other, X, Y, loss="mse", **options)
    fastbptt.fit(third, X, Y, loss=own, **options)
    np.testing.assert_allclose(one.parameters.flat, other.parameters.flat, rtol=1e-12)
    np.testing.assert_allclose(third.parameters.flat, other.parameters.flat, rtol=1e-10)
    for wrong in ((X, Y), (X, Y, None)):
        with pytest.raises(TypeError, match=r"yielded \d parts; expected \(x, y, weights, s"):
            fastbptt.fit(model(), iter([wrong]), loss="mse", steps_per_epoch=1, epochs=1)
    with pytest.raises(ValueError, match="static is an array"):
        fastbptt.fit(model(), batches(), loss="mse", steps_per_epoch=1, epochs=1, static=STATIC)


def test_resumed_run(tmp_path: Path) -> None:
    results = []
    for stops in ([4], [2, 4]):
        path = tmp_path / f"{len(stops)}"
        for epochs in stops:
            net = model(dropout=0.3, num_layers=2)
            fastbptt.fit(net, X, Y, epochs=epochs, checkpoint=path, resume=True, **OPTIONS)
        results.append(net.parameters.flat.tobytes())
    assert results[0] == results[1]
    with pytest.raises(ValueError, match="the data differ in static"):
        fastbptt.fit(
            net, X, Y, epochs=5, checkpoint=path, resume=True, **{**OPTIONS, "static": STATIC + 1}
        )


def test_other_validation_data() -> None:
    history = fastbptt.fit(
        model(), X[:30], Y[:30], epochs=1, validation=(X[30:], Y[30:], None, None, STATIC[30:]),
        **{**OPTIONS, "static": STATIC[:30]},
    )  # fmt: skip
    assert np.isfinite(history["validation_loss"]).all()
    wrong: list[tuple[Any, str]] = [
        ((X[30:], Y[30:]), "validation has 2 parts; expected .*static"),
        ((X[30:], Y[30:], None, None, STATIC[:3]), r"validation: static has shape \(3, 2\)"),
        ((X[30:], Y[30:], None, None, None), "validation: static is None"),
    ]
    for validation, message in wrong:
        with pytest.raises((ValueError, TypeError), match=message):
            fastbptt.fit(
                model(), X[:30], Y[:30], epochs=1, validation=validation,
                **{**OPTIONS, "static": STATIC[:30]},
            )  # fmt: skip
    with pytest.raises(ValueError, match="validation: resets has shape"):
        fastbptt.fit(
            model(static_size=None), X, Y, loss="mse", validation=(X, Y, None, None, STATIC)
        )


def test_a_bad_constant_is_found_before_training() -> None:
    bad = STATIC.copy()
    bad[23, 1] = np.nan
    net = model()
    before = net.parameters.flat.tobytes()
    for call in (
        lambda: fastbptt.fit(net, X, Y, epochs=1, **{**OPTIONS, "static": bad}),
        lambda: fastbptt.evaluate(net, X, Y, loss="mse", static=bad),
        lambda: fastbptt.predict(net, X, static=bad),
    ):
        with pytest.raises(ValueError, match=r"static\[23, 1\]|static .*23, 1") as caught:
            call()
        assert "static" in str(caught.value)
    with pytest.raises(TypeError, match="static is None"):
        fastbptt.fit(net, X, Y, epochs=1, **{**OPTIONS, "static": None})
    assert net.parameters.flat.tobytes() == before


@pytest.mark.parametrize("both_ways", [False, True])
@pytest.mark.parametrize("cell", ["rnn", "lstm"])
def test_diagnosis(cell: str, both_ways: bool) -> None:
    net = fastbptt.Recurrent(
        cell, 3, 5, 1, static_size=2, bidirectional=both_ways, dtype="float64", seed=0
    )
    found = fastbptt.diagnose(net, X[:8], Y[:8], "mse", static=STATIC[:8])
    grads = net.loss_and_grad(X[:8], Y[:8], "mse", static=STATIC[:8])[1]
    for layer, suffix in zip(found.layers, ("", "_reverse"), strict=False):
        exact = np.linalg.norm(grads[f"W_hh{suffix}"])
        first = -1 if suffix else 0
        assert layer.running_sum["W_hh"][first] == pytest.approx(exact, rel=1e-10)


def test_learning_rates_and_monitor() -> None:
    found = fastbptt.find_lr(model(), X, Y, loss="mse", static=STATIC, updates=10)
    assert np.isfinite(found.losses).all()
    monitor = fastbptt.GradientMonitor(warn=False, probe=(X[:4], Y[:4], None, STATIC[:4]))
    fastbptt.fit(model(), X, Y, epochs=2, callbacks=[monitor], **OPTIONS)
    assert len(monitor.epochs) == 2


def test_fixed_points_start_from_visited_states() -> None:
    from fastbptt.diagnostics._step import visited

    net = fastbptt.LSTM(3, 4, 1, static_size=2, learn_initial_state=True, dtype="float64", seed=0)
    states, _ = visited(net, "data", X, None, STATIC)
    h, c = net.forward(X, static=STATIC).final_state
    np.testing.assert_allclose(states[:, -1, :4], h[0], rtol=1e-12)
    np.testing.assert_allclose(states[:, -1, 4:], c[0], rtol=1e-12)
    fastbptt.diagnostics.fixed_points(net, np.zeros(3), 4, data=X, static=STATIC, iterations=2)
