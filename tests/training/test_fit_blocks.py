"""Several blocks of outputs through `fit`, `evaluate`, `predict` and what else takes a loss."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastbptt
from fastbptt import Losses, reference
from fastbptt.training.metrics import title

LOSSES = Losses(
    {"price": "mse", "sale": "bce", "kind": "cross_entropy"},
    outputs={"price": 2, "kind": 3},
    weights={"sale": 0.5, "kind": 2.0},
)
N, T = 40, 9
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, T, 3))
SUMS = X.sum(axis=1)
Y: dict[str, Any] = {
    "price": SUMS[:, :2],
    "sale": (SUMS[:, 2] > 0).astype(int),
    "kind": SUMS.argmax(axis=1),
}
EVERY: dict[str, Any] = {
    "price": X.cumsum(axis=1)[..., :2],
    "sale": (X[..., 2] > 0).astype(int),
    "kind": X.argmax(axis=2),
}
METRICS = {"price": ["r2", "rmse"], "sale": "accuracy"}
LENGTHS = RNG.integers(2, T + 1, N)


def network(**options: Any) -> fastbptt.GRU:
    return fastbptt.GRU(3, 8, LOSSES.width, seed=0, dtype="float64", **options)


def fitted(model: fastbptt.Recurrent, x: Any = X, y: Any = Y, **options: Any) -> Any:
    options = {"loss": LOSSES, "epochs": 3, "batch_size": 7, "verbose": 0, **options}
    return fastbptt.fit(model, x, y, **options)


def exact_losses(model: Any, y: dict[str, Any], steps: str, rows: Any, **how: Any) -> Any:
    """Of each block, by the reference."""
    out = reference.forward(model.state_dict(), X[rows], how.get("lengths"), cell="gru")
    z = out.outputs if steps == "all" else out.last[:, None]
    if steps != "all":
        how = {k: v for k, v in how.items() if k != "lengths"}
    own = how.pop("sample_weight", dict.fromkeys(LOSSES.losses))
    return {
        name: reference.apply_loss(
            z[..., LOSSES.columns[name]], y[name][rows], loss, steps, sample_weight=own[name], **how
        )[0]
        for name, loss in LOSSES.losses.items()
    }


def test_curves_have_the_names_of_the_blocks() -> None:
    model = network()
    history = fitted(model, validation=0.25, metrics=METRICS)
    own = ["loss", "price.loss", "sale.loss", "kind.loss", "price.r2", "price.rmse"]
    own += ["sale.accuracy"]
    assert [*history.last()] == [*own, *(f"validation_{name}" for name in own), "lr", "seconds"]
    for lead in ("", "validation_"):
        for epoch in range(3):
            total = history[f"{lead}price.loss"][epoch] + 0.5 * history[f"{lead}sale.loss"][epoch]
            total += 2.0 * history[f"{lead}kind.loss"][epoch]
            assert history[f"{lead}loss"][epoch] == pytest.approx(total, rel=1e-12)
    assert title("validation_price.r2") == "price: R2" and title("sale.loss") == "sale: loss"
    assert title("sale.accuracy") == "sale: accuracy" and title("lr") == "lr"


@pytest.mark.parametrize("reduction", ["mean", "sum", "sequence_mean"])
@pytest.mark.parametrize("steps", ["last", "all"])
def test_losses_of_an_epoch_and_of_evaluate(steps: str, reduction: str) -> None:
    """With a rate of zero an epoch's are those of all data, whatever the batches."""
    model, y = network(), EVERY if steps == "all" else Y
    rng = np.random.default_rng(1)
    lead = (N, T) if steps == "all" else (N,)
    w = {"price": rng.random(lead), "sale": rng.integers(0, 2, lead).astype(float), "kind": None}
    how = {"steps": steps, "reduction": reduction, "lengths": LENGTHS, "sample_weight": w}
    history = fitted(model, y=y, optimizer=fastbptt.SGD(lr=0.0), epochs=1, **how)
    wanted = exact_losses(
        model, y, steps, slice(None), reduction=reduction, lengths=LENGTHS, sample_weight=w
    )
    found = fastbptt.evaluate(model, X, y, loss=LOSSES, **how)
    model.loss(X, y, LOSSES, steps, reduction, LENGTHS, sample_weight=w)
    assert model.last_losses == pytest.approx(wanted, rel=1e-12)
    for name, value in wanted.items():
        assert found[f"{name}.loss"] == pytest.approx(value, rel=1e-12)
        if steps == "last" or reduction != "mean" or name == "kind":
            assert history[f"{name}.loss"][0] == pytest.approx(value, rel=1e-9), name
    assert found["loss"] == pytest.approx(
        sum(LOSSES.weights[n] * v for n, v in wanted.items()), rel=1e-12
    )


def test_training_is_that_of_train_step() -> None:
    one, other = network(), network()
    adam = fastbptt.Adam(0.01)
    fitted(one, optimizer=fastbptt.Adam(0.01), shuffle=False, batch_size=10, clip_norm=1.0)
    for _ in range(3):
        for i in range(0, N, 10):
            y = {name: value[i : i + 10] for name, value in Y.items()}
            other.train_step(X[i : i + 10], y, adam, LOSSES, clip_norm=1.0)
    assert one.parameters.flat.tobytes() == other.parameters.flat.tobytes()


def test_it_learns_all_blocks() -> None:
    model = network()
    history = fitted(
        model, optimizer=fastbptt.Adam(0.02), epochs=60, metrics={**METRICS, "kind": "accuracy"}
    )
    assert history["price.r2"][-1] > 0.9
    assert history["sale.accuracy"][-1] > 0.9 and history["kind.accuracy"][-1] > 0.9


@pytest.mark.parametrize("monitor", ["sale.accuracy", "kind.loss", "validation_price.rmse"])
def test_early_stopping_monitors_a_block(monitor: str) -> None:
    history = fitted(network(), validation=0.25, metrics=METRICS, monitor=monitor, epochs=8)
    curve = f"validation_{monitor}" if monitor == "sale.accuracy" else monitor
    values = history[curve]
    best = max(values) if "accuracy" in monitor else min(values)
    assert history.best_epoch == values.index(best) + 1


@pytest.mark.parametrize("at", [2, 8, 12])  # batches, of 6 in an epoch
def test_resumed_bit_for_bit(tmp_path: Path, at: int) -> None:
    class Raise(fastbptt.Callback):
        def __init__(self, at: int) -> None:
            self.at = at

        def on_batch_end(self, run: Any) -> None:
            if run.step == self.at:
                raise OSError("the disk is on fire")

    w = {"price": RNG.random(N), "sale": None, "kind": (np.arange(N) % 3 > 0) * 1.0}
    path = tmp_path / "run.safetensors"
    how = {"sample_weight": w, "checkpoint": path, "validation": 0.2, "metrics": METRICS}
    whole = network()
    wanted = fitted(whole, callbacks=[Raise(99)], **{**how, "checkpoint": None})
    how["checkpoint_every"] = 0
    with pytest.raises(OSError, match="on fire"):
        fitted(network(), callbacks=[Raise(at)], **how)
    again = network()
    found = fitted(again, callbacks=[Raise(99)], **how, resume=True)
    assert again.parameters.flat.tobytes() == whole.parameters.flat.tobytes()
    for name in wanted.curves:
        assert name == "seconds" or found[name] == wanted[name], name
    for changed, text in (
        ({"loss": Losses(LOSSES.losses, outputs=LOSSES.outputs)}, "loss was"),
        ({"sample_weight": {**w, "price": np.ones(N)}}, r'the data differ in weights\["price"\]'),
    ):
        with pytest.raises(ValueError, match=text):
            fitted(network(), callbacks=[Raise(99)], **{**how, **changed}, resume=True)
    with pytest.raises(ValueError, match=r'the data differ in y\["sale"\]'):
        fitted(network(), y={**Y, "sale": 1 - Y["sale"]}, callbacks=[Raise(99)], **how, resume=True)


def test_missing_targets_of_a_block() -> None:
    """As with weights of 0; NaN in one block leaves the others as they are."""
    gone = np.arange(N) % 3 == 0
    y = {
        "price": np.where(gone[:, None], np.nan, Y["price"]),
        "sale": Y["sale"],
        "kind": np.where(np.roll(gone, 1), -1, Y["kind"]),
    }
    w = {"price": ~gone * 1.0, "sale": None, "kind": ~np.roll(gone, 1) * 1.0}
    one, other = network(), network()
    found = fitted(one, y=y, missing="mask", metrics=METRICS, validation=0.3)
    wanted = fitted(other, sample_weight=w, metrics=METRICS, validation=0.3)
    assert one.parameters.flat.tobytes() == other.parameters.flat.tobytes()
    assert found["validation_price.rmse"] == wanted["validation_price.rmse"]
    alone = fastbptt.evaluate(one, X, y, loss=LOSSES, missing="mask", metrics=METRICS)
    assert alone == fastbptt.evaluate(one, X, Y, loss=LOSSES, sample_weight=w, metrics=METRICS)
    with pytest.raises(fastbptt.ArgumentError, match=r'y\["price"\] holds .*missing="mask" leaves'):
        fitted(network(), y=y)


def test_lists_warmup_and_chunks() -> None:
    model = network()
    x = [one[:end] for one, end in zip(X, LENGTHS, strict=True)]
    y = {n: [one[:end] for one, end in zip(EVERY[n], LENGTHS, strict=True)] for n in EVERY}
    how: dict[str, Any] = {"steps": "all", "warmup": 1, "metrics": METRICS, "validation": 0.25}
    other = network()
    found = fitted(model, x, y, **how)
    wanted = fitted(other, X, EVERY, lengths=LENGTHS, **how)
    assert model.parameters.flat.tobytes() == other.parameters.flat.tobytes()
    assert found["validation_sale.accuracy"] == wanted["validation_sale.accuracy"]
    assert fitted(network(), X, EVERY, steps="all", bptt_steps=3, memory_budget="1MB", epochs=4)
    shown = fastbptt.predict(model, x, steps="all", loss=LOSSES)
    assert [one.shape for one in shown["price"]] == [(end, 2) for end in LENGTHS]


def test_batches_of_an_iterator_may_lack_a_block() -> None:
    def batches(weighted: bool) -> Iterator[Any]:
        for i in range(0, N, 8):
            y = {n: v[i : i + 8] for n, v in Y.items()}
            w = {"price": np.ones(8), "sale": np.full(8, float(i != 16)), "kind": np.ones(8)}
            yield (X[i : i + 8], y, w) if weighted else (X[i : i + 8], y)

    for weighted in (False, True):
        model, other = network(), network()
        history = fitted(model, batches(weighted), None, epochs=1, steps_per_epoch=5, batch_size=32)
        adam, sums = fastbptt.Adam(), dict.fromkeys(LOSSES.losses, 0.0)
        for x, y, *w in batches(weighted):
            other.train_step(x, y, adam, LOSSES, sample_weight=w[0] if w else None)
            for name, value in (other.last_losses or {}).items():
                sums[name] += value * (1.0 if not w else w[0][name].sum() / 8)
        assert model.parameters.flat.tobytes() == other.parameters.flat.tobytes()
        for name, total in sums.items():
            count = 4 if weighted and name == "sale" else 5
            assert history[f"{name}.loss"][0] == pytest.approx(total / count, rel=1e-12)


def test_predictions_by_name() -> None:
    model = network()
    z = fastbptt.predict(model, X, LENGTHS, steps="all")
    found = fastbptt.predict(model, X, LENGTHS, steps="all", loss=LOSSES)
    assert list(found) == ["price", "sale", "kind"]
    inside = np.arange(T) < LENGTHS[:, None]
    np.testing.assert_array_equal(found["price"], z[..., :2])
    np.testing.assert_allclose(found["sale"][inside], 1 / (1 + np.exp(-z[inside][:, 2:3])))
    np.testing.assert_allclose(found["kind"][inside].sum(axis=-1), 1.0)
    for one in found.values():
        assert not one[~inside].any()
    np.testing.assert_array_equal(fastbptt.predict(model, X, loss=LOSSES)["price"].shape, (N, 2))
    alone = fastbptt.predict(model, X, loss="bce")
    np.testing.assert_allclose(alone, 1 / (1 + np.exp(-fastbptt.predict(model, X))))
    parts = LOSSES.split(z)
    assert np.shares_memory(parts["sale"], z) and parts["kind"].shape == (N, T, 3)
    for bad in (z[..., :5], 1.0):
        with pytest.raises(fastbptt.ArgumentError, match=r"outputs has shape .* price \+ sale"):
            LOSSES.split(bad)


def test_diagnose_monitor_and_learning_rates(tmp_path: Path) -> None:
    model = network()
    report = fastbptt.diagnose(model, X, Y, LOSSES, optimizer=fastbptt.Adam(10.0))
    assert report.loss == pytest.approx(model.loss(X, Y, LOSSES), rel=1e-12)
    assert "mse(price) + 0.5 bce(sale) + 2 cross_entropy(kind)" in str(report)
    weighted = {**dict.fromkeys(LOSSES.losses), "price": np.arange(N) % 2}
    gone = {**Y, "price": np.where(np.arange(N)[:, None] % 2, Y["price"], np.nan)}
    again = fastbptt.diagnose(model, X, gone, LOSSES, sample_weight=weighted)
    assert again.loss == pytest.approx(model.loss(X, gone, LOSSES, sample_weight=weighted))
    monitor = fastbptt.GradientMonitor(probe=(X[:5], {n: v[:5] for n, v in Y.items()}))
    fitted(model, callbacks=[monitor])
    assert len(monitor.epochs) == 3
    rates = fastbptt.find_lr(model, X, Y, loss=LOSSES, updates=12)
    assert len(rates.losses) >= 1
    model.save(tmp_path / "a.safetensors")
    twin = fastbptt.load(tmp_path / "a.safetensors")
    assert fastbptt.evaluate(twin, X, Y, loss=LOSSES) == fastbptt.evaluate(model, X, Y, loss=LOSSES)


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"class_weight": "balanced"}, r"class_weight is .*because loss is a Losses"),
        ({"metrics": "accuracy"}, r"metrics is 'accuracy'; expected a mapping with the metrics of"),
        ({"metrics": {"prise": "r2"}}, r"metrics has 'prise'; expected some of the blocks price"),
        ({"metrics": {"price": "accuracy"}}, r'metrics\["price"\]\[0\] is "price.accuracy", of'),
        ({"metrics": {"price": "R2"}}, r'metrics\["price"\] is "R2"'),
        (
            {"metrics": {"sale": ["accuracy", "accuracy"]}},
            r'metrics\["sale"\] has "accuracy" twice',
        ),
        ({"loss": "mse", "y": SUMS, "metrics": METRICS}, r"metrics is a mapping"),
        ({"monitor": "price.r2"}, r'monitor is "price.r2"'),
        ({"y": {**Y, "sale": Y["sale"][:5]}}, r'y\["sale"\] has shape \(5,\)'),
        ({"y": {"price": Y["price"]}}, r"y lacks sale, kind"),
        ({"y": SUMS}, r"y is .*; expected a mapping with the blocks"),
        ({"y": {**Y, "kind": Y["kind"] + 1}}, r'y\["kind"\] holds class 3 at index'),
        ({"y": {**Y, "kind": Y["kind"] * 1.5}}, r'y\["kind"\] has dtype float64'),
        ({"sample_weight": {"price": np.ones(N)}}, r"sample_weight lacks sale, kind"),
        (
            {"sample_weight": {"price": np.ones(3), "sale": None, "kind": None}},
            r'sample_weight\["price"\] has shape \(3,\)',
        ),
        (
            {"sample_weight": {"price": None, "sale": np.zeros(N), "kind": None}},
            r'sample_weight\["sale"\] holds only zeros',
        ),
        (
            {
                "sample_weight": {"price": None, "sale": np.arange(N) == 0, "kind": None},
                "validation": 0.2,
            },
            r'sample_weight\["sale"\] is 0 for all validation sequences',
        ),
        ({"sample_weight": np.zeros(N)}, r"sample_weight holds only zeros"),
        ({"loss": dict(LOSSES.losses)}, r"loss is a mapping; expected fastbptt.Losses"),
        ({"loss": Losses({"a": "mse"}), "y": {"a": SUMS[:, 0]}}, r"is of 1 outputs, 1 \(a\), but"),
    ],
)
def test_refused(changed: dict[str, Any], text: str) -> None:
    model = network()
    with pytest.raises((ValueError, TypeError), match=text):
        fitted(model, **changed)
    assert model.parameters.flat.tobytes() == network().parameters.flat.tobytes()


def test_what_takes_one_loss_refuses_several() -> None:
    sklearn = pytest.importorskip("fastbptt.sklearn", exc_type=ImportError)
    text = r"loss is a Losses, of several blocks of outputs; expected one loss"
    model = network()
    for call in (
        lambda: sklearn.RecurrentRegressor(loss=LOSSES).fit(X, SUMS),
        lambda: fastbptt.training.MaskedLoss(LOSSES),
        lambda: fastbptt.probabilities(np.ones((2, 6)), LOSSES),
    ):
        with pytest.raises(TypeError, match=text):
            call()
    plot = pytest.importorskip("fastbptt.plot", exc_type=ImportError)
    with pytest.raises(TypeError, match=text):
        plot.unrolled(model, X[:1], Y, loss=LOSSES)
    with pytest.raises(TypeError, match=text):
        fastbptt.report(model, X, Y, loss=LOSSES, path="unused.html")
