"""Several blocks of outputs, each with its loss, in the calls of a model.

That the core equals the reference, and this the complex step, is tested with all other options:
`with_blocks` of a case.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from accuracy import ISAS
from numpy.typing import NDArray

import fastbptt
from fastbptt import Loss, Losses, _core, reference

TWO = Losses({"price": "mse", "sale": "bce"}, outputs={"price": 2}, weights={"sale": 0.5})
FOUR = Losses(
    {"price": "mse", "kind": "cross_entropy", "sale": Loss("bce", gamma=1.0), "range": "quantile"},
    outputs={"price": 2, "kind": 4},
    weights={"kind": 2.0, "sale": 0.5},
)
B, T, I = 7, 11, 3
RNG = np.random.default_rng(0)
X = RNG.normal(size=(B, T, I))
LENGTHS = np.array([11, 3, 11, 8, 1, 5, 11])


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """The instruction set and the threads of the tests that follow."""
    name, threads = _core.active_backend(), fastbptt.get_num_threads()
    yield
    _core.use_backend(name)
    fastbptt.set_num_threads(threads)


def targets(steps: str = "last", count: int = B, time: int = T) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(1)
    lead = (count, time) if steps == "all" else (count,)
    return {
        "price": rng.normal(size=(*lead, 2)),
        "kind": rng.integers(0, 4, lead),
        "sale": rng.integers(0, 2, lead).astype(float),
        "range": rng.normal(size=lead),
    }


def weights(steps: str = "last") -> dict[str, Any]:
    rng = np.random.default_rng(2)
    lead = (B, T) if steps == "all" else (B,)
    some = rng.random(lead) * (rng.random(lead) < 0.6)
    some.flat[0] = 1.0
    return {"price": some, "kind": None, "sale": np.roll(some, 1, axis=0), "range": np.zeros(lead)}


def network(losses: Losses = FOUR, **options: Any) -> fastbptt.GRU:
    return fastbptt.GRU(I, 9, losses.width, seed=1, dtype="float64", **options)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("width", [3, 700])
def test_one_block_is_the_loss_alone(isa: str, width: int) -> None:
    """To the bit, times a weight that is a power of two."""
    _core.use_backend(isa)
    y = RNG.normal(size=(B, T, width))
    for dtype in ("float32", "float64"):
        model = fastbptt.RNN(I, 5, width, seed=0, dtype=dtype)
        for weight in (1.0, 4.0):
            one = Losses({"all": "huber"}, outputs={"all": width}, weights={"all": weight})
            for options in ({}, {"sample_weight": weights("all")["price"]}):
                loss, grads = model.loss_and_grad(X, y, "huber", "all", **options)
                got, found = model.loss_and_grad(X, {"all": y}, one, "all", **options)
                assert got == weight * loss
                np.testing.assert_array_equal(found.flat, weight * grads.flat)
                assert model.last_losses == {"all": loss}


@pytest.mark.parametrize("steps", ["last", "all", "mean", "max"])
def test_losses_add_up(steps: str) -> None:
    """Each is the loss of a network with its columns alone."""
    model, y, w = network(), targets(steps), weights(steps)
    value, grads = model.loss_and_grad(X, y, FOUR, steps, lengths=LENGTHS, sample_weight=w)
    assert model.last_losses is not None
    total, flat = 0.0, np.zeros(9 * 3 * (I + 9) + 9 * 4)
    for name in ("price", "kind", "sale"):
        columns = FOUR.columns[name]
        alone = fastbptt.GRU(I, 9, FOUR.outputs[name], seed=1, dtype="float64")
        state = model.state_dict()
        state["W_hy"], state["b_y"] = state["W_hy"][:, columns], state["b_y"][columns]
        alone.load_state_dict(state)
        own, found = alone.loss_and_grad(
            X, y[name], FOUR.losses[name], steps, lengths=LENGTHS, sample_weight=w[name]
        )
        assert model.last_losses[name] == pytest.approx(own, rel=1e-13)
        total += FOUR.weights[name] * own
        flat += FOUR.weights[name] * found.flat[: flat.size]
        np.testing.assert_allclose(
            grads["W_hy"][:, columns], FOUR.weights[name] * found["W_hy"], rtol=1e-12, atol=1e-15
        )
    assert model.last_losses["range"] == 0.0 and not grads["b_y"][FOUR.columns["range"]].any()
    assert value == pytest.approx(total, rel=1e-13)
    np.testing.assert_allclose(grads.flat[: flat.size], flat, rtol=1e-11, atol=1e-15)


def test_threads_and_budgets_change_no_bit() -> None:
    x, y = RNG.normal(size=(33, 90, I)), targets("all", 33, 90)
    w = {**dict.fromkeys(FOUR.losses), "sale": RNG.random((33, 90))}
    model = fastbptt.GRU(I, 65, FOUR.width, seed=0)
    fastbptt.set_num_threads(1)
    wanted, exact = model.loss_and_grad(x, y, FOUR, "all", sample_weight=w)
    parts = model.last_losses
    budget = int(1.05 * model.minimum_memory(33, 90))
    for threads in (1, 2, 3):
        fastbptt.set_num_threads(threads)
        for given in (None, budget):
            got, grads = model.loss_and_grad(
                x, y, FOUR, "all", sample_weight=w, memory_budget=given
            )
            assert got == wanted and model.last_losses == parts
            np.testing.assert_array_equal(grads.flat, exact.flat)
    assert model.last_report is not None and model.last_report.segments > 1


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum", "sequence_mean"])
@pytest.mark.parametrize("steps", ["last", "all"])
def test_chunks_report_what_one_pass_would(steps: str, reduction: str, ragged: bool) -> None:
    model, y, w = network(), targets(steps), weights(steps)
    how = (FOUR, steps, reduction, LENGTHS if ragged else None)
    value = model.loss(X, y, *how, sample_weight=w)
    parts = model.last_losses
    for options in ({"sample_weight": w}, {"sample_weight": w["price"]}, {}):
        value = model.loss(X, y, *how, **options)
        parts = model.last_losses
        found = model.train_step(X, y, fastbptt.SGD(lr=0.0), *how, **options, bptt_steps=4)
        assert found == pytest.approx(value, rel=1e-12)
        assert model.last_losses == pytest.approx(parts, rel=1e-12, abs=1e-15)


def test_lists_warmup_resets_and_a_step() -> None:
    model, y, w = network(), targets("all"), weights("all")
    several = {n: [one[:end] for one, end in zip(y[n], LENGTHS, strict=True)] for n in y}
    own = {
        n: None if w[n] is None else [v[:end] for v, end in zip(w[n], LENGTHS, strict=True)]
        for n in w
    }
    x = [one[:end] for one, end in zip(X, LENGTHS, strict=True)]
    wanted = model.loss(X, y, FOUR, "all", lengths=LENGTHS, sample_weight=w, warmup=2)
    assert model.loss(x, several, FOUR, "all", sample_weight=own, warmup=2) == wanted
    marks = RNG.random((B, T)) < 0.2
    value, grads = model.loss_and_grad(X, y, FOUR, "all", resets=marks)
    expected, exact = reference.loss_and_grad(
        model.state_dict(), X, y, FOUR, "all", resets=marks, cell="gru"
    )
    assert value == pytest.approx(expected, rel=1e-12)
    for name in grads:
        np.testing.assert_allclose(grads[name], exact[name], rtol=1e-9, atol=1e-13)
    adam = fastbptt.Adam(0.02)
    losses = [model.train_step(X, y, adam, FOUR, "all", clip_norm=1.0) for _ in range(20)]
    assert losses[-1] < 0.9 * losses[0]


def test_a_block_of_weight_zero_is_only_reported() -> None:
    y = {"price": np.ones((B, 2)), "sale": np.ones(B)}
    silent = Losses({"price": "mse", "sale": "bce"}, outputs={"price": 2}, weights={"sale": 0})
    model = network(TWO)
    value, grads = model.loss_and_grad(X, y, silent)
    assert model.last_losses is not None
    assert value == model.last_losses["price"] and model.last_losses["sale"] > 0.0
    assert not grads["W_hy"][:, 2].any() and grads["W_hy"][:, :2].all()


def test_targets_without_weight_are_not_read() -> None:
    model, y = network(TWO), {"price": np.ones((B, 2)), "sale": np.full(B, np.nan)}
    y["price"][2:] = np.nan
    w = {"price": [1, 1, 0, 0, 0, 0, 0], "sale": np.zeros(B)}
    value, _ = model.loss_and_grad(X, y, TWO, sample_weight=w)
    alone = model.forward(X[:2]).last[:, :2]
    assert value == pytest.approx(np.square(alone - 1).mean(), rel=1e-12)
    assert model.last_losses == {"price": value, "sale": 0.0}


def test_losses_are_a_value() -> None:
    for twin in (
        copy.copy(FOUR),
        copy.deepcopy(FOUR),
        pickle.loads(pickle.dumps(FOUR)),
        eval(repr(FOUR), {"Loss": Loss, "Losses": Losses}),
    ):
        assert twin == FOUR and hash(twin) == hash(FOUR) and str(twin) == str(FOUR)
    assert FOUR != TWO and FOUR != "mse" and Losses({"a": "mse"}) != Losses({"a": "mae"})
    assert Losses({"a": "mse"}) != Losses({"a": "mse"}, weights={"a": 2.0})
    assert FOUR.width == 10 and FOUR.outputs["range"] == 3 and FOUR.weights["price"] == 1.0
    assert str(TWO) == "mse(price) + 0.5 bce(sale)"
    with pytest.raises(AttributeError, match="does not change"):
        TWO.width = 5
    with pytest.raises(AttributeError, match="its width stays"):
        del TWO.width


def losses(**given: Any) -> Losses:
    return Losses(**{"losses": {"price": "mse", "sale": "bce"}, **given})


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"losses": "mse"}, r"losses is of type str; expected a mapping"),
        ({"losses": {}}, r"losses is empty"),
        ({"losses": {"": "mse"}}, r'losses has the name ""; expected a Python identifier'),
        ({"losses": {"a b": "mse"}}, r'the name "a b"'),
        ({"losses": {"validation_a": "mse"}}, r"does not begin with validation_"),
        ({"losses": {1: "mse"}}, r"losses has the name 1"),
        ({"losses": {"a": "mean"}}, r'losses\["a"\] is "mean"; expected one of'),
        ({"losses": {"a": len}}, r'losses\["a"\] is a function'),
        ({"losses": {"a": TWO}}, r'losses\["a"\] is a Losses, of several blocks'),
        ({"outputs": {"prise": 2}}, r"outputs has unknown prise; expected price, sale"),
        ({"outputs": {"price": 0}}, r'outputs\["price"\] is 0'),
        ({"outputs": 3}, r"outputs is 3; expected a mapping"),
        (
            {"losses": {"a": "gaussian"}, "outputs": {"a": 3}},
            r'outputs\["a"\] is 3; .*multiple of 2',
        ),
        ({"losses": {"a": "cross_entropy"}}, r'outputs\["a"\] is not given; .*number of classes'),
        ({"weights": {"price": -1}}, r'weights\["price"\] is -1'),
        ({"weights": {"price": np.nan}}, r'weights\["price"\] is nan'),
        ({"weights": {"price": 0, "sale": 0}}, r"weights holds only zeros"),
        ({"weights": [1, 2]}, r"weights is .*; expected a mapping"),
    ],
)
def test_bad_losses(given: dict[str, Any], text: str) -> None:
    with pytest.raises((fastbptt.ArgumentError, fastbptt.ArgumentTypeError), match=text):
        losses(**given)


Y = {"price": np.ones((B, 2)), "sale": np.ones(B)}


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"y": np.ones((B, 3))}, r"y is .*; expected a mapping with the blocks price, sale"),
        ({"y": {"price": Y["price"]}}, r"y lacks sale; expected price, sale"),
        ({"y": {**Y, "sail": Y["sale"]}}, r"y has unknown sail"),
        ({"y": {**Y, "sale": np.ones((B, 2))}}, r'y\["sale"\] has shape \(7, 2\)'),
        ({"y": {**Y, "sale": np.full(B, 3.0)}}, r'y\["sale"\] holds 3 at index \(0, 0\)'),
        ({"y": {**Y, "price": np.full((B, 2), np.nan)}}, r'y\["price"\] holds .*nan.*\(0, 0\)'),
        ({"sample_weight": {"price": np.ones(B)}}, r"sample_weight lacks sale"),
        ({"sample_weight": dict.fromkeys(Y, np.ones(3))}, r'sample_weight\["price"\] has shape'),
        (
            {"sample_weight": {"price": None, "sale": np.full(B, -1.0)}},
            r'sample_weight\["sale"\] holds -1 at index \(0,\)',
        ),
        ({"sample_weight": np.full(B, np.nan)}, r"sample_weight holds .*nan"),
        ({"sample_weight": dict.fromkeys(Y, np.zeros(B))}, r"sample_weight holds only zeros"),
        ({"loss": FOUR}, r"loss is of 10 outputs, 2 \(price\) \+ .*, but the model has 3"),
        ({"loss": {"price": "mse", "sale": "bce"}}, r"loss is a mapping; expected fastbptt.Losses"),
        ({"loss": "mse", "y": Y}, r"y"),
    ],
)
def test_bad_calls(changed: dict[str, Any], text: str) -> None:
    model = network(TWO)
    arguments = {"x": X, "y": Y, "loss": TWO, **changed}
    before = model.parameters.flat.copy()
    for options in ({}, {"bptt_steps": 4}):
        with pytest.raises((fastbptt.ArgumentError, fastbptt.ArgumentTypeError), match=text):
            model.train_step(optimizer=fastbptt.Adam(), **arguments, **options)
    np.testing.assert_array_equal(model.parameters.flat, before)
    assert model.last_losses is None


def test_a_block_without_weight_does_not_count_whatever_its_loss() -> None:
    model = fastbptt.GRU(2, 3, 2, seed=0)
    losses = fastbptt.Losses(
        {"a": "mse", "b": "poisson"}, outputs={"a": 1, "b": 1}, weights={"b": 0.0}
    )
    model.parameters["b_y"][1] = 100.0
    x, y = np.ones((3, 4, 2), np.float32), {"a": np.ones((3, 1)), "b": np.ones((3, 1))}
    assert np.isfinite(model.loss(x, y, loss=losses))
