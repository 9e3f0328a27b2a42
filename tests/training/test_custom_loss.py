"""`fit` and `evaluate` with a loss function of the caller's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastbptt

rng = np.random.default_rng(0)
X = rng.normal(size=(23, 6, 2))
LENGTHS = rng.integers(1, 7, size=23)
Y = {"last": rng.normal(size=(23, 1)), "all": rng.normal(size=(23, 6, 1))}
Y |= dict.fromkeys(("mean", "max"), Y["last"])
WEIGHTS = rng.uniform(0.5, 2.0, size=23)


def network(seed: int = 0) -> fastbptt.Recurrent:
    return fastbptt.LSTM(2, 4, 1, num_layers=2, dropout=0.3, dtype="float64", seed=seed)


def mse(reduction: str) -> Any:
    """The squared error as the core has it, by hand."""

    def own(z: Any, y: Any, weights: Any) -> Any:
        w = np.ones(z.shape[:-1]) if weights is None else weights
        if reduction == "sequence_mean" and w.ndim == 2:
            w = w / np.maximum((w > 0).sum(axis=1), 1)[:, None]
        if reduction != "sum":
            w = w / w.sum()
        y = np.where(w[..., None] > 0, y, 0.0)
        return (w[..., None] * (z - y) ** 2).sum(), 2 * w[..., None] * (z - y)

    return own


@pytest.mark.parametrize("reduction", ["mean", "sum", "sequence_mean"])
@pytest.mark.parametrize("steps", ["last", "all", "mean", "max"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("chunk", [None, 2])
def test_a_loss_of_the_core_by_hand(
    steps: str, reduction: str, weighted: bool, chunk: int | None
) -> None:
    if chunk is not None and steps in ("mean", "max"):
        refused = 'bptt_steps is 2; expected None because steps="m'
        with pytest.raises(fastbptt.ArgumentError, match=refused):
            fastbptt.fit(network(), X, Y[steps], loss=mse(reduction), steps=steps, bptt_steps=2)
        return
    args: dict[str, Any] = {
        "steps": steps,
        "reduction": reduction,
        "lengths": LENGTHS,
        "sample_weight": WEIGHTS if weighted else None,
    }
    more: dict[str, Any] = {
        **args,
        "epochs": 4,
        "batch_size": 5,
        "validation": 0.3,
        "schedule": "cosine",
        "clip_norm": 0.1,
        "bptt_steps": chunk,
        "patience": 3,
        "verbose": 0,
    }
    one, other = network(), network()
    wanted = fastbptt.fit(one, X, Y[steps], loss="mse", **more)
    found = fastbptt.fit(other, X, Y[steps], loss=mse(reduction), **more)
    np.testing.assert_allclose(other.parameters.flat, one.parameters.flat, rtol=1e-9, atol=1e-12)
    for curve in ("loss", "validation_loss", "lr"):
        np.testing.assert_allclose(found[curve], wanted[curve], rtol=1e-9)
    assert (found.best_epoch, found.stopped) == (wanted.best_epoch, wanted.stopped)
    assert other._dropout_seeds.state == one._dropout_seeds.state
    got = fastbptt.evaluate(one, X, Y[steps], loss=mse(reduction), **args)
    assert got["loss"] == pytest.approx(
        fastbptt.evaluate(one, X, Y[steps], loss="mse", **args)["loss"], rel=1e-9
    )


@pytest.mark.parametrize("steps", ["mean", "max"])
@pytest.mark.parametrize(
    "options",
    [
        {"bidirectional": True},
        {"readout_units": [0, 2]},
        {"output_size": None},
        {"output_size": 3},
        {"bias": False},
    ],
    ids=str,
)
def test_pooled_states_of_any_network(options: dict[str, Any], steps: str) -> None:
    options = {"output_size": 1, **options, "dtype": "float64", "seed": 0}
    one, other = fastbptt.GRU(2, 4, **options), fastbptt.GRU(2, 4, **options)
    y = rng.normal(size=(23, one.output_size or 4))
    more: dict[str, Any] = {"steps": steps, "lengths": LENGTHS, "epochs": 2, "verbose": 0}

    def loss(z: Any, y: Any, weights: Any) -> Any:
        return ((z - y) ** 2).mean(), 2 * (z - y) / z.size

    wanted = fastbptt.fit(one, X, y, loss="mse", **more)
    found = fastbptt.fit(other, X, y, loss=loss, **more)
    assert found["loss"] == pytest.approx(wanted["loss"], rel=1e-12)
    np.testing.assert_allclose(other.parameters.flat, one.parameters.flat, rtol=1e-9, atol=1e-12)


def test_targets_of_any_form_reach_the_function() -> None:
    """Lists of different lengths, more columns than outputs, NaN; padding has weight 0."""
    x = [one[:n] for one, n in zip(X, LENGTHS, strict=True)]
    y = [np.full((n, 3), np.nan) for n in LENGTHS]
    for n, one in enumerate(y):
        one[:, 0] = n
    seen: list[tuple[Any, Any]] = []

    def own(z: Any, y: Any, weights: Any) -> Any:
        assert z.shape[:2] == y.shape[:2] == weights.shape and y.shape[2] == 3
        assert not z[weights == 0].any() and not y[weights == 0].any()
        seen.append((y[:, 0, 0].copy(), weights.sum(axis=1)))
        y[:], weights[:] = 7.0, 7.0  # its own
        return 0.0, np.where(weights[..., None] == 9, np.nan, 0.0)

    fastbptt.fit(network(), x, y, loss=own, steps="all", epochs=1, batch_size=4, verbose=0)
    order = np.concatenate([rows for rows, _ in seen]).astype(int)
    assert sorted(order) == list(range(23))
    np.testing.assert_array_equal(np.concatenate([n for _, n in seen]), LENGTHS[order])


def test_classes_are_weighted_and_metrics_are_functions() -> None:
    seen: set[float] = set()

    def own(z: Any, y: Any, weights: Any) -> Any:
        assert y.dtype == np.int32
        seen.update([] if weights is None else weights)
        return 0.5, np.zeros_like(z)

    def share(y: Any, z: Any) -> float:
        return float((y == (z[:, 0] > 0)).mean())

    y = (X[:, 0, 0] > 0).astype(np.int32)
    found = fastbptt.fit(
        network(), X, y, loss=own, epochs=2, class_weight={1: 3.0}, metrics=share,
        validation=0.25, verbose=0,
    )  # fmt: skip
    assert found["loss"] == found["validation_loss"] == [0.5, 0.5]
    assert seen == {1.0, 3.0}
    assert 0.0 <= found["validation_share"][-1] <= 1.0
    with pytest.raises(fastbptt.ArgumentError, match=r'metrics\[0\] is "rmse", of numbers, but wh'):
        fastbptt.fit(network(), X, y, loss=own, metrics="rmse")


def test_a_run_resumes_bit_for_bit(tmp_path: Path) -> None:
    class Crash(fastbptt.Callback):
        def on_batch_end(self, run: fastbptt.TrainingRun) -> None:
            if run.step == 7:
                raise RuntimeError("crash")

    path = tmp_path / "run"
    more: dict[str, Any] = {"loss": mse("mean"), "epochs": 4, "batch_size": 5, "verbose": 0}
    whole, resumed = network(), network(1)
    fastbptt.fit(whole, X, Y["last"], **more)
    more |= {"checkpoint": path, "checkpoint_every": 1e-9}
    with pytest.raises(RuntimeError, match="crash"):
        fastbptt.fit(network(), X, Y["last"], callbacks=[Crash()], **more)
    Crash.on_batch_end = fastbptt.Callback.on_batch_end  # type: ignore[method-assign,assignment]
    history = fastbptt.fit(resumed, X, Y["last"], callbacks=[Crash()], resume=True, **more)
    assert len(history) == 4
    assert resumed.parameters.flat.tobytes() == whole.parameters.flat.tobytes()


def bad(result: Any, at: int = 3) -> Any:
    """Return this in the third batch."""
    calls = []

    def own(z: Any, y: Any, weights: Any) -> Any:
        calls.append(1)
        if len(calls) < at:
            return 1.0, np.ones_like(z)
        if isinstance(result, Exception):
            raise result
        return result(z) if callable(result) else result

    return own


NOT_FINITE = np.ones((5, 1))
NOT_FINITE[3] = np.nan
WHERE = r" \(epoch 1, batch 3\)$"
RESULTS: dict[str, tuple[Any, type[Exception], str]] = {
    "no pair": (1.0, TypeError, rf"^loss returned float; expected \(value, gradient\){WHERE}"),
    "three": ((1.0, 2, 3), TypeError, rf"^loss returned 3 parts; expected \(value, g.*{WHERE}"),
    "text": (("a", 1), TypeError, rf"^the value that loss returned is 'a'; expected a f.*{WHERE}"),
    "nan": ((np.nan, 1), ValueError, rf"^the value that loss returned is nan; expected.*{WHERE}"),
    "inf": ((np.inf, 1), ValueError, rf"^the value that loss returned is inf; expected.*{WHERE}"),
    "shape": (
        lambda z: (1.0, z[:, 0]),
        ValueError,
        rf"^the gradient that loss returned has shape \(5,\); expected \(5, 1\): the sh.*{WHERE}",
    ),
    "gradient": (
        (1.0, NOT_FINITE),
        ValueError,
        rf"^the gradient that loss returned holds a value that is not finite \(nan\) at index "
        rf"\(13, 0\); expected finite numbers{WHERE}",
    ),
    "raises": (KeyError("mine"), KeyError, "mine"),
}


@pytest.mark.parametrize("name", RESULTS)
def test_a_wrong_result_names_the_batch_and_changes_nothing(name: str) -> None:
    result, error, message = RESULTS[name]
    model, twin = network(), network()
    adam, other = fastbptt.Adam(), fastbptt.Adam()
    more: dict[str, Any] = {"shuffle": False, "batch_size": 5, "epochs": 1, "verbose": 0}
    with pytest.raises(error, match=message):
        fastbptt.fit(model, X, Y["last"], loss=bad(result), optimizer=adam, **more)
    fastbptt.fit(twin, X[:10], Y["last"][:10], loss=bad(1.0), optimizer=other, **more)
    assert model.parameters.flat.tobytes() == twin.parameters.flat.tobytes()
    assert model._dropout_seeds.state == twin._dropout_seeds.state
    assert adam.step_count == other.step_count == 2
    if name == "nan":
        with pytest.raises(error, match=r"expected a finite number \(sequences 0 to 22 of x\)"):
            fastbptt.evaluate(model, X, Y["last"], loss=bad(result, 1))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"memory_budget": "1MB"}, "memory_budget is '1MB'; expected None because loss is a func"),
        (
            {"callbacks": [fastbptt.GradientMonitor()]},
            r"callbacks\[0\] is a GradientMonitor, which records gradients; expected one that",
        ),
        ({"y": Y["last"][1:]}, r"y has shape \(22, 1\); expected \(23, ..\): \(batch, ..\) for st"),
        (
            {"x": list(X), "y": list(Y["last"]), "steps": "all"},
            r"y\[0\] has shape \(1,\); expected \(6, ..\): the steps of x\[0\], and alike",
        ),
        ({"x": np.where(X > 2, np.nan, X)}, "x holds a value that is not finite"),
        ({"class_weight": "balanced"}, "class_weight is 'balanced'; expected None unless y holds"),
    ],
)
def test_what_a_function_does_not_go_with(given: dict[str, Any], message: str) -> None:
    model = network()
    before = model.parameters.flat.copy()
    with pytest.raises(fastbptt.ArgumentError, match=message):
        fastbptt.fit(model, **{"x": X, "y": Y["last"], "loss": bad(1.0), **given})
    np.testing.assert_array_equal(model.parameters.flat, before)


@pytest.mark.parametrize("what", ["resets", "static", "one state", "warmup", "missing"])
def test_chunks_of_all_kinds_of_calls(what: str) -> None:
    """With the state carried, as the core carries it."""
    options: dict[str, Any] = {"static_size": 2} if what == "static" else {}
    cell = fastbptt.GRU if what == "one state" else fastbptt.LSTM
    one, other = (cell(2, 4, 1, dtype="float64", seed=0, **options) for _ in range(2))
    more: dict[str, Any] = {"steps": "all", "bptt_steps": 4, "epochs": 3, "verbose": 0}
    y, own = Y["all"], mse("mean")
    if what == "resets":
        more["resets"] = np.arange(23 * 6).reshape(23, 6) % 5 == 0
    elif what == "static":
        more["static"] = np.random.default_rng(1).normal(size=(23, 2))
    elif what == "warmup":
        more["warmup"] = 5  # more than a chunk
    elif what == "missing":
        y, own = np.where(y > 1, np.nan, y), fastbptt.training.MaskedLoss("mse")
    mask = {"missing": "mask"} if what == "missing" else {}
    wanted = fastbptt.fit(one, X, y, loss="mse", **more, **mask)
    found = fastbptt.fit(other, X, y, loss=own, **more)
    np.testing.assert_allclose(other.parameters.flat, one.parameters.flat, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found["loss"], wanted["loss"], rtol=1e-9)


def test_a_chunk_that_fails_takes_back_the_chunks_before_it() -> None:
    calls = []

    def own(z: Any, y: Any, weights: Any) -> Any:
        calls.append(z.shape)
        bad = len(calls) == 6
        return (z**2).sum(), np.where(
            np.arange(z.size).reshape(z.shape) == 3, np.nan, z
        ) if bad else z

    model, adam = network(), fastbptt.Adam()
    more: dict[str, Any] = {"steps": "all", "batch_size": 23, "optimizer": adam, "verbose": 0}
    fastbptt.fit(model, X, Y["all"], loss=own, epochs=1, bptt_steps=2, **more)
    before = model.parameters.flat.copy(), adam.step_count, model._dropout_seeds.state
    message = r"at index \(1, 1, 0\).* \(in the chunk of steps 4 to 5; .* \(epoch 1, batch 1\)$"
    with pytest.raises(fastbptt.ArgumentError, match=message):
        fastbptt.fit(model, X, Y["all"], loss=own, epochs=1, bptt_steps=2, shuffle=False, **more)
    assert calls == [(23, 2, 1)] * 6
    np.testing.assert_array_equal(model.parameters.flat, before[0])
    assert (adam.step_count, model._dropout_seeds.state) == before[1:]


def test_a_class_is_no_function() -> None:
    with pytest.raises(
        TypeError, match=r"loss is <class 'fastbptt\._losses\.Loss'>; expected one of"
    ):
        fastbptt.fit(network(), X, Y["last"], loss=fastbptt.Loss)  # type: ignore[arg-type]


@pytest.mark.parametrize("steps", ["last", "all"])
def test_a_batch_without_weight_is_left_out(steps: str) -> None:
    """The function may divide by the sum of the weights, whatever the batches."""

    def mean(z: Any, y: Any, weights: Any) -> Any:
        share = (weights / weights.sum())[..., np.newaxis]
        return float((share * (z - y) ** 2).sum()), 2 * share * (z - y)

    some = np.where(np.arange(23) < 3, WEIGHTS, 0.0)
    options: dict[str, Any] = {"loss": mean, "steps": steps, "sample_weight": some}
    found = [
        fastbptt.evaluate(network(), X, Y[steps], **options, batch_size=size) for size in (1, 23)
    ]
    np.testing.assert_allclose(found[0]["loss"], found[1]["loss"], rtol=1e-12)
    held = (X, Y[steps], None, some)
    fastbptt.fit(
        network(), X, Y[steps], **options, epochs=1, batch_size=2, validation=held, verbose=0
    )


def cross_entropy(z: Any, y: Any, weights: Any) -> Any:
    """The mean cross-entropy of classes, by hand."""
    w = np.ones(y.shape) if weights is None else weights
    w = w / w.sum()
    p = np.exp(z - z.max(axis=-1, keepdims=True))
    p /= p.sum(axis=-1, keepdims=True)
    right = np.eye(z.shape[-1])[y]
    return -(w * np.log((p * right).sum(axis=-1))).sum(), w[..., np.newaxis] * (p - right)


@pytest.mark.parametrize("listed", [False, True])
def test_classes_of_steps_are_weighted(listed: bool) -> None:
    classes = np.random.default_rng(1).choice(3, size=(23, 6), p=[0.7, 0.2, 0.1])
    x: Any = [one[:end] for one, end in zip(X, LENGTHS, strict=True)] if listed else X
    y: Any = [one[:end] for one, end in zip(classes, LENGTHS, strict=True)] if listed else classes
    models = [fastbptt.GRU(2, 4, 3, dtype="float64", seed=0) for _ in range(2)]
    for model, loss in zip(models, [cross_entropy, "cross_entropy"], strict=True):
        fastbptt.fit(
            model, x, y, loss=loss, steps="all", class_weight="balanced", epochs=2, batch_size=7,
            verbose=0, lengths=None if listed else LENGTHS,
        )  # fmt: skip
    np.testing.assert_allclose(models[0].parameters.flat, models[1].parameters.flat, rtol=1e-9)
