"""Losses by name and with parameters, in the core, in the reference and through every interface."""

import copy
import itertools
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import LOSSES
from numpy.typing import NDArray

import fastbptt
from fastbptt import Loss, _core, reference
from fastbptt._losses import parse

ISAS = [one.name for one in fastbptt.backends() if one.usable]
PARAMETERS = {name: Loss(name).parameters for name in LOSSES}
WITH_PARAMETERS = [name for name in LOSSES if PARAMETERS[name]]


def other(name: str) -> Loss:
    """The loss with parameters other than their defaults."""
    return Loss(name, **{key: 0.7 * value for key, value in PARAMETERS[name].items()})


def data(loss: Loss, width: int, dtype: str) -> tuple[NDArray[Any], NDArray[Any], fastbptt.GRU]:
    rng = np.random.default_rng(width)
    x = rng.normal(size=(4, 6, 3)).astype(dtype)
    y: NDArray[Any] = (2 * rng.normal(size=(4, 6, width))).clip(loss.low, loss.high).astype(dtype)
    if loss.targets == "classes":
        y = rng.integers(0, width, (4, 6))
    return x, y, fastbptt.GRU(3, 5, width, dtype=dtype, seed=width)


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


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("isa", ISAS)
def test_equals_the_reference_with_other_parameters(isa: str, name: str) -> None:
    before = _core.active_backend()
    loss = other(name)
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


@pytest.mark.parametrize("name", LOSSES)
def test_complex_step_with_other_parameters(name: str) -> None:
    loss = other(name)
    rng = np.random.default_rng(0)
    z = 2 * rng.normal(size=(40, 3))
    y: NDArray[Any] = (2 * rng.normal(size=(40, 3))).clip(loss.low, loss.high)
    if loss.targets == "classes":
        y = rng.integers(0, 3, 40)
    _, dz = reference.LOSSES[name](z, y, **loss.parameters)
    for j in range(3):
        moved = z + 1e-30j * (np.arange(3) == j)
        values, _ = reference.LOSSES[name](moved, y, **loss.parameters)
        np.testing.assert_allclose(values.sum(axis=1).imag / 1e-30, dz[:, j], rtol=1e-14)


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
