"""Losses by name and with parameters, in the core, in the reference and through every interface."""

import copy
import itertools
import pickle
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import LOSSES, draw_targets
from numpy.typing import NDArray

import fastbptt
from fastbptt import Loss, _core, reference
from fastbptt._losses import parse

ISAS = [one.name for one in fastbptt.backends() if one.usable]
PARAMETERS = {name: Loss(name).parameters for name in LOSSES}
LISTS = [name for name in LOSSES if any(isinstance(v, tuple) for v in PARAMETERS[name].values())]
WITH_PARAMETERS = [name for name in LOSSES if PARAMETERS[name] and name not in LISTS]


def changed(value: Any) -> Any:
    """Another value of a parameter; 0.3 of one that is off."""
    if isinstance(value, tuple):
        return tuple(0.7 * one for one in value)
    return 0.7 * value or 0.3


def other(name: str) -> Loss:
    """The loss with parameters other than their defaults."""
    return Loss(name, **{key: changed(value) for key, value in PARAMETERS[name].items()})


def variants(name: str) -> list[Loss]:
    """The loss with each parameter changed, and with all of them."""
    one_by_one = [Loss(name, **{key: changed(v)}) for key, v in PARAMETERS[name].items()]
    return [*one_by_one, other(name)] if len(one_by_one) > 1 else [other(name)]


def data(loss: Loss, count: int, dtype: str) -> tuple[NDArray[Any], NDArray[Any], fastbptt.GRU]:
    """Inputs, targets and a model, of so many targets, or classes."""
    rng = np.random.default_rng(count)
    x = rng.normal(size=(4, 6, 3)).astype(dtype)
    y = draw_targets(loss, (4, 6, count), rng).astype(dtype)
    if loss.targets == "classes":
        y = rng.integers(0, count, (4, 6))
    return x, y, fastbptt.GRU(3, 5, count * loss.outputs, dtype=dtype, seed=count)


def exact(model: fastbptt.Recurrent) -> dict[str, NDArray[Any]]:
    return {name: value.astype(np.float64) for name, value in model.parameters.items()}


def test_core_and_reference_know_the_same_losses() -> None:
    assert fastbptt.losses() == _core.losses()
    assert set(_core.losses()) == set(LOSSES)
    for name in LOSSES:
        info = _core.loss_info(name)
        given = reference.LOSSES[name].__defaults__ or ()
        assert [one["default"] for one in info["parameters"].values()] == list(given), name
        assert info["targets"] in ("numbers", "classes"), name
    assert Loss("bce").low == 0.0 and Loss("bce").high == 1.0 and Loss("bce").bounded
    assert Loss("bce").link == "logistic" and Loss("cross_entropy").link == "softmax"
    assert Loss("cross_entropy").targets == "classes" and not Loss("mse").bounded


@pytest.mark.parametrize("loss", [one for name in LOSSES for one in variants(name)], ids=str)
@pytest.mark.parametrize("isa", ISAS)
def test_equals_the_reference_with_other_parameters(isa: str, loss: Loss) -> None:
    before = _core.active_backend()
    try:
        _core.use_backend(isa)
        for dtype, width in itertools.product(("float32", "float64"), (1, 3, 17)):
            if loss.targets == "classes" and width == 1:
                continue
            x, y, model = data(loss, width, dtype)
            tolerance = 2e-5 if dtype == "float32" else 1e-11
            for steps in ("last", "all"):
                target = y if steps == "all" else y[:, -1]
                got, grads = model.loss_and_grad(x, target, loss, steps)
                wanted, expected = reference.loss_and_grad(
                    exact(model), x.astype(np.float64), target, loss, steps, cell="gru"
                )
                assert got == pytest.approx(wanted, rel=tolerance)
                for key in grads:
                    atol = tolerance * max(1.0, float(np.abs(expected[key]).max()))
                    np.testing.assert_allclose(grads[key], expected[key], atol=atol, rtol=0)
                assert model.loss(x, target, loss, steps) == got
                found = fastbptt.evaluate(model, x, target, loss=loss, steps=steps)["loss"]
                assert found == pytest.approx(wanted, rel=tolerance)
    finally:
        _core.use_backend(before)


@pytest.mark.parametrize("loss", [one for name in LOSSES for one in variants(name)], ids=str)
def test_complex_step_with_other_parameters(loss: Loss) -> None:
    rng = np.random.default_rng(0)
    width = 3 * loss.outputs
    z = 2 * rng.normal(size=(40, width))
    y = draw_targets(loss, (40, 3), rng)
    if loss.targets == "classes":
        y = rng.integers(0, 3, 40)
    compute = reference.LOSSES[loss.name]
    _, dz = compute(z, y, **loss.parameters)
    for j in range(width):
        values, _ = compute(z + 1e-30j * (np.arange(width) == j), y, **loss.parameters)
        np.testing.assert_allclose(values.sum(axis=1).imag / 1e-30, dz[:, j], rtol=1e-12)


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_a_value(name: str) -> None:
    loss, default = other(name), Loss(name)
    assert str(default) == str(parse(str(default)))
    assert (loss == default) is (not PARAMETERS[name])
    for twin in (
        other(name),
        copy.copy(loss),
        copy.deepcopy(loss),
        pickle.loads(pickle.dumps(loss)),
        parse(str(loss)),
        eval(repr(loss), {"Loss": Loss}),
    ):
        assert twin == loss and hash(twin) == hash(loss) and str(twin) == str(loss)
        assert twin.parameters == loss.parameters and twin.targets == loss.targets
    assert loss != name
    with pytest.raises(AttributeError, match="does not change"):
        loss.name = "mse"
    with pytest.raises(AttributeError, match="does not change"):
        del loss.name
    with pytest.raises(TypeError):
        loss.parameters["delta"] = 2.0  # type: ignore[index]


def test_text_keeps_every_digit() -> None:
    loss = Loss("huber", delta=1.0 / 3.0)
    assert parse(str(loss)) == loss


@pytest.mark.parametrize("name", WITH_PARAMETERS)
def test_parameters_within_their_range(name: str) -> None:
    for key, about in _core.loss_info(name)["parameters"].items():
        wrong: list[Any] = [float("inf")]
        wrong += [about["above"]] if "above" in about else []
        wrong += [about["low"] - 1] if "low" in about else []
        for value in wrong:
            with pytest.raises(ValueError, match=rf"^{key} is .*; expected a number"):
                Loss(name, **{key: value})
        with pytest.raises(TypeError, match=rf"^{key} is \"x\"|^{key} is 'x'"):
            Loss(name, **{key: "x"})  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="has no parameter nonsense"):
            Loss(name, nonsense=1.0)


@pytest.mark.parametrize("text", ["mse:delta", "mse:=", "mse:delta=x", "mse:,"])
def test_text_that_is_no_loss(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected NAME\[:PARAMETER=VALUE,\.\.\.\]"):
        parse(text)


def test_wrong_losses_are_named() -> None:
    x, y, model = data(Loss("mse"), 1, "float64")
    with pytest.raises(ValueError, match=r'^loss is "nonsense"; expected one of "bce"'):
        model.loss(x, y[:, -1], "nonsense")
    with pytest.raises(TypeError, match=r"^loss is 3; expected one of"):
        model.loss(x, y[:, -1], 3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r'^loss is "nonsense"'):
        Loss("nonsense")
    with pytest.raises(ValueError, match='the loss "mse" has no parameter delta; expected none'):
        Loss("mse", delta=1.0)


@pytest.mark.parametrize("name", LOSSES)
def test_training_takes_a_loss(name: str, tmp_path: Path) -> None:
    loss = other(name)
    x, y, model = data(loss, 3, "float64")
    twin = model.copy()
    adam = fastbptt.Adam(lr=0.01)
    first = model.train_step(x, y, adam, loss, "all")
    assert first == twin.loss(x, y, loss, "all")
    assert model.train_step(x, y, adam, loss, "all") < first
    seen: list[Any] = []

    class Watch(fastbptt.Callback):
        def on_epoch_end(self, run: Any) -> bool:
            seen.append(run.loss)
            return False

    options: dict[str, Any] = {"steps": "all", "epochs": 2, "verbose": 0, "seed": 1}
    file = tmp_path / "checkpoint"
    trained, resumed = twin.copy(), twin.copy()
    history = fastbptt.fit(
        trained, x, y, loss=loss, callbacks=[Watch()], checkpoint=file, **options
    )
    assert seen == [loss, loss]
    if str(loss) == name:
        again = fastbptt.fit(resumed, x, y, loss=name, **options)
        assert again["loss"] == history["loss"]
    else:
        again = fastbptt.fit(resumed, x, y, loss=name, **options)
        assert again["loss"] != history["loss"]
        with pytest.raises(ValueError, match="loss"):
            fastbptt.fit(twin.copy(), x, y, loss=name, resume=file, callbacks=[Watch()], **options)
    report = fastbptt.diagnose(trained, x, y, loss=loss, steps="all")
    assert report.loss == trained.loss(x, y, loss, "all")
    assert report.objective["loss"] == str(loss)


def test_lists_of_parameters() -> None:
    loss = Loss("quantile", levels=np.array([0.2, 0.5]))
    assert loss.parameters == {"levels": (0.2, 0.5)} and loss.outputs == 2
    assert str(loss) == "quantile:0.2,0.5" and parse("quantile: 0.2, 0.5") == loss
    assert loss != Loss("quantile") and Loss("quantile") == parse("quantile")
    for wrong, message in (
        ([], "levels is empty; expected at least one number above 0 and below 1"),
        ([0.5, 0.5], r"levels\[1\] is 0.5; expected a number above the one before it, 0.5"),
        ([0.0, 0.5], r"levels\[0\] is 0; expected a number above 0 and below 1"),
        ([0.5, np.nan], r"levels\[1\] is nan"),
    ):
        with pytest.raises(ValueError, match=message):
            Loss("quantile", levels=wrong)
    for kind in (0.5, "0.5", None):
        with pytest.raises(TypeError, match="expected a list of rising numbers"):
            Loss("quantile", levels=kind)
    with pytest.raises(ValueError, match=r'"quantile:0.5,x"; expected NAME\[:VALUE,...\]'):
        parse("quantile:0.5,x")


def test_parameters_that_are_off_are_not_shown() -> None:
    assert str(Loss("bce")) == "bce" and repr(Loss("bce", gamma=0.0)) == 'Loss("bce")'
    assert str(Loss("bce", gamma=2.0)) == "bce:gamma=2.0"
    assert str(Loss("huber")) == "huber:delta=1.0"


@pytest.mark.parametrize("loss", [Loss("gaussian"), Loss("quantile", levels=[0.1, 0.5])], ids=str)
def test_outputs_of_a_target(loss: Loss) -> None:
    x, y, model = data(loss, 2, "float64")
    wrong = fastbptt.GRU(3, 5, 3)
    before = wrong.parameters.flat.copy()
    for call in (
        lambda: wrong.train_step(x, y[:, -1], fastbptt.Adam(), loss),
        lambda: fastbptt.fit(wrong, x, y[:, -1], loss=loss, verbose=0),
        lambda: fastbptt.evaluate(wrong, x, y[:, -1], loss=loss),
    ):
        with pytest.raises(ValueError, match="has 2 outputs for each target, but the model has 3"):
            call()
    assert np.array_equal(before, wrong.parameters.flat)
    with pytest.raises(ValueError, match=r"has shape \(4, 4\); expected \(4, 2\): .batch, target"):
        model.loss(x, np.zeros((4, 4)), loss)
    one = fastbptt.GRU(3, 5, 2, seed=0)
    assert one.loss(x, y[:, -1, 0], loss) == one.loss(x, y[:, -1, :1], loss)
    # targets are independent of each other
    both, _ = model.loss_and_grad(x, y[:, -1], loss)
    halves = [fastbptt.GRU(3, 5, 2, dtype="float64") for _ in range(2)]
    for k, half in enumerate(halves):
        for name, value in model.parameters.items():
            own = slice(2 * k, 2 * k + 2) if name in ("W_hy", "b_y") else slice(None)
            half.parameters[name][:] = value[..., own]
    alone = [half.loss(x, y[:, -1, k], loss) for k, half in enumerate(halves)]
    assert both == pytest.approx(np.mean(alone), rel=1e-12)


@pytest.mark.parametrize("name", [one for one in LOSSES if Loss(one).of_units])
def test_outputs_in_units_of_the_targets(name: str) -> None:
    """The least loss of scaled and of plain targets is at the same predictions."""
    loss, rng = Loss(name), np.random.default_rng(0)
    scale, mean = np.array([20.0, 0.1]), np.array([500.0, -3.0])
    z, y = rng.normal(size=(30, 2 * loss.outputs)), rng.normal(size=(30, 2))
    factor, summand = loss.in_units(scale, mean)
    in_units, targets = z * factor + summand, y * scale + mean
    np.testing.assert_allclose(loss.point(in_units), loss.point(z) * scale + mean)
    if loss.outputs > 1:
        found = loss.quantiles(in_units)
        np.testing.assert_allclose(found, loss.quantiles(z) * scale[:, None] + mean[:, None])
        dz, plain = (
            reference.LOSSES[name](a, b, **loss.parameters)[1]
            for a, b in ((z, y), (in_units, targets))
        )
        each = factor if name == "gaussian" else np.ones_like(factor)
        np.testing.assert_allclose(plain * each, dz, rtol=1e-9)


@pytest.mark.parametrize("steps", ["last", "all", "mean"])
@pytest.mark.parametrize(("loss", "bias", "target"), [("mse", 0, 1e30), ("poisson", 200, 0.0)])
def test_a_loss_that_overflows_is_refused(
    loss: str, bias: float, target: float, steps: str
) -> None:
    model = fastbptt.RNN(1, 2, 1, seed=0)
    model.parameters["b_y"][...] = bias
    x, y = np.ones((2, 3, 1)), np.full((2, 3, 1) if steps == "all" else (2, 1), target)
    before = model.state_dict()
    for call in (
        partial(model.loss, x, y, loss, steps),
        partial(model.loss_and_grad, x, y, loss, steps),
        partial(model.train_step, x, y, fastbptt.SGD(), loss, steps),
    ):
        with pytest.raises(fastbptt.ArgumentError, match=r"^the loss is not finite \(inf\)$"):
            call()
    assert model.loss(x, y, loss, steps, check_finite=False) == np.inf
    for name, values in model.parameters.items():
        np.testing.assert_array_equal(values, before[name])


def test_a_function_is_no_loss_of_a_block() -> None:
    with pytest.raises(TypeError, match=r'losses\["a"\] is a function; expected a name or a fast'):
        fastbptt.Losses({"a": lambda *_: (0.0, 0.0)})  # type: ignore[dict-item]


def test_signs_of_hinge_keep_nan() -> None:
    signs = fastbptt.Loss("hinge").predictions(np.array([0.5, 0.0, -2.0, np.nan]))
    assert np.array_equal(signs, [1.0, -1.0, -1.0, np.nan], equal_nan=True)


def test_labels_of_hinge() -> None:
    x, _, model = data(Loss("mse"), 1, "float64")
    with pytest.raises(
        ValueError, match=r"y holds 0 .*; expected -1 or 1 \(of 0 and 1: numpy.where\(y, 1, -1\)\)"
    ):
        model.loss(x, np.array([1.0, 0.0, 1.0, 1.0]), "hinge")
    y = np.array([1.0, -1.0, -1.0, 1.0])
    found = fastbptt.evaluate(model, x, y, loss="hinge", metrics=["accuracy", "balanced_accuracy"])
    right = np.sign(fastbptt.predict(model, x)[:, 0]) == y
    assert found["accuracy"] == right.mean()
    options: dict[str, Any] = {"loss": "hinge", "epochs": 1, "verbose": 0}
    heavy = fastbptt.fit(model.copy(), x, y, class_weight={-1: 9.0}, **options)["loss"]
    assert heavy != fastbptt.fit(model.copy(), x, y, **options)["loss"]
    with pytest.raises(ValueError, match='loss is "hinge"'):
        fastbptt.probabilities(np.ones((2, 1)), "hinge")


def test_a_quantile_that_crosses_is_counted() -> None:
    x, y, model = data(Loss("quantile"), 1, "float64")
    model.parameters["W_hy"][:] = 0.0
    model.parameters["b_y"][:] = [1.0, 9.0, 5.0]
    names = ["crossing", "coverage_error", "mae"]
    found = fastbptt.evaluate(model, x, y[:, -1] * 0.0, loss="quantile", metrics=names)
    assert found["crossing"] == 0.5 and found["coverage_error"] == 0.9 and found["mae"] == 9.0
    for loss, metric, message in (
        ("mse", "crossing", 'is "crossing", of quantiles, but the loss "mse" is of numbers'),
        (Loss("quantile", levels=[0.1]), "mae", "without the median; expected 0.5"),
    ):
        one = fastbptt.GRU(3, 5, 1, dtype="float64")
        with pytest.raises(ValueError, match=message):
            fastbptt.evaluate(one, x, y[:, -1], loss=loss, metrics=metric)
